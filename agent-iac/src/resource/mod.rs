//! What a manageable type is.
//!
//! Owns the traits that `derive(Resource)` and `derive(Property)` implement,
//! and the expressions of which a declaration is made. An expression is data
//! ([`Node`]), never a closure: a plan can be written down, hashed and read by
//! a person. Nothing here knows a provider.

mod expr;
mod node;

pub use expr::{Expr, IntoExpr, Link, Ref};
pub use node::{Lookup, Node, Unknown};

use std::collections::BTreeMap;

use crate::{
    access::Access,
    address::Address,
    schema::{Field, Kind, Output, ResourceType, Type},
    value::Value,
};

/// A value that a property can hold; made for structs and enums by
/// `derive(Property)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a property",
    note = "for a type of your own, add `#[derive(agent_iac::Property)]`"
)]
pub trait Property: Sized {
    /// The shape of its values.
    const SCHEMA: Type;

    /// Its plain form.
    fn to_value(&self) -> Value;

    /// Reads the plain form back; `None` when the value has another shape.
    fn from_value(value: &Value) -> Option<Self>;

    /// Its form as an expression. Text overrides this, because text may carry
    /// references to values that are not known yet.
    fn to_node(&self) -> Node {
        Node::Known(self.to_value())
    }
}

/// A managed type; made by `derive(Resource)`.
///
/// The struct's fields are its declared properties and its outputs; a value of
/// the struct is a live resource with everything known.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a resource",
    note = "use a type of a provider module, or add `#[derive(agent_iac::Resource)]` to your own"
)]
pub trait Resource: Sized + Send + Sync + 'static {
    /// `provider.type`.
    const TYPE: &'static str;
    /// What it is to an agent.
    const KIND: Kind;
    /// The names of the fields that a declaration must give.
    const REQUIRED: &'static [&'static str];
    /// Its description as data.
    const RESOURCE: &'static ResourceType;

    /// Collects the keys of a declaration.
    type Builder: Builder;
    /// Refers to the values that are known only after apply.
    type Outputs: Outputs;
    /// The declared properties alone, with everything known: what a provider
    /// is asked to make.
    type Spec: Spec;

    /// A builder for a declaration: without any key but the defaults.
    ///
    /// What was observed goes into an empty builder, `Self::Builder::default()`,
    /// so that a property that nobody read never looks like one with its
    /// default.
    fn builder() -> Self::Builder {
        Self::Builder::default()
    }

    /// Refers to the resource of this type at `address`.
    #[doc(hidden)]
    fn reference(address: Address) -> Ref<Self> {
        Ref::to(address)
    }

    /// Reads a live resource from its properties and outputs.
    ///
    /// # Errors
    ///
    /// The name of the first field that is missing or has another shape.
    fn from_values(values: &BTreeMap<String, Value>) -> Result<Self, String>;

    /// The declared properties and the outputs in their plain form.
    fn to_values(&self) -> BTreeMap<String, Value>;
}

/// Collects the keys of one resource; the derived builder wraps [`Fields`]
/// and has a method for each of them.
pub trait Builder: Default + Send {
    /// What was collected.
    fn fields(&self) -> &Fields;

    /// What was collected, to add to.
    fn fields_mut(&mut self) -> &mut Fields;
}

/// Refers to the outputs of a resource; derived.
pub trait Outputs: Send + Sync + 'static {
    /// The outputs of the resource at `address`.
    fn at(address: Address) -> Self;
}

/// The declared properties of a resource, with everything known; derived.
pub trait Spec: Sized + std::fmt::Debug + Send + Sync + 'static {
    /// Reads the properties; what else is in `values` is passed over.
    ///
    /// # Errors
    ///
    /// The name of the first field that is missing or has another shape.
    fn from_values(values: &BTreeMap<String, Value>) -> Result<Self, String>;
}

/// Says which access a resource gives. Implement it for every type of the kind
/// `permission`, and for every other that is marked with
/// `#[resource(…, access)]`: an identity whose attributes let it do something,
/// for example. Whatever it says counts in plans, verdicts and drift alike.
///
/// It is pure, and it sees the properties as far as they are known: answer
/// [`Access::undecided`] when one that matters is not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which access it gives",
    note = "implement `agent_iac::resource::Grants` for it"
)]
pub trait Grants: Resource {
    /// The tuples that the resource with these properties gives.
    ///
    /// `principal` is who has it: for an identity itself, for a permission the
    /// identity that `to` names, for a credential that of `of`. A permission
    /// without a `to` is given its own address, and names whom its tuples are
    /// about itself. Any other link in the properties shows the address of
    /// what it points to ([`Node::principal`]).
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access;
}

