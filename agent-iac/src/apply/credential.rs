//! A credential's way: issued, delivered, tried, promoted; and its end: revoked
//! and proved.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Engine, Outcome, Progress,
    batch::{Answer, Begun, Ended, Left, first, give_up},
    executor::Run,
    values::{as_written, broken_promise, mark},
};
use crate::{
    address::{Address, Instance},
    error::{Error, ErrorKind, Result},
    ledger::{
        Cause, Claim, CredentialEvent, CredentialRecord, Entry, Event, Managed, Proof, State,
        StepEvent,
    },
    plan::{Action, CredentialTarget, Part, Step},
    provider::{Attempt, Object, Observation, Operation, Reference, Tried, WriteRequest},
    schema::{Kind, ResourceType},
    secret::{Fingerprint, Secret},
    vault::{Delivery, StoredVersion},
};

/// How many attempts at a secret one proof may take: below any lockout that
/// the systems in question have.
const PROBE_BUDGET: u32 = 4;

/// Why a dead credential has no proof at all.
const UNTRIED: &str = "its value could not be opened to try it";

/// Makes a secret and stages it at its place, before the system learns it.
pub(super) async fn stage_new(run: &Run<'_>, begun: &Begun) -> Result<Secret> {
    let secret = Secret::random(&*run.engine.entropy, 32);
    let credential = target_of(begun.job.target.as_ref())?;
    stage(run, &begun.job.step.address, credential, &begun.claim, &secret).await?;
    Ok(secret)
}

fn target_of(target: Option<&Managed>) -> Result<&CredentialRecord> {
    target
        .and_then(|target| target.credential.as_ref())
        .ok_or_else(|| Error::new(ErrorKind::Bug, "a credential's step has no place to deliver to"))
}

async fn stage(
    run: &Run<'_>,
    address: &Address,
    credential: &CredentialRecord,
    claim: &Claim,
    secret: &Secret,
) -> Result<StoredVersion> {
    let deliver = run.engine.deliver(credential.place.store())?;
    run.engine
        .persist(|| {
            deliver.stage(Delivery {
                path: credential.place.path(),
                address,
                generation: credential.generation,
                claim,
                secret,
            })
        })
        .await
        .map_err(|error| error.at(address))
}

/// A credential that the system knows and whose value is at hand.
pub(super) struct Fresh<'j> {
    pub(super) address: &'j Address,
    pub(super) ty: &'static ResourceType,
    pub(super) claim: &'j Claim,
    pub(super) target: Managed,
    pub(super) object: Object,
    pub(super) version: u64,
}

/// Takes an issued credential to the end: delivered, really used, promoted,
/// recorded. Gives the record and its version.
///
/// # Errors
///
/// With the version that the record has, so that the caller can go on.
pub(super) async fn install(
    run: &Run<'_>,
    fresh: Fresh<'_>,
    secret: &Secret,
    staged: Option<StoredVersion>,
) -> Result<(Managed, u64, Outcome), (Error, u64)> {
    let Fresh { address, ty, claim, target, object, version } = fresh;
    let fail = |error: Error| (error, version);
    let mut record = as_written(target, &object, ty);
    let mut credential = record
        .credential
        .take()
        .ok_or_else(|| fail(Error::new(ErrorKind::Bug, "a credential without a place")))?;
    let stored = match staged {
        Some(stored) => stored,
        None => stage(run, address, &credential, claim, secret).await.map_err(fail)?,
    };
    let deliver = run.engine.deliver(credential.place.store()).map_err(fail)?;
    let (key_name, key) = run.engine.persist(|| deliver.fingerprint_key()).await.map_err(fail)?;
    let fingerprint = (key_name, Fingerprint::of(&key, address, credential.generation, secret));
    let entries = vec![
        Entry::of(address, CredentialEvent::Issued { claim: claim.clone(), id: object.id.clone() }),
        Entry::of(
            address,
            CredentialEvent::Delivered {
                claim: claim.clone(),
                place: credential.place.clone(),
                stored: stored.digest,
                fingerprint: fingerprint.clone(),
            },
        ),
    ];
    let entries = at_generation(entries, credential.generation);
    let expected = BTreeMap::from([(address.clone(), version)]);
    let version = run.append(expected, entries).await.map_err(fail)?;
    let fail = |error: Error| (error, version);
    tell(run, address, "delivered");

    let identity = identity_of(&record, ty);
    let tried = try_once(run.engine, &record.provider, ty, &identity, secret).await;
    let outcome = match &tried {
        Tried::Accepted => {
            tell(run, address, "verified");
            Outcome::Done
        }
        Tried::Refused(why) => {
            let error = Error::new(
                ErrorKind::ProviderContract,
                format!("the new credential was refused when it was tried: {why}"),
            )
            .at(address)
            .help("it was not promoted, and is revoked; what consumers read is as before");
            return Err(fail(error));
        }
        Tried::Unknown(why) if is_untried(run.engine, &record.provider, ty) => {
            Outcome::Unproved(format!("it was delivered without being tried: {why}"))
        }
        Tried::Unknown(why) => {
            let error = Error::new(
                ErrorKind::InDoubt,
                format!("the new credential could not be tried: {why}"),
            )
            .at(address)
            .help("it was not promoted; the next run tries it again");
            return Err(fail(error));
        }
    };
    // From here on consumers may read it, so whatever fails leaves it alive,
    // and the step open for the next run.
    let fail = |error: Error| {
        let doubt = Error::new(ErrorKind::InDoubt, "the new credential may be promoted already")
            .at(address)
            .help("the next run goes on with it")
            .caused_by(error.chain());
        fail(doubt)
    };
    let promoted = run
        .engine
        .persist(|| deliver.promote(credential.place.path(), claim))
        .await
        .map_err(fail)?;
    tell(run, address, "promoted");

    let now = run.engine.clock.now();
    credential.stored = Some(promoted.digest);
    credential.fingerprint = Some(fingerprint);
    credential.issued_at = Some(now);
    credential.verified_at = (tried == Tried::Accepted).then_some(now);
    let generation = credential.generation;
    let place = credential.place.clone();
    record.credential = Some(credential);
    let entries = vec![
        Entry::of(address, CredentialEvent::Verified { tried }),
        Entry::of(address, CredentialEvent::Promoted { place }),
        Entry::of(address, StepEvent::Done { claim: claim.clone(), object: Some(record.clone()) }),
    ];
    let expected = BTreeMap::from([(address.clone(), version)]);
    let version = run.append(expected, at_generation(entries, generation)).await.map_err(fail)?;
    Ok((record, version, outcome))
}

