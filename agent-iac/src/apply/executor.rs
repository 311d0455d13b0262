//! The executor: an authorised plan, run to its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Either, select},
    stream::FuturesUnordered,
};

use super::{
    Engine, LeftReport, Outcome, Progress, Report, RunContext, StepReport,
    batch::{Ended, Job, Left, run_batch},
    credential,
    schedule::Schedule,
    values::{Values, as_adopted, decided_access, intended, mark, resolve},
};
use jiff::Timestamp;
use tracing::Instrument as _;

use crate::{
    address::{Address, Instance},
    clock::Clock,
    error::{Error, ErrorKind, Result},
    ledger::{
        Actor, AgentEvent, Append, Authority, Cause, Claim, Entry, FORMAT, Fence, LedgerEvent,
        Managed, PlanEvent, Query, RecordEvent, RunEvent, RunId, RunPurpose, State, Take,
    },
    plan::{Action, AgentChange, Part, Plan, Step},
    provider::{Mark, Object, Observation, Tried},
};

/// How long a lease lasts without being renewed, where the ledger cannot see
/// its holder die.
pub(super) const LEASE: Duration = Duration::from_mins(1);

/// A plan that somebody, or the fleet itself, answers for.
pub(crate) struct Authorised<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) authority: Authority,
    /// Who proposed the plan, where somebody did.
    pub(crate) proposer: Option<Actor>,
    pub(crate) purpose: RunPurpose,
    /// Whether leases are taken from whoever holds them.
    pub(crate) force: bool,
}

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
        progress.trace();
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
        let append = || Append {
            expected: expected.clone(),
            entries: entries.clone(),
            fence: Some(self.fence.clone()),
            take: None,
        };
        let mut attempt = 0;
        loop {
            let since = self.engine.clock.now();
            let error = match self.engine.ledger.append(append()).await {
                Ok(appended) => {
                    self.keeps.checked(since);
                    return Ok(appended.head.sequence);
                }
                Err(error) => error,
            };
            let lost = matches!(error.kind(), ErrorKind::InDoubt | ErrorKind::Timeout);
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
        if self.keeps.is_fresh(&*self.engine.clock) {
            return Ok(());
        }
        self.renew().await
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

/// Runs an authorised plan.
///
/// # Errors
///
/// When the run could not begin. What fails later stands in the report.
pub(crate) async fn run(
    engine: &Engine,
    authorised: Authorised<'_>,
    context: &RunContext,
) -> Result<Report> {
    let plan = authorised.plan;
    if plan.is_empty() {
        return Ok(Report::default());
    }
    let state = engine.persist(|| engine.ledger.state(&Query::Everything)).await?;
    is_sound(plan)?;
    fits(plan, &state)?;
    is_let(plan, &state, authorised.purpose, engine.clock.now())?;
    let controls = credential::controls(engine, &state, &plan.steps).await;
    let run = begin(engine, context, &authorised, &state).await?;
    run.tell(&Progress::RunBegun { run: run.id.clone(), steps: plan.steps.len() });
    let mut execution = Execution::new(&run, plan, &state, controls);
    execution.record_only(&state);
    // Who held or killed an agent while the leases were being taken is heard.
    let query = Query::Agents(run.fence.instances.to_vec());
    let since = engine.persist(|| engine.ledger.state(&query)).await;
    let refused = since
        .and_then(|state| is_let(plan, &state, authorised.purpose, engine.clock.now()))
        .err()
        .map(|error| error.to_string());
    if let Some(because) = &refused {
        execution.start_nothing(because);
    }
    let span = tracing::info_span!("agent_iac.run", run = %run.id, purpose = ?authorised.purpose);
    execution.go().instrument(span).await;
    let mut report = execution.report;
    report.run = Some(run.id.clone());
    report.left = leave(&run, plan).await;
    report.unfinished = end(&run, &report).await.err().map(Arc::new);
    Ok(report)
}

/// Refuses a plan that no planner makes: it was put together by hand.
fn is_sound(plan: &Plan) -> Result<()> {
    for (index, step) in plan.steps.iter().enumerate() {
        let mut addresses = vec![&step.address];
        if let crate::plan::Reason::Moved { from } = &step.reason {
            addresses.push(from);
        }
        let versioned = addresses.iter().all(|address| plan.versions.contains_key(*address));
        if !versioned || step.after.iter().any(|before| *before >= index) {
            return Err(Error::new(
                ErrorKind::Damaged,
                "the step rests on no version, or waits for one that comes after it",
            )
            .at(&step.address)
            .help("plan again, and apply the new plan"));
        }
    }
    Ok(())
}

/// Refuses to go on with an agent that was held or killed since the plan was
/// made: neither need have moved any record.
fn is_let(plan: &Plan, state: &State, purpose: RunPurpose, now: Timestamp) -> Result<()> {
    let mut instances: BTreeSet<&Instance> =
        plan.steps.iter().map(|step| step.address.instance()).collect();
    instances.extend(plan.agents.iter().map(|agent| &agent.instance));
    instances.extend(plan.steps.iter().filter_map(|step| match &step.reason {
        crate::plan::Reason::Moved { from } => Some(from.instance()),
        _ => None,
    }));
    for instance in instances {
        let Some(agent) = state.agents.get(instance) else { continue };
        if let Some(hold) = agent.hold.as_ref().filter(|hold| hold.until > now)
            && purpose != RunPurpose::Kill
        {
            let message = format!("`{instance}` is held until {}: {}", hold.until, hold.reason);
            return Err(stale(message));
        }
        let killed = agent.leaving.is_some_and(|leaving| leaving.cause == Cause::Killed);
        let gives = |step: &Step| {
            step.address.instance() == instance
                && step.part != Part::Remove
                && !matches!(
                    step.action,
                    Action::Suspend | Action::Delete | Action::Forget | Action::Move
                )
        };
        let returns = plan.agents.iter().any(|agent| {
            agent.instance == *instance && matches!(agent.change, AgentChange::Returns)
        });
        if killed && (returns || plan.steps.iter().any(gives)) {
            return Err(stale(format!("`{instance}` was killed since the plan was made")));
        }
    }
    Ok(())
}

/// Refuses a plan that was made on something else than what is recorded now.
fn fits(plan: &Plan, state: &State) -> Result<()> {
    let named = !state.ledger.is_empty();
    if named && (plan.ledger != state.ledger) && !plan.ledger.is_empty() {
        return Err(stale("the plan was made for another ledger".into()));
    }
    let moved: Vec<String> = plan
        .versions
        .iter()
        .filter(|(address, version)| state.version(address) != **version)
        .map(|(address, version)| {
            format!("{address} from version {version} to {}", state.version(address))
        })
        .collect();
    if moved.is_empty() {
        return Ok(());
    }
    Err(stale(format!("these records moved since the plan was made: {}", moved.join(", "))))
}

pub(crate) fn stale(message: String) -> Error {
    Error::new(ErrorKind::StalePlan, message).help("plan again, and apply the new plan")
}

/// Takes the leases and records the run, what is said of agents, and whatever
/// changes records only: all in one append.
async fn begin<'a>(
    engine: &'a Engine,
    context: &'a RunContext,
    authorised: &Authorised<'_>,
    state: &State,
) -> Result<Run<'a>> {
    let plan = authorised.plan;
    let id = RunId::random(&*engine.entropy);
    let mut instances: BTreeSet<Instance> =
        plan.steps.iter().map(|step| step.address.instance().clone()).collect();
    instances.extend(plan.agents.iter().map(|agent| agent.instance.clone()));
    instances.extend(plan.versions.keys().map(|address| address.instance().clone()));
    let instances: Vec<Instance> = instances.into_iter().collect();

    let mut entries = Vec::new();
    if state.ledger.is_empty() {
        entries.push(genesis(engine));
    }
    if let Authority::Acknowledged { digest, actor } = &authorised.authority {
        if let Some(proposer) = &authorised.proposer {
            let proposed = PlanEvent::Proposed { digest: *digest, actor: proposer.clone() };
            entries.push(Entry::new(proposed));
        }
        entries.push(Entry::new(PlanEvent::Acknowledged { digest: *digest, actor: actor.clone() }));
    }
    entries.push(Entry::new(RunEvent::Begun {
        purpose: authorised.purpose,
        actor: context.actor.clone(),
        authority: authorised.authority.clone(),
        instances: instances.clone(),
        revision: context.revision.clone(),
        engine: env!("CARGO_PKG_VERSION").to_owned(),
    }));
    entries.extend(plan.agents.iter().filter_map(agent_entry));
    let mut expected = BTreeMap::new();
    for step in plan.steps.iter().filter(|step| !step.action.writes()) {
        entries.extend(record_entry(engine, step)?);
        expected.insert(step.address.clone(), plan.versions[&step.address]);
        if let crate::plan::Reason::Moved { from } = &step.reason {
            expected.insert(from.clone(), plan.versions[from]);
        }
    }
    let entries = entries.into_iter().map(|entry| entry.in_run(&id)).collect();
    let take = Take {
        run: id.clone(),
        instances,
        holder: context.holder.clone(),
        ttl: LEASE,
        force: authorised.force,
    };
    let appended =
        engine.ledger.append(Append { expected, entries, fence: None, take: Some(take) }).await?;
    let fence = appended.fence.ok_or_else(|| {
        Error::new(ErrorKind::Ledger, "the ledger took no lease that it was asked for")
    })?;
    Ok(Run::new(engine, context, id, fence))
}

