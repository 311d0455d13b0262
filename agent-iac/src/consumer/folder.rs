//! Confirmations as small files in one folder.
//!
//! Owns the names and the form of these files. Each credential and consumer has
//! one name, so that whatever else lies in the folder is never looked at, and
//! one file, which is replaced as a whole.
//!
//! Several users write to the folder, and one of them may be hostile: a file is
//! opened without following a link and without waiting for a pipe, is read up to
//! a few kilobytes, and counts for nothing unless it is a sound confirmation of
//! that credential by that consumer.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Confirm, Confirmation, Consumer, Inbox};
use crate::{
    address::Address,
    error::{Error, ErrorKind, Result, Retry},
};

const FORMAT: u32 = 1;

/// The largest file that is read.
const LARGEST: u64 = 8 << 10;

/// The [`Inbox`] in a folder, for consumers and an engine on one machine or on a
/// file system that they share.
///
/// Whoever may write to the folder may confirm for anybody. Where consumers do
/// not trust each other, give each a folder of its own, and the engine one
/// [`FolderInbox`] for each.
#[derive(Clone, Debug)]
pub struct FolderInbox {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    confirmation: Confirmation,
}

impl FolderInbox {
    /// Names the folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Makes the folder, for its owner only, unless it is there.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn create(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| failed("make", &folder, error))?;
        Ok(Self { folder })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the confirmation of a credential by a consumer lies.
    pub fn file(&self, credential: &Address, consumer: &Consumer) -> PathBuf {
        self.folder.join(format!("{}.json", name(credential, consumer)))
    }

    fn read(&self, credential: &Address, consumer: &Consumer) -> Option<Confirmation> {
        let mut bytes = Vec::new();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(
                (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed(),
            )
            .open(self.file(credential, consumer))
            .ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        file.take(LARGEST + 1).read_to_end(&mut bytes).ok()?;
        if bytes.len() as u64 > LARGEST {
            return None;
        }
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
        let said = kept.confirmation;
        let asked = said.credential == *credential && said.consumer == *consumer;
        (kept.format == FORMAT && asked).then_some(said)
    }

    fn write(&self, confirmation: &Confirmation) -> io::Result<()> {
        // A process has its number to itself, and a thread the count.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let kept = Kept { format: FORMAT, confirmation: confirmation.clone() };
        let mut bytes = serde_json::to_vec(&kept).map_err(io::Error::other)?;
        bytes.push(b'\n');
        let path = self.file(&confirmation.credential, &confirmation.consumer);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let stem = name(&confirmation.credential, &confirmation.consumer);
        let beside = self.folder.join(format!(".{stem}.{}.{count}", process::id()));
        // What a process of the same number left when it died.
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The engine is another user as a rule, and reads it.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        drop(file);
        let renamed = written.and_then(|()| std::fs::rename(&beside, &path));
        if renamed.is_err() {
            let _left_behind: io::Result<()> = std::fs::remove_file(&beside);
        }
        renamed?;
        File::open(&self.folder)?.sync_all()
    }
}

/// The digest of both: addresses hold whatever can be printed, and a consumer's
/// text holds paths.
fn name(credential: &Address, consumer: &Consumer) -> String {
    let digest = Sha256::digest(format!("{credential}\n{consumer}"));
    digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn failed(what: &str, folder: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what} the inbox at `{}`", folder.display()))
        .help("look whether the folder is there, and whose it is")
        .retry_as(Retry::Backoff)
        .caused_by(error)
}

#[async_trait]
impl Confirm for FolderInbox {
    async fn confirm(&self, confirmation: &Confirmation) -> Result<()> {
        self.write(confirmation).map_err(|error| failed("write to", &self.folder, error))
    }
}

#[async_trait]
impl Inbox for FolderInbox {
    async fn confirmed(&self, asked: &[(Address, Consumer)]) -> Result<Vec<Option<Confirmation>>> {
        // A folder that is away must not look like one in which nobody confirmed.
        std::fs::read_dir(&self.folder).map_err(|error| failed("read", &self.folder, error))?;
        Ok(asked.iter().map(|(credential, consumer)| self.read(credential, consumer)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::clock::block_on;

    fn asked() -> (Address, Consumer) {
        ("triage.key".parse().unwrap(), "billing-api".parse().unwrap())
    }

    fn confirmation(generation: u32) -> Confirmation {
        let (credential, consumer) = asked();
        let at = "2027-01-02T03:04:05Z".parse().unwrap();
        Confirmation { credential, consumer, generation, at }
    }

    fn read(inbox: &FolderInbox) -> Option<Confirmation> {
        block_on(inbox.confirmed(&[asked()])).unwrap().remove(0)
    }

    #[test]
    fn the_last_confirmation_is_read_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = FolderInbox::create(folder.path().join("inbox")).unwrap();
        assert_eq!(read(&inbox), None);
        for generation in [1, 2, 3] {
            block_on(inbox.confirm(&confirmation(generation))).unwrap();
            assert_eq!(read(&inbox), Some(confirmation(generation)));
        }
        assert_eq!(fs::read_dir(inbox.folder()).unwrap().count(), 1);
        let other = ("triage.key".parse().unwrap(), "other-api".parse().unwrap());
        let both = block_on(inbox.confirmed(&[other, asked()])).unwrap();
        assert_eq!(both, [None, Some(confirmation(3))]);
    }

    #[test]
    fn a_folder_that_is_away_is_an_error_and_not_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = FolderInbox::new(folder.path().join("inbox"));
        let error = block_on(inbox.confirmed(&[asked()])).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Io, Retry::Backoff));
        assert!(block_on(inbox.confirm(&confirmation(1))).is_err());
    }

