//! Crashes and faults at every boundary of a scenario, one after the other.

use std::fmt;

use super::{Fault, Outcome, World};
use crate::error::Result;

/// What a sweep plays again and again, each time in a new world.
///
/// ```
/// use agent_iac::{
///     Result,
///     provider::Provider as _,
///     testing::world::{Depth, Scenario, SimProvider, World, sweep},
/// };
///
/// struct Asks;
///
/// impl Scenario for Asks {
///     type Rig = SimProvider;
///
///     fn prepare(&self, world: &World) -> SimProvider {
///         world.watch();
///         world.provider("sim")
///     }
///
///     async fn process(&self, sim: &SimProvider) -> Result<()> {
///         sim.target().await.map(drop)
///     }
/// }
///
/// let report = sweep(7, Depth::Two, &Asks);
/// assert!(report.failures.is_empty(), "{report}");
/// assert_eq!(report.boundaries, ["sim/target"]);
/// ```
pub trait Scenario {
    /// What the processes of one world share: a deployment, a fleet.
    type Rig;

    /// Puts what is needed into a new world, and does what comes before the
    /// part that is swept.
    fn prepare(&self, world: &World) -> Self::Rig;

    /// One whole process, from its start to its end: what an operator, or a
    /// timer, would start again after a crash, in the same words.
    fn process(&self, rig: &Self::Rig) -> impl Future<Output = Result<()>> + Send;
}

/// How many crashes a sweep stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// One crash at each boundary (C1).
    One,
    /// And for each of these, a second one at each boundary of what follows
    /// (C2).
    Two,
}

/// What a sweep does to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disturbance {
    /// The world crashes.
    Crash,
    /// One call fails.
    Once(Fault),
    /// This call and all later ones fail, until the process has ended.
    Lasting(Fault),
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash => f.write_str("crash"),
            Self::Once(fault) => write!(f, "{fault:?} once"),
            Self::Lasting(fault) => write!(f, "{fault:?} from there on"),
        }
    }
}

/// What a sweep found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The boundaries of the run without a disturbance.
    pub boundaries: Vec<String>,
    /// How many worlds were disturbed.
    pub worlds: usize,
    /// How many processes were started.
    pub runs: usize,
    /// What went wrong.
    pub failures: Vec<Failure>,
}

/// One disturbance, or two, after which not everything was as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What was done, at which boundary of which name.
    pub disturbed: Vec<(Disturbance, usize, String)>,
    /// What was wrong then.
    pub what: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, boundaries, worlds, runs, failures } = self;
        let (boundaries, failed) = (boundaries.len(), failures.len());
        writeln!(
            f,
            "seed {seed}: {boundaries} boundaries, {worlds} worlds disturbed, {runs} runs, {failed} failures"
        )?;
        for failure in failures {
            let one =
                |(how, at, name): &(Disturbance, usize, String)| format!("{how} at {at} `{name}`");
            let all: Vec<String> = failure.disturbed.iter().map(one).collect();
            writeln!(
                f,
                "  {}",
                if all.is_empty() { "undisturbed".into() } else { all.join(", then ") }
            )?;
            for what in &failure.what {
                writeln!(f, "    {what}")?;
            }
        }
        Ok(())
    }
}

/// Plays a scenario without a fault, and then with a crash at each boundary.
/// After each crash the same process is started again, and nothing else is
/// done; in the end the invariants must hold and every system must have the
/// shape that it has without a crash (I13).
///
/// # Panics
///
/// When the scenario does not succeed undisturbed.
pub fn sweep<S: Scenario>(seed: u64, depth: Depth, scenario: &S) -> Report {
    let mut course = Course::undisturbed(seed, scenario);
    for first in 0..course.report.boundaries.len() {
        let first = (Disturbance::Crash, first);
        let following = course.play(&[first]);
        if depth == Depth::Two {
            for second in 0..following {
                course.play(&[first, (Disturbance::Crash, second)]);
            }
        }
    }
    course.report
}

