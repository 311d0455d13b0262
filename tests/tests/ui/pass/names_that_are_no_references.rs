//! Names that look like a sibling field, and are none, make no cycle.
use agent_iac::prelude::*;
use agent_iac_tests::system as sys;

struct Pair {
    account: &'static str,
}

mod other {
    pub const NAME: &str = "other";
}

fn account() -> String {
    "account".to_owned()
}

/// Reads invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30")]
struct Reader {
    #[identity(name = Pair { account: "x" }.account, display = format!("{account}", account = 1))]
    account: sys::Member,
    #[identity(name = other::NAME, display = ["a"].iter().map(|other| other.len().to_string()).collect::<String>())]
    other: sys::Member,
    #[identity(name = account.id(), display = self::account())]
    last: sys::Member,
}

fn main() {}
