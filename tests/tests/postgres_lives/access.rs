//! What an agent may do is what was declared, with what everybody may and what
//! it inherits: tried, and not asked for.

use super::*;

on_each_version![
    an_agent_may_do_what_was_declared_and_what_the_plan_had_listed_beside_it,
    what_an_agent_may_only_become_it_may_do_after_it_became_it,
    names_are_taken_as_they_are,
];

/// Does several things, in several ways.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "clerk")]
struct Clerk {
    #[input(key)]
    world: String,
    #[input]
    maintains: bool,

    #[identity(name = format!("{world}_clerk"))]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new("sales"), allow = [pg::Usage])]
    schema: pg::Grant,

    #[permission(
        to = account,
        on = pg::Column::new("sales", "invoices", ["id", "amount"]),
        allow = [pg::Select],
    )]
    invoices: pg::Grant,

    #[permission(
        to = account,
        on = pg::Column::new("sales", "invoices", ["customer"]),
        allow = [pg::Update],
    )]
    customers: pg::Grant,

    #[permission(to = account, on = pg::Table::new("sales", "notes"), allow = on_notes(*maintains))]
    notes: pg::Grant,

    #[permission(to = account, on = pg::Sequence::new("sales", "numbers"), allow = [pg::Usage])]
    numbers: pg::Grant,

    #[permission(
        to = account,
        on = pg::Function::new("sales", "total", ["integer"]),
        allow = [pg::Execute],
    )]
    total: pg::Grant,

    #[permission(
        to = account,
        on = pg::Procedure::new("sales", "tidy", [""; 0]),
        allow = [pg::Execute],
    )]
    tidies: pg::Grant,

    #[permission(to = account, on = pg::DataType::new("sales", "mood"), allow = [pg::Usage])]
    mood: pg::Grant,

    #[permission(to = account, on = pg::ForeignServer::new("far"), allow = [pg::Usage])]
    far: pg::Grant,

    #[permission(to = account, on = pg::LargeObject::new("424242"), allow = [pg::Select])]
    scan: pg::Grant,

    #[permission(to = account, on = pg::Parameter::new("log_duration"), allow = [pg::Set])]
    parameter: pg::Grant,

    #[permission(to = account, of = format!("{world}_archivists"))]
    archive: pg::Membership,

    #[credential(of = account, deliver = format!("vault:{world}/clerk"))]
    login: pg::Login,
}

fn on_notes(maintains: bool) -> BTreeSet<pg::Privilege> {
    let mut allow = BTreeSet::from([pg::Insert, pg::Delete, pg::Trigger]);
    if maintains {
        allow.insert(pg::Maintain);
    }
    allow
}

/// Tries every statement of `cells`, which has labels and statements, and says
/// for each whether it was allowed. Nothing of it stays.
async fn tried(agent: &Session, cells: &[String]) -> BTreeSet<String> {
    let rows: Vec<String> = cells
        .iter()
        .map(|cell| {
            let (label, statement) = cell.split_once('|').unwrap();
            format!("('{label}', $cell${statement}$cell$)")
        })
        .collect();
    agent.notices();
    agent
        .run(&format!(
            "DO $do$ DECLARE r record; BEGIN
                 FOR r IN SELECT * FROM (VALUES {}) AS cells (label, statement) LOOP
                     BEGIN
                         EXECUTE r.statement;
                         RAISE EXCEPTION USING ERRCODE = 'UNDO1';
                     EXCEPTION
                         WHEN SQLSTATE 'UNDO1' THEN RAISE NOTICE 'allowed: %', r.label;
                         WHEN insufficient_privilege THEN RAISE NOTICE 'refused: %', r.label;
                         WHEN OTHERS THEN
                             RAISE EXCEPTION '% (%): %', r.label, r.statement, SQLERRM;
                     END;
                 END LOOP;
             END $do$",
            rows.join(", ")
        ))
        .await;
    let told = agent.notices();
    assert_eq!(told.len(), cells.len(), "each was tried: {told:?}");
    told.iter().filter_map(|one| one.text.strip_prefix("allowed: ").map(str::to_owned)).collect()
}

