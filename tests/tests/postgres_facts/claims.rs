//! Claims and crashes.

use agent_iac_tests::{on_each_version, postgres::Cluster};

use crate::{enter, login, until, until_it_waits};

on_each_version![
    after_the_client_was_killed_the_server_commits_what_recovery_did_not_see,
    recovery_that_takes_the_claims_lock_waits_and_sees_it,
    a_server_that_is_told_to_look_ends_what_a_killed_client_left,
    a_comment_on_a_role_is_read_by_any_login,
    a_comment_on_a_role_is_forged_by_any_createrole_until_15,
    a_clone_has_the_same_system_identifier_and_database,
    a_name_that_is_used_again_has_another_oid,
];

/// The lock of a claim, and one that the test holds so that the server is slow.
const CLAIM: u32 = 77;
const SLOW: u32 = 88;

/// Starts a client that creates `role` under the claim's lock, and kills it while
/// the server is at it.
async fn killed_while_creating(cluster: &Cluster, database: &str, role: &str) {
    let client = cluster.admin_of(database).await;
    let pid = client.pid().await;
    let sql = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({CLAIM}); CREATE ROLE {role};
         SELECT pg_advisory_xact_lock({SLOW}); COMMIT"
    );
    let client = tokio::spawn(async move { client.run(&sql).await });
    until_it_waits(&cluster.admin().await, &pid).await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
}

async fn after_the_client_was_killed_the_server_commits_what_recovery_did_not_see(
    cluster: &Cluster,
) {
    let database = cluster.database("commits").await;
    let slow = cluster.admin_of(&database).await;
    slow.run(&format!("SELECT pg_advisory_lock({SLOW})")).await;
    killed_while_creating(cluster, &database, "commits_role").await;

    let recovery = cluster.admin_of(&database).await;
    let there = "SELECT count(*) = 1 FROM pg_roles WHERE rolname = 'commits_role'";
    assert_eq!(recovery.value(there).await, "f");
    slow.run(&format!("SELECT pg_advisory_unlock({SLOW})")).await;
    until(&recovery, there).await;
}

async fn recovery_that_takes_the_claims_lock_waits_and_sees_it(cluster: &Cluster) {
    let database = cluster.database("waits").await;
    let slow = cluster.admin_of(&database).await;
    slow.run(&format!("SELECT pg_advisory_lock({SLOW})")).await;
    killed_while_creating(cluster, &database, "waits_role").await;

    let recovery = cluster.admin_of(&database).await;
    let pid = recovery.pid().await;
    let recovery = tokio::spawn(async move {
        recovery.run(&format!("BEGIN; SELECT pg_advisory_xact_lock({CLAIM})")).await;
        recovery.value("SELECT count(*) FROM pg_roles WHERE rolname = 'waits_role'").await
    });
    until_it_waits(&slow, &pid).await;
    slow.run(&format!("SELECT pg_advisory_unlock({SLOW})")).await;
    assert_eq!(recovery.await.unwrap(), "1");
}

async fn a_server_that_is_told_to_look_ends_what_a_killed_client_left(cluster: &Cluster) {
    let database = cluster.database("looks").await;
    let slow = cluster.admin_of(&database).await;
    slow.run(&format!("SELECT pg_advisory_lock({SLOW})")).await;
    // The session may set it for itself; without it the server looks only when it
    // has something to say.
    slow.run(&format!("ALTER DATABASE {database} SET client_connection_check_interval = '50ms'"))
        .await;
    killed_while_creating(cluster, &database, "looks_role").await;
    let recovery = cluster.admin_of(&database).await;
    recovery.run(&format!("SELECT pg_advisory_xact_lock({CLAIM})")).await;
    slow.run(&format!("SELECT pg_advisory_unlock({SLOW})")).await;
    let made = "SELECT count(*) FROM pg_roles WHERE rolname = 'looks_role'";
    assert_eq!(recovery.value(made).await, "0");
}

async fn a_comment_on_a_role_is_read_by_any_login(cluster: &Cluster) {
    let database = cluster.database("comment").await;
    let stranger = login(cluster, &database, "comment_stranger", "").await;
    let admin = cluster.admin().await;
    admin.run("CREATE ROLE comment_agent; COMMENT ON ROLE comment_agent IS 'fleet: billing'").await;
    let read = "SELECT shobj_description('comment_agent'::regrole, 'pg_authid')";
    assert_eq!(stranger.value(read).await, "fleet: billing");
}

async fn a_comment_on_a_role_is_forged_by_any_createrole_until_15(cluster: &Cluster) {
    let database = cluster.database("forged").await;
    let maker = login(cluster, &database, "forged_maker", "CREATEROLE").await;
    cluster.sql(&database, "CREATE ROLE forged_agent").await;
    let forge = "COMMENT ON ROLE forged_agent IS 'fleet: mine'";
    if cluster.version() < 16 {
        maker.run(forge).await;
    } else {
        assert_eq!(maker.refused(forge).await.code, "42501");
    }
    // One's own, anybody with CREATEROLE may write; a plain login not even that.
    maker.run("CREATE ROLE forged_made; COMMENT ON ROLE forged_made IS 'mine'").await;
    let plain = login(cluster, &database, "forged_plain", "").await;
    assert_eq!(plain.refused("COMMENT ON ROLE forged_plain IS 'mine'").await.code, "42501");
}

async fn a_clone_has_the_same_system_identifier_and_database(shared: &Cluster) {
    let production = Cluster::fresh(shared.version());
    production.database("app").await;
    production.sql("app", "CREATE ROLE agent LOGIN PASSWORD 'p'").await;
    production.sql("app", "CHECKPOINT").await;
    let staging = production.copy();

    let identity = "SELECT system_identifier, oid FROM pg_control_system(), pg_database
        WHERE datname = current_database()";
    assert_eq!(production.sql("app", identity).await, staging.sql("app", identity).await);
    // The password of production opens staging; only the endpoint differs.
    staging.connect("agent", "p", "app").await.unwrap();
    let port = "SELECT inet_server_port()";
    assert_ne!(production.sql("app", port).await, staging.sql("app", port).await);
    // Made alone, it has another.
    let other = Cluster::fresh(shared.version());
    let identifier = "SELECT system_identifier FROM pg_control_system()";
    assert_ne!(
        other.sql("postgres", identifier).await,
        production.sql("postgres", identifier).await
    );
}

async fn a_name_that_is_used_again_has_another_oid(cluster: &Cluster) {
    let database = cluster.database("again").await;
    let agent = login(cluster, &database, "again_agent", "").await;
    let oid = "SELECT 'again_agent'::regrole::oid";
    let first = agent.value(oid).await;
    drop(agent);
    cluster.sql(&database, "DROP ROLE again_agent").await;
    login(cluster, &database, "again_agent", "").await;
    assert_ne!(enter(cluster, &database, "again_agent").await.value(oid).await, first);
}
