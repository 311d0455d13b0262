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
}

#[test]
fn an_option_without_its_value_is_a_usage_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, _, err) = run(folder.path(), &["plan", "--fleet"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("`--fleet` needs a value"), "{err}");
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
    let empty = tempfile::tempdir().expect("a folder");
    let (code, _, err) = run(empty.path(), &["import", "--report"]);
    assert_ne!(code, Some(0), "{err}");
    assert!(
        fs::read_dir(empty.path()).expect("it is a folder").next().is_none(),
        "nothing is made"
    );
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
