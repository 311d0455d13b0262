//! What stands between a role and its end in lists of others' objects: what
//! others gave to it, and what it passed on.
//!
//! Owns what `DROP OWNED` does not do, or does too much of. It takes back what
//! the owner gave, as far as whoever runs it has the owner's rights: what
//! another grantor gave stays, and the role cannot be dropped. It takes along
//! what the role passed on to somebody else. It knows nothing of what a role
//! owns.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    GRANTORS, apply_script,
    leaving::{Leaver, oids_of},
    powers::{self, Acting, Powers},
    script::{Phase, Statements, Step, Verb, grouped},
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    providers::postgres::{
        Object,
        catalog::{Class, Dependence, Entry, Place, Within, classes},
        name::ident,
        server::Type,
    },
};

/// What others gave to leavers.
pub(super) struct Given {
    entries: Vec<(Entry, Object)>,
    owners: BTreeMap<Place, u32>,
    powers: Powers,
}

impl Given {
    /// Reads what others gave to leavers in this database, and in the cluster
    /// where it is the provider's own.
    pub(super) async fn read(within: &Within, leavers: &[&Leaver]) -> Result<Self> {
        let roles: BTreeSet<u32> = oids_of(leavers.iter().copied()).into_iter().collect();
        let listed = classes::dependents(within, &roles, Dependence::Listed).await?;
        let places: BTreeSet<Place> = listed
            .iter()
            .filter_map(|one| Some(Place { class: Class::numbered(one.class)?, oid: one.oid }))
            .collect();
        let relations: BTreeSet<u32> = places
            .iter()
            .filter(|place| place.class == Class::Relation)
            .map(|place| place.oid)
            .collect();
        let mut entries = classes::entries(within, &places, &relations, &roles).await?;
        // Between two that leave, the one takes it along with the other.
        entries.retain(|entry| !roles.contains(&entry.grantor));
        let places = entries.iter().map(|entry| entry.place).collect();
        let found = classes::placed(within, &places).await?;
        let owners: BTreeMap<Place, u32> =
            found.iter().map(|(place, found)| (*place, found.owner)).collect();
        // What a leaver owns goes to its heir, with what it gave to itself.
        let entries: Vec<(Entry, Object)> = entries
            .into_iter()
            .filter_map(|entry| {
                let found = found.get(&entry.place)?;
                let columns = entry.column.clone().map(|column| BTreeSet::from([column]));
                let on = Object { columns, ..found.object.clone() };
                (!roles.contains(&found.owner)).then_some((entry, on))
            })
            .collect();
        let grantors = entries.iter().map(|(entry, _)| entry.grantor);
        let powers = powers::read(within, &grantors.collect(), &BTreeSet::new()).await?;
        Ok(Self { entries, owners, powers })
    }

    /// In whose name an entry is taken back. `ours` are roles whose members we
    /// are at this moment.
    fn acting(&self, entry: &Entry, ours: &[u32]) -> Option<Acting> {
        let grantor = entry.grantor;
        let is_owner = self.owners.get(&entry.place) == Some(&grantor);
        match (is_owner, ours.contains(&grantor)) {
            (true, true) => Some(Acting::Me),
            (true, false) => self.powers.as_owner(grantor),
            (false, true) => Some(Acting::As(grantor)),
            (false, false) => self.powers.as_grantor(grantor),
        }
    }

    fn revoke(&self, leavers: &[&Leaver], acting: impl Fn(&Entry) -> Option<Acting>) -> Statements {
        let names: BTreeMap<u32, &String> = leavers
            .iter()
            .flat_map(|one| one.names.iter().map(|(oid, name)| (*oid, name)))
            .collect();
        let steps = self.entries.iter().filter_map(|(entry, on)| {
            Some(Step {
                phase: Phase::Whole(Reverse(0)),
                acting: acting(entry)?,
                verb: Verb::Revoke,
                privileges: BTreeSet::from([entry.privilege]),
                on: on.clone(),
                grantee: ident(names.get(&entry.grantee)?),
            })
        });
        // One statement for all privileges of an entry.
        let mut whole: BTreeMap<_, Step> = BTreeMap::new();
        for step in steps {
            let key = (step.acting, step.on.clone(), step.grantee.clone());
            whole
                .entry(key)
                .and_modify(|one| one.privileges.extend(&step.privileges))
                .or_insert(step);
        }
        grouped(whole.into_values())
    }

    /// Takes back what can be taken back, each as who gave it.
    pub(super) async fn take_back(
        &self,
        within: &Within,
        leavers: &[&Leaver],
        ours: &[u32],
    ) -> Result<()> {
        let mut statements = self.revoke(leavers, |entry| self.acting(entry, ours));
        // What one leaver passed on to another goes as well; there is nobody
        // else to whom it did.
        for (_, text) in &mut statements {
            text.push_str(" CASCADE");
        }
        apply_script(within, &self.powers, &statements).await
    }

