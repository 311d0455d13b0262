//! Default privileges: what roles will get on what others create.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{
    Asked, Read, Within,
    acl::{self, Held},
    fields,
    grants::grantees,
    ids::{DefaultPrivilegesId, Oid},
    marks, optional_text, optional_text_of,
    people::{self, People},
    role_of, text, text_of,
};
use crate::{
    error::{Error, ErrorKind, Result},
    provider::{self, Observation, Reference},
    providers::postgres::{DefaultPrivileges, Future, Privilege, name::shown, server::Type},
    resource::{Property as _, Reading, Resource as _},
};

/// What finds default privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct DefaultPrivilegesKey {
    grantee: Oid,
    on: Future,
    creator: Creator,
    schema: Option<String>,
}

/// Who creates the objects: by the number, or as a declaration names him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Creator {
    Oid(Oid),
    Name(String),
}

/// Who will get something, on what kind of objects, of whom, and in which
/// schema.
pub(in super::super) type Parties = (Oid, Future, Oid, Option<String>);

/// Reads what some grantees will get, in one request; a grantee of 0 is
/// everybody.
pub(in super::super) async fn entries(
    within: &Within,
    grantees: &BTreeSet<Oid>,
) -> Result<BTreeMap<Parties, Held>> {
    let grantees: Vec<Oid> = grantees.iter().copied().collect();
    let sql = "SELECT e.grantee, d.defaclobjtype::text, d.defaclrole, n.nspname::text,
            e.privilege_type, e.is_grantable
        FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace,
            aclexplode(d.defaclacl) e
        WHERE e.grantee = ANY ($1)";
    let rows = within.tx.query(sql, &[(&grantees, Type::OID_ARRAY)]).await?;
    let mut entries: BTreeMap<Parties, Held> = BTreeMap::new();
    for row in &rows {
        let (letter, words): (&str, &str) = (row.get(1), row.get(4));
        let on = Future::ALL.into_iter().find(|on| letter == on.letter().to_string());
        let (Some(on), Some(privilege)) = (on, Privilege::from_sql(words)) else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the server has default privileges that this program does not know: {words} on {letter}"),
            )
            .help("use a version of agent-iac that knows this version of PostgreSQL"));
        };
        let parties = (row.get(0), on, row.get(2), row.get(3));
        entries.entry(parties).or_default().insert(privilege, row.get(5));
    }
    Ok(entries)
}

fn id_of(within: &Within, (grantee, on, creator, schema): &Parties) -> DefaultPrivilegesId {
    DefaultPrivilegesId {
        grantee: *grantee,
        on: *on,
        creator: *creator,
        schema: schema.clone(),
        database: within.database.clone(),
    }
}

async fn creators(within: &Within, entries: &BTreeMap<Parties, Held>) -> Result<People> {
    people::people(within, &entries.keys().map(|(_, _, creator, _)| *creator).collect()).await
}

/// How what somebody will create is called in access, as a declaration calls
/// it.
pub(in super::super) fn future(
    within: &Within,
    (_, on, creator, schema): &Parties,
    people: &People,
) -> String {
    let mut object = format!("future {} of role {}", on.word(), shown(&people.name(*creator)));
    if let Some(schema) = schema {
        object.push_str(&format!(" in schema {}", shown(schema)));
    }
    if let Some(database) = &within.database {
        object.push_str(&format!(" in database {}", shown(database)));
    }
    object
}

#[async_trait]
impl Read for DefaultPrivileges {
    type Key = DefaultPrivilegesKey;

    const IN_EACH_DATABASE: bool = true;

