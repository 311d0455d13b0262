//! Settles what runs that died left in doubt: it adopts, repeats or revokes.
//!
//! # Flow
//!
//! 1. The steps that were begun by runs whose leases are dead are taken over,
//!    under leases of their agents.
//! 2. Their providers say what became of each claim, once no work of the dead
//!    run can land any more.
//! 3. What was done is recorded; what was not is recorded as failed, and the
//!    next plan repeats it; a credential whose value was lost is revoked.
//! 4. A dead run of which nothing is open any more is recorded as ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Engine, Outcome, Progress, Report, RunContext, StepReport,
    credential::{self, Ending, Fresh, Stray},
    end::pin,
    run::{LEASE, Run},
    values::{as_written, broken_promise},
};
use crate::{
    address::{Address, Instance},
    bugs::bug,
    error::{Error, ErrorKind, Result},
    ledger::{
        Append, Entry, Lease, Managed, OpenStep, Query, Record, RunEvent, RunId, RunPurpose, State,
        StepEvent, Summary, Take,
    },
    plan::{Action, CredentialTarget},
    provider::{DynWrite, Mark, Object, Observation, Recovery, Reference, Settled, Written},
    schema::{Kind, ResourceType},
};

/// A step whose end is not recorded, with its address and the whole record.
type Doubt<'s> = (&'s Address, &'s Record, &'s OpenStep);

/// Settles what dead runs left in doubt.
///
/// # Errors
///
/// When the ledger cannot be read or written. What cannot be settled stands in
/// the report.
pub(crate) async fn recover(engine: &Engine, context: &RunContext) -> Result<Report> {
    let before = engine.persist(|| engine.ledger.state(&Query::Everything)).await?;
    let alive = engine.persist(|| engine.ledger.leases()).await?;
    let (dead, open) = left_behind(&before, &alive);
    if dead.is_empty() && open.is_empty() {
        return Ok(Report::default());
    }
    let Some(run) = take_over(engine, context, &before, &dead, &open).await? else {
        return Ok(Report::default());
    };
    // Before the leases were taken, others may have settled some of it, or a
    // run may just have ended by itself.
    let state = engine.persist(|| engine.ledger.state(&Query::Everything)).await?;
    let dead: BTreeSet<&RunId> =
        dead.into_iter().filter(|run| state.runs.contains_key(*run)).collect();
    let open: Vec<Doubt<'_>> = open
        .into_iter()
        .filter_map(|(address, _, seen)| {
            let record = state.records.get(address)?;
            let step = record.open.as_ref().filter(|step| step.claim == seen.claim)?;
            Some((address, record, step))
        })
        .collect();
    let mut report = Report { run: Some(run.id.clone()), ..Report::default() };
    let mut groups: BTreeMap<(&str, &str), Vec<Doubt<'_>>> = BTreeMap::new();
    for (address, record, step) in open {
        let group = (step.provider.as_str(), step.resource_type.as_str());
        groups.entry(group).or_default().push((address, record, step));
    }
    for ((provider, ty), steps) in groups {
        // Work of a dead run may land for longer than a lease lasts.
        run.holding(settle_group(&run, provider, ty, &steps, &mut report)).await;
    }
    report.unfinished = conclude(&run, &state, &dead, &report).await.err().map(Arc::new);
    Ok(report)
}

/// The runs that are dead, and the steps that are nobody's any more: of a run
/// that has ended in doubt, or that has lost its lease of the agent.
fn left_behind<'s>(state: &'s State, alive: &[Lease]) -> (BTreeSet<&'s RunId>, Vec<Doubt<'s>>) {
    let runs: BTreeSet<&RunId> = alive.iter().map(|lease| &lease.run).collect();
    let held: BTreeSet<(&Instance, &RunId)> =
        alive.iter().map(|lease| (&lease.instance, &lease.run)).collect();
    let dead = state.runs.keys().filter(|run| !runs.contains(run)).collect();
    let open = state
        .records
        .iter()
        .filter_map(|(address, record)| Some((address, record, record.open.as_ref()?)))
        .filter(|(address, _, step)| !held.contains(&(address.instance(), &step.run)))
        .collect();
    (dead, open)
}

