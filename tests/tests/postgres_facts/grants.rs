//! Names and grants: who may be named, whose an entry is, and what happens when
//! two write at once.

use agent_iac_tests::{
    on_each_version,
    postgres::{Cluster, message},
};

use crate::{enter, login, until_it_waits};

on_each_version![
    public_in_quotes_is_everybody,
    public_and_none_are_no_names_for_a_role,
    an_entry_has_its_grantor,
    a_grant_of_another_grantor_survives_a_superusers_revoke_all,
    memberships_have_grantors_from_16,
    a_grant_without_the_grant_option_warns_and_does_nothing,
    reading_after_the_write_shows_what_slipped_between_in_read_committed_only,
    two_transactions_that_grant_on_one_table_fail_with_an_internal_error,
    a_lock_of_ones_own_serialises_grants_on_one_table,
    two_transactions_that_grant_on_two_tables_do_not_meet,
    has_table_privilege_says_no_for_a_member_who_can_become_the_role,
    has_table_privilege_says_no_for_an_owner_who_can_give_it_back_to_himself,
    has_table_privilege_says_no_for_a_grant_on_a_column,
    has_table_privilege_says_yes_without_usage_on_the_schema,
    a_setting_of_a_role_changes_what_it_does,
];

/// The table's entries, one a row.
const ENTRIES: &str = "SELECT unnest(relacl)::text FROM pg_class WHERE relname = 't' ORDER BY 1";

async fn public_in_quotes_is_everybody(cluster: &Cluster) {
    let database = cluster.database("quoted").await;
    let stranger = login(cluster, &database, "quoted_stranger", "").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (n int)").await;
    assert_eq!(stranger.refused("SELECT n FROM t").await.code, "42501");
    admin.run("GRANT SELECT ON t TO \"public\"").await;
    stranger.run("SELECT n FROM t").await;
    let entries = admin.rows(ENTRIES).await;
    assert!(entries.contains(&"=r/postgres".to_owned()), "{entries:?}");
    // Another case is another name, and nobody has it.
    assert_eq!(admin.refused("GRANT SELECT ON t TO \"PUBLIC\"").await.code, "42704");
}

async fn public_and_none_are_no_names_for_a_role(cluster: &Cluster) {
    let database = cluster.database("reserved").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (); CREATE ROLE reserved_one").await;
    for name in ["public", "\"public\"", "none", "\"none\"", "pg_mine"] {
        let refused = admin.refused(&format!("CREATE ROLE {name}")).await;
        assert_eq!(refused.code, "42939", "{name}: {refused:?}");
    }
    for name in ["none", "\"none\""] {
        let refused = admin.refused(&format!("GRANT SELECT ON t TO {name}")).await;
        assert_eq!(refused.code, "42939", "{name}: {refused:?}");
    }
    // As a role to be given away, `public` is refused by whoever compares names.
    let refused = admin.refused("GRANT \"public\" TO reserved_one").await;
    assert_eq!(refused.code, "42704", "{refused:?}");
    // `SET ROLE` takes the word for something else than a name, quoted too.
    admin.run("SET ROLE reserved_one; SET ROLE \"none\"").await;
    assert_eq!(admin.value("SELECT current_user").await, "postgres");
    // In other cases they are names, which a reader takes for the reserved ones.
    admin.run("BEGIN; CREATE ROLE \"PUBLIC\"; CREATE ROLE \"None\"; ROLLBACK").await;
}

async fn an_entry_has_its_grantor(cluster: &Cluster) {
    let database = cluster.database("grantor").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (); CREATE ROLE grantor_other; CREATE ROLE grantor_agent").await;
    admin.run("GRANT SELECT ON t TO grantor_other WITH GRANT OPTION").await;
    admin.run("GRANT SELECT ON t TO grantor_agent").await;
    admin.run("SET ROLE grantor_other; GRANT SELECT ON t TO grantor_agent; RESET ROLE").await;
    let entries = admin.rows(ENTRIES).await;
    // 17 added MAINTAIN to what an owner has.
    let owner = if cluster.version() < 17 { "arwdDxt" } else { "arwdDxtm" };
    let owner = format!("postgres={owner}/postgres");
    let grantors = ["grantor_agent=r/grantor_other", "grantor_agent=r/postgres"];
    assert_eq!(entries, [grantors[0], grantors[1], "grantor_other=r*/postgres", &*owner]);
}

