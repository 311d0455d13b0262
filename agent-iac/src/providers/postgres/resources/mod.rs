//! The resource types of PostgreSQL: data, which compiles without a client.
//!
//! Owns what can be declared, which declarations are wrong whatever server
//! they are for, and which access each gives. It asks no server.

mod default_privileges;
mod grant;
mod login;
mod membership;
mod ownership;
mod policy;
mod public;
mod public_defaults;
mod role;
pub(super) mod settings;

pub use default_privileges::{
    DefaultPrivileges, DefaultPrivilegesBuilder, DefaultPrivilegesOutputs, DefaultPrivilegesSpec,
    Future,
};
pub use grant::{Grant, GrantBuilder, GrantOutputs, GrantSpec};
pub use login::{Login, LoginBuilder, LoginOutputs, LoginSpec};
pub use membership::{Membership, MembershipBuilder, MembershipOutputs, MembershipSpec};
pub use ownership::{Ownership, OwnershipBuilder, OwnershipOutputs, OwnershipSpec};
pub use policy::{Command, Policy, PolicyBuilder, PolicyOutputs, PolicySpec};
pub use public::{Public, PublicBuilder, PublicOutputs, PublicSpec};
pub use public_defaults::{
    PublicDefaults, PublicDefaultsBuilder, PublicDefaultsOutputs, PublicDefaultsSpec,
};
#[cfg(feature = "postgres")]
pub(super) use role::ATTRIBUTES;
pub use role::{Role, RoleBuilder, RoleOutputs, RoleSpec};

use std::collections::{BTreeMap, BTreeSet};

use super::{Object, Privilege};
use crate::{
    access::{Access, Tuple},
    resource::{Node, Problem},
    schema::Type,
    value::Value,
};

/// The text of a property, when it is known.
fn text(properties: &BTreeMap<String, Node>, name: &str) -> Option<String> {
    properties.get(name)?.known()?.as_text().map(str::to_owned)
}

/// Whether a property was given at all, known or not.
fn is_given(properties: &BTreeMap<String, Node>, name: &str) -> bool {
    properties.get(name).is_some_and(|node| node.known() != Some(Value::Null))
}

/// A flag of a declaration; what is not known counts as given.
fn flag(properties: &BTreeMap<String, Node>, name: &str, default: bool) -> bool {
    match properties.get(name) {
        None => default,
        Some(node) => node.known().and_then(|value| value.as_bool()).unwrap_or(true),
    }
}

/// The privileges of a property, when they are known.
fn privileges(properties: &BTreeMap<String, Node>, name: &str) -> Option<BTreeSet<Privilege>> {
    use crate::resource::Property as _;
    const SET: Type = Type::Set(&Privilege::SCHEMA);
    BTreeSet::from_value(&SET.normalise(properties.get(name)?.known()?))
}

/// Of what is allowed, what may be passed on; what is not known counts as all.
fn grantable(
    properties: &BTreeMap<String, Node>,
    allow: &BTreeSet<Privilege>,
) -> BTreeSet<Privilege> {
    if flag(properties, "grantable", false) {
        return allow.clone();
    }
    if !is_given(properties, "grantable_only") {
        return BTreeSet::new();
    }
    privileges(properties, "grantable_only").unwrap_or_else(|| allow.clone())
}

/// Judges what may be passed on: what the server keeps is written in one way.
fn check_grantable(properties: &BTreeMap<String, Node>) -> Option<Problem> {
    let only = privileges(properties, "grantable_only")?;
    let problem = |message: String, help: &str| {
        let (field, help) = ("grantable_only".to_owned(), Some(help.to_owned()));
        Some(Problem { field, message, help })
    };
    if only.is_empty() {
        return problem("no privilege is named".into(), "leave `grantable_only` out");
    }
    if flag(properties, "grantable", false) {
        return problem("all of it may be passed on already".into(), "leave one of the two out");
    }
    let allow = privileges(properties, "allow")?;
    if let Some(other) = only.iter().find(|one| !allow.contains(one)) {
        let message = format!("`{}` is not allowed at all", other.word());
        return problem(message, "name it in `allow` too");
    }
    if only == allow {
        return problem("it names all that is allowed".into(), "write `grantable = true` instead");
    }
    None
}

/// Judges the object of a declaration, and what is allowed on it.
fn check_object(
    properties: &BTreeMap<String, Node>,
    field: &str,
    allowed: Option<&str>,
) -> Vec<Problem> {
    let Some(object) = Object::of(properties.get(field)) else { return Vec::new() };
    let mut problems: Vec<Problem> = object
        .problems()
        .into_iter()
        .map(|(message, help)| Problem { field: field.to_owned(), message, help })
        .collect();
    let Some((allowed, given)) =
        allowed.and_then(|allowed| Some((allowed, privileges(properties, allowed)?)))
    else {
        return problems;
    };
    if given.is_empty() {
        problems.push(Problem {
            field: allowed.to_owned(),
            message: "no privilege is named".into(),
            help: Some("name at least one, or remove the declaration".into()),
        });
    }
    for privilege in given.iter().filter(|privilege| !object.privileges().contains(privilege)) {
        let there_are: Vec<&str> = object.privileges().iter().map(|p| p.word()).collect();
        let what = if object.columns.is_some() { "column" } else { object.kind.word() };
        problems.push(Problem {
            field: allowed.to_owned(),
            message: format!("there is no privilege `{}` on a {what}", privilege.word()),
            help: Some(format!("there are {}", there_are.join(", "))),
        });
    }
    problems
}

/// Judges a property that names a role.
fn check_role_name(properties: &BTreeMap<String, Node>, field: &str) -> Option<Problem> {
    let wrong = super::name::check_role(&text(properties, field)?)?;
    Some(Problem {
        field: field.to_owned(),
        message: wrong.message,
        help: Some(wrong.help.to_owned()),
    })
}

/// The tuples of privileges on one object; one for each column.
fn tuples(principal: &str, privileges: &BTreeSet<Privilege>, object: &Object) -> BTreeSet<Tuple> {
    let objects: Vec<String> = match &object.columns {
        None => vec![object.to_string()],
        Some(columns) => columns
            .iter()
            .map(|column| {
                Object { columns: Some(BTreeSet::from([column.clone()])), ..object.clone() }
                    .to_string()
            })
            .collect(),
    };
    objects
        .iter()
        .flat_map(|object| {
            privileges
                .iter()
                .map(move |privilege| Tuple::allow(principal, privilege.word(), object))
        })
        .collect()
}

/// Says that access cannot be told before the property is known.
fn not_yet(principal: &str, field: &str) -> Access {
    Access::undecided(format!("`{field}` of {principal} is known only after apply"))
}

#[cfg(test)]
mod tests;
