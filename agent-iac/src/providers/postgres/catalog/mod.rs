//! What is in a cluster's catalogs, as resources.
//!
//! Owns every query that planning and writing read by, how objects are called
//! ([`ids`]), and how rows become objects in the form of their builders. It
//! writes nothing, and it does not judge what it finds, but for one question:
//! whether the administrators could take it away.
//!
//! A call costs the same number of requests whatever the number of objects:
//! they are asked for by arrays, in one request for a step, on one snapshot of
//! each database, which calls share that are made together. What belongs to a role is found by the server's own account
//! of it (`pg_shdepend`), so that a cluster with a hundred thousand roles of
//! somebody else's is no slower.

// What cannot be looked for is answered as an observation, which is large.
#![allow(clippy::result_large_err, reason = "an `Err` here is an answer, made once a reference")]

pub(super) mod acl;
pub(super) mod beside;
pub(super) mod classes;
pub(super) mod default_privileges;
pub(super) mod detail;
mod grants;
pub(super) mod ids;
mod logins;
pub(super) mod marks;
mod memberships;
mod observer;
pub(super) mod ownerships;
pub(super) mod people;
mod policies;
pub(super) mod public_defaults;
mod publics;
pub(super) mod roles;
pub(super) mod traps;
pub(super) mod verifiers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::{Mutex, OnceCell};

pub(super) use self::classes::{Class, Dependence, Dependent, Entry, Found, Place};
use self::ids::Oid;
pub(super) use self::observer::observers;
use super::{
    Object,
    server::{Transaction, Type},
    view::{Layout, View},
};
use crate::{
    address::is_printable,
    error::{Error, Result},
    provider::{
        self, Capabilities, Listing, Observation, Permission, Recovery, Reference, Surrounded,
        Surroundings,
    },
    resource::{Property as _, Reading, Resource},
    value::Value,
};

/// One database of a cluster, within a transaction.
#[derive(Clone, Debug)]
pub(super) struct Within {
    pub(super) tx: Transaction,
    pub(super) layout: Arc<Layout>,
    /// The database as objects name it: `None` for the provider's own.
    pub(super) database: Option<String>,
    /// The major version of the server.
    pub(super) version: u32,
    /// Whether the database has a registry, once that was asked.
    registry: Arc<OnceCell<bool>>,
    /// On a snapshot, the logins that were asked for last, and whose.
    logins: Option<Arc<Mutex<Option<people::Answered>>>>,
}

impl Within {
    /// A database, by a transaction in it.
    pub(super) fn new(
        tx: Transaction,
        layout: Arc<Layout>,
        database: Option<String>,
        version: u32,
    ) -> Self {
        Self { tx, layout, database, version, registry: Arc::default(), logins: None }
    }

    /// The same on a snapshot, on which nothing changes: what was found out
    /// once is not asked again.
    pub(super) fn reading(
        tx: Transaction,
        layout: Arc<Layout>,
        database: Option<String>,
        version: u32,
    ) -> Self {
        Self { logins: Some(Arc::default()), ..Self::new(tx, layout, database, version) }
    }

    /// Takes it from whoever writes that there is a registry, and that nobody
    /// else can write into it.
    pub(super) fn with_registry(self) -> Self {
        Self { registry: Arc::new(OnceCell::new_with(Some(true))), ..self }
    }
}

/// A reference as its type understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked<K> {
    /// The database that it is in.
    pub(super) database: Option<String>,
    /// What finds it there.
    pub(super) key: K,
}

/// How resources of one type are read from the catalogs.
#[async_trait]
pub(super) trait Read: Resource {
    /// What finds one of them in its database.
    type Key: Clone + Send + Sync + 'static;

    /// Whether there are some in each database, and not only in the cluster.
    const IN_EACH_DATABASE: bool;

    /// What the provider can do with the type.
    fn capabilities() -> Capabilities {
        capabilities()
    }

    /// Understands a reference.
    ///
    /// # Errors
    ///
    /// What the answer is where it cannot be understood.
    fn asked(reference: &Reference) -> Result<Asked<Self::Key>, Observation>;

    /// Finds objects in one database; one answer for each key, in their order.
    async fn find(within: &Within, keys: &[Self::Key]) -> Result<Vec<Observation>>;

