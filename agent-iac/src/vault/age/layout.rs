//! Where in the folder something lies.
//!
//! Owns the names of files. It touches none.

use std::fmt::Write as _;

use crate::value::Digest;

/// The folders of a vault.
pub(super) const FOLDERS: [&str; 6] = [SECRETS, PENDING, KEYS, PINS, LOCKS, TEMPORARY];
pub(super) const SECRETS: &str = "secrets";
pub(super) const PENDING: &str = "pending";
pub(super) const KEYS: &str = "keys";
pub(super) const PINS: &str = "pins";
pub(super) const LOCKS: &str = "locks";
pub(super) const TEMPORARY: &str = "tmp";

/// The file that says which version of this layout the folder has.
pub(super) const FORMAT_FILE: &str = "format";
/// The key of fingerprints.
pub(super) const FINGERPRINT: &str = "keys/fingerprint.age";

/// How many versions of a place can have a file: the three that have a label,
/// and one that is being written while they still have it.
pub(super) const SLOTS: u8 = 4;

/// The longest name that is kept readable: with what is appended to it, it
/// stays below the 143 bytes that an encrypted home folder (eCryptfs) allows.
const READABLE: usize = 100;

/// The files of one place, or of anything else that is named by a free text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    name: String,
    stripe: u8,
}

impl Name {
    /// Makes the name of a path. No two paths have one name, also where a file
    /// system takes upper for lower case or composed for decomposed letters:
    /// only a-z, 0-9, `-` and `_` stand for themselves.
    pub(super) fn of(path: &str) -> Self {
        let digest = Digest::of_bytes(path.as_bytes());
        let mut name = String::new();
        for byte in path.bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
                b'/' => name.push('+'),
                other => {
                    let _: std::fmt::Result = write!(name, "%{other:02x}");
                }
            }
        }
        if name.len() > READABLE {
            // `~` stands in no short name.
            name.truncate(READABLE - 65);
            let _: std::fmt::Result = write!(name, "~{digest}");
        }
        if is_device(&name) || name.starts_with('-') {
            // A letter is never escaped otherwise, so this is a name of its own.
            let first = name.remove(0);
            name = format!("%{:02x}{name}", u32::from(first));
        }
        Self { name, stripe: digest.as_bytes()[0] % 64 }
    }

    /// What a consumer reads: the current version.
    pub(super) fn plain(&self) -> String {
        format!("{SECRETS}/{}.age", self.name)
    }

    /// Which version has which label, and where its file is.
    pub(super) fn label(&self) -> String {
        format!("{SECRETS}/{}.json", self.name)
    }

    /// One version, as its readers will have it.
    pub(super) fn version(&self, slot: u8) -> String {
        format!("{SECRETS}/{}.v{slot}.age", self.name)
    }

    /// One version, as the engine can read it while it is pending.
    pub(super) fn pending(&self, slot: u8) -> String {
        format!("{PENDING}/{}.v{slot}.age", self.name)
    }

    /// The pin of a ledger.
    pub(super) fn pin(&self) -> String {
        format!("{PINS}/{}.json", self.name)
    }

    /// What is locked while one of these files is written.
    pub(super) fn stripe(&self) -> u8 {
        self.stripe
    }
}

/// Whether Windows takes a file of this name for a device.
fn is_device(name: &str) -> bool {
    matches!(name, "con" | "prn" | "aux" | "nul")
        || name
            .strip_prefix("com")
            .or_else(|| name.strip_prefix("lpt"))
            .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_digit()))
}

/// The lock of a stripe. Whoever holds it owns the temporary file of the same
/// number, so what lies there at that moment was left by a crash.
pub(super) fn lock(stripe: u8) -> String {
    format!("{LOCKS}/{stripe:02}")
}

/// The temporary file of a stripe.
pub(super) fn temporary(stripe: u8) -> String {
    format!("{TEMPORARY}/{stripe:02}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_readable_and_safe() {
        for (path, name) in [
            ("agents/eu/invoice-reader/db", "agents+eu+invoice-reader+db"),
            ("A b/é", "%41%20b+%c3%a9"),
            ("a+b%~.", "a%2bb%25%7e%2e"),
            ("con", "%63on"),
            ("con/a", "con+a"),
            ("lpt1", "%6cpt1"),
            ("com10", "com10"),
            ("-rf", "%2drf"),
        ] {
            assert_eq!(Name::of(path).name, name);
        }
    }

    #[test]
    fn long_paths_keep_a_readable_beginning_and_stay_apart() {
        let (a, b) = (Name::of(&format!("{}a", "x/".repeat(200))), Name::of(&"x/".repeat(200)));
        assert!(a.name.starts_with("x+x+x+"));
        assert_eq!(a.name.len(), READABLE);
        assert_ne!(a, b);
    }

    proptest! {
        #[test]
        fn a_name_is_of_one_path(paths in proptest::collection::vec("[aA/+%~.é-]{1,60}|\\PC{1,40}", 2..40)) {
            let mut seen = BTreeMap::new();
            for path in paths {
                let name = Name::of(&path).name;
                let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+%~-_".contains(&b);
                prop_assert!(name.bytes().all(safe) && name.len() <= READABLE + 2, "{name}");
                if let Some(other) = seen.insert(name, path.clone()) {
                    prop_assert_eq!(other, path);
                }
            }
        }
    }
}
