// Imported from the museum at 2027-01-01T00:00:00Z.
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
// museum.role `asleep` (id `4`): it is suspended, and a declaration would let it act again; 1 of what belongs to it are left out with it

use agent_iac::address::Address;
use agent_iac::{fleet::Fleet, prelude::*, provider::Reach, resource::Ref, value};
// The module with the provider's types.
use crate::import::tests::system as system;

/// Imported from the provider `museum`, where it is the museum.role `Night "Watch"`; say what it is for.
#[derive(Agent)]
#[agent(name = "night-watch-790c5596", owner = "team:museum", expires = "2090-06-30")]
pub struct NightWatch790c5596 {
    #[input]
    reader_role: Ref<system::Role>,

    #[identity(
        inherit = true,
        keeper = reader_role,
        limit = value!(-1),
        name = "Night \"Watch\"",
        settings = value!({ "a.b c": "it's \\ 1\n2", "search_path": "\"$user\", public" }),
        until = "2027-01-01 00:00:00+00",
        on_drift = OnDrift::Report,
    )]
    role: system::Role,

    #[permission(
        allow = value!([]),
        on = value!({ "columns": [], "kind": "table", "name": "t", "schema": "${x}" }),
        to = role,
        on_drift = OnDrift::Report,
    )]
    grant_table_x_t: system::Grant,

    #[permission(role = value!("99"), to = role, on_drift = OnDrift::Report)]
    membership: system::Membership,

    #[runtime(name = "at night", rooms = ["b", "a"], run_as = role)]
    round_at_night: system::Round,
}

/// Imported from the provider `museum`, where it is the museum.role `castor`; say what it is for.
#[derive(Agent)]
#[agent(name = "castor", owner = "team:museum", expires = "2090-06-30")]
pub struct Castor {
    #[identity(keeper = value!("11"), name = "castor", on_drift = OnDrift::Report)]
    role: system::Role,
}

/// Imported from the provider `museum`, where it is the museum.role `hidden`; say what it is for.
#[derive(Agent)]
#[agent(name = "hidden", owner = "team:museum", expires = "2090-06-30")]
pub struct Hidden {
    // `limit`: the system has no such property
    // `settings` stays as it is: it could not be read: no right to\nread it
    // `until` stays as it is: the system hides it
    #[identity(name = "hidden", ignore = ["settings", "until"], on_drift = OnDrift::Report)]
    role: system::Role,
}

/// Imported from the provider `museum`, where it is the museum.role `night-watch`; say what it is for.
#[derive(Agent)]
#[agent(name = "night-watch", owner = "team:museum", expires = "2090-06-30")]
pub struct NightWatch {
    #[input]
    night_watch_790c5596_role: Ref<system::Role>,

    #[identity(keeper = value!("99"), name = "night-watch", on_drift = OnDrift::Report)]
    role: system::Role,

    #[permission(role = night_watch_790c5596_role, to = role, on_drift = OnDrift::Report)]
    membership: system::Membership,
}

/// Imported from the provider `museum`, where it is the museum.role `pollux`; say what it is for.
#[derive(Agent)]
#[agent(name = "pollux", owner = "team:museum", expires = "2090-06-30")]
pub struct Pollux {
    #[input]
    castor_role: Ref<system::Role>,

    #[identity(keeper = castor_role, name = "pollux", on_drift = OnDrift::Report)]
    role: system::Role,
}

// museum.login `k1`: its secret cannot be read, so it stays as it is and is not declared; declare one of your own with `deliver`, and move its consumers
/// Imported from the provider `museum`, where it is the museum.role `reader`; say what it is for.
#[derive(Agent)]
#[agent(name = "reader", owner = "team:museum", expires = "2090-06-30")]
pub struct Reader {
    #[input]
    night_watch_role: Ref<system::Role>,

    #[identity(name = "reader", on_drift = OnDrift::Report)]
    role: system::Role,

    #[permission(
        allow = value!(["insert", "select"]),
        on = value!({ "columns": ["a", "b"], "kind": "table", "name": "t", "schema": "s" }),
        to = role,
        on_drift = OnDrift::Report,
    )]
    grant_table_s_t_a_b: system::Grant,

    #[permission(
        allow = value!(["select"]),
        grantor = "night-watch",
        hours = value!([22, (-3)]),
        on = value!({ "kind": "table", "name": "*", "schema": "s" }),
        to = role,
        because = "It was there when this was imported; say why it reaches so far.",
        on_drift = OnDrift::Report,
    )]
    grant_table_s: system::Grant,

    #[permission(role = night_watch_role, to = role, on_drift = OnDrift::Report)]
    membership: system::Membership,
}

/// Imported from the provider `museum`, where it is the museum.role `x"]\u{a}[agents.y]\u{a}# \u{202e}\ {} $ ${z} */ \u{0}é日'`; say what it is for.
#[derive(Agent)]
#[agent(name = "x-agents-y-z", owner = "team:museum", expires = "2090-06-30")]
pub struct XAgentsYZ {
    #[identity(
        name = "x\"]\n[agents.y]\n# \u{202e}\\ {} $ ${z} */ \u{0}é日'",
        on_drift = OnDrift::Report,
    )]
    role: system::Role,
}

/// The fleet, with everything that was imported.
pub fn fleet() -> Fleet {
    let mut fleet = Fleet::new("museum");
    fleet.provider("museum", Reach::Watched);
    fleet.store("vault");
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
    fleet.add(NightWatch790c5596Inputs {
        reader_role: Ref::to(address("reader.role")),
    });
    fleet.add(CastorInputs::default());
    fleet.add(HiddenInputs::default());
    fleet.add(NightWatchInputs {
        night_watch_790c5596_role: Ref::to(address("night-watch-790c5596.role")),
    });
    fleet.add(PolluxInputs {
        castor_role: Ref::to(address("castor.role")),
    });
    fleet.add(ReaderInputs {
        night_watch_role: Ref::to(address("night-watch.role")),
    });
    fleet.add(XAgentsYZInputs::default());
    // What is adopted. These lines can go once that is done.
    fleet.import(address("night-watch-790c5596.role"), "2");
    fleet.import(address("night-watch-790c5596.grant_table_x_t"), "g3");
    fleet.import(address("night-watch-790c5596.membership"), "m3");
    fleet.import(address("night-watch-790c5596.round_at_night"), "r1");
    fleet.import(address("castor.role"), "10");
    fleet.import(address("hidden.role"), "6");
    fleet.import(address("night-watch.role"), "3");
    fleet.import(address("night-watch.membership"), "m2");
    fleet.import(address("pollux.role"), "11");
    fleet.import(address("reader.role"), "1");
    fleet.import(address("reader.grant_table_s_t_a_b"), "g1");
    fleet.import(address("reader.grant_table_s"), "g2");
    fleet.import(address("reader.membership"), "m1");
    fleet.import(address("x-agents-y-z.role"), "12");
}