pub(super) fn genesis(engine: &Engine) -> Entry {
    Entry::new(LedgerEvent::Opened {
        id: RunId::random(&*engine.entropy).as_str().to_owned(),
        fleet: engine.fleet.clone(),
        environment: engine.environment.clone(),
        format: FORMAT,
    })
}

fn agent_entry(step: &crate::plan::AgentStep) -> Option<Entry> {
    let event = match &step.change {
        AgentChange::Declared { owner, purpose, expires, grace, source } => AgentEvent::Declared {
            owner: owner.clone(),
            purpose: purpose.clone(),
            expires: *expires,
            grace: *grace,
            source: source.clone(),
        },
        AgentChange::Leaves { cause } => AgentEvent::Suspended { cause: *cause },
        AgentChange::Returns => AgentEvent::Resumed { actor: None },
        // Recorded at the end, once nothing is left.
        AgentChange::Ends { .. } => return None,
    };
    Some(Entry::about(&step.instance, event))
}

fn record_entry(engine: &Engine, step: &Step) -> Result<Option<Entry>> {
    let event = match step.action {
        Action::Adopt => {
            let object = seen_object(step)?;
            let ty = engine.resource_type(&step.resource_type)?;
            RecordEvent::Adopted { object: as_adopted(step, object, ty), from: object.mark.clone() }
        }
        Action::Move => match &step.reason {
            crate::plan::Reason::Moved { from } => RecordEvent::Moved { from: from.clone() },
            _ => return Ok(None),
        },
        Action::Forget => RecordEvent::Forgotten,
        // Needs the record as it is; see `Execution::record_only`.
        _ => return Ok(None),
    };
    Ok(Some(Entry::of(&step.address, event)))
}

