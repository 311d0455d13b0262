use std::collections::{BTreeMap, BTreeSet};

use super::{
    Future, check_role_name,
    default_privileges::{check_kind, check_names, future, kind_of},
    not_yet, privileges,
    public::EVERYBODY,
};
use crate::{
    Resource,
    access::{Access, Effect, Tuple},
    providers::postgres::Privilege,
    resource::{Check, Grants, Node, Problem},
};

/// What PUBLIC, which is everybody, will not get on what a role creates.
///
/// The server lets everybody call each new function and use each new type,
/// unless its creator's default privileges say otherwise, and takes that away
/// for all schemas at once only. What was given to PUBLIC in single schemas is
/// taken as well. What there is already stays as it is: harden that by
/// [`Public`](super::Public). What was really taken is given back when this
/// ends.
///
/// ```
/// use agent_iac::{prelude::*, providers::postgres as pg};
///
/// /// Keeps new functions shut.
/// #[derive(Agent)]
/// #[agent(owner = "team:db", expires = "2027-06-30")]
/// struct Shut {
///     #[permission(for_role = "app_owner", on = pg::Future::Functions, revoke = [pg::Execute])]
///     functions: pg::PublicDefaults,
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "postgres.public_defaults", kind = "permission", check)]
pub struct PublicDefaults {
    /// The name of the role that creates the objects.
    #[resource(key)]
    pub for_role: String,
    /// The kind of objects.
    #[resource(key)]
    pub on: Future,
    /// The database, when it is not the provider's own.
    #[resource(key)]
    pub database: Option<String>,
    /// What nobody will be allowed just because everybody is.
    pub revoke: BTreeSet<Privilege>,
}

impl Grants for PublicDefaults {
    fn grants(_: &str, properties: &BTreeMap<String, Node>) -> Access {
        let objects = match future(properties) {
            Ok(objects) => objects,
            Err(field) => return not_yet(EVERYBODY, field),
        };
        let Some(revoke) = privileges(properties, "revoke") else {
            return not_yet(EVERYBODY, "revoke");
        };
        Access::exactly(revoke.iter().map(|privilege| Tuple {
            effect: Effect::Deny,
            ..Tuple::allow(EVERYBODY, privilege.word(), &objects)
        }))
    }
}

impl Check for PublicDefaults {
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
        let mut problems: Vec<Problem> =
            check_role_name(properties, "for_role").into_iter().collect();
        problems.extend(check_names(properties, &["database"]));
        if let Some(on) = kind_of(properties) {
            problems.extend(check_kind(properties, on, "revoke"));
        }
        problems
    }
}
