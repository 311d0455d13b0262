//! Whether heirs can take over what leaves with a role.
//!
//! Owns what the server asks of whoever reassigns, and of whoever gets
//! something: to be a member of the heir, and that the heir could have made it.
//! It is found out before anything is touched, and told as a whole.

use std::collections::{BTreeMap, BTreeSet};

use super::{leaving::Leaver, powers::Powers};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    providers::postgres::{
        catalog::{Within, classes::OWNS},
        name::ident,
        server::Type,
    },
};

/// The leavers whose heirs cannot take over, with what is missing.
pub(super) async fn unfit(
    within: &Within,
    powers: &Powers,
    leavers: &[&Leaver],
) -> Result<Vec<(u32, Error)>> {
    let mut missing: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    let (mut roles, mut heirs) = (Vec::new(), Vec::new());
    for leaver in leavers {
        let Some((heir, oid)) = leaver.heir_in(powers) else { continue };
        if !powers.is_full(oid) && !leaver.borrows_heir(powers) {
            let grant = format!("GRANT {} TO {}", ident(heir), ident(powers.my_name()));
            missing.entry(leaver.role).or_default().insert(grant);
        }
        for role in leaver.names.keys() {
            roles.push(*role);
            heirs.push(oid);
        }
    }
    if roles.is_empty() {
        return Ok(Vec::new());
    }
    // Tables and types go to whoever is named; for all else in a schema, the
    // server asks whether the heir could have made it there.
    let sql = format!(
        "SELECT DISTINCT l.role, i.schema
        FROM unnest($1::oid[], $2::oid[]) AS l (role, heir)
        JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = l.role
            AND {OWNS} AND s.classid NOT IN ('pg_class'::regclass, 'pg_type'::regclass)
            AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()),
        LATERAL pg_identify_object(s.classid, s.objid, 0) i
        WHERE i.schema IS NOT NULL
            AND NOT has_schema_privilege(l.heir, i.schema::regnamespace, 'CREATE')
            AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
    );
    let parameters = [(&roles as _, Type::OID_ARRAY), (&heirs as _, Type::OID_ARRAY)];
    for row in within.tx.query(&sql, &parameters).await? {
        let (role, schema): (u32, &str) = (row.get(0), row.get(1));
        let Some(leaver) = leavers.iter().find(|one| one.names.contains_key(&role)) else {
            continue;
        };
        let Some((heir, _)) = leaver.heir_in(powers) else { continue };
        // The server has quoted the schema already.
        let grant = format!("GRANT CREATE ON SCHEMA {schema} TO {}", ident(heir));
        missing.entry(leaver.role).or_default().insert(grant);
    }
    let unfit = |leaver: &&Leaver| {
        let missing = missing.get(&leaver.role)?;
        let (heir, _) = leaver.heir_in(powers)?;
        let error = Error::new(
            ErrorKind::Denied,
            format!(
                "{} cannot leave: {} may not give what it owns to its heir {}, in the database {}",
                leaver.what(),
                quoted(powers.my_name()),
                quoted(heir),
                quoted(within.tx.database())
            ),
        );
        let grants: Vec<&str> = missing.iter().map(String::as_str).collect();
        Some((leaver.role, error.help(grants.join("; "))))
    };
    Ok(leavers.iter().filter_map(unfit).collect())
}
