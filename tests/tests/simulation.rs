//! The real engine in the simulated world, crashed at every boundary, before and
//! after its effect; with `AGENT_IAC_DEPTH=2` again at every boundary of what
//! follows.
#![expect(clippy::disallowed_methods, reason = "how deep to sweep is told by the environment")]
#![expect(clippy::print_stdout, reason = "the counts of a sweep are its result")]

use std::sync::Arc;

use agent_iac::{
    Agent, Result,
    agent::OnDrift,
    deployment::Deployment,
    fleet::Fleet,
    ledger::Ledger,
    provider::Reach,
    testing::world::{self as sim, Depth, Scenario, World, sweep, sweep_faults},
    vault::SecretStore,
};
use agent_iac_tests::{converge, simulated};

/// Reads invoices, with a credential of every sort.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2999-12-31", grace = "0d", name = "reader")]
struct Reader {
    #[input(key)]
    tenant: String,
    #[input]
    home: String,
    #[input]
    actions: Vec<String>,
    #[input]
    note: String,

    #[identity(name = format!("reader-{tenant}"), home = home, note = note, on_drift = OnDrift::RevertWidening)]
    account: sim::Account,

    #[permission(
        to = account,
        on = format!("invoices/{tenant}"),
        allow = actions.iter().cloned().collect::<std::collections::BTreeSet<String>>(),
        on_drift = OnDrift::RevertWidening,
    )]
    invoices: sim::Grant,

    #[permission(to = account, on = format!("log-of-{}", account.id()), allow = ["append"])]
    log: sim::Grant,

    #[credential(of = account, deliver = format!("vault:agents/{tenant}/key"))]
    key: sim::Key,

    #[credential(of = account, deliver = format!("vault:agents/{tenant}/token"))]
    token: sim::Token,

    #[runtime(name = format!("job-{tenant}"), run_as = account, command = "read")]
    job: sim::Job,
}

/// Has one key at a time.
#[derive(Agent, Debug)]
#[agent(owner = "team:mail", expires = "2999-12-31", grace = "0d", name = "mailer")]
struct Mailer {
    #[input]
    name: String,

    #[identity(name = name)]
    account: sim::Account,

    #[credential(of = account, deliver = "vault:agents/mailer/key")]
    key: sim::LoneKey,
}

/// The reader as it is declared once its job is managed by somebody else.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2999-12-31", grace = "0d", name = "reader")]
struct ReaderWithoutJob {
    #[input(key)]
    tenant: String,

    #[identity(name = format!("reader-{tenant}"), home = "a", note = "first")]
    account: sim::Account,

    #[permission(to = account, on = format!("invoices/{tenant}"), allow = ["read"])]
    bills: sim::Grant,

    #[permission(to = account, on = format!("log-of-{}", account.id()), allow = ["append"])]
    log: sim::Grant,

    #[credential(of = account, deliver = format!("vault:agents/{tenant}/key"))]
    key: sim::Key,

    #[credential(of = account, deliver = format!("vault:agents/{tenant}/token"))]
    token: sim::Token,
}

/// Has an account that somebody made by hand.
#[derive(Agent, Debug)]
#[agent(owner = "team:mail", expires = "2999-12-31", grace = "0d")]
struct OldHand {
    #[identity(name = "old-hand", note = "adopted")]
    account: sim::Account,

    #[permission(to = account, on = "archive", allow = ["read"])]
    archive: sim::Grant,
}

fn reader(tenant: &str, home: &str, actions: &[&str], note: &str) -> ReaderInputs {
    ReaderInputs {
        tenant: tenant.into(),
        home: home.into(),
        actions: actions.iter().map(|a| (*a).to_owned()).collect(),
        note: note.into(),
    }
}

fn fleet() -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("sim", Reach::Exclusive).store("vault");
    fleet
}

/// A move from one fleet to another, with what was done by hand between.
struct Change {
    before: fn() -> Fleet,
    by_hand: fn(&World),
    after: fn() -> Fleet,
}

impl Scenario for Change {
    type Rig = Deployment;

    fn prepare(&self, world: &World) -> Deployment {
        world.watch();
        let ledger: Arc<dyn Ledger> = world.ledger("billing", "test");
        let store: Arc<dyn SecretStore> = world.store("vault");
        let before = simulated(world, (self.before)(), Arc::clone(&ledger), Arc::clone(&store));
        world.run(converge(&before)).finished().expect("the first fleet is applied");
        world.exit();
        (self.by_hand)(world);
        simulated(world, (self.after)(), ledger, store)
    }

