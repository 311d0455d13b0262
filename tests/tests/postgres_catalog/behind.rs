//! What stands behind privileges: row policies, what acts as its owner, and
//! what makes a plan on the whole cluster mean something else.

use agent_iac_tests::on_each_version;

use super::{
    surroundings::{names, permission, says, source},
    *,
};

on_each_version![
    what_will_be_refused_later_is_said_beforehand,
    policies_for_everybody_and_for_a_group_are_told_where_they_let_somebody_through,
    row_security_that_does_not_hold_is_warned_of,
    what_acts_as_its_owner_is_undecided_for_whoever_sets_it_off,
    a_user_mapping_is_told_of_whoever_it_is_for,
    who_could_apply_besides_and_what_sessions_begin_with_is_warned_of,
    whom_a_hardening_of_public_locks_out_is_said_before_it_does,
];

async fn policies_for_everybody_and_for_a_group_are_told_where_they_let_somebody_through(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "rows", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_soon; CREATE ROLE @_group; GRANT @_group TO @_to;
             CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO PUBLIC;
             CREATE TABLE s.rows (tenant text, n int); CREATE TABLE s.shut (tenant text);
             ALTER TABLE s.rows ENABLE ROW LEVEL SECURITY;
             ALTER TABLE s.shut ENABLE ROW LEVEL SECURITY;
             INSERT INTO s.rows VALUES ('eu', 1), ('us', 2);
             GRANT SELECT ON s.rows TO @_to;
             CREATE POLICY mine ON s.rows TO @_to USING (tenant = 'eu');
             CREATE POLICY narrow ON s.rows AS RESTRICTIVE USING (n < 9);
             CREATE POLICY theirs ON s.rows FOR UPDATE TO @_group USING (n = 1) WITH CHECK (n > 0);
             CREATE POLICY away ON s.shut USING (true)",
        )
        .await;
    let seen = || world.admin.value("SET ROLE rows_to; SELECT count(*) FROM s.rows");
    let asked = [world.asked("@_to").await, world.asked("@_soon").await];
    let found = world.surroundings(&asked).await;
    let of_public = |found: &_| -> Vec<String> {
        says(&source(found, "PUBLIC").access)
            .into_iter()
            .filter(|line| line.contains("rows of"))
            .collect()
    };
    assert_eq!(of_public(&found), Vec::<String>::new());
    assert_eq!(seen().await, "1");
    world.run("RESET ROLE; CREATE POLICY open ON s.rows USING (true)").await;
    assert_eq!(seen().await, "2", "the policy for everybody lets it through");
    world.run("RESET ROLE").await;
    let found = world.surroundings(&asked).await;
    assert_eq!(
        of_public(&found),
        ["PUBLIC may all the rows of table s.rows if policy open using (true)"]
    );
    let group = source(&found, "member of rows_group");
    assert_eq!(
        says(&group.access),
        [
            "member of rows_group may update the rows of table s.rows if policy theirs using ((n = 1)) check ((n > 0))"
        ]
    );
    assert_eq!(names(&found, 1), ["PUBLIC"]);
    // What is to be granted counts as what is.
    let mut soon = world.asked("@_soon").await;
    soon.permissions.push(permission(
        "postgres.grant",
        &[
            ("on", Value::from(&pg::Table::new("s", "shut"))),
            ("allow", Value::List(vec!["select".into()])),
        ],
    ));
    let found = world.surroundings(&[soon]).await;
    assert!(of_public(&found).iter().any(|line| line.contains("table s.shut")), "{found:#?}");
}

