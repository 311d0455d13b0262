//! A process that applies a fleet on the embedded systems, killed at random
//! moments, and started again each time. After each kill a program that knows no
//! deployment looks at the ledger, the vault and the authority from outside.
//!
//! `AGENT_IAC_KILLS` says how many kills; fifty unless said.
//!
//! The moments are drawn from a seed that is printed first; the variable
//! `AGENT_IAC_SEED` gives it again. The machine's own timing stays outside of
//! the seed, so the same seed aims alike and does not hit alike.
#![expect(
    clippy::disallowed_methods,
    reason = "real processes are killed in real time, at moments that a person can ask for again"
)]
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_iac::{
    apply::RunContext,
    clock::{SystemClock, SystemEntropy, block_on},
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::{self, Actor},
    plan::SavedPlan,
    prelude::*,
    provider::Reach,
    providers::authority::{self as auth, Authority, Decision, Reason},
};
use agent_iac_tests::{
    converge,
    crash::{Applying, Ledger, Random, kill_again_and_again},
    embedded::{
        self, Row, Version, column, declared, deployment, plant_others, rows, text, vaulted,
    },
    operator,
};

const AGENTS: usize = 100;

/// How many kills are asked for.
fn kills() -> usize {
    std::env::var("AGENT_IAC_KILLS")
        .map_or(50, |number| number.parse().expect("AGENT_IAC_KILLS is a number"))
}

/// Lets the program look that checks a folder from outside.
fn look(folder: &Path, settled: &[&str]) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_look-outside"));
    let found = program.arg(folder).args(settled).output().expect("the program starts");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
}

fn program(folder: &Path, version: Version) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_apply-fleet"));
    program.arg(folder).args([version.to_string(), AGENTS.to_string()]);
    program
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
fn kills_leave_nothing_behind_that_the_next_run_does_not_settle() {
    let mut random = Random::seeded();
    let whole = Instant::now();
    let place = tempfile::tempdir().unwrap();
    let (folder, elsewhere): (PathBuf, PathBuf) =
        (place.path().join("fleet"), place.path().join("others"));
    std::fs::create_dir(&folder).unwrap();
    let key_of_others = plant(&folder, &elsewhere);
    let others = of_others(&folder);

    let ledger = Ledger::of(&folder, embedded::FLEET);
    let start = |version| program(&folder, version);
    let kills = kills();
    let tally = kill_again_and_again(&mut random, kills, &ledger, start, |_| look(&folder, &[]));
    let in_doubt = tally.in_doubt;
    assert!(in_doubt * 10 >= kills * 2, "only {in_doubt} kills left a step in doubt");

    Applying::start(program(&folder, Version::Full)).ends();
    assert_eq!(of_others(&folder), others, "what is not ours was touched");
    look(&folder, &["full", &AGENTS.to_string()]);
    inspect(&folder, &key_of_others);
    println!("the whole took {:?}", whole.elapsed());
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
    let ledger = Ledger::of(folder.path(), embedded::FLEET);
    // A step must be in doubt, so that recovery has something to ask; and there
    // must be more to change than a page holds, or nothing is cut off.
    let is_ripe =
        || ledger.in_doubt() > 0 && rows(&authority, "accounts").is_ok_and(|rows| rows.len() > 20);
    for version in [Version::Full, Version::Changed, Version::Half].into_iter().cycle().take(60) {
        let process = Applying::start(program(folder.path(), version));
        process.aim(&mut random, &mut window);
        process.kill();
        if is_ripe() {
            break;
        }
    }
    assert!(is_ripe(), "sixty kills left nothing in doubt");
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
