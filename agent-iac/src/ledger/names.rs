//! Names of runs, claims and fences.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{address::Instance, clock::Entropy};

/// One execution of a plan: 16 random bytes as hexadecimal.
// Every entry of a run names it, so that copies share one text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Arc<str>);

impl RunId {
    /// Draws a new one.
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        Self(format!("{:032x}", u128::from_be_bytes(bytes)).into())
    }

    /// The claim of one of its steps.
    pub fn claim(&self, step: usize) -> Claim {
        Claim(format!("{}.{step}", self.0).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The idempotency token of one step: its run and its number, `run.step`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Claim(Arc<str>);

impl Claim {
    /// The text, which a provider may keep beside the object.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes a claim's text, as a provider kept it.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }
}

/// The right of a run to write about some agents, as long as nobody took their
/// leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The run.
    pub run: RunId,
    /// Grows with every take, so that a late writer is told from the present
    /// holder.
    pub token: u64,
    /// The agents. An append carries the part of its run's fence that it is
    /// about, or a copy of all of it, which must not cost as much as the run has
    /// agents.
    pub instances: Arc<[Instance]>,
}

impl Fence {
    /// Whether both are copies of one fence; told without comparing agents.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.token == other.token
            && self.run == other.run
            && Arc::ptr_eq(&self.instances, &other.instances)
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

as_text!(RunId, Claim);
