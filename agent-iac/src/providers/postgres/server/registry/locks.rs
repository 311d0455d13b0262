//! The advisory locks: who waits for whom, and what becomes of strangers that
//! hold one.

use std::{error::Error as _, time::Duration};

use sha2::{Digest as _, Sha256};

use super::super::{
    Type,
    error::{Said, sqlstate},
    transaction::Transaction,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
};

/// The first number of all advisory locks of ours: "agia" in ASCII.
pub(super) const CLASS: i32 = 0x6167_6961;
/// The class of the locks that keep our own writers apart.
pub(super) const SERIAL: i32 = 0x6167_6962;

/// How long our own writers wait for each other: longer than one of them may
/// wait for somebody else's lock meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// How an advisory lock is held.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Shared,
    Exclusive,
}

/// What finds who holds or waits for one of our locks. `pg_locks` shows the
/// numbers as oids, which have no sign.
const HOLDERS: &str = "SELECT DISTINCT l.pid, a.usename::text AS name,
        NOT coalesce(pg_has_role(a.usesysid, current_user, 'MEMBER'), true) AS is_stranger
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.pid IS DISTINCT FROM pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid::int8 = $1 AND l.objsubid = 2
        AND l.objid::int8 = ANY (SELECT key::int8 & 4294967295 FROM unnest($2::int4[]) key)";

/// Takes an advisory lock until the transaction ends, and answers the server's
/// own error when it is not given in time.
///
/// Any login can take a lock of any number, and so ours. Who holds one and
/// could not become the role that works here is none of our writers, and its
/// session is ended.
pub(super) async fn take(tx: &Transaction, class: i32, key: i32, mode: Mode) -> Result<()> {
    let kind = match mode {
        Mode::Shared => "lock_shared",
        Mode::Exclusive => "lock",
    };
    let sql = format!("SELECT pg_try_advisory_xact_{kind}($1, $2)");
    let given = tx.query(&sql, &[(&class, Type::INT4), (&key, Type::INT4)]).await?;
    if given.first().is_some_and(|row| row.get(0)) {
        return Ok(());
    }
    end_strangers(tx, class, key).await?;
    tx.savepoint(|tx| async move {
        let usual = match class {
            SERIAL => Some(lock_timeout(&tx, &PATIENCE.as_millis().to_string()).await?),
            _ => None,
        };
        let sql = format!("SELECT pg_advisory_xact_{kind}($1, $2)");
        tx.query(&sql, &[(&class, Type::INT4), (&key, Type::INT4)]).await?;
        if let Some(usual) = usual {
            lock_timeout(&tx, &usual).await?;
        }
        Ok(())
    })
    .await
}

/// Sets how long the transaction waits for a lock; answers how long it did.
async fn lock_timeout(tx: &Transaction, time: &str) -> Result<String> {
    let sql = "SELECT current_setting('lock_timeout'), set_config('lock_timeout', $1, true)";
    let rows = tx.query(sql, &[(&time, Type::TEXT)]).await?;
    Ok(rows.first().map(|row| row.get(0)).expect("a query without a table has one row"))
}

/// Ends the sessions of strangers that hold one of our locks, or stand before
/// us where one waits for it.
async fn end_strangers(tx: &Transaction, class: i32, key: i32) -> Result<()> {
    let ended = tx
        .savepoint(|tx| async move {
            let sql = format!(
                "WITH holders AS MATERIALIZED ({HOLDERS})
                SELECT pg_terminate_backend(pid, 2000) FROM holders WHERE is_stranger"
            );
            let (class, keys) = (i64::from(class), [key].to_vec());
            tx.query(&sql, &[(&class, Type::INT8), (&keys, Type::INT4_ARRAY)]).await.map(drop)
        })
        .await;
    match ended {
        Err(error) if error.kind() == ErrorKind::Denied => {
            let error = held(tx, class, key, error).await?;
            Err(error.help(
                "let whoever applies end it by GRANT pg_signal_backend, or end it by \
                 `pg_terminate_backend`, then repeat",
            ))
        }
        ended => ended,
    }
}

/// The error of a lock that was not given, with who holds it.
async fn held(tx: &Transaction, class: i32, key: i32, error: Error) -> Result<Error> {
    let who = holders(tx, class, &[key]).await?;
    let mut held = Error::new(
        error.kind(),
        format!(
            "a lock of this engine in the database {} is held by {}",
            quoted(tx.database()),
            who.as_deref().unwrap_or("a transaction that was prepared, or has just ended"),
        ),
    )
    .help(
        "end the session by `pg_terminate_backend`, or a transaction in `pg_prepared_xacts` by \
         ROLLBACK PREPARED, then repeat",
    )
    .retry_as(error.retry());
    if let Some(said) = error.source().and_then(|cause| cause.downcast_ref::<Said>()) {
        held = held.caused_by(said.clone());
    }
    Ok(held)
}

/// Who holds locks of ours, or waits for them, in words.
pub(super) async fn holders(tx: &Transaction, class: i32, keys: &[i32]) -> Result<Option<String>> {
    let sql = format!("{HOLDERS} AND l.granted AND l.pid IS NOT NULL ORDER BY 1");
    let class = i64::from(class);
    let rows = tx.query(&sql, &[(&class, Type::INT8), (&keys, Type::INT4_ARRAY)]).await?;
    let names: Vec<String> = rows
        .iter()
        .map(|row| match row.get::<_, Option<String>>(1) {
            Some(name) => format!("process {} of {}", row.get::<_, i32>(0), quoted(&name)),
            None => format!("process {}", row.get::<_, i32>(0)),
        })
        .collect();
    Ok((!names.is_empty()).then(|| names.join(", ")))
}

/// As [`take`]; who holds the lock is named where it is not given in time.
pub(super) async fn wait(tx: &Transaction, class: i32, key: i32, mode: Mode) -> Result<()> {
    match take(tx, class, key, mode).await {
        Err(error) if sqlstate(&error) == Some("55P03") => Err(held(tx, class, key, error).await?),
        taken => taken,
    }
}

pub(super) async fn lock(tx: &Transaction, class: i32, what: &str) -> Result<()> {
    wait(tx, class, hash(what), Mode::Exclusive).await
}

/// Keeps the writers of one kind of thing in one database apart, until the
/// transaction ends: two that change one row of the catalog at once fail with
/// an internal error.
///
/// # Errors
///
/// When another one holds it for too long.
pub async fn serialise(tx: &Transaction, kind: &str) -> Result<()> {
    lock(tx, SERIAL, kind).await
}

pub(super) fn hash(text: &str) -> i32 {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    i32::from_be_bytes([a, b, c, d])
}
