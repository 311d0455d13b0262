//! The rules for credentials.

use std::{sync::Arc, time::Duration};

use super::{
    Sample, Suite,
    case::{Case, Values, fresh},
    object::Owners,
};
use crate::{
    provider::{
        AtOnce, Attempt, CompositionRequest, CredentialCapabilities, DynProbe, Issued, Listing,
        NewCredential, Object, Observation, Operation, Origin, Settled, Tried, WriteRequest,
    },
    resource::Resource,
    secret::Secret,
};

struct Credentials<'s> {
    case: Case<'s>,
    probe: Arc<dyn DynProbe>,
    able: CredentialCapabilities,
    identity: &'s str,
}

/// A credential that was issued.
struct Live {
    object: Object,
    secret: Secret,
    request: WriteRequest,
}

/// Runs all rules for one type.
pub(super) async fn check<I: Resource, C: Resource>(
    suite: &Suite,
    owners: &Owners,
    sample: &(dyn Fn(&str, &Sample) -> C::Builder + Sync),
) {
    let mut case = Case::new::<C>(suite);
    case.rule("a credential says what it is able to do");
    let able = case.observe.capabilities().credential;
    let able = able.unwrap_or_else(|| case.broken(&"no `credential` in its capabilities"));
    case.rule("there is a handle that tries credentials");
    let probe = suite.provider.probers().ok().and_then(|probers| probers.of(C::TYPE).cloned());
    let probe = probe.unwrap_or_else(|| case.broken(&"none"));
    let [identity, other] = &owners.ids;
    let mut these = Credentials { case, probe, able, identity };
    let values = || fresh::<C>(&Case::new::<C>(suite), identity, sample).0;

    let first = these.issuing(&values()).await;
    these.repeating(&first, other).await;
    these.suspending::<I>(&first).await;
    let ended = if these.able.at_once >= AtOnce::Two {
        let second = these.issuing(&values()).await;
        these.at_once(&first, &second, &values()).await;
        these.ending(&first, Some(&second)).await;
        second
    } else {
        first
    };
    these.ending(&ended, None).await;
}

