//! What is known only after apply, and what comes back.

use super::*;

/// Writes into the log of a reader.
#[derive(Agent, Debug)]
#[agent(owner = "team:audit", expires = "2027-06-30")]
struct Auditor {
    #[input]
    of: agent_iac::resource::Ref<sim::Account>,

    #[identity(name = "auditor", note = format!("audits {}", of.id()))]
    account: sim::Account,

    #[permission(to = account, on = format!("log-of-{}", of.id()), allow = ["read"])]
    log: sim::Grant,
}

#[test]
fn an_output_inside_text_is_filled_in_when_it_is_known() {
    let stage = Stage::new();
    let deployment = stage.deploy(readers(&["eu"]));
    let plan = stage.plan(&deployment);
    let log = plan.steps.iter().find(|step| step.address.resource() == "log").unwrap();
    let target = log.target.as_ref().unwrap();
    assert_eq!(target.properties["on"].shown(), r#""log-of-(reader["eu"].account.id)""#);
    stage.apply_plan(&deployment, plan).unwrap();
    let id = stage.account("reader-eu");
    let objects = stage.state().object(&address(&format!("{EU}.log"))).cloned().unwrap();
    assert_eq!(objects.properties["on"].as_text(), Some(format!("log-of-{id}").as_str()));
    stage.assert_clean(&deployment);
}

#[test]
fn instances_of_one_agent_stand_side_by_side_and_change_alone() {
    let stage = Stage::new();
    stage.applied(readers(&["eu", "us"]));
    let mut fleet = fleet();
    fleet.add(reader("eu"));
    fleet.add(ReaderInputs { note: "second".into(), ..reader("us") });
    let report = stage.apply(&stage.deploy(fleet));
    assert_eq!(shown(&report), r#"update reader["us"].account: done"#);
}

#[test]
fn an_agent_refers_to_another_ones_outputs() {
    let stage = Stage::new();
    let mut fleet = fleet();
    let eu = fleet.add(reader("eu"));
    let auditor = fleet.add(AuditorInputs { of: eu.account().clone() });
    let deployment = stage.applied(fleet);
    let auditor = stage.run(deployment.agent(&auditor)).unwrap();
    let id = stage.account("reader-eu");
    assert_eq!(auditor.account.note, Some(format!("audits {id}")));
    assert_eq!(auditor.log.on, format!("log-of-{id}"));
    assert_eq!(auditor.log.to.target(), stage.account("auditor"));
}

#[test]
fn the_struct_comes_back_filled_and_says_what_does_not_exist_yet() {
    let stage = Stage::new();
    let mut fleet = fleet();
    let eu = fleet.add(reader("eu"));
    let deployment = stage.deploy(fleet);
    let error = stage.run(deployment.agent(&eu)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    stage.apply(&deployment);
    let live: Reader = stage.run(deployment.agent(&eu)).unwrap();
    assert_eq!((live.tenant.as_str(), live.note.as_str()), ("eu", "first"));
    assert_eq!(live.account.name, "reader-eu");
    assert_eq!(live.account.id, stage.account("reader-eu"));
    assert_eq!(live.invoices.allow, BTreeSet::from(["read".to_owned()]));
    assert_eq!(live.key.of.target(), live.account.id);
    let text = format!("{live:?}");
    let secret = stage.secret("readers/eu/key").unwrap();
    assert!(!secret.expose(|value| text.contains(&String::from_utf8_lossy(value).into_owned())));
}