async fn a_grant_of_another_grantor_survives_a_superusers_revoke_all(cluster: &Cluster) {
    let database = cluster.database("survives").await;
    let agent = login(cluster, &database, "survives_agent", "").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (n int); CREATE ROLE survives_other").await;
    admin.run("GRANT SELECT ON t TO survives_other WITH GRANT OPTION").await;
    admin.run("SET ROLE survives_other; GRANT SELECT ON t TO survives_agent; RESET ROLE").await;
    admin.run("REVOKE ALL ON t FROM survives_agent").await;
    assert_eq!(admin.notices(), [], "and it does not even warn");
    agent.run("SELECT n FROM t").await;
    let named = "REVOKE ALL ON t FROM survives_agent GRANTED BY survives_other";
    assert_eq!(admin.refused(named).await.text, "grantor must be current user");
    // What works is to be that grantor.
    admin.run("SET ROLE survives_other; REVOKE ALL ON t FROM survives_agent").await;
    assert_eq!(agent.refused("SELECT n FROM t").await.code, "42501");
}

async fn memberships_have_grantors_from_16(cluster: &Cluster) {
    let database = cluster.database("memberships").await;
    let admin = cluster.admin_of(&database).await;
    for role in ["group", "other", "agent"] {
        admin.run(&format!("CREATE ROLE memberships_{role}")).await;
    }
    admin.run("GRANT memberships_group TO memberships_other WITH ADMIN OPTION").await;
    let again =
        "SET ROLE memberships_other; GRANT memberships_group TO memberships_agent; RESET ROLE";
    admin.run("GRANT memberships_group TO memberships_agent").await;
    admin.run(again).await;
    let grantors = "SELECT grantor::regrole FROM pg_auth_members
        WHERE member = 'memberships_agent'::regrole ORDER BY grantor::regrole::text";
    if cluster.version() < 16 {
        assert_eq!(admin.rows(grantors).await, ["postgres"]);
        assert_eq!(admin.notices().len(), 1, "it is a member already");
        admin.run("REVOKE memberships_group FROM memberships_agent").await;
        assert_eq!(admin.rows(grantors).await, [""; 0]);
        return;
    }
    assert_eq!(admin.rows(grantors).await, ["memberships_other", "postgres"]);
    // A superuser's revocation takes his own; here, unlike on a table, it can
    // name another's.
    admin.run("REVOKE memberships_group FROM memberships_agent").await;
    assert_eq!(admin.rows(grantors).await, ["memberships_other"]);
    admin.run("REVOKE memberships_group FROM memberships_agent").await;
    assert_eq!(admin.rows(grantors).await, ["memberships_other"]);
    let warnings = admin.notices();
    assert_eq!(warnings.last().unwrap().code, "01000", "{warnings:?}");
    admin.run("REVOKE memberships_group FROM memberships_agent GRANTED BY memberships_other").await;
    assert_eq!(admin.rows(grantors).await, [""; 0]);
}

async fn a_grant_without_the_grant_option_warns_and_does_nothing(cluster: &Cluster) {
    let database = cluster.database("option").await;
    let reader = login(cluster, &database, "option_reader", "").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (); CREATE ROLE option_agent").await;
    let grant = "GRANT SELECT ON t TO option_agent";
    // Without any privilege on the table it is an error.
    assert_eq!(reader.refused(grant).await.code, "42501");
    admin.run("GRANT SELECT ON t TO option_reader").await;
    let before = admin.rows(ENTRIES).await;
    reader.run(grant).await;
    let warnings = reader.notices();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].code, "01007");
    assert_eq!(warnings[0].text, "no privileges were granted for \"t\"");
    assert_eq!(admin.rows(ENTRIES).await, before);
    // With the option for one of two, it does the one and warns about the other;
    // asked for all, it does not even warn.
    admin.run("GRANT SELECT ON t TO option_reader WITH GRANT OPTION").await;
    reader.run("GRANT SELECT, INSERT ON t TO option_agent").await;
    assert_eq!(reader.notices()[0].text, "not all privileges were granted for \"t\"");
    reader.run("GRANT ALL ON t TO option_agent").await;
    assert_eq!(reader.notices(), []);
    assert!(admin.rows(ENTRIES).await.contains(&"option_agent=r/option_reader".to_owned()));
    // And so does taking away.
    reader.run("REVOKE INSERT ON t FROM option_agent").await;
    assert_eq!(reader.notices()[0].code, "01006");
}

