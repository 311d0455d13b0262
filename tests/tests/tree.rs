//! What the crates bring with them, and what the library keeps its hands off:
//! rules about the repository itself, which no compiler checks.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Counts are of one platform, or the README would differ on each.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The features with what they may bring, beside our own two crates. A bound
/// leaves room for a few crates, so that an update passes and a second parser
/// or runtime does not.
const BOUNDS: [(&str, usize); 14] = [
    ("derive", 30),
    ("config", 40),
    ("sqlite", 45),
    ("sqlite-bundled", 50),
    ("authority", 50),
    ("postgres", 84),
    ("age", 155),
    ("embedded", 175),
    ("consumers", 36),
    ("webhooks", 60),
    ("process", 50),
    ("cli", 60),
    ("testing", 30),
    ("tracing", 35),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the workspace")
}

/// The crates with these features, as `name version`, without our own.
fn crates(features: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--locked", "-p", "agent-iac", "--no-default-features"])
        .args(["--features", features, "--target", TARGET])
        .args(["--prefix", "none", "--edges", "normal,build"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names of crates are text");
    let name_and_version = |line: &str| {
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?.trim_start_matches('v')))
    };
    let all = text.lines().filter_map(name_and_version);
    all.filter(|one| !one.starts_with("agent-iac")).collect()
}

fn names(crates: &BTreeSet<String>) -> Vec<&str> {
    crates.iter().filter_map(|one| one.split(' ').next()).collect()
}

#[test]
fn no_feature_brings_more_than_it_may() {
    for (feature, most) in BOUNDS {
        let crates = crates(feature);
        println!("{feature}: {} crates", crates.len());
        assert!(crates.len() <= most, "`{feature}` brings {}: {crates:#?}", crates.len());
    }
}

#[test]
fn declaring_and_planning_bring_no_runtime_client_database_or_c() {
    let forbidden = [
        "async-std",
        "cc",
        "hyper",
        "libsqlite3-sys",
        "native-tls",
        "openssl-sys",
        "reqwest",
        "rusqlite",
        "rustls",
        "smol",
        "tokio",
    ];
    let crates = crates("derive");
    let found: Vec<&str> =
        names(&crates).into_iter().filter(|name| forbidden.contains(name)).collect();
    assert_eq!(found, [""; 0]);
}

#[test]
fn nothing_brings_a_runtime_or_a_second_tls() {
    let crates = crates("embedded,cli,testing");
    for name in ["tokio", "async-std", "hyper", "openssl-sys", "native-tls", "chrono"] {
        assert!(!names(&crates).contains(&name), "{name} is there");
    }
}

#[test]
fn one_syn_is_compiled_unless_for_age() {
    for (feature, _) in BOUNDS.into_iter().filter(|(name, _)| !matches!(*name, "age" | "embedded"))
    {
        let crates = crates(feature);
        let syn: Vec<_> = names(&crates).into_iter().filter(|name| *name == "syn").collect();
        assert_eq!(syn, ["syn"], "with `{feature}`");
    }
}

#[test]
fn both_ends_of_the_rusqlite_range_are_locked() {
    let version = |lock: &str| {
        let text = fs::read_to_string(root().join(lock)).expect("the lock file is there");
        let (_, rest) = text.split_once("name = \"rusqlite\"\nversion = \"").expect("it has it");
        rest.split('"').next().expect("a version ends").to_owned()
    };
    let range = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is there");
    assert!(range.contains("rusqlite = { version = \">=0.39, <0.44\""), "the range has moved");
    assert_eq!(version("tests/fixtures/rusqlite-floor/Cargo.lock"), "0.39.0");
    assert!(version("Cargo.lock").starts_with("0.43."), "the newest is what the workspace takes");
}

