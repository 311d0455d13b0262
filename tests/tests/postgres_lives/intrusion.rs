//! What somebody plants so that we carry it out for him, with our rights, our
//! heir's, or the administrator's who pastes what we print.

use std::io::{Read as _, Write as _};

use super::*;

on_each_version![
    what_is_pasted_runs_nothing_that_a_database_owner_planted,
    what_is_printed_can_be_pasted_again,
    a_leaving_agent_leaves_no_trap_that_runs_as_its_heir,
    an_ownership_is_not_taken_back_with_a_trap_in_it_and_never_unattended,
    a_membership_that_ends_ends_in_open_sessions_too,
    an_operator_that_an_agent_meets_answers_nothing_for_it,
    a_registry_of_another_cluster_is_refused,
    a_role_that_is_called_otherwise_than_recorded_is_not_ended,
    an_agent_that_replicates_is_let_in_to_do_so,
    what_our_administrators_own_elsewhere_is_told,
];

/// Functions and a type that stand before the server's own in the search path
/// of whoever pastes, and that make their owner superuser.
const TRAPS: &str = "
    GRANT CREATE ON SCHEMA public TO @_owner; SET ROLE @_owner;
    CREATE SCHEMA evil_; GRANT ALL ON SCHEMA evil_ TO PUBLIC;
    CREATE FUNCTION public.win() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
            ALTER ROLE @_owner SUPERUSER;
        END IF;
        RETURN true; END $$;
    CREATE FUNCTION public.pg_has_role(text, oid, text) RETURNS boolean LANGUAGE plpgsql
        AS 'BEGIN RETURN public.win(); END';
    CREATE FUNCTION public.format(text, name, text) RETURNS text LANGUAGE plpgsql
        AS $$ BEGIN PERFORM public.win(); RETURN 'SELECT 1'; END $$;
    CREATE DOMAIN evil_.oid AS pg_catalog.oid CHECK (public.win());
    RESET ROLE";

async fn what_is_pasted_runs_nothing_that_a_database_owner_planted(cluster: &'static Cluster) {
    let world = World::new(cluster, "pasted").await;
    world.run("GRANT CREATE ON DATABASE @ TO @_owner").await;
    world.run(TRAPS).await;
    // A database's owner says where its sessions look first.
    world.run("ALTER DATABASE @ SET search_path = evil_, pg_catalog, public").await;
    let mut fleet = world.fleet();
    fleet.add(ReaderInputs { world: world.name.clone() });
    let deployment = world.prepared(fleet).await;
    let is_superuser = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = '@_owner'";
    assert_eq!(world.value(is_superuser).await, "f", "what was planted ran");
    world.run("ALTER DATABASE @ RESET search_path").await;
    apply(&deployment).await;
}

async fn what_is_printed_can_be_pasted_again(cluster: &'static Cluster) {
    let world = World::new(cluster, "again").await;
    let deployment = world.prepared(reader(&world)).await;
    world.require(&deployment).await;
    apply(&deployment).await;
    world.require(&deployment).await;
    clean(&deployment).await;
}

/// What runs with its owner's rights, and gives what only the heir may see: how
/// it is made, how somebody else uses it, and what names it.
const HEIRLOOMS: [(&str, &str, &str); 4] = [
    (
        "CREATE FUNCTION sales.peek() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER
         AS 'SELECT boss FROM hr.payroll'",
        "SELECT sales.peek()",
        "sales.peek()",
    ),
    (
        "CREATE VIEW sales.pay AS SELECT * FROM hr.payroll; GRANT SELECT ON sales.pay TO PUBLIC",
        "SELECT * FROM sales.pay",
        "sales.pay",
    ),
    (
        "CREATE TABLE sales.bait (id int); GRANT INSERT ON sales.bait TO PUBLIC;
         CREATE TABLE sales.out (boss text); GRANT SELECT ON sales.out TO PUBLIC;
         CREATE RULE r AS ON INSERT TO sales.bait DO ALSO
            INSERT INTO sales.out SELECT boss FROM hr.payroll",
        "INSERT INTO sales.bait VALUES (1)",
        "sales.bait",
    ),
    (
        "CREATE TABLE sales.child (id int REFERENCES sales.parent (id) ON DELETE CASCADE);
         INSERT INTO sales.child VALUES (1);
         CREATE TABLE sales.out (boss text); GRANT ALL ON sales.out TO PUBLIC;
         CREATE FUNCTION sales.fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO sales.out SELECT boss FROM hr.payroll; RETURN NULL; END $$;
         CREATE TRIGGER t AFTER DELETE ON sales.child FOR EACH ROW EXECUTE FUNCTION sales.fires()",
        "DELETE FROM sales.parent",
        "sales.child",
    ),
];

