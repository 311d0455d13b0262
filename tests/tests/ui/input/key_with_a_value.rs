// errors: 1
use agent_iac::prelude::*;

/// Reads invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30")]
struct Reader {
    #[input(key = true)]
    schema: String,
}

fn main() {}
