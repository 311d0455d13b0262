//! The state: what the entries amount to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{
    Actor, AgentEvent, Authority, Batch, Cause, Claim, CredentialEvent, Entry, Event, Head,
    LedgerEvent, RecordEvent, RunEvent, RunId, RunPurpose, StepEvent,
};
use crate::{
    access::Access,
    address::{Address, Instance},
    agent::{Period, Source},
    error::{Error, ErrorKind, Result},
    plan::Action,
    schema::Kind,
    secret::Fingerprint,
    value::{Digest, Value},
    vault::Place,
};

/// One managed object as it was last recorded. An entry, the record that it
/// makes and whoever reads that record share one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    /// The type, as `postgres.role`.
    pub resource_type: String,
    /// What it is to its agent.
    pub kind: Kind,
    /// The provider's name in the deployment.
    pub provider: String,
    /// The object's id in its system; empty until it exists.
    pub id: String,
    /// The declared properties, all known.
    pub properties: BTreeMap<String, Value>,
    /// What the system gave.
    pub outputs: BTreeMap<String, Value>,
    /// The access that it gives.
    #[serde(default, skip_serializing_if = "is_none")]
    pub access: Access,
    /// What it needs to exist.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dependencies: BTreeSet<Address>,
    /// Whether it may not be deleted or replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// Whether it is suspended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// For a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialRecord>,
}

fn is_none(access: &Access) -> bool {
    *access == Access::NONE
}

/// What is recorded of a credential's generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRecord {
    /// The generation, from 1.
    pub generation: u32,
    /// Where consumers read it.
    pub place: Place,
    /// The digest of what is stored there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Digest>,
    /// The name of the fingerprint's key, and the fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<(String, Fingerprint)>,
    /// When it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Timestamp>,
    /// When it was last really used with success, by the probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
}

/// A step that was begun and of which no end is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStep {
    /// Its run.
    pub run: RunId,
    /// Its idempotency token.
    pub claim: Claim,
    /// What it does.
    pub action: Action,
    /// Whether it removes the old one of a replacement.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deposed: bool,
    /// What will be recorded once it is done.
    pub target: Option<Arc<Managed>>,
    /// The id of the object that it acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The provider's name.
    pub provider: String,
    /// The type.
    pub resource_type: String,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// For a credential: the id under which the system knows it, once it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<String>,
}

/// What is recorded of one address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The number of the last batch that changed it.
    pub version: u64,
    /// The object, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Arc<Managed>>,
    /// Objects that were replaced and still have to go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deposed: Vec<Arc<Managed>>,
    /// A step whose end is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenStep>,
    /// The generations that were ever begun here; the next is one more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generations: u32,
    /// How far a credential is in being replaced; nothing, mostly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Box<Rotation>>,
}