/// Can make tables, and what it makes goes to an heir who may see more.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "maker")]
struct Maker {
    #[input(key)]
    world: String,

    #[identity(
        name = format!("{world}_maker"),
        heir = format!("{world}_heir"),
        on_drift = OnDrift::RevertWidening,
    )]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new("sales"), allow = [pg::Usage, pg::Create])]
    schema: pg::Grant,

    #[credential(of = account, deliver = format!("vault:{world}/maker"))]
    login: pg::Login,
}

/// A world with a secret of its heir's, and somebody who waits for it.
async fn with_a_secret(cluster: &'static Cluster, name: &str) -> World {
    let world = World::new(cluster, name).await;
    world
        .run(
            "GRANT ALL ON SCHEMA sales TO @_heir; CREATE SCHEMA hr AUTHORIZATION @_heir;
             CREATE TABLE hr.payroll (boss text); INSERT INTO hr.payroll VALUES ('boss 1000000');
             GRANT USAGE ON SCHEMA hr TO PUBLIC; ALTER TABLE hr.payroll OWNER TO @_heir;
             CREATE TABLE sales.parent (id int PRIMARY KEY); INSERT INTO sales.parent VALUES (1);
             GRANT SELECT, REFERENCES, DELETE ON sales.parent TO PUBLIC;
             CREATE ROLE @_pal LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA sales TO @_pal",
        )
        .await;
    world
}

fn maker(world: &World, reach: Reach) -> Fleet {
    let mut fleet = world.fleet();
    fleet.provider("postgres", reach);
    fleet.add(MakerInputs { world: world.name.clone() });
    fleet
}

async fn a_leaving_agent_leaves_no_trap_that_runs_as_its_heir(cluster: &'static Cluster) {
    for (nth, (makes, uses, named)) in HEIRLOOMS.into_iter().enumerate() {
        let world = with_a_secret(cluster, &format!("legacy{nth}")).await;
        let deployment = world.applied(maker(&world, Reach::Declared)).await;
        let login = world.vaulted(&deployment, "vault:@/maker").await;
        world.enter(&login).await.run(makes).await;
        let database = &world.name;
        let pal = cluster.connect(&format!("{database}_pal"), "p", database).await.unwrap();
        assert_eq!(pal.refused(uses).await.code, "42501", "it gives nothing yet: {makes}");
        let gone = deployment.with_fleet(world.fleet());
        let report = try_apply(&gone).await;
        let said = shown(&report) + &format!("{:?}", planned(&gone).await.blocked);
        assert!(said.contains(named), "what cannot be handed on is named: {said}");
        let owned = "SELECT count(*) FROM (SELECT relowner, relname FROM pg_class
             UNION ALL SELECT proowner, proname FROM pg_proc) AS o (owner, name)
             WHERE owner = '@_heir'::regrole AND name IN ('peek', 'pay', 'bait', 'child')";
        assert_eq!(world.value(owned).await, "0", "it went to the heir: {makes}");
        let role = "SELECT count(*) FROM pg_roles WHERE rolname = '@_maker'";
        assert_eq!(world.value(role).await, "1", "{said}");
        assert_eq!(world.refusal(&login).await.code, "28P01", "it is out all the same");
        // Somebody who has read it takes it away, and the next run goes on.
        world.run("DROP OWNED BY @_maker CASCADE").await;
        apply(&gone).await;
        assert_eq!(world.value(role).await, "0");
    }
}

