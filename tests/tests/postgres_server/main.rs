//! The connection to a PostgreSQL server, on real ones of each version: what is
//! kept and what is undone, what an error means, and who is let in.

#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

mod registry;
mod tls;
mod together;

use std::{sync::Arc, time::Duration};

use agent_iac::{
    ErrorKind, Result,
    error::{Error, Retry},
    provider::Tried,
    providers::postgres::server::{
        Batch, Endpoint, Fault, Options, Password, Principal, Prober, Said, Server, Settings,
        Thread, Transaction, Type, sqlstate,
    },
    secret::Secret,
};
use agent_iac_tests::{on_each_version, postgres::Cluster};

on_each_version![
    what_is_done_in_a_transaction_is_kept_or_undone_as_a_whole,
    nothing_that_a_role_or_a_database_sets_changes_a_statement,
    a_command_that_warns_and_does_nothing_is_an_error,
    a_failure_that_the_work_hides_keeps_nothing,
    what_a_savepoint_undoes_leaves_the_rest,
    a_reader_cannot_write_and_sees_one_snapshot,
    a_connection_that_is_lost_before_the_commit_has_written_nothing,
    a_connection_that_is_lost_during_the_commit_leaves_a_doubt,
    a_commit_that_the_server_refuses_is_no_doubt,
    idle_connections_that_were_cut_off_are_replaced_unseen,
    dropping_a_future_does_not_cut_its_work_off,
    work_that_panics_is_an_error_and_undone,
    there_are_never_more_connections_than_were_allowed,
    what_is_made_belongs_to_the_role_that_was_become,
    a_role_that_may_not_be_become_is_named_with_the_repair,
    codes_become_kinds,
    an_error_repeats_no_value,
    what_a_server_is_can_be_learned_by_an_ordinary_login,
    what_stands_between_is_seen,
    only_the_authentication_itself_refuses_a_login,
    one_bad_job_fails_alone,
    jobs_that_are_known_to_fail_are_left_out_at_once,
    a_batch_is_repeated_after_what_passes,
    a_batch_whose_commit_is_lost_is_in_doubt_as_a_whole,
    who_is_held_up_to_the_end_fails_alone,
    a_replica_answers_only_where_that_was_allowed,
    another_server_behind_the_same_name_is_refused,
];

fn endpoint(cluster: &Cluster, database: &str) -> Endpoint {
    format!("postgresql://127.0.0.1:{}/{database}", cluster.port()).parse().unwrap()
}

fn principal(user: &str, password: &str) -> Principal {
    let password = Password::given(Secret::from_text(password.to_owned()));
    Principal::new(user, password).unwrap()
}

fn settings(cluster: &Cluster, user: &str, password: &str, database: &str) -> Settings {
    Settings::new(endpoint(cluster, database), principal(user, password))
}

fn server(settings: Settings) -> Server {
    Server::new(&Thread::start().unwrap(), settings).unwrap()
}

/// A server as its superuser.
fn superuser(cluster: &Cluster, database: &str) -> Server {
    server(settings(cluster, "postgres", cluster.password(), database))
}

async fn write(server: &Server, sql: &'static str) -> Result<()> {
    server.transaction(None, Options::writing(), move |tx| async move { tx.batch(sql).await }).await
}

