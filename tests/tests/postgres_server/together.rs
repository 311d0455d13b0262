//! Reads that are asked for at the same moment.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use agent_iac::{
    Result,
    providers::postgres::server::{Server, Together, Transaction, sqlstate},
};
use agent_iac_tests::{on_each_version, postgres::Cluster};
use futures_util::future::join3;

use super::{settings, superuser, write};

on_each_version![
    reads_that_are_asked_for_together_share_a_snapshot,
    a_read_is_never_answered_from_before_it_was_asked_for,
    a_failed_read_fails_alone,
    whoever_cannot_be_reached_is_told_to_each_reader,
];

type Reads = Together<Transaction>;

async fn read(reads: &Reads, server: &Server, sql: &'static str) -> Result<String> {
    let work = move |tx: Transaction| async move {
        let rows = tx.query(sql, &[]).await?;
        Ok(rows.iter().map(|row| row.get::<_, String>(0)).collect())
    };
    reads.read(server, None, |tx, _| tx, work).await
}

const SESSION: &str = "SELECT pg_backend_pid() || ' ' || now()";

async fn reads_that_are_asked_for_together_share_a_snapshot(cluster: &Cluster) {
    let server = superuser(cluster, "postgres");
    let reads = Reads::default();
    let one = || read(&reads, &server, SESSION);
    let before = server.requests();
    let (a, b, c) = join3(one(), one(), one()).await;
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert!(a == b && b == c, "{a}, {b}, {c}");
    // What a new connection is asked, a begin, three queries and an end.
    let asked = server.requests() - before;
    assert!(asked <= 3 + 1 + 3 + 1, "{asked} requests");
    assert_ne!(one().await.unwrap(), a, "what is asked later has a snapshot of its own");
}

async fn a_read_is_never_answered_from_before_it_was_asked_for(cluster: &Cluster) {
    let database = cluster.database("younger").await;
    let server = superuser(cluster, &database);
    write(&server, "CREATE TABLE public.t (n text)").await.unwrap();
    let reads = Reads::default();
    let sql = "SELECT coalesce(max(n), 'none') FROM public.t";
    let (writes, again) = (server.clone(), reads.clone());
    let looked = reads.read(
        &server,
        None,
        |tx, _| tx,
        move |tx: Transaction| {
            let (server, reads) = (writes.clone(), again.clone());
            async move {
                let seen = |rows: Vec<_>| -> String {
                    rows.first().map(|row: &tokio_postgres::Row| row.get(0)).unwrap()
                };
                let before = seen(tx.query(sql, &[]).await?);
                write(&server, "INSERT INTO public.t VALUES ('new')").await?;
                // This one's snapshot is still there, and is not for others.
                let other = read(&reads, &server, sql).await?;
                Ok((before, seen(tx.query(sql, &[]).await?), other))
            }
        },
    );
    let (before, after, other) = looked.await.unwrap();
    assert_eq!([before, after, other], ["none", "none", "new"]);
}

async fn a_failed_read_fails_alone(cluster: &Cluster) {
    let server = superuser(cluster, "postgres");
    let reads = Reads::default();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let failing = reads.read(
        &server,
        None,
        |tx, _| tx,
        move |tx: Transaction| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { tx.query("SELECT 1 / 0", &[]).await.map(|_| ()) }
        },
    );
    let good = || read(&reads, &server, SESSION);
    let (failed, one, other) = join3(failing, good(), good()).await;
    assert_eq!(sqlstate(&failed.unwrap_err()), Some("22012"));
    assert_eq!(tries.load(Ordering::Relaxed), 2, "together, and then alone");
    one.unwrap();
    other.unwrap();
}

async fn whoever_cannot_be_reached_is_told_to_each_reader(cluster: &Cluster) {
    let server = super::server(settings(cluster, "nobody_at_all", "x", "postgres"));
    let reads = Reads::default();
    let one = || read(&reads, &server, SESSION);
    let (a, b, c) = join3(one(), one(), one()).await;
    for error in [a, b, c].map(Result::unwrap_err) {
        assert_eq!(sqlstate(&error), Some("28P01"), "{error:?}");
        assert!(error.message().contains("nobody_at_all"), "{error:?}");
    }
}
