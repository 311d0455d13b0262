//! A whole cluster that grew by hand is imported, as text and as Rust: nothing
//! is written, nothing would change, and what is enforced later is exactly
//! what was found.

use std::{fs, path::Path, process::Command};

use agent_iac::{
    config::{self, Types},
    import::{Accountable, Draft, SurveyRequest},
};

use super::*;

on_each_version![a_cluster_that_grew_by_hand_is_imported_and_then_enforced];

/// How many roles there are.
const ROLES: usize = 200;
/// The version whose import is compiled as Rust: its servers know every
/// privilege, and one compilation takes as long as all tests of a version.
const COMPILED: u32 = 18;

/// Roles with attributes, settings, passwords and memberships of every kind.
const PEOPLE: &str = "
    SELECT setseed(0.42);
    DO $$ DECLARE n int; BEGIN FOR n IN 0..199 LOOP
        EXECUTE 'CREATE ROLE large_r' || n
            || CASE WHEN n % 3 = 0 THEN ' LOGIN PASSWORD ''kept-' || n || '''' ELSE '' END
            || CASE WHEN n % 5 = 0 THEN ' NOINHERIT' ELSE '' END
            || CASE WHEN n % 7 = 0 THEN ' CREATEDB' ELSE '' END
            || CASE WHEN n % 11 = 0 THEN ' CONNECTION LIMIT ' || n ELSE '' END
            || CASE WHEN n % 13 = 0 THEN ' VALID UNTIL ''2031-02-03 04:05:06+00''' ELSE '' END;
        IF n % 6 = 0 THEN
            EXECUTE 'ALTER ROLE large_r' || n || ' SET search_path = s1, \"$user\", public';
        END IF;
        IF n % 9 = 0 THEN
            EXECUTE 'ALTER ROLE large_r' || n || ' IN DATABASE large_b SET work_mem = ''8MB''';
        END IF;
        IF n > 0 THEN
            EXECUTE format('GRANT large_r%s TO large_r%s%s', (random() * (n - 1))::int, n,
                CASE WHEN n % 8 = 0 THEN ' WITH ADMIN OPTION' ELSE '' END);
        END IF;
    END LOOP; END $$;
    GRANT pg_monitor TO large_r4; GRANT pg_read_all_data TO large_r5";

/// Memberships as they are from 16 on.
const OPTIONS: &str = "
    GRANT large_r1 TO large_r150 WITH INHERIT FALSE, SET TRUE;
    GRANT large_r2 TO large_r151 WITH SET FALSE, ADMIN TRUE, INHERIT TRUE;
    SET ROLE large_r151; GRANT large_r2 TO large_r152; RESET ROLE";

