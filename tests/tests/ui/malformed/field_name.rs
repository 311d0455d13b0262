// errors: 1
use agent_iac::prelude::*;
use agent_iac_tests::system as sys;

/// Reads invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30")]
struct Reader {
    #[allow(non_snake_case)]
    #[identity(name = "reader")]
    Account: sys::Member,
}

fn main() {}
