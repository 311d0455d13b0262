//! How a system of one's own is managed: a mailing-list service that lives in
//! this process, with members (identities) and what they may do on which list
//! (permissions).
//!
//! Three things are needed: the types, what reads and writes them, and who
//! holds which handle. The conformance suite then says whether the contract is
//! kept, and a fleet can use it like any other provider.
//!
//! `cargo run --example custom_provider`
#![expect(clippy::print_stdout, reason = "an example tells a story")]

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as StdError,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agent_iac::{
    Error, ErrorKind, Result,
    access::{Access, Tuple},
    apply::RunContext,
    clock::{SystemClock, SystemEntropy, block_on},
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::{Actor, Claim, MemoryLedger},
    plan::{SavedPlan, render},
    prelude::*,
    provider::{
        Capabilities, Listing, Manage, Object, Observation, Observe, Observers, Operation, Probers,
        Provider, Reach, Recovery, Reference, Settled, Write, Writers, Written,
    },
    resource::{Link, Node},
    schema::Kind,
    testing::provider::Suite,
    value::Value,
};
use async_trait::async_trait;

// 1. The types. The derive makes the builder that declarations use, and the
//    description that plans, records and diffs are made with.

/// Somebody who can write to lists.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "lists.member", kind = "identity")]
pub struct Member {
    /// The address, of which the service allows each once.
    #[resource(key)]
    pub address: String,
    /// Shown beside it.
    pub display: Option<String>,
    /// The id that the service gives.
    #[resource(output)]
    pub id: String,
}

/// What a member may do on one list.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "lists.role", kind = "permission")]
pub struct Role {
    /// Who may.
    #[resource(key)]
    pub to: Link<Member>,
    /// On which list.
    #[resource(key)]
    pub on: String,
    /// What: `post`, `moderate`.
    pub allow: BTreeSet<String>,
}

impl Grants for Role {
    // Pure, so that a plan can show who gains and who loses what before
    // anything is written. What is not known yet is said to be so.
    fn grants(member: &str, properties: &BTreeMap<String, Node>) -> Access {
        let known = |name: &str| properties.get(name).and_then(Node::known);
        match (known("on"), known("allow")) {
            (Some(Value::Text(on)), Some(Value::List(allow))) => Access::exactly(
                allow
                    .iter()
                    .filter_map(Value::as_text)
                    .map(|action| Tuple::allow(member, action, &on)),
            ),
            _ => Access::undecided("a property is known only after apply"),
        }
    }
}

// 2. The system, and what reads and writes it. A real one is behind a client;
//    this one is a map behind a mutex, and each batch is one transaction.

#[derive(Default)]
struct Service(Mutex<State>);

#[derive(Default)]
struct State {
    objects: BTreeMap<(&'static str, String), Object>,
    /// What each claim did, written together with it: the registry that makes
    /// a repeated write harmless and a crash recoverable.
    done: BTreeMap<Claim, Written>,
    next: u32,
}

impl Service {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A type of the service: how its properties are reported.
trait Kept: Resource {
    fn object(id: &str, spec: &Self::Spec) -> Object;
}

impl Kept for Member {
    fn object(id: &str, spec: &MemberSpec) -> Object {
        let mut member = MemberBuilder::default();
        member.address(&spec.address).display(&spec.display).id(id);
        Object::new::<Self>(id, &mut member)
    }
}

impl Kept for Role {
    fn object(id: &str, spec: &RoleSpec) -> Object {
        let mut role = RoleBuilder::default();
        role.to(&spec.to).on(&spec.on).allow(&spec.allow);
        Object::new::<Self>(id, &mut role)
    }
}

impl State {
    fn all<R: Kept>(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(|((ty, _), _)| *ty == R::TYPE).map(|(_, object)| object)
    }

    fn get<R: Kept>(&self, id: &str) -> Option<&Object> {
        self.objects.get(&(R::TYPE, id.to_owned()))
    }

