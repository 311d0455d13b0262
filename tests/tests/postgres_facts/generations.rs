//! A login for each generation of a credential, which becomes the role that it
//! is for.

use agent_iac_tests::{
    on_each_version,
    postgres::{Cluster, Session},
};

use crate::{PASSWORD, admit, enter, until_it_is_gone};

on_each_version![
    a_generation_is_made_without_superuser,
    a_generation_acts_as_its_role_and_what_it_makes_belongs_to_that,
    a_generation_stays_its_role_after_discard_all,
    two_generations_overlap,
    the_name_of_a_generation_is_a_natural_key,
    a_generation_can_leave_its_role,
    a_generation_can_remove_its_own_setting,
    what_a_generation_makes_after_leaving_its_role_is_its_own,
    activity_and_session_user_have_the_logins_name_and_policies_either,
    rules_of_who_is_let_in_have_the_logins_name,
    after_its_drop_an_open_session_goes_on_and_has_no_name,
    a_generation_ends_by_nologin_terminate_and_drop,
];

/// Makes the role `DATABASE_x` and its login `DATABASE_x__g7`, in the way that
/// each version has without superuser, and gives the administrator's session.
async fn generation(cluster: &Cluster, database: &str) -> Session {
    let database = cluster.database(database).await;
    let admin = cluster.admin_of(&database).await;
    let group = format!("{database}_admins");
    admin.run(&format!("CREATE ROLE {group} NOLOGIN CREATEROLE")).await;
    admin
        .run(&format!("CREATE ROLE {database}_op LOGIN PASSWORD '{PASSWORD}' IN ROLE {group}"))
        .await;
    admin.run(&format!("GRANT pg_signal_backend TO {group}")).await;
    let operator = enter(cluster, &database, &format!("{database}_op")).await;
    operator.run(&format!("SET ROLE {group}")).await;
    if cluster.version() >= 16 {
        operator.run("SET createrole_self_grant = 'set, inherit'").await;
    }
    operator.run(&format!("CREATE ROLE {database}_x NOLOGIN")).await;
    admin.run(&format!("GRANT CREATE ON SCHEMA public TO {database}_x")).await;
    next(&operator, &database, 7).await;
    operator
}

async fn next(operator: &Session, database: &str, number: u32) {
    let (role, login) = (format!("{database}_x"), format!("{database}_x__g{number}"));
    operator
        .run(&format!(
            "CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}' IN ROLE {role};
             ALTER ROLE {login} SET role = '{role}'"
        ))
        .await;
}

async fn a_generation_is_made_without_superuser(cluster: &Cluster) {
    let operator = generation(cluster, "makes").await;
    assert_eq!(operator.value("SHOW is_superuser").await, "off");
    // Until 15 the maker is no member of what it makes, and is warned that it could
    // not become it; the login can.
    let warnings = operator.notices();
    if cluster.version() < 16 {
        let text = "permission will be denied to set role \"makes_x\"";
        assert_eq!((&*warnings[0].code, &*warnings[0].text), ("42501", text));
    } else {
        assert_eq!(warnings, []);
    }
    enter(cluster, "makes", "makes_x__g7").await;
    assert_eq!(cluster.refusal("makes_x", "random", "makes").await.code, "28P01");
}

async fn a_generation_acts_as_its_role_and_what_it_makes_belongs_to_that(cluster: &Cluster) {
    generation(cluster, "acts").await;
    let agent = enter(cluster, "acts", "acts_x__g7").await;
    assert_eq!(agent.value("SELECT session_user, current_user").await, "acts_x__g7|acts_x");
    agent.run("CREATE TABLE made ()").await;
    let owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 'made'";
    assert_eq!(agent.value(owner).await, "acts_x");
}

async fn a_generation_stays_its_role_after_discard_all(cluster: &Cluster) {
    generation(cluster, "discard").await;
    let agent = enter(cluster, "discard", "discard_x__g7").await;
    for reset in ["DISCARD ALL", "RESET ALL", "RESET ROLE", "RESET SESSION AUTHORIZATION"] {
        agent.run(reset).await;
        assert_eq!(agent.value("SELECT current_user").await, "discard_x", "{reset}");
    }
}

async fn two_generations_overlap(cluster: &Cluster) {
    let operator = generation(cluster, "overlap").await;
    next(&operator, "overlap", 8).await;
    let old = enter(cluster, "overlap", "overlap_x__g7").await;
    let new = enter(cluster, "overlap", "overlap_x__g8").await;
    old.run("CREATE TABLE made (n int)").await;
    new.run("INSERT INTO made VALUES (1); DROP TABLE made").await;
}

async fn the_name_of_a_generation_is_a_natural_key(cluster: &Cluster) {
    let operator = generation(cluster, "natural_key").await;
    assert_eq!(operator.refused("CREATE ROLE natural_key_x__g7").await.code, "42710");
    // As long as it fits: of two that are longer, the ends are lost.
    let long = "x".repeat(64);
    operator.run(&format!("CREATE ROLE natural_key_{long}")).await;
    let notices = operator.notices();
    let last = notices.last().unwrap();
    assert_eq!(last.code, "42622", "a name of more than 63 bytes is cut: {notices:?}");
}

