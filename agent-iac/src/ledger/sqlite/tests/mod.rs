mod crashes;
mod forms;
mod keeping;
mod kept;

use std::{fs, path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, ffi};

use super::{
    faults::{corrupts_wal, explain, explain_commit},
    *,
};
use crate::{
    address::Address,
    clock::block_on,
    error::Retry,
    ledger::{
        Actor, Entry, PlanEvent, RunId, Take,
        tests::{Counting, Still, adopt},
        verify,
    },
    value::Digest,
    vault::Pin,
};

struct Place {
    folder: tempfile::TempDir,
    options: Options,
    clock: Arc<Still>,
}

impl Place {
    fn new() -> Self {
        let clock = Still::at("2026-03-01T00:00:00Z");
        let options = Options {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: Arc::new(Counting::default()),
            patience: Duration::from_millis(20),
            ..Options::new("office", "test")
        };
        Self { folder: tempfile::tempdir().unwrap(), options, clock }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    fn create(&self) -> SqliteLedger {
        SqliteLedger::create_or_open(self.path(), &self.options).unwrap()
    }

    fn open(&self) -> SqliteLedger {
        SqliteLedger::open(self.path(), &self.options).unwrap()
    }

    /// The file as another program sees it.
    fn raw(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn refused(&self) -> Error {
        SqliteLedger::open(self.path(), &self.options).unwrap_err()
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn record(text: &str, expected: u64) -> Append {
    let address = address(text);
    Append {
        entries: vec![adopt(&address, text)],
        expected: [(address, expected)].into(),
        ..Append::default()
    }
}

fn take(run: &RunId, agent: &str) -> Append {
    let entry = PlanEvent::Refused {
        digest: Digest::ZERO,
        actor: Actor::asserted("os", "ada"),
        reason: String::from("only to append something"),
    };
    Append {
        entries: vec![Entry::new(entry).in_run(run)],
        take: Some(Take {
            run: run.clone(),
            instances: vec![agent.parse().unwrap()],
            holder: String::from("ada on host-1, process 7"),
            ttl: Duration::from_hours(1),
            force: false,
        }),
        ..Append::default()
    }
}

fn everything(ledger: &SqliteLedger) -> State {
    block_on(ledger.state(&Query::Everything)).unwrap()
}

#[track_caller]
fn assert_error(error: &Error, kind: ErrorKind, message: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(message), "`{message}` is missing in: {error}");
    assert!(error.repair().is_some(), "no repair is named: {error}");
}

#[test]
fn sqlite_keeps_the_contract_of_a_ledger() {
    let place = Place::new();
    let count = std::sync::atomic::AtomicU32::new(0);
    let make = || {
        let name = format!("{}.db", count.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let path = place.folder.path().join(name);
        let options = place.options.clone();
        async move {
            let ledger = SqliteLedger::create_or_open(path, &options).unwrap();
            Arc::new(ledger) as Arc<dyn Ledger>
        }
    };
    block_on(crate::testing::ledger::check(make, &*place.clock));
}

#[test]
fn sqlite_keeps_the_contract_with_a_rollback_journal_too() {
    let place = Place::new();
    let count = std::sync::atomic::AtomicU32::new(0);
    let make = || {
        let name = format!("{}.db", count.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let path = place.folder.path().join(name);
        let options = Options { patience: Duration::from_secs(30), ..place.options.clone() };
        async move {
            drop(SqliteLedger::create_or_open(&path, &options).unwrap());
            let raw = Connection::open(&path).unwrap();
            let mode: String =
                raw.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, "delete");
            drop(raw);
            Arc::new(SqliteLedger::open(path, &options).unwrap()) as Arc<dyn Ledger>
        }
    };
    block_on(crate::testing::ledger::check(make, &*place.clock));
}

#[test]
fn opening_again_gives_the_same_state_and_changes_no_byte() {
    let place = Place::new();
    let ledger = place.create();
    for turn in 0..20 {
        block_on(ledger.append(record(&format!("agent-{turn}.account"), 0))).unwrap();
    }
    let before = everything(&ledger);
    drop(ledger);
    let (bytes, files) = (fs::read(place.path()).unwrap(), place.files());
    assert_eq!(files, ["ledger.db"]);
    for open in [SqliteLedger::open, SqliteLedger::create_or_open] {
        let again = open(place.path(), &place.options).unwrap();
        assert_eq!(everything(&again), before);
        assert_eq!(block_on(again.batches(1, 100)).unwrap().len(), 21);
        assert_eq!(block_on(again.leases()).unwrap(), []);
        drop(again);
        assert_eq!(fs::read(place.path()).unwrap(), bytes);
        assert_eq!(place.files(), files);
    }
    let reading = SqliteLedger::open_read_only(place.path(), &place.options).unwrap();
    assert_eq!(everything(&reading), before);
    drop(reading);
    assert_eq!(fs::read(place.path()).unwrap(), bytes);
}

#[test]
fn a_ledger_that_was_opened_for_reading_takes_nothing_and_sees_what_others_append() {
    let place = Place::new();
    let ledger = place.create();
    let reading = SqliteLedger::open_read_only(place.path(), &place.options).unwrap();
    let error = block_on(reading.append(record("triage.account", 0))).unwrap_err();
    assert_error(&error, ErrorKind::Denied, "opened for reading only");
    block_on(ledger.append(record("triage.account", 0))).unwrap();
    assert_eq!(everything(&reading), everything(&ledger));
    assert_eq!(everything(&reading).version(&address("triage.account")), 2);
}

#[test]
fn many_writers_of_different_agents_through_two_handles_make_one_history() {
    let place = Place::new();
    // As patient as people are: the two handles wait for each other.
    let options = Options { patience: Duration::from_secs(30), ..place.options.clone() };
    let one = SqliteLedger::create_or_open(place.path(), &options).unwrap();
    let two = SqliteLedger::open(place.path(), &options).unwrap();
    std::thread::scope(|scope| {
        for (name, ledger) in [("one", &one), ("two", &two)] {
            for thread in 0..4 {
                scope.spawn(move || {
                    let mut version = 0;
                    for _ in 0..10 {
                        let append = record(&format!("{name}-{thread}.account"), version);
                        version = block_on(ledger.append(append)).unwrap().head.sequence;
                    }
                });
            }
        }
    });
    let state = everything(&one);
    assert_eq!(state.head.sequence, 81);
    assert_eq!(state, everything(&two));
    assert_eq!(block_on(verify(&two, None)).unwrap().entries, 81);
}

#[test]
fn of_many_that_make_one_ledger_at_once_each_opens_the_same() {
    let place = Place::new();
    let options = Options { patience: Duration::from_secs(30), ..place.options.clone() };
    for turn in 0..50 {
        let path = place.folder.path().join(format!("{turn}.db"));
        let start = std::sync::Barrier::new(4);
        let opened = || {
            start.wait();
            SqliteLedger::create_or_open(&path, &options).map(|ledger| everything(&ledger))
        };
        let states: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..4).map(|_| scope.spawn(opened)).collect();
            makers.into_iter().map(|maker| maker.join().unwrap().unwrap()).collect()
        });
        assert!(states.iter().all(|state| *state == states[0] && state.head.sequence == 1));
    }
}

#[test]
fn of_many_writers_of_one_address_exactly_one_wins() {
    let place = Place::new();
    let options = Options { patience: Duration::from_secs(30), ..place.options.clone() };
    let one = SqliteLedger::create_or_open(place.path(), &options).unwrap();
    let two = SqliteLedger::open(place.path(), &options).unwrap();
    let results: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|turn| {
                let ledger = if turn % 2 == 0 { &one } else { &two };
                scope.spawn(move || block_on(ledger.append(record("triage.account", 0))))
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        assert_error(&error, ErrorKind::Conflict, "`triage.account` is at version 2, not 0");
    }
}

#[test]
fn a_lease_dies_with_its_handle_and_lives_as_long_as_it() {
    let place = Place::new();
    let (one, two) = (place.create(), place.open());
    let entropy = Counting::default();
    let (first, second) = (RunId::random(&entropy), RunId::random(&entropy));
    let fence = block_on(one.append(take(&first, "triage"))).unwrap().fence.unwrap();
    let error = block_on(two.append(take(&second, "triage"))).unwrap_err();
    assert_error(&error, ErrorKind::LeaseHeld, "ada on host-1, process 7");
    assert_eq!(block_on(two.leases()).unwrap().len(), 1);
    drop(one);
    assert_eq!(block_on(two.leases()).unwrap(), []);
    let taken = block_on(two.append(take(&second, "triage"))).unwrap().fence.unwrap();
    let third = place.open();
    let late = Append { fence: Some(fence), ..record("triage.account", 0) };
    let error = block_on(third.append(late)).unwrap_err();
    assert_error(&error, ErrorKind::LeaseHeld, second.as_str());
    // A fence is worth as much through another handle of the same run.
    let append = Append { fence: Some(taken), ..record("triage.account", 0) };
    block_on(third.append(append)).unwrap();
}

#[test]
fn a_lock_file_that_a_killed_process_left_holds_nobody_up_and_is_swept() {
    let place = Place::new();
    let entropy = Counting::default();
    let (first, second) = (RunId::random(&entropy), RunId::random(&entropy));
    let ledger = place.create();
    block_on(ledger.append(take(&first, "triage"))).unwrap();
    let left: Vec<String> =
        place.files().into_iter().filter(|name| name.contains(".db.")).collect();
    assert_eq!(left.len(), 1);
    drop(ledger);
    // A process that is killed removes nothing.
    fs::write(place.folder.path().join(&left[0]), "").unwrap();
    let ledger = place.open();
    block_on(ledger.append(take(&second, "triage"))).unwrap();
    assert!(!place.files().contains(&left[0]), "{:?}", place.files());
}

#[test]
fn a_lock_name_that_somebody_wrote_into_the_file_leads_to_no_other_file() {
    let place = Place::new();
    let entropy = Counting::default();
    let ledger = place.create();
    block_on(ledger.append(take(&RunId::random(&entropy), "triage"))).unwrap();
    place.raw().execute("UPDATE leases SET process = '../../precious'", []).unwrap();
    assert_eq!(block_on(ledger.leases()).unwrap().len(), 1, "it ends by time alone");
}

#[test]
fn batches_cannot_be_changed_deleted_or_replaced() {
    let place = Place::new();
    let ledger = place.create();
    block_on(ledger.append(record("triage.account", 0))).unwrap();
    for sql in [
        "UPDATE batches SET entries = '[]' WHERE sequence = 2",
        "DELETE FROM batches WHERE sequence = 2",
        "DELETE FROM batches",
        "INSERT OR REPLACE INTO batches SELECT 2, header, hash, '[]' FROM batches WHERE sequence = 2",
        "INSERT OR IGNORE INTO batches SELECT 1, header, hash, '[]' FROM batches WHERE sequence = 2",
    ] {
        let error = place.raw().execute(sql, []).unwrap_err();
        assert!(error.to_string().contains("the ledger is append-only"), "{sql}: {error}");
    }
    assert_eq!(block_on(verify(&ledger, None)).unwrap().head.sequence, 2);
}

#[test]
fn a_ledger_that_was_rolled_back_or_rewritten_does_not_follow_its_pin() {
    let place = Place::new();
    let ledger = place.create();
    block_on(ledger.append(record("triage.account", 0))).unwrap();
    drop(ledger);
    let backup = fs::read(place.path()).unwrap();
    let ledger = place.open();
    block_on(ledger.append(record("triage.login", 0))).unwrap();
    let state = everything(&ledger);
    let pin = Pin { ledger: state.ledger.clone(), head: state.head };
    block_on(verify(&ledger, Some(&pin))).unwrap();
    block_on(follows(&ledger, &pin)).unwrap();
    block_on(ledger.append(record("triage.grant", 0))).unwrap();
    block_on(verify(&ledger, Some(&pin))).unwrap();
    block_on(follows(&ledger, &pin)).unwrap();
    drop(ledger);

    fs::write(place.path(), &backup).unwrap();
    let ledger = place.open();
    for error in [
        block_on(verify(&ledger, Some(&pin))).unwrap_err(),
        block_on(follows(&ledger, &pin)).unwrap_err(),
    ] {
        assert_error(&error, ErrorKind::Damaged, "ends at batch 2, and batch 3 was seen before");
    }
    for name in ["triage.other", "triage.more"] {
        block_on(ledger.append(record(name, 0))).unwrap();
        for error in [
            block_on(verify(&ledger, Some(&pin))).unwrap_err(),
            block_on(follows(&ledger, &pin)).unwrap_err(),
        ] {
            assert_error(&error, ErrorKind::Damaged, "batch 3 of the ledger is not the one");
        }
    }
    let foreign = Pin { ledger: String::from("another"), ..pin };
    let error = block_on(follows(&ledger, &foreign)).unwrap_err();
    assert_error(&error, ErrorKind::Foreign, "the pin is of ledger another");
}

async fn follows(ledger: &SqliteLedger, pin: &Pin) -> Result<()> {
    let state = ledger.state(&Query::Agents(Vec::new())).await?;
    crate::ledger::follows_pin(ledger, &state, pin).await
}

#[test]
fn what_is_no_ledger_of_ours_is_refused_with_its_path_and_a_repair() {
    let place = Place::new();
    let shown = place.path().display().to_string();
    assert_error(&place.refused(), ErrorKind::NotFound, &shown);

    let deep = place.folder.path().join("missing/ledger.db");
    let error = SqliteLedger::create_or_open(&deep, &place.options).unwrap_err();
    assert_error(&error, ErrorKind::NotFound, "missing` of the ledger");

    let error = SqliteLedger::create_or_open(place.folder.path(), &place.options).unwrap_err();
    assert_error(&error, ErrorKind::InvalidInput, "is a folder");

    fs::write(place.path(), "").unwrap();
    assert_error(&place.refused(), ErrorKind::NotFound, "is empty");

    fs::write(place.path(), "this is a note, and not a database. ".repeat(100)).unwrap();
    assert_error(&place.refused(), ErrorKind::Damaged, "is not a SQLite database");
    let error = SqliteLedger::create_or_open(place.path(), &place.options).unwrap_err();
    assert_error(&error, ErrorKind::Damaged, &shown);

    fs::remove_file(place.path()).unwrap();
    place.raw().execute_batch("CREATE TABLE notes (text)").unwrap();
    let error = SqliteLedger::create_or_open(place.path(), &place.options).unwrap_err();
    assert_error(&error, ErrorKind::Foreign, "is a SQLite database of another application");
}

#[test]
fn a_ledger_of_another_fleet_environment_or_version_is_refused() {
    let place = Place::new();
    drop(place.create());
    for (fleet, environment) in [("shop", "test"), ("office", "production")] {
        let options = Options {
            fleet: fleet.to_owned(),
            environment: environment.to_owned(),
            ..place.options.clone()
        };
        let error = SqliteLedger::open(place.path(), &options).unwrap_err();
        assert_error(&error, ErrorKind::Foreign, "fleet `office` in `test`");
    }
    place.raw().execute_batch("PRAGMA user_version = 99").unwrap();
    assert_error(&place.refused(), ErrorKind::NewerVersion, "format 99");
    place.raw().execute_batch("PRAGMA user_version = 0").unwrap();
    assert_error(&place.refused(), ErrorKind::Damaged, "names no format");
}

#[test]
fn a_file_that_was_damaged_is_refused_and_not_read_as_something_else() {
    let place = Place::new();
    let ledger = place.create();
    for turn in 0..200 {
        block_on(ledger.append(record(&format!("agent-{turn}.account"), 0))).unwrap();
    }
    drop(ledger);
    let mut bytes = fs::read(place.path()).unwrap();
    let end = bytes.len();
    bytes[4096..end].fill(0xa5);
    fs::write(place.path(), &bytes).unwrap();
    assert_error(&place.refused(), ErrorKind::Damaged, &place.path().display().to_string());
}

#[test]
fn a_ledger_that_another_program_writes_to_says_so_and_can_be_tried_again() {
    let place = Place::new();
    let ledger = place.create();
    let other = place.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = block_on(ledger.append(record("triage.account", 0))).unwrap_err();
    assert_error(&error, ErrorKind::Ledger, "is locked by another program");
    assert_eq!(error.retry(), Retry::Backoff);
    other.execute_batch("COMMIT").unwrap();
    block_on(ledger.append(record("triage.account", 0))).unwrap();
}

#[test]
fn each_failure_of_sqlite_has_a_kind_the_path_and_a_repair() {
    let failure =
        |code: std::ffi::c_int| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
    for (code, kind, committing) in [
        (ffi::SQLITE_NOTADB, ErrorKind::Damaged, ErrorKind::InDoubt),
        (ffi::SQLITE_CORRUPT, ErrorKind::Damaged, ErrorKind::InDoubt),
        (ffi::SQLITE_BUSY, ErrorKind::Ledger, ErrorKind::Ledger),
        (ffi::SQLITE_LOCKED, ErrorKind::Ledger, ErrorKind::Ledger),
        (ffi::SQLITE_FULL, ErrorKind::Io, ErrorKind::Io),
        (ffi::SQLITE_READONLY, ErrorKind::Denied, ErrorKind::Denied),
        (ffi::SQLITE_PERM, ErrorKind::Denied, ErrorKind::InDoubt),
        (ffi::SQLITE_CANTOPEN, ErrorKind::Io, ErrorKind::InDoubt),
        (ffi::SQLITE_IOERR, ErrorKind::Io, ErrorKind::InDoubt),
        (ffi::SQLITE_IOERR_SHMSIZE, ErrorKind::Io, ErrorKind::InDoubt),
        (ffi::SQLITE_MISUSE, ErrorKind::Ledger, ErrorKind::InDoubt),
    ] {
        let path = Path::new("folder/ledger.db");
        assert_error(&explain(path, failure(code)), kind, "folder/ledger.db");
        assert_error(&explain_commit(path, failure(code)), committing, "folder/ledger.db");
    }
    for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
        let error = explain(Path::new("ledger.db"), failure(code));
        assert_error(&error, ErrorKind::Io, "no space is left");
    }
}

