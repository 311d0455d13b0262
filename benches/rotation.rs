//! What it costs to know what is due: the scheduler alone, with a million
//! credentials unless another number stands behind `--`.
//!
//! ```text
//! cargo bench -p agent-iac-benches --bench rotation
//! ```
#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

mod measure;

use std::{convert::Infallible, error::Error, hint::black_box};

use agent_iac::{address::Address, rotation::Scheduler};
use jiff::{SignedDuration, Timestamp};

use self::measure::{arguments, peak_memory, timed};

fn main() -> Result<(), Box<dyn Error>> {
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
