//! Processes that are killed, and bytes that flip.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use super::{Place, everything, record, take};
use crate::{
    address::Address,
    clock::{Entropy as _, SystemEntropy, block_on},
    error::ErrorKind,
    ledger::{Ledger as _, Query, RunId, SqliteLedger, sqlite::Options, verify},
};

const PLACE: &str = "AGENT_IAC_TEST_LEDGER";

/// Runs a test of this file once more in a process of its own, to be killed.
/// Whatever happens to the parent, no child outlives it.
struct Victim(Child);

impl Victim {
    fn of(test: &str, place: &Place) -> (Self, impl Iterator<Item = String> + use<>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(PLACE, place.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        // The harness may put its own words before ours on the same line.
        let said = said.filter_map(|line| Some(line.unwrap().split_once("victim: ")?.1.to_owned()));
        (Self(child), said)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _: std::io::Result<()> = self.0.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.0.wait();
    }
}

/// The ledger of a victim; `None` in the test's own process.
fn victim() -> Option<SqliteLedger> {
    let path = std::env::var_os(PLACE)?;
    Some(SqliteLedger::create_or_open(path, &Options::new("office", "test")).unwrap())
}

#[test]
fn what_was_answered_survives_a_killed_writer_and_what_was_not_is_whole_or_absent() {
    if let Some(ledger) = victim() {
        for turn in 0.. {
            let appended = block_on(ledger.append(record(&format!("agent-{turn}.account"), 0)));
            println!("victim: {}", appended.unwrap().head.sequence);
        }
    }
    for kill_after in [1, 7, 30] {
        let test = "ledger::sqlite::tests::crashes::\
                    what_was_answered_survives_a_killed_writer_and_what_was_not_is_whole_or_absent";
        let place = Place::new();
        let mut last = 0;
        let (victim, said) = Victim::of(test, &place);
        for sequence in said.take(kill_after) {
            last = sequence.parse::<u64>().unwrap();
        }
        victim.kill();
        assert!(last > 1, "the victim never appended");
        let ledger = place.open();
        let state = everything(&ledger);
        assert!(state.head.sequence >= last, "batch {last} was answered and is lost");
        assert_eq!(u64::try_from(state.records.len()).unwrap() + 1, state.head.sequence);
        block_on(verify(&ledger, None)).unwrap();
        block_on(ledger.append(record("triage.account", 0))).unwrap();
    }
}

#[test]
fn a_run_after_a_killed_one_begins_at_once() {
    if let Some(ledger) = victim() {
        let run = RunId::random(&SystemEntropy);
        block_on(ledger.append(take(&run, "triage"))).unwrap();
        println!("victim: {run}");
        loop {
            std::thread::park();
        }
    }
    let place = Place::new();
    let ledger = place.create();
    let test = "ledger::sqlite::tests::crashes::a_run_after_a_killed_one_begins_at_once";
    let (victim, mut said) = Victim::of(test, &place);
    let dead = said.next().unwrap();
    let run = RunId::random(&SystemEntropy);
    let error = block_on(ledger.append(take(&run, "triage"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseHeld);
    assert!(error.message().contains(&dead), "{error}");
    victim.kill();
    assert_eq!(block_on(ledger.leases()).unwrap(), []);
    block_on(ledger.append(take(&run, "triage"))).unwrap();
    drop(ledger);
    assert_eq!(place.files(), ["ledger.db"], "the dead one's lock file was swept");
}

/// How long SQLite's header is.
const HEADER: usize = 100;

#[test]
fn a_flipped_bit_is_found_or_changes_nothing() {
    let place = Place::new();
    let ledger = place.create();
    for turn in 0..12 {
        block_on(ledger.append(record(&format!("agent-{turn}.account"), 0))).unwrap();
    }
    block_on(ledger.append(take(&RunId::random(&SystemEntropy), "triage"))).unwrap();
    let state = everything(&ledger);
    drop(ledger);
    let sound = fs::read(place.path()).unwrap();
    let mut found = 0;
    let anywhere = (0..250).map(|_| {
        let mut position = [0; 8];
        SystemEntropy.fill(&mut position);
        usize::try_from(u64::from_be_bytes(position) >> 16).unwrap() % (sound.len() * 8)
    });
    // The header's numbers say how the rest is to be taken, so each bit is tried.
    for at in (0..HEADER * 8).chain(anywhere) {
        let mut bytes = sound.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        let place = Place::new();
        fs::write(place.path(), &bytes).unwrap();
        let outcome = SqliteLedger::open(place.path(), &place.options).and_then(|ledger| {
            block_on(async {
                verify(&ledger, None).await?;
                ledger.leases().await?;
                ledger.state(&Query::Everything).await
            })
        });
        match outcome {
            Ok(read) => assert_eq!(read, state, "bit {at} made another history"),
            Err(error) => {
                found += 1;
                let kind = error.kind();
                let explained = matches!(
                    kind,
                    ErrorKind::Damaged
                        | ErrorKind::Foreign
                        | ErrorKind::NewerVersion
                        | ErrorKind::NotFound
                        | ErrorKind::Ledger
                        | ErrorKind::Io
                );
                assert!(explained && error.repair().is_some(), "bit {at}: {error:?}");
            }
        }
    }
    assert!(found > 0, "no flipped bit was found");
}

#[test]
fn a_cut_file_is_never_read_as_a_shorter_history() {
    let place = Place::new();
    let ledger = place.create();
    for turn in 0..60 {
        block_on(ledger.append(record(&format!("agent-{turn}.account"), 0))).unwrap();
    }
    let state = everything(&ledger);
    drop(ledger);
    let sound = fs::read(place.path()).unwrap();
    for pages in 1..sound.len() / 4096 {
        let place = Place::new();
        fs::write(place.path(), &sound[..pages * 4096]).unwrap();
        let outcome = SqliteLedger::open(place.path(), &place.options)
            .and_then(|ledger| block_on(verify(&ledger, None)));
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{pages} pages: {error:?}");
    }
    assert_eq!(state.version(&"agent-59.account".parse::<Address>().unwrap()), 61);
}
