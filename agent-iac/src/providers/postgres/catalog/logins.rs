//! Logins: the generations of a role's credential, and who else can act as the
//! role.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Asked, Read, Within, fields,
    ids::{LoginId, MembershipId, Oid},
    marks,
    people::{self, People, inherit_option, set_option},
    roles::{self, Settings},
    text,
};
use crate::{
    address::quoted,
    error::Result,
    provider::{
        self, AtOnce, Capabilities, CredentialCapabilities, Observation, Origin, Reference,
    },
    providers::postgres::{Login, Membership, name::generation_of, server::Type},
    resource::{Reading, Resource as _},
    value::Value,
};

/// A member of a role, whoever gave the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    role: Oid,
    role_name: String,
    member: Oid,
    /// Whether it can `SET ROLE` to it, or inherits from it.
    acts: bool,
    sets: bool,
    /// Who gave it, as the catalog has it.
    grantors: BTreeSet<Oid>,
}

impl Member {
    /// The memberships that it is.
    fn ids(&self, version: u32) -> impl Iterator<Item = MembershipId> {
        let (member, role) = (self.member, self.role);
        self.grantors.iter().map(move |grantor| MembershipId {
            member,
            role,
            grantor: if version >= 16 { *grantor } else { 0 },
        })
    }
}

async fn members(within: &Within, column: &str, oids: &[Oid]) -> Result<Vec<Member>> {
    let (sets, inherits) = (set_option(within.version), inherit_option(within.version));
    let sql = format!(
        "SELECT m.roleid, r.rolname::text, m.member, bool_or({sets} OR {inherits}),
            bool_or({sets}), array_agg(m.grantor)
        FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
        WHERE {column} = ANY ($1) GROUP BY m.roleid, r.rolname, m.member"
    );
    let rows = within.tx.query(&sql, &[(&oids, Type::OID_ARRAY)]).await?;
    Ok(rows
        .iter()
        .map(|row| Member {
            role: row.get(0),
            role_name: row.get(1),
            member: row.get(2),
            acts: row.get(3),
            sets: row.get(4),
            grantors: row.get::<_, Vec<Oid>>(5).into_iter().collect(),
        })
        .collect())
}

/// Why a login does not simply become its role and nothing else; `None` when
/// it does. It is a role of its own, which somebody may have changed.
fn is_itself(
    login: &roles::Row,
    role: &roles::Row,
    sets: bool,
    settings: Option<&Settings>,
    role_settings: Option<&Settings>,
) -> Option<String> {
    let none = Settings::new();
    let (settings, role_settings) = (settings.unwrap_or(&none), role_settings.unwrap_or(&none));
    if !sets {
        return Some(format!("it is no member of {} that can become it", quoted(&role.name)));
    }
    match settings.get("role") {
        Some(becomes) if *becomes == role.name => {}
        Some(becomes) => return Some(format!("it becomes {}", quoted(becomes))),
        None => return Some("its setting `role` is gone".into()),
    }
    let (own, granted) = (login.attributes(), role.attributes());
    if let Some(attribute) = own.difference(&granted).next() {
        return Some(format!("it is {attribute} by itself"));
    }
    let beyond = settings
        .iter()
        .filter(|(name, _)| *name != "role")
        .find(|(name, value)| role_settings.get(*name) != Some(value));
    beyond.map(|(name, value)| {
        format!("its sessions start with {} = {}", quoted(name), quoted(value))
    })
}

#[async_trait]
impl Read for Login {
    type Key = LoginId;

    const IN_EACH_DATABASE: bool = false;

    fn capabilities() -> Capabilities {
        Capabilities {
            credential: Some(CredentialCapabilities {
                origin: Origin::Engine,
                at_once: AtOnce::Many,
                last_use_known: false,
                // The server looks a login up each time.
                propagation: Duration::ZERO,
            }),
            ..super::capabilities()
        }
    }

    fn asked(reference: &Reference) -> Result<Asked<LoginId>, Observation> {
        match reference {
            Reference::Id(id) => {
                let key = id.parse().map_err(|_| Observation::Absent)?;
                Ok(Asked { database: None, key })
            }
            Reference::Key(_) => Err(Observation::Unread("a login is found by its id".into())),
        }
    }

