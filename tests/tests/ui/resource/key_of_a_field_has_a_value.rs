// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity")]
struct Role {
    #[resource(key = true)]
    name: String,
}

fn main() {}