    /// The leavers to whom somebody gave what only he can take back, with all
    /// of it.
    pub(super) fn held(&self, within: &Within, leavers: &[&Leaver]) -> Vec<(u32, Error)> {
        let held = |leaver: &&Leaver| {
            let acting = |entry: &Entry| {
                let is_its = leaver.names.contains_key(&entry.grantee);
                let is_held = is_its && self.acting(entry, &[]).is_none();
                is_held.then_some(Acting::As(entry.grantor))
            };
            let statements = self.revoke(leavers, acting);
            let list: Vec<String> = statements
                .into_iter()
                .filter_map(|(acting, text)| {
                    let Acting::As(grantor) = acting else { return None };
                    Some(format!("{} has to say {text}", self.powers.name(grantor)))
                })
                .collect();
            (!list.is_empty()).then(|| (leaver.role, self.held_by(within, leaver, &list)))
        };
        leavers.iter().filter_map(held).collect()
    }

    fn held_by(&self, within: &Within, leaver: &Leaver, list: &[String]) -> Error {
        Error::new(
            ErrorKind::Denied,
            format!(
                "{} was given something that {} cannot take back, in the database {}: {}",
                leaver.what(),
                quoted(self.powers.my_name()),
                quoted(within.tx.database()),
                list.join("; ")
            ),
        )
        .help("let each of them say it, or GRANT them to whoever applies, then repeat")
    }
}

/// The leavers that passed on to somebody else what was given to them, with
/// all of it: it would go with theirs. What an owner gave stays, by its heir.
pub(super) async fn passed_on(within: &Within, leavers: &[&Leaver]) -> Result<Vec<(u32, Error)>> {
    let lists: String = [
        ("pg_class", "pg_class", "relacl"),
        ("pg_proc", "pg_proc", "proacl"),
        ("pg_namespace", "pg_namespace", "nspacl"),
        ("pg_type", "pg_type", "typacl"),
        ("pg_language", "pg_language", "lanacl"),
        ("pg_foreign_data_wrapper", "pg_foreign_data_wrapper", "fdwacl"),
        ("pg_foreign_server", "pg_foreign_server", "srvacl"),
        ("pg_largeobject", "pg_largeobject_metadata", "lomacl"),
        ("pg_database", "pg_database", "datacl"),
        ("pg_tablespace", "pg_tablespace", "spcacl"),
        ("pg_parameter_acl", "pg_parameter_acl", "paracl"),
    ]
    .map(|(class, catalog, list)| {
        format!(
            "SELECT n.classid, n.objid, 0, c.{list} FROM named n JOIN {catalog} c
                ON c.oid = n.objid WHERE n.classid = '{class}'::regclass
            UNION ALL "
        )
    })
    .concat();
    // From PostgreSQL 16 a membership goes with what let its grantor give it.
    let memberships = if within.version >= GRANTORS {
        "UNION ALL SELECT m.grantor, m.member, 'the role ' || r.rolname::text
        FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
        WHERE m.grantor = ANY ($1) AND NOT m.member = ANY ($1) AND NOT m.roleid = ANY ($1)"
    } else {
        ""
    };
    let here = "s.dbid = 0
        OR s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let sql = format!(
        "WITH own AS MATERIALIZED (
            SELECT s.classid, s.objid, s.refobjid, s.deptype FROM pg_shdepend s
            WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY ($1) AND ({here})
        ), named AS (
            SELECT DISTINCT classid, objid FROM own WHERE deptype = 'a'
        ), lists (classid, objid, part, list) AS (
            {lists}SELECT n.classid, n.objid, a.attnum::int, a.attacl FROM named n
                JOIN pg_attribute a ON a.attrelid = n.objid WHERE n.classid = 'pg_class'::regclass
        ), given (grantor, grantee, what) AS (
            SELECT DISTINCT e.grantor, e.grantee, pg_describe_object(l.classid, l.objid, l.part)
            FROM lists l, aclexplode(l.list) e
            WHERE e.grantor = ANY ($1) AND NOT e.grantee = ANY ($1) AND NOT EXISTS (
                SELECT FROM own o WHERE o.classid = l.classid AND o.objid = l.objid
                    AND o.refobjid = e.grantor AND o.deptype = 'o')
            {memberships}
        )
        SELECT g.grantor, coalesce(r.rolname::text, 'PUBLIC'), g.what
        FROM given g LEFT JOIN pg_roles r ON r.oid = g.grantee ORDER BY 1, 2, 3 LIMIT 100"
    );
    let oids = oids_of(leavers.iter().copied());
    let rows = within.tx.query(&sql, &[(&oids, Type::OID_ARRAY)]).await?;
    let told = |leaver: &&Leaver| {
        let list: Vec<String> = rows
            .iter()
            .filter(|row| leaver.names.contains_key(&row.get(0)))
            .map(|row| format!("{} to {}", row.get::<_, String>(2), quoted(row.get::<_, &str>(1))))
            .collect();
        let error = || {
            Error::new(
                ErrorKind::Refused,
                format!(
                    "{} passed on what it was given, in the database {}: {}",
                    leaver.what(),
                    quoted(within.tx.database()),
                    list.join(", ")
                ),
            )
            .help("they would lose it: let somebody else give it to them, REVOKE this, then repeat")
        };
        (!list.is_empty()).then(|| (leaver.role, error()))
    };
    Ok(leavers.iter().filter_map(told).collect())
}
