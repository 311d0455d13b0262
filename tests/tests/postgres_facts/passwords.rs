//! Passwords and the sessions that were opened with them.

use agent_iac_tests::{on_each_version, postgres::Cluster};

use crate::{PASSWORD, admit, enter, login, until_it_is_gone};

on_each_version![
    an_open_session_outlives_a_new_password,
    an_open_session_outlives_valid_until,
    an_open_session_outlives_nologin_and_sets_its_own_password,
    nologin_then_terminate_then_null_leaves_no_way_in,
    whoever_is_no_member_may_not_terminate,
    a_right_password_is_refused_for_other_reasons_with_other_codes,
    a_wrong_password_has_the_same_code_as_none_and_as_one_past_valid_until,
    a_revocation_is_proved_by_the_code_beside_a_login_that_works,
    a_verifier_is_taken_as_it_is_and_opens_for_its_password,
    a_clear_password_is_in_the_servers_log_and_a_verifier_keeps_it_out,
    passwordcheck_takes_verifiers_and_refuses_weak_clear_passwords,
    passwordcheck_recognises_the_verifier_of_a_password_that_is_the_name,
    a_malformed_verifier_is_taken_for_a_password,
];

async fn an_open_session_outlives_a_new_password(cluster: &Cluster) {
    let database = cluster.database("outlives").await;
    let open = login(cluster, &database, "outlives_agent", "").await;
    cluster.sql(&database, "ALTER ROLE outlives_agent PASSWORD 'new'").await;
    assert_eq!(cluster.refusal("outlives_agent", PASSWORD, &database).await.code, "28P01");
    assert_eq!(open.value("SELECT current_user").await, "outlives_agent");
}

async fn an_open_session_outlives_valid_until(cluster: &Cluster) {
    let database = cluster.database("until").await;
    let open = login(cluster, &database, "until_agent", "VALID UNTIL '2999-01-01'").await;
    cluster.sql(&database, "ALTER ROLE until_agent VALID UNTIL '2000-01-01'").await;
    assert_eq!(cluster.refusal("until_agent", PASSWORD, &database).await.code, "28P01");
    assert_eq!(open.value("SELECT current_user").await, "until_agent");
    // The date is the password's: what is let in without one does not look at it.
    open.run("ALTER ROLE until_agent PASSWORD 'new'").await;
    assert_eq!(cluster.refusal("until_agent", "new", &database).await.code, "28P01");
    assert_eq!(open.refused("ALTER ROLE until_agent VALID UNTIL 'infinity'").await.code, "42501");
}

async fn an_open_session_outlives_nologin_and_sets_its_own_password(cluster: &Cluster) {
    let database = cluster.database("nologin").await;
    let open = login(cluster, &database, "nologin_agent", "").await;
    cluster.sql(&database, "ALTER ROLE nologin_agent NOLOGIN PASSWORD NULL").await;
    open.run("ALTER ROLE nologin_agent PASSWORD 'its own'").await;
    let has = "SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = 'nologin_agent'";
    assert_eq!(cluster.sql(&database, has).await, ["t"]);
    // Hence the order: with LOGIN back, that password would open.
    cluster.sql(&database, "ALTER ROLE nologin_agent LOGIN").await;
    cluster.connect("nologin_agent", "its own", &database).await.unwrap();
}

async fn nologin_then_terminate_then_null_leaves_no_way_in(cluster: &Cluster) {
    let database = cluster.database("in_order").await;
    let open = login(cluster, &database, "in_order_agent", "").await;
    let pid = open.pid().await;
    let admin = cluster.admin_of(&database).await;
    admin.run("ALTER ROLE in_order_agent NOLOGIN").await;
    open.run("ALTER ROLE in_order_agent PASSWORD 'its own'").await;
    let terminate = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE usename = 'in_order_agent'";
    assert_eq!(admin.rows(terminate).await, ["t"]);
    // With a time it has waited, so that the session is gone when it answers.
    let there = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    assert_eq!(admin.value(&there).await, "0");
    admin.run("ALTER ROLE in_order_agent PASSWORD NULL").await;
    let left = "SELECT rolcanlogin, rolpassword IS NULL, (SELECT count(*) FROM pg_stat_activity
        WHERE usename = rolname) FROM pg_authid WHERE rolname = 'in_order_agent'";
    assert_eq!(admin.value(left).await, "f|t|0");
    assert!(open.batch_execute("SELECT 1").await.is_err());
}

