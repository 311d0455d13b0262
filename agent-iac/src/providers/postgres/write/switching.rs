//! How roles are switched off, and what a leaving takes in several parts.
//!
//! Owns the order: nobody logs in any more, and that committed; sessions end;
//! then every other database is freed of a role that leaves. What is left is
//! one transaction, as of any other write. Each part can be repeated, so that a
//! crash between two of them leaves nothing that a second attempt could not
//! finish, and what cannot be done is found out before the first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Claims, Entry, Found, Job, Kind as _, Seen, Writer,
    leaving::{
        Leaver, databases_of, dependents, explain, in_the_way, oids_of, ownerless, powers_over,
        release,
    },
    pipeline::{Faults, look, mark, permitted},
    role::{self, Now},
    sessions,
};
use crate::{
    error::{Error, ErrorKind, Result},
    provider::{Operation, Write, Written},
    providers::postgres::{
        Role,
        catalog::{
            Within,
            detail::{self, RoleDetail},
        },
        outcome::repeated,
        server::{Fault, Slice, copy},
    },
    resource::Reading,
    value::Value,
};

/// What was found out, and done, before a role is written.
#[derive(Clone, Debug, Default)]
struct Prepared {
    /// The roles whose sessions are to end.
    off: BTreeSet<u32>,
    /// The other databases in which something of it is.
    databases: BTreeSet<String>,
}

/// Carries out writes of roles: those that switch something off in several
/// parts.
pub(super) async fn write(writer: &Writer, batch: &[Write<Role>]) -> Vec<Result<Written>> {
    let mut failed: BTreeMap<usize, Error> = BTreeMap::new();
    let places: Vec<usize> =
        batch.iter().enumerate().filter(|(_, one)| switches_off(one)).map(|(at, _)| at).collect();
    if !places.is_empty() {
        let prepared = prepare(writer, places.iter().map(|at| &batch[*at]).collect()).await;
        for (at, prepared) in places.into_iter().zip(prepared) {
            failed.extend(prepared.err().map(|error| (at, error)));
        }
    }
    let jobs = batch.iter().enumerate().filter(|(at, _)| !failed.contains_key(at));
    let written = writer.batch(jobs.map(|(_, write)| Job::of(write)).collect()).await;
    let mut written = written.into_iter();
    (0..batch.len())
        .map(|at| match failed.remove(&at) {
            Some(error) => Err(error),
            None => written.next().expect("there is an answer for each that did not fail"),
        })
        .collect()
}

fn switches_off(write: &Write<Role>) -> bool {
    match &write.operation {
        Operation::Suspend { .. } | Operation::Delete { .. } => true,
        Operation::Update { desired, .. } => {
            let logs_in = write.seen.object().and_then(|seen| seen.value("login"));
            !desired.login && logs_in == Some(&Value::Bool(true))
        }
        Operation::Create(_) | Operation::Resume { .. } => false,
    }
}

async fn prepare(writer: &Writer, writes: Vec<&Write<Role>>) -> Vec<Result<()>> {
    let mut answers: Vec<Result<Prepared>> =
        writes.iter().map(|_| Ok(Prepared::default())).collect();
    // What stands in the way in another database has to be known before
    // anything is switched off here.
    for (database, places) in elsewhere(writer, &writes).await {
        in_each(writer, &database, &writes, places, Stage::Look, &mut answers).await;
    }
    let places: Vec<usize> = (0..writes.len()).filter(|at| answers[*at].is_ok()).collect();
    let jobs = places.iter().map(|at| Job::of(writes[*at])).collect();
    for (at, answer) in places.into_iter().zip(switch_off(writer, jobs).await) {
        answers[at] = answer;
    }
    sessions::end_sessions_of(writer.view(), &mut answers, |one| one.off.clone()).await;
    let databases: BTreeSet<String> =
        answers.iter().flatten().flat_map(|one| one.databases.iter().cloned()).collect();
    for database in databases {
        let is_there = |answer: &Result<Prepared>| {
            answer.as_ref().is_ok_and(|prepared| prepared.databases.contains(&database))
        };
        let places: Vec<usize> = (0..answers.len()).filter(|at| is_there(&answers[*at])).collect();
        in_each(writer, &database, &writes, places, Stage::Release, &mut answers).await;
    }
    answers.into_iter().map(|answer| answer.map(drop)).collect()
}

