//! Agents that are stopped, come back, and leave.

use super::*;

on_each_version![
    a_leaving_agent_loses_its_sessions_and_leaves_nothing_in_any_database,
    what_it_owns_is_named_when_there_is_no_heir,
    for_its_grace_it_is_only_suspended_and_can_come_back,
    a_killed_agent_is_out_at_once_and_comes_back_with_a_new_login,
];

/// Works in two databases, and makes tables.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "worker")]
struct Worker {
    #[input(key)]
    world: String,
    #[input]
    heir: Option<String>,

    #[identity(name = format!("{world}_worker"), heir = heir.clone())]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new("sales"), allow = [pg::Usage, pg::Create])]
    schema: pg::Grant,

    #[permission(to = account, on = pg::Table::new("sales", "notes"), allow = [pg::Select])]
    notes: pg::Grant,

    #[permission(
        to = account,
        on = pg::Schema::new("elsewhere").in_database(format!("{world}_b")),
        allow = [pg::Usage, pg::Create],
    )]
    elsewhere: pg::Grant,

    #[permission(
        to = account,
        for_role = format!("{world}_owner"),
        on = pg::Future::Tables,
        in_schema = "elsewhere",
        database = format!("{world}_b"),
        allow = [pg::Select],
    )]
    future: pg::DefaultPrivileges,

    #[credential(of = account, deliver = format!("vault:{world}/worker"))]
    login: pg::Login,
}

async fn two_databases(cluster: &'static Cluster, name: &str) -> World {
    let mut world = World::new(cluster, name).await;
    let second = format!("{name}_b");
    cluster.database(&second).await;
    let there = cluster.admin_of(&second).await;
    // An heir has to be able to have something where it is.
    world.run("GRANT ALL ON SCHEMA sales TO @_heir").await;
    there
        .run(&format!(
            "CREATE SCHEMA elsewhere AUTHORIZATION {name}_owner;
             GRANT ALL ON SCHEMA elsewhere TO {name}_heir"
        ))
        .await;
    world.others.push(second);
    world
}

fn worker(world: &World, heir: Option<&str>) -> Fleet {
    let mut fleet = world.fleet();
    let heir = heir.map(|heir| world.named(heir));
    fleet.add(WorkerInputs { world: world.name.clone(), heir });
    fleet
}

const WORKER: &str = "vault:@/worker";

/// Every row that says that the role or a login of it has something anywhere.
const TRACES: &str = "
    SELECT 'role ' || rolname FROM pg_roles WHERE rolname ~ '^@_worker'
    UNION ALL SELECT 'session ' || usename FROM pg_stat_activity WHERE usename ~ '^@_worker'";

async fn a_leaving_agent_loses_its_sessions_and_leaves_nothing_in_any_database(
    cluster: &'static Cluster,
) {
    let world = two_databases(cluster, "leaving").await;
    let deployment = world.applied(worker(&world, Some("@_heir"))).await;
    let login = world.vaulted(&deployment, WORKER).await;
    let agent = world.enter(&login).await;
    agent.run("CREATE TABLE sales.mine (n int); INSERT INTO sales.mine VALUES (7)").await;
    let there = cluster.connect(&login.user, &login.password, "leaving_b").await.unwrap();
    there.run("CREATE TABLE elsewhere.mine (n int); CREATE FUNCTION elsewhere.f() RETURNS int RETURN 1")
        .await;
    let oids = world.rows("SELECT oid FROM pg_roles WHERE rolname ~ '^@_worker'").await;
    assert_eq!(oids.len(), 2, "the role and its login");

    let report = apply(&deployment.with_fleet(world.fleet())).await;
    let left = &report.left[0];
    assert!(left.open.is_empty(), "nothing is left, proved: {left:?}");
    for session in [&agent, &there] {
        assert!(session.simple_query("SELECT 1").await.is_err(), "an open session goes on");
    }
    assert_eq!(world.refusal(&login).await.code, "28P01");
    assert_eq!(world.rows(TRACES).await, [""; 0]);
    let shared = format!(
        "SELECT * FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND refobjid IN ({})",
        oids.join(", ")
    );
    assert_eq!(world.rows(&shared).await, [""; 0]);
    // What it made is its heir's, with what is in it.
    let owner = "SELECT relowner::regrole || ' ' || (SELECT n FROM sales.mine) FROM pg_class
                 WHERE oid = 'sales.mine'::regclass";
    assert_eq!(world.value(owner).await, "leaving_heir 7");
    let owners = "SELECT relowner::regrole FROM pg_class WHERE oid = 'elsewhere.mine'::regclass
                  UNION ALL SELECT proowner::regrole FROM pg_proc WHERE proname = 'f'";
    assert_eq!(cluster.sql("leaving_b", owners).await, ["leaving_heir"; 2]);
}

