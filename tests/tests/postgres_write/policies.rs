//! Row policies: their expressions, what else lets rows through, and the row
//! security of their tables.

use agent_iac::ErrorKind;
use agent_iac_tests::on_each_version;

use super::*;

on_each_version![
    a_policy_without_row_security_is_refused,
    an_expression_says_nothing_but_which_rows,
    what_else_lets_the_rows_through_is_declared_or_refused,
    a_policy_for_a_group_of_ours_is_not_a_strangers,
    a_policy_that_secures_its_table_turns_row_security_on_again,
];

fn policy(to: &Object, using: &str) -> pg::PolicyBuilder {
    let mut policy = pg::Policy::builder();
    policy.to(Link::id(&to.id)).on(pg::Table::new("app", "rows")).name("mine").using(using);
    policy
}

async fn a_policy_without_row_security_is_refused(cluster: &'static Cluster) {
    let world = World::new(cluster, "rls", &[]).await;
    let x = world.role("@_x").await;
    let mut off = policy(&x, "true");
    off.on(pg::Table::new("app", "t0"));
    let error = world.refused::<pg::Policy>(world.create::<pg::Policy>(&off)).await;
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        error.repair().unwrap().starts_with("ALTER TABLE \"app\".\"t0\" ENABLE ROW LEVEL SECURITY")
    );
    world.run("ALTER TABLE app.t0 ENABLE ROW LEVEL SECURITY").await;
    world.done::<pg::Policy>(world.create::<pg::Policy>(&off)).await;
}

async fn an_expression_says_nothing_but_which_rows(cluster: &'static Cluster) {
    let world = World::new(cluster, "expression", &[]).await;
    let x = world.role("@_x").await;
    for text in [
        "true) WITH CHECK (true",
        "true); DROP TABLE app.rows; --",
        "n = 1; SELECT 1",
        "no_such = 1",
        "n = ",
        "no_function(n)",
        "EXISTS (SELECT FROM rows)",
        "$1",
    ] {
        let request = world.create::<pg::Policy>(&policy(&x, text));
        let error = world.refused::<pg::Policy>(request).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}: {error:?}");
    }
    // The registry has policies of its own.
    let policies = "SELECT count(*) FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
        WHERE c.relnamespace <> 'agent_iac'::regnamespace";
    assert_eq!(world.value(policies).await, "0");
    let mut both = policy(&x, "n = 1 OR EXISTS (SELECT FROM app.t0 WHERE a=n) /* why */");
    both.check("n<9");
    let object = world.done::<pg::Policy>(world.create::<pg::Policy>(&both)).await;
    // Its expressions can change, and not go one by one.
    let error =
        world.refused::<pg::Policy>(world.update::<pg::Policy>(&object, &policy(&x, "true"))).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    // Whoever changes its meaning changes what is read.
    world.run("ALTER POLICY mine ON app.rows USING (n = 2)").await;
    let error = world.refused::<pg::Policy>(world.delete(&object)).await;
    assert_eq!(error.kind(), ErrorKind::StalePlan);
    let seen = world.read::<pg::Policy>(&object.id).await.object().unwrap().clone();
    world.gone::<pg::Policy>(world.delete(&seen)).await;
}

async fn what_else_lets_the_rows_through_is_declared_or_refused(cluster: &'static Cluster) {
    let world = World::new(cluster, "through", &[]).await;
    let x = world.role("@_x").await;
    world
        .run(
            "CREATE POLICY open ON app.rows FOR SELECT USING (n < 5);
             CREATE POLICY narrow ON app.rows AS RESTRICTIVE USING (n > 0)",
        )
        .await;
    let mut mine = policy(&x, "n = 1");
    let error = world.refused::<pg::Policy>(world.create::<pg::Policy>(&mine)).await;
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert!(error.message().contains("`open` (select using ((n < 5)))"), "{error}");
    assert!(error.repair().unwrap().contains("`beside`"), "{error:?}");
    // One for rows that are written says nothing of those that are read.
    let mut written = policy(&x, "n = 1");
    written.name("written").command(pg::Command::Update);
    world.done::<pg::Policy>(world.create::<pg::Policy>(&written)).await;
    let beside = |what: &str| BTreeMap::from([("open".to_owned(), what.to_owned())]);
    mine.beside(beside("select using ((n < 5))"));
    let object = world.done::<pg::Policy>(world.create::<pg::Policy>(&mine)).await;
    // Whoever changes it changes what is read, and it is nobody's to change back.
    world.run("ALTER POLICY open ON app.rows USING (true)").await;
    let read = world.read::<pg::Policy>(&object.id).await.object().unwrap().clone();
    let now = Value::Map(BTreeMap::from([("open".to_owned(), "select using (true)".into())]));
    assert_eq!(read.value("beside"), Some(&now));
    assert_eq!(read.obstacle, None, "the policy itself can go");
    let error = world.refused::<pg::Policy>(world.update::<pg::Policy>(&read, &mine)).await;
    assert!(error.message().contains("`open` (select using (true))"), "{error}");
    world.run("DROP POLICY open ON app.rows").await;
    let read = world.read::<pg::Policy>(&object.id).await.object().unwrap().clone();
    let error = world.refused::<pg::Policy>(world.update::<pg::Policy>(&read, &mine)).await;
    assert!(error.message().contains("`open`, which is gone"), "{error}");
    mine.beside(BTreeMap::new());
    world.done::<pg::Policy>(world.update::<pg::Policy>(&read, &mine)).await;
    world.gone::<pg::Policy>(world.delete(&read)).await;
}

