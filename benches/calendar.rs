//! What it costs to know when a million credentials are due.
//!
//! ```text
//! cargo bench -p agent-iac-benches --bench calendar              1,000,000 credentials
//! cargo bench -p agent-iac-benches --bench calendar -- 100000    another number of them
//! ```
#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

mod measure;

use std::{convert::Infallible, error::Error as StdError, hint::black_box, time::Duration};

use agent_iac::{
    address::Address,
    agent::Terms,
    rotation::{FleetPolicy, Policy, Seed},
};

use self::measure::{arguments, peak_memory, timed};

/// A name, and the terms that set it apart.
const POLICIES: [(&str, &[(&str, &str)]); 5] = [
    ("every 30 days, in UTC", &[("rotate", "30d")]),
    ("every 30 days, in Berlin", &[("rotate", "30d"), ("zone", "Europe/Berlin")]),
    ("every 720 hours", &[("rotate", "720h")]),
    ("by cron, in Berlin", &[("rotate", "30 4 * * mon"), ("zone", "Europe/Berlin")]),
    (
        "every 30 days, in weekly windows",
        &[("rotate", "30d"), ("zone", "Europe/Berlin"), ("window", "sat,sun 01:00-05:00")],
    ),
];

fn main() -> Result<(), Box<dyn StdError>> {
    let count = arguments().iter().find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let addresses: Result<Vec<Address>, _> =
        (0..count).map(|index: u32| format!("agent[\"{index}\"].key").parse()).collect();
    let addresses = addresses?;
    println!("{count} credentials");
    let seeds = || Ok::<_, Infallible>(addresses.iter().map(Seed::of).collect::<Vec<_>>());
    let (took, seeds) = timed(seeds)?;
    show("seeds from addresses", took, count);
    let start: jiff::Timestamp = "2027-01-01T00:00:00Z".parse()?;
    for (name, terms) in POLICIES {
        let policy = policy(terms)?;
        let (took, ()) = timed(|| {
            for (index, seed) in (0_i64..).zip(&seeds) {
                // Spread over a year, as a fleet is that has lived for one.
                let promoted = start + jiff::SignedDuration::from_secs(index * 31 % 31_536_000);
                black_box(policy.next_due(*seed, promoted));
            }
            Ok::<_, Infallible>(())
        })?;
        show(name, took, count);
    }
    println!("peak of memory, with all addresses: {} MB", peak_memory()? / 1_024);
    Ok(())
}

fn policy(pairs: &[(&str, &str)]) -> Result<Policy, String> {
    let mut terms = Terms::default();
    for (key, value) in pairs {
        match *key {
            "rotate" => terms.rotate(*value),
            "zone" => terms.zone(*value),
            "window" => terms.window(*value),
            key => return Err(format!("no term {key}")),
        }
    }
    Policy::read(&terms, &FleetPolicy::default()).map_err(|mistakes| format!("{mistakes:?}"))
}

fn show(name: &str, took: Duration, count: u32) {
    let each = took.as_nanos() / u128::from(count.max(1));
    println!("{name:<36} {:>7} ms, {each:>6} ns each", took.as_millis());
}
