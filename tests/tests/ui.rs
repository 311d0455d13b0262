//! The mistakes that the derives report, and what they must accept.
//!
//! Each case of `ui/<rule>/` begins with the number of its mistakes, and its
//! `.stderr` holds as many errors: one mistake gives one error, and none hides
//! another. The texts are those of the compiler that the workspace names.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The compiler whose texts the `.stderr` files hold.
const PINNED: &str = "rustc 1.95.";

#[test]
fn the_derives_accept_what_is_right_and_report_what_is_wrong() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    let rustc = Command::new("rustc").arg("--version").output().expect("rustc runs");
    if String::from_utf8_lossy(&rustc.stdout).starts_with(PINNED) {
        for folder in folders() {
            cases.compile_fail(format!("{}/*.rs", folder.display()));
        }
    } else {
        println!("the texts of errors are compared with {PINNED} only");
    }
}

#[test]
fn as_many_errors_are_reported_as_there_are_mistakes() {
    let mut cases = 0;
    for folder in folders() {
        for case in
            files(&folder).into_iter().filter(|path| path.extension() == Some("rs".as_ref()))
        {
            let text = fs::read_to_string(&case).expect("the case is readable");
            let mistakes = text.lines().next().and_then(|line| line.strip_prefix("// errors: "));
            let mistakes: usize =
                mistakes.and_then(|number| number.parse().ok()).expect("the case names a number");
            let errors = fs::read_to_string(case.with_extension("stderr")).unwrap_or_default();
            let errors = errors.lines().filter(|line| line.starts_with("error")).count();
            assert_eq!(errors, mistakes, "{}", case.display());
            cases += 1;
        }
    }
    assert!(cases > 100, "only {cases} cases were found");
}

fn folders() -> Vec<PathBuf> {
    files(Path::new("tests/ui")).into_iter().filter(|path| !path.ends_with("pass")).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is readable");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the entry is readable").path()).collect();
    paths.sort();
    paths
}
