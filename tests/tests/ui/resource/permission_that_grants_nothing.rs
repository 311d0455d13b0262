// errors: 1
use agent_iac::prelude::*;
use agent_iac_tests::system as sys;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "permission")]
struct Role {
    to: agent_iac::resource::Link<sys::Account>,
}

fn main() {}
