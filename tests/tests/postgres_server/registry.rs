//! The engine's own schema: who may make it, and what recovery learns from it.

use std::{sync::Arc, time::Duration};

use agent_iac::{
    ErrorKind, Result,
    clock::SystemEntropy,
    ledger::{Claim, RunId},
    provider::Mark,
    providers::postgres::server::{
        Batch, Options, Server,
        registry::{self, Outcome, Owned, Registered, State},
        sqlstate,
    },
};
use agent_iac_tests::{on_each_version, postgres::Cluster};

use super::{futures, server, settings, superuser, texts, write};

on_each_version![
    the_schema_is_made_once_however_many_find_it_missing,
    an_ordinary_role_needs_no_more_than_create_on_the_database,
    a_schema_that_somebody_else_made_is_refused,
    an_observer_reads_the_registry_and_cannot_write_it,
    an_observer_that_comes_later_is_let_in_by_the_owner_and_by_nobody_else,
    a_newer_version_is_refused,
    a_claim_is_written_with_its_work_or_not_at_all,
    recovery_waits_for_a_transaction_of_a_dead_run,
    recovery_does_not_wait_for_ever,
    recovery_does_not_wait_for_other_runs,
    a_writer_that_wakes_up_late_finds_its_claim_given_up,
    thousands_of_claims_take_as_many_requests_as_one,
    what_nobody_asks_for_any_more_is_forgotten,
    whose_an_object_is_can_be_read_changed_and_forgotten,
    nobody_but_the_owner_writes_the_registry,
    a_stranger_cannot_keep_our_locks,
    writers_that_are_serialised_never_meet_in_the_catalog,
    writers_that_meet_in_the_catalog_try_again,
];

async fn install(server: &Server, observer: Option<&'static str>) -> Result<()> {
    server
        .transaction(None, Options::writing(), move |tx| async move {
            registry::install(&tx, observer).await
        })
        .await
}

async fn installed(cluster: &Cluster, database: &str) -> Server {
    let server = superuser(cluster, &cluster.database(database).await);
    install(&server, None).await.unwrap();
    server
}

async fn state(server: &Server) -> Result<State> {
    server.read(None, |tx| async move { registry::state(&tx).await }).await
}

/// The claims of a new run.
fn claims(count: usize) -> Vec<Claim> {
    let run = RunId::random(&SystemEntropy);
    (0..count).map(|step| run.claim(step)).collect()
}

async fn settle(server: &Server, claims: &[Claim], patience: u64) -> Result<Vec<Registered>> {
    let claims = claims.to_vec();
    server
        .transaction(None, Options::writing(), move |tx| async move {
            registry::settle(&tx, &claims, Duration::from_millis(patience)).await
        })
        .await
}

