//! What a system asks of the contract that the simulated one does not: types
//! that check their properties, identities that are access themselves, secrets
//! of a form of their own, surroundings, obstacles, and what everybody has.

mod town;

use std::collections::BTreeMap;

use agent_iac::{
    access::{Access, Tuple, Verdict},
    clock::block_on,
    plan::{Action, Risk, render},
    provider::{Principal, Provider, Reference, Source, Surrounded, Surroundings},
    resource::{Link, Resource as _},
    testing::provider::Suite,
    value::Value,
};
use town::{Handle, Login, Public, Right, RightSpec, Role, Town};

use super::*;

/// Lives in the town.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2027-06-30", grace = "1d", name = "citizen")]
struct Citizen {
    #[input(key)]
    name: String,
    #[input]
    attributes: Vec<String>,

    #[identity(
        name = name,
        attributes = attributes.iter().cloned().collect::<BTreeSet<String>>(),
        on_drift = OnDrift::RevertWidening,
    )]
    role: Role,

    #[permission(to = role, on = "the library", allow = ["read"])]
    library: Right,

    #[permission(to = role, on = format!("the house of {name}"), allow = ["enter", "rebuild"])]
    house: Right,

    #[credential(of = role, deliver = format!("vault:citizens/{name}"))]
    login: Login,
}

/// Takes away what everybody has.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2027-06-30", grace = "1d", name = "hardening")]
struct Hardening {
    #[permission(on = "the square", revoke = ["sell"])]
    square: Public,
}

/// A citizen without a login, of whom there may be thousands.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2027-06-30", name = "crowd")]
struct Crowd {
    #[input(key)]
    number: u32,
    #[identity(name = format!("crowd-{number}"))]
    role: Role,
    #[permission(to = role, on = "a", allow = ["read"])]
    a: Right,
    #[permission(to = role, on = "b", allow = ["read"])]
    b: Right,
}

fn town_fleet(reach: Reach) -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("town", reach).store("vault");
    fleet
}

fn citizen(name: &str, attributes: &[&str]) -> CitizenInputs {
    let attributes = attributes.iter().map(|&one| one.to_owned()).collect();
    CitizenInputs { name: name.into(), attributes }
}

fn citizens(attributes: &[&str]) -> Fleet {
    let mut fleet = town_fleet(Reach::Declared);
    fleet.add(citizen("ada", attributes));
    fleet
}

const ADA: &str = r#"citizen["ada"]"#;

/// A stage with a town on it.
struct Place {
    stage: Stage,
    town: Arc<Town>,
}

impl Place {
    fn new() -> Self {
        Self { stage: Stage::unwatched(SimOptions::default()), town: Arc::default() }
    }

    fn deploy(&self, fleet: Fleet) -> Deployment {
        let town: Arc<dyn Provider> = Arc::new(Handle(Arc::clone(&self.town)));
        self.stage.deploy(fleet).with_provider("town", town)
    }

    fn id(&self, name: &str) -> String {
        let named = Value::from(name);
        let roles = self.town.state().all(Role::TYPE);
        roles.into_iter().find(|role| role.value("name") == Some(&named)).unwrap().id
    }
}

#[test]
fn the_town_keeps_the_contract() {
    let (place, world) = (Place::new(), World::new(3));
    let provider: Arc<dyn Provider> = Arc::new(Handle(Arc::clone(&place.town)));
    let suite = Suite::new(provider, world.clock(), world.entropy());
    let role = |sample: &agent_iac::testing::provider::Sample| {
        let mut role = Role::builder();
        role.name(sample.name());
        if sample.changed() {
            role.attributes(["lead"]);
        }
        role
    };
    block_on(async {
        suite.check_identity::<Role>(role).await;
        suite
            .check_permission::<Role, Right>(role, |owner, sample| {
                let mut right = Right::builder();
                right.to(Link::id(owner)).on(sample.name());
                right.allow(if sample.changed() { ["read"] } else { ["write"] });
                right
            })
            .await;
        suite
            .check_permission::<Role, Public>(role, |_, sample| {
                let mut public = Public::builder();
                public.on(sample.name());
                public.revoke(if sample.changed() { ["read"] } else { ["write"] });
                public
            })
            .await;
        suite
            .check_credential::<Role, Login>(role, |owner, _| {
                let mut login = Login::builder();
                login.of(Link::id(owner));
                login
            })
            .await;
    });
    assert!(place.town.state().objects.is_empty(), "the suite leaves nothing behind");
}

