//! What roles have in one database, and in the cluster where it is the
//! provider's own: privileges, ownership, and what they will be given.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join;

use crate::{
    error::Result,
    providers::postgres::{
        Object, ObjectKind,
        catalog::{
            Class, Dependence, Entry, Place, Within, classes, default_privileges,
            ids::Oid,
            ownerships::{self, Belonging},
            people::{self, DATABASE_OWNER},
        },
        server::Type,
    },
};

/// The first number that the server gives to a role that is not its own; it
/// keeps no account of what depends on its own ones.
const FIRST_OF_OTHERS: Oid = 16_384;

/// What one role has: actions, and what they are on.
pub(super) type Given = BTreeSet<(String, String)>;

/// What some roles have.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    pub(super) given: BTreeMap<Oid, Given>,
    /// What the server itself gives to its own roles, counted.
    pub(super) counted: BTreeMap<Oid, BTreeMap<String, u64>>,
}

impl Holdings {
    fn give(&mut self, role: Oid, action: impl Into<String>, object: impl Into<String>) {
        self.given.entry(role).or_default().insert((action.into(), object.into()));
    }
}

/// Reads what some roles have.
pub(super) async fn read(within: &Within, roles: &BTreeSet<Oid>) -> Result<Holdings> {
    let mut holdings = Holdings::default();
    if roles.is_empty() {
        return Ok(holdings);
    }
    let (servers, others): (BTreeSet<Oid>, BTreeSet<Oid>) =
        roles.iter().partition(|role| **role < FIRST_OF_OTHERS);
    let mut entries = Vec::new();
    if !others.is_empty() {
        entries = entries_of(within, &others).await?;
    }
    if !servers.is_empty() {
        entries.extend(classes::all_entries(within, &servers).await?);
    }
    let places = entries.iter().map(|entry| entry.place).collect();
    let found = classes::placed(within, &places).await?;
    for entry in &entries {
        let Some(found) = found.get(&entry.place) else { continue };
        let object = &found.object;
        if entry.grantee < FIRST_OF_OTHERS && is_servers(object) {
            let what =
                format!("{} on {}s of the server", entry.privilege.word(), object.kind.word());
            *holdings.counted.entry(entry.grantee).or_default().entry(what).or_default() += 1;
            continue;
        }
        let columns = entry.column.clone().map(|column| BTreeSet::from([column]));
        let object = Object { columns, ..object.clone() }.to_string();
        let word = entry.privilege.word();
        if entry.grantable {
            holdings.give(entry.grantee, format!("grant {word}"), object.clone());
        }
        holdings.give(entry.grantee, word, object);
    }
    for (owner, what) in ownerships::owned_by(within, &others).await? {
        let object = match what {
            Belonging::Object(found) => found.object.to_string(),
            Belonging::Other { what, .. } => what,
        };
        holdings.give(owner, "own", object);
    }
    if servers.contains(&DATABASE_OWNER) {
        for object in of_database_owner(within).await? {
            holdings.give(DATABASE_OWNER, "own", object);
        }
    }
    let futures = default_privileges::entries(within, roles).await?;
    let creators = futures.keys().map(|(_, _, creator, _)| *creator).collect();
    let people = people::people(within, &creators).await?;
    for (parties, held) in &futures {
        // What a creator has on what is its own is ownership.
        if parties.0 == parties.2 {
            continue;
        }
        let object = default_privileges::future(within, parties, &people);
        for privilege in held.keys() {
            holdings.give(parties.0, privilege.word(), object.clone());
        }
    }
    Ok(holdings)
}

fn is_servers(object: &Object) -> bool {
    let schema = if object.kind == ObjectKind::Schema {
        Some(object.name.as_str())
    } else {
        object.schema.as_deref()
    };
    matches!(schema, Some("pg_catalog" | "information_schema"))
}

/// The privileges of roles that the server keeps account of, but for those of
/// owners from themselves.
async fn entries_of(within: &Within, roles: &BTreeSet<Oid>) -> Result<Vec<Entry>> {
    let dependents = classes::dependents(within, roles, Dependence::Listed).await?;
    let mut places = BTreeSet::new();
    let mut with_columns = BTreeSet::new();
    for dependent in dependents {
        let Some(class) = Class::numbered(dependent.class) else { continue };
        if dependent.column {
            with_columns.insert(dependent.oid);
        }
        places.insert(Place { class, oid: dependent.oid });
    }
    let (entries, found) = try_join(
        classes::entries(within, &places, &with_columns, roles),
        classes::placed(within, &places),
    )
    .await?;
    let is_owner =
        |entry: &Entry| found.get(&entry.place).is_some_and(|found| found.owner == entry.grantee);
    Ok(entries.into_iter().filter(|entry| !is_owner(entry)).collect())
}

/// What belongs to whoever owns the database.
async fn of_database_owner(within: &Within) -> Result<Vec<String>> {
    let sql = "SELECT 2615::oid, oid FROM pg_namespace WHERE nspowner = $1
        UNION ALL SELECT 1259, oid FROM pg_class
            WHERE relowner = $1 AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL SELECT 1255, oid FROM pg_proc WHERE proowner = $1";
    let rows = within.tx.query(sql, &[(&DATABASE_OWNER, Type::OID)]).await?;
    let places = rows
        .iter()
        .filter_map(|row| Some(Place { class: Class::numbered(row.get(0))?, oid: row.get(1) }))
        .collect();
    let found = classes::placed(within, &places).await?;
    Ok(found.into_values().map(|found| found.object.to_string()).collect())
}
