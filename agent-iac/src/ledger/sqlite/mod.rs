//! The ledger in one SQLite file.
//!
//! Owns the file's tables, its writer thread and its reader thread. Batches
//! stand in an append-only table, and beside it their fold, so that reading
//! the state replays nothing; [`verify`](super::verify()) shows that the two
//! agree. It holds no lock while nobody writes.

mod alive;
mod anew;
mod faults;
mod form;
mod kept;
mod open;
mod restore;
mod rows;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::Connection;

use self::{
    faults::Explained as _,
    kept::Kept,
    open::Mode,
    rows::Rows,
    writer::{Ask, Done, Job, Writer},
};
use super::{
    Actor, Append, Appended, Batch, Fence, Head, Lease, Ledger, Page, Prepared, Query, Sealed,
    State,
};
use crate::{
    address::Instance,
    clock::{Clock, Entropy, SystemClock, SystemEntropy},
    error::{Error, ErrorKind, Result},
    sqlite::answer,
};

/// How a ledger's file is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The fleet that the ledger is of.
    pub fleet: String,
    /// The environment that it is of.
    pub environment: String,
    /// What tells the time of batches and leases.
    pub clock: Arc<dyn Clock>,
    /// What the ledger's id and the names of its locks are drawn from.
    pub entropy: Arc<dyn Entropy>,
    /// How long to wait for another program that writes; five seconds unless
    /// said, which is many times what a commit takes.
    pub patience: Duration,
}

impl Options {
    /// Options with the operating system's clock and randomness.
    pub fn new(fleet: impl Into<String>, environment: impl Into<String>) -> Self {
        Self {
            fleet: fleet.into(),
            environment: environment.into(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            patience: Duration::from_secs(5),
        }
    }
}

type Read = Box<dyn FnOnce(&Rows<'_>) + Send>;

/// A ledger in one SQLite file.
///
/// Any number of handles and processes may have it open. Each handle has a
/// thread that writes and one that reads; both end when it is dropped, after
/// what was asked of them is done.
///
/// ```
/// use agent_iac::{clock::block_on, ledger::{Ledger as _, Query, SqliteLedger, sqlite::Options}};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("ledger.db");
/// let ledger = SqliteLedger::create_or_open(&path, &Options::new("office", "production"))?;
/// let state = block_on(ledger.state(&Query::Everything))?;
/// assert_eq!((state.head.sequence, state.environment.as_str()), (1, "production"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SqliteLedger {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    // Gone only while the handle is dropped; the writer's also when the ledger
    // was opened for reading.
    jobs: Option<mpsc::Sender<Job>>,
    reads: Option<mpsc::Sender<Read>>,
    reader: Option<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

impl SqliteLedger {
    /// Opens a ledger that exists. Opening writes nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] where there is none, [`ErrorKind::Foreign`]
    /// where the file is another application's, fleet's or environment's,
    /// [`ErrorKind::NewerVersion`] where a newer version made it,
    /// [`ErrorKind::Damaged`] where it is no SQLite file or is damaged,
    /// [`ErrorKind::Denied`] where it may not be written, and
    /// [`ErrorKind::Ledger`] where another program has it locked.
    pub fn open(path: impl Into<PathBuf>, options: &Options) -> Result<Self> {
        Self::start(path.into(), options, Mode::Write)
    }

    /// Opens a ledger, and makes it first where there is none.
    ///
    /// # Errors
    ///
    /// As [`SqliteLedger::open`], and [`ErrorKind::NotFound`] where the folder
    /// does not exist.
    pub fn create_or_open(path: impl Into<PathBuf>, options: &Options) -> Result<Self> {
        Self::start(path.into(), options, Mode::Create)
    }

    /// Opens a ledger for reading only: what planning holds. Every append
    /// through it is refused.
    ///
    /// # Errors
    ///
    /// As [`SqliteLedger::open`].
    pub fn open_read_only(path: impl Into<PathBuf>, options: &Options) -> Result<Self> {
        Self::start(path.into(), options, Mode::Read)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn start(path: PathBuf, options: &Options, mode: Mode) -> Result<Self> {
        let connection = open::connect(&path, options, mode)?;
        let mut ledger = Self {
            path,
            clock: Arc::clone(&options.clock),
            jobs: None,
            reads: None,
            reader: None,
            writer: None,
        };
        if mode == Mode::Read {
            ledger.start_reader(connection)?;
        } else {
            // One that may write, since only such a one can take back what a
            // writer that died had begun; it is then told not to.
            let reader = open::connect(&ledger.path, options, Mode::Write)?;
            reader.execute_batch("PRAGMA query_only = ON").explained(&ledger.path)?;
            ledger.start_reader(reader)?;
            ledger.start_writer(connection, options)?;
        }
        Ok(ledger)
    }

    fn start_reader(&mut self, connection: Connection) -> Result<()> {
        let (reads, asked) = mpsc::channel::<Read>();
        let path = self.path.clone();
        self.reader = Some(spawn("ledger-reader", move || {
            let rows = Rows { connection: &connection, path: &path };
            while let Ok(read) = asked.recv() {
                read(&rows);
            }
        })?);
        self.reads = Some(reads);
        Ok(())
    }

    fn start_writer(&mut self, connection: Connection, options: &Options) -> Result<()> {
        // Room for the pages of a large batch, wherever its addresses stand, and
        // for the few batches that write a record again, so that it goes into
        // the file once.
        connection
            .execute_batch("PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4000")
            .explained(&self.path)?;
        let (jobs, asked) = mpsc::channel();
        let writer = Writer {
            connection,
            path: self.path.clone(),
            clock: Arc::clone(&options.clock),
            entropy: Arc::clone(&options.entropy),
            alive: None,
            kept: Kept::default(),
        };
        self.writer = Some(spawn("ledger-writer", move || writer.run(&asked))?);
        self.jobs = Some(jobs);
        Ok(())
    }

    async fn ask(&self, ask: Ask) -> Result<Done> {
        let Some(jobs) = &self.jobs else {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("the ledger `{}` was opened for reading only", self.path.display()),
            )
            .help("open it for writing; planning and drift need no writing"));
        };
        let (answer, waiting) = answer();
        // A writer that is gone drops the job, and with it the answer.
        let _: std::result::Result<(), mpsc::SendError<Job>> = jobs.send(Job { ask, answer });
        waiting.await.unwrap_or_else(|| {
            Err(Error::new(
                ErrorKind::InDoubt,
                format!("the writer of the ledger `{}` ended early", self.path.display()),
            )
            .help("read the ledger again: it shows whether the entries are there"))
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Rows<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, waiting) = answer();
        let asked: Read = Box::new(move |rows| answer.give(rows.snapshot(read)));
        if let Some(reads) = &self.reads {
            let _: std::result::Result<(), mpsc::SendError<Read>> = reads.send(asked);
        }
        waiting.await.unwrap_or_else(|| {
            Err(Error::new(
                ErrorKind::Ledger,
                format!("the reader of the ledger `{}` ended early", self.path.display()),
            )
            .help("open the ledger again"))
        })
    }
}

fn end(thread: Option<JoinHandle<()>>) {
    // A thread that panicked has no answer left to give.
    let _: Option<std::thread::Result<()>> = thread.map(JoinHandle::join);
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        Error::new(ErrorKind::Io, "a thread for the ledger cannot be started").caused_by(error)
    })
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        // The reader first. The last to close the file folds the log into it,
        // and two who close at once each leave that to the other.
        self.reads = None;
        end(self.reader.take());
        self.jobs = None;
        end(self.writer.take());
    }
}

