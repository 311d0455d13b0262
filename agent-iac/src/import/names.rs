//! Names of agents and fields, made of what objects are called.

use std::collections::{BTreeMap, BTreeSet};

use super::survey::Found;
use crate::{address::MAX_NAME, value::Digest};

/// What a resource may not be called: keys of an agent in text, words of Rust,
/// and methods of a handle.
const RESERVED: [&str; 60] = [
    "abstract", "as", "async", "await", "become", "box", "break", "clone", "const", "continue",
    "crate", "do", "dyn", "else", "enum", "expires", "extern", "false", "final", "fn", "for",
    "gen", "grace", "if", "impl", "in", "inputs", "instance", "let", "loop", "macro", "match",
    "mod", "move", "mut", "override", "owner", "priv", "pub", "purpose", "ref", "return", "self",
    "static", "struct", "super", "trait", "true", "try", "type", "typeof", "union", "unsafe",
    "unsized", "use", "virtual", "where", "while", "yield", "raw",
];

/// The names of the agents for what was found, in its order.
pub(super) fn agents(found: &[Found], taken: &BTreeSet<String>) -> Vec<String> {
    let slugs: Vec<String> = found.iter().map(|found| agent(&found.name)).collect();
    let mut alike: BTreeMap<&str, usize> = BTreeMap::new();
    for slug in &slugs {
        *alike.entry(slug).or_default() += 1;
    }
    let mut used = taken.clone();
    let keeps: Vec<bool> = found
        .iter()
        .zip(&slugs)
        .map(|(found, slug)| {
            let alone = alike.get(slug.as_str()) == Some(&1) || found.name == *slug;
            alone && used.insert(slug.clone())
        })
        .collect();
    let named = found.iter().zip(slugs).zip(keeps);
    named
        .map(|((found, slug), keeps)| {
            let of = (found.resource_type.name, found.object.id.as_str());
            if keeps { slug } else { distinct(&slug, '-', of, &mut used) }
        })
        .collect()
}

/// A name as an agent's: lower case, with a dash for each run of others.
fn agent(name: &str) -> String {
    let slug = slug(name, '-', MAX_NAME);
    match slug.bytes().next() {
        None => "agent".into(),
        Some(b) if b.is_ascii_digit() => cut(&format!("agent-{slug}"), '-', MAX_NAME),
        Some(_) => slug,
    }
}

/// A field's name: that of its type, and what tells it from others of it.
pub(super) fn field(
    type_name: &str,
    id: &str,
    words: &[&str],
    used: &mut BTreeSet<String>,
) -> String {
    let tail = type_name.rsplit('.').next().unwrap_or(type_name);
    let mut name = slug(&[&[tail], words].concat().join("_"), '_', MAX_NAME);
    if RESERVED.contains(&name.as_str()) {
        name.push('_');
    }
    if used.insert(name.clone()) { name } else { distinct(&name, '_', (type_name, id), used) }
}

/// The name with digits of a hash behind it; with others where even that name
/// is in use.
fn distinct(
    name: &str,
    dash: char,
    (type_name, id): (&str, &str),
    used: &mut BTreeSet<String>,
) -> String {
    let names = (0u32..).map(|attempt| {
        let digest = Digest::of_bytes(format!("{type_name}\0{id}\0{attempt}").as_bytes());
        format!("{}{dash}{}", cut(name, dash, MAX_NAME - 9), digest.short())
    });
    let mut free = names.filter(|name| !used.contains(name));
    let name = free.next().expect("hashes do not run out");
    used.insert(name.clone());
    name
}

/// Lower-case letters and digits of ASCII, with one dash for each run of
/// anything else.
fn slug(text: &str, dash: char, most: usize) -> String {
    let mut slug = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with(dash) {
            slug.push(dash);
        }
        if slug.len() > most {
            break;
        }
    }
    cut(&slug, dash, most)
}

fn cut(text: &str, dash: char, most: usize) -> String {
    text[..text.len().min(most)].trim_end_matches(dash).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::Instance,
        provider::Object,
        resource::Resource as _,
        testing::world::{Account, AccountBuilder},
    };

    fn found(names: &[&str]) -> Vec<Found> {
        let found = |(name, id): (&&str, u32)| Found {
            resource_type: Account::RESOURCE,
            name: (*name).to_owned(),
            object: Object::new::<Account>(id.to_string(), &mut AccountBuilder::default()),
            belongings: Vec::new(),
        };
        names.iter().zip(1..).map(found).collect()
    }

    #[test]
    fn an_agent_is_called_as_its_identity_is() {
        let long = "x".repeat(80);
        for (name, agent) in [
            ("reader", "reader"),
            ("Invoice_Reader", "invoice-reader"),
            ("--a  b--", "a-b"),
            ("svc.billing@example.org", "svc-billing-example-org"),
            ("7up", "agent-7up"),
            ("", "agent"),
            ("日本", "agent"),
            ("caf\u{e9}", "caf"),
            ("a\"]\n[agents.b", "a-agents-b"),
            (long.as_str(), &long[..63]),
        ] {
            assert_eq!(agents(&found(&[name]), &BTreeSet::new()), [agent], "{name:?}");
            Instance::new(agent).unwrap();
        }
    }

    #[test]
    fn names_that_come_out_alike_are_told_apart_by_a_hash_and_the_same_one_each_time() {
        let none = BTreeSet::new();
        let names = agents(&found(&["A-b", "a-b", "a_b"]), &none);
        assert_eq!(names[1], "a-b", "it is called so");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 3, "{names:?}");
        let other = agents(&found(&["A-b", "x", "a_b"]), &none);
        assert_eq!([&names[0], &names[2]], [&other[0], &other[2]], "whatever else there is");
        for name in &names {
            Instance::new(name).unwrap();
        }
    }

    #[test]
    fn a_name_that_is_in_use_is_left_to_who_has_it() {
        let taken = BTreeSet::from(["reader".to_owned()]);
        let names = agents(&found(&["reader"]), &taken);
        assert!(names[0].starts_with("reader-") && names[0].len() == 15, "{names:?}");
    }

    #[test]
    fn long_names_that_are_alike_up_to_their_end_stay_names() {
        let (a, b) = ("y".repeat(62) + "-a", "y".repeat(62) + "-b");
        let names = agents(&found(&[&a, &b]), &BTreeSet::new());
        assert_ne!(names[0], names[1]);
        for name in &names {
            Instance::new(name).unwrap();
        }
    }

    #[test]
    fn a_field_is_called_as_its_type_and_what_it_is_on() {
        let mut used = BTreeSet::new();
        for (words, expected) in [
            (&["tenants/eu/invoices/*"][..], "grant_tenants_eu_invoices"),
            (&[], "grant"),
            (&["table", "s", "T"], "grant_table_s_t"),
            (&["*"], "grant_"),
        ] {
            let field = field("authority.grant", "7", words, &mut used);
            assert!(field.starts_with(expected), "{words:?}: {field}");
            Instance::new("a").unwrap().resource(&field).unwrap();
        }
        assert_eq!(field("pg.type", "1", &[], &mut used), "type_");
        assert_eq!(field("pg.owner", "1", &[], &mut used), "owner_");
    }
}
