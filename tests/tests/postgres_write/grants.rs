//! Grants and what is like them: whose they are, what stands in their way, and
//! that nothing else is touched.

use agent_iac::ErrorKind;
use agent_iac_tests::on_each_version;

use super::*;

on_each_version![
    another_grantors_grant_is_taken_back_as_him_or_refused_by_his_name,
    what_was_passed_on_is_named_and_not_taken_along,
    what_stands_on_columns_outlives_the_grant_on_the_table,
    two_grants_on_one_column_do_not_take_from_each_other,
    who_may_not_grant_is_told_whose_member_to_become,
    one_bad_name_in_a_batch_of_five_hundred_fails_alone,
    an_object_in_another_database_is_granted_on_there,
    a_database_that_is_away_leaves_open_only_what_could_be_there,
    a_list_that_is_full_is_named,
    a_membership_is_the_grantors_who_gave_it,
    a_membership_that_was_passed_on_is_named,
    what_everybody_would_get_later_is_taken_and_given_back,
    default_privileges_of_somebody_else_are_refused,
    an_owner_needs_to_be_able_to_create,
    what_everybody_had_is_given_back_as_it_was,
    everybody_gets_back_what_each_column_had,
    what_may_be_passed_on_is_kept_for_each_privilege,
    the_provider_is_not_locked_out,
    what_a_version_does_not_know_is_refused,
    nobody_is_granted_to_by_a_name_that_means_everybody,
];

async fn another_grantors_grant_is_taken_back_as_him_or_refused_by_his_name(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "grantors", &[]).await;
    let (x, y) = (world.role("@_x").await, world.role("@_y").await);
    let table = || pg::Table::new("app", "t0");
    let mut from = grant(&x, table(), &[pg::Select]);
    from.grantable(true);
    let from = world.done::<pg::Grant>(world.create::<pg::Grant>(&from)).await;
    world.run("GRANT USAGE ON SCHEMA app TO @_x; SET ROLE @_x; GRANT SELECT ON app.t0 TO @_y; RESET ROLE").await;
    let by = |grantor: &str| format!("{} on table app.t0 by {grantor}", y.id);
    let passed = world.read::<pg::Grant>(&by(&x.id)).await.object().unwrap().clone();
    assert_eq!(passed.obstacle, None);
    world.gone::<pg::Grant>(world.delete(&passed)).await;
    // A stranger's, whom the administrators cannot become.
    world
        .run(
            "CREATE ROLE @_stranger; GRANT USAGE ON SCHEMA app TO @_stranger;
            GRANT SELECT ON app.t0 TO @_stranger WITH GRANT OPTION;
            SET ROLE @_stranger; GRANT SELECT ON app.t0 TO @_y; RESET ROLE",
        )
        .await;
    let id = by(&world.oid("@_stranger").await);
    let strange = world.read::<pg::Grant>(&id).await.object().unwrap().clone();
    assert!(strange.obstacle.is_some());
    let error = world.refused::<pg::Grant>(world.delete(&strange)).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.message().contains("`grantors_stranger`"), "{error}");
    assert!(error.repair().unwrap().contains("GRANT \"grantors_stranger\" TO \"grantors_admins\""));
    assert_eq!(world.read::<pg::Grant>(&id).await, Observation::Present(strange.clone()));
    world.run("GRANT @_stranger TO @_admins").await;
    world.gone::<pg::Grant>(world.delete(&strange)).await;
    world.gone::<pg::Grant>(world.delete(&from)).await;
    let lent = "SELECT count(*) FROM pg_auth_members WHERE member = '@_admins'::regrole
        AND roleid = '@_x'::regrole AND grantor = '@_admins'::regrole";
    assert_eq!(world.value(lent).await, "0", "what was lent for it is given back");
}

