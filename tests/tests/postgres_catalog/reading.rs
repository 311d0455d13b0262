//! What is read, in the form of a declaration.

use agent_iac_tests::on_each_version;

use super::*;

on_each_version![
    a_role_is_read_with_every_attribute_and_setting,
    every_kind_of_object_is_found_by_its_name_and_by_whose_it_is,
    names_of_any_kind_are_read_back,
    what_is_in_another_database_is_read_there_or_is_unread,
    a_policy_is_read_and_one_that_does_not_hold_says_so,
    what_is_registered_is_marked_and_explains_itself,
    what_is_gone_is_absent,
    an_observer_needs_no_right_but_to_connect,
    a_thousand_roles_cost_as_many_requests_as_one,
];

async fn a_role_is_read_with_every_attribute_and_setting(cluster: &'static Cluster) {
    let world = World::new(cluster, "roles", &[]).await;
    world
        .run(
            "CREATE ROLE @_plain;
             CREATE ROLE @_all LOGIN NOINHERIT CREATEDB CREATEROLE BYPASSRLS REPLICATION SUPERUSER
                CONNECTION LIMIT 3 VALID UNTIL '2027-06-30 02:00:00+02';
             CREATE ROLE @_ever LOGIN VALID UNTIL 'infinity';
             ALTER ROLE @_all SET work_mem = '64MB';
             ALTER ROLE @_all IN DATABASE @ SET search_path = 'a', 'b c';",
        )
        .await;
    let by_key = |name: &str| Reference::Key([("name".to_owned(), name.into())].into());
    let oid = world.oid("@_all").await;
    let found = world
        .read(
            "postgres.role",
            &[
                by_key("roles_plain"),
                Reference::Id(oid.clone()),
                by_key("roles_nobody"),
                by_key("roles_ever"),
                by_key(&"n".repeat(70)),
            ],
        )
        .await;
    let shown: Vec<String> =
        found.iter().map(|found| found.object().map_or("absent".into(), line)).collect();
    let plain = world.oid("@_plain").await;
    let ever = world.oid("@_ever").await;
    let no = "bypassrls=false createdb=false createrole=false login=false name=\"roles_plain\" \
              noinherit=false replication=false settings={} superuser=false";
    // From 16 it takes the admin option to change a role.
    let obstacle = |name: &str| match cluster.version() {
        15 => String::new(),
        _ => format!(
            " [`roles_admins` may not administer it; GRANT \"{name}\" TO \"roles_admins\" WITH ADMIN OPTION]"
        ),
    };
    assert_eq!(
        shown,
        [
            format!("{plain}: {no}{}", obstacle("roles_plain")),
            format!(
                "{oid}: bypassrls=true connection_limit=3 createdb=true createrole=true login=true \
                 name=\"roles_all\" noinherit=true replication=true \
                 settings={{\"search_path@roles\":\"a, \\\"b c\\\"\",\"work_mem\":\"64MB\"}} \
                 superuser=true valid_until=\"2027-06-30 00:00:00+00\" \
                 [it is superuser, and `roles_admins` is not; change it as a superuser]"
            ),
            "absent".into(),
            format!(
                "{ever}: {}{}",
                no.replace("login=false", "login=true").replace("_plain", "_ever"),
                obstacle("roles_ever")
            ),
            "absent".into(),
        ]
    );
}

