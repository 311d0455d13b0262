//! What `derive(Resource)` makes: the builder, the outputs, the properties alone
//! and the implementation. Bodies are calls into the core crate, where they are
//! compiled once.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Ident, Path, Type, ext::IdentExt as _, spanned::Spanned as _};

use crate::{
    model::resource::{Kind, Presence, Resource, ResourceField, Role},
    paths,
};

/// The items beside the struct.
pub(crate) fn expand(resource: &Resource<'_>) -> TokenStream {
    let builder = builder(resource);
    let outputs = outputs(resource);
    let spec = spec(resource);
    let implementation = implementation(resource);
    quote!(#builder #outputs #spec #implementation)
}

/// `AccountBuilder` of `Account`.
fn beside(resource: &Resource<'_>, what: &str) -> Ident {
    format_ident!("{}{what}", resource.ident.unraw(), span = resource.ident.span())
}

fn builder(resource: &Resource<'_>) -> TokenStream {
    let Resource { ident, vis, root, fields, .. } = resource;
    let name = beside(resource, "Builder");
    let doc =
        format!("Collects the keys of one [`{}`], or what was observed of one.", ident.unraw());
    let methods = fields.iter().map(|field| {
        let ResourceField { ident, name, ty, doc, role } = field;
        let doc = if doc.is_empty() { format!("Sets `{name}`.") } else { doc.clone() };
        // Outputs are set by providers only; a declaration that sets one is
        // refused by the blueprint.
        let hidden = matches!(role, Role::Output).then(|| quote!(#[doc(hidden)]));
        quote! {
            #[doc = #doc]
            #hidden
            #vis fn #ident(&mut self, value: impl #root::resource::IntoExpr<#ty>) -> &mut Self {
                #root::__private::set::<#ty>(&mut self.fields, #name, value);
                self
            }
        }
    });
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::fmt::Debug, ::core::default::Default)]
        #vis struct #name {
            fields: #root::resource::Fields,
        }

        #[allow(dead_code, clippy::wrong_self_convention, reason = "the names are those of the fields")]
        impl #name {
            #(#methods)*
        }

        #[automatically_derived]
        impl #root::resource::Builder for #name {
            fn fields(&self) -> &#root::resource::Fields {
                &self.fields
            }

            fn fields_mut(&mut self) -> &mut #root::resource::Fields {
                &mut self.fields
            }
        }
    }
}

/// The two outputs that the engine gives every credential, where the struct
/// does not name them itself.
fn engine_outputs(resource: &Resource<'_>) -> Vec<(&'static str, TokenStream, &'static str)> {
    if resource.kind != Some(Kind::Credential) {
        return Vec::new();
    }
    [
        ("place", quote!(::std::string::String), "Where it was delivered."),
        ("generation", quote!(::core::primitive::u32), "The number of its current generation."),
    ]
    .into_iter()
    .filter(|(name, _, _)| resource.fields.iter().all(|field| field.name != *name))
    .collect()
}

fn outputs(resource: &Resource<'_>) -> TokenStream {
    let Resource { ident, vis, root, fields, .. } = resource;
    let name = beside(resource, "Outputs");
    let doc = format!("The values of a [`{}`] that are known only once it exists.", ident.unraw());
    let own = fields.iter().filter(|field| matches!(field.role, Role::Output)).map(|field| {
        let doc =
            if field.doc.is_empty() { format!("Its `{}`.", field.name) } else { field.doc.clone() };
        let ty = field.ty;
        (field.ident.clone(), field.name.clone(), quote!(#ty), doc)
    });
    let engine = engine_outputs(resource).into_iter().map(|(name, ty, doc)| {
        (Ident::new(name, Span::call_site()), name.to_owned(), ty, doc.to_owned())
    });
    let methods = own.chain(engine).map(|(ident, name, ty, doc)| {
        quote! {
            #[doc = #doc]
            #vis fn #ident(&self) -> #root::resource::Expr<#ty> {
                #root::__private::output(&self.address, #name)
            }
        }
    });
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #vis struct #name {
            #[allow(dead_code, reason = "a type without outputs never reads it")]
            address: #root::address::Address,
        }

        #[allow(dead_code, clippy::wrong_self_convention, reason = "the names are those of the outputs")]
        impl #name {
            #(#methods)*
        }

        #[automatically_derived]
        impl #root::resource::Outputs for #name {
            fn at(address: #root::address::Address) -> Self {
                Self { address }
            }
        }
    }
}

