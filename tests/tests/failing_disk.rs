//! A real process that applies on real files while its disk fails: the n-th
//! write, sync, rename, … errs, once or from there on, for n = 1, 2, 3 and so
//! on until there are no more calls. After each a program that knows no
//! deployment looks at ledger, vault and authority from outside; the next run,
//! on a sound disk, has to settle everything.
//!
//! The disk fails by a library of C that the test compiles and puts before the
//! C library (`fixtures/failing_disk.c`). It notes each failure, so that a
//! sweep that hit nothing is seen. One in a few calls is taken where there are
//! many; `AGENT_IAC_EVERY_CALL=1` takes all of them.
#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    reason = "real processes run in real time, and how much to sweep is told by the environment"
)]
#![expect(clippy::print_stdout, reason = "the counts of a sweep are its result")]
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use agent_iac::clock::block_on;
use agent_iac_tests::{
    converge,
    embedded::{Version, copy_folder, deployment},
};

/// One agent comes, and two change.
const SIZE: usize = 3;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// How a disk fails.
#[derive(Clone, Copy, Debug)]
struct Failing {
    call: &'static str,
    error: i32,
    lasting: bool,
    short: bool,
}

fn library() -> &'static Path {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("failing_disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/failing_disk.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
        let compiled = cc.arg("-ldl").output().expect("who links Rust programs has a C compiler");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        (folder, library)
    });
    library
}

/// A folder as it is before, made once.
fn before() -> &'static Path {
    static BEFORE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = BEFORE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        block_on(converge(&deployment(folder.path(), Version::Half, SIZE).unwrap())).unwrap();
        folder
    });
    folder.path()
}

fn apply(folder: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_apply-fleet"));
    program.arg(folder).args([Version::Changed.to_string(), SIZE.to_string()]);
    program
}

/// The end of a program; one that does not end is killed and fails the test.
fn end_of(mut program: Command, what: &str) -> Output {
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = program.spawn().expect("the program starts");
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_mins(2) {
            child.kill().unwrap();
            let said = child.wait_with_output().unwrap();
            panic!("{what}: it hangs: {}", String::from_utf8_lossy(&said.stderr));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).chars().take(3_000).collect()
}

fn look(folder: &Path, settled: bool, what: &str) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_look-outside"));
    program.arg(folder);
    if settled {
        program.args([Version::Changed.to_string(), SIZE.to_string()]);
    }
    let found = end_of(program, what);
    assert!(found.status.success(), "{what}, settled: {settled}:\n{}", said(&found));
}

/// What became of one failure: whether it fired, and whether the run it hit
/// failed by it.
fn fail(failing: Failing, nth: usize) -> Option<bool> {
    let what = format!("{failing:?} at call {nth}");
    let place = tempfile::tempdir().unwrap();
    let (folder, report) = (place.path().join("fleet"), place.path().join("report"));
    copy_folder(before(), &folder).unwrap();
    let mut program = apply(&folder);
    let flag = |set: bool| if set { "1" } else { "0" };
    program
        .env("LD_PRELOAD", library())
        .env("FAILING_UNDER", &folder)
        .env("FAILING_CALL", failing.call)
        .env("FAILING_NTH", nth.to_string())
        .env("FAILING_LASTING", flag(failing.lasting))
        .env("FAILING_SHORT", flag(failing.short))
        .env("FAILING_ERRNO", failing.error.to_string())
        .env("FAILING_REPORT", &report);
    let hit = end_of(program, &what);
    assert!(matches!(hit.status.code(), Some(0 | 1)), "{what}: {}: {}", hit.status, said(&hit));
    assert!(!said(&hit).contains("panicked"), "{what}: {}", said(&hit));
    assert!(hit.status.success() || !said(&hit).trim().is_empty(), "{what}: it says nothing");
    let fired = fs::read_to_string(&report).is_ok_and(|report| !report.is_empty());
    assert!(fired || hit.status.success(), "{what}: nothing failed, but {}", said(&hit));
    look(&folder, false, &what);
    let next = end_of(apply(&folder), &what);
    assert!(next.status.success(), "{what}: the next run fails: {}", said(&next));
    look(&folder, true, &what);
    fired.then(|| !hit.status.success())
}

/// How many runs are under way at once: one that finds its disk full waits
/// longer than it works.
const AT_ONCE: usize = 4;

/// Lets each call fail in turn, one in `stride`.
fn sweep(failing: Failing, stride: usize, at_least: usize) {
    let begun = Instant::now();
    let stride = if std::env::var("AGENT_IAC_EVERY_CALL").is_ok() { 1 } else { stride };
    let (mut fired, mut failed, mut nth) = (0, 0, 1);
    loop {
        let batch: Vec<Option<bool>> = std::thread::scope(|scope| {
            let at = |number: usize| nth + number * stride;
            let runs: Vec<_> =
                (0..AT_ONCE).map(|number| scope.spawn(move || fail(failing, at(number)))).collect();
            runs.into_iter().map(|run| run.join().expect("it says itself what failed")).collect()
        });
        fired += batch.iter().flatten().count();
        failed += batch.iter().flatten().filter(|by_it| **by_it).count();
        if batch.contains(&None) {
            break;
        }
        nth += AT_ONCE * stride;
    }
    println!(
        "{failing:?}: {fired} failures fired, one in {stride} calls; {failed} runs failed by them; {:?}",
        begun.elapsed()
    );
    assert!(fired >= at_least, "{failing:?}: only {fired} fired");
    assert!(failed > 0, "{failing:?}: no run noticed");
}

fn once(call: &'static str, error: i32) -> Failing {
    Failing { call, error, lasting: false, short: false }
}

fn lasting(call: &'static str, error: i32) -> Failing {
    Failing { lasting: true, ..once(call, error) }
}

#[test]
fn a_write_that_fails_once_leaves_nothing_that_the_next_run_does_not_settle() {
    sweep(once("write", EIO), 13, 8);
}

#[test]
fn a_disk_that_is_full_from_a_write_on_leaves_nothing_that_the_next_run_does_not_settle() {
    sweep(Failing { short: true, ..lasting("write", ENOSPC) }, 41, 4);
}

#[test]
fn a_sync_that_fails_leaves_nothing_that_the_next_run_does_not_settle() {
    sweep(once("sync", EIO), 3, 8);
    sweep(lasting("sync", EIO), 11, 3);
}

#[test]
fn a_rename_that_fails_leaves_nothing_that_the_next_run_does_not_settle() {
    sweep(once("rename", EIO), 1, 2);
    sweep(lasting("rename", ENOSPC), 1, 2);
}

#[test]
fn a_file_that_cannot_be_made_or_removed_leaves_nothing_that_the_next_run_does_not_settle() {
    sweep(once("create", ENOSPC), 3, 3);
    sweep(lasting("remove", EIO), 3, 2);
    sweep(once("truncate", EIO), 1, 1);
}
