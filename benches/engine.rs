//! What the engine itself costs: a system in memory that does almost nothing,
//! and a ledger in SQLite. One agent is an identity with four permissions, so
//! that the first size is the thousand roles with four thousand grants that
//! other tools are compared on.
//!
//! ```text
//! cargo bench -p agent-iac-benches --bench engine              1,000 and 10,000 agents
//! cargo bench -p agent-iac-benches --bench engine -- 100       another number of them
//! ```
//!
//! Each size runs in a fresh process. Each phase is shown with the time that
//! passed, what all threads computed in it, and what it spent waiting for the
//! ledger and in the system; what is left is the engine's own.
#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

mod measure;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as StdError,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agent_iac::{
    Result,
    access::{Access, Tuple},
    apply::RunContext,
    clock::{SystemEntropy, block_on},
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::{
        Actor, Append, Appended, Batch, Claim, Fence, Lease, Ledger, Query, SqliteLedger, State,
        sqlite, verify,
    },
    plan::SavedPlan,
    prelude::*,
    provider::{
        Capabilities, Listing, Manage, Object, Observation, Observe, Observers, Operation, Probers,
        Provider, Reach, Recovery, Reference, Settled, Write, Writers, Written,
    },
    resource::{Link, Node},
    value::Value,
};
use async_trait::async_trait;

use self::measure::{apart, arguments, computed, peak_memory, timed, written_bytes};

const SIZES: [usize; 2] = [1_000, 10_000];

/// An account of the system in memory.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "memory.account", kind = "identity")]
pub struct Account {
    /// Its name.
    #[resource(key)]
    pub name: String,
    /// The id that the system gives.
    #[resource(output)]
    pub id: String,
}

/// What an account may do with one thing.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "memory.grant", kind = "permission")]
pub struct Grant {
    /// Who may.
    #[resource(key)]
    pub to: Link<Account>,
    /// With what.
    #[resource(key)]
    pub on: String,
    /// What.
    pub allow: BTreeSet<String>,
}

impl Grants for Grant {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        let known = |name: &str| properties.get(name).and_then(Node::known);
        match (known("on"), known("allow")) {
            (Some(Value::Text(on)), Some(Value::List(allow))) => Access::exactly(
                allow
                    .iter()
                    .filter_map(Value::as_text)
                    .map(|action| Tuple::allow(principal, action, &on)),
            ),
            _ => Access::undecided("a property is known only after apply"),
        }
    }
}

/// An account with four grants.
#[derive(Debug, Agent)]
#[agent(owner = "team:bench", expires = "2099-12-31")]
struct Reader {
    #[input(key)]
    number: String,
    #[input]
    writes: bool,

    #[identity(name = format!("reader-{number}"))]
    account: Account,

    #[permission(to = account, on = format!("shelves/{number}/books"), allow = actions(*writes))]
    books: Grant,
    #[permission(to = account, on = format!("shelves/{number}/maps"), allow = ["read"])]
    maps: Grant,
    #[permission(to = account, on = format!("shelves/{number}/letters"), allow = ["read"])]
    letters: Grant,
    #[permission(to = account, on = "catalogue", allow = ["read", "search"])]
    catalogue: Grant,
}

fn actions(writes: bool) -> BTreeSet<String> {
    let names: &[&str] = if writes { &["read", "write"] } else { &["read"] };
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A fleet of so many agents; the first of them writes where `changed`.
fn fleet(agents: usize, changed: bool) -> Fleet {
    let mut fleet = Fleet::new("bench");
    fleet.provider("memory", Reach::Exclusive);
    for agent in 0..agents {
        fleet.add(ReaderInputs { number: format!("{agent:06}"), writes: changed && agent == 0 });
    }
    fleet
}

/// What was spent in the ledger and in the system.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    reads: u32,
    reading: Duration,
    appends: u32,
    appending: Duration,
    /// The time in which something of the ledger was asked for besides.
    leasing: Duration,
    system: Duration,
}

#[derive(Debug, Default)]
struct Meter(Mutex<Spent>);

impl Meter {
    fn add(&self, add: impl FnOnce(&mut Spent)) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn take(&self) -> Spent {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the time that passes")]
async fn spending<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let begun = std::time::Instant::now();
    let answer = work.await;
    (begun.elapsed(), answer)
}

/// A ledger that is timed.
struct Timed {
    ledger: SqliteLedger,
    meter: Arc<Meter>,
}

#[async_trait]
impl Ledger for Timed {
    fn description(&self) -> String {
        self.ledger.description()
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let (time, answer) = spending(self.ledger.append(append)).await;
        self.meter.add(|spent| {
            spent.appends += 1;
            spent.appending += time;
        });
        answer
    }

