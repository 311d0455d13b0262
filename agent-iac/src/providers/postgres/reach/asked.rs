//! The identities that are asked about.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Database, Object, ObjectKind, Privilege, Schema,
    graph::{Edge, Graph, Reached},
    roles::Row,
};
use crate::{
    provider::{Permission, Reference, Surrounded},
    providers::postgres::{
        Command, Grant, Membership, Ownership, Policy, Public, catalog::ids::Oid,
    },
    resource::{Property as _, Resource as _},
    value::Value,
};

/// What is known of an identity before the server is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) oid: Option<Oid>,
    /// The roles that it is to become a member of, by their names.
    pub(super) memberships: BTreeMap<String, Edge>,
    /// What it is to be granted.
    pub(super) grants: Vec<(Object, Vec<Privilege>)>,
    /// What it is to own.
    pub(super) owns: Vec<Object>,
    /// Who is to take over what of it.
    pub(super) heirs: Vec<(Object, String)>,
    /// The permissive row policies that it is to have.
    pub(super) policies: Vec<Ruled>,
}

/// A permissive row policy, and those beside it that its declaration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruled {
    pub(super) on: Object,
    pub(super) name: String,
    pub(super) command: Command,
    pub(super) beside: BTreeMap<String, String>,
}

impl Ruled {
    fn of(on: Object, properties: &BTreeMap<String, Value>) -> Option<Self> {
        let beside = properties.get("beside").and_then(Value::as_map);
        let line =
            |(name, line): (&String, &Value)| Some((name.clone(), line.as_text()?.to_owned()));
        Some(Self {
            on,
            name: properties.get("name")?.as_text()?.to_owned(),
            command: Command::from_value(properties.get("command")?)?,
            beside: beside.into_iter().flatten().filter_map(line).collect(),
        })
    }
}

impl Wish {
    pub(super) fn of(surrounded: &Surrounded) -> Self {
        let mut wish = Self::default();
        if let Some(Reference::Id(id)) = &surrounded.identity {
            wish.oid = id.parse().ok();
        }
        for (ty, properties) in &surrounded.permissions {
            let on = || object_of(properties);
            let flag = |name: &str| properties.get(name) == Some(&Value::Bool(true));
            if ty == Membership::TYPE {
                let edge = Edge {
                    inherits: !flag("noinherit"),
                    sets: !flag("noset"),
                    admin: flag("admin"),
                };
                if let Some(of) = properties.get("of").and_then(Value::as_text) {
                    wish.memberships.insert(of.to_owned(), edge);
                }
            } else if ty == Grant::TYPE {
                let allow = properties.get("allow").and_then(Value::as_list).unwrap_or_default();
                let allow = allow.iter().filter_map(Privilege::from_value).collect();
                wish.grants.extend(on().map(|on| (on, allow)));
            } else if ty == Ownership::TYPE {
                wish.owns.extend(on());
                let heir = properties.get("heir").and_then(Value::as_text);
                wish.heirs.extend(on().zip(heir.map(str::to_owned)));
            } else if ty == Policy::TYPE && !flag("restrictive") {
                wish.policies.extend(on().and_then(|on| Ruled::of(on, properties)));
            }
        }
        wish
    }

    /// The names of the roles that have to be found.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.memberships.keys().map(String::as_str)
    }

    /// Whether it is to be granted this itself.
    pub(super) fn grants(&self, object: &Object, privilege: Privilege) -> bool {
        self.grants.iter().any(|(on, allow)| on == object && allow.contains(&privilege))
    }

    /// Whether anything at all is to be given to it.
    pub(super) fn is_anything(&self) -> bool {
        !(self.grants.is_empty() && self.memberships.is_empty() && self.owns.is_empty())
    }

    /// The same for some columns of it at least.
    pub(super) fn grants_some(&self, object: &Object, privilege: Privilege) -> bool {
        let is_of = |on: &Object| Object { columns: None, ..on.clone() } == *object;
        self.grants.iter().any(|(on, allow)| allow.contains(&privilege) && is_of(on))
    }
}

/// What everybody is to lose.
pub(super) type Taken = BTreeSet<(Object, Privilege)>;

/// Reads what everybody is to lose of what is declared.
pub(super) fn taken(everybody: &[Permission]) -> Taken {
    let mut taken = Taken::new();
    for (_, properties) in everybody.iter().filter(|(ty, _)| ty == Public::TYPE) {
        let Some(on) = object_of(properties) else { continue };
        let revoke = properties.get("revoke").and_then(Value::as_list).unwrap_or_default();
        let revoke = revoke.iter().filter_map(Privilege::from_value);
        taken.extend(revoke.map(|privilege| (on.clone(), privilege)));
    }
    taken
}

/// The object of a permission.
fn object_of(properties: &BTreeMap<String, Value>) -> Option<Object> {
    let value = properties.get("on")?.clone();
    Object::from_value(&Object::SCHEMA.normalise(value))
}

/// An identity, and what it reaches.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) wish: Wish,
    /// Its number, when it exists.
    pub(super) oid: Option<Oid>,
    pub(super) reached: Reached,
}

impl Asked {
    /// Adds the memberships that it is to have to those that it has.
    pub(super) fn new(wish: Wish, rows: &BTreeMap<Oid, Row>, graph: &Graph) -> Self {
        let oid = wish.oid.filter(|oid| rows.contains_key(oid));
        let mut own = oid.and_then(|oid| graph.0.get(&oid)).cloned().unwrap_or_default();
        for (of, edge) in &wish.memberships {
            if let Some(role) = rows.values().find(|row| row.name == *of) {
                let edge = own.get(&role.oid).map_or(*edge, |is| is.and(*edge));
                own.insert(role.oid, edge);
            }
        }
        let reached = graph.reached(&own);
        Self { wish, oid, reached }
    }

    /// It and the roles whose rights it has without becoming anybody.
    pub(super) fn acts_as(&self) -> impl Iterator<Item = Oid> {
        self.oid.into_iter().chain(self.reached.inherited())
    }
}

/// The schema that an object is in.
pub(super) fn schema_of(object: &Object) -> Option<Object> {
    let schema = Schema::new(object.schema.as_deref()?);
    Some(Object { database: object.database.clone(), ..schema })
}

/// The database that an object is in.
pub(super) fn database_of(object: &Object, own: &str) -> Option<Object> {
    let is_within = !object.kind.is_shared() || object.kind == ObjectKind::Database;
    let name = match object.kind {
        ObjectKind::Database => object.name.as_str(),
        _ => object.database.as_deref().unwrap_or(own),
    };
    is_within.then(|| Database::new(name))
}
