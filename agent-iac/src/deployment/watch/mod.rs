//! Watching a fleet around the clock: credentials renewed when they are due,
//! the real compared with what is recorded, agents stopped when their time is
//! over, and somebody told of what they have to see to.
//!
//! Owns [`Watcher`], its [`alerts`](Alert) and its [`Status`]. What is due when,
//! and what a run does, others decide: it calls the [`Runner`], the planner and
//! the executor, in the name of the fleet's [standing
//! authority](crate::fleet::Standing) and within it. It belongs to no async
//! runtime, takes the time from the deployment's clock only, and starts no
//! thread but those of a [`Listener`].
//!
//! ```no_run
//! # use std::sync::Arc;
//! use agent_iac::{
//!     Result,
//!     apply::RunContext,
//!     clock::block_on,
//!     deployment::{Deployment, watch::{Watcher, WatchOptions}},
//!     ledger::Actor,
//! };
//!
//! fn watch(deployment: Deployment) -> Result<()> {
//!     let context = RunContext::new(Actor::asserted("our-cloud", "watcher"));
//!     let stop = context.stop.clone(); // for whoever ends the program
//!     let mut watcher = Watcher::new(Arc::new(deployment), context, WatchOptions::default())?;
//!     block_on(watcher.run(|round| {
//!         for alert in &round.alerts {
//!             eprintln!("{}: {}", alert.about, alert.what);
//!         }
//!     }));
//!     Ok(())
//! }
//! ```
//!
//! # Traces
//!
//! With the feature `tracing`, a tick is a span `agent_iac.tick` (`fleet`,
//! `environment`), and within it stand `agent_iac.check`, `agent_iac.retire`
//! (`agents`), `agent_iac.run` (`run`, `purpose`) for each run and
//! `agent_iac.batch` (`provider`, `ty`, `steps`) for each call of a system;
//! steps, checks and alerts are events in them. A program that wants them in
//! OpenTelemetry installs a subscriber with a layer that exports, as
//! `tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer)).init()`,
//! before it calls [`Watcher::run`]; this crate depends on neither. The names of
//! spans and fields are an interface: they change only as the library's types do.

mod alert;
mod ends;
mod found;
mod holds;
mod listener;
#[cfg(all(feature = "consumers", unix))]
mod local;
mod look;
mod round;
mod status;
mod trace;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

pub use self::{
    alert::{Alarm, Alert, AlertKind, AlertStatus},
    listener::Listener,
    round::{Check, Round, WatchOptions},
    status::Status,
};
#[cfg(all(feature = "consumers", unix))]
pub use local::LocalAlarm;

use self::{
    alert::{Alerts, Finding, Outbox},
    ends::{Ends, hold_end, why_it_stays},
};
use super::{Deployment, Runner, Tick};
use crate::{
    address::{Address, Instance},
    apply::{Outcome, Report, RunContext},
    blueprint::Blueprint,
    error::{Error, ErrorKind, Result},
    fleet::{Standing, Unattended},
    ledger::{Cause, State},
    rotation::later,
    value::Digest,
};

/// The pauses while the ledger cannot be read: the first, and the longest.
const LEDGER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));

/// The same for what could not be checked or stopped.
const WORK: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

/// How often it is looked at which agents are near their last day.
const EXPIRIES: Duration = Duration::from_hours(1);

/// What goes on in how large pieces it sleeps: so soon it hears that it is to
/// stop.
const PIECE: Duration = Duration::from_millis(500);

/// The shortest rest between two ticks.
const REST: Duration = Duration::from_millis(10);

/// A pause that grows with each failure.
fn pause((first, longest): (Duration, Duration), failures: u32) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest)
}

/// Something that is tried again after a pause.
#[derive(Debug)]
struct Again {
    failures: u32,
    at: Timestamp,
}

impl Again {
    fn failed(&mut self, now: Timestamp, pauses: (Duration, Duration)) {
        self.failures = self.failures.saturating_add(1);
        self.at = later(now, pause(pauses, self.failures));
    }
}

