//! A secret store of age-encrypted files in one folder.
//!
//! Owns the files, their names and the order in which they are written. Each
//! version is a file of its own in the standard age format, so any age tool
//! opens one with the right key. The folder of a place `agents/triage/key`:
//!
//! ```text
//! secrets/agents+triage+key.age      the current version: what consumers read
//! secrets/agents+triage+key.v0.age   one version, in one of four slots
//! secrets/agents+triage+key.json     which version has which label
//! pending/agents+triage+key.v1.age   the engine's copy of a pending version
//! ```
//!
//! Three principals hold three keys. The engine decrypts what is pending and
//! the key of fingerprints; the probe decrypts every version; an agent decrypts
//! the versions of its paths. Labels are read without a key.
//!
//! age does not say who wrote a file. So nothing in the folder is trusted for
//! having been decrypted: a version is the right one when its digest is the one
//! that the ledger records, which [`Open::open`] compares.
//!
//! Who writes holds one of 64 locks, each for its share of the places. It is
//! waited for a limited time, so that a writer that stands still keeps others
//! from its share only; reading takes no lock.
//!
//! Files are opened by path after a look at what they are, which keeps links
//! out that lie in the folder, not somebody who replaces files in that instant.
//! That takes the owner's rights, or a folder that others can write to, which
//! is refused.

mod files;
mod keys;
mod layout;
mod place;
mod seal;
#[cfg(test)]
mod tests;
mod workers;

pub use keys::{Key, Recipients};

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use ::age::x25519;
use async_trait::async_trait;

use self::{
    files::{Files, failed},
    layout::{FINGERPRINT, FORMAT_FILE, KEYS, Name},
    place::Place,
    seal::{seal, unseal},
    workers::Workers,
};
use super::{Deliver, Delivery, Labels, Open, Pin, SecretStore, StoredVersion, Versions};
use crate::{
    clock::{Entropy as _, SystemEntropy},
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    secret::Secret,
    value::Digest,
};

/// The version of the folder's layout.
const FORMAT: u32 = 1;
const FORMAT_PREFIX: &str = "agent-iac age vault ";

/// How many places one job looks at: enough work to be worth a thread.
const BATCH: usize = 256;

/// The [`SecretStore`] in a folder of age-encrypted files.
///
/// ```
/// use agent_iac::{clock::block_on, vault::{SecretStore as _, age::AgeVault}};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let (vault, keys) = (folder.path().join("vault"), folder.path().join("keys"));
/// let vault = AgeVault::init(vault, keys)?;
/// let versions = block_on(vault.labels()?.versions(&["agents/triage/key".to_owned()]))?;
/// assert!(versions[0].current.is_none());
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AgeVault {
    shared: Arc<Shared>,
    recipients: Arc<Recipients>,
    engine: Option<Key>,
    readers: Vec<Key>,
}

#[derive(Debug)]
struct Shared {
    files: Files,
    reads: Workers,
    writes: Workers,
}

impl AgeVault {
    /// Opens the vault in a folder that [`AgeVault::init`] has made.
    ///
    /// Planning needs neither recipients nor keys; applying needs both, with
    /// [`AgeVault::engine_key`]; a probe or an agent needs its key, with
    /// [`AgeVault::reader_key`].
    ///
    /// # Errors
    ///
    /// When there is no vault, when it is of a newer version, or when others
    /// than its owner may write to it.
    pub fn open(folder: impl AsRef<Path>, recipients: Recipients) -> Result<Self> {
        let folder = folder.as_ref();
        let root = fs::canonicalize(folder).map_err(|error| no_vault(folder, error))?;
        Self::with_files(Files::new(root), recipients)
    }

    fn with_files(files: Files, recipients: Recipients) -> Result<Self> {
        check_format(&files)?;
        check_folders(&files)?;
        let workers = |threads| {
            Workers::start(threads).map_err(|error| {
                Error::new(ErrorKind::Io, "the age vault cannot start its threads")
                    .help("raise the limit of threads (`ulimit -u`)")
                    .caused_by(error)
            })
        };
        let (reads, writes) = (workers(workers::READS)?, workers(workers::WRITES)?);
        Ok(Self {
            shared: Arc::new(Shared { files, reads, writes }),
            recipients: Arc::new(recipients),
            engine: None,
            readers: Vec::new(),
        })
    }

