//! Expressions as data, and how they become values.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{address::Address, value::Value};

/// An expression of a declaration: known, or to be resolved from what other
/// resources give once they exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    /// A value that is known now.
    Known(Value),
    /// A value that another resource gives once it exists.
    Output {
        /// The resource.
        address: Address,
        /// The name of its output.
        field: String,
    },
    /// Another resource as a whole; becomes its id.
    Link(Address),
    /// Text put together from parts.
    Concat(Vec<Node>),
    /// A list or a set of which some item is not known.
    List(Vec<Node>),
    /// A map of which some value is not known.
    Map(BTreeMap<String, Node>),
}

/// Gives the values that a [`Node`] refers to.
pub trait Lookup {
    /// The named output of a resource, when it exists.
    fn output(&self, address: &Address, field: &str) -> Option<Value>;

    /// The id of a resource, when it exists.
    fn id(&self, address: &Address) -> Option<String>;
}

/// What kept a node from becoming a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unknown {
    /// The resource whose value is missing.
    pub address: Address,
    /// The output that is missing; `None` for the resource's id.
    pub field: Option<String>,
}

impl Node {
    /// Named expressions as one; known when all of them are.
    pub fn map(entries: BTreeMap<String, Self>) -> Self {
        let known: Option<BTreeMap<String, Value>> = entries
            .iter()
            .map(|(key, node)| match node {
                Self::Known(value) => Some((key.clone(), value.clone())),
                _ => None,
            })
            .collect();
        known.map_or(Self::Map(entries), |known| Self::Known(Value::Map(known)))
    }

    /// The value, when no part of it refers to anything.
    pub fn known(&self) -> Option<Value> {
        self.resolve(&Nothing).ok()
    }

    /// The value, with every reference looked up.
    ///
    /// # Errors
    ///
    /// What is not known yet.
    pub fn resolve(&self, lookup: &dyn Lookup) -> Result<Value, Unknown> {
        match self {
            Self::Known(value) => Ok(value.clone()),
            Self::Output { address, field } => lookup
                .output(address, field)
                .ok_or_else(|| Unknown { address: address.clone(), field: Some(field.clone()) }),
            Self::Link(address) => lookup
                .id(address)
                .map(Value::Text)
                .ok_or_else(|| Unknown { address: address.clone(), field: None }),
            Self::Concat(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part.resolve(lookup)? {
                        Value::Text(part) => text.push_str(&part),
                        other => text.push_str(&other.to_string()),
                    }
                }
                Ok(Value::Text(text))
            }
            Self::List(items) => items
                .iter()
                .map(|item| item.resolve(lookup))
                .collect::<Result<_, _>>()
                .map(Value::List),
            Self::Map(entries) => entries
                .iter()
                .map(|(key, node)| Ok((key.clone(), node.resolve(lookup)?)))
                .collect::<Result<_, _>>()
                .map(Value::Map),
        }
    }

    /// Calls `visit` for every reference: a resource, and the output of it or
    /// `None` for the resource itself.
    pub fn references<'n>(&'n self, visit: &mut dyn FnMut(&'n Address, Option<&'n str>)) {
        match self {
            Self::Known(_) => {}
            Self::Output { address, field } => visit(address, Some(field)),
            Self::Link(address) => visit(address, None),
            Self::Concat(parts) | Self::List(parts) => {
                for part in parts {
                    part.references(visit);
                }
            }
            Self::Map(entries) => {
                for part in entries.values() {
                    part.references(visit);
                }
            }
        }
    }

    /// The resources that the node refers to.
    pub fn addresses(&self) -> BTreeSet<Address> {
        let mut addresses = BTreeSet::new();
        self.references(&mut |address, _| {
            addresses.insert(address.clone());
        });
        addresses
    }

    /// How a link is named in access tuples: the address that it points to, or
    /// the id of what is not ours.
    pub fn principal(&self) -> Option<String> {
        match self {
            Self::Link(address) => Some(address.to_string()),
            Self::Known(Value::Text(id)) => Some(id.clone()),
            _ => None,
        }
    }

    /// The node as a person reads it: a value as JSON, a reference as
    /// `(agent.field.output)`.
    pub fn shown(&self) -> String {
        match self {
            Self::Known(value) => value.to_string(),
            Self::Output { address, field } => format!("({address}.{field})"),
            Self::Link(address) => address.to_string(),
            Self::Concat(parts) => {
                let inner: String = parts
                    .iter()
                    .map(|part| match part {
                        Self::Known(Value::Text(text)) => text.clone(),
                        other => other.shown(),
                    })
                    .collect();
                format!("\"{inner}\"")
            }
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::shown).collect::<Vec<_>>().join(", "))
            }
            Self::Map(entries) => format!(
                "{{{}}}",
                entries
                    .iter()
                    .map(|(k, v)| format!("{k}: {}", v.shown()))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }
}

struct Nothing;

impl Lookup for Nothing {
    fn output(&self, _: &Address, _: &str) -> Option<Value> {
        None
    }

    fn id(&self, _: &Address) -> Option<String> {
        None
    }
}
