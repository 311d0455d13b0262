//! Playing a year, and what came of it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    super::world::{Outcome, SimClock, SimProvider, World},
    Year,
    crew::{Crew, Task},
    diary::{Diary, shown},
    people::People,
    promise::{Broken, Promise},
    sky::Sky,
    watch::Watch,
};
use crate::{
    apply::RunContext,
    blueprint::Blueprint,
    clock::Clock as _,
    deployment::{Deployment, PlanRequest, Runner, RunnerOptions},
    error::{Error, ErrorKind, Result},
    ledger::{Actor, MemoryLedger, verify},
    plan::SavedPlan,
    provider::{AtOnce, Origin},
    schema::{Kind, ResourceType},
    vault::MemoryVault,
};

/// How many rounds the calm before and after a year may take.
const ROUNDS: usize = 12;

/// How much happened in a year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Generations that took the place of another.
    pub rotations: u64,
    /// Older generations that ended.
    pub revoked: u64,
    /// How often all of the fleet was looked at for drift.
    pub drift_checks: u64,
    /// Objects that were read or listed.
    pub reads: u64,
    /// Entries in the ledger.
    pub entries: u64,
    /// Runs.
    pub runs: u64,
    /// Steps that failed, or were in doubt.
    pub failed: u64,
    /// Calls that went wrong.
    pub faults: u64,
    /// Runners that died at work.
    pub deaths: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.rotations += other.rotations;
        self.revoked += other.revoked;
        self.drift_checks += other.drift_checks;
        self.reads += other.reads;
        self.entries += other.entries;
        self.runs += other.runs;
        self.failed += other.failed;
        self.faults += other.faults;
        self.deaths += other.deaths;
    }
}

/// A year that was played.
pub struct Played {
    seed: u64,
    counts: Counts,
    broken: Vec<Broken>,
    lines: Vec<String>,
    mark: u64,
}

impl Played {
    /// Asks whether a promise was kept.
    ///
    /// # Errors
    ///
    /// Where it was first not kept, with what happened before.
    pub fn assert(&self, promise: Promise) -> Result<&Self, Broken> {
        match self.broken.iter().find(|broken| broken.promise == promise) {
            Some(broken) => Err(broken.clone()),
            None => Ok(self),
        }
    }

    /// Asks whether every promise was kept.
    ///
    /// # Errors
    ///
    /// As [`Played::assert`], for the first of them.
    pub fn assert_all(&self) -> Result<&Self, Broken> {
        Promise::ALL.iter().try_fold(self, |played, promise| played.assert(*promise))
    }

    /// Everything that was not kept, in the order of time.
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// How much happened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What happened, line by line; of a long one the last lines.
    pub fn trace(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// A number that every line of the whole trace decides.
    pub fn mark(&self) -> u64 {
        self.mark
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rotations, revoked, drift_checks, reads, entries, runs, .. } = self;
        write!(
            f,
            "{rotations} rotations, {revoked} revoked, {drift_checks} drift checks, {reads} reads, \
             {entries} entries of {runs} runs, {} faults, {} failed steps, {} deaths",
            self.faults, self.failed, self.deaths
        )
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the year of seed {}: {}", self.seed, self.counts)?;
        self.broken.iter().try_for_each(|broken| writeln!(f, "{broken}"))
    }
}

impl fmt::Debug for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Played")
            .field("seed", &self.seed)
            .field("counts", &self.counts)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// The stage of a year, for those who work on it.
struct Stage {
    year: Year,
    world: World,
    ledger: Arc<MemoryLedger>,
    deployment: Arc<Deployment>,
    blueprint: Blueprint,
    watch: Arc<Watch>,
    diary: Arc<Diary>,
    drift_checks: AtomicU64,
}

fn context(name: &str) -> RunContext {
    let mut context = RunContext::new(Actor::asserted("year", name));
    name.clone_into(&mut context.holder);
    context
}