async fn whoever_is_no_member_may_not_terminate(cluster: &Cluster) {
    let database = cluster.database("terminate").await;
    let agent = login(cluster, &database, "terminate_agent", "").await;
    let operator = login(cluster, &database, "terminate_operator", "CREATEROLE").await;
    let pid = agent.pid().await;
    let terminate = format!("SELECT pg_terminate_backend({pid})");
    assert_eq!(operator.refused(&terminate).await.code, "42501");
    cluster.sql(&database, "GRANT pg_signal_backend TO terminate_operator").await;
    operator.run(&terminate).await;
    until_it_is_gone(&cluster.admin().await, &pid).await;

    cluster.sql(&database, "REVOKE pg_signal_backend FROM terminate_operator").await;
    cluster.sql(&database, "GRANT terminate_agent TO terminate_operator").await;
    let pid = enter(cluster, &database, "terminate_agent").await.pid().await;
    operator.run(&format!("SELECT pg_terminate_backend({pid})")).await;
    // A superuser's session neither of them ends.
    cluster.sql(&database, "GRANT pg_signal_backend TO terminate_operator").await;
    let admin = cluster.admin().await;
    let of_admin = format!("SELECT pg_terminate_backend({})", admin.pid().await);
    assert_eq!(operator.refused(&of_admin).await.code, "42501");
}

async fn a_right_password_is_refused_for_other_reasons_with_other_codes(cluster: &Cluster) {
    let database = cluster.database("reasons").await;
    let refused = async |change: &str| {
        cluster.sql(&database, change).await;
        cluster.refusal("reasons_agent", PASSWORD, &database).await
    };
    let open = login(cluster, &database, "reasons_agent", "").await;
    let full = refused("ALTER ROLE reasons_agent CONNECTION LIMIT 1").await;
    assert_eq!(full.code, "53300");
    assert_eq!(full.text, "too many connections for role \"reasons_agent\"");
    drop(open);
    let off = refused("ALTER ROLE reasons_agent CONNECTION LIMIT -1 NOLOGIN").await;
    assert_eq!(off.code, "28000");
    assert_eq!(off.text, "role \"reasons_agent\" is not permitted to log in");
    let closed = "ALTER ROLE reasons_agent LOGIN; REVOKE CONNECT ON DATABASE reasons FROM PUBLIC";
    assert_eq!(refused(closed).await.code, "42501");
    cluster.sql(&database, "GRANT CONNECT ON DATABASE reasons TO PUBLIC").await;
    assert_eq!(cluster.refusal("reasons_agent", PASSWORD, "reasons_missing").await.code, "3D000");
    // All of them come after the password: a wrong one is told nothing else.
    for off in ["NOLOGIN", "LOGIN CONNECTION LIMIT 0"] {
        cluster.sql(&database, &format!("ALTER ROLE reasons_agent {off}")).await;
        assert_eq!(cluster.refusal("reasons_agent", "random", &database).await.code, "28P01");
    }
}

async fn a_wrong_password_has_the_same_code_as_none_and_as_one_past_valid_until(cluster: &Cluster) {
    let database = cluster.database("same_code").await;
    login(cluster, &database, "same_code_agent", "").await;
    let wrong = cluster.refusal("same_code_agent", "random", &database).await;
    assert_eq!(wrong.code, "28P01");
    for change in ["PASSWORD NULL", "PASSWORD 'as-everybody-here' VALID UNTIL '2000-01-01'"] {
        cluster.sql(&database, &format!("ALTER ROLE same_code_agent {change}")).await;
        let refused = cluster.refusal("same_code_agent", PASSWORD, &database).await;
        assert_eq!(refused, wrong, "{change}");
    }
    // The log has what the client is not told.
    let log = cluster.log();
    assert!(log.contains("User \"same_code_agent\" has no password assigned."), "{log}");
    assert!(log.contains("User \"same_code_agent\" has an expired password."), "{log}");
}

async fn a_revocation_is_proved_by_the_code_beside_a_login_that_works(cluster: &Cluster) {
    let database = cluster.database("proved").await;
    login(cluster, &database, "proved_agent", "").await;
    cluster.sql(&database, "ALTER ROLE proved_agent PASSWORD 'new'").await;
    cluster.connect("proved_agent", "new", &database).await.unwrap();
    let (old, random) = (
        cluster.refusal("proved_agent", PASSWORD, &database).await,
        cluster.refusal("proved_agent", "random", &database).await,
    );
    assert_eq!((&*old.code, &old), ("28P01", &random));
    // Without the login that works it would prove nothing: where the address is
    // not let in, a right password is refused too, if by another code.
    let strict = Cluster::start(cluster.version());
    strict.sql("postgres", "CREATE ROLE agent LOGIN PASSWORD 'right'").await;
    admit(&strict, "host all postgres all scram-sha-256\nhost all all all reject\n").await;
    assert_eq!(strict.refusal("agent", "right", "postgres").await.code, "28000");
}

