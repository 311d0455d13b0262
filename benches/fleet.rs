//! How planning, applying and refreshing grow with the size of a fleet, on the
//! embedded systems: the local authority, the SQLite ledger, the age vault.
//!
//! ```text
//! cargo bench -p agent-iac-benches --bench fleet                  100, 1,000 and 10,000 resources
//! cargo bench -p agent-iac-benches --bench fleet -- 100 1000      other sizes
//! ```
//!
//! Each size runs in a fresh process, so that its peak memory is its own.
//!
//! | column | what is measured |
//! | --- | --- |
//! | plan | validating, reading and planning, when nothing exists yet |
//! | apply | carrying that plan out |
//! | refresh | planning again when all is as declared: everything is read |
//! | one change | planning and applying one changed grant |
//! | memory | the peak of the process (`VmHWM`) |
//! | ledger | growth of the ledger's files in the first apply, for each resource |
//! | written | bytes that the process wrote to any file for the one change |
#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

mod measure;

use std::{collections::BTreeSet, error::Error, fs, path::Path, time::Duration};

use agent_iac::{
    apply::RunContext,
    clock::block_on,
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::Actor,
    plan::SavedPlan,
    prelude::*,
    provider::Reach,
    providers::authority as auth,
};

use self::measure::{apart, arguments, peak_memory, timed, written_bytes};

const SIZES: [usize; 3] = [100, 1_000, 10_000];

/// An agent with an account, a grant and a key.
#[derive(Debug, Agent)]
#[agent(owner = "team:bench", expires = "2099-12-31")]
struct Keyed {
    #[input(key)]
    number: String,
    #[input]
    writes: bool,

    #[identity(name = format!("keyed-{number}"))]
    account: auth::Account,

    #[permission(to = account, on = format!("shelves/{number}/books"), allow = actions(*writes))]
    books: auth::Grant,

    #[credential(of = account, deliver = format!("vault:agents/{number}"))]
    key: auth::ApiKey,
}

/// An agent with an account and a grant.
#[derive(Debug, Agent)]
#[agent(owner = "team:bench", expires = "2099-12-31")]
struct Plain {
    #[input(key)]
    number: String,
    #[input]
    writes: bool,

    #[identity(name = format!("plain-{number}"))]
    account: auth::Account,

    #[permission(to = account, on = format!("shelves/{number}/books"), allow = actions(*writes))]
    books: auth::Grant,
}

fn actions(writes: bool) -> BTreeSet<auth::Action> {
    let names: &[&str] = if writes { &["read", "write"] } else { &["read"] };
    names.iter().map(|name| auth::Action::new(*name)).collect()
}

/// A fleet of so many resources; the first agent writes where `changed`.
fn fleet(keys: bool, resources: usize, changed: bool) -> Fleet {
    let mut fleet = Fleet::new("bench");
    fleet.provider("authority", Reach::Exclusive).store("vault");
    for agent in 0..resources / if keys { 3 } else { 2 } {
        let (number, writes) = (format!("{agent:06}"), changed && agent == 0);
        if keys {
            fleet.add(KeyedInputs { number, writes });
        } else {
            fleet.add(PlainInputs { number, writes });
        }
    }
    fleet
}

/// What one process measured, as it is handed to the parent: one line.
#[derive(Debug)]
struct Measured {
    resources: usize,
    plan: Duration,
    apply: Duration,
    refresh: Duration,
    change: Duration,
    memory: u64,
    ledger: u64,
    written: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments();
    if let [child, keys, resources] = &arguments[..]
        && child == "measure"
    {
        let measured = measure(keys == "keys", resources.parse()?)?;
        println!("{}", measured.to_line());
        return Ok(());
    }
    let sizes = match &arguments[..] {
        [] => SIZES.to_vec(),
        sizes => sizes.iter().map(|size| size.parse()).collect::<Result<_, _>>()?,
    };
    table("account, grant and key for each agent", "keys", &sizes)?;
    table("account and grant for each agent", "plain", &sizes)
}

