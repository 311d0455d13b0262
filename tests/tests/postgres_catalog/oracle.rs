//! The provider's picture of random graphs of access against what the server
//! really lets each role do, cell by cell.
//!
//! No function of the server's is asked what somebody may do: each verb is
//! tried, as each role, after every `SET ROLE` that is tried as well. Where a
//! verb is refused, the role first gives itself what it can, for that is what
//! owning something means.

use std::collections::BTreeSet;

use agent_iac::{
    provider::{Source, Surrounded},
    resource::Reading,
};
use agent_iac_tests::on_each_version;

use super::{
    graph::{Chance, Graph, ROLES, TRY},
    *,
};

on_each_version![the_picture_of_random_graphs_is_what_the_server_lets_everybody_do];

/// How many graphs there are for each version, unless `AGENT_IAC_GRAPHS` says
/// another number.
pub(super) const GRAPHS: u64 = 500;
/// How many of them are in one database, and read at once.
pub(super) const AT_ONCE: u64 = 50;
/// Where chance begins, unless `AGENT_IAC_SEED` says another number.
pub(super) const SEED: u64 = 20_260_429;

impl Graph {
    /// Everything that is tried, in its order.
    fn cells(&self, database: &str, version: u32) -> Vec<Cell> {
        let mut cells = Vec::new();
        for schema in &self.schemas {
            cells.extend(cells_in(schema, version));
        }
        let database = format!("database {database}");
        cells.push(Cell::new("CREATE SCHEMA anew", &[], &[&[("create", &database)]]));
        cells.push(Cell::new("CREATE TEMP TABLE anew ()", &[], &[&[("temporary", &database)]]));
        cells
    }
}

/// One thing that is tried, and which pictures say that it can be done: all
/// pairs of one of the lists.
struct Cell {
    sql: String,
    help: Vec<String>,
    any_of: Vec<Vec<(String, String)>>,
}

impl Cell {
    fn new(sql: &str, help: &[&str], any_of: &[&[(&str, &str)]]) -> Self {
        let pair = |(action, object): &(&str, &str)| ((*action).to_owned(), (*object).to_owned());
        Self {
            sql: sql.to_owned(),
            help: help.iter().map(|help| (*help).to_owned()).collect(),
            any_of: any_of.iter().map(|all| all.iter().map(pair).collect()).collect(),
        }
    }

    fn is_in(&self, picture: &Picture) -> bool {
        self.any_of.iter().any(|all| all.iter().all(|pair| picture.contains(pair)))
    }
}

