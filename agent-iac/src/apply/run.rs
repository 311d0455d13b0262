//! A run that was begun: its names, its leases and its systems.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use jiff::Timestamp;

use super::{Engine, Progress, RunContext, trace, values::mark};
use crate::{
    address::{Address, Instance},
    bugs::bug,
    clock::Clock,
    error::{Error, ErrorKind, Result},
    ledger::{Append, Claim, Entry, Fence, Query, RunId},
    provider::Mark,
};

/// How long a lease lasts without being renewed, where the ledger cannot see
/// its holder die.
pub(super) const LEASE: Duration = Duration::from_mins(1);

/// How often a lease is renewed until the answer is soon enough.
const RENEWALS: usize = 3;

/// A run that was begun: its names, its leases and its systems.
pub(super) struct Run<'a> {
    pub(super) engine: &'a Engine,
    pub(super) context: &'a RunContext,
    pub(super) id: RunId,
    pub(super) fence: Fence,
    claims: AtomicUsize,
    keeps: Keeps,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        context: &'a RunContext,
        id: RunId,
        fence: Fence,
    ) -> Self {
        // The batch that took the leases is their token.
        let keeps = Keeps::new(fence.token, engine.clock.now());
        Self { engine, context, id, fence, claims: AtomicUsize::new(0), keeps }
    }

    pub(super) fn next_claim(&self) -> Claim {
        self.id.claim(self.claims.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whose an object at an address is.
    pub(super) fn mark(&self, address: &Address) -> Mark {
        mark(&self.engine.fleet, &self.engine.environment, address)
    }

    pub(super) fn tell(&self, progress: &Progress) {
        trace::tell(progress);
        (self.context.watch)(progress);
    }

    /// Appends under the run's leases, and gives the batch's number: the new
    /// version of every address in `expected`.
    pub(super) async fn append(
        &self,
        expected: BTreeMap<Address, u64>,
        entries: Vec<Entry>,
    ) -> Result<u64> {
        let entries: Vec<Entry> = entries.into_iter().map(|e| e.in_run(&self.id)).collect();
        let fence = self.fence_of(&entries);
        let append = || Append {
            expected: expected.clone(),
            entries: entries.clone(),
            fence: Some(fence.clone()),
            take: None,
        };
        let mut attempt = 0;
        loop {
            let since = self.engine.clock.now();
            let error = match self.engine.ledger.append(append()).await {
                Ok(appended) => {
                    // A part of the fence that holds says nothing of the rest.
                    if fence.instances.len() == self.fence.instances.len() {
                        self.keeps.checked(since);
                    }
                    return Ok(appended.head.sequence);
                }
                Err(error) => error,
            };
            let lost = matches!(error.kind(), ErrorKind::InDoubt | ErrorKind::Timeout);
            if lost && bug!("unknown commit believed") {
                let state = self.engine.ledger.state(&Query::Agents(Vec::new())).await?;
                return Ok(state.head.sequence);
            }
            if lost && let Some(sequence) = self.appended(&entries).await? {
                return Ok(sequence);
            }
            if error.kind() == ErrorKind::LeaseHeld {
                self.keeps.lost();
            }
            attempt += 1;
            match self.engine.pause(&error, attempt) {
                Some(pause) => self.engine.clock.sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    /// The part of the fence that some entries are about, so that an append
    /// does not cost as much as the run has agents; all of it when they are
    /// about no single one.
    fn fence_of(&self, entries: &[Entry]) -> Fence {
        let about: BTreeSet<&Instance> = entries
            .iter()
            .filter_map(|entry| {
                entry.address.as_ref().map(Address::instance).or(entry.instance.as_ref())
            })
            .collect();
        if about.is_empty() {
            return self.fence.clone();
        }
        Fence { instances: about.into_iter().cloned().collect(), ..self.fence.clone() }
    }

    /// Whether an append whose answer was lost was carried out, and as which
    /// batch. Only the entries themselves can tell: a version may have been
    /// moved by somebody who took the lease meanwhile, and some appends move
    /// none.
    async fn appended(&self, entries: &[Entry]) -> Result<Option<u64>> {
        let mut from = self.keeps.first() + 1;
        loop {
            let page = self.engine.persist(|| self.engine.ledger.batches(from, 100)).await?;
            let Some(last) = page.last() else { return Ok(None) };
            from = last.header.sequence + 1;
            if let Some(batch) = page.iter().find(|batch| batch.entries == entries) {
                return Ok(Some(batch.header.sequence));
            }
        }
    }

    /// Makes sure that the leases outlive the provider call that is about to
    /// be made: nothing is asked of a provider that another run may be at.
    ///
    /// # Errors
    ///
    /// When they are lost, or it cannot be told.
    pub(super) async fn still_holds(&self) -> Result<()> {
        if bug!("lease not checked before the call") {
            return Ok(());
        }
        for _ in 0..RENEWALS {
            if self.keeps.is_fresh(&*self.engine.clock) {
                return Ok(());
            }
            // Its answer may be so late that it says nothing any more.
            self.renew().await?;
            if bug!("late renewal believed") {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Timeout, "the ledger answers too slowly to hold a lease"))
    }

    /// Prolongs the leases.
    ///
    /// # Errors
    ///
    /// When they are lost, or it cannot be told.
    pub(super) async fn renew(&self) -> Result<()> {
        let since = self.engine.clock.now();
        let renewed = self.engine.ledger.renew(&self.fence, LEASE).await;
        match &renewed {
            Ok(()) => self.keeps.renewed(since),
            Err(error) if error.kind() == ErrorKind::LeaseHeld => self.keeps.lost(),
            Err(_) => {}
        }
        renewed
    }

    /// Waits for something, renewing the leases meanwhile.
    pub(super) async fn holding<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let renewal = std::pin::pin!(self.renew_when_due());
            match select(work.as_mut(), renewal).await {
                Either::Left((done, _)) => return done,
                Either::Right(_) => {}
            }
        }
    }

    /// Renews the leases once a third of their time is over. A lease that is
    /// lost shows itself before the next call of a provider.
    async fn renew_when_due(&self) {
        let clock = &*self.engine.clock;
        clock.sleep(self.keeps.due_in(clock)).await;
        if self.renew().await.is_err() {
            clock.sleep(LEASE / 12).await;
        }
    }
}

/// What a run knows of its hold on the ledger.
struct Keeps(Mutex<Kept>);

#[derive(Clone, Copy)]
struct Kept {
    /// The batch in which this run began.
    first: u64,
    /// When the leases were last prolonged.
    renewed: Timestamp,
    /// When the fence was last seen to hold.
    checked: Timestamp,
    /// Whether another is known to have taken a lease.
    lost: bool,
}

impl Keeps {
    fn new(first: u64, now: Timestamp) -> Self {
        Self(Mutex::new(Kept { first, renewed: now, checked: now, lost: false }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first(&self) -> u64 {
        self.kept().first
    }

    /// An append under the fence was taken that was made at this time.
    fn checked(&self, since: Timestamp) {
        let mut kept = self.kept();
        kept.checked = kept.checked.max(since);
    }

    fn renewed(&self, since: Timestamp) {
        let mut kept = self.kept();
        kept.renewed = since;
        kept.checked = since;
    }

    fn lost(&self) {
        self.kept().lost = true;
    }

    /// Whether the fence was seen to hold so lately, with so much time left,
    /// that a call may be made without asking.
    fn is_fresh(&self, clock: &dyn Clock) -> bool {
        let kept = self.kept();
        let since = |then: Timestamp| clock.now().duration_since(then);
        let within = |then: Timestamp, limit: Duration| {
            let since = since(then);
            !since.is_negative() && since.unsigned_abs() < limit
        };
        !kept.lost && within(kept.checked, LEASE / 12) && within(kept.renewed, LEASE / 2)
    }

    fn due_in(&self, clock: &dyn Clock) -> Duration {
        let since = clock.now().duration_since(self.kept().renewed);
        if since.is_negative() {
            LEASE / 3
        } else {
            (LEASE / 3).saturating_sub(since.unsigned_abs())
        }
    }
}
