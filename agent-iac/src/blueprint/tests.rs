//! Every rule of a fleet: its code, its place and its repair; and the digest.
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them so")]

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::{
    agent::{AgentTerms, Declared, Source, Terms, Written},
    fleet::{Fleet, FleetAgent, Rules},
    provider::Reach,
    resource::{Check, Node, Problem, Resource},
    testing::world::{Account, Grant, Job, Key},
    value::Value,
};

fn known(value: impl Into<Value>) -> Node {
    Node::Known(value.into())
}

fn link(to: &str) -> Node {
    Node::Link(to.parse().unwrap())
}

fn output(of: &str, field: &str) -> Node {
    Node::Output { address: of.parse().unwrap(), field: field.into() }
}

fn resource<R: Resource>(line: u32, field: &str, properties: &[(&str, Node)]) -> Declared {
    Declared {
        field: field.into(),
        resource_type: R::RESOURCE,
        properties: properties.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
        terms: Terms::default(),
        source: Source::rust("fleet.rs", line, 5),
        written: Written::default(),
    }
}

fn account(at: &str) -> Declared {
    resource::<Account>(11, "account", &[("name", known(at))])
}

fn grant(at: &str) -> Declared {
    let to = link(&format!("{at}.account"));
    let allow = known(["read"].into_iter().collect::<Value>());
    resource::<Grant>(12, "grant", &[("to", to), ("on", known("x")), ("allow", allow)])
}

fn key(at: &str) -> Declared {
    let mut key = resource::<Key>(13, "key", &[("of", link(&format!("{at}.account")))]);
    key.terms.deliver(format!("vault:{at}/key"));
    key
}

fn agent(at: &str) -> FleetAgent {
    FleetAgent {
        instance: at.parse().unwrap(),
        terms: AgentTerms {
            name: "unused".into(),
            owner: "team:a".into(),
            purpose: "Tests.".into(),
            expires: "2027-06-30".into(),
            grace: None,
            source: Source::rust("fleet.rs", 1, 1),
        },
        resources: vec![account(at), grant(at), key(at)],
        written: Written::default(),
    }
}

fn fleet(agents: Vec<FleetAgent>) -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("sim", Reach::Declared).store("vault");
    fleet.agents = agents;
    fleet
}

/// A fleet of two agents, changed by the test.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "an expectation is written in place")]
fn check(change: impl FnOnce(&mut Fleet), expected: Expect) {
    let mut fleet = fleet(vec![agent("a"), agent("b")]);
    change(&mut fleet);
    let problems = fleet.blueprint("test").expect_err("the fleet has a mistake");
    assert!(problems.iter().all(|problem| problem.help.is_some()), "every mistake has a repair");
    expected.assert_eq(&problems.to_string());
}

fn property(fleet: &mut Fleet, resource: usize, name: &str, node: Node) {
    fleet.agents[0].resources[resource].properties.insert(name.into(), node);
}

#[test]
fn the_names_of_fleet_and_environment_are_checked() {
    check(
        |fleet| fleet.name = "Billing\u{202e}".into(),
        expect![[
            r#"error[IAC0001]: `Billing\u{202e}` is not the name of a fleet; use a-z, 0-9 and dashes, a letter first, at most 63 bytes"#
        ]],
    );
    let problems = Fleet::new("billing").blueprint("").unwrap_err();
    assert_eq!(problems.iter().count(), 1);
}

/// A role that is checked, and whose name others may give.
#[derive(Debug, crate::Resource)]
#[resource(type = "sim.role", kind = "identity", check)]
struct Role {
    #[resource(key)]
    name: String,
    /// Where it lives.
    home: Option<String>,
}

impl Check for Role {
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
        let text = |name: &str| match properties.get(name).and_then(Node::known) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        };
        let mut problems = Vec::new();
        if text("name") == "public" {
            problems.push(Problem::new("name", "`public` is everybody").help("choose another"));
        }
        if text("home").starts_with('-') {
            problems.push(Problem::new("home", "a home begins with no dash").help("drop it"));
        }
        problems
    }
}

