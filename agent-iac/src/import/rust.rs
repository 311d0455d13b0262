//! The draft as Rust.

use std::collections::BTreeSet;

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

/// The widest line that rustfmt leaves alone, unless the house says otherwise.
const WIDTH: usize = 100;

/// Names that the text takes for itself or that Rust has: no struct is called
/// so.
const TAKEN: [&str; 16] = [
    "Address", "Agent", "Fleet", "Grants", "Link", "OnDrift", "Option", "Period", "Property",
    "Reach", "Ref", "Resource", "Result", "Self", "String", "Vec",
];

pub(super) fn rust(draft: &Draft, module: &str) -> String {
    let survey = &draft.survey;
    let mut text = String::new();
    for line in draft.preface() {
        comment(&mut text, "", &line);
    }
    comment(&mut text, "", "");
    for line in draft.enforcing("OnDrift::RevertWidening", "Reach::Exclusive") {
        comment(&mut text, "", &line);
    }
    for line in draft.unlisted() {
        comment(&mut text, "", "");
        comment(&mut text, "", &line);
    }
    for aside in &draft.aside {
        comment(&mut text, "", "");
        comment(&mut text, "", &aside.to_string());
    }
    let structs = structs(draft);
    let all = || draft.agents.iter().flat_map(|agent| &agent.resources);
    let plain = all().flat_map(|one| &one.properties).any(|(field, given)| match given {
        Given::Value(given) => is_plain(&field.ty, given),
        Given::NotOurs(_) => true,
        Given::Link(_) => false,
    });
    let foreign = draft.agents.iter().any(|agent| !foreign(agent).is_empty());
    let mut uses = vec!["fleet::Fleet", "prelude::*"];
    if !survey.is_addition() {
        uses.push("provider::Reach");
    }
    if foreign {
        uses.push("resource::Ref");
    }
    if plain {
        uses.push("value");
    }
    let uses = uses.join(", ");
    put(
        &mut text,
        format_args!("\nuse agent_iac::address::Address;\nuse agent_iac::{{{uses}}};\n"),
    );
    if !draft.agents.is_empty() {
        comment(&mut text, "", "The module with the provider's types.");
        put(&mut text, format_args!("use {module} as system;\n"));
    }
    for (agent, name) in draft.agents.iter().zip(&structs) {
        write_agent(&mut text, draft, agent, name);
    }
    if !survey.is_addition() {
        write_fleet(&mut text, draft);
    }
    write_imported(&mut text, draft, &structs);
    text
}

fn write_fleet(text: &mut String, draft: &Draft) {
    let survey = &draft.survey;
    put(
        text,
        format_args!(
            "\n/// The fleet, with everything that was imported.\npub fn fleet() -> Fleet {{\n    \
             let mut fleet = Fleet::new({});\n",
            string(&survey.fleet)
        ),
    );
    let own = (&survey.provider, &Reach::Watched);
    let others = survey.providers.iter().filter(|(name, _)| *name != own.0);
    for (name, reach) in others.chain([own]) {
        put(text, format_args!("    fleet.provider({}, Reach::{reach:?});\n", string(name)));
    }
    for store in &survey.stores {
        put(text, format_args!("    fleet.store({});\n", string(store)));
    }
    text.push_str("    imported(&mut fleet);\n    fleet\n}\n");
}

