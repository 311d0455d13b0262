//! What `derive(Agent)` makes, seen from outside the core crate.

use std::collections::{BTreeMap, BTreeSet};

use agent_iac::{
    address::Instance,
    agent::{AgentInputs, Declare, Declared, Live, References as _, Terms},
    prelude::*,
    resource::{Node, Ref, Resource},
    value::Value,
};
use agent_iac_tests::system as sys;

/// Answers questions about invoices.
///
/// It reads one tenant's rows.
#[derive(Debug, Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30", grace = "0d")]
pub struct InvoiceReader {
    /// The schema that holds one tenant's invoices.
    #[input(key)]
    schema: String,
    #[input]
    urgent: bool,

    // Before what it refers to: fields may stand in any order.
    #[permission(to = account, on = sys::Table::new(schema, "invoices"), allow = [sys::Verb::Select])]
    invoices: sys::Permit,

    #[identity(name = format!("invoice_reader_{schema}"), protect, provider = "other")]
    account: sys::Member,

    #[credential(
        of = account,
        length = if *urgent { 64 } else { 32 },
        rotate = Period::days(7),
        overlap = "1h",
        window = "mon 02:00-04:00 UTC",
        deliver = format!("vault:agents/{schema}/invoice-reader/db"),
        consumers = ["billing-api"],
        because = "the billing service logs in with it",
        on_drift = OnDrift::RevertWidening,
        ignore = ["length"],
    )]
    login: sys::Passcode,

    #[runtime(
        env = BTreeMap::from([("ROLE".to_owned(), format!("{}:{schema}", account.uid()))]),
        secret = login,
        depends_on = (account, invoices),
    )]
    r#async: sys::Job,
}

fn instance(text: &str) -> Instance {
    text.parse().expect("the test gives an instance")
}

fn declare<I: AgentInputs>(at: &str, inputs: &I) -> BTreeMap<String, Declared> {
    let mut cx = Declare::new(instance(at));
    I::Agent::declare(inputs, &mut cx);
    cx.into_resources().into_iter().map(|resource| (resource.field.clone(), resource)).collect()
}

fn reader() -> InvoiceReaderInputs {
    InvoiceReaderInputs { schema: "eu".into(), urgent: true }
}

fn known(value: impl Into<Value>) -> Node {
    Node::Known(value.into())
}

#[test]
fn the_terms_are_constants() {
    let terms = InvoiceReader::TERMS;
    assert_eq!(terms.name, "invoice-reader");
    assert_eq!(terms.owner, "team:billing");
    assert_eq!(terms.expires, "2027-06-30");
    assert_eq!(terms.grace.as_deref(), Some("0d"));
    assert_eq!(terms.purpose, "Answers questions about invoices.\n\nIt reads one tenant's rows.");
    assert_eq!(InvoiceReader::key(&reader()), ["eu"]);
}

#[test]
fn each_resource_knows_the_line_that_declares_it() {
    let lines: Vec<&str> = include_str!("agents.rs").lines().collect();
    for (name, resource) in declare(r#"invoice-reader["eu"]"#, &reader()) {
        assert!(resource.source.file.ends_with("agents.rs"), "{}", resource.source);
        let line = lines[resource.source.line as usize - 1];
        let column = resource.source.column as usize - 1;
        let written = line[column..].trim_start_matches("r#");
        assert!(written.starts_with(&format!("{name}: sys::")), "{name}: {line}");
    }
    let agent = InvoiceReader::TERMS.source;
    assert_eq!(lines[agent.line as usize - 1], "pub struct InvoiceReader {");
}

