//! What planning and applying cost on a real PostgreSQL, and what of that is
//! the server's: roles with four grants each, with and without logins, beside
//! roles of somebody else's.
//!
//! ```text
//! cargo bench -p agent-iac-benches --features live --bench postgres
//! cargo bench -p agent-iac-benches --features live --bench postgres -- 18 1000
//! cargo bench -p agent-iac-benches --features live --bench postgres -- 18 1000,2000,4000
//! cargo bench -p agent-iac-benches --features live --bench postgres -- 18 1000 logins
//! cargo bench -p agent-iac-benches --features live --bench postgres -- 18 1000 foreign
//! ```
//!
//! `tests/servers` installs the servers. Each measurement has a process and a
//! fresh server of its own, which waits for its disk as one in earnest does.
//! Each line begins without a connection, but for those that say otherwise.
//!
//! | column | what is measured |
//! | --- | --- |
//! | in all | the time that passed |
//! | ours | what all threads of the engine and its client computed meanwhile |
//! | server's | what all processes of the server computed meanwhile |
//! | requests | the round trips to the server |
//! | twice as many | how much more both computed for twice as many roles, from the size before |
#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

mod measure;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent_iac::{
    apply::RunContext,
    clock::block_on,
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::Actor,
    plan::SavedPlan,
    prelude::*,
    provider::Reach,
    providers::postgres::{self as pg, Password, PostgresProvider, Principal},
    secret::Secret,
};
use agent_iac_tests::postgres::Cluster;
use tokio::runtime::Runtime;

use self::measure::{apart, arguments, computed, load, peak_memory, ticks, timed, written_bytes};

/// What is measured where nothing else is asked for. A hundred thousand roles
/// take minutes, and are measured where they are asked for.
const USUAL: [(u32, &[usize], &str); 6] = [
    (15, &[1_000, 10_000], "plain"),
    (18, &[1_000, 10_000], "plain"),
    (15, &[1_000], "logins"),
    (18, &[1_000], "logins"),
    (15, &[1_000], "foreign"),
    (18, &[1_000], "foreign"),
];

const USAGE: &str = "\
usage: … --bench postgres [-- VERSION SIZES [plain|logins|foreign]]

  VERSION   of PostgreSQL, as 15
  SIZES     numbers of roles, as 1000 or 1000,10000,100000
  logins    each role has a login, which is delivered and tried
  foreign   100,000 roles of somebody else's are beside
";

/// The mark of a row that a measuring process prints for the one that shows it.
const ROW: &str = "row";

/// How many roles somebody else has.
const FOREIGN: usize = 100_000;

/// How many agents work with the same tables. A table has room for some
/// hundreds of grants.
const TOGETHER: usize = 50;

/// The password of the principals, on a server that nobody else can reach.
const PASSWORD: &str = "of-the-benchmark";

/// A role with four grants.
#[derive(Debug, Agent)]
#[agent(owner = "team:bench", expires = "2099-12-31")]
struct Plain {
    #[input(key)]
    number: String,
    #[input]
    area: String,
    #[input]
    writes: bool,

    #[identity(name = format!("reader_{number}"))]
    role: pg::Role,

    #[permission(to = role, on = pg::Schema::new(area), allow = [pg::Usage])]
    area_of: pg::Grant,
    #[permission(to = role, on = pg::Table::new(area, "invoices"), allow = verbs(*writes))]
    invoices: pg::Grant,
    #[permission(to = role, on = pg::Table::new(area, "customers"), allow = [pg::Select])]
    customers: pg::Grant,
    #[permission(to = role, on = pg::Table::new(area, "notes"), allow = [pg::Select, pg::Insert])]
    notes: pg::Grant,
}

/// The same with a login.
#[derive(Debug, Agent)]
#[agent(owner = "team:bench", expires = "2099-12-31")]
struct Keyed {
    #[input(key)]
    number: String,
    #[input]
    area: String,
    #[input]
    writes: bool,

    #[identity(name = format!("reader_{number}"))]
    role: pg::Role,

    #[permission(to = role, on = pg::Schema::new(area), allow = [pg::Usage])]
    area_of: pg::Grant,
    #[permission(to = role, on = pg::Table::new(area, "invoices"), allow = verbs(*writes))]
    invoices: pg::Grant,
    #[permission(to = role, on = pg::Table::new(area, "customers"), allow = [pg::Select])]
    customers: pg::Grant,
    #[permission(to = role, on = pg::Table::new(area, "notes"), allow = [pg::Select, pg::Insert])]
    notes: pg::Grant,

