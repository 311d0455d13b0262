//! Renews the logins of a fleet of agents on a PostgreSQL server, on and on:
//! `rotate-on-postgres FOLDER PERIOD SIZE PORT FLEET NAME`.
//!
//! It is there to be killed at any instant and started again.

use std::{path::Path, process::ExitCode};

use agent_iac_tests::{
    crash::{complain, rotate_on_and_on},
    on_postgres::Site,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, period, size, port, fleet, name] = &arguments[..] else {
        return complain("rotate-on-postgres FOLDER PERIOD SIZE PORT FLEET NAME");
    };
    match (size.parse(), port.parse()) {
        (Ok(size), Ok(port)) => {
            let site = Site { port, fleet: fleet.clone(), others: Vec::new() };
            rotate_on_and_on(site.rotating(Path::new(folder), period, size), name)
        }
        _ => complain(&format!("`{size}` or `{port}` is not understood")),
    }
}
