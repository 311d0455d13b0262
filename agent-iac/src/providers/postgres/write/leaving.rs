//! How a role leaves for good.
//!
//! Owns what has to go in each database in which the role has anything: what it
//! owns goes to its heir, what it was granted goes; last the role itself, with
//! its logins. It knows nothing of the order of databases and transactions.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Found, GRANTORS, heirs,
    passing::{self, Given},
    powers::{self, Powers},
    role::Now,
    rules,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    provider::Mark,
    providers::postgres::{
        DefaultPrivileges, Grant, Login, Membership, Ownership, Policy, PublicDefaults,
        catalog::{
            Within,
            classes::OWNS,
            detail::{self, RoleDetail},
            traps,
        },
        name::ident,
        server::{Type, sqlstate},
    },
    resource::Resource as _,
    value::Value,
};

/// A role that leaves, with its logins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Leaver {
    what: String,
    pub(super) role: u32,
    /// The names of the role and of its logins.
    pub(super) names: BTreeMap<u32, String>,
    heir: Option<String>,
    /// The heir is the login's own role, over which we have a power as well.
    heir_is_ours: bool,
}

impl Leaver {
    /// A role that is there.
    ///
    /// # Errors
    ///
    /// When its heir is not.
    pub(super) fn of(
        what: &str,
        now: &Now,
        role: Option<u32>,
        found: &Found,
        mark: &Mark,
    ) -> Result<Self> {
        let name = found.object.value("name").and_then(Value::as_text);
        let (Some(role), Some(name)) = (role, name) else {
            return Err(
                Error::new(ErrorKind::NotFound, format!("{what} has no name")).help("plan again")
            );
        };
        let heir = detail::read::<RoleDetail>(found.detail.as_deref()).heir;
        if let Some(heir) = heir.as_ref().filter(|heir| now.powers.oid(heir).is_none()) {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the heir {} of {what} is not there", quoted(heir)),
            )
            .help("create the role, or declare another `heir` and apply that first"));
        }
        // What somebody else made stays, and is a member no more.
        let logins = now.logins.get(&role).into_iter().flatten();
        let names = logins
            .filter(|(_, login)| login.is_of(mark))
            .map(|(oid, login)| (*oid, login.name.clone()))
            .chain([(role, name.to_owned())])
            .collect();
        Ok(Self { what: what.to_owned(), role, names, heir, heir_is_ours: false })
    }

    /// A login, of which its role takes over what it owns.
    pub(in super::super) fn login(oid: u32, name: &str, role: Option<String>) -> Self {
        Self {
            what: format!("the login {}", quoted(name)),
            role: oid,
            names: BTreeMap::from([(oid, name.to_owned())]),
            heir: role,
            heir_is_ours: true,
        }
    }

    /// Whether what it owns goes to somebody who may more than it may.
    fn enriches(&self) -> bool {
        self.heir.is_some() && !self.heir_is_ours
    }

    /// What a person calls it.
    pub(in super::super) fn what(&self) -> &str {
        &self.what
    }

    /// The names of what leaves.
    pub(in super::super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.values().map(String::as_str)
    }

    fn oids(&self) -> impl Iterator<Item = u32> {
        self.names.keys().copied()
    }

    /// Its heir, with its number.
    pub(super) fn heir_in(&self, powers: &Powers) -> Option<(&str, u32)> {
        let heir = self.heir.as_deref()?;
        Some((heir, powers.oid(heir)?))
    }

    /// Whether one becomes a member of its heir for as long as it takes: of
    /// the role of a login, and of one that can be administered.
    pub(super) fn borrows_heir(&self, powers: &Powers) -> bool {
        let administers = |(_, oid): (&str, u32)| powers.role(oid).is_some_and(|power| power.admin);
        self.heir_is_ours || self.heir_in(powers).is_some_and(administers)
    }
}

/// Everything that depends on some roles, in all databases, by the cluster's
/// own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Dependent {
    pub(in super::super) role: u32,
    /// `None` for what belongs to the whole cluster.
    database: Option<String>,
    can_connect: bool,
    owns: bool,
}

