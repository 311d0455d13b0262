//! The form of the file: what it must hold beside the batches, and how an older
//! one is brought to the present form.
//!
//! An older form is read as it is; it is changed when it is opened for writing,
//! in one transaction, so that a crash leaves the old form whole.

use std::{collections::BTreeSet, path::Path};

use rusqlite::Connection;

use super::{
    faults::{Explained as _, explain_commit},
    open::pragma,
    rows::{Rows, SCHEMA, TRIGGERS},
};
use crate::{
    error::{Error, ErrorKind, Result},
    ledger::FORMAT,
};

/// What brings a file from each form to the next.
const MIGRATIONS: [&[&str]; 1] = [
    // From 1: a history may begin with a checkpoint, and may have been rewound.
    &[
        "ALTER TABLE meta ADD COLUMN begins TEXT",
        "ALTER TABLE meta ADD COLUMN lost TEXT NOT NULL DEFAULT '[]'",
        "PRAGMA user_version = 2",
    ],
];

/// The table that differs between the forms, as format 1 had it.
const META_1: &str = "CREATE TABLE meta (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  ledger TEXT NOT NULL,
  fleet TEXT NOT NULL,
  environment TEXT NOT NULL
)";

/// Brings the file to the present form; `before` is asked before each statement.
pub(super) fn migrate(
    connection: &Connection,
    path: &Path,
    before: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let format = || pragma::<u32>(connection, path, "user_version");
    if format()? >= FORMAT {
        return Ok(());
    }
    connection.execute_batch("BEGIN IMMEDIATE").explained(path)?;
    // Another process may have been faster.
    let migrated = format().and_then(|format| {
        let from = usize::try_from(format).unwrap_or(0).saturating_sub(1);
        for statement in MIGRATIONS.iter().skip(from).flat_map(|steps| steps.iter()) {
            before(statement)?;
            connection.execute_batch(statement).explained(path)?;
        }
        before("COMMIT")
    });
    match migrated {
        Ok(()) => connection.execute_batch("COMMIT").map_err(|error| explain_commit(path, error)),
        Err(error) => {
            // Closing the connection would take it back as well.
            let _: rusqlite::Result<()> = connection.execute_batch("ROLLBACK");
            Err(error)
        }
    }
}

/// Checks that the file holds the tables and triggers that this crate makes,
/// and nothing else: a trigger that is gone lets history be changed, and one
/// that was added changes it.
pub(super) fn examine(rows: &Rows<'_>) -> Result<()> {
    let path = rows.path;
    let found = objects(rows.connection).explained(path)?;
    let made = Connection::open_in_memory().explained(path)?;
    made.execute_batch(&format!("{SCHEMA} {TRIGGERS}")).explained(path)?;
    let expected = objects(&made).explained(path)?;
    // A file that was migrated says so in the text of one table.
    let older = Connection::open_in_memory().explained(path)?;
    older.execute_batch(META_1).explained(path)?;
    let mut older_forms = objects(&older).explained(path)?;
    for statement in MIGRATIONS.iter().flat_map(|steps| steps.iter()) {
        older.execute_batch(statement).explained(path)?;
        older_forms.extend(objects(&older).explained(path)?);
    }
    let damaged = |what: String| {
        Err(Error::new(
            ErrorKind::Damaged,
            format!("the ledger `{}` is not in the form that was made: {what}", path.display()),
        )
        .help("find out who changed the file; then restore it from a backup that is not older than its pin"))
    };
    if let Some(more) =
        found.iter().find(|object| !expected.contains(object) && !older_forms.contains(object))
    {
        let known = expected.iter().any(|one| one.what() == more.what());
        let how = if known { "was changed" } else { "was added" };
        return damaged(format!("the {} {how}", more.what()));
    }
    let names: BTreeSet<String> = found.iter().map(Object::what).collect();
    match expected.iter().find(|object| !names.contains(&object.what())) {
        Some(gone) => damaged(format!("the {} is gone", gone.what())),
        None => Ok(()),
    }
}

/// A table, index, trigger or view.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    kind: String,
    name: String,
    table: String,
    sql: Option<String>,
}

impl Object {
    fn what(&self) -> String {
        format!("{} `{}`", self.kind, crate::plan::render::printable(&self.name))
    }
}

fn objects(connection: &Connection) -> rusqlite::Result<BTreeSet<Object>> {
    connection
        .prepare("SELECT type, name, tbl_name, sql FROM sqlite_master")?
        .query_map([], |row| {
            Ok(Object {
                kind: row.get(0)?,
                name: row.get(1)?,
                table: row.get(2)?,
                sql: row.get(3)?,
            })
        })?
        .collect()
}
