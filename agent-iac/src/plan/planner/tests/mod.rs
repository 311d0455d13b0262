//! The planner on small hand-made views of a fleet: what is declared, what is
//! recorded and what was read, each changed by a test in one respect.
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them so")]

mod desired;
mod leaving;
mod trust;

use std::{collections::BTreeMap, fmt::Write as _};

use expect_test::Expect;
use jiff::Timestamp;

use super::{Options, plan};
use crate::{
    address::{Address, Instance},
    agent::{AgentTerms, Declared, Source, Terms, Written},
    blueprint::{Blueprint, Desired},
    diff::Compared,
    fleet::{Fleet, FleetAgent},
    ledger::{
        Actor, AgentRecord, Cause, CredentialRecord, Hold, Leaving, Managed, OpenStep, Record,
        RunId, State,
    },
    plan::{Action, AgentChange, Observations, Observed, Part, Plan, Undeclared},
    provider::{
        AtOnce, Capabilities, CredentialCapabilities, Mark, Object, Observation, Origin, Reach,
        Recovery,
    },
    resource::{Lookup, Node, Reading, Resource},
    schema::Kind,
    testing::world::{Account, Grant, Job, Key, LoneKey},
    value::{Digest, Value},
    vault::{StoredVersion, Versions},
};

const NOW: &str = "2027-01-10T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn instance(text: &str) -> Instance {
    text.parse().unwrap()
}

fn known(value: impl Into<Value>) -> Node {
    Node::Known(value.into())
}

fn link(to: &str) -> Node {
    Node::Link(address(to))
}

fn words(items: &[&str]) -> Node {
    Node::Known(items.iter().copied().collect::<Value>())
}

/// One resource as it is declared.
fn resource<R: Resource>(field: &str, properties: &[(&str, Node)]) -> Declared {
    Declared {
        field: field.into(),
        resource_type: R::RESOURCE,
        properties: properties.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
        terms: Terms::default(),
        source: Source::rust("fleet.rs", 7, 5),
        written: Written::default(),
    }
}

/// A declared agent: its expiry and its grace are those of most tests.
fn agent(at: &str, resources: Vec<Declared>) -> FleetAgent {
    FleetAgent {
        instance: instance(at),
        terms: AgentTerms {
            name: "unused".into(),
            owner: "team:a".into(),
            purpose: "Tests.".into(),
            expires: "2027-06-30".into(),
            grace: Some("7d".into()),
            source: Source::rust("fleet.rs", 1, 1),
        },
        resources,
        maker: None,
        written: Written::default(),
    }
}

/// An account, a grant on it and a key of it, all of one agent.
fn small(at: &str) -> FleetAgent {
    let account = format!("{at}.account");
    let mut key = resource::<Key>("key", &[("of", link(&account))]);
    key.terms.deliver(format!("vault:{at}/key"));
    agent(
        at,
        vec![
            resource::<Account>("account", &[("name", known(at)), ("note", known("n"))]),
            resource::<Grant>(
                "grant",
                &[
                    ("to", link(&account)),
                    ("on", known(format!("of-{at}"))),
                    ("allow", words(&["read", "list"])),
                ],
            ),
            key,
        ],
    )
}

fn fleet(agents: Vec<FleetAgent>) -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("sim", Reach::Declared).store("vault");
    fleet.agents = agents;
    fleet
}

/// The three views of one fleet.
struct Rig {
    fleet: Fleet,
    state: State,
    seen: Observations,
    options: Options,
}

impl Rig {
    /// A fleet of which nothing exists yet.
    fn new(fleet: Fleet) -> Self {
        let mut state = State { ledger: "l1".into(), ..State::default() };
        state.fleet = "billing".into();
        state.environment = "test".into();
        let types =
            [Account::RESOURCE, Grant::RESOURCE, Key::RESOURCE, LoneKey::RESOURCE, Job::RESOURCE];
        let capabilities = types
            .iter()
            .map(|ty| {
                let at_once = if ty.name == LoneKey::TYPE { AtOnce::One } else { AtOnce::Two };
                let credential = (ty.kind == Kind::Credential).then_some(CredentialCapabilities {
                    origin: Origin::System,
                    at_once,
                    last_use_known: false,
                    propagation: std::time::Duration::ZERO,
                });
                let suspends = ty.kind == Kind::Identity;
                let capabilities = Capabilities {
                    recovery: Recovery::Registry,
                    suspends,
                    credential,
                    ..Capabilities::default()
                };
                (("sim".to_owned(), ty.name.to_owned()), capabilities)
            })
            .collect();
        let seen = Observations {
            at: at(NOW),
            objects: BTreeMap::new(),
            deposed: BTreeMap::new(),
            undeclared: Vec::new(),
            unlisted: BTreeMap::new(),
            targets: BTreeMap::from([("sim".to_owned(), "sim:1".to_owned())]),
            capabilities,
            types: types.iter().map(|ty| (ty.name.to_owned(), *ty)).collect(),
            beside: Vec::new(),
        };
        Self { fleet, state, seen, options: Options::new(at(NOW)) }
    }

