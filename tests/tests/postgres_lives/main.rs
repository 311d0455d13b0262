//! Whole lives of agents on real clusters of each version, as their users live
//! them: through a deployment, with a login that observes, another that
//! applies, and no more rights than the provider says that they need.
#![allow(clippy::unused_self, reason = "a place is asked for its fleet, whatever that takes")]
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

mod access;
mod adopting;
mod bad_input;
mod canary;
mod command_line;
mod conformance;
mod drift;
mod held;
mod intrusion;
mod judged;
mod leaving;
mod limits;
mod pooler;
mod rotation;
mod standby;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_iac::{
    agent::OnDrift,
    apply::{Outcome, Report},
    clock::{Clock, SystemClock},
    deployment::{Deployment, PlanRequest},
    fleet::{Fleet, Rules},
    plan::{Plan, SavedPlan},
    prelude::*,
    provider::Reach,
    providers::postgres::{self as pg, Password, PostgresProvider, Principal},
    secret::Secret,
    vault::Place,
};
use agent_iac_tests::{
    on_each_version, operator,
    postgres::{Cluster, Message, Session},
};
use jiff::Timestamp;
use tempfile::TempDir;

/// A database of a test's own with a schema, whose owner is no superuser, and
/// the embedded ledger and vault.
struct World {
    /// The database; the names of all roles begin with it.
    name: String,
    cluster: &'static Cluster,
    /// A session of the superuser in the database.
    admin: Session,
    folder: TempDir,
    clock: Arc<Later>,
    others: Vec<String>,
}

/// What everybody's tests are about.
const SALES: &str = "
    CREATE ROLE @_owner; CREATE ROLE @_heir; CREATE SCHEMA sales AUTHORIZATION @_owner;
    SET ROLE @_owner;
    CREATE TABLE sales.invoices (id int PRIMARY KEY, customer text, amount numeric);
    CREATE TABLE sales.notes (id int PRIMARY KEY, note text);
    INSERT INTO sales.invoices VALUES (1, 'ACME', 99.5); INSERT INTO sales.notes VALUES (1, 'n');
    RESET ROLE;";

impl World {
    /// Makes a world. No two tests of a version may take the same name.
    async fn new(cluster: &'static Cluster, name: &str) -> Self {
        let root = cluster.admin().await;
        // What a password is looked for in later must not have it from here.
        root.run("SET log_statement = 'none'").await;
        for who in ["observe", "apply"] {
            let password = password_of(name, who);
            root.run(&format!("CREATE ROLE {name}_{who} LOGIN PASSWORD '{password}'")).await;
        }
        cluster.database(name).await;
        let world = Self {
            name: name.to_owned(),
            cluster,
            admin: cluster.admin_of(name).await,
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::default(),
            others: Vec::new(),
        };
        world.run(SALES).await;
        world
    }

    /// Statements in which `@` stands for the world's name, as superuser.
    async fn run(&self, sql: &str) {
        self.admin.run(&self.named(sql)).await;
    }

    async fn value(&self, sql: &str) -> String {
        self.admin.value(&self.named(sql)).await
    }

    async fn rows(&self, sql: &str) -> Vec<String> {
        self.admin.rows(&self.named(sql)).await
    }

    fn named(&self, text: &str) -> String {
        text.replace('@', &self.name)
    }

    fn principal(&self, who: &str) -> Principal {
        let password = Password::given(Secret::from_text(password_of(&self.name, who)));
        Principal::new(format!("{}_{who}", self.name), password).unwrap()
    }

    fn provider(&self) -> PostgresProvider {
        self.provider_of(self.cluster)
    }

    /// The provider of this world's names on another cluster.
    fn provider_of(&self, cluster: &Cluster) -> PostgresProvider {
        self.provider_at(cluster.port())
    }

    fn provider_at(&self, port: u16) -> PostgresProvider {
        let endpoint = format!("postgresql://127.0.0.1:{port}/{}", self.name);
        let provider = PostgresProvider::new(endpoint.parse().unwrap())
            .observe(self.principal("observe"))
            .apply(self.principal("apply"))
            .administrators(format!("{}_admins", self.name));
        self.others.iter().fold(provider, PostgresProvider::database)
    }

    fn fleet(&self) -> Fleet {
        let mut fleet = Fleet::new("billing");
        fleet.provider("postgres", Reach::Declared).store("vault");
        fleet.rules(Rules { max_leaving: Some(u32::MAX), ..Rules::default() });
        fleet
    }

    /// The deployment, with another provider than the world's own.
    fn deployment_on(&self, fleet: Fleet, provider: PostgresProvider) -> Deployment {
        Deployment::embedded(fleet, "test", self.folder.path())
            .unwrap()
            .with_clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .with_provider("postgres", Arc::new(provider))
    }

    fn deployment(&self, fleet: Fleet) -> Deployment {
        self.deployment_on(fleet, self.provider())
    }

    /// The deployment of a fleet, after somebody has typed what it requires.
    async fn prepared(&self, fleet: Fleet) -> Deployment {
        let deployment = self.deployment(fleet);
        self.require(&deployment).await;
        deployment
    }