#[test]
fn what_a_type_checks_is_reported_at_the_property_and_only_what_is_known_is_checked() {
    check(
        |fleet| {
            let mut role =
                resource::<Role>(21, "role", &[("name", known("public")), ("home", known("-x"))]);
            // As a text fleet says it: each property has a place of its own.
            role.written.put("home", Source { file: "fleet.toml".into(), line: 8, column: 3 });
            fleet.agents[0].resources.push(role);
            let named_by_another = [("name", output("a.account", "id"))];
            fleet.agents[1].resources.push(resource::<Role>(22, "role", &named_by_another));
            // A mistake of shape is one mistake.
            let no_text = [("name", known("fine")), ("home", known(7))];
            fleet.agents[1].resources.push(resource::<Role>(23, "other", &no_text));
        },
        expect![[r#"
            fleet.rs:21:5: error[IAC0009]: a.role: `public` is everybody; choose another
            fleet.rs:23:5: error[IAC0009]: b.other: `home`: expected text, found 7; Where it lives.
            fleet.toml:8:3: error[IAC0009]: a.role: a home begins with no dash; drop it"#]],
    );
}

#[test]
fn an_agent_that_is_declared_twice_is_one_mistake() {
    check(
        |fleet| fleet.agents.push(agent("a")),
        expect![
            "fleet.rs:1:1: error[IAC0002]: the agent a is declared twice; first at fleet.rs:1:1; mark the input that tells the two apart with `#[input(key)]`"
        ],
    );
}

#[test]
fn owner_purpose_and_expiry_are_mandatory() {
    check(
        |fleet| {
            let terms = &mut fleet.agents[0].terms;
            (terms.owner, terms.purpose) = (" ".into(), "".into());
            terms.expires = "2027-02-29".into();
            terms.grace = Some("seven days".into());
        },
        expect![[r#"
            fleet.rs:1:1: error[IAC0010]: a: `2027-02-29` is not a day; write the last day as `2027-06-30`
            fleet.rs:1:1: error[IAC0010]: a: the owner is empty; say who or what it is
            fleet.rs:1:1: error[IAC0010]: a: the purpose is empty; say who or what it is
            fleet.rs:1:1: error[IAC0011]: a: `seven days` is not a period; write it as `7d`"#]],
    );
}

#[test]
fn a_purpose_may_have_lines_and_nothing_that_cannot_be_shown() {
    let mut good = fleet(vec![agent("a")]);
    good.agents[0].terms.purpose = "Line one.\n\nLine two.".into();
    assert!(good.blueprint("test").is_ok());
    check(
        |fleet| fleet.agents[0].terms.purpose = "Tests.\u{1b}[2J".into(),
        expect![
            "fleet.rs:1:1: error[IAC0010]: a: the purpose holds characters that cannot be shown; use visible characters"
        ],
    );
}

#[test]
fn a_field_name_is_checked() {
    check(
        |fleet| fleet.agents[0].resources[2].field = "Key!".into(),
        expect![
            "fleet.rs:13:5: error[IAC0001]: `Key!` is not a resource's name; use a-z, 0-9 and underscores, at most 63 bytes"
        ],
    );
}

#[test]
fn a_provider_that_the_fleet_does_not_name_is_unknown() {
    check(
        |fleet| fleet.agents[0].resources[1].terms.provider("sin"),
        expect![
            "fleet.rs:12:5: error[IAC0003]: a.grant: the fleet has no provider named `sin`; did you mean `sim`?"
        ],
    );
    check(
        |fleet| fleet.agents[0].resources[1].terms.provider("postgres"),
        expect![[
            r#"fleet.rs:12:5: error[IAC0003]: a.grant: the fleet has no provider named `postgres`; add `fleet.provider("postgres", Reach::Declared)`"#
        ]],
    );
}

#[test]
fn properties_are_checked_against_the_schema() {
    check(
        |fleet| property(fleet, 0, "nam", known("x")),
        expect![
            "fleet.rs:11:5: error[IAC0009]: a.account: unknown property `nam`; did you mean `name`?"
        ],
    );
    check(
        |fleet| property(fleet, 0, "color", known("red")),
        expect![
            "fleet.rs:11:5: error[IAC0009]: a.account: unknown property `color`; `sim.account` has no such property"
        ],
    );
    check(
        |fleet| property(fleet, 0, "note", known(7)),
        expect![
            "fleet.rs:11:5: error[IAC0009]: a.account: `note`: expected text, found 7; What it is for."
        ],
    );
    check(
        |fleet| property(fleet, 1, "allow", known("read")),
        expect![[
            r#"fleet.rs:12:5: error[IAC0009]: a.grant: `allow`: expected a list, found "read"; What is allowed."#
        ]],
    );
    check(
        |fleet| {
            fleet.agents[0].resources[1].properties.remove("on");
        },
        expect![
            "fleet.rs:12:5: error[IAC0009]: a.grant: missing property `on`; `sim.grant` needs it: The object, or a pattern of objects."
        ],
    );
    check(
        |fleet| fleet.agents[0].resources[0].terms.ignore(["colour"]),
        expect![
            "fleet.rs:11:5: error[IAC0009]: a.account: `ignore` names the unknown property `colour`; remove it"
        ],
    );
}

#[test]
fn text_that_was_a_reference_is_refused_wherever_it_stands() {
    let broken = "\u{f1ac0}A.ACCOUNT#ID\u{f1ac1}";
    check(
        |fleet| property(fleet, 0, "note", known(broken)),
        expect![[
            r#"fleet.rs:11:5: error[IAC0009]: a.account: `note` holds text that was a reference: `\u{f1ac0}A.ACCOUNT#ID\u{f1ac1}`; use an output in `format!` as it is, without changing the text"#
        ]],
    );
    // Beside a sound one too, where the text as a whole is not known yet.
    let beside = Node::Concat(vec![known(broken), output("a.account", "id")]);
    check(
        |fleet| property(fleet, 1, "on", beside),
        expect![[
            r#"fleet.rs:12:5: error[IAC0009]: a.grant: `on` holds text that was a reference: `\u{f1ac0}A.ACCOUNT#ID\u{f1ac1}`; use an output in `format!` as it is, without changing the text"#
        ]],
    );
}

#[test]
fn a_credential_has_a_place_of_its_own_in_a_known_store() {
    check(
        |fleet| fleet.agents[0].resources[2].terms.deliver = None,
        expect![[
            r#"fleet.rs:13:5: error[IAC0007]: a.key: the credential has no place; say where it is delivered: `deliver = "vault:agents/name/key"`"#
        ]],
    );
    check(
        |fleet| fleet.agents[0].resources[2].terms.deliver("vault"),
        expect![
            "fleet.rs:13:5: error[IAC0007]: a.key: `vault` is not a place; write `store:path`, as `vault:agents/triage/key`"
        ],
    );
    check(
        |fleet| fleet.agents[0].resources[2].terms.deliver("vault:../x"),
        expect![[
            r#"fleet.rs:13:5: error[IAC0007]: a.key: `vault:../x` is not a place; each part of the path is of visible characters, does not start with a dot, and holds no `\` or `:`"#
        ]],
    );
    check(
        |fleet| fleet.agents[0].resources[2].terms.deliver("vaul:a/key"),
        expect![
            "fleet.rs:13:5: error[IAC0004]: a.key: the fleet has no secret store named `vaul`; did you mean `vault`?"
        ],
    );
    check(
        |fleet| fleet.agents[0].resources[2].terms.deliver("vault:b/key"),
        expect![
            "fleet.rs:13:5: error[IAC0007]: b.key: `a.key` is delivered at `vault:b/key` too; give each credential a place of its own"
        ],
    );
    let later = "vault:\u{f1ac0}a.account#id\u{f1ac1}/key";
    check(
        |fleet| fleet.agents[0].resources[2].terms.deliver(later),
        expect![
            "fleet.rs:13:5: error[IAC0007]: a.key: the place depends on a value that is known only after apply; use inputs only: consumers must know the place beforehand"
        ],
    );
}

/// A process that uses a key.
#[derive(Debug, crate::Resource)]
#[resource(type = "sim.worker", kind = "runtime")]
struct Worker {
    #[resource(key)]
    name: String,
    secret: crate::resource::Link<Key>,
}

fn worker(at: &str, secret: &str) -> Declared {
    let properties = [("name", known(at)), ("secret", link(secret))];
    resource::<Worker>(14, "worker", &properties)
}

#[test]
fn each_consumer_is_read_and_one_that_is_a_runtime_must_be_declared() {
    let consumers = |fleet: &mut Fleet, names: &[&str]| {
        fleet.agents[1].resources.push(worker("b", "b.key"));
        fleet.agents[0].resources[2].terms.consumers(names.iter().copied());
    };
    check(
        |fleet| consumers(fleet, &["Billing", "fil:/srv/key", "signal:KILL /run/app.pid", "b"]),
        expect![[r#"
            fleet.rs:13:5: error[IAC0019]: a.key: `Billing` is no consumer; an application's name is of a-z, 0-9, dashes, dots and `_`
            fleet.rs:13:5: error[IAC0019]: a.key: `fil:/srv/key` is no consumer; did you mean `file:`?
            fleet.rs:13:5: error[IAC0019]: a.key: `signal:KILL /run/app.pid` is no consumer; the signal is HUP, USR1 or USR2"#]],
    );
    check(
        |fleet| consumers(fleet, &["runtime:b.wrker"]),
        expect![
            "fleet.rs:13:5: error[IAC0019]: a.key: the runtime `b.wrker` is not declared; did you mean `b.worker`?"
        ],
    );
    check(
        |fleet| consumers(fleet, &["runtime:b.key"]),
        expect![
            "fleet.rs:13:5: error[IAC0019]: a.key: `b.key` is no runtime, but of the type `sim.key`; name the runtime that uses the credential"
        ],
    );
    check(
        |fleet| consumers(fleet, &["runtime:c.whatever_it_is"]),
        expect![
            "fleet.rs:13:5: error[IAC0019]: a.key: the runtime `c.whatever_it_is` is not declared; add the agent to the fleet, or name another"
        ],
    );
    check(
        |fleet| {
            consumers(fleet, &["file:/srv/key"]);
            fleet.agents[1].resources[2].terms.consumers(["file:/srv/key mode=0640"]);
        },
        expect![
            "fleet.rs:13:5: error[IAC0019]: b.key: `/srv/key` is written with a.key too; give each secret a file of its own"
        ],
    );
    check(
        |fleet| consumers(fleet, &["app-\u{f1ac0}a.account#id\u{f1ac1}"]),
        expect![
            "fleet.rs:13:5: error[IAC0019]: a.key: a consumer depends on a value that is known only after apply; use inputs only: who is told must be known beforehand"
        ],
    );
    let mut sound = fleet(vec![agent("a"), agent("b")]);
    consumers(&mut sound, &["runtime:b.worker", "billing-api"]);
    let blueprint = sound.blueprint("test").unwrap();
    let credential = blueprint.resources()[&"a.key".parse().unwrap()].credential.as_ref();
    let found: Vec<String> =
        credential.unwrap().consumers.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["billing-api", "runtime:b.worker"]);
}

#[test]
fn a_runtime_that_binds_a_credential_is_its_consumer_without_being_named() {
    let mut fleet = fleet(vec![agent("a"), agent("b")]);
    fleet.agents[1].resources.push(worker("b", "a.key"));
    let blueprint = fleet.blueprint("test").unwrap();
    let credential = blueprint.resources()[&"a.key".parse().unwrap()].credential.as_ref();
    let found: Vec<String> =
        credential.unwrap().consumers.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["runtime:b.worker"]);
}

#[test]
fn periods_are_checked_and_the_overlap_is_shorter_than_the_period() {
    let rotate = |fleet: &mut Fleet, rotate: &str, overlap: &str| {
        let terms = &mut fleet.agents[0].resources[2].terms;
        terms.rotate(rotate);
        terms.overlap(overlap);
    };
    check(
        |fleet| rotate(fleet, "7d", "1w"),
        expect![
            "fleet.rs:13:5: error[IAC0011]: a.key: `overlap`: the overlap of 1w is not shorter than the period of 1w; two generations would be valid all the time"
        ],
    );
    check(
        |fleet| rotate(fleet, "weekly", "1h"),
        expect![
            "fleet.rs:13:5: error[IAC0011]: a.key: `rotate`: `weekly` is not a period; write a whole number and s, m, h, d or w, as `7d`, up to a hundred years; or cron, as `0 3 * * mon`; or `1000 uses`"
        ],
    );
}

#[test]
fn a_reference_leads_to_a_declared_resource_of_the_right_type() {
    check(
        |fleet| property(fleet, 1, "to", link("c.account")),
        expect![
            "fleet.rs:12:5: error[IAC0005]: a.grant: it refers to `c.account`, which is not declared; did you mean `a.account`?"
        ],
    );
    check(
        |fleet| property(fleet, 1, "to", link("a.acount")),
        expect![
            "fleet.rs:12:5: error[IAC0005]: a.grant: it refers to `a.acount`, which is not declared; did you mean `a.account`?"
        ],
    );
    check(
        |fleet| property(fleet, 2, "of", link("a.grant")),
        expect![
            "fleet.rs:13:5: error[IAC0005]: a.key: `of` refers to `a.grant`, which is a sim.grant; refer to a sim.account"
        ],
    );
    check(
        |fleet| property(fleet, 0, "note", output("b.account", "idd")),
        expect![
            "fleet.rs:11:5: error[IAC0005]: a.account: `note` refers to `b.account.idd`, and a sim.account has no such output; did you mean `id`?"
        ],
    );
    check(
        |fleet| {
            let other = "c.account".parse().unwrap();
            fleet.agents[0].resources[0].terms.depends_on.insert(other);
        },
        expect![
            "fleet.rs:11:5: error[IAC0005]: a.account: it refers to `c.account`, which is not declared; did you mean `a.account`?"
        ],
    );
}

#[test]
fn a_reference_to_a_resource_with_a_mistake_of_its_own_is_no_second_mistake() {
    check(
        |fleet| property(fleet, 0, "name", known(7)),
        expect![
            "fleet.rs:11:5: error[IAC0009]: a.account: `name`: expected text, found 7; What it is called; the system allows each name once."
        ],
    );
}

#[test]
fn a_cycle_is_shown_whole() {
    check(
        |fleet| property(fleet, 0, "note", output("a.grant", "id")),
        expect![
            "fleet.rs:11:5: error[IAC0006]: a.account: resources need each other: a.account → a.grant → a.account; take one of the references out"
        ],
    );
}

#[test]
fn two_resources_that_are_one_object_are_refused() {
    check(
        |fleet| property(fleet, 0, "name", known("b")),
        expect![[
            r#"fleet.rs:11:5: error[IAC0008]: b.account: `a.account` claims the same sim.account "b" of provider `sim`; give it another name, or refer to the other agent's resource"#
        ]],
    );
    check(
        |fleet| {
            property(fleet, 1, "to", link("b.account"));
        },
        expect![[
            r#"fleet.rs:12:5: error[IAC0008]: b.grant: `a.grant` claims the same sim.grant "x", b.account of provider `sim`; give it another name, or refer to the other agent's resource"#
        ]],
    );
}

#[test]
fn the_same_name_at_two_providers_is_two_objects() {
    let mut fleet = fleet(vec![agent("a"), agent("b")]);
    fleet.provider("other", Reach::Declared);
    fleet.agents[0].resources[0].properties.insert("name".into(), known("b"));
    fleet.agents[0].resources[0].terms.provider("other");
    assert!(fleet.blueprint("test").is_ok());
}

#[test]
fn refactorings_fit_what_is_declared() {
    let at = |text: &str| text.parse::<crate::address::Address>().unwrap();
    check(
        |fleet| {
            fleet.moved(at("a.account"), at("b.account"));
        },
        expect![
            "error[IAC0012]: `a.account` was moved and is still declared; remove one of the two"
        ],
    );
    check(
        |fleet| {
            fleet.moved(at("a.old"), at("a.new"));
        },
        expect!["error[IAC0012]: `a.old` was moved to `a.new`, which is not declared; declare it"],
    );
    check(
        |fleet| {
            fleet.moved(at("a.old"), at("a.key")).moved(at("a.older"), at("a.key"));
        },
        expect!["error[IAC0012]: two resources were moved to `a.key`; remove one of the two"],
    );
    check(
        |fleet| {
            fleet.removed(at("a.key"));
        },
        expect![
            "error[IAC0012]: `a.key` is said to be no longer managed and is still declared; remove one of the two"
        ],
    );
    check(
        |fleet| {
            fleet.import(at("c.account"), "7");
        },
        expect![
            "error[IAC0012]: `7` is to be imported as `c.account`, which is not declared; declare it"
        ],
    );
    check(
        |fleet| {
            fleet.import(at("a.account"), "7\u{0}");
        },
        expect![[
            r#"error[IAC0012]: `7\u{0}` cannot be the id to import as `a.account`; give the object's id in its system"#
        ]],
    );
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    check(
        |fleet| {
            fleet.agents[1].terms.owner = "".into();
            property(fleet, 0, "note", known(7));
            property(fleet, 1, "to", link("c.account"));
            fleet.agents[0].resources[2].terms.deliver("nowhere");
        },
        expect![[r#"
            fleet.rs:1:1: error[IAC0010]: b: the owner is empty; say who or what it is
            fleet.rs:11:5: error[IAC0009]: a.account: `note`: expected text, found 7; What it is for.
            fleet.rs:12:5: error[IAC0005]: a.grant: it refers to `c.account`, which is not declared; did you mean `a.account`?
            fleet.rs:13:5: error[IAC0007]: a.key: `nowhere` is not a place; write `store:path`, as `vault:agents/triage/key`"#]],
    );
}

#[test]
fn a_malformed_key_is_reported_and_two_of_them_are_no_duplicate() {
    use crate::Agent;
    /// Has a key.
    #[derive(Agent, Debug)]
    #[agent(owner = "team:a", expires = "2027-06-30")]
    #[allow(dead_code, reason = "declared only")]
    struct Keyed {
        #[input(key)]
        tenant: String,
        #[identity(name = tenant)]
        account: Account,
    }
    let mut fleet = fleet(vec![]);
    fleet.add(KeyedInputs { tenant: "a\u{0}".into() });
    fleet.add(KeyedInputs { tenant: String::new() });
    let problems = fleet.blueprint("test").unwrap_err();
    assert_eq!(problems.iter().count(), 2, "{problems}");
    assert!(problems.iter().all(|problem| problem.code == crate::diagnostic::Code::Name));
}

#[test]
fn the_digest_changes_with_the_environment_the_rules_and_the_reach_and_not_with_source_lines() {
    let digest = |environment: &str, change: &dyn Fn(&mut Fleet)| {
        let mut fleet = fleet(vec![agent("a")]);
        change(&mut fleet);
        fleet.blueprint(environment).unwrap().digest()
    };
    let plain = digest("test", &|_| {});
    assert_eq!(
        plain,
        digest("test", &|fleet| {
            fleet.agents[0].terms.source.line = 99;
            fleet.agents[0].resources[0].source.line = 99;
        })
    );
    let changes: [&dyn Fn(&mut Fleet); 9] = [
        &|fleet| fleet.name = "mail".into(),
        &|fleet| {
            fleet.rules(Rules { max_leaving: Some(1), ..Rules::default() });
        },
        &|fleet| {
            fleet.provider("sim", Reach::Exclusive);
        },
        &|fleet| {
            fleet.store("other");
        },
        &|fleet| fleet.agents[0].terms.owner = "team:b".into(),
        &|fleet| fleet.agents[0].terms.expires = "2027-07-01".into(),
        &|fleet| fleet.agents[0].resources[0].terms.protect(true),
        &|fleet| fleet.agents[0].resources[0].terms.because("it has a reason"),
        &|fleet| property(fleet, 0, "note", known("other")),
    ];
    let mut seen = vec![plain, digest("production", &|_| {})];
    for change in changes {
        seen.push(digest("test", change));
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "each of them gives another digest");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_declaration_makes_no_difference(
        agents in Just((0..4).collect::<Vec<usize>>()).prop_shuffle(),
        resources in Just((0..4).collect::<Vec<usize>>()).prop_shuffle(),
        allowed in Just(vec!["read", "write", "list"]).prop_shuffle(),
    ) {
        let declared = |order: &[usize], within: &[usize], allowed: &[&str]| {
            let made: BTreeMap<usize, FleetAgent> = order
                .iter()
                .map(|number| {
                    let at = format!("a{number}");
                    let mut agent = agent(&at);
                    let run_as = link(&format!("a{}.account", (number + 1) % 4));
                    agent.resources.push(resource::<Job>(14, "job", &[
                        ("name", known(at.as_str())), ("run_as", run_as), ("command", known("x")),
                    ]));
                    let allow = allowed.iter().copied().collect::<Value>();
                    agent.resources[1].properties.insert("allow".into(), known(allow));
                    let mut resources: Vec<_> = agent.resources.drain(..).map(Some).collect();
                    agent.resources = within.iter().filter_map(|at| resources[*at].take()).collect();
                    (*number, agent)
                })
                .collect();
            let mut made = made;
            fleet(order.iter().filter_map(|number| made.remove(number)).collect())
        };
        let plain = declared(&[0, 1, 2, 3], &[0, 1, 2, 3], &["read", "write", "list"]);
        let shuffled = declared(&agents, &resources, &allowed);
        prop_assert_eq!(
            shuffled.blueprint("test").unwrap().digest(),
            plain.blueprint("test").unwrap().digest()
        );
    }
}
