//! The main job, from an empty folder to a proved end: declare an agent, plan,
//! apply, use its key, undo a change that somebody made by hand, remove the
//! agent, and read who did what.
//!
//! `cargo run --example quickstart` works in `.agent-iac/quickstart`, which it
//! empties first; another folder can be given as its argument.
#![expect(clippy::print_stdout, reason = "an example tells a story")]

use std::{error::Error, fs, path::Path, sync::Arc};

use agent_iac::{
    agent::OnDrift,
    apply::{Report, RunContext},
    clock::{SystemClock, block_on},
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::{Actor, Event, RunEvent},
    plan::{SavedPlan, render},
    prelude::*,
    provider::Reach,
    providers::authority::{self as auth, Authority, Decision},
    vault::Place,
};

/// Answers questions about one tenant's invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d")]
struct InvoiceReader {
    /// The tenant whose invoices it reads.
    #[input(key)]
    tenant: String,

    #[identity(name = format!("invoice-reader-{tenant}"), on_drift = OnDrift::RevertWidening)]
    account: auth::Account,

    #[permission(
        to = account,
        on = format!("tenants/{tenant}/invoices/*"),
        allow = ["read", "list"],
        on_drift = OnDrift::RevertWidening,
        because = "it answers questions about all of the tenant's invoices",
    )]
    invoices: auth::Grant,

    #[credential(of = account, deliver = format!("vault:agents/{tenant}/invoice-reader"))]
    key: auth::ApiKey,
}

fn fleet(tenants: &[&str]) -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("authority", Reach::Exclusive).store("vault");
    for tenant in tenants {
        fleet.add(InvoiceReaderInputs { tenant: (*tenant).to_owned() });
    }
    fleet
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".agent-iac/quickstart".into());
    let folder = Path::new(&folder);
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    block_on(story(folder))
}

async fn story(folder: &Path) -> Result<(), Box<dyn Error>> {
    title("Two instances of one agent are declared in Rust; this is the plan");
    let deployment = Deployment::embedded(fleet(&["eu", "us"]), "production", folder)?;
    apply(&deployment).await?;

    title("The key in the vault works for what was declared, and for nothing else");
    let service = Authority::open(folder.join("authority.db"), Arc::new(SystemClock))?;
    let key = open_key(&deployment, "vault:agents/eu/invoice-reader").await?;
    for (action, object) in [
        ("read", "tenants/eu/invoices/2026-001"),
        ("delete", "tenants/eu/invoices/2026-001"),
        ("read", "tenants/us/invoices/2026-001"),
    ] {
        println!("{action:>8} {object}: {}", ask(&service, &key, action, object).await?);
    }

    title("Somebody widens the grant by hand, in the authority's file");
    let by_hand = rusqlite::Connection::open(folder.join("authority.db"))?;
    let changed = by_hand.execute(
        "UPDATE grants SET actions = 'delete list read' WHERE pattern LIKE 'tenants/eu/%'",
        [],
    )?;
    let object = "tenants/eu/invoices/2026-001";
    println!("{changed} grant changed; delete: {}", ask(&service, &key, "delete", object).await?);
    let context = RunContext::new(operator());
    tell(&deployment.revert_drift(&context).await?);
    println!("delete: {}", ask(&service, &key, "delete", object).await?);

    title("The agent for `eu` is removed from the code");
    let deployment = deployment.with_fleet(fleet(&["us"]));
    apply(&deployment).await?;
    println!("read: {}", ask(&service, &key, "read", object).await?);
    let plan = deployment.plan(&PlanRequest::default()).await?;
    println!("a plan now: {} steps", plan.steps.len());

    title("The ledger knows who did what, when, and on whose authority");
    for batch in deployment.ledger().batches(1, 1_000).await? {
        for entry in &batch.entries {
            if let Event::Run(RunEvent::Begun { purpose, actor, authority, .. }) = &entry.event {
                let time = batch.header.time;
                println!("{time:.0}  {purpose:?} by {actor}, {authority}");
            }
        }
    }
    let verified = agent_iac::ledger::verify(&**deployment.ledger(), None).await?;
    println!("the chain of {} batches holds", verified.head.sequence);
    println!("\nEverything is in {}.", folder.display());
    Ok(())
}

/// Plans, shows the plan, and applies it by its digest.
async fn apply(deployment: &Deployment) -> Result<(), Box<dyn Error>> {
    let saved = SavedPlan::new(deployment.plan(&PlanRequest::default()).await?)?;
    println!("{}", render::text(&saved, &render::Options::default()));
    let context = RunContext::new(operator()).acknowledging(saved.digest());
    tell(&deployment.apply(&saved, &context).await?);
    Ok(())
}

fn tell(report: &Report) {
    for step in &report.steps {
        println!("{:>8} {}: {:?}", step.action, step.address, step.outcome);
    }
    for left in &report.left {
        let rest =
            if left.open.is_empty() { "nothing is left, proved" } else { "not all is proved" };
        println!("{} left ({}) after {} s: {rest}", left.instance, left.cause, left.seconds);
    }
}

async fn open_key(
    deployment: &Deployment,
    place: &str,
) -> Result<agent_iac::secret::Secret, Box<dyn Error>> {
    let place: Place = place.parse()?;
    Ok(deployment.stores()[place.store()].open()?.open(place.path(), None, None).await?)
}

/// What an internal service does with the key that an agent presents.
async fn ask(
    service: &Authority,
    key: &agent_iac::secret::Secret,
    action: &str,
    object: &str,
) -> Result<String, Box<dyn Error>> {
    let presented = key.expose(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Ok(match service.check(&presented, action, object).await? {
        Decision::Allowed { account } => format!("allowed, as {account}"),
        Decision::Refused(reason) => format!("refused: {reason}"),
    })
}

fn title(text: &str) {
    println!("\n── {text}\n");
}

fn operator() -> Actor {
    Actor::asserted("example", "you")
}
