//! Where secrets are delivered.
//!
//! Owns the [`SecretStore`] traits, one for each principal that touches a
//! store, and the backends. A value passes through here and is never logged,
//! never part of an error, and never handed to somebody who only plans.

#[cfg(feature = "age")]
pub mod age;
#[cfg(any(test, feature = "testing"))]
mod memory;
#[cfg(any(test, feature = "age", feature = "testing"))]
mod transition;

#[cfg(any(test, feature = "testing"))]
pub use memory::MemoryVault;

use std::{fmt, str::FromStr, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    address::{Address, is_printable, quoted},
    error::{Error, ErrorKind, Result},
    ledger::{Claim, Head},
    secret::Secret,
    value::Digest,
};

/// Where a credential is delivered: the name of a secret store in the
/// deployment, and a path in it.
///
/// ```
/// use agent_iac::vault::Place;
///
/// let place: Place = "vault:agents/eu/invoice-reader/db".parse()?;
/// assert_eq!((place.store(), place.path()), ("vault", "agents/eu/invoice-reader/db"));
/// assert!("vault:../etc/passwd".parse::<Place>().is_err());
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    store: String,
    path: String,
}

/// The longest path in a secret store, in bytes.
pub const MAX_PATH: usize = 512;

impl Place {
    /// The name of the secret store.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The path in it: segments of visible characters, joined by `/`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |help: &str| {
            Error::new(ErrorKind::InvalidFleet, format!("{} is not a place", quoted(text)))
                .help(help)
        };
        let Some((store, path)) = text.split_once(':') else {
            return Err(invalid("write `store:path`, as `vault:agents/triage/key`"));
        };
        let named = !store.is_empty()
            && store.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !named {
            return Err(invalid("the store's name is of a-z, 0-9 and dashes"));
        }
        if !is_path(path) {
            return Err(invalid(PATH_HELP));
        }
        Ok(Self { store: store.to_owned(), path: path.to_owned() })
    }
}

const PATH_HELP: &str = "each part of the path is of visible characters, does not start with a dot, and holds no `\\` or `:`";

/// Whether `path` can be the path of a place.
fn is_path(path: &str) -> bool {
    let sound = |segment: &str| {
        !segment.is_empty()
            && !segment.starts_with('.')
            && !segment.contains(['\\', ':'])
            && segment.len() <= 128
            && is_printable(segment)
    };
    path.len() <= MAX_PATH && path.split('/').all(sound)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store, self.path)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What is known of one stored version without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVersion {
    /// The generation of the credential.
    pub generation: u32,
    /// The claim of the step that delivered it.
    pub claim: Claim,
    /// The digest of what is stored, so that a version that somebody else
    /// wrote is told from the one that the ledger records.
    pub digest: Digest,
}

/// The versions at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// What a plain read gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<StoredVersion>,
    /// What a plain read gave before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<StoredVersion>,
    /// What was delivered and is not yet promoted; no consumer reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<StoredVersion>,
}

/// A head of the ledger that was seen and must not be gone behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The ledger's own id.
    pub ledger: String,
    /// Its head when it was pinned.
    pub head: Head,
}

/// Reads labels and versions, and no value: what planning and drift hold.
///
/// # Contract
///
/// * Answers for every path that it is given, in their order.
/// * A place where nothing was ever stored has [`Versions::default`].
/// * A version that cannot be read as one of this store's is an error of the
///   kind [`ErrorKind::Damaged`] that names the place, never left out.
#[async_trait]
pub trait Labels: Send + Sync + 'static {
    /// The versions at each path.
    async fn versions(&self, paths: &[String]) -> Result<Vec<Versions>>;

    /// The pinned head of the ledger with this id.
    async fn pin(&self, ledger: &str) -> Result<Option<Pin>>;
}

/// What [`Deliver::stage`] is to store.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// The path in the store.
    pub path: &'a str,
    /// The credential's address; it tells the store who may read the value.
    pub address: &'a Address,
    /// The credential's generation.
    pub generation: u32,
    /// The step that delivers it.
    pub claim: &'a Claim,
    /// The value.
    pub secret: &'a Secret,
}

