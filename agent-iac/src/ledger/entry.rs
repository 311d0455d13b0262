//! What the ledger records, in its persisted form.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{AgentRecord, Claim, Head, Managed, Record, RunId};
use crate::{
    address::{Address, Instance},
    agent::{Period, Source},
    plan::Action,
    provider::{Mark, Observation, Tried},
    secret::Fingerprint,
    value::{Digest, Value},
    vault::Place,
};

/// One recorded event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The run that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The resource that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The agent that it concerns, when it is about no single resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// The credential's generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// What finds the event in the target's own log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// What happened.
    pub event: Event,
}

impl Entry {
    /// An event that concerns no agent.
    pub fn new(event: impl Into<Event>) -> Self {
        Self {
            run: None,
            address: None,
            instance: None,
            generation: None,
            correlation: None,
            event: event.into(),
        }
    }

    /// An event of one resource.
    pub fn of(address: &Address, event: impl Into<Event>) -> Self {
        Self { address: Some(address.clone()), ..Self::new(event) }
    }

    /// An event of one agent.
    pub fn about(instance: &Instance, event: impl Into<Event>) -> Self {
        Self { instance: Some(instance.clone()), ..Self::new(event) }
    }

    /// Names the run.
    #[must_use]
    pub fn in_run(mut self, run: &RunId) -> Self {
        self.run = Some(run.clone());
        self
    }

    /// Names the generation of the credential.
    #[must_use]
    pub fn at_generation(mut self, generation: u32) -> Self {
        self.generation = Some(generation);
        self
    }
}

/// What happened, by kind; each kind has its phases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The ledger itself.
    Ledger(LedgerEvent),
    /// A plan.
    Plan(PlanEvent),
    /// A run.
    Run(RunEvent),
    /// A step of a run.
    Step(StepEvent),
    /// Something that was seen.
    Observed(ObservedEvent),
    /// A credential.
    Credential(CredentialEvent),
    /// An agent as a whole.
    Agent(AgentEvent),
    /// A record, without any change of the real object.
    Record(RecordEvent),
}

macro_rules! events {
    ($($variant:ident($event:ty)),*) => {$(
        impl From<$event> for Event {
            fn from(event: $event) -> Self {
                Self::$variant(event)
            }
        }
    )*};
}

events!(
    Ledger(LedgerEvent),
    Plan(PlanEvent),
    Run(RunEvent),
    Step(StepEvent),
    Observed(ObservedEvent),
    Credential(CredentialEvent),
    Agent(AgentEvent),
    Record(RecordEvent)
);

/// Events of the ledger itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LedgerEvent {
    /// The first entry of every ledger.
    Opened {
        /// The ledger's own id, random.
        id: String,
        /// The fleet that it is of.
        fleet: String,
        /// The environment that it is of.
        environment: String,
        /// The version of the persisted form.
        format: u32,
    },
    /// The head was pinned in another place.
    Pinned {
        /// Where.
        place: String,
        /// The head.
        head: Head,
    },
    /// The first entry of a ledger whose older history stands in an archive:
    /// the chain goes on, and the state that it had is carried by the entries
    /// that follow.
    Continued {
        /// The ledger's own id, which it keeps.
        id: String,
        /// The fleet that it is of.
        fleet: String,
        /// The environment that it is of.
        environment: String,
        /// The version of the persisted form.
        format: u32,
        /// The head with which the archive ends.
        from: Head,
        /// How many batches the checkpoint has, this one among them.
        batches: u64,
        /// The heads that were given up by rewinds before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lost: Vec<Head>,
        /// Who archived it.
        actor: Actor,
    },
    /// The ledger does not hold what was pinned, and goes on without: an older
    /// copy took its place, and somebody answers for that.
    Rewound {
        /// The pinned heads that are given up, by the place of their pin.
        lost: BTreeMap<String, Head>,
        /// The head with which the copy ended.
        to: Head,
        /// Who says so.
        actor: Actor,
        /// Why.
        reason: String,
    },
}

/// Events of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlanEvent {
    /// It was saved for others to see.
    Proposed {
        /// Its digest.
        digest: Digest,
        /// By whom.
        actor: Actor,
    },
    /// Somebody gave its digest to have it applied.
    Acknowledged {
        /// Its digest.
        digest: Digest,
        /// By whom.
        actor: Actor,
    },
    /// It was refused when it was to be applied.
    Refused {
        /// Its digest.
        digest: Digest,
        /// By whom it was to be applied.
        actor: Actor,
        /// Why.
        reason: String,
    },
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Actor {
    /// Where the name was taken from: `github-actions`, `git`, `os`, …
    pub issuer: String,
    /// The name there: an id, no e-mail address.
    pub subject: String,
    /// How sure it is.
    pub assurance: Assurance,
}

