// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(kind = "identity")]
struct Role {
    name: String,
}

fn main() {}