async fn texts(server: &Server, sql: &'static str) -> Vec<String> {
    let read = server.read(None, move |tx| async move {
        let rows = tx.query(sql, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    });
    read.await.unwrap()
}

async fn what_is_done_in_a_transaction_is_kept_or_undone_as_a_whole(cluster: &Cluster) {
    let server = superuser(cluster, &cluster.database("kept").await);
    write(&server, "CREATE TABLE public.t (n text)").await.unwrap();
    let kept = server.transaction(None, Options::writing(), |tx| async move {
        let (a, b) = ("one", "two");
        let sql = "INSERT INTO public.t VALUES ($1), ($2)";
        tx.execute(sql, &[(&a, Type::TEXT), (&b, Type::TEXT)]).await
    });
    assert_eq!(kept.await.unwrap(), 2);
    let undone = server.transaction(None, Options::writing(), |tx| async move {
        tx.batch("INSERT INTO public.t VALUES ('three')").await?;
        Err::<(), _>(Error::new(ErrorKind::Cancelled, "enough"))
    });
    assert_eq!(undone.await.unwrap_err().kind(), ErrorKind::Cancelled);
    let before = server.requests();
    assert_eq!(texts(&server, "SELECT n FROM public.t ORDER BY n").await, ["one", "two"]);
    // Its begin, the query and its end, on a connection that was there.
    assert_eq!(server.requests() - before, 3);
}

async fn nothing_that_a_role_or_a_database_sets_changes_a_statement(cluster: &Cluster) {
    let database = cluster.database("set").await;
    let admin = cluster.admin_of(&database).await;
    admin
        .run(
            "CREATE ROLE set_me LOGIN PASSWORD 'p';
            CREATE SCHEMA evil;
            CREATE FUNCTION evil.upper(text) RETURNS text LANGUAGE sql AS $$ SELECT 'evil' $$;
            GRANT USAGE ON SCHEMA evil TO set_me;
            ALTER ROLE set_me SET search_path = evil, pg_catalog;
            ALTER ROLE set_me SET client_min_messages = error;
            ALTER ROLE set_me SET standard_conforming_strings = off;
            ALTER ROLE set_me SET backslash_quote = on;
            ALTER ROLE set_me SET timezone = 'Asia/Tokyo';
            ALTER ROLE set_me SET datestyle = 'German';
            ALTER ROLE set_me SET quote_all_identifiers = on;
            ALTER ROLE set_me SET synchronous_commit = off;
            ALTER ROLE set_me SET default_transaction_isolation = 'serializable';
            ALTER ROLE set_me SET default_transaction_read_only = on",
        )
        .await;
    let server = server(settings(cluster, "set_me", "p", &database));
    let answer = server.transaction(None, Options::writing(), |tx| async move {
        let sql = r"SELECT concat_ws(' ', upper('a\b'), timestamptz '2026-07-01 00:00+00',
            current_setting('transaction_isolation'), current_setting('transaction_read_only'),
            quote_ident('plain'), current_setting('synchronous_commit'))";
        let rows = tx.query(sql, &[]).await?;
        tx.batch("DO $$ BEGIN RAISE NOTICE 'heard'; END $$").await?;
        Ok((rows[0].get::<_, String>(0), tx.notices()))
    });
    let (text, notices) = answer.await.unwrap();
    assert_eq!(text, r"A\B 2026-07-01 00:00:00+00 read committed off plain on");
    assert_eq!(notices.iter().map(Said::message).collect::<Vec<_>>(), ["heard"]);
    // And nothing of it stays in the session, for a pooler to give to others.
    let left = cluster.connect("set_me", "p", &database).await.unwrap();
    assert_eq!(left.value("SHOW timezone").await, "Asia/Tokyo");
}

async fn a_command_that_warns_and_does_nothing_is_an_error(cluster: &Cluster) {
    let database = cluster.database("warned").await;
    let admin = cluster.admin_of(&database).await;
    admin
        .run(
            "CREATE ROLE warned_one LOGIN PASSWORD 'p'; CREATE ROLE warned_two;
            CREATE TABLE public.t (n int); GRANT SELECT ON public.t TO warned_one",
        )
        .await;
    let server = server(settings(cluster, "warned_one", "p", &database));
    let error = write(&server, "GRANT SELECT ON public.t TO warned_two").await.unwrap_err();
    assert_eq!((error.kind(), sqlstate(&error)), (ErrorKind::Denied, Some("01007")), "{error:?}");
    // A notice is not a warning.
    let server = superuser(cluster, &database);
    write(&server, "DROP TABLE IF EXISTS public.nothing").await.unwrap();
}

async fn a_failure_that_the_work_hides_keeps_nothing(cluster: &Cluster) {
    let server = superuser(cluster, &cluster.database("hidden").await);
    write(&server, "CREATE TABLE public.t (n int)").await.unwrap();
    let hidden = server.transaction(None, Options::writing(), |tx| async move {
        tx.batch("INSERT INTO public.t VALUES (1)").await?;
        let _: Result<()> = tx.batch("SELECT 1 / 0").await;
        Ok(())
    });
    // The server itself answers such a COMMIT with no error.
    assert_eq!(hidden.await.unwrap_err().kind(), ErrorKind::Bug);
    let abandoned = server.transaction(None, Options::writing(), |tx| async move {
        let slow = tx.batch("INSERT INTO public.t SELECT 2 FROM pg_sleep(1)");
        let _: std::result::Result<_, _> =
            tokio::time::timeout(Duration::from_millis(50), slow).await;
        Ok(())
    });
    assert_eq!(abandoned.await.unwrap_err().kind(), ErrorKind::Bug);
    assert_eq!(texts(&server, "SELECT count(*)::text FROM public.t").await, ["0"]);
}