/// The types that a blueprint wants of a provider and that are not the
/// simulated system's own.
fn foreign(
    year: &Year,
    blueprint: &Blueprint,
    provider: &str,
) -> Vec<(&'static ResourceType, Option<(Origin, AtOnce)>)> {
    let resources = blueprint.resources().values().filter(|desired| desired.provider == provider);
    let types: BTreeMap<&str, &'static ResourceType> =
        resources.map(|desired| (desired.resource_type.name, desired.resource_type)).collect();
    let own = |ty: &&'static ResourceType| ty.name.starts_with("sim.");
    let shape = |ty: &'static ResourceType| {
        let said = year.shapes.get(ty.name).copied();
        let credential =
            (ty.kind == Kind::Credential).then(|| said.unwrap_or((Origin::System, AtOnce::Two)));
        (ty, credential)
    };
    types.into_values().filter(|ty| !own(ty)).map(shape).collect()
}

fn set_up(year: &Year) -> Result<Stage> {
    let blueprint = year.fleet.blueprint(&year.environment)?;
    let world = World::new(year.seed);
    world.forget_boundaries();
    let clock = SimClock::clone(&world.clock());
    let fleet = blueprint.fleet();
    let ledger = Arc::new(MemoryLedger::opened(world.clock(), fleet, &year.environment)?);
    let people = People::new(year.seed, clock.clone(), year.habits.clone(), &year.keepers);
    let people = Arc::new(people);
    let diary = Arc::new(Diary::new(clock.clone()));
    let mut deployment = Deployment::new(
        year.fleet.clone(),
        &*year.environment,
        world.ledger_over(Arc::clone(&ledger) as _),
        world.entropy(),
    )
    .with_clock(world.clock())
    .with_teller(Arc::clone(&people) as _)
    .with_inbox(Arc::clone(&people) as _);
    let mut providers: BTreeMap<String, SimProvider> = BTreeMap::new();
    for name in blueprint.providers().keys() {
        let options = year.systems.get(name).cloned().unwrap_or_default();
        let types = foreign(year, &blueprint, name);
        let provider = world.provider_serving(name, options, types);
        deployment = deployment.with_provider(name.clone(), Arc::new(provider.clone()));
        providers.insert(name.clone(), provider);
    }
    let mut vaults = BTreeMap::new();
    for name in blueprint.stores() {
        let vault = Arc::new(MemoryVault::new());
        let gated = world.store_over(name, Arc::clone(&vault) as _);
        deployment = deployment.with_store(name.clone(), gated);
        vaults.insert(name.clone(), vault);
    }
    for part in year.outages.iter().map(|outage| &outage.part) {
        if part != "ledger" && !providers.contains_key(part) && !vaults.contains_key(part) {
            let message = format!("nothing of the fleet is called `{part}`");
            return Err(Error::new(ErrorKind::NotFound, message)
                .help("name one of its providers or stores, or `ledger`"));
        }
    }
    for keeper in &year.keepers {
        let known = blueprint.resources().keys().any(|at| at.to_string() == keeper.credential);
        if !known {
            let message = format!("`{}` is no credential of the fleet", keeper.credential);
            return Err(Error::new(ErrorKind::NotFound, message)
                .help("name one by its address, as `filer.key`"));
        }
    }
    let at_once = blueprint.resources().iter().filter(|(_, d)| d.credential.is_some());
    let at_once = at_once
        .map(|(at, d)| (at.clone(), deployment.at_once(&d.provider, d.resource_type.name)))
        .collect();
    let watch = Watch::new(
        year,
        clock,
        Arc::clone(&ledger),
        vaults,
        providers,
        (people, Arc::clone(&diary)),
        blueprint.clone(),
        at_once,
    );
    let (watch, deployment) = (Arc::new(watch), Arc::new(deployment));
    world.set_observer(Some(Arc::clone(&watch) as _));
    let (year, drift_checks) = (year.clone(), AtomicU64::new(0));
    Ok(Stage { year, world, ledger, deployment, blueprint, watch, diary, drift_checks })
}

