//! The one way that a slice of a batch goes.
//!
//! Owns the order within a transaction: what the registry knows of the claims,
//! what is there now, a judgement of each write, the statements, what is there
//! then, and the registry. It knows no type.

use std::collections::BTreeMap;

use futures_util::future::try_join;

use super::{
    super::{
        catalog::{self, Within},
        outcome,
        server::{
            Fault, Slice, Transaction,
            registry::{self, Owned},
            sqlstate,
        },
    },
    Claims, Entry, Found, Job, Kind, Seen, rules,
};
use crate::{
    error::{Error, ErrorKind, Result, Retry},
    ledger::Claim,
    provider::{Object, Observation, Operation, Reference, Written},
    resource::Resource,
};

/// Carries out some writes of a batch, or says which of them cannot be.
pub(super) async fn carry_out<K: Kind>(
    within: &Within,
    slice: &Slice<Job<K>>,
    entered: &Claims,
) -> Result<Vec<Written>, Fault> {
    let (mut answers, new) = answered::<K, _>(slice, |job| &job.claim, entered)?;
    let (places, jobs): (Vec<usize>, Vec<&Job<K>>) = new.into_iter().unzip();
    if !jobs.is_empty() {
        for (at, written) in places.iter().zip(fresh(within, &jobs, &places).await?) {
            answers[*at] = Some(written);
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// The answers of a slice by their places, and the jobs that have none yet.
pub(in super::super) type Answered<'s, J> = (Vec<Option<Written>>, Vec<(usize, &'s J)>);

/// What is answered already of a slice's claims, each at its place, and the
/// jobs whose claims are new, with their places.
pub(in super::super) fn answered<'s, R: Resource, J>(
    slice: &'s Slice<J>,
    claim: fn(&J) -> &Claim,
    entered: &Claims,
) -> Result<Answered<'s, J>, Fault> {
    let mut answers = Vec::with_capacity(slice.len());
    let mut new = Vec::new();
    let mut faults = Faults::default();
    for (at, job) in slice.iter().enumerate() {
        let claim = claim(job);
        let registered = entered.get(claim);
        let known = registered.map(|known| outcome::repeated::<R>(claim, known));
        answers.push(known.and_then(|known| faults.of(at, known)));
        if registered.is_none() {
            new.push((at, job));
        }
    }
    faults.none()?;
    Ok((answers, new))
}

/// Carries out writes whose claims are new. `places` are theirs in the slice.
async fn fresh<K: Kind>(
    within: &Within,
    jobs: &[&Job<K>],
    places: &[usize],
) -> Result<Vec<Written>, Fault> {
    let mut faults = Faults::default();
    let seen = look(within, jobs, places).await?;
    for (at, (job, found)) in places.iter().zip(&seen) {
        faults.of(*at, permitted(job, found.as_ref()));
    }
    faults.none()?;
    let before = K::now(within, &seen).await?;
    let mut changes = Vec::with_capacity(jobs.len());
    for (at, (job, found)) in places.iter().zip(&seen) {
        let change = K::judge(within, &before, job, found.as_ref());
        changes.extend(faults.of(*at, change).map(|change| (*job, change)));
    }
    faults.none()?;
    apply(within, &before, &changes).await?;

    let references: Vec<Reference> =
        changes.iter().map(|(job, change)| K::written(job, change)).collect();
    let (mut read, correlation) =
        try_join(catalog::read_within::<K>(within, &references), correlation(&within.tx)).await?;
    if changes.iter().any(|(_, change)| K::checks(change)) {
        let after = K::now(within, &seen).await?;
        for (at, (job, change)) in places.iter().zip(&changes) {
            faults.of(*at, K::check(&before, &after, job, change));
        }
        faults.none()?;
    }
    let mut entries = Vec::with_capacity(jobs.len());
    for ((at, (job, change)), read) in places.iter().zip(&changes).zip(&read) {
        entries.extend(faults.of(*at, K::entry(&before, job, change, read.object())));
    }
    faults.none()?;
    mark::<K>(within, jobs, &entries).await?;
    if jobs.iter().any(|job| K::reads_registry(job)) {
        read = catalog::read_within::<K>(within, &references).await?;
    }
    let mut objects = Vec::with_capacity(jobs.len());
    for ((at, job), read) in places.iter().zip(jobs).zip(read) {
        objects.extend(faults.of(*at, rules::as_written(job, read)));
    }
    faults.none()?;
    Ok(register::<K>(within, jobs, objects, &correlation).await?)
}

