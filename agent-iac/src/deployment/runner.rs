//! What renews credentials around the clock.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::Deployment;
use crate::{
    address::{Address, Instance},
    apply::{Report, RunContext, turn_of},
    blueprint::{Blueprint, Desired, DesiredCredential},
    bugs::bug,
    diagnostic::Diagnostics,
    error::{Error, ErrorKind, Result},
    ledger::{Batch, CredentialEvent, Event, Head, Query, Record, RunEvent, RunId, State},
    provider::AtOnce,
    rotation::{
        Groups, Phase, Room, Scheduler, Terms, in_transition, last_turn, later, passes, phase,
    },
};

/// How a runner works.
#[derive(Clone, Debug)]
pub struct RunnerOptions {
    /// How many agents one run takes on, at most. Other runners take others.
    pub agents: usize,
    /// How long it waits before it looks at the ledger again, for what others
    /// wrote there.
    pub poll: Duration,
    /// How long it waits before it looks whether a consumer has confirmed; it
    /// waits longer for one that does not for long.
    pub listen: Duration,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self { agents: 32, poll: Duration::from_secs(10), listen: Duration::from_secs(20) }
    }
}

/// The pause after the first attempt that left nothing in the ledger, and the
/// longest; a step that failed is counted there, and is waited for by that.
const PAUSES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_hours(1));

/// The shortest rest between two ticks.
const SHORTEST: Duration = Duration::from_millis(10);

/// How many batches of the ledger one look takes.
const PAGE: usize = 500;

/// Renews credentials when they are due, ends older generations that have had
/// their time, and settles what dead runs left, on the authority of the fleet.
///
/// Any number of them may work on one ledger, each in a process of its own:
/// the leases of the agents share the work, and their fences keep out one that
/// wakes up late. It needs no async runtime and no thread of its own; what a
/// program wants besides, it does between two ticks.
///
/// # Flow of a tick
///
/// 1. What is new in the ledger is read, and only what changed is looked at.
/// 2. Steps of runs that are dead are settled.
/// 3. What is due, and nobody else holds, is rotated, at most so many agents
///    in one run.
/// 4. What did not go on is put off, for longer each time.
pub struct Runner {
    deployment: Arc<Deployment>,
    context: RunContext,
    options: RunnerOptions,
    blueprint: Blueprint,
    scheduler: Scheduler,
    at_once: BTreeMap<(String, String), AtOnce>,
    seen: Option<Head>,
    /// Runs that have begun and not ended.
    runs: BTreeSet<RunId>,
    /// Credentials with a step whose end is not recorded, and its run.
    open: BTreeMap<Address, RunId>,
    /// How often each did not go on, of those that did not.
    tried: BTreeMap<Address, u32>,
    /// How often settling left a doubt, and when it is tried again.
    doubts: (u32, Timestamp),
    groups: Groups,
    /// The members of each redundancy group that are in transition.
    between: BTreeMap<String, BTreeSet<Address>>,
    /// Members that are due and wait for another of their group.
    parked: BTreeMap<Address, Timestamp>,
    /// Credentials whose next move cannot wait for others: an older generation
    /// ends.
    pressing: BTreeSet<Address>,
    /// When rotations began at each provider that has a rate, as the ledger
    /// says, oldest first.
    turns: BTreeMap<String, VecDeque<Timestamp>>,
    /// The phases of credentials that somebody should look at.
    alarming: BTreeMap<Address, Phase>,
    /// Since when each is due, of those that were put off or failed.
    late: BTreeMap<Address, Timestamp>,
}

/// What a tick did.
#[derive(Debug, Default)]
pub struct Tick {
    /// What was settled of dead runs.
    pub settled: Report,
    /// What was rotated, by run.
    pub rotated: Vec<Report>,
    /// Why a run could not begin, by its first agent.
    pub refused: Vec<(Instance, Error)>,
    /// When there is something to do again; `None` when only an entry in the
    /// ledger would make something due.
    pub next: Option<Timestamp>,
    /// How many credentials are due and were not taken on by this tick.
    pub waiting: usize,
    /// Whether another runner was quicker.
    pub contended: bool,
}

