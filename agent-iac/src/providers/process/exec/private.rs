//! The folder of one process's secrets.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::OFlags;

use crate::{
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

/// A folder that only its user reads, and that is gone with its holder.
#[derive(Debug)]
pub(super) struct Private(PathBuf);

impl Private {
    pub(super) fn make(below: &Path) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        for _ in 0..100 {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = below.join(format!("agent-iac-{}-{count}", process::id()));
            // It fails where anything is, also a link: nobody else chose it.
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(below, error)),
            }
        }
        Err(failed(below, io::ErrorKind::AlreadyExists.into()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Replaces a secret as a whole: who reads it at any instant has one that is
    /// whole.
    pub(super) fn put(&self, name: &str, secret: &Secret) -> Result<()> {
        let put = || -> io::Result<()> {
            // No name of a variable begins with a dot.
            let beside = self.0.join(format!(".{name}"));
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            secret.expose(|bytes| file.write_all(bytes))?;
            drop(file);
            fs::rename(&beside, self.path(name))
        };
        put().map_err(|error| failed(&self.0, error))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _left: io::Result<()> = fs::remove_dir_all(&self.0);
    }
}

/// Holds a group of processes of this user, until it is dropped.
pub(super) fn alone(below: &Path, group: &str) -> Result<File> {
    let path = below.join(format!("agent-iac-group-{group}.lock"));
    let lock = || -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(&path)?;
        file.lock()?;
        Ok(file)
    };
    lock().map_err(|error| failed(below, error))
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot keep secrets below `{}`", path.display()))
        .help("give a folder that is the user's own, as `$XDG_RUNTIME_DIR`")
        .caused_by(error)
}
