//! One batch: begun in one append, asked of the provider in one call, ended in
//! one append.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Outcome, Progress,
    ask::{Answer, ask},
    begin::stale,
    credential,
    run::Run,
    values::{as_written, broken_promise},
};
use crate::{
    address::Address,
    bugs::bug,
    error::{Error, ErrorKind},
    ledger::{Claim, CredentialEvent, Entry, Managed, Query, StepEvent},
    plan::{Action, Part, Reason, Step},
    provider::{Capabilities, DynWrite, Observation, Operation, Origin, Reference, Tried, Written},
    schema::{Kind, ResourceType},
    secret::Secret,
    value::Value,
};

/// One step, with everything resolved that it needs.
pub(super) struct Job<'p> {
    pub(super) index: usize,
    pub(super) step: &'p Step,
    pub(super) ty: &'static ResourceType,
    pub(super) properties: BTreeMap<String, Value>,
    /// What will be recorded, as far as that is known before.
    pub(super) target: Option<Arc<Managed>>,
    /// What is recorded now.
    pub(super) recorded: Option<Arc<Managed>>,
    /// The record of the object that the step removes, whatever took its place.
    pub(super) removed: Option<Arc<Managed>>,
    pub(super) version: u64,
    pub(super) seen: Observation,
    /// How the credentials that this run removes answered before it began.
    pub(super) controls: Arc<BTreeMap<Address, Tried>>,
}

/// What a step left of the record at its address.
#[derive(Default)]
pub(super) enum Left {
    /// It is as it was.
    #[default]
    AsItWas,
    /// There is none any more.
    Nothing,
    /// This.
    Object(Arc<Managed>),
}

/// How one step of a batch ended.
pub(super) struct Ended {
    pub(super) index: usize,
    pub(super) outcome: Outcome,
    /// The record's version, when the step changed it.
    pub(super) version: Option<u64>,
    /// What became of the record.
    pub(super) record: Left,
    /// What is there now, when the step changed it.
    pub(super) seen: Option<Observation>,
}

impl Ended {
    pub(super) fn failed(index: usize, error: Error) -> Self {
        Self::with(index, Outcome::Failed(Arc::new(error)), None)
    }

    pub(super) fn in_doubt(index: usize, error: Error) -> Self {
        Self::with(index, Outcome::InDoubt(Arc::new(error)), None)
    }

    pub(super) fn with(index: usize, outcome: Outcome, version: Option<u64>) -> Self {
        Self { index, outcome, version, record: Left::AsItWas, seen: None }
    }
}

/// A job that was begun, and its claim.
pub(super) struct Begun<'p> {
    pub(super) job: Job<'p>,
    pub(super) claim: Claim,
    /// The record's version since the `Begun` entry.
    pub(super) version: u64,
    /// The secret, when the engine makes it.
    pub(super) secret: Option<Secret>,
}

impl Job<'_> {
    /// Whether the step removes an object.
    pub(super) fn removes(&self) -> bool {
        self.step.action == Action::Delete || self.step.part == Part::Remove
    }

    /// Whether the object that it removes was replaced before.
    pub(super) fn is_deposed(&self) -> bool {
        self.step.part == Part::Remove && self.step.action == Action::ReplaceCreateFirst
    }

    /// The id of the object that it changes, of a step that keeps it.
    fn changes(&self) -> Option<&String> {
        let keeps = matches!(self.step.action, Action::Update | Action::Suspend | Action::Resume);
        self.step.id.as_ref().filter(|_| keeps)
    }

    /// Whether it makes anew what was recorded and then not found.
    fn follows_a_loss(&self) -> bool {
        self.step.reason == Reason::Gone && self.step.action == Action::Create
    }

    fn reference(&self) -> Option<Reference> {
        if let Some(lost) = self.recorded.as_ref().filter(|_| self.follows_a_loss()) {
            return Some(Reference::Id(lost.id.clone()));
        }
        if let Some(id) = &self.step.id {
            return Some(Reference::Id(id.clone()));
        }
        let key: BTreeMap<String, Value> = self
            .ty
            .key_fields()
            .filter_map(|field| {
                Some((field.name.to_owned(), self.properties.get(field.name)?.clone()))
            })
            .collect();
        (!key.is_empty()).then_some(Reference::Key(key))
    }

    pub(super) fn operation(&self) -> Operation<BTreeMap<String, Value>> {
        let id = self.step.id.clone().unwrap_or_default();
        if self.removes() {
            return Operation::Delete { id };
        }
        match self.step.action {
            Action::Update => Operation::Update { id, desired: self.properties.clone() },
            Action::Suspend => Operation::Suspend { id },
            Action::Resume => Operation::Resume { id },
            _ => Operation::Create(self.properties.clone()),
        }
    }
}

