//! What entries of access control lists come to. Pure.
//!
//! Owns how privileges on columns, of which the server keeps one list each,
//! become grants on some columns again, although two grants may name the same
//! column.

use std::collections::{BTreeMap, BTreeSet};

use crate::{providers::postgres::Privilege, resource::Property, value::Value};

/// Privileges that are held, and whether each may be passed on.
pub(super) type Held = BTreeMap<Privilege, bool>;

/// What is held on each of a table's columns, by one grantee and from one
/// grantor.
pub(super) type OnColumns = BTreeMap<String, Held>;

/// A grant on columns that is registered, and what it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) columns: BTreeSet<String>,
    /// `None` when the registry does not say.
    pub(super) allow: Option<BTreeSet<Privilege>>,
}

impl Registered {
    /// What of the held privileges is this grant's.
    fn allow(&self, held: &OnColumns) -> BTreeSet<Privilege> {
        match &self.allow {
            Some(allow) => allow.clone(),
            None => common(&self.columns, held).into_keys().collect(),
        }
    }
}

/// What every one of these columns has. It can be passed on when it can be for
/// any of them: that is what must not be overlooked.
fn common(columns: &BTreeSet<String>, held: &OnColumns) -> Held {
    let mut columns = columns.iter().map(|column| held.get(column).cloned().unwrap_or_default());
    let mut common = columns.next().unwrap_or_default();
    for held in columns {
        common.retain(|privilege, _| held.contains_key(privilege));
        for (privilege, grantable) in &mut common {
            *grantable |= held[privilege];
        }
    }
    common
}

/// The columns without what other registered grants account for.
fn without(held: &OnColumns, registered: &[Registered], columns: &BTreeSet<String>) -> OnColumns {
    let own = registered.iter().find(|other| other.columns == *columns);
    let own = own.and_then(|own| own.allow.clone()).unwrap_or_default();
    let mut left = held.clone();
    for other in registered.iter().filter(|other| other.columns != *columns) {
        let mut allow = other.allow(held);
        // Where nobody wrote down what the narrower one gave, what all of the
        // wider one's columns have is the wider one's.
        if other.allow.is_none() && other.columns.is_subset(columns) {
            let wider = common(columns, held);
            allow.retain(|privilege| !wider.contains_key(privilege));
        }
        for column in &other.columns {
            if let Some(held) = left.get_mut(column) {
                held.retain(|privilege, _| own.contains(privilege) || !allow.contains(privilege));
            }
        }
    }
    left
}

/// What a grant on these columns is: what each of them has, without what other
/// registered grants gave to it.
pub(super) fn on_columns(
    columns: &BTreeSet<String>,
    held: &OnColumns,
    registered: &[Registered],
) -> Held {
    common(columns, &without(held, registered, columns))
}

/// All that is held on a table's columns, as grants: the registered ones as
/// they are registered, and what is left by the columns that have the same.
pub(super) fn as_grants(
    held: &OnColumns,
    registered: &[Registered],
) -> Vec<(BTreeSet<String>, Held)> {
    let mut grants: Vec<(BTreeSet<String>, Held)> = registered
        .iter()
        .map(|grant| (grant.columns.clone(), on_columns(&grant.columns, held, registered)))
        .collect();
    let mut rest: BTreeMap<Held, BTreeSet<String>> = BTreeMap::new();
    for (column, held) in without(held, registered, &BTreeSet::new()) {
        rest.entry(held).or_default().insert(column);
    }
    // A registered grant of exactly these columns already has what is left on
    // them beside its own.
    grants.extend(
        rest.into_iter()
            .map(|(held, columns)| (columns, held))
            .filter(|(columns, _)| registered.iter().all(|grant| grant.columns != *columns)),
    );
    grants.retain(|(_, held)| !held.is_empty());
    grants.sort();
    grants
}

