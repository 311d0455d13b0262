//! Holds a server until its input ends: `hold-cluster VERSION`.
//!
//! It is there to be killed, for the test that no server outlives its owner. It
//! says on standard output where the cluster lies, as soon as that is ready.

use std::{
    io::{Read as _, Write as _},
    process::ExitCode,
};

use agent_iac_tests::postgres::Cluster;

fn main() -> ExitCode {
    let version = std::env::args().nth(1).and_then(|version| version.parse().ok());
    let Some(version) = version else { return ExitCode::FAILURE };
    let cluster = Cluster::start(version);
    let mut out = std::io::stdout().lock();
    let told = writeln!(out, "{}", cluster.data().display()).and_then(|()| out.flush());
    let held = told.and_then(|()| std::io::stdin().read_to_end(&mut Vec::new()));
    if held.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
