//! A ledger as a file that any program can read: a backup, and an archive.
//!
//! Owns the form of that file, how it is written through the [`Ledger`] trait
//! alone, and how it is checked while it is read. It knows no backend; one that
//! restores gets batches that were checked already.
//!
//! The file is lines of canonical JSON (RFC 8785). The first says whose ledger
//! it is and from where to where it goes; each other line is one batch:
//!
//! ```json
//! {"environment":"production","fleet":"office","format":2,"from":{"hash":"0000…","sequence":0},"head":{"hash":"4b0c…","sequence":42},"kind":"agent-iac ledger","ledger":"9f86…"}
//! {"entries":[…],"header":{"body":"…","previous":"…","sequence":1,"time":"…"}}
//! ```
//!
//! The SHA-256 of a batch's `entries` is its header's `body`, and that of a
//! `header` is the next one's `previous`; of the last one it is `head.hash`. So
//! an auditor needs a canonicaliser and `sha256sum`.

mod file;
mod read;
#[cfg(test)]
mod tests;

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(crate) use file::NewFile;
pub(super) use read::Reading;
pub use read::check_backup;

use super::{FORMAT, Head, Ledger, Query, Sealed, checkpoint, grouping};
use crate::{
    error::{Error, ErrorKind, Result},
    value::Digest,
};

/// What the first line says that the file is.
const KIND: &str = "agent-iac ledger";

/// How many batches are in memory at once.
const PAGE: usize = 256;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Preamble {
    kind: String,
    format: u32,
    ledger: String,
    fleet: String,
    environment: String,
    from: Head,
    head: Head,
}

/// What stands in a backup or an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Backup {
    /// The ledger's own id.
    pub ledger: String,
    /// The fleet that it is of.
    pub fleet: String,
    /// The environment that it is of.
    pub environment: String,
    /// The head behind which it begins: of an older archive, or of nothing.
    pub from: Head,
    /// The head with which it ends.
    pub head: Head,
    /// How many batches it has.
    pub batches: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// The SHA-256 of all of it, as `sha256sum` prints it.
    pub digest: Digest,
}

/// Writes a whole ledger to a stream, as it is now, through the trait alone and
/// a page at a time. The chain is checked on the way.
///
/// ```
/// use std::sync::Arc;
/// use agent_iac::{clock::{SystemClock, block_on}, ledger::{MemoryLedger, backup, check_backup}};
///
/// let ledger = MemoryLedger::opened(Arc::new(SystemClock), "office", "test")?;
/// let mut file = Vec::new();
/// let written = block_on(backup(&ledger, &mut file))?;
/// assert_eq!(check_backup(&file[..], "office.backup")?.0, written);
/// # Ok::<(), agent_iac::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::NotFound`] when nothing is recorded, [`ErrorKind::Damaged`]
/// when the chain is broken, and [`ErrorKind::Io`] when the stream refuses.
pub async fn backup(ledger: &dyn Ledger, out: &mut (dyn Write + Send)) -> Result<Backup> {
    let state = ledger.state(&Query::Agents(Vec::new())).await?;
    let mut page = ledger.sealed(1, PAGE).await?;
    let Some(first) = page.first() else {
        return Err(Error::new(ErrorKind::NotFound, "nothing is recorded that could be kept")
            .help("the first apply makes the ledger"));
    };
    let from = checkpoint::origin(first)?;
    let preamble = Preamble {
        kind: KIND.to_owned(),
        format: FORMAT,
        ledger: state.ledger,
        fleet: state.fleet,
        environment: state.environment,
        from,
        head: state.head,
    };
    let mut out = Summed { out, sum: Sha256::new(), bytes: 0 };
    out.line(&grouping::text(&preamble)?)?;
    let mut head = from;
    let mut batches = 0;
    while head != state.head {
        // What is appended meanwhile is for the next backup.
        for sealed in page.iter().filter(|sealed| sealed.header.sequence <= state.head.sequence) {
            head.follow_sealed(sealed)?;
            out.line(&line(sealed)?)?;
            batches += 1;
        }
        if head == state.head {
            break;
        }
        page = ledger.sealed(head.sequence.saturating_add(1), PAGE).await?;
        if page.is_empty() || head.sequence >= state.head.sequence {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "the chain of the ledger ends at batch {}, and its head is batch {}",
                    head.sequence, state.head.sequence
                ),
            )
            .help("`verify` says more; if it was being archived, make the backup again"));
        }
    }
    Ok(out.end(&preamble, batches))
}

/// Writes a whole ledger to a file that is not there yet. The file appears
/// whole and durable, or not at all.
///
/// # Errors
///
/// As [`backup`], [`ErrorKind::InvalidInput`] when there is such a file, and
/// [`ErrorKind::Io`] when it cannot be written.
pub async fn backup_into(ledger: &dyn Ledger, path: &Path) -> Result<Backup> {
    let mut file = NewFile::begin(path)?;
    let mut out = BufWriter::with_capacity(1 << 18, file.writer());
    let backup = backup(ledger, &mut out).await?;
    out.flush().map_err(|error| NewFile::failed(path, error))?;
    drop(out);
    file.place()?;
    Ok(backup)
}

/// A batch as its line. Its parts are canonical, and they come in order.
fn line(sealed: &Sealed) -> Result<String> {
    Ok(format!("{{\"entries\":{},\"header\":{}}}", sealed.entries, grouping::text(&sealed.header)?))
}

/// A stream with the digest of what went through it.
struct Summed<'w> {
    out: &'w mut (dyn Write + Send),
    sum: Sha256,
    bytes: u64,
}

impl Summed<'_> {
    fn line(&mut self, line: &str) -> Result<()> {
        self.sum.update(line);
        self.sum.update("\n");
        self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX) + 1;
        let written = self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"));
        written.map_err(|error| {
            Error::new(ErrorKind::Io, "the backup could not be written")
                .help("free space, or choose another place, and make it again")
                .caused_by(error)
        })
    }

    fn end(self, preamble: &Preamble, batches: u64) -> Backup {
        preamble.backup(batches, self.bytes, self.sum)
    }
}

impl Preamble {
    fn backup(&self, batches: u64, bytes: u64, sum: Sha256) -> Backup {
        Backup {
            ledger: self.ledger.clone(),
            fleet: self.fleet.clone(),
            environment: self.environment.clone(),
            from: self.from,
            head: self.head,
            batches,
            bytes,
            digest: Digest::of_hash(sum),
        }
    }
}
