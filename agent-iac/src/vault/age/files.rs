//! File operations that a crash cannot tear.
//!
//! Owns how bytes become durable: a temporary file, a sync, a rename, a sync of
//! the folder. It knows no age and no labels, and it follows no symbolic link.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::layout;
use crate::{
    clock::Deadline,
    error::{Error, ErrorKind, Result},
};

/// The largest file that is read: far above any secret, far below what would
/// make a planted file a danger.
const LARGEST: u64 = 16 << 20;

/// How long another writer is waited for: a delivery takes milliseconds, and one
/// that takes longer than this stands still.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is about to be done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Read,
    Lock,
    Create,
    Write,
    Sync,
    Rename,
    Link,
    Remove,
    SyncFolder,
}

/// Is asked before each step; an error stops it, as a crash would.
type Watch = dyn Fn(Step, &str) -> io::Result<()> + Send + Sync;

/// The folder of a vault.
#[derive(Clone)]
pub(super) struct Files {
    root: PathBuf,
    watch: Option<Arc<Watch>>,
    /// How long a lock is waited for.
    patience: Duration,
}

/// Holds a stripe until it is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    stripe: u8,
    _file: File,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, watch: None, patience: PATIENCE }
    }

    #[cfg(test)]
    pub(super) fn watched(root: PathBuf, watch: Arc<Watch>) -> Self {
        Self { root, watch: Some(watch), patience: PATIENCE }
    }

    #[cfg(test)]
    pub(super) fn patient_for(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn before(&self, step: Step, file: &str) -> io::Result<()> {
        self.watch.as_ref().map_or(Ok(()), |watch| watch(step, file))
    }

    /// Reads a whole file; `None` when there is none.
    pub(super) fn read(&self, file: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(file);
        let read = || -> io::Result<Option<Vec<u8>>> {
            self.before(Step::Read, file)?;
            let Some(opened) = optional(fs::symlink_metadata(&path).and_then(|meta| {
                // Looked at before opening, as opening would follow a link.
                if meta.is_file() {
                    File::open(&path)
                } else {
                    Err(io::ErrorKind::InvalidData.into())
                }
            }))?
            else {
                return Ok(None);
            };
            let meta = opened.metadata()?;
            if !meta.is_file() || meta.len() > LARGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.check_owner(&meta)?;
            let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
            opened.take(LARGEST).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        read().map_err(|error| failed("read", &path, error))
    }

    #[cfg(unix)]
    fn check_owner(&self, meta: &fs::Metadata) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        check_owner(meta.uid(), fs::metadata(&self.root)?.uid())
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "there are no owners here")]
    fn check_owner(&self, _: &fs::Metadata) -> io::Result<()> {
        Ok(())
    }

    /// Waits for the lock of a stripe, though not for ever. It keeps out other
    /// threads and other processes alike, and dies with its process.
    pub(super) fn lock(&self, stripe: u8) -> Result<Lock> {
        let name = layout::lock(stripe);
        let path = self.path(&name);
        let lock = || -> io::Result<File> {
            self.before(Step::Lock, &name)?;
            let file = open_lock(&path)?;
            let locked = Deadline::after(self.patience).retry(|| match file.try_lock() {
                Ok(()) => Some(Ok(())),
                Err(TryLockError::WouldBlock) => None,
                Err(TryLockError::Error(error)) => Some(Err(error)),
            });
            locked.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
            Ok(file)
        };
        let file = lock().map_err(|error| failed("lock", &path, error))?;
        Ok(Lock { stripe, _file: file })
    }

    /// Puts `bytes` in the place of a file: whoever reads it at any instant
    /// gets all of the old or all of the new ones. The new name is durable
    /// only after [`Self::sync`] of its folder.
    pub(super) fn replace(&self, lock: &Lock, file: &str, bytes: &[u8]) -> Result<()> {
        let temporary = layout::temporary(lock.stripe);
        let path = self.path(file);
        let write = || -> io::Result<()> {
            self.remove_if_there(&temporary)?;
            self.before(Step::Create, &temporary)?;
            let mut out = create_new(&self.path(&temporary))?;
            // In two halves, so that a test can stop between them.
            let (first, second) = bytes.split_at(bytes.len() / 2);
            out.write_all(first)?;
            self.before(Step::Write, &temporary)?;
            out.write_all(second)?;
            self.before(Step::Sync, &temporary)?;
            out.sync_all()?;
            drop(out);
            self.before(Step::Rename, file)?;
            fs::rename(self.path(&temporary), &path)
        };
        write().map_err(|error| failed("write", &path, error))
    }

    /// Gives a file a second name, in the place of whatever has it.
    pub(super) fn link(&self, lock: &Lock, from: &str, to: &str) -> Result<()> {
        let temporary = layout::temporary(lock.stripe);
        let (source, path) = (self.path(from), self.path(to));
        let link = || -> io::Result<bool> {
            self.remove_if_there(&temporary)?;
            let linked = self
                .before(Step::Link, &temporary)
                .and_then(|()| fs::hard_link(&source, self.path(&temporary)));
            match linked.map_err(|error| error.kind()) {
                Ok(()) => {}
                // Not every file system has a second name for a file.
                Err(io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
                    return Ok(false);
                }
                Err(kind) => return Err(kind.into()),
            }
            self.before(Step::Rename, to)?;
            fs::rename(self.path(&temporary), &path)?;
            // A rename between two names of one file leaves both.
            self.remove_if_there(&temporary)?;
            Ok(true)
        };
        if link().map_err(|error| failed("write", &path, error))? {
            return Ok(());
        }
        let bytes = self
            .read(from)?
            .ok_or_else(|| failed("read", &source, io::ErrorKind::NotFound.into()))?;
        self.replace(lock, to, &bytes)
    }

    /// Removes a file; says whether there was one.
    pub(super) fn remove(&self, file: &str) -> Result<bool> {
        let removed = self.remove_if_there(file);
        removed.map_err(|error| failed("remove", &self.path(file), error))
    }

    fn remove_if_there(&self, file: &str) -> io::Result<bool> {
        let path = self.path(file);
        // Looked for first: only what has an effect is a step.
        if optional(fs::symlink_metadata(&path))?.is_none() {
            return Ok(false);
        }
        self.before(Step::Remove, file)?;
        Ok(optional(fs::remove_file(&path))?.is_some())
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync(&self, folder: &str) -> Result<()> {
        let path = self.path(folder);
        let synced = self.before(Step::SyncFolder, folder).and_then(|()| sync_folder(&path));
        synced.map_err(|error| failed("sync", &path, error))
    }

    /// Removes what a crash left among the temporary files. One whose stripe
    /// is held belongs to somebody who is writing it now.
    pub(super) fn sweep(&self) -> Result<()> {
        let folder = self.path(layout::TEMPORARY);
        let sweep = || -> io::Result<()> {
            for entry in fs::read_dir(&folder)? {
                let name = entry?.file_name();
                let Some(stripe) = name.to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                let lock = open_lock(&self.path(&layout::lock(stripe)))?;
                if lock.try_lock().is_ok() {
                    self.remove_if_there(&layout::temporary(stripe))?;
                }
            }
            Ok(())
        };
        sweep().map_err(|error| failed("clean", &folder, error))
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.root).finish()
    }
}

