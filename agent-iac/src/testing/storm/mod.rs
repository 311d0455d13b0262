//! Storms: whole histories of a fleet, drawn from one seed.
//!
//! A seed decides a small fleet, a system with habits of its own, up to three
//! operators, what each of them does and when, and the weather: every fault at
//! every boundary, every answer from the past, and the await point at which a
//! process dies. The real engine runs through all of it on one thread, in
//! virtual time. Observers watch every append, request and effect; the whole
//! world is looked at after each crash and at each end of a process. Then the
//! weather is calm (liveness): a bounded number of runs must reach the empty
//! plan, and the world must be as if nothing had ever gone wrong.
//!
//! ```
//! use agent_iac::testing::storm::Storm;
//!
//! let report = Storm::of(7).play();
//! assert!(report.violations.is_empty(), "{report}");
//! // The same seed, and the same history to the last line.
//! assert_eq!(Storm::of(7).play().trace.mark(), report.trace.mark());
//! ```
//!
//! A storm that fails prints itself, and [`Storm::shrink`] finds the smallest
//! part of it that still does. Its text plays it again:
//!
//! ```
//! use agent_iac::testing::storm::Storm;
//!
//! let smaller: Storm = "7/events=0,3/faults=1".parse()?;
//! assert_eq!(smaller.to_string(), "7/events=0,3/faults=1");
//! # Ok::<(), agent_iac::Error>(())
//! ```
//!
//! It owns scripts, weather, operators and observers; the world, its systems
//! and its clock are those of [`world`](super::world). It knows nothing of how
//! the engine does anything.

mod code;
mod crew;
mod events;
mod observer;
mod operators;
mod shrink;
mod trace;
mod weather;

pub use trace::Trace;
pub use weather::{Kind, Tally};

use std::{
    collections::BTreeSet,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;

use self::{
    code::Code,
    crew::Crew,
    events::{Event, Script},
    observer::Book,
    operators::{Process, Scene},
    weather::Storms,
};
use super::world::{self as sim, Random, SimOptions, Violation, World};
use crate::{
    error::{Error, ErrorKind, Result},
    ledger::MemoryLedger,
    provider::{Limits, Recovery},
    vault::MemoryVault,
};

/// How many rounds the calm may take until nothing is left to do: what leaves
/// is suspended, then removed after its grace, and each doubt of a process
/// that died may cost one more.
const ROUNDS: usize = 8;

/// For how many hours a runner works once the storm is over: what it finds and
/// what it makes itself there have time to end.
const HOURS: u32 = 6;

/// A storm: a seed, without some of its events and with some of its faults
/// spared.
///
/// Its text is the seed, or as `7/events=0,3/faults=1` what is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    seed: u64,
    without: BTreeSet<usize>,
    spared: BTreeSet<usize>,
    lines: usize,
}

/// What came of a storm.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The storm.
    pub storm: Storm,
    /// Its events, with those that were left out.
    pub events: Vec<String>,
    /// How many faults were due, with those that were spared.
    pub faults: usize,
    /// The faults that hit, by kind and by what they hit.
    pub tally: Tally,
    /// What happened.
    pub trace: Trace,
    /// What must not be.
    pub violations: Vec<Violation>,
}

impl Storm {
    /// The whole storm of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed, without: BTreeSet::new(), spared: BTreeSet::new(), lines: 0 }
    }

    /// The same, whose trace keeps so many of the last lines.
    #[must_use]
    pub fn keeping(mut self, lines: usize) -> Self {
        self.lines = lines;
        self
    }

    /// Plays it.
    ///
    /// # Panics
    ///
    /// When the machinery itself is broken: a script that is not a fleet, a
    /// ledger in memory that cannot be opened.
    pub fn play(&self) -> Report {
        play(self)
    }

    /// Plays it, and smaller ones for as long as they violate the same
    /// invariant; gives the smallest.
    pub fn shrink(&self) -> Report {
        shrink::shrink(self)
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seed)?;
        for (name, left_out) in [("events", &self.without), ("faults", &self.spared)] {
            if !left_out.is_empty() {
                let numbers: Vec<String> = left_out.iter().map(ToString::to_string).collect();
                write!(f, "/{name}={}", numbers.join(","))?;
            }
        }
        Ok(())
    }
}

