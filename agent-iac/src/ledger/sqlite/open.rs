//! Opening a ledger's file: what it must be, and what is refused.

use std::{
    io::{self, Read as _},
    path::Path,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    Options,
    faults::{Explained as _, corrupts_wal, explain_commit, not_writable},
    form,
    rows::{APPLICATION_ID, Rows, SCHEMA, TRIGGERS},
};
use crate::{
    error::{Error, ErrorKind, Result, Retry},
    ledger::{Append, Entry, FORMAT, Group, LedgerEvent, Prepared, RunId, State},
};

/// How long a look at the names waits for another program that writes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// What an open is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// To read and write, and to make the file when there is none.
    Create,
    /// To read and write what exists.
    Write,
    /// To read what exists.
    Read,
}

/// Opens the file and checks that it is the ledger that is meant.
pub(super) fn connect(path: &Path, options: &Options, mode: Mode) -> Result<Connection> {
    check_place(path, mode)?;
    // No URI: a path that begins with `file:` is a path.
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
        | match mode {
            Mode::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            Mode::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Mode::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
    let connection = Connection::open_with_flags(path, flags).explained(path)?;
    crate::sqlite::wait_for_locks(&connection, options.patience).explained(path)?;
    // Nothing in the file may name functions that act outside of it.
    connection.execute_batch("PRAGMA trusted_schema = OFF").explained(path)?;
    if is_empty(&connection, path)? {
        if mode != Mode::Create {
            return Err(absent(path, "holds no ledger: it is empty"));
        }
        found(&connection, path, options)?;
    }
    identify(&connection, path, options)?;
    if mode == Mode::Read {
        return Ok(connection);
    }
    if connection.is_readonly("main").explained(path)? {
        if has_unknown_form(path) {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "the ledger `{}` says that no SQLite of today may write it",
                    path.display()
                ),
            )
            .help("restore it from a backup that is not older than its pin"));
        }
        // SQLite falls back to reading where it may not write.
        return Err(Error::new(ErrorKind::Denied, not_writable(path)).help(
            "give this user write access to it and its folder, or open it for reading only",
        ));
    }
    settle_journal(&connection, path, rusqlite::version_number())?;
    form::migrate(&connection, path, &mut |_| Ok(()))?;
    Ok(connection)
}

/// Whether the file asks to be left as it is: SQLite reads, and never writes,
/// a file whose header has a write version beyond 2 (SQLite's file format,
/// section 1.3.3).
fn has_unknown_form(path: &Path) -> bool {
    let mut header = [0; 19];
    std::fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut header).is_ok())
        && header[18] > 2
}

fn check_place(path: &Path, mode: Mode) -> Result<()> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(Error::new(ErrorKind::InvalidInput, format!("`{shown}` is a folder"))
                .help("give the path of a file in it, as `ledger.db`"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "the folder `{}` of the ledger `{shown}` does not exist",
                        parent.display()
                    ),
                )
                .help("make the folder, or give another path"));
            }
            if mode == Mode::Create { Ok(()) } else { Err(absent(path, "does not exist")) }
        }
        Err(error) => {
            Err(Error::new(ErrorKind::Denied, format!("the ledger `{shown}` cannot be reached"))
                .help("check that this user may enter its folder")
                .caused_by(error))
        }
    }
}

fn absent(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("`{}` {what}", path.display()))
        .help("check the path; the first apply makes the ledger where there is none")
}

pub(super) fn pragma<T: rusqlite::types::FromSql>(
    connection: &Connection,
    path: &Path,
    name: &str,
) -> Result<T> {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).explained(path)
}

/// Whether nothing was ever stored: a new file, or one whose making was
/// interrupted.
fn is_empty(connection: &Connection, path: &Path) -> Result<bool> {
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .explained(path)?;
    Ok(tables == 0 && pragma::<i32>(connection, path, "application_id")? == 0)
}

/// Makes the tables and the first batch.
fn found(connection: &Connection, path: &Path, options: &Options) -> Result<()> {
    if !corrupts_wal(rusqlite::version_number()) {
        write_ahead(connection, path)?;
    }
    synchronise(connection, path)?;
    connection.execute_batch("BEGIN IMMEDIATE").explained(path)?;
    let made = if is_empty(connection, path)? {
        write_first(connection, path, options)
    } else {
        // Another process was faster; what it made is checked like any other.
        Ok(())
    };
    match made {
        Ok(()) => connection.execute_batch("COMMIT").map_err(|error| explain_commit(path, error)),
        Err(error) => {
            // Closing the connection would take it back as well.
            let _: rusqlite::Result<()> = connection.execute_batch("ROLLBACK");
            Err(error)
        }
    }
}

/// Takes the write-ahead log, also while others make the same file.
///
/// Two that change the journal at once would wait for each other, so SQLite
/// refuses one of them without having waited. Waiting is left to a transaction
/// that wants the file for itself alone.
fn write_ahead(connection: &Connection, path: &Path) -> Result<()> {
    loop {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                connection.execute_batch("BEGIN EXCLUSIVE; ROLLBACK").explained(path)?;
            }
            tried => return tried.explained(path),
        }
    }
}