fn seen_object(step: &Step) -> Result<&Object> {
    step.seen.object().ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "a step adopts what was not seen").at(&step.address)
    })
}

/// A plan on its way.
struct Execution<'r, 'a> {
    run: &'r Run<'a>,
    plan: &'r Plan,
    schedule: Schedule,
    values: Values,
    versions: BTreeMap<Address, u64>,
    /// What this run itself left behind last; the next step of the address
    /// acts on it, and no longer on what the plan saw.
    latest: BTreeMap<Address, Observation>,
    /// The records as they are, for steps that keep most of one.
    objects: BTreeMap<Address, Managed>,
    controls: Arc<BTreeMap<Address, Tried>>,
    ended: BTreeSet<usize>,
    report: Report,
}

impl<'r, 'a> Execution<'r, 'a> {
    fn new(
        run: &'r Run<'a>,
        plan: &'r Plan,
        state: &State,
        controls: BTreeMap<Address, Tried>,
    ) -> Self {
        let objects = plan
            .steps
            .iter()
            .filter_map(|step| {
                let object = state.object(&step.address)?;
                Some((step.address.clone(), object.clone()))
            })
            .collect();
        Self {
            run,
            plan,
            schedule: Schedule::new(&plan.steps),
            values: Values::of(state),
            versions: plan.versions.clone(),
            latest: BTreeMap::new(),
            objects,
            controls: Arc::new(controls),
            ended: BTreeSet::new(),
            report: Report::default(),
        }
    }

    /// Accounts for the steps that the begin of the run recorded already.
    fn record_only(&mut self, state: &State) {
        for (index, step) in self.plan.steps.iter().enumerate() {
            if matches!(step.action, Action::Adopt | Action::Move | Action::Forget) {
                let object = match step.action {
                    Action::Adopt => step.seen.object().and_then(|object| {
                        let ty = self.run.engine.resource_type(&step.resource_type).ok()?;
                        Some(as_adopted(step, object, ty))
                    }),
                    Action::Move => match &step.reason {
                        crate::plan::Reason::Moved { from } => state.object(from).cloned(),
                        _ => None,
                    },
                    _ => None,
                };
                self.values.set(&step.address, object.as_ref());
                self.finish(index, Outcome::Done);
            }
        }
    }

