//! Whether cost follows the work and not the fleet: one table, with the aim of
//! each line, and beside it what the disk, SQLite or the hash cost alone.
//!
//! ```text
//! cargo bench -p agent-iac-benches --bench growth                  10,000, 100,000 and 1,000,000 resources
//! cargo bench -p agent-iac-benches --bench growth -- 1000 2000     other sizes
//! cargo bench -p agent-iac-benches --bench growth -- compare /usr/bin/tofu 1000
//! ```
//!
//! The last runs the same graph through an installed Terraform or OpenTofu, and
//! prints the ratios.
//!
//! An agent is an account and a grant of the local authority, so that a fleet
//! has half as many agents as resources. Everything runs in processes of its
//! own: a plan begins with nothing in memory, and its peak is its own. Where
//! two times stand, the first passed, and the second was computed by all
//! threads: on a machine that others use too, the second is the one to compare.
#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

mod compare;
mod ledger;
mod limits;
#[path = "../measure.rs"]
mod measure;
mod table;
mod world;

use std::{error::Error, path::Path, process::ExitCode, time::Duration};

use agent_iac::{clock::block_on, deployment::PlanRequest, ledger::SqliteLedger, plan::SavedPlan};

use self::{
    measure::{apart, arguments, computed, load, peak_memory, timed, written_bytes},
    table::{bytes, doubling, heading, row, shown},
};

const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];

/// The sizes that are compared with another tool, which takes minutes for more.
const COMPARED: [usize; 2] = [500, 1_000];

/// How many syncs the apply of one step rests on: of the ledger for its run's
/// begin, its own begin and end, and its run's end; and three of the authority,
/// for its journal, its file and the journal's end.
const SYNCS: usize = 7;

/// How many creates are applied and appended.
const CREATES: usize = 100_000;