impl FromStr for Storm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(ErrorKind::InvalidInput, format!("`{text}` is no storm"))
                .help("give a seed, as 7, or what a failure printed, as 7/events=0,3/faults=1")
        };
        let mut parts = text.trim().split('/');
        let seed = parts.next().and_then(|seed| seed.parse().ok()).ok_or_else(wrong)?;
        let mut storm = Self::of(seed);
        for part in parts {
            let (name, numbers) = part.split_once('=').ok_or_else(wrong)?;
            let numbers: BTreeSet<usize> = numbers
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|_| wrong())?;
            match name {
                "events" => storm.without = numbers,
                "faults" => storm.spared = numbers,
                _ => return Err(wrong()),
            }
        }
        Ok(storm)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { storm, events, faults, violations, trace, .. } = self;
        writeln!(f, "storm {storm}: {} events, {faults} faults", events.len())?;
        for violation in violations {
            writeln!(f, "  {violation}")?;
        }
        for (number, event) in events.iter().enumerate() {
            let left_out = if storm.without.contains(&number) { " (left out)" } else { "" };
            writeln!(f, "  {number}: {event}{left_out}")?;
        }
        for line in trace.lines() {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

/// The habits of a storm's system.
struct Habits {
    options: SimOptions,
    checks_seen: bool,
    /// Whether a request may be under way for long.
    patient: bool,
    late: bool,
}

fn habits(random: &mut Random) -> Habits {
    let recovery = *random.pick(&[
        Recovery::Registry,
        Recovery::Registry,
        Recovery::Tagged,
        Recovery::NaturalKey,
    ]);
    let registry = recovery == Recovery::Registry;
    let checks_seen = registry || random.one_of(3_000);
    // Without a registry a system has to say how late a write may land.
    let late = !registry || random.one_of(5_000);
    let mut options = SimOptions::default()
        .checks_seen(checks_seen)
        .settles_within(if late { Duration::from_secs(5) } else { Duration::ZERO })
        .batch(*random.pick(&[1, 2, 3, 100]))
        .redacts(random.one_of(3_000))
        .cascades(random.one_of(2_000))
        .propagation(*random.pick(&[Duration::ZERO, Duration::ZERO, Duration::from_mins(2)]))
        .stale_for(*random.pick(&[Duration::from_secs(2), Duration::from_mins(1)]));
    if random.one_of(2_000) {
        options = options.limits(Limits { writes_per_second: Some(2), ..Limits::default() });
    }
    for name in ["sim.account", "sim.grant", "sim.job"] {
        options = options.recovery(name, recovery);
    }
    // A credential has no natural key by which it could be found again.
    for name in ["sim.key", "sim.token", "sim.lone_key"] {
        let recovery = if recovery == Recovery::NaturalKey { Recovery::Tagged } else { recovery };
        options = options.recovery(name, recovery);
    }
    Habits { options, checks_seen, patient: registry, late }
}

fn play(storm: &Storm) -> Report {
    let seed = storm.seed;
    let script = Script::drawn(seed);
    let mut random = Random::new(seed, "habits");
    let habits = habits(&mut random);
    let world = World::new(seed);
    let provider = world.provider_with("sim", habits.options.clone());
    let by_hand = provider.hand().account("old-hand", None).expect("the name is free");

    let opened = MemoryLedger::opened(world.clock(), "storm", "test");
    let ledger = Arc::new(opened.expect("the world's time has a JSON form"));
    let vault = Arc::new(MemoryVault::new());
    let clock = sim::SimClock::clone(&world.clock());
    let weather = Arc::new(Storms::new(
        seed,
        (habits.patient, habits.late),
        clock.clone(),
        storm.spared.clone(),
        Trace::keeping(storm.lines),
    ));
    let both = (Arc::clone(&ledger), Arc::clone(&vault));
    let book = Arc::new(Book::new(clock, both, provider, habits.checks_seen));
    let skew =
        |_| SignedDuration::from_secs(i64::try_from(random.between(0, 600)).unwrap_or(0) - 300);
    let scene = Arc::new(Scene {
        ledger: world.ledger_over(Arc::clone(&ledger) as _),
        store: world.store_over("vault", Arc::clone(&vault) as _),
        book: Arc::clone(&book),
        weather: Arc::clone(&weather),
        code: Mutex::new(script.start.clone()),
        by_hand,
        squatters: Mutex::default(),
        skews: (0..script.operators).map(skew).collect(),
        world,
    });
    scene.world.set_observer(Some(book));

    // What stands before the storm was made in good weather.
    calm(&scene, &scene.code(), "before the storm");

    scene.world.set_weather(Some(Arc::clone(&weather) as _));
    let left = script.events.iter().enumerate();
    let left = left.filter(|(at, _)| !storm.without.contains(at)).map(|(_, event)| event.clone());
    Crew::new(&scene, &ledger, script.operators, left).run();
    scene.world.set_weather(None);

    after(&scene, &ledger, &habits);
    let (tally, mut trace, faults) = weather.ended();
    trace.note(|| format!("the ledger ends with {}", scene.world.state().head.hash));
    scene.world.set_observer(None);
    Report {
        storm: storm.clone(),
        events: script.events.iter().map(Event::to_string).collect(),
        faults,
        tally,
        trace,
        violations: scene.world.violations(),
    }
}

/// Liveness: the calm after the storm, and what must be true then.
fn after(scene: &Arc<Scene>, ledger: &MemoryLedger, habits: &Habits) {
    let world = &scene.world;
    // Every process has ended; what one that died held, nobody holds now.
    world.advance(Duration::from_hours(3));
    ledger.crash();
    let hand = world.provider("sim").hand();
    for squatter in scene.squatters.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        hand.delete::<sim::Account>(&squatter).expect("what is gone is deleted");
    }
    let mut code = scene.code();
    let stands = |world: &World| {
        world.provider("sim").objects("sim.account").iter().any(|o| o.id == scene.by_hand)
    };
    // An operator whose code leaves it out lets the adopted account go. Whoever
    // declares it then no longer asks for one that is gone.
    if !stands(world) && code.adopts.is_some() {
        code.adopts = Some(String::new());
    }
    let there = stands(world);
    // Half of them are found by a runner first, and the rest by plans alone.
    if Random::new(world.seed(), "calm").one_of(5_000) {
        keep_time(scene, &code);
    }
    calm(scene, &code, "after the storm");
    world.look_around("the end");
    let mut found = scene.book.whole();
    let state = world.state();
    for (address, record) in &state.records {
        if record.open.is_some() {
            found.push(Violation::new("I12", format!("{address} is still in doubt")));
        }
    }
    for run in state.runs.keys() {
        found.push(Violation::new("I12", format!("run {run} is still open")));
    }
    world.accuse(found, "the end");
    if world.violations().is_empty() {
        let calm = in_calm(scene, &code, there, habits);
        let differs = sim::difference(&world.shape(), &calm);
        let differs = differs.into_iter().map(|what| Violation::new("I13", what)).collect();
        world.accuse(differs, "the end");
    }
}

