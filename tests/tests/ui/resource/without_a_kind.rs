// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role")]
struct Role {
    name: String,
}

fn main() {}
