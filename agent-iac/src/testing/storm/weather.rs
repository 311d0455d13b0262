//! What goes wrong in a storm, and how often it did: faults, drawn boundary by
//! boundary from the seed, each of which can be spared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    super::world::{Fault, Random, Side, SimClock, Weather},
    trace::Trace,
};

/// A kind of fault. Each carries the identifiers of the threats that it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// The call failed and did nothing.
    ErrorBefore,
    /// The work is done and its answer lost (P1, L3).
    ErrorAfter,
    /// No answer in time, nothing done (P2).
    TimeoutBefore,
    /// No answer in time, and the work done (P1).
    TimeoutAfter,
    /// No answer in time, and the work lands later (P3).
    Late,
    /// Work that lands after its sender is gone.
    Landed,
    /// The request arrives twice (P4).
    Twice,
    /// Too many calls (P8).
    Throttled,
    /// An answer from before a change (P5, P6).
    Stale,
    /// The second half of a batch is not done.
    Partial,
    /// A part of the world does not answer for a while (L5).
    Unreachable,
    /// The ledger's disk is full for a while (C4).
    Full,
    /// The secret store's write is torn (C3).
    Torn,
    /// A call takes very long.
    Slow,
    /// The process stands still for longer than its leases last (L1).
    Pause,
    /// The process dies (C1, C2, C8).
    Crash,
    /// The process dies, and its leases are only seen to run out.
    SilentCrash,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::ErrorBefore,
        Self::ErrorAfter,
        Self::TimeoutBefore,
        Self::TimeoutAfter,
        Self::Late,
        Self::Landed,
        Self::Twice,
        Self::Throttled,
        Self::Stale,
        Self::Partial,
        Self::Unreachable,
        Self::Full,
        Self::Torn,
        Self::Slow,
        Self::Pause,
        Self::Crash,
        Self::SilentCrash,
    ];
}

/// How many faults of each kind hit which kind of step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<(String, Kind), u64>);

impl Tally {
    fn count(&mut self, call: &str, kind: Kind) {
        *self.0.entry((step_of(call), kind)).or_default() += 1;
    }

    /// Adds another one's counts.
    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.0 {
            *self.0.entry(key.clone()).or_default() += count;
        }
    }

    /// How many faults there were of a kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.iter().filter(|((_, of), _)| *of == kind).map(|(_, count)| count).sum()
    }

    /// How many pairs of a step and a fault there were.
    pub fn pairs(&self) -> usize {
        self.0.len()
    }

    /// How many faults there were.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: BTreeSet<&str> = self.0.keys().map(|(step, _)| step.as_str()).collect();
        let width = steps.iter().map(|step| step.len()).max().unwrap_or(0).max(4);
        write!(f, "{:width$}", "")?;
        for kind in Kind::ALL {
            write!(f, " {:>6}", short(kind))?;
        }
        writeln!(f)?;
        for step in steps {
            write!(f, "{step:width$}")?;
            for kind in Kind::ALL {
                match self.0.get(&(step.to_owned(), kind)) {
                    Some(count) => write!(f, " {count:>6}")?,
                    None => write!(f, " {:>6}", "·")?,
                }
            }
            writeln!(f)?;
        }
        write!(f, "{:width$}", "all")?;
        for kind in Kind::ALL {
            write!(f, " {:>6}", self.of(kind))?;
        }
        writeln!(f)
    }
}

fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::ErrorBefore => "error",
        Kind::ErrorAfter => "lost",
        Kind::TimeoutBefore => "time",
        Kind::TimeoutAfter => "time+",
        Kind::Late => "late",
        Kind::Landed => "landed",
        Kind::Twice => "twice",
        Kind::Throttled => "thrott",
        Kind::Stale => "stale",
        Kind::Partial => "part",
        Kind::Unreachable => "away",
        Kind::Full => "full",
        Kind::Torn => "torn",
        Kind::Slow => "slow",
        Kind::Pause => "pause",
        Kind::Crash => "crash",
        Kind::SilentCrash => "silent",
    }
}

/// `account create` of `sim/account create reader["a"].account + …`.
fn step_of(call: &str) -> String {
    let mut words = call.split(' ');
    let first = words.next().unwrap_or_default();
    let second = words.next().unwrap_or_default();
    let takes_second = first == "ledger/append" || first.starts_with("sim/");
    match (first, takes_second && !second.is_empty()) {
        ("", _) => "nothing yet".into(),
        (first, true) => format!("{first} {second}"),
        (first, false) => first.into(),
    }
}

