//! Everything that writes to a cluster: roles, memberships, grants, default
//! privileges, policies, ownership, and what everybody may.
//!
//! Owns the one way that a batch goes, whatever its type: claims, locks, what
//! is there now, a judgement of each write, grouped statements, what is there
//! then, and the registry, all in one transaction for each database. A command
//! of PostgreSQL that succeeds may have done nothing, or more than was asked,
//! so its success is never taken for the answer: what was read before and what
//! is read after are. It knows nothing of connections, nor of plans.

mod acl;
mod default_privileges;
mod grant;
mod handles;
mod heirs;
pub(super) mod leaving;
mod membership;
mod ownership;
mod passing;
mod pipeline;
mod policy;
mod powers;
mod public;
mod public_defaults;
mod role;
mod rules;
mod script;
mod sessions;
mod switching;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::try_join;
use serde::Serialize;

use self::powers::{Acting, Powers};
use super::{
    Login, Object as Concrete,
    catalog::{Read, Within, people::GRANTORS},
    outcome,
    server::{
        Batch, Fault, Options, Slice, Transaction, Type, copy,
        registry::{self, Registered, State},
    },
    view::View,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    provider::{Mark, Object, Observation, Operation, Reference, Settled, Write, Written},
    resource::{Property as _, Reading, Resource},
    value::Value,
};

pub(super) use self::{
    leaving::Leaver,
    membership::goes_on,
    pipeline::{Faults, answered, correlation},
    role::{set, switch},
    sessions::{end_open_sessions, end_sessions_of, insist},
};
pub(super) use handles::writers;

/// What keeps all of our writers in one database apart. Two that change one
/// row of the catalog at once would fail with an internal error.
pub(super) const SERIAL: &str = "write";

/// What the registry knows of claims.
pub(super) type Claims = BTreeMap<Claim, Registered>;

/// Writes to one cluster; its clones are the same one.
#[derive(Clone)]
pub(super) struct Writer(Arc<Inner>);

struct Inner {
    view: View,
    /// The databases whose registry was seen by this process, with its
    /// observer let in.
    installed: Mutex<BTreeSet<Option<String>>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer({:?})", self.0.view)
    }
}

/// One write, in a form that outlives the call.
#[derive(Debug)]
struct Job<R: Resource> {
    pub(super) claim: Claim,
    pub(super) mark: Mark,
    pub(super) operation: Operation<R::Spec>,
    pub(super) seen: Observation,
    /// Who takes over what nobody declared an heir for, as the own database
    /// knows it.
    pub(super) heir: Option<String>,
}

impl<R: Resource<Spec: Clone>> Job<R> {
    fn of(write: &Write<R>) -> Self {
        Self {
            claim: write.claim.clone(),
            mark: write.mark.clone(),
            operation: write.operation.clone(),
            seen: write.seen.clone(),
            heir: None,
        }
    }
}

impl<R: Resource> Job<R> {
    /// The id that the write names; a create names none.
    fn id(&self) -> Option<&str> {
        match &self.operation {
            Operation::Create(_) => None,
            Operation::Update { id, .. }
            | Operation::Suspend { id }
            | Operation::Resume { id }
            | Operation::Delete { id } => Some(id),
        }
    }

    /// What is to be there afterwards, where that is declared.
    fn spec(&self) -> Option<&R::Spec> {
        match &self.operation {
            Operation::Create(spec) | Operation::Update { desired: spec, .. } => Some(spec),
            _ => None,
        }
    }
}

/// What is there where a write goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    object: Object,
    /// What its type keeps in the registry.
    detail: Option<String>,
}

/// A write with what was found where it goes.
type Seen<'j, R> = (&'j Job<R>, Option<Found>);

/// What is written into the registry about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    id: String,
    detail: Option<String>,
}

