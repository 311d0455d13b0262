//! Whether a plan may run, and the append that begins its run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Engine, RunContext,
    batch::same,
    run::{LEASE, Run},
    values::as_adopted,
};
use crate::{
    address::{Address, Instance},
    bugs::bug,
    error::{Error, ErrorKind, Result},
    ledger::{
        Actor, AgentEvent, Append, Authority, Cause, Entry, Event, FORMAT, LedgerEvent, PlanEvent,
        Query, RecordEvent, RunEvent, RunId, RunPurpose, State, StepEvent, Take,
    },
    plan::{Action, AgentChange, Part, Plan, Step},
    provider::{Object, Reference},
    rotation::Room,
};

/// A plan that somebody, or the fleet itself, answers for.
pub(crate) struct Authorised<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) authority: Authority,
    /// Who proposed the plan, where somebody did.
    pub(crate) proposer: Option<Actor>,
    pub(crate) purpose: RunPurpose,
    /// Whether leases are taken from whoever holds them.
    pub(crate) force: bool,
    /// For rotations at providers that have a rate: what was counted of it.
    pub(crate) room: Option<&'p Room>,
}

/// What a run holds a lease of that rotates at a provider with a rate: only one
/// of them at a time counts what is left of it. No agent need have this name.
fn turnstile(provider: &str) -> Result<Instance> {
    Instance::keyed("rate", [provider])
}

/// The providers with a rate at which a plan makes new generations.
fn rated<'p>(authorised: &Authorised<'p>) -> BTreeSet<&'p str> {
    let Some(room) = authorised.room else { return BTreeSet::new() };
    let steps = authorised.plan.steps.iter();
    let steps = steps.filter(|s| s.action == Action::Rotate && room.left.contains_key(&s.provider));
    steps.map(|step| step.provider.as_str()).collect()
}

/// Refuses rotations at a provider of which others began some since its rate
/// was counted; whoever comes now waits at the turnstile.
pub(super) async fn is_counted(run: &Run<'_>, authorised: &Authorised<'_>) -> Result<()> {
    let (rated, Some(room)) = (rated(authorised), authorised.room) else { return Ok(()) };
    if rated.is_empty() {
        return Ok(());
    }
    let mut from = room.counted + 1;
    loop {
        let page = run.engine.persist(|| run.engine.ledger.batches(from, 100)).await?;
        let Some(last) = page.last() else { return Ok(()) };
        from = last.header.sequence + 1;
        let entries = page.iter().flat_map(|batch| &batch.entries);
        let begun = entries.filter(|entry| entry.run.as_ref() != Some(&run.id));
        let taken = begun.filter_map(|entry| turn_of(&entry.event)).find(|p| rated.contains(p));
        if let Some(provider) = taken {
            return Err(stale(format!("another run has rotated at `{provider}` meanwhile")));
        }
    }
}

/// The provider of a new generation that a rotation begins to make.
pub(crate) fn turn_of(event: &Event) -> Option<&str> {
    match event {
        Event::Step(StepEvent::Begun {
            action: Action::Rotate,
            deposed: false,
            target: Some(_),
            provider,
            ..
        }) => Some(provider),
        _ => None,
    }
}

/// Refuses a plan that no planner makes: it was put together by hand.
pub(super) fn is_sound(plan: &Plan) -> Result<()> {
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
pub(super) fn is_let(
    plan: &Plan,
    state: &State,
    purpose: RunPurpose,
    now: Timestamp,
) -> Result<()> {
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
            && !bug!("hold ignored")
        {
            let message = format!("`{instance}` is held until {}: {}", hold.until, hold.reason);
            return Err(stale(message));
        }
        let killed = agent.leaving.is_some_and(|leaving| leaving.cause == Cause::Killed);
        // Few were, so that only for them is all of the plan looked at.
        if killed && !bug!("kill forgotten") && gives(plan, instance) {
            return Err(stale(format!("`{instance}` was killed since the plan was made")));
        }
    }
    Ok(())
}

/// Whether a plan lets an agent act again, or leaves it more than it has.
fn gives(plan: &Plan, instance: &Instance) -> bool {
    let returns = plan
        .agents
        .iter()
        .any(|agent| agent.instance == *instance && matches!(agent.change, AgentChange::Returns));
    let gives = |step: &Step| {
        step.address.instance() == instance
            && step.part != Part::Remove
            && !matches!(
                step.action,
                Action::Suspend | Action::Delete | Action::Forget | Action::Move
            )
    };
    returns || plan.steps.iter().any(gives)
}

/// Refuses a plan that was made on something else than what is recorded now.
pub(super) fn fits(plan: &Plan, state: &State) -> Result<()> {
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
    if moved.is_empty() || bug!("versions not compared") {
        return Ok(());
    }
    Err(stale(format!("these records moved since the plan was made: {}", moved.join(", "))))
}

