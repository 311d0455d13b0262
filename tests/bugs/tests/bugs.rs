//! Each deliberate bug is found within a thousand seeds that pass without it.
//!
//! Built with `RUSTFLAGS="--cfg agent_iac_bugs"`, as `tests/run` does; without
//! it there are no bugs to find. `AGENT_IAC_BUG` names one, to look at it.
#![cfg(agent_iac_bugs)]
#![expect(clippy::disallowed_methods, reason = "which bug to look at is told by the environment")]
#![expect(clippy::print_stdout, reason = "how many seeds it took is the result")]

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use agent_iac::{
    bugs::choose,
    testing::storm::{Report, Storm},
};
use agent_iac_bugs::{BUGS, Bug};

/// Within how many seeds a bug has to be found.
const SEEDS: u64 = 1_000;

/// What a seed finds: an invariant that is violated, or that it plays
/// differently the second time.
fn found(report: &Report, bug: &str) -> Option<String> {
    if let Some(violation) = report.violations.first() {
        return Some(violation.to_string());
    }
    // Only one bug lets chance in, and playing all twice would take as long
    // again.
    let twice = bug == "chance of the machine's own";
    let again = twice.then(|| report.storm.play().trace.mark());
    again
        .filter(|mark| *mark != report.trace.mark())
        .map(|_| "I14: the same seed gave another trace".to_owned())
}

/// The first seed that finds a bug and passes without it, and what it finds.
fn hunt((bug, _): Bug) -> Option<(u64, String)> {
    for seed in 0..SEEDS {
        choose(Some(bug));
        let what = found(&Storm::of(seed).play(), bug);
        choose(None);
        if let Some(what) = what
            && Storm::of(seed).play().violations.is_empty()
        {
            return Some((seed, what));
        }
    }
    None
}

#[test]
fn each_bug_is_found_within_a_thousand_seeds() {
    if let Ok(name) = std::env::var("AGENT_IAC_BUG") {
        let bug = BUGS.iter().find(|(bug, _)| *bug == name).expect("a bug of the list");
        let (seed, what) = hunt(*bug).expect("it is found");
        choose(Some(bug.0));
        println!("{what}\n{}", Storm::of(seed).keeping(400).shrink());
        return;
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(bug) = BUGS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let hunted = hunt(*bug);
                    let seeds = hunted.as_ref().map(|(seed, _)| seed + 1);
                    println!("{}: {seeds:?}", bug.0);
                    results.lock().unwrap().push((bug, hunted));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(bug, _)| BUGS.iter().position(|other| other == *bug));
    let mut missed = Vec::new();
    for ((bug, breaks), hunted) in results {
        match hunted {
            Some((seed, what)) => {
                let what: String = what.chars().take(110).collect();
                println!("{:>4} seeds: {bug} ({breaks}): {what}", seed + 1);
            }
            None => missed.push(*bug),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
}

#[test]
fn every_bug_of_the_engine_is_in_the_list_and_the_other_way_round() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../../agent-iac/src");
    let mut open = vec![std::path::PathBuf::from(sources)];
    let mut planted = std::collections::BTreeSet::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("bugs.rs") {
                let text = std::fs::read_to_string(path).unwrap();
                let names = text.split("bug!(\"").skip(1).filter_map(|rest| rest.split('"').next());
                planted.extend(names.map(str::to_owned));
            }
        }
    }
    let listed = BUGS.iter().map(|(bug, _)| (*bug).to_owned()).collect();
    assert_eq!(planted, listed);
}