/// What is recorded of a credential's rotation, beside its generations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The older generations that a rotation left beside the present one, and
    /// since when that one is what consumers read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overlap: BTreeMap<u32, Timestamp>,
    /// The newest generation that each consumer was told of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<String, u32>,
    /// The newest generation that each consumer says it uses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub confirmed: BTreeMap<String, u32>,
    /// The generations that somebody should not know, as far as they live.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub compromised: BTreeSet<u32>,
    /// The generations that were kept past their time, which was said.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub overdue: BTreeSet<u32>,
    /// The generation that was ended to make room for the next, where the
    /// system allows one at a time: until that is there, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Arc<Managed>>,
    /// How often it failed since it last went on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// When it last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Record {
    /// A step of it is done.
    pub(crate) fn done(&mut self, open: &OpenStep, object: Option<&Arc<Managed>>, time: Timestamp) {
        let mut rotation = self.rotation.take().unwrap_or_default();
        let before = (self.object.as_ref().map(|object| object.id.clone()), self.deposed.len());
        if open.deposed {
            self.deposed.retain(|old| Some(&old.id) != open.id.as_ref());
        } else {
            let old = self.object.take();
            match open.action {
                Action::ReplaceCreateFirst => self.deposed.extend(old),
                // What was made beside the old one leaves that for its overlap.
                Action::Rotate if object.is_some() => {
                    rotation.overlap.extend(
                        old.iter()
                            .filter_map(|old| Some((old.credential.as_ref()?.generation, time))),
                    );
                    self.deposed.extend(old);
                }
                Action::Rotate => rotation.gap = old,
                _ => {}
            }
            self.object = object.cloned();
        }
        let after = (self.object.as_ref().map(|object| object.id.clone()), self.deposed.len());
        if before != after {
            (rotation.failures, rotation.failed_at) = (0, None);
        }
        self.put_back(rotation);
    }

    /// A step of it failed. What is counted is what a rotation would repeat.
    pub(crate) fn failed(&mut self, open: &OpenStep, time: Timestamp) {
        if open.action == Action::Rotate || open.deposed {
            let mut rotation = self.rotation.take().unwrap_or_default();
            rotation.failures = rotation.failures.saturating_add(1);
            rotation.failed_at = Some(time);
            self.put_back(rotation);
        }
    }

    /// Keeps of a rotation what concerns a generation that lives.
    fn put_back(&mut self, mut rotation: Box<Rotation>) {
        if self.object.is_some() {
            rotation.gap = None;
        }
        let objects = self.object.iter().chain(&self.deposed);
        let alive: BTreeSet<u32> = objects
            .filter_map(|object| object.credential.as_ref())
            .map(|credential| credential.generation)
            .collect();
        let present = self.object.as_ref().and_then(|object| object.credential.as_ref());
        let present = present.map(|credential| credential.generation);
        rotation.overlap.retain(|old, _| alive.contains(old) && Some(*old) != present);
        rotation.compromised.retain(|generation| alive.contains(generation));
        rotation.overdue.retain(|generation| alive.contains(generation));
        if alive.is_empty() && rotation.gap.is_none() {
            // The next one begins anew.
            *rotation = Rotation::default();
        }
        self.rotation = (*rotation != Rotation::default()).then_some(rotation);
    }

    /// What was said of a generation, which moves no version: consumers that
    /// confirm must not make a plan stale.
    pub(crate) fn said(&mut self, event: &CredentialEvent, generation: u32) {
        let mut rotation = self.rotation.take().unwrap_or_default();
        let newest = |of: &mut BTreeMap<String, u32>, consumer: &String| {
            let newest = of.entry(consumer.clone()).or_default();
            *newest = generation.max(*newest);
        };
        match event {
            CredentialEvent::Told { consumer } => newest(&mut rotation.told, consumer),
            CredentialEvent::Confirmed { consumer } => newest(&mut rotation.confirmed, consumer),
            CredentialEvent::Compromised { .. } => drop(rotation.compromised.insert(generation)),
            CredentialEvent::Overdue { .. } => drop(rotation.overdue.insert(generation)),
            _ => {}
        }
        self.put_back(rotation);
    }

    /// Whether nothing real stands behind it and nothing is in doubt.
    pub fn is_vacant(&self) -> bool {
        self.object.is_none() && self.deposed.is_empty() && self.open.is_none()
    }
}

/// A hold: the engine keeps its hands off an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: Timestamp,
    /// By whom.
    pub actor: Actor,
}

/// An agent's departure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Why.
    pub cause: Cause,
    /// Since when it is suspended.
    pub since: Timestamp,
    /// The batch in which that was recorded.
    pub batch: u64,
    /// For an agent that was killed: whether nothing is left of it. It is
    /// remembered all the same, so that no plan brings it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// What is recorded of an agent as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Who answers for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// Its last day.
    pub expires: Date,
    /// How long its identity stays suspended before it is deleted.
    pub grace: Period,
    /// Where it is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// When it was first declared.
    pub since: Timestamp,
    /// Its departure, when it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
    /// A hold on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// When a credential of it last proved to work or to be dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved_at: Option<Timestamp>,
}

/// A run that was begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// What it is for.
    pub purpose: RunPurpose,
    /// Who started it.
    pub actor: Actor,
    /// On what authority.
    pub authority: Authority,
    /// The agents that it holds.
    pub instances: Vec<Instance>,
    /// When it began.
    pub begun_at: Timestamp,
}

/// Where a ledger begins whose older history stands in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The head with which the archive ends.
    pub from: Head,
    /// The last batch that carries what was recorded until then.
    pub until: u64,
}

/// What the entries amount to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The newest batch.
    pub head: Head,
    /// The ledger's own id; empty before its first batch.
    pub ledger: String,
    /// The fleet that it is of.
    pub fleet: String,
    /// The environment that it is of.
    pub environment: String,
    /// Where it begins, when its older history was archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<Checkpoint>,
    /// The pinned heads that were given up when an older copy took the
    /// ledger's place.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lost: BTreeSet<Head>,
    /// The record of each address.
    pub records: BTreeMap<Address, Record>,
    /// The record of each agent.
    pub agents: BTreeMap<Instance, AgentRecord>,
    /// The runs that have not ended.
    pub runs: BTreeMap<RunId, OpenRun>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            head: Head::EMPTY,
            ledger: String::new(),
            fleet: String::new(),
            environment: String::new(),
            begins: None,
            lost: BTreeSet::new(),
            records: BTreeMap::new(),
            agents: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }
}

