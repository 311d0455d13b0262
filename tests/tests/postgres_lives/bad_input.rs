//! What is wrong with a server, a principal or a declaration: a clear error,
//! nothing half done, and nothing of others touched.

#![allow(clippy::disallowed_methods, reason = "how long a real server takes is real time")]

use std::time::Instant;

use agent_iac::ErrorKind;

use super::*;

on_each_version![
    a_principal_with_a_wrong_password_is_named,
    a_right_that_applying_lacks_is_named_with_its_repair,
    what_is_not_there_is_named,
    a_database_that_is_not_configured_is_unread_and_named,
    a_plan_for_a_server_is_refused_on_a_copy_of_it,
    a_lock_that_somebody_holds_is_waited_for,
    a_connection_that_is_cut_leaves_nothing_in_doubt_for_ever,
];

async fn a_principal_with_a_wrong_password_is_named(cluster: &'static Cluster) {
    let world = World::new(cluster, "wrong").await;
    let deployment = world.prepared(reader(&world)).await;
    world.run("SET log_statement = 'none'").await;
    world.run("ALTER ROLE @_observe PASSWORD 'another'").await;
    let plan = planned(&deployment).await;
    assert!(plan.steps.is_empty(), "nothing is planned on what was not seen: {plan:#?}");
    let said = unread(&plan);
    assert!(said.contains("wrong_observe") && said.contains("the password was refused"), "{said}");
    let password = password_of("wrong", "observe");
    world.run(&format!("ALTER ROLE @_observe PASSWORD '{password}'")).await;
    let plan = planned(&deployment).await;

    world.run("ALTER ROLE @_apply PASSWORD 'another'").await;
    let report = apply_plan(&deployment, plan).await;
    let said = shown(&report);
    assert!(!report.is_complete() && said.contains("wrong_apply"), "{said}");
    assert_eq!(world.rows("SELECT 1 FROM pg_roles WHERE rolname ~ '^@_reader'").await, [""; 0]);
    let password = password_of("wrong", "apply");
    world.run(&format!("ALTER ROLE @_apply PASSWORD '{password}'")).await;
    apply(&deployment).await;
    clean(&deployment).await;
}

async fn a_right_that_applying_lacks_is_named_with_its_repair(cluster: &'static Cluster) {
    let world = World::new(cluster, "rights").await;
    let deployment = world.prepared(reader(&world)).await;
    for (take, give, says) in [
        ("ALTER ROLE @_admins NOCREATEROLE", "ALTER ROLE @_admins CREATEROLE", "rights_admins"),
        ("REVOKE @_admins FROM @_apply", "GRANT @_admins TO @_apply", "rights_admins"),
        ("REVOKE @_owner FROM @_admins", "GRANT @_owner TO @_admins", "rights_owner"),
        (
            "REVOKE CREATE ON DATABASE @ FROM @_admins",
            "GRANT CREATE ON DATABASE @ TO @_admins",
            "GRANT CREATE ON the database",
        ),
    ] {
        world.run(take).await;
        let report = try_apply(&deployment).await;
        let said = shown(&report);
        assert!(!report.is_complete(), "{take}: {said}");
        assert!(said.contains(says), "{take}: {says} is not in {said}");
        world.run(give).await;
        apply(&deployment).await;
        clean(&deployment).await;
        let gone = deployment_without(&world);
        apply(&gone).await;
        world.run("DROP SCHEMA agent_iac CASCADE").await;
    }
}

fn deployment_without(world: &World) -> Deployment {
    world.deployment(world.fleet())
}

/// Wants what a server does not have.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "wanting")]
struct Wanting {
    #[input(key)]
    world: String,
    #[input]
    schema_name: String,
    #[input]
    table: String,

    #[identity(name = format!("{world}_wanting"))]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new("sales"), allow = [pg::Usage])]
    schema: pg::Grant,

    #[permission(to = account, on = pg::Table::new(schema_name, table), allow = [pg::Select])]
    wanted: pg::Grant,
}

async fn what_is_not_there_is_named(cluster: &'static Cluster) {
    let world = World::new(cluster, "absent").await;
    world.require(&world.deployment(reader(&world))).await;
    for (schema, table) in [("sales", "nowhere"), ("nowhere", "notes"), ("sales", "notes\"; --")] {
        let mut fleet = world.fleet();
        let (schema_name, name) = (schema.to_owned(), table.to_owned());
        fleet.add(WantingInputs { world: world.name.clone(), schema_name, table: name });
        let deployment = world.deployment(fleet);
        let plan = planned(&deployment).await;
        let said = if plan.steps.iter().any(|step| step.address.resource() == "wanted") {
            let report = apply_plan(&deployment, plan).await;
            assert!(!report.is_complete());
            shown(&report)
        } else {
            unread(&plan)
        };
        let named = if table.contains('"') { "notes" } else { "nowhere" };
        assert!(said.contains(named), "{schema}.{table}: {said}");
        apply(&world.deployment(world.fleet())).await;
    }
}

/// Wants something of a database of which the provider knows nothing.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "abroad")]
struct Abroad {
    #[input(key)]
    world: String,

    #[identity(name = format!("{world}_abroad"))]
    account: pg::Role,

    #[permission(
        to = account,
        on = pg::Schema::new("elsewhere").in_database(format!("{world}_b")),
        allow = [pg::Usage],
    )]
    elsewhere: pg::Grant,
}

