//! How roles leave when somebody stands in the way.

use agent_iac::{ErrorKind, provider::Listing};
use agent_iac_tests::on_each_version;

use super::{roles::with_heir, *};

on_each_version![
    a_login_that_holds_its_own_row_is_switched_off_all_the_same,
    what_somebody_else_made_is_not_dropped_with_a_role,
    a_renamed_role_keeps_no_login_that_works,
    a_role_is_not_done_with_logging_in_before_its_sessions_ended,
    what_a_leaver_passed_on_is_told_before_it_is_lost,
    what_only_another_can_take_back_is_told_before_anything_is_switched_off,
    what_a_leaver_passed_on_elsewhere_is_told_before_anything_is_switched_off,
    nothing_that_is_registered_names_a_role_that_left,
    a_role_that_a_leaver_made_does_not_outlive_it_unsaid,
];

async fn a_login_that_holds_its_own_row_is_switched_off_all_the_same(cluster: &'static Cluster) {
    let world = World::new(cluster, "holding", &[]).await;
    let role = world.role("@_x").await;
    world.login("@_x", 1).await;
    let (session, pid) = world.session("@_x__g1").await;
    session.run("SET ROLE NONE; BEGIN; ALTER ROLE holding_x__g1 PASSWORD 'mine'").await;
    let suspended = world.done::<pg::Role>(world.suspend(&role)).await;
    assert!(suspended.suspended);
    assert!(!world.is_at_work(&pid).await);
    assert_eq!(world.refusal("@_x__g1").await, "28000");
}

async fn what_somebody_else_made_is_not_dropped_with_a_role(cluster: &'static Cluster) {
    let world = World::new(cluster, "handmade", &[]).await;
    let role = world.role("@_x").await;
    world.login_by_hand("@_x", 1).await;
    world.login("@_x", 2).await;
    world.gone::<pg::Role>(world.delete(&role)).await;
    let left = "SELECT rolname, rolcanlogin, (SELECT count(*) FROM pg_auth_members m
            WHERE m.member = r.oid) FROM pg_roles r WHERE rolname LIKE '@_x%'";
    assert_eq!(world.rows(left).await, ["handmade_x__g1|t|0"]);
}

async fn a_renamed_role_keeps_no_login_that_works(cluster: &'static Cluster) {
    let world = World::new(cluster, "renamed", &[]).await;
    let role = world.role("@_x").await;
    world.login("@_x", 1).await;
    let (_session, pid) = world.session("@_x__g1").await;
    world.run("ALTER ROLE @_x RENAME TO @_z").await;
    let role = world.read::<pg::Role>(&role.id).await.object().unwrap().clone();
    let suspended = world.done::<pg::Role>(world.suspend(&role)).await;
    assert!(!world.is_at_work(&pid).await);
    assert_eq!(world.refusal("@_x__g1").await, "28000");
    world.run("ALTER ROLE @_x__g1 LOGIN").await;
    let read = world.read::<pg::Role>(&suspended.id).await;
    assert!(!read.object().unwrap().suspended, "one of its logins works again");
    world.gone::<pg::Role>(world.delete(read.object().unwrap())).await;
    assert_eq!(world.value("SELECT count(*) FROM pg_roles WHERE rolname LIKE '@_x%'").await, "0");
}

async fn a_role_is_not_done_with_logging_in_before_its_sessions_ended(cluster: &'static Cluster) {
    let world = World::new(cluster, "retiring", &[]).await;
    let mut role = pg::Role::builder();
    role.name("retiring_x").login(true);
    let object = world.done::<pg::Role>(world.create::<pg::Role>(&role)).await;
    world
        .run(&format!("ALTER ROLE @_x PASSWORD '{PASSWORD}'; GRANT CONNECT ON DATABASE @ TO @_x"))
        .await;
    let (_session, pid) = world.session("@_x").await;
    world.run("REVOKE pg_signal_backend FROM @_admins").await;
    let mut without = pg::Role::builder();
    without.name("retiring_x");
    let error = world.refused::<pg::Role>(world.update::<pg::Role>(&object, &without)).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(world.refusal("@_x").await, "28P01", "it has no password");
    // Whoever plans again sees that something is left to do.
    let read = world.read::<pg::Role>(&object.id).await;
    assert_eq!(read.object().unwrap().value("login"), Some(&Value::Bool(true)));
    world.run("GRANT pg_signal_backend TO @_admins").await;
    let update = world.update::<pg::Role>(read.object().unwrap(), &without);
    let object = world.done::<pg::Role>(update).await;
    assert_eq!(object.value("login"), Some(&Value::Bool(false)));
    assert!(!world.is_at_work(&pid).await);
}

