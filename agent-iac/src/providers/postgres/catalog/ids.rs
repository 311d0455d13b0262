//! How each object of a cluster is called by the engine.
//!
//! Owns the texts of ids: they are stable, they hold everything that finds the
//! object again, and a person can read them. Roles stand in them by their
//! numbers, since another role can take a name. It asks no server.

use std::{fmt, str::FromStr};

use super::super::{Future, Object, name::shown, object::Words};

/// The number of a role, as `pg_authid.oid`.
pub(in super::super) type Oid = u32;

/// The text is no id of the kind that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct NotAnId;

/// In whose name something was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Grantor {
    /// Whoever owns the object: what an owner gave is the next owner's.
    Owner,
    /// Another role, which had a grant option.
    Role(Oid),
}

impl Grantor {
    /// Who that is on an object of this owner.
    pub(in super::super) const fn role(self, owner: Oid) -> Oid {
        match self {
            Self::Owner => owner,
            Self::Role(oid) => oid,
        }
    }

    /// How a role is called on an object of this owner.
    pub(in super::super) const fn of(role: Oid, owner: Oid) -> Self {
        if role == owner { Self::Owner } else { Self::Role(role) }
    }
}

/// `16423 on table sales.invoices by owner`, or `… by 16424`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct GrantId {
    pub(in super::super) grantee: Oid,
    pub(in super::super) on: Object,
    pub(in super::super) grantor: Grantor,
}

/// `16423 in 16424 by 10`; before PostgreSQL 16, where the grantor has no
/// effect, `16423 in 16424 by 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct MembershipId {
    pub(in super::super) member: Oid,
    pub(in super::super) role: Oid,
    pub(in super::super) grantor: Oid,
}

/// `16423 on future tables of 10 in schema sales in database app`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct DefaultPrivilegesId {
    pub(in super::super) grantee: Oid,
    pub(in super::super) on: Future,
    pub(in super::super) creator: Oid,
    pub(in super::super) schema: Option<String>,
    pub(in super::super) database: Option<String>,
}

/// `policy 16500`, or `policy 16500 in archive`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct PolicyId {
    pub(in super::super) policy: Oid,
    pub(in super::super) database: Option<String>,
}

/// `16423 owns table sales.invoices`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct OwnershipId {
    pub(in super::super) owner: Oid,
    pub(in super::super) on: Object,
}

/// `PUBLIC on database app`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct PublicId {
    pub(in super::super) on: Object,
}

/// `PUBLIC on future functions of 10 in database app`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct PublicDefaultsId {
    pub(in super::super) on: Future,
    pub(in super::super) creator: Oid,
    pub(in super::super) database: Option<String>,
}

/// `16425`, a login that was made for its role; `16425 in 16423`, somebody
/// else's role that is a member of ours and can act as it. To take the latter
/// back is to end the membership, and never to drop the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct LoginId {
    pub(in super::super) login: Oid,
    pub(in super::super) of: Option<Oid>,
}

impl fmt::Display for Grantor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("owner"),
            Self::Role(oid) => write!(f, "{oid}"),
        }
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} by {}", self.grantee, self.on, self.grantor)
    }
}

impl fmt::Display for MembershipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} by {}", self.member, self.role, self.grantor)
    }
}

impl fmt::Display for DefaultPrivilegesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on future {} of {}", self.grantee, self.on.word(), self.creator)?;
        if let Some(schema) = &self.schema {
            write!(f, " in schema {}", shown(schema))?;
        }
        match &self.database {
            Some(database) => write!(f, " in database {}", shown(database)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {}", self.policy)?;
        match &self.database {
            Some(database) => write!(f, " in {}", shown(database)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for OwnershipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} owns {}", self.owner, self.on)
    }
}

impl fmt::Display for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PUBLIC on {}", self.on)
    }
}

