//! A fleet of any size on a PostgreSQL server, by principals that have what
//! `requires` names and nothing more.
//!
//! It owns what is declared, and the ground that it stands on. It knows nothing
//! of crashes.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use agent_iac::{
    Result,
    deployment::Deployment,
    fleet::{Fleet, Rules},
    prelude::*,
    provider::{Provider as _, Reach},
    providers::postgres::{self as pg, Password, PostgresProvider, Principal, Privilege},
    secret::Secret,
};

use crate::{
    embedded::{Version, vaulted},
    postgres::Cluster,
};

/// The password of every principal: no test here is about theirs.
pub const PASSWORD: &str = "as-everybody-here";

/// How many tables there are for the agents, `app.t0` and so on. They have the
/// columns `n` and `word`, and belong to `app_owner`.
pub const TABLES: usize = 10;

/// Does its verbs on one table.
#[derive(Debug, Agent)]
#[agent(owner = "team:load", expires = "2099-12-31", grace = "0d")]
pub struct Clerk {
    /// The name of its role.
    #[input(key)]
    name: String,
    /// The table.
    #[input]
    table: String,
    /// What it may do there.
    #[input]
    verbs: Vec<String>,

    #[identity(name = name.as_str())]
    role: pg::Role,

    #[permission(to = role, on = pg::Schema::new("app"), allow = [pg::Usage])]
    schema: pg::Grant,

    #[permission(to = role, on = pg::Table::new("app", table), allow = privileges(verbs))]
    rows: pg::Grant,

    #[credential(of = role, deliver = format!("vault:{name}"))]
    login: pg::Login,
}

/// A [`Clerk`] whose login is renewed all the time.
#[derive(Debug, Agent)]
#[agent(owner = "team:load", expires = "2099-12-31", grace = "0d")]
pub struct Turner {
    /// The name of its role.
    #[input(key)]
    name: String,
    /// The table.
    #[input]
    table: String,
    /// What it may do there.
    #[input]
    verbs: Vec<String>,
    /// How long a login lives.
    #[input]
    period: String,

    #[identity(name = name.as_str())]
    role: pg::Role,

    #[permission(to = role, on = pg::Schema::new("app"), allow = [pg::Usage])]
    schema: pg::Grant,

    #[permission(to = role, on = pg::Table::new("app", table), allow = privileges(verbs))]
    rows: pg::Grant,

    #[credential(
        of = role,
        deliver = format!("vault:{name}"),
        rotate = period.as_str(),
        overlap = "2s",
        retry = "1000 times, 1s to 2s",
    )]
    login: pg::Login,
}

/// Keeps old rows, in two databases beside the provider's own. It may make
/// tables there, which go to `app_owner` when it leaves.
#[derive(Debug, Agent)]
#[agent(owner = "team:load", expires = "2099-12-31", grace = "0d")]
pub struct Archivist {
    /// The name of its role.
    #[input(key)]
    name: String,
    /// The databases.
    #[input]
    first: String,
    /// The other one.
    #[input]
    second: String,

    #[identity(name = name.as_str(), heir = "app_owner")]
    role: pg::Role,

    #[permission(
        to = role,
        on = pg::Schema::new("app").in_database(first),
        allow = [pg::Usage, pg::Create],
    )]
    in_first: pg::Grant,

    #[permission(
        to = role,
        on = pg::Schema::new("app").in_database(second),
        allow = [pg::Usage, pg::Create],
    )]
    in_second: pg::Grant,

    #[credential(of = role, deliver = format!("vault:{name}"))]
    login: pg::Login,
}

fn privileges(words: &[String]) -> BTreeSet<Privilege> {
    let known = |word: &String| Privilege::from_sql(word);
    words.iter().filter_map(known).collect()
}

/// What is declared of one clerk, said without the engine.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Its role, and the path of its login in the vault.
    pub name: String,
    /// The one table of the schema `app`.
    pub table: String,
    /// What it may do there, in the words of SQL.
    pub verbs: BTreeSet<&'static str>,
}

/// Everything that can be done to the rows of a table.
pub const VERBS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// Where a fleet stands, and by whom it is managed there.
#[derive(Clone, Debug)]
pub struct Site {
    /// The server's port on 127.0.0.1.
    pub port: u16,
    /// The fleet's name, with which the names of its roles begin.
    pub fleet: String,
    /// The databases beside the provider's own, `app`: none, or the two of the
    /// archivist.
    pub others: Vec<String>,
}

impl Site {
    /// The place of a fleet on a cluster.
    pub fn new(cluster: &Cluster, fleet: &str) -> Self {
        Self { port: cluster.port(), fleet: fleet.to_owned(), others: Vec::new() }
    }

    /// The same, with an archivist.
    #[must_use]
    pub fn with_archives(mut self, first: &str, second: &str) -> Self {
        self.others = vec![first.to_owned(), second.to_owned()];
        self
    }

