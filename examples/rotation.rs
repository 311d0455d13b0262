//! Ten rotations under load, and not one request refused.
//!
//! A runner renews a key every few seconds. Two clients use it all the while:
//! one reads the vault before each request, the other keeps what it read for
//! most of the overlap, as a pool of connections does. In the end each old key
//! is tried, and refused.
//!
//! `cargo run --example rotation` works in `.agent-iac/rotation`, which it
//! empties first; another folder can be given as its argument.
#![expect(clippy::print_stdout, reason = "an example tells a story")]

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
    clock::{Clock, SystemClock, block_on},
    deployment::{Deployment, PlanRequest, Runner, RunnerOptions},
    fleet::Fleet,
    ledger::{Actor, CredentialEvent, Event},
    plan::{Action, SavedPlan},
    prelude::*,
    provider::Reach,
    providers::authority::{self as auth, Authority, Decision},
};

/// Reads invoices, with a key that lives for moments.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d")]
struct InvoiceReader {
    #[identity(name = "invoice-reader")]
    account: auth::Account,

    #[permission(to = account, on = "invoices/1", allow = ["read"])]
    invoices: auth::Grant,

    #[credential(of = account, deliver = "vault:invoice-reader", rotate = "4s", overlap = "2s")]
    key: auth::ApiKey,
}

const ROTATIONS: usize = 10;

/// What a client may keep a key for: most of the overlap.
const KEPT: Duration = Duration::from_millis(1_400);

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".agent-iac/rotation".into());
    let folder = Path::new(&folder);
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let mut fleet = Fleet::new("billing");
    fleet.provider("authority", Reach::Exclusive).store("vault");
    fleet.add(InvoiceReaderInputs {});
    let deployment = Arc::new(Deployment::embedded(fleet, "production", folder)?);
    let context = RunContext::new(Actor::asserted("example", "you"));
    let saved = SavedPlan::new(block_on(deployment.plan(&PlanRequest::default()))?)?;
    block_on(deployment.apply(&saved, &context.clone().acknowledging(saved.digest())))?;

    let stop = Stop::default();
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let clients: Vec<_> = [Duration::ZERO, KEPT]
        .into_iter()
        .map(|keeps| {
            let (deployment, stop, seen) =
                (Arc::clone(&deployment), stop.clone(), Arc::clone(&seen));
            let service = Authority::open(folder.join("authority.db"), Arc::new(SystemClock))?;
            Ok(std::thread::spawn(move || {
                block_on(hammer(&deployment, &service, keeps, &stop, &seen))
                    .map_err(|error| error.to_string())
            }))
        })
        .collect::<agent_iac::Result<_>>()?;

    let mut watched = context;
    watched.stop = stop.clone();
    let options = RunnerOptions { poll: Duration::from_millis(200), ..RunnerOptions::default() };
    let mut runner =
        Runner::new(Arc::clone(&deployment), watched, options).map_err(agent_iac::Error::from)?;
    let (mut turns, mut ends) = (0, 0);
    block_on(runner.run(|tick| {
        let Ok(tick) = tick else { return };
        for step in tick.rotated.iter().flat_map(|report| &report.steps) {
            if !step.outcome.is_done() {
                continue;
            }
            match step.action {
                Action::Rotate => turns += 1,
                _ => ends += 1,
            }
            println!("{:>8} {}: {:?}", step.action, step.address, step.outcome);
        }
        if ends >= ROTATIONS {
            stop.request();
        }
    }));
    let mut requests = 0;
    for client in clients {
        requests += client.join().map_err(|_| "a client panicked")??;
    }
    println!("{turns} rotations, {requests} requests, none refused");

    let proved = block_on(proofs(&deployment))?;
    let service = Authority::open(folder.join("authority.db"), Arc::new(SystemClock))?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut alive = 0;
    for key in &seen {
        let answer = block_on(service.check(key, "read", "invoices/1"))?;
        alive += usize::from(matches!(answer, Decision::Allowed { .. }));
    }
    println!("{proved} ends proved; of {} keys that were used, {alive} work now", seen.len());
    // The last old one may still stand in its overlap.
    if proved < ROTATIONS || alive > 2 || seen.len() < ROTATIONS {
        return Err("an old key outlived its time".into());
    }
    Ok(())
}

/// Asks all the time with the key from the vault, and counts; an error when a
/// single request is refused.
async fn hammer(
    deployment: &Deployment,
    service: &Authority,
    keeps: Duration,
    stop: &Stop,
    seen: &Mutex<BTreeSet<String>>,
) -> Result<usize, Box<dyn Error>> {
    let clock = SystemClock;
    let vault = deployment.stores()["vault"].open()?;
    let mut requests = 0;
    while !stop.is_requested() {
        let secret = vault.open("invoice-reader", None, None).await?;
        let key = secret.expose(|bytes| String::from_utf8(bytes.to_vec()))?;
        seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        let read = clock.now();
        loop {
            let answer = service.check(&key, "read", "invoices/1").await?;
            if let Decision::Refused(why) = answer {
                return Err(format!("request {requests} was refused: {why:?}").into());
            }
            requests += 1;
            clock.sleep(Duration::from_millis(2)).await;
            if clock.now().duration_since(read).unsigned_abs() >= keeps {
                break;
            }
        }
    }
    Ok(requests)
}

/// How many ends of old keys the ledger proves.
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
