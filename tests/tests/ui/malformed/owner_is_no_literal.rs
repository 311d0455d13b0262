// errors: 1
use agent_iac::prelude::*;
use agent_iac_tests::system as sys;

const OWNER: &str = "team:billing";

/// Reads invoices.
#[derive(Agent)]
#[agent(owner = OWNER, expires = "2027-06-30")]
struct Reader {
    #[identity(name = "reader")]
    account: sys::Member,
}

fn main() {}
