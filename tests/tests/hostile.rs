//! The real engine on systems with bad habits, crashed at every boundary:
//! objects that only their natural key finds again, writes that land after
//! their sender is dead, slow ways, and revoked secrets that are accepted
//! for a while.
#![expect(
    clippy::disallowed_methods,
    reason = "the seed and the depth are told by the environment"
)]
#![expect(clippy::print_stdout, reason = "the counts of a sweep are its result")]

use std::{sync::Arc, time::Duration};

use agent_iac::{
    Agent, Result,
    agent::OnDrift,
    deployment::Deployment,
    fleet::Fleet,
    ledger::Ledger,
    provider::{Reach, Recovery},
    testing::world::{self as sim, Depth, Scenario, SimOptions, World, sweep, sweep_faults},
    vault::SecretStore,
};
use agent_iac_tests::{converge, simulated};

/// Reads invoices.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2999-12-31", grace = "0d", name = "reader")]
struct Reader {
    #[input(key)]
    tenant: String,
    #[input]
    note: String,
    #[input]
    home: String,
    #[input]
    actions: Vec<String>,

    #[identity(name = format!("reader-{tenant}"), home = home, note = note, on_drift = OnDrift::RevertWidening)]
    account: sim::Account,

    #[permission(
        to = account,
        on = format!("invoices/{tenant}"),
        allow = actions.iter().cloned().collect::<std::collections::BTreeSet<String>>(),
    )]
    invoices: sim::Grant,

    #[credential(of = account, deliver = format!("vault:agents/{tenant}/key"))]
    key: sim::Key,

    #[credential(of = account, deliver = format!("vault:agents/{tenant}/token"))]
    token: sim::Token,

    #[runtime(name = format!("job-{tenant}"), run_as = account, command = "read")]
    job: sim::Job,
}

fn none() -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("sim", Reach::Exclusive).store("vault");
    fleet
}

fn of(tenants: &[&str], note: &str, actions: &[&str]) -> Fleet {
    let mut fleet = none();
    for tenant in tenants {
        fleet.add(ReaderInputs {
            tenant: (*tenant).into(),
            note: note.into(),
            home: "here".into(),
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        });
    }
    fleet
}

fn four() -> Fleet {
    of(&["a", "b", "c", "d"], "first", &["read"])
}

fn two() -> Fleet {
    of(&["a", "b"], "first", &["read"])
}

fn two_changed() -> Fleet {
    of(&["a", "b"], "second", &["read", "list"])
}

/// Everything of these agents is made anew: their accounts cannot move.
fn two_elsewhere() -> Fleet {
    let mut fleet = none();
    for tenant in ["a", "b"] {
        fleet.add(ReaderInputs {
            tenant: tenant.into(),
            note: "first".into(),
            home: "elsewhere".into(),
            actions: vec!["read".into()],
        });
    }
    fleet
}

/// A move from one fleet to another on a system of certain habits.
struct Change {
    habits: fn() -> SimOptions,
    slow: Duration,
    before: fn() -> Fleet,
    after: fn() -> Fleet,
}

impl Scenario for Change {
    type Rig = Deployment;

    fn prepare(&self, world: &World) -> Deployment {
        world.watch();
        world.provider_with("sim", (self.habits)());
        let ledger: Arc<dyn Ledger> = world.ledger("billing", "test");
        let store: Arc<dyn SecretStore> = world.store("vault");
        let before = simulated(world, (self.before)(), Arc::clone(&ledger), Arc::clone(&store));
        world.latency(Duration::ZERO, self.slow);
        world.run(converge(&before)).finished().expect("the first fleet is applied");
        world.exit();
        // Who recovers is quick, so that what is late still comes upon it.
        let quick = world.clone();
        world.at_exit(move || quick.latency(Duration::ZERO, Duration::ZERO));
        world.latency(Duration::ZERO, self.slow);
        simulated(world, (self.after)(), ledger, store)
    }

    async fn process(&self, deployment: &Deployment) -> Result<()> {
        converge(deployment).await
    }
}

fn natural() -> SimOptions {
    ["sim.account", "sim.grant", "sim.job"]
        .into_iter()
        .fold(SimOptions::default().checks_seen(false), |options, name| {
            options.recovery(name, Recovery::NaturalKey)
        })
}