async fn what_was_passed_on_is_named_and_not_taken_along(cluster: &'static Cluster) {
    let world = World::new(cluster, "passed", &[]).await;
    let (x, y) = (world.role("@_x").await, world.role("@_y").await);
    let mut from = grant(&x, pg::Table::new("app", "t0"), &[pg::Select, pg::Insert]);
    from.grantable(true);
    let from = world.done::<pg::Grant>(world.create::<pg::Grant>(&from)).await;
    world
        .run("GRANT USAGE ON SCHEMA app TO @_x; SET ROLE @_x; GRANT SELECT ON app.t0 TO @_y; RESET ROLE")
        .await;
    let narrower = grant(&x, pg::Table::new("app", "t0"), &[pg::Select]);
    for request in [world.delete(&from), world.update::<pg::Grant>(&from, &narrower)] {
        let error = world.refused::<pg::Grant>(request).await;
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
        assert!(error.message().contains("select to `passed_y`"), "{error}");
        assert_eq!(world.read::<pg::Grant>(&from.id).await, Observation::Present(from.clone()));
    }
    // In one batch, what was passed on goes first.
    let passed = format!("{} on table app.t0 by {}", y.id, x.id);
    let passed = world.read::<pg::Grant>(&passed).await.object().unwrap().clone();
    let both = vec![world.delete(&from), world.delete(&passed)];
    for answer in world.batch::<pg::Grant>(both).await {
        assert_eq!(answer.unwrap().object, None);
    }
}

async fn what_stands_on_columns_outlives_the_grant_on_the_table(cluster: &'static Cluster) {
    let world = World::new(cluster, "columns", &[]).await;
    let x = world.role("@_x").await;
    let whole = grant(&x, pg::Table::new("app", "t0"), &[pg::Select, pg::Update]);
    let columns = grant(&x, pg::Column::new("app", "t0", ["a", "b"]), &[pg::Select]);
    let whole = world.done::<pg::Grant>(world.create::<pg::Grant>(&whole)).await;
    let columns = world.done::<pg::Grant>(world.create::<pg::Grant>(&columns)).await;
    // Somebody's, that no declaration knows.
    world
        .run("SET ROLE @_owner; GRANT UPDATE (c) ON app.t0 TO @_x WITH GRANT OPTION; RESET ROLE")
        .await;
    let lists = "SELECT attname, attacl FROM pg_attribute
        WHERE attrelid = 'app.t0'::regclass AND attacl IS NOT NULL ORDER BY 1";
    let before = world.rows(lists).await;
    assert_eq!(before.len(), 3);
    world.gone::<pg::Grant>(world.delete(&whole)).await;
    assert_eq!(world.rows(lists).await, before);
    assert_eq!(world.read::<pg::Grant>(&columns.id).await, Observation::Present(columns.clone()));
    // Both at once go both.
    let whole = grant(&x, pg::Table::new("app", "t0"), &[pg::Select]);
    let whole = world.done::<pg::Grant>(world.create::<pg::Grant>(&whole)).await;
    let both = vec![world.delete(&columns), world.delete(&whole)];
    for answer in world.batch::<pg::Grant>(both).await {
        assert_eq!(answer.unwrap().object, None);
    }
    assert_eq!(world.rows(lists).await, ["c|{columns_x=w*/columns_owner}"]);
}

async fn two_grants_on_one_column_do_not_take_from_each_other(cluster: &'static Cluster) {
    let world = World::new(cluster, "overlap", &[]).await;
    let x = world.role("@_x").await;
    let on = |columns: &[&str]| pg::Column::new("app", "t0", columns.iter().copied());
    let ab = grant(&x, on(&["a", "b"]), &[pg::Select]);
    let bc = grant(&x, on(&["b", "c"]), &[pg::Select, pg::Update]);
    let ab = world.done::<pg::Grant>(world.create::<pg::Grant>(&ab)).await;
    let bc = world.done::<pg::Grant>(world.create::<pg::Grant>(&bc)).await;
    world.gone::<pg::Grant>(world.delete(&bc)).await;
    assert_eq!(world.read::<pg::Grant>(&ab.id).await, Observation::Present(ab.clone()));
    let lists = "SELECT attname, attacl FROM pg_attribute
        WHERE attrelid = 'app.t0'::regclass AND attacl IS NOT NULL ORDER BY 1";
    let left = ["a|{overlap_x=r/overlap_owner}", "b|{overlap_x=r/overlap_owner}"];
    assert_eq!(world.rows(lists).await, left);
    world.gone::<pg::Grant>(world.delete(&ab)).await;
    assert_eq!(world.rows(lists).await, [""; 0]);
}

