//! How the labels of a place move, without any storage.
//!
//! Every backend follows the same rules, so they stand here once, as functions
//! of [`Versions`]. A backend decides only how the outcome is made durable.

use super::{StoredVersion, Versions};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    ledger::Claim,
};

impl Versions {
    /// What an earlier call with this claim has stored: the pending version,
    /// or the current one when it has been promoted since.
    pub(crate) fn of_claim(&self, claim: &Claim) -> Option<&StoredVersion> {
        [&self.pending, &self.current].into_iter().flatten().find(|version| version.claim == *claim)
    }

    /// The current version, or the one of a generation, under whichever label.
    /// Where two are of one generation, the one that consumers read.
    pub(crate) fn select(&self, generation: Option<u32>) -> Option<&StoredVersion> {
        match generation {
            None => self.current.as_ref(),
            Some(generation) => self.labelled().find(|version| version.generation == generation),
        }
    }

    /// Every version that has a label.
    pub(crate) fn labelled(&self) -> impl Iterator<Item = &StoredVersion> {
        [&self.current, &self.previous, &self.pending].into_iter().flatten()
    }

    /// Makes the pending version of this claim current; gives the current
    /// version of the claim, or `None` when neither is of it.
    pub(crate) fn promote(&mut self, claim: &Claim) -> Option<StoredVersion> {
        if let Some(pending) = self.pending.take_if(|pending| pending.claim == *claim) {
            self.previous = self.current.replace(pending);
        }
        self.current.clone().filter(|current| current.claim == *claim)
    }

    /// Drops the pending version if it is of this claim.
    pub(crate) fn discard(&mut self, claim: &Claim) {
        self.pending.take_if(|pending| pending.claim == *claim);
    }

    /// Drops the versions of a generation.
    pub(crate) fn remove(&mut self, generation: u32) {
        for label in [&mut self.current, &mut self.previous, &mut self.pending] {
            label.take_if(|version| version.generation == generation);
        }
    }

    /// Whether no label is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.labelled().next().is_none()
    }
}

/// The refusal to store another value or generation under a claim that has
/// one: answering the stored version would lose the new value silently.
pub(crate) fn other_value(path: &str, claim: &Claim) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("another value was stored at {} under the claim `{claim}`", quoted(path)),
    )
    .help("discard the pending version first, or deliver under a claim of its own")
}

/// The error of a place where nothing is to be promoted.
pub(crate) fn nothing_pending(path: &str, claim: &Claim) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("no version of the claim `{claim}` is pending or current at {}", quoted(path)),
    )
    .help("deliver it again; another run may have replaced it")
}

/// The error of a version that is not there to be opened.
pub(crate) fn no_version(path: &str, generation: Option<u32>) -> Error {
    let message = match generation {
        None => format!("nothing is stored at {}", quoted(path)),
        Some(generation) => format!("no generation {generation} is stored at {}", quoted(path)),
    };
    Error::new(ErrorKind::NotFound, message).help("apply the fleet that delivers it")
}

/// The error of a version that is not the one that the ledger records.
pub(crate) fn not_expected(path: &str, generation: u32) -> Error {
    Error::new(
        ErrorKind::Damaged,
        format!(
            "generation {generation} at {} is not the version that the ledger records",
            quoted(path)
        ),
    )
    .help("somebody wrote or restored it from outside; rotate the credential")
}

/// Refuses a pin that goes back, or that names another batch of the same
/// number.
pub(crate) fn may_pin(old: Option<&super::Pin>, new: &super::Pin) -> Result<()> {
    let Some(old) = old else { return Ok(()) };
    let (from, to) = (old.head.sequence, new.head.sequence);
    if to > from || old.head == new.head {
        return Ok(());
    }
    let message = if to == from {
        format!("batch {to} of the ledger {} is pinned with another hash", quoted(&new.ledger))
    } else {
        format!("the ledger {} is pinned at batch {from}, beyond {to}", quoted(&new.ledger))
    };
    Err(Error::new(ErrorKind::Refused, message)
        .help("the ledger was rolled back or forked; restore its newest copy"))
}

/// Refuses a path that no [`Place`](super::Place) can hold.
pub(crate) fn check_path(path: &str) -> Result<()> {
    if super::is_path(path) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, format!("{} is not a path", quoted(path)))
        .help(super::PATH_HELP))
}