/// Runs the steps of one type that are ready together.
pub(super) async fn run_batch(run: &Run<'_>, jobs: Vec<Job<'_>>) -> Vec<Ended> {
    let (provider, ty) = (jobs[0].step.provider.clone(), jobs[0].ty);
    let mut ended = Vec::new();
    let (record_only, jobs): (Vec<Job<'_>>, Vec<Job<'_>>) =
        jobs.into_iter().partition(|job| job.step.action == Action::Record);
    ended.extend(follow_terms(run, record_only).await);
    if jobs.is_empty() {
        return ended;
    }
    let writer = match run.engine.writer(&provider, ty.name) {
        Ok(writer) => writer,
        Err(error) => {
            let error = Arc::new(error);
            ended.extend(
                jobs.iter()
                    .map(|job| Ended::with(job.index, Outcome::Failed(Arc::clone(&error)), None)),
            );
            return ended;
        }
    };
    let capabilities = writer.capabilities();
    // A creation says nothing of the object that it takes the place of: read
    // of the past, that may stand after all and would live on unknown.
    let (unchecked, mut jobs): (Vec<Job<'_>>, Vec<Job<'_>>) = jobs.into_iter().partition(|job| {
        !capabilities.checks_seen || job.follows_a_loss() && !bug!("stale absence believed")
    });
    jobs.extend(recheck(run, &*writer, unchecked, &mut ended).await);
    let begun = begin(run, jobs, &mut ended).await;
    let begun = stage_own_secrets(run, &*writer, &capabilities, begun, &mut ended).await;
    if begun.is_empty() {
        return ended;
    }
    let answers = ask(run, &*writer, &capabilities, &provider, &begun).await;
    let begun = if bug!("entry after call") { recorded_late(run, begun).await } else { begun };
    ended.extend(conclude(run, begun, answers).await);
    ended
}

/// Records what only the engine reads.
async fn follow_terms(run: &Run<'_>, jobs: Vec<Job<'_>>) -> Vec<Ended> {
    let mut expected = BTreeMap::new();
    let mut entries = Vec::new();
    let mut objects = Vec::new();
    for job in &jobs {
        let Some(mut object) = job.target.clone() else { continue };
        if let Some(seen) = job.seen.object() {
            object = Arc::new(as_written(Arc::unwrap_or_clone(object), seen, job.ty));
        }
        expected.insert(job.step.address.clone(), job.version);
        let event = crate::ledger::RecordEvent::Updated { object: Arc::clone(&object) };
        entries.push(Entry::of(&job.step.address, event));
        objects.push((job.index, object));
    }
    if objects.is_empty() {
        return Vec::new();
    }
    match run.append(expected, entries).await {
        Ok(version) => objects
            .into_iter()
            .map(|(index, object)| Ended {
                record: Left::Object(object),
                ..Ended::with(index, Outcome::Done, Some(version))
            })
            .collect(),
        Err(error) => all_failed(jobs.iter().map(|job| job.index), error),
    }
}

fn all_failed(indices: impl Iterator<Item = usize>, error: Error) -> Vec<Ended> {
    let doubt = error.kind() == ErrorKind::InDoubt;
    let error = Arc::new(error);
    indices
        .map(|index| {
            let error = Arc::clone(&error);
            let outcome = if doubt { Outcome::InDoubt(error) } else { Outcome::Failed(error) };
            Ended::with(index, outcome, None)
        })
        .collect()
}

