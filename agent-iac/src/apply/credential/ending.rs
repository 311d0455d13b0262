//! A credential's end: revoked, proved, recorded.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{PROBE_BUDGET, at_generation, identity_of, is_untried, tell, try_each, try_once};
use crate::{
    address::{Address, Instance},
    apply::{
        Engine, Outcome,
        ask::Answer,
        batch::{Begun, Ended, Left, give_up},
        run::Run,
    },
    bugs::bug,
    error::{Error, ErrorKind, Result},
    ledger::{Cause, Claim, CredentialEvent, Entry, Event, Managed, Proof, State, StepEvent},
    plan::{Action, CredentialTarget, Part, Reason, Step},
    provider::{Attempt, Observation, Reference, Tried},
    schema::{Kind, ResourceType},
    secret::Secret,
};

/// How many secrets are open at the same time, at most.
const OPEN: usize = 100;

/// Why a dead credential has no proof at all.
const UNTRIED: &str = "its value could not be opened to try it";

/// How the credentials that a plan removes answer before it begins: the
/// control of the proof that they are dead afterwards, because a suspended
/// identity's credential is refused already.
pub(in crate::apply) async fn controls(
    engine: &Engine,
    state: &State,
    steps: &[Step],
) -> BTreeMap<Address, Tried> {
    let mut groups: BTreeMap<(&str, &str), Vec<(&Address, &Managed)>> = BTreeMap::new();
    for step in steps {
        if step.kind != Kind::Credential || step.action != Action::Delete {
            continue;
        }
        let Some(object) = state.object(&step.address) else { continue };
        let group = (object.provider.as_str(), object.resource_type.as_str());
        groups.entry(group).or_default().push((&step.address, object));
    }
    let mut controls = BTreeMap::new();
    for ((provider, ty), objects) in groups {
        let Ok(ty) = engine.resource_type(ty) else { continue };
        for objects in objects.chunks(OPEN) {
            let mut opened = Vec::with_capacity(objects.len());
            for (address, object) in objects {
                match value_of(engine, object).await {
                    Ok(secret) => opened.push((*address, identity_of(object, ty), secret)),
                    Err(error) => {
                        controls.insert((*address).clone(), Tried::Unknown(error.to_string()));
                    }
                }
            }
            let attempts: Vec<Attempt<'_>> =
                opened.iter().map(|(_, identity, secret)| Attempt { identity, secret }).collect();
            let tried = try_each(engine, provider, ty, &attempts).await;
            let addresses = opened.iter().map(|(address, ..)| (*address).clone());
            controls.extend(addresses.zip(tried));
        }
    }
    controls
}

/// How the credentials answer that older generations make room for: what
/// consumers read must work before the one before it goes. A compromised one
/// goes whatever the new one says.
pub(in crate::apply) async fn successors(
    engine: &Engine,
    state: &State,
    steps: &[Step],
) -> BTreeMap<Address, Tried> {
    let mut answers = BTreeMap::new();
    for step in steps {
        let Reason::Outlived { generation, .. } = &step.reason else { continue };
        let Some(record) = state.records.get(&step.address) else { continue };
        let leaked = record.rotation.as_ref().is_some_and(|r| r.compromised.contains(generation));
        let Some(present) = record.object.as_ref().filter(|_| !leaked) else { continue };
        // Where the present one goes too, there is nobody to be cut off. One
        // that is gone already answers nothing: what is made in its place is
        // tried by its own step, and the end follows that, where it can.
        let settled = |other: &Step| {
            other.target.is_none() && !other.reason.ends_an_older_one()
                || other.target.is_some() && other.reason == Reason::Gone
        };
        if steps.iter().any(|other| other.address == step.address && settled(other)) {
            continue;
        }
        let Ok(ty) = engine.resource_type(&present.resource_type) else { continue };
        // A prober that is not to be had now is no reason to go on without.
        if is_untried(engine, &present.provider, ty) {
            continue;
        }
        let tried = match value_read(engine, present).await {
            Ok(secret) => {
                let identity = identity_of(present, ty);
                try_once(engine, &present.provider, ty, &identity, &secret).await
            }
            Err(error) => Tried::Unknown(error.to_string()),
        };
        answers.insert(step.address.clone(), tried);
    }
    answers
}

