//! What a declaration says about one resource while it is being written.

use std::{
    borrow::Borrow,
    fmt,
    ops::{Deref, DerefMut},
};

use super::{IntoAddresses, OnDrift, Terms};
use crate::resource::Builder;

/// The keys of one declaration: those of the engine as methods of its own, and
/// those of the type through the builder that it dereferences to.
///
/// `derive(Agent)` makes a call of each `key = value`, so that rustc checks
/// both alike, and names the nearest of either when a key is misspelt.
pub struct Keys<B> {
    builder: B,
    terms: Terms,
}

impl<B: Builder> Keys<B> {
    /// Starts with what the builder holds: the type's defaults.
    pub fn new(builder: B) -> Self {
        Self { builder, terms: Terms::default() }
    }

    pub(crate) fn into_parts(self) -> (B, Terms) {
        (self.builder, self.terms)
    }

    /// The provider's name, where it is not the type's own.
    pub fn provider(&mut self, name: impl Into<String>) {
        self.terms.provider(name);
    }

    /// Resources that must exist first, beside those that are referred to.
    pub fn depends_on(&mut self, on: impl IntoAddresses) {
        self.terms.depends_on(on);
    }

    /// Whether deleting or replacing it is refused.
    pub fn protect(&mut self, protect: impl Borrow<bool>) {
        self.terms.protect(protect);
    }

    /// What is done about drift without a plan.
    pub fn on_drift(&mut self, policy: impl Borrow<OnDrift>) {
        self.terms.on_drift(*policy.borrow());
    }

    /// Properties that others manage: read, never compared or written.
    pub fn ignore<T: Into<String>>(&mut self, properties: impl IntoIterator<Item = T>) {
        self.terms.ignore(properties);
    }

    /// Why something unusual is wanted.
    pub fn because(&mut self, why: impl Into<String>) {
        self.terms.because(why);
    }

    /// What makes a credential due: the age of a generation as `"7d"`, the
    /// calendar as `"0 3 * * mon"`, or `"1000 uses"` where a system counts
    /// them (no provider of this crate does, and validating says so).
    pub fn rotate(&mut self, period: impl Into<String>) {
        self.terms.rotate(period);
    }

    /// How long two generations are valid together, as `"1h"`.
    pub fn overlap(&mut self, period: impl Into<String>) {
        self.terms.overlap(period);
    }

    /// When a credential may be rotated, as `"mon-fri 02:00-06:00"`.
    pub fn window(&mut self, window: impl Into<String>) {
        self.terms.window(window);
    }

    /// When a credential may not be rotated, as `["12-20..01-03"]`.
    pub fn blackouts<T: Into<String>>(&mut self, blackouts: impl IntoIterator<Item = T>) {
        self.terms.blackouts(blackouts);
    }

    /// The time zone of what `rotate`, `window` and the others say of days and
    /// hours, as `"Europe/Berlin"`.
    pub fn zone(&mut self, zone: impl Into<String>) {
        self.terms.zone(zone);
    }

    /// Over how long the rotations of a fleet are spread, as `"2h"`.
    pub fn jitter(&mut self, jitter: impl Into<String>) {
        self.terms.jitter(jitter);
    }

    /// What is done when a rotation fails, as `"8 times, 1m to 1h"`.
    pub fn retry(&mut self, retry: impl Into<String>) {
        self.terms.retry(retry);
    }

    /// How long the system accepts one generation, where it keeps leases, as
    /// `"30d"`.
    pub fn lease(&mut self, lease: impl Into<String>) {
        self.terms.lease(lease);
    }

    /// The redundancy group, of which never two members are in transition.
    pub fn group(&mut self, group: impl Into<String>) {
        self.terms.group(group);
    }

    /// Where a credential is delivered, as `"store:path"`.
    pub fn deliver(&mut self, place: impl Into<String>) {
        self.terms.deliver(place);
    }

    /// Who uses the credential.
    pub fn consumers<T: Into<String>>(&mut self, names: impl IntoIterator<Item = T>) {
        self.terms.consumers(names);
    }
}

impl<B: Builder> Deref for Keys<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.builder
    }
}

impl<B: Builder> DerefMut for Keys<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.builder
    }
}

impl<B: Builder> fmt::Debug for Keys<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("fields", self.builder.fields())
            .field("terms", &self.terms)
            .finish()
    }
}
