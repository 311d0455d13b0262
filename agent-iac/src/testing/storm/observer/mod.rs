//! The invariants of a storm that need to know who does what: observers of
//! every append, every request and every effect.
//!
//! Owns what only a whole history shows, as who holds which agent and what
//! was acknowledged. What the world and the ledger show by themselves
//! `testing::world` checks.

mod overlap;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};

use super::{
    super::world::{Asked, Deed, Observer, SimClock, SimProvider, Violation},
    code::Code,
};
use crate::{
    address::{Address, Instance},
    clock::Clock as _,
    ledger::{
        AgentEvent, Append, Appended, Cause, Claim, CredentialEvent, Entry, Event, Ledger,
        MemoryLedger, RecordEvent, RunEvent, RunId, RunPurpose, State, StepEvent,
    },
    plan::Action,
    provider::Observation,
    value::{Digest, Value},
    vault::MemoryVault,
};

/// How long after its lease was lost a run may still send what it was about
/// to: it asks the ledger again after five seconds.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// How far two clocks of one storm may lie apart, all in all.
const SKEW: SignedDuration = SignedDuration::from_hours(6);

/// What a process was told to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    /// The agents that it may touch; all when `None`.
    pub(super) scope: Option<BTreeSet<Instance>>,
    /// How many agents may begin to leave.
    pub(super) cap: u32,
}

/// Watches one storm.
pub(super) struct Book {
    clock: SimClock,
    ledger: Arc<MemoryLedger>,
    vault: Arc<MemoryVault>,
    provider: SimProvider,
    /// Whether the system compares with what was seen by itself.
    checks_seen: bool,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    state: State,
    processes: BTreeMap<String, Orders>,
    runs: BTreeMap<RunId, (RunPurpose, BTreeSet<Instance>, Orders)>,
    holders: BTreeMap<Instance, RunId>,
    lost: BTreeMap<(RunId, Instance), Duration>,
    /// What any version of the code allows.
    allowed: BTreeMap<Address, BTreeSet<String>>,
    /// The leases just before the append that is under way, by agent.
    alive: BTreeMap<Instance, RunId>,
    /// When each object last changed.
    changed: BTreeMap<(&'static str, String), Duration>,
    /// The secret of each credential that a claim made.
    secrets: BTreeMap<String, Digest>,
    /// The claims that were recorded as not carried out.
    failed: BTreeSet<Claim>,
    /// Credentials whose end was proved.
    proved: BTreeSet<String>,
}

fn run_of(claim: &Claim) -> &str {
    claim.as_str().split('.').next().unwrap_or_default()
}

fn found(invariant: &'static str, what: String) -> Violation {
    Violation::new(invariant, what)
}

impl Book {
    pub(super) fn new(
        clock: SimClock,
        (ledger, vault): (Arc<MemoryLedger>, Arc<MemoryVault>),
        provider: SimProvider,
        checks_seen: bool,
    ) -> Self {
        let pages = Mutex::default();
        let book = Self { clock, ledger, vault, provider, checks_seen, pages };
        book.follow(&mut book.pages());
        book
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pages, to be open while the system is asked: what is due there lands
    /// first, for it is told here, which could not be then.
    fn pages_beside_the_system(&self) -> MutexGuard<'_, Pages> {
        self.provider.land();
        self.pages()
    }

    /// Notes what a process is about to do, before it does it.
    pub(super) fn ordered(&self, process: &str, orders: Orders, code: &Code) {
        let mut pages = self.pages();
        pages.processes.insert(process.to_owned(), orders);
        for (address, actions) in code.allows() {
            pages.allowed.entry(address).or_default().extend(actions);
        }
    }

    /// Brings the state up to what is durable.
    fn follow(&self, pages: &mut Pages) {
        let from = pages.state.head.sequence + 1;
        let read = self.ledger.batches(from, usize::MAX).now_or_never();
        let batches = read.and_then(Result::ok).unwrap_or_default();
        for batch in &batches {
            // A batch that does not follow is found by the replay.
            let _follows = pages.state.absorb(batch);
        }
    }

