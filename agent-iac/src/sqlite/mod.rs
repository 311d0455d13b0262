//! What the files that this crate keeps in SQLite have in common.
//!
//! Owns the way from an async caller to a blocking connection and back, and
//! how long a connection waits for a lock. It knows no table: what is kept in
//! a file, and how its errors are worded, is its user's own.

mod answer;
#[cfg(feature = "authority")]
mod worker;

use std::time::Duration;

use rusqlite::Connection;

pub(crate) use answer::{Answer, answer};
#[cfg(feature = "authority")]
pub(crate) use worker::Worker;

/// Sets how long a call waits while another program holds the file.
///
/// It goes by pragma: the method of rusqlite 0.43 calls
/// `sqlite3_set_clientdata`, which a system's library before 3.44 does not
/// have, and programs would fail to link.
pub(crate) fn wait_for_locks(connection: &Connection, wait: Duration) -> rusqlite::Result<()> {
    let milliseconds = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let _set: i64 =
        connection
            .query_row(&format!("PRAGMA busy_timeout = {milliseconds}"), [], |row| row.get(0))?;
    Ok(())
}
