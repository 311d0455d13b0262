// errors: 2
// Said once of the reference in a signature, and once of everything else.
use agent_iac::prelude::*;

/// Reads invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30")]
struct Reader {
    #[identity(name = "reader", protect)]
    account: String,
}

fn main() {}
