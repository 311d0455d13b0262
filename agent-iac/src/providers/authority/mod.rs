//! The local authority: an identity system for people who have none.
//!
//! Accounts, grants and API keys live in one SQLite file. An internal service
//! asks `Authority::check` whether a key may do something to an object; the
//! engine manages what stands in the file through `AuthorityProvider`.
//!
//! This module owns the file's format, the form of keys and the meaning of
//! object patterns. It knows nothing of fleets and plans, but for the mark
//! that tells whose an object is.
//!
//! Each key has the form `agia_[0-9a-f]{64}_[0-9a-f]{8}`: a prefix for secret
//! scanners to look for, 256 random bits, and a checksum that tells a slip of
//! the hand from a key that nobody was given. Only hashes of keys are kept.
//!
//! A change that somebody makes in the file with another SQLite tool is seen
//! by the next call: nothing is cached.
//!
//! ```
//! # #[cfg(feature = "authority")] {
//! use std::sync::Arc;
//!
//! use agent_iac::{
//!     clock::{SystemClock, SystemEntropy, block_on},
//!     providers::authority::{Authority, AuthorityProvider, Decision},
//! };
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("authority.db");
//! AuthorityProvider::create(&path, Arc::new(SystemClock), Arc::new(SystemEntropy))?;
//!
//! let authority = Authority::open(&path, Arc::new(SystemClock))?;
//! let decision = block_on(authority.check("not a key", "read", "invoices/2026"))?;
//! assert!(matches!(decision, Decision::Refused(_)));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "authority")]
mod file;
#[cfg(feature = "authority")]
mod key;
mod pattern;
#[cfg(feature = "authority")]
mod provider;
mod resources;
#[cfg(feature = "authority")]
mod rows;
#[cfg(feature = "authority")]
mod service;
#[cfg(feature = "authority")]
mod writes;

#[cfg(feature = "authority")]
#[cfg(test)]
mod tests;

pub use pattern::{Action, Pattern};
#[cfg(feature = "authority")]
pub use provider::AuthorityProvider;
pub use resources::{
    Account, AccountBuilder, AccountOutputs, AccountSpec, ApiKey, ApiKeyBuilder, ApiKeyOutputs,
    ApiKeySpec, Grant, GrantBuilder, GrantOutputs, GrantSpec,
};
#[cfg(feature = "authority")]
pub use service::{Authority, Decision, Reason};
