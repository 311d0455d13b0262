//! The provider's contract, on real clusters, with the least privileges.

use agent_iac::{
    clock::SystemEntropy,
    resource::{Link, Resource as _},
    testing::provider::{Sample, Suite},
};

use super::*;

on_each_version![every_type_keeps_the_contract];

/// The suite counts what there is in the whole cluster, so that no other test
/// may be at work in it; its server ends with this program.
async fn every_type_keeps_the_contract(shared: &'static Cluster) {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(shared.version())));
    roles_keep_the_contract(cluster).await;
    grants_keep_the_contract(cluster).await;
    memberships_keep_the_contract(cluster).await;
    default_privileges_keep_the_contract(cluster).await;
    policies_keep_the_contract(cluster).await;
    ownerships_keep_the_contract(cluster).await;
    hardening_keeps_the_contract(cluster).await;
    logins_keep_the_contract(cluster).await;
}

/// A suite on a world of its own, in which the administrators own what is
/// there, or are a member of who does.
async fn suite(cluster: &'static Cluster, name: &str) -> (World, Suite) {
    let world = World::new(cluster, name).await;
    let fleet = reader(&world);
    world.prepared(fleet).await;
    world.run("GRANT @_owner, @_heir TO @_admins; GRANT CREATE ON SCHEMA sales TO @_heir").await;
    let entropy = Arc::new(SystemEntropy);
    let suite = Suite::new(Arc::new(world.provider()), Arc::new(SystemClock), entropy);
    (world, suite)
}