async fn what_a_savepoint_undoes_leaves_the_rest(cluster: &Cluster) {
    let server = superuser(cluster, &cluster.database("saved").await);
    write(&server, "CREATE TABLE public.t (n text PRIMARY KEY)").await.unwrap();
    let answer = server.transaction(None, Options::writing(), |tx| async move {
        tx.batch("INSERT INTO public.t VALUES ('a')").await?;
        let twice = tx.savepoint(|tx| async move {
            tx.batch("INSERT INTO public.t VALUES ('b')").await?;
            tx.batch("INSERT INTO public.t VALUES ('a')").await
        });
        let twice: Result<()> = twice.await;
        let hidden = tx.savepoint(|tx| async move {
            let _: Result<()> = tx.batch("INSERT INTO public.t VALUES ('a')").await;
            Ok::<_, Error>(())
        });
        let hidden = hidden.await;
        let nested = tx.savepoint(|tx| async move {
            tx.batch("INSERT INTO public.t VALUES ('c')").await?;
            let inner: Result<()> = tx
                .savepoint(|tx| async move { tx.batch("INSERT INTO public.t VALUES ('c')").await })
                .await;
            assert_eq!(inner.unwrap_err().kind(), ErrorKind::StalePlan);
            Ok::<_, Error>(())
        });
        nested.await?;
        Ok((twice.unwrap_err(), hidden.unwrap_err()))
    });
    let (twice, hidden) = answer.await.unwrap();
    assert_eq!(twice.kind(), ErrorKind::StalePlan);
    assert_eq!(hidden.kind(), ErrorKind::Bug);
    assert_eq!(texts(&server, "SELECT n FROM public.t ORDER BY n").await, ["a", "c"]);
}

async fn a_reader_cannot_write_and_sees_one_snapshot(cluster: &Cluster) {
    let database = cluster.database("reading").await;
    let server = superuser(cluster, &database);
    write(&server, "CREATE TABLE public.t (n int)").await.unwrap();
    let refused =
        server.read(None, |tx| async move { tx.batch("INSERT INTO public.t VALUES (1)").await });
    assert_eq!(sqlstate(&refused.await.unwrap_err()), Some("25006"));
    let other = server.clone();
    let counts = server.read(None, move |tx| async move {
        let sql = "SELECT count(*) FROM public.t";
        let first: i64 = tx.query(sql, &[]).await?[0].get(0);
        write(&other, "INSERT INTO public.t VALUES (1)").await?;
        Ok((first, tx.query(sql, &[]).await?[0].get::<_, i64>(0)))
    });
    assert_eq!(counts.await.unwrap(), (0, 0));
}

/// Ends the session of this transaction from another one.
async fn end_session(admin: &Server, tx: &Transaction) -> Result<()> {
    let pid: i32 = tx.query("SELECT pg_backend_pid()", &[]).await?[0].get(0);
    admin
        .read(None, move |tx| async move {
            let sql = "SELECT pg_terminate_backend($1, 5000)";
            tx.query(sql, &[(&pid, Type::INT4)]).await.map(drop)
        })
        .await
}

async fn a_connection_that_is_lost_before_the_commit_has_written_nothing(cluster: &Cluster) {
    let database = cluster.database("lost").await;
    let (server, admin) = (superuser(cluster, &database), superuser(cluster, &database));
    write(&server, "CREATE TABLE public.t (n int)").await.unwrap();
    for hides in [false, true] {
        let admin = admin.clone();
        let lost = server.transaction(None, Options::writing(), move |tx| async move {
            tx.batch("INSERT INTO public.t VALUES (1)").await?;
            end_session(&admin, &tx).await?;
            if hides {
                return Ok(());
            }
            tx.batch("INSERT INTO public.t VALUES (2)").await
        });
        let error = lost.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Provider, "{error:?}");
        assert_eq!(error.retry(), Retry::Backoff);
        assert_eq!(texts(&server, "SELECT count(*)::text FROM public.t").await, ["0"]);
    }
}

/// A table whose inserts take a second at the commit.
const SLOW_COMMIT: &str = "CREATE TABLE public.slow (n int);
    CREATE FUNCTION public.sleep() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER sleep AFTER INSERT ON public.slow
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.sleep()";

