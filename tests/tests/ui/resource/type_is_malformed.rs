// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "role", kind = "identity")]
struct Role {
    name: String,
}

fn main() {}
