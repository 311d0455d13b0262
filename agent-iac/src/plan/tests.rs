//! The digest of a plan and its saved form.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    access::{Access, AccessChange, Tuple},
    agent::Source,
    error::ErrorKind,
    provider::{Object, Observation},
    resource::{Node, Reading},
    schema::Kind,
    value::Value,
};

fn at(text: &str) -> Address {
    text.parse().unwrap()
}

fn sample() -> Plan {
    let properties = BTreeMap::from([("name".to_owned(), Node::Known("a".into()))]);
    let step = Step {
        address: at("a.account"),
        resource_type: "sim.account".into(),
        kind: Kind::Identity,
        provider: "sim".into(),
        action: Action::Update,
        part: Part::Whole,
        reason: Reason::Differs,
        source: Some(Source::rust("fleet.rs", 7, 5)),
        because: None,
        changes: vec![PropertyChange {
            name: "note".into(),
            before: Some(Reading::Known("x".into())),
            after: Some(Node::Known("y".into())),
            replaces: false,
        }],
        access: AccessChange::default(),
        risk: Risk::Low,
        notes: Vec::new(),
        id: Some("7".into()),
        seen: Observation::Present(Object {
            id: "7".into(),
            fields: BTreeMap::from([("note".to_owned(), Reading::Known("x".into()))]),
            suspended: false,
            mark: None,
            obstacle: None,
            label: None,
        }),
        target: Some(Target {
            properties,
            access: Access::NONE,
            dependencies: BTreeSet::new(),
            protect: false,
            credential: None,
        }),
        retires: None,
        after: BTreeSet::new(),
    };
    Plan {
        format: FORMAT,
        fleet: "billing".into(),
        environment: "test".into(),
        ledger: "l1".into(),
        blueprint: Digest::ZERO,
        targets: BTreeMap::from([("sim".into(), "sim:1".into())]),
        rules: Rules::default(),
        versions: BTreeMap::from([(at("a.account"), 3)]),
        agents: vec![AgentStep {
            instance: "a".parse().unwrap(),
            change: AgentChange::Declared {
                owner: "team:a".into(),
                purpose: "Tests.".into(),
                expires: "2027-06-30".parse().unwrap(),
                grace: "7d".parse().unwrap(),
                source: Some(Source::rust("fleet.rs", 1, 1)),
            },
        }],
        steps: vec![step],
        blocked: Vec::new(),
        drift: Vec::new(),
        undeclared: Vec::new(),
        unread: BTreeMap::new(),
        in_doubt: BTreeSet::new(),
        unchanged: 2,
        observed_at: "2027-01-10T12:00:00Z".parse().unwrap(),
        beside: Vec::new(),
        apart: BTreeMap::new(),
    }
}

#[test]
fn the_digest_does_not_cover_source_lines_and_times() {
    let expected = sample().digest().unwrap();
    let mut plan = sample();
    plan.observed_at = "2027-01-11T12:00:00Z".parse().unwrap();
    plan.steps[0].source = None;
    if let AgentChange::Declared { source, .. } = &mut plan.agents[0].change {
        *source = None;
    }
    assert_eq!(plan.digest().unwrap(), expected);
}

type Change = fn(&mut Plan);

