//! The derive macros of agent-iac: use them through that crate, which exports
//! them with the traits that they implement.
//!
//! Each goes the same way: attributes to keys and values (`attr`), those to a
//! model (`model`), rules over it (`check`), and tokens (`expand`). The model is
//! complete whatever was wrong, so there is always an implementation, and the
//! mistakes found here never hide those that rustc finds. This crate reads
//! tokens only: no file, no network, no provider.

mod attr;
mod check;
mod ctxt;
mod expand;
mod fallback;
mod literal;
mod model;
mod paths;
mod symbol;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, parse_macro_input};

use crate::{
    ctxt::Ctxt,
    model::{agent::Agent, property::Property, resource::Resource},
};

/// Makes an agent of a struct: each field is one of its resources or one of its
/// parameters.
///
/// ```
/// use agent_iac::prelude::*;
/// # mod pg {
/// #     use std::collections::{BTreeMap, BTreeSet};
/// #     use agent_iac::{access::Access, prelude::*, resource::{Link, Node}};
/// #     #[derive(Debug, Resource)]
/// #     #[resource(type = "postgres.role", kind = "identity")]
/// #     pub struct Role { #[resource(key)] name: String, #[resource(output)] oid: u32 }
/// #     #[derive(Debug, Resource)]
/// #     #[resource(type = "postgres.grant", kind = "permission")]
/// #     pub struct Grant { to: Link<Role>, on: String, allow: BTreeSet<Privilege> }
/// #     impl Grants for Grant {
/// #         fn grants(_: &str, _: &BTreeMap<String, Node>) -> Access { Access::NONE }
/// #     }
/// #     #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Property)]
/// #     pub enum Privilege { Select, Insert }
/// #     #[derive(Debug, Resource)]
/// #     #[resource(type = "postgres.login", kind = "credential")]
/// #     pub struct Login { of: Link<Role> }
/// # }
///
/// /// Answers questions about invoices.
/// #[derive(Agent)]
/// #[agent(owner = "team:billing", expires = "2027-06-30")]
/// struct InvoiceReader {
///     /// The schema that holds one tenant's invoices.
///     #[input(key)]
///     schema: String,
///
///     #[identity(name = format!("invoice_reader_{schema}"))]
///     account: pg::Role,
///
///     #[permission(to = account, on = format!("{schema}.invoices"), allow = [pg::Privilege::Select])]
///     invoices: pg::Grant,
///
///     #[credential(of = account, rotate = "7d", overlap = "1h", deliver = "vault:invoice-reader")]
///     login: pg::Login,
/// }
///
/// let inputs = InvoiceReaderInputs { schema: "eu".into() };
/// assert_eq!(InvoiceReader::TERMS.name, "invoice-reader");
/// assert_eq!(InvoiceReader::TERMS.purpose, "Answers questions about invoices.");
/// assert_eq!(InvoiceReader::key(&inputs), ["eu"]);
/// ```
///
/// It makes `InvoiceReaderInputs`, a struct of the parameters, and
/// `InvoiceReaderReferences`, with a method for each resource. The doc comment
/// is the agent's purpose, which reviewers and auditors read; it is mandatory.
///
/// # On the struct: `#[agent(…)]`
///
/// | key | meaning | default |
/// | --- | --- | --- |
/// | `owner = "team:billing"` | who answers for the agent | mandatory |
/// | `expires = "2027-06-30"` | the last day on which it may act | mandatory |
/// | `name = "invoice-reader"` | its name, the first part of every address | the struct's in kebab case |
/// | `grace = "3d"` | how long its identity is kept, suspended, before it is deleted | seven days |
/// | `crate = "path"` | where the core crate is found | `::agent_iac` |
///
/// # On a parameter: `#[input]`
///
/// The field becomes one of the inputs, and its name can be used in every
/// expression, where it is a reference: `if *urgent { … }`. With
/// `#[input(key)]` it tells instances apart: `invoice-reader["eu"].account`.
/// Its type must then have a text form (`ToString`). Changing another input
/// changes the instance, changing a key makes a new one.
///
/// # On a resource: its kind
///
/// | attribute | the field is |
/// | --- | --- |
/// | `#[identity(…)]` | who the agent is: an account or a role |
/// | `#[permission(to = account, …)]` | what an identity may do |
/// | `#[credential(of = account, deliver = "…", …)]` | what an identity proves itself with |
/// | `#[runtime(…)]` | where and how the agent runs |
///
/// The field's type says what is managed, and must be of that kind. Each
/// `key = expression` is the call of the method `key` of the type's builder, so
/// rustc checks it, and editors complete it. The name of another field is a
/// reference to that resource (`to = account`), and the type's outputs are its
/// methods (`account.oid()`), also within `format!`. What is referred to is made
/// first; fields may stand in any order.
///
/// These keys belong to the engine, whatever the type:
///
/// | key | meaning | default |
/// | --- | --- | --- |
/// | `provider = "other"` | the provider's name in the fleet | what stands before the dot of the type's name |
/// | `depends_on = other`, `(a, b)` | what must exist first, beside what is referred to | nothing |
/// | `protect` | deleting or replacing it is refused, also once it has left the code | not |
/// | `on_drift = OnDrift::RevertWidening` | what is done about drift without a plan | it is reported |
/// | `ignore = ["comment"]` | properties that others manage: read, never compared or written | none |
/// | `because = "…"` | why something unusual is wanted | none |
///
/// And these to the engine on a credential:
///
/// | key | meaning | default |
/// | --- | --- | --- |
/// | `deliver = "store:path"` | where it is delivered | mandatory |
/// | `rotate = "7d"` | how long one generation lives | it is rotated by hand |
/// | `overlap = "1h"` | how long two generations are valid together; shorter than `rotate` | not at all |
/// | `window = "…"` | when it may be rotated | always |
/// | `consumers = ["billing-api"]` | who uses it and is told of each generation: an application, `runtime:…`, `file:…`, `signal:…`, `command:…` or `webhook:…` | the runtimes that bind it |
///
/// A period is a whole number and `s`, `m`, `h`, `d` or `w`.
///
/// # What is checked
///
/// At compile time, at the token that is wrong, all mistakes in one build:
/// what is missing, unknown, repeated or malformed, a kind that the type is not
/// of, an overlap that is not shorter than the period, fields that need each
/// other, and a permission whose text ends in `*` without `because = "…"`. What
/// only the values can tell is checked when the fleet is put together.
///
/// # Values that are known only after apply
///
/// An output inside text is a reference: `format!("audit_of_{}", account.oid())`
/// is resolved once the account exists. Text with one can be passed on and
/// concatenated, nothing else: a width in the braces panics, and its length or
/// its upper-case form say nothing about the value.
#[proc_macro_derive(Agent, attributes(agent, input, identity, permission, credential, runtime))]
pub fn derive_agent(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    agent(&parse_macro_input!(input as DeriveInput)).into()
}