impl Actor {
    /// Somebody by their own word.
    pub fn asserted(issuer: impl Into<String>, subject: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), subject: subject.into(), assurance: Assurance::Asserted }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({}, {})",
            self.subject,
            self.issuer,
            match self.assurance {
                Assurance::Asserted => "asserted",
                Assurance::Oidc => "verified by OIDC",
                Assurance::Signed => "signed",
            }
        )
    }
}

/// How sure it is who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// By their own word.
    Asserted,
    /// By a token that an OIDC issuer signed.
    Oidc,
    /// By their signature.
    Signed,
}

/// On what authority a run acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Authority {
    /// Somebody gave the digest of the plan.
    Acknowledged {
        /// The digest.
        digest: Digest,
        /// By whom.
        actor: Actor,
    },
    /// The fleet allows it without anybody watching: rotating, narrowing and
    /// retiring.
    Standing {
        /// The digest of the blueprint that allows it.
        digest: Digest,
    },
    /// Somebody stopped an agent at once.
    Emergency {
        /// By whom.
        actor: Actor,
        /// Why.
        reason: String,
    },
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Acknowledged { digest, actor } => {
                write!(f, "plan {} acknowledged by {actor}", digest.short())
            }
            Self::Standing { digest } => write!(f, "standing, of fleet {}", digest.short()),
            Self::Emergency { actor, reason } => write!(f, "emergency by {actor}: {reason}"),
        }
    }
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunPurpose {
    /// To apply a plan.
    Apply,
    /// To take drift back.
    Revert,
    /// To renew credentials, and to end what they replaced.
    Rotate,
    /// To stop agents whose last day is over, and to end their departure.
    Retire,
    /// To stop an agent.
    Kill,
    /// To settle what a run that died left in doubt.
    Recover,
}

/// Events of a run.
#[expect(clippy::large_enum_variant, reason = "a run has one of each, so a box saves nothing")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunEvent {
    /// It began. What repeats for all its entries stands here once.
    Begun {
        /// What it is for.
        purpose: RunPurpose,
        /// Who started it.
        actor: Actor,
        /// On what authority.
        authority: Authority,
        /// The agents that it holds.
        instances: Vec<Instance>,
        /// The revision of the code, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
        /// The version of this crate.
        engine: String,
    },
    /// It ended.
    Ended {
        /// What it did.
        summary: Summary,
    },
}

/// How many steps of a run ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Carried out.
    pub done: u32,
    /// Failed.
    pub failed: u32,
    /// Not begun, because of another.
    pub skipped: u32,
    /// Left in doubt.
    pub in_doubt: u32,
}

/// Events of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepEvent {
    /// It is about to be asked of the provider. Nothing is written to a
    /// provider before this is durable.
    Begun {
        /// Its idempotency token.
        claim: Claim,
        /// What it does.
        action: Action,
        /// Whether it removes the old one of a replacement.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        deposed: bool,
        /// What will be recorded once it is done; `None` for a removal.
        target: Option<Arc<Managed>>,
        /// The id of the object that it acts on, when there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The name of the provider.
        provider: String,
        /// The type.
        resource_type: String,
    },
    /// It is done; this is the record now, `None` when nothing is left.
    Done {
        /// Its idempotency token.
        claim: Claim,
        /// The record.
        object: Option<Arc<Managed>>,
    },
    /// It failed and left nothing behind.
    Failed {
        /// Its idempotency token.
        claim: Claim,
        /// Why.
        error: String,
    },
    /// It cannot be told whether it was carried out.
    InDoubt {
        /// Its idempotency token.
        claim: Claim,
        /// Why.
        error: String,
    },
}

/// Events that were seen and change no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ObservedEvent {
    /// The real object is not as it was recorded.
    Drift {
        /// The fields that differ: recorded and observed.
        fields: BTreeMap<String, (Value, Value)>,
        /// What was found in place of the recorded object, when that is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<Observation>,
    },
    /// It could not be read.
    Unread {
        /// Why.
        reason: String,
    },
}

/// The proof that a credential is dead, on one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The control: one that must be accepted, so that a refusal means
    /// something. It is the next generation, or this one before its end.
    pub accepted: Tried,
    /// A random one that was never issued.
    pub random: Tried,
    /// The revoked one.
    pub revoked: Tried,
    /// Whether the system's own look-up says that it is gone.
    pub gone: bool,
}

