//! Ending logins.
//!
//! The order matters: nobody logs in any more, and that committed; sessions
//! end; what the login owns, which it can only have made after it had left its
//! role, goes to the role; then it is dropped. Each part can be repeated.
//!
//! Somebody else's role that can act as one of ours is not ours to drop: it
//! loses its membership and the sessions in which it may have used that, and
//! nothing more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    provider::{Mark, Observation, Reference, RevokeRequest, Written},
    providers::postgres::{
        Login,
        catalog::{self, Within, ids::LoginId, ids::Oid, people},
        name::ident,
        outcome,
        server::{Fault, Slice, Type, copy, registry},
        write::{
            Claims, Faults, Leaver, Writer, answered, correlation, end_open_sessions,
            end_sessions_of, goes_on, insist, leaving, switch,
        },
    },
    resource::Resource as _,
};

/// A login to end, in a form that outlives the call.
#[derive(Clone)]
struct Job {
    claim: Claim,
    mark: Mark,
    id: String,
}

/// What was found out of a login, and done, before it is dropped.
#[derive(Clone, Default)]
struct Prepared {
    /// It is switched off, and its sessions are to end.
    login: Option<Oid>,
    /// The other databases in which something of it is.
    databases: BTreeSet<String>,
}

/// Ends logins.
pub(super) async fn revoke(writer: &Writer, batch: &[RevokeRequest]) -> Vec<Result<Written>> {
    let jobs: Vec<Job> = batch
        .iter()
        .map(|one| Job { claim: one.claim.clone(), mark: one.mark.clone(), id: one.id.clone() })
        .collect();
    let claim: fn(&Job) -> &Claim = |job| &job.claim;
    let mut prepared = writer.carry_out(None, jobs.clone(), claim, switch_off).await;
    end_sessions_of(writer.view(), &mut prepared, |one| one.login.into_iter().collect()).await;
    let databases: BTreeSet<String> =
        prepared.iter().flatten().flat_map(|one| one.databases.iter().cloned()).collect();
    for database in databases {
        let places: Vec<usize> = (0..jobs.len())
            .filter(|at| prepared[*at].as_ref().is_ok_and(|one| one.databases.contains(&database)))
            .collect();
        let here = places.iter().map(|at| jobs[*at].clone()).collect();
        let released = release_in(writer, &database, here).await;
        for (at, released) in places.into_iter().zip(released) {
            if let Err(error) = released {
                prepared[at] = Err(error);
            }
        }
    }
    let go_on: Vec<Job> = jobs
        .iter()
        .zip(&prepared)
        .filter(|(_, prepared)| prepared.is_ok())
        .map(|(job, _)| job.clone())
        .collect();
    let mut ended = writer.carry_out(None, go_on.clone(), claim, end).await;
    let left: BTreeMap<usize, Oid> = go_on
        .iter()
        .enumerate()
        .filter(|(at, _)| ended[*at].is_ok())
        .filter_map(|(at, job)| Some((at, parsed(job).filter(|id| id.of.is_some())?.login)))
        .collect();
    let members = left.values().copied().collect();
    if let Err(error) = end_open_sessions(writer.view(), &members).await {
        for at in left.into_keys() {
            ended[at] = Err(goes_on(copy(&error)));
        }
    }
    let mut ended = ended.into_iter();
    prepared
        .into_iter()
        .map(|prepared| {
            prepared.and_then(|_| ended.next().expect("there is an answer for each that went on"))
        })
        .collect()
}

fn parsed(job: &Job) -> Option<LoginId> {
    job.id.parse().ok()
}

/// The jobs of a slice whose claims are new, with their places.
fn fresh<'s>(slice: &'s Slice<Job>, entered: &Claims) -> Vec<(usize, &'s Job)> {
    slice.iter().enumerate().filter(|(_, job)| !entered.contains_key(&job.claim)).collect()
}