async fn who_may_not_grant_is_told_whose_member_to_become(cluster: &'static Cluster) {
    let world = World::new(cluster, "denied", &[]).await;
    let x = world.role("@_x").await;
    world
        .run(
            "CREATE ROLE @_stranger; CREATE SCHEMA strange AUTHORIZATION @_stranger;
            SET ROLE @_stranger; CREATE TABLE strange.t (n int);
            CREATE FUNCTION strange.f() RETURNS int LANGUAGE sql RETURN 1;
            GRANT USAGE ON SCHEMA strange TO @_admins;
            GRANT SELECT, INSERT ON strange.t TO @_admins;
            GRANT SELECT ON strange.t TO @_admins WITH GRANT OPTION; RESET ROLE",
        )
        .await;
    let before = world.value("SELECT relacl FROM pg_class WHERE oid = 'strange.t'::regclass").await;
    let table = || pg::Table::new("strange", "t");
    let function = || pg::Function::new("strange", "f", Vec::<String>::new());
    // The server warns, does a part of it or nothing, and calls it done.
    for (on, allow) in [
        (table(), &[pg::Insert][..]),
        (table(), &[pg::Select, pg::Insert]),
        (table(), &[pg::Delete]),
        (function(), &[pg::Execute]),
    ] {
        let request = world.create::<pg::Grant>(&grant(&x, on, allow));
        let error = world.refused::<pg::Grant>(request).await;
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert!(error.message().contains("`denied_stranger`"), "{error}");
        let repair = error.repair().unwrap();
        assert!(repair.contains("GRANT \"denied_stranger\" TO \"denied_admins\""), "{repair}");
    }
    assert_eq!(
        world.value("SELECT relacl FROM pg_class WHERE oid = 'strange.t'::regclass").await,
        before
    );
    // With the grant option it is the administrators' own.
    let ours = world.create::<pg::Grant>(&grant(&x, table(), &[pg::Select]));
    let ours = world.done::<pg::Grant>(ours).await;
    assert!(ours.id.ends_with(&format!(" by {}", world.oid("@_admins").await)), "{}", ours.id);
    world.gone::<pg::Grant>(world.delete(&ours)).await;
    let nowhere =
        world.create::<pg::Grant>(&grant(&x, pg::Table::new("app", "none"), &[pg::Select]));
    assert_eq!(world.refused::<pg::Grant>(nowhere).await.kind(), ErrorKind::NotFound);
}