    /// Makes a vault with a first set of keys, or opens the one that is there.
    ///
    /// The keys are files in the folder `keys`: `engine.key`, `probe.key`,
    /// `recovery.key`, and `agents.key`, which may read every path until
    /// [`AgeVault::agent_identity`] names nearer ones. This is made for a first try on
    /// one machine. Where it matters, each of these keys lies with whom it
    /// belongs to and the recovery key off-line; the vault is then opened with
    /// [`AgeVault::open`].
    ///
    /// # Errors
    ///
    /// As [`AgeVault::open`], and when something cannot be written or one of
    /// the keys of an existing vault is missing.
    pub fn init(folder: impl AsRef<Path>, keys: impl AsRef<Path>) -> Result<Self> {
        let (folder, keys) = (folder.as_ref(), keys.as_ref());
        let is_new = !folder.join(FORMAT_FILE).exists();
        let key = |name: &str| {
            let path = keys.join(name);
            // A key that was lost is not made again: what is encrypted to it
            // would stay closed, and nobody would know why.
            if is_new { Key::create(path) } else { Ok(Key::file(path)) }
        };
        let (engine, probe) = (key("engine.key")?, key("probe.key")?);
        let recipients = Recipients::default()
            .engine(&engine.recipient()?)?
            .probe(&probe.recipient()?)?
            .recovery(&key("recovery.key")?.recipient()?)?
            .reader("", &key("agents.key")?.recipient()?)?;
        if is_new {
            create(folder)?;
        }
        Ok(Self::open(folder, recipients)?.engine_key(engine).reader_key(probe))
    }

    /// Whether a ledger's head was ever pinned in a folder, so that whoever finds
    /// no ledger knows that there was one.
    #[cfg(feature = "authority")]
    pub(crate) fn has_seen_a_ledger(folder: &Path) -> bool {
        let pins = fs::read_dir(folder.join(layout::PINS));
        pins.is_ok_and(|mut pins| pins.next().is_some())
    }

    /// Gives the engine's key, which [`SecretStore::deliver`] needs.
    #[must_use]
    pub fn engine_key(mut self, key: Key) -> Self {
        self.engine = Some(key);
        self
    }

    /// Gives a key of the probe or of an agent, which [`SecretStore::open`]
    /// needs; the first that fits a file opens it.
    #[must_use]
    pub fn reader_key(mut self, key: Key) -> Self {
        self.readers.push(key);
        self
    }

    /// Makes a key for an agent, unless the file is there, and lets it read a
    /// path and those below it.
    ///
    /// # Errors
    ///
    /// As [`Key::create`].
    pub fn agent_identity(mut self, path: &str, file: impl Into<PathBuf>) -> Result<Self> {
        let recipient = Key::create(file)?.recipient()?;
        let recipients = Arc::unwrap_or_clone(self.recipients);
        self.recipients = Arc::new(recipients.reader(path, &recipient)?);
        Ok(self)
    }
}

/// Makes the folders; the file that says that they are a vault comes last.
fn create(folder: &Path) -> Result<()> {
    files::create_folder(folder)?;
    for name in layout::FOLDERS {
        files::create_folder(&folder.join(name))?;
    }
    let root = fs::canonicalize(folder).map_err(|error| no_vault(folder, error))?;
    let files = Files::new(root);
    let name = Name::of(FORMAT_FILE);
    let lock = files.lock(name.stripe())?;
    files.replace(&lock, FORMAT_FILE, format!("{FORMAT_PREFIX}{FORMAT}\n").as_bytes())?;
    files.sync("")?;
    let above = files.root().parent().unwrap_or(files.root());
    files::sync_folder(above).map_err(|error| failed("sync", above, error))
}

fn no_vault(folder: &Path, error: io::Error) -> Error {
    if error.kind() != io::ErrorKind::NotFound {
        return failed("open", folder, error);
    }
    Error::new(ErrorKind::NotFound, format!("there is no age vault at `{}`", folder.display()))
        .help("give the right folder, mount it, or make a vault with `AgeVault::init`")
}

fn check_format(files: &Files) -> Result<()> {
    let Some(bytes) = files.read(FORMAT_FILE)? else {
        return Err(no_vault(files.root(), io::ErrorKind::NotFound.into()));
    };
    let text = String::from_utf8_lossy(&bytes);
    let version = text.strip_prefix(FORMAT_PREFIX).and_then(|rest| rest.trim_end().parse().ok());
    let file = files.path(FORMAT_FILE);
    let file = file.display();
    match version {
        Some(FORMAT) => Ok(()),
        Some(newer) if newer > FORMAT => Err(Error::new(
            ErrorKind::NewerVersion,
            format!("`{file}` is of version {newer}, and this program knows {FORMAT}"),
        )
        .help("use a newer version of agent-iac")),
        _ => {
            Err(Error::new(ErrorKind::Damaged, format!("`{file}` does not name a vault's version"))
                .help("give the folder of a vault, or restore the file from a backup"))
        }
    }
}