#[test]
fn a_type_refuses_what_no_shape_shows_when_the_fleet_is_validated() {
    let mut fleet = citizens(&[]);
    fleet.add(citizen("Public", &[]));
    let mistakes = fleet.blueprint("test").unwrap_err();
    assert_eq!(mistakes.iter().count(), 1, "{mistakes}");
    let mistake = mistakes.iter().next().unwrap();
    assert!(mistake.to_string().contains("`Public` is everybody"), "{mistake}");
    assert_eq!(mistake.help.as_deref(), Some("give the role a name of its own"));
    assert!(mistake.source.as_ref().is_some_and(|at| at.file.ends_with("contract/mod.rs")));
}

#[test]
fn what_an_identity_may_do_by_itself_counts_as_access_everywhere() {
    let place = Place::new();
    place.stage.apply(&place.deploy(citizens(&["vote"])));
    let deployment = place.deploy(citizens(&["vote", "rule"]));
    let plan = place.stage.plan(&deployment);
    let rules = Tuple::allow(format!("{ADA}.role"), "rule", "the town");
    assert_eq!((plan.steps.len(), plan.steps[0].risk), (1, Risk::Widens));
    assert_eq!(plan.access().gained, BTreeSet::from([rules.clone()]));
    assert_eq!(plan.verdict(), Verdict::Widens);
    place.stage.apply(&deployment);

    // By hand a narrowing is reported and left alone.
    let edit = |attributes: &[&str]| {
        let id = place.id("ada");
        let mut state = place.town.state();
        let role = state.objects.get_mut(&(Role::TYPE, id)).unwrap();
        let attributes: Value = attributes.iter().copied().collect();
        role.fields.insert("attributes".into(), agent_iac::resource::Reading::Known(attributes));
    };
    edit(&["vote"]);
    let drift = place.stage.plan(&deployment).drift;
    assert_eq!(drift[0].access.lost, BTreeSet::from([rules]));
    let report = place.stage.run(deployment.revert_drift(&operator())).unwrap();
    assert!(report.steps.is_empty(), "{}", shown(&report));

    // A widening is taken back while nobody watches.
    edit(&["rule", "tax", "vote"]);
    let drift = place.stage.plan(&deployment).drift;
    assert_eq!(drift[0].access.verdict(), Verdict::Widens);
    let report = place.stage.run(deployment.revert_drift(&operator())).unwrap();
    assert!(report.is_complete() && report.steps.len() == 1, "{}", shown(&report));
    place.stage.assert_clean(&deployment);
}

