//! Making logins.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    sync::Arc,
    thread::{self, available_parallelism},
};

use postgres_protocol::password::scram_sha_256;

use super::secret::{self, Delivered};
use crate::{
    address::quoted,
    clock::Entropy,
    error::{Error, ErrorKind, Result, Retry},
    ledger::Claim,
    provider::{Composition, IssueRequest, Issued, Mark, Object, Observation, Reference, Written},
    providers::postgres::{
        Login, Role,
        catalog::{self, Within, detail::LoginDetail, ids::Oid, roles, verifiers},
        name::{ident, literal, login_name},
        outcome,
        server::{
            Fault, Slice, Type, copy,
            registry::{self, Owned},
            sqlstate,
        },
        view::View,
        write::{Claims, Faults, Writer, answered, correlation, set},
    },
    resource::Resource as _,
    secret::Secret,
    value::Value,
};

/// A login to make, in a form that outlives the call.
pub(super) struct Job {
    claim: Claim,
    mark: Mark,
    role: String,
    generation: u32,
    connection_limit: Option<i32>,
    /// As it was declared.
    valid_until: Option<String>,
    /// When the lease of this generation ends; what is declared stands in its
    /// place.
    lease: Option<String>,
    login: Result<Verified>,
}

/// A login that is delivered, with what the server keeps of its password.
struct Verified {
    user: String,
    verifier: String,
}

impl Verified {
    fn of(secret: Option<&Secret>) -> Result<Self> {
        let secret = secret.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "PostgreSQL makes no passwords")
                .help("give the secret that was composed")
        })?;
        let Delivered { user, password } = secret::read(secret)?;
        Ok(Self { user, verifier: password.expose(scram_sha_256) })
    }
}

impl Job {
    fn of(request: &IssueRequest<Login>) -> Self {
        Self {
            claim: request.claim.clone(),
            mark: request.mark.clone(),
            role: request.desired.of.target().to_owned(),
            generation: request.generation,
            connection_limit: request.desired.connection_limit,
            valid_until: request.desired.valid_until.clone(),
            lease: request
                .until
                .filter(|_| request.desired.valid_until.is_none())
                .map(|until| until.strftime("%F %H:%M:%S+00").to_string()),
            login: Verified::of(request.secret.as_ref()),
        }
    }

    /// Computes the verifiers before anything is locked for them, on as many
    /// threads as there are processors: each is made to take milliseconds.
    fn all(batch: &[IssueRequest<Login>]) -> Vec<Self> {
        let threads = available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
        let part = batch.len().div_ceil(threads).max(1);
        let of = |part: &[IssueRequest<Login>]| part.iter().map(Self::of).collect::<Vec<_>>();
        if batch.len() < threads {
            return of(batch);
        }
        thread::scope(|scope| {
            let parts = batch.chunks(part).map(|part| scope.spawn(move || of(part)));
            // All are begun before the first is waited for.
            let parts: Vec<_> = parts.collect();
            let done = |part: thread::ScopedJoinHandle<'_, Vec<Self>>| {
                part.join().expect("nothing in a login's form makes its verifier panic")
            };
            parts.into_iter().flat_map(done).collect()
        })
    }
}

/// More threads than this would take a machine from everybody else.
const MOST_THREADS: usize = 8;

/// Makes what is to be delivered: each login's name, with a new password.
pub(super) async fn compose(
    view: &View,
    batch: &[Composition<Login>],
    entropy: &dyn Entropy,
) -> Vec<Result<Secret>> {
    let oids = batch.iter().filter_map(|one| one.desired.of.target().parse().ok()).collect();
    let names = match names(view, oids).await {
        Ok(names) => names,
        Err(error) => return batch.iter().map(|_| Err(copy(&error))).collect(),
    };
    batch
        .iter()
        .map(|one| {
            let name = names.get(one.desired.of.target());
            let name = name.ok_or_else(|| no_role(one.desired.of.target()))?;
            Ok(secret::compose(&login_name(name, one.generation), entropy))
        })
        .collect()
}

fn no_role(oid: &str) -> Error {
    Error::new(ErrorKind::StalePlan, format!("the role with the number {} is gone", quoted(oid)))
        .help("plan again")
}