async fn an_ownership_is_not_taken_back_with_a_trap_in_it_and_never_unattended(
    cluster: &'static Cluster,
) {
    let world = with_a_secret(cluster, "takeback").await;
    let deployment = world.prepared(maker(&world, Reach::Exclusive)).await;
    apply(&deployment).await;
    let login = world.vaulted(&deployment, "vault:@/maker").await;
    let agent = world.enter(&login).await;
    agent.run("CREATE TABLE sales.plain (n int)").await;
    let owner = "SELECT relowner::regrole FROM pg_class WHERE oid = 'sales.plain'::regclass";
    // The heir gets more by that, so that nobody does it unasked.
    let report = deployment.revert_drift(&operator()).await.unwrap();
    assert!(report.steps.is_empty(), "{}", shown(&report));
    assert_eq!(world.value(owner).await, "takeback_maker");
    let report = try_apply(&deployment).await;
    assert!(report.is_complete(), "{}", shown(&report));
    assert_eq!(world.value(owner).await, "takeback_heir");

    for (makes, _, named) in HEIRLOOMS {
        agent.run(makes).await;
        let report = deployment.revert_drift(&operator()).await.unwrap();
        assert!(report.steps.is_empty(), "{}", shown(&report));
        let plan = planned(&deployment).await;
        let blocked = format!("{:?}", plan.blocked);
        assert!(blocked.contains(named), "{makes} is named: {blocked}");
        let report = apply_plan(&deployment, plan).await;
        let handed = "SELECT count(*) FROM pg_class WHERE relowner = '@_heir'::regrole
            AND relname IN ('pay', 'bait', 'child')";
        assert_eq!(world.value(handed).await, "0", "{}", shown(&report));
        // What is no trap went to the heir, by its own step.
        world.run("DROP OWNED BY @_maker CASCADE; DROP TABLE IF EXISTS sales.out").await;
        world.run("GRANT USAGE, CREATE ON SCHEMA sales TO @_maker").await;
    }
    // What became a trap after it was looked at.
    agent.run("CREATE FUNCTION sales.late() RETURNS int LANGUAGE sql AS 'SELECT 1'").await;
    let plan = planned(&deployment).await;
    assert!(!plan.steps.is_empty(), "{plan:#?}");
    agent.run("ALTER FUNCTION sales.late() SECURITY DEFINER").await;
    let report = apply_plan(&deployment, plan).await;
    assert!(shown(&report).contains("sales.late()"), "{}", shown(&report));
    let owner = "SELECT proowner::regrole FROM pg_proc WHERE proname = 'late'";
    assert_eq!(world.value(owner).await, "takeback_maker");
}

/// Is a member of others.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "member")]
struct Member {
    #[input(key)]
    world: String,

    #[identity(name = format!("{world}_member"))]
    account: pg::Role,

    #[permission(to = account, of = format!("{world}_archivists"))]
    archive: pg::Membership,

    #[credential(of = account, deliver = format!("vault:{world}/member"))]
    login: pg::Login,
}

/// The same, and no member any more.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "member")]
struct MemberNoMore {
    #[input(key)]
    world: String,

    #[identity(name = format!("{world}_member"))]
    account: pg::Role,

    #[credential(of = account, deliver = format!("vault:{world}/member"))]
    login: pg::Login,
}

async fn a_membership_that_ends_ends_in_open_sessions_too(cluster: &'static Cluster) {
    let world = World::new(cluster, "standing").await;
    world
        .run(
            "CREATE ROLE @_archivists; GRANT USAGE ON SCHEMA sales TO @_archivists;
             SET ROLE @_owner; GRANT SELECT ON sales.notes TO @_archivists; RESET ROLE",
        )
        .await;
    let mut fleet = world.fleet();
    fleet.add(MemberInputs { world: world.name.clone() });
    let deployment = world.applied(fleet).await;
    let login = world.vaulted(&deployment, "vault:@/member").await;
    let agent = world.enter(&login).await;
    agent.run("SET ROLE standing_archivists; SELECT * FROM sales.notes").await;
    let mut fleet = world.fleet();
    fleet.add(MemberNoMoreInputs { world: world.name.clone() });
    let deployment = deployment.with_fleet(fleet);
    apply(&deployment).await;
    let goes_on = agent.simple_query("SELECT * FROM sales.notes").await;
    assert!(goes_on.is_err(), "the membership lives on in an open session");
    // It is out of that role, and in all the same.
    let agent = world.enter(&login).await;
    assert_eq!(agent.refused("SET ROLE standing_archivists").await.code, "42501");
    clean(&deployment).await;
}

