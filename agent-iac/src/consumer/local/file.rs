//! A file with the secret, for one user.
//!
//! One writer at a time: a lock lies beside the file while it is written. Who
//! holds it looks once more whether what it brings is the newest, so that one
//! that stood still for long puts nothing old in the place of what another has
//! written meanwhile.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{
        AtFlags, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, fsync, openat, renameat, statat,
        unlinkat,
    },
    io::Errno,
    process::geteuid,
};

use super::{beneath::folder_of, failed};
use crate::{
    clock::Deadline,
    consumer::{FileConsumer, Owner, Told},
    secret::Secret,
};

/// The name of what is written before it takes the file's own name. It is one
/// for each file, so that what a crash left is replaced by the next attempt.
const BESIDE: &str = ".agent-iac-new.";

/// The name of the lock of a file.
const LOCK: &str = ".agent-iac-lock.";

/// A secret on its way into a file.
pub(super) struct Write<'a> {
    pub(super) folder: &'a Path,
    pub(super) rest: &'a Path,
    pub(super) to: &'a FileConsumer,
    pub(super) secret: &'a Secret,
    /// Whether it is the newest still; otherwise why not.
    pub(super) is_newest: &'a dyn Fn() -> Result<(), String>,
    /// How long another writer is waited for.
    pub(super) limit: Duration,
}

impl Write<'_> {
    pub(super) fn write(&self) -> Told {
        match self.write_file() {
            Ok(()) => Told::Told,
            Err(error) => failed(format!("cannot write `{}`: {error}", self.to.path())),
        }
    }

    fn write_file(&self) -> io::Result<()> {
        let owner = self.to.owner().map(numbers).transpose()?;
        let (at, name) = folder_of(self.folder, self.rest)?;
        let _alone = Lock::of(&at, name, self.limit)?;
        let beside = beside(BESIDE, name);
        unlink(&at, &beside)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody else's before it is whole, whatever the mask of this process is.
        let mut file = File::from(openat(&at, &beside, flags, Mode::RUSR | Mode::WUSR)?);
        let mut put = || -> io::Result<()> {
            self.secret.expose(|bytes| file.write_all(bytes))?;
            if let Some((user, group)) = owner {
                fchown(&file, Some(user), group)?;
            }
            // After the owner, who could not have it read by the old group.
            fchmod(&file, Mode::from_raw_mode(self.to.mode() as _))?;
            file.sync_all()?;
            (self.is_newest)().map_err(io::Error::other)?;
            renameat(&at, &beside, &at, name)?;
            Ok(fsync(&at)?)
        };
        let done = put();
        if done.is_err() {
            let _left: io::Result<()> = unlink(&at, &beside);
        }
        done
    }
}

fn beside(prefix: &str, name: &OsStr) -> OsString {
    let mut beside = OsString::from(prefix);
    beside.push(name);
    beside
}

fn unlink(at: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Keeps other writers of a file out, and is gone with its holder.
struct Lock<'a> {
    at: &'a OwnedFd,
    name: OsString,
    _file: File,
}

impl<'a> Lock<'a> {
    fn of(at: &'a OwnedFd, name: &OsStr, limit: Duration) -> io::Result<Self> {
        let name = beside(LOCK, name);
        let locked = Deadline::after(limit).retry(|| Self::attempt(at, &name).transpose());
        let file = locked.unwrap_or_else(|| {
            let message = "somebody else is writing it, and does not come to an end";
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        })?;
        Ok(Self { at, name, _file: file })
    }

    fn attempt(at: &OwnedFd, name: &OsStr) -> io::Result<Option<File>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match openat(at, name, flags | OFlags::CLOEXEC, mode) {
            Ok(file) => File::from(file),
            // A link or a pipe that nobody reads: none of ours.
            Err(Errno::LOOP | Errno::NXIO) => {
                unlink(at, name)?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let meta = file.metadata()?;
        if !meta.is_file() || meta.uid() != geteuid().as_raw() {
            // Somebody else would hold it for as long as they like.
            unlink(at, name)?;
            return Ok(None);
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The one that held it before may have removed it.
        let there = match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => there,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let held = fstat(&file)?;
        Ok(((held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)).then_some(file))
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // While it is held: who waits for it sees that it is another one then.
        let _left: io::Result<()> = unlink(self.at, &self.name);
    }
}

/// The numbers of a user and a group. Names are those of this machine's own
/// files; who has them from elsewhere gives numbers.
fn numbers(owner: &Owner) -> io::Result<(Uid, Option<Gid>)> {
    let user = number(&owner.user, "/etc/passwd")?;
    let group = owner.group.as_deref().map(|group| number(group, "/etc/group")).transpose()?;
    Ok((Uid::from_raw(user), group.map(Gid::from_raw)))
}

fn number(name: &str, list: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string(list)?;
    let mut named = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    });
    named.next().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("`{list}` has no `{name}`; give the number"),
        )
    })
}
