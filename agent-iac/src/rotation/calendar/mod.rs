//! What will rotate when, and what cannot be kept of it.
//!
//! Owns the look ahead: a fleet's rotations over the time to come, played by
//! the same functions that make them due, one after the other, with windows,
//! blackouts, redundancy groups and the rates of providers. What goes wrong
//! within a year is an error, and further ahead a warning; each says the first
//! date on which it does. It is pure: the instant from which it looks, what is
//! recorded and what the systems can do are values.

mod clocks;
mod play;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{address::Address, blueprint::Blueprint, diagnostic::Diagnostics, provider::AtOnce};

/// From where and how far a calendar looks.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// The instant of validation.
    pub from: Timestamp,
    /// When the present generation of each credential was issued; what is
    /// missing counts as issued at `from`.
    pub issued: BTreeMap<Address, Timestamp>,
    /// How many credentials of a type may be valid at once, by the names of
    /// provider and type; what is missing is not judged.
    pub at_once: BTreeMap<(String, String), AtOnce>,
    /// How far rotations are listed. What can be kept is checked further.
    pub list: SignedDuration,
    /// How many rotations are looked at, before the look ahead ends with a
    /// warning that says where.
    pub most: usize,
}

/// What is wrong within this time is an error.
const ERRORS: SignedDuration = SignedDuration::from_hours(366 * 24);
/// What is wrong within this time is a warning.
const WARNINGS: SignedDuration = SignedDuration::from_hours(3 * 366 * 24);

impl Ahead {
    /// A look from an instant at a fleet of which nothing is known, with no
    /// rotation listed.
    pub fn from(from: Timestamp) -> Self {
        Self {
            from,
            issued: BTreeMap::new(),
            at_once: BTreeMap::new(),
            list: SignedDuration::ZERO,
            most: 1_000_000,
        }
    }
}

/// One rotation to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// When it begins.
    pub at: Timestamp,
    /// What is rotated.
    pub address: Address,
    /// The provider.
    pub provider: String,
    /// When the generation before it ends, if its consumers have confirmed.
    pub old_ends: Timestamp,
    /// The redundancy group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// The rotations of a fleet to come.
///
/// ```
/// use agent_iac::{
///     fleet::Fleet,
///     rotation::calendar::{Ahead, Calendar},
/// };
///
/// let blueprint = Fleet::new("billing").blueprint("production")?;
/// let ahead = Ahead::from("2027-01-01T00:00:00Z".parse().unwrap());
/// let calendar = Calendar::of(&blueprint, &ahead);
/// assert!(!calendar.diagnostics().has_errors());
/// # Ok::<(), agent_iac::diagnostic::Diagnostics>(())
/// ```
#[derive(Clone, Debug)]
pub struct Calendar {
    planned: Vec<Planned>,
    diagnostics: Diagnostics,
    looked_at: usize,
}

impl Calendar {
    /// Looks ahead.
    pub fn of(blueprint: &Blueprint, ahead: &Ahead) -> Self {
        let mut play = play::Play::new(blueprint, ahead);
        play.uses();
        play.clocks();
        play.limits();
        play.rotations();
        play.finish()
    }

    /// The rotations, in the order of time, as far as they were to be listed.
    pub fn planned(&self) -> &[Planned] {
        &self.planned
    }

    /// What cannot be kept.
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.diagnostics
    }

    /// How many rotations were looked at.
    pub fn looked_at(&self) -> usize {
        self.looked_at
    }
}

#[cfg(test)]
mod tests;
