//! Who owns what.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::future::try_join;

use super::{
    Asked, Class, Dependence, Dependent, Found, Place, Read, Within, classes,
    detail::{self, OwnershipDetail, RoleDetail},
    fields,
    grants::grantees,
    ids::{Oid, OwnershipId},
    marks, object, object_of,
    people::{self, People},
    text,
    traps::{self, Traps},
};
use crate::{
    error::Result,
    provider::{self, Capabilities, Observation, Reference},
    providers::postgres::{
        Object, Ownership, Role,
        server::{Type, registry::Owned},
    },
    resource::{Reading, Resource as _},
};

/// What finds an ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct OwnershipKey {
    on: Object,
    /// `None` for ours: every object has an owner, and only the registry tells
    /// whether it was declared.
    owner: Option<Oid>,
}

#[async_trait]
impl Read for Ownership {
    type Key = OwnershipKey;

    const IN_EACH_DATABASE: bool = true;

    fn capabilities() -> Capabilities {
        // The heir gets what the owner had.
        Capabilities { hands_over: true, ..super::capabilities() }
    }

    fn asked(reference: &Reference) -> Result<Asked<OwnershipKey>, Observation> {
        let key = match reference {
            Reference::Id(id) => {
                let id: OwnershipId = id.parse().map_err(|_| Observation::Absent)?;
                OwnershipKey { on: id.on, owner: Some(id.owner) }
            }
            Reference::Key(key) => OwnershipKey { on: object_of(key, "on")?, owner: None },
        };
        Ok(Asked { database: key.on.database.clone(), key })
    }

    async fn find(within: &Within, keys: &[OwnershipKey]) -> Result<Vec<Observation>> {
        let objects = keys.iter().map(|key| key.on.clone()).collect();
        let found = classes::named(within, &objects).await?;
        let owners: BTreeSet<Oid> = found.values().map(|found| found.owner).collect();
        let numbers: Vec<Oid> = owners.iter().copied().collect();
        let (people, masters) =
            try_join(people::people(within, &owners), people::masters(within, &owners)).await?;
        let traps = traps::of(within, &numbers).await?;
        let id_of = |key: &OwnershipKey, found: &Found| {
            OwnershipId { owner: found.owner, on: key.on.clone() }.to_string()
        };
        let ids: Vec<String> =
            keys.iter().filter_map(|key| Some(id_of(key, found.get(&key.on)?))).collect();
        let marks = marks::registered(within, Self::TYPE, Some(&ids)).await?;
        Ok(keys
            .iter()
            .map(|key| {
                let Some(found) = found.get(&key.on) else { return Observation::Absent };
                let id = id_of(key, found);
                let owned = marks.get(&id);
                let is_asked = match key.owner {
                    Some(owner) => owner == found.owner,
                    None => owned.is_some(),
                };
                if !is_asked {
                    return Observation::Absent;
                }
                let to = masters.get(&found.owner).copied().unwrap_or(found.owner);
                let on = object(&key.on);
                let trap = trap(&traps, found.owner, found.place);
                let mut object = ownership(within, id, to, on, found.owner, owned, &people);
                object.obstacle = object.obstacle.or(trap);
                Observation::Present(object)
            })
            .collect())
    }

    async fn all(within: &Within, of: Option<&BTreeSet<Oid>>) -> Result<Vec<provider::Object>> {
        let (owners, masters) = grantees(within, of).await?;
        let owned = owned_by(within, &owners).await?;
        if owned.is_empty() {
            return Ok(Vec::new());
        }
        let owners: BTreeSet<Oid> = owned.iter().map(|(owner, _)| *owner).collect();
        let numbers: Vec<Oid> = owners.iter().copied().collect();
        let people = people::people(within, &owners).await?;
        let traps = traps::of(within, &numbers).await?;
        let objects: Vec<(String, Oid, Reading, Option<String>)> = owned
            .into_iter()
            .map(|(owner, what)| match what {
                Belonging::Object(found) => {
                    let id = OwnershipId { owner, on: found.object.clone() };
                    let trap = trap(&traps, owner, found.place);
                    (id.to_string(), owner, object(&found.object), trap)
                }
                Belonging::Other { what, .. } => {
                    let why = format!("it is the {what}, which cannot be declared");
                    (format!("{owner} owns {what}"), owner, Reading::Unreadable(why), None)
                }
            })
            .collect();
        let ids: Vec<String> = objects.iter().map(|(id, ..)| id.clone()).collect();
        let marks = marks::registered(within, Self::TYPE, Some(&ids)).await?;
        let heirless = heirless(within, &objects, &masters).await?;
        Ok(objects
            .into_iter()
            .map(|(id, owner, on, trap)| {
                let to = masters.get(&owner).copied().unwrap_or(owner);
                let owned = marks.get(&id);
                let is_heirless = owned.is_none() && heirless.contains(&to);
                let cannot_be_named = matches!(on, Reading::Unreadable(_));
                let mut object = ownership(within, id, to, on, owner, owned, &people);
                object.obstacle = object.obstacle.or(trap);
                if cannot_be_named && object.obstacle.is_none() {
                    object.obstacle = Some(
                        "its owner is changed by hand, or by REASSIGN OWNED when the role leaves"
                            .into(),
                    );
                }
                if is_heirless && object.obstacle.is_none() {
                    object.obstacle = Some(
                        "nobody is named who would take it over; give the role an `heir`, or the \
                         object another owner by hand"
                            .into(),
                    );
                }
                object
            })
            .collect())
    }
}

