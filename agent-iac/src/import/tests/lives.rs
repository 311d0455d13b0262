//! The whole way: looked at, written, read back, planned, applied, planned
//! again, with the real objects unchanged all along.

use std::sync::Arc;

use proptest::prelude::*;

use super::{MODULE, accountable, deploy, imported, system, system::Museum};
use crate::{
    apply::{Report, RunContext},
    config::{self, Types},
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    import::{Draft, Survey, SurveyRequest},
    ledger::Actor,
    plan::{Action, Plan, SavedPlan},
    provider::Mark,
    resource::Link,
    testing::world::{self as sim, World},
};

fn types() -> Types {
    Types::none()
        .with::<sim::Account>()
        .with::<sim::Grant>()
        .with::<sim::Job>()
        .with::<system::Role>()
        .with::<system::Grant>()
        .with::<system::Membership>()
        .with::<system::Round>()
}

fn read(text: &str) -> Fleet {
    match config::parse(text, "imported.toml", &types()) {
        Ok(fleet) => fleet,
        Err(mistakes) => panic!("{mistakes}\n{text}"),
    }
}

fn drafted(world: &World, deployment: &Deployment) -> (Survey, Draft) {
    let survey = world.run(deployment.survey(&SurveyRequest::default())).finished().unwrap();
    let draft = Draft::of(&survey, &accountable()).unwrap();
    (survey, draft)
}

fn planned(world: &World, deployment: &Deployment) -> Plan {
    world.run(deployment.plan(&PlanRequest::default())).finished().unwrap()
}

fn applied(world: &World, deployment: &Deployment, plan: &Plan) -> Report {
    let saved = SavedPlan::new(plan.clone()).unwrap();
    let context = RunContext::new(Actor::asserted("test", "importer"));
    let context = context.acknowledging(saved.digest());
    world.run(deployment.apply(&saved, &context)).finished().unwrap()
}

/// Adopts what the draft declares, and nothing else happens.
#[track_caller]
fn adopts(world: &World, deployment: Deployment, draft: &Draft) -> Deployment {
    let text = draft.toml();
    let deployment = deployment.with_fleet(read(&text));
    let plan = planned(world, &deployment);
    let actions: Vec<_> = plan.steps.iter().filter(|s| s.action != Action::Adopt).collect();
    assert!(actions.is_empty(), "{actions:#?}\n{text}");
    assert_eq!(plan.steps.len(), draft.resources());
    assert!(
        plan.blocked.is_empty() && plan.unread.is_empty(),
        "{:?} {:?}",
        plan.blocked,
        plan.unread
    );
    let report = applied(world, &deployment, &plan);
    assert!(report.is_complete(), "{report:?}");
    let again = planned(world, &deployment);
    assert!(again.is_empty(), "{:#?}\n{text}", again.steps);
    assert!(
        again.drift.is_empty() && again.unread.is_empty(),
        "{:?} {:?}",
        again.drift,
        again.unread
    );
    assert!(again.blocked.is_empty(), "{:?}", again.blocked);
    deployment
}

#[test]
fn rust_and_text_declare_the_same() {
    let text = read(include_str!("imported.toml")).blueprint("test").unwrap();
    let rust = imported::fleet().blueprint("test").unwrap();
    for (address, desired) in rust.resources() {
        let other = &text.resources()[address];
        assert_eq!(desired.properties, other.properties, "{address}");
    }
    assert_eq!(rust.digest(), text.digest());
}

#[test]
fn a_system_that_nobody_can_write_to_is_adopted() {
    let world = World::new(1);
    let museum = system::rich();
    let mut fleet = Fleet::new("museum");
    fleet.store("vault");
    let deployment = deploy(&world, &museum, fleet).with_store("vault", world.store("vault"));
    let (_, draft) = drafted(&world, &deployment);
    let deployment = adopts(&world, deployment, &draft);
    let (survey, _) = drafted(&world, &deployment);
    assert_eq!(survey.managed, draft.agents());
    let names: Vec<&str> = survey.found.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["asleep"], "and who was left out is found again");
}

/// Texts that mean something to somebody.
const HOSTILE: [&str; 24] = [
    "",
    " ",
    "\"",
    "'''",
    "\"\"\"",
    "\\",
    "\\\"\n[agents.x]\nowner = \"",
    "a\r\nb",
    "tab\there",
    "# comment",
    "$",
    "$$",
    "${account.id}",
    "${",
    "}{ {} {0}",
    "*/ /* // ///!",
    "r#\"raw\"#",
    "\u{0}\u{1}\u{7f}\u{85}",
    "\u{202e}txet\u{2066}",
    "\u{feff}\u{200b}",
    "日本語 é \u{1f980}",
    "e\u{301}",
    "-- ; DROP ROLE x",
    "*",
];

