// errors: 1
use agent_iac::prelude::*;
use agent_iac_tests::system as sys;

/// Reads invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30")]
struct Reader {
    #[identity(name = "a", depends_on = third)]
    first: sys::Account,
    #[identity(name = first.id())]
    second: sys::Account,
    #[runtime(depends_on = (first, second))]
    third: sys::Process,
}

fn main() {}
