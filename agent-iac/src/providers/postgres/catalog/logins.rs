//! Logins: the generations of a role's credential, and who else can act as the
//! role.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Asked, Read, Within,
    detail::{self, LoginDetail, RoleDetail},
    fields,
    ids::{LoginId, MembershipId, Oid},
    marks, optional_text,
    people::{self, People, inherit_option, set_option},
    roles::{self, Settings},
    text, verifiers,
};
use crate::{
    address::quoted,
    error::Result,
    provider::{
        self, AtOnce, Capabilities, CredentialCapabilities, Observation, Origin, Reference,
    },
    providers::postgres::{
        Login, Membership, Role,
        name::generation_of,
        server::{Type, registry::Owned},
    },
    resource::{Reading, Resource as _},
    value::Value,
};

/// A member of a role, whoever gave the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_field_names, reason = "`member` is what the catalog calls it")]
struct Member {
    role: Oid,
    role_name: String,
    member: Oid,
    /// Whether it can `SET ROLE` to it.
    sets: bool,
    /// Whether it has what the role has, without that.
    inherits: bool,
    /// Whether it can give the role to others, and so to itself.
    gives: bool,
    /// Who gave it, as the catalog has it.
    grantors: BTreeSet<Oid>,
}

impl Member {
    /// Whether it can act as the role, or make itself able to.
    fn acts(&self) -> bool {
        self.sets || self.inherits || self.gives
    }

    /// The memberships that it is.
    fn ids(&self, version: u32) -> impl Iterator<Item = MembershipId> {
        let (member, role) = (self.member, self.role);
        self.grantors.iter().map(move |grantor| MembershipId {
            member,
            role,
            grantor: if version >= people::GRANTORS { *grantor } else { 0 },
        })
    }
}

async fn members(within: &Within, column: &str, oids: &[Oid]) -> Result<Vec<Member>> {
    let (sets, inherits) = (set_option(within.version), inherit_option(within.version));
    let sql = format!(
        "SELECT m.roleid, r.rolname::text, m.member, bool_or({sets}), bool_or({inherits}),
            bool_or(m.admin_option), array_agg(m.grantor)
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
            sets: row.get(3),
            inherits: row.get(4),
            gives: row.get(5),
            grantors: row.get::<_, Vec<Oid>>(6).into_iter().collect(),
        })
        .collect())
}

/// A login or its role, with what its sessions start with.
#[derive(Clone, Copy)]
struct Side<'a> {
    row: &'a roles::Row,
    settings: &'a Settings,
}

/// What sessions start with, but for the role that they become.
fn beside_role(settings: &Settings) -> impl Iterator<Item = (&String, &String)> {
    settings.iter().filter(|(name, _)| name.split('@').next() != Some("role"))
}

/// What a login's sessions start with that is not as its role has it.
fn otherwise(login: &Settings, role: &Settings) -> Option<String> {
    if let Some((name, value)) =
        beside_role(login).find(|(name, value)| role.get(*name) != Some(value))
    {
        return Some(format!("its sessions start with {} = {}", quoted(name), quoted(value)));
    }
    let (name, value) = beside_role(role).find(|(name, _)| !login.contains_key(*name))?;
    Some(format!("its sessions start without {} = {}", quoted(name), quoted(value)))
}

/// Why a login does not simply become its role and nothing else; `None` when
/// it does. It is a role of its own, which somebody may have changed.
fn is_itself(
    login: Side<'_>,
    role: Side<'_>,
    member: &Member,
    declared: Option<&Settings>,
    is_off: bool,
    is_changed: bool,
) -> Option<String> {
    let name = quoted(&role.row.name);
    if !member.sets {
        return Some(format!("it is no member of {name} that can become it"));
    }
    if !member.inherits {
        return Some(format!("it has nothing of {name} when it logs in"));
    }
    if member.gives {
        return Some(format!("it can let others become {name}"));
    }
    if !login.row.login && !is_off {
        return Some("it may not log in".into());
    }
    if is_changed {
        return Some("its password is another one than it was made with".into());
    }
    match login.settings.get("role") {
        Some(becomes) if *becomes == role.row.name => {}
        Some(becomes) => return Some(format!("it becomes {}", quoted(becomes))),
        None => return Some("its setting `role` is gone".into()),
    }
    if let Some(elsewhere) = login.settings.keys().find(|name| name.starts_with("role@")) {
        return Some(format!("it has the setting {}", quoted(elsewhere)));
    }
    let (own, granted) = (login.row.attributes(), role.row.attributes());
    if let Some(attribute) = own.difference(&granted).next() {
        return Some(format!("it is {attribute} by itself"));
    }
    if role.row.replication && !login.row.replication {
        return Some("it may not replicate as its role may".into());
    }
    // Where somebody changed the role's, that is the role's drift: the login is
    // as it was made.
    otherwise(login.settings, role.settings)
        .filter(|_| declared.is_none_or(|declared| otherwise(login.settings, declared).is_some()))
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
                        .find(|one| one.role == of && one.acts())
                        .and_then(|member| found.member(member)),
                };
                object.map_or(Observation::Absent, Observation::Present)
            })
            .collect())
    }

    /// Whoever can act as one of the roles, or let himself, by being its direct
    /// member: its own logins, and others. Declared memberships are no credentials.
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
        let declared = declared(within, &members).await?;
        members.retain(|member| member.acts() && !declared.contains(&(member.member, member.role)));
        if members.is_empty() {
            return Ok(Vec::new());
        }
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