fn at_generation(mut entries: Vec<Entry>, generation: u32) -> Vec<Entry> {
    for entry in &mut entries {
        entry.generation = Some(generation);
    }
    entries
}

fn tell(run: &Run<'_>, address: &Address, phase: &'static str) {
    run.tell(&Progress::Credential { address: address.clone(), phase });
}

/// The id of the identity that a credential belongs to.
pub(super) fn identity_of(object: &Managed, ty: &'static ResourceType) -> String {
    ty.owner_field()
        .and_then(|field| object.properties.get(field)?.as_text())
        .unwrap_or_default()
        .to_owned()
}

/// Whether the provider has no way at all to try this type.
fn is_untried(engine: &Engine, provider: &str, ty: &'static ResourceType) -> bool {
    engine.prober(provider, ty.name).is_err_and(|error| error.kind() == ErrorKind::Unsupported)
}

/// Tries a secret, again only while nobody could be asked.
async fn try_once(
    engine: &Engine,
    provider: &str,
    ty: &'static ResourceType,
    identity: &str,
    secret: &Secret,
) -> Tried {
    let prober = match engine.prober(provider, ty.name) {
        Ok(prober) => prober,
        Err(error) => return Tried::Unknown(error.to_string()),
    };
    let mut answer = Tried::Unknown("it was not asked".into());
    for attempt in 0..PROBE_BUDGET {
        if attempt > 0 {
            engine.clock.sleep(Duration::from_millis(100 << attempt)).await;
        }
        let answers = prober.probe(&[Attempt { identity, secret }]).await;
        match answers.into_iter().next() {
            Some(Tried::Unknown(why)) => answer = Tried::Unknown(without(why, secret)),
            Some(Tried::Refused(why)) => return Tried::Refused(without(why, secret)),
            Some(Tried::Accepted) => return Tried::Accepted,
            None => answer = Tried::Unknown("the provider did not answer".into()),
        }
    }
    answer
}

/// A reason, unless it repeats the secret: it is recorded and shown.
fn without(why: String, secret: &Secret) -> String {
    if secret.is_in(&why) { "its reason holds the secret, and is withheld".into() } else { why }
}

