// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity")]
struct Role {
    #[resource(keys)]
    name: String,
}

fn main() {}
