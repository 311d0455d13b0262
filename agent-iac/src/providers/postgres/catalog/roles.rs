//! Roles.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::future::try_join;

use super::{
    Asked, Read, Within,
    detail::{self, RoleDetail},
    fields,
    ids::Oid,
    marks, optional_text,
    people::{self, BOOTSTRAP, People},
    text, text_of,
};
use crate::{
    address::is_printable,
    error::Result,
    provider::{self, Capabilities, Observation, Permission, Reference, Surrounded, Surroundings},
    providers::postgres::{
        Role,
        name::MAX_NAME,
        reach,
        server::{Parameter, Type, registry::Owned},
        view::View,
    },
    resource::{Reading, Resource as _},
    value::Value,
};

/// What finds a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum RoleKey {
    Oid(Oid),
    Name(String),
}

/// A role as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Row {
    pub(in super::super) oid: Oid,
    pub(in super::super) name: String,
    pub(in super::super) inherits: bool,
    pub(in super::super) createdb: bool,
    pub(in super::super) createrole: bool,
    pub(in super::super) bypassrls: bool,
    pub(in super::super) replication: bool,
    pub(in super::super) superuser: bool,
    pub(in super::super) login: bool,
    pub(in super::super) connection_limit: Option<i32>,
    pub(in super::super) valid_until: Option<String>,
}

impl Row {
    /// What it has beyond any role, by the words of a declaration.
    pub(in super::super) fn attributes(&self) -> BTreeSet<&'static str> {
        let all = [
            ("superuser", self.superuser),
            ("createrole", self.createrole),
            ("createdb", self.createdb),
            ("bypassrls", self.bypassrls),
            ("replication", self.replication),
        ];
        all.into_iter().filter(|(_, has)| *has).map(|(word, _)| word).collect()
    }
}

/// The parameters that sessions of a role start with, as a declaration has
/// them.
pub(in super::super) type Settings = BTreeMap<String, String>;

/// Reads roles.
pub(in super::super) async fn rows(
    within: &Within,
    condition: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT r.oid, r.rolname::text, r.rolinherit, r.rolcreatedb, r.rolcreaterole,
            r.rolbypassrls, r.rolreplication, r.rolsuper, r.rolcanlogin,
            nullif(r.rolconnlimit, -1), nullif(r.rolvaliduntil, 'infinity')::text
        FROM pg_roles r WHERE {condition}"
    );
    let rows = within.tx.query(&sql, parameters).await?;
    Ok(rows
        .iter()
        .map(|row| Row {
            oid: row.get(0),
            name: row.get(1),
            inherits: row.get(2),
            createdb: row.get(3),
            createrole: row.get(4),
            bypassrls: row.get(5),
            replication: row.get(6),
            superuser: row.get(7),
            login: row.get(8),
            connection_limit: row.get(9),
            valid_until: row.get(10),
        })
        .collect())
}

/// Reads what the sessions of some roles start with.
pub(in super::super) async fn settings(
    within: &Within,
    roles: &[Oid],
) -> Result<BTreeMap<Oid, Settings>> {
    let sql = "SELECT s.setrole, d.datname::text, s.setconfig
        FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
        WHERE s.setrole = ANY ($1)";
    let rows = within.tx.query(sql, &[(&roles, Type::OID_ARRAY)]).await?;
    let mut settings: BTreeMap<Oid, Settings> = BTreeMap::new();
    for row in &rows {
        let database: Option<&str> = row.get(1);
        let of = settings.entry(row.get(0)).or_default();
        for setting in row.get::<_, Vec<String>>(2) {
            let (name, value) = setting.split_once('=').unwrap_or((&setting, ""));
            // The server keeps `TimeZone`, and takes it in any case.
            let name = name.to_ascii_lowercase();
            let name = match database {
                Some(database) => format!("{name}@{database}"),
                None => name,
            };
            of.insert(name, value.to_owned());
        }
    }
    Ok(settings)
}

/// What is known of some roles beside their rows.
struct Beside {
    settings: BTreeMap<Oid, Settings>,
    registered: BTreeMap<String, Owned>,
    /// The roles that the admin option of a role is with.
    admins: BTreeMap<Oid, BTreeSet<Oid>>,
    people: People,
    /// The roles of which some login can log in.
    at_work: BTreeSet<Oid>,
}

