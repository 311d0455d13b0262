// errors: 1
use std::collections::BTreeMap;

use agent_iac::{
    prelude::*,
    resource::{Check, Node, Problem},
};

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity", check = true)]
struct Role {
    name: String,
}

impl Check for Role {
    fn check(_: &BTreeMap<String, Node>) -> Vec<Problem> {
        Vec::new()
    }
}

fn main() {}
