//! How far a credential is from one generation to the next. Pure.
//!
//! The phase is no field of a record: it follows from what is recorded, the
//! [`Terms`] and the instant, so that no crash can leave it wrong, a changed
//! policy counts from the next look, and two programs that look see the same.
//!
//! ```text
//!            time passes              a turn begins               promoted
//!  ┌─────► Idle ───────────► Due ───────────────────► Settling ───────────┐
//!  │         ▲                ▲ ▲                        │ │               │
//!  │         │ due later      │ └──── pause is over ─┐   │ └─ one at a time│
//!  │         │                │                      │   ▼    (the old one │
//!  │         │              asked ◄── Stopped ◄── Paused      is ended     │
//!  │         │                                       ▲        first: Due   │
//!  │         │                                failed │        again, why:  │
//!  │  proved │                                       │        Gap)         │
//!  │         └────── Settling ◄──── Ending ◄─────────┘                     │
//!  │                                  ▲ ▲                                  ▼
//!  │                        all have  │ │  time is over, all confirmed  Overlap
//!  │                        confirmed │ └──────────────────────────────────┤
//!  │                                  │    time is over, some did not      │
//!  │                               Overdue ◄───────────────────────────────┘
//!  │                                  │ deadline: revoke, and say who was cut off
//!  └──────────────────────────────────┘ (by way of Ending)
//! ```
//!
//! Each arrow but those of time is an entry in the ledger. `Settling` is a
//! step whose end is not recorded: recovery takes it on, adopts or revokes
//! what it made, and the old generation works meanwhile. A compromised
//! generation has no overlap, no pause without an end, and no consumers that
//! it waits for. One whose lease is over is `Due` whatever else there is: the
//! ends of older ones would wait for it to be accepted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{AtDeadline, Terms, terms::later};
use crate::{
    bugs::bug,
    ledger::{Managed, Record, Rotation},
    provider::AtOnce,
};

/// How far a credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    Absent,
    /// A step is open: the run that has it, or recovery, settles it.
    Settling,
    /// One generation, and nothing to do until it is due.
    Idle {
        /// When that is; `None` for one that is rotated by hand.
        due: Option<Timestamp>,
    },
    /// The next generation is to be made.
    Due {
        /// Since when.
        since: Timestamp,
        /// Why.
        why: Why,
    },
    /// It failed, and is tried again later.
    Paused {
        /// When.
        until: Timestamp,
        /// How often it failed.
        failures: u32,
    },
    /// It failed too often, and waits for somebody to ask.
    Stopped {
        /// How often it failed.
        failures: u32,
    },
    /// An older generation stands beside the present one.
    Overlap {
        /// Until when, at least.
        until: Timestamp,
        /// The consumers that have not confirmed the present one.
        waiting: BTreeSet<String>,
    },
    /// An older generation has had its time, and is kept for consumers.
    Overdue {
        /// The older generations.
        generations: BTreeSet<u32>,
        /// Since when.
        since: Timestamp,
        /// Those that have not confirmed.
        waiting: BTreeSet<String>,
        /// When it is ended all the same.
        until: Option<Timestamp>,
    },
    /// Older generations are to be ended.
    Ending {
        /// Since when.
        since: Timestamp,
        /// Which, and whom each cuts off.
        generations: BTreeMap<u32, BTreeSet<String>>,
    },
}

/// Why a new generation is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The present one has lived for its period.
    Period,
    /// The present one is known to somebody who should not know it.
    Compromised,
    /// There is none: the one before was ended to make room.
    Gap,
    /// The present one has died by itself: its lease is over.
    Expired,
}

impl Phase {
    /// When this phase is another one without anybody's doing, or something is
    /// to be done; `None` when it waits for an entry in the ledger.
    pub fn wakes(&self) -> Option<Timestamp> {
        match self {
            Self::Absent | Self::Settling | Self::Stopped { .. } => None,
            Self::Idle { due } => *due,
            Self::Due { since, .. } | Self::Ending { since, .. } => Some(*since),
            Self::Paused { until, .. } | Self::Overlap { until, .. } => Some(*until),
            Self::Overdue { until, .. } => *until,
        }
    }

    /// Whether somebody should look.
    pub fn is_alarming(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Overdue { .. })
            || matches!(self, Self::Paused { failures, .. } if *failures > 2)
    }
}