/// Does something of some writes in another database, and takes note of what
/// could not be done.
async fn in_each(
    writer: &Writer,
    database: &str,
    writes: &[&Write<Role>],
    places: Vec<usize>,
    stage: Stage,
    answers: &mut [Result<Prepared>],
) {
    let places: Vec<usize> = places.into_iter().filter(|at| answers[*at].is_ok()).collect();
    let jobs = places.iter().map(|at| Job::of(writes[*at])).collect();
    for (at, done) in places.iter().zip(in_other(writer, database, jobs, stage).await) {
        if let Err(error) = done {
            answers[*at] = Err(error);
        }
    }
}

/// The other databases in which something of the leaving roles is, with the
/// places of the writes. What cannot be found out here is found out again, and
/// told, where roles are switched off.
async fn elsewhere(writer: &Writer, writes: &[&Write<Role>]) -> BTreeMap<String, Vec<usize>> {
    let mut databases: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let leave = |write: &&&Write<Role>| matches!(write.operation, Operation::Delete { .. });
    if writer.view().layout.others.is_empty() || !writes.iter().any(|write| leave(&write)) {
        return databases;
    }
    let jobs: Vec<Job<Role>> = writes.iter().filter(leave).map(|write| Job::of(write)).collect();
    let Ok(version) = writer.version().await else { return databases };
    let Ok(known) = known(writer, version, &jobs).await else { return databases };
    for (at, write) in writes.iter().enumerate() {
        let Operation::Delete { id } = &write.operation else { continue };
        let Some(known) = id.parse().ok().and_then(|role: u32| known.get(&role)) else { continue };
        for database in &known.databases {
            databases.entry(database.clone()).or_default().push(at);
        }
    }
    databases
}

/// What is done in another database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is found out whether the rest could be.
    Look,
    Release,
}

/// A leaver, with the other databases in which something of it is.
struct Known {
    leaver: Leaver,
    databases: BTreeSet<String>,
}

/// Switches roles and their logins off, and takes note of that.
async fn switch_off(writer: &Writer, jobs: Vec<Job<Role>>) -> Vec<Result<Prepared>> {
    let work = |within: Within, slice: Slice<Job<Role>>, entered: Arc<Claims>| async move {
        switch_off_slice(&within, &slice, &entered).await
    };
    writer.carry_out(None, jobs, |job| &job.claim, work).await
}

async fn switch_off_slice(
    within: &Within,
    slice: &Slice<Job<Role>>,
    entered: &Claims,
) -> Result<Vec<Prepared>, Fault> {
    let is_new = |job: &Job<Role>| !entered.contains_key(&job.claim);
    // What was done before is answered later.
    let (places, jobs): (Vec<usize>, Vec<&Job<Role>>) =
        slice.iter().enumerate().filter(|(_, job)| is_new(job)).unzip();
    let mut prepared: Vec<Prepared> = slice.iter().map(|_| Prepared::default()).collect();
    if jobs.is_empty() {
        return Ok(prepared);
    }
    let mut faults = Faults::default();
    let seen = look(within, &jobs, &places).await?;
    for (at, (job, found)) in places.iter().zip(&seen) {
        faults.of(*at, permitted(job, found.as_ref()));
    }
    faults.none()?;
    let now = Role::now(within, &seen).await?;
    let leavers = leavers(&seen, &places, &now, &mut faults);
    let dependents = dependents(within, &oids_of(leavers.values())).await?;
    for (at, leaver) in &leavers {
        let of = dependents.iter().filter(|one| leaver.names.contains_key(&one.role));
        let databases = databases_of(within, leaver, of);
        prepared[*at].databases = faults.of(*at, databases).unwrap_or_default();
    }
    faults.none()?;
    let leavers_here: Vec<&Leaver> = leavers.values().collect();
    let mut barred = ownerless(within, &leavers_here).await?;
    barred.extend(in_the_way(within, &now.powers, &leavers_here).await?);
    for (leaver, why) in barred {
        let at = leavers.iter().find(|(_, one)| one.role == leaver).map(|(at, _)| *at);
        faults.0.extend(at.map(|at| (at, why)));
    }
    faults.none()?;

    let (mut statements, mut entries, mut marked) = (Vec::new(), Vec::new(), Vec::new());
    for (at, (job, found)) in places.iter().zip(&seen) {
        let Some(found) = found else { continue };
        let switched = Switched::of(job, found, &now);
        prepared[*at].off.clone_from(&switched.sessions);
        statements.extend(switched.statements);
        let mut detail: RoleDetail = detail::read(found.detail.as_deref());
        let ending = detail.ending.get_or_insert_default();
        ending.extend(switched.off);
        detail.retiring = matches!(job.operation, Operation::Update { .. });
        if !found.object.suspended {
            // It was, until a login of it worked again.
            ending.extend(detail.suspended.take().into_iter().flatten());
        }
        entries.push(Entry::with(found.object.id.clone(), &detail)?);
        marked.push(*job);
    }
    let off = prepared.iter().flat_map(|one| one.off.iter().copied()).collect();
    sessions::insist(&within.tx, &statements.join(";\n"), &off).await?;
    // As what is kept, and not as what is gone.
    mark_kept(within, &marked, &entries).await?;
    Ok(prepared)
}