/// What is registered of some roles.
async fn details(within: &Within, roles: &BTreeSet<Oid>) -> Result<BTreeMap<Oid, RoleDetail>> {
    let ids: Vec<String> = roles.iter().map(ToString::to_string).collect();
    let registered = marks::registered(within, Role::TYPE, Some(&ids)).await?;
    let detail = |(id, owned): (String, Owned)| {
        Some((id.parse().ok()?, detail::read::<RoleDetail>(owned.detail.as_deref())))
    };
    Ok(registered.into_iter().filter_map(detail).collect())
}

/// The memberships that a fleet declared in a role of its own, or of nobody's:
/// member and role. What another fleet declared in a role is not declared there.
async fn declared(within: &Within, members: &[Member]) -> Result<BTreeSet<(Oid, Oid)>> {
    let ids: Vec<String> = members
        .iter()
        .flat_map(|member| member.ids(within.version))
        .map(|id| id.to_string())
        .collect();
    let registered = marks::registered(within, Membership::TYPE, Some(&ids)).await?;
    let found: Vec<(MembershipId, provider::Mark)> = registered
        .into_iter()
        .filter_map(|(id, owned)| Some((id.parse().ok()?, owned.mark)))
        .collect();
    let roles: BTreeSet<String> = found.iter().map(|(id, _)| id.role.to_string()).collect();
    let roles: Vec<String> = roles.into_iter().collect();
    let owners = marks::registered(within, Role::TYPE, Some(&roles)).await?;
    let is_its_own =
        |(id, mark): &(MembershipId, provider::Mark)| match owners.get(&id.role.to_string()) {
            Some(owner) => {
                (&owner.mark.fleet, &owner.mark.environment) == (&mark.fleet, &mark.environment)
            }
            None => true,
        };
    Ok(found.into_iter().filter(is_its_own).map(|(id, _)| (id.member, id.role)).collect())
}

