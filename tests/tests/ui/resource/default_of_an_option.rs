// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity")]
struct Role {
    #[resource(default)]
    name: Option<String>,
}

fn main() {}
