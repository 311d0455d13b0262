//! The command line, in this process with made-up surroundings and as a real
//! program.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod rotation;
mod watch;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{Cursor, Write},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use agent_iac::{
    Result,
    cli::{self, Env, Streams},
    clock::{Clock, SystemClock},
    deployment::Deployment,
    fleet::Fleet,
    prelude::*,
    provider::Reach,
    providers::authority as auth,
};
use serde_json::Value as Json;

/// Sorts new tickets.
#[derive(Debug, Agent)]
#[agent(owner = "team:support", expires = "2099-06-30", grace = "0d")]
pub struct Sorter {
    /// Whose tickets.
    #[input(key)]
    tenant: String,
    /// What it may do.
    #[input]
    actions: BTreeSet<auth::Action>,

    #[identity(name = format!("sorter-{tenant}"), on_drift = OnDrift::RevertWidening)]
    account: auth::Account,

    #[permission(
        to = account,
        on = format!("tickets/{tenant}"),
        allow = actions,
        on_drift = OnDrift::RevertWidening,
    )]
    tickets: auth::Grant,

    #[credential(of = account, deliver = format!("vault:agents/{tenant}/key"))]
    key: auth::ApiKey,
}

/// A fleet with a sorter for each tenant that may take these actions.
fn fleet(tenants: &[&str], actions: &[&str]) -> Fleet {
    let mut fleet = Fleet::new("office");
    fleet.provider("authority", Reach::Exclusive).store("vault");
    for tenant in tenants {
        let actions = actions.iter().map(|action| auth::Action::new(*action)).collect();
        fleet.add(SorterInputs { tenant: (*tenant).into(), actions });
    }
    fleet
}

/// A stream whose text can be looked at.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// What one command did.
struct Ran {
    code: u8,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn exits(self, code: u8) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    /// Standard output as a stream of objects, with every rule of it checked.
    #[track_caller]
    fn objects(&self) -> Vec<Json> {
        let objects: Vec<Json> = self
            .out
            .lines()
            .map(|line| serde_json::from_str(line).expect("one object a line"))
            .collect();
        assert_eq!(objects[0]["type"], "version");
        let last = objects.last().expect("there is a first object");
        assert_eq!((&last["type"], &last["exit"]), (&"summary".into(), &self.code.into()));
        assert!(objects.iter().all(|object| object["type"].is_string()));
        assert_eq!(self.err, "", "with --json nothing is said beside it");
        objects
    }

    #[track_caller]
    fn last(&self) -> Json {
        self.objects().pop().expect("`objects` checks that there is one")
    }
}

/// The system's clock, some days ahead.
struct Later(i64);

#[async_trait::async_trait]
impl Clock for Later {
    fn now(&self) -> jiff::Timestamp {
        SystemClock.now() + jiff::SignedDuration::from_hours(24 * self.0)
    }

    async fn sleep(&self, duration: std::time::Duration) {
        SystemClock.sleep(duration).await;
    }
}

/// An office in a folder, and somebody who types in it.
struct Office {
    folder: tempfile::TempDir,
    env: Env,
    /// How many days have passed, as far as the engine can tell.
    days: i64,
}

impl Office {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = Env {
            variables: [("GITLAB_CI", "true"), ("GITLAB_USER_LOGIN", "ada")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            directory: Some(folder.path().to_owned()),
            ..Env::default()
        };
        Self { folder, env, days: 0 }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn types(&self, words: &[&str], fleet: Fleet) -> Ran {
        self.answers(words, fleet, "")
    }

    fn answers(&self, words: &[&str], fleet: Fleet, input: &str) -> Ran {
        let (out, err) = (Shared::default(), Shared::default());
        let streams = Streams {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            input: Box::new(Cursor::new(input.to_owned())),
        };
        let words = ["deploy"].iter().chain(words).map(OsString::from);
        let deployment = || self.deployment(fleet);
        let outcome = cli::run(words, deployment, streams, &self.env);
        Ran { code: cli::code(&outcome), out: out.text(), err: err.text() }
    }