#[test]
fn the_digest_covers_everything_else() {
    let changes: &[(&str, Change)] = &[
        ("format", |plan| plan.format += 1),
        ("fleet", |plan| plan.fleet.push('x')),
        ("environment", |plan| plan.environment.push('x')),
        ("ledger", |plan| plan.ledger.push('x')),
        ("blueprint", |plan| plan.blueprint = Digest::of_bytes(b"x")),
        ("targets", |plan| drop(plan.targets.insert("sim".into(), "sim:2".into()))),
        ("rules", |plan| plan.rules.max_age += 1),
        ("versions", |plan| {
            plan.versions.insert(at("a.account"), 4);
        }),
        ("agents", |plan| plan.agents[0].change = AgentChange::Returns),
        ("unchanged", |plan| plan.unchanged += 1),
        ("unread", |plan| drop(plan.unread.insert(at("a.key"), BTreeSet::from(["x".into()])))),
        ("doubt", |plan| {
            plan.in_doubt.insert(at("a.key"));
        }),
        ("blocked", |plan| {
            plan.blocked.push(Blocked {
                address: at("a.key"),
                reason: "x".into(),
                repair: "y".into(),
            });
        }),
        ("undeclared", |plan| {
            let object = plan.steps[0].seen.object().unwrap().clone();
            plan.undeclared.push(Undeclared {
                instance: None,
                provider: "sim".into(),
                resource_type: "sim.account".into(),
                object,
                access: Access::NONE,
            });
        }),
        ("drift", |plan| {
            plan.drift.push(Drift {
                address: at("a.key"),
                fields: BTreeMap::new(),
                gone: true,
                suspended: None,
                access: AccessChange::default(),
            });
        }),
        ("address", |plan| plan.steps[0].address = at("a.other")),
        ("type", |plan| plan.steps[0].resource_type.push('x')),
        ("kind", |plan| plan.steps[0].kind = Kind::Runtime),
        ("provider", |plan| plan.steps[0].provider.push('x')),
        ("action", |plan| plan.steps[0].action = Action::Delete),
        ("part", |plan| plan.steps[0].part = Part::Make),
        ("reason", |plan| plan.steps[0].reason = Reason::Gone),
        ("because", |plan| plan.steps[0].because = Some("x".into())),
        ("changes", |plan| plan.steps[0].changes[0].after = None),
        ("access", |plan| {
            plan.steps[0].access.gained.insert(Tuple::allow("a", "read", "b"));
        }),
        ("risk", |plan| plan.steps[0].risk = Risk::Widens),
        ("notes", |plan| plan.steps[0].notes.push("x".into())),
        ("id", |plan| plan.steps[0].id = None),
        ("seen", |plan| plan.steps[0].seen = Observation::Absent),
        ("target", |plan| plan.steps[0].target.as_mut().unwrap().protect = true),
        ("after", |plan| {
            plan.steps[0].after.insert(0);
        }),
        ("steps", |plan| plan.steps.clear()),
    ];
    let mut seen = BTreeMap::from([(sample().digest().unwrap(), "nothing")]);
    for (what, change) in changes {
        let mut plan = sample();
        change(&mut plan);
        let before = seen.insert(plan.digest().unwrap(), what);
        assert_eq!(before, None, "{what} is covered");
    }
}

#[test]
fn a_saved_plan_reads_back_as_itself_and_in_the_same_bytes() {
    let saved = SavedPlan::new(sample()).unwrap();
    let bytes = saved.to_bytes().unwrap();
    let back = SavedPlan::from_bytes(&bytes).unwrap();
    assert_eq!(back, saved);
    assert_eq!(back.to_bytes().unwrap(), bytes);
}

#[test]
fn a_saved_plan_that_was_edited_is_refused() {
    let text = String::from_utf8(SavedPlan::new(sample()).unwrap().to_bytes().unwrap()).unwrap();
    for (from, to) in [
        ("\"a.account\"", "\"a.accounts\""),
        ("\"update\"", "\"delete\""),
        ("\"sim:1\"", "\"sim:2\""),
    ] {
        assert!(text.contains(from), "{from}");
        let error = SavedPlan::from_bytes(text.replace(from, to).as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{from}");
        assert_eq!(error.repair(), Some("plan again, and apply the new plan"));
    }
    for broken in ["", "{}", "[]", &text[..text.len() / 2]] {
        assert_eq!(
            SavedPlan::from_bytes(broken.as_bytes()).unwrap_err().kind(),
            ErrorKind::Damaged
        );
    }
}

#[test]
fn a_plan_of_a_newer_version_is_told_from_a_damaged_one() {
    let mut plan = sample();
    plan.format = FORMAT + 1;
    let bytes = SavedPlan::new(plan).unwrap().to_bytes().unwrap();
    assert_eq!(SavedPlan::from_bytes(&bytes).unwrap_err().kind(), ErrorKind::NewerVersion);
}

#[test]
fn what_one_step_takes_and_another_gives_stays_as_it_was() {
    let mut plan = sample();
    let (one, two) = (Tuple::allow("a", "read", "x"), Tuple::allow("a", "read", "y"));
    plan.steps[0].access.lost = BTreeSet::from([one.clone(), two.clone()]);
    let mut other = plan.steps[0].clone();
    other.access = AccessChange { gained: BTreeSet::from([one]), ..AccessChange::default() };
    plan.steps.push(other);
    let access = plan.access();
    assert!(access.gained.is_empty());
    assert_eq!(access.lost, BTreeSet::from([two]));
    assert_eq!(plan.verdict(), Verdict::Narrows);
}

#[test]
fn a_replacement_counts_once() {
    let mut plan = sample();
    plan.steps[0].action = Action::ReplaceCreateFirst;
    plan.steps[0].part = Part::Make;
    let mut old = plan.steps[0].clone();
    old.part = Part::Remove;
    plan.steps.push(old);
    assert_eq!(plan.totals(), Totals { replace: 1, ..Totals::default() });
    assert_eq!(Value::from(plan.totals().replace), Value::Int(1));
}