#[test]
fn a_full_disk_refuses_the_append_and_leaves_the_ledger_whole() {
    let place = Place::new();
    drop(place.create());
    let connection = open::connect(&place.path(), &place.options, Mode::Write).unwrap();
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let limit = format!("PRAGMA max_page_count = {}", pages + 2);
    let _: i64 = connection.query_row(&limit, [], |row| row.get(0)).unwrap();
    let mut ledger = SqliteLedger::open_read_only(place.path(), &place.options).unwrap();
    ledger.start_writer(connection, &place.options).unwrap();
    let mut taken = 1;
    let error = loop {
        match block_on(ledger.append(record(&format!("agent-{taken}.account"), 0))) {
            Ok(appended) => taken = appended.head.sequence,
            Err(error) => break error,
        }
        assert!(taken < 1000, "the disk never filled");
    };
    assert_error(&error, ErrorKind::Io, "no space is left");
    assert_eq!(error.retry(), Retry::Backoff);
    assert_eq!(block_on(verify(&ledger, None)).unwrap().head.sequence, taken);
    drop(ledger);
    let ledger = place.open();
    block_on(ledger.append(record("triage.account", 0))).unwrap();
    assert_eq!(everything(&ledger).head.sequence, taken + 1);
}

#[test]
fn the_libraries_that_corrupt_a_write_ahead_log_are_known() {
    for (version, corrupts) in [
        (3_006_023, false),
        (3_007_000, true),
        (3_040_001, true),
        (3_044_005, true),
        (3_044_006, false),
        (3_044_007, true),
        (3_050_006, true),
        (3_050_007, false),
        (3_051_002, true),
        (3_051_003, false),
        (3_054_001, false),
    ] {
        assert_eq!(corrupts_wal(version), corrupts, "{version}");
    }
}

