//! What SQLite's errors mean for a ledger, and which libraries are unsafe.

use std::path::Path;

use rusqlite::{ErrorCode, ffi};

use crate::error::{Error, ErrorKind, Result, Retry};

/// Whether a SQLite library can corrupt a write-ahead log when two connections
/// write and checkpoint at once: 3.7.0 to 3.51.2, but for the two releases
/// that the repair was carried back to.
pub(super) const fn corrupts_wal(version: i32) -> bool {
    matches!(version, 3_007_000..=3_051_002) && !matches!(version, 3_044_006 | 3_050_007)
}

/// Explains an error of SQLite by kind, path and repair.
pub(super) fn explain(path: &Path, error: rusqlite::Error) -> Error {
    let shown = path.display();
    let (kind, message, repair) = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => (
            ErrorKind::Damaged,
            format!("`{shown}` is not a SQLite database"),
            "give the path of a ledger; if it was one, restore it from a backup that is not older \
             than its pin",
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            ErrorKind::Damaged,
            format!("the ledger `{shown}` is damaged"),
            "restore it from a backup that is not older than its pin",
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::Ledger,
            format!("the ledger `{shown}` is locked by another program"),
            "end that program's transaction, as one in an open sqlite3 shell, and repeat",
        ),
        Some(ErrorCode::DiskFull) => (
            ErrorKind::Io,
            format!("no space is left for the ledger `{shown}`; nothing was recorded"),
            "free space on that disk and repeat",
        ),
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::AuthorizationForStatementDenied,
        ) => (
            ErrorKind::Denied,
            not_writable(path),
            "give this user write access to it and its folder",
        ),
        Some(ErrorCode::CannotOpen) => (
            ErrorKind::Io,
            format!("the ledger `{shown}` cannot be opened"),
            "check that this user may read and write it and its folder",
        ),
        // The index beside a write-ahead log could not grow.
        Some(ErrorCode::SystemIoFailure)
            if error
                .sqlite_error()
                .is_some_and(|e| e.extended_code == ffi::SQLITE_IOERR_SHMSIZE) =>
        {
            (
                ErrorKind::Io,
                format!("no space is left for the ledger `{shown}`; nothing was recorded"),
                "free space on that disk and repeat",
            )
        }
        Some(ErrorCode::SystemIoFailure) => (
            ErrorKind::Io,
            format!("reading or writing the ledger `{shown}` failed"),
            "check the disk, then run `verify`",
        ),
        Some(_) => (
            ErrorKind::Ledger,
            format!("SQLite refused a call on the ledger `{shown}`"),
            "run `verify`, and report this if it finds nothing",
        ),
        // A row without a value, or of another type than is written.
        None => (
            ErrorKind::Damaged,
            format!("the ledger `{shown}` does not hold what it should"),
            "restore it from a backup that is not older than its pin",
        ),
    };
    let retry = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull) => {
            Retry::Backoff
        }
        _ => Retry::Never,
    };
    Error::new(kind, message).help(repair).retry_as(retry).caused_by(error)
}

pub(super) fn not_writable(path: &Path) -> String {
    format!("the ledger `{}` cannot be written", path.display())
}

/// Explains a commit that failed: what SQLite says it took back is refused,
/// and of the rest nobody can tell.
pub(super) fn explain_commit(path: &Path, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::ReadOnly
            | ErrorCode::ConstraintViolation,
        ) => explain(path, error),
        _ => Error::new(
            ErrorKind::InDoubt,
            format!("it cannot be told whether the ledger `{}` took an append", path.display()),
        )
        .help("read the ledger again: it shows whether the entries are there")
        .caused_by(error),
    }
}

/// A stored text that is not what this crate writes.
pub(super) fn unreadable(
    path: &Path,
    what: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(
        ErrorKind::Damaged,
        format!("{what} of the ledger `{}` is not in the form that was written", path.display()),
    )
    .help("restore it from a backup that is not older than its pin")
    .caused_by(error)
}

/// `Result` of SQLite with its explanation.
pub(super) trait Explained<T> {
    fn explained(self, path: &Path) -> Result<T>;
}

impl<T> Explained<T> for rusqlite::Result<T> {
    fn explained(self, path: &Path) -> Result<T> {
        self.map_err(|error| explain(path, error))
    }
}
