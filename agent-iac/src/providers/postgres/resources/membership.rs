use std::collections::BTreeMap;

use super::{check_role_name, flag, not_yet, text};
use crate::{
    Resource,
    access::{Access, Tuple},
    providers::postgres::{Role, name::shown},
    resource::{Check, Grants, Link, Node, Problem},
};

/// A role's membership in another one, which need not be managed.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "postgres.membership", kind = "permission", check)]
pub struct Membership {
    /// The role that becomes a member.
    #[resource(key)]
    pub to: Link<Role>,
    /// The name of the role that it becomes a member of.
    #[resource(key)]
    pub of: String,
    /// Whether it may give the membership to others.
    #[resource(default)]
    pub admin: bool,
    /// Whether it has to `SET ROLE` for what the other role may do. Before
    /// PostgreSQL 16 that is an attribute of the role
    /// ([`Role::noinherit`]), and declaring another here is refused.
    #[resource(default)]
    pub noinherit: bool,
    /// Whether it may not `SET ROLE` to the other one; from PostgreSQL 16.
    #[resource(default)]
    pub noset: bool,
    /// The role in whose name it was given; before PostgreSQL 16 that has no
    /// effect.
    #[resource(output)]
    pub grantor: String,
}

impl Grants for Membership {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        let Some(of) = text(properties, "of") else { return not_yet(principal, "of") };
        let role = format!("role {}", shown(&of));
        let ways = [
            ("inherit from", !flag(properties, "noinherit", false)),
            ("become", !flag(properties, "noset", false)),
            ("give membership in", flag(properties, "admin", false)),
        ];
        let given = ways.into_iter().filter(|(_, given)| *given);
        Access::exactly(given.map(|(action, _)| Tuple::allow(principal, action, &role)))
    }
}

impl Check for Membership {
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
        let mut problems: Vec<Problem> = check_role_name(properties, "of").into_iter().collect();
        let set = |field| {
            properties.get(field).and_then(Node::known) == Some(crate::value::Value::Bool(true))
        };
        if set("noinherit") && set("noset") && !set("admin") {
            problems.push(Problem {
                field: "noset".into(),
                message: "a membership that neither inherits nor can be set gives nothing".into(),
                help: Some("leave `noinherit` or `noset` out, or remove the membership".into()),
            });
        }
        problems
    }
}
