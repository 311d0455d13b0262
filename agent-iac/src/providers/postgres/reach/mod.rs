//! What identities can do beside what was granted to them.
//!
//! Owns the question where else access comes from: everybody, the roles that a
//! role inherits from or can become, what those own and will be given, the
//! server's own roles, and functions that act as somebody else. What cannot be
//! told is undecided, and never left out. It changes nothing, and it does not
//! say what is declared.
//!
//! As a catalog's list, it costs a constant number of requests for each
//! database, however many identities there are.

mod asked;
mod behind;
mod everybody;
mod graph;
mod holdings;
mod notes;
mod predefined;
mod promises;
mod sources;
mod warnings;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::{join_all, try_join3};

use self::{
    asked::{Asked, Taken, Wish},
    behind::Behind,
    everybody::Everybody,
    graph::{Edge, Graph},
    holdings::Holdings,
    notes::Notes,
    promises::Unfit,
};
use super::{
    Database, Object, ObjectKind, Privilege, Schema,
    catalog::{
        Within, classes,
        ids::Oid,
        people::{DATABASE_OWNER, EVERYBODY, inherit_option, set_option},
        roles::{self, Row},
    },
    name::MAX_NAME,
    server::{About, Type},
    view::View,
};
use crate::{
    address::quoted,
    error::Result,
    provider::{Permission, Surrounded, Surroundings},
};

/// What the whole cluster says.
#[derive(Debug)]
struct Cluster {
    about: About,
    /// The roles that were asked about, and all that they reach.
    rows: BTreeMap<Oid, Row>,
    graph: Graph,
    /// Every database that can be connected to, with its owner.
    databases: BTreeMap<String, Oid>,
    /// What these roles have in databases that are not looked at: how many
    /// entries, by the database and the role.
    elsewhere: BTreeMap<String, BTreeMap<Oid, u64>>,
    notes: Notes,
}

/// What one database says.
#[derive(Debug)]
struct Room {
    /// Its name, as the cluster has it.
    name: String,
    everybody: Everybody,
    holdings: Holdings,
    behind: Behind,
    /// Who may look into the schemas that are asked about, and who may connect
    /// to the databases: grantees, and the owners.
    doors: BTreeMap<Object, BTreeSet<Oid>>,
    /// The heirs who may not create where they would take something over.
    unfit: Vec<Unfit>,
    /// The policies that no fleet declared, where some are to be declared.
    of_nobody: BTreeSet<Oid>,
}

/// Says what identities can do beside their own permissions.
///
/// A database that cannot be read is named, and what the others say is told.
///
/// # Errors
///
/// When the provider's own database cannot be read.
pub(super) async fn surroundings(
    view: &View,
    of: &[Surrounded],
    everybody: &[Permission],
) -> Result<Surroundings> {
    let taken = asked::taken(everybody);
    let wishes: Vec<Wish> = of.iter().map(Wish::of).collect();
    let server = view.server.clone();
    let (oids, names) = (
        wishes.iter().filter_map(|wish| wish.oid).collect::<Vec<Oid>>(),
        wishes.iter().flat_map(Wish::names).filter(|name| name.len() <= MAX_NAME),
    );
    let asked = Arc::new((oids, names.map(str::to_owned).collect::<Vec<String>>()));
    let whole = move |within: Within| {
        let (server, asked) = (server.clone(), Arc::clone(&asked));
        async move {
            let (oids, names) = asked.as_ref();
            cluster(&within, server.about().await?, oids, names).await
        }
    };
    let mut cluster = view.read(None, whole).await?;
    let asked: Vec<Asked> =
        wishes.into_iter().map(|wish| Asked::new(wish, &cluster.rows, &cluster.graph)).collect();

    let mut roles: BTreeSet<Oid> =
        asked.iter().flat_map(|asked| asked.reached.roles.keys().copied()).collect();
    let identities: BTreeSet<Oid> = asked.iter().filter_map(|asked| asked.oid).collect();
    let owners: BTreeSet<Oid> = cluster.databases.values().copied().collect();
    if roles.iter().chain(&identities).any(|role| owners.contains(role)) {
        // Whoever owns a database is a member of this one there.
        roles.insert(DATABASE_OWNER);
    }
    let (roles, identities) = (Arc::new(roles), Arc::new(identities));
    let databases = view.layout.databases().map(|database| {
        let about = (Arc::clone(&roles), Arc::clone(&identities));
        let doors = Arc::new(doors_of(&asked, &taken, database, &view.layout.own));
        let wished = Arc::new(wished_in(&asked, database));
        let heirs = Arc::new(promises::heirs_in(&asked, database));
        let read = view.read(database, move |within: Within| {
            let ((roles, identities), doors) = (about.clone(), Arc::clone(&doors));
            let (wished, heirs) = (Arc::clone(&wished), Arc::clone(&heirs));
            async move { room(&within, (&roles, &identities), &doors, &wished, &heirs).await }
        });
        async move { (database, read.await) }
    });
    let (mut rooms, mut unread) = (Vec::new(), Vec::new());
    for (database, read) in join_all(databases).await {
        match (database, read) {
            (_, Ok(room)) => rooms.push(room),
            (None, Err(error)) => return Err(error),
            (Some(name), Err(error)) => {
                unread.push(format!("the database {}: {}", quoted(name), error.chain()));
            }
        }
    }
    if !unread.is_empty() {
        cluster.elsewhere = accounted(view, &cluster, &rooms).await?;
    }
    let (sources, of) = sources::of(&cluster, &rooms, &asked);
    Ok(Surroundings {
        sources,
        of,
        warnings: warnings::of(&cluster, &rooms, &asked, &taken),
        unread,
    })
}