impl State {
    /// The version of an address; 0 when it was never recorded.
    pub fn version(&self, address: &Address) -> u64 {
        self.records.get(address).map_or(0, |record| record.version)
    }

    /// The recorded object at an address.
    pub fn object(&self, address: &Address) -> Option<&Managed> {
        self.records.get(address)?.object.as_deref()
    }

    /// Folds one batch in. It is the only way in which a state changes.
    ///
    /// The batch must follow the head; [`Head::follow`] checks that where the
    /// batch comes from outside.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Damaged`] when an entry cannot follow what was recorded
    /// (a step that ends without having begun), and then nothing is changed
    /// that a caller may keep.
    pub fn absorb(&mut self, batch: &Batch) -> Result<()> {
        let header = &batch.header;
        for (number, entry) in batch.entries.iter().enumerate() {
            // Its batch's number follows from it, and only the first is looked at.
            if number > 0 && matches!(entry.event, Event::Ledger(LedgerEvent::Rewound { .. })) {
                return Err(misplaced("a rewind is not the first of its batch"));
            }
            self.absorb_entry(entry, header.sequence, header.time)?;
        }
        self.head = Head { sequence: header.sequence, hash: header.hash()? };
        Ok(())
    }

    fn absorb_entry(&mut self, entry: &Entry, sequence: u64, time: Timestamp) -> Result<()> {
        let carries = matches!(
            entry.event,
            Event::Agent(AgentEvent::Carried { .. }) | Event::Record(RecordEvent::Carried { .. })
        );
        if carries != self.begins.is_some_and(|begins| sequence <= begins.until) {
            return Err(misplaced("a checkpoint carries what is recorded, and nothing else does"));
        }
        match &entry.event {
            Event::Ledger(event) => self.absorb_ledger(event, sequence)?,
            Event::Plan(_) | Event::Observed(_) => {}
            Event::Run(event) => self.absorb_run(entry, event, time)?,
            Event::Step(event) => self.absorb_step(entry, event, sequence, time)?,
            Event::Credential(event) => self.absorb_credential(entry, event, sequence, time)?,
            Event::Agent(event) => self.absorb_agent(entry, event, sequence, time)?,
            Event::Record(event) => self.absorb_record(entry, event, sequence)?,
        }
        Ok(())
    }

    fn absorb_ledger(&mut self, event: &LedgerEvent, sequence: u64) -> Result<()> {
        match event {
            LedgerEvent::Opened { id, fleet, environment, format: _ }
            | LedgerEvent::Continued { id, fleet, environment, .. } => {
                if !self.ledger.is_empty() {
                    return Err(misplaced("it is opened a second time"));
                }
                self.ledger.clone_from(id);
                self.fleet.clone_from(fleet);
                self.environment.clone_from(environment);
            }
            LedgerEvent::Rewound { lost, .. } => self.lost.extend(lost.values()),
            LedgerEvent::Pinned { .. } => {}
        }
        if let LedgerEvent::Continued { from, batches, lost, .. } = event {
            let follows =
                self.head == Head::EMPTY && from.sequence.checked_add(1) == Some(sequence);
            if !follows || from.sequence == 0 || *batches == 0 {
                return Err(misplaced("a checkpoint does not stand where it says"));
            }
            self.begins =
                Some(Checkpoint { from: *from, until: from.sequence.saturating_add(*batches) });
            self.lost.extend(lost);
        }
        Ok(())
    }

    fn absorb_run(&mut self, entry: &Entry, event: &RunEvent, time: Timestamp) -> Result<()> {
        let run = entry.run.clone().ok_or_else(|| misplaced("a run's event names no run"))?;
        match event {
            RunEvent::Begun { purpose, actor, authority, instances, .. } => {
                if self.runs.contains_key(&run) {
                    return Err(misplaced("a run begins a second time"));
                }
                self.runs.insert(
                    run,
                    OpenRun {
                        purpose: *purpose,
                        actor: actor.clone(),
                        authority: authority.clone(),
                        instances: instances.clone(),
                        begun_at: time,
                    },
                );
            }
            RunEvent::Ended { .. } => {
                if self.runs.remove(&run).is_none() {
                    return Err(misplaced("a run ends that had not begun"));
                }
            }
        }
        Ok(())
    }