async fn names(view: &View, oids: Vec<Oid>) -> Result<BTreeMap<String, String>> {
    let sql = "SELECT oid::text, rolname::text FROM pg_roles WHERE oid = ANY ($1)";
    view.server
        .read(None, move |tx| async move {
            let rows = tx.query(sql, &[(&oids, Type::OID_ARRAY)]).await?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
        .await
}

/// Makes logins, all in one transaction where that is possible.
pub(super) async fn issue(writer: &Writer, batch: &[IssueRequest<Login>]) -> Vec<Result<Issued>> {
    let jobs = Job::all(batch);
    let made = writer.carry_out(None, jobs, |job: &Job| &job.claim, make).await;
    made.into_iter().map(|made| made.map(|written| Issued { written, secret: None })).collect()
}

/// A login that is about to be made.
struct Making<'j> {
    job: &'j Job,
    role: &'j roles::Row,
    name: String,
    verifier: &'j str,
}

async fn make(
    within: Within,
    slice: Slice<Job>,
    entered: Arc<Claims>,
) -> Result<Vec<Written>, Fault> {
    let (mut answers, fresh) = answered::<Login, _>(&slice, |job| &job.claim, &entered)?;
    let mut faults = Faults::default();
    if fresh.is_empty() {
        return Ok(answers.into_iter().flatten().collect());
    }

    let roles = Roles::of(&within, &fresh).await?;
    let mut making = Vec::with_capacity(fresh.len());
    for (at, job) in &fresh {
        making.extend(faults.of(*at, roles.judge(job)));
    }
    faults.none()?;
    taken(&within, &fresh, &making, &mut faults).await?;
    faults.none()?;

    let created: String = making.iter().map(Making::create).collect();
    // An error could quote the statement, and with it the verifier.
    within.tx.batch_unquoted(&created).await.map_err(|error| explain(&making, error))?;
    let settings: String = making.iter().map(|one| one.settings(&roles)).collect();
    within.tx.batch(&settings).await?;
    let made = numbers(&within, making.iter().map(|one| one.name.as_str())).await?;
    let mut references = Vec::with_capacity(making.len());
    for ((at, _), one) in fresh.iter().zip(&making) {
        let id = made.get(&one.name).ok_or_else(|| not_there(&one.name));
        references.extend(faults.of(*at, id).map(|(oid, _)| Reference::Id(oid.to_string())));
    }
    faults.none()?;
    let marks: Vec<(String, Owned)> = references
        .iter()
        .zip(&making)
        .filter_map(|(reference, one)| match reference {
            Reference::Id(id) => {
                Some((id.clone(), Owned { mark: one.job.mark.clone(), detail: Some(one.detail()) }))
            }
            Reference::Key(_) => None,
        })
        .collect();
    registry::mark(&within.tx, Login::TYPE, &marks).await?;
    let read = catalog::read_within::<Login>(&within, &references).await?;
    let mut outcomes = Vec::with_capacity(making.len());
    let correlation = correlation(&within.tx).await?;
    for (((at, job), one), read) in fresh.iter().zip(&making).zip(read) {
        let Some(object) = faults.of(*at, as_made(one, read)) else { continue };
        let written = Written { object: Some(object), correlation: Some(correlation.clone()) };
        outcomes.push(outcome::of::<Login>(&job.claim, &job.mark, &written)?);
        answers[*at] = Some(written);
    }
    faults.none()?;
    registry::register(&within.tx, &outcomes).await?;
    Ok(answers.into_iter().flatten().collect())
}

fn not_there(name: &str) -> Error {
    Error::new(ErrorKind::Provider, format!("the login {} was made and is not there", quoted(name)))
        .help("look for an event trigger that changes roles")
}

/// A login as it was read back: it becomes its role, and does nothing else.
fn as_made(one: &Making<'_>, read: Observation) -> Result<Object> {
    let object = match read {
        Observation::Present(object) => object,
        Observation::Absent | Observation::Unread(_) => return Err(not_there(&one.name)),
    };
    let text = |field| object.value(field).and_then(Value::as_text);
    let (of, until) = (text("of"), text("valid_until"));
    if of != Some(&one.job.role) {
        return Err(Error::new(
            ErrorKind::Provider,
            format!(
                "the login {} is not as it was made: {}",
                quoted(&one.name),
                of.unwrap_or_default()
            ),
        )
        .help("look at what changes roles on this server, and plan again"));
    }
    if until != one.job.valid_until.as_deref() {
        // The next plan would find it different, and make another one.
        let declared = one.job.valid_until.as_deref().unwrap_or_default();
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "`valid_until` of the login {} is {} in the server's form, and was declared as {}",
                quoted(&one.name),
                until.map_or_else(|| "none".to_owned(), quoted),
                quoted(declared)
            ),
        )
        .help("declare it in the server's form, or leave it out"));
    }
    Ok(object)
}

/// What is known of the roles that get logins.
struct Roles {
    rows: BTreeMap<String, roles::Row>,
    settings: BTreeMap<Oid, roles::Settings>,
    marks: BTreeMap<String, Owned>,
}

impl Roles {
    async fn of(within: &Within, jobs: &[(usize, &Job)]) -> Result<Self> {
        let ids: BTreeSet<String> = jobs.iter().map(|(_, job)| job.role.clone()).collect();
        let oids: Vec<Oid> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let rows = roles::rows(within, "r.oid = ANY ($1)", &[(&oids, Type::OID_ARRAY)]).await?;
        let ids: Vec<String> = ids.into_iter().collect();
        Ok(Self {
            rows: rows.into_iter().map(|row| (row.oid.to_string(), row)).collect(),
            settings: roles::settings(within, &oids).await?,
            marks: registry::owned(&within.tx, Role::TYPE, Some(&ids)).await?,
        })
    }

