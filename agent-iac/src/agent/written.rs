//! Where the keys of a declaration stand in a text.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;

/// Where the keys of a declaration stand, when it was read from text; nothing,
/// when it was declared in Rust, where rustc knows.
///
/// It is no part of any digest: the same declaration is the same, wherever it
/// stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    places: BTreeMap<String, Source>,
    refused: BTreeSet<String>,
}

impl Written {
    /// Where the value of a key stands.
    pub fn place(&self, key: &str) -> Option<&Source> {
        self.places.get(key)
    }

    /// Whether the declaration was read from text.
    pub fn in_text(&self) -> bool {
        !self.places.is_empty()
    }

    /// Whether the value of a key was refused when it was read. Whoever
    /// validates says nothing of it again: one mistake gives one error.
    pub fn is_refused(&self, key: &str) -> bool {
        self.refused.contains(key)
    }

    /// Says where the value of a key stands.
    #[cfg(any(test, feature = "config"))]
    pub(crate) fn put(&mut self, key: impl Into<String>, place: Source) {
        self.places.insert(key.into(), place);
    }

    /// Says that the value of a key was refused.
    #[cfg(feature = "config")]
    pub(crate) fn refuse(&mut self, key: impl Into<String>) {
        self.refused.insert(key.into());
    }
}