    fn absorb_step(
        &mut self,
        entry: &Entry,
        event: &StepEvent,
        sequence: u64,
        time: Timestamp,
    ) -> Result<()> {
        let record = self.record_mut(entry, sequence)?;
        match event {
            StepEvent::Begun { claim, action, deposed, target, id, provider, resource_type } => {
                let run = entry.run.clone().ok_or_else(|| misplaced("a step names no run"))?;
                // A step that may have had its effect must be settled first:
                // beginning another here would forget what it left behind.
                let before = record.open.take();
                if before.as_ref().is_some_and(|open| open.claim != *claim) {
                    return Err(misplaced("a step begins where another is still open"));
                }
                let generation = target.as_ref().and_then(|target| target.credential.as_ref());
                if let Some(credential) = generation {
                    record.generations = record.generations.max(credential.generation);
                }
                record.open = Some(OpenStep {
                    run,
                    claim: claim.clone(),
                    action: *action,
                    deposed: *deposed,
                    target: target.clone(),
                    id: id.clone(),
                    provider: provider.clone(),
                    resource_type: resource_type.clone(),
                    begun_at: time,
                    issued: before.and_then(|open| open.issued),
                });
            }
            StepEvent::Done { claim, object } => {
                let open = close(record, claim)?;
                record.done(&open, object.as_ref(), time);
            }
            StepEvent::Failed { claim, .. } => {
                let open = close(record, claim)?;
                record.failed(&open, time);
            }
            StepEvent::InDoubt { claim, .. } => {
                still_open(record, claim)?;
            }
        }
        Ok(())
    }

    fn absorb_credential(
        &mut self,
        entry: &Entry,
        event: &CredentialEvent,
        sequence: u64,
        time: Timestamp,
    ) -> Result<()> {
        let mut proved = false;
        match event {
            CredentialEvent::Issued { claim, id } => {
                let record = self.record_mut(entry, sequence)?;
                still_open(record, claim)?.issued = Some(id.clone());
            }
            CredentialEvent::Delivered { claim, stored, fingerprint, .. } => {
                let record = self.record_mut(entry, sequence)?;
                let target = still_open(record, claim)?.target.as_mut().map(Arc::make_mut);
                if let Some(credential) = target.and_then(|target| target.credential.as_mut()) {
                    credential.stored = Some(*stored);
                    credential.fingerprint = Some(fingerprint.clone());
                }
            }
            CredentialEvent::Verified { .. } => proved = true,
            CredentialEvent::Revoked { proof, .. } => {
                proved = proof.as_ref().is_some_and(super::Proof::holds);
            }
            CredentialEvent::Told { .. }
            | CredentialEvent::Confirmed { .. }
            | CredentialEvent::Compromised { .. }
            | CredentialEvent::Overdue { .. }
            | CredentialEvent::Kept { .. } => {
                let address = entry.address.as_ref().and_then(|at| self.records.get_mut(at));
                let record = address.filter(|record| record.generations > 0);
                let (Some(record), Some(generation)) = (record, entry.generation) else {
                    return Err(misplaced("something is said of a generation that never was"));
                };
                record.said(event, generation);
            }
            CredentialEvent::Promoted { .. }
            | CredentialEvent::Lost { .. }
            | CredentialEvent::CutOff { .. } => {}
        }
        let instance = entry.address.as_ref().map(Address::instance);
        if let Some(agent) = instance.and_then(|i| self.agents.get_mut(i)).filter(|_| proved) {
            agent.proved_at = Some(time);
        }
        Ok(())
    }

