//! Leaving: what is still there of a role, and where one can see it.

use agent_iac_tests::{on_each_version, postgres::Cluster};

use crate::{login, until};

on_each_version![
    one_connection_does_not_see_the_grants_of_another_database,
    shared_dependencies_show_what_is_left_in_every_database,
    shared_dependencies_are_read_by_any_login,
    shared_dependencies_show_a_database_that_nobody_reaches,
    shared_dependencies_show_neither_sessions_memberships_nor_settings,
    drop_owned_takes_only_what_is_in_its_database,
    drop_owned_by_another_leaves_what_he_could_not_revoke,
    drop_owned_by_a_superuser_leaves_what_other_grantors_gave,
    reassigning_leaves_the_grants,
    a_role_with_memberships_and_settings_is_dropped_with_them,
];

async fn one_connection_does_not_see_the_grants_of_another_database(cluster: &Cluster) {
    let (here, there) = (cluster.database("here").await, cluster.database("there").await);
    cluster.sql(&here, "CREATE ROLE here_agent").await;
    cluster.sql(&there, "CREATE TABLE t (); GRANT SELECT ON t TO here_agent").await;
    let seen = "SELECT count(*) FROM pg_class, aclexplode(relacl)
        WHERE grantee = 'here_agent'::regrole";
    assert_eq!(cluster.sql(&here, seen).await, ["0"]);
    assert_eq!(cluster.sql(&there, seen).await, ["1"]);
    // The drop is refused, and only a number says where the rest is.
    let admin = cluster.admin_of(&here).await;
    assert_eq!(admin.refused("DROP ROLE here_agent").await.code, "2BP01");
}

/// What is left of a role, as database, catalog and kind.
fn left(role: &str) -> String {
    format!(
        "SELECT coalesce(datname, '*'), classid::regclass, deptype
         FROM pg_shdepend LEFT JOIN pg_database d ON d.oid = dbid
         WHERE refclassid = 'pg_authid'::regclass AND refobjid = '{role}'::regrole
         ORDER BY 1, 2::text, 3"
    )
}

async fn shared_dependencies_show_what_is_left_in_every_database(cluster: &Cluster) {
    let (one, two) = (cluster.database("left_1").await, cluster.database("left_2").await);
    cluster.sql(&one, "CREATE ROLE left_agent; CREATE ROLE left_heir").await;
    cluster
        .sql(
            &one,
            "CREATE TABLE t (n int); GRANT SELECT ON t TO left_agent;
             ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO left_agent;
             ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO left_agent",
        )
        .await;
    cluster.sql(&two, "CREATE TABLE u (n int); ALTER TABLE u OWNER TO left_agent").await;
    cluster.sql(&two, "GRANT CONNECT ON DATABASE left_2 TO left_agent").await;
    if cluster.version() >= 15 {
        cluster.sql(&two, "GRANT SET ON PARAMETER log_statement TO left_agent").await;
    }
    let expected = [
        "*|pg_database|a",
        "*|pg_parameter_acl|a",
        "left_1|pg_class|a",
        "left_1|pg_default_acl|a",
        "left_1|pg_policy|r",
        "left_2|pg_class|o",
    ];
    // From a third database, which has nothing of it.
    let left = left("left_agent");
    assert_eq!(cluster.sql("postgres", &left).await, expected);

    cluster.sql(&one, "DROP OWNED BY left_agent").await;
    cluster.sql(&two, "REASSIGN OWNED BY left_agent TO left_heir; DROP OWNED BY left_agent").await;
    assert_eq!(cluster.sql("postgres", &left).await, [""; 0]);
    cluster.sql("postgres", "DROP ROLE left_agent").await;
}

async fn shared_dependencies_are_read_by_any_login(cluster: &Cluster) {
    let database = cluster.database("any_login").await;
    let stranger = login(cluster, &database, "any_login_stranger", "").await;
    cluster.sql(&database, "CREATE ROLE any_login_agent; CREATE TABLE t ()").await;
    cluster.sql(&database, "GRANT SELECT ON t TO any_login_agent").await;
    let left = left("any_login_agent");
    assert_eq!(stranger.rows(&left).await, ["any_login|pg_class|a"]);
}

async fn shared_dependencies_show_a_database_that_nobody_reaches(cluster: &Cluster) {
    let database = cluster.database("unreachable").await;
    cluster.sql(&database, "CREATE ROLE unreachable_agent; CREATE TABLE t ()").await;
    cluster.sql(&database, "GRANT SELECT ON t TO unreachable_agent").await;
    let admin = cluster.admin().await;
    let gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'unreachable'";
    until(&admin, gone).await;
    admin.run("ALTER DATABASE unreachable ALLOW_CONNECTIONS false").await;
    let refused = cluster.refusal("postgres", cluster.password(), &database).await;
    assert_eq!(refused.code, "55000");
    // What it is cannot be read; that there is something can.
    let left = left("unreachable_agent");
    assert_eq!(admin.rows(&left).await, ["unreachable|pg_class|a"]);
}

