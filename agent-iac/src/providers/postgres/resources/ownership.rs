use std::collections::BTreeMap;

use super::{check_object, check_role_name, not_yet};
use crate::{
    Resource,
    access::{Access, Tuple},
    providers::postgres::{Object, ObjectKind, Role},
    resource::{Check, Grants, Link, Node, Problem},
};

/// A role's ownership of an object, which brings every right on it.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "postgres.ownership", kind = "permission", check)]
pub struct Ownership {
    /// The role that owns.
    #[resource(replace)]
    pub to: Link<Role>,
    /// The object.
    #[resource(key)]
    pub on: Object,
    /// The name of the role that gets the object when this ends.
    pub heir: String,
}

impl Grants for Ownership {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        match Object::of(properties.get("on")) {
            Some(on) => Access::exactly([Tuple::allow(principal, "own", on.to_string())]),
            None => not_yet(principal, "on"),
        }
    }
}

impl Check for Ownership {
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
        let mut problems = check_object(properties, "on", None);
        problems.extend(check_role_name(properties, "heir"));
        if let Some(on) = Object::of(properties.get("on"))
            && (on.columns.is_some() || on.kind == ObjectKind::Parameter)
        {
            problems.push(Problem {
                field: "on".into(),
                message: format!("{on} has no owner of its own"),
                help: Some("name a whole object".into()),
            });
        }
        problems
    }
}