impl Entry {
    fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), detail: None }
    }

    fn with(id: impl Into<String>, detail: &impl Serialize) -> Result<Self> {
        let detail = serde_json::to_string(detail).map_err(|error| {
            Error::new(ErrorKind::Bug, "a detail has no JSON form").caused_by(error)
        })?;
        Ok(Self { id: id.into(), detail: Some(detail) })
    }
}

/// A type that is written by statements, many at once.
trait Kind: Read<Spec: Clone> {
    /// What a person calls one.
    const NOUN: &'static str;
    /// Whether the registry keeps more of it than whose it is.
    const DETAILED: bool = false;
    /// Whether it can be suspended.
    const SUSPENDS: bool = false;

    /// What is read of the server for some writes, beside the objects.
    type Now: Send + Sync;
    /// What a write is going to do.
    type Change: Send + Sync;

    /// The declared properties, in their plain form.
    fn declared(spec: &Self::Spec) -> BTreeMap<&'static str, Value>;

    /// What a person calls the object of a write.
    fn what(job: &Job<Self>, found: Option<&Found>) -> String {
        let key = match job.spec() {
            Some(spec) => key_of::<Self>(spec),
            None => match found {
                Some(found) => found.object.fields.iter().filter_map(known).collect(),
                None => BTreeMap::new(),
            },
        };
        named::<Self>(&key, job.id())
    }

    /// Reads what else has to be known.
    fn now(
        within: &Within,
        seen: &[Seen<'_, Self>],
    ) -> impl Future<Output = Result<Self::Now>> + Send;

    /// Decides what a write does. What is there is as it was seen, and is not
    /// another fleet's; for a create there is nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be done.
    fn judge(
        within: &Within,
        now: &Self::Now,
        job: &Job<Self>,
        found: Option<&Found>,
    ) -> Result<Self::Change>;

    /// Carries changes out.
    fn carry_out(
        within: &Within,
        now: &Self::Now,
        changes: &[(&Job<Self>, Self::Change)],
    ) -> impl Future<Output = Result<()>> + Send;

    /// Shows what was found as it was before a first step of the same write.
    fn recall(_job: &Job<Self>, _found: &mut Found) {}

    /// Carries out writes of this type.
    fn write(
        writer: &Writer,
        batch: &[Write<Self>],
    ) -> impl Future<Output = Vec<Result<Written>>> + Send {
        writer.batch(batch.iter().map(Job::of).collect())
    }

    /// What finds the object afterwards.
    fn written(job: &Job<Self>, _change: &Self::Change) -> Reference {
        job.reference()
    }

    /// What the registry is to say. It is given what was read afterwards.
    ///
    /// # Errors
    ///
    /// When what was read is not what the change makes.
    fn entry(
        now: &Self::Now,
        job: &Job<Self>,
        change: &Self::Change,
        read: Option<&Object>,
    ) -> Result<Entry>;

    /// Whether what the registry says changes how the object is read.
    fn reads_registry(_job: &Job<Self>) -> bool {
        Self::DETAILED
    }

    /// Compares what else is there now with what a change makes of it.
    ///
    /// # Errors
    ///
    /// When it is something else: somebody came in between, or the server did
    /// not do what it said.
    fn check(
        _before: &Self::Now,
        _after: &Self::Now,
        _job: &Job<Self>,
        _change: &Self::Change,
    ) -> Result<()> {
        Ok(())
    }

    /// Whether [`Kind::check`] needs what else is there.
    fn checks(_change: &Self::Change) -> bool {
        false
    }

    /// Says of a failure what is known beside the server's words. The failed
    /// statements were undone.
    fn explain(
        _within: &Within,
        _now: &Self::Now,
        _job: &Job<Self>,
        _change: &Self::Change,
        error: Error,
    ) -> impl Future<Output = Error> + Send {
        std::future::ready(error)
    }
}

/// The natural key of a declaration.
fn key_of<K: Kind>(spec: &K::Spec) -> BTreeMap<String, Value> {
    let mut declared = K::declared(spec);
    let keys = K::RESOURCE.key_fields();
    keys.filter_map(|field| Some((field.name.to_owned(), declared.remove(field.name)?))).collect()
}

fn known((name, reading): (&String, &Reading)) -> Option<(String, Value)> {
    match reading {
        Reading::Known(value) => Some((name.clone(), value.clone())),
        _ => None,
    }
}

/// What a person calls an object, by the fields of its key or its id.
fn named<K: Kind>(key: &BTreeMap<String, Value>, id: Option<&str>) -> String {
    let parts: Vec<String> = K::RESOURCE
        .key_fields()
        .filter_map(|field| {
            let value = key.get(field.name)?;
            let text = match Concrete::from_value(value) {
                Some(object) => object.to_string(),
                None => quoted(value.as_text()?),
            };
            Some(match field.name {
                "name" => text,
                name => format!("{name} {text}"),
            })
        })
        .collect();
    match (parts.is_empty(), id) {
        (true, Some(id)) => format!("the {} {}", K::NOUN, quoted(id)),
        _ => format!("the {} {}", K::NOUN, parts.join(" ")),
    }
}

impl<K: Kind> Job<K> {
    /// What finds the object of the write before it.
    fn reference(&self) -> Reference {
        match (&self.operation, self.id()) {
            (Operation::Create(spec), _) => Reference::Key(key_of::<K>(spec)),
            (_, id) => Reference::Id(id.unwrap_or_default().to_owned()),
        }
    }
}

impl Writer {
    pub(super) fn new(view: View) -> Self {
        Self(Arc::new(Inner { view, installed: Mutex::default() }))
    }