pub(in super::super) async fn dependents(within: &Within, roles: &[u32]) -> Result<Vec<Dependent>> {
    // Default privileges and user mappings are of a role, and go with it; what
    // it gave to others in roles goes too.
    let rows = within
        .tx
        .query(
            &format!(
                "SELECT DISTINCT s.refobjid, d.datname::text, coalesce(d.datallowconn, true),
                {OWNS}
            FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
            WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY ($1)"
            ),
            &[(&roles, Type::OID_ARRAY)],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| Dependent {
            role: row.get(0),
            database: row.get(1),
            can_connect: row.get(2),
            owns: row.get(3),
        })
        .collect())
}

pub(super) fn oids_of<'l>(leavers: impl IntoIterator<Item = &'l Leaver>) -> Vec<u32> {
    leavers.into_iter().flat_map(Leaver::oids).collect()
}

/// The other databases that have to be visited for a role.
pub(in super::super) fn databases_of<'d>(
    within: &Within,
    leaver: &Leaver,
    dependents: impl Iterator<Item = &'d Dependent>,
) -> Result<BTreeSet<String>> {
    let layout = &within.layout;
    let (mut visited, mut closed) = (BTreeSet::new(), BTreeSet::new());
    for dependent in dependents {
        let Some(database) = &dependent.database else { continue };
        if *database == layout.own {
            continue;
        }
        if layout.others.contains(database) && dependent.can_connect {
            visited.insert(database.clone());
        } else {
            closed.insert(database.clone());
        }
    }
    if closed.is_empty() {
        return Ok(visited);
    }
    let names: Vec<String> = closed.iter().map(|name| quoted(name)).collect();
    let which = if closed.len() == 1 { "the database" } else { "the databases" };
    Err(Error::new(
        ErrorKind::Refused,
        format!(
            "{} owns or may do something in {which} {}, where this provider does not work",
            leaver.what,
            names.join(", ")
        ),
    )
    .help("add it to the provider with `.database(…)`, or DROP OWNED there by hand"))
}

/// Leavers without an heir that own something in this database, or shared
/// things.
pub(super) async fn ownerless(within: &Within, leavers: &[&Leaver]) -> Result<Vec<(u32, Error)>> {
    let without: Vec<&&Leaver> = leavers.iter().filter(|one| one.heir.is_none()).collect();
    let oids: Vec<u32> = without.iter().flat_map(|one| one.oids()).collect();
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = within
        .tx
        .query(
            &format!("SELECT s.refobjid, d.datname::text, CASE WHEN s.dbid = 0 OR d.datname = current_database()
                THEN pg_describe_object(s.classid, s.objid, s.objsubid) END
            FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
            WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY ($1)
                AND {OWNS}
            ORDER BY 1, 2, 3 LIMIT 1000"
            ),
            &[(&oids, Type::OID_ARRAY)],
        )
        .await?;
    let mut owned: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let (role, database, what): (u32, Option<String>, Option<String>) =
            (row.get(0), row.get(1), row.get(2));
        let text = match (what, database) {
            (Some(what), Some(database)) => format!("{what} in {}", quoted(&database)),
            (Some(what), None) => what,
            (None, database) => {
                format!("something in {}", quoted(&database.unwrap_or_default()))
            }
        };
        owned.entry(role).or_default().insert(text);
    }
    Ok(without
        .into_iter()
        .filter_map(|leaver| {
            let all: BTreeSet<&String> =
                leaver.oids().filter_map(|oid| owned.get(&oid)).flatten().collect();
            (!all.is_empty()).then(|| (leaver.role, without_heir(leaver, &all)))
        })
        .collect())
}

fn without_heir(leaver: &Leaver, owned: &BTreeSet<&String>) -> Error {
    const SHOWN: usize = 8;
    let mut list: Vec<String> = owned.iter().take(SHOWN).map(|one| (*one).clone()).collect();
    if owned.len() > SHOWN {
        list.push(format!("and {} more", owned.len() - SHOWN));
    }
    Error::new(
        ErrorKind::Refused,
        format!("{} has no heir and owns {}", leaver.what, list.join(", ")),
    )
    .help("declare an `heir` that takes it over and apply that, or drop it by hand")
}

