//! A process that applies a fleet on PostgreSQL, killed at fifty random moments
//! on each version, two hundred in all, and started again each time; and two
//! operators at once. The variable `AGENT_IAC_KILLS` asks for another number on
//! each version. And two runners that rotate logins at once, of which one or the
//! other is killed all the time.
//!
//! The seed of the moments is printed first; the variable `AGENT_IAC_SEED`
//! gives it again. The machine's own timing stays outside of the seed, so the
//! same seed aims alike and does not hit alike.
#![allow(clippy::case_sensitive_file_extension_comparisons, reason = "an address is no file")]
#![expect(
    clippy::disallowed_methods,
    reason = "real processes and a real server are waited for in real time"
)]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "all of this file is a test")]

mod rotation;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use agent_iac::{
    clock::block_on,
    deployment::{Deployment, PlanRequest},
    ledger,
};
use agent_iac_tests::{
    crash::{Applying, Ledger, PATIENCE, Random, kill_again_and_again},
    embedded::Version,
    on_each_version,
    on_postgres::{Declared, Site, VERBS, delivered},
    postgres::{Cluster, Session, message},
};

const AGENTS: usize = 100;
/// How often a process is killed on each version, where nothing else is asked
/// for.
const KILLS: usize = 50;
/// Agents of a test that is not about their number.
const FEW: usize = 12;

on_each_version![
    alone:
    kills_leave_nothing_behind_that_the_next_run_does_not_settle,
    what_the_server_still_commits_for_a_dead_process_is_waited_for_and_found,
    what_the_server_gives_up_for_a_dead_process_is_done_again,
    a_departure_that_was_cut_off_between_two_databases_is_finished,
    two_operators_on_the_same_tables_lose_nothing,
];

fn kills_or(modest: usize) -> usize {
    let kills = std::env::var("AGENT_IAC_KILLS");
    kills.map_or(modest, |kills| kills.parse().expect("AGENT_IAC_KILLS is a number"))
}

/// A process that brings a version of the fleet about.
fn program(site: &Site, folder: &Path, version: Version, size: usize) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_apply-on-postgres"));
    program.arg(folder).args([version.to_string(), size.to_string(), site.port.to_string()]);
    program.arg(&site.fleet).args(&site.others);
    program
}

/// Plants what is not ours: roles, a grant by somebody who is not the owner,
/// default privileges, memberships, settings.
async fn plant(cluster: &Cluster) {
    let root = cluster.admin_of("app").await;
    root.run(
        "CREATE ROLE other_lender; CREATE ROLE other_borrower LOGIN PASSWORD 'theirs';
        CREATE ROLE other_group NOINHERIT CREATEDB CONNECTION LIMIT 7;
        COMMENT ON ROLE other_group IS 'mind the dog';
        GRANT other_group TO other_borrower WITH ADMIN OPTION;
        ALTER ROLE other_borrower SET work_mem = '7MB';
        ALTER ROLE other_borrower IN DATABASE app SET search_path = app, pg_catalog;
        ALTER ROLE other_lender VALID UNTIL '2031-01-31';
        SET ROLE app_owner;
        GRANT USAGE ON SCHEMA app TO other_lender WITH GRANT OPTION;
        GRANT SELECT, UPDATE ON app.t0, app.t1, app.t2 TO other_lender WITH GRANT OPTION;
        GRANT SELECT (n), UPDATE (word) ON app.t3 TO other_group;
        ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO other_borrower;
        ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
        SET ROLE other_lender;
        GRANT USAGE ON SCHEMA app TO other_borrower;
        GRANT SELECT ON app.t0, app.t1 TO other_borrower;
        GRANT UPDATE ON app.t1 TO other_group WITH GRANT OPTION;
        RESET ROLE",
    )
    .await;
}