    /// Lists what belongs to some roles in one database, or all.
    async fn all(within: &Within, of: Option<&BTreeSet<Oid>>) -> Result<Vec<provider::Object>>;

    /// Says what identities can do beside their own permissions.
    async fn surroundings(
        view: &View,
        of: &[Surrounded],
        everybody: &[Permission],
    ) -> Result<Surroundings> {
        let _nothing = (view, of, everybody);
        Ok(Surroundings::default())
    }
}

/// How many writes go into one transaction; more would hold their locks for
/// longer than others like to wait.
const BATCH: usize = 1_000;

fn capabilities() -> Capabilities {
    Capabilities {
        recovery: Recovery::Registry,
        checks_seen: true,
        batch: BATCH,
        ..Capabilities::default()
    }
}

/// Reads the objects behind references, each in its database. What is in a
/// database that cannot be reached is unread.
///
/// # Errors
///
/// When the provider's own database cannot be read.
pub(super) async fn read<R: Read>(
    view: &View,
    references: &[Reference],
) -> Result<Vec<Observation>> {
    let (mut answers, by_database) = sorted::<R>(&view.layout, references);
    let reads = by_database.into_iter().map(|(database, (places, keys))| {
        let keys = Arc::new(keys);
        let find = move |within: Within| {
            let keys = Arc::clone(&keys);
            async move { R::find(&within, &keys).await }
        };
        async move {
            let answer = view.read(database.as_deref(), find).await;
            (database, places, answer)
        }
    });
    for (database, places, answer) in join_all(reads).await {
        match answer {
            Ok(found) => {
                for (place, observation) in places.into_iter().zip(found) {
                    answers[place] = observation;
                }
            }
            Err(error) if database.is_none() => return Err(error),
            Err(error) => {
                for place in places {
                    answers[place] = Observation::Unread(told(&error));
                }
            }
        }
    }
    Ok(answers)
}

/// Reads the objects behind references within one database; those of another
/// one are unread.
///
/// # Errors
///
/// When the database cannot be read.
pub(super) async fn read_within<R: Read>(
    within: &Within,
    references: &[Reference],
) -> Result<Vec<Observation>> {
    let (mut answers, by_database) = sorted::<R>(&within.layout, references);
    for (database, (places, keys)) in by_database {
        let found = if database == within.database {
            R::find(within, &keys).await?
        } else {
            let why = "it is in another database than the one that is worked in";
            vec![Observation::Unread(why.into()); places.len()]
        };
        for (place, observation) in places.into_iter().zip(found) {
            answers[place] = observation;
        }
    }
    Ok(answers)
}

/// The keys of each database, with their places among the references.
type ByDatabase<K> = BTreeMap<Option<String>, (Vec<usize>, Vec<K>)>;

/// Sorts references by the databases that they are in; what cannot be looked
/// for is answered at once.
fn sorted<R: Read>(
    layout: &Layout,
    references: &[Reference],
) -> (Vec<Observation>, ByDatabase<R::Key>) {
    let mut answers = Vec::with_capacity(references.len());
    let mut by_database = ByDatabase::new();
    for (place, reference) in references.iter().enumerate() {
        let asked = R::asked(reference).and_then(|asked| {
            let database = layout.managed(asked.database.as_deref());
            database.map_err(|error| Observation::Unread(told(&error)))?;
            Ok(asked)
        });
        match asked {
            Ok(Asked { database, key }) => {
                let (places, keys) = by_database.entry(database).or_default();
                places.push(place);
                keys.push(key);
                // Nobody sees it: each place is answered below.
                answers.push(Observation::Absent);
            }
            Err(answer) => answers.push(answer),
        }
    }
    (answers, by_database)
}