    /// Looks at everything at once.
    pub(super) fn whole(&self) -> Vec<Violation> {
        let pages = self.pages_beside_the_system();
        let mut all = Vec::new();
        for id in &pages.proved {
            if pages.secrets.get(id).is_some_and(|secret| self.provider.knows_digest(*secret)) {
                all.push(found("I8", format!("`{id}` was proved dead, and is accepted")));
            }
        }
        let existing = self.provider.existing();
        for (address, record) in &pages.state.records {
            let Some(managed) = record.object.as_ref().filter(|_| record.open.is_none()) else {
                continue;
            };
            let real = existing.iter().find(|existing| {
                existing.resource_type == managed.resource_type && existing.object.id == managed.id
            });
            let other = real
                .and_then(|real| real.object.mark.as_ref())
                .filter(|mark| mark.fleet != "storm" || mark.address != *address);
            if let Some(other) = other {
                let what = format!("{address} is recorded as `{}`, which is {other}", managed.id);
                all.push(found("I2", what));
            }
        }
        all
    }

    /// What is still alive of an agent that a kill reports as contained.
    pub(super) fn outlives_a_kill(&self, instance: &Instance, since: Timestamp) -> Vec<Violation> {
        let pages = self.pages_beside_the_system();
        let killed = pages.state.agents.get(instance).and_then(|agent| agent.leaving);
        if killed.is_none_or(|leaving| leaving.cause != Cause::Killed) {
            return Vec::new();
        }
        let effects = self.provider.effects();
        let alive = self.provider.existing().into_iter().filter(|existing| {
            let credential =
                ["sim.key", "sim.token", "sim.lone_key"].contains(&existing.resource_type);
            let mark = existing.object.mark.as_ref();
            let old = effects.iter().any(|effect| {
                effect.id == existing.object.id
                    && effect.operation == "create"
                    && effect.at < since
                    && effect.claim.is_some()
            });
            credential && old && mark.is_some_and(|mark| mark.address.instance() == instance)
        });
        alive
            .map(|existing| {
                let id = &existing.object.id;
                found("I8", format!("{instance} was killed, and its `{id}` still works"))
            })
            .collect()
    }
}

impl Pages {
    fn begun(&self, entry: &Entry, now: Timestamp, all: &mut Vec<Violation>) {
        let Event::Step(StepEvent::Begun { claim, action, target, .. }) = &entry.event else {
            return;
        };
        let Some(address) = &entry.address else { return };
        let instance = address.instance();
        let Some((purpose, instances, orders)) =
            entry.run.as_ref().and_then(|run| self.runs.get(run))
        else {
            all.push(found("I1", format!("{address}: claim {claim} is of no run that began")));
            return;
        };
        let outside = orders.scope.as_ref().is_some_and(|scope| !scope.contains(instance));
        if !instances.contains(instance) || outside && *purpose == RunPurpose::Apply {
            all.push(found("I9", format!("{address}: {action} is outside the scope of its run")));
        }
        let agent = self.state.agents.get(instance);
        let held = agent
            .and_then(|agent| agent.hold.as_ref())
            .is_some_and(|hold| hold.until.duration_since(now) > SignedDuration::from_mins(30));
        let unattended =
            matches!(purpose, RunPurpose::Apply | RunPurpose::Revert | RunPurpose::Rotate);
        if held && unattended {
            all.push(found("I9", format!("{address}: {action} of an agent that is held")));
        }
        let killed = agent
            .and_then(|agent| agent.leaving)
            .is_some_and(|leaving| leaving.cause == Cause::Killed);
        if killed && unattended && target.is_some() && *action != Action::Suspend {
            all.push(found("I9", format!("{address}: {action} of an agent that was killed")));
        }
        if *purpose == RunPurpose::Rotate {
            self.rotates(entry, now, all);
        }
    }