    async fn process(&self, deployment: &Deployment) -> Result<()> {
        converge(deployment).await
    }
}

fn nothing(_: &World) {}

fn two_agents() -> Fleet {
    let mut fleet = fleet();
    fleet.add(reader("eu", "a", &["read"], "first"));
    fleet.add(MailerInputs { name: "mailer".into() });
    fleet
}

#[track_caller]
fn survives(name: &str, depth: Depth, change: &Change) -> usize {
    let report = sweep(1, depth, change);
    assert!(report.failures.is_empty(), "{name}: {report}");
    println!(
        "{name}: {} boundaries, {} crash points, {} runs, 0 orphans, 0 duplicates, 0 manual commands",
        report.boundaries.len(),
        report.worlds,
        report.runs
    );
    report.worlds
}

#[test]
fn creating_survives_crashes_anywhere() {
    let change = Change { before: fleet, by_hand: nothing, after: two_agents };
    survives("create", depth(), &change);
}

#[test]
fn changing_survives_crashes_anywhere() {
    let after = || {
        let mut fleet = fleet();
        fleet.add(reader("eu", "a", &["read", "list"], "second"));
        fleet.add(MailerInputs { name: "mailer".into() });
        fleet
    };
    let change = Change { before: two_agents, by_hand: nothing, after };
    survives("update", depth(), &change);
}

#[test]
fn replacing_with_the_old_first_survives_crashes_anywhere() {
    let after = || {
        let mut fleet = fleet();
        fleet.add(reader("eu", "b", &["read"], "first"));
        fleet.add(MailerInputs { name: "mailer".into() });
        fleet
    };
    let change = Change { before: two_agents, by_hand: nothing, after };
    survives("replace, old first", depth(), &change);
}

#[test]
fn replacing_with_the_new_first_survives_crashes_anywhere() {
    let after = || {
        let mut fleet = fleet();
        fleet.add(reader("eu", "a", &["read"], "first"));
        fleet.add(MailerInputs { name: "postman".into() });
        fleet
    };
    let change = Change { before: two_agents, by_hand: nothing, after };
    survives("replace, new first", depth(), &change);
}

#[test]
fn leaving_survives_crashes_anywhere() {
    let change = Change { before: two_agents, by_hand: nothing, after: fleet };
    survives("leave", depth(), &change);
}

#[test]
fn taking_drift_back_survives_crashes_anywhere() {
    let by_hand = |world: &World| {
        let sim = world.provider("sim");
        let hand = sim.hand();
        for grant in sim.objects("sim.grant") {
            hand.widen(&grant.id, "delete").expect("the grant is there");
        }
        let account = sim.objects("sim.account").remove(0);
        hand.grant(&account.id, "secrets", &["read"]).expect("the account is there");
        for key in sim.objects("sim.key") {
            hand.delete::<sim::Key>(&key.id).expect("the key is there");
        }
    };
    let change = Change { before: two_agents, by_hand, after: two_agents };
    survives("drift", depth(), &change);
}

#[test]
fn adopting_moving_and_forgetting_survive_crashes_anywhere() {
    let by_hand = |world: &World| {
        world.provider("sim").hand().account("old-hand", None).expect("the name is free");
    };
    let after = || {
        let mut fleet = fleet();
        fleet.add(OldHandInputs {});
        let address = |text: &str| text.parse().expect("an address");
        fleet.import(address("old-hand.account"), "account-9");
        fleet.add(MailerInputs { name: "mailer".into() });
        fleet.add(ReaderWithoutJobInputs { tenant: "eu".into() });
        fleet.removed(address("reader[\"eu\"].job"));
        fleet.moved(address("reader[\"eu\"].invoices"), address("reader[\"eu\"].bills"));
        fleet
    };
    let change = Change { before: two_agents, by_hand, after };
    survives("adopt, move, forget", depth(), &change);
}

#[test]
fn every_fault_at_every_boundary_of_creating_is_overcome() {
    let change = Change { before: fleet, by_hand: nothing, after: two_agents };
    let report = sweep_faults(1, &change);
    assert!(report.failures.is_empty(), "{report}");
    println!("faults: {} worlds", report.worlds);
}

/// Two crashes where that is asked for, as `tests/run` does in an optimised
/// build; one otherwise.
fn depth() -> Depth {
    match std::env::var("AGENT_IAC_DEPTH").as_deref() {
        Ok("2") => Depth::Two,
        _ => Depth::One,
    }
}