impl Runner {
    /// A runner for a deployment.
    ///
    /// # Errors
    ///
    /// Every mistake of the fleet.
    pub fn new(
        deployment: Arc<Deployment>,
        context: RunContext,
        options: RunnerOptions,
    ) -> Result<Self, Diagnostics> {
        let blueprint = deployment.blueprint()?;
        let groups = Groups::of(&blueprint);
        Ok(Self {
            deployment,
            context,
            options,
            blueprint,
            scheduler: Scheduler::default(),
            at_once: BTreeMap::new(),
            seen: None,
            runs: BTreeSet::new(),
            open: BTreeMap::new(),
            tried: BTreeMap::new(),
            doubts: (0, Timestamp::MIN),
            groups,
            between: BTreeMap::new(),
            parked: BTreeMap::new(),
            pressing: BTreeSet::new(),
            turns: BTreeMap::new(),
            alarming: BTreeMap::new(),
            late: BTreeMap::new(),
        })
    }

    /// The phases of credentials that somebody should look at.
    pub(super) fn alarming(&self) -> &BTreeMap<Address, Phase> {
        &self.alarming
    }

    /// Since when the credential is due that waits longest.
    pub(super) fn oldest(&self, now: Timestamp) -> Option<Timestamp> {
        let first = self.scheduler.next().filter(|at| *at <= now);
        self.late.values().copied().chain(first).min()
    }

    /// What could not be settled: credentials, or else the runs.
    pub(super) fn in_doubt(&self) -> Vec<String> {
        if self.doubts.0 == 0 {
            return Vec::new();
        }
        if self.open.is_empty() {
            return self.runs.iter().map(|run| format!("run {run}")).collect();
        }
        self.open.keys().map(ToString::to_string).collect()
    }

    /// What is due when.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Works until its context is told to stop, and ends what is in flight.
    /// What goes wrong is told to `tell` with each tick, and tried again.
    pub async fn run(&mut self, mut tell: impl FnMut(&Result<Tick>)) {
        while !self.context.stop.is_requested() {
            let tick = self.tick().await;
            tell(&tick);
            // In small pieces, so that it ends soon when it is told to.
            let mut left = self.rest(tick.as_ref().ok());
            while !left.is_zero() && !self.context.stop.is_requested() {
                let piece = left.min(Duration::from_secs(1));
                self.deployment.clock.sleep(piece).await;
                left = left.saturating_sub(piece);
            }
        }
    }

    /// How long it rests after a tick, or after one that failed. What others
    /// hold is not asked for again at once.
    pub fn rest(&self, tick: Option<&Tick>) -> Duration {
        let poll = self.options.poll;
        let wait = match tick {
            Some(tick) if !tick.contended => {
                let until = tick.next.map(|next| next.duration_since(self.deployment.clock.now()));
                let soon = |until: SignedDuration| until.try_into().unwrap_or(Duration::ZERO);
                until.map_or(poll, |until| soon(until).min(poll))
            }
            _ => poll,
        };
        wait.max(SHORTEST)
    }

    /// Does what is due now.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be read, or is not the one that it should be.
    pub async fn tick(&mut self) -> Result<Tick> {
        self.turn(true).await
    }

    /// As [`Runner::tick`], without rotating anything where that is not let.
    pub(super) async fn turn(&mut self, rotates: bool) -> Result<Tick> {
        let mut tick = Tick::default();
        self.follow().await?;
        self.settle(&mut tick).await?;
        self.unpark();
        let now = self.deployment.clock.now();
        let due = rotates && self.scheduler.due(now).next().is_some();
        if due && !self.context.stop.is_requested() {
            let taken = self.rotate(&mut tick, now).await?;
            self.follow().await?;
            self.put_off(&tick, &taken, now);
            self.unpark();
        }
        let now = self.deployment.clock.now();
        tick.waiting = self.scheduler.due(now).count();
        tick.next = self.scheduler.next().filter(|_| rotates);
        Ok(tick)
    }

