//! The executor: an authorised plan, run to its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};

use super::{
    Engine, Outcome, Progress, Report, RunContext, StepReport,
    batch::{Ended, Job, Left, run_batch},
    begin::{
        Authorised, adopts_what_stands, begin, fits, is_counted, is_let, is_sound,
        takes_nothing_recorded,
    },
    credential,
    end::{end, leave},
    run::Run,
    schedule::Schedule,
    trace,
    values::{Values, as_adopted, decided_access, intended, resolve},
};
use crate::{
    address::{Address, Instance},
    bugs::bug,
    error::{Error, ErrorKind, Result},
    ledger::{CredentialEvent, Entry, Managed, Query, State},
    plan::{Action, Part, Plan, Step},
    provider::{Observation, Tried},
};

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
    is_sound(plan)?;
    let query = Query::Agents(concerned(plan));
    let state = engine.persist(|| engine.ledger.state(&query)).await?;
    fits(plan, &state)?;
    is_let(plan, &state, authorised.purpose, engine.clock.now())?;
    if !bug!("adopted without a second look") {
        adopts_what_stands(engine, plan).await?;
    }
    let controls = credential::controls(engine, &state, &plan.steps).await;
    let successors = credential::successors(engine, &state, &plan.steps).await;
    let run = begin(engine, context, &authorised, &state).await?;
    run.tell(&Progress::RunBegun { run: run.id.clone(), steps: plan.steps.len() });
    let mut execution = Execution::new(&run, plan, &state, (controls, successors));
    execution.record_only(&state);
    execution.record_kept().await;
    // Who held or killed an agent while the leases were being taken is heard.
    let query = Query::Agents(run.fence.instances.to_vec());
    let since = engine.persist(|| engine.ledger.state(&query)).await;
    let refused = since.and_then(|state| {
        is_let(plan, &state, authorised.purpose, engine.clock.now())?;
        takes_nothing_recorded(plan, &state)
    });
    let refused = match refused {
        Ok(()) => is_counted(&run, &authorised).await,
        refused => refused,
    };
    let refused = refused.err().map(|error| error.to_string());
    if let Some(because) = &refused {
        execution.start_nothing(because);
    }
    trace::in_run(&run.id, authorised.purpose, execution.go()).await;
    let mut report = execution.report;
    report.run = Some(run.id.clone());
    report.left = leave(&run, plan).await;
    report.unfinished = end(&run, &report).await.err().map(Arc::new);
    Ok(report)
}

/// The agents whose records a plan rests on, and those that its values come
/// from: what is read does not depend on the size of the fleet.
fn concerned(plan: &Plan) -> Vec<Instance> {
    let needed = plan.steps.iter().filter_map(|step| step.target.as_ref());
    let needed = needed.flat_map(|target| &target.dependencies);
    let steps = plan.steps.iter().map(|step| &step.address);
    let addresses = steps.chain(needed).chain(plan.versions.keys()).map(Address::instance);
    let agents = plan.agents.iter().map(|agent| &agent.instance);
    let concerned: BTreeSet<&Instance> = addresses.chain(agents).collect();
    concerned.into_iter().cloned().collect()
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
    objects: BTreeMap<Address, Arc<Managed>>,
    /// The records as the run found them, by address and id; also those of
    /// objects that were replaced.
    found: BTreeMap<(Address, String), Arc<Managed>>,
    controls: Arc<BTreeMap<Address, Tried>>,
    /// How what took the place of an older generation answered.
    successors: BTreeMap<Address, Tried>,
    ended: BTreeSet<usize>,
    report: Report,
}