    fn judge<'j>(&'j self, job: &'j Job) -> Result<Making<'j>> {
        let role = self.rows.get(&job.role).ok_or_else(|| no_role(&job.role))?;
        let what = format!("the role {}", quoted(&role.name));
        job.mark.not_foreign(&what, self.marks.get(&job.role).map(|owned| &owned.mark))?;
        let Verified { user, verifier } = job.login.as_ref().map_err(copy)?;
        let name = login_name(&role.name, job.generation);
        if *user != name {
            // What was delivered already would never be let in.
            return Err(Error::new(
                ErrorKind::StalePlan,
                format!(
                    "what was delivered is for {}, and the login is {}",
                    quoted(user),
                    quoted(&name)
                ),
            )
            .help("the role was renamed meanwhile; plan again"));
        }
        Ok(Making { job, role, name, verifier })
    }
}

impl Making<'_> {
    /// What the registry keeps of it: whose it is, whatever that is called.
    fn detail(&self) -> String {
        let verifier = Some(verifiers::digest(self.verifier));
        let lease = self.job.lease.clone();
        let detail = LoginDetail { role: Some(self.job.role.clone()), verifier, lease };
        serde_json::to_string(&detail).expect("a text has a JSON form")
    }

    /// The statement that makes it. It inherits from its role: the server
    /// checks CONNECT for whoever logs in, before the setting `role` holds.
    /// REPLICATION it checks then as well, and nobody inherits that.
    /// Whoever leaves the role by `SET ROLE NONE` has what the role has.
    fn create(&self) -> String {
        let (login, role) = (ident(&self.name), ident(&self.role.name));
        let limit = self.job.connection_limit.unwrap_or(-1);
        let verifier = literal(self.verifier);
        let until = self.job.valid_until.as_ref().or(self.job.lease.as_ref());
        let until = until.map(|until| format!(" VALID UNTIL {}", literal(until)));
        let until = until.unwrap_or_default();
        let replication = if self.role.replication { " REPLICATION" } else { "" };
        format!(
            "CREATE ROLE {login} LOGIN INHERIT{replication} CONNECTION LIMIT {limit}{until} \
             PASSWORD {verifier} IN ROLE {role};\n"
        )
    }

    /// The statements that give its sessions what they start with.
    fn settings(&self, roles: &Roles) -> String {
        let mut text = format!("{};\n", set(&self.name, "role", Some(&self.role.name)));
        // A session has the settings of whoever logs in.
        let settings = roles.settings.get(&self.role.oid).into_iter().flatten();
        for (name, value) in settings.filter(|(name, _)| name.split('@').next() != Some("role")) {
            text.push_str(&set(&self.name, name, Some(value)));
            text.push_str(";\n");
        }
        text
    }
}

/// Says of a refused CREATE ROLE what may stand behind it: an extension that
/// judges passwords is given the verifier, of which it can tell nothing. Each
/// of them answers with another code, which the server itself does not give
/// for such a statement.
fn explain(making: &[Making<'_>], error: Error) -> Error {
    match sqlstate(&error).filter(|_| error.retry() == Retry::Never) {
        Some("22000" | "22023" | "28000" | "28P01" | "0A000" | "P0001" | "XX000") => Error::new(
            ErrorKind::Refused,
            format!(
                "the server refused a SCRAM verifier in place of the password of the login {}",
                making.iter().map(|one| quoted(&one.name)).collect::<Vec<_>>().join(", ")
            ),
        )
        .help(
            "look in `shared_preload_libraries` for an extension that judges passwords, as \
             `passwordcheck` and `credcheck`, and let it take what is encrypted already \
             (`credcheck.encrypted_password_allowed`)",
        )
        .caused_by(error),
        _ => error,
    }
}

/// Refuses names that somebody has taken.
async fn taken(
    within: &Within,
    jobs: &[(usize, &Job)],
    making: &[Making<'_>],
    faults: &mut Faults,
) -> Result<()> {
    let found = numbers(within, making.iter().map(|one| one.name.as_str())).await?;
    for ((at, job), one) in jobs.iter().zip(making) {
        if let Some((_, mark)) = found.get(&one.name) {
            let what = format!("the login {}", quoted(&one.name));
            faults.of::<()>(*at, Err(job.mark.taken(&what, mark.as_ref())));
        }
    }
    Ok(())
}

/// The numbers of roles by their names, with whose logins they are.
async fn numbers(
    within: &Within,
    names: impl Iterator<Item = &str>,
) -> Result<BTreeMap<String, (Oid, Option<Mark>)>> {
    let names: Vec<&str> = names.collect();
    let sql = "SELECT rolname::text, oid FROM pg_roles WHERE rolname = ANY ($1::name[])";
    let rows = within.tx.query(sql, &[(&names, Type::TEXT_ARRAY)]).await?;
    let ids: Vec<String> = rows.iter().map(|row| row.get::<_, Oid>(1).to_string()).collect();
    let mut owned = registry::owned(&within.tx, Login::TYPE, Some(&ids)).await?;
    Ok(rows
        .iter()
        .zip(ids)
        .map(|(row, id)| (row.get(0), (row.get(1), owned.remove(&id).map(|owned| owned.mark))))
        .collect())
}
