//! The stock binary does the whole job for a fleet that is written as text.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
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