fn cells_in(s: &str, version: u32) -> Vec<Cell> {
    let schema = format!("schema {s}");
    let every = "every table, view and sequence";
    let enter = format!("GRANT ALL ON SCHEMA {s} TO %I");
    let mut cells = Vec::new();
    // Each way to have it, with a way to get into the schema.
    let mut cell = |sql: String, object: &str, grant: &str, ways: &[(&str, &str)]| {
        let ways: Vec<(&str, &str)> = ways.iter().copied().chain([("own", object)]).collect();
        let doors = [("usage", schema.as_str()), ("own", &schema), ("usage", "every schema")];
        let any_of: Vec<Vec<(&str, &str)>> =
            ways.iter().flat_map(|way| doors.iter().map(|door| vec![*way, *door])).collect();
        let any_of: Vec<&[(&str, &str)]> = any_of.iter().map(Vec::as_slice).collect();
        let grant = format!("GRANT ALL ON {grant} TO %I");
        cells.push(Cell::new(&sql, &[&enter, &grant], &any_of));
    };
    for table in ["t0", "t1", "v", "made_0", "made_1"] {
        let name = format!("table {s}.{table}");
        let on = format!("{s}.{table}");
        let column = |column: &str| format!("{name} ({column})");
        let (a, b) = (column("a"), column("b"));
        let columns: &[(&str, &str)] =
            if table == "v" { &[("a", &a)] } else { &[("a", &a), ("b", &b)] };
        for (column, named) in columns {
            for (verb, sql) in [
                ("select", format!("SELECT {column} FROM {on}")),
                ("insert", format!("INSERT INTO {on} ({column}) SELECT 1 WHERE false")),
                ("update", format!("UPDATE {on} SET {column} = 1 WHERE false")),
            ] {
                if table == "v" && verb != "select" {
                    continue;
                }
                cell(sql, &name, &on, &[(verb, &name), (verb, named), (verb, every)]);
            }
        }
        if table == "v" {
            continue;
        }
        let delete = format!("DELETE FROM {on} WHERE false");
        cell(delete, &name, &on, &[("delete", &name), ("delete", every)]);
        cell(format!("TRUNCATE {on}"), &name, &on, &[("truncate", &name)]);
        let trigger = format!(
            "CREATE TRIGGER anew BEFORE UPDATE ON {on} FOR EACH ROW
                EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        );
        cell(trigger, &name, &on, &[("trigger", &name)]);
        if version >= 17 {
            cell(format!("REINDEX TABLE {on}"), &name, &on, &[("maintain", &name)]);
        }
        if table.starts_with('t') {
            let references = format!("CREATE TABLE scratch.anew (a int REFERENCES {on} (a))");
            cell(references, &name, &on, &[("references", &name), ("references", &a)]);
        }
    }
    let sequence = format!("sequence {s}.q");
    let (name, grant) = (format!("{s}.q"), format!("SEQUENCE {s}.q"));
    let mut of_sequence = |sql: String, ways: &[(&str, &str)]| cell(sql, &sequence, &grant, ways);
    of_sequence(
        format!("SELECT nextval('{name}')"),
        &[("usage", &sequence), ("update", &sequence), ("update", every)],
    );
    of_sequence(
        format!("SELECT last_value FROM {name}"),
        &[("select", &sequence), ("select", every)],
    );
    of_sequence(format!("SELECT setval('{name}', 7)"), &[("update", &sequence), ("update", every)]);
    for (call, types) in [("f()", ""), ("f(1)", "integer")] {
        let function = format!("function {s}.f({types})");
        cell(
            format!("SELECT {s}.{call}"),
            &function,
            &format!("FUNCTION {s}.f({types})"),
            &[("execute", &function)],
        );
    }
    let data = format!("data-type {s}.e");
    let make = format!("CREATE TABLE scratch.anew (a {s}.e)");
    cell(make, &data, &format!("TYPE {s}.e"), &[("usage", &data)]);
    cells.push(Cell::new(
        &format!("CREATE TABLE {s}.anew ()"),
        &[&enter],
        &[&[("create", &schema)], &[("own", &schema)]],
    ));
    cells
}

/// Actions, and what they are on.
type Picture = BTreeSet<(String, String)>;

fn pairs(source: &Source) -> Picture {
    // What a view reads as its owner is beyond the cells, and undecided.
    let begins = ["admin of ", "view "];
    let may_be_more =
        source.name == "PUBLIC" || begins.iter().any(|begin| source.name.starts_with(begin));
    assert!(source.access.undecided.is_empty() || may_be_more, "{source:?}");
    let tuples = source.access.tuples.iter().filter(|tuple| tuple.condition.is_none());
    tuples.map(|tuple| (tuple.action.clone(), tuple.object.clone())).collect()
}

/// What the provider says of some roles, by their numbers.
struct Pictures {
    /// What each has without becoming anybody.
    acting: BTreeMap<String, Picture>,
    /// Whom each can become, by name.
    becomes: BTreeMap<String, BTreeSet<String>>,
    /// Whose rights each has without becoming anybody.
    inherits: BTreeMap<String, BTreeSet<String>>,
}

