//! Text fleets: they say the same as Rust, every mistake in one is told, and
//! their JSON Schema agrees.

mod broken;
mod build;
mod same;
mod schema;

use agent_iac::{
    blueprint::Blueprint,
    config::{self, Types},
    diagnostic::Diagnostics,
};

/// A fleet without mistakes, which the tests break in one place each.
const SOUND: &str = r#"fleet = "billing"
stores = ["vault"]

[providers.authority]
reach = "exclusive"

[rules]
max_leaving = 3
max_age = "1h"

[agents.directory]
purpose = "Knows the accounts of the others."
owner = "team:platform"
expires = 2027-06-30

[agents.directory.account]
identity = "authority.account"
name = "directory"

[agents.reader]
purpose = "Answers questions about invoices."
owner = "team:billing"
expires = "2027-06-30"
grace = "7d"
for = { tenant = ["eu", "us"] }

[agents.reader.account]
identity = "authority.account"
name = "reader-${tenant}"
description = "Known to ${directory.account.id}."

[agents.reader.invoices]
permission = "authority.grant"
to = "account"
on = "tenants/${tenant}/invoices/*"
allow = ["read", "list"]
because = "All of the tenant's invoices."

[agents.reader.key]
credential = "authority.api_key"
of = "account"
rotate = "7d"
overlap = "1h"
deliver = "vault:agents/${tenant}/reader"

[[moved]]
from = "old.account"
to = "directory.account"
"#;

fn read(text: &str) -> Result<Blueprint, Diagnostics> {
    config::blueprint(text, "fleet.toml", "production", &Types::builtin())
}

#[test]
fn the_fleet_that_the_tests_break_is_sound() {
    let blueprint = read(SOUND).unwrap();
    assert_eq!(blueprint.agents().count(), 3);
    assert_eq!(blueprint.resources().len(), 7);
}

#[test]
fn the_example_is_sound() {
    let example = include_str!("../../../examples/fleet.toml");
    assert_eq!(read(example).unwrap().agents().count(), 3);
}
