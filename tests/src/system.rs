//! The resource types of a system that does not exist, for declarations in
//! tests. They show every form that a provider's types can have, and are named
//! as no provider names its own: rustc writes ambiguous names with their paths,
//! and the texts of its errors are compared.

use std::collections::{BTreeMap, BTreeSet};

use agent_iac::{
    access::{Access, Tuple},
    prelude::*,
    resource::{Link, Node},
    value::Value,
};

/// An account.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "test.account", kind = "identity")]
pub struct Member {
    /// Its name.
    #[resource(key)]
    name: String,
    /// Shown to people.
    display: Option<String>,
    /// The id in the system.
    #[resource(output)]
    id: String,
    /// The number in the system.
    #[resource(output)]
    uid: u32,
}

/// What can be done to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Property)]
pub enum Verb {
    /// Read rows.
    Select,
    /// Add rows.
    Insert,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Property)]
pub struct Table {
    schema: String,
    name: String,
}

impl Table {
    /// The table of that name.
    pub fn new(schema: &str, name: &str) -> Self {
        Self { schema: schema.to_owned(), name: name.to_owned() }
    }

    /// Its name with the schema's.
    pub fn path(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// Actions on a table.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "test.grant", kind = "permission")]
pub struct Permit {
    /// Whose it is.
    #[resource(key)]
    to: Link<Member>,
    /// The table.
    #[resource(key)]
    on: Table,
    /// What is allowed.
    allow: BTreeSet<Verb>,
    /// Rows, as a condition.
    rows: Option<String>,
}

impl Grants for Permit {
    fn grants(member: &str, properties: &BTreeMap<String, Node>) -> Access {
        let known = |name: &str| properties.get(name).and_then(Node::known);
        let (Some(on), Some(Value::List(actions))) =
            (known("on").as_ref().and_then(Table::from_value), known("allow"))
        else {
            return Access::undecided("a property is not known yet");
        };
        let actions = actions.iter().filter_map(Value::as_text);
        Access::exactly(actions.map(|action| Tuple::allow(member, action, on.path())))
    }
}

/// A code to log in with.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "test.login", kind = "credential")]
pub struct Passcode {
    /// Whose it is.
    of: Link<Member>,
    /// How long it is, in characters.
    length: Option<u32>,
    /// Where it was delivered.
    #[resource(output)]
    place: String,
    /// The number of its current generation.
    #[resource(output)]
    generation: u32,
}

/// Where an agent runs.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "test.process", kind = "runtime")]
pub struct Job {
    /// Environment variables.
    #[resource(default)]
    env: BTreeMap<String, String>,
    /// The secret that it gets.
    secret: Option<Link<Passcode>>,
}
