//! Where the secrets of this user's processes lie: a folder of the user's own,
//! and in it one for each process.
//!
//! A process's folder is locked for as long as its `exec` lives, so one whose
//! lock is free was left by an `exec` that was killed, and the next one removes
//! it. In it also stands which generations the process uses, without any secret:
//! those of one runtime share one confirmation, and none of them may speak for
//! another that is behind.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{fs::OFlags, process::geteuid};

use crate::{
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

/// The file of the generations. No name of a variable begins with a dot.
const GENERATIONS: &str = ".generations";

/// What is written before it takes its own name begins so.
const BESIDE: &str = ".new-";

/// The folder of one process's secrets, that only its user reads, and that is
/// gone with its holder.
pub(super) struct Private {
    home: PathBuf,
    path: PathBuf,
    lock: File,
    /// What was put, for a folder that somebody has removed meanwhile.
    secrets: BTreeMap<String, Secret>,
    using: Arc<Using>,
}

impl Private {
    /// Makes it, and removes those whose holders are gone. `uses` are the keys of
    /// the generations that it is going to use.
    pub(super) fn make(below: &Path, uses: impl IntoIterator<Item = String>) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let home = below.join(format!("agent-iac-{}", geteuid().as_raw()));
        let make = || -> io::Result<(PathBuf, File)> {
            own(&home)?;
            sweep(&home)?;
            for _ in 0..100 {
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                let path = home.join(format!("{}-{count}", process::id()));
                if let Some(lock) = make_locked(&path)? {
                    return Ok((path, lock));
                }
            }
            Err(io::ErrorKind::AlreadyExists.into())
        };
        let (path, lock) = make().map_err(|error| failed(below, error))?;
        // Of none is known yet which one it will be: until then nobody else may
        // say that an older one is not used.
        let generations = uses.into_iter().map(|key| (key, 0)).collect();
        let using =
            Using { home: home.clone(), path: path.clone(), generations: Mutex::new(generations) };
        let made = Self { home, path, lock, secrets: BTreeMap::new(), using: Arc::new(using) };
        made.using.write().map_err(|error| failed(below, error))?;
        Ok(made)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Which generations this process and the others use.
    pub(super) fn using(&self) -> &Arc<Using> {
        &self.using
    }

    /// Replaces a secret as a whole: who reads it at any instant has one that is
    /// whole. A folder that is gone is made anew, at the path that the process
    /// knows.
    pub(super) fn put(&mut self, name: &str, secret: &Secret) -> Result<()> {
        self.secrets.insert(name.to_owned(), secret.duplicate());
        let put = match put(&self.path, name, secret) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_anew(),
            done => done,
        };
        put.map_err(|error| failed(&self.path, error))
    }

    fn make_anew(&mut self) -> io::Result<()> {
        own(&self.home)?;
        match make_locked(&self.path)? {
            Some(lock) => self.lock = lock,
            None if same(&self.lock, &self.path)? => {}
            None => return Err(io::ErrorKind::AlreadyExists.into()),
        }
        self.using.write()?;
        self.secrets.iter().try_for_each(|(name, secret)| put(&self.path, name, secret))
    }

    /// Holds a group of processes of this user, until what is answered is
    /// dropped; `None` while another one holds it.
    pub(super) fn alone(&self, group: &str) -> Result<Option<File>> {
        alone(&self.home, group).map_err(|error| failed(&self.home, error))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _left: io::Result<()> = fs::remove_dir_all(&self.path);
    }
}

/// Which generations a process uses, where the others of its user see it.
#[derive(Debug)]
pub(super) struct Using {
    home: PathBuf,
    path: PathBuf,
    generations: Mutex<BTreeMap<String, u32>>,
}

impl Using {
    /// Says that a generation is used from now on, and no older one.
    pub(super) fn set(&self, key: &str, generation: u32) -> Result<()> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.insert(key.to_owned(), generation);
        drop(generations);
        self.write().map_err(|error| failed(&self.path, error))
    }

    /// Whether another process that lives uses an older generation, as far as
    /// is known.
    pub(super) fn behind(&self, key: &str, generation: u32) -> Result<bool> {
        let behind = || -> io::Result<bool> {
            for path in processes(&self.home)? {
                if path == self.path || !is_held(&path)? {
                    continue;
                }
                let text = match fs::read_to_string(path.join(GENERATIONS)) {
                    Ok(text) => text,
                    // It ends, or begins.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        if path.exists() {
                            return Ok(true);
                        }
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let of = |line: &str| -> Option<u32> {
                    let (generation, used) = line.split_once(' ')?;
                    (used == key).then(|| generation.parse().ok())?
                };
                if text.lines().filter_map(of).any(|used| used < generation) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        behind().map_err(|error| failed(&self.home, error))
    }

    fn write(&self) -> io::Result<()> {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = generations.iter().map(|(key, generation)| format!("{generation} {key}\n"));
        let text: String = lines.collect();
        drop(generations);
        replace(&self.path, GENERATIONS, text.as_bytes())
    }
}

/// Makes the user's own folder, or makes sure that it is.
fn own(home: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(home) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let meta = fs::symlink_metadata(home)?;
    let others = meta.mode() & 0o077;
    if meta.is_dir() && meta.uid() == geteuid().as_raw() && others == 0 {
        return Ok(());
    }
    let message = format!("`{}` is not this user's own", home.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// Makes a folder and locks it; `None` when somebody was there before.
fn make_locked(path: &Path) -> io::Result<Option<File>> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        made => made?,
    }
    // Between the two, one that sweeps may have taken it for a dead one's.
    let locked = || -> io::Result<Option<File>> {
        let lock = File::open(path)?;
        Ok((try_lock(&lock)? && same(&lock, path)?).then_some(lock))
    };
    match locked() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        answer => answer,
    }
}

