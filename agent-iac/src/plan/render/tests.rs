//! Hand-made plans, and how they look.
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them so")]

use std::collections::{BTreeMap, BTreeSet};

use expect_test::{Expect, expect};

use super::{Level, Options, json, markdown, text};
use crate::{
    access::{Access, AccessChange, Tuple},
    address::{Address, Instance},
    agent::Source,
    diff::Compared,
    fleet::Rules,
    ledger::Cause,
    plan::{
        Action, AgentChange, AgentStep, Beside, Blocked, CredentialTarget, Drift, FORMAT,
        FieldDrift, Part, Plan, PropertyChange, Reason, Risk, SavedPlan, Step, Target, Undeclared,
    },
    provider::{Object, Observation, Source as Gives},
    resource::{Node, Reading},
    schema::Kind,
    value::{Digest, Value},
};

fn empty() -> Plan {
    Plan {
        format: FORMAT,
        fleet: "billing".into(),
        environment: "production".into(),
        ledger: "l1".into(),
        blueprint: Digest::ZERO,
        targets: BTreeMap::new(),
        rules: Rules::default(),
        versions: BTreeMap::new(),
        agents: Vec::new(),
        steps: Vec::new(),
        blocked: Vec::new(),
        drift: Vec::new(),
        undeclared: Vec::new(),
        unread: BTreeMap::new(),
        in_doubt: BTreeSet::new(),
        unchanged: 214,
        observed_at: "2026-11-24T09:00:00Z".parse().unwrap(),
        beside: Vec::new(),
        apart: BTreeMap::new(),
    }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn step(at: &str, action: Action, kind: Kind, risk: Risk, reason: Reason) -> Step {
    Step {
        address: address(at),
        resource_type: format!(
            "authority.{}",
            match kind {
                Kind::Identity => "account",
                Kind::Permission => "grant",
                Kind::Credential => "key",
                Kind::Runtime => "process",
            }
        ),
        kind,
        provider: "authority".into(),
        action,
        part: Part::Whole,
        reason,
        source: Some(Source::rust("src/fleet.rs", 41, 5)),
        because: None,
        changes: Vec::new(),
        access: AccessChange::default(),
        risk,
        notes: Vec::new(),
        id: None,
        seen: Observation::Absent,
        target: None,
        retires: None,
        after: BTreeSet::new(),
    }
}

fn target(properties: &[(&str, Node)]) -> Target {
    Target {
        properties: properties.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
        access: Access::NONE,
        dependencies: BTreeSet::new(),
        protect: false,
        credential: None,
    }
}

fn change(name: &str, before: Option<Value>, after: Option<Node>) -> PropertyChange {
    PropertyChange { name: name.into(), before: before.map(Reading::Known), after, replaces: false }
}

fn known(value: impl Into<Value>) -> Node {
    Node::Known(value.into())
}

/// One step of most sorts.
fn busy() -> Plan {
    let mut plan = empty();
    plan.agents = vec![
        AgentStep {
            instance: "triage".parse().unwrap(),
            change: AgentChange::Declared {
                owner: "team:support".into(),
                purpose: "Sorts tickets.".into(),
                expires: "2027-06-30".parse().unwrap(),
                grace: "1w".parse().unwrap(),
                source: None,
            },
        },
        AgentStep {
            instance: "retired".parse().unwrap(),
            change: AgentChange::Leaves { cause: Cause::Removed },
        },
    ];
    let mut grant = step(
        r#"reader["eu"].invoices"#,
        Action::Update,
        Kind::Permission,
        Risk::Widens,
        Reason::Differs,
    );
    let actions = |names: &[&str]| names.iter().copied().collect::<Value>();
    grant.changes = vec![change(
        "allow",
        Some(actions(&["list", "read"])),
        Some(Node::Known(actions(&["read", "update"]))),
    )];
    grant.target = Some(target(&[
        ("allow", Node::Known(actions(&["read", "update"]))),
        ("on", known("invoices/eu/*")),
        ("to", Node::Link(address(r#"reader["eu"].account"#))),
    ]));
    grant.access = AccessChange {
        gained: BTreeSet::from([Tuple::allow(
            r#"reader["eu"].account"#,
            "update",
            "invoices/eu/*",
        )]),
        lost: BTreeSet::from([Tuple::allow(r#"reader["eu"].account"#, "list", "invoices/eu/*")]),
        undecided: BTreeSet::new(),
    };
    grant.because = Some("the tax office asks for corrections".into());
    let mut account =
        step("triage.account", Action::Create, Kind::Identity, Risk::Low, Reason::Declared);
    account.changes = vec![change("name", None, Some(known("triage")))];
    account.target = Some(target(&[("name", known("triage")), ("note", Node::Known(Value::Null))]));
    let mut key = step("triage.key", Action::Create, Kind::Credential, Risk::Low, Reason::Declared);
    key.changes = vec![change("account", None, Some(Node::Link(address("triage.account"))))];
    key.target = Some(Target {
        credential: Some(CredentialTarget {
            generation: 1,
            place: "vault:agents/triage/key".parse().unwrap(),
            lease: None,
        }),
        ..target(&[("account", Node::Link(address("triage.account")))])
    });
    key.after = BTreeSet::from([0]);
    key.notes = vec!["after a crash a doubt is possible".into()];
    let mut revoke = step(
        "retired.key",
        Action::Delete,
        Kind::Credential,
        Risk::Narrows,
        Reason::Leaving { cause: Cause::Removed },
    );
    revoke.source = None;
    revoke.retires = Some(CredentialTarget {
        generation: 6,
        place: "vault:agents/retired/key".parse().unwrap(),
        lease: None,
    });
    let mut renamed = step(
        "mailer.account",
        Action::ReplaceCreateFirst,
        Kind::Identity,
        Risk::Destroys,
        Reason::CannotChangeInPlace { fields: BTreeSet::from(["name".into()]) },
    );
    renamed.part = Part::Make;
    renamed.changes = vec![PropertyChange {
        replaces: true,
        ..change("name", Some("mailer".into()), Some(known("mailer-2")))
    }];
    plan.steps = vec![account, key, grant, renamed, revoke];
    for (at, action) in
        [("old.account", Action::Adopt), ("old.grant", Action::Move), ("old.other", Action::Forget)]
    {
        let mut step = step(at, action, Kind::Identity, Risk::None, Reason::Imported);
        step.source = None;
        plan.steps.push(step);
    }
    plan.steps.push(step(
        "retired.account",
        Action::Suspend,
        Kind::Identity,
        Risk::Narrows,
        Reason::Leaving { cause: Cause::Removed },
    ));
    plan.steps.push(step(
        "back.account",
        Action::Resume,
        Kind::Identity,
        Risk::Widens,
        Reason::Returned,
    ));
    plan.drift = vec![Drift {
        address: address("mailer.grant"),
        fields: BTreeMap::from([(
            "allow".into(),
            FieldDrift {
                recorded: actions(&["read"]),
                observed: Compared::Differs(actions(&["*"])),
            },
        )]),
        gone: false,
        suspended: None,
        access: AccessChange {
            gained: BTreeSet::from([Tuple::allow("mailer.account", "*", "mail/*")]),
            ..AccessChange::default()
        },
    }];
    plan.blocked = vec![Blocked {
        address: address("mailer.inbox"),
        reason: "it exists already, and this fleet did not make it".into(),
        repair: "import the id \"7\" at this address, or give it another name".into(),
    }];
    plan.undeclared = vec![Undeclared {
        instance: Some("triage".parse().unwrap()),
        provider: "authority".into(),
        resource_type: "authority.key".into(),
        object: Object {
            id: "key-77".into(),
            fields: BTreeMap::new(),
            suspended: false,
            mark: None,
            obstacle: None,
            label: Some("the old key".into()),
        },
        access: Access::NONE,
    }];
    plan.unread = BTreeMap::from([(
        address("mailer.role"),
        BTreeSet::from(["needs `directory.read`".into()]),
    )]);
    plan
}

fn saved(plan: Plan) -> SavedPlan {
    SavedPlan::new(plan).unwrap()
}

#[track_caller]
fn check(plan: Plan, level: Level, ascii: bool, expected: &Expect) {
    let next = vec!["deploy apply --digest 7f3a91c2".into()];
    let options = Options { level, ascii, next, ..Options::default() };
    expected.assert_eq(&text(&saved(plan), &options).to_string());
}

#[test]
fn a_plan_shows_drift_first_and_the_riskiest_step_last() {
    check(
        busy(),
        Level::Default,
        false,
        &expect![[r#"
            Drift: where the real is not as it was recorded
                ~ mailer.grant
                  allow: ["read"] -> ["*"]
                  WIDENS: mailer.account gains * on mail/*

            ────

            Agents
                + triage   declared: owner team:support, expires 2027-06-30, grace 1w; Sorts tickets.
                ⏸ retired   leaves: it was removed from the fleet

            Steps
                = adopt    old.account   authority.account
                  why: it exists and is to be imported
                » move     old.grant   authority.account
                  why: it exists and is to be imported
                . forget   old.other   authority.account
                  why: it exists and is to be imported
                + create   triage.account   authority.account   src/fleet.rs:41
                  why: it is declared and does not exist
                  name: "triage"
                + create   triage.key   authority.key   src/fleet.rs:41
                  why: it is declared and does not exist
                  account: triage.account
                  generation 1 at vault:agents/triage/key
                  note: after a crash a doubt is possible
                × revoke   retired.key   authority.key   narrows
                  why: its agent was removed from the fleet
                  ends generation 6 at vault:agents/retired/key
                ⏸ suspend  retired.account   authority.account   src/fleet.rs:41   narrows
                  why: its agent was removed from the fleet
              +/- replace  mailer.account   authority.account   src/fleet.rs:41   (makes the new one, before the old goes)   DESTROYS
                  why: name cannot be changed in place
                  name: "mailer" -> "mailer-2"   (cannot be changed in place)
                ~ update   reader["eu"].invoices   authority.grant   src/fleet.rs:41   WIDENS
                  why: it differs from the declaration
                  allow:
                    - "list"
                    + "update"
                    … 1 unchanged
                  … 2 unchanged properties
                  because: the tax office asks for corrections
                  narrows: reader["eu"].account loses list on invoices/eu/*
                  WIDENS: reader["eu"].account gains update on invoices/eu/*
                ▶ resume   back.account   authority.account   src/fleet.rs:41   WIDENS
                  why: its agent may act again

            Blocked: what should change and may not, or cannot
                ! mailer.inbox: it exists already, and this fleet did not make it
                  help: import the id "7" at this address, or give it another name

            Undeclared: found, and only reported
                ? authority.key key-77 ("the old key")   on triage, at authority

            Not checked
                ? mailer.role: needs `directory.read`

            Plan: 1 to adopt, 2 to add, 1 to change, 1 to replace, 1 to revoke, 0 to destroy, 1 to suspend, 1 to resume, 2 to record.
            Access: WIDENS 1, narrows 1, 1 identity may act again.
            Not checked: 1 object, as listed above.
            Plan 297b2d94 of fleet billing in production.
            Next:  deploy apply --digest 7f3a91c2
        "#]],
    );
}

#[test]
fn drift_names_what_nobody_declared_also_where_a_step_removes_it() {
    let mut plan = busy();
    let mut removal = step(
        "triage.?authority.key/key-78",
        Action::Delete,
        Kind::Credential,
        Risk::Narrows,
        Reason::Undeclared,
    );
    let mut found = plan.undeclared[0].object.clone();
    found.id = "key-78".into();
    found.label = Some("planted".into());
    removal.seen = Observation::Present(found);
    removal.access.lost.insert(Tuple::allow("key-78", "read", "mail/*"));
    plan.steps = vec![removal];
    assert!(
        text(&saved(plan.clone()), &Options::default())
            .to_string()
            .contains("why: nobody declared it: planted")
    );
    expect![[r#"
        Drift: where the real is not as it was recorded
            ~ mailer.grant
              allow: ["read"] -> ["*"]
              WIDENS: mailer.account gains * on mail/*

        Undeclared: nobody declared it
            ? authority.key key-77 ("the old key")   on triage, at authority
            ? authority.key key-78 (planted)   on triage, at authority
              gives planted read on mail/*

        Not checked
            ? mailer.role: needs `directory.read`

        1 object drifted, 2 undeclared, 1 object not checked, 0 in doubt, observed at 2026-11-24T09:00:00Z.
    "#]].assert_eq(&super::drift(&plan, &Options::default()).to_string());
}

#[test]
fn the_summary_has_one_line_a_step_and_an_ascii_form() {
    check(
        busy(),
        Level::Summary,
        true,
        &expect![[r#"
            Drift: where the real is not as it was recorded
                ~ mailer.grant   WIDENS

            ----

            Agents
                + triage   declared: owner team:support, expires 2027-06-30, grace 1w; Sorts tickets.
               || retired   leaves: it was removed from the fleet

            Steps
                = adopt    old.account   authority.account
                > move     old.grant   authority.account
                . forget   old.other   authority.account
                + create   triage.account   authority.account   src/fleet.rs:41
                + create   triage.key   authority.key   src/fleet.rs:41
                x revoke   retired.key   authority.key   narrows
               || suspend  retired.account   authority.account   src/fleet.rs:41   narrows
              +/- replace  mailer.account   authority.account   src/fleet.rs:41   (makes the new one, before the old goes)   DESTROYS
                ~ update   reader["eu"].invoices   authority.grant   src/fleet.rs:41   WIDENS
               |> resume   back.account   authority.account   src/fleet.rs:41   WIDENS

            Blocked: what should change and may not, or cannot
                ! mailer.inbox: it exists already, and this fleet did not make it

            Undeclared: found, and only reported
                ? authority.key key-77 ("the old key")   on triage, at authority

            Not checked
                ? mailer.role: needs `directory.read`

            Plan: 1 to adopt, 2 to add, 1 to change, 1 to replace, 1 to revoke, 0 to destroy, 1 to suspend, 1 to resume, 2 to record.
            Access: WIDENS 1, narrows 1, 1 identity may act again.
            Not checked: 1 object, as listed above.
            Plan 297b2d94 of fleet billing in production.
            Next:  deploy apply --digest 7f3a91c2
        "#]],
    );
}

#[test]
fn the_full_form_adds_the_order_and_what_was_seen() {
    let mut plan = busy();
    plan.steps.truncate(2);
    check(
        plan,
        Level::Full,
        false,
        &expect![[r#"
            Drift: where the real is not as it was recorded
                ~ mailer.grant
                  allow: ["read"] -> ["*"]
                  WIDENS: mailer.account gains * on mail/*

            ────

            Agents
                + triage   declared: owner team:support, expires 2027-06-30, grace 1w; Sorts tickets.
                ⏸ retired   leaves: it was removed from the fleet

            Steps
                + create   triage.account   authority.account   src/fleet.rs:41
                  why: it is declared and does not exist
                  order: 1 of 2; provider authority
                  seen: nothing
                  name: "triage"
                + create   triage.key   authority.key   src/fleet.rs:41
                  why: it is declared and does not exist
                  order: 2 of 2, after 1; provider authority
                  seen: nothing
                  account: triage.account
                  generation 1 at vault:agents/triage/key
                  note: after a crash a doubt is possible

            Blocked: what should change and may not, or cannot
                ! mailer.inbox: it exists already, and this fleet did not make it
                  help: import the id "7" at this address, or give it another name

            Undeclared: found, and only reported
                ? authority.key key-77 ("the old key")   on triage, at authority

            Not checked
                ? mailer.role: needs `directory.read`

            Plan: 0 to adopt, 2 to add, 0 to change, 0 to replace, 0 to revoke, 0 to destroy.
            Access: stays as it is.
            Not checked: 1 object, as listed above.
            Plan b82824b5 of fleet billing in production.
            Next:  deploy apply --digest 7f3a91c2
        "#]],
    );
}

#[test]
fn no_changes_is_said_with_what_was_checked() {
    check(
        empty(),
        Level::Default,
        false,
        &expect![[r#"
        No changes. 214 resources are as declared, observed at 2026-11-24T09:00:00Z.
        Next:  deploy apply --digest 7f3a91c2
    "#]],
    );
    let mut plan = empty();
    plan.unread = BTreeMap::from([(address("a.b"), BTreeSet::from(["hidden".into()]))]);
    check(
        plan,
        Level::Default,
        false,
        &expect![[r#"
        Not checked
            ? a.b: hidden

        No changes. 214 resources are as declared, 1 not checked, observed at 2026-11-24T09:00:00Z.
        Next:  deploy apply --digest 7f3a91c2
    "#]],
    );
}

#[test]
fn a_comment_has_marker_verdict_access_and_details() {
    let options = Options { next: vec!["deploy apply plan.json".into()], ..Options::default() };
    expect![[r#"
        <!-- agent-iac:billing:production:plan -->
        <!-- digest:297b2d948ebd1b775823d7c7da7be5402839348bc85ca6c85238d5b1b06d4e83 -->
        ### 🔴 **Access is WIDENED**: ` billing ` in ` production `

        Plan: 1 to adopt, 2 to add, 1 to change, 1 to replace, 1 to revoke, 0 to destroy, 1 to suspend, 1 to resume, 2 to record.  
        Access: WIDENS 1, narrows 1, 1 identity may act again.  
        Digest: ` 297b2d948ebd1b775823d7c7da7be5402839348bc85ca6c85238d5b1b06d4e83 `

        | Access | Who | Action | Object | Condition |
        | --- | --- | --- | --- | --- |
        | 🔴 gains | ` reader["eu"].account ` | ` update ` | ` invoices/eu/* ` |  |
        | 🟡 loses | ` reader["eu"].account ` | ` list ` | ` invoices/eu/* ` |  |

        #### Steps that destroy or widen

        - ` ~ ` update ` reader["eu"].invoices `, WIDENS: ` it differs from the declaration `, declared at ` src/fleet.rs:41 `
        - ` ▶ ` resume ` back.account `, WIDENS: ` its agent may act again `, declared at ` src/fleet.rs:41 `
        - ` +/- ` replace ` mailer.account `, DESTROYS: ` name cannot be changed in place `, declared at ` src/fleet.rs:41 `

        <details><summary><code>back</code>: 1 step</summary>

        ```text
            ▶ resume   back.account   authority.account   src/fleet.rs:41   WIDENS
              why: its agent may act again
        ```

        </details>

        <details><summary><code>mailer</code>: 1 step</summary>

        ```text
          +/- replace  mailer.account   authority.account   src/fleet.rs:41   (makes the new one, before the old goes)   DESTROYS
              why: name cannot be changed in place
              name: "mailer" -> "mailer-2"   (cannot be changed in place)
        ```

        </details>

        <details><summary><code>old</code>: 3 steps</summary>

        ```text
            = adopt    old.account   authority.account
              why: it exists and is to be imported
            » move     old.grant   authority.account
              why: it exists and is to be imported
            . forget   old.other   authority.account
              why: it exists and is to be imported
        ```

        </details>

        <details><summary><code>reader[&quot;eu&quot;]</code>: 1 step</summary>

        ```text
            ~ update   reader["eu"].invoices   authority.grant   src/fleet.rs:41   WIDENS
              why: it differs from the declaration
              allow:
                - "list"
                + "update"
                … 1 unchanged
              … 2 unchanged properties
              because: the tax office asks for corrections
              narrows: reader["eu"].account loses list on invoices/eu/*
              WIDENS: reader["eu"].account gains update on invoices/eu/*
        ```

        </details>

        <details><summary><code>retired</code>: 2 steps</summary>

        ```text
        ⏸ retired leaves: it was removed from the fleet
            × revoke   retired.key   authority.key   narrows
              why: its agent was removed from the fleet
              ends generation 6 at vault:agents/retired/key
            ⏸ suspend  retired.account   authority.account   src/fleet.rs:41   narrows
              why: its agent was removed from the fleet
        ```

        </details>

        <details><summary><code>triage</code>: 2 steps</summary>

        ```text
        + triage declared: owner team:support, expires 2027-06-30, grace 1w; Sorts tickets.
            + create   triage.account   authority.account   src/fleet.rs:41
              why: it is declared and does not exist
              name: "triage"
            + create   triage.key   authority.key   src/fleet.rs:41
              why: it is declared and does not exist
              account: triage.account
              generation 1 at vault:agents/triage/key
              note: after a crash a doubt is possible
        ```

        </details>

        #### Drift

        - ` mailer.grant `: ` allow `, **WIDENS**

        #### Blocked

        - ` mailer.inbox `: ` it exists already, and this fleet did not make it `; help: ` import the id "7" at this address, or give it another name `

        #### Undeclared

        - ` authority.key ` ` key-77 ("the old key") ` on ` triage `

        #### Not checked

        - ` mailer.role `: `` needs `directory.read` ``

        Next:

        ```text
        deploy apply plan.json
        ```
    "#]].assert_eq(&markdown(&saved(busy()), &options));
}

/// Text that tries to be more than text.
const HOSTILE: &str =
    "x\u{1b}[2J\u{9b}31m\u{202e}\n| @everyone | <script>``` ```\n# [a](http://b) -->";

fn hostile() -> Plan {
    let mut plan = empty();
    plan.fleet = HOSTILE.into();
    plan.environment = HOSTILE.into();
    let mut bad = step(
        "a.b",
        Action::Update,
        Kind::Permission,
        Risk::Widens,
        Reason::NotInVault { what: HOSTILE.into() },
    );
    bad.resource_type = HOSTILE.into();
    bad.provider = HOSTILE.into();
    bad.source = Some(Source { file: HOSTILE.into(), line: 1, column: 1 });
    bad.because = Some(HOSTILE.into());
    bad.notes = vec![HOSTILE.into()];
    bad.changes = vec![
        change(HOSTILE, Some(HOSTILE.into()), Some(known(HOSTILE))),
        change("c", Some([HOSTILE].into_iter().collect()), Some(Node::Known(Value::List(vec![])))),
        PropertyChange {
            name: "d".into(),
            before: Some(Reading::Unreadable(HOSTILE.into())),
            after: Some(Node::Concat(vec![known(HOSTILE)])),
            replaces: true,
        },
    ];
    bad.access.gained = BTreeSet::from([Tuple {
        condition: Some(HOSTILE.into()),
        ..Tuple::allow(HOSTILE, HOSTILE, HOSTILE)
    }]);
    bad.access.undecided = BTreeSet::from([HOSTILE.into()]);
    bad.seen = Observation::Unread(HOSTILE.into());
    plan.steps = vec![bad];
    plan.agents = vec![AgentStep {
        instance: Instance::keyed("agent", ["`<b>|@all"]).unwrap(),
        change: AgentChange::Declared {
            owner: HOSTILE.into(),
            purpose: HOSTILE.into(),
            expires: "2027-06-30".parse().unwrap(),
            grace: "1w".parse().unwrap(),
            source: None,
        },
    }];
    plan.blocked =
        vec![Blocked { address: address("a.b"), reason: HOSTILE.into(), repair: HOSTILE.into() }];
    plan.drift = vec![Drift {
        address: address("a.b"),
        fields: BTreeMap::from([(
            HOSTILE.into(),
            FieldDrift { recorded: HOSTILE.into(), observed: Compared::Unreadable(HOSTILE.into()) },
        )]),
        gone: false,
        suspended: None,
        access: AccessChange::default(),
    }];
    plan.undeclared = vec![Undeclared {
        instance: None,
        provider: HOSTILE.into(),
        resource_type: HOSTILE.into(),
        object: Object {
            id: HOSTILE.into(),
            fields: BTreeMap::new(),
            suspended: false,
            mark: None,
            obstacle: Some(HOSTILE.into()),
            label: Some(HOSTILE.into()),
        },
        access: Access::exactly([Tuple::allow(HOSTILE, HOSTILE, HOSTILE)]),
    }];
    plan.unread = BTreeMap::from([(address("a.b"), BTreeSet::from([HOSTILE.into()]))]);
    plan.beside = vec![Beside {
        provider: HOSTILE.into(),
        resource_type: HOSTILE.into(),
        sources: vec![Gives {
            name: HOSTILE.into(),
            access: Access::exactly([Tuple::allow(HOSTILE, HOSTILE, HOSTILE)]),
            counted: BTreeMap::from([(HOSTILE.into(), 7)]),
        }],
        of: BTreeMap::from([(address("a.b"), BTreeSet::from([0]))]),
        warnings: vec![HOSTILE.into()],
        unread: Some(HOSTILE.into()),
    }];
    plan
}

#[test]
fn hostile_text_is_inert_on_a_terminal_at_every_level() {
    for level in [Level::Summary, Level::Default, Level::Full] {
        let options = Options { level, next: vec![HOSTILE.into()], ..Options::default() };
        let shown = text(&saved(hostile()), &options).to_string();
        for line in shown.lines() {
            assert!(crate::address::is_printable(line), "{line:?}");
        }
    }
}

#[test]
fn hostile_text_is_inert_as_json() {
    let shown = json(&saved(hostile())).unwrap();
    assert!(crate::address::is_printable(&shown));
    let back: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(back["plan"]["fleet"], HOSTILE);
}

/// The parts of a page that stand outside of code, as a reader of Markdown
/// takes them apart.
fn outside_code(page: &str) -> String {
    let mut outside = String::new();
    let mut fence: Option<String> = None;
    for line in page.lines() {
        if let Some(open) = &fence {
            if line == open {
                fence = None;
            }
            continue;
        }
        if line.starts_with("```") {
            fence = Some(line.chars().take_while(|c| *c == '`').collect());
            continue;
        }
        let mut rest = line;
        while let Some(start) = rest.find('`') {
            outside.push_str(&rest[..start]);
            let run = rest[start..].chars().take_while(|c| *c == '`').count();
            let after = &rest[start + run..];
            // A span ends at the next run of exactly the same length.
            let mut at = 0;
            let end = loop {
                let next = after[at..].find('`').expect("every span ends on its line") + at;
                let length = after[next..].chars().take_while(|c| *c == '`').count();
                if length == run {
                    break next + length;
                }
                at = next + length;
            };
            rest = &after[end..];
        }
        outside.push_str(rest);
        outside.push('\n');
    }
    assert!(fence.is_none(), "a fence was left open");
    outside
}

#[test]
fn hostile_text_is_inert_in_markdown() {
    for max_bytes in [1_000_000, 6_000, 2_000] {
        let options = Options { max_bytes, next: vec![HOSTILE.into()], ..Options::default() };
        let page = markdown(&saved(hostile()), &options);
        assert!(page.lines().all(crate::address::is_printable));
        let outside = outside_code(&page);
        for forbidden in ["<script", "@everyone", "://", "[a]"] {
            assert!(!outside.contains(forbidden), "{forbidden} in {outside}");
        }
        assert!(!outside.contains("@all"));
        // The two comments of the marker, and no end of one but theirs.
        assert_eq!(outside.matches("-->").count(), 2);
        assert!(page.lines().next().is_some_and(|line| line.ends_with(":plan -->")));
    }
}

/// A plan of many harmless steps, and a few dangerous ones among them.
fn huge(steps: usize, dangerous: usize) -> Plan {
    let mut plan = empty();
    for index in 0..steps {
        let at = format!("agent-{index}.grant");
        let risk = if index % (steps / dangerous) == 7 { Risk::Widens } else { Risk::Low };
        let mut step = step(&at, Action::Create, Kind::Permission, risk, Reason::Declared);
        step.changes = vec![change("on", None, Some(known("invoices/*")))];
        if risk == Risk::Widens {
            step.access.gained = BTreeSet::from([Tuple::allow(&at, "read", "invoices/*")]);
        }
        plan.steps.push(step);
    }
    plan
}

#[test]
fn ten_thousand_steps_fit_two_hundred_lines_with_exact_counts() {
    let plan = saved(huge(10_000, 10));
    for level in [Level::Summary, Level::Default] {
        let options = Options { level, ..Options::default() };
        let shown = text(&plan, &options).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.len() <= 200, "{} lines", lines.len());
        let listed = lines.iter().filter(|line| line.contains("create   agent-")).count();
        let counted: usize = lines
            .iter()
            .filter_map(|line| line.split_once(" create   ")?.1.split_once(" more"))
            .map(|(number, _)| number.replace(',', "").parse::<usize>().unwrap())
            .sum();
        assert_eq!(listed + counted, 10_000);
        // All that is dangerous is shown, and last.
        let dangerous: Vec<usize> = (0..lines.len())
            .filter(|i| lines[*i].contains("create") && lines[*i].ends_with("WIDENS"))
            .collect();
        assert_eq!(dangerous.len(), 10);
        let harmless = lines.iter().rposition(|l| l.contains("create") && !l.ends_with("WIDENS"));
        assert!(harmless.unwrap() < dangerous[0]);
    }
}

#[test]
fn a_plan_that_is_huge_in_every_way_fits_two_hundred_lines() {
    let mut plan = huge(10_000, 5_000);
    for index in 0..1_000 {
        plan.steps[index].resource_type = format!("type-{index}");
        let at = address(&format!("other-{index}.grant"));
        plan.unread.insert(at.clone(), BTreeSet::from(["hidden".into()]));
        plan.in_doubt.insert(at.clone());
        plan.blocked.push(Blocked { address: at.clone(), reason: "r".into(), repair: "h".into() });
        plan.drift.push(Drift {
            address: at.clone(),
            fields: BTreeMap::new(),
            gone: true,
            suspended: None,
            access: AccessChange::default(),
        });
        plan.agents.push(AgentStep {
            instance: at.instance().clone(),
            change: AgentChange::Leaves { cause: Cause::Removed },
        });
        plan.undeclared.push(Undeclared {
            instance: None,
            provider: "p".into(),
            resource_type: "t".into(),
            object: Object {
                id: "i".into(),
                fields: BTreeMap::new(),
                suspended: false,
                mark: None,
                obstacle: None,
                label: None,
            },
            access: Access::NONE,
        });
    }
    let many: Value = (0..5_000).collect();
    plan.steps[7].changes =
        vec![change("allow", Some(Value::List(vec![])), Some(Node::Known(many)))];
    let plan = saved(plan);
    let shown = text(&plan, &Options::default()).to_string();
    assert!(shown.lines().count() <= 200, "{} lines", shown.lines().count());
    assert!(shown.contains("Plan: 0 to adopt, 10000 to add"), "{shown}");
    for section in ["Drift", "Agents", "Steps", "Blocked", "Undeclared", "Not checked", "In doubt"]
    {
        assert!(shown.contains(section), "{section}");
    }
    // And a comment keeps to its limit, whole.
    for max_bytes in [65_536, 32_768, 4_096] {
        let page = markdown(&plan, &Options { max_bytes, ..Options::default() });
        assert!(page.len() <= max_bytes, "{} > {max_bytes}", page.len());
        outside_code(&page);
        assert!(page.contains("10000 to add") && page.contains("left out here"));
    }
}

#[test]
fn json_has_the_plan_with_its_digest_and_a_summary() {
    let saved = saved(busy());
    let value: serde_json::Value = serde_json::from_str(&json(&saved).unwrap()).unwrap();
    assert_eq!(value["digest"], saved.digest().to_string());
    let back: SavedPlan = serde_json::from_value(serde_json::json!({
        "digest": value["digest"],
        "plan": value["plan"],
    }))
    .unwrap();
    assert_eq!(back, saved);
    assert_eq!(value["summary"]["verdict"], "widens");
    assert_eq!(value["summary"]["revoke"], 1);
    assert_eq!(value["summary"]["risks"]["widens"], 2);
    assert_eq!(value["summary"]["clean"], false);
}

#[test]
fn a_rotation_is_counted_and_the_end_of_an_older_one_is_called_what_it_is() {
    let mut plan = empty();
    let due = Reason::Due { since: "2026-11-24T09:00:00Z".parse().unwrap() };
    let outlived = Reason::Outlived { generation: 1, cut_off: BTreeSet::new() };
    let mut ended =
        step("triage.token", Action::ReplaceCreateFirst, Kind::Credential, Risk::Narrows, outlived);
    ended.part = Part::Remove;
    plan.steps = vec![step("triage.key", Action::Rotate, Kind::Credential, Risk::Low, due), ended];
    let shown = text(&saved(plan), &Options::default()).to_string();
    assert!(shown.contains("rotate   triage.key"), "{shown}");
    assert!(shown.contains("end      triage.token"), "{shown}");
    assert!(!shown.contains("revokes the old one"), "{shown}");
    let counted = "0 to revoke, 0 to destroy, 1 to rotate, 1 older to end.";
    assert!(shown.contains(counted), "{shown}");
}