/// How rough the weather of a storm is: how often in ten thousand times.
#[derive(Clone, Copy, Debug)]
struct Climate {
    fault: u64,
    stale: u64,
    crash: u64,
    pause: u64,
    slow: u64,
    outage: u64,
    /// Whether nothing forbids that a request is under way for long.
    patient: bool,
    /// Whether what was sent may land late.
    late: bool,
    /// Whether much of it comes at the worst moment.
    worst: bool,
}

/// Whether much of a storm comes at the worst moment.
pub(super) fn worst(seed: u64) -> bool {
    Random::new(seed, "moments").one_of(5_000)
}

/// The weather of one storm.
pub(super) struct Storms {
    clock: SimClock,
    state: Mutex<State>,
}

struct State {
    random: Random,
    climate: Climate,
    /// The number of the next fault.
    next: usize,
    spared: BTreeSet<usize>,
    outages: Vec<(&'static str, Kind, Duration)>,
    tally: Tally,
    trace: Trace,
}

/// The parts of a world that can be away.
const PARTS: [(&str, Kind); 5] = [
    ("sim/", Kind::Unreachable),
    ("ledger/", Kind::Unreachable),
    ("vault/", Kind::Unreachable),
    ("ledger/append", Kind::Full),
    ("sim/key", Kind::Unreachable),
];

impl Storms {
    pub(super) fn new(
        seed: u64,
        (patient, late): (bool, bool),
        clock: SimClock,
        spared: BTreeSet<usize>,
        trace: Trace,
    ) -> Self {
        let mut random = Random::new(seed, "climate");
        let climate = Climate {
            fault: *random.pick(&[0, 30, 80, 200, 500]),
            stale: *random.pick(&[0, 3_000, 6_000, 6_000]),
            crash: *random.pick(&[0, 10, 30, 80]),
            pause: if patient { *random.pick(&[0, 20, 60]) } else { 0 },
            slow: *random.pick(&[0, 20, 100]),
            outage: *random.pick(&[0, 5, 20]),
            patient,
            late,
            // Of a stream of its own, so that the others stay as they are.
            worst: worst(seed),
        };
        let state = State {
            random: Random::new(seed, "weather"),
            climate,
            next: 0,
            spared,
            outages: Vec::new(),
            tally: Tally::default(),
            trace,
        };
        Self { clock, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a process dies where it stands, and whether that is seen.
    pub(super) fn crash(&self, at: &str) -> Option<Kind> {
        let mut state = self.state();
        // The worst moment for it is while something begun is on its way.
        let sent = at.starts_with("ledger/append step.begun") && at.ends_with("after");
        let often = if state.climate.worst && sent { 20 } else { 1 };
        let rate = (state.climate.crash * often).min(2_500);
        if !state.random.one_of(rate) {
            return None;
        }
        let kind = if state.random.one_of(7_000) { Kind::Crash } else { Kind::SilentCrash };
        state.strikes(kind, at).then_some(kind)
    }

    /// How long a process stands still where it is.
    pub(super) fn pause(&self, at: &str) -> Option<Duration> {
        let mut state = self.state();
        // The worst moment for it is just after a lease was renewed.
        let often = if at.starts_with("ledger/renew") { 40 } else { 1 };
        let rate = state.climate.pause * often;
        if !state.random.one_of(rate) {
            return None;
        }
        let length = Duration::from_secs(state.random.between(10, 300));
        state.strikes(Kind::Pause, at).then_some(length)
    }

    /// Writes a line into the trace.
    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        let elapsed = self.clock.elapsed();
        self.state().trace.push(elapsed, line);
    }

    /// The next number below this, for what happens beside the weather.
    pub(super) fn below(&self, bound: usize) -> usize {
        let drawn = self.state().random.between(0, bound as u64 - 1);
        usize::try_from(drawn).unwrap_or(0)
    }

    /// What was counted, and what was traced; and how many faults there were.
    pub(super) fn ended(&self) -> (Tally, Trace, usize) {
        let mut state = self.state();
        (state.tally.clone(), std::mem::take(&mut state.trace), state.next)
    }
}

impl State {
    /// Counts a fault that is due, unless this one is spared.
    fn strikes(&mut self, kind: Kind, call: &str) -> bool {
        let number = self.next;
        self.next += 1;
        if self.spared.contains(&number) {
            return false;
        }
        self.tally.count(call, kind);
        self.trace.note(|| format!("fault {number}: {kind:?} at {call}"));
        true
    }

