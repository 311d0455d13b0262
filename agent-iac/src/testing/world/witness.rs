//! What a world has seen with its own eyes, whatever the ledger says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Violation, system::Effect};
use crate::{
    ledger::{Claim, Entry, Event, RecordEvent, StepEvent},
    secret::Secret,
};

/// Sees every durable append, every effect and every secret of a world.
#[derive(Default)]
pub(super) struct Witness(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    begun: BTreeSet<Claim>,
    /// Provider, type and id of every object that a fleet adopted.
    adopted: BTreeSet<(String, String, String)>,
    effects: BTreeMap<Claim, String>,
    secrets: Vec<Secret>,
    violations: Vec<Violation>,
    /// How often something durable changed.
    changes: u64,
}

impl Witness {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        if !seen.secrets.iter().any(|known| known.equals(secret)) {
            seen.secrets.push(secret.duplicate());
        }
    }

    /// Whether a secret stands in these bytes.
    pub(super) fn finds_secret(&self, bytes: &[u8]) -> bool {
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
