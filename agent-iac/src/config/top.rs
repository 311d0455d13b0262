//! What stands at the top of a text: the fleet itself.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::{
    agents::Instances,
    reader::{Item, Key, Reader, listed},
    values::whole,
};
use crate::{
    address::{Address, quoted},
    agent::{Period, Written},
    diagnostic::{Code, nearest},
    fleet::{Fleet, Rules, Standing, Unattended},
    provider::Reach,
    rotation::FleetTerms,
};

/// The keys at the top.
pub(super) const TOP_KEYS: [&str; 8] =
    ["fleet", "stores", "providers", "rules", "agents", "moved", "removed", "import"];

/// The words of `reach`.
pub(super) const REACHES: [&str; 3] = ["declared", "watched", "exclusive"];

/// Reads everything.
pub(super) fn fleet(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Fleet {
    let mut fleet = Fleet::new("");
    for key in root.keys().filter(|key| !TOP_KEYS.contains(&key.get_ref().as_ref())) {
        let near = reader.unknown_key(key, &TOP_KEYS, "a fleet");
        if let Some(near) = near.filter(|near| root.get(near.as_str()).is_none()) {
            reader.complete &= near != "agents";
            fleet.written.refuse(near);
        }
    }
    name(reader, root, &mut fleet);
    stores(reader, root, &mut fleet);
    providers(reader, root, &mut fleet);
    rules(reader, root, &mut fleet);
    agents(reader, root, &mut fleet);
    moved(reader, root, &mut fleet);
    removed(reader, root, &mut fleet);
    import(reader, root, &mut fleet);
    fleet
}

fn name(reader: &mut Reader<'_>, root: &DeTable<'_>, fleet: &mut Fleet) {
    let name = match root.get("fleet") {
        Some(item) => {
            fleet.written.put("fleet", reader.place(item.span()));
            reader.text(item).map(str::to_owned)
        }
        None if fleet.written.is_refused("fleet") => None,
        None => {
            reader.missing(
                Code::Property,
                0..0,
                "missing key `fleet`",
                "name the fleet in the first line: `fleet = \"billing\"`",
            );
            None
        }
    };
    match name {
        Some(name) => fleet.name = name,
        None => fleet.written.refuse("fleet"),
    }
}

/// Whether a name can stand in a key of others, as that of a provider.
fn word(reader: &mut Reader<'_>, what: &str, name: &str, span: super::reader::Span) -> bool {
    let sound = !name.is_empty()
        && name.len() <= crate::address::MAX_NAME
        && name.bytes().all(|b| {
            b.is_ascii_lowercase()
                || b.is_ascii_digit()
                || b == b'-'
                || b == b'_' && what != "store"
        });
    if !sound {
        let help = format!("use a-z, 0-9 and dashes, at most {} bytes", crate::address::MAX_NAME);
        let message = format!("{} is not the name of a {what}", quoted(name));
        reader.error(Code::Name, span, message, help);
    }
    sound
}

fn stores(reader: &mut Reader<'_>, root: &DeTable<'_>, fleet: &mut Fleet) {
    let Some(item) = root.get("stores") else { return };
    let Some(items) = reader.list(item, "a list of text") else {
        fleet.written.refuse("stores");
        return;
    };
    for item in items {
        match reader.text(item) {
            Some(name) if word(reader, "store", name, item.span()) => {
                fleet.store(name);
            }
            _ => fleet.written.refuse("stores"),
        }
    }
}

fn providers(reader: &mut Reader<'_>, root: &DeTable<'_>, fleet: &mut Fleet) {
    let Some(item) = root.get("providers") else { return };
    let Some(table) = reader.table(item) else {
        fleet.written.refuse("providers");
        return;
    };
    for (key, item) in table {
        let sound = word(reader, "provider", key.get_ref(), key.span());
        let Some(provider) = reader.table(item) else {
            fleet.written.refuse("providers");
            continue;
        };
        reader.unknown_keys(provider, &["reach"], "a provider");
        let reach =
            provider.get("reach").map_or(Some(Reach::default()), |item| reach(reader, item));
        if sound {
            // Where the word is wrong, the provider is declared all the same.
            fleet.provider(key.get_ref().as_ref(), reach.unwrap_or_default());
        } else {
            fleet.written.refuse("providers");
        }
    }
}

fn reach(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Reach> {
    match reader.text(item)? {
        "declared" => Some(Reach::Declared),
        "watched" => Some(Reach::Watched),
        "exclusive" => Some(Reach::Exclusive),
        other => {
            let help = nearest(other, REACHES).map_or_else(
                || format!("write one of {}", listed(REACHES)),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("{} is no reach", quoted(other));
            reader.error(Code::Property, item.span(), message, help);
            None
        }
    }
}

fn rules(reader: &mut Reader<'_>, root: &DeTable<'_>, fleet: &mut Fleet) {
    let Some(item) = root.get("rules") else { return };
    let Some(table) = reader.table(item) else { return };
    reader.unknown_keys(
        table,
        &["max_leaving", "max_age", "rotation", "standing", "standing_until"],
        "the rules",
    );
    let mut rules = Rules::default();
    if let Some(item) = table.get("max_leaving") {
        let number = match item.get_ref() {
            DeValue::Integer(number) => whole(number).and_then(|number| number.try_into().ok()),
            _ => None,
        };
        rules.max_leaving = number;
        if number.is_none() {
            reader.misshaped(item, "a whole number of agents", "3");
        }
    }
    if let Some(item) = table.get("max_age")
        && let Some(text) = reader.text(item)
    {
        match text.parse::<Period>() {
            Ok(age) => rules.max_age = age.as_seconds(),
            Err(error) => {
                let help = error.repair().unwrap_or_default().to_owned();
                reader.error(Code::Period, item.span(), error.message().to_owned(), help);
            }
        }
    }
    if let Some(item) = table.get("rotation") {
        rules.rotation = rotation(reader, item, &mut fleet.written);
    }
    rules.standing = standing(reader, table);
    fleet.rules(rules);
}

/// What may happen while nobody watches.
fn standing(reader: &mut Reader<'_>, table: &DeTable<'_>) -> Standing {
    let mut standing = Standing::default();
    if let Some(item) = table.get("standing") {
        for item in reader.list(item, "a list of text").unwrap_or_default() {
            let Some(text) = reader.text(item) else { continue };
            match text.parse::<Unattended>() {
                Ok(may) => drop(standing.may.insert(may)),
                Err(error) => {
                    let help = error.repair().unwrap_or_default().to_owned();
                    reader.error(Code::Property, item.span(), error.message().to_owned(), help);
                }
            }
        }
    }
    if let Some(item) = table.get("standing_until") {
        let text = match item.get_ref() {
            DeValue::Datetime(_) => reader.day(item),
            _ => reader.text(item).map(str::to_owned),
        };
        standing.until = text.as_ref().and_then(|text| text.parse().ok());
        if let Some(text) = text.filter(|_| standing.until.is_none()) {
            let message = format!("{} is not a day", quoted(&text));
            reader.error(Code::Terms, item.span(), message, "write it as `2027-06-30`");
        }
    }
    standing
}

/// What holds for the rotations of all credentials.
fn rotation(reader: &mut Reader<'_>, item: &Item<'_>, written: &mut Written) -> FleetTerms {
    let mut terms = FleetTerms::default();
    let Some(table) = reader.table(item) else { return terms };
    let keys = ["zone", "window", "blackouts", "rates"];
    reader.unknown_keys(table, &keys, "the fleet's rotations");
    for (key, item) in table {
        let name = key.get_ref().as_ref();
        written.put(format!("rules rotation {name}"), reader.place(item.span()));
        match name {
            "zone" => terms.zone = reader.text(item).map(str::to_owned),
            "window" => terms.window = reader.text(item).map(str::to_owned),
            "blackouts" => {
                let items = reader.list(item, "a list of text").unwrap_or_default();
                let texts = items.into_iter().filter_map(|item| reader.text(item));
                terms.blackouts = texts.map(str::to_owned).collect();
            }
            "rates" => {
                let Some(rates) = reader.table(item) else { continue };
                for (provider, item) in rates {
                    let key = format!("rules rotation rates {}", provider.get_ref());
                    written.put(key, reader.place(item.span()));
                    if let Some(rate) = reader.text(item) {
                        terms.rates.insert(provider.get_ref().to_string(), rate.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    terms
}

fn agents(reader: &mut Reader<'_>, root: &DeTable<'_>, fleet: &mut Fleet) {
    let Some(item) = root.get("agents") else { return };
    let Some(table) = reader.table(item) else {
        reader.complete = false;
        return;
    };
    // The instances first: references lead forward as well as back.
    let mut read: Vec<(&Key<'_>, &DeTable<'_>, Instances)> = Vec::new();
    for (key, item) in table {
        let Some(agent) = reader.table(item) else {
            reader.complete = false;
            continue;
        };
        let instances = reader.instances(key, agent);
        if let Some(keys) = instances.keys() {
            reader.index.set_keys(key.get_ref(), keys);
        }
        read.push((key, agent, instances));
    }
    for (key, agent, instances) in read {
        reader.agent(key, agent, &instances, fleet);
    }
}

/// The tables of a list of tables.
fn tables<'i, 'd>(reader: &mut Reader<'_>, root: &'i DeTable<'d>, key: &str) -> Vec<&'i Item<'d>> {
    let Some(item) = root.get(key) else { return Vec::new() };
    let items = reader.list(item, &format!("tables, each under `[[{key}]]`")).unwrap_or_default();
    items.into_iter().filter(|item| reader.table(item).is_some()).collect()
}

/// The value of a key that a table must have.
fn must<'i, 'd>(reader: &mut Reader<'_>, item: &'i Item<'d>, key: &str) -> Option<&'i Item<'d>> {
    let DeValue::Table(table) = item.get_ref() else { return None };
    let found = table.get(key);
    if found.is_none() {
        let help = format!("add `{key} = \"…\"`");
        reader.missing(Code::Refactoring, item.span(), format!("missing key `{key}`"), help);
    }
    found
}

fn address(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Address> {
    match reader.text(item)?.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            let error: crate::Error = error;
            let help = error.repair().unwrap_or_default().to_owned();
            reader.error(Code::Name, item.span(), error.message().to_owned(), help);
            None
        }
    }
}

fn twice(reader: &mut Reader<'_>, item: &Item<'_>, address: &Address) {
    let message = format!("`{address}` stands here twice");
    reader.error(Code::Duplicate, item.span(), message, "remove one of the two");
}

fn moved(reader: &mut Reader<'_>, root: &DeTable<'_>, fleet: &mut Fleet) {
    for item in tables(reader, root, "moved") {
        let DeValue::Table(table) = item.get_ref() else { continue };
        reader.unknown_keys(table, &["from", "to"], "a move");
        let [from, to] = ["from", "to"].map(|key| must(reader, item, key));
        let [at_from, at_to] = [from, to].map(|item| item.and_then(|item| address(reader, item)));
        if let (Some(item), Some(from), Some(to)) = (from, at_from, at_to) {
            if fleet.moved.contains_key(&from) {
                twice(reader, item, &from);
                continue;
            }
            fleet.written.put(format!("moved {from}"), reader.place(item.span()));
            fleet.moved(from, to);
        }
    }
}

fn removed(reader: &mut Reader<'_>, root: &DeTable<'_>, fleet: &mut Fleet) {
    let Some(item) = root.get("removed") else { return };
    let mut seen = BTreeSet::new();
    for item in reader.list(item, "a list of text").unwrap_or_default() {
        let Some(address) = address(reader, item) else { continue };
        if !seen.insert(address.clone()) {
            twice(reader, item, &address);
            continue;
        }
        fleet.written.put(format!("removed {address}"), reader.place(item.span()));
        fleet.removed(address);
    }
}

fn import(reader: &mut Reader<'_>, root: &DeTable<'_>, fleet: &mut Fleet) {
    for item in tables(reader, root, "import") {
        let DeValue::Table(table) = item.get_ref() else { continue };
        reader.unknown_keys(table, &["address", "id"], "an import");
        let [at, id] = ["address", "id"].map(|key| must(reader, item, key));
        let found = at.and_then(|item| address(reader, item));
        let id = id.and_then(|item| reader.text(item));
        if let (Some(item), Some(found), Some(id)) = (at, found, id) {
            if fleet.imports.contains_key(&found) {
                twice(reader, item, &found);
                continue;
            }
            fleet.written.put(format!("import {found}"), reader.place(item.span()));
            fleet.import(found, id);
        }
    }
}
