//! A process that is signalled.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, openat},
    process::{Pid, geteuid},
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
    // A file of root's or of our own says what it says. In anybody else's stands
    // a number of their choice, and they may choose among their own only.
    let trusted = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
    signal_of(pid, signal, (!trusted).then_some(meta.uid()))
}

/// The handle keeps meaning the process that was looked at, also when that ends
/// and another is given its number.
#[cfg(target_os = "linux")]
fn signal_of(pid: Pid, signal: rustix::process::Signal, only: Option<u32>) -> io::Result<()> {
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    if let Some(only) = only {
        let meta = std::fs::metadata(format!("/proc/{}", pid.as_raw_nonzero()))?;
        if meta.uid() != only {
            return Err(another_users());
        }
    }
    Ok(rustix::process::pidfd_send_signal(&handle, signal)?)
}

#[cfg(not(target_os = "linux"))]
fn signal_of(pid: Pid, signal: rustix::process::Signal, only: Option<u32>) -> io::Result<()> {
    // Whose a process is cannot be asked here without a race.
    if only.is_some() {
        return Err(another_users());
    }
    Ok(rustix::process::kill_process(pid, signal)?)
}

fn another_users() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the process is not of the file's owner")
}