async fn shared_dependencies_show_neither_sessions_memberships_nor_settings(cluster: &Cluster) {
    let database = cluster.database("not_shown").await;
    let _open = login(cluster, &database, "not_shown_agent", "").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE ROLE not_shown_group; GRANT not_shown_group TO not_shown_agent").await;
    admin.run("ALTER ROLE not_shown_agent SET work_mem = '8MB'").await;
    assert_eq!(admin.rows(&left("not_shown_agent")).await, [""; 0]);
    // A membership that it gave to others is one, from 16 on.
    admin.run("CREATE ROLE not_shown_other; GRANT not_shown_group TO not_shown_agent WITH ADMIN OPTION").await;
    admin
        .run("SET ROLE not_shown_agent; GRANT not_shown_group TO not_shown_other; RESET ROLE")
        .await;
    let given: &[&str] = if cluster.version() < 16 { &[] } else { &["*|pg_auth_members|a"] };
    assert_eq!(admin.rows(&left("not_shown_agent")).await, given);
}

async fn drop_owned_takes_only_what_is_in_its_database(cluster: &Cluster) {
    let (one, two) = (cluster.database("only_1").await, cluster.database("only_2").await);
    cluster.sql(&one, "CREATE ROLE only_agent; CREATE TABLE t ()").await;
    cluster.sql(&one, "GRANT SELECT ON t TO only_agent").await;
    cluster.sql(&two, "GRANT CONNECT ON DATABASE only_1, only_2 TO only_agent").await;
    // What belongs to no database goes from anywhere.
    cluster.sql(&two, "DROP OWNED BY only_agent").await;
    assert_eq!(cluster.sql(&two, &left("only_agent")).await, ["only_1|pg_class|a"]);
}

async fn drop_owned_by_another_leaves_what_he_could_not_revoke(cluster: &Cluster) {
    let database = cluster.database("could_not").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE ROLE could_not_agent; CREATE TABLE t ()").await;
    admin.run("GRANT SELECT ON t TO could_not_agent").await;
    let operator = login(cluster, &database, "could_not_op", "CREATEROLE").await;
    admin.run("GRANT could_not_agent TO could_not_op WITH ADMIN OPTION").await;
    operator.run("DROP OWNED BY could_not_agent").await;
    // It answers `DROP OWNED`, and says in warnings, for the table and each of its
    // columns, that nothing was done.
    let warnings = operator.notices();
    assert_eq!(warnings[0].text, "no privileges could be revoked for \"t\"");
    assert!(warnings.iter().all(|warning| warning.code == "01006"), "{warnings:?}");
    assert_eq!(admin.rows(&left("could_not_agent")).await, ["could_not|pg_class|a"]);
    assert_eq!(operator.refused("DROP ROLE could_not_agent").await.code, "2BP01");
}

async fn drop_owned_by_a_superuser_leaves_what_other_grantors_gave(cluster: &Cluster) {
    let database = cluster.database("others").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE ROLE others_agent; CREATE ROLE others_giver; CREATE TABLE t ()").await;
    admin.run("GRANT SELECT ON t TO others_giver WITH GRANT OPTION").await;
    admin.run("SET ROLE others_giver; GRANT SELECT ON t TO others_agent; RESET ROLE").await;
    admin.run("DROP OWNED BY others_agent").await;
    assert_eq!(admin.notices(), [], "and does not warn");
    assert_eq!(admin.rows(&left("others_agent")).await, ["others|pg_class|a"]);
    assert_eq!(admin.refused("DROP ROLE others_agent").await.code, "2BP01");
    admin.run("SET ROLE others_giver; REVOKE ALL ON t FROM others_agent; RESET ROLE").await;
    admin.run("DROP ROLE others_agent").await;
}

async fn reassigning_leaves_the_grants(cluster: &Cluster) {
    let database = cluster.database("reassign").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE ROLE reassign_agent; CREATE ROLE reassign_heir").await;
    admin.run("CREATE TABLE t (); GRANT SELECT ON t TO reassign_agent").await;
    admin.run("CREATE TABLE u (); ALTER TABLE u OWNER TO reassign_agent").await;
    admin.run("REASSIGN OWNED BY reassign_agent TO reassign_heir").await;
    assert_eq!(admin.rows(&left("reassign_agent")).await, ["reassign|pg_class|a"]);
}

async fn a_role_with_memberships_and_settings_is_dropped_with_them(cluster: &Cluster) {
    let database = cluster.database("with_them").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE ROLE with_them_group; CREATE ROLE with_them_agent").await;
    admin.run("GRANT with_them_group TO with_them_agent").await;
    admin.run("ALTER ROLE with_them_agent SET work_mem = '8MB'").await;
    let oid = admin.value("SELECT 'with_them_agent'::regrole::oid").await;
    admin.run("DROP ROLE with_them_agent").await;
    let rest = format!(
        "SELECT (SELECT count(*) FROM pg_auth_members WHERE member = {oid}),
                (SELECT count(*) FROM pg_db_role_setting WHERE setrole = {oid})"
    );
    assert_eq!(admin.value(&rest).await, "0|0");
}