/// Creates a file that was not there, for its owner only.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    private(OpenOptions::new().write(true).create_new(true)).open(path)
}

fn open_lock(path: &Path) -> io::Result<File> {
    private(OpenOptions::new().write(true).create(true).truncate(false)).open(path)
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Creates a folder, and those above it, for its owner only.
pub(super) fn create_folder(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| failed("create", path, error))
}

/// Makes the names in a folder durable.
#[cfg(unix)]
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Windows writes names through and opens no folder.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the other systems can fail")]
pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses a file that somebody else put here. Root may, as it owns everything
/// anyway.
#[cfg(unix)]
fn check_owner(owner: u32, owner_of_folder: u32) -> io::Result<()> {
    if owner == owner_of_folder || owner == 0 { Ok(()) } else { Err(io::Error::other(OtherOwner)) }
}

#[cfg_attr(not(unix), expect(dead_code, reason = "there are no owners here"))]
#[derive(Debug, thiserror::Error)]
#[error("it belongs to another user than its folder")]
struct OtherOwner;

/// The error of a file operation, with what a person can do about it.
pub(super) fn failed(verb: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("cannot {verb} `{}`", path.display());
    let foreign =
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<OtherOwner>);
    let (kind, help) = match error.kind() {
        _ if foreign => (
            ErrorKind::Foreign,
            "find out who wrote it; restore the file, or give it back with chown",
        ),
        io::ErrorKind::InvalidData => (
            ErrorKind::Damaged,
            "it is no plain file of this vault; restore it, or rotate the credential",
        ),
        io::ErrorKind::TimedOut => (
            ErrorKind::Timeout,
            "another runner holds it and does not come to an end; find it, and end it or let it \
             go on",
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Io, "free some space and repeat; what was stored before is unharmed")
        }
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Io,
            "run as the owner of the vault folder, or give it to this user with chown",
        ),
        io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::Io, "the file system is mounted read-only; mount it for writing")
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            (ErrorKind::Io, "part of the vault folder is missing; restore it from a backup")
        }
        _ => (ErrorKind::Io, "look at the disk and the file system, then repeat"),
    };
    Error::new(kind, message).help(help).caused_by(error)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_user_is_foreign() {
        for (owner, owner_of_folder, is_ours) in [
            (1000, 1000, true),
            (0, 1000, true),
            (0, 0, true),
            (1001, 1000, false),
            (1000, 0, false),
        ] {
            let checked = check_owner(owner, owner_of_folder);
            assert_eq!(checked.is_ok(), is_ours, "{owner} in a folder of {owner_of_folder}");
            if let Err(error) = checked {
                let error = failed("read", Path::new("secrets/a.age"), error);
                assert_eq!(error.kind(), ErrorKind::Foreign);
                assert_eq!(
                    error.chain(),
                    "cannot read `secrets/a.age`: it belongs to another user than its folder"
                );
            }
        }
    }

    #[test]
    fn a_writer_that_stands_still_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        for name in layout::FOLDERS {
            create_folder(&folder.path().join(name)).unwrap();
        }
        let files = Files::new(folder.path().to_owned()).patient_for(Duration::from_millis(200));
        let held = files.lock(3).unwrap();
        let error = files.lock(3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(files.lock(4).is_ok());
        drop(held);
        assert!(files.lock(3).is_ok());
    }

    #[test]
    fn a_file_system_without_hard_links_gets_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        for name in layout::FOLDERS {
            create_folder(&folder.path().join(name)).unwrap();
        }
        let watch = |step, _: &str| match step {
            Step::Link => Err(io::ErrorKind::Unsupported.into()),
            _ => Ok(()),
        };
        let files = Files::watched(folder.path().to_owned(), Arc::new(watch));
        let lock = files.lock(0).unwrap();
        files.replace(&lock, "secrets/a", b"new").unwrap();
        files.replace(&lock, "secrets/b", b"old").unwrap();
        files.link(&lock, "secrets/a", "secrets/b").unwrap();
        assert_eq!(files.read("secrets/b").unwrap().unwrap(), b"new");
        assert!(files.link(&lock, "secrets/none", "secrets/b").is_err());
    }
}
