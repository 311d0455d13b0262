//! A system to manage, in memory: accounts, grants, credentials and jobs.
//!
//! Owns what is durable in it, which a crash of the world leaves alone, and
//! its three principals. It never looks into the ledger: that a write was
//! announced is checked by the world.

mod hand;
mod handles;
mod options;
mod store;
mod types;

pub use hand::Hand;
pub use options::SimOptions;
pub use store::Effect;
pub use types::{
    Account, AccountBuilder, AccountOutputs, AccountSpec, Grant, GrantBuilder, GrantOutputs,
    GrantSpec, Job, JobBuilder, JobOutputs, JobSpec, Key, KeyBuilder, KeyOutputs, KeySpec, LoneKey,
    LoneKeyBuilder, LoneKeyOutputs, LoneKeySpec, Token, TokenBuilder, TokenOutputs, TokenSpec,
};

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Gate, SimClock, SimEntropy,
    entropy::Random,
    witness::{Asked, Deed, Witness},
};
use crate::{
    clock::Clock as _,
    error::{ErrorKind, Result},
    ledger::Claim,
    provider::{Limits, Object, Observation, Observers, Probers, Provider, Writers},
    schema::{Field, Type},
    secret::Secret,
    value::{Digest, Value},
};
use handles::{Observer, Prober, Writer};
use store::{Circumstances, Late, Name, Order, Performed, Store, Stored};

/// What the system and its principals share.
pub(super) struct System {
    name: String,
    options: SimOptions,
    clock: SimClock,
    gate: Gate,
    witness: Arc<Witness>,
    entropy: SimEntropy,
    random: Mutex<Random>,
    store: Mutex<Store>,
}

impl System {
    /// The store as it is now, with everything landed that was due.
    fn store(&self) -> MutexGuard<'_, Store> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.elapsed();
        store.late.sort_by_key(|late| late.due);
        while store.late.first().is_some_and(|late| late.due <= now) {
            let late = store.late.remove(0);
            for order in late.orders {
                let short = order.ty.name.trim_start_matches("sim.");
                self.gate.landed(&format!("{}/{short} {}", self.name, order.name()));
                // Whoever waited for the answer is gone.
                let _: Result<Performed> = self.perform(&mut store, order);
            }
        }
        store
    }

    /// Carries one order out and tells the witness.
    fn perform(&self, store: &mut Store, order: Order) -> Result<Performed> {
        let circumstances = Circumstances {
            options: &self.options,
            entropy: &self.entropy,
            now: self.clock.now(),
            elapsed: self.clock.elapsed(),
        };
        if let Some(secret) = &order.secret {
            self.witness.secret(secret);
        }
        let effects = store.effects.len();
        let address = order.mark.as_ref().map(|mark| mark.address.clone());
        let before = store.target(&order).map(|stored| (stored.fields.clone(), stored.secret));
        let performed = store.perform(order, &circumstances)?;
        if let Some(secret) = &performed.secret {
            self.witness.secret(secret);
        }
        for effect in &store.effects[effects..] {
            self.witness.effect(&self.name, effect);
            let after = store.objects.get(&(effect.resource_type, effect.id.clone()));
            let before = before.as_ref().filter(|_| effect.operation != "cascade");
            let deed = Deed {
                effect,
                address: address.as_ref(),
                before: before.map(|(fields, _)| fields),
                after: after.map(|stored| &stored.fields),
                secret: after
                    .and_then(|stored| stored.secret)
                    .or(before.and_then(|(_, secret)| *secret)),
            };
            self.witness.observe(|observer| observer.done(&deed));
        }
        Ok(performed)
    }

    /// Tells the observer what is about to be asked.
    fn announce(&self, orders: &[Order]) {
        for order in orders {
            let (Some(claim), Some(mark)) = (&order.claim, &order.mark) else { continue };
            let now = self.store().target(order).map_or(Observation::Absent, |stored| {
                Observation::Present(store::shown(stored, &self.options))
            });
            let asked = Asked {
                claim,
                address: &mark.address,
                resource_type: order.ty.name,
                id: order.id(),
                seen: order.seen.as_ref(),
                now,
            };
            self.witness.observe(|observer| observer.asked(&asked));
        }
    }

    /// Up to how many changes ago the next observing read is from.
    fn staleness(&self, call: &str) -> usize {
        if !self.options.stale_for.is_zero() {
            let young = self.store().young(self.options.stale_for, self.clock.elapsed());
            return self.gate.stale(call, young);
        }
        let most = u64::try_from(self.options.stale_reads).unwrap_or(u64::MAX);
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        usize::try_from(random.between(0, most)).unwrap_or(0)
    }

    /// Lets orders land after their sender is gone, if the seed wants it so.
    fn leave_behind(&self, orders: Vec<Order>, certainly: bool) {
        let within = u64::try_from(self.options.settles_within.as_millis()).unwrap_or(u64::MAX);
        if within == 0 {
            return;
        }
        let (lands, delay) = {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            (random.between(0, 3) > 0, random.between(1, within))
        };
        if lands || certainly {
            let due = self.clock.elapsed().saturating_add(Duration::from_millis(delay));
            let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
            store.late.push(Late { due, orders });
        }
    }

    /// How long work of these claims may still land; `None` when none can.
    fn unsettled(&self, claims: &[Claim]) -> Option<Duration> {
        let now = self.clock.elapsed();
        let store = self.store();
        let of_claims = |late: &&Late| {
            late.orders
                .iter()
                .filter_map(|order| order.claim.as_ref())
                .any(|claim| claims.contains(claim))
        };
        store.late.iter().filter(of_claims).map(|late| late.due.saturating_sub(now)).max()
    }
}

