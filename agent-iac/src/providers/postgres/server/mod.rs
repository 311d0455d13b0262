//! The way to a PostgreSQL server.
//!
//! Owns the connections to one server, the transactions on them, what their
//! errors mean, and the engine's own schema in a database. It knows no role,
//! no grant and no catalog: what reads and writes those stands on it.
//!
//! Everything works through a pooler that gives a server's session away after
//! each transaction: nothing is kept in a session, no statement has a name, and
//! every setting is for one transaction. All work runs on a thread of its own,
//! to its end, whatever becomes of the future that waits for it.

mod attempt;
mod batch;
mod connection;
mod demand;
mod error;
mod lookout;
mod pool;
pub mod registry;
mod requests;
mod settings;
#[cfg(test)]
mod tests;
mod thread;
mod tls;
mod together;
mod transaction;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError, Weak},
};

pub use attempt::Prober;
pub use batch::{Batch, Fault, Slice};
pub use connection::About;
use connection::{Connection, Route};
pub(super) use error::copy;
pub use error::{Said, sqlstate};
use pool::{Lease, Pool};
pub use requests::Requests;
pub use settings::{Endpoint, Host, Password, Principal, TlsMode};
pub use thread::Thread;
pub use together::Together;
pub use tokio_postgres::types::Type;
use transaction::Begun;
pub use transaction::{Options, Parameter, Transaction};

use super::name::ident;
use crate::error::{Error, ErrorKind, Result};

/// How a server is worked on: by whom, as whom, and how widely.
#[derive(Clone, Debug)]
pub struct Settings {
    endpoint: Endpoint,
    principal: Principal,
    role: Option<String>,
    connections: usize,
    replica: bool,
    requests: Requests,
}

impl Settings {
    /// Works on a server as this login.
    pub fn new(endpoint: Endpoint, principal: Principal) -> Self {
        Self {
            endpoint,
            principal,
            role: None,
            connections: 4,
            replica: false,
            requests: Requests::default(),
        }
    }

    /// Becomes this role in each transaction: what is made belongs to it, and
    /// not to one of its logins.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// How many connections there may be at once, to all databases together.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most;
        self
    }

    /// Lets a replica answer what is only read. It may lag behind, so that what
    /// is read there is no proof that something is gone.
    #[must_use]
    pub fn replica(mut self, allowed: bool) -> Self {
        self.replica = allowed;
        self
    }

    /// Counts its requests here, with those of others.
    #[must_use]
    pub fn requests(mut self, requests: &Requests) -> Self {
        self.requests = requests.clone();
        self
    }
}

/// A server that one login works on; its clones are the same one.
///
/// Work must not ask for a second transaction while it holds one: when all do,
/// each waits for the connection of another.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

/// A server that is used again as long as somebody else works on it.
#[derive(Clone, Debug, Default)]
pub struct Known(Weak<Inner>);

impl Known {
    /// The server, as long as anybody holds it.
    pub fn server(&self) -> Option<Server> {
        self.0.upgrade().map(Server)
    }
}

struct Inner {
    route: Route,
    principal: Principal,
    role: Option<String>,
    replica: bool,
    database: Arc<str>,
    pool: Arc<Pool>,
    /// What the first connection found, for the others to be compared with.
    about: Mutex<Option<About>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Server({} as {}, {:?})",
            self.0.route.endpoint,
            self.0.principal.user(),
            self.0.pool
        )
    }
}

impl Server {
    /// Names a server; the first transaction connects to it.
    ///
    /// # Errors
    ///
    /// When the trusted authorities cannot be read.
    pub fn new(thread: &Thread, settings: Settings) -> Result<Self> {
        let database = settings.endpoint.database().into();
        Ok(Self(Arc::new(Inner {
            route: Route::new(thread, settings.endpoint)?.counting(settings.requests),
            principal: settings.principal,
            role: settings.role,
            replica: settings.replica,
            database,
            pool: Pool::new(settings.connections),
            about: Mutex::default(),
        })))
    }

    /// The same one, without holding it.
    pub fn known_as(&self) -> Known {
        Known(Arc::downgrade(&self.0))
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.route.endpoint
    }

    /// Who works on it.
    pub fn user(&self) -> &str {
        self.0.principal.user()
    }

    /// How many requests were sent so far; each is one round trip.
    pub fn requests(&self) -> u64 {
        self.0.route.requests().number()
    }

