//! One transaction.
//!
//! Owns how one begins, so that nothing that a role or a database sets can
//! change what a statement means, and how it ends: kept, undone, or in doubt.
//! It knows no table.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::timeout;
use tokio_postgres::{
    Error as PgError, Row,
    types::{ToSql, Type},
};

use super::super::name::{ident, literal};
use super::{
    connection::Connection,
    error::{Place, Said, is_lost},
};
use crate::error::{Error, ErrorKind, Result};

/// A value for a statement, with its type, which no server has to be asked
/// for then.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// How long we wait for an answer beyond the time that the server has: it is
/// to say itself that the time is used up.
const GRACE: Duration = Duration::from_secs(10);

/// How a transaction works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    writes: bool,
    statement: Duration,
    lock: Duration,
    settings: Vec<(String, String)>,
}

impl Options {
    /// Reads on one snapshot, and cannot write.
    pub fn reading() -> Self {
        Self {
            writes: false,
            statement: Duration::from_mins(1),
            lock: Duration::from_secs(10),
            settings: Vec::new(),
        }
    }

    /// Writes; each statement sees what was committed before it began.
    pub fn writing() -> Self {
        Self { writes: true, ..Self::reading() }
    }

    /// How long a statement may take.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement = timeout;
        self
    }

    /// How long a statement may wait for a lock.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock = timeout;
        self
    }

    /// Sets a parameter of the server for the transaction.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether it may write.
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// The statements that begin the transaction.
    pub(super) fn begin(&self, role: Option<&str>) -> String {
        let mode = if self.writes {
            // A statement after a lock was taken must see what its last
            // holder committed.
            "ISOLATION LEVEL READ COMMITTED, READ WRITE"
        } else {
            "ISOLATION LEVEL REPEATABLE READ, READ ONLY"
        };
        let mut statements = vec![format!("BEGIN {mode}, NOT DEFERRABLE")];
        let mut set = |name: &str, value: &str| {
            statements.push(format!("SET LOCAL {name} = {}", literal(value)));
        };
        let milliseconds = |time: Duration| time.as_millis().to_string();
        set("statement_timeout", &milliseconds(self.statement));
        set("lock_timeout", &milliseconds(self.lock));
        set("idle_in_transaction_session_timeout", &milliseconds(self.statement));
        // A role or a database can set all of these for whoever logs in.
        set("timezone", "UTC");
        set("datestyle", "ISO");
        set("standard_conforming_strings", "on");
        set("client_min_messages", "notice");
        // The server would compile queries that are over sooner than that.
        set("jit", "off");
        // With this on, names that the server prints are not what is compared.
        set("quote_all_identifiers", "off");
        // With this off, reading the registry is refused.
        set("row_security", "on");
        if self.writes {
            // A claim that is answered as kept must outlive the server.
            set("synchronous_commit", "on");
        }
        for (name, value) in &self.settings {
            set(name, value);
        }
        // Without this, a function of somebody's own could stand before one of
        // the system's. `pg_temp` comes first where it is not named.
        statements.push("SET LOCAL search_path = pg_catalog, pg_temp".into());
        if let Some(role) = role {
            statements.push(format!("SET LOCAL ROLE {}", ident(role)));
        }
        statements.join("; ")
    }

    fn patience(&self) -> Duration {
        self.statement.saturating_add(GRACE)
    }
}

/// A transaction under way; its clones are the same one.
///
/// Whoever began it ends it. What fails outside a savepoint fails the whole.
#[derive(Clone)]
pub struct Transaction(Arc<Inner>);

struct Inner {
    connection: Arc<Connection>,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests whose answer nobody has seen yet, or ever will.
    open: usize,
    /// A statement failed, and the server takes nothing but a rollback.
    failed: bool,
    /// The connection is of no more use.
    lost: bool,
    /// It has ended.
    over: bool,
    /// What the server said beside its answers.
    said: Vec<Said>,
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction({})", self.place())
    }
}

/// How a transaction began, or did not.
pub(super) enum Begun {
    Yes(Transaction),
    /// The connection was dead already; another one may do.
    Dead(Error),
    No(Error),
}

impl Transaction {
    pub(super) async fn begin(
        connection: Arc<Connection>,
        options: &Options,
        role: Option<&str>,
    ) -> Begun {
        connection.notices().clear();
        let transaction = Self(Arc::new(Inner {
            connection,
            patience: options.patience(),
            state: Mutex::default(),
        }));
        let text = options.begin(role);
        let begun = transaction.request(false, transaction.client().batch_execute(&text)).await;
        // What is said here is about settings, and decides nothing.
        transaction.0.connection.notices().clear();
        match begun {
            Ok(()) => Begun::Yes(transaction),
            Err(error) if transaction.state().lost => Begun::Dead(error),
            Err(error) => Begun::No(error),
        }
    }

    fn client(&self) -> &tokio_postgres::Client {
        self.0.connection.client()
    }

