//! Which roles the administrators can act as.
//!
//! Owns how one comes to act in the name of another role: because its rights
//! are inherited, by `SET ROLE`, or by a membership that lasts for a part of
//! the transaction. The last is for roles that the administrators made: they
//! hold the ADMIN option on them from PostgreSQL 16, and are no members, since
//! every membership of theirs would slow each later statement about roles down.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{catalog::Within, name::ident, server::Type},
    GRANTORS,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
};

/// Who acts, and as whom else.
#[derive(Clone, Debug)]
pub(in super::super) struct Powers {
    pub(super) me: u32,
    pub(super) superuser: bool,
    version: u32,
    roles: BTreeMap<u32, Power>,
}

/// One role, as the one who acts sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Power {
    pub(super) name: String,
    /// What it may is inherited: whoever acts is its owner's equal.
    pub(super) inherited: bool,
    /// `SET ROLE` to it is allowed.
    pub(super) set: bool,
    /// A membership in it can be given to oneself.
    pub(super) admin: bool,
    /// The options of the membership that one gave to oneself before:
    /// inherit, set and admin.
    own: Option<[bool; 3]>,
    /// Who gives a membership in it: whoever acts, or the group through which
    /// the ADMIN option is his.
    gives: Option<String>,
}

/// In whose name a statement is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Acting {
    /// The administrators.
    Me,
    /// Another role, by `SET ROLE`.
    As(u32),
    /// The same, by a membership for as long as it takes.
    Lent(u32),
    /// The administrators, with a membership in this role for as long as it
    /// takes.
    With(u32),
}

/// Reads what can be done as some roles, by their numbers or names.
pub(super) async fn read(
    within: &Within,
    oids: &BTreeSet<u32>,
    names: &BTreeSet<String>,
) -> Result<Powers> {
    // Before PostgreSQL 16 whoever may create roles may give himself any
    // membership. It is used for the roles that are ours only.
    let (set, admin, own, gives) = if within.version >= GRANTORS {
        (
            "pg_has_role(session_user, r.oid, 'SET')",
            "pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')",
            "SELECT inherit_option, set_option, admin_option FROM pg_auth_members m
                WHERE m.roleid = r.oid AND m.member = me.oid AND m.grantor = me.oid",
            "(SELECT g.rolname::text FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.member
                WHERE a.roleid = r.oid AND a.admin_option AND pg_has_role(a.member, 'USAGE')
                ORDER BY a.member <> me.oid, a.member LIMIT 1)",
        )
    } else {
        (
            "pg_has_role(session_user, r.oid, 'MEMBER')",
            "me.rolcreaterole AND NOT r.rolsuper AND EXISTS (SELECT FROM agent_iac.objects o
                WHERE o.type = 'postgres.role' AND o.id = r.oid::text)",
            "SELECT false, false, bool_or(m.admin_option) FROM pg_auth_members m
                WHERE m.roleid = r.oid AND m.member = me.oid HAVING count(*) > 0",
            "NULL::text",
        )
    };
    let sql = format!(
        "SELECT r.oid, r.rolname::text, me.oid, me.rolsuper, pg_has_role(r.oid, 'USAGE'), {set},
            {admin}, own.*, {gives}
        FROM pg_roles me
        JOIN pg_roles r ON r.oid = me.oid OR r.oid = ANY ($1) OR r.rolname = ANY ($2)
        LEFT JOIN LATERAL ({own}) own ON true
        WHERE me.rolname = current_user"
    );
    let oids: Vec<u32> = oids.iter().copied().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rows =
        within.tx.query(&sql, &[(&oids, Type::OID_ARRAY), (&names, Type::NAME_ARRAY)]).await?;
    let mut powers =
        Powers { me: 0, superuser: false, version: within.version, roles: BTreeMap::new() };
    for row in rows {
        powers.me = row.get(2);
        powers.superuser = row.get(3);
        let options: [Option<bool>; 3] = [row.get(7), row.get(8), row.get(9)];
        let own = match options {
            [Some(inherit), Some(set), Some(admin)] => Some([inherit, set, admin]),
            _ => None,
        };
        let power = Power {
            name: row.get(1),
            inherited: row.get(4),
            set: row.get(5),
            admin: row.get(6),
            own,
            gives: row.get(10),
        };
        powers.roles.insert(row.get(0), power);
    }
    Ok(powers)
}