    pub(super) fn view(&self) -> &View {
        &self.0.view
    }

    /// Says what became of the claims of logins, as [`outcome::settle`].
    ///
    /// # Errors
    ///
    /// When a database cannot be asked.
    pub(super) async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        outcome::settle(&self.0.view, Login::TYPE, claims).await
    }

    /// Carries out writes, in one transaction for each database.
    async fn batch<K: Kind>(&self, jobs: Vec<Job<K>>) -> Vec<Result<Written>> {
        let mut answers: Vec<Option<Result<Written>>> = jobs.iter().map(|_| None).collect();
        let mut by_database = BTreeMap::<_, (Vec<usize>, Vec<Job<K>>)>::new();
        for (at, job) in jobs.into_iter().enumerate() {
            match self.database_of(&job) {
                Ok(database) => {
                    let (places, jobs) = by_database.entry(database).or_default();
                    places.push(at);
                    jobs.push(job);
                }
                Err(error) => answers[at] = Some(Err(error)),
            }
        }
        for (database, (places, jobs)) in by_database {
            for (at, answer) in places.into_iter().zip(self.within::<K>(database, jobs).await) {
                answers[at] = Some(answer);
            }
        }
        answers
            .into_iter()
            .map(|answer| answer.expect("each write is in one database, or was refused"))
            .collect()
    }

