// errors: 1
use agent_iac::prelude::*;

#[derive(Resource)]
#[resource(type = "test.account", kind = "identity")]
union Reader {
    number: u32,
}

fn main() {}