/// Looks first where others may make operators.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "guided")]
struct Guided {
    #[input(key)]
    world: String,

    #[identity(
        name = format!("{world}_guided"),
        settings = std::collections::BTreeMap::from([
            ("search_path".to_owned(), "trap, pg_catalog".to_owned()),
        ]),
    )]
    account: pg::Role,

    #[credential(of = account, deliver = format!("vault:{world}/guided"))]
    login: pg::Login,
}

async fn an_operator_that_an_agent_meets_answers_nothing_for_it(cluster: &'static Cluster) {
    let world = World::new(cluster, "operator").await;
    world
        .run(
            "CREATE SCHEMA trap; GRANT ALL ON SCHEMA trap TO PUBLIC;
             CREATE TABLE trap.met (who text); GRANT ALL ON trap.met TO PUBLIC;
             CREATE FUNCTION trap.eq(oid, int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO trap.met VALUES (current_user); RETURN true; END $$;
             CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = int, FUNCTION = trap.eq)",
        )
        .await;
    let mut fleet = world.fleet();
    fleet.add(GuidedInputs { world: world.name.clone() });
    let deployment = world.prepared(fleet).await;
    apply(&deployment).await;
    assert_eq!(world.rows("SELECT who FROM trap.met").await, [""; 0]);
}

async fn a_registry_of_another_cluster_is_refused(cluster: &'static Cluster) {
    let world = World::new(cluster, "restored").await;
    let mut deployment = world.applied(reader(&world)).await;
    for wrong in ["system_identifier = '7'", "database_oid = 7"] {
        let kept = "UPDATE agent_iac.registry SET system_identifier =
            (SELECT system_identifier::text FROM pg_control_system()),
            database_oid = (SELECT oid FROM pg_database WHERE datname = current_database())";
        // As after a dump of it was restored somewhere else.
        world.run(&format!("UPDATE agent_iac.registry SET {wrong}")).await;
        let plan = deployment.plan(&PlanRequest::default()).await;
        let said = match plan {
            Ok(plan) => {
                assert!(plan.steps.is_empty(), "nothing is written by its numbers: {plan:#?}");
                format!("{:?}", plan.unread)
            }
            Err(error) => format!("{} {}", error.chain(), error.repair().unwrap_or_default()),
        };
        assert!(said.contains("another"), "{said}");
        let gone = deployment.with_fleet(world.fleet());
        let report = match gone.plan(&PlanRequest::default()).await {
            Ok(plan) => shown(&apply_plan(&gone, plan).await),
            Err(error) => error.chain(),
        };
        let role = "SELECT count(*) FROM pg_roles WHERE rolname LIKE '@_reader%'";
        assert_eq!(world.value(role).await, "2", "{report}");
        world.run(kept).await;
        deployment = gone.with_fleet(reader(&world));
    }
    // It had been said that it leaves, and nothing was done about it.
    let plan = planned(&deployment).await;
    assert!(plan.steps.is_empty(), "{plan:#?}");
    apply_plan(&deployment, plan).await;
    clean(&deployment).await;
}

