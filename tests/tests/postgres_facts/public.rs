//! What PUBLIC gives to whoever can log in, and how to take it back.

use agent_iac_tests::{
    on_each_version,
    postgres::{Cluster, Session},
};

use crate::{enter, login};

on_each_version![
    a_role_with_one_column_connects_to_every_database,
    a_role_with_one_column_executes_thousands_of_functions,
    a_role_with_one_column_reads_the_catalogs_and_the_source_of_functions,
    a_role_with_one_column_writes_large_objects,
    a_role_with_one_column_uses_a_security_definer_function,
    public_creates_in_the_schema_public_on_no_version,
    revoking_a_default_from_public_in_a_schema_does_nothing,
    revoking_a_default_from_public_globally_works,
    default_privileges_are_of_one_creator,
    default_privileges_cover_only_what_is_made_later,
];

/// Makes `DATABASE_agent`, who has one column of `t` and nothing else.
async fn one_column(cluster: &Cluster, database: &str) -> Session {
    let database = cluster.database(database).await;
    let agent = login(cluster, &database, &format!("{database}_agent"), "").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (n int, secret text); INSERT INTO t VALUES (1, 'hidden')").await;
    admin.run(&format!("GRANT SELECT (n) ON t TO {database}_agent")).await;
    agent
}

async fn a_role_with_one_column_connects_to_every_database(cluster: &Cluster) {
    let agent = one_column(cluster, "connects").await;
    cluster.database("connects_elsewhere").await;
    let of = |privilege: &str| {
        format!(
            "SELECT datname FROM pg_database WHERE has_database_privilege(oid, '{privilege}')
             AND datname IN ('connects', 'connects_elsewhere', 'postgres', 'template0', 'template1')
             ORDER BY datname"
        )
    };
    let connect = ["connects", "connects_elsewhere", "postgres", "template0", "template1"];
    assert_eq!(agent.rows(&of("CONNECT")).await, connect);
    // The templates have a list of their own, which leaves TEMPORARY out.
    assert_eq!(agent.rows(&of("TEMPORARY")).await, connect[..3]);
    assert_eq!(agent.rows(&of("CREATE")).await, [""; 0]);
    let elsewhere = enter(cluster, "connects_elsewhere", "connects_agent").await;
    elsewhere.run("CREATE TEMP TABLE mine (); DROP TABLE mine").await;
    enter(cluster, "template1", "connects_agent").await;
}

async fn a_role_with_one_column_executes_thousands_of_functions(cluster: &Cluster) {
    let agent = one_column(cluster, "executes").await;
    let count = "SELECT count(*) FROM pg_proc WHERE has_function_privilege(oid, 'EXECUTE')";
    let count: u32 = agent.value(count).await.parse().unwrap();
    assert!((3_000..4_000).contains(&count), "{count}");
    // Of these, some signal to others or take long; none is needed to read.
    agent.run("SELECT pg_notify('anybody', 'hears'), pg_advisory_lock(1), pg_sleep(0)").await;
}

async fn a_role_with_one_column_reads_the_catalogs_and_the_source_of_functions(cluster: &Cluster) {
    let agent = one_column(cluster, "reads").await;
    let admin = cluster.admin_of("reads").await;
    admin.run("CREATE SCHEMA s; CREATE FUNCTION s.f() RETURNS text RETURN 'in the source'").await;
    admin.run("CREATE VIEW s.v AS SELECT 'in the view'").await;
    admin.run("REVOKE EXECUTE ON FUNCTION s.f FROM PUBLIC").await;
    let count = "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'v')
        AND relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        AND has_table_privilege(oid, 'SELECT')";
    let count: u32 = agent.value(count).await.parse().unwrap();
    assert!((180..230).contains(&count), "{count}");
    // What it may neither execute nor select, in a schema that it may not use.
    assert!(
        agent
            .value("SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'f'")
            .await
            .contains("in the source")
    );
    let view = "SELECT pg_get_viewdef(oid) FROM pg_class WHERE relname = 'v'";
    assert!(agent.value(view).await.contains("in the view"));
    assert_eq!(agent.value("SELECT count(*) > 3 FROM pg_roles").await, "t");
}

