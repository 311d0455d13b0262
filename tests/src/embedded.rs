//! A fleet of any size on the embedded systems, and a look at those systems
//! past the engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    str::FromStr,
};

use agent_iac::{
    Result,
    clock::block_on,
    deployment::Deployment,
    fleet::{Fleet, Rules},
    prelude::*,
    provider::Reach,
    providers::authority as auth,
    secret::Secret,
};
use rusqlite::{Connection, types::Value};

/// Works through one queue.
#[derive(Debug, Agent)]
#[agent(owner = "team:load", expires = "2099-12-31", grace = "0d")]
pub struct Worker {
    /// The queue.
    #[input(key)]
    queue: String,
    /// What it may do there.
    #[input]
    actions: Vec<String>,

    #[identity(name = format!("worker-{queue}"))]
    account: auth::Account,

    #[permission(
        to = account,
        on = format!("queues/{queue}/*"),
        allow = actions.iter().map(auth::Action::new).collect::<BTreeSet<_>>(),
        because = "one queue is its whole work",
    )]
    jobs: auth::Grant,

    #[credential(of = account, deliver = format!("vault:workers/{queue}"))]
    key: auth::ApiKey,
}

/// Works through one queue and reports about it.
#[derive(Debug, Agent)]
#[agent(owner = "team:load", expires = "2099-12-31", grace = "0d")]
pub struct Reporter {
    /// The queue.
    #[input(key)]
    queue: String,
    /// What it may do there.
    #[input]
    actions: Vec<String>,

    #[identity(name = format!("reporter-{queue}"), description = format!("reports on {queue}"))]
    account: auth::Account,

    #[permission(
        to = account,
        on = format!("queues/{queue}/*"),
        allow = actions.iter().map(auth::Action::new).collect::<BTreeSet<_>>(),
        because = "one queue is its whole work",
    )]
    jobs: auth::Grant,

    #[permission(to = account, on = format!("reports/{queue}"), allow = ["write"])]
    reports: auth::Grant,

    #[credential(of = account, deliver = format!("vault:reporters/{queue}"))]
    key: auth::ApiKey,
}

/// One state of the fleet's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// All agents.
    Full,
    /// All agents, each with other actions.
    Changed,
    /// Every second pair of agents is gone.
    Half,
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "full" => Ok(Self::Full),
            "changed" => Ok(Self::Changed),
            "half" => Ok(Self::Half),
            _ => Err(format!("`{text}` is no version of the fleet")),
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Changed => "changed",
            Self::Half => "half",
        })
    }
}

/// What is declared of one agent, said without the engine.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The name of its account.
    pub account: String,
    /// The path of its key in the vault.
    pub place: String,
    /// What it may do, by pattern.
    pub grants: BTreeMap<String, BTreeSet<String>>,
}

/// The name of the fleet.
pub const FLEET: &str = "load";

fn actions(version: Version, number: usize) -> BTreeSet<String> {
    // Every agent has one action of its own, so that no key does for another.
    let mut actions = BTreeSet::from([format!("take-{number}")]);
    let shift = usize::from(version == Version::Changed);
    for (bit, word) in ["read", "list", "close"].into_iter().enumerate() {
        if (number + shift) >> bit & 1 == 1 {
            actions.insert(word.to_owned());
        }
    }
    actions
}

fn stays(version: Version, number: usize) -> bool {
    version != Version::Half || (number / 2).is_multiple_of(2)
}

/// The agents of a version, as an inspector would list them.
pub fn declared(version: Version, size: usize) -> Vec<Declared> {
    let agents = (0..size).filter(|number| stays(version, *number));
    agents
        .map(|number| {
            let queue = format!("{number:03}");
            let mut grants =
                BTreeMap::from([(format!("queues/{queue}/*"), actions(version, number))]);
            let reports = number % 2 == 1;
            if reports {
                grants.insert(format!("reports/{queue}"), BTreeSet::from(["write".to_owned()]));
            }
            let name = if reports { "reporter" } else { "worker" };
            Declared {
                account: format!("{name}-{queue}"),
                place: format!("{name}s/{queue}"),
                grants,
            }
        })
        .collect()
}

/// The fleet of a version. It has the authority for itself, and any number of
/// its agents may leave at once.
pub fn fleet(version: Version, size: usize) -> Fleet {
    let mut fleet = Fleet::new(FLEET);
    fleet.provider("authority", Reach::Exclusive).store("vault");
    fleet.rules(Rules { max_leaving: Some(u32::MAX), ..Rules::default() });
    for number in (0..size).filter(|number| stays(version, *number)) {
        let queue = format!("{number:03}");
        let actions = actions(version, number).into_iter().collect();
        if number % 2 == 1 {
            fleet.add(ReporterInputs { queue, actions });
        } else {
            fleet.add(WorkerInputs { queue, actions });
        }
    }
    fleet
}

/// The fleet on the embedded systems in a folder.
///
/// # Errors
///
/// As [`Deployment::embedded`].
pub fn deployment(folder: &Path, version: Version, size: usize) -> Result<Deployment> {
    Deployment::embedded(fleet(version, size), "test", folder)
}

/// What stands in the vault at a path now, opened as the probe opens it.
///
/// # Errors
///
/// When there is nothing, or it cannot be opened.
pub fn vaulted(deployment: &Deployment, path: &str) -> Result<Secret> {
    block_on(deployment.stores()["vault"].open()?.open(path, None, None))
}

/// The text of a secret, for a service that is given it.
pub fn text(secret: &Secret) -> String {
    secret.expose(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// One row of a table, by its columns.
pub type Row = BTreeMap<String, Value>;

/// All rows of a table, read from the file without the authority's code.
///
/// # Errors
///
/// When the file cannot be read.
pub fn rows(file: &Path, table: &str) -> rusqlite::Result<Vec<Row>> {
    let connection = Connection::open(file)?;
    let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1"))?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Row> {
        names.iter().map(|name| Ok((name.clone(), row.get(name.as_str())?))).collect()
    };
    statement.query_map([], read)?.collect()
}

/// The text in a column.
pub fn column<'r>(row: &'r Row, name: &str) -> &'r str {
    match row.get(name) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

/// Puts an account with a grant and a key into the authority, as somebody does
/// who uses it by hand.
///
/// # Errors
///
/// When the file cannot be written.
pub fn plant_others(file: &Path) -> rusqlite::Result<()> {
    Connection::open(file)?.execute_batch(
        "INSERT INTO accounts (id, name, description, created_at)
             VALUES ('account_of_others', 'worker-by-hand', 'mind the dog', '2020-02-02');
         INSERT INTO grants (id, account, pattern, actions, created_at)
             VALUES ('grant_of_others', 'account_of_others', 'queues/**', 'read take-1', '2020-02-02');
         INSERT INTO api_keys (id, account, hash, note, created_at)
             VALUES ('key_of_others', 'account_of_others', zeroblob(32), 'theirs', '2020-02-02');",
    )
}

/// Copies a folder with all that is in it.
///
/// # Errors
///
/// When something cannot be read or written.
pub fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
