//! Agents that are held, stopped, expire and leave.

use agent_iac::{apply::Progress, clock::Clock as _, fleet::Rules, ledger::Cause};

use super::*;

/// Is gone at once when it leaves.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2027-06-30", grace = "0d", name = "guest")]
struct Guest {
    #[input(key)]
    name: String,

    #[identity(name = name)]
    account: sim::Account,

    #[permission(to = account, on = "lobby", allow = ["enter"])]
    lobby: sim::Grant,

    #[credential(of = account, deliver = format!("vault:guests/{name}"))]
    key: sim::Key,
}

/// The same agent with a later expiry.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2028-06-30", grace = "0d", name = "guest")]
struct LongerGuest {
    #[input(key)]
    name: String,

    #[identity(name = name)]
    account: sim::Account,

    #[permission(to = account, on = "lobby", allow = ["enter"])]
    lobby: sim::Grant,

    #[credential(of = account, deliver = format!("vault:guests/{name}"))]
    key: sim::Key,
}

/// Cannot be deleted.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2027-06-30", grace = "0d", name = "keeper")]
struct Keeper {
    #[identity(name = "keeper", protect)]
    account: sim::Account,
}

const ADA: &str = r#"guest["ada"]"#;

fn guests(names: &[&str]) -> Fleet {
    let mut fleet = fleet();
    for name in names {
        fleet.add(GuestInputs { name: (*name).into() });
    }
    fleet
}

#[test]
fn an_agent_that_left_the_code_is_stopped_and_goes_after_its_grace() {
    let stage = Stage::new();
    stage.applied(readers(&["eu"]));
    let secret = stage.secret("readers/eu/key").unwrap();
    let account = stage.account("reader-eu");
    let empty = stage.deploy(fleet());
    let report = stage.apply(&empty);
    assert!(report.left.is_empty(), "its identity is still there");
    assert!(stage.sim().objects("sim.account")[0].suspended);
    assert!(
        stage.sim().objects("sim.key").is_empty() && stage.sim().objects("sim.grant").is_empty()
    );
    assert!(!stage.sim().accepts("sim.key", &account, &secret));
    assert!(stage.secret("readers/eu/key").is_err(), "nothing stands at its place");
    // For seven days nothing is to be done.
    stage.days(6);
    assert!(stage.plan(&empty).is_empty());
    stage.days(1);
    let report = stage.apply(&empty);
    assert!(stage.sim().existing().is_empty());
    let left = &report.left[0];
    assert_eq!((left.cause, left.open.len()), (Cause::Removed, 0));
    assert!((604_800..604_900).contains(&left.seconds), "{}", left.seconds);
    assert!(stage.state().agents.is_empty());
    stage.assert_clean(&empty);
}

#[test]
fn an_agent_without_grace_goes_in_one_run_in_the_safe_order() {
    let stage = Stage::with(SimOptions::default().batch(1));
    stage.applied(guests(&["ada"]));
    let before = stage.sim().effects().len();
    let report = stage.apply(&stage.deploy(fleet()));
    let effects = stage.sim().effects();
    let order: Vec<String> = effects[before..]
        .iter()
        .map(|effect| format!("{} {}", effect.operation, effect.resource_type))
        .collect();
    assert_eq!(
        order,
        ["suspend sim.account", "delete sim.key", "delete sim.grant", "delete sim.account"]
    );
    assert!(report.left[0].open.is_empty(), "nothing is left");
    assert!(stage.sim().existing().is_empty());
}

#[test]
fn what_could_not_be_reached_is_named_and_the_next_run_goes_on_with_it() {
    let stage = Stage::with(SimOptions::default().batch(1));
    stage.applied(guests(&["ada"]));
    let empty = stage.deploy(fleet());
    let plan = stage.plan(&empty);
    stage.world.outage("sim/grant delete");
    let report = stage.apply_plan(&empty, plan).unwrap();
    assert!(!report.is_complete());
    assert!(stage.sim().objects("sim.account")[0].suspended, "it is contained all the same");
    assert!(stage.sim().objects("sim.key").is_empty());
    let open: Vec<String> = report.left[0].open.keys().map(ToString::to_string).collect();
    assert_eq!(open, [format!("{ADA}.account"), format!("{ADA}.lobby")]);
    assert!(stage.state().agents.contains_key(&instance(ADA)), "it has not left");
    stage.world.heal();
    let report = stage.apply(&empty);
    assert!(report.left[0].open.is_empty());
    assert!(stage.sim().existing().is_empty());
}

