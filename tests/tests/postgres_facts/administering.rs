//! Who administers.

use agent_iac_tests::{on_each_version, postgres::Cluster};

use crate::{PASSWORD, enter, login};

on_each_version![
    createrole_is_as_good_as_superuser_until_15,
    the_creator_of_a_role_gets_admin_without_set_or_inherit_from_16,
    a_second_createrole_login_manages_what_the_first_made_until_15_only,
    a_group_with_a_self_grant_manages_and_drops_from_each_of_its_logins_from_16,
    whoever_may_drop_a_role_may_not_drop_what_it_owns,
    a_read_only_default_is_switched_off_by_the_session,
    verifiers_are_for_superusers_and_for_pg_read_all_data,
    a_function_of_the_owner_shows_that_a_verifier_changed_without_showing_it,
];

async fn createrole_is_as_good_as_superuser_until_15(cluster: &Cluster) {
    let database = cluster.database("as_good").await;
    cluster.sql(&database, "CREATE ROLE as_good_dba LOGIN CREATEDB PASSWORD 'its own'").await;
    let maker = login(cluster, &database, "as_good_maker", "CREATEROLE").await;

    let take_over = "ALTER ROLE as_good_dba PASSWORD 'taken'";
    let grant = "GRANT pg_execute_server_program TO as_good_maker";
    if cluster.version() >= 16 {
        assert_eq!(maker.refused(take_over).await.code, "42501");
        assert_eq!(maker.refused("ALTER ROLE as_good_dba NOLOGIN").await.code, "42501");
        assert_eq!(maker.refused(grant).await.code, "42501");
        return;
    }
    maker.run(take_over).await;
    cluster.connect("as_good_dba", "taken", &database).await.unwrap();
    maker.run(grant).await;
    maker.run("CREATE TEMP TABLE said (line text); COPY said FROM PROGRAM 'id -u'").await;
    let uid: u32 = maker.value("SELECT line FROM said").await.parse().unwrap();
    assert_ne!(uid, 0, "it is the server's user");
    // What it cannot do is alter a superuser, which it no longer needs.
    assert_eq!(maker.refused("ALTER ROLE postgres PASSWORD 'taken'").await.code, "42501");
}

async fn the_creator_of_a_role_gets_admin_without_set_or_inherit_from_16(cluster: &Cluster) {
    let database = cluster.database("creator").await;
    let maker = login(cluster, &database, "creator_maker", "CREATEROLE").await;
    maker.run("CREATE ROLE creator_made").await;
    let memberships = "FROM pg_auth_members WHERE roleid = 'creator_made'::regrole";
    if cluster.version() < 16 {
        assert_eq!(maker.value(&format!("SELECT count(*) {memberships}")).await, "0");
    } else {
        let columns = "member::regrole, grantor::regrole, admin_option, inherit_option, set_option";
        let row = maker.value(&format!("SELECT {columns} {memberships}")).await;
        assert_eq!(row, "creator_maker|postgres|t|f|f");
    }
    // On no version does the creator reach what the role has.
    assert_eq!(maker.refused("DROP OWNED BY creator_made").await.code, "42501");
    assert_eq!(maker.refused("SET ROLE creator_made").await.code, "42501");
    // It may give itself both, from 16 through its ADMIN, until 15 as to anybody.
    maker.run("GRANT creator_made TO creator_maker; DROP OWNED BY creator_made").await;
    maker.run("DROP ROLE creator_made").await;
}

async fn a_second_createrole_login_manages_what_the_first_made_until_15_only(cluster: &Cluster) {
    let database = cluster.database("second").await;
    let first = login(cluster, &database, "second_first", "CREATEROLE").await;
    let second = login(cluster, &database, "second_second", "CREATEROLE").await;
    first.run("CREATE ROLE second_made").await;
    if cluster.version() < 16 {
        second.run("ALTER ROLE second_made LOGIN; DROP ROLE second_made").await;
    } else {
        assert_eq!(second.refused("ALTER ROLE second_made LOGIN").await.code, "42501");
        assert_eq!(second.refused("DROP ROLE second_made").await.code, "42501");
    }
}