async fn a_connection_that_is_lost_during_the_commit_leaves_a_doubt(cluster: &Cluster) {
    let database = cluster.database("doubt").await;
    let (server, admin) = (superuser(cluster, &database), superuser(cluster, &database));
    write(&server, SLOW_COMMIT).await.unwrap();
    let cut = tokio::spawn(cut_while_committing(admin));
    let error = write(&server, "INSERT INTO public.slow VALUES (1)").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InDoubt, "{error:?}");
    cut.await.unwrap();
}

async fn cut_while_committing(admin: Server) {
    let sql = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity
        WHERE query = 'COMMIT' AND state = 'active' AND datname = current_database()";
    while texts(&admin, sql).await != ["1"] {}
}

async fn a_commit_that_the_server_refuses_is_no_doubt(cluster: &Cluster) {
    let server = superuser(cluster, &cluster.database("refused").await);
    let sql = "CREATE TABLE public.t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)";
    write(&server, sql).await.unwrap();
    let error = write(&server, "INSERT INTO public.t VALUES (1), (1)").await.unwrap_err();
    assert_eq!((error.kind(), sqlstate(&error)), (ErrorKind::StalePlan, Some("23505")));
    assert_eq!(texts(&server, "SELECT count(*)::text FROM public.t").await, ["0"]);
}

async fn idle_connections_that_were_cut_off_are_replaced_unseen(cluster: &Cluster) {
    let database = cluster.database("idle").await;
    let (server, admin) = (superuser(cluster, &database), cluster.admin().await);
    for _ in 0..3 {
        let reads = (0..4).map(|_| {
            let server = server.clone();
            async move { texts(&server, "SELECT pg_sleep(0.1)::text").await }
        });
        futures(reads).await;
        let cut = format!(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
            WHERE datname = '{database}'"
        );
        assert_eq!(admin.value(&cut).await, "4");
        // Some have heard of it by now and some have not.
        assert_eq!(texts(&server, "SELECT 'well'").await, ["well"]);
    }
}