/// The catalogs as text (roles with their verifiers, memberships, settings,
/// privileges, owners), without what concerns a role whose name begins as `mine`
/// says and without the engine's own schema.
async fn of_others(cluster: &Cluster, mine: &str) -> Vec<String> {
    let acl = |catalog: &str, name: &str, owner: &str, acl: &str, kind: &str| {
        format!(
            "SELECT '{catalog} ' || {name} || ' ' || item::text
            FROM {catalog} x, unnest(coalesce({acl}, acldefault('{kind}', {owner}))) item
            WHERE {name} !~ 'agent_iac|^pg_toast' AND item::text !~ '^{mine}'
            UNION ALL
            SELECT '{catalog} ' || {name} || ' is of ' || pg_get_userbyid({owner})
            FROM {catalog} x WHERE {name} !~ 'agent_iac|^pg_toast'"
        )
    };
    let named =
        "(SELECT n.nspname || '.' || x.relname FROM pg_namespace n WHERE n.oid = x.relnamespace)";
    let queries = [
        // Each attribute, the verifier and the oid included.
        format!(
            "SELECT 'role ' || a::text || ' ' || coalesce(shobj_description(a.oid, 'pg_authid'), '')
            FROM pg_authid a WHERE rolname !~ '^{mine}'"
        ),
        format!(
            "SELECT 'member ' || row_to_json(m)::text FROM pg_auth_members m
            WHERE NOT EXISTS (SELECT FROM pg_roles r
                WHERE r.oid IN (m.roleid, m.member) AND r.rolname ~ '^{mine}')"
        ),
        format!(
            "SELECT 'setting ' || s::text FROM pg_db_role_setting s
            WHERE NOT EXISTS (SELECT FROM pg_roles r
                WHERE r.oid = s.setrole AND r.rolname ~ '^{mine}')"
        ),
        "SELECT 'future ' || d::text FROM pg_default_acl d".to_owned(),
        acl("pg_class", named, "x.relowner", "x.relacl", "r"),
        acl("pg_namespace", "x.nspname::text", "x.nspowner", "x.nspacl", "n"),
        acl("pg_database", "x.datname::text", "x.datdba", "x.datacl", "d"),
        acl("pg_proc", "x.oid::regprocedure::text", "x.proowner", "x.proacl", "f"),
        format!(
            "SELECT 'column ' || attrelid::regclass || ' ' || attname || ' ' || item::text
            FROM pg_attribute, unnest(attacl) item WHERE item::text !~ '^{mine}'"
        ),
    ];
    let root = cluster.admin_of("app").await;
    let mut all = Vec::new();
    for query in queries {
        all.extend(root.rows(&format!("SELECT * FROM ({query}) AS q (line) ORDER BY 1")).await);
    }
    all
}

fn lines_that_differ(before: &[String], after: &[String]) -> Vec<String> {
    let (old, new): (BTreeSet<&String>, BTreeSet<&String>) =
        (before.iter().collect(), after.iter().collect());
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    gone.chain(new.difference(&old).map(|line| format!("+ {line}"))).collect()
}

async fn kills_leave_nothing_behind_that_the_next_run_does_not_settle(cluster: &Cluster) {
    let mut random = Random::seeded();
    let whole = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(cluster, "load");
    site.prepare(cluster, AGENTS).await;
    plant(cluster).await;
    let before = of_others(cluster, "load_[0-9]").await;

    let ledger = Ledger::of(folder.path(), "load");
    let start = |version| program(&site, folder.path(), version, AGENTS);
    let kills = kills_or(KILLS);
    let tally = kill_again_and_again(&mut random, kills, &ledger, start, |_| ());
    let in_doubt = tally.in_doubt;
    assert!(in_doubt * 10 >= kills * 2, "only {in_doubt} kills left a step in doubt");
    Applying::start(start(Version::Full)).ends();

    println!("{kills} kills and the last run took {:?}", whole.elapsed());
    let after = of_others(cluster, "load_[0-9]").await;
    assert_eq!(lines_that_differ(&before, &after), [""; 0], "what is not ours was touched");
    inspect(cluster, &site, folder.path(), Version::Full, AGENTS).await;
    println!("the whole took {:?}", whole.elapsed());
}

/// Compares everything with what is declared, by SQL and by the vault.
async fn inspect(cluster: &Cluster, site: &Site, folder: &Path, version: Version, size: usize) {
    let deployment = site.deployment(folder, version, size).unwrap();
    inspect_all(cluster, site, &deployment, &site.declared(version, size)).await;
}