async fn what_a_leaver_passed_on_is_told_before_it_is_lost(cluster: &'static Cluster) {
    let world = World::new(cluster, "passing", &[]).await;
    let role = with_heir(&world, "@_x");
    let role = world.done::<pg::Role>(world.create::<pg::Role>(&role)).await;
    world
        .run(
            "CREATE ROLE @_bob; GRANT SELECT ON app.t1 TO @_x WITH GRANT OPTION;
            GRANT USAGE, CREATE ON SCHEMA app TO @_x; SET ROLE @_x; GRANT SELECT ON app.t1 TO @_bob;
            CREATE TABLE app.hers (n int); GRANT SELECT ON app.hers TO @_bob; RESET ROLE",
        )
        .await;
    let error = world.refused::<pg::Role>(world.delete(&role)).await;
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert!(error.message().contains("table app.t1 to `passing_bob`"), "{error}");
    assert!(!error.message().contains("app.hers"), "{error}");
    world.run("SET ROLE @_x; REVOKE SELECT ON app.t1 FROM @_bob; RESET ROLE").await;
    world.gone::<pg::Role>(world.delete(&role)).await;
    let list = "SELECT has_table_privilege('@_bob', 'app.hers', 'SELECT')";
    assert_eq!(world.value(list).await, "t");
}

async fn what_only_another_can_take_back_is_told_before_anything_is_switched_off(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "given", &["given_far"]).await;
    let role = world.role("@_x").await;
    world.login("@_x", 1).await;
    world
        .run(
            "CREATE ROLE @_bob; SET ROLE @_owner; GRANT USAGE ON SCHEMA app TO @_bob, @_x;
            GRANT SELECT, INSERT, UPDATE (a) ON app.t1 TO @_bob WITH GRANT OPTION; SET ROLE @_bob;
            GRANT SELECT, INSERT, UPDATE (a) ON app.t1 TO @_x WITH GRANT OPTION; RESET ROLE;
            SET ROLE @_x; GRANT SELECT ON app.t1 TO @_x__g1; RESET ROLE",
        )
        .await;
    let far = cluster.admin_of("given_far").await;
    far.run(
        "SET ROLE given_owner; GRANT USAGE ON SCHEMA far TO given_bob, given_x; GRANT SELECT ON far.t TO given_bob WITH GRANT OPTION;
        SET ROLE given_bob; GRANT SELECT ON far.t TO given_x; RESET ROLE",
    )
    .await;
    let error = world.refused::<pg::Role>(world.delete(&role)).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    let said = r#"in the database `given_far`: `given_bob` has to say REVOKE SELECT ON TABLE "far"."t" FROM "given_x""#;
    assert!(error.message().contains(said), "{error}");
    far.run("SET ROLE given_bob; REVOKE SELECT ON far.t FROM given_x; RESET ROLE").await;
    let error = world.refused::<pg::Role>(world.delete(&role)).await;
    for said in ["SELECT, INSERT ON TABLE", r#"UPDATE ("a") ON TABLE"#] {
        assert!(error.message().contains(said), "{error}");
    }
    let (_session, pid) = world.session("@_x__g1").await;
    assert!(world.is_at_work(&pid).await);
    // Whom the administrators can become takes back what he gave.
    world.run("GRANT @_bob TO @_admins").await;
    world.gone::<pg::Role>(world.delete(&role)).await;
    let list = "SELECT relacl::text LIKE '%given_x%' FROM pg_class WHERE oid = 'app.t1'::regclass";
    assert_eq!(world.value(list).await, "f");
    let list = "SELECT has_table_privilege('given_bob', 'app.t1', 'SELECT')";
    assert_eq!(world.value(list).await, "t");
}

