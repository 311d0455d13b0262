//! A process that applies a fleet, killed at random moments and started again.
//!
//! It owns the seed, the process, where it is aimed at, and what a dead process
//! left in its ledger. It knows nothing of the systems that are managed.
#![expect(
    clippy::disallowed_methods,
    reason = "real processes are killed in real time, at moments that a person can ask for again"
)]
#![expect(clippy::print_stdout, reason = "a test says its seed, and what each kill hit")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use agent_iac::{
    Error, ErrorKind, Result,
    apply::{Progress, RunContext},
    clock::{Entropy as _, SystemEntropy, block_on},
    deployment::{Deployment, Runner, RunnerOptions},
    ledger::{
        Actor, Event, Ledger as _, Query, RunEvent, RunId, RunPurpose, SqliteLedger, State,
        StepEvent, sqlite::Options,
    },
};

use crate::{converge_as, embedded::Version, operator};

/// What a process may take from its start to the begin of a run, or from there
/// to its end: longer than the engine waits for anything, so that what is heard
/// of is its own error.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Brings a fleet about, for a process that is there to be killed: it says on
/// standard output when a run begins and ends, so that whoever kills it can
/// aim.
pub fn bring_about(deployment: Result<Deployment>) -> ExitCode {
    let mut context: RunContext = operator();
    context.watch = say_runs();
    match deployment.and_then(|deployment| block_on(converge_as(&deployment, &context))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:?}")),
    }
}

/// Says on standard output when a run begins and ends.
fn say_runs() -> Arc<dyn Fn(&Progress) + Send + Sync> {
    Arc::new(|progress| {
        let word = match progress {
            Progress::RunBegun { .. } => "begun",
            Progress::RunEnded { .. } => "ended",
            _ => return,
        };
        let mut out = std::io::stdout().lock();
        // Whoever listens may be gone; the run goes on.
        let _: std::io::Result<()> = writeln!(out, "{word}").and_then(|()| out.flush());
    })
}

/// Renews what is due until it is killed, as somebody of a name of its own,
/// and says when a run begins and ends. What goes wrong is complained of, and
/// tried again.
pub fn rotate_on_and_on(deployment: Result<Deployment>, name: &str) -> ExitCode {
    let mut context = RunContext::new(Actor::asserted("test", name));
    context.watch = say_runs();
    // Some of the agents, so that the other runner has others.
    let options =
        RunnerOptions { agents: 3, poll: Duration::from_millis(100), ..RunnerOptions::default() };
    let runner = deployment.and_then(|deployment| {
        Runner::new(Arc::new(deployment), context, options).map_err(Error::from)
    });
    let mut runner = match runner {
        Ok(runner) => runner,
        Err(error) => return complain(&format!("{error:?}")),
    };
    block_on(runner.run(|tick| match tick {
        Err(error) => drop(complain(&format!("{name}: {error:?}"))),
        Ok(tick) => {
            for (agent, error) in &tick.refused {
                complain(&format!("{name}: {agent}: {error:?}"));
            }
            let steps = tick.rotated.iter().chain([&tick.settled]).flat_map(|run| &run.steps);
            for step in steps.filter(|step| !step.outcome.is_done()) {
                complain(&format!("{name}: {} {}: {:?}", step.action, step.address, step.outcome));
            }
        }
    }));
    ExitCode::SUCCESS
}

/// Says why a program ends without success.
pub fn complain(message: &str) -> ExitCode {
    // Nobody is left to be told that it cannot be told.
    let _: std::io::Result<()> = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}

