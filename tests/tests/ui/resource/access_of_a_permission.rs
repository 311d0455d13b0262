// errors: 1
use agent_iac::prelude::*;

use std::collections::BTreeMap;

use agent_iac::{access::Access, resource::Node};

#[derive(Debug, Resource)]
#[resource(type = "test.grant", kind = "permission", access)]
struct Grant {
    on: String,
}

impl Grants for Grant {
    fn grants(_: &str, _: &BTreeMap<String, Node>) -> Access {
        Access::NONE
    }
}

fn main() {}
