//! A pooler between everybody and the server.

use agent_iac_tests::postgres::Pooler;

use super::*;

on_each_version![
    a_life_goes_through_a_pooler_that_shares_sessions,
    the_end_of_a_login_behind_a_pooler_is_proved_at_the_server,
    a_pooler_that_shares_them_between_statements_is_refused_with_the_reason,
    a_login_that_only_the_pooler_refuses_is_named_with_the_pooler,
];

async fn a_life_goes_through_a_pooler_that_shares_sessions(cluster: &'static Cluster) {
    let world = World::new(cluster, "pooled").await;
    world.require(&world.deployment(reader(&world))).await;
    let pooler = Pooler::start(cluster, "transaction");
    let through = |fleet| world.deployment_on(fleet, world.provider_at(pooler.port()));
    let deployment = through(reader(&world));
    let plan = planned(&deployment).await;
    let said = format!("{:?}", plan.beside);
    assert!(said.contains("a pooler may let somebody in"), "the plan says that there is one");
    let report = apply_plan(&deployment, plan).await;
    assert!(report.is_complete(), "{}", shown(&report));
    clean(&deployment).await;
    let sessions = world
        .value(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM pg_stat_activity
            WHERE usename IN ('@_observe', '@_apply') GROUP BY usename) AS each",
        )
        .await;
    assert!(["1", "2"].contains(&&*sessions), "they are shared: {sessions}");

    // The agent comes the same way, and is what it was declared to be.
    let login = world.vaulted(&deployment, READER).await;
    let agent = pooler.connect(&login.user, &login.password, "pooled").await.unwrap();
    agent
        .run("SELECT id, amount FROM sales.invoices; INSERT INTO sales.notes VALUES (7, 'n')")
        .await;
    assert_eq!(agent.refused("SELECT customer FROM sales.invoices").await.code, "42501");
    assert_eq!(agent.value("SELECT current_user").await, "pooled_reader");

    world.run("SET ROLE @_owner; GRANT DELETE ON sales.notes TO @_reader; RESET ROLE").await;
    apply(&deployment).await;
    clean(&deployment).await;

    // It leaves. Whom this pooler does not know any more it refuses by itself, in
    // words of its own, which prove nothing about the server.
    let report = try_apply(&through(world.fleet())).await;
    for step in &report.steps {
        match &step.outcome {
            Outcome::Done => {}
            Outcome::Unproved(why) => {
                assert!(why.contains("a pooler in between refused"), "{why}");
                assert!(why.contains("`--postgres-probe-at`"), "it says what helps: {why}");
            }
            other => panic!("{}: {other:?}", step.address),
        }
    }
    assert_eq!(
        world.rows("SELECT rolname FROM pg_roles WHERE rolname ~ '^@_reader'").await,
        [""; 0]
    );
    assert!(planned(&through(world.fleet())).await.steps.is_empty());
    // The session of the agent that it held is gone with it.
    assert!(agent.simple_query("SELECT 1").await.is_err());
}

async fn the_end_of_a_login_behind_a_pooler_is_proved_at_the_server(cluster: &'static Cluster) {
    let world = World::new(cluster, "proved").await;
    world.require(&world.deployment(reader(&world))).await;
    let pooler = Pooler::start(cluster, "transaction");
    let direct = format!("postgresql://127.0.0.1:{}/proved", cluster.port());
    let through = |fleet| {
        let provider = world.provider_at(pooler.port()).probe_at(direct.parse().unwrap());
        world.deployment_on(fleet, provider)
    };
    let deployment = through(reader(&world));
    apply(&deployment).await;
    let login = world.vaulted(&deployment, READER).await;
    let agent = pooler.connect(&login.user, &login.password, "proved").await.unwrap();
    agent.run("SELECT id FROM sales.invoices").await;
    let report = try_apply(&through(world.fleet())).await;
    for step in &report.steps {
        assert!(matches!(step.outcome, Outcome::Done), "{}: {:?}", step.address, step.outcome);
    }
    assert!(agent.simple_query("SELECT 1").await.is_err());
}

async fn a_pooler_that_shares_them_between_statements_is_refused_with_the_reason(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "statements").await;
    let deployment = world.prepared(reader(&world)).await;
    let plan = planned(&deployment).await;
    let pooler = Pooler::start(cluster, "statement");
    let through = world.deployment_on(reader(&world), world.provider_at(pooler.port()));
    let refused = planned(&through).await;
    assert!(refused.steps.is_empty(), "nothing is planned on what was not seen");
    let said = unread(&refused);
    assert!(said.contains("a pooler in between allows no transactions"), "{said}");
    assert!(said.contains("`pool_mode`"), "{said}");
    let saved = SavedPlan::new(plan).unwrap();
    let context = operator().acknowledging(saved.digest());
    let error = through.apply(&saved, &context).await.unwrap_err();
    assert!(error.message().contains("a pooler in between"), "{error}");
    assert_eq!(world.rows("SELECT 1 FROM pg_roles WHERE rolname ~ '^@_reader'").await, [""; 0]);
}

async fn a_login_that_only_the_pooler_refuses_is_named_with_the_pooler(cluster: &'static Cluster) {
    let world = World::new(cluster, "unknown").await;
    world.require(&world.deployment(reader(&world))).await;
    // It knows the administrator of the server, and nobody else.
    let nobody = "auth_query = SELECT NULL::text, NULL::text WHERE $1 = ''";
    let pooler = Pooler::start_with(cluster, "transaction", nobody);
    let through = world.deployment_on(reader(&world), world.provider_at(pooler.port()));
    let plan = planned(&through).await;
    assert!(plan.steps.is_empty(), "nothing is planned on what was not seen");
    let said = unread(&plan);
    assert!(said.contains("a pooler in between refused the login"), "{said}");
    assert!(said.contains("unknown_observe") && said.contains("`auth_query`"), "{said}");
}
