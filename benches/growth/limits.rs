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

/// How many writes the authority takes in one transaction.
pub(crate) const AT_ONCE: usize = 1_000;

/// Writes to SQLite what the authority writes for so many objects: a row with
/// two keys and one of the claim, with a rollback journal.
pub(crate) fn objects(path: &Path, count: usize, at_once: usize) -> rusqlite::Result<()> {
    let file = Connection::open(path)?;
    file.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA;
         CREATE TABLE objects (id TEXT PRIMARY KEY, name TEXT UNIQUE, more TEXT) WITHOUT ROWID;
         CREATE TABLE claims (claim TEXT PRIMARY KEY, outcome TEXT) WITHOUT ROWID",
    )?;
    let mut object = file.prepare("INSERT INTO objects VALUES (?1, ?2, ?3)")?;
    let mut claim = file.prepare("INSERT INTO claims VALUES (?1, ?2)")?;
    let (more, outcome) = (" ".repeat(80), " ".repeat(300));
    for first in (0..count).step_by(at_once) {
        file.execute_batch("BEGIN IMMEDIATE")?;
        for number in first..count.min(first + at_once) {
            object.execute(params![
                format!("account_{number:032x}"),
                format!("reader-{number:07}"),
                more
            ])?;
            claim.execute(params![format!("{:032x}.{number}", 7), outcome])?;
        }
        file.execute_batch("COMMIT")?;
    }
    Ok(())
}

/// Opens both files, and reads the rows of one agent.
pub(crate) fn one(folder: &Path, agent: &str) -> Result<(), Box<dyn Error>> {
    let ledger = Connection::open(folder.join("ledger.db"))?;
    let mut ids: Vec<String> = Vec::new();
    let mut records =
        ledger.prepare("SELECT record ->> '$.object.id' FROM records WHERE instance = ?1")?;
    let mut rows = records.query([agent])?;
    while let Some(row) = rows.next()? {
        ids.push(row.get(0)?);
    }
    let authority = Connection::open(folder.join("authority.db"))?;
    for table in ["accounts", "grants"] {
        let mut object = authority.prepare(&format!("SELECT * FROM {table} WHERE id = ?1"))?;
        for id in &ids {
            let mut rows = object.query([id])?;
            while let Some(row) = rows.next()? {
                row.get_ref(0)?;
            }
        }
    }
    assert_eq!(ids.len(), 2, "an account and a grant");
    Ok(())
}

/// Reads the entries of every batch as JSON, into whatever that is.
pub(crate) fn parsed(ledger: &SqliteLedger) -> Result<Duration, Box<dyn Error>> {
    let (mut from, mut time) = (0, Duration::ZERO);
    loop {
        let page = block_on(ledger.sealed(from, 100))?;
        let Some(last) = page.last() else { return Ok(time) };
        from = last.header.sequence + 1;
        let (parsing, ()) = timed(|| {
            page.iter().try_for_each(|sealed| {
                serde_json::from_str::<serde_json::Value>(&sealed.entries).map(drop)
            })
        })?;
        time += parsing;
    }
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