/// Concludes the step of one credential.
pub(super) async fn conclude(run: &Run<'_>, begun: Begun, answer: Answer) -> Ended {
    if begun.job.removes() {
        return conclude_revocation(run, begun, answer).await;
    }
    let issued = match answer {
        Answer::Written(issued) => issued,
        Answer::Failed(error) => {
            discard(run, &begun).await;
            return give_up(run, &begun, error).await;
        }
        Answer::InDoubt(error) => return Ended::in_doubt(begun.job.index, error),
    };
    let Some(object) = issued.written.object else {
        let error = Error::new(
            ErrorKind::ProviderContract,
            format!("the provider `{}` issued nothing", begun.job.step.provider),
        );
        return Ended::in_doubt(begun.job.index, error.at(&begun.job.step.address));
    };
    let Some(target) = begun.job.target.clone() else {
        return give_up(run, &begun, Error::new(ErrorKind::Bug, "a credential without a target"))
            .await;
    };
    // Who makes the secret decides where it is: in the answer, or staged.
    let (secret, staged) = match issued.secret {
        Some(secret) => (Some(secret), None),
        None => match staged_by(run.engine, &target, &begun.claim).await {
            Ok(Some((stored, secret))) => (Some(secret), Some(stored)),
            Ok(None) => (None, None),
            Err(error) => return Ended::in_doubt(begun.job.index, error),
        },
    };
    let promise = broken_promise(&begun.job.properties, &object, begun.job.ty);
    let stray = Stray {
        address: &begun.job.step.address,
        provider: &begun.job.step.provider,
        ty: begun.job.ty,
        claim: &begun.claim,
        id: object.id.clone(),
        version: begun.version,
    };
    let Some(secret) = secret else {
        // Its answer was lost, and with it the value: nobody can use it.
        let error = Error::new(ErrorKind::InDoubt, "the value was lost with the answer")
            .at(&begun.job.step.address)
            .help("it is revoked; apply again to issue another");
        return end_stray(run, stray, begun.job.index, error, true).await;
    };
    if let Some(what) = promise {
        let error = Error::new(
            ErrorKind::ProviderContract,
            format!("the provider `{}` issued {what}", begun.job.step.provider),
        );
        return end_stray(run, stray, begun.job.index, error.at(&begun.job.step.address), false)
            .await;
    }
    let fresh = Fresh {
        address: &begun.job.step.address,
        ty: begun.job.ty,
        claim: &begun.claim,
        target,
        object: object.clone(),
        version: begun.version,
    };
    match install(run, fresh, &secret, staged).await {
        Ok((record, version, outcome)) => Ended {
            record: Left::Object(Box::new(record)),
            seen: Some(Observation::Present(object)),
            ..Ended::with(begun.job.index, outcome, Some(version))
        },
        Err((error, version)) if error.kind() == ErrorKind::InDoubt => {
            Ended { version: Some(version), ..Ended::in_doubt(begun.job.index, error) }
        }
        Err((error, version)) => {
            end_stray(run, Stray { version, ..stray }, begun.job.index, error, false).await
        }
    }
}

/// What this claim staged at the place of a credential, with its value.
pub(super) async fn staged_by(
    engine: &Engine,
    target: &Managed,
    claim: &Claim,
) -> Result<Option<(StoredVersion, Secret)>> {
    let Some(credential) = &target.credential else { return Ok(None) };
    let deliver = engine.deliver(credential.place.store())?;
    let staged = engine.persist(|| deliver.staged(credential.place.path())).await?;
    Ok(staged.filter(|(stored, _)| stored.claim == *claim))
}

async fn discard(run: &Run<'_>, begun: &Begun) {
    let Ok(credential) = target_of(begun.job.target.as_ref()) else { return };
    if let Ok(deliver) = run.engine.deliver(credential.place.store()) {
        // What stays behind is pending: no consumer reads it, and the next
        // delivery to this place replaces it.
        let _left: Result<()> = deliver.discard(credential.place.path(), &begun.claim).await;
    }
}

/// A credential that the system knows and that will not be used.
#[derive(Clone)]
pub(super) struct Stray<'j> {
    pub(super) address: &'j Address,
    pub(super) provider: &'j str,
    pub(super) ty: &'static ResourceType,
    /// The claim of the step that issued it.
    pub(super) claim: &'j Claim,
    pub(super) id: String,
    pub(super) version: u64,
}

async fn end_stray(
    run: &Run<'_>,
    stray: Stray<'_>,
    index: usize,
    error: Error,
    lost: bool,
) -> Ended {
    match revoke_stray(run, stray, &error.to_string(), lost).await {
        Ok(version) => Ended::with(index, Outcome::Failed(Arc::new(error)), Some(version)),
        Err(in_doubt) => Ended::in_doubt(index, in_doubt),
    }
}