/// What stands in the way of leavers in this database, before anything of them
/// is touched; but for what has no heir, which is told of all databases at once.
pub(super) async fn in_the_way(
    within: &Within,
    powers: &Powers,
    leavers: &[&Leaver],
) -> Result<Vec<(u32, Error)>> {
    if leavers.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = heirs::unfit(within, powers, leavers).await?;
    found.extend(outlived(within, leavers).await?);
    found.extend(trapped(within, leavers).await?);
    found.extend(passing::passed_on(within, leavers).await?);
    found.extend(Given::read(within, leavers).await?.held(within, leavers));
    Ok(found)
}

/// Leavers that made roles, which would stay and log in. Before 16 the server
/// keeps no account of who made one.
async fn outlived(within: &Within, leavers: &[&Leaver]) -> Result<Vec<(u32, Error)>> {
    if within.version < GRANTORS || within.database.is_some() {
        return Ok(Vec::new());
    }
    let oids = oids_of(leavers.iter().copied());
    let sql = "SELECT m.member, r.rolname::text FROM pg_auth_members m
        JOIN pg_roles r ON r.oid = m.roleid
        WHERE m.member = ANY ($1) AND m.roleid <> ALL ($1) AND m.grantor = 10
            AND m.admin_option AND NOT m.inherit_option AND NOT m.set_option ORDER BY 2";
    let rows = within.tx.query(sql, &[(&oids, Type::OID_ARRAY)]).await?;
    let mut made: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for row in &rows {
        made.entry(row.get(0)).or_default().push(ident(row.get(1)));
    }
    let mut found = Vec::new();
    for leaver in leavers {
        let roles: Vec<&str> =
            leaver.oids().filter_map(|oid| made.get(&oid)).flatten().map(String::as_str).collect();
        if roles.is_empty() {
            continue;
        }
        let (what, roles) = (&leaver.what, roles.join(", "));
        let message = format!("{what} made the roles {roles}, which would outlive it");
        let help = format!(
            "as a superuser DROP ROLE {roles}; or where they are to stay, REVOKE {roles} FROM it"
        );
        found.push((leaver.role, Error::new(ErrorKind::Refused, message).help(help)));
    }
    Ok(found)
}

/// Leavers that own something here which would run with their heirs' rights.
async fn trapped(within: &Within, leavers: &[&Leaver]) -> Result<Vec<(u32, Error)>> {
    let enriching: Vec<&&Leaver> = leavers.iter().filter(|one| one.enriches()).collect();
    let oids: Vec<u32> = enriching.iter().flat_map(|one| one.oids()).collect();
    let traps = traps::of(within, &oids).await?;
    Ok(enriching
        .into_iter()
        .filter_map(|leaver| {
            let of = leaver.oids().filter_map(|oid| traps.get(&oid));
            let of: Vec<String> = of.flat_map(BTreeMap::values).cloned().collect();
            let refused = || traps::refused(&leaver.what, within.tx.database(), &of);
            (!of.is_empty()).then(|| (leaver.role, refused()))
        })
        .collect())
}

pub(in super::super) async fn powers_over(within: &Within, leavers: &[&Leaver]) -> Result<Powers> {
    let heirs = leavers.iter().filter_map(|one| one.heir.clone()).collect();
    let mut powers =
        powers::read(within, &leavers.iter().flat_map(|one| one.oids()).collect(), &heirs).await?;
    // They are ours, which before 16 only the registry of the own database says.
    if within.version < GRANTORS {
        powers.administer(leavers.iter().flat_map(|one| one.oids()));
        let heirs = leavers
            .iter()
            .filter(|one| one.heir_is_ours)
            .filter_map(|one| one.heir.as_ref().and_then(|heir| powers.oid(heir)));
        let heirs: Vec<u32> = heirs.collect();
        powers.administer(heirs.into_iter());
    }
    Ok(powers)
}

