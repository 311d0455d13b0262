//! A look at what a process left on real systems, past the engine.
//!
//! It works on a copy, so it settles nothing that the next process has to
//! settle. Of the engine it uses what reads a ledger and what opens a secret;
//! the authority is read as the SQLite file that it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use agent_iac::{
    Result,
    address::Address,
    clock::{SystemClock, block_on},
    ledger::{self, Ledger as _, Managed, Query, Record, SqliteLedger, State, sqlite::Options},
    providers::authority::{Authority, Decision, Reason},
    schema::Kind,
    vault::{SecretStore as _, age::AgeVault},
};

use crate::embedded::{Declared, FLEET, Row, Version, column, declared, rows, text};

/// What must hold, and by whose account it was found not to.
struct Look {
    wrong: Vec<String>,
    state: State,
    /// The rows of this fleet, by table.
    tables: BTreeMap<&'static str, Vec<Row>>,
    vault: Option<AgeVault>,
    authority: Authority,
}

/// What is wrong in a folder after a process died there or failed: in the
/// middle of anything, or, given what was declared, when all is settled.
///
/// * Everything real of the fleet has an entry that leads to it (I2).
/// * Nothing is recorded that is not there, unless a step is open (I2).
/// * The chain holds, and its replay is the state (I4).
/// * What stands at a credential's place works (I6).
/// * No secret stands in the ledger or the authority (I10).
/// * Settled: exactly what was declared, nothing open, no run, no lease (I13).
///
/// # Errors
///
/// When a file cannot be read.
pub fn look(folder: &Path, settled: Option<(Version, usize)>) -> Result<Vec<String>> {
    if !folder.join("ledger.db").exists() {
        return Ok(Vec::new());
    }
    let copy = std::env::temp_dir().join(format!("agent-iac-look-{}", std::process::id()));
    let copied = copy_all(folder, &copy);
    let found = match copied {
        Ok(()) => look_at(&copy, settled),
        Err(error) => {
            Ok(vec![format!("the folder `{}` cannot be copied: {error}", folder.display())])
        }
    };
    // A folder for temporary files is emptied by others, too.
    let _: std::io::Result<()> = fs::remove_dir_all(&copy);
    found
}

fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