    fn asked(reference: &Reference) -> Result<Asked<DefaultPrivilegesKey>, Observation> {
        match reference {
            Reference::Id(id) => {
                let id: DefaultPrivilegesId = id.parse().map_err(|_| Observation::Absent)?;
                let DefaultPrivilegesId { grantee, on, creator, schema, database } = id;
                let creator = Creator::Oid(creator);
                Ok(Asked { database, key: DefaultPrivilegesKey { grantee, on, creator, schema } })
            }
            Reference::Key(key) => {
                let on = key.get("on").and_then(Future::from_value);
                Ok(Asked {
                    database: optional_text_of(key, "database")?,
                    key: DefaultPrivilegesKey {
                        grantee: role_of(key, "to")?,
                        on: on.ok_or_else(|| super::not_understood("on"))?,
                        creator: Creator::Name(text_of(key, "for_role")?),
                        schema: optional_text_of(key, "in_schema")?,
                    },
                })
            }
        }
    }

    async fn find(within: &Within, keys: &[DefaultPrivilegesKey]) -> Result<Vec<Observation>> {
        let asked: BTreeSet<Oid> = keys.iter().map(|key| key.grantee).collect();
        let masters = people::masters(within, &asked).await?;
        let entries = entries(within, &asked).await?;
        let people = creators(within, &entries).await?;
        let by_name: BTreeMap<&str, Oid> =
            people.of.iter().map(|(oid, person)| (person.name.as_str(), *oid)).collect();
        let found: Vec<Option<(&Parties, &Held)>> = keys
            .iter()
            .map(|key| {
                let creator = match &key.creator {
                    Creator::Oid(oid) => *oid,
                    Creator::Name(name) => *by_name.get(name.as_str())?,
                };
                entries.get_key_value(&(key.grantee, key.on, creator, key.schema.clone()))
            })
            .collect();
        let ids: Vec<String> =
            found.iter().flatten().map(|(parties, _)| id_of(within, parties).to_string()).collect();
        let marks = marks::registered(within, Self::TYPE, Some(&ids)).await?;
        Ok(found
            .into_iter()
            .map(|found| {
                let Some((parties, held)) = found else { return Observation::Absent };
                let to = masters.get(&parties.0).copied().unwrap_or(parties.0);
                let mut object = defaults(within, parties, to, held, &people);
                object.mark = marks.get(&object.id).map(|owned| owned.mark.clone());
                Observation::Present(object)
            })
            .collect())
    }

    async fn all(within: &Within, of: Option<&BTreeSet<Oid>>) -> Result<Vec<provider::Object>> {
        let (asked, masters) = grantees(within, of).await?;
        let mut entries = entries(within, &asked).await?;
        // What a creator will have on what is its own is ownership.
        entries.retain(|(grantee, _, creator, _), _| grantee != creator);
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let people = creators(within, &entries).await?;
        let ids: Vec<String> =
            entries.keys().map(|parties| id_of(within, parties).to_string()).collect();
        let mut marks = marks::registered(within, Self::TYPE, Some(&ids)).await?;
        Ok(entries
            .iter()
            .map(|(parties, held)| {
                let to = masters.get(&parties.0).copied().unwrap_or(parties.0);
                let mut object = defaults(within, parties, to, held, &people);
                object.mark = marks.remove(&object.id).map(|owned| owned.mark);
                object
            })
            .collect())
    }
}

fn defaults(
    within: &Within,
    parties: &Parties,
    to: Oid,
    held: &Held,
    people: &People,
) -> provider::Object {
    let (_, on, creator, schema) = parties;
    let (grantable, grantable_only) = acl::grantable(held);
    provider::Object {
        id: id_of(within, parties).to_string(),
        label: Some(format!("of {}", people.name(*creator))),
        fields: fields([
            ("to", Reading::Known(to.to_string().into())),
            ("for_role", text(people.name(*creator))),
            ("on", Reading::Known(on.to_value())),
            ("in_schema", optional_text(schema.clone())),
            ("database", optional_text(within.database.clone())),
            ("allow", Reading::Known(acl::allow(held))),
            ("grantable", Reading::Known(grantable)),
            ("grantable_only", Reading::Known(grantable_only)),
        ]),
        suspended: false,
        mark: None,
        // They are the creator's own.
        obstacle: people.obstacle(*creator, true),
    }
}