impl fmt::Display for PublicDefaultsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PUBLIC on future {} of {}", self.on.word(), self.creator)?;
        match &self.database {
            Some(database) => write!(f, " in database {}", shown(database)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Some(of) => write!(f, "{} in {of}", self.login),
            None => write!(f, "{}", self.login),
        }
    }
}

/// Reads a text by a function, and takes the answer only when it is written as
/// exactly that text: one object has one id.
macro_rules! read_back {
    ($($id:ident),*) => {$(
        impl FromStr for $id {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                Self::parse(text).filter(|id| id.to_string() == text).ok_or(NotAnId)
            }
        }
    )*};
}

read_back!(
    GrantId,
    MembershipId,
    DefaultPrivilegesId,
    PolicyId,
    OwnershipId,
    PublicId,
    PublicDefaultsId,
    LoginId
);

impl GrantId {
    fn parse(text: &str) -> Option<Self> {
        let (grantee, rest) = text.split_once(" on ")?;
        let (on, grantor) = rest.rsplit_once(" by ")?;
        let grantor = match grantor {
            "owner" => Grantor::Owner,
            oid => Grantor::Role(oid.parse().ok()?),
        };
        Some(Self { grantee: grantee.parse().ok()?, on: on.parse().ok()?, grantor })
    }
}

impl MembershipId {
    fn parse(text: &str) -> Option<Self> {
        let (member, rest) = text.split_once(" in ")?;
        let (role, grantor) = rest.split_once(" by ")?;
        Some(Self {
            member: member.parse().ok()?,
            role: role.parse().ok()?,
            grantor: grantor.parse().ok()?,
        })
    }
}

impl DefaultPrivilegesId {
    fn parse(text: &str) -> Option<Self> {
        let (grantee, rest) = text.split_once(" on future ")?;
        let (on, rest) = rest.split_once(" of ")?;
        let end = rest.find(' ').unwrap_or(rest.len());
        let (creator, rest) = rest.split_at(end);
        let mut words = Words(rest);
        let mut name = |before: &str| {
            if words.skip(before) { words.name().map(Some) } else { Some(None) }
        };
        let (schema, database) = (name(" in schema ")?, name(" in database ")?);
        Some(Self {
            grantee: grantee.parse().ok()?,
            on: Future::ALL.into_iter().find(|future| future.word() == on)?,
            creator: creator.parse().ok()?,
            schema,
            database,
        })
    }
}

impl PolicyId {
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("policy ")?;
        let end = rest.find(' ').unwrap_or(rest.len());
        let (policy, rest) = rest.split_at(end);
        let mut words = Words(rest);
        let database = if words.skip(" in ") { Some(words.name()?) } else { None };
        Some(Self { policy: policy.parse().ok()?, database })
    }
}

impl OwnershipId {
    fn parse(text: &str) -> Option<Self> {
        let (owner, on) = text.split_once(" owns ")?;
        Some(Self { owner: owner.parse().ok()?, on: on.parse().ok()? })
    }
}

impl PublicId {
    fn parse(text: &str) -> Option<Self> {
        Some(Self { on: text.strip_prefix("PUBLIC on ")?.parse().ok()? })
    }
}

impl PublicDefaultsId {
    fn parse(text: &str) -> Option<Self> {
        let (on, rest) = text.strip_prefix("PUBLIC on future ")?.split_once(" of ")?;
        let end = rest.find(' ').unwrap_or(rest.len());
        let (creator, rest) = rest.split_at(end);
        let mut words = Words(rest);
        let database = if words.skip(" in database ") { Some(words.name()?) } else { None };
        Some(Self {
            on: Future::ALL.into_iter().find(|future| future.word() == on)?,
            creator: creator.parse().ok()?,
            database,
        })
    }
}

impl LoginId {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once(" in ") {
            Some((login, of)) => Self { login: login.parse().ok()?, of: Some(of.parse().ok()?) },
            None => Self { login: text.parse().ok()?, of: None },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::postgres::{Column, Function, Table};