fn spec(resource: &Resource<'_>) -> TokenStream {
    let Resource { ident, vis, root, fields, .. } = resource;
    let name = beside(resource, "Spec");
    let doc =
        format!("The declared properties of one [`{}`], with everything known.", ident.unraw());
    let declared: Vec<_> = fields.iter().filter(|field| field.declared().is_some()).collect();
    let members = declared.iter().map(|field| {
        let ResourceField { ident, name, ty, doc, .. } = field;
        let doc = if doc.is_empty() { format!("Its `{name}`.") } else { doc.clone() };
        quote!(#[doc = #doc] #vis #ident: #ty,)
    });
    let idents = declared.iter().map(|field| field.ident);
    let reads = declared.iter().map(|field| read(root, field));
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::fmt::Debug, ::core::cmp::PartialEq)]
        #[allow(dead_code, reason = "which of them are read is the provider's matter")]
        #vis struct #name {
            #(#members)*
        }

        #[automatically_derived]
        impl #root::resource::Spec for #name {
            fn from_values(
                values: &::std::collections::BTreeMap<::std::string::String, #root::value::Value>,
            ) -> ::core::result::Result<Self, ::std::string::String> {
                ::core::result::Result::Ok(Self { #(#idents: #reads,)* })
            }
        }
    }
}