impl Proof {
    /// Whether the proof holds: the revoked one was refused, for the same
    /// reason as a random one, and either the control was accepted or the
    /// system itself says that the credential is gone.
    pub fn holds(&self) -> bool {
        matches!(self.random, Tried::Refused(_))
            && self.random == self.revoked
            && (self.accepted == Tried::Accepted || self.gone)
    }
}

/// Events of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CredentialEvent {
    /// The system knows it.
    Issued {
        /// The claim of its step.
        claim: Claim,
        /// Its id in the system.
        id: String,
    },
    /// Its value stands at a pending place.
    Delivered {
        /// The claim of its step.
        claim: Claim,
        /// Where it will be read.
        place: Place,
        /// The digest of what is stored.
        stored: Digest,
        /// The fingerprint of the value, and the name of the fingerprint's key.
        fingerprint: (String, Fingerprint),
    },
    /// It was really used and worked.
    Verified {
        /// The answer.
        tried: Tried,
    },
    /// It is what consumers read.
    Promoted {
        /// Where.
        place: Place,
    },
    /// It was issued and its value was lost; it will be revoked.
    Lost {
        /// Its id in the system.
        id: String,
    },
    /// It was revoked.
    Revoked {
        /// Its id in the system.
        id: String,
        /// The proof, when there is one.
        proof: Option<Proof>,
    },
    /// A consumer was told that this generation is there.
    Told {
        /// The consumer's name in the declaration.
        consumer: String,
    },
    /// A consumer says that it uses this generation: a hint, until the target
    /// has seen it used.
    Confirmed {
        /// The consumer's name in the declaration.
        consumer: String,
    },
    /// Its value is known to somebody who should not know it: it is replaced
    /// and ended at once, whoever still uses it.
    Compromised {
        /// Who says so.
        actor: Actor,
        /// Why.
        reason: String,
    },
    /// Its time beside the present one is over, and it was kept for consumers
    /// that have not confirmed.
    Overdue {
        /// Those consumers.
        waiting: BTreeSet<String>,
    },
    /// It was ended while consumers had not confirmed the present one.
    CutOff {
        /// Those consumers.
        consumers: BTreeSet<String>,
    },
}

/// Why an agent is leaving or suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It is no longer declared.
    Removed,
    /// Its last day is over.
    Expired,
    /// Somebody stopped it.
    Killed,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Removed => "removed from the fleet",
            Self::Expired => "expired",
            Self::Killed => "killed",
        })
    }
}

/// Events of an agent as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AgentEvent {
    /// Its terms, when they are new or have changed.
    Declared {
        /// Who answers for it.
        owner: String,
        /// What it is for.
        purpose: String,
        /// Its last day.
        expires: Date,
        /// How long its identity stays suspended before it is deleted.
        grace: Period,
        /// Where it is declared.
        source: Option<Source>,
    },
    /// Its departure began: its identities are being suspended.
    Suspended {
        /// Why.
        cause: Cause,
    },
    /// It may act again.
    Resumed {
        /// By whom, where it was no plan of a run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<Actor>,
    },
    /// The engine keeps its hands off.
    Held {
        /// Why.
        reason: String,
        /// Until when.
        until: Timestamp,
        /// By whom.
        actor: Actor,
    },
    /// The hold was ended before its time.
    Released {
        /// By whom.
        actor: Actor,
    },
    /// Nothing is left of it, as far as could be reached.
    Left {
        /// Why it left.
        cause: Cause,
        /// The time from the suspension to the end, in seconds.
        seconds: u64,
        /// The dead credentials whose end is proved.
        proved: BTreeSet<Address>,
        /// What could not be reached or proved.
        open: BTreeMap<Address, String>,
    },
    /// A checkpoint carries its record.
    Carried {
        /// The record.
        agent: Box<AgentRecord>,
    },
}

/// Events of a record, without any change of the real object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecordEvent {
    /// An object that existed is managed from now on.
    Adopted {
        /// The record.
        object: Arc<Managed>,
        /// Whose it was, where the system kept a mark.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Mark>,
    },
    /// The record has another address now: the entry's.
    Moved {
        /// Its address before.
        from: Address,
    },
    /// The object is no longer managed; it stays as it is.
    Forgotten,
    /// The record follows a change of what was said to the engine (protection,
    /// dependencies), or of what was seen.
    Updated {
        /// The record.
        object: Arc<Managed>,
    },
    /// A checkpoint carries the record, with its version.
    Carried {
        /// All of it.
        record: Box<Record>,
    },
}