/// Reads again just before the write, and refuses what is not as it was seen.
async fn recheck<'p>(
    run: &Run<'_>,
    writer: &dyn DynWrite,
    jobs: Vec<Job<'p>>,
    ended: &mut Vec<Ended>,
) -> Vec<Job<'p>> {
    let asked: Vec<(usize, Reference)> =
        jobs.iter().enumerate().filter_map(|(at, job)| Some((at, job.reference()?))).collect();
    let references: Vec<Reference> = asked.iter().map(|(_, reference)| reference.clone()).collect();
    if references.is_empty() || bug!("missing re-read") {
        return jobs;
    }
    let read = match run.engine.persist(|| writer.read(&references)).await {
        Ok(read) if read.len() == references.len() => read,
        Ok(_) => {
            let error = Error::new(
                ErrorKind::ProviderContract,
                "the provider answered for another number of objects than it was asked about",
            );
            ended.extend(all_failed(jobs.iter().map(|job| job.index), error));
            return Vec::new();
        }
        Err(error) => {
            ended.extend(all_failed(jobs.iter().map(|job| job.index), error));
            return Vec::new();
        }
    };
    let mut now: BTreeMap<usize, Observation> =
        asked.into_iter().map(|(at, _)| at).zip(read).collect();
    let mut fresh = Vec::new();
    for (at, job) in jobs.into_iter().enumerate() {
        match now.remove(&at) {
            Some(now) if !same(&now, &job.seen, job.ty) => {
                let error = stale(difference(&now, &job.seen)).at(&job.step.address);
                ended.push(Ended::failed(job.index, error));
            }
            _ => fresh.push(job),
        }
    }
    fresh
}

/// Whether two observations are the same as far as a write rests on them.
pub(super) fn same(a: &Observation, b: &Observation, ty: &'static ResourceType) -> bool {
    match (a, b) {
        (Observation::Absent, Observation::Absent) => true,
        (Observation::Present(a), Observation::Present(b)) => {
            let equal = |name: &&crate::schema::Field| {
                let normal = |object: &crate::provider::Object| {
                    object.value(name.name).map(|value| name.ty.normalise(value.clone()))
                };
                normal(a) == normal(b)
            };
            a.id == b.id && a.suspended == b.suspended && ty.fields.iter().all(|f| equal(&f))
        }
        _ => false,
    }
}

fn difference(now: &Observation, seen: &Observation) -> String {
    match (now, seen) {
        (Observation::Absent, _) => "it was seen, and it is gone now".into(),
        (Observation::Unread(why), _) => format!("it cannot be read any more: {why}"),
        (_, Observation::Absent) => "it did not exist when the plan was made, and does now".into(),
        _ => "it is not as it was when the plan was made".into(),
    }
}

/// Makes the begin of all steps durable, in one append. A step whose record
/// was changed by somebody else fails, and only that one.
async fn begin<'p>(
    run: &Run<'_>,
    mut jobs: Vec<Job<'p>>,
    ended: &mut Vec<Ended>,
) -> Vec<Begun<'p>> {
    loop {
        let claims: Vec<Claim> = jobs.iter().map(|_| run.next_claim()).collect();
        let entries = jobs
            .iter()
            .zip(&claims)
            .flat_map(|(job, claim)| cut_off(job).into_iter().chain([begin_entry(job, claim)]))
            .collect();
        let expected = jobs.iter().map(|job| (job.step.address.clone(), job.version)).collect();
        if jobs.is_empty() {
            return Vec::new();
        }
        let recorded = !bug!("claim not recorded");
        let now = recorded && !bug!("entry after call");
        if !now {
            let begun = |(job, claim): (Job<'p>, Claim)| {
                let version = job.version;
                begun(run, job, claim, version)
            };
            return jobs.into_iter().zip(claims).map(begun).collect();
        }
        let error = match run.append(expected, entries).await {
            Ok(version) => {
                let begun = |(job, claim)| begun(run, job, claim, version);
                return jobs.into_iter().zip(claims).map(begun).collect();
            }
            Err(error) => error,
        };
        let before = jobs.len();
        if error.kind() == ErrorKind::Conflict {
            jobs = still_as_planned(run, jobs, ended).await;
        }
        if jobs.len() == before {
            ended.extend(all_failed(jobs.iter().map(|job| job.index), error));
            return Vec::new();
        }
    }
}

/// What only a bug does: the entries follow the calls that they announce.
async fn recorded_late<'p>(run: &Run<'_>, mut late: Vec<Begun<'p>>) -> Vec<Begun<'p>> {
    let entries = late.iter().map(|one| begin_entry(&one.job, &one.claim)).collect();
    let expected = late.iter().map(|one| (one.job.step.address.clone(), one.version)).collect();
    if let Ok(version) = run.append(expected, entries).await {
        for one in &mut late {
            one.version = version;
        }
    }
    late
}