    /// Types what the fleet requires, in the databases that it is for, and
    /// nothing else.
    async fn require(&self, deployment: &Deployment) {
        let blueprint = deployment.blueprint().unwrap();
        for requirement in deployment.requires(&blueprint).remove("postgres").unwrap() {
            let statement = &requirement.statement;
            let place = statement.strip_prefix("-- in the database ");
            let place = place.and_then(|rest| rest.split_once(":\n"));
            let database = place.map_or(self.name.as_str(), |(database, _)| database);
            let session = self.cluster.admin_of(database.trim_matches('"')).await;
            session.run(statement).await;
        }
    }

    /// Somebody who plans and applies until there is nothing to do.
    async fn applied(&self, fleet: Fleet) -> Deployment {
        let deployment = self.prepared(fleet).await;
        apply(&deployment).await;
        clean(&deployment).await;
        deployment
    }

    /// What stands in the vault for an agent.
    async fn vaulted(&self, deployment: &Deployment, place: &str) -> Login {
        let place: Place = self.named(place).parse().unwrap();
        let store = deployment.stores()[place.store()].open().unwrap();
        let secret = store.open(place.path(), None, None).await.unwrap();
        secret.expose(|text| {
            let delivered: serde_json::Value = serde_json::from_slice(text).unwrap();
            let part = |name: &str| delivered[name].as_str().unwrap().to_owned();
            Login { user: part("user"), password: part("password") }
        })
    }

    /// A session of an agent, as it logs in itself.
    async fn enter(&self, login: &Login) -> Session {
        let session = self.cluster.connect(&login.user, &login.password, &self.name).await;
        session.unwrap_or_else(|error| panic!("`{}` is refused: {error:?}", login.user))
    }

    async fn refusal(&self, login: &Login) -> Message {
        self.cluster.refusal(&login.user, &login.password, &self.name).await
    }
}

fn password_of(world: &str, who: &str) -> String {
    format!("{who}-canary-of-{world}")
}

/// A cluster of a test's own, which can be stopped. Its server ends with the
/// test's process.
fn own(version: u32, settings: &[(&str, &str)]) -> &'static Cluster {
    Box::leak(Box::new(Cluster::start_with(version, settings)))
}

/// What is delivered.
#[derive(Clone, PartialEq, Eq)]
struct Login {
    user: String,
    password: String,
}

/// The real time, with leaps.
#[derive(Debug, Default)]
struct Later(AtomicU64);

impl Later {
    fn days(&self, days: u64) {
        self.0.fetch_add(days * 86_400, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

async fn planned(deployment: &Deployment) -> Plan {
    deployment.plan(&PlanRequest::default()).await.unwrap()
}

/// Plans and applies, whatever comes of it.
async fn try_apply(deployment: &Deployment) -> Report {
    apply_plan(deployment, planned(deployment).await).await
}

async fn apply_plan(deployment: &Deployment, plan: Plan) -> Report {
    let saved = SavedPlan::new(plan).unwrap();
    let context = operator().acknowledging(saved.digest());
    deployment.apply(&saved, &context).await.unwrap()
}

/// Plans and applies; every step is done, and something was.
async fn apply(deployment: &Deployment) -> Report {
    let plan = planned(deployment).await;
    let said = unread(&plan);
    let report = apply_plan(deployment, plan).await;
    assert!(report.is_complete(), "{}", shown(&report));
    assert!(!report.steps.is_empty(), "there was nothing to do: {said}");
    report
}

/// Everything that a plan could not do, in one text.
fn unread(plan: &Plan) -> String {
    format!(
        "{:?} {:?} {:?}",
        plan.unread,
        plan.blocked,
        plan.beside.iter().map(|b| &b.unread).collect::<Vec<_>>()
    )
}

async fn clean(deployment: &Deployment) {
    let plan = planned(deployment).await;
    assert!(plan.is_clean(), "{plan:#?}");
}

/// Each step of a report in one line.
fn shown(report: &Report) -> String {
    let mut lines = Vec::new();
    for step in &report.steps {
        let outcome = match &step.outcome {
            Outcome::Done => "done".to_owned(),
            Outcome::Unproved(why) => format!("unproved: {why}"),
            Outcome::Failed(error) => {
                format!("failed: {} ({})", error.chain(), error.repair().unwrap_or_default())
            }
            Outcome::Skipped { because } => format!("skipped: {because}"),
            Outcome::InDoubt(error) => format!("in doubt: {}", error.chain()),
        };
        lines.push(format!("{} {}: {outcome}", step.action, step.address));
    }
    lines.join("\n")
}

/// Reads some of the invoices.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "reader")]
struct Reader {
    #[input(key)]
    world: String,

    #[identity(name = format!("{world}_reader"), heir = format!("{world}_heir"), on_drift = OnDrift::RevertWidening)]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new("sales"), allow = [pg::Usage])]
    schema: pg::Grant,

    #[permission(
        to = account,
        on = pg::Column::new("sales", "invoices", ["id", "amount"]),
        allow = [pg::Select],
    )]
    invoices: pg::Grant,

    #[permission(to = account, on = pg::Table::new("sales", "notes"), allow = [pg::Select, pg::Insert])]
    notes: pg::Grant,

    #[credential(of = account, deliver = format!("vault:{world}/reader"))]
    login: pg::Login,
}

fn reader(world: &World) -> Fleet {
    let mut fleet = world.fleet();
    fleet.add(ReaderInputs { world: world.name.clone() });
    fleet
}

/// Where the reader's login stands.
const READER: &str = "vault:@/reader";
