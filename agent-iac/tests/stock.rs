//! The stock binary does the whole job for a fleet that is written as text.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use agent_iac::{
    clock::{SystemClock, SystemEntropy},
    providers::authority::AuthorityProvider,
};

const FLEET: &str = r#"
fleet = "office"
stores = ["vault"]

[providers.authority]

[agents.triage]
purpose = "Sorts what comes in."
owner = "team:office"
expires = "2090-06-30"

[agents.triage.account]
identity = "authority.account"
name = "triage"

[agents.triage.key]
credential = "authority.api_key"
of = "account"
deliver = "vault:agents/triage"
"#;

fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_agent-iac"))
        .args(args)
        .current_dir(folder)
        .output()
        .expect("the binary was built for this test");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn digest(plan: &str) -> String {
    let plan: serde_json::Value = serde_json::from_str(plan).expect("a plan is JSON");
    plan["digest"].as_str().expect("it has a digest").to_owned()
}

#[test]
fn a_text_fleet_is_planned_applied_and_then_clean() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("office.toml"), FLEET).expect("it is written");
    let options = ["--fleet", "office.toml", "--environment=staging", "--folder", "state"];
    let with = |more: &[&'static str]| [&options[..], more].concat();

    let (code, plan, err) = run(folder, &with(&["plan", "--format", "json"]));
    assert_eq!(code, Some(0), "{err}");
    let digest = digest(&plan);
    let apply = [&with(&["apply", "--digest"])[..], &[digest.as_str()]].concat();
    let (code, _, err) = run(folder, &apply);
    assert_eq!(code, Some(0), "{err}");
    assert!(folder.join("state/vault").exists());

    // The options may stand behind the command as well.
    let behind = [&["plan", "--detailed-exitcode"], &options[..]].concat();
    let (code, out, err) = run(folder, &behind);
    assert_eq!(code, Some(0), "{out}{err}");
}

#[test]
fn mistakes_are_shown_with_their_lines_and_end_with_the_code_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = FLEET.replace("of = \"account\"", "of = \"acount\"\ncolour = 1");
    fs::write(folder.path().join("fleet.toml"), text).expect("it is written");
    let (code, _, err) = run(folder.path(), &["validate"]);
    assert_eq!(code, Some(10), "{err}");
    for words in ["fleet.toml:18:6", "of = \"acount\"", "did you mean `account`?", "`colour`"] {
        assert!(err.contains(words), "{words}: {err}");
    }
    assert!(!folder.path().join(".agent-iac").exists(), "nothing was made");
    // A mistake of the text hides none of the fleet.
    let text = FLEET.replace("owner =", "ownr =").replace("vault:", "valt:");
    let text = text.replace("[providers.authority]", "[providers.autority]");
    fs::write(folder.path().join("fleet.toml"), text).expect("it is written");
    let (code, _, err) = run(folder.path(), &["validate"]);
    assert_eq!(code, Some(10), "{err}");
    for words in ["`ownr`", "`authority`", "`valt`"] {
        assert!(err.contains(words), "{words}: {err}");
    }
    assert!(!err.contains("next:"), "{err}");
}

#[test]
fn an_option_without_its_value_or_without_what_it_belongs_to_is_a_usage_error() {
    let folder = tempfile::tempdir().expect("a folder");
    for words in [&["plan", "--fleet"][..], &["plan", "--fleet="]] {
        let (code, _, err) = run(folder.path(), words);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains("--fleet"), "{err}");
    }
    if cfg!(feature = "postgres") {
        let (code, _, err) = run(folder.path(), &["--postgres-observe", "x:y", "plan"]);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains("`--postgres-observe` needs `--postgres`"), "{err}");
    }
}

