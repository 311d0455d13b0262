//! The authority's file: its tables, opening it, and what goes wrong with
//! files.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, TransactionBehavior, ffi,
    types::{FromSql, ToSql},
};

use super::rows::random_id;
use crate::{
    address::quoted,
    clock::Entropy,
    error::{Error, ErrorKind, Result, Retry},
    sqlite::wait_for_locks,
};

/// "agia" in ASCII: what tells the file from any other SQLite file.
const APPLICATION_ID: i32 = 0x6167_6961;
/// The version of the tables below.
const VERSION: i32 = 1;
/// `STRICT` tables came with SQLite 3.37.
const OLDEST_LIBRARY: i32 = 3_037_000;
/// How long a call waits for another program's transaction. A batch of a
/// thousand writes takes about a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Plain columns throughout, so that a person can read and mend the file with
/// any SQLite tool: actions are words with spaces between them, times are text.
/// A revoked key leaves its hash behind, so that its use is told from that of a
/// key that never was.
const TABLES: &str = "
CREATE TABLE authority (
    id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT,
    suspended INTEGER NOT NULL DEFAULT 0 CHECK (suspended IN (0, 1)),
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    fleet TEXT, environment TEXT, address TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE grants (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (id),
    pattern TEXT NOT NULL,
    actions TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    fleet TEXT, environment TEXT, address TEXT,
    UNIQUE (account, pattern)
) STRICT, WITHOUT ROWID;
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (id),
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    note TEXT,
    generation INTEGER,
    last_used_at TEXT,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    fleet TEXT, environment TEXT, address TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_of_account ON api_keys (account);
CREATE TABLE revoked_keys (
    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    revoked_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE claims (
    claim TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    outcome TEXT,
    at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Reads; SQLite itself refuses every write.
    Read,
    /// Reads and writes.
    Write,
}

/// The file, and the connection to it once one was needed.
pub(super) struct File {
    path: PathBuf,
    mode: Mode,
    open: Option<(Connection, Inode)>,
}

/// What tells a file from another one that took its name.
type Inode = (u64, u64);

impl File {
    /// Names the file; it is opened by the first use.
    pub(super) fn new(path: &Path, mode: Mode) -> Self {
        Self { path: path.to_owned(), mode, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The connection. A file that was replaced by another one, as by a
    /// restored backup, is opened anew: the old one would go on to answer for
    /// keys that are revoked in the new one.
    pub(super) fn connection(&mut self) -> Result<&mut Connection> {
        let inode = inode(&self.path)?;
        if self.open.as_ref().is_none_or(|(_, opened)| *opened != inode) {
            self.open = Some((open(&self.path, self.mode)?, inode));
        }
        let (connection, _) = self.open.as_mut().expect("it was opened just now");
        Ok(connection)
    }

    /// Reads on one snapshot of the file.
    pub(super) fn read<T>(
        &mut self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let path = self.path.clone();
        let connection = self.connection()?;
        let answer = connection.transaction().and_then(|snapshot| read(&snapshot));
        answer.map_err(|error| failed(&path, error))
    }
}

fn inode(path: &Path) -> Result<Inode> {
    let metadata = path.metadata().map_err(|error| unreachable_file(path, error))?;
    if !metadata.is_file() {
        return Err(not_an_authority(path));
    }
    #[cfg(unix)]
    return {
        use std::os::unix::fs::MetadataExt as _;
        Ok((metadata.dev(), metadata.ino()))
    };
    // Elsewhere a file that is open cannot be replaced.
    #[cfg(not(unix))]
    Ok((0, 0))
}

fn unreachable_file(path: &Path, error: std::io::Error) -> Error {
    let shown = shown(path);
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, format!("there is no authority at {shown}"))
                .help("check the path, or make one with `AuthorityProvider::create`")
        }
        std::io::ErrorKind::PermissionDenied => {
            Error::new(ErrorKind::Denied, format!("access to {shown} was refused"))
                .help("give this program's user the right to read the file and its folder")
        }
        _ => Error::new(ErrorKind::Io, format!("{shown} cannot be reached")),
    }
    .caused_by(error)
}

/// A path as errors name it.
pub(super) fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    // The end names the file; the beginning is what a long path can spare.
    let start = text.char_indices().rev().nth(62).map_or(0, |(start, _)| start);
    if start == 0 { quoted(&text) } else { quoted(&format!("…{}", &text[start..])) }
}

/// Opens an authority.
fn open(path: &Path, mode: Mode) -> Result<Connection> {
    let flags = match mode {
        Mode::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Mode::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let connection = connect(path, flags)?;
    let sql = |error| failed(path, error);
    identify(path, &connection)?;
    if mode == Mode::Write {
        // SQLite opens what it may not write for reading only, and says so at
        // the first write; better to say it here.
        if connection.is_readonly("main").map_err(sql)? {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("{} may be read but not written", shown(path)),
            )
            .help("give this program's user the right to write the file and its folder"));
        }
        configure_writer(&connection).map_err(sql)?;
        // Writing into a damaged file makes the damage worse.
        let health: String = pragma(&connection, "quick_check(1)").map_err(sql)?;
        if health != "ok" {
            return Err(damaged(path).caused_by(health));
        }
    }
    Ok(connection)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let sql = |error| failed(path, error);
    // Not `OpenFlags::default()`: a path that looks like a URI is a path.
    let connection =
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(sql)?;
    wait_for_locks(&connection, PATIENCE).map_err(sql)?;
    // What stands in the file may have been written by anybody: its schema is
    // not trusted with functions, and its cells are checked as they are read.
    connection
        .execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")
        .map_err(sql)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    // A rollback journal and not a write-ahead log: an observer that may only
    // read the file can then read it always, and the log's reset defect of
    // SQLite 3.7.0 to 3.51.2 cannot occur. EXTRA makes the journal's removal
    // durable, which is the commit.
    let _mode: String = pragma(connection, "journal_mode = DELETE")?;
    // A batch of a thousand writes changes a few thousand pages of a large file.
    // What did not fit into the cache would be written before the commit, each
    // time with the journal synced first.
    connection.execute_batch(
        "PRAGMA synchronous = EXTRA; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384;",
    )
}

