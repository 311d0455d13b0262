//! What is broken, locked, foreign, edited or full around a fleet on the
//! embedded systems: each is refused with the thing, the place and the repair,
//! and nothing is half done.
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_iac::{
    Error, ErrorKind,
    clock::{SystemClock, block_on},
    deployment::{Deployment, PlanRequest},
    diagnostic::Diagnostics,
    fleet::Fleet,
    ledger::{
        self, Append, Entry, Ledger as _, RunId, RunPurpose, SqliteLedger, Take, sqlite::Options,
    },
    plan::SavedPlan,
    prelude::*,
    provider::Reach,
    providers::authority::{self as auth, Authority, Decision},
    secret::Secret,
    vault::{Delivery, SecretStore as _, age::AgeVault},
};
use agent_iac_tests::{
    apply, converge,
    embedded::{self, Version, column, deployment, plant_others, rows, text, vaulted},
    operator,
};
use rusqlite::Connection;
use serde_json::{Value as Json, json};

/// A folder in which the example's fleet lives, and its command line.
struct Office(tempfile::TempDir);

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it ended by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Asserts the exit code, and that standard error says each of `parts`.
    #[track_caller]
    fn assert(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        for part in parts {
            assert!(self.err.contains(part), "`{part}` is not said: {self:#?}");
        }
    }

    /// Asserts that nothing is called clean, and that the result says each of
    /// `parts`.
    #[track_caller]
    fn assert_shown(&self, parts: &[&str]) {
        assert_eq!(self.code, 3, "{self:#?}");
        for part in parts {
            assert!(self.out.contains(part), "`{part}` is not shown: {self:#?}");
        }
    }

    fn digest(&self) -> &str {
        let (_, after) = self.out.split_once("--digest ").expect("a plan with steps");
        &after[..8]
    }
}

impl Office {
    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn applied() -> Self {
        let office = Self::empty();
        office.apply().assert(0, &[]);
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(".agent-iac").join(name)
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deploy"));
        command.args(args).current_dir(self.0.path()).output().unwrap().into()
    }

    fn plan(&self) -> Ended {
        self.run(&["plan"])
    }

    /// A plan that says with its exit code whether all is well.
    fn judge(&self) -> Ended {
        self.run(&["plan", "--detailed-exitcode"])
    }

    fn apply(&self) -> Ended {
        let plan = self.plan();
        plan.assert(0, &[]);
        self.run(&["apply", "--digest", plan.digest()])
    }

    /// Every object of the authority.
    fn objects(&self) -> Vec<embedded::Row> {
        let tables = ["accounts", "grants", "api_keys", "revoked_keys", "claims"];
        tables.iter().flat_map(|table| rows(&self.path("authority.db"), table).unwrap()).collect()
    }

    fn sql(&self, file: &str, sql: &str) {
        Connection::open(self.path(file)).unwrap().execute_batch(sql).unwrap();
    }
}

fn overwrite(path: &Path, from: usize, to: usize) {
    let mut bytes = fs::read(path).unwrap();
    let to = to.min(bytes.len());
    bytes[from..to].fill(0xff);
    fs::write(path, bytes).unwrap();
}

// The authority.

#[test]
fn an_authority_that_is_locked_for_reading_is_named() {
    let office = Office::applied();
    let before = office.objects();
    let holder = Connection::open(office.path("authority.db")).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    office.judge().assert_shown(&[
        "`.agent-iac/authority.db` is held by another program",
        "end the program that holds",
    ]);
    office.run(&["apply"]).assert(5, &["4 changes are blocked"]);
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(office.objects(), before);
    office.plan().assert(0, &[]);
}

