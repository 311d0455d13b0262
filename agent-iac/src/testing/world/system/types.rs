//! The types of the simulated system: one of every kind, and one credential
//! for every way in which secrets come to be.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Resource,
    access::{Access, Tuple},
    provider::{AtOnce, Origin},
    resource::{Grants, Link, Node, Property as _, Resource},
    value::Value,
};

/// An account of the simulated system.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "sim.account", kind = "identity")]
pub struct Account {
    /// What it is called; the system allows each name once.
    #[resource(key)]
    pub name: String,
    /// What it is for.
    pub note: Option<String>,
    /// Where it lives; it cannot move.
    #[resource(replace)]
    pub home: Option<String>,
    /// The id that the system gave.
    #[resource(output)]
    pub id: String,
    /// What the system shows of the account's own secret.
    #[resource(output)]
    pub secret_hint: String,
}

/// What an account may do with one object.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "sim.grant", kind = "permission")]
pub struct Grant {
    /// Whose permission it is.
    #[resource(key)]
    pub to: Link<Account>,
    /// The object, or a pattern of objects.
    #[resource(key)]
    pub on: String,
    /// What is allowed.
    pub allow: BTreeSet<String>,
    /// The id that the system gave.
    #[resource(output)]
    pub id: String,
}

impl Grants for Grant {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        let known = |name: &str| properties.get(name).and_then(Node::known);
        let (Some(Value::Text(on)), Some(Value::List(allow))) = (known("on"), known("allow"))
        else {
            return Access::undecided(format!("what {principal} may do is known only after apply"));
        };
        Access::exactly(
            allow
                .iter()
                .filter_map(Value::as_text)
                .map(|action| Tuple::allow(principal, action, on.as_str())),
        )
    }
}

/// A key whose secret the system makes; an account may have two.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "sim.key", kind = "credential")]
pub struct Key {
    /// Whose key it is.
    pub of: Link<Account>,
    /// The id that the system gave.
    #[resource(output)]
    pub id: String,
}

/// A token whose secret the engine makes; an account may have two.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "sim.token", kind = "credential")]
pub struct Token {
    /// Whose token it is.
    pub of: Link<Account>,
    /// The id that the system gave.
    #[resource(output)]
    pub id: String,
}

/// A key of which an account may have one only, so that its rotation has a
/// gap; the system makes the secret.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "sim.lone_key", kind = "credential")]
pub struct LoneKey {
    /// Whose key it is.
    pub of: Link<Account>,
    /// The id that the system gave.
    #[resource(output)]
    pub id: String,
}

/// A command that runs as an account.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "sim.job", kind = "runtime")]
pub struct Job {
    /// What it is called; the system allows each name once.
    #[resource(key)]
    pub name: String,
    /// The account that it runs as.
    pub run_as: Link<Account>,
    /// What it runs.
    pub command: String,
    /// The id that the system gave.
    #[resource(output)]
    pub id: String,
}

/// A type of the simulated system, in the one form that the system keeps.
pub(super) trait Simulated: Resource {
    fn values(spec: &Self::Spec) -> BTreeMap<String, Value>;
}

/// A credential type of the simulated system.
pub(super) trait SimulatedCredential: Simulated {
    const ORIGIN: Origin;
    const AT_ONCE: AtOnce;
}

macro_rules! simulated {
    ($($ty:ty { $($field:ident),* })*) => {$(
        impl Simulated for $ty {
            fn values(spec: &Self::Spec) -> BTreeMap<String, Value> {
                BTreeMap::from([$((stringify!($field).to_owned(), spec.$field.to_value())),*])
            }
        }
    )*};
}

simulated! {
    Account { name, note, home }
    Grant { to, on, allow }
    Key { of }
    Token { of }
    LoneKey { of }
    Job { name, run_as, command }
}

macro_rules! credentials {
    ($($ty:ty: $origin:ident, $at_once:ident;)*) => {$(
        impl SimulatedCredential for $ty {
            const ORIGIN: Origin = Origin::$origin;
            const AT_ONCE: AtOnce = AtOnce::$at_once;
        }
    )*};
}

credentials! {
    Key: System, Two;
    Token: Engine, Two;
    LoneKey: System, One;
}