    fn deployment(&self, fleet: Fleet) -> Result<Deployment> {
        let deployment = Deployment::embedded(fleet, "test", self.path(".agent-iac"))?;
        Ok(deployment.with_clock(Arc::new(Later(self.days))))
    }

    /// Plans and applies on the digest that the plan gives.
    #[track_caller]
    fn applies(&self, fleet: &dyn Fn() -> Fleet) {
        let digest = self.digest(fleet());
        self.types(&["apply", "--digest", &digest], fleet()).exits(0);
    }

    #[track_caller]
    fn digest(&self, fleet: Fleet) -> String {
        let plan = self.types(&["plan", "--json"], fleet).exits(0).last();
        plan["digest"].as_str().unwrap().to_owned()
    }

    /// What somebody does by hand in the authority's file.
    fn by_hand(&self, sql: &str) {
        let file = rusqlite::Connection::open(self.path(".agent-iac/authority.db")).unwrap();
        assert!(file.execute(sql, []).unwrap() > 0, "nothing was changed");
    }
}

fn one() -> Fleet {
    fleet(&["eu"], &["read"])
}

#[test]
fn a_plan_is_acknowledged_by_the_digest_that_it_shows_and_only_by_that() {
    let office = Office::new();
    let plan = office.types(&["plan"], one()).exits(0);
    assert!(plan.out.contains("3 to add") && plan.out.contains("WIDENS"), "{}", plan.out);
    office.types(&["plan", "--detailed-exitcode"], one()).exits(3);
    let digest = office.digest(one());
    assert!(plan.out.contains(&format!("deploy apply --digest {}", &digest[..8])));

    // Nobody can be asked here; what is said instead can be typed as it is.
    let refused = office.types(&["apply"], one()).exits(6);
    let command = format!("deploy apply --digest {}", &digest[..8]);
    assert!(refused.err.contains(&command), "{}", refused.err);
    let refused = office.types(&["apply", "--json"], one()).exits(6);
    let error = refused.objects().into_iter().find(|object| object["type"] == "error").unwrap();
    assert_eq!((&error["code"], &error["exit"]), (&"unacknowledged".into(), &6.into()));
    assert_eq!(error["next"][0], command);

    // Another digest is another plan.
    office.types(&["apply", "--digest", "0123456789abcdef"], one()).exits(7);
    assert_eq!(office.digest(one()), digest, "nothing was applied by any of these");

    let applied = office.types(&["apply", "--digest", &digest[..8]], one()).exits(0);
    assert!(applied.out.contains("3 done"), "{}", applied.out);
    let again = office.types(&["plan", "--detailed-exitcode"], one()).exits(0);
    assert!(again.out.contains("No changes. 3 resources are as declared"), "{}", again.out);
}

#[test]
fn on_a_terminal_the_digest_is_typed() {
    let mut office = Office::new();
    office.env.input_is_terminal = true;
    office.env.err_is_terminal = true;
    let digest = office.digest(one());
    for wrong in ["", "y\n", "yes\n", &digest[..7], "00000000\n"] {
        let refused = office.answers(&["apply"], one(), wrong).exits(6);
        assert!(refused.err.contains("nothing was applied"), "{}", refused.err);
    }
    let typed = format!("{}\n", digest[..8].to_uppercase());
    office.answers(&["apply"], one(), &typed).exits(0);
    // With --json nobody is asked, not even on a terminal.
    let more = || fleet(&["eu", "us"], &["read"]);
    office.answers(&["apply", "--json"], more(), &digest).exits(6);
}

#[test]
fn a_saved_plan_is_shown_applied_and_refused_when_it_is_stale() {
    let office = Office::new();
    office.types(&["plan", "--out", "a.json"], one()).exits(0);
    let shown = office.types(&["show", "a.json", "--full"], one()).exits(0);
    assert!(shown.out.contains("order: 1 of 3") && shown.out.contains("deploy apply a.json"));
    office.applies(&one);

    let digest =
        office.types(&["show", "a.json", "--json"], one()).exits(0).last()["digest"].clone();
    let stale =
        office.types(&["apply", "a.json", "--digest", digest.as_str().unwrap(), "--json"], one());
    let stale = stale.exits(7);
    let error = stale.objects().into_iter().find(|object| object["type"] == "error").unwrap();
    assert_eq!((&error["code"], &error["retry"]), (&"stale".into(), &"replan".into()));

    // An edited plan is no plan, and neither is a missing one.
    let edited =
        std::fs::read_to_string(office.path("a.json")).unwrap().replace("tickets/eu", "tickets/us");
    std::fs::write(office.path("b.json"), edited).unwrap();
    let edited = office.types(&["apply", "b.json"], one()).exits(1);
    assert!(edited.err.contains("edited"), "{}", edited.err);
    office.types(&["apply", "no.json"], one()).exits(1);
}

#[test]
fn drift_is_told_from_a_change_and_what_widens_is_taken_back() {
    let office = Office::new();
    office.applies(&one);
    office.types(&["drift", "--detailed-exitcode"], one()).exits(0);
    office.by_hand("UPDATE grants SET actions = 'delete read'");
    let drift = office.types(&["drift", "--detailed-exitcode"], one()).exits(3);
    assert!(
        drift.out.contains("WIDENS: sorter[\"eu\"].account gains delete on tickets/eu"),
        "{}",
        drift.out
    );
    office.types(&["drift"], one()).exits(0);
    let told = office.types(&["drift", "--json", "--detailed-exitcode"], one()).exits(3);
    assert_eq!(told.last()["widening"], 1);

    office.types(&["drift", "--revert-widening"], one()).exits(0);
    office.types(&["drift", "--detailed-exitcode"], one()).exits(0);

    // A changed declaration is no drift.
    let wider = || fleet(&["eu"], &["read", "comment"]);
    office.types(&["drift", "--detailed-exitcode"], wider()).exits(0);
    office.types(&["plan", "--detailed-exitcode"], wider()).exits(3);
}

#[test]
fn what_cannot_be_checked_is_never_called_clean() {
    let office = Office::new();
    office.applies(&one);
    std::fs::write(office.path(".agent-iac/authority.db"), "no database any more, just text")
        .unwrap();
    let drift = office.types(&["drift", "--detailed-exitcode"], one()).exits(4);
    assert!(drift.out.contains("3 objects not checked"), "{}", drift.out);
    assert_eq!(office.types(&["drift", "--json"], one()).exits(0).last()["unread"], 3);
}

#[test]
fn an_invalid_fleet_shows_every_mistake_where_it_is() {
    let office = Office::new();
    let broken = || {
        let mut fleet = Fleet::new("office");
        fleet.add(SorterInputs { tenant: "eu".into(), actions: BTreeSet::new() });
        fleet.add(SorterInputs { tenant: String::new(), actions: BTreeSet::new() });
        fleet
    };
    for command in ["validate", "plan", "apply", "drift", "graph"] {
        let ran = office.types(&[command], broken()).exits(10);
        assert!(ran.err.contains("error[IAC000"), "{command}: {}", ran.err);
        assert!(ran.err.contains("tests/cli/main.rs:"), "{command}: {}", ran.err);
        assert_eq!(ran.out, "");
        let told = office.types(&[command, "--json"], broken()).exits(10).objects();
        assert!(told.iter().filter(|object| object["type"] == "diagnostic").count() >= 2);
    }
}

#[test]
fn a_hold_keeps_an_agent_as_it_is_until_it_is_released() {
    let office = Office::new();
    office.applies(&one);
    let agent = r#"sorter["eu"]"#;
    office.types(&["hold", agent, "--reason", "incident 12", "--for", "4h"], one()).exits(0);
    let wider = || fleet(&["eu"], &["read", "comment"]);
    let held = office.types(&["apply"], wider()).exits(5);
    assert!(held.err.contains("incident 12") && held.err.contains("ada"), "{}", held.err);
    office
        .types(&["hold", agent, "--reason", "r", "--until", "2001-01-01T00:00:00Z"], one())
        .exits(1);
    // Drift is told also where the engine keeps its hands off.
    office.by_hand("UPDATE grants SET actions = 'delete read'");
    office.types(&["drift", "--detailed-exitcode"], one()).exits(3);
    office.types(&["release", agent], one()).exits(0);
    office.applies(&wider);
}

#[test]
fn kill_contains_at_once_and_resume_lets_the_next_apply_bring_it_back() {
    let office = Office::new();
    office.applies(&one);
    let agent = r#"sorter["eu"]"#;
    let killed =
        office.types(&["kill", agent, "--reason", "key in a log", "--json"], one()).exits(0);
    assert!(killed.objects().iter().any(|object| object["phase"] == "proved"), "{}", killed.out);
    let shown = office.types(&["history", agent], one()).exits(0);
    assert!(
        shown.out.contains("emergency by ada") && shown.out.contains("key in a log"),
        "{}",
        shown.out
    );
    office.types(&["kill", "nobody", "--reason", "r"], one()).exits(1);
}

#[test]
fn history_says_who_did_what_on_whose_authority() {
    let mut office = Office::new();
    office.env.variables.insert("GITHUB_ACTIONS".into(), "true".into());
    office.env.variables.insert("GITHUB_ACTOR_ID".into(), "583231".into());
    let both = || fleet(&["eu", "us"], &["read"]);
    office.applies(&both);
    let digest = |entry: &Json| entry["authority"]["acknowledged"]["digest"].clone();
    let all = office.types(&["history", "--json"], both()).exits(0).objects();
    let entries: Vec<&Json> = all.iter().filter(|object| object["type"] == "entry").collect();
    let step = entries.iter().find(|entry| entry["entry"]["event"]["kind"] == "step").unwrap();
    assert_eq!(step["actor"]["issuer"], "github-actions");
    assert_eq!(step["actor"]["subject"], "583231");
    assert!(digest(step).is_string());
    let eu = office.types(&["history", r#"sorter["eu"]"#], both()).exits(0).out;
    assert!(eu.contains(r#"sorter["eu"].key"#) && !eu.contains(r#"sorter["us"]"#), "{eu}");
    let last = office.types(&["history", "--limit", "1"], both()).exits(0).out;
    assert!(last.contains("run ended: 6 done") && last.lines().count() == 2, "{last}");
}

#[test]
fn verify_replays_the_chain_and_compares_it_with_a_head_seen_before() {
    let office = Office::new();
    office.applies(&one);
    let verified = office.types(&["verify", "--json"], one()).exits(0).last();
    let pin = |sequence: u64, hash: &str| format!("{sequence}:{hash}");
    let sequence = verified["head"]["sequence"].as_u64().unwrap();
    let hash = verified["head"]["hash"].as_str().unwrap();
    office.types(&["verify", "--pin", &pin(sequence, hash)], one()).exits(0);
    office.types(&["verify", "--pin", &pin(sequence + 1, hash)], one()).exits(1);
    office.types(&["verify", "--pin", &pin(sequence, &"0".repeat(64))], one()).exits(1);
    office.types(&["verify", "--pin", "nonsense"], one()).exits(2);
}

#[test]
fn a_ledger_is_backed_up_lost_restored_and_rewound() {
    let office = Office::new();
    office.applies(&one);
    let kept = office.types(&["ledger", "backup", "kept.ledger"], one()).exits(0);
    assert!(kept.out.contains("The ledger is kept in kept.ledger"), "{}", kept.out);
    let taken = office.types(&["ledger", "backup", "kept.ledger"], one()).exits(1);
    assert!(taken.err.contains('`') && taken.err.contains("is there already"), "{}", taken.err);
    let more = || fleet(&["eu", "us"], &["read"]);
    office.applies(&more);
    let newest = office.types(&["verify", "--json"], more()).exits(0).last();
    let newest = newest["head"]["hash"].as_str().unwrap().to_owned();

    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _: std::io::Result<()> = std::fs::remove_file(office.path(".agent-iac").join(name));
    }
    let lost = office.types(&["plan"], more()).exits(1);
    assert!(lost.err.contains("is missing") && lost.err.contains("ledger restore"), "{}", lost.err);
    let restore = |fleet: &str| {
        let words = ["ledger", "restore", "kept.ledger", "--into", ".agent-iac/ledger.db"];
        let words = [&words[..], &["--fleet", fleet, "--environment", "test"]].concat();
        office.types(&words, more())
    };
    let foreign = restore("studio").exits(1);
    assert!(foreign.err.contains("not of `studio`"), "{}", foreign.err);
    let restored = restore("office").exits(0);
    assert!(restored.out.contains(".agent-iac/ledger.db is restored"), "{}", restored.out);
    restore("office").exits(1);

    let older = office.types(&["plan"], more()).exits(1);
    assert!(older.err.contains("`ledger rewind`"), "{}", older.err);
    let asked = office.types(&["ledger", "rewind", "--because", "disk"], more()).exits(6);
    assert!(asked.err.contains(&newest), "{}", asked.err);
    let next = format!("deploy ledger rewind --because '…' --pinned {}", &newest[..8]);
    assert!(asked.err.contains(&next), "{}", asked.err);
    let words = ["ledger", "rewind", "--because", "the disk died", "--pinned", &newest[..8]];
    office.types(&words, more()).exits(0);
    office.types(&words, more()).exits(5);
    let verified = office.types(&["verify"], more()).exits(0);
    assert!(verified.out.contains("It was rewound in batch"), "{}", verified.out);
    let history = office.types(&["history", "--limit", "1"], more()).exits(0);
    assert!(
        history.out.contains("by ada") && history.out.contains("the disk died"),
        "{}",
        history.out
    );
    // What the lost history had made is found by its mark, and its key replaced.
    office.applies(&more);
    office.types(&["plan", "--detailed-exitcode"], more()).exits(0);
}

#[test]
fn a_ledger_is_archived_and_verified_with_its_archive() {
    let office = Office::new();
    office.applies(&one);
    let seen = office.types(&["verify", "--json"], one()).exits(0).last();
    let seen = format!("{}:{}", seen["head"]["sequence"], seen["head"]["hash"].as_str().unwrap());
    let archived = office.types(&["ledger", "archive", "old.ledger"], one()).exits(0);
    assert!(archived.out.contains("is in old.ledger"), "{}", archived.out);
    office.types(&["ledger", "archive", "older.ledger"], one()).exits(5);
    office.types(&["plan", "--detailed-exitcode"], one()).exits(0);
    office.applies(&|| fleet(&["eu", "us"], &["read"]));
    let history = office.types(&["history"], one()).exits(0);
    assert!(history.out.contains("stands in an archive"), "{}", history.out);
    let alone = office.types(&["verify", "--pin", &seen], one()).exits(0);
    assert!(alone.out.contains("which was not looked at (--archive)"), "{}", alone.out);
    let words = ["verify", "--archive", "old.ledger", "--pin", &seen];
    let both = office.types(&words, one()).exits(0);
    assert!(both.out.contains("the archive ends there"), "{}", both.out);
    let last = office.types(&[&words[..], &["--json"]].concat(), one()).exits(0).last();
    assert_eq!(last["batches"], last["head"]["sequence"], "nothing is missing");
    let missing = office.types(&["verify", "--archive", "no.ledger"], one()).exits(1);
    assert!(missing.err.contains("the archive `no.ledger` cannot be read"), "{}", missing.err);
}

#[test]
fn a_run_that_is_told_to_stop_begins_nothing_more() {
    let office = Office::new();
    let digest = office.digest(one());
    office.env.stop.request();
    office.types(&["apply", "--digest", &digest], one()).exits(130);
    let again = Office {
        env: Env { stop: agent_iac::apply::Stop::default(), ..office.env.clone() },
        ..office
    };
    assert_eq!(again.digest(one()), digest, "nothing was done");
}

#[test]
fn every_command_gives_programs_one_object_a_line_and_writes_them_to_a_file_as_well() {
    let office = Office::new();
    office.applies(&one);
    let agent = r#"sorter["eu"]"#;
    for words in [
        &["validate"][..],
        &["plan"],
        &["plan", "--format", "markdown"],
        &["apply"],
        &["drift"],
        &["show", agent],
        &["show", r#"sorter["eu"].key"#],
        &["show", "nothing"],
        &["inventory"],
        &["history"],
        &["graph", "--format", "mermaid"],
        &["verify"],
        &["recover"],
        &["help", "exit-codes"],
    ] {
        let told = office.types(&[words, &["--json"]].concat(), one());
        assert!(told.objects().len() >= 2, "{words:?}");
        let text = office.types(&[words, &["--json-into", "events.json"]].concat(), one());
        assert!(text.code == told.code && serde_json::from_str::<Json>(&text.out).is_err());
        let file = std::fs::read_to_string(office.path("events.json")).unwrap();
        let beside = Ran { code: text.code, out: file, err: String::new() };
        let kinds = |ran: &Ran| -> Vec<Json> {
            ran.objects().iter().map(|object| object["type"].clone()).collect()
        };
        assert_eq!(kinds(&beside), kinds(&told), "{words:?}");
    }
}

#[test]
fn a_program_that_types_nonsense_is_answered_in_its_form() {
    let office = Office::new();
    let told = office.types(&["plna", "--json"], one()).exits(2).objects();
    assert_eq!((&told[1]["type"], &told[1]["code"]), (&"error".into(), &"usage".into()));
    let unknown = office.types(&["plan", "--target", "sorter"], one()).exits(1);
    assert!(unknown.err.contains("there is no agent `sorter`"), "{}", unknown.err);
    office.types(&["plan", "--target", r#"sorter["eu"]"#], one()).exits(0);
}

#[test]
fn colour_and_signs_follow_what_is_asked_for() {
    let office = Office::new();
    let plain = office.types(&["plan", "--plain"], one()).exits(0).out;
    assert!(plain.is_ascii(), "{plain}");
    let coloured = office.types(&["plan", "--color", "always"], one()).exits(0).out;
    assert!(coloured.contains("\u{1b}[1m") && coloured.contains("WIDENS"), "{coloured}");
    assert!(!office.types(&["plan"], one()).exits(0).out.contains('\u{1b}'));
}

fn deploy(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_deploy"))
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("USER", "ada")
        .stdin(Stdio::null())
        .output()
        .expect("the program was built beside this test")
}

#[test]
fn the_example_lives_a_whole_life_as_a_program() {
    let folder = tempfile::tempdir().unwrap();
    let mut everything = String::new();
    let mut run = |words: &[&str], code: i32| -> String {
        let output = deploy(folder.path(), words);
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(code), "{words:?}\n{out}\n{err}");
        everything.push_str(&out);
        everything.push_str(&err);
        if out.is_empty() { err } else { out }
    };
    run(&["validate"], 0);
    run(&["plan", "--detailed-exitcode"], 3);
    let refused = run(&["apply"], 6);
    let next = refused
        .lines()
        .find_map(|line| line.strip_prefix("next:  deploy "))
        .expect("a command to type");
    let words: Vec<&str> = next.split(' ').collect();
    run(&words, 0);
    run(&["plan", "--detailed-exitcode"], 0);
    run(&["drift", "--detailed-exitcode"], 0);
    for words in [&["inventory"][..], &["history"], &["show", "triage"], &["verify"], &["graph"]] {
        run(words, 0);
        run(&[words, &["--json"]].concat(), 0);
    }
    run(&["kill", "triage", "--reason", "a drill"], 0);
    run(&["resume", "triage"], 0);
    run(&["plan"], 0);
    run(&["plna"], 2);
    // A key of the authority has a form that scanners know; none was shown.
    assert!(!everything.contains("agia_"), "a secret was shown");
    // And none lies about in the open.
    let mut folders = vec![folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                let shows = bytes.windows(5).any(|window| window == b"agia_");
                assert!(!shows, "{} holds a key in the open", path.display());
            }
        }
    }
}
