//! Brings a fleet of agents about in a folder, and ends when there is nothing
//! left to do: `apply-fleet FOLDER VERSION SIZE`.
//!
//! It is there to be killed at any instant and started again.

use std::{path::Path, process::ExitCode};

use agent_iac_tests::{
    crash::{bring_about, complain},
    embedded,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, version, size] = &arguments[..] else {
        return complain("apply-fleet FOLDER VERSION SIZE");
    };
    match (version.parse(), size.parse()) {
        (Ok(version), Ok(size)) => {
            bring_about(embedded::deployment(Path::new(folder), version, size))
        }
        _ => complain(&format!("`{version}` or `{size}` is not understood")),
    }
}
