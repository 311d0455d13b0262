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

use super::surroundings::surroundings;
use crate::{
    address::{Address, Instance},
    blueprint::Blueprint,
    clock::Clock,
    diff::readings_as_nodes,
    error::{Error, ErrorKind, Result},
    ledger::{Managed, State},
    plan::{Observations, Observed, Undeclared},
    provider::{DynObserve, Listing, Object, Observation, Observers, Provider, Reach, Reference},
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
    let mut observers = BTreeMap::new();
    let mut unavailable = BTreeMap::new();
    for (name, provider) in reader.providers {
        let found = greeted.observers.remove(name.as_str());
        match found.unwrap_or_else(|| provider.observers()) {
            Ok(found) => {
                observers.insert(name.as_str(), found);
            }
            Err(error) => {
                unavailable.insert(name.as_str(), told(&error));
            }
        }
    }
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
    let questions = questions(blueprint, state, wanted);
    let why = |provider: &str| {
        unavailable
            .get(provider)
            .cloned()
            .unwrap_or_else(|| format!("the deployment has no provider named `{provider}`"))
    };
    let answers = join_all(questions.into_iter().map(|((provider, ty), questions)| {
        let observe = observers.get(provider).and_then(|observers| observers.of(ty)).cloned();
        let missing = if observers.contains_key(provider) {
            format!("the provider `{provider}` does not know the type `{ty}`")
        } else {
            why(provider)
        };
        async move {
            let answers = ask(provider, observe.as_ref(), &missing, &questions.references).await;
            (questions.of, answers)
        }
    }));
    let (answers, targets) = join(answers, targets).await;
    for (of, observed) in answers {
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
    let undeclared = find_undeclared(blueprint, state, &observers, wanted);
    let beside = surroundings(blueprint, state, &observers, wanted, &seen.objects);
    let ((undeclared, unlisted), beside) = join(undeclared, beside).await;
    Observations { undeclared, unlisted, beside, ..seen }
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
    let lookup = Recorded { state, blueprint };
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
    properties: &BTreeMap<String, crate::resource::Node>,
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
        self.object(address)?.outputs.get(field).cloned()
    }

    fn id(&self, address: &Address) -> Option<String> {
        self.object(address).map(|object| object.id.clone())
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

/// Finds grants and keys on our identities, and identities in a watched scope,
/// that stand in no record; and what could not be listed, by the identity that
/// it concerns.
async fn find_undeclared(
    blueprint: &Blueprint,
    state: &State,
    observers: &BTreeMap<&str, Observers>,
    wanted: &(dyn Fn(&Instance) -> bool + Sync),
) -> (Vec<Undeclared>, BTreeMap<Address, BTreeSet<String>>) {
    let ours = Ours::of(blueprint, state);
    let mut undeclared = Vec::new();
    let mut unlisted: BTreeMap<Address, BTreeSet<String>> = BTreeMap::new();
    let mut listings = Vec::new();
    for (provider, observers) in observers {
        let identities: Vec<String> = ours
            .identities
            .iter()
            .filter(|((.., of), (address, _))| of == provider && wanted(address.instance()))
            .map(|((id, ..), _)| (*id).to_owned())
            .collect();
        let reach = blueprint.providers().get(*provider).copied().unwrap_or_default();
        for ty in observers.types() {
            let listing = match ty.kind {
                // What is about everybody is nobody's, and seen where all is.
                Kind::Permission if ty.owner_field().is_none() && reach == Reach::Declared => {
                    continue;
                }
                Kind::Permission if ty.owner_field().is_none() => Listing::All,
                Kind::Permission | Kind::Credential if !identities.is_empty() => {
                    Listing::Of(identities.clone())
                }
                Kind::Identity if reach != Reach::Declared => Listing::All,
                _ => continue,
            };
            let Some(observe) = observers.of(ty.name).cloned() else { continue };
            listings.push(async move { (*provider, ty, observe.list(&listing).await) });
        }
    }
    for (provider, ty, listed) in join_all(listings).await {
        match listed {
            Ok(objects) => {
                for object in objects {
                    undeclared.extend(ours.undeclared(blueprint, provider, ty, object));
                }
            }
            // What could not be enumerated is not clean: each identity that it
            // concerns says so. It was read itself, and can be stopped.
            Err(error) => {
                let why = format!(
                    "its objects of type `{}` could not be listed: {}",
                    ty.name,
                    error.chain()
                );
                for ((.., of), (address, _)) in &ours.identities {
                    if *of == provider && wanted(address.instance()) {
                        unlisted.entry((*address).clone()).or_default().insert(why.clone());
                    }
                }
            }
        }
    }
    undeclared.sort_by(|a, b| {
        (&a.instance, &a.provider, &a.resource_type, &a.object.id).cmp(&(
            &b.instance,
            &b.provider,
            &b.resource_type,
            &b.object.id,
        ))
    });
    (undeclared, unlisted)
}

/// What this ledger knows of real objects.
struct Ours<'a> {
    /// Identities by id, type and provider: the id nearly always decides a
    /// comparison.
    identities: BTreeMap<(&'a str, &'a str, &'a str), (&'a Address, &'a Managed)>,
    /// Every known object, by the same; what the next plan is about to adopt
    /// among them, for that is no find.
    known: BTreeSet<(&'a str, &'a str, &'a str)>,
    /// Addresses with a step whose end is not recorded.
    open: BTreeSet<&'a Address>,
}

impl<'a> Ours<'a> {
    fn of(blueprint: &'a Blueprint, state: &'a State) -> Self {
        let mut ours =
            Self { identities: BTreeMap::new(), known: BTreeSet::new(), open: BTreeSet::new() };
        for (address, id) in blueprint.imports() {
            if let Some(desired) = blueprint.resources().get(address) {
                ours.known.insert((id, desired.resource_type.name, &desired.provider));
            }
        }
        for (address, record) in &state.records {
            for object in record.object.iter().chain(&record.deposed) {
                let key =
                    (object.id.as_str(), object.resource_type.as_str(), object.provider.as_str());
                ours.known.insert(key);
                if object.kind == Kind::Identity {
                    ours.identities.insert(key, (address, object));
                }
            }
            if let Some(open) = &record.open {
                ours.open.insert(address);
                for id in open.id.iter().chain(&open.issued) {
                    ours.known.insert((id, &open.resource_type, &open.provider));
                }
            }
        }
        ours
    }

    fn undeclared(
        &self,
        blueprint: &Blueprint,
        provider: &str,
        ty: &'static ResourceType,
        object: Object,
    ) -> Option<Undeclared> {
        if self.known.contains(&(object.id.as_str(), ty.name, provider)) {
            return None;
        }
        // An object that a step in doubt may have made is settled, not judged.
        let in_doubt = object.mark.as_ref().is_some_and(|mark| {
            mark.fleet == blueprint.fleet()
                && mark.environment == blueprint.environment()
                && self.open.contains(&mark.address)
        });
        if in_doubt {
            return None;
        }
        let instance = match ty.owner_field() {
            None => None,
            Some(field) => {
                let link = ty.field(field)?.ty.link()?;
                let Some(Reading::Known(owner)) = object.fields.get(field) else { return None };
                let id = owner.as_text()?;
                let (address, _) = self.identities.get(&(id, link, provider))?;
                Some(address.instance().clone())
            }
        };
        let name_of = |target: &'static str, id: &str| {
            self.identities.get(&(id, target, provider)).map(|(address, _)| (*address).clone())
        };
        // Nobody's identity is called as its system calls it.
        let access = ty.access_of(&object.id, &readings_as_nodes(ty, &object.fields, &name_of));
        Some(Undeclared {
            instance,
            provider: provider.to_owned(),
            resource_type: ty.name.to_owned(),
            object,
            access,
        })
    }
}
