//! Brings a fleet of agents about on a PostgreSQL server, and ends when there
//! is nothing left to do:
//! `apply-on-postgres FOLDER VERSION SIZE PORT FLEET [DATABASE DATABASE]`.
//!
//! It is there to be killed at any instant and started again.

use std::{path::Path, process::ExitCode};

use agent_iac_tests::{
    crash::{bring_about, complain},
    on_postgres::Site,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, version, size, port, fleet, others @ ..] = &arguments[..] else {
        return complain("apply-on-postgres FOLDER VERSION SIZE PORT FLEET [DATABASE DATABASE]");
    };
    match (version.parse(), size.parse(), port.parse()) {
        (Ok(version), Ok(size), Ok(port)) => {
            let site = Site { port, fleet: fleet.clone(), others: others.to_vec() };
            bring_about(site.deployment(Path::new(folder), version, size))
        }
        _ => complain(&format!("`{version}`, `{size}` or `{port}` is not understood")),
    }
}