    #[credential(of = role, deliver = format!("vault:readers/{number}"))]
    login: pg::Login,
}

fn verbs(writes: bool) -> BTreeSet<pg::Privilege> {
    if writes { [pg::Select, pg::Update].into() } else { [pg::Select].into() }
}

fn area(agent: usize) -> String {
    format!("area_{:05}", agent / TOGETHER)
}

/// A fleet of so many agents; the first of them writes where `changed`.
fn fleet(agents: usize, keyed: bool, changed: bool) -> Fleet {
    let mut fleet = Fleet::new("bench");
    fleet.provider("postgres", Reach::Declared).store("vault");
    for agent in 0..agents {
        let (number, area) = (format!("{agent:06}"), area(agent));
        let writes = changed && agent == 0;
        if keyed {
            fleet.add(KeyedInputs { number, area, writes });
        } else {
            fleet.add(PlainInputs { number, area, writes });
        }
    }
    fleet
}

/// A server of its own, with a superuser who looks on.
struct Stage {
    cluster: Cluster,
    runtime: Runtime,
    postmaster: PathBuf,
}

impl Stage {
    fn new(version: u32, agents: usize, foreign: usize) -> Result<Self, Box<dyn Error>> {
        let as_in_earnest = [
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("log_statement", "none"),
            ("shared_buffers", "128MB"),
        ];
        let cluster = Cluster::start_with(version, &as_in_earnest);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let pid = fs::read_to_string(cluster.data().join("postmaster.pid"))?;
        let pid = pid.lines().next().ok_or("the server has no process")?.to_owned();
        let stage = Self { cluster, runtime, postmaster: Path::new("/proc").join(pid) };
        let text = format!(
            "CREATE ROLE iac_observe LOGIN PASSWORD '{PASSWORD}';
            CREATE ROLE iac_administrators CREATEROLE;
            CREATE ROLE iac_apply LOGIN PASSWORD '{PASSWORD}' IN ROLE iac_administrators"
        );
        stage.run("postgres", &[&text, "CREATE DATABASE app OWNER iac_administrators"]);
        let text = format!(
            "SET ROLE iac_administrators;
            DO $$ BEGIN FOR n IN 0..{} LOOP
                EXECUTE format('CREATE SCHEMA area_%1$s;
                    CREATE TABLE area_%1$s.invoices (id int, amount numeric);
                    CREATE TABLE area_%1$s.customers (id int, name text);
                    CREATE TABLE area_%1$s.notes (id int, note text)', lpad(n::text, 5, '0'));
            END LOOP; END $$",
            agents.saturating_sub(1) / TOGETHER
        );
        stage.run("app", &[&text]);
        if foreign > 0 {
            let text = format!(
                "CREATE SCHEMA theirs;
                DO $$ BEGIN
                    FOR n IN 1..{foreign} LOOP
                        EXECUTE format('CREATE ROLE foreign_%s', n);
                    END LOOP;
                    FOR n IN 1..{foreign} / 100 LOOP
                        EXECUTE format('CREATE TABLE theirs.t_%1$s (id int);
                            GRANT SELECT ON theirs.t_%1$s TO %2$s', n, (
                                SELECT string_agg(format('foreign_%s', m), ', ')
                                FROM generate_series(n, n + 99) m));
                    END LOOP;
                END $$"
            );
            stage.run("app", &[&text]);
        }
        // What the server does for itself must not fall into a measurement.
        for database in ["app", "postgres"] {
            stage.run(database, &["VACUUM ANALYZE", "CHECKPOINT"]);
        }
        Ok(stage)
    }

    /// Runs statements as superuser.
    fn run(&self, database: &str, statements: &[&str]) {
        self.runtime.block_on(async {
            let admin = self.cluster.admin_of(database).await;
            for statement in statements {
                admin.run(statement).await;
            }
        });
    }

    fn provider(&self) -> Result<Arc<PostgresProvider>, Box<dyn Error>> {
        let url = format!("postgresql://127.0.0.1:{}/app", self.cluster.port());
        let principal = |name: &str| {
            Principal::new(name, Password::given(Secret::from_text(PASSWORD.to_owned())))
        };
        Ok(Arc::new(
            PostgresProvider::new(url.parse()?)
                .observe(principal("iac_observe")?)
                .apply(principal("iac_apply")?)
                .administrators("iac_administrators"),
        ))
    }

