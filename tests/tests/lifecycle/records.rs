//! What the ledger says: nothing twice, moved, forgotten and adopted.

use super::*;

/// A reader whose account has another field name, and without a log.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2027-06-30", name = "reader")]
struct Renamed {
    #[input(key)]
    tenant: String,

    #[identity(name = format!("reader-{tenant}"), note = "first")]
    identity: sim::Account,

    #[permission(to = identity, on = format!("invoices/{tenant}"), allow = ["read"])]
    invoices: sim::Grant,

    #[permission(to = identity, on = format!("log-of-{}", identity.id()), allow = ["append"])]
    log: sim::Grant,

    #[credential(of = identity, deliver = format!("vault:readers/{tenant}/key"))]
    key: sim::Key,
}

/// A reader without its log.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2027-06-30", name = "reader")]
struct Smaller {
    #[input(key)]
    tenant: String,

    #[identity(name = format!("reader-{tenant}"), note = "first", on_drift = OnDrift::RevertWidening)]
    account: sim::Account,

    #[permission(to = account, on = format!("invoices/{tenant}"), allow = ["read"])]
    invoices: sim::Grant,

    #[credential(of = account, deliver = format!("vault:readers/{tenant}/key"))]
    key: sim::Key,
}

/// An account that somebody else writes notes about.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2027-06-30")]
struct Shared {
    #[input]
    home: String,

    #[identity(name = "shared", note = "ours at first", home = home, ignore = ["home"])]
    account: sim::Account,
}

#[test]
fn a_second_apply_writes_nothing_at_all() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu", "us"]));
    let (head, effects) = (stage.state().head, stage.sim().effects().len());
    let report = stage.apply(&deployment);
    assert_eq!(report.run, None);
    assert_eq!((stage.state().head, stage.sim().effects().len()), (head, effects));
}

#[test]
fn a_moved_resource_keeps_its_object_and_its_history() {
    let stage = Stage::new();
    stage.applied(readers(&["eu"]));
    let (id, secret) = (stage.account("reader-eu"), stage.secret("readers/eu/key").unwrap());
    let effects = stage.sim().effects().len();
    let mut fleet = fleet();
    fleet.add(RenamedInputs { tenant: "eu".into() });
    fleet.moved(address(&format!("{EU}.account")), address(&format!("{EU}.identity")));
    let deployment = stage.deploy(fleet);
    stage.apply(&deployment);
    stage.apply(&deployment);
    stage.assert_clean(&deployment);
    let recorded = stage.state();
    assert_eq!(recorded.object(&address(&format!("{EU}.identity"))).unwrap().id, id);
    assert!(recorded.object(&address(&format!("{EU}.account"))).is_none());
    assert!(stage.secret("readers/eu/key").unwrap().equals(&secret));
    let changed: Vec<_> =
        stage.sim().effects()[effects..].iter().map(|e| (e.operation, e.resource_type)).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn a_resource_that_is_no_longer_managed_stays_as_it_is() {
    let stage = Stage::new();
    stage.applied(readers(&["eu"]));
    let mut fleet = fleet();
    fleet.provider("sim", Reach::Declared);
    fleet.add(SmallerInputs { tenant: "eu".into() });
    fleet.removed(address(&format!("{EU}.log")));
    let deployment = stage.deploy(fleet);
    let grants = stage.sim().objects("sim.grant");
    for grant in &grants {
        stage.sim().hand().take_over::<sim::Grant>(&grant.id);
    }
    stage.apply(&deployment);
    assert_eq!(stage.sim().objects("sim.grant"), grants);
    let plan = stage.plan(&deployment);
    assert!(plan.is_empty(), "{:#?}", plan.steps);
    assert_eq!(plan.undeclared.len(), 1, "it is seen for what it is: nobody's");
}

#[test]
fn an_imported_object_is_adopted_as_it_is_and_brought_to_the_declaration_then() {
    let stage = Stage::new();
    let id = stage.sim().hand().account("reader-eu", None).unwrap();
    let blocked = stage.plan(&stage.deploy(readers(&["eu"])));
    assert!(blocked.blocked[0].repair.contains(&format!("{id:?}")), "{:?}", blocked.blocked[0]);
    let mut fleet = readers(&["eu"]);
    fleet.import(address(&format!("{EU}.account")), id.as_str());
    let deployment = stage.deploy(fleet);
    stage.apply(&deployment);
    assert_eq!(stage.account("reader-eu"), id);
    stage.apply(&deployment);
    assert_eq!(stage.sim().objects("sim.account")[0].value("note"), Some(&"first".into()));
    stage.assert_clean(&deployment);
}

#[test]
fn an_ignored_property_is_theirs_after_the_object_is_made() {
    let stage = Stage::new();
    let mut first = fleet();
    first.add(SharedInputs { home: "eu".into() });
    stage.applied(first);
    let mut second = fleet();
    second.add(SharedInputs { home: "us".into() });
    let deployment = stage.deploy(second);
    stage.assert_clean(&deployment);
    let id = stage.account("shared");
    stage.sim().hand().set::<sim::Account>(&id, "note", "theirs").unwrap();
    stage.apply(&deployment);
    let account = &stage.sim().objects("sim.account")[0];
    assert_eq!(account.value("home"), Some(&"eu".into()), "what was read was given back");
    assert_eq!(account.value("note"), Some(&"ours at first".into()));
    stage.assert_clean(&deployment);
}

#[test]
fn generations_only_ever_grow() {
    let stage = Stage::new();
    let deployment = stage.applied(readers(&["eu"]));
    let at = address(&format!("{EU}.key"));
    let generation = |stage: &Stage| {
        let recorded = stage.state();
        let record = &recorded.records[&at];
        (
            record.object.as_ref().unwrap().credential.as_ref().unwrap().generation,
            record.generations,
        )
    };
    assert_eq!(generation(&stage), (1, 1));
    for round in 2..5 {
        let key = stage.sim().objects("sim.key").remove(0);
        stage.sim().hand().delete::<sim::Key>(&key.id).unwrap();
        stage.apply(&deployment);
        assert_eq!(generation(&stage), (round, round));
        stage.assert_clean(&deployment);
    }
}
