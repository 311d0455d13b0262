//! Files of older formats, and how they come to the present one.

use std::{fs, path::Path};

use super::{super::form, *};
use crate::ledger::{Batch, FORMAT, grouping};

/// A ledger that a version with format 1 made.
fn golden() -> Place {
    let place = Place::new();
    fs::write(place.path(), include_bytes!("golden/format-1.db")).unwrap();
    place
}

fn golden_state() -> State {
    serde_json::from_str(include_str!("golden/format-1.state.json")).unwrap()
}

fn golden_batches() -> Vec<Batch> {
    let lines = include_str!("golden/format-1.batches").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn format_of(path: &Path) -> u32 {
    let connection = Connection::open(path).unwrap();
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

#[track_caller]
fn is_the_golden_one(ledger: &SqliteLedger) {
    assert_eq!(everything(ledger), golden_state());
    let batches = block_on(ledger.batches(1, 1000)).unwrap();
    assert_eq!(batches, golden_batches());
    let text: String = batches.iter().map(|batch| grouping::text(batch).unwrap() + "\n").collect();
    assert_eq!(text, include_str!("golden/format-1.batches"), "the hashed form is for ever");
    block_on(verify(ledger, None)).unwrap();
}

#[test]
fn a_ledger_of_format_1_is_read_as_it_is_and_not_changed_by_that() {
    let place = golden();
    let before = fs::read(place.path()).unwrap();
    let ledger = SqliteLedger::open_read_only(place.path(), &place.options).unwrap();
    is_the_golden_one(&ledger);
    drop(ledger);
    assert_eq!(fs::read(place.path()).unwrap(), before);
    assert_eq!(format_of(&place.path()), 1);
}

#[test]
fn a_ledger_of_format_1_is_brought_to_the_present_form_when_it_is_opened_for_writing() {
    let place = golden();
    let reading = SqliteLedger::open_read_only(place.path(), &place.options).unwrap();
    let ledger = place.open();
    is_the_golden_one(&ledger);
    // One that was open before goes on in the new form.
    is_the_golden_one(&reading);
    assert_eq!(format_of(&place.path()), FORMAT);
    block_on(ledger.append(record("new.account", 0))).unwrap();
    block_on(verify(&ledger, None)).unwrap();
    drop((reading, ledger));
    let bytes = fs::read(place.path()).unwrap();
    drop(place.open());
    assert_eq!(fs::read(place.path()).unwrap(), bytes, "the second time changes nothing");
}

#[test]
fn a_migration_that_is_interrupted_at_any_statement_leaves_the_old_form_and_resumes() {
    let mut statements = 0;
    for stop in 0.. {
        let place = golden();
        let mut seen = 0;
        let crash = tempfile::tempdir().unwrap();
        {
            let raw = place.raw();
            let failed = form::migrate(&raw, &place.path(), &mut |_| {
                if seen == stop {
                    // What a crash leaves here is what is in the files now.
                    copy_all(place.folder.path(), crash.path());
                    return Err(Error::new(ErrorKind::Io, "the power went"));
                }
                seen += 1;
                Ok(())
            });
            if failed.is_ok() {
                statements = stop;
                break;
            }
        }
        // Failed here, and crashed there: both hold the old form, and go on.
        assert_eq!(format_of(&place.path()), 1);
        is_the_golden_one(&place.open());
        let path = crash.path().join("ledger.db");
        let ledger = SqliteLedger::open(&path, &place.options).unwrap();
        is_the_golden_one(&ledger);
        drop(ledger);
        assert_eq!(format_of(&path), FORMAT);
    }
    assert_eq!(statements, 4, "three statements and the commit");
}

#[test]
fn a_ledger_of_a_newer_format_is_refused_and_not_touched() {
    let place = golden();
    place.raw().execute_batch(&format!("PRAGMA user_version = {}", FORMAT + 1)).unwrap();
    let before = fs::read(place.path()).unwrap();
    for error in [
        place.refused(),
        SqliteLedger::create_or_open(place.path(), &place.options).unwrap_err(),
        SqliteLedger::open_read_only(place.path(), &place.options).unwrap_err(),
    ] {
        assert_error(&error, ErrorKind::NewerVersion, "is in format 3");
    }
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

#[test]
fn a_migrated_ledger_can_be_backed_up_archived_and_rewound() {
    let place = golden();
    let ledger = place.open();
    // The golden one holds a lease of a process that is long dead.
    assert_eq!(block_on(ledger.leases()).unwrap(), []);
    let before = everything(&ledger);
    let mut file = Vec::new();
    let archive = block_on(crate::ledger::backup(&ledger, &mut file)).unwrap();
    block_on(ledger.checkpoint(archive.head, &keeping::ada())).unwrap();
    assert_eq!(everything(&ledger).records, before.records);
    let archives = vec![("archive".to_owned(), &file[..])];
    block_on(crate::ledger::verify_archived(&ledger, None, archives)).unwrap();
    let restored = place.folder.path().join("restored.db");
    SqliteLedger::restore(&restored, &place.options, &file[..], "archive").unwrap();
    let restored = SqliteLedger::open(&restored, &place.options).unwrap();
    is_the_golden_one(&restored);
}

/// Copies the files of a folder, as a crash leaves them.
pub(super) fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
