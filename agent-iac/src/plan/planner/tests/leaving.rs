//! Which agents leave, when, and in which order.

use expect_test::expect;

use super::*;

fn days(rig: &mut Rig, at_: &str) {
    rig.options.now = at(at_);
}

fn left(cause: Cause, since: &str) -> Leaving {
    Leaving { cause, since: at(since), batch: 4, ended: false }
}

#[test]
fn an_agent_that_left_the_code_is_suspended_first_and_keeps_its_identity_for_the_grace() {
    let mut rig = Rig::applied(fleet(vec![small("a"), small("b")]));
    rig.undeclare("a");
    check(
        &rig,
        expect![[r#"
        agent a leaves, removed from the fleet
        0 suspend a.account: its agent was removed from the fleet; narrows
        1 delete a.key: its agent was removed from the fleet; narrows; after [0]
        2 delete a.grant: its agent was removed from the fleet; narrows; after [0, 1]
        unchanged 3
    "#]],
    );
}

#[test]
fn an_agent_without_grace_goes_at_once_in_the_safe_order() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.agent("a").grace = crate::agent::Period::ZERO;
    rig.undeclare("a");
    check(
        &rig,
        expect![[r#"
        agent a leaves, removed from the fleet
        agent a ends, removed from the fleet
        0 suspend a.account: its agent was removed from the fleet; narrows
        1 delete a.key: its agent was removed from the fleet; narrows; after [0]
        2 delete a.grant: its agent was removed from the fleet; narrows; after [0, 1]
        3 delete a.account: its agent was removed from the fleet; destroys; after [0, 1, 2]
        unchanged 0
    "#]],
    );
}

#[test]
fn an_identity_goes_when_its_grace_is_over_and_not_a_second_before() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.undeclare("a");
    rig.agent("a").leaving = Some(left(Cause::Removed, "2027-01-10T12:00:00Z"));
    rig.state.records.retain(|address, _| address.resource() == "account");
    rig.recorded("a.account").suspended = true;
    rig.real("a.account").suspended = true;
    days(&mut rig, "2027-01-17T11:59:59Z");
    let plan = rig.plan();
    assert!(plan.is_empty(), "{}", shown(&plan));
    days(&mut rig, "2027-01-17T12:00:00Z");
    check(
        &rig,
        expect![[r#"
        agent a ends, removed from the fleet
        0 delete a.account: its agent was removed from the fleet; destroys
        unchanged 0
    "#]],
    );
}

#[test]
fn an_agent_may_act_on_its_last_day_and_is_suspended_the_day_after() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    days(&mut rig, "2027-06-30T23:59:59Z");
    assert!(rig.plan().is_empty());
    days(&mut rig, "2027-07-01T00:00:00Z");
    check(
        &rig,
        expect![[r#"
        agent a leaves, expired
        0 suspend a.account: its agent has expired; narrows
        1 delete a.key: its agent has expired; narrows; after [0]
        2 delete a.grant: its agent has expired; narrows; after [0, 1]
        unchanged 0
    "#]],
    );
}

#[test]
fn an_agent_whose_expiry_was_extended_comes_back() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.agent("a").leaving = Some(left(Cause::Expired, "2027-01-09T12:00:00Z"));
    rig.recorded("a.account").suspended = true;
    rig.real("a.account").suspended = true;
    rig.state.records.retain(|address, _| address.resource() == "account");
    rig.seen.objects.retain(|address, _| address.resource() == "account");
    check(
        &rig,
        expect![[r#"
        agent a returns
        0 resume a.account: its agent may act again; widens
        1 create a.grant: it is declared and does not exist; widens; after [0]
            allow: - → ["list","read"]
            on: - → "of-a"
            to: - → "id-a.account"
        2 create a.key: it is declared and does not exist; low; after [0]
            of: - → "id-a.account"
        unchanged 0
    "#]],
    );
}

#[test]
fn a_killed_agent_stays_stopped_though_it_is_declared() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.agent("a").leaving = Some(left(Cause::Killed, "2027-01-09T12:00:00Z"));
    check(
        &rig,
        expect![[r#"
        0 suspend a.account: its agent was killed; narrows
        1 delete a.key: its agent was killed; narrows; after [0]
        2 delete a.grant: its agent was killed; narrows; after [0, 1]
        unchanged 0
    "#]],
    );
}

#[test]
fn a_killed_agent_of_which_nothing_is_left_is_remembered_while_it_is_declared() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.agent("a").leaving =
        Some(Leaving { ended: true, ..left(Cause::Killed, "2027-01-01T12:00:00Z") });
    rig.state.records.clear();
    rig.seen.objects.clear();
    let plan = rig.plan();
    assert!(plan.is_empty(), "{}", shown(&plan));
    rig.undeclare("a");
    check(
        &rig,
        expect![[r#"
            unchanged 0
        "#]],
    );
}

#[test]
fn a_held_agent_is_frozen_until_the_hold_is_over() {
    let mut rig = Rig::applied(fleet(vec![small("a"), small("b")]));
    let actor = Actor::asserted("test", "ada");
    rig.agent("a").hold = Some(Hold {
        reason: "under investigation".into(),
        until: at("2027-01-12T00:00:00Z"),
        actor,
    });
    rig.property("a.account", "note", known("other"));
    rig.property("b.account", "note", known("other"));
    check(
        &rig,
        expect![[r#"
        0 update b.account: it differs from the declaration; low
            note: "n" → "other"
        blocked a.account: it is held by ada (test, asserted) until 2027-01-12T00:00:00Z: under investigation; wait, or end the hold of `a`
        unchanged 4
    "#]],
    );
    days(&mut rig, "2027-01-12T00:00:00Z");
    assert!(rig.plan().blocked.is_empty(), "a hold ends at its end");
}

#[test]
fn a_held_agent_does_not_leave() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    let actor = Actor::asserted("test", "ada");
    rig.agent("a").hold =
        Some(Hold { reason: "evidence".into(), until: at("2027-01-12T00:00:00Z"), actor });
    rig.undeclare("a");
    check(
        &rig,
        expect![[r#"
        blocked a.account: it is held by ada (test, asserted) until 2027-01-12T00:00:00Z: evidence; wait, or end the hold of `a`
        unchanged 0
    "#]],
    );
}

fn many(count: usize) -> Rig {
    let agents = (0..count)
        .map(|n| {
            let name = format!("a{n}");
            let account = resource::<Account>("account", &[("name", known(name.as_str()))]);
            agent(&name, vec![account])
        })
        .collect();
    Rig::applied(fleet(agents))
}

#[test]
fn an_emptied_fleet_does_not_remove_everything() {
    let mut rig = many(4);
    rig.fleet.agents.clear();
    check(
        &rig,
        expect![[r#"
        blocked a0.account: 4 agents would begin to leave, and the cap is 3; if that is meant, plan with `--allow-leaving 4`
        blocked a1.account: 4 agents would begin to leave, and the cap is 3; if that is meant, plan with `--allow-leaving 4`
        blocked a2.account: 4 agents would begin to leave, and the cap is 3; if that is meant, plan with `--allow-leaving 4`
        blocked a3.account: 4 agents would begin to leave, and the cap is 3; if that is meant, plan with `--allow-leaving 4`
        unchanged 0
    "#]],
    );
}

#[test]
fn as_many_may_leave_as_the_cap_allows() {
    for (recorded, leave, allowed) in [(4, 3, true), (4, 4, false), (20, 5, true), (20, 6, false)] {
        let mut rig = many(recorded);
        rig.fleet.agents.truncate(recorded - leave);
        assert_eq!(rig.plan().blocked.is_empty(), allowed, "{leave} of {recorded}");
    }
}

#[test]
fn the_fleets_own_cap_and_the_one_of_this_plan_go_before() {
    let mut rig = many(4);
    rig.fleet.agents.truncate(2);
    rig.fleet.rules.max_leaving = Some(1);
    assert_eq!(rig.plan().blocked.len(), 2);
    rig.options.max_leaving = Some(2);
    assert!(rig.plan().blocked.is_empty());
}

#[test]
fn agents_that_are_leaving_already_do_not_count_against_the_cap() {
    let mut rig = many(5);
    for name in ["a3", "a4"] {
        rig.agent(name).leaving = Some(left(Cause::Removed, "2027-01-09T12:00:00Z"));
    }
    rig.fleet.agents.clear();
    assert!(rig.plan().blocked.is_empty());
}

#[test]
fn what_needs_a_leaving_agent_is_blocked_and_not_broken() {
    let user = agent(
        "b",
        vec![resource::<Job>(
            "job",
            &[("name", known("j")), ("run_as", link("a.account")), ("command", known("run"))],
        )],
    );
    let mut rig = Rig::applied(fleet(vec![small("a"), user]));
    rig.agent("a").leaving = Some(left(Cause::Killed, "2027-01-09T12:00:00Z"));
    check(
        &rig,
        expect![[r#"
        0 suspend a.account: its agent was killed; narrows
        1 delete a.key: its agent was killed; narrows; after [0]
        2 delete a.grant: its agent was killed; narrows; after [0, 1]
        blocked b.job: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        unchanged 0
    "#]],
    );
}

#[test]
fn an_agent_that_left_the_code_keeps_a_protected_identity_and_does_not_end() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.recorded("a.account").protect = true;
    rig.agent("a").grace = crate::agent::Period::ZERO;
    rig.undeclare("a");
    check(
        &rig,
        expect![[r#"
            agent a leaves, removed from the fleet
            0 delete a.grant: its agent was removed from the fleet; narrows
            1 delete a.key: its agent was removed from the fleet; narrows
            blocked a.account: it is protected, and its declaration is gone; declare it with `protect = false`, apply, and then remove it
            unchanged 0
        "#]],
    );
}

#[test]
fn an_agent_of_which_something_cannot_be_read_does_not_end() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.agent("a").grace = crate::agent::Period::ZERO;
    rig.see("a.key", Observation::Unread("the server is down".into()));
    rig.undeclare("a");
    check(
        &rig,
        expect![[r#"
            agent a leaves, removed from the fleet
            0 suspend a.account: its agent was removed from the fleet; narrows
            1 delete a.grant: its agent was removed from the fleet; narrows; after [0]
            blocked a.account: `a.key` needs it, and stays as it is; see to `a.key` first
            blocked a.key: it could not be read: the server is down; make it readable, and plan again
            unread a.key: it could not be read: the server is down
            unchanged 0
        "#]],
    );
}

#[test]
fn an_identity_that_another_agents_job_runs_as_is_stopped_and_not_deleted() {
    let user = agent(
        "b",
        vec![resource::<Job>(
            "job",
            &[("name", known("j")), ("run_as", link("a.account")), ("command", known("run"))],
        )],
    );
    let mut rig = Rig::applied(fleet(vec![small("a"), user]));
    rig.agent("a").leaving = Some(left(Cause::Killed, "2027-01-01T12:00:00Z"));
    check(
        &rig,
        expect![[r#"
            0 suspend a.account: its agent was killed; narrows
            1 delete a.key: its agent was killed; narrows; after [0]
            2 delete a.grant: its agent was killed; narrows; after [0, 1]
            blocked a.account: `b.job` needs it, and stays as it is; see to `b.job` first
            blocked b.job: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
            unchanged 0
        "#]],
    );
}

#[test]
fn an_agent_that_was_killed_is_stopped_whatever_is_protected_and_does_not_end() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.recorded("a.account").protect = true;
    rig.agent("a").leaving = Some(left(Cause::Killed, "2027-01-01T12:00:00Z"));
    check(
        &rig,
        expect![[r#"
        0 suspend a.account: its agent was killed; narrows
        1 delete a.key: its agent was killed; narrows; after [0]
        2 delete a.grant: its agent was killed; narrows; after [0, 1]
        blocked a.account: it is protected, and its declaration is gone; declare it with `protect = false`, apply, and then remove it
        unchanged 0
    "#]],
    );
}

#[test]
fn an_identity_is_stopped_though_what_stands_on_it_could_not_be_listed() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.agent("a").grace = crate::agent::Period::ZERO;
    rig.agent("a").leaving = Some(left(Cause::Killed, "2027-01-09T12:00:00Z"));
    let why = "its objects of type `sim.key` could not be listed: 503".to_owned();
    rig.seen.unlisted.entry(address("a.account")).or_default().insert(why);
    check(
        &rig,
        expect![[r#"
        0 suspend a.account: its agent was killed; narrows
        1 delete a.key: its agent was killed; narrows; after [0]
        2 delete a.grant: its agent was killed; narrows; after [0, 1]
        blocked a.account: its objects of type `sim.key` could not be listed: 503; make it readable, and plan again
        unread a.account: its objects of type `sim.key` could not be listed: 503
        unchanged 0
    "#]],
    );
}