#[test]
fn a_hold_freezes_the_engines_hand_until_it_ends() {
    let stage = Stage::new();
    let deployment = stage.applied(guests(&["ada", "bob"]));
    let actor = operator().actor;
    let until = "2027-01-05T00:00:00Z".parse().unwrap();
    stage.run(deployment.hold(&instance(ADA), "evidence", until, &actor)).unwrap();
    let hand = stage.sim().hand();
    for grant in stage.sim().objects("sim.grant") {
        hand.widen(&grant.id, "leave").unwrap();
    }
    let empty = stage.deploy(guests(&["bob"]));
    let plan = stage.plan(&empty);
    assert!(plan.steps.iter().all(|step| *step.address.instance() != instance(ADA)));
    assert_eq!(plan.blocked.len(), 1, "{:#?}", plan.blocked);
    assert!(plan.blocked[0].reason.contains("evidence"), "{}", plan.blocked[0].reason);
    stage.apply_plan(&empty, plan).unwrap();
    assert!(!stage.sim().objects("sim.account").iter().any(|account| account.suspended));
    assert!(stage.run(deployment.hold(&instance("nobody"), "x", until, &actor)).is_err());
    stage.run(deployment.release(&instance(ADA), &actor)).unwrap();
    let report = stage.apply(&empty);
    assert_eq!(report.left.len(), 1);
    stage.assert_clean(&empty);
}

#[test]
fn a_kill_needs_no_valid_fleet_and_outlasts_the_code() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu", "us"]));
    let mut broken = readers(&["eu", "us"]);
    broken.add(reader("eu"));
    let broken = stage.deploy(broken);
    assert!(broken.blueprint().is_err());
    let report = stage.run(broken.kill(&instance(EU), "it leaks", &operator())).unwrap();
    assert!(report.is_complete(), "{}", shown(&report));
    let suspended = |name: &str| {
        let id = stage.account(name);
        let accounts = stage.sim().objects("sim.account");
        accounts.iter().find(|account| account.id == id).unwrap().suspended
    };
    assert!(suspended("reader-eu") && !suspended("reader-us"));
    assert_eq!(stage.sim().objects("sim.key").len(), 1);
    // Though it is declared, no plan brings it back, also after its grace.
    let plan = stage.plan(&deployment);
    assert!(plan.is_empty(), "{:#?}", plan.steps);
    stage.days(8);
    stage.apply(&deployment);
    assert_eq!(stage.sim().objects("sim.account").len(), 1);
    assert!(stage.plan(&deployment).is_empty());
}

#[test]
fn a_killed_agent_comes_back_when_it_is_resumed() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu"]));
    let before = stage.secret("readers/eu/key").unwrap();
    stage.run(deployment.kill(&instance(EU), "it leaks", &operator())).unwrap();
    stage.run(deployment.resume(&instance(EU), &operator().actor)).unwrap();
    stage.apply(&deployment);
    stage.assert_clean(&deployment);
    assert!(!stage.sim().objects("sim.account")[0].suspended);
    let after = stage.secret("readers/eu/key").unwrap();
    assert!(!after.equals(&before), "the old value stays dead");
    let account = stage.account("reader-eu");
    assert!(stage.sim().accepts("sim.key", &account, &after));
    assert!(!stage.sim().accepts("sim.key", &account, &before));
}

#[test]
fn a_kill_contains_what_it_can_reach_and_the_next_run_goes_on() {
    let stage = Stage::with(SimOptions::default().batch(1));
    let deployment = stage.applied(readers(&["eu"]));
    stage.world.outage("sim/grant");
    let report = stage.run(deployment.kill(&instance(EU), "it leaks", &operator())).unwrap();
    assert!(!report.is_complete(), "{}", shown(&report));
    assert!(outcome(&report, &format!("{EU}.account")).is_done(), "{}", shown(&report));
    assert!(outcome(&report, &format!("{EU}.key")).is_done());
    assert!(!outcome(&report, &format!("{EU}.invoices")).is_done());
    assert!(stage.sim().objects("sim.account")[0].suspended);
    stage.world.heal();
    stage.apply(&deployment);
    assert!(stage.sim().objects("sim.grant").is_empty());
}