    /// Rotates what is due of some agents that nobody holds, and says which.
    async fn rotate(&mut self, tick: &mut Tick, now: Timestamp) -> Result<BTreeSet<Instance>> {
        let held = self.deployment.ledger.leases().await?;
        let held: BTreeSet<&Instance> = held.iter().map(|lease| &lease.instance).collect();
        let room = self.room(now);
        let mut left = room.left.clone();
        let mut agents = BTreeSet::new();
        let mut turning: BTreeSet<&str> = BTreeSet::new();
        let mut wait = Vec::new();
        for address in self.scheduler.due(now) {
            let instance = address.instance();
            if held.contains(instance) {
                tick.contended = true;
                continue;
            }
            if !self.pressing.contains(address) {
                let Some(desired) = self.blueprint.resources().get(address) else { continue };
                let policy = desired.credential.as_ref().map(|credential| &*credential.policy);
                let group = policy.and_then(|policy| policy.group.as_deref());
                if group.is_some_and(|g| turning.contains(g) || self.is_between(g, address)) {
                    wait.push((address.clone(), None));
                    continue;
                }
                if let Some(left) = left.get_mut(&desired.provider) {
                    if *left == 0 && !bug!("rate ignored") {
                        wait.push((address.clone(), Some(self.has_room_at(desired, now))));
                        continue;
                    }
                    *left = left.saturating_sub(1);
                }
                turning.extend(group);
            }
            agents.insert(instance.clone());
            if agents.len() >= self.options.agents.max(1) {
                break;
            }
        }
        for (address, at) in wait {
            let since = self.scheduler.wakes(&address).unwrap_or(now);
            self.scheduler.note(&address, at);
            if at.is_none() {
                self.parked.insert(address, since);
            }
        }
        let Some(first) = agents.first().cloned() else { return Ok(agents) };
        tick.contended = false;
        let apart = (&self.groups, &room);
        match self.deployment.rotate_under(&self.blueprint, apart, &agents, &self.context).await {
            Ok(report) => tick.rotated.push(report),
            // Somebody else was quicker; what they did is in the ledger.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::LeaseHeld | ErrorKind::StalePlan | ErrorKind::Conflict
                ) =>
            {
                tick.contended = true;
                agents.clear();
            }
            Err(error) => tick.refused.push((first, error)),
        }
        Ok(agents)
    }

    /// Whether another member of a group is in transition.
    fn is_between(&self, group: &str, address: &Address) -> bool {
        let between = self.between.get(group);
        between.is_some_and(|members| members.iter().any(|member| member != address))
            && !bug!("group ignored")
    }

    /// What each provider that has a rate takes now.
    fn room(&mut self, now: Timestamp) -> Room {
        let mut left = BTreeMap::new();
        for (provider, rate) in &self.blueprint.rotation().rates {
            let turns = self.turns.entry(provider.clone()).or_default();
            while turns.front().is_some_and(|first| passes(*first, *rate) <= now) {
                turns.pop_front();
            }
            let taken = u32::try_from(turns.len()).unwrap_or(u32::MAX);
            left.insert(provider.clone(), rate.rotations.saturating_sub(taken));
        }
        Room { left, counted: self.seen.map_or(0, |seen| seen.sequence) }
    }

    /// When there is room again at a provider that has none.
    fn has_room_at(&self, desired: &Desired, now: Timestamp) -> Timestamp {
        let Some(rate) = self.blueprint.rotation().rates.get(&desired.provider) else { return now };
        let first = self.turns.get(&desired.provider).and_then(VecDeque::front);
        passes(first.copied().unwrap_or(now), *rate)
    }

    /// Wakes the members of groups of which none is in transition any more.
    fn unpark(&mut self) {
        let parked = std::mem::take(&mut self.parked);
        for (address, since) in parked {
            let desired = self.blueprint.resources().get(&address);
            let policy = desired.and_then(|d| d.credential.as_ref()).map(|c| &c.policy);
            let group = policy.and_then(|policy| policy.group.as_deref());
            if group.is_some_and(|group| self.is_between(group, &address)) {
                self.parked.insert(address, since);
            } else {
                self.scheduler.note(&address, Some(since));
            }
        }
    }

    /// Puts off what was due, was taken on, and is due still: an attempt that
    /// left nothing in the ledger would be repeated without a pause.
    fn put_off(&mut self, tick: &Tick, taken: &BTreeSet<Instance>, now: Timestamp) {
        let acted: BTreeSet<&Instance> = tick
            .rotated
            .iter()
            .flat_map(|report| &report.steps)
            .filter(|step| step.outcome.is_done())
            .map(|step| step.address.instance())
            .collect();
        for instance in taken.iter().filter(|instance| !acted.contains(instance)) {
            for (address, _) in self.blueprint.resources_of(instance) {
                let since = self.scheduler.wakes(address).filter(|wakes| *wakes <= now);
                let Some(since) = since.filter(|_| !bug!("hot renewal")) else { continue };
                self.late.entry(address.clone()).or_insert(since);
                let tried = self.tried.entry(address.clone()).or_default();
                *tried = tried.saturating_add(1);
                self.scheduler.note(address, Some(later(now, pause(*tried))));
            }
        }
    }

    /// Settles steps of runs that hold no lease any more.
    async fn settle(&mut self, tick: &mut Tick) -> Result<()> {
        if self.runs.is_empty() && self.open.is_empty() {
            return Ok(());
        }
        let now = self.deployment.clock.now();
        if now < self.doubts.1 {
            return Ok(());
        }
        let leases = self.deployment.ledger.leases().await?;
        let alive: BTreeSet<&RunId> = leases.iter().map(|lease| &lease.run).collect();
        let dead = self.runs.iter().chain(self.open.values()).any(|run| !alive.contains(run));
        if !dead {
            return Ok(());
        }
        tick.settled = self.deployment.recover(&self.context).await?;
        self.follow().await?;
        let left = self.runs.iter().chain(self.open.values()).any(|run| !alive.contains(run));
        self.doubts = if left {
            let tried = self.doubts.0.saturating_add(1);
            (tried, later(now, pause(tried)))
        } else {
            (0, Timestamp::MIN)
        };
        Ok(())
    }

    /// Takes in what is new in the ledger.
    async fn follow(&mut self) -> Result<()> {
        let Some(mut seen) = self.seen else { return self.begin_anew().await };
        let mut addresses = BTreeSet::new();
        let mut agents = BTreeSet::new();
        loop {
            let from = seen.sequence + 1;
            let page = self.deployment.ledger.batches(from, PAGE).await?;
            for batch in &page {
                if batch.header.previous != seen.hash {
                    // It was archived, rewound or restored.
                    return self.begin_anew().await;
                }
                seen = Head { sequence: batch.header.sequence, hash: batch.header.hash()? };
                self.take_in(batch, &mut addresses, &mut agents);
            }
            if page.len() < PAGE {
                break;
            }
        }
        self.seen = Some(seen);
        addresses.retain(|address| {
            let desired = self.blueprint.resources().get(address);
            desired.is_some_and(|desired| desired.credential.is_some())
        });
        agents.extend(addresses.iter().map(|address| address.instance().clone()));
        if agents.is_empty() {
            return Ok(());
        }
        let query = Query::Agents(agents.iter().cloned().collect());
        let state = self.deployment.ledger.state(&query).await?;
        for instance in &agents {
            self.look_at(instance, &state);
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        batch: &Batch,
        addresses: &mut BTreeSet<Address>,
        agents: &mut BTreeSet<Instance>,
    ) {
        for entry in &batch.entries {
            // That an end was put off once more begins no new count of pauses.
            if matches!(entry.event, Event::Credential(CredentialEvent::Kept { .. })) {
                continue;
            }
            addresses.extend(entry.address.iter().cloned());
            agents.extend(entry.instance.iter().cloned());
            if let (Event::Run(event), Some(run)) = (&entry.event, &entry.run) {
                match event {
                    RunEvent::Begun { .. } => drop(self.runs.insert(run.clone())),
                    RunEvent::Ended { .. } => drop(self.runs.remove(run)),
                }
            }
            if let Some(provider) = turn_of(&entry.event)
                && self.blueprint.rotation().rates.contains_key(provider)
            {
                let turns = self.turns.entry(provider.to_owned()).or_default();
                turns.push_back(batch.header.time);
            }
        }
    }

    async fn begin_anew(&mut self) -> Result<()> {
        let state = self.deployment.state().await?;
        self.scheduler = Scheduler::with_capacity(self.blueprint.resources().len());
        self.open.clear();
        self.between.clear();
        self.parked.clear();
        self.pressing.clear();
        self.turns.clear();
        for (provider, at) in state.records.values().filter_map(last_turn) {
            if self.blueprint.rotation().rates.contains_key(provider) {
                self.turns.entry(provider.to_owned()).or_default().push_back(at);
            }
        }
        for turns in self.turns.values_mut() {
            turns.make_contiguous().sort();
        }
        self.alarming.clear();
        self.late.clear();
        self.runs = state.runs.keys().cloned().collect();
        let agents: Vec<Instance> = self.blueprint.agents().map(|(i, _)| i.clone()).collect();
        for instance in &agents {
            self.look_at(instance, &state);
        }
        self.seen = Some(state.head);
        Ok(())
    }

    /// Notes when each credential of an agent wakes.
    fn look_at(&mut self, instance: &Instance, state: &State) {
        let now = self.deployment.clock.now();
        let Self {
            deployment,
            blueprint,
            scheduler,
            at_once,
            open,
            tried,
            options,
            between,
            parked,
            pressing,
            ..
        } = self;
        let (alarming, late) = (&mut self.alarming, &mut self.late);
        let agent = state.agents.get(instance);
        let leaves = agent.is_none_or(|agent| agent.leaving.is_some());
        let hold = agent.and_then(|agent| agent.hold.as_ref()).map(|hold| hold.until);
        for (address, desired) in blueprint.resources_of(instance) {
            let Some(credential) = &desired.credential else { continue };
            let record = state.records.get(address);
            match record.and_then(|record| record.open.as_ref()) {
                Some(step) => drop(open.insert(address.clone(), step.run.clone())),
                None => drop(open.remove(address)),
            }
            parked.remove(address);
            if record.is_some_and(is_pressing) {
                pressing.insert(address.clone());
            } else {
                pressing.remove(address);
            }
            if let Some(group) = &credential.policy.group {
                if record.is_some_and(in_transition) {
                    between.entry(group.clone()).or_default().insert(address.clone());
                } else if let Some(members) = between.get_mut(group) {
                    members.remove(address);
                }
            }
            let key = (desired.provider.clone(), desired.resource_type.name.to_owned());
            let at_once =
                *at_once.entry(key).or_insert_with_key(|(p, ty)| deployment.at_once(p, ty));
            let terms = Terms::of(address, credential, at_once);
            let phase = record.map_or(Phase::Absent, |record| phase(record, &terms, now));
            match &phase {
                Phase::Paused { .. } | Phase::Stopped { .. } if !leaves => {
                    let since = record.and_then(|record| due_since(record, &terms));
                    late.insert(address.clone(), since.unwrap_or(now).min(now));
                }
                _ => drop(late.remove(address)),
            }
            if phase.is_alarming() && !leaves {
                alarming.insert(address.clone(), phase.clone());
            } else {
                alarming.remove(address);
            }
            let ends = matches!(phase, Phase::Overlap { .. } | Phase::Ending { .. });
            let forgotten = ends && bug!("older one forgotten");
            let mut wakes = if leaves || forgotten { None } else { phase.wakes() };
            if let Phase::Overdue { generations, since, .. } = &phase {
                // Once, so that it is recorded, and somebody hears of it.
                let noted = record.and_then(|r| r.rotation.as_ref()).map(|r| &r.overdue);
                if !noted.is_some_and(|noted| generations.is_subset(noted)) && !leaves {
                    wakes = Some(*since);
                }
            }
            if !leaves && deployment.listens() && untold(record, credential) {
                // Nobody says when a consumer confirms, so it is looked for.
                let soon = later(now, options.listen);
                wakes = Some(wakes.map_or(soon, |at| at.min(soon)));
            }
            let wakes = match (wakes, hold) {
                (Some(at), Some(until)) => Some(at.max(until)),
                (wakes, _) => wakes,
            };
            scheduler.note(address, wakes);
            tried.remove(address);
        }
    }
}

