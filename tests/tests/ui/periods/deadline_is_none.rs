// errors: 1
use agent_iac::prelude::*;
use agent_iac_tests::system as sys;

/// Reads invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30")]
struct Reader {
    #[identity(name = "reader")]
    account: sys::Member,
    #[credential(of = account, at_deadline = "revoke", deliver = "vault:reader")]
    login: sys::Passcode,
}

fn main() {}
