//! Who may read what, and where a secret key comes from.
//!
//! Owns [`Recipients`] and [`Key`]. A secret key is read when the handle that
//! needs it is made, so a program that only plans never touches one.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use ::age::x25519;
use secrecy::ExposeSecret as _;

use super::files;
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

/// Whom a vault encrypts to, as public keys (`age1…`).
///
/// Of the readers whose path is a beginning of the credential's path, those of
/// the longest one may read it: a reader of `agents/eu` excludes those of
/// `agents`.
///
/// ```no_run
/// # use agent_iac::vault::age::{AgeVault, Key, Recipients};
/// let recipients = Recipients::default()
///     .engine("age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj")?
///     .reader("agents/triage", "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg")?;
/// let vault = AgeVault::open("/srv/vault", recipients)?.engine_key(Key::file("/etc/engine.key"));
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Recipients {
    pub(super) engine: Option<x25519::Recipient>,
    pub(super) probe: Option<x25519::Recipient>,
    pub(super) recovery: Vec<x25519::Recipient>,
    readers: BTreeMap<String, Vec<x25519::Recipient>>,
}

impl Recipients {
    /// Names the engine that applies: it reads pending versions and the key of
    /// fingerprints, and nothing else.
    ///
    /// # Errors
    ///
    /// When the text is no public key of age's X25519 kind; so for the others.
    pub fn engine(mut self, key: &str) -> Result<Self> {
        self.engine = Some(parse(key)?);
        Ok(self)
    }

    /// Names the probe: it reads every version.
    ///
    /// # Errors
    ///
    /// As [`Recipients::engine`].
    pub fn probe(mut self, key: &str) -> Result<Self> {
        self.probe = Some(parse(key)?);
        Ok(self)
    }

    /// Adds a key, kept off-line, that reads everything after a disaster.
    ///
    /// # Errors
    ///
    /// As [`Recipients::engine`].
    pub fn recovery(mut self, key: &str) -> Result<Self> {
        self.recovery.push(parse(key)?);
        Ok(self)
    }

    /// Adds a reader of a path and of all paths below it; the empty path is
    /// above all.
    ///
    /// # Errors
    ///
    /// As [`Recipients::engine`].
    pub fn reader(mut self, path: &str, key: &str) -> Result<Self> {
        let path = path.trim_end_matches('/').to_owned();
        self.readers.entry(path).or_default().push(parse(key)?);
        Ok(self)
    }

    /// The agents that read a path: those of the nearest path above.
    pub(super) fn readers(&self, path: &str) -> &[x25519::Recipient] {
        let mut above = path;
        loop {
            if let Some(readers) = self.readers.get(above) {
                return readers;
            }
            if above.is_empty() {
                return &[];
            }
            above = above.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }

    /// All who read a version for good.
    pub(super) fn all_readers(&self, path: &str) -> Result<Vec<x25519::Recipient>> {
        let readers = self.readers(path);
        if readers.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("nobody is named who may read {}", quoted(path)),
            )
            .help("add the agent's public key with `Recipients::reader`"));
        }
        let mut all: Vec<x25519::Recipient> = Vec::new();
        for one in readers.iter().chain(&self.probe).chain(&self.recovery) {
            if !all.contains(one) {
                all.push(one.clone());
            }
        }
        Ok(all)
    }

    pub(super) fn engine_and_recovery(&self) -> impl Iterator<Item = &x25519::Recipient> {
        self.engine.iter().chain(&self.recovery)
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts =
            |keys: &[x25519::Recipient]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        let readers: BTreeMap<_, _> =
            self.readers.iter().map(|(path, keys)| (path, texts(keys))).collect();
        f.debug_struct("Recipients")
            .field("engine", &self.engine.as_ref().map(ToString::to_string))
            .field("probe", &self.probe.as_ref().map(ToString::to_string))
            .field("recovery", &texts(&self.recovery))
            .field("readers", &readers)
            .finish()
    }
}