/// What became of a claim at an address of its own.
fn outcome(claim: Claim) -> Outcome {
    let (_, step) = claim.as_str().rsplit_once('.').unwrap();
    let mark = mark("fleet", &format!("agent{step}.object"));
    Outcome { claim, mark, text: r#"{"id": "7"}"#.to_owned() }
}

fn mark(fleet: &str, address: &str) -> Mark {
    let address = address.parse().unwrap();
    Mark { fleet: fleet.into(), environment: "test".into(), address }
}

/// Carries claims out, with a pause before the outcome is written.
async fn carry_out(server: &Server, claims: &[Claim], pause: u64) -> Result<()> {
    let claims = claims.to_vec();
    server
        .transaction(None, Options::writing(), move |tx| async move {
            let before = registry::enter(&tx, &claims).await?;
            if let Some(claim) = claims.iter().find(|claim| before.contains_key(*claim)) {
                return Err(registry::given_up(claim));
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let outcomes: Vec<_> = claims.into_iter().map(outcome).collect();
            registry::register(&tx, &outcomes).await
        })
        .await
}

fn done() -> Registered {
    Registered::Done(r#"{"id": "7"}"#.to_owned())
}

async fn the_schema_is_made_once_however_many_find_it_missing(cluster: &Cluster) {
    let server = superuser(cluster, &cluster.database("registry_made").await);
    assert_eq!(state(&server).await.unwrap(), State::Missing);
    let all = (0..4).map(|_| {
        let server = server.clone();
        async move { install(&server, None).await }
    });
    for made in futures(all).await {
        made.unwrap();
    }
    let ready = State::Ready { owner: "postgres".into(), trusted: true };
    assert_eq!(state(&server).await.unwrap(), ready);
    assert_eq!(texts(&server, "SELECT count(*)::text FROM agent_iac.registry").await, ["1"]);
    // The text that an owner is given makes the same, and may be repeated.
    write(&server, "DROP SCHEMA agent_iac CASCADE").await.unwrap();
    let admin = cluster.admin_of("registry_made").await;
    for _ in 0..2 {
        admin.run(&registry::ddl(None)).await;
    }
    assert_eq!(state(&server).await.unwrap(), ready);
    assert_eq!(texts(&server, "SELECT count(*)::text FROM agent_iac.registry").await, ["1"]);
}

async fn an_ordinary_role_needs_no_more_than_create_on_the_database(cluster: &Cluster) {
    let database = cluster.database("registry_plain").await;
    let admin = cluster.admin_of(&database).await;
    admin
        .run(
            "CREATE ROLE registry_admins NOLOGIN;
            CREATE ROLE registry_login LOGIN PASSWORD 'p' IN ROLE registry_admins",
        )
        .await;
    let settings = settings(cluster, "registry_login", "p", &database).role("registry_admins");
    let server = server(settings);
    let error = install(&server, None).await.unwrap_err();
    assert_eq!((error.kind(), sqlstate(&error)), (ErrorKind::Denied, None), "{error:?}");
    assert!(error.repair().unwrap().starts_with("GRANT CREATE ON the database"));
    // The transaction goes on.
    let goes_on = server.transaction(None, Options::writing(), |tx| async move {
        registry::install(&tx, None).await.unwrap_err();
        registry::state(&tx).await
    });
    assert_eq!(goes_on.await.unwrap(), State::Missing);
    admin.run("GRANT CREATE ON DATABASE registry_plain TO registry_admins").await;
    install(&server, None).await.unwrap();
    let claims = claims(2);
    carry_out(&server, &claims[..1], 0).await.unwrap();
    let settled = settle(&server, &claims, 1000).await.unwrap();
    assert_eq!(settled, [done(), Registered::GivenUp]);
}

async fn a_schema_that_somebody_else_made_is_refused(cluster: &Cluster) {
    let database = cluster.database("registry_foreign").await;
    let admin = cluster.admin_of(&database).await;
    admin
        .run(
            "CREATE ROLE registry_thief LOGIN PASSWORD 'p';
            CREATE ROLE registry_ours LOGIN PASSWORD 'p';
            GRANT CREATE ON DATABASE registry_foreign TO registry_thief, registry_ours",
        )
        .await;
    let of = |user| server(settings(cluster, user, "p", &database));
    install(&of("registry_thief"), None).await.unwrap();
    let error = install(&of("registry_ours"), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.message().contains("belongs to `registry_thief`"), "{error}");
    admin.run("GRANT USAGE ON SCHEMA agent_iac TO registry_ours").await;
    admin.run("GRANT SELECT ON ALL TABLES IN SCHEMA agent_iac TO registry_ours").await;
    let error = install(&of("registry_ours"), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Foreign, "{error:?}");
    let found = state(&superuser(cluster, &database)).await.unwrap();
    assert_eq!(found, State::Ready { owner: "registry_thief".into(), trusted: false });
    // A table of the thief's among ours.
    admin.run("ALTER SCHEMA agent_iac OWNER TO registry_ours").await;
    let error = install(&of("registry_ours"), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Foreign, "{error:?}");
}

async fn an_observer_reads_the_registry_and_cannot_write_it(cluster: &Cluster) {
    let server_ = superuser(cluster, &cluster.database("registry_observer").await);
    let admin = cluster.admin_of("registry_observer").await;
    admin.run("CREATE ROLE registry_observer LOGIN PASSWORD 'p'").await;
    admin.run("CREATE ROLE registry_stranger LOGIN PASSWORD 'p'").await;
    install(&server_, Some("registry_observer")).await.unwrap();
    let of = |user| server(settings(cluster, user, "p", "registry_observer"));
    let observer = of("registry_observer");
    let ready = State::Ready { owner: "postgres".into(), trusted: true };
    assert_eq!(state(&observer).await.unwrap(), ready);
    for table in ["claims", "objects", "registry"] {
        let sql = format!("DELETE FROM agent_iac.{table}");
        let refused = observer
            .transaction(None, Options::writing(), |tx| async move { tx.batch(&sql).await });
        assert_eq!(sqlstate(&refused.await.unwrap_err()), Some("42501"));
    }
    let error = state(&of("registry_stranger")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
}

async fn an_observer_that_comes_later_is_let_in_by_the_owner_and_by_nobody_else(cluster: &Cluster) {
    let database = cluster.database("registry_later").await;
    let admin = cluster.admin_of(&database).await;
    admin
        .run(
            "CREATE ROLE registry_later_owner LOGIN PASSWORD 'p';
            CREATE ROLE registry_later_other LOGIN PASSWORD 'p';
            CREATE ROLE registry_later_observer LOGIN PASSWORD 'p';
            GRANT CREATE ON DATABASE registry_later TO registry_later_owner",
        )
        .await;
    let of = |user| server(settings(cluster, user, "p", "registry_later"));
    let admit = async |server: &Server, observer: Option<&'static str>| {
        let work = move |tx| async move { registry::admit(&tx, observer).await };
        server.transaction(None, Options::writing(), work).await.unwrap()
    };
    let observer = Some("registry_later_observer");
    let [owner, other, reader] = ["owner", "other", "observer"].map(|name| {
        let user = format!("registry_later_{name}");
        server(settings(cluster, &user, "p", "registry_later"))
    });
    // There is nothing to be let into yet.
    assert!(!admit(&owner, observer).await);
    install(&owner, None).await.unwrap();
    assert!(!admit(&other, observer).await);
    assert_eq!(state(&reader).await.unwrap_err().kind(), ErrorKind::Denied);
    assert!(!admit(&owner, None).await);
    assert!(!admit(&owner, Some("registry_later_nobody")).await);
    // At the same time as others who do so.
    let all = futures((0..4).map(|_| {
        let owner = of("registry_later_owner");
        async move { admit(&owner, observer).await }
    }));
    assert!(all.await.contains(&true));
    assert!(!admit(&owner, observer).await);
    let seen = State::Ready { owner: "registry_later_owner".into(), trusted: false };
    assert_eq!(state(&reader).await.unwrap(), seen);
    // One table is enough to be kept out by.
    admin.run("REVOKE SELECT ON agent_iac.objects FROM registry_later_observer").await;
    assert!(admit(&owner, observer).await);
    assert_eq!(state(&reader).await.unwrap(), seen);
}

async fn a_newer_version_is_refused(cluster: &Cluster) {
    let server = installed(cluster, "registry_newer").await;
    for (set, kind) in [
        ("UPDATE agent_iac.registry SET version = 3", ErrorKind::NewerVersion),
        // It did not say of which cluster it is.
        ("UPDATE agent_iac.registry SET version = 1", ErrorKind::Damaged),
        ("UPDATE agent_iac.registry SET version = 2, system_identifier = '7'", ErrorKind::Refused),
    ] {
        write(&server, set).await.unwrap();
        assert_eq!(state(&server).await.unwrap_err().kind(), kind, "{set}");
    }
    write(&server, "DELETE FROM agent_iac.registry").await.unwrap();
    assert_eq!(state(&server).await.unwrap_err().kind(), ErrorKind::Damaged);
}

async fn a_claim_is_written_with_its_work_or_not_at_all(cluster: &Cluster) {
    let server = installed(cluster, "registry_work").await;
    let claims = claims(3);
    carry_out(&server, &claims[..1], 0).await.unwrap();
    let one = claims[1].clone();
    let fails = server.transaction(None, Options::writing(), move |tx| async move {
        registry::enter(&tx, std::slice::from_ref(&one)).await?;
        registry::register(&tx, &[outcome(one)]).await?;
        tx.batch("SELECT 1 / 0").await
    });
    fails.await.unwrap_err();
    // It says what was before; it may be repeated, and says the same.
    let error = carry_out(&server, &claims, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    for _ in 0..2 {
        let settled = settle(&server, &claims, 1000).await.unwrap();
        assert_eq!(settled, [done(), Registered::GivenUp, Registered::GivenUp]);
    }
}

async fn entered(server: &Server) {
    let sql = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while texts(server, sql).await == ["0"] {}
}

async fn recovery_waits_for_a_transaction_of_a_dead_run(cluster: &Cluster) {
    let server = installed(cluster, "registry_waits").await;
    let (claims, other) = (claims(2), server.clone());
    let late = claims[..1].to_vec();
    let writer = tokio::spawn(async move { carry_out(&other, &late, 700).await });
    entered(&server).await;
    let settled = settle(&server, &claims, 10_000).await.unwrap();
    assert_eq!(settled, [done(), Registered::GivenUp]);
    writer.await.unwrap().unwrap();
}

async fn recovery_does_not_wait_for_ever(cluster: &Cluster) {
    let server = installed(cluster, "registry_bounded").await;
    let (claims, other) = (claims(1), server.clone());
    let late = claims.clone();
    let writer = tokio::spawn(async move { carry_out(&other, &late, 1500).await });
    entered(&server).await;
    let sql = "SELECT pid::text FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let holder = texts(&server, sql).await;
    let error = settle(&server, &claims, 100).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InDoubt, "{error:?}");
    let named = format!("(process {} of `postgres`)", holder[0]);
    assert!(error.message().ends_with(&named), "{error}");
    writer.await.unwrap().unwrap();
    assert_eq!(settle(&server, &claims, 100).await.unwrap(), [done()]);
}

async fn recovery_does_not_wait_for_other_runs(cluster: &Cluster) {
    let server = installed(cluster, "registry_others").await;
    let (alive, other) = (claims(1), server.clone());
    let writer = tokio::spawn(async move { carry_out(&other, &alive, 1500).await });
    entered(&server).await;
    let settled = settle(&server, &claims(1), 200).await.unwrap();
    assert_eq!(settled, [Registered::GivenUp]);
    writer.await.unwrap().unwrap();
}

async fn a_writer_that_wakes_up_late_finds_its_claim_given_up(cluster: &Cluster) {
    let server = installed(cluster, "registry_late").await;
    let claims = claims(1);
    assert_eq!(settle(&server, &claims, 100).await.unwrap(), [Registered::GivenUp]);
    let error = carry_out(&server, &claims, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    // Nor does one that asks nothing beforehand.
    let one = claims[0].clone();
    let blind = server.transaction(None, Options::writing(), move |tx| async move {
        registry::register(&tx, &[outcome(one)]).await
    });
    let error = blind.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert_eq!(settle(&server, &claims, 100).await.unwrap(), [Registered::GivenUp]);
}

async fn thousands_of_claims_take_as_many_requests_as_one(cluster: &Cluster) {
    let server = installed(cluster, "registry_many").await;
    let mut requests = Vec::new();
    for count in [1, 5000] {
        let claims = claims(count);
        let before = server.requests();
        carry_out(&server, &claims, 0).await.unwrap();
        let settled = settle(&server, &claims, 1000).await.unwrap();
        requests.push(server.requests() - before);
        assert_eq!(settled, vec![done(); count]);
    }
    assert_eq!(requests[0], requests[1]);
}

async fn what_nobody_asks_for_any_more_is_forgotten(cluster: &Cluster) {
    let server = installed(cluster, "registry_forgets").await;
    let one = |run: &RunId, step: usize, fleet: &str, address: &str| Outcome {
        claim: run.claim(step),
        mark: mark(fleet, address),
        text: r#"{"id": "7"}"#.to_owned(),
    };
    let register = |outcomes: Vec<Outcome>| {
        server.transaction(None, Options::writing(), move |tx| async move {
            let claims: Vec<Claim> = outcomes.iter().map(|one| one.claim.clone()).collect();
            registry::enter(&tx, &claims).await?;
            registry::register(&tx, &outcomes).await
        })
    };
    // One that was given up stays, for its writer may still wake up.
    let dead = RunId::random(&SystemEntropy).claim(1);
    let settled = settle(&server, std::slice::from_ref(&dead), 100).await.unwrap();
    assert_eq!(settled, [Registered::GivenUp]);
    let other = RunId::random(&SystemEntropy);
    register(vec![one(&other, 1, "other", "a.b")]).await.unwrap();
    let mut last = None;
    for _ in 0..1000 {
        let run = RunId::random(&SystemEntropy);
        register(vec![one(&run, 1, "fleet", "a.b"), one(&run, 2, "fleet", "a.c")]).await.unwrap();
        last = Some(run);
    }
    let run = last.unwrap();
    let left = "SELECT claim FROM agent_iac.claims ORDER BY 1";
    let mut kept = [dead.clone(), other.claim(1), run.claim(1), run.claim(2)];
    kept.sort();
    assert_eq!(texts(&server, left).await, kept.each_ref().map(Claim::as_str));
    // What was undone has forgotten nothing.
    let late = one(&RunId::random(&SystemEntropy), 1, "fleet", "a.b");
    let undone = server.transaction(None, Options::writing(), move |tx| async move {
        registry::enter(&tx, std::slice::from_ref(&late.claim)).await?;
        registry::register(&tx, &[late]).await?;
        tx.batch("SELECT 1 / 0").await
    });
    undone.await.unwrap_err();
    let settled = settle(&server, &[run.claim(1), dead], 100).await.unwrap();
    assert_eq!(settled, [done(), Registered::GivenUp]);
}

async fn whose_an_object_is_can_be_read_changed_and_forgotten(cluster: &Cluster) {
    let server = installed(cluster, "registry_marks").await;
    let owned = |fleet: &str, detail: Option<&str>| Owned {
        mark: mark(fleet, r#"reader["eu"].account"#),
        detail: detail.map(str::to_owned),
    };
    let rows = vec![
        ("1".to_owned(), owned("a", None)),
        ("2".to_owned(), owned("a", Some(r#"{"generation": 3}"#))),
    ];
    let (first, changed) = (rows.clone(), vec![("1".to_owned(), owned("b", None))]);
    let read = server
        .transaction(None, Options::writing(), move |tx| async move {
            registry::mark(&tx, "postgres.role", &first).await?;
            registry::mark(&tx, "postgres.login", &first[..1]).await?;
            let all = registry::owned(&tx, "postgres.role", None).await?;
            registry::mark(&tx, "postgres.role", &changed).await?;
            let one = registry::owned(&tx, "postgres.role", Some(&["1".into()])).await?;
            registry::forget(&tx, "postgres.role", &["1".into(), "3".into()]).await?;
            let left = registry::owned(&tx, "postgres.role", None).await?;
            let others = registry::owned(&tx, "postgres.login", None).await?;
            Ok((all, one, left, others))
        })
        .await;
    let (all, one, left, others) = read.unwrap();
    assert_eq!(all.into_iter().collect::<Vec<_>>(), rows);
    assert_eq!(one.into_iter().collect::<Vec<_>>(), [("1".to_owned(), owned("b", None))]);
    assert_eq!(left.into_keys().collect::<Vec<_>>(), ["2"]);
    assert_eq!(others.into_keys().collect::<Vec<_>>(), ["1"]);
}

async fn nobody_but_the_owner_writes_the_registry(cluster: &Cluster) {
    let database = cluster.database("registry_forged").await;
    let admin = cluster.admin_of(&database).await;
    admin
        .run(
            "CREATE ROLE registry_forged_forger LOGIN PASSWORD 'p';
            GRANT pg_read_all_data, pg_write_all_data TO registry_forged_forger",
        )
        .await;
    let owner = superuser(cluster, &database);
    install(&owner, None).await.unwrap();
    carry_out(&owner, &claims(1), 0).await.unwrap();
    let forger = cluster.connect("registry_forged_forger", "p", &database).await.unwrap();
    let row = "INSERT INTO agent_iac.objects VALUES ('postgres.role', '1', 'a', 'b', 'c.d')";
    assert_eq!(forger.refused(row).await.code, "42501");
    for sql in ["DELETE FROM agent_iac.claims", "UPDATE agent_iac.registry SET version = 7"] {
        forger.run(sql).await;
    }
    assert_eq!(texts(&owner, "SELECT count(*)::text FROM agent_iac.claims").await, ["1"]);
    let ready = State::Ready { owner: "postgres".into(), trusted: true };
    assert_eq!(state(&owner).await.unwrap(), ready);
    // What rows' security does not forbid is refused when it is seen.
    let spoilt = [
        (
            "GRANT TRUNCATE ON agent_iac.claims TO registry_forged_forger",
            "REVOKE TRUNCATE ON agent_iac.claims FROM registry_forged_forger",
            "TRUNCATE of `registry_forged_forger` on `agent_iac.claims`",
        ),
        (
            "ALTER TABLE agent_iac.objects DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE agent_iac.objects ENABLE ROW LEVEL SECURITY",
            "`objects`",
        ),
        (
            "CREATE TRIGGER t BEFORE INSERT ON agent_iac.claims FOR EACH ROW
                EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "DROP TRIGGER t ON agent_iac.claims",
            "trigger",
        ),
    ];
    for (spoil, repair, named) in spoilt {
        admin.run(spoil).await;
        let error = state(&owner).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Foreign, "{error:?}");
        assert!(error.message().contains(named), "{error}");
        admin.run(repair).await;
        assert_eq!(state(&owner).await.unwrap(), ready);
    }
}

async fn a_stranger_cannot_keep_our_locks(cluster: &Cluster) {
    let database = cluster.database("registry_locks").await;
    let admin = cluster.admin_of(&database).await;
    admin
        .run(
            "CREATE ROLE registry_locks_admins NOLOGIN;
            GRANT CREATE ON DATABASE registry_locks TO registry_locks_admins;
            CREATE ROLE registry_locks_login LOGIN PASSWORD 'p' IN ROLE registry_locks_admins;
            CREATE ROLE registry_locks_agent LOGIN PASSWORD 'p'",
        )
        .await;
    let settings = settings(cluster, "registry_locks_login", "p", &database);
    let server = server(settings.role("registry_locks_admins"));
    install(&server, None).await.unwrap();
    let work = || {
        server.transaction(None, Options::writing(), |tx| async move {
            registry::serialise(&tx, "held").await?;
            let sql = "SELECT classid::int8::text, objid::int8::text FROM pg_locks
                WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
            let rows = tx.query(sql, &[]).await?;
            Ok((rows[0].get::<_, String>(0), rows[0].get::<_, String>(1)))
        })
    };
    let (class, key) = work().await.unwrap();
    let agent = cluster.connect("registry_locks_agent", "p", &database).await.unwrap();
    let signed = |number: &str| number.parse::<u32>().unwrap().cast_signed();
    agent.run(&format!("SELECT pg_advisory_lock({}, {})", signed(&class), signed(&key))).await;
    // Without the right to end it, who holds it is named.
    let error = work().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.message().ends_with("of `registry_locks_agent`"), "{error}");
    assert!(error.repair().unwrap().contains("pg_signal_backend"), "{error:?}");
    admin.run("GRANT pg_signal_backend TO registry_locks_admins").await;
    work().await.unwrap();
    let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'registry_locks_agent'";
    assert_eq!(admin.value(left).await, "0");
}

const GRANTS: [&str; 2] =
    ["GRANT SELECT ON public.t TO PUBLIC", "REVOKE SELECT ON public.t FROM PUBLIC"];

async fn writers_that_are_serialised_never_meet_in_the_catalog(cluster: &Cluster) {
    let database = cluster.database("registry_serial").await;
    write(&superuser(cluster, &database), "CREATE TABLE public.t ()").await.unwrap();
    // Two operators, each with connections of his own.
    let operators = [superuser(cluster, &database), superuser(cluster, &database)];
    let all = (0..100).map(|number| {
        let server = operators[number % 2].clone();
        async move {
            let work = server.transaction(None, Options::writing(), move |tx| async move {
                registry::serialise(&tx, "acl").await?;
                tx.batch(GRANTS[number / 2 % 2]).await
            });
            work.await
        }
    });
    for done in futures(all).await {
        done.unwrap();
    }
}

async fn writers_that_meet_in_the_catalog_try_again(cluster: &Cluster) {
    let server = superuser(cluster, &cluster.database("registry_meet").await);
    write(&server, "CREATE TABLE public.t ()").await.unwrap();
    let admin = cluster.admin_of("registry_meet").await;
    admin.run("BEGIN; GRANT SELECT ON t TO PUBLIC").await;
    let (other, met) = (server.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let heard = Arc::clone(&met);
    let batch = tokio::spawn(async move {
        Batch::new(&other, None, vec![()])
            .carry_out(
                |_, _| async { Ok(()) },
                move |tx, slice| {
                    let heard = Arc::clone(&heard);
                    async move {
                        let done = tx.batch("GRANT INSERT ON public.t TO PUBLIC").await;
                        heard.lock().unwrap().push(done.as_ref().err().map(ToString::to_string));
                        done?;
                        Ok(slice.iter().copied().collect::<Vec<()>>())
                    }
                },
            )
            .await
    });
    // Once it waits for our transaction, ours ends.
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
        AND datname = current_database()";
    while admin.value(sql).await == "0" {
        admin.run("SELECT pg_stat_clear_snapshot()").await;
    }
    admin.run("COMMIT").await;
    for answer in batch.await.unwrap() {
        answer.unwrap();
    }
    let met = std::mem::take(&mut *met.lock().unwrap());
    assert_eq!(met.len(), 2, "{met:?}");
    assert!(met[0].as_ref().unwrap().contains("changed the same object"), "{met:?}");
    let acl = texts(&server, "SELECT relacl::text FROM pg_class WHERE relname = 't'").await;
    assert!(acl[0].contains("=ar/postgres"), "{acl:?}");
}
