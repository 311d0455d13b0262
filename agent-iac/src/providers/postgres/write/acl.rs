//! Access control lists, as writing needs them: of some objects, the entries
//! of some roles.
//!
//! Owns who gave what on which object or column, in a form that can be compared
//! before and after a write. It judges nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use futures_util::future::try_join;

use super::{
    super::{
        Object, Privilege,
        catalog::{Class, Entry, Found, Within, classes},
    },
    powers::{Acting, Powers},
};
use crate::error::Result;

/// What one grantor gave to one role: each privilege, and whether it may be
/// passed on.
pub(super) type Given = BTreeMap<Privilege, bool>;

/// Where an entry stands: object, grantee, column, grantor.
pub(super) type Spot = (Object, u32, Option<String>, u32);

/// Objects and entries as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Acls {
    /// The objects that are there, by their names without columns.
    pub(super) places: BTreeMap<Object, Found>,
    entries: BTreeMap<Spot, Given>,
    /// What the one who writes may give without being the owner.
    rivals: BTreeMap<Object, BTreeSet<Privilege>>,
}

/// The whole object that some columns are of.
pub(super) fn whole(object: &Object) -> Object {
    Object { columns: None, ..object.clone() }
}

impl Acls {
    /// Reads objects, and what some roles may on them and on their columns.
    pub(super) async fn read(
        within: &Within,
        objects: &BTreeSet<Object>,
        grantees: &BTreeSet<u32>,
    ) -> Result<Self> {
        let places = classes::named(within, &objects.iter().map(whole).collect()).await?;
        let keys = places.values().map(|found| found.place).collect();
        let relations = places.values().filter(|found| found.place.class == Class::Relation);
        let relations = relations.map(|found| found.place.oid).collect();
        let (entries, others) = try_join(
            classes::entries(within, &keys, &relations, grantees),
            classes::passed_on_by_others(within, &keys),
        )
        .await?;
        let rivals = places
            .iter()
            .filter_map(|(object, found)| Some((object.clone(), others.get(&found.place)?.clone())))
            .collect();
        Ok(Self { rivals, ..Self::of(places, entries) })
    }

    pub(super) fn of(places: BTreeMap<Object, Found>, read: Vec<Entry>) -> Self {
        let names: BTreeMap<_, &Object> =
            places.iter().map(|(object, found)| (found.place, object)).collect();
        let mut entries: BTreeMap<Spot, Given> = BTreeMap::new();
        for entry in read {
            let Some(object) = names.get(&entry.place) else { continue };
            let spot = ((*object).clone(), entry.grantee, entry.column, entry.grantor);
            entries.entry(spot).or_default().insert(entry.privilege, entry.grantable);
        }
        Self { places, entries, rivals: BTreeMap::new() }
    }

    /// Who owns an object; `None` when it is not there.
    pub(super) fn owner(&self, on: &Object) -> Option<u32> {
        self.places.get(&whole(on)).map(|found| found.owner)
    }

    /// How the rights of an object's owner are used for some privileges, as
    /// [`Powers::as_owner`]. The server takes whoever it meets first of those
    /// that could give them, so that where another role could too, it has to be
    /// done as the owner.
    pub(super) fn as_owner(
        &self,
        powers: &Powers,
        on: &Object,
        owner: u32,
        privileges: &BTreeSet<Privilege>,
    ) -> Option<Acting> {
        let acting = powers.as_owner(owner)?;
        let rivals = self.rivals.get(&whole(on));
        let is_rivalled = rivals.is_some_and(|rivals| !rivals.is_disjoint(privileges));
        Some(match acting {
            Acting::Me | Acting::With(_) if is_rivalled => {
                powers.as_grantor(owner).unwrap_or(acting)
            }
            acting => acting,
        })
    }

    /// Who owns the objects.
    pub(super) fn owners(&self) -> BTreeSet<u32> {
        self.places.values().map(|found| found.owner).collect()
    }

    /// What one grantor gave to one role on a whole object.
    pub(super) fn given(&self, on: &Object, grantee: u32, grantor: u32) -> Given {
        let spot = (whole(on), grantee, None, grantor);
        self.entries.get(&spot).cloned().unwrap_or_default()
    }

    /// What one grantor gave to one role on a column.
    pub(super) fn given_on(&self, on: &Object, column: &str, grantee: u32, grantor: u32) -> Given {
        let spot = (whole(on), grantee, Some(column.to_owned()), grantor);
        self.entries.get(&spot).cloned().unwrap_or_default()
    }