/// Lists objects in all databases of the view. A database in which none of the
/// roles has anything, by the cluster's own account, is not asked.
///
/// # Errors
///
/// When one of the databases cannot be read: what is there is not known.
pub(super) async fn list<R: Read>(view: &View, listing: &Listing) -> Result<Vec<provider::Object>> {
    let of: Option<BTreeSet<Oid>> = match listing {
        Listing::All => None,
        Listing::Of(ids) => Some(ids.iter().filter_map(|id| id.parse().ok()).collect()),
    };
    let of = Arc::new(of);
    let many = R::IN_EACH_DATABASE && !view.layout.others.is_empty();
    let roles = Arc::clone(&of);
    let here = move |within: Within| {
        let roles = Arc::clone(&roles);
        async move {
            let objects = R::all(&within, roles.as_ref().as_ref()).await?;
            let elsewhere = match roles.as_ref() {
                Some(roles) if many => Some(databases_with(&within, roles).await?),
                _ => None,
            };
            Ok((objects, elsewhere))
        }
    };
    let (mut objects, elsewhere) = view.read(None, here).await?;
    let others = view.layout.others.iter().filter(|name| {
        many && elsewhere.as_ref().is_none_or(|elsewhere| elsewhere.contains(*name))
    });
    let lists = others.map(|name| {
        let roles = Arc::clone(&of);
        view.read(Some(name), move |within: Within| {
            let roles = Arc::clone(&roles);
            async move { R::all(&within, roles.as_ref().as_ref()).await }
        })
    });
    for listed in join_all(lists).await {
        objects.extend(listed?);
    }
    Ok(objects)
}

/// The names of the databases in which some roles, or their logins, have
/// anything at all.
async fn databases_with(within: &Within, roles: &BTreeSet<Oid>) -> Result<BTreeSet<String>> {
    let logins = people::logins(within, roles).await?;
    let oids: Vec<Oid> = roles.iter().chain(logins.keys()).copied().collect();
    let sql = "SELECT d.datname::text FROM pg_database d WHERE EXISTS (
        SELECT FROM pg_shdepend s WHERE s.dbid = d.oid AND s.refclassid = 'pg_authid'::regclass
            AND s.refobjid = ANY ($1))";
    let rows = within.tx.query(sql, &[(&oids, Type::OID_ARRAY)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What is wrong, and how to mend it: a plan shows it where the error is gone.
fn told(error: &Error) -> String {
    match error.repair() {
        Some(repair) => format!("{} ({repair})", error.chain()),
        None => error.chain(),
    }
}

/// A text of the server's as a property. What would deceive its reader is not
/// handed on.
fn text(text: impl Into<String>) -> Reading {
    let text = text.into();
    // Expressions have lines and indents; nothing else that is not seen.
    if is_printable(&text.replace(['\n', '\t'], " ")) {
        Reading::Known(Value::Text(text))
    } else {
        Reading::Unreadable("it holds characters that cannot be shown".into())
    }
}

fn optional_text(value: Option<String>) -> Reading {
    value.map_or(Reading::Known(Value::Null), text)
}

/// An object as a property.
fn object(object: &Object) -> Reading {
    let names = [object.database.as_ref(), object.schema.as_ref(), Some(&object.name)];
    let mut names = names
        .into_iter()
        .flatten()
        .chain(object.columns.iter().flatten())
        .chain(object.arguments.iter().flatten());
    if names.all(|name| is_printable(name)) {
        Reading::Known(object.into())
    } else {
        Reading::Unreadable("its name holds characters that cannot be shown".into())
    }
}

/// The fields of an object that was read.
fn fields<const N: usize>(fields: [(&str, Reading); N]) -> BTreeMap<String, Reading> {
    fields.into_iter().map(|(name, reading)| (name.to_owned(), reading)).collect()
}

/// The object of a natural key's field.
fn object_of(key: &BTreeMap<String, Value>, field: &str) -> Result<Object, Observation> {
    key.get(field)
        .and_then(|value| Object::from_value(&Object::SCHEMA.normalise(value.clone())))
        .ok_or_else(|| not_understood(field))
}

/// The text of a natural key's field.
fn text_of(key: &BTreeMap<String, Value>, field: &str) -> Result<String, Observation> {
    let text = key.get(field).and_then(Value::as_text);
    text.map(str::to_owned).ok_or_else(|| not_understood(field))
}

/// The text of a natural key's field that may be left out.
fn optional_text_of(
    key: &BTreeMap<String, Value>,
    field: &str,
) -> Result<Option<String>, Observation> {
    match key.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text_of(key, field).map(Some),
    }
}

/// The role of a natural key's field, which holds its number.
fn role_of(key: &BTreeMap<String, Value>, field: &str) -> Result<Oid, Observation> {
    text_of(key, field)?.parse().map_err(|_| not_understood(field))
}

fn not_understood(field: &str) -> Observation {
    Observation::Unread(format!("its `{field}` is none that a cluster could have"))
}

#[cfg(test)]
mod tests;