async fn one_bad_name_in_a_batch_of_five_hundred_fails_alone(cluster: &'static Cluster) {
    let world = World::new(cluster, "five_hundred", &[]).await;
    let roles: Vec<WriteRequest> = (0..500)
        .map(|n| {
            let mut role = pg::Role::builder();
            // A parameter that the server does not know is found out by it alone.
            role.name(format!("five_hundred_{n}"));
            if n == 321 {
                role.settings(BTreeMap::from([("no_such".to_owned(), "1".to_owned())]));
            }
            world.create::<pg::Role>(&role)
        })
        .collect();
    let written = world.batch::<pg::Role>(roles).await;
    let failed: Vec<usize> =
        written.iter().enumerate().filter(|(_, one)| one.is_err()).map(|(at, _)| at).collect();
    assert_eq!(failed, [321]);
    assert_eq!(written[321].as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
    let grants: Vec<WriteRequest> = written
        .iter()
        .flatten()
        .enumerate()
        .map(|(n, written)| {
            let column = if n == 123 { "none" } else { "a" };
            let on = pg::Column::new("app", "t0", [column]);
            let grant = grant(written.object.as_ref().unwrap(), on, &[pg::Select]);
            world.create::<pg::Grant>(&grant)
        })
        .collect();
    let written = world.batch::<pg::Grant>(grants).await;
    let failed: Vec<usize> =
        written.iter().enumerate().filter(|(_, one)| one.is_err()).map(|(at, _)| at).collect();
    assert_eq!(failed, [123]);
    let claims = "SELECT count(*) FROM agent_iac.claims";
    assert_eq!(world.value(claims).await, (499 + 498).to_string());
}

async fn an_object_in_another_database_is_granted_on_there(cluster: &'static Cluster) {
    let world = World::new(cluster, "elsewhere", &["elsewhere_far"]).await;
    let x = world.role("@_x").await;
    let far = |table: &str, database: &str| pg::Table::new("far", table).in_database(database);
    let request = world.create::<pg::Grant>(&grant(&x, far("t", "elsewhere_far"), &[pg::Select]));
    let claim = request.claim.clone();
    let object = world.done::<pg::Grant>(request).await;
    assert!(object.id.contains(" on table far.t in elsewhere_far by "), "{}", object.id);
    let there = cluster.admin_of("elsewhere_far").await;
    let count = "SELECT count(*) FROM agent_iac.claims";
    assert_eq!(there.value(count).await, "1", "the claim is where the write was");
    let settled = world.settle::<pg::Grant>(&[claim, world.claim()]).await;
    assert!(matches!(&settled[..], [Settled::Done(_), Settled::NotDone]), "{settled:?}");
    world.gone::<pg::Grant>(world.delete(&object)).await;
    for database in ["elsewhere", "elsewhere_nowhere"] {
        let request = world.create::<pg::Grant>(&grant(&x, far("t", database), &[pg::Select]));
        let error = world.refused::<pg::Grant>(request).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    }
}

async fn a_database_that_is_away_leaves_open_only_what_could_be_there(cluster: &'static Cluster) {
    let world = World::new(cluster, "away", &["away_far"]).await;
    let x = world.role("@_x").await;
    let near = world.create::<pg::Grant>(&grant(&x, pg::Table::new("app", "t0"), &[pg::Select]));
    let claim = near.claim.clone();
    world.done::<pg::Grant>(near).await;
    let far = pg::Table::new("far", "t").in_database("away_far");
    world.done::<pg::Grant>(world.create::<pg::Grant>(&grant(&x, far, &[pg::Select]))).await;
    world
        .run(
            "ALTER DATABASE away_far ALLOW_CONNECTIONS false;
            SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
            WHERE datname = 'away_far'",
        )
        .await;
    assert_eq!(world.settle::<pg::Role>(&[world.claim()]).await, [Settled::NotDone]);
    let settled = world.settle::<pg::Grant>(&[claim, world.claim()]).await;
    assert!(matches!(&settled[..], [Settled::Done(_), Settled::Unknown(_)]), "{settled:?}");
    // Asked again, for what was not to be told.
    world.run("ALTER DATABASE away_far ALLOW_CONNECTIONS true").await;
    assert_eq!(world.settle::<pg::Grant>(&[world.claim()]).await, [Settled::NotDone]);
}

async fn a_list_that_is_full_is_named(cluster: &'static Cluster) {
    let world = World::new(cluster, "full_list", &[]).await;
    let x = world.role("@_x").await;
    // The server keeps a list in one row, which has to fit into one page.
    world
        .run(
            "DO $$ DECLARE n int := 0; step int := 400; BEGIN
                WHILE step > 0 LOOP
                    BEGIN
                        FOR i IN n + 1 .. n + step LOOP
                            EXECUTE format('CREATE ROLE full_list_of_%s', i);
                        END LOOP;
                        EXECUTE (SELECT format('GRANT SELECT ON app.t0 TO %s',
                            string_agg(format('full_list_of_%s', i), ','))
                            FROM generate_series(n + 1, n + step) i);
                        n := n + step;
                    EXCEPTION WHEN program_limit_exceeded THEN step := step / 2;
                    END;
                END LOOP;
            END $$",
        )
        .await;
    let request = world.create::<pg::Grant>(&grant(&x, pg::Table::new("app", "t0"), &[pg::Select]));
    let error = world.refused::<pg::Grant>(request).await;
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert!(error.message().contains("is full"), "{error}");
}

async fn a_membership_is_the_grantors_who_gave_it(cluster: &'static Cluster) {
    let world = World::new(cluster, "members", &[]).await;
    let x = world.role("@_x").await;
    let mut membership = pg::Membership::builder();
    membership.to(Link::id(&x.id)).of("members_readers0");
    let ours = world.done::<pg::Membership>(world.create::<pg::Membership>(&membership)).await;
    world.run("GRANT @_readers0 TO @_x").await;
    if world.version >= 16 {
        let theirs = world
            .rows(
                "SELECT member, roleid, grantor FROM pg_auth_members
            WHERE member = '@_x'::regrole AND grantor <> '@_admins'::regrole",
            )
            .await;
        let [member, role, grantor] = theirs[0].split('|').collect::<Vec<_>>()[..] else {
            panic!()
        };
        let theirs = format!("{member} in {role} by {grantor}");
        let theirs = world.read::<pg::Membership>(&theirs).await.object().unwrap().clone();
        let error = world.refused::<pg::Membership>(world.delete(&theirs)).await;
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.message().contains("`postgres`"), "{error}");
    }
    world.gone::<pg::Membership>(world.delete(&ours)).await;
    let left = "SELECT count(*) FROM pg_auth_members WHERE member = '@_x'::regrole";
    assert_eq!(world.value(left).await, if world.version >= 16 { "1" } else { "0" });
    world.run("CREATE ROLE @_stranger").await;
    membership.of("members_stranger");
    let request = world.create::<pg::Membership>(&membership);
    if world.version >= 16 {
        let error = world.refused::<pg::Membership>(request).await;
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(
            error.repair(),
            Some("GRANT \"members_stranger\" TO \"members_admins\" WITH ADMIN OPTION")
        );
    }
    membership.of("members_none");
    let error = world.refused::<pg::Membership>(world.create::<pg::Membership>(&membership)).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

async fn a_membership_that_was_passed_on_is_named(cluster: &'static Cluster) {
    let world = World::new(cluster, "onward", &[]).await;
    let (x, _y) = (world.role("@_x").await, world.role("@_y").await);
    let mut membership = pg::Membership::builder();
    membership.to(Link::id(&x.id)).of("onward_readers0").admin(true);
    let ours = world.done::<pg::Membership>(world.create::<pg::Membership>(&membership)).await;
    world.run("SET ROLE @_x; GRANT @_readers0 TO @_y; RESET ROLE").await;
    let request = world.delete(&ours);
    if world.version >= 16 {
        let error = world.refused::<pg::Membership>(request).await;
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
        assert!(error.message().contains("`onward_y`"), "{error}");
    } else {
        // Before 16 nothing depends on who gave it.
        world.gone::<pg::Membership>(request).await;
    }
}

async fn default_privileges_of_somebody_else_are_refused(cluster: &'static Cluster) {
    let world = World::new(cluster, "creators", &[]).await;
    let x = world.role("@_x").await;
    world.run("CREATE ROLE @_stranger").await;
    let mut defaults = pg::DefaultPrivileges::builder();
    defaults.to(Link::id(&x.id)).for_role("creators_stranger").on(Future::Tables);
    defaults.allow([pg::Select]);
    let create =
        |defaults: &pg::DefaultPrivilegesBuilder| world.create::<pg::DefaultPrivileges>(defaults);
    let error = world.refused::<pg::DefaultPrivileges>(create(&defaults)).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.repair(), Some("GRANT \"creators_stranger\" TO \"creators_admins\""));
    defaults.for_role("creators_none");
    let error = world.refused::<pg::DefaultPrivileges>(create(&defaults)).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // They hold for what is created from then on, by that creator only.
    defaults.for_role("creators_owner");
    let object = world.done::<pg::DefaultPrivileges>(create(&defaults)).await;
    world.run("SET ROLE @_owner; CREATE TABLE app.later (n int); RESET ROLE").await;
    let may = "SELECT has_table_privilege('@_x', 'app.later', 'SELECT')";
    assert_eq!(world.value(may).await, "t");
    world.gone::<pg::DefaultPrivileges>(world.delete(&object)).await;
    assert_eq!(world.value("SELECT count(*) FROM pg_default_acl").await, "0");
}

