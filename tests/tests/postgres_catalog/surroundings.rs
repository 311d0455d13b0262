//! What identities can do beside what was granted to them.

use agent_iac::{
    access::Access,
    provider::{Source, Surrounded, Surroundings},
};
use agent_iac_tests::on_each_version;

use super::*;

on_each_version![
    everybodys_access_is_named_where_it_is_peoples_and_counted_where_it_is_the_servers,
    what_roles_bring_is_told_by_how_they_are_reached,
    what_is_undecided_is_named,
    a_plan_is_warned_of_what_makes_it_mean_something_else,
    a_role_that_is_not_there_yet_has_what_its_memberships_will_bring,
    a_database_that_cannot_be_read_hides_nothing_of_the_others,
];

impl World {
    pub(super) async fn surroundings(&self, of: &[Surrounded]) -> Surroundings {
        self.of("postgres.role").surroundings(of).await.unwrap()
    }

    pub(super) async fn asked(&self, role: &str) -> Surrounded {
        let id = self.oid(role).await;
        Surrounded { identity: Some(Reference::Id(id)), permissions: Vec::new() }
    }
}

pub(super) fn names(found: &Surroundings, place: usize) -> Vec<&str> {
    let mut names: Vec<&str> =
        found.of[place].iter().map(|source| found.sources[*source].name.as_str()).collect();
    names.sort_unstable();
    names
}

pub(super) fn source<'a>(found: &'a Surroundings, name: &str) -> &'a Source {
    let all = || found.sources.iter().map(|source| &source.name).collect::<Vec<_>>();
    let found = found.sources.iter().find(|source| source.name == name);
    found.unwrap_or_else(|| panic!("no source {name}: {:?}", all()))
}

pub(super) fn says(access: &Access) -> Vec<String> {
    access.tuples.iter().map(ToString::to_string).collect()
}

pub(super) fn permission(ty: &str, fields: &[(&str, Value)]) -> (String, BTreeMap<String, Value>) {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    (ty.to_owned(), fields.collect())
}

async fn everybodys_access_is_named_where_it_is_peoples_and_counted_where_it_is_the_servers(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "public_own", &["public_other"]).await;
    cluster.database("public_other").await;
    cluster.sql("public_other", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'").await;
    world
        .run(
            "CREATE ROLE @_to; CREATE SCHEMA s; CREATE TABLE s.t (a int, b int);
             GRANT SELECT ON s.t TO PUBLIC; GRANT UPDATE (b) ON s.t TO PUBLIC;
             GRANT USAGE ON SCHEMA s TO PUBLIC; CREATE TYPE s.e AS ENUM ('x');
             CREATE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
             CREATE FUNCTION s.closed() RETURNS int LANGUAGE sql AS 'SELECT 1';
             REVOKE EXECUTE ON FUNCTION s.closed() FROM PUBLIC;
             ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO PUBLIC;
             GRANT SET ON PARAMETER log_min_messages TO PUBLIC;",
        )
        .await;
    let found = world.surroundings(&[world.asked("@_to").await]).await;
    assert_eq!(names(&found, 0), ["PUBLIC"]);
    let public = source(&found, "PUBLIC");
    let said = says(&public.access);
    for line in [
        "PUBLIC may select table s.t",
        "PUBLIC may update table s.t (b)",
        "PUBLIC may usage schema s",
        "PUBLIC may usage data-type s.e",
        "PUBLIC may execute function s.f(integer)",
        "PUBLIC may select future tables of role postgres in schema s",
        "PUBLIC may connect database public_own",
        "PUBLIC may temporary database public_own",
        "PUBLIC may connect database postgres",
        "PUBLIC may set parameter log_min_messages",
        "PUBLIC may usage language plpgsql",
        "PUBLIC may execute function public.f() in public_other",
    ] {
        assert!(said.contains(&line.to_owned()), "{line} is not in {said:#?}");
    }
    assert!(!said.iter().any(|line| line.contains("s.closed")), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("pg_catalog.")), "{said:#?}");
    // As an ordinary login finds it.
    let real = world
        .admin
        .value(
            "SELECT count(*) FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
                AND has_function_privilege('public_own_to', oid, 'EXECUTE')",
        )
        .await;
    assert_eq!(public.counted["execute functions of pg_catalog"].to_string(), real);
    assert!(public.counted.contains_key("execute functions of pg_catalog in public_other"));
    let unread = public.access.undecided.iter().next().unwrap();
    assert!(unread.contains("`postgres`") && !unread.contains("public_other"), "{unread}");
    assert!(found.warnings.iter().any(|warning| warning.contains("temporary tables in")));
}