    /// Whether a rotation does what it may: nothing but its two moves, none
    /// sooner than it should, and no end while somebody is waited for.
    fn rotates(&self, entry: &Entry, now: Timestamp, all: &mut Vec<Violation>) {
        let (Event::Step(StepEvent::Begun { action, deposed, id, .. }), Some(address)) =
            (&entry.event, &entry.address)
        else {
            return;
        };
        if !*deposed && *action != Action::Rotate {
            all.push(found("I9", format!("{address}: {action} by a rotation")));
        }
        let Some(record) = self.state.records.get(address) else { return };
        let Some(rotation) = &record.rotation else { return };
        if !rotation.compromised.is_empty() {
            return;
        }
        // The shortest pause is a minute, and clocks differ by minutes.
        let since = rotation.failed_at.map(|failed| now.duration_since(failed));
        let soon = SignedDuration::from_secs(10 << rotation.failures.min(8));
        if rotation.failures > 4 && since.is_some_and(|s| !s.is_negative() && s < soon) {
            let what = format!("{address}: tried again after failing {} times", rotation.failures);
            all.push(found("I12", what));
        }
        let old = record.deposed.iter().find(|old| Some(&old.id) == id.as_ref());
        let old = old.filter(|_| *deposed).and_then(|old| old.credential.as_ref());
        let Some(since) = old.and_then(|old| rotation.overlap.get(&old.generation)) else { return };
        let stood = now.duration_since(*since);
        if !stood.is_negative() && stood < SignedDuration::from_mins(45) {
            let what = format!("{address}: an old one ends {} s into its overlap", stood.as_secs());
            all.push(found("I7", what));
        }
        let present = record.object.as_ref().and_then(|object| object.credential.as_ref());
        let token = record.object.as_ref().is_some_and(|o| o.resource_type == "sim.token");
        let confirmed = rotation.confirmed.get("inbox").copied().unwrap_or_default();
        if token && present.is_some_and(|present| confirmed < present.generation) {
            all.push(found("I7", format!("{address}: an old one ends that is waited for")));
        }
    }

    /// How many agents of one batch begin to leave of which something stands.
    fn leavers(&self, entries: &[Entry]) -> usize {
        let leaves = |entry: &&Entry| {
            let Event::Agent(AgentEvent::Suspended { cause }) = &entry.event else { return false };
            let Some(instance) = &entry.instance else { return false };
            let here = self.state.agents.get(instance).is_some_and(|a| a.leaving.is_none());
            let stands = self
                .state
                .records
                .iter()
                .any(|(address, record)| address.instance() == instance && !record.is_vacant());
            *cause != Cause::Killed && here && stands
        };
        entries.iter().filter(leaves).count()
    }
}

impl Book {
    /// Whether a rotation ends an older generation though the present one has
    /// been gone for a while: nobody could use either.
    fn follows_nobody(&self, pages: &Pages, entry: &Entry) -> Option<Violation> {
        let Event::Step(StepEvent::Begun { deposed: true, .. }) = &entry.event else { return None };
        let (address, run) = (entry.address.as_ref()?, entry.run.as_ref()?);
        let (purpose, ..) = pages.runs.get(run)?;
        let record = pages.state.records.get(address)?;
        let rotation = record.rotation.as_ref().filter(|r| r.compromised.is_empty())?;
        let present = record.object.as_ref().filter(|_| !rotation.overlap.is_empty())?;
        if *purpose != RunPurpose::Rotate {
            return None;
        }
        let ago = self.clock.now().saturating_sub(SignedDuration::from_mins(15)).ok()?;
        let gone = self.provider.effects().iter().any(|effect| {
            effect.operation == "delete"
                && effect.resource_type == present.resource_type
                && effect.id == present.id
                && effect.at < ago
        });
        gone.then(|| found("I7", format!("{address}: an old one ends, and no other works")))
    }
}

impl Observer for Book {
    fn appending(&self, _: &Append) -> Vec<Violation> {
        let leases = self.ledger.leases().now_or_never().and_then(Result::ok).unwrap_or_default();
        self.pages().alive = leases.into_iter().map(|lease| (lease.instance, lease.run)).collect();
        Vec::new()
    }

