// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity")]
struct Role {
    name: String,
    #[resource(output)]
    address: String,
}

fn main() {}