async fn a_policy_for_a_group_of_ours_is_not_a_strangers(cluster: &'static Cluster) {
    let world = World::new(cluster, "grouped", &[]).await;
    let (x, group) = (world.role("@_x").await, world.role("@_group").await);
    let mut member = pg::Membership::builder();
    member.to(Link::id(&x.id)).of("grouped_group");
    world.done::<pg::Membership>(world.create::<pg::Membership>(&member)).await;
    let mut of_group = policy(&group, "n = 2");
    of_group.name("group");
    // In one transaction, where the registry does not know the one yet.
    let both = [policy(&x, "n = 1"), of_group];
    let both = both.iter().map(|one| world.create::<pg::Policy>(one)).collect();
    for written in world.batch::<pg::Policy>(both).await {
        written.unwrap();
    }
    // A stranger's for the same group is one.
    world.run("CREATE POLICY stray ON app.rows TO @_group USING (true)").await;
    let ids = "SELECT oid FROM pg_policy WHERE polname = 'mine'";
    let id = format!("policy {}", world.value(ids).await);
    let read = world.read::<pg::Policy>(&id).await.object().unwrap().clone();
    let stray = Value::Map(BTreeMap::from([("stray".to_owned(), "all using (true)".into())]));
    assert_eq!(read.value("beside"), Some(&stray));
    // Without the rights of the group there is nothing beside.
    world.run("ALTER POLICY stray ON app.rows TO @_owner").await;
    let read = world.read::<pg::Policy>(&id).await.object().unwrap().clone();
    assert_eq!(read.value("beside"), Some(&Value::Map(BTreeMap::new())));
}

async fn a_policy_that_secures_its_table_turns_row_security_on_again(cluster: &'static Cluster) {
    let world = World::new(cluster, "secures", &[]).await;
    let x = world.role("@_x").await;
    world.run("GRANT USAGE ON SCHEMA app TO @_x; GRANT SELECT ON app.t0 TO @_x").await;
    world.run("INSERT INTO app.t0 VALUES (1), (2)").await;
    let mut mine = policy(&x, "a = 1");
    mine.on(pg::Table::new("app", "t0")).secures(true);
    let object = world.done::<pg::Policy>(world.create::<pg::Policy>(&mine)).await;
    let seen = async || {
        let seen = world.value("SET ROLE @_x; SELECT count(*) FROM app.t0").await;
        world.run("RESET ROLE").await;
        seen
    };
    assert_eq!(seen().await, "1");
    world.run("ALTER TABLE app.t0 DISABLE ROW LEVEL SECURITY").await;
    let read = world.read::<pg::Policy>(&object.id).await.object().unwrap().clone();
    assert_eq!((read.value("using"), &read.obstacle), (Some(&"true".into()), &None));
    world.done::<pg::Policy>(world.update::<pg::Policy>(&read, &mine)).await;
    assert_eq!(seen().await, "1");
    // What it owns it sees whole, until its policies are forced.
    world.run("GRANT CREATE ON SCHEMA app TO @_x; ALTER TABLE app.t0 OWNER TO @_x").await;
    assert_eq!(seen().await, "2");
    let read = world.read::<pg::Policy>(&object.id).await.object().unwrap().clone();
    assert_eq!(read.value("using"), Some(&"true".into()));
    world.done::<pg::Policy>(world.update::<pg::Policy>(&read, &mine)).await;
    assert_eq!(seen().await, "1");
    // Who does not say so is told.
    world.run("ALTER TABLE app.t0 NO FORCE ROW LEVEL SECURITY").await;
    let mut other = policy(&x, "a = 2");
    other.on(pg::Table::new("app", "t0")).name("other");
    let error = world.refused::<pg::Policy>(world.create::<pg::Policy>(&other)).await;
    assert!(error.repair().unwrap().contains("FORCE ROW LEVEL SECURITY"), "{error:?}");
}
