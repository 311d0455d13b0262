//! Row policies.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{
    Asked, Read, Within,
    beside::{self, Beside},
    detail::{self, Expression, PolicyDetail},
    fields,
    grants::grantees,
    ids::{Oid, PolicyId},
    marks, object, object_of, optional_text,
    people::{self, People},
    text, text_of,
};
use crate::{
    address::{is_printable, quoted},
    error::{Error, ErrorKind, Result},
    provider::{self, Observation, Reference},
    providers::postgres::{
        Command, Object, Policy, Table,
        name::ident,
        server::{Type, registry::Owned},
    },
    resource::{Property as _, Reading, Resource as _},
    value::Value,
};

/// What finds a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum PolicyKey {
    Oid(Oid),
    Name { on: Object, name: String },
}

/// A policy as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    oid: Oid,
    on: Object,
    name: String,
    command: Command,
    restrictive: bool,
    /// The roles that it is for; 0 is everybody.
    roles: Vec<Oid>,
    using: Option<String>,
    check: Option<String>,
    owner: Oid,
    /// Whether the table's policies hold at all.
    holds: bool,
}

impl Row {
    fn id(&self, within: &Within) -> PolicyId {
        PolicyId { policy: self.oid, database: within.database.clone() }
    }
}

async fn rows(
    within: &Within,
    condition: &str,
    parameter: (&(dyn tokio_postgres::types::ToSql + Sync), Type),
) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT p.oid, n.nspname::text, c.relname::text, p.polname::text, p.polcmd::text,
            NOT p.polpermissive, p.polroles, pg_get_expr(p.polqual, p.polrelid),
            pg_get_expr(p.polwithcheck, p.polrelid), c.relowner, c.relrowsecurity
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {condition} ORDER BY p.oid"
    );
    let rows = within.tx.query(&sql, &[parameter]).await?;
    rows.iter()
        .map(|row| {
            let letter: &str = row.get(4);
            let command = Command::of_letter(letter).ok_or_else(|| {
                Error::new(
                    ErrorKind::Unsupported,
                    format!("the server has a policy for a command that is not known: {letter}"),
                )
                .help("use a version of agent-iac that knows this version of PostgreSQL")
            })?;
            let on = Table::new(row.get::<_, String>(1), row.get::<_, String>(2));
            Ok(Row {
                oid: row.get(0),
                on: Object { database: within.database.clone(), ..on },
                name: row.get(3),
                command,
                restrictive: row.get(5),
                roles: row.get(6),
                using: row.get(7),
                check: row.get(8),
                owner: row.get(9),
                holds: row.get(10),
            })
        })
        .collect()
}

async fn people_of(within: &Within, rows: &[Row]) -> Result<People> {
    let oids = rows.iter().flat_map(|row| row.roles.iter().copied().chain([row.owner]));
    people::people(within, &oids.collect()).await
}

#[async_trait]
impl Read for Policy {
    type Key = PolicyKey;

    const IN_EACH_DATABASE: bool = true;

    fn asked(reference: &Reference) -> Result<Asked<PolicyKey>, Observation> {
        match reference {
            Reference::Id(id) => {
                let id: PolicyId = id.parse().map_err(|_| Observation::Absent)?;
                Ok(Asked { database: id.database, key: PolicyKey::Oid(id.policy) })
            }
            Reference::Key(key) => {
                let on = object_of(key, "on")?;
                let database = on.database.clone();
                Ok(Asked { database, key: PolicyKey::Name { on, name: text_of(key, "name")? } })
            }
        }
    }

    async fn find(within: &Within, keys: &[PolicyKey]) -> Result<Vec<Observation>> {
        let mut oids: Vec<Oid> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for key in keys {
            match key {
                PolicyKey::Oid(oid) => oids.push(*oid),
                PolicyKey::Name { name, .. } => names.push(name),
            }
        }
        let mut rows = if oids.is_empty() {
            Vec::new()
        } else {
            rows(within, "p.oid = ANY ($1)", (&oids, Type::OID_ARRAY)).await?
        };
        if !names.is_empty() {
            let condition = "p.polname::text = ANY ($1)";
            rows.extend(self::rows(within, condition, (&names, Type::TEXT_ARRAY)).await?);
        }
        let by_oid: BTreeMap<Oid, &Row> = rows.iter().map(|row| (row.oid, row)).collect();
        let by_name: BTreeMap<(&Object, &str), &Row> =
            rows.iter().map(|row| ((&row.on, row.name.as_str()), row)).collect();
        let people = people_of(within, &rows).await?;
        let roles = rows.iter().flat_map(|row| row.roles.iter().copied()).collect();
        let masters = people::masters(within, &roles).await?;
        let pairs = rows.iter().filter_map(|row| match row.roles.as_slice() {
            [role] => Some((row.oid, masters.get(role).copied().unwrap_or(*role))),
            _ => None,
        });
        let besides = beside::of(within, &pairs.collect()).await?;
        let marks =
            marks::registered(within, Self::TYPE, Some(&ids(within, &rows, &besides))).await?;
        Ok(keys
            .iter()
            .map(|key| {
                let row = match key {
                    PolicyKey::Oid(oid) => by_oid.get(oid),
                    PolicyKey::Name { on, name } => by_name.get(&(on, name.as_str())),
                };
                let Some(row) = row else { return Observation::Absent };
                let to = match row.roles.as_slice() {
                    [0] => Reading::Unreadable("it is for everybody".into()),
                    [role] => {
                        let role = masters.get(role).unwrap_or(role);
                        Reading::Known(role.to_string().into())
                    }
                    _ => Reading::Unreadable(format!("it is for {}", names_of(row, &people))),
                };
                Observation::Present(policy(within, row, to, &besides, &marks, &people))
            })
            .collect())
    }