async fn row_security_that_does_not_hold_is_warned_of(cluster: &'static Cluster) {
    let world = World::new(cluster, "secured", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_owner; CREATE SCHEMA s;
             CREATE TABLE s.rows (n int); CREATE TABLE s.own (n int);
             GRANT SELECT ON s.rows TO @_to; ALTER TABLE s.own OWNER TO @_owner;
             CREATE POLICY p ON s.rows USING (n = 1); CREATE POLICY p ON s.own USING (n = 1);
             ALTER TABLE s.rows ENABLE ROW LEVEL SECURITY;
             ALTER TABLE s.own ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        )
        .await;
    let asked = [world.asked("@_to").await, world.asked("@_owner").await];
    let warned = async || {
        let warnings = world.surroundings(&asked).await.warnings;
        let of_rows = |warning: &String| warning.contains("ROW LEVEL SECURITY");
        warnings.into_iter().filter(of_rows).collect::<Vec<_>>()
    };
    assert_eq!(warned().await, Vec::<String>::new());
    world
        .run(
            "ALTER TABLE s.rows DISABLE ROW LEVEL SECURITY;
             ALTER TABLE s.own NO FORCE ROW LEVEL SECURITY",
        )
        .await;
    let warnings = warned().await;
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    for text in [
        "row security of table s.rows is off, so that none of its policies holds for `secured_to`",
        "`secured_owner` owns table s.own, whose row policies do not hold for the owner",
    ] {
        assert!(warnings.iter().any(|warning| warning.contains(text)), "{text}: {warnings:#?}");
    }
}

async fn what_acts_as_its_owner_is_undecided_for_whoever_sets_it_off(cluster: &'static Cluster) {
    let world = World::new(cluster, "behind", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_deletes; CREATE ROLE @_part; CREATE ROLE @_none;
             CREATE ROLE @_reads; CREATE SCHEMA s; CREATE TABLE s.vault (n int);
             CREATE FUNCTION s.fire() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
                'BEGIN INSERT INTO s.vault VALUES (1); RETURN NEW; END';
             CREATE FUNCTION s.plain() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN RETURN OLD; END';
             REVOKE EXECUTE ON FUNCTION s.fire(), s.plain() FROM PUBLIC;
             CREATE TABLE s.t (n int) PARTITION BY RANGE (n);
             CREATE TABLE s.t1 PARTITION OF s.t FOR VALUES FROM (0) TO (9);
             CREATE TRIGGER fired BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.fire();
             CREATE TABLE s.parent (n int PRIMARY KEY);
             CREATE TABLE s.child (n int REFERENCES s.parent ON DELETE CASCADE);
             CREATE TRIGGER follows BEFORE DELETE ON s.child FOR EACH ROW
                EXECUTE FUNCTION s.plain();
             CREATE TABLE s.ruled (n int);
             CREATE RULE also AS ON DELETE TO s.ruled DO ALSO INSERT INTO s.vault VALUES (1);
             CREATE VIEW s.v AS SELECT * FROM s.vault;
             CREATE VIEW s.invoked WITH (security_invoker = on) AS SELECT * FROM s.vault;
             GRANT USAGE ON SCHEMA s TO PUBLIC; GRANT SELECT ON s.parent TO @_deletes;
             GRANT INSERT ON s.t TO @_to; GRANT INSERT ON s.t1 TO @_part;
             GRANT DELETE ON s.parent, s.ruled TO @_deletes; GRANT SELECT ON s.t TO @_none;
             GRANT SELECT (n) ON s.v TO @_reads; GRANT SELECT ON s.invoked TO @_reads",
        )
        .await;
    // It is so: who may only write to `t` writes to what nobody gave to it.
    world.run("SET ROLE @_to; INSERT INTO s.t VALUES (3); RESET ROLE").await;
    assert_eq!(world.admin.value("SELECT count(*) FROM s.vault").await, "1");
    let mut asked = Vec::new();
    for role in ["@_to", "@_part", "@_deletes", "@_reads", "@_none"] {
        asked.push(world.asked(role).await);
    }
    let found = world.surroundings(&asked).await;
    assert_eq!(names(&found, 0), ["PUBLIC", "trigger fired of table s.t"]);
    assert_eq!(names(&found, 1), ["PUBLIC", "trigger fired of table s.t1"]);
    assert_eq!(
        names(&found, 2),
        ["PUBLIC", "rule also of table s.ruled", "trigger follows of table s.child"]
    );
    assert_eq!(names(&found, 3), ["PUBLIC", "view s.v"]);
    assert_eq!(names(&found, 4), ["PUBLIC"]);
    for name in ["trigger fired of table s.t", "trigger follows of table s.child", "view s.v"] {
        let undecided = &source(&found, name).access.undecided;
        let is_named = |why: &String| why.contains("acts as the superuser `postgres`");
        assert!(undecided.iter().any(is_named), "{name}: {undecided:?}");
    }
}

