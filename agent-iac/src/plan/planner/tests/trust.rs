//! What was read, and how far it can be relied on.

use expect_test::expect;

use super::*;

#[test]
fn a_field_that_is_hidden_unreadable_or_unsupported_is_unread_and_no_change() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.read("a.account", "note", Reading::Redacted);
    rig.read("a.account", "home", Reading::Unsupported);
    rig.read("a.grant", "allow", Reading::Unreadable("the server answered 403".into()));
    let plan = check(
        &rig,
        expect![[r#"
        unread a.account: `note`: the system hides it
        unread a.grant: `allow`: the server answered 403
        unchanged 3
    "#]],
    );
    assert!(plan.is_empty() && !plan.is_clean());
}

#[test]
fn a_property_that_the_system_does_not_have_is_unread_when_it_is_wanted() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.property("a.account", "home", known("here"));
    rig.read("a.account", "home", Reading::Unsupported);
    check(
        &rig,
        expect![[r#"
        unread a.account: `home`: the system has no such property
        unchanged 3
    "#]],
    );
}

#[test]
fn an_object_that_could_not_be_read_stays_as_it_is_and_so_does_what_needs_it() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.see("a.account", Observation::Unread("the server is down".into()));
    rig.property("a.grant", "allow", words(&["read"]));
    check(
        &rig,
        expect![[r#"
        blocked a.grant: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        blocked a.key: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        unread a.account: it could not be read: the server is down
        unchanged 0
    "#]],
    );
}

#[test]
fn an_object_that_could_not_be_read_and_is_not_recorded_is_not_made() {
    let mut rig = Rig::new(fleet(vec![small("a")]));
    rig.see("a.account", Observation::Unread("the server is down".into()));
    check(
        &rig,
        expect![[r#"
        agent a is declared
        blocked a.account: it could not be read: the server is down; make it readable, and plan again
        blocked a.grant: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        blocked a.key: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        unread a.account: it could not be read: the server is down
        unchanged 0
    "#]],
    );
}

#[test]
fn an_object_that_could_not_be_read_is_not_removed() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.see("a.grant", Observation::Unread("the server is down".into()));
    rig.fleet.agents[0].resources.retain(|resource| resource.field != "grant");
    check(
        &rig,
        expect![[r#"
        blocked a.grant: it could not be read: the server is down; make it readable, and plan again
        unread a.grant: it could not be read: the server is down
        unchanged 2
    "#]],
    );
}

#[test]
fn an_ignored_property_is_never_compared_reported_or_recorded() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.declare("a.account").terms.ignore(["note"]);
    rig.read("a.account", "note", Reading::Known("theirs".into()));
    let plan = check(
        &rig,
        expect![[r#"
        unchanged 3
    "#]],
    );
    assert!(plan.is_clean());
}

#[test]
fn an_update_gives_an_ignored_property_back_as_it_was_read() {
    let mut rig = Rig::applied(fleet(vec![agent(
        "a",
        vec![
            resource::<Account>("account", &[("name", known("a"))]),
            resource::<Job>(
                "job",
                &[("name", known("j")), ("run_as", link("a.account")), ("command", known("first"))],
            ),
        ],
    )]));
    rig.declare("a.job").terms.ignore(["command"]);
    rig.read("a.job", "command", Reading::Known("theirs".into()));
    rig.property("a.account", "note", known("second"));
    rig.declare("a.account").terms.ignore(["home"]);
    rig.read("a.account", "home", Reading::Known("moved by hand".into()));
    let plan = check(
        &rig,
        expect![[r#"
        0 update a.account: it differs from the declaration; low
            note: null → "second"
        unchanged 1
    "#]],
    );
    let target = plan.steps[0].target.as_ref().unwrap();
    assert_eq!(target.properties["home"], known("moved by hand"));
    assert_eq!(target.properties["note"], known("second"));
}

#[test]
fn an_ignored_property_is_declared_once_when_the_object_is_made() {
    let mut rig = Rig::new(fleet(vec![small("a")]));
    rig.declare("a.account").terms.ignore(["note"]);
    let plan = rig.plan();
    assert_eq!(plan.steps[0].target.as_ref().unwrap().properties["note"], known("n"));
}

#[test]
fn an_update_is_blocked_while_an_ignored_property_cannot_be_given_back() {
    for reading in [Reading::Redacted, Reading::Unreadable("the server answered 403".into())] {
        let mut rig = Rig::applied(fleet(vec![small("a")]));
        rig.declare("a.account").terms.ignore(["home"]);
        rig.property("a.account", "note", known("second"));
        rig.read("a.account", "home", reading.clone());
        let plan = rig.plan();
        assert!(plan.steps.is_empty(), "{reading:?}: {}", shown(&plan));
        let reason = &plan.blocked[0].reason;
        assert!(reason.starts_with("it differs, and `home`, which others manage"), "{reason}");
    }
}

#[test]
fn an_ignored_property_that_the_system_does_not_have_blocks_nothing() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.declare("a.account").terms.ignore(["home"]);
    rig.property("a.account", "note", known("second"));
    rig.read("a.account", "home", Reading::Unsupported);
    check(
        &rig,
        expect![[r#"
        0 update a.account: it differs from the declaration; low
            note: "n" → "second"
        unchanged 2
    "#]],
    );
}

#[test]
fn an_account_that_somebody_else_suspended_is_drift_and_resumed_by_a_plan() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.real("a.account").suspended = true;
    check(
        &rig,
        expect![[r#"
        0 resume a.account: it differs from the declaration; widens
        drift a.account, keeps: suspended
        unchanged 2
    "#]],
    );
}

#[test]
fn what_cannot_be_changed_by_us_is_blocked_with_the_reason_and_drift_is_told() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.read("a.grant", "allow", Reading::Known(["read", "write"].into_iter().collect()));
    rig.real("a.grant").obstacle = Some("bob granted it".into());
    check(
        &rig,
        expect![[r#"
            blocked a.grant: it is not as declared, and cannot be changed: bob granted it; see to it in its system, and plan again
            drift a.grant, widens: allow ["list","read"] → ["read","write"]
            unchanged 2
        "#]],
    );
}

#[test]
fn what_is_in_the_way_of_a_change_is_in_the_way_of_nothing_else() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.real("a.grant").obstacle = Some("bob granted it".into());
    assert!(rig.plan().is_clean(), "{}", shown(&rig.plan()));
}

#[test]
fn what_cannot_be_removed_by_us_stays_and_so_does_what_it_stands_on() {
    let mut rig = Rig::applied(fleet(vec![small("a"), small("b")]));
    for (at, field) in [("a.grant", "grant"), ("a.key", "key")] {
        rig.real(at).obstacle = Some("bob granted it".into());
        rig.fleet.agents[0].resources.retain(|resource| resource.field != field);
    }
    check(
        &rig,
        expect![[r#"
            blocked a.grant: it cannot be removed: bob granted it; see to it in its system, and plan again
            blocked a.key: it cannot be removed: bob granted it; see to it in its system, and plan again
            unchanged 4
        "#]],
    );
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.real("a.grant").obstacle = Some("bob granted it".into());
    rig.agent("a").leaving = Some(Leaving {
        cause: Cause::Removed,
        since: at("2027-01-01T00:00:00Z"),
        batch: 1,
        ended: false,
    });
    rig.real("a.account").suspended = true;
    rig.undeclare("a");
    check(
        &rig,
        expect![[r#"
            0 delete a.key: its agent was removed from the fleet; narrows
            blocked a.account: `a.grant` needs it, and stays as it is; see to `a.grant` first
            blocked a.grant: it cannot be removed: bob granted it; see to it in its system, and plan again
            drift a.account, keeps: suspended
            unchanged 0
        "#]],
    );
}

#[test]
fn an_object_that_was_replaced_and_cannot_be_removed_is_blocked() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    let mut old = rig.recorded("a.grant").clone();
    old.id = "old".into();
    rig.record("a.grant").deposed.push(old.into());
    let mut real = found::<Grant>("old", &[("to", "id-a.account".into())]);
    real.obstacle = Some("bob granted it".into());
    rig.seen.deposed.insert((address("a.grant"), "old".into()), Observation::Present(real));
    check(
        &rig,
        expect![[r#"
            blocked a.grant: it cannot be removed: bob granted it; see to it in its system, and plan again
            unchanged 3
        "#]],
    );
}

#[test]
fn what_was_planted_and_cannot_be_removed_is_reported_and_blocked() {
    let mut rig = planted(Reach::Exclusive);
    for found in &mut rig.seen.undeclared {
        found.object.obstacle = Some("bob granted it".into());
    }
    let plan = check(
        &rig,
        expect![[r#"
            blocked a.?sim.grant/id-g: it cannot be removed: bob granted it; see to it in its system, and plan again
            blocked a.?sim.key/id-k: it cannot be removed: bob granted it; see to it in its system, and plan again
            undeclared sim.grant id-g of a
            undeclared sim.key id-k of a
            undeclared sim.account id-x of nobody
            unchanged 3
        "#]],
    );
    assert!(!plan.is_clean());
}

fn plant(rig: &mut Rig, of: Option<&str>, ty: &str, object: Object) {
    rig.seen.undeclared.push(Undeclared {
        instance: of.map(instance),
        provider: "sim".into(),
        resource_type: ty.into(),
        object,
        access: crate::access::Access::exactly([crate::access::Tuple::allow("x", "read", "y")]),
    });
}

fn planted(reach: Reach) -> Rig {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.fleet.provider("sim", reach);
    let grant = [("to", Value::from("id-a.account")), ("on", "secrets".into())];
    plant(&mut rig, Some("a"), "sim.grant", found::<Grant>("id-g", &grant));
    plant(&mut rig, Some("a"), "sim.key", found::<Key>("id-k", &[("of", "id-a.account".into())]));
    plant(&mut rig, None, "sim.account", found::<Account>("id-x", &[("name", "x".into())]));
    rig
}

#[test]
fn what_was_planted_on_an_identity_is_reported_by_default() {
    check(
        &planted(Reach::Declared),
        expect![[r#"
        undeclared sim.grant id-g of a
        undeclared sim.key id-k of a
        undeclared sim.account id-x of nobody
        unchanged 3
    "#]],
    );
}

#[test]
fn what_was_planted_on_an_identity_is_reported_where_the_system_is_watched() {
    check(
        &planted(Reach::Watched),
        expect![[r#"
        undeclared sim.grant id-g of a
        undeclared sim.key id-k of a
        undeclared sim.account id-x of nobody
        unchanged 3
    "#]],
    );
}

#[test]
fn what_goes_to_somebody_else_when_it_ends_widens_by_its_end() {
    let mut rig = planted(Reach::Exclusive);
    let of_grants = ("sim".to_owned(), "sim.grant".to_owned());
    rig.seen.capabilities.get_mut(&of_grants).expect("it is known").hands_over = true;
    let plan = rig.plan();
    let step = plan.steps.iter().find(|step| step.resource_type == "sim.grant").expect("it goes");
    assert_eq!(step.access.verdict(), crate::access::Verdict::Widens);
}

#[test]
fn an_identity_that_is_called_otherwise_than_recorded_is_not_ended() {
    let otherwise = "blocked a.account: `id-a.account` has its id and the name \"x\"";
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.read("a.account", "name", Reading::Known("x".into()));
    let replaced = shown(&rig.plan());
    assert!(replaced.contains(otherwise), "{replaced}");
    assert!(!replaced.contains("create a.account"), "{replaced}");
    rig.agent("a").leaving = Some(Leaving {
        cause: Cause::Removed,
        since: at("2027-01-01T00:00:00Z"),
        batch: 1,
        ended: false,
    });
    rig.undeclare("a");
    let left = shown(&rig.plan());
    assert!(left.contains(otherwise), "{left}");
    assert!(!left.contains("suspend a.account") && !left.contains("delete a.account"), "{left}");
}

#[test]
fn what_was_planted_goes_where_all_is_ours_and_an_unknown_identity_never_does() {
    check(
        &planted(Reach::Exclusive),
        expect![[r#"
        0 delete a.?sim.grant/id-g: nobody declared it; narrows
        1 delete a.?sim.key/id-k: nobody declared it; narrows
        undeclared sim.account id-x of nobody
        unchanged 3
    "#]],
    );
}

#[test]
fn what_was_planted_on_a_leaving_agent_goes_with_it_in_every_reach() {
    let mut rig = planted(Reach::Declared);
    rig.undeclare("a");
    check(
        &rig,
        expect![[r#"
        agent a leaves, removed from the fleet
        0 suspend a.account: its agent was removed from the fleet; narrows
        1 delete a.?sim.key/id-k: nobody declared it; narrows; after [0]
        2 delete a.key: its agent was removed from the fleet; narrows; after [0]
        3 delete a.?sim.grant/id-g: nobody declared it; narrows; after [0, 1, 2]
        4 delete a.grant: its agent was removed from the fleet; narrows; after [0, 1, 2]
        undeclared sim.account id-x of nobody
        unchanged 0
    "#]],
    );
}

#[test]
fn what_is_on_an_identity_that_is_no_longer_managed_stays_with_it() {
    for reach in [Reach::Declared, Reach::Exclusive] {
        let mut rig = planted(reach);
        rig.undeclare("a");
        for at in ["a.account", "a.grant", "a.key"] {
            rig.fleet.removed(address(at));
        }
        check(
            &rig,
            expect![[r#"
            agent a leaves, removed from the fleet
            agent a ends, removed from the fleet
            0 forget a.account: it is said to be no longer managed; none
            1 forget a.grant: it is said to be no longer managed; none
            2 forget a.key: it is said to be no longer managed; none
            undeclared sim.grant id-g of a
            undeclared sim.key id-k of a
            undeclared sim.account id-x of nobody
            unchanged 0
        "#]],
        );
    }
}
