//! The validated graph of desired resources, independent of any provider.
//!
//! Owns validation of a whole fleet and its canonical bytes: the same fleet
//! and environment give the same digest on every machine and in any order of
//! declaration. It contacts nothing and knows no async.

mod compact;
mod graph;
#[cfg(test)]
mod tests;
mod validate;

pub use compact::{Gives, Properties};
pub use graph::find_cycle;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::civil::Date;
use serde::Serialize;

use crate::{
    address::{Address, Instance},
    agent::{OnDrift, Period, Source},
    consumer::Consumer,
    diagnostic::Diagnostics,
    error::Result,
    fleet::{Fleet, Rules},
    provider::Reach,
    rotation::{FleetPolicy, Policy},
    schema::ResourceType,
    value::Digest,
    vault::Place,
};

/// What an agent is, as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DesiredAgent {
    /// Who answers for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// The last day on which it may act.
    pub expires: Date,
    /// How long its identity is kept suspended before it is deleted.
    pub grace: Period,
    /// Where it was declared; no part of the digest.
    #[serde(skip)]
    pub source: Source,
}

/// One desired resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// Its type.
    #[serde(rename = "type", serialize_with = "type_name")]
    pub resource_type: &'static ResourceType,
    /// The name of its provider.
    pub provider: String,
    /// Its properties; those that were left out are null.
    pub properties: Properties,
    /// The access that it gives.
    pub access: Gives,
    /// What it needs to exist.
    pub dependencies: BTreeSet<Address>,
    /// Whether it may not be deleted or replaced.
    pub protect: bool,
    /// What is done about drift without a plan.
    pub on_drift: OnDrift,
    /// Properties that others manage.
    pub ignore: BTreeSet<String>,
    /// Why something unusual is wanted.
    pub because: Option<String>,
    /// For a credential.
    pub credential: Option<DesiredCredential>,
    /// Where it was declared; no part of the digest.
    #[serde(skip)]
    pub source: Source,
}

/// What is desired of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DesiredCredential {
    /// Where it is delivered.
    pub place: Place,
    /// When it is rotated, and how. Credentials with the same terms share it.
    pub policy: Arc<Policy>,
    /// Who uses it: those whom it names, and the runtimes that bind it.
    pub consumers: BTreeSet<Consumer>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn type_name<S: serde::Serializer>(
    resource_type: &&'static ResourceType,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(resource_type.name)
}

/// A validated fleet in one environment.
///
/// Its digest is that of the canonical JSON of all that follows, in which
/// agents and resources stand as the digests of lists: a name and what it is
/// called, as a pair of canonical JSON on each line, sorted by the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blueprint {
    format: u32,
    fleet: String,
    environment: String,
    agents: BTreeMap<Instance, DesiredAgent>,
    resources: BTreeMap<Address, Arc<Desired>>,
    providers: BTreeMap<String, Reach>,
    stores: BTreeSet<String>,
    moved: BTreeMap<Address, Address>,
    removed: BTreeSet<Address>,
    imports: BTreeMap<Address, String>,
    rules: Rules,
    /// The other agents that need something of an agent; follows from the
    /// resources.
    needed_by: BTreeMap<Instance, BTreeSet<Instance>>,
    // The rules' own text stands in `rules`.
    rotation: FleetPolicy,
    digest: Option<Digest>,
}

/// What the digest is taken of. Large maps stand in it as digests of their
/// own, so that nobody ever holds the text of a whole fleet.
#[derive(Serialize)]
struct Form<'a> {
    format: u32,
    fleet: &'a str,
    environment: &'a str,
    agents: Digest,
    resources: Digest,
    providers: &'a BTreeMap<String, Reach>,
    stores: &'a BTreeSet<String>,
    moved: &'a BTreeMap<Address, Address>,
    removed: &'a BTreeSet<Address>,
    imports: &'a BTreeMap<Address, String>,
    rules: &'a Rules,
}

impl Fleet {
    /// Validates the fleet for an environment.
    ///
    /// # Errors
    ///
    /// Every mistake of the fleet, each with its place and its repair.
    pub fn blueprint(&self, environment: &str) -> Result<Blueprint, Diagnostics> {
        validate::blueprint(self, environment)
    }
}

impl Blueprint {
    /// The fleet's names and rules without any of its agents: what is needed
    /// to stop one while the fleet itself is broken.
    pub(crate) fn without_agents(fleet: &Fleet, environment: &str) -> Result<Self, Diagnostics> {
        let mut bare = Fleet::new(fleet.name());
        bare.providers.clone_from(&fleet.providers);
        bare.stores.clone_from(&fleet.stores);
        bare.rules(fleet.rules.clone());
        bare.blueprint(environment)
    }

    /// The fleet's name.
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// The environment.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The desired agents, sorted.
    pub fn agents(&self) -> impl Iterator<Item = (&Instance, &DesiredAgent)> {
        self.agents.iter()
    }

    /// One desired agent.
    pub fn agent(&self, instance: &Instance) -> Option<&DesiredAgent> {
        self.agents.get(instance)
    }