fn write_first(connection: &Connection, path: &Path, options: &Options) -> Result<()> {
    let opened = LedgerEvent::Opened {
        id: RunId::random(options.entropy.as_ref()).to_string(),
        fleet: options.fleet.clone(),
        environment: options.environment.clone(),
        format: FORMAT,
    };
    let append = Append { entries: vec![Entry::new(opened)], ..Append::default() };
    let (mut state, mut leases) = (State::default(), std::collections::BTreeMap::new());
    let accepted =
        Group::new(&mut state, &mut leases, options.clock.now()).decide(Prepared::new(append)?)?;
    connection
        .execute_batch(&format!(
            "{SCHEMA} {TRIGGERS} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
        ))
        .explained(path)?;
    let rows = Rows { connection, path };
    rows.put_batches([&accepted])?;
    rows.put_meta(&state)
}

/// The fleet and the environment that a file is of, read without a lock.
pub(super) fn meant_for(path: &Path) -> Result<(String, String)> {
    check_place(path, Mode::Read)?;
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags).explained(path)?;
    crate::sqlite::wait_for_locks(&connection, PATIENCE).explained(path)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF").explained(path)?;
    if is_empty(&connection, path)? {
        return Err(absent(path, "holds no ledger: it is empty"));
    }
    recognise(&connection, path)?;
    Rows { connection: &connection, path }.meant_for()
}

/// Checks that the file is a ledger of this crate, fleet and environment, in a
/// form that this version reads.
fn identify(connection: &Connection, path: &Path, options: &Options) -> Result<()> {
    recognise(connection, path)?;
    let (fleet, environment) = Rows { connection, path }.meant_for()?;
    if (&fleet, &environment) != (&options.fleet, &options.environment) {
        return Err(foreign(
            path,
            format!(
                "is the ledger of fleet `{fleet}` in `{environment}`, not of `{}` in `{}`",
                options.fleet, options.environment
            ),
            "give each fleet and environment a ledger of its own",
        ));
    }
    Ok(())
}

fn foreign(path: &Path, what: impl std::fmt::Display, repair: &str) -> Error {
    Error::new(ErrorKind::Foreign, format!("`{}` {what}", path.display())).help(repair)
}

/// Checks that the file is a ledger of this crate, in a form that this version
/// reads.
fn recognise(connection: &Connection, path: &Path) -> Result<()> {
    let shown = path.display();
    if pragma::<i32>(connection, path, "application_id")? != APPLICATION_ID {
        return Err(foreign(
            path,
            "is a SQLite database of another application",
            "give the path of a ledger, or of a file that does not exist yet",
        ));
    }
    let format: u32 = pragma(connection, path, "user_version")?;
    if format > FORMAT {
        return Err(Error::new(
            ErrorKind::NewerVersion,
            format!(
                "the ledger `{shown}` is in format {format}, and this version reads up to {FORMAT}"
            ),
        )
        .help("use the version of agent-iac that wrote it, or a newer one"));
    }
    if format == 0 {
        return Err(Error::new(
            ErrorKind::Damaged,
            format!("the ledger `{shown}` names no format"),
        )
        .help("restore it from a backup that is not older than its pin"));
    }
    Ok(())
}

/// Brings the journal into a mode that this library is safe with.
///
/// A file that is in rollback mode stays so: a program with an unsafe library
/// may be what put it there, and may come back.
pub(super) fn settle_journal(connection: &Connection, path: &Path, library: i32) -> Result<()> {
    if corrupts_wal(library) && pragma::<String>(connection, path, "journal_mode")? == "wal" {
        let unsafe_here = |cause: Option<Error>| {
            let error = Error::new(
                ErrorKind::Ledger,
                format!(
                    "the SQLite library here can corrupt the ledger `{}`, and another program \
                     keeps it from using a safe journal",
                    path.display()
                ),
            )
            .retry_as(Retry::Backoff)
            .help(
                "end the other program, or use SQLite 3.51.3 or newer (feature `sqlite-bundled`)",
            );
            match cause {
                Some(cause) => error.caused_by(cause),
                None => error,
            }
        };
        match pragma::<String>(connection, path, "journal_mode = DELETE") {
            Ok(mode) if mode == "delete" => {}
            Ok(_) => return Err(unsafe_here(None)),
            Err(error) => return Err(unsafe_here(Some(error))),
        }
    }
    synchronise(connection, path)
}

/// Makes commits durable: a rollback journal needs its folder synced as well,
/// or a power cut brings the journal, and the state before, back.
fn synchronise(connection: &Connection, path: &Path) -> Result<()> {
    let mode: String = pragma(connection, path, "journal_mode")?;
    let level = if mode == "wal" { "FULL" } else { "EXTRA" };
    connection.execute_batch(&format!("PRAGMA synchronous = {level}")).explained(path)
}
