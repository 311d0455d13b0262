//! A wildcard with a reason, and stars that are none, are left alone.
use agent_iac::prelude::*;
use agent_iac_tests::system as sys;

/// Reads invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30")]
struct Reader {
    #[identity(name = "star*")]
    account: sys::Member,
    #[permission(
        to = account,
        on = sys::Table::new("eu", "*"),
        allow = [sys::Verb::Select],
        because = "tenants add tables at any time",
    )]
    all: sys::Permit,
    #[permission(to = account, on = sys::Table::new("eu", "a*b"), allow = [sys::Verb::Select])]
    some: sys::Permit,
}

fn main() {}