fn begun<'p>(run: &Run<'_>, job: Job<'p>, claim: Claim, version: u64) -> Begun<'p> {
    run.tell(&Progress::StepBegun { address: job.step.address.clone(), action: job.step.action });
    Begun { job, claim, version, secret: None }
}

/// The jobs whose records have the versions that they rest on.
async fn still_as_planned<'p>(
    run: &Run<'_>,
    jobs: Vec<Job<'p>>,
    ended: &mut Vec<Ended>,
) -> Vec<Job<'p>> {
    let instances: std::collections::BTreeSet<_> =
        jobs.iter().map(|job| job.step.address.instance().clone()).collect();
    let query = Query::Agents(instances.into_iter().collect());
    let Ok(state) = run.engine.persist(|| run.engine.ledger.state(&query)).await else {
        return jobs;
    };
    let (same, moved): (Vec<Job<'_>>, Vec<Job<'_>>) =
        jobs.into_iter().partition(|job| state.version(&job.step.address) == job.version);
    ended.extend(moved.into_iter().map(|job| {
        let now = state.version(&job.step.address);
        let error = stale(format!("its record moved from version {} to {now}", job.version));
        Ended::failed(job.index, error.at(&job.step.address))
    }));
    same
}

/// Who will be cut off stands there before they are.
fn cut_off(job: &Job<'_>) -> Option<Entry> {
    let Reason::Outlived { generation, cut_off } = &job.step.reason else { return None };
    let event = CredentialEvent::CutOff { consumers: cut_off.clone() };
    let entry = Entry::of(&job.step.address, event).at_generation(*generation);
    Some(entry).filter(|_| !cut_off.is_empty())
}

fn begin_entry(job: &Job<'_>, claim: &Claim) -> Entry {
    let generation = |object: &Arc<Managed>| object.credential.as_ref().map(|c| c.generation);
    let mut entry = Entry::of(
        &job.step.address,
        StepEvent::Begun {
            claim: claim.clone(),
            action: job.step.action,
            deposed: job.is_deposed(),
            target: job.target.clone().filter(|_| !job.removes()),
            id: job.step.id.clone(),
            provider: job.step.provider.clone(),
            resource_type: job.step.resource_type.clone(),
        },
    );
    entry.generation = job.target.as_ref().and_then(generation);
    entry
}

/// Delivers the secrets that the engine makes before the system learns them,
/// so that a crash goes on with the same value.
async fn stage_own_secrets<'p>(
    run: &Run<'_>,
    writer: &dyn DynWrite,
    capabilities: &Capabilities,
    begun: Vec<Begun<'p>>,
    ended: &mut Vec<Ended>,
) -> Vec<Begun<'p>> {
    let ours = capabilities.credential.as_ref().is_some_and(|c| c.origin == Origin::Engine);
    if !ours {
        return begun;
    }
    let (mut staged, issuing): (Vec<Begun<'_>>, Vec<Begun<'_>>) =
        begun.into_iter().partition(|one| one.job.removes());
    let secrets = credential::stage_new(run, writer, &issuing).await;
    for (mut one, secret) in issuing.into_iter().zip(secrets) {
        match secret {
            Ok(secret) => {
                one.secret = Some(secret);
                staged.push(one);
            }
            Err(error) => ended.push(give_up(run, &one, error).await),
        }
    }
    staged
}

/// Records that a step failed before anything was asked of the provider.
pub(super) async fn give_up(run: &Run<'_>, begun: &Begun<'_>, error: Error) -> Ended {
    let failed = StepEvent::Failed { claim: begun.claim.clone(), error: error.to_string() };
    let entry = Entry::of(&begun.job.step.address, failed);
    let expected = BTreeMap::from([(begun.job.step.address.clone(), begun.version)]);
    match run.append(expected, vec![entry]).await {
        Ok(version) => {
            let outcome = Outcome::Failed(Arc::new(error));
            Ended::with(begun.job.index, outcome, Some(version))
        }
        Err(error) => Ended::in_doubt(begun.job.index, error),
    }
}

/// Records how each step ended; plain ones together, credentials each on its
/// way through the secret store.
async fn conclude(run: &Run<'_>, begun: Vec<Begun<'_>>, answers: Vec<Answer>) -> Vec<Ended> {
    let mut plain = Vec::new();
    let mut credentials = Vec::new();
    for (one, answer) in begun.into_iter().zip(answers) {
        if one.job.ty.kind == Kind::Credential {
            credentials.push(credential::conclude(run, one, answer));
        } else {
            plain.push((one, answer));
        }
    }
    let (mut ended, more) = futures_util::future::join(
        conclude_plain(run, plain),
        futures_util::future::join_all(credentials),
    )
    .await;
    ended.extend(more);
    ended
}

