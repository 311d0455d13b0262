//! The hash chain of batches.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Entry;
use crate::{
    error::{Error, ErrorKind, Result},
    value::Digest,
};

/// The version of the ledger's persisted form.
pub const FORMAT: u32 = 1;

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

/// The newest batch of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Checks that a batch follows this head, and moves to it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Damaged`], naming the batch, when its number, its link to
    /// the batch before, or the digest of its entries is not right.
    pub fn follow(&mut self, batch: &Batch) -> Result<()> {
        let header = &batch.header;
        let damaged = |what: &str| {
            Err(Error::new(
                ErrorKind::Damaged,
                format!("batch {} of the ledger {what}", header.sequence),
            )
            .help("restore the ledger from a backup that is not older than its pin"))
        };
        if header.sequence != self.sequence + 1 {
            return damaged(&format!("stands where batch {} should", self.sequence + 1));
        }
        if header.previous != self.hash {
            return damaged("does not follow the batch before it");
        }
        if Digest::of(&batch.entries)? != header.body {
            return damaged("holds other entries than its header was made for");
        }
        *self = Self { sequence: header.sequence, hash: header.hash()? };
        Ok(())
    }
}
