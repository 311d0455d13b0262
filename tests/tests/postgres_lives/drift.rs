//! What somebody changes by hand: each is found, and taken back where that is
//! possible; what is not is named with the reason.

use agent_iac::access::Verdict;

use super::*;

on_each_version![
    a_wider_grant_is_taken_back_unattended,
    what_was_planted_on_an_agent_is_found_and_taken_back,
    what_another_grantor_gave_is_named_with_who_can_take_it_back,
    another_membership_is_found_however_it_reaches,
    settings_and_attributes_are_found_and_taken_back,
    an_undeclared_login_is_found_and_loses_the_role,
    a_narrowing_is_reported_and_left_alone,
    a_policy_that_lets_everybody_through_widens_a_declared_one,
];

/// What a plan found, in one line for each.
fn found(plan: &Plan) -> String {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(plan.drift.iter().map(|one| format!("drift {} {:?}", one.address, one.fields)));
    lines.extend(plan.steps.iter().map(|one| {
        format!("step {} {} {} {:?}", one.action, one.address, one.resource_type, one.reason)
    }));
    lines.extend(
        plan.blocked.iter().map(|b| format!("blocked {}: {} {}", b.address, b.reason, b.repair)),
    );
    let ours = plan.undeclared.iter().filter(|found| found.instance.is_some());
    lines.extend(ours.map(|found| {
        let why = found.object.obstacle.as_deref().unwrap_or_default();
        format!("undeclared {} {}: {why}", found.resource_type, found.object.id)
    }));
    lines.extend(plan.unread.iter().map(|u| format!("unread {u:?}")));
    lines.join("\n")
}

/// Everything of the agents is as it was declared.
async fn calm(deployment: &Deployment) {
    assert_eq!(found(&planned(deployment).await), "");
}

async fn revert(deployment: &Deployment) -> Report {
    deployment.revert_drift(&operator()).await.unwrap()
}

/// The login of an agent cannot do these.
async fn refuses(agent: &Session, statements: &[&str]) {
    for statement in statements {
        assert_eq!(agent.refused(statement).await.code, "42501", "{statement}");
    }
}

/// Reads notes, and what is wider than that is taken back while nobody watches.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "watched")]
struct Watched {
    #[input(key)]
    world: String,

    #[identity(name = format!("{world}_watched"), heir = format!("{world}_owner"), on_drift = OnDrift::RevertWidening)]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new("sales"), allow = [pg::Usage])]
    schema: pg::Grant,

    #[permission(
        to = account,
        on = pg::Table::new("sales", "notes"),
        allow = [pg::Select, pg::Update],
        on_drift = OnDrift::RevertWidening,
    )]
    notes: pg::Grant,

    #[credential(of = account, deliver = format!("vault:{world}/watched"))]
    login: pg::Login,
}

/// A fleet that has its identities for itself: what else is on them is taken
/// away. Roles that it never made are only told, and so this cluster is never
/// quite clean.
async fn watched(cluster: &'static Cluster, name: &str) -> (World, Deployment, Session) {
    let world = World::new(cluster, name).await;
    let mut fleet = world.fleet();
    fleet.provider("postgres", Reach::Exclusive);
    fleet.add(WatchedInputs { world: world.name.clone() });
    let deployment = world.prepared(fleet).await;
    apply(&deployment).await;
    calm(&deployment).await;
    let login = world.vaulted(&deployment, "vault:@/watched").await;
    let agent = world.enter(&login).await;
    (world, deployment, agent)
}

async fn a_wider_grant_is_taken_back_unattended(cluster: &'static Cluster) {
    let (world, deployment, agent) = watched(cluster, "wider").await;
    world.run("SET ROLE @_owner; GRANT DELETE ON sales.notes TO @_watched; RESET ROLE").await;
    agent.run("BEGIN; DELETE FROM sales.notes; ROLLBACK").await;
    let report = revert(&deployment).await;
    assert!(report.is_complete() && report.steps.len() == 1, "{}", shown(&report));
    refuses(&agent, &["DELETE FROM sales.notes"]).await;
    agent.run("SELECT * FROM sales.notes").await;
    calm(&deployment).await;

    // The right to give it on is more, too.
    world
        .run("SET ROLE @_owner; GRANT SELECT ON sales.notes TO @_watched WITH GRANT OPTION; RESET ROLE")
        .await;
    agent.run("GRANT SELECT ON sales.notes TO wider_heir").await;
    // What it passed on is somebody else's by now, and not taken along unasked.
    let report = try_apply(&deployment).await;
    assert!(shown(&report).contains("wider_heir"), "who has it is named: {}", shown(&report));
    agent.run("REVOKE SELECT ON sales.notes FROM wider_heir").await;
    let report = revert(&deployment).await;
    assert!(report.is_complete(), "{}", shown(&report));
    calm(&deployment).await;
    // The server says no with a warning only.
    agent.run("GRANT SELECT ON sales.notes TO wider_heir").await;
    let has = "SELECT has_table_privilege('@_heir', 'sales.notes', 'SELECT')";
    assert_eq!(world.value(has).await, "f");
}

