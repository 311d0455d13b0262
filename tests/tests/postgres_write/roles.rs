//! Roles: switched off and on, changed, and how they leave.

use agent_iac::ErrorKind;
use agent_iac_tests::on_each_version;

use super::*;

on_each_version![
    what_exists_is_not_made_again,
    a_suspended_role_has_no_login_and_no_session_and_comes_back_as_it_was,
    what_was_switched_off_before_a_failure_comes_back_too,
    a_role_that_no_longer_logs_in_by_itself_has_no_session_either,
    the_settings_of_a_role_are_those_of_its_logins,
    two_operators_manage_what_either_made,
    a_role_leaves_every_database_with_its_logins,
    a_role_without_an_heir_keeps_what_it_owns,
    a_role_stays_while_a_database_is_out_of_reach,
    what_cannot_leave_is_told_with_the_repair,
    a_setting_that_the_server_writes_otherwise_is_refused,
];

/// The lists of the tables; none is what an owner has anyway.
const LISTS: &str = "SELECT relname, coalesce(relacl, acldefault('r', relowner)) FROM pg_class
    WHERE relname LIKE 't_' ORDER BY 1";

pub(super) fn with_heir(world: &World, name: &str) -> pg::RoleBuilder {
    let mut role = pg::Role::builder();
    role.name(world.named(name)).heir(world.named("@_owner"));
    role
}

impl World {
    /// A login of a role, as the provider's administrators make it.
    pub(super) async fn login(&self, role: &str, generation: u32) {
        self.login_by_hand(role, generation).await;
        self.run(&format!(
            "INSERT INTO agent_iac.objects (type, id, fleet, environment, address, detail)
            SELECT 'postgres.login', l.oid, 'tests', 'test', 'tester.object',
                jsonb_build_object('role', r.oid::text)
            FROM pg_roles l, pg_roles r
            WHERE l.rolname = '{role}__g{generation}' AND r.rolname = '{role}'"
        ))
        .await;
    }

    /// The same, of which the registry knows nothing.
    pub(super) async fn login_by_hand(&self, role: &str, generation: u32) {
        self.run(&format!(
            "SET ROLE @_admins;
            CREATE ROLE {role}__g{generation} LOGIN PASSWORD '{PASSWORD}' IN ROLE {role};
            ALTER ROLE {role}__g{generation} SET role = '{role}';
            RESET ROLE; GRANT CONNECT ON DATABASE @ TO {role}__g{generation}"
        ))
        .await;
    }

    /// A session of somebody, and its process.
    pub(super) async fn session(&self, user: &str) -> (Session, String) {
        let user = self.named(user);
        let session = self.cluster.connect(&user, PASSWORD, &self.name).await.unwrap();
        let pid = session.value("SELECT pg_backend_pid()").await;
        (session, pid)
    }

    pub(super) async fn is_at_work(&self, pid: &str) -> bool {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
        self.value(&sql).await != "0"
    }

    pub(super) async fn refusal(&self, user: &str) -> String {
        self.cluster.refusal(&self.named(user), PASSWORD, &self.name).await.code
    }
}

async fn what_exists_is_not_made_again(cluster: &'static Cluster) {
    let world = World::new(cluster, "exists", &[]).await;
    world.run("CREATE ROLE @_foreign").await;
    let mut role = pg::Role::builder();
    role.name("exists_foreign");
    let error = world.refused::<pg::Role>(world.create::<pg::Role>(&role)).await;
    assert_eq!(error.kind(), ErrorKind::Foreign);
    assert!(error.repair().unwrap().contains("import it"), "{error:?}");
    let ours = world.role("@_ours").await;
    role.name("exists_ours");
    let again = world.create::<pg::Role>(&role);
    let again = WriteRequest { mark: ours.mark.clone().unwrap(), ..again };
    let error = world.refused::<pg::Role>(again).await;
    assert_eq!(error.kind(), ErrorKind::StalePlan, "{error:?}");
    let theirs = WriteRequest { mark: mark("others"), ..world.delete(&ours) };
    assert_eq!(world.refused::<pg::Role>(theirs).await.kind(), ErrorKind::Foreign);
    // A role that is changed by hand is not as it was seen.
    world.run("ALTER ROLE @_ours CREATEDB").await;
    let error = world.refused::<pg::Role>(world.delete(&ours)).await;
    assert_eq!(error.kind(), ErrorKind::StalePlan);
    assert!(error.message().contains("createdb"), "{error:?}");
}