async fn inspect_all(
    cluster: &Cluster,
    site: &Site,
    deployment: &Deployment,
    declared: &[Declared],
) {
    let root = cluster.admin_of("app").await;
    let fleet = &site.fleet;
    let state = block_on(deployment.state()).unwrap();

    // Exactly the declared roles, with one login each, which is in the vault.
    let logins: BTreeMap<&str, String> = declared
        .iter()
        .map(|clerk| (clerk.name.as_str(), delivered(deployment, &clerk.name).unwrap().user))
        .collect();
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for (name, login) in &logins {
        wanted.extend([format!("{name}|f"), format!("{login}|t")]);
    }
    let roles =
        format!("SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname ~ '^{fleet}_[0-9]'");
    let roles: BTreeSet<String> = root.rows(&roles).await.into_iter().collect();
    assert_eq!(roles, wanted);

    // Exactly their memberships, beside what the administrators hold of them.
    let members = format!(
        "SELECT r.rolname || '|' || m.rolname FROM pg_auth_members a
        JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
        WHERE r.rolname ~ '^{fleet}_[0-9]' AND m.rolname <> 'iac_admins'
            OR m.rolname ~ '^{fleet}_[0-9]'"
    );
    let members: Vec<String> = root.rows(&members).await;
    let wanted: BTreeSet<String> =
        logins.iter().map(|(name, login)| format!("{name}|{login}")).collect();
    assert_eq!(members.len(), wanted.len(), "{members:?}");
    assert_eq!(members.into_iter().collect::<BTreeSet<_>>(), wanted);

    // Exactly the declared grants, each once, whoever gave it.
    let grants = format!(
        "SELECT grantee::regrole || '|' || object || '|'
            || string_agg(privilege_type, ' ' ORDER BY privilege_type)
        FROM (
            SELECT relname, (aclexplode(relacl)).* FROM pg_class
            UNION ALL SELECT nspname, (aclexplode(nspacl)).* FROM pg_namespace
            UNION ALL SELECT datname, (aclexplode(datacl)).* FROM pg_database
            UNION ALL SELECT proname, (aclexplode(proacl)).* FROM pg_proc
            UNION ALL SELECT attname, (aclexplode(attacl)).* FROM pg_attribute
            UNION ALL SELECT 'future', (aclexplode(defaclacl)).* FROM pg_default_acl
        ) AS all_of_them (object)
        WHERE grantee IN (SELECT oid FROM pg_roles WHERE rolname ~ '^{fleet}_[0-9]')
        GROUP BY grantee, object ORDER BY 1"
    );
    let grants: BTreeSet<String> = root.rows(&grants).await.into_iter().collect();
    let wanted: BTreeSet<String> = declared
        .iter()
        .flat_map(|Declared { name, table, verbs }| {
            let verbs = verbs.iter().copied().collect::<Vec<_>>().join(" ");
            [format!("{name}|{table}|{verbs}"), format!("{name}|app|USAGE")]
        })
        .collect();
    assert_eq!(grants, wanted);

    // The ledger knows each role and login that there is, and no other.
    let oids = format!("SELECT oid FROM pg_roles WHERE rolname ~ '^{fleet}_[0-9]'");
    let oids: BTreeSet<String> = root.rows(&oids).await.into_iter().collect();
    let objects =
        state.records.iter().filter_map(|(at, record)| Some((at, record.object.as_ref()?)));
    let recorded: BTreeSet<String> = objects
        .filter(|(address, _)| {
            let address = address.to_string();
            address.ends_with(".role") || address.ends_with(".login")
        })
        .map(|(_, object)| object.id.clone())
        .collect();
    assert_eq!(recorded, oids);
    for (address, record) in &state.records {
        assert!(record.open.is_none(), "{address} is in doubt: {record:?}");
        assert!(record.deposed.is_empty(), "{address} has an old object: {record:?}");
    }
    assert_eq!(state.runs, BTreeMap::new(), "a run is not ended");
    assert_eq!(block_on(deployment.ledger().leases()).unwrap(), []);

    // The registry knows exactly the same.
    let marked = format!(
        "SELECT id FROM agent_iac.objects
        WHERE type IN ('postgres.role', 'postgres.login') AND fleet = '{fleet}'"
    );
    assert_eq!(root.rows(&marked).await.into_iter().collect::<BTreeSet<_>>(), oids);

    // Each login does what is declared and nothing else.
    let first = &declared[0];
    let login = delivered(deployment, &first.name).unwrap();
    let refusal = cluster.refusal(&login.user, "a random one", "app").await;
    assert_eq!(refusal.code, "28P01");
    for (clerk, next) in declared.iter().zip(declared.iter().cycle().skip(1)) {
        let login = delivered(deployment, &clerk.name).unwrap();
        let session = cluster.connect(&login.user, &login.password, "app").await;
        let session =
            session.unwrap_or_else(|error| panic!("{}: {}", login.user, message(&error).text));
        for verb in VERBS {
            let told = try_out(&session, verb, &clerk.table).await;
            let wanted = if clerk.verbs.contains(verb) { "done" } else { "42501" };
            assert_eq!(told, wanted, "{} does {verb} on {}", clerk.name, clerk.table);
            if next.table != clerk.table {
                let told = try_out(&session, verb, &next.table).await;
                assert_eq!(told, "42501", "{} does {verb} on {}", clerk.name, next.table);
            }
        }
    }

    // The history holds, and a plan has nothing left to do.
    let verified = block_on(ledger::verify(&**deployment.ledger(), None)).unwrap();
    assert_eq!(verified.head, state.head);
    rests(deployment);
}

