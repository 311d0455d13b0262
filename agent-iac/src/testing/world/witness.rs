//! What a world has seen with its own eyes, whatever the ledger says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Violation, system::Effect};
use crate::{
    address::Address,
    ledger::{Append, Appended, Claim, Entry, Event, RecordEvent, StepEvent},
    provider::Observation,
    secret::Secret,
    value::{Digest, Value},
};

/// What a system carried out, as an observer is told of it.
pub(in crate::testing) struct Deed<'a> {
    pub(in crate::testing) effect: &'a Effect,
    /// Whose the object is, as the request said.
    pub(in crate::testing) address: Option<&'a Address>,
    /// The properties before and after; `None` where there is no object.
    pub(in crate::testing) before: Option<&'a BTreeMap<String, Value>>,
    pub(in crate::testing) after: Option<&'a BTreeMap<String, Value>>,
    /// The digest of the secret, of a credential.
    pub(in crate::testing) secret: Option<Digest>,
}

/// What a system is about to be asked, before the request leaves.
pub(in crate::testing) struct Asked<'a> {
    pub(in crate::testing) claim: &'a Claim,
    pub(in crate::testing) address: &'a Address,
    pub(in crate::testing) resource_type: &'static str,
    /// The object's id, where the request names one.
    pub(in crate::testing) id: Option<&'a str>,
    /// What the request says was seen, and what stands there now.
    pub(in crate::testing) seen: Option<&'a Observation>,
    pub(in crate::testing) now: Observation,
}

/// Watches a world while it goes on, with invariants of its own. It must not
/// call into the system that tells it something.
pub(in crate::testing) trait Observer: Send + Sync {
    /// An append is about to be decided.
    fn appending(&self, append: &Append) -> Vec<Violation>;
    /// It is durable.
    fn appended(&self, append: &Append, appended: &Appended) -> Vec<Violation>;
    /// A system is about to be asked.
    fn asked(&self, asked: &Asked<'_>) -> Vec<Violation>;
    /// A system has done something.
    fn done(&self, deed: &Deed<'_>) -> Vec<Violation>;
}

/// Sees every durable append, every effect and every secret of a world.
#[derive(Default)]
pub(in crate::testing) struct Witness {
    seen: Mutex<Seen>,
    observer: Mutex<Option<Arc<dyn Observer>>>,
}

#[derive(Default)]
struct Seen {
    begun: BTreeSet<Claim>,
    /// Provider, type and id of every object that a fleet adopted.
    adopted: BTreeSet<(String, String, String)>,
    effects: BTreeMap<Claim, String>,
    secrets: Vec<Secret>,
    /// The digests of these, so that each is kept once.
    known: BTreeSet<Digest>,
    violations: Vec<Violation>,
    /// How often something durable changed.
    changes: u64,
}

impl Witness {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_observer(&self, observer: Option<Arc<dyn Observer>>) {
        *self.observer.lock().unwrap_or_else(PoisonError::into_inner) = observer;
    }

    /// Lets the observer look, where there is one, and keeps what it found.
    pub(super) fn observe(&self, look: impl FnOnce(&dyn Observer) -> Vec<Violation>) {
        let observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(observer) = observer {
            let found = look(&*observer);
            self.seen().violations.extend(found);
        }
    }

    /// These entries are durable.
    pub(super) fn appended(&self, entries: &[Entry]) {
        let mut seen = self.seen();
        seen.changes += 1;
        for entry in entries {
            match &entry.event {
                Event::Step(StepEvent::Begun { claim, .. }) => {
                    seen.begun.insert(claim.clone());
                }
                Event::Record(RecordEvent::Adopted { object, .. }) => {
                    let (provider, ty) = (object.provider.clone(), object.resource_type.clone());
                    seen.adopted.insert((provider, ty, object.id.clone()));
                }
                _ => {}
            }
        }
    }

    /// Something durable changed.
    pub(super) fn changed(&self) {
        self.seen().changes += 1;
    }

    pub(super) fn changes(&self) -> u64 {
        self.seen().changes
    }

    /// A system carried this out.
    pub(super) fn effect(&self, system: &str, effect: &Effect) {
        self.changed();
        let Some(claim) = effect.claim.as_ref().filter(|_| effect.operation != "cascade") else {
            return;
        };
        let Effect { resource_type, operation, id, .. } = effect;
        let what = format!("{operation} of {resource_type} `{id}` in `{system}`");
        let mut seen = self.seen();
        if !seen.begun.contains(claim) {
            let what = format!("{what} under claim {claim}, which no durable entry begins");
            seen.violations.push(Violation { invariant: "I1", what });
        }
        if let Some(first) = seen.effects.get(claim) {
            let what = format!("claim {claim} had two effects: {first}, and {what}");
            seen.violations.push(Violation { invariant: "I3", what });
        }
        let name = (system.to_owned(), (*resource_type).to_owned(), id.clone());
        let own = ["sim.account", "sim.job"].contains(resource_type);
        if *operation == "delete" && effect.outside && own && !seen.adopted.contains(&name) {
            let what = format!("{what}, which this ledger neither made nor adopted");
            seen.violations.push(Violation { invariant: "I9", what });
        }
        seen.effects.insert(claim.clone(), what);
    }

    /// A secret that must stand in no record.
    pub(super) fn secret(&self, secret: &Secret) {
        let mut seen = self.seen();
        if seen.known.insert(secret.expose(Digest::of_bytes)) {
            seen.secrets.push(secret.duplicate());
        }
    }

    /// Whether a secret stands in these bytes.
    pub(in crate::testing) fn finds_secret(&self, bytes: &[u8]) -> bool {
        self.seen().secrets.iter().any(|secret| {
            secret.expose(|secret| {
                !secret.is_empty() && bytes.windows(secret.len()).any(|window| window == secret)
            })
        })
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.seen().violations.clone()
    }

    /// Keeps what was found at a boundary, each thing once.
    pub(super) fn violated(&self, found: Vec<Violation>, boundary: &str) {
        let mut seen = self.seen();
        for Violation { invariant, what } in found {
            let known = seen
                .violations
                .iter()
                .any(|known| known.invariant == invariant && known.what.starts_with(&what));
            if !known {
                let what = format!("{what} (first seen at `{boundary}`)");
                seen.violations.push(Violation { invariant, what });
            }
        }
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}