async fn a_suspended_role_has_no_login_and_no_session_and_comes_back_as_it_was(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "suspended", &[]).await;
    let role = world.role("@_x").await;
    world.login("@_x", 1).await;
    world.login("@_x", 2).await;
    // What somebody switched off before stays off.
    world.run("ALTER ROLE @_x__g1 NOLOGIN").await;
    let (session, pid) = world.session("@_x__g2").await;
    session.run("BEGIN").await;
    let suspended = world.done::<pg::Role>(world.suspend(&role)).await;
    assert_eq!(suspended, Object { suspended: true, ..role.clone() });
    assert!(!world.is_at_work(&pid).await);
    assert_eq!(world.refusal("@_x__g2").await, "28000");
    let again = world.done::<pg::Role>(world.suspend(&suspended)).await;
    assert_eq!(again, suspended);
    let resumed = world.done::<pg::Role>(world.resume(&again)).await;
    assert_eq!(resumed, role);
    world.session("@_x__g2").await;
    assert_eq!(world.refusal("@_x__g1").await, "28000");
    // A login that works again is not suspended.
    let suspended = world.done::<pg::Role>(world.suspend(&resumed)).await;
    world.run("ALTER ROLE @_x__g2 LOGIN").await;
    let read = world.read::<pg::Role>(&suspended.id).await;
    assert!(!read.object().unwrap().suspended);
    let again = world.done::<pg::Role>(world.suspend(read.object().unwrap())).await;
    assert!(again.suspended);
}

async fn what_was_switched_off_before_a_failure_comes_back_too(cluster: &'static Cluster) {
    let world = World::new(cluster, "halfway", &[]).await;
    let mut own = pg::Role::builder();
    own.name("halfway_x").login(true);
    let role = world.done::<pg::Role>(world.create::<pg::Role>(&own)).await;
    world
        .run(&format!("ALTER ROLE @_x PASSWORD '{PASSWORD}'; GRANT CONNECT ON DATABASE @ TO @_x"))
        .await;
    world.login("@_x", 1).await;
    let (_session, pid) = world.session("@_x__g1").await;
    // Sessions cannot be ended: what a crash before that leaves behind.
    world.run("REVOKE pg_signal_backend FROM @_admins").await;
    let error = world.refused::<pg::Role>(world.suspend(&role)).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.repair(), Some("GRANT pg_signal_backend TO \"halfway_admins\""));
    assert!(world.is_at_work(&pid).await);
    assert_eq!(world.refusal("@_x__g1").await, "28000");
    let halfway = world.read::<pg::Role>(&role.id).await;
    assert!(!halfway.object().unwrap().suspended, "its sessions go on");
    world.run("GRANT pg_signal_backend TO @_admins").await;
    let suspended = world.done::<pg::Role>(world.suspend(halfway.object().unwrap())).await;
    assert!(suspended.suspended);
    assert!(!world.is_at_work(&pid).await);
    let resumed = world.done::<pg::Role>(world.resume(&suspended)).await;
    assert_eq!(resumed, role);
    world.session("@_x__g1").await;
    world.session("@_x").await;
}

