// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity")]
struct Role {
    name: String,
    #[resource(output)]
    ratio: f64,
}

fn main() {}
