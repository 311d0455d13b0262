//! Files of the embedded systems, edited by somebody who can write to them.

use std::{fs, path::Path, sync::OnceLock};

use agent_iac::{
    clock::block_on,
    ledger::{self, Ledger as _, Query, SqliteLedger, sqlite::Options},
    value::Digest,
    vault::{SecretStore as _, age::AgeVault},
};
use agent_iac_tests::{
    converge,
    embedded::{FLEET, Version, copy_folder, deployment},
};
use rusqlite::Connection;
use serde_json::Value as Json;
use tempfile::TempDir;

use super::{
    is_named,
    mutate::{self, Random},
};

/// A folder with two agents in it.
fn office() -> &'static TempDir {
    static OFFICE: OnceLock<TempDir> = OnceLock::new();
    OFFICE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        block_on(converge(&deployment(folder.path(), Version::Full, 2).unwrap())).unwrap();
        folder
    })
}

/// A backup in which one batch is changed, and every hash is made to fit.
pub(crate) fn chained_anew(random: &mut Random, sound: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(sound);
    let mut lines: Vec<Json> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let at = random.below(lines.len());
    if let Some(line) = lines.get_mut(at) {
        let entries = random.one_in(4);
        let part = if entries { Some(&mut *line) } else { line.get_mut("entries") };
        if let Some(part) = part {
            mutate::json(random, part);
        }
    }
    let mut previous = lines.first().map(|first| first["from"]["hash"].clone());
    for line in lines.iter_mut().skip(1) {
        let Ok(body) = Digest::of(&line["entries"]) else { continue };
        let Some(header) = line.get_mut("header").and_then(Json::as_object_mut) else { continue };
        header.insert("body".into(), body.to_string().into());
        header.insert("previous".into(), previous.take().unwrap_or_default());
        previous = Digest::of(&*header).ok().map(|hash| hash.to_string().into());
    }
    let end = lines.last().map(|line| line["header"]["sequence"].clone());
    if let Some(head) = lines.first_mut().and_then(|first| first.get_mut("head"))
        && let Some(head) = head.as_object_mut()
    {
        head.insert("hash".into(), previous.unwrap_or_default());
        head.insert("sequence".into(), end.unwrap_or_default());
    }
    let mut bytes = Vec::new();
    for line in &lines {
        bytes.extend(agent_iac::value::canonical(line).unwrap_or_default());
        bytes.push(b'\n');
    }
    bytes
}

/// Restores a backup, whatever is in it, and reads what came of it.
pub(crate) fn restore(backup: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let options = Options::new("billing", "test");
    match SqliteLedger::restore(&path, &options, backup, "a.backup") {
        Ok(_) => read(&path, &options),
        Err(error) => {
            assert!(!path.exists(), "what could not be restored left a ledger");
            is_named(&error)
        }
    }
}

/// The bytes of a ledger's file.
pub(crate) fn ledger() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(office().path(), folder.path()).unwrap();
    let path = folder.path().join("ledger.db");
    let connection = Connection::open(&path).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    fs::read(path).unwrap()
}

/// Changes a value in a row, past the triggers that refuse it.
pub(crate) fn edit_a_row(random: &mut Random, path: &Path) -> Vec<u8> {
    let connection = Connection::open(path).unwrap();
    let triggers: Vec<(String, String)> = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (name, _) in &triggers {
        connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    let columns: [(&str, &str); 7] = [
        ("batches", "header"),
        ("batches", "entries"),
        ("batches", "entries"),
        ("batches", "hash"),
        ("records", "record"),
        ("agents", "agent"),
        ("meta", "lost"),
    ];
    let (table, column) = columns[random.below(columns.len())];
    let count: u32 = connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
        .unwrap();
    let all =
        format!("SELECT {column} FROM {table} LIMIT 1 OFFSET {}", random.below(count as usize));
    let before: String = connection.query_row(&all, [], |row| row.get(0)).unwrap_or_default();
    let after = match serde_json::from_str::<Json>(&before) {
        Ok(mut value) if random.one_in(2) => {
            mutate::json(random, &mut value);
            value.to_string()
        }
        _ => {
            let bytes = mutate::bytes(random, before.as_bytes(), before.as_bytes());
            String::from_utf8_lossy(&bytes).into_owned()
        }
    };
    let change = format!("UPDATE OR IGNORE {table} SET {column} = ?1 WHERE {column} = ?2");
    connection.execute(&change, [&after, &before]).unwrap();
    for (_, sql) in &triggers {
        connection.execute_batch(sql).unwrap();
    }
    after.into_bytes()
}

pub(crate) fn read_ledger(path: &Path) -> bool {
    read(path, &Options::new(FLEET, "test"))
}

fn read(path: &Path, options: &Options) -> bool {
    let ledger = match SqliteLedger::open_read_only(path, options) {
        Ok(ledger) => ledger,
        Err(error) => return is_named(&error),
    };
    let all = block_on(ledger.state(&Query::Everything)).map(drop);
    let batches = block_on(ledger.batches(1, usize::MAX)).map(drop);
    let verified = block_on(ledger::verify(&ledger, None)).map(drop);
    [all, batches, verified].into_iter().fold(true, |taken, read| match read {
        Ok(()) => taken,
        Err(error) => is_named(&error),
    })
}

/// A folder with a vault and its keys.
pub(crate) fn vault() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["vault", "keys"] {
        copy_folder(&office().path().join(name), &folder.path().join(name)).unwrap();
    }
    folder
}

/// Changes one of the files, or takes it away.
pub(crate) fn edit_a_file(random: &mut Random, folder: &Path) -> Vec<u8> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let file = &files[random.below(files.len())];
    let before = fs::read(file).unwrap();
    let after = match serde_json::from_slice::<Json>(&before) {
        Ok(mut value) if random.one_in(2) => {
            mutate::json(random, &mut value);
            value.to_string().into_bytes()
        }
        _ => mutate::bytes(random, &before, &before),
    };
    // A version has two names; whoever replaces a file replaces one.
    fs::remove_file(file).unwrap();
    if !random.one_in(16) {
        fs::write(file, &after).unwrap();
    }
    let mut said = format!("{}\n", file.display()).into_bytes();
    said.extend(after);
    said
}

/// Reads all of a vault; what it opens is what was put there.
pub(crate) fn read_vault(folder: &Path) -> bool {
    let vault = match AgeVault::init(folder.join("vault"), folder.join("keys")) {
        Ok(vault) => vault,
        Err(error) => return is_named(&error),
    };
    let paths = ["workers/000".to_owned(), "reporters/001".to_owned()];
    let ask = || -> agent_iac::Result<()> {
        let labels = vault.labels()?;
        block_on(labels.versions(&paths))?;
        block_on(labels.pin("no-such-ledger"))?;
        let deliver = vault.deliver()?;
        block_on(deliver.fingerprint_key())?;
        for path in &paths {
            block_on(deliver.staged(path))?;
            let secret = block_on(vault.open()?.open(path, None, None))?;
            let whole = secret.expose(|bytes| bytes.starts_with(b"agia_") && bytes.len() > 40);
            assert!(whole, "what was opened is not what was put there");
        }
        Ok(())
    };
    ask().map_or_else(|error| is_named(&error), |()| true)
}
