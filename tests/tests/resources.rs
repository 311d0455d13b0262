//! What `derive(Resource)` and `derive(Property)` make, seen from outside the
//! core crate.

use std::collections::{BTreeMap, BTreeSet};

use agent_iac::{
    access::Access,
    address::Address,
    prelude::*,
    resource::{Builder as _, Link, Node, Reading, Ref, Spec as _},
    schema::{Kind, Mutability, Type},
    value::Value,
};

/// What an account may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Property)]
enum Flag {
    SuperUser,
    #[property(rename = "login!")]
    Login,
}

/// A place in the file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Property)]
struct Home {
    path: String,
    quota: Option<u32>,
}

/// A number of connections.
#[derive(Clone, Debug, Default, PartialEq, Property)]
struct Limit(u32);

/// An account of a test system.
///
/// It has every form of field.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "test.account", kind = "identity")]
struct Account {
    /// Its name.
    #[resource(key)]
    name: String,
    /// Shown to people.
    display: Option<String>,
    #[resource(replace)]
    home: Option<Home>,
    #[resource(default)]
    flags: BTreeSet<Flag>,
    #[resource(default)]
    limit: Limit,
    r#type: Option<String>,
    /// The id in the test system.
    #[resource(output)]
    id: String,
    #[resource(output)]
    uid: u32,
}

#[derive(Debug, Resource)]
#[resource(type = "test.grant", kind = "permission")]
struct Grant {
    #[resource(key, update)]
    to: Link<Account>,
    allow: BTreeSet<String>,
}

impl Grants for Grant {
    fn grants(_: &str, _: &BTreeMap<String, Node>) -> Access {
        Access::undecided("a test")
    }
}

#[derive(Debug, Resource)]
#[resource(type = "test.login", kind = "credential")]
struct Login {
    of: Link<Account>,
    #[resource(output)]
    generation: u32,
}

fn address(text: &str) -> Address {
    text.parse().expect("the test gives an address")
}

fn known(value: impl Into<Value>) -> Node {
    Node::Known(value.into())
}

#[test]
fn the_description_is_sorted_and_complete() {
    let ty = Account::RESOURCE;
    assert_eq!((ty.name, ty.kind), ("test.account", Kind::Identity));
    assert_eq!(ty.doc, "An account of a test system.\n\nIt has every form of field.");
    let fields: Vec<_> =
        ty.fields.iter().map(|f| (f.name, f.required, f.key, f.mutability)).collect();
    assert_eq!(
        fields,
        [
            ("display", false, false, Mutability::Update),
            ("flags", false, false, Mutability::Update),
            ("home", false, false, Mutability::Replace),
            ("limit", false, false, Mutability::Update),
            ("name", true, true, Mutability::Replace),
            ("type", false, false, Mutability::Update),
        ]
    );
    assert_eq!(ty.field("flags").unwrap().ty, Type::Set(&Type::Enum(&["super-user", "login!"])));
    assert_eq!(ty.field("limit").unwrap().ty, Type::Int);
    assert_eq!(ty.field("name").unwrap().doc, "Its name.");
    assert_eq!(ty.outputs.iter().map(|output| output.name).collect::<Vec<_>>(), ["id", "uid"]);
    assert_eq!(ty.output("id").unwrap().doc, "The id in the test system.");
    assert_eq!(Account::REQUIRED, ["name"]);
    assert!(ty.access.is_none());
}

#[test]
fn a_permission_says_what_it_grants() {
    let access = Grant::RESOURCE.access.unwrap();
    assert_eq!(access("a.b", &BTreeMap::new()), Access::undecided("a test"));
    let to = Grant::RESOURCE.field("to").unwrap();
    assert_eq!(
        (to.key, to.mutability, to.ty),
        (true, Mutability::Update, Type::Link("test.account"))
    );
}

#[test]
fn a_credential_has_the_outputs_of_the_engine_once() {
    let outputs: Vec<_> = Login::RESOURCE.outputs.iter().map(|o| (o.name, o.ty)).collect();
    assert_eq!(outputs, [("generation", Type::Int), ("place", Type::Text)]);
    let login: Ref<Login> = Ref::to(address("triage.login"));
    assert_eq!(
        login.place().node(),
        &Node::Output { address: address("triage.login"), field: "place".into() }
    );
    assert_eq!(login.generation().into_node().shown(), "(triage.login.generation)");
}

