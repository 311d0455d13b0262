//! What is imported is adopted and nothing else, in either form.

#[cfg(feature = "config")]
mod lives;
#[cfg(feature = "config")]
mod postgres;
#[expect(unreachable_pub, reason = "derived builders are as public as their type")]
mod system;

/// What was written, compiled.
#[cfg(feature = "config")]
#[expect(unreachable_pub, reason = "it is written for a crate of its own")]
#[expect(clippy::struct_field_names, reason = "names are made of what there is")]
mod imported {
    include!("imported.rs");
}

use std::sync::Arc;

use expect_test::{ExpectFile, expect, expect_file};

use self::system::{Grant, Membership, Museum, Role, Round, rich};
use super::{Accountable, Draft, Survey, SurveyRequest};
use crate::{
    deployment::Deployment, error::Result, fleet::Fleet, resource::Reading, schema::Kind,
    testing::world::World, value::Value,
};

const MODULE: &str = "crate::import::tests::system";

fn accountable() -> Accountable {
    Accountable::new("team:museum", "2090-06-30".parse().unwrap())
}

fn deploy(world: &World, museum: &Museum, fleet: Fleet) -> Deployment {
    Deployment::new(fleet, "test", world.ledger("museum", "test"), world.entropy())
        .with_clock(world.clock())
        .with_provider("museum", Arc::new(museum.clone()))
}

fn survey_with(museum: &Museum, request: &SurveyRequest) -> Result<Survey> {
    let world = World::new(1);
    let mut fleet = Fleet::new("museum");
    fleet.store("vault");
    world.run(deploy(&world, museum, fleet).survey(request)).finished()
}

fn survey(museum: &Museum) -> Survey {
    survey_with(museum, &SurveyRequest::default()).unwrap()
}

fn draft(museum: &Museum) -> Draft {
    Draft::of(&survey(museum), &accountable()).unwrap()
}

#[track_caller]
fn check(text: &str, expected: &ExpectFile) {
    expected.assert_eq(text);
}

#[test]
fn text_is_written_as_a_person_would_read_it() {
    check(&draft(&rich()).toml(), &expect_file!["./imported.toml"]);
}

#[test]
fn rust_is_written_as_a_person_would_read_it() {
    check(&draft(&rich()).rust(MODULE), &expect_file!["./imported.rs"]);
}

#[test]
fn what_is_looked_at_is_asked_for_once_for_each_type() {
    let museum = rich();
    survey(&museum);
    assert_eq!(museum.lists(), 5);
}

#[test]
fn a_pattern_selects_identities_and_what_belongs_to_them() {
    let museum = rich();
    let survey =
        survey_with(&museum, &SurveyRequest::default().only("night*").only("read?r")).unwrap();
    let names: Vec<&str> = survey.found.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["night-watch", "reader"]);
    assert_eq!(survey.unmatched, 7, "whoever else there is");
    assert!(survey.marked.is_empty(), "what no pattern names is not looked at");
    assert_eq!([survey.count(Kind::Permission), survey.count(Kind::Credential)], [4, 1]);
    // Who is not declared is referred to by id.
    let text = Draft::of(&survey, &accountable()).unwrap().toml();
    assert!(text.contains("role = { id = \"2\" }"), "{text}");
}

#[test]
fn a_provider_must_be_meant() {
    let museum = Museum::default();
    let world = World::new(1);
    let refused = |deployment: &Deployment, request: SurveyRequest| {
        let error = world.run(deployment.survey(&request)).finished().unwrap_err();
        format!("{error}; {}", error.repair().unwrap())
    };
    let one = deploy(&world, &museum, Fleet::new("museum"));
    assert_eq!(
        refused(&one, SurveyRequest::default().provider("zoo")),
        "the deployment has no provider named `zoo`; name one of `museum`"
    );
    let two = one.with_provider("zoo", Arc::new(museum.clone()));
    assert_eq!(
        refused(&two, SurveyRequest::default()),
        "nothing says which provider to look at; name one of `museum`, `zoo`"
    );
}

#[test]
fn a_type_that_cannot_be_listed_is_missing_in_every_form_and_identities_end_it() {
    let mut museum = rich();
    museum.hide::<Grant>();
    let draft = draft(&museum);
    for text in [draft.toml(), draft.rust(MODULE)] {
        let line = "MISSING: the objects of type museum.grant could not be listed: \
                    the keeper has gone home";
        assert!(text.contains(line), "{text}");
    }
    museum.hide::<Role>();
    let error = survey_with(&museum, &SurveyRequest::default()).unwrap_err();
    assert!(error.chain().contains("museum.role"), "{error}");
}

