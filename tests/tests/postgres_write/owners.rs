//! Who is an owner, and in whose name something is given therefore.

use agent_iac::ErrorKind;
use agent_iac_tests::on_each_version;

use super::*;

on_each_version![
    what_an_owner_gave_is_the_next_owners_under_the_same_id,
    where_another_role_could_give_it_too_it_is_given_by_the_owner,
    a_role_that_is_lent_for_one_grant_is_the_grantor_of_no_other,
    who_could_become_an_owner_lends_himself_its_rights_to_give_something_away,
    who_may_everything_is_given_nothing,
    a_membership_follows_what_its_role_says_before_16,
];

async fn what_an_owner_gave_is_the_next_owners_under_the_same_id(cluster: &'static Cluster) {
    let world = World::new(cluster, "nexts", &[]).await;
    let x = world.role("@_x").await;
    let columns = || pg::Column::new("app", "t0", ["a", "b"]);
    let mut grants = Vec::new();
    for (on, allow) in [(pg::Table::new("app", "t0"), pg::Insert), (columns(), pg::Select)] {
        let request = world.create::<pg::Grant>(&grant(&x, on, &[allow]));
        grants.push(world.done::<pg::Grant>(request).await);
    }
    world
        .run(
            "CREATE ROLE @_next; GRANT @_next TO @_admins; GRANT ALL ON SCHEMA app TO @_next;
            ALTER TABLE app.t0 OWNER TO @_next",
        )
        .await;
    for before in grants {
        let now = world.read::<pg::Grant>(&before.id).await.object().unwrap().clone();
        assert_eq!((&now.id, &now.mark), (&before.id, &before.mark));
        assert_eq!(now.value("grantor"), Some(&"nexts_next".into()));
        let on = pg::Object::from_value(now.value("on").unwrap()).unwrap();
        let more = grant(&x, on, &[pg::Select, pg::Update]);
        let now = world.done::<pg::Grant>(world.update::<pg::Grant>(&now, &more)).await;
        assert_eq!(now.id, before.id);
        world.gone::<pg::Grant>(world.delete(&now)).await;
    }
}

async fn where_another_role_could_give_it_too_it_is_given_by_the_owner(cluster: &'static Cluster) {
    let world = World::new(cluster, "rivals", &[]).await;
    let x = world.role("@_x").await;
    // The server meets the older one first, and takes it for the grantor.
    world
        .run(
            "CREATE ROLE @_between; CREATE ROLE @_later; GRANT @_between, @_later TO @_admins;
            GRANT ALL ON SCHEMA app TO @_later; ALTER TABLE app.t0 OWNER TO @_later;
            SET ROLE @_later; GRANT SELECT ON app.t0 TO @_between WITH GRANT OPTION; RESET ROLE",
        )
        .await;
    let declared = grant(&x, pg::Table::new("app", "t0"), &[pg::Select]);
    let ours = world.done::<pg::Grant>(world.create::<pg::Grant>(&declared)).await;
    assert_eq!(ours.value("grantor"), Some(&"rivals_later".into()));
    world.gone::<pg::Grant>(world.delete(&ours)).await;
    // The owner has to be able to name it.
    world.run("REVOKE ALL ON SCHEMA app FROM @_later").await;
    let error = world.refused::<pg::Grant>(world.create::<pg::Grant>(&declared)).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    let repair = "GRANT USAGE ON SCHEMA \"app\" TO \"rivals_later\"";
    assert!(error.repair().unwrap().starts_with(repair), "{error:?}");
}

async fn a_role_that_is_lent_for_one_grant_is_the_grantor_of_no_other(cluster: &'static Cluster) {
    let world = World::new(cluster, "lents", &[]).await;
    let (x, y) = (world.role("@_x").await, world.role("@_y").await);
    // The server would meet the older `x` first, while its rights are ours.
    world
        .run(
            "CREATE ROLE @_later; GRANT @_later TO @_admins;
            GRANT ALL ON SCHEMA app TO @_later, @_x; ALTER TABLE app.t0 OWNER TO @_later;
            CREATE TABLE app.own (a int); ALTER TABLE app.own OWNER TO @_x",
        )
        .await;
    let (select, table) = ([pg::Select], || pg::Table::new("app", "t0"));
    let mut declared = grant(&x, table(), &select);
    declared.grantable(true);
    let with_option = world.done::<pg::Grant>(world.create::<pg::Grant>(&declared)).await;
    // `x` gives what is its own, which takes its rights.
    let requests = vec![
        world.create::<pg::Grant>(&grant(&y, pg::Table::new("app", "own"), &select)),
        world.update::<pg::Grant>(&with_option, &grant(&x, table(), &select)),
        world.create::<pg::Grant>(&grant(&y, table(), &select)),
    ];
    let grantors = world.batch::<pg::Grant>(requests).await.into_iter().map(|written| {
        let object = written.unwrap().object.unwrap();
        (object.value("grantor").cloned(), object.value("grantable").cloned())
    });
    let by = |grantor: &str| (Some(grantor.into()), Some(false.into()));
    let expected = [by("lents_x"), by("lents_later"), by("lents_later")];
    assert_eq!(grantors.collect::<Vec<_>>(), expected);
}

