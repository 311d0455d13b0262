//! The folder in which the environments stand: one file, replaced as a whole
//! under a lock.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    error::{Error, ErrorKind, Result, Retry},
    ledger::Claim,
    provider::Object,
};

const FORMAT: u32 = 1;
const FILE: &str = "runtimes.json";
/// Far above what a machine runs.
const LARGEST: u64 = 16 << 20;
/// How many claims that were given up are remembered.
const GIVEN_UP: usize = 1_000;

/// All that stands in the folder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Standing {
    format: u32,
    /// Of this folder, so that another one in its place is seen.
    pub(super) id: String,
    pub(super) objects: BTreeMap<String, Object>,
    claims: Vec<Registered>,
}

/// What is read of a file before anything else.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// What became of a claim. That of an address is forgotten with the next one.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Registered {
    claim: Claim,
    /// `None` when its run was settled without it.
    address: Option<Address>,
    object: Option<Object>,
}

/// What is known of a claim.
pub(super) enum Fate {
    Unknown,
    GivenUp,
    Done(Option<Object>),
}

impl Standing {
    pub(super) fn fate(&self, claim: &Claim) -> Fate {
        match self.claims.iter().find(|known| known.claim == *claim) {
            None => Fate::Unknown,
            Some(Registered { address: None, .. }) => Fate::GivenUp,
            Some(known) => Fate::Done(known.object.clone()),
        }
    }

    pub(super) fn register(&mut self, claim: &Claim, address: &Address, object: Option<Object>) {
        self.claims.retain(|known| known.address.as_ref() != Some(address));
        let address = Some(address.clone());
        self.claims.push(Registered { claim: claim.clone(), address, object });
    }

    pub(super) fn give_up(&mut self, claim: &Claim) {
        self.claims.push(Registered { claim: claim.clone(), address: None, object: None });
        let given_up = self.claims.iter().filter(|known| known.address.is_none()).count();
        let mut too_many = given_up.saturating_sub(GIVEN_UP);
        self.claims.retain(|known| {
            let drop = known.address.is_none() && too_many > 0;
            too_many -= usize::from(drop);
            !drop
        });
    }
}

/// The folder by its path.
#[derive(Clone, Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn create(&self, id: &str) -> Result<()> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.0);
        made.map_err(|error| self.failed("make", error))?;
        let _lock = self.lock()?;
        if self.0.join(FILE).symlink_metadata().is_ok() {
            return self.read().map(drop);
        }
        let objects = BTreeMap::new();
        self.write(&Standing { format: FORMAT, id: id.to_owned(), objects, claims: Vec::new() })
    }

    pub(super) fn read(&self) -> Result<Standing> {
        let read = || -> io::Result<Vec<u8>> {
            let file = OpenOptions::new()
                .read(true)
                .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
                .open(self.0.join(FILE))?;
            let meta = file.metadata()?;
            if !meta.is_file() || meta.len() > LARGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            // What stands in it is run by whoever calls `exec`.
            if meta.mode() & 0o022 != 0 || fs::metadata(&self.0)?.mode() & 0o022 != 0 {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "others than its owner may write to it",
                ));
            }
            let mut bytes = Vec::new();
            file.take(LARGEST).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| self.failed("read", error))?;
        let damaged = |error: serde_json::Error| {
            Error::new(ErrorKind::Damaged, format!("`{}` cannot be read", self.shown()))
                .help("restore it, or move it away and plan again")
                .caused_by(error)
        };
        let Versioned { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format > FORMAT {
            let message = format!("`{}` is of format {format}, newer than {FORMAT}", self.shown());
            return Err(Error::new(ErrorKind::NewerVersion, message)
                .help("use a newer version of agent-iac"));
        }
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    /// Changes what stands there, or nothing.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Standing) -> T) -> Result<T> {
        let _lock = self.lock()?;
        let mut standing = self.read()?;
        let answer = change(&mut standing);
        self.write(&standing)?;
        Ok(answer)
    }

    fn lock(&self) -> Result<File> {
        let lock = || {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(self.0.join("lock"))?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error| self.failed("lock", error))
    }

    /// Under the lock.
    fn write(&self, standing: &Standing) -> Result<()> {
        let put = || -> io::Result<()> {
            let beside = self.0.join("runtimes.json.new");
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
            file.write_all(&serde_json::to_vec_pretty(standing).map_err(io::Error::other)?)?;
            file.sync_all()?;
            fs::rename(&beside, self.0.join(FILE))?;
            File::open(&self.0)?.sync_all()
        };
        put().map_err(|error| self.failed("write to", error))
    }

    pub(super) fn shown(&self) -> impl std::fmt::Display + '_ {
        Path::new(&self.0).display()
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        let message = format!("cannot {what} the folder of runtimes at `{}`", self.shown());
        let help = match error.kind() {
            io::ErrorKind::NotFound => {
                "give the right folder, or make one with `ProcessProvider::create`"
            }
            io::ErrorKind::PermissionDenied => "look at whose it is, and who may write to it",
            _ => "look at the folder and at the space that is left",
        };
        Error::new(ErrorKind::Io, message).help(help).retry_as(Retry::Backoff).caused_by(error)
    }
}
