//! The decision about queued appends: which are taken, and why others are not.
//!
//! Pure: it is given the state, the leases and the time, and every backend
//! that keeps its own chain can share it. It knows no storage.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Actor, Append, Appended, Batch, Fence, Head, Lease, Sealed, State, Take, Touched, checkpoint,
};
use crate::{
    address::{Address, Instance},
    bugs::bug,
    error::{Error, ErrorKind, Result, Retry},
    value::{self, Digest},
};

/// An append with all that does not depend on its place in the chain, so that
/// the writer, for whom everybody waits, neither serialises nor hashes bodies.
#[derive(Clone, Debug)]
pub struct Prepared {
    append: Append,
    body: Digest,
    json: String,
    touched: Touched,
}

impl Prepared {
    /// Checks an append's form and computes its body once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when it holds no entries, or changes a
    /// record whose version it does not expect.
    pub fn new(append: Append) -> Result<Self> {
        if append.entries.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "an append holds no entries")
                .help("append only when there is something to record"));
        }
        let changed = State::changed_by(&append.entries);
        let unexpected: Vec<&Address> =
            changed.iter().filter(|address| !append.expected.contains_key(*address)).collect();
        if !unexpected.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "an append changes records without saying which version it expects: {}",
                    listed(&unexpected)
                ),
            )
            .help("name each changed address in `expected`, with 0 where nothing was recorded"));
        }
        let json = text(&append.entries)?;
        let body = Digest::of_bytes(json.as_bytes());
        let touched = State::touched_by(&append.entries);
        Ok(Self { append, body, json, touched })
    }

    /// What must be loaded before [`Group::decide`]: what the entries touch
    /// and what the append expects.
    pub fn needs(&self) -> Touched {
        let mut needs = self.touched.clone();
        needs.addresses.extend(self.append.expected.keys().cloned());
        needs
    }

    /// Whether it takes leases.
    pub fn takes(&self) -> bool {
        self.append.take.is_some()
    }

    /// The agents whose leases must be loaded before [`Group::decide`], beside
    /// those of [`Prepared::fence`].
    pub fn taken(&self) -> &[Instance] {
        self.append.take.as_ref().map_or(&[], |take| &take.instances)
    }

    /// The fence that it is under. All of its leases must be loaded, once for
    /// all the appends of a group that are under it.
    pub fn fence(&self) -> Option<&Fence> {
        self.append.fence.as_ref()
    }
}

/// A lease as a backend keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The lease.
    pub lease: Lease,
    /// The token of its fence.
    pub token: u64,
    /// Whether the backend saw its holder's process end.
    pub dead: bool,
}

impl Held {
    /// Whether it still keeps others out.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        !self.dead && now < self.lease.until
    }

    fn is_of(&self, fence: &Fence) -> bool {
        self.token == fence.token && self.lease.run == fence.run
    }
}

/// The appends that are decided together, and written at once.
#[derive(Debug)]
pub struct Group<'a> {
    /// The state, or at least the part of it that every append needs.
    pub state: &'a mut State,
    /// The leases, or at least those that every append needs.
    pub leases: &'a mut BTreeMap<Instance, Held>,
    /// The ledger's time.
    pub now: Timestamp,
    /// The fences that were found whole since a lease last changed hands. A
    /// large run queues many appends at once; looking at all of its leases for
    /// each would cost the square of its size.
    whole: Vec<Fence>,
}

/// An append that was taken: what a backend has to write.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The answer, once it is durable.
    pub appended: Appended,
    /// The batch.
    pub batch: Batch,
    /// The canonical JSON of its entries, which the header's body is of.
    pub json: String,
    /// The parts of the state that it changed, by then changed in
    /// [`Group::state`].
    pub changed: Touched,
}

impl<'a> Group<'a> {
    /// Begins a group.
    pub fn new(
        state: &'a mut State,
        leases: &'a mut BTreeMap<Instance, Held>,
        now: Timestamp,
    ) -> Self {
        Self { state, leases, now, whole: Vec::new() }
    }

    /// Takes it from the backend that a fence is whole. The backend has not
    /// loaded its leases: it took or saw them before, and nobody else has
    /// written since. No append of such a group may take leases, and none is
    /// given back in it.
    #[cfg(feature = "sqlite")]
    pub(super) fn knows_whole(&mut self, fence: &Fence) {
        self.whole.push(fence.clone());
    }

