//! What goes wrong in a year, and when.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    super::world::{Fault, Random, Side, SimClock, Weather},
    Outage,
};

/// Instants, and for how long something lasts.
type Spans = Vec<(Duration, Duration)>;

pub(super) struct Sky {
    clock: SimClock,
    outages: Vec<Outage>,
    faults: u64,
    state: Mutex<State>,
}

struct State {
    random: Random,
    deaths: VecDeque<(Duration, Duration)>,
    /// How many writes the one that is to die still makes.
    last: Option<u64>,
    stalls: VecDeque<(Duration, Duration)>,
    /// How many calls the one that is to stand still makes before.
    before: Option<u64>,
    /// Whether it is a runner that is at work.
    at_work: bool,
    doomed: Option<Duration>,
    hit: u64,
}

impl Sky {
    pub(super) fn new(
        seed: u64,
        clock: SimClock,
        outages: Vec<Outage>,
        faults: u64,
        (mut deaths, mut stalls): (Spans, Spans),
    ) -> Self {
        deaths.sort();
        stalls.sort();
        let state = State {
            random: Random::new(seed, "sky"),
            deaths: deaths.into(),
            last: None,
            stalls: stalls.into(),
            before: None,
            at_work: false,
            doomed: None,
            hit: 0,
        };
        Self { clock, outages, faults, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says who is about to go on.
    pub(super) fn at_work(&self, is_runner: bool) {
        self.state().at_work = is_runner;
    }

    /// Whether the one that went on is to die, and for how long.
    pub(super) fn doomed(&self) -> Option<Duration> {
        self.state().doomed.take()
    }

    /// How many calls went wrong.
    pub(super) fn hit(&self) -> u64 {
        self.state().hit
    }
}

impl State {
    fn fated(&mut self, now: Duration) {
        if !self.at_work || self.deaths.front().is_none_or(|(at, _)| *at > now) {
            return;
        }
        let left = match self.last {
            Some(left) => left,
            // Anywhere in the writes of a rotation.
            None => self.random.between(0, 24),
        };
        self.last = left.checked_sub(1);
        if left == 0 {
            self.doomed = self.deaths.pop_front().map(|(_, length)| length);
        }
    }
}

impl Weather for Sky {
    fn delay(&self, _: &str) -> Duration {
        let now = self.clock.elapsed();
        let mut state = self.state();
        if !state.at_work || state.stalls.front().is_none_or(|(at, _)| *at > now) {
            return Duration::ZERO;
        }
        let left = match state.before {
            Some(left) => left,
            None => state.random.between(0, 12),
        };
        state.before = left.checked_sub(1);
        if left > 0 {
            return Duration::ZERO;
        }
        state.stalls.pop_front().map_or(Duration::ZERO, |(_, length)| length)
    }

    fn fault(&self, call: &str, side: Option<Side>) -> Option<Fault> {
        let now = self.clock.elapsed();
        let mut state = self.state();
        if side.is_some() {
            state.fated(now);
        }
        let part = call.split('/').next().unwrap_or_default();
        let away =
            |outage: &&Outage| outage.part == part && outage.from <= now && now < outage.until;
        if side != Some(Side::After) && self.outages.iter().any(|outage| away(&outage)) {
            state.hit += 1;
            return Some(Fault::Unreachable);
        }
        if self.faults == 0 || !state.random.one_of(self.faults) {
            return None;
        }
        state.hit += 1;
        Some(match (side, state.random.between(0, 2)) {
            (Some(Side::Before), 0) => Fault::Throttled,
            (_, 1) => Fault::Timeout,
            _ => Fault::Error,
        })
    }

    fn stale(&self, _: &str, _: usize) -> usize {
        0
    }

    fn landed(&self, _: &str) {}
}