async fn what_everybody_would_get_later_is_taken_and_given_back(cluster: &'static Cluster) {
    let world = World::new(cluster, "later", &[]).await;
    world
        .run(
            "ALTER DEFAULT PRIVILEGES FOR ROLE @_owner IN SCHEMA app
                GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
            ALTER DEFAULT PRIVILEGES FOR ROLE @_owner GRANT SELECT ON TABLES TO @_readers0",
        )
        .await;
    let lists = "SELECT defaclrole, defaclnamespace, defaclobjtype, defaclacl::text
        FROM pg_default_acl ORDER BY 1, 2, 3";
    let before = world.rows(lists).await;
    let mut future = pg::PublicDefaults::builder();
    future.for_role("later_owner").on(Future::Functions).revoke([pg::Execute]);
    let object =
        world.done::<pg::PublicDefaults>(world.create::<pg::PublicDefaults>(&future)).await;
    world.run("CREATE ROLE @_anybody; GRANT USAGE ON SCHEMA app TO @_anybody").await;
    let mut made = 0;
    let mut may_call = async || {
        made += 1;
        let script = "SET ROLE @_owner; CREATE FUNCTION app.late@N() RETURNS int LANGUAGE sql
            RETURN 1; RESET ROLE";
        world.run(&script.replace("@N", &made.to_string())).await;
        let may =
            format!("SELECT has_function_privilege('@_anybody', 'app.late{made}()', 'EXECUTE')");
        world.value(&may).await
    };
    assert_eq!(may_call().await, "f");
    // Somebody gives it again, in one schema only: drift, and taken again.
    let again = "ALTER DEFAULT PRIVILEGES FOR ROLE @_owner IN SCHEMA app
        GRANT EXECUTE ON FUNCTIONS TO PUBLIC";
    world.run(again).await;
    assert_eq!(may_call().await, "t");
    let seen = world.read::<pg::PublicDefaults>(&object.id).await.object().unwrap().clone();
    assert_eq!(seen.value("revoke"), Some(&Value::List(Vec::new())), "not everywhere any more");
    let update = world.update::<pg::PublicDefaults>(&seen, &future);
    let object = world.done::<pg::PublicDefaults>(update).await;
    assert_eq!(may_call().await, "f");
    world.gone::<pg::PublicDefaults>(world.delete(&object)).await;
    assert_eq!(may_call().await, "t");
    assert_eq!(world.rows(lists).await, before, "all is as it was");
    // Of a creator whom nobody of ours can be it is refused, with the repair.
    world.run("CREATE ROLE @_stranger").await;
    future.for_role("later_stranger");
    let request = world.create::<pg::PublicDefaults>(&future);
    let error = world.refused::<pg::PublicDefaults>(request).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.repair(), Some("GRANT \"later_stranger\" TO \"later_admins\""));
}