/// Takes the leases of everything that dead runs left behind. `None` when
/// somebody else is settling it at this moment.
async fn take_over<'a>(
    engine: &'a Engine,
    context: &'a RunContext,
    state: &State,
    dead: &BTreeSet<&RunId>,
    open: &[Doubt<'_>],
) -> Result<Option<Run<'a>>> {
    let mut instances: BTreeSet<Instance> =
        open.iter().map(|(address, ..)| address.instance().clone()).collect();
    for run in dead {
        instances.extend(state.runs[*run].instances.iter().cloned());
    }
    let instances: Vec<Instance> = instances.into_iter().collect();
    let id = RunId::random(&*engine.entropy);
    // The dead run's authority goes on: recovery does nothing that it did not
    // begin, and otherwise only takes away.
    let authority = dead.iter().next().map(|run| state.runs[*run].authority.clone());
    let authority = authority.unwrap_or(crate::ledger::Authority::Emergency {
        actor: context.actor.clone(),
        reason: "a step was left in doubt".into(),
    });
    let begun = Entry::new(RunEvent::Begun {
        purpose: RunPurpose::Recover,
        actor: context.actor.clone(),
        authority,
        instances: instances.clone(),
        revision: context.revision.clone(),
        engine: env!("CARGO_PKG_VERSION").to_owned(),
    })
    .in_run(&id);
    let take = Take {
        run: id.clone(),
        instances,
        holder: context.holder.clone(),
        ttl: LEASE,
        force: false,
    };
    let append = Append { entries: vec![begun], take: Some(take), ..Append::default() };
    let appended = match engine.ledger.append(append).await {
        Err(error) if error.kind() == ErrorKind::LeaseHeld => return Ok(None),
        other => other?,
    };
    let fence = appended.fence.ok_or_else(|| {
        Error::new(ErrorKind::Ledger, "the ledger took no lease that it was asked for")
    })?;
    Ok(Some(Run::new(engine, context, id, fence)))
}

async fn settle_group(
    run: &Run<'_>,
    provider: &str,
    type_name: &str,
    steps: &[Doubt<'_>],
    report: &mut Report,
) {
    let settled = match settle(run, provider, type_name, steps).await {
        Ok(settled) => settled,
        Err(error) => {
            let error = Arc::new(error);
            for (address, _, step) in steps {
                let outcome = Outcome::InDoubt(Arc::clone(&error));
                tell(run, report, address, step.action, outcome);
            }
            return;
        }
    };
    for ((address, record, step), settled) in steps.iter().zip(settled) {
        let outcome = match conclude_step(run, address, record, step, settled).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::InDoubt(Arc::new(error)),
        };
        tell(run, report, address, step.action, outcome);
    }
}

fn tell(run: &Run<'_>, report: &mut Report, address: &Address, action: Action, outcome: Outcome) {
    let step = StepReport { address: address.clone(), action, outcome };
    run.tell(&Progress::StepEnded { step: step.clone() });
    report.push(step);
}

