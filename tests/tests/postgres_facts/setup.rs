//! Set-up of a test cluster.

use agent_iac_tests::{on_each_version, postgres::Cluster};

on_each_version![
    initdb_that_is_told_nothing_lets_in_any_password,
    with_scram_a_random_password_is_refused,
];

async fn initdb_that_is_told_nothing_lets_in_any_password(shared: &Cluster) {
    let cluster = Cluster::trusting(shared.version());
    let session = cluster.connect("postgres", "random", "postgres").await.unwrap();
    assert_eq!(session.value("SELECT current_user").await, "postgres");
    let ways = session.rows("SELECT DISTINCT auth_method FROM pg_hba_file_rules").await;
    assert_eq!(ways, ["trust"]);
}

async fn with_scram_a_random_password_is_refused(cluster: &Cluster) {
    let refusal = cluster.refusal("postgres", "random", "postgres").await;
    assert_eq!(refusal.code, "28P01");
    assert_eq!(refusal.text, "password authentication failed for user \"postgres\"");
    // Whether there is such a role cannot be told from the refusal.
    assert_eq!(cluster.refusal("nobody_of_that_name", "random", "postgres").await.code, "28P01");
}