async fn an_owner_needs_to_be_able_to_create(cluster: &'static Cluster) {
    let world = World::new(cluster, "owners", &[]).await;
    let x = world.role("@_x").await;
    let mut ownership = pg::Ownership::builder();
    ownership.to(Link::id(&x.id)).on(pg::Table::new("app", "o0")).heir("owners_owner");
    let create = || world.create::<pg::Ownership>(&ownership);
    let error = world.refused::<pg::Ownership>(create()).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    let repair = error.repair().unwrap();
    assert!(repair.contains("GRANT CREATE ON SCHEMA \"app\" TO \"owners_x\""), "{repair}");
    world.run("GRANT CREATE ON SCHEMA app TO @_x").await;
    let object = world.done::<pg::Ownership>(create()).await;
    // What belongs to an agent is granted on in its name.
    let y = world.role("@_y").await;
    let on = grant(&y, pg::Table::new("app", "o0"), &[pg::Select]);
    let on = world.done::<pg::Grant>(world.create::<pg::Grant>(&on)).await;
    assert_eq!(on.value("grantor"), Some(&"owners_x".into()));
    world.gone::<pg::Grant>(world.delete(&on)).await;
    world.gone::<pg::Ownership>(world.delete(&object)).await;
    let owner = "SELECT relowner::regrole FROM pg_class WHERE oid = 'app.o0'::regclass";
    assert_eq!(world.value(owner).await, "owners_owner");
    let serial = "SELECT relowner::regrole FROM pg_class WHERE oid = 'app.o0_id_seq'::regclass";
    assert_eq!(world.value(serial).await, "owners_owner");
    // Somebody made it so already.
    world.run("ALTER TABLE app.o1 OWNER TO @_x").await;
    let mut by_hand = pg::Ownership::builder();
    by_hand.to(Link::id(&x.id)).on(pg::Table::new("app", "o1")).heir("owners_owner");
    let error = world.refused::<pg::Ownership>(world.create::<pg::Ownership>(&by_hand)).await;
    assert_eq!(error.kind(), ErrorKind::Foreign, "{error:?}");
}