    async fn all(within: &Within, of: Option<&BTreeSet<Oid>>) -> Result<Vec<provider::Object>> {
        let (asked, masters) = grantees(within, of).await?;
        let roles: Vec<Oid> = asked.iter().copied().collect();
        let condition = "p.polroles && $1::oid[]";
        let rows = rows(within, condition, (&roles, Type::OID_ARRAY)).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let people = people_of(within, &rows).await?;
        let of_row = |row: &Row| -> BTreeSet<Oid> {
            let asked = row.roles.iter().filter(|role| asked.contains(role));
            asked.map(|role| masters.get(role).copied().unwrap_or(*role)).collect()
        };
        let pairs = rows.iter().flat_map(|row| of_row(row).into_iter().map(|role| (row.oid, role)));
        let besides = beside::of(within, &pairs.collect()).await?;
        let marks =
            marks::registered(within, Self::TYPE, Some(&ids(within, &rows, &besides))).await?;
        let mut objects = Vec::new();
        for row in &rows {
            for role in of_row(row) {
                let to = Reading::Known(role.to_string().into());
                objects.push(policy(within, row, to, &besides, &marks, &people));
            }
        }
        Ok(objects)
    }
}

fn names_of(row: &Row, people: &People) -> String {
    let names = row.roles.iter().map(|role| match role {
        0 => "everybody".to_owned(),
        role => quoted(&people.name(*role)),
    });
    names.collect::<Vec<_>>().join(" and ")
}

/// The ids of policies, and of those beside them.
fn ids(within: &Within, rows: &[Row], besides: &Besides) -> Vec<String> {
    let own = rows.iter().map(|row| row.id(within).to_string());
    let beside = besides.values().flat_map(|beside| beside.policies.values());
    let ids: BTreeSet<String> = own.chain(beside.map(|(id, _)| id.clone())).collect();
    ids.into_iter().collect()
}

type Besides = BTreeMap<(Oid, Oid), Beside>;

fn policy(
    within: &Within,
    row: &Row,
    to: Reading,
    besides: &Besides,
    marks: &BTreeMap<String, Owned>,
    people: &People,
) -> provider::Object {
    let owned = marks.get(&row.id(within).to_string());
    let detail: PolicyDetail = detail::read(owned.and_then(|owned| owned.detail.as_deref()));
    let role = match &to {
        Reading::Known(role) => role.as_text().and_then(|role| role.parse().ok()),
        _ => None,
    };
    let none = Beside::default();
    let beside = role.and_then(|role| besides.get(&(row.oid, role))).unwrap_or(&none);
    let holds = row.holds && !beside.is_owner;
    // What a fleet declares is told as its own.
    let others = beside.policies.iter().filter(|(_, (id, _))| !marks.contains_key(id));
    let others: BTreeMap<String, Value> =
        others.map(|(name, (_, line))| (name.clone(), Value::Text(line.clone()))).collect();
    let others = if others.keys().all(|name| is_printable(name)) {
        Reading::Known(Value::Map(others))
    } else {
        Reading::Unreadable("a name holds characters that cannot be shown".into())
    };
    let expression = |now: &Option<String>, declared: Option<&Expression>| match now {
        // A table whose row security is off lets every row through, and one
        // that is not forced lets its owner see all.
        Some(_) if !holds => Reading::Known("true".into()),
        Some(now) => match declared.filter(|declared| declared.server == *now) {
            Some(declared) => text(declared.declared.clone()),
            None => text(now.clone()),
        },
        None => optional_text(None),
    };
    let obstacle = if !holds && detail.secures {
        people.not_owner(row.owner)
    } else if row.holds && !holds {
        Some(format!(
            "the role owns {}, whose policies do not hold for the owner; ALTER TABLE {} FORCE ROW LEVEL SECURITY",
            row.on,
            row.on.sql_name(),
        ))
    } else if !holds {
        Some(format!(
            "row security of {} is off, so that none of its policies holds; ALTER TABLE {} ENABLE ROW LEVEL SECURITY",
            row.on,
            row.on.sql_name(),
        ))
    } else if row.roles.len() > 1 {
        Some(format!(
            "it is for {} together; ALTER POLICY {} ON {} TO one of them",
            names_of(row, people),
            ident(&row.name),
            row.on.sql_name(),
        ))
    } else {
        people.not_owner(row.owner)
    };
    provider::Object {
        id: row.id(within).to_string(),
        label: Some(format!("{} on {}", row.name, row.on)),
        fields: fields([
            ("to", to),
            ("on", object(&row.on)),
            ("name", text(row.name.clone())),
            ("command", Reading::Known(row.command.to_value())),
            ("restrictive", Reading::Known(Value::Bool(row.restrictive))),
            ("using", expression(&row.using, detail.using.as_ref())),
            ("check", expression(&row.check, detail.check.as_ref())),
            ("beside", others),
            ("secures", Reading::Known(Value::Bool(detail.secures))),
            ("oid", Reading::Known(row.oid.to_string().into())),
        ]),
        suspended: false,
        mark: owned.map(|owned| owned.mark.clone()),
        obstacle,
    }
}