async fn every_kind_of_object_is_found_by_its_name_and_by_whose_it_is(cluster: &'static Cluster) {
    let world = World::new(cluster, "kinds", &[]).await;
    world
        .run(
            "CREATE ROLE @_to;
             CREATE SCHEMA s; CREATE TABLE s.t (a int, b int); CREATE VIEW s.v AS SELECT 1 AS a;
             CREATE SEQUENCE s.q; CREATE TYPE s.e AS ENUM ('x'); CREATE DOMAIN s.d AS int;
             CREATE FUNCTION s.f(a int, OUT b text, VARIADIC c s.e[]) LANGUAGE sql
                AS $$ SELECT 'x' $$;
             CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
             CREATE PROCEDURE s.p(numeric(10,2)) LANGUAGE sql AS $$ SELECT 1 $$;
             CREATE AGGREGATE s.g(int) (SFUNC = int4pl, STYPE = int);
             CREATE FOREIGN DATA WRAPPER @_w; CREATE SERVER @_s FOREIGN DATA WRAPPER @_w;
             SELECT lo_create(4711);
             GRANT SELECT, INSERT ON s.t TO @_to; GRANT SELECT ON s.v TO @_to WITH GRANT OPTION;
             GRANT USAGE ON SEQUENCE s.q TO @_to; GRANT USAGE ON TYPE s.e, s.d TO @_to;
             GRANT EXECUTE ON FUNCTION s.f(int, s.e[]), s.f(), s.g(int) TO @_to;
             GRANT EXECUTE ON PROCEDURE s.p(numeric) TO @_to;
             GRANT USAGE ON SCHEMA s TO @_to; GRANT CONNECT, TEMP ON DATABASE @ TO @_to;
             GRANT USAGE ON LANGUAGE plpgsql TO @_to;
             GRANT USAGE ON FOREIGN DATA WRAPPER @_w TO @_to;
             GRANT USAGE ON FOREIGN SERVER @_s TO @_to;
             GRANT SELECT ON LARGE OBJECT 4711 TO @_to;
             GRANT CREATE ON TABLESPACE pg_default TO @_to;
             GRANT SET ON PARAMETER log_min_messages TO @_to;
             GRANT SELECT (a, b), UPDATE (b) ON s.t TO @_to;
             GRANT EXECUTE ON FUNCTION pg_read_file(text) TO @_to;",
        )
        .await;
    let to = world.oid("@_to").await;
    let objects = world.list("postgres.grant", &["@_to"]).await;
    let all = |what: &str| format!("{to} on {what}");
    let expected: Vec<String> = [
        "data-type s.d by owner: allow=[\"usage\"] grantable=false",
        "data-type s.e by owner: allow=[\"usage\"] grantable=false",
        "database kinds by owner: allow=[\"connect\",\"temporary\"] grantable=false",
        "foreign-server kinds_s by owner: allow=[\"usage\"] grantable=false",
        "foreign-wrapper kinds_w by owner: allow=[\"usage\"] grantable=false",
        "function pg_catalog.pg_read_file(text) by owner: allow=[\"execute\"] grantable=false",
        "function s.f() by owner: allow=[\"execute\"] grantable=false",
        "function s.f(integer, s.e[]) by owner: allow=[\"execute\"] grantable=false",
        "function s.g(integer) by owner: allow=[\"execute\"] grantable=false",
        "language plpgsql by owner: allow=[\"usage\"] grantable=false",
        "large-object 4711 by owner: allow=[\"select\"] grantable=false",
        "parameter log_min_messages by owner: allow=[\"set\"] grantable=false",
        "procedure s.p(numeric) by owner: allow=[\"execute\"] grantable=false",
        "schema s by owner: allow=[\"usage\"] grantable=false",
        "sequence s.q by owner: allow=[\"usage\"] grantable=false",
        "table s.t (a) by owner: allow=[\"select\"] grantable=false",
        "table s.t (b) by owner: allow=[\"select\",\"update\"] grantable=false",
        "table s.t by owner: allow=[\"insert\",\"select\"] grantable=false",
        "table s.v by owner: allow=[\"select\"] grantable=true",
        "tablespace pg_default by owner: allow=[\"create\"] grantable=false",
    ]
    .into_iter()
    .map(all)
    .collect();
    let shown: Vec<String> = lines(&objects)
        .into_iter()
        .map(|line| line.split(" [it was given by `postgres`").next().unwrap().to_owned())
        .collect();
    assert_eq!(shown, expected);
    // By key, each is the one by its owner.
    for object in &objects {
        let key: Vec<(&str, Value)> = ["to", "on"]
            .map(|field| (field, object.value(field).unwrap().clone()))
            .into_iter()
            .collect();
        let read = world.read_key("postgres.grant", &key).await;
        assert_eq!(read, Observation::Present(object.clone()), "by key");
    }
    assert_eq!(objects[0].value("grantor"), Some(&"postgres".into()));

    world
        .run(
            "ALTER TABLE s.t OWNER TO @_to; ALTER SEQUENCE s.q OWNER TO @_to;
             ALTER SCHEMA s OWNER TO @_to; ALTER FUNCTION s.f() OWNER TO @_to;
             ALTER TYPE s.e OWNER TO @_to; ALTER LARGE OBJECT 4711 OWNER TO @_to;
             ALTER TABLE s.t ADD COLUMN i int GENERATED ALWAYS AS IDENTITY, ADD COLUMN z serial;
             CREATE OPERATOR s.### (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
             ALTER OPERATOR s.### (int, int) OWNER TO @_to; ALTER DATABASE @ OWNER TO @_to;
             CREATE INDEX ON s.t (a); ALTER SERVER @_s OWNER TO @_to;",
        )
        .await;
    let owned = world.list("postgres.ownership", &["@_to"]).await;
    let ids: Vec<&str> = owned.iter().map(|owned| owned.id.as_str()).collect();
    let mut expected: Vec<String> = [
        "data-type s.e",
        "database kinds",
        "foreign-server kinds_s",
        "function s.f()",
        "large-object 4711",
        "operator s.###(integer,integer)",
        "schema s",
        "sequence s.q",
        "table s.t",
    ]
    .map(|what| format!("{to} owns {what}"))
    .into();
    let mut ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
    let key = [("on", Value::from(&pg::Table::new("s", "t")))];
    let read = world.read_key("postgres.ownership", &key).await;
    assert_eq!(read, Observation::Absent, "what nobody declared is nobody's declaration");
}

