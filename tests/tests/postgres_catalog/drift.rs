//! What somebody changed by hand.

use std::collections::BTreeSet;

use agent_iac_tests::on_each_version;

use super::*;

on_each_version![
    what_nobody_would_take_over_says_so,
    a_grant_by_another_grantor_is_another_grant_and_says_who_has_to_take_it_back,
    what_a_login_was_given_for_itself_is_its_roles,
    a_membership_is_seen_however_it_reaches,
    who_can_act_as_the_role_is_seen,
    a_change_within_what_is_declared_is_seen_where_it_was_made,
];

async fn a_grant_by_another_grantor_is_another_grant_and_says_who_has_to_take_it_back(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "grantor", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_dba; CREATE ROLE @_between; CREATE SCHEMA s;
             GRANT ALL ON SCHEMA s TO @_admins, @_dba, @_between;
             CREATE TABLE s.t (a int); ALTER TABLE s.t OWNER TO @_admins;
             GRANT SELECT ON s.t TO @_dba WITH GRANT OPTION;
             GRANT SELECT ON s.t TO @_between WITH GRANT OPTION; GRANT @_between TO @_admins;
             SET ROLE @_admins; GRANT SELECT, INSERT ON s.t TO @_to; RESET ROLE;
             SET ROLE @_between; GRANT SELECT ON s.t TO @_to; RESET ROLE;
             SET ROLE @_dba; GRANT SELECT ON s.t TO @_to WITH GRANT OPTION; RESET ROLE;",
        )
        .await;
    let to = world.oid("@_to").await;
    let dba = world.oid("@_dba").await;
    let between = world.oid("@_between").await;
    let listed = world.list("postgres.grant", &["@_to"]).await;
    let mut expected = [
        format!("{to} on table s.t by owner: allow=[\"insert\",\"select\"] grantable=false"),
        format!("{to} on table s.t by {between}: allow=[\"select\"] grantable=false"),
        format!(
            "{to} on table s.t by {dba}: allow=[\"select\"] grantable=true [it was given by \
             `grantor_dba`, and `grantor_admins` cannot become that role; revoke it as that role, \
             or GRANT \"grantor_dba\" TO \"grantor_admins\"]"
        ),
    ];
    expected.sort();
    assert_eq!(lines(&listed), expected);
    let key = [("to", to.as_str().into()), ("on", Value::from(&pg::Table::new("s", "t")))];
    let ours = world.read_key("postgres.grant", &key).await;
    assert!(ours.object().unwrap().id.ends_with("by owner"), "{ours:?}");
    world.run("SET ROLE @_admins; REVOKE ALL ON s.t FROM @_to; RESET ROLE").await;
    assert_eq!(
        world.read_key("postgres.grant", &key).await,
        Observation::Absent,
        "what others gave is no declaration of ours"
    );
    assert_eq!(world.list("postgres.grant", &["@_to"]).await.len(), 2);
}

async fn what_a_login_was_given_for_itself_is_its_roles(cluster: &'static Cluster) {
    let world = World::new(cluster, "own", &[]).await;
    // Made before the defaults below, which would be for its tables too.
    world.run(&pg::server::registry::ddl(Some("own_observe"))).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_to__g7 LOGIN IN ROLE @_to; CREATE ROLE @_dba;
             ALTER ROLE @_to__g7 SET role = '@_to';
             CREATE SCHEMA s; CREATE TABLE s.t (a int); CREATE TABLE s.u (a int);
             GRANT SELECT ON s.t TO @_to__g7; ALTER TABLE s.u OWNER TO @_to__g7;
             GRANT @_dba TO @_to__g7; CREATE POLICY p ON s.t TO @_to__g7;
             ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO @_to__g7;",
        )
        .await;
    let (to, login) = (world.oid("@_to").await, world.oid("@_to__g7").await);
    // One that nobody registered is somebody's own role, and not ours to end.
    world
        .run(&format!(
            "INSERT INTO agent_iac.objects VALUES
                ('postgres.login', '{login}', 'f', 'e', 'a.login', '{{\"role\": \"{to}\"}}')"
        ))
        .await;
    for ty in [
        "postgres.grant",
        "postgres.ownership",
        "postgres.membership",
        "postgres.policy",
        "postgres.default_privileges",
    ] {
        let listed = world.list(ty, &["@_to"]).await;
        assert_eq!(listed.len(), 1, "{ty}: {listed:?}");
        assert_eq!(listed[0].value("to"), Some(&to.as_str().into()), "{ty} belongs to the agent");
    }
    let login_of = async || {
        let listed = world.list("postgres.login", &["@_to"]).await;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].id, login);
        listed[0].value("of").unwrap().as_text().unwrap().to_owned()
    };
    assert_eq!(login_of().await, to);
    for (change, back, says) in [
        ("CREATEDB", "NOCREATEDB", "createdb by itself"),
        ("SET search_path = evil", "RESET search_path", "`search_path` = `evil`"),
        ("SET role = own_dba", "SET role = own_to", "it becomes `own_dba`"),
    ] {
        world.run(&format!("ALTER ROLE @_to__g7 {change}")).await;
        let of = login_of().await;
        assert!(of.contains(says), "{of}, not {says}");
        world.run(&format!("ALTER ROLE @_to__g7 {back}")).await;
        assert_eq!(login_of().await, to);
    }
}

