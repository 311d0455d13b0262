//! What is done at one place, in blocking steps.
//!
//! Owns the order of the writes, which is what makes a crash harmless: a
//! version is durable before a label names it, the label moves by one rename,
//! and only what no label names any more is removed. Files of versions lie in
//! numbered slots, so what a crash leaves is overwritten by the next delivery.

use std::collections::{BTreeMap, BTreeSet};

use ::age::x25519;
use serde::{Deserialize, Serialize};

use super::{
    files::{Files, Lock},
    keys::Recipients,
    layout::{self, Name, PENDING, SECRETS, SLOTS},
    seal::{seal, unseal},
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    secret::Secret,
    value::Digest,
    vault::{StoredVersion, Versions, transition},
};

/// The content of a label file: no secret, and nothing that is trusted. A
/// version is trusted when its digest is the one that the ledger records.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Label {
    /// The path, against a file that was put in another one's place.
    path: String,
    #[serde(flatten)]
    versions: Versions,
    /// Where each version that has a label is, by its digest.
    files: BTreeMap<Digest, Stored>,
}

/// The files of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    slot: u8,
    /// The digest of the copy for the engine, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engine: Option<Digest>,
    /// The public keys that it is encrypted to, so that it can be told what
    /// somebody who left could read.
    readers: Vec<String>,
}

/// One place of a vault.
pub(super) struct Place<'a> {
    files: &'a Files,
    path: &'a str,
    name: Name,
}

impl<'a> Place<'a> {
    pub(super) fn new(files: &'a Files, path: &'a str) -> Result<Self> {
        transition::check_path(path)?;
        Ok(Self { files, path, name: Name::of(path) })
    }

    /// The versions, each of whose files was looked at.
    pub(super) fn versions(&self) -> Result<Versions> {
        self.settled(|label| {
            let Some(label) = label else { return Ok(Versions::default()) };
            for version in label.versions.labelled() {
                self.sealed(label, version)?;
            }
            // What consumers read may be one promotion ahead of the label.
            if let Some(plain) = self.files.read(&self.name.plain())?
                && !label.files.contains_key(&Digest::of_bytes(&plain))
                && label.versions.current.is_some()
            {
                return Err(self.damaged("what consumers read is none of the versions"));
            }
            Ok(label.versions.clone())
        })
    }

    /// The value of a version.
    pub(super) fn open(
        &self,
        generation: Option<u32>,
        expect: Option<Digest>,
        keys: &[x25519::Identity],
    ) -> Result<Secret> {
        self.settled(|label| {
            let (label, version) = label
                .and_then(|label| Some((label, label.versions.select(generation)?)))
                .ok_or_else(|| transition::no_version(self.path, generation))?;
            if expect.is_some_and(|expect| expect != version.digest) {
                return Err(transition::not_expected(self.path, version.generation));
            }
            let (file, sealed) = self.sealed(label, version)?;
            unseal(keys, &sealed, &self.files.path(&file))
        })
    }

    /// Stores a version as pending.
    pub(super) fn stage(
        &self,
        generation: u32,
        claim: &Claim,
        secret: &Secret,
        recipients: &Recipients,
        engine: &x25519::Identity,
    ) -> Result<StoredVersion> {
        let lock = self.lock()?;
        let mut label = self.label()?.unwrap_or_else(|| self.empty());
        if let Some(stored) = label.versions.of_claim(claim).cloned() {
            // The engine can compare only what is pending still.
            let same = match &label.versions.pending {
                Some(pending) if *pending == stored => {
                    self.engine_copy(&label, pending, engine)?.equals(secret)
                }
                _ => true,
            };
            if !same || stored.generation != generation {
                return Err(transition::other_value(self.path, claim));
            }
            self.commit(&lock, &label)?;
            return Ok(stored);
        }
        let readers = recipients.all_readers(self.path)?;
        let sealed = secret.expose(|bytes| seal(readers.iter(), bytes))?;
        let copy = secret.expose(|bytes| seal(recipients.engine_and_recovery(), bytes))?;
        let slot = label.free_slot().ok_or_else(|| self.damaged("its label names no free slot"))?;
        self.files.replace(&lock, &self.name.pending(slot), &copy)?;
        self.files.sync(PENDING)?;
        self.files.replace(&lock, &self.name.version(slot), &sealed)?;
        self.files.sync(SECRETS)?;
        let digest = Digest::of_bytes(&sealed);
        let stored = StoredVersion { generation, claim: claim.clone(), digest };
        label.files.insert(
            digest,
            Stored {
                slot,
                engine: Some(Digest::of_bytes(&copy)),
                readers: readers.iter().map(ToString::to_string).collect(),
            },
        );
        label.versions.pending = Some(stored.clone());
        self.commit(&lock, &label)?;
        Ok(stored)
    }

