//! A process that is signalled.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, openat},
    process::Pid,
};

use super::{beneath::folder_of, failed};
use crate::consumer::{Signal, Told};

pub(super) fn send(folder: &Path, rest: &Path, kind: Signal) -> Told {
    match send_to(folder, rest, kind) {
        Ok(()) => Told::Told,
        Err(error) => failed(format!("cannot signal the process of `{}`: {error}", rest.display())),
    }
}

fn send_to(folder: &Path, rest: &Path, kind: Signal) -> io::Result<()> {
    let (at, name) = folder_of(folder, rest)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(&at, name, flags, Mode::empty())?);
    let meta = file.metadata()?;
    let sound = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if !meta.is_file() {
        return Err(sound("it is no file"));
    }
    let mut text = String::new();
    file.take(32).read_to_string(&mut text)?;
    let raw = text.trim().parse::<i32>().ok().filter(|pid| *pid > 1);
    let pid = raw.and_then(Pid::from_raw).ok_or_else(|| sound("it holds no process's number"))?;
    let signal = match kind {
        Signal::Hup => rustix::process::Signal::HUP,
        Signal::Usr1 => rustix::process::Signal::USR1,
        Signal::Usr2 => rustix::process::Signal::USR2,
    };
    // A file of root's says what it says. In anybody else's, also in our own,
    // stands a number of their choice or an old one: it may name their own only.
    let only = (meta.uid() != 0).then_some(meta.uid());
    signal_of(pid, signal, only, meta.mtime())
}

/// The handle keeps meaning the process that was looked at, also when that ends
/// and another is given its number.
#[cfg(target_os = "linux")]
pub(super) fn signal_of(
    pid: Pid,
    signal: rustix::process::Signal,
    only: Option<u32>,
    written: i64,
) -> io::Result<()> {
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let folder = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
    if let Some(only) = only
        && std::fs::metadata(&folder)?.uid() != only
    {
        return Err(another_users());
    }
    let process = Process::read(&folder)?;
    if process.is_dead {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
    }
    if process.began > written.saturating_add(LATE) {
        let message = "the process is younger than its pid file, so that means another one; \
                       let the one that is meant write it anew";
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    Ok(rustix::process::pidfd_send_signal(&handle, signal)?)
}

/// By how many seconds a process may seem younger than the file it has written:
/// both times are rounded.
#[cfg(target_os = "linux")]
const LATE: i64 = 2;

/// What the system says of a process.
#[cfg(target_os = "linux")]
struct Process {
    /// It has ended, and nobody has taken note of it.
    is_dead: bool,
    /// When it began, in seconds of the calendar.
    began: i64,
}

#[cfg(target_os = "linux")]
impl Process {
    fn read(folder: &Path) -> io::Result<Self> {
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, "its age is not known");
        let stat = std::fs::read_to_string(folder.join("stat"))?;
        // `pid (name) state …`, where the name may hold anything.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let is_dead = fields.next().is_none_or(|state| ["Z", "X"].contains(&state));
        let ticks: u64 = fields.nth(18).and_then(|t| t.parse().ok()).ok_or_else(unknown)?;
        let system = std::fs::read_to_string("/proc/stat")?;
        let booted = system.lines().find_map(|line| line.strip_prefix("btime "));
        let booted: i64 = booted.and_then(|at| at.trim().parse().ok()).ok_or_else(unknown)?;
        let seconds = ticks / rustix::param::clock_ticks_per_second().max(1);
        let began = i64::try_from(seconds).ok().and_then(|after| booted.checked_add(after));
        Ok(Self { is_dead, began: began.ok_or_else(unknown)? })
    }
}

#[cfg(not(target_os = "linux"))]
fn signal_of(
    pid: Pid,
    signal: rustix::process::Signal,
    only: Option<u32>,
    _: i64,
) -> io::Result<()> {
    // Whose a process is cannot be asked here without a race.
    if only.is_some_and(|only| only != rustix::process::geteuid().as_raw()) {
        return Err(another_users());
    }
    Ok(rustix::process::kill_process(pid, signal)?)
}

fn another_users() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the process is not of the file's owner")
}
