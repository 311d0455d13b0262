//! Who stands in the way of a transaction that waits for a lock.
//!
//! The server names who holds a lock only while somebody waits for it, and the
//! one who waits cannot ask. So a second connection does, for as long as it
//! takes; it sees no query of anybody's.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_postgres::SimpleQueryMessage;

use super::{Server, connection::Connection, error::Said, sqlstate};
use crate::{
    address::quoted,
    error::{Error, Result},
};

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(100);

/// One process that was seen in the way, with the user's name where it has one.
type Holder = (i32, Option<String>);

/// Looks, as long as it is kept, who is in the way of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Lookout {
    seen: Arc<Mutex<BTreeSet<Holder>>>,
    kept: Arc<()>,
}

impl Lookout {
    /// Begins to look who is in the way of a process of the server.
    pub(super) fn begin(&self, server: &Server, database: &Arc<str>, pid: i32) {
        let (seen, kept) = (Arc::clone(&self.seen), Arc::downgrade(&self.kept));
        let (server, database) = (server.clone(), Arc::clone(database));
        server.0.route.thread().clone().leave(async move {
            // Nobody is named where there is no second connection to be had.
            let Ok(connection) = server.connect(&database).await else { return };
            while kept.strong_count() > 0 {
                let Ok(found) = ask(&connection, pid).await else { return };
                seen.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// The error of a lock that was not given, with who was seen in the way.
    pub(super) fn explain(&self, error: Error) -> Error {
        use std::error::Error as _;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if sqlstate(&error) != Some("55P03") || seen.is_empty() {
            return error;
        }
        let who: Vec<String> = seen.iter().map(words).collect();
        let ends: Vec<String> = seen.iter().map(end).collect();
        let message = format!("{}: in the way is {}", error.message(), who.join(", "));
        let named = Error::new(error.kind(), message)
            .help(format!("wait for its end, or end it by {}, then repeat", ends.join(", ")));
        match error.source().and_then(|cause| cause.downcast_ref::<Said>()) {
            Some(said) => named.caused_by(said.clone()),
            None => named,
        }
    }
}

fn words((pid, user): &Holder) -> String {
    match (pid, user) {
        // The server has no number for one that has no session.
        (0, _) => "a transaction that was prepared".to_owned(),
        (pid, Some(user)) => format!("process {pid} of {}", quoted(user)),
        (pid, None) => format!("process {pid}"),
    }
}

fn end((pid, _): &Holder) -> String {
    match pid {
        0 => "`ROLLBACK PREPARED` (`pg_prepared_xacts` names it)".to_owned(),
        pid => format!("`SELECT pg_terminate_backend({pid})`"),
    }
}

async fn ask(connection: &Connection, pid: i32) -> Result<Vec<Holder>, tokio_postgres::Error> {
    let sql = format!(
        "BEGIN READ ONLY; SET LOCAL search_path = pg_catalog, pg_temp;
        SELECT blocker.pid, a.usename FROM unnest(pg_blocking_pids({pid})) AS blocker (pid)
            LEFT JOIN pg_stat_activity a ON a.pid = blocker.pid;
        COMMIT"
    );
    connection.count();
    let answer = connection.client().simple_query(&sql).await?;
    let holder = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((row.get(0)?.parse().ok()?, row.get(1).map(str::to_owned)))
        }
        _ => None,
    };
    Ok(answer.iter().filter_map(holder).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn not_given() -> Error {
        Error::new(ErrorKind::Provider, "a lock was not given in time")
            .caused_by(Said::made_up("55P03"))
    }

    fn seen(holders: &[Holder]) -> Lookout {
        let lookout = Lookout::default();
        lookout.seen.lock().unwrap().extend(holders.iter().cloned());
        lookout
    }

    #[test]
    fn whoever_was_seen_is_named_with_what_ends_him() {
        let error = seen(&[(7, Some("bob".into())), (0, None)]).explain(not_given());
        assert_eq!(
            error.message(),
            "a lock was not given in time: in the way is a transaction that was prepared, \
             process 7 of `bob`"
        );
        let repair = error.repair().unwrap();
        assert!(repair.contains("pg_terminate_backend(7)") && repair.contains("ROLLBACK PREPARED"));
        assert_eq!(sqlstate(&error), Some("55P03"));
    }

    #[test]
    fn an_error_of_another_kind_stays_as_it_is() {
        let other = Error::new(ErrorKind::Provider, "x").caused_by(Said::made_up("40P01"));
        assert_eq!(seen(&[(7, None)]).explain(other).message(), "x");
        assert_eq!(seen(&[]).explain(not_given()).message(), "a lock was not given in time");
    }
}
