//! Keys of the local authority.

use std::{path::Path, sync::Arc, time::Duration};

use agent_iac::{
    apply::Stop,
    clock::{Clock, SystemClock, block_on},
    deployment::Deployment,
    fleet::Fleet,
    prelude::*,
    provider::Reach,
    providers::authority::{self as auth, Authority, Decision},
};

use super::{Client, Result, Shelf, apply, conclude, under_load};

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

/// What a client may keep a key for: most of the overlap.
const KEPT: Duration = Duration::from_millis(1_400);

pub(crate) fn story(folder: &Path, rotations: usize) -> Result<()> {
    let mut fleet = Fleet::new("billing");
    fleet.provider("authority", Reach::Exclusive).store("vault");
    fleet.add(InvoiceReaderInputs {});
    let deployment = Arc::new(Deployment::embedded(fleet, "production", folder)?);
    apply(&deployment)?;

    let service = || Authority::open(folder.join("authority.db"), Arc::new(SystemClock));
    let client = |keeps| -> Result<Client> {
        let service = service()?;
        Ok(Box::new(move |shelf, stop| block_on(hammer(&service, keeps, shelf, stop))))
    };
    let clients = vec![
        ("one that reads the vault each time", client(Duration::ZERO)?),
        ("one that keeps its key for most of the overlap", client(KEPT)?),
    ];
    let seen = under_load(&deployment, clients, rotations)?;

    let service = service()?;
    let mut alive = 0;
    for key in &seen {
        let answer = block_on(service.check(key, "read", "invoices/1"))?;
        alive += usize::from(matches!(answer, Decision::Allowed { .. }));
    }
    conclude(&deployment, rotations, &seen, alive)
}

/// Asks all the time with the key from the vault.
async fn hammer(service: &Authority, keeps: Duration, shelf: &Shelf, stop: &Stop) -> Result<usize> {
    let clock = SystemClock;
    let mut requests = 0;
    while !stop.is_requested() {
        let key = shelf.read().await?;
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