    /// The pending version with its value.
    pub(super) fn staged(
        &self,
        engine: &x25519::Identity,
    ) -> Result<Option<(StoredVersion, Secret)>> {
        self.settled(|label| {
            let Some((label, pending)) =
                label.and_then(|l| Some((l, l.versions.pending.as_ref()?)))
            else {
                return Ok(None);
            };
            Ok(Some((pending.clone(), self.engine_copy(label, pending, engine)?)))
        })
    }

    /// Makes the pending version of a claim current.
    pub(super) fn promote(&self, claim: &Claim) -> Result<StoredVersion> {
        let lock = self.lock()?;
        let mut label = self.label()?.unwrap_or_else(|| self.empty());
        let promoted = label
            .versions
            .promote(claim)
            .ok_or_else(|| transition::nothing_pending(self.path, claim))?;
        if let Some(stored) = label.files.get_mut(&promoted.digest) {
            stored.engine = None;
        }
        self.commit(&lock, &label)?;
        Ok(promoted)
    }

    /// Drops the pending version of a claim.
    pub(super) fn discard(&self, claim: &Claim) -> Result<()> {
        self.forget(|versions| versions.discard(claim))
    }

    /// Drops the versions of a generation.
    pub(super) fn remove(&self, generation: u32) -> Result<()> {
        self.forget(|versions| versions.remove(generation))
    }

    fn forget(&self, forget: impl FnOnce(&mut Versions)) -> Result<()> {
        let lock = self.lock()?;
        if let Some(mut label) = self.label()? {
            forget(&mut label.versions);
            self.commit(&lock, &label)?;
        }
        // A removed version must not come back with the power, also when an
        // earlier call has failed right here.
        self.files.sync(SECRETS)?;
        self.files.sync(PENDING)
    }

    fn lock(&self) -> Result<Lock> {
        self.files.lock(self.name.stripe())
    }

    fn empty(&self) -> Label {
        Label { path: self.path.to_owned(), ..Label::default() }
    }

    fn label(&self) -> Result<Option<Label>> {
        let file = self.name.label();
        let Some(bytes) = self.files.read(&file)? else {
            // The label is removed last, so nothing can be left without it.
            return match self.files.read(&self.name.plain())? {
                None => Ok(None),
                Some(_) => Err(self.damaged("its label file is missing")),
            };
        };
        let label: Label = serde_json::from_slice(&bytes)
            .map_err(|error| self.damaged("its label file cannot be read").caused_by(error))?;
        if label.path != self.path {
            return Err(self.damaged("its label file is that of another place"));
        }
        let known = |version: &StoredVersion| {
            label.files.get(&version.digest).is_some_and(|stored| stored.slot < SLOTS)
        };
        if !label.versions.labelled().all(known) {
            return Err(self.damaged("its label file names a version without a file"));
        }
        Ok(Some(label))
    }

    /// Reads without a lock: when a writer was faster, what the label names
    /// may be gone, which is an error only if the label has stayed the same.
    fn settled<T>(&self, read: impl Fn(Option<&Label>) -> Result<T>) -> Result<T> {
        let mut label = match self.label() {
            Ok(label) => label,
            // A first delivery between the two looks of `label`.
            Err(_) => self.label()?,
        };
        loop {
            let error = match read(label.as_ref()) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let now = self.label()?;
            if now == label {
                return Err(error);
            }
            label = now;
        }
    }

    /// The file of a version, with its bytes, which are those that the label
    /// names.
    fn sealed(&self, label: &Label, version: &StoredVersion) -> Result<(String, Vec<u8>)> {
        let file = self.name.version(label.stored(version).slot);
        let bytes = self.files.read(&file)?.ok_or_else(|| {
            self.damaged(&format!("the file of generation {} is missing", version.generation))
        })?;
        if Digest::of_bytes(&bytes) != version.digest {
            let problem = format!("the file of generation {} was changed", version.generation);
            return Err(self.damaged(&problem));
        }
        Ok((file, bytes))
    }