/// Things of every kind, in one database.
const THINGS: &str = "
    DO $$ DECLARE n int; BEGIN FOR n IN 0..9 LOOP
        EXECUTE format('CREATE SCHEMA s%s AUTHORIZATION large_owner', n);
        EXECUTE format('CREATE TABLE s%s.t0 (a int PRIMARY KEY, \"B c\" text)', n);
        EXECUTE format('CREATE TABLE s%s.t1 (a int, b int)', n);
        EXECUTE format('ALTER TABLE s%s.t1 ENABLE ROW LEVEL SECURITY', n);
        EXECUTE format('CREATE VIEW s%s.v AS SELECT 1 AS a', n);
        EXECUTE format('CREATE SEQUENCE s%s.q', n);
        EXECUTE format('CREATE TYPE s%s.e AS ENUM (''x'')', n);
        EXECUTE format('CREATE FUNCTION s%s.f(integer, text[]) RETURNS int RETURN 1', n);
        EXECUTE format('CREATE PROCEDURE s%s.p() LANGUAGE sql AS ''''', n);
        EXECUTE format('ALTER TABLE s%s.t0 OWNER TO large_owner', n);
        EXECUTE format('ALTER TABLE s%s.t1 OWNER TO large_owner', n);
    END LOOP; END $$";

/// Grants of every kind on them, policies, default privileges and owners.
const GRANTS: &str = "
    DO $$
    DECLARE
        n int; s text; r text; what text;
        all_of text[] := ARRAY[
            'SELECT, INSERT ON TABLE %1$s.t0', 'ALL ON TABLE %1$s.t1', 'SELECT ON TABLE %1$s.v',
            'SELECT (a), UPDATE (\"B c\") ON TABLE %1$s.t0', 'USAGE, SELECT ON SEQUENCE %1$s.q',
            'USAGE ON SCHEMA %1$s', 'USAGE, CREATE ON SCHEMA %1$s', 'USAGE ON TYPE %1$s.e',
            'EXECUTE ON FUNCTION %1$s.f(integer, text[])', 'EXECUTE ON PROCEDURE %1$s.p()'];
    BEGIN FOR n IN 0..999 LOOP
        s := 's' || n % 10; r := 'large_r' || (random() * 199)::int;
        what := format(all_of[1 + (random() * 9)::int], s);
        IF random() < 0.5 AND what ~ 'TABLE' AND what !~ '[.]v' THEN SET LOCAL ROLE large_owner; END IF;
        EXECUTE format('GRANT %s TO %I%s', what, r,
            CASE WHEN random() < 0.2 THEN ' WITH GRANT OPTION' ELSE '' END);
        SET LOCAL ROLE NONE;
        IF n % 20 = 0 THEN
            EXECUTE format('CREATE POLICY p%s ON %s.t1 FOR %s TO %I USING (a > %s)', n, s,
                (ARRAY['ALL', 'SELECT', 'UPDATE', 'DELETE'])[1 + n / 20 % 4], r, n);
        END IF;
        IF n % 25 = 0 THEN
            EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE large_owner IN SCHEMA %s
                GRANT SELECT ON TABLES TO %I', s, r);
            EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE large_owner
                GRANT USAGE ON SEQUENCES TO %I', r);
        END IF;
    END LOOP; END $$";

/// What belongs to the cluster, or is there once.
const SINGLES: &str = "
    CREATE FOREIGN DATA WRAPPER large_w; CREATE SERVER large_far FOREIGN DATA WRAPPER large_w;
    SELECT lo_create(4711);
    GRANT USAGE ON FOREIGN DATA WRAPPER large_w TO large_r7;
    GRANT USAGE ON FOREIGN SERVER large_far TO large_r8 WITH GRANT OPTION;
    GRANT CREATE ON TABLESPACE large_space TO large_r9;
    GRANT SELECT, UPDATE ON LARGE OBJECT 4711 TO large_r10;
    GRANT SET ON PARAMETER log_min_duration_statement TO large_r11;
    GRANT CREATE, TEMP ON DATABASE large TO large_r12;
    GRANT CONNECT ON DATABASE large_b TO large_r13;
    GRANT USAGE ON LANGUAGE plpgsql TO large_r14;
    CREATE TABLE s1.of_one (a int); ALTER TABLE s1.of_one OWNER TO large_r20;
    ALTER FUNCTION s2.f(integer, text[]) OWNER TO large_r21; ALTER SCHEMA s9 OWNER TO large_r22";

/// Everything of a database that says who may do what, row by row, and whether
/// there is anything of ours.
const CATALOG: &str = "
    SELECT 'a ' || x::text FROM pg_authid x WHERE rolname ~ '^large_'
    UNION ALL SELECT 'm ' || x::text FROM pg_auth_members x
    UNION ALL SELECT 's ' || x::text FROM pg_db_role_setting x
    UNION ALL SELECT 'c ' || oid || relowner || coalesce(relacl::text, '') FROM pg_class
        WHERE relnamespace::regnamespace::text !~ '^pg_'
    UNION ALL SELECT 't ' || attrelid || attname || attacl::text FROM pg_attribute WHERE attacl IS NOT NULL
    UNION ALL SELECT 'n ' || x::text FROM pg_namespace x WHERE nspname !~ '^pg_(toast_)?temp'
    UNION ALL SELECT 'p ' || oid || proowner || coalesce(proacl::text, '') FROM pg_proc
    UNION ALL SELECT 'y ' || oid || typowner || coalesce(typacl::text, '') FROM pg_type
    UNION ALL SELECT 'l ' || x::text FROM pg_language x
    UNION ALL SELECT 'w ' || x::text FROM pg_foreign_data_wrapper x
    UNION ALL SELECT 'f ' || x::text FROM pg_foreign_server x
    UNION ALL SELECT 'o ' || x::text FROM pg_largeobject_metadata x
    UNION ALL SELECT 'g ' || x::text FROM pg_parameter_acl x
    UNION ALL SELECT 'b ' || oid || spcname || coalesce(spcacl::text, '') FROM pg_tablespace
    UNION ALL SELECT 'd ' || datname || datdba || coalesce(datacl::text, '') FROM pg_database
    UNION ALL SELECT 'e ' || x::text FROM pg_default_acl x
    UNION ALL SELECT 'r ' || oid || polname || polrelid || polcmd::text || polroles::text
        || coalesce(pg_get_expr(polqual, polrelid), '') FROM pg_policy
    UNION ALL SELECT 'h ' || x::text FROM pg_shdepend x
    ORDER BY 1";

async fn picture(world: &World) -> Vec<String> {
    let mut rows = world.rows(CATALOG).await;
    rows.extend(world.cluster.sql("large_b", CATALOG).await);
    rows
}

/// A cluster with all of that.
async fn grown(cluster: &'static Cluster) -> World {
    let mut world = World::new(cluster, "large").await;
    cluster.database("large_b").await;
    world.run("SET log_statement = 'none'").await;
    world.run("SET allow_in_place_tablespaces = on").await;
    world.run("CREATE TABLESPACE large_space LOCATION ''").await;
    for sql in [PEOPLE, THINGS, GRANTS, SINGLES] {
        world.run(sql).await;
    }
    if cluster.version() >= 16 {
        world.run(OPTIONS).await;
    }
    let there = cluster.admin_of("large_b").await;
    for sql in [THINGS, GRANTS] {
        there.run(sql).await;
    }
    world.others.push("large_b".into());
    world
}

fn survey() -> SurveyRequest {
    SurveyRequest::default().provider("postgres").only("large_r*")
}

/// The one compiled library that this program is linked with.
fn library() -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--offline", "--lib", "--message-format", "json"]);
    cargo.args(["-p", "agent-iac-tests", "--features", "live"]);
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let lines = String::from_utf8(built.stdout).unwrap();
    let artifacts = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
    let file = |artifact: serde_json::Value| {
        if artifact["target"]["name"] != "agent_iac" {
            return None;
        }
        let files = artifact["filenames"].as_array()?.iter();
        let file = files.filter_map(serde_json::Value::as_str).find(|file| file.ends_with(".rlib"));
        file.map(str::to_owned)
    };
    artifacts.filter_map(file).next_back().expect("the library was built")
}

/// Plans the fleet that was imported, and says what it would do.
const PROGRAM: &str = r#"
mod imported;

use std::sync::Arc;
use agent_iac::{
    clock::block_on,
    deployment::{Deployment, PlanRequest},
    providers::postgres::{Password, PostgresProvider, Principal},
};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, endpoint, file, folder] = &words[..] else { panic!("{words:?}") };
    let observe = Principal::new("large_observe", Password::file(file)).unwrap();
    let provider = PostgresProvider::new(endpoint.parse().unwrap()).observe(observe).database("large_b");
    let deployment = Deployment::embedded(imported::fleet(), "test", folder)
        .unwrap()
        .with_provider("postgres", Arc::new(provider));
    let plan = block_on(deployment.plan(&PlanRequest::default())).unwrap();
    let writing = plan.steps.iter().filter(|step| step.action.writes()).count();
    println!("{} agents, {} steps, {writing} that write", plan.agents.len(), plan.steps.len());
    println!("{:?} {:?}", plan.blocked, plan.unread);
}
"#;

/// Compiles an import with a program around it, and runs it.
fn compiled(world: &World, rust: &str, folder: &Path) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("imported.rs"), rust).unwrap();
    fs::write(folder.join("main.rs"), PROGRAM).unwrap();
    let library = library();
    let deps = Path::new(&library).parent().unwrap();
    let deps = if deps.ends_with("deps") { deps.to_owned() } else { deps.join("deps") };
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--edition", "2024", "-Dwarnings", "main.rs", "-o", "program"]).current_dir(folder);
    rustc.arg("--extern").arg(format!("agent_iac={library}"));
    let made = rustc.arg("-L").arg(format!("dependency={}", deps.display())).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let password = folder.join("password");
    fs::write(&password, password_of("large", "observe")).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let endpoint = format!("postgresql://127.0.0.1:{}/large", world.cluster.port());
    let ran = Command::new(folder.join("program"))
        .arg(endpoint)
        .args([&password, &folder.join("kept")])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

async fn a_cluster_that_grew_by_hand_is_imported_and_then_enforced(shared: &'static Cluster) {
    let cluster = own(shared.version(), &[]);
    let world = grown(cluster).await;
    let before = picture(&world).await;
    assert!(before.len() > 5_000, "there is much: {}", before.len());

    // First it is only reported.
    let deployment = world.deployment(world.fleet());
    let survey = deployment.survey(&survey()).await.unwrap();
    assert!(survey.unlisted.is_empty(), "{:?}", survey.unlisted);
    let accountable = Accountable::new("team:billing", "2030-06-30".parse().unwrap());
    let draft = Draft::of(&survey, &accountable).unwrap();
    let aside: Vec<String> =
        draft.aside().map(|one| format!("{} {}: {}", one.resource_type, one.name, one.why)).collect();
    println!("ASIDE {}", aside.join("\nASIDE "));
    println!("agents {} of {ROLES}", draft.agents());
    let text = draft.toml();
    let fleet = config::parse(&text, "imported.toml", &Types::builtin());
    let fleet = fleet.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let adopting = deployment.with_fleet(fleet);
    let plan = planned(&adopting).await;
    let writing: Vec<_> = plan.steps.iter().filter(|step| step.action.writes()).collect();
    assert!(writing.is_empty(), "{writing:#?}");
    assert!(plan.blocked.is_empty() && plan.unread.is_empty(), "{}", unread(&plan));
    assert_eq!(plan.steps.len(), draft.resources(), "each is adopted");
    assert!(picture(&world).await == before, "importing and planning write nothing");

    if cluster.version() == COMPILED {
        let folder = world.folder.path().join("compiled");
        let rust = draft.rust("agent_iac::providers::postgres");
        let said = compiled(&world, &rust, &folder);
        let steps = draft.resources();
        assert_eq!(said, format!("{} agents, {steps} steps, 0 that write\n[] {{}}\n", draft.agents()));
    }

    // Then it is recorded here, and nothing is done there.
    let report = apply_plan(&adopting, plan).await;
    assert!(report.is_complete(), "{}", shown(&report));
    assert!(picture(&world).await == before, "adopting writes nothing");
    let plan = planned(&adopting).await;
    assert!(plan.is_empty() && plan.drift.is_empty(), "{}", unread(&plan));

    // And once plans are quiet, what is wider than that is taken back.
    let text = text.replace("on_drift = \"report\"", "on_drift = \"revert_widening\"");
    let fleet = config::parse(&text, "imported.toml", &Types::builtin()).unwrap();
    let enforcing = adopting.with_fleet(fleet);
    assert!(planned(&enforcing).await.steps.is_empty());
    let table = "SELECT relacl FROM pg_class WHERE oid = 's3.t0'::regclass";
    world.run("CREATE ROLE @_admins; GRANT @_admins TO @_apply; GRANT @_owner TO @_admins").await;
    world.run("GRANT CREATE ON DATABASE @ TO @_admins; GRANT CREATE ON DATABASE @_b TO @_admins").await;
    let list = world.value(table).await;
    world.run("SET ROLE @_owner; GRANT TRUNCATE ON s3.t0 TO @_r30; RESET ROLE").await;
    assert_ne!(world.value(table).await, list);
    let plan = planned(&enforcing).await;
    assert!(!plan.is_empty() || !plan.undeclared.is_empty(), "the grant is found");
    let report = enforcing.revert_drift(&operator()).await.unwrap();
    assert_eq!(world.value(table).await, list, "{}", shown(&report));
}