impl std::fmt::Debug for SqliteLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteLedger")
            .field("path", &self.path)
            .field("writes", &self.jobs.is_some())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    fn description(&self) -> String {
        format!("SQLite {}", self.path.display())
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        match self.ask(Ask::Append(Box::new(Prepared::new(append)?))).await? {
            Done::Appended(appended) => Ok(appended),
            Done::Leases | Done::Checkpoint(_) => {
                Err(Error::new(ErrorKind::Bug, "an append got another's answer"))
            }
        }
    }

    async fn state(&self, query: &Query) -> Result<State> {
        let query = query.clone();
        self.read(move |rows| rows.state(&query)).await
    }

    async fn page(&self, after: Option<&Instance>, limit: usize) -> Result<Page> {
        let after = after.cloned();
        self.read(move |rows| rows.page(after.as_ref(), limit)).await
    }

    async fn batches(&self, from: u64, limit: usize) -> Result<Vec<Batch>> {
        self.read(move |rows| rows.batches(from, limit)).await
    }

    async fn sealed(&self, from: u64, limit: usize) -> Result<Vec<Sealed>> {
        self.read(move |rows| rows.sealed(from, limit)).await
    }

    async fn examine(&self) -> Result<()> {
        self.read(form::examine).await
    }

    async fn checkpoint(&self, archived: Head, actor: &Actor) -> Result<Head> {
        match self.ask(Ask::Checkpoint(archived, actor.clone())).await? {
            Done::Checkpoint(head) => Ok(head),
            Done::Leases | Done::Appended(_) => {
                Err(Error::new(ErrorKind::Bug, "a checkpoint got another's answer"))
            }
        }
    }

    async fn renew(&self, fence: &Fence, ttl: Duration) -> Result<()> {
        self.ask(Ask::Renew(fence.clone(), ttl)).await.map(drop)
    }

    async fn release(&self, fence: &Fence) -> Result<()> {
        self.ask(Ask::Release(fence.clone())).await.map(drop)
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        let now = self.clock.now();
        let leases = self.read(|rows| rows.leases(None)).await?;
        Ok(leases.into_values().filter(|held| held.is_alive(now)).map(|held| held.lease).collect())
    }
}