/// Orders on their way. Dropped before they land, they may land later.
struct InFlight<'a> {
    system: &'a System,
    orders: Vec<Order>,
    certainly: bool,
}

impl InFlight<'_> {
    /// They arrive.
    fn land(mut self) -> Vec<Result<Performed>> {
        let orders = std::mem::take(&mut self.orders);
        let mut store = self.system.store();
        orders.into_iter().map(|order| self.system.perform(&mut store, order)).collect()
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let orders = std::mem::take(&mut self.orders);
        if !orders.is_empty() {
            self.system.leave_behind(orders, self.certainly);
        }
    }
}

/// One thing that exists in a simulated system, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Existing {
    /// The type, as `sim.account`.
    pub resource_type: &'static str,
    /// The object.
    pub object: Object,
    /// The claim that made it; `None` for what an outside hand made.
    pub claim: Option<Claim>,
    /// For a credential: the digest of its secret.
    pub secret: Option<Digest>,
}

/// A simulated system as the engine sees it, with three principals.
///
/// What it keeps survives every crash of its world. Several may stand in one
/// world; all have the types `sim.…`, and a declaration tells them apart by
/// the key `provider`.
#[derive(Clone)]
pub struct SimProvider(Arc<System>);

impl SimProvider {
    pub(super) fn new(
        name: &str,
        options: SimOptions,
        seed: u64,
        (clock, gate): (SimClock, Gate),
        witness: Arc<Witness>,
    ) -> Self {
        let entropy = SimEntropy::for_purpose(seed, &format!("secrets of {name}"));
        let random = Mutex::new(Random::new(seed, &format!("chance of {name}")));
        let (name, store) = (name.to_owned(), Mutex::default());
        Self(Arc::new(System { name, options, clock, gate, witness, entropy, random, store }))
    }

    /// Its name in the deployment.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A hand that changes it behind the engine's back.
    pub fn hand(&self) -> Hand {
        Hand::new(Arc::clone(&self.0))
    }

    /// Everything that exists in it, sorted by type and id.
    pub fn existing(&self) -> Vec<Existing> {
        let store = self.0.store();
        let existing = |stored: &Stored| Existing {
            resource_type: stored.ty.name,
            object: store::shown(stored, &self.0.options),
            claim: stored.claim.clone(),
            secret: stored.secret,
        };
        store.objects.values().map(existing).collect()
    }

    /// The objects of one type, sorted by id.
    pub fn objects(&self, type_name: &str) -> Vec<Object> {
        let of_type =
            |existing: Existing| (existing.resource_type == type_name).then_some(existing.object);
        self.existing().into_iter().filter_map(of_type).collect()
    }

    /// Every change that it carried out, in order.
    pub fn effects(&self) -> Vec<Effect> {
        self.0.store().effects.clone()
    }

    /// Whether it lets this secret of an account in, by the account's id. No
    /// call is counted.
    pub fn accepts(&self, type_name: &str, account: &str, secret: &Secret) -> bool {
        let elapsed = self.0.clock.elapsed();
        self.0.store().accepts(type_name, account, secret, elapsed) == Some(true)
    }

