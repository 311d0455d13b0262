//! Reads everything that a plan rests on, in a constant number of calls for
//! each type.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, MaybeDone, join, join_all, maybe_done, poll_fn},
};

use super::{surroundings::surroundings, undeclared::find_undeclared};
use crate::{
    address::{Address, Instance},
    blueprint::{Blueprint, Properties},
    clock::Clock,
    error::{Error, ErrorKind, Result},
    ledger::{Managed, State},
    plan::{Observations, Observed},
    provider::{DynObserve, Object, Observation, Observers, Provider, Reference},
    resource::{Lookup, Reading},
    schema::{Kind, ResourceType},
    value::Value,
    vault::{SecretStore, Versions},
};

/// The handles that can only observe.
pub(crate) struct Reader<'a> {
    pub(crate) providers: &'a BTreeMap<String, Arc<dyn Provider>>,
    pub(crate) stores: &'a BTreeMap<String, Arc<dyn SecretStore>>,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) around: Around,
}

/// What of that which stands in no record is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Around {
    /// None of it.
    Nothing,
    /// What is on our identities, and what these can do beside.
    Ours,
    /// Also what is nobody's, which only who has all of the records in view
    /// can tell.
    Everything,
}

/// Systems that were asked already who they are, by the names of their
/// providers, and what observes them.
#[derive(Default)]
pub(crate) struct Greeted<'a> {
    observers: BTreeMap<&'a str, Result<Observers>>,
    targets: BTreeMap<&'a str, Target<'a>>,
}

type Target<'a> = MaybeDone<BoxFuture<'a, Result<String>>>;

impl<'a> Greeted<'a> {
    /// Asks systems who they are, and waits for none of them: a connection is
    /// made while something else is computed.
    pub(crate) async fn begin(
        providers: impl Iterator<Item = (&'a String, &'a Arc<dyn Provider>)>,
    ) -> Self {
        let mut greeted = Self::default();
        for (name, provider) in providers {
            // First, so that both use what was connected for one.
            greeted.observers.insert(name, provider.observers());
            greeted.targets.insert(name, maybe_done(provider.target()));
        }
        poll_fn(|cx| {
            for target in greeted.targets.values_mut() {
                let _under_way = target.poll_unpin(cx);
            }
            Poll::Ready(())
        })
        .await;
        greeted
    }
}

async fn told_by(mut target: Target<'_>) -> Result<String> {
    (&mut target).await;
    Pin::new(&mut target).take_output().unwrap_or_else(|| {
        Err(Error::new(ErrorKind::Bug, "a provider's target was taken by somebody else"))
    })
}

/// What is asked of one type in one provider.
#[derive(Default)]
struct Questions {
    /// What each reference is asked for.
    of: Vec<Asked>,
    references: Vec<Reference>,
}

enum Asked {
    Object(Address),
    Deposed(Address, String),
}

