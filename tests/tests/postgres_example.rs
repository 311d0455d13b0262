//! The example on PostgreSQL tells what it says that it tells.
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::process::Command;

use agent_iac_tests::{on_each_version, postgres::Cluster};

on_each_version![the_story_ends_with_nothing_left_and_no_password_told];

async fn the_story_ends_with_nothing_left_and_no_password_told(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    let database = cluster.database("story").await;
    let url = format!("postgresql://postgres@127.0.0.1:{}/{database}", cluster.port());
    let told = Command::new(env!("CARGO_BIN_EXE_postgres-story"))
        .arg(&url)
        .env("PGPASSWORD", cluster.password())
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    let errors = String::from_utf8(told.stderr).unwrap();
    assert!(told.status.success(), "{text}\n{errors}");
    for line in [
        "it logs in as agent_iac_example_reader__g1",
        "SELECT id, amount, due FROM agent_iac_example.invoices: allowed",
        "SELECT customer FROM agent_iac_example.invoices: refused, permission denied for table invoices",
        "DELETE FROM agent_iac_example.invoices: allowed",
        "DELETE FROM agent_iac_example.invoices: refused, permission denied for table invoices",
        "SELECT id, amount, due FROM agent_iac_example.invoices: refused, password authentication failed for user \"agent_iac_example_reader__g1\"",
        "a plan now: 0 steps",
    ] {
        assert!(text.lines().any(|told| told == line), "{line:?} is not in\n{text}");
    }
    assert!(text.contains("nothing is left, proved"), "{text}");
    assert!(!text.contains(cluster.password()) && !errors.contains(cluster.password()));
    let admin = cluster.admin_of(&database).await;
    let left = admin
        .value("SELECT count(*)::text FROM pg_roles WHERE rolname LIKE 'agent\\_iac\\_example%'")
        .await;
    assert_eq!(left, "0");
}
