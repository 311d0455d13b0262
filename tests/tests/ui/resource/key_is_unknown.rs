// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity", typ = "x")]
struct Role {
    name: String,
}

fn main() {}