async fn a_membership_is_seen_however_it_reaches(cluster: &'static Cluster) {
    let world = World::new(cluster, "member", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_quiet NOINHERIT; CREATE ROLE @_of; CREATE ROLE @_by;
             GRANT @_of TO @_quiet, @_to; CREATE ROLE @_more; GRANT @_more TO @_to WITH ADMIN OPTION",
        )
        .await;
    let (quiet, of) = (world.oid("@_quiet").await, world.oid("@_of").await);
    let quiets = world.list("postgres.membership", &["@_quiet"]).await;
    // From 16 a membership by a superuser has a grantor whom others cannot be.
    let by = if cluster.version() >= 16 { "10" } else { "0" };
    assert_eq!(quiets[0].id, format!("{quiet} in {of} by {by}"));
    assert_eq!(quiets[0].value("noinherit"), Some(&true.into()));
    assert_eq!(quiets[0].value("noset"), Some(&false.into()));
    assert_eq!(quiets[0].obstacle.is_some(), cluster.version() >= 16, "{quiets:?}");
    let to = world.list("postgres.membership", &["@_to"]).await;
    let admin: Vec<_> = to.iter().map(|m| (m.value("of"), m.value("admin"))).collect();
    assert!(admin.contains(&(Some(&"member_more".into()), Some(&true.into()))), "{admin:?}");
    let key = [("to", quiet.as_str().into()), ("of", Value::from("member_of"))];
    let read = world.read_key("postgres.membership", &key).await;
    assert_eq!(read, Observation::Present(quiets[0].clone()));
    if cluster.version() == 15 {
        return;
    }
    // Another grantor's is another membership, and ours comes first.
    world
        .run(
            "GRANT @_of TO @_admins, @_by WITH ADMIN OPTION;
             SET ROLE @_by; GRANT @_of TO @_to WITH INHERIT FALSE, SET FALSE; RESET ROLE;
             SET ROLE @_admins; GRANT @_of TO @_to WITH INHERIT FALSE; RESET ROLE;",
        )
        .await;
    let to = world.oid("@_to").await;
    let key = [("to", to.as_str().into()), ("of", Value::from("member_of"))];
    let ours = world.read_key("postgres.membership", &key).await;
    let ours = ours.object().unwrap();
    assert_eq!(ours.value("grantor"), Some(&"member_admins".into()));
    assert_eq!((ours.value("noinherit"), &ours.obstacle), (Some(&true.into()), &None));
    let listed = world.list("postgres.membership", &["@_to"]).await;
    let of_it = listed.iter().filter(|m| m.value("of") == Some(&"member_of".into())).count();
    assert_eq!(of_it, 3);
}

async fn who_can_act_as_the_role_is_seen(cluster: &'static Cluster) {
    let world = World::new(cluster, "acting", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_to__g1 LOGIN IN ROLE @_to;
             ALTER ROLE @_to__g1 SET role = '@_to'; ALTER ROLE @_to__g1 CONNECTION LIMIT 5;
             CREATE ROLE @_mallory LOGIN IN ROLE @_to; CREATE ROLE @_group IN ROLE @_to;
             CREATE ROLE @_to__g01 LOGIN IN ROLE @_to;
             GRANT @_to TO @_admins;",
        )
        .await;
    let listed = world.list("postgres.login", &["@_to"]).await;
    let to = world.oid("@_to").await;
    let mut seen: Vec<(String, String)> = listed
        .iter()
        .map(|login| {
            let user = login.value("user").unwrap().as_text().unwrap().to_owned();
            assert_eq!(login.value("of").unwrap().as_text(), Some(to.as_str()));
            (user, login.id.clone())
        })
        .collect();
    seen.sort();
    let mut expected = Vec::new();
    // None of them was made by the engine, whatever it is called.
    for name in ["@_to__g1", "@_mallory", "@_group", "@_to__g01"] {
        let oid = world.oid(name).await;
        expected.push((world.named(name), format!("{oid} in {to}")));
    }
    expected.sort();
    assert_eq!(seen, expected);
    let named = Some(&Value::from("acting_to__g1"));
    let login = listed.iter().find(|login| login.value("user") == named).unwrap();
    assert_eq!(login.value("connection_limit"), Some(&Value::Int(5)));
    // The credential is no identity of its own, and what only looks like one
    // is.
    let roles = world.listed("postgres.role", &Listing::All).await;
    let names: Vec<&str> =
        roles.iter().filter_map(|role| role.value("name").and_then(Value::as_text)).collect();
    assert!(names.contains(&"acting_to__g01") && names.contains(&"acting_mallory"));
    assert!(!names.contains(&"acting_to__g1") && !names.contains(&"acting_admins"));
}

