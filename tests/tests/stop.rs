//! A long run by a real command line is asked to stop, by each signal that asks:
//! it ends what is under way, records its end, and the next run goes on.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    reason = "a real process is asked in real time, and is given time to get to work"
)]

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use agent_iac::clock::block_on;
use agent_iac_tests::{
    crash::Ledger,
    embedded::{self, Version, deployment},
    operator,
};

const SIZE: usize = 150;

fn operate(folder: &Path, arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_operate-fleet"));
    program.arg(folder).arg(SIZE.to_string()).args(arguments).stdin(Stdio::null());
    program
}

#[test]
fn a_run_that_is_asked_to_stop_ends_in_order_whichever_signal_asks() {
    for signal in ["INT", "TERM", "HUP"] {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("fleet");
        let planned = operate(&folder, &["plan", "--json"]).output().unwrap();
        let last = String::from_utf8(planned.stdout).unwrap().lines().last().map(str::to_owned);
        let plan: serde_json::Value =
            serde_json::from_str(&last.expect("it says something")).unwrap();
        let digest = plan["digest"].as_str().expect("a plan has a digest").to_owned();

        let mut program = operate(&folder, &["apply", "--digest", &digest]);
        let child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ledger = Ledger::of(&folder, embedded::FLEET);
        let begun = Instant::now();
        while ledger.left().is_none_or(|left| left.state.records.is_empty()) {
            assert!(begun.elapsed() < Duration::from_mins(1), "it does not get to work");
            thread::sleep(Duration::from_millis(5));
        }
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().unwrap();
        assert!(sent.success(), "{signal} was not sent");
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(130), "{signal}: {}: {said}", ended.status);
        assert!(said.contains("stopping when what is under way has ended"), "{signal}: {said}");

        // It was asked in the middle, and left nothing in the middle.
        let state = ledger.left().unwrap().state;
        assert!(state.runs.is_empty(), "{signal}: the run did not end: {:?}", state.runs);
        let open = state.records.values().filter(|record| record.open.is_some()).count();
        assert_eq!(open, 0, "{signal}: steps in doubt");
        let done = state.records.values().filter(|record| record.object.is_some()).count();
        assert!(done < SIZE * 3, "{signal}: it had ended by itself");
        let rest = deployment(&folder, Version::Full, SIZE).unwrap();
        block_on(agent_iac_tests::converge_as(&rest, &operator())).unwrap();
    }
}