/// `## text` above each feature of the manifest, by feature.
fn described() -> Vec<(String, String)> {
    let manifest = fs::read_to_string(root().join("agent-iac/Cargo.toml")).expect("it is there");
    let (_, features) = manifest.split_once("[features]\n").expect("it has features");
    let (mut all, mut text) = (Vec::new(), String::new());
    for line in features.lines().take_while(|line| !line.starts_with('[')) {
        if let Some(more) = line.strip_prefix("## ") {
            let space = if text.is_empty() { "" } else { " " };
            write!(text, "{space}{more}").expect("text takes text");
        } else if let Some((name, _)) = line.split_once(" = ") {
            let text = std::mem::take(&mut text);
            if name != "default" && !name.starts_with('_') {
                assert!(!text.is_empty(), "the feature `{name}` has no `## ` line");
                all.push((name.to_owned(), text));
            }
        }
    }
    all
}

#[test]
fn the_table_of_features_in_the_readme_is_true() {
    let mut table = String::from("| feature | what it brings | crates |\n| --- | --- | --- |\n");
    let described = described();
    let features: BTreeSet<&str> = described.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(features, BOUNDS.iter().map(|(name, _)| *name).collect(), "each has a bound");
    for (name, text) in &described {
        let default = if name == "derive" { " (default)" } else { "" };
        let count = crates(name).len();
        writeln!(table, "| `{name}`{default} | {text} | {count} |").expect("text takes text");
    }
    let (begin, end) = ("<!-- features: begin -->\n", "<!-- features: end -->");
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).expect("the README is there");
    let (before, rest) = readme.split_once(begin).expect("the table begins");
    let (found, after) = rest.split_once(end).expect("the table ends");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, format!("{before}{begin}{table}{end}{after}")).expect("it can be written");
    } else {
        assert_eq!(found, table, "run this test with UPDATE_EXPECT=1");
    }
}

/// Every file of the repository that is text, with its path from the root.
fn files(under: &str) -> Vec<(String, String)> {
    let mut open: Vec<PathBuf> = vec![root().join(under)];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("the folder is readable") {
            let path = entry.expect("the entry is readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if matches!(&*name, "target" | ".git" | ".agent-iac") {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).expect("it stands below the root");
                found.push((path.display().to_string(), text));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_library_touches_nothing_that_is_global_to_the_process() {
    let forbidden = [
        "println!(",
        "print!(",
        "dbg!(",
        "process::exit",
        "process::abort",
        "panic::set_hook",
        "env::var",
        "env::set_var",
        "env::args",
        "set_global_default",
        "set_logger",
        "signal_hook",
        "ctrlc::",
        "Stdio::inherit",
    ];
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, text) in files("agent-iac/src").into_iter().chain(files("agent-iac-macros/src")) {
        // The command line is a program's, and tests are programs too. What
        // checks a fleet in a build script is there to print.
        let is_program = path.contains("/cli/")
            || path.contains("/bin/")
            || path.contains("/tests")
            || path == "agent-iac/src/build.rs";
        if is_program || Path::new(&path).extension() != Some("rs".as_ref()) {
            continue;
        }
        let library = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in library.lines().enumerate() {
            seen += 1;
            if line.trim_start().starts_with("//") {
                continue;
            }
            if forbidden.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(seen > 10_000, "only {seen} lines were looked at");
    assert_eq!(wrong, [""; 0], "take it as an argument, or leave it to the program");
}

#[test]
fn no_file_names_a_folder_of_the_machine_that_it_was_written_on() {
    let here = root().display().to_string();
    // A short path, as `/src`, would be found in others.
    let here = (root().components().count() > 2).then_some(here);
    let homes = ["/root/", "/Users/"].map(str::to_owned);
    let mut wrong = Vec::new();
    for (path, text) in files("") {
        // It has to name what it looks for; and a worktree's `.git` is a file.
        if path == "tests/tests/tree.rs" || path == ".git" {
            continue;
        }
        for folder in here.iter().chain(&homes) {
            if text.contains(folder.as_str()) {
                wrong.push(format!("{path} names {folder}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn every_package_that_is_published_carries_the_licences() {
    for folder in ["agent-iac", "agent-iac-macros"] {
        for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let read = |path: PathBuf| fs::read_to_string(&path).expect("the licence is there");
            assert_eq!(read(root().join(folder).join(file)), read(root().join(file)));
        }
    }
}