/// What somebody plants, who finds it by which type, and what it gives.
const PLANTED: [(&str, &str, &str); 6] = [
    (
        "SET ROLE @_owner; GRANT SELECT (customer) ON sales.invoices TO @_watched",
        "postgres.grant",
        "SELECT customer FROM sales.invoices",
    ),
    (
        "SET ROLE @_owner; GRANT USAGE ON SCHEMA sales TO @_watched__g1;
         GRANT SELECT (customer), UPDATE (amount) ON sales.invoices TO @_watched__g1",
        "postgres.grant",
        "SET ROLE NONE; SELECT customer FROM sales.invoices",
    ),
    (
        "SET ROLE @_owner; GRANT CREATE ON SCHEMA sales TO @_watched",
        "postgres.grant",
        "CREATE TABLE sales.planted (n int)",
    ),
    (
        "GRANT @_owner TO @_admins; SET ROLE @_owner;
         ALTER DEFAULT PRIVILEGES IN SCHEMA sales GRANT SELECT ON TABLES TO @_watched",
        "postgres.default_privileges",
        "",
    ),
    (
        "ALTER TABLE sales.invoices OWNER TO @_watched",
        "postgres.ownership",
        "TRUNCATE sales.invoices",
    ),
    (
        "SET ROLE @_admins; CREATE ROLE @_power; GRANT @_power TO @_watched; RESET ROLE;
         SET ROLE @_owner; GRANT TRUNCATE ON sales.invoices TO @_power",
        "postgres.membership",
        "TRUNCATE sales.invoices",
    ),
];

async fn what_was_planted_on_an_agent_is_found_and_taken_back(cluster: &'static Cluster) {
    let (world, deployment, mut agent) = watched(cluster, "planted").await;
    let login = world.vaulted(&deployment, "vault:@/watched").await;
    for (by_hand, found_as, gives) in PLANTED {
        // The second of these has no table of its own to stand on.
        world.run(&format!("{by_hand}; RESET ROLE")).await;
        if !gives.is_empty() {
            agent.run(&format!("BEGIN; {gives}; ROLLBACK")).await;
        }
        let plan = planned(&deployment).await;
        assert!(found(&plan).contains(found_as), "{by_hand}:\n{}", found(&plan));
        let report = try_apply(&deployment).await;
        assert!(report.is_complete(), "{by_hand}: {}", shown(&report));
        if found_as == "postgres.membership" {
            // Its sessions may stand in what they were members of.
            assert!(agent.simple_query("SELECT 1").await.is_err(), "{by_hand}");
            agent = world.enter(&login).await;
        }
        if !gives.is_empty() {
            let last = gives.rsplit("; ").next().unwrap();
            if gives != last {
                agent.run("SET ROLE NONE").await;
            }
            refuses(&agent, &[last]).await;
            agent.run("SET ROLE planted_watched").await;
        }
        assert_eq!(found(&planned(&deployment).await), "", "{by_hand}");
    }
}

async fn what_another_grantor_gave_is_named_with_who_can_take_it_back(cluster: &'static Cluster) {
    let (world, deployment, agent) = watched(cluster, "grantor").await;
    world
        .run(
            "CREATE ROLE @_dba; GRANT USAGE ON SCHEMA sales TO @_dba;
             SET ROLE @_owner; GRANT SELECT, DELETE ON sales.invoices TO @_dba WITH GRANT OPTION;
             RESET ROLE; SET ROLE @_dba; GRANT DELETE ON sales.invoices TO @_watched; RESET ROLE",
        )
        .await;
    agent.run("BEGIN; DELETE FROM sales.invoices; ROLLBACK").await;
    let report = revert(&deployment).await;
    assert!(report.steps.is_empty(), "nothing was tried: {}", shown(&report));
    let plan = planned(&deployment).await;
    let said = found(&plan);
    assert!(plan.is_empty() && !plan.blocked.is_empty(), "{said}");
    assert!(said.contains("grantor_dba"), "who gave it is named: {said}");
    // With the repair that it names, the next plan takes it back.
    world.run("GRANT @_dba TO @_admins").await;
    let report = apply(&deployment).await;
    assert!(report.is_complete(), "{}", shown(&report));
    refuses(&agent, &["DELETE FROM sales.invoices"]).await;
    calm(&deployment).await;
}

