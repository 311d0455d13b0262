//! The engine's own schema in a database: which claims were carried out, and
//! which objects are whose.
//!
//! Owns its tables, and the advisory locks by which recovery waits for
//! transactions that are still under way. It knows no type of resource: what an
//! outcome says, its writer and its reader know.
//!
//! A writer calls [`enter`] before anything else in its transaction, does its
//! work, and writes the outcomes by [`register`]. Recovery calls [`settle`]: it
//! waits until no transaction of the dead run is left, and closes the claims
//! that nothing came of, so that a writer that wakes up late finds its claim
//! given up.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::{
    super::name::{ident, literal},
    Type,
    error::{Said, sqlstate},
    transaction::Transaction,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result, Retry},
    ledger::Claim,
    provider::Mark,
};

/// The version of the tables below.
const VERSION: i32 = 1;

/// The first number of all advisory locks of ours: "agia" in ASCII.
const CLASS: i32 = 0x6167_6961;
/// The class of the locks that keep our own writers apart.
const SERIAL: i32 = 0x6167_6962;

/// Its tables.
const TABLES: [&str; 3] = ["claims", "objects", "registry"];

/// The statements that make the schema, for whoever has to be asked for it.
/// Each may be repeated.
///
/// Nobody but the owner writes a row, whatever he may do to all tables: a role
/// with `pg_write_all_data` would else say that anything is the fleet's.
///
/// `observer` is the role that planning reads as.
pub fn ddl(observer: Option<&str>) -> String {
    let observer = observer.map(ident).map_or_else(String::new, |observer| {
        format!(
            "GRANT USAGE ON SCHEMA agent_iac TO {observer};
GRANT SELECT ON ALL TABLES IN SCHEMA agent_iac TO {observer};
"
        )
    });
    let closed: String = TABLES
        .iter()
        .map(|table| {
            format!(
                "ALTER TABLE agent_iac.{table} ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS readers ON agent_iac.{table};
CREATE POLICY readers ON agent_iac.{table} FOR SELECT USING (true);
"
            )
        })
        .collect();
    format!(
        "CREATE SCHEMA IF NOT EXISTS agent_iac;
REVOKE ALL ON SCHEMA agent_iac FROM PUBLIC;
CREATE TABLE IF NOT EXISTS agent_iac.registry (
    version int NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS agent_iac.claims (
    claim text PRIMARY KEY,
    run text NOT NULL,
    outcome jsonb,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS agent_iac.objects (
    type text NOT NULL,
    id text NOT NULL,
    fleet text NOT NULL,
    environment text NOT NULL,
    address text NOT NULL,
    detail jsonb,
    PRIMARY KEY (type, id)
);
REVOKE ALL ON ALL TABLES IN SCHEMA agent_iac FROM PUBLIC;
{closed}{observer}INSERT INTO agent_iac.registry (version)
    SELECT {VERSION} WHERE NOT EXISTS (SELECT FROM agent_iac.registry);
"
    )
}

/// Whether a database has the engine's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not.
    Missing,
    /// It has; whoever owns it can write what he likes into it.
    Ready {
        /// The owner of the schema and of all its tables.
        owner: String,
        /// Whether the owner is a superuser, or the role that asks.
        trusted: bool,
    },
}

/// Looks for the engine's schema.
///
/// # Errors
///
/// When it is of a newer version, when its parts have several owners, when
/// somebody but the owner can change them, or when this role may not read it.
pub async fn state(tx: &Transaction) -> Result<State> {
    let rows = tx
        .query(
            "SELECT pg_get_userbyid(n.nspowner)::text,
                n.nspowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
                    OR (SELECT rolsuper FROM pg_roles r WHERE r.oid = n.nspowner),
                count(DISTINCT c.oid)::int4,
                coalesce(bool_and(c.relowner = n.nspowner), true),
                CASE WHEN has_schema_privilege(n.oid, 'USAGE')
                    THEN coalesce(bool_and(has_table_privilege(c.oid, 'SELECT')), true)
                    ELSE false END,
                min(c.relname::text) FILTER (WHERE NOT c.relrowsecurity),
                min(format('%s of `%s` on `agent_iac.%s`', acl.privilege_type,
                    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee) END,
                    c.relname)) FILTER (WHERE acl.grantee IS NOT NULL),
                min(c.relname::text) FILTER (WHERE EXISTS (
                    SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal))
            FROM pg_namespace n
            LEFT JOIN pg_class c ON c.relnamespace = n.oid
                AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
                AND c.relname::text = ANY ($1)
            LEFT JOIN aclexplode(c.relacl) acl
                ON acl.grantee <> c.relowner AND acl.privilege_type <> 'SELECT'
            WHERE n.nspname = 'agent_iac'
            GROUP BY n.oid, n.nspowner",
            &[(&&TABLES[..], Type::TEXT_ARRAY)],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(State::Missing) };
    let (owner, trusted, tables): (String, bool, i32) = (row.get(0), row.get(1), row.get(2));
    let (one_owner, readable): (bool, bool) = (row.get(3), row.get(4));
    let schema = format!("the schema `agent_iac` of the database {}", quoted(tx.database()));
    if !one_owner {
        return Err(Error::new(
            ErrorKind::Foreign,
            format!("{schema} belongs to {}, and its tables to somebody else", quoted(&owner)),
        )
        .help("find out who made them; a table of somebody else's can claim anything"));
    }
    if tables == 0 {
        // Empty, as somebody made it for us.
        return Ok(State::Missing);
    }
    if !readable {
        return Err(Error::new(
            ErrorKind::Denied,
            format!("{schema} belongs to {} and may not be read", quoted(&owner)),
        )
        .help("grant USAGE on it and SELECT on its tables to this login"));
    }
    if tables < 3 {
        return Err(damaged(&schema).help("restore its tables from a backup"));
    }
    let (open, writer, trigger): (Option<&str>, Option<&str>, Option<&str>) =
        (row.get(5), row.get(6), row.get(7));
    if let Some(table) = open {
        return Err(Error::new(
            ErrorKind::Foreign,
            format!("{schema} has a table whose rows others can write (`{table}`)"),
        )
        .help(format!(
            "ALTER TABLE agent_iac.{table} ENABLE ROW LEVEL SECURITY; CREATE POLICY readers ON \
             agent_iac.{table} FOR SELECT USING (true)"
        )));
    }
    if let Some(writer) = writer {
        return Err(Error::new(
            ErrorKind::Foreign,
            format!("{schema} can be changed by somebody else: {writer}"),
        )
        .help("revoke it, and compare what the tables say with the server"));
    }
    if let Some(table) = trigger {
        return Err(Error::new(
            ErrorKind::Foreign,
            format!("{schema} has a trigger, on the table `{table}`"),
        )
        .help("drop it, and compare what the tables say with the server"));
    }
    let version = tx.query("SELECT max(version) FROM agent_iac.registry", &[]).await?;
    let version: Option<i32> = version.first().and_then(|row| row.get(0));
    match version {
        Some(VERSION) => Ok(State::Ready { owner, trusted }),
        Some(version) if version > VERSION => Err(Error::new(
            ErrorKind::NewerVersion,
            format!("{schema} is of version {version}, and this program knows up to {VERSION}"),
        )
        .help("use a newer version of agent-iac")),
        _ => Err(damaged(&schema).help("restore the table `agent_iac.registry` from a backup")),
    }
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Damaged, format!("{what} is not as it was made"))
}