/// Refuses to remove as undeclared what is recorded by now: the plan saw it in
/// its system, and its record as it was before.
pub(super) fn takes_nothing_recorded(plan: &Plan, state: &State) -> Result<()> {
    if bug!("recorded object taken for undeclared") {
        return Ok(());
    }
    for step in plan.steps.iter().filter(|step| step.address.is_undeclared()) {
        let Some(id) = &step.id else { continue };
        let owner = state.records.iter().find(|(address, record)| {
            let objects = record.object.iter().chain(&record.deposed).any(|object| {
                object.provider == step.provider
                    && object.resource_type == step.resource_type
                    && object.id == *id
            });
            // It may also be what a step that is open is about to record.
            let open = record.open.as_ref().is_some_and(|open| {
                open.provider == step.provider
                    && open.resource_type == step.resource_type
                    && open.id.as_ref().is_none_or(|open| open == id)
            });
            **address != step.address && (objects || open)
        });
        if let Some((owner, _)) = owner {
            return Err(stale(format!("it is recorded as `{owner}` by now")).at(&step.address));
        }
    }
    Ok(())
}

pub(crate) fn stale(message: String) -> Error {
    Error::new(ErrorKind::StalePlan, message).help("plan again, and apply the new plan")
}

/// Reads again what the plan adopts: adopting writes nothing, so nothing else
/// would show that what was seen is of the past.
pub(super) async fn adopts_what_stands(engine: &Engine, plan: &Plan) -> Result<()> {
    let mut adopted: BTreeMap<(&str, &str), Vec<&Step>> = BTreeMap::new();
    for step in plan.steps.iter().filter(|step| step.action == Action::Adopt) {
        adopted.entry((&step.provider, &step.resource_type)).or_default().push(step);
    }
    for ((provider, type_name), steps) in adopted {
        // Whoever may only observe a system adopts what they saw.
        let Ok(writer) = engine.writer(provider, type_name) else { continue };
        let ty = engine.resource_type(type_name)?;
        let ids = steps.iter().map(|step| seen_object(step).map(|seen| seen.id.clone()));
        let references: Vec<Reference> =
            ids.map(|id| id.map(Reference::Id)).collect::<Result<_>>()?;
        let now = engine.persist(|| writer.read(&references)).await?;
        for (step, now) in steps.iter().zip(&now) {
            if !same(now, &step.seen, ty) {
                return Err(stale("what it adopts is not as it was seen".into()).at(&step.address));
            }
        }
    }
    Ok(())
}

/// Takes the leases and records the run, what is said of agents, and whatever
/// changes records only: all in one append.
pub(super) async fn begin<'a>(
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
    // What a plan rests on beside its steps, as the other members of a group.
    let touched: BTreeSet<&Address> = plan.steps.iter().map(|step| &step.address).collect();
    for (address, version) in &plan.versions {
        if !touched.contains(address) {
            expected.entry(address.clone()).or_insert(*version);
        }
    }
    let entries = entries.into_iter().map(|entry| entry.in_run(&id)).collect();
    let mut instances = instances;
    for provider in rated(authorised) {
        instances.push(turnstile(provider)?);
    }
    let take = Take {
        run: id.clone(),
        instances,
        holder: context.holder.clone(),
        ttl: LEASE,
        force: authorised.force,
    };
    let append = Append { expected, entries, fence: None, take: Some(take) };
    let appended = match engine.ledger.append(append).await {
        // What is said of agents moves no record's version.
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            return Err(overtaken(engine, plan, state).await.unwrap_or(error));
        }
        other => other?,
    };
    let fence = appended.fence.ok_or_else(|| {
        Error::new(ErrorKind::Ledger, "the ledger took no lease that it was asked for")
    })?;
    Ok(Run::new(engine, context, id, fence))
}

/// The refusal of a plan of whose agents another run said something meanwhile;
/// `None` when none did.
async fn overtaken(engine: &Engine, plan: &Plan, before: &State) -> Option<Error> {
    let instances = plan.agents.iter().map(|agent| agent.instance.clone()).collect();
    let query = Query::Agents(instances);
    let now = engine.persist(|| engine.ledger.state(&query)).await.ok()?;
    let moved = plan
        .agents
        .iter()
        .map(|agent| &agent.instance)
        // One that left before this run looked is as gone as one since then.
        .find(|instance| {
            let now = now.agents.get(*instance);
            now.is_none() || now != before.agents.get(*instance)
        })?;
    Some(stale(format!("`{moved}` came or left since the plan was made")))
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
            let adopted = Arc::new(as_adopted(step, object, ty));
            RecordEvent::Adopted { object: adopted, from: object.mark.clone() }
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
