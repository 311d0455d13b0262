//! Checking a text fleet while something is built.
//!
//! Owns how mistakes are told to cargo. With this in `build.rs` a build fails
//! when a declared agent is wrong or breaks a rule, at the file, the line and
//! the column, and a fleet that was wrong once is checked again only when it
//! has changed:
//!
//! ```no_run
//! // build.rs, with `agent-iac` and its feature `config` under
//! // `[build-dependencies]`
//! agent_iac::build::check("fleet.toml");
//! ```

use std::path::Path;

use crate::{
    address::is_printable,
    blueprint::Blueprint,
    config::{self, Types},
    diagnostic::{Diagnostic, Diagnostics, Severity},
};

/// Checks a text fleet, and tells cargo of each mistake. The path is from the
/// package's folder, where a build script runs.
///
/// A mistake fails the build, and not the script: cargo then prints the
/// mistakes alone.
pub fn check(path: impl AsRef<Path>) {
    check_with(path, &Types::builtin());
}

/// As [`check`], with types of your own.
#[expect(clippy::print_stdout, reason = "cargo reads what a build script prints")]
pub fn check_with(path: impl AsRef<Path>, types: &Types) {
    for line in instructions(path.as_ref(), types) {
        println!("{line}");
    }
}

/// Reads a text fleet and validates it for an environment, and prints nothing.
///
/// # Errors
///
/// Every mistake, in the order of lines.
pub fn validate(
    path: impl AsRef<Path>,
    environment: &str,
    types: &Types,
) -> Result<Blueprint, Diagnostics> {
    let path = path.as_ref();
    config::blueprint(&config::read(path)?, &path.display().to_string(), environment, types)
}

/// What a build script says of a fleet.
fn instructions(path: &Path, types: &Types) -> Vec<String> {
    let mut lines =
        vec![format!("cargo::rerun-if-changed={}", printable(&path.display().to_string()))];
    if let Err(mistakes) = validate(path, config::ANYWHERE, types) {
        lines.extend(mistakes.iter().map(instruction));
    }
    lines
}

fn instruction(mistake: &Diagnostic) -> String {
    let word = match mistake.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    format!("cargo::{word}={}", printable(&mistake.to_string()))
}

/// The text on one line: another line would be another instruction to cargo.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push(' '),
            c if is_printable(c.encode_utf8(&mut [0; 4])) => shown.push(c),
            c => shown.extend(c.escape_unicode()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_told_of_each_mistake_on_one_line_and_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.toml");
        let shown = path.display();
        let text = "fleet = \"billing\"\ncolour = 1\n\n[agents.\"a\\ncargo::error=forged\"]\n                    purpose = \"p\"\nowner = \"o\"\nexpires = \"2027-06-30\"\n";
        std::fs::write(&path, text).unwrap();
        let lines = instructions(&path, &Types::builtin());
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert_eq!(lines[0], format!("cargo::rerun-if-changed={shown}"));
        assert!(
            lines[1].starts_with(&format!(
                "cargo::error={shown}:2:1: error[IAC0014]: unknown key `colour`; "
            )),
            "{}",
            lines[1]
        );
        assert!(
            lines[2].starts_with(&format!("cargo::error={shown}:4:9: error[IAC0001]: ")),
            "{}",
            lines[2]
        );
        assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:#?}");
    }

    #[test]
    fn a_sound_fleet_says_only_when_to_look_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.toml");
        std::fs::write(&path, "fleet = \"billing\"\n").unwrap();
        assert_eq!(instructions(&path, &Types::none()).len(), 1);
    }
}
