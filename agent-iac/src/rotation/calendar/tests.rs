//! What cannot be kept, each with the first date on which it is not; and that
//! what is listed keeps every rule.

use std::{collections::BTreeMap, sync::Arc};

use expect_test::{Expect, expect};
use jiff::SignedDuration;

use super::*;
use crate::{
    agent::{AgentTerms, Declared, Source, Terms, Written},
    fleet::{Fleet, FleetAgent, Rules},
    provider::Reach,
    resource::{Node, Resource},
    rotation::{
        FleetTerms,
        tests::{Dice, at, read},
    },
    testing::world::{Account, Key},
    value::Value,
};

fn declared<R: Resource>(field: &str, line: u32, property: (&str, Node), terms: Terms) -> Declared {
    let (name, node) = property;
    Declared {
        field: field.into(),
        resource_type: R::RESOURCE,
        properties: BTreeMap::from([(name.to_owned(), node)]),
        terms,
        source: Source::rust("fleet.rs", line, 5),
        written: Written::default(),
    }
}

/// An agent with an account, and a key for each of these terms.
fn agent(name: &str, keys: &[&[(&str, &str)]]) -> FleetAgent {
    let account = Node::Known(Value::from(name));
    let mut resources =
        vec![declared::<Account>("account", 2, ("name", account), Terms::default())];
    for ((index, terms), line) in keys.iter().enumerate().zip(3..) {
        let mut terms = read(terms);
        terms.deliver(format!("vault:{name}/key{index}"));
        let of = Node::Link(format!("{name}.account").parse().unwrap());
        resources.push(declared::<Key>(&format!("key{index}"), line, ("of", of), terms));
    }
    FleetAgent {
        instance: name.parse().unwrap(),
        terms: AgentTerms {
            name: name.to_owned().into(),
            owner: "team:x".into(),
            purpose: "Is looked at.".into(),
            expires: "2099-01-01".into(),
            grace: None,
            source: Source::rust("fleet.rs", 1, 1),
        },
        resources,
        maker: None,
        written: Written::default(),
    }
}

fn fleet(agents: Vec<FleetAgent>, rotation: FleetTerms) -> Blueprint {
    let mut fleet = Fleet::new("office");
    let provider = Key::RESOURCE.default_provider();
    fleet.provider(provider, Reach::Declared).store("vault");
    fleet.rules(Rules { rotation, ..Rules::default() });
    fleet.agents = agents;
    fleet.blueprint("test").unwrap()
}

fn look(blueprint: &Blueprint, from: &str, at_once: AtOnce) -> Calendar {
    let mut ahead = Ahead::from(at(from));
    ahead.list = SignedDuration::from_hours(366 * 24);
    let provider = Key::RESOURCE.default_provider().to_owned();
    ahead.at_once.insert((provider, Key::RESOURCE.name.to_owned()), at_once);
    Calendar::of(blueprint, &ahead)
}

const NEW_YEAR: &str = "2027-01-01T12:00:00Z";

/// One key each for agents with these terms.
#[track_caller]
fn check(keys: &[&[(&str, &str)]], rotation: FleetTerms, shown: &Expect) {
    let agents =
        keys.iter().enumerate().map(|(index, terms)| agent(&format!("a{index}"), &[terms]));
    let blueprint = fleet(agents.collect(), rotation);
    shown.assert_eq(&look(&blueprint, NEW_YEAR, AtOnce::Two).diagnostics().to_string());
}

#[track_caller]
fn check_one(terms: &[(&str, &str)], shown: &Expect) {
    check(&[terms], FleetTerms::default(), shown);
}

