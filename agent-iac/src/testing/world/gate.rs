//! The boundaries at which a world may crash or err.

use std::{
    fmt,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{SimClock, entropy::Random};
use crate::error::{Error, ErrorKind, Retry};

/// A way in which a call can fail.
///
/// At a boundary before the effect the call has none; at one after it, the
/// effect stands and its answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// Before: the system says that it failed. After: the caller is told that
    /// it cannot be told (P1, L3).
    Error,
    /// The time given is used up, with the work done (P1) or not (P2).
    Timeout,
    /// The time given is used up, and the work lands later, within what the
    /// system states (P3). Where nothing can land late, as [`Fault::Timeout`].
    Late,
    /// The system says that it was asked too often, and when to come again
    /// (P8).
    Throttled,
    /// Nothing answers at this address.
    Unreachable,
    /// The disk is full, and nothing was written (C4).
    Full,
    /// The writer dies in the middle: nothing is durable, and nobody can tell
    /// (C3).
    Torn,
    /// The first part of a batch is carried out, and the rest fails. A single
    /// write fails, as with [`Fault::Error`].
    Partial,
    /// The request arrives twice (P4).
    Twice,
}

/// The two sides of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::testing) enum Side {
    Before,
    After,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

impl Fault {
    /// The error that the caller sees; `kind` is that of a plain failure.
    pub(super) fn error(self, kind: ErrorKind, call: &str, side: Side) -> Error {
        match (self, side) {
            (Self::Throttled, _) => {
                Error::new(kind, format!("{call}: the simulated system is asked too often"))
                    .retry_as(Retry::After(Duration::from_secs(2)))
            }
            (Self::Unreachable, _) => {
                Error::new(kind, format!("{call}: nothing answers")).retry_as(Retry::Backoff)
            }
            (Self::Full, _) => {
                Error::new(kind, format!("{call}: no space is left on the simulated disk"))
            }
            (Self::Torn, _) => {
                Error::new(ErrorKind::InDoubt, format!("{call}: the simulated write was torn"))
            }
            (Self::Error | Self::Partial | Self::Twice, Side::Before) => {
                Error::new(kind, format!("{call}: the simulated call failed"))
                    .retry_as(Retry::Backoff)
            }
            (Self::Error | Self::Partial | Self::Twice, Side::After) => {
                Error::new(ErrorKind::InDoubt, format!("{call}: the simulated answer was lost"))
            }
            (Self::Timeout | Self::Late, _) => {
                Error::new(ErrorKind::Timeout, format!("{call}: the simulated call timed out"))
            }
        }
    }
}

enum At {
    Index(usize),
    /// A part of a boundary's name.
    Named(String),
}

struct Rule {
    at: At,
    fault: Fault,
    lasting: bool,
}

struct State {
    names: Vec<String>,
    /// Whether the names are not kept.
    forgets: bool,
    crash_at: Option<At>,
    crashed: bool,
    rules: Vec<Rule>,
    random: Random,
    /// The shortest and the longest way to or from a system, in microseconds.
    latency: (u64, u64),
}

type Watch = Arc<dyn Fn(&str) + Send + Sync>;

/// Decides what goes wrong, where no test says it beforehand.
pub(in crate::testing) trait Weather: Send + Sync {
    /// How long a call is held up before it arrives.
    fn delay(&self, call: &str) -> Duration;

    /// What goes wrong at one side of a call; without a side it has no effect.
    fn fault(&self, call: &str, side: Option<Side>) -> Option<Fault>;

    /// From how many changes ago an observer is answered, of so many that are
    /// young enough.
    fn stale(&self, call: &str, young: usize) -> usize;

    /// Something landed whose sender is gone.
    fn landed(&self, call: &str);
}

/// What every call of the world passes, before its effect and after it.
#[derive(Clone)]
pub(super) struct Gate {
    clock: SimClock,
    state: Arc<Mutex<State>>,
    watch: Arc<Mutex<Option<Watch>>>,
    weather: Arc<Mutex<Option<Arc<dyn Weather>>>>,
}