/// The phase of a credential at an instant.
pub fn phase(record: &Record, terms: &Terms, now: Timestamp) -> Phase {
    if record.open.is_some() {
        return Phase::Settling;
    }
    let nothing = Rotation::default();
    let rotation = record.rotation.as_deref().unwrap_or(&nothing);
    let present = record.object.as_ref().and_then(|object| object.credential.as_ref());
    let Some(present) = present else {
        return if rotation.gap.is_some() {
            retried(Phase::Due { since: now, why: Why::Gap }, rotation, terms, now)
        } else {
            Phase::Absent
        };
    };
    let lease_ends = present.issued_at.and_then(|issued| terms.policy.lease_ends(issued));
    if let Some(since) = lease_ends.filter(|ends| *ends <= now && terms.at_once == AtOnce::Many) {
        // Nobody can use it, nor any older one, whose ends wait for one that
        // works: the next comes first, whatever the hour.
        return retried(Phase::Due { since, why: Why::Expired }, rotation, terms, now);
    }
    let leaked = rotation.compromised.contains(&present.generation);
    let waiting = waiting(rotation, terms, present.generation);
    let mut older = Older::default();
    for old in &record.deposed {
        let Some(generation) = generation(old) else { continue };
        let makes_room = leaked && terms.at_once != AtOnce::Many;
        match rotation.overlap.get(&generation) {
            // What a plan replaced was never meant to stay.
            None => drop(older.ending.insert(generation, (now, BTreeSet::new()))),
            Some(since) if makes_room || rotation.compromised.contains(&generation) => {
                older.ending.insert(generation, (*since, waiting.clone()));
            }
            Some(since) => older.look(generation, *since, terms, &waiting, now),
        }
    }
    if let Some(ending) = older.ending() {
        return retried(ending, rotation, terms, now);
    }
    if leaked {
        let since = rotation.failed_at.unwrap_or(now);
        return retried(Phase::Due { since, why: Why::Compromised }, rotation, terms, now);
    }
    if let Some(phase) = older.standing(waiting) {
        return phase;
    }
    let Some(due) = present.issued_at.and_then(|issued| terms.next_due(issued)) else {
        return Phase::Idle { due: None };
    };
    if now < due {
        return Phase::Idle { due: Some(due) };
    }
    // Whoever comes late waits for the next time that is allowed.
    if !terms.policy.allows(now) {
        return Phase::Idle { due: terms.policy.next_allowed(now) };
    }
    retried(Phase::Due { since: due, why: Why::Period }, rotation, terms, now)
}

/// Whether a credential is between two generations: one is being made, or there
/// is none, or an older one still stands beside the present one.
pub fn in_transition(record: &Record) -> bool {
    let gap = record.rotation.as_ref().is_some_and(|rotation| rotation.gap.is_some());
    record.open.is_some() || gap || !record.deposed.is_empty()
}

/// Which of the older generations may be ended at an instant, and whom each
/// would cut off.
pub fn ended(record: &Record, terms: &Terms, now: Timestamp) -> BTreeMap<u32, BTreeSet<String>> {
    match phase(record, terms, now) {
        Phase::Ending { generations, .. } => generations,
        _ => BTreeMap::new(),
    }
}

/// The consumers that have not confirmed a generation.
fn waiting(rotation: &Rotation, terms: &Terms, generation: u32) -> BTreeSet<String> {
    let confirmed = |consumer: &&String| {
        rotation.confirmed.get(*consumer).is_some_and(|confirmed| *confirmed >= generation)
    };
    terms.consumers.iter().filter(|consumer| !confirmed(consumer)).cloned().collect()
}

fn generation(object: &Managed) -> Option<u32> {
    object.credential.as_ref().map(|credential| credential.generation)
}

/// The older generations of one credential.
#[derive(Default)]
struct Older {
    ending: BTreeMap<u32, (Timestamp, BTreeSet<String>)>,
    /// The first end of those that stand in their overlap.
    until: Option<Timestamp>,
    /// Those that are kept past their time: since when, and until when.
    overdue: BTreeMap<u32, (Timestamp, Option<Timestamp>)>,
}

impl Older {
    fn look(
        &mut self,
        generation: u32,
        since: Timestamp,
        terms: &Terms,
        waiting: &BTreeSet<String>,
        now: Timestamp,
    ) {
        let ends = terms.old_ends(since);
        let deadline = match terms.at_deadline {
            AtDeadline::Keep => None,
            AtDeadline::Revoke(after) => Some(after.after(ends, &terms.policy.zone)),
        };
        if now < ends && !bug!("overlap cut short") {
            self.until = Some(self.until.map_or(ends, |until| until.min(ends)));
        } else if waiting.is_empty() || bug!("consumers not waited for") {
            self.ending.insert(generation, (ends, BTreeSet::new()));
        } else if let Some(deadline) = deadline.filter(|deadline| now >= *deadline) {
            self.ending.insert(generation, (deadline, waiting.clone()));
        } else {
            self.overdue.insert(generation, (ends, deadline));
        }
    }

    fn ending(&self) -> Option<Phase> {
        let since = self.ending.values().map(|(since, _)| *since).min()?;
        let each = self.ending.iter().map(|(old, (_, cut_off))| (*old, cut_off.clone()));
        Some(Phase::Ending { since, generations: each.collect() })
    }

    fn standing(&self, waiting: BTreeSet<String>) -> Option<Phase> {
        if let Some(since) = self.overdue.values().map(|(since, _)| *since).min() {
            let generations = self.overdue.keys().copied().collect();
            let until = self.overdue.values().filter_map(|(_, until)| *until).min();
            return Some(Phase::Overdue { generations, since, waiting, until });
        }
        Some(Phase::Overlap { until: self.until?, waiting })
    }
}

/// A move that failed before waits, longer each time. One of mere schedule
/// stops in the end, and waits for somebody; what must end or must be there is
/// tried for ever.
fn retried(next: Phase, rotation: &Rotation, terms: &Terms, now: Timestamp) -> Phase {
    let failures = rotation.failures;
    if failures == 0 {
        return next;
    }
    let retry = &terms.policy.retry;
    if failures >= retry.attempts && matches!(next, Phase::Due { why: Why::Period, .. }) {
        return Phase::Stopped { failures };
    }
    // Clocks differ. A failure that is further ahead than the longest pause was
    // told by one that was wrong, and would be waited for much too long.
    let longest = later(now, retry.pause(u32::MAX));
    match rotation.failed_at.filter(|failed| *failed <= longest) {
        Some(failed) => {
            let until = later(failed, retry.pause(failures));
            if now < until && !bug!("retried at once") {
                Phase::Paused { until, failures }
            } else {
                next
            }
        }
        None => next,
    }
}

#[cfg(test)]
mod tests;
