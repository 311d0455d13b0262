//! A year in a test: a fleet of one's own, played through a year in seconds.
//!
//! [`Year`] takes a fleet as it is declared, puts simulated systems behind the
//! names of its providers and stores, and lets runners, drift checks,
//! pipelines, consumers and mishaps go on in virtual time. What must hold are
//! [`Promise`]s, which are watched at every entry of the ledger and at every
//! effect of a system, and asked for in the end. The same seed gives the same
//! year, to the last line of its trace.
//!
//! ```
//! use agent_iac::{
//!     fleet::Fleet,
//!     prelude::*,
//!     provider::Reach,
//!     testing::{
//!         world as sim,
//!         year::{Promise, Year, day, hours},
//!     },
//! };
//!
//! /// Files invoices.
//! #[derive(Agent, Debug)]
//! #[agent(owner = "team:billing", expires = "2099-12-31", grace = "0d", name = "filer")]
//! struct Filer {
//!     #[identity(name = "filer")]
//!     account: sim::Account,
//!
//!     #[credential(of = account, deliver = "vault:filer/key", rotate = "30d", overlap = "2h")]
//!     key: sim::Key,
//! }
//!
//! let mut fleet = Fleet::new("billing");
//! fleet.provider("sim", Reach::Exclusive).store("vault");
//! fleet.add(FilerInputs {});
//!
//! let year = Year::of(fleet).seed(7).outage("sim", day(40), hours(6)).runner_dies(day(90), hours(1));
//! let played = year.clone().play()?;
//! played
//!     .assert(Promise::OneAlwaysWorks)?
//!     .assert(Promise::NoOldOneOutlivesItsDeadline)?
//!     .assert(Promise::NobodyIsCutOff)?;
//! assert!(played.counts().rotations >= 12, "{played}");
//!
//! // Somebody reads the key each morning and keeps it for the day, of whom the
//! // fleet knows nothing: two hours are less than they need.
//! let keeps = year.keeps("nightly", "filer.key", hours(24)).play()?;
//! assert!(keeps.assert(Promise::NobodyIsCutOff).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Types of other providers are served by their description alone: who makes a
//! credential's secret and how many are valid at once is said with
//! [`Year::shape`].
//!
//! It owns what happens in a year and what is promised; the world is that of
//! [`world`](super::world), and the engine is the real one.

mod crew;
mod diary;
mod people;
mod play;
mod promise;
mod sky;
mod watch;

pub use play::{Counts, Played};
pub use promise::{Broken, Promise};

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use jiff::SignedDuration;

use super::world::{SimOptions, SimProvider};
use crate::{
    error::Result,
    fleet::Fleet,
    provider::{AtOnce, Origin},
};

/// So many days into the year.
pub fn day(number: u64) -> Duration {
    hours(24 * number)
}

/// So many hours.
pub fn hours(number: u64) -> Duration {
    Duration::from_hours(number)
}

type Act = Arc<dyn Fn(&SimProvider) + Send + Sync>;

/// A year of a fleet, as it is to be played.
#[derive(Clone)]
#[must_use = "a year is played with `play`"]
pub struct Year {
    fleet: Fleet,
    environment: String,
    seed: u64,
    length: Duration,
    runners: u64,
    /// How often a runner looks, at most.
    look: Duration,
    drift: Duration,
    applies: Duration,
    faults: u64,
    margin: Duration,
    outages: Vec<Outage>,
    deaths: Vec<(Duration, Duration)>,
    stalls: Vec<(Duration, Duration)>,
    turns: Vec<(Duration, SignedDuration)>,
    hands: Vec<(Duration, String, Act)>,
    habits: BTreeMap<String, Option<Duration>>,
    keepers: Vec<Keeper>,
    shapes: BTreeMap<String, (Origin, AtOnce)>,
    systems: BTreeMap<String, SimOptions>,
}

/// A part of the world that does not answer for a while.
#[derive(Clone, Debug)]
struct Outage {
    part: String,
    from: Duration,
    until: Duration,
}

/// Somebody whom the fleet does not know, and who reads a credential's place
/// now and then.
#[derive(Clone, Debug)]
struct Keeper {
    name: String,
    credential: String,
    every: Duration,
}

impl Year {
    /// A calm year of a fleet, with one runner, drift checked each day, and
    /// what a plan says applied each week.
    pub fn of(fleet: Fleet) -> Self {
        Self {
            fleet,
            environment: "year".into(),
            seed: 0,
            length: day(365),
            runners: 1,
            look: hours(1),
            drift: day(1),
            applies: day(7),
            faults: 0,
            margin: hours(12),
            outages: Vec::new(),
            deaths: Vec::new(),
            stalls: Vec::new(),
            turns: Vec::new(),
            hands: Vec::new(),
            habits: BTreeMap::new(),
            keepers: Vec::new(),
            shapes: BTreeMap::new(),
            systems: BTreeMap::new(),
        }
    }

