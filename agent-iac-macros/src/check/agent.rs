//! Rules about an agent.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::LitStr;

use crate::{
    attr::{Given, Pair},
    ctxt::Ctxt,
    literal,
    model::{
        agent::{Agent, Declaration},
        resource::Kind,
    },
    symbol,
};

/// Every rule about an agent.
pub(crate) fn agent(cx: &Ctxt, agent: &Agent<'_>) {
    the_agent_says_who_and_why(cx, agent);
    the_name_is_one(cx, agent);
    for resource in &agent.resources {
        the_field_can_be_an_address(cx, resource);
        keys_have_values(cx, resource);
        the_kind_takes_the_key(cx, resource);
        the_link_is_given(cx, resource);
        the_credential_is_delivered(cx, resource);
        periods_fit(cx, resource);
        wildcards_are_explained(cx, resource);
    }
}

/// A reviewer asks for these first, and nobody can answer for them later.
fn the_agent_says_who_and_why(cx: &Ctxt, agent: &Agent<'_>) {
    if agent.purpose.is_empty() {
        cx.error(
            agent.ident,
            "missing purpose; say in a doc comment (`/// …`) what the agent is for",
        );
    }
    if let Some(owner) = &agent.written.owner
        && owner.value().trim().is_empty()
    {
        cx.error(owner, "an agent has an owner; write who answers for it");
    }
    if let Some(expires) = &agent.written.expires
        && !literal::is_date(&expires.value())
    {
        let shown = expires.value();
        cx.error(expires, format!("`{shown}` is not a day; write it as `2027-06-30`"));
    }
    if let Some(grace) = &agent.written.grace {
        period(cx, grace);
    }
}

/// The name is the first part of every address.
fn the_name_is_one(cx: &Ctxt, agent: &Agent<'_>) {
    if literal::is_agent_name(&agent.name) {
        return;
    }
    let rule = "a-z, 0-9 and dashes, a letter first, at most 63 bytes";
    let name = &agent.name;
    match &agent.written.name {
        Some(written) => cx.error(written, format!("`{name}` is not an agent's name; use {rule}")),
        None => cx.error(
            agent.ident,
            format!("`{name}` is not an agent's name; give it `#[agent(name = \"…\")]` of {rule}"),
        ),
    }
}

/// The field's name is the last part of the address, and a method of the
/// handle that other agents take references from.
fn the_field_can_be_an_address(cx: &Ctxt, resource: &Declaration<'_>) {
    let name = &resource.name;
    if !literal::is_field_name(name) {
        cx.error(
            resource.ident,
            format!("`{name}` cannot stand in an address; use a-z, 0-9 and underscores, at most 63 bytes"),
        );
    } else if matches!(name.as_str(), "instance" | "inputs" | "clone") {
        cx.error(
            resource.ident,
            format!("`{name}` is a method of every handle; name the field otherwise"),
        );
    }
}

/// Only `protect` may stand alone: it is a truth value.
fn keys_have_values(cx: &Ctxt, resource: &Declaration<'_>) {
    for pair in &resource.pairs {
        let key = pair.name();
        if matches!(pair.given, Given::Bare) && key != symbol::PROTECT {
            let repair = match symbol::nearest(&key, symbol::ENGINE_KEYS) {
                Some(meant) if meant != key => format!("did you mean `{meant} = …`?"),
                _ => format!("write `{key} = …`"),
            };
            cx.error(&pair.key, format!("`{key}` needs a value; {repair}"));
        }
    }
}

/// What is not a secret is not rotated.
fn the_kind_takes_the_key(cx: &Ctxt, resource: &Declaration<'_>) {
    if resource.kind == Kind::Credential {
        return;
    }
    for pair in &resource.pairs {
        let key = pair.name();
        if symbol::CREDENTIAL_KEYS.contains(&key.as_str()) {
            cx.error(&pair.key, format!("only a credential takes `{key}`; remove it"));
        }
    }
}

/// Without it nobody can tell whose secret this is. Whether a permission has
/// one is known to its type alone, which asks for it as for any other key.
fn the_link_is_given(cx: &Ctxt, resource: &Declaration<'_>) {
    if let Some(link) = resource.kind.link().filter(|_| resource.kind.needs_its_link())
        && resource.pair(link).is_none()
    {
        let kind = resource.kind.name();
        cx.error(
            resource.attribute,
            format!("a {kind} says whose it is; add `{link} = …` with the field of an identity"),
        );
    }
}

