//! What a run works with: the real systems behind the names.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    bugs::bug,
    clock::{Clock, Entropy},
    error::{Error, ErrorKind, Result, Retry},
    ledger::Ledger,
    provider::{Capabilities, DynProbe, DynWrite, Limits, Probers, Provider, Writers},
    schema::ResourceType,
    vault::{Deliver, Open, SecretStore},
};

/// How often a call is tried before it is given up.
const ATTEMPTS: u32 = 5;

/// The handles of applying. They are opened when a run begins, never by a
/// program that only plans.
pub(crate) struct Engine {
    pub(crate) fleet: String,
    pub(crate) environment: String,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    types: BTreeMap<String, &'static ResourceType>,
    providers: BTreeMap<String, Handles>,
    stores: BTreeMap<String, Arc<dyn SecretStore>>,
    /// The handles of the stores that something was delivered to.
    deliver: Mutex<BTreeMap<String, Arc<dyn Deliver>>>,
    /// When the next write to a provider with a rate limit may begin.
    next_write: Mutex<BTreeMap<String, Timestamp>>,
}

struct Handles {
    writers: Result<Writers, Arc<Error>>,
    probers: Result<Probers, Arc<Error>>,
    limits: Limits,
}

impl Engine {
    pub(crate) fn new(
        names: (&str, &str),
        ledger: Arc<dyn Ledger>,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        providers: &BTreeMap<String, Arc<dyn Provider>>,
        stores: BTreeMap<String, Arc<dyn SecretStore>>,
    ) -> Self {
        let mut types = BTreeMap::new();
        let providers: BTreeMap<String, Handles> = providers
            .iter()
            .map(|(name, provider)| {
                // One provider that cannot be written to must not stop what
                // concerns the others. Writers come first: what a crash cut
                // off may be for them to undo before anybody can read.
                let handles = Handles {
                    writers: provider.writers().map_err(Arc::new),
                    probers: provider.probers().map_err(Arc::new),
                    limits: provider.limits(),
                };
                match &handles.writers {
                    Ok(writers) => types.extend(writers.types().map(|ty| (ty.name.to_owned(), ty))),
                    // What is only recorded, as what is adopted, needs no
                    // handle that writes.
                    Err(_) => {
                        if let Ok(observers) = provider.observers() {
                            types.extend(observers.types().map(|ty| (ty.name.to_owned(), ty)));
                        }
                    }
                }
                (name.clone(), handles)
            })
            .collect();
        Self {
            fleet: names.0.to_owned(),
            environment: names.1.to_owned(),
            ledger,
            clock,
            entropy,
            types,
            providers,
            stores,
            deliver: Mutex::default(),
            next_write: Mutex::new(BTreeMap::new()),
        }
    }

