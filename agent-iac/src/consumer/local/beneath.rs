//! Opening what lies below a folder, without following a link on the way.

use std::{
    ffi::OsStr,
    io,
    os::fd::OwnedFd,
    path::{Component, Path},
};

use rustix::fs::{CWD, Mode, OFlags, openat};

/// The folder that holds the file at `rest`, and the file's name in it. The
/// host chose the first folder, and may have put a link there; below it the
/// users of the folder may have put others, which are refused.
pub(super) fn folder_of<'a>(folder: &Path, rest: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, folder, flags, Mode::empty())?;
    let mut parts = rest.components().peekable();
    while let Some(Component::Normal(part)) = parts.next() {
        if parts.peek().is_none() {
            return Ok((at, part));
        }
        at = openat(&at, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Err(io::ErrorKind::InvalidInput.into())
}