/// A secret that is delivered nowhere can be used by nobody.
fn the_credential_is_delivered(cx: &Ctxt, resource: &Declaration<'_>) {
    if resource.kind != Kind::Credential {
        return;
    }
    if resource.pair(symbol::DELIVER).is_none() {
        cx.error(
            resource.attribute,
            "a credential is delivered somewhere; add `deliver = \"store:path\"`",
        );
    }
    if let Some(place) = resource.literal(symbol::DELIVER)
        && !literal::is_place(&place.value())
    {
        let shown = place.value();
        cx.error(place, format!("`{shown}` is not a place; write `store:path`"));
    }
}

/// The overlap is a part of the period: a generation that ends only when the
/// next but one begins would make three of them valid together.
fn periods_fit(cx: &Ctxt, resource: &Declaration<'_>) {
    if resource.kind != Kind::Credential {
        return;
    }
    let read = |key: &str| {
        let text = resource.literal(key)?;
        period(cx, text).map(|seconds| (text, seconds))
    };
    // What has several words is no period.
    let text = resource.literal(symbol::ROTATE);
    let several = text.filter(|text| text.value().split_ascii_whitespace().count() > 1);
    if let Some(text) = several.filter(|text| !literal::is_schedule(&text.value())) {
        let shown = text.value();
        cx.error(
            text,
            format!(
                "`{shown}` is no time to rotate; write `7d`, cron as `0 3 * * mon`, or `1000 uses`"
            ),
        );
    }
    let rotate = if several.is_some() { None } else { read(symbol::ROTATE) };
    let overlap = read(symbol::OVERLAP);
    read(symbol::JITTER);
    read(symbol::LEASE);
    if let Some(text) = resource.literal(symbol::AT_DEADLINE) {
        let said = text.value();
        let after = said.strip_prefix("revoke after ").and_then(literal::period);
        if said != "keep" && after.is_none() {
            cx.error(
                text,
                format!(
                    "`{said}` is nothing to do at a deadline; write `keep`, or `revoke after 1d`"
                ),
            );
        }
    }
    if let Some((text, 0)) = rotate {
        cx.error(text, "a credential lives for some time; give `rotate` more than nothing");
    } else if let (Some((every, rotate)), Some((text, overlap))) = (rotate, overlap)
        && overlap >= rotate
    {
        let (overlap, rotate) = (text.value(), every.value());
        cx.error(
            text,
            format!("`overlap` of {overlap} is not shorter than `rotate` of {rotate}; shorten it"),
        );
    }
}

fn period(cx: &Ctxt, text: &LitStr) -> Option<u64> {
    let seconds = literal::period(&text.value());
    if seconds.is_none() {
        let shown = text.value();
        cx.error(
            text,
            format!(
                "`{shown}` is not a period; write a whole number and `s`, `m`, `h`, `d` or `w`, as `7d`"
            ),
        );
    }
    seconds
}

/// A pattern that reaches everything is rarely meant, and the one who reviews
/// it must be able to read why. One error for one permission: one `because`
/// mends them all.
fn wildcards_are_explained(cx: &Ctxt, resource: &Declaration<'_>) {
    if let Some(because) = resource.literal(symbol::BECAUSE)
        && because.value().trim().is_empty()
    {
        cx.error(because, "`because` is empty; say why");
        return;
    }
    if resource.kind != Kind::Permission || resource.pair(symbol::BECAUSE).is_some() {
        return;
    }
    let wildcard = resource.pairs.iter().filter(|pair| !is_engine_key(pair)).find_map(|pair| {
        match &pair.given {
            Given::Value(value) => wildcard(value.to_token_stream()),
            Given::Bare | Given::Broken => None,
        }
    });
    if let Some(literal) = wildcard {
        let shown = literal.value();
        cx.error(
            literal,
            format!("`{shown}` reaches more than can be seen; add `because = \"…\"` to say why"),
        );
    }
}

fn is_engine_key(pair: &Pair) -> bool {
    symbol::ENGINE_KEYS.contains(&pair.name().as_str())
}

/// The first string literal that ends in `*`, also within macro calls.
fn wildcard(tokens: TokenStream) -> Option<LitStr> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Group(group) => wildcard(group.stream()),
        TokenTree::Literal(literal) => {
            let text: LitStr = syn::parse2(TokenTree::Literal(literal).into()).ok()?;
            text.value().ends_with('*').then_some(text)
        }
        TokenTree::Ident(_) | TokenTree::Punct(_) => None,
    })
}