    /// Decides about the next append. What is refused changes nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseHeld`] and [`ErrorKind::Conflict`] as the ledger's
    /// contract says; [`ErrorKind::InvalidInput`] when its entries cannot
    /// follow what was recorded.
    pub fn decide(&mut self, prepared: Prepared) -> Result<Accepted> {
        let Prepared { append, body, json, touched } = prepared;
        if let Some(fence) = &append.fence {
            self.check_fence(fence)?;
        }
        if let Some(take) = &append.take {
            self.check_take(take)?;
        }
        self.check_versions(&append.expected)?;

        let header = self.state.head.header(self.now, body, &append.entries);
        let batch = Batch { header, entries: append.entries };
        let changed = self.state.absorb_touching(&batch, &touched).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, "an append does not follow what was recorded")
                .help("read the state again; if it still does not follow, report this")
                .caused_by(error)
        })?;
        let fence = append.take.map(|take| self.take(take, batch.header.sequence));
        let appended = Appended { head: self.state.head, time: self.now, fence };
        Ok(Accepted { appended, batch, json, changed })
    }

    /// The checkpoint that takes the place of all batches up to `archived`.
    /// Everything must be loaded; nothing is changed.
    ///
    /// # Errors
    ///
    /// As [`Ledger::checkpoint`](super::Ledger::checkpoint).
    pub fn checkpoint(&self, archived: Head, actor: &Actor) -> Result<Vec<Sealed>> {
        if let Some((instance, held)) = self.leases.iter().find(|(_, held)| held.is_alive(self.now))
        {
            return Err(Error::new(ErrorKind::LeaseHeld, describe(instance, held))
                .help("wait until that run has ended, or end its process, and archive then"));
        }
        checkpoint::is_settled(self.state)?;
        if self.state.head != archived {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the archive ends at batch {}, and batch {} was appended meanwhile",
                    archived.sequence, self.state.head.sequence
                ),
            )
            .help("archive again, into another file"));
        }
        checkpoint::batches(self.state, self.now, actor)
    }

    /// Prolongs the leases of a fence.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseHeld`] when one of them is no longer the fence's;
    /// then none is prolonged.
    pub fn renew(&mut self, fence: &Fence, ttl: std::time::Duration) -> Result<()> {
        self.check_fence(fence)?;
        let until = after(self.now, ttl);
        for instance in fence.instances.iter() {
            if let Some(held) = self.leases.get_mut(instance) {
                // A shorter time than was promised would let somebody else in
                // before the holder expects it.
                held.lease.until = held.lease.until.max(until);
            }
        }
        Ok(())
    }

    /// Gives the leases of a fence back, and says which those were.
    pub fn release(&mut self, fence: &Fence) -> Vec<Instance> {
        let given: Vec<Instance> = fence
            .instances
            .iter()
            .filter(|instance| self.leases.get(*instance).is_some_and(|held| held.is_of(fence)))
            .cloned()
            .collect();
        for instance in &given {
            self.leases.remove(instance);
        }
        self.whole.clear();
        given
    }

    fn check_fence(&mut self, fence: &Fence) -> Result<()> {
        if bug!("fencing not checked") || self.whole.iter().any(|whole| whole.is_same(fence)) {
            return Ok(());
        }
        let mut lost = Vec::new();
        for instance in fence.instances.iter() {
            match self.leases.get(instance) {
                Some(held) if held.is_of(fence) => {}
                Some(held) => lost.push(describe(instance, held)),
                None => lost.push(format!("`{instance}` was given back or taken in between")),
            }
        }
        if lost.is_empty() {
            self.whole.push(fence.clone());
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::LeaseHeld,
            format!("run {} lost its lease: {}", fence.run, lost.join("; ")),
        )
        .help("this run can write no more; plan again once the other has ended"))
    }

    fn check_take(&self, take: &Take) -> Result<()> {
        if take.force || bug!("lease ignored") {
            return Ok(());
        }
        let held: Vec<(&Instance, &Held)> = take
            .instances
            .iter()
            .filter_map(|instance| Some((instance, self.leases.get(instance)?)))
            .filter(|(_, held)| held.lease.run != take.run && held.is_alive(self.now))
            .collect();
        let Some(last) = held.iter().map(|(_, held)| held.lease.until).max() else {
            return Ok(());
        };
        let wait = std::time::Duration::try_from(last.duration_since(self.now)).unwrap_or_default();
        let text: Vec<String> =
            held.iter().map(|(instance, held)| describe(instance, held)).collect();
        Err(Error::new(ErrorKind::LeaseHeld, text.join("; ")).retry_as(Retry::After(wait)).help(
            format!(
                "wait until that run has ended, or end its process; the lease runs out at {last} \
                 unless it is renewed, and `hold` and `kill` take it by force"
            ),
        ))
    }

    fn check_versions(&self, expected: &BTreeMap<Address, u64>) -> Result<()> {
        let moved: Vec<String> = expected
            .iter()
            .map(|(address, expected)| (address, *expected, self.state.version(address)))
            .filter(|(_, expected, actual)| expected != actual)
            .map(|(address, expected, actual)| {
                format!("`{address}` is at version {actual}, not {expected}")
            })
            .collect();
        if moved.is_empty() || bug!("versions not compared") {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("another run has changed what this one touches: {}", moved.join(", ")),
        )
        .help("plan again, and look at what the other run did"))
    }

    /// The sequence number of the batch that takes is the token: it grows with
    /// every take, and no counter has to be kept beside the chain.
    fn take(&mut self, take: Take, token: u64) -> Fence {
        self.whole.clear();
        for instance in &take.instances {
            let lease = Lease {
                instance: instance.clone(),
                run: take.run.clone(),
                holder: take.holder.clone(),
                since: self.now,
                until: after(self.now, take.ttl),
            };
            self.leases.insert(instance.clone(), Held { lease, token, dead: false });
        }
        Fence { run: take.run, token, instances: take.instances.into() }
    }
}

/// The canonical JSON of a value, as text.
pub(super) fn text<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    let bytes = value::canonical(value)?;
    Ok(String::from_utf8(bytes).expect("canonical JSON is written as UTF-8"))
}

fn after(now: Timestamp, ttl: std::time::Duration) -> Timestamp {
    jiff::SignedDuration::try_from(ttl)
        .ok()
        .and_then(|ttl| now.checked_add(ttl).ok())
        .unwrap_or(Timestamp::MAX)
}

fn describe(instance: &Instance, held: &Held) -> String {
    let Lease { run, holder, since, .. } = &held.lease;
    format!("`{instance}` is held by {holder}, run {run}, since {since}")
}

fn listed(addresses: &[&Address]) -> String {
    addresses.iter().map(|address| format!("`{address}`")).collect::<Vec<_>>().join(", ")
}
