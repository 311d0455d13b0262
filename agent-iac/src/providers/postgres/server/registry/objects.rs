//! The objects: whose they are, and what their types keep beside that.

use std::collections::BTreeMap;

use super::{
    super::{Type, transaction::Transaction},
    schema::damaged,
};
use crate::{error::Result, provider::Mark};

/// Whose an object is, with what its type keeps beside that, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Whose it is.
    pub mark: Mark,
    /// What its type keeps.
    pub detail: Option<String>,
}

/// Writes whose objects of one type are, over what was written before.
///
/// # Errors
///
/// When the registry cannot be written.
pub async fn mark(tx: &Transaction, type_name: &str, objects: &[(String, Owned)]) -> Result<()> {
    let column =
        |of: fn(&(String, Owned)) -> String| -> Vec<String> { objects.iter().map(of).collect() };
    let details: Vec<Option<&str>> =
        objects.iter().map(|(_, owned)| owned.detail.as_deref()).collect();
    tx.execute(
        "INSERT INTO agent_iac.objects (type, id, fleet, environment, address, detail)
            SELECT $1, id, fleet, environment, address, detail::jsonb
            FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
                AS row (id, fleet, environment, address, detail)
            ON CONFLICT (type, id) DO UPDATE SET fleet = excluded.fleet,
                environment = excluded.environment, address = excluded.address,
                detail = excluded.detail",
        &[
            (&type_name, Type::TEXT),
            (&column(|(id, _)| id.clone()), Type::TEXT_ARRAY),
            (&column(|(_, owned)| owned.mark.fleet.clone()), Type::TEXT_ARRAY),
            (&column(|(_, owned)| owned.mark.environment.clone()), Type::TEXT_ARRAY),
            (&column(|(_, owned)| owned.mark.address.to_string()), Type::TEXT_ARRAY),
            (&details, Type::TEXT_ARRAY),
        ],
    )
    .await
    .map(drop)
}

/// Forgets whose objects of one type are: they are gone.
///
/// # Errors
///
/// When the registry cannot be written.
pub async fn forget(tx: &Transaction, type_name: &str, ids: &[String]) -> Result<()> {
    tx.execute(
        "DELETE FROM agent_iac.objects WHERE type = $1 AND id = ANY ($2)",
        &[(&type_name, Type::TEXT), (&ids, Type::TEXT_ARRAY)],
    )
    .await
    .map(drop)
}

/// Whose the objects of one type are, by their ids; all of them where no ids
/// are given.
///
/// # Errors
///
/// When the registry cannot be read.
pub async fn owned(
    tx: &Transaction,
    type_name: &str,
    ids: Option<&[String]>,
) -> Result<BTreeMap<String, Owned>> {
    let rows = tx
        .query(
            "SELECT id, fleet, environment, address, detail::text FROM agent_iac.objects
            WHERE type = $1 AND ($2::text[] IS NULL OR id = ANY ($2))",
            &[(&type_name, Type::TEXT), (&ids, Type::TEXT_ARRAY)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let (id, address): (String, String) = (row.get(0), row.get(3));
            let address = address.parse().map_err(|error| {
                damaged("a row of `agent_iac.objects`")
                    .help("look at its address; somebody may have changed it")
                    .caused_by(format!("{error}"))
            })?;
            let mark = Mark { fleet: row.get(1), environment: row.get(2), address };
            Ok((id, Owned { mark, detail: row.get(4) }))
        })
        .collect()
}
