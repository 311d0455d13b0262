//! What a watcher is told, and what it tells of each tick.

use std::time::Duration;

use jiff::Timestamp;

use super::Alert;
use crate::{
    apply::Report,
    deployment::{RunnerOptions, Tick},
    error::Error,
};

/// How a watcher works.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// How it rotates.
    pub runner: RunnerOptions,
    /// How often everything is compared with what is recorded; never, for
    /// `None`.
    pub check_every: Option<Duration>,
    /// How long before its last day somebody hears that an agent expires.
    pub expiry_notice: Duration,
    /// How long a system may be away before somebody hears of it.
    pub patience: Duration,
    /// What this watcher is called beside others of the fleet. Its checks come
    /// at other times then, and at the same after a restart.
    pub name: String,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            runner: RunnerOptions::default(),
            check_every: Some(Duration::from_hours(1)),
            expiry_notice: Duration::from_hours(14 * 24),
            patience: Duration::from_mins(15),
            name: String::new(),
        }
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Check {
    /// Objects that are not as they were recorded, when the check began.
    pub drift: usize,
    /// Objects that nobody declared, when the check began.
    pub undeclared: usize,
    /// Objects that could not be read.
    pub unread: usize,
    /// What was taken back.
    pub reverted: Report,
    /// How much of the drift and of what is undeclared stays.
    pub stays: usize,
}

/// What a tick did.
#[derive(Debug)]
pub struct Round {
    /// What was rotated and settled; `None` while the ledger is given a rest.
    pub rotation: Option<Tick>,
    /// What a check found, when it was time for one.
    pub check: Option<Check>,
    /// What was stopped or removed of agents whose time is over.
    pub retired: Report,
    /// What somebody has to hear.
    pub alerts: Vec<Alert>,
    /// What went wrong as a whole; it is tried again after a pause.
    pub problems: Vec<Error>,
    /// Why alerts could not be told; they are told again after a pause.
    pub untold: Vec<String>,
    /// When there is something to do again.
    pub next: Timestamp,
}

impl Round {
    /// Whether it did nothing, and nothing is wrong.
    pub fn is_quiet(&self) -> bool {
        let idle = |report: &Report| report.steps.is_empty() && report.left.is_empty();
        let rotation = self.rotation.as_ref().is_none_or(|tick| {
            idle(&tick.settled) && tick.rotated.iter().all(idle) && tick.refused.is_empty()
        });
        let check = self.check.as_ref().is_none_or(|check| idle(&check.reverted));
        rotation
            && check
            && idle(&self.retired)
            && self.alerts.is_empty()
            && self.problems.is_empty()
            && self.untold.is_empty()
    }

    /// Whether more is due than one tick takes on, and the next goes on at once.
    pub fn is_busy(&self) -> bool {
        let waits = |tick: &Tick| tick.waiting > 0 && !tick.contended && !tick.rotated.is_empty();
        self.rotation.as_ref().is_some_and(waits)
    }

    /// The reports of all that was run.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        let rotation = self.rotation.iter();
        let rotation =
            rotation.flat_map(|tick| std::iter::once(&tick.settled).chain(&tick.rotated));
        rotation.chain(self.check.iter().map(|check| &check.reverted)).chain([&self.retired])
    }
}
