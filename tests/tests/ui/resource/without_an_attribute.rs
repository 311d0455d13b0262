// errors: 2
use agent_iac::prelude::*;

#[derive(Debug, Resource)]

struct Role {
    name: String,
}

fn main() {}