#[test]
fn help_and_completions_know_the_options_and_commands_of_this_program() {
    let folder = tempfile::tempdir().expect("a folder");
    for words in [
        &["help"][..],
        &["--help"],
        &["plan", "--help"],
        &["--plain", "--help"],
        &["help", "ledger", "backup"],
        &["completions", "bash"],
    ] {
        let (code, out, _) = run(folder.path(), words);
        assert_eq!(code, Some(0), "{words:?}");
        for option in ["--fleet", "--environment", "--folder"] {
            assert!(out.contains(option), "{words:?} does not show {option}: {out}");
        }
    }
    for words in [&["help"][..], &["completions", "bash"], &["help", "schema"]] {
        let (_, out, _) = run(folder.path(), words);
        assert!(out.contains("schema"), "{words:?}: {out}");
    }
}

#[test]
fn a_suggested_command_leads_to_the_same_fleet() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("my fleet.toml"), FLEET).expect("it is written");
    let options = ["--fleet", "my fleet.toml", "--folder", "st", "--environment", "staging"];
    let (code, out, err) = run(folder, &[&options[..], &["plan"]].concat());
    assert_eq!(code, Some(0), "{err}");
    let next = "agent-iac --fleet 'my fleet.toml' --environment staging --folder st apply --digest";
    let next = out.lines().find_map(|line| Some(&line[line.find(next)?..]));
    let typed =
        next.expect("a command to type").replace("agent-iac", env!("CARGO_BIN_EXE_agent-iac"));
    let pasted = Command::new("sh").args(["-c", &typed]).current_dir(folder).output();
    assert!(pasted.expect("there is a shell").status.success(), "{typed}");
}

#[cfg(all(feature = "process", unix))]
#[test]
fn the_fleet_of_the_readme_is_whole() {
    let readme = include_str!("../../README.md");
    let (_, text) = readme.split_once("This one is whole:\n\n```toml\n").expect("it is there");
    let (text, _) = text.split_once("```").expect("it ends");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("fleet.toml"), text).expect("it is written");
    let (code, _, err) = run(folder.path(), &["validate"]);
    assert_eq!((code, &*err), (Some(0), ""));
    applies(folder.path());
    let (code, out, err) = run(folder.path(), &["exec", "triage"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.trim().parse::<u32>().is_ok_and(|bytes| bytes > 20), "{out}");
}

/// A folder in which the fleet was applied.
fn applied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("fleet.toml"), FLEET).expect("it is written");
    applies(folder.path());
    folder
}

fn applies(folder: &Path) {
    let (code, plan, err) = run(folder, &["plan", "--format", "json"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, out, err) = run(folder, &["apply", "--digest", &digest(&plan)]);
    assert_eq!(code, Some(0), "{out}{err}");
}

#[test]
fn a_fleet_that_is_wrong_or_away_keeps_nobody_from_stopping_an_agent() {
    let folder = applied();
    let folder = folder.path();
    let broken = FLEET.replace("owner", "ownr").replace("reach", "");
    fs::write(folder.join("broken.toml"), broken).expect("it is written");
    fs::write(folder.join("noise.toml"), "{{{ = [").expect("it is written");
    for (fleet, agent) in [("broken.toml", "ownr"), ("noise.toml", "noise"), ("gone.toml", "gone")]
    {
        let with = |words: &[&str]| {
            let ran = run(folder, &[&["--fleet", fleet], words].concat());
            assert_eq!(ran.0, Some(0), "{fleet} {words:?}: {}{}", ran.1, ran.2);
            assert!(ran.2.contains("going on with what the ledger records"), "{}", ran.2);
            assert!(ran.2.contains(agent), "the mistake is shown: {}", ran.2);
            ran.1
        };
        assert!(with(&["kill", "triage", "--reason", "leak"]).contains("0 failed"));
        assert!(with(&["show", "triage"]).contains("killed"));
        with(&["resume", "triage"]);
        with(&["hold", "triage", "--reason", "incident", "--for", "1h"]);
        with(&["release", "triage"]);
        assert!(with(&["history"]).contains("leak"));
        with(&["inventory"]);
        with(&["verify"]);
        with(&["recover"]);
        with(&["ledger", "backup", &format!("{fleet}.ledger")]);
        // What plans, needs a fleet.
        let (code, _, err) = run(folder, &["--fleet", fleet, "plan"]);
        assert_eq!(code, Some(if fleet == "gone.toml" { 1 } else { 10 }), "{err}");
        applies(folder);
    }
    // The ledger of another environment is not taken for this one.
    let words =
        ["--environment", "other", "--fleet", "gone.toml", "kill", "triage", "--reason", "x"];
    let (code, _, err) = run(folder, &words);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("is the ledger of fleet `office` in `production`"), "{err}");
}

