use super::{super::world as sim, *};
use crate::{
    Agent,
    agent::OnDrift,
    apply::RunContext,
    deployment::{Deployment, PlanRequest, RotateRequest},
    error::ErrorKind,
    fleet::{Fleet, Rules},
    ledger::Actor,
    plan::{Plan, SavedPlan},
    provider::Reach,
    rotation::FleetTerms,
};

/// Serves, with others like it.
#[derive(Agent, Debug)]
#[agent(owner = "team:year", expires = "2099-12-31", grace = "0d", name = "replica")]
struct Replica {
    #[input(key)]
    number: String,

    #[identity(name = format!("replica-{number}"))]
    account: sim::Account,

    #[permission(
        to = account,
        on = "served",
        allow = ["read"],
        on_drift = OnDrift::RevertWidening,
    )]
    serves: sim::Grant,

    #[credential(
        of = account,
        deliver = format!("vault:replica/{number}"),
        rotate = "7d",
        overlap = "6h",
        group = "replicas",
        consumers = ["app"],
    )]
    key: sim::Key,
}

fn replicas(rate: Option<&str>) -> Fleet {
    let mut fleet = Fleet::new("replicas");
    fleet.provider("sim", Reach::Exclusive).store("vault");
    let mut rotation = FleetTerms::default();
    if let Some(rate) = rate {
        rotation.rates.insert("sim".into(), rate.into());
    }
    fleet.rules(Rules { rotation, ..Rules::default() });
    for number in 0..3 {
        fleet.add(ReplicaInputs { number: number.to_string() });
    }
    fleet
}

#[track_caller]
fn kept(year: Year) -> Played {
    let played = year.play().unwrap();
    let trace: Vec<&str> = played.trace().collect();
    assert!(played.broken().is_empty(), "{played}\n{}", trace.join("\n"));
    played
}

#[test]
fn members_of_a_group_take_turns_and_every_one_has_one() {
    let played = kept(Year::of(replicas(None)).lasting(day(60)).runners(2, hours(1)));
    assert!(played.counts().rotations >= 3 * 8, "{played}");
}

#[test]
fn a_rate_is_kept_by_two_runners_of_which_one_stands_still() {
    let mut year = Year::of(replicas(Some("1/2h"))).lasting(day(60)).runners(2, hours(1));
    for week in 1..8 {
        year = year.runner_stalls(day(7 * week - 1), Duration::from_mins(50));
    }
    let played = kept(year);
    assert!(played.counts().rotations >= 3 * 7, "{played}");
}

#[test]
fn a_year_goes_on_through_mishaps_and_says_what_happened() {
    let played = kept(
        Year::of(replicas(None))
            .lasting(day(60))
            .seed(3)
            .faults(30)
            .outage("sim", day(20), hours(20))
            .outage("ledger", day(34), hours(2))
            .runner_dies(day(6), hours(1))
            .runner_dies(day(27), hours(3))
            .slow("app", hours(9))
            .by_hand("sim", day(15), |system| {
                let grant = &system.objects("sim.grant")[0];
                system.hand().widen(&grant.id, "write").unwrap();
            }),
    );
    let trace: Vec<&str> = played.trace().collect();
    let says = |what: &str| assert!(trace.iter().any(|line| line.contains(what)), "{trace:#?}");
    says("`sim` does not answer");
    says("dies");
    says("drift is taken back");
    says("generation 3 is promoted");
    assert_eq!(played.counts().deaths, 2);
    assert!(played.counts().faults > 0);
}

#[test]
fn a_consumer_that_never_confirms_keeps_what_it_uses() {
    let played = kept(Year::of(replicas(None)).lasting(day(40)).silent("app"));
    assert!(played.counts().rotations > 0 && played.counts().revoked == 0, "{played}");
    assert!(played.trace().any(|line| line.contains("kept past its time for app")));
}

#[test]
fn who_reads_a_place_more_seldom_than_the_overlap_is_cut_off() {
    let year = Year::of(replicas(None)).lasting(day(40));
    let played = year.clone().keeps("report", "replica[\"1\"].key", hours(5)).play().unwrap();
    played.assert(Promise::NobodyIsCutOff).unwrap();
    let played = year.keeps("report", "replica[\"1\"].key", day(2)).play().unwrap();
    let broken = played.assert(Promise::NobodyIsCutOff).unwrap_err().to_string();
    for part in ["nobody is cut off", "`report`, who reads it every", "is promoted", "seed 0"] {
        assert!(broken.contains(part), "{broken}");
    }
}

#[test]
fn what_the_fleet_does_not_have_cannot_fail() {
    let year = Year::of(replicas(None));
    assert!(year.clone().outage("simm", day(1), hours(1)).play().is_err());
    assert!(year.keeps("report", "replica.key", hours(1)).play().is_err());
}

#[test]
fn a_plan_for_all_rotates_one_of_a_group_and_says_what_the_others_wait_for() {
    let world = sim::World::new(1);
    let deployment =
        Deployment::new(replicas(None), "test", world.ledger("replicas", "test"), world.entropy())
            .with_clock(world.clock())
            .with_provider("sim", Arc::new(world.provider("sim")))
            .with_store("vault", world.store("vault"));
    let context = RunContext::new(Actor::asserted("test", "somebody"));
    let apply = |plan: Plan| {
        let saved = SavedPlan::new(plan).unwrap();
        let context = context.clone().acknowledging(saved.digest());
        world.run(deployment.apply(&saved, &context)).finished()
    };
    apply(world.run(deployment.plan(&PlanRequest::default())).finished().unwrap()).unwrap();

    let all = RotateRequest::now([]);
    let plan = || world.run(deployment.plan_rotation(&all)).finished().unwrap();
    let (first, again) = (plan(), plan());
    let rotated: Vec<String> = first.steps.iter().map(|step| step.address.to_string()).collect();
    assert_eq!(rotated, ["replica[\"0\"].key"]);
    let blocked: Vec<(String, &str)> =
        first.blocked.iter().map(|b| (b.address.to_string(), &*b.reason)).collect();
    let why = "`replica[\"0\"].key` of its redundancy group `replicas` is in transition";
    assert_eq!(
        blocked,
        [("replica[\"1\"].key".to_owned(), why), ("replica[\"2\"].key".to_owned(), why)]
    );
    assert_eq!(first.versions.len(), 3, "it rests on all members");
    apply(first).unwrap();
    let error = apply(again).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StalePlan, "{error}");

    let plan = plan();
    assert!(plan.steps.is_empty(), "the old one stands beside the new one");
    assert_eq!(plan.blocked.len(), 3);
}