/// Watches a fleet, on its standing authority.
///
/// Any number of them may watch one fleet: the leases of the ledger share the
/// work, and whatever one has done, the others read there. Dropped or killed,
/// it leaves nothing but what its runs leave, which the next one settles.
///
/// # Flow of a tick
///
/// 1. The [`Runner`] takes in what is new in the ledger, settles what dead runs
///    left, and rotates what is due.
/// 2. Agents whose last day is over are stopped; what is left of those that
///    leave is removed once their grace is over.
/// 3. When it is time, everything is compared with what is recorded, and what
///    widens access is taken back where that is declared. What narrows access
///    is told, and never undone.
/// 4. Whoever has to see to something is told.
pub struct Watcher {
    deployment: Arc<Deployment>,
    context: RunContext,
    options: WatchOptions,
    blueprint: Blueprint,
    standing: Standing,
    runner: Runner,
    ledger: Again,
    check: Again,
    /// When each agent has to be looked at because of its end.
    ends: Ends,
    /// How often stopping agents did not go on.
    retires: Again,
    /// Why something of an agent stays whose time is over.
    stays: BTreeMap<Instance, String>,
    stopped: BTreeSet<Instance>,
    /// When it was looked at whose last day is near, and whether that has to
    /// be done anew.
    looked_at_ends: Timestamp,
    ends_changed: bool,
    /// What cannot be read: since when, and why.
    away: BTreeMap<String, (Timestamp, String)>,
    /// The last error of each credential that is not renewed.
    errors: BTreeMap<Address, String>,
    /// Who could not be told of a present generation, and why.
    untold: BTreeSet<(Address, String, String)>,
    alerts: Alerts,
    outboxes: Vec<Outbox>,
    status: Status,
}

impl Watcher {
    /// A watcher of a deployment.
    ///
    /// # Errors
    ///
    /// Every mistake of the fleet, and [`ErrorKind::Refused`] where its rules
    /// let nothing happen unattended.
    pub fn new(
        deployment: Arc<Deployment>,
        mut context: RunContext,
        options: WatchOptions,
    ) -> Result<Self> {
        let blueprint = deployment.blueprint().map_err(Error::from)?;
        let standing = blueprint.rules().standing.clone();
        let now = deployment.clock.now();
        if !Unattended::ALL.into_iter().any(|what| standing.lets(what, now)) {
            let why = match standing.until {
                Some(day) if !standing.is_absent() => format!("ended with {day}"),
                _ => "lets nothing happen unattended".to_owned(),
            };
            return Err(Error::new(
                ErrorKind::Refused,
                format!("the fleet `{}` has no standing authority: it {why}", blueprint.fleet()),
            )
            .help(
                "say in its rules what may happen while nobody watches, as \
                 `standing = [\"rotate\", \"narrow\", \"retire\"]` below `[rules]`, or with \
                 `Rules::standing` in Rust",
            ));
        }
        let status = Status::new(Arc::clone(&deployment.clock));
        // A long run is no standstill.
        let (beats, watch) = (status.clone(), Arc::clone(&context.watch));
        context.watch = Arc::new(move |progress| {
            beats.beat();
            watch(progress);
        });
        let runner = Runner::new(Arc::clone(&deployment), context.clone(), options.runner.clone())
            .map_err(Error::from)?;
        let alerts = Alerts::of(blueprint.fleet(), blueprint.environment());
        let at_once = || Again { failures: 0, at: Timestamp::MIN };
        Ok(Self {
            ends: Ends::of(&blueprint),
            check: Again {
                failures: 0,
                at: options.check_every.map_or(Timestamp::MAX, |_| Timestamp::MIN),
            },
            deployment,
            context,
            options,
            blueprint,
            standing,
            runner,
            ledger: at_once(),
            retires: at_once(),
            stays: BTreeMap::new(),
            stopped: BTreeSet::new(),
            looked_at_ends: Timestamp::MIN,
            ends_changed: true,
            away: BTreeMap::new(),
            errors: BTreeMap::new(),
            untold: BTreeSet::new(),
            alerts,
            outboxes: Vec::new(),
            status,
        })
    }

    /// Says who is told of alerts; may be said more than once.
    #[must_use]
    pub fn with_alarm(mut self, alarm: Arc<dyn Alarm>) -> Self {
        self.outboxes.push(Outbox::to(alarm));
        self
    }