#[test]
fn a_lost_ledger_is_restored_by_the_command_that_help_shows() {
    let folder = applied();
    let folder = folder.path();
    assert_eq!(run(folder, &["ledger", "backup", "office.ledger"]).0, Some(0));
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _may_not_be_there: std::io::Result<()> =
            fs::remove_file(folder.join(".agent-iac").join(name));
    }
    for words in [&["plan"][..], &["history"], &["kill", "triage", "--reason", "x"]] {
        let (code, _, err) = run(folder, words);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("is missing") && err.contains("ledger restore"), "{err}");
    }
    let (_, help, _) = run(folder, &["help", "ledger", "restore"]);
    // A narrow terminal has it in two lines.
    let (_, example) = help.split_once("Example:").expect("an example");
    let words: Vec<&str> = example.split_whitespace().collect();
    let (code, out, err) = run(folder, &words);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(run(folder, &["plan", "--detailed-exitcode"]).0, Some(0));
}

#[test]
fn judging_a_fleet_makes_nothing_and_only_a_plan_begins_a_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (code, _, err) = run(folder, &["plan"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("there is no fleet `fleet.toml`") && err.contains("--fleet"), "{err}");
    assert!(!err.contains("next:"), "{err}");
    fs::write(folder.join("fleet.toml"), FLEET).expect("it is written");
    for words in [&["validate"][..], &["graph"], &["plan", "--requires"]] {
        let (code, _, err) = run(folder, words);
        assert_eq!(code, Some(0), "{err}");
    }
    for words in [
        &["verify"][..],
        &["history"],
        &["inventory"],
        &["drift"],
        &["rotate"],
        &["calendar"],
        &["recover"],
        &["kill", "triage", "--reason", "x"],
    ] {
        let (code, out, err) = run(folder, words);
        assert_eq!(code, Some(1), "{words:?}: {out}{err}");
        assert!(err.contains("there is no ledger in `.agent-iac`"), "{words:?}: {err}");
    }
    assert!(!folder.join(".agent-iac").exists(), "something was made");
    let (_, _, err) = run(folder, &["plan"]);
    assert!(err.contains("A new ledger begins in .agent-iac"), "{err}");
    assert!(!run(folder, &["plan"]).2.contains("A new ledger"), "it is said once");
    // Keys and secrets go into no repository.
    let ignored = fs::read_to_string(folder.join(".agent-iac/.gitignore"));
    assert_eq!(ignored.expect("it is there"), "*\n");
    // A plan that was saved needs nothing but its file.
    assert_eq!(run(folder, &["plan", "--out", "plan.json"]).0, Some(0));
    let words = ["--folder", "elsewhere", "--fleet", "none.toml", "show", "plan.json"];
    let (code, out, err) = run(folder, &words);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("triage.account") && !folder.join("elsewhere").exists());
}

#[test]
fn the_schema_is_printed_without_a_fleet() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, out, _) = run(folder.path(), &["schema"]);
    assert_eq!(code, Some(0));
    let schema: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!(schema["required"], serde_json::json!(["fleet"]));
}