/// Makes a managed type of a struct: what a provider can manage, and what a
/// field of an agent can be.
///
/// ```
/// use std::collections::BTreeSet;
/// use agent_iac::{prelude::*, schema::Mutability};
///
/// /// An account of the local authority.
/// #[derive(Clone, Debug, PartialEq, Resource)]
/// #[resource(type = "authority.account", kind = "identity")]
/// pub struct Account {
///     /// Its name.
///     #[resource(key)]
///     name: String,
///     /// Shown to people.
///     display: Option<String>,
///     #[resource(replace)]
///     home: Option<String>,
///     #[resource(default)]
///     groups: BTreeSet<String>,
///     /// The id in the authority.
///     #[resource(output)]
///     id: String,
/// }
///
/// let name = Account::RESOURCE.field("name").expect("it is a field");
/// assert!(name.required && name.key);
/// assert_eq!(name.mutability, Mutability::Replace);
/// assert!(Account::RESOURCE.output("id").is_some());
///
/// let mut observed = AccountBuilder::default();
/// observed.name("ada").id("7");
/// ```
///
/// Beside the implementation it makes
///
/// * `AccountBuilder`, with a method for each field: declarations give it the
///   properties, and providers report with it what they observed, outputs too;
/// * `AccountOutputs`, with a method for each output: what `account.id()` calls
///   on a reference;
/// * `AccountSpec`, the declared properties alone: what a provider is asked to
///   make. For it, the types of the fields are `Clone`, `Debug` and `PartialEq`.
///
/// Doc comments become the descriptions that tools show.
///
/// # On the struct: `#[resource(…)]`
///
/// | key | meaning | default |
/// | --- | --- | --- |
/// | `type = "provider.type"` | its name in plans, records and text fleets | mandatory |
/// | `kind = "identity"` | `identity`, `permission`, `credential` or `runtime` | mandatory |
/// | `check` | the type implements `Check`, which finds mistakes that no shape shows | not |
/// | `access` | the type implements `Grants`: what it is counts as access, as a role's attributes do | not, but for permissions |
/// | `crate = "path"` | where the core crate is found | `::agent_iac` |
///
/// A `permission` implements `Grants`, and its field `to: Link<…>` says whose it
/// is; without that field it is about what everybody has. A `credential` has a
/// field `of: Link<…>`, and the engine gives it the outputs `place: String` and
/// `generation: u32`, which the struct may declare to receive them.
///
/// # On a field: `#[resource(…)]`
///
/// | key | meaning | default |
/// | --- | --- | --- |
/// | `key` | part of the natural key: two declarations with the same key claim one object | not |
/// | `replace` | a change makes the object anew | for `key`; others are changed in place |
/// | `update` | a change of a `key` is made in place | |
/// | `default` | may be left out, and is then the type's `Default` | mandatory, unless an `Option` |
/// | `output` | known only once the object exists; never declared | declared |
///
/// A field cannot have the name of one of the engine's keys, since declarations
/// give those to the engine: see `derive(Agent)`.
#[proc_macro_derive(Resource, attributes(resource))]
pub fn derive_resource(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    resource(&parse_macro_input!(input as DeriveInput)).into()
}

