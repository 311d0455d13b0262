//! Ten rotations under load, and not one request refused.
//!
//! A runner renews a credential every few seconds. Clients use it all the while
//! as applications do: one keeps what it read for most of the overlap, one has
//! a session that it opened before, one a pool. In the end each old credential
//! is tried, and refused.
//!
//! ```text
//! cargo run --example rotation
//! PGPASSWORD=… cargo run --example rotation -- --url postgresql://postgres@localhost/postgres
//! ```
//!
//! The first is about keys of the local authority; the second about logins of a
//! PostgreSQL server on this machine, of which [`postgres`] says what it needs.
//! Ledger and vault stand in `.agent-iac/rotation`, which is emptied first;
//! another folder can be given as an argument, and another number as
//! `--rotations 3`.
#![expect(clippy::print_stdout, reason = "an example tells a story")]

mod local;
mod postgres;

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agent_iac::{
    apply::{RunContext, Stop},
    clock::block_on,
    deployment::{Deployment, PlanRequest, Runner, RunnerOptions},
    ledger::{Actor, CredentialEvent, Event},
    plan::{Action, SavedPlan},
    vault::Open,
};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// One who uses the credential until it is told to stop, and says how often it
/// did; an error when it was refused once.
type Client = Box<dyn FnOnce(&Shelf, &Stop) -> Result<usize> + Send>;

/// Where the credential is delivered.
const PLACE: &str = "invoice-reader";

fn main() -> Result<()> {
    let (mut url, mut folder, mut rotations) = (None, ".agent-iac/rotation".to_owned(), 10);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match &*argument {
            "--url" => url = Some(value()?),
            "--rotations" => rotations = value()?.parse()?,
            _ => folder = argument,
        }
    }
    let folder = Path::new(&folder);
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    match url {
        None => local::story(folder, rotations),
        Some(url) => postgres::story(&url, folder, rotations),
    }
}

/// Applies a fleet.
fn apply(deployment: &Deployment) -> Result<()> {
    let saved = SavedPlan::new(block_on(deployment.plan(&PlanRequest::default()))?)?;
    block_on(deployment.apply(&saved, &context().acknowledging(saved.digest())))?;
    Ok(())
}

fn context() -> RunContext {
    RunContext::new(Actor::asserted("example", "you"))
}

/// Rotates so often while clients are at work, and returns every credential
/// that one of them used.
fn under_load(
    deployment: &Arc<Deployment>,
    clients: Vec<(&'static str, Client)>,
    rotations: usize,
) -> Result<BTreeSet<String>> {
    let stop = Stop::default();
    let seen = Arc::default();
    let mut at_work = Vec::new();
    for (name, client) in clients {
        let vault = deployment.stores()["vault"].open()?;
        let shelf = Shelf { vault, seen: Arc::clone(&seen) };
        let stop = stop.clone();
        let thread = std::thread::spawn(move || {
            let asked = client(&shelf, &stop).map_err(|error| error.to_string());
            // The others need not go on once one was refused.
            stop.request();
            asked
        });
        at_work.push((name, thread));
    }

    let mut watched = context();
    watched.stop = stop.clone();
    let options = RunnerOptions { poll: Duration::from_millis(200), ..RunnerOptions::default() };
    let mut runner =
        Runner::new(Arc::clone(deployment), watched, options).map_err(agent_iac::Error::from)?;
    let (mut turns, mut ends) = (0, 0);
    block_on(runner.run(|tick| {
        let tick = match tick {
            Ok(tick) => tick,
            Err(error) => return println!("{error}"),
        };
        for step in tick.rotated.iter().flat_map(|report| &report.steps) {
            println!("{:>8} {}: {:?}", step.action, step.address, step.outcome);
            match step.action {
                _ if !step.outcome.is_done() => {}
                Action::Rotate => turns += 1,
                _ => ends += 1,
            }
        }
        if ends >= rotations {
            stop.request();
        }
    }));
    let mut requests = 0;
    for (name, thread) in at_work {
        let asked = thread.join().map_err(|_| format!("{name} panicked"))?;
        let asked = asked.map_err(|why| format!("{name}: {why}"))?;
        println!("{asked:>8} requests by {name}");
        requests += asked;
    }
    println!("{turns} rotations, {requests} requests, none refused");
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(seen)
}

/// Checks that each old credential ended, and was proved dead.
fn conclude(
    deployment: &Deployment,
    rotations: usize,
    seen: &BTreeSet<String>,
    alive: usize,
) -> Result<()> {
    let proved = block_on(proofs(deployment))?;
    println!("{proved} ends proved; of {} that were used, {alive} work now", seen.len());
    // The last old one may still stand in its overlap.
    if proved < rotations || alive == 0 || alive > 2 || seen.len() < rotations {
        return Err("an old one outlived its time".into());
    }
    Ok(())
}

/// How many ends of old credentials the ledger proves.
async fn proofs(deployment: &Deployment) -> agent_iac::Result<usize> {
    let batches = deployment.ledger().batches(1, 10_000).await?;
    let entries = batches.iter().flat_map(|batch| &batch.entries);
    let proved = entries.filter(|entry| {
        matches!(
            &entry.event,
            Event::Credential(CredentialEvent::Revoked { proof: Some(proof), .. }) if proof.holds()
        )
    });
    Ok(proved.count())
}

/// What a client reads the credential from.
struct Shelf {
    vault: Arc<dyn Open>,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

impl Shelf {
    /// What consumers read now.
    async fn read(&self) -> Result<String> {
        let secret = self.vault.open(PLACE, None, None).await?;
        let text = secret.expose(|bytes| String::from_utf8(bytes.to_vec()))?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone());
        Ok(text)
    }
}