async fn a_role_that_is_called_otherwise_than_recorded_is_not_ended(cluster: &'static Cluster) {
    let world = World::new(cluster, "numbers").await;
    let mut deployment = world.applied(reader(&world)).await;
    // As after roles were restored by their names, with other numbers.
    world.run("ALTER ROLE @_reader RENAME TO @_dba").await;
    world.run("ALTER ROLE @_reader__g1 LOGIN").await;
    for fleet in [reader(&world), world.fleet()] {
        deployment = deployment.with_fleet(fleet);
        let plan = planned(&deployment).await;
        let blocked = format!("{:?}", plan.blocked);
        assert!(blocked.contains("numbers_dba") && blocked.contains("numbers_reader"), "{blocked}");
        let report = apply_plan(&deployment, plan).await;
        let role = "SELECT count(*) FROM pg_roles WHERE rolname = '@_dba'";
        assert_eq!(world.value(role).await, "1", "{}", shown(&report));
    }
    world.run("ALTER ROLE @_dba RENAME TO @_reader").await;
    apply(&deployment).await;
    let left = "SELECT count(*) FROM pg_roles WHERE rolname LIKE '@_reader%'";
    assert_eq!(world.value(left).await, "0");
}

/// Receives what the server writes.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "standby")]
struct Standby {
    #[input(key)]
    world: String,
    #[input]
    replicates: bool,

    #[identity(name = format!("{world}_standby"), replication = *replicates)]
    account: pg::Role,

    #[credential(of = account, deliver = format!("vault:{world}/standby"))]
    login: pg::Login,
}

/// The first answer of a server to somebody who asks for replication: `Z` when
/// it is ready for him, or its error.
fn asks_to_replicate(cluster: &Cluster, user: &str) -> Result<(), String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", cluster.port())).unwrap();
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for word in ["user", user, "replication", "true", ""] {
        body.extend(word.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &body].concat()).unwrap();
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut body).unwrap();
        match head[0] {
            b'Z' => return Ok(()),
            b'E' => return Err(String::from_utf8_lossy(&body).into_owned()),
            _ => {}
        }
    }
}

async fn an_agent_that_replicates_is_let_in_to_do_so(cluster: &'static Cluster) {
    let world = World::new(cluster, "standby").await;
    let fleet = |replicates| {
        let mut fleet = world.fleet();
        fleet.add(StandbyInputs { world: world.name.clone(), replicates });
        fleet
    };
    let mut deployment = world.applied(fleet(true)).await;
    let login = world.vaulted(&deployment, "vault:@/standby").await;
    // This client speaks no SCRAM: for this login, and for replication alone,
    // the server asks for no password.
    let file = cluster.data().join("pg_hba.conf");
    let rules = std::fs::read_to_string(&file).unwrap();
    let open = format!("host replication {} 127.0.0.1/32 trust\n{rules}", login.user);
    std::fs::write(&file, open).unwrap();
    world.run("SELECT pg_reload_conf()").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(asks_to_replicate(cluster, &login.user), Ok(()));
    // It is taken from both, and given back to both.
    for replicates in [false, true] {
        deployment = deployment.with_fleet(fleet(replicates));
        apply(&deployment).await;
        clean(&deployment).await;
        let login = world.vaulted(&deployment, "vault:@/standby").await;
        assert_eq!(login.user, "standby_standby__g1");
        assert_eq!(asks_to_replicate(cluster, &login.user).is_ok(), replicates);
    }
    // By hand it is a change like any other.
    world.run("ALTER ROLE @_standby__g1 NOREPLICATION").await;
    let plan = planned(&deployment).await;
    assert!(!plan.is_clean(), "a login that can do less is as one that was changed");
    std::fs::write(&file, rules).unwrap();
    world.run("SELECT pg_reload_conf()").await;
}

async fn what_our_administrators_own_elsewhere_is_told(cluster: &'static Cluster) {
    let world = World::new(cluster, "elsewhere").await;
    let deployment = world.applied(reader(&world)).await;
    let warnings = |plan: &Plan| {
        let all = plan.beside.iter().flat_map(|beside| &beside.warnings);
        all.cloned().collect::<Vec<_>>().join("\n")
    };
    let before = warnings(&planned(&deployment).await);
    assert!(!before.contains("elsewhere_b"), "{before}");
    let other = cluster.database("elsewhere_b").await;
    let there = cluster.admin_of(&other).await;
    there.run("CREATE SCHEMA agent_iac AUTHORIZATION elsewhere_admins").await;
    let after = warnings(&planned(&deployment).await);
    assert!(after.contains("elsewhere_b"), "{after}");
}