fn natural_late() -> SimOptions {
    natural().settles_within(Duration::from_secs(3))
}

fn natural_late_singly() -> SimOptions {
    natural_late().batch(1)
}

fn tagged_late() -> SimOptions {
    ["sim.account", "sim.grant", "sim.job", "sim.key", "sim.token"]
        .into_iter()
        .fold(SimOptions::default().settles_within(Duration::from_secs(3)), |options, name| {
            options.recovery(name, Recovery::Tagged)
        })
}

fn registry_late() -> SimOptions {
    SimOptions::default().settles_within(Duration::from_secs(3)).batch(2)
}

fn lingering() -> SimOptions {
    natural_late().propagation(Duration::from_mins(1))
}

fn seeds() -> Vec<u64> {
    match std::env::var("AGENT_IAC_SEED") {
        Ok(seed) => vec![seed.parse().expect("a seed is a number")],
        Err(_) => vec![2],
    }
}

#[track_caller]
fn survives(name: &str, change: &Change) {
    for seed in seeds() {
        let report = sweep(seed, depth(), change);
        let text = report.to_string();
        println!("{name}: {} crash points, {} runs", report.worlds, report.runs);
        assert!(
            report.failures.is_empty(),
            "{name}: {}",
            text.chars().take(12_000).collect::<String>()
        );
    }
}

fn depth() -> Depth {
    if std::env::var("AGENT_IAC_DEPTH").is_ok() { Depth::Two } else { Depth::One }
}

const SLOW: Duration = Duration::from_secs(1);

#[test]
fn creating_four_with_natural_keys_and_late_writes() {
    survives("four", &Change { habits: natural_late, slow: SLOW, before: none, after: four });
}

#[test]
fn creating_one_by_one_with_natural_keys_and_late_writes() {
    survives(
        "singly",
        &Change { habits: natural_late_singly, slow: SLOW, before: none, after: two },
    );
}

#[test]
fn creating_with_a_registry_and_late_writes() {
    survives("registry", &Change { habits: registry_late, slow: SLOW, before: none, after: two });
}

#[test]
fn changing_with_natural_keys_and_late_writes() {
    survives(
        "change",
        &Change { habits: natural_late, slow: SLOW, before: two, after: two_changed },
    );
}

#[test]
fn leaving_with_natural_keys_and_late_writes() {
    survives("leave", &Change { habits: natural_late, slow: SLOW, before: two, after: none });
}

#[test]
fn leaving_where_revoked_secrets_linger() {
    survives("linger", &Change { habits: lingering, slow: SLOW, before: two, after: none });
}

#[test]
fn creating_where_the_claim_stands_on_the_object() {
    survives("tagged", &Change { habits: tagged_late, slow: SLOW, before: none, after: two });
}

#[test]
fn leaving_where_the_claim_stands_on_the_object() {
    survives(
        "tagged, leave",
        &Change { habits: tagged_late, slow: SLOW, before: two_changed, after: none },
    );
}

#[test]
fn replacing_with_natural_keys_and_late_writes() {
    survives(
        "replace",
        &Change { habits: natural_late, slow: SLOW, before: two, after: two_elsewhere },
    );
}

#[test]
fn replacing_where_the_claim_stands_on_the_object() {
    survives(
        "tagged, replace",
        &Change { habits: tagged_late, slow: SLOW, before: two, after: two_elsewhere },
    );
}

#[test]
fn every_fault_while_leaving_with_natural_keys() {
    for seed in seeds() {
        let change = Change {
            habits: natural_late,
            slow: SLOW,
            before: || of(&["a"], "first", &["read"]),
            after: none,
        };
        let report = sweep_faults(seed, &change);
        let text = report.to_string();
        assert!(
            report.failures.is_empty(),
            "faults: {}",
            text.chars().take(12_000).collect::<String>()
        );
    }
}

#[test]
fn every_fault_while_creating_with_natural_keys() {
    for seed in seeds() {
        let change = Change {
            habits: natural_late,
            slow: SLOW,
            before: none,
            after: || of(&["a"], "first", &["read"]),
        };
        let report = sweep_faults(seed, &change);
        let text = report.to_string();
        assert!(
            report.failures.is_empty(),
            "faults: {}",
            text.chars().take(12_000).collect::<String>()
        );
    }
}
