//! What is declared, and the server or the engine would refuse only later.
//!
//! Owns two of them: an heir who could not take over what is his to have one
//! day, because he may not create where it is; and a row policy beside which
//! others let the same role through, although its declaration names none.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Cluster, Room,
    asked::{Asked, Ruled},
    behind::RowPolicy,
};
use crate::{
    address::quoted,
    error::Result,
    providers::postgres::{
        Command, Object, Policy, Privilege, Schema,
        catalog::{
            Within,
            ids::{Oid, PolicyId},
            marks,
            people::EVERYBODY,
        },
        name::ident,
        server::Type,
    },
    resource::Resource as _,
};

/// Schemas, each with an heir of something in it.
pub(super) type Heirs = BTreeSet<(String, String)>;

/// An heir who may not create in a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    schema: Object,
    heir: String,
    /// His number, where he is there already.
    oid: Option<Oid>,
}

/// The heirs in one database.
pub(super) fn heirs_in(asked: &[Asked], database: Option<&str>) -> Heirs {
    let all = asked.iter().flat_map(|asked| &asked.wish.heirs);
    all.filter(|(on, _)| on.database.as_deref() == database)
        .filter_map(|(on, heir)| Some((on.schema.clone()?, heir.clone())))
        .collect()
}

/// Reads which heirs may not create where they would take something over.
pub(super) async fn unfit(within: &Within, heirs: &Heirs) -> Result<Vec<Unfit>> {
    if heirs.is_empty() {
        return Ok(Vec::new());
    }
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        heirs.iter().map(|(schema, heir)| (schema.as_str(), heir.as_str())).unzip();
    // A superuser gives anything to anybody.
    let sql = "SELECT n.nspname::text, t.heir, r.oid
        FROM unnest($1::text[], $2::text[]) AS t (schema, heir)
        JOIN pg_namespace n ON n.nspname = t.schema LEFT JOIN pg_roles r ON r.rolname = t.heir
        WHERE (r.oid IS NULL OR NOT has_schema_privilege(r.oid, n.oid, 'CREATE'))
            AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $3 AND rolsuper)
        ORDER BY 1, 2";
    let administrators = within.layout.administrators.as_deref();
    let parameters = [
        (&schemas as _, Type::TEXT_ARRAY),
        (&names as _, Type::TEXT_ARRAY),
        (&administrators as _, Type::NAME),
    ];
    let rows = within.tx.query(sql, &parameters).await?;
    let unfit = rows.iter().map(|row| Unfit {
        schema: Object { database: within.database.clone(), ..Schema::new(row.get::<_, &str>(0)) },
        heir: row.get(1),
        oid: row.get(2),
    });
    Ok(unfit.collect())
}

/// Leaves out of policies those that a fleet declared.
pub(super) async fn of_nobody(within: &Within, policies: &[RowPolicy]) -> Result<BTreeSet<Oid>> {
    let id = |policy: Oid| PolicyId { policy, database: within.database.clone() }.to_string();
    let ids: Vec<String> = policies.iter().map(|policy| id(policy.id)).collect();
    let marks = marks::registered(within, Policy::TYPE, Some(&ids)).await?;
    let all = policies.iter().map(|policy| policy.id);
    Ok(all.filter(|policy| !marks.contains_key(&id(*policy))).collect())
}

/// Says which declarations will be refused.
pub(super) fn broken(
    cluster: &Cluster,
    rooms: &[Room],
    asked: &[Asked],
    warnings: &mut Vec<String>,
) {
    for Unfit { schema, heir, oid } in rooms.iter().flat_map(|room| &room.unfit) {
        // A new one has no number yet: it may be any that is to be made.
        let may = |asked: &&Asked| {
            asked.oid == *oid
                && (asked.wish.grants(schema, Privilege::Create)
                    || asked.wish.owns.contains(schema))
        };
        if !asked.iter().any(|asked| may(&asked)) {
            warnings.push(format!(
                "{} is to take over what an agent owns in {schema}, and may not create there, so \
                 that giving it back will be refused; declare a `postgres.grant` of `create` on \
                 it, or GRANT CREATE ON SCHEMA {} TO {}",
                quoted(heir),
                schema.sql_name(),
                ident(heir),
            ));
        }
    }
    let declared: BTreeSet<(&Object, &str)> = asked
        .iter()
        .flat_map(|asked| &asked.wish.policies)
        .map(|ruled| (&ruled.on, ruled.name.as_str()))
        .collect();
    for room in rooms {
        let others: Vec<&RowPolicy> = room
            .behind
            .policies
            .iter()
            .filter(|policy| room.of_nobody.contains(&policy.id))
            .filter(|policy| !declared.contains(&(&policy.table, policy.name.as_str())))
            .collect();
        for one in asked {
            for ruled in &one.wish.policies {
                let beside = beside(one, ruled, &others);
                if beside.is_empty() {
                    continue;
                }
                let who = match one.oid.and_then(|oid| cluster.rows.get(&oid)) {
                    Some(row) => quoted(&row.name),
                    None => "a role that is not there yet".to_owned(),
                };
                warnings.push(format!(
                    "the policy {} on {} is to hold for {who}, whom other policies let through \
                     too: {}; it will be refused, until they are dropped, or its `beside` names \
                     them",
                    quoted(&ruled.name),
                    ruled.on,
                    beside.join(", ")
                ));
            }
        }
    }
}

/// The policies that let a role through beside one, and that it does not name.
fn beside(asked: &Asked, ruled: &Ruled, others: &[&RowPolicy]) -> Vec<String> {
    let inherited: BTreeSet<Oid> = asked.reached.inherited().collect();
    let lets = |policy: &&&RowPolicy| {
        let is_itself = asked.oid.is_some_and(|oid| policy.roles.contains(&oid));
        policy.table == ruled.on
            && policy.name != ruled.name
            && (ruled.command == Command::All
                || policy.command == Command::All
                || policy.command == ruled.command)
            && !is_itself
            && policy.roles.iter().any(|role| *role == EVERYBODY || inherited.contains(role))
    };
    let named = |policy: &RowPolicy| ruled.beside.get(&policy.name) == Some(&policy.line());
    let beside: BTreeMap<&str, String> = others
        .iter()
        .filter(lets)
        .filter(|policy| !named(policy))
        .map(|policy| (policy.name.as_str(), policy.line()))
        .collect();
    beside.into_iter().map(|(name, line)| format!("{} ({line})", quoted(name))).collect()
}