/// Every folder must be a real one that only its owner writes to.
fn check_folders(files: &Files) -> Result<()> {
    for name in layout::FOLDERS.into_iter().chain([""]) {
        let path = files.path(name);
        let meta = fs::symlink_metadata(&path).map_err(|error| failed("open", &path, error))?;
        if !meta.is_dir() {
            return Err(failed("open", &path, io::ErrorKind::InvalidData.into()));
        }
        #[cfg(unix)]
        if std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o022 != 0 {
            let path = path.display();
            return Err(Error::new(
                ErrorKind::Refused,
                format!("others than its owner may write to the vault's folder `{path}`"),
            )
            .help(format!("run `chmod 700 {path}`, then look at what they have written")));
        }
    }
    Ok(())
}

impl SecretStore for AgeVault {
    fn description(&self) -> String {
        format!("age folder {}", self.shared.files.root().display())
    }

    fn labels(&self) -> Result<Arc<dyn Labels>> {
        Ok(Arc::new(Reader { shared: Arc::clone(&self.shared) }))
    }

    fn deliver(&self) -> Result<Arc<dyn Deliver>> {
        let denied = |message: &str| Error::new(ErrorKind::Denied, message);
        let Some(recipient) = &self.recipients.engine else {
            return Err(denied("no engine is named as a recipient of the age vault")
                .help("name its public key with `Recipients::engine`"));
        };
        let Some(key) = &self.engine else {
            return Err(denied("the age vault was given no key of the engine")
                .help("give it with `AgeVault::engine_key`; planning works without"));
        };
        let engine = key.load()?;
        if engine.to_public() != *recipient {
            return Err(denied("the engine's key is not that of the engine that is a recipient")
                .help("give the key that belongs to the public key in `Recipients::engine`"));
        }
        self.shared.files.sweep()?;
        let labels = Reader { shared: Arc::clone(&self.shared) };
        let recipients = Arc::clone(&self.recipients);
        Ok(Arc::new(Writer {
            labels,
            recipients,
            engine: Arc::new(engine),
            fingerprint_key: Arc::default(),
        }))
    }

    fn open(&self) -> Result<Arc<dyn Open>> {
        if self.readers.is_empty() {
            return Err(Error::new(
                ErrorKind::Denied,
                "the age vault was given no key of a reader",
            )
            .help("give the key of the probe or of an agent with `AgeVault::reader_key`"));
        }
        let keys = self.readers.iter().map(Key::load).collect::<Result<_>>()?;
        Ok(Arc::new(Opener { shared: Arc::clone(&self.shared), keys: Arc::new(keys) }))
    }
}

/// The handle of planning.
struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Files) -> Result<T> + Send + 'static,
    ) -> workers::Answer<T> {
        let shared = Arc::clone(&self.shared);
        self.shared.reads.run(move || job(&shared.files))
    }
}

#[async_trait]
impl Labels for Reader {
    async fn versions(&self, paths: &[String]) -> Result<Vec<Versions>> {
        let batches = paths.chunks(BATCH).map(|batch| {
            let batch = batch.to_vec();
            self.run(move |files| {
                batch
                    .iter()
                    .map(|path| Place::new(files, path)?.versions())
                    .collect::<Result<Vec<_>>>()
            })
        });
        // All are begun before the first is waited for.
        let batches: Vec<_> = batches.collect();
        Ok(futures_util::future::try_join_all(batches).await?.concat())
    }

    async fn pin(&self, ledger: &str) -> Result<Option<Pin>> {
        let ledger = ledger.to_owned();
        self.run(move |files| place::pin(files, &ledger)).await
    }
}

/// The handle of applying.
struct Writer {
    labels: Reader,
    recipients: Arc<Recipients>,
    engine: Arc<x25519::Identity>,
    /// The key of fingerprints, once it was read: it is one for each vault.
    fingerprint_key: Arc<OnceLock<(String, Secret)>>,
}

impl Writer {
    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Files) -> Result<T> + Send + 'static,
    ) -> workers::Answer<T> {
        let shared = Arc::clone(&self.labels.shared);
        self.labels.shared.writes.run(move || job(&shared.files))
    }
}

#[async_trait]
impl Labels for Writer {
    async fn versions(&self, paths: &[String]) -> Result<Vec<Versions>> {
        self.labels.versions(paths).await
    }

    async fn pin(&self, ledger: &str) -> Result<Option<Pin>> {
        self.labels.pin(ledger).await
    }
}

