//! The invariants, as observers of the world and the ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::{Outcome, World, system::Existing};
use crate::{
    address::Address,
    error::Result,
    ledger::{Batch, Entry, Event, Managed, Record, RecordEvent, State},
    plan::Action,
    schema::Kind,
    value::canonical,
};

/// An invariant that does not hold.
///
/// * `I1` a provider write without an earlier durable `Begun` with its claim.
/// * `I2` a live object that is neither recorded nor in doubt, or a recorded
///   one that is gone without anybody's doing.
/// * `I3` a claim with more than one effect.
/// * `I4` a state that is not what its batches amount to.
/// * `I6` a recorded credential whose place gives no secret that works.
/// * `I9` an identity or a job was deleted that the ledger neither made nor
///   adopted.
/// * `I10` a secret in the ledger.
/// * `I11` a version or a generation that shrank.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Violation {
    /// The invariant's identifier.
    pub invariant: &'static str,
    /// What was found.
    pub what: String,
}

impl Violation {
    pub(in crate::testing) fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// A chain as far as it was replayed.
#[derive(Default)]
pub(super) struct Replay {
    /// After which change of the world it was last looked at.
    pub(super) looked_at: Option<u64>,
    state: State,
    /// The version and the number of generations of each address.
    numbers: BTreeMap<Address, (u64, u32)>,
    /// What somebody said is no longer managed.
    forgotten: BTreeSet<ObjectName>,
}

/// A real object: its provider, its type and its id.
type ObjectName = (String, String, String);

/// The objects that a batch says are no longer managed.
fn forgotten_by(batch: &Batch, before: &State) -> Vec<ObjectName> {
    let forgets = |entry: &&Entry| matches!(entry.event, Event::Record(RecordEvent::Forgotten));
    batch
        .entries
        .iter()
        .filter(forgets)
        .filter_map(|entry| before.records.get(entry.address.as_ref()?))
        .flat_map(|record| record.object.iter().chain(&record.deposed))
        .map(|old| (old.provider.clone(), old.resource_type.clone(), old.id.clone()))
        .collect()
}

/// How many batches one read of the ledger takes.
const PAGE: usize = 256;

impl World {
    /// Checks every invariant against a state of the ledger; empty when all
    /// hold. It may be called at any time, and passes no gate.
    pub fn check(&self, state: &State) -> Vec<Violation> {
        let mut found = self.look(state, &mut Replay::default());
        // What was noted before says where it was first seen.
        let noted = self.witness().violations();
        found.retain(|found| {
            let same = |noted: &&Violation| {
                noted.invariant == found.invariant && noted.what.starts_with(&found.what)
            };
            !noted.iter().any(|noted| same(&noted))
        });
        found.extend(noted);
        found.sort();
        found
    }

    /// Notes what is violated at a boundary; only batches that are new since
    /// the last one are replayed.
    pub(super) fn note(&self, state: &State, boundary: &str) {
        let mut replay = std::mem::take(&mut *self.replay());
        let found = self.look(state, &mut replay);
        *self.replay() = replay;
        self.witness().violated(found, boundary);
    }

    fn look(&self, state: &State, replay: &mut Replay) -> Vec<Violation> {
        let mut found = self.replayed(state, replay);
        found.extend(self.orphans(state, &replay.forgotten));
        found.extend(self.lost(state));
        found.extend(self.unusable(state));
        found
    }