    /// The value of a pending version, from the engine's copy.
    fn engine_copy(
        &self,
        label: &Label,
        pending: &StoredVersion,
        engine: &x25519::Identity,
    ) -> Result<Secret> {
        let stored = label.stored(pending);
        let file = self.name.pending(stored.slot);
        let sealed = self.files.read(&file)?;
        let sealed = sealed.filter(|sealed| stored.engine == Some(Digest::of_bytes(sealed)));
        let sealed = sealed
            .ok_or_else(|| self.damaged("the engine's copy of what is pending was changed"))?;
        unseal(std::slice::from_ref(engine), &sealed, &self.files.path(&file))
    }

    /// Gives consumers the current version, makes a label durable, then removes
    /// what it no longer names.
    ///
    /// Also called when nothing has changed: an earlier call may have failed
    /// between its rename and its sync, or have moved what consumers read and
    /// not the label.
    fn commit(&self, lock: &Lock, label: &Label) -> Result<()> {
        let named: BTreeSet<Digest> = label.versions.labelled().map(|v| v.digest).collect();
        let files: BTreeMap<_, _> = label
            .files
            .iter()
            .filter(|(digest, _)| named.contains(digest))
            .map(|(digest, stored)| (*digest, stored.clone()))
            .collect();
        let label = Label { path: label.path.clone(), versions: label.versions.clone(), files };
        let bytes = serde_json::to_vec_pretty(&label).map_err(|error| {
            Error::new(ErrorKind::Bug, "a label cannot be written as JSON").caused_by(error)
        })?;
        if let Some(current) = &label.versions.current {
            // Consumers are never given a file that is not the one that was
            // staged.
            let (file, _) = self.sealed(&label, current)?;
            let plain = self.files.read(&self.name.plain())?;
            if plain.is_none_or(|plain| Digest::of_bytes(&plain) != current.digest) {
                self.files.link(lock, &file, &self.name.plain())?;
            }
        }
        self.files.replace(lock, &self.name.label(), &bytes)?;
        self.files.sync(SECRETS)?;
        for slot in 0..SLOTS {
            let stored = label.files.values().find(|stored| stored.slot == slot);
            if stored.is_none() {
                self.files.remove(&self.name.version(slot))?;
            }
            if stored.is_none_or(|stored| stored.engine.is_none()) {
                self.files.remove(&self.name.pending(slot))?;
            }
        }
        if label.versions.current.is_none() {
            self.files.remove(&self.name.plain())?;
        }
        if label.versions.is_empty() {
            self.files.remove(&self.name.label())?;
        }
        Ok(())
    }

    fn damaged(&self, problem: &str) -> Error {
        Error::new(ErrorKind::Damaged, format!("the place {} is damaged: {problem}", quoted(self.path)))
            .help(format!(
                "restore `{}` and its neighbours from a backup, or remove them and rotate the credential",
                self.files.path(&self.name.label()).display()
            ))
    }
}

impl Label {
    fn stored(&self, version: &StoredVersion) -> &Stored {
        self.files.get(&version.digest).expect("a label that was read names a file of each version")
    }

    /// A slot that no version with a label has.
    fn free_slot(&self) -> Option<u8> {
        let taken = |slot| self.files.values().any(|stored| stored.slot == slot);
        (0..SLOTS).find(|slot| !taken(*slot))
    }
}

/// Reads the pin of a ledger.
pub(super) fn pin(files: &Files, ledger: &str) -> Result<Option<crate::vault::Pin>> {
    let file = Name::of(ledger).pin();
    let Some(bytes) = files.read(&file)? else { return Ok(None) };
    let damaged = || {
        Error::new(
            ErrorKind::Damaged,
            format!(
                "`{}` is no sound pin of the ledger {}",
                files.path(&file).display(),
                quoted(ledger)
            ),
        )
        .help(
            "compare the ledger's head with another place where it is pinned, then remove the file",
        )
    };
    let pin: crate::vault::Pin =
        serde_json::from_slice(&bytes).map_err(|error| damaged().caused_by(error))?;
    if pin.ledger == ledger { Ok(Some(pin)) } else { Err(damaged()) }
}

/// Pins a head.
pub(super) fn set_pin(files: &Files, new: &crate::vault::Pin) -> Result<()> {
    let name = Name::of(&new.ledger);
    let lock = files.lock(name.stripe())?;
    transition::may_pin(pin(files, &new.ledger)?.as_ref(), new)?;
    let bytes = serde_json::to_vec_pretty(new).map_err(|error| {
        Error::new(ErrorKind::Bug, "a pin cannot be written as JSON").caused_by(error)
    })?;
    files.replace(&lock, &name.pin(), &bytes)?;
    files.sync(layout::PINS)
}