    async fn state(&self, query: &Query) -> Result<State> {
        let (time, answer) = spending(self.ledger.state(query)).await;
        self.meter.add(|spent| {
            spent.reads += 1;
            spent.reading += time;
        });
        answer
    }

    async fn batches(&self, from: u64, limit: usize) -> Result<Vec<Batch>> {
        self.ledger.batches(from, limit).await
    }

    async fn renew(&self, fence: &Fence, ttl: Duration) -> Result<()> {
        let (time, answer) = spending(self.ledger.renew(fence, ttl)).await;
        self.meter.add(|spent| spent.leasing += time);
        answer
    }

    async fn release(&self, fence: &Fence) -> Result<()> {
        let (time, answer) = spending(self.ledger.release(fence)).await;
        self.meter.add(|spent| spent.leasing += time);
        answer
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        self.ledger.leases().await
    }
}

/// The system: its objects, by type and id. The id is the natural key.
#[derive(Default)]
struct Memory {
    objects: Mutex<BTreeMap<(&'static str, String), Object>>,
    meter: Arc<Meter>,
}

trait Kept: Resource {
    fn object(spec: &Self::Spec) -> Object;
    fn id(key: &BTreeMap<String, Value>) -> String;
}

fn text<'k>(key: &'k BTreeMap<String, Value>, name: &str) -> &'k str {
    key.get(name).and_then(Value::as_text).unwrap_or_default()
}

impl Kept for Account {
    fn object(spec: &AccountSpec) -> Object {
        let mut account = AccountBuilder::default();
        account.name(&spec.name).id(&spec.name);
        Object::new::<Self>(&spec.name, &mut account)
    }

    fn id(key: &BTreeMap<String, Value>) -> String {
        text(key, "name").to_owned()
    }
}

impl Kept for Grant {
    fn object(spec: &GrantSpec) -> Object {
        let mut grant = GrantBuilder::default();
        grant.to(&spec.to).on(&spec.on).allow(&spec.allow);
        Object::new::<Self>(format!("{}@{}", spec.to.target(), spec.on), &mut grant)
    }

    fn id(key: &BTreeMap<String, Value>) -> String {
        format!("{}@{}", text(key, "to"), text(key, "on"))
    }
}

impl Memory {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<(&'static str, String), Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let (time, answer) = timed(|| Ok::<T, std::convert::Infallible>(work()))
            .unwrap_or_else(|never| match never {});
        self.meter.add(|spent| spent.system += time);
        answer
    }
}

#[async_trait]
impl<R: Kept> Observe<R> for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            recovery: Recovery::Registry,
            checks_seen: true,
            batch: 1_000,
            ..Capabilities::default()
        }
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        self.time(|| {
            let objects = self.objects();
            let read = |reference: &Reference| {
                let id = match reference {
                    Reference::Id(id) => id.clone(),
                    Reference::Key(key) => R::id(key),
                };
                let found = objects.get(&(R::TYPE, id)).cloned();
                found.map_or(Observation::Absent, Observation::Present)
            };
            Ok(references.iter().map(read).collect())
        })
    }

    async fn list(&self, _: &Listing) -> Result<Vec<Object>> {
        // Every account is ours here, so that all is what any listing asks for.
        self.time(|| {
            let objects = self.objects();
            let of_type = objects.iter().filter(|((ty, _), _)| *ty == R::TYPE);
            Ok(of_type.map(|(_, object)| object.clone()).collect())
        })
    }
}

#[async_trait]
impl<R: Kept> Manage<R> for Memory {
    async fn write(&self, batch: &[Write<R>]) -> Vec<Result<Written>> {
        self.time(|| {
            let mut objects = self.objects();
            let mut write = |write: &Write<R>| {
                let object = match &write.operation {
                    Operation::Create(spec) | Operation::Update { desired: spec, .. } => {
                        Object { mark: Some(write.mark.clone()), ..R::object(spec) }
                    }
                    Operation::Suspend { id }
                    | Operation::Resume { id }
                    | Operation::Delete { id } => {
                        objects.remove(&(R::TYPE, id.clone()));
                        return Ok(Written { object: None, correlation: None });
                    }
                };
                objects.insert((R::TYPE, object.id.clone()), object.clone());
                Ok(Written { object: Some(object), correlation: None })
            };
            batch.iter().map(&mut write).collect()
        })
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        Ok(claims.iter().map(|_| Settled::NotDone).collect())
    }
}

struct Whole(Arc<Memory>);

#[async_trait]
impl Provider for Whole {
    fn description(&self) -> String {
        "memory".into()
    }

    async fn target(&self) -> Result<String> {
        Ok("memory-of-the-benchmark".into())
    }

    fn observers(&self) -> Result<Observers> {
        Ok(Observers::new().with::<Account, _>(&self.0).with::<Grant, _>(&self.0))
    }