    async fn go(&mut self) {
        let mut in_flight: FuturesUnordered<BoxFuture<'r, (String, Vec<Ended>)>> =
            FuturesUnordered::new();
        loop {
            while !self.run.context.stop.is_requested()
                && in_flight.len() < self.run.context.parallel.max(1)
            {
                let Some(batch) = self.next_batch() else { break };
                in_flight.push(batch);
            }
            if in_flight.is_empty() {
                break;
            }
            let (provider, ended) = self.next_ended(&mut in_flight).await;
            self.schedule.free(&provider, ended.iter().map(|one| one.index));
            for one in ended {
                self.take_in(one);
            }
        }
        if self.run.context.stop.is_requested() {
            self.start_nothing("the run was told to stop");
        }
    }

    /// Skips everything that was not begun.
    fn start_nothing(&mut self, because: &str) {
        for index in self.schedule.drain(&self.ended) {
            self.finish(index, Outcome::Skipped { because: because.to_owned() });
        }
    }

    /// Waits for a batch to end, renewing the leases meanwhile.
    async fn next_ended(
        &self,
        in_flight: &mut FuturesUnordered<BoxFuture<'r, (String, Vec<Ended>)>>,
    ) -> (String, Vec<Ended>) {
        self.run.holding(in_flight.next()).await.unwrap_or_default()
    }

    fn next_batch(&mut self) -> Option<BoxFuture<'r, (String, Vec<Ended>)>> {
        let engine = self.run.engine;
        let batch = self.schedule.next_batch(
            |provider, ty| engine.capabilities(provider, ty).batch,
            |provider| engine.limits(provider).concurrent,
        )?;
        let provider = self.plan.steps[batch[0]].provider.clone();
        let mut jobs = Vec::new();
        let mut ended = Vec::new();
        for index in batch {
            match self.job(index) {
                Ok(job) => jobs.push(job),
                Err(error) => ended.push(Ended::failed(index, error)),
            }
        }
        let run = self.run;
        let future = async move {
            if !jobs.is_empty() {
                let (ty, steps) = (jobs[0].ty.name, jobs.len());
                let span = tracing::debug_span!("agent_iac.batch", provider, ty, steps);
                ended.extend(run_batch(run, jobs).instrument(span).await);
            }
            (provider, ended)
        };
        Some(future.boxed())
    }

    fn job(&self, index: usize) -> Result<Job> {
        let step = &self.plan.steps[index];
        let ty = self.run.engine.resource_type(&step.resource_type)?;
        let (properties, target) = match &step.target {
            None => (BTreeMap::new(), None),
            Some(target) => {
                let properties = resolve(step, target, ty, &self.values)?;
                let mut intended = intended(step, target, properties.clone());
                intended.access = decided_access(target, &properties, ty, &self.values);
                let kept = self.objects.get(&step.address).filter(|_| {
                    matches!(
                        step.action,
                        Action::Update | Action::Suspend | Action::Resume | Action::Record
                    )
                });
                if let Some(kept) = kept {
                    intended.id.clone_from(&kept.id);
                    intended.outputs.clone_from(&kept.outputs);
                    intended.suspended = kept.suspended;
                    intended.credential.clone_from(&kept.credential);
                }
                (properties, Some(intended))
            }
        };
        Ok(Job {
            index,
            step: step.clone(),
            ty,
            properties,
            target,
            recorded: self.objects.get(&step.address).cloned(),
            version: self.versions[&step.address],
            seen: self.seen(step).clone(),
            controls: Arc::clone(&self.controls),
        })
    }

    /// What the step acts on: what the plan saw, or what this run itself left
    /// behind since. An object that was replaced is another one than the new
    /// object at its address.
    fn seen<'s>(&'s self, step: &'s Step) -> &'s Observation {
        match self.latest.get(&step.address) {
            Some(latest) if !removes_deposed(step) => latest,
            _ => &step.seen,
        }
    }

    fn take_in(&mut self, ended: Ended) {
        let step = &self.plan.steps[ended.index];
        if let Some(version) = ended.version {
            self.versions.insert(step.address.clone(), version);
        }
        match ended.record {
            Left::AsItWas => {}
            // The present object is another one than the removed.
            Left::Nothing if removes_deposed(step) => {}
            Left::Nothing => {
                self.values.set(&step.address, None);
                self.objects.remove(&step.address);
            }
            Left::Object(object) => {
                self.values.set(&step.address, Some(&object));
                self.objects.insert(step.address.clone(), *object);
            }
        }
        if let Some(seen) = ended.seen.filter(|_| !removes_deposed(step)) {
            self.latest.insert(step.address.clone(), seen);
        }
        self.finish(ended.index, ended.outcome);
    }

    fn finish(&mut self, index: usize, outcome: Outcome) {
        if !self.ended.insert(index) {
            return;
        }
        let step = &self.plan.steps[index];
        let done = outcome.is_done();
        let report = StepReport { address: step.address.clone(), action: step.action, outcome };
        self.run.tell(&Progress::StepEnded { step: report.clone() });
        self.report.push(report);
        if done {
            self.schedule.done(index, &self.plan.steps);
            return;
        }
        for skipped in self.schedule.failed(index) {
            let because = format!("it needs `{}`, which was not done", step.address);
            self.finish(skipped, Outcome::Skipped { because });
        }
    }
}