#[test]
fn keys_become_properties_and_terms() {
    let declared = declare(r#"invoice-reader["eu"]"#, &reader());
    let address =
        |field: &str| instance(r#"invoice-reader["eu"]"#).resource(field).expect("a field");

    let account = &declared["account"];
    assert_eq!(
        account.properties,
        BTreeMap::from([("name".to_owned(), known("invoice_reader_eu"))])
    );
    assert_eq!(
        account.terms,
        Terms { protect: true, provider: Some("other".into()), ..Terms::default() }
    );

    let invoices = &declared["invoices"];
    assert_eq!(invoices.resource_type, sys::Permit::RESOURCE);
    assert_eq!(invoices.properties["to"], Node::Link(address("account")));
    let access = invoices.resource_type.access_of("unused", &invoices.properties);
    let tuples: Vec<String> = access.tuples.iter().map(ToString::to_string).collect();
    assert_eq!(tuples, [r#"invoice-reader["eu"].account may select eu.invoices"#]);

    let login = &declared["login"];
    assert_eq!(login.properties["length"], known(64));
    assert_eq!(
        login.terms,
        Terms {
            rotate: Some("1w".into()),
            overlap: Some("1h".into()),
            window: Some("mon 02:00-04:00 UTC".into()),
            deliver: Some("vault:agents/eu/invoice-reader/db".into()),
            consumers: BTreeSet::from(["billing-api".to_owned()]),
            because: Some("the billing service logs in with it".into()),
            on_drift: OnDrift::RevertWidening,
            ignore: BTreeSet::from(["length".to_owned()]),
            ..Terms::default()
        }
    );

    let process = &declared["async"];
    assert_eq!(
        process.properties["env"].shown(),
        r#"{ROLE: "(invoice-reader["eu"].account.uid):eu"}"#
    );
    assert_eq!(process.properties["secret"], Node::Link(address("login")));
    assert_eq!(process.terms.depends_on, BTreeSet::from([address("account"), address("invoices")]));
}

/// Watches the accounts of other agents.
#[derive(Agent)]
#[agent(owner = "team:audit", expires = "2027-01-31", name = "auditor")]
struct Watcher {
    #[input]
    watched: Ref<sys::Member>,
    #[identity(name = "auditor", display = format!("watches {}", watched.id()))]
    account: sys::Member,
    #[permission(to = watched, on = sys::Table::new("audit", "log"), allow = [sys::Verb::Insert])]
    log: sys::Permit,
}

#[test]
fn an_agent_takes_a_reference_to_a_resource_of_another() {
    let reader = InvoiceReaderReferences::of(&instance(r#"invoice-reader["eu"]"#));
    let inputs = WatcherInputs { watched: reader.account() };
    assert_eq!(Watcher::key(&inputs), Vec::<String>::new());
    assert_eq!(Watcher::TERMS.name, "auditor");
    assert_eq!(Watcher::TERMS.grace, None);
    let declared = declare("auditor", &inputs);
    assert_eq!(declared["log"].properties["to"].shown(), r#"invoice-reader["eu"].account"#);
    assert_eq!(
        declared["account"].properties["display"].shown(),
        r#""watches (invoice-reader["eu"].account.id)""#
    );
}

/// Has nothing yet.
#[derive(Agent)]
#[agent(owner = "team:audit", expires = "2027-01-31")]
struct Bare {}

#[test]
fn an_agent_without_fields_needs_no_inputs() {
    assert!(declare("bare", &BareInputs::default()).is_empty());
}

#[test]
fn a_live_agent_is_put_together_from_what_exists() {
    let instance = instance("auditor");
    let values = |pairs: &[(&str, Value)]| -> BTreeMap<String, Value> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    let account = values(&[("name", "auditor".into()), ("id", "7".into()), ("uid", 7.into())]);
    let table = Value::Map(values(&[("schema", "audit".into()), ("name", "log".into())]));
    let log =
        values(&[("to", "9".into()), ("on", table), ("allow", ["insert"].into_iter().collect())]);
    let reader = InvoiceReaderReferences::of(&instance);
    let inputs = WatcherInputs { watched: reader.account() };

    let found = BTreeMap::from([("account".to_owned(), account), ("log".to_owned(), log)]);
    let watcher = Watcher::from_live(inputs.clone(), &Live::new(&instance, found))
        .expect("everything exists");
    assert_eq!(watcher.account.to_values()["uid"], Value::Int(7));
    assert_eq!(watcher.log.to_values()["to"], "9".into());

    let missing = Watcher::from_live(inputs, &Live::new(&instance, BTreeMap::new()));
    let missing = missing.err().expect("nothing exists");
    assert_eq!(missing.address().expect("the resource").to_string(), "auditor.account");
}