async fn names_of_any_kind_are_read_back(cluster: &'static Cluster) {
    let world = World::new(cluster, "names", &[]).await;
    world
        .run(
            r#"CREATE ROLE "@_We ""ird'. Ü"; CREATE SCHEMA "S. (x) by 10";
               CREATE TYPE "S. (x) by 10"."Ty, pe" AS (a int);
               CREATE TABLE "S. (x) by 10"."T "" on""é" ("Col, (umn" int, b int);
               CREATE FUNCTION "S. (x) by 10"."f in x"("S. (x) by 10"."Ty, pe", numeric(3,1)[])
                   RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
               GRANT SELECT ON "S. (x) by 10"."T "" on""é" TO "@_We ""ird'. Ü";
               GRANT UPDATE ("Col, (umn") ON "S. (x) by 10"."T "" on""é" TO "@_We ""ird'. Ü";
               GRANT EXECUTE ON FUNCTION
                   "S. (x) by 10"."f in x"("S. (x) by 10"."Ty, pe", numeric[])
                   TO "@_We ""ird'. Ü";
               ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA "S. (x) by 10"
                   GRANT SELECT ON TABLES TO "@_We ""ird'. Ü";"#,
        )
        .await;
    let oid = world.oid("@_We \"ird''. Ü").await;
    let listing = Listing::Of(vec![oid]);
    assert_eq!(world.listed("postgres.grant", &listing).await.len(), 3);
    let defaults = world.listed("postgres.default_privileges", &listing).await;
    assert_eq!(defaults.len(), 1);
    assert_eq!(defaults[0].value("in_schema"), Some(&"S. (x) by 10".into()));
    // What no cluster can hold is not there, and not an error of the server.
    for on in [
        pg::Table::new("s", "n".repeat(64)),
        pg::Table::new("s\0", "t"),
        pg::LargeObject::new("many"),
        pg::Function::new("s", "f", ["('); DROP"]),
    ] {
        let key = [("to", "10".into()), ("on", Value::from(&on))];
        assert_eq!(world.read_key("postgres.grant", &key).await, Observation::Absent, "{on}");
    }
}

