//! A command that the host allows.

use std::{
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::failed;
use crate::consumer::{Notice, Told};

/// A program with all its arguments.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
}

/// What a command learns, as variables: nothing that is secret.
pub(super) type About = Vec<(&'static str, String)>;

/// What a consumer's command learns.
pub(super) fn about(notice: Notice<'_>) -> About {
    vec![
        ("AGENT_IAC_CREDENTIAL", notice.credential.to_string()),
        ("AGENT_IAC_GENERATION", notice.generation.to_string()),
        ("AGENT_IAC_PLACE", notice.place.to_string()),
    ]
}

/// Runs it beside nothing of ours: its environment is made here, its input is
/// empty, and its output, in which anything might stand, is nobody's.
pub(super) fn run(program: &Program, about: &[(&'static str, String)], limit: Duration) -> Told {
    let name = program.path.display();
    let spawned = Command::new(&program.path)
        .args(&program.arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(about.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Whatever it starts ends with it when its time is over.
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return failed(format!("cannot run `{name}`: {error}")),
    };
    match wait(&mut child, limit) {
        Ok(Some(status)) if status.success() => Told::Told,
        Ok(Some(status)) => failed(format!("`{name}` ended with {status}")),
        Ok(None) => failed(format!("`{name}` was ended after {} s", limit.as_secs())),
        Err(error) => failed(format!("cannot wait for `{name}`: {error}")),
    }
}

fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = raw.ok_or(std::io::ErrorKind::InvalidData)?;
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        // It is left to be waited for: until then its number is nobody else's.
        let waited = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let _hung_up: Result<(), mpsc::SendError<bool>> = ended.send(waited.is_ok());
    });
    let in_time = end.recv_timeout(limit).is_ok();
    if !in_time {
        let _gone: Result<(), rustix::io::Errno> = kill_process_group(pid, Signal::KILL);
    }
    let status = child.wait()?;
    Ok(in_time.then_some(status))
}