async fn what_roles_bring_is_told_by_how_they_are_reached(cluster: &'static Cluster) {
    let world = World::new(cluster, "reach", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_quiet NOINHERIT; CREATE ROLE @_group CREATEDB;
             CREATE ROLE @_far; CREATE ROLE @_creator; GRANT @_far TO @_group;
             GRANT @_group TO @_to, @_quiet; GRANT pg_read_all_data TO @_far;
             CREATE SCHEMA s; CREATE TABLE s.t (a int, b int); CREATE TABLE s.own (a int);
             GRANT SELECT (a), INSERT ON s.t TO @_group WITH GRANT OPTION;
             ALTER TABLE s.own OWNER TO @_far; GRANT EXECUTE ON FUNCTION pg_read_file(text) TO @_far;
             ALTER DEFAULT PRIVILEGES FOR ROLE @_creator IN SCHEMA s GRANT SELECT ON TABLES
                TO @_group;",
        )
        .await;
    let asked = [world.asked("@_to").await, world.asked("@_quiet").await];
    let found = world.surroundings(&asked).await;
    assert_eq!(
        names(&found, 0),
        ["PUBLIC", "member of pg_read_all_data", "member of reach_far", "member of reach_group"]
    );
    let group = source(&found, "member of reach_group");
    assert_eq!(
        says(&group.access),
        [
            "member of reach_group may create databases in cluster if SET ROLE reach_group",
            "member of reach_group may grant insert table s.t",
            "member of reach_group may grant select table s.t (a)",
            "member of reach_group may insert table s.t",
            "member of reach_group may select future tables of role reach_creator in schema s",
            "member of reach_group may select table s.t (a)",
        ]
    );
    assert_eq!(
        says(&source(&found, "member of reach_far").access),
        [
            "member of reach_far may execute function pg_catalog.pg_read_file(text)",
            "member of reach_far may own table s.own",
        ]
    );
    // Who does not inherit has it only by becoming the role.
    let quiet = names(&found, 1);
    let how = "SET ROLE";
    assert_eq!(
        quiet,
        [
            "PUBLIC".to_owned(),
            format!("{how} pg_read_all_data"),
            format!("{how} reach_far"),
            format!("{how} reach_group"),
        ]
    );
    let said = says(&source(&found, "SET ROLE reach_group").access);
    assert!(said.contains(&"SET ROLE reach_group may create databases in cluster".to_owned()));

    if cluster.version() == 15 {
        return;
    }
    world
        .run(
            "CREATE ROLE @_only; CREATE ROLE @_a; CREATE ROLE @_b; CREATE ROLE @_c; CREATE ROLE @_d;
             GRANT @_a TO @_only WITH INHERIT TRUE, SET FALSE;
             GRANT @_b TO @_only WITH INHERIT FALSE, SET TRUE;
             GRANT @_c TO @_b WITH INHERIT TRUE, SET FALSE;
             GRANT @_d TO @_only WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;",
        )
        .await;
    let found = world.surroundings(&[world.asked("@_only").await]).await;
    assert_eq!(
        names(&found, 0),
        [
            "PUBLIC",
            "SET ROLE reach_b",
            "admin of reach_d",
            "inherits from reach_a",
            "inherits from reach_c after SET ROLE",
        ]
    );
    let admin = &source(&found, "admin of reach_d").access;
    assert!(admin.undecided.iter().any(|why| why.contains("make itself a member")), "{admin:?}");
}

async fn what_is_undecided_is_named(cluster: &'static Cluster) {
    let world = World::new(cluster, "doubt", &[]).await;
    cluster.database("doubt_else").await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_other; CREATE ROLE @_owner; CREATE SCHEMA s;
             CREATE FUNCTION s.open() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1';
             CREATE FUNCTION s.his() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1';
             ALTER FUNCTION s.his() OWNER TO @_owner; REVOKE EXECUTE ON FUNCTION s.his() FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION s.his() TO @_to;",
        )
        .await;
    cluster.sql("doubt_else", "CREATE TABLE t (a int); GRANT SELECT ON t TO doubt_to").await;
    let asked = [world.asked("@_to").await, world.asked("@_other").await];
    let found = world.surroundings(&asked).await;
    assert_eq!(
        names(&found, 0),
        [
            "PUBLIC",
            "SECURITY DEFINER function s.his()",
            "SECURITY DEFINER function s.open()",
            "database doubt_else",
        ]
    );
    assert_eq!(names(&found, 1), ["PUBLIC", "SECURITY DEFINER function s.open()"]);
    let undecided = |name: &str| source(&found, name).access.undecided.iter().next().unwrap();
    let his = undecided("SECURITY DEFINER function s.his()");
    assert!(his.contains("its owner `doubt_owner`"), "{his}");
    let open = undecided("SECURITY DEFINER function s.open()");
    assert!(open.contains("superuser `postgres`"), "{open}");
    assert!(undecided("database doubt_else").contains("is not read"));
}