    #[test]
    fn what_is_no_sound_confirmation_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = FolderInbox::create(folder.path().join("inbox")).unwrap();
        let (credential, consumer) = asked();
        let file = inbox.file(&credential, &consumer);
        block_on(inbox.confirm(&confirmation(7))).unwrap();
        let sound = fs::read_to_string(&file).unwrap();
        let long = format!("{sound}{}", " ".repeat(9 << 10));
        for (what, hostile) in [
            ("nothing", String::new()),
            ("no JSON", "\0\u{1b}[2J".into()),
            ("half of one", sound[..sound.len() / 2].into()),
            ("deep", "[".repeat(8000)),
            ("longer than any", long),
            ("a newer format", sound.replace("\"format\":1", "\"format\":2")),
            ("another credential", sound.replace("triage", "victim")),
            ("another consumer", sound.replace("billing", "victims")),
            ("a generation below none", sound.replace(":7", ":-1")),
            ("a generation beyond all", sound.replace(":7", ":4294967296")),
            ("a time that is none", sound.replace("2027", "later")),
            ("more than it may hold", sound.replace("\"format\"", "\"x\":1,\"format\"")),
        ] {
            assert_ne!(hostile, sound, "{what}");
            fs::write(&file, hostile).unwrap();
            assert_eq!(read(&inbox), None, "{what}");
        }
        fs::write(&file, &sound).unwrap();
        assert_eq!(read(&inbox), Some(confirmation(7)));
    }

    #[test]
    fn links_pipes_and_folders_in_the_place_of_a_file_are_harmless() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = FolderInbox::create(folder.path().join("inbox")).unwrap();
        let (credential, consumer) = asked();
        let file = inbox.file(&credential, &consumer);
        block_on(inbox.confirm(&confirmation(7))).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&file, &elsewhere).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert_eq!(read(&inbox), None, "a link is followed");
        // A confirmation takes the link's place, and does not write through it.
        block_on(inbox.confirm(&confirmation(8))).unwrap();
        assert_eq!(read(&inbox), Some(confirmation(8)));
        assert!(fs::read_to_string(&elsewhere).unwrap().contains(":7"));
        fs::remove_file(&file).unwrap();
        let made = process::Command::new("mkfifo").arg(&file).status().unwrap();
        assert!(made.success());
        assert_eq!(read(&inbox), None, "a pipe is waited for");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(read(&inbox), None);
        assert!(block_on(inbox.confirm(&confirmation(9))).is_err());
        assert_eq!(fs::read_dir(inbox.folder()).unwrap().count(), 1, "something is left beside");
    }
}