/// Runs all of them at once.
async fn futures<F: Future + Send + 'static>(all: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F::Output: Send,
{
    let tasks: Vec<_> = all.map(tokio::spawn).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

async fn dropping_a_future_does_not_cut_its_work_off(cluster: &Cluster) {
    let server = superuser(cluster, &cluster.database("dropped").await);
    write(&server, "CREATE TABLE public.t (n int)").await.unwrap();
    let slow = write(&server, "INSERT INTO public.t SELECT 1 FROM pg_sleep(0.3)");
    assert!(tokio::time::timeout(Duration::from_millis(50), slow).await.is_err());
    while texts(&server, "SELECT count(*)::text FROM public.t").await != ["1"] {}
}

async fn work_that_panics_is_an_error_and_undone(cluster: &Cluster) {
    let server = superuser(cluster, &cluster.database("panics").await);
    let panics = server.transaction(None, Options::writing(), |tx| async move {
        tx.batch("CREATE TABLE public.t (n int)").await?;
        assert!(tx.database().is_empty(), "the test panics here");
        Ok(())
    });
    assert_eq!(panics.await.unwrap_err().kind(), ErrorKind::Bug);
    while texts(&server, "SELECT to_regclass('public.t')::text IS NULL || ''").await != ["true"] {}
}

async fn there_are_never_more_connections_than_were_allowed(cluster: &Cluster) {
    let names = ["pooled_a", "pooled_b", "pooled_c"];
    for name in names {
        cluster.database(name).await;
    }
    cluster.admin().await.run("CREATE ROLE pooled LOGIN PASSWORD 'p'").await;
    let server = server(settings(cluster, "pooled", "p", names[0]).connections(3));
    let admin = superuser(cluster, "postgres");
    let works = (0..30).map(|number| {
        let (server, admin) = (server.clone(), admin.clone());
        async move {
            let read = server.read(Some(names[number % 3]), move |_| async move {
                let sql = "SELECT count(*)::text FROM pg_stat_activity WHERE usename = 'pooled'";
                // One that was told to go may not have gone yet; of too many,
                // each holds its own while it looks.
                let mut count = 0;
                for _ in 0..100 {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    count = texts(&admin, sql).await[0].parse::<usize>().unwrap();
                    if count <= 3 {
                        break;
                    }
                }
                Ok(count)
            });
            read.await.unwrap()
        }
    });
    let counts = futures(works).await;
    assert!(counts.iter().all(|count| *count <= 3), "{counts:?}");
    assert!(counts.contains(&3), "they never worked at once: {counts:?}");
}

async fn what_is_made_belongs_to_the_role_that_was_become(cluster: &Cluster) {
    let database = cluster.database("become").await;
    let admin = cluster.admin_of(&database).await;
    admin
        .run(
            r#"CREATE ROLE "become ""them""" NOLOGIN; CREATE ROLE become_me LOGIN PASSWORD 'p';
            GRANT "become ""them""" TO become_me;
            GRANT CREATE ON SCHEMA public TO "become ""them""""#,
        )
        .await;
    let settings = settings(cluster, "become_me", "p", &database).role(r#"become "them""#);
    write(&server(settings), "CREATE TABLE public.t (n int)").await.unwrap();
    let owner = admin.value("SELECT tableowner FROM pg_tables WHERE tablename = 't'").await;
    assert_eq!(owner, r#"become "them""#);
}

async fn a_role_that_may_not_be_become_is_named_with_the_repair(cluster: &Cluster) {
    let database = cluster.database("become_not").await;
    let admin = cluster.admin().await;
    admin.run("CREATE ROLE become_not LOGIN PASSWORD 'p'; CREATE ROLE become_boss").await;
    for (role, message, repair) in [
        (
            "become_boss",
            "the login `become_not` cannot become the role `become_boss`",
            r#"GRANT "become_boss" TO "become_not""#,
        ),
        (
            "become_nobody",
            "there is no role `become_nobody`, which the login `become_not` is to become",
            "let an administrator paste what `plan --requires` prints",
        ),
    ] {
        let settings = settings(cluster, "become_not", "p", &database).role(role);
        let error = write(&server(settings), "SELECT").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert_eq!(error.message().split_once(": ").unwrap().1, message);
        assert_eq!(error.repair().unwrap(), repair);
    }
}

async fn codes_become_kinds(cluster: &Cluster) {
    let database = cluster.database("codes").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE ROLE codes LOGIN PASSWORD 'p' CONNECTION LIMIT 1; CREATE TABLE t ()").await;
    let server_of = |password| server(settings(cluster, "codes", password, &database));
    let server = server_of("p");
    let kinds = [
        ("ALTER ROLE postgres NOLOGIN", ErrorKind::Denied, Retry::Never, "42501"),
        ("SELECT FROM public.nothing", ErrorKind::NotFound, Retry::Never, "42P01"),
        ("GRANT SELECT ON public.t TO nobody_at_all", ErrorKind::NotFound, Retry::Never, "42704"),
        ("SELECT pg_sleep(20)", ErrorKind::Timeout, Retry::Backoff, "57014"),
        (
            "DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '25P04'; END $$",
            ErrorKind::Timeout,
            Retry::Backoff,
            "25P04",
        ),
        (
            "DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '57P04'; END $$",
            ErrorKind::NotFound,
            Retry::Never,
            "57P04",
        ),
    ];
    for (sql, kind, retry, code) in kinds {
        let options = Options::writing().statement_timeout(Duration::from_millis(500));
        let failed =
            server.transaction(None, options, move |tx| async move { tx.batch(sql).await });
        let error = failed.await.unwrap_err();
        let found = (error.kind(), error.retry(), sqlstate(&error));
        assert_eq!(found, (kind, retry, Some(code)), "{sql}: {error:?}");
        assert!(error.message().contains("database `codes`"), "{error}");
        assert!(error.repair().is_some());
    }
    admin.run("BEGIN; LOCK TABLE t").await;
    let locked = superuser(cluster, &database);
    let options = Options::writing().lock_timeout(Duration::from_millis(100));
    let locked =
        locked.transaction(None, options, |tx| async move { tx.batch("LOCK public.t").await });
    let error = locked.await.unwrap_err();
    assert_eq!((error.retry(), sqlstate(&error)), (Retry::Backoff, Some("55P03")));

    let nowhere = superuser(cluster, "codes_nothing");
    let error = nowhere.about().await.unwrap_err();
    assert_eq!((error.kind(), sqlstate(&error)), (ErrorKind::NotFound, Some("3D000")));
    // `server` keeps the one connection that the login has.
    let error = server_of("p").about().await.unwrap_err();
    assert_eq!((error.retry(), sqlstate(&error)), (Retry::Backoff, Some("53300")));
    let error = server_of("hunter2").about().await.unwrap_err();
    assert_eq!((error.kind(), sqlstate(&error)), (ErrorKind::Denied, Some("28P01")));
    assert!(error.message().ends_with("login `codes`"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

async fn an_error_repeats_no_value(cluster: &Cluster) {
    let server = superuser(cluster, &cluster.database("values").await);
    write(&server, "CREATE TABLE public.t (n text PRIMARY KEY, m int NOT NULL)").await.unwrap();
    for sql in [
        "INSERT INTO public.t VALUES ('hunter2', 1), ('hunter2', 2)",
        "INSERT INTO public.t VALUES ('hunter2')",
    ] {
        let error = write(&server, sql).await.unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    // A syntax error repeats what stands there, in the message itself.
    let unquoted = server.transaction(None, Options::writing(), |tx| async move {
        tx.batch_unquoted("ALTER ROLE postgres PASSWORD \"hunter2\"").await
    });
    let error = unquoted.await.unwrap_err();
    assert_eq!(sqlstate(&error), Some("42601"));
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

async fn what_a_server_is_can_be_learned_by_an_ordinary_login(cluster: &Cluster) {
    let database = cluster.database("about").await;
    let admin = cluster.admin_of(&database).await;
    admin.run("CREATE ROLE about LOGIN PASSWORD 'p'").await;
    let about = server(settings(cluster, "about", "p", &database)).about().await.unwrap();
    assert_eq!(about.major(), cluster.version());
    let sql = "SELECT system_identifier FROM pg_control_system()";
    assert_eq!(about.system, Some(admin.value(sql).await));
    assert_eq!(about.database, database);
    let sql = "SELECT oid FROM pg_database WHERE datname = current_database()";
    assert_eq!(about.database_oid.to_string(), admin.value(sql).await);
    assert!(!about.in_recovery);
    assert_eq!(about.pooler, None);
    // An owner may forbid it; then it is not known, and everything else is.
    admin.run("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC").await;
    let about = server(settings(cluster, "about", "p", &database)).about().await.unwrap();
    assert_eq!((about.major(), about.system), (cluster.version(), None));
}

async fn what_stands_between_is_seen(cluster: &Cluster) {
    let database = cluster.database("between").await;
    let endpoint = by_way_of(vec![cluster.port()], &database).await;
    let principal = principal("postgres", cluster.password());
    let about = server(Settings::new(endpoint, principal)).about().await.unwrap();
    assert!(about.pooler.unwrap().starts_with("we connect from port "));
}

async fn only_the_authentication_itself_refuses_a_login(cluster: &Cluster) {
    let database = cluster.database("tried").await;
    cluster
        .admin()
        .await
        .run(
            "CREATE ROLE tried LOGIN PASSWORD 'right'; CREATE ROLE tried_off PASSWORD 'right';
            CREATE ROLE tried_full LOGIN PASSWORD 'right' CONNECTION LIMIT 0;
            CREATE ROLE tried_late LOGIN PASSWORD 'right' VALID UNTIL '2000-01-01'",
        )
        .await;
    let thread = Thread::start().unwrap();
    let prober = Prober::new(&thread, endpoint(cluster, &database)).unwrap();
    let (right, wrong) =
        (Secret::from_text("right".into()), Secret::from_text("wr0ng-and-secret".into()));
    let refused = Tried::Refused("28P01".into());
    assert_eq!(prober.try_login("tried", &right, None).await, Tried::Accepted);
    assert_eq!(prober.try_login("tried", &wrong, None).await, refused);
    assert_eq!(prober.try_login("tried_never_was", &right, None).await, refused);
    assert_eq!(prober.try_login("tried_late", &right, None).await, refused);
    for (user, code) in [("tried_off", "28000"), ("tried_full", "53300")] {
        let Tried::Unknown(why) = prober.try_login(user, &right, None).await else {
            panic!("{user} is no unknown");
        };
        assert!(why.contains(code), "{why}");
        // A wrong password comes first.
        assert_eq!(prober.try_login(user, &wrong, None).await, refused);
    }
    // Whoever is told that there is no such database was let in before.
    let nothing = Some("tried_nothing");
    assert_eq!(prober.try_login("tried", &right, nothing).await, Tried::Accepted);
    assert_eq!(prober.try_login("tried", &wrong, nothing).await, refused);
    let nowhere: Endpoint = "postgresql://127.0.0.1:1/x".parse().unwrap();
    let tried = Prober::new(&thread, nowhere).unwrap().try_login("tried", &right, None).await;
    assert!(matches!(tried, Tried::Unknown(_)), "{tried:?}");
}

/// Writes numbers into a table, each job one, as a group.
async fn insert(tx: Transaction, numbers: Vec<i32>) -> Result<Vec<i32>, Fault> {
    let sql = "INSERT INTO public.t SELECT unnest($1::int4[])";
    tx.execute(sql, &[(&numbers, Type::INT4_ARRAY)]).await?;
    Ok(numbers)
}

async fn table(cluster: &Cluster, name: &str) -> Server {
    let server = superuser(cluster, &cluster.database(name).await);
    write(&server, "CREATE TABLE public.t (n int PRIMARY KEY CHECK (n <> 13))").await.unwrap();
    server
}

async fn one_bad_job_fails_alone(cluster: &Cluster) {
    let server = table(cluster, "halves").await;
    let before = server.requests();
    let answers = Batch::new(&server, None, (0..1000).collect())
        .carry_out(
            |_, _| async { Ok(()) },
            |tx, slice| async move { insert(tx, slice.iter().copied().collect()).await },
        )
        .await;
    for (number, answer) in (0..).zip(answers) {
        match answer {
            Ok(answer) => assert_eq!(answer, number),
            Err(error) => assert_eq!((number, sqlstate(&error)), (13, Some("23514"))),
        }
    }
    let count = texts(&server, "SELECT count(*)::text FROM public.t").await;
    assert_eq!(count, ["999"]);
    // Ten times it is halved; each try is a savepoint, the work and its end.
    assert!(server.requests() - before < 80, "{} requests", server.requests() - before);
}

async fn jobs_that_are_known_to_fail_are_left_out_at_once(cluster: &Cluster) {
    let server = table(cluster, "known").await;
    let answers = Batch::new(&server, None, (0..100).collect())
        .carry_out(
            |_, _| async { Ok(()) },
            |tx, slice| async move {
                let odd = |(at, number): (usize, &i32)| {
                    let error = || Error::new(ErrorKind::StalePlan, number.to_string());
                    (number % 2 == 1).then(|| (at, error()))
                };
                let failed: Vec<_> = slice.iter().enumerate().filter_map(odd).collect();
                let numbers = slice.iter().copied().collect();
                let done = insert(tx, numbers).await;
                if failed.is_empty() { done } else { Err(Fault::These(failed)) }
            },
        )
        .await;
    for (number, answer) in (0..).zip(answers) {
        match answer {
            Ok(answer) => assert_eq!((answer, number % 2), (number, 0)),
            Err(error) => assert_eq!(error.message(), number.to_string()),
        }
    }
    assert_eq!(texts(&server, "SELECT count(*)::text FROM public.t").await, ["50"]);
}

async fn a_batch_is_repeated_after_what_passes(cluster: &Cluster) {
    let server = table(cluster, "passes").await;
    let admin = superuser(cluster, "passes");
    let tries = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let answers = Batch::new(&server, None, vec![1, 2, 3])
        .carry_out(
            |_, _| async { Ok(()) },
            move |tx, slice| {
                let (admin, counted) = (admin.clone(), Arc::clone(&counted));
                async move {
                    let done = insert(tx.clone(), slice.iter().copied().collect()).await?;
                    match counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                        // The connection breaks off, then a deadlock is made up.
                        0 => end_session(&admin, &tx).await?,
                        1 => {
                            let sql = "DO $$ BEGIN RAISE EXCEPTION USING errcode = '40P01'; END $$";
                            tx.batch(sql).await?;
                        }
                        _ => {}
                    }
                    Ok(done)
                }
            },
        )
        .await;
    let answers: Vec<i32> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [1, 2, 3]);
    assert_eq!(tries.load(std::sync::atomic::Ordering::Relaxed), 3);
    assert_eq!(texts(&server, "SELECT count(*)::text FROM public.t").await, ["3"]);
}

async fn a_batch_whose_commit_is_lost_is_in_doubt_as_a_whole(cluster: &Cluster) {
    let database = cluster.database("doubts").await;
    let (server, admin) = (superuser(cluster, &database), superuser(cluster, &database));
    write(&server, SLOW_COMMIT).await.unwrap();
    let cut = tokio::spawn(cut_while_committing(admin));
    let answers = Batch::new(&server, None, vec![1, 2, 3])
        .carry_out(
            |_, _| async { Ok(()) },
            |tx, slice| async move {
                tx.batch("INSERT INTO public.slow VALUES (1)").await?;
                Ok(slice.iter().copied().collect::<Vec<i32>>())
            },
        )
        .await;
    cut.await.unwrap();
    let kinds: Vec<_> = answers.into_iter().map(|answer| answer.unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::InDoubt; 3]);
}

async fn who_is_held_up_to_the_end_fails_alone(cluster: &Cluster) {
    let server = table(cluster, "held").await;
    let admin = cluster.admin_of("held").await;
    admin.run("INSERT INTO t VALUES (1), (2), (3)").await;
    admin.run("BEGIN; UPDATE t SET n = n WHERE n = 2").await;
    let answers = Batch::new(&server, None, vec![1, 2, 3])
        .options(Options::writing().lock_timeout(Duration::from_millis(50)))
        .carry_out(
            |_, _| async { Ok(()) },
            |tx, slice| async move {
                let numbers: Vec<i32> = slice.iter().copied().collect();
                let sql = "DELETE FROM public.t WHERE n = ANY ($1)";
                tx.execute(sql, &[(&numbers, Type::INT4_ARRAY)]).await?;
                Ok(numbers)
            },
        )
        .await;
    assert_eq!(*answers[0].as_ref().unwrap(), 1);
    assert_eq!(sqlstate(answers[1].as_ref().unwrap_err()), Some("55P03"));
    assert_eq!(*answers[2].as_ref().unwrap(), 3);
    admin.run("ROLLBACK").await;
    assert_eq!(texts(&server, "SELECT n::text FROM public.t").await, ["2"]);
}

async fn a_replica_answers_only_where_that_was_allowed(cluster: &Cluster) {
    // Its own, since it is made a replica by crashing it: a server that starts
    // again looks for the file that says so.
    let cluster = Cluster::start(cluster.version());
    let principal = || principal("postgres", cluster.password());
    let settings = || Settings::new(endpoint(&cluster, "postgres"), principal());
    let before = server(settings());
    assert!(!before.about().await.unwrap().in_recovery);
    let crash = "COPY (SELECT) TO PROGRAM 'touch standby.signal; kill -9 $PPID'";
    write(&before, crash).await.unwrap_err();
    let allowed = server(settings().replica(true));
    let about = loop {
        match allowed.about().await {
            Ok(about) => break about,
            Err(error) => assert_eq!(error.retry(), Retry::Backoff, "{error:?}"),
        }
    };
    assert!(about.in_recovery);
    assert_eq!(texts(&allowed, "SELECT 'read'").await, ["read"]);
    let refusals = [
        write(&allowed, "CREATE TABLE public.t ()").await.unwrap_err(),
        server(settings()).about().await.unwrap_err(),
        // It was the primary when it was asked first.
        write(&before, "CREATE TABLE public.t ()").await.unwrap_err(),
    ];
    for error in refusals {
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
        assert!(error.message().ends_with("is a replica, or in recovery"), "{error}");
    }
}

/// Something in between, which leads each connection to the next port.
async fn by_way_of(ports: Vec<u16>, database: &str) -> Endpoint {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let between = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for port in ports {
            let (mut ours, _) = listener.accept().await.unwrap();
            let mut theirs = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(
                async move { tokio::io::copy_bidirectional(&mut ours, &mut theirs).await },
            );
        }
    });
    format!("postgresql://127.0.0.1:{between}/{database}").parse().unwrap()
}

async fn another_server_behind_the_same_name_is_refused(cluster: &Cluster) {
    let other = Cluster::fresh(cluster.version());
    // Both have the same password, so that only their identity tells them apart.
    let password = format!("ALTER ROLE postgres PASSWORD '{}'", cluster.password());
    other.admin().await.run(&password).await;
    let ports = vec![cluster.port(), cluster.port(), other.port()];
    let endpoint = by_way_of(ports, "postgres").await;
    let server = server(Settings::new(endpoint, principal("postgres", cluster.password())));
    let (first, second) = (server.clone(), server.clone());
    let held = server.read(None, move |_| async move {
        // While one connection is held, each of these needs another one.
        first.read(None, |_| async { Ok(()) }).await?;
        first
            .read(None, move |_| async move { second.read(None, |_| async { Ok(()) }).await })
            .await
    });
    let error = held.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert!(error.message().ends_with("is another server than a moment ago"), "{error}");
}
