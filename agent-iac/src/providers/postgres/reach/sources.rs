//! Where access comes from, each source once. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Cluster, Room,
    asked::Asked,
    behind::{Actor, Door},
    everybody::PUBLIC,
    graph::How,
    predefined,
    roles::Row,
};
use crate::{
    access::{Access, Tuple},
    address::quoted,
    provider::Source,
    providers::postgres::{
        Database,
        catalog::{
            ids::Oid,
            people::{DATABASE_OWNER, EVERYBODY},
        },
        name::shown,
        resources::ATTRIBUTES,
    },
};

/// Sources by their names, in the order in which they were found.
#[derive(Default)]
struct Sources {
    all: Vec<Source>,
    places: BTreeMap<String, usize>,
}

impl Sources {
    /// The place of a source, which is made when it is met first.
    fn place(&mut self, name: &str, make: impl FnOnce() -> Source) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.all.len();
        self.places.insert(name.to_owned(), place);
        self.all.push(make());
        place
    }
}

/// The sources, and for each identity those that reach it.
pub(super) fn of(
    cluster: &Cluster,
    rooms: &[Room],
    asked: &[Asked],
) -> (Vec<Source>, Vec<Vec<usize>>) {
    let mut sources = Sources::default();
    let of = asked.iter().map(|asked| {
        let mut of = vec![sources.place(PUBLIC, || everybody(cluster, rooms))];
        for (role, how) in &asked.reached.roles {
            let Some(row) = cluster.rows.get(role) else { continue };
            let name = name_of(row, *how);
            of.push(sources.place(&name, || of_role(&name, row, *how, cluster, rooms)));
        }
        for role in &asked.reached.admin_of {
            let Some(row) = cluster.rows.get(role) else { continue };
            let name = format!("admin of {}", shown(&row.name));
            of.push(sources.place(&name, || of_admin(&name, row)));
        }
        for room in rooms {
            let Some(how) = owns(room, asked, cluster) else { continue };
            let name = match how {
                How::Member | How::Inherits => format!("owner of database {}", shown(&room.name)),
                How::Sets | How::AfterSet => {
                    format!("owner of database {} after SET ROLE", shown(&room.name))
                }
            };
            of.push(sources.place(&name, || of_database(&name, room)));
        }
        for actor in rooms.iter().flat_map(|room| &room.behind.actors) {
            let is = |role: &Oid| actor.of.contains(role);
            if actor.doors.iter().any(|door| opens(asked, door))
                || is(&EVERYBODY)
                || asked.oid.as_ref().is_some_and(is)
                || asked.reached.roles.keys().any(is)
            {
                of.push(sources.place(&actor.name, || of_actor(actor)));
            }
        }
        for (database, roles) in &cluster.elsewhere {
            let has = |role: &Oid| roles.contains_key(role);
            if asked.oid.as_ref().is_some_and(has) || asked.reached.roles.keys().any(has) {
                let name = format!("database {}", shown(database));
                of.push(sources.place(&name, || unread(&name)));
            }
        }
        of
    });
    let of = of.collect();
    (sources.all, of)
}

fn name_of(row: &Row, how: How) -> String {
    let role = shown(&row.name);
    match how {
        How::Member => format!("member of {role}"),
        How::Inherits => format!("inherits from {role}"),
        How::Sets => format!("SET ROLE {role}"),
        How::AfterSet => format!("inherits from {role} after SET ROLE"),
    }
}

fn source(name: &str, access: Access) -> Source {
    Source { name: name.to_owned(), access, counted: BTreeMap::new() }
}

fn everybody(cluster: &Cluster, rooms: &[Room]) -> Source {
    let mut public = source(PUBLIC, Access::NONE);
    for room in rooms {
        public.access.tuples.extend(room.everybody.tuples.iter().cloned());
        public.counted.extend(room.everybody.counted.clone());
        public.access.tuples.extend(rows_of(EVERYBODY, PUBLIC, room));
    }
    let looked_at: BTreeSet<&str> = rooms.iter().map(|room| room.name.as_str()).collect();
    let connect = rooms.iter().flat_map(|room| &room.everybody.connect);
    let unread: Vec<String> = connect
        .filter(|name| cluster.databases.contains_key(*name) && !looked_at.contains(name.as_str()))
        .map(|name| quoted(name))
        .collect();
    if !unread.is_empty() {
        let what = format!("what everybody may do within {} is not read", unread.join(", "));
        public.access.undecided.insert(what);
    }
    public
}

