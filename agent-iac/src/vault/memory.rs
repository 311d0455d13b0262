//! A secret store in memory.
//!
//! Owns nothing that outlives the program: it is the model that the other
//! backends are compared with, and what the simulator runs on. Every handle
//! and every clone shares one state, so it survives a simulated crash.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    Deliver, Delivery, Labels, Open, Pin, SecretStore, StoredVersion, Versions, transition,
};
use crate::{
    error::Result,
    ledger::Claim,
    secret::{Fingerprint, Secret},
    value::Digest,
};

/// The [`SecretStore`] of tests and simulations.
///
/// ```
/// use agent_iac::{clock::block_on, vault::{MemoryVault, SecretStore as _}};
///
/// let vault = MemoryVault::new();
/// let versions = block_on(vault.labels()?.versions(&["agents/triage/key".to_owned()]))?;
/// assert!(versions[0].current.is_none());
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct MemoryVault {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    places: BTreeMap<String, Stock>,
    pins: BTreeMap<String, Pin>,
}

/// What stands at one place.
#[derive(Default)]
struct Stock {
    versions: Versions,
    values: BTreeMap<Digest, Secret>,
}

impl Stock {
    /// Forgets the values of versions that have lost their label.
    fn tidy(&mut self) {
        let versions = &self.versions;
        self.values.retain(|digest, _| versions.labelled().any(|v| v.digest == *digest));
    }
}

impl MemoryVault {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value that a consumer would read at this instant, without any
    /// check: what an invariant of a simulation looks at.
    pub fn peek(&self, path: &str) -> Option<Secret> {
        let shared = self.lock();
        let stock = shared.places.get(path)?;
        let current = stock.versions.current.as_ref()?;
        stock.values.get(&current.digest).map(Secret::duplicate)
    }

    /// Every path at which something is stored, with its versions.
    pub fn places(&self) -> BTreeMap<String, Versions> {
        self.lock()
            .places
            .iter()
            .map(|(path, stock)| (path.clone(), stock.versions.clone()))
            .collect()
    }

    /// Replaces the current value behind the engine's back, as an intruder
    /// with write access would.
    pub fn tamper(&self, path: &str, secret: Secret) {
        if let Some(stock) = self.lock().places.get_mut(path)
            && let Some(current) = &mut stock.versions.current
        {
            current.digest = secret.expose(Digest::of_bytes);
            let digest = current.digest;
            stock.values.insert(digest, secret);
            stock.tidy();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes one place, which is forgotten when nothing is left at it.
    fn change<T>(&self, path: &str, change: impl FnOnce(&mut Stock) -> Result<T>) -> Result<T> {
        transition::check_path(path)?;
        let mut shared = self.lock();
        let stock = shared.places.entry(path.to_owned()).or_default();
        let answer = change(stock);
        stock.tidy();
        if stock.versions.is_empty() {
            shared.places.remove(path);
        }
        answer
    }
}

fn fingerprint_key() -> Secret {
    Secret::from_bytes(b"the key of a store that holds no real secrets".to_vec())
}

#[async_trait]
impl Labels for MemoryVault {
    async fn versions(&self, paths: &[String]) -> Result<Vec<Versions>> {
        let shared = self.lock();
        let versions = |path: &String| {
            transition::check_path(path)?;
            Ok(shared.places.get(path).map(|stock| stock.versions.clone()).unwrap_or_default())
        };
        paths.iter().map(versions).collect()
    }

    async fn pin(&self, ledger: &str) -> Result<Option<Pin>> {
        Ok(self.lock().pins.get(ledger).cloned())
    }
}

#[async_trait]
impl Deliver for MemoryVault {
    async fn stage(&self, delivery: Delivery<'_>) -> Result<StoredVersion> {
        let Delivery { path, address, generation, claim, secret } = delivery;
        self.change(path, |stock| {
            if let Some(stored) = stock.versions.of_claim(claim) {
                let same = stock.values.get(&stored.digest).is_some_and(|v| v.equals(secret));
                return if same && stored.generation == generation {
                    Ok(stored.clone())
                } else {
                    Err(transition::other_value(path, claim))
                };
            }
            // The digest goes into the ledger, so it is keyed: that of the
            // bare value would let a reader of the ledger guess at it.
            let mark = Fingerprint::of(&fingerprint_key(), address, generation, secret);
            let digest = Digest::of(&(path, claim, mark))?;
            let stored = StoredVersion { generation, claim: claim.clone(), digest };
            stock.values.insert(digest, secret.duplicate());
            stock.versions.pending = Some(stored.clone());
            Ok(stored)
        })
    }

    async fn staged(&self, path: &str) -> Result<Option<(StoredVersion, Secret)>> {
        self.change(path, |stock| {
            let pending = stock.versions.pending.clone();
            Ok(pending.map(|stored| {
                let value = stock.values.get(&stored.digest);
                let secret = value.expect("every labelled version has its value").duplicate();
                (stored, secret)
            }))
        })
    }

    async fn promote(&self, path: &str, claim: &Claim) -> Result<StoredVersion> {
        self.change(path, |stock| {
            stock.versions.promote(claim).ok_or_else(|| transition::nothing_pending(path, claim))
        })
    }

    async fn discard(&self, path: &str, claim: &Claim) -> Result<()> {
        self.change(path, |stock| {
            stock.versions.discard(claim);
            Ok(())
        })
    }

    async fn remove(&self, path: &str, generation: u32) -> Result<()> {
        self.change(path, |stock| {
            stock.versions.remove(generation);
            Ok(())
        })
    }

    async fn fingerprint_key(&self) -> Result<(String, Secret)> {
        Ok(("memory".to_owned(), fingerprint_key()))
    }

    async fn set_pin(&self, pin: &Pin) -> Result<()> {
        let mut shared = self.lock();
        transition::may_pin(shared.pins.get(&pin.ledger), pin)?;
        shared.pins.insert(pin.ledger.clone(), pin.clone());
        Ok(())
    }
}

#[async_trait]
impl Open for MemoryVault {
    async fn open(
        &self,
        path: &str,
        generation: Option<u32>,
        expect: Option<Digest>,
    ) -> Result<Secret> {
        self.change(path, |stock| {
            let stored = stock
                .versions
                .select(generation)
                .ok_or_else(|| transition::no_version(path, generation))?;
            if expect.is_some_and(|expect| expect != stored.digest) {
                return Err(transition::not_expected(path, stored.generation));
            }
            let value = stock.values.get(&stored.digest);
            Ok(value.expect("every labelled version has its value").duplicate())
        })
    }
}

impl SecretStore for MemoryVault {
    fn description(&self) -> String {
        "memory".to_owned()
    }

    fn labels(&self) -> Result<Arc<dyn Labels>> {
        Ok(Arc::new(self.clone()))
    }

    fn deliver(&self) -> Result<Arc<dyn Deliver>> {
        Ok(Arc::new(self.clone()))
    }

    fn open(&self) -> Result<Arc<dyn Open>> {
        Ok(Arc::new(self.clone()))
    }
}

impl fmt::Debug for MemoryVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryVault").field("places", &self.places()).finish_non_exhaustive()
    }
}