fn write_imported(text: &mut String, draft: &Draft, structs: &[String]) {
    text.push_str(
        "\n/// Adds the agents that were imported, and says which objects are theirs.\n\
         ///\n/// # Panics\n///\n/// Never: what is parsed is the name of an address.\n\
         pub fn imported(fleet: &mut Fleet) {\n    \
         let address = |text: &str| text.parse::<Address>().expect(\"it is the name of an address\");\n",
    );
    for (agent, name) in draft.agents.iter().zip(structs) {
        let foreign = foreign(agent);
        if foreign.is_empty() {
            put(text, format_args!("    fleet.add({name}Inputs::default());\n"));
            continue;
        }
        put(text, format_args!("    fleet.add({name}Inputs {{\n"));
        for (input, (to, _)) in inputs(agent).iter().zip(&foreign) {
            put(
                text,
                format_args!("        {input}: Ref::to(address({})),\n", string(&to.to_string())),
            );
        }
        text.push_str("    });\n");
    }
    text.push_str("    // What is adopted. These lines can go once that is done.\n");
    for declared in draft.agents.iter().flat_map(|agent| &agent.resources) {
        put(
            text,
            format_args!(
                "    fleet.import(address({}), {});\n",
                string(&declared.address.to_string()),
                string(&declared.id)
            ),
        );
    }
    text.push_str("}\n");
}

fn write_agent(text: &mut String, draft: &Draft, agent: &Agent, name: &str) {
    text.push('\n');
    for aside in &agent.aside {
        comment(text, "", &aside.to_string());
    }
    put(text, format_args!("/// {}\n#[derive(Agent)]\n", agent.purpose));
    let terms = [
        ("name".to_owned(), string(agent.instance.name())),
        ("owner".to_owned(), string(&draft.accountable.owner)),
        ("expires".to_owned(), string(&draft.accountable.expires.to_string())),
    ];
    attribute(text, "", "agent", &terms);
    put(text, format_args!("pub struct {name} {{\n"));
    let (foreign, inputs) = (foreign(agent), inputs(agent));
    for ((_, ty), input) in foreign.iter().zip(&inputs) {
        put(text, format_args!("    #[input]\n    {input}: Ref<system::{}>,\n\n", type_name(ty)));
    }
    let input = |to: &Address| {
        let at = foreign.iter().position(|(known, _)| *known == to);
        at.map_or_else(|| to.resource().to_owned(), |at| inputs[at].clone())
    };
    for (index, declared) in agent.resources.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        write_resource(text, draft, declared, &input);
    }
    text.push_str("}\n");
}

fn write_resource(
    text: &mut String,
    draft: &Draft,
    declared: &Declared,
    input: &dyn Fn(&Address) -> String,
) {
    let ty = declared.ty;
    let mut pairs = Vec::new();
    let mut pair = |key: &str, value: String| pairs.push((key.to_owned(), value));
    if draft.survey.provider != ty.default_provider() {
        pair("provider", string(&draft.survey.provider));
    }
    for (field, given) in &declared.properties {
        pair(
            field.name,
            match given {
                Given::Link(to) => input(to),
                Given::NotOurs(id) => format!("value!({})", string(id)),
                // Within another value a negative number needs parentheses.
                Given::Value(Value::Int(number)) if i32::try_from(*number).is_ok() => {
                    format!("value!({number})")
                }
                Given::Value(given) if is_plain(&field.ty, given) => {
                    format!("value!({})", value(given))
                }
                Given::Value(given) => value(given),
            },
        );
    }
    if declared.explained {
        pair("because", string(BECAUSE));
    }
    if !declared.ignore.is_empty() {
        let names: Vec<String> = declared.ignore.iter().map(|name| string(name)).collect();
        pair("ignore", format!("[{}]", names.join(", ")));
    }
    if ty.kind != Kind::Runtime {
        pair("on_drift", "OnDrift::Report".into());
    }
    for note in &declared.notes {
        comment(text, "    ", note);
    }
    attribute(text, "    ", ty.kind.name(), &pairs);
    put(
        text,
        format_args!("    {}: system::{},\n", declared.address.resource(), type_name(ty.name)),
    );
}

/// `#[name(key = value, …)]`, in one line where it fits.
fn attribute(text: &mut String, indent: &str, name: &str, pairs: &[(String, String)]) {
    let shown: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let line = format!("{indent}#[{name}({})]", shown.join(", "));
    if line.chars().count() <= WIDTH {
        put(text, format_args!("{line}\n"));
        return;
    }
    put(text, format_args!("{indent}#[{name}(\n"));
    for pair in shown {
        put(text, format_args!("{indent}    {pair},\n"));
    }
    put(text, format_args!("{indent})]\n"));
}

