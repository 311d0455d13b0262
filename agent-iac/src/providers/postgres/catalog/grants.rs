//! Grants: what is in access control lists.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::future::try_join;

use super::{
    Asked, Dependence, Found, Place, Read, Within,
    acl::{self, Held, OnColumns, Registered},
    classes::{self, Class},
    detail::{self, GrantDetail},
    fields,
    ids::{GrantId, Grantor, Oid},
    marks, object, object_of,
    people::{self, People},
    role_of, text,
};
use crate::{
    error::Result,
    provider::{self, Observation, Reference},
    providers::postgres::{Grant, Object, Privilege},
    resource::{Reading, Resource as _},
};

/// What finds a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct GrantKey {
    grantee: Oid,
    on: Object,
    /// `None` for ours: the one by the object's owner, or else the one by the
    /// administrators.
    grantor: Option<Grantor>,
}

/// Whose a grant is, and from whom: entries of one list, or of the lists of a
/// table's columns.
type Parties = (Place, Oid, Oid);

/// What is held, by the parties.
#[derive(Debug, Default)]
struct Holdings {
    whole: BTreeMap<Parties, Held>,
    columns: BTreeMap<Parties, OnColumns>,
}

impl Holdings {
    fn of(entries: Vec<classes::Entry>) -> Self {
        let mut holdings = Self::default();
        for entry in entries {
            let parties = (entry.place, entry.grantee, entry.grantor);
            let held = match entry.column {
                None => holdings.whole.entry(parties).or_default(),
                Some(column) => {
                    holdings.columns.entry(parties).or_default().entry(column).or_default()
                }
            };
            held.insert(entry.privilege, entry.grantable);
        }
        holdings
    }

    fn grantors(&self) -> BTreeSet<Oid> {
        self.whole.keys().chain(self.columns.keys()).map(|(.., grantor)| *grantor).collect()
    }
}

/// The registered grants on columns, by whom and on which table they are.
type RegisteredColumns = BTreeMap<(Oid, Object, Grantor), Vec<Registered>>;

async fn registered_columns(within: &Within, ids: &[String]) -> Result<RegisteredColumns> {
    let mut registered = RegisteredColumns::new();
    for (id, json) in marks::on_columns(within, Grant::TYPE, ids).await? {
        let Ok(id) = id.parse::<GrantId>() else { continue };
        let Some(columns) = id.on.columns else { continue };
        let detail: GrantDetail = detail::read(json.as_deref());
        let allow: BTreeSet<Privilege> =
            Privilege::ALL.into_iter().filter(|p| detail.allow.contains(p.word())).collect();
        let allow = (!allow.is_empty()).then_some(allow);
        registered
            .entry((id.grantee, Object { columns: None, ..id.on }, id.grantor))
            .or_default()
            .push(Registered { columns, allow });
    }
    Ok(registered)
}

#[async_trait]
impl Read for Grant {
    type Key = GrantKey;

    const IN_EACH_DATABASE: bool = true;

    fn asked(reference: &Reference) -> Result<Asked<GrantKey>, Observation> {
        let key = match reference {
            Reference::Id(id) => {
                let id: GrantId = id.parse().map_err(|_| Observation::Absent)?;
                GrantKey { grantee: id.grantee, on: id.on, grantor: Some(id.grantor) }
            }
            Reference::Key(key) => {
                GrantKey { grantee: role_of(key, "to")?, on: object_of(key, "on")?, grantor: None }
            }
        };
        Ok(Asked { database: key.on.database.clone(), key })
    }

    async fn find(within: &Within, keys: &[GrantKey]) -> Result<Vec<Observation>> {
        let objects = keys.iter().map(|key| Object { columns: None, ..key.on.clone() });
        let found = classes::named(within, &objects.collect()).await?;
        let place_of = |on: &Object| found.get(&Object { columns: None, ..on.clone() });
        let places = found.values().map(|found| found.place).collect();
        let with_columns = keys
            .iter()
            .filter(|key| key.on.columns.is_some())
            .filter_map(|key| Some(place_of(&key.on)?.place.oid))
            .collect();
        let grantees: BTreeSet<Oid> = keys.iter().map(|key| key.grantee).collect();
        let (entries, masters) = try_join(
            classes::entries(within, &places, &with_columns, &grantees),
            people::masters(within, &grantees),
        )
        .await?;
        let holdings = Holdings::of(entries);
        let people = people::people(within, &holdings.grantors()).await?;

        // The grantor of each decides its id, and the id what is registered.
        let ids: Vec<Option<(GrantId, Found)>> = keys
            .iter()
            .map(|key| {
                let found = place_of(&key.on)?.clone();
                let holds = |grantor: &Oid| {
                    // What an owner has from himself is ownership.
                    if (key.grantee, *grantor) == (found.owner, found.owner) {
                        return false;
                    }
                    let parties = (found.place, key.grantee, *grantor);
                    match key.on.columns {
                        None => holdings.whole.contains_key(&parties),
                        Some(_) => holdings.columns.contains_key(&parties),
                    }
                };
                let grantor = match key.grantor {
                    Some(grantor) => Some(grantor).filter(|by| holds(&by.role(found.owner))),
                    None => {
                        let ours = [Some(found.owner), people.administrators];
                        let ours = ours.into_iter().flatten().find(holds);
                        ours.map(|oid| Grantor::of(oid, found.owner))
                    }
                };
                let id = GrantId { grantee: key.grantee, on: key.on.clone(), grantor: grantor? };
                Some((id, found))
            })
            .collect();
        let texts: Vec<String> = ids.iter().flatten().map(|(id, _)| id.to_string()).collect();
        let on_columns: Vec<String> = ids
            .iter()
            .flatten()
            .filter(|(id, _)| id.on.columns.is_some())
            .map(|(id, _)| id.to_string())
            .collect();
        let marks = marks::registered(within, Self::TYPE, Some(&texts)).await?;
        let registered = registered_columns(within, &on_columns).await?;
        Ok(ids
            .into_iter()
            .map(|found| {
                let Some((id, found)) = found else { return Observation::Absent };
                let parties = (found.place, id.grantee, id.grantor.role(found.owner));
                let held = match &id.on.columns {
                    None => holdings.whole.get(&parties).cloned().unwrap_or_default(),
                    Some(columns) => {
                        let table = Object { columns: None, ..id.on.clone() };
                        let registered = registered.get(&(id.grantee, table, id.grantor));
                        holdings.columns.get(&parties).map_or_else(Held::new, |held| {
                            let registered = registered.map_or(&[][..], Vec::as_slice);
                            acl::on_columns(columns, held, registered)
                        })
                    }
                };
                if held.is_empty() {
                    return Observation::Absent;
                }
                let to = masters.get(&id.grantee).copied().unwrap_or(id.grantee);
                let mut object = grant(&id, to, &held, &people, found.owner);
                object.mark = marks.get(&object.id).map(|owned| owned.mark.clone());
                Observation::Present(object)
            })
            .collect())
    }