async fn a_change_within_what_is_declared_is_seen_where_it_was_made(cluster: &'static Cluster) {
    let world = World::new(cluster, "within", &[]).await;
    let ddl = pg::server::registry::ddl(Some("within_observe"));
    world
        .run(&format!(
            "CREATE ROLE @_to; CREATE ROLE @_creator; CREATE SCHEMA s;
             CREATE TABLE s.t (a int, b int, c int);
             GRANT SELECT (a, b) ON s.t TO @_to; GRANT UPDATE (b) ON s.t TO @_to; {ddl}"
        ))
        .await;
    let to = world.oid("@_to").await;
    let (wide, narrow) =
        (format!("{to} on table s.t (a, b) by owner"), format!("{to} on table s.t (b) by owner"));
    for (id, allow) in [(&wide, "select"), (&narrow, "update")] {
        world
            .run(&format!(
                "INSERT INTO agent_iac.objects VALUES ('postgres.grant', '{id}', 'f', 'e', 'a.b',
                    '{{\"allow\": [\"{allow}\"]}}')"
            ))
            .await;
    }
    let allowed = async || {
        let listed = world.list("postgres.grant", &["@_to"]).await;
        let allow = |object: &Object| format!("{} {}", object.id, object.value("allow").unwrap());
        listed.iter().map(allow).collect::<BTreeSet<String>>()
    };
    let declared = [format!("{wide} [\"select\"]"), format!("{narrow} [\"update\"]")];
    assert_eq!(allowed().await, BTreeSet::from(declared.clone()));

    // On one column more, and more on one that is declared.
    world.run("GRANT SELECT (c), INSERT (a) ON s.t TO @_to").await;
    let mut expected = BTreeSet::from(declared);
    expected.insert(format!("{to} on table s.t (a) by owner [\"insert\"]"));
    expected.insert(format!("{to} on table s.t (c) by owner [\"select\"]"));
    assert_eq!(allowed().await, expected);
    // And less: a grant that one of its columns lost is there no more.
    world.run("REVOKE SELECT (a) ON s.t FROM @_to").await;
    assert_eq!(world.read_id("postgres.grant", &wide).await, Observation::Absent);

    assert_eq!(world.list("postgres.default_privileges", &["@_to"]).await, []);
    world
        .run("ALTER DEFAULT PRIVILEGES FOR ROLE @_creator IN SCHEMA s GRANT ALL ON TABLES TO @_to")
        .await;
    let defaults = world.list("postgres.default_privileges", &["@_to"]).await;
    let creator = world.oid("@_creator").await;
    assert_eq!(defaults[0].id, format!("{to} on future tables of {creator} in schema s"));
    let why = defaults[0].obstacle.as_ref().unwrap();
    assert!(why.contains("`within_creator`, and `within_admins` cannot become"), "{why}");

    world.run("ALTER ROLE @_to SET role = @_creator").await;
    let role = world.read_id("postgres.role", &to).await;
    let settings = role.object().unwrap().value("settings").unwrap().to_string();
    assert_eq!(settings, r#"{"role":"within_creator"}"#);

    world.run("CREATE SCHEMA mine AUTHORIZATION @_to").await;
    let owned = world.list("postgres.ownership", &["@_to"]).await;
    assert_eq!(owned[0].id, format!("{to} owns schema mine"));
}

async fn what_nobody_would_take_over_says_so(cluster: &'static Cluster) {
    let world = World::new(cluster, "heirless", &[]).await;
    let ddl = agent_iac::providers::postgres::server::registry::ddl(Some("heirless_observe"));
    world
        .run(
            "CREATE ROLE @_to; CREATE SCHEMA s; CREATE TABLE s.t (); ALTER TABLE s.t OWNER TO @_to;
             GRANT @_to TO @_admins; GRANT CREATE ON DATABASE @ TO @_admins",
        )
        .await;
    world.run(&format!("SET ROLE @_admins; {ddl}; RESET ROLE")).await;
    let obstacle = async || world.list("postgres.ownership", &["@_to"]).await.remove(0).obstacle;
    let why = obstacle().await.unwrap();
    assert!(why.contains("give the role an `heir`"), "{why}");
    let to = world.oid("@_to").await;
    let detail = r#"{"heir": "dba"}"#;
    world
        .run(&format!(
            "INSERT INTO agent_iac.objects
                VALUES ('postgres.role', '{to}', 'fleet', 'test', 'a.role', '{detail}')"
        ))
        .await;
    assert_eq!(obstacle().await, None);
}