#[test]
fn an_unsafe_library_is_met_with_a_rollback_journal_that_then_stays() {
    fn mode(connection: &Connection) -> (String, i64) {
        let of = |name: &str| format!("PRAGMA {name}");
        (
            connection.query_row(&of("journal_mode"), [], |row| row.get(0)).unwrap(),
            connection.query_row(&of("synchronous"), [], |row| row.get(0)).unwrap(),
        )
    }
    const FULL: i64 = 2;
    const EXTRA: i64 = 3;
    let place = Place::new();
    drop(place.create());
    {
        let connection = place.raw();
        let _: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
        open::settle_journal(&connection, &place.path(), 3_054_001).unwrap();
        assert_eq!(mode(&connection), (String::from("wal"), FULL));
        // A second program that has it open keeps the unsafe one out.
        let other = place.raw();
        let _: i64 = other.query_row("SELECT count(*) FROM batches", [], |row| row.get(0)).unwrap();
        let error = open::settle_journal(&connection, &place.path(), 3_040_001).unwrap_err();
        assert_error(&error, ErrorKind::Ledger, "can corrupt the ledger");
        drop(other);
        open::settle_journal(&connection, &place.path(), 3_040_001).unwrap();
        assert_eq!(mode(&connection), (String::from("delete"), EXTRA));
        open::settle_journal(&connection, &place.path(), 3_054_001).unwrap();
        assert_eq!(mode(&connection), (String::from("delete"), EXTRA));
    }
    let ledger = place.open();
    block_on(ledger.append(record("triage.account", 0))).unwrap();
    block_on(verify(&ledger, None)).unwrap();
}