    async fn find(within: &Within, keys: &[LoginId]) -> Result<Vec<Observation>> {
        let oids: Vec<Oid> = keys.iter().map(|key| key.login).collect();
        let members = members(within, "m.member", &oids).await?;
        let found = Logins::of(within, members, &oids).await?;
        Ok(keys
            .iter()
            .map(|key| {
                let object = match key.of {
                    None => found.login(key.login),
                    Some(of) => found
                        .members_of(key.login)
                        .find(|one| one.role == of && one.acts)
                        .and_then(|member| found.member(member)),
                };
                object.map_or(Observation::Absent, Observation::Present)
            })
            .collect())
    }

    /// Whoever can act as one of the roles, by being its direct member: its
    /// own logins, and others. Declared memberships are no credentials.
    async fn all(within: &Within, of: Option<&BTreeSet<Oid>>) -> Result<Vec<provider::Object>> {
        let roles: Vec<Oid> = match of {
            Some(of) => of.iter().copied().collect(),
            None => {
                let condition = "NOT starts_with(r.rolname::text, 'pg_') AND r.oid <> $1";
                let parameters = [(&people::BOOTSTRAP as _, Type::OID)];
                let rows = roles::rows(within, condition, &parameters).await?;
                let managed = rows.into_iter().filter(|row| !within.layout.is_own_role(&row.name));
                managed.map(|row| row.oid).collect()
            }
        };
        let mut members = members(within, "m.roleid", &roles).await?;
        let ids: Vec<String> = members
            .iter()
            .flat_map(|member| member.ids(within.version))
            .map(|id| id.to_string())
            .collect();
        let declared: BTreeSet<(Oid, Oid)> =
            marks::registered(within, Membership::TYPE, Some(&ids))
                .await?
                .keys()
                .filter_map(|id| id.parse::<MembershipId>().ok())
                .map(|id| (id.member, id.role))
                .collect();
        members.retain(|member| member.acts && !declared.contains(&(member.member, member.role)));
        let oids: Vec<Oid> = members.iter().map(|member| member.member).collect();
        let found = Logins::of(within, members, &oids).await?;
        Ok(found
            .members
            .iter()
            .filter_map(|member| {
                let row = found.rows.get(&member.member)?;
                if within.layout.is_own_role(&row.name) {
                    None
                } else if found.marks.contains_key(&member.member.to_string()) {
                    // Its name says nothing: roles are renamed, and anybody
                    // can name a role like a login of ours.
                    found.login(member.member)
                } else {
                    found.member(member)
                }
            })
            .collect())
    }
}

/// Members of roles, with what is known of them and of the roles.
struct Logins {
    /// By the member.
    members: Vec<Member>,
    rows: BTreeMap<Oid, roles::Row>,
    settings: BTreeMap<Oid, Settings>,
    marks: BTreeMap<String, provider::Mark>,
    people: People,
    version: u32,
}

impl Logins {
    async fn of(within: &Within, mut members: Vec<Member>, logins: &[Oid]) -> Result<Self> {
        members.sort_by_key(|member| (member.member, member.role));
        let mut oids: BTreeSet<Oid> = logins.iter().copied().collect();
        oids.extend(members.iter().map(|member| member.role));
        let oids: Vec<Oid> = oids.into_iter().collect();
        let rows = roles::rows(within, "r.oid = ANY ($1)", &[(&oids, Type::OID_ARRAY)]).await?;
        let settings = roles::settings(within, &oids).await?;
        let grantors = members.iter().flat_map(|member| member.grantors.iter().copied());
        let people = people::people(within, &grantors.collect()).await?;
        let ids: Vec<String> = logins.iter().map(ToString::to_string).collect();
        let marks = marks::registered(within, Login::TYPE, Some(&ids)).await?;
        Ok(Self {
            members,
            rows: rows.into_iter().map(|row| (row.oid, row)).collect(),
            settings,
            marks: marks.into_iter().map(|(id, owned)| (id, owned.mark)).collect(),
            people,
            version: within.version,
        })
    }