/// The resources of other agents that one refers to, each once, with its type.
fn foreign(agent: &Agent) -> Vec<(&Address, &'static str)> {
    let mut seen = BTreeSet::new();
    let links =
        agent.resources.iter().flat_map(|one| &one.properties).filter_map(|(field, given)| {
            match given {
                Given::Link(to) => Some((to, field.ty.link()?)),
                Given::Value(_) | Given::NotOurs(_) => None,
            }
        });
    links.filter(|(to, _)| to.instance() != &agent.instance && seen.insert(*to)).collect()
}

/// What the parameters for them are called.
fn inputs(agent: &Agent) -> Vec<String> {
    let mut used: BTreeSet<String> =
        agent.resources.iter().map(|one| one.address.resource().to_owned()).collect();
    let named = foreign(agent).into_iter().map(|(to, _)| {
        let name = format!("{}_{}", to.instance().name().replace('-', "_"), to.resource());
        let mut names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}_{n}")));
        names.find(|name| used.insert(name.clone())).expect("numbers do not run out")
    });
    named.collect()
}

/// What the structs are called, in the order of the agents.
fn structs(draft: &Draft) -> Vec<String> {
    let mut used: BTreeSet<String> = TAKEN.into_iter().map(str::to_owned).collect();
    let made = |name: &str| ["", "Inputs", "References"].map(|part| format!("{name}{part}"));
    let named = draft.agents.iter().map(|agent| {
        let name = pascal(agent.instance.name());
        let mut names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}{n}")));
        let free = |name: &String| made(name).iter().all(|made| !used.contains(made));
        let name = names.find(free).expect("numbers do not run out");
        used.extend(made(&name));
        name
    });
    named.collect()
}

/// What a resource type is called in Rust: `authority.api_key` is `ApiKey`.
fn type_name(name: &str) -> String {
    pascal(name.rsplit('.').next().unwrap_or(name))
}

fn pascal(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    name.split(['-', '_']).map(word).collect()
}

/// Whether a value is written as a plain one: only text, lists of text and
/// truth values have a form that rustc takes for the property's own type,
/// whatever that is called.
fn is_plain(ty: &Type, value: &Value) -> bool {
    match (ty, value) {
        (Type::Option(inner), value) => match inner {
            Type::Text | Type::Bool => is_plain(inner, value),
            _ => true,
        },
        (Type::Text | Type::Bool, _) => false,
        (Type::List(Type::Text) | Type::Set(Type::Text), Value::List(items)) => items.is_empty(),
        _ => true,
    }
}

fn value(given: &Value) -> String {
    match given {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => match (i32::try_from(*number), *number < 0) {
            (Ok(_), false) => number.to_string(),
            (Ok(_), true) => format!("({number})"),
            (Err(_), _) => format!("(agent_iac::value::Value::Int({number}))"),
        },
        Value::Text(text) => string(text),
        Value::List(items) => {
            format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(", "))
        }
        Value::Map(entries) => {
            // What a struct leaves out is nothing.
            let given = entries.iter().filter(|(_, item)| !item.is_null());
            let given: Vec<String> =
                given.map(|(key, item)| format!("{}: {}", string(key), value(item))).collect();
            if given.is_empty() { "{}".into() } else { format!("{{ {} }}", given.join(", ")) }
        }
    }
}

/// One line of comment, whatever is in it.
fn comment(text: &mut String, indent: &str, line: &str) {
    literal::comment(text, &format!("{indent}//"), line);
}

/// A string literal.
fn string(text: &str) -> String {
    literal::string(text, |c| format!("\\u{{{:x}}}", u32::from(c)))
}
