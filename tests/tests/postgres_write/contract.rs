//! The contract of a provider, for every type that is written.

use std::sync::Mutex;

use agent_iac::testing::provider::Sample;
use agent_iac_tests::on_each_version;

use super::*;

on_each_version![
    a_role_is_written_as_the_contract_says,
    a_grant_is_written_as_the_contract_says,
    a_grant_on_columns_is_written_as_the_contract_says,
    a_membership_is_written_as_the_contract_says,
    default_privileges_are_written_as_the_contract_says,
    a_policy_is_written_as_the_contract_says,
    an_ownership_is_written_as_the_contract_says,
    a_hardening_is_written_as_the_contract_says,
    a_hardening_of_the_future_is_written_as_the_contract_says,
    each_kind_of_object_is_granted_on_and_revoked,
];

/// Gives each sample one of the things that are there.
#[derive(Default)]
struct Slots(Mutex<Vec<String>>);

impl Slots {
    fn of(&self, sample: &Sample) -> usize {
        let mut names = self.0.lock().unwrap();
        let known = names.iter().position(|name| name == sample.name());
        known.unwrap_or_else(|| {
            names.push(sample.name().to_owned());
            assert!(names.len() <= SLOTS, "the suite needs more things");
            names.len() - 1
        })
    }
}

fn identity(sample: &Sample) -> pg::RoleBuilder {
    let mut role = pg::Role::builder();
    role.name(sample.name());
    role
}

async fn a_role_is_written_as_the_contract_says(cluster: &'static Cluster) {
    let world = World::new(cluster, "role_contract", &[]).await;
    let heir = world.named("@_owner");
    world
        .suite()
        .check_identity::<pg::Role>(|sample| {
            let mut role = identity(sample);
            role.heir(&heir);
            if sample.changed() {
                role.createdb(true).noinherit(true);
                role.settings(BTreeMap::from([
                    ("search_path".to_owned(), "\"$user\", app".to_owned()),
                    ("work_mem".to_owned(), "8MB".to_owned()),
                    ("my.word@role_contract".to_owned(), "it's".to_owned()),
                ]));
            }
            role
        })
        .await;
}

async fn a_grant_is_written_as_the_contract_says(cluster: &'static Cluster) {
    let world = World::new(cluster, "grant_contract", &[]).await;
    let slots = Slots::default();
    world
        .suite()
        .check_permission::<pg::Role, pg::Grant>(identity, |to, sample| {
            let mut grant = pg::Grant::builder();
            grant.to(Link::id(to)).on(pg::Table::new("app", format!("t{}", slots.of(sample))));
            if sample.changed() {
                grant.allow([pg::Insert, pg::Update]).grantable(true);
            } else {
                grant.allow([pg::Select, pg::Insert]);
            }
            grant
        })
        .await;
}

async fn a_grant_on_columns_is_written_as_the_contract_says(cluster: &'static Cluster) {
    let world = World::new(cluster, "columns_contract", &[]).await;
    let slots = Slots::default();
    world
        .suite()
        .check_permission::<pg::Role, pg::Grant>(identity, |to, sample| {
            let mut grant = pg::Grant::builder();
            let table = format!("t{}", slots.of(sample));
            grant.to(Link::id(to)).on(pg::Column::new("app", table, ["a", "b"]));
            grant.allow([if sample.changed() { pg::Update } else { pg::Select }]);
            grant
        })
        .await;
}

async fn a_membership_is_written_as_the_contract_says(cluster: &'static Cluster) {
    let world = World::new(cluster, "membership_contract", &[]).await;
    let slots = Slots::default();
    let (name, version) = (world.name.clone(), world.version);
    world
        .suite()
        .check_permission::<pg::Role, pg::Membership>(identity, |to, sample| {
            let mut membership = pg::Membership::builder();
            membership.to(Link::id(to)).of(format!("{name}_readers{}", slots.of(sample)));
            if sample.changed() {
                membership.admin(true);
                if version >= 16 {
                    membership.noinherit(true);
                }
            }
            membership
        })
        .await;
}

async fn default_privileges_are_written_as_the_contract_says(cluster: &'static Cluster) {
    let world = World::new(cluster, "defaults_contract", &[]).await;
    let slots = Slots::default();
    let owner = world.named("@_owner");
    world
        .suite()
        .check_permission::<pg::Role, pg::DefaultPrivileges>(identity, |to, sample| {
            let mut defaults = pg::DefaultPrivileges::builder();
            defaults.to(Link::id(to)).for_role(&owner).on(Future::Tables);
            match slots.of(sample) {
                // The first is of all schemas.
                0 => &mut defaults,
                slot => defaults.in_schema(format!("s{slot}")),
            };
            if sample.changed() {
                defaults.allow([pg::Select]).grantable(true);
            } else {
                defaults.allow([pg::Select, pg::Delete]);
            }
            defaults
        })
        .await;
}

