//! Servers that take no writes.

use std::fs;

use agent_iac::ErrorKind;

use super::*;

on_each_version![
    a_standby_is_refused_before_anything_is_written,
    a_server_that_became_a_standby_is_refused_and_taken_again_later,
];

/// What an error says, with its repair.
fn said(error: &agent_iac::Error) -> String {
    format!("{} ({})", error.chain(), error.repair().unwrap_or_default())
}

/// Refuses to plan, and says what is wrong.
async fn is_refused(deployment: &Deployment) {
    let plan = planned(deployment).await;
    assert!(plan.steps.is_empty(), "nothing is planned on what may be old");
    let said = unread(&plan);
    assert!(said.contains("is a replica, or in recovery"), "{said}");
    assert!(said.contains("name the primary"), "{said}");
}

/// How many entries the ledger has.
async fn entries(deployment: &Deployment) -> usize {
    deployment.ledger().batches(1, usize::MAX).await.unwrap().len()
}

async fn a_standby_is_refused_before_anything_is_written(shared: &'static Cluster) {
    let cluster = own(shared.version(), &[]);
    let world = World::new(cluster, "standby").await;
    let deployment = world.prepared(reader(&world)).await;
    let saved = SavedPlan::new(planned(&deployment).await).unwrap();
    world.run("CHECKPOINT").await;
    let standby = cluster.standby();
    let far = standby.admin_of("standby").await;
    assert_eq!(far.value("SELECT pg_is_in_recovery()").await, "t");

    let there = world.deployment_on(reader(&world), world.provider_of(&standby));
    is_refused(&there).await;
    let context = operator().acknowledging(saved.digest());
    let before = entries(&there).await;
    let error = there.apply(&saved, &context).await.unwrap_err();
    assert!(said(&error).contains("is a replica, or in recovery"), "{}", said(&error));
    assert_eq!(entries(&there).await, before, "no step was begun");

    // What is applied at the primary reaches it, and the login with it.
    let report = deployment.apply(&saved, &context).await.unwrap();
    assert!(report.is_complete(), "{}", shown(&report));
    let lsn = world.value("SELECT pg_current_wal_lsn()").await;
    let arrived = format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'");
    while far.value(&arrived).await != "t" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let login = world.vaulted(&deployment, READER).await;
    let agent = standby.connect(&login.user, &login.password, "standby").await.unwrap();
    agent.run("SELECT note FROM sales.notes").await;
    is_refused(&there).await;

    // Once it is promoted it is another server, and as good as the first.
    assert_eq!(far.value("SELECT pg_promote()").await, "t");
    cluster.stop();
    let plan = planned(&there).await;
    assert!(plan.steps.is_empty(), "it has everything: {plan:#?}");
    apply(&there.with_fleet(world.fleet())).await;
    assert_eq!(far.rows("SELECT 1 FROM pg_roles WHERE rolname ~ '^standby_reader'").await, [""; 0]);
}

async fn a_server_that_became_a_standby_is_refused_and_taken_again_later(shared: &'static Cluster) {
    let cluster = own(shared.version(), &[]);
    let world = World::new(cluster, "demoted").await;
    let deployment = world.prepared(reader(&world)).await;
    let saved = SavedPlan::new(planned(&deployment).await).unwrap();
    let signal = cluster.data().join("standby.signal");
    cluster.stop();
    fs::write(&signal, "").unwrap();
    cluster.resume();
    is_refused(&deployment).await;
    let before = entries(&deployment).await;
    let context = operator().acknowledging(saved.digest());
    let error = deployment.apply(&saved, &context).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{}", said(&error));
    assert_eq!(entries(&deployment).await, before, "no step was begun");

    cluster.stop();
    fs::remove_file(&signal).unwrap();
    cluster.resume();
    let report = deployment.apply(&saved, &context).await.unwrap();
    assert!(report.is_complete(), "{}", shown(&report));
    clean(&deployment).await;
}
