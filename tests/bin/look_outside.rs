//! Looks at what a process left in a folder, from outside: `look-outside
//! FOLDER` in the middle of anything, `look-outside FOLDER VERSION SIZE` when
//! all should be settled. It says what is wrong, a line for each, and fails
//! then.

use std::{path::Path, process::ExitCode};

use agent_iac_tests::{crash::complain, outside::look};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let (folder, settled) = match &arguments[..] {
        [_, folder] => (folder, None),
        [_, folder, version, size] => match (version.parse(), size.parse()) {
            (Ok(version), Ok(size)) => (folder, Some((version, size))),
            _ => return complain(&format!("`{version}` or `{size}` is not understood")),
        },
        _ => return complain("look-outside FOLDER [VERSION SIZE]"),
    };
    match look(Path::new(folder), settled) {
        Ok(wrong) if wrong.is_empty() => ExitCode::SUCCESS,
        Ok(wrong) => complain(&wrong.join("\n")),
        Err(error) => complain(&format!("{error:?}")),
    }
}
