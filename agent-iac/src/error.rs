//! The one error type of the public API.
//!
//! Owns what a caller may branch on ([`ErrorKind`], [`Retry`]) and what a
//! person reads (the thing, the place, the repair). It never holds a secret:
//! nothing here is built from one.

use std::{error::Error as StdError, fmt, time::Duration};

use crate::address::Address;

/// The result of this crate's fallible calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed, for a caller to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The declaration is wrong; repeating cannot help.
    InvalidFleet,
    /// A call was given something that it cannot take.
    InvalidInput,
    /// What the plan was made on has moved since. Plan again.
    StalePlan,
    /// Somebody else holds the agent's lease.
    LeaseHeld,
    /// A record that this append touches was changed by another run.
    Conflict,
    /// A guard, a cap, a protection or a hold forbids it.
    Refused,
    /// The provider failed or refused the call.
    Provider,
    /// The provider's answer breaks the contract of the provider traits.
    ProviderContract,
    /// The secret store failed.
    Vault,
    /// The ledger failed.
    Ledger,
    /// A file, a chain or a store is damaged or was tampered with.
    Damaged,
    /// Something was written by a newer version of this crate.
    NewerVersion,
    /// Something belongs to another fleet, environment or owner.
    Foreign,
    /// What was asked for does not exist.
    NotFound,
    /// Access to a system was refused to us.
    Denied,
    /// An operating-system call failed (disk full, no permission, …).
    Io,
    /// The call cannot be done with what this provider or store is able to do.
    Unsupported,
    /// It cannot be told whether the call had its effect.
    InDoubt,
    /// The call was given up because the run was told to stop.
    Cancelled,
    /// The time given was used up.
    Timeout,
    /// A mistake in this crate; please report it.
    Bug,
}

/// Whether repeating a failed call can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// The same call gives the same error.
    Never,
    /// The same call may succeed later; wait with growing pauses.
    Backoff,
    /// The same call may succeed after the time that the system named.
    After(Duration),
}

/// An error: a kind, the thing it concerns, what is wrong and how to mend it.
///
/// ```
/// use agent_iac::error::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NotFound, "no account named `ada`").help("create it first");
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.to_string(), "no account named `ada`");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    address: Option<Address>,
    message: String,
    help: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error that repeating does not help.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            retry: Retry::Never,
            address: None,
            message: message.into(),
            help: None,
            source: None,
        }))
    }

    /// Names the resource that the error concerns.
    #[must_use]
    pub fn at(mut self, address: &Address) -> Self {
        self.0.address = Some(address.clone());
        self
    }

    /// Says whether repeating can help.
    #[must_use]
    pub fn retry_as(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Keeps the cause, which `Display` does not repeat.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What a caller may branch on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether repeating the call can help.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The resource that the error concerns.
    pub fn address(&self) -> Option<&Address> {
        self.0.address.as_ref()
    }

    /// What is wrong, without the address.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// How to mend it, where that is known.
    pub fn repair(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The message with every cause, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.address {
            Some(address) => write!(f, "{address}: {}", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())?;
        match &self.0.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