/// Learns what became of each step, by what the type can do.
async fn settle(
    run: &Run<'_>,
    provider: &str,
    type_name: &str,
    steps: &[Doubt<'_>],
) -> Result<Vec<Settled>> {
    let engine = run.engine;
    if bug!("recovery repeats") {
        return Ok(steps.iter().map(|_| Settled::NotDone).collect());
    }
    let ty = engine.resource_type(type_name)?;
    let writer = engine.writer(provider, type_name)?;
    let capabilities = writer.capabilities();
    let settled = match capabilities.recovery {
        Recovery::Registry | Recovery::Tagged => {
            let claims: Vec<_> = steps.iter().map(|(.., step)| step.claim.clone()).collect();
            let mut settled = engine.persist(|| writer.settle(&claims)).await?;
            if capabilities.recovery == Recovery::Tagged {
                untagged(run, &*writer, steps, ty, &mut settled).await?;
            }
            settled
        }
        Recovery::NaturalKey | Recovery::None => {
            wait_until_settled(run, capabilities.settles_within, steps).await;
            let asked: Vec<Option<Reference>> =
                steps.iter().map(|(.., step)| reference(step, ty, capabilities.recovery)).collect();
            let references: Vec<Reference> = asked.iter().flatten().cloned().collect();
            let read = engine.persist(|| writer.read(&references)).await?;
            let mut read = read.into_iter();
            let mut settled = Vec::new();
            for ((address, _, step), asked) in steps.iter().zip(asked) {
                settled.push(match asked.and_then(|_| read.next()) {
                    Some(now) => by_sight(step, now, ty, &run.mark(address)),
                    None => {
                        Settled::Unknown("this provider cannot tell what became of a write".into())
                    }
                });
            }
            settled
        }
    };
    if settled.len() == steps.len() {
        Ok(settled)
    } else {
        Err(Error::new(
            ErrorKind::ProviderContract,
            format!(
                "the provider `{provider}` said of {} claims what became of them, and was asked about {}",
                settled.len(),
                steps.len()
            ),
        ))
    }
}

/// A claim stands on the object that it made. What became of a change or a
/// removal is seen at the object itself, now that nothing lands any more.
async fn untagged(
    run: &Run<'_>,
    writer: &dyn DynWrite,
    steps: &[Doubt<'_>],
    ty: &'static ResourceType,
    settled: &mut [Settled],
) -> Result<()> {
    for ((address, _, step), settled) in steps.iter().zip(settled) {
        if let (Some(id), false) = (&step.id, matches!(settled, Settled::Done(_))) {
            let reference = [Reference::Id(id.clone())];
            let read = run.engine.persist(|| writer.read(&reference)).await?;
            if let Some(now) = read.into_iter().next() {
                *settled = by_sight(step, now, ty, &run.mark(address));
            }
        }
    }
    Ok(())
}

/// Waits until no work of the dead run can land any more. Its last write may
/// have gone out long after the step was begun and just before the run died,
/// so the whole time is waited from now.
async fn wait_until_settled(run: &Run<'_>, within: std::time::Duration, steps: &[Doubt<'_>]) {
    if let Some((address, ..)) =
        steps.first().filter(|_| !within.is_zero() && !bug!("recovery does not wait"))
    {
        run.tell(&Progress::Settling { address: (*address).clone(), wait: within });
        run.engine.clock.sleep(within).await;
    }
}

/// How a step's object is found again without a claim.
fn reference(step: &OpenStep, ty: &'static ResourceType, recovery: Recovery) -> Option<Reference> {
    if let Some(id) = &step.id {
        return Some(Reference::Id(id.clone()));
    }
    if recovery == Recovery::None {
        return None;
    }
    let target = step.target.as_ref()?;
    let key: BTreeMap<_, _> = ty
        .key_fields()
        .filter_map(|field| {
            Some((field.name.to_owned(), target.properties.get(field.name)?.clone()))
        })
        .collect();
    (!key.is_empty()).then_some(Reference::Key(key))
}

/// What became of a step, as the object itself shows it.
fn by_sight(step: &OpenStep, now: Observation, ty: &'static ResourceType, ours: &Mark) -> Settled {
    match (now, &step.target) {
        // Somebody else made an object with this key meanwhile.
        (Observation::Present(object), Some(_))
            if step.id.is_none() && object.mark.as_ref().is_some_and(|mark| mark != ours) =>
        {
            Settled::NotDone
        }
        (Observation::Unread(why), _) => Settled::Unknown(why),
        (Observation::Absent, None) => Settled::Done(Written { object: None, correlation: None }),
        (Observation::Absent, Some(_)) | (Observation::Present(_), None) => Settled::NotDone,
        (Observation::Present(object), Some(target)) => {
            let suspended = match step.action {
                Action::Suspend => true,
                Action::Resume => false,
                _ => object.suspended,
            };
            let done = broken_promise(&target.properties, &object, ty).is_none()
                && object.suspended == suspended;
            if done || step.id.is_none() {
                Settled::Done(Written { object: Some(object), correlation: None })
            } else {
                Settled::NotDone
            }
        }
    }
}

async fn conclude_step(
    run: &Run<'_>,
    address: &Address,
    record: &Record,
    step: &OpenStep,
    settled: Settled,
) -> Result<Outcome> {
    let ty = run.engine.resource_type(&step.resource_type)?;
    let credential = ty.kind == Kind::Credential;
    match settled {
        Settled::Unknown(why) => {
            let error = Error::new(
                ErrorKind::InDoubt,
                format!("it cannot be told whether the step was carried out: {why}"),
            );
            Ok(Outcome::InDoubt(Arc::new(error.at(address))))
        }
        // It is in no record but this step, so it would live on unknown.
        Settled::NotDone if credential && is_stray(record, step) => {
            revoke_again(run, address, record, step, ty).await
        }
        Settled::NotDone => {
            if credential {
                discard(run, step).await?;
            }
            let why = "its run died before it was carried out";
            let failed = StepEvent::Failed { claim: step.claim.clone(), error: why.into() };
            append(run, address, record.version, failed).await?;
            Ok(Outcome::Skipped { because: format!("{why}; the next plan repeats it") })
        }
        Settled::Done(written) => match (credential, &step.target, written.object) {
            (true, None, _) => conclude_revocation(run, address, record, step, ty).await,
            (true, Some(target), Some(object)) => {
                let target = Managed::clone(target);
                conclude_issue(run, address, record, step, target, object, ty).await
            }
            (true, Some(target), None) => {
                conclude_vanished(run, address, record, step, Managed::clone(target), ty).await
            }
            (false, Some(target), Some(object)) => {
                let object = Arc::new(as_written(Managed::clone(target), &object, ty));
                let done = StepEvent::Done { claim: step.claim.clone(), object: Some(object) };
                append(run, address, record.version, done).await?;
                Ok(Outcome::Done)
            }
            _ => {
                let done = StepEvent::Done { claim: step.claim.clone(), object: None };
                append(run, address, record.version, done).await?;
                Ok(Outcome::Done)
            }
        },
    }
}

/// Whether a step revokes a credential that nothing else records: one that was
/// issued and then lost.
fn is_stray(record: &Record, step: &OpenStep) -> bool {
    let recorded = |id: &String| record.deposed.iter().chain(&record.object).any(|o| o.id == *id);
    step.deposed && step.target.is_none() && step.id.as_ref().is_some_and(|id| !recorded(id))
}

async fn revoke_again(
    run: &Run<'_>,
    address: &Address,
    record: &Record,
    step: &OpenStep,
    ty: &'static ResourceType,
) -> Result<Outcome> {
    let stray = Stray {
        address,
        provider: &step.provider,
        ty,
        claim: &step.claim,
        id: step.id.clone().unwrap_or_default(),
        version: record.version,
    };
    credential::revoke_stray(run, stray, "its run died before it was carried out", false).await?;
    Ok(Outcome::Done)
}

async fn append(run: &Run<'_>, address: &Address, version: u64, event: StepEvent) -> Result<u64> {
    let expected = BTreeMap::from([(address.clone(), version)]);
    run.append(expected, vec![Entry::of(address, event)]).await
}

/// Goes on with a credential that the system knows, when its value is still
/// at hand; revokes it when the value was lost.
async fn conclude_issue(
    run: &Run<'_>,
    address: &Address,
    record: &Record,
    step: &OpenStep,
    target: Managed,
    object: Object,
    ty: &'static ResourceType,
) -> Result<Outcome> {
    let stray = Stray {
        address,
        provider: &step.provider,
        ty,
        claim: &step.claim,
        id: object.id.clone(),
        version: record.version,
    };
    let value = match credential::staged_by(run.engine, &target, &step.claim).await? {
        Some((stored, secret)) => Some((Some(stored), secret, false)),
        None => {
            promoted_by(run, &target, step).await?.map(|(stored, secret)| (stored, secret, true))
        }
    };
    let Some((staged, secret, promoted)) = value else {
        credential::revoke_stray(run, stray, "its value was lost in a crash", true).await?;
        let because =
            "its value was lost in a crash; it was revoked, and the next plan issues another";
        return Ok(Outcome::Skipped { because: because.into() });
    };
    let claim = &step.claim;
    let fresh = Fresh { address, ty, claim, target, object, version: record.version, promoted };
    match credential::install(run, fresh, &secret, staged).await {
        Ok((.., outcome)) => Ok(outcome),
        Err((error, _)) if error.kind() == ErrorKind::InDoubt => Err(error),
        Err((error, version)) => {
            let stray = Stray { version, ..stray };
            credential::revoke_stray(run, stray, &error.to_string(), false).await?;
            Ok(Outcome::Failed(Arc::new(error)))
        }
    }
}

/// A credential that was made, and that somebody has removed since. One that
/// consumers read already is recorded as what stands at its place: the one
/// before it is an older one from then on, and the next plan sees that it is
/// gone. Any other took nobody's place, so everything stays as it was.
async fn conclude_vanished(
    run: &Run<'_>,
    address: &Address,
    record: &Record,
    step: &OpenStep,
    target: Managed,
    ty: &'static ResourceType,
) -> Result<Outcome> {
    let why = "somebody removed what it made before that was recorded";
    let promoted = promoted_by(run, &target, step).await?.is_some();
    let Some(id) = step.issued.clone().filter(|_| promoted) else {
        discard(run, step).await?;
        let failed = StepEvent::Failed { claim: step.claim.clone(), error: why.into() };
        append(run, address, record.version, failed).await?;
        return Ok(Outcome::Skipped { because: format!("{why}; the next plan repeats it") });
    };
    let gone = Object {
        id,
        label: None,
        fields: BTreeMap::new(),
        suspended: false,
        mark: None,
        obstacle: None,
    };
    let mut object = as_written(target, &gone, ty);
    if let Some(credential) = &mut object.credential {
        credential.issued_at = Some(run.engine.clock.now());
    }
    let object = Some(Arc::new(object));
    let done = StepEvent::Done { claim: step.claim.clone(), object };
    append(run, address, record.version, done).await?;
    Ok(Outcome::Unproved(why.into()))
}

/// The value, when the dead run had promoted it and died before recording it.
async fn promoted_by(
    run: &Run<'_>,
    target: &Managed,
    step: &OpenStep,
) -> Result<Option<(Option<crate::vault::StoredVersion>, crate::secret::Secret)>> {
    let Some(credential) = &target.credential else { return Ok(None) };
    let path = credential.place.path().to_owned();
    let deliver = run.engine.deliver(credential.place.store())?;
    let versions = run.engine.persist(|| deliver.versions(std::slice::from_ref(&path))).await?;
    let current = versions.into_iter().next().and_then(|versions| versions.current);
    let Some(current) = current.filter(|current| current.claim == step.claim) else {
        return Ok(None);
    };
    let open = run.engine.opener(credential.place.store())?;
    let secret = open.open(&path, Some(current.generation), Some(current.digest)).await?;
    Ok(Some((Some(current), secret)))
}

async fn conclude_revocation(
    run: &Run<'_>,
    address: &Address,
    record: &Record,
    step: &OpenStep,
    ty: &'static ResourceType,
) -> Result<Outcome> {
    let id = step.id.clone().unwrap_or_default();
    let old = record.deposed.iter().chain(&record.object).find(|object| object.id == id).cloned();
    let retires = old.as_ref().and_then(|old| {
        let credential = old.credential.as_ref()?;
        Some(CredentialTarget {
            generation: credential.generation,
            place: credential.place.clone(),
        })
    });
    let ending = Ending {
        address,
        provider: &step.provider,
        ty,
        claim: &step.claim,
        id,
        retires: retires.clone(),
        replaced_by: record.object.clone().filter(|_| step.deposed),
        old,
        control: None,
        version: record.version,
    };
    let (_, proof) = credential::end_credential(run, ending).await?;
    Ok(match proof {
        // The stray of a crash never had a place, so there is nothing to try.
        None if retires.is_none() => Outcome::Done,
        None => Outcome::Unproved("its value could not be opened to try it".into()),
        Some(proof) if proof.holds() => Outcome::Done,
        Some(proof) => Outcome::Unproved(credential::unproved_because(&proof)),
    })
}

async fn discard(run: &Run<'_>, step: &OpenStep) -> Result<()> {
    let Some(credential) = step.target.as_ref().and_then(|target| target.credential.as_ref())
    else {
        return Ok(());
    };
    let deliver = run.engine.deliver(credential.place.store())?;
    run.engine.persist(|| deliver.discard(credential.place.path(), &step.claim)).await
}

/// Ends the dead runs of which nothing is open any more, and this one.
async fn conclude(
    run: &Run<'_>,
    state: &State,
    dead: &BTreeSet<&RunId>,
    report: &Report,
) -> Result<()> {
    let in_doubt: BTreeSet<&RunId> = report
        .steps
        .iter()
        .filter(|step| matches!(step.outcome, Outcome::InDoubt(_)))
        .filter_map(|step| state.records.get(&step.address)?.open.as_ref().map(|open| &open.run))
        .collect();
    let ended = |summary| Entry::new(RunEvent::Ended { summary });
    for dead in dead.iter().filter(|dead| !in_doubt.contains(**dead)) {
        let entry = ended(Summary::default());
        let append = Append {
            entries: vec![entry.in_run(dead)],
            fence: Some(run.fence.clone()),
            ..Append::default()
        };
        match run.engine.persist(|| run.engine.ledger.append(append.clone())).await {
            // An earlier attempt, whose answer was lost, has recorded it.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {}
            other => drop(other?),
        }
    }
    run.append(BTreeMap::new(), vec![ended(report.summary)]).await?;
    run.engine.persist(|| run.engine.ledger.release(&run.fence)).await?;
    run.tell(&Progress::RunEnded { summary: report.summary });
    pin(run.engine).await
}