/// Every verb on every relation, column, sequence and function of two schemas,
/// as the catalog has them, so that none is forgotten.
const CELLS: &str = "
    WITH t AS (
        SELECT c.oid, c.relkind, format('%I.%I', n.nspname, c.relname) AS name
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname IN ('sales', 'hr') AND relkind IN ('r', 'v', 'S')
    ), a AS (
        SELECT name, relkind, attname, format('%I', attname) AS col FROM t
        JOIN pg_attribute ON attrelid = t.oid AND attnum > 0 AND relkind <> 'S'
    ), f AS (
        SELECT format('%I.%I', nspname, proname) AS name, prokind,
               CASE WHEN pronargs = 0 THEN '()' ELSE '(1)' END AS arguments
        FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
        WHERE nspname IN ('sales', 'hr') AND prorettype <> 'trigger'::regtype
    )
    SELECT format('select %s.%s', name, attname), format('SELECT %s FROM %s', col, name) FROM a
    UNION ALL SELECT format('insert %s.%s', name, attname),
        format('INSERT INTO %s (%s) VALUES (99)', name, col) FROM a WHERE attname = 'id' AND relkind = 'r'
    UNION ALL SELECT format('update %s.%s', name, attname),
        format('UPDATE %s SET %s = %s', name, col, CASE attname WHEN 'id' THEN '2' ELSE 'NULL' END)
        FROM a WHERE relkind = 'r'
    UNION ALL SELECT format('references %s', name),
        format('CREATE TABLE scratch.x (id int REFERENCES %s (id))', name) FROM t WHERE relkind = 'r'
    UNION ALL SELECT format(v.v || ' %s', name), format(v.s, name) FROM t, (VALUES
        ('delete', 'DELETE FROM %s'), ('truncate', 'TRUNCATE %s'),
        ('maintain', 'REINDEX TABLE %s'),
        ('trigger', 'CREATE TRIGGER x AFTER DELETE ON %s EXECUTE FUNCTION scratch.nothing()')
    ) AS v (v, s) WHERE relkind = 'r'
    UNION ALL SELECT format(v.v || ' %s', name), format(v.s, name) FROM t, (VALUES
        ('next', 'SELECT nextval(''%s'')'), ('set', 'SELECT setval(''%s'', 3)'),
        ('look', 'SELECT last_value FROM %s')
    ) AS v (v, s) WHERE relkind = 'S'
    UNION ALL SELECT format('execute %s', name),
        format(CASE prokind WHEN 'p' THEN 'CALL %s%s' ELSE 'SELECT %s%s' END, name, arguments) FROM f
    UNION ALL SELECT format('type %s', t), format('CREATE TABLE scratch.y (a %s)', t)
        FROM unnest(ARRAY['sales.mood', 'sales.temper']) t
    UNION ALL SELECT format('server %s', srvname),
        format('CREATE FOREIGN TABLE scratch.z (a int) SERVER %s', srvname) FROM pg_foreign_server
    UNION ALL SELECT format('object %s', oid), format('SELECT lo_get(%s)', oid)
        FROM pg_largeobject_metadata
    UNION ALL SELECT format('parameter %s', p), format('SET LOCAL %s = off', p)
        FROM unnest(ARRAY['log_duration', 'log_lock_waits']) p";

/// What stands in the world before the agent comes: of each kind one that it
/// gets and one that it does not.
const OBJECTS: &str = "
    CREATE ROLE @_archivists; CREATE SCHEMA hr AUTHORIZATION @_owner;
    CREATE SCHEMA scratch; GRANT ALL ON SCHEMA scratch TO PUBLIC;
    GRANT USAGE ON SCHEMA sales TO @_archivists;
    CREATE FOREIGN DATA WRAPPER nowhere; GRANT USAGE ON FOREIGN DATA WRAPPER nowhere TO @_owner;
    CREATE SERVER far FOREIGN DATA WRAPPER nowhere; ALTER SERVER far OWNER TO @_owner;
    CREATE SERVER farther FOREIGN DATA WRAPPER nowhere;
    SELECT lo_create(424242), lo_create(424243); ALTER LARGE OBJECT 424242 OWNER TO @_owner;
    CREATE FUNCTION scratch.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    SET ROLE @_owner;
    CREATE TABLE hr.people (id int PRIMARY KEY, pay numeric);
    CREATE FUNCTION hr.pay() RETURNS int RETURN 1;
    CREATE TABLE sales.archive (id int PRIMARY KEY, old text);
    CREATE TABLE sales.calendar (id int PRIMARY KEY, day date);
    CREATE VIEW sales.open AS SELECT id FROM sales.invoices;
    CREATE SEQUENCE sales.numbers; CREATE SEQUENCE sales.others;
    CREATE FUNCTION sales.total(n int) RETURNS int RETURN n;
    CREATE FUNCTION sales.secret() RETURNS int RETURN 1;
    CREATE FUNCTION sales.anybody() RETURNS int RETURN 1;
    REVOKE EXECUTE ON FUNCTION sales.total, sales.secret FROM PUBLIC;
    CREATE PROCEDURE sales.tidy() LANGUAGE sql AS 'SELECT 1';
    CREATE PROCEDURE sales.wipe() LANGUAGE sql AS 'SELECT 1';
    REVOKE EXECUTE ON PROCEDURE sales.tidy, sales.wipe FROM PUBLIC;
    CREATE TYPE sales.mood AS ENUM ('good'); CREATE TYPE sales.temper AS ENUM ('bad');
    REVOKE USAGE ON TYPE sales.mood, sales.temper FROM PUBLIC;
    GRANT SELECT ON sales.calendar TO PUBLIC;
    GRANT SELECT, TRUNCATE, REFERENCES ON sales.archive TO @_archivists;
    RESET ROLE;";

