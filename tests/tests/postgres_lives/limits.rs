//! What a server's administrator limits, and what becomes of a server: nothing
//! is half done, and the next run finishes.

use super::*;

on_each_version![
    what_is_limited_for_statements_of_others_does_not_stop_a_run,
    a_transaction_that_is_not_given_its_time_is_named,
    a_server_without_connections_is_named_and_taken_again,
    a_server_that_was_restarted_between_plan_and_apply_is_the_same,
    a_server_that_stops_in_the_middle_leaves_nothing_half_done,
    what_it_owns_in_a_database_that_nobody_may_enter_is_named,
    what_it_owns_in_a_database_that_is_not_configured_is_named,
];

/// What there is of the agent on the server.
const ITS_ROLES: &str = "SELECT rolname FROM pg_roles WHERE rolname ~ '^@_reader' ORDER BY 1";

/// The agent is there once, with one login, which works.
async fn is_whole(world: &World, deployment: &Deployment) {
    clean(deployment).await;
    let login = world.vaulted(deployment, READER).await;
    assert_eq!(world.rows(ITS_ROLES).await, [world.named("@_reader"), login.user.clone()]);
    world.enter(&login).await.run("SELECT note FROM sales.notes").await;
}

async fn what_is_limited_for_statements_of_others_does_not_stop_a_run(cluster: &'static Cluster) {
    let world = World::new(cluster, "limited").await;
    let deployment = world.prepared(reader(&world)).await;
    for who in ["ROLE @_observe", "ROLE @_apply", "DATABASE @"] {
        for limit in [
            "statement_timeout = '200ms'",
            "lock_timeout = '1ms'",
            "idle_in_transaction_session_timeout = '1ms'",
            "default_transaction_read_only = on",
            "default_transaction_isolation = 'serializable'",
        ] {
            world.run(&format!("ALTER {who} SET {limit}")).await;
        }
    }
    apply(&deployment).await;
    is_whole(&world, &deployment).await;
}

async fn a_transaction_that_is_not_given_its_time_is_named(cluster: &'static Cluster) {
    let world = World::new(cluster, "hurried").await;
    let deployment = world.prepared(reader(&world)).await;
    if cluster.version() < 17 {
        // There is no such limit, and nothing that would be one.
        let refused = "ALTER ROLE @_apply SET transaction_timeout = 1";
        assert_eq!(world.admin.refused(&world.named(refused)).await.code, "42704");
        return;
    }
    world.run("ALTER ROLE @_apply SET transaction_timeout = '1ms'").await;
    let report = try_apply(&deployment).await;
    let said = shown(&report);
    assert!(!report.is_complete() && said.contains("transaction_timeout"), "{said}");
    assert_eq!(world.rows(ITS_ROLES).await, [""; 0]);
    world.run("ALTER ROLE @_apply RESET transaction_timeout").await;
    let settled = deployment.recover(&operator()).await.unwrap();
    assert_eq!(settled.summary.in_doubt, 0, "{}", shown(&settled));
    apply(&deployment).await;
    is_whole(&world, &deployment).await;
}

async fn a_server_without_connections_is_named_and_taken_again(shared: &'static Cluster) {
    let cluster = own(shared.version(), &[("max_connections", "20")]);
    let world = World::new(cluster, "crowded").await;
    let deployment = world.prepared(reader(&world)).await;
    let plan = planned(&deployment).await;
    // Handles that were held keep their connections for a while.
    drop(deployment);
    world
        .run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '@_observe'")
        .await;
    world.run("SET log_statement = 'none'; CREATE ROLE @_crowd LOGIN PASSWORD 'p'").await;
    let mut crowd = Vec::new();
    while let Ok(session) = cluster.connect("crowded_crowd", "p", "crowded").await {
        crowd.push(session);
    }
    let deployment = world.deployment(reader(&world));
    let said = unread(&planned(&deployment).await);
    assert!(said.contains("no connection left") && said.contains("crowded_observe"), "{said}");
    let saved = SavedPlan::new(plan).unwrap();
    let context = operator().acknowledging(saved.digest());
    let error = deployment.apply(&saved, &context).await.unwrap_err();
    assert!(error.chain().contains("no connection left"), "{}", error.chain());
    drop(crowd);
    while world.value("SELECT count(*) FROM pg_stat_activity WHERE usename = '@_crowd'").await
        != "0"
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let report = deployment.apply(&saved, &context).await.unwrap();
    assert!(report.is_complete(), "{}", shown(&report));
    is_whole(&world, &deployment).await;
}