    async fn all(within: &Within, of: Option<&BTreeSet<Oid>>) -> Result<Vec<provider::Object>> {
        let (grantees, masters) = grantees(within, of).await?;
        let dependents = classes::dependents(within, &grantees, Dependence::Listed).await?;
        let mut places = BTreeSet::new();
        let mut with_columns = BTreeSet::new();
        for dependent in &dependents {
            // Default privileges are another type, and the lists that an
            // extension began with are nobody's to change.
            let Some(class) = Class::numbered(dependent.class) else { continue };
            if dependent.column {
                with_columns.insert(dependent.oid);
            }
            places.insert(Place { class, oid: dependent.oid });
        }
        let (entries, found) = try_join(
            classes::entries(within, &places, &with_columns, &grantees),
            classes::placed(within, &places),
        )
        .await?;
        // What an owner has from himself is ownership.
        let entries = entries.into_iter().filter(|entry| {
            let found = found.get(&entry.place);
            found.is_some_and(|found| entry.grantee != found.owner || entry.grantor != found.owner)
        });
        let holdings = Holdings::of(entries.collect());
        let people = people::people(within, &holdings.grantors()).await?;
        let mut grants: Vec<(GrantId, Held, Oid)> = Vec::new();
        for ((place, grantee, grantor), held) in holdings.whole {
            let Some(found) = found.get(&place) else { continue };
            let grantor = Grantor::of(grantor, found.owner);
            let id = GrantId { grantee, on: found.object.clone(), grantor };
            grants.push((id, held, found.owner));
        }
        let mut columns = Vec::new();
        for ((place, grantee, grantor), held) in holdings.columns {
            let Some(found) = found.get(&place) else { continue };
            let grantor = Grantor::of(grantor, found.owner);
            columns.push((
                GrantId { grantee, on: found.object.clone(), grantor },
                held,
                found.owner,
            ));
        }
        let prefixes: Vec<String> =
            columns.iter().map(|(id, ..)| format!("{} on {} (", id.grantee, id.on)).collect();
        let registered = registered_columns(within, &prefixes).await?;
        for (id, held, owner) in columns {
            let key = (id.grantee, id.on.clone(), id.grantor);
            let registered = registered.get(&key).map_or(&[][..], Vec::as_slice);
            for (columns, held) in acl::as_grants(&held, registered) {
                let on = Object { columns: Some(columns), ..id.on.clone() };
                grants.push((GrantId { on, ..id.clone() }, held, owner));
            }
        }
        let mut objects: Vec<provider::Object> = grants
            .iter()
            .map(|(id, held, owner)| {
                let to = masters.get(&id.grantee).copied().unwrap_or(id.grantee);
                grant(id, to, held, &people, *owner)
            })
            .collect();
        let ids: Vec<String> = objects.iter().map(|object| object.id.clone()).collect();
        let mut marks = marks::registered(within, Self::TYPE, Some(&ids)).await?;
        for object in &mut objects {
            object.mark = marks.remove(&object.id).map(|owned| owned.mark);
        }
        Ok(objects)
    }
}

/// The grantees whose privileges belong to some roles: they themselves, and
/// their logins, each with its role.
pub(super) async fn grantees(
    within: &Within,
    of: Option<&BTreeSet<Oid>>,
) -> Result<(BTreeSet<Oid>, BTreeMap<Oid, Oid>)> {
    let roles = match of {
        Some(of) => of.clone(),
        None => {
            let rows = within.tx.query("SELECT oid FROM pg_roles", &[]).await?;
            rows.iter().map(|row| row.get(0)).collect()
        }
    };
    let masters = people::logins(within, &roles).await?;
    Ok((roles.into_iter().chain(masters.keys().copied()).collect(), masters))
}

fn grant(id: &GrantId, to: Oid, held: &Held, people: &People, owner: Oid) -> provider::Object {
    let (grantable, grantable_only) = acl::grantable(held);
    let grantor = id.grantor.role(owner);
    provider::Object {
        id: id.to_string(),
        label: Some(format!("{}, by {}", id.on, people.name(grantor))),
        fields: fields([
            ("to", Reading::Known(to.to_string().into())),
            ("on", object(&id.on)),
            ("allow", Reading::Known(acl::allow(held))),
            ("grantable", Reading::Known(grantable)),
            ("grantable_only", Reading::Known(grantable_only)),
            ("grantor", text(people.name(grantor))),
        ]),
        suspended: false,
        mark: None,
        obstacle: people.obstacle(grantor, grantor == owner),
    }
}