/// Makes a type of a struct or an enum that the fields of resources can have.
///
/// ```
/// use agent_iac::{prelude::*, value::Value};
///
/// /// A table, as a map of its fields.
/// #[derive(Clone, Debug, PartialEq, Property)]
/// pub struct Table {
///     schema: String,
///     name: String,
/// }
///
/// /// A number of connections, as a number.
/// #[derive(Clone, Debug, PartialEq, Property)]
/// pub struct Limit(u32);
///
/// /// A privilege, as a word: `select` or `temp`.
/// #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Property)]
/// pub enum Privilege {
///     Select,
///     #[property(rename = "temp")]
///     TemporaryTables,
/// }
///
/// assert_eq!(Limit(3).to_value(), Value::Int(3));
/// assert_eq!(Privilege::from_value(&"temp".into()), Some(Privilege::TemporaryTables));
/// ```
///
/// Structs have named fields or one unnamed; the variants of enums have none,
/// and are written in kebab case. What stands in a set needs an order too.
///
/// | attribute | on | meaning | default |
/// | --- | --- | --- | --- |
/// | `#[property(rename = "…")]` | a variant or a named field | how it is written | its name |
/// | `#[property(crate = "path")]` | the type | where the core crate is found | `::agent_iac` |
#[proc_macro_derive(Property, attributes(property))]
pub fn derive_property(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    property(&parse_macro_input!(input as DeriveInput)).into()
}

fn agent(input: &DeriveInput) -> TokenStream {
    let (model, errors) = Ctxt::collect(|cx| {
        let model = Agent::from_input(cx, input)?;
        check::agent(cx, &model);
        Some(model)
    });
    let items = model.map_or_else(|| fallback::agent(input), |model| expand::agent::expand(&model));
    quote!(#errors #items)
}

fn resource(input: &DeriveInput) -> TokenStream {
    let (model, errors) = Ctxt::collect(|cx| {
        let model = Resource::from_input(cx, input)?;
        check::resource(cx, &model);
        Some(model)
    });
    let items =
        model.map_or_else(|| fallback::resource(input), |model| expand::resource::expand(&model));
    quote!(#errors #items)
}

fn property(input: &DeriveInput) -> TokenStream {
    let (model, errors) = Ctxt::collect(|cx| Property::from_input(cx, input));
    let items =
        model.map_or_else(|| fallback::property(input), |model| expand::property::expand(&model));
    quote!(#errors #items)
}

#[cfg(test)]
mod tests;