pub(super) fn play(year: &Year) -> Result<Played> {
    let stage = Arc::new(set_up(year)?);
    if !calm(&stage)? {
        return Err(Error::new(ErrorKind::InvalidFleet, "the fleet cannot be applied in calm")
            .help("play a shorter part of it, and look at the trace"));
    }
    stage.diary.note("the fleet stands");
    let clock = SimClock::clone(&stage.world.clock());
    let sky = Arc::new(Sky::new(
        year.seed,
        clock.clone(),
        year.outages.clone(),
        year.faults,
        (year.deaths.clone(), year.stalls.clone()),
    ));
    stage.world.set_weather(Some(Arc::clone(&sky) as _));
    let mut crew = Crew::default();
    for number in 0..year.runners {
        crew.add(Some(number), runner(&stage, number, Duration::ZERO));
    }
    crew.add(None, Box::pin(steward(Arc::clone(&stage))));
    crew.add(None, Box::pin(events(Arc::clone(&stage))));
    let deaths = AtomicU64::new(0);
    crew.work(&clock, year.length, &sky, |number, length| {
        deaths.fetch_add(1, Ordering::Relaxed);
        stage.ledger.crash_of(&format!("runner {number}"));
        stage.diary.note(&format!("runner {number} dies"));
        runner(&stage, number, length)
    });
    drop(crew);
    stage.world.set_weather(None);
    stage.ledger.crash();
    stage.watch.round();
    if !calm(&stage)? {
        stage.watch.accuse(Promise::NothingIsLeftToDo, "there is always something to do".into());
    }
    stage.watch.round();
    stage.watch.looks_at_the_dead();
    let ledger = Arc::clone(&stage.ledger);
    let verified = stage.world.drive_aside(async move { verify(&*ledger, None).await });
    if let Outcome::Finished(Err(error)) = verified {
        stage.watch.accuse(Promise::TheLedgerVerifies, error.chain());
    }
    for violation in stage.world.violations() {
        stage.watch.accuse(Promise::TheEngineKeepsItsWord, violation.to_string());
    }
    stage.world.set_observer(None);
    Ok(told(&stage, &sky, deaths.into_inner()))
}

fn told(stage: &Stage, sky: &Sky, deaths: u64) -> Played {
    let pages = stage.diary.close();
    let mut book = stage.watch.book();
    let counts = Counts {
        rotations: book.rotations,
        revoked: book.revoked,
        drift_checks: stage.drift_checks.load(Ordering::Relaxed),
        reads: stage.watch.providers.values().map(SimProvider::reads).sum(),
        entries: book.entries,
        runs: book.runs,
        failed: book.failed,
        faults: sky.hit(),
        deaths,
    };
    let seed = stage.year.seed;
    let breaches = std::mem::take(&mut book.breaches).into_iter();
    let broken = breaches.map(|breach| Broken {
        promise: breach.promise,
        at: shown(breach.at),
        what: breach.what,
        seed,
        before: breach.before,
    });
    let lines = pages.lines.into();
    Played { seed, counts, broken: broken.collect(), lines, mark: pages.mark }
}

/// Applies and settles until nothing is left to do; whether that came.
fn calm(stage: &Stage) -> Result<bool> {
    let stuck = || Error::new(ErrorKind::Bug, "a process of the year is stuck");
    for _ in 0..ROUNDS {
        let round = async {
            let context = context("calm");
            stage.deployment.recover(&context).await?;
            let plan = stage.deployment.plan(&PlanRequest::default()).await?;
            let empty = plan.is_empty() && plan.blocked.is_empty() && plan.in_doubt.is_empty();
            let saved = SavedPlan::new(plan)?;
            let context = context.acknowledging(saved.digest());
            let report = stage.deployment.apply(&saved, &context).await?;
            for step in report.steps.iter().filter(|step| !step.outcome.is_done()) {
                stage.diary.note(&format!("{}: {:?}", step.address, step.outcome));
            }
            Ok::<bool, Error>(empty)
        };
        match stage.world.drive_aside(round) {
            Outcome::Finished(Ok(true)) => return Ok(true),
            Outcome::Finished(Ok(false)) => {}
            Outcome::Finished(Err(error)) => return Err(error),
            _ => return Err(stuck()),
        }
    }
    Ok(false)
}