/// Makes the engine's schema where it is missing, and refuses one that others
/// can write into.
///
/// # Errors
///
/// When this role may not make it, and those of [`state`].
pub async fn install(tx: &Transaction, observer: Option<&str>) -> Result<()> {
    let found = match state(tx).await? {
        State::Missing => {
            // Two that find it missing would both make it, and one fail.
            lock(tx, SERIAL, "registry").await?;
            match state(tx).await? {
                State::Missing => {
                    let ddl = ddl(observer);
                    // Who may not make it can go on, and say what is missing.
                    let made = tx.savepoint(|tx| async move { tx.batch(&ddl).await }).await;
                    return made.map_err(|error| not_made(tx, error));
                }
                found @ State::Ready { .. } => found,
            }
        }
        found @ State::Ready { .. } => found,
    };
    match found {
        State::Ready { owner, trusted: false } => Err(Error::new(
            ErrorKind::Foreign,
            format!(
                "the schema `agent_iac` of the database {} belongs to {}",
                quoted(tx.database()),
                quoted(&owner)
            ),
        )
        .help("let it belong to the role that writes, by ALTER SCHEMA and ALTER TABLE … OWNER TO")),
        State::Ready { .. } | State::Missing => Ok(()),
    }
}

fn not_made(tx: &Transaction, error: Error) -> Error {
    if error.kind() != ErrorKind::Denied {
        return error;
    }
    Error::new(
        ErrorKind::Denied,
        format!("the schema `agent_iac` cannot be made in the database {}", quoted(tx.database())),
    )
    .help("GRANT CREATE ON the database to the role that writes, or run what `plan --requires` prints")
    .caused_by(error)
}

