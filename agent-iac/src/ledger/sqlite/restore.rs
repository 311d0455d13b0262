//! A ledger's file, made from a backup.

use std::{
    ffi::OsString,
    io::BufRead,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{
    Options, SqliteLedger,
    faults::{Explained as _, corrupts_wal},
    open::pragma,
    rows::{APPLICATION_ID, Rows, SCHEMA, TRIGGERS},
};
use crate::{
    error::{Error, ErrorKind, Result},
    ledger::{
        Backup, FORMAT,
        backup::{NewFile, Reading},
    },
};

impl SqliteLedger {
    /// Makes a ledger's file from a backup or an archive, where there is none.
    /// Chain, digests and fold are checked while the backup is read, and the
    /// file gets its name only when all of it is right; `name` is how errors
    /// call the backup.
    ///
    /// A ledger that is older than its pin is refused by planning, until
    /// [`Deployment::rewind`](crate::deployment::Deployment::rewind) says who
    /// answers for what is lost.
    ///
    /// ```
    /// use agent_iac::{
    ///     clock::block_on,
    ///     ledger::{SqliteLedger, backup, sqlite::Options, verify},
    /// };
    ///
    /// let folder = tempfile::tempdir()?;
    /// let options = Options::new("office", "production");
    /// let ledger = SqliteLedger::create_or_open(folder.path().join("ledger.db"), &options)?;
    /// let mut file = Vec::new();
    /// block_on(backup(&ledger, &mut file))?;
    ///
    /// let restored = folder.path().join("restored.db");
    /// SqliteLedger::restore(&restored, &options, &file[..], "ledger.backup")?;
    /// let restored = SqliteLedger::open(restored, &options)?;
    /// block_on(verify(&restored, None))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Damaged`] with the backup's line, [`ErrorKind::Foreign`]
    /// where it is of another fleet or environment,
    /// [`ErrorKind::NewerVersion`] where a newer version wrote it,
    /// [`ErrorKind::InvalidInput`] where there is a file already, and
    /// [`ErrorKind::Io`] where it cannot be written.
    pub fn restore(
        path: impl AsRef<Path>,
        options: &Options,
        input: impl BufRead,
        name: &str,
    ) -> Result<Backup> {
        restore(path.as_ref(), options, input, name, &mut |_| Ok(()))
    }
}

/// As [`SqliteLedger::restore`]; `before` is asked before each operation.
pub(super) fn restore(
    path: &Path,
    options: &Options,
    input: impl BufRead,
    name: &str,
    before: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Backup> {
    let reading = Reading::begin(input, name)?;
    let (fleet, environment) = reading.meant_for();
    if (fleet, environment) != (options.fleet.as_str(), options.environment.as_str()) {
        return Err(Error::new(
            ErrorKind::Foreign,
            format!(
                "line 1 of `{name}`: it is of fleet `{fleet}` in `{environment}`, not of `{}` in \
                 `{}`",
                options.fleet, options.environment
            ),
        )
        .help("give the backup of this fleet and environment"));
    }
    nothing_beside(path)?;
    before("create")?;
    let file = NewFile::begin(path)?;
    let backup = fill(file.part(), reading, before)?;
    before("place")?;
    file.place()?;
    Ok(backup)
}

/// Fills a file that has no name yet. What fails or crashes leaves one that
/// nobody opens, so nothing in it has to be durable before the end.
fn fill<R: BufRead>(
    path: &Path,
    mut reading: Reading<R>,
    before: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Backup> {
    let connection = Connection::open(path).explained(path)?;
    let run = |sql: &str| connection.execute_batch(sql).explained(path);
    run(
        "PRAGMA trusted_schema = OFF; PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; BEGIN",
    )?;
    before("tables")?;
    run(SCHEMA)?;
    let rows = Rows { connection: &connection, path };
    while let Some((sealed, head)) = reading.fold()? {
        before("batch")?;
        rows.put_batch(&sealed.header, head.hash, &sealed.entries)?;
    }
    let (backup, state) = reading.whole()?;
    before("state")?;
    rows.put_state(&state)?;
    run(TRIGGERS)?;
    run(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}"))?;
    before("commit")?;
    run("COMMIT; PRAGMA synchronous = FULL")?;
    if !corrupts_wal(rusqlite::version_number()) {
        pragma::<String>(&connection, path, "journal_mode = WAL")?;
    }
    before("close")?;
    connection.close().map_err(|(_, error)| error).explained(path)?;
    Ok(backup)
}

/// Refuses a name that is taken, and one beside which a journal was left: it
/// would be played into the new file as if it were its own.
fn nothing_beside(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-journal", "-shm"] {
        let mut beside: OsString = path.as_os_str().to_owned();
        beside.push(suffix);
        let beside = PathBuf::from(beside);
        if beside.symlink_metadata().is_ok() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("`{}` is there already", beside.display()),
            )
            .help("move the old ledger away, with the files beside it that begin with its name"));
        }
    }
    Ok(())
}
