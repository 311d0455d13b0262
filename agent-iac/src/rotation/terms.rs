//! What a fleet says about the generations of one credential.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use super::{Policy, Seed, Span, mistake::Mistake};
use crate::{
    address::{Address, quoted},
    blueprint::DesiredCredential,
    provider::AtOnce,
};

/// What happens to an older generation once its time is over and consumers
/// have not confirmed the present one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtDeadline {
    /// It is kept until they have, and somebody is told.
    #[default]
    Keep,
    /// It is ended this long after its time, and who was cut off is recorded.
    Revoke(Span),
}

impl AtDeadline {
    /// Reads `keep`, or how long after its time it is ended, as
    /// `revoke after 1d`.
    ///
    /// # Errors
    ///
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let (keep, revoke) = ("keep", "revoke after ");
        if text == keep {
            return Ok(Self::Keep);
        }
        match text.strip_prefix(revoke) {
            Some(after) => {
                Span::parse(after).map(Self::Revoke).map_err(|mistake| mistake.at(revoke.len()))
            }
            None => Err(Mistake::new(
                format!("{} says not what happens at the deadline", quoted(text)),
                "write `keep`, or how long after its time it is ended, as `revoke after 1d`",
            )),
        }
    }

    pub(super) fn is_keep(&self) -> bool {
        *self == Self::Keep
    }
}

impl fmt::Display for AtDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep"),
            Self::Revoke(after) => write!(f, "revoke after {after}"),
        }
    }
}

impl Serialize for AtDeadline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The terms under which a credential is rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// When it is due, and for how long two generations stand side by side.
    pub policy: Arc<Policy>,
    /// Its place among all that are due with it.
    pub seed: Seed,
    /// Who has to confirm the new generation before the older one ends.
    pub consumers: BTreeSet<String>,
    /// What decides when they do not.
    pub at_deadline: AtDeadline,
    /// How many generations the system lets be valid at once.
    pub at_once: AtOnce,
}

impl Terms {
    /// The terms that a declaration states, on a system of this capability.
    pub fn of(address: &Address, desired: &DesiredCredential, at_once: AtOnce) -> Self {
        Self {
            policy: Arc::clone(&desired.policy),
            seed: Seed::of(address),
            consumers: desired.consumers.iter().map(ToString::to_string).collect(),
            at_deadline: desired.policy.at_deadline,
            at_once,
        }
    }

    /// When a generation that was issued at this instant is to be replaced.
    pub fn next_due(&self, issued: Timestamp) -> Option<Timestamp> {
        self.policy.next_due(self.seed, issued)
    }

    /// When an older generation has had its time, where the one that replaced
    /// it was promoted at this instant.
    pub fn old_ends(&self, promoted: Timestamp) -> Timestamp {
        self.policy.old_ends(promoted)
    }
}

/// The instant after a while; the last of the calendar where there is none.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| at.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}