    /// What one grantor gave on an object and on its columns, to whom.
    pub(super) fn given_by(&self, on: &Object, grantor: u32) -> BTreeMap<u32, BTreeSet<Privilege>> {
        let on = whole(on);
        let mut given: BTreeMap<u32, BTreeSet<Privilege>> = BTreeMap::new();
        for ((object, grantee, _, by), privileges) in &self.entries {
            if *object == on && *by == grantor {
                given.entry(*grantee).or_default().extend(privileges.keys());
            }
        }
        given
    }

    /// What one grantor gave to one role on all of the object's columns, or on
    /// the whole object when it names none.
    pub(super) fn given_at(&self, on: &Object, grantee: u32, grantor: u32) -> Given {
        let Some(columns) = &on.columns else { return self.given(on, grantee, grantor) };
        let mut common: Option<Given> = None;
        for column in columns {
            let given = self.given_on(on, column, grantee, grantor);
            common = Some(match common {
                None => given,
                Some(before) => before
                    .into_iter()
                    .filter_map(|(privilege, option)| {
                        given.get(&privilege).map(|other| (privilege, option || *other))
                    })
                    .collect(),
            });
        }
        common.unwrap_or_default()
    }

    /// All that one role was given on an object and on its columns.
    fn all_of(&self, on: &Object, grantee: u32) -> impl Iterator<Item = (&Spot, &Given)> {
        let from = (whole(on), grantee, None, 0);
        let to = match grantee.checked_add(1) {
            Some(next) => Bound::Excluded((whole(on), next, None, 0)),
            None => Bound::Unbounded,
        };
        let on = whole(on);
        self.entries
            .range((Bound::Included(from), to))
            .take_while(move |((object, to, ..), _)| *object == on && *to == grantee)
    }

    /// The columns of a table on which one grantor gave something to one role.
    pub(super) fn columns(
        &self,
        on: &Object,
        grantee: u32,
        grantor: u32,
    ) -> impl Iterator<Item = (&String, &Given)> {
        self.all_of(on, grantee).filter_map(move |((.., column, by), given)| {
            column.as_ref().filter(|_| *by == grantor).map(|column| (column, given))
        })
    }

    /// Who gave something to one role on an object, or on any of the columns
    /// that it names.
    pub(super) fn grantors(&self, on: &Object, grantee: u32) -> BTreeSet<u32> {
        self.all_of(on, grantee)
            .filter(|((_, _, column, _), _)| match (&on.columns, column) {
                (None, None) => true,
                (Some(columns), Some(column)) => columns.contains(column),
                _ => false,
            })
            .map(|((.., grantor), _)| *grantor)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Column, Insert, Select, Table, Update},
        *,
    };

    fn given(privileges: &[(Privilege, bool)]) -> Given {
        privileges.iter().copied().collect()
    }

    #[test]
    fn what_is_given_on_columns_is_what_each_of_them_has() {
        let (table, columns) = (Table::new("s", "t"), Column::new("s", "t", ["a", "b"]));
        let spot = |column: Option<&str>, by| (table.clone(), 7, column.map(str::to_owned), by);
        let acls = Acls {
            places: BTreeMap::new(),
            rivals: BTreeMap::new(),
            entries: BTreeMap::from([
                (spot(None, 1), given(&[(Insert, false)])),
                (spot(Some("a"), 1), given(&[(Select, false), (Update, false)])),
                (spot(Some("b"), 1), given(&[(Select, true)])),
                (spot(Some("b"), 2), given(&[(Update, false)])),
            ]),
        };
        assert_eq!(acls.given_at(&table, 7, 1), given(&[(Insert, false)]));
        assert_eq!(acls.given_at(&columns, 7, 1), given(&[(Select, true)]));
        assert_eq!(acls.given_at(&columns, 7, 2), given(&[]));
        assert_eq!(acls.given_at(&columns, 8, 1), given(&[]));
        assert_eq!(acls.grantors(&columns, 7), BTreeSet::from([1, 2]));
        assert_eq!(acls.grantors(&table, 7), BTreeSet::from([1]));
        let on: Vec<&String> = acls.columns(&table, 7, 1).map(|(column, _)| column).collect();
        assert_eq!(on, ["a", "b"]);
    }
}