impl Credentials<'_> {
    async fn request(&mut self, values: &Values) -> WriteRequest {
        if self.able.origin == Origin::System {
            return self.case.issue(values, None);
        }
        let request = self.case.issue(values, None);
        let generation = request.credential.as_ref().map_or(1, |credential| credential.generation);
        let secret = self.composed(values, generation).await;
        let credential = Some(NewCredential { generation, secret: Some(secret), until: None });
        WriteRequest { credential, ..request }
    }

    /// Two secrets as the engine has them composed, of which one is used.
    async fn composed(&mut self, values: &Values, generation: u32) -> Secret {
        let case = &mut self.case;
        case.rule("a secret is composed for each credential, and no two are equal");
        let one = |generation| CompositionRequest {
            mark: Case::mark("conformance"),
            generation,
            desired: values.clone(),
        };
        let batch = vec![one(generation), one(generation + 1), one(generation)];
        let composed = case.write.compose(batch, &*case.suite.entropy).await;
        let composed: Vec<Secret> = composed.into_iter().map(|one| case.done(one)).collect();
        let [first, second, third] = composed.as_slice() else {
            case.broken(&format!("{} secrets for 3 credentials", composed.len()));
        };
        let equal = first.equals(second) || second.equals(third) || first.equals(third);
        case.holds(!equal, &"two equal secrets");
        first.duplicate()
    }

    async fn tried(&self, secret: &Secret) -> Tried {
        let attempt = Attempt { identity: self.identity, secret };
        let mut answers = self.probe.probe(&[attempt]).await;
        self.case.holds(answers.len() == 1, &format!("{} answers to one attempt", answers.len()));
        answers.remove(0)
    }

    async fn accepted(&self, secret: &Secret) {
        let tried = self.tried(secret).await;
        self.case.holds(tried == Tried::Accepted, &tried);
    }

    /// The reason of a refusal.
    async fn refusal(&self, secret: &Secret) -> String {
        match self.tried(secret).await {
            Tried::Refused(reason) => reason,
            other => self.case.broken(&other),
        }
    }

    async fn of_identity(&self) -> Vec<String> {
        self.case.listed(&Listing::Of(vec![self.identity.to_owned()])).await
    }

    async fn issuing(&mut self, values: &Values) -> Live {
        let request = self.request(values).await;
        let case = &mut self.case;
        case.rule("what is issued is answered as it was declared, and read back so");
        let (claim, mark) = (request.claim.clone(), request.mark.clone());
        let credential = request.credential.as_ref().map(NewCredential::repeated);
        let repeat = |credential| WriteRequest {
            claim,
            mark,
            operation: Operation::Create(values.clone()),
            seen: Observation::Absent,
            credential,
        };
        let given = credential.as_ref().and_then(|given| given.repeated().secret);
        let Issued { written, secret } = case.done(case.one(request).await);
        let object = written.object.unwrap_or_else(|| case.broken(&"no object was answered"));
        case.is_as_declared(&object, values);
        let found = case.present(&object.id).await;
        case.holds(found == object, &(&found, &object));

        case.rule("the system answers a secret exactly when it is the one that makes it");
        let secret = match (secret, given) {
            (Some(secret), None) | (None, Some(secret)) => secret,
            (secret, _) => case.broken(&secret),
        };
        case.rule("what was issued is accepted at once");
        self.accepted(&secret).await;
        Live { object, secret, request: repeat(credential) }
    }

    async fn repeating(&mut self, live: &Live, other: &str) {
        let case = &mut self.case;
        case.rule(
            "an issue under the same claim makes nothing, and answers the same id and no secret",
        );
        let request = WriteRequest {
            claim: live.request.claim.clone(),
            mark: live.request.mark.clone(),
            operation: live.request.operation.clone(),
            seen: Observation::Absent,
            credential: live.request.credential.as_ref().map(NewCredential::repeated),
        };
        let again = case.done(case.one(request).await);
        case.holds(again.secret.is_none(), &"a secret");
        let id = again.written.object.map(|object| object.id);
        case.holds(id.as_ref() == Some(&live.object.id), &id);
        self.accepted(&live.secret).await;

        self.case.rule("listing by identity gives its credentials and nothing else");
        let found = self.of_identity().await;
        self.case.holds(found == [live.object.id.clone()], &found);
        let none = self.case.listed(&Listing::Of(vec![other.to_owned()])).await;
        self.case.holds(none.is_empty(), &none);

        self.case.rule("a claim settles as done with its credential, or as not done");
        let never = self.case.claim();
        let claims = [live.request.claim.clone(), never];
        let settled = self.case.settled(&claims).await;
        match &settled[0] {
            Settled::Done(written) => {
                let id = written.object.as_ref().map(|object| &object.id);
                self.case.holds(id == Some(&live.object.id), &id);
            }
            Settled::Unknown(_) => {}
            Settled::NotDone => self.case.broken(&settled),
        }
        self.case.holds(!matches!(settled[1], Settled::Done(_)), &settled[1]);

        self.case.rule("a credential of another identity is not accepted as this one's");
        let attempt = Attempt { identity: other, secret: &live.secret };
        let tried = self.probe.probe(&[attempt]).await;
        self.case.holds(tried.iter().all(|tried| *tried != Tried::Accepted), &tried);
    }

    async fn suspending<I: Resource>(&mut self, live: &Live) {
        let identities = Case::new::<I>(self.case.suite);
        if !identities.observe.capabilities().suspends {
            return;
        }
        self.case
            .rule("the credential of a suspended identity is not accepted, and is again after");
        let identity = identities.present(self.identity).await;
        let suspended = identities.written(identities.suspend(&identity, true)).await;
        // A system may say that the secret is right and its owner stopped.
        let tried = self.tried(&live.secret).await;
        self.case.holds(tried != Tried::Accepted, &tried);
        identities.written(identities.suspend(&suspended, false)).await;
        self.accepted(&live.secret).await;
    }

    async fn at_once(&mut self, first: &Live, second: &Live, values: &Values) {
        self.case.rule("as many credentials as it says are valid at once");
        self.accepted(&first.secret).await;
        self.accepted(&second.secret).await;
        let before = self.of_identity().await;
        self.case.holds(before.len() == 2, &before);
        let third = self.request(values).await;
        self.case.rule("as many credentials as it says are valid at once");
        let third = self.case.one(third).await;
        if self.able.at_once == AtOnce::Two {
            self.case.rule("one credential more than it says is refused, and ends no other");
            self.case.refused(third, None);
        } else {
            let third = self.case.done(third);
            let object = third.written.object.unwrap_or_else(|| self.case.broken(&"no object"));
            self.case.done(self.case.one(self.case.delete(&object)).await);
        }
        let after = self.of_identity().await;
        self.case.holds(before == after, &after);
        self.accepted(&first.secret).await;
        self.accepted(&second.secret).await;
    }

    async fn ending(&mut self, live: &Live, other: Option<&Live>) {
        self.case.rule("what was revoked is absent");
        let request = self.case.delete(&live.object);
        let claim = request.claim.clone();
        let gone = self.case.done(self.case.one(request).await).written.object;
        self.case.holds(gone.is_none(), &gone);
        let found = self.case.read_id(&live.object.id).await;
        self.case.holds(found == Observation::Absent, &found);
        if self.able.propagation > Duration::ZERO {
            self.case.suite.clock.sleep(self.able.propagation).await;
        }

        self.case.rule("a revoked credential and a random one are refused for the same reason");
        let revoked = self.refusal(&live.secret).await;
        let random = self.refusal(&self.probe.decoy(&live.secret, &*self.case.suite.entropy)).await;
        self.case.holds(revoked == random, &(&revoked, &random));
        if let Some(other) = other {
            self.case.rule("revoking one credential leaves the others");
            self.accepted(&other.secret).await;
        }

        self.case.rule("revoking what is gone succeeds");
        self.case
            .done(self.case.one(WriteRequest { claim, ..self.case.delete(&live.object) }).await);
        self.case.done(self.case.one(self.case.delete(&live.object)).await);
    }
}
