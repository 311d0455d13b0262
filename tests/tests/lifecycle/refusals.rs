//! Plans that are not applied, and why.

use agent_iac::ledger::{Append, Entry, PlanEvent, RunId, Take};

use super::*;

#[track_caller]
fn refused(result: Result<Report>, kind: ErrorKind) -> agent_iac::Error {
    let error = result.expect_err("it is refused");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.repair().is_some(), "it says what to do: {error}");
    error
}

#[test]
fn a_plan_is_refused_when_a_record_has_moved_and_names_it() {
    let stage = Stage::new();
    let deployment = stage.deploy(readers(&["eu"]));
    let plan = stage.plan(&deployment);
    stage.apply(&deployment);
    let error = refused(stage.apply_plan(&deployment, plan), ErrorKind::StalePlan);
    assert!(error.message().contains(r#"reader["eu"].account from version 0 to"#), "{error}");
}

#[test]
fn a_plan_is_refused_when_what_it_saw_has_changed_just_before_the_write() {
    for checks in [true, false] {
        let stage = Stage::with(SimOptions::default().checks_seen(checks));
        stage.applied(readers(&["eu"]));
        let mut fleet = fleet();
        fleet.add(ReaderInputs { note: "second".into(), ..reader("eu") });
        let deployment = stage.deploy(fleet);
        let plan = stage.plan(&deployment);
        let id = stage.account("reader-eu");
        stage.sim().hand().set::<sim::Account>(&id, "note", "by hand").unwrap();
        let report = stage.apply_plan(&deployment, plan).unwrap();
        let Outcome::Failed(error) = outcome(&report, &format!("{EU}.account")) else {
            panic!("{}", shown(&report));
        };
        assert_eq!(error.kind(), ErrorKind::StalePlan, "{error:?}");
        assert_eq!(stage.sim().objects("sim.account")[0].value("note"), Some(&"by hand".into()));
        stage.apply(&deployment);
        stage.assert_clean(&deployment);
    }
}

#[test]
fn a_plan_is_refused_when_its_observations_are_too_old_and_that_is_recorded() {
    let stage = Stage::new();
    let deployment = stage.deploy(readers(&["eu"]));
    let plan = stage.plan(&deployment);
    stage.world.advance(Duration::from_secs(3_599));
    let head = stage.state().head.sequence;
    stage.world.advance(Duration::from_secs(2));
    let error = refused(stage.apply_plan(&deployment, plan), ErrorKind::StalePlan);
    assert!(error.message().contains("seconds ago, and may be 3600 old"), "{error}");
    assert!(stage.sim().effects().is_empty());
    assert_eq!(stage.state().head.sequence, head + 1, "the refusal is in the ledger");
}

#[test]
fn a_plan_is_refused_without_its_digest() {
    let stage = Stage::new();
    let deployment = stage.deploy(readers(&["eu"]));
    let saved = SavedPlan::new(stage.plan(&deployment)).unwrap();
    let other = agent_iac::value::Digest::of_bytes(b"another plan");
    for context in [operator(), operator().acknowledging(other)] {
        let error = refused(stage.run(deployment.apply(&saved, &context)), ErrorKind::Refused);
        assert!(error.message().contains(&saved.digest().to_string()), "{error}");
    }
    assert!(stage.sim().effects().is_empty());
}

#[test]
fn a_plan_of_another_fleet_or_environment_is_refused() {
    let stage = Stage::new();
    let deployment = stage.deploy(readers(&["eu"]));
    for change in [
        |plan: &mut Plan| plan.fleet = "mail".into(),
        |plan: &mut Plan| {
            plan.environment = "production".into();
        },
    ] {
        let mut plan = stage.plan(&deployment);
        change(&mut plan);
        refused(stage.apply_plan(&deployment, plan), ErrorKind::Foreign);
    }
}

#[test]
fn a_plan_for_another_target_is_refused() {
    let stage = Stage::new();
    let deployment = stage.deploy(readers(&["eu"]));
    let mut plan = stage.plan(&deployment);
    plan.targets.insert("sim".into(), "sim:clone".into());
    let error = refused(stage.apply_plan(&deployment, plan), ErrorKind::StalePlan);
    assert!(
        error.message().contains("sim:sim") && error.message().contains("sim:clone"),
        "{error}"
    );
}

#[test]
fn a_lease_that_another_run_holds_names_it_and_holds_no_other_agent_up() {
    let stage = Stage::new();
    stage.applied(readers(&["eu", "us"]));
    let somebody = operator().actor;
    let digest = agent_iac::value::Digest::of_bytes(b"their plan");
    let held = Append {
        entries: vec![Entry::new(PlanEvent::Acknowledged { digest, actor: somebody })],
        take: Some(Take {
            run: RunId::random(&*stage.world.entropy()),
            instances: vec![instance(EU)],
            holder: "ci-7 process 4211".into(),
            ttl: Duration::from_mins(1),
            force: false,
        }),
        ..Append::default()
    };
    let changed = |tenant: &str| {
        let mut fleet = fleet();
        for each in ["eu", "us"] {
            let note = if each == tenant { "second" } else { "first" };
            fleet.add(ReaderInputs { note: note.into(), ..reader(each) });
        }
        fleet
    };
    let (eu, us) = (stage.deploy(changed("eu")), stage.deploy(changed("us")));
    let ledger = Arc::clone(&stage.ledger);
    // In one process, so that the lease does not die with it.
    let (first, second) = stage.run(async move {
        ledger.append(held).await.unwrap();
        let apply = async |deployment: &Deployment| {
            let plan = deployment.plan(&PlanRequest::default()).await.unwrap();
            let saved = SavedPlan::new(plan).unwrap();
            deployment.apply(&saved, &operator().acknowledging(saved.digest())).await
        };
        (apply(&eu).await, apply(&us).await)
    });
    let error = refused(first, ErrorKind::LeaseHeld);
    let text = error.to_string();
    assert!(text.contains("ci-7 process 4211") && text.contains(EU), "{text}");
    assert!(text.contains("since"), "it says since when: {text}");
    assert!(second.unwrap().is_complete());
}

#[test]
fn a_ledger_of_another_fleet_is_refused() {
    let stage = Stage::new();
    stage.applied(readers(&["eu"]));
    let other = stage.deploy(Fleet::new("mail"));
    let error = stage.run(other.plan(&PlanRequest::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Foreign);
}
