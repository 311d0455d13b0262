//! A year of a fleet in a second or two, and a mistake that it finds.
//!
//! ```text
//! cargo run --release --example year
//! ```
//!
//! The fleet is declared as for the real authority; a simulated system stands
//! in for it. Keys live a week, and an old one an hour longer than the new one
//! takes over, which sounds like enough. But somebody whom the fleet does not
//! know reads the key once a day and keeps it until the next morning. The year
//! says on which day they stand before a closed door, and why. With a longer
//! overlap it goes well, through outages, a runner that dies and clocks that
//! are turned.
#![expect(clippy::print_stdout, reason = "the example shows what happens")]

use std::error::Error;

use agent_iac::{
    fleet::Fleet,
    prelude::*,
    provider::Reach,
    providers::authority as auth,
    testing::year::{Promise, Year, day, hours},
};
use jiff::SignedDuration;

/// Reads invoices of one region; three of them serve together.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2099-12-31", grace = "7d")]
struct InvoiceReader {
    #[input(key)]
    region: String,
    #[input]
    overlap: String,

    #[identity(name = format!("invoice-reader-{region}"))]
    account: auth::Account,

    #[permission(
        to = account,
        on = format!("invoices/{region}/*"),
        allow = ["read"],
        because = "one region is its whole work",
        on_drift = OnDrift::RevertWidening,
    )]
    invoices: auth::Grant,

    #[credential(
        of = account,
        deliver = format!("vault:readers/{region}"),
        rotate = "7d",
        overlap = overlap.clone(),
        group = "readers",
        consumers = ["billing-api"],
    )]
    key: auth::ApiKey,
}

fn year(overlap: &str) -> Year {
    let mut fleet = Fleet::new("billing");
    fleet.provider("authority", Reach::Exclusive).store("vault");
    for region in ["eu", "us", "asia"] {
        fleet.add(InvoiceReaderInputs { region: region.into(), overlap: overlap.into() });
    }
    Year::of(fleet)
        .seed(7)
        .runners(2, hours(1))
        .slow("billing-api", hours(3))
        .keeps("the nightly report", "invoice-reader[\"eu\"].key", hours(24))
        .outage("authority", day(40), hours(6))
        .outage("vault", day(130), hours(3))
        .outage("ledger", day(200), hours(12))
        .runner_dies(day(90), hours(4))
        .clock_jumps(day(150), SignedDuration::from_mins(-40))
        .faults(10)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("An overlap of one hour:\n");
    let played = year("1h").play()?;
    match played.assert(Promise::NobodyIsCutOff) {
        Ok(_) => return Err("the mistake was not found".into()),
        Err(broken) => println!("{broken}\n"),
    }

    println!("An overlap of a day and a bit:\n");
    let played = year("26h").play()?;
    played
        .assert(Promise::OneAlwaysWorks)?
        .assert(Promise::NoOldOneOutlivesItsDeadline)?
        .assert(Promise::EveryRevokedOneIsRefused)?
        .assert(Promise::NoTwoOfAGroupAtOnce)?
        .assert(Promise::NobodyIsCutOff)?
        .assert_all()?;
    println!("every promise was kept: {}\n\nThe last of the trace:", played.counts());
    let lines: Vec<&str> = played.trace().collect();
    lines[lines.len().saturating_sub(12)..].iter().for_each(|line| println!("  {line}"));
    Ok(())
}
