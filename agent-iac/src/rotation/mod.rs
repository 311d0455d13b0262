//! Credentials that are renewed on schedule: when a generation is due, how far
//! the change from one to the next has come, and what may follow.
//!
//! Owns what the declared terms mean ([`Policy`], with time zones and civil
//! time), the [state machine](machine) of a credential's generations and the
//! [`Terms`] under which it moves. A rotation is a plan like any other
//! ([`crate::plan`] makes it, [`crate::apply`] carries it out), so there is no
//! second executor, no second recovery and no second record here. It contacts
//! nothing, reads no clock, and knows no provider: time comes in as a value,
//! and the zones' rules are compiled in.

mod apart;
pub mod calendar;
mod cron;
mod hours;
pub mod machine;
mod mistake;
mod policy;
mod rules;
mod scheduler;
mod span;
mod terms;
#[cfg(test)]
mod tests;
mod zone;

pub use apart::{Groups, Room};
pub(crate) use apart::{last_turn, passes};
pub use cron::Cron;
pub use hours::Hours;
pub use machine::{Phase, Why, in_transition, phase};
pub use mistake::Mistake;
pub use policy::{Policy, Retry, Rotate, Seed};
pub use rules::{FleetPolicy, FleetTerms, Rate};
pub use scheduler::Scheduler;
pub use span::Span;
pub(crate) use terms::later;
pub use terms::{AtDeadline, Terms};
pub use zone::Zone;

/// What a rotation is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// What is due, and nothing else.
    #[default]
    Due,
    /// A new generation now, due or not.
    Now,
}