#[test]
fn a_builder_takes_values_references_and_text_with_references() {
    let account: Ref<Account> = Ref::to(address("triage.account"));
    let schema = String::from("eu");
    let mut builder = Account::builder();
    builder.name(format!("audit_of_{}_{schema}", account.uid())).display(&schema);
    builder.flags([Flag::Login]).r#type("robot");
    let path = format!("/home/{}", account.id());
    builder.home(Home { path, quota: None });
    let nodes = builder.fields().nodes();
    assert_eq!(nodes["name"].shown(), r#""audit_of_(triage.account.uid)_eu""#);
    assert_eq!(nodes["display"], known("eu"));
    assert_eq!(nodes["type"], known("robot"));
    assert_eq!(nodes["home"].shown(), r#"{path: "/home/(triage.account.id)", quota: null}"#);

    let mut grant = Grant::builder();
    grant.to(&account).allow(["read", "write"]);
    assert_eq!(grant.fields().nodes()["to"], Node::Link(address("triage.account")));
}

#[test]
fn a_declaration_starts_with_the_defaults_and_an_observation_with_nothing() {
    let declared = Account::builder().fields().nodes().clone();
    let expected = [
        ("flags".to_owned(), known([""; 0].into_iter().collect::<Value>())),
        ("limit".to_owned(), known(0)),
    ];
    assert_eq!(declared, BTreeMap::from(expected));
    assert!(AccountBuilder::default().fields().nodes().is_empty());
}

#[test]
fn a_mark_and_a_value_replace_each_other() {
    let mut builder = AccountBuilder::default();
    builder.name("ada").fields_mut().mark("name", Reading::Redacted);
    builder.fields_mut().mark("display", Reading::Redacted);
    builder.display("Ada");
    let readings = std::mem::take(builder.fields_mut()).into_readings();
    assert_eq!(readings["name"], Reading::Redacted);
    assert_eq!(readings["display"], Reading::Known("Ada".into()));
}

#[test]
fn a_live_resource_survives_its_plain_form() {
    let account = Account {
        name: "ada".into(),
        display: None,
        home: Some(Home { path: "/home/ada".into(), quota: Some(3) }),
        flags: BTreeSet::from([Flag::SuperUser, Flag::Login]),
        limit: Limit(4),
        r#type: None,
        id: "7".into(),
        uid: 7,
    };
    let mut values = account.to_values();
    assert_eq!(values["limit"], Value::Int(4));
    assert_eq!(values["flags"], ["login!", "super-user"].into_iter().collect());
    assert_eq!(Account::from_values(&values), Ok(account.clone()));

    values.remove("limit");
    values.remove("display");
    assert_eq!(Account::from_values(&values), Ok(Account { limit: Limit(0), ..account }));
    values.insert("uid".into(), Value::from("seven"));
    assert_eq!(Account::from_values(&values), Err("uid".into()));
    values.remove("uid");
    assert_eq!(Account::from_values(&values), Err("uid".into()));
}

#[test]
fn the_declared_properties_stand_alone() {
    let values = BTreeMap::from([("name".to_owned(), Value::from("ada"))]);
    let spec = AccountSpec::from_values(&values).unwrap();
    let expected = AccountSpec {
        name: "ada".into(),
        display: None,
        home: None,
        flags: BTreeSet::new(),
        limit: Limit(0),
        r#type: None,
    };
    assert_eq!(spec, expected);
    assert_eq!(AccountSpec::from_values(&BTreeMap::new()), Err("name".into()));
}

#[test]
fn a_property_of_another_shape_is_not_read() {
    assert_eq!(Flag::from_value(&Value::from("super-user")), Some(Flag::SuperUser));
    assert_eq!(Flag::from_value(&Value::from("SuperUser")), None);
    assert_eq!(Home::from_value(&Value::from("/home")), None);
    assert_eq!(Home::from_value(&Value::Map(BTreeMap::new())), None);
    assert_eq!(Limit::from_value(&Value::Int(-1)), None);
}