impl Beside {
    async fn of(within: &Within, rows: &[Row]) -> Result<Self> {
        let oids: Vec<Oid> = rows.iter().map(|row| row.oid).collect();
        let ids: Vec<String> = oids.iter().map(ToString::to_string).collect();
        let (settings, admins) = try_join(settings(within, &oids), admins(within, &oids)).await?;
        let registered = marks::registered(within, Role::TYPE, Some(&ids)).await?;
        let people = people::people(within, &admins.values().flatten().copied().collect()).await?;
        let suspended: BTreeSet<Oid> = rows
            .iter()
            .filter(|row| suspended(registered.get(&row.oid.to_string())).is_some())
            .map(|row| row.oid)
            .collect();
        let at_work = at_work(within, &suspended).await?;
        Ok(Self { settings, registered, admins, people, at_work })
    }

    fn role(&self, within: &Within, row: &Row) -> provider::Object {
        let owned = self.registered.get(&row.oid.to_string());
        let detail: RoleDetail = detail::read(owned.and_then(|owned| owned.detail.as_deref()));
        // One that logs in again, itself or by a login, is not suspended,
        // whatever was registered.
        let off = detail.suspended.filter(|_| !row.login && !self.at_work.contains(&row.oid));
        // One that stops logging in is only done when its sessions have ended.
        let login =
            row.login || detail.retiring || off.as_ref().is_some_and(|off| off.contains(&row.oid));
        let flag = |is| Reading::Known(Value::Bool(is));
        let limit = row.connection_limit.map_or(Value::Null, |limit| Value::Int(limit.into()));
        let nobody = BTreeSet::new();
        let admins = self.admins.get(&row.oid).unwrap_or(&nobody);
        provider::Object {
            id: row.oid.to_string(),
            label: Some(row.name.clone()),
            fields: fields([
                ("name", text(row.name.clone())),
                ("noinherit", flag(!row.inherits)),
                ("createdb", flag(row.createdb)),
                ("createrole", flag(row.createrole)),
                ("bypassrls", flag(row.bypassrls)),
                ("replication", flag(row.replication)),
                ("superuser", flag(row.superuser)),
                ("login", flag(login)),
                ("connection_limit", Reading::Known(limit)),
                ("valid_until", optional_text(row.valid_until.clone())),
                ("settings", shown(self.settings.get(&row.oid))),
                ("heir", optional_text(detail.heir)),
                ("oid", Reading::Known(row.oid.to_string().into())),
            ]),
            suspended: off.is_some(),
            mark: owned.map(|owned| owned.mark.clone()),
            obstacle: self.people.not_administered(
                &row.name,
                row.superuser,
                admins,
                within.version,
            ),
        }
    }
}

fn suspended(owned: Option<&Owned>) -> Option<BTreeSet<Oid>> {
    detail::read::<RoleDetail>(owned?.detail.as_deref()).suspended
}

fn shown(settings: Option<&Settings>) -> Reading {
    let none = Settings::new();
    let settings = settings.unwrap_or(&none);
    if settings.iter().all(|(name, value)| is_printable(name) && is_printable(value)) {
        let entries = settings.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        Reading::Known(Value::Map(entries.collect()))
    } else {
        Reading::Unreadable("a setting holds characters that cannot be shown".into())
    }
}

async fn admins(within: &Within, roles: &[Oid]) -> Result<BTreeMap<Oid, BTreeSet<Oid>>> {
    let sql = "SELECT DISTINCT m.roleid, m.member FROM pg_auth_members m
        WHERE m.roleid = ANY ($1) AND m.admin_option";
    let rows = within.tx.query(sql, &[(&roles, Type::OID_ARRAY)]).await?;
    let mut admins: BTreeMap<Oid, BTreeSet<Oid>> = BTreeMap::new();
    for row in &rows {
        admins.entry(row.get(0)).or_default().insert(row.get(1));
    }
    Ok(admins)
}

