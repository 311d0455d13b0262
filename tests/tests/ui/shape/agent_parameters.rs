// errors: 1
use agent_iac::prelude::*;

/// Reads.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30")]
struct Reader<T> {
    #[input]
    inner: T,
}

fn main() {}