/// Writes secrets: what applying holds.
///
/// # Contract
///
/// * **Idempotent.** Each call may be repeated after a crash with the same
///   claim or generation, and then changes nothing and answers the same.
/// * **Durable.** What was answered survives a power cut.
/// * **Never a gap.** At every instant, also between two writes of `promote`,
///   a plain read of a place that had a current version gives one that works.
/// * **Blind.** It can read back nothing but what is pending.
#[async_trait]
pub trait Deliver: Labels {
    /// Stores a version as pending; an older pending one of another claim is
    /// replaced.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when this claim has stored another
    /// generation or, as far as the store can see it, another value.
    async fn stage(&self, delivery: Delivery<'_>) -> Result<StoredVersion>;

    /// Reads the pending version back, so that an interrupted run can go on
    /// with the same value.
    async fn staged(&self, path: &str) -> Result<Option<(StoredVersion, Secret)>>;

    /// Makes the pending version of this claim current; what was current
    /// becomes previous.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when neither the pending nor the current
    /// version is of this claim.
    async fn promote(&self, path: &str, claim: &Claim) -> Result<StoredVersion>;

    /// Drops the pending version, if it is of this claim.
    async fn discard(&self, path: &str, claim: &Claim) -> Result<()>;

    /// Removes the versions of this generation, under whichever label.
    async fn remove(&self, path: &str, generation: u32) -> Result<()>;

    /// The key of fingerprints, which is made at the first call; its name
    /// comes with it.
    async fn fingerprint_key(&self) -> Result<(String, Secret)>;

    /// Pins a head. A pin never goes back: an older head is refused with
    /// [`ErrorKind::Refused`].
    async fn set_pin(&self, pin: &Pin) -> Result<()>;
}

/// Opens secrets: what the agent and the probe hold.
///
/// # Contract
///
/// * A version whose digest is not `expect`ed is an error of the kind
///   [`ErrorKind::Damaged`], and is not opened.
#[async_trait]
pub trait Open: Send + Sync + 'static {
    /// The value at a path: the current one, or that of a generation under
    /// whichever label (a probe verifies a pending one by naming it).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is none.
    async fn open(
        &self,
        path: &str,
        generation: Option<u32>,
        expect: Option<Digest>,
    ) -> Result<Secret>;
}

/// A secret store, as the three principals that touch it.
///
/// Each call gives the handle of one of them. A program that only plans never
/// calls the other two, and need not be configured with what they need.
pub trait SecretStore: Send + Sync + 'static {
    /// A short description for people, as `age folder .agent-iac/vault`.
    fn description(&self) -> String;

    /// The handle of planning and drift.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached or is not configured for it.
    fn labels(&self) -> Result<Arc<dyn Labels>>;

    /// The handle of applying.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached or is not configured for it.
    fn deliver(&self) -> Result<Arc<dyn Deliver>>;

    /// The handle of the probe.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached or is not configured for it.
    fn open(&self) -> Result<Arc<dyn Open>>;
}

impl fmt::Debug for dyn SecretStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretStore({})", self.description())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_store_and_a_sound_path() {
        let long = "x".repeat(128);
        let (longest, too_long) =
            ([&*long; 4].join("/")[..MAX_PATH].to_owned(), [&*long; 4].join("/"));
        for (path, sound) in [
            ("agents/eu/invoice-reader/db", true),
            ("a", true),
            ("a b/'c' \"d\"/é/$HOME/*", true),
            ("a.b/c..", true),
            ("-rf", true),
            (&*long, true),
            (&*longest, true),
            ("", false),
            ("/", false),
            ("/a", false),
            ("a/", false),
            ("a//b", false),
            (".", false),
            ("..", false),
            ("a/../b", false),
            (".hidden", false),
            ("a/.b", false),
            ("a\\b", false),
            ("c:/windows", false),
            ("a\nb", false),
            ("a\0b", false),
            ("a\u{202e}b", false),
            ("a\u{200b}b", false),
            (&*format!("{long}x"), false),
            (&*too_long, false),
        ] {
            let text = format!("vault:{path}");
            match text.parse::<Place>() {
                Ok(place) => {
                    assert!(sound, "{path:?} is taken for a path");
                    assert_eq!((place.store(), place.path()), ("vault", path));
                    assert_eq!(place.to_string(), text);
                    let json = serde_json::to_string(&place).unwrap();
                    assert_eq!(serde_json::from_str::<Place>(&json).unwrap(), place);
                }
                Err(error) => {
                    assert!(!sound, "{path:?}: {error:?}");
                    assert_eq!(error.kind(), ErrorKind::InvalidFleet);
                    assert!(error.repair().is_some());
                    assert!(is_printable(error.message()), "{error:?}");
                }
            }
        }
    }

    #[test]
    fn the_name_of_a_store_is_a_lower_case_word() {
        for (text, sound) in [
            ("vault:a", true),
            ("vault-2:a", true),
            ("2:a", true),
            (":a", false),
            ("a", false),
            ("Vault:a", false),
            ("my vault:a", false),
            ("my_vault:a", false),
            ("v\u{e4}ult:a", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<Place>().is_ok(), sound, "{text:?}");
        }
    }
}
