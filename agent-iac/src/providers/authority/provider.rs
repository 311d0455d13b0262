//! The authority as the engine manages it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use super::{
    Account, ApiKey, ApiKeySpec, Grant,
    file::{self, File, Mode, shown},
    key,
    rows::{self, Table},
    service::{Checker, Reason},
    writes::{self, Job, KeyJob, Managed, batch},
};
use crate::{
    clock::{Clock, Entropy, SystemClock, SystemEntropy},
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    provider::{
        Attempt, Capabilities, Issue, IssueRequest, Issued, Limits, Listing, Manage, Object,
        Observation, Observe, Observers, Operation, Probe, Probers, Provider, Reference,
        RevokeRequest, Settled, Tried, Write, Writers, Written,
    },
    resource::Link,
    secret::Secret,
    sqlite::Worker,
};

/// How many reads run at once.
const READERS: usize = 2;

/// A local authority as a system that is managed.
///
/// Its principals are apart: what observes opens the file for reading only, so
/// that SQLite itself refuses it a write; what applies opens it for writing;
/// what probes only asks whether a key is good. Run planning as a user that
/// may only read the file, and the operating system says the same.
///
/// | principal | needs |
/// | --- | --- |
/// | observe, probe | to read the file |
/// | apply | to read and write the file, and to write its folder |
#[derive(Clone)]
pub struct AuthorityProvider {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl AuthorityProvider {
    /// Names the authority at `path`, which must exist once it is used.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }

    /// Makes an authority at `path` where there is none, and names it.
    ///
    /// # Errors
    ///
    /// When there is something else at `path`, or the file cannot be made.
    pub fn create(
        path: impl Into<PathBuf>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let path = path.into();
        file::create(&path, clock.now(), &*entropy)?;
        Ok(Self { path, clock, entropy })
    }

    /// Takes the time from another clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes random bytes, of which keys are made, from another source.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn readers(&self) -> Result<Worker<File>> {
        // Opened here once, so that a wrong path is told before a plan begins.
        let mut first = File::new(&self.path, Mode::Read);
        first.connection()?;
        let others = (1..READERS).map(|_| File::new(&self.path, Mode::Read));
        Worker::start("authority-read", std::iter::once(first).chain(others))
    }
}

impl fmt::Debug for AuthorityProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorityProvider").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for AuthorityProvider {
    fn description(&self) -> String {
        format!("authority {}", shown(&self.path).trim_matches('`'))
    }

    fn limits(&self) -> Limits {
        // One writer. A second batch waits for the first, but by then it is in
        // the ledger, which writes it while this file is busy.
        Limits { concurrent: 2, writes_per_second: None }
    }

    async fn target(&self) -> Result<String> {
        let id = |file: &mut File| {
            file.read(|file| file.query_row("SELECT id FROM authority", [], |row| row.get(0)))
        };
        self.readers()?.run(id).await?
    }

    fn observers(&self) -> Result<Observers> {
        let observer = Arc::new(Observer { file: self.readers()? });
        Ok(Observers::new()
            .with::<Account, _>(&observer)
            .with::<Grant, _>(&observer)
            .with::<ApiKey, _>(&observer))
    }

    fn writers(&self) -> Result<Writers> {
        let mut file = File::new(&self.path, Mode::Write);
        file.connection()?;
        let writer = Arc::new(Writer {
            file: Worker::start("authority-write", [file])?,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
        });
        Ok(Writers::new()
            .with::<Account, _>(&writer)
            .with::<Grant, _>(&writer)
            .with_credential::<ApiKey, _>(&writer))
    }

    fn probers(&self) -> Result<Probers> {
        let checker = Checker::open(&self.path)?;
        Ok(Probers::new().with::<ApiKey, _>(&Arc::new(Prober { checker })))
    }
}

/// Only reads.
struct Observer {
    file: Worker<File>,
}

