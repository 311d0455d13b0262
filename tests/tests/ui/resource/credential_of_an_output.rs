// errors: 1
use agent_iac::prelude::*;
use agent_iac_tests::system as sys;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "credential")]
struct Role {
    #[resource(output)]
    of: agent_iac::resource::Link<sys::Member>,
}

fn main() {}