    fn absorb_agent(
        &mut self,
        entry: &Entry,
        event: &AgentEvent,
        sequence: u64,
        time: Timestamp,
    ) -> Result<()> {
        let instance =
            entry.instance.clone().ok_or_else(|| misplaced("an agent's event names no agent"))?;
        if let AgentEvent::Declared { owner, purpose, expires, grace, source } = event {
            let before = self.agents.remove(&instance);
            self.agents.insert(
                instance,
                AgentRecord {
                    owner: owner.clone(),
                    purpose: purpose.clone(),
                    expires: *expires,
                    grace: *grace,
                    source: source.clone(),
                    since: before.as_ref().map_or(time, |before| before.since),
                    leaving: before.as_ref().and_then(|before| before.leaving),
                    proved_at: before.as_ref().and_then(|before| before.proved_at),
                    hold: before.and_then(|before| before.hold),
                },
            );
            return Ok(());
        }
        if let AgentEvent::Left { cause, .. } = event {
            let leaving = self.agents.get_mut(&instance).and_then(|agent| agent.leaving.as_mut());
            match leaving.filter(|_| *cause == Cause::Killed) {
                Some(leaving) => leaving.ended = true,
                None => drop(self.agents.remove(&instance)),
            }
            return Ok(());
        }
        if let AgentEvent::Carried { agent } = event {
            self.agents.insert(instance, (**agent).clone());
            return Ok(());
        }
        let Some(agent) = self.agents.get_mut(&instance) else {
            return Err(misplaced("an agent's event comes before its declaration"));
        };
        match event {
            AgentEvent::Suspended { cause } => {
                let begun = agent.leaving.unwrap_or(Leaving {
                    cause: *cause,
                    since: time,
                    batch: sequence,
                    ended: false,
                });
                agent.leaving = Some(Leaving { cause: *cause, ..begun });
            }
            AgentEvent::Resumed { .. } => agent.leaving = None,
            AgentEvent::Held { reason, until, actor } => {
                agent.hold =
                    Some(Hold { reason: reason.clone(), until: *until, actor: actor.clone() });
            }
            AgentEvent::Released { .. } => agent.hold = None,
            AgentEvent::Declared { .. } | AgentEvent::Left { .. } | AgentEvent::Carried { .. } => {}
        }
        Ok(())
    }

    fn absorb_record(&mut self, entry: &Entry, event: &RecordEvent, sequence: u64) -> Result<()> {
        if let RecordEvent::Moved { from } = event {
            let to = entry.address.clone().ok_or_else(|| misplaced("a move names no address"))?;
            if *from == to {
                return Err(misplaced("a move leads nowhere"));
            }
            let Some(mut record) = self.records.remove(from).filter(|old| !old.is_vacant()) else {
                return Err(misplaced("a move has no record to move"));
            };
            let before = self.records.get(&to);
            let before_generations = before.map_or(0, |before| before.generations);
            if before.is_some_and(|before| !before.is_vacant()) {
                return Err(misplaced("a move would cover the record at its new address"));
            }
            // The old address keeps a vacant record, so that its version goes
            // on growing and a late writer of it is refused; and its count of
            // generations, so that no generation is ever named twice.
            let generations = record.generations;
            let vacant = Record { version: sequence, generations, ..Record::default() };
            self.records.insert(from.clone(), vacant);
            record.generations = generations.max(before_generations);
            record.version = sequence;
            self.records.insert(to, record);
            return Ok(());
        }
        let record = self.record_mut(entry, sequence)?;
        match event {
            RecordEvent::Carried { record: carried } => record.clone_from(carried),
            RecordEvent::Adopted { object, .. } | RecordEvent::Updated { object } => {
                let generation = object.credential.as_ref().map_or(0, |c| c.generation);
                record.generations = record.generations.max(generation);
                record.object = Some(Arc::clone(object));
                if let Some(rotation) = record.rotation.take() {
                    record.put_back(rotation);
                }
            }
            RecordEvent::Forgotten => {
                record.object = None;
                record.deposed.clear();
                record.rotation = None;
            }
            RecordEvent::Moved { .. } => {}
        }
        Ok(())
    }

    fn record_mut(&mut self, entry: &Entry, sequence: u64) -> Result<&mut Record> {
        let address =
            entry.address.clone().ok_or_else(|| misplaced("an entry names no address"))?;
        let record = self.records.entry(address).or_default();
        record.version = sequence;
        Ok(record)
    }
}

/// The step with this claim, which must not have ended.
fn still_open<'a>(record: &'a mut Record, claim: &Claim) -> Result<&'a mut OpenStep> {
    record
        .open
        .as_mut()
        .filter(|open| open.claim == *claim)
        .ok_or_else(|| misplaced("an entry belongs to a step that is not open"))
}

fn close(record: &mut Record, claim: &Claim) -> Result<OpenStep> {
    match record.open.take() {
        Some(open) if open.claim == *claim => Ok(open),
        _ => Err(misplaced("a step ends that had not begun")),
    }
}

fn misplaced(what: &str) -> Error {
    Error::new(ErrorKind::Damaged, format!("the ledger cannot be folded: {what}"))
        .help("restore the ledger from a backup that is not older than its pin")
}