/// The generator `SplitMix64`: small, and the same everywhere.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A generator whose seed is printed; the variable `AGENT_IAC_SEED` gives
    /// it again.
    ///
    /// # Panics
    ///
    /// When the variable is no number.
    pub fn seeded() -> Self {
        let seed = std::env::var("AGENT_IAC_SEED").ok().map_or_else(
            || {
                let mut bytes = [0; 8];
                SystemEntropy.fill(&mut bytes);
                u64::from_be_bytes(bytes)
            },
            |text| text.parse().expect("AGENT_IAC_SEED is a number"),
        );
        println!("AGENT_IAC_SEED={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time below a limit.
    ///
    /// # Panics
    ///
    /// When the limit is more than half a million years.
    pub fn below(&mut self, limit: Duration) -> Duration {
        let limit = u64::try_from(limit.as_micros()).expect("a short time").max(1);
        Duration::from_micros(self.number() % limit)
    }
}

/// The process, and what it says.
#[derive(Debug)]
pub struct Applying {
    child: Child,
    said: mpsc::Receiver<String>,
    complaint: Option<thread::JoinHandle<String>>,
}

impl Applying {
    /// Starts a program that calls [`bring_about`].
    ///
    /// # Panics
    ///
    /// When there is no such program.
    pub fn start(mut program: Command) -> Self {
        program.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().expect("the program starts");
        let (tell, said) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        thread::spawn(move || {
            for line in out.lines().map_while(std::result::Result::ok) {
                // What is killed blindly is not listened to.
                let _: std::result::Result<(), mpsc::SendError<String>> = tell.send(line);
            }
        });
        // Nobody may have to wait for a reader before he can fail: a pipe holds
        // no more than 64 KiB.
        let mut error = child.stderr.take().expect("it is piped");
        let complaint = thread::spawn(move || {
            let mut text = Vec::new();
            // What could not be read is missing in the text.
            let _: std::io::Result<usize> = error.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, said, complaint: Some(complaint) }
    }

    /// Waits until the process is at a random moment of a run, or has ended,
    /// for which the window is closed a bit.
    ///
    /// # Panics
    ///
    /// When nothing happens in it.
    pub fn aim(&self, random: &mut Random, window: &mut Duration) {
        let mut patience = PATIENCE;
        loop {
            match self.said.recv_timeout(patience).as_deref() {
                Ok("begun") => patience = random.below(*window),
                // That run was shorter; there may be another one. A recovery
                // mostly is, and says nothing of how long the others are.
                Ok(_) => patience = PATIENCE,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    *window = window.mul_f64(0.6).max(Duration::from_millis(20));
                    return;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    assert!(patience < PATIENCE, "nothing happened for {PATIENCE:?}");
                    return;
                }
            }
        }
    }

    /// Waits until it has begun a run, for a moment longer, and kills it;
    /// whether it was in a run then, and what it complained of before.
    ///
    /// # Panics
    ///
    /// When it begins none, or has ended by itself.
    pub fn kill_in_a_run(mut self, random: &mut Random, window: Duration) -> (bool, String) {
        let mut patience = PATIENCE;
        loop {
            match self.said.recv_timeout(patience).as_deref() {
                Ok("begun") => patience = random.below(window),
                Ok(_) => patience = PATIENCE,
                Err(mpsc::RecvTimeoutError::Timeout) if patience < PATIENCE => break,
                Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => {
                    // Only then is everything said.
                    let _ended: std::io::Result<()> = self.child.kill();
                    panic!("it began no run within {PATIENCE:?}: {}", self.complaint());
                }
            }
        }
        self.child.kill().expect("it is this process's child");
        let status = self.child.wait().expect("it is this process's child");
        assert_eq!(status.signal(), Some(9), "it had ended: {}", self.complaint());
        // What it said between the aim and the kill.
        let last = self.said.iter().last();
        (last.is_none_or(|word| word == "begun"), self.complaint())
    }

    /// Whether it is still at work.
    ///
    /// # Panics
    ///
    /// When the system does not say.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("it is this process's child").is_none()
    }

    /// Kills it; `false` when it had ended by itself, which it may only do in
    /// success.
    ///
    /// # Panics
    ///
    /// When it had failed.
    pub fn kill(mut self) -> bool {
        self.child.kill().expect("it is this process's child");
        let status = self.child.wait().expect("it is this process's child");
        if status.signal() == Some(9) {
            return true;
        }
        assert!(status.success(), "{status}: {}", self.complaint());
        false
    }

    fn complaint(&mut self) -> String {
        let complaint = self.complaint.take().map(thread::JoinHandle::join);
        let text = complaint.and_then(std::result::Result::ok).unwrap_or_default();
        // The beginning says what it is; the same follows for each agent.
        text.chars().take(4_000).collect()
    }

    /// Checks that it has not ended.
    ///
    /// # Panics
    ///
    /// When it has.
    pub fn is_at_work(&mut self) {
        assert!(self.is_alive(), "it has ended: {}", self.complaint());
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it fails, or does not end.
    pub fn ends(mut self) {
        let begun = Instant::now();
        while self.is_alive() {
            assert!(begun.elapsed() < PATIENCE, "it did not end within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(!self.kill(), "it had ended");
    }
}

/// The ledger of a folder, as a dead process left it.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
    fleet: String,
}

/// What a dead process left in the ledger, read as an auditor would.
#[derive(Debug)]
pub struct Left {
    /// Everything.
    pub state: State,
    /// The last thing that was written.
    pub last: String,
}

impl Ledger {
    /// The ledger of a fleet in a folder, in the environment `test`.
    pub fn of(folder: &Path, fleet: &str) -> Self {
        Self { path: folder.join("ledger.db"), fleet: fleet.to_owned() }
    }

    fn options(&self) -> Options {
        Options::new(&self.fleet, "test")
    }

    /// How many steps on resources of a type were done, in all of its history.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    pub fn done(&self, resource_type: &str) -> usize {
        let ledger =
            SqliteLedger::open_read_only(&self.path, &self.options()).expect("the ledger is there");
        let all = block_on(ledger.batches(1, usize::MAX)).expect("the ledger is whole");
        let mut begun = BTreeSet::new();
        let mut done = 0;
        for entry in all.iter().flat_map(|batch| &batch.entries) {
            match &entry.event {
                Event::Step(StepEvent::Begun { claim, resource_type: of, .. })
                    if of == resource_type =>
                {
                    begun.insert(claim.to_string());
                }
                Event::Step(StepEvent::Done { claim, .. }) => {
                    done += usize::from(begun.contains(&claim.to_string()));
                }
                _ => {}
            }
        }
        done
    }

    /// What is in it, where there is one.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    pub fn left(&self) -> Option<Left> {
        if !self.path.exists() {
            return None;
        }
        let ledger = match SqliteLedger::open_read_only(&self.path, &self.options()) {
            Ok(ledger) => ledger,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => panic!("{error:?}"),
        };
        let state = block_on(ledger.state(&Query::Everything)).expect("the ledger is whole");
        let last = block_on(ledger.batches(state.head.sequence, 1)).expect("the ledger is whole");
        let entry = last.first().and_then(|batch| batch.entries.last());
        let last = entry.map_or_else(String::new, |entry| {
            let event = serde_json::to_value(&entry.event).expect("an event has a JSON form");
            let of = |address| format!(" of {address}");
            let about = entry.address.as_ref().map_or_else(String::new, of);
            let word = |name| event[name].as_str().unwrap_or_default();
            format!("{}/{}{about}", word("kind"), word("phase"))
        });
        Some(Left { state, last })
    }

    /// How many steps of it are in doubt.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    pub fn in_doubt(&self) -> usize {
        let records = self.left().map(|left| left.state.records).unwrap_or_default();
        records.values().filter(|record| record.open.is_some()).count()
    }

    /// What the last run is for that somebody began after a batch.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    pub fn last_run_of(&self, name: &str, batch: u64) -> Option<RunPurpose> {
        let ledger = SqliteLedger::open_read_only(&self.path, &self.options());
        let ledger = ledger.expect("there is a ledger");
        let batches = block_on(ledger.batches(batch + 1, usize::MAX)).expect("it is whole");
        let entries = batches.into_iter().flat_map(|batch| batch.entries);
        let begun = entries.filter_map(|entry| match entry.event {
            Event::Run(RunEvent::Begun { purpose, actor, .. }) => Some((actor, purpose)),
            _ => None,
        });
        begun.filter(|(actor, _)| actor.subject == name).last().map(|(_, purpose)| purpose)
    }

    /// The runs that were begun after a batch, with what each is for.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    pub fn begun_since(&self, batch: u64) -> BTreeMap<RunId, RunPurpose> {
        let ledger = SqliteLedger::open_read_only(&self.path, &self.options());
        let ledger = ledger.expect("there is a ledger");
        let batches = block_on(ledger.batches(batch + 1, usize::MAX)).expect("it is whole");
        let entries = batches.into_iter().flat_map(|batch| batch.entries);
        entries
            .filter_map(|entry| match entry.event {
                Event::Run(RunEvent::Begun { purpose, .. }) => Some((entry.run?, purpose)),
                _ => None,
            })
            .collect()
    }
}