/// The value that a consumer reads now, which must be the recorded one.
async fn value_read(engine: &Engine, object: &Managed) -> Result<Secret> {
    let credential = object
        .credential
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "it was never delivered"))?;
    let open = engine.opener(credential.place.store())?;
    open.open(credential.place.path(), None, credential.stored).await
}

/// The value of a recorded credential, opened by the probe.
async fn value_of(engine: &Engine, object: &Managed) -> Result<Secret> {
    let credential = object
        .credential
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "it was never delivered"))?;
    let open = engine.opener(credential.place.store())?;
    open.open(credential.place.path(), Some(credential.generation), credential.stored).await
}

pub(super) async fn conclude_revocation(run: &Run<'_>, begun: Begun<'_>, answer: Answer) -> Ended {
    match answer {
        Answer::Written(_) => {}
        Answer::Failed(error) => return give_up(run, &begun, error).await,
        Answer::InDoubt(error) => return Ended::in_doubt(begun.job.index, error),
    }
    tell(run, &begun.job.step.address, "revoked");
    let control = begun.job.controls.get(&begun.job.step.address).cloned();
    let ending = Ending {
        address: &begun.job.step.address,
        provider: &begun.job.step.provider,
        ty: begun.job.ty,
        claim: &begun.claim,
        id: begun.job.step.id.clone().unwrap_or_default(),
        retires: begun.job.step.retires.clone(),
        old: begun.job.removed.clone(),
        replaced_by: begun.job.recorded.clone().filter(|_| begun.job.step.part == Part::Remove),
        control,
        version: begun.version,
    };
    let undeclared = begun.job.step.address.is_undeclared();
    match end_credential(run, ending).await {
        Ok((version, proof)) => {
            let outcome = match proof {
                Some(proof) if proof.holds() => Outcome::Done,
                // Nobody here ever knew the value of what was not declared, so
                // the system's own look-up is all that can be had.
                _ if undeclared => Outcome::Done,
                Some(proof) => Outcome::Unproved(unproved_because(&proof)),
                None => Outcome::Unproved(UNTRIED.into()),
            };
            let record = if begun.job.is_deposed() { Left::AsItWas } else { Left::Nothing };
            Ended {
                record,
                seen: Some(Observation::Absent),
                ..Ended::with(begun.job.index, outcome, Some(version))
            }
        }
        Err(error) => Ended::in_doubt(begun.job.index, error),
    }
}

/// Why a proof does not hold.
pub(in crate::apply) fn unproved_because(proof: &Proof) -> String {
    match (&proof.random, &proof.revoked) {
        (_, Tried::Accepted) => "it is still accepted after it was revoked".into(),
        (Tried::Refused(random), Tried::Refused(revoked)) if random != revoked => {
            format!("it is refused because {revoked}, and a random one because {random}")
        }
        (Tried::Refused(_), Tried::Refused(_)) => {
            "no credential was accepted on the same path, and the system does not say that it is gone".into()
        }
        (Tried::Unknown(why), _) | (_, Tried::Unknown(why)) => {
            format!("it could not be tried: {why}")
        }
        (Tried::Accepted, _) => "a random credential is accepted, so a refusal proves nothing".into(),
    }
}

/// A credential that was revoked at the provider and whose end is to be proved
/// and recorded.
pub(in crate::apply) struct Ending<'j> {
    pub(in crate::apply) address: &'j Address,
    pub(in crate::apply) provider: &'j str,
    pub(in crate::apply) ty: &'static ResourceType,
    pub(in crate::apply) claim: &'j Claim,
    pub(in crate::apply) id: String,
    pub(in crate::apply) retires: Option<CredentialTarget>,
    /// The record of the revoked one.
    pub(in crate::apply) old: Option<Arc<Managed>>,
    /// The record of the one that replaced it.
    pub(in crate::apply) replaced_by: Option<Arc<Managed>>,
    /// How it answered before.
    pub(in crate::apply) control: Option<Tried>,
    pub(in crate::apply) version: u64,
}