async fn conclude_plain(run: &Run<'_>, answers: Vec<(Begun<'_>, Answer)>) -> Vec<Ended> {
    let mut expected = BTreeMap::new();
    let mut entries = Vec::new();
    let mut ended = Vec::new();
    for (begun, answer) in answers {
        let address = begun.job.step.address.clone();
        let (event, mut end, correlation) = match answer {
            Answer::Written(issued) => written(&begun, issued.written),
            Answer::Failed(error) => {
                let event =
                    StepEvent::Failed { claim: begun.claim.clone(), error: error.to_string() };
                (event, Ended::failed(begun.job.index, error), None)
            }
            Answer::InDoubt(error) => {
                let event =
                    StepEvent::InDoubt { claim: begun.claim.clone(), error: error.to_string() };
                (event, Ended::in_doubt(begun.job.index, error), None)
            }
        };
        end.version = Some(begun.version);
        expected.insert(address.clone(), begun.version);
        let mut entry = Entry::of(&address, event);
        entry.correlation = correlation;
        entries.push(entry);
        ended.push(end);
    }
    if ended.is_empty() {
        return ended;
    }
    match run.append(expected, entries).await {
        Ok(version) => ended.iter_mut().for_each(|end| end.version = Some(version)),
        // The steps stay open in the ledger, and the next run settles them.
        Err(error) => {
            let error = Arc::new(error);
            for end in &mut ended {
                *end = Ended::with(end.index, Outcome::InDoubt(Arc::clone(&error)), None);
            }
        }
    }
    ended
}

/// The end of a step that the provider carried out.
fn written(begun: &Begun<'_>, written: Written) -> (StepEvent, Ended, Option<String>) {
    let job = &begun.job;
    let correlation = written.correlation;
    if let (true, Some(_)) = (job.removes(), &written.object) {
        // It is still there, and so is its record.
        let error = contract(job, "the object that it was told to delete");
        let event = StepEvent::Failed { claim: begun.claim.clone(), error: error.to_string() };
        return (event, Ended::failed(job.index, error), correlation);
    }
    let (object, seen, outcome) = if job.removes() {
        (None, Observation::Absent, Outcome::Done)
    } else {
        let (Some(real), Some(target)) = (&written.object, &job.target) else {
            let error = contract(job, "no object");
            let event = StepEvent::InDoubt { claim: begun.claim.clone(), error: error.to_string() };
            return (event, Ended::in_doubt(job.index, error), correlation);
        };
        if let Some(asked) = job.changes().filter(|asked| **asked != real.id) {
            // What it says of another object is nothing that this one is.
            let error = contract(job, &format!("`{}` where `{asked}` was asked for", real.id));
            let event = StepEvent::Failed { claim: begun.claim.clone(), error: error.to_string() };
            return (event, Ended::failed(job.index, error), correlation);
        }
        // Suspending changes no property, so it promises none.
        let broken = match job.step.action {
            Action::Suspend if !real.suspended => Some("an object that is not suspended".into()),
            Action::Resume if real.suspended => Some("an object that is suspended still".into()),
            Action::Suspend | Action::Resume => None,
            _ => broken_promise(&job.properties, real, job.ty),
        };
        let outcome = match broken {
            None => Outcome::Done,
            Some(what) => Outcome::Failed(Arc::new(contract(job, &what))),
        };
        let object = as_written(Managed::clone(target), real, job.ty);
        (Some(Arc::new(object)), Observation::Present(real.clone()), outcome)
    };
    let event = StepEvent::Done { claim: begun.claim.clone(), object: object.clone() };
    let record = object.map_or(Left::Nothing, Left::Object);
    let ended = Ended { record, seen: Some(seen), ..Ended::with(job.index, outcome, None) };
    (event, ended, correlation)
}

/// The provider is blamed by name when its answer breaks the contract.
fn contract(job: &Job<'_>, what: &str) -> Error {
    Error::new(
        ErrorKind::ProviderContract,
        format!("the provider `{}` answered {what}", job.step.provider),
    )
    .at(&job.step.address)
    .help("this is a mistake of the provider; the next plan reads what is there")
}
