//! What it costs to know what is due: the scheduler alone, with a million
//! credentials unless another number stands behind `--`; and a whole year of a
//! fleet in virtual time, each credential renewed every 30 days and looked at
//! each week.
//!
//! ```text
//! cargo bench -p agent-iac-benches --bench rotation
//! cargo bench -p agent-iac-benches --bench rotation -- year 10000
//! ```
#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

mod measure;

use std::{convert::Infallible, error::Error, hint::black_box};

use agent_iac::{
    address::Address,
    fleet::Fleet,
    prelude::*,
    provider::Reach,
    rotation::Scheduler,
    testing::{
        world as sim,
        year::{Year, day, hours},
    },
};
use jiff::{SignedDuration, Timestamp};

use self::measure::{arguments, computed, peak_memory, timed};

/// Has one key.
#[derive(Agent, Debug)]
#[agent(owner = "team:bench", expires = "2099-12-31", grace = "0d", name = "keyed")]
struct Keyed {
    #[input(key)]
    number: String,

    #[identity(name = format!("keyed-{number}"))]
    account: sim::Account,

    #[credential(
        of = account,
        deliver = format!("vault:keyed/{number}"),
        rotate = "30d",
        overlap = "4h",
    )]
    key: sim::Key,
}

/// Plays a year, and says what it took.
fn year(agents: u64) -> Result<(), Box<dyn Error>> {
    let mut fleet = Fleet::new("bench");
    fleet.provider("sim", Reach::Exclusive).store("vault");
    for number in 0..agents {
        fleet.add(KeyedInputs { number: number.to_string() });
    }
    let played = Year::of(fleet).runners(1, hours(1)).checked(day(7), day(28));
    let (took, played) = timed(|| played.play())?;
    played.assert_all()?;
    let (computed, memory) = (computed()?, peak_memory()? / 1_024);
    println!(
        "a year of {agents} credentials: {took:.2?}, {computed:.2?} of them computed, {memory} MB"
    );
    println!("{}", played.counts());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if arguments().first().is_some_and(|argument| argument == "year") {
        let agents = arguments().get(1).map_or(Ok(10_000), |argument| argument.parse())?;
        return year(agents);
    }
    let size = arguments().iter().find_map(|argument| argument.parse().ok());
    let size: usize = size.unwrap_or(1_000_000);
    let begin: Timestamp = "2027-01-01T00:00:00Z".parse()?;
    let at = |index: usize| {
        let spread = i64::try_from(index).unwrap_or(0).saturating_mul(7_919) % (7 * 86_400);
        begin + SignedDuration::from_hours(1) + SignedDuration::from_secs(spread)
    };
    let addresses: Vec<Address> = (0..size)
        .map(|index| format!("agent[\"{index}\"].key").parse())
        .collect::<Result<_, _>>()?;
    let before = peak_memory()?;
    let (built, mut scheduler) = timed(|| {
        let mut scheduler = Scheduler::with_capacity(size);
        for (index, address) in addresses.iter().enumerate() {
            scheduler.note(address, Some(at(index)));
        }
        Ok::<_, Infallible>(scheduler)
    })?;
    let memory = (peak_memory()? - before) * 1_024 / u64::try_from(size.max(1))?;
    println!("{size} credentials: built in {built:.2?}, {memory} bytes each");
    for due in [0_usize, 100, 10_000] {
        for address in addresses.iter().take(due) {
            scheduler.note(address, Some(begin));
        }
        let (asked, found) = timed(|| {
            let found: Vec<&Address> = scheduler.due(begin).take(due.max(1)).collect();
            Ok::<_, Infallible>(black_box(found).len())
        })?;
        let (noted, ()) = timed(|| {
            for address in addresses.iter().take(due) {
                scheduler.note(address, Some(at(due)));
            }
            Ok::<_, Infallible>(())
        })?;
        println!("{found} due: asked in {asked:.2?}, noted anew in {noted:.2?}");
    }
    Ok(())
}
