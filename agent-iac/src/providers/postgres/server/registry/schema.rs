//! The tables: how they are made, and whether they are as they were made.

use tokio_postgres::Row;

use super::{
    super::{super::name::ident, Type, transaction::Transaction},
    locks::{SERIAL, lock},
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
};

/// The version of the tables below.
const VERSION: i32 = 2;

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
    let observer = observer.map_or_else(String::new, grants);
    let closed: Vec<String> = TABLES
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
    system_identifier text NOT NULL,
    database_oid oid NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS agent_iac.claims (
    claim text PRIMARY KEY,
    run text NOT NULL,
    fleet text,
    environment text,
    address text,
    outcome jsonb,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS claims_of_address ON agent_iac.claims (address, environment, fleet)
    WHERE outcome IS NOT NULL;
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
{}{observer}INSERT INTO agent_iac.registry (version, system_identifier, database_oid)
    SELECT {VERSION}, c.system_identifier::text, d.oid
    FROM pg_control_system() c, pg_database d
    WHERE d.datname = current_database() AND NOT EXISTS (SELECT FROM agent_iac.registry);
",
        closed.concat()
    )
}

/// What lets a role read the schema.
fn grants(observer: &str) -> String {
    let observer = ident(observer);
    format!(
        "GRANT USAGE ON SCHEMA agent_iac TO {observer};
GRANT SELECT ON ALL TABLES IN SCHEMA agent_iac TO {observer};
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
/// When it is of a newer version, when it was made in another cluster or
/// database, whose numbers are others, when its parts have several owners, when
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
                    SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)),
                has_function_privilege('pg_control_system()', 'EXECUTE')
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
    match version(tx, &schema, row.get(8)).await? {
        VERSION => Ok(State::Ready { owner, trusted }),
        version if version > VERSION => Err(Error::new(
            ErrorKind::NewerVersion,
            format!("{schema} is of version {version}, and this program knows up to {VERSION}"),
        )
        .help("use a newer version of agent-iac")),
        version if version > 0 => Err(Error::new(
            ErrorKind::Damaged,
            format!("{schema} is of version {version}, which says not of which cluster it is"),
        )
        .help("DROP SCHEMA agent_iac CASCADE, and `import` what is there")),
        _ => Err(damaged(&schema).help("restore the table `agent_iac.registry` from a backup")),
    }
}

/// The version of the registry; 0 where it names none. Whoever may not ask which
/// cluster this is (`tells`) believes what stands there.
async fn version(tx: &Transaction, schema: &str, tells: bool) -> Result<i32> {
    // A column that an older version had not is nothing in this form.
    let system = if tells {
        "(SELECT system_identifier::text FROM pg_control_system())"
    } else {
        "to_jsonb(r) ->> 'system_identifier'"
    };
    let made = tx
        .query(
            &format!(
                "SELECT r.version, to_jsonb(r) ->> 'system_identifier',
                    to_jsonb(r) ->> 'database_oid', {system}, d.oid::text
                FROM agent_iac.registry r
                JOIN pg_database d ON d.datname = current_database()
                ORDER BY r.version DESC LIMIT 1"
            ),
            &[],
        )
        .await?;
    let Some(made) = made.first() else { return Ok(0) };
    let version = made.get(0);
    match elsewhere(made) {
        Some(numbers) if version == VERSION => Err(of_another(schema, &numbers)),
        _ => Ok(version),
    }
}

/// Where a registry was made, when that is not here.
fn elsewhere(row: &Row) -> Option<[String; 2]> {
    let place = |system: usize, database: usize| {
        let part = |at: usize| row.get::<_, Option<String>>(at).unwrap_or_default();
        format!("system {} database {}", part(system), part(database))
    };
    let (made, here) = (place(1, 2), place(3, 4));
    (made != here).then_some([made, here])
}

fn of_another(schema: &str, [made, here]: &[String; 2]) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!(
            "{schema} was made in another place ({made}, and this is {here}): roles and policies \
             may have other numbers here than it says"
        ),
    )
    .help(
        "after a restored dump, DROP SCHEMA agent_iac CASCADE, begin a new ledger and `import` \
         what is there; after `pg_upgrade`, which keeps the numbers, UPDATE agent_iac.registry SET \
         system_identifier = …, database_oid = … to what this is",
    )
}

pub(super) fn damaged(what: &str) -> Error {
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

/// Lets the role that planning reads as into a schema that was there before: it
/// was made by a fleet that has another one, or for nobody. A schema of
/// somebody else's is for him to open. Answers whether there was anything to do.
///
/// # Errors
///
/// When the server refuses, or somebody else does the same for too long.
pub async fn admit(tx: &Transaction, observer: Option<&str>) -> Result<bool> {
    let Some(observer) = observer else { return Ok(false) };
    let rows = tx
        .query(
            "SELECT 1 FROM pg_roles r, pg_namespace n
            WHERE r.rolname::text = $1 AND n.nspname = 'agent_iac'
                AND pg_has_role(n.nspowner, 'USAGE')
                AND (NOT has_schema_privilege(r.oid, n.oid, 'USAGE') OR EXISTS (
                    SELECT FROM pg_class c
                    WHERE c.relnamespace = n.oid AND c.relname::text = ANY ($2)
                        AND NOT has_table_privilege(r.oid, c.oid, 'SELECT')))",
            &[(&observer, Type::TEXT), (&&TABLES[..], Type::TEXT_ARRAY)],
        )
        .await?;
    if rows.is_empty() {
        return Ok(false);
    }
    // Two that change one list of privileges at once would fail.
    lock(tx, SERIAL, "registry").await?;
    tx.batch(&grants(observer)).await?;
    Ok(true)
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