/// As [`sweep`], with each fault at each boundary in place of a crash: once
/// with a single failure, and once with all later calls failing too. The
/// process may fail under it; the next one, without a fault, may not.
///
/// # Panics
///
/// When the scenario does not succeed undisturbed.
pub fn sweep_faults<S: Scenario>(seed: u64, scenario: &S) -> Report {
    let mut course = Course::undisturbed(seed, scenario);
    for at in 0..course.report.boundaries.len() {
        for fault in [Fault::Error, Fault::Timeout, Fault::Late] {
            course.play(&[(Disturbance::Once(fault), at)]);
            course.play(&[(Disturbance::Lasting(fault), at)]);
        }
    }
    course.report
}

/// A sweep under way.
struct Course<'a, S> {
    scenario: &'a S,
    shape: Vec<String>,
    report: Report,
}

impl<'a, S: Scenario> Course<'a, S> {
    fn undisturbed(seed: u64, scenario: &'a S) -> Self {
        let world = World::new(seed);
        let rig = scenario.prepare(&world);
        if let Err(error) = world.run(scenario.process(&rig)).finished() {
            panic!("seed {seed}: the scenario fails undisturbed: {error:?}");
        }
        let shape = world.shape();
        let boundaries = world.boundaries();
        let what = wrong(&world, &shape);
        let mut report = Report { seed, boundaries, worlds: 0, runs: 1, failures: Vec::new() };
        if !what.is_empty() {
            report.failures.push(Failure { disturbed: Vec::new(), what });
        }
        Self { scenario, shape, report }
    }

    /// Plays one history; gives the number of boundaries of its last process.
    fn play(&mut self, disturbances: &[(Disturbance, usize)]) -> usize {
        let world = World::new(self.report.seed);
        let rig = self.scenario.prepare(&world);
        let mut disturbed = Vec::new();
        let mut what = Vec::new();
        self.report.worlds += 1;
        for &(how, at) in disturbances {
            self.report.runs += 1;
            match how {
                Disturbance::Crash => world.crash_at(at),
                Disturbance::Once(fault) => world.fault_at(at, fault),
                Disturbance::Lasting(fault) => world.fault_from(at, fault),
            }
            let outcome = world.run(self.scenario.process(&rig));
            world.heal();
            world.exit();
            match (how, &outcome) {
                (Disturbance::Crash, Outcome::Finished(_)) => {
                    what.push("the same seed gave other boundaries: nothing crashed".to_owned());
                }
                (_, Outcome::Stuck) => what.push("the disturbed process is stuck".to_owned()),
                _ => {}
            }
            let name = world.boundaries().get(at).cloned().unwrap_or_default();
            disturbed.push((how, at, name));
        }
        self.report.runs += 1;
        match world.run(self.scenario.process(&rig)) {
            Outcome::Finished(Ok(())) => {}
            Outcome::Finished(Err(error)) => what.push(format!("the process fails: {error:?}")),
            Outcome::Crashed => what.push("the world crashed of itself".to_owned()),
            Outcome::Stuck => what.push("the process is stuck".to_owned()),
        }
        let following = world.boundaries().len();
        what.extend(wrong(&world, &self.shape));
        if !what.is_empty() {
            self.report.failures.push(Failure { disturbed, what });
        }
        following
    }
}

/// What is not as it must be when everything has ended.
fn wrong(world: &World, shape: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    if world.ledger_inside().is_some() {
        let state = world.state();
        found.extend(world.check(&state).iter().map(ToString::to_string));
        let open = state.records.iter().filter(|(_, record)| record.open.is_some());
        found.extend(open.map(|(address, _)| format!("I12: {address} is still in doubt")));
        found.extend(state.runs.keys().map(|run| format!("I12: run {run} is still open")));
    } else {
        found.extend(world.violations().iter().map(ToString::to_string));
    }
    found.extend(difference(&world.shape(), shape));
    found
}

/// I13: what there is more or less of than without a disturbance.
pub(in crate::testing) fn difference(now: &[String], calm: &[String]) -> Vec<String> {
    let count =
        |lines: &[String], line: &String| lines.iter().filter(|other| *other == line).count();
    let mut lines: Vec<&String> = now.iter().chain(calm).collect();
    lines.sort();
    lines.dedup();
    lines
        .into_iter()
        .filter(|line| count(now, line) != count(calm, line))
        .map(|line| {
            format!("I13: {} instead of {} of: {line}", count(now, line), count(calm, line))
        })
        .collect()
}