fn pragma<T: FromSql>(connection: &Connection, text: &str) -> rusqlite::Result<T> {
    connection.query_row(&format!("PRAGMA {text}"), [], |row| row.get(0))
}

/// Refuses what is not an authority, and one of a newer version.
fn identify(path: &Path, connection: &Connection) -> Result<()> {
    let sql = |error| failed(path, error);
    let id: i32 = pragma(connection, "application_id").map_err(sql)?;
    if id != APPLICATION_ID {
        return Err(not_an_authority(path));
    }
    let version: i32 = pragma(connection, "user_version").map_err(sql)?;
    if version > VERSION {
        return Err(Error::new(
            ErrorKind::NewerVersion,
            format!(
                "{} is an authority of version {version}, and this program knows up to {VERSION}",
                shown(path)
            ),
        )
        .help("use a newer version of agent-iac"));
    }
    Ok(())
}

fn not_an_authority(path: &Path) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{} is not an authority", shown(path)))
        .help("name the authority's own file, or choose a path where there is none")
}

fn damaged(path: &Path) -> Error {
    Error::new(ErrorKind::Damaged, format!("{} is damaged", shown(path))).help(
        "restore it from a backup, or save what can be read with `.recover` of the sqlite3 shell",
    )
}

/// Makes an authority where there is none; one that is there stays as it is.
pub(super) fn create(path: &Path, now: Timestamp, entropy: &dyn Entropy) -> Result<()> {
    if rusqlite::version_number() < OLDEST_LIBRARY {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the SQLite library {} is too old for an authority", rusqlite::version()),
        )
        .help("install SQLite 3.37 or newer, or build with the feature `sqlite-bundled`"));
    }
    let sql = |error| failed(path, error);
    let mut connection =
        connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let id: i32 = pragma(&connection, "application_id").map_err(sql)?;
    if id == APPLICATION_ID {
        return identify(path, &connection);
    }
    configure_writer(&connection).map_err(sql)?;
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    // Asked again under the lock: another program may have made it meanwhile,
    // and a file with anything in it is somebody's.
    let id: i32 = pragma(&transaction, "application_id").map_err(sql)?;
    if id == APPLICATION_ID {
        return identify(path, &transaction);
    }
    let tables: i64 = transaction
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(sql)?;
    if tables > 0 || id != 0 {
        return Err(not_an_authority(path));
    }
    transaction
        .execute_batch(&format!(
            "{TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
        ))
        .map_err(sql)?;
    let params: [&dyn ToSql; 2] = [&random_id("authority", now, entropy), &now.to_string()];
    transaction
        .execute("INSERT INTO authority (id, created_at) VALUES (?1, ?2)", params)
        .map_err(sql)?;
    transaction.commit().map_err(sql)
}

/// Words what SQLite says of a file, with the repair.
pub(super) fn failed(path: &Path, error: rusqlite::Error) -> Error {
    let shown = shown(path);
    let code = error.sqlite_error().copied();
    let worded = match code.map(|error| (error.code, error.extended_code)) {
        Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => {
            Error::new(ErrorKind::Provider, format!("{shown} is held by another program"))
                .help("try again, or end the program that holds a transaction on it open")
                .retry_as(Retry::Backoff)
        }
        Some((ErrorCode::DatabaseCorrupt, _)) => damaged(path),
        Some((ErrorCode::NotADatabase, _)) => not_an_authority(path),
        Some((ErrorCode::DiskFull, _)) => {
            Error::new(ErrorKind::Io, format!("the disk of {shown} is full; nothing was written"))
                .help("make room and try again")
                .retry_as(Retry::Backoff)
        }
        // Undoing what a crashed writer left needs the right to write.
        Some((_, ffi::SQLITE_READONLY_ROLLBACK | ffi::SQLITE_READONLY_RECOVERY)) => Error::new(
            ErrorKind::Provider,
            format!("{shown} holds a write that a crash cut off, and this program may only read it"),
        )
        .help("let a program that may write open it once, as `apply` or `AuthorityProvider::create` does"),
        Some((ErrorCode::ReadOnly | ErrorCode::PermissionDenied, _)) => {
            Error::new(ErrorKind::Denied, format!("{shown} may not be written"))
                .help("give this program's user the right to write the file and its folder")
        }
        Some((ErrorCode::CannotOpen, _)) => {
            if let Err(error) = path.metadata() {
                return unreachable_file(path, error);
            }
            Error::new(ErrorKind::Denied, format!("{shown} cannot be opened"))
                .help("check that it is a file, and that this program's user may open it and its folder")
        }
        Some((ErrorCode::SystemIoFailure, _)) => {
            Error::new(ErrorKind::Io, format!("reading or writing {shown} failed"))
                .help("check the disk that it stands on")
                .retry_as(Retry::Backoff)
        }
        _ => Error::new(ErrorKind::Provider, format!("{shown} does not do what it was asked"))
            .help("compare its tables with those of a new authority; somebody may have changed them"),
    };
    worded.caused_by(error)
}