async fn a_role_with_one_column_writes_large_objects(cluster: &Cluster) {
    let agent = one_column(cluster, "large").await;
    let oid = agent.value("SELECT lo_from_bytea(0, 'anything')").await;
    assert_eq!(agent.value(&format!("SELECT lo_get({oid}) = 'anything'")).await, "t");
    let owner = "SELECT lomowner::regrole FROM pg_largeobject_metadata";
    assert_eq!(agent.value(owner).await, "large_agent");
}

async fn a_role_with_one_column_uses_a_security_definer_function(cluster: &Cluster) {
    let agent = one_column(cluster, "definer").await;
    let admin = cluster.admin_of("definer").await;
    admin
        .run(
            "CREATE FUNCTION f() RETURNS text LANGUAGE sql SECURITY DEFINER
             RETURN (SELECT secret FROM public.t)",
        )
        .await;
    assert_eq!(agent.refused("SELECT secret FROM t").await.code, "42501");
    assert_eq!(agent.value("SELECT f()").await, "hidden");
}

async fn public_creates_in_the_schema_public_on_no_version(cluster: &Cluster) {
    let agent = one_column(cluster, "creates").await;
    // Until 14 it could, and a cluster that was upgraded from there still lets it.
    assert_eq!(agent.refused("CREATE TABLE mine ()").await.code, "42501");
    let used = "SELECT has_schema_privilege('public', 'USAGE')";
    assert_eq!(agent.value(used).await, "t");
}

async fn revoking_a_default_from_public_in_a_schema_does_nothing(cluster: &Cluster) {
    let agent = one_column(cluster, "in_schema").await;
    let admin = cluster.admin_of("in_schema").await;
    admin
        .run("ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
        .await;
    assert_eq!(admin.notices(), []);
    assert_eq!(admin.value("SELECT count(*) FROM pg_default_acl").await, "0");
    admin.run("CREATE FUNCTION f() RETURNS text RETURN 'for everybody'").await;
    assert_eq!(agent.value("SELECT f()").await, "for everybody");
}

async fn revoking_a_default_from_public_globally_works(cluster: &Cluster) {
    let agent = one_column(cluster, "globally").await;
    let admin = cluster.admin_of("globally").await;
    admin.run("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC").await;
    admin.run("CREATE FUNCTION f() RETURNS text RETURN 'for nobody'").await;
    assert_eq!(agent.refused("SELECT f()").await.code, "42501");
    // A grant of a schema's defaults is added to that.
    admin
        .run("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO globally_agent")
        .await;
    admin.run("CREATE FUNCTION g() RETURNS text RETURN 'for one'").await;
    assert_eq!(agent.value("SELECT g()").await, "for one");
}

async fn default_privileges_are_of_one_creator(cluster: &Cluster) {
    let agent = one_column(cluster, "creators").await;
    let admin = cluster.admin_of("creators").await;
    admin.run("CREATE ROLE creators_1; CREATE ROLE creators_2").await;
    admin.run("GRANT CREATE ON SCHEMA public TO creators_1, creators_2").await;
    admin
        .run(
            "ALTER DEFAULT PRIVILEGES FOR ROLE creators_1 GRANT SELECT ON TABLES TO creators_agent",
        )
        .await;
    admin.run("SET ROLE creators_1; CREATE TABLE of_1 (n int); RESET ROLE").await;
    admin.run("SET ROLE creators_2; CREATE TABLE of_2 (n int); RESET ROLE").await;
    agent.run("SELECT n FROM of_1").await;
    assert_eq!(agent.refused("SELECT n FROM of_2").await.code, "42501");
    // Without FOR ROLE they are of whoever runs it, and a member is not his group.
    admin.run("CREATE ROLE creators_3 IN ROLE creators_1; SET ROLE creators_3").await;
    admin.run("CREATE TABLE of_3 (n int); RESET ROLE").await;
    assert_eq!(agent.refused("SELECT n FROM of_3").await.code, "42501");
}

async fn default_privileges_cover_only_what_is_made_later(cluster: &Cluster) {
    let agent = one_column(cluster, "later").await;
    let admin = cluster.admin_of("later").await;
    admin.run("CREATE TABLE before (n int)").await;
    admin.run("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO later_agent").await;
    admin.run("CREATE TABLE after (n int)").await;
    assert_eq!(agent.refused("SELECT n FROM before").await.code, "42501");
    agent.run("SELECT n FROM after").await;
    // Changing the owner later does not change what was given at the making.
    admin.run("CREATE ROLE later_other; ALTER TABLE after OWNER TO later_other").await;
    agent.run("SELECT n FROM after").await;
}
