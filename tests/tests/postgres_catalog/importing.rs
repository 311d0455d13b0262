//! Whatever stands on a server can be imported: random graphs of roles,
//! memberships, grants, grantors, default privileges, ownership and policies.
//!
//! What `import` writes reads as a fleet, plans to no change, and is adopted
//! without a write; the server stays as it was. What it leaves aside it names.

#![expect(clippy::future_not_send, reason = "each is carried out on one thread")]

use std::{collections::BTreeSet, sync::Arc};

use agent_iac::{
    config::{self, Types},
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    import::{Accountable, Draft, SurveyRequest},
    plan::{Plan, SavedPlan},
};
use agent_iac_tests::{on_each_version, operator};

use super::{
    fleets::{Facts, extras},
    graph::{Chance, Graph, TRY},
    oracle::{SEED, number},
    *,
};

on_each_version![what_is_imported_of_random_graphs_plans_to_no_change];

/// How many graphs are imported, unless `AGENT_IAC_IMPORTS` says another number.
const IMPORTS: u64 = 20;
/// How many of them are in one database.
const AT_ONCE: usize = 20;

async fn what_is_imported_of_random_graphs_plans_to_no_change(cluster: &'static Cluster) {
    let seed = number("AGENT_IAC_SEED", SEED);
    let imports = number("AGENT_IAC_IMPORTS", IMPORTS);
    println!("PostgreSQL {}: {imports} graphs from AGENT_IAC_SEED={seed}", cluster.version());
    let numbers: Vec<u64> = (0..imports).collect();
    let mut aside: BTreeMap<String, usize> = BTreeMap::new();
    let mut resources = 0;
    for numbers in numbers.chunks(AT_ONCE) {
        let world = World::new(cluster, &format!("imports{}", numbers[0]), &[]).await;
        resources += imported(&world, cluster, seed, numbers, &mut aside).await;
    }
    println!("PostgreSQL {}: {resources} resources; aside: {aside:#?}", cluster.version());
    assert!(resources > 0);
}

/// Imports some graphs; answers how many resources were declared.
async fn imported(
    world: &World,
    cluster: &'static Cluster,
    seed: u64,
    numbers: &[u64],
    aside: &mut BTreeMap<String, usize>,
) -> usize {
    world.admin.run(TRY).await;
    for n in numbers.iter().copied() {
        let prefix = format!("{}_g{n}", world.name);
        let graph = Graph::new(&prefix, &mut Chance(seed.wrapping_add(n)), world.version);
        world.admin.run(&format!("{}{}", graph.script, extras(&graph, &prefix, n))).await;
        let (schema, role) = (&graph.schemas[0], &graph.roles[0]);
        world
            .admin
            .run(&format!(
                "CREATE POLICY \"it's one\" ON {schema}.t1 TO {role} USING (a > 0);
                 ALTER ROLE {role} SET search_path = '{schema}', \"$user\";
                 ALTER ROLE {role} IN DATABASE {} SET work_mem = '1MB'",
                world.name
            ))
            .await;
    }
    let before = Facts::of(world).await;
    let folder = tempfile::tempdir().unwrap();
    let password = Password::given(Secret::from_text(PASSWORD.into()));
    let principal = Principal::new(world.named("@_observe"), password).unwrap();
    let endpoint = format!("postgresql://127.0.0.1:{}/{}", cluster.port(), world.name);
    let provider = PostgresProvider::new(endpoint.parse().unwrap())
        .observe(principal)
        .administrators(world.named("@_admins"))
        .scope(world.named("@_g*"));
    let mut fleet = Fleet::new("imported");
    fleet.provider("postgres", agent_iac::provider::Reach::Watched).store("vault");
    let deployment = Deployment::embedded(fleet, "test", folder.path())
        .unwrap()
        .with_provider("postgres", Arc::new(provider));
    let survey = deployment.survey(&SurveyRequest::default().provider("postgres")).await.unwrap();
    assert_eq!(survey.unlisted, BTreeMap::new());
    let accountable = Accountable::new("team:imports", "2090-06-30".parse().unwrap());
    let draft = Draft::of(&survey, &accountable).unwrap();
    for one in draft.aside() {
        *aside.entry(format!("{}: {}", one.resource_type, kind_of(&one.why))).or_default() += 1;
    }
    let text = draft.toml();
    let fleet = config::parse(&text, "imported.toml", &Types::builtin());
    let fleet = fleet.unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
    let deployment = deployment.with_fleet(fleet);
    let plan = deployment.plan(&PlanRequest::default()).await.unwrap();
    let wrong = changes(&plan);
    assert_eq!(wrong, [""; 0], "AGENT_IAC_SEED={seed} {numbers:?}: it would change something");
    let saved = SavedPlan::new(plan).unwrap();
    let context = operator().acknowledging(saved.digest());
    let report = deployment.apply(&saved, &context).await.unwrap();
    assert!(report.is_complete(), "{:?}", report.summary);
    let plan = deployment.plan(&PlanRequest::default()).await.unwrap();
    let again = changes(&plan);
    assert!(plan.steps.is_empty() && again.is_empty(), "a second plan is empty: {again:?}");
    assert_eq!(Facts::of(world).await.against(&before), [""; 0], "nothing was written");
    draft.resources()
}

/// What of a plan is more than to adopt.
fn changes(plan: &Plan) -> Vec<String> {
    let mut all = Vec::new();
    for step in plan.steps.iter().filter(|step| step.action.writes()) {
        let changes: Vec<String> = step
            .changes
            .iter()
            .map(|change| format!("{} {:?} -> {:?}", change.name, change.before, change.after))
            .collect();
        all.push(format!("{} {}: {}", step.action, step.address, changes.join(", ")));
    }
    all.extend(plan.blocked.iter().map(|one| format!("blocked {}: {}", one.address, one.reason)));
    all.extend(plan.drift.iter().map(|one| format!("drift {}: {:?}", one.address, one.fields)));
    all.extend(plan.unread.iter().map(|one| format!("unread {one:?}")));
    all
}

/// A reason without what it is about.
fn kind_of(why: &str) -> String {
    let mut words = String::new();
    for (at, part) in why.split(['`', '"']).enumerate() {
        words.push_str(if at % 2 == 0 { part } else { "…" });
    }
    let without: BTreeSet<char> = ('0'..='9').collect();
    words.chars().filter(|one| !without.contains(one)).take(90).collect()
}
