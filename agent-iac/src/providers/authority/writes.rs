//! Writes: one transaction for a batch, a savepoint for each write in it, and
//! the registry of claims.

use std::{collections::BTreeSet, path::Path};

use jiff::Timestamp;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension as _, Params, Transaction, TransactionBehavior,
};

use super::{
    Account, AccountSpec, Action, ApiKey, ApiKeySpec, Grant, GrantSpec, Pattern,
    file::{File, failed, shown},
    key,
    rows::{Table, by_id, by_key, random_id},
};
use crate::{
    address::{is_printable, quoted},
    clock::{Clock, Entropy},
    error::{Error, ErrorKind, Result, Retry},
    ledger::Claim,
    provider::{Issued, Mark, Object, Observation, Operation, RevokeRequest, Settled, Written},
    resource::Resource,
    value::Value,
};

/// The longest name, description or note, in bytes.
const MAX_TEXT: usize = 256;
/// How many keys an account has at most: enough to rotate without a gap.
const MAX_KEYS: usize = 2;

/// One transaction under way.
pub(super) struct Session<'c> {
    connection: &'c Connection,
    path: &'c Path,
    at: Timestamp,
    /// The same as text.
    now: String,
    entropy: &'c dyn Entropy,
}

/// Carries out jobs in one transaction. One that fails is undone alone; what
/// fails as a whole (a full disk, a lost commit) fails for all.
pub(super) fn batch<J, A>(
    file: &mut File,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    jobs: &[J],
    each: impl Fn(&Session<'_>, &J) -> Result<A>,
) -> Vec<Result<A>> {
    let path = file.path().to_owned();
    let answered = file.connection().and_then(|connection| {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| failed(&path, error))?;
        let at = clock.now();
        let session =
            Session { connection: &transaction, path: &path, at, now: at.to_string(), entropy };
        let answers: Vec<_> =
            jobs.iter().map(|job| session.step(|| each(&session, job))).collect::<Result<_>>()?;
        commit(&path, transaction)?;
        Ok(answers)
    });
    answered.unwrap_or_else(|error| jobs.iter().map(|_| Err(copy(&error))).collect())
}

fn commit(path: &Path, transaction: Transaction<'_>) -> Result<()> {
    transaction.commit().map_err(|error| {
        let undone = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DiskFull)
        );
        if undone {
            return failed(path, error);
        }
        Error::new(
            ErrorKind::InDoubt,
            format!("it cannot be told whether a write into {} was kept", shown(path)),
        )
        .help("settle its claims once the file can be read again")
        .retry_as(Retry::Backoff)
        .caused_by(error)
    })
}

/// The same error for another write of the batch.
fn copy(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message()).retry_as(error.retry());
    match error.repair() {
        Some(help) => copy.help(help),
        None => copy,
    }
}