/// Whether an open folder is the one that has this name still.
fn same(open: &File, path: &Path) -> io::Result<bool> {
    let (open, there) = (open.metadata()?, fs::symlink_metadata(path)?);
    Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The folders of processes.
fn processes(home: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether the holder of a folder lives.
fn is_held(path: &Path) -> io::Result<bool> {
    match File::open(path) {
        Ok(folder) => Ok(!try_lock(&folder)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the folders of those that were killed.
fn sweep(home: &Path) -> io::Result<()> {
    for path in processes(home)? {
        let Ok(folder) = File::open(&path) else { continue };
        if try_lock(&folder)? {
            // Locked until it is gone, so that nobody takes it over meanwhile.
            let _another_one_does: io::Result<()> = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

fn put(folder: &Path, name: &str, secret: &Secret) -> io::Result<()> {
    secret.expose(|bytes| replace(folder, name, bytes))
}

fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = folder.join(format!("{BESIDE}{name}"));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&beside, folder.join(name))
}

fn alone(home: &Path, group: &str) -> io::Result<Option<File>> {
    own(home)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(home.join(format!("group-{group}.lock")))?;
    Ok(try_lock(&file)?.then_some(file))
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot keep secrets below `{}`", path.display()))
        .help("give a folder that is the user's own, as `$XDG_RUNTIME_DIR`")
        .caused_by(error)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Holds a group as another process of this user does.
    pub(in super::super) fn hold(below: &Path, group: &str) -> File {
        let home = below.join(format!("agent-iac-{}", geteuid().as_raw()));
        alone(&home, group).unwrap().expect("nobody else holds it")
    }

    fn secret() -> Secret {
        Secret::from_text("canary".into())
    }

    #[test]
    fn what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_has_is_not() {
        let below = tempfile::tempdir().unwrap();
        let mut living = Private::make(below.path(), []).unwrap();
        living.put("KEY", &secret()).unwrap();
        let mut killed = Private::make(below.path(), []).unwrap();
        killed.put("KEY", &secret()).unwrap();
        let left = killed.path("KEY");
        // As a kill does: the lock is free, and the folder is there.
        drop(std::mem::replace(&mut killed.lock, File::open("/dev/null").unwrap()));
        std::mem::forget(killed);
        assert!(left.exists());
        let next = Private::make(below.path(), []).unwrap();
        assert!(!left.exists(), "the secret of a process that was killed stays");
        assert!(living.path("KEY").exists() && next.path("").exists());
    }

    #[test]
    fn a_folder_that_was_removed_is_made_anew_with_all_that_was_in_it() {
        let below = tempfile::tempdir().unwrap();
        let mut private = Private::make(below.path(), []).unwrap();
        private.put("ONE", &secret()).unwrap();
        fs::remove_dir_all(&private.home).unwrap();
        private.put("TWO", &secret()).unwrap();
        for name in ["ONE", "TWO"] {
            assert_eq!(fs::read_to_string(private.path(name)).unwrap(), "canary");
        }
        assert!(is_held(&private.path).unwrap());
    }

    #[test]
    fn a_folder_that_others_may_enter_or_that_leads_elsewhere_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let below = tempfile::tempdir().unwrap();
        let home = below.path().join(format!("agent-iac-{}", geteuid().as_raw()));
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o711)).unwrap();
        assert!(Private::make(below.path(), []).is_err());
        fs::remove_dir(&home).unwrap();
        std::os::unix::fs::symlink(below.path(), &home).unwrap();
        assert!(Private::make(below.path(), []).is_err());
    }

    #[test]
    fn of_two_processes_the_one_that_is_ahead_sees_the_other_behind() {
        let below = tempfile::tempdir().unwrap();
        let uses = || ["runtime:a.process a.key".to_owned()];
        let key = &uses()[0];
        let (one, two) = (
            Private::make(below.path(), uses()).unwrap(),
            Private::make(below.path(), uses()).unwrap(),
        );
        let other = Private::make(below.path(), ["runtime:b.process a.key".into()]).unwrap();
        one.using().set(key, 2).unwrap();
        assert!(one.using().behind(key, 2).unwrap(), "of one that begins it is not known");
        two.using().set(key, 1).unwrap();
        assert!(one.using().behind(key, 2).unwrap());
        assert!(!two.using().behind(key, 1).unwrap());
        two.using().set(key, 2).unwrap();
        assert!(!one.using().behind(key, 2).unwrap());
        two.using().set(key, 1).unwrap();
        drop(two);
        assert!(!one.using().behind(key, 2).unwrap(), "one that has ended holds nobody up");
        drop(other);
    }
}