async fn what_everybody_had_is_given_back_as_it_was(cluster: &'static Cluster) {
    let world = World::new(cluster, "everybody", &[]).await;
    world.run("SET ROLE @_owner; GRANT SELECT, UPDATE ON app.t0 TO PUBLIC; GRANT SELECT (a) ON app.t0 TO PUBLIC; RESET ROLE").await;
    let list =
        "SELECT relacl, (SELECT attacl FROM pg_attribute WHERE attrelid = c.oid AND attname = 'a')
        FROM pg_class c WHERE oid = 'app.t0'::regclass";
    let before = world.value(list).await;
    let mut public = pg::Public::builder();
    public.on(pg::Table::new("app", "t0")).revoke([pg::Select, pg::Insert]);
    let object = world.done::<pg::Public>(world.create::<pg::Public>(&public)).await;
    let (whole, column) = {
        let now = world.value(list).await;
        let (whole, column) = now.split_once('|').unwrap();
        (whole.to_owned(), column.to_owned())
    };
    assert!(whole.contains(",=w/everybody_owner") && !whole.contains(",=r"), "{whole}");
    assert_eq!(column, "{=r/everybody_owner}", "what stands on a column is not asked for");
    // Somebody gives it again: it is drift, and taken again.
    world.run("SET ROLE @_owner; GRANT INSERT ON app.t0 TO PUBLIC; RESET ROLE").await;
    let seen = world.read::<pg::Public>(&object.id).await.object().unwrap().clone();
    let again = world.done::<pg::Public>(world.update::<pg::Public>(&seen, &public)).await;
    world.gone::<pg::Public>(world.delete(&again)).await;
    // What was taken the second time had been given by hand meanwhile.
    world.run("SET ROLE @_owner; REVOKE INSERT ON app.t0 FROM PUBLIC; RESET ROLE").await;
    let sorted = |list: &str| {
        let mut items: Vec<String> = list.split([',', '{', '}']).map(str::to_owned).collect();
        items.sort();
        items
    };
    assert_eq!(sorted(&world.value(list).await), sorted(&before));
}

async fn what_may_be_passed_on_is_kept_for_each_privilege(cluster: &'static Cluster) {
    let world = World::new(cluster, "passable", &[]).await;
    let x = world.role("@_x").await;
    let only = |only: &[pg::Privilege]| {
        let mut grant = grant(&x, pg::Table::new("app", "t0"), &[pg::Select, pg::Insert]);
        grant.grantable_only(Some(only.iter().copied().collect::<BTreeSet<_>>()));
        grant
    };
    let list = "SELECT relacl FROM pg_class WHERE oid = 'app.t0'::regclass";
    let mut object = world.done::<pg::Grant>(world.create::<pg::Grant>(&only(&[pg::Select]))).await;
    assert!(world.value(list).await.contains("passable_x=ar*/"));
    let part =
        |words: &[&str]| Value::List(words.iter().map(|&word| word.into()).collect()).into_set();
    for (by_hand, all, passed_on) in [
        ("GRANT INSERT ON app.t0 TO @_x WITH GRANT OPTION", true, Value::Null),
        ("REVOKE GRANT OPTION FOR SELECT ON app.t0 FROM @_x", false, Value::Null),
        (
            "REVOKE GRANT OPTION FOR SELECT ON app.t0 FROM @_x;
            GRANT INSERT ON app.t0 TO @_x WITH GRANT OPTION",
            false,
            part(&["insert"]),
        ),
    ] {
        world.run(&format!("SET ROLE @_owner; {by_hand}; RESET ROLE")).await;
        // What was seen before is not what is there.
        let stale = world.refused::<pg::Grant>(world.delete(&object)).await;
        assert_eq!(stale.kind(), ErrorKind::StalePlan, "{by_hand}");
        let seen = world.read::<pg::Grant>(&object.id).await.object().unwrap().clone();
        assert_eq!(seen.value("grantable"), Some(&Value::Bool(all)), "{by_hand}");
        assert_eq!(seen.value("grantable_only"), Some(&passed_on), "{by_hand}");
        object =
            world.done::<pg::Grant>(world.update::<pg::Grant>(&seen, &only(&[pg::Select]))).await;
        assert!(world.value(list).await.contains("passable_x=ar*/"), "{by_hand}");
    }
    let mut all = grant(&x, pg::Table::new("app", "t0"), &[pg::Select, pg::Insert]);
    all.grantable(true);
    object = world.done::<pg::Grant>(world.update::<pg::Grant>(&object, &all)).await;
    assert!(world.value(list).await.contains("passable_x=a*r*/"));
    world.gone::<pg::Grant>(world.delete(&object)).await;
}