/// Whether a step removes an object that was replaced by a new one before.
fn removes_deposed(step: &Step) -> bool {
    step.part == Part::Remove && step.action == Action::ReplaceCreateFirst
}

/// Records the agents of which nothing is left.
async fn leave(run: &Run<'_>, plan: &Plan) -> Vec<LeftReport> {
    let ending: BTreeMap<&Instance, Cause> = plan
        .agents
        .iter()
        .filter_map(|agent| match agent.change {
            AgentChange::Ends { cause } => Some((&agent.instance, cause)),
            _ => None,
        })
        .collect();
    if ending.is_empty() {
        return Vec::new();
    }
    let query = Query::Agents(ending.keys().map(|instance| (*instance).clone()).collect());
    let Ok(state) = run.engine.persist(|| run.engine.ledger.state(&query)).await else {
        return Vec::new();
    };
    // A report of a part of what happened would say that more is proved.
    let Ok(unproved) = credential::unproved(run, &state, &ending).await else {
        return Vec::new();
    };
    let mut reports = Vec::new();
    let mut entries = Vec::new();
    for (instance, cause) in ending {
        let mut open: BTreeMap<Address, String> = state
            .records
            .iter()
            .filter(|(address, record)| address.instance() == instance && !record.is_vacant())
            .map(|(address, _)| (address.clone(), "it is still there".to_owned()))
            .collect();
        let gone = open.is_empty();
        let (proved, without) = unproved.get(instance).cloned().unwrap_or_default();
        open.extend(without);
        let since = state.agents.get(instance).and_then(|agent| agent.leaving);
        let seconds = since.map_or(0, |leaving| {
            run.engine.clock.now().duration_since(leaving.since).as_secs().unsigned_abs()
        });
        let report = LeftReport { instance: instance.clone(), cause, seconds, open: open.clone() };
        reports.push(report);
        if gone {
            let event = AgentEvent::Left { cause, seconds, proved, open };
            entries.push(Entry::about(instance, event));
        }
    }
    if !entries.is_empty() && run.append(BTreeMap::new(), entries).await.is_err() {
        // The next run finds the agents empty and records it then.
        return Vec::new();
    }
    reports
}

/// Records the end of the run, gives the leases back, and pins the head.
async fn end(run: &Run<'_>, report: &Report) -> Result<()> {
    let ended = Entry::new(RunEvent::Ended { summary: report.summary });
    let recorded = run.append(BTreeMap::new(), vec![ended]).await;
    run.engine.persist(|| run.engine.ledger.release(&run.fence)).await?;
    recorded?;
    run.tell(&Progress::RunEnded { summary: report.summary });
    pin(run.engine).await
}

/// Pins the ledger's head in every secret store, so that an older copy of the
/// ledger is known for what it is.
pub(super) async fn pin(engine: &Engine) -> Result<()> {
    let query = Query::Agents(Vec::new());
    let state = engine.persist(|| engine.ledger.state(&query)).await?;
    let pin = crate::vault::Pin { ledger: state.ledger, head: state.head };
    for (_, store) in engine.stores() {
        let deliver = store.deliver()?;
        match engine.persist(|| deliver.set_pin(&pin)).await {
            // Another run has pinned a later head meanwhile.
            Err(error) if error.kind() == ErrorKind::Refused => {}
            other => other?,
        }
    }
    Ok(())
}
