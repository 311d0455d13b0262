//! What `derive(Agent)` makes.
//!
//! A pair `key = value` becomes the statement `keys.key(value);` with the
//! user's tokens and places. Statements, and not one chain of calls: rustc then
//! reports each mistake, and each where it is.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::{Path, Type, ext::IdentExt as _, spanned::Spanned as _};

use crate::{
    attr::{Given, Pair},
    model::{
        agent::{Agent, Declaration, Input},
        resource::Kind,
    },
    paths, symbol,
};

/// The items beside the struct.
pub(crate) fn expand(agent: &Agent<'_>) -> TokenStream {
    let inputs = inputs(agent);
    let references = references(agent);
    let checks = agent.resources.iter().map(|resource| check(&agent.root, resource));
    let implementation = implementation(agent);
    quote!(#inputs #references #(#checks)* #implementation)
}

/// `InvoiceReaderInputs` of `InvoiceReader`.
fn beside(agent: &Agent<'_>, what: &str) -> Ident {
    format_ident!("{}{what}", agent.ident.unraw(), span = agent.ident.span())
}

fn inputs(agent: &Agent<'_>) -> TokenStream {
    let Agent { ident, vis, root, inputs, .. } = agent;
    let name = beside(agent, "Inputs");
    let doc = format!("The parameters of [`{}`]; one instance is made of them.", ident.unraw());
    let members = inputs.iter().map(|input| {
        let Input { ident, ty, doc, .. } = input;
        let doc = if doc.is_empty() { format!("Its `{}`.", ident.unraw()) } else { doc.clone() };
        quote!(#[doc = #doc] #vis #ident: #ty,)
    });
    // There is only one value of it, so nobody should have to spell it out.
    let default = inputs.is_empty().then(|| quote!(#[derive(::core::default::Default)]));
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #default
        #vis struct #name {
            #(#members)*
        }

        #[automatically_derived]
        impl #root::agent::AgentInputs for #name {
            type Agent = #ident;
        }
    }
}

fn references(agent: &Agent<'_>) -> TokenStream {
    let Agent { ident, vis, root, resources, .. } = agent;
    let name = beside(agent, "References");
    let doc = format!("References to the resources of one [`{}`].", ident.unraw());
    let methods = resources.iter().map(|resource| {
        let Declaration { ident, name, ty, doc, .. } = resource;
        let reference = {
            let root = paths::at(root, ty.span());
            quote_spanned!(ty.span()=> #root::resource::Ref<#ty>)
        };
        let of = resource_of(root, resource);
        let address = quote!(#root::__private::address(&self.instance, #name));
        let make = quote_spanned!(ty.span()=> #of::reference(#address));
        let doc = if doc.is_empty() { format!("Refers to its `{name}`.") } else { doc.clone() };
        quote! {
            #[doc = #doc]
            #vis fn #ident(&self) -> #reference {
                #make
            }
        }
    });
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #vis struct #name {
            #[allow(dead_code, reason = "an agent without resources never reads it")]
            instance: #root::address::Instance,
        }

        #[allow(dead_code, clippy::wrong_self_convention, reason = "the names are those of the fields")]
        impl #name {
            #(#methods)*
        }

        #[automatically_derived]
        impl #root::agent::References for #name {
            fn of(instance: &#root::address::Instance) -> Self {
                Self { instance: ::core::clone::Clone::clone(instance) }
            }
        }
    }
}