#[test]
fn an_authority_that_is_locked_for_writing_fails_the_steps_and_leaves_nothing() {
    let office = Office::empty();
    let plan = office.plan();
    let before = office.objects();
    let holder = Connection::open(office.path("authority.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    office.run(&["apply", "--digest", plan.digest()]).assert(
        1,
        &[
            "`.agent-iac/authority.db` is held by another program",
            "end the program that holds",
            "0 done",
        ],
    );
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(office.objects(), before);
    office.apply().assert(0, &[]);
}

#[test]
fn what_is_missing_is_not_made_anew_beside_its_ledger() {
    for name in ["authority.db", "vault", "keys"] {
        let office = Office::applied();
        let aside = office.0.path().join("aside");
        fs::rename(office.path(name), &aside).unwrap();
        if name == "authority.db" {
            office.judge().assert_shown(&["there is no authority at `.agent-iac/authority.db`"]);
            office.run(&["apply"]).assert(5, &["there is no authority", "check the path"]);
            // What the ledger knows can still be read.
            office.run(&["verify"]).assert(0, &[]);
        } else {
            let missing = format!("`.agent-iac/{name}` is missing");
            office.plan().assert(1, &[&missing, "restore it from a backup"]);
        }
        assert!(!office.path(name).exists(), "{name} was made anew");
        fs::rename(aside, office.path(name)).unwrap();
        assert!(office.plan().out.contains("No changes."));
    }
}

#[test]
fn an_authority_of_a_newer_version_is_named() {
    let office = Office::applied();
    office.sql("authority.db", "PRAGMA user_version = 99");
    office.judge().assert_shown(&[
        "`.agent-iac/authority.db` is an authority of version 99",
        "use a newer version",
    ]);
}

#[test]
fn an_authority_that_is_damaged_is_named_and_not_written() {
    let office = Office::applied();
    let sound = fs::read(office.path("authority.db")).unwrap();
    overwrite(&office.path("authority.db"), 0, 100);
    office.judge().assert_shown(&["`.agent-iac/authority.db` is not an authority"]);

    fs::write(office.path("authority.db"), &sound).unwrap();
    overwrite(&office.path("authority.db"), 4096, usize::MAX);
    let damaged = fs::read(office.path("authority.db")).unwrap();
    let parts = ["`.agent-iac/authority.db` is damaged", "restore it from a backup"];
    office.judge().assert_shown(&parts);
    let apply = office.run(&["apply"]);
    apply.assert(5, &parts);
    assert!(fs::read(office.path("authority.db")).unwrap() == damaged, "it was written to");

    fs::write(office.path("authority.db"), &sound).unwrap();
    assert!(office.plan().out.contains("No changes."));
}

#[test]
fn an_account_of_somebody_else_is_left_alone_and_the_rest_is_done() {
    let office = Office::empty();
    office.plan();
    office.sql(
        "authority.db",
        "INSERT INTO accounts (id, name, description) VALUES ('a1', 'triage', 'made by dana')",
    );
    let theirs = || {
        let rows = rows(&office.path("authority.db"), "accounts").unwrap();
        rows.into_iter().find(|row| column(row, "id") == "a1").unwrap()
    };
    let before = theirs();
    office.apply().assert(5, &["triage.account", "exists", "import", "3 changes are blocked"]);
    assert_eq!(theirs(), before);
    for row in rows(&office.path("authority.db"), "api_keys").unwrap() {
        assert_ne!(column(&row, "account"), "a1", "a key for somebody else's account");
    }
    assert!(office.plan().out.contains("triage.account"));
}

// The ledger.

#[test]
fn a_ledger_that_is_not_this_fleets_is_named() {
    for (sql, what, repair) in [
        (
            "UPDATE meta SET fleet = 'kitchen'",
            "is the ledger of fleet `kitchen` in `production`, not of `office` in `production`",
            "give each fleet and environment a ledger of its own",
        ),
        (
            "UPDATE meta SET environment = 'staging'",
            "is the ledger of fleet `office` in `staging`, not of `office` in `production`",
            "give each fleet and environment a ledger of its own",
        ),
        (
            "PRAGMA user_version = 99",
            "is in format 99",
            "use the version of agent-iac that wrote it",
        ),
        ("PRAGMA application_id = 7", "of another application", "give the path of a ledger"),
    ] {
        let office = Office::applied();
        let before = office.objects();
        office.sql("ledger.db", sql);
        office.plan().assert(1, &["`.agent-iac/ledger.db`", what, repair]);
        office.run(&["apply", "--digest", "00000000"]).assert(1, &[what]);
        assert_eq!(office.objects(), before);
    }
}

#[test]
fn a_ledger_that_is_damaged_is_named() {
    for (from, to, what) in [
        (0, 100, "`.agent-iac/ledger.db` is not a SQLite database"),
        (4096, usize::MAX, "the ledger `.agent-iac/ledger.db` is damaged"),
    ] {
        let office = Office::applied();
        overwrite(&office.path("ledger.db"), from, to);
        office.plan().assert(1, &[what, "restore it from a backup", "not older than its pin"]);
    }
}

#[test]
fn a_ledger_that_is_older_than_its_pin_is_refused() {
    let office = Office::applied();
    let old = fs::read(office.path("ledger.db")).unwrap();
    office.sql("authority.db", "DELETE FROM grants");
    office.apply().assert(0, &[]);
    let new = fs::read(office.path("ledger.db")).unwrap();
    let before = office.objects();
    fs::write(office.path("ledger.db"), old).unwrap();
    for args in [&["plan"][..], &["apply"], &["recover"], &["drift"], &["verify"]] {
        office.run(args).assert(
            1,
            &[
                ".agent-iac/ledger.db",
                "does not follow the pin in `vault`",
                "restore the newest copy of the ledger",
            ],
        );
    }
    assert_eq!(office.objects(), before);
    fs::write(office.path("ledger.db"), new).unwrap();
    assert!(office.plan().out.contains("No changes."));
}

// The disk.

#[test]
fn a_file_that_may_not_grow_fails_the_run_and_the_next_one_does_it() {
    let office = Office::empty();
    let plan = office.plan();
    // Nothing is in the way of a block or two, so that the run can begin.
    let largest = fs::metadata(office.path("authority.db")).unwrap().len() / 512 + 2;
    let script = format!(
        "trap '' XFSZ; ulimit -f {largest}; exec '{}' apply --digest {}",
        env!("CARGO_BIN_EXE_deploy"),
        plan.digest()
    );
    let mut shell = Command::new("sh");
    let ended = shell.args(["-c", &script]).current_dir(office.0.path()).output().unwrap();
    let ended = Ended::from(ended);
    assert!([1, 8, 9].contains(&ended.code), "{ended:#?}");
    // Whichever file met the limit first: the fault did fire.
    let said = ["`.agent-iac/authority.db` failed", "the ledger `.agent-iac/ledger.db`"];
    assert!(said.iter().any(|part| ended.err.contains(part)), "{ended:#?}");
    office.apply().assert(0, &[]);
    office.run(&["verify"]).assert(0, &[]);
    assert!(office.plan().out.contains("No changes."));
}

/// Runs `apply` on a file system of half a megabyte that has `spare` kilobytes
/// left, and again when there is room: how the first ended.
///
/// The file system is in a mount namespace that ends with the script; where one
/// cannot be had, the test fails and says so.
fn apply_on_a_full_disk(spare: u32) -> Ended {
    let script = r#"
        set -u
        mount -t tmpfs -o size=512k none small || exit 77
        cd small
        "$DEPLOY" plan >../plan 2>&1
        digest=$(sed -n 's/.*--digest //p' ../plan | head -n 1)
        dd if=/dev/zero of=filler bs=1k 2>../dd
        truncate -s -"$SPARE"K filler
        "$DEPLOY" apply --digest "$digest" >../full.out 2>../full.err; echo $? >../full.code
        rm filler
        "$DEPLOY" recover >../recover 2>&1
        "$DEPLOY" plan >../plan2 2>&1
        digest=$(sed -n 's/.*--digest //p' ../plan2 | head -n 1)
        "$DEPLOY" apply ${digest:+--digest "$digest"} >../again.out 2>../again.err
        echo $? >../again.code
        "$DEPLOY" verify >../verify 2>&1; echo $? >../verify.code
        "$DEPLOY" plan >../last 2>&1
    "#;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("small")).unwrap();
    let shell = Command::new("unshare")
        .args(["-r", "-m", "sh", "-c", script])
        .current_dir(folder.path())
        .env("DEPLOY", env!("CARGO_BIN_EXE_deploy"))
        .env("SPARE", spare.to_string())
        .output()
        .expect("`unshare` of util-linux gives the test a small file system");
    assert!(
        shell.status.success(),
        "no small file system can be had here (`unshare -r -m` and `mount -t tmpfs`): {}",
        String::from_utf8_lossy(&shell.stderr)
    );
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("dd").contains("No space left on device"), "{}", read("dd"));
    assert_eq!(read("again.code").trim(), "0", "{}", read("again.err"));
    assert_eq!(read("verify.code").trim(), "0", "{}", read("verify"));
    assert!(read("last").contains("No changes. 6 resources are as declared"), "{}", read("last"));
    let code = read("full.code").trim().parse().unwrap();
    Ended { code, out: read("full.out"), err: read("full.err") }
}

