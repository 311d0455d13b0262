//! What PostgreSQL really does, on each version: the facts on which the provider
//! stands, said in SQL and without the provider.
//!
//! A fact that changed at some version is one test that says both sides. One that
//! fails after an update of a server is news for the provider, not for this file.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "all of this file is a test")]

use std::time::Duration;

use agent_iac_tests::postgres::{Cluster, Session};

mod administering;
mod claims;
mod generations;
mod grants;
mod leaving;
mod passwords;
mod public;
mod setup;
mod speed;

/// Every login's, unless the test is about passwords.
const PASSWORD: &str = "as-everybody-here";

/// Makes a login with further options, and logs it in.
async fn login(cluster: &Cluster, database: &str, name: &str, options: &str) -> Session {
    let admin = cluster.admin().await;
    admin.run(&format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' {options}")).await;
    enter(cluster, database, name).await
}

async fn enter(cluster: &Cluster, database: &str, name: &str) -> Session {
    cluster.connect(name, PASSWORD, database).await.unwrap()
}

/// Gives a cluster of one's own other rules of who is let in.
async fn admit(cluster: &Cluster, rules: &str) {
    std::fs::write(cluster.data().join("pg_hba.conf"), rules).unwrap();
    let before = cluster.log().matches("reloading configuration").count();
    cluster.sql("postgres", "SELECT pg_reload_conf()").await;
    for _ in 0..1_000 {
        if cluster.log().matches("reloading configuration").count() > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the rules are not taken after 10 s");
}

/// Waits until a query of the superuser gives `t`.
async fn until(admin: &Session, query: &str) {
    for _ in 0..1_000 {
        if admin.value(query).await == "t" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("`{query}` is still not so after 10 s");
}

/// Waits until the session of this process waits for a lock.
async fn until_it_waits(admin: &Session, pid: &str) {
    let query = format!(
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Lock'"
    );
    until(admin, &query).await;
}

/// Waits until there is no session of this process.
async fn until_it_is_gone(admin: &Session, pid: &str) {
    let query = format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {pid}");
    until(admin, &query).await;
}