/// Reads the real objects behind what is desired and recorded, of the agents
/// that `wanted` lets through.
///
/// It never fails as a whole: what cannot be read is observed as unread, with
/// the reason.
pub(crate) async fn refresh<'a>(
    reader: &Reader<'a>,
    blueprint: &Blueprint,
    state: &State,
    wanted: &(dyn Fn(&Instance) -> bool + Sync),
    mut greeted: Greeted<'a>,
) -> Observations {
    let at = reader.clock.now();
    let (observers, unavailable) = open_observers(reader, &mut greeted);
    let mut seen = Observations {
        at,
        objects: BTreeMap::new(),
        deposed: BTreeMap::new(),
        undeclared: Vec::new(),
        unlisted: BTreeMap::new(),
        targets: BTreeMap::new(),
        capabilities: BTreeMap::new(),
        types: BTreeMap::new(),
        beside: Vec::new(),
    };
    for (name, observers) in &observers {
        for ty in observers.types() {
            seen.types.insert(ty.name.to_owned(), ty);
            if let Some(observe) = observers.of(ty.name) {
                let key = ((*name).to_owned(), ty.name.to_owned());
                seen.capabilities.insert(key, observe.capabilities());
            }
        }
    }
    let used: BTreeSet<&str> = blueprint
        .resources()
        .values()
        .map(|desired| desired.provider.as_str())
        .chain(state.records.values().flat_map(|record| {
            record.object.iter().chain(&record.deposed).map(|object| object.provider.as_str())
        }))
        .collect();
    let targets = join_all(used.iter().filter_map(|name| {
        let provider = reader.providers.get(*name)?;
        let target = greeted.targets.remove(*name).unwrap_or_else(|| maybe_done(provider.target()));
        Some(async move { ((*name).to_owned(), told_by(target).await) })
    }));
    let first = questions(blueprint, state, wanted);
    let why = |provider: &str| {
        unavailable
            .get(provider)
            .cloned()
            .unwrap_or_else(|| format!("the deployment has no provider named `{provider}`"))
    };
    let answers = |questions: ByType<'_>| {
        join_all(questions.into_iter().map(|((provider, ty), questions)| {
            let observe = observers.get(provider).and_then(|observers| observers.of(ty)).cloned();
            let missing = if observers.contains_key(provider) {
                format!("the provider `{provider}` does not know the type `{ty}`")
            } else {
                why(provider)
            };
            let provider = provider.to_owned();
            async move {
                let answers = ask(&provider, observe.as_ref(), &missing, &questions.references);
                (questions.of, answers.await)
            }
        }))
    };
    let (answered, targets) = join(answers(first), targets).await;
    take(&mut seen, answered);
    // What carries our mark and is not recorded is about to be adopted, and what
    // stands on it can be named from here on. There is such a thing only after
    // records were lost.
    let mut found = marked(blueprint, state, &seen);
    while !found.is_empty() {
        let more = further_questions(blueprint, state, wanted, &seen, &found);
        if more.is_empty() {
            break;
        }
        let answered = answers(more).await;
        take(&mut seen, answered);
        found = marked(blueprint, state, &seen);
    }
    for (name, target) in targets {
        // A target that does not say who it is cannot be told from its clone;
        // what is read of it stays unread then.
        match target {
            Ok(target) => {
                seen.targets.insert(name, target);
            }
            Err(error) => unread_all(&mut seen, blueprint, state, &name, &error),
        }
    }
    read_labels(reader, state, wanted, &mut seen).await;
    if reader.around == Around::Nothing {
        return seen;
    }
    let whole = reader.around == Around::Everything;
    let undeclared = find_undeclared((blueprint, state), &found, &observers, whole, wanted);
    let recorded = Recorded { state, blueprint, found: &found };
    let beside = surroundings(&recorded, &observers, wanted, &seen.objects);
    let ((undeclared, unlisted), beside) = join(undeclared, beside).await;
    Observations { undeclared, unlisted, beside, ..seen }
}

/// What observes each system, and why it cannot be had of the rest.
fn open_observers<'a>(
    reader: &Reader<'a>,
    greeted: &mut Greeted<'a>,
) -> (BTreeMap<&'a str, Observers>, BTreeMap<&'a str, String>) {
    let (mut observers, mut unavailable) = (BTreeMap::new(), BTreeMap::new());
    for (name, provider) in reader.providers {
        let found = greeted.observers.remove(name.as_str());
        match found.unwrap_or_else(|| provider.observers()) {
            Ok(found) => drop(observers.insert(name.as_str(), found)),
            Err(error) => drop(unavailable.insert(name.as_str(), told(&error))),
        }
    }
    (observers, unavailable)
}

fn unread_all(
    seen: &mut Observations,
    blueprint: &Blueprint,
    state: &State,
    provider: &str,
    error: &Error,
) {
    for (address, observed) in &mut seen.objects {
        let of = state
            .object(address)
            .map(|object| object.provider.as_str())
            .or_else(|| Some(blueprint.resources().get(address)?.provider.as_str()));
        if of == Some(provider) {
            observed.object = Observation::Unread(told(error));
        }
    }
}

/// Asks one provider about one type. Its answer is checked, and the provider
/// is named where it breaks the contract.
async fn ask(
    provider: &str,
    observe: Option<&Arc<dyn DynObserve>>,
    missing: &str,
    references: &[Reference],
) -> Vec<Observation> {
    let unread = |why: String| vec![Observation::Unread(why); references.len()];
    let Some(observe) = observe else { return unread(missing.to_owned()) };
    match observe.read(references).await {
        Ok(answers) if answers.len() == references.len() => answers,
        Ok(answers) => unread(format!(
            "the provider `{provider}` was asked about {} objects and answered about {}",
            references.len(),
            answers.len()
        )),
        Err(error) => unread(told(&error)),
    }
}

