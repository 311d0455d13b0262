// Imported from postgres at db.example:5432 at 2026-11-24T00:00:00Z.
// Planning this adopts what is there, as it is; applying the plan writes to the
// ledger only. Once that is done, the imports can be removed.
//
// Read through it first: each agent needs a purpose and an owner of its own, and
// on the day after `expires` it begins to leave.
//
// Drift is reported and nothing else. Once plans are quiet, enforce:
//   OnDrift::RevertWidening   what widens access is taken back unattended
//   Reach::Exclusive          what nobody declared is planned to be removed
// Credentials that are not declared (1 below) would go then: replace them first.
//
// postgres.role `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` (id `16385`): `name`: the name `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` has 60 bytes, which leaves no room for its logins (`…__g1`)

use agent_iac::address::Address;
use agent_iac::{fleet::Fleet, prelude::*, provider::Reach, value};
// The module with the provider's types.
use crate::providers::postgres as system;

// postgres.login `l1`: its secret cannot be read, so it stays as it is and is not declared; declare one of your own with `deliver`, and move its consumers
// postgres.ownership `o1`: `heir`: it is not set, and a declaration has to say it
/// Imported from the provider `postgres`, where it is the postgres.role `invoice_reader`; say what it is for.
#[derive(Agent)]
#[agent(name = "invoice-reader", owner = "team:museum", expires = "2090-06-30")]
pub struct InvoiceReader {
    #[identity(
        connection_limit = value!(5),
        login = true,
        name = "invoice_reader",
        settings = value!({ "search_path": "\"$user\", public" }),
        on_drift = OnDrift::Report,
    )]
    role: system::Role,

    #[permission(
        allow = value!(["select"]),
        for_role = "owner",
        on = value!("large-objects"),
        to = role,
        on_drift = OnDrift::Report,
    )]
    default_privileges_owner_large_objects: system::DefaultPrivileges,

    #[permission(
        allow = value!(["insert", "select"]),
        on = value!({ "kind": "table", "name": "Invoices", "schema": "s" }),
        to = role,
        on_drift = OnDrift::Report,
    )]
    grant_table_s_invoices: system::Grant,

    #[permission(
        allow = value!(["update"]),
        grantable = true,
        on = value!({ "columns": ["total"], "kind": "table", "name": "Invoices", "schema": "s" }),
        to = role,
        on_drift = OnDrift::Report,
    )]
    grant_table_s_invoices_total: system::Grant,

    #[permission(noinherit = true, of = "readers", to = role, on_drift = OnDrift::Report)]
    membership_readers: system::Membership,

    // It cannot be changed or removed by us: granted by `postgres`, which we cannot become
    #[permission(of = "writers", to = role, on_drift = OnDrift::Report)]
    membership_writers: system::Membership,
}

/// The fleet, with everything that was imported.
pub fn fleet() -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("postgres", Reach::Watched);
    imported(&mut fleet);
    fleet
}

/// Adds the agents that were imported, and says which objects are theirs.
///
/// # Panics
///
/// Never: what is parsed is the name of an address.
pub fn imported(fleet: &mut Fleet) {
    let address = |text: &str| text.parse::<Address>().expect("it is the name of an address");
    fleet.add(InvoiceReaderInputs::default());
    // What is adopted. These lines can go once that is done.
    fleet.import(address("invoice-reader.role"), "16384");
    fleet.import(address("invoice-reader.default_privileges_owner_large_objects"), "d1");
    fleet.import(address("invoice-reader.grant_table_s_invoices"), "g1");
    fleet.import(address("invoice-reader.grant_table_s_invoices_total"), "g2");
    fleet.import(address("invoice-reader.membership_readers"), "m1");
    fleet.import(address("invoice-reader.membership_writers"), "m2");
}