#[test]
fn a_full_disk_is_named_and_the_next_run_does_it() {
    let ended = apply_on_a_full_disk(0);
    ended.assert(1, &["no space is left for the ledger `.agent-iac/ledger.db`", "free space"]);
}

#[test]
fn a_disk_that_fills_in_the_middle_of_a_run_is_named_and_the_next_run_goes_on() {
    let mut begun = 0;
    for spare in [64, 96] {
        let ended = apply_on_a_full_disk(spare);
        assert!([1, 8, 9].contains(&ended.code), "{spare} kB left: {ended:#?}");
        let named = ["no space is left", "the disk of", "free some space", "it cannot be told"];
        assert!(named.iter().any(|part| ended.err.contains(part)), "{spare} kB left: {ended:#?}");
        begun += usize::from(ended.err.contains("run "));
    }
    assert!(begun > 0, "no run began before the disk was full");
}

// The vault.

#[test]
fn a_vault_that_cannot_be_written_is_named_and_no_key_is_left() {
    let office = Office::empty();
    let plan = office.plan();
    let pending = office.path("vault/pending");
    fs::remove_dir(&pending).unwrap();
    fs::write(&pending, "").unwrap();
    office
        .run(&["apply", "--digest", plan.digest()])
        .assert(1, &["vault/pending`", "no plain file of this vault"]);
    fs::remove_file(&pending).unwrap();
    fs::create_dir(&pending).unwrap();
    office.apply().assert(0, &[]);
    let keys = rows(&office.path("authority.db"), "api_keys").unwrap();
    assert_eq!(keys.len(), 2, "{keys:?}");
}