#[test]
fn the_bytes_of_an_append_do_not_depend_on_what_was_recorded_before() {
    let place = Place::new();
    let ledger = place.create();
    let written = |count: u32, from: u32| {
        // While somebody reads, the log only grows, and so can be measured.
        let reader = place.raw();
        if mode_of(&reader) != "wal" {
            return None;
        }
        reader.execute_batch("BEGIN").unwrap();
        let _: i64 =
            reader.query_row("SELECT count(*) FROM batches", [], |row| row.get(0)).unwrap();
        let log = place.folder.path().join("ledger.db-wal");
        let before = fs::metadata(&log).unwrap().len();
        for turn in from..from + count {
            block_on(ledger.append(record(&format!("agent-{turn}.account"), 0))).unwrap();
        }
        Some((fs::metadata(&log).unwrap().len() - before) / u64::from(count))
    };
    let Some(early) = written(30, 0) else { return };
    let many = (1000..3000).map(|turn| ledger.append(record(&format!("agent-{turn}.account"), 0)));
    assert!(block_on(futures_util::future::join_all(many)).iter().all(Result::is_ok));
    let late = written(30, 5000).unwrap();
    assert!(late < early * 3, "an append wrote {early} bytes, and {late} after 2,000 others");
}

fn mode_of(connection: &Connection) -> String {
    connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap()
}

