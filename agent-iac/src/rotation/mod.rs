//! Credentials that are renewed on schedule: when a generation is due, how far
//! the change from one to the next has come, and what may follow.
//!
//! Owns the [state machine](machine) of a credential's generations and the
//! [`Terms`] under which it moves. A rotation is a plan like any other
//! ([`crate::plan`] makes it, [`crate::apply`] carries it out), so there is no
//! second executor, no second recovery and no second record here. It contacts
//! nothing, reads no clock, and knows no provider.

pub mod machine;
mod terms;

pub use machine::{Phase, Why, phase};
pub use terms::{AtDeadline, Terms};

/// What a rotation is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// What is due, and nothing else.
    #[default]
    Due,
    /// A new generation now, due or not.
    Now,
}