#[test]
fn a_vault_that_others_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let office = Office::applied();
    let mode = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(office.path("vault/secrets"), mode(0o777)).unwrap();
    office.plan().assert(5, &["others than its owner may write", "vault/secrets`", "chmod 700"]);
}

/// What somebody has encrypted to the same people, for the place of a key.
fn forged(office: &Office, path: &str) -> Vec<u8> {
    let elsewhere = tempfile::tempdir().unwrap();
    let vault = AgeVault::init(elsewhere.path().join("vault"), office.path("keys")).unwrap();
    let secret = Secret::from_text("agia_of_somebody_else".to_owned());
    let claim = RunId::random(&agent_iac::clock::SystemEntropy).claim(1);
    let address = "triage.key".parse().unwrap();
    let delivery =
        Delivery { path, address: &address, generation: 1, claim: &claim, secret: &secret };
    let writer = vault.deliver().unwrap();
    block_on(writer.stage(delivery)).unwrap();
    block_on(writer.promote(path, &claim)).unwrap();
    fs::read(elsewhere.path().join("vault/secrets/agents+triage+key.age")).unwrap()
}

#[test]
fn a_vaulted_key_that_somebody_else_wrote_is_told_and_issued_anew_when_it_is_removed() {
    let names = ["agents+triage+key.age", "agents+triage+key.v0.age", "agents+triage+key.json"];
    for forge in [true, false] {
        let office = Office::applied();
        let secrets = office.path("vault/secrets");
        let bytes = if forge { forged(&office, "agents/triage/key") } else { b"garbage".to_vec() };
        // One file has two names; a writer who replaces files unlinks them.
        for name in &names[..2] {
            fs::remove_file(secrets.join(name)).unwrap();
            fs::write(secrets.join(name), &bytes).unwrap();
        }
        let plan = office.judge();
        assert_eq!(plan.code, 4, "{plan:#?}");
        for part in [
            "triage.key",
            "the place `agents/triage/key` is damaged: the file of generation 1 was changed",
            "remove them and rotate the credential",
        ] {
            assert!(plan.out.contains(part), "`{part}` is not said: {plan:#?}");
        }
        // The repair that was said, taken at its word.
        for name in names {
            fs::remove_file(secrets.join(name)).unwrap();
        }
        let before = rows(&office.path("authority.db"), "api_keys").unwrap();
        // The old key is revoked, and as nobody has it, its end is not proved.
        let anew = office.apply();
        anew.assert(8, &["nothing stands at vault:agents/triage/key", "0 failed", "1 not proved"]);
        let after = rows(&office.path("authority.db"), "api_keys").unwrap();
        assert_eq!((before.len(), after.len()), (2, 2));
        assert_eq!(before.iter().filter(|row| after.contains(row)).count(), 1, "{after:?}");
        assert!(office.plan().out.contains("No changes."));
    }
}