    /// Carries out work on the server's thread, to its end.
    ///
    /// # Errors
    ///
    /// Those of the work.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.0.route.thread().run(work).await
    }

    /// What the server says of itself.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub async fn about(&self) -> Result<About> {
        if let Some(about) = self.known() {
            return Ok(about);
        }
        self.read(None, |_| async { Ok(()) }).await?;
        self.known()
            .ok_or_else(|| Error::new(ErrorKind::Bug, "a server was connected to and is not known"))
    }

    fn known(&self) -> Option<About> {
        self.0.about.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads on one snapshot of a database, which is that of the endpoint where
    /// none is named.
    ///
    /// # Errors
    ///
    /// Those of the work, and when the server cannot be reached.
    pub async fn read<T, F, W>(&self, database: Option<&str>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Transaction) -> W + Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        self.transaction(database, Options::reading(), work).await
    }

    /// Works in one transaction, which is kept when the work is well and undone
    /// when it is not.
    ///
    /// # Errors
    ///
    /// Those of the work, and those of the server. The kind
    /// [`InDoubt`](ErrorKind::InDoubt) is that of a connection that was lost
    /// while the commit was under way; with every other one, nothing was
    /// written.
    pub async fn transaction<T, F, W>(
        &self,
        database: Option<&str>,
        options: Options,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Transaction) -> W + Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let server = self.clone();
        let database = self.named(database);
        // In a box, or every caller's future would hold all of it.
        self.run(Box::pin(async move { server.within(&database, &options, work).await })).await
    }

    fn named(&self, database: Option<&str>) -> Arc<str> {
        database.map_or_else(|| Arc::clone(&self.0.database), Arc::from)
    }

    async fn within<T, F, W>(&self, database: &Arc<str>, options: &Options, work: F) -> Result<T>
    where
        F: FnOnce(Transaction) -> W,
        W: Future<Output = Result<T>>,
    {
        let (lease, transaction) = self.begin(database, options).await?;
        let answer = match work(transaction.clone()).await {
            Ok(answer) => transaction.commit().await.map(|()| answer),
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        };
        if !transaction.is_lost() {
            lease.keep(self.0.route.thread());
        }
        answer
    }

    async fn begin(&self, database: &Arc<str>, options: &Options) -> Result<(Lease, Transaction)> {
        let mut lease = self.0.pool.lease(database).await;
        let role = self.0.role.as_deref();
        // One that was idle may have been cut off meanwhile, by a restart as
        // well; nothing was asked of it yet, so a fresh one can take its place.
        let mut last = None;
        for _ in 0..2 {
            let is_fresh = lease.connection().is_none();
            if is_fresh {
                lease.put(self.connect(database).await?);
            }
            let connection = lease.connection().expect("it was put there just now");
            self.permitted(options)?;
            match Transaction::begin(Arc::clone(connection), options, role).await {
                Begun::Yes(transaction) => return Ok((lease, transaction)),
                Begun::No(error) => return Err(self.not_begun(error)),
                Begun::Dead(error) if is_fresh => return Err(self.not_begun(error)),
                Begun::Dead(error) => last = Some(error),
            }
            lease.discard();
            self.0.pool.clear();
        }
        Err(last.expect("the second connection was fresh"))
    }

    fn not_begun(&self, error: Error) -> Error {
        let Some(role) = &self.0.role else { return error };
        let whose = error.message().split(": ").next().unwrap_or_default().to_owned();
        let (user, name) = (crate::address::quoted(self.user()), crate::address::quoted(role));
        match sqlstate(&error) {
            // What `SET ROLE` says of one that is not there.
            Some("22023") => Error::new(
                ErrorKind::Denied,
                format!("{whose}: there is no role {name}, which the login {user} is to become"),
            )
            .help("let an administrator paste what `plan --requires` prints"),
            Some("42501") => Error::new(
                ErrorKind::Denied,
                format!("{whose}: the login {user} cannot become the role {name}"),
            )
            .help(format!("GRANT {} TO {}", ident(role), ident(self.user())))
            .caused_by(error),
            _ => error,
        }
    }

    async fn connect(&self, database: &Arc<str>) -> Result<Connection> {
        let Inner { route, principal, .. } = &*self.0;
        let password = principal.password().read()?;
        let connection = route
            .connect(principal.user(), &password, database)
            .await
            .map_err(|failure| route.failed(failure, principal.user(), database))?;
        let about = route.in_time(route.greet(&connection)).await?;
        self.compare(about)?;
        Ok(connection)
    }

    /// Takes note of what a server is, and refuses another one in its place.
    fn compare(&self, found: About) -> Result<()> {
        let mut known = self.0.about.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known
            && known.system.is_some()
            && known.system != found.system
        {
            return Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "PostgreSQL at {} is another server than a moment ago",
                    self.endpoint().server()
                ),
            )
            .help("look at what the name leads to, then begin again"));
        }
        if found.in_recovery && !self.0.replica {
            return Err(self.is_replica());
        }
        if known.is_none() || found.database == *self.0.database {
            *known = Some(found);
        }
        Ok(())
    }

    fn is_replica(&self) -> Error {
        Error::new(
            ErrorKind::Refused,
            format!("PostgreSQL at {} is a replica, or in recovery", self.endpoint().server()),
        )
        .help("name the primary; what is read on a replica may be old")
    }

    fn permitted(&self, options: &Options) -> Result<()> {
        let in_recovery = self.known().is_some_and(|about| about.in_recovery);
        if options.writes() && in_recovery { Err(self.is_replica()) } else { Ok(()) }
    }
}
