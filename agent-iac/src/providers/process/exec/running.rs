//! A process that runs, with what it has started in its process group.

use std::{
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitStatus},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use super::{
    Environment, Passing,
    life::Event,
    streams::{Pumps, Streams},
};
use crate::error::{Error, ErrorKind, Result};

/// How long what a process printed is waited for after its end: something that
/// it started may keep the stream open for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Who is signalled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) pid: Pid,
    /// Whether the process leads a group of its own, which is signalled with it.
    pub(super) leads: bool,
}

impl Target {
    pub(super) fn signal(self, signal: Signal) {
        let _gone: rustix::io::Result<()> = if self.leads {
            kill_process_group(self.pid, signal)
        } else {
            kill_process(self.pid, signal)
        };
    }
}

/// Ended and reaped when it is dropped: whatever goes wrong, no process goes on
/// with nobody to look after it.
pub(super) struct Running {
    child: Child,
    target: Target,
    pumps: Option<Pumps>,
    passing: Passing,
    reaped: bool,
}

impl Running {
    /// Starts it. Its end wakes whoever holds the inbox.
    pub(super) fn start(
        mut command: Command,
        environment: &Environment,
        leads: bool,
        streams: &mut Streams,
        passing: &Passing,
        wake: mpsc::Sender<Event>,
    ) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |what: &str, error: io::Error| {
            Error::new(ErrorKind::Io, format!("cannot start the process: {what}"))
                .help("look at `command` and `directory` of the runtime")
                .caused_by(error)
        };
        if leads {
            command.process_group(0);
        }
        // An error of `spawn` repeats the program at most, never a variable.
        let mut child = command.spawn().map_err(|error| failed(&program, error))?;
        drop(command);
        let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
            let _ended: io::Result<()> = child.kill();
            let _reaped: io::Result<ExitStatus> = child.wait();
            return Err(failed("it has no number", io::ErrorKind::Other.into()));
        };
        let target = Target { pid, leads };
        let mut running =
            Self { child, target, pumps: None, passing: passing.clone(), reaped: false };
        environment.limit(pid).map_err(|error| failed("its limits cannot be set", error))?;
        let pumps = streams.pump(&mut running.child);
        running.pumps = Some(pumps.map_err(|error| failed("no thread for its output", error))?);
        let waits = move || {
            // Not reaped here: as long as it is not, its number is nobody else's.
            let _: rustix::io::Result<_> =
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _over: std::result::Result<(), mpsc::SendError<Event>> = wake.send(Event::Woken);
        };
        let thread = std::thread::Builder::new().name("exec waits".to_owned()).spawn(waits);
        thread.map_err(|error| failed("no thread that waits for it", error))?;
        passing.set(Some(target));
        Ok(running)
    }

    #[cfg(test)]
    pub(super) fn number(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has ended; it stays unreaped.
    pub(super) fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        // An error says that there is nobody to wait for.
        !matches!(waitid(WaitId::Pid(self.target.pid), look), Ok(None))
    }

    /// Whether others of its group go on without it.
    pub(super) fn leaves_others(&self) -> bool {
        self.target.leads && others_of(self.target.pid)
    }

    /// Signals it, with its group.
    pub(super) fn signal(&self, signal: Signal) {
        self.target.signal(signal);
    }

    /// Signals it alone, of what was agreed with it.
    pub(super) fn tell(&self, signal: Signal) {
        Target { leads: false, ..self.target }.signal(signal);
    }

    /// Takes its exit code, and what it printed last.
    pub(super) fn reap(mut self) -> Result<u8> {
        let status = self.end().map_err(|error| {
            Error::new(ErrorKind::Io, "the end of the process is not known").caused_by(error)
        })?;
        if let Some(pumps) = &self.pumps {
            pumps.drain(LAST_WORDS);
        }
        Ok(code(status))
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        self.passing.set(None);
        self.reaped = true;
        if self.target.leads {
            // While the process is not reaped, the group's number is its own.
            self.target.signal(Signal::KILL);
        }
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            self.target.signal(Signal::KILL);
            let _reaped: io::Result<ExitStatus> = self.end();
        }
    }
}

/// Whether a process lives that is of a group and does not lead it. A dead one
/// that nobody has reaped does not live.
#[cfg(target_os = "linux")]
fn others_of(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes.flatten().any(|entry| {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            return false;
        };
        let group = group.as_raw_nonzero().get();
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // `pid (name) state parent group …`, where the name may hold anything.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let alive = fields.next().is_some_and(|state| !["Z", "X"].contains(&state));
        pid != group && alive && fields.nth(1) == Some(&*group.to_string())
    })
}

/// They cannot be asked for here; those that are left are killed with the end of
/// the process.
#[cfg(not(target_os = "linux"))]
fn others_of(_: Pid) -> bool {
    false
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
