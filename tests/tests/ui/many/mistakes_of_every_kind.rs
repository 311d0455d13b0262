// errors: 10
use agent_iac::prelude::*;
use agent_iac_tests::system as sys;

/// Reads invoices.
#[derive(Agent)]
#[agent(expires = "tomorrow", owner = "team:billing")]
struct Reader {
    #[input]
    schema: String,
    #[identity(nam = "reader")]
    account: sys::Member,
    #[permission(to = login, on = sys::Table::new(schema, "*"), allow = [sys::Verb::Selec])]
    invoices: sys::Permit,
    #[credential(of = account, rotate = "7d", overlap = "8d", rotate = "9d")]
    login: sys::Passcode,
    #[identity]
    process: sys::Job,
    other: sys::Member,
}

fn main() {}