/// Finds mistakes in the properties of a declaration that their shapes cannot
/// show, as a name that the system reserves. Implement it for every type that
/// is marked with `#[resource(…, check)]`.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use agent_iac::{
///     prelude::*,
///     resource::{Check, Node, Problem},
/// };
///
/// /// A mailbox.
/// #[derive(Debug, Resource)]
/// #[resource(type = "mail.box", kind = "identity", check)]
/// struct Mailbox {
///     #[resource(key)]
///     name: String,
/// }
///
/// impl Check for Mailbox {
///     fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
///         let name = properties.get("name").and_then(Node::known);
///         match name.as_ref().and_then(|name| name.as_text()) {
///             Some("postmaster") => vec![
///                 Problem::new("name", "`postmaster` is the system's own").help("choose another"),
///             ],
///             _ => Vec::new(),
///         }
///     }
/// }
/// # assert_eq!(Mailbox::check(&BTreeMap::new()), []);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is marked with `check` and does not say what it checks",
    note = "implement `agent_iac::resource::Check` for it"
)]
pub trait Check: Resource {
    /// What is wrong with these properties.
    ///
    /// It is pure: it runs when a fleet is validated, in a build script too. A
    /// property with a mistake of its own is left out, one that was left out
    /// is null, and one whose value is not known yet ([`Node::known`]) is not
    /// judged.
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem>;
}

/// One mistake that [`Check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The property that is wrong.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Problem {
    /// Says what is wrong with a property.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), help: None }
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Properties collected by a builder, and which of them could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    nodes: BTreeMap<String, Node>,
    unreadable: BTreeMap<String, Reading>,
}

/// How a property was read from a real object.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Reading {
    /// It was read. Only what was read can ever be written back.
    Known(Value),
    /// The system hides it.
    Redacted,
    /// It could not be read; the reason.
    Unreadable(String),
    /// The system has no such property.
    Unsupported,
}

impl Fields {
    /// Sets a property.
    pub fn set(&mut self, name: &'static str, node: Node) {
        self.unreadable.remove(name);
        self.nodes.insert(name.to_owned(), node);
    }

    /// Marks a property as not read, whatever was set before.
    pub fn mark(&mut self, name: &'static str, reading: Reading) {
        self.nodes.remove(name);
        self.unreadable.insert(name.to_owned(), reading);
    }

    /// The properties that were set.
    pub fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.nodes
    }

    /// The properties that were set, taken out.
    pub fn into_nodes(self) -> BTreeMap<String, Node> {
        self.nodes
    }

    /// Every property as it was read.
    pub fn into_readings(self) -> BTreeMap<String, Reading> {
        let mut readings = self.unreadable;
        for (name, node) in self.nodes {
            let reading = match node.known() {
                Some(value) => Reading::Known(value),
                None => Reading::Unreadable("the provider gave a reference for a value".into()),
            };
            readings.insert(name, reading);
        }
        readings
    }
}

/// Sorts a constant array of fields by name; used by derived code.
#[doc(hidden)]
pub const fn sorted_fields<const N: usize>(mut fields: [Field; N]) -> [Field; N] {
    let mut i = 1;
    while i < N {
        let mut j = i;
        while j > 0 && less(fields[j].name.as_bytes(), fields[j - 1].name.as_bytes()) {
            let swap = fields[j];
            fields[j] = fields[j - 1];
            fields[j - 1] = swap;
            j -= 1;
        }
        i += 1;
    }
    fields
}

/// Sorts a constant array of outputs by name; used by derived code.
#[doc(hidden)]
pub const fn sorted_outputs<const N: usize>(mut outputs: [Output; N]) -> [Output; N] {
    let mut i = 1;
    while i < N {
        let mut j = i;
        while j > 0 && less(outputs[j].name.as_bytes(), outputs[j - 1].name.as_bytes()) {
            let swap = outputs[j];
            outputs[j] = outputs[j - 1];
            outputs[j - 1] = swap;
            j -= 1;
        }
        i += 1;
    }
    outputs
}

const fn less(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() {
        if a[i] != b[i] {
            return a[i] < b[i];
        }
        i += 1;
    }
    a.len() < b.len()
}