/// The rows that policies let a role through to.
fn rows_of(role: Oid, name: &str, room: &Room) -> impl Iterator<Item = Tuple> {
    let policies = room.behind.policies.iter();
    policies
        .filter(move |policy| policy.roles.contains(&role))
        .map(move |policy| policy.tuple(name))
}

/// What a role has, to whoever reaches it.
fn of_role(name: &str, row: &Row, how: How, cluster: &Cluster, rooms: &[Room]) -> Source {
    let mut source = source(name, Access::NONE);
    let tuples = &mut source.access.tuples;
    for room in rooms {
        for (action, object) in room.holdings.given.get(&row.oid).into_iter().flatten() {
            tuples.insert(Tuple::allow(name, action, object));
        }
        tuples.extend(rows_of(row.oid, name, room));
        for (what, number) in room.holdings.counted.get(&row.oid).into_iter().flatten() {
            *source.counted.entry(what.clone()).or_default() += number;
        }
    }
    for (role, edge) in cluster.graph.0.get(&row.oid).into_iter().flatten() {
        if let Some(of) = cluster.rows.get(role).filter(|_| edge.admin) {
            let role = format!("role {}", shown(&of.name));
            tuples.insert(Tuple::allow(name, "give membership in", role));
        }
    }
    // Attributes are nobody's but of who the session is at the moment.
    if matches!(how, How::Member | How::Sets) {
        let has = row.attributes();
        for (_, action) in ATTRIBUTES.iter().filter(|(word, _)| has.contains(word)) {
            let mut tuple = Tuple::allow(name, *action, "cluster");
            if how == How::Member {
                tuple.condition = Some(format!("SET ROLE {}", shown(&row.name)));
            }
            tuples.insert(tuple);
        }
    }
    if row.name.starts_with("pg_") {
        match predefined::meaning(&row.name) {
            Some(meaning) => tuples.extend(
                meaning.iter().map(|(action, object)| Tuple::allow(name, *action, *object)),
            ),
            None => {
                let why = format!("what {} gives is not known to this program", quoted(&row.name));
                source.access.undecided.insert(why);
            }
        }
    }
    source
}

fn of_admin(name: &str, row: &Row) -> Source {
    let role = shown(&row.name);
    let tuple = Tuple::allow(name, "give membership in", format!("role {role}"));
    let mut source = source(name, Access::exactly([tuple]));
    let why = format!("it may make itself a member of {}", quoted(&row.name));
    source.access.undecided.insert(why);
    source
}

/// How an identity comes to be the owner of a database.
fn owns(room: &Room, asked: &Asked, cluster: &Cluster) -> Option<How> {
    let owner = cluster.databases.get(&room.name)?;
    if asked.oid == Some(*owner) {
        Some(How::Member)
    } else {
        asked.reached.roles.get(owner).copied()
    }
}

fn of_database(name: &str, room: &Room) -> Source {
    let own = Tuple::allow(name, "own", Database::new(&room.name).to_string());
    let mut source = source(name, Access::exactly([own]));
    for (action, object) in room.holdings.given.get(&DATABASE_OWNER).into_iter().flatten() {
        source.access.tuples.insert(Tuple::allow(name, action, object));
    }
    source
}

/// Whether an identity can set something off, by what it has or is to have.
fn opens(asked: &Asked, door: &Door) -> bool {
    let has = |role: &Oid| door.who.contains(role);
    has(&EVERYBODY)
        || asked.oid.as_ref().is_some_and(has)
        || asked.reached.roles.keys().any(has)
        || door.privileges.iter().any(|privilege| asked.wish.grants_some(&door.on, *privilege))
        || asked.wish.owns.contains(&door.on)
}

fn of_actor(actor: &Actor) -> Source {
    let set_off = Tuple::allow(&actor.name, &actor.action, &actor.object);
    let mut source = source(&actor.name, Access::exactly([set_off]));
    source.access.undecided.insert(actor.why.clone());
    source
}

fn unread(name: &str) -> Source {
    let why = "what these roles have there is not read; let the provider connect to it, and add it \
        with `.database(…)`";
    source(name, Access::undecided(why))
}
