//! The main job on a real PostgreSQL: an agent is declared, planned and
//! applied, its login is used, a grant that somebody gives by hand is taken
//! back, the agent leaves, and its end is proved.
//!
//! ```text
//! PGPASSWORD=… cargo run --example postgres -- postgresql://postgres@localhost/postgres
//! ```
//!
//! The server is one on this machine, for the example speaks to it in clear
//! when it plays the agent. The URL names a login that may create roles and schemas; its password is
//! taken from the variable `PGPASSWORD`, or from the file that
//! `PGPASSWORD_FILE` names, and never from the command line. The example makes
//! a schema `agent_iac_example`, and drops it at the end. Ledger and vault
//! stand in `.agent-iac/postgres`, which it empties first.
#![expect(clippy::print_stdout, reason = "an example tells a story")]
#![expect(clippy::disallowed_methods, reason = "a program may read its own environment")]

use std::{error::Error, fs, path::Path, sync::Arc};

use agent_iac::{
    agent::OnDrift,
    apply::{Report, RunContext},
    clock::block_on,
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::Actor,
    plan::{SavedPlan, render},
    prelude::*,
    provider::Reach,
    providers::postgres::{self as pg, Endpoint, Host, Password, PostgresProvider, Principal},
    secret::Secret,
    vault::Place,
};
use serde::Deserialize;
use tokio_postgres::{Config, NoTls};

/// Answers questions about invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d")]
struct InvoiceReader {
    #[identity(name = "agent_iac_example_reader", on_drift = OnDrift::RevertWidening)]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new("agent_iac_example"), allow = [pg::Usage])]
    schema: pg::Grant,

    /// Amounts and dates, and nothing about customers.
    #[permission(
        to = account,
        on = pg::Column::new("agent_iac_example", "invoices", ["id", "amount", "due"]),
        allow = [pg::Select],
    )]
    invoices: pg::Grant,

    #[credential(of = account, deliver = "vault:invoice-reader/postgres")]
    login: pg::Login,
}

fn fleet(with_reader: bool) -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("postgres", Reach::Exclusive).store("vault");
    if with_reader {
        fleet.add(InvoiceReaderInputs {});
    }
    fleet
}

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("give the URL of a server: postgresql://…")?;
    let endpoint: Endpoint = url.parse()?;
    let user = endpoint.user().ok_or("the URL names no user")?.to_owned();
    let password = match (std::env::var("PGPASSWORD"), std::env::var("PGPASSWORD_FILE")) {
        (Ok(password), _) => Password::given(Secret::from_text(password)),
        (_, Ok(path)) => Password::file(path),
        _ => return Err("set PGPASSWORD or PGPASSWORD_FILE".into()),
    };
    let stage = Stage { endpoint, principal: Principal::new(user, password)? };
    stage.sql(
        "DROP SCHEMA IF EXISTS agent_iac_example CASCADE; CREATE SCHEMA agent_iac_example;
        CREATE TABLE agent_iac_example.invoices (id int, customer text, amount numeric, due date);
        INSERT INTO agent_iac_example.invoices VALUES (1, 'ACME', 99.50, '2027-01-31');",
    )?;
    let told = block_on(story(&stage));
    stage.sql("DROP SCHEMA agent_iac_example CASCADE")?;
    told
}

