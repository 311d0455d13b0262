//! What the disk, SQLite and the hash cost by themselves.

use std::{error::Error, fs::File, io::Write as _, path::Path, time::Duration};

use agent_iac::{
    clock::block_on,
    ledger::{Ledger, SqliteLedger},
};
use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};

use super::measure::timed;

/// Writes a page and syncs it, so many times.
pub(crate) fn syncs(path: &Path, times: usize) -> Result<Duration, Box<dyn Error>> {
    let mut file = File::create(path)?;
    let (time, ()) = timed(|| {
        (0..times).try_for_each(|_| {
            file.write_all(&[7; 4_096])?;
            file.sync_data()
        })
    })?;
    Ok(time)
}

/// Writes to SQLite what a ledger writes for so many creates: two entries of a
/// batch each, and a row that is put there and replaced.
pub(crate) fn inserts(
    path: &Path,
    count: usize,
    at_once: usize,
    scattered: bool,
) -> rusqlite::Result<()> {
    let file = Connection::open(path)?;
    file.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE batches (sequence INTEGER PRIMARY KEY, entries TEXT NOT NULL);
         CREATE TABLE records (instance TEXT, record TEXT, PRIMARY KEY (instance)) WITHOUT ROWID",
    )?;
    let mut batch = file.prepare("INSERT INTO batches (entries) VALUES (?1)")?;
    let mut record = file.prepare("INSERT OR REPLACE INTO records VALUES (?1, ?2)")?;
    for first in (0..count).step_by(at_once) {
        let numbers = first..count.min(first + at_once);
        for bytes in [430, 410] {
            file.execute_batch("BEGIN IMMEDIATE")?;
            batch.execute([" ".repeat(bytes * numbers.len())])?;
            let text = " ".repeat(bytes);
            for number in numbers.clone() {
                let number = if scattered { number * 7_368_787 % count } else { number };
                record.execute(params![format!("reader[\"{number:07}\"]"), text])?;
            }
            file.execute_batch("COMMIT")?;
        }
    }
    Ok(())
}

/// Reads every batch and hashes its entries; also how many bytes those are.
pub(crate) fn hashes(ledger: &SqliteLedger) -> Result<(Duration, u64), Box<dyn Error>> {
    let (mut from, mut bytes, mut time) = (0, 0, Duration::ZERO);
    loop {
        let (reading, page) = timed(|| block_on(ledger.sealed(from, 100)))?;
        time += reading;
        let Some(last) = page.last() else { return Ok((time, bytes)) };
        from = last.header.sequence + 1;
        let (hashing, hashed) = timed(|| {
            let hash = |entries: &str| Sha256::digest(entries.as_bytes())[0];
            page.iter().map(|sealed| hash(&sealed.entries)).max().ok_or("a page has no batch")
        })?;
        assert!(hashed > 0 || !page.is_empty());
        time += hashing;
        for sealed in &page {
            bytes += u64::try_from(sealed.entries.len())?;
        }
    }
}

/// Reads all rows that a plan of everything reads, out of both files.
pub(crate) fn rows(folder: &Path) -> Result<(), Box<dyn Error>> {
    for (file, tables) in
        [("ledger.db", ["records", "agents"]), ("authority.db", ["accounts", "grants"])]
    {
        let file = Connection::open(folder.join(file))?;
        for table in tables {
            let mut statement = file.prepare(&format!("SELECT * FROM {table}"))?;
            let columns = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    row.get_ref(column)?;
                }
            }
        }
    }
    Ok(())
}
