//! Logins of a PostgreSQL server: a new one for each generation.
//!
//! The URL names a login that may create roles and schemas; its password is
//! taken from the variable `PGPASSWORD`, or from the file that
//! `PGPASSWORD_FILE` names, and never from the command line. The server is one
//! on this machine, for the clients speak to it in clear. The example makes a
//! schema `agent_iac_rotation`, and drops it at the end.
#![expect(clippy::disallowed_methods, reason = "a program may read its own environment and clock")]

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use agent_iac::{
    apply::Stop,
    clock::{Clock, SystemClock},
    deployment::Deployment,
    fleet::Fleet,
    prelude::*,
    provider::Reach,
    providers::postgres::{self as pg, Endpoint, Host, Password, PostgresProvider, Principal},
    secret::Secret,
};
use serde::Deserialize;
use tokio_postgres::{Client as Session, Config, NoTls};

use super::{Client, Result, Shelf, apply, conclude, under_load};

/// Reads invoices, with a login that lives for moments.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2030-06-30", grace = "0d")]
struct InvoiceReader {
    #[identity(name = "agent_iac_rotation_reader")]
    account: pg::Role,

    #[permission(to = account, on = pg::Schema::new("agent_iac_rotation"), allow = [pg::Usage])]
    schema: pg::Grant,

    #[permission(
        to = account,
        on = pg::Table::new("agent_iac_rotation", "invoices"),
        allow = [pg::Select],
    )]
    invoices: pg::Grant,

    #[credential(of = account, deliver = "vault:invoice-reader", rotate = "6s", overlap = "4s")]
    login: pg::Login,
}

/// What a client may keep a login or a session for: most of the overlap.
const KEPT: Duration = Duration::from_millis(2_800);

/// How many sessions the pool has.
const POOL: usize = 4;

fn fleet(with_reader: bool) -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("postgres", Reach::Exclusive).store("vault");
    if with_reader {
        fleet.add(InvoiceReaderInputs {});
    }
    fleet
}

pub(crate) fn story(url: &str, folder: &Path, rotations: usize) -> Result<()> {
    let endpoint: Endpoint = url.parse()?;
    let user = endpoint.user().ok_or("the URL names no user")?.to_owned();
    let password = match (std::env::var("PGPASSWORD"), std::env::var("PGPASSWORD_FILE")) {
        (Ok(password), _) => Password::given(Secret::from_text(password)),
        (_, Ok(path)) => Password::file(path),
        _ => return Err("set PGPASSWORD or PGPASSWORD_FILE".into()),
    };
    let principal = Principal::new(user, password)?;
    let door = Door { endpoint: endpoint.clone() };
    let runtime = runtime();
    let sql = |sql: &str| -> Result<()> {
        let password = principal.password().read()?;
        let config = password.expose(|password| door.config(principal.user(), password));
        Ok(runtime.block_on(async { connect(&config).await?.batch_execute(sql).await })?)
    };
    sql("DROP SCHEMA IF EXISTS agent_iac_rotation CASCADE; CREATE SCHEMA agent_iac_rotation;
        CREATE TABLE agent_iac_rotation.invoices (id int, amount numeric);
        INSERT INTO agent_iac_rotation.invoices VALUES (1, 99.50)")?;

    // One login does everything here. In earnest each has its own:
    // `agent-iac plan --requires` prints what they need.
    let provider = PostgresProvider::new(endpoint)
        // Other roles of the server are somebody else's.
        .scope("agent_iac_rotation_*")
        .observe(principal.clone())
        .apply(principal.clone());
    let deployment = Deployment::embedded(fleet(true), "production", folder)?
        .with_provider("postgres", Arc::new(provider));
    let deployment = Arc::new(deployment);
    apply(&deployment)?;
    let told = rotate(&deployment, &door, rotations);
    let Ok(deployment) = Arc::try_unwrap(deployment) else {
        return Err("somebody still works with the deployment".into());
    };
    apply(&deployment.with_fleet(fleet(false)))?;
    sql("DROP SCHEMA agent_iac_rotation CASCADE")?;
    told
}

fn rotate(deployment: &Arc<Deployment>, door: &Door, rotations: usize) -> Result<()> {
    let left = Arc::new(Mutex::new(Vec::new()));
    let (keeps, opened, pooled, leaves) = (door.clone(), door.clone(), door.clone(), door.clone());
    let clients: Vec<(&str, Client)> = vec![
        (
            "one that keeps its login for most of the overlap",
            Box::new(move |shelf, stop| runtime().block_on(keeps.log_in_often(shelf, stop))),
        ),
        (
            "one with a session that it opened before",
            Box::new(move |shelf, stop| runtime().block_on(opened.pool(1, shelf, stop))),
        ),
        (
            "one with a pool",
            Box::new(move |shelf, stop| runtime().block_on(pooled.pool(POOL, shelf, stop))),
        ),
        ("one that leaves a session open on each login", {
            let left = Arc::clone(&left);
            Box::new(move |shelf, stop| {
                let runtime = runtime();
                let sessions = runtime.block_on(leaves.leave_open(shelf, stop))?;
                let opened = sessions.len();
                // What serves them goes with the runtime.
                *left.lock().unwrap_or_else(PoisonError::into_inner) = vec![(runtime, sessions)];
                Ok(opened)
            })
        }),
    ];
    let seen = under_load(deployment, clients, rotations)?;

    let mut alive = 0;
    for text in &seen {
        alive += usize::from(runtime().block_on(door.lets_in(text))?);
    }
    let (mut ended, mut open) = (0, 0);
    let left = std::mem::take(&mut *left.lock().unwrap_or_else(PoisonError::into_inner));
    for (runtime, sessions) in left {
        for session in sessions {
            match runtime.block_on(session.batch_execute("SELECT")) {
                Ok(()) => open += 1,
                Err(_) => ended += 1,
            }
        }
    }
    println!("of the sessions that were left open, {ended} were ended with their logins");
    if ended < rotations || open > 2 {
        return Err("a session outlived its login".into());
    }
    conclude(deployment, rotations, &seen, alive)
}

/// What is delivered of a login.
#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
}