/// What was hit.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many were killed.
    pub kills: usize,
    /// How many of them inside a run that they had begun.
    pub in_a_run: usize,
    /// How many of them with a step in doubt.
    pub in_doubt: usize,
    /// How many were too fast, and came to their end.
    pub completed: usize,
    purposes: BTreeMap<String, usize>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, in_a_run, in_doubt, completed, purposes } = self;
        write!(
            f,
            "{kills} kills: {in_a_run} in a run ({purposes:?}), {in_doubt} with a step in doubt; \
             {completed} runs to their end in between"
        )
    }
}

/// Starts a process again and again, for one version of the fleet after the
/// other, and kills each at a random moment; after each kill somebody may look
/// at what is left.
///
/// # Panics
///
/// When a process fails by itself.
pub fn kill_again_and_again(
    random: &mut Random,
    kills: usize,
    ledger: &Ledger,
    start: impl Fn(Version) -> Command,
    mut look: impl FnMut(usize),
) -> Tally {
    let whole = Instant::now();
    let mut versions = [Version::Full, Version::Half, Version::Changed].into_iter().cycle();
    let mut next = || versions.next().expect("a cycle has no end");
    let mut version = next();
    // The longest time after the begin of a run that is aimed at; it follows
    // how long the runs of this machine are.
    let mut window = Duration::from_millis(500);
    let mut tally = Tally::default();
    while tally.kills < kills {
        let head = ledger.left().map_or(0, |left| left.state.head.sequence);
        let process = Applying::start(start(version));
        // Some are killed blindly: while they start, plan or recover.
        if random.number().is_multiple_of(16) {
            thread::sleep(random.below(window + Duration::from_millis(250)));
        } else {
            process.aim(random, &mut window);
        }
        if !process.kill() {
            tally.completed += 1;
            version = next();
            continue;
        }
        window = window.mul_f64(1.1).min(PATIENCE / 2);
        tally.kills += 1;
        let kill = tally.kills;
        look(kill);
        let Some(Left { state, last }) = ledger.left() else {
            println!("kill {kill:2} ({version}): no ledger yet");
            continue;
        };
        // A run of an earlier process that is not settled yet does not count.
        let begun = ledger.begun_since(head);
        let running: Vec<_> =
            begun.iter().filter(|(run, _)| state.runs.contains_key(*run)).collect();
        let open = state.records.values().filter(|record| record.open.is_some()).count();
        tally.in_a_run += usize::from(!running.is_empty());
        tally.in_doubt += usize::from(open > 0);
        let purpose = running.first().map_or("no run".to_owned(), |(_, p)| format!("{p:?}"));
        println!("kill {kill:2} ({version}): after {last}; in {purpose}, {open} in doubt");
        *tally.purposes.entry(purpose).or_default() += 1;
    }
    println!("{tally}; {:?}", whole.elapsed());
    assert!(tally.in_a_run * 10 >= kills * 8, "only {} kills fell into a run", tally.in_a_run);
    tally
}
