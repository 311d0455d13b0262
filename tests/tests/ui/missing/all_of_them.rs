// errors: 3
use agent_iac::prelude::*;
use agent_iac_tests::system as sys;

#[derive(Agent)]
struct Reader {
    #[identity(name = "reader")]
    account: sys::Member,
}

fn main() {}