    fn writers(&self) -> Result<Writers> {
        Ok(Writers::new().with::<Account, _>(&self.0).with::<Grant, _>(&self.0))
    }

    fn probers(&self) -> Result<Probers> {
        Ok(Probers::new())
    }
}

fn main() -> Result<(), Box<dyn StdError>> {
    let arguments = arguments();
    if let [child, agents] = &arguments[..]
        && child == "measure"
    {
        return measure(agents.parse()?);
    }
    let sizes = match &arguments[..] {
        [] => SIZES.to_vec(),
        sizes => sizes.iter().map(|size| size.parse()).collect::<Result<_, _>>()?,
    };
    for size in sizes {
        print!("{}", apart(&["measure", &size.to_string()])?);
    }
    Ok(())
}

fn measure(agents: usize) -> Result<(), Box<dyn StdError>> {
    let folder = tempfile::tempdir()?;
    let meter = Arc::new(Meter::default());
    let options = sqlite::Options::new("bench", "bench");
    let ledger = SqliteLedger::create_or_open(folder.path().join("ledger.db"), &options)?;
    let ledger = Arc::new(Timed { ledger, meter: Arc::clone(&meter) });
    let memory = Memory { meter: Arc::clone(&meter), ..Memory::default() };
    let (declaring, first) = timed(|| Ok::<_, Box<dyn StdError>>(fleet(agents, false)))?;
    let deployment =
        Deployment::new(first, "bench", Arc::<Timed>::clone(&ledger), Arc::new(SystemEntropy))
            .with_provider("memory", Arc::new(Whole(Arc::new(memory))));

    println!("\n{agents} agents, each with an identity and four permissions\n");
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>16} {:>16} {:>9}",
        "", "in all", "computed", "engine", "ledger reads", "appends", "system"
    );
    let mut before = computed()?;
    let mut show = |phase: &str, time: Duration| -> Result<(), Box<dyn StdError>> {
        let (spent, now) = (meter.take(), computed()?);
        let elsewhere = spent.reading + spent.appending + spent.leasing + spent.system;
        println!(
            "{phase:<28} {:>9} {:>9} {:>9} {:>3} in {:>9} {:>3} in {:>9} {:>9}",
            shown(time),
            shown(now.saturating_sub(before)),
            shown(time.saturating_sub(elsewhere)),
            spent.reads,
            shown(spent.reading),
            spent.appends,
            shown(spent.appending + spent.leasing),
            shown(spent.system),
        );
        before = computed()?;
        Ok(())
    };
    show("declare", declaring)?;
    let (time, _) = timed(|| deployment.blueprint())?;
    show("blueprint", time)?;
    let (time, plan) = timed(|| block_on(deployment.plan(&PlanRequest::default())))?;
    show("plan from nothing", time)?;
    let (time, plan) = timed(|| SavedPlan::new(plan))?;
    show("its digest", time)?;
    assert_eq!(plan.plan().steps.len(), agents * 5, "everything is made");
    let (time, ()) = timed(|| apply(&deployment, &plan))?;
    show("apply from nothing", time)?;
    drop(plan);
    let (time, _) = timed(|| block_on(deployment.state()))?;
    show("state", time)?;
    for again in ["plan without changes", "plan without changes again"] {
        let (time, plan) = timed(|| block_on(deployment.plan(&PlanRequest::default())))?;
        show(again, time)?;
        assert!(plan.is_clean(), "nothing is left to do: {:?}", plan.totals());
    }
    let deployment = deployment.with_fleet(fleet(agents, true));
    let (time, plan) = timed(|| block_on(deployment.plan(&PlanRequest::default())))?;
    show("plan of one change", time)?;
    let plan = SavedPlan::new(plan)?;
    assert_eq!(plan.plan().steps.len(), 1, "one grant was changed");
    let written = written_bytes()?;
    let (time, ()) = timed(|| apply(&deployment, &plan))?;
    let written = written_bytes()? - written;
    show("apply of one change", time)?;
    let memory = peak_memory()?;
    let (time, _) = timed(|| block_on(verify(&ledger.ledger, None)))?;
    show("verify", time)?;
    let resources = u64::try_from(agents)? * 5;
    println!(
        "\npeak memory {} MB ({} kB for each resource), {} kB written for one change",
        memory / 1_024,
        memory / resources.max(1),
        written / 1_024
    );
    Ok(())
}

fn apply(deployment: &Deployment, plan: &SavedPlan) -> Result<(), Box<dyn StdError>> {
    let context = RunContext::new(Actor::asserted("bench", "bench")).acknowledging(plan.digest());
    let report = block_on(deployment.apply(plan, &context))?;
    if report.is_complete() {
        Ok(())
    } else {
        Err(format!("not everything was done: {:?}", report.summary).into())
    }
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