    fn appended(&self, append: &Append, _: &Appended) -> Vec<Violation> {
        let mut all = Vec::new();
        let mut pages = self.pages_beside_the_system();
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        if let Some(fence) = &append.fence {
            for instance in fence.instances.iter() {
                if pages.holders.get(instance).is_some_and(|holder| *holder != fence.run) {
                    let what = format!("run {} wrote of {instance}, which is another's", fence.run);
                    all.push(found("I11", what));
                }
            }
        }
        for (address, expected) in &append.expected {
            let version = pages.state.version(address);
            if version != *expected {
                let what = format!("{address} is at {version}, and {expected} was written over");
                all.push(found("I11", what));
            }
        }
        for entry in &append.entries {
            let (Some(run), Event::Run(RunEvent::Begun { purpose, instances, revision, .. })) =
                (&entry.run, &entry.event)
            else {
                continue;
            };
            let process = revision.as_ref().and_then(|name| pages.processes.get(name)).cloned();
            let orders = process.unwrap_or(Orders { scope: None, cap: u32::MAX });
            let instances = instances.iter().cloned().collect();
            if *purpose == RunPurpose::Apply {
                let leavers = pages.leavers(&append.entries);
                if leavers > usize::try_from(orders.cap).unwrap_or(usize::MAX) {
                    let what =
                        format!("{leavers} agents begin to leave, and the cap is {}", orders.cap);
                    all.push(found("I9", what));
                }
            }
            pages.runs.insert(run.clone(), (*purpose, instances, orders));
        }
        if let Some(take) = &append.take {
            for instance in &take.instances {
                let other = pages.alive.get(instance).filter(|run| **run != take.run);
                if let Some(other) = other.filter(|_| !take.force) {
                    let what = format!("{instance} has two holders: {other} and {}", take.run);
                    all.push(found("I11", what));
                }
                let before = pages.holders.insert(instance.clone(), take.run.clone());
                if let Some(before) = before.filter(|before| *before != take.run) {
                    pages.lost.insert((before, instance.clone()), elapsed);
                }
            }
        }
        for entry in &append.entries {
            pages.begun(entry, now, &mut all);
            all.extend(self.follows_nobody(&pages, entry));
            match (&entry.event, &entry.address) {
                (Event::Step(StepEvent::Failed { claim, .. }), _) => {
                    pages.failed.insert(claim.clone());
                }
                (Event::Credential(CredentialEvent::Revoked { id, proof: Some(proof) }), _)
                    if proof.holds() =>
                {
                    let known = pages.secrets.get(id);
                    if known.is_some_and(|secret| self.provider.knows_digest(*secret)) {
                        all.push(found("I8", format!("`{id}` is proved dead, and is accepted")));
                    }
                    pages.proved.insert(id.clone());
                }
                (Event::Record(RecordEvent::Adopted { object, from }), Some(address)) => {
                    let foreign = from.as_ref().is_some_and(|mark| mark.fleet != "storm");
                    let unasked = from.is_none() && address.instance().to_string() != "old-hand";
                    if foreign || unasked {
                        let what = format!("{address} adopted `{}`, which is not ours", object.id);
                        all.push(found("I9", what));
                    }
                }
                (Event::Agent(AgentEvent::Resumed { actor: None }), _) => {
                    let agent = entry.instance.as_ref().and_then(|i| pages.state.agents.get(i));
                    let killed = agent.and_then(|agent| agent.leaving);
                    if killed.is_some_and(|leaving| leaving.cause == Cause::Killed) {
                        all.push(found("I9", "a plan brings a killed agent back".into()));
                    }
                }
                (Event::Agent(AgentEvent::Left { .. }), _) => {
                    let Some(instance) = &entry.instance else { continue };
                    let left = self.provider.existing().into_iter().find(|existing| {
                        let mark = existing.object.mark.as_ref();
                        existing.claim.is_some()
                            && mark.is_some_and(|mark| mark.address.instance() == instance)
                    });
                    if let Some(left) = left {
                        let what = format!("{instance} has left, and `{}` stands", left.object.id);
                        all.push(found("I2", what));
                    }
                }
                _ => {}
            }
        }
        self.follow(&mut pages);
        all
    }

    fn asked(&self, asked: &Asked<'_>) -> Vec<Violation> {
        let pages = self.pages();
        let elapsed = self.clock.elapsed();
        let mut all = Vec::new();
        let instance = asked.address.instance();
        let lost = pages
            .lost
            .iter()
            .find(|((run, of), _)| run.as_str() == run_of(asked.claim) && of == instance);
        if let Some((_, since)) = lost
            && elapsed.saturating_sub(*since) > LAST_WORDS
        {
            let what = format!("{}: a run asks that lost its lease long ago", asked.address);
            all.push(found("I11", what));
        }
        let (Some(seen), Some(id)) = (asked.seen, asked.id) else { return all };
        // One that is gone is removed, whatever was seen of it.
        if self.checks_seen || *seen == asked.now || asked.now == Observation::Absent {
            return all;
        }
        let changed = pages.changed.get(&(asked.resource_type, id.to_owned()));
        if changed.is_some_and(|at| elapsed.saturating_sub(*at) > Duration::from_mins(5)) {
            let what = format!("{}: `{id}` is not as it was seen, and long since", asked.address);
            all.push(found("I5", what));
        }
        all
    }