    /// The memberships of one of them.
    fn members_of(&self, member: Oid) -> impl Iterator<Item = &Member> {
        let from = self.members.partition_point(|one| one.member < member);
        self.members[from..].iter().take_while(move |one| one.member == member)
    }

    /// A role's own login.
    fn login(&self, oid: Oid) -> Option<provider::Object> {
        let row = self.rows.get(&oid)?;
        let of = self
            .members_of(oid)
            .find(|member| generation_of(&member.role_name, &row.name).is_some());
        let of = match of {
            None => format!("{oid}: it is no member of a role that it is named after"),
            Some(member) => {
                let settings = |oid: &Oid| self.settings.get(oid);
                let why = match self.rows.get(&member.role) {
                    Some(role) => {
                        is_itself(row, role, member.sets, settings(&oid), settings(&member.role))
                    }
                    None => Some("its role is gone".into()),
                };
                // One that does not become its role acts as itself.
                why.map_or_else(|| member.role.to_string(), |why| format!("{oid}: {why}"))
            }
        };
        let id = LoginId { login: oid, of: None }.to_string();
        let mark = self.marks.get(&id).cloned();
        Some(self.object(id, of, row, mark, None))
    }

    /// Somebody else's role that can act as one of ours.
    fn member(&self, member: &Member) -> Option<provider::Object> {
        let row = self.rows.get(&member.member)?;
        let id = LoginId { login: member.member, of: Some(member.role) }.to_string();
        let obstacle = if self.version >= 16 {
            member.grantors.iter().find_map(|grantor| self.people.obstacle(*grantor, true))
        } else {
            None
        };
        Some(self.object(id, member.role.to_string(), row, None, obstacle))
    }

    fn object(
        &self,
        id: String,
        of: String,
        row: &roles::Row,
        mark: Option<provider::Mark>,
        obstacle: Option<String>,
    ) -> provider::Object {
        let limit = row.connection_limit.map_or(Value::Null, |limit| Value::Int(limit.into()));
        provider::Object {
            id,
            fields: fields([
                ("of", text(of)),
                ("connection_limit", Reading::Known(limit)),
                ("user", text(row.name.clone())),
                ("oid", Reading::Known(row.oid.to_string().into())),
            ]),
            suspended: false,
            mark,
            obstacle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> roles::Row {
        roles::Row {
            oid: 1,
            name: name.into(),
            inherits: true,
            createdb: false,
            createrole: false,
            bypassrls: false,
            replication: false,
            superuser: false,
            login: true,
            connection_limit: None,
            valid_until: None,
        }
    }

    #[test]
    fn a_login_that_does_more_than_become_its_role_is_itself() {
        let settings = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        let role = row("reader");
        let becomes: Settings = settings(&[("role", "reader")]);
        let check = |login: &roles::Row, sets, own: &Settings, of: &Settings| {
            is_itself(login, &role, sets, Some(own), Some(of))
        };
        let plain = row("reader__g1");
        assert_eq!(check(&plain, true, &becomes, &Settings::new()), None);
        let with: Settings = settings(&[("role", "reader"), ("work_mem", "1GB")]);
        assert_eq!(check(&plain, true, &with, &settings(&[("work_mem", "1GB")])), None);
        for (login, sets, own, says) in [
            (row("reader__g1"), false, becomes.clone(), "no member"),
            (row("reader__g1"), true, Settings::new(), "`role` is gone"),
            (row("reader__g1"), true, settings(&[("role", "dba")]), "becomes `dba`"),
            (row("reader__g1"), true, with, "`work_mem` = `1GB`"),
            (
                roles::Row { superuser: true, ..row("reader__g1") },
                true,
                becomes.clone(),
                "it is superuser",
            ),
        ] {
            let why = check(&login, sets, &own, &Settings::new());
            assert!(why.as_ref().is_some_and(|why| why.contains(says)), "{why:?}, not {says}");
        }
    }
}
