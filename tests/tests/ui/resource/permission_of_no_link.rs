// errors: 1
use agent_iac::prelude::*;

use std::collections::BTreeMap;

use agent_iac::{access::Access, resource::Node};

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "permission")]
struct Role {
    to: String,
}

impl Grants for Role {
    fn grants(_: &str, _: &BTreeMap<String, Node>) -> Access {
        Access::NONE
    }
}

fn main() {}
