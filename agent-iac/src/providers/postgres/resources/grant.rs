use std::collections::{BTreeMap, BTreeSet};

use super::{check_grantable, check_object, grantable, not_yet, privileges, tuples};
use crate::{
    Resource,
    access::Access,
    providers::postgres::{Object, Privilege, Role},
    resource::{Check, Grants, Link, Node, Problem},
};

/// Some privileges of a role on one object.
///
/// The server keeps each with its grantor. A grant of ours is the one by the
/// object's owner, or by the administrators where they hold a grant option;
/// what somebody else gave to the same role is another grant, and drift.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "postgres.grant", kind = "permission", check)]
pub struct Grant {
    /// The role that may.
    #[resource(key)]
    pub to: Link<Role>,
    /// The object on which it may.
    #[resource(key)]
    pub on: Object,
    /// What it may do there.
    pub allow: BTreeSet<Privilege>,
    /// Whether it may give that to others.
    #[resource(default)]
    pub grantable: bool,
    /// What of it it may give to others, where that is not all.
    pub grantable_only: Option<BTreeSet<Privilege>>,
    /// The role in whose name it was given.
    #[resource(output)]
    pub grantor: String,
}

impl Grants for Grant {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        let Some(object) = Object::of(properties.get("on")) else {
            return not_yet(principal, "on");
        };
        let Some(allow) = privileges(properties, "allow") else {
            return not_yet(principal, "allow");
        };
        let mut given = tuples(principal, &allow, &object);
        let passed_on = tuples(principal, &grantable(properties, &allow), &object);
        given.extend(passed_on.into_iter().map(|tuple| {
            let action = format!("grant {}", tuple.action);
            crate::access::Tuple { action, ..tuple }
        }));
        Access::exactly(given)
    }
}

impl Check for Grant {
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
        let mut problems = check_object(properties, "on", Some("allow"));
        problems.extend(check_grantable(properties));
        problems
    }
}
