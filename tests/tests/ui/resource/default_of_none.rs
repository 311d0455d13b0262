// errors: 1
use agent_iac::prelude::*;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "identity")]
struct Role {
    #[resource(default)]
    home: Home,
}

#[derive(Clone, Debug, PartialEq, Property)]
struct Home {
    path: String,
}

fn main() {}
