//! Checkpoints and restored files, cut short at every operation, and every kind
//! of tampering.

use std::{collections::BTreeMap, fs};

use super::{
    super::{anew, restore, rows::Rows},
    forms::copy_all,
    *,
};
use crate::ledger::{Checkpoint, Head, LedgerEvent, backup, verify_archived};

pub(super) fn ada() -> Actor {
    Actor::asserted("os", "ada")
}

/// A ledger with some history, and a backup of it.
fn filled(place: &Place) -> (State, Vec<u8>) {
    let ledger = place.create();
    for turn in 0..300 {
        block_on(ledger.append(record(&format!("agent-{turn}.account"), 0))).unwrap();
    }
    let mut file = Vec::new();
    block_on(backup(&ledger, &mut file)).unwrap();
    (everything(&ledger), file)
}

#[test]
fn a_checkpoint_that_is_cut_short_anywhere_leaves_the_old_ledger_whole() {
    let mut operations = 0;
    for stop in 0.. {
        let place = Place::new();
        let (before, file) = filled(&place);
        let mut seen = 0;
        let mut done = Vec::new();
        let crash = tempfile::tempdir().unwrap();
        let outcome = {
            let raw = place.raw();
            let rows = Rows { connection: &raw, path: &place.path() };
            anew::begin(&rows, before.head, &ada(), place.clock.now(), &mut |operation| {
                if seen == stop {
                    copy_all(place.folder.path(), crash.path());
                    return Err(Error::new(ErrorKind::Io, "the power went"));
                }
                seen += 1;
                done.push(operation.to_owned());
                Ok(())
            })
        };
        if let Ok(head) = outcome {
            let ledger = place.open();
            let state = everything(&ledger);
            assert_eq!((state.head, &state.records), (head, &before.records));
            let archives = vec![("archive".to_owned(), &file[..])];
            block_on(verify_archived(&ledger, None, archives)).unwrap();
            operations = stop;
            break;
        }
        let path = crash.path().join("ledger.db");
        for ledger in [place.open(), SqliteLedger::open(path, &place.options).unwrap()] {
            assert_eq!(everything(&ledger), before, "after {done:?}");
            block_on(verify(&ledger, None)).unwrap();
            block_on(ledger.append(record("another.account", 0))).unwrap();
        }
    }
    assert!(operations >= 11, "{operations} operations");
}

#[test]
fn a_checkpoint_is_seen_by_every_handle_and_refuses_what_is_under_way() {
    let place = Place::new();
    let (before, file) = filled(&place);
    let (one, two) = (place.open(), place.open());
    let entropy = Counting::default();
    let run = RunId::random(&entropy);
    let fence = block_on(two.append(take(&run, "triage"))).unwrap().fence.unwrap();
    let head = everything(&one).head;
    let error = block_on(one.checkpoint(head, &ada())).unwrap_err();
    assert_error(&error, ErrorKind::LeaseHeld, "ada on host-1, process 7");
    block_on(two.release(&fence)).unwrap();
    let error = block_on(one.checkpoint(before.head, &ada())).unwrap_err();
    assert_error(&error, ErrorKind::Conflict, "batch 302 was appended meanwhile");
    let mut file_now = Vec::new();
    let archive = block_on(backup(&one, &mut file_now)).unwrap();
    let size = fs::metadata(place.path()).unwrap().len();
    let head = block_on(one.checkpoint(archive.head, &ada())).unwrap();
    assert_eq!(head.sequence, 302 + 1 + 2, "300 records in batches of 256");
    // The other handle goes on behind it.
    let appended = block_on(two.append(record("another.account", 0))).unwrap();
    assert_eq!(appended.head.sequence, head.sequence + 1);
    let state = everything(&two);
    assert_eq!(state.begins, Some(Checkpoint { from: archive.head, until: head.sequence }));
    assert_eq!(state.version(&address("agent-7.account")), 9, "versions stay");
    let batches = block_on(two.batches(1, 1)).unwrap();
    assert_eq!(batches[0].header.sequence, archive.head.sequence + 1);
    let archives = vec![("archive".to_owned(), &file_now[..])];
    assert_eq!(block_on(verify_archived(&one, None, archives)).unwrap().batches, 302 + 4);
    let early = vec![("early".to_owned(), &file[..])];
    let error = block_on(verify_archived(&one, None, early)).unwrap_err();
    assert_error(&error, ErrorKind::Damaged, "the archive `early` ends at batch 301");
    for sql in ["UPDATE batches SET entries = '[]'", "DELETE FROM batches"] {
        let error = place.raw().execute(sql, []).unwrap_err();
        assert!(error.to_string().contains("the ledger is append-only"), "{sql}: {error}");
    }
    drop((one, two));
    drop(place.open());
    assert!(fs::metadata(place.path()).unwrap().len() < size, "the file shrank");
}

