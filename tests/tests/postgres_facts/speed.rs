//! Speed, and what a group of statements costs when one of them is wrong.

use std::{fmt::Write as _, time::Duration};

use agent_iac_tests::{
    on_each_version,
    postgres::{Cluster, Session},
};

on_each_version![
    grouped_grants_take_a_fraction_of_single_ones,
    one_bad_name_aborts_a_whole_group,
    one_bad_statement_aborts_its_transaction_unless_it_has_a_savepoint,
];

const ROLES: usize = 1_000;
const TABLES: usize = 4;

/// How long the statements take, in one transaction that is taken back.
#[expect(clippy::disallowed_methods, reason = "it is real time that is measured")]
async fn took(session: &Session, statements: impl Iterator<Item = String>) -> Duration {
    session.run("BEGIN").await;
    let begun = std::time::Instant::now();
    for statement in statements {
        session.run(&statement).await;
    }
    let took = begun.elapsed();
    session.run("ROLLBACK").await;
    took
}

async fn grouped_grants_take_a_fraction_of_single_ones(shared: &Cluster) {
    // Alone, so that neither the other tests nor their log statements count.
    let cluster = Cluster::start_with(shared.version(), &[("log_statement", "none")]);
    let admin = cluster.admin().await;
    let mut make = String::new();
    for table in 0..TABLES {
        writeln!(make, "CREATE TABLE t{table} ();").unwrap();
    }
    for role in 0..ROLES {
        writeln!(make, "CREATE ROLE r{role};").unwrap();
    }
    admin.run(&make).await;

    let everybody = (0..ROLES).map(|role| format!("r{role}")).collect::<Vec<_>>().join(", ");
    let grouped =
        took(&admin, (0..TABLES).map(|table| format!("GRANT SELECT ON t{table} TO {everybody}")));
    let grouped = grouped.await;
    let each = || (0..TABLES).flat_map(|table| (0..ROLES).map(move |role| (table, role)));
    let single = each().map(|(table, role)| format!("GRANT SELECT ON t{table} TO r{role}"));
    let single = took(&admin, single).await;
    let saved = each().map(|(table, role)| {
        format!("SAVEPOINT s; GRANT SELECT ON t{table} TO r{role}; RELEASE SAVEPOINT s")
    });
    let saved = took(&admin, saved).await;
    println!("{}: grouped {grouped:?}, single {single:?}, saved {saved:?}", cluster.version());
    assert!(grouped * 3 < single, "grouped {grouped:?}, single {single:?}");
    assert!(grouped * 3 < saved, "grouped {grouped:?}, with savepoints {saved:?}");
}

async fn one_bad_name_aborts_a_whole_group(cluster: &Cluster) {
    let database = cluster.database("bad_name").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE TABLE t (); CREATE ROLE bad_name_1; CREATE ROLE bad_name_2").await;
    let group = "GRANT SELECT ON t TO bad_name_1, bad_name_missing, bad_name_2";
    assert_eq!(admin.refused(group).await.code, "42704");
    assert_eq!(admin.value("SELECT relacl FROM pg_class WHERE relname = 't'").await, "");
}

async fn one_bad_statement_aborts_its_transaction_unless_it_has_a_savepoint(cluster: &Cluster) {
    let database = cluster.database("bad_statement").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("BEGIN; CREATE ROLE bad_statement_1").await;
    admin.refused("GRANT bad_statement_missing TO bad_statement_1").await;
    assert_eq!(admin.refused("CREATE ROLE bad_statement_2").await.code, "25P02");
    // `COMMIT` answers without an error, and has rolled back.
    admin.run("COMMIT").await;
    let made = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'bad\\_statement\\__'";
    assert_eq!(admin.value(made).await, "0");

    admin.run("BEGIN; CREATE ROLE bad_statement_1; SAVEPOINT s").await;
    admin.refused("GRANT bad_statement_missing TO bad_statement_1").await;
    admin.run("ROLLBACK TO SAVEPOINT s; CREATE ROLE bad_statement_2; COMMIT").await;
    assert_eq!(admin.value(made).await, "2");
}
