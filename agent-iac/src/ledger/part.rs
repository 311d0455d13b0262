//! Parts of a state: what a query asks for, and what a batch needs.
//!
//! Owns the rule that a part absorbs a batch exactly as the whole does, which
//! lets a backend load a few rows and not everything.

use std::collections::{BTreeMap, BTreeSet};

use super::{Batch, CredentialEvent, Entry, Event, Query, RecordEvent, RunId, State};
use crate::{
    address::{Address, Instance},
    error::Result,
};

/// The parts of a state that a batch changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Addresses whose record changed.
    pub addresses: BTreeSet<Address>,
    /// Agents whose record changed.
    pub agents: BTreeSet<Instance>,
    /// Runs that began or ended.
    pub runs: BTreeSet<RunId>,
}

impl State {
    /// Which records a batch will touch: those that a backend must have loaded
    /// before [`State::absorb`].
    pub fn touched_by(entries: &[Entry]) -> Touched {
        let mut touched = Touched::default();
        for entry in entries {
            if let Some(address) = &entry.address {
                touched.addresses.insert(address.clone());
                // Only what a credential proved is also noted of its agent; a
                // large run has an entry of every agent.
                if matches!(entry.event, Event::Credential(_)) {
                    touched.agents.insert(address.instance().clone());
                }
            }
            if let Event::Record(RecordEvent::Moved { from }) = &entry.event {
                touched.addresses.insert(from.clone());
            }
            touched.agents.extend(entry.instance.clone());
            // What is said of a run's steps does not change the run, and a run
            // is as large as it has agents.
            if matches!(entry.event, Event::Run(_)) {
                touched.runs.extend(entry.run.clone());
            }
        }
        touched
    }

    /// The addresses whose record the entries change, and whose version an
    /// append must therefore expect.
    pub fn changed_by(entries: &[Entry]) -> BTreeSet<Address> {
        let mut changed = BTreeSet::new();
        for entry in entries {
            let moves_version = match &entry.event {
                Event::Step(_) | Event::Record(_) => true,
                Event::Credential(event) => matches!(
                    event,
                    CredentialEvent::Issued { .. } | CredentialEvent::Delivered { .. }
                ),
                Event::Ledger(_)
                | Event::Plan(_)
                | Event::Run(_)
                | Event::Observed(_)
                | Event::Agent(_) => false,
            };
            changed.extend(entry.address.iter().filter(|_| moves_version).cloned());
            if let Event::Record(RecordEvent::Moved { from }) = &entry.event {
                changed.insert(from.clone());
            }
        }
        changed
    }

    /// The part of the state that a query asks for.
    #[must_use]
    pub fn restrict(&self, query: &Query) -> Self {
        let Query::Agents(instances) = query else { return self.clone() };
        let wanted: BTreeSet<&Instance> = instances.iter().collect();
        let of = |instance: &Instance| wanted.contains(instance);
        Self {
            records: pick(&self.records, |address| of(address.instance())),
            agents: pick(&self.agents, of),
            runs: self
                .runs
                .iter()
                .filter(|(_, run)| run.instances.iter().any(of))
                .map(|(id, run)| (id.clone(), run.clone()))
                .collect(),
            ..self.named()
        }
    }

    /// A state of the same ledger and head, without any records.
    fn named(&self) -> Self {
        Self {
            head: self.head,
            ledger: self.ledger.clone(),
            fleet: self.fleet.clone(),
            environment: self.environment.clone(),
            begins: self.begins,
            lost: self.lost.clone(),
            ..Self::default()
        }
    }

    /// The part of the state that [`State::absorb`] needs for a batch that
    /// touches `touched`.
    pub(super) fn part(&self, touched: &Touched) -> Self {
        Self {
            records: look_up(&self.records, &touched.addresses),
            agents: look_up(&self.agents, &touched.agents),
            runs: look_up(&self.runs, &touched.runs),
            ..self.named()
        }
    }

    /// Absorbs a batch that touches `touched`, and says what changed. One that
    /// cannot follow leaves everything as it was.
    pub(super) fn absorb_touching(&mut self, batch: &Batch, touched: &Touched) -> Result<Touched> {
        let before = self.part(touched);
        if let Err(error) = self.absorb(batch) {
            self.put_back(before, touched);
            return Err(error);
        }
        Ok(Touched {
            addresses: differing(&before.records, &self.records, &touched.addresses),
            agents: differing(&before.agents, &self.agents, &touched.agents),
            runs: differing(&before.runs, &self.runs, &touched.runs),
        })
    }

    /// Puts a part back as it was when it was taken.
    fn put_back(&mut self, part: Self, touched: &Touched) {
        put_back(&mut self.records, part.records, &touched.addresses);
        put_back(&mut self.agents, part.agents, &touched.agents);
        put_back(&mut self.runs, part.runs, &touched.runs);
        self.head = part.head;
        self.ledger = part.ledger;
        self.fleet = part.fleet;
        self.environment = part.environment;
        self.begins = part.begins;
        self.lost = part.lost;
    }
}

fn pick<K: Ord + Clone, V: Clone>(
    map: &BTreeMap<K, V>,
    wanted: impl Fn(&K) -> bool,
) -> BTreeMap<K, V> {
    map.iter()
        .filter(|(key, _)| wanted(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn look_up<K: Ord + Clone, V: Clone>(map: &BTreeMap<K, V>, keys: &BTreeSet<K>) -> BTreeMap<K, V> {
    keys.iter().filter_map(|key| Some((key.clone(), map.get(key)?.clone()))).collect()
}

fn differing<K: Ord + Clone, V: PartialEq>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    keys: &BTreeSet<K>,
) -> BTreeSet<K> {
    keys.iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

fn put_back<K: Ord + Clone, V>(
    whole: &mut BTreeMap<K, V>,
    mut part: BTreeMap<K, V>,
    keys: &BTreeSet<K>,
) {
    for key in keys {
        match part.remove(key) {
            Some(value) => whole.insert(key.clone(), value),
            None => whole.remove(key),
        };
    }
}