/// Those of the logins that there still are, with what they are called and
/// whose role they become.
async fn leavers(within: &Within, oids: &BTreeSet<Oid>) -> Result<BTreeMap<Oid, Leaver>> {
    let masters = people::masters(within, oids).await?;
    let all: Vec<Oid> = oids.iter().chain(masters.values()).copied().collect();
    let sql = "SELECT oid, rolname::text FROM pg_roles WHERE oid = ANY ($1)";
    let rows = within.tx.query(sql, &[(&all, Type::OID_ARRAY)]).await?;
    let names: BTreeMap<Oid, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let leaver = |oid: &Oid| {
        let role = masters.get(oid).and_then(|role| names.get(role)).cloned();
        Some((*oid, Leaver::login(*oid, names.get(oid)?, role)))
    };
    Ok(oids.iter().filter_map(leaver).collect())
}

/// Switches logins off.
async fn switch_off(
    within: Within,
    slice: Slice<Job>,
    entered: Arc<Claims>,
) -> Result<Vec<Prepared>, Fault> {
    let mut prepared = vec![Prepared::default(); slice.len()];
    let fresh = fresh(&slice, &entered);
    let own: BTreeMap<usize, Oid> = fresh
        .iter()
        .filter_map(|(at, job)| {
            let id = parsed(job)?;
            id.of.is_none().then_some((*at, id.login))
        })
        .collect();
    let oids: BTreeSet<Oid> = own.values().copied().collect();
    if oids.is_empty() {
        return Ok(prepared);
    }
    let ids: Vec<String> = oids.iter().map(ToString::to_string).collect();
    let marks = registry::owned(&within.tx, Login::TYPE, Some(&ids)).await?;
    let leavers = leavers(&within, &oids).await?;
    let mut faults = Faults::default();
    let mut statements = Vec::new();
    for (at, job) in &fresh {
        let Some(leaver) = own.get(at).and_then(|oid| leavers.get(oid)) else { continue };
        let mark = marks.get(&job.id).map(|owned| &owned.mark);
        let judged = job
            .mark
            .not_foreign(leaver.what(), mark)
            .and_then(|()| if mark.is_some() { Ok(()) } else { Err(not_ours(leaver)) });
        if faults.of(*at, judged).is_none() {
            continue;
        }
        statements.extend(leaver.names().map(|name| switch(name, "NOLOGIN PASSWORD NULL")));
        prepared[*at].login = own.get(at).copied();
    }
    faults.none()?;
    let found: Vec<Oid> = leavers.keys().copied().collect();
    let dependents = leaving::dependents(&within, &found).await?;
    for (at, oid) in &own {
        let Some(leaver) = leavers.get(oid) else { continue };
        let of = dependents.iter().filter(|one| one.role == *oid);
        let databases = leaving::databases_of(&within, leaver, of);
        prepared[*at].databases = faults.of(*at, databases).unwrap_or_default();
    }
    faults.none()?;
    let off = prepared.iter().filter_map(|one| one.login).collect();
    insist(&within.tx, &statements.join(";\n"), &off).await?;
    Ok(prepared)
}

fn not_ours(leaver: &Leaver) -> Error {
    Error::new(ErrorKind::Foreign, format!("{} was not made by this engine", leaver.what()))
        .help("take its membership back by hand, or drop it when nobody needs it")
}

/// Gives what logins own in another database to their roles.
async fn release_in(writer: &Writer, database: &str, jobs: Vec<Job>) -> Vec<Result<()>> {
    // Whose logins they are, the own database knows.
    let known = match known(writer, jobs.iter().filter_map(parsed).map(|id| id.login)).await {
        Ok(known) => Arc::new(known),
        Err(error) => return jobs.iter().map(|_| Err(copy(&error))).collect(),
    };
    let work = move |within: Within, slice: Slice<Job>, entered: Arc<Claims>| {
        let known = Arc::clone(&known);
        async move {
            // One that was given up goes no further.
            let (_, fresh) = answered::<Login, _>(&slice, |job| &job.claim, &entered)?;
            let ids: BTreeSet<Oid> =
                fresh.iter().filter_map(|(_, job)| parsed(job)).map(|id| id.login).collect();
            let leavers: Vec<&Leaver> = ids.iter().filter_map(|oid| known.get(oid)).collect();
            let powers = leaving::powers_over(&within, &leavers).await?;
            leaving::release(&within, &powers, &leavers).await?;
            Ok(vec![(); slice.len()])
        }
    };
    writer.carry_out(Some(database.to_owned()), jobs, |job| &job.claim, work).await
}