    pub(super) fn place(&self) -> &Place {
        self.0.connection.place()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database that it works in.
    pub fn database(&self) -> &str {
        self.place().database()
    }

    /// Asks for rows. Columns of types that are not built in are to be cast to
    /// text in the query: looking such a type up leaves a statement behind in
    /// the session, which a pooler would give to somebody else.
    ///
    /// # Errors
    ///
    /// What the server says, and when the connection is lost.
    pub async fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>> {
        self.request(true, self.client().query_typed(sql, parameters)).await
    }

    /// Carries out one statement; answers how many rows it concerned. When the
    /// server warns, that is an error: a command that warns has often done
    /// nothing.
    ///
    /// # Errors
    ///
    /// As [`Transaction::query`], and what the server warns of.
    pub async fn execute(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64> {
        let parameters = parameters.iter().map(|(value, ty)| (*value, ty.clone()));
        self.heeding(true, async {
            self.client().execute_typed(sql, &parameters.collect::<Vec<_>>()).await
        })
        .await
    }

    /// Carries out any number of statements in one request, all or none.
    ///
    /// # Errors
    ///
    /// As [`Transaction::execute`].
    pub async fn batch(&self, sql: &str) -> Result<()> {
        self.heeding(true, self.client().batch_execute(sql)).await
    }

    /// As [`Transaction::batch`], for statements with something in them that
    /// is not for every eye: the server's text is in no error.
    ///
    /// # Errors
    ///
    /// As [`Transaction::execute`].
    pub async fn batch_unquoted(&self, sql: &str) -> Result<()> {
        self.heeding(false, self.client().batch_execute(sql)).await
    }

    /// What the server said beside its answers since this was asked last.
    pub fn notices(&self) -> Vec<Said> {
        let mut state = self.state();
        for said in self.0.connection.notices().drain(..) {
            state.said.push(Said::of(&said));
        }
        std::mem::take(&mut state.said)
    }

    /// Works within a savepoint: what fails in it is undone, and the
    /// transaction goes on.
    ///
    /// # Errors
    ///
    /// Those of the work, and when the transaction as a whole is gone.
    pub async fn savepoint<T, E, F, W>(&self, work: F) -> Result<T, E>
    where
        E: From<Error>,
        F: FnOnce(Self) -> W,
        W: Future<Output = Result<T, E>>,
    {
        self.request(true, self.client().batch_execute("SAVEPOINT agent_iac")).await?;
        match work(self.clone()).await {
            Ok(done) if !self.state().failed => {
                let release = "RELEASE SAVEPOINT agent_iac";
                self.request(true, self.client().batch_execute(release)).await?;
                Ok(done)
            }
            // It failed, and the work did not say so: the answer is not true.
            Ok(_) => {
                self.undo().await?;
                Err(self.swallowed().into())
            }
            Err(error) => {
                if !self.state().lost {
                    self.undo().await?;
                }
                Err(error)
            }
        }
    }

    async fn undo(&self) -> Result<()> {
        {
            let mut state = self.state();
            // A request that was given up has no end that one could wait for.
            if state.open > 0 {
                state.lost = true;
            }
            state.failed = false;
        }
        let undo = "ROLLBACK TO SAVEPOINT agent_iac; RELEASE SAVEPOINT agent_iac";
        self.request(true, self.client().batch_execute(undo)).await
    }

    fn swallowed(&self) -> Error {
        Error::new(
            ErrorKind::Bug,
            format!("{}: a statement failed, and the work went on", self.place()),
        )
    }

    /// Whether anything can still be done.
    pub(super) fn is_lost(&self) -> bool {
        self.state().lost
    }

    /// Keeps what was done. `Ok` is the only proof that it was.
    pub(super) async fn commit(&self) -> Result<()> {
        let place = self.place();
        let wrong = {
            let state = self.state();
            if state.lost || self.client().is_closed() {
                Some(place.lost())
            } else if state.failed || state.open > 0 {
                // The server would answer a commit with a rollback, and not
                // call that an error.
                Some(self.swallowed())
            } else {
                None
            }
        };
        if let Some(error) = wrong {
            self.rollback().await;
            return Err(error);
        }
        self.state().over = true;
        self.0.connection.count();
        match timeout(self.0.patience, self.client().batch_execute("COMMIT")).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if !is_lost(&error) => Err(place.failed(&error)),
            // It may be kept: the server died, or ended us, while it was at it.
            Ok(Err(_)) | Err(_) => {
                self.state().lost = true;
                Err(place.in_doubt())
            }
        }
    }

    /// Undoes what was done.
    pub(super) async fn rollback(&self) {
        {
            let mut state = self.state();
            state.over = true;
            if state.open > 0 {
                state.lost = true;
            }
            if state.lost {
                return;
            }
        }
        self.0.connection.count();
        let undone = timeout(self.0.patience, self.client().batch_execute("ROLLBACK")).await;
        if !matches!(undone, Ok(Ok(()))) {
            self.state().lost = true;
        }
    }

    /// As [`Transaction::request`]; a warning is an error.
    async fn heeding<T>(
        &self,
        quoting: bool,
        request: impl Future<Output = Result<T, PgError>>,
    ) -> Result<T> {
        let answer = self.request(quoting, request).await?;
        let heard: Vec<_> = self.0.connection.notices().drain(..).collect();
        let mut warned = None;
        let mut state = self.state();
        for said in heard {
            let text = Said::of(&said);
            if text.is_warning() && warned.is_none() {
                warned = Some(self.place().said(&said));
            }
            state.said.push(text);
        }
        warned.map_or(Ok(answer), Err)
    }

    /// Sends something and waits for the answer.
    async fn request<T>(
        &self,
        quoting: bool,
        request: impl Future<Output = Result<T, PgError>>,
    ) -> Result<T> {
        {
            let mut state = self.state();
            if state.over {
                return Err(Error::new(
                    ErrorKind::Bug,
                    format!("{}: a statement came after its transaction", self.place()),
                ));
            }
            if state.lost {
                return Err(self.place().lost());
            }
            // When this future is dropped, it stays open, and so the
            // connection is not used again.
            state.open += 1;
        }
        self.0.connection.count();
        let answer = timeout(self.0.patience, request).await;
        let mut state = self.state();
        state.open -= 1;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                state.failed = true;
                state.lost |= is_lost(&error);
                let place = self.place();
                Err(if quoting { place.failed(&error) } else { place.failed_unquoted(&error) })
            }
            Err(_) => {
                state.failed = true;
                state.lost = true;
                Err(self.place().silent())
            }
        }
    }
}
