//! A deploy binary: a fleet of two agents and a whole command line for it.
//!
//! ```text
//! cargo run -p agent-iac-examples --example deploy -- plan
//! cargo run -p agent-iac-examples --example deploy -- apply
//! ```
//!
//! It manages a local authority and keeps everything, the ledger, the secret
//! store and the authority, in the folder `.agent-iac` beside where it runs. A
//! real one puts other systems behind the same names.

use std::process::ExitCode;

use agent_iac::{
    Result, deployment::Deployment, fleet::Fleet, prelude::*, provider::Reach,
    providers::authority as auth,
};

/// Sorts new tickets and comments on them.
#[derive(Debug, Agent)]
#[agent(owner = "team:support", expires = "2027-06-30")]
pub struct Triage {
    #[identity(name = "triage")]
    account: auth::Account,

    #[permission(
        to = account,
        on = "tickets/*",
        allow = ["read", "comment"],
        because = "any ticket may be the next one to sort",
    )]
    tickets: auth::Grant,

    #[credential(of = account, deliver = "vault:agents/triage/key", rotate = "7d", overlap = "1h")]
    key: auth::ApiKey,
}

/// Answers questions about the invoices of one tenant.
#[derive(Debug, Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30")]
pub struct InvoiceReader {
    /// Whose invoices.
    #[input(key)]
    tenant: String,

    #[identity(name = format!("invoice-reader-{tenant}"))]
    account: auth::Account,

    #[permission(
        to = account,
        on = format!("invoices/{tenant}/**"),
        allow = ["read"],
        because = "it answers about every invoice of the tenant, and of no other",
    )]
    invoices: auth::Grant,

    #[credential(of = account, deliver = format!("vault:agents/invoice-reader/{tenant}/key"))]
    key: auth::ApiKey,
}

/// What there should be: pure data, so that a test can look at it, too.
fn fleet() -> Fleet {
    let mut fleet = Fleet::new("office");
    fleet.provider("authority", Reach::Exclusive).store("vault");
    fleet.add(TriageInputs {});
    fleet.add(InvoiceReaderInputs { tenant: "eu".into() });
    fleet
}

/// The real systems behind the fleet's names.
fn deployment() -> Result<Deployment> {
    Deployment::embedded(fleet(), "production", ".agent-iac")
}

fn main() -> ExitCode {
    agent_iac::cli::main(deployment)
}