impl Session<'_> {
    fn sql(&self, error: rusqlite::Error) -> Error {
        failed(self.path, error)
    }

    fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(|error| self.sql(error))
    }

    /// Carries out one step within a savepoint.
    ///
    /// The outer error means that the whole transaction is gone.
    fn step<A>(&self, step: impl FnOnce() -> Result<A>) -> Result<Result<A>> {
        self.execute("SAVEPOINT step", [])?;
        let answer = step();
        if let Err(error) = &answer {
            // A full disk, among others, makes SQLite undo the transaction.
            if self.connection.is_autocommit() {
                return Err(copy(error));
            }
            self.execute("ROLLBACK TO step", [])?;
        }
        self.execute("RELEASE step", [])?;
        Ok(answer)
    }

    /// What the registry knows of a claim.
    fn claimed(&self, claim: &Claim) -> Result<Option<Registered>> {
        let found = self
            .connection
            .prepare_cached("SELECT type, outcome FROM claims WHERE claim = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([claim.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(|error| self.sql(error))?;
        let Some((type_name, outcome)): Option<(String, Option<String>)> = found else {
            return Ok(None);
        };
        let Some(outcome) = outcome else { return Ok(Some(Registered::GivenUp)) };
        let object = serde_json::from_str(&outcome).map_err(|error| {
            Error::new(
                ErrorKind::Damaged,
                format!("what {} keeps of the claim {claim} cannot be read", shown(self.path)),
            )
            .help("look at the table `claims`; somebody may have changed it")
            .caused_by(error)
        })?;
        Ok(Some(Registered::Done {
            type_name,
            written: Box::new(Written { object, correlation: None }),
        }))
    }

    /// The answer of an earlier call with this claim.
    fn repeated<R: Resource>(&self, claim: &Claim) -> Result<Option<Written>> {
        match self.claimed(claim)? {
            None => Ok(None),
            Some(Registered::Done { type_name, written }) if type_name == R::TYPE => {
                Ok(Some(*written))
            }
            Some(Registered::Done { type_name, .. }) => Err(Error::new(
                ErrorKind::Bug,
                format!("the claim {claim} was used for a `{type_name}` before"),
            )),
            // Recovery was told that this will not happen any more.
            Some(Registered::GivenUp) => Err(Error::new(
                ErrorKind::Refused,
                format!("the claim {claim} was given up when its run was settled"),
            )
            .help("repeat the write under a claim of the present run")),
        }
    }

    fn register<R: Resource>(&self, claim: &Claim, object: Option<Object>) -> Result<Written> {
        let outcome = serde_json::to_string(&object).map_err(|error| {
            Error::new(ErrorKind::Bug, "an object has no JSON form").caused_by(error)
        })?;
        self.execute(
            "INSERT INTO claims (claim, type, outcome, at) VALUES (?1, ?2, ?3, ?4)",
            (claim.as_str(), R::TYPE, &outcome, &self.now),
        )?;
        Ok(Written { object, correlation: None })
    }

    fn object<R: Table>(&self, id: &str) -> Result<Option<Object>> {
        by_id::<R>(self.connection, id).map_err(|error| self.sql(error))
    }

    fn account(&self, id: &str) -> Result<Object> {
        self.object::<Account>(id)?.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no account with the id {}", quoted(id)),
            )
            .help("plan again; it may have been deleted meanwhile")
        })
    }
}

enum Registered {
    Done { type_name: String, written: Box<Written> },
    GivenUp,
}

/// A type whose objects are created and changed in place.
pub(super) trait Managed: Table {
    /// Refuses what the authority cannot hold.
    fn validate(spec: &Self::Spec) -> Result<()>;

    /// The values of the natural key.
    fn key(spec: &Self::Spec) -> Vec<&str>;

