//! A permission without a `to` is about what everybody has; one field of an
//! agent gives it without naming an identity.
use std::collections::{BTreeMap, BTreeSet};

use agent_iac::{
    access::Access,
    prelude::*,
    resource::{Check, Node, Problem},
};

/// What everybody may not do any more.
#[derive(Debug, Resource)]
#[resource(type = "test.public", kind = "permission", check)]
struct Public {
    #[resource(key)]
    on: String,
    revoke: BTreeSet<String>,
}

impl Grants for Public {
    fn grants(_: &str, _: &BTreeMap<String, Node>) -> Access {
        Access::NONE
    }
}

impl Check for Public {
    fn check(_: &BTreeMap<String, Node>) -> Vec<Problem> {
        Vec::new()
    }
}

/// A role whose attributes are access.
#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity", access)]
struct Role {
    #[resource(key)]
    name: String,
}

impl Grants for Role {
    fn grants(_: &str, _: &BTreeMap<String, Node>) -> Access {
        Access::NONE
    }
}

/// Hardens a database.
#[derive(Agent)]
#[agent(owner = "team:a", expires = "2027-06-30")]
struct Hardening {
    #[identity(name = "hardening")]
    role: Role,
    #[permission(on = "database billing", revoke = ["temporary"])]
    everybody: Public,
}

fn main() {
    assert!(Public::RESOURCE.check.is_some() && Public::RESOURCE.access.is_some());
    assert!(Role::RESOURCE.check.is_none() && Role::RESOURCE.access.is_some());
    assert_eq!(Public::RESOURCE.owner_field(), None);
}
