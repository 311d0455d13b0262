//! What makes any plan on a cluster mean something else: who else could apply,
//! who could write into the registry, where another one is kept, and with which
//! settings every session begins.
//!
//! Owns the one query for it, and knows nothing of the identities.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::Result,
    providers::postgres::{
        catalog::{
            Within,
            people::{inherit_option, set_option},
        },
        server::Type,
    },
};

/// What is noted of a cluster. Superusers are named nowhere: nothing is closed
/// to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// The roles that could write into the registry, though it is not theirs.
    pub(super) forgers: BTreeSet<String>,
    /// The databases that are not looked at, and in which the engine's own
    /// roles have a schema: another fleet may keep its registry there.
    pub(super) registries: BTreeSet<String>,
    /// Who is behind the administrators, and none of the provider's logins.
    pub(super) members: BTreeSet<String>,
    /// Who could make himself one of those.
    pub(super) admins: BTreeSet<String>,
    /// The settings that every session begins with, by the database; those of
    /// all databases have the empty name.
    pub(super) settings: BTreeMap<String, BTreeMap<String, String>>,
}

/// Reads what there is to note.
pub(super) async fn read(within: &Within, looked_at: &[String]) -> Result<Notes> {
    let layout = &within.layout;
    let administrators = layout.administrators.as_deref();
    let own: Vec<&str> =
        layout.principals.iter().chain(&layout.administrators).map(String::as_str).collect();
    let sql = format!(
        "WITH RECURSIVE behind AS (
            SELECT oid FROM pg_roles WHERE rolname = $1
            UNION SELECT m.member FROM behind b JOIN pg_auth_members m ON m.roleid = b.oid
            WHERE {} OR {}
        )
        SELECT 'forger', rolname::text, '' FROM pg_roles
        WHERE rolbypassrls AND NOT rolsuper AND pg_has_role(oid, 'pg_write_all_data', 'USAGE')
        UNION ALL SELECT 'member', r.rolname::text, '' FROM behind b JOIN pg_roles r USING (oid)
        WHERE NOT r.rolsuper
        UNION ALL SELECT 'admin', r.rolname::text, '' FROM behind b
        JOIN pg_auth_members m ON m.roleid = b.oid AND m.admin_option
        JOIN pg_roles r ON r.oid = m.member
        WHERE NOT r.rolsuper AND m.member NOT IN (SELECT oid FROM behind)
        UNION ALL SELECT DISTINCT 'registry', d.datname::text, '' FROM pg_shdepend s
        JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.refobjid
        WHERE s.refclassid = 'pg_authid'::regclass AND s.classid = 'pg_namespace'::regclass
            AND s.deptype = 'o' AND r.rolname = ANY ($2::name[]) AND d.datname::text <> ALL ($3)
        UNION ALL SELECT 'setting', coalesce(d.datname::text, ''), setting
        FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase,
            unnest(s.setconfig) AS setting
        WHERE s.setrole = 0 AND (s.setdatabase = 0 OR d.datname::text = ANY ($3))",
        inherit_option(within.version),
        set_option(within.version),
    );
    let parameters = [
        (&administrators as _, Type::NAME),
        (&own as _, Type::TEXT_ARRAY),
        (&looked_at as _, Type::TEXT_ARRAY),
    ];
    let mut notes = Notes::default();
    for row in within.tx.query(&sql, &parameters).await? {
        let name: String = row.get(1);
        let is_own = || layout.is_own_role(&name);
        let names = match row.get::<_, &str>(0) {
            "registry" => &mut notes.registries,
            "setting" => {
                let text: &str = row.get(2);
                let (setting, value) = text.split_once('=').unwrap_or((text, ""));
                let settings = notes.settings.entry(name).or_default();
                settings.insert(setting.to_owned(), value.to_owned());
                continue;
            }
            _ if is_own() => continue,
            "forger" => &mut notes.forgers,
            "member" => &mut notes.members,
            _ => &mut notes.admins,
        };
        names.insert(name);
    }
    Ok(notes)
}