    /// The database that a write is in.
    fn database_of<K: Kind>(&self, job: &Job<K>) -> Result<Option<String>> {
        match K::asked(&job.reference()) {
            Ok(asked) => {
                self.0.view.layout.managed(asked.database.as_deref())?;
                Ok(asked.database)
            }
            // There can be no such thing anywhere.
            Err(Observation::Absent | Observation::Present(_)) => Ok(None),
            Err(Observation::Unread(why)) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} cannot be written: {why}", K::what(job, None)),
            )),
        }
    }

    /// Carries out writes in one database.
    async fn within<K: Kind>(
        &self,
        database: Option<String>,
        jobs: Vec<Job<K>>,
    ) -> Vec<Result<Written>> {
        let work = |within: Within, slice: Slice<Job<K>>, entered: Arc<Claims>| async move {
            pipeline::carry_out::<K>(&within, &slice, &entered).await
        };
        self.carry_out(database, jobs, |job| &job.claim, work).await
    }

    /// Carries out jobs in one database, in one transaction where that is
    /// possible, and answers for each. `work` is given a slice of the jobs and
    /// what the registry knew of their claims when the transaction began.
    pub(super) async fn carry_out<J, A, F, W>(
        &self,
        database: Option<String>,
        jobs: Vec<J>,
        claim: fn(&J) -> &Claim,
        work: F,
    ) -> Vec<Result<A>>
    where
        J: Send + Sync + 'static,
        A: Send + 'static,
        F: Fn(Within, Slice<J>, Arc<Claims>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Vec<A>, Fault>> + Send + 'static,
    {
        let version = match self.version().await {
            Ok(version) => version,
            Err(error) => return jobs.iter().map(|_| Err(copy(&error))).collect(),
        };
        let entered = Arc::<Mutex<Arc<Claims>>>::default();
        let (noted, writer, entering) = (Arc::clone(&entered), self.clone(), database.clone());
        let before = move |tx, slice: Slice<J>| {
            let (writer, noted, database) = (writer.clone(), Arc::clone(&noted), entering.clone());
            async move {
                let claims: Vec<Claim> = slice.iter().map(|job| claim(job).clone()).collect();
                let found = writer.enter(&tx, database.as_ref(), &claims).await?;
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
                Ok(())
            }
        };
        let (working, name) = (self.clone(), database.clone());
        let work = move |tx, slice: Slice<J>| {
            let entered = entered.lock().unwrap_or_else(PoisonError::into_inner);
            let within = working.here(tx, name.clone(), version).with_registry();
            work(within, slice, Arc::clone(&entered))
        };
        Batch::new(&self.0.view.server, database.as_deref(), jobs)
            .options(Options::writing())
            .carry_out(before, work)
            .await
    }

    pub(super) async fn version(&self) -> Result<u32> {
        Ok(self.0.view.server.about().await?.major())
    }

    pub(super) fn here(&self, tx: Transaction, database: Option<String>, version: u32) -> Within {
        Within::new(tx, Arc::clone(&self.0.view.layout), database, version)
    }

    /// Begins a transaction that writes: the registry is there, recovery of
    /// these claims waits for it, and none of our other writers is at work.
    async fn enter(
        &self,
        tx: &Transaction,
        database: Option<&String>,
        claims: &[Claim],
    ) -> Result<Claims> {
        let is_known = |writer: &Self| {
            let installed = writer.0.installed.lock();
            installed.unwrap_or_else(PoisonError::into_inner).contains(&database.cloned())
        };
        if !is_known(self) {
            let observer = self.0.view.layout.observer.as_deref();
            let is_there = matches!(registry::state(tx).await?, State::Ready { trusted: true, .. });
            if !is_there {
                registry::install(tx, observer).await?;
            }
            let is_admitted = registry::admit(tx, observer).await?;
            // What this transaction did may be undone.
            if is_there && !is_admitted {
                let installed = self.0.installed.lock();
                installed.unwrap_or_else(PoisonError::into_inner).insert(database.cloned());
            }
        }
        let (found, ()) =
            try_join(registry::enter(tx, claims), registry::serialise(tx, SERIAL)).await?;
        Ok(found)
    }
}

/// The names of roles, by their numbers.
async fn role_names(within: &Within, oids: &BTreeSet<u32>) -> Result<BTreeMap<u32, String>> {
    if oids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let oids: Vec<u32> = oids.iter().copied().collect();
    let rows = within
        .tx
        .query(
            "SELECT oid, rolname::text FROM pg_roles WHERE oid = ANY ($1)",
            &[(&oids, Type::OID_ARRAY)],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Everybody who can be granted something, PUBLIC included.
async fn all_grantees(within: &Within) -> Result<BTreeSet<u32>> {
    let rows = within.tx.query("SELECT oid FROM pg_roles", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).chain([0]).collect())
}

/// Runs statements, each in its name, in one request.
async fn apply_script(
    within: &Within,
    powers: &Powers,
    statements: &[(Acting, String)],
) -> Result<()> {
    if statements.is_empty() {
        return Ok(());
    }
    within.tx.batch(&script::script(powers, statements)).await
}
