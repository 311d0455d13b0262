//! Implementations for inputs of the wrong shape, so that one mistake does not
//! also give a dozen errors about a missing trait.

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use crate::paths;

/// An agent without inputs and resources.
pub(crate) fn agent(input: &DeriveInput) -> TokenStream {
    let root = paths::standard();
    let ident = &input.ident;
    let (before, parameters, bounds) = input.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #before #root::agent::Agent for #ident #parameters #bounds {
            type Inputs = #root::__private::NoInputs<Self>;
            type References = #root::__private::NoReferences;

            const TERMS: #root::agent::AgentTerms = #root::__private::NO_TERMS;

            fn key(_: &Self::Inputs) -> ::std::vec::Vec<::std::string::String> {
                ::std::vec::Vec::new()
            }

            fn declare(_: &Self::Inputs, _: &mut #root::agent::Declare) {}

            fn from_live(
                _: Self::Inputs,
                _: &#root::agent::Live<'_>,
            ) -> #root::error::Result<Self> {
                ::core::result::Result::Err(#root::__private::no_agent())
            }
        }
    }
}

/// A resource without fields.
pub(crate) fn resource(input: &DeriveInput) -> TokenStream {
    let root = paths::standard();
    let ident = &input.ident;
    let (before, parameters, bounds) = input.generics.split_for_impl();
    let bounds = bounds.map(|bounds| &bounds.predicates).into_iter();
    quote! {
        #[automatically_derived]
        impl #before #root::resource::Resource for #ident #parameters
        where
            #(#bounds,)*
            Self: ::core::marker::Send + ::core::marker::Sync + 'static,
        {
            const TYPE: &'static ::core::primitive::str = "unknown.unknown";
            const KIND: #root::schema::Kind = #root::schema::Kind::Identity;
            const REQUIRED: &'static [&'static ::core::primitive::str] = &[];
            const RESOURCE: &'static #root::schema::ResourceType = &#root::__private::NO_RESOURCE;
            type Builder = #root::__private::NoBuilder;
            type Outputs = #root::__private::NoOutputs;
            type Spec = #root::__private::NoSpec;

            fn from_values(
                _: &::std::collections::BTreeMap<::std::string::String, #root::value::Value>,
            ) -> ::core::result::Result<Self, ::std::string::String> {
                ::core::result::Result::Err(::std::string::String::new())
            }

            fn to_values(
                &self,
            ) -> ::std::collections::BTreeMap<::std::string::String, #root::value::Value> {
                ::std::collections::BTreeMap::new()
            }
        }
    }
}

/// A property that holds nothing.
pub(crate) fn property(input: &DeriveInput) -> TokenStream {
    let root = paths::standard();
    let ident = &input.ident;
    let (before, parameters, bounds) = input.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #before #root::resource::Property for #ident #parameters #bounds {
            const SCHEMA: #root::schema::Type = #root::schema::Type::Text;

            fn to_value(&self) -> #root::value::Value {
                #root::value::Value::Null
            }

            fn from_value(_: &#root::value::Value) -> ::core::option::Option<Self> {
                ::core::option::Option::None
            }
        }
    }
}
