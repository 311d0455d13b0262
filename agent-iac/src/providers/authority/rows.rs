//! From rows of the file to objects, and the queries that find them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params_from_iter};

use super::{Account, ApiKey, Grant};
use crate::{
    address::is_printable,
    clock::Entropy,
    provider::{
        AtOnce, Capabilities, CredentialCapabilities, Listing, Mark, Object, Observation, Origin,
        Recovery, Reference,
    },
    resource::{Reading, Resource},
    value::Value,
};

/// How many writes go into one transaction; more would keep readers waiting
/// for longer than a person notices.
const BATCH: usize = 1_000;

/// A resource type and the table that holds it.
pub(super) trait Table: Resource {
    /// What it is called in errors.
    const NOUN: &'static str;
    /// Reads every column that [`Table::object`] takes, without a condition.
    const SELECT: &'static str;
    /// The condition that finds what belongs to one account.
    const OF_ACCOUNT: &'static str;
    /// The condition that finds an object by its natural key; `None` when it
    /// has none. Its parameters are the columns of [`Table::KEY`] in order.
    const BY_KEY: Option<&'static str>;
    /// The properties that form the natural key.
    const KEY: &'static [&'static str];

    /// Reads a row.
    fn object(row: &Row<'_>) -> rusqlite::Result<Object>;

    /// What the authority can do with the type.
    fn capabilities() -> Capabilities {
        Capabilities {
            recovery: Recovery::Registry,
            checks_seen: true,
            batch: BATCH,
            ..Capabilities::default()
        }
    }
}

impl Table for Account {
    const NOUN: &'static str = "account";
    const SELECT: &'static str =
        "SELECT id, fleet, environment, address, name, description, suspended FROM accounts";
    const OF_ACCOUNT: &'static str = "WHERE id = ?1";
    const BY_KEY: Option<&'static str> = Some("WHERE name = ?1");
    const KEY: &'static [&'static str] = &["name"];

    fn object(row: &Row<'_>) -> rusqlite::Result<Object> {
        let mut object = object(row)?;
        object.fields.insert("name".into(), text(row.get(4)?));
        object.fields.insert("description".into(), optional_text(row.get(5)?));
        object.suspended = row.get(6)?;
        Ok(object)
    }

    fn capabilities() -> Capabilities {
        Capabilities { suspends: true, ..Grant::capabilities() }
    }
}

impl Table for Grant {
    const NOUN: &'static str = "grant";
    const SELECT: &'static str =
        "SELECT id, fleet, environment, address, account, pattern, actions FROM grants";
    const OF_ACCOUNT: &'static str = "WHERE account = ?1";
    const BY_KEY: Option<&'static str> = Some("WHERE account = ?1 AND pattern = ?2");
    const KEY: &'static [&'static str] = &["to", "on"];

    fn object(row: &Row<'_>) -> rusqlite::Result<Object> {
        let mut object = object(row)?;
        object.fields.insert("to".into(), text(row.get(4)?));
        object.fields.insert("on".into(), text(row.get(5)?));
        let actions: String = row.get(6)?;
        let allow = if is_printable(&actions) {
            Reading::Known(actions.split_whitespace().collect::<Value>().into_set())
        } else {
            unprintable()
        };
        object.fields.insert("allow".into(), allow);
        Ok(object)
    }
}

impl Table for ApiKey {
    const NOUN: &'static str = "API key";
    const SELECT: &'static str =
        "SELECT id, fleet, environment, address, account, note FROM api_keys";
    const OF_ACCOUNT: &'static str = "WHERE account = ?1";
    const BY_KEY: Option<&'static str> = None;
    const KEY: &'static [&'static str] = &[];

    fn object(row: &Row<'_>) -> rusqlite::Result<Object> {
        let mut object = object(row)?;
        object.fields.insert("of".into(), text(row.get(4)?));
        object.fields.insert("note".into(), optional_text(row.get(5)?));
        Ok(object)
    }

    fn capabilities() -> Capabilities {
        Capabilities {
            credential: Some(CredentialCapabilities {
                origin: Origin::System,
                at_once: AtOnce::Two,
                last_use_known: false,
                // Keys are looked up each time: there is nothing to expire.
                propagation: std::time::Duration::ZERO,
            }),
            ..Grant::capabilities()
        }
    }
}

/// The part that every table has: id and mark.
fn object(row: &Row<'_>) -> rusqlite::Result<Object> {
    let id: String = row.get(0)?;
    let mark = match (row.get(1)?, row.get(2)?, row.get::<_, Option<String>>(3)?) {
        (Some(fleet), Some(environment), Some(address)) => {
            // What is no address was not written by a fleet, and marks nothing.
            address.parse().ok().map(|address| Mark { fleet, environment, address })
        }
        _ => None,
    };
    let fields = BTreeMap::from([("id".to_owned(), text(id.clone()))]);
    Ok(Object { id, fields, suspended: false, mark, obstacle: None, label: None })
}

