//! What the server gives to everybody.
//!
//! Owns the queries for it in one database. What the server or an extension
//! brought along is counted, since there are thousands of it; what is in
//! people's own schemas is named.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    access::Tuple,
    error::Result,
    providers::postgres::{
        Object, Privilege,
        catalog::{
            Class, Place, Within,
            classes::{self, Found},
            default_privileges,
            ids::Oid,
            people::{self, EVERYBODY},
        },
        name::shown,
    },
};

/// The name of the source.
pub(super) const PUBLIC: &str = "PUBLIC";

/// What everybody may do in one database, and in the cluster where it is the
/// provider's own.
#[derive(Debug, Default)]
pub(super) struct Everybody {
    pub(super) tuples: BTreeSet<Tuple>,
    pub(super) counted: BTreeMap<String, u64>,
    /// The databases in which everybody may make temporary tables.
    pub(super) temporary: BTreeSet<String>,
    /// The databases that everybody may connect to.
    pub(super) connect: BTreeSet<String>,
    /// The schemas in which everybody may create something.
    pub(super) create: BTreeSet<String>,
}

/// Every privilege of everybody: by its list where the object has one, and by
/// the server's defaults where it has none. What is too much to name has a
/// bucket.
const GIVEN: &str = "WITH brought AS (
    SELECT d.classid, d.objid, 'extension ' || quote_ident(x.extname) AS bucket
    FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), given AS (
    SELECT 1255::oid AS class, oid, pronamespace AS schema, NULL::name AS attribute,
        'EXECUTE' AS privilege, 'functions' AS kinds
    FROM pg_proc WHERE proacl IS NULL
    UNION ALL SELECT 1255, oid, pronamespace, NULL, e.privilege_type, 'functions'
    FROM pg_proc, aclexplode(proacl) e WHERE e.grantee = 0
    UNION ALL SELECT 1247, oid, typnamespace, NULL, 'USAGE', 'types'
    FROM pg_type t WHERE typacl IS NULL
        AND (typelem = 0 OR typsubscript <> 'array_subscript_handler'::regproc)
        AND (typrelid = 0
            OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
    UNION ALL SELECT 1247, oid, typnamespace, NULL, e.privilege_type, 'types'
    FROM pg_type, aclexplode(typacl) e WHERE e.grantee = 0
    UNION ALL SELECT 1259, oid, relnamespace, NULL, e.privilege_type,
        CASE relkind WHEN 'S' THEN 'sequences' ELSE 'tables and views' END
    FROM pg_class, aclexplode(relacl) e WHERE relacl IS NOT NULL AND e.grantee = 0
    UNION ALL SELECT 1259, a.attrelid, c.relnamespace, a.attname, e.privilege_type,
        'columns of tables and views'
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid, aclexplode(a.attacl) e
    WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND e.grantee = 0
    UNION ALL SELECT 2615, oid, NULL, NULL, e.privilege_type, 'schemas'
    FROM pg_namespace, aclexplode(nspacl) e WHERE e.grantee = 0
    UNION ALL SELECT 2612, oid, NULL, NULL, 'USAGE', 'languages'
    FROM pg_language WHERE lanpltrusted AND lanacl IS NULL
    UNION ALL SELECT 2612, oid, NULL, NULL, e.privilege_type, 'languages'
    FROM pg_language, aclexplode(lanacl) e WHERE lanpltrusted AND e.grantee = 0
    UNION ALL SELECT 2328, oid, NULL, NULL, e.privilege_type, 'foreign-data wrappers'
    FROM pg_foreign_data_wrapper, aclexplode(fdwacl) e WHERE e.grantee = 0
    UNION ALL SELECT 1417, oid, NULL, NULL, e.privilege_type, 'foreign servers'
    FROM pg_foreign_server, aclexplode(srvacl) e WHERE e.grantee = 0
    UNION ALL SELECT 2613, oid, NULL, NULL, e.privilege_type, 'large objects'
    FROM pg_largeobject_metadata, aclexplode(lomacl) e WHERE e.grantee = 0";

/// What belongs to the whole cluster, which one database tells of.
const SHARED: &str = "
    UNION ALL SELECT 1262, oid, NULL, NULL, e.privilege_type, 'databases'
    FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) e
    WHERE datallowconn AND e.grantee = 0
    UNION ALL SELECT 1213, oid, NULL, NULL, e.privilege_type, 'tablespaces'
    FROM pg_tablespace, aclexplode(spcacl) e WHERE e.grantee = 0
    UNION ALL SELECT 6243, oid, NULL, NULL, e.privilege_type, 'parameters'
    FROM pg_parameter_acl, aclexplode(paracl) e WHERE e.grantee = 0";

/// A row for each that is named, and for each bucket.
const COUNTED: &str = ")
    SELECT g.class, CASE WHEN b.bucket IS NULL THEN g.oid END, g.attribute::text, g.privilege,
        g.kinds, b.bucket, count(*)
    FROM given g LEFT JOIN pg_namespace n ON n.oid = g.schema
    LEFT JOIN brought x ON x.classid = g.class AND x.objid = g.oid,
    LATERAL (SELECT CASE
        WHEN n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast') THEN n.nspname::text
        WHEN starts_with(n.nspname::text, 'pg_temp_') THEN 'pg_temp'
        WHEN n.oid IS NOT NULL THEN x.bucket
    END) AS b (bucket)
    GROUP BY 1, 2, 3, 4, 5, 6";

/// Reads what everybody may do in one database.
pub(super) async fn read(within: &Within) -> Result<Everybody> {
    let shared = if within.database.is_none() { SHARED } else { "" };
    let rows = within.tx.query(&format!("{GIVEN}{shared}{COUNTED}"), &[]).await?;
    let mut named: Vec<(Place, Option<String>, Privilege)> = Vec::new();
    let mut everybody = Everybody::default();
    for row in &rows {
        let words: &str = row.get(3);
        let Some(privilege) = Privilege::from_sql(words) else { continue };
        match (Class::numbered(row.get(0)), row.get::<_, Option<Oid>>(1)) {
            (Some(class), Some(oid)) => named.push((Place { class, oid }, row.get(2), privilege)),
            _ => {
                let (kinds, bucket): (&str, &str) = (row.get(4), row.get(5));
                let place = match &within.database {
                    Some(database) => format!("{bucket} in {}", shown(database)),
                    None => bucket.to_owned(),
                };
                let what = format!("{} {kinds} of {place}", privilege.word());
                let number = u64::try_from(row.get::<_, i64>(6)).unwrap_or_default();
                everybody.counted.insert(what, number);
            }
        }
    }
    let found = classes::placed(within, &named.iter().map(|(place, ..)| *place).collect()).await?;
    for (place, column, privilege) in named {
        let Some(found) = found.get(&place) else { continue };
        everybody.add(found, column, privilege);
    }
    everybody.add_defaults(within).await?;
    Ok(everybody)
}

impl Everybody {
    fn add(&mut self, found: &Found, column: Option<String>, privilege: Privilege) {
        let name = || found.object.name.clone();
        match (found.place.class, privilege) {
            (Class::Database, Privilege::Temporary) => {
                self.temporary.insert(name());
            }
            (Class::Database, Privilege::Connect) => {
                self.connect.insert(name());
            }
            (Class::Schema, Privilege::Create) => {
                self.create.insert(found.object.to_string());
            }
            _ => {}
        }
        let columns = column.map(|column| BTreeSet::from([column]));
        let object = Object { columns, ..found.object.clone() };
        self.tuples.insert(Tuple::allow(PUBLIC, privilege.word(), object.to_string()));
    }

    /// What everybody will get on what others create.
    async fn add_defaults(&mut self, within: &Within) -> Result<()> {
        let entries = default_privileges::entries(within, &BTreeSet::from([EVERYBODY])).await?;
        let creators = entries.keys().map(|(_, _, creator, _)| *creator).collect();
        let people = people::people(within, &creators).await?;
        for (parties, held) in &entries {
            let object = default_privileges::future(within, parties, &people);
            for privilege in held.keys() {
                self.tuples.insert(Tuple::allow(PUBLIC, privilege.word(), &object));
            }
        }
        if within.database.is_none() {
            for (action, kinds) in [("execute", "functions"), ("usage", "types")] {
                let object = format!("future {kinds} of whoever did not say otherwise");
                self.tuples.insert(Tuple::allow(PUBLIC, action, object));
            }
        }
        Ok(())
    }
}
