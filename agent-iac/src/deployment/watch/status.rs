//! How a watcher is, for those who ask from another thread.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::alert::AlertKind;
use crate::{
    apply::{Outcome, Report},
    clock::Clock,
    plan::render::put,
};

/// How long nothing may happen before a watcher counts as stuck: longer than
/// any single call of a system may take.
const STUCK_AFTER: Duration = Duration::from_mins(15);

/// How a watcher is: whether it lives, whether it works, and its counts. It is
/// cheap to clone, and may be asked from any thread.
#[derive(Clone)]
pub struct Status {
    numbers: Arc<Mutex<Numbers>>,
    clock: Arc<dyn Clock>,
}

/// What is counted.
#[derive(Debug)]
pub(super) struct Numbers {
    /// When something happened last.
    pub(super) beat: Timestamp,
    /// Why it does not work now; `None` when it does.
    pub(super) problem: Option<String>,
    pub(super) credentials: u64,
    pub(super) due: u64,
    /// Since when the credential is due that waits longest.
    pub(super) oldest_due: Option<Timestamp>,
    pub(super) next: Option<Timestamp>,
    pub(super) ticks: u64,
    pub(super) failed_ticks: u64,
    /// Steps, by what the run was for and how they ended.
    pub(super) steps: BTreeMap<(&'static str, &'static str), u64>,
    /// What failed, by the kind of its error.
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) checks: u64,
    /// When everything was compared last.
    pub(super) checked: Option<Timestamp>,
    pub(super) drift: u64,
    pub(super) undeclared: u64,
    pub(super) unread: u64,
    pub(super) open: BTreeMap<AlertKind, u64>,
    pub(super) told: u64,
    pub(super) dropped: u64,
    pub(super) waiting: u64,
}

impl Numbers {
    /// Counts what a run did.
    pub(super) fn ran(&mut self, run: &'static str, report: &Report) {
        for step in &report.steps {
            let outcome = match &step.outcome {
                Outcome::Done => "done",
                Outcome::Unproved(_) => "unproved",
                Outcome::Skipped { .. } => "skipped",
                Outcome::Failed(error) => {
                    self.failed(error);
                    "failed"
                }
                Outcome::InDoubt(error) => {
                    self.failed(error);
                    "in_doubt"
                }
            };
            *self.steps.entry((run, outcome)).or_default() += 1;
        }
    }

    /// Counts an error.
    pub(super) fn failed(&mut self, error: &crate::error::Error) {
        let mut kind = String::new();
        for letter in format!("{:?}", error.kind()).chars() {
            if letter.is_ascii_uppercase() && !kind.is_empty() {
                kind.push('_');
            }
            kind.push(letter.to_ascii_lowercase());
        }
        *self.failures.entry(kind).or_default() += 1;
    }
}