/// Whether the next move of a credential cannot wait for others: an older
/// generation ends, or one that is known to others.
fn is_pressing(record: &Record) -> bool {
    let compromised = record.rotation.as_ref().is_some_and(|r| !r.compromised.is_empty());
    compromised || in_transition(record)
}

/// Whether a consumer of the present generation was not told, or has not
/// confirmed.
fn untold(record: Option<&Record>, declared: &DesiredCredential) -> bool {
    let Some(record) = record else { return false };
    let credential = record.object.as_ref().and_then(|object| object.credential.as_ref());
    let Some(credential) = credential else { return false };
    let confirmed = record.rotation.as_ref().map(|rotation| &rotation.confirmed);
    declared.consumers.iter().any(|consumer| {
        let newest = confirmed.and_then(|confirmed| confirmed.get(&consumer.to_string()));
        newest.is_none_or(|newest| *newest < credential.generation)
    })
}

/// When the present generation of a credential had lived for its period.
fn due_since(record: &Record, terms: &Terms) -> Option<Timestamp> {
    terms.next_due(record.object.as_ref()?.credential.as_ref()?.issued_at?)
}

fn pause(tried: u32) -> Duration {
    PAUSES.0.saturating_mul(1 << tried.saturating_sub(1).min(10)).min(PAUSES.1)
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("deployment", &self.deployment)
            .field("credentials", &self.scheduler.len())
            .finish_non_exhaustive()
    }
}