impl Powers {
    /// A role that was asked for.
    pub(super) fn role(&self, oid: u32) -> Option<&Power> {
        self.roles.get(&oid)
    }

    /// The number of a role that was asked for.
    pub(super) fn oid(&self, name: &str) -> Option<u32> {
        self.roles.iter().find(|(_, power)| power.name == name).map(|(oid, _)| *oid)
    }

    /// The name of a role, for people.
    pub(super) fn name(&self, oid: u32) -> String {
        match self.roles.get(&oid) {
            Some(power) => quoted(&power.name),
            None => format!("the role with the number {oid}"),
        }
    }

    /// The name of whoever acts.
    pub(super) fn my_name(&self) -> &str {
        self.roles.get(&self.me).map_or("", |power| &power.name)
    }

    /// How the rights of an owner are used: who inherits them is taken for
    /// the owner, and what is granted is granted by the owner.
    pub(super) fn as_owner(&self, owner: u32) -> Option<Acting> {
        let power = self.roles.get(&owner)?;
        if power.inherited {
            Some(Acting::Me)
        } else if power.set {
            Some(Acting::As(owner))
        } else {
            power.admin.then_some(Acting::With(owner))
        }
    }

    /// How the rights of an owner are used without becoming him.
    pub(super) fn with_rights_of(&self, owner: u32) -> Option<Acting> {
        let power = self.roles.get(&owner)?;
        match (power.inherited, power.admin) {
            (true, _) => Some(Acting::Me),
            (false, admin) => admin.then_some(Acting::With(owner)),
        }
    }

    /// How something is done in exactly this role's name.
    pub(super) fn as_grantor(&self, grantor: u32) -> Option<Acting> {
        if grantor == self.me {
            return Some(Acting::Me);
        }
        let power = self.roles.get(&grantor)?;
        if power.set {
            Some(Acting::As(grantor))
        } else {
            power.admin.then_some(Acting::Lent(grantor))
        }
    }

    /// The error of something that only another role can do.
    pub(super) fn cannot_become(&self, what: &str, role: u32) -> Error {
        let (me, name) = (self.my_name(), self.name(role));
        let error = Error::new(
            ErrorKind::Denied,
            format!("{what} was given by {name}, and only {name} can take it back"),
        );
        match self.roles.get(&role) {
            Some(power) => error.help(format!(
                "let it be done by {name}, or GRANT {} TO {}",
                ident(&power.name),
                ident(me)
            )),
            None => error.help(format!("let it be done by {name}")),
        }
    }

    /// The error of something that takes being a member of a role.
    pub(super) fn no_member(&self, role: u32, message: String) -> Error {
        let error = Error::new(ErrorKind::Denied, message);
        match self.roles.get(&role) {
            Some(power) => {
                error.help(format!("GRANT {} TO {}", ident(&power.name), ident(self.my_name())))
            }
            None => error,
        }
    }

    /// Whether the rights of a role are inherited, and it can be become.
    pub(super) fn is_full(&self, role: u32) -> bool {
        self.superuser || self.roles.get(&role).is_some_and(|power| power.inherited && power.set)
    }

    /// Takes note that some roles can be administered.
    pub(super) fn administer(&mut self, roles: impl Iterator<Item = u32>) {
        for role in roles {
            if let Some(power) = self.roles.get_mut(&role) {
                power.admin = true;
            }
        }
    }

    /// What lends memberships in some roles, and what ends them; each one text.
    pub(super) fn lend_all(&self, roles: &[u32]) -> (String, String) {
        let texts: Vec<(String, String)> =
            roles.iter().filter_map(|role| self.lend(*role)).collect();
        let (lend, end): (Vec<String>, Vec<String>) = texts.into_iter().unzip();
        (lend.join(";\n"), end.join(";\n"))
    }

