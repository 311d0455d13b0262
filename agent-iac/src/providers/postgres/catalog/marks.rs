//! Whose the objects are, by the registry of their database.

use std::collections::BTreeMap;

use super::{
    super::server::{
        Type,
        registry::{self, Owned, State},
    },
    Within,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
};

/// Whether the registry is there. One that is somebody else's, who could write
/// into it whatever he likes, is refused.
pub(super) async fn is_ready(within: &Within) -> Result<bool> {
    within.registry.get_or_try_init(|| look(within)).await.copied()
}

async fn look(within: &Within) -> Result<bool> {
    match registry::state(&within.tx).await? {
        State::Missing => Ok(false),
        State::Ready { trusted: true, .. } => Ok(true),
        State::Ready { owner, .. } if within.layout.is_own_role(&owner) => Ok(true),
        State::Ready { owner, .. } => Err(Error::new(
            ErrorKind::Foreign,
            format!(
                "the schema `agent_iac` of the database {} belongs to {}, who could write there \
                 what is not so",
                quoted(within.tx.database()),
                quoted(&owner)
            ),
        )
        .help("let it belong to the administrators, by ALTER SCHEMA and ALTER TABLE … OWNER TO")),
    }
}

/// What is registered of the objects of one type: of these, or of all. Without
/// a registry, nothing is.
pub(in super::super) async fn registered(
    within: &Within,
    type_name: &str,
    ids: Option<&[String]>,
) -> Result<BTreeMap<String, Owned>> {
    if ids.is_some_and(<[String]>::is_empty) || !is_ready(within).await? {
        return Ok(BTreeMap::new());
    }
    registry::owned(&within.tx, type_name, ids).await
}

/// The registered grants on columns of the same tables to the same roles as
/// those of `ids`, and maybe others: each is to be read.
pub(in super::super) async fn on_columns(
    within: &Within,
    type_name: &str,
    ids: &[String],
) -> Result<Vec<(String, Option<String>)>> {
    if ids.is_empty() || !is_ready(within).await? {
        return Ok(Vec::new());
    }
    // What stands before the columns: a wider answer is read more closely.
    let before = |id: &String| id.split(" (").next().unwrap_or_default().to_owned();
    let prefixes: Vec<String> = ids.iter().map(before).collect();
    let sql = "SELECT id, detail::text FROM agent_iac.objects
        WHERE type = $1 AND strpos(id, ' (') > 0 AND split_part(id, ' (', 1) = ANY ($2)";
    let rows =
        within.tx.query(sql, &[(&type_name, Type::TEXT), (&prefixes, Type::TEXT_ARRAY)]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