#[test]
fn a_restore_that_is_cut_short_anywhere_leaves_no_ledger_and_can_be_repeated() {
    let place = Place::new();
    let (before, file) = filled(&place);
    let mut placed = false;
    for stop in (0..8).chain(150..152).chain(300..320) {
        let target = tempfile::tempdir().unwrap();
        let path = target.path().join("ledger.db");
        let mut seen = 0;
        let outcome = restore::restore(&path, &place.options, &file[..], "backup", &mut |_| {
            if seen == stop {
                return Err(Error::new(ErrorKind::Io, "the power went"));
            }
            seen += 1;
            Ok(())
        });
        if outcome.is_err() {
            let left: Vec<_> = fs::read_dir(target.path()).unwrap().collect();
            assert!(left.is_empty(), "stopped at {stop}: {left:?}");
        } else {
            placed = true;
            let again = SqliteLedger::restore(&path, &place.options, &file[..], "backup");
            assert_error(&again.unwrap_err(), ErrorKind::InvalidInput, "is there already");
            fs::remove_file(&path).unwrap();
        }
        SqliteLedger::restore(&path, &place.options, &file[..], "backup").unwrap();
        let ledger = SqliteLedger::open(&path, &place.options).unwrap();
        assert_eq!(everything(&ledger), before);
        block_on(verify(&ledger, None)).unwrap();
        let mut again = Vec::new();
        block_on(backup(&ledger, &mut again)).unwrap();
        assert_eq!(again, file, "a backup of it is the same file");
        if placed {
            return;
        }
    }
    panic!("it never came to its end");
}

#[test]
fn a_damaged_foreign_or_misplaced_restore_makes_no_ledger() {
    let place = Place::new();
    let (_, file) = filled(&place);
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("ledger.db");
    let text = String::from_utf8(file.clone()).unwrap();
    let other = Options { fleet: "studio".into(), ..place.options.clone() };
    let elsewhere = Options { environment: "production".into(), ..place.options.clone() };
    let newer = text.replacen("\"format\":2", "\"format\":9", 1);
    let flipped = text.replacen("agent-200", "agent-201", 1);
    for (options, bytes, kind, found) in [
        (&other, &text[..], ErrorKind::Foreign, "of fleet `office` in `test`, not of `studio`"),
        (&elsewhere, &text[..], ErrorKind::Foreign, "not of `office` in `production`"),
        (&place.options, &newer[..], ErrorKind::NewerVersion, "in format 9"),
        (&place.options, &flipped[..], ErrorKind::Damaged, "line 203 of `b`: batch 202"),
        (&place.options, &text[..text.len() - 1], ErrorKind::Damaged, "line 302 of `b` does not"),
    ] {
        let error = SqliteLedger::restore(&path, options, bytes.as_bytes(), "b").unwrap_err();
        assert_error(&error, kind, found);
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0, "{found}");
    }
    // A log that was left beside the lost file would be played into the new one.
    for left in ["ledger.db", "ledger.db-wal", "ledger.db-journal"] {
        let beside = target.path().join(left);
        fs::write(&beside, "left").unwrap();
        let error = SqliteLedger::restore(&path, &place.options, &file[..], "b").unwrap_err();
        assert_error(&error, ErrorKind::InvalidInput, left);
        assert_eq!(fs::read(&beside).unwrap(), b"left");
        fs::remove_file(&beside).unwrap();
    }
    SqliteLedger::restore(&path, &place.options, &file[..], "b").unwrap();
}

