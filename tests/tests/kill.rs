//! A process that applies a fleet on the embedded systems, killed at fifty
//! random moments, and started again each time.
//!
//! The moments are drawn from a seed that is printed first; the variable
//! `AGENT_IAC_SEED` gives it again. The machine's own timing stays outside of
//! the seed, so the same seed aims alike and does not hit alike.
#![expect(
    clippy::disallowed_methods,
    reason = "real processes are killed in real time, at moments that a person can ask for again"
)]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "all of this file is a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use agent_iac::{
    apply::RunContext,
    clock::{Entropy as _, SystemClock, SystemEntropy, block_on},
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::{
        self, Actor, Event, Ledger as _, Query, RunEvent, RunPurpose, SqliteLedger, State,
        sqlite::Options,
    },
    plan::SavedPlan,
    prelude::*,
    provider::Reach,
    providers::authority::{self as auth, Authority, Decision, Reason},
};
use agent_iac_tests::{
    converge,
    embedded::{
        self, Row, Version, column, declared, deployment, plant_others, rows, text, vaulted,
    },
    operator,
};

const AGENTS: usize = 100;
const KILLS: usize = 50;
/// What the process may take from its start to the begin of a run, or from
/// there to its end.
const PATIENCE: Duration = Duration::from_mins(1);

/// The generator `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let seed = std::env::var("AGENT_IAC_SEED").ok().map_or_else(
            || {
                let mut bytes = [0; 8];
                SystemEntropy.fill(&mut bytes);
                u64::from_be_bytes(bytes)
            },
            |text| text.parse().expect("AGENT_IAC_SEED is a number"),
        );
        println!("AGENT_IAC_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: Duration) -> Duration {
        let limit = u64::try_from(limit.as_micros()).expect("a short time").max(1);
        Duration::from_micros(self.next() % limit)
    }
}

/// The process, and what it says.
struct Applying {
    child: Child,
    said: mpsc::Receiver<String>,
}

impl Applying {
    fn start(folder: &Path, version: Version) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_apply-fleet"))
            .arg(folder)
            .args([version.to_string(), AGENTS.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, said) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                // What is killed blindly is not listened to.
                let _: Result<(), mpsc::SendError<String>> = tell.send(line);
            }
        });
        Self { child, said }
    }

    /// Waits until the process is at a random moment of a run, or has ended.
    fn aim(&self, random: &mut Random, window: &mut Duration) {
        let mut patience = PATIENCE;
        loop {
            match self.said.recv_timeout(patience).as_deref() {
                Ok("begun") => patience = random.below(*window),
                // That run was shorter; there may be another one.
                Ok(_) => {
                    *window = window.mul_f64(0.9).max(Duration::from_millis(20));
                    patience = PATIENCE;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    assert!(patience < PATIENCE, "nothing happened for {PATIENCE:?}");
                    return;
                }
            }
        }
    }

    /// Kills it; `false` when it had ended by itself, which it may only do in
    /// success.
    fn kill(mut self) -> bool {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        if status.signal() == Some(9) {
            return true;
        }
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(status.success(), "{status}: {said}");
        false
    }

    fn ends(mut self) {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it did not end within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(!self.kill(), "it had ended");
    }
}

/// What a dead process left in the ledger, read as an auditor would.
struct Left {
    state: State,
    last: String,
}

fn left(folder: &Path) -> Option<Left> {
    let path = folder.join("ledger.db");
    if !path.exists() {
        return None;
    }
    let options = Options::new(embedded::FLEET, "test");
    let ledger = match SqliteLedger::open_read_only(path, &options) {
        Ok(ledger) => ledger,
        Err(error) if error.kind() == agent_iac::ErrorKind::NotFound => return None,
        Err(error) => panic!("{error:?}"),
    };
    let state = block_on(ledger.state(&Query::Everything)).unwrap();
    let batch = block_on(ledger.batches(state.head.sequence, 1)).unwrap().remove(0);
    let entry = batch.entries.last().expect("no batch is empty");
    let event = serde_json::to_value(&entry.event).unwrap();
    let about = entry.address.as_ref().map_or_else(String::new, |address| format!(" of {address}"));
    let (kind, phase) = (&event["kind"], &event["phase"]);
    let last = format!("{}/{}{about}", kind.as_str().unwrap(), phase.as_str().unwrap());
    Some(Left { state, last })
}

/// Somebody else's agent, in the same authority.
#[derive(Agent)]
#[agent(owner = "team:others", expires = "2099-12-31", grace = "0d")]
struct Other {
    #[identity(name = "reporter-of-others")]
    account: auth::Account,
    #[permission(to = account, on = "queues/001/theirs", allow = ["read", "take-1"])]
    queue: auth::Grant,
    #[credential(of = account, deliver = "vault:other")]
    key: auth::ApiKey,
}