impl World {
    async fn pictures(&self, oids: &[String]) -> Pictures {
        let listing = Listing::Of(oids.to_vec());
        let mut own: BTreeMap<String, Picture> = BTreeMap::new();
        for ty in ["postgres.grant", "postgres.ownership", "postgres.default_privileges"] {
            let described = self.observers.resource_type(ty).unwrap();
            for object in self.of(ty).list(&listing).await.unwrap() {
                let to = object.value("to").unwrap().as_text().unwrap().to_owned();
                let nodes = object.fields.iter().filter_map(|(name, reading)| match reading {
                    Reading::Known(value) => {
                        Some((name.clone(), agent_iac::resource::Node::Known(value.clone())))
                    }
                    _ => None,
                });
                let access = described.access_of(&object.id, &nodes.collect());
                assert!(access.undecided.is_empty(), "{object:?}: {access:?}");
                let pairs = access.tuples.into_iter().map(|tuple| (tuple.action, tuple.object));
                own.entry(to).or_default().extend(pairs);
            }
        }
        let of = oids.iter().map(|oid| Surrounded {
            identity: Some(Reference::Id(oid.clone())),
            permissions: Vec::new(),
        });
        let of: Vec<Surrounded> = of.collect();
        let found = self.of("postgres.role").surroundings(&of).await.unwrap();
        let sources: Vec<Picture> = found.sources.iter().map(pairs).collect();
        let mut pictures =
            Pictures { acting: own, becomes: BTreeMap::new(), inherits: BTreeMap::new() };
        for (oid, reached) in oids.iter().zip(&found.of) {
            let acting = pictures.acting.entry(oid.clone()).or_default();
            let becomes = pictures.becomes.entry(oid.clone()).or_default();
            let inherits = pictures.inherits.entry(oid.clone()).or_default();
            for source in reached {
                let name = found.sources[*source].name.as_str();
                let member = name.strip_prefix("member of ");
                let set = name.strip_prefix("SET ROLE ");
                let inherited = name
                    .strip_prefix("inherits from ")
                    .filter(|rest| !rest.ends_with(" after SET ROLE"));
                becomes.extend(member.or(set).map(str::to_owned));
                inherits.extend(member.or(inherited).map(str::to_owned));
                if name == "PUBLIC" || member.or(inherited).is_some() {
                    acting.extend(sources[*source].iter().cloned());
                }
            }
        }
        pictures
    }
}

pub(super) fn number(name: &str, default: u64) -> u64 {
    #[allow(clippy::disallowed_methods, reason = "whoever looks for a fault says where")]
    let said = std::env::var(name);
    said.map_or(default, |said| said.parse().unwrap())
}

async fn the_picture_of_random_graphs_is_what_the_server_lets_everybody_do(
    cluster: &'static Cluster,
) {
    let seed = number("AGENT_IAC_SEED", SEED);
    let graphs = number("AGENT_IAC_GRAPHS", GRAPHS);
    println!("PostgreSQL {}: {graphs} graphs from AGENT_IAC_SEED={seed}", cluster.version());
    let (mut cells, mut allowed) = (0, 0);
    for first in (0..graphs).step_by(usize::try_from(AT_ONCE).unwrap()) {
        let name = format!("oracle{first}");
        let world = World::new(cluster, &name, &[]).await;
        world.admin.run(TRY).await;
        world.run("REVOKE TEMP ON DATABASE @ FROM PUBLIC").await;
        let mut made = Vec::new();
        for n in first..graphs.min(first + AT_ONCE) {
            let mut chance = Chance(seed.wrapping_add(n));
            let graph = Graph::new(&format!("{name}_g{n}"), &mut chance, cluster.version());
            let database = ["CREATE", "TEMP"].map(|what| {
                format!("GRANT {what} ON DATABASE {name} TO {};", graph.role(&mut chance))
            });
            world.admin.run(&format!("{}{}", graph.script, database.join(""))).await;
            made.push((n, graph));
        }
        let names: Vec<&str> =
            made.iter().flat_map(|(_, graph)| graph.roles.iter().map(String::as_str)).collect();
        let sql = format!(
            "SELECT oid FROM unnest(ARRAY['{}']) WITH ORDINALITY AS r (name, place)
                JOIN pg_roles ON rolname = name ORDER BY place",
            names.join("','")
        );
        let oids = world.admin.rows(&sql).await;
        let pictures = world.pictures(&oids).await;
        for ((n, graph), oids) in made.iter().zip(oids.chunks(ROLES)) {
            let (tried, done) = compare(&world, graph, oids, &pictures, *n, seed).await;
            cells += tried;
            allowed += done;
        }
    }
    println!("PostgreSQL {}: {cells} cells, {allowed} of them allowed", cluster.version());
    assert!(allowed * 20 > cells && allowed * 2 < cells, "chance gives enough of both");
}