async fn a_server_that_was_restarted_between_plan_and_apply_is_the_same(shared: &'static Cluster) {
    let cluster = own(shared.version(), &[]);
    let mut world = World::new(cluster, "restarted").await;
    let deployment = world.prepared(reader(&world)).await;
    let saved = SavedPlan::new(planned(&deployment).await).unwrap();
    let context = operator().acknowledging(saved.digest());
    cluster.stop();
    let error = deployment.apply(&saved, &context).await.unwrap_err();
    let said = format!("{} ({})", error.chain(), error.repair().unwrap_or_default());
    assert!(said.contains(&format!("127.0.0.1:{}", cluster.port())), "{said}");
    assert!(said.contains("look whether the server runs"), "{said}");
    cluster.resume();
    let report = deployment.apply(&saved, &context).await.unwrap();
    assert!(report.is_complete(), "{}", shown(&report));
    world.admin = cluster.admin_of("restarted").await;
    is_whole(&world, &deployment).await;
}

async fn a_server_that_stops_in_the_middle_leaves_nothing_half_done(shared: &'static Cluster) {
    let cluster = own(shared.version(), &[]);
    // At its first write, when there is no registry yet, and at a later one.
    stops(cluster, "stopped", "LOCK TABLE pg_authid IN SHARE MODE").await;
    stops(cluster, "halted", "GRANT SELECT ON sales.notes TO @_heir").await;
}

async fn stops(cluster: &'static Cluster, name: &str, hold: &str) {
    let mut world = World::new(cluster, name).await;
    let deployment = world.prepared(reader(&world)).await;
    let holder = cluster.admin_of(name).await;
    holder.run(&world.named(&format!("BEGIN; {hold}"))).await;
    let waits = world.named(
        "SELECT count(*) FROM pg_stat_activity
        WHERE usename = '@_apply' AND wait_event_type = 'Lock'",
    );
    let admin = cluster.admin().await;
    let stopping = tokio::spawn(async move {
        while admin.value(&waits).await == "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::task::spawn_blocking(|| cluster.stop()).await.unwrap();
    });
    let report = try_apply(&deployment).await;
    stopping.await.unwrap();
    drop(holder);
    let said = shown(&report);
    assert!(!report.is_complete(), "{said}");
    assert!(said.contains("127.0.0.1"), "{said}");
    cluster.resume();
    world.admin = cluster.admin_of(name).await;
    let settled = deployment.recover(&operator()).await.unwrap();
    assert_eq!(settled.summary.in_doubt, 0, "{}", shown(&settled));
    apply(&deployment).await;
    is_whole(&world, &deployment).await;
}

/// An agent that has tables where nobody can look for them.
async fn absent(cluster: &'static Cluster, name: &str) -> World {
    let world = World::new(cluster, name).await;
    cluster.database(&format!("{name}_b")).await;
    world.applied(reader(&world)).await;
    let there = cluster.admin_of(&format!("{name}_b")).await;
    there.run(&format!("CREATE TABLE mine (n int); ALTER TABLE mine OWNER TO {name}_reader")).await;
    world
}

/// The agent is out, and not gone: what it has in the other database is named.
async fn waits(world: &World) {
    let gone = world.deployment(world.fleet());
    let report = try_apply(&gone).await;
    let said = format!("{}\n{:?}\n{}", shown(&report), report.left, unread(&planned(&gone).await));
    assert!(said.contains(&world.named("@_b")), "the database is named: {said}");
    assert_eq!(world.value("SELECT count(*) FROM pg_roles WHERE rolname = '@_reader'").await, "1");
    let login = "SELECT bool_or(rolcanlogin) FROM pg_roles WHERE rolname ~ '^@_reader'";
    assert_eq!(world.value(login).await, "f", "it is out: {said}");
}

async fn what_it_owns_in_a_database_that_nobody_may_enter_is_named(cluster: &'static Cluster) {
    let mut world = absent(cluster, "shut").await;
    world.others.push("shut_b".into());
    let root = cluster.admin().await;
    root.run("ALTER DATABASE shut_b ALLOW_CONNECTIONS false").await;
    let deployment = world.deployment(reader(&world));
    waits(&world).await;
    root.run("ALTER DATABASE shut_b ALLOW_CONNECTIONS true").await;
    world.require(&deployment).await;
    let there = cluster.admin_of("shut_b").await;
    there.run("GRANT CREATE ON SCHEMA public TO shut_heir").await;
    let report = apply(&deployment.with_fleet(world.fleet())).await;
    assert!(report.left[0].open.is_empty(), "{:?}", report.left);
    let owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 'mine'";
    assert_eq!(there.value(owner).await, "shut_heir");
}

async fn what_it_owns_in_a_database_that_is_not_configured_is_named(cluster: &'static Cluster) {
    let mut world = absent(cluster, "beyond").await;
    waits(&world).await;
    world.others.push("beyond_b".into());
    let deployment = world.deployment(reader(&world));
    world.require(&deployment).await;
    let there = cluster.admin_of("beyond_b").await;
    there.run("GRANT CREATE ON SCHEMA public TO beyond_heir").await;
    let report = apply(&deployment.with_fleet(world.fleet())).await;
    assert!(report.left[0].open.is_empty(), "{:?}", report.left);
    let owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 'mine'";
    assert_eq!(there.value(owner).await, "beyond_heir");
}