impl<'r, 'a> Execution<'r, 'a> {
    fn new(
        run: &'r Run<'a>,
        plan: &'r Plan,
        state: &State,
        (controls, successors): (BTreeMap<Address, Tried>, BTreeMap<Address, Tried>),
    ) -> Self {
        let objects = plan
            .steps
            .iter()
            .filter_map(|step| {
                let object = state.records.get(&step.address)?.object.clone()?;
                Some((step.address.clone(), object))
            })
            .collect();
        let mut found = BTreeMap::new();
        for step in &plan.steps {
            let Some(record) = state.records.get(&step.address) else { continue };
            for object in record.object.iter().chain(&record.deposed) {
                found.insert((step.address.clone(), object.id.clone()), Arc::clone(object));
            }
        }
        Self {
            run,
            plan,
            schedule: Schedule::new(&plan.steps),
            values: Values::of(state),
            versions: plan.versions.clone(),
            latest: BTreeMap::new(),
            objects,
            found,
            controls: Arc::new(controls),
            successors,
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

    /// Records of each older generation that is not ended now why it is kept.
    async fn record_kept(&self) {
        let entries = self.plan.steps.iter().filter_map(|step| {
            let because = self.without_successor(step)?;
            let generation = step.retires.as_ref()?.generation;
            let event = CredentialEvent::Kept { because };
            Some(Entry::of(&step.address, event).at_generation(generation))
        });
        let entries: Vec<Entry> = entries.collect();
        if !entries.is_empty() {
            // The report says it too, and the next run finds it again.
            let _recorded: Result<u64> = self.run.append(BTreeMap::new(), entries).await;
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
                let batch = run_batch(run, jobs);
                ended.extend(trace::in_batch(&provider, ty, steps, batch).await);
            }
            (provider, ended)
        };
        Some(future.boxed())
    }

    fn job(&self, index: usize) -> Result<Job<'r>> {
        let plan: &'r Plan = self.plan;
        let step = &plan.steps[index];
        let ty = self.run.engine.resource_type(&step.resource_type)?;
        self.has_a_successor(step)?;
        let (properties, target) = match &step.target {
            None => (BTreeMap::new(), None),
            Some(target) => {
                let properties = resolve(step, target, ty, &self.values)?;
                let mut intended = intended(step, target, properties.clone());
                intended.access =
                    decided_access(&step.address, target, &properties, ty, &self.values);
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
                (properties, Some(Arc::new(intended)))
            }
        };
        Ok(Job {
            index,
            step,
            ty,
            properties,
            target,
            recorded: self.objects.get(&step.address).cloned(),
            removed: step
                .id
                .as_ref()
                .and_then(|id| self.found.get(&(step.address.clone(), id.clone())).cloned()),
            version: self.versions[&step.address],
            seen: self.seen(step).clone(),
            controls: Arc::clone(&self.controls),
        })
    }

    /// Refuses to end an older generation while the present one does not work.
    fn has_a_successor(&self, step: &Step) -> Result<()> {
        let Some(why) = self.without_successor(step) else { return Ok(()) };
        Err(Error::new(
            ErrorKind::Refused,
            format!("the present generation {why}; the older one is kept"),
        )
        .at(&step.address)
        .help("see to what stands at its place; the end is tried again"))
    }

    /// Why a step that ends an older generation would cut everybody off.
    fn without_successor(&self, step: &Step) -> Option<String> {
        match self.successors.get(&step.address)? {
            _ if !step.reason.ends_an_older_one() => None,
            Tried::Accepted => None,
            Tried::Refused(why) => Some(format!("is refused: {why}")),
            Tried::Unknown(why) => Some(format!("could not be tried: {why}")),
        }
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
                self.objects.insert(step.address.clone(), object);
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
        let doubted = matches!(outcome, Outcome::InDoubt(_));
        let report = StepReport { address: step.address.clone(), action: step.action, outcome };
        self.run.tell(&Progress::StepEnded { step: report.clone() });
        self.report.push(report);
        if done {
            self.schedule.done(index, &self.plan.steps);
            return;
        }
        let others = if doubted { self.schedule.doubted(index, &self.ended) } else { Vec::new() };
        for other in others {
            let because = format!("another step of `{}` is in doubt", step.address);
            self.finish(other, Outcome::Skipped { because });
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
