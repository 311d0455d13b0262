//! Locks that are never given back: what needs them says who holds them, and
//! everything else is done.

#![allow(clippy::disallowed_methods, reason = "how long a real server takes is real time")]

use std::time::Instant;

use super::*;

on_each_version![
    a_lock_that_is_never_given_back_stops_only_what_needs_it,
    a_table_that_is_locked_for_ever_stops_only_what_needs_it,
];

/// Reads notes by a policy of its own.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "member")]
struct Member {
    #[input]
    world: String,
    #[input(key)]
    number: String,

    #[identity(name = format!("{world}_member_{number}"))]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new("sales"), allow = [pg::Usage])]
    schema: pg::Grant,

    #[permission(to = account, on = pg::Table::new("sales", "invoices"), allow = [pg::Select])]
    invoices: pg::Grant,

    #[permission(to = account, on = pg::Table::new("sales", "notes"), allow = [pg::Select])]
    notes: pg::Grant,

    #[permission(
        to = account,
        on = pg::Table::new("sales", "notes"),
        name = format!("member_{number}"),
        using = "true",
    )]
    rows: pg::Policy,

    #[credential(of = account, deliver = format!("vault:{world}/{number}"))]
    login: pg::Login,
}

fn members(world: &World) -> Fleet {
    let mut fleet = world.fleet();
    for number in 1..=8 {
        let number = number.to_string();
        fleet.add(MemberInputs { world: world.name.clone(), number });
    }
    fleet
}

/// How long an apply may take in which a lock is not given: it is waited for
/// twice, for ten seconds, and then for a moment for each that needs it. Eight
/// agents that wait for it one after the other would take longer than this, and
/// a machine that is busy with other tests does not.
const BOUND: Duration = Duration::from_secs(100);

/// Applies while somebody holds something, and once more when he does not. The
/// resources of that name need it.
async fn around(name: &str, hold: &str, needs: &[&str], cluster: &'static Cluster) {
    let world = World::new(cluster, name).await;
    world.run("ALTER TABLE sales.notes ENABLE ROW LEVEL SECURITY").await;
    let deployment = world.prepared(members(&world)).await;
    let holder = cluster.admin_of(name).await;
    let pid = holder.pid().await;
    holder.run(&world.named(hold)).await;
    let begun = Instant::now();
    let report = try_apply(&deployment).await;
    let took = begun.elapsed();
    let said = shown(&report);
    assert!(took < BOUND, "it took {took:?}: {said}");
    let who = format!("process {pid} of `postgres`");
    let mut failed = 0;
    for step in &report.steps {
        match &step.outcome {
            Outcome::Failed(error) => {
                assert!(needs.contains(&step.address.resource()), "{said}");
                assert!(error.message().contains(&who), "{who} is not named: {said}");
                let repair = error.repair().unwrap_or_default();
                assert!(repair.contains(&format!("pg_terminate_backend({pid})")), "{repair}");
                failed += 1;
            }
            Outcome::Done => assert!(!needs.contains(&step.address.resource()), "{said}"),
            other => panic!("{}: {other:?}\n{said}", step.address),
        }
    }
    assert_eq!(failed, 8 * needs.len(), "{said}");
    holder.run("ROLLBACK").await;
    apply(&deployment).await;
    clean(&deployment).await;
    let login = world.vaulted(&deployment, "vault:@/3").await;
    world.enter(&login).await.run("SELECT id FROM sales.notes").await;
}

async fn a_lock_that_is_never_given_back_stops_only_what_needs_it(cluster: &'static Cluster) {
    around("held", "BEGIN; GRANT SELECT ON sales.invoices TO @_heir", &["invoices"], cluster).await;
}

async fn a_table_that_is_locked_for_ever_stops_only_what_needs_it(cluster: &'static Cluster) {
    // From 18 on a grant on a table takes a lock of it, too.
    let needs = if cluster.version() >= 18 { &["rows", "notes"][..] } else { &["rows"] };
    around("shut_in", "BEGIN; LOCK TABLE sales.notes", needs, cluster).await;
}
