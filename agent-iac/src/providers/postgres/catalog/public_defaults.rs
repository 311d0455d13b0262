//! What was taken from PUBLIC of what roles will create.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{
    Asked, Read, Within,
    default_privileges::Creator,
    detail::{self, PublicDefaultsDetail},
    fields,
    ids::{Oid, PublicDefaultsId},
    marks, optional_text, optional_text_of,
    people::{self, EVERYBODY, People},
    text, text_of,
};
use crate::{
    error::Result,
    provider::{self, Observation, Reference},
    providers::postgres::{
        Future, Privilege, PublicDefaults,
        server::{Type, registry::Owned},
    },
    resource::{Property, Reading, Resource as _},
    value::Value,
};

/// What finds a hardening of what will be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct PublicDefaultsKey {
    on: Future,
    creator: Creator,
    /// Whether it is asked for by its id, and not as a declaration names it.
    by_id: bool,
}

/// What everybody will get on what a role creates: in each schema for which it
/// was said, and in all of them at once.
pub(in super::super) type Everybodys = BTreeMap<Option<String>, BTreeSet<Privilege>>;

/// Reads what everybody will get on what some roles create, of each kind.
pub(in super::super) async fn everybodys(
    within: &Within,
    creators: &BTreeSet<Oid>,
) -> Result<BTreeMap<(Oid, Future), Everybodys>> {
    let creators: Vec<Oid> = creators.iter().copied().collect();
    let sql = format!(
        "SELECT d.defaclrole, d.defaclobjtype::text, n.nspname::text, e.privilege_type
        FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
        LEFT JOIN LATERAL (
            SELECT privilege_type FROM aclexplode(d.defaclacl) WHERE grantee = {EVERYBODY}
        ) e ON true
        WHERE d.defaclrole = ANY ($1)"
    );
    let rows = within.tx.query(&sql, &[(&creators, Type::OID_ARRAY)]).await?;
    let mut all: BTreeMap<(Oid, Future), Everybodys> = BTreeMap::new();
    for row in &rows {
        let (letter, words): (&str, Option<&str>) = (row.get(1), row.get(3));
        let on = Future::ALL.into_iter().find(|on| letter == on.letter().to_string());
        let Some(on) = on else { continue };
        let given = all.entry((row.get(0), on)).or_default().entry(row.get(2)).or_default();
        given.extend(words.and_then(Privilege::from_sql));
    }
    for creator in creators {
        for on in Future::ALL {
            // Without a list of its own there is what the server gives at first.
            let usual = || on.kind().of_public().iter().copied().collect();
            all.entry((creator, on)).or_default().entry(None).or_insert_with(usual);
        }
    }
    Ok(all)
}

#[async_trait]
impl Read for PublicDefaults {
    type Key = PublicDefaultsKey;

    const IN_EACH_DATABASE: bool = true;

    fn asked(reference: &Reference) -> Result<Asked<PublicDefaultsKey>, Observation> {
        match reference {
            Reference::Id(id) => {
                let id: PublicDefaultsId = id.parse().map_err(|_| Observation::Absent)?;
                let creator = Creator::Oid(id.creator);
                let key = PublicDefaultsKey { on: id.on, creator, by_id: true };
                Ok(Asked { database: id.database, key })
            }
            Reference::Key(key) => {
                let on = key.get("on").and_then(Future::from_value);
                let on = on.ok_or_else(|| super::not_understood("on"))?;
                let creator = Creator::Name(text_of(key, "for_role")?);
                Ok(Asked {
                    database: optional_text_of(key, "database")?,
                    key: PublicDefaultsKey { on, creator, by_id: false },
                })
            }
        }
    }

