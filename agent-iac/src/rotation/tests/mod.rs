//! The parts of a policy, each by a table, and its times against a calendar
//! that walks minute by minute.

mod brute;
mod policies;
mod texts;

use jiff::Timestamp;

use super::{FleetPolicy, Policy};
use crate::agent::Terms;

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A policy of these terms, each as `key = value`.
#[track_caller]
pub(super) fn policy(terms: &[(&str, &str)]) -> Policy {
    Policy::read(&read(terms), &FleetPolicy::default()).unwrap()
}

pub(super) fn read(pairs: &[(&str, &str)]) -> Terms {
    let mut terms = Terms::default();
    for (key, value) in pairs {
        match *key {
            "rotate" => terms.rotate(*value),
            "overlap" => terms.overlap(*value),
            "lease" => terms.lease(*value),
            "jitter" => terms.jitter(*value),
            "zone" => terms.zone(*value),
            "window" => terms.window(*value),
            "blackout" => terms.blackouts([*value]),
            "retry" => terms.retry(*value),
            "group" => terms.group(*value),
            "at_deadline" => terms.at_deadline(*value),
            key => panic!("{key}"),
        }
    }
    terms
}

/// A small generator of its own: the same numbers on every machine.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }

    pub(super) fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}