/// How an advisory lock is held.
#[derive(Clone, Copy)]
enum Mode {
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
async fn take(tx: &Transaction, class: i32, key: i32, mode: Mode) -> Result<()> {
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
        let sql = format!("SELECT pg_advisory_xact_{kind}($1, $2)");
        tx.query(&sql, &[(&class, Type::INT4), (&key, Type::INT4)]).await.map(drop)
    })
    .await
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
async fn holders(tx: &Transaction, class: i32, keys: &[i32]) -> Result<Option<String>> {
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
async fn wait(tx: &Transaction, class: i32, key: i32, mode: Mode) -> Result<()> {
    match take(tx, class, key, mode).await {
        Err(error) if sqlstate(&error) == Some("55P03") => Err(held(tx, class, key, error).await?),
        taken => taken,
    }
}

async fn lock(tx: &Transaction, class: i32, what: &str) -> Result<()> {
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

fn hash(text: &str) -> i32 {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    i32::from_be_bytes([a, b, c, d])
}

/// The run that a claim is of.
fn run(claim: &Claim) -> &str {
    claim.as_str().rsplit_once('.').map_or(claim.as_str(), |(run, _)| run)
}

/// The numbers of the locks of some claims, in the order in which everybody
/// takes them.
fn keys(claims: &[Claim]) -> Vec<i32> {
    claims.iter().map(|claim| hash(run(claim))).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What the registry knows of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It was carried out; this is its outcome, as JSON.
    Done(String),
    /// Recovery was told that it was not, and will not be.
    GivenUp,
}

/// Begins to carry out claims: recovery waits for this transaction from here
/// on. Answers what was registered of them before.
///
/// # Errors
///
/// When recovery of the same run is at work for too long.
pub async fn enter(tx: &Transaction, claims: &[Claim]) -> Result<BTreeMap<Claim, Registered>> {
    for key in keys(claims) {
        wait(tx, CLASS, key, Mode::Shared).await?;
    }
    // By a statement of its own, which sees what was committed until the lock
    // was given.
    registered(tx, claims).await
}

/// What is registered of some claims.
///
/// # Errors
///
/// When the registry cannot be read.
pub async fn registered(tx: &Transaction, claims: &[Claim]) -> Result<BTreeMap<Claim, Registered>> {
    let texts: Vec<&str> = claims.iter().map(Claim::as_str).collect();
    let rows = tx
        .query(
            "SELECT claim, outcome::text FROM agent_iac.claims WHERE claim = ANY ($1)",
            &[(&texts, Type::TEXT_ARRAY)],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| {
            let outcome: Option<String> = row.get(1);
            let registered = outcome.map_or(Registered::GivenUp, Registered::Done);
            (Claim::from_text(row.get::<_, String>(0)), registered)
        })
        .collect())
}

/// The error of a write whose claim was given up.
pub fn given_up(claim: &Claim) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!("the claim {claim} was given up when its run was settled"),
    )
    .help("repeat the write under a claim of the present run")
}

/// Writes what became of claims, in the transaction that did the work. Each
/// outcome is JSON.
///
/// # Errors
///
/// When one of them is registered already, which [`enter`] would have said.
pub async fn register(tx: &Transaction, outcomes: &[(Claim, String)]) -> Result<()> {
    let claims: Vec<&str> = outcomes.iter().map(|(claim, _)| claim.as_str()).collect();
    let runs: Vec<&str> = outcomes.iter().map(|(claim, _)| run(claim)).collect();
    let texts: Vec<&str> = outcomes.iter().map(|(_, outcome)| outcome.as_str()).collect();
    tx.execute(
        "INSERT INTO agent_iac.claims (claim, run, outcome)
            SELECT claim, run, outcome::jsonb
            FROM unnest($1::text[], $2::text[], $3::text[]) AS row (claim, run, outcome)",
        &[(&claims, Type::TEXT_ARRAY), (&runs, Type::TEXT_ARRAY), (&texts, Type::TEXT_ARRAY)],
    )
    .await
    .map(drop)
    .map_err(|error| match sqlstate(&error) {
        Some("23505") => Error::new(
            ErrorKind::Refused,
            format!("a claim is registered already in the database {}", quoted(tx.database())),
        )
        .help("repeat the write under a claim of the present run")
        .caused_by(error),
        _ => error,
    })
}