async fn mark_kept(within: &Within, jobs: &[&Job<Role>], entries: &[Entry]) -> Result<()> {
    let kept: Vec<Job<Role>> = jobs
        .iter()
        .zip(entries)
        .map(|(job, entry)| Job {
            claim: job.claim.clone(),
            mark: job.mark.clone(),
            operation: Operation::Suspend { id: entry.id.clone() },
            seen: job.seen.clone(),
            heir: None,
        })
        .collect();
    mark::<Role>(within, &kept.iter().collect::<Vec<_>>(), entries).await
}

/// What is switched off for one write.
struct Switched {
    statements: Vec<String>,
    /// Those that could log in until now.
    off: BTreeSet<u32>,
    /// Those whose sessions end.
    sessions: BTreeSet<u32>,
}

impl Switched {
    fn of(job: &Job<Role>, found: &Found, now: &Now) -> Self {
        let mut switched =
            Self { statements: Vec::new(), off: BTreeSet::new(), sessions: BTreeSet::new() };
        let role: Option<u32> = found.object.id.parse().ok();
        let name = found.object.value("name").and_then(Value::as_text);
        let (Some(role), Some(name)) = (role, name) else { return switched };
        let how = match job.operation {
            Operation::Suspend { .. } => "NOLOGIN",
            // What comes back has a new password.
            _ => "NOLOGIN PASSWORD NULL",
        };
        if found.object.value("login") == Some(&Value::Bool(true)) {
            switched.off.insert(role);
            switched.statements.push(role::switch(name, how));
        }
        switched.sessions.insert(role);
        if matches!(job.operation, Operation::Update { .. }) {
            return switched;
        }
        let leaves = matches!(job.operation, Operation::Delete { .. });
        for (oid, login) in now.logins.get(&role).into_iter().flatten() {
            // A role that goes takes its members' right to act as it along. One
            // that is suspended keeps them, so each of them is switched off.
            if leaves && !login.is_of(&job.mark) {
                continue;
            }
            if login.can_login {
                switched.off.insert(*oid);
            }
            if login.can_login || leaves {
                switched.statements.push(role::switch(&login.name, how));
            }
            switched.sessions.insert(*oid);
        }
        switched
    }
}

/// Shows a role as it was before this engine switched it off, to a write that
/// was decided then.
pub(super) fn recall(job: &Job<Role>, found: &mut Found) {
    let seen = job.seen.object().and_then(|seen| seen.value("login"));
    let ending = detail::read::<RoleDetail>(found.detail.as_deref()).ending.unwrap_or_default();
    let by_us = found.object.id.parse().is_ok_and(|oid: u32| ending.contains(&oid));
    if by_us && seen == Some(&Value::Bool(true)) {
        found.object.fields.insert("login".into(), Reading::Known(Value::Bool(true)));
    }
}