async fn a_group_with_a_self_grant_manages_and_drops_from_each_of_its_logins_from_16(
    cluster: &Cluster,
) {
    let database = cluster.database("self_grant").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE ROLE self_grant_admins NOLOGIN CREATEROLE").await;
    admin.run("CREATE SCHEMA theirs AUTHORIZATION self_grant_admins").await;
    let first = login(cluster, &database, "self_grant_1", "IN ROLE self_grant_admins").await;
    let second = login(cluster, &database, "self_grant_2", "IN ROLE self_grant_admins").await;
    let become_group = "SET ROLE self_grant_admins; SET createrole_self_grant = 'set, inherit'";
    if cluster.version() < 16 {
        assert_eq!(first.refused(become_group).await.code, "42704", "there is no such setting");
        return;
    }
    first.run(become_group).await;
    second.run(become_group).await;
    for (maker, other, name) in
        [(&first, &second, "self_grant_made_1"), (&second, &first, "self_grant_made_2")]
    {
        maker.run(&format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")).await;
        maker.run(&format!("GRANT USAGE, CREATE ON SCHEMA theirs TO {name}")).await;
        enter(cluster, &database, name).await.run("CREATE TABLE theirs.t ()").await;
        other.run(&format!("ALTER ROLE {name} CONNECTION LIMIT 3")).await;
        other.run(&format!("ALTER ROLE {name} SET search_path = 'pg_catalog'")).await;
        other.run(&format!("DROP OWNED BY {name}; DROP ROLE {name}")).await;
    }
    // The grant that the group gave to itself is a second one, beside ADMIN.
    first.run("CREATE ROLE self_grant_seen").await;
    let grants = "SELECT grantor::regrole, admin_option, inherit_option, set_option
        FROM pg_auth_members WHERE roleid = 'self_grant_seen'::regrole ORDER BY admin_option";
    assert_eq!(first.rows(grants).await, ["self_grant_admins|f|t|t", "postgres|t|f|f"]);
}

async fn whoever_may_drop_a_role_may_not_drop_what_it_owns(cluster: &Cluster) {
    let database = cluster.database("owned").await;
    let maker = login(cluster, &database, "owned_maker", "CREATEROLE").await;
    maker.run("CREATE ROLE owned_owner").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE owned_t (); ALTER TABLE owned_t OWNER TO owned_owner").await;
    assert_eq!(maker.refused("DROP TABLE owned_t").await.code, "42501");
    assert_eq!(maker.refused("DROP ROLE owned_owner").await.code, "2BP01");
}

async fn a_read_only_default_is_switched_off_by_the_session(cluster: &Cluster) {
    let database = cluster.database("guard").await;
    let reader = login(cluster, &database, "guard_reader", "").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("ALTER ROLE guard_reader SET default_transaction_read_only = on").await;
    admin.run("CREATE TABLE guard_t (); ALTER TABLE guard_t OWNER TO guard_reader").await;
    drop(reader);
    let reader = enter(cluster, &database, "guard_reader").await;
    assert_eq!(reader.refused("DROP TABLE guard_t").await.code, "25006");
    reader.run("SET default_transaction_read_only = off").await;
    reader.run("DROP TABLE guard_t").await;
    // Within one transaction too, as long as it has read nothing.
    reader.run("SET default_transaction_read_only = on").await;
    reader.run("BEGIN; SET TRANSACTION READ WRITE; CREATE TEMP TABLE t (); COMMIT").await;
}

async fn verifiers_are_for_superusers_and_for_pg_read_all_data(cluster: &Cluster) {
    let database = cluster.database("verifiers").await;
    let maker = login(cluster, &database, "verifiers_maker", "CREATEROLE").await;
    cluster.sql(&database, "GRANT pg_read_all_data TO verifiers_maker").await;
    let read = "SELECT rolpassword FROM pg_authid WHERE rolname = 'verifiers_maker'";
    // Who reads everything reads this too.
    let verifier = maker.value(read).await;
    assert!(verifier.starts_with("SCRAM-SHA-256$"), "{verifier}");
    cluster.sql(&database, "REVOKE pg_read_all_data FROM verifiers_maker").await;
    assert_eq!(maker.refused(read).await.code, "42501");
    assert_eq!(maker.refused("SELECT passwd FROM pg_shadow").await.code, "42501");
    let starred = "SELECT rolpassword FROM pg_roles WHERE rolname = 'verifiers_maker'";
    assert_eq!(maker.value(starred).await, "********");
}

async fn a_function_of_the_owner_shows_that_a_verifier_changed_without_showing_it(
    cluster: &Cluster,
) {
    let database = cluster.database("digest").await;
    let watcher = login(cluster, &database, "digest_watcher", "").await;
    let admin = cluster.admin_of(&database).await;
    admin
        .run(
            "CREATE FUNCTION digest_of(name) RETURNS text
             LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
             RETURN (SELECT encode(sha256(convert_to(rolpassword, 'UTF8')), 'hex')
                     FROM pg_catalog.pg_authid WHERE rolname = $1);
             REVOKE EXECUTE ON FUNCTION digest_of FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION digest_of TO digest_watcher;
             CREATE ROLE digest_agent PASSWORD 'first';
             CREATE ROLE digest_other LOGIN PASSWORD 'other'",
        )
        .await;
    let digest = "SELECT digest_of('digest_agent')";
    let before = watcher.value(digest).await;
    assert_eq!(before.len(), 64);
    assert_eq!(watcher.value(digest).await, before);
    // The same password again has another salt, so that even that is seen.
    admin.run("ALTER ROLE digest_agent PASSWORD 'first'").await;
    assert_ne!(watcher.value(digest).await, before);
    let other = cluster.connect("digest_other", "other", &database).await.unwrap();
    assert_eq!(other.refused(digest).await.code, "42501");
}
