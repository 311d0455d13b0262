//! What stands behind a privilege: whatever acts as somebody else once it is
//! used, and the row policies that decide what it is good for.
//!
//! Owns the queries for both in one database. What such a thing does is not
//! judged, and what roles were granted is not told.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{try_join, try_join4};

use crate::{
    access::Tuple,
    address::quoted,
    error::Result,
    providers::postgres::{
        Command, ForeignServer, Object, Privilege,
        catalog::{
            Class, Entry, Found, Place, Within, beside::expressions, classes, ids::Oid,
            people::EVERYBODY,
        },
        name::shown,
        server::Type,
    },
};

/// What stands behind privileges in one database.
#[derive(Debug, Default)]
pub(super) struct Behind {
    pub(super) actors: Vec<Actor>,
    pub(super) policies: Vec<RowPolicy>,
    pub(super) tables: Vec<Table>,
}

/// Something that acts as somebody else.
#[derive(Debug)]
pub(super) struct Actor {
    /// What it is, as `SECURITY DEFINER function s.f()`.
    pub(super) name: String,
    /// What is done to set it off, and to what.
    pub(super) action: String,
    pub(super) object: String,
    /// What is not known of it.
    pub(super) why: String,
    pub(super) doors: Vec<Door>,
    /// Who sets it off by being who he is; 0 is everybody.
    pub(super) of: BTreeSet<Oid>,
}

/// What sets something off: any of these privileges on an object.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) on: Object,
    pub(super) privileges: BTreeSet<Privilege>,
    /// Who has one, the owner among them; 0 is everybody.
    pub(super) who: BTreeSet<Oid>,
}

/// A permissive row policy: the rows that it lets its roles through to.
#[derive(Debug)]
pub(super) struct RowPolicy {
    pub(super) table: Object,
    pub(super) name: String,
    pub(super) command: Command,
    /// The roles that it is for; 0 is everybody.
    pub(super) roles: BTreeSet<Oid>,
    pub(super) id: Oid,
    expressions: Vec<String>,
}

impl RowPolicy {
    /// What it does, as the `beside` of another one says it.
    pub(super) fn line(&self) -> String {
        let words = std::iter::once(self.command.word());
        words.chain(self.expressions.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    }

    /// What it gives to whoever has a privilege on its table.
    pub(super) fn tuple(&self, principal: &str) -> Tuple {
        let action = format!("{} the rows of", self.command.word());
        let mut tuple = Tuple::allow(principal, action, self.table.to_string());
        let mut conditions = vec![format!("policy {}", shown(&self.name))];
        conditions.extend(self.expressions.iter().cloned());
        tuple.condition = Some(conditions.join(" "));
        tuple
    }
}

/// A table with row policies that do not hold for somebody who may use it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) on: Object,
    pub(super) owner: Oid,
    /// Whether its policies hold for anybody; they never do for the owner then.
    pub(super) is_secured: bool,
    /// Who may do something to it; 0 is everybody.
    pub(super) who: BTreeSet<Oid>,
}

/// Functions that act as their owners, but for the server's own.
const FUNCTIONS: &str = "SELECT p.oid, r.oid, r.rolname::text, r.rolsuper
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_roles r ON r.oid = p.proowner
    WHERE p.prosecdef AND n.nspname <> 'pg_catalog'";

/// Triggers, rules and views, each with a relation by which it is set off. The
/// verbs are numbered as `pg_trigger.tgtype` has them, and reading is 1.
///
/// Who writes to a table writes to its partitions too, and what a partition has
/// of its table is the partition's own. What a foreign key
/// deletes or changes, the server does as the owner of the table that it is
/// in, with that table's triggers.
const RELATIONS: &str = "WITH RECURSIVE fired AS (
        SELECT t.oid AS trigger, t.tgrelid AS via, (t.tgtype & 60)::int AS verbs, false AS by_key,
            t.tgparentid = 0 AS climbs
        FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
        UNION SELECT f.trigger, up.via, up.verbs, f.by_key OR up.by_key, true
        FROM fired f, LATERAL (
            SELECT i.inhparent AS via, f.verbs, false AS by_key FROM pg_inherits i
            WHERE i.inhrelid = f.via
            UNION ALL SELECT k.confrelid,
                CASE WHEN k.confdeltype = 'c' AND f.verbs & 8 > 0
                    OR k.confdeltype IN ('n', 'd') AND f.verbs & 16 > 0 THEN 8 ELSE 0 END
                | CASE WHEN k.confupdtype IN ('c', 'n', 'd') AND f.verbs & 16 > 0
                    THEN 16 ELSE 0 END,
                true
            FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = f.via
        ) up WHERE f.climbs AND up.verbs > 0
    ), behind AS (
        SELECT 't' AS kind, t.tgname AS name, t.tgrelid AS relation, f.via, f.verbs,
            CASE WHEN p.prosecdef THEN p.proowner ELSE c.relowner END AS owner
        FROM fired f JOIN pg_trigger t ON t.oid = f.trigger JOIN pg_proc p ON p.oid = t.tgfoid
        JOIN pg_class c ON c.oid = t.tgrelid WHERE p.prosecdef OR f.by_key
        UNION ALL SELECT 'r', w.rulename, w.ev_class, w.ev_class,
            CASE w.ev_type WHEN '2' THEN 16 WHEN '3' THEN 4 ELSE 8 END, c.relowner
        FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class
        WHERE w.ev_type <> '1' AND w.ev_enabled <> 'D'
        UNION ALL SELECT 'v', c.relname, c.oid, c.oid, 61, c.relowner
        FROM pg_class c WHERE c.relkind = 'v'
            AND NOT EXISTS (SELECT FROM pg_options_to_table(c.reloptions)
                WHERE option_name = 'security_invoker' AND option_value::boolean)
    )
    SELECT b.kind::text, b.name::text, b.relation, b.via, bit_or(b.verbs), r.rolname::text, r.rolsuper
    FROM behind b JOIN pg_class c ON c.oid = b.relation JOIN pg_namespace n
        ON n.oid = c.relnamespace
    JOIN pg_roles r ON r.oid = b.owner
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
    GROUP BY 1, 2, 3, 4, 6, 7";