async fn what_it_owns_is_named_when_there_is_no_heir(cluster: &'static Cluster) {
    let world = two_databases(cluster, "heirless").await;
    let deployment = world.applied(worker(&world, None)).await;
    let login = world.vaulted(&deployment, WORKER).await;
    let there = cluster.connect(&login.user, &login.password, "heirless_b").await.unwrap();
    there.run("CREATE TABLE elsewhere.mine (n int)").await;
    let gone = deployment.with_fleet(world.fleet());
    let report = try_apply(&gone).await;
    let said = shown(&report) + &format!("{:?}", planned(&gone).await.blocked);
    assert!(said.contains("elsewhere.mine"), "what it owns is named: {said}");
    assert!(said.contains("heirless_b"), "and where: {said}");
    // It is out all the same.
    assert!(there.simple_query("SELECT 1").await.is_err(), "its session goes on");
    assert_eq!(world.refusal(&login).await.code, "28P01");
    let owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 'mine'";
    assert_eq!(cluster.sql("heirless_b", owner).await, ["heirless_worker"]);
    // Somebody moves it away, and the next run goes on.
    cluster.sql("heirless_b", "ALTER TABLE elsewhere.mine OWNER TO heirless_owner").await;
    apply(&gone).await;
    clean(&gone).await;
    assert_eq!(world.rows(TRACES).await, [""; 0]);
}

/// Has a week of grace.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "7d", name = "guest")]
struct Guest {
    #[input(key)]
    world: String,

    #[identity(name = format!("{world}_guest"))]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new("sales"), allow = [pg::Usage])]
    schema: pg::Grant,

    #[credential(of = account, deliver = format!("vault:{world}/guest"))]
    login: pg::Login,
}

fn guest(world: &World) -> Fleet {
    let mut fleet = world.fleet();
    fleet.add(GuestInputs { world: world.name.clone() });
    fleet
}

async fn for_its_grace_it_is_only_suspended_and_can_come_back(cluster: &'static Cluster) {
    let world = World::new(cluster, "grace").await;
    let deployment = world.applied(guest(&world)).await;
    let login = world.vaulted(&deployment, "vault:@/guest").await;
    let agent = world.enter(&login).await;
    let oid = world.value("SELECT oid FROM pg_roles WHERE rolname = '@_guest'").await;

    let gone = deployment.with_fleet(world.fleet());
    let report = apply(&gone).await;
    assert!(report.left.is_empty(), "its role is still there");
    assert!(agent.simple_query("SELECT 1").await.is_err(), "an open session goes on");
    assert_eq!(world.refusal(&login).await.code, "28P01");
    assert_eq!(world.value("SELECT oid FROM pg_roles WHERE rolname = '@_guest'").await, oid);
    world.clock.days(6);
    assert!(planned(&gone).await.is_empty(), "for its grace nothing is to be done");

    let back = gone.with_fleet(guest(&world));
    apply(&back).await;
    clean(&back).await;
    assert_eq!(world.value("SELECT oid FROM pg_roles WHERE rolname = '@_guest'").await, oid);
    let login = world.vaulted(&back, "vault:@/guest").await;
    world.enter(&login).await.run("SELECT 1").await;

    let gone = back.with_fleet(world.fleet());
    apply(&gone).await;
    world.clock.days(8);
    let report = apply(&gone).await;
    assert!(report.left[0].open.is_empty(), "{:?}", report.left);
    assert_eq!(world.rows("SELECT 1 FROM pg_roles WHERE rolname ~ '^@_guest'").await, [""; 0]);
    clean(&gone).await;
}

async fn a_killed_agent_is_out_at_once_and_comes_back_with_a_new_login(cluster: &'static Cluster) {
    let world = World::new(cluster, "killed").await;
    let deployment = world.applied(reader(&world)).await;
    let login = world.vaulted(&deployment, READER).await;
    let agent = world.enter(&login).await;
    let instance = r#"reader["killed"]"#.parse().unwrap();
    let report = deployment.kill(&instance, "it leaks", &operator()).await.unwrap();
    assert!(report.is_complete(), "{}", shown(&report));
    assert!(agent.simple_query("SELECT 1").await.is_err(), "an open session goes on");
    assert_eq!(world.refusal(&login).await.code, "28P01");
    let grants = "SELECT 1 FROM information_schema.role_table_grants WHERE grantee = '@_reader'";
    assert_eq!(world.rows(grants).await, [""; 0]);
    assert!(planned(&deployment).await.is_empty(), "no plan brings it back");

    deployment.resume(&instance, &operator().actor).await.unwrap();
    apply(&deployment).await;
    clean(&deployment).await;
    let new = world.vaulted(&deployment, READER).await;
    assert!(new != login, "the old password stays dead");
    world.enter(&new).await.run("SELECT id, amount FROM sales.invoices").await;
    assert_eq!(world.refusal(&login).await.code, "28P01");
}
