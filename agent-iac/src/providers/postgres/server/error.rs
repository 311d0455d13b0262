//! What a server or the way to it answers, as errors of this crate.
//!
//! Owns which of PostgreSQL's codes mean what to a caller, and what of a
//! server's text may be repeated: the message, never its detail or context,
//! which hold values of rows and parameters.

use std::{error::Error as StdError, fmt, io, sync::Arc};

use tokio_postgres::error::{DbError, Severity};

use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result, Retry},
};

/// What a server said: an error, a warning or a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    severity: &'static str,
    code: String,
    message: Option<String>,
}

impl Said {
    pub(super) fn of(said: &DbError) -> Self {
        Self {
            severity: said.parsed_severity().map_or("ERROR", word),
            code: said.code().code().to_owned(),
            message: Some(said.message().to_owned()),
        }
    }

    /// The same without the text, for statements that hold what is not for
    /// everybody: a syntax error repeats a part of the statement.
    fn without_text(mut self) -> Self {
        self.message = None;
        self
    }

    /// One that no server said.
    #[cfg(test)]
    pub(super) fn made_up(code: &str) -> Self {
        Self { severity: "ERROR", code: code.to_owned(), message: None }
    }

    /// The SQLSTATE, as `42501`.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The text, in the server's language.
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// Whether it says that a command may have done nothing.
    pub fn is_warning(&self) -> bool {
        self.severity == "WARNING"
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.severity, self.code)?;
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl StdError for Said {}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Panic => "PANIC",
        Severity::Fatal => "FATAL",
        Severity::Error => "ERROR",
        Severity::Warning => "WARNING",
        Severity::Notice => "NOTICE",
        Severity::Debug => "DEBUG",
        Severity::Info => "INFO",
        Severity::Log => "LOG",
    }
}

/// The SQLSTATE behind an error, where a server gave one.
pub fn sqlstate(error: &Error) -> Option<&str> {
    error.source()?.downcast_ref::<Said>().map(Said::code)
}

/// Where something was asked, for the messages of errors.
#[derive(Clone, Debug)]
pub(super) struct Place {
    server: Arc<str>,
    database: Arc<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL at {}, database {}", self.server, quoted(&self.database))
    }
}

/// Whether an error means that the connection is of no more use.
pub(super) fn is_lost(error: &tokio_postgres::Error) -> bool {
    if let Some(said) = error.as_db_error() {
        return matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
    }
    // What cannot be sent leaves the connection as it was; everything else
    // that is no answer is one of broken connections.
    let cause = error.source();
    error.is_closed() || cause.is_none_or(<dyn StdError>::is::<io::Error>)
}

impl Place {
    pub(super) fn new(server: &Arc<str>, database: &Arc<str>) -> Self {
        Self { server: Arc::clone(server), database: Arc::clone(database) }
    }

    pub(super) fn database(&self) -> &Arc<str> {
        &self.database
    }

    /// Words what went wrong before a commit was asked for: nothing was
    /// written.
    pub(super) fn failed(&self, error: &tokio_postgres::Error) -> Error {
        match error.as_db_error() {
            Some(said) => self.said(said),
            None if is_lost(error) => self.lost(),
            None => Error::new(
                ErrorKind::Bug,
                format!("{self}: a statement or its answer has not the form that was expected"),
            )
            .caused_by(shown(error)),
        }
    }

    /// As [`Place::failed`], without the server's text.
    pub(super) fn failed_unquoted(&self, error: &tokio_postgres::Error) -> Error {
        match error.as_db_error() {
            Some(said) => self.worded(said).caused_by(Said::of(said).without_text()),
            None => self.failed(error),
        }
    }

    /// Words an error, warning or notice of the server.
    pub(super) fn said(&self, said: &DbError) -> Error {
        self.worded(said).caused_by(Said::of(said))
    }

    fn worded(&self, said: &DbError) -> Error {
        let meaning = meaning(said);
        let mut text = format!("{self}: {}", meaning.what);
        if let Some(name) = said.table().or(said.schema()) {
            text = format!("{text} ({})", quoted(name));
        }
        Error::new(meaning.kind, text).help(meaning.help).retry_as(meaning.retry)
    }

