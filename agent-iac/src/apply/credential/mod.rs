//! A credential's way: issued, delivered, tried, promoted, recorded.

mod ending;

pub(super) use ending::{Ending, controls, end_credential, successors, unproved, unproved_because};

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{
    Engine, Outcome, Progress,
    ask::{Answer, first},
    batch::{Begun, Ended, Left, give_up},
    run::Run,
    values::{as_written, broken_promise, mark},
};
use crate::{
    address::Address,
    bugs::bug,
    error::{Error, ErrorKind, Result},
    ledger::{Claim, CredentialEvent, CredentialRecord, Entry, Managed, StepEvent},
    plan::Action,
    provider::{
        Attempt, CompositionRequest, DynWrite, Object, Observation, Operation, Tried, WriteRequest,
    },
    schema::ResourceType,
    secret::{Fingerprint, Secret},
    vault::{Delivery, StoredVersion},
};

/// How many attempts at a secret one proof may take: below any lockout that
/// the systems in question have.
const PROBE_BUDGET: u32 = 4;

/// Has the provider compose the secrets of credentials that were begun, and
/// stages each at its place, before the system learns it. One answer for each,
/// in their order.
pub(super) async fn stage_new(
    run: &Run<'_>,
    writer: &dyn DynWrite,
    begun: &[Begun<'_>],
) -> Vec<Result<Secret>> {
    let composition = |one: &Begun<'_>| {
        let credential = target_of(one.job.target.as_deref());
        CompositionRequest {
            mark: run.mark(&one.job.step.address),
            generation: credential.map_or(1, |credential| credential.generation),
            desired: one.job.properties.clone(),
        }
    };
    let batch: Vec<_> = begun.iter().map(composition).collect();
    let mut composed = if batch.is_empty() {
        Vec::new().into_iter()
    } else {
        writer.compose(batch, &*run.engine.entropy).await.into_iter()
    };
    let mut secrets = Vec::with_capacity(begun.len());
    for one in begun {
        secrets.push(composed.next().unwrap_or_else(|| {
            Err(Error::new(
                ErrorKind::ProviderContract,
                format!(
                    "the provider `{}` composed fewer secrets than it was asked for",
                    one.job.step.provider
                ),
            ))
        }));
    }
    // All at once: a store waits for its disk, and the waits of several
    // overlap.
    join_all(begun.iter().zip(secrets).map(|(one, secret)| async {
        let address = &one.job.step.address;
        let secret = secret.map_err(|error| error.at(address))?;
        let credential = target_of(one.job.target.as_deref())?;
        stage(run, address, credential, &one.claim, &secret).await?;
        Ok(secret)
    }))
    .await
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
    /// Whether a run that died has promoted it: consumers read it, so it stays
    /// whatever is answered now. It was accepted before.
    pub(super) promoted: bool,
}

/// Takes an issued credential to the end: delivered, really used, promoted,
/// recorded. Gives the record and its version.
///
/// # Errors
///
/// With the version that the record has, so that the caller can go on.
#[expect(clippy::too_many_lines, reason = "one way in one order, which reads best in one piece")]
pub(super) async fn install(
    run: &Run<'_>,
    fresh: Fresh<'_>,
    secret: &Secret,
    staged: Option<StoredVersion>,
) -> Result<(Managed, u64, Outcome), (Error, u64)> {
    let Fresh { address, ty, claim, target, object, version, promoted: before } = fresh;
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
    let mut entries = at_generation(entries, credential.generation);
    if bug!("secret in the ledger") {
        entries[0].correlation =
            secret.expose(|secret| Some(String::from_utf8_lossy(secret).into_owned()));
    }
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
        Tried::Refused(why) if before => {
            Outcome::Unproved(format!("it was promoted before, and is refused now: {why}"))
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
        if bug!("promoted credential revoked") {
            return (Error::new(ErrorKind::Vault, error.to_string()), version);
        }
        let doubt = Error::new(ErrorKind::InDoubt, "the new credential may be promoted already")
            .at(address)
            .help("the next run goes on with it")
            .caused_by(error.chain());
        fail(doubt)
    };
    let promote = || deliver.promote(credential.place.path(), claim);
    let promoted = if bug!("not promoted") {
        stored
    } else {
        let once = bug!("promoted credential revoked");
        let promoted = if once { promote().await } else { run.engine.persist(promote).await };
        promoted.map_err(fail)?
    };
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
        Entry::of(
            address,
            StepEvent::Done { claim: claim.clone(), object: Some(Arc::new(record.clone())) },
        ),
    ];
    let expected = BTreeMap::from([(address.clone(), version)]);
    let version = run.append(expected, at_generation(entries, generation)).await.map_err(fail)?;
    Ok((record, version, outcome))
}