    #[track_caller]
    fn check<I: FromStr<Err = NotAnId> + fmt::Display + fmt::Debug + PartialEq>(
        id: &I,
        expected: &str,
    ) {
        assert_eq!(id.to_string(), expected);
        assert_eq!(expected.parse::<I>().as_ref(), Ok(id));
    }

    #[test]
    fn an_id_is_read_back_from_its_text_whatever_is_in_the_names() {
        for (on, text) in [
            (Table::new("sales", "invoices"), "table sales.invoices"),
            (Table::new("a on b", "c by 7"), r#"table "a on b"."c by 7""#),
            (Column::new("s", "t", ["a", "b c"]), r#"table s.t (a, "b c")"#),
            (
                Function::new("s", "f", ["integer"]).in_database("x y"),
                r#"function s.f(integer) in "x y""#,
            ),
        ] {
            for (grantor, by) in [(Grantor::Owner, "owner"), (Grantor::Role(10), "10")] {
                let id = GrantId { grantee: 16_423, on: on.clone(), grantor };
                check(&id, &format!("16423 on {text} by {by}"));
            }
            check(&OwnershipId { owner: 16_423, on: on.clone() }, &format!("16423 owns {text}"));
            check(&PublicId { on }, &format!("PUBLIC on {text}"));
        }
        check(&MembershipId { member: 1, role: 2, grantor: 0 }, "1 in 2 by 0");
        check(&LoginId { login: 5, of: None }, "5");
        check(&LoginId { login: 5, of: Some(6) }, "5 in 6");
        check(&PolicyId { policy: 7, database: None }, "policy 7");
        check(&PolicyId { policy: 7, database: Some("A b".into()) }, r#"policy 7 in "A b""#);
        let mut id = PublicDefaultsId { on: Future::LargeObjects, creator: 2, database: None };
        check(&id, "PUBLIC on future large-objects of 2");
        (id.on, id.database) = (Future::Functions, Some("of x".into()));
        check(&id, r#"PUBLIC on future functions of 2 in database "of x""#);
        let mut id = DefaultPrivilegesId {
            grantee: 1,
            on: Future::LargeObjects,
            creator: 2,
            schema: None,
            database: None,
        };
        check(&id, "1 on future large-objects of 2");
        id.database = Some("in schema x".into());
        check(&id, r#"1 on future large-objects of 2 in database "in schema x""#);
        (id.on, id.schema) = (Future::Tables, Some("S".into()));
        check(&id, r#"1 on future tables of 2 in schema "S" in database "in schema x""#);
    }

    #[test]
    fn a_text_that_is_not_exactly_an_id_is_none() {
        for text in ["", "x", "1 on", "01 on table a.b by 2", "1 on table a.b", "1 in 2", " 5"] {
            assert_eq!(text.parse::<GrantId>(), Err(NotAnId), "{text:?}");
            assert_eq!(text.parse::<MembershipId>(), Err(NotAnId), "{text:?}");
            assert_eq!(text.parse::<DefaultPrivilegesId>(), Err(NotAnId), "{text:?}");
            assert_eq!(text.parse::<OwnershipId>(), Err(NotAnId), "{text:?}");
            assert_eq!(text.parse::<PolicyId>(), Err(NotAnId), "{text:?}");
            assert_eq!(text.parse::<PublicId>(), Err(NotAnId), "{text:?}");
            assert_eq!(text.parse::<PublicDefaultsId>(), Err(NotAnId), "{text:?}");
        }
        for text in ["1 on future tables of 2 in schema s x", "1 on future table of 2"] {
            assert_eq!(text.parse::<DefaultPrivilegesId>(), Err(NotAnId), "{text:?}");
        }
        assert_eq!("5 in 06".parse::<LoginId>(), Err(NotAnId));
        assert_eq!("4294967296".parse::<LoginId>(), Err(NotAnId));
    }
}