async fn a_role_that_no_longer_logs_in_by_itself_has_no_session_either(cluster: &'static Cluster) {
    let world = World::new(cluster, "retired", &[]).await;
    let mut role = pg::Role::builder();
    role.name("retired_x").login(true).connection_limit(3);
    let object = world.done::<pg::Role>(world.create::<pg::Role>(&role)).await;
    world
        .run(&format!("ALTER ROLE @_x PASSWORD '{PASSWORD}'; GRANT CONNECT ON DATABASE @ TO @_x"))
        .await;
    let (_session, pid) = world.session("@_x").await;
    let mut without = pg::Role::builder();
    without.name("retired_x");
    let object = world.done::<pg::Role>(world.update::<pg::Role>(&object, &without)).await;
    assert!(!world.is_at_work(&pid).await);
    assert_eq!(
        world.value("SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = '@_x'").await,
        "t"
    );
    assert!(!object.suspended);
    let detail = "SELECT detail ->> 'ending' FROM agent_iac.objects WHERE type = 'postgres.role'";
    assert_eq!(world.value(detail).await, "[]");
}

async fn the_settings_of_a_role_are_those_of_its_logins(cluster: &'static Cluster) {
    let world = World::new(cluster, "settings", &[]).await;
    let role = world.role("@_x").await;
    world.login("@_x", 1).await;
    let mut changed = pg::Role::builder();
    changed.name("settings_x").settings(BTreeMap::from([
        ("search_path".to_owned(), "\"$user\", app, pg_temp".to_owned()),
        ("work_mem@settings".to_owned(), "7MB".to_owned()),
    ]));
    let role = world.done::<pg::Role>(world.update::<pg::Role>(&role, &changed)).await;
    let (session, _) = world.session("@_x__g1").await;
    assert_eq!(session.value("SHOW search_path").await, "\"$user\", app, pg_temp");
    assert_eq!(session.value("SHOW work_mem").await, "7MB");
    assert_eq!(session.value("SELECT current_user").await, "settings_x");
    let mut plain = pg::Role::builder();
    plain.name("settings_x");
    world.done::<pg::Role>(world.update::<pg::Role>(&role, &plain)).await;
    let left = "SELECT r.rolname, s.setconfig FROM pg_db_role_setting s
        JOIN pg_roles r ON r.oid = s.setrole WHERE r.rolname LIKE '@_x%'";
    assert_eq!(world.rows(left).await, ["settings_x__g1|{role=settings_x}"]);
}

async fn two_operators_manage_what_either_made(cluster: &'static Cluster) {
    let world = World::new(cluster, "operators", &[]).await;
    let other = provider(cluster, "operators", "apply2", &[]).writers().unwrap();
    let other = other.of(pg::Role::TYPE).unwrap();
    let mut role = with_heir(&world, "@_x");
    let object = world.done::<pg::Role>(world.create::<pg::Role>(&role)).await;
    role.createdb(true);
    let update = world.update::<pg::Role>(&object, &role);
    let issued = other.write(vec![update]).await.remove(0).unwrap();
    let object = issued.written.object.unwrap();
    let suspended = other.write(vec![world.suspend(&object)]).await.remove(0).unwrap();
    let suspended = suspended.written.object.unwrap();
    other.write(vec![world.delete(&suspended)]).await.remove(0).unwrap();
    assert_eq!(world.read::<pg::Role>(&object.id).await, Observation::Absent);
}