    fn find<R: Kept>(&self, key: &BTreeMap<String, Value>) -> Option<&Object> {
        self.all::<R>().find(|one| key.iter().all(|(name, value)| one.value(name) == Some(value)))
    }

    fn write<R: Kept>(&mut self, write: &Write<R>) -> Result<Written> {
        // Idempotent: the same claim answers as it did and changes nothing.
        if let Some(written) = self.done.get(&write.claim) {
            return Ok(written.clone());
        }
        let object = match &write.operation {
            Operation::Create(spec) => {
                let object = R::object(&format!("{:04}", self.next), spec);
                self.next += 1;
                let key = R::RESOURCE.key_fields().map(|field| field.name);
                let key =
                    key.filter_map(|name| Some((name.to_owned(), object.value(name)?.clone())));
                if let Some(found) = self.find::<R>(&key.collect()) {
                    let message = format!("the service has it already, as {}", found.id);
                    return Err(Error::new(ErrorKind::Foreign, message).help("import it"));
                }
                Some(Object { mark: Some(write.mark.clone()), ..object })
            }
            Operation::Delete { id } if self.get::<R>(id).is_none() => None,
            Operation::Update { id, .. }
            | Operation::Suspend { id }
            | Operation::Resume { id }
            | Operation::Delete { id } => {
                let now = self.check(id, write)?;
                match &write.operation {
                    Operation::Update { desired, .. } => Some(Object {
                        mark: now.mark,
                        suspended: now.suspended,
                        ..R::object(id, desired)
                    }),
                    Operation::Delete { .. } => None,
                    _ if R::KIND != Kind::Identity => {
                        let message = format!("a {} cannot be suspended", R::TYPE);
                        return Err(Error::new(ErrorKind::Unsupported, message));
                    }
                    operation => {
                        let suspended = matches!(operation, Operation::Suspend { .. });
                        Some(Object { suspended, ..now })
                    }
                }
            }
        };
        if let Operation::Delete { id } = &write.operation {
            self.objects.remove(&(R::TYPE, id.clone()));
        }
        if let Some(object) = &object {
            self.objects.insert((R::TYPE, object.id.clone()), object.clone());
        }
        let written = Written { object, correlation: None };
        self.done.insert(write.claim.clone(), written.clone());
        Ok(written)
    }

    /// The object, when it is the fleet's and as it was seen: a step acts only
    /// on what the plan showed.
    fn check<R: Kept>(&self, id: &str, write: &Write<R>) -> Result<Object> {
        let gone = || Error::new(ErrorKind::StalePlan, format!("{id} is gone")).help("plan again");
        let now = self.get::<R>(id).ok_or_else(gone)?;
        if let Some(mark) = now.mark.as_ref().filter(|mark| **mark != write.mark) {
            return Err(Error::new(ErrorKind::Foreign, format!("{id} is {mark}")));
        }
        if write.seen.object() != Some(now) {
            let message = format!("{id} is not as it was seen");
            return Err(Error::new(ErrorKind::StalePlan, message).help("plan again"));
        }
        Ok(now.clone())
    }
}

#[async_trait]
impl<R: Kept> Observe<R> for Service {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            recovery: Recovery::Registry,
            checks_seen: true,
            suspends: R::KIND == Kind::Identity,
            batch: 100,
            ..Capabilities::default()
        }
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        let state = self.state();
        let read = |reference: &Reference| match reference {
            Reference::Id(id) => state.get::<R>(id),
            Reference::Key(key) => state.find::<R>(key),
        };
        let shown = |found: Option<&Object>| match found {
            Some(object) => Observation::Present(object.clone()),
            None => Observation::Absent,
        };
        Ok(references.iter().map(|reference| shown(read(reference))).collect())
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
        let asked = |object: &&Object| match listing {
            Listing::All => true,
            Listing::Of(ids) if R::KIND == Kind::Identity => ids.contains(&object.id),
            Listing::Of(ids) => {
                let owner = object.value("to").and_then(Value::as_text);
                owner.is_some_and(|owner| ids.iter().any(|id| id == owner))
            }
        };
        Ok(self.state().all::<R>().filter(asked).cloned().collect())
    }
}