fn main() -> ExitCode {
    let arguments = arguments();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // As it would be typed, and measured from outside.
    if let ["validate", folder] = words[..] {
        return world::validate(Path::new(folder));
    }
    match measure(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(words: &[&str]) -> Result<(), Box<dyn Error>> {
    match *words {
        ["set-up", folder, size] => world::set_up(Path::new(folder), size.parse()?),
        ["plan", folder, size] => plan(Path::new(folder), size.parse()?),
        ["one", folder, size] => one(Path::new(folder), size.parse()?),
        // What a process costs that begins and ends.
        ["nothing"] => Ok(()),
        ["alone", folder, size] => {
            let agent = world::middle(size.parse()?);
            let (time, ()) = timed(|| limits::one(Path::new(folder), &agent))?;
            println!("{}", time.as_micros());
            Ok(())
        }
        ["open", folder, size] => {
            let agent = world::middle(size.parse()?);
            let time = ledger::opened(Path::new(folder), &agent)?;
            println!("{}", time.as_micros());
            Ok(())
        }
        ["apply", folder, size] => apply(Path::new(folder), size.parse()?),
        ["appends", folder, size] => ledger::appends(Path::new(folder), size.parse()?),
        ["writers", folder] => ledger::writers(Path::new(folder)),
        ["verify", folder, size] => ledger::verified(Path::new(folder), size.parse()?),
        ["compare", tool] => compare::compare(tool, &COMPARED),
        ["compare", tool, ref sizes @ ..] => compare::compare(tool, &parsed(sizes)?),
        [] => table(&SIZES),
        ref sizes => table(&parsed(sizes)?),
    }
}

fn parsed(sizes: &[&str]) -> Result<Vec<usize>, Box<dyn Error>> {
    Ok(sizes.iter().map(|size| size.parse()).collect::<Result<_, _>>()?)
}

fn table(sizes: &[usize]) -> Result<(), Box<dyn Error>> {
    let cores = std::thread::available_parallelism()?;
    println!("{cores} cores, of which others want {} at the beginning", load()?);
    let creates = sizes.iter().copied().max().unwrap_or(CREATES).min(CREATES);
    let worlds = tempfile::tempdir()?;
    for size in sizes {
        let folder = worlds.path().join(size.to_string());
        let folder = folder.to_string_lossy();
        apart(&["set-up", &folder, &size.to_string()])?;
    }
    plans(worlds.path(), sizes)?;
    agents(worlds.path(), sizes)?;
    heading("Apply");
    applies(creates)?;
    let fresh = tempfile::tempdir()?;
    let folder = fresh.path().to_string_lossy();
    print!("{}", apart(&["appends", &folder, &creates.to_string()])?);
    print!("{}", apart(&["writers", &folder])?);
    heading("Verify, and begin");
    print!("{}", apart(&["verify", &folder, &(2 * creates).to_string()])?);
    begun(fresh.path())
}

/// The numbers that a process answers.
fn numbers<const N: usize>(arguments: &[&str]) -> Result<[u64; N], Box<dyn Error>> {
    let text = apart(arguments)?;
    let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    numbers.try_into().map_err(|_| "a process answered other numbers".into())
}

fn plans(worlds: &Path, sizes: &[usize]) -> Result<(), Box<dyn Error>> {
    heading("A plan without changes, from a cold process to its digest");
    let mut before = None;
    for size in sizes {
        let folder = worlds.join(size.to_string());
        let text = folder.to_string_lossy();
        let (time, [computed, memory]) = timed(|| numbers(&["plan", &text, &size.to_string()]))?;
        let computed = Duration::from_micros(computed);
        let (rows, ()) = timed(|| limits::rows(&folder))?;
        let count = u64::try_from(*size)?;
        row(
            &format!("{size} resources"),
            &format!("{} / {}", shown(time), shown(computed)),
            &shown(Duration::from_micros(5 * count)),
            &format!("{}; SQLite's rows alone {}", doubling(before, *size, computed), shown(rows)),
        );
        row(
            "  its memory, for each",
            &bytes(memory * 1_024 / count),
            "1500 B",
            &format!("{} in all", bytes(memory * 1_024)),
        );
        before = Some((*size, computed));
    }
    Ok(())
}

fn agents(worlds: &Path, sizes: &[usize]) -> Result<(), Box<dyn Error>> {
    heading("One agent of a fleet");
    for size in sizes {
        let folder = worlds.join(size.to_string());
        let (folder, count) = (folder.to_string_lossy(), size.to_string());
        let [open] = numbers(&["open", &folder, &count])?;
        let [alone] = numbers(&["alone", &folder, &count])?;
        let syncs = limits::syncs(&Path::new(&*folder).join("synced"), SYNCS)?;
        let [plan, apply, logical, written] = numbers(&["one", &folder, &count])?;
        let micros = |micros: u64| shown(Duration::from_micros(micros));
        let alone = format!("SQLite alone, its rows of both files {}", micros(alone));
        row(&format!("open and its state, of {size}"), &micros(open), "20 ms", &alone);
        row(&format!("plan its change, of {size}"), &micros(plan), "100 ms", "the same");
        let syncs = format!("{SYNCS} syncs alone {}", shown(syncs));
        row(&format!("apply it, of {size}"), &micros(apply), "", &syncs);
        row(
            &format!("bytes of the change, of {size}"),
            &format!("{logical} logical"),
            "under 1,024 a step",
            &format!("{written} written to any file"),
        );
    }
    Ok(())
}

fn applies(creates: usize) -> Result<(), Box<dyn Error>> {
    let mut before = None;
    for size in [creates / 2, creates] {
        let folder = tempfile::tempdir()?;
        let [time, computed, memory] =
            numbers(&["apply", &folder.path().to_string_lossy(), &size.to_string()])?;
        let (time, computed) = (Duration::from_micros(time), Duration::from_micros(computed));
        let (ledger, system) = (folder.path().join("alone"), folder.path().join("system"));
        let (alone, ()) = timed(|| {
            limits::inserts(&ledger, size, limits::AT_ONCE, false)?;
            limits::objects(&system, size, limits::AT_ONCE)
        })?;
        row(
            &format!("apply {size} creates"),
            &format!("{} steps/s", table::per_second(size, time)),
            "20,000 steps/s",
            &format!(
                "{} / {}; SQLite alone {}; {} {} of memory each",
                shown(time),
                shown(computed),
                shown(alone),
                doubling(before, size, computed),
                bytes(memory * 1_024 / u64::try_from(size)?),
            ),
        );
        before = Some((size, computed));
    }
    Ok(())
}

/// The command line, begun again and again; the middle of all times.
fn begun(folder: &Path) -> Result<(), Box<dyn Error>> {
    let folder = folder.join("begun");
    let folder = folder.to_string_lossy();
    let mut all = Vec::new();
    for _ in 0..21 {
        all.push(timed(|| apart(&["validate", &folder]))?.0);
    }
    all.sort_unstable();
    let (nothing, _) = timed(|| apart(&["nothing"]))?;
    let least =
        format!("the fastest {}; a process that does nothing {}", shown(all[0]), shown(nothing));
    row("`validate`, from a cold process", &shown(all[all.len() / 2]), "20 ms", &least);
    Ok(())
}

fn plan(folder: &Path, size: usize) -> Result<(), Box<dyn Error>> {
    let deployment = world::deployment(world::fleet(size, false).0, folder)?;
    let plan = SavedPlan::new(block_on(deployment.plan(&PlanRequest::default()))?)?;
    assert!(plan.plan().is_clean(), "nothing is left to do: {:?}", plan.plan().totals());
    println!("{} {}", computed()?.as_micros(), peak_memory()?);
    Ok(())
}

/// Plans and applies the change of one agent.
fn one(folder: &Path, size: usize) -> Result<(), Box<dyn Error>> {
    let (fleet, agent) = world::fleet(size, true);
    let deployment = world::deployment(fleet, folder)?;
    let blueprint = deployment.blueprint()?;
    let (planning, plan) = timed(|| world::planned_for(&deployment, &blueprint, &agent))?;
    assert_eq!(plan.plan().steps.len(), 1, "one grant was changed");
    let options = agent_iac::ledger::sqlite::Options::new("bench", "bench");
    let ledger = SqliteLedger::open(folder.join("ledger.db"), &options)?;
    let head = world::head(&ledger)?;
    let written = written_bytes()?;
    let (applying, ()) = timed(|| world::apply(&deployment, &plan))?;
    let written = written_bytes()? - written;
    let logical = ledger::logical_bytes(&ledger, head)?;
    println!("{} {} {logical} {written}", planning.as_micros(), applying.as_micros());
    Ok(())
}

fn apply(folder: &Path, size: usize) -> Result<(), Box<dyn Error>> {
    let deployment = world::deployment(world::fleet(size, false).0, folder)?;
    let plan = SavedPlan::new(block_on(deployment.plan(&PlanRequest::default()))?)?;
    let before = computed()?;
    let (time, ()) = timed(|| world::apply(&deployment, &plan))?;
    println!(
        "{} {} {}",
        time.as_micros(),
        computed()?.saturating_sub(before).as_micros(),
        peak_memory()?
    );
    Ok(())
}