async fn a_role_leaves_every_database_with_its_logins(cluster: &'static Cluster) {
    let world = World::new(cluster, "leaves", &["leaves_far"]).await;
    let role = with_heir(&world, "@_x");
    let role = world.done::<pg::Role>(world.create::<pg::Role>(&role)).await;
    let stays = world.role("@_stays").await;
    world.login("@_x", 1).await;
    world.login("@_x", 2).await;
    world
        .run(
            "GRANT USAGE, CREATE ON SCHEMA app TO @_x; GRANT SELECT (a) ON app.t0 TO @_x;
            GRANT SELECT ON app.t1 TO @_x WITH GRANT OPTION;
            GRANT @_readers0 TO @_x; GRANT @_x TO @_stays;
            CREATE POLICY hers ON app.rows TO @_x USING (true);
            SET ROLE @_x; CREATE TABLE app.hers (n int); GRANT SELECT ON app.hers TO @_stays;
            ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO @_stays; RESET ROLE;
            SET ROLE @_owner; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO @_x; RESET ROLE",
        )
        .await;
    let far = cluster.admin_of("leaves_far").await;
    far.run(
        "GRANT ALL ON SCHEMA far TO leaves_x__g2; GRANT CREATE ON SCHEMA far TO leaves_x;
        SET ROLE leaves_x; CREATE FUNCTION far.hers() RETURNS int LANGUAGE sql RETURN 1;
        CREATE TYPE far.hers AS (n int)",
    )
    .await;
    let (_session, pid) = world.session("@_x__g2").await;
    let before = world.rows(LISTS).await;
    let oids = "SELECT string_agg(oid::text, ',') FROM pg_roles WHERE rolname LIKE '@_x%'";
    let oids = world.value(oids).await;
    assert_eq!(oids.split(',').count(), 3);

    let request = world.delete(&role);
    let claim = request.claim.clone();
    world.gone::<pg::Role>(request).await;
    assert!(!world.is_at_work(&pid).await);
    let left = format!("SELECT count(*) FROM pg_shdepend WHERE refobjid IN ({oids})");
    assert_eq!(world.value(&left).await, "0");
    assert_eq!(world.value("SELECT count(*) FROM pg_roles WHERE rolname LIKE '@_x%'").await, "0");
    let owner = "SELECT relowner::regrole, relacl FROM pg_class WHERE relname = 'hers'";
    let owners = world.rows(owner).await;
    assert_eq!(owners.len(), 1);
    assert!(
        owners[0].starts_with("leaves_owner|{")
            && owners[0].contains("leaves_stays=r/leaves_owner"),
        "{owners:?}"
    );
    let owner = "SELECT proowner::regrole FROM pg_proc WHERE proname = 'hers'";
    assert_eq!(far.rows(owner).await, ["leaves_owner"]);
    // Nothing of anybody else changed, but for what was hers in a list.
    let after = world.rows(LISTS).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.replace(",leaves_x=r*/leaves_owner", ""), *after);
    }
    assert!(world.read::<pg::Role>(&stays.id).await.object().is_some());
    // Nothing of ours is left in the way of another role, and nothing lent.
    let lent = "SELECT count(*) FROM pg_auth_members WHERE grantor = '@_admins'::regrole
        AND member = '@_admins'::regrole";
    assert_eq!(world.value(lent).await, "0");
    let settled = world.settle::<pg::Role>(std::slice::from_ref(&claim)).await;
    assert!(matches!(&settled[..], [Settled::Done(written)] if written.object.is_none()));
    // Repeating it is no error.
    let again = WriteRequest { claim, ..world.delete(&role) };
    world.gone::<pg::Role>(again).await;
}

