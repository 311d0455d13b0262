//! The draft as a text fleet.

use super::{
    draft::{Agent, BECAUSE, Declared, Draft, Given},
    literal,
};
use crate::{
    address::Address,
    plan::render::put,
    provider::Reach,
    schema::{Kind, Type},
    value::Value,
};

pub(super) fn toml(draft: &Draft) -> String {
    let survey = &draft.survey;
    let mut text = String::new();
    let mut preface = draft.preface();
    preface.push(String::new());
    preface.extend(draft.enforcing("on_drift = \"revert_widening\"", "reach = \"exclusive\""));
    for line in &preface {
        comment(&mut text, line);
    }
    for line in draft.unlisted() {
        comment(&mut text, "");
        comment(&mut text, &line);
    }
    text.push('\n');
    if survey.is_addition() {
        comment(&mut text, "In the fleet:");
        comment(&mut text, &format!("[providers.{}]", survey.provider));
        comment(&mut text, "reach = \"watched\"");
    } else {
        put(&mut text, format_args!("fleet = {}\n", string(&survey.fleet)));
        if !survey.stores.is_empty() {
            let stores: Vec<String> = survey.stores.iter().map(|name| string(name)).collect();
            put(&mut text, format_args!("stores = [{}]\n", stores.join(", ")));
        }
        let own = (&survey.provider, &Reach::Watched);
        let others = survey.providers.iter().filter(|(name, _)| *name != own.0);
        for (name, reach) in others.chain([own]) {
            let reach = match reach {
                Reach::Declared => "declared",
                Reach::Watched => "watched",
                Reach::Exclusive => "exclusive",
            };
            put(&mut text, format_args!("\n[providers.{}]\nreach = \"{reach}\"\n", key(name)));
        }
    }
    for aside in &draft.aside {
        text.push('\n');
        comment(&mut text, &aside.to_string());
    }
    for agent in &draft.agents {
        write_agent(&mut text, draft, agent);
    }
    if draft.resources() > 0 {
        text.push('\n');
        comment(&mut text, "What is adopted. These lines can go once that is done.");
    }
    for declared in draft.agents.iter().flat_map(|agent| &agent.resources) {
        put(
            &mut text,
            format_args!(
                "\n[[import]]\naddress = {}\nid = {}\n",
                string(&declared.address.to_string()),
                string(&declared.id)
            ),
        );
    }
    text
}

fn write_agent(text: &mut String, draft: &Draft, agent: &Agent) {
    let name = agent.instance.name();
    put(
        text,
        format_args!(
            "\n[agents.{name}]\npurpose = {}\nowner = {}\nexpires = {}\n",
            expression(&agent.purpose),
            expression(&draft.accountable.owner),
            draft.accountable.expires
        ),
    );
    for declared in &agent.resources {
        write_resource(text, draft, declared);
    }
    for aside in &agent.aside {
        text.push('\n');
        comment(text, &aside.to_string());
    }
}

fn write_resource(text: &mut String, draft: &Draft, declared: &Declared) {
    let Declared { address, ty, .. } = declared;
    put(text, format_args!("\n[agents.{}.{}]\n", address.instance().name(), address.resource()));
    put(text, format_args!("{} = \"{}\"\n", ty.kind, ty.name));
    if draft.survey.provider != ty.default_provider() {
        put(text, format_args!("provider = {}\n", expression(&draft.survey.provider)));
    }
    for (field, given) in &declared.properties {
        let value = match given {
            Given::Link(to) => link(address, to),
            Given::NotOurs(id) => format!("{{ id = {} }}", expression(id)),
            Given::Value(given) => value(&field.ty, given),
        };
        put(text, format_args!("{} = {value}\n", field.name));
    }
    if declared.explained {
        put(text, format_args!("because = {}\n", string(BECAUSE)));
    }
    for note in &declared.notes {
        comment(text, note);
    }
    if !declared.ignore.is_empty() {
        let names: Vec<String> = declared.ignore.iter().map(|name| string(name)).collect();
        put(text, format_args!("ignore = [{}]\n", names.join(", ")));
    }
    if ty.kind != Kind::Runtime {
        text.push_str("on_drift = \"report\"\n");
    }
}

/// One line of comment, whatever is in it.
fn comment(text: &mut String, line: &str) {
    literal::comment(text, "#", line);
}

fn link(from: &Address, to: &Address) -> String {
    if from.instance() == to.instance() { string(to.resource()) } else { string(&to.to_string()) }
}

fn value(ty: &Type, value_: &Value) -> String {
    let items = |items: Vec<String>, [open, close]: [&str; 2]| match items.len() {
        0 => format!("{}{}", open.trim(), close.trim()),
        _ => format!("{open}{}{close}", items.join(", ")),
    };
    match (ty, value_) {
        (Type::Option(inner), given) => value(inner, given),
        (Type::Link(_), Value::Text(id)) => format!("{{ id = {} }}", expression(id)),
        (_, Value::Bool(flag)) => flag.to_string(),
        (_, Value::Int(number)) => number.to_string(),
        (_, Value::Text(text)) => expression(text),
        (Type::List(inner) | Type::Set(inner), Value::List(list)) => {
            items(list.iter().map(|item| value(inner, item)).collect(), ["[", "]"])
        }
        (Type::Map(inner), Value::Map(entries)) => {
            let entry =
                |(name, item): (&String, &Value)| format!("{} = {}", key(name), value(inner, item));
            items(entries.iter().map(entry).collect(), ["{ ", " }"])
        }
        (Type::Struct(fields), Value::Map(entries)) => {
            let given = fields.iter().filter_map(|(name, ty)| {
                let given = entries.get(*name).filter(|given| !given.is_null())?;
                Some(format!("{} = {}", key(name), value(ty, given)))
            });
            items(given.collect(), ["{ ", " }"])
        }
        // What does not fit its type was refused before.
        (_, other) => expression(&other.to_string()),
    }
}

/// Text in which a dollar means something.
fn expression(text: &str) -> String {
    string(&text.replace('$', "$$"))
}

/// A basic string of TOML.
fn string(text: &str) -> String {
    literal::string(text, |c| format!("\\U{:08X}", u32::from(c)))
}

/// A key: bare where it can be.
fn key(text: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !text.is_empty() && text.bytes().all(bare) { text.to_owned() } else { string(text) }
}