async fn what_is_in_another_database_is_read_there_or_is_unread(cluster: &'static Cluster) {
    let world = World::new(cluster, "many", &["many_other", "many_closed", "many_gone"]).await;
    for name in ["many_other", "many_closed", "many_foreign"] {
        cluster.database(name).await;
        cluster.sql(name, "CREATE SCHEMA s; CREATE TABLE s.t (a int)").await;
    }
    world.run("CREATE ROLE @_to; REVOKE CONNECT ON DATABASE @_closed FROM PUBLIC").await;
    for name in ["many_other", "many_foreign"] {
        cluster
            .sql(
                name,
                "GRANT SELECT ON s.t TO many_to; CREATE POLICY p ON s.t TO many_to USING (true);
                 ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO many_to",
            )
            .await;
    }
    let to = world.oid("@_to").await;
    let on = |database: &str| {
        let on = pg::Table::new("s", "t").in_database(database);
        Reference::Key([("to".into(), to.as_str().into()), ("on".into(), Value::from(&on))].into())
    };
    let asked = ["many_other", "many_closed", "many_gone", "many_foreign", "many"].map(on);
    let found = world.read("postgres.grant", &asked).await;
    assert!(
        matches!(&found[0], Observation::Present(o) if o.id.ends_with("in many_other by owner")),
        "{found:?}"
    );
    for (place, says) in [
        (1, "permission denied for database"),
        (2, "does not exist"),
        (3, "none of the provider's"),
        (4, "leave `database` out"),
    ] {
        let Observation::Unread(why) = &found[place] else { panic!("{:?}", found[place]) };
        assert!(why.contains(says), "{why}, not {says}");
    }
    // Nothing of the role is in those that cannot be read, so that the list is
    // whole all the same.
    for ty in ["postgres.grant", "postgres.default_privileges", "postgres.policy"] {
        let listed = world.list(ty, &["@_to"]).await;
        assert_eq!(listed.len(), 1, "{ty}");
        assert!(listed[0].id.contains("many_other"), "{}", listed[0].id);
    }
    cluster.sql("many_closed", "GRANT SELECT ON s.t TO many_to").await;
    let error = world.of("postgres.grant").list(&Listing::Of(vec![to])).await.unwrap_err();
    assert!(error.message().contains("many_closed"), "{error:?}");
}

async fn a_policy_is_read_and_one_that_does_not_hold_says_so(cluster: &'static Cluster) {
    let world = World::new(cluster, "policies", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_with; CREATE SCHEMA s;
             CREATE TABLE s.t (a int, who text); ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;
             CREATE POLICY mine ON s.t FOR UPDATE TO @_to USING (who=current_user)
                WITH CHECK (a>0);
             CREATE POLICY ours ON s.t AS RESTRICTIVE TO @_to, @_with USING (a < 9);
             CREATE POLICY everybodys ON s.t FOR SELECT USING (true);",
        )
        .await;
    let listed = world.list("postgres.policy", &["@_to"]).await;
    assert_eq!(listed.len(), 2);
    let mine = line(&listed[0]);
    assert!(
        mine.contains(
            "check=\"(a > 0)\" command=\"update\" name=\"mine\" restrictive=false secures=false \
             using=\"(who = CURRENT_USER)\""
        ),
        "{mine}"
    );
    let ours = line(&listed[1]);
    assert!(ours.contains("restrictive=true"), "{ours}");
    assert!(ours.contains("it is for `policies_to` and `policies_with` together"), "{ours}");
    let on = ("on", Value::from(&pg::Table::new("s", "t")));
    let read = world.read_key("postgres.policy", &[on.clone(), ("name", "ours".into())]).await;
    let to = &read.object().unwrap().fields["to"];
    assert!(
        matches!(to, Reading::Unreadable(why) if why.contains("and `policies_with`")),
        "{to:?}"
    );

    world.run("ALTER TABLE s.t DISABLE ROW LEVEL SECURITY").await;
    let read = world.read_key("postgres.policy", &[on, ("name", "mine".into())]).await;
    let object = read.object().unwrap();
    assert_eq!(object.value("using"), Some(&"true".into()), "every row is seen now");
    assert!(object.obstacle.as_ref().unwrap().contains("ENABLE ROW LEVEL SECURITY"));
}

