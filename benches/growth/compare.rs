//! The same graph through an installed Terraform or OpenTofu, in the same run.
//!
//! Theirs is of `terraform_data`, which does nothing and needs no provider;
//! ours makes accounts and grants of the local authority, and every step of it
//! is durable before the next. What is compared is what each tool costs beside
//! the work, so that ours has the harder part.
#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    measure::timed,
    numbers,
    table::{bytes, shown, times},
};

/// Compares for each number of resources.
pub(crate) fn compare(tool: &str, sizes: &[usize]) -> Result<(), Box<dyn Error>> {
    let version = Command::new(tool).arg("version").env("CHECKPOINT_DISABLE", "1").output();
    let version = match version {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)?,
        Ok(output) => return Err(format!("`{tool} version` ended with {}", output.status).into()),
        Err(error) => {
            return Err(format!("`{tool}` cannot be run, so nothing is compared: {error}").into());
        }
    };
    println!("{}\n", version.lines().next().unwrap_or_default());
    println!("{:<44} {:>12} {:>12} {:>9}   memory: theirs, ours", "", "theirs", "ours", "ratio");
    for size in sizes {
        let theirs = Theirs::new(tool, *size)?;
        let ours = tempfile::tempdir()?;
        let (folder, count) = (ours.path().to_string_lossy(), size.to_string());
        let (their_time, their_memory) = theirs.run(&["apply", "-auto-approve"])?;
        // Planned as well, as theirs is.
        let (time, [_, _, memory]) = timed(|| numbers(&["apply", &folder, &count]))?;
        show(&format!("apply {size} creates"), (their_time, their_memory), (time, memory));
        let changes = ["plan", "-detailed-exitcode"];
        let (their_time, their_memory) = theirs.run(&changes)?;
        let (time, [_, memory]) = timed(|| numbers(&["plan", &folder, &count]))?;
        let what = format!("plan {size} resources without changes");
        show(&what, (their_time, their_memory), (time, memory));
    }
    Ok(())
}

fn show(what: &str, theirs: (Duration, u64), ours: (Duration, u64)) {
    println!(
        "{what:<44} {:>12} {:>12} {:>9}   {}, {}",
        shown(theirs.0),
        shown(ours.0),
        times(theirs.0, ours.0),
        bytes(theirs.1 * 1_024),
        bytes(ours.1 * 1_024),
    );
}

/// A folder with their form of the fleet.
struct Theirs<'t> {
    tool: &'t str,
    folder: tempfile::TempDir,
}

impl<'t> Theirs<'t> {
    fn new(tool: &'t str, resources: usize) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let mut text = String::new();
        for agent in 0..resources / 2 {
            writeln!(
                text,
                "resource \"terraform_data\" \"account_{agent:07}\" {{\n  input = \
                 \"reader-{agent:07}\"\n}}\nresource \"terraform_data\" \"books_{agent:07}\" {{\n  \
                 input = {{\n    to    = terraform_data.account_{agent:07}.id\n    on    = \
                 \"shelves/{agent:07}/books\"\n    allow = [\"read\"]\n  }}\n}}"
            )?;
        }
        fs::write(folder.path().join("main.tf"), text)?;
        let theirs = Self { tool, folder };
        theirs.run(&["init"])?;
        Ok(theirs)
    }

    /// Runs a command; how long it took, and the peak of its memory in kB.
    fn run(&self, words: &[&str]) -> Result<(Duration, u64), Box<dyn Error>> {
        timed(|| {
            let log = fs::File::create(self.folder.path().join("output"))?;
            let mut child = Command::new(self.tool)
                .args(words)
                .args(["-input=false", "-no-color"])
                .current_dir(self.folder.path())
                .env("CHECKPOINT_DISABLE", "1")
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            let status = Path::new("/proc").join(child.id().to_string()).join("status");
            let mut memory = 0;
            let ended = loop {
                if let Some(ended) = child.try_wait()? {
                    break ended;
                }
                memory = memory.max(peak_of(&status));
                pause();
            };
            if ended.success() {
                return Ok(memory);
            }
            let log = fs::read_to_string(self.folder.path().join("output"))?;
            Err(format!("`{} {}` ended with {ended}: {log}", self.tool, words.join(" ")).into())
        })
    }
}

/// The peak so far; nothing of a process that has ended.
fn peak_of(status: &Path) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}