#[test]
fn a_schedule_that_fits_says_nothing() {
    for terms in [
        &[("rotate", "7d")][..],
        &[("rotate", "1h"), ("overlap", "20m")],
        &[("rotate", "7d"), ("window", "sun 02:00-06:00"), ("zone", "Europe/Berlin")],
        &[("rotate", "1d"), ("window", "02:00-03:30"), ("zone", "Europe/Berlin")],
        &[("rotate", "7d"), ("blackout", "mon-fri 08:00-18:00")],
        &[("rotate", "30d"), ("blackout", "12-20..01-03"), ("lease", "45d")],
        &[("rotate", "0 3 * * mon"), ("overlap", "1d")],
        &[("rotate", "0 * * * *"), ("overlap", "10m"), ("zone", "Europe/Berlin")],
        &[("window", "sun 02:00-06:00")],
    ] {
        let blueprint = fleet(vec![agent("a", &[terms])], FleetTerms::default());
        for from in [NEW_YEAR, "2027-03-27T23:00:00Z", "2028-02-29T00:00:00Z"] {
            let calendar = look(&blueprint, from, AtOnce::Two);
            assert_eq!(calendar.diagnostics().to_string(), "", "{terms:?} from {from}");
        }
    }
}

#[test]
fn a_number_of_uses_that_no_system_counts_is_told() {
    check_one(
        &[("rotate", "1000 uses"), ("window", "sun 02:00-06:00")],
        &expect![[
            r#"fleet.rs:3:5: error[IAC0021]: a0.key0: after 1000 uses it would never be rotated: `sim` counts none; state a period, as `rotate = "30d"`, or leave `rotate` out"#
        ]],
    );
}

#[test]
fn a_window_that_does_not_open_in_time_is_told_with_the_first_date() {
    check_one(
        &[("rotate", "1d"), ("window", "sun 02:00-04:00")],
        &expect![
            "fleet.rs:3:5: error[IAC0021]: a0.key0: the generation of 2027-01-01 should be rotated until 2027-01-02 12:00Z (`1d`), and no window opens until 2027-01-03 02:33Z; widen the windows, shorten the blackouts, or rotate less often"
        ],
    );
    check_one(
        &[("rotate", "7d"), ("blackout", "2026-01-01..2050-01-01")],
        &expect![
            "fleet.rs:3:5: error[IAC0021]: a0.key0: there is no time in ten years at which it may be rotated; leave room between its windows and blackouts"
        ],
    );
}

#[test]
fn a_blackout_is_meant_unless_it_lets_a_credential_expire() {
    let blackout = ("blackout", "2027-02-01..2027-03-15");
    check_one(
        &[("rotate", "7d"), blackout],
        &expect![
            "fleet.rs:3:5: warning[IAC0021]: a0.key0: the generation of 2027-01-28 should be rotated until 2027-02-04 20:09Z (`1w`), and a blackout lasts until 2027-03-16 03:57Z; widen the windows, shorten the blackouts, or rotate less often"
        ],
    );
    check_one(
        &[("rotate", "7d"), ("lease", "14d"), blackout],
        &expect![
            "fleet.rs:3:5: error[IAC0021]: a0.key0: the generation of 2027-01-28 expires on 2027-02-11 20:09Z, and cannot be rotated before 2027-03-16 03:57Z; lengthen `lease`, or leave room between windows and blackouts before it"
        ],
    );
    // Further ahead than a year it is a warning.
    let later = ("blackout", "2028-06-01..2028-07-15");
    check_one(
        &[("rotate", "7d"), ("lease", "14d"), later],
        &expect![
            "fleet.rs:3:5: warning[IAC0021]: a0.key0: the generation of 2028-05-31 expires on 2028-06-14 17:27Z, and cannot be rotated before 2028-07-16 03:57Z; lengthen `lease`, or leave room between windows and blackouts before it"
        ],
    );
}

#[test]
fn an_overlap_that_is_longer_than_the_time_between_two_is_told() {
    check_one(
        &[("rotate", "0 3,5 * * *"), ("overlap", "4h")],
        &expect![
            "fleet.rs:3:5: error[IAC0021]: a0.key0: on 2027-01-02 05:00Z it is rotated, and the overlap of the rotation before lasts until 2027-01-02 07:00Z; shorten `overlap`, or rotate less often: three would be valid together"
        ],
    );
}