#[test]
fn a_rewound_ledger_goes_on_behind_what_was_pinned_and_says_so_for_ever() {
    let place = Place::new();
    let ledger = place.create();
    block_on(ledger.append(record("triage.account", 0))).unwrap();
    let mut file = Vec::new();
    block_on(backup(&ledger, &mut file)).unwrap();
    for turn in 0..5 {
        block_on(ledger.append(record(&format!("lost-{turn}.account"), 0))).unwrap();
    }
    let state = everything(&ledger);
    let pin = Pin { ledger: state.ledger.clone(), head: state.head };
    drop(ledger);

    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("ledger.db");
    SqliteLedger::restore(&path, &place.options, &file[..], "backup").unwrap();
    let ledger = SqliteLedger::open(&path, &place.options).unwrap();
    let to = everything(&ledger).head;
    let error = block_on(follows(&ledger, &pin)).unwrap_err();
    assert_error(&error, ErrorKind::Damaged, "ends at batch 2, and batch 7 was seen before");
    let rewound = LedgerEvent::Rewound {
        lost: BTreeMap::from([("vault".to_owned(), pin.head)]),
        to,
        actor: ada(),
        reason: "the disk died".to_owned(),
    };
    let append = Append { entries: vec![Entry::new(rewound)], ..Append::default() };
    let head = block_on(ledger.append(append)).unwrap().head;
    assert_eq!(head.sequence, 8, "no number is given a second time");
    block_on(follows(&ledger, &pin)).unwrap();
    let verified = block_on(verify(&ledger, Some(&pin))).unwrap();
    assert_eq!((verified.batches, verified.rewinds), (3, [8].into()));
    // Another head of the lost history was not given up.
    let other = Head { hash: Digest::of_bytes(b"other"), ..pin.head };
    let error = block_on(follows(&ledger, &Pin { head: other, ..pin.clone() })).unwrap_err();
    assert_error(&error, ErrorKind::Damaged, "batch 7 of the ledger is not the one");
    drop(ledger);
    // It lasts: in the file, in a backup of it, and behind a checkpoint.
    let ledger = SqliteLedger::open(&path, &place.options).unwrap();
    block_on(follows(&ledger, &pin)).unwrap();
    let mut after = Vec::new();
    let archive = block_on(backup(&ledger, &mut after)).unwrap();
    block_on(ledger.checkpoint(archive.head, &ada())).unwrap();
    block_on(follows(&ledger, &pin)).unwrap();
    let archives = vec![("archive".to_owned(), &after[..])];
    block_on(verify_archived(&ledger, Some(&pin), archives)).unwrap();
    let again = target.path().join("again.db");
    SqliteLedger::restore(&again, &place.options, &after[..], "archive").unwrap();
    let again = SqliteLedger::open(&again, &place.options).unwrap();
    block_on(follows(&again, &pin)).unwrap();
    block_on(verify(&again, Some(&pin))).unwrap();
}

async fn follows(ledger: &SqliteLedger, pin: &Pin) -> Result<()> {
    let state = ledger.state(&Query::Everything).await?;
    crate::ledger::follows_pin(ledger, &state, pin).await
}

