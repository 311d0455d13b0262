//! A checkpoint in the place of what was archived.
//!
//! It is one transaction within the file. Renaming another file over this one
//! would leave every program that has it open at a file without a name, to
//! which it would go on appending; and the log beside it would be taken for
//! that of the new one. SQLite's commit has neither fault, and is as whole.

use jiff::Timestamp;

use super::{
    faults::{Explained as _, explain_commit},
    rows::{Rows, TRIGGERS},
};
use crate::{
    error::{Error, ErrorKind, Result},
    ledger::{Actor, Group, Head, Query, State},
};

/// What makes way for the checkpoint. The triggers that refuse it are gone only
/// within the transaction.
const MAKE_WAY: [&str; 5] = [
    "DROP TRIGGER batches_refuse_update",
    "DROP TRIGGER batches_refuse_delete",
    "DROP TRIGGER batches_refuse_replace",
    "DELETE FROM batches",
    "DELETE FROM leases",
];

/// Begins anew behind `archived`; `before` is asked before each operation.
pub(super) fn begin(
    rows: &Rows<'_>,
    archived: Head,
    actor: &Actor,
    now: Timestamp,
    before: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Head> {
    let run = |sql: &str| rows.connection.execute_batch(sql).explained(rows.path);
    run("BEGIN IMMEDIATE")?;
    let begun = write(rows, archived, actor, now, before).and_then(|head| {
        before("COMMIT")?;
        let committed = rows.connection.execute_batch("COMMIT");
        committed.map_err(|error| explain_commit(rows.path, error)).map(|()| head)
    });
    if !rows.connection.is_autocommit() {
        // Where this fails too, the next `BEGIN` says so.
        let _: Result<()> = run("ROLLBACK");
    }
    begun
}

fn write(
    rows: &Rows<'_>,
    archived: Head,
    actor: &Actor,
    now: Timestamp,
    before: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Head> {
    let mut state = rows.state(&Query::Everything)?;
    let mut leases = rows.leases(None)?;
    let carried = Group::new(&mut state, &mut leases, now).checkpoint(archived, actor)?;
    let mut after = State::default();
    for sealed in &carried {
        after.absorb(&sealed.open()?)?;
    }
    let kept = State { head: after.head, begins: after.begins, ..state };
    if kept != after {
        return Err(Error::new(ErrorKind::Bug, "a checkpoint does not carry the whole state"));
    }
    for statement in MAKE_WAY {
        before(statement)?;
        rows.connection.execute_batch(statement).explained(rows.path)?;
    }
    for sealed in &carried {
        before("INSERT")?;
        let header = &sealed.header;
        rows.put_batch(header, header.hash()?, &sealed.entries)?;
    }
    before("CREATE TRIGGER")?;
    rows.connection.execute_batch(TRIGGERS).explained(rows.path)?;
    // The records stay as they are: they are what is carried.
    before("UPDATE meta")?;
    rows.put_meta(&after)?;
    Ok(after.head)
}