/// `<T as Resource>` at the type's own place. Every use of the trait is written
/// in this one form: rustc then says once, and not for every use, that a type
/// is no resource.
fn resource_of(root: &Path, resource: &Declaration<'_>) -> TokenStream {
    let ty = resource.ty;
    let root = paths::at(root, ty.span());
    quote_spanned!(ty.span()=> <#ty as #root::resource::Resource>)
}

/// The last name of the type: with several tokens, rustc shows the first of
/// them only, which would be a module.
fn place(ty: &Type) -> Span {
    match ty {
        Type::Path(path) => path.path.segments.last().map_or(ty.span(), |last| last.ident.span()),
        _ => ty.span(),
    }
}

/// What only the type can tell: its kind, and the keys that it needs. A
/// constant for each field, since the first panic ends a constant's evaluation
/// and would hide the mistakes of the fields behind it.
fn check(root: &Path, resource: &Declaration<'_>) -> TokenStream {
    let Declaration { ty, kind, attribute, pairs, .. } = resource;
    let mut given: Vec<String> = pairs
        .iter()
        .map(Pair::name)
        .filter(|key| !symbol::ENGINE_KEYS.contains(&key.as_str()))
        .collect();
    // That the link is missing was said already.
    if let Some(link) = kind.link().filter(|_| kind.needs_its_link())
        && resource.pair(link).is_none()
    {
        given.push(link.to_owned());
    }
    let kind = variant(*kind);
    let resource = resource_of(root, resource);
    // Each call stands at the tokens that it is about, from the first to the
    // last: a panic is reported where the call is.
    let of_kind = {
        let (root, place) = (paths::at(root, place(ty)), place(ty));
        let expected = quote_spanned!(place=> #root::schema::Kind::#kind);
        quote_spanned!(place=> #root::__private::kind(#resource::KIND, #expected))
    };
    let complete = {
        let place = attribute.span();
        let root = paths::at(root, place);
        quote_spanned!(place=>
            #root::__private::keys(#resource::RESOURCE, #resource::REQUIRED, &[#(#given),*]))
    };
    quote! {
        const _: () = if #of_kind {
            #complete
        };
    }
}

fn implementation(agent: &Agent<'_>) -> TokenStream {
    let Agent { ident, root, purpose, name, owner, expires, grace, inputs, resources, .. } = agent;
    let inputs_name = beside(agent, "Inputs");
    let references_name = beside(agent, "References");
    let grace = grace.as_ref().map_or_else(
        || quote!(::core::option::Option::None),
        |grace| quote!(::core::option::Option::Some(::std::borrow::Cow::Borrowed(#grace))),
    );
    let source = source(root, agent.ident.span());
    // Names that no field can shadow.
    let [cx, parameter, live] =
        ["cx", "inputs", "live"].map(|name| Ident::new(name, Span::mixed_site()));
    let keys = inputs.iter().filter(|input| input.key).map(|input| {
        let Input { ident, ty, .. } = input;
        let root = paths::at(root, ty.span());
        quote_spanned!(ty.span()=> #root::__private::key_text::<#ty>(&#parameter.#ident))
    });

    let input_idents: Vec<_> = inputs.iter().map(|input| input.ident).collect();
    let bindings = resources.iter().map(|resource| {
        let Declaration { ident, name, .. } = resource;
        let ty = resource.ty;
        let resource = resource_of(root, resource);
        let address = quote!(#root::__private::address(#cx.instance(), #name));
        let reference = quote_spanned!(ty.span()=> #resource::reference(#address));
        quote!(let #ident = &#reference;)
    });
    let declarations = resources.iter().map(|resource| declaration(root, &cx, resource));
    let resource_idents: Vec<_> = resources.iter().map(|resource| resource.ident).collect();
    let lives = resources.iter().map(|resource| {
        let Declaration { ident, name, .. } = resource;
        let resource = resource_of(root, resource);
        quote! {
            #ident: #root::__private::live(#live, #name, #resource::TYPE, #resource::from_values)?,
        }
    });

    quote! {
        #[automatically_derived]
        impl #root::agent::Agent for #ident {
            type Inputs = #inputs_name;
            type References = #references_name;

            const TERMS: #root::agent::AgentTerms = #root::agent::AgentTerms {
                name: ::std::borrow::Cow::Borrowed(#name),
                owner: ::std::borrow::Cow::Borrowed(#owner),
                purpose: ::std::borrow::Cow::Borrowed(#purpose),
                expires: ::std::borrow::Cow::Borrowed(#expires),
                grace: #grace,
                source: #source,
            };

            fn key(#parameter: &#inputs_name) -> ::std::vec::Vec<::std::string::String> {
                ::std::vec![#(#keys),*]
            }

            #[allow(unused_variables, reason = "an expression need not name every field")]
            #[allow(unexpected_cfgs, reason = "an editor sets `rust_analyzer`")]
            fn declare(#parameter: &#inputs_name, #cx: &mut #root::agent::Declare) {
                // All of them first, and by reference: fields may stand in any
                // order, and a name may be used more than once.
                let #inputs_name { #(#input_idents),* } = #parameter;
                #(#bindings)*
                #(#declarations)*
            }

            fn from_live(
                #parameter: #inputs_name,
                #live: &#root::agent::Live<'_>,
            ) -> #root::error::Result<Self> {
                let #inputs_name { #(#input_idents),* } = #parameter;
                ::core::result::Result::Ok(Self {
                    #(#input_idents,)*
                    #(#lives)*
                })
            }
        }

        // Fields that nothing else reads are not dead: they are the declaration.
        #[automatically_derived]
        impl #root::__private::ReadsFields for #ident {
            fn reads_fields(&self) {
                #(let _ = &self.#input_idents;)*
                #(let _ = &self.#resource_idents;)*
            }
        }
    }
}

fn declaration(root: &Path, cx: &Ident, resource: &Declaration<'_>) -> TokenStream {
    let Declaration { ident, name, ty, pairs, .. } = resource;
    let resource = resource_of(root, resource);
    let keys = Ident::new("keys", Span::mixed_site());
    let statements = pairs.iter().map(|pair| statement(&keys, pair));
    let source = source(root, ident.span());
    let new = {
        let root = paths::at(root, ty.span());
        quote_spanned!(ty.span()=> #root::agent::Keys::new(#resource::builder()))
    };
    quote! {
        {
            #[allow(unused_mut, reason = "a type may need no keys")]
            let mut #keys = #new;
            #(#statements)*
            #cx.add(#name, #resource::RESOURCE, #keys, #source);
        }
    }
}

fn statement(keys: &Ident, pair: &Pair) -> TokenStream {
    let key = &pair.key;
    match &pair.given {
        Given::Value(value) => {
            let value = value.to_token_stream();
            let call = quote_spanned!(key.span()=> #keys.#key);
            quote!(#call(#value);)
        }
        Given::Bare if pair.name() == symbol::PROTECT => quote!(#keys.#key(true);),
        // An editor completes the name from this; rustc never sees it.
        Given::Bare => quote!(#[cfg(rust_analyzer)] { #keys.#key; }),
        Given::Broken => TokenStream::new(),
    }
}

/// The place of a token, as rustc names it.
fn source(root: &Path, span: Span) -> TokenStream {
    let [file, line, column] = ["file", "line", "column"].map(|name| {
        let name = Ident::new(name, span);
        quote_spanned!(span=> ::core::#name!())
    });
    quote!(#root::agent::Source::rust(#file, #line, #column))
}

fn variant(kind: Kind) -> Ident {
    let name = match kind {
        Kind::Identity => "Identity",
        Kind::Permission => "Permission",
        Kind::Credential => "Credential",
        Kind::Runtime => "Runtime",
    };
    Ident::new(name, Span::mixed_site())
}