// The plan's file.

fn at<'j>(json: &'j mut Json, pointer: &str) -> &'j mut Json {
    json.pointer_mut(pointer).unwrap_or_else(|| panic!("a plan has no {pointer}"))
}

#[test]
fn a_plan_that_was_edited_is_refused_whatever_was_edited() {
    let office = Office::empty();
    office.run(&["plan", "--out", "plan.json"]).assert(0, &[]);
    let file = office.0.path().join("plan.json");
    let sound = fs::read(&file).unwrap();
    let plan: Json = serde_json::from_slice(&sound).unwrap();
    let digest = plan["digest"].as_str().unwrap().to_owned();
    let mut widens = plan["plan"]["steps"].as_array().unwrap().iter();
    let widens = widens.position(|step| step["risk"] == "widens").expect("a step that widens");
    let gained = format!("/plan/steps/{widens}/access/gained");
    let edits = [
        ("/digest", json!(digest.replace(&digest[..8], "00000000"))),
        ("/plan/fleet", json!("kitchen")),
        ("/plan/environment", json!("staging")),
        ("/plan/ledger", json!("another")),
        ("/plan/blueprint", json!(digest)),
        ("/plan/targets/authority", json!("authority_another")),
        ("/plan/rules/max_age", json!(1_000_000)),
        ("/plan/versions/triage.account", json!(7)),
        ("/plan/agents/0/change/owner", json!("team:mallory")),
        ("/plan/agents/0/change/expires", json!("2099-01-01")),
        ("/plan/steps/0/address", json!("mallory.account")),
        ("/plan/steps/0/action", json!("update")),
        ("/plan/steps/0/resource_type", json!("authority.grant")),
        ("/plan/steps/0/provider", json!("elsewhere")),
        ("/plan/steps/0/risk", json!("none")),
        ("/plan/steps/0/seen", json!({"object": "unread", "reason": "x"})),
        ("/plan/steps/0/target/properties/name", json!({"known": "mallory"})),
        ("/plan/steps/0/target/protect", json!(true)),
        ("/plan/steps/0/changes", json!([])),
        (&gained, json!([])),
        ("/plan/unchanged", json!(99)),
        ("/plan/undeclared", json!([])),
        ("/plan/unread", json!({"triage.account": ["x"]})),
    ];
    let mut refused = 0;
    for (pointer, value) in edits {
        let mut edited = plan.clone();
        let there = if pointer.ends_with("protect") {
            at(&mut edited, "/plan/steps/0/target")
                .as_object_mut()
                .unwrap()
                .entry("protect")
                .or_insert(json!(false))
        } else {
            at(&mut edited, pointer)
        };
        if *there == value {
            continue;
        }
        *there = value;
        fs::write(&file, serde_json::to_vec(&edited).unwrap()).unwrap();
        let ended = office.run(&["apply", "plan.json", "--digest", &digest[..8]]);
        assert_eq!(ended.code, 1, "{pointer}: {ended:#?}");
        assert!(ended.err.contains("plan"), "{pointer}: {ended:#?}");
        assert!(ended.err.contains("plan again, and apply the new plan"), "{pointer}: {ended:#?}");
        refused += 1;
    }
    assert!(refused >= 20, "only {refused} edits were tried");
    for (bytes, what) in [
        (&sound[..sound.len() / 2], "this is not a saved plan"),
        (&b""[..], "this is not a saved plan"),
        (&b"{}"[..], "this is not a saved plan"),
    ] {
        fs::write(&file, bytes).unwrap();
        office.run(&["apply", "plan.json", "--digest", &digest[..8]]).assert(1, &[what]);
    }
    let mut newer = plan.clone();
    *at(&mut newer, "/plan/format") = json!(99);
    fs::write(&file, newer.to_string()).unwrap();
    office
        .run(&["apply", "plan.json", "--digest", &digest[..8]])
        .assert(1, &["the plan has format 99", "apply it with the version that made it"]);
    assert_eq!(office.objects(), [], "something was applied");

    fs::write(&file, &sound).unwrap();
    office.run(&["apply", "plan.json"]).assert(6, &["the plan is not acknowledged"]);
    office.run(&["apply", "plan.json", "--digest", "00000000"]).assert(6, &["was acknowledged"]);
    office.run(&["apply", "plan.json", "--digest", &digest[..8]]).assert(0, &[]);
    office
        .run(&["apply", "plan.json", "--digest", &digest[..8]])
        .assert(7, &["moved since the plan was made", "plan again"]);
}

