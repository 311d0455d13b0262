// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity", access)]
struct Role {
    name: String,
}

fn main() {}