#[test]
fn an_hour_that_does_not_exist_is_told() {
    check_one(
        &[("rotate", "30 2 * * *"), ("zone", "Europe/Berlin")],
        &expect![
            "fleet.rs:3:5: error[IAC0021]: a0.key0: on 2027-03-28 there is no 02:30 in Europe/Berlin, which `30 2 * * *` names; name an hour that every day has, or the zone `UTC`"
        ],
    );
    check_one(
        &[("rotate", "7d"), ("window", "02:00-03:00"), ("zone", "Europe/Berlin")],
        &expect![
            "fleet.rs:3:5: warning[IAC0021]: a0.key0: on 2027-03-28 there is nothing from 02:00 to 03:00 in Europe/Berlin, which the window `02:00-03:00 Europe/Berlin` names; make the window longer, or name it in the zone `UTC`"
        ],
    );
}

#[test]
fn members_of_a_group_that_have_no_room_beside_each_other_are_told() {
    let member = &[("rotate", "1d"), ("overlap", "10h"), ("group", "pair")][..];
    check(
        &[member; 2],
        FleetTerms::default(),
        &expect![
            "fleet.rs:3:5: warning[IAC0021]: a1.key0: the generation of 2027-01-01 should be rotated until 2027-01-02 12:00Z, and other members of the group `pair` are in transition until 2027-01-02 21:26Z; shorten the overlaps of the group, rotate less often, or split the group"
        ],
    );
    check(
        &[member; 3],
        FleetTerms::default(),
        &expect![
            "fleet.rs:3:5: error[IAC0021]: a1.key0: the generation of 2027-01-01 should be rotated until 2027-01-02 12:00Z, and other members of the group `pair` are in transition until 2027-01-02 21:26Z; shorten the overlaps of the group, rotate less often, or split the group"
        ],
    );
}

#[test]
fn more_than_a_provider_takes_in_its_windows_is_told() {
    let rate = |rate: &str| {
        let mut terms = FleetTerms::default();
        terms.rates.insert(Key::RESOURCE.default_provider().into(), rate.into());
        terms
    };
    let nightly = &[("rotate", "1d"), ("window", "02:00-04:00")][..];
    check(&[nightly; 6], rate("3/h"), &expect![""]);
    check(
        &[nightly; 7],
        rate("3/h"),
        &expect![
            "fleet.rs:3:5: error[IAC0021]: a6.key0: the generation of 2027-01-01 should be rotated until 2027-01-02 12:00Z, and `sim` takes it on 2027-01-03 02:00Z at its rate of 3/1h; widen the windows, rotate less often, or raise the rate"
        ],
    );
    check(
        &[&[("rotate", "1d")][..]; 3],
        rate("2/d"),
        &expect![
            "fleet.rs:3:5: error[IAC0021]: a2.key0: the generation of 2027-01-01 should be rotated until 2027-01-02 12:00Z, and `sim` takes it on 2027-01-03 11:26Z at its rate of 2/24h; widen the windows, rotate less often, or raise the rate"
        ],
    );
}

#[test]
fn keys_that_would_be_one_too_many_are_told() {
    let weekly = &[("rotate", "7d"), ("overlap", "1h")][..];
    let two = fleet(vec![agent("a", &[weekly, weekly])], FleetTerms::default());
    let told = |at_once| look(&two, NEW_YEAR, at_once).diagnostics().to_string();
    expect!["fleet.rs:4:5: error[IAC0021]: a.key1: on 2027-01-08 it is rotated, and `a.account` would have 3 of `sim.key`, of which the system accepts two; give each an identity of its own, or rotate none of them on schedule"].assert_eq(&told(AtOnce::Two));
    expect!["fleet.rs:4:5: error[IAC0021]: a.key1: on 2027-01-08 it is rotated with an overlap of 1h, and the system accepts one `sim.key` of an identity at a time; leave `overlap` out: there is a gap, which the plan states"].assert_eq(&told(AtOnce::One));
    assert_eq!(told(AtOnce::Many), "");
}

#[test]
fn what_is_late_already_is_no_mistake_of_the_declaration() {
    let terms = &[("rotate", "7d"), ("window", "sun 02:00-06:00"), ("lease", "14d")][..];
    let blueprint = fleet(vec![agent("a", &[terms])], FleetTerms::default());
    let mut ahead = Ahead::from(at(NEW_YEAR));
    ahead.issued.insert("a.key0".parse().unwrap(), at("2026-01-01T00:00:00Z"));
    assert_eq!(Calendar::of(&blueprint, &ahead).diagnostics().to_string(), "");
}

