//! What a text declares, before any of it is read: references lead forward as
//! well as back.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

use super::{
    agents::{AGENT_KEYS, FOR},
    reader::Item,
    resources::KINDS,
};

/// The agents of a text, by name.
#[derive(Debug, Default)]
pub(super) struct Index {
    agents: BTreeMap<String, Entry>,
}

/// One agent.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The names of its parameters.
    pub(super) inputs: BTreeSet<String>,
    /// The keys of its instances; `None` where they could not be read.
    pub(super) keys: Option<BTreeSet<Vec<String>>>,
    /// The names of its resources, and of their types.
    pub(super) resources: BTreeMap<String, Option<String>>,
}

impl Index {
    /// Looks at a text without judging it.
    pub(super) fn of(root: &DeTable<'_>) -> Self {
        let mut index = Self::default();
        let agents = root.get("agents").map(Item::get_ref);
        let Some(DeValue::Table(agents)) = agents else { return index };
        for (name, item) in agents {
            let DeValue::Table(agent) = item.get_ref() else { continue };
            let mut entry = Entry::default();
            if let Some(DeValue::Table(inputs)) = agent.get(FOR).map(Item::get_ref) {
                entry.inputs = inputs.keys().map(|key| key.get_ref().to_string()).collect();
            }
            for (field, item) in agent {
                let DeValue::Table(resource) = item.get_ref() else { continue };
                if AGENT_KEYS.contains(&field.get_ref().as_ref()) {
                    continue;
                }
                let ty = KINDS
                    .iter()
                    .find_map(|kind| resource.get(*kind)?.get_ref().as_str().map(str::to_owned));
                entry.resources.insert(field.get_ref().to_string(), ty);
            }
            index.agents.insert(name.get_ref().to_string(), entry);
        }
        index
    }

    /// Says which instances an agent has.
    pub(super) fn set_keys(&mut self, agent: &str, keys: BTreeSet<Vec<String>>) {
        if let Some(entry) = self.agents.get_mut(agent) {
            entry.keys = Some(keys);
        }
    }

    /// The agent of that name.
    pub(super) fn agent(&self, name: &str) -> Option<&Entry> {
        self.agents.get(name)
    }

    /// The names of the agents.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.agents.keys()
    }
}