async fn everybody_gets_back_what_each_column_had(cluster: &'static Cluster) {
    let world = World::new(cluster, "columns_back", &[]).await;
    world
        .run(
            "SET ROLE @_owner; GRANT SELECT (a, b), UPDATE (b) ON app.t0 TO PUBLIC;
            GRANT INSERT (c) ON app.t0 TO PUBLIC; RESET ROLE",
        )
        .await;
    let list = "SELECT attname, attacl FROM pg_attribute
        WHERE attrelid = 'app.t0'::regclass AND attnum > 0 ORDER BY 1";
    let before = world.rows(list).await;
    let mut public = pg::Public::builder();
    public.on(pg::Column::new("app", "t0", ["a", "b", "c"])).revoke([pg::Select, pg::Update]);
    let object = world.done::<pg::Public>(world.create::<pg::Public>(&public)).await;
    let taken = world.rows(list).await;
    assert!(taken.iter().all(|row| !row.contains("=r") && !row.contains("=w")), "{taken:?}");
    world.gone::<pg::Public>(world.delete(&object)).await;
    assert_eq!(world.rows(list).await, before);
}

async fn the_provider_is_not_locked_out(cluster: &'static Cluster) {
    let world = World::new(cluster, "locked", &[]).await;
    world
        .run("GRANT CONNECT ON DATABASE @ TO PUBLIC; REVOKE CONNECT ON DATABASE @ FROM @_observe")
        .await;
    let mut public = pg::Public::builder();
    public.on(pg::Database::new("locked")).revoke([pg::Connect, pg::Temporary]);
    let error = world.refused::<pg::Public>(world.create::<pg::Public>(&public)).await;
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(
        error.repair(),
        Some("GRANT CONNECT ON DATABASE \"locked\" TO \"locked_observe\" first")
    );
    world.run("GRANT CONNECT ON DATABASE @ TO @_observe").await;
    world.done::<pg::Public>(world.create::<pg::Public>(&public)).await;
}

async fn what_a_version_does_not_know_is_refused(cluster: &'static Cluster) {
    let world = World::new(cluster, "versions", &[]).await;
    let x = world.role("@_x").await;
    let maintain = grant(&x, pg::Table::new("app", "t0"), &[pg::Maintain]);
    let written = world.one::<pg::Grant>(world.create::<pg::Grant>(&maintain)).await;
    assert_eq!(written.is_ok(), world.version >= 17, "{written:?}");
    let mut large = pg::DefaultPrivileges::builder();
    large.to(Link::id(&x.id)).for_role("versions_owner").on(Future::LargeObjects);
    large.allow([pg::Select]);
    let request = world.create::<pg::DefaultPrivileges>(&large);
    let written = world.one::<pg::DefaultPrivileges>(request).await;
    assert_eq!(written.is_ok(), world.version >= 18, "{written:?}");
    let mut membership = pg::Membership::builder();
    membership.to(Link::id(&x.id)).of("versions_readers0").noset(true);
    let written = world.one::<pg::Membership>(world.create::<pg::Membership>(&membership)).await;
    assert_eq!(written.is_ok(), world.version >= 16, "{written:?}");
}

async fn nobody_is_granted_to_by_a_name_that_means_everybody(cluster: &'static Cluster) {
    let world = World::new(cluster, "names", &[]).await;
    let x = world.role("@_x").await;
    for name in ["public", "PUBLIC", "none", "None", "рublic", "pg_mine"] {
        let mut role = pg::Role::builder();
        role.name(name);
        let error = world.refused::<pg::Role>(world.create::<pg::Role>(&role)).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error:?}");
    }
    for name in ["public", "none"] {
        let mut membership = pg::Membership::builder();
        membership.to(Link::id(&x.id)).of(name);
        let request = world.create::<pg::Membership>(&membership);
        assert_eq!(world.refused::<pg::Membership>(request).await.kind(), ErrorKind::InvalidInput);
    }
    // Names that are only odd are names.
    for (n, name) in ["a\"b", "a'; DROP ROLE x; --", "Ünïcode ☃", "SELECT"].into_iter().enumerate()
    {
        let mut role = pg::Role::builder();
        role.name(format!("names {name}"));
        let role = world.done::<pg::Role>(world.create::<pg::Role>(&role)).await;
        let on = grant(&role, pg::Table::new("app", format!("t{n}")), &[pg::Select]);
        world.done::<pg::Grant>(world.create::<pg::Grant>(&on)).await;
        world.gone::<pg::Role>(world.delete(&role)).await;
    }
}