/// Where the agent logs in.
#[derive(Clone)]
struct Door {
    endpoint: Endpoint,
}

/// A session, and when its login was read.
struct Opened {
    session: Session,
    read: Instant,
}

impl Opened {
    fn is_fresh(&self) -> bool {
        fresh(self.read)
    }
}

fn fresh(read: Instant) -> bool {
    read.elapsed() < KEPT
}

impl Door {
    /// Logs in anew for each request, with a login that was read a while ago.
    async fn log_in_often(&self, shelf: &Shelf, stop: &Stop) -> Result<usize> {
        let mut requests = 0;
        while !stop.is_requested() {
            let (text, read) = (shelf.read().await?, Instant::now());
            while fresh(read) && !stop.is_requested() {
                ask(&self.open(&text).await?).await?;
                requests += 1;
                SystemClock.sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(requests)
    }

    /// Asks over some sessions in turn, each of which is closed before the
    /// overlap could be over, and opened with what the vault has then.
    async fn pool(&self, size: usize, shelf: &Shelf, stop: &Stop) -> Result<usize> {
        let mut pool: Vec<Option<Opened>> = (0..size).map(|_| None).collect();
        let mut requests = 0;
        while !stop.is_requested() {
            let slot = &mut pool[requests % size];
            if !slot.as_ref().is_some_and(Opened::is_fresh) {
                let (text, read) = (shelf.read().await?, Instant::now());
                *slot = Some(Opened { session: self.open(&text).await?, read });
            }
            if let Some(opened) = slot {
                ask(&opened.session).await?;
            }
            requests += 1;
            SystemClock.sleep(Duration::from_millis(2)).await;
        }
        Ok(requests)
    }

    /// Opens a session with each login that comes, and forgets to close it.
    async fn leave_open(&self, shelf: &Shelf, stop: &Stop) -> Result<Vec<Session>> {
        let (mut sessions, mut last) = (Vec::new(), String::new());
        while !stop.is_requested() {
            let text = shelf.read().await?;
            if text != last {
                sessions.push(self.open(&text).await?);
                last = text;
            }
            SystemClock.sleep(Duration::from_millis(100)).await;
        }
        Ok(sessions)
    }

    async fn open(&self, text: &str) -> Result<Session> {
        let login: Login = serde_json::from_str(text)?;
        Ok(connect(&self.config(&login.user, login.password.as_bytes())).await?)
    }

    /// Whether a login works; an error when the server cannot be asked.
    async fn lets_in(&self, text: &str) -> Result<bool> {
        let login: Login = serde_json::from_str(text)?;
        match connect(&self.config(&login.user, login.password.as_bytes())).await {
            Ok(_) => Ok(true),
            Err(error) if error.as_db_error().is_some_and(|e| e.code().code() == "28P01") => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
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

async fn ask(session: &Session) -> Result<(), tokio_postgres::Error> {
    session.batch_execute("SELECT id, amount FROM agent_iac_rotation.invoices").await
}

async fn connect(config: &Config) -> Result<Session, tokio_postgres::Error> {
    let (session, connection) = config.connect(NoTls).await?;
    // Its errors are those of the session, which it serves.
    let _serving = tokio::spawn(connection);
    Ok(session)
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts")
}