    /// Inserts a new row, with its mark.
    fn insert(session: &Session<'_>, id: &str, spec: &Self::Spec, mark: &Mark) -> Result<()>;

    /// Gives a row its properties, but for the key.
    fn update(session: &Session<'_>, id: &str, spec: &Self::Spec) -> Result<()>;

    /// Suspends it or lets it act again.
    fn suspend(session: &Session<'_>, id: &str, suspended: bool) -> Result<()>;

    /// Deletes a row and what depends on it.
    fn delete(session: &Session<'_>, id: &str, mark: &Mark) -> Result<()>;

    /// The name of the table.
    const TABLE: &'static str;
}

/// A write in a form that a thread can own.
pub(super) struct Job<R: Resource> {
    pub(super) claim: Claim,
    pub(super) mark: Mark,
    pub(super) operation: Operation<R::Spec>,
    pub(super) seen: Observation,
}

/// Carries out one write.
pub(super) fn write<R: Managed>(session: &Session<'_>, job: &Job<R>) -> Result<Written> {
    if let Some(written) = session.repeated::<R>(&job.claim)? {
        return Ok(written);
    }
    let id = match &job.operation {
        Operation::Create(spec) => {
            let id = create::<R>(session, spec, &job.mark)?;
            let object = session.object::<R>(&id)?;
            return session.register::<R>(&job.claim, object);
        }
        Operation::Update { id, desired } => {
            R::validate(desired)?;
            let now = as_seen::<R>(session, id, job)?.ok_or_else(|| gone::<R>(&job.seen))?;
            if !R::KEY
                .iter()
                .zip(R::key(desired))
                .all(|(field, key)| now.value(field).and_then(Value::as_text) == Some(key))
            {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("the {} of a {} cannot change", R::KEY.join(" and "), R::NOUN),
                )
                .help("make a new one and delete this one"));
            }
            R::update(session, id, desired)?;
            id.clone()
        }
        Operation::Suspend { id } | Operation::Resume { id } => {
            as_seen::<R>(session, id, job)?.ok_or_else(|| gone::<R>(&job.seen))?;
            R::suspend(session, id, matches!(job.operation, Operation::Suspend { .. }))?;
            id.clone()
        }
        Operation::Delete { id } => {
            if as_seen::<R>(session, id, job)?.is_some() {
                R::delete(session, id, &job.mark)?;
            }
            return session.register::<R>(&job.claim, None);
        }
    };
    set_mark(session, R::TABLE, &id, &job.mark)?;
    let object = session.object::<R>(&id)?;
    session.register::<R>(&job.claim, object)
}

fn create<R: Managed>(session: &Session<'_>, spec: &R::Spec, ours: &Mark) -> Result<String> {
    R::validate(spec)?;
    let key = R::key(spec);
    let found = by_key::<R>(session.connection, &key).map_err(|error| session.sql(error))?;
    let what = || {
        let key: Vec<String> = key.iter().map(|part| quoted(part)).collect();
        format!("the {} {}", R::NOUN, key.join(" on "))
    };
    if let Some(found) = found {
        return Err(ours.taken(&what(), found.mark.as_ref()));
    }
    let id = random_id(R::NOUN, session.at, session.entropy);
    R::insert(session, &id, spec, ours)?;
    Ok(id)
}

/// The object as it is now, when it is as it was seen and nobody else's;
/// `None` when it is gone.
fn as_seen<R: Table>(session: &Session<'_>, id: &str, job: &Job<R>) -> Result<Option<Object>> {
    let Some(now) = session.object::<R>(id)? else { return Ok(None) };
    not_foreign::<R>(&now, &job.mark)?;
    match job.seen.moved::<R>(&now) {
        None => Ok(Some(now)),
        Some(how) => Err(Error::new(
            ErrorKind::StalePlan,
            format!("the {} {} is not as it was seen: {how}", R::NOUN, quoted(id)),
        )
        .help("plan again")),
    }
}

fn gone<R: Table>(seen: &Observation) -> Error {
    let id = seen.object().map(|object| object.id.as_str()).unwrap_or_default();
    Error::new(ErrorKind::StalePlan, format!("the {} {} is gone", R::NOUN, quoted(id)))
        .help("plan again")
}

fn not_foreign<R: Table>(now: &Object, mark: &Mark) -> Result<()> {
    mark.not_foreign(&format!("the {} {}", R::NOUN, quoted(&now.id)), now.mark.as_ref())
}

fn set_mark(session: &Session<'_>, table: &str, id: &str, mark: &Mark) -> Result<()> {
    let sql =
        format!("UPDATE {table} SET fleet = ?2, environment = ?3, address = ?4 WHERE id = ?1");
    session.execute(&sql, (id, &mark.fleet, &mark.environment, mark.address.to_string())).map(drop)
}

/// Refuses text that would deceive or overflow whoever reads it.
fn validate_text(what: &str, text: &str) -> Result<()> {
    let help = if text.len() > MAX_TEXT {
        "keep it within 256 bytes"
    } else if !is_printable(text) {
        "use visible characters only"
    } else if text.trim() != text || text.is_empty() {
        "leave no space at its ends, and do not leave it empty"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidInput, format!("{} is not {what}", quoted(text))).help(help))
}

impl Managed for Account {
    const TABLE: &'static str = "accounts";

