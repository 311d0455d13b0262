//! What must hold in a year.

use std::{error::Error, fmt};

/// What must hold in a year, whatever happens in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Promise {
    /// What stands at a credential's place is accepted, at every instant; but
    /// for the gap that a plan states where a system allows one at a time, and
    /// for what an outside hand did until the next plan is applied.
    OneAlwaysWorks,
    /// An older generation ends when its overlap is over and its consumers have
    /// confirmed the next, or shortly after.
    NoOldOneOutlivesItsDeadline,
    /// What has ended is refused.
    EveryRevokedOneIsRefused,
    /// Of a redundancy group there is never more than one member between two
    /// generations.
    NoTwoOfAGroupAtOnce,
    /// A provider is never asked for more rotations than its rate says.
    NoRateIsExceeded,
    /// Whoever uses a credential is never left with one that has ended.
    NobodyIsCutOff,
    /// What was declared to be rotated is rotated in its time: none is late by
    /// more than outages and the margin account for.
    NoneIsLate,
    /// The ledger's chain holds, and its state is what its entries amount to.
    TheLedgerVerifies,
    /// In the end nothing is left to do, and every credential that works is the
    /// one that was promoted last.
    NothingIsLeftToDo,
    /// The engine's own invariants, as `I1`: no write that was not announced.
    TheEngineKeepsItsWord,
}

impl Promise {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::OneAlwaysWorks,
        Self::NoOldOneOutlivesItsDeadline,
        Self::EveryRevokedOneIsRefused,
        Self::NoTwoOfAGroupAtOnce,
        Self::NoRateIsExceeded,
        Self::NobodyIsCutOff,
        Self::NoneIsLate,
        Self::TheLedgerVerifies,
        Self::NothingIsLeftToDo,
        Self::TheEngineKeepsItsWord,
    ];
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneAlwaysWorks => "always one working credential",
            Self::NoOldOneOutlivesItsDeadline => "never an old one after its deadline",
            Self::EveryRevokedOneIsRefused => "every revoked one is refused",
            Self::NoTwoOfAGroupAtOnce => "never two members of a group in transition",
            Self::NoRateIsExceeded => "never more rotations than a rate allows",
            Self::NobodyIsCutOff => "nobody is cut off",
            Self::NoneIsLate => "none is rotated late",
            Self::TheLedgerVerifies => "the ledger verifies",
            Self::NothingIsLeftToDo => "nothing is left to do in the end",
            Self::TheEngineKeepsItsWord => "the engine keeps its invariants",
        })
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broken {
    /// The promise.
    pub promise: Promise,
    /// When, by clocks that nobody turned.
    pub at: String,
    /// What happened.
    pub what: String,
    /// The seed of the year.
    pub seed: u64,
    /// What happened before, as far as it concerns the same credential.
    pub before: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, at, what, seed, before } = self;
        write!(f, "not kept: {promise}\n{at}  {what}")?;
        if !before.is_empty() {
            write!(f, "\nbefore that:")?;
        }
        for line in before {
            write!(f, "\n  {line}")?;
        }
        write!(f, "\nthe year of seed {seed} plays it again")
    }
}

impl Error for Broken {}