/// A clock that moves each time that somebody looks.
#[derive(Debug)]
struct Ticking(Arc<Still>);

#[async_trait]
impl Clock for Ticking {
    fn now(&self) -> jiff::Timestamp {
        self.0.advance(Duration::from_secs(1));
        self.0.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

#[test]
fn appends_that_wait_together_are_committed_together() {
    let place = Place::new();
    let options = Options {
        clock: Arc::new(Ticking(Arc::clone(&place.clock))),
        patience: Duration::from_secs(30),
        ..place.options.clone()
    };
    let ledger = SqliteLedger::create_or_open(place.path(), &options).unwrap();
    let other = place.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (queued, all_queued) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let names: Vec<String> = (0..50).map(|turn| format!("agent-{turn}.account")).collect();
            let appends = names.iter().map(|name| ledger.append(record(name, 0)));
            let tell = async move { queued.send(()).unwrap() };
            let appends = futures_util::future::join_all(appends);
            let (results, ()) = block_on(futures_util::future::join(appends, tell));
            assert!(results.iter().all(Result::is_ok));
        });
        all_queued.recv().unwrap();
        other.execute_batch("COMMIT").unwrap();
    });
    // The writer reads the clock once for each group.
    let batches = block_on(ledger.batches(2, 100)).unwrap();
    let times: std::collections::BTreeSet<_> =
        batches.iter().map(|batch| batch.header.time).collect();
    assert_eq!(batches.len(), 50);
    assert!(times.len() <= 2, "{} transactions for 50 appends", times.len());
}

#[test]
fn the_state_of_an_agent_is_found_without_reading_the_others() {
    let place = Place::new();
    drop(place.create());
    for sql in [
        "SELECT instance, resource, record FROM records WHERE instance = 'a'",
        "SELECT record FROM records WHERE instance = 'a' AND resource = 'b'",
        "SELECT agent FROM agents WHERE instance = 'a'",
        "SELECT sequence, hash FROM batches ORDER BY sequence DESC LIMIT 1",
    ] {
        let raw = place.raw();
        let mut plan = raw.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps: Vec<String> =
            plan.query_map([], |row| row.get(3)).unwrap().map(|step| step.unwrap()).collect();
        let whole = steps.iter().any(|step| step.starts_with("SCAN")) && !sql.contains("LIMIT 1");
        assert!(!whole, "{sql}: {steps:?}");
    }
}
