//! Fields that nothing reads, in private types, give no warning.
#![deny(warnings)]

use agent_iac::{prelude::*, resource::Link};

#[derive(Resource)]
#[resource(type = "test.role", kind = "identity")]
struct Role {
    name: String,
    #[resource(output)]
    oid: u32,
}

#[derive(Resource)]
#[resource(type = "test.login", kind = "credential")]
struct Login {
    of: Link<Role>,
}

#[derive(Resource)]
#[resource(type = "test.process", kind = "runtime")]
struct Process {}

#[derive(Clone, Debug, PartialEq, Property)]
struct Table {
    name: String,
}

/// Reads invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30")]
struct Reader {
    #[input]
    schema: String,
    #[identity(name = "reader")]
    account: Role,
    #[credential(of = account, deliver = "vault:reader")]
    login: Login,
    #[runtime]
    process: Process,
}

fn main() {}