/// What is not ours in the authority: what somebody made by hand, and what the
/// fleet of others manages there. Its key is given back.
fn plant(folder: &Path, elsewhere: &Path) -> String {
    let authority = folder.join("authority.db");
    let provider =
        auth::AuthorityProvider::create(&authority, Arc::new(SystemClock), Arc::new(SystemEntropy))
            .unwrap();
    plant_others(&authority).unwrap();
    let mut fleet = Fleet::new("others");
    fleet.provider("authority", Reach::Declared).store("vault");
    fleet.add(OtherInputs {});
    let others = Deployment::embedded(fleet, "test", elsewhere)
        .unwrap()
        .with_provider("authority", Arc::new(provider));
    let saved = SavedPlan::new(block_on(others.plan(&PlanRequest::default())).unwrap()).unwrap();
    let context = RunContext::new(Actor::asserted("test", "somebody else"));
    let report = block_on(others.apply(&saved, &context.acknowledging(saved.digest()))).unwrap();
    assert!(report.is_complete(), "{report:?}");
    text(&vaulted(&others, "other").unwrap())
}

/// The rows that belong to accounts of others, by table.
fn of_others(folder: &Path) -> BTreeMap<&'static str, Vec<Row>> {
    let authority = folder.join("authority.db");
    let accounts: Vec<Row> = rows(&authority, "accounts")
        .unwrap()
        .into_iter()
        .filter(|row| ["worker-by-hand", "reporter-of-others"].contains(&column(row, "name")))
        .collect();
    let ids: BTreeSet<String> = accounts.iter().map(|row| column(row, "id").to_owned()).collect();
    let of = |table| {
        let rows = rows(&authority, table).unwrap().into_iter();
        rows.filter(|row| ids.contains(column(row, "account"))).collect::<Vec<_>>()
    };
    let all = BTreeMap::from([
        ("grants", of("grants")),
        ("api_keys", of("api_keys")),
        ("revoked_keys", of("revoked_keys")),
        ("accounts", accounts),
    ]);
    let counts: Vec<usize> = all.values().map(Vec::len).collect();
    assert_eq!(counts, [2, 2, 2, 0], "accounts, keys, grants and revoked keys of others");
    all
}

#[test]
fn fifty_kills_leave_nothing_behind_that_the_next_run_does_not_settle() {
    let mut random = Random::seeded();
    let whole = Instant::now();
    let place = tempfile::tempdir().unwrap();
    let (folder, elsewhere): (PathBuf, PathBuf) =
        (place.path().join("fleet"), place.path().join("others"));
    std::fs::create_dir(&folder).unwrap();
    let key_of_others = plant(&folder, &elsewhere);
    let others = of_others(&folder);

    let mut versions = [Version::Full, Version::Half, Version::Changed].into_iter().cycle();
    let mut version = versions.next().unwrap();
    // The longest time after the begin of a run that is aimed at; it follows
    // how long the runs of this machine are.
    let mut window = Duration::from_millis(500);
    let (mut kills, mut in_a_run, mut in_doubt, mut completed) = (0, 0, 0, 0);
    let mut purposes: BTreeMap<String, usize> = BTreeMap::new();
    while kills < KILLS {
        let head = left(&folder).map_or(0, |left| left.state.head.sequence);
        let process = Applying::start(&folder, version);
        // Some are killed blindly: while they start, plan or recover.
        if random.next().is_multiple_of(16) {
            thread::sleep(random.below(window + Duration::from_millis(250)));
        } else {
            process.aim(&mut random, &mut window);
        }
        if !process.kill() {
            completed += 1;
            version = versions.next().unwrap();
            continue;
        }
        window = window.mul_f64(1.1).min(PATIENCE / 2);
        kills += 1;
        let Some(Left { state, last }) = left(&folder) else {
            println!("kill {kills:2} ({version}): no ledger yet");
            continue;
        };
        // A run of an earlier process that is not settled yet does not count.
        let begun = begun_since(&folder, head);
        let running: Vec<_> =
            begun.iter().filter(|(run, _)| state.runs.contains_key(*run)).collect();
        let open = state.records.values().filter(|record| record.open.is_some()).count();
        in_a_run += usize::from(!running.is_empty());
        in_doubt += usize::from(open > 0);
        let purpose = running.first().map_or("no run".to_owned(), |(_, p)| format!("{p:?}"));
        println!("kill {kills:2} ({version}): after {last}; in {purpose}, {open} in doubt");
        *purposes.entry(purpose).or_default() += 1;
    }
    println!(
        "{KILLS} kills: {in_a_run} in a run ({purposes:?}), {in_doubt} with a step in doubt; \
         {completed} runs to their end in between; {:?}",
        whole.elapsed()
    );
    assert!(in_a_run * 10 >= KILLS * 8, "only {in_a_run} kills fell into a run");
    assert!(in_doubt * 10 >= KILLS * 2, "only {in_doubt} kills left a step in doubt");

    Applying::start(&folder, Version::Full).ends();
    assert_eq!(of_others(&folder), others, "what is not ours was touched");
    inspect(&folder, &key_of_others);
    println!("the whole took {:?}", whole.elapsed());
}

