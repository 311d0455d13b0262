//! The rows of a ledger: what is read and written, as SQL.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    alive,
    faults::{Explained as _, unreadable},
};
use crate::{
    address::{Address, Instance},
    error::{Error, ErrorKind, Result},
    ledger::{
        Accepted, Batch, Head, Header, Held, Lease, OpenRun, Page, Query, Record, RunId, Sealed,
        State, Touched, grouping,
    },
    value::Digest,
};

/// Marks a SQLite file as a ledger of this crate: `aiac` in ASCII.
pub(super) const APPLICATION_ID: i32 = 0x6169_6163;

/// The tables. `batches` is the ledger; the others follow from it, but for
/// `leases`, which are no part of the record.
pub(super) const SCHEMA: &str = "
CREATE TABLE meta (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  ledger TEXT NOT NULL,
  fleet TEXT NOT NULL,
  environment TEXT NOT NULL,
  begins TEXT,
  lost TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE batches (
  sequence INTEGER PRIMARY KEY,
  header TEXT NOT NULL,
  hash TEXT NOT NULL,
  entries TEXT NOT NULL
);
CREATE TABLE records (
  instance TEXT NOT NULL,
  resource TEXT NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY (instance, resource)
) WITHOUT ROWID;
CREATE TABLE agents (
  instance TEXT PRIMARY KEY,
  agent TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE runs (
  run TEXT PRIMARY KEY,
  open TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE leases (
  instance TEXT PRIMARY KEY,
  run TEXT NOT NULL,
  holder TEXT NOT NULL,
  token INTEGER NOT NULL,
  since TEXT NOT NULL,
  until TEXT NOT NULL,
  process TEXT
) WITHOUT ROWID;
";

/// What refuses to change what was appended; made again when a checkpoint takes
/// the place of what was archived.
pub(super) const TRIGGERS: &str = "
CREATE TRIGGER batches_refuse_update BEFORE UPDATE ON batches BEGIN
  SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER batches_refuse_delete BEFORE DELETE ON batches BEGIN
  SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER batches_refuse_replace BEFORE INSERT ON batches
WHEN EXISTS (SELECT 1 FROM batches WHERE sequence >= NEW.sequence) BEGIN
  SELECT RAISE(ABORT, 'the ledger is append-only');
END;
";

/// A connection, with the path that errors name.
pub(super) struct Rows<'c> {
    pub(super) connection: &'c Connection,
    pub(super) path: &'c Path,
}

impl Rows<'_> {
    /// Reads what belongs together: all of it is as of one batch.
    pub(super) fn snapshot<T>(&self, read: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.connection.execute_batch("BEGIN").explained(self.path)?;
        let result = read(self);
        // Nothing was written, so it does not matter which end it is; and where
        // a failure ended it already, that failure is what has to be said.
        if !self.connection.is_autocommit() {
            let ended = self.connection.execute_batch("ROLLBACK").explained(self.path);
            return result.and_then(|value| ended.map(|()| value));
        }
        result
    }

    fn head(&self) -> Result<Head> {
        let newest = self
            .prepare("SELECT sequence, hash FROM batches ORDER BY sequence DESC LIMIT 1")?
            .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
            .optional()
            .explained(self.path)?;
        let Some((sequence, hash)) = newest else { return Ok(Head::EMPTY) };
        let hash = Digest::parse(&hash)
            .ok_or_else(|| unreadable(self.path, "a batch's hash", "not a digest"))?;
        Ok(Head { sequence: self.unsigned(sequence)?, hash })
    }

    /// The version of the file's form, as of this transaction.
    pub(super) fn format(&self) -> Result<u32> {
        self.prepare("PRAGMA user_version")?.query_row([], |row| row.get(0)).explained(self.path)
    }

    /// What another connection's commit changes, and one of this connection
    /// does not.
    pub(super) fn version(&self) -> Result<i64> {
        self.prepare("PRAGMA data_version")?.query_row([], |row| row.get(0)).explained(self.path)
    }

    /// The fleet and environment that the ledger is of.
    pub(super) fn meant_for(&self) -> Result<(String, String)> {
        self.connection
            .query_row("SELECT fleet, environment FROM meta", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .explained(self.path)
    }

    /// A state without records.
    fn named(&self) -> Result<State> {
        // Format 1 has neither a beginning nor a rewind, and is read as it is.
        let sql = match self.format()? {
            1 => "SELECT ledger, fleet, environment, NULL, '[]' FROM meta",
            _ => "SELECT ledger, fleet, environment, begins, lost FROM meta",
        };
        let (ledger, fleet, environment, begins, lost) = self
            .prepare(sql)?
            .query_row([], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get::<_, Option<String>>(3)?,
                    row.get::<_, String>(4)?,
                ))
            })
            .explained(self.path)?;
        Ok(State {
            head: self.head()?,
            ledger,
            fleet,
            environment,
            begins: begins.map(|begins| self.decode(&begins)).transpose()?,
            lost: self.decode(&lost)?,
            ..State::default()
        })
    }

    /// The state, or the part that is asked for.
    pub(super) fn state(&self, query: &Query) -> Result<State> {
        let mut state = self.named()?;
        match query {
            Query::Everything => {
                self.each("SELECT instance, resource, record FROM records", [], |row| {
                    self.record(row, &mut state.records)
                })?;
                self.each("SELECT instance, agent FROM agents", [], |row| {
                    let instance = self.parse::<Instance>(row, 0)?;
                    state.agents.insert(instance, self.json(row, 1)?);
                    Ok(())
                })?;
            }
            Query::Agents(instances) => {
                let mut records = self.prepare(
                    "SELECT instance, resource, record FROM records WHERE instance = ?1",
                )?;
                let mut agents = self.prepare("SELECT agent FROM agents WHERE instance = ?1")?;
                for instance in instances.iter().collect::<BTreeSet<_>>() {
                    let key = instance.to_string();
                    self.rows_of(&mut records, [&key], |row| self.record(row, &mut state.records))?;
                    self.rows_of(&mut agents, [&key], |row| {
                        state.agents.insert(instance.clone(), self.json(row, 0)?);
                        Ok(())
                    })?;
                }
            }
        }
        let wanted: Option<BTreeSet<&Instance>> = match query {
            Query::Everything => None,
            Query::Agents(instances) => Some(instances.iter().collect()),
        };
        self.runs(wanted.as_ref(), &mut state)?;
        Ok(state)
    }

    /// The state of the agents that follow, in the order of their text.
    pub(super) fn page(&self, after: Option<&Instance>, limit: usize) -> Result<Page> {
        let mut state = self.named()?;
        let after = after.map(ToString::to_string).unwrap_or_default();
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        // An agent may have a row of its own, records, or both: each table says
        // where so many of its agents end, and the page ends at the nearer one.
        let agents = "SELECT instance FROM agents WHERE instance > ?1 ORDER BY instance \
                      LIMIT 1 OFFSET ?2 - 1";
        let records = "SELECT instance FROM (SELECT DISTINCT instance FROM records \
                       WHERE instance > ?1 ORDER BY instance LIMIT ?2) LIMIT 1 OFFSET ?2 - 1";
        let mut ends: Vec<String> = Vec::new();
        for sql in [agents, records] {
            let end = self
                .prepare(sql)?
                .query_row(params![after, most], |row| row.get(0))
                .optional()
                .explained(self.path)?;
            ends.extend(end);
        }
        let end = ends.into_iter().min();
        // No name holds a character that sorts behind this one.
        let until = end.as_deref().unwrap_or("\u{10ffff}");
        self.each(
            "SELECT instance, resource, record FROM records WHERE instance > ?1 AND instance <= ?2",
            [&*after, until],
            |row| self.record(row, &mut state.records),
        )?;
        self.each(
            "SELECT instance, agent FROM agents WHERE instance > ?1 AND instance <= ?2",
            [&*after, until],
            |row| {
                let instance = self.parse::<Instance>(row, 0)?;
                state.agents.insert(instance, self.json(row, 1)?);
                Ok(())
            },
        )?;
        let last = match end {
            None => None,
            Some(end) => {
                Some(end.parse().map_err(|error| unreadable(self.path, "an agent's name", error))?)
            }
        };
        self.runs(None, &mut state)?;
        Ok(Page { state, last })
    }

    /// The runs that are under way, of these agents or of all.
    fn runs(&self, wanted: Option<&BTreeSet<&Instance>>, state: &mut State) -> Result<()> {
        // Only what is under way stands here, so there is nothing to index.
        self.each("SELECT run, open FROM runs", [], |row| {
            let run: OpenRun = self.json(row, 1)?;
            let asked =
                wanted.is_none_or(|wanted| run.instances.iter().any(|i| wanted.contains(i)));
            if asked {
                state.runs.insert(self.run(row, 0)?, run);
            }
            Ok(())
        })
    }

    /// The part of the state that a group of appends needs. What is known of it
    /// already is taken from there.
    pub(super) fn part(
        &self,
        needs: &Touched,
        known: &mut BTreeMap<Address, Record>,
    ) -> Result<State> {
        let mut state = self.named()?;
        let mut records =
            self.prepare("SELECT record FROM records WHERE instance = ?1 AND resource = ?2")?;
        for address in &needs.addresses {
            if let Some(record) = known.remove(address) {
                state.records.insert(address.clone(), record);
                continue;
            }
            let found = records
                .query_row(params![address.instance().to_string(), address.resource()], |row| {
                    row.get::<_, String>(0)
                })
                .optional()
                .explained(self.path)?;
            if let Some(text) = found {
                state.records.insert(address.clone(), self.decode(&text)?);
            }
        }
        let mut agents = self.prepare("SELECT agent FROM agents WHERE instance = ?1")?;
        for instance in &needs.agents {
            let found = agents
                .query_row([instance.to_string()], |row| row.get::<_, String>(0))
                .optional()
                .explained(self.path)?;
            if let Some(text) = found {
                state.agents.insert(instance.clone(), self.decode(&text)?);
            }
        }
        let mut runs = self.prepare("SELECT open FROM runs WHERE run = ?1")?;
        for run in &needs.runs {
            let found = runs
                .query_row([run.as_str()], |row| row.get::<_, String>(0))
                .optional()
                .explained(self.path)?;
            if let Some(text) = found {
                state.runs.insert(run.clone(), self.decode(&text)?);
            }
        }
        Ok(state)
    }

    /// Up to `limit` batches, each checked against its own hash.
    pub(super) fn batches(&self, from: u64, limit: usize) -> Result<Vec<Batch>> {
        let open = |sealed: &Sealed| {
            if Digest::of_bytes(sealed.entries.as_bytes()) == sealed.header.body {
                return sealed.open();
            }
            Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "batch {} of the ledger `{}` holds other entries than its header was made for",
                    sealed.header.sequence,
                    self.path.display()
                ),
            )
            .help("restore the ledger from a backup that is not older than its pin"))
        };
        self.sealed(from, limit)?.iter().map(open).collect()
    }

    /// Up to `limit` batches whose headers are right. The digest of the entries
    /// is for whoever follows the chain: to take it twice would cost as much as
    /// all the rest.
    pub(super) fn sealed(&self, from: u64, limit: usize) -> Result<Vec<Sealed>> {
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut batches = Vec::new();
        self.each(
            "SELECT sequence, header, hash, entries FROM batches WHERE sequence >= ?1 \
             ORDER BY sequence LIMIT ?2",
            [from, limit],
            |row| {
                batches.push(self.one_sealed(row)?);
                Ok(())
            },
        )?;
        Ok(batches)
    }

    fn one_sealed(&self, row: &Row<'_>) -> Result<Sealed> {
        let sequence: i64 = self.column(row, 0)?;
        let damaged = |what: &str| {
            Error::new(
                ErrorKind::Damaged,
                format!("batch {sequence} of the ledger `{}` {what}", self.path.display()),
            )
            .help("restore the ledger from a backup that is not older than its pin")
        };
        let text: String = self.column(row, 1)?;
        let header: Header = serde_json::from_str(&text)
            .map_err(|error| damaged("has a header that cannot be read").caused_by(error))?;
        if i64::try_from(header.sequence) != Ok(sequence) {
            return Err(damaged("stands where another should"));
        }
        let hash = Digest::parse(&self.column::<String>(row, 2)?);
        if Some(Digest::of_bytes(text.as_bytes())) != hash {
            return Err(damaged("has another header than its hash was made for"));
        }
        Ok(Sealed { header, entries: self.column(row, 3)? })
    }

    /// The leases of these agents, or all of them.
    pub(super) fn leases(
        &self,
        of: Option<&BTreeSet<Instance>>,
    ) -> Result<BTreeMap<Instance, Held>> {
        const COLUMNS: &str =
            "SELECT instance, run, holder, token, since, until, process FROM leases";
        let mut leases = BTreeMap::new();
        // One look at a process answers for all of its leases.
        let mut ended: BTreeMap<String, bool> = BTreeMap::new();
        let mut read = |row: &Row<'_>| {
            let instance = self.parse::<Instance>(row, 0)?;
            let lease = Lease {
                instance: instance.clone(),
                run: self.run(row, 1)?,
                holder: self.column(row, 2)?,
                since: self.parse::<Timestamp>(row, 4)?,
                until: self.parse::<Timestamp>(row, 5)?,
            };
            let token = self.unsigned(self.column(row, 3)?)?;
            let dead = match self.column::<Option<String>>(row, 6)? {
                Some(name) => {
                    *ended.entry(name).or_insert_with_key(|name| alive::has_ended(self.path, name))
                }
                None => false,
            };
            leases.insert(instance, Held { lease, token, dead });
            Ok(())
        };
        match of {
            None => self.each(COLUMNS, [], &mut read)?,
            Some(instances) => {
                let mut some = self.prepare(&format!("{COLUMNS} WHERE instance = ?1"))?;
                for instance in instances {
                    self.rows_of(&mut some, [instance.to_string()], &mut read)?;
                }
            }
        }
        Ok(leases)
    }

    /// The name of the lock of the process that holds a lease.
    pub(super) fn process_of(&self, instance: &Instance) -> Result<Option<String>> {
        let process = self
            .connection
            .query_row(
                "SELECT process FROM leases WHERE instance = ?1",
                [instance.to_string()],
                |row| row.get::<_, Option<String>>(0),
            )
            .optional()
            .explained(self.path)?;
        Ok(process.flatten())
    }

    /// Writes a lease; `None` gives it back.
    pub(super) fn put_lease(
        &self,
        instance: &Instance,
        held: Option<&Held>,
        process: Option<&str>,
    ) -> Result<()> {
        let Some(Held { lease, token, .. }) = held else {
            return self.write("DELETE FROM leases WHERE instance = ?1", [instance.to_string()]);
        };
        self.write(
            "INSERT OR REPLACE INTO leases (instance, run, holder, token, since, until, process) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                instance.to_string(),
                lease.run.as_str(),
                lease.holder,
                signed(*token)?,
                lease.since.to_string(),
                lease.until.to_string(),
                process,
            ],
        )
    }

    /// Moves the end of a lease that goes on.
    pub(super) fn prolong(&self, held: &Held) -> Result<()> {
        self.write(
            "UPDATE leases SET until = ?2 WHERE instance = ?1",
            params![held.lease.instance.to_string(), held.lease.until.to_string()],
        )
    }

    /// Writes batches, in their order.
    pub(super) fn put_batches<'a>(
        &self,
        accepted: impl IntoIterator<Item = &'a Accepted>,
    ) -> Result<()> {
        for Accepted { appended, batch, json, .. } in accepted {
            self.put_batch(&batch.header, appended.head.hash, json)?;
        }
        Ok(())
    }

    /// Writes one batch, with the canonical JSON of its entries.
    pub(super) fn put_batch(&self, header: &Header, hash: Digest, entries: &str) -> Result<()> {
        self.write(
            "INSERT INTO batches (sequence, header, hash, entries) VALUES (?1, ?2, ?3, ?4)",
            params![signed(header.sequence)?, grouping::text(header)?, hash.to_string(), entries],
        )
    }

    /// Writes all of the fold into tables that hold nothing yet.
    pub(super) fn put_state(&self, state: &State) -> Result<()> {
        self.put_meta(state)?;
        let all = Touched {
            addresses: state.records.keys().cloned().collect(),
            agents: state.agents.keys().cloned().collect(),
            runs: state.runs.keys().cloned().collect(),
        };
        self.put_changed(state, &all)
    }

    /// Writes the parts of the materialised fold that changed.
    pub(super) fn put_changed(&self, state: &State, changed: &Touched) -> Result<()> {
        for address in &changed.addresses {
            let key = (address.instance().to_string(), address.resource());
            match state.records.get(address) {
                Some(record) => self.write(
                    "INSERT OR REPLACE INTO records (instance, resource, record) \
                     VALUES (?1, ?2, ?3)",
                    params![key.0, key.1, encode(record)?],
                ),
                None => self.write(
                    "DELETE FROM records WHERE instance = ?1 AND resource = ?2",
                    params![key.0, key.1],
                ),
            }?;
        }
        for instance in &changed.agents {
            self.put_one(
                "agents",
                "instance",
                "agent",
                &instance.to_string(),
                state.agents.get(instance),
            )?;
        }
        for run in &changed.runs {
            self.put_one("runs", "run", "open", run.as_str(), state.runs.get(run))?;
        }
        Ok(())
    }

    fn put_one<T: Serialize>(
        &self,
        table: &str,
        key: &str,
        value: &str,
        name: &str,
        row: Option<&T>,
    ) -> Result<()> {
        match row {
            Some(row) => self.write(
                &format!("INSERT OR REPLACE INTO {table} ({key}, {value}) VALUES (?1, ?2)"),
                params![name, encode(row)?],
            ),
            None => self.write(&format!("DELETE FROM {table} WHERE {key} = ?1"), [name]),
        }
    }

    pub(super) fn put_meta(&self, state: &State) -> Result<()> {
        let begins = state.begins.as_ref().map(encode).transpose()?;
        self.write(
            "INSERT OR REPLACE INTO meta (only, ledger, fleet, environment, begins, lost) \
             VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            params![state.ledger, state.fleet, state.environment, begins, encode(&state.lost)?],
        )
    }

    fn write(&self, sql: &str, params: impl rusqlite::Params) -> Result<()> {
        self.prepare(sql)?.execute(params).explained(self.path)?;
        Ok(())
    }

    /// A large run repeats a few statements thousands of times, and to parse
    /// one takes longer than to carry it out.
    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>> {
        self.connection.prepare_cached(sql).explained(self.path)
    }

    fn each(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        self.rows_of(&mut *self.prepare(sql)?, params, read)
    }

    fn rows_of(
        &self,
        statement: &mut rusqlite::Statement<'_>,
        params: impl rusqlite::Params,
        mut read: impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut rows = statement.query(params).explained(self.path)?;
        while let Some(row) = rows.next().explained(self.path)? {
            read(row)?;
        }
        Ok(())
    }

    fn record(&self, row: &Row<'_>, records: &mut BTreeMap<Address, Record>) -> Result<()> {
        let instance = self.parse::<Instance>(row, 0)?;
        let address = Address::new(instance, self.column::<String>(row, 1)?)
            .map_err(|error| unreadable(self.path, "an address", error))?;
        records.insert(address, self.json(row, 2)?);
        Ok(())
    }

    fn run(&self, row: &Row<'_>, column: usize) -> Result<RunId> {
        let text = serde_json::Value::String(self.column(row, column)?);
        serde_json::from_value(text).map_err(|error| unreadable(self.path, "a run's name", error))
    }

    fn column<T: rusqlite::types::FromSql>(&self, row: &Row<'_>, column: usize) -> Result<T> {
        row.get(column).explained(self.path)
    }

    fn parse<T>(&self, row: &Row<'_>, column: usize) -> Result<T>
    where
        T: std::str::FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text: String = self.column(row, column)?;
        text.parse().map_err(|error: T::Err| unreadable(self.path, "a name or time", error))
    }

    fn json<T: DeserializeOwned>(&self, row: &Row<'_>, column: usize) -> Result<T> {
        self.decode(&self.column::<String>(row, column)?)
    }

    fn decode<T: DeserializeOwned>(&self, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|error| unreadable(self.path, "the state", error))
    }

    fn unsigned(&self, number: i64) -> Result<u64> {
        u64::try_from(number).map_err(|error| unreadable(self.path, "a number", error))
    }
}

/// A row of the fold, which is never hashed: its JSON need not be canonical.
fn encode(row: &impl Serialize) -> Result<String> {
    serde_json::to_string(row)
        .map_err(|error| Error::new(ErrorKind::Bug, "a record has no JSON form").caused_by(error))
}

fn signed(number: u64) -> Result<i64> {
    i64::try_from(number)
        .map_err(|error| Error::new(ErrorKind::Bug, "a ledger has no such batch").caused_by(error))
}