/// The roles without an heir for what nobody declared. Only the own database
/// knows what is declared of a role.
async fn heirless(
    within: &Within,
    objects: &[(String, Oid, Reading, Option<String>)],
    masters: &BTreeMap<Oid, Oid>,
) -> Result<BTreeSet<Oid>> {
    if within.database.is_some() {
        return Ok(BTreeSet::new());
    }
    let role = |owner: &Oid| masters.get(owner).copied().unwrap_or(*owner);
    let roles: BTreeSet<Oid> = objects.iter().map(|(_, owner, ..)| role(owner)).collect();
    let ids: Vec<String> = roles.iter().map(ToString::to_string).collect();
    let registered = marks::registered(within, Role::TYPE, Some(&ids)).await?;
    let has_heir = |oid: &Oid| {
        let detail = registered.get(&oid.to_string()).and_then(|owned| owned.detail.as_deref());
        detail::read::<RoleDetail>(detail).heir.is_some()
    };
    Ok(roles.into_iter().filter(|oid| !has_heir(oid)).collect())
}

/// Why an object stays with an owner who may have made it for the next one.
fn trap(traps: &BTreeMap<Oid, Traps>, owner: Oid, place: Place) -> Option<String> {
    let trap = traps.get(&owner)?.get(&(place.class.number(), place.oid))?;
    Some(traps::obstacle(trap))
}

/// Something that belongs to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Belonging {
    /// What can be named in a declaration.
    Object(Found),
    /// What cannot, as an operator: how the server calls it, and its class.
    Other { what: String, class: Oid },
}

/// What belongs to some roles, by the server's own account. What has to belong
/// to the owner of something else, as the sequence of a column does, is left
/// out.
pub(in super::super) async fn owned_by(
    within: &Within,
    owners: &BTreeSet<Oid>,
) -> Result<Vec<(Oid, Belonging)>> {
    let dependents = classes::dependents(within, owners, Dependence::Owner).await?;
    // Default privileges and user mappings are of a role, and no property of
    // it.
    let dependents: BTreeSet<Dependent> =
        dependents.into_iter().filter(|one| !classes::NO_PROPERTY.contains(&one.class)).collect();
    let (named, others): (Vec<Dependent>, Vec<Dependent>) =
        dependents.into_iter().partition(|one| Class::numbered(one.class).is_some());
    let places: BTreeMap<Place, Oid> = named
        .iter()
        .filter_map(|one| {
            Some((Place { class: Class::numbered(one.class)?, oid: one.oid }, one.role))
        })
        .collect();
    let keys = places.keys().copied().collect();
    let (found, followers) =
        try_join(classes::placed(within, &keys), followers(within, &places)).await?;
    let mut owned: Vec<(Oid, Belonging)> = found
        .into_values()
        .filter(|found| {
            !followers.contains(&found.place.oid) || found.place.class != Class::Relation
        })
        .map(|found| (found.owner, Belonging::Object(found)))
        .collect();
    if !others.is_empty() {
        let classes: Vec<Oid> = others.iter().map(|one| one.class).collect();
        let oids: Vec<Oid> = others.iter().map(|one| one.oid).collect();
        let sql = "SELECT pg_describe_object(class, oid, 0)
            FROM unnest($1::oid[], $2::oid[]) WITH ORDINALITY AS o (class, oid, place)
            ORDER BY place";
        let rows =
            within.tx.query(sql, &[(&classes, Type::OID_ARRAY), (&oids, Type::OID_ARRAY)]).await?;
        for (one, row) in others.iter().zip(&rows) {
            let what: Option<String> = row.get(0);
            let what = what.unwrap_or_else(|| format!("object {} of {}", one.oid, one.class));
            owned.push((one.role, Belonging::Other { what, class: one.class }));
        }
    }
    Ok(owned)
}

/// The sequences that belong to a column: their owner is the table's.
async fn followers(within: &Within, places: &BTreeMap<Place, Oid>) -> Result<BTreeSet<Oid>> {
    let relations: Vec<Oid> = places
        .keys()
        .filter(|place| place.class == Class::Relation)
        .map(|place| place.oid)
        .collect();
    if relations.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sql = "SELECT d.objid FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = ANY ($1)
            AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid <> 0
            AND d.deptype IN ('a', 'i')
            AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relkind = 'S')";
    let rows = within.tx.query(sql, &[(&relations, Type::OID_ARRAY)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[allow(clippy::too_many_arguments, reason = "it is one row, from four queries")]
fn ownership(
    within: &Within,
    id: String,
    to: Oid,
    on: Reading,
    owner: Oid,
    owned: Option<&Owned>,
    people: &People,
) -> provider::Object {
    let detail: OwnershipDetail = detail::read(owned.and_then(|owned| owned.detail.as_deref()));
    provider::Object {
        id,
        label: None,
        fields: fields([
            ("to", Reading::Known(to.to_string().into())),
            ("on", on),
            // Who gets it in the end, the server does not know.
            ("heir", detail.heir.map_or(Reading::Unsupported, text)),
        ]),
        suspended: false,
        mark: owned.map(|owned| owned.mark.clone()),
        // Before 16, whoever may create roles can make himself a member.
        obstacle: if within.version >= people::GRANTORS { people.not_giver(owner) } else { None },
    }
}