async fn who_could_become_an_owner_lends_himself_its_rights_to_give_something_away(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "betweens", &[]).await;
    let x = world.role("@_x").await;
    let no_inheriting = if world.version < 16 { "" } else { "WITH INHERIT FALSE, SET TRUE" };
    let role = |of: &str| format!("GRANT {of} TO @_between {no_inheriting};");
    world
        .run(&format!(
            "GRANT CREATE ON SCHEMA app TO @_x; CREATE ROLE @_other;
            CREATE ROLE @_between NOINHERIT; GRANT @_between TO @_admins; {}{}
            ALTER TABLE app.o1 OWNER TO @_other",
            role("@_x"),
            role("@_other")
        ))
        .await;
    let to_x = |table: &str| {
        let mut ownership = pg::Ownership::builder();
        ownership.to(Link::id(&x.id)).on(pg::Table::new("app", table)).heir("betweens_owner");
        ownership
    };
    let ours = world.done::<pg::Ownership>(world.create::<pg::Ownership>(&to_x("o0"))).await;
    assert_eq!(ours.obstacle, None);
    world.gone::<pg::Ownership>(world.delete(&ours)).await;
    let owner = "SELECT relowner::regrole FROM pg_class WHERE oid = 'app.o0'::regclass";
    assert_eq!(world.value(owner).await, "betweens_owner");
    // Of whoever is not ours nothing can be lent.
    let error = world.refused::<pg::Ownership>(world.create::<pg::Ownership>(&to_x("o1"))).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    let repair = "GRANT \"betweens_other\" TO \"betweens_admins\"";
    assert_eq!(error.repair(), Some(repair));
}

async fn who_may_everything_is_given_nothing(cluster: &'static Cluster) {
    let world = World::new(cluster, "alls", &[]).await;
    let x = world.role("@_x").await;
    world.run("GRANT ALL ON SCHEMA app TO @_x; ALTER TABLE app.t0 OWNER TO @_x").await;
    let id = format!("{} on table app.t0 by owner", x.id);
    assert_eq!(world.read::<pg::Grant>(&id).await, Observation::Absent);
    let own = grant(&x, pg::Table::new("app", "t0"), &[pg::Select]);
    let error = world.refused::<pg::Grant>(world.create::<pg::Grant>(&own)).await;
    assert!(error.message().contains("is to the owner of it"), "{error}");
    let mut future = pg::DefaultPrivileges::builder();
    future.to(Link::id(&x.id)).for_role("alls_x").on(Future::Tables).allow([pg::Select]);
    let request = world.create::<pg::DefaultPrivileges>(&future);
    let error = world.refused::<pg::DefaultPrivileges>(request).await;
    assert!(error.message().contains("the creator's own"), "{error}");
}

async fn a_membership_follows_what_its_role_says_before_16(cluster: &'static Cluster) {
    let world = World::new(cluster, "follows", &[]).await;
    let x = world.role("@_x").await;
    let mut membership = pg::Membership::builder();
    membership.to(Link::id(&x.id)).of("follows_readers0");
    let seen = world.done::<pg::Membership>(world.create::<pg::Membership>(&membership)).await;
    // As the step before of the same plan does it.
    world.run("ALTER ROLE @_x NOINHERIT").await;
    membership.noinherit(true);
    let now = world.update::<pg::Membership>(&seen, &membership);
    let now = world.done::<pg::Membership>(now).await;
    assert_eq!(now.value("noinherit"), Some(&true.into()));
    world.run("ALTER ROLE @_x INHERIT").await;
    world.gone::<pg::Membership>(world.delete(&now)).await;
}