    /// Logs in so often, one after the other: what a login costs both sides
    /// by itself.
    fn connect(&self, times: usize) -> Result<(), Box<dyn Error>> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.cluster.port()).dbname("app");
        config.user("iac_observe").password(PASSWORD);
        self.runtime.block_on(async {
            for _ in 0..times {
                let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
                let ended = tokio::spawn(connection);
                drop(client);
                ended.await??;
            }
            Ok(())
        })
    }

    /// What the server's processes have computed, those that ended as well.
    fn computed(&self) -> Result<Duration, Box<dyn Error>> {
        let stat = fs::read_to_string(self.postmaster.join("stat"))?;
        // `cutime` and `cstime`: those that ended.
        let mut time = ticks(&stat, [13, 14])?;
        let pid = self.postmaster.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let children = self.postmaster.join("task").join(&pid).join("children");
        let children = fs::read_to_string(children)?;
        for pid in children.split_whitespace().chain([pid.as_str()]) {
            // One may end before it is looked at.
            if let Ok(text) = fs::read_to_string(Path::new("/proc").join(pid).join("schedstat")) {
                let nanoseconds = text.split(' ').next().unwrap_or("0").parse()?;
                time += Duration::from_nanos(nanoseconds);
            }
        }
        Ok(time)
    }
}

/// One row after the other, as the process that shows them reads it.
struct Rows<'s> {
    stage: &'s Stage,
    provider: Arc<PostgresProvider>,
    before: (Duration, Duration, u64),
}

impl<'s> Rows<'s> {
    fn new(stage: &'s Stage) -> Result<Self, Box<dyn Error>> {
        let mut rows = Self { stage, provider: stage.provider()?, before: Default::default() };
        rows.begin()?;
        Ok(rows)
    }

    fn now(&self) -> Result<(Duration, Duration, u64), Box<dyn Error>> {
        Ok((computed()?, self.stage.computed()?, self.provider.requests()))
    }

    fn begin(&mut self) -> Result<(), Box<dyn Error>> {
        self.before = self.now()?;
        Ok(())
    }

    /// Goes on without the connections that there were.
    fn anew(&mut self) -> Result<Arc<PostgresProvider>, Box<dyn Error>> {
        self.provider = self.stage.provider()?;
        self.begin()?;
        Ok(Arc::clone(&self.provider))
    }

    fn show(&mut self, phase: &str, time: Duration) -> Result<(), Box<dyn Error>> {
        let (now, before) = (self.now()?, self.before);
        let (ours, servers) = (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
        let micros = [time, ours, servers].map(|time| time.as_micros().to_string()).join("\t");
        println!("{ROW}\t{phase}\t{micros}\t{}", now.2 - before.2);
        self.begin()
    }
}

/// What both computed in each phase, for a number of roles.
#[derive(Default)]
struct Size {
    agents: usize,
    phases: BTreeMap<String, f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["measure", version, agents, how] => measure(version.parse()?, agents.parse()?, how),
        [] => USUAL.iter().try_for_each(|(version, sizes, how)| show(*version, sizes, how)),
        [version, sizes] => show(version.parse()?, &numbers(sizes)?, "plain"),
        [version, sizes, how @ ("plain" | "logins" | "foreign")] => {
            show(version.parse()?, &numbers(sizes)?, how)
        }
        _ => {
            print!("{USAGE}");
            Ok(())
        }
    }
}

fn numbers(text: &str) -> Result<Vec<usize>, Box<dyn Error>> {
    text.split(',').map(|number| Ok(number.parse()?)).collect()
}