    /// The connection broke off before a commit was asked for.
    pub(super) fn lost(&self) -> Error {
        Error::new(
            ErrorKind::Provider,
            format!("{self}: the connection was lost in a transaction, and nothing was written"),
        )
        .help("look at the server's log and the network, then repeat")
        .retry_as(Retry::Backoff)
    }

    /// The connection broke off while a commit was under way.
    pub(super) fn in_doubt(&self) -> Error {
        Error::new(ErrorKind::InDoubt, format!("{self}: the connection was lost during a commit"))
            .help("settle the claims of the run once the server answers again")
            .retry_as(Retry::Backoff)
    }

    /// No answer came within the time that the server itself was given.
    pub(super) fn silent(&self) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!("{self}: no answer came, not even that the time was used up"),
        )
        .help("look at the network between; nothing was written")
        .retry_as(Retry::Backoff)
    }
}

/// A client's error as text: its type is not part of this crate's interface.
fn shown(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

struct Meaning {
    kind: ErrorKind,
    retry: Retry,
    what: &'static str,
    help: &'static str,
}

/// Whether two transactions changed one row of the catalog at once. Its code
/// is that of all internal errors, and its text is translated, but the
/// function that reports it is not.
fn is_concurrent_update(said: &DbError) -> bool {
    said.code().code() == "XX000"
        && (matches!(said.routine(), Some("simple_heap_update" | "simple_heap_delete"))
            || said.message().starts_with("tuple concurrently "))
}

#[expect(clippy::too_many_lines, reason = "a table, one line of meaning for each code")]
fn meaning(said: &DbError) -> Meaning {
    use ErrorKind::{
        Denied, InvalidInput, Io, NotFound, Provider, Refused, StalePlan, Timeout, Unsupported,
    };
    let meaning = |kind, retry, what, help| Meaning { kind, retry, what, help };
    let never = |kind, what, help| meaning(kind, Retry::Never, what, help);
    let later = |kind, what, help| meaning(kind, Retry::Backoff, what, help);
    if is_concurrent_update(said) {
        return later(
            Provider,
            "another transaction changed the same object at the same time",
            "repeat it",
        );
    }
    match said.code().code() {
        "28P01" => never(
            Denied,
            "the password was refused",
            "give the login's present password; a login that does not exist is refused in the same way",
        ),
        "28000" => never(
            Denied,
            "the login was refused for another reason than its password",
            "look at the server's log and `pg_hba.conf`, and whether the role may log in",
        ),
        "42501" => {
            never(Denied, "a right is missing", "grant what `plan --requires` prints to this login")
        }
        "01007" | "01006" => never(
            Denied,
            "the server did nothing but warn, for want of the grant option",
            "let a role with the grant option do it, or the object's owner",
        ),
        "53300" => later(
            Provider,
            "the server or the login has no connection left",
            "end connections that are not needed, or raise the limit",
        ),
        "53100" => later(Io, "the server's disk is full", "make room, then repeat"),
        "53000" | "53200" | "53400" => later(
            Provider,
            "the server is at the end of its means",
            "look at its memory and its configured limits",
        ),
        "55P03" => later(
            Provider,
            "a lock was not given in time",
            "end the transaction that holds it (`pg_blocking_pids` names it), then repeat",
        ),
        "55006" => later(Provider, "the object is in use", "end who uses it, then repeat"),
        "57014" => later(
            Timeout,
            "a statement took longer than it was given, or was cancelled",
            "look at what else the server does, or give more time",
        ),
        "57P01" | "57P02" | "57P03" | "57P05" => later(
            Provider,
            "the server ended the connection or is starting",
            "repeat it once the server is up",
        ),
        "25P03" => later(
            Timeout,
            "the transaction stood idle for longer than it was given",
            "repeat it; if it happens again, look at what this program waits for",
        ),
        "25P04" => later(
            Timeout,
            "the transaction took longer than `transaction_timeout` allows",
            "raise it for the login, or apply less at once; nothing was written",
        ),
        "57P04" => never(
            NotFound,
            "the database was dropped while it was worked on",
            "take it out of the provider, or create it, then plan again",
        ),
        "40001" => later(Provider, "another transaction came in between", "repeat it"),
        "40P01" => later(Provider, "two transactions waited for each other", "repeat it"),
        "25006" => never(
            Provider,
            "the server takes no writes here",
            "name the primary: this is a replica, or a transaction that only reads",
        ),
        "3D000" => never(NotFound, "there is no such database", "create it, or correct the name"),
        "42704" | "42P01" | "3F000" | "42883" | "42703" | "42P02" => never(
            NotFound,
            "something that is named does not exist",
            "plan again; it may have been dropped meanwhile",
        ),
        "42710" | "42P06" | "42P07" | "42723" | "42P04" | "23505" => never(
            StalePlan,
            "something of this name exists already",
            "plan again; somebody may have created it meanwhile",
        ),
        "2BP01" | "2B000" => never(
            Refused,
            "other objects or privileges depend on it",
            "take them away first: `pg_shdepend` and `pg_depend` name them",
        ),
        "0A000" => never(
            Unsupported,
            "the server cannot do this",
            "look at its version and its extensions",
        ),
        "22023" | "42602" | "42622" | "22P02" | "22021" => never(
            InvalidInput,
            "the server does not take a value",
            "compare the declaration with what the server says",
        ),
        "08P01" => of_pooler(said),
        code if code.starts_with("58") => {
            later(Io, "the server's operating system failed", "look at the server's log and disk")
        }
        code if code.starts_with("08") => later(
            Provider,
            "the connection failed",
            "look at the server, and at what stands between",
        ),
        _ => never(
            Provider,
            "the server refused a statement",
            "compare what it says with the declaration",
        ),
    }
}

/// What PgBouncer says of its own: it has one code for everything, which is that
/// of a message that nobody understands, and English words.
fn of_pooler(said: &DbError) -> Meaning {
    use ErrorKind::{Denied, NotFound, Provider, Timeout, Unsupported};
    let meaning = |kind, retry, what, help| Meaning { kind, retry, what, help };
    let says = |words: &[&str]| words.iter().any(|words| said.message().contains(words));
    if says(&["statement pooling"]) {
        return meaning(
            Unsupported,
            Retry::Never,
            "a pooler in between allows no transactions",
            "connect to the server itself, or set `pool_mode` to `transaction` or `session`",
        );
    }
    if says(&["authentication failed", "auth failed", "no such user", "login failed"]) {
        return meaning(
            Denied,
            Retry::Never,
            "a pooler in between refused the login",
            "give the login's present password, and let the pooler know the login (`auth_query` \
             or `auth_file` of PgBouncer)",
        );
    }
    if says(&["no such database"]) {
        return meaning(
            NotFound,
            Retry::Never,
            "a pooler in between knows no such database",
            "name it in the pooler's configuration, or correct the name",
        );
    }
    if says(&["no more connections", "query_wait_timeout"]) {
        return meaning(
            Provider,
            Retry::Backoff,
            "a pooler in between has no connection left",
            "end connections that are not needed, or raise its limits",
        );
    }
    if says(&["timeout"]) {
        return meaning(
            Timeout,
            Retry::Backoff,
            "a pooler in between gave up waiting",
            "look at the pooler's log and its timeouts",
        );
    }
    meaning(
        Provider,
        Retry::Backoff,
        "the connection failed",
        "look at the server, and at what stands between",
    )
}

/// The same error for another write of a batch.
pub(in super::super) fn copy(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.message()).retry_as(error.retry());
    if let Some(help) = error.repair() {
        copy = copy.help(help);
    }
    let Some(cause) = error.source() else { return copy };
    match cause.downcast_ref::<Said>() {
        Some(said) => copy.caused_by(said.clone()),
        None => copy.caused_by(cause.to_string()),
    }
}

/// A panic or the end of the thread, as an error.
pub(super) fn ended<T>(answer: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    answer.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Bug, "work on a PostgreSQL server ended early")
            .caused_by(if error.is_panic() { "it panicked" } else { "its thread is gone" }))
    })
}