    fn validate(spec: &AccountSpec) -> Result<()> {
        validate_text("an account's name", &spec.name)?;
        spec.description.as_ref().map_or(Ok(()), |text| validate_text("a description", text))
    }

    fn key(spec: &AccountSpec) -> Vec<&str> {
        vec![&spec.name]
    }

    fn insert(session: &Session<'_>, id: &str, spec: &AccountSpec, mark: &Mark) -> Result<()> {
        let address = mark.address.to_string();
        let mark = (&mark.fleet, &mark.environment, address);
        session
            .execute(
                "INSERT INTO accounts
                     (id, name, description, created_at, fleet, environment, address)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (id, &spec.name, &spec.description, &session.now, mark.0, mark.1, mark.2),
            )
            .map(drop)
    }

    fn update(session: &Session<'_>, id: &str, spec: &AccountSpec) -> Result<()> {
        session
            .execute("UPDATE accounts SET description = ?2 WHERE id = ?1", (id, &spec.description))
            .map(drop)
    }

    fn suspend(session: &Session<'_>, id: &str, suspended: bool) -> Result<()> {
        session
            .execute("UPDATE accounts SET suspended = ?2 WHERE id = ?1", (id, suspended))
            .map(drop)
    }

    fn delete(session: &Session<'_>, id: &str, mark: &Mark) -> Result<()> {
        // What stands on the account goes with it, declared or not: a key that
        // outlived its account would be access that nobody sees. But nothing
        // is taken from another fleet unasked.
        for grant in of_account::<Grant>(session, id)? {
            not_foreign::<Grant>(&grant, mark)?;
            Grant::delete(session, &grant.id, mark)?;
        }
        for key in of_account::<ApiKey>(session, id)? {
            not_foreign::<ApiKey>(&key, mark)?;
            end_key(session, &key.id)?;
        }
        session.execute("DELETE FROM accounts WHERE id = ?1", [id]).map(drop)
    }
}

fn of_account<R: Table>(session: &Session<'_>, id: &str) -> Result<Vec<Object>> {
    let listing = crate::provider::Listing::Of(vec![id.to_owned()]);
    super::rows::list::<R>(session.connection, &listing).map_err(|error| session.sql(error))
}

impl Managed for Grant {
    const TABLE: &'static str = "grants";

    fn validate(spec: &GrantSpec) -> Result<()> {
        Pattern::validate(&spec.on)?;
        spec.allow.iter().try_for_each(Action::validate)?;
        if spec.allow.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "a grant that allows nothing")
                .help("name at least one action in `allow`, or remove the grant"));
        }
        Ok(())
    }

    fn key(spec: &GrantSpec) -> Vec<&str> {
        vec![spec.to.target(), spec.on.as_str()]
    }

    fn insert(session: &Session<'_>, id: &str, spec: &GrantSpec, mark: &Mark) -> Result<()> {
        let account = spec.to.target();
        session.account(account)?;
        let (actions, address) = (words(&spec.allow), mark.address.to_string());
        let mark = (&mark.fleet, &mark.environment, address);
        session
            .execute(
                "INSERT INTO grants
                     (id, account, pattern, actions, created_at, fleet, environment, address)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                (id, account, spec.on.as_str(), actions, &session.now, mark.0, mark.1, mark.2),
            )
            .map(drop)
    }

    fn update(session: &Session<'_>, id: &str, spec: &GrantSpec) -> Result<()> {
        session
            .execute("UPDATE grants SET actions = ?2 WHERE id = ?1", (id, words(&spec.allow)))
            .map(drop)
    }

    fn suspend(_: &Session<'_>, _: &str, _: bool) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "a grant cannot be suspended")
            .help("suspend the account that it is given to"))
    }

    fn delete(session: &Session<'_>, id: &str, _: &Mark) -> Result<()> {
        session.execute("DELETE FROM grants WHERE id = ?1", [id]).map(drop)
    }
}