#[test]
fn hostile_texts_come_back_as_they_are_wherever_they_stand() {
    for text in HOSTILE {
        let world = World::new(1);
        let mut museum = Museum::default();
        museum.put_known(
            "1",
            &system::Role {
                settings: [(text.to_owned(), text.to_owned())].into(),
                until: Some(text.to_owned()),
                keeper: Some(Link::id(format!("x{text}"))),
                ..system::role(text)
            },
        );
        museum.put_known(
            "2",
            &system::Grant {
                to: Link::id("1"),
                on: system::table(text, text, Some(&[text])),
                allow: [system::Verb::Select].into(),
                grantor: Some(text.to_owned()),
                hours: vec![0],
            },
        );
        let deployment = deploy(&world, &museum, Fleet::new("museum"));
        let (_, draft) = drafted(&world, &deployment);
        assert_eq!((draft.agents(), draft.aside().count()), (1, 0), "{text:?}");
        let text = draft.rust(MODULE);
        assert!(text.chars().all(|c| c == '\n' || crate::address::is_printable(&c.to_string())));
        adopts(&world, deployment, &draft);
    }
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::sample::select(HOSTILE.as_slice()).prop_map(str::to_owned),
        3 => "[a-z_]{1,12}",
        2 => any::<String>(),
    ]
}

#[derive(Clone, Debug)]
struct Somebody {
    name: String,
    note: Option<String>,
    home: Option<String>,
    grants: Vec<(String, Vec<String>)>,
    jobs: Vec<(String, String)>,
    keys: usize,
    suspended: bool,
    marked: bool,
}

fn somebody() -> impl Strategy<Value = Somebody> {
    let grants = prop::collection::vec((texts(), prop::collection::vec(texts(), 0..3)), 0..3);
    let jobs = prop::collection::vec((texts(), texts()), 0..2);
    let flags = (0..3usize, prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    let texts = (texts(), prop::option::of(texts()), prop::option::of(texts()));
    (texts, grants, jobs, flags).prop_map(
        |((name, note, home), grants, jobs, (keys, suspended, marked))| Somebody {
            name,
            note,
            home,
            grants,
            jobs,
            keys,
            suspended,
            marked,
        },
    )
}

/// Sets somebody up by hand; what the system refuses is not there.
fn set_up(provider: &sim::SimProvider, one: &Somebody) {
    let hand = provider.hand();
    let mark = one.marked.then(|| Mark {
        fleet: "other".into(),
        environment: "test".into(),
        address: "a.account".parse().unwrap(),
    });
    let Ok(id) = hand.account(&one.name, mark) else { return };
    for (field, text) in [("note", &one.note), ("home", &one.home)] {
        if let Some(text) = text {
            let _: crate::Result<()> = hand.set::<sim::Account>(&id, field, text.as_str());
        }
    }
    for (on, allow) in &one.grants {
        let allow: Vec<&str> = allow.iter().map(String::as_str).collect();
        let _: crate::Result<String> = hand.grant(&id, on, &allow);
    }
    for (name, command) in &one.jobs {
        let _: crate::Result<String> = hand.job(name, &id, command);
    }
    for _ in 0..one.keys {
        hand.key(&id).unwrap();
    }
    if one.suspended {
        hand.suspend(&id).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_stands_there_is_adopted_as_it_is(people in prop::collection::vec(somebody(), 0..8)) {
        let world = World::new(3);
        let provider = world.provider("sim");
        for one in &people {
            set_up(&provider, one);
        }
        let (before, effects) = (provider.existing(), provider.effects());
        let deployment = Deployment::new(
            Fleet::new("museum"),
            "test",
            world.ledger("museum", "test"),
            world.entropy(),
        )
        .with_clock(world.clock())
        .with_provider("sim", Arc::new(provider.clone()));
        let (_, draft) = drafted(&world, &deployment);
        let ledger = world.run(deployment.state()).finished().unwrap();
        prop_assert_eq!(ledger.records.len(), 0, "looking records nothing");
        adopts(&world, deployment, &draft);
        prop_assert_eq!(provider.existing(), before);
        prop_assert_eq!(provider.effects(), effects);
    }
}