/// Shows a table for each size, each measured in a process of its own.
fn show(version: u32, sizes: &[usize], how: &str) -> Result<(), Box<dyn Error>> {
    let mut before = Size::default();
    for agents in sizes {
        println!(
            "\nPostgreSQL {version}: {agents} roles with four grants each{}; load {}\n",
            match how {
                "logins" => ", and a login".to_owned(),
                "foreign" => format!(", beside {FOREIGN} roles of somebody else's"),
                _ => String::new(),
            },
            load()?,
        );
        println!(
            "{:<28} {:>11} {:>11} {:>11} {:>9}  twice as many",
            "", "in all", "ours", "server's", "requests"
        );
        let mut now = Size { agents: *agents, phases: BTreeMap::new() };
        let text = apart(&["measure", &version.to_string(), &agents.to_string(), how])?;
        for line in text.lines() {
            let parts: Vec<&str> = line.split('\t').collect();
            let [ROW, phase, all, ours, servers, requests] = parts[..] else {
                println!("{line}");
                continue;
            };
            let micros = |text: &str| text.parse::<u64>().map(Duration::from_micros);
            let (all, ours, servers) = (micros(all)?, micros(ours)?, micros(servers)?);
            let both = (ours + servers).as_secs_f64();
            println!(
                "{phase:<28} {:>11} {:>11} {:>11} {requests:>9}  {}",
                shown(all),
                shown(ours),
                shown(servers),
                grown(&before, *agents, phase, both),
            );
            now.phases.insert(phase.to_owned(), both);
        }
        before = now;
    }
    Ok(())
}

/// By how much more is computed for twice as many roles.
#[expect(clippy::cast_precision_loss, reason = "it is shown with two digits")]
fn grown(before: &Size, agents: usize, phase: &str, both: f64) -> String {
    match before.phases.get(phase).filter(|_| before.agents > 0 && agents > before.agents) {
        Some(less) => {
            let doublings = (agents as f64 / before.agents as f64).log2();
            format!("× {:.2}", (both / less).powf(doublings.recip()))
        }
        None => String::new(),
    }
}

fn measure(version: u32, agents: usize, how: &str) -> Result<(), Box<dyn Error>> {
    let (keyed, foreign) = (how == "logins", if how == "foreign" { FOREIGN } else { 0 });
    let stage = Stage::new(version, agents, foreign)?;
    let folder = tempfile::tempdir()?;
    let begin = |provider, changed| {
        Deployment::embedded(fleet(agents, keyed, changed), "bench", folder.path())
            .map(|deployment| deployment.with_provider("postgres", provider))
    };
    let mut rows = Rows::new(&stage)?;
    if keyed {
        let logins = agents.min(200);
        let (time, ()) = timed(|| stage.connect(logins))?;
        rows.show(&format!("{logins} connections alone"), time)?;
    }

    let deployment = begin(rows.anew()?, false)?;
    let (time, plan) = timed(|| block_on(deployment.plan(&PlanRequest::default())))?;
    rows.show("plan from nothing", time)?;
    let plan = SavedPlan::new(plan)?;
    assert_eq!(plan.plan().steps.len(), agents * if keyed { 6 } else { 5 }, "all is made");
    let deployment = begin(rows.anew()?, false)?;
    let (time, ()) = timed(|| apply(&deployment, &plan))?;
    rows.show("apply from nothing", time)?;
    drop(plan);

    let deployment = begin(rows.anew()?, false)?;
    for phase in ["plan without changes", "the same, connected already"] {
        let (time, plan) = timed(|| block_on(deployment.plan(&PlanRequest::default())))?;
        rows.show(phase, time)?;
        assert!(plan.is_clean(), "nothing is left to do: {:?}", plan.totals());
    }

    let deployment = begin(rows.anew()?, true)?;
    let (time, plan) = timed(|| block_on(deployment.plan(&PlanRequest::default())))?;
    rows.show("plan of one change", time)?;
    let plan = SavedPlan::new(plan)?;
    assert_eq!(plan.plan().steps.len(), 1, "one grant was changed");
    let deployment = begin(rows.anew()?, true)?;
    let written = written_bytes()?;
    let (time, ()) = timed(|| apply(&deployment, &plan))?;
    let written = written_bytes()? - written;
    rows.show("apply of one change", time)?;
    let (memory, resources) = (peak_memory()?, u64::try_from(agents * if keyed { 6 } else { 5 })?);
    println!(
        "\npeak memory {} MB ({} kB for each resource), {} kB written for one change",
        memory / 1_024,
        memory / resources.max(1),
        written / 1_024
    );
    Ok(())
}

fn apply(deployment: &Deployment, plan: &SavedPlan) -> Result<(), Box<dyn Error>> {
    let context = RunContext::new(Actor::asserted("bench", "bench")).acknowledging(plan.digest());
    let report = block_on(deployment.apply(plan, &context))?;
    if report.is_complete() {
        Ok(())
    } else {
        let failed = report.steps.iter().find(|step| !step.outcome.is_done());
        Err(format!("not everything was done: {:?}, {failed:?}", report.summary).into())
    }
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