async fn a_user_mapping_is_told_of_whoever_it_is_for(cluster: &'static Cluster) {
    let world = World::new(cluster, "mapped", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_other; CREATE ROLE @_to__g1; GRANT @_to TO @_to__g1;
             CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w;
             CREATE SERVER near FOREIGN DATA WRAPPER w;
             CREATE USER MAPPING FOR @_to SERVER far OPTIONS (password 'not-to-be-told');
             CREATE USER MAPPING FOR @_to__g1 SERVER near",
        )
        .await;
    let asked = [world.asked("@_to").await, world.asked("@_other").await];
    let found = world.surroundings(&asked).await;
    assert_eq!(
        names(&found, 0),
        [
            "PUBLIC",
            "user mapping of mapped_to for foreign-server far",
            "user mapping of mapped_to__g1 for foreign-server near",
        ]
    );
    assert!(!format!("{found:?}").contains("not-to-be-told"));
    assert_eq!(names(&found, 1), ["PUBLIC"]);
    world.run("CREATE USER MAPPING FOR PUBLIC SERVER near").await;
    let found = world.surroundings(&asked).await;
    assert_eq!(names(&found, 1), ["PUBLIC", "user mapping of PUBLIC for foreign-server near"]);
}

async fn who_could_apply_besides_and_what_sessions_begin_with_is_warned_of(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "besides", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_group; CREATE ROLE @_in; CREATE ROLE @_giver;
             GRANT @_admins TO @_group; GRANT @_group TO @_in;
             GRANT @_group TO @_giver WITH ADMIN OPTION",
        )
        .await;
    if cluster.version() > 15 {
        world
            .run(
                "REVOKE @_group FROM @_giver;
                 GRANT @_group TO @_giver WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
            )
            .await;
    }
    let asked = [world.asked("@_to").await];
    let warnings = world.surroundings(&asked).await.warnings;
    let warned = |text: &str| warnings.iter().any(|warning| warning.contains(text));
    if cluster.version() > 15 {
        assert!(warned("`besides_group`, `besides_in` may do whatever applying"), "{warnings:#?}");
        assert!(warned("`besides_giver` may make members of the administrators"), "{warnings:#?}");
    } else {
        let all = "`besides_giver`, `besides_group`, `besides_in` may do whatever applying";
        assert!(warned(all), "{warnings:#?}");
    }
    assert!(!warned("begins with settings"), "{warnings:#?}");
    world
        .run(
            "ALTER DATABASE @ SET search_path = planted, public;
             ALTER DATABASE @ SET \"app.key\" = 'not-to-be-told'",
        )
        .await;
    let warnings = world.surroundings(&asked).await.warnings;
    let told = "every session in `besides` begins with settings that no role declares: \
        `search_path` = `planted, public`, `app.key`";
    assert!(warnings.contains(&told.to_owned()), "{warnings:#?}");
    assert!(!format!("{warnings:?}").contains("not-to-be-told"));
}

async fn whom_a_hardening_of_public_locks_out_is_said_before_it_does(cluster: &'static Cluster) {
    let world = World::new(cluster, "lockout", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_in; CREATE ROLE @_group; CREATE SCHEMA s;
             CREATE TABLE s.t (n int); GRANT USAGE ON SCHEMA s TO PUBLIC;
             GRANT CONNECT ON DATABASE @ TO @_in; GRANT USAGE ON SCHEMA s TO @_in",
        )
        .await;
    let privileges =
        |words: &[&str]| Value::List(words.iter().map(|word| (*word).into()).collect());
    let mut asked = [world.asked("@_to").await, world.asked("@_in").await];
    for asked in &mut asked {
        asked.permissions.push(permission(
            "postgres.grant",
            &[("on", Value::from(&pg::Table::new("s", "t"))), ("allow", privileges(&["select"]))],
        ));
    }
    let taken = [
        permission(
            "postgres.public",
            &[
                ("on", Value::from(&pg::Database::new("lockout"))),
                ("revoke", privileges(&["connect", "temporary"])),
            ],
        ),
        permission(
            "postgres.public",
            &[("on", Value::from(&pg::Schema::new("s"))), ("revoke", privileges(&["usage"]))],
        ),
    ];
    let warned = async |asked: &[_], taken: &[_]| {
        let found = world.of("postgres.role").surroundings(asked, taken).await.unwrap();
        let of_public = found.warnings.into_iter().filter(|said| said.contains("from PUBLIC"));
        of_public.collect::<Vec<_>>()
    };
    assert_eq!(warned(&asked, &[]).await, Vec::<String>::new());
    let warnings = warned(&asked, &taken).await;
    assert_eq!(
        warnings,
        [
            "CONNECT from PUBLIC on database lockout is to be taken, and `lockout_to` has it by \
             nothing else, and is locked out; grant connect on it too",
            "USAGE from PUBLIC on schema s is to be taken, and `lockout_to` has it by nothing \
             else, and is locked out; grant usage on it too",
        ]
    );
    // Who is in by a group only needs the door of the database.
    asked[0].permissions = vec![permission(
        "postgres.membership",
        &[("of", "lockout_group".into()), ("noinherit", false.into()), ("noset", false.into())],
    )];
    let found = world.of("postgres.role").surroundings(&asked, &taken).await.unwrap();
    assert!(found.warnings.iter().any(|said| said.contains("CONNECT from PUBLIC")), "{found:#?}");
}

