//! What a reviewer of any plan on a cluster must know. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Cluster, Room,
    asked::{Asked, Taken, database_of, schema_of},
    notes::Notes,
    predefined, promises,
};
use crate::{
    address::quoted,
    providers::postgres::{
        Database, Object, ObjectKind, Privilege,
        catalog::{
            ids::Oid,
            people::{DATABASE_OWNER, EVERYBODY},
        },
    },
};

/// How many names a warning has; there may be thousands.
const NAMES: usize = 5;

pub(super) fn of(cluster: &Cluster, rooms: &[Room], asked: &[Asked], taken: &Taken) -> Vec<String> {
    let mut warnings = Vec::new();
    let version = cluster.about.major();
    if cluster.about.in_recovery {
        warnings.push("the server is a replica, and what it shows may be old".to_owned());
    }
    if let Some(why) = &cluster.about.pooler {
        warnings.push(format!(
            "something seems to stand before the server ({why}); a pooler may let somebody in \
             whose login is revoked, until its own clients are ended too; that a login has ended \
             is proved by the server alone, where `probe_at` names it"
        ));
    }
    if version < 16 {
        warnings.push(format!(
            "on PostgreSQL {version} whoever may create roles is as good as superuser; use 16 or later"
        ));
        let creators = asked.iter().filter(|asked| has(cluster, asked, |row| row.createrole));
        let creators = names(cluster, creators);
        if !creators.is_empty() {
            warnings.push(format!("{creators} may create roles, and so become superuser"));
        }
    }
    if !cluster.notes.forgers.is_empty() {
        let forgers: Vec<String> = cluster.notes.forgers.iter().map(|name| quoted(name)).collect();
        warnings.push(format!(
            "{} may write into the registry of whose everything is, by BYPASSRLS with \
             `pg_write_all_data`; what it says is worth no more than they are",
            listed(&forgers)
        ));
    }
    behind_us(&cluster.notes, &mut warnings);
    powers(cluster, asked, &mut warnings);
    if !cluster.notes.registries.is_empty() {
        let names: Vec<String> = cluster.notes.registries.iter().map(|name| quoted(name)).collect();
        warnings.push(format!(
            "whoever applies here has a schema in {}, which this provider does not name: a fleet \
             that keeps its registry there sees nothing of whose the roles of this one are, nor \
             waits for it; give all fleets of a cluster the same database in their endpoints",
            listed(&names)
        ));
    }
    let all = |of: fn(&Room) -> &BTreeSet<String>| -> Vec<String> {
        let names: BTreeSet<&String> = rooms.iter().flat_map(of).collect();
        names.into_iter().cloned().collect()
    };
    let temporary: Vec<String> =
        all(|room| &room.everybody.temporary).iter().map(|name| quoted(name)).collect();
    if !temporary.is_empty() {
        warnings.push(format!(
            "everybody may create temporary tables in {}; a `postgres.public` takes that back",
            listed(&temporary)
        ));
    }
    let create = all(|room| &room.everybody.create);
    if !create.is_empty() {
        warnings.push(format!(
            "everybody may create objects in {}, which others then call by their names; a \
             `postgres.public` takes that back",
            listed(&create)
        ));
    }
    closed(cluster, rooms, asked, taken, &mut warnings);
    unsecured(cluster, rooms, asked, &mut warnings);
    promises::broken(cluster, rooms, asked, &mut warnings);
    warnings
}

fn has(cluster: &Cluster, asked: &Asked, attribute: fn(&super::Row) -> bool) -> bool {
    let itself = asked.oid.iter();
    let by_set = asked
        .reached
        .roles
        .iter()
        .filter(|(_, how)| matches!(how, super::graph::How::Member | super::graph::How::Sets));
    itself
        .chain(by_set.map(|(role, _)| role))
        .any(|role| cluster.rows.get(role).is_some_and(attribute))
}

fn names<'a>(cluster: &Cluster, asked: impl Iterator<Item = &'a Asked>) -> String {
    let name = |asked: &Asked| match asked.oid.and_then(|oid| cluster.rows.get(&oid)) {
        Some(row) => quoted(&row.name),
        None => "a role that is not there yet".to_owned(),
    };
    let names: BTreeSet<String> = asked.map(name).collect();
    listed(&names.into_iter().collect::<Vec<_>>())
}

