//! What a simulated system can do and how it behaves.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    provider::{Limits, Recovery},
    value::Value,
};

/// How a simulated system behaves. The default is the kindest: a registry of
/// claims, checks in the transaction, nothing late, nothing stale.
///
/// ```
/// use std::time::Duration;
/// use agent_iac::{provider::Recovery, testing::world::SimOptions};
///
/// let clumsy = SimOptions::default()
///     .recovery("sim.grant", Recovery::NaturalKey)
///     .checks_seen(false)
///     .settles_within(Duration::from_secs(600));
/// # let _ = clumsy;
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
pub struct SimOptions {
    recovery: BTreeMap<String, Recovery>,
    pub(super) batch: usize,
    pub(super) checks_seen: bool,
    pub(super) settles_within: Duration,
    pub(super) propagation: Duration,
    pub(super) normalises: bool,
    pub(super) redacts: bool,
    pub(super) cascades: bool,
    pub(super) stale_reads: usize,
    pub(super) stale_for: Duration,
    pub(super) limits: Limits,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            recovery: BTreeMap::new(),
            batch: 100,
            checks_seen: true,
            settles_within: Duration::ZERO,
            propagation: Duration::ZERO,
            normalises: false,
            redacts: false,
            cascades: false,
            stale_reads: 0,
            stale_for: Duration::ZERO,
            limits: Limits::default(),
        }
    }
}

impl SimOptions {
    /// How the fate of a write is learned for one type; a registry unless
    /// said. Without one, each write of a batch lands for itself.
    #[must_use]
    pub fn recovery(mut self, type_name: &str, recovery: Recovery) -> Self {
        self.recovery.insert(type_name.to_owned(), recovery);
        self
    }

    /// How many writes one call takes.
    #[must_use]
    pub fn batch(mut self, most: usize) -> Self {
        self.batch = most.max(1);
        self
    }

    /// Whether a write compares with what was seen.
    #[must_use]
    pub fn checks_seen(mut self, checks: bool) -> Self {
        self.checks_seen = checks;
        self
    }

    /// How long after the death of its sender a write may still land (P3); the
    /// seed decides whether and when.
    #[must_use]
    pub fn settles_within(mut self, duration: Duration) -> Self {
        self.settles_within = duration;
        self
    }

    /// How long a revoked secret is still accepted (P5).
    #[must_use]
    pub fn propagation(mut self, duration: Duration) -> Self {
        self.propagation = duration;
        self
    }

    /// Whether notes and commands are trimmed and written in lower case (P9).
    #[must_use]
    pub fn normalises(mut self, normalises: bool) -> Self {
        self.normalises = normalises;
        self
    }

    /// Whether an account's `secret_hint` is hidden in what is read (P9).
    #[must_use]
    pub fn redacts(mut self, redacts: bool) -> Self {
        self.redacts = redacts;
        self
    }

    /// Whether deleting an account takes what belongs to it along; otherwise
    /// it is refused while anything does.
    #[must_use]
    pub fn cascades(mut self, cascades: bool) -> Self {
        self.cascades = cascades;
        self
    }

    /// Up to how many changes ago an observer's read may be from (P6); the
    /// seed decides. Reads of the principal that writes are always fresh.
    #[must_use]
    pub fn stale_reads(mut self, changes: usize) -> Self {
        self.stale_reads = changes;
        self
    }

    /// How long after a change an observer's read may still be from before it
    /// (P5, P6), where a storm's weather wants it so.
    #[must_use]
    pub fn stale_for(mut self, duration: Duration) -> Self {
        self.stale_for = duration;
        self
    }

    /// How hard the system may be driven.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(super) fn recovery_of(&self, type_name: &str) -> Recovery {
        self.recovery.get(type_name).copied().unwrap_or(Recovery::Registry)
    }

    pub(super) fn normalise(&self, fields: &mut BTreeMap<String, Value>) {
        if !self.normalises {
            return;
        }
        for field in ["note", "command"] {
            if let Some(Value::Text(text)) = fields.get_mut(field) {
                *text = text.trim().to_lowercase();
            }
        }
    }
}
