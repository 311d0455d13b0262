//! Brings a fleet of agents about in a folder, and ends when there is nothing
//! left to do: `apply-fleet FOLDER VERSION SIZE`.
//!
//! It is there to be killed at any instant and started again. It says on
//! standard output when a run of it begins and ends, so that whoever kills it can aim.

use std::{io::Write as _, path::Path, process::ExitCode, sync::Arc};

use agent_iac::{apply::Progress, clock::block_on};
use agent_iac_tests::{converge_as, embedded, operator};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let ended = match &arguments[..] {
        [_, folder, version, size] => bring_about(Path::new(folder), version, size),
        _ => Err("apply-fleet FOLDER VERSION SIZE".to_owned()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nobody is left to be told that it cannot be told.
            let _: std::io::Result<()> = writeln!(std::io::stderr(), "apply-fleet: {message}");
            ExitCode::FAILURE
        }
    }
}

fn bring_about(folder: &Path, version: &str, size: &str) -> Result<(), String> {
    let version = version.parse()?;
    let size = size.parse().map_err(|error| format!("`{size}` is no size: {error}"))?;
    let mut context = operator();
    context.watch = Arc::new(|progress| {
        let word = match progress {
            Progress::RunBegun { .. } => "begun",
            Progress::RunEnded { .. } => "ended",
            _ => return,
        };
        let mut out = std::io::stdout().lock();
        // Whoever listens may be gone; the run goes on.
        let _: std::io::Result<()> = writeln!(out, "{word}").and_then(|()| out.flush());
    });
    let deployment = embedded::deployment(folder, version, size);
    deployment
        .and_then(|deployment| block_on(converge_as(&deployment, &context)))
        .map_err(|error| format!("{error:?}"))
}