/// Proves the end of a revoked credential, removes its value, and records
/// both. Gives the record's version, and the proof when one could be tried.
pub(in crate::apply) async fn end_credential(
    run: &Run<'_>,
    ending: Ending<'_>,
) -> Result<(u64, Option<Proof>)> {
    let proof = prove(run, &ending).await;
    if proof.as_ref().is_some_and(Proof::holds) {
        tell(run, ending.address, "proved");
    }
    let revoked = CredentialEvent::Revoked { id: ending.id.clone(), proof: proof.clone() };
    let mut entries = vec![Entry::of(ending.address, revoked)];
    if let Some(retires) = &ending.retires {
        entries = at_generation(entries, retires.generation);
        // With the value goes the only way to prove its end, so the proof is
        // recorded before.
        run.append(BTreeMap::new(), std::mem::take(&mut entries)).await?;
        let deliver = run.engine.deliver(retires.place.store())?;
        run.engine.persist(|| deliver.remove(retires.place.path(), retires.generation)).await?;
    }
    let done = StepEvent::Done { claim: ending.claim.clone(), object: None };
    let done = vec![Entry::of(ending.address, done)];
    entries.extend(match &ending.retires {
        Some(retires) => at_generation(done, retires.generation),
        None => done,
    });
    let expected = BTreeMap::from([(ending.address.clone(), ending.version)]);
    let version = run.append(expected, entries).await?;
    Ok((version, proof))
}

async fn prove(run: &Run<'_>, ending: &Ending<'_>) -> Option<Proof> {
    let engine = run.engine;
    let retires = ending.retires.as_ref()?;
    let open = engine.opener(retires.place.store()).ok()?;
    let expect = ending
        .old
        .as_ref()
        .and_then(|old| old.credential.as_ref())
        .filter(|credential| credential.generation == retires.generation)
        .and_then(|credential| credential.stored);
    let secret = open.open(retires.place.path(), Some(retires.generation), expect).await.ok()?;
    let whose = if bug!("tried as another identity") {
        ending.replaced_by.as_ref().or(ending.old.as_ref())
    } else {
        ending.old.as_ref().or(ending.replaced_by.as_ref())
    };
    let identity = whose.map(|object| identity_of(object, ending.ty)).unwrap_or_default();
    let prober = engine.prober(ending.provider, ending.ty.name).ok()?;
    let decoy = prober.decoy(&secret, &*engine.entropy);
    let attempt = |secret| try_once(engine, ending.provider, ending.ty, &identity, secret);
    let random = attempt(&decoy).await;
    let tried = !bug!("proof without trying");
    let mut revoked = if tried { attempt(&secret).await } else { random.clone() };
    // A system may go on accepting it for a stated while.
    let window = engine
        .capabilities(ending.provider, ending.ty.name)
        .credential
        .map_or(Duration::ZERO, |credential| credential.propagation);
    for _ in 1..PROBE_BUDGET {
        if revoked != Tried::Accepted || window.is_zero() {
            break;
        }
        engine.clock.sleep(window / (PROBE_BUDGET - 1)).await;
        revoked = attempt(&secret).await;
    }
    let accepted = match &ending.replaced_by {
        Some(next) if ending.old.as_ref() != Some(next) => match value_of(engine, next).await {
            // It may be of another identity than the one that it replaced.
            Ok(value) => {
                let whose = identity_of(next, ending.ty);
                try_once(engine, ending.provider, ending.ty, &whose, &value).await
            }
            Err(error) => Tried::Unknown(error.to_string()),
        },
        _ => ending
            .control
            .clone()
            .unwrap_or_else(|| Tried::Unknown("it was not tried before its end".into())),
    };
    let gone = match engine.writer(ending.provider, ending.ty.name) {
        Ok(writer) => {
            let reference = [Reference::Id(ending.id.clone())];
            writer.read(&reference).await.is_ok_and(|read| read == [Observation::Absent])
        }
        Err(_) => false,
    };
    Some(Proof { accepted, random, revoked, gone })
}