#[test]
fn what_cannot_be_declared_is_told_with_its_reason() {
    let mut museum = rich();
    let known = |value: Value| Reading::Known(value);
    let number = known(Value::Int(1));
    museum.put::<Role>("7", &[("name", Reading::Unreadable("no right".into()))]);
    museum.put::<Role>("8", &[("name", known("mark\u{f1ac0}ed".into()))]);
    museum.put::<Role>("9\u{202e}", &[("name", known("backwards".into()))]);
    museum.put::<Grant>("g5", &[("to", known("1".into())), ("on", number.clone())]);
    museum.put::<Membership>("m4", &[("to", known("1".into())), ("role", known("3".into()))]);
    museum.put::<Round>("r2", &[("run_as", known("1".into())), ("name", number)]);
    let draft = draft(&museum);
    let aside: Vec<String> = draft.aside().map(ToString::to_string).collect();
    expect![[r#"
        museum.role `7`: `name`: it could not be read: no right
        museum.role `asleep` (id `4`): it is suspended, and a declaration would let it act again; 1 of what belongs to it are left out with it
        museum.role `backwards` (id `9\u{202e}`): its id cannot be written
        museum.role `mark\u{f1ac0}ed` (id `8`): `name`: it holds characters that carry references
        museum.grant `g5`: `allow`: the provider says nothing of it
        museum.login `k1`: its secret cannot be read, so it stays as it is and is not declared; declare one of your own with `deliver`, and move its consumers
        museum.membership `m4`: another one has the same natural key
        museum.round `r2`: `name`: it does not fit its type: expected text, found 1
    "#]]
    .assert_eq(&(aside.join("\n") + "\n"));
    assert!(draft.toml().matches("# museum.role").count() >= 4);
}

#[test]
fn an_owner_must_be_one() {
    for owner in ["", " \n", "a\u{202e}b"] {
        let accountable = Accountable::new(owner, accountable().expires);
        assert!(Draft::of(&survey(&rich()), &accountable).is_err(), "{owner:?}");
    }
}

#[test]
fn an_empty_system_gives_an_empty_fleet() {
    let draft = draft(&Museum::default());
    assert_eq!((draft.agents(), draft.resources()), (0, 0));
    assert_eq!(draft.aside().count(), 0);
}

#[test]
fn what_this_ledger_manages_is_passed_over_and_the_rest_is_to_be_added() {
    let world = World::new(1);
    let museum = rich();
    // What is said to be adopted counts, also before it is.
    let mut fleet = Fleet::new("museum");
    fleet.provider("museum", crate::provider::Reach::Watched);
    fleet.add(KeeperInputs::default());
    let address = "reader.role".parse().unwrap();
    fleet.import(address, "1");
    let deployment = deploy(&world, &museum, fleet);
    let request = SurveyRequest::default();
    let survey = world.run(deployment.survey(&request)).finished().unwrap();
    assert_eq!(survey.managed, 1);
    assert!(survey.is_addition() && survey.taken.contains("reader"));
    let draft = Draft::of(&survey, &accountable()).unwrap();
    assert!(!draft.toml().contains("\nfleet = "), "it is no fleet of its own");
    assert!(draft.toml().contains("ADDED to the fleet `museum`"));
    assert!(!draft.rust(MODULE).contains("pub fn fleet()"));
}

/// Keeps the museum.
#[derive(crate::Agent)]
#[agent(name = "reader", owner = "team:museum", expires = "2090-06-30")]
struct Keeper {
    #[identity(name = "reader")]
    role: Role,
}

#[cfg(feature = "cli")]
#[test]
fn a_gap_in_what_was_seen_ends_the_command_with_the_code_for_it() {
    use crate::{
        cli::{self, Env, Streams},
        clock::SystemClock,
        ledger::MemoryLedger,
        testing::world::SimEntropy,
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("fleet.toml");
    let typed = |museum: &Museum, words: &[&str]| {
        let deployment = || {
            let ledger = Arc::new(MemoryLedger::new(Arc::new(SystemClock)));
            let entropy = Arc::new(SimEntropy::new(1));
            Ok(Deployment::new(Fleet::new("museum"), "test", ledger, entropy)
                .with_provider("museum", Arc::new(museum.clone())))
        };
        let streams = Streams {
            out: Box::new(std::io::sink()),
            err: Box::new(std::io::sink()),
            input: Box::new(std::io::empty()),
        };
        let words = ["deploy", "import"].iter().chain(words).map(std::ffi::OsString::from);
        cli::code(&cli::run(words, deployment, streams, &Env::default()))
    };
    let mut museum = rich();
    assert_eq!(typed(&museum, &["--report"]), 0);
    assert_eq!(typed(&museum, &[]), 2, "nobody answers for it");
    assert_eq!(typed(&museum, &["--report", "--out", "x"]), 2);
    museum.hide::<Grant>();
    let written = ["--owner", "team:museum", "--out", out.to_str().unwrap()];
    assert_eq!(typed(&museum, &["--report", "--json"]), 4);
    assert_eq!(typed(&museum, &written), 4);
    assert!(std::fs::read_to_string(&out).unwrap().contains("MISSING"));
    assert_eq!(typed(&museum, &written), 1, "nothing is overwritten");
    museum.hide::<Role>();
    assert_ne!(typed(&museum, &["--report"]), 0);
}
