//! The three principals of a simulated system.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;

use super::{
    InFlight, System,
    store::{Order, Performed, Registered, Stored},
    types::{Account, Grant, Job, Simulated, SimulatedCredential},
};
use crate::{
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    provider::{
        Attempt, Capabilities, CredentialCapabilities, Issue, IssueRequest, Issued, Listing,
        Manage, Object, Observation, Observe, Operation, Probe, Recovery, Reference, RevokeRequest,
        Settled, Tried, Write, Written,
    },
    resource::Resource,
    schema::{Kind, ResourceType},
    testing::world::gate::{Fault, Side},
};

/// What planning and drift hold. It has no method that writes.
pub(super) struct Observer(pub(super) Arc<System>);

/// What applying holds.
pub(super) struct Writer(pub(super) Arc<System>);

/// What tries the agents' own credentials.
pub(super) struct Prober(pub(super) Arc<System>);

/// `account` of `sim.account`.
fn short(type_name: &str) -> &str {
    type_name.split_once('.').map_or(type_name, |(_, short)| short)
}

impl System {
    pub(super) fn call(&self, ty: &ResourceType, what: &str) -> String {
        format!("{}/{} {what}", self.name, short(ty.name))
    }

    pub(super) fn capabilities_of(
        &self,
        ty: &ResourceType,
        credential: Option<CredentialCapabilities>,
    ) -> Capabilities {
        Capabilities {
            recovery: self.options.recovery_of(ty.name),
            checks_seen: self.options.checks_seen,
            settles_within: self.options.settles_within,
            batch: self.options.batch,
            suspends: ty.kind == Kind::Identity,
            hands_over: false,
            credential,
        }
    }

    /// How each attempt to log in ends, where the call came through.
    pub(super) fn tried(
        &self,
        type_name: &str,
        attempts: &[Attempt<'_>],
        passed: &Result<()>,
    ) -> Vec<Tried> {
        let elapsed = self.clock.elapsed();
        let try_one = |attempt: &Attempt<'_>| match passed {
            Err(error) => Tried::Unknown(error.to_string()),
            Ok(()) => {
                match self.store().accepts(type_name, attempt.identity, attempt.secret, elapsed) {
                    Some(true) => Tried::Accepted,
                    Some(false) => Tried::Refused("the account is suspended".into()),
                    None => Tried::Refused("the secret is not known".into()),
                }
            }
        };
        attempts.iter().map(try_one).collect()
    }

    pub(super) async fn read_at(
        &self,
        ty: &'static ResourceType,
        references: &[Reference],
        back: usize,
    ) -> Result<Vec<Observation>> {
        self.gate.pass(ErrorKind::Provider, &self.call(ty, "read")).await?;
        self.reads.fetch_add(references.len() as u64, Ordering::Relaxed);
        let store = self.store();
        Ok(references
            .iter()
            .map(|reference| store.read(ty, reference, back, &self.options))
            .collect())
    }

    pub(super) async fn list_at(
        &self,
        ty: &'static ResourceType,
        listing: &Listing,
        back: usize,
    ) -> Result<Vec<Object>> {
        self.gate.pass(ErrorKind::Provider, &self.call(ty, "list")).await?;
        let listed = self.store().list(ty, listing, back, &self.options);
        self.reads.fetch_add(listed.len() as u64, Ordering::Relaxed);
        Ok(listed)
    }

    /// Sends orders: as one transaction where the system keeps a registry,
    /// else each for itself. One answer for each, in their order.
    pub(super) async fn order(
        &self,
        type_name: &str,
        orders: Vec<Order>,
    ) -> Vec<Result<Performed>> {
        self.announce(&orders);
        let most = self.options.batch;
        if orders.len() > most {
            let given = orders.len();
            let too_many = |_| {
                let message = format!("{given} writes in one call; at most {most} are taken");
                Err(Error::new(ErrorKind::Bug, message))
            };
            return orders.into_iter().map(too_many).collect();
        }
        if self.options.recovery_of(type_name) == Recovery::Registry {
            return self.send(type_name, orders).await;
        }
        let mut answers = Vec::with_capacity(orders.len());
        for order in orders {
            answers.extend(self.send(type_name, vec![order]).await);
        }
        answers
    }

