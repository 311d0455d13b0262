//! What the writer knows of the file's rows for as long as nobody else writes
//! into it.
//!
//! Owns when that ends: SQLite counts, for each connection, the commits of all
//! others. A run appends about each of its steps twice, and so reads nothing of
//! what it wrote itself a moment before. What is known is bounded, and is never
//! the answer to anybody else: readers have a connection of their own.

use std::collections::BTreeMap;

use crate::{
    address::{Address, Instance},
    ledger::{Fence, Held, Record, RunId},
};

/// The most records that are kept: those of a few batches, which are what a run
/// comes back to.
const RECORDS: usize = 8_192;

/// The most leases; of a larger run, the others are read each time.
const LEASES: usize = 131_072;

/// What is known as of one version of the file.
#[derive(Default)]
pub(super) struct Kept {
    /// What SQLite calls the version; another one after somebody else's commit.
    version: Option<i64>,
    /// Records as they stand in the file.
    pub(super) records: BTreeMap<Address, Record>,
    /// Who holds an agent: the token and the run.
    leases: BTreeMap<Instance, (u64, RunId)>,
}

impl Kept {
    /// Forgets everything that is not as of this version.
    pub(super) fn at(&mut self, version: i64) {
        if self.version != Some(version) {
            *self = Self { version: Some(version), ..Self::default() };
        }
    }

    /// Whether every lease of a fence is known to be the fence's.
    pub(super) fn is_whole(&self, fence: &Fence) -> bool {
        let is_of = |(token, run): &(u64, RunId)| *token == fence.token && *run == fence.run;
        fence.instances.iter().all(|instance| self.leases.get(instance).is_some_and(is_of))
    }

    /// Notes what was written of an address.
    pub(super) fn record(&mut self, address: Address, record: Option<Record>) {
        if self.records.len() >= RECORDS {
            self.records.clear();
        }
        match record {
            Some(record) => self.records.insert(address, record),
            None => self.records.remove(&address),
        };
    }

    /// Notes who holds an agent now.
    pub(super) fn lease(&mut self, instance: &Instance, held: Option<&Held>) {
        match held {
            Some(held) if self.leases.len() < LEASES => {
                let of = (held.token, held.lease.run.clone());
                self.leases.insert(instance.clone(), of);
            }
            // What is not noted must not stay as it was either.
            _ => drop(self.leases.remove(instance)),
        }
    }
}
