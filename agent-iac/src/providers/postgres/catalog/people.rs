//! Who is behind the numbers: the names of roles, which logins are a role's
//! own, and whom the administrators can become.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join;

use super::{
    super::{
        Login,
        name::{generation_of, ident},
        server::Type,
    },
    Within,
    ids::Oid,
    marks,
};
use crate::{address::quoted, error::Result, resource::Resource as _};

/// The version from which memberships have grantors and options.
pub(in super::super) const GRANTORS: u32 = 16;

/// The role that owns a database by being it: whoever owns the database is its
/// member. Its number is the same in every cluster.
pub(in super::super) const DATABASE_OWNER: Oid = 6171;

/// The number under which everybody is a grantee.
pub(in super::super) const EVERYBODY: Oid = 0;

/// The superuser that `initdb` made, whose number is the same everywhere.
pub(in super::super) const BOOTSTRAP: Oid = 10;

/// A role, as others meet it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Person {
    pub(in super::super) name: String,
    /// Whether the administrators can `SET ROLE` to it; true when nobody says
    /// who they are.
    pub(in super::super) become_able: bool,
    /// Whether they may use what it may, without that.
    pub(in super::super) usable: bool,
}

/// The people of one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct People {
    pub(in super::super) of: BTreeMap<Oid, Person>,
    /// The administrators' number, where they are named and exist.
    pub(in super::super) administrators: Option<Oid>,
    /// Whether nothing is forbidden to them.
    pub(in super::super) superuser: bool,
    administrators_name: String,
}

impl People {
    /// A role's name; its number where it is gone.
    pub(in super::super) fn name(&self, oid: Oid) -> String {
        self.of.get(&oid).map_or_else(|| oid.to_string(), |person| person.name.clone())
    }

    /// Why the administrators cannot take back what this grantor gave. What an
    /// object's owner gave, whoever may use the owner's rights takes back
    /// without becoming him.
    pub(in super::super) fn obstacle(&self, grantor: Oid, is_owner: bool) -> Option<String> {
        let person = self.of.get(&grantor)?;
        if person.become_able || is_owner && person.usable {
            return None;
        }
        Some(format!(
            "it was given by {}, and {} cannot become that role; revoke it as that role, or GRANT {} TO {}",
            quoted(&person.name),
            quoted(&self.administrators_name),
            ident(&person.name),
            ident(&self.administrators_name),
        ))
    }

    /// Why the administrators cannot change a role of which these have the
    /// admin option. Before PostgreSQL 16 it takes CREATEROLE alone.
    pub(in super::super) fn not_administered(
        &self,
        name: &str,
        is_superuser: bool,
        admins: &BTreeSet<Oid>,
        version: u32,
    ) -> Option<String> {
        let of = self.administrators?;
        let administrators = quoted(&self.administrators_name);
        if self.superuser {
            return None;
        }
        if is_superuser {
            return Some(format!(
                "it is superuser, and {administrators} is not; change it as a superuser"
            ));
        }
        let can = |admin: &Oid| {
            *admin == of
                || self.of.get(admin).is_some_and(|person| person.become_able || person.usable)
        };
        (version >= GRANTORS && !admins.iter().any(can)).then(|| {
            format!(
                "{administrators} may not administer it; GRANT {} TO {} WITH ADMIN OPTION",
                ident(name),
                ident(&self.administrators_name),
            )
        })
    }

    /// Why the administrators cannot change what this role owns.
    pub(in super::super) fn not_owner(&self, owner: Oid) -> Option<String> {
        let person = self.of.get(&owner)?;
        (!person.become_able && !person.usable).then(|| {
            format!(
                "it belongs to {}, and {} is no member of that role; change it as that role, or GRANT {} TO {}",
                quoted(&person.name),
                quoted(&self.administrators_name),
                ident(&person.name),
                ident(&self.administrators_name),
            )
        })
    }

    /// Why the administrators cannot give away what this role owns: it takes
    /// its rights without becoming it, who could not become the next owner.
    pub(in super::super) fn not_giver(&self, owner: Oid) -> Option<String> {
        let person = self.of.get(&owner)?;
        self.not_owner(owner).or_else(|| {
            (!person.usable).then(|| {
                format!(
                    "it belongs to {}, whose rights {} does not inherit; change it as that role, or GRANT {} TO {} WITH INHERIT TRUE",
                    quoted(&person.name),
                    quoted(&self.administrators_name),
                    ident(&person.name),
                    ident(&self.administrators_name),
                )
            })
        })
    }
}

/// How one membership leads on: by `SET ROLE`, or by inheritance. Before
/// PostgreSQL 16 a membership has no options: it can always be set, and it is
/// the member that inherits or does not.
pub(in super::super) const fn set_option(version: u32) -> &'static str {
    if version >= GRANTORS { "m.set_option" } else { "true" }
}

pub(in super::super) const fn inherit_option(version: u32) -> &'static str {
    if version >= GRANTORS {
        "m.inherit_option"
    } else {
        "(SELECT r.rolinherit FROM pg_roles r WHERE r.oid = m.member)"
    }
}

