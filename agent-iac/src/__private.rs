//! What derived code names. Not part of the public interface: it changes
//! without notice, together with the macro crate, which is pinned to it.
//!
//! Bodies stand here, and not in each expansion, so that they are compiled
//! once.

use std::{borrow::Cow, collections::BTreeMap, marker::PhantomData};

use crate::{
    address::{Address, Instance},
    agent::{Agent, AgentInputs, AgentTerms, Live, References, Source},
    error::{Error, ErrorKind},
    resource::{Builder, Expr, Fields, IntoExpr, Node, Outputs, Spec},
    schema::{Kind, ResourceType},
    value::Value,
};

/// Sets a key of a builder.
pub fn set<T>(fields: &mut Fields, name: &'static str, value: impl IntoExpr<T>) {
    fields.set(name, value.into_expr().into_node());
}

/// Refers to an output.
pub fn output<T>(address: &Address, field: &str) -> Expr<T> {
    Expr::from_node(Node::Output { address: address.clone(), field: field.to_owned() })
}

/// Reads a field; what is absent was left out.
///
/// # Errors
///
/// The name, when the value has another shape.
pub fn read<T>(
    values: &BTreeMap<String, Value>,
    name: &str,
    from_value: fn(&Value) -> Option<T>,
) -> Result<T, String> {
    from_value(entry(values, name)).ok_or_else(|| name.to_owned())
}

/// Reads a field that has a default when it was left out.
///
/// # Errors
///
/// As [`read`].
pub fn read_or<T>(
    values: &BTreeMap<String, Value>,
    name: &str,
    from_value: fn(&Value) -> Option<T>,
    default: fn() -> T,
) -> Result<T, String> {
    match entry(values, name) {
        Value::Null => Ok(default()),
        value => from_value(value).ok_or_else(|| name.to_owned()),
    }
}

/// A value of a map; what is absent was left out.
pub fn entry<'v>(entries: &'v BTreeMap<String, Value>, name: &str) -> &'v Value {
    entries.get(name).unwrap_or(&Value::Null)
}

