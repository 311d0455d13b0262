// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity")]
struct Role {
    name: f64,
}

fn main() {}