/// Permissive policies for some roles; and any policy that does not hold, for
/// anybody or for one of these as the owner.
const POLICIES: &str = "SELECT c.oid, c.relowner, c.relrowsecurity, p.polname::text,
        p.polcmd::text, p.polroles, pg_get_expr(p.polqual, p.polrelid),
        pg_get_expr(p.polwithcheck, p.polrelid), p.polpermissive, c.relforcerowsecurity, p.oid
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE p.polpermissive AND p.polroles && $1 OR NOT c.relrowsecurity
        OR NOT c.relforcerowsecurity AND c.relowner = ANY ($1)";

/// Who is somebody else on which foreign server; a role's logins can be
/// themselves.
const MAPPINGS: &str =
    "SELECT u.srvname::text, CASE WHEN u.umuser <> 0 THEN u.usename::text END, w.role
    FROM pg_user_mappings u JOIN (
        SELECT role, role AS name FROM unnest($1::oid[]) AS t (role)
        UNION SELECT m.roleid, m.member FROM pg_auth_members m
        JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles l ON l.oid = m.member
        WHERE m.roleid = ANY ($1) AND starts_with(l.rolname::text, r.rolname::text || '__g')
    ) w ON w.name = u.umuser";

/// Reads what stands behind the privileges of some roles and of everybody, on
/// what they have some on and on what is wished for.
pub(super) async fn read(
    within: &Within,
    roles: &BTreeSet<Oid>,
    wished: &BTreeSet<Object>,
) -> Result<Behind> {
    let grantees: BTreeSet<Oid> = roles.iter().copied().chain([EVERYBODY]).collect();
    let numbers: Vec<Oid> = grantees.iter().copied().collect();
    let about = [(&numbers as _, Type::OID_ARRAY)];
    let (functions, relations, policies, mappings) = try_join4(
        within.tx.query(FUNCTIONS, &[]),
        within.tx.query(RELATIONS, &[]),
        within.tx.query(POLICIES, &about),
        within.tx.query(MAPPINGS, &about),
    )
    .await?;
    let routine = |oid: Oid| Place { class: Class::Routine, oid };
    let relation = |oid: Oid| Place { class: Class::Relation, oid };
    let mut places: BTreeSet<Place> = functions.iter().map(|row| routine(row.get(0))).collect();
    let mut with_columns: BTreeSet<Oid> = BTreeSet::new();
    for (row, column) in relations.iter().flat_map(|row| [(row, 2), (row, 3)]) {
        places.insert(relation(row.get(column)));
        with_columns.insert(row.get(column));
    }
    for row in &policies {
        places.insert(relation(row.get(0)));
        with_columns.insert(row.get(0));
    }
    let (entries, found) = try_join(
        classes::entries(within, &places, &with_columns, &grantees),
        classes::placed(within, &places),
    )
    .await?;
    let have = Have::new(&entries, &found);
    let mut behind = Behind::default();
    for row in &functions {
        let Some(found) = found.get(&routine(row.get(0))) else { continue };
        let object = found.object.clone();
        behind.actors.push(Actor {
            name: format!("SECURITY DEFINER {object}"),
            action: "execute".into(),
            object: object.to_string(),
            why: unjudged(row.get(2), row.get(3)),
            doors: vec![have.door(found, BTreeSet::from([Privilege::Execute]))],
            of: BTreeSet::new(),
        });
    }
    behind.actors.extend(actors(&relations, &found, &have));
    behind.actors.extend(mapped(within, &mappings));
    let mut tables = BTreeMap::new();
    for row in &policies {
        let Some(found) = found.get(&relation(row.get(0))) else { continue };
        let who = have.anything(found);
        if who.is_disjoint(&grantees) && !wished.contains(&found.object) {
            continue;
        }
        let is_secured: bool = row.get(2);
        let roles: BTreeSet<Oid> = row.get::<_, Vec<Oid>>(5).into_iter().collect();
        if is_secured
            && row.get(8)
            && !roles.is_disjoint(&grantees)
            && let Some(command) = Command::of_letter(row.get(4))
        {
            behind.policies.push(RowPolicy {
                table: found.object.clone(),
                name: row.get(3),
                command,
                roles,
                id: row.get(10),
                expressions: expressions(row.get(6), row.get(7)),
            });
        }
        if is_secured && row.get(9) {
            continue;
        }
        tables.entry(found.place).or_insert_with(|| Table {
            on: found.object.clone(),
            owner: found.owner,
            is_secured,
            who,
        });
    }
    behind.tables = tables.into_values().collect();
    Ok(behind)
}