/// Says what became of the claims of runs that are dead, in the order of the
/// claims, and closes those that nothing came of. It waits until no transaction
/// that [`enter`]ed for one of the runs is left, for as long as `patience`, and
/// no longer than a statement of this transaction may take.
///
/// # Errors
///
/// With the kind [`InDoubt`](ErrorKind::InDoubt) when one is still left then.
pub async fn settle(
    tx: &Transaction,
    claims: &[Claim],
    patience: Duration,
) -> Result<Vec<Registered>> {
    let keys = keys(claims);
    let waited = tx
        .savepoint(|tx| {
            let keys = keys.clone();
            async move {
                let limit = patience.as_millis().to_string();
                tx.batch(&format!("SET LOCAL lock_timeout = {}", literal(&limit))).await?;
                for key in keys {
                    take(&tx, CLASS, key, Mode::Exclusive).await?;
                }
                Ok::<_, Error>(())
            }
        })
        .await;
    if let Err(error) = waited {
        return Err(if matches!(sqlstate(&error), Some("55P03" | "57014")) {
            still_at_work(tx, &keys, patience).await?.caused_by(error)
        } else {
            error
        });
    }
    let texts: Vec<&str> = claims.iter().map(Claim::as_str).collect();
    let runs: Vec<&str> = claims.iter().map(run).collect();
    tx.execute(
        "INSERT INTO agent_iac.claims (claim, run)
            SELECT claim, run FROM unnest($1::text[], $2::text[]) AS row (claim, run)
            ON CONFLICT (claim) DO NOTHING",
        &[(&texts, Type::TEXT_ARRAY), (&runs, Type::TEXT_ARRAY)],
    )
    .await?;
    let mut found = registered(tx, claims).await?;
    claims
        .iter()
        .map(|claim| {
            found.remove(claim).ok_or_else(|| {
                damaged(&format!(
                    "the table `agent_iac.claims` of the database {}",
                    quoted(tx.database())
                ))
                .help("look for a trigger or a policy on it that was not there")
            })
        })
        .collect()
}

async fn still_at_work(tx: &Transaction, keys: &[i32], patience: Duration) -> Result<Error> {
    let who = holders(tx, CLASS, keys).await?.unwrap_or_else(|| "one".into());
    Ok(Error::new(
        ErrorKind::InDoubt,
        format!(
            "a transaction of the run is still under way in the database {} after {} s ({who})",
            quoted(tx.database()),
            patience.as_secs(),
        ),
    )
    .help("wait for it, or end it by `pg_terminate_backend`, then repeat")
    .retry_as(Retry::Backoff))
}

/// Whose an object is, with what its type keeps beside that, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Whose it is.
    pub mark: Mark,
    /// What its type keeps.
    pub detail: Option<String>,
}

/// Writes whose objects of one type are, over what was written before.
///
/// # Errors
///
/// When the registry cannot be written.
pub async fn mark(tx: &Transaction, type_name: &str, objects: &[(String, Owned)]) -> Result<()> {
    let column =
        |of: fn(&(String, Owned)) -> String| -> Vec<String> { objects.iter().map(of).collect() };
    let details: Vec<Option<&str>> =
        objects.iter().map(|(_, owned)| owned.detail.as_deref()).collect();
    tx.execute(
        "INSERT INTO agent_iac.objects (type, id, fleet, environment, address, detail)
            SELECT $1, id, fleet, environment, address, detail::jsonb
            FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
                AS row (id, fleet, environment, address, detail)
            ON CONFLICT (type, id) DO UPDATE SET fleet = excluded.fleet,
                environment = excluded.environment, address = excluded.address,
                detail = excluded.detail",
        &[
            (&type_name, Type::TEXT),
            (&column(|(id, _)| id.clone()), Type::TEXT_ARRAY),
            (&column(|(_, owned)| owned.mark.fleet.clone()), Type::TEXT_ARRAY),
            (&column(|(_, owned)| owned.mark.environment.clone()), Type::TEXT_ARRAY),
            (&column(|(_, owned)| owned.mark.address.to_string()), Type::TEXT_ARRAY),
            (&details, Type::TEXT_ARRAY),
        ],
    )
    .await
    .map(drop)
}

/// Forgets whose objects of one type are: they are gone.
///
/// # Errors
///
/// When the registry cannot be written.
pub async fn forget(tx: &Transaction, type_name: &str, ids: &[String]) -> Result<()> {
    tx.execute(
        "DELETE FROM agent_iac.objects WHERE type = $1 AND id = ANY ($2)",
        &[(&type_name, Type::TEXT), (&ids, Type::TEXT_ARRAY)],
    )
    .await
    .map(drop)
}

/// Whose the objects of one type are, by their ids; all of them where no ids
/// are given.
///
/// # Errors
///
/// When the registry cannot be read.
pub async fn owned(
    tx: &Transaction,
    type_name: &str,
    ids: Option<&[String]>,
) -> Result<BTreeMap<String, Owned>> {
    let rows = tx
        .query(
            "SELECT id, fleet, environment, address, detail::text FROM agent_iac.objects
            WHERE type = $1 AND ($2::text[] IS NULL OR id = ANY ($2))",
            &[(&type_name, Type::TEXT), (&ids, Type::TEXT_ARRAY)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let (id, address): (String, String) = (row.get(0), row.get(3));
            let address = address.parse().map_err(|error| {
                damaged("a row of `agent_iac.objects`")
                    .help("look at its address; somebody may have changed it")
                    .caused_by(format!("{error}"))
            })?;
            let mark = Mark { fleet: row.get(1), environment: row.get(2), address };
            Ok((id, Owned { mark, detail: row.get(4) }))
        })
        .collect()
}