    async fn send(&self, type_name: &str, orders: Vec<Order>) -> Vec<Result<Performed>> {
        let what = |order: &Order| {
            let whose = order.mark.as_ref().map_or(String::new(), |mark| mark.address.to_string());
            format!("{} {whose}", order.name())
        };
        let names: Vec<String> = orders.iter().map(what).collect();
        let call = format!("{}/{} {}", self.name, short(type_name), names.join(" + "));
        let failed = |fault: Fault, side: Side| {
            let error = |_: &String| Err(fault.error(ErrorKind::Provider, &call, side));
            names.iter().map(error).collect()
        };
        let mut in_flight = InFlight { system: self, orders, certainly: false };
        if let Err(fault) = self.gate.before(&call).await {
            if fault == Fault::Twice {
                let again = in_flight.orders.iter().map(Order::again).collect();
                let _answered: Vec<Result<Performed>> =
                    InFlight { system: self, orders: again, certainly: false }.land();
                let answers = in_flight.land();
                return match self.gate.after(&call).await {
                    Ok(()) => answers,
                    Err(fault) => failed(fault, Side::After),
                };
            }
            if fault == Fault::Partial && in_flight.orders.len() > 1 {
                let rest = in_flight.orders.split_off(in_flight.orders.len() / 2);
                let mut answers = in_flight.land();
                let not_done = |_| Err(fault.error(ErrorKind::Provider, &call, Side::Before));
                answers.extend(rest.into_iter().map(not_done));
                return answers;
            }
            in_flight.certainly = fault == Fault::Late;
            if fault != Fault::Late {
                // It never arrived, so it cannot land later either.
                in_flight.orders.clear();
            }
            return failed(fault, Side::Before);
        }
        let answers = in_flight.land();
        match self.gate.after(&call).await {
            Ok(()) => answers,
            Err(fault) => failed(fault, Side::After),
        }
    }

    pub(super) async fn settle_claims(
        &self,
        ty: &ResourceType,
        claims: &[Claim],
    ) -> Result<Vec<Settled>> {
        let call = self.call(ty, "settle");
        let lost = |fault: Fault, side| fault.error(ErrorKind::Provider, &call, side);
        self.gate.before(&call).await.map_err(|fault| lost(fault, Side::Before))?;
        while let Some(wait) = self.unsettled(claims) {
            self.clock.wait(wait).await;
        }
        let settled = claims.iter().map(|claim| self.settle_one(ty, claim)).collect();
        self.gate.after(&call).await.map_err(|fault| lost(fault, Side::After))?;
        Ok(settled)
    }

    fn settle_one(&self, ty: &ResourceType, claim: &Claim) -> Settled {
        let mut store = self.store();
        let done = |stored: Option<&Stored>, correlation: Option<String>| {
            let object = stored.map(|stored| super::store::shown(stored, &self.options));
            Settled::Done(Written { object, correlation })
        };
        match self.options.recovery_of(ty.name) {
            Recovery::Registry => match store.registry.get(claim) {
                Some(Registered::Done(name, correlation)) => {
                    done(store.objects.get(name), correlation.clone())
                }
                Some(Registered::Refused) => Settled::NotDone,
                None => {
                    // From here on the claim is refused, so that "not done"
                    // stays true whoever still holds it.
                    store.registry.insert(claim.clone(), Registered::Refused);
                    Settled::NotDone
                }
            },
            Recovery::Tagged => {
                let bears = |stored: &&Stored| stored.claim.as_ref() == Some(claim);
                match store.objects.values().find(bears) {
                    Some(stored) => done(Some(stored), None),
                    // Nothing of the claim is on its way any more.
                    None => Settled::NotDone,
                }
            }
            Recovery::NaturalKey => Settled::Unknown("only the object itself can tell".into()),
            Recovery::None => Settled::Unknown("the system keeps no trace of a claim".into()),
        }
    }
}

/// A type whose writes are not those of a credential.
trait Plain: Simulated {}

impl Plain for Account {}
impl Plain for Grant {}
impl Plain for Job {}

macro_rules! observing {
    ($handle:ident, $staleness:expr, $($ty:ty = $credential:expr),*) => {$(
        #[async_trait]
        impl Observe<$ty> for $handle {
            fn capabilities(&self) -> Capabilities {
                self.0.capabilities_of(<$ty>::RESOURCE, $credential(&self.0))
            }

            async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
                let back = $staleness(&self.0, || self.0.call(<$ty>::RESOURCE, "read"));
                self.0.read_at(<$ty>::RESOURCE, references, back).await
            }

            async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
                let back = $staleness(&self.0, || self.0.call(<$ty>::RESOURCE, "list"));
                self.0.list_at(<$ty>::RESOURCE, listing, back).await
            }
        }
    )*};
}