#[test]
fn a_secret_of_the_systems_own_form_is_composed_delivered_tried_and_ended() {
    let place = Place::new();
    let deployment = place.deploy(citizens(&[]));
    place.stage.apply(&deployment);
    let composed = vec![(format!("{ADA}.login"), 1)];
    assert_eq!(place.town.state().composed, composed);
    let secret = place.stage.secret("citizens/ada").unwrap();
    let user = secret.expose(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(user.starts_with(&format!("{ADA}.login__g1:")), "the user name is delivered with it");

    // Its end is proved: a decoy of the same user is refused for one reason.
    let report = place.stage.apply(&place.deploy(town_fleet(Reach::Declared)));
    assert!(outcome(&report, &format!("{ADA}.login")).is_done(), "{}", shown(&report));
}

#[test]
fn a_secret_that_was_composed_is_not_composed_again_by_recovery() {
    let boundaries = {
        let place = Place::new();
        place.stage.apply(&place.deploy(citizens(&[])));
        place.stage.world.boundaries().len()
    };
    let mut composed_before_the_crash = 0;
    for at in 0..boundaries {
        let place = Place::new();
        let deployment = place.deploy(citizens(&[]));
        let saved = place.stage.plan(&deployment);
        let saved = SavedPlan::new(saved).unwrap();
        place.stage.world.crash_at(at);
        let context = operator().acknowledging(saved.digest());
        let crashed = place.stage.world.run(deployment.apply(&saved, &context)).is_crashed();
        let composed = place.town.state().composed.clone();
        composed_before_the_crash += usize::from(crashed && !composed.is_empty());
        place.stage.days(1);
        place.stage.world.run(deployment.recover(&operator())).finished().unwrap();
        assert_eq!(place.town.state().composed, composed, "boundary {at}");
        place.stage.world.run(agent_iac_tests::converge(&deployment)).finished().unwrap();
        place.stage.assert_clean(&deployment);
        // What stands there is what the system took.
        let secret = place.stage.secret("citizens/ada").unwrap();
        let prober =
            Arc::clone(Handle(Arc::clone(&place.town)).probers().unwrap().of(Login::TYPE).unwrap());
        let identity = place.id("ada");
        let attempt = agent_iac::provider::Attempt { identity: &identity, secret: &secret };
        let tried = block_on(prober.probe(&[attempt]));
        assert_eq!(tried, [agent_iac::provider::Tried::Accepted], "boundary {at}");
    }
    assert!(composed_before_the_crash > 5, "{composed_before_the_crash} crashes of {boundaries}");
}

fn surroundings(of: Vec<Vec<usize>>) -> Surroundings {
    let everybody = (0..300).map(|n| Tuple::allow("PUBLIC", "look", format!("shop {n:03}")));
    Surroundings {
        sources: vec![
            Source {
                name: "PUBLIC".into(),
                access: Access::exactly(everybody),
                counted: BTreeMap::from([("look at stars".to_owned(), 3_188)]),
            },
            Source {
                name: "member of the guild".into(),
                access: Access::exactly([Tuple::allow("member of the guild", "vote", "guild")]),
                counted: BTreeMap::new(),
            },
        ],
        of,
        warnings: vec!["the mayor is as good as the king".into()],
        unread: Vec::new(),
    }
}

fn text(plan: Plan, level: render::Level) -> String {
    let options = render::Options { level, ..render::Options::default() };
    render::text(&SavedPlan::new(plan).unwrap(), &options).to_string()
}

#[test]
fn surroundings_are_asked_for_once_and_shown_beside_the_plan_and_not_in_its_digest() {
    let place = Place::new();
    let mut fleet = citizens(&[]);
    fleet.add(citizen("bob", &[]));
    let deployment = place.deploy(fleet);
    let silent = place.stage.plan(&deployment);
    assert!(silent.beside.is_empty(), "what says nothing is not shown");
    place.town.state().asked.clear();
    place.town.state().surroundings = Some(Ok(surroundings(vec![vec![0, 1], vec![0]])));

    let plan = place.stage.plan(&deployment);
    assert_eq!(plan.digest().unwrap(), silent.digest().unwrap());
    let asked = place.town.state().asked.clone();
    assert_eq!(asked.len(), 1, "one call for all identities of the type");
    let of = |name: &str| {
        let right = |on: String, allow: &[&str]| {
            let allow: Value = allow.iter().copied().collect();
            let right = BTreeMap::from([
                ("on".to_owned(), Value::from(on)),
                ("allow".to_owned(), allow.into_set()),
            ]);
            ("town.right".to_owned(), right)
        };
        let house = right(format!("the house of {name}"), &["enter", "rebuild"]);
        Surrounded {
            identity: None,
            permissions: vec![house, right("the library".into(), &["read"])],
        }
    };
    assert_eq!(asked[0], [of("ada"), of("bob")]);
    let beside = &plan.beside[0];
    assert_eq!((beside.provider.as_str(), beside.resource_type.as_str()), ("town", "town.role"));
    assert_eq!(beside.of[&address(&format!("{ADA}.role"))], BTreeSet::from([0, 1]));

    // In the saved file it stands once, whole, and sealed.
    let saved = SavedPlan::new(plan.clone()).unwrap();
    let bytes = saved.to_bytes().unwrap();
    assert_eq!(SavedPlan::from_bytes(&bytes).unwrap().plan().beside, plan.beside);
    let json = String::from_utf8(bytes).unwrap();
    assert_eq!(json.matches("shop 299").count(), 1);
    let edited = json.replace("shop 299", "shop 999");
    assert!(SavedPlan::from_bytes(edited.as_bytes()).is_err(), "what is shown cannot be edited");

    let shown = text(plan.clone(), render::Level::Default);
    for line in [
        "Besides what is declared: what the systems give to these identities anyway",
        r#"    + PUBLIC   reaches citizen["ada"].role and citizen["bob"].role, at town"#,
        r#"      may look on "shop 000""#,
        "      … and 297 more statements",
        "      3,188 × look at stars",
        r#"    + "member of the guild"   reaches citizen["ada"].role, at town"#,
        "    ! the mayor is as good as the king",
    ] {
        assert!(shown.lines().any(|shown| shown.starts_with(line)), "{line:?} is not in\n{shown}");
    }
    assert!(!shown.contains("shop 003"), "{shown}");
    assert!(text(plan.clone(), render::Level::Full).contains("shop 299"));
    let markdown = render::markdown(&saved, &render::Options::default());
    assert!(markdown.contains("#### Besides what is declared"), "{markdown}");
    assert!(markdown.contains("` the mayor is as good as the king `"), "{markdown}");

    // Once they exist they are asked about by id.
    place.stage.apply(&deployment);
    let plan = place.stage.plan(&deployment);
    assert!(plan.is_clean(), "what others give is no change");
    let last = place.town.state().asked.last().unwrap().clone();
    assert_eq!(last[0].identity, Some(Reference::Id(place.id("ada"))));
}

#[test]
fn surroundings_that_were_not_read_are_unread_with_the_reason_and_never_clean() {
    let place = Place::new();
    let deployment = place.deploy(citizens(&[]));
    place.stage.apply(&deployment);
    for (answer, why) in [
        (Err("the wall is too high".to_owned()), "the wall is too high"),
        (Ok(surroundings(vec![vec![0], vec![0]])), "of 1 identities and answered for 2"),
        (Ok(surroundings(vec![vec![2]])), "points to source 2 of 2"),
        (Ok(surroundings(vec![])), "of 1 identities and answered for 0"),
    ] {
        place.town.state().surroundings = Some(answer);
        let plan = place.stage.plan(&deployment);
        assert!(plan.is_empty() && !plan.is_clean(), "{why}");
        let unread = plan.beside[0].unread.as_deref().unwrap();
        assert!(unread.contains(why), "{unread}");
        let shown = text(plan, render::Level::Default);
        assert!(shown.contains("unread for each town.role at town: "), "{shown}");
        assert!(shown.contains("what the systems give besides is unread"), "{shown}");
    }
}

#[test]
fn what_everybody_had_is_taken_away_by_an_agent_and_given_back_when_it_leaves() {
    let place = Place::new();
    let mut fleet = town_fleet(Reach::Exclusive);
    fleet.add(HardeningInputs {});
    let deployment = place.deploy(fleet);
    let plan = place.stage.plan(&deployment);
    assert_eq!(plan.verdict(), Verdict::Narrows, "a prohibition for everybody narrows");
    assert_eq!(plan.steps[0].risk, Risk::Narrows);
    place.stage.apply(&deployment);
    place.stage.assert_clean(&deployment);

    let leaving = place.deploy(town_fleet(Reach::Exclusive));
    let plan = place.stage.plan(&leaving);
    assert_eq!((plan.steps.len(), plan.steps[0].action), (1, Action::Delete));
    assert_eq!(plan.verdict(), Verdict::Widens, "everybody gains what was forbidden");
    place.stage.apply(&leaving);
    assert!(place.town.state().all(Public::TYPE).is_empty());
    place.stage.assert_clean(&leaving);
}

#[test]
fn killing_an_agent_gives_nobody_else_access() {
    let place = Place::new();
    let mut fleet = citizens(&[]);
    fleet.add(HardeningInputs {});
    let deployment = place.deploy(fleet);
    place.stage.apply(&deployment);
    let killed = instance("hardening");
    let report = place.stage.run(deployment.kill(&killed, "a test", &operator())).unwrap();
    let Outcome::Skipped { because } = outcome(&report, "hardening.square") else {
        panic!("{}", shown(&report));
    };
    assert!(because.contains("gives access to others"), "{because}");
    assert_eq!(place.town.state().all(Public::TYPE).len(), 1);
    // It goes with a plan that says so.
    place.stage.apply(&deployment);
    assert!(place.town.state().all(Public::TYPE).is_empty());
}

#[test]
fn what_cannot_be_removed_is_named_with_the_reason_and_nothing_is_planned() {
    let place = Place::new();
    let mut fleet = town_fleet(Reach::Exclusive);
    fleet.add(citizen("ada", &[]));
    let deployment = place.deploy(fleet);
    place.stage.apply(&deployment);
    let planted = RightSpec {
        to: Link::id(place.id("ada")),
        on: "the bank".into(),
        allow: BTreeSet::from(["enter".to_owned()]),
    };
    let id = place.town.by_hand::<Right>(&planted, Some("the king gave it"));
    let plan = place.stage.plan(&deployment);
    assert!(plan.is_empty() && !plan.is_clean());
    assert_eq!(plan.undeclared[0].object.id, id);
    assert_eq!(plan.blocked[0].reason, "it cannot be removed: the king gave it");
    assert!(text(plan, render::Level::Default).contains("it cannot be removed: the king gave it"));
    let report = place.stage.run(deployment.revert_drift(&operator())).unwrap();
    assert!(report.steps.is_empty(), "{}", shown(&report));

    // Nobody can leave as long as it stands on him: he is suspended, and the
    // rest of what he has goes.
    let leaving = place.deploy(town_fleet(Reach::Exclusive));
    place.stage.apply(&leaving);
    place.stage.days(2);
    let plan = place.stage.plan(&leaving);
    assert!(plan.steps.iter().all(|step| step.address.resource() != "role"), "{plan:#?}");
    let role = plan.blocked.iter().find(|one| one.address.resource() == "role").unwrap();
    assert!(role.reason.ends_with("cannot be removed: the king gave it"), "{}", role.reason);
    place.town.state().objects.remove(&(Right::TYPE, id));
    place.stage.apply(&leaving);
    assert!(place.town.state().objects.is_empty());
}

#[test]
fn what_a_provider_requires_is_told_without_contacting_it() {
    let place = Place::new();
    let deployment = place.deploy(citizens(&[]));
    let requires = deployment.requires(&deployment.blueprint().unwrap());
    assert_eq!(requires.keys().collect::<Vec<_>>(), ["town"], "only what the fleet names");
    let [one] = requires["town"].as_slice() else { panic!("{requires:?}") };
    assert_eq!((one.principal, one.why.as_str()), (Principal::Apply, "it makes 1 roles"));
    assert!(place.town.state().asked.is_empty());
}

#[test]
fn what_is_ready_together_is_handed_over_at_once_and_recorded_in_one_append_each() {
    let place = Place::new();
    let mut fleet = town_fleet(Reach::Declared);
    for number in 0..2_500 {
        fleet.add(CrowdInputs { number });
    }
    let deployment = place.deploy(fleet);
    let saved = SavedPlan::new(place.stage.plan(&deployment)).unwrap();
    let context = operator().acknowledging(saved.digest());
    let outcome = place.stage.world.run(deployment.apply(&saved, &context));
    assert!(outcome.finished().unwrap().is_complete());
    assert_eq!(place.town.state().calls, [("town.role", 2_500), ("town.right", 5_000)]);
    let boundaries = place.stage.world.boundaries();
    let appends =
        boundaries.iter().filter(|at| at.starts_with("ledger/append") && at.ends_with("before"));
    // The begin of the run, begun and done of each batch, and the run's end.
    assert_eq!(appends.count(), 6, "{:?}", boundaries.len());
}