/// Frees a database from roles: what they own goes to their heirs, what they
/// were granted goes.
pub(in super::super) async fn release(
    within: &Within,
    powers: &Powers,
    leavers: &[&Leaver],
) -> Result<()> {
    if leavers.is_empty() {
        return Ok(());
    }
    let oids = oids_of(leavers.iter().copied());
    // Who reassigns has to be a member of both sides.
    let heirs = leavers.iter().filter(|one| one.borrows_heir(powers));
    let heirs: BTreeSet<u32> =
        heirs.filter_map(|one| one.heir_in(powers)).map(|(_, oid)| oid).collect();
    let both = oids.iter().copied().chain(heirs);
    let lent: Vec<u32> = both.filter(|oid| !powers.is_full(*oid)).collect();
    let (lend, end) = powers.lend_all(&lent);
    within.tx.batch(&lend).await?;
    let mut barred = ownerless(within, leavers).await?;
    barred.extend(heirs::unfit(within, powers, leavers).await?);
    if let Some((_, error)) = barred.pop() {
        return Err(error);
    }
    let mut by_heir: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for leaver in leavers {
        if let Some(heir) = &leaver.heir {
            by_heir.entry(heir).or_default().extend(leaver.names.values().map(|name| ident(name)));
        }
    }
    let reassign: Vec<String> = by_heir
        .into_iter()
        .map(|(heir, names)| format!("REASSIGN OWNED BY {} TO {}", names.join(", "), ident(heir)))
        .collect();
    let enriched = leavers.iter().filter(|one| one.enriches());
    let enriched: Vec<u32> = enriched.filter_map(|one| powers.oid(one.heir.as_deref()?)).collect();
    // What they had before is theirs; whatever more runs as one of them now,
    // somebody who leaves has made.
    let before = traps::of(within, &enriched).await?;
    within.tx.batch(&reassign.join(";\n")).await?;
    let mut after = traps::of(within, &enriched).await?;
    for (heir, had) in &before {
        after.entry(*heir).or_default().retain(|trap, _| !had.contains_key(trap));
    }
    let new: Vec<String> = after.into_values().flat_map(BTreeMap::into_values).collect();
    if !new.is_empty() {
        let what: Vec<&str> = leavers.iter().map(|one| one.what()).collect();
        return Err(traps::refused(&what.join(", "), within.tx.database(), &new));
    }
    // `DROP OWNED` would drop what somebody created in their name just now.
    let left = dependents_here(within, &oids).await?;
    if left > 0 {
        return Err(rules::stale("what the leaving roles own", "became more meanwhile"));
    }
    if let Some((_, error)) = passing::passed_on(within, leavers).await?.pop() {
        return Err(error);
    }
    let given = Given::read(within, leavers).await?;
    if let Some((_, error)) = given.held(within, leavers).pop() {
        return Err(error);
    }
    given.take_back(within, leavers, &lent).await?;
    within.tx.batch(&format!("DROP OWNED BY {}", names_of(leavers))).await?;
    forget_rights(within, &oids).await?;
    within.tx.batch(&end).await
}

