//! The hash chain of batches.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Entry, Event, LedgerEvent, grouping};
use crate::{
    error::{Error, ErrorKind, Result},
    value::Digest,
};

/// The version of the ledger's persisted form.
pub const FORMAT: u32 = 2;

/// What a rebase changes: where a batch stands in the chain, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The batch's number, from 1.
    pub sequence: u64,
    /// The hash of the batch before; [`Digest::ZERO`] for the first.
    pub previous: Digest,
    /// When it was appended, by the ledger's clock.
    pub time: Timestamp,
    /// The digest of its entries.
    pub body: Digest,
}

impl Header {
    /// The batch's hash: SHA-256 over the canonical JSON of this header.
    ///
    /// # Errors
    ///
    /// When the sequence number is beyond what JSON carries.
    pub fn hash(&self) -> Result<Digest> {
        Digest::of(self)
    }
}

/// One appended batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its place in the chain.
    pub header: Header,
    /// Its entries.
    pub entries: Vec<Entry>,
}

/// A batch whose entries stand as they are kept: as the text that its header's
/// body is the digest of. Whoever checks a chain needs no more than that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its place in the chain.
    pub header: Header,
    /// The canonical JSON of its entries.
    pub entries: String,
}

impl Sealed {
    /// Writes a batch's entries down.
    ///
    /// # Errors
    ///
    /// When an entry has no JSON form.
    pub fn of(batch: &Batch) -> Result<Self> {
        Ok(Self { header: batch.header.clone(), entries: grouping::text(&batch.entries)? })
    }

    /// Reads the entries.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Damaged`] when they are not in the form that is written.
    pub fn open(&self) -> Result<Batch> {
        let entries = serde_json::from_str(&self.entries).map_err(|error| {
            damaged(self.header.sequence, "holds entries that cannot be read").caused_by(error)
        })?;
        Ok(Batch { header: self.header.clone(), entries })
    }
}

/// The newest batch of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Head {
    /// Its number; 0 when nothing was appended.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Head {
    /// The head of a chain without batches.
    pub const EMPTY: Self = Self { sequence: 0, hash: Digest::ZERO };

    /// The header of a batch that follows this head.
    pub fn next(&self, time: Timestamp, body: Digest) -> Header {
        Header { sequence: self.sequence + 1, previous: self.hash, time, body }
    }

    /// The header of a batch of these entries that follows this head.
    pub(super) fn header(&self, time: Timestamp, body: Digest, entries: &[Entry]) -> Header {
        Header { sequence: self.number(entries), ..self.next(time, body) }
    }

    /// The number of a batch of these entries that follows this head: the next
    /// one, but behind a rewind one that was never given. A plan, a version or
    /// a fence of the history that was lost must mean nothing in the new one.
    fn number(&self, entries: &[Entry]) -> u64 {
        let lost = match entries.first().map(|entry| &entry.event) {
            Some(Event::Ledger(LedgerEvent::Rewound { lost, .. })) => {
                lost.values().map(|head| head.sequence).max().unwrap_or(0)
            }
            _ => 0,
        };
        self.sequence.max(lost).saturating_add(1)
    }

    /// Checks that a batch follows this head, and moves to it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Damaged`], naming the batch, when its number, its link to
    /// the batch before, or the digest of its entries is not right.
    pub fn follow(&mut self, batch: &Batch) -> Result<()> {
        let number = self.number(&batch.entries);
        self.check(&batch.header, number, Digest::of(&batch.entries)?)
    }

    /// As [`Head::follow`], for a batch that was not read yet.
    ///
    /// # Errors
    ///
    /// As [`Head::follow`], and when entries that have to be looked at cannot
    /// be read.
    pub fn follow_sealed(&mut self, sealed: &Sealed) -> Result<()> {
        let mut number = self.sequence.saturating_add(1);
        if sealed.header.sequence > number {
            number = self.number(&sealed.open()?.entries);
        }
        self.check(&sealed.header, number, Digest::of_bytes(sealed.entries.as_bytes()))
    }

    fn check(&mut self, header: &Header, number: u64, body: Digest) -> Result<()> {
        let damaged = |what: &str| Err(damaged(header.sequence, what));
        if header.sequence != number {
            return damaged(&format!("stands where batch {number} should"));
        }
        if header.previous != self.hash {
            return damaged("does not follow the batch before it");
        }
        if body != header.body {
            return damaged("holds other entries than its header was made for");
        }
        *self = Self { sequence: header.sequence, hash: header.hash()? };
        Ok(())
    }
}

fn damaged(sequence: u64, what: &str) -> Error {
    Error::new(ErrorKind::Damaged, format!("batch {sequence} of the ledger {what}"))
        .help("restore the ledger from a backup that is not older than its pin")
}
