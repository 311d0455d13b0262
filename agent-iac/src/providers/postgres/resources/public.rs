use std::collections::{BTreeMap, BTreeSet};

use super::{check_object, not_yet, privileges, tuples};
use crate::{
    Resource,
    access::{Access, Effect},
    providers::postgres::{Object, Privilege},
    resource::{Check, Grants, Node, Problem},
};

/// What PUBLIC, which is everybody, may no longer do to an object.
///
/// It belongs to no identity: whoever else relies on what PUBLIC was given
/// loses it too. What was really taken is given back when this ends.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "postgres.public", kind = "permission", check)]
pub struct Public {
    /// The object.
    #[resource(key)]
    pub on: Object,
    /// What nobody may do just because everybody may.
    pub revoke: BTreeSet<Privilege>,
}

/// Who everybody is.
pub(super) const EVERYBODY: &str = "PUBLIC";

impl Grants for Public {
    fn grants(_: &str, properties: &BTreeMap<String, Node>) -> Access {
        let Some(on) = Object::of(properties.get("on")) else { return not_yet(EVERYBODY, "on") };
        let Some(revoke) = privileges(properties, "revoke") else {
            return not_yet(EVERYBODY, "revoke");
        };
        let taken = tuples(EVERYBODY, &revoke, &on).into_iter();
        Access::exactly(taken.map(|mut tuple| {
            tuple.effect = Effect::Deny;
            tuple
        }))
    }
}

impl Check for Public {
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
        check_object(properties, "on", Some("revoke"))
    }
}
