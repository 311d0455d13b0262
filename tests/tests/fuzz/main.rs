//! Hostile input for everything that comes from outside: text fleets, saved
//! plans, backups, what stands in a ledger's file, in a vault's folder, and in
//! a provider's answers. Sound input, from the corpus beside this file or made
//! here, is changed from one seed after the other for a bounded time. Nothing
//! may panic, hang or grow without bound, and what is refused is refused by an
//! error that says what it is.
//!
//! A failure prints its seed and its input. `AGENT_IAC_FUZZ_SEED=7` plays one
//! seed again, `AGENT_IAC_FUZZ_SECONDS=60` is how long each target goes on, and
//! `AGENT_IAC_FUZZ_FROM` where it begins. An input that once failed is kept in
//! the corpus, whose files are also given as they are.
#![expect(
    clippy::disallowed_methods,
    reason = "how long to go on is told by the environment, and a hang is seen by real time"
)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the counts are the result")]
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

mod answers;
mod files;
mod mutate;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use agent_iac::{
    Error, ErrorKind,
    apply::RunContext,
    config::{self, Types},
    ledger::{Actor, check_backup},
    plan::{Plan, SavedPlan, render},
};
use mutate::Random;
use serde_json::Value as Json;

/// What one input may take, in a build for tests on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// What all of it may have in memory at once.
const MOST_MEMORY: u64 = 2 << 30;

