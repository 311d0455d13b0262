//! What runs with the rights of whoever owns it, or may be made to.
//!
//! Owns which objects those are. Whoever made one, as an agent, has the rights
//! of its next owner by it: who hands on what an agent owns looks here first,
//! and here again when it is done. It knows nothing of how objects are handed
//! on.

use std::collections::BTreeMap;

use super::{super::server::Type, Within, ids::Oid};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
};

/// The repair of what cannot be handed on.
pub(in super::super) const REPAIR: &str =
    "read what it does; then drop it, or give it another owner by hand, and repeat";

/// How many are named.
const NAMED: usize = 8;

/// Objects that run with their owner's rights, by their catalogs and numbers,
/// with what they are called.
pub(in super::super) type Traps = BTreeMap<(Oid, Oid), String>;

/// Those of some owners in this database, by their owners.
///
/// - A routine that is `SECURITY DEFINER`.
/// - A view that is read as its owner reads, and what a materialised one does.
/// - A table with rules, which write as its owner does, or with triggers: what
///   a foreign key deletes or changes in it, the server deletes as its owner.
/// - For the same reason a table or type with checks, defaults, generated
///   columns, indexes, statistics or policies that call a routine which is
///   neither the server's nor an extension's; an index and statistics are
///   looked after as their owner besides.
/// - A subscription, which writes as its owner does what somebody else sends.
pub(in super::super) async fn of(within: &Within, owners: &[Oid]) -> Result<BTreeMap<Oid, Traps>> {
    let mut traps: BTreeMap<Oid, Traps> = BTreeMap::new();
    if owners.is_empty() {
        return Ok(traps);
    }
    let sql = "WITH owned AS MATERIALIZED (
            SELECT s.refobjid AS owner, s.classid, s.objid FROM pg_shdepend s
            WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY ($1)
                AND s.deptype = 'o' AND s.dbid IN (0,
                    (SELECT oid FROM pg_database WHERE datname = current_database()))
        ), relations AS (
            SELECT o.*, c.relkind, c.reloptions FROM owned o
            JOIN pg_class c ON c.oid = o.objid WHERE o.classid = 'pg_class'::regclass
        ), calls AS (
            SELECT c.classid, c.objid FROM pg_depend c
            WHERE c.refobjid >= 16384 AND c.refclassid IN ('pg_proc'::regclass,
                    'pg_operator'::regclass)
                AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = c.refclassid
                    AND e.objid = c.refobjid AND e.deptype = 'e')
        ), traps AS (
            SELECT o.owner, o.classid, o.objid FROM owned o JOIN pg_proc p ON p.oid = o.objid
            WHERE o.classid = 'pg_proc'::regclass AND p.prosecdef
            UNION SELECT owner, classid, objid FROM relations r WHERE relkind = 'm'
                OR relkind = 'v' AND NOT EXISTS (SELECT FROM pg_options_to_table(r.reloptions)
                    WHERE option_name = 'security_invoker' AND option_value::boolean)
                OR EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = r.objid AND w.ev_type <> '1')
                OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = r.objid AND NOT t.tgisinternal)
                OR EXISTS (SELECT FROM pg_constraint f WHERE f.conrelid = r.objid
                    AND f.contype = 'f' AND 'd' IN (f.confdeltype, f.confupdtype))
            UNION SELECT o.owner, o.classid, o.objid FROM owned o
            JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid
                AND d.deptype IN ('a', 'i')
            JOIN calls c ON c.classid = d.classid AND c.objid = d.objid
            WHERE o.classid IN ('pg_class'::regclass, 'pg_type'::regclass)
            UNION SELECT owner, classid, objid FROM owned
            WHERE classid = 'pg_subscription'::regclass
        )
        SELECT owner, classid, objid, coalesce(pg_describe_object(classid, objid, 0), objid::text)
        FROM traps";
    for row in within.tx.query(sql, &[(&owners, Type::OID_ARRAY)]).await? {
        traps.entry(row.get(0)).or_default().insert((row.get(1), row.get(2)), row.get(3));
    }
    Ok(traps)
}

/// Why something stays with its owner.
pub(in super::super) fn obstacle(trap: &str) -> String {
    format!(
        "the {trap} runs what its owner may with its owner's rights, which would be the heir's; \
         {REPAIR}"
    )
}

/// The error of a hand-over that would make traps.
pub(in super::super) fn refused(what: &str, database: &str, traps: &[String]) -> Error {
    let mut named = traps[..traps.len().min(NAMED)].join(", ");
    if traps.len() > NAMED {
        named.push_str(&format!(" and {} more", traps.len() - NAMED));
    }
    Error::new(
        ErrorKind::Refused,
        format!(
            "{what} cannot be handed on in the database {}: this runs with its owner's rights, \
             which would be the heir's: {named}",
            quoted(database)
        ),
    )
    .help(REPAIR)
}