#[test]
fn a_look_that_ends_early_says_where() {
    let terms = &[("rotate", "7d"), ("window", "sun 02:00-06:00")][..];
    let blueprint = fleet(vec![agent("a", &[terms])], FleetTerms::default());
    let mut ahead = Ahead::from(at(NEW_YEAR));
    ahead.most = 10;
    let calendar = Calendar::of(&blueprint, &ahead);
    assert_eq!(calendar.looked_at(), 10);
    assert!(!calendar.diagnostics().has_errors());
    expect!["fleet.rs:3:5: warning[IAC0021]: a.key0: the calendar was looked at until 2027-03-14: there are more rotations than 10; nothing is wrong so far; look again later"].assert_eq(&calendar.diagnostics().to_string());
}

#[test]
fn whatever_the_fleet_what_is_listed_keeps_every_rule() {
    const ROTATE: [&str; 4] = ["12h", "1d", "7d", "0 4 * * tue"];
    const WINDOW: [&str; 3] = ["00:00-08:00", "mon-fri 20:00-04:00", "sat,sun 00:00-24:00"];
    const GROUP: [&str; 2] = ["one", "other"];
    const ZONES: [&str; 3] = ["UTC", "Europe/Berlin", "Australia/Lord_Howe"];
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let mut agents = Vec::new();
        for index in 0..=dice.below(8) {
            let mut terms = vec![("rotate", *dice.one(&ROTATE)), ("zone", *dice.one(&ZONES))];
            if dice.below(2) == 0 {
                terms.push(("window", *dice.one(&WINDOW)));
            }
            if dice.below(2) == 0 {
                terms.push(("group", *dice.one(&GROUP)));
            }
            agents.push(agent(&format!("a{index}"), &[&terms]));
        }
        let mut rotation = FleetTerms::default();
        rotation.rates.insert(Key::RESOURCE.default_provider().into(), "2/h".into());
        rotation.blackouts.push("12-20..01-03".into());
        let blueprint = fleet(agents, rotation);
        let calendar = look(&blueprint, "2027-06-01T00:00:00Z", AtOnce::Two);
        let planned = calendar.planned();
        assert!(!planned.is_empty(), "seed {seed}");
        let mut busy: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for (index, rotation) in planned.iter().enumerate() {
            let at = rotation.at;
            let policy = |address| {
                let desired: &crate::blueprint::Desired = &blueprint.resources()[address];
                Arc::clone(&desired.credential.as_ref().unwrap().policy)
            };
            assert!(policy(&rotation.address).allows(at), "seed {seed}: {rotation:?}");
            assert_eq!(rotation.old_ends, policy(&rotation.address).old_ends(at));
            if let Some(next) = planned.get(index + 1) {
                assert!(at <= next.at, "seed {seed}: {rotation:?} before {next:?}");
            }
            if let Some(third) = planned.get(index + 2) {
                let apart = third.at.duration_since(at);
                assert!(apart.as_secs() >= 3_600, "seed {seed}: three from {rotation:?}");
            }
            if let Some(group) = &rotation.group {
                let free = busy.insert(group, rotation.old_ends);
                assert!(free.is_none_or(|free| free <= at), "seed {seed}: {rotation:?}");
            }
        }
    }
}

#[test]
fn a_credential_that_nothing_holds_up_is_rotated_when_it_is_due() {
    let terms = &[("rotate", "7d"), ("zone", "America/New_York")][..];
    let blueprint = fleet(vec![agent("a", &[terms])], FleetTerms::default());
    let address: Address = "a.key0".parse().unwrap();
    let policy = &blueprint.resources()[&address].credential.as_ref().unwrap().policy;
    let mut due = at(NEW_YEAR);
    let calendar = look(&blueprint, NEW_YEAR, AtOnce::Two);
    assert!((52..=55).contains(&calendar.planned().len()), "{}", calendar.planned().len());
    for rotation in calendar.planned() {
        due = policy.next_due(crate::rotation::Seed::of(&address), due).unwrap();
        assert_eq!(rotation.at, due);
    }
}