/// Compares each cell of a graph; answers how many there were, and how many
/// were allowed.
async fn compare(
    world: &World,
    graph: &Graph,
    oids: &[String],
    pictures: &Pictures,
    n: u64,
    seed: u64,
) -> (usize, usize) {
    let version = world.version;
    let mut cells = graph.cells(&world.name, version);
    // What nobody made is not tried.
    let made = world
        .admin
        .rows(&format!(
            "SELECT relnamespace::regnamespace::text || '.' || relname FROM pg_class
                WHERE relname LIKE 'made%' AND relnamespace::regnamespace::text IN ('{}')",
            graph.schemas.join("','")
        ))
        .await;
    cells.retain(|cell| {
        let made_by = cell.sql.find(".made_").map(|at| {
            let from = cell.sql[..at].rfind(' ').map_or(0, |space| space + 1);
            &cell.sql[from..at + ".made_0".len()]
        });
        made_by.is_none_or(|table| made.iter().any(|made| made == table))
    });
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let rows: Vec<String> = cells
        .iter()
        .map(|cell| {
            let help: Vec<String> = cell.help.iter().map(|help| quoted(help)).collect();
            format!("({}, ARRAY[{}]::text[])", quoted(&cell.sql), help.join(", "))
        })
        .collect();
    let tried = world
        .admin
        .rows(&format!(
            "SELECT string_agg(public.attempt(who, what, help)::int::text, '' ORDER BY place)
            FROM (SELECT what, help, row_number() OVER () AS place
                FROM (VALUES {}) AS v (what, help)) cells,
                unnest(ARRAY['{}']::name[]) WITH ORDINALITY AS r (who, n)
            GROUP BY n ORDER BY n",
            rows.join(", "),
            graph.roles.join("','"),
        ))
        .await;
    let mut wrong = Vec::new();
    let (mut count, mut allowed) = (0, 0);
    for ((role, oid), tried) in graph.roles.iter().zip(oids).zip(&tried) {
        let picture = &pictures.acting[oid];
        assert_eq!(tried.len(), cells.len());
        for (cell, tried) in cells.iter().zip(tried.bytes()) {
            let (says, does) = (cell.is_in(picture), tried == b'1');
            count += 1;
            allowed += usize::from(does);
            if says != does {
                wrong.push(format!("{role}: {} (says {says}, does {does})", cell.sql));
            }
        }
    }
    let become_able = world
        .admin
        .rows(&format!(
            "SELECT a || ' ' || b FROM unnest(ARRAY['{0}']) a, unnest(ARRAY['{0}']) b
                WHERE a <> b AND public.becomes(a, b)",
            graph.roles.join("','"),
        ))
        .await;
    for (role, oid) in graph.roles.iter().zip(oids) {
        for other in graph.roles.iter().filter(|other| *other != role) {
            let says = pictures.becomes[oid].contains(other);
            let does = become_able.contains(&format!("{role} {other}"));
            count += 1;
            if says != does {
                wrong.push(format!("{role}: SET ROLE {other} (says {says}, does {does})"));
            }
        }
    }
    for creator in &graph.roles {
        for schema in &graph.schemas {
            wrong.extend(futures(world, graph, oids, pictures, creator, schema).await);
            count += ROLES;
        }
    }
    assert!(
        wrong.is_empty(),
        "graph {n} of AGENT_IAC_SEED={seed} on PostgreSQL {version}:\n{}\nmade by\n{}",
        wrong.join("\n"),
        graph.script
    );
    (count, allowed)
}

/// Compares who can read what a role will create in a schema.
async fn futures(
    world: &World,
    graph: &Graph,
    oids: &[String],
    pictures: &Pictures,
    creator: &String,
    schema: &str,
) -> Vec<String> {
    let found = world
        .admin
        .value(&format!(
            "SELECT public.future('{creator}', '{schema}', ARRAY['{}']::name[])",
            graph.roles.join("','")
        ))
        .await;
    let future = format!("future tables of role {creator}");
    let within = format!("{future} in schema {schema}");
    let door = format!("schema {schema}");
    let mut wrong = Vec::new();
    for ((role, oid), does) in graph.roles.iter().zip(oids).zip(found.bytes()) {
        let has = |action: &str, object: &str| {
            pictures.acting[oid].contains(&(action.to_owned(), object.to_owned()))
        };
        // The creator is let into the schema for the attempt, and owns what
        // he makes there; so does who inherits from him.
        let acts_as_creator = role == creator || pictures.inherits[oid].contains(creator);
        let enters = has("usage", &door)
            || has("usage", "every schema")
            || has("own", &door)
            || acts_as_creator;
        let reads = has("select", &future)
            || has("select", &within)
            || has("select", "every table, view and sequence")
            || acts_as_creator;
        if (enters && reads) != (does == b'1') {
            wrong.push(format!(
                "{role}: SELECT of what {creator} will make in {schema} (says {}, does {})",
                enters && reads,
                does == b'1'
            ));
        }
    }
    wrong
}