    /// How it is, for a [`Listener`] or a program of one's own.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Watches until its context is told to stop, and ends what is in flight.
    pub async fn run(&mut self, mut tell: impl FnMut(&Round)) {
        while !self.context.stop.is_requested() {
            let round = self.tick().await;
            tell(&round);
            let now = self.deployment.clock.now();
            let mut left = until(round.next, now).max(REST);
            while !left.is_zero() && !self.context.stop.is_requested() {
                let piece = left.min(PIECE);
                self.deployment.clock.sleep(piece).await;
                self.status.beat();
                left = left.saturating_sub(piece);
            }
        }
    }

    /// Does what is due now, and says when there is something to do again. It
    /// fails never as a whole: what went wrong stands in the round.
    pub async fn tick(&mut self) -> Round {
        self.status.beat();
        let mut round = Round {
            rotation: None,
            check: None,
            retired: Report::default(),
            alerts: Vec::new(),
            problems: Vec::new(),
            untold: Vec::new(),
            next: Timestamp::MAX,
        };
        let name = (self.blueprint.fleet().to_owned(), self.blueprint.environment().to_owned());
        trace::in_tick((&name.0, &name.1), Box::pin(self.work(&mut round))).await;
        self.status.beat();
        round
    }

    async fn work(&mut self, round: &mut Round) {
        let now = self.deployment.clock.now();
        // A clock that was set back must not make a pause of a whole day.
        self.ledger.at = self.ledger.at.min(later(now, LEDGER.1));
        self.retires.at = self.retires.at.min(later(now, WORK.1));
        if now >= self.ledger.at {
            self.turn(round, now).await;
        }
        if self.ledger.failures == 0 {
            if self.standing.lets(Unattended::Retire, now) {
                self.retire(round).await;
            }
            if self.is_time_to_check() {
                self.look(round).await;
            }
        }
        self.find(round);
        self.send(round).await;
        self.sum_up(round);
    }

    async fn turn(&mut self, round: &mut Round, now: Timestamp) {
        match self.runner.turn(self.standing.lets(Unattended::Rotate, now)).await {
            Ok(tick) => {
                self.ledger = Again { failures: 0, at: Timestamp::MIN };
                self.away.remove(LEDGER_NAME);
                let mut numbers = self.status.numbers();
                numbers.ran("recover", &tick.settled);
                tick.rotated.iter().for_each(|report| numbers.ran("rotate", report));
                tick.refused.iter().for_each(|(_, error)| numbers.failed(error));
                drop(numbers);
                let steps = tick.rotated.iter().flat_map(|report| &report.steps);
                for step in steps {
                    match &step.outcome {
                        Outcome::Failed(error) | Outcome::InDoubt(error) => {
                            self.errors.insert(step.address.clone(), error.chain());
                        }
                        outcome if outcome.is_done() => {
                            self.errors.remove(&step.address);
                            // There is a new generation to tell of.
                            self.untold.retain(|(address, ..)| *address != step.address);
                        }
                        _ => {}
                    }
                }
                self.note_untold(round, &tick, now);
                round.rotation = Some(tick);
            }
            Err(error) => self.is_away(round, error),
        }
    }

    /// Consumers that could not be told, each once for a reason; and whether
    /// confirmations could be read.
    fn note_untold(&mut self, round: &mut Round, tick: &Tick, now: Timestamp) {
        for untold in tick.rotated.iter().flat_map(|report| &report.untold) {
            let (address, consumer) = (untold.address.clone(), untold.consumer.clone());
            if !self.untold.insert((address, consumer, untold.because.clone())) {
                continue;
            }
            let finding = Finding {
                kind: AlertKind::ConsumersUntold,
                about: untold.address.to_string(),
                owner: found::owner(&self.blueprint, untold.address.instance()),
                mark: String::new(),
                what: format!("`{}` could not be told: {}", untold.consumer, untold.because),
                repair: "see to the reason; it is tried again, and the old generation waits"
                    .to_owned(),
            };
            round.alerts.push(self.alerts.happened(finding, now));
        }
        match tick.rotated.last().map(|report| report.unheard.as_ref()) {
            Some(Some(error)) => {
                let why = error.chain();
                self.away.entry(INBOX_NAME.to_owned()).or_insert((now, String::new())).1 = why;
            }
            Some(None) => drop(self.away.remove(INBOX_NAME)),
            None => {}
        }
    }

    /// Gives the ledger a rest.
    fn is_away(&mut self, round: &mut Round, error: Error) {
        let now = self.deployment.clock.now();
        self.ledger.failed(now, LEDGER);
        let why = error.chain();
        self.away.entry(LEDGER_NAME.to_owned()).or_insert((now, String::new())).1 = why;
        self.status.numbers().failed(&error);
        round.problems.push(error);
    }