fn look_at(folder: &Path, settled: Option<(Version, usize)>) -> Result<Vec<String>> {
    let ledger =
        SqliteLedger::open_read_only(folder.join("ledger.db"), &Options::new(FLEET, "test"));
    let ledger = match ledger {
        Ok(ledger) => ledger,
        // It died before there was anything in it.
        Err(error) if error.kind() == agent_iac::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let state = block_on(ledger.state(&Query::Everything))?;
    let file = folder.join("authority.db");
    let mut tables = BTreeMap::new();
    let mut wrong = Vec::new();
    for table in ["accounts", "grants", "api_keys"] {
        match rows(&file, table) {
            Ok(rows) => {
                let ours = rows.into_iter().filter(|row| column(row, "fleet") == FLEET);
                tables.insert(table, ours.collect::<Vec<Row>>());
            }
            Err(error) => wrong.push(format!("the authority's {table} cannot be read: {error}")),
        }
    }
    let keys = folder.join("keys");
    let mut look = Look {
        wrong,
        state,
        tables,
        vault: keys.exists().then(|| AgeVault::init(folder.join("vault"), &keys)).transpose()?,
        authority: Authority::open(&file, Arc::new(SystemClock))?,
    };
    match block_on(ledger::verify(&ledger, None)) {
        Ok(verified) if verified.head == look.state.head => {}
        Ok(verified) => look.says(format!("I4: the replay ends at {:?}", verified.head)),
        Err(error) => look.says(format!("I4: {error:?}")),
    }
    look.orphans();
    look.lost();
    look.secrets(folder, settled.is_some());
    if let Some((version, size)) = settled {
        look.settled(&declared(version, size), version, size);
        match block_on(ledger.leases()) {
            Ok(leases) if leases.is_empty() => {}
            leases => look.says(format!("a lease is held: {leases:?}")),
        }
    }
    Ok(look.wrong)
}

impl Look {
    fn says(&mut self, what: String) {
        self.wrong.push(what);
    }

    fn all(&self) -> Vec<(&'static str, Row)> {
        let of = |(table, rows): (&&'static str, &Vec<Row>)| {
            let table = *table;
            rows.iter().map(move |row| (table, row.clone())).collect::<Vec<_>>()
        };
        self.tables.iter().flat_map(of).collect()
    }

    /// What is there, and no entry leads to it.
    fn orphans(&mut self) {
        for (table, row) in self.all() {
            let (id, at) = (column(&row, "id"), column(&row, "address"));
            let record = at.parse().ok().and_then(|at: Address| self.state.records.get(&at));
            let known = record.is_some_and(|record| {
                record.open.is_some() || objects(record).any(|object| object.id == id)
            });
            if !known {
                self.says(format!("I2: {id} of {at} in {table} is in no record"));
            }
        }
    }

    /// What is recorded, is not there, and nobody is at it.
    fn lost(&mut self) {
        let there: BTreeSet<String> =
            self.all().iter().map(|(_, row)| column(row, "id").to_owned()).collect();
        let recorded = self.state.records.iter().filter(|(_, record)| record.open.is_none());
        let lost: Vec<String> = recorded
            .flat_map(|(address, record)| objects(record).map(move |object| (address, object)))
            .filter(|(_, object)| !there.contains(&object.id))
            .map(|(address, object)| {
                format!("I2: {address} is recorded as {}, which is not there", object.id)
            })
            .collect();
        self.wrong.extend(lost);
    }

    /// Whether what stands at each place works, and stands nowhere else. To open
    /// a secret takes long: in the middle of things it is one in eight.
    fn secrets(&mut self, folder: &Path, all: bool) {
        let turn = usize::try_from(self.state.head.sequence % 8).unwrap_or_default();
        let Some(vault) = &self.vault else { return };
        let files = ["ledger.db", "ledger.db-wal", "authority.db", "authority.db-journal"];
        let files: Vec<(&str, Vec<u8>)> =
            files.map(|name| (name, fs::read(folder.join(name)).unwrap_or_default())).into();
        let mut wrong = Vec::new();
        for (number, (address, record)) in self.state.records.iter().enumerate() {
            if !all && number % 8 != turn {
                continue;
            }
            let object = record.object.as_ref().filter(|object| object.kind == Kind::Credential);
            let Some(place) = object.and_then(|object| object.credential.as_ref()) else {
                continue;
            };
            let secret = match vault
                .open()
                .and_then(|open| block_on(open.open(place.place.path(), None, None)))
            {
                Ok(secret) => secret,
                Err(error) if record.open.is_none() => {
                    wrong.push(format!("I6: {address}: {error}"));
                    continue;
                }
                Err(_) => continue,
            };
            let text = text(&secret);
            let told = block_on(self.authority.check(&text, "no-such-action", "nowhere"));
            // Who leaves is suspended first, and loses its key then.
            let works = matches!(
                told,
                Ok(Decision::Refused(Reason::NotGranted | Reason::SuspendedAccount))
            );
            if !works && record.open.is_none() {
                wrong.push(format!("I6: {address}: what stands at its place is answered {told:?}"));
            }
            for (name, bytes) in &files {
                if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                    wrong.push(format!("I10: the secret of {address} stands in {name}"));
                }
            }
        }
        self.wrong.extend(wrong);
    }

    fn settled(&mut self, declared: &[Declared], version: Version, size: usize) {
        for (address, record) in &self.state.records {
            if let Some(open) = &record.open {
                self.wrong.push(format!("I12: {address} is in doubt: {:?}", open.action));
            }
            if !record.deposed.is_empty() {
                self.wrong.push(format!("I13: {address} has an old object still"));
            }
        }
        for run in self.state.runs.keys() {
            self.wrong.push(format!("I12: the run {run} is not ended"));
        }
        let named: BTreeMap<String, String> = self
            .tables
            .get("accounts")
            .into_iter()
            .flatten()
            .map(|row| (column(row, "id").to_owned(), column(row, "name").to_owned()))
            .collect();
        let of = |row: &Row| named.get(column(row, "account")).cloned().unwrap_or_default();
        let mut there: Vec<String> = named.values().map(|name| format!("account {name}")).collect();
        for row in self.tables.get("grants").into_iter().flatten() {
            let actions: BTreeSet<&str> = column(row, "actions").split_whitespace().collect();
            there.push(format!("grant {} {} {actions:?}", of(row), column(row, "pattern")));
        }
        for row in self.tables.get("api_keys").into_iter().flatten() {
            there.push(format!("key {}", of(row)));
        }
        let mut wanted = Vec::new();
        for agent in declared {
            wanted.extend([format!("account {}", agent.account), format!("key {}", agent.account)]);
            for (pattern, actions) in &agent.grants {
                wanted.push(format!("grant {} {pattern} {actions:?}", agent.account));
            }
        }
        there.sort();
        wanted.sort();
        for more in missing(&there, &wanted) {
            self.says(format!("I13 ({version}, {size}): there is, and should not be: {more}"));
        }
        for less in missing(&wanted, &there) {
            self.says(format!("I13 ({version}, {size}): should be, and is not there: {less}"));
        }
    }
}

fn objects(record: &Record) -> impl Iterator<Item = &Managed> {
    record.object.iter().chain(&record.deposed).map(|object| &**object)
}

/// What is in one sorted list more often than in the other.
fn missing(of: &[String], from: &[String]) -> Vec<String> {
    let mut rest = from.to_vec();
    of.iter()
        .filter(|line| match rest.binary_search(line) {
            Ok(at) => {
                rest.remove(at);
                false
            }
            Err(_) => true,
        })
        .cloned()
        .collect()
}