#[async_trait]
impl<R: Kept> Manage<R> for Service {
    async fn write(&self, batch: &[Write<R>]) -> Vec<Result<Written>> {
        let mut state = self.state();
        batch.iter().map(|write| state.write(write)).collect()
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        // Nothing is under way outside the mutex, so what is not there is not
        // done. A service behind a network first waits, or ends the sessions
        // of the run that died.
        let state = self.state();
        let settled =
            |claim| state.done.get(claim).cloned().map_or(Settled::NotDone, Settled::Done);
        Ok(claims.iter().map(settled).collect())
    }
}

// 3. Who holds which handle. Here all hold the same service; a real provider
//    opens each with a credential of its own, so that planning cannot write.

struct Lists(Arc<Service>);

#[async_trait]
impl Provider for Lists {
    fn description(&self) -> String {
        "lists in this process".into()
    }

    async fn target(&self) -> Result<String> {
        Ok("lists-of-the-example".into())
    }

    fn observers(&self) -> Result<Observers> {
        Ok(Observers::new().with::<Member, _>(&self.0).with::<Role, _>(&self.0))
    }

    fn writers(&self) -> Result<Writers> {
        Ok(Writers::new().with::<Member, _>(&self.0).with::<Role, _>(&self.0))
    }

    fn probers(&self) -> Result<Probers> {
        Ok(Probers::new())
    }
}

/// Tells the team what its jobs did over night.
#[derive(Debug, Agent)]
#[agent(owner = "team:operations", expires = "2099-12-31")]
pub struct NightReporter {
    #[identity(address = "night@example.org", display = "Night reporter")]
    member: Member,

    #[permission(to = member, on = "operations", allow = ["post"])]
    operations: Role,
}

fn main() -> Result<(), Box<dyn StdError>> {
    let lists = Arc::new(Lists(Arc::default()));

    // In a crate of one's own this stands in a test.
    let suite =
        Suite::new(Arc::<Lists>::clone(&lists), Arc::new(SystemClock), Arc::new(SystemEntropy));
    let member = |sample: &agent_iac::testing::provider::Sample| {
        let mut member = Member::builder();
        member.address(format!("{}@example.org", sample.name()));
        member.display(if sample.changed() { "changed" } else { "as made" });
        member
    };
    block_on(suite.check_identity::<Member>(member));
    block_on(suite.check_permission::<Member, Role>(member, |id, sample| {
        let mut role = Role::builder();
        let actions = if sample.changed() { vec!["moderate", "post"] } else { vec!["post"] };
        let actions: BTreeSet<String> = actions.into_iter().map(str::to_owned).collect();
        role.to(Link::id(id)).on(sample.name()).allow(actions);
        role
    }));
    println!("The contract is kept.\n");

    let mut fleet = Fleet::new("operations");
    fleet.provider("lists", Reach::Exclusive);
    fleet.add(NightReporterInputs {});
    let ledger = MemoryLedger::opened(Arc::new(SystemClock), "operations", "example")?;
    let deployment = Deployment::new(fleet, "example", Arc::new(ledger), Arc::new(SystemEntropy))
        .with_provider("lists", lists);
    let plan = SavedPlan::new(block_on(deployment.plan(&PlanRequest::default()))?)?;
    println!("{}", render::text(&plan, &render::Options::default()));
    let context = RunContext::new(Actor::asserted("example", "you")).acknowledging(plan.digest());
    let report = block_on(deployment.apply(&plan, &context))?;
    assert!(report.is_complete(), "{report:?}");
    let again = block_on(deployment.plan(&PlanRequest::default()))?;
    assert!(again.is_clean(), "{again:?}");
    println!("{} steps were carried out; a plan now has none.", report.summary.done);
    Ok(())
}
