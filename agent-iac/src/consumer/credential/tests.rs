use std::sync::Mutex;

use async_trait::async_trait;
use jiff::Timestamp;

use super::*;
use crate::{
    clock::block_on,
    consumer::{Inbox as _, MemoryInbox},
    ledger::Claim,
    vault::{Deliver as _, Delivery, MemoryVault, Versions},
};

const PATH: &str = "agents/triage/key";

fn address() -> Address {
    "triage.key".parse().unwrap()
}

fn deliver(vault: &MemoryVault, generation: u32) {
    let claim = Claim::from_text(format!("5eed.{generation}"));
    let secret = Secret::from_text(format!("secret {generation}"));
    let address = address();
    let delivery =
        Delivery { path: PATH, address: &address, generation, claim: &claim, secret: &secret };
    block_on(vault.stage(delivery)).unwrap();
    block_on(vault.promote(PATH, &claim)).unwrap();
}

fn credential(vault: &MemoryVault, clock: &Arc<Steps>) -> Credential {
    let place = format!("vault:{PATH}").parse().unwrap();
    let clock = Arc::clone(clock);
    Credential::new(address(), place, vault).unwrap().with_clock(clock)
}

type Step = Box<dyn FnOnce() + Send>;

/// A clock that does not wait, counts how long it would have, and does the next
/// of some steps at each wait.
#[derive(Default)]
struct Steps {
    waited: Mutex<Vec<Duration>>,
    steps: Mutex<Vec<Step>>,
}

impl Steps {
    fn of(steps: Vec<Step>) -> Arc<Self> {
        Arc::new(Self { waited: Mutex::default(), steps: Mutex::new(steps) })
    }

    fn waited(&self) -> Vec<u64> {
        self.waited.lock().unwrap().iter().map(Duration::as_secs).collect()
    }
}

#[async_trait]
impl Clock for Steps {
    fn now(&self) -> Timestamp {
        let waited: Duration = self.waited.lock().unwrap().iter().sum();
        Timestamp::UNIX_EPOCH.checked_add(waited).unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        self.waited.lock().unwrap().push(duration);
        let mut steps = self.steps.lock().unwrap();
        assert!(!steps.is_empty(), "somebody waits for ever");
        let step = steps.remove(0);
        drop(steps);
        step();
    }
}

/// A store that is away for some reads.
struct Unsteady {
    vault: MemoryVault,
    failures: Mutex<usize>,
}

impl Unsteady {
    fn fails(&self) -> bool {
        let mut failures = self.failures.lock().unwrap();
        let fails = *failures > 0;
        *failures -= usize::from(fails);
        fails
    }
}

#[async_trait]
impl Labels for Unsteady {
    async fn versions(&self, paths: &[String]) -> Result<Vec<Versions>> {
        if self.fails() {
            return Err(Error::new(ErrorKind::Vault, "the store is away"));
        }
        self.vault.versions(paths).await
    }

    async fn pin(&self, ledger: &str) -> Result<Option<crate::vault::Pin>> {
        self.vault.pin(ledger).await
    }
}

#[test]
fn the_current_generation_is_read_and_a_pending_one_never() {
    let (vault, clock) = (MemoryVault::new(), Steps::of(vec![]));
    let credential = credential(&vault, &clock);
    let error = block_on(credential.current()).unwrap_err();
    assert_eq!((error.kind(), error.address()), (ErrorKind::NotFound, Some(&address())));
    deliver(&vault, 1);
    let (claim, secret) = (Claim::from_text("5eed.9"), Secret::from_text("pending".into()));
    let address = address();
    let pending =
        Delivery { path: PATH, address: &address, generation: 2, claim: &claim, secret: &secret };
    block_on(vault.stage(pending)).unwrap();
    let current = block_on(credential.current()).unwrap();
    assert_eq!(current.generation, 1);
    current.secret.expose(|bytes| assert_eq!(bytes, b"secret 1"));
    assert!(!format!("{current:?} {credential:?}").contains("secret 1"));
}

#[test]
fn a_watch_gives_the_present_generation_at_once_and_waits_for_each_other_one() {
    let vault = MemoryVault::new();
    deliver(&vault, 1);
    let second = vault.clone();
    let clock = Steps::of(vec![Box::new(|| ()), Box::new(move || deliver(&second, 2))]);
    let credential = credential(&vault, &clock);
    let mut watch = credential.watch();
    assert_eq!(block_on(watch.next()).unwrap().generation, 1);
    assert_eq!(clock.waited(), [0_u64; 0]);
    assert_eq!(block_on(watch.next()).unwrap().generation, 2);
    assert_eq!(clock.waited(), [5, 5]);
    // One that knows where it is begins behind it.
    assert_eq!(block_on(credential.watch().after(1).next()).unwrap().generation, 2);
}

#[test]
fn a_store_that_is_away_is_told_and_asked_again_with_growing_pauses() {
    let vault = MemoryVault::new();
    deliver(&vault, 1);
    let clock = Steps::of((0..8).map(|_| Box::new(|| ()) as Step).collect());
    let mut credential = credential(&vault, &clock);
    credential.labels = Arc::new(Unsteady { vault, failures: Mutex::new(6) });
    let mut watch = credential.watch();
    for _ in 0..6 {
        assert_eq!(block_on(watch.next()).unwrap_err().kind(), ErrorKind::Vault);
    }
    assert_eq!(block_on(watch.next()).unwrap().generation, 1);
    assert_eq!(clock.waited(), [10, 20, 40, 60, 60, 60]);
}

#[test]
fn a_store_that_goes_back_to_an_older_generation_is_an_error_and_leads_nobody_back() {
    let (vault, behind) = (MemoryVault::new(), MemoryVault::new());
    deliver(&vault, 1);
    deliver(&vault, 2);
    deliver(&behind, 1);
    let clock = Steps::of(vec![Box::new(|| ()), Box::new(|| ())]);
    let mut credential = credential(&vault, &clock);
    let mut watch = credential.watch();
    assert_eq!(block_on(watch.next()).unwrap().generation, 2);
    // The same store is asked, and answers as a copy that is behind.
    credential = Credential::new(address(), credential.place.clone(), &behind).unwrap();
    let error = block_on(credential.watch().after(2).look()).unwrap_err();
    assert_eq!((error.kind(), error.address()), (ErrorKind::Vault, Some(&address())));
    assert!(error.message().contains("generation 1, after 2"), "{error}");
    deliver(&behind, 2);
    assert!(block_on(credential.watch().after(2).look()).unwrap().is_none());
    deliver(&behind, 3);
    assert_eq!(block_on(credential.watch().after(2).look()).unwrap().unwrap().generation, 3);
}

#[test]
fn what_is_confirmed_is_in_the_inbox_with_the_time() {
    let (vault, inbox) = (MemoryVault::new(), MemoryInbox::new());
    let clock = Steps::of(vec![]);
    let consumer: Consumer = "billing-api".parse().unwrap();
    // Without an inbox it is nobody's to know.
    block_on(credential(&vault, &clock).confirm(3)).unwrap();
    let credential =
        credential(&vault, &clock).confirming(consumer.clone(), Arc::new(inbox.clone()));
    block_on(credential.confirm(3)).unwrap();
    let found = block_on(inbox.confirmed(&[(address(), consumer.clone())])).unwrap().remove(0);
    let at = Timestamp::UNIX_EPOCH;
    assert_eq!(found, Some(Confirmation { credential: address(), consumer, generation: 3, at }));
}