/// What somebody does to the file who can write to it.
enum Tampering {
    /// With SQLite, after the triggers are gone; they are put back.
    Rows(&'static str),
    /// With SQLite, as it is.
    Schema(&'static str),
    /// An older copy of the file.
    Replayed,
    /// The newest batch is gone, and the fold is as it was before it.
    CutTail,
    /// All of the history is hashed anew after an edit.
    Rewritten,
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of every kind is read best in one piece")]
fn each_kind_of_tampering_with_the_file_is_found_by_verify_and_named() {
    use Tampering::{CutTail, Replayed, Rewritten, Rows, Schema};

    let insert =
        "INSERT INTO batches SELECT 9, header, hash, entries FROM batches WHERE sequence = 5";
    for (what, tampering, found) in [
        (
            "an edited entry",
            Rows(
                "UPDATE batches SET entries = replace(entries, 'agent-1', 'agent-x') WHERE sequence = 3",
            ),
            "batch 3 of the ledger",
        ),
        (
            "an edited header",
            Rows("UPDATE batches SET header = replace(header, '2026', '2025') WHERE sequence = 3"),
            "batch 3 of the ledger",
        ),
        (
            "an edited hash",
            Rows(
                "UPDATE batches SET hash = (SELECT hash FROM batches WHERE sequence = 2) WHERE sequence = 3",
            ),
            "has another header than its hash was made for",
        ),
        (
            "a batch that is gone from the middle",
            Rows("DELETE FROM batches WHERE sequence = 3"),
            "batch 4 of the ledger stands where batch 3 should",
        ),
        (
            "the first batch is gone",
            Rows("DELETE FROM batches WHERE sequence = 1"),
            "does not open it",
        ),
        (
            "the last batch is gone",
            Rows("DELETE FROM batches WHERE sequence = 6"),
            "the record of `agent-4.account` differs",
        ),
        (
            "two batches in another order",
            Rows(
                "UPDATE batches SET sequence = 99 WHERE sequence = 3; \
                 UPDATE batches SET sequence = 3 WHERE sequence = 4; \
                 UPDATE batches SET sequence = 4 WHERE sequence = 99",
            ),
            "stands where another should",
        ),
        ("an inserted batch", Rows(insert), "stands where another should"),
        (
            "an edited record of the fold",
            Rows(
                "UPDATE records SET record = replace(record, 'agent-2', 'agent-x') WHERE instance = 'agent-2'",
            ),
            "the record of `agent-2.account` differs",
        ),
        (
            "a record that is gone from the fold",
            Rows("DELETE FROM records WHERE instance = 'agent-2'"),
            "the record of `agent-2.account` differs",
        ),
        (
            "a record that was put into the fold",
            Rows(
                "INSERT INTO records SELECT 'agent-9', resource, record FROM records WHERE instance = 'agent-2'",
            ),
            "the record of `agent-9.account` differs",
        ),
        (
            "another id",
            Rows("UPDATE meta SET ledger = 'x'"),
            "its id, fleet or environment differs",
        ),
        (
            "a head that is given up without a rewind",
            Rows(
                "UPDATE meta SET lost = '[{\"hash\":\"' || (SELECT hash FROM batches WHERE sequence = 2) || '\",\"sequence\":9}]'",
            ),
            "where it begins, or what was given up differs",
        ),
        (
            "a beginning without a checkpoint",
            Rows(
                "UPDATE meta SET begins = '{\"from\":{\"hash\":\"' || (SELECT hash FROM batches WHERE sequence = 2) || '\",\"sequence\":2},\"until\":3}'",
            ),
            "where it begins, or what was given up differs",
        ),
        (
            "a removed trigger",
            Schema("DROP TRIGGER batches_refuse_delete"),
            "the trigger `batches_refuse_delete` is gone",
        ),
        (
            "a changed trigger",
            Schema(
                "DROP TRIGGER batches_refuse_delete; CREATE TRIGGER batches_refuse_delete \
                 BEFORE DELETE ON batches WHEN OLD.sequence < 2 BEGIN SELECT RAISE(ABORT, 'no'); END",
            ),
            "the trigger `batches_refuse_delete` was changed",
        ),
        (
            "an added trigger",
            Schema(
                "CREATE TRIGGER helpful AFTER INSERT ON batches BEGIN \
                 UPDATE records SET record = record; END",
            ),
            "the trigger `helpful` was added",
        ),
        ("an added table", Schema("CREATE TABLE notes (text TEXT)"), "the table `notes` was added"),
        ("an added index", Schema("CREATE INDEX i ON batches (hash)"), "the index `i` was added"),
        ("an added view", Schema("CREATE VIEW v AS SELECT 1"), "the view `v` was added"),
        (
            "a table with another column",
            Schema("ALTER TABLE records ADD COLUMN note TEXT"),
            "the table `records` was changed",
        ),
        ("a replayed old file", Replayed, "ends at batch 4, and batch 6 was seen before"),
        ("a cut tail", CutTail, "ends at batch 5, and batch 6 was seen before"),
        ("a rewritten history", Rewritten, "batch 6 of the ledger is not the one that was pinned"),
    ] {
        let place = Place::new();
        let ledger = place.create();
        let mut copies = Vec::new();
        for turn in 0..5 {
            copies.push(fs::read(place.path()).unwrap_or_default());
            block_on(ledger.append(record(&format!("agent-{turn}.account"), 0))).unwrap();
            if turn == 2 || turn == 3 {
                // Folds the log into the file, so that a copy of it is whole.
                let _: i64 = place
                    .raw()
                    .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
                    .unwrap();
            }
        }
        let state = everything(&ledger);
        let pin = Pin { ledger: state.ledger.clone(), head: state.head };
        block_on(verify(&ledger, Some(&pin))).unwrap();
        drop(ledger);
        match tampering {
            Rows(sql) => {
                let off = "DROP TRIGGER batches_refuse_update; DROP TRIGGER batches_refuse_delete; \
                           DROP TRIGGER batches_refuse_replace;";
                let on = rows::TRIGGERS;
                place.raw().execute_batch(&format!("{off} {sql}; {on}")).unwrap();
            }
            Schema(sql) => place.raw().execute_batch(sql).unwrap(),
            Replayed => fs::write(place.path(), &copies[3]).unwrap(),
            CutTail => fs::write(place.path(), &copies[4]).unwrap(),
            Rewritten => {
                let other = Place::new();
                drop(other.create());
                let ledger = other.open();
                for turn in 0..5 {
                    let name = format!("agent-{}.account", turn * 2);
                    block_on(ledger.append(record(&name, 0))).unwrap();
                }
                drop(ledger);
                fs::copy(other.path(), place.path()).unwrap();
            }
        }
        let outcome = SqliteLedger::open(place.path(), &place.options)
            .and_then(|ledger| block_on(verify(&ledger, Some(&pin))));
        let error = outcome.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Damaged, "{what}: {error:?}");
        assert!(error.to_string().contains(found), "{what}: `{found}` is missing in: {error}");
        assert!(error.repair().is_some(), "{what}: no repair is named");
    }
}