async fn reading_after_the_write_shows_what_slipped_between_in_read_committed_only(
    cluster: &Cluster,
) {
    let database = cluster.database("between").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (); CREATE ROLE between_ours; CREATE ROLE between_theirs").await;
    admin.run("GRANT SELECT ON t TO postgres").await;
    let other = cluster.admin_of(&database).await;
    let seen = "SELECT grantee::regrole FROM pg_class, aclexplode(relacl)
        WHERE relname = 't' AND privilege_type = 'SELECT' ORDER BY grantee::regrole::text";
    let all = ["between_ours", "between_theirs", "postgres"];

    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        admin.run(&format!("BEGIN ISOLATION LEVEL {level}")).await;
        assert_eq!(admin.rows(seen).await, ["postgres"], "{level}: just before the write");
        other.run("GRANT ALL ON t TO between_theirs").await;
        // No level reports a conflict.
        admin.run("GRANT SELECT ON t TO between_ours").await;
        // A function reads what is so now, not what the snapshot has.
        let now = "SELECT has_table_privilege('between_theirs', 't', 'SELECT')";
        assert_eq!(admin.value(now).await, "t", "{level}");
        let after = admin.rows(seen).await;
        let versions = "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off;
            SELECT count(*) FROM pg_class WHERE relname = 't'";
        let versions = admin.value(versions).await;
        if level == "READ COMMITTED" {
            assert_eq!((after, &*versions), (all.map(str::to_owned).to_vec(), "1"));
        } else {
            // The snapshot has the row from before theirs, and the transaction its
            // own: the table is there twice, and an index leads to the old one
            // alone, so that not even one's own grant is seen.
            assert_ne!(after, all, "{level}");
            assert_eq!(versions, "2", "{level}");
        }
        admin.run("COMMIT").await;
        assert_eq!(admin.rows(seen).await, all, "{level}: nothing is lost");
        admin.run("REVOKE ALL ON t FROM between_ours, between_theirs").await;
    }
}

async fn two_transactions_that_grant_on_one_table_fail_with_an_internal_error(cluster: &Cluster) {
    let database = cluster.database("at_once").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (); CREATE ROLE at_once_1; CREATE ROLE at_once_2").await;
    let (one, two) = (cluster.admin_of(&database).await, cluster.admin_of(&database).await);
    let waiting = two.pid().await;
    one.run("BEGIN; GRANT SELECT ON t TO at_once_1").await;
    let two =
        tokio::spawn(async move { two.batch_execute("GRANT SELECT ON t TO at_once_2").await });
    until_it_waits(&admin, &waiting).await;
    one.run("COMMIT").await;
    let failed = message(&two.await.unwrap().unwrap_err());
    assert_eq!((&*failed.code, &*failed.text), ("XX000", "tuple concurrently updated"));
}

async fn a_lock_of_ones_own_serialises_grants_on_one_table(cluster: &Cluster) {
    let database = cluster.database("in_turn").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (); CREATE ROLE in_turn_1; CREATE ROLE in_turn_2").await;
    let (one, two) = (cluster.admin_of(&database).await, cluster.admin_of(&database).await);
    let waiting = two.pid().await;
    let grant = |role: &str| {
        format!(
            "BEGIN; SELECT pg_advisory_xact_lock('pg_class'::regclass::int, 't'::regclass::int);
             GRANT SELECT ON t TO {role}"
        )
    };
    one.run(&grant("in_turn_1")).await;
    let then = format!("{}; COMMIT", grant("in_turn_2"));
    let two = tokio::spawn(async move { two.batch_execute(&then).await });
    until_it_waits(&admin, &waiting).await;
    one.run("COMMIT").await;
    two.await.unwrap().unwrap();
    assert_eq!(admin.rows(ENTRIES).await.len(), 3);
}

async fn two_transactions_that_grant_on_two_tables_do_not_meet(cluster: &Cluster) {
    let database = cluster.database("apart").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (); CREATE TABLE u (); CREATE ROLE apart_agent").await;
    let other = cluster.admin_of(&database).await;
    admin.run("BEGIN; GRANT SELECT ON t TO apart_agent").await;
    other.run("GRANT SELECT ON u TO apart_agent").await;
    admin.run("COMMIT").await;
}

