//! What a fleet says about the generations of one credential.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::{agent::Period, blueprint::DesiredCredential, provider::AtOnce};

/// What happens to an older generation once its time is over and consumers
/// have not confirmed the present one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtDeadline {
    /// It is kept until they have, and somebody is told.
    #[default]
    Keep,
    /// It is ended this long after its time, and who was cut off is recorded.
    Revoke(Period),
}

/// The terms under which a credential is rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a generation lives; `None` for one that is rotated by hand.
    pub rotate: Option<Period>,
    /// How long the older generation stands beside the new one, at least.
    pub overlap: Period,
    /// Who has to confirm the new generation before the older one ends.
    pub consumers: BTreeSet<String>,
    /// What decides when they do not.
    pub at_deadline: AtDeadline,
    /// How many generations the system lets be valid at once.
    pub at_once: AtOnce,
}

impl Terms {
    /// The terms that a declaration states, on a system of this capability.
    pub fn of(desired: &DesiredCredential, at_once: AtOnce) -> Self {
        Self {
            rotate: desired.rotate,
            overlap: desired.overlap.unwrap_or(Period::ZERO),
            consumers: desired.consumers.iter().map(ToString::to_string).collect(),
            at_deadline: AtDeadline::Keep,
            at_once,
        }
    }

    /// When a generation that was issued at this instant is to be replaced.
    pub fn next_due(&self, issued: Timestamp) -> Option<Timestamp> {
        Some(later(issued, self.rotate?.as_duration()))
    }

    /// When an older generation has had its time, where the one that replaced
    /// it was promoted at this instant.
    pub fn old_ends(&self, promoted: Timestamp) -> Timestamp {
        later(promoted, self.overlap.as_duration())
    }
}

/// The instant after a while; the last of the calendar where there is none.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| at.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}
