//! Roles that were there before.

use std::collections::BTreeMap;

use agent_iac::{
    config::{self, Types},
    import::{Accountable, Draft, SurveyRequest},
};

use super::*;

on_each_version![
    an_import_writes_nothing_and_plans_to_no_change,
    a_role_with_a_password_of_its_own_moves_to_logins_by_plans,
];

/// Everything of the cluster's roles and rights that can be read as text.
const PICTURE: &str = "
    SELECT a::text FROM pg_authid a WHERE rolname ~ '^@_'
    UNION ALL SELECT s::text FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = setrole WHERE rolname ~ '^@_'
    UNION ALL SELECT m::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = member WHERE rolname ~ '^@_'
    UNION ALL SELECT relname || relacl::text FROM pg_class WHERE relacl IS NOT NULL
    UNION ALL SELECT nspname || nspacl::text FROM pg_namespace WHERE nspacl IS NOT NULL
    UNION ALL SELECT attname || attacl::text FROM pg_attribute WHERE attacl IS NOT NULL
    UNION ALL SELECT d::text FROM pg_default_acl d ORDER BY 1";

const BEFORE: &str = "
    CREATE ROLE @_old LOGIN PASSWORD 'its-own-password' CONNECTION LIMIT 7;
    ALTER ROLE @_old SET search_path = 'sales';
    SET ROLE @_owner; GRANT USAGE ON SCHEMA sales TO @_old;
    GRANT SELECT (id, amount) ON sales.invoices TO @_old;
    GRANT SELECT, INSERT ON sales.notes TO @_old WITH GRANT OPTION;
    RESET ROLE";

async fn an_import_writes_nothing_and_plans_to_no_change(cluster: &'static Cluster) {
    let world = World::new(cluster, "import").await;
    world.run(BEFORE).await;
    let picture = world.rows(PICTURE).await;
    let deployment = world.deployment(world.fleet());
    let request = SurveyRequest::default().provider("postgres").only("import_old");
    let survey = deployment.survey(&request).await.unwrap();
    let accountable = Accountable::new("team:billing", "2030-06-30".parse().unwrap());
    let draft = Draft::of(&survey, &accountable).unwrap();
    assert_eq!((draft.agents(), draft.aside().count()), (1, 0), "{}", draft.toml());
    let types = Types::none().with::<pg::Role>().with::<pg::Grant>().with::<pg::Membership>();
    let fleet = config::parse(&draft.toml(), "imported.toml", &types);
    let fleet = fleet.unwrap_or_else(|mistakes| panic!("{mistakes}\n{}", draft.toml()));
    let adopting = deployment.with_fleet(fleet);
    let plan = planned(&adopting).await;
    assert!(plan.steps.iter().all(|step| !step.action.writes()), "{plan:#?}");
    assert!(plan.blocked.is_empty() && plan.unread.is_empty(), "{plan:#?}");
    assert_eq!(world.rows(PICTURE).await, picture, "importing and planning write nothing");
    world.require(&adopting).await;
    let picture = world.rows(PICTURE).await;
    let plan = planned(&adopting).await;
    // Adopting is recorded here, and nothing is done there.
    let report = apply_plan(&adopting, plan).await;
    assert!(report.is_complete(), "{}", shown(&report));
    assert_eq!(world.rows(PICTURE).await, picture, "adopting writes nothing");
    let plan = planned(&adopting).await;
    assert!(plan.is_empty() && plan.drift.is_empty(), "{plan:#?}");
    let old = Login { user: "import_old".into(), password: "its-own-password".into() };
    world.enter(&old).await.run("SELECT id, amount FROM invoices").await;
}

/// As it was found.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "old")]
struct AsFound {
    #[input(key)]
    world: String,

    #[identity(
        name = format!("{world}_old"),
        login = true,
        connection_limit = Some(7),
        settings = BTreeMap::from([("search_path".to_owned(), "sales".to_owned())]),
    )]
    account: pg::Role,
}

/// The same, with a login beside its own.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "old")]
struct WithBoth {
    #[input(key)]
    world: String,

    #[identity(
        name = format!("{world}_old"),
        login = true,
        connection_limit = Some(7),
        settings = BTreeMap::from([("search_path".to_owned(), "sales".to_owned())]),
    )]
    account: pg::Role,

    #[credential(of = account, deliver = format!("vault:{world}/old"))]
    key: pg::Login,
}

/// The same, as roles are here.
#[derive(Agent, Debug)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d", name = "old")]
struct Moved {
    #[input(key)]
    world: String,

    #[identity(
        name = format!("{world}_old"),
        settings = BTreeMap::from([("search_path".to_owned(), "sales".to_owned())]),
    )]
    account: pg::Role,

    #[credential(of = account, deliver = format!("vault:{world}/old"))]
    key: pg::Login,
}

async fn a_role_with_a_password_of_its_own_moves_to_logins_by_plans(cluster: &'static Cluster) {
    let world = World::new(cluster, "moves").await;
    world.run(BEFORE).await;
    let old = Login { user: "moves_old".into(), password: "its-own-password".into() };
    let verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = '@_old'";
    let kept = world.value(verifier).await;
    let inputs = || world.name.clone();

    let mut fleet = world.fleet();
    fleet.add(AsFoundInputs { world: inputs() });
    let oid = world.value("SELECT oid FROM pg_roles WHERE rolname = '@_old'").await;
    fleet.import(r#"old["moves"].account"#.parse().unwrap(), oid);
    let deployment = world.prepared(fleet).await;
    apply(&deployment).await;
    assert_eq!(world.value(verifier).await, kept);

    let mut fleet = world.fleet();
    fleet.add(WithBothInputs { world: inputs() });
    let deployment = deployment.with_fleet(fleet);
    apply(&deployment).await;
    assert_eq!(world.value(verifier).await, kept, "no password is touched");
    let new = world.vaulted(&deployment, "vault:@/old").await;
    // Both work, while consumers move.
    let session = world.enter(&old).await;
    world.enter(&new).await.run("SELECT id, amount FROM sales.invoices").await;

    let mut fleet = world.fleet();
    fleet.add(MovedInputs { world: inputs() });
    let deployment = deployment.with_fleet(fleet);
    apply(&deployment).await;
    assert!(session.simple_query("SELECT 1").await.is_err(), "an old session goes on");
    assert!(["28P01", "28000"].contains(&&*world.refusal(&old).await.code));
    let agent = world.enter(&new).await;
    agent
        .run("SELECT id, amount FROM sales.invoices; INSERT INTO sales.notes VALUES (9, 'n')")
        .await;
    assert!(planned(&deployment).await.is_empty());
}