/// Members of roles, with what is known of them and of the roles.
struct Logins {
    /// By the member.
    members: Vec<Member>,
    rows: BTreeMap<Oid, roles::Row>,
    settings: BTreeMap<Oid, Settings>,
    marks: BTreeMap<String, provider::Mark>,
    people: People,
    /// What is registered of the roles of those that are not simply as their
    /// roles are.
    details: BTreeMap<Oid, RoleDetail>,
    /// Those that were switched off with their role. Those of a suspension that
    /// was cut off are not among them: nothing would say that they are locked out.
    off: BTreeSet<Oid>,
    /// Those that have another password than they were made with.
    changed: BTreeSet<Oid>,
    /// When each one's lease ends.
    leases: BTreeMap<String, String>,
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
        let mut made = BTreeMap::new();
        let mut leases = BTreeMap::new();
        for (id, owned) in &marks {
            let detail: LoginDetail = detail::read(owned.detail.as_deref());
            if let (Ok(oid), Some(verifier)) = (id.parse(), detail.verifier) {
                made.insert(oid, verifier);
            }
            if let Some(lease) = detail.lease {
                leases.insert(id.clone(), lease);
            }
        }
        let changed = verifiers::changed(within, &made).await?;
        let cannot: BTreeSet<Oid> =
            rows.iter().filter(|row| !row.login).map(|row| row.oid).collect();
        let none = Settings::new();
        let of = |oid: &Oid| settings.get(oid).unwrap_or(&none);
        let asked = members.iter().filter(|member| {
            cannot.contains(&member.member)
                || marks.contains_key(&member.member.to_string())
                    && otherwise(of(&member.member), of(&member.role)).is_some()
        });
        let details = details(within, &asked.map(|member| member.role).collect()).await?;
        let off =
            details.values().filter_map(|detail| detail.suspended.clone()).flatten().collect();
        Ok(Self {
            members,
            details,
            off,
            changed,
            rows: rows.into_iter().map(|row| (row.oid, row)).collect(),
            settings,
            marks: marks.into_iter().map(|(id, owned)| (id, owned.mark)).collect(),
            people,
            leases,
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
                let none = Settings::new();
                let settings = |oid: &Oid| self.settings.get(oid).unwrap_or(&none);
                let login = Side { row, settings: settings(&oid) };
                let why = match self.rows.get(&member.role) {
                    Some(role) => {
                        let role = Side { row: role, settings: settings(&member.role) };
                        let (off, changed) = (self.off.contains(&oid), self.changed.contains(&oid));
                        let detail = self.details.get(&member.role);
                        let declared = detail.and_then(|detail| detail.settings.as_ref());
                        is_itself(login, role, member, declared, off, changed)
                    }
                    None => Some("its role is gone".into()),
                };
                // One that does not become its role acts as itself.
                why.map_or_else(|| member.role.to_string(), |why| format!("{oid}: {why}"))
            }
        };
        let id = LoginId { login: oid, of: None }.to_string();
        let mark = self.marks.get(&id).cloned();
        let until = row.valid_until.as_ref().filter(|until| self.leases.get(&id) != Some(until));
        let row = &roles::Row { valid_until: until.cloned(), ..row.clone() };
        Some(Self::object(id, of, row, mark, None))
    }

    /// Somebody else's role that can act as one of ours.
    fn member(&self, member: &Member) -> Option<provider::Object> {
        let row = self.rows.get(&member.member)?;
        let id = LoginId { login: member.member, of: Some(member.role) }.to_string();
        let obstacle = if self.version >= people::GRANTORS {
            member.grantors.iter().find_map(|grantor| self.people.obstacle(*grantor, true))
        } else {
            None
        };
        Some(Self::object(id, member.role.to_string(), row, None, obstacle))
    }

    fn object(
        id: String,
        of: String,
        row: &roles::Row,
        mark: Option<provider::Mark>,
        obstacle: Option<String>,
    ) -> provider::Object {
        let limit = row.connection_limit.map_or(Value::Null, |limit| Value::Int(limit.into()));
        provider::Object {
            id,
            label: Some(row.name.clone()),
            fields: fields([
                ("of", text(of)),
                ("connection_limit", Reading::Known(limit)),
                ("valid_until", optional_text(row.valid_until.clone())),
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
    fn a_login_that_does_more_or_less_than_become_its_role_is_itself() {
        let settings = |pairs: &[(&str, &str)]| -> Settings {
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        let becomes = settings(&[("role", "reader")]);
        let with = settings(&[("role", "reader"), ("work_mem", "1GB")]);
        let large = settings(&[("work_mem", "1GB")]);
        let plain = row("reader__g1");
        let member = Member {
            role: 2,
            role_name: "reader".into(),
            member: 1,
            sets: true,
            inherits: true,
            gives: false,
            grantors: BTreeSet::from([10]),
        };
        let role = row("reader");
        let check = |login: &roles::Row, own: &Settings, of: &Settings, member: &Member, off| {
            let login = Side { row: login, settings: own };
            is_itself(login, Side { row: &role, settings: of }, member, None, off, false)
        };
        assert_eq!(check(&plain, &becomes, &Settings::new(), &member, false), None);
        assert_eq!(check(&plain, &with, &large, &member, false), None);
        let off = roles::Row { login: false, ..plain.clone() };
        assert_eq!(check(&off, &becomes, &Settings::new(), &member, true), None);
        let of_role = settings(&[("role", "dba")]);
        assert_eq!(check(&plain, &becomes, &of_role, &member, false), None);

        // The role's were changed, and the login has what was declared.
        let side = |settings| Side { row: &plain, settings };
        let of = Side { row: &role, settings: &large };
        for (own, declared, is_itself_then) in [
            (&becomes, Some(&of_role), true),
            (&becomes, Some(&large), false),
            (&with, Some(&becomes), true),
            (&becomes, None, false),
        ] {
            let why = is_itself(side(own), of, &member, declared, false, false);
            assert_eq!(why.is_none(), is_itself_then, "{own:?} {declared:?}: {why:?}");
        }

        let none = Settings::new();
        let elsewhere = settings(&[("role", "reader"), ("role@app", "dba")]);
        let superuser = roles::Row { superuser: true, ..plain.clone() };
        let cannot = Member { sets: false, ..member.clone() };
        let has_not = Member { inherits: false, ..member.clone() };
        let gives = Member { gives: true, ..member.clone() };
        for (login, own, of, member, says) in [
            (&plain, &becomes, &none, &cannot, "no member"),
            (&plain, &becomes, &none, &has_not, "nothing of `reader`"),
            (&plain, &becomes, &none, &gives, "let others become `reader`"),
            (&off, &becomes, &none, &member, "may not log in"),
            (&plain, &none, &none, &member, "`role` is gone"),
            (&plain, &of_role, &none, &member, "becomes `dba`"),
            (&plain, &elsewhere, &none, &member, "the setting `role@app`"),
            (&plain, &with, &none, &member, "start with `work_mem` = `1GB`"),
            (&plain, &becomes, &large, &member, "start without `work_mem` = `1GB`"),
            (&superuser, &becomes, &none, &member, "it is superuser"),
        ] {
            let why = check(login, own, of, member, false);
            assert!(why.as_ref().is_some_and(|why| why.contains(says)), "{why:?}, not {says}");
        }
    }
}
