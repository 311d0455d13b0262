//! Asks what identities can do beside what is declared for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;

use super::refresh::{Recorded, told};
use crate::{
    address::{Address, Instance},
    blueprint::{Blueprint, Desired},
    plan::{Beside, Observed},
    provider::{
        DynObserve, Observation, Observers, Permission, Reference, Source, Surrounded, Surroundings,
    },
    resource::{Lookup, Node},
    schema::Kind,
    value::Value,
};

/// The identities of one type in one provider, in the order in which they are
/// asked about.
#[derive(Default)]
struct Asked<'a> {
    addresses: Vec<&'a Address>,
    of: Vec<Surrounded>,
    /// What is declared at that provider for nobody in particular.
    everybody: Arc<Vec<Permission>>,
}

/// Asks each provider about all declared identities of each of its types, in
/// one call for a type.
pub(super) async fn surroundings(
    recorded: &Recorded<'_>,
    observers: &BTreeMap<&str, Observers>,
    wanted: &(dyn Fn(&Instance) -> bool + Sync),
    objects: &BTreeMap<Address, Observed>,
) -> Vec<Beside> {
    let blueprint = recorded.blueprint;
    let mut permissions = permissions(blueprint, recorded);
    let everybody = of_everybody(blueprint, recorded);
    let mut asked: BTreeMap<(&str, &str), Asked<'_>> = BTreeMap::new();
    for (address, desired) in blueprint.resources() {
        if desired.resource_type.kind != Kind::Identity || !wanted(address.instance()) {
            continue;
        }
        let of = asked.entry((&desired.provider, desired.resource_type.name)).or_default();
        if let Some(known) = everybody.get(desired.provider.as_str()) {
            of.everybody = Arc::clone(known);
        }
        of.addresses.push(address);
        of.of.push(Surrounded {
            identity: identity(address, blueprint, recorded, objects),
            permissions: permissions.remove(address).unwrap_or_default(),
        });
    }
    let answers = asked.into_iter().filter_map(|((provider, ty), asked)| {
        // A provider without a handle is unread in each of its objects.
        let observe = observers.get(provider)?.of(ty).cloned()?;
        Some(ask(provider, ty, observe, asked))
    });
    join_all(answers).await.into_iter().flatten().collect()
}

/// The object behind a declared identity, if there is one.
fn identity(
    address: &Address,
    blueprint: &Blueprint,
    recorded: &Recorded<'_>,
    objects: &BTreeMap<Address, Observed>,
) -> Option<Reference> {
    let moved = || blueprint.moved().iter().find(|(_, to)| *to == address).map(|(from, _)| from);
    let observed = objects.get(address).or_else(|| objects.get(moved()?));
    match observed.map(|observed| &observed.object) {
        Some(Observation::Present(object)) => Some(Reference::Id(object.id.clone())),
        // That it was not read does not mean that it is not there.
        Some(Observation::Unread(_)) => recorded.id(address).map(Reference::Id),
        Some(Observation::Absent) | None => None,
    }
}

/// The declared permissions of each identity, as far as they are known.
fn permissions(
    blueprint: &Blueprint,
    recorded: &Recorded<'_>,
) -> BTreeMap<Address, Vec<Permission>> {
    let mut permissions: BTreeMap<Address, Vec<Permission>> = BTreeMap::new();
    for desired in blueprint.resources().values() {
        let ty = desired.resource_type;
        let Some(owner) = ty.owner_field().filter(|_| ty.kind == Kind::Permission) else {
            continue;
        };
        let Some(Node::Link(identity)) = desired.properties.get(owner) else { continue };
        if let Some(known) = known(desired, Some(owner), recorded) {
            permissions.entry(identity.clone()).or_default().push((ty.name.to_owned(), known));
        }
    }
    permissions
}

/// The declared permissions that are of no identity, by their providers, as far
/// as they are known.
fn of_everybody<'a>(
    blueprint: &'a Blueprint,
    recorded: &Recorded<'_>,
) -> BTreeMap<&'a str, Arc<Vec<Permission>>> {
    let mut all: BTreeMap<&str, Vec<Permission>> = BTreeMap::new();
    for desired in blueprint.resources().values() {
        let ty = desired.resource_type;
        if ty.kind == Kind::Permission
            && ty.owner_field().is_none()
            && let Some(known) = known(desired, None, recorded)
        {
            all.entry(&desired.provider).or_default().push((ty.name.to_owned(), known));
        }
    }
    all.into_iter().map(|(provider, all)| (provider, Arc::new(all))).collect()
}

/// The properties of a permission. Whose it is may be unknown as long as its
/// identity does not exist; anything else that is unknown hides it as a whole.
fn known(
    desired: &Desired,
    owner: Option<&str>,
    recorded: &Recorded<'_>,
) -> Option<BTreeMap<String, Value>> {
    let mut known = BTreeMap::new();
    for (name, node) in desired.properties.iter() {
        if let Node::Known(value) = node {
            // What a blueprint knows is in normal form.
            known.insert(name.to_owned(), value.clone());
            continue;
        }
        match node.resolve(recorded) {
            Ok(value) => {
                let field = desired.resource_type.field(name);
                let value = match field {
                    Some(field) => field.ty.normalise(value),
                    None => value,
                };
                known.insert(name.to_owned(), value);
            }
            Err(_) if Some(name) == owner => {}
            Err(_) => return None,
        }
    }
    Some(known)
}

/// Asks about one type. The answer is checked, and the provider is named where
/// it breaks the contract; `None` when it says nothing.
async fn ask(
    provider: &str,
    ty: &str,
    observe: Arc<dyn DynObserve>,
    asked: Asked<'_>,
) -> Option<Beside> {
    let mut beside = Beside {
        provider: provider.to_owned(),
        resource_type: ty.to_owned(),
        sources: Vec::new(),
        of: BTreeMap::new(),
        warnings: Vec::new(),
        unread: None,
    };
    match observe.surroundings(&asked.of, &asked.everybody).await {
        Err(error) => beside.unread = Some(told(&error)),
        Ok(surroundings) => {
            if let Some(what) = broken(&surroundings, asked.of.len()) {
                beside.unread = Some(format!("the provider `{provider}` {what}"));
            } else {
                let Surroundings { sources, of, warnings, unread } = surroundings;
                beside.unread = (!unread.is_empty()).then(|| unread.join("; "));
                beside.sources = sources;
                beside.warnings = warnings;
                let of = asked.addresses.into_iter().cloned().zip(of);
                beside.of = of
                    .map(|(address, sources)| (address, BTreeSet::from_iter(sources)))
                    .filter(|(_, sources)| !sources.is_empty())
                    .collect();
            }
        }
    }
    let silent = beside.sources.is_empty() && beside.warnings.is_empty();
    (!silent || beside.unread.is_some()).then_some(beside)
}

/// What of an answer breaks the contract.
fn broken(answer: &Surroundings, asked: usize) -> Option<String> {
    let Surroundings { sources, of, .. } = answer;
    if of.is_empty() && sources.is_empty() {
        return None;
    }
    if of.len() != asked {
        let given = of.len();
        return Some(format!(
            "was asked for the surroundings of {asked} identities and answered for {given}"
        ));
    }
    let outside = of.iter().flatten().find(|source| **source >= sources.len());
    if let Some(source) = outside {
        return Some(format!("points to source {source} of {} that it gave", sources.len()));
    }
    let mut names = BTreeSet::new();
    let twice = sources.iter().find(|Source { name, .. }| !names.insert(name));
    twice.map(|source| format!("names the source {:?} twice", source.name))
}