/// What is not known of something that acts as its owner.
fn unjudged(owner: &str, is_superuser: bool) -> String {
    let what = if is_superuser { "the superuser" } else { "its owner" };
    format!("it acts as {what} {}, and what it does is not known", quoted(owner))
}

/// User mappings, which are of whoever the session is at the moment.
fn mapped(within: &Within, rows: &[tokio_postgres::Row]) -> Vec<Actor> {
    let mut actors: BTreeMap<String, Actor> = BTreeMap::new();
    for row in rows {
        let server = ForeignServer::new(row.get::<_, String>(0));
        let server = Object { database: within.database.clone(), ..server };
        let whose = row.get::<_, Option<&str>>(1).map_or_else(|| "PUBLIC".to_owned(), shown);
        let name = format!("user mapping of {whose} for {server}");
        let actor = actors.entry(name.clone()).or_insert_with(|| Actor {
            object: server.to_string(),
            name,
            action: "log in at".into(),
            why: "whoever may use that server or a table of it is somebody else there, and what \
                  that one may do is not known"
                .into(),
            doors: Vec::new(),
            of: BTreeSet::new(),
        });
        actor.of.insert(row.get(2));
    }
    actors.into_values().collect()
}

/// Triggers, rules and views, each once, with all that sets it off.
fn actors(
    rows: &[tokio_postgres::Row],
    found: &BTreeMap<Place, Found>,
    have: &Have<'_>,
) -> Vec<Actor> {
    let mut actors: BTreeMap<String, Actor> = BTreeMap::new();
    for row in rows {
        let at = |column| found.get(&Place { class: Class::Relation, oid: row.get(column) });
        let (Some(relation), Some(via)) = (at(2), at(3)) else { continue };
        let named = shown(row.get(1));
        let (name, action) = match row.get(0) {
            "t" => (format!("trigger {named} of {}", relation.object), "fire"),
            "r" => (format!("rule {named} of {}", relation.object), "follow"),
            _ => {
                let table = relation.object.to_string();
                (format!("view {}", table.trim_start_matches("table ")), "use")
            }
        };
        let actor = actors.entry(name.clone()).or_insert_with(|| Actor {
            object: name.clone(),
            name,
            action: action.into(),
            why: unjudged(row.get(5), row.get(6)),
            doors: Vec::new(),
            of: BTreeSet::new(),
        });
        actor.doors.push(have.door(via, verbs(row.get(4))));
    }
    actors.into_values().collect()
}

/// The privileges for verbs, as they are numbered in [`RELATIONS`].
fn verbs(bits: i32) -> BTreeSet<Privilege> {
    let verbs = [
        (1, Privilege::Select),
        (4, Privilege::Insert),
        (8, Privilege::Delete),
        (16, Privilege::Update),
        (32, Privilege::Truncate),
    ];
    verbs.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, verb)| verb).collect()
}

/// Who has which privileges.
struct Have<'a>(BTreeMap<Place, Vec<&'a Entry>>);

impl<'a> Have<'a> {
    fn new(entries: &'a [Entry], found: &BTreeMap<Place, Found>) -> Self {
        let mut have: BTreeMap<Place, Vec<&Entry>> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| found.contains_key(&entry.place)) {
            have.entry(entry.place).or_default().push(entry);
        }
        Self(have)
    }

    fn of(&self, found: &Found, has: impl Fn(Privilege) -> bool) -> BTreeSet<Oid> {
        let entries = self.0.get(&found.place).into_iter().flatten();
        let who = entries.filter(|entry| has(entry.privilege)).map(|entry| entry.grantee);
        // What an owner has not, he gives himself.
        who.chain([found.owner]).collect()
    }

    fn anything(&self, found: &Found) -> BTreeSet<Oid> {
        self.of(found, |_| true)
    }

    fn door(&self, found: &Found, privileges: BTreeSet<Privilege>) -> Door {
        let who = self.of(found, |privilege| privileges.contains(&privilege));
        Door { on: found.object.clone(), privileges, who }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verbs_of_a_trigger_are_those_that_the_server_numbers() {
        for (bits, expected) in [
            (0, vec![]),
            (1, vec![Privilege::Select]),
            (4, vec![Privilege::Insert]),
            (24, vec![Privilege::Update, Privilege::Delete]),
            (
                60,
                vec![Privilege::Insert, Privilege::Update, Privilege::Delete, Privilege::Truncate],
            ),
        ] {
            assert_eq!(verbs(bits), expected.into_iter().collect(), "{bits}");
        }
    }
}
