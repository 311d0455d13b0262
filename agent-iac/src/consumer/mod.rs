//! Who uses a credential: what is declared of them, how they learn of a new
//! generation, and how they confirm that they use it.
//!
//! Owns [`Consumer`], read from the key `consumers`; [`Tell`], which hands a new
//! generation on; [`Confirm`] and [`Inbox`], the two sides of a confirmation;
//! and [`Credential`], by which an application follows its own secret. It knows
//! nothing of rotations: when somebody is told, and what a missing confirmation
//! means, others decide.
//!
//! A confirmation is a hint. Whoever can write to the inbox can confirm for
//! anybody, so what the target system saw decides wherever it can tell.
//!
//! A fleet declares *that* a file is written or a command run. Whether that may
//! happen here is the host's to say: a fleet that is reviewed by
//! one team must not become code that runs beside the engine's credentials.

mod credential;
#[cfg(all(feature = "consumers", unix))]
mod folder;
#[cfg(all(feature = "consumers", unix))]
mod local;
#[cfg(any(test, feature = "testing"))]
mod memory;
mod text;

pub use credential::{Credential, Current, Watch};
#[cfg(all(feature = "consumers", unix))]
pub use folder::FolderInbox;
#[cfg(all(feature = "consumers", unix))]
pub use local::{Allowed, LocalTeller};
#[cfg(any(test, feature = "testing"))]
pub use memory::{Heard, MemoryInbox, MemoryTeller};
pub use text::{FileConsumer, MAX_CONSUMER, Owner, Signal, SignalConsumer, Webhook};

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    error::Result,
    resource::{Ref, Resource},
    value::Digest,
    vault::Place,
};

/// Somebody who uses a credential, as the key `consumers` names them.
///
/// | text | who |
/// | --- | --- |
/// | `billing-api` | an application that confirms by itself, with [`Credential`] |
/// | `runtime:worker.process` | the runtime of an agent, which `exec` starts |
/// | `file:/srv/app/key owner=app:app mode=0640` | a file with the secret; `mode` is 0600 unless said |
/// | `signal:HUP /run/app.pid` | a process that is signalled |
/// | `command:reload-app` | a command that the host allows under this name |
/// | `webhook:https://hooks.example.com/rotated` | an address that is told, signed |
///
/// ```
/// use agent_iac::consumer::Consumer;
///
/// let consumer: Consumer = "file:/srv/app/key mode=0600".parse()?;
/// assert_eq!(consumer.to_string(), "file:/srv/app/key");
/// assert!("file:../key".parse::<Consumer>().is_err());
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consumer {
    /// An application that follows the credential and confirms by itself.
    Application(String),
    /// The runtime of an agent.
    Runtime(Address),
    /// A file that the secret is written to.
    File(FileConsumer),
    /// A process that is signalled.
    Signal(SignalConsumer),
    /// A command that the host allows under this name.
    Command(String),
    /// An address on the web that is told.
    Webhook(Webhook),
}

impl Consumer {
    /// The runtime that a reference leads to.
    pub fn runtime<R: Resource>(runtime: &Ref<R>) -> Self {
        Self::Runtime(runtime.address().clone())
    }

    /// Whether it confirms by itself what it was told. Of the others no more is
    /// ever known than that they were told, so that stands for a confirmation.
    pub fn confirms(&self) -> bool {
        matches!(self, Self::Application(_) | Self::Runtime(_))
    }
}

impl From<Consumer> for String {
    fn from(consumer: Consumer) -> Self {
        consumer.to_string()
    }
}

/// What a consumer is told: that a new generation is at its place.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The credential.
    pub credential: &'a Address,
    /// The generation that is current now.
    pub generation: u32,
    /// Where it is read.
    pub place: &'a Place,
    /// The digest of what is stored there, as the ledger records it.
    pub digest: Option<Digest>,
    /// Who is told.
    pub consumer: &'a Consumer,
}

/// What became of telling somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was told, or sees it by itself.
    Told,
    /// It was not; repeating may help.
    Failed {
        /// What went wrong, for people; it holds no secret.
        because: String,
    },
    /// This host does not allow it; repeating does not help.
    NotAllowed {
        /// What is not allowed, and how the host would allow it.
        because: String,
    },
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told => f.write_str("told"),
            Self::Failed { because } => write!(f, "failed: {because}"),
            Self::NotAllowed { because } => write!(f, "not allowed: {because}"),
        }
    }
}

/// Tells consumers.
///
/// # Contract
///
/// * **Idempotent.** Telling the same once more, also after a crash, does no
///   harm.
/// * **Bounded.** It answers in a time that the host has set, whatever the
///   consumer does.
/// * A secret reaches nobody but the file that is to hold it.
#[async_trait]
pub trait Tell: Send + Sync + 'static {
    /// Tells one consumer.
    async fn tell(&self, notice: Notice<'_>) -> Told;

    /// Whether this host allows that a consumer is told at all, which can be
    /// said before there is anything to tell; it does unless said otherwise.
    ///
    /// # Errors
    ///
    /// What is not allowed, and how the host would allow it, for people.
    fn allows(&self, consumer: &Consumer) -> Result<(), String> {
        let _: &Consumer = consumer;
        Ok(())
    }
}

impl fmt::Debug for dyn Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}

/// What a consumer confirms: that it uses a generation, and no older one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The credential.
    pub credential: Address,
    /// Who says so.
    pub consumer: Consumer,
    /// The generation that is used.
    pub generation: u32,
    /// Since when, by the consumer's own clock.
    pub at: Timestamp,
}

/// The side of the inbox that consumers hold: they put confirmations in.
///
/// # Contract
///
/// * A confirmation replaces the one before, of this credential and consumer.
/// * It is never seen in part.
#[async_trait]
pub trait Confirm: Send + Sync + 'static {
    /// Puts one in.
    ///
    /// # Errors
    ///
    /// When it could not be stored; the consumer goes on all the same.
    async fn confirm(&self, confirmation: &Confirmation) -> Result<()>;
}

/// The side of the inbox that the engine holds: it reads confirmations.
///
/// # Contract
///
/// * Answers for each that is asked about, in their order.
/// * What is no sound confirmation of that credential by that consumer counts as
///   none, whatever it is.
#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// The last confirmation of each.
    ///
    /// # Errors
    ///
    /// When the inbox itself cannot be read.
    async fn confirmed(&self, asked: &[(Address, Consumer)]) -> Result<Vec<Option<Confirmation>>>;
}

impl fmt::Debug for dyn Confirm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confirm")
    }
}

impl fmt::Debug for dyn Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}