/// Revokes a credential that will not be used: a secret that was issued and
/// then lost must not stay alive unknown. Gives the record's version.
///
/// The issuing step ends and the revoking one begins in one append, so that at
/// no instant the credential is unknown to the ledger.
pub(super) async fn revoke_stray(
    run: &Run<'_>,
    stray: Stray<'_>,
    why: &str,
    lost: bool,
) -> Result<u64> {
    let Stray { address, provider, ty, claim, id, version } = stray;
    let revoking = run.next_claim();
    let mut entries =
        vec![Entry::of(address, StepEvent::Failed { claim: claim.clone(), error: why.to_owned() })];
    if lost {
        entries.push(Entry::of(address, CredentialEvent::Lost { id: id.clone() }));
        tell(run, address, "lost");
    }
    entries.push(Entry::of(
        address,
        StepEvent::Begun {
            claim: revoking.clone(),
            action: Action::Delete,
            deposed: true,
            target: None,
            id: Some(id.clone()),
            provider: provider.to_owned(),
            resource_type: ty.name.to_owned(),
        },
    ));
    let expected = BTreeMap::from([(address.clone(), version)]);
    let version = run.append(expected, entries).await?;
    revoke_begun(run, address, provider, ty, &revoking, &id).await?;
    let entries = vec![
        Entry::of(address, CredentialEvent::Revoked { id, proof: None }),
        Entry::of(address, StepEvent::Done { claim: revoking, object: None }),
    ];
    run.append(BTreeMap::from([(address.clone(), version)]), entries).await
}

async fn revoke_begun(
    run: &Run<'_>,
    address: &Address,
    provider: &str,
    ty: &'static ResourceType,
    claim: &Claim,
    id: &str,
) -> Result<()> {
    let writer = run.engine.writer(provider, ty.name)?;
    let request = || WriteRequest {
        claim: claim.clone(),
        mark: mark(&run.engine.fleet, &run.engine.environment, address),
        operation: Operation::Delete { id: id.to_owned() },
        seen: Observation::Absent,
        credential: None,
    };
    run.engine
        .persist(|| async { first(writer.write(vec![request()]).await, provider) })
        .await
        .map(|_| ())
        .map_err(|error| {
            Error::new(ErrorKind::InDoubt, "a credential could not be revoked")
                .at(address)
                .help("the next run goes on with it")
                .caused_by(error.chain())
        })
}

/// How the credentials that a plan removes answer before it begins: the
/// control of the proof that they are dead afterwards, because a suspended
/// identity's credential is refused already.
pub(super) async fn controls(
    engine: &Engine,
    state: &State,
    steps: &[Step],
) -> BTreeMap<Address, Tried> {
    let mut controls = BTreeMap::new();
    for step in steps {
        if step.kind != Kind::Credential || step.action != Action::Delete {
            continue;
        }
        let Some(object) = state.object(&step.address) else { continue };
        let Ok(ty) = engine.resource_type(&object.resource_type) else { continue };
        let tried = match value_of(engine, object).await {
            Ok(secret) => {
                try_once(engine, &object.provider, ty, &identity_of(object, ty), &secret).await
            }
            Err(error) => Tried::Unknown(error.to_string()),
        };
        controls.insert(step.address.clone(), tried);
    }
    controls
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

async fn conclude_revocation(run: &Run<'_>, begun: Begun, answer: Answer) -> Ended {
    match answer {
        Answer::Written(_) => {}
        Answer::Failed(error) => return give_up(run, &begun, error).await,
        Answer::InDoubt(error) => return Ended::in_doubt(begun.job.index, error),
    }
    tell(run, &begun.job.step.address, "revoked");
    let old = if begun.job.is_deposed() { None } else { begun.job.recorded.clone() };
    let control = begun.job.controls.get(&begun.job.step.address).cloned();
    let ending = Ending {
        address: &begun.job.step.address,
        provider: &begun.job.step.provider,
        ty: begun.job.ty,
        claim: &begun.claim,
        id: begun.job.step.id.clone().unwrap_or_default(),
        retires: begun.job.step.retires.clone(),
        old,
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
pub(super) fn unproved_because(proof: &Proof) -> String {
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
pub(super) struct Ending<'j> {
    pub(super) address: &'j Address,
    pub(super) provider: &'j str,
    pub(super) ty: &'static ResourceType,
    pub(super) claim: &'j Claim,
    pub(super) id: String,
    pub(super) retires: Option<CredentialTarget>,
    /// The record of the revoked one, when it is the present one.
    pub(super) old: Option<Managed>,
    /// The record of the one that replaced it.
    pub(super) replaced_by: Option<Managed>,
    /// How it answered before.
    pub(super) control: Option<Tried>,
    pub(super) version: u64,
}

/// Proves the end of a revoked credential, removes its value, and records
/// both. Gives the record's version, and the proof when one could be tried.
pub(super) async fn end_credential(
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
    let identity = ending
        .old
        .as_ref()
        .or(ending.replaced_by.as_ref())
        .map(|object| identity_of(object, ending.ty))
        .unwrap_or_default();
    let prober = engine.prober(ending.provider, ending.ty.name).ok()?;
    let decoy = prober.decoy(&*engine.entropy);
    let attempt = |secret| try_once(engine, ending.provider, ending.ty, &identity, secret);
    let random = attempt(&decoy).await;
    let mut revoked = attempt(&secret).await;
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
            Ok(next) => attempt(&next).await,
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
pub(super) async fn unproved(
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
    Ok(found)
}