    /// What decides everything that chance decides.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Another length than 365 days.
    pub fn lasting(mut self, length: Duration) -> Self {
        self.length = length;
        self
    }

    /// The environment that the fleet is deployed to; `year` unless said.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.environment = name.into();
        self
    }

    /// How many runners share the work, and how long each waits between two
    /// looks, at least; one, and an hour, unless said.
    pub fn runners(mut self, runners: u64, look: Duration) -> Self {
        self.runners = runners.max(1);
        self.look = look.max(Duration::from_secs(1));
        self
    }

    /// How often drift is looked for, and how often a pipeline applies what a
    /// plan says; each day and each week unless said.
    pub fn checked(mut self, drift: Duration, applies: Duration) -> Self {
        self.drift = drift.max(Duration::from_mins(1));
        self.applies = applies.max(Duration::from_mins(1));
        self
    }

    /// How many of ten thousand calls go wrong: refused, timed out, or carried
    /// out with the answer lost.
    pub fn faults(mut self, in_ten_thousand: u64) -> Self {
        self.faults = in_ten_thousand;
        self
    }

    /// Lets a provider or a store, by its name in the fleet, or `ledger` not
    /// answer for a while.
    pub fn outage(mut self, part: &str, from: Duration, length: Duration) -> Self {
        let until = from.saturating_add(length);
        self.outages.push(Outage { part: part.to_owned(), from, until });
        self
    }

    /// Lets the runner that is at work die in the middle of its next writes,
    /// and start again after a while.
    pub fn runner_dies(mut self, at: Duration, for_long: Duration) -> Self {
        self.deaths.push((at, for_long));
        self
    }

    /// Lets the runner that is at work stand still before one of its next calls,
    /// and go on after a while as if nothing had been.
    pub fn runner_stalls(mut self, at: Duration, for_long: Duration) -> Self {
        self.stalls.push((at, for_long));
        self
    }

    /// Turns the hands of every clock.
    pub fn clock_jumps(mut self, at: Duration, by: SignedDuration) -> Self {
        self.turns.push((at, by));
        self
    }

    /// Lets somebody with full rights change a system, by its name, behind the
    /// engine's back: `|system| system.hand()…`.
    pub fn by_hand(
        mut self,
        provider: &str,
        at: Duration,
        act: impl Fn(&SimProvider) + Send + Sync + 'static,
    ) -> Self {
        self.hands.push((at, provider.to_owned(), Arc::new(act)));
        self
    }

    /// How long a declared consumer takes until it uses what it was told of;
    /// some minutes unless said.
    pub fn slow(mut self, consumer: &str, takes: Duration) -> Self {
        self.habits.insert(consumer.to_owned(), Some(takes));
        self
    }

    /// A declared consumer that never confirms anything, and never moves on.
    pub fn silent(mut self, consumer: &str) -> Self {
        self.habits.insert(consumer.to_owned(), None);
        self
    }

    /// Somebody whom the fleet does not declare reads the place of a
    /// credential, by its address, so often, and uses meanwhile what they read.
    pub fn keeps(mut self, name: &str, credential: &str, every: Duration) -> Self {
        let (name, credential) = (name.to_owned(), credential.to_owned());
        self.keepers.push(Keeper { name, credential, every: every.max(Duration::from_secs(1)) });
        self
    }

    /// How credentials of a type of another provider come to be: who makes the
    /// secret, and how many are valid at once. By the system, and two, unless
    /// said.
    pub fn shape(mut self, type_name: &str, origin: Origin, at_once: AtOnce) -> Self {
        self.shapes.insert(type_name.to_owned(), (origin, at_once));
        self
    }

    /// How the system behind a provider's name behaves.
    pub fn system(mut self, provider: &str, options: SimOptions) -> Self {
        self.systems.insert(provider.to_owned(), options);
        self
    }

    /// How long after its time an older generation may live on before
    /// [`Promise::NoOldOneOutlivesItsDeadline`] is broken, outages not counted;
    /// twelve hours unless said.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// Plays it.
    ///
    /// # Errors
    ///
    /// Every mistake of the fleet; what its calendar says cannot be kept; what
    /// keeps it from being applied in calm.
    pub fn play(self) -> Result<Played> {
        play::play(&self)
    }
}

impl fmt::Debug for Year {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Year").field("seed", &self.seed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