async fn another_membership_is_found_however_it_reaches(cluster: &'static Cluster) {
    let (world, deployment, agent) = watched(cluster, "member").await;
    // From 16 each membership says how it reaches, before that the role does.
    let (role, option) =
        if cluster.version() >= 16 { ("", " WITH INHERIT FALSE") } else { (" NOINHERIT", "") };
    if !role.is_empty() {
        world.run(&format!("ALTER ROLE @_watched{role}")).await;
    }
    world
        .run(&format!(
            "SET ROLE @_admins; CREATE ROLE @_power; GRANT @_power TO @_watched{option}; RESET ROLE;
             SET ROLE @_owner; GRANT TRUNCATE ON sales.invoices TO @_power; RESET ROLE;
             GRANT USAGE ON SCHEMA sales TO @_power"
        ))
        .await;
    refuses(&agent, &["TRUNCATE sales.invoices"]).await;
    agent.run("BEGIN; SET ROLE member_power; TRUNCATE sales.invoices; ROLLBACK").await;
    let plan = planned(&deployment).await;
    assert!(found(&plan).contains("postgres.membership"), "{}", found(&plan));
    let mut report = try_apply(&deployment).await;
    if !report.is_complete() && cluster.version() < 16 {
        // How a membership reaches is the role's there, and the same plan took
        // that back: it is not as it was seen, and needs another plan.
        report = try_apply(&deployment).await;
    }
    assert!(report.is_complete(), "{}", shown(&report));
    assert!(agent.simple_query("SELECT 1").await.is_err(), "an open session goes on");
    let login = world.vaulted(&deployment, "vault:@/watched").await;
    refuses(&world.enter(&login).await, &["SET ROLE member_power"]).await;
    calm(&deployment).await;

    // One that a superuser gave has a grantor whom nobody else can be.
    world.run("CREATE ROLE @_more; GRANT @_more TO @_watched").await;
    let plan = planned(&deployment).await;
    let said = found(&plan);
    assert!(said.contains("postgres.membership") || said.contains("member_more"), "{said}");
    if cluster.version() >= 16 {
        let by_whom = "it was given by `postgres`, and `member_admins` cannot become that role";
        let repair = r#"GRANT "postgres" TO "member_admins""#;
        assert!(plan.is_empty() && said.contains(by_whom), "the grantor is named: {said}");
        assert!(said.contains(repair), "and how it is taken back: {said}");
    }
}

async fn settings_and_attributes_are_found_and_taken_back(cluster: &'static Cluster) {
    let (world, deployment, _agent) = watched(cluster, "settings").await;
    for (by_hand, says) in [
        ("ALTER ROLE @_watched SET search_path = evil", "search_path"),
        ("ALTER ROLE @_watched IN DATABASE @ SET work_mem = '1MB'", "work_mem@settings"),
        ("ALTER ROLE @_watched LOGIN", "login"),
        ("ALTER ROLE LOGIN SET role = '@_owner'", "settings_owner"),
        ("ALTER ROLE LOGIN SET search_path = evil", "search_path"),
        ("ALTER ROLE LOGIN RESET role", "role"),
    ] {
        let login = world.vaulted(&deployment, "vault:@/watched").await;
        world
            .run(
                &by_hand
                    .replace("LOGIN SET", &format!("{} SET", login.user))
                    .replace("LOGIN RESET", &format!("{} RESET", login.user)),
            )
            .await;
        let plan = planned(&deployment).await;
        assert!(found(&plan).contains(says), "{by_hand}:\n{}", found(&plan));
        let report = try_apply(&deployment).await;
        assert!(report.is_complete(), "{by_hand}: {}", shown(&report));
        assert_eq!(found(&planned(&deployment).await), "", "{by_hand}");
        let before = login;
        let login = world.vaulted(&deployment, "vault:@/watched").await;
        // What somebody changed of the role is put back on the role: its login
        // is as it was made, and stays.
        let is_of_login = by_hand.contains("LOGIN ");
        assert_eq!(login.user != before.user, is_of_login, "{by_hand}: {}", shown(&report));
        let session = world.enter(&login).await;
        let who =
            session.value("SELECT current_user || ' ' || current_setting('search_path')").await;
        assert_eq!(who, "settings_watched \"$user\", public", "{by_hand}");
    }
}

