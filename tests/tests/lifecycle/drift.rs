//! What changes behind the engine's back.

use agent_iac::diff::Compared;

use super::*;

fn invoices(stage: &Stage) -> agent_iac::provider::Object {
    let wanted = Some("invoices/eu".into());
    let grants = stage.sim().objects("sim.grant");
    grants.into_iter().find(|grant| grant.value("on") == wanted.as_ref()).unwrap()
}

fn allowed(stage: &Stage) -> String {
    invoices(stage).value("allow").unwrap().to_string()
}

#[test]
fn drift_is_reported_field_by_field_with_what_it_does_to_access() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu"]));
    stage.sim().hand().widen(&invoices(&stage).id, "delete").unwrap();
    let id = stage.account("reader-eu");
    stage.sim().hand().set::<sim::Account>(&id, "note", "by hand").unwrap();
    let plan = stage.plan(&deployment);
    let of = |field: &str| plan.drift.iter().find(|d| d.address.resource() == field).unwrap();
    let note = &of("account").fields["note"];
    assert_eq!(note.recorded, "first".into());
    assert_eq!(note.observed, Compared::Differs("by hand".into()));
    let gained: Vec<String> =
        of("invoices").access.gained.iter().map(ToString::to_string).collect();
    assert_eq!(gained, [format!("{EU}.account may delete invoices/eu")]);
    stage.apply_plan(&deployment, plan).unwrap();
    assert_eq!(allowed(&stage), r#"["read"]"#);
    stage.assert_clean(&deployment);
}

#[test]
fn drift_that_widens_is_taken_back_while_nobody_watches() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu"]));
    stage.sim().hand().widen(&invoices(&stage).id, "delete").unwrap();
    let report = stage.run(deployment.revert_drift(&operator())).unwrap();
    assert_eq!(shown(&report), format!("update {EU}.invoices: done"));
    assert_eq!(allowed(&stage), r#"["read"]"#);
    stage.assert_clean(&deployment);
}

#[test]
fn drift_of_a_grant_whose_object_was_known_only_after_apply_is_taken_back_too() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu"]));
    let grants = stage.sim().objects("sim.grant");
    let log = grants.iter().find(|grant| {
        grant.value("on").and_then(|on| on.as_text()).is_some_and(|on| on.starts_with("log-of-"))
    });
    stage.sim().hand().widen(&log.unwrap().id, "delete").unwrap();
    let plan = stage.plan(&deployment);
    assert_eq!(plan.verdict(), agent_iac::access::Verdict::Narrows, "{:#?}", plan.steps);
    // It says nothing about drift, so it is left for a plan.
    let report = stage.run(deployment.revert_drift(&operator())).unwrap();
    assert!(report.steps.is_empty(), "{}", shown(&report));
    stage.apply(&deployment);
    stage.assert_clean(&deployment);
}

#[test]
fn drift_that_narrows_is_left_alone_while_nobody_watches() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu"]));
    stage.sim().hand().narrow(&invoices(&stage).id, "read").unwrap();
    stage.sim().hand().suspend(&stage.account("reader-eu")).unwrap();
    let head = stage.state().head;
    let report = stage.run(deployment.revert_drift(&operator())).unwrap();
    assert!(report.steps.is_empty(), "{}", shown(&report));
    assert_eq!(stage.state().head, head, "nothing to do writes nothing");
    assert_eq!(allowed(&stage), "[]");
    // A plan that somebody reads brings it back.
    stage.apply(&deployment);
    stage.assert_clean(&deployment);
}

#[test]
fn drift_that_widens_and_narrows_at_once_is_left_for_a_plan() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu"]));
    let id = invoices(&stage).id;
    stage.sim().hand().widen(&id, "delete").unwrap();
    stage.sim().hand().narrow(&id, "read").unwrap();
    let report = stage.run(deployment.revert_drift(&operator())).unwrap();
    assert!(report.steps.is_empty(), "giving `read` back would widen: {}", shown(&report));
}

#[test]
fn a_key_and_a_grant_that_were_planted_are_taken_away_where_all_is_ours() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu"]));
    let account = stage.account("reader-eu");
    let (planted, _) = stage.sim().hand().key(&account).unwrap();
    stage.sim().hand().grant(&account, "secrets", &["read"]).unwrap();
    let report = stage.run(deployment.revert_drift(&operator())).unwrap();
    assert!(report.is_complete(), "{}", shown(&report));
    assert_eq!(report.steps.len(), 2, "{}", shown(&report));
    assert!(stage.sim().objects("sim.key").iter().all(|key| key.id != planted));
    assert_eq!(stage.sim().objects("sim.grant").len(), 2);
    stage.assert_clean(&deployment);
}

#[test]
fn what_was_planted_is_only_reported_where_not_all_is_ours() {
    let stage = Stage::new();
    let mut fleet = readers(&["eu"]);
    fleet.provider("sim", Reach::Declared);
    let deployment = stage.applied(fleet);
    stage.sim().hand().key(&stage.account("reader-eu")).unwrap();
    let report = stage.run(deployment.revert_drift(&operator())).unwrap();
    assert!(report.steps.is_empty());
    let plan = stage.plan(&deployment);
    assert!(plan.is_empty());
    assert_eq!(plan.undeclared.len(), 1);
}

#[test]
fn an_account_that_is_nobodys_is_reported_and_never_deleted() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu"]));
    stage.sim().hand().account("stranger", None).unwrap();
    let plan = stage.plan(&deployment);
    assert!(plan.is_empty(), "{:#?}", plan.steps);
    assert_eq!(plan.undeclared.len(), 1);
    assert_eq!(plan.undeclared[0].instance, None);
}

#[test]
fn what_cannot_be_read_is_never_called_clean() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu"]));
    stage.world.outage("sim/grant read");
    let plan = stage.plan(&deployment);
    assert!(plan.is_empty() && !plan.is_clean());
    assert_eq!(plan.unread.len(), 2);
    stage.world.heal();
    stage.assert_clean(&deployment);
}
