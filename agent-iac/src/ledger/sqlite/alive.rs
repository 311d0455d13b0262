//! A file lock beside the ledger, which ends with its process.
//!
//! The operating system gives a lock back when its process ends, however it
//! ends, so a lease whose lock is free is nobody's.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use crate::clock::Entropy;

/// The lock that shows that this handle lives.
#[derive(Debug)]
pub(super) struct Alive {
    name: String,
    path: PathBuf,
    _lock: File,
}

impl Alive {
    /// Takes a lock of its own; `None` where the file system has none, and
    /// leases then end by time alone.
    pub(super) fn begin(ledger: &Path, entropy: &dyn Entropy) -> Option<Self> {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let name = format!("{:016x}", u64::from_be_bytes(bytes));
        let path = beside(ledger, &name)?;
        let lock = File::create_new(&path).ok()?;
        if lock.try_lock().is_err() {
            let _: std::io::Result<()> = std::fs::remove_file(&path);
            return None;
        }
        Some(Self { name, path, _lock: lock })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // A file that stays is harmless: its lock is free from here on.
        let _: std::io::Result<()> = std::fs::remove_file(&self.path);
    }
}

/// Whether the process that holds the lock of this name has ended.
pub(super) fn has_ended(ledger: &Path, name: &str) -> bool {
    let Some(path) = beside(ledger, name) else { return false };
    match File::open(&path) {
        // Shared, so that two who look at once do not take each other for the
        // holder.
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        },
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Removes what a process left that has ended.
pub(super) fn sweep(ledger: &Path, name: &str) {
    if let Some(path) = beside(ledger, name) {
        let _: std::io::Result<()> = std::fs::remove_file(path);
    }
}

/// The path of a lock. A name that we would not have written gives none: it
/// could lead to somebody else's file.
fn beside(ledger: &Path, name: &str) -> Option<PathBuf> {
    if name.len() != 16 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut file = ledger.file_name()?.to_owned();
    file.push(format!(".{name}.alive"));
    Some(ledger.with_file_name(file))
}