/// For each agent that ends: which of its credentials are proved dead since it
/// began to leave, and which are not and why.
pub(in crate::apply) async fn unproved(
    run: &Run<'_>,
    state: &State,
    ending: &BTreeMap<&Instance, Cause>,
) -> Result<BTreeMap<Instance, (BTreeSet<Address>, BTreeMap<Address, String>)>> {
    let mut found: BTreeMap<Instance, (BTreeSet<Address>, BTreeMap<Address, String>)> =
        BTreeMap::new();
    // Nothing that was revoked before the first of them began to leave matters.
    let begun = |instance: &&Instance| Some(state.agents.get(*instance)?.leaving?.batch);
    let mut from = ending.keys().filter_map(begun).min().unwrap_or(1);
    loop {
        let page = run.engine.persist(|| run.engine.ledger.batches(from, 1_000)).await?;
        let Some(last) = page.last() else { break };
        from = last.header.sequence + 1;
        for entry in page.iter().flat_map(|batch| &batch.entries) {
            let Some(address) = &entry.address else { continue };
            if !ending.contains_key(address.instance()) || address.is_undeclared() {
                continue;
            }
            let (proved, open) = found.entry(address.instance().clone()).or_default();
            match &entry.event {
                Event::Credential(CredentialEvent::Revoked { proof: Some(proof), .. })
                    if proof.holds() =>
                {
                    open.remove(address);
                    proved.insert(address.clone());
                }
                Event::Credential(CredentialEvent::Revoked { proof: Some(proof), .. }) => {
                    open.insert(address.clone(), unproved_because(proof));
                }
                // One whose value could not be opened was never tried; one
                // without a generation was lost, and nobody could.
                Event::Credential(CredentialEvent::Revoked { proof: None, .. })
                    if entry.generation.is_some() && !proved.contains(address) =>
                {
                    open.insert(address.clone(), UNTRIED.into());
                }
                Event::Credential(CredentialEvent::Promoted { .. }) => {
                    proved.remove(address);
                    open.remove(address);
                }
                _ => {}
            }
        }
    }
    in_an_archive(state, ending, &mut found);
    Ok(found)
}

/// Says of each credential of which the ledger knows no end that it may stand in
/// an archive: an agent may have begun to leave before the ledger begins.
fn in_an_archive(
    state: &State,
    ending: &BTreeMap<&Instance, Cause>,
    found: &mut BTreeMap<Instance, (BTreeSet<Address>, BTreeMap<Address, String>)>,
) {
    let Some(begins) = state.begins else { return };
    for instance in ending.keys() {
        let leaving = state.agents.get(*instance).and_then(|agent| agent.leaving);
        if leaving.is_none_or(|leaving| leaving.batch > begins.from.sequence) {
            continue;
        }
        let (proved, open) = found.entry((*instance).clone()).or_default();
        let issued = state
            .records
            .iter()
            .filter(|(address, record)| address.instance() == *instance && record.generations > 0);
        for (address, _) in issued.filter(|(address, _)| !proved.contains(*address)) {
            open.entry(address.clone()).or_insert_with(|| {
                format!("its end stands in the archive, up to batch {}", begins.from.sequence)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::{AgentRecord, Checkpoint, Head, Leaving, Record},
        value::Digest,
    };

    #[test]
    fn an_end_that_was_archived_is_told_as_not_known_here() {
        let instance: Instance = "triage".parse().unwrap();
        let address = |name: &str| instance.resource(name).unwrap();
        let mut state = State::default();
        let leaving = Leaving {
            cause: Cause::Removed,
            since: jiff::Timestamp::UNIX_EPOCH,
            batch: 40,
            ended: false,
        };
        state.agents.insert(
            instance.clone(),
            AgentRecord {
                owner: "team:support".into(),
                purpose: "Sorts tickets.".into(),
                expires: jiff::civil::date(2030, 1, 1),
                grace: "7d".parse().unwrap(),
                source: None,
                since: jiff::Timestamp::UNIX_EPOCH,
                leaving: Some(leaving),
                proved_at: None,
                hold: None,
            },
        );
        for (name, generations) in [("key", 3), ("token", 1), ("account", 0)] {
            let record = Record { version: 41, generations, ..Record::default() };
            state.records.insert(address(name), record);
        }
        let ending = BTreeMap::from([(&instance, Cause::Removed)]);
        let proved = BTreeSet::from([address("token")]);
        let told = |until: Option<u64>| {
            let from = |sequence| Head { sequence, hash: Digest::ZERO };
            let state = State {
                begins: until.map(|at| Checkpoint { from: from(at), until: at + 2 }),
                ..state.clone()
            };
            let mut found = BTreeMap::from([(instance.clone(), (proved.clone(), BTreeMap::new()))]);
            in_an_archive(&state, &ending, &mut found);
            found.remove(&instance).unwrap().1
        };
        assert_eq!(told(None), BTreeMap::new());
        assert_eq!(told(Some(39)), BTreeMap::new(), "it began to leave after that");
        let open = told(Some(50));
        assert_eq!(open.keys().collect::<Vec<_>>(), [&address("key")]);
        assert!(open[&address("key")].contains("the archive, up to batch 50"), "{open:?}");
    }
}
