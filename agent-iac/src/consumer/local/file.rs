//! A file with the secret, for one user.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid, fchmod, fchown, fsync, openat, renameat, unlinkat},
    io::Errno,
};

use super::{beneath::folder_of, failed};
use crate::{
    consumer::{FileConsumer, Owner, Told},
    secret::Secret,
};

/// The name of what is written before it takes the file's own name. It is one
/// for each file, so that what a crash left is replaced by the next attempt.
const BESIDE: &str = ".agent-iac-new.";

pub(super) fn write(folder: &Path, rest: &Path, to: &FileConsumer, secret: &Secret) -> Told {
    match write_file(folder, rest, to, secret) {
        Ok(()) => Told::Told,
        Err(error) => failed(format!("cannot write `{}`: {error}", to.path())),
    }
}

fn write_file(folder: &Path, rest: &Path, to: &FileConsumer, secret: &Secret) -> io::Result<()> {
    let owner = to.owner().map(numbers).transpose()?;
    let (at, name) = folder_of(folder, rest)?;
    let mut beside = std::ffi::OsString::from(BESIDE);
    beside.push(name);
    match unlinkat(&at, &beside, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Nobody else's before it is whole, whatever the mask of this process is.
    let mut file = File::from(openat(&at, &beside, flags, Mode::RUSR | Mode::WUSR)?);
    let mut put = || -> io::Result<()> {
        secret.expose(|bytes| file.write_all(bytes))?;
        if let Some((user, group)) = owner {
            fchown(&file, Some(user), group)?;
        }
        // After the owner, who could not have it read by the old group.
        fchmod(&file, Mode::from_raw_mode(to.mode() as _))?;
        file.sync_all()?;
        renameat(&at, &beside, &at, name)?;
        Ok(fsync(&at)?)
    };
    let done = put();
    if done.is_err() {
        let _left: Result<(), Errno> = unlinkat(&at, &beside, AtFlags::empty());
    }
    done
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