// Two at once.

#[test]
fn the_second_of_two_applies_is_told_who_holds_the_agents() {
    let office = Office::empty();
    let plan = office.plan();
    let options = Options::new("office", "production");
    let ledger = SqliteLedger::open(office.path("ledger.db"), &options).unwrap();
    let begun = ledger::RunEvent::Begun {
        purpose: RunPurpose::Apply,
        actor: ledger::Actor::asserted("test", "dana"),
        authority: ledger::Authority::Emergency {
            actor: ledger::Actor::asserted("test", "dana"),
            reason: "test".into(),
        },
        instances: vec!["triage".parse().unwrap()],
        revision: None,
        engine: "test".into(),
    };
    let run = RunId::random(&agent_iac::clock::SystemEntropy);
    let take = Take {
        run: run.clone(),
        instances: vec!["triage".parse().unwrap()],
        holder: "dana on runner-7, process 4711".into(),
        ttl: Duration::from_mins(1),
        force: false,
    };
    let entries = vec![Entry::new(begun).in_run(&run)];
    let append = Append { entries, take: Some(take), ..Append::default() };
    let taken = block_on(ledger.append(append)).unwrap();
    let since = taken.time.strftime("%Y-%m-%dT%H:%M").to_string();
    let held = office.run(&["apply", "--digest", plan.digest()]);
    held.assert(7, &["triage", "dana on runner-7, process 4711", &since]);
    assert!(held.err.contains("help:"), "{held:#?}");
    assert_eq!(office.objects(), [], "something was applied");
    block_on(ledger.release(&taken.fence.unwrap())).unwrap();
    drop(ledger);
    office.apply().assert(0, &[]);
}