/// Does something to a table, and takes it back.
async fn try_out(session: &Session, verb: &str, table: &str) -> String {
    let statement = match verb {
        "SELECT" => format!("SELECT count(*) FROM app.{table}"),
        "INSERT" => format!("INSERT INTO app.{table} DEFAULT VALUES"),
        "UPDATE" => format!("UPDATE app.{table} SET n = 2"),
        "DELETE" => format!("DELETE FROM app.{table}"),
        verb => panic!("{verb}"),
    };
    match session.batch_execute(&format!("BEGIN; {statement}; ROLLBACK")).await {
        Ok(()) => "done".into(),
        Err(error) => {
            session.run("ROLLBACK").await;
            message(&error).code
        }
    }
}

fn rests(deployment: &Deployment) {
    let plan = block_on(deployment.plan(&PlanRequest::default())).unwrap();
    assert!(plan.is_empty() && plan.blocked.is_empty() && plan.unread.is_empty(), "{plan:?}");
    assert!(plan.in_doubt.is_empty() && plan.drift.is_empty(), "{plan:?}");
}

/// Waits until a query has a row, while a process is at work.
async fn soon(session: &Session, process: &mut Applying, query: &str) {
    let begun = Instant::now();
    while session.rows(query).await.is_empty() {
        process.is_at_work();
        assert!(begun.elapsed() < PATIENCE, "`{query}` has no row for {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The run that began last.
fn last_run(ledger: &Ledger, since: u64) -> String {
    let begun = ledger.begun_since(since);
    let state = ledger.left().unwrap().state;
    let open: Vec<String> =
        begun.keys().filter(|run| state.runs.contains_key(*run)).map(ToString::to_string).collect();
    assert_eq!(open.len(), 1, "{open:?}");
    open.into_iter().next().unwrap()
}

async fn what_the_server_still_commits_for_a_dead_process_is_waited_for_and_found(
    cluster: &Cluster,
) {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(cluster, "late");
    site.prepare(cluster, FEW).await;
    let start = |version| Applying::start(program(&site, folder.path(), version, FEW));
    let ledger = Ledger::of(folder.path(), "late");
    start(Version::Half).ends();
    let root = cluster.admin_of("app").await;
    let holders = [cluster.admin_of("app").await, cluster.admin_of("app").await];
    // A commit waits for the test, as for a slow disk: until it ends, it is open
    // whether there is what it refers to.
    root.run("CREATE TABLE public.held (n int PRIMARY KEY); INSERT INTO held VALUES (0), (1)")
        .await;
    for (kind, wait) in [("role", 11), ("grant", 2), ("login", 2)] {
        start(Version::Half).ends();
        let since = ledger.left().unwrap().state.head.sequence;
        for n in [0, 1] {
            root.run(&format!(
                "ALTER TABLE agent_iac.claims ADD COLUMN hold_{n} int GENERATED ALWAYS AS
                    (CASE WHEN outcome ->> 'type' = 'postgres.{kind}' THEN {n} END) STORED;
                ALTER TABLE agent_iac.claims ADD FOREIGN KEY (hold_{n})
                    REFERENCES public.held DEFERRABLE INITIALLY DEFERRED"
            ))
            .await;
            let hold = format!("BEGIN; SELECT FROM public.held WHERE n = {n} FOR UPDATE");
            holders[n].run(&hold).await;
        }
        let before = root.value("SELECT count(*) FROM pg_roles").await;
        let mut process = start(Version::Full);
        soon(
            &root,
            &mut process,
            "SELECT pid FROM pg_stat_activity
            WHERE usename = 'late_apply' AND query = 'COMMIT' AND wait_event_type = 'Lock'",
        )
        .await;
        assert!(process.kill(), "it had ended");
        let killed = Instant::now();
        let run = last_run(&ledger, since);
        assert!(ledger.in_doubt() > 0, "nothing is in doubt");
        if kind == "role" {
            assert_eq!(root.value("SELECT count(*) FROM pg_roles").await, before);
        }

        let mut next = start(Version::Full);
        // It waits for the claims of the dead run.
        soon(
            &root,
            &mut next,
            "SELECT pid FROM pg_locks
            WHERE locktype = 'advisory' AND classid = 1634167137 AND NOT granted",
        )
        .await;
        // In two parts, each of which is shorter than anybody waits for a lock.
        for (part, holder) in (1..).zip(&holders) {
            let until = Duration::from_secs(wait) * part / 2;
            tokio::time::sleep(until.saturating_sub(killed.elapsed())).await;
            assert!(next.is_alive(), "it did not wait");
            holder.run("ROLLBACK").await;
        }
        next.ends();

        let done = format!(
            "SELECT count(*) FROM agent_iac.claims
            WHERE outcome ->> 'type' = 'postgres.{kind}' AND run = '{run}'"
        );
        assert_ne!(root.value(&done).await, "0", "the dead run did nothing of that kind");
        inspect(cluster, &site, folder.path(), Version::Full, FEW).await;
        root.run("ALTER TABLE agent_iac.claims DROP COLUMN hold_0, DROP COLUMN hold_1").await;
    }
}

async fn what_the_server_gives_up_for_a_dead_process_is_done_again(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(cluster, "early");
    site.prepare(cluster, FEW).await;
    plant(cluster).await;
    let start = |version| Applying::start(program(&site, folder.path(), version, FEW));
    let ledger = Ledger::of(folder.path(), "early");
    let (root, other) = (cluster.admin_of("app").await, cluster.admin_of("app").await);
    other.run("SET ROLE app_owner").await;
    let waits = "SELECT pid FROM pg_stat_activity
        WHERE usename = 'early_apply' AND wait_event IN ('transactionid', 'tuple')";

    // Somebody else's change of the same tables: it is waited for, or the write
    // is repeated, and nobody hears of it.
    for (version, privilege) in [(Version::Full, "TRIGGER"), (Version::Half, "TRUNCATE")] {
        other.run(&format!("BEGIN; GRANT {privilege} ON app.t0, app.t2 TO other_group")).await;
        let mut process = start(version);
        soon(&root, &mut process, waits).await;
        other.run("COMMIT").await;
        process.ends();
        inspect(cluster, &site, folder.path(), version, FEW).await;
    }

    for end in ["COMMIT", "ROLLBACK"] {
        start(Version::Half).ends();
        other.run("BEGIN; GRANT REFERENCES ON app.t0, app.t2 TO other_group").await;
        let mut process = start(Version::Full);
        soon(&root, &mut process, waits).await;
        assert!(process.kill(), "it had ended");
        assert!(ledger.in_doubt() > 0, "nothing is in doubt");
        let mut next = start(Version::Full);
        soon(
            &root,
            &mut next,
            "SELECT pid FROM pg_locks
            WHERE locktype = 'advisory' AND classid = 1634167137 AND NOT granted",
        )
        .await;
        assert!(next.is_alive(), "it did not wait");
        other.run(end).await;
        next.ends();
        inspect(cluster, &site, folder.path(), Version::Full, FEW).await;
    }
    let of_the_other = "SELECT privilege_type FROM pg_class, aclexplode(relacl)
        WHERE relname = 't0' AND grantee = 'other_group'::regrole ORDER BY 1";
    assert_eq!(root.rows(of_the_other).await, ["REFERENCES", "TRIGGER", "TRUNCATE"]);
}

async fn a_departure_that_was_cut_off_between_two_databases_is_finished(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(cluster, "leaving").with_archives("archive_a", "archive_b");
    site.prepare(cluster, FEW).await;
    let start = |version| Applying::start(program(&site, folder.path(), version, FEW));
    start(Version::Full).ends();
    let deployment = site.deployment(folder.path(), Version::Full, FEW).unwrap();
    let login = delivered(&deployment, &site.archivist()).unwrap();
    let mut sessions = Vec::new();
    for database in ["archive_a", "archive_b"] {
        let session = cluster.connect(&login.user, &login.password, database).await.unwrap();
        session.run("CREATE TABLE app.kept (n int); INSERT INTO app.kept VALUES (1)").await;
        sessions.push(session);
    }
    let (first, second) =
        (cluster.admin_of("archive_a").await, cluster.admin_of("archive_b").await);
    let owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 'kept'";
    for database in [&first, &second] {
        assert_eq!(database.value(owner).await, site.archivist());
    }

    // Who reads a table keeps it from going to somebody else.
    let reader = cluster.admin_of("archive_b").await;
    reader.run("BEGIN; SELECT FROM app.kept").await;
    let mut process = start(Version::Half);
    soon(
        &second,
        &mut process,
        "SELECT pid FROM pg_stat_activity WHERE usename = 'leaving_apply'
            AND datname = 'archive_b' AND wait_event_type = 'Lock'",
    )
    .await;
    assert!(process.kill(), "it had ended");
    assert!(Ledger::of(folder.path(), "leaving").in_doubt() > 0, "nothing is in doubt");
    assert_eq!(first.value(owner).await, "app_owner", "this half was done");
    assert_eq!(second.value(owner).await, site.archivist(), "and this one was not");
    for session in sessions {
        assert!(session.batch_execute("SELECT").await.is_err(), "a session was not ended");
    }
    cluster.connect(&login.user, &login.password, "archive_a").await.map(drop).unwrap_err();

    reader.run("ROLLBACK").await;
    start(Version::Half).ends();
    for database in [&first, &second] {
        assert_eq!(database.value(owner).await, "app_owner");
        assert_eq!(database.value("SELECT count(*) FROM app.kept").await, "1");
    }
    let left = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'leaving_archivist%'";
    assert_eq!(first.rows(left).await, [""; 0]);
    let nameless = "SELECT refobjid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass
        AND NOT EXISTS (SELECT FROM pg_roles WHERE oid = refobjid)";
    assert_eq!(first.rows(nameless).await, [""; 0]);
    inspect(cluster, &site, folder.path(), Version::Half, FEW).await;
}

async fn two_operators_on_the_same_tables_lose_nothing(cluster: &Cluster) {
    let sites = [Site::new(cluster, "left"), Site::new(cluster, "right")];
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for site in &sites {
        site.prepare(cluster, AGENTS).await;
    }
    plant(cluster).await;
    let before = of_others(cluster, "(left|right)_[0-9]").await;
    for version in [Version::Full, Version::Changed, Version::Half, Version::Full] {
        let of = |n: usize| program(&sites[n], folders[n].path(), version, AGENTS);
        let [left, right] = [Applying::start(of(0)), Applying::start(of(1))];
        // Whoever fails says why.
        left.ends();
        right.ends();
    }
    let after = of_others(cluster, "(left|right)_[0-9]").await;
    assert_eq!(lines_that_differ(&before, &after), [""; 0], "what is not theirs was touched");
    for (site, folder) in sites.iter().zip(&folders) {
        inspect(cluster, site, folder.path(), Version::Full, AGENTS).await;
    }
    let grants: usize = ["left", "right"]
        .into_iter()
        .zip(&folders)
        .map(|(fleet, folder)| Ledger::of(folder.path(), fleet).done("postgres.grant"))
        .sum();
    println!("{grants} grants were written");
    assert!(grants >= 1_000, "only {grants} grants were written");
}