fn take(seen: &mut Observations, answered: Vec<(Vec<Asked>, Vec<Observation>)>) {
    for (of, observed) in answered {
        for (asked, observation) in of.into_iter().zip(observed) {
            match asked {
                Asked::Object(address) => {
                    seen.objects.insert(address, Observed::of(observation));
                }
                Asked::Deposed(address, id) => {
                    seen.deposed.insert((address, id), observation);
                }
            }
        }
    }
}

/// What is desired, stands in no record, and carries this fleet's mark for its
/// address.
fn marked(blueprint: &Blueprint, state: &State, seen: &Observations) -> BTreeMap<Address, Object> {
    let ours = |address: &Address, object: &Object| {
        object.mark.as_ref().is_some_and(|mark| {
            mark.fleet == blueprint.fleet()
                && mark.environment == blueprint.environment()
                && mark.address == *address
        })
    };
    let unrecorded = blueprint.resources().iter().filter(|(address, desired)| {
        desired.resource_type.kind != Kind::Credential && state.object(address).is_none()
    });
    unrecorded
        .filter_map(|(address, _)| match &seen.objects.get(address)?.object {
            Observation::Present(object) if ours(address, object) => {
                Some((address.clone(), object.clone()))
            }
            _ => None,
        })
        .collect()
}

/// What could not be named before `found` was.
fn further_questions<'a>(
    blueprint: &'a Blueprint,
    state: &'a State,
    wanted: &(dyn Fn(&Instance) -> bool + Sync),
    seen: &Observations,
    found: &BTreeMap<Address, Object>,
) -> ByType<'a> {
    let lookup = Recorded { state, blueprint, found };
    let mut questions: ByType<'a> = BTreeMap::new();
    for (address, desired) in blueprint.resources() {
        let on_found = desired.dependencies.iter().any(|needed| found.contains_key(needed));
        if !on_found || seen.objects.contains_key(address) || !wanted(address.instance()) {
            continue;
        }
        let record = state.records.get(address);
        if record.is_some_and(|record| record.object.is_some() || record.open.is_some()) {
            continue;
        }
        if let Some(reference) = natural_key(desired.resource_type, &desired.properties, &lookup) {
            let of = questions.entry((&desired.provider, desired.resource_type.name)).or_default();
            of.of.push(Asked::Object(address.clone()));
            of.references.push(reference);
        }
    }
    questions
}

type ByType<'a> = BTreeMap<(&'a str, &'a str), Questions>;

fn questions<'a>(
    blueprint: &'a Blueprint,
    state: &'a State,
    wanted: &(dyn Fn(&Instance) -> bool + Sync),
) -> ByType<'a> {
    let mut questions: ByType<'a> = BTreeMap::new();
    let mut recorded = BTreeSet::new();
    for (address, record) in &state.records {
        if record.object.is_some() || record.open.is_some() {
            recorded.insert(address);
        }
        if !wanted(address.instance()) {
            continue;
        }
        if let Some(object) = &record.object {
            let of = questions.entry((&object.provider, &object.resource_type)).or_default();
            of.of.push(Asked::Object(address.clone()));
            of.references.push(Reference::Id(object.id.clone()));
        }
        for old in &record.deposed {
            let of = questions.entry((&old.provider, &old.resource_type)).or_default();
            of.of.push(Asked::Deposed(address.clone(), old.id.clone()));
            of.references.push(Reference::Id(old.id.clone()));
        }
    }
    let moved: BTreeSet<&Address> = blueprint
        .moved()
        .iter()
        .filter(|(from, _)| recorded.contains(from))
        .map(|(_, to)| to)
        .collect();
    let lookup = Recorded { state, blueprint, found: &BTreeMap::new() };
    for (address, desired) in blueprint.resources() {
        if recorded.contains(address) || moved.contains(address) || !wanted(address.instance()) {
            continue;
        }
        let reference = match blueprint.imports().get(address) {
            Some(id) => Some(Reference::Id(id.clone())),
            None => natural_key(desired.resource_type, &desired.properties, &lookup),
        };
        // What cannot be named yet cannot exist yet: it stands on something
        // that this plan will make.
        if let Some(reference) = reference {
            let of = questions.entry((&desired.provider, desired.resource_type.name)).or_default();
            of.of.push(Asked::Object(address.clone()));
            of.references.push(reference);
        }
    }
    questions
}