/// Reads a field of `values`.
fn read(root: &Path, field: &ResourceField<'_>) -> TokenStream {
    let ResourceField { name, ty, .. } = field;
    let property = property(root, ty);
    if field.declared().is_some_and(|how| how.presence == Presence::Default) {
        let default = default(ty);
        quote!(#root::__private::read_or(values, #name, #property::from_value, #default)?)
    } else {
        quote!(#root::__private::read(values, #name, #property::from_value)?)
    }
}

fn implementation(resource: &Resource<'_>) -> TokenStream {
    let Resource { ident, root, doc, fields, .. } = resource;
    let builder = beside(resource, "Builder");
    let outputs = beside(resource, "Outputs");
    let spec = beside(resource, "Spec");
    // Reported as missing already, where they are.
    let type_name =
        resource.name.as_ref().map_or_else(|| "unknown.unknown".into(), syn::LitStr::value);
    let kind = kind(root, resource.kind.unwrap_or(Kind::Identity));
    let [access, check] = functions(resource);

    let declared: Vec<_> =
        fields.iter().filter_map(|field| Some((field, field.declared()?))).collect();
    let required = declared
        .iter()
        .filter(|(_, how)| how.presence == Presence::Required)
        .map(|(field, _)| &field.name);
    let schemas = declared.iter().map(|(field, how)| {
        let ResourceField { name, ty, doc, .. } = field;
        let schema = property(root, ty);
        let (required, key) = (how.presence == Presence::Required, how.key);
        let default = if how.presence == Presence::Default {
            let default = default(ty);
            quote!(::core::option::Option::Some(|| #schema::to_value(&#default())))
        } else {
            quote!(::core::option::Option::None)
        };
        let mutability = if how.replace { quote!(Replace) } else { quote!(Update) };
        quote! {
            #root::schema::Field {
                name: #name,
                ty: #schema::SCHEMA,
                required: #required,
                default: #default,
                key: #key,
                mutability: #root::schema::Mutability::#mutability,
                doc: #doc,
            }
        }
    });
    let own = fields.iter().filter(|field| matches!(field.role, Role::Output)).map(|field| {
        let schema = property(root, field.ty);
        output_schema(root, &field.name, &quote!(#schema), &field.doc)
    });
    let engine = engine_outputs(resource).into_iter().map(|(name, ty, doc)| {
        output_schema(root, name, &quote!(<#ty as #root::resource::Property>), doc)
    });
    let output_schemas = own.chain(engine);

    let idents: Vec<_> = fields.iter().map(|field| field.ident).collect();
    let names: Vec<_> = fields.iter().map(|field| &field.name).collect();
    let to_values = fields.iter().map(|field| property(root, field.ty));
    let reads = fields.iter().map(|field| read(root, field));
    let defaults =
        declared.iter().filter(|(_, how)| how.presence == Presence::Default).map(|(field, _)| {
            let ResourceField { name, ty, .. } = field;
            let (property, default) = (property(root, ty), default(ty));
            quote! {
                #root::resource::Builder::fields_mut(&mut builder)
                    .set(#name, #property::to_node(&#default()));
            }
        });

    quote! {
        #[automatically_derived]
        impl #root::resource::Resource for #ident {
            const TYPE: &'static ::core::primitive::str = #type_name;
            const KIND: #root::schema::Kind = #kind;
            const REQUIRED: &'static [&'static ::core::primitive::str] = &[#(#required),*];
            const RESOURCE: &'static #root::schema::ResourceType = &#root::schema::ResourceType {
                name: #type_name,
                kind: #kind,
                fields: &#root::resource::sorted_fields([#(#schemas),*]),
                outputs: &#root::resource::sorted_outputs([#(#output_schemas),*]),
                access: #access,
                check: #check,
                doc: #doc,
            };

            type Builder = #builder;
            type Outputs = #outputs;
            type Spec = #spec;

            fn builder() -> #builder {
                #[allow(unused_mut, reason = "a type may have no defaults")]
                let mut builder = <#builder as ::core::default::Default>::default();
                #(#defaults)*
                builder
            }

            fn from_values(
                values: &::std::collections::BTreeMap<::std::string::String, #root::value::Value>,
            ) -> ::core::result::Result<Self, ::std::string::String> {
                ::core::result::Result::Ok(Self { #(#idents: #reads,)* })
            }

            fn to_values(
                &self,
            ) -> ::std::collections::BTreeMap<::std::string::String, #root::value::Value> {
                #root::__private::entries([#((#names, #to_values::to_value(&self.#idents))),*])
            }
        }
    }
}

/// The functions of the traits that the type says it implements: which access
/// it gives, and what it checks. They stand at the struct's name, where rustc
/// says that one is missing.
fn functions(resource: &Resource<'_>) -> [TokenStream; 2] {
    let Resource { ident, root, .. } = resource;
    let root = paths::at(root, ident.span());
    let access = quote_spanned!(ident.span()=> <#ident as #root::resource::Grants>::grants);
    let check = quote_spanned!(ident.span()=> <#ident as #root::resource::Check>::check);
    [(resource.access, access), (resource.check, check)].map(|(wanted, function)| {
        if wanted {
            quote_spanned!(ident.span()=> ::core::option::Option::Some(#function))
        } else {
            quote!(::core::option::Option::None)
        }
    })
}

/// `<T as Property>` at the type's own place, so that rustc underlines it. Every
/// use of the trait is written in this one form: rustc then says once, and not
/// for every use, that a type lacks it.
fn property(root: &Path, ty: &Type) -> TokenStream {
    let root = paths::at(root, ty.span());
    quote_spanned!(ty.span()=> <#ty as #root::resource::Property>)
}

/// The function that makes the type's default.
fn default(ty: &Type) -> TokenStream {
    quote_spanned!(ty.span()=> <#ty as ::core::default::Default>::default)
}

fn output_schema(root: &Path, name: &str, property: &TokenStream, doc: &str) -> TokenStream {
    quote!(#root::schema::Output { name: #name, ty: #property::SCHEMA, doc: #doc })
}

fn kind(root: &Path, kind: Kind) -> TokenStream {
    let variant = match kind {
        Kind::Identity => quote!(Identity),
        Kind::Permission => quote!(Permission),
        Kind::Credential => quote!(Credential),
        Kind::Runtime => quote!(Runtime),
    };
    quote!(#root::schema::Kind::#variant)
}