    /// I2: what exists and is not recorded, unless somebody said that it is no
    /// longer managed.
    fn orphans(&self, state: &State, forgotten: &BTreeSet<ObjectName>) -> Vec<Violation> {
        let mut found = Vec::new();
        for provider in self.providers() {
            for existing in provider.existing() {
                let Existing { resource_type, object, claim: Some(claim), .. } = existing else {
                    continue;
                };
                let same = |managed: &Arc<Managed>| {
                    managed.provider == provider.name()
                        && managed.resource_type == resource_type
                        && managed.id == object.id
                };
                let known = state.records.values().any(|record| {
                    record.object.iter().chain(&record.deposed).any(same)
                        || record.open.as_ref().is_some_and(|open| {
                            open.provider == provider.name()
                                && open.resource_type == resource_type
                                && (open.claim == claim
                                    || open.id.as_ref() == Some(&object.id)
                                    || open.issued.as_ref() == Some(&object.id))
                        })
                });
                let name =
                    (provider.name().to_owned(), resource_type.to_owned(), object.id.clone());
                if !known && !forgotten.contains(&name) {
                    let of = object.mark.as_ref().map(|mark| format!(" of {mark}"));
                    let what = format!(
                        "the {resource_type} `{}`{} in `{}` is not recorded",
                        object.id,
                        of.unwrap_or_default(),
                        provider.name()
                    );
                    found.push(Violation::new("I2", what));
                }
            }
        }
        found
    }

    /// I2: what is recorded and does not exist, unless an outside hand
    /// deleted it or a step is open there.
    fn lost(&self, state: &State) -> Vec<Violation> {
        let mut found = Vec::new();
        for (address, record) in &state.records {
            if record.open.is_some() {
                continue;
            }
            for managed in record.object.iter().chain(&record.deposed) {
                let Some(provider) = self.provider_named(&managed.provider) else { continue };
                let exists = provider.existing().iter().any(|existing| {
                    existing.resource_type == managed.resource_type
                        && existing.object.id == managed.id
                });
                let by_hand = || provider.took_away(&managed.resource_type, &managed.id);
                if !exists && !by_hand() {
                    let what = format!(
                        "{address} is recorded as the {} `{}`, which does not exist",
                        managed.resource_type, managed.id
                    );
                    found.push(Violation::new("I2", what));
                }
            }
        }
        found
    }

    /// I6: recorded credentials whose place does not give a secret that the
    /// system knows.
    fn unusable(&self, state: &State) -> Vec<Violation> {
        let mut found = Vec::new();
        for (address, record) in &state.records {
            if let Some(what) = self.why_unusable(address, record) {
                found.push(Violation::new("I6", what));
            }
        }
        found
    }

    fn why_unusable(&self, address: &Address, record: &Record) -> Option<String> {
        let managed = record.object.as_ref().filter(|managed| managed.kind == Kind::Credential)?;
        let credential = managed.credential.as_ref()?;
        let provider = self.provider_named(&managed.provider)?;
        // On its way out, or replaced where the system allows one at a time:
        // the plan said that there would be a gap.
        let gap = |action: Action| {
            matches!(action, Action::Delete | Action::ReplaceDeleteFirst)
                || managed.resource_type == "sim.lone_key"
        };
        if record.open.as_ref().is_some_and(|open| gap(open.action)) {
            return None;
        }
        let live = provider.existing();
        let exists = live.iter().any(|existing| {
            existing.resource_type == managed.resource_type && existing.object.id == managed.id
        });
        if !exists {
            // Who deleted it is asked elsewhere.
            return None;
        }
        let store = self.store_named(credential.place.store())?;
        let path = credential.place.path();
        let opened = self.aside(async { store.open()?.open(path, None, None).await });
        let secret = match opened {
            Ok(secret) => secret,
            Err(error) => {
                return Some(format!("{address}: `{}` cannot be read: {error}", credential.place));
            }
        };
        // Somebody may remove the new one between its promotion and its record.
        let issued = record.open.as_ref().and_then(|open| open.issued.as_ref());
        if issued.is_some_and(|id| provider.took_away(&managed.resource_type, id)) {
            return None;
        }
        // Between its promotion and its record, the new one is that of the
        // new identity.
        let next = record.open.as_ref().and_then(|open| open.target.as_ref());
        let works = [Some(managed), next].into_iter().flatten().any(|managed| {
            let owner = managed.properties.get("of").and_then(|of| of.as_text());
            provider.knows(&managed.resource_type, owner.unwrap_or_default(), &secret)
        });
        if works {
            return None;
        }
        Some(format!("{address}: the secret at `{}` does not work", credential.place))
    }

