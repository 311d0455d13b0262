//! The append-only record of everything that was proposed, approved, begun,
//! done, seen and failed. The state is its fold.
//!
//! Owns the entries, the hash chain, the fold and the [`Ledger`] trait with
//! its backends. It knows no provider, and it never holds a secret.

mod backup;
mod chain;
mod checkpoint;
mod entry;
mod fold;
mod grouping;
mod memory;
mod names;
mod part;
mod reading;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(test)]
mod tests;
mod verify;

pub use backup::{Backup, backup, backup_into, check_backup};
pub use chain::{Batch, FORMAT, Head, Header, Sealed};
pub(crate) use checkpoint::is_settled;
pub use entry::{
    Actor, AgentEvent, Assurance, Authority, Cause, CredentialEvent, Entry, Event, LedgerEvent,
    ObservedEvent, PlanEvent, Proof, RecordEvent, RunEvent, RunPurpose, StepEvent, Summary,
};
pub use fold::{
    AgentRecord, Checkpoint, CredentialRecord, Hold, Leaving, Managed, OpenRun, OpenStep, Record,
    Rotation, State,
};
pub use grouping::{Accepted, Group, Held, Prepared};
pub use memory::MemoryLedger;
pub use names::{Claim, Fence, RunId};
pub use part::Touched;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteLedger;
pub(crate) use verify::look_up;
pub use verify::{Verified, follows_pin, verify, verify_archived, verify_chain};

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    address::{Address, Instance},
    error::{Error, ErrorKind, Result},
};

/// Entries to append as one batch.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// The version that each touched address is expected to have; 0 for one
    /// that was never recorded. An entry that changes a record must name its
    /// address here.
    pub expected: BTreeMap<Address, u64>,
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// The lease under which the run writes; `None` for what needs none
    /// (a proposal, an observation, a hold).
    pub fence: Option<Fence>,
    /// Leases to take in the same instant.
    pub take: Option<Take>,
}

/// Leases that a run takes in the append that begins it.
#[derive(Clone, Debug)]
pub struct Take {
    /// The run.
    pub run: RunId,
    /// The agents that it is about.
    pub instances: Vec<Instance>,
    /// Who holds them, for those who have to wait: person, host, process.
    pub holder: String,
    /// How long they last without being renewed, where the backend cannot see
    /// the holder die.
    pub ttl: Duration,
    /// Take them from whoever holds them; their fence then keeps that one out.
    pub force: bool,
}

/// A lease that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The agent.
    pub instance: Instance,
    /// The run that holds it.
    pub run: RunId,
    /// Who holds it.
    pub holder: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when, unless renewed.
    pub until: Timestamp,
}

/// What an append did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The head with the new batch.
    pub head: Head,
    /// The batch's time, as the ledger recorded it.
    pub time: Timestamp,
    /// The fence of the leases that were taken.
    pub fence: Option<Fence>,
}

/// A part of the state, of agents that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The state, restricted to them.
    pub state: State,
    /// The last of them, behind which the next page begins; `None` where
    /// nothing follows.
    pub last: Option<Instance>,
}

/// Which part of the state to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Query {
    /// All of it.
    #[default]
    Everything,
    /// The records of these agents, with their agent records and open runs.
    Agents(Vec<Instance>),
}

/// A store of batches.
///
/// # Contract
///
/// * **One history.** Batches form one hash chain. An append is refused with
///   [`ErrorKind::Conflict`], naming every address
///   that moved, when one of `expected` has another version; otherwise the
///   backend itself puts it behind the newest batch, however many others were
///   appended meanwhile.
/// * **Sound.** An append that holds no entries, changes a record without
///   expecting its version, or cannot follow what was recorded (a step that
///   ends without having begun) is refused with
///   [`ErrorKind::InvalidInput`].
/// * **Durable.** What was answered survives a power cut; what was refused or
///   failed left nothing behind. When it cannot be told, the error's kind is
///   [`ErrorKind::InDoubt`].
/// * **Fenced.** An append under a fence whose leases were taken by another,
///   or have run out and been taken, is refused with
///   [`ErrorKind::LeaseHeld`], naming the holder,
///   since when and from where.
/// * **Constant.** The bytes written for an append do not depend on how much
///   was recorded before.
/// * **Genesis.** The first batch holds [`LedgerEvent::Opened`]; a durable
///   backend writes it when it makes a ledger. The first of one that was
///   archived holds [`LedgerEvent::Continued`], and goes on with the numbers.
/// * **Cancel-safe.** A dropped append was either carried out or not at all.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// A short description for people, as `SQLite .agent-iac/ledger.db`.
    fn description(&self) -> String;

    /// Appends one batch.
    ///
    /// # Errors
    ///
    /// See the contract.
    async fn append(&self, append: Append) -> Result<Appended>;

    /// The fold, or the part of it that is asked for.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be read.
    async fn state(&self, query: &Query) -> Result<State>;

    /// The part of the fold that is about the next `limit` agents behind
    /// `after`, or about the first ones, in an order of the backend's own; and
    /// the last of them, when there may be more. Runs stand in every page.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be read.
    async fn page(&self, after: Option<&Instance>, limit: usize) -> Result<Page> {
        // All of it is one page of a backend that has no smaller ones.
        let (_, _): (Option<&Instance>, usize) = (after, limit);
        let state = self.state(&Query::Everything).await?;
        Ok(Page { state, last: None })
    }

    /// Up to `limit` batches, from the one numbered `from` or the first behind
    /// it: numbers grow, and leave some out where a history was archived or
    /// rewound.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be read.
    async fn batches(&self, from: u64, limit: usize) -> Result<Vec<Batch>>;

    /// As [`Ledger::batches`], with the entries as they are kept. A backend
    /// that keeps their text gives it unread, which is what makes a long chain
    /// quick to check; whoever follows the chain takes the digests.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be read.
    async fn sealed(&self, from: u64, limit: usize) -> Result<Vec<Sealed>> {
        self.batches(from, limit).await?.iter().map(Sealed::of).collect()
    }

    /// Checks what the batches do not show: that where they are kept is in the
    /// form that this version made. [`verify`](verify()) calls it first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Damaged`], naming what differs.
    async fn examine(&self) -> Result<()> {
        Ok(())
    }

    /// Puts a checkpoint in the place of every batch up to `archived`, which
    /// must be the head, in one instant: whoever reads sees the old history
    /// whole, or the new one. The caller has made a durable archive of it
    /// before; [`Deployment::archive`](crate::deployment::Deployment::archive)
    /// does both.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] when the head has
    /// moved, [`ErrorKind::LeaseHeld`] when a
    /// lease is held, [`ErrorKind::Refused`] when a
    /// step or run is open, and
    /// [`ErrorKind::Unsupported`] from a
    /// backend that keeps its whole history.
    async fn checkpoint(&self, archived: Head, actor: &Actor) -> Result<Head> {
        let _: (Head, &Actor) = (archived, actor);
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} keeps its whole history", self.description()),
        )
        .help("make a backup instead"))
    }

    /// Prolongs the leases of a fence.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseHeld`] when another has
    /// taken one.
    async fn renew(&self, fence: &Fence, ttl: Duration) -> Result<()>;

    /// Gives the leases of a fence back; those that are lost already are
    /// passed over.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be written.
    async fn release(&self, fence: &Fence) -> Result<()>;

    /// The leases that are held and alive.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be read.
    async fn leases(&self) -> Result<Vec<Lease>>;
}

impl std::fmt::Debug for dyn Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ledger({})", self.description())
    }
}