    /// Stops agents whose time is over.
    async fn retire(&mut self, round: &mut Round) {
        let now = self.deployment.clock.now();
        let due = self.ends.due(now);
        if due.is_empty() || now < self.retires.at || self.context.stop.is_requested() {
            return;
        }
        let work = self.deployment.retire_under(&self.blueprint, &due, &self.context);
        match trace::in_retire(due.len(), work).await {
            Ok(retired) => {
                self.status.numbers().ran("retire", &retired.report);
                let now = self.deployment.clock.now();
                let mut unsettled = false;
                self.ends_changed = true;
                for instance in &due {
                    let agent = retired.agents.get(instance);
                    let wakes = agent.and_then(ends::wakes);
                    let wakes = wakes.map(|at| at.max(hold_end(agent)));
                    unsettled |= wakes.is_some_and(|at| at <= now);
                    let why = why_it_stays(instance, &retired.report, &retired.blocked);
                    match why.filter(|_| wakes.is_some()) {
                        Some(why) => drop(self.stays.insert(instance.clone(), why)),
                        None => drop(self.stays.remove(instance)),
                    }
                    let leaving = agent.and_then(|agent| agent.leaving);
                    match leaving.filter(|leaving| leaving.cause == Cause::Expired) {
                        Some(_) => drop(self.stopped.insert(instance.clone())),
                        None => drop(self.stopped.remove(instance)),
                    }
                    self.ends.note(instance, wakes);
                }
                if unsettled {
                    self.retires.failed(now, WORK);
                } else {
                    self.retires = Again { failures: 0, at: Timestamp::MIN };
                }
                round.retired = retired.report;
            }
            Err(error) => {
                self.retires.failed(now, WORK);
                self.status.numbers().failed(&error);
                round.problems.push(error);
            }
        }
    }

    fn is_time_to_check(&mut self) -> bool {
        let Some(every) = self.options.check_every else { return false };
        let now = self.deployment.clock.now();
        self.check.at = self.check.at.min(later(now, every));
        now >= self.check.at && !self.context.stop.is_requested()
    }

    /// Compares everything with what is recorded.
    async fn look(&mut self, round: &mut Round) {
        let begun = self.deployment.clock.now();
        let narrows = self.standing.lets(Unattended::Narrow, begun);
        let work = self.deployment.look_under(&self.blueprint, narrows, &self.context);
        let looked = trace::in_check(work).await;
        let now = self.deployment.clock.now();
        let every = self.options.check_every.unwrap_or(Duration::MAX);
        let look = match looked {
            Ok(look) => look,
            Err(error) => {
                self.check.failed(now, (WORK.0, every));
                let why = error.chain();
                self.away.entry(CHECK_NAME.to_owned()).or_insert((now, String::new())).1 = why;
                self.status.numbers().failed(&error);
                round.problems.push(error);
                return;
            }
        };
        let unread = found::unread(&look, &self.blueprint);
        let ours = [LEDGER_NAME, INBOX_NAME];
        self.away.retain(|name, _| ours.contains(&name.as_str()) || unread.contains_key(name));
        for (provider, (objects, why)) in &unread {
            let what = format!("{objects} of its objects could not be read: {why}");
            self.away.entry(provider.clone()).or_insert((now, String::new())).1 = what;
        }
        let regular = self.next_check(now, every);
        if unread.is_empty() && look.refused.is_none() {
            self.check = Again { failures: 0, at: regular };
        } else {
            self.check.failed(now, (WORK.0, every));
            self.check.at = self.check.at.min(regular);
        }
        self.note_departures(&look.state);
        let (holds, happened) = found::drift(&look, &self.blueprint);
        let unknown = look.plan.unread.keys().chain(&look.elsewhere);
        let unknown: BTreeSet<String> = unknown.map(ToString::to_string).collect();
        for kind in [AlertKind::DriftFound, AlertKind::DriftNotRemoved] {
            let found = holds.iter().filter(|finding| finding.kind == kind).cloned().collect();
            round.alerts.extend(self.alerts.holds(kind, found, &unknown, now));
        }
        round.alerts.extend(happened.into_iter().map(|it| self.alerts.happened(it, now)));
        let check = Check {
            drift: look.plan.drift.len(),
            undeclared: look.plan.all_undeclared().len(),
            unread: look.plan.unread.len(),
            reverted: look.report,
            stays: holds.len(),
        };
        let mut numbers = self.status.numbers();
        numbers.ran("revert", &check.reverted);
        look.refused.iter().for_each(|error| numbers.failed(error));
        numbers.checks += 1;
        numbers.checked = Some(now);
        numbers.drift = number(check.drift);
        numbers.undeclared = number(check.undeclared);
        numbers.unread = number(check.unread);
        drop(numbers);
        trace::checked(&check);
        round.problems.extend(look.refused);
        round.check = Some(check);
    }