#[async_trait]
impl Deliver for Writer {
    async fn stage(&self, delivery: Delivery<'_>) -> Result<StoredVersion> {
        let Delivery { path, address, generation, claim, secret } = delivery;
        let (path, claim, secret) = (path.to_owned(), claim.clone(), secret.duplicate());
        let (recipients, engine) = (Arc::clone(&self.recipients), Arc::clone(&self.engine));
        let staged = self.run(move |files| {
            Place::new(files, &path)?.stage(generation, &claim, &secret, &recipients, &engine)
        });
        staged.await.map_err(|error| error.at(address))
    }

    async fn staged(&self, path: &str) -> Result<Option<(StoredVersion, Secret)>> {
        let (path, engine) = (path.to_owned(), Arc::clone(&self.engine));
        self.labels.run(move |files| Place::new(files, &path)?.staged(&engine)).await
    }

    async fn promote(&self, path: &str, claim: &Claim) -> Result<StoredVersion> {
        let (path, claim) = (path.to_owned(), claim.clone());
        self.run(move |files| Place::new(files, &path)?.promote(&claim)).await
    }

    async fn discard(&self, path: &str, claim: &Claim) -> Result<()> {
        let (path, claim) = (path.to_owned(), claim.clone());
        self.run(move |files| Place::new(files, &path)?.discard(&claim)).await
    }

    async fn remove(&self, path: &str, generation: u32) -> Result<()> {
        let path = path.to_owned();
        self.run(move |files| Place::new(files, &path)?.remove(generation)).await
    }

    async fn fingerprint_key(&self) -> Result<(String, Secret)> {
        let copy = |(name, key): &(String, Secret)| (name.clone(), key.duplicate());
        if let Some(known) = self.fingerprint_key.get() {
            return Ok(copy(known));
        }
        let (recipients, engine) = (Arc::clone(&self.recipients), Arc::clone(&self.engine));
        let known = Arc::clone(&self.fingerprint_key);
        self.run(move |files| {
            if let Some(known) = known.get() {
                return Ok(copy(known));
            }
            let read = fingerprint_key(files, &recipients, &engine)?;
            Ok(copy(known.get_or_init(|| read)))
        })
        .await
    }

    async fn set_pin(&self, pin: &Pin) -> Result<()> {
        let pin = pin.clone();
        self.run(move |files| place::set_pin(files, &pin)).await
    }
}

/// The handle of the probe and of agents.
struct Opener {
    shared: Arc<Shared>,
    keys: Arc<Vec<x25519::Identity>>,
}

#[async_trait]
impl Open for Opener {
    async fn open(
        &self,
        path: &str,
        generation: Option<u32>,
        expect: Option<Digest>,
    ) -> Result<Secret> {
        let (path, keys, shared) =
            (path.to_owned(), Arc::clone(&self.keys), Arc::clone(&self.shared));
        let job = move || Place::new(&shared.files, &path)?.open(generation, expect, &keys);
        self.shared.reads.run(job).await
    }
}

/// Reads the key of fingerprints, and makes it when there is none.
fn fingerprint_key(
    files: &Files,
    recipients: &Recipients,
    engine: &x25519::Identity,
) -> Result<(String, Secret)> {
    let read = |sealed: Vec<u8>| -> Result<(String, Secret)> {
        let file = files.path(FINGERPRINT);
        let plain = unseal(std::slice::from_ref(engine), &sealed, &file)?;
        // The name and the key, as `name key`, so that neither can be swapped.
        let parts = plain.expose(|bytes| {
            let (name, key) = str::from_utf8(bytes).ok()?.split_once(' ')?;
            Some((name.to_owned(), Secret::from_bytes(key.as_bytes().to_vec())))
        });
        parts.ok_or_else(|| {
            Error::new(ErrorKind::Damaged, format!("`{}` holds no key", file.display()))
                .help("restore the file from a backup; without it drift of secrets is not seen")
        })
    };
    if let Some(sealed) = files.read(FINGERPRINT)? {
        return read(sealed);
    }
    let lock = files.lock(Name::of(FINGERPRINT).stripe())?;
    // Another process may have made it meanwhile.
    if let Some(sealed) = files.read(FINGERPRINT)? {
        return read(sealed);
    }
    let mut name = [0; 8];
    SystemEntropy.fill(&mut name);
    let name = format!("{:016x}", u64::from_be_bytes(name));
    let key = Secret::random(&SystemEntropy, 32);
    let plain = key.expose(|key| Secret::from_bytes([name.as_bytes(), b" ", key].concat()));
    let sealed = plain.expose(|plain| seal(recipients.engine_and_recovery(), plain))?;
    files.replace(&lock, FINGERPRINT, &sealed)?;
    files.sync(KEYS)?;
    Ok((name, key))
}
