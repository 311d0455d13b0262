//! A whole command line over a fleet of any size in a folder:
//! `operate-fleet FOLDER SIZE COMMAND …`, to be asked to stop.

use std::{path::Path, process::ExitCode};

use agent_iac_tests::{
    crash::complain,
    embedded::{self, Version},
};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next();
    let (folder, size) = (arguments.next(), arguments.next());
    let size = size.as_ref().and_then(|size| size.to_str()?.parse().ok());
    let (Some(program), Some(folder), Some(size)) = (program, folder, size) else {
        return complain("operate-fleet FOLDER SIZE COMMAND …");
    };
    agent_iac::cli::main_with([program].into_iter().chain(arguments), || {
        embedded::deployment(Path::new(&folder), Version::Full, size)
    })
}