/// Applies the plan of some agents, and calls `meanwhile` once its run holds
/// them.
fn apply_while(
    first: &Deployment,
    request: &PlanRequest,
    meanwhile: impl Fn() + Send + Sync + 'static,
) {
    let saved = SavedPlan::new(block_on(first.plan(request)).unwrap()).unwrap();
    let mut context = operator().acknowledging(saved.digest());
    context.holder = "the first, on host one".into();
    context.watch = Arc::new(move |progress| {
        if matches!(progress, agent_iac::apply::Progress::RunBegun { .. }) {
            meanwhile();
        }
    });
    let report = block_on(first.apply(&saved, &context)).unwrap();
    assert!(report.is_complete(), "{report:?}");
}

fn apply_targets(folder: &Path, request: &PlanRequest) -> agent_iac::Result<()> {
    let deployment = deployment(folder, Version::Full, 4)?;
    let saved = SavedPlan::new(block_on(deployment.plan(request))?)?;
    assert!(!saved.plan().is_empty());
    let report = block_on(deployment.apply(&saved, &operator().acknowledging(saved.digest())))?;
    assert!(report.is_complete(), "{report:?}");
    Ok(())
}

#[test]
fn of_two_runs_at_once_those_on_one_agent_exclude_each_other_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let first = deployment(&path, Version::Full, 4).unwrap();
    let request = |agent: &str| PlanRequest {
        targets: [agent.parse().unwrap()].into(),
        ..PlanRequest::default()
    };
    let refused: Arc<Mutex<Option<Error>>> = Arc::default();
    let keep = Arc::clone(&refused);
    let (same, other) = (request(r#"worker["000"]"#), request(r#"reporter["001"]"#));
    apply_while(&first, &request(r#"worker["000"]"#), move || {
        *keep.lock().unwrap() = Some(apply_targets(&path, &same).unwrap_err());
        apply_targets(&path, &other).unwrap();
    });
    let error = refused.lock().unwrap().take().expect("the second ran while the first did");
    assert_eq!(error.kind(), ErrorKind::LeaseHeld, "{error:?}");
    let said = format!("{error:?}");
    for part in [r#"worker["000"]"#, "the first, on host one", "since"] {
        assert!(said.contains(part), "`{part}` is not said: {said}");
    }
    block_on(converge(&first)).unwrap();
    assert_eq!(rows(&folder.path().join("authority.db"), "api_keys").unwrap().len(), 4);
}

// The fleet.

#[test]
fn a_fleet_that_was_emptied_takes_nobody_away() {
    let folder = tempfile::tempdir().unwrap();
    block_on(converge(&deployment(folder.path(), Version::Full, 8).unwrap())).unwrap();
    let authority = folder.path().join("authority.db");
    let before = rows(&authority, "accounts").unwrap();
    let mut empty = Fleet::new(embedded::FLEET);
    empty.provider("authority", Reach::Exclusive).store("vault");
    let emptied = Deployment::embedded(empty, "test", folder.path()).unwrap();
    let (plan, report) = block_on(apply(&emptied)).unwrap();
    assert!(plan.steps.is_empty() && plan.agents.is_empty(), "{plan:?}");
    assert_eq!(report.summary, ledger::Summary::default());
    let agents: BTreeSet<String> =
        plan.blocked.iter().map(|blocked| blocked.address.instance().to_string()).collect();
    assert_eq!(agents.len(), 8, "{agents:?}");
    for blocked in &plan.blocked {
        assert_eq!(blocked.reason, "8 agents would begin to leave, and the cap is 3");
        assert!(blocked.repair.contains("allow"), "{blocked:?}");
    }
    assert_eq!(rows(&authority, "accounts").unwrap(), before);
}

/// Has the name that it is given everywhere.
#[derive(Agent)]
#[agent(owner = "team:names", expires = "2099-12-31", grace = "0d")]
struct Named {
    #[input(key)]
    name: String,
    #[identity(name = name.clone(), description = format!("is called {name}"))]
    account: auth::Account,
    #[permission(to = account, on = format!("names/{name}"), allow = ["read"])]
    grant: auth::Grant,
    #[credential(of = account, deliver = format!("vault:names/{name}"))]
    key: auth::ApiKey,
}

fn named(names: &[&str]) -> Fleet {
    let mut fleet = Fleet::new("names");
    fleet.provider("authority", Reach::Exclusive).store("vault");
    for name in names {
        fleet.add(NamedInputs { name: (*name).to_owned() });
    }
    fleet
}

#[test]
fn names_of_any_visible_text_work_to_the_end() {
    let names = [
        "o'brien",
        r#"the "best" one"#,
        "two  spaces",
        "a;DROP TABLE accounts;--",
        "$(reboot) `id` %s {}",
        "crab 🦀 and déjà vu",
        "日本語",
        "<script>alert(1)</script>".trim_end_matches("</script>"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let deployment = Deployment::embedded(named(&names), "test", folder.path()).unwrap();
    block_on(converge(&deployment)).unwrap();
    let service =
        Authority::open(folder.path().join("authority.db"), Arc::new(SystemClock)).unwrap();
    for name in names {
        let key = text(&vaulted(&deployment, &format!("names/{name}")).unwrap());
        let decision = block_on(service.check(&key, "read", &format!("names/{name}"))).unwrap();
        assert_eq!(decision, Decision::Allowed { account: name.to_owned() });
    }
    drop(deployment);
    // They are found again, and leave.
    let deployment = Deployment::embedded(named(&names), "test", folder.path()).unwrap();
    let plan = block_on(deployment.plan(&PlanRequest::default())).unwrap();
    assert!(plan.is_clean(), "{plan:?}");
    let request = PlanRequest { max_leaving: Some(99), ..PlanRequest::default() };
    let deployment = deployment.with_fleet(named(&[]));
    for _ in 0..2 {
        let saved = SavedPlan::new(block_on(deployment.plan(&request)).unwrap()).unwrap();
        let context = operator().acknowledging(saved.digest());
        let report = block_on(deployment.apply(&saved, &context)).unwrap();
        assert!(report.is_complete(), "{report:?}");
    }
    assert_eq!(rows(&folder.path().join("authority.db"), "accounts").unwrap(), []);
}

#[test]
fn names_that_nobody_could_read_are_refused_with_their_line() {
    let long = "x".repeat(10_000);
    for name in ["a\nb", "a\u{1b}[2Jb", "a\0b", "a\u{202e}b", "a\u{200b}b", "", &long] {
        let mistakes: Diagnostics = named(&[name]).blueprint("test").unwrap_err();
        let first = mistakes.iter().next().expect("a mistake");
        assert!(first.help.is_some(), "{name:?}: {first:?}");
        let shown = format!("{mistakes}");
        assert!(shown.contains("bad_input.rs"), "{name:?}: {shown}");
        let hostile = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{200b}".contains(c);
        assert!(!shown.contains(hostile), "{name:?} is shown as it is: {shown:?}");
        assert!(shown.len() < 4_000, "{} bytes about a long name", shown.len());
        // Nothing is made of it.
        let folder = tempfile::tempdir().unwrap();
        let deployment = Deployment::embedded(named(&[name]), "test", folder.path()).unwrap();
        let error = block_on(deployment.plan(&PlanRequest::default())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidFleet, "{error:?}");
        assert_eq!(rows(&folder.path().join("authority.db"), "accounts").unwrap(), []);
    }
}

#[test]
fn what_others_have_in_the_authority_is_reported_and_kept() {
    let office = Office::applied();
    plant_others(&office.path("authority.db")).unwrap();
    let before = office.objects();
    let drift = office.run(&["drift", "--detailed-exitcode"]);
    assert_eq!(drift.code, 3, "{drift:#?}");
    assert!(drift.out.contains("account_of_others"), "{drift:#?}");
    office.run(&["apply"]).assert(0, &[]);
    assert_eq!(office.objects(), before);
}