fn at_generation(entries: Vec<Entry>, generation: u32) -> Vec<Entry> {
    entries.into_iter().map(|entry| entry.at_generation(generation)).collect()
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

/// Tries a secret, again only while it cannot be told.
async fn try_once(
    engine: &Engine,
    provider: &str,
    ty: &'static ResourceType,
    identity: &str,
    secret: &Secret,
) -> Tried {
    let attempt = Attempt { identity, secret };
    try_each(engine, provider, ty, &[attempt]).await.swap_remove(0)
}

/// Tries secrets of one type, those of which it cannot be told together again:
/// a suspended identity's mostly are, and each would be waited for.
async fn try_each(
    engine: &Engine,
    provider: &str,
    ty: &'static ResourceType,
    attempts: &[Attempt<'_>],
) -> Vec<Tried> {
    let prober = match engine.prober(provider, ty.name) {
        Ok(prober) => prober,
        Err(error) => return vec![Tried::Unknown(error.to_string()); attempts.len()],
    };
    let mut answers = vec![Tried::Unknown("it was not asked".into()); attempts.len()];
    let mut open: Vec<usize> = (0..attempts.len()).collect();
    for round in 0..PROBE_BUDGET {
        if open.is_empty() {
            break;
        }
        if round > 0 {
            engine.clock.sleep(Duration::from_millis(100 << round)).await;
        }
        let asked = open.iter().map(|at| &attempts[*at]);
        let asked: Vec<Attempt<'_>> =
            asked.map(|Attempt { identity, secret }| Attempt { identity, secret }).collect();
        let mut told = prober.probe(&asked).await.into_iter();
        for at in &open {
            let secret = attempts[*at].secret;
            answers[*at] = match told.next() {
                Some(Tried::Unknown(why)) => Tried::Unknown(without(why, secret)),
                Some(Tried::Refused(why)) => Tried::Refused(without(why, secret)),
                Some(Tried::Accepted) => Tried::Accepted,
                None => Tried::Unknown("the provider did not answer".into()),
            };
        }
        open.retain(|at| matches!(answers[*at], Tried::Unknown(_)));
    }
    answers
}

/// A reason, unless it repeats the secret: it is recorded and shown.
fn without(why: String, secret: &Secret) -> String {
    if secret.is_in(&why) { "its reason holds the secret, and is withheld".into() } else { why }
}

/// Concludes the step of one credential.
pub(super) async fn conclude(run: &Run<'_>, begun: Begun<'_>, answer: Answer) -> Ended {
    if begun.job.removes() {
        return ending::conclude_revocation(run, begun, answer).await;
    }
    let issued = match answer {
        Answer::Written(issued) => issued,
        Answer::Failed(error) => {
            discard(run, &begun).await;
            return give_up(run, &begun, error).await;
        }
        Answer::InDoubt(error) => return doubt(run, &begun, error, begun.version).await,
    };
    let Some(object) = issued.written.object else {
        let error = Error::new(
            ErrorKind::ProviderContract,
            format!("the provider `{}` issued nothing", begun.job.step.provider),
        );
        let error = error.at(&begun.job.step.address);
        return doubt(run, &begun, error, begun.version).await;
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
            Err(error) => return doubt(run, &begun, error, begun.version).await,
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
        if bug!("lost secret left alive") {
            let error = Error::new(ErrorKind::Provider, "the value was lost with the answer");
            return give_up(run, &begun, error).await;
        }
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
        target: Arc::unwrap_or_clone(target),
        object: object.clone(),
        version: begun.version,
        promoted: false,
    };
    match install(run, fresh, &secret, staged).await {
        Ok((record, version, outcome)) => Ended {
            record: Left::Object(Arc::new(record)),
            seen: Some(Observation::Present(object)),
            ..Ended::with(begun.job.index, outcome, Some(version))
        },
        Err((error, version)) if error.kind() == ErrorKind::InDoubt => {
            doubt(run, &begun, error, version).await
        }
        Err((error, version)) => {
            end_stray(run, Stray { version, ..stray }, begun.job.index, error, false).await
        }
    }
}

/// Leaves a step open, and says in the ledger why.
async fn doubt(run: &Run<'_>, begun: &Begun<'_>, error: Error, version: u64) -> Ended {
    let address = &begun.job.step.address;
    let event = StepEvent::InDoubt { claim: begun.claim.clone(), error: error.chain() };
    let expected = BTreeMap::from([(address.clone(), version)]);
    // Where that cannot be recorded, it is open all the same.
    let recorded = run.append(expected, vec![Entry::of(address, event)]).await;
    let version = Some(recorded.unwrap_or(version));
    Ended { version, ..Ended::in_doubt(begun.job.index, error) }
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

async fn discard(run: &Run<'_>, begun: &Begun<'_>) {
    let Ok(credential) = target_of(begun.job.target.as_deref()) else { return };
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