fn unprintable() -> Reading {
    Reading::Unreadable("it holds characters that cannot be shown".into())
}

/// Text as it was read. Somebody may have written the file by hand, and what
/// would deceive a reader of the plan does not get that far.
fn text(text: String) -> Reading {
    if is_printable(&text) { Reading::Known(Value::Text(text)) } else { unprintable() }
}

fn optional_text(value: Option<String>) -> Reading {
    value.map_or(Reading::Known(Value::Null), text)
}

/// A new id: what it names, the millisecond, and 80 random bits, so that none is
/// given twice. Ids that were given one after the other stand together in the
/// tables, so that a batch changes as few pages of a large file as of a small
/// one.
pub(super) fn random_id(what: &str, now: Timestamp, entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes[6..]);
    let millisecond = u64::try_from(now.as_millisecond()).unwrap_or(0).to_be_bytes();
    bytes[..6].copy_from_slice(&millisecond[2..]);
    format!("{what}_{:032x}", u128::from_be_bytes(bytes))
}

fn prepared<'c, T: Table>(
    connection: &'c Connection,
    condition: &str,
) -> rusqlite::Result<CachedStatement<'c>> {
    connection.prepare_cached(&format!("{} {condition}", T::SELECT))
}

/// The object of that id.
pub(super) fn by_id<T: Table>(
    connection: &Connection,
    id: &str,
) -> rusqlite::Result<Option<Object>> {
    prepared::<T>(connection, "WHERE id = ?1")?.query_row([id], T::object).optional()
}

/// The object with those values of its natural key.
pub(super) fn by_key<T: Table>(
    connection: &Connection,
    key: &[&str],
) -> rusqlite::Result<Option<Object>> {
    let Some(condition) = T::BY_KEY else { return Ok(None) };
    prepared::<T>(connection, condition)?.query_row(params_from_iter(key), T::object).optional()
}

/// Reads objects in the order of `references`. A statement that is prepared
/// once and run for each is as fast as one large query where the database is
/// in the same process, and has no limit of parameters; the caller's
/// transaction makes it one snapshot.
pub(super) fn read<T: Table>(
    connection: &Connection,
    references: &[Reference],
) -> rusqlite::Result<Vec<Observation>> {
    let observed =
        |object: Option<Object>| object.map_or(Observation::Absent, Observation::Present);
    references
        .iter()
        .map(|reference| match reference {
            Reference::Id(id) => by_id::<T>(connection, id).map(observed),
            Reference::Key(_) if T::BY_KEY.is_none() => {
                Ok(Observation::Unread(format!("an {} is found by its id only", T::NOUN)))
            }
            Reference::Key(values) => match key::<T>(values) {
                Ok(key) => {
                    let key: Vec<&str> = key.iter().map(String::as_str).collect();
                    by_key::<T>(connection, &key).map(observed)
                }
                Err(name) => {
                    Ok(Observation::Unread(format!("the key of a {} needs `{name}`", T::NOUN)))
                }
            },
        })
        .collect()
}

fn key<T: Table>(values: &BTreeMap<String, Value>) -> Result<Vec<String>, &'static str> {
    T::KEY
        .iter()
        .map(|name| {
            let field = T::RESOURCE.field(name).ok_or(*name)?;
            match field.ty.normalise(values.get(*name).cloned().unwrap_or_default()) {
                Value::Text(text) => Ok(text),
                _ => Err(*name),
            }
        })
        .collect()
}

/// The ids of all objects.
pub(super) fn ids<T: Table>(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let table = T::SELECT.split_once(" FROM ").map_or("", |(_, table)| table);
    let mut statement = connection.prepare_cached(&format!("SELECT id FROM {table}"))?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Lists objects, sorted by their ids.
pub(super) fn list<T: Table>(
    connection: &Connection,
    listing: &Listing,
) -> rusqlite::Result<Vec<Object>> {
    let mut objects = BTreeMap::new();
    let mut add = |object: Object| objects.insert(object.id.clone(), object);
    match listing {
        Listing::All => {
            for object in prepared::<T>(connection, "")?.query_map([], T::object)? {
                add(object?);
            }
        }
        Listing::Of(accounts) => {
            let mut statement = prepared::<T>(connection, T::OF_ACCOUNT)?;
            for account in accounts {
                for object in statement.query_map([account], T::object)? {
                    add(object?);
                }
            }
        }
    }
    Ok(objects.into_values().collect())
}