async fn a_plan_is_warned_of_what_makes_it_mean_something_else(cluster: &'static Cluster) {
    let world = World::new(cluster, "warned", &[]).await;
    world
        .run(
            "CREATE ROLE @_to CREATEROLE; CREATE ROLE @_in; CREATE ROLE @_root SUPERUSER;
             CREATE SCHEMA s; CREATE TABLE s.t (a int); GRANT USAGE ON SCHEMA s TO @_in;
             GRANT pg_write_server_files, @_root TO @_to; CREATE SCHEMA o; GRANT CREATE ON SCHEMA o
             TO PUBLIC; REVOKE TEMP, CONNECT ON DATABASE @ FROM PUBLIC;
             GRANT CONNECT ON DATABASE @ TO @_observe, @_in;
             CREATE ROLE @_forger BYPASSRLS IN ROLE pg_write_all_data;
             CREATE ROLE @_past BYPASSRLS; CREATE ROLE @_writer IN ROLE pg_write_all_data",
        )
        .await;
    let grant = || {
        permission(
            "postgres.grant",
            &[
                ("on", Value::from(&pg::Table::new("s", "t"))),
                ("allow", Value::List(vec!["select".into()])),
            ],
        )
    };
    let mut asked = [world.asked("@_to").await, world.asked("@_in").await];
    for asked in &mut asked {
        asked.permissions.push(grant());
    }
    let warnings = world.surroundings(&asked).await.warnings;
    let warned = |text: &str| warnings.iter().any(|warning| warning.contains(text));
    for text in [
        "`warned_forger` may write into the registry",
        "`warned_to` may do what `pg_write_server_files` may",
        "`warned_to` may become the superuser `warned_root`",
        "everybody may create objects in schema o",
        "`warned_to` is to have privileges within schema s without USAGE",
        "`warned_to` is to have privileges within database warned without CONNECT",
    ] {
        assert!(warned(text), "{text}: {warnings:#?}");
    }
    assert!(!warnings.iter().any(|warning| warning.contains("`warned_in`")), "{warnings:#?}");
    let old = cluster.version() == 15;
    assert_eq!(warned("`warned_to` may create roles, and so become superuser"), old);
    assert_eq!(warned("use 16 or later"), old);
    // What the plan itself is about to open is open.
    asked[0].permissions.push(permission(
        "postgres.grant",
        &[("on", Value::from(&pg::Schema::new("s"))), ("allow", Value::List(vec!["usage".into()]))],
    ));
    let warnings = world.surroundings(&asked).await.warnings;
    assert!(!warnings.iter().any(|warning| warning.contains("USAGE")), "{warnings:#?}");
}

async fn a_role_that_is_not_there_yet_has_what_its_memberships_will_bring(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "soon", &[]).await;
    world
        .run("CREATE ROLE @_group; CREATE SCHEMA s; CREATE TABLE s.t (a int); GRANT SELECT ON s.t TO @_group")
        .await;
    let membership = permission(
        "postgres.membership",
        &[("of", "soon_group".into()), ("noinherit", false.into()), ("noset", false.into())],
    );
    let found = world
        .surroundings(&[
            Surrounded { identity: None, permissions: vec![membership] },
            Surrounded { identity: None, permissions: Vec::new() },
        ])
        .await;
    assert_eq!(names(&found, 0), ["PUBLIC", "member of soon_group"]);
    assert_eq!(names(&found, 1), ["PUBLIC"]);
    assert_eq!(
        says(&source(&found, "member of soon_group").access),
        ["member of soon_group may select table s.t"]
    );
}

async fn a_database_that_cannot_be_read_hides_nothing_of_the_others(cluster: &'static Cluster) {
    let others = ["hidden_open", "hidden_shut", "hidden_gone"];
    let world = World::new(cluster, "hidden", &others).await;
    for other in &others[..2] {
        cluster.database(other).await;
        cluster.sql(other, "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'").await;
    }
    world.run("CREATE ROLE @_to; CREATE ROLE @_quiet").await;
    cluster.sql("hidden_shut", "CREATE TABLE t (a int); GRANT SELECT ON t TO hidden_to").await;
    world.run("REVOKE CONNECT ON DATABASE hidden_shut FROM PUBLIC").await;
    let asked = [world.asked("@_to").await, world.asked("@_quiet").await];
    let found = world.surroundings(&asked).await;
    assert_eq!(found.unread.len(), 2, "{found:#?}");
    assert!(found.unread[0].contains("`hidden_gone`"), "{:?}", found.unread);
    assert!(found.unread[1].contains("`hidden_shut`"), "{:?}", found.unread);
    let public = says(&source(&found, "PUBLIC").access);
    let read = "PUBLIC may execute function public.f() in hidden_open".to_owned();
    assert!(public.contains(&read), "{public:#?}");
    assert!(!public.iter().any(|line| line.ends_with("in hidden_shut")), "{public:#?}");
    // Who has something there has what is not known.
    assert_eq!(names(&found, 0), ["PUBLIC", "database hidden_shut"]);
    assert_eq!(names(&found, 1), ["PUBLIC"]);
}
