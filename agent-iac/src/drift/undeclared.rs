//! What stands in the systems and in no record.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use crate::{
    address::{Address, Instance},
    blueprint::Blueprint,
    diff::readings_as_nodes,
    ledger::State,
    plan::Undeclared,
    provider::{Listing, Object, Observers, Reach},
    resource::Reading,
    schema::{Kind, ResourceType},
};

/// Finds grants and keys on our identities, and identities in a watched scope,
/// that stand in no record; and what could not be listed, by the identity that
/// it concerns.
pub(super) async fn find_undeclared(
    (blueprint, state): (&Blueprint, &State),
    found: &BTreeMap<Address, Object>,
    observers: &BTreeMap<&str, Observers>,
    whole: bool,
    wanted: &(dyn Fn(&Instance) -> bool + Sync),
) -> (Vec<Undeclared>, BTreeMap<Address, BTreeSet<String>>) {
    let ours = Ours::of(blueprint, state, found);
    let mut undeclared = Vec::new();
    let mut unlisted: BTreeMap<Address, BTreeSet<String>> = BTreeMap::new();
    let mut listings = Vec::new();
    for (provider, observers) in observers {
        let identities: Vec<String> = ours
            .identities
            .iter()
            .filter(|((.., of), address)| of == provider && wanted(address.instance()))
            .map(|((id, ..), _)| (*id).to_owned())
            .collect();
        let watched = watched_whole(blueprint, provider, observers);
        for ty in observers.types() {
            let of_everybody = ty.kind == Kind::Permission && ty.owner_field().is_none();
            let listing = match ty.kind {
                _ if watched.iter().any(|watched| watched.name == ty.name) && whole => Listing::All,
                // What the lost history made is looked for where else only what
                // is declared would be.
                Kind::Identity if !state.lost.is_empty() && whole => Listing::All,
                Kind::Permission | Kind::Credential if !identities.is_empty() && !of_everybody => {
                    Listing::Of(identities.clone())
                }
                _ => continue,
            };
            let Some(observe) = observers.of(ty.name).cloned() else { continue };
            listings.push(async move { (*provider, ty, observe.list(&listing).await) });
        }
    }
    for (provider, ty, listed) in join_all(listings).await {
        match listed {
            Ok(objects) => {
                let reach = blueprint.providers().get(provider).copied().unwrap_or_default();
                let only_ours = ty.kind == Kind::Identity && reach == Reach::Declared;
                let is_ours = |object: &Object| {
                    object.mark.as_ref().is_some_and(|mark| {
                        mark.fleet == blueprint.fleet()
                            && mark.environment == blueprint.environment()
                    })
                };
                for object in objects.into_iter().filter(|o| !only_ours || is_ours(o)) {
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
                for ((.., of), address) in &ours.identities {
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

/// The types of which a provider shows all objects, because the fleet watches
/// that far: identities, and what is about everybody and so is nobody's.
pub(crate) fn watched_whole(
    blueprint: &Blueprint,
    provider: &str,
    observers: &Observers,
) -> Vec<&'static ResourceType> {
    let reach = blueprint.providers().get(provider).copied().unwrap_or_default();
    let of_everybody = |ty: &ResourceType| match ty.kind {
        Kind::Permission => ty.owner_field().is_none(),
        kind => kind == Kind::Identity,
    };
    observers.types().filter(|ty| reach != Reach::Declared && of_everybody(ty)).collect()
}

/// What this ledger knows of real objects.
struct Ours<'a> {
    /// Identities by id, type and provider: the id nearly always decides a
    /// comparison.
    identities: BTreeMap<(&'a str, &'a str, &'a str), &'a Address>,
    /// Every known object, by the same; what the next plan is about to adopt
    /// among them, for that is no find.
    known: BTreeSet<(&'a str, &'a str, &'a str)>,
    /// Addresses with a step whose end is not recorded.
    open: BTreeSet<&'a Address>,
}

impl<'a> Ours<'a> {
    fn of(
        blueprint: &'a Blueprint,
        state: &'a State,
        found: &'a BTreeMap<Address, Object>,
    ) -> Self {
        let mut ours =
            Self { identities: BTreeMap::new(), known: BTreeSet::new(), open: BTreeSet::new() };
        for (address, id) in blueprint.imports() {
            if let Some(desired) = blueprint.resources().get(address) {
                ours.known.insert((id, desired.resource_type.name, &desired.provider));
            }
        }
        for (address, object) in found {
            if let Some(desired) = blueprint.resources().get(address) {
                let ty = desired.resource_type;
                let key = (object.id.as_str(), ty.name, desired.provider.as_str());
                ours.known.insert(key);
                if ty.kind == Kind::Identity {
                    ours.identities.insert(key, address);
                }
            }
        }
        for (address, record) in &state.records {
            for object in record.object.iter().chain(&record.deposed) {
                let key =
                    (object.id.as_str(), object.resource_type.as_str(), object.provider.as_str());
                ours.known.insert(key);
                if object.kind == Kind::Identity {
                    ours.identities.insert(key, address);
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
                let address = self.identities.get(&(id, link, provider))?;
                Some(address.instance().clone())
            }
        };
        let name_of = |target: &'static str, id: &str| {
            self.identities.get(&(id, target, provider)).map(|address| (*address).clone())
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
