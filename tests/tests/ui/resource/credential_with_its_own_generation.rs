// errors: 2
use agent_iac::prelude::*;
use agent_iac_tests::system as sys;

#[derive(Debug, Resource)]
#[resource(type = "test.role", kind = "credential")]
struct Role {
    of: agent_iac::resource::Link<sys::Member>,
    generation: u32,
    #[resource(output)]
    place: u32,
}

fn main() {}