fn listed(names: &[String]) -> String {
    let mut first = names.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMES {
        first.push_str(&format!(" and {} more", names.len() - NAMES));
    }
    first
}

/// Who else could apply, and with what every session begins.
fn behind_us(notes: &Notes, warnings: &mut Vec<String>) {
    let quoted = |names: &BTreeSet<String>| {
        let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        listed(&names)
    };
    if !notes.members.is_empty() {
        warnings.push(format!(
            "{} may do whatever applying may, and write into the registry: who is behind the \
             administrators is no login of this provider",
            quoted(&notes.members)
        ));
    }
    if !notes.admins.is_empty() {
        warnings.push(format!(
            "{} may make members of the administrators, and so do whatever applying may",
            quoted(&notes.admins)
        ));
    }
    for (database, settings) in &notes.settings {
        let place = if database.is_empty() {
            "every session".to_owned()
        } else {
            format!("every session in {}", crate::address::quoted(database))
        };
        warnings.push(format!(
            "{place} begins with settings that no role declares: {}",
            listed(&told(settings))
        ));
    }
}

/// What changes which objects a statement finds, and as whom; these first, and
/// only their values are shown: in others applications keep secrets.
const TELLING: [&str; 5] =
    ["role", "row_security", "search_path", "session_authorization", "session_replication_role"];

fn told(settings: &BTreeMap<String, String>) -> Vec<String> {
    let is_telling = |name: &str| TELLING.contains(&name);
    let (first, others): (Vec<_>, Vec<_>) =
        settings.iter().partition(|(name, _)| is_telling(name.as_str()));
    let first = first.into_iter().map(|(name, value)| format!("`{name}` = {}", quoted(value)));
    first.chain(others.into_iter().map(|(name, _)| quoted(name))).collect()
}

/// Roles by which one becomes superuser.
fn powers(cluster: &Cluster, asked: &[Asked], warnings: &mut Vec<String>) {
    let mut reached: BTreeMap<Oid, Vec<&Asked>> = BTreeMap::new();
    for asked in asked {
        for role in asked.reached.roles.keys() {
            reached.entry(*role).or_default().push(asked);
        }
    }
    for (role, by) in reached {
        let Some(row) = cluster.rows.get(&role) else { continue };
        let by = names(cluster, by.into_iter());
        if predefined::is_as_good_as_superuser(&row.name) {
            warnings.push(format!(
                "{by} may do what {} may, and so become superuser",
                quoted(&row.name)
            ));
        }
        if row.superuser {
            warnings.push(format!("{by} may become the superuser {}", quoted(&row.name)));
        }
    }
}

/// Privileges that are good for nothing: their schema or database lets nobody
/// of those in who are to have them, or will not once everybody has lost what
/// is declared.
fn closed(
    cluster: &Cluster,
    rooms: &[Room],
    asked: &[Asked],
    taken: &Taken,
    warnings: &mut Vec<String>,
) {
    let mut without: BTreeMap<(Object, Privilege), Vec<&Asked>> = BTreeMap::new();
    let own = rooms.first().map(|room| room.name.as_str()).unwrap_or_default();
    let open: BTreeMap<&Object, &BTreeSet<Oid>> =
        rooms.iter().flat_map(|room| &room.doors).collect();
    for asked in asked {
        let mut doors: BTreeSet<(Object, Privilege)> = asked
            .wish
            .grants
            .iter()
            .flat_map(|(on, _)| {
                let schema = schema_of(on).map(|schema| (schema, Privilege::Usage));
                let database = database_of(on, own).map(|name| (name, Privilege::Connect));
                schema.into_iter().chain(database)
            })
            .collect();
        // Every login has to get into the provider's own database.
        let entrance = (Database::new(own), Privilege::Connect);
        if asked.wish.is_anything() && taken.contains(&entrance) {
            doors.insert(entrance);
        }
        for (door, privilege) in doors {
            // What is not there cannot be entered, and the grant will say so.
            let Some(who) = open.get(&door) else { continue };
            let is_taken = taken.contains(&(door.clone(), privilege));
            if !passes(cluster, asked, &door, privilege, who, is_taken, own) {
                without.entry((door, privilege)).or_default().push(asked);
            }
        }
    }
    for ((door, privilege), asked) in without {
        let by_everybody = open.get(&door).is_some_and(|who| who.contains(&EVERYBODY));
        if by_everybody {
            warnings.push(format!(
                "{} from PUBLIC on {door} is to be taken, and {} has it by nothing else, and is \
                 locked out; grant {} on it too",
                privilege.sql(),
                names(cluster, asked.into_iter()),
                privilege.word(),
            ));
            continue;
        }
        warnings.push(format!(
            "{} is to have privileges within {door} without {} on it, so that they give nothing; \
             grant {} on it too",
            names(cluster, asked.into_iter()),
            privilege.sql(),
            privilege.word(),
        ));
    }
}