#[test]
fn a_kill_stops_what_is_protected() {
    let stage = Stage::new();
    let mut fleet = fleet();
    fleet.add(KeeperInputs {});
    let deployment = stage.applied(fleet);
    stage.run(deployment.kill(&instance("keeper"), "it leaks", &operator())).unwrap();
    assert!(stage.sim().objects("sim.account")[0].suspended);
    let head = stage.state().head;
    stage.try_apply(&deployment);
    assert_eq!(stage.state().head, head, "there is nothing more to do");
}

#[test]
fn what_is_protected_outlives_its_declaration() {
    let stage = Stage::new();
    let mut with = fleet();
    with.add(KeeperInputs {});
    stage.applied(with);
    let empty = stage.deploy(fleet());
    let plan = stage.plan(&empty);
    assert_eq!(plan.blocked.len(), 1);
    stage.apply_plan(&empty, plan).unwrap();
    assert_eq!(stage.sim().objects("sim.account").len(), 1);
    let head = stage.state().head;
    stage.try_apply(&empty);
    assert_eq!(stage.state().head, head, "there is nothing more to do");
}

#[test]
fn an_agent_expires_after_its_last_day_and_comes_back_when_it_is_extended() {
    let stage = Stage::new();
    let deployment = stage.applied(guests(&["ada"]));
    let now = || stage.plan(&deployment).observed_at;
    let end: jiff::Timestamp = "2027-07-01T00:00:00Z".parse().unwrap();
    let left = end.duration_since(now()).unsigned_abs();
    let minute = Duration::from_mins(1);
    stage.world.advance(left.saturating_sub(minute));
    stage.assert_clean(&deployment);
    stage.world.advance(minute);
    let report = stage.apply(&deployment);
    assert_eq!(report.left[0].cause, Cause::Expired);
    assert!(stage.sim().existing().is_empty());
    assert!(stage.plan(&deployment).is_empty(), "an expired agent is no work for every plan");
    let mut longer = fleet();
    longer.add(LongerGuestInputs { name: "ada".into() });
    let deployment = stage.applied(longer);
    assert_eq!(stage.sim().objects("sim.account").len(), 1);
    stage.assert_clean(&deployment);
}

#[test]
fn an_emptied_file_removes_nobody() {
    let stage = Stage::new();
    stage.applied(guests(&["a", "b", "c", "d"]));
    let empty = stage.deploy(fleet());
    let plan = stage.plan(&empty);
    assert!(plan.is_empty());
    assert!(plan.blocked[0].reason.contains("the cap is 3"));
    let allowed = PlanRequest { max_leaving: Some(4), ..PlanRequest::default() };
    let plan = stage.run(empty.plan(&allowed)).unwrap();
    let report = stage.apply_plan(&empty, plan).unwrap();
    assert_eq!(report.left.len(), 4);
    assert!(stage.sim().existing().is_empty());
}

#[test]
fn leavers_whose_credentials_cannot_be_tried_are_not_waited_for_one_by_one() {
    let stage = Stage::new();
    let names: Vec<String> = (0..20).map(|number| format!("guest-{number}")).collect();
    stage.applied(guests(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    let mut empty = fleet();
    empty.rules(Rules { max_leaving: Some(u32::MAX), ..Rules::default() });
    let empty = stage.deploy(empty);
    let saved = SavedPlan::new(stage.plan(&empty)).unwrap();
    let mut context = operator().acknowledging(saved.digest());
    stage.world.outage("sim/key probe");
    let (world, clock) = (stage.world.clone(), stage.world.clock());
    let (planned, begun) = (clock.now(), Arc::<std::sync::Mutex<_>>::default());
    let (noted, at) = (Arc::clone(&begun), Arc::clone(&clock));
    context.watch = Arc::new(move |progress| {
        if matches!(progress, Progress::RunBegun { .. }) {
            *noted.lock().unwrap() = Some(at.now());
            world.heal();
        }
    });
    let report = stage.run(empty.apply(&saved, &context)).unwrap();
    assert!(stage.sim().objects("sim.key").is_empty(), "{}", shown(&report));
    let took = begun.lock().unwrap().unwrap().duration_since(planned);
    // Each is tried four times, all of them together.
    assert!((1..3).contains(&took.as_secs()), "{took:?}");
}
