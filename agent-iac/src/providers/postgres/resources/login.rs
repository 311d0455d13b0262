use crate::{Resource, providers::postgres::Role, resource::Link};

/// A login of a role: one generation of its credential.
///
/// It is a role of its own, named as the role with `__g` and the generation,
/// that becomes the role when it logs in. What is delivered is its name and
/// its password together, as JSON:
///
/// ```json
/// {"user": "invoice_reader__g7", "password": "…"}
/// ```
///
/// It has what its role has when it logs in, and becomes its role then. So it
/// gets in where its role may connect, and whoever leaves the role by `SET ROLE
/// NONE` has nothing more.
///
/// The server is given a SCRAM-SHA-256 verifier (RFC 5802, RFC 7677) and never
/// sees the password. Whoever has a login can give it another password, by
/// `ALTER ROLE`: that is drift, and seen where a superuser made the function
/// that `plan --requires` prints for it.
///
/// Where its terms have a `lease`, its password is good for that long and no
/// longer (`VALID UNTIL`), also when nobody is there to end it; a session that
/// is open then goes on. What is declared as `valid_until` stands in its place.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "postgres.login", kind = "credential")]
pub struct Login {
    /// The role that it becomes.
    #[resource(replace)]
    pub of: Link<Role>,
    /// How many sessions it may have at once.
    pub connection_limit: Option<i32>,
    /// Until when its password is good, in the server's form and UTC, as
    /// `2027-06-30 00:00:00+00`. Sessions that are open then go on.
    pub valid_until: Option<String>,
    /// Its name.
    #[resource(output)]
    pub user: String,
    /// Its number in the cluster.
    #[resource(output)]
    pub oid: String,
}