    /// A fleet that was applied, in a world that nobody touched since.
    fn applied(fleet: Fleet) -> Self {
        let mut rig = Self::new(fleet);
        rig.settle();
        rig
    }

    fn blueprint(&self) -> Blueprint {
        self.fleet.blueprint("test").expect("the test declares a valid fleet")
    }

    /// Lets everything that is declared exist, and be recorded so.
    fn settle(&mut self) {
        let blueprint = self.blueprint();
        for (instance, agent) in blueprint.agents() {
            let record = AgentRecord {
                owner: agent.owner.clone(),
                purpose: agent.purpose.clone(),
                expires: agent.expires,
                grace: agent.grace,
                source: None,
                since: at(NOW),
                leaving: None,
                hold: None,
                proved_at: None,
            };
            self.state.agents.entry(instance.clone()).or_insert(record);
        }
        for (address, desired) in blueprint.resources() {
            if self.state.records.get(address).is_none_or(Record::is_vacant) {
                self.make(address, desired);
            }
        }
    }

    fn make(&mut self, address: &Address, desired: &Desired) {
        let id = format!("id-{address}");
        let properties: BTreeMap<String, Value> = desired
            .properties
            .iter()
            .map(|(name, node)| (name.to_owned(), node.resolve(&Ids).expect("a test's value")))
            .collect();
        let outputs = BTreeMap::from([("id".to_owned(), Value::from(id.as_str()))]);
        let mut fields: BTreeMap<String, Reading> =
            properties.iter().map(|(n, v)| (n.clone(), Reading::Known(v.clone()))).collect();
        fields.insert("id".into(), Reading::Known(Value::from(id.as_str())));
        let credential = desired.credential.as_ref().map(|wanted| CredentialRecord {
            generation: 1,
            place: wanted.place.clone(),
            stored: Some(Digest::of_bytes(b"value")),
            fingerprint: None,
            issued_at: None,
            verified_at: None,
        });
        let stored = credential.as_ref().map(|_| Ok(stands(1, b"value")));
        let object = Managed {
            resource_type: desired.resource_type.name.to_owned(),
            kind: desired.resource_type.kind,
            provider: desired.provider.clone(),
            id: id.clone(),
            properties,
            outputs,
            access: desired.access.access(),
            dependencies: desired.dependencies.clone(),
            protect: desired.protect,
            suspended: false,
            credential,
        };
        let generations = u32::from(object.credential.is_some());
        let record =
            Record { version: 3, object: Some(object.into()), generations, ..Record::default() };
        self.state.records.insert(address.clone(), record);
        let real = Object {
            id,
            fields,
            suspended: false,
            mark: Some(mark(address)),
            obstacle: None,
            label: None,
        };
        self.seen
            .objects
            .insert(address.clone(), Observed { object: Observation::Present(real), stored });
    }

    /// What is declared, changed.
    fn declare(&mut self, at: &str) -> &mut Declared {
        let wanted = address(at);
        self.fleet
            .agents
            .iter_mut()
            .find(|agent| agent.instance == *wanted.instance())
            .and_then(|agent| agent.resources.iter_mut().find(|r| r.field == wanted.resource()))
            .expect("the test declares it")
    }

    fn property(&mut self, at: &str, name: &str, node: Node) {
        self.declare(at).properties.insert(name.into(), node);
    }

    /// What is recorded, changed.
    fn record(&mut self, at: &str) -> &mut Record {
        self.state.records.get_mut(&address(at)).expect("the test records it")
    }

    fn recorded(&mut self, at: &str) -> &mut Managed {
        let object = self.record(at).object.as_mut().expect("the test records an object");
        std::sync::Arc::make_mut(object)
    }

    fn agent(&mut self, at: &str) -> &mut AgentRecord {
        self.state.agents.get_mut(&instance(at)).expect("the test records the agent")
    }

    /// What was read, changed.
    fn observed(&mut self, at: &str) -> &mut Observed {
        self.seen.objects.get_mut(&address(at)).expect("the test reads it")
    }

    fn real(&mut self, at: &str) -> &mut Object {
        match &mut self.observed(at).object {
            Observation::Present(object) => object,
            other => panic!("there is no object: {other:?}"),
        }
    }

    fn read(&mut self, at: &str, name: &str, reading: Reading) {
        self.real(at).fields.insert(name.into(), reading);
    }

    fn see(&mut self, at: &str, observation: Observation) {
        let stored = self.seen.objects.get(&address(at)).and_then(|seen| seen.stored.clone());
        self.seen.objects.insert(address(at), Observed { object: observation, stored });
    }

    fn undeclare(&mut self, at: &str) {
        let gone = instance(at);
        self.fleet.agents.retain(|agent| agent.instance != gone);
    }

