//! The derive macros of agent-iac: use them through that crate.

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

/// Makes an agent of a struct.
#[proc_macro_derive(Agent, attributes(agent, input, identity, permission, credential, runtime))]
pub fn derive_agent(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    agent(&parse_macro_input!(input as DeriveInput)).into()
}

/// Makes a managed type of a struct.
#[proc_macro_derive(Resource, attributes(resource))]
pub fn derive_resource(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    resource(&parse_macro_input!(input as DeriveInput)).into()
}

/// Makes a property type of a struct or an enum.
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