    /// The desired resources, sorted.
    pub fn resources(&self) -> &BTreeMap<Address, Arc<Desired>> {
        &self.resources
    }

    /// The desired resources of one agent.
    pub(crate) fn resources_of<'a>(
        &'a self,
        instance: &'a Instance,
    ) -> impl Iterator<Item = (&'a Address, &'a Arc<Desired>)> {
        let behind = self.resources.range(instance.before_its_resources()..);
        behind.take_while(move |(address, _)| address.instance() == instance)
    }

    /// The other agents that need something of these.
    pub(crate) fn in_need_of<'a>(
        &'a self,
        agents: impl IntoIterator<Item = &'a Instance>,
    ) -> BTreeSet<&'a Instance> {
        let needed = agents.into_iter().filter_map(|agent| self.needed_by.get(agent));
        needed.flatten().collect()
    }

    /// The blueprint as if it were of these agents only, under the digest of
    /// the whole. What it costs does not depend on the size of the fleet.
    pub(crate) fn part(&self, agents: &BTreeSet<&Instance>) -> Self {
        let resources = agents.iter().flat_map(|agent| self.resources_of(agent));
        let resources: BTreeMap<Address, Arc<Desired>> =
            resources.map(|(address, desired)| (address.clone(), Arc::clone(desired))).collect();
        let agents = agents.iter().filter_map(|agent| self.agents.get_key_value(*agent));
        let imports = resources.keys().filter_map(|address| self.imports.get_key_value(address));
        Self {
            format: self.format,
            fleet: self.fleet.clone(),
            environment: self.environment.clone(),
            agents: agents.map(|(instance, agent)| (instance.clone(), agent.clone())).collect(),
            imports: imports.map(|(address, id)| (address.clone(), id.clone())).collect(),
            resources,
            providers: self.providers.clone(),
            stores: self.stores.clone(),
            moved: self.moved.clone(),
            removed: self.removed.clone(),
            rules: self.rules.clone(),
            needed_by: BTreeMap::new(),
            rotation: self.rotation.clone(),
            digest: self.digest,
        }
    }

    /// The names of the providers, and how far enumeration reaches in each.
    pub fn providers(&self) -> &BTreeMap<String, Reach> {
        &self.providers
    }

    /// The names of the secret stores.
    pub fn stores(&self) -> &BTreeSet<String> {
        &self.stores
    }

    /// Moved addresses, from and to.
    pub fn moved(&self) -> &BTreeMap<Address, Address> {
        &self.moved
    }

    /// Addresses that are no longer managed.
    pub fn removed(&self) -> &BTreeSet<Address> {
        &self.removed
    }

    /// Objects to adopt: the address and the id.
    pub fn imports(&self) -> &BTreeMap<Address, String> {
        &self.imports
    }

    /// The guard rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What the rules say about all rotations.
    pub fn rotation(&self) -> &FleetPolicy {
        &self.rotation
    }

    /// Some agents with all that they need, by whatever way.
    pub(crate) fn with_needs<'a>(
        &'a self,
        wanted: &'a BTreeSet<Instance>,
    ) -> BTreeSet<&'a Instance> {
        if wanted.is_empty() {
            return BTreeSet::new();
        }
        let mut closure = BTreeSet::new();
        let mut open: Vec<&Instance> = wanted.iter().collect();
        while let Some(next) = open.pop() {
            if closure.insert(next) {
                let needs = self.resources_of(next).flat_map(|(_, of)| &of.dependencies);
                open.extend(needs.map(Address::instance).filter(|needed| *needed != next));
            }
        }
        closure
    }

    /// The desired resources, each after all that it needs.
    pub(crate) fn in_order_of_need(&self) -> Vec<(&Address, &Desired)> {
        // A validated blueprint has no cycle, so that every one is reached.
        let ordered = graph::in_order_of_need(&self.resources, |desired| &desired.dependencies);
        ordered.into_iter().map(|(address, desired)| (address, &**desired)).collect()
    }

    /// What needs each desired resource.
    pub(crate) fn dependents(&self) -> BTreeMap<&Address, Vec<&Address>> {
        let mut dependents: BTreeMap<&Address, Vec<&Address>> = BTreeMap::new();
        for (address, desired) in &self.resources {
            for needed in &desired.dependencies {
                dependents.entry(needed).or_default().push(address);
            }
        }
        dependents
    }

    fn compute_digest(&self) -> Result<Digest> {
        Digest::of(&Form {
            format: self.format,
            fleet: &self.fleet,
            environment: &self.environment,
            agents: Digest::of_lines(&self.agents)?,
            resources: Digest::of_lines(&self.resources)?,
            providers: &self.providers,
            stores: &self.stores,
            moved: &self.moved,
            removed: &self.removed,
            imports: &self.imports,
            rules: &self.rules,
        })
    }

    /// The digest of the canonical bytes.
    ///
    /// # Panics
    ///
    /// Never: validation, the only way to a blueprint, computes it.
    pub fn digest(&self) -> Digest {
        self.digest.expect("validation computes the digest")
    }
}