    fn outage(&mut self, call: &str, now: Duration) -> Option<Kind> {
        self.outages.retain(|(.., until)| *until > now);
        if let Some((_, kind, _)) = self.outages.iter().find(|(part, ..)| call.starts_with(part)) {
            let kind = *kind;
            self.tally.count(call, kind);
            return Some(kind);
        }
        let rate = self.climate.outage;
        if !self.random.one_of(rate) {
            return None;
        }
        let (part, kind) = *self.random.pick(&PARTS);
        let until = now + Duration::from_secs(self.random.between(1, 90));
        if self.strikes(kind, call) {
            self.outages.push((part, kind, until));
            return call.starts_with(part).then_some(kind);
        }
        None
    }

    fn drawn(&mut self, call: &str, side: Option<Side>) -> Option<(Kind, Fault)> {
        let write = call.starts_with("sim/");
        let choices: &[(Kind, Fault)] = match side {
            None => &[
                (Kind::ErrorBefore, Fault::Error),
                (Kind::TimeoutBefore, Fault::Timeout),
                (Kind::Throttled, Fault::Throttled),
            ],
            Some(Side::After) => {
                &[(Kind::ErrorAfter, Fault::Error), (Kind::TimeoutAfter, Fault::Timeout)]
            }
            Some(Side::Before) if write && call.contains(" + ") => &[
                (Kind::Partial, Fault::Partial),
                (Kind::Twice, Fault::Twice),
                (Kind::ErrorBefore, Fault::Error),
                (Kind::Late, Fault::Late),
            ],
            Some(Side::Before) if write => &[
                (Kind::ErrorBefore, Fault::Error),
                (Kind::TimeoutBefore, Fault::Timeout),
                (Kind::Late, Fault::Late),
                (Kind::Late, Fault::Late),
                (Kind::Late, Fault::Late),
                (Kind::Throttled, Fault::Throttled),
                (Kind::Twice, Fault::Twice),
            ],
            Some(Side::Before) if call.starts_with("vault/") => {
                &[(Kind::ErrorBefore, Fault::Error), (Kind::Torn, Fault::Torn)]
            }
            Some(Side::Before) => {
                &[(Kind::ErrorBefore, Fault::Error), (Kind::TimeoutBefore, Fault::Timeout)]
            }
        };
        let (kind, fault) = *self.random.pick(choices);
        let fits = kind != Kind::Late || self.climate.late;
        (fits && self.strikes(kind, call)).then_some((kind, fault))
    }
}

impl Weather for Storms {
    fn delay(&self, call: &str) -> Duration {
        let mut state = self.state();
        // The worst moments are between what a plan saw of the ledger and of a
        // system, and between the plan and its run.
        let rate = match state.climate.slow {
            _ if state.climate.worst && call.starts_with("ledger/append run.begun") => 1_500,
            _ if state.climate.worst && call.ends_with(" list") => 1_500,
            slow => slow,
        };
        if !state.random.one_of(rate) {
            return Duration::ZERO;
        }
        // What is on its way for longer than its system states breaks a
        // promise on which recovery rests.
        let longest =
            if state.climate.patient || !call.starts_with("sim/") { 60_000 } else { 1_500 };
        let length = Duration::from_millis(state.random.between(300, longest));
        if state.strikes(Kind::Slow, call) { length } else { Duration::ZERO }
    }

    fn fault(&self, call: &str, side: Option<Side>) -> Option<Fault> {
        let now = self.clock.elapsed();
        let mut state = self.state();
        state.trace.push(now, || match side {
            Some(side) => format!("{call} {side}"),
            None => call.to_owned(),
        });
        if side != Some(Side::After) {
            match state.outage(call, now) {
                Some(Kind::Full) => return Some(Fault::Full),
                Some(_) => return Some(Fault::Unreachable),
                None => {}
            }
        }
        // Reads are many and effects few, and it is effects that matter.
        let often = match side {
            Some(Side::Before) if call.contains(" + ") => 12,
            Some(_) if call.starts_with("sim/") => 8,
            Some(_) => 4,
            None => 1,
        };
        let rate = (state.climate.fault * often).min(2_500);
        if !state.random.one_of(rate) {
            return None;
        }
        state.drawn(call, side).map(|(_, fault)| fault)
    }

    fn stale(&self, call: &str, young: usize) -> usize {
        let mut state = self.state();
        let rate = state.climate.stale;
        if !state.random.one_of(rate) {
            return 0;
        }
        let back = state.random.between(1, young as u64);
        if state.strikes(Kind::Stale, call) { usize::try_from(back).unwrap_or(0) } else { 0 }
    }

    fn landed(&self, call: &str) {
        self.state().tally.count(call, Kind::Landed);
    }
}

impl fmt::Debug for Storms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storms").field("climate", &self.state().climate).finish_non_exhaustive()
    }
}