async fn an_agent_may_do_what_was_declared_and_what_the_plan_had_listed_beside_it(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "access").await;
    world.run(OBJECTS).await;
    let mut fleet = world.fleet();
    let maintains = cluster.version() >= 17;
    fleet.add(ClerkInputs { world: world.name.clone(), maintains });
    let deployment = world.prepared(fleet).await;
    let plan = planned(&deployment).await;
    // What the declaration does not say, the plan does, before anything is done.
    let listed: BTreeSet<(String, String, String)> = plan
        .beside
        .iter()
        .flat_map(|beside| &beside.sources)
        .flat_map(|source| &source.access.tuples)
        .map(|tuple| (tuple.principal.clone(), tuple.action.clone(), tuple.object.clone()))
        .collect();
    let says = |from: &str, action: &str, object: &str| {
        let one = listed.iter().any(|(principal, verb, on)| {
            principal.contains(from) && verb == action && on == object
        });
        assert!(one, "{from} {action} {object} is not in {listed:#?}");
    };
    says("PUBLIC", "select", "table sales.calendar");
    says("PUBLIC", "execute", "function sales.anybody()");
    for privilege in ["select", "truncate", "references"] {
        says("archivists", privilege, "table sales.archive");
    }

    apply_plan(&deployment, plan).await;
    clean(&deployment).await;
    let login = world.vaulted(&deployment, "vault:@/clerk").await;
    // A cluster that lets everybody in would show nothing.
    let random = Login { password: "of-nobody-at-all".into(), ..login.clone() };
    assert_eq!(world.refusal(&random).await.code, "28P01");
    let agent = world.enter(&login).await;
    let who = "SELECT session_user || ' as ' || current_user";
    assert_eq!(agent.value(who).await, "access_clerk__g1 as access_clerk");

    let cells = world.rows(CELLS).await;
    assert!(cells.len() > 50, "{cells:?}");
    let declared = [
        "select sales.invoices.id",
        "select sales.invoices.amount",
        "update sales.invoices.customer",
        "insert sales.notes.id",
        "delete sales.notes",
        "trigger sales.notes",
        "next sales.numbers",
        "execute sales.total",
        "execute sales.tidy",
        "type sales.mood",
        "server far",
        "object 424242",
        "parameter log_duration",
    ];
    let by_version = if maintains { &["maintain sales.notes"][..] } else { &[] };
    let of_everybody =
        ["select sales.calendar.id", "select sales.calendar.day", "execute sales.anybody"];
    let inherited = [
        "select sales.archive.id",
        "select sales.archive.old",
        "truncate sales.archive",
        "references sales.archive",
    ];
    let expected: BTreeSet<String> = [&declared[..], by_version, &of_everybody, &inherited]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(tried(&agent, &cells).await, expected);
    // Whatever it may become gives it nothing more.
    let how = if cluster.version() >= 16 { "SET" } else { "MEMBER" };
    let roles =
        format!("SELECT rolname FROM pg_roles WHERE pg_has_role(rolname, '{how}') ORDER BY 1");
    assert_eq!(agent.rows(&roles).await, ["access_archivists", "access_clerk"]);
    agent.run("SET ROLE access_archivists").await;
    let as_archivist: BTreeSet<String> =
        [&of_everybody[..], &inherited].concat().into_iter().map(str::to_owned).collect();
    assert_eq!(tried(&agent, &cells).await, as_archivist);
}