    fn plan(&self) -> Plan {
        plan(&self.blueprint(), &self.state, &self.seen, &self.options)
    }
}

/// Ids as [`Rig::make`] gives them.
struct Ids;

impl Lookup for Ids {
    fn output(&self, address: &Address, _: &str) -> Option<Value> {
        self.id(address).map(Value::Text)
    }

    fn id(&self, address: &Address) -> Option<String> {
        Some(format!("id-{address}"))
    }
}

fn mark(at: &Address) -> Mark {
    Mark { fleet: "billing".into(), environment: "test".into(), address: at.clone() }
}

fn stands(generation: u32, value: &[u8]) -> Versions {
    let claim = RunId::random(&crate::testing::world::SimEntropy::new(1)).claim(1);
    let current = StoredVersion { generation, claim, digest: Digest::of_bytes(value) };
    Versions { current: Some(current), ..Versions::default() }
}

/// A real object that nobody recorded.
fn found<R: Resource>(id: &str, fields: &[(&str, Value)]) -> Object {
    let mut object = Object {
        id: id.into(),
        fields: BTreeMap::new(),
        suspended: false,
        mark: None,
        obstacle: None,
        label: None,
    };
    for field in R::RESOURCE.fields {
        object.fields.insert(field.name.to_owned(), Reading::Known(Value::Null));
    }
    for (name, value) in fields {
        object.fields.insert((*name).to_owned(), Reading::Known(value.clone()));
    }
    object
}

/// The only place that plans: everything that a plan says, one line each.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "an expectation is written in place")]
fn check(rig: &Rig, expected: Expect) -> Plan {
    let plan = rig.plan();
    assert_eq!(plan, rig.plan(), "the same views give the same plan");
    expected.assert_eq(&shown(&plan));
    plan
}

fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.agents {
        let change = match &step.change {
            AgentChange::Declared { .. } => "is declared".to_owned(),
            AgentChange::Leaves { cause } => format!("leaves, {cause}"),
            AgentChange::Returns => "returns".to_owned(),
            AgentChange::Ends { cause } => format!("ends, {cause}"),
        };
        writeln!(text, "agent {} {change}", step.instance).unwrap();
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let what = match (step.action, step.part) {
            (Action::ReplaceCreateFirst, Part::Make) => "make new".to_owned(),
            (Action::ReplaceCreateFirst, _) => "remove old".to_owned(),
            (Action::ReplaceDeleteFirst, Part::Remove) => "remove first".to_owned(),
            (Action::ReplaceDeleteFirst, _) => "make again".to_owned(),
            (action, _) => action.to_string(),
        };
        write!(text, "{index} {what} {}: {}; {}", step.address, step.reason, step.risk).unwrap();
        if !step.after.is_empty() {
            write!(text, "; after {:?}", step.after.iter().collect::<Vec<_>>()).unwrap();
        }
        text.push('\n');
        // What goes was shown when it was made.
        let goes = step.action == Action::Delete || step.part == Part::Remove;
        for change in step.changes.iter().filter(|_| !goes) {
            let before = match &change.before {
                None => "-".to_owned(),
                Some(Reading::Known(value)) => value.to_string(),
                Some(other) => format!("{other:?}"),
            };
            let after = change.after.as_ref().map_or("-".to_owned(), Node::shown);
            writeln!(text, "    {}: {before} → {after}", change.name).unwrap();
        }
        for note in &step.notes {
            writeln!(text, "    note: {note}").unwrap();
        }
    }
    for blocked in &plan.blocked {
        writeln!(text, "blocked {}: {}; {}", blocked.address, blocked.reason, blocked.repair)
            .unwrap();
    }
    for drift in &plan.drift {
        write!(text, "drift {}, {}:", drift.address, drift.access.verdict()).unwrap();
        if drift.gone {
            text.push_str(" gone");
        }
        match drift.suspended {
            Some(true) => text.push_str(" suspended"),
            Some(false) => text.push_str(" resumed"),
            None => {}
        }
        for (name, field) in &drift.fields {
            let observed = match &field.observed {
                Compared::Differs(value) => value.to_string(),
                other => format!("{other:?}"),
            };
            write!(text, " {name} {} → {observed}", field.recorded).unwrap();
        }
        text.push('\n');
    }
    for found in &plan.undeclared {
        let on = found.instance.as_ref().map_or("nobody".to_owned(), ToString::to_string);
        writeln!(text, "undeclared {} {} of {on}", found.resource_type, found.object.id).unwrap();
    }
    for (address, reasons) in &plan.unread {
        for why in reasons {
            writeln!(text, "unread {address}: {why}").unwrap();
        }
    }
    for address in &plan.in_doubt {
        writeln!(text, "in doubt {address}").unwrap();
    }
    writeln!(text, "unchanged {}", plan.unchanged).unwrap();
    text
}