fn told(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/fuzz/corpus", target].iter().collect();
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Ends the process when one input takes too long, and says which.
struct Watch(Arc<AtomicBool>);

impl Watch {
    fn over(target: &'static str, seed: u64) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        std::thread::spawn(move || {
            let begun = Instant::now();
            while !seen.load(Ordering::Relaxed) {
                if begun.elapsed() > PATIENCE {
                    eprintln!("{target}: the input of AGENT_IAC_FUZZ_SEED={seed} hangs");
                    std::process::abort();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self(done)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The most memory that this process ever had.
fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// Plays seeds for the time that is given. `play` makes its input, gives it,
/// and says whether it was taken; the input is told when that fails.
fn fuzz(target: &'static str, play: impl Fn(&mut Random, &mut Vec<u8>) -> bool) {
    let budget = Duration::from_secs(told("AGENT_IAC_FUZZ_SECONDS").unwrap_or(4));
    let only = told("AGENT_IAC_FUZZ_SEED");
    let first = only.or_else(|| told("AGENT_IAC_FUZZ_FROM")).unwrap_or(0);
    let (begun, mut taken, mut refused) = (Instant::now(), 0_u64, 0_u64);
    for seed in first.. {
        let mut input = Vec::new();
        let watch = Watch::over(target, seed);
        let played = catch_unwind(AssertUnwindSafe(|| play(&mut Random::new(seed), &mut input)));
        drop(watch);
        match played {
            Ok(true) => taken += 1,
            Ok(false) => refused += 1,
            Err(_) => {
                let shown = String::from_utf8_lossy(&input);
                let shown: String = shown.chars().take(4_000).collect();
                panic!("{target}: AGENT_IAC_FUZZ_SEED={seed} fails on this input:\n{shown}");
            }
        }
        if only.is_some() || begun.elapsed() > budget {
            break;
        }
    }
    let memory = most_memory();
    println!("{target}: {taken} inputs taken, {refused} refused, at most {} MB", memory >> 20);
    assert!(memory < MOST_MEMORY, "{target}: {memory} bytes of memory");
    assert!(only.is_some() || taken + refused >= 20, "{target}: too few inputs");
}

/// An error says what it is, is nobody's mistake but the input's, and is no
/// longer than somebody reads.
fn is_named(error: &Error) -> bool {
    let text = error.to_string();
    assert!(!text.trim().is_empty(), "it says nothing: {error:?}");
    assert_ne!(error.kind(), ErrorKind::Bug, "{error:?}");
    assert!(text.len() < 64 << 10, "an error of {} bytes", text.len());
    false
}

fn operator() -> RunContext {
    RunContext::new(Actor::asserted("test", "operator"))
}

#[test]
fn text_fleets() {
    let corpus = corpus("fleets");
    let types = Types::builtin();
    let read = |text: &str| match config::blueprint(text, "fleet.toml", "test", &types) {
        Ok(blueprint) => {
            assert!(!blueprint.digest().to_string().is_empty());
            true
        }
        Err(mistakes) => {
            assert!(!mistakes.to_string().trim().is_empty(), "no mistake is named");
            false
        }
    };
    for sound in &corpus {
        read(&String::from_utf8_lossy(sound));
    }
    fuzz("text fleets", |random, input| {
        let (sound, other) = (random.below(corpus.len()), random.below(corpus.len()));
        *input = mutate::bytes(random, &corpus[sound], &corpus[other]);
        read(&String::from_utf8_lossy(input))
    });
}

#[test]
fn saved_plans() {
    let corpus = corpus("plans");
    for sound in &corpus {
        let read = SavedPlan::from_bytes(sound);
        assert!(read.is_ok() || read.is_err_and(|error| !is_named(&error)));
    }
    fuzz("saved plans", |random, input| {
        let sound = &corpus[random.below(corpus.len())];
        if random.one_in(2) {
            *input = mutate::bytes(random, sound, &corpus[0]);
            return SavedPlan::from_bytes(input).map_or_else(|error| is_named(&error), |_| true);
        }
        // Sealed anew, as by somebody who has this crate: what is in it is still
        // no more than a plan.
        let mut saved: Json = serde_json::from_slice(sound).unwrap();
        let plan = saved.get_mut("plan").unwrap();
        mutate::json(random, plan);
        *input = serde_json::to_vec(plan).unwrap();
        let Ok(plan) = serde_json::from_slice::<Plan>(input) else { return false };
        let Ok(saved) = SavedPlan::new(plan) else { return false };
        match SavedPlan::from_bytes(&saved.to_bytes().unwrap()) {
            Ok(again) => assert_eq!(again.digest(), saved.digest(), "it is read as it was written"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NewerVersion, "{error:?}"),
        }
        let options = render::Options::default();
        let shown = render::text(&saved, &options).to_string();
        assert!(!shown.is_empty() && !render::markdown(&saved, &options).is_empty());
        assert!(render::json(&saved).is_ok());
        answers::apply(&saved, &operator().acknowledging(saved.digest()))
    });
}

#[test]
fn backups() {
    let corpus = corpus("backups");
    for sound in &corpus {
        let read = check_backup(&sound[..], "a.backup");
        assert!(read.is_ok() || read.is_err_and(|error| !is_named(&error)));
    }
    fuzz("backups", |random, input| {
        let sound = &corpus[random.below(corpus.len())];
        *input = if random.one_in(2) {
            mutate::bytes(random, sound, &corpus[0])
        } else {
            files::chained_anew(random, sound)
        };
        let read = check_backup(&input[..], "a.backup");
        let taken = read.map_or_else(|error| is_named(&error), |_| true);
        if taken || random.one_in(8) {
            return files::restore(input) || taken;
        }
        taken
    });
}

#[test]
fn what_stands_in_a_ledgers_file() {
    let before = files::ledger();
    fuzz("ledgers' files", |random, input| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        if random.one_in(2) {
            *input = mutate::bytes(random, &before, &before);
            fs::write(&path, &*input).unwrap();
        } else {
            fs::write(&path, &before).unwrap();
            *input = files::edit_a_row(random, &path);
        }
        files::read_ledger(&path)
    });
}

#[test]
fn what_stands_in_a_vaults_folder() {
    let before = files::vault();
    fuzz("vaults' folders", |random, input| {
        let folder = tempfile::tempdir().unwrap();
        agent_iac_tests::embedded::copy_folder(before.path(), folder.path()).unwrap();
        *input = files::edit_a_file(random, &folder.path().join("vault"));
        files::read_vault(folder.path())
    });
}

#[test]
fn answers_of_providers() {
    fuzz("answers of providers", |random, _| answers::play(random));
}

#[test]
fn a_provider_with_very_many_resources_or_very_long_ones_is_read_within_bounds() {
    for (what, listed, long) in [("many", 5_000, 20), ("long", 6, 1 << 20), ("circular", 1_000, 20)]
    {
        let before = most_memory();
        let begun = Instant::now();
        answers::list(what, listed, long);
        let more = most_memory().saturating_sub(before);
        println!("{what}: {listed} listed, {} MB more, {:?}", more >> 20, begun.elapsed());
        // Of each type so many, and of each what is read, planned and shown.
        let each = 16 << 10;
        let most = (256 << 20) + 3 * listed as u64 * (each + 8 * long as u64);
        assert!(more < most, "{what}: {more} bytes more");
    }
}

/// Writes the corpus anew: `UPDATE_CORPUS=1`, and a look at what changed.
#[test]
fn the_corpus_is_what_this_version_writes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    if std::env::var("UPDATE_CORPUS").is_ok() {
        fs::create_dir_all(folder.join("plans")).unwrap();
        fs::create_dir_all(folder.join("backups")).unwrap();
        fs::write(folder.join("plans/mixed.json"), answers::plan()).unwrap();
        fs::write(folder.join("backups/life.backup"), answers::backup()).unwrap();
    }
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    // A plan of an older format is refused at its first line, and would test nothing.
    SavedPlan::from_bytes(&read("plans/mixed.json")).expect("UPDATE_CORPUS=1 writes it anew");
    check_backup(&read("backups/life.backup")[..], "life.backup")
        .expect("UPDATE_CORPUS=1 writes it anew");
}