    fn done(&self, deed: &Deed<'_>) -> Vec<Violation> {
        let mut pages = self.pages();
        let mut all = Vec::new();
        let effect = deed.effect;
        let name = (effect.resource_type, effect.id.clone());
        pages.changed.insert(name, self.clock.elapsed());
        let (Some(claim), Some(address)) = (&effect.claim, deed.address) else { return all };
        if effect.operation == "cascade" {
            return all;
        }
        if pages.failed.contains(claim) {
            let what = format!("{address}: claim {claim} is recorded as failed, and lands now");
            all.push(found("I2", what));
        }
        if let Some(secret) = deed.secret.filter(|_| effect.operation == "create") {
            pages.secrets.insert(effect.id.clone(), secret);
        }
        let instance = address.instance();
        let run = pages.runs.iter().find(|(run, _)| run.as_str() == run_of(claim));
        let Some((_, (purpose, instances, _))) = run else { return all };
        let allow = |fields: Option<&BTreeMap<String, Value>>| -> BTreeSet<String> {
            let list = fields.and_then(|fields| fields.get("allow")).and_then(Value::as_list);
            list.into_iter().flatten().filter_map(Value::as_text).map(str::to_owned).collect()
        };
        let (before, after) = (allow(deed.before), allow(deed.after));
        let widens = matches!(effect.operation, "create" | "resume")
            || effect.operation == "update" && !after.is_subset(&before);
        let what = || format!("{} of {address}", effect.operation);
        if !instances.contains(instance) {
            all.push(found("I9", format!("{} is outside the scope of its run", what())));
        }
        // A rotation gives the same access by another secret.
        let renews = *purpose == RunPurpose::Rotate
            && effect.operation == "create"
            && ["sim.key", "sim.token", "sim.lone_key"].contains(&effect.resource_type);
        if widens && !renews && *purpose != RunPurpose::Apply {
            all.push(found("I9", format!("{} widens unattended", what())));
        }
        let allowed = pages.allowed.get(address);
        let grant =
            effect.resource_type == "sim.grant" && matches!(effect.operation, "create" | "update");
        if grant && allowed.is_none_or(|allowed| !after.is_subset(allowed)) {
            all.push(found("I9", format!("{} gives what no code ever said", what())));
        }
        if effect.operation == "delete" {
            all.extend(self.deleted(&pages, deed, address, *purpose));
        }
        all
    }
}

impl Book {
    fn deleted(
        &self,
        pages: &Pages,
        deed: &Deed<'_>,
        address: &Address,
        purpose: RunPurpose,
    ) -> Vec<Violation> {
        let mut all = Vec::new();
        let Some(record) = pages.state.records.get(address) else { return all };
        let id = &deed.effect.id;
        let Some(object) = record.object.as_ref() else { return all };
        if object.id == *id && object.protect {
            all.push(found("I9", format!("{address} is protected, and was deleted")));
        }
        let agent = pages.state.agents.get(address.instance());
        let leaving = agent.and_then(|agent| Some((agent, agent.leaving?)));
        if let Some((agent, leaving)) = leaving
            && object.id == *id
            && deed.effect.resource_type == "sim.account"
            && purpose == RunPurpose::Apply
        {
            let grace = i64::try_from(agent.grace.as_seconds()).unwrap_or(0);
            let passed = self.clock.now().duration_since(leaving.since);
            if SignedDuration::from_secs(grace) - passed > SKEW {
                all.push(found("I9", format!("{address} was deleted before its grace was over")));
            }
        }
        let deposed =
            record.open.as_ref().is_some_and(|open| open.deposed && open.id.as_ref() == Some(id));
        let credential = object.credential.as_ref().filter(|_| deposed);
        let served = credential.and_then(|credential| self.vault.peek(credential.place.path()));
        let served = served.map(|secret| secret.expose(Digest::of_bytes));
        if served.is_some() && served == deed.secret {
            let what = format!("{address}: `{id}` was revoked while consumers still read it");
            all.push(found("I7", what));
        }
        all
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").finish_non_exhaustive()
    }
}