impl Gate {
    pub(super) fn new(seed: u64, clock: SimClock) -> Self {
        let state = State {
            names: Vec::new(),
            forgets: false,
            crash_at: None,
            crashed: false,
            rules: Vec::new(),
            random: Random::new(seed, "gate"),
            latency: (200, 20_000),
        };
        Self {
            clock,
            state: Arc::new(Mutex::new(state)),
            watch: Arc::default(),
            weather: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that has no effect: one boundary, since both sides of it are
    /// the same to whoever recovers.
    pub(super) async fn pass(&self, kind: ErrorKind, call: &str) -> Result<(), Error> {
        self.arrive(call).await;
        let side = Side::Before;
        self.boundary(call.to_owned()).await.map_err(|fault| fault.error(kind, call, side))?;
        if let Some(fault) = self.weather().and_then(|weather| weather.fault(call, None)) {
            return Err(fault.error(kind, call, side));
        }
        self.travel().await;
        Ok(())
    }

    pub(super) async fn before(&self, call: &str) -> Result<(), Fault> {
        self.arrive(call).await;
        self.boundary(format!("{call} {}", Side::Before)).await?;
        self.weathered(call, Side::Before)
    }

    pub(super) async fn after(&self, call: &str) -> Result<(), Fault> {
        let mut passed = self.boundary(format!("{call} {}", Side::After)).await;
        if passed.is_ok() {
            passed = self.weathered(call, Side::After);
        }
        self.travel().await;
        passed
    }

    fn weather(&self) -> Option<Arc<dyn Weather>> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn weathered(&self, call: &str, side: Side) -> Result<(), Fault> {
        let fault = self.weather().and_then(|weather| weather.fault(call, Some(side)));
        fault.map_or(Ok(()), Err)
    }

    /// From how many changes ago an observer is answered.
    pub(super) fn stale(&self, call: &str, young: usize) -> usize {
        if young == 0 {
            return 0;
        }
        self.weather().map_or(0, |weather| weather.stale(call, young).min(young))
    }

    /// Something landed whose sender is gone.
    pub(super) fn landed(&self, call: &str) {
        if let Some(weather) = self.weather() {
            weather.landed(call);
        }
    }

    async fn arrive(&self, call: &str) {
        let held_up = self.weather().map_or(Duration::ZERO, |weather| weather.delay(call));
        if !held_up.is_zero() {
            self.clock.wait(held_up).await;
        }
        self.travel().await;
    }

    async fn travel(&self) {
        let micros = {
            let mut state = self.state();
            let (low, high) = state.latency;
            if high == 0 { 0 } else { state.random.between(low, high) }
        };
        if micros > 0 {
            self.clock.wait(Duration::from_micros(micros)).await;
        }
    }

    async fn boundary(&self, name: String) -> Result<(), Fault> {
        let (crashed, fault) = self.state().reach(&name);
        if crashed {
            // The process is gone: its executor drops whatever waits here.
            return pending().await;
        }
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(watch) = watch {
            watch(&name);
        }
        fault.map_or(Ok(()), Err)
    }

    /// Keeps no names from now on.
    pub(super) fn forget(&self) {
        self.state().forgets = true;
    }

    pub(super) fn forgets(&self) -> bool {
        self.state().forgets
    }

    pub(super) fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Begins a run: boundaries count from 0 again.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.names.clear();
        state.crashed = false;
    }

    /// Ends a run: a crash that was not reached does not hit the next one.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.crash_at = None;
        state.crashed = false;
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.state().names.clone()
    }

    pub(super) fn crash_at(&self, index: usize) {
        self.state().crash_at = Some(At::Index(index));
    }

    pub(super) fn crash_on(&self, name: &str) {
        self.state().crash_at = Some(At::Named(name.to_owned()));
    }

    pub(super) fn fault_at(&self, index: usize, fault: Fault, lasting: bool) {
        self.state().rules.push(Rule { at: At::Index(index), fault, lasting });
    }

    pub(super) fn fault_on(&self, name: &str, fault: Fault, lasting: bool) {
        self.state().rules.push(Rule { at: At::Named(name.to_owned()), fault, lasting });
    }

    pub(super) fn heal(&self) {
        self.state().rules.clear();
    }

    pub(super) fn set_latency(&self, shortest: Duration, longest: Duration) {
        let micros = |length: Duration| u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let (low, high) = (micros(shortest), micros(longest));
        self.state().latency = (low.min(high), high);
    }

    pub(super) fn set_weather(&self, weather: Option<Arc<dyn Weather>>) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// The boundary that was reached last.
    pub(super) fn last(&self) -> String {
        self.state().names.last().cloned().unwrap_or_default()
    }

    pub(super) fn set_watch(&self, watch: Watch) {
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
    }
}

impl State {
    /// Counts a boundary: whether the world is crashed now, and the fault.
    fn reach(&mut self, name: &str) -> (bool, Option<Fault>) {
        if self.crashed {
            return (true, None);
        }
        let index = self.names.len();
        if !self.forgets {
            self.names.push(name.to_owned());
        }
        let here = match &self.crash_at {
            None => false,
            Some(At::Index(at)) => *at == index,
            Some(At::Named(part)) => name.contains(part.as_str()),
        };
        if here {
            self.crashed = true;
            return (true, None);
        }
        let hit = self.rules.iter().position(|rule| match (&rule.at, rule.lasting) {
            (At::Index(at), false) => *at == index,
            (At::Index(at), true) => *at <= index,
            (At::Named(part), _) => name.contains(part.as_str()),
        });
        let fault = hit.map(|hit| {
            let fault = self.rules[hit].fault;
            if !self.rules[hit].lasting {
                self.rules.remove(hit);
            }
            fault
        });
        (false, fault)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("boundaries", &self.state().names.len())
            .finish_non_exhaustive()
    }
}