/// The verifier that the server makes of a password.
async fn verifier(cluster: &Cluster, name: &str, password: &str) -> String {
    let admin = cluster.admin().await;
    admin.run(&format!("CREATE ROLE {name} PASSWORD '{password}'")).await;
    let read = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'");
    admin.value(&read).await
}

async fn a_verifier_is_taken_as_it_is_and_opens_for_its_password(cluster: &Cluster) {
    let database = cluster.database("verifier").await;
    let verifier = verifier(cluster, "verifier_of", "right").await;
    let admin = cluster.admin().await;
    admin.run(&format!("CREATE ROLE verifier_agent LOGIN PASSWORD '{verifier}'")).await;
    let stored = "SELECT rolpassword FROM pg_authid WHERE rolname = 'verifier_agent'";
    assert_eq!(admin.value(stored).await, verifier);
    cluster.connect("verifier_agent", "right", &database).await.unwrap();
    assert_eq!(cluster.refusal("verifier_agent", &verifier, &database).await.code, "28P01");
}

async fn a_clear_password_is_in_the_servers_log_and_a_verifier_keeps_it_out(cluster: &Cluster) {
    let database = cluster.database("logged").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE ROLE logged_clear PASSWORD 'seen-by-who-reads-the-log'").await;
    assert!(cluster.log().contains("seen-by-who-reads-the-log"));
    // A failed statement is logged by `log_min_error_statement`, whatever
    // `log_statement` says; so is what one statement among others holds.
    let quiet = Cluster::start_with(cluster.version(), &[("log_statement", "none")]);
    let admin = quiet.admin().await;
    admin.run("CREATE ROLE agent PASSWORD 'not-seen'").await;
    admin.refused("CREATE ROLE agent PASSWORD 'seen-when-it-fails'").await;
    let log = quiet.log();
    assert!(!log.contains("not-seen"), "{log}");
    assert!(log.contains("seen-when-it-fails"), "{log}");
}

async fn passwordcheck_takes_verifiers_and_refuses_weak_clear_passwords(shared: &Cluster) {
    let checked = [("shared_preload_libraries", "passwordcheck")];
    let cluster = Cluster::start_with(shared.version(), &checked);
    let admin = cluster.admin().await;
    let short = admin.refused("CREATE ROLE short PASSWORD 'a1'").await;
    assert_eq!((&*short.code, &*short.text), ("22023", "password is too short"));
    let letters = admin.refused("CREATE ROLE other PASSWORD 'lettersalone'").await;
    assert_eq!(letters.text, "password must contain both letters and nonletters");
    // It cannot look into a verifier, and lets the weakest pass.
    let weak = verifier(shared, "checked_weak", "a1").await;
    admin.run(&format!("CREATE ROLE weak LOGIN PASSWORD '{weak}'")).await;
    cluster.connect("weak", "a1", "postgres").await.unwrap();
}

async fn passwordcheck_recognises_the_verifier_of_a_password_that_is_the_name(shared: &Cluster) {
    let checked = [("shared_preload_libraries", "passwordcheck")];
    let cluster = Cluster::start_with(shared.version(), &checked);
    let verifier = verifier(shared, "named_of", "named1agent").await;
    let admin = cluster.admin().await;
    let refused = admin.refused(&format!("CREATE ROLE named1agent PASSWORD '{verifier}'")).await;
    assert_eq!(refused.code, "22023");
    assert_eq!(refused.text, "password must not equal user name");
    admin.run(&format!("CREATE ROLE another PASSWORD '{verifier}'")).await;
}

async fn a_malformed_verifier_is_taken_for_a_password(cluster: &Cluster) {
    let database = cluster.database("malformed").await;
    let admin = cluster.admin().await;
    // One character of the shape wrong, and it is hashed as a password is: no
    // error says so, and nobody logs in.
    let wrong = "SCRAM-SHA-256$4096:c2FsdA==$short:short";
    admin.run(&format!("CREATE ROLE malformed_agent LOGIN PASSWORD '{wrong}'")).await;
    let stored = "SELECT rolpassword FROM pg_authid WHERE rolname = 'malformed_agent'";
    assert_ne!(admin.value(stored).await, wrong);
    cluster.connect("malformed_agent", wrong, &database).await.unwrap();
}
