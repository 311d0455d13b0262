//! What a step does.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a step does to one address. Deliberately exhaustive, so that a new
/// action breaks every match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing: observed equals desired.
    NoChange,
    /// Take an existing object under management, without writing to it.
    Adopt,
    /// Give a record another address, without writing to the object.
    Move,
    /// Stop managing an object and leave it as it is.
    Forget,
    /// Follow a change that only the engine reads (protection, terms).
    Record,
    /// Make the object; for a credential, issue it.
    Create,
    /// Change it in place.
    Update,
    /// Make a new object, then remove the old one.
    ReplaceCreateFirst,
    /// Remove the old object, then make a new one.
    ReplaceDeleteFirst,
    /// Make a new generation of a credential; the old one stays until its
    /// overlap is over.
    Rotate,
    /// Let a suspended identity act again.
    Resume,
    /// Stop an identity from acting.
    Suspend,
    /// Remove the object; for a credential, revoke it.
    Delete,
}

impl Action {
    /// Whether the action writes to a provider.
    pub fn writes(self) -> bool {
        !matches!(self, Self::NoChange | Self::Adopt | Self::Move | Self::Forget | Self::Record)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoChange => "no change",
            Self::Adopt => "adopt",
            Self::Move => "move",
            Self::Forget => "forget",
            Self::Record => "record",
            Self::Create => "create",
            Self::Update => "update",
            Self::ReplaceCreateFirst | Self::ReplaceDeleteFirst => "replace",
            Self::Rotate => "rotate",
            Self::Resume => "resume",
            Self::Suspend => "suspend",
            Self::Delete => "delete",
        })
    }
}
