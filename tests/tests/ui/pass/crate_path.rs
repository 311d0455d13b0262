//! Generated code finds the core crate where the attribute says.
mod facade {
    pub use agent_iac as core;
}

use facade::core::prelude::*;

#[derive(Resource)]
#[resource(type = "test.role", kind = "identity", crate = "crate::facade::core")]
struct Role {
    name: String,
    kind: Word,
}

#[derive(Clone, Debug, PartialEq, Property)]
#[property(crate = crate::facade::core)]
enum Word {
    Good,
}

/// Reads invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30", crate = "crate::facade::core")]
struct Reader {
    #[identity(name = "reader", kind = Word::Good)]
    account: Role,
}

fn main() {
    assert_eq!(Reader::TERMS.name, "reader");
}
