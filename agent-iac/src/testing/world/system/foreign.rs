//! Types that the simulated system knows by their description alone: those of
//! another provider, which it stands in for.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    System,
    store::{Order, Performed},
};
use crate::{
    clock::Entropy,
    error::{ErrorKind, Result},
    ledger::Claim,
    provider::{
        AtOnce, Attempt, Capabilities, CompositionRequest, CredentialCapabilities, DynObserve,
        DynProbe, DynWrite, Issued, Listing, Object, Observation, Operation, Origin, Permission,
        Reference, Settled, Surrounded, Surroundings, Tried, WriteRequest, Written,
    },
    schema::ResourceType,
    secret::Secret,
};

/// A handle of one type; only that of the principal that writes reads what is
/// true now whatever happens.
pub(super) struct Foreign {
    pub(super) system: Arc<System>,
    pub(super) ty: &'static ResourceType,
    /// Of a credential: who makes the secret, and how many may be valid.
    pub(super) credential: Option<(Origin, AtOnce)>,
    pub(super) observes: bool,
}

impl Foreign {
    fn back(&self, what: &str) -> usize {
        if self.observes { self.system.staleness(&self.system.call(self.ty, what)) } else { 0 }
    }

    fn capable(&self) -> Capabilities {
        let credential = self.credential.map(|(origin, at_once)| CredentialCapabilities {
            origin,
            at_once,
            last_use_known: false,
            propagation: self.system.options.propagation,
        });
        self.system.capabilities_of(self.ty, credential)
    }
}

#[async_trait]
impl DynObserve for Foreign {
    fn capabilities(&self) -> Capabilities {
        self.capable()
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        let back = self.back("read");
        self.system.read_at(self.ty, references, back).await
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
        let back = self.back("list");
        self.system.list_at(self.ty, listing, back).await
    }

    async fn ids(&self) -> Result<Vec<String>> {
        let listed = DynObserve::list(self, &Listing::All).await?;
        Ok(listed.into_iter().map(|object| object.id).collect())
    }

    async fn surroundings(&self, _: &[Surrounded], _: &[Permission]) -> Result<Surroundings> {
        Ok(Surroundings::default())
    }
}

#[async_trait]
impl DynWrite for Foreign {
    async fn write(&self, batch: Vec<WriteRequest>) -> Vec<Result<Issued>> {
        let order = |request: WriteRequest| {
            let WriteRequest { claim, mark, operation, seen, credential } = request;
            let issues = matches!(operation, Operation::Create(_));
            Order {
                ty: self.ty,
                claim: Some(claim),
                mark: Some(mark),
                operation,
                // What is issued or revoked is not compared with what was seen.
                seen: self.credential.is_none().then_some(seen),
                credential: self.credential.filter(|_| issues),
                secret: credential.and_then(|new| new.secret),
            }
        };
        let orders = batch.into_iter().map(order).collect();
        let issued = |Performed { object, correlation, secret }: Performed| Issued {
            written: Written { object, correlation },
            secret,
        };
        let answers = self.system.order(self.ty.name, orders).await;
        answers.into_iter().map(|answer| answer.map(issued)).collect()
    }

    async fn compose(
        &self,
        batch: Vec<CompositionRequest>,
        entropy: &dyn Entropy,
    ) -> Vec<Result<Secret>> {
        batch.iter().map(|_| Ok(Secret::random(entropy, 32))).collect()
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        self.system.settle_claims(self.ty, claims).await
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        self.system.read_at(self.ty, references, 0).await
    }

    fn capabilities(&self) -> Capabilities {
        self.capable()
    }
}

#[async_trait]
impl DynProbe for Foreign {
    async fn probe(&self, attempts: &[Attempt<'_>]) -> Vec<Tried> {
        let call = self.system.call(self.ty, "probe");
        let passed = self.system.gate.pass(ErrorKind::Provider, &call).await;
        self.system.tried(self.ty.name, attempts, &passed)
    }

    fn decoy(&self, _: &Secret, entropy: &dyn Entropy) -> Secret {
        Secret::random(entropy, 32)
    }
}