/// Who some logins are, by the own database.
async fn known(writer: &Writer, oids: impl Iterator<Item = Oid>) -> Result<BTreeMap<Oid, Leaver>> {
    let (version, working) = (writer.version().await?, writer.clone());
    let oids: BTreeSet<Oid> = oids.collect();
    writer
        .view()
        .server
        .read(None, move |tx| {
            let within = working.here(tx, None, version);
            async move { leavers(&within, &oids).await }
        })
        .await
}

/// Drops logins, and takes back memberships of others.
async fn end(
    within: Within,
    slice: Slice<Job>,
    entered: Arc<Claims>,
) -> Result<Vec<Written>, Fault> {
    let (mut answers, fresh) = answered::<Login, _>(&slice, |job| &job.claim, &entered)?;
    let mut faults = Faults::default();
    let ids: BTreeSet<LoginId> = fresh.iter().filter_map(|(_, job)| parsed(job)).collect();
    let own: BTreeSet<Oid> = ids.iter().filter(|id| id.of.is_none()).map(|id| id.login).collect();
    let leavers = leavers(&within, &own).await?;
    let leavers: Vec<&Leaver> = leavers.values().collect();
    let powers = leaving::powers_over(&within, &leavers).await?;
    if let [leaver] = &leavers[..] {
        let drop = |_| leaving::drop_roles(&within, &powers, &leavers);
        let done: Result<()> = within.tx.savepoint(drop).await;
        if let Err(error) = done {
            let what = leaver.what();
            return Err(leaving::explain(&within, &powers, what, leaver, error).await.into());
        }
    } else {
        leaving::drop_roles(&within, &powers, &leavers).await?;
    }
    let forgotten: Vec<String> = own.iter().map(ToString::to_string).collect();
    registry::forget(&within.tx, Login::TYPE, &forgotten).await?;
    for id in ids.iter().filter(|id| id.of.is_some()) {
        leave_role(&within, id).await?;
    }
    // Its success is not taken for the answer: what is there is.
    let references: Vec<Reference> =
        fresh.iter().map(|(_, job)| Reference::Id(job.id.clone())).collect();
    let read = catalog::read_within::<Login>(&within, &references).await?;
    let correlation = correlation(&within.tx).await?;
    let mut outcomes = Vec::with_capacity(fresh.len());
    for ((at, job), read) in fresh.iter().zip(read) {
        if read != Observation::Absent {
            let error = Error::new(
                ErrorKind::Provider,
                format!("the login {} is still there after it was ended", quoted(&job.id)),
            )
            .help("look at who gives it back, then plan again");
            faults.of::<()>(*at, Err(error));
            continue;
        }
        let written = Written { object: None, correlation: Some(correlation.clone()) };
        outcomes.push(outcome::of::<Login>(&job.claim, &job.mark, &written)?);
        answers[*at] = Some(written);
    }
    faults.none()?;
    registry::register(&within.tx, &outcomes).await?;
    Ok(answers.into_iter().flatten().collect())
}

/// Takes somebody else's membership in a role of ours away, whoever gave it.
async fn leave_role(within: &Within, id: &LoginId) -> Result<()> {
    let Some(of) = id.of else { return Ok(()) };
    let sql = "SELECT r.rolname::text, l.rolname::text, g.rolname::text FROM pg_auth_members m
        JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles l ON l.oid = m.member
        LEFT JOIN pg_roles g ON g.oid = m.grantor
        WHERE m.roleid = $1 AND m.member = $2";
    let rows = within.tx.query(sql, &[(&of, Type::OID), (&id.login, Type::OID)]).await?;
    let statements: Vec<String> = rows
        .iter()
        .map(|row| {
            let (role, member): (String, String) = (row.get(0), row.get(1));
            let grantor: Option<String> = row.get(2);
            // Before PostgreSQL 16 the grantor is kept, and has no effect.
            let by = grantor.filter(|_| within.version >= people::GRANTORS);
            let by = by.map(|by| format!(" GRANTED BY {}", ident(&by))).unwrap_or_default();
            format!("REVOKE {} FROM {}{by}", ident(&role), ident(&member))
        })
        .collect();
    if statements.is_empty() { Ok(()) } else { within.tx.batch(&statements.join(";\n")).await }
}