fn leavers(
    seen: &[Seen<'_, Role>],
    places: &[usize],
    now: &Now,
    faults: &mut Faults,
) -> BTreeMap<usize, Leaver> {
    let mut leavers = BTreeMap::new();
    for (at, (job, found)) in places.iter().zip(seen) {
        let Some(found) = found else { continue };
        if let Operation::Delete { id } = &job.operation {
            let what = Role::what(job, Some(found));
            let leaver = Leaver::of(&what, now, id.parse().ok(), found, &job.mark);
            leavers.extend(faults.of(*at, leaver).map(|leaver| (*at, leaver)));
        }
    }
    leavers
}

/// Frees another database from roles that leave, or finds out whether that can
/// be done.
async fn in_other(
    writer: &Writer,
    database: &str,
    jobs: Vec<Job<Role>>,
    stage: Stage,
) -> Vec<Result<()>> {
    let version = match writer.version().await {
        Ok(version) => version,
        Err(error) => return jobs.iter().map(|_| Err(copy(&error))).collect(),
    };
    // Who they are, the own database knows.
    let known = match known(writer, version, &jobs).await {
        Ok(known) => Arc::new(known),
        Err(error) => return jobs.iter().map(|_| Err(copy(&error))).collect(),
    };
    let work = move |within: Within, slice: Slice<Job<Role>>, entered: Arc<Claims>| {
        let known = Arc::clone(&known);
        async move {
            match stage {
                Stage::Look => look_slice(&within, &slice, &known).await,
                Stage::Release => release_slice(&within, &slice, &entered, &known).await,
            }
        }
    };
    writer.carry_out(Some(database.to_owned()), jobs, |job| &job.claim, work).await
}

async fn look_slice(
    within: &Within,
    slice: &Slice<Job<Role>>,
    known: &BTreeMap<u32, Known>,
) -> Result<Vec<()>, Fault> {
    let of = |job: &Job<Role>| job.id().and_then(|id| id.parse::<u32>().ok());
    let leavers: Vec<&Leaver> =
        slice.iter().filter_map(|job| Some(&known.get(&of(job)?)?.leaver)).collect();
    let powers = powers_over(within, &leavers).await?;
    let mut faults = Faults::default();
    for (role, why) in in_the_way(within, &powers, &leavers).await? {
        let at = slice.iter().position(|job| of(job) == Some(role));
        faults.0.extend(at.map(|at| (at, why)));
    }
    faults.none()?;
    Ok(slice.iter().map(drop).collect())
}

async fn release_slice(
    within: &Within,
    slice: &Slice<Job<Role>>,
    entered: &Claims,
    known: &BTreeMap<u32, Known>,
) -> Result<Vec<()>, Fault> {
    let mut faults = Faults::default();
    let mut leavers: Vec<&Leaver> = Vec::new();
    for (at, job) in slice.iter().enumerate() {
        match entered.get(&job.claim) {
            // What was given up here goes no further.
            Some(registered) => {
                faults.of(at, repeated::<Role>(&job.claim, registered));
            }
            None => {
                let role = job.id().and_then(|id| id.parse::<u32>().ok());
                let known = role.and_then(|role| known.get(&role));
                leavers.extend(known.map(|known| &known.leaver));
            }
        }
    }
    faults.none()?;
    let powers = powers_over(within, &leavers).await?;
    if let [leaver] = &leavers[..] {
        let done = within.tx.savepoint(|_| release(within, &powers, &leavers)).await;
        if let Err(error) = done {
            return Err(explain(within, &powers, leaver.what(), leaver, error).await.into());
        }
    } else {
        release(within, &powers, &leavers).await?;
    }
    Ok(slice.iter().map(drop).collect())
}

/// The leavers of some writes, by the own database.
async fn known(writer: &Writer, version: u32, jobs: &[Job<Role>]) -> Result<BTreeMap<u32, Known>> {
    let again: Vec<Job<Role>> = jobs
        .iter()
        .map(|job| Job {
            claim: job.claim.clone(),
            mark: job.mark.clone(),
            operation: job.operation.clone(),
            seen: job.seen.clone(),
            heir: None,
        })
        .collect();
    let working = writer.clone();
    writer
        .view()
        .server
        .read(None, move |tx| async move {
            let within = working.here(tx, None, version);
            let jobs: Vec<&Job<Role>> = again.iter().collect();
            let places: Vec<usize> = (0..jobs.len()).collect();
            let seen = look(&within, &jobs, &places).await.map_err(fault)?;
            let now = Role::now(&within, &seen).await?;
            let leavers = leavers(&seen, &places, &now, &mut Faults::default());
            let dependents = dependents(&within, &oids_of(leavers.values())).await?;
            let known = |leaver: Leaver| {
                let of = dependents.iter().filter(|one| leaver.names.contains_key(&one.role));
                // Where one is out of reach, switching off says so.
                let databases = databases_of(&within, &leaver, of).unwrap_or_default();
                (leaver.role, Known { leaver, databases })
            };
            Ok(leavers.into_values().map(known).collect())
        })
        .await
}

fn fault(fault: Fault) -> Error {
    match fault {
        Fault::Somewhere(error) => error,
        Fault::These(mut errors) => errors
            .pop()
            .map_or_else(|| Error::new(ErrorKind::Bug, "nothing failed"), |(_, error)| error),
    }
}