/// Reads and writes, on one thread.
struct Writer {
    file: Worker<File>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// Only asks whether keys are good, which does not count as use.
struct Prober {
    checker: Checker,
}

macro_rules! observes {
    ($($principal:ident),*) => {$(
        #[async_trait]
        impl<R: Table> Observe<R> for $principal {
            fn capabilities(&self) -> Capabilities {
                <R as Table>::capabilities()
            }

            async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
                let references = references.to_vec();
                self.file.run(move |file| file.read(|file| rows::read::<R>(file, &references))).await?
            }

            async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
                let listing = listing.clone();
                self.file.run(move |file| file.read(|file| rows::list::<R>(file, &listing))).await?
            }

            async fn ids(&self) -> Result<Vec<String>> {
                self.file.run(|file| file.read(rows::ids::<R>)).await?
            }
        }
    )*};
}

observes!(Observer, Writer);

impl Writer {
    /// Carries out jobs in one transaction on the thread that writes.
    async fn batch<J: Send + 'static, A: Send + 'static>(
        &self,
        jobs: Vec<J>,
        each: fn(&writes::Session<'_>, &J) -> Result<A>,
    ) -> Vec<Result<A>> {
        let (clock, entropy) = (Arc::clone(&self.clock), Arc::clone(&self.entropy));
        let count = jobs.len();
        let done = self.file.run(move |file| batch(file, &*clock, &*entropy, &jobs, each)).await;
        done.unwrap_or_else(|_| {
            // The thread may have ended after the commit as well as before it.
            let doubt = || {
                Error::new(ErrorKind::InDoubt, "the authority's writer ended within a write")
                    .help("settle the claims of this run")
            };
            (0..count).map(|_| Err(doubt())).collect()
        })
    }

    async fn settled(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        self.batch(claims.to_vec(), writes::settle).await.into_iter().collect()
    }
}

#[async_trait]
impl<R: Managed> Manage<R> for Writer
where
    R::Spec: Clone,
{
    async fn write(&self, batch: &[Write<R>]) -> Vec<Result<Written>> {
        let job = |write: &Write<R>| Job::<R> {
            claim: write.claim.clone(),
            mark: write.mark.clone(),
            operation: match &write.operation {
                Operation::Create(spec) => Operation::Create(spec.clone()),
                Operation::Update { id, desired } => {
                    Operation::Update { id: id.clone(), desired: desired.clone() }
                }
                Operation::Suspend { id } => Operation::Suspend { id: id.clone() },
                Operation::Resume { id } => Operation::Resume { id: id.clone() },
                Operation::Delete { id } => Operation::Delete { id: id.clone() },
            },
            seen: write.seen.clone(),
        };
        self.batch(batch.iter().map(job).collect(), writes::write::<R>).await
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        self.settled(claims).await
    }
}

#[async_trait]
impl Issue<ApiKey> for Writer {
    async fn issue(&self, batch: &[IssueRequest<ApiKey>]) -> Vec<Result<Issued>> {
        let job = |request: &IssueRequest<ApiKey>| KeyJob {
            claim: request.claim.clone(),
            mark: request.mark.clone(),
            generation: request.generation,
            desired: ApiKeySpec {
                of: Link::id(request.desired.of.target()),
                note: request.desired.note.clone(),
            },
            given: request.secret.is_some(),
        };
        self.batch(batch.iter().map(job).collect(), writes::issue).await
    }

    async fn revoke(&self, batch: &[RevokeRequest]) -> Vec<Result<Written>> {
        self.batch(batch.to_vec(), writes::revoke).await
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        self.settled(claims).await
    }
}

#[async_trait]
impl Probe<ApiKey> for Prober {
    async fn probe(&self, attempts: &[Attempt<'_>]) -> Vec<Tried> {
        let mut answers = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            let hash = attempt.secret.expose(key::hash);
            answers.push(match self.checker.decide(hash, None).await {
                Ok(Ok(caller)) if caller.id == attempt.identity => Tried::Accepted,
                Ok(Ok(_)) => Tried::Unknown("the key is another account's".into()),
                // On this path nobody learns whether a key ever was one: what
                // was revoked and what never was are the same.
                Ok(Err(Reason::SuspendedAccount)) => {
                    Tried::Refused(Reason::SuspendedAccount.code().into())
                }
                Ok(Err(_)) => Tried::Refused("key_not_accepted".into()),
                Err(error) => Tried::Unknown(error.to_string()),
            });
        }
        answers
    }

    fn decoy(&self, _: &Secret, entropy: &dyn Entropy) -> Secret {
        key::generate(entropy)
    }
}
