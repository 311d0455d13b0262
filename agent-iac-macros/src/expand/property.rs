//! What `derive(Property)` makes.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Path, Type, spanned::Spanned as _};

use crate::{
    model::property::{Item, Property, Shape},
    paths,
};

/// The implementation.
pub(crate) fn expand(property: &Property<'_>) -> TokenStream {
    let Property { ident, root, shape } = property;
    let body = match shape {
        Shape::Struct(items) => of_struct(root, items),
        Shape::Newtype(ty) => of_newtype(root, ty),
        Shape::Enum(items) => of_enum(root, items),
    };
    quote! {
        #[automatically_derived]
        impl #root::resource::Property for #ident {
            #body
        }
    }
}

/// `<T as Property>` at the type's own place, so that rustc underlines it.
fn property(root: &Path, ty: &Type) -> TokenStream {
    let root = paths::at(root, ty.span());
    quote_spanned!(ty.span()=> <#ty as #root::resource::Property>)
}

fn of_struct(root: &Path, items: &[Item<'_>]) -> TokenStream {
    let idents: Vec<_> = items.iter().map(|item| item.ident).collect();
    let names: Vec<_> = items.iter().map(|item| &item.name).collect();
    let types: Vec<_> =
        items.iter().filter_map(|item| item.ty).map(|ty| property(root, ty)).collect();
    quote! {
        const SCHEMA: #root::schema::Type =
            #root::schema::Type::Struct(&[#((#names, #types::SCHEMA)),*]);

        fn to_value(&self) -> #root::value::Value {
            #root::__private::map_value([#((#names, #types::to_value(&self.#idents))),*])
        }

        fn from_value(value: &#root::value::Value) -> ::core::option::Option<Self> {
            let entries = #root::value::Value::as_map(value)?;
            ::core::option::Option::Some(Self {
                #(#idents: #types::from_value(#root::__private::entry(entries, #names))?,)*
            })
        }

        fn to_node(&self) -> #root::resource::Node {
            #root::__private::map_node([#((#names, #types::to_node(&self.#idents))),*])
        }
    }
}

fn of_newtype(root: &Path, ty: &Type) -> TokenStream {
    let inner = property(root, ty);
    quote! {
        const SCHEMA: #root::schema::Type = #inner::SCHEMA;

        fn to_value(&self) -> #root::value::Value {
            #inner::to_value(&self.0)
        }

        fn from_value(value: &#root::value::Value) -> ::core::option::Option<Self> {
            #inner::from_value(value).map(Self)
        }

        fn to_node(&self) -> #root::resource::Node {
            #inner::to_node(&self.0)
        }
    }
}

fn of_enum(root: &Path, items: &[Item<'_>]) -> TokenStream {
    let idents: Vec<_> = items.iter().map(|item| item.ident).collect();
    let names: Vec<_> = items.iter().map(|item| &item.name).collect();
    quote! {
        const SCHEMA: #root::schema::Type = #root::schema::Type::Enum(&[#(#names),*]);

        fn to_value(&self) -> #root::value::Value {
            #root::value::Value::from(match self {
                #(Self::#idents => #names,)*
            })
        }

        fn from_value(value: &#root::value::Value) -> ::core::option::Option<Self> {
            match #root::value::Value::as_text(value)? {
                #(#names => ::core::option::Option::Some(Self::#idents),)*
                _ => ::core::option::Option::None,
            }
        }
    }
}