/// What of it may be passed on: whether all of it, and what where it is a part.
pub(in super::super) fn grantable(held: &Held) -> (Value, Value) {
    let with: BTreeSet<Privilege> =
        held.iter().filter(|(_, option)| **option).map(|(privilege, _)| *privilege).collect();
    let all = !with.is_empty() && with.len() == held.len();
    let part = (!all && !with.is_empty()).then_some(with);
    (Value::Bool(all), part.to_value())
}

/// Privileges as a property.
pub(super) fn allow(held: &Held) -> Value {
    Value::List(held.keys().map(Property::to_value).collect()).into_set()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Privilege::{Insert, Select, Update};

    fn columns(names: &str) -> BTreeSet<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    fn held(of: &[(&str, &[Privilege])]) -> OnColumns {
        let plain = |privileges: &[Privilege]| privileges.iter().map(|p| (*p, false)).collect();
        of.iter().map(|(column, held)| ((*column).to_owned(), plain(held))).collect()
    }

    fn registered(names: &str, allow: Option<&[Privilege]>) -> Registered {
        Registered {
            columns: columns(names),
            allow: allow.map(|allow| allow.iter().copied().collect()),
        }
    }

    #[track_caller]
    fn check(held: &OnColumns, registered: &[Registered], expected: &[(&str, &[Privilege])]) {
        let found: Vec<(BTreeSet<String>, Vec<Privilege>)> = as_grants(held, registered)
            .into_iter()
            .map(|(columns, held)| (columns, held.into_keys().collect()))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(names, held)| (columns(names), held.to_vec())).collect();
        assert_eq!(found, expected);
        for (columns, privileges) in found {
            let read = on_columns(&columns, held, registered);
            let read: Vec<Privilege> = read.into_keys().collect();
            assert_eq!(read, privileges, "what is listed of {columns:?} is what is read of it");
        }
    }

    #[test]
    fn columns_with_the_same_privileges_are_one_grant() {
        let held = held(&[("a", &[Select]), ("b", &[Select, Update]), ("c", &[Select])]);
        check(&held, &[], &[("a c", &[Select]), ("b", &[Select, Update])]);
    }

    #[test]
    fn what_a_registered_grant_gave_is_its_own_and_the_rest_is_another() {
        let held = held(&[("a", &[Select]), ("b", &[Select, Update]), ("c", &[Insert])]);
        for allow in [None, Some(&[Select][..])] {
            check(
                &held,
                &[registered("a b", allow)],
                &[("a b", &[Select]), ("b", &[Update]), ("c", &[Insert])],
            );
        }
    }

    #[test]
    fn two_registered_grants_on_one_column_keep_what_each_gave() {
        let held = held(&[("a", &[Select]), ("b", &[Select, Update])]);
        check(
            &held,
            &[registered("a b", None), registered("b", None)],
            &[("a b", &[Select]), ("b", &[Update])],
        );
        // Where both gave the same, both have it, and only the registry knows.
        check(
            &held,
            &[registered("a b", Some(&[Select])), registered("b", Some(&[Select, Update]))],
            &[("a b", &[Select]), ("b", &[Select, Update])],
        );
    }

    #[test]
    fn a_registered_grant_with_more_on_its_columns_than_it_gave_shows_it() {
        let held = held(&[("a", &[Select, Update]), ("b", &[Select, Update])]);
        check(&held, &[registered("a b", Some(&[Select]))], &[("a b", &[Select, Update])]);
    }

    #[test]
    fn a_registered_grant_of_which_one_column_lost_it_is_not_whole() {
        let held = held(&[("a", &[Select]), ("b", &[])]);
        assert!(on_columns(&columns("a b"), &held, &[registered("a b", None)]).is_empty());
        let gone = held_nothing_of_c();
        assert!(on_columns(&columns("a c"), &gone, &[]).is_empty());
    }

    fn held_nothing_of_c() -> OnColumns {
        held(&[("a", &[Select])])
    }
}
