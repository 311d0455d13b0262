// errors: 1
use agent_iac::prelude::*;

#[derive(Resource)]
#[resource(type = "test.account", kind = "identity")]
enum Reader {
    Variant,
}

fn main() {}