fn parse(key: &str) -> Result<x25519::Recipient> {
    let key = key.trim();
    key.parse().map_err(|_| {
        let error = |message: String| Error::new(ErrorKind::InvalidInput, message);
        // By mistake a secret key may stand here, and must not be shown.
        if key.to_ascii_uppercase().contains("SECRET") {
            error("a secret key stands where a public key belongs".to_owned())
                .help("replace that key, as it may have been seen; give the line `public key` of its file")
        } else {
            error(format!("{} is not a public key of age", quoted(key)))
                .help("give a key as `age-keygen` prints it: `age1` and 58 letters and digits")
        }
    })
}

/// A secret key of age's X25519 kind: a file, or a text that is held.
#[derive(Clone, Debug)]
pub struct Key(Source);

#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Held(Arc<Secret>),
}

impl Key {
    /// The key in a file as `age-keygen` writes it.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// A key that the embedding program has from elsewhere.
    pub fn held(key: Secret) -> Self {
        Self(Source::Held(Arc::new(key)))
    }

    /// Makes a key file that only its owner can read, unless there is one.
    ///
    /// # Errors
    ///
    /// When the file cannot be written, or is there and holds no key.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        files::create_folder(folder)?;
        if path.exists() {
            let key = Self::file(path);
            key.load()?;
            return Ok(key);
        }
        let identity = x25519::Identity::generate();
        let text = identity.to_string();
        // Written aside, so that a crash leaves no half of a key, then linked,
        // which takes nobody's place when another program was faster.
        let mut aside = path.clone().into_os_string();
        aside.push(format!(".{}-{}", std::process::id(), identity.to_public()));
        let write = || -> io::Result<()> {
            let mut file = files::create_new(aside.as_ref())?;
            let text = Secret::from_text(format!(
                "# public key: {}\n{}\n",
                identity.to_public(),
                text.expose_secret()
            ));
            text.expose(|text| file.write_all(text))?;
            file.sync_all()?;
            drop(file);
            let linked = fs::hard_link(&aside, &path);
            fs::remove_file(&aside)?;
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => files::sync_folder(folder),
            }
        };
        write().map_err(|error| files::failed("write", &path, error))?;
        let key = Self::file(path);
        key.load()?;
        Ok(key)
    }

    /// The public key, to be given to [`Recipients`].
    ///
    /// # Errors
    ///
    /// When the key cannot be read.
    pub fn recipient(&self) -> Result<String> {
        Ok(self.load()?.to_public().to_string())
    }

    /// Reads the key.
    pub(super) fn load(&self) -> Result<x25519::Identity> {
        match &self.0 {
            Source::Held(key) => find(key).ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidInput,
                    "the text that was given is no secret key of age",
                )
                .help("give the line that `age-keygen` prints below its comments")
            }),
            Source::File(path) => {
                let bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
                let text = Secret::from_bytes(bytes);
                check_private(path)?;
                find(&text).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Damaged,
                        format!("the key file `{}` holds no secret key of age", path.display()),
                    )
                    .help("restore the file from a backup")
                })
            }
        }
    }
}

/// The first key in the text of a key file.
fn find(text: &Secret) -> Option<x25519::Identity> {
    text.expose(|text| {
        let lines = str::from_utf8(text).ok()?.lines().map(str::trim);
        lines.filter(|line| !line.starts_with('#')).find_map(|line| line.parse().ok())
    })
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let (kind, help) = match error.kind() {
        io::ErrorKind::NotFound => (
            ErrorKind::NotFound,
            "give the file's right place, or restore it; it cannot be made again",
        ),
        io::ErrorKind::PermissionDenied => {
            (ErrorKind::Denied, "run as the owner of the key, or use a key that this user may read")
        }
        _ => (ErrorKind::Io, "look at the disk and the file system, then repeat"),
    };
    Error::new(kind, format!("cannot read the key file `{}`", path.display()))
        .help(help)
        .caused_by(error)
}

/// Refuses a key that everybody on the machine can read.
#[cfg(unix)]
fn check_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = fs::metadata(path).map_err(|error| unreadable(path, error))?;
    let everybody = meta.permissions().mode() & 0o007;
    if everybody != 0 {
        let path = path.display();
        return Err(Error::new(
            ErrorKind::Refused,
            format!("every user can read the key file `{path}`"),
        )
        .help(format!("replace the key if others use this machine, then run `chmod 600 {path}`")));
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the other systems can fail")]
fn check_private(_: &Path) -> Result<()> {
    Ok(())
}