/// What roles have in databases that could not be looked at, by the cluster's
/// own account.
async fn accounted(
    view: &View,
    cluster: &Cluster,
    rooms: &[Room],
) -> Result<BTreeMap<String, BTreeMap<Oid, u64>>> {
    let roles: Vec<Oid> = cluster.rows.keys().copied().collect();
    let looked_at: Vec<String> = rooms.iter().map(|room| room.name.clone()).collect();
    let asked = Arc::new((roles, looked_at));
    let read = move |within: Within| {
        let asked = Arc::clone(&asked);
        async move { elsewhere(&within, &asked.0, &asked.1).await }
    };
    view.read(None, read).await
}

/// What the cluster says of some roles, by their numbers and by their names.
async fn cluster(within: &Within, about: About, oids: &[Oid], names: &[String]) -> Result<Cluster> {
    let condition = "r.oid IN (WITH RECURSIVE up AS (
        (SELECT oid FROM pg_roles WHERE oid = ANY ($1)
            UNION ALL SELECT oid FROM pg_roles WHERE rolname = ANY ($2))
        UNION SELECT m.roleid FROM up JOIN pg_auth_members m ON m.member = up.oid
    ) SELECT oid FROM up)";
    let parameters = [(&oids as _, Type::OID_ARRAY), (&names as _, Type::NAME_ARRAY)];
    let rows = roles::rows(within, condition, &parameters).await?;
    let all: Vec<Oid> = rows.iter().map(|row| row.oid).collect();
    let databases = within.layout.databases().map(|one| within.layout.name(one).to_owned());
    let databases: Vec<String> = databases.collect();
    let (graph, elsewhere, notes) = try_join3(
        graph(within, &all),
        elsewhere(within, &all, &databases),
        notes::read(within, &databases),
    )
    .await?;
    let sql = "SELECT datname::text, datdba FROM pg_database WHERE datallowconn";
    let databases = within.tx.query(sql, &[]).await?;
    Ok(Cluster {
        about,
        rows: rows.into_iter().map(|row| (row.oid, row)).collect(),
        graph,
        databases: databases.iter().map(|row| (row.get(0), row.get(1))).collect(),
        elsewhere,
        notes,
    })
}

async fn graph(within: &Within, members: &[Oid]) -> Result<Graph> {
    let sql = format!(
        "SELECT m.member, m.roleid, bool_or({}), bool_or({}), bool_or(m.admin_option)
        FROM pg_auth_members m WHERE m.member = ANY ($1) GROUP BY m.member, m.roleid",
        inherit_option(within.version),
        set_option(within.version),
    );
    let rows = within.tx.query(&sql, &[(&members, Type::OID_ARRAY)]).await?;
    let mut graph = Graph::default();
    for row in &rows {
        let edge = Edge { inherits: row.get(2), sets: row.get(3), admin: row.get(4) };
        graph.0.entry(row.get(0)).or_default().insert(row.get(1), edge);
    }
    Ok(graph)
}