fn table(title: &str, variant: &str, sizes: &[usize]) -> Result<(), Box<dyn Error>> {
    println!("\n{title}\n");
    println!(
        "{:>9} {:>16} {:>16} {:>16} {:>12} {:>9} {:>11} {:>10}",
        "resources", "plan", "apply", "refresh", "one change", "memory", "ledger", "written"
    );
    let mut last: Option<Measured> = None;
    for size in sizes {
        let line = apart(&["measure", variant, &size.to_string()])?;
        let now = Measured::from_line(&line).ok_or("a measuring process answered no figures")?;
        let rate =
            |time: Duration| format!("{} ({:.0}/s)", shown(time), per_second(now.resources, time));
        println!(
            "{:>9} {:>16} {:>16} {:>16} {:>12} {:>6} MB {:>8} B/r {:>7} kB",
            now.resources,
            rate(now.plan),
            rate(now.apply),
            rate(now.refresh),
            shown(now.change),
            now.memory / 1_024,
            now.ledger / u64::try_from(now.resources)?.max(1),
            now.written / 1_024,
        );
        if let Some(last) = last {
            let growth = |a: Duration, b: Duration| {
                format!("× {:.1}", b.as_secs_f64() / a.as_secs_f64().max(1e-9))
            };
            println!(
                "{:>9} {:>16} {:>16} {:>16} {:>12}",
                growth(
                    Duration::from_secs(u64::try_from(last.resources)?),
                    Duration::from_secs(u64::try_from(now.resources)?)
                ),
                growth(last.plan, now.plan),
                growth(last.apply, now.apply),
                growth(last.refresh, now.refresh),
                growth(last.change, now.change),
            );
        }
        last = Some(now);
    }
    Ok(())
}

fn measure(keys: bool, resources: usize) -> Result<Measured, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let deployment = Deployment::embedded(fleet(keys, resources, false), "bench", folder.path())?;
    let before = ledger_bytes(folder.path())?;
    let (plan_time, plan) = timed(|| planned(&deployment))?;
    let resources = plan.plan().steps.len();
    let (apply_time, ()) = timed(|| apply(&deployment, &plan))?;
    let ledger = ledger_bytes(folder.path())? - before;
    let (refresh, again) = timed(|| block_on(deployment.plan(&PlanRequest::default())))?;
    if !again.is_clean() {
        return Err(format!("after the apply there is still something: {again:?}").into());
    }
    let deployment = deployment.with_fleet(fleet(keys, resources, true));
    let written = written_bytes()?;
    let (change, ()) = timed(|| {
        let plan = planned(&deployment)?;
        assert_eq!(plan.plan().steps.len(), 1, "one grant was changed");
        apply(&deployment, &plan)
    })?;
    Ok(Measured {
        resources,
        plan: plan_time,
        apply: apply_time,
        refresh,
        change,
        memory: peak_memory()?,
        ledger,
        written: written_bytes()? - written,
    })
}

fn planned(deployment: &Deployment) -> Result<SavedPlan, Box<dyn Error>> {
    Ok(SavedPlan::new(block_on(deployment.plan(&PlanRequest::default()))?)?)
}

fn apply(deployment: &Deployment, plan: &SavedPlan) -> Result<(), Box<dyn Error>> {
    let context = RunContext::new(Actor::asserted("bench", "bench")).acknowledging(plan.digest());
    let report = block_on(deployment.apply(plan, &context))?;
    if report.is_complete() {
        Ok(())
    } else {
        Err(format!("not everything was done: {:?}", report.summary).into())
    }
}

/// The size of the ledger's files, its log of writes included.
fn ledger_bytes(folder: &Path) -> Result<u64, Box<dyn Error>> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("ledger.db") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

impl Measured {
    fn to_line(&self) -> String {
        let times = [self.plan, self.apply, self.refresh, self.change];
        let times = times.map(|time| time.as_micros().to_string()).join(" ");
        format!("{} {times} {} {} {}", self.resources, self.memory, self.ledger, self.written)
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            resources: usize::try_from(next()?).ok()?,
            plan: Duration::from_micros(next()?),
            apply: Duration::from_micros(next()?),
            refresh: Duration::from_micros(next()?),
            change: Duration::from_micros(next()?),
            memory: next()?,
            ledger: next()?,
            written: next()?,
        })
    }
}

fn shown(time: Duration) -> String {
    match time.as_millis() {
        0..10_000 => format!("{:.0} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}