/// Reads who some roles are.
pub(in super::super) async fn people(within: &Within, oids: &BTreeSet<Oid>) -> Result<People> {
    let oids: Vec<Oid> = oids.iter().copied().collect();
    let administrators = within.layout.administrators.as_deref();
    // From the role down to its members: they are few, whereas the
    // administrators may be members of every role that they made.
    let down = |name: &str, option: &str| {
        format!(
            "{name} AS (
                SELECT oid AS target, oid AS role FROM unnest($1::oid[]) AS t (oid)
                UNION SELECT d.target, e.member FROM {name} d, LATERAL (
                    SELECT m.member FROM pg_auth_members m WHERE m.roleid = d.role AND {option}
                    UNION ALL SELECT b.datdba FROM pg_database b
                        WHERE b.datname = current_database() AND d.role = {DATABASE_OWNER}
                ) e
            )"
        )
    };
    // From 16, who made a role holds the admin option on it, and can lend
    // himself the rest for as long as a write takes.
    // Before that whoever may create roles can, and does it to those that are
    // ours.
    let lent = if within.version >= GRANTORS {
        "OR EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid AND m.admin_option
            AND m.member = a.oid)"
    } else if !oids.is_empty() && marks::is_ready(within).await? {
        "OR a.rolcreaterole AND NOT r.rolsuper AND EXISTS (SELECT FROM agent_iac.objects o
            WHERE o.type = 'postgres.role' AND o.id = r.oid::text)"
    } else {
        ""
    };
    let sql = format!(
        "WITH RECURSIVE admin AS (
            SELECT oid, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = $2
        ),
        {}, {}
        SELECT r.oid, r.rolname::text, coalesce(a.rolsuper OR s.target IS NOT NULL {lent}, true),
            coalesce(a.rolsuper OR i.target IS NOT NULL {lent}, true), a.oid,
            coalesce(a.rolsuper, false)
        FROM (SELECT oid FROM unnest($1::oid[]) AS t (oid) UNION SELECT oid FROM admin) w
        JOIN pg_roles r ON r.oid = w.oid LEFT JOIN admin a ON true
        LEFT JOIN by_set s ON s.target = r.oid AND s.role = a.oid
        LEFT JOIN by_inheriting i ON i.target = r.oid AND i.role = a.oid",
        down("by_set", set_option(within.version)),
        down("by_inheriting", inherit_option(within.version)),
    );
    let rows =
        within.tx.query(&sql, &[(&oids, Type::OID_ARRAY), (&administrators, Type::NAME)]).await?;
    Ok(People {
        administrators: rows.first().and_then(|row| row.get(4)),
        superuser: rows.first().is_some_and(|row| row.get(5)),
        administrators_name: administrators.unwrap_or_default().to_owned(),
        of: rows
            .iter()
            .map(|row| {
                let person =
                    Person { name: row.get(1), become_able: row.get(2), usable: row.get(3) };
                (row.get(0), person)
            })
            .collect(),
    })
}

/// The logins of some roles, each with its role: those that were made for them,
/// by the registry, and members that are named as the engine names logins. What
/// such a login has, its role's agent has.
pub(in super::super) async fn logins(
    within: &Within,
    roles: &BTreeSet<Oid>,
) -> Result<BTreeMap<Oid, Oid>> {
    let find = async || {
        let (mut logins, made) =
            try_join(paired(within, "m.roleid", roles), made(within, "o.detail ->> 'role'", roles))
                .await?;
        logins.extend(made);
        Ok(logins)
    };
    let Some(answered) = &within.logins else { return find().await };
    // Whoever asks meanwhile waits for the answer. Most of what is read in one
    // go is of the same roles.
    let mut last = answered.lock().await;
    if let Some((_, logins)) = last.as_ref().filter(|(of, _)| of == roles) {
        return Ok(logins.clone());
    }
    let logins = find().await?;
    *last = Some((roles.clone(), logins.clone()));
    Ok(logins)
}

/// Some roles, and their logins.
pub(super) type Answered = (BTreeSet<Oid>, BTreeMap<Oid, Oid>);

/// The roles that some logins are of, by the same rule.
pub(in super::super) async fn masters(
    within: &Within,
    logins: &BTreeSet<Oid>,
) -> Result<BTreeMap<Oid, Oid>> {
    let (mut masters, made) =
        try_join(paired(within, "m.member", logins), made(within, "o.id", logins)).await?;
    masters.extend(made);
    Ok(masters)
}

async fn paired(within: &Within, column: &str, oids: &BTreeSet<Oid>) -> Result<BTreeMap<Oid, Oid>> {
    let oids: Vec<Oid> = oids.iter().copied().collect();
    let sql = format!(
        "SELECT DISTINCT m.member, g.rolname::text, m.roleid, r.rolname::text
        FROM pg_auth_members m
        JOIN pg_roles g ON g.oid = m.member JOIN pg_roles r ON r.oid = m.roleid
        WHERE {column} = ANY ($1) AND starts_with(g.rolname::text, r.rolname::text || '__g')"
    );
    let rows = within.tx.query(&sql, &[(&oids, Type::OID_ARRAY)]).await?;
    Ok(rows
        .iter()
        .filter(|row| generation_of(row.get(3), row.get(1)).is_some())
        .map(|row| (row.get(0), row.get(2)))
        .collect())
}

/// Logins that were made for roles, by their numbers: a role that was renamed
/// keeps them, under its old name.
async fn made(within: &Within, column: &str, oids: &BTreeSet<Oid>) -> Result<BTreeMap<Oid, Oid>> {
    if oids.is_empty() || !marks::is_ready(within).await? {
        return Ok(BTreeMap::new());
    }
    let oids: Vec<String> = oids.iter().map(ToString::to_string).collect();
    let sql = format!(
        "SELECT l.oid, r.oid FROM agent_iac.objects o
        JOIN pg_roles l ON l.oid::text = o.id JOIN pg_roles r ON r.oid::text = o.detail ->> 'role'
        WHERE o.type = $1 AND {column} = ANY ($2)"
    );
    let parameters = [(&Login::TYPE as _, Type::TEXT), (&oids as _, Type::TEXT_ARRAY)];
    let rows = within.tx.query(&sql, &parameters).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