impl Status {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let numbers = Numbers {
            beat: clock.now(),
            problem: Some("it has not read the ledger yet".to_owned()),
            credentials: 0,
            due: 0,
            oldest_due: None,
            next: None,
            ticks: 0,
            failed_ticks: 0,
            steps: BTreeMap::new(),
            failures: BTreeMap::new(),
            checks: 0,
            checked: None,
            drift: 0,
            undeclared: 0,
            unread: 0,
            open: BTreeMap::new(),
            told: 0,
            dropped: 0,
            waiting: 0,
        };
        Self { numbers: Arc::new(Mutex::new(numbers)), clock }
    }

    pub(super) fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something happened.
    pub(super) fn beat(&self) {
        let now = self.clock.now();
        self.numbers().beat = now;
    }

    /// Whether the watcher lives: that something happened within a quarter of
    /// an hour.
    ///
    /// # Errors
    ///
    /// With what is wrong, in words.
    pub fn health(&self) -> Result<(), String> {
        let silent = self.clock.now().duration_since(self.numbers().beat);
        if silent.unsigned_abs() > STUCK_AFTER {
            return Err(format!("nothing has happened for {} s", silent.as_secs()));
        }
        Ok(())
    }

    /// Whether the watcher works: that it lives, and could read the ledger when
    /// it tried last.
    ///
    /// # Errors
    ///
    /// With what is wrong, in words.
    pub fn ready(&self) -> Result<(), String> {
        self.health()?;
        self.numbers().problem.clone().map_or(Ok(()), Err)
    }

    /// The counts, as Prometheus reads them. What stands in the labels is one of
    /// a few words; no address, no name and no id of a key is in it.
    pub fn metrics(&self) -> String {
        let now = self.clock.now();
        let ready = u64::from(self.ready().is_ok());
        let numbers = self.numbers();
        let mut text = Exposition::default();
        text.family("build_info", "gauge", "The version that runs.");
        text.labelled("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        text.one(
            "ready",
            "gauge",
            "Whether the ledger could be read when it was tried last.",
            ready,
        );
        text.one("credentials", "gauge", "Credentials of the fleet.", numbers.credentials);
        text.one("credentials_due", "gauge", "Credentials that wait to be rotated.", numbers.due);
        text.one(
            "oldest_due_age_seconds",
            "gauge",
            "How long the credential has waited that waits longest; 0 when none does.",
            numbers.oldest_due.map_or(0, |since| seconds(since, now)),
        );
        if let Some(next) = numbers.next {
            text.family("next_due_timestamp_seconds", "gauge", "When something is due next.");
            text.labelled("next_due_timestamp_seconds", &[], next.as_second().unsigned_abs());
        }
        text.one("ticks_total", "counter", "Looks at the ledger.", numbers.ticks);
        text.one(
            "failed_ticks_total",
            "counter",
            "Looks at which the ledger or a secret store could not be read.",
            numbers.failed_ticks,
        );
        text.family("steps_total", "counter", "Steps, by what the run was for and how they ended.");
        for ((run, outcome), count) in &numbers.steps {
            text.labelled("steps_total", &[("run", run), ("outcome", outcome)], *count);
        }
        text.family("failures_total", "counter", "What failed, by the kind of the error.");
        for (kind, count) in &numbers.failures {
            text.labelled("failures_total", &[("kind", kind)], *count);
        }
        text.one("checks_total", "counter", "Full comparisons with the real.", numbers.checks);
        if let Some(checked) = numbers.checked {
            text.one(
                "last_check_age_seconds",
                "gauge",
                "Time since everything was compared last.",
                seconds(checked, now),
            );
        }
        text.one("drift", "gauge", "Objects not as recorded, at the last check.", numbers.drift);
        text.one(
            "undeclared",
            "gauge",
            "Objects that nobody declared, at the last check.",
            numbers.undeclared,
        );
        text.one("unread", "gauge", "Objects not read at the last check.", numbers.unread);
        text.family("alerts_open", "gauge", "What holds that somebody has to see to, by kind.");
        let happens = [AlertKind::DriftReverted, AlertKind::ConsumersUntold];
        for kind in AlertKind::ALL.into_iter().filter(|kind| !happens.contains(kind)) {
            let count = numbers.open.get(&kind).copied().unwrap_or_default();
            text.labelled("alerts_open", &[("kind", kind.as_str())], count);
        }
        text.one("alerts_sent_total", "counter", "Alerts that were told.", numbers.told);
        text.one("alerts_dropped_total", "counter", "Alerts that were given up.", numbers.dropped);
        text.one("alerts_waiting", "gauge", "Alerts not told yet.", numbers.waiting);
        text.0
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").finish_non_exhaustive()
    }
}

fn seconds(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.duration_since(since).as_secs()).unwrap_or_default()
}

/// The text form of Prometheus. All names begin alike; values are whole.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        put(
            &mut self.0,
            format_args!("# HELP agent_iac_{name} {help}\n# TYPE agent_iac_{name} {kind}\n"),
        );
    }

    fn labelled(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        put(&mut self.0, format_args!("agent_iac_{name}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            put(&mut self.0, format_args!("{before}{label}=\"{text}\""));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        put(&mut self.0, format_args!(" {value}\n"));
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.labelled(name, &[], value);
    }
}