async fn what_is_registered_is_marked_and_explains_itself(cluster: &'static Cluster) {
    let world = World::new(cluster, "marks", &[]).await;
    let ddl = agent_iac::providers::postgres::server::registry::ddl(Some("marks_observe"));
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_to__g3 LOGIN IN ROLE @_to;
             ALTER ROLE @_to__g3 SET role = '@_to';
             CREATE SCHEMA s; CREATE TABLE s.t (a int, b int, c int);
             ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;
             CREATE POLICY p ON s.t TO @_to USING (a=1);
             GRANT SELECT (a, b) ON s.t TO @_to; GRANT UPDATE (b, c) ON s.t TO @_to;
             REVOKE TEMP ON DATABASE @ FROM PUBLIC;
             CREATE TABLE s.own (); ALTER TABLE s.own OWNER TO @_to;
             GRANT CREATE ON DATABASE @ TO @_admins;",
        )
        .await;
    world.run(&format!("SET ROLE @_admins; {ddl}; RESET ROLE")).await;
    let to = world.oid("@_to").await;
    let login = world.oid("@_to__g3").await;
    let policy = world.admin.value("SELECT oid FROM pg_policy WHERE polname = 'p'").await;
    let rows = [
        ("postgres.role", to.clone(), format!(r#"{{"heir": "dba", "suspended": [{login}]}}"#)),
        ("postgres.login", login.clone(), "{}".into()),
        ("postgres.grant", format!("{to} on table s.t (a, b) by owner"), "{}".into()),
        (
            "postgres.policy",
            format!("policy {policy}"),
            r#"{"using": {"declared": "a=1", "server": "(a = 1)"}}"#.into(),
        ),
        (
            "postgres.public",
            "PUBLIC on database marks".into(),
            r#"{"revoke": ["temporary", "connect"]}"#.into(),
        ),
        ("postgres.ownership", format!("{to} owns table s.own"), r#"{"heir": "dba"}"#.into()),
    ];
    for (ty, id, detail) in &rows {
        world
            .run(&format!(
                "INSERT INTO agent_iac.objects VALUES
                    ('{ty}', '{id}', 'fleet', 'test', 'a.{}', '{detail}')",
                ty.split('.').next_back().unwrap().replace('_', "")
            ))
            .await;
    }
    let present = async |ty: &str, id: &str| match world.read_id(ty, id).await {
        Observation::Present(object) => object,
        other => panic!("{ty} {id}: {other:?}"),
    };
    let role = present("postgres.role", &to).await;
    let mark = role.mark.clone().unwrap();
    assert_eq!((mark.fleet.as_str(), mark.address.to_string().as_str()), ("fleet", "a.role"));
    assert_eq!(role.value("heir"), Some(&"dba".into()));
    assert!(!role.suspended, "its login works, whatever was registered");
    world.run("ALTER ROLE @_to__g3 NOLOGIN").await;
    assert!(present("postgres.role", &to).await.suspended);

    let found = present("postgres.login", &login).await;
    assert_eq!(found.value("of"), Some(&to.as_str().into()));
    assert_eq!(found.value("user"), Some(&"marks_to__g3".into()));
    assert!(found.mark.is_some());
    world.run("ALTER ROLE @_to__g3 RESET role").await;
    let changed = present("postgres.login", &login).await;
    let of = changed.value("of").unwrap().as_text().unwrap();
    assert!(of.contains("its setting `role` is gone"), "{of}");

    // The owner's own entries are ownership: nothing of it is listed but what
    // is registered as a grant.
    let policy = present("postgres.policy", &format!("policy {policy}")).await;
    assert_eq!(policy.value("using"), Some(&"a=1".into()), "as it was declared");
    let public = present("postgres.public", "PUBLIC on database marks").await;
    let taken = Value::List(vec!["temporary".into()]);
    assert_eq!(public.value("revoke"), Some(&taken), "of the two, CONNECT was given back");
    let all = world.listed("postgres.public", &Listing::All).await;
    assert_eq!(all.len(), 1);
    let owned = present("postgres.ownership", &format!("{to} owns table s.own")).await;
    assert_eq!(owned.value("heir"), Some(&"dba".into()));
    let on = [("on", Value::from(&pg::Table::new("s", "own")))];
    let by_key = world.read_key("postgres.ownership", &on).await;
    assert_eq!(by_key, Observation::Present(owned));

    // Somebody else's registry is not believed.
    world
        .run(
            "ALTER SCHEMA agent_iac OWNER TO @_to;
              ALTER TABLE agent_iac.registry OWNER TO @_to;
              ALTER TABLE agent_iac.claims OWNER TO @_to;
              ALTER TABLE agent_iac.objects OWNER TO @_to",
        )
        .await;
    let refused = world.of("postgres.role").read(&[Reference::Id(to)]).await.unwrap_err();
    assert!(refused.message().contains("belongs to `marks_to`"), "{refused:?}");
}

async fn what_is_gone_is_absent(cluster: &'static Cluster) {
    let world = World::new(cluster, "gone", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_of; GRANT @_of TO @_to; CREATE SCHEMA s;
             CREATE TABLE s.t (a int, b int); GRANT SELECT ON s.t TO @_to;
             GRANT UPDATE (a) ON s.t TO @_to; CREATE POLICY p ON s.t TO @_to;
             ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO @_to;
             CREATE TABLE s.own (a int); ALTER TABLE s.own OWNER TO @_to;
             CREATE ROLE @_to__g1 LOGIN IN ROLE @_to; ALTER ROLE @_to__g1 SET role = '@_to'",
        )
        .await;
    let types = [
        "postgres.role",
        "postgres.grant",
        "postgres.membership",
        "postgres.policy",
        "postgres.default_privileges",
        "postgres.ownership",
        "postgres.login",
    ];
    let mut ids = Vec::new();
    for ty in types {
        let listed = world.list(ty, &["@_to"]).await;
        assert!(!listed.is_empty(), "{ty}");
        ids.extend(listed.into_iter().map(|object| (ty, object.id)));
    }
    // The name of a table is another's now, and the role is gone.
    world
        .run(
            "DROP TABLE s.t, s.own; CREATE TABLE s.t (a int); DROP ROLE @_to__g1;
             DROP OWNED BY @_to; DROP ROLE @_to; CREATE ROLE @_to",
        )
        .await;
    for (ty, id) in ids {
        assert_eq!(world.read_id(ty, &id).await, Observation::Absent, "{ty} {id}");
    }
}

async fn an_observer_needs_no_right_but_to_connect(cluster: &'static Cluster) {
    let world = World::new(cluster, "bare", &[]).await;
    world
        .run(
            "REVOKE ALL ON DATABASE @ FROM PUBLIC; GRANT CONNECT ON DATABASE @ TO @_observe;
             CREATE ROLE @_to; CREATE SCHEMA s; CREATE TABLE s.t (a int);
             REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT SELECT (a) ON s.t TO @_to",
        )
        .await;
    for ty in world.observers.types().map(|ty| ty.name) {
        world.list(ty, &["@_to"]).await;
    }
    assert_eq!(world.list("postgres.grant", &["@_to"]).await.len(), 1);
    let all = world.listed("postgres.role", &Listing::All).await;
    let names: Vec<&str> =
        all.iter().filter_map(|role| role.value("name").and_then(Value::as_text)).collect();
    assert!(names.contains(&"bare_to"));
    assert!(!names.contains(&"postgres") && !names.contains(&"bare_observe"), "{names:?}");
}

async fn a_thousand_roles_cost_as_many_requests_as_one(cluster: &'static Cluster) {
    let world = World::new(cluster, "count", &[]).await;
    world
        .run(
            "CREATE SCHEMA s; CREATE TABLE s.t (a int, b int);
             DO $$ BEGIN FOR i IN 1..1000 LOOP
                EXECUTE format('CREATE ROLE @_%s', i);
                EXECUTE format('GRANT SELECT (a) ON s.t TO @_%s', i);
                EXECUTE format('GRANT pg_monitor TO @_%s', i);
             END LOOP; END $$",
        )
        .await;
    let sql = "SELECT oid FROM pg_roles WHERE starts_with(rolname::text, 'count_1')";
    let all = world.admin.rows(sql).await;
    let requests = || cluster.log().matches("] count_observe@count LOG:  execute").count();
    let asked = async |oids: &[String]| {
        let before = requests();
        for ty in world.observers.types().map(|ty| ty.name) {
            let ids: Vec<Reference> = oids.iter().map(|oid| Reference::Id(oid.clone())).collect();
            let of = ids.iter().map(|id| agent_iac::provider::Surrounded {
                identity: Some(id.clone()),
                permissions: Vec::new(),
            });
            let listed = world.of(ty).list(&Listing::Of(oids.to_vec())).await.unwrap();
            let ids: Vec<Reference> =
                listed.into_iter().map(|object| Reference::Id(object.id)).collect();
            world.of(ty).read(&ids).await.unwrap();
            world.of(ty).surroundings(&of.collect::<Vec<_>>()).await.unwrap();
        }
        requests() - before
    };
    let one = asked(&all[..1]).await;
    let many = asked(&all).await;
    println!("everything of one role: {one} requests; of {}: {many}", all.len());
    assert_eq!(one, many);
    assert!(one > 10, "the log counts them");
}
