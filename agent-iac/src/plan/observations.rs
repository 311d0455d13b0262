//! What was read before planning.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    address::{Address, Instance},
    provider::{Capabilities, Object, Observation, Source},
    schema::ResourceType,
    vault::Versions,
};

/// Everything that was read for a plan.
#[derive(Clone, Debug)]
pub struct Observations {
    /// When reading began.
    pub at: Timestamp,
    /// What was found for each address that was asked about.
    pub objects: BTreeMap<Address, Observed>,
    /// What was found of objects that were replaced and still have to go, by
    /// address and id.
    pub deposed: BTreeMap<(Address, String), Observation>,
    /// What was found on our identities, or in a scope that is watched, and
    /// stands in no record.
    pub undeclared: Vec<Undeclared>,
    /// Identities of ours on which something could not be enumerated, and why.
    pub unlisted: BTreeMap<Address, BTreeSet<String>>,
    /// The target's own identity, by provider.
    pub targets: BTreeMap<String, String>,
    /// What each provider can do, by provider and type.
    pub capabilities: BTreeMap<(String, String), Capabilities>,
    /// The description of each type that is recorded, by name.
    pub types: BTreeMap<String, &'static ResourceType>,
    /// What declared identities can do beside what is declared for them.
    pub beside: Vec<Beside>,
}

/// What was found for one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What the provider answered.
    pub object: Observation,
    /// For a credential: what stands at its place, or why that is not known.
    pub stored: Option<Result<Versions, String>>,
}

impl Observed {
    /// An observation of something that is no credential.
    pub fn of(object: Observation) -> Self {
        Self { object, stored: None }
    }
}

/// What the declared identities of one type can do beside their own
/// permissions, because of what else their system gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// The provider's name.
    pub provider: String,
    /// The type of the identities.
    pub resource_type: String,
    /// Where such access comes from, each source once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// The sources that reach each identity, as positions in `sources`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub of: BTreeMap<Address, BTreeSet<usize>>,
    /// What a reviewer must know of the system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why nothing of this, or not all of it, could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

impl Beside {
    /// The identities that each source reaches, in the order of the sources.
    pub fn reached(&self) -> Vec<Vec<&Address>> {
        let mut reached = vec![Vec::new(); self.sources.len()];
        for (address, sources) in &self.of {
            for source in sources {
                if let Some(addresses) = reached.get_mut(*source) {
                    addresses.push(address);
                }
            }
        }
        reached
    }
}

/// Something that was found without being declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undeclared {
    /// The agent on whose identity it was found; `None` for an identity that
    /// is nobody's.
    pub instance: Option<Instance>,
    /// The provider's name.
    pub provider: String,
    /// The type.
    pub resource_type: String,
    /// The object.
    pub object: Object,
    /// The access that it gives.
    #[serde(default)]
    pub access: Access,
}