/// How many objects roles own here.
async fn dependents_here(within: &Within, oids: &[u32]) -> Result<i64> {
    let rows = within
        .tx
        .query(
            &format!(
                "SELECT count(*) FROM pg_shdepend s
            WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY ($1)
                AND {OWNS} AND (s.dbid = 0 OR s.dbid =
                    (SELECT oid FROM pg_database WHERE datname = current_database()))"
            ),
            &[(&oids, Type::OID_ARRAY)],
        )
        .await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

/// What is registered of the rights of roles that are gone is gone as well, on
/// whichever side of it they stood: another role may get the number one day.
async fn forget_rights(within: &Within, oids: &[u32]) -> Result<()> {
    let oids: Vec<String> = oids.iter().map(ToString::to_string).collect();
    let types = [Grant::TYPE, Membership::TYPE, DefaultPrivileges::TYPE, Ownership::TYPE];
    within
        .tx
        .execute(
            "DELETE FROM agent_iac.objects o
            WHERE type = ANY ($1) AND split_part(id, ' ', 1) = ANY ($2)
                OR type = $3 AND id = ANY ($2)
                OR type = $4 AND split_part(id, ' ', 3) = ANY ($2)
                OR type IN ($4, $5) AND substring(id FROM ' by ([0-9]+)$') = ANY ($2)
                OR type = $6 AND substring(id FROM '^[0-9]+ on future [a-z-]+ of ([0-9]+)')
                    = ANY ($2)
                OR type = $8 AND substring(id FROM '^PUBLIC on future [a-z-]+ of ([0-9]+)')
                    = ANY ($2)
                OR type = $7 AND NOT EXISTS (
                    SELECT FROM pg_policy p WHERE p.oid::text = split_part(o.id, ' ', 2))",
            &[
                (&&types[..], Type::TEXT_ARRAY),
                (&oids, Type::TEXT_ARRAY),
                (&Login::TYPE, Type::TEXT),
                (&Membership::TYPE, Type::TEXT),
                (&Grant::TYPE, Type::TEXT),
                (&DefaultPrivileges::TYPE, Type::TEXT),
                (&Policy::TYPE, Type::TEXT),
                (&PublicDefaults::TYPE, Type::TEXT),
            ],
        )
        .await
        .map(drop)
}

/// The names of roles and their logins, as a list in SQL.
fn names_of(leavers: &[&Leaver]) -> String {
    let names = leavers.iter().flat_map(|one| one.names.values()).map(|name| ident(name));
    names.collect::<Vec<_>>().join(", ")
}

/// Drops roles with their logins, once nothing of them is left elsewhere.
pub(in super::super) async fn drop_roles(
    within: &Within,
    powers: &Powers,
    leavers: &[&Leaver],
) -> Result<()> {
    if leavers.is_empty() {
        return Ok(());
    }
    let oids = oids_of(leavers.iter().copied());
    let others = dependents(within, &oids).await?;
    let elsewhere: BTreeSet<String> = others
        .into_iter()
        .filter_map(|one| one.database)
        .filter(|database| *database != within.layout.own)
        .map(|database| quoted(&database))
        .collect();
    if !elsewhere.is_empty() {
        let names: Vec<String> = elsewhere.into_iter().collect();
        return Err(rules::stale(
            "what the leaving roles may do or own",
            &format!("became more meanwhile, in {}", names.join(", ")),
        ));
    }
    let powers = if within.version < GRANTORS {
        let mut powers = powers.clone();
        powers.administer(oids.iter().copied());
        powers
    } else {
        powers.clone()
    };
    release(within, &powers, leavers).await?;
    within.tx.batch(&format!("DROP ROLE {}", names_of(leavers))).await
}

/// Says of a failed end what stands in its way.
pub(in super::super) async fn explain(
    within: &Within,
    powers: &Powers,
    what: &str,
    leaver: &Leaver,
    error: Error,
) -> Error {
    let (me, role) = (powers.my_name(), powers.name(leaver.role));
    match sqlstate(&error) {
        Some("42501") => {
            let name = leaver.names.get(&leaver.role).map_or("", String::as_str);
            let mut help = format!("GRANT {} TO {} WITH ADMIN OPTION", ident(name), ident(me));
            if let Some(heir) = &leaver.heir {
                help.push_str(&format!(
                    "; GRANT {} TO {}; the heir also needs CREATE on the schemas",
                    ident(heir),
                    ident(me)
                ));
            }
            Error::new(
                ErrorKind::Denied,
                format!(
                    "{what} cannot leave: {} may not act as {role}{}, in the database {}",
                    quoted(me),
                    leaver.heir.as_ref().map_or(String::new(), |heir| format!(
                        ", or not give to its heir {}",
                        quoted(heir)
                    )),
                    quoted(within.tx.database())
                ),
            )
            .help(help)
            .caused_by(error)
        }
        Some("2BP01") => {
            let oids: Vec<u32> = leaver.oids().collect();
            let left = dependents(within, &oids).await.unwrap_or_default();
            let places: BTreeSet<String> = left
                .into_iter()
                .map(|one| one.database.map_or("the cluster".into(), |name| quoted(&name)))
                .collect();
            Error::new(
                ErrorKind::Refused,
                format!(
                    "{what} cannot be dropped: something still depends on it in {}",
                    places.into_iter().collect::<Vec<_>>().join(", ")
                ),
            )
            .help("`pg_shdepend` names it; take it away by hand, then repeat")
            .caused_by(error)
        }
        _ => error,
    }
}