async fn a_policy_is_written_as_the_contract_says(cluster: &'static Cluster) {
    let world = World::new(cluster, "policy_contract", &[]).await;
    world
        .suite()
        .check_permission::<pg::Role, pg::Policy>(identity, |to, sample| {
            let mut policy = pg::Policy::builder();
            policy.to(Link::id(to)).on(pg::Table::new("app", "rows")).name(sample.name());
            policy.using(if sample.changed() { "n IN (1, 2)" } else { "n=1 -- mine" });
            if sample.changed() {
                policy.check("n < 3");
            }
            policy
        })
        .await;
}

async fn an_ownership_is_written_as_the_contract_says(cluster: &'static Cluster) {
    let world = World::new(cluster, "ownership_contract", &[]).await;
    // Whoever owns something in a schema has to be able to create there.
    world.run("GRANT CREATE ON SCHEMA app TO PUBLIC").await;
    let slots = Slots::default();
    let (owner, readers) = (world.named("@_owner"), world.named("@_readers0"));
    world
        .suite()
        .check_permission::<pg::Role, pg::Ownership>(identity, |to, sample| {
            let mut ownership = pg::Ownership::builder();
            ownership.to(Link::id(to)).on(pg::Table::new("app", format!("o{}", slots.of(sample))));
            ownership.heir(if sample.changed() { &readers } else { &owner });
            ownership
        })
        .await;
}

async fn a_hardening_is_written_as_the_contract_says(cluster: &'static Cluster) {
    let world = World::new(cluster, "public_contract", &[]).await;
    let slots = Slots::default();
    world
        .suite()
        .check_permission::<pg::Role, pg::Public>(identity, |_, sample| {
            let mut public = pg::Public::builder();
            let function = format!("f{}", slots.of(sample));
            public.on(pg::Function::new("app", function, ["integer"])).revoke([pg::Execute]);
            public
        })
        .await;
}

async fn a_hardening_of_the_future_is_written_as_the_contract_says(cluster: &'static Cluster) {
    let world = World::new(cluster, "public_defaults_contract", &[]).await;
    let slots = Slots::default();
    let mut script = String::new();
    for slot in 0..SLOTS {
        script.push_str(&format!(
            "CREATE ROLE @_made{slot}; GRANT @_made{slot} TO @_admins;
             ALTER DEFAULT PRIVILEGES FOR ROLE @_made{slot} GRANT ALL ON TABLES TO PUBLIC;"
        ));
    }
    world.run(&script).await;
    world
        .suite()
        .check_permission::<pg::Role, pg::PublicDefaults>(identity, |_, sample| {
            let mut future = pg::PublicDefaults::builder();
            future.for_role(world.named(&format!("@_made{}", slots.of(sample))));
            future.on(Future::Tables);
            future.revoke(if sample.changed() {
                [pg::Select, pg::Insert]
            } else {
                [pg::Select, pg::Delete]
            });
            future
        })
        .await;
}

async fn each_kind_of_object_is_granted_on_and_revoked(cluster: &'static Cluster) {
    let world = World::new(cluster, "kinds", &[]).await;
    let role = world.role("@_kinds").await;
    let all: Vec<(pg::Object, &[pg::Privilege])> = vec![
        (pg::Table::new("app", "t0"), &[pg::Select, pg::Truncate]),
        (pg::Column::new("app", "t1", ["a", "c"]), &[pg::Select, pg::References]),
        (pg::Sequence::new("app", "numbers"), &[pg::Usage, pg::Update]),
        (pg::Database::new("kinds"), &[pg::Connect, pg::Temporary]),
        (pg::Schema::new("app"), &[pg::Usage, pg::Create]),
        (pg::Function::new("app", "f0", ["integer"]), &[pg::Execute]),
        (pg::Procedure::new("app", "pr", ["integer", "text"]), &[pg::Execute]),
        (pg::DataType::new("app", "colour"), &[pg::Usage]),
        (pg::Language::new("plpgsql"), &[pg::Usage]),
        (pg::ForeignWrapper::new("kinds_wrapper"), &[pg::Usage]),
        (pg::ForeignServer::new("kinds_far"), &[pg::Usage]),
        (pg::Tablespace::new("pg_default"), &[pg::Create]),
        (pg::LargeObject::new("4711"), &[pg::Select]),
        (pg::Parameter::new("log_statement"), &[pg::Set]),
    ];
    let requests =
        all.iter().map(|(on, allow)| world.create::<pg::Grant>(&grant(&role, on.clone(), allow)));
    let written = world.batch::<pg::Grant>(requests.collect()).await;
    let mut objects = Vec::new();
    for ((on, _), written) in all.iter().zip(written) {
        let object = written.unwrap_or_else(|error| panic!("{on}: {error:?}")).object.unwrap();
        assert_eq!(world.read::<pg::Grant>(&object.id).await, Observation::Present(object.clone()));
        objects.push(object);
    }
    let requests = objects.iter().map(|object| world.delete(object)).collect();
    for (object, deleted) in objects.iter().zip(world.batch::<pg::Grant>(requests).await) {
        assert_eq!(deleted.unwrap().object, None);
        assert_eq!(world.read::<pg::Grant>(&object.id).await, Observation::Absent);
    }
    let left = "SELECT count(*) FROM pg_shdepend WHERE refobjid = (SELECT oid FROM pg_roles
        WHERE rolname = '@_kinds')";
    assert_eq!(world.value(left).await, "0");
}
