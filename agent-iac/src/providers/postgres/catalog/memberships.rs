//! Memberships of roles in roles.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{
    Asked, Read, Within, fields,
    grants::grantees,
    ids::{MembershipId, Oid},
    marks,
    people::{self, People, inherit_option, set_option},
    role_of, text, text_of,
};
use crate::{
    error::Result,
    provider::{self, Observation, Reference},
    providers::postgres::{Membership, name::ident, server::Type},
    resource::{Reading, Resource as _},
    value::Value,
};

/// What finds a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum MembershipKey {
    /// One of a certain grantor.
    Id(MembershipId),
    /// Ours: by the administrators, or else by the first grantor.
    Key { member: Oid, of: String },
}

/// One row, as it stands for a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    id: MembershipId,
    /// The grantor of the catalog, which the id leaves out before 16.
    grantor: Oid,
    of: String,
    admin: bool,
    inherits: bool,
    sets: bool,
}

impl Row {
    /// Whether its member made the role, from 16 on: the server gives him the
    /// admin option, and neither of the others, which nobody else asks for.
    fn is_makers(&self) -> bool {
        self.grantor == people::BOOTSTRAP && self.admin && !self.inherits && !self.sets
    }
}

/// What becomes of a role whose maker leaves.
fn outlives(role: &str) -> String {
    let role = ident(role);
    format!(
        "it made the role {role}, which would outlive it; as a superuser DROP ROLE {role}, or where \
         that is to stay, REVOKE {role} FROM it"
    )
}

async fn rows(within: &Within, members: &BTreeSet<Oid>) -> Result<Vec<Row>> {
    let members: Vec<Oid> = members.iter().copied().collect();
    let sql = format!(
        "SELECT m.member, m.roleid, m.grantor, r.rolname::text, m.admin_option, {}, {}
        FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
        WHERE m.member = ANY ($1) ORDER BY m.member, m.roleid, m.grantor",
        inherit_option(within.version),
        set_option(within.version),
    );
    let rows = within.tx.query(&sql, &[(&members, Type::OID_ARRAY)]).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let grantor: Oid = row.get(2);
            Row {
                id: MembershipId {
                    member: row.get(0),
                    role: row.get(1),
                    grantor: if within.version >= people::GRANTORS { grantor } else { 0 },
                },
                grantor,
                of: row.get(3),
                admin: row.get(4),
                inherits: row.get(5),
                sets: row.get(6),
            }
        })
        .collect())
}

async fn grantors(within: &Within, rows: &[Row]) -> Result<People> {
    people::people(within, &rows.iter().map(|row| row.grantor).collect()).await
}

#[async_trait]
impl Read for Membership {
    type Key = MembershipKey;

    const IN_EACH_DATABASE: bool = false;

    fn asked(reference: &Reference) -> Result<Asked<MembershipKey>, Observation> {
        let key = match reference {
            Reference::Id(id) => MembershipKey::Id(id.parse().map_err(|_| Observation::Absent)?),
            Reference::Key(key) => {
                MembershipKey::Key { member: role_of(key, "to")?, of: text_of(key, "of")? }
            }
        };
        Ok(Asked { database: None, key })
    }

    async fn find(within: &Within, keys: &[MembershipKey]) -> Result<Vec<Observation>> {
        let members: BTreeSet<Oid> = keys
            .iter()
            .map(|key| match key {
                MembershipKey::Id(id) => id.member,
                MembershipKey::Key { member, .. } => *member,
            })
            .collect();
        let masters = people::masters(within, &members).await?;
        let rows = rows(within, &members).await?;
        let people = grantors(within, &rows).await?;
        let mut of_member: BTreeMap<Oid, Vec<&Row>> = BTreeMap::new();
        for row in &rows {
            of_member.entry(row.id.member).or_default().push(row);
        }
        let of_member = |member: &Oid| of_member.get(member).into_iter().flatten().copied();
        let found: Vec<Option<&Row>> = keys
            .iter()
            .map(|key| match key {
                MembershipKey::Id(id) => of_member(&id.member).find(|row| row.id == *id),
                MembershipKey::Key { member, of } => {
                    let all = || of_member(member).filter(|row| row.of == *of);
                    let ours = |row: &&Row| Some(row.grantor) == people.administrators;
                    all().find(ours).or_else(|| all().next())
                }
            })
            .collect();
        let ids: Vec<String> = found.iter().flatten().map(|row| row.id.to_string()).collect();
        let marks = marks::registered(within, Self::TYPE, Some(&ids)).await?;
        Ok(found
            .into_iter()
            .map(|row| {
                let Some(row) = row else { return Observation::Absent };
                let to = masters.get(&row.id.member).copied().unwrap_or(row.id.member);
                let mut object = membership(within, row, to, &people);
                object.mark = marks.get(&object.id).map(|owned| owned.mark.clone());
                Observation::Present(object)
            })
            .collect())
    }

    async fn all(within: &Within, of: Option<&BTreeSet<Oid>>) -> Result<Vec<provider::Object>> {
        let (members, masters) = grantees(within, of).await?;
        let mut rows = rows(within, &members).await?;
        // A login's membership in its own role is the credential.
        rows.retain(|row| masters.get(&row.id.member) != Some(&row.id.role));
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let people = grantors(within, &rows).await?;
        let ids: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
        let mut marks = marks::registered(within, Self::TYPE, Some(&ids)).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let to = masters.get(&row.id.member).copied().unwrap_or(row.id.member);
                let mut object = membership(within, row, to, &people);
                object.mark = marks.remove(&object.id).map(|owned| owned.mark);
                object
            })
            .collect())
    }
}

fn membership(within: &Within, row: &Row, to: Oid, people: &People) -> provider::Object {
    // Before 16 whoever may administer the role takes any membership back; from
    // 16 it takes the rights of whoever gave it, or to become him.
    let obstacle = if within.version < people::GRANTORS {
        None
    } else if row.is_makers() {
        Some(outlives(&row.of))
    } else {
        people.obstacle(row.grantor, true)
    };
    provider::Object {
        id: row.id.to_string(),
        label: Some(format!("in {}, by {}", row.of, people.name(row.grantor))),
        fields: fields([
            ("to", Reading::Known(to.to_string().into())),
            ("of", text(row.of.clone())),
            ("admin", Reading::Known(Value::Bool(row.admin))),
            ("noinherit", Reading::Known(Value::Bool(!row.inherits))),
            ("noset", Reading::Known(Value::Bool(!row.sets))),
            ("grantor", text(people.name(row.grantor))),
        ]),
        suspended: false,
        mark: None,
        obstacle,
    }
}