async fn a_generation_can_leave_its_role(cluster: &Cluster) {
    generation(cluster, "leave").await;
    let agent = enter(cluster, "leave", "leave_x__g7").await;
    agent.run("SET ROLE NONE").await;
    assert_eq!(agent.value("SELECT current_user").await, "leave_x__g7");
}

async fn a_generation_can_remove_its_own_setting(cluster: &Cluster) {
    let operator = generation(cluster, "unset").await;
    let agent = enter(cluster, "unset", "unset_x__g7").await;
    // As its role it may not; as itself, which it may become, it may.
    assert_eq!(agent.refused("ALTER ROLE unset_x__g7 RESET role").await.code, "42501");
    agent.run("SET ROLE NONE; ALTER ROLE unset_x__g7 RESET role").await;
    let again = enter(cluster, "unset", "unset_x__g7").await;
    assert_eq!(again.value("SELECT current_user").await, "unset_x__g7");
    let settings = "SELECT count(*) FROM pg_db_role_setting
        WHERE setrole = 'unset_x__g7'::regrole";
    assert_eq!(operator.value(settings).await, "0");
}

async fn what_a_generation_makes_after_leaving_its_role_is_its_own(cluster: &Cluster) {
    let operator = generation(cluster, "stray").await;
    let agent = enter(cluster, "stray", "stray_x__g7").await;
    // It inherits the right to create from its role.
    agent.run("SET ROLE NONE; CREATE TABLE made ()").await;
    let owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 'made'";
    assert_eq!(operator.value(owner).await, "stray_x__g7");
    drop(agent);
    assert_eq!(operator.refused("DROP ROLE stray_x__g7").await.code, "2BP01");
}

async fn activity_and_session_user_have_the_logins_name_and_policies_either(cluster: &Cluster) {
    generation(cluster, "names").await;
    let admin = cluster.admin_of("names").await;
    admin
        .run(
            "CREATE TABLE t (who text); INSERT INTO t VALUES ('names_x'), ('names_x__g7');
             GRANT SELECT ON t TO names_x; ALTER TABLE t ENABLE ROW LEVEL SECURITY;
             CREATE POLICY by_login ON t USING (who = session_user)",
        )
        .await;
    let agent = enter(cluster, "names", "names_x__g7").await;
    assert_eq!(agent.rows("SELECT who FROM t").await, ["names_x__g7"]);
    admin.run("ALTER POLICY by_login ON t USING (who = current_user)").await;
    assert_eq!(agent.rows("SELECT who FROM t").await, ["names_x"]);
    // A policy for the login alone is not the role's.
    admin.run("ALTER POLICY by_login ON t TO names_x__g7 USING (true)").await;
    assert_eq!(agent.rows("SELECT who FROM t").await, [""; 0]);
    let pid = agent.pid().await;
    let activity = format!("SELECT usename FROM pg_stat_activity WHERE pid = {pid}");
    assert_eq!(admin.value(&activity).await, "names_x__g7");
}

async fn rules_of_who_is_let_in_have_the_logins_name(shared: &Cluster) {
    let cluster = Cluster::start(shared.version());
    generation(&cluster, "rules").await;
    let rules = "host all postgres all scram-sha-256\nhost all WHOM all scram-sha-256\n";
    admit(&cluster, &rules.replace("WHOM", "rules_x")).await;
    assert_eq!(cluster.refusal("rules_x__g7", PASSWORD, "rules").await.code, "28000");
    // A rule for the role's members has every generation.
    admit(&cluster, &rules.replace("WHOM", "+rules_x")).await;
    enter(&cluster, "rules", "rules_x__g7").await;
}

async fn after_its_drop_an_open_session_goes_on_and_has_no_name(cluster: &Cluster) {
    let operator = generation(cluster, "dropped").await;
    let agent = enter(cluster, "dropped", "dropped_x__g7").await;
    let pid = agent.pid().await;
    operator.run("DROP ROLE dropped_x__g7").await;
    agent.run("CREATE TABLE made_after_its_drop ()").await;
    let admin = cluster.admin_of("dropped").await;
    let activity = format!("SELECT usename IS NULL FROM pg_stat_activity WHERE pid = {pid}");
    assert_eq!(admin.value(&activity).await, "t");
    // The number of the role is still there, and says that it is nobody's.
    let nobodys = format!(
        "SELECT usesysid IS NOT NULL AND usesysid NOT IN (SELECT oid FROM pg_roles)
         FROM pg_stat_activity WHERE pid = {pid}"
    );
    assert_eq!(admin.value(&nobodys).await, "t");
}

async fn a_generation_ends_by_nologin_terminate_and_drop(cluster: &Cluster) {
    let operator = generation(cluster, "ends").await;
    let agent = enter(cluster, "ends", "ends_x__g7").await;
    let pid = agent.pid().await;
    operator.run("ALTER ROLE ends_x__g7 NOLOGIN").await;
    assert_eq!(cluster.refusal("ends_x__g7", PASSWORD, "ends").await.code, "28000");
    operator.run(&format!("SELECT pg_terminate_backend({pid})")).await;
    until_it_is_gone(&cluster.admin().await, &pid).await;
    operator.run("DROP ROLE ends_x__g7").await;
    assert_eq!(cluster.refusal("ends_x__g7", PASSWORD, "ends").await.code, "28P01");
    assert_eq!(operator.value("SELECT count(*) FROM pg_roles WHERE rolname = 'ends_x'").await, "1");
}