async fn story(stage: &Stage) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(".agent-iac/postgres");
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    // One login does everything here. In earnest each has its own:
    // `agent-iac plan --requires` prints what they need.
    let provider = PostgresProvider::new(stage.endpoint.clone())
        // Other roles of the server are somebody else's.
        .scope("agent_iac_example_*")
        .observe(stage.principal.clone())
        .apply(stage.principal.clone());
    let deployment = Deployment::embedded(fleet(true), "production", folder)?
        .with_provider("postgres", Arc::new(provider));

    title("An agent is declared in Rust; this is the plan");
    apply(&deployment).await?;

    title("The login in the vault works for what was declared, and for nothing else");
    let login = open_login(&deployment, "vault:invoice-reader/postgres").await?;
    println!("it logs in as {}", login.user);
    let table = "agent_iac_example.invoices";
    let statements = [
        format!("SELECT id, amount, due FROM {table}"),
        format!("SELECT customer FROM {table}"),
        format!("DELETE FROM {table}"),
    ];
    for sql in &statements {
        println!("{sql}: {}", stage.try_as(&login, sql));
    }

    title("Somebody grants more by hand");
    stage.sql(&format!("GRANT SELECT, DELETE ON {table} TO agent_iac_example_reader"))?;
    println!("{}: {}", statements[2], stage.try_as(&login, &statements[2]));
    tell(&deployment.revert_drift(&RunContext::new(operator())).await?);
    println!("{}: {}", statements[2], stage.try_as(&login, &statements[2]));

    title("The agent is removed from the code");
    let deployment = deployment.with_fleet(fleet(false));
    apply(&deployment).await?;
    println!("{}: {}", statements[0], stage.try_as(&login, &statements[0]));
    let plan = deployment.plan(&PlanRequest::default()).await?;
    println!("a plan now: {} steps", plan.steps.len());
    Ok(())
}

/// Plans, shows the plan, and applies it by its digest.
async fn apply(deployment: &Deployment) -> Result<(), Box<dyn Error>> {
    let saved = SavedPlan::new(deployment.plan(&PlanRequest::default()).await?)?;
    println!("{}", render::text(&saved, &render::Options::default()));
    let context = RunContext::new(operator()).acknowledging(saved.digest());
    tell(&deployment.apply(&saved, &context).await?);
    Ok(())
}

fn tell(report: &Report) {
    for step in &report.steps {
        println!("{:>8} {}: {:?}", step.action, step.address, step.outcome);
    }
    for left in &report.left {
        let rest =
            if left.open.is_empty() { "nothing is left, proved" } else { "not all is proved" };
        println!("{} left ({}) after {} s: {rest}", left.instance, left.cause, left.seconds);
    }
}

/// What is delivered of a login.
#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
}

async fn open_login(deployment: &Deployment, place: &str) -> Result<Login, Box<dyn Error>> {
    let place: Place = place.parse()?;
    let secret = deployment.stores()[place.store()].open()?.open(place.path(), None, None).await?;
    Ok(secret.expose(|text| serde_json::from_slice(text))?)
}

/// The server, for what is not the engine's business.
struct Stage {
    endpoint: Endpoint,
    principal: Principal,
}

impl Stage {
    /// Carries out statements as whoever the URL names.
    fn sql(&self, sql: &str) -> Result<(), Box<dyn Error>> {
        let password = self.principal.password().read()?;
        let config = password.expose(|password| self.config(self.principal.user(), password));
        Ok(run(&config, sql)?)
    }

    /// Carries out one statement as an agent, and says how that ended.
    fn try_as(&self, login: &Login, sql: &str) -> String {
        match run(&self.config(&login.user, login.password.as_bytes()), sql) {
            Ok(()) => "allowed".into(),
            Err(error) => match error.as_db_error() {
                Some(said) => format!("refused, {}", said.message()),
                None => error.to_string(),
            },
        }
    }

    fn config(&self, user: &str, password: &[u8]) -> Config {
        let mut config = Config::new();
        config.user(user).password(password).dbname(self.endpoint.database());
        match self.endpoint.host() {
            Host::Tcp(name) => config.host(name),
            Host::Unix(folder) => config.host_path(folder),
        };
        config.port(self.endpoint.port());
        config
    }
}

fn run(config: &Config, sql: &str) -> Result<(), tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let (client, connection) = config.connect(NoTls).await?;
        // Its errors are those of the client, which it serves.
        let _serving = tokio::spawn(connection);
        client.batch_execute(sql).await
    })
}

fn title(text: &str) {
    println!("\n── {text}\n");
}

fn operator() -> Actor {
    Actor::asserted("example", "you")
}
