// errors: 1
use agent_iac::prelude::*;

#[derive(Resource)]
#[resource(type = "test.account", kind = "identity")]
struct Reader;

fn main() {}
