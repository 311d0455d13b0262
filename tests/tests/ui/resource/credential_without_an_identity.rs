// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "credential")]
struct Role {
    length: u32,
}

fn main() {}