fn runner(stage: &Arc<Stage>, number: u64, starts_after: Duration) -> Task {
    let stage = Arc::clone(stage);
    Box::pin(async move {
        let clock = stage.world.clock();
        clock.wait(starts_after).await;
        let look = stage.year.look;
        let options = RunnerOptions { agents: 256, poll: look, listen: look };
        let context = context(&format!("runner {number}"));
        let deployment = Arc::clone(&stage.deployment);
        let Ok(mut runner) = Runner::new(deployment, context, options) else { return };
        loop {
            let wait = match runner.tick().await {
                Ok(tick) if tick.waiting > 0 && !tick.contended => Duration::ZERO,
                Ok(tick) => tick.next.map_or(day_long(), |next| {
                    let until = next.duration_since(clock.now());
                    Duration::try_from(until).unwrap_or_default()
                }),
                Err(error) => {
                    stage.diary.note(&format!("runner {number}: {}", error.chain()));
                    Duration::ZERO
                }
            };
            // Where others work too, they write what is of concern here.
            let most = if stage.year.runners > 1 { look } else { day_long() };
            clock.wait(wait.clamp(look.min(most), most)).await;
        }
    })
}

const fn day_long() -> Duration {
    Duration::from_hours(24)
}

/// Looks for drift each day, and applies what a plan says now and then.
async fn steward(stage: Arc<Stage>) {
    let clock = stage.world.clock();
    let context = context("steward");
    let mut applied = clock.elapsed();
    loop {
        clock.wait(stage.year.drift).await;
        let looked = stage.deployment.revert_drift_under(&stage.blueprint, &context).await;
        match looked {
            Ok(report) => {
                stage.drift_checks.fetch_add(1, Ordering::Relaxed);
                for step in &report.steps {
                    stage.diary.note(&format!("{}: drift is taken back", step.address));
                }
            }
            Err(error) => stage.diary.note(&format!("drift: {}", error.chain())),
        }
        stage.watch.round();
        if clock.elapsed() >= applied + stage.year.applies {
            applied = clock.elapsed();
            if let Err(error) = pipeline(&stage, &context).await {
                stage.diary.note(&format!("pipeline: {}", error.chain()));
            }
        }
    }
}

async fn pipeline(stage: &Stage, context: &RunContext) -> Result<()> {
    stage.deployment.recover(context).await?;
    let plan = stage.deployment.plan(&PlanRequest::default()).await?;
    if plan.is_empty() {
        return Ok(());
    }
    let saved = SavedPlan::new(plan)?;
    let context = context.clone().acknowledging(saved.digest());
    let report = stage.deployment.apply(&saved, &context).await?;
    for step in &report.steps {
        stage.diary.note(&format!("{}: applied: {}", step.address, step.action));
    }
    Ok(())
}

/// What comes at its time: clocks that are turned, and hands.
async fn events(stage: Arc<Stage>) {
    enum What {
        Turn(usize),
        Hand(usize),
        Away(usize),
        Back(usize),
    }
    let year = &stage.year;
    let mut all: Vec<(Duration, u8, What)> = Vec::new();
    let numbered = |count: usize| 0..count;
    all.extend(numbered(year.turns.len()).map(|at| (year.turns[at].0, 0, What::Turn(at))));
    all.extend(numbered(year.hands.len()).map(|at| (year.hands[at].0, 1, What::Hand(at))));
    all.extend(numbered(year.outages.len()).map(|at| (year.outages[at].from, 2, What::Away(at))));
    all.extend(numbered(year.outages.len()).map(|at| (year.outages[at].until, 3, What::Back(at))));
    all.sort_by_key(|(at, order, _)| (*at, *order));
    let clock = stage.world.clock();
    for (at, _, what) in all {
        clock.wait(at.saturating_sub(clock.elapsed())).await;
        match what {
            What::Turn(number) => {
                let by = year.turns[number].1;
                stage.world.turn_clock(by);
                stage.diary.note(&format!("the clocks are turned by {by:#}"));
            }
            What::Hand(number) => {
                let (_, provider, act) = &year.hands[number];
                stage.diary.note(&format!("a hand is in `{provider}`"));
                if let Some(provider) = stage.watch.providers.get(provider) {
                    act(provider);
                }
            }
            What::Away(number) => {
                stage.diary.note(&format!("`{}` does not answer", year.outages[number].part));
            }
            What::Back(number) => {
                stage.diary.note(&format!("`{}` answers again", year.outages[number].part));
            }
        }
    }
}