async fn a_database_that_is_not_configured_is_unread_and_named(cluster: &'static Cluster) {
    let world = World::new(cluster, "abroad").await;
    world.require(&world.deployment(reader(&world))).await;
    let mut fleet = world.fleet();
    fleet.add(AbroadInputs { world: world.name.clone() });
    let deployment = world.deployment(fleet);
    // As long as there is no role, nothing asks what it has there.
    let report = try_apply(&deployment).await;
    let said = shown(&report);
    assert!(!report.is_complete() && said.contains("abroad_b"), "{said}");
    assert!(said.contains(".database("), "the repair is named: {said}");
    let plan = planned(&deployment).await;
    assert!(plan.steps.is_empty(), "{plan:#?}");
    let said = unread(&plan);
    assert!(said.contains("abroad_b") && said.contains(".database("), "{said}");
}

async fn a_plan_for_a_server_is_refused_on_a_copy_of_it(cluster: &'static Cluster) {
    let world = World::new(cluster, "copied").await;
    let deployment = world.prepared(reader(&world)).await;
    let saved = SavedPlan::new(planned(&deployment).await).unwrap();
    world.run("CHECKPOINT").await;
    // Another cluster of the version has the same files but for what was made
    // since: the same system identifier, at another place.
    let copy = Cluster::start(cluster.version());
    for sql in ["CREATE ROLE copied_observe LOGIN".to_owned(), "CREATE DATABASE copied".to_owned()]
    {
        copy.sql("postgres", &sql).await;
    }
    let session = copy.admin().await;
    session.run("SET log_statement = 'none'").await;
    let password = password_of("copied", "observe");
    session.run(&format!("ALTER ROLE copied_observe PASSWORD '{password}'")).await;
    let system = "SELECT system_identifier FROM pg_control_system()";
    assert_eq!(session.value(system).await, world.value(system).await);
    let there = world.deployment_on(reader(&world), world.provider_of(&copy));
    let context = operator().acknowledging(saved.digest());
    let error = there.apply(&saved, &context).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StalePlan, "{error}");
    assert!(error.message().contains(&copy.port().to_string()), "{error}");
    assert_eq!(
        copy.sql("postgres", "SELECT 1 FROM pg_roles WHERE rolname ~ '_reader'").await,
        [""; 0]
    );
}

/// Waits until applying waits for a lock, does something about it, and lets
/// the lock go.
async fn once_it_waits(
    world: &World,
    holder: Session,
    then: &'static str,
) -> tokio::task::JoinHandle<()> {
    let admin = world.cluster.admin().await;
    let waits = world.named(
        "SELECT count(*) FROM pg_stat_activity
        WHERE usename = '@_apply' AND wait_event_type = 'Lock'",
    );
    let then = world.named(then);
    tokio::spawn(async move {
        for _ in 0..600 {
            if admin.value(&waits).await != "0" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if !then.is_empty() {
            admin.rows(&then).await;
        }
        holder.run("ROLLBACK").await;
    })
}

async fn a_lock_that_somebody_holds_is_waited_for(cluster: &'static Cluster) {
    let world = World::new(cluster, "locked").await;
    let deployment = world.prepared(reader(&world)).await;
    let holder = cluster.admin_of("locked").await;
    holder.run("BEGIN; GRANT SELECT ON sales.notes TO locked_heir").await;
    let letting_go = once_it_waits(&world, holder, "").await;
    apply(&deployment).await;
    letting_go.await.unwrap();
    clean(&deployment).await;
}

async fn a_connection_that_is_cut_leaves_nothing_in_doubt_for_ever(cluster: &'static Cluster) {
    let world = World::new(cluster, "cut").await;
    let deployment = world.prepared(reader(&world)).await;
    // Whoever writes waits for this lock, and is cut while he waits.
    let holder = cluster.admin_of("cut").await;
    holder.run("BEGIN; GRANT SELECT ON sales.notes TO cut_heir").await;
    let cut = once_it_waits(
        &world,
        holder,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = '@_apply' AND wait_event_type = 'Lock'",
    )
    .await;
    let report = try_apply(&deployment).await;
    cut.await.unwrap();
    // It was tried again, or says what happened; either way the next run ends
    // with one of each.
    if !report.is_complete() {
        let settled = deployment.recover(&operator()).await.unwrap();
        assert_eq!(settled.summary.in_doubt, 0, "{}", shown(&settled));
        if !planned(&deployment).await.is_empty() {
            apply(&deployment).await;
        }
    }
    clean(&deployment).await;
    let roles = "SELECT rolname FROM pg_roles WHERE rolname ~ '^@_reader' ORDER BY 1";
    assert_eq!(world.rows(roles).await, ["cut_reader", "cut_reader__g1"]);
    let login = world.vaulted(&deployment, READER).await;
    world.enter(&login).await.run("SELECT note FROM sales.notes").await;
}

/// One version is enough for what only the size of a cluster shows, and for
/// servers of a test's own.
#[test]
fn a_hundred_thousand_foreign_roles_are_no_slower_and_stay_as_they_are() {
    Cluster::with_shared(17, async |_| {
        // A cluster of its own: every other test's would be slowed by them.
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(17)));
        let world = World::new(cluster, "crowd").await;
        // The server keeps a lock for each until the end of the transaction.
        world.run("SET log_statement = 'none'").await;
        for from in (1..=100_000).step_by(5_000) {
            let to = from + 4_999;
            let create = format!(
                "DO $$ BEGIN FOR n IN {from}..{to} LOOP EXECUTE 'CREATE ROLE foreign_' || n;
                 END LOOP; END $$"
            );
            world.run(&create).await;
        }
        let picture = "SELECT md5(string_agg(a::text, ',' ORDER BY oid)) FROM pg_authid a
            WHERE rolname ~ '^foreign_'";
        let before = world.value(picture).await;
        let deployment = world.applied(reader(&world)).await;
        let begun = Instant::now();
        clean(&deployment).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "a plan without changes took {took:?}");
        apply(&deployment.with_fleet(world.fleet())).await;
        assert_eq!(world.value(picture).await, before);
    });
}