    /// The clerks of a version, as an inspector would list them.
    pub fn declared(&self, version: Version, size: usize) -> Vec<Declared> {
        let stays = |number: &usize| version != Version::Half || (number / 2).is_multiple_of(2);
        let shift = usize::from(version == Version::Changed);
        let clerk = |number: usize| {
            let bits = number / TABLES + number + shift;
            let verb = |(bit, verb): (usize, &'static str)| (bits >> bit & 1 == 1).then_some(verb);
            // Everybody may do one thing at least.
            let also = VERBS[(number + shift) % VERBS.len()];
            Declared {
                name: format!("{}_{number:03}", self.fleet),
                table: format!("t{}", number % TABLES),
                verbs: VERBS.into_iter().enumerate().filter_map(verb).chain([also]).collect(),
            }
        };
        (0..size).filter(stays).map(clerk).collect()
    }

    /// The name of the archivist's role.
    pub fn archivist(&self) -> String {
        format!("{}_archivist", self.fleet)
    }

    /// The fleet of a version; any number of its agents may leave at once. The
    /// archivist has left from the smallest one.
    pub fn agents(&self, version: Version, size: usize) -> Fleet {
        let mut fleet = Fleet::new(&self.fleet);
        fleet.provider("postgres", Reach::Declared).store("vault");
        fleet.rules(Rules { max_leaving: Some(u32::MAX), ..Rules::default() });
        for Declared { name, table, verbs } in self.declared(version, size) {
            let verbs = verbs.into_iter().map(str::to_owned).collect();
            fleet.add(ClerkInputs { name, table, verbs });
        }
        if let ([first, second], true) = (&self.others[..], version != Version::Half) {
            let (first, second) = (first.clone(), second.clone());
            fleet.add(ArchivistInputs { name: self.archivist(), first, second });
        }
        fleet
    }

    /// The provider. It applies as `FLEET_apply`, which becomes `iac_admins`.
    ///
    /// # Errors
    ///
    /// When the endpoint is none.
    pub fn provider(&self) -> Result<PostgresProvider> {
        let endpoint = format!("postgresql://127.0.0.1:{}/app", self.port).parse()?;
        let principal = |user: String| {
            Principal::new(user, Password::given(Secret::from_text(PASSWORD.to_owned())))
        };
        let provider = PostgresProvider::new(endpoint)
            .observe(principal(format!("{}_observe", self.fleet))?)
            .apply(principal(format!("{}_apply", self.fleet))?)
            .administrators("iac_admins");
        Ok(self.others.iter().fold(provider, PostgresProvider::database))
    }

    /// The fleet with its ledger and vault in a folder.
    ///
    /// # Errors
    ///
    /// As [`Deployment::embedded`].
    pub fn deployment(&self, folder: &Path, version: Version, size: usize) -> Result<Deployment> {
        let deployment = Deployment::embedded(self.agents(version, size), "test", folder)?;
        Ok(deployment.with_provider("postgres", Arc::new(self.provider()?)))
    }

    /// The clerks of the full version, each with a login that lives for a
    /// period.
    ///
    /// # Errors
    ///
    /// As [`Deployment::embedded`].
    pub fn rotating(&self, folder: &Path, period: &str, size: usize) -> Result<Deployment> {
        let mut fleet = Fleet::new(&self.fleet);
        fleet.provider("postgres", Reach::Declared).store("vault");
        for Declared { name, table, verbs } in self.declared(Version::Full, size) {
            let verbs = verbs.into_iter().map(str::to_owned).collect();
            fleet.add(TurnerInputs { name, table, verbs, period: period.to_owned() });
        }
        let deployment = Deployment::embedded(fleet, "test", folder)?;
        Ok(deployment.with_provider("postgres", Arc::new(self.provider()?)))
    }

    /// Makes what the fleet is about, where it is not there yet, and the
    /// fleet's principals with what they need for its largest version.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn prepare(&self, cluster: &Cluster, size: usize) {
        let root = cluster.admin().await;
        let fleet = &self.fleet;
        if root.rows("SELECT FROM pg_roles WHERE rolname = 'app_owner'").await.is_empty() {
            root.run("CREATE ROLE app_owner").await;
            root.run("CREATE DATABASE app OWNER app_owner").await;
            let tables = (0..TABLES).map(|n| {
                format!("CREATE TABLE app.t{n} (n int DEFAULT 1, word text DEFAULT 'word');")
            });
            let app = cluster.admin_of("app").await;
            app.run("CREATE SCHEMA app AUTHORIZATION app_owner; SET ROLE app_owner").await;
            app.run(&tables.collect::<String>()).await;
        }
        for other in &self.others {
            root.run(&format!("CREATE DATABASE {other} OWNER app_owner")).await;
            cluster.sql(other, "CREATE SCHEMA app AUTHORIZATION app_owner").await;
        }
        root.run(&format!(
            "CREATE ROLE {fleet}_observe LOGIN PASSWORD '{PASSWORD}';
            CREATE ROLE {fleet}_apply LOGIN NOINHERIT PASSWORD '{PASSWORD}'"
        ))
        .await;
        let blueprint = self.agents(Version::Full, size).blueprint("test").expect("it is valid");
        let admins = "SELECT FROM pg_roles WHERE rolname = 'iac_admins'";
        let admins_are_there = !root.rows(admins).await.is_empty();
        for required in self.provider().expect("it is valid").requires("postgres", &blueprint) {
            let statement = required.statement;
            if admins_are_there && statement.starts_with("CREATE ROLE") {
                continue;
            }
            let elsewhere = statement
                .strip_prefix("-- in the database \"")
                .and_then(|rest| rest.split_once("\":\n"))
                .map(|(database, _)| database);
            cluster.admin_of(elsewhere.unwrap_or("app")).await.run(&statement).await;
        }
    }
}

/// A login as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Who logs in.
    pub user: String,
    /// With what.
    pub password: String,
}

/// The login that the vault has for a role.
///
/// # Errors
///
/// When it has none.
///
/// # Panics
///
/// When what it has is no login.
pub fn delivered(deployment: &Deployment, role: &str) -> Result<Delivered> {
    let text = vaulted(deployment, role)?;
    let text: serde_json::Value =
        text.expose(|text| serde_json::from_slice(text)).expect("it is delivered as JSON");
    let part = |name| text[name].as_str().expect("it has both parts").to_owned();
    Ok(Delivered { user: part("user"), password: part("password") })
}