/// A folder in which an authority stands that somebody set up by hand.
fn by_hand() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join(".agent-iac");
    fs::create_dir(&at).expect("it is made");
    let path = at.join("authority.db");
    AuthorityProvider::create(&path, Arc::new(SystemClock), Arc::new(SystemEntropy))
        .expect("it is made");
    let sql = "
        INSERT INTO accounts (id, name, description) VALUES
            ('a1', 'Invoice_Reader', 'reads \"$all\"'), ('a2', 'sorter', NULL);
        INSERT INTO accounts (id, name, fleet, environment, address) VALUES
            ('a3', 'theirs', 'other', 'production', 'x.account');
        INSERT INTO accounts (id, name, suspended) VALUES ('a4', 'asleep', 1);
        INSERT INTO grants (id, account, pattern, actions) VALUES
            ('g1', 'a1', 'tenants/*/invoices/**', 'list read'),
            ('g2', 'a2', 'tickets', 'close');
        INSERT INTO api_keys (id, account, hash, note) VALUES ('k1', 'a1', zeroblob(32), 'old');
    ";
    rusqlite::Connection::open(&path).and_then(|file| file.execute_batch(sql)).expect("it is SQL");
    folder
}

/// Everything that stands in the authority, and the files beside it.
fn standing(folder: &Path) -> (Vec<String>, Vec<String>) {
    let mut names: Vec<String> = fs::read_dir(folder.join(".agent-iac"))
        .expect("it is a folder")
        .map(|entry| entry.expect("it is read").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    let file =
        rusqlite::Connection::open(folder.join(".agent-iac/authority.db")).expect("it opens");
    let mut rows = Vec::new();
    for table in ["authority", "accounts", "grants", "api_keys", "revoked_keys", "claims"] {
        let mut all = file.prepare(&format!("SELECT * FROM {table}")).expect("it is a table");
        let columns = all.column_count();
        let mut found = all.query([]).expect("it is read");
        while let Some(row) = found.next().expect("it is read") {
            let values: Vec<String> = (0..columns)
                .map(|at| format!("{:?}", row.get_ref(at).expect("it is a column")))
                .collect();
            rows.push(format!("{table} {}", values.join(" ")));
        }
    }
    (rows, names)
}

#[test]
fn what_stands_in_an_authority_is_imported_adopted_and_never_written_to() {
    let folder = by_hand();
    let folder = folder.path();
    let before = standing(folder);

    let (code, out, err) = run(folder, &["import", "--report"]);
    assert_eq!(code, Some(0), "{err}");
    for words in ["Invoice_Reader", "authority.grant", "3 identities", "suspended", "theirs"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (code, _, err) = run(folder, &["import"]);
    assert_eq!(code, Some(2), "an owner is needed");
    assert!(err.contains("--owner"), "{err}");

    let import = ["import", "--owner", "team:billing", "--out", "fleet.toml"];
    let (code, out, err) = run(folder, &import);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    assert!(err.contains("2 agents would adopt 4 objects"), "{err}");
    assert_eq!(standing(folder), before, "looking makes nothing and changes nothing");
    let (code, _, err) = run(folder, &import);
    assert_eq!(code, Some(1), "a file that is there is not overwritten");
    assert!(err.contains("is there already"), "{err}");

    let (code, out, err) = run(folder, &["validate"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (code, plan, err) = run(folder, &["plan", "--format", "json"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, out, _) = run(folder, &["plan"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("Plan: 4 to adopt, 0 to add, 0 to change, 0 to replace"), "{out}");
    let (code, out, err) = run(folder, &["apply", "--digest", &digest(&plan)]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(standing(folder).0, before.0, "adopting is a matter of the ledger");
    let (code, out, err) = run(folder, &["plan", "--format", "json"]);
    assert_eq!(code, Some(0), "{err}");
    let plan: serde_json::Value = serde_json::from_str(&out).expect("a plan is JSON");
    assert_eq!(plan["plan"]["steps"], serde_json::json!([]), "{out}");

    // What is ours is passed over from now on; the fleet has a file.
    let (code, out, err) = run(folder, &["--json", "import", "--report", "--only", "*e*"]);
    assert_eq!(code, Some(0), "{err}");
    let last: serde_json::Value =
        serde_json::from_str(out.lines().last().expect("a summary")).expect("it is JSON");
    assert_eq!(last["managed"], 2);
    assert_eq!(last["agents"], 0, "{last}");
    assert_eq!(standing(folder).0, before.0);
}

#[test]
fn an_import_is_written_as_rust_too() {
    let folder = by_hand();
    let words = ["import", "--format", "rust", "--owner", "team:billing", "--only", "sorter"];
    let (code, out, err) = run(folder.path(), &[&words[..], &["--expires", "2090-01-31"]].concat());
    assert_eq!(code, Some(0), "{err}");
    for words in [
        "use agent_iac::providers::authority as system;",
        "#[agent(name = \"sorter\", owner = \"team:billing\", expires = \"2090-01-31\")]",
        "allow = [\"close\"], on = \"tickets\", to = account",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (code, _, err) = run(folder.path(), &["import", "--report", "--provider", "postgres"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("name one of `authority`"), "{err}");
    // The name is the fleet's for good, and a file without any agent is none.
    let import = ["import", "--owner", "team:billing", "--name", "billing", "--out", "f.toml"];
    let (code, _, err) = run(folder.path(), &[&import[..], &["--only", "nobody"]].concat());
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("nothing to adopt") && !folder.path().join("f.toml").exists(), "{err}");
    assert_eq!(run(folder.path(), &import).0, Some(0));
    let written = fs::read_to_string(folder.path().join("f.toml")).expect("it is written");
    assert!(written.contains("fleet = \"billing\""), "{written}");
    let empty = tempfile::tempdir().expect("a folder");
    let (code, _, err) = run(empty.path(), &["import", "--report"]);
    assert_ne!(code, Some(0), "{err}");
    assert!(
        fs::read_dir(empty.path()).expect("it is a folder").next().is_none(),
        "nothing is made"
    );
}

/// A fleet with a consumer that is told by a file of its own.
#[cfg(all(feature = "process", unix))]
#[test]
#[expect(clippy::disallowed_methods, reason = "an overlap of a real second has to pass")]
fn a_consumer_is_told_where_the_host_allows_it_and_warned_of_where_it_does_not() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let told = folder.join("told");
    fs::create_dir(&told).expect("it is made");
    let told = told.canonicalize().expect("it is there").join("key");
    let consumers = format!(
        "consumers = [\"file:{} mode=0640\"]\noverlap = \"1s\"\nrotate = \"7d\"\n",
        told.display()
    );
    fs::write(folder.join("fleet.toml"), format!("{FLEET}{consumers}")).expect("it is written");
    for words in [&["validate"][..], &["plan"], &["rotate"]] {
        let (code, _, err) = run(folder, words);
        assert_eq!(code, Some(0), "{words:?}: {err}");
        assert!(err.contains("cannot be told here") && err.contains("files_below"), "{err}");
    }
    applies(folder);
    let rotate = || {
        let (_, out, err) = run(folder, &["rotate", "triage"]);
        let command = [&out, &err]
            .into_iter()
            .flat_map(|text| text.lines())
            .find_map(|line| line.strip_prefix("next:  agent-iac "));
        let command = command.unwrap_or_else(|| panic!("a command: {out}{err}")).to_owned();
        let (code, out, err) = run(folder, &command.split(' ').collect::<Vec<_>>());
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(out.contains("1 to rotate") || err.contains("1 to rotate"), "{out}{err}");
    };
    rotate();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    // What is kept for it beyond its time is said, not only recorded.
    for words in [&["rotate"][..], &["inventory"], &["drift"], &["calendar"]] {
        let (_, out, err) = run(folder, words);
        assert!(out.contains("did not confirm the present one"), "{words:?}: {out}{err}");
    }
    assert!(!told.exists());

    let host = folder.join("host.toml");
    let below = told.parent().expect("it has one").display().to_string();
    fs::write(&host, format!("files_below = [\"{below}\"]\n")).expect("it is written");
    fs::set_permissions(&host, fs::Permissions::from_mode(0o666)).expect("it is ours");
    let (code, _, err) = run(folder, &["rotate", "--host", "host.toml"]);
    assert_eq!(code, Some(5), "{err}");
    assert!(err.contains("may be written by others"), "{err}");
    fs::set_permissions(&host, fs::Permissions::from_mode(0o600)).expect("it is ours");
    for _ in 0..2 {
        let (code, out, err) = run(folder, &["rotate", "--host", "host.toml"]);
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(!err.contains("cannot be told"), "{err}");
    }
    assert!(fs::read_to_string(&told).expect("it was told").starts_with("agia_"));
    let (_, out, _) = run(folder, &["drift"]);
    assert!(!out.contains("did not confirm"), "{out}");

    fs::write(&host, "commands = { reload = \"systemctl\" }").expect("it is written");
    let (code, _, err) = run(folder, &["--host", "host.toml", "validate"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("write the command `reload` as"), "{err}");
    fs::write(&host, "filesbelow = []").expect("it is written");
    assert!(run(folder, &["--host", "host.toml", "validate"]).2.contains("`filesbelow` is no key"));
}

#[test]
fn what_was_stopped_held_or_has_expired_is_said_where_nothing_changes() {
    let folder = applied();
    let folder = folder.path();
    // Nothing is recorded where there is nothing to take back.
    let entries = || run(folder, &["history"]).1.lines().count();
    let before = entries();
    for (command, says) in [("resume", "was not stopped"), ("release", "was not held")] {
        let (code, out, err) = run(folder, &[command, "triage"]);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains(says), "{out}");
    }
    assert_eq!(entries(), before);

    let hold = ["hold", "triage", "--reason", "incident 12", "--for", "1h"];
    assert_eq!(run(folder, &hold).0, Some(0));
    let (code, out, err) = run(folder, &["plan", "--detailed-exitcode"]);
    assert_eq!(code, Some(0), "a hold on what does not change holds nothing back: {out}{err}");
    assert!(out.contains("incident 12") && out.contains("2 resources are as declared"), "{out}");
    let (code, out, err) = run(folder, &["apply"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let renamed = FLEET.replace("name = \"triage\"", "name = \"other\"");
    fs::write(folder.join("renamed.toml"), renamed).expect("it is written");
    let (code, out, _) = run(folder, &["--fleet", "renamed.toml", "plan", "--detailed-exitcode"]);
    assert_eq!(code, Some(3), "{out}");
    assert!(out.contains("No step can be taken: 1 change is blocked"), "{out}");
    assert!(!out.contains("No changes"), "{out}");
    assert_eq!(run(folder, &["--fleet", "renamed.toml", "apply"]).0, Some(5));
    assert_eq!(run(folder, &["release", "triage"]).0, Some(0));

    assert_eq!(run(folder, &["kill", "triage", "--reason", "leak"]).0, Some(0));
    for words in [&["plan"][..], &["plan", "--full"], &["rotate", "triage"], &["apply"]] {
        let (_, out, err) = run(folder, words);
        let all = out + &err;
        assert!(all.contains("killed at") && all.contains("`resume triage`"), "{words:?}: {all}");
        assert!(all.contains("1 agent left alone"), "{words:?}: {all}");
    }
    let (_, out, _) = run(folder, &["--json", "plan"]);
    assert!(out.contains("\"apart\":{\"triage\":"), "{out}");
    let (code, out, _) = run(folder, &["calendar", "triage"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("nothing is rotated, for it was killed"), "{out}");
    assert!(out.contains("0 rotations"), "{out}");
    assert_eq!(run(folder, &["calendar", "nobody"]).0, Some(1));

    let expired = FLEET.replace("2090-06-30", "2020-06-30");
    fs::write(folder.join("fleet.toml"), expired).expect("it is written");
    let (code, _, err) = run(folder, &["validate"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("warning[IAC0010]: `triage` ended on 2020-06-30"), "{err}");
    let fresh = ["--folder", "fresh", "plan"];
    let (_, out, err) = run(folder, &fresh);
    assert!(
        err.contains("nothing of it is made") && out.contains("1 agent left alone"),
        "{out}{err}"
    );
}

#[test]
fn a_plan_counts_rotations_and_a_cap_says_how_it_is_raised() {
    let folder = applied();
    let folder = folder.path();
    let (_, out, err) = run(folder, &["rotate", "--all"]);
    assert!((out + &err).contains("0 to destroy, 1 to rotate"), "{err}");
    let capped =
        FLEET.replace("[providers.authority]", "[rules]\nmax_leaving = 0\n[providers.authority]");
    let (head, _) = capped.split_once("[agents.triage]").expect("it has an agent");
    fs::write(folder.join("fleet.toml"), head).expect("it is written");
    let (code, out, err) = run(folder, &["plan", "--detailed-exitcode"]);
    assert_eq!(code, Some(3), "{err}");
    for words in [
        "1 agent would begin to leave",
        "--allow-leaving 1",
        "No step can be taken: 1 change is blocked",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert_eq!(run(folder, &["plan", "--allow-leaving", "1"]).0, Some(0));
    // A digest acknowledges a plan, and what is due has none.
    let (code, _, err) = run(folder, &["rotate", "--digest", "deadbeef"]);
    assert_eq!(code, Some(2), "{err}");
    // A stream of objects holds nothing else.
    let (code, _, err) = run(folder, &["--json", "exec", "triage"]);
    assert_eq!(code, Some(2), "{err}");
}

#[cfg(all(feature = "process", unix))]
#[test]
fn an_agent_is_started_in_its_environment_with_its_secret_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let fleet =
        FLEET.replace("[providers.authority]", "[providers.authority]\n[providers.process]");
    let runtime = r#"
[agents.triage.process]
runtime = "process.runtime"
name = "triage"
command = ["/bin/sh", "-c", "cat \"$$KEY_FILE\"; echo; /usr/bin/env; exit 7"]
variables = { GREETING = "hello" }
secrets = { KEY = "vault:agents/triage" }
"#;
    fs::write(folder.join("fleet.toml"), format!("{fleet}{runtime}")).expect("it is written");
    let (code, plan, err) = run(folder, &["plan", "--format", "json"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = run(folder, &["apply", "--digest", &digest(&plan)]);
    assert_eq!(code, Some(0), "{err}");

    let (code, out, err) = run(folder, &["exec", "triage"]);
    assert_eq!(code, Some(7), "{err}");
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("(secret)"), "a key is shown: {out}");
    let named = |line: &&str| !line.starts_with("PWD=") && !line.starts_with("_=");
    let mut seen: Vec<&str> =
        lines.filter(named).filter(|line| !line.starts_with("SHLVL")).collect();
    seen.sort_unstable();
    assert_eq!(seen.len(), 2, "{out}");
    assert_eq!(seen[0], "GREETING=hello");
    assert!(seen[1].starts_with("KEY_FILE=/"), "{out}");

    let command = ["exec", "triage.process", "--", "/bin/sh", "-c", "kill -9 $$"];
    assert_eq!(run(folder, &command).0, Some(128 + 9));
    let (code, _, err) = run(folder, &["exec", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("has no `process.runtime`"), "{err}");
    // One that ended badly at once confirms nothing; that of one that came to a
    // good end lies in the inbox.
    let confirmed = || fs::read_dir(folder.join(".agent-iac/inbox")).expect("it is there").count();
    assert_eq!(confirmed(), 0);
    assert_eq!(run(folder, &["exec", "triage", "--", "/bin/sh", "-c", "exit 0"]).0, Some(0));
    assert_eq!(confirmed(), 1);

    let killed = run(folder, &["kill", "triage", "--reason", "a test"]);
    assert_eq!(killed.0, Some(0), "{}", killed.2);
    let (code, _, err) = run(folder, &["exec", "triage"]);
    assert_eq!(code, Some(5), "{err}");
}