/// Tables whose row policies hold for nobody, or not for one of these.
fn unsecured(cluster: &Cluster, rooms: &[Room], asked: &[Asked], warnings: &mut Vec<String>) {
    for table in rooms.iter().flat_map(|room| &room.behind.tables) {
        let (name, sql) = (&table.on, table.on.sql_name());
        if !table.is_secured {
            let uses = |asked: &&Asked| {
                table.who.contains(&EVERYBODY)
                    || asked.acts_as().any(|role| table.who.contains(&role))
                    || name.privileges().iter().any(|one| asked.wish.grants_some(name, *one))
            };
            let of: Vec<&Asked> = asked.iter().filter(uses).collect();
            if !of.is_empty() {
                warnings.push(format!(
                    "row security of {name} is off, so that none of its policies holds for {}; \
                     ALTER TABLE {sql} ENABLE ROW LEVEL SECURITY",
                    names(cluster, of.into_iter())
                ));
            }
            continue;
        }
        let owns = |asked: &&Asked| {
            asked.acts_as().any(|role| role == table.owner) || asked.wish.owns.contains(name)
        };
        let owners: Vec<&Asked> = asked.iter().filter(owns).collect();
        if !owners.is_empty() {
            warnings.push(format!(
                "{} owns {name}, whose row policies do not hold for the owner; ALTER TABLE {sql} \
                 FORCE ROW LEVEL SECURITY",
                names(cluster, owners.into_iter())
            ));
        }
    }
}

fn passes(
    cluster: &Cluster,
    asked: &Asked,
    door: &Object,
    privilege: Privilege,
    who: &BTreeSet<Oid>,
    is_taken: bool,
    own: &str,
) -> bool {
    if asked.wish.grants(door, privilege) || asked.wish.owns.contains(door) {
        return true;
    }
    if who.contains(&EVERYBODY) && !is_taken {
        return true;
    }
    let database = match door.kind {
        ObjectKind::Database => door.name.as_str(),
        _ => door.database.as_deref().unwrap_or(own),
    };
    let owner = cluster.databases.get(database);
    asked.acts_as().any(|role| {
        who.contains(&role)
            || owner == Some(&role) && who.contains(&DATABASE_OWNER)
            || cluster.rows.get(&role).is_some_and(|row| {
                row.superuser && asked.oid == Some(role)
                    || privilege == Privilege::Usage && predefined::looks_everywhere(&row.name)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::postgres::{reach::graph::Graph, server::About};

    fn cluster(pooler: Option<&str>) -> Cluster {
        Cluster {
            about: About {
                version: 170_000,
                system: None,
                database: "app".into(),
                database_oid: 5,
                in_recovery: false,
                pooler: pooler.map(str::to_owned),
            },
            rows: BTreeMap::new(),
            graph: Graph::default(),
            databases: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            notes: Notes::default(),
        }
    }

    #[test]
    fn what_stands_before_the_server_is_told() {
        assert_eq!(of(&cluster(None), &[], &[], &Taken::new()), Vec::<String>::new());
        let warnings = of(&cluster(Some("we connect by TCP")), &[], &[], &Taken::new());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("(we connect by TCP)"), "{warnings:?}");
    }
}