/// Named values.
pub fn entries<const N: usize>(items: [(&str, Value); N]) -> BTreeMap<String, Value> {
    items.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Named values as one value.
pub fn map_value<const N: usize>(items: [(&str, Value); N]) -> Value {
    Value::Map(entries(items))
}

/// Named expressions as one; known when all of them are.
pub fn map_node<const N: usize>(items: [(&str, Node); N]) -> Node {
    Node::map(items.into_iter().map(|(name, node)| (name.to_owned(), node)).collect())
}

/// The builder of a type whose derive failed.
#[derive(Debug, Default)]
pub struct NoBuilder(Fields);

impl Builder for NoBuilder {
    fn fields(&self) -> &Fields {
        &self.0
    }

    fn fields_mut(&mut self) -> &mut Fields {
        &mut self.0
    }
}

/// The properties of a type whose derive failed.
#[derive(Debug)]
pub struct NoSpec;

impl Spec for NoSpec {
    fn from_values(_: &BTreeMap<String, Value>) -> Result<Self, String> {
        Ok(Self)
    }
}

/// The outputs of a type whose derive failed.
#[derive(Debug)]
pub struct NoOutputs;

impl Outputs for NoOutputs {
    fn at(_: Address) -> Self {
        Self
    }
}

/// The description of a type whose derive failed.
pub const NO_RESOURCE: ResourceType = ResourceType {
    name: "unknown.unknown",
    kind: Kind::Identity,
    fields: &[],
    outputs: &[],
    access: None,
    check: None,
    doc: "",
};

/// The agent's parameters of a type whose derive failed.
#[derive(Debug)]
pub struct NoInputs<A>(PhantomData<fn() -> A>);

impl<A> Clone for NoInputs<A> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<A: Agent<Inputs = Self>> AgentInputs for NoInputs<A> {
    type Agent = A;
}

/// The references of an agent whose derive failed.
#[derive(Debug)]
pub struct NoReferences;

impl References for NoReferences {
    fn of(_: &Instance) -> Self {
        Self
    }
}

/// The terms of an agent whose derive failed.
pub const NO_TERMS: AgentTerms = AgentTerms {
    name: Cow::Borrowed("unknown"),
    owner: Cow::Borrowed(""),
    purpose: Cow::Borrowed(""),
    expires: Cow::Borrowed(""),
    grace: None,
    source: Source::rust("", 0, 0),
};

/// What a derive that failed answers; no program with one is ever built.
pub fn no_agent() -> Error {
    Error::new(ErrorKind::Bug, "the derive of this agent failed")
}

/// Reads every field of an agent: none is dead, whoever else reads it.
pub trait ReadsFields {
    /// Reads them.
    fn reads_fields(&self);
}

/// The address of a resource of an agent.
pub fn address(instance: &Instance, field: &str) -> Address {
    let address = Address::new(instance.clone(), field);
    address.expect("the derive gives field names only")
}

/// Puts one live resource together.
///
/// # Errors
///
/// As [`Live::resource`].
pub fn live<R>(
    live: &Live<'_>,
    field: &str,
    type_name: &str,
    from_values: fn(&BTreeMap<String, Value>) -> Result<R, String>,
) -> Result<R, Error> {
    live.read(field, type_name, from_values)
}

/// One part of an instance's key.
pub fn key_text<T: ToString>(input: &T) -> String {
    input.to_string()
}

/// Reports a field whose type is of another kind than its attribute says, at
/// compile time. Gives `true`, so that what follows can depend on it.
///
/// # Panics
///
/// In a constant, when the kinds differ.
#[track_caller]
pub const fn kind(found: Kind, expected: Kind) -> bool {
    if expected as u8 != found as u8 {
        let found = found.name();
        fail(&["this type is of the kind `", found, "`; write `#[", found, "(…)]`"]);
    }
    true
}

/// Reports the keys that a declaration forgot, and outputs that it gives, at
/// compile time. When a key is unknown, rustc says so, and the key that seems
/// to be missing is most likely the one that was meant.
///
/// # Panics
///
/// In a constant, when `given` lacks a required key or names an output.
#[track_caller]
pub const fn keys(ty: &ResourceType, required: &[&str], given: &[&str]) {
    let mut i = 0;
    while i < given.len() {
        if has_output(ty, given[i]) {
            fail(&["`", given[i], "` is known only after apply; remove it"]);
        }
        if !has_field(ty, given[i]) {
            return;
        }
        i += 1;
    }
    require(required, given);
}

const fn has_field(ty: &ResourceType, name: &str) -> bool {
    let mut i = 0;
    while i < ty.fields.len() {
        if same(ty.fields[i].name, name) {
            return true;
        }
        i += 1;
    }
    false
}

const fn has_output(ty: &ResourceType, name: &str) -> bool {
    let mut i = 0;
    while i < ty.outputs.len() {
        if same(ty.outputs[i].name, name) {
            return true;
        }
        i += 1;
    }
    false
}

/// Reports the keys that a declaration forgot, at compile time.
///
/// # Panics
///
/// In a constant, when `given` lacks one of `required`.
#[track_caller]
pub const fn require(required: &[&str], given: &[&str]) {
    let mut i = 0;
    while i < required.len() {
        let mut found = false;
        let mut j = 0;
        while j < given.len() {
            found |= same(required[i], given[j]);
            j += 1;
        }
        if !found {
            fail(&["missing key `", required[i], "`; add `", required[i], " = …`"]);
        }
        i += 1;
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Panics with the parts as one message; a constant cannot format.
#[track_caller]
const fn fail(parts: &[&str]) -> ! {
    let mut text = [0_u8; 256];
    let mut length = 0;
    let mut part = 0;
    while part < parts.len() {
        let bytes = parts[part].as_bytes();
        let mut i = 0;
        while i < bytes.len() && length < text.len() {
            text[length] = bytes[i];
            length += 1;
            i += 1;
        }
        part += 1;
    }
    let (text, _) = text.split_at(length);
    match str::from_utf8(text) {
        Ok(text) => panic!("{}", text),
        Err(_) => panic!("a key is missing or wrong"),
    }
}
