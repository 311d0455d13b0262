//! A fleet's life on the simulated system: what applying, drift, leaving and
//! crashes of others look like to whoever embeds the engine.
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

mod contract;
mod credentials;
mod drift;
mod failures;
mod leaving;
mod records;
mod refusals;
mod rotation;
mod values;
mod watch;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use agent_iac::{
    ErrorKind, Result,
    address::{Address, Instance},
    apply::{Outcome, Report},
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::{Ledger, State},
    plan::{Plan, SavedPlan},
    prelude::*,
    provider::Reach,
    testing::world::{self as sim, SimOptions, SimProvider, World},
    vault::SecretStore,
};
use agent_iac_tests::{operator, simulated};

/// Reads one tenant's invoices.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2027-06-30", name = "reader")]
struct Reader {
    #[input(key)]
    tenant: String,
    #[input]
    allow: Vec<String>,
    #[input]
    note: String,

    #[identity(name = format!("reader-{tenant}"), note = note, on_drift = OnDrift::RevertWidening)]
    account: sim::Account,

    #[permission(
        to = account,
        on = format!("invoices/{tenant}"),
        allow = allow.iter().cloned().collect::<BTreeSet<String>>(),
        on_drift = OnDrift::RevertWidening,
    )]
    invoices: sim::Grant,

    #[permission(to = account, on = format!("log-of-{}", account.id()), allow = ["append"])]
    log: sim::Grant,

    #[credential(of = account, deliver = format!("vault:readers/{tenant}/key"))]
    key: sim::Key,
}

fn reader(tenant: &str) -> ReaderInputs {
    ReaderInputs { tenant: tenant.into(), allow: vec!["read".into()], note: "first".into() }
}

fn fleet() -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("sim", Reach::Exclusive).store("vault");
    fleet
}

fn readers(tenants: &[&str]) -> Fleet {
    let mut fleet = fleet();
    for tenant in tenants {
        fleet.add(reader(tenant));
    }
    fleet
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn instance(text: &str) -> Instance {
    text.parse().unwrap()
}

const EU: &str = r#"reader["eu"]"#;

/// A world with one system, one ledger and one store.
struct Stage {
    world: World,
    ledger: Arc<dyn Ledger>,
    store: Arc<dyn SecretStore>,
}

impl Stage {
    fn new() -> Self {
        Self::with(SimOptions::default())
    }

    /// A stage on which every invariant is looked at, at every boundary.
    fn with(options: SimOptions) -> Self {
        let stage = Self::unwatched(options);
        stage.world.watch();
        stage
    }

    /// A stage for tests that break an invariant themselves.
    fn unwatched(options: SimOptions) -> Self {
        let world = World::new(11);
        world.provider_with("sim", options);
        let ledger = world.ledger("billing", "test");
        let store = world.store("vault");
        Self { world, ledger, store }
    }

    fn sim(&self) -> SimProvider {
        self.world.provider("sim")
    }

    fn deploy(&self, fleet: Fleet) -> Deployment {
        simulated(&self.world, fleet, Arc::clone(&self.ledger), Arc::clone(&self.store))
    }

    #[track_caller]
    fn run<T>(&self, process: impl Future<Output = T> + Send) -> T {
        let value = self.world.run(process).finished();
        self.world.exit();
        let violations = self.world.violations();
        assert!(violations.is_empty(), "{violations:?}");
        value
    }

    #[track_caller]
    fn plan(&self, deployment: &Deployment) -> Plan {
        self.run(deployment.plan(&PlanRequest::default())).unwrap()
    }

    #[track_caller]
    fn apply_plan(&self, deployment: &Deployment, plan: Plan) -> Result<Report> {
        let saved = SavedPlan::new(plan).unwrap();
        let context = operator().acknowledging(saved.digest());
        self.run(deployment.apply(&saved, &context))
    }

    /// Plans and applies; every step is done.
    #[track_caller]
    fn apply(&self, deployment: &Deployment) -> Report {
        let report = self.try_apply(deployment);
        assert!(report.is_complete(), "{}", shown(&report));
        report
    }

    /// Plans and applies, whatever comes of it.
    #[track_caller]
    fn try_apply(&self, deployment: &Deployment) -> Report {
        let plan = self.plan(deployment);
        self.apply_plan(deployment, plan).unwrap()
    }

    /// A deployment that was applied, and after which there is nothing to do.
    #[track_caller]
    fn applied(&self, fleet: Fleet) -> Deployment {
        let deployment = self.deploy(fleet);
        self.apply(&deployment);
        self.assert_clean(&deployment);
        deployment
    }

    #[track_caller]
    fn assert_clean(&self, deployment: &Deployment) {
        let plan = self.plan(deployment);
        assert!(plan.is_clean(), "{plan:#?}");
    }

    fn state(&self) -> State {
        self.world.state()
    }

    fn days(&self, days: u64) {
        self.world.advance(Duration::from_secs(days * 86_400));
    }

    /// What a consumer reads at a place.
    #[track_caller]
    fn secret(&self, path: &str) -> Result<agent_iac::secret::Secret> {
        let open = self.store.open().unwrap();
        self.run(async move { open.open(path, None, None).await })
    }

    /// The id of the account of this name.
    #[track_caller]
    fn account(&self, name: &str) -> String {
        let objects = self.sim().objects("sim.account");
        let named = |o: &&agent_iac::provider::Object| {
            o.value("name").and_then(|v| v.as_text()) == Some(name)
        };
        objects.iter().find(named).expect("the account is there").id.clone()
    }
}

/// Each step of a report in one line.
fn shown(report: &Report) -> String {
    let mut lines = Vec::new();
    for step in &report.steps {
        let outcome = match &step.outcome {
            Outcome::Done => "done".to_owned(),
            Outcome::Unproved(why) => format!("unproved: {why}"),
            Outcome::Failed(error) => format!("failed: {}", error.chain()),
            Outcome::Skipped { because } => format!("skipped: {because}"),
            Outcome::InDoubt(error) => format!("in doubt: {}", error.chain()),
        };
        lines.push(format!("{} {}: {outcome}", step.action, step.address));
    }
    lines.join("\n")
}

/// How the steps of one address ended.
fn outcome<'r>(report: &'r Report, at: &str) -> &'r Outcome {
    let wanted = address(at);
    let step = report.steps.iter().find(|step| step.address == wanted);
    &step.unwrap_or_else(|| panic!("{at} is in the report: {}", shown(report))).outcome
}