    pub(crate) fn resource_type(&self, name: &str) -> Result<&'static ResourceType> {
        if let Some(ty) = self.types.get(name) {
            return Ok(ty);
        }
        // It may be a type of one that cannot be reached.
        let away = self
            .providers
            .iter()
            .find_map(|(provider, handles)| Some((provider, handles.writers.as_ref().err()?)));
        Err(match away {
            Some((provider, error)) => unavailable(provider, error),
            None => Error::new(ErrorKind::NotFound, format!("no provider knows the type `{name}`"))
                .help("give the deployment the provider that manages it"),
        })
    }

    pub(crate) fn writer(&self, provider: &str, ty: &str) -> Result<Arc<dyn DynWrite>> {
        let handles = self.handles(provider)?;
        let writers = handles.writers.as_ref().map_err(|error| unavailable(provider, error))?;
        writers.of(ty).map(Arc::clone).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("the provider `{provider}` cannot write the type `{ty}`"),
            )
        })
    }

    pub(crate) fn prober(&self, provider: &str, ty: &str) -> Result<Arc<dyn DynProbe>> {
        let handles = self.handles(provider)?;
        let probers = handles.probers.as_ref().map_err(|error| unavailable(provider, error))?;
        probers.of(ty).map(Arc::clone).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("the provider `{provider}` cannot try a `{ty}`"),
            )
        })
    }

    /// What delivers to a store; opened once, since a key may have to be read
    /// for it.
    pub(crate) fn deliver(&self, store: &str) -> Result<Arc<dyn Deliver>> {
        let mut opened = self.deliver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deliver) = opened.get(store) {
            return Ok(Arc::clone(deliver));
        }
        let deliver = self.store(store)?.deliver()?;
        opened.insert(store.to_owned(), Arc::clone(&deliver));
        Ok(deliver)
    }

    pub(crate) fn opener(&self, store: &str) -> Result<Arc<dyn Open>> {
        self.store(store)?.open()
    }

    fn store(&self, store: &str) -> Result<&Arc<dyn SecretStore>> {
        self.stores.get(store).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("the deployment has no secret store named `{store}`"),
            )
            .help("give the deployment the store under this name")
        })
    }

    pub(crate) fn stores(&self) -> impl Iterator<Item = (&String, &Arc<dyn SecretStore>)> {
        self.stores.iter()
    }

    fn handles(&self, provider: &str) -> Result<&Handles> {
        self.providers.get(provider).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("the deployment has no provider named `{provider}`"),
            )
            .help("give the deployment the provider under this name")
        })
    }

    pub(crate) fn limits(&self, provider: &str) -> Limits {
        self.providers.get(provider).map(|handles| handles.limits).unwrap_or_default()
    }

    pub(crate) fn capabilities(&self, provider: &str, ty: &str) -> Capabilities {
        self.writer(provider, ty).map(|writer| writer.capabilities()).unwrap_or_default()
    }

    /// Waits until a provider with a rate limit takes this many writes.
    pub(crate) async fn pace(&self, provider: &str, writes: usize) {
        let Some(rate) = self.limits(provider).writes_per_second.filter(|rate| *rate > 0) else {
            return;
        };
        let now = self.clock.now();
        let cost = i64::try_from(writes).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        let cost = SignedDuration::from_nanos(cost / i64::from(rate));
        let at = {
            let mut next = self.next_write.lock().unwrap_or_else(PoisonError::into_inner);
            let at = next.get(provider).copied().unwrap_or(now).max(now);
            next.insert(provider.to_owned(), at.checked_add(cost).unwrap_or(at));
            at
        };
        let wait = at.duration_since(now);
        if wait.is_positive() {
            self.clock.sleep(wait.unsigned_abs()).await;
        }
    }

    /// The pause before the next attempt; `None` when the error says that
    /// repeating does not help, or when it was tried often enough.
    pub(crate) fn pause(&self, error: &Error, attempt: u32) -> Option<Duration> {
        if attempt >= ATTEMPTS {
            return None;
        }
        // A lost answer is asked for again, because a claim makes that safe.
        let lost = matches!(error.kind(), ErrorKind::InDoubt | ErrorKind::Timeout);
        match error.retry() {
            Retry::After(pause) => Some(pause),
            Retry::Never if !lost => None,
            Retry::Backoff | Retry::Never => {
                let mut byte = [0];
                self.entropy.fill(&mut byte);
                if bug!("chance of the machine's own") {
                    use std::hash::{BuildHasher as _, Hasher as _};
                    let hasher = std::hash::RandomState::new().build_hasher();
                    byte[0] = hasher.finish().to_le_bytes()[0];
                }
                let base = Duration::from_millis(100 << attempt.min(8));
                // Up to half as long again, so that several runs spread.
                Some(base + base.mul_f64(f64::from(byte[0]) / 512.0))
            }
        }
    }

    /// Repeats a call as its errors allow.
    pub(crate) async fn persist<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut attempt = 0;
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            attempt += 1;
            match self.pause(&error, attempt) {
                Some(_) if bug!("lost wake-up") => std::future::pending().await,
                Some(pause) => self.clock.sleep(pause).await,
                None => return Err(error),
            }
        }
    }
}

fn unavailable(provider: &str, error: &Error) -> Error {
    Error::new(error.kind(), format!("the provider `{provider}` cannot be written to"))
        .help(error.repair().unwrap_or("see the cause").to_owned())
        .caused_by(error.chain())
}
