//! What is declared against what exists.

use expect_test::expect;

use super::*;

#[test]
fn what_is_declared_and_does_not_exist_is_made_after_what_it_needs() {
    check(
        &Rig::new(fleet(vec![small("a")])),
        expect![[r#"
        agent a is declared
        0 create a.account: it is declared and does not exist; low
            name: - → "a"
            note: - → "n"
        1 create a.grant: it is declared and does not exist; widens; after [0]
            allow: - → ["list","read"]
            on: - → "of-a"
            to: - → a.account
        2 create a.key: it is declared and does not exist; low; after [0]
            of: - → a.account
        unchanged 0
    "#]],
    );
}

#[test]
fn a_second_plan_is_empty() {
    let rig = Rig::applied(fleet(vec![small("a"), small("b")]));
    let plan = check(
        &rig,
        expect![[r#"
        unchanged 6
    "#]],
    );
    assert!(plan.is_empty() && plan.is_clean());
}

#[test]
fn a_changed_property_is_changed_in_place() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.property("a.account", "note", known("other"));
    check(
        &rig,
        expect![[r#"
        0 update a.account: it differs from the declaration; low
            note: "n" → "other"
        unchanged 2
    "#]],
    );
}

#[test]
fn the_order_and_the_repetition_of_a_sets_items_make_no_change() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.property("a.grant", "allow", words(&["list", "read", "list"]));
    rig.read("a.grant", "allow", Reading::Known(["read", "list"].into_iter().collect()));
    let plan = check(
        &rig,
        expect![[r#"
        unchanged 3
    "#]],
    );
    assert!(plan.is_clean());
}

#[test]
fn a_change_of_what_cannot_change_takes_the_old_away_first_and_all_that_needs_it() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.property("a.account", "home", known("elsewhere"));
    check(
        &rig,
        expect![[r#"
        0 remove first a.grant: a.account is made anew; low
        1 remove first a.key: a.account is made anew; low
        2 remove first a.account: home cannot be changed in place; destroys; after [0, 1]
        3 make again a.account: home cannot be changed in place; destroys; after [2]
            home: null → "elsewhere"
        4 make again a.grant: a.account is made anew; low; after [0, 3]
            to: "id-a.account" → a.account
        5 make again a.key: a.account is made anew; low; after [1, 3]
            of: "id-a.account" → a.account
        unchanged 0
    "#]],
    );
}

#[test]
fn a_change_of_the_natural_key_makes_the_new_first_and_moves_all_that_needs_it() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.property("a.account", "name", known("other"));
    check(
        &rig,
        expect![[r#"
        0 make new a.account: name cannot be changed in place; destroys
            name: "a" → "other"
        1 make new a.grant: a.account is made anew; low; after [0]
            to: "id-a.account" → a.account
        2 remove old a.grant: a.account is made anew; low; after [1]
        3 make new a.key: a.account is made anew; low; after [0]
            of: "id-a.account" → a.account
        4 remove old a.key: a.account is made anew; low; after [3]
        5 remove old a.account: name cannot be changed in place; destroys; after [0, 1, 2, 3, 4]
        unchanged 0
    "#]],
    );
}

#[test]
fn a_replacement_reaches_other_agents() {
    let mut other = agent("b", vec![]);
    other.resources.push(resource::<Job>(
        "job",
        &[("name", known("j")), ("run_as", link("a.account")), ("command", known("run"))],
    ));
    let mut rig = Rig::applied(fleet(vec![small("a"), other]));
    rig.property("a.account", "home", known("elsewhere"));
    check(
        &rig,
        expect![[r#"
        0 remove first a.grant: a.account is made anew; low
        1 remove first a.key: a.account is made anew; low
        2 remove first b.job: a.account is made anew; destroys
        3 remove first a.account: home cannot be changed in place; destroys; after [0, 1, 2]
        4 make again a.account: home cannot be changed in place; destroys; after [3]
            home: null → "elsewhere"
        5 make again a.grant: a.account is made anew; low; after [0, 4]
            to: "id-a.account" → a.account
        6 make again a.key: a.account is made anew; low; after [1, 4]
            of: "id-a.account" → a.account
        7 make again b.job: a.account is made anew; destroys; after [2, 4]
            run_as: "id-a.account" → a.account
        unchanged 0
    "#]],
    );
}

#[test]
fn what_only_names_an_output_of_a_replaced_object_follows_it_in_place() {
    let output = Node::Output { address: address("a.account"), field: "id".into() };
    let mut reader = small("b");
    reader.resources[0] = resource::<Account>("account", &[("name", known("b")), ("note", output)]);
    let mut rig = Rig::applied(fleet(vec![small("a"), reader]));
    rig.property("a.account", "home", known("elsewhere"));
    check(
        &rig,
        expect![[r#"
        0 remove first a.grant: a.account is made anew; low
        1 remove first a.key: a.account is made anew; low
        2 remove first a.account: home cannot be changed in place; destroys; after [0, 1]
        3 make again a.account: home cannot be changed in place; destroys; after [2]
            home: null → "elsewhere"
        4 make again a.grant: a.account is made anew; low; after [0, 3]
            to: "id-a.account" → a.account
        5 make again a.key: a.account is made anew; low; after [1, 3]
            of: "id-a.account" → a.account
        6 update b.account: it differs from the declaration; low; after [3]
            note: "id-a.account" → (a.account.id)
        unchanged 2
    "#]],
    );
}

#[test]
fn an_object_that_a_protected_one_points_to_is_not_made_anew() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.declare("a.grant").terms.protect(true);
    rig.recorded("a.grant").protect = true;
    rig.property("a.account", "home", known("elsewhere"));
    check(
        &rig,
        expect![[r#"
        blocked a.account: it would be made anew (home cannot be changed in place), and `a.grant`, which points to it, is protected; take that `protect` away, or leave these properties as they are
        blocked a.grant: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        blocked a.key: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        unchanged 0
    "#]],
    );
}

#[test]
fn a_declared_change_of_what_cannot_be_read_is_written() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.read("a.account", "note", Reading::Redacted);
    rig.property("a.account", "note", known("other"));
    check(
        &rig,
        expect![[r#"
        0 update a.account: it differs from the declaration; low
            note: Redacted → "other"
        unread a.account: `note`: the system hides it
        unchanged 2
    "#]],
    );
}

#[test]
fn replacing_the_one_credential_that_a_system_allows_has_a_gap_and_says_so() {
    let mut key = resource::<LoneKey>("key", &[("of", link("a.account"))]);
    key.terms.deliver("vault:a/key");
    let account = resource::<Account>("account", &[("name", known("a"))]);
    let mut rig = Rig::applied(fleet(vec![agent("a", vec![account, key])]));
    rig.observed("a.key").stored = Some(Ok(Versions::default()));
    check(
        &rig,
        expect![[r#"
        0 remove first a.key: nothing stands at vault:a/key; low
        1 make again a.key: nothing stands at vault:a/key; low; after [0]
            note: the system allows one credential at a time: between the old one's end and the new one's delivery there is none that works
        unchanged 1
    "#]],
    );
}

#[test]
fn a_credential_is_issued_anew_when_its_place_is_empty() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.observed("a.key").stored = Some(Ok(Versions::default()));
    let plan = check(
        &rig,
        expect![[r#"
        0 make new a.key: nothing stands at vault:a/key; low
        1 remove old a.key: nothing stands at vault:a/key; low; after [0]
        unchanged 2
    "#]],
    );
    let generation = |index: usize| {
        let step = &plan.steps[index];
        let target = step.target.as_ref().and_then(|target| target.credential.as_ref());
        target.or(step.retires.as_ref()).map(|credential| credential.generation)
    };
    assert_eq!((generation(0), generation(1)), (Some(2), Some(1)));
}

#[test]
fn a_credential_is_issued_anew_when_something_else_stands_at_its_place() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.observed("a.key").stored = Some(Ok(stands(1, b"forged")));
    check(
        &rig,
        expect![[r#"
        0 make new a.key: what stands at vault:a/key is not what was delivered; low
        1 remove old a.key: what stands at vault:a/key is not what was delivered; low; after [0]
        unchanged 2
    "#]],
    );
}

#[test]
fn a_credential_is_issued_anew_when_another_generation_stands_at_its_place() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.observed("a.key").stored = Some(Ok(stands(4, b"value")));
    check(
        &rig,
        expect![[r#"
        0 make new a.key: generation 4 stands at vault:a/key, and 1 is recorded; low
        1 remove old a.key: generation 4 stands at vault:a/key, and 1 is recorded; low; after [0]
        unchanged 2
    "#]],
    );
}

#[test]
fn a_credential_is_issued_anew_when_it_is_to_be_delivered_elsewhere() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.declare("a.key").terms.deliver("vault:a/elsewhere");
    check(
        &rig,
        expect![[r#"
        0 make new a.key: deliver cannot be changed in place; low
        1 remove old a.key: deliver cannot be changed in place; low; after [0]
        unchanged 2
    "#]],
    );
}

#[test]
fn a_place_that_cannot_be_read_is_reported_and_no_reason_to_issue_anew() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.observed("a.key").stored = Some(Err("the store is sealed".into()));
    check(
        &rig,
        expect![[r#"
        unread a.key: its place could not be read: the store is sealed
        unchanged 3
    "#]],
    );
}

#[test]
fn generations_count_on_after_a_credential_is_gone() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.record("a.key").object = None;
    rig.record("a.key").generations = 6;
    rig.seen.objects.remove(&address("a.key"));
    let plan = rig.plan();
    let target = plan.steps[0].target.as_ref().unwrap();
    assert_eq!(target.credential.as_ref().unwrap().generation, 7);
}

#[test]
fn what_is_gone_is_made_again_and_reported_as_drift() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.see("a.grant", Observation::Absent);
    check(
        &rig,
        expect![[r#"
        0 create a.grant: it was recorded and does not exist any more; widens
            allow: - → ["list","read"]
            on: - → "of-a"
            to: - → "id-a.account"
        drift a.grant, narrows: gone
        unchanged 2
    "#]],
    );
}

#[test]
fn drift_is_reported_field_by_field_and_taken_back() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.read("a.account", "note", Reading::Known("by hand".into()));
    let widened: Value = ["read", "list", "delete"].into_iter().collect();
    rig.read("a.grant", "allow", Reading::Known(widened));
    check(
        &rig,
        expect![[r#"
        0 update a.account: it differs from the declaration; low
            note: "by hand" → "n"
        1 update a.grant: it differs from the declaration; narrows; after [0]
            allow: ["read","list","delete"] → ["list","read"]
        drift a.account, keeps: note "n" → "by hand"
        drift a.grant, widens: allow ["list","read"] → ["delete","list","read"]
        unchanged 1
    "#]],
    );
}

#[test]
fn drift_that_was_declared_meanwhile_is_only_recorded() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.read("a.account", "note", Reading::Known("by hand".into()));
    rig.property("a.account", "note", known("by hand"));
    check(
        &rig,
        expect![[r#"
        0 record a.account: what is said to the engine has changed; none
        drift a.account, keeps: note "n" → "by hand"
        unchanged 2
    "#]],
    );
}

#[test]
fn terms_that_only_the_engine_reads_are_recorded() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.declare("a.account").terms.protect(true);
    check(
        &rig,
        expect![[r#"
        0 record a.account: what is said to the engine has changed; none
        unchanged 2
    "#]],
    );
}

#[test]
fn an_object_at_an_imported_id_is_adopted_without_a_write() {
    let mut rig = Rig::new(fleet(vec![small("a")]));
    let real = found::<Account>("id-7", &[("name", "a".into()), ("note", "theirs".into())]);
    rig.fleet.import(address("a.account"), "id-7");
    rig.see("a.account", Observation::Present(real));
    let plan = check(
        &rig,
        expect![[r#"
        agent a is declared
        0 adopt a.account: it exists and is to be imported; none
        1 create a.grant: it is declared and does not exist; widens; after [0]
            allow: - → ["list","read"]
            on: - → "of-a"
            to: - → "id-7"
        2 create a.key: it is declared and does not exist; low; after [0]
            of: - → "id-7"
        unchanged 0
    "#]],
    );
    assert_eq!(plan.steps[0].id.as_deref(), Some("id-7"));
}

#[test]
fn an_import_of_what_does_not_exist_is_blocked_with_all_that_needs_it() {
    let mut rig = Rig::new(fleet(vec![small("a")]));
    rig.fleet.import(address("a.account"), "id-7");
    rig.see("a.account", Observation::Absent);
    check(
        &rig,
        expect![[r#"
        agent a is declared
        blocked a.account: there is no sim.account with the id "id-7"; give the id that it has in its system
        blocked a.grant: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        blocked a.key: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        unchanged 0
    "#]],
    );
}

#[test]
fn an_import_of_another_fleets_object_is_blocked() {
    let mut rig = Rig::new(fleet(vec![small("a")]));
    rig.fleet.import(address("a.account"), "id-7");
    let mut real = found::<Account>("id-7", &[("name", "a".into())]);
    real.mark = Some(Mark { fleet: "mail".into(), ..mark(&address("a.account")) });
    rig.see("a.account", Observation::Present(real));
    check(
        &rig,
        expect![[r#"
        agent a is declared
        blocked a.account: it exists already and belongs to a.account of fleet `mail` in `test`; move it in both fleets, or give this one another name
        blocked a.grant: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        blocked a.key: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        unchanged 0
    "#]],
    );
}

#[test]
fn an_object_that_exists_and_is_nobodys_is_not_taken() {
    let mut rig = Rig::new(fleet(vec![small("a")]));
    rig.see("a.account", Observation::Present(found::<Account>("id-7", &[("name", "a".into())])));
    check(
        &rig,
        expect![[r#"
        agent a is declared
        blocked a.account: it exists already, and this fleet did not make it; import the id "id-7" at this address, or give it another name
        blocked a.grant: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        blocked a.key: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        unchanged 0
    "#]],
    );
}

#[test]
fn an_object_with_our_own_mark_is_taken_back() {
    let mut rig = Rig::new(fleet(vec![small("a")]));
    let mut real = found::<Account>("id-7", &[("name", "a".into()), ("note", "n".into())]);
    real.mark = Some(mark(&address("a.account")));
    rig.see("a.account", Observation::Present(real));
    check(
        &rig,
        expect![[r#"
        agent a is declared
        0 adopt a.account: it exists and carries this address as its mark; none
        1 create a.grant: it is declared and does not exist; widens; after [0]
            allow: - → ["list","read"]
            on: - → "of-a"
            to: - → "id-7"
        2 create a.key: it is declared and does not exist; low; after [0]
            of: - → "id-7"
        unchanged 0
    "#]],
    );
}

#[test]
fn a_credential_with_our_mark_is_not_taken_back_for_nobody_knows_its_value() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.record("a.key").object = None;
    check(
        &rig,
        expect![[r#"
        blocked a.key: it exists already, and nobody knows its value; remove "id-a.key" in its system, and another is issued
        unchanged 2
    "#]],
    );
}

#[test]
fn a_moved_resource_keeps_its_object() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.declare("a.account").field = "identity".into();
    rig.property("a.grant", "to", link("a.identity"));
    rig.property("a.key", "of", link("a.identity"));
    rig.fleet.moved(address("a.account"), address("a.identity"));
    let plan = check(
        &rig,
        expect![[r#"
        0 move a.identity: it was a.account; none
        1 record a.grant: what is said to the engine has changed; none; after [0]
        2 record a.key: what is said to the engine has changed; none; after [0]
        unchanged 0
    "#]],
    );
    assert_eq!(plan.versions[&address("a.account")], 3, "the old address is held to its version");
}

#[test]
fn a_resource_that_is_no_longer_managed_is_forgotten_and_left_alone() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.fleet.agents[0].resources.retain(|resource| resource.field != "key");
    rig.fleet.removed(address("a.key"));
    check(
        &rig,
        expect![[r#"
        0 forget a.key: it is said to be no longer managed; none
        unchanged 2
    "#]],
    );
}

#[test]
fn a_protected_object_is_not_made_anew() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.declare("a.account").terms.protect(true);
    rig.recorded("a.account").protect = true;
    rig.property("a.account", "home", known("elsewhere"));
    check(
        &rig,
        expect![[r#"
        blocked a.account: it would be made anew (home cannot be changed in place), and it is protected; take `protect` away, or leave these properties as they are
        blocked a.grant: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        blocked a.key: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        unchanged 0
    "#]],
    );
}

#[test]
fn a_protected_object_stays_protected_after_its_declaration_is_gone() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.recorded("a.key").protect = true;
    rig.fleet.agents[0].resources.retain(|resource| resource.field != "key");
    check(
        &rig,
        expect![[r#"
        blocked a.key: it is protected, and its declaration is gone; declare it with `protect = false`, apply, and then remove it
        unchanged 2
    "#]],
    );
}

#[test]
fn a_resource_that_left_the_code_is_removed() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.fleet.agents[0].resources.retain(|resource| resource.field == "account");
    check(
        &rig,
        expect![[r#"
        0 delete a.grant: it is no longer declared; narrows
        1 delete a.key: it is no longer declared; narrows
        unchanged 1
    "#]],
    );
}

#[test]
fn a_target_brings_what_it_needs_and_nothing_else() {
    let mut user = small("b");
    user.resources.push(resource::<Job>(
        "job",
        &[("name", known("j")), ("run_as", link("a.account")), ("command", known("run"))],
    ));
    let mut rig = Rig::new(fleet(vec![small("a"), user, small("c")]));
    rig.options.targets.insert(instance("b"));
    check(
        &rig,
        expect![[r#"
        agent a is declared
        agent b is declared
        0 create a.account: it is declared and does not exist; low
            name: - → "a"
            note: - → "n"
        1 create a.grant: it is declared and does not exist; widens; after [0]
            allow: - → ["list","read"]
            on: - → "of-a"
            to: - → a.account
        2 create a.key: it is declared and does not exist; low; after [0]
            of: - → a.account
        3 create b.account: it is declared and does not exist; low
            name: - → "b"
            note: - → "n"
        4 create b.grant: it is declared and does not exist; widens; after [3]
            allow: - → ["list","read"]
            on: - → "of-b"
            to: - → b.account
        5 create b.job: it is declared and does not exist; low; after [0]
            command: - → "run"
            name: - → "j"
            run_as: - → a.account
        6 create b.key: it is declared and does not exist; low; after [3]
            of: - → b.account
        unchanged 0
    "#]],
    );
}

#[test]
fn a_step_in_doubt_holds_up_its_address_and_what_needs_it_and_nothing_else() {
    let mut rig = Rig::applied(fleet(vec![small("a"), small("b")]));
    rig.property("a.grant", "allow", words(&["read"]));
    rig.property("b.grant", "allow", words(&["read"]));
    let run = RunId::random(&crate::testing::world::SimEntropy::new(1));
    rig.record("a.account").open = Some(OpenStep {
        claim: run.claim(1),
        run,
        action: Action::Update,
        deposed: false,
        target: None,
        id: None,
        provider: "sim".into(),
        resource_type: "sim.account".into(),
        begun_at: at(NOW),
        issued: None,
    });
    check(
        &rig,
        expect![[r#"
        0 update b.grant: it differs from the declaration; narrows
            allow: ["list","read"] → ["read"]
        blocked a.grant: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        blocked a.key: it needs `a.account`, which is blocked, leaving or in doubt; see to `a.account` first
        in doubt a.account
        unchanged 2
    "#]],
    );
}

#[test]
fn an_old_object_that_was_left_behind_by_a_replacement_goes() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    let mut old = rig.recorded("a.account").clone();
    old.id = "id-old".into();
    old.properties.insert("name".into(), "old".into());
    rig.record("a.account").deposed.push(old.into());
    let real = found::<Account>("id-old", &[("name", "old".into())]);
    let key = (address("a.account"), "id-old".to_owned());
    rig.seen.deposed.insert(key, Observation::Present(real));
    check(
        &rig,
        expect![[r#"
        0 remove old a.account: it was replaced; destroys
        unchanged 3
    "#]],
    );
}

#[test]
fn another_provider_means_another_object() {
    let mut rig = Rig::applied(fleet(vec![small("a")]));
    rig.fleet.provider("other", Reach::Declared);
    rig.declare("a.grant").terms.provider("other");
    check(
        &rig,
        expect![[r#"
        0 remove first a.grant: its provider cannot be changed in place; low
        1 make again a.grant: its provider cannot be changed in place; low; after [0]
        unchanged 2
    "#]],
    );
}