/// Lets a runner work in the calm, which must end every older generation that
/// has had its time.
fn keep_time(scene: &Arc<Scene>, code: &Code) {
    let (world, when) = (&scene.world, "with a runner after the storm");
    let process = Process::start(scene, usize::MAX, when.to_owned(), code.clone());
    match world.run(process.keep_time(HOURS)) {
        sim::Outcome::Finished(Ok(())) => {}
        other => world.accuse(vec![Violation::new("I12", format!("{other:?}"))], when),
    }
    world.exit();
    world.accuse(scene.book.outlived(&code.agents()), when);
}

/// How the world would be if it had always been calm (I13).
fn in_calm(scene: &Scene, code: &Code, by_hand: bool, habits: &Habits) -> Vec<String> {
    let world = World::new(scene.world.seed());
    let provider = world.provider_with("sim", habits.options.clone());
    let made = by_hand.then(|| provider.hand().account("old-hand", None));
    let by_hand = made.map(|id| id.expect("the name is free")).unwrap_or_default();
    let opened = MemoryLedger::opened(world.clock(), "storm", "test");
    let ledger = Arc::new(opened.expect("the world's time has a JSON form"));
    let vault = Arc::new(MemoryVault::new());
    let clock = sim::SimClock::clone(&world.clock());
    let weather = (false, false);
    let weather = Storms::new(0, weather, clock.clone(), BTreeSet::new(), Trace::default());
    let both = (Arc::clone(&ledger), Arc::clone(&vault));
    let calm_scene = Arc::new(Scene {
        ledger: world.ledger_over(ledger),
        store: world.store_over("vault", vault),
        book: Arc::new(Book::new(clock, both, provider, habits.checks_seen)),
        weather: Arc::new(weather),
        code: Mutex::new(code.clone()),
        by_hand,
        squatters: Mutex::default(),
        skews: Vec::new(),
        world,
    });
    calm(&calm_scene, code, "in calm");
    calm_scene.world.shape()
}

/// Runs rounds until nothing is left to do.
fn calm(scene: &Arc<Scene>, code: &Code, when: &str) {
    let world = &scene.world;
    let process = || Process::start(scene, usize::MAX, when.to_owned(), code.clone());
    match world.run(process().free_all()) {
        sim::Outcome::Finished(Ok(())) => {}
        other => world.accuse(vec![Violation::new("I12", format!("{other:?}"))], when),
    }
    let mut last = String::from("there is still something to do");
    for _ in 0..ROUNDS {
        match world.run(process().settle()) {
            sim::Outcome::Finished(Ok(true)) => return,
            sim::Outcome::Finished(Ok(false)) => {}
            sim::Outcome::Finished(Err(error)) => last = error.chain(),
            other => last = format!("{other:?}"),
        }
        world.exit();
        world.advance(Duration::from_hours(25));
    }
    let what = format!("after {ROUNDS} rounds: {last}");
    world.accuse(vec![Violation::new("I12", what)], when);
}

#[cfg(test)]
mod tests;