    /// The next time in a grid that is this watcher's own, and the same after
    /// each restart: so fleets and watchers do not all ask at the full hour.
    fn next_check(&self, now: Timestamp, every: Duration) -> Timestamp {
        let every = i64::try_from(every.as_secs()).unwrap_or(i64::MAX).max(1);
        let named = format!(
            "{}\n{}\n{}",
            self.blueprint.fleet(),
            self.blueprint.environment(),
            self.options.name
        );
        let digest = Digest::of_bytes(named.as_bytes()).to_string();
        let drawn = i64::from_str_radix(&digest[..15], 16).unwrap_or_default();
        let since = (now.as_second() - drawn % every).rem_euclid(every);
        later(now, Duration::from_secs((every - since).unsigned_abs()))
    }

    /// Agents that leave for another reason than their last day are seen to as
    /// well, once somebody has begun it.
    fn note_departures(&mut self, state: &State) {
        for (instance, agent) in &state.agents {
            if agent.leaving.is_some() && self.ends.wakes(instance).is_none() {
                self.ends.note(instance, ends::wakes(agent));
            }
        }
    }

    async fn send(&mut self, round: &mut Round) {
        for outbox in &mut self.outboxes {
            outbox.put(&round.alerts);
            if outbox.waiting() == 0 {
                continue;
            }
            let sent = outbox.send(self.deployment.clock.now()).await;
            let mut numbers = self.status.numbers();
            numbers.told += sent.told;
            numbers.dropped += sent.dropped;
            round.untold.extend(sent.problem);
        }
    }

    /// Says how it is, and when there is something to do again.
    fn sum_up(&self, round: &mut Round) {
        let now = self.deployment.clock.now();
        let poll = later(now, self.options.runner.poll);
        let mut next = poll;
        if self.ledger.failures > 0 {
            next = self.ledger.at;
        } else if let Some(tick) = &round.rotation {
            let busy = round.is_busy();
            next = if busy { now } else { tick.next.map_or(poll, |at| at.min(poll)).max(now) };
            if tick.waiting > 0 && !busy {
                next = poll;
            }
            next = next.min(self.check.at.max(now));
            if let Some(end) =
                self.ends.next().filter(|_| self.standing.lets(Unattended::Retire, now))
            {
                next = next.min(end.max(self.retires.at).max(now));
            }
        }
        let outboxes = self.outboxes.iter().filter_map(Outbox::next);
        round.next = outboxes.fold(next, |next, at| next.min(at.max(now)));
        let mut numbers = self.status.numbers();
        numbers.ticks += 1;
        numbers.failed_ticks += u64::from(!round.problems.is_empty());
        numbers.problem = self.away.get(LEDGER_NAME).map(|(_, why)| why.clone());
        numbers.credentials = number(self.runner.scheduler().len());
        numbers.due = number(self.runner.scheduler().due(now).count());
        numbers.oldest_due = self.runner.oldest(now);
        numbers.next = self.runner.scheduler().next();
        numbers.open = self.alerts.counts();
        numbers.waiting = number(self.outboxes.iter().map(Outbox::waiting).sum());
    }
}

/// What the ledger, and what pins it, are called among what can be away.
const LEDGER_NAME: &str = "the ledger, or a secret store";

/// The same for the comparison of everything.
const CHECK_NAME: &str = "the check of everything";

/// The same for where consumers confirm.
const INBOX_NAME: &str = "the inbox of confirmations";

fn until(later: Timestamp, now: Timestamp) -> Duration {
    let left: SignedDuration = later.duration_since(now);
    if left.is_negative() { Duration::ZERO } else { left.unsigned_abs() }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("runner", &self.runner)
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}