    /// I4 and I10: the chain holds, its replay is the state, and no secret
    /// stands in it. I11: no version or generation ever shrinks.
    fn replayed(&self, state: &State, replay: &mut Replay) -> Vec<Violation> {
        let Some(ledger) = self.ledger_inside() else { return Vec::new() };
        if replay.state.head.sequence > state.head.sequence {
            // It is asked about a state of the past.
            *replay = Replay { looked_at: replay.looked_at, ..Replay::default() };
        }
        let mut found = Vec::new();
        while replay.state.head.sequence < state.head.sequence {
            let from = replay.state.head.sequence + 1;
            let left = usize::try_from(state.head.sequence - from + 1).unwrap_or(PAGE);
            let ledger = Arc::clone(&ledger);
            let page = async move { ledger.batches(from, left.min(PAGE)).await };
            let batches = match self.aside(page) {
                Ok(batches) if !batches.is_empty() => batches,
                Ok(_) => {
                    let what = format!("the ledger holds no batch {from}");
                    found.push(Violation::new("I4", what));
                    return found;
                }
                Err(error) => {
                    found.push(Violation::new("I4", error.chain()));
                    return found;
                }
            };
            for batch in &batches {
                if let Err(error) = self.follow(batch, replay, &mut found) {
                    found.push(Violation::new("I4", error.chain()));
                    return found;
                }
            }
        }
        if replay.state != *state {
            let what = format!("the state at batch {} is not its replay", state.head.sequence);
            found.push(Violation::new("I4", what));
        }
        found
    }

    fn follow(&self, batch: &Batch, replay: &mut Replay, found: &mut Vec<Violation>) -> Result<()> {
        replay.state.head.clone().follow(batch)?;
        replay.forgotten.extend(forgotten_by(batch, &replay.state));
        replay.state.absorb(batch)?;
        if self.witness().finds_secret(&canonical(batch)?) {
            let what = format!("batch {} of the ledger holds a secret", batch.header.sequence);
            found.push(Violation::new("I10", what));
        }
        for address in State::touched_by(&batch.entries).addresses {
            let Some(record) = replay.state.records.get(&address) else { continue };
            let now = (record.version, record.generations);
            let before = replay.numbers.insert(address.clone(), now).unwrap_or_default();
            // An address that was moved away from begins anew.
            if now.0 < before.0 || now.1 < before.1 && !record.is_vacant() {
                let what = format!("{address} went from {before:?} back to {now:?}");
                found.push(Violation::new("I11", what));
            }
        }
        Ok(())
    }

    /// Runs a check beside whatever the world runs.
    fn aside<T>(&self, future: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.drive_aside(future) {
            Outcome::Finished(answer) => answer,
            Outcome::Crashed | Outcome::Stuck => Err(crate::Error::new(
                crate::ErrorKind::Bug,
                "a check of the world waits for something that never comes",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Append, Entry, Query, RecordEvent};

    #[test]
    fn a_version_that_shrinks_is_seen_as_i11() {
        let world = World::new(1);
        let ledger = world.ledger("office", "test");
        let at: Address = "triage.account".parse().unwrap();
        let append = Append {
            expected: BTreeMap::from([(at.clone(), 0)]),
            entries: vec![Entry::of(&at, RecordEvent::Forgotten)],
            ..Append::default()
        };
        world.run(ledger.append(append)).finished().unwrap();
        let state = world.run(ledger.state(&Query::Everything)).finished().unwrap();
        assert_eq!(world.check(&state), []);
        world.replay().numbers.insert(at, (9, 0));
        world.note(&state, "here");
        let found: Vec<String> = world.violations().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["I11: triage.account went from (9, 0) back to (2, 0) (first seen at `here`)"]
        );
    }
}