async fn a_role_without_an_heir_keeps_what_it_owns(cluster: &'static Cluster) {
    let world = World::new(cluster, "heirless", &["heirless_far"]).await;
    let role = world.role("@_x").await;
    let other = world.role("@_y").await;
    world.login("@_x", 1).await;
    let far = cluster.admin_of("heirless_far").await;
    far.run("GRANT CREATE ON SCHEMA far TO heirless_x__g1; SET ROLE heirless_x__g1; CREATE TABLE far.hers (n int)").await;
    world
        .run(
            "GRANT CREATE ON SCHEMA app TO @_x; SET ROLE @_x; CREATE TABLE app.hers (n int);
            CREATE FUNCTION app.hers() RETURNS int LANGUAGE sql RETURN 1; RESET ROLE",
        )
        .await;
    let mut answers =
        world.batch::<pg::Role>(vec![world.delete(&role), world.delete(&other)]).await;
    assert_eq!(answers.pop().unwrap().unwrap().object, None, "the other one is not held up");
    let error = answers.pop().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    for part in
        ["table app.hers in `heirless`", "function app.hers() in", "something in `heirless_far`"]
    {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    // It was found out before anything was done.
    world.session("@_x__g1").await;
    assert_eq!(world.read::<pg::Role>(&role.id).await, Observation::Present(role.clone()));
    // With an heir it goes.
    let role = with_heir(&world, "@_x");
    let object = world.read::<pg::Role>(&world.oid("@_x").await).await.object().unwrap().clone();
    let object = world.done::<pg::Role>(world.update::<pg::Role>(&object, &role)).await;
    world.gone::<pg::Role>(world.delete(&object)).await;
    let owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 'hers'";
    assert_eq!(far.rows(owner).await, ["heirless_owner"]);
    assert_eq!(world.value(owner).await, "heirless_owner");
}

async fn a_role_stays_while_a_database_is_out_of_reach(cluster: &'static Cluster) {
    let world = World::new(cluster, "reach", &[]).await;
    let role = world.role("@_x").await;
    cluster.database("reach_beyond").await;
    let beyond = cluster.admin_of("reach_beyond").await;
    beyond.run("CREATE TABLE t (n int); GRANT SELECT ON t TO reach_x").await;
    let error = world.refused::<pg::Role>(world.delete(&role)).await;
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("reach_beyond"), "{error}");
    assert!(error.repair().unwrap().contains(".database("), "{error:?}");
    beyond.run("DROP OWNED BY reach_x").await;
    world.gone::<pg::Role>(world.delete(&role)).await;
}

async fn what_cannot_leave_is_told_with_the_repair(cluster: &'static Cluster) {
    let world = World::new(cluster, "stuck", &[]).await;
    let mut role = pg::Role::builder();
    role.name("stuck_x").heir("stuck_nobody");
    let object = world.done::<pg::Role>(world.create::<pg::Role>(&role)).await;
    let error = world.refused::<pg::Role>(world.delete(&object)).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("the heir `stuck_nobody`"), "{error}");
    // An heir whom the administrators cannot act for.
    world.login("@_x", 1).await;
    world
        .run(
            "CREATE ROLE @_nobody; GRANT USAGE, CREATE ON SCHEMA app TO @_x; SET ROLE @_x;
            CREATE TABLE app.hers (n int);
            CREATE FUNCTION app.hers() RETURNS int LANGUAGE sql RETURN 1; RESET ROLE",
        )
        .await;
    for (missing, given) in [
        (
            r#"GRANT "stuck_nobody" TO "stuck_admins"; GRANT CREATE ON SCHEMA app TO "stuck_nobody""#,
            "GRANT @_nobody TO @_admins",
        ),
        (
            r#"GRANT CREATE ON SCHEMA app TO "stuck_nobody""#,
            "GRANT CREATE ON SCHEMA app TO @_nobody",
        ),
    ] {
        let error = world.refused::<pg::Role>(world.delete(&object)).await;
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert_eq!(error.repair(), Some(missing), "{error:?}");
        // Nothing was switched off for it.
        drop(world.session("@_x__g1").await);
        world.run(given).await;
    }
    world.gone::<pg::Role>(world.delete(&object)).await;
}

async fn a_setting_that_the_server_writes_otherwise_is_refused(cluster: &'static Cluster) {
    let world = World::new(cluster, "written", &[]).await;
    let mut role = pg::Role::builder();
    role.name("written_x")
        .settings(BTreeMap::from([("search_path".to_owned(), "App,public".to_owned())]));
    let error = world.refused::<pg::Role>(world.create::<pg::Role>(&role)).await;
    assert!(error.message().contains("app, public"), "{error:?}");
    role.settings(BTreeMap::from([("no_such".to_owned(), "1".to_owned())]));
    let error = world.refused::<pg::Role>(world.create::<pg::Role>(&role)).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    assert_eq!(world.value("SELECT count(*) FROM pg_roles WHERE rolname = '@_x'").await, "0");
}