fn role(sample: &Sample) -> pg::RoleBuilder {
    let mut role = pg::Role::builder();
    role.name(sample.name());
    if sample.changed() {
        let settings = [("work_mem", "1MB"), ("search_path", "\"$user\", \"o'x\"")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        role.settings(std::collections::BTreeMap::from(settings));
    }
    role
}

async fn roles_keep_the_contract(cluster: &'static Cluster) {
    let (_world, suite) = suite(cluster, "suite_role").await;
    suite.check_identity::<pg::Role>(role).await;
}

async fn grants_keep_the_contract(cluster: &'static Cluster) {
    let (world, suite) = suite(cluster, "suite_grant").await;
    // Each sample is on an object of its own, which has to be there.
    let columns: Vec<String> =
        (0..40).map(|n| format!("CREATE TABLE sales.t{n} (a int, b int)")).collect();
    world.run(&format!("SET ROLE @_owner; {}; RESET ROLE", columns.join("; "))).await;
    let tables = Numbers::default();
    suite
        .check_permission::<pg::Role, pg::Grant>(role, |to, sample| {
            let mut grant = pg::Grant::builder();
            grant.to(Link::id(to)).on(pg::Table::new("sales", tables.of(sample)));
            if sample.changed() {
                grant.allow([pg::Select, pg::Update]).grantable(true);
            } else {
                grant.allow([pg::Select, pg::Insert]);
            }
            grant
        })
        .await;
}

/// A number for each name of a sample.
#[derive(Default)]
struct Numbers(std::sync::Mutex<Vec<String>>);

impl Numbers {
    fn of(&self, sample: &Sample) -> String {
        let mut known = self.0.lock().unwrap();
        let at = known.iter().position(|name| name == sample.name()).unwrap_or_else(|| {
            known.push(sample.name().to_owned());
            known.len() - 1
        });
        assert!(at < 40, "more objects are needed");
        format!("t{at}")
    }
}

async fn memberships_keep_the_contract(cluster: &'static Cluster) {
    let (world, suite) = suite(cluster, "suite_member").await;
    let roles: Vec<String> = (0..40)
        .map(|n| format!("CREATE ROLE @_t{n}; GRANT @_t{n} TO @_admins WITH ADMIN OPTION"))
        .collect();
    world.run(&roles.join("; ")).await;
    let groups = Numbers::default();
    suite
        .check_permission::<pg::Role, pg::Membership>(role, |to, sample| {
            let mut membership = pg::Membership::builder();
            membership.to(Link::id(to)).of(format!("{}_{}", world.name, groups.of(sample)));
            membership.admin(sample.changed());
            membership
        })
        .await;
}

async fn default_privileges_keep_the_contract(cluster: &'static Cluster) {
    let (world, suite) = suite(cluster, "suite_default").await;
    let schemas: Vec<String> = (0..40).map(|n| format!("CREATE SCHEMA t{n}")).collect();
    world.run(&schemas.join("; ")).await;
    let schemas = Numbers::default();
    suite
        .check_permission::<pg::Role, pg::DefaultPrivileges>(role, |to, sample| {
            let mut defaults = pg::DefaultPrivileges::builder();
            defaults.to(Link::id(to)).for_role(format!("{}_owner", world.name));
            defaults.on(pg::Future::Tables).in_schema(Some(schemas.of(sample)));
            defaults.allow(if sample.changed() {
                [pg::Select, pg::Insert]
            } else {
                [pg::Select, pg::Delete]
            });
            defaults
        })
        .await;
}

async fn policies_keep_the_contract(cluster: &'static Cluster) {
    let (world, suite) = suite(cluster, "suite_policy").await;
    world.run("ALTER TABLE sales.notes ENABLE ROW LEVEL SECURITY").await;
    suite
        .check_permission::<pg::Role, pg::Policy>(role, |to, sample| {
            let mut policy = pg::Policy::builder();
            policy.to(Link::id(to)).on(pg::Table::new("sales", "notes")).name(sample.name());
            policy.command(pg::Command::Select);
            let using = if sample.changed() { "id > 1 AND note <> 'x'" } else { "id = 1" };
            policy.using(Some(using.to_owned()));
            policy
        })
        .await;
}

async fn ownerships_keep_the_contract(cluster: &'static Cluster) {
    let (world, suite) = suite(cluster, "suite_owner").await;
    let tables: Vec<String> = (0..40).map(|n| format!("CREATE TABLE sales.t{n} (a int)")).collect();
    world.run(&format!("SET ROLE @_owner; {}; RESET ROLE", tables.join("; "))).await;
    world.run("GRANT CREATE ON SCHEMA sales TO PUBLIC").await;
    let tables = Numbers::default();
    suite
        .check_permission::<pg::Role, pg::Ownership>(role, |to, sample| {
            let mut ownership = pg::Ownership::builder();
            ownership.to(Link::id(to)).on(pg::Table::new("sales", tables.of(sample)));
            let heir = if sample.changed() { "heir" } else { "owner" };
            ownership.heir(format!("{}_{heir}", world.name));
            ownership
        })
        .await;
}

async fn hardening_keeps_the_contract(cluster: &'static Cluster) {
    let (world, suite) = suite(cluster, "suite_public").await;
    let tables: Vec<String> = (0..40)
        .map(|n| format!("CREATE TABLE sales.t{n} (a int); GRANT ALL ON sales.t{n} TO PUBLIC"))
        .collect();
    world.run(&format!("SET ROLE @_owner; {}; RESET ROLE", tables.join("; "))).await;
    let tables = Numbers::default();
    suite
        .check_permission::<pg::Role, pg::Public>(role, |_, sample| {
            let mut public = pg::Public::builder();
            public.on(pg::Table::new("sales", tables.of(sample)));
            public.revoke(if sample.changed() {
                [pg::Select, pg::Insert]
            } else {
                [pg::Select, pg::Delete]
            });
            public
        })
        .await;
}

async fn logins_keep_the_contract(cluster: &'static Cluster) {
    let (_world, suite) = suite(cluster, "suite_login").await;
    suite
        .check_credential::<pg::Role, pg::Login>(role, |of, _| {
            let mut login = pg::Login::builder();
            login.of(Link::id(of));
            login
        })
        .await;
}