async fn has_table_privilege_says_no_for_a_member_who_can_become_the_role(cluster: &Cluster) {
    let database = cluster.database("oracle_member").await;
    let agent = login(cluster, &database, "oracle_member_agent", "NOINHERIT").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (n int); CREATE ROLE oracle_member_group").await;
    admin.run("GRANT SELECT ON t TO oracle_member_group").await;
    admin.run("GRANT oracle_member_group TO oracle_member_agent").await;
    assert_eq!(agent.value("SELECT has_table_privilege('t', 'SELECT')").await, "f");
    assert_eq!(agent.refused("SELECT n FROM t").await.code, "42501");
    agent.run("SET ROLE oracle_member_group; SELECT n FROM t").await;
}

async fn has_table_privilege_says_no_for_an_owner_who_can_give_it_back_to_himself(
    cluster: &Cluster,
) {
    let database = cluster.database("oracle_owner").await;
    let owner = login(cluster, &database, "oracle_owner_agent", "").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (n int); ALTER TABLE t OWNER TO oracle_owner_agent").await;
    owner.run("REVOKE ALL ON t FROM oracle_owner_agent").await;
    assert_eq!(owner.value("SELECT has_table_privilege('t', 'SELECT')").await, "f");
    assert_eq!(owner.refused("SELECT n FROM t").await.code, "42501");
    owner.run("GRANT SELECT ON t TO oracle_owner_agent; SELECT n FROM t; DROP TABLE t").await;
}

async fn has_table_privilege_says_no_for_a_grant_on_a_column(cluster: &Cluster) {
    let database = cluster.database("oracle_column").await;
    let agent = login(cluster, &database, "oracle_column_agent", "").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (n int, m int); GRANT SELECT (n) ON t TO oracle_column_agent").await;
    assert_eq!(agent.value("SELECT has_table_privilege('t', 'SELECT')").await, "f");
    assert_eq!(agent.value("SELECT has_any_column_privilege('t', 'SELECT')").await, "t");
    agent.run("SELECT n FROM t").await;
    // Counting rows needs a right to any column, and no more.
    agent.run("SELECT count(*) FROM t").await;
    assert_eq!(agent.refused("SELECT m FROM t").await.code, "42501");
}

async fn has_table_privilege_says_yes_without_usage_on_the_schema(cluster: &Cluster) {
    let database = cluster.database("oracle_schema").await;
    let agent = login(cluster, &database, "oracle_schema_agent", "").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE SCHEMA s; CREATE TABLE s.t (n int)").await;
    admin.run("GRANT SELECT ON s.t TO oracle_schema_agent").await;
    let asked = "SELECT has_table_privilege('oracle_schema_agent', oid, 'SELECT')
        FROM pg_class WHERE relname = 't'";
    assert_eq!(agent.value(asked).await, "t");
    assert_eq!(agent.refused("SELECT n FROM s.t").await.code, "42501");
}

async fn a_setting_of_a_role_changes_what_it_does(cluster: &Cluster) {
    let database = cluster.database("setting").await;
    login(cluster, &database, "setting_agent", "").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE ROLE setting_other; GRANT setting_other TO setting_agent").await;
    admin.run("CREATE SCHEMA theirs; CREATE TABLE theirs.t (n int); CREATE TABLE t (m int)").await;
    admin.run("GRANT USAGE ON SCHEMA theirs TO setting_other").await;
    admin.run("GRANT SELECT ON theirs.t, t TO setting_other").await;
    admin.run("ALTER ROLE setting_agent SET role = 'setting_other'").await;
    admin
        .run(&format!("ALTER ROLE setting_agent IN DATABASE {database} SET search_path = theirs"))
        .await;
    let agent = enter(cluster, &database, "setting_agent").await;
    assert_eq!(agent.value("SELECT current_user").await, "setting_other");
    agent.run("SELECT n FROM t").await;
    // Any login reads what is set, and that is where a change shows.
    let settings = "SELECT coalesce(datname, '*'), unnest(setconfig)
        FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase
        WHERE setrole = 'setting_agent'::regrole ORDER BY 1";
    assert_eq!(agent.rows(settings).await, ["*|role=setting_other", "setting|search_path=theirs"]);
}