    async fn find(within: &Within, keys: &[PublicDefaultsKey]) -> Result<Vec<Observation>> {
        let creators = numbers(within, keys).await?;
        let known: BTreeSet<Oid> = creators.iter().flatten().copied().collect();
        let held = everybodys(within, &known).await?;
        let people = people::people(within, &known).await?;
        let id = |key: &PublicDefaultsKey, creator| PublicDefaultsId {
            on: key.on,
            creator,
            database: within.database.clone(),
        };
        let ids: Vec<String> = keys
            .iter()
            .zip(&creators)
            .filter_map(|(key, creator)| Some(id(key, (*creator)?).to_string()))
            .collect();
        let marks = marks::registered(within, Self::TYPE, Some(&ids)).await?;
        Ok(keys
            .iter()
            .zip(&creators)
            .map(|(key, creator)| {
                let Some(creator) = creator.filter(|oid| people.of.contains_key(oid)) else {
                    return Observation::Absent;
                };
                let id = id(key, creator);
                let owned = marks.get(&id.to_string());
                // What nobody took by a declaration is no declaration's; it
                // can be adopted, by its id.
                if owned.is_none() && !key.by_id {
                    return Observation::Absent;
                }
                hardening(&id, &held[&(creator, key.on)], owned, &people)
                    .map_or(Observation::Absent, Observation::Present)
            })
            .collect())
    }

    /// What is registered, as of what there is already.
    async fn all(within: &Within, _: Option<&BTreeSet<Oid>>) -> Result<Vec<provider::Object>> {
        let marks = marks::registered(within, Self::TYPE, None).await?;
        let ids = marks.keys().filter_map(|id| id.parse::<PublicDefaultsId>().ok());
        let keys: Vec<PublicDefaultsKey> = ids
            .map(|PublicDefaultsId { on, creator, .. }| PublicDefaultsKey {
                on,
                creator: Creator::Oid(creator),
                by_id: true,
            })
            .collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let found = Self::find(within, &keys).await?;
        Ok(found.into_iter().filter_map(|found| found.object().cloned()).collect())
    }
}

/// The numbers of the creators; none where there is no such role.
async fn numbers(within: &Within, keys: &[PublicDefaultsKey]) -> Result<Vec<Option<Oid>>> {
    let names: BTreeSet<&str> = keys
        .iter()
        .filter_map(|key| match &key.creator {
            Creator::Name(name) => Some(name.as_str()),
            Creator::Oid(_) => None,
        })
        .collect();
    let mut by_name: BTreeMap<String, Oid> = BTreeMap::new();
    if !names.is_empty() {
        let names: Vec<&str> = names.into_iter().collect();
        let sql = "SELECT rolname::text, oid FROM pg_roles WHERE rolname = ANY ($1)";
        let rows = within.tx.query(sql, &[(&names, Type::NAME_ARRAY)]).await?;
        by_name.extend(rows.iter().map(|row| (row.get(0), row.get(1))));
    }
    let number = |key: &PublicDefaultsKey| match &key.creator {
        Creator::Oid(oid) => Some(*oid),
        Creator::Name(name) => by_name.get(name).copied(),
    };
    Ok(keys.iter().map(number).collect())
}

/// What of the declared, or of what the server gives at first, PUBLIC will not
/// get; `None` when that is nothing, and nothing is left to give back.
fn hardening(
    id: &PublicDefaultsId,
    held: &Everybodys,
    owned: Option<&Owned>,
    people: &People,
) -> Option<provider::Object> {
    let detail: PublicDefaultsDetail =
        detail::read(owned.and_then(|owned| owned.detail.as_deref()));
    let wanted: BTreeSet<Privilege> = if owned.is_some() {
        Privilege::ALL.into_iter().filter(|p| detail.revoke.contains(p.word())).collect()
    } else {
        id.on.kind().of_public().iter().copied().collect()
    };
    let has: BTreeSet<Privilege> = held.values().flatten().copied().collect();
    let taken: Vec<Value> = wanted.difference(&has).map(Property::to_value).collect();
    // What was given back in one schema only still is what has to be given back
    // in the others.
    let is_kept = |word: &String, schema: &Option<String>| {
        let given = held.get(schema);
        !given.is_some_and(|given| given.iter().any(|privilege| privilege.word() == word))
    };
    let mut remembered = detail.taken.iter();
    if taken.is_empty()
        && !remembered.any(|(word, schemas)| schemas.iter().any(|schema| is_kept(word, schema)))
    {
        return None;
    }
    Some(provider::Object {
        id: id.to_string(),
        label: None,
        fields: fields([
            ("for_role", text(people.name(id.creator))),
            ("on", Reading::Known(id.on.to_value())),
            ("database", optional_text(id.database.clone())),
            ("revoke", Reading::Known(Value::List(taken).into_set())),
        ]),
        suspended: false,
        mark: owned.map(|owned| owned.mark.clone()),
        // They are the creator's own.
        obstacle: people.obstacle(id.creator, true),
    })
}
