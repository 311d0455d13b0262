//! Sessions of roles, and their end.
//!
//! A session goes on after its role may no longer log in, after its password
//! was changed, and even after the role was dropped. So it is ended by its
//! process, once nobody can begin another one.

use std::{collections::BTreeSet, time::Duration};

use super::super::{
    catalog::people::{inherit_option, set_option},
    name::{ident, literal},
    server::{Options, Parameter, Transaction, Type, copy, sqlstate},
    view::View,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result, Retry},
};

/// How long sessions are given to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one looks away in between. A login that was let in just before it
/// was switched off is seen no later.
const PAUSE: Duration = Duration::from_millis(20);
/// How often sessions that stand in the way are ended, and others come.
const ROUNDS: usize = 5;

/// Ends all sessions of some roles, by their numbers, and waits until they are
/// gone. The roles are to be switched off before, and that committed.
///
/// Answers how many there were.
///
/// # Errors
///
/// When it is not allowed, or when one does not end.
async fn end_sessions(view: &View, roles: &BTreeSet<u32>) -> Result<usize> {
    if roles.is_empty() {
        return Ok(0);
    }
    let oids: Vec<u32> = roles.iter().copied().collect();
    let options = Options::writing().statement_timeout(PATIENCE * 2);
    let ended = view
        .server
        .transaction(None, options, move |tx| async move { end(&tx, &Sessions::Of(oids)).await });
    let me = view.layout.administrators.as_deref().unwrap_or(view.server.user());
    ended.await.map_err(|error| forbidden(me, error))
}

/// Ends the sessions of what was switched off by several writes. Where that
/// does not succeed, each write of which there were some has failed.
pub(in super::super) async fn end_sessions_of<P>(
    view: &View,
    prepared: &mut [Result<P>],
    off: impl Fn(&P) -> BTreeSet<u32>,
) {
    let all = prepared.iter().flatten().flat_map(&off).collect();
    if let Err(error) = end_sessions(view, &all).await {
        for one in prepared.iter_mut().filter(|one| one.as_ref().is_ok_and(|p| !off(p).is_empty()))
        {
            *one = Err(copy(&error));
        }
    }
}

/// Ends the sessions that roles have now, and those of whoever acts as one of
/// them: a session that became another role goes on as that role after the
/// membership was taken, which is to be done before, and committed. Who comes
/// later never had it, and goes on.
///
/// Our own logins are left alone, and superusers, who need no membership.
///
/// # Errors
///
/// When it is not allowed, or when one does not end.
pub(in super::super) async fn end_open_sessions(
    view: &View,
    roles: &BTreeSet<u32>,
) -> Result<usize> {
    if roles.is_empty() {
        return Ok(0);
    }
    let version = view.server.about().await?.major();
    let roles: Vec<u32> = roles.iter().copied().collect();
    let own: Vec<String> =
        view.layout.principals.iter().chain(&view.layout.administrators).cloned().collect();
    let options = Options::writing().statement_timeout(PATIENCE * 2);
    let work = move |tx: Transaction| async move {
        let sql = format!(
            "WITH RECURSIVE acting AS (
                SELECT oid FROM unnest($1::oid[]) AS t (oid)
                UNION SELECT m.member FROM acting a JOIN pg_auth_members m ON m.roleid = a.oid
                    WHERE {} OR {}
            )
            SELECT a.pid FROM pg_stat_activity a JOIN acting ON acting.oid = a.usesysid
            JOIN pg_roles r ON r.oid = a.usesysid
            WHERE NOT r.rolsuper AND NOT r.rolname = ANY ($2::name[])",
            set_option(version),
            inherit_option(version),
        );
        let parameters = [(&roles as _, Type::OID_ARRAY), (&own as _, Type::TEXT_ARRAY)];
        let rows = tx.query(&sql, &parameters).await?;
        let open: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        if open.is_empty() { Ok(0) } else { end(&tx, &Sessions::These(open)).await }
    };
    let ended = view.server.transaction(None, options, work);
    let me = view.layout.administrators.as_deref().unwrap_or(view.server.user());
    ended.await.map_err(|error| forbidden(me, error))
}