/// What some roles have in databases that are not looked at, by the cluster's
/// own account.
async fn elsewhere(
    within: &Within,
    roles: &[Oid],
    looked_at: &[String],
) -> Result<BTreeMap<String, BTreeMap<Oid, u64>>> {
    let sql = "SELECT d.datname::text, s.refobjid, count(*)
        FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY ($1)
            AND d.datname::text <> ALL ($2)
        GROUP BY d.datname, s.refobjid";
    let rows =
        within.tx.query(sql, &[(&roles, Type::OID_ARRAY), (&looked_at, Type::TEXT_ARRAY)]).await?;
    let mut elsewhere: BTreeMap<String, BTreeMap<Oid, u64>> = BTreeMap::new();
    for row in &rows {
        let count = u64::try_from(row.get::<_, i64>(2)).unwrap_or_default();
        elsewhere.entry(row.get(0)).or_default().insert(row.get(1), count);
    }
    Ok(elsewhere)
}

/// The schemas of a database without which wished privileges are good for
/// nothing; and, of the provider's own, the databases themselves.
fn doors_of(asked: &[Asked], taken: &Taken, database: Option<&str>, own: &str) -> BTreeSet<Object> {
    let wished = || asked.iter().flat_map(|asked| &asked.wish.grants);
    let here = wished().filter(|(on, _)| on.database.as_deref() == database);
    let mut doors: BTreeSet<Object> = here.filter_map(|(on, _)| asked::schema_of(on)).collect();
    if database.is_none() {
        doors.extend(wished().filter_map(|(on, _)| asked::database_of(on, own)));
        let own = Database::new(own);
        doors.extend(taken.iter().map(|(on, _)| on).filter(|on| **on == own).cloned());
    }
    doors
}

/// What is wished for in a database.
struct Wished {
    /// What privileges or row policies are to be on.
    objects: BTreeSet<Object>,
    /// Whether there are policies among that.
    policies: bool,
}

fn wished_in(asked: &[Asked], database: Option<&str>) -> Wished {
    let is_here = |on: &&Object| on.database.as_deref() == database;
    let ruled = asked.iter().flat_map(|asked| &asked.wish.policies).map(|ruled| &ruled.on);
    let ruled: BTreeSet<&Object> = ruled.filter(is_here).collect();
    let granted = asked.iter().flat_map(|asked| &asked.wish.grants).map(|(on, _)| on);
    let whole = |on: &Object| Object { columns: None, ..on.clone() };
    let objects = granted.filter(is_here).chain(ruled.iter().copied()).map(whole).collect();
    Wished { objects, policies: !ruled.is_empty() }
}

async fn room(
    within: &Within,
    (roles, identities): (&BTreeSet<Oid>, &BTreeSet<Oid>),
    doors: &BTreeSet<Object>,
    wished: &Wished,
    heirs: &promises::Heirs,
) -> Result<Room> {
    let all: BTreeSet<Oid> = roles.union(identities).copied().collect();
    let behind = behind::read(within, &all, &wished.objects).await?;
    let of_nobody = if wished.policies {
        promises::of_nobody(within, &behind.policies).await?
    } else {
        BTreeSet::new()
    };
    Ok(Room {
        name: within.layout.name(within.database.as_deref()).to_owned(),
        everybody: everybody::read(within).await?,
        holdings: holdings::read(within, roles).await?,
        behind,
        of_nobody,
        doors: open(within, doors, &all).await?,
        unfit: promises::unfit(within, heirs).await?,
    })
}

/// Who may pass some doors.
async fn open(
    within: &Within,
    doors: &BTreeSet<Object>,
    roles: &BTreeSet<Oid>,
) -> Result<BTreeMap<Object, BTreeSet<Oid>>> {
    let found = classes::named(within, doors).await?;
    let places = found.values().map(|found| found.place).collect();
    let grantees = roles.iter().copied().chain([EVERYBODY]).collect();
    let entries = classes::entries(within, &places, &BTreeSet::new(), &grantees).await?;
    let mut open: BTreeMap<_, BTreeSet<Oid>> = BTreeMap::new();
    for entry in &entries {
        if matches!(entry.privilege, Privilege::Usage | Privilege::Connect) {
            open.entry(entry.place).or_default().insert(entry.grantee);
        }
    }
    Ok(found
        .into_iter()
        .map(|(door, found)| {
            let mut who = open.remove(&found.place).unwrap_or_default();
            who.insert(found.owner);
            (door, who)
        })
        .collect())
}