async fn what_will_be_refused_later_is_said_beforehand(cluster: &'static Cluster) {
    let world = World::new(cluster, "promises", &[]).await;
    world
        .run(
            "CREATE ROLE @_to; CREATE ROLE @_heir; CREATE ROLE @_group; GRANT @_group TO @_to;
             CREATE SCHEMA s; CREATE TABLE s.t (n int); ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;
             CREATE POLICY opens ON s.t FOR SELECT TO @_group USING (n > 0);
             CREATE POLICY writes ON s.t FOR UPDATE TO PUBLIC USING (true)",
        )
        .await;
    let said = async |asked: &[_]| {
        let found = world.of("postgres.role").surroundings(asked, &[]).await.unwrap();
        let later = found.warnings.into_iter().filter(|said| said.contains("refused"));
        later.collect::<Vec<_>>()
    };
    let on = || ("on", Value::from(&pg::Table::new("s", "t")));
    let create = || {
        let allow = Value::List(vec!["create".into()]);
        permission("postgres.grant", &[("on", (&pg::Schema::new("s")).into()), ("allow", allow)])
    };
    let mut asked = vec![world.asked("@_to").await, world.asked("@_heir").await];
    asked[0].permissions =
        vec![permission("postgres.ownership", &[on(), ("heir", "promises_heir".into())])];
    assert_eq!(
        said(&asked).await,
        ["`promises_heir` is to take over what an agent owns in schema s, and may not create \
          there, so that giving it back will be refused; declare a `postgres.grant` of `create` \
          on it, or GRANT CREATE ON SCHEMA \"s\" TO \"promises_heir\""]
    );
    // What the fleet gives him with the same plan is enough.
    asked[1].permissions = vec![create()];
    assert_eq!(said(&asked).await, [""; 0]);
    asked[1].permissions = Vec::new();
    world.run("GRANT CREATE ON SCHEMA s TO @_heir").await;
    assert_eq!(said(&asked).await, [""; 0]);

    let policy = |command: &str, beside: &[(&str, &str)]| {
        let beside = beside.iter().map(|(name, line)| ((*name).into(), (*line).into()));
        permission(
            "postgres.policy",
            &[
                on(),
                ("name", "mine".into()),
                ("command", command.into()),
                ("restrictive", false.into()),
                ("beside", Value::Map(beside.collect())),
            ],
        )
    };
    asked[0].permissions = vec![policy("select", &[])];
    assert_eq!(
        said(&asked).await,
        ["the policy `mine` on table s.t is to hold for `promises_to`, whom other policies let \
          through too: `opens` (select using ((n > 0))); it will be refused, until they are \
          dropped, or its `beside` names them"]
    );
    asked[0].permissions = vec![policy("select", &[("opens", "select using ((n > 0))")])];
    assert_eq!(said(&asked).await, [""; 0], "it names what is beside it");
    asked[0].permissions = vec![policy("delete", &[])];
    assert_eq!(said(&asked).await, [""; 0], "nothing is beside it");
    asked[0].permissions = vec![policy("all", &[])];
    let all = said(&asked).await;
    assert!(all.len() == 1 && all[0].contains("`opens`") && all[0].contains("`writes`"), "{all:?}");
}