fn words(actions: &BTreeSet<Action>) -> String {
    actions.iter().map(Action::as_str).collect::<Vec<_>>().join(" ")
}

/// A key to issue, in a form that a thread can own.
pub(super) struct KeyJob {
    pub(super) claim: Claim,
    pub(super) mark: Mark,
    pub(super) generation: u32,
    pub(super) desired: ApiKeySpec,
    pub(super) given: bool,
}

/// Issues one key.
pub(super) fn issue(session: &Session<'_>, job: &KeyJob) -> Result<Issued> {
    if let Some(written) = session.repeated::<ApiKey>(&job.claim)? {
        return Ok(Issued { written, secret: None });
    }
    if job.given {
        return Err(Error::new(ErrorKind::Unsupported, "the authority makes API keys itself")
            .help("ask for a key without giving a secret"));
    }
    if let Some(note) = &job.desired.note {
        validate_text("a note", note)?;
    }
    let account = job.desired.of.target();
    not_foreign::<Account>(&session.account(account)?, &job.mark)?;
    let valid = of_account::<ApiKey>(session, account)?;
    if valid.len() >= MAX_KEYS {
        let ids: Vec<&str> = valid.iter().map(|key| key.id.as_str()).collect();
        return Err(Error::new(
            ErrorKind::Refused,
            format!("the account {} has {} API keys already", quoted(account), valid.len()),
        )
        .help(format!("revoke one of them first: {}", ids.join(", "))));
    }
    let secret = key::generate(session.entropy);
    let hash = secret.expose(key::hash).expect("a key that was made just now has the form of one");
    let id = random_id("key", session.at, session.entropy);
    session.execute(
        "INSERT INTO api_keys (id, account, hash, note, generation, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (&id, account, hash, &job.desired.note, job.generation, &session.now),
    )?;
    set_mark(session, "api_keys", &id, &job.mark)?;
    let object = session.object::<ApiKey>(&id)?;
    Ok(Issued { written: session.register::<ApiKey>(&job.claim, object)?, secret: Some(secret) })
}

/// Revokes one key.
pub(super) fn revoke(session: &Session<'_>, job: &RevokeRequest) -> Result<Written> {
    if let Some(written) = session.repeated::<ApiKey>(&job.claim)? {
        return Ok(written);
    }
    if let Some(key) = session.object::<ApiKey>(&job.id)? {
        not_foreign::<ApiKey>(&key, &job.mark)?;
        end_key(session, &key.id)?;
    }
    session.register::<ApiKey>(&job.claim, None)
}

fn end_key(session: &Session<'_>, id: &str) -> Result<()> {
    session.execute(
        "INSERT INTO revoked_keys (hash, id, account, revoked_at)
         SELECT hash, id, account, ?2 FROM api_keys WHERE id = ?1",
        (id, &session.now),
    )?;
    session.execute("DELETE FROM api_keys WHERE id = ?1", [id]).map(drop)
}

/// Says what became of a claim, and closes it when nothing did: a writer that
/// wakes up late finds its claim given up, so that the answer stays true.
pub(super) fn settle(session: &Session<'_>, claim: &Claim) -> Result<Settled> {
    match session.claimed(claim)? {
        Some(Registered::Done { written, .. }) => Ok(Settled::Done(*written)),
        Some(Registered::GivenUp) => Ok(Settled::NotDone),
        None => {
            session.execute(
                "INSERT INTO claims (claim, type, outcome, at) VALUES (?1, '', NULL, ?2)",
                (claim.as_str(), &session.now),
            )?;
            Ok(Settled::NotDone)
        }
    }
}