/// Carries out statements that change roles, although their own sessions stand
/// in the way: whoever changes his own password, and does not commit that, holds
/// the row that says that he may log in. Such sessions are ended, a few times.
///
/// # Errors
///
/// Those of the statements, and when somebody else stands in the way.
pub(in super::super) async fn insist(
    tx: &Transaction,
    statements: &str,
    roles: &BTreeSet<u32>,
) -> Result<()> {
    if statements.is_empty() {
        return Ok(());
    }
    let sessions = Sessions::Of(roles.iter().copied().collect());
    let rows = tx.query("SELECT current_user::text, current_setting('lock_timeout')", &[]).await?;
    let row = rows.first().expect("a query without a table has one row");
    let (me, usual): (String, String) = (row.get(0), row.get(1));
    let patience = Duration::from_secs(1).as_millis();
    let script = format!(
        "SET LOCAL lock_timeout = {patience};\n{statements};\nSET LOCAL lock_timeout = {}",
        literal(&usual)
    );
    for _ in 0..ROUNDS {
        match tx
            .savepoint(|tx| {
                let script = &script;
                async move { tx.batch(script).await }
            })
            .await
        {
            Err(error) if sqlstate(&error) == Some("55P03") => {}
            done => return done,
        }
        let told = tx
            .savepoint(|tx| {
                let sessions = &sessions;
                async move { terminate(&tx, sessions).await }
            })
            .await;
        if told.map_err(|error| forbidden(&me, error))?.is_empty() {
            break;
        }
    }
    Err(Error::new(
        ErrorKind::Provider,
        "somebody holds what says whether a role may log in, and it cannot be switched off",
    )
    .help(
        "`pg_locks` names the transaction; one that was only prepared (`pg_prepared_xacts`) has \
         no session: ROLLBACK PREPARED it, then repeat",
    )
    .retry_as(Retry::Backoff))
}

fn forbidden(me: &str, error: Error) -> Error {
    match sqlstate(&error) {
        Some("42501") => Error::new(
            ErrorKind::Denied,
            "sessions of other roles cannot be ended by this provider",
        )
        .help(format!("GRANT pg_signal_backend TO {}", ident(me)))
        .caused_by(error),
        _ => error,
    }
}

/// Which sessions are to end.
enum Sessions {
    /// All of some roles, by their numbers.
    Of(Vec<u32>),
    /// These, by their processes.
    These(Vec<i32>),
}

async fn end(tx: &Transaction, sessions: &Sessions) -> Result<usize> {
    let mut ended = BTreeSet::new();
    let (mut quiet, mut waited) = (0, Duration::ZERO);
    // Twice nothing: the first time, somebody may have been at the door.
    while quiet < 2 {
        if quiet > 0 || waited > Duration::ZERO {
            let pause = PAUSE.as_secs_f64();
            tx.query("SELECT pg_sleep($1)", &[(&pause, Type::FLOAT8)]).await?;
        }
        waited += PAUSE;
        let found = terminate(tx, sessions).await?;
        if found.is_empty() {
            quiet += 1;
            continue;
        }
        quiet = 0;
        ended.extend(found.iter().map(|(pid, _)| *pid));
        if waited > PATIENCE {
            let who: Vec<String> =
                found.iter().map(|(pid, name)| format!("{pid} of {}", quoted(name))).collect();
            return Err(Error::new(
                ErrorKind::Provider,
                format!(
                    "sessions do not end although they were told to {} s ago: process {}",
                    PATIENCE.as_secs(),
                    who.join(", ")
                ),
            )
            .help("look at what they do (`pg_stat_activity`), or restart the server")
            .retry_as(Retry::Backoff));
        }
    }
    Ok(ended.len())
}

/// Tells sessions to end; answers which there are.
async fn terminate(tx: &Transaction, sessions: &Sessions) -> Result<Vec<(i32, String)>> {
    // The list of sessions is otherwise read once a transaction.
    tx.query("SELECT pg_stat_clear_snapshot()", &[]).await?;
    let (which, parameter): (_, Parameter<'_>) = match sessions {
        Sessions::Of(oids) => ("usesysid", (oids, Type::OID_ARRAY)),
        Sessions::These(pids) => ("pid", (pids, Type::INT4_ARRAY)),
    };
    let sql = format!(
        "SELECT pid, coalesce(usename::text, ''), pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE {which} = ANY ($1) AND pid <> pg_backend_pid() ORDER BY pid"
    );
    let told = tx.query(&sql, &[parameter]).await;
    Ok(told?.iter().map(|row| (row.get(0), row.get(1))).collect())
}
