// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity", check)]
struct Role {
    name: String,
}

fn main() {}