/// Has nothing of what it is a member of, until it becomes it.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "deputy")]
struct Deputy {
    #[input(key)]
    world: String,
    #[input]
    before_16: bool,

    #[identity(name = format!("{world}_deputy"), noinherit = *before_16)]
    account: pg::Role,

    #[permission(to = account, of = format!("{world}_keepers"), noinherit = true)]
    keeps: pg::Membership,

    #[credential(of = account, deliver = format!("vault:{world}/deputy"))]
    login: pg::Login,
}

async fn what_an_agent_may_only_become_it_may_do_after_it_became_it(cluster: &'static Cluster) {
    let world = World::new(cluster, "becomes").await;
    world
        .run(
            "CREATE ROLE @_keepers; GRANT USAGE ON SCHEMA sales TO @_keepers;
             CREATE SCHEMA scratch; CREATE TYPE sales.mood AS ENUM ('good');
             CREATE TYPE sales.temper AS ENUM ('bad');
             REVOKE USAGE ON TYPE sales.mood, sales.temper FROM PUBLIC;
             SET ROLE @_owner; GRANT SELECT (id), DELETE ON sales.notes TO @_keepers; RESET ROLE",
        )
        .await;
    let mut fleet = world.fleet();
    let before_16 = cluster.version() < 16;
    fleet.add(DeputyInputs { world: world.name.clone(), before_16 });
    let deployment = world.applied(fleet).await;
    let login = world.vaulted(&deployment, "vault:@/deputy").await;
    let agent = world.enter(&login).await;
    let cells = world.rows(CELLS).await;
    assert_eq!(tried(&agent, &cells).await, BTreeSet::new());
    agent.run("SET ROLE becomes_keepers").await;
    let kept = ["select sales.notes.id", "delete sales.notes"].map(str::to_owned);
    assert_eq!(tried(&agent, &cells).await, BTreeSet::from(kept));
}

/// Stands on names that nobody should give.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "odd")]
struct Odd {
    #[input(key)]
    world: String,
    #[input]
    role: String,
    #[input]
    schema_name: String,
    #[input]
    table: String,

    #[identity(name = role)]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new(schema_name), allow = [pg::Usage])]
    schema: pg::Grant,

    #[permission(to = account, on = pg::Table::new(schema_name, table), allow = [pg::Select])]
    whole: pg::Grant,

    #[permission(
        to = account,
        on = pg::Column::new(schema_name, table, ["a \"b\", (c)", "naïve"]),
        allow = [pg::Update],
    )]
    columns: pg::Grant,

    #[credential(of = account, deliver = format!("vault:{world}/odd"))]
    login: pg::Login,
}

async fn names_are_taken_as_they_are(cluster: &'static Cluster) {
    let world = World::new(cluster, "odd").await;
    let role = "odd O'Reilly; \"DROP\" $1 \\ ünïcödé 🎉";
    let table = "t".repeat(61) + "ß";
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let schema = "a.b \"c\" 'd'";
    world
        .run(&format!(
            "CREATE SCHEMA {schema} AUTHORIZATION @_owner; SET ROLE @_owner;
             CREATE TABLE {schema}.{table} (\"a \"\"b\"\", (c)\" int, naïve int, other int);
             RESET ROLE",
            schema = quoted(schema),
            table = quoted(&table)
        ))
        .await;
    let mut fleet = world.fleet();
    let (schema_name, name) = (schema.to_owned(), table.clone());
    fleet.add(OddInputs { world: world.name.clone(), role: role.into(), schema_name, table: name });
    let deployment = world.applied(fleet).await;
    let login = world.vaulted(&deployment, "vault:@/odd").await;
    assert_eq!(login.user, format!("{role}__g1"));
    let agent = world.enter(&login).await;
    let on = format!("{}.{}", quoted(schema), quoted(&table));
    agent
        .run(&format!("SELECT * FROM {on}; UPDATE {on} SET \"a \"\"b\"\", (c)\" = 1, naïve = 2"))
        .await;
    assert_eq!(agent.refused(&format!("UPDATE {on} SET other = 1")).await.code, "42501");
    let report = apply(&deployment.with_fleet(world.fleet())).await;
    assert!(report.left[0].open.is_empty(), "{:?}", report.left);
    assert_eq!(world.value("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'odd O%'").await, "0");
}
