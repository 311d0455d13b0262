//! Whether a login still has the password that it was made with.
//!
//! Owns the digest of a stored verifier, and the function that answers it. Only
//! superusers read verifiers, so that one of them has to make the function;
//! where there is none, a password that was changed behind the fleet's back is
//! not seen. A verifier is salted, and its digest tells nothing of the password.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use sha2::{Digest as _, Sha256};

use super::{Within, ids::Oid};
use crate::{
    error::Result,
    providers::postgres::{name::ident, server::Type},
};

/// The digest of a verifier, as the registry keeps it.
pub(in super::super) fn digest(verifier: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(verifier.as_bytes()).into();
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// The statements that make the function, for a superuser: for anybody
/// else it does nothing. Everything in it is the server's own, for it runs as
/// whoever made it.
pub(in super::super) fn ddl(administrators: &str, observer: &str) -> String {
    let (administrators, observer) = (ident(administrators), ident(observer));
    format!(
        "    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        CREATE SCHEMA IF NOT EXISTS agent_iac AUTHORIZATION {administrators};
        CREATE OR REPLACE FUNCTION agent_iac.verifier_digest(login oid) RETURNS text
            LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
            AS 'SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
                    a.rolpassword, ''UTF8'')), ''hex'')
                FROM pg_catalog.pg_authid a WHERE a.oid OPERATOR(pg_catalog.=) $1
                    AND NOT a.rolsuper
                    AND pg_catalog.starts_with(a.rolpassword, ''SCRAM-SHA-256$'')';
        REVOKE ALL ON FUNCTION agent_iac.verifier_digest(oid) FROM PUBLIC;
        GRANT USAGE ON SCHEMA agent_iac TO {observer};
        GRANT EXECUTE ON FUNCTION agent_iac.verifier_digest(oid) TO {observer}, {administrators};
    END IF;
"
    )
}

/// Whether there is the function, made by somebody who reads verifiers.
const IS_THERE: &str = "SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_roles r ON r.oid = p.proowner
    WHERE n.nspname = 'agent_iac' AND p.proname = 'verifier_digest'
        AND p.proargtypes = '26'::oidvector AND p.prosecdef AND r.rolsuper
        AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')";

/// Those of some logins that have another password than they were made with,
/// by the digests of their verifiers then. Where that cannot be told, none has.
pub(super) async fn changed(
    within: &Within,
    made: &BTreeMap<Oid, String>,
) -> Result<BTreeSet<Oid>> {
    if made.is_empty() || within.tx.query(IS_THERE, &[]).await?.is_empty() {
        return Ok(BTreeSet::new());
    }
    let oids: Vec<Oid> = made.keys().copied().collect();
    let sql = "SELECT login, agent_iac.verifier_digest(login) FROM unnest($1::oid[]) login";
    let rows = within.tx.query(sql, &[(&oids, Type::OID_ARRAY)]).await?;
    let is_other = |(login, now): &(Oid, Option<String>)| made.get(login) != now.as_ref();
    let now = rows.iter().map(|row| (row.get(0), row.get(1)));
    Ok(now.filter(is_other).map(|(login, _)| login).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_what_the_server_computes() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(""), empty);
    }
}