async fn at_work(within: &Within, roles: &BTreeSet<Oid>) -> Result<BTreeSet<Oid>> {
    if roles.is_empty() {
        return Ok(BTreeSet::new());
    }
    let logins = people::logins(within, roles).await?;
    let oids: Vec<Oid> = logins.keys().copied().collect();
    let sql = "SELECT oid FROM pg_roles WHERE oid = ANY ($1) AND rolcanlogin";
    let rows = within.tx.query(sql, &[(&oids, Type::OID_ARRAY)]).await?;
    Ok(rows.iter().map(|row| logins[&row.get::<_, Oid>(0)]).collect())
}

#[async_trait]
impl Read for Role {
    type Key = RoleKey;

    const IN_EACH_DATABASE: bool = false;

    fn capabilities() -> Capabilities {
        Capabilities { suspends: true, ..super::capabilities() }
    }

    fn asked(reference: &Reference) -> Result<Asked<RoleKey>, Observation> {
        let key = match reference {
            Reference::Id(id) => RoleKey::Oid(id.parse().map_err(|_| Observation::Absent)?),
            Reference::Key(key) => RoleKey::Name(text_of(key, "name")?),
        };
        Ok(Asked { database: None, key })
    }

    async fn find(within: &Within, keys: &[RoleKey]) -> Result<Vec<Observation>> {
        let mut oids: Vec<Oid> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for key in keys {
            match key {
                RoleKey::Oid(oid) => oids.push(*oid),
                // What is too long for a name would be cut to another one.
                RoleKey::Name(name) if name.len() > MAX_NAME || name.contains('\0') => {}
                RoleKey::Name(name) => names.push(name),
            }
        }
        let parameters: [Parameter<'_>; 2] = [(&oids, Type::OID_ARRAY), (&names, Type::NAME_ARRAY)];
        let rows = match (oids.is_empty(), names.is_empty()) {
            (true, true) => Vec::new(),
            (false, true) => rows(within, "r.oid = ANY ($1)", &parameters[..1]).await?,
            (true, false) => rows(within, "r.rolname = ANY ($1)", &parameters[1..]).await?,
            (false, false) => {
                rows(within, "r.oid = ANY ($1) OR r.rolname = ANY ($2)", &parameters).await?
            }
        };
        let beside = Beside::of(within, &rows).await?;
        let by_oid: BTreeMap<Oid, &Row> = rows.iter().map(|row| (row.oid, row)).collect();
        let by_name: BTreeMap<&str, &Row> =
            rows.iter().map(|row| (row.name.as_str(), row)).collect();
        Ok(keys
            .iter()
            .map(|key| {
                let row = match key {
                    RoleKey::Oid(oid) => by_oid.get(oid),
                    RoleKey::Name(name) => by_name.get(name.as_str()),
                };
                row.map_or(Observation::Absent, |row| {
                    Observation::Present(beside.role(within, row))
                })
            })
            .collect())
    }

    async fn surroundings(
        view: &View,
        of: &[Surrounded],
        everybody: &[Permission],
    ) -> Result<Surroundings> {
        reach::surroundings(view, of, everybody).await
    }

    async fn all(within: &Within, of: Option<&BTreeSet<Oid>>) -> Result<Vec<provider::Object>> {
        let rows = match of {
            Some(of) => {
                let oids: Vec<Oid> = of.iter().copied().collect();
                rows(within, "r.oid = ANY ($1)", &[(&oids, Type::OID_ARRAY)]).await?
            }
            None => {
                let condition = "NOT starts_with(r.rolname::text, 'pg_') AND r.oid <> $1";
                let mut rows = rows(within, condition, &[(&BOOTSTRAP, Type::OID)]).await?;
                let oids = rows.iter().map(|row| row.oid).collect();
                // A login of a role that there is, is a credential.
                let logins = people::logins(within, &oids).await?;
                rows.retain(|row| {
                    within.layout.is_in_scope(&row.name)
                        && !within.layout.is_own_role(&row.name)
                        && !logins.contains_key(&row.oid)
                });
                rows
            }
        };
        let beside = Beside::of(within, &rows).await?;
        Ok(rows.iter().map(|row| beside.role(within, row)).collect())
    }
}
