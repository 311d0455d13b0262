//! Rules that look at more than one attribute.

mod agent;
mod cycle;

use crate::{
    ctxt::Ctxt,
    model::{
        agent::Agent,
        last_name,
        resource::{Kind, Resource, Role},
    },
    symbol,
};

/// Every rule about an agent.
pub(crate) fn agent(cx: &Ctxt, agent: &Agent<'_>) {
    agent::agent(cx, agent);
    cycle::fields_do_not_need_each_other(cx, agent);
}

/// Every rule about a resource type.
pub(crate) fn resource(cx: &Ctxt, resource: &Resource<'_>) {
    names_are_free(cx, resource);
    the_kind_has_its_link(cx, resource);
    engine_outputs_have_their_types(cx, resource);
}

/// A key that the engine takes never reaches the builder, and the two methods
/// of a `Ref` would hide an output of the same name.
fn names_are_free(cx: &Ctxt, resource: &Resource<'_>) {
    for field in &resource.fields {
        let name = field.name.as_str();
        if symbol::ENGINE_KEYS.contains(&name) {
            cx.error(
                field.ident,
                format!(
                    "`{name}` is a key of the engine in every declaration; name the field otherwise"
                ),
            );
        } else if matches!(field.role, Role::Output) && matches!(name, "address" | "clone") {
            cx.error(
                field.ident,
                format!("`{name}` is a method of every reference; name the output otherwise"),
            );
        }
    }
}

/// The engine finds whose permission or credential a resource is by this link.
fn the_kind_has_its_link(cx: &Ctxt, resource: &Resource<'_>) {
    let Some((kind, link)) = resource.kind.and_then(|kind| Some((kind, kind.link()?))) else {
        return;
    };
    let what = kind.name();
    match resource.fields.iter().find(|field| field.name == link) {
        None if kind.needs_its_link() => cx.error(
            resource.ident,
            format!("a {what} says whose it is; add a field `{link}: Link<…>`"),
        ),
        Some(field) if field.declared().is_none() => cx.error(
            field.ident,
            format!("`{link}` says whose {what} this is, so it is declared; remove `output`"),
        ),
        Some(field) if last_name(field.ty).is_none_or(|name| name != "Link") => cx.error(
            field.ty,
            format!("`{link}` says whose {what} this is; make it a `Link<…>` to an identity"),
        ),
        None | Some(_) => {}
    }
}

/// The engine itself gives every credential these two.
fn engine_outputs_have_their_types(cx: &Ctxt, resource: &Resource<'_>) {
    if resource.kind != Some(Kind::Credential) {
        return;
    }
    for (name, ty) in [("place", "String"), ("generation", "u32")] {
        if let Some(field) = resource.fields.iter().find(|field| field.name == name) {
            if field.declared().is_some() {
                cx.error(
                    field.ident,
                    format!("the engine gives every credential its `{name}`; mark it `#[resource(output)]`"),
                );
            } else if last_name(field.ty).is_none_or(|found| found != ty) {
                cx.error(field.ty, format!("the engine gives `{name}` as `{ty}`"));
            }
        }
    }
}