async fn an_undeclared_login_is_found_and_loses_the_role(cluster: &'static Cluster) {
    let (world, deployment, _agent) = watched(cluster, "mallory").await;
    world
        .run(
            "SET ROLE @_admins; CREATE ROLE @_mallory LOGIN; GRANT @_watched TO @_mallory;
             RESET ROLE; ALTER ROLE @_mallory PASSWORD 'm'",
        )
        .await;
    let mallory = cluster.connect("mallory_mallory", "m", "mallory").await.unwrap();
    // One session has the role, and another one has become it.
    mallory.run("SELECT * FROM sales.notes").await;
    let standing = cluster.connect("mallory_mallory", "m", "mallory").await.unwrap();
    standing.run("SET ROLE mallory_watched; SELECT * FROM sales.notes").await;
    let plan = planned(&deployment).await;
    assert!(found(&plan).contains("postgres.login"), "{}", found(&plan));
    let report = try_apply(&deployment).await;
    assert!(report.is_complete(), "{}", shown(&report));
    let goes_on = standing.simple_query("SELECT * FROM sales.notes").await;
    assert!(goes_on.is_err(), "a session that had become the role goes on as it");
    // It is somebody's: it lost the role, and nothing else.
    let again = cluster.connect("mallory_mallory", "m", "mallory").await.unwrap();
    refuses(&again, &["SELECT * FROM sales.notes"]).await;
    calm(&deployment).await;
}

async fn a_narrowing_is_reported_and_left_alone(cluster: &'static Cluster) {
    let (world, deployment, agent) = watched(cluster, "narrow").await;
    world.run("SET ROLE @_owner; REVOKE UPDATE ON sales.notes FROM @_watched; RESET ROLE").await;
    let plan = planned(&deployment).await;
    assert_eq!(plan.drift.len(), 1, "{}", found(&plan));
    let report = revert(&deployment).await;
    assert!(report.steps.is_empty(), "{}", shown(&report));
    refuses(&agent, &["UPDATE sales.notes SET note = 'x'"]).await;
    // A plan that somebody reads gives it back.
    apply(&deployment).await;
    calm(&deployment).await;
    agent.run("UPDATE sales.notes SET note = 'x'").await;
}

/// Reads what is its own of the notes.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "tenant")]
struct Tenant {
    #[input(key)]
    world: String,

    #[identity(name = format!("{world}_tenant"), heir = format!("{world}_owner"))]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new("sales"), allow = [pg::Usage])]
    schema: pg::Grant,

    #[permission(to = account, on = pg::Table::new("sales", "notes"), allow = [pg::Select])]
    notes: pg::Grant,

    #[permission(
        to = account,
        on = pg::Table::new("sales", "notes"),
        name = "own",
        using = "note = 'mine'",
        secures = true,
        on_drift = OnDrift::RevertWidening,
    )]
    rows: pg::Policy,

    #[credential(of = account, deliver = format!("vault:{world}/tenant"))]
    login: pg::Login,
}

async fn a_policy_that_lets_everybody_through_widens_a_declared_one(cluster: &'static Cluster) {
    let world = World::new(cluster, "tenants").await;
    let mut fleet = world.fleet();
    fleet.add(TenantInputs { world: world.name.clone() });
    let deployment = world.prepared(fleet).await;
    apply(&deployment).await;
    calm(&deployment).await;
    world.run("INSERT INTO sales.notes VALUES (8, 'mine'), (9, 'yours')").await;
    let login = world.vaulted(&deployment, "vault:@/tenant").await;
    let agent = world.enter(&login).await;
    let yours = "SELECT count(*) FROM sales.notes WHERE note = 'yours'";
    assert_eq!(agent.value(yours).await, "0");

    world.run("CREATE POLICY open ON sales.notes USING (true)").await;
    assert_eq!(agent.value(yours).await, "1");
    let plan = planned(&deployment).await;
    let [drift] = plan.drift.as_slice() else { panic!("{}", found(&plan)) };
    assert_eq!(drift.access.verdict(), Verdict::Widens, "{drift:?}");
    assert!(found(&plan).contains("all using (true)"), "{}", found(&plan));
    // It is somebody else's: it is named with the reason, and stays.
    let report = revert(&deployment).await;
    assert!(shown(&report).contains("DROP POLICY"), "{}", shown(&report));
    world.run("DROP POLICY open ON sales.notes").await;
    calm(&deployment).await;

    // What it turned on itself, it turns on again.
    world.run("ALTER TABLE sales.notes DISABLE ROW LEVEL SECURITY").await;
    assert_eq!(agent.value(yours).await, "1");
    // Which rows an expression lets through only the server knows, so that
    // going back to one is for somebody to read.
    assert!(revert(&deployment).await.steps.is_empty());
    apply(&deployment).await;
    assert_eq!(agent.value(yours).await, "0");
    calm(&deployment).await;
}