async fn what_a_leaver_passed_on_elsewhere_is_told_before_anything_is_switched_off(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "passer", &["passer_far"]).await;
    let role = world.role("@_x").await;
    world.login("@_x", 1).await;
    world.run("CREATE ROLE @_bob").await;
    let far = cluster.admin_of("passer_far").await;
    far.run(
        "SET ROLE passer_owner; GRANT USAGE ON SCHEMA far TO passer_x; GRANT SELECT ON far.t TO passer_x WITH GRANT OPTION;
        SET ROLE passer_x; GRANT SELECT ON far.t TO passer_bob; RESET ROLE",
    )
    .await;
    let error = world.refused::<pg::Role>(world.delete(&role)).await;
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert!(error.message().contains("table far.t to `passer_bob`"), "{error}");
    let (session, _) = world.session("@_x__g1").await;
    drop(session);
    far.run("SET ROLE passer_x; REVOKE SELECT ON far.t FROM passer_bob; RESET ROLE").await;
    world.gone::<pg::Role>(world.delete(&role)).await;
}

async fn nothing_that_is_registered_names_a_role_that_left(cluster: &'static Cluster) {
    let world = World::new(cluster, "forgotten", &[]).await;
    let role = world.role("@_x").await;
    let (id, other) = (role.id.clone(), world.role("@_y").await);
    let policy = "SELECT oid FROM pg_policy WHERE polname = 'hers'";
    world.run("CREATE POLICY hers ON app.rows TO @_x USING (true)").await;
    let policy = world.value(policy).await;
    let ids = [
        format!("('postgres.membership', '{} in {id} by 10')", other.id),
        format!("('postgres.grant', '{} on table app.t0 by {id}')", other.id),
        format!("('postgres.default_privileges', '{} on future tables of {id}')", other.id),
        format!("('postgres.policy', 'policy {policy}')"),
    ];
    world
        .run(&format!(
            "INSERT INTO agent_iac.objects (type, id, fleet, environment, address)
            SELECT t, i, 'tests', 'test', 'tester.object' FROM (VALUES {}) AS v (t, i)",
            ids.join(", ")
        ))
        .await;
    world.gone::<pg::Role>(world.delete(&role)).await;
    let left = world.rows("SELECT type, id FROM agent_iac.objects ORDER BY 1, 2").await;
    assert_eq!(left, [format!("postgres.role|{}", other.id)]);
}

async fn a_role_that_a_leaver_made_does_not_outlive_it_unsaid(cluster: &'static Cluster) {
    let world = World::new(cluster, "maker", &[]).await;
    let mut maker = pg::Role::builder();
    maker.name("maker_x").createrole(true);
    let role = world.done::<pg::Role>(world.create::<pg::Role>(&maker)).await;
    world.login("@_x", 1).await;
    let (session, _) = world.session("@_x__g1").await;
    session.run("CREATE ROLE maker_backdoor LOGIN").await;
    let suspended = world.done::<pg::Role>(world.suspend(&role)).await;
    let left = "SELECT count(*) FROM pg_roles WHERE rolname = '@_backdoor'";
    if world.version < 16 {
        // The server does not say who made a role.
        world.gone::<pg::Role>(world.delete(&suspended)).await;
        assert_eq!(world.value(left).await, "1");
        return;
    }
    let membership = format!("{} in {}", role.id, world.oid("maker_backdoor").await);
    let found = world.observers.of("postgres.membership").unwrap();
    let found = found.list(&Listing::Of(vec![role.id.clone()])).await.unwrap();
    let [found] = found.as_slice() else { panic!("{found:#?}") };
    assert!(found.id.starts_with(&membership), "{found:?}");
    assert!(
        found.obstacle.as_ref().unwrap().contains(r#"DROP ROLE "maker_backdoor""#),
        "{found:?}"
    );
    let error = world.refused::<pg::Role>(world.delete(&suspended)).await;
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert!(error.message().contains(r#"made the roles "maker_backdoor""#), "{error}");
    world.run("DROP ROLE @_backdoor").await;
    world.gone::<pg::Role>(world.delete(&suspended)).await;
}