/// Finds the objects of some writes.
pub(super) async fn look<'j, K: Kind>(
    within: &Within,
    jobs: &[&'j Job<K>],
    places: &[usize],
) -> Result<Vec<Seen<'j, K>>, Fault> {
    let references: Vec<Reference> = jobs.iter().map(|job| job.reference()).collect();
    let read = catalog::read_within::<K>(within, &references).await?;
    let ids: Vec<String> = read.iter().filter_map(|read| Some(read.object()?.id.clone())).collect();
    let mut owned = BTreeMap::new();
    if K::DETAILED && !ids.is_empty() {
        owned = registry::owned(&within.tx, K::TYPE, Some(&ids)).await?;
    }
    let mut faults = Faults::default();
    let mut seen = Vec::with_capacity(jobs.len());
    for ((at, job), read) in places.iter().zip(jobs).zip(read) {
        let found = match read {
            Observation::Absent => Ok(None),
            Observation::Present(object) => {
                let detail = owned.remove(&object.id).and_then(|owned| owned.detail);
                let mut found = Found { object, detail };
                K::recall(job, &mut found);
                Ok(Some(found))
            }
            Observation::Unread(why) => Err(Error::new(
                ErrorKind::Provider,
                format!("{} cannot be read: {why}", K::what(job, None)),
            )),
        };
        seen.extend(faults.of(*at, found).map(|found| (*job, found)));
    }
    faults.none()?;
    Ok(seen)
}

pub(super) fn permitted<K: Kind>(job: &Job<K>, found: Option<&Found>) -> Result<()> {
    if !K::SUSPENDS && matches!(job.operation, Operation::Suspend { .. } | Operation::Resume { .. })
    {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("a {} cannot be suspended", K::NOUN),
        )
        .help("suspend the role that it is given to"));
    }
    rules::permitted(job, found)
}

async fn apply<K: Kind>(
    within: &Within,
    before: &K::Now,
    changes: &[(&Job<K>, K::Change)],
) -> Result<()> {
    let [(job, change)] = changes else { return K::carry_out(within, before, changes).await };
    // One that fails alone is explained, which needs a transaction that goes on.
    let done = within.tx.savepoint(|_| K::carry_out(within, before, changes)).await;
    match done {
        Err(error) if sqlstate(&error).is_some() && error.retry() == Retry::Never => {
            Err(K::explain(within, before, job, change, error).await)
        }
        done => done,
    }
}

/// Writes into the registry whose the objects are, or that they are gone.
pub(super) async fn mark<K: Kind>(
    within: &Within,
    jobs: &[&Job<K>],
    entries: &[Entry],
) -> Result<()> {
    let (mut marks, mut gone) = (Vec::new(), Vec::new());
    for (job, Entry { id, detail }) in jobs.iter().zip(entries) {
        match job.operation {
            Operation::Delete { .. } => gone.push(id.clone()),
            _ => {
                let owned = Owned { mark: job.mark.clone(), detail: detail.clone() };
                marks.push((id.clone(), owned));
            }
        }
    }
    if !marks.is_empty() {
        registry::mark(&within.tx, K::TYPE, &marks).await?;
    }
    if !gone.is_empty() {
        registry::forget(&within.tx, K::TYPE, &gone).await?;
    }
    Ok(())
}

/// Writes into the registry what became of the claims, and answers it.
async fn register<K: Kind>(
    within: &Within,
    jobs: &[&Job<K>],
    objects: Vec<Option<Object>>,
    correlation: &str,
) -> Result<Vec<Written>> {
    let (mut outcomes, mut answers) = (Vec::new(), Vec::new());
    for (job, object) in jobs.iter().zip(objects) {
        let object = object.map(|object| Object { mark: Some(job.mark.clone()), ..object });
        let written = Written { object, correlation: Some(correlation.to_owned()) };
        outcomes.push(outcome::of::<K>(&job.claim, &job.mark, &written)?);
        answers.push(written);
    }
    registry::register(&within.tx, &outcomes).await?;
    Ok(answers)
}

/// What went wrong with some writes of a slice; all of them are told at once.
#[derive(Debug, Default)]
pub(in super::super) struct Faults(pub(super) Vec<(usize, Error)>);

impl Faults {
    /// Takes note of an error.
    pub(in super::super) fn of<T>(&mut self, at: usize, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push((at, error))).ok()
    }

    pub(in super::super) fn none(&mut self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(Fault::These(std::mem::take(&mut self.0))) }
    }
}

/// What finds a transaction in the server's own log.
pub(in super::super) async fn correlation(tx: &Transaction) -> Result<String> {
    let rows = tx.query("SELECT pg_backend_pid(), pg_current_xact_id()::text", &[]).await?;
    let row = rows.first().expect("a query without a table has one row");
    Ok(format!("pid {} transaction {}", row.get::<_, i32>(0), row.get::<_, String>(1)))
}