    /// What lends a membership in a role, and what ends it.
    pub(super) fn lend(&self, role: u32) -> Option<(String, String)> {
        let power = self.roles.get(&role)?;
        let (role, me) = (ident(&power.name), ident(self.my_name()));
        if self.version < GRANTORS {
            // A membership that was there cannot be made more of, and is not
            // taken away.
            return Some(match power.own {
                Some(_) => (String::new(), String::new()),
                None => (format!("GRANT {role} TO {me}"), format!("REVOKE {role} FROM {me}")),
            });
        }
        let by = power.gives.as_deref().map_or_else(|| me.clone(), ident);
        let options = |[inherit, set, admin]: [bool; 3]| {
            format!(
                "GRANT {role} TO {me} WITH INHERIT {inherit}, SET {set}, ADMIN {admin} \
                 GRANTED BY {me}"
            )
        };
        let lend = format!("GRANT {role} TO {me} WITH INHERIT true, SET true GRANTED BY {by}");
        Some(match power.own {
            Some(before) => (lend, options(before)),
            None => (lend, format!("REVOKE {role} FROM {me} GRANTED BY {by}")),
        })
    }
}

#[cfg(test)]
impl Powers {
    /// As `administrators`, number 1, with other roles.
    pub(super) fn of(version: u32, others: &[(u32, &str, [bool; 3])]) -> Self {
        let power = |name: &str, [inherited, set, admin]: [bool; 3]| Power {
            name: name.into(),
            inherited,
            set,
            admin,
            own: None,
            gives: None,
        };
        let mut roles = BTreeMap::from([(1, power("administrators", [true, true, false]))]);
        roles.extend(others.iter().map(|(oid, name, how)| (*oid, power(name, *how))));
        Self { me: 1, superuser: false, version, roles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_way_to_act_as_somebody_is_taken() {
        let powers = Powers::of(
            16,
            &[
                (2, "owner", [true, true, false]),
                (3, "set only", [false, true, false]),
                (4, "ours", [false, false, true]),
                (5, "foreign", [false, false, false]),
                (6, "set and ours", [false, true, true]),
            ],
        );
        let rights = [2, 3, 4, 5, 6].map(|oid| powers.with_rights_of(oid));
        let with = |oid| Some(Acting::With(oid));
        assert_eq!(rights, [Some(Acting::Me), None, with(4), None, with(6)]);
        let owner = |oid| powers.as_owner(oid);
        assert_eq!(owner(2), Some(Acting::Me));
        assert_eq!(owner(3), Some(Acting::As(3)));
        assert_eq!(owner(4), Some(Acting::With(4)));
        assert_eq!((owner(5), owner(9)), (None, None));
        let grantor = |oid| powers.as_grantor(oid);
        assert_eq!(grantor(1), Some(Acting::Me));
        // Inheriting is not enough: the server would take another grantor.
        assert_eq!(grantor(2), Some(Acting::As(2)));
        assert_eq!(grantor(4), Some(Acting::Lent(4)));
        assert_eq!(grantor(5), None);
    }

    #[test]
    fn a_lent_membership_ends_as_it_was_before() {
        let ours = [(4, "our\"s", [false, false, true])];
        let mut powers = Powers::of(16, &ours);
        let (lend, end) = powers.lend(4).unwrap();
        assert_eq!(
            lend,
            r#"GRANT "our""s" TO "administrators" WITH INHERIT true, SET true GRANTED BY "administrators""#
        );
        assert_eq!(end, r#"REVOKE "our""s" FROM "administrators" GRANTED BY "administrators""#);
        powers.roles.get_mut(&4).unwrap().own = Some([false, true, false]);
        let (_, end) = powers.lend(4).unwrap();
        assert!(
            end.ends_with(
                r#"WITH INHERIT false, SET true, ADMIN false GRANTED BY "administrators""#
            ),
            "{end}"
        );
        let (lend, end) = Powers::of(15, &ours).lend(4).unwrap();
        assert_eq!(lend, r#"GRANT "our""s" TO "administrators""#);
        assert_eq!(end, r#"REVOKE "our""s" FROM "administrators""#);
    }

    #[test]
    fn a_membership_is_lent_by_whoever_has_the_admin_option_and_what_was_there_is_left() {
        let ours = [(4, "ours", [false, false, true])];
        let mut powers = Powers::of(16, &ours);
        powers.roles.get_mut(&4).unwrap().gives = Some("group".into());
        let (lend, end) = powers.lend(4).unwrap();
        assert!(lend.ends_with(r#"GRANTED BY "group""#), "{lend}");
        assert!(end.ends_with(r#"GRANTED BY "group""#), "{end}");
        let mut powers = Powers::of(15, &ours);
        powers.roles.get_mut(&4).unwrap().own = Some([false, false, true]);
        assert_eq!(powers.lend(4), Some((String::new(), String::new())));
    }
}