    /// Whether this secret of an account is a live one, though the account
    /// itself may be suspended.
    pub(super) fn knows(&self, type_name: &str, account: &str, secret: &Secret) -> bool {
        let elapsed = self.0.clock.elapsed();
        self.0.store().accepts(type_name, account, secret, elapsed).is_some()
    }

    /// Whether an outside hand deleted this object, or it went with an account.
    pub(in crate::testing) fn took_away(&self, type_name: &str, id: &str) -> bool {
        self.0.store().effects.iter().any(|effect| {
            let outside = effect.claim.is_none() && effect.operation == "delete";
            (outside || effect.operation == "cascade")
                && effect.resource_type == type_name
                && effect.id == id
        })
    }

    /// Lets everything land that is due by now.
    pub(in crate::testing) fn land(&self) {
        drop(self.0.store());
    }

    /// Whether it would let a secret of this digest in, or only because the
    /// account is suspended would not.
    pub(in crate::testing) fn knows_digest(&self, digest: Digest) -> bool {
        self.0.store().knows(digest, self.0.clock.elapsed())
    }

    /// How it stands, in words that no id, claim or secret changes: two
    /// worlds whose systems have the same shape ended in the same state (I13).
    pub fn shape(&self) -> Vec<String> {
        let store = self.0.store();
        let mut lines: Vec<String> =
            store.objects.values().map(|stored| shape_of(stored, &store.objects)).collect();
        lines.sort();
        lines
    }
}

fn shape_of(stored: &Stored, objects: &BTreeMap<Name, Stored>) -> String {
    let name_of = |id: &str| {
        let account = objects.get(&("sim.account", id.to_owned()));
        account.and_then(|account| account.fields.get("name")).cloned()
    };
    let field = |field: &'static Field| {
        let value = stored.fields.get(field.name).cloned().unwrap_or_default();
        let linked = match (&field.ty, value.as_text()) {
            (Type::Link(_), Some(id)) => name_of(id),
            // A name may be made of an account's id.
            (_, Some(text)) => text
                .rfind("account-")
                .and_then(|at| Some((&text[..at], name_of(&text[at..])?)))
                .and_then(|(before, name)| {
                    Some(Value::Text(format!("{before}{}", name.as_text()?)))
                }),
            _ => None,
        };
        format!("{}={}", field.name, linked.unwrap_or(value))
    };
    let fields: Vec<String> = stored.ty.fields.iter().map(field).collect();
    let mark = stored.mark.as_ref().map_or("unmarked".to_owned(), |mark| mark.address.to_string());
    let suspended = if stored.suspended { " suspended" } else { "" };
    format!("{} {} [{mark}]{suspended}", stored.ty.name, fields.join(" "))
}

#[async_trait]
impl Provider for SimProvider {
    fn description(&self) -> String {
        format!("simulated system {}", self.0.name)
    }

    fn limits(&self) -> Limits {
        self.0.options.limits
    }

    async fn target(&self) -> Result<String> {
        let call = format!("{}/target", self.0.name);
        self.0.gate.pass(ErrorKind::Provider, &call).await?;
        Ok(format!("sim:{}", self.0.name))
    }

    fn observers(&self) -> Result<Observers> {
        let observer = Arc::new(Observer(Arc::clone(&self.0)));
        Ok(Observers::new()
            .with::<Account, _>(&observer)
            .with::<Grant, _>(&observer)
            .with::<Key, _>(&observer)
            .with::<Token, _>(&observer)
            .with::<LoneKey, _>(&observer)
            .with::<Job, _>(&observer))
    }

    fn writers(&self) -> Result<Writers> {
        let writer = Arc::new(Writer(Arc::clone(&self.0)));
        Ok(Writers::new()
            .with::<Account, _>(&writer)
            .with::<Grant, _>(&writer)
            .with_credential::<Key, _>(&writer)
            .with_credential::<Token, _>(&writer)
            .with_credential::<LoneKey, _>(&writer)
            .with::<Job, _>(&writer))
    }

    fn probers(&self) -> Result<Probers> {
        let prober = Arc::new(Prober(Arc::clone(&self.0)));
        Ok(Probers::new()
            .with::<Key, _>(&prober)
            .with::<Token, _>(&prober)
            .with::<LoneKey, _>(&prober))
    }
}

impl fmt::Debug for SimProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimProvider({})", self.0.name)
    }
}

#[cfg(test)]
mod tests;