fn natural_key(
    ty: &'static ResourceType,
    properties: &Properties,
    lookup: &dyn Lookup,
) -> Option<Reference> {
    let mut key = BTreeMap::new();
    for field in ty.key_fields() {
        let value = properties.get(field.name)?.resolve(lookup).ok()?;
        key.insert(field.name.to_owned(), field.ty.normalise(value));
    }
    (!key.is_empty()).then_some(Reference::Key(key))
}

pub(super) struct Recorded<'a> {
    pub(super) state: &'a State,
    pub(super) blueprint: &'a Blueprint,
    /// What is not recorded and is known to be ours all the same.
    pub(super) found: &'a BTreeMap<Address, Object>,
}

impl Recorded<'_> {
    fn object(&self, address: &Address) -> Option<&Managed> {
        self.state.object(address).or_else(|| {
            let (from, _) = self.blueprint.moved().iter().find(|(_, to)| *to == address)?;
            self.state.object(from)
        })
    }
}

impl Lookup for Recorded<'_> {
    fn output(&self, address: &Address, field: &str) -> Option<Value> {
        match self.object(address) {
            Some(object) => object.outputs.get(field).cloned(),
            None => match self.found.get(address)?.fields.get(field)? {
                Reading::Known(value) => Some(value.clone()),
                _ => None,
            },
        }
    }

    fn id(&self, address: &Address) -> Option<String> {
        let recorded = self.object(address).map(|object| object.id.clone());
        recorded.or_else(|| self.found.get(address).map(|object| object.id.clone()))
    }
}

/// Reads what stands at the places of recorded credentials: labels and
/// digests, no value.
async fn read_labels(
    reader: &Reader<'_>,
    state: &State,
    wanted: &(dyn Fn(&Instance) -> bool + Sync),
    seen: &mut Observations,
) {
    let mut by_store: BTreeMap<&str, Vec<(&Address, &str)>> = BTreeMap::new();
    for (address, record) in &state.records {
        let credential = record.object.as_ref().and_then(|object| object.credential.as_ref());
        if let Some(credential) = credential.filter(|_| wanted(address.instance())) {
            let of = by_store.entry(credential.place.store()).or_default();
            of.push((address, credential.place.path()));
        }
    }
    for (store, places) in by_store {
        let paths: Vec<String> = places.iter().map(|(_, path)| (*path).to_owned()).collect();
        let read = labels(reader, store, &paths).await;
        for (index, (address, _)) in places.into_iter().enumerate() {
            let stored = match &read {
                Ok(versions) => Ok(versions[index].clone()),
                // One damaged place must not hide the others.
                Err(_) => match labels(reader, store, &paths[index..=index]).await {
                    Ok(mut versions) => Ok(versions.remove(0)),
                    Err(error) => Err(told(&error)),
                },
            };
            if let Some(observed) = seen.objects.get_mut(address) {
                observed.stored = Some(stored);
            }
        }
    }
}

/// What is wrong, and how to mend it: a plan shows it where the error is gone.
pub(super) fn told(error: &Error) -> String {
    match error.repair() {
        Some(repair) => format!("{error} ({repair})"),
        None => error.chain(),
    }
}

async fn labels(reader: &Reader<'_>, store: &str, paths: &[String]) -> Result<Vec<Versions>> {
    let store_handle = reader.stores.get(store).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("the deployment has no secret store named `{store}`"),
        )
    })?;
    let versions = store_handle.labels()?.versions(paths).await?;
    if versions.len() == paths.len() {
        Ok(versions)
    } else {
        Err(Error::new(
            ErrorKind::Vault,
            format!("the secret store `{store}` answered for another number of places"),
        ))
    }
}
