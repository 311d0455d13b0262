//! What was taken from PUBLIC.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{
    Asked, Entry, Found, Place, Read, Within, classes,
    detail::{self, PublicDetail},
    fields,
    ids::{Oid, PublicId},
    marks, object, object_of,
    people::{self, EVERYBODY, People},
};
use crate::{
    error::Result,
    provider::{self, Observation, Reference},
    providers::postgres::{Object, Privilege, Public, server::registry::Owned},
    resource::{Property, Reading, Resource as _},
    value::Value,
};

/// What finds a hardening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct PublicKey {
    on: Object,
    /// Whether it is asked for by its id, and not as a declaration names it.
    by_id: bool,
}

#[async_trait]
impl Read for Public {
    type Key = PublicKey;

    const IN_EACH_DATABASE: bool = true;

    fn asked(reference: &Reference) -> Result<Asked<PublicKey>, Observation> {
        let key = match reference {
            Reference::Id(id) => {
                let id: PublicId = id.parse().map_err(|_| Observation::Absent)?;
                PublicKey { on: id.on, by_id: true }
            }
            Reference::Key(key) => PublicKey { on: object_of(key, "on")?, by_id: false },
        };
        Ok(Asked { database: key.on.database.clone(), key })
    }

    async fn find(within: &Within, keys: &[PublicKey]) -> Result<Vec<Observation>> {
        let ids: Vec<String> =
            keys.iter().map(|key| PublicId { on: key.on.clone() }.to_string()).collect();
        let marks = marks::registered(within, Self::TYPE, Some(&ids)).await?;
        let objects = keys.iter().map(|key| Object { columns: None, ..key.on.clone() }).collect();
        let found = classes::named(within, &objects).await?;
        let asked: Vec<(&Object, &Found)> = keys
            .iter()
            .filter_map(|key| {
                Some((&key.on, found.get(&Object { columns: None, ..key.on.clone() })?))
            })
            .collect();
        let (entries, people) = held(within, &asked).await?;
        Ok(keys
            .iter()
            .zip(ids)
            .map(|(key, id)| {
                let whole = Object { columns: None, ..key.on.clone() };
                let Some(found) = found.get(&whole) else { return Observation::Absent };
                let owned = marks.get(&id);
                // What nobody took by a declaration is no declaration's; it
                // can be adopted, by its id.
                if owned.is_none() && !key.by_id {
                    return Observation::Absent;
                }
                hardening(id, &key.on, found, &entries, owned, &people)
                    .map_or(Observation::Absent, Observation::Present)
            })
            .collect())
    }

    /// What is registered: an object of which PUBLIC never had anything was
    /// not hardened by anybody.
    async fn all(within: &Within, _: Option<&BTreeSet<Oid>>) -> Result<Vec<provider::Object>> {
        let marks = marks::registered(within, Self::TYPE, None).await?;
        let keys: Vec<PublicKey> = marks
            .keys()
            .filter_map(|id| id.parse::<PublicId>().ok())
            .map(|id| PublicKey { on: id.on, by_id: true })
            .collect();
        let found = Self::find(within, &keys).await?;
        Ok(found.into_iter().filter_map(|found| found.object().cloned()).collect())
    }
}

/// What PUBLIC has on some objects, and who owns them.
async fn held(within: &Within, asked: &[(&Object, &Found)]) -> Result<(Vec<Entry>, People)> {
    let places: BTreeSet<Place> = asked.iter().map(|(_, found)| found.place).collect();
    let with_columns = asked.iter().filter(|(on, _)| on.columns.is_some());
    let with_columns = with_columns.map(|(_, found)| found.place.oid).collect();
    let everybody = BTreeSet::from([EVERYBODY]);
    let entries = classes::entries(within, &places, &with_columns, &everybody).await?;
    let owners = asked.iter().map(|(_, found)| found.owner);
    let grantors = entries.iter().map(|entry| entry.grantor);
    let people = people::people(within, &owners.chain(grantors).collect()).await?;
    Ok((entries, people))
}

/// What of the declared, or of what the server gives at first, PUBLIC has not;
/// `None` when that is nothing.
fn hardening(
    id: String,
    on: &Object,
    found: &Found,
    entries: &[Entry],
    owned: Option<&Owned>,
    people: &People,
) -> Option<provider::Object> {
    let detail: PublicDetail = detail::read(owned.and_then(|owned| owned.detail.as_deref()));
    let wanted: BTreeSet<Privilege> = if owned.is_some() {
        Privilege::ALL.into_iter().filter(|p| detail.revoke.contains(p.word())).collect()
    } else {
        on.kind.of_public().iter().copied().collect()
    };
    // Who may do something to a table may do it to each column.
    let here = |entry: &&Entry| {
        entry.place == found.place
            && match (&entry.column, &on.columns) {
                (None, _) => true,
                (Some(column), Some(columns)) => columns.contains(column),
                (Some(_), None) => false,
            }
    };
    let has: BTreeSet<Privilege> =
        entries.iter().filter(here).map(|entry| entry.privilege).collect();
    let taken: Vec<Value> = wanted.difference(&has).map(Property::to_value).collect();
    if taken.is_empty() {
        return None;
    }
    let obstacle = entries
        .iter()
        .filter(here)
        .filter(|entry| wanted.contains(&entry.privilege))
        .find_map(|entry| people.obstacle(entry.grantor, entry.grantor == found.owner));
    Some(provider::Object {
        id,
        label: None,
        fields: fields([
            ("on", object(on)),
            ("revoke", Reading::Known(Value::List(taken).into_set())),
        ]),
        suspended: false,
        mark: owned.map(|owned| owned.mark.clone()),
        obstacle,
    })
}