fn no_credential(_: &Arc<System>) -> Option<CredentialCapabilities> {
    None
}

#[expect(clippy::unnecessary_wraps, reason = "it stands beside `no_credential`")]
fn credential<C: SimulatedCredential>(system: &Arc<System>) -> Option<CredentialCapabilities> {
    Some(CredentialCapabilities {
        origin: C::ORIGIN,
        at_once: C::AT_ONCE,
        last_use_known: false,
        propagation: system.options.propagation,
    })
}

fn fresh(_: &Arc<System>, _: impl FnOnce() -> String) -> usize {
    0
}

fn stale(system: &Arc<System>, call: impl FnOnce() -> String) -> usize {
    system.staleness(&call())
}

macro_rules! for_both {
    ($($types:tt)*) => {
        observing!(Observer, stale, $($types)*);
        observing!(Writer, fresh, $($types)*);
    };
}

for_both!(
    Account = no_credential,
    Grant = no_credential,
    Job = no_credential,
    super::Key = credential::<super::Key>,
    super::Token = credential::<super::Token>,
    super::LoneKey = credential::<super::LoneKey>
);

fn plain(answer: Result<Performed>) -> Result<Written> {
    answer.map(|Performed { object, correlation, secret: _ }| Written { object, correlation })
}

#[async_trait]
impl<R: Plain> Manage<R> for Writer
where
    Self: Observe<R>,
{
    async fn write(&self, batch: &[Write<R>]) -> Vec<Result<Written>> {
        let order = |write: &Write<R>| Order {
            ty: R::RESOURCE,
            claim: Some(write.claim.clone()),
            mark: Some(write.mark.clone()),
            operation: in_values::<R>(&write.operation),
            seen: Some(write.seen.clone()),
            credential: None,
            secret: None,
        };
        let orders = batch.iter().map(order).collect();
        self.0.order(R::TYPE, orders).await.into_iter().map(plain).collect()
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        self.0.settle_claims(R::RESOURCE, claims).await
    }
}

fn in_values<R: Simulated>(
    operation: &Operation<R::Spec>,
) -> Operation<BTreeMap<String, crate::value::Value>> {
    match operation {
        Operation::Create(spec) => Operation::Create(R::values(spec)),
        Operation::Update { id, desired } => {
            Operation::Update { id: id.clone(), desired: R::values(desired) }
        }
        Operation::Suspend { id } => Operation::Suspend { id: id.clone() },
        Operation::Resume { id } => Operation::Resume { id: id.clone() },
        Operation::Delete { id } => Operation::Delete { id: id.clone() },
    }
}

#[async_trait]
impl<C: SimulatedCredential> Issue<C> for Writer
where
    Self: Observe<C>,
{
    async fn issue(&self, batch: &[IssueRequest<C>]) -> Vec<Result<Issued>> {
        let order = |request: &IssueRequest<C>| Order {
            ty: C::RESOURCE,
            claim: Some(request.claim.clone()),
            mark: Some(request.mark.clone()),
            operation: Operation::Create(C::values(&request.desired)),
            seen: None,
            credential: Some((C::ORIGIN, C::AT_ONCE)),
            secret: request.secret.as_ref().map(crate::secret::Secret::duplicate),
        };
        let issued = |answer: Result<Performed>| {
            answer.map(|Performed { object, correlation, secret }| Issued {
                written: Written { object, correlation },
                secret,
            })
        };
        let orders = batch.iter().map(order).collect();
        self.0.order(C::TYPE, orders).await.into_iter().map(issued).collect()
    }

    async fn revoke(&self, batch: &[RevokeRequest]) -> Vec<Result<Written>> {
        let order = |request: &RevokeRequest| Order {
            ty: C::RESOURCE,
            claim: Some(request.claim.clone()),
            mark: Some(request.mark.clone()),
            operation: Operation::Delete { id: request.id.clone() },
            seen: None,
            credential: None,
            secret: None,
        };
        let orders = batch.iter().map(order).collect();
        self.0.order(C::TYPE, orders).await.into_iter().map(plain).collect()
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        self.0.settle_claims(C::RESOURCE, claims).await
    }
}

#[async_trait]
impl<C: SimulatedCredential> Probe<C> for Prober {
    async fn probe(&self, attempts: &[Attempt<'_>]) -> Vec<Tried> {
        let passed =
            self.0.gate.pass(ErrorKind::Provider, &self.0.call(C::RESOURCE, "probe")).await;
        self.0.tried(C::TYPE, attempts, &passed)
    }
}
