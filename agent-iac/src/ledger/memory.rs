//! A ledger in memory, for tests and for the simulated world.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Actor, Append, Appended, Batch, Entry, FORMAT, Fence, Group, Head, Held, Lease, Ledger,
    LedgerEvent, Page, Prepared, Query, Sealed, State,
};
use crate::{
    address::{Address, Instance},
    bugs::bug,
    clock::Clock,
    error::Result,
    value::Digest,
};

/// A ledger that lasts as long as its value.
///
/// It decides exactly as the durable ones do, and shares their code for it;
/// only the storing is missing.
///
/// ```
/// use std::sync::Arc;
/// use agent_iac::{clock::{SystemClock, block_on}, ledger::{Ledger as _, MemoryLedger, Query}};
///
/// let ledger = MemoryLedger::opened(Arc::new(SystemClock), "office", "test")?;
/// let state = block_on(ledger.state(&Query::Everything))?;
/// assert_eq!((state.head.sequence, state.fleet.as_str()), (1, "office"));
/// # Ok::<(), agent_iac::Error>(())
/// ```
pub struct MemoryLedger {
    clock: Arc<dyn Clock>,
    stored: Mutex<Stored>,
}

#[derive(Default)]
struct Stored {
    state: State,
    batches: Vec<Batch>,
    leases: BTreeMap<Instance, Held>,
}

impl MemoryLedger {
    /// Makes an empty one, whose first batch the caller appends.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, stored: Mutex::default() }
    }

    /// Makes one of a fleet and environment, with its first batch.
    ///
    /// # Errors
    ///
    /// When the clock's time has no JSON form.
    pub fn opened(clock: Arc<dyn Clock>, fleet: &str, environment: &str) -> Result<Self> {
        let ledger = Self::new(clock);
        // No other process ever sees this ledger, so its id need not be random.
        let id = Digest::of(&(fleet, environment, ledger.clock.now()))?.to_string();
        let opened = LedgerEvent::Opened {
            id: id[..32].to_owned(),
            fleet: fleet.to_owned(),
            environment: environment.to_owned(),
            format: FORMAT,
        };
        ledger.append_now(Append { entries: vec![Entry::new(opened)], ..Append::default() })?;
        Ok(ledger)
    }

    /// Says that every process that holds a lease now has died, as a durable
    /// ledger would see by itself: their leases stand in nobody's way.
    pub fn crash(&self) {
        for held in self.stored().leases.values_mut() {
            held.dead = true;
        }
    }

    /// The same of one process, by the name under which it holds its leases.
    pub fn crash_of(&self, holder: &str) {
        for held in self.stored().leases.values_mut() {
            held.dead |= held.lease.holder == holder;
        }
    }

    /// The record of one address, without a copy of all the others.
    #[cfg(feature = "testing")]
    pub(crate) fn record(&self, address: &Address) -> Option<super::Record> {
        self.stored().state.records.get(address).cloned()
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        // Nothing panics between two changes that belong together.
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grouped<T>(&self, act: impl FnOnce(&mut Group<'_>, &mut Vec<Batch>) -> T) -> T {
        let now = self.clock.now();
        let mut stored = self.stored();
        let Stored { state, batches, leases } = &mut *stored;
        act(&mut Group::new(state, leases, now), batches)
    }

    fn append_now(&self, append: Append) -> Result<Appended> {
        let prepared = Prepared::new(append)?;
        self.grouped(|group, batches| {
            let accepted = group.decide(prepared)?;
            batches.push(accepted.batch);
            Ok(accepted.appended)
        })
    }
}

impl std::fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryLedger").field("head", &self.stored().state.head).finish()
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    fn description(&self) -> String {
        String::from("memory")
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        self.append_now(append)
    }

    async fn state(&self, query: &Query) -> Result<State> {
        let mut state = self.stored().state.restrict(query);
        if bug!("replaced objects left out of the state") {
            state.records.values_mut().for_each(|record| record.deposed.clear());
        }
        Ok(state)
    }

    async fn page(&self, after: Option<&Instance>, limit: usize) -> Result<Page> {
        let agents: Vec<Instance> = {
            let stored = self.stored();
            let of_records = stored.state.records.keys().map(Address::instance);
            let all: BTreeSet<&Instance> = stored.state.agents.keys().chain(of_records).collect();
            let behind = all.into_iter().filter(|agent| after.is_none_or(|after| *agent > after));
            behind.take(limit).cloned().collect()
        };
        let last = agents.last().filter(|_| agents.len() == limit).cloned();
        let state = self.state(&Query::Agents(agents)).await?;
        Ok(Page { state, last })
    }

    async fn batches(&self, from: u64, limit: usize) -> Result<Vec<Batch>> {
        let stored = self.stored();
        let first = stored.batches.partition_point(|batch| batch.header.sequence < from);
        Ok(stored.batches[first..].iter().take(limit).cloned().collect())
    }

    async fn checkpoint(&self, archived: Head, actor: &Actor) -> Result<Head> {
        let now = self.clock.now();
        let mut stored = self.stored();
        let Stored { state, batches, leases } = &mut *stored;
        let sealed = Group::new(state, leases, now).checkpoint(archived, actor)?;
        let carried: Vec<Batch> = sealed.iter().map(Sealed::open).collect::<Result<_>>()?;
        let mut after = State::default();
        for batch in &carried {
            after.absorb(batch)?;
        }
        (*batches, *state) = (carried, after);
        Ok(state.head)
    }

    async fn renew(&self, fence: &Fence, ttl: Duration) -> Result<()> {
        self.grouped(|group, _| group.renew(fence, ttl))
    }

    async fn release(&self, fence: &Fence) -> Result<()> {
        self.grouped(|group, _| group.release(fence));
        Ok(())
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        let now = self.clock.now();
        let stored = self.stored();
        let alive = stored.leases.values().filter(|held| held.is_alive(now));
        Ok(alive.map(|held| held.lease.clone()).collect())
    }
}