/// The runs that were begun after a batch, with what each is for.
fn begun_since(folder: &Path, batch: u64) -> BTreeMap<ledger::RunId, RunPurpose> {
    let options = Options::new(embedded::FLEET, "test");
    let ledger = SqliteLedger::open_read_only(folder.join("ledger.db"), &options).unwrap();
    let batches = block_on(ledger.batches(batch + 1, usize::MAX)).unwrap();
    let entries = batches.into_iter().flat_map(|batch| batch.entries);
    entries
        .filter_map(|entry| match entry.event {
            Event::Run(RunEvent::Begun { purpose, .. }) => Some((entry.run.unwrap(), purpose)),
            _ => None,
        })
        .collect()
}

/// Compares everything with what is declared, past the engine where that is
/// possible.
fn inspect(folder: &Path, key_of_others: &str) {
    let authority = folder.join("authority.db");
    let declared = declared(Version::Full, AGENTS);
    let foreign =
        |row: &Row| ["worker-by-hand", "reporter-of-others"].contains(&column(row, "name"));

    // Exactly the declared accounts.
    let accounts: BTreeMap<String, String> = rows(&authority, "accounts")
        .unwrap()
        .iter()
        .filter(|row| !foreign(row))
        .map(|row| {
            assert_eq!(row["suspended"], rusqlite::types::Value::Integer(0), "{row:?}");
            (column(row, "name").to_owned(), column(row, "id").to_owned())
        })
        .collect();
    let names: BTreeSet<&str> = accounts.keys().map(String::as_str).collect();
    assert_eq!(names, declared.iter().map(|agent| agent.account.as_str()).collect());
    let ours: BTreeMap<&str, &str> =
        accounts.iter().map(|(name, id)| (id.as_str(), name.as_str())).collect();

    // Exactly the declared grants.
    let mut granted: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for row in rows(&authority, "grants").unwrap() {
        let Some(name) = ours.get(column(&row, "account")) else { continue };
        let actions = column(&row, "actions").split_whitespace().map(str::to_owned).collect();
        let second =
            granted.insert(((*name).to_owned(), column(&row, "pattern").to_owned()), actions);
        assert_eq!(second, None, "a second grant: {row:?}");
    }
    let wanted: BTreeMap<(String, String), BTreeSet<String>> = declared
        .iter()
        .flat_map(|agent| {
            let of = |(pattern, actions): (&String, &BTreeSet<String>)| {
                ((agent.account.clone(), pattern.clone()), actions.clone())
            };
            agent.grants.iter().map(of).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(granted, wanted);

    // One key for each account, and the ledger knows it.
    let deployment = deployment(folder, Version::Full, AGENTS).unwrap();
    let state = block_on(deployment.state()).unwrap();
    let recorded: BTreeSet<&str> = state
        .records
        .values()
        .filter_map(|record| record.object.as_ref())
        .filter(|object| object.credential.is_some())
        .map(|object| object.id.as_str())
        .collect();
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows(&authority, "api_keys").unwrap() {
        let Some(name) = ours.get(column(&row, "account")) else { continue };
        let id = column(&row, "id");
        assert!(recorded.contains(id), "the ledger does not know the live key {id} of {name}");
        keys.entry((*name).to_owned()).or_default().push(id.to_owned());
    }
    assert!(keys.values().all(|keys| keys.len() == 1), "a second key: {keys:?}");
    assert_eq!(keys.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
    assert_eq!(recorded.len(), AGENTS, "the ledger records a key that does not live");
    for (address, record) in &state.records {
        assert!(record.open.is_none(), "{address} is in doubt: {record:?}");
        assert!(record.deposed.is_empty(), "{address} has an old object: {record:?}");
    }
    assert_eq!(state.runs, BTreeMap::new(), "a run is not ended");
    assert_eq!(block_on(deployment.ledger().leases()).unwrap(), []);

    // Each key opens what is declared and nothing else.
    let service = Authority::open(&authority, Arc::new(SystemClock)).unwrap();
    let check = |key: &str, action: &str, object: &str| {
        block_on(service.check(key, action, object)).unwrap()
    };
    for (number, agent) in declared.iter().enumerate() {
        let key = text(&vaulted(&deployment, &agent.place).unwrap());
        let allowed = Decision::Allowed { account: agent.account.clone() };
        for (pattern, actions) in &agent.grants {
            let object = pattern.replace('*', "one");
            for action in actions {
                assert_eq!(check(&key, action, &object), allowed, "{action} {object}");
            }
            assert_eq!(check(&key, "delete", &object), Decision::Refused(Reason::NotGranted));
        }
        let next = format!("queues/{:03}/one", (number + 1) % AGENTS);
        for action in ["read", "list", "close", &format!("take-{number}")] {
            assert_eq!(check(&key, action, &next), Decision::Refused(Reason::NotGranted));
        }
    }
    let allowed = Decision::Allowed { account: "reporter-of-others".into() };
    assert_eq!(check(key_of_others, "take-1", "queues/001/theirs"), allowed);

    // The history holds, and a plan has nothing left to do.
    let verified = block_on(ledger::verify(&**deployment.ledger(), None)).unwrap();
    assert_eq!(verified.head, state.head);
    let plan = block_on(deployment.plan(&PlanRequest::default())).unwrap();
    assert!(plan.is_empty() && plan.blocked.is_empty() && plan.unread.is_empty(), "{plan:?}");
    assert!(plan.in_doubt.is_empty() && plan.drift.is_empty(), "{plan:?}");
}

/// Leaves the authority as a writer does that dies between two pages: changed
/// in part, with a journal beside it that undoes the change.
fn cut_off_a_write(authority: &Path) {
    let journal = authority.with_file_name("authority.db-journal");
    let connection = rusqlite::Connection::open(authority).unwrap();
    connection.execute_batch("PRAGMA cache_size = 1; BEGIN IMMEDIATE;").unwrap();
    let note = "half of this is never committed ".repeat(200);
    for _ in 0..4 {
        connection.execute("UPDATE accounts SET description = ?1", [&note]).unwrap();
        connection.execute("UPDATE grants SET actions = ?1", [&note]).unwrap();
    }
    let (changed, undo) = (std::fs::read(authority).unwrap(), std::fs::read(&journal).unwrap());
    connection.execute_batch("ROLLBACK").unwrap();
    drop(connection);
    std::fs::write(authority, changed).unwrap();
    std::fs::write(journal, undo).unwrap();
}

#[test]
fn a_write_that_a_crash_cut_off_in_the_authority_is_undone_by_the_next_recovery() {
    let mut random = Random::seeded();
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.db");
    let mut window = Duration::from_millis(500);
    let in_doubt = || {
        let state = left(folder.path()).map(|left| left.state);
        state.is_some_and(|state| state.records.values().any(|record| record.open.is_some()))
    };
    // A step must be in doubt, so that recovery has something to ask.
    for version in [Version::Full, Version::Changed, Version::Half].into_iter().cycle().take(60) {
        let process = Applying::start(folder.path(), version);
        process.aim(&mut random, &mut window);
        process.kill();
        if in_doubt() {
            break;
        }
    }
    assert!(in_doubt(), "sixty kills left nothing in doubt");
    let deployment = deployment(folder.path(), Version::Full, AGENTS).unwrap();
    let before = rows(&authority, "accounts").unwrap();
    cut_off_a_write(&authority);

    // Planning may not write, so it cannot undo anything, and says so.
    let plan = block_on(deployment.plan(&PlanRequest::default())).unwrap();
    assert!(plan.steps.is_empty(), "{plan:?}");
    let why: BTreeSet<&String> = plan.unread.values().flatten().collect();
    assert!(why.iter().any(|why| why.contains("a write that a crash cut off")), "{why:?}");

    let settled = block_on(deployment.recover(&operator())).unwrap();
    assert_eq!(settled.summary.in_doubt, 0, "{settled:?}");
    let notes = |rows: Vec<Row>| {
        rows.iter().map(|row| column(row, "description").to_owned()).collect::<BTreeSet<_>>()
    };
    let after = notes(rows(&authority, "accounts").unwrap());
    assert!(after.is_superset(&notes(before)) && after.iter().all(|n| n.len() < 100), "{after:?}");
    block_on(converge(&deployment)).unwrap();
}

#[test]
fn a_crash_while_the_folder_was_made_does_not_stop_the_next_start() {
    // What each crash may have left: nothing but a name, or some of the files.
    let made = tempfile::tempdir().unwrap();
    drop(deployment(made.path(), Version::Full, 2).unwrap());
    for left in [&["authority.db"][..], &["authority.db", "keys/engine.key"]] {
        for whole in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            for name in left {
                let (from, to) = (made.path().join(name), folder.path().join(name));
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                // Keys are made whole under another name, so they are never empty.
                if whole || name.starts_with("keys") {
                    std::fs::copy(from, to).unwrap();
                } else {
                    std::fs::write(to, "").unwrap();
                }
            }
            block_on(converge(&deployment(folder.path(), Version::Full, 2).unwrap()))
                .unwrap_or_else(|error| panic!("{left:?}, whole: {whole}: {error:?}"));
        }
    }
}
