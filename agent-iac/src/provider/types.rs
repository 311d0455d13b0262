//! What passes between the engine and a provider.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    address::Address,
    ledger::Claim,
    resource::{Reading, Resource},
    secret::Secret,
    value::Value,
};

/// What a provider can do with one type. It is data, so that a plan can say
/// beforehand what will be possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How the fate of a write is learned after a crash.
    pub recovery: Recovery,
    /// Whether a write compares with what was seen in its own transaction. The
    /// engine re-reads just before the write where it does not.
    pub checks_seen: bool,
    /// How long after the death of a run its work may still land.
    pub settles_within: Duration,
    /// How many writes one call takes at most.
    pub batch: usize,
    /// Whether an identity can be suspended, with its sessions ended.
    pub suspends: bool,
    /// Whether somebody else gets what an object gave when it ends, so that
    /// its end is no narrowing: an ownership goes to an heir.
    pub hands_over: bool,
    /// What holds for credentials; `None` for other kinds.
    pub credential: Option<CredentialCapabilities>,
}

impl Default for Capabilities {
    /// The most modest provider: it finds objects by their natural key, takes
    /// one write at a time and suspends nothing.
    fn default() -> Self {
        Self {
            recovery: Recovery::NaturalKey,
            checks_seen: false,
            settles_within: Duration::ZERO,
            batch: 1,
            suspends: false,
            hands_over: false,
            credential: None,
        }
    }
}

/// How the fate of a write is learned after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// The claim is written in the same transaction.
    Registry,
    /// The claim stands on the object.
    Tagged,
    /// Reading the object by its natural key decides.
    NaturalKey,
    /// It cannot be learned; the plan says so beforehand.
    None,
}

/// What holds for a type of credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialCapabilities {
    /// Who makes the secret.
    pub origin: Origin,
    /// How many may be valid at once for one identity.
    pub at_once: AtOnce,
    /// Whether the system tells when a credential was last used.
    pub last_use_known: bool,
    /// How long after a revocation the secret may still be accepted.
    pub propagation: Duration,
}

/// Who makes a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The engine; it is delivered before the system learns it.
    Engine,
    /// The system; it is delivered as soon as it exists.
    System,
}

/// How many credentials may be valid at once for one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AtOnce {
    /// One: replacing it leaves a gap.
    One,
    /// Two: enough to rotate without a gap.
    Two,
    /// Any number.
    Many,
}

/// How hard a system may be driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls under way at once.
    pub concurrent: usize,
    /// Writes a second; `None` when there is no limit.
    pub writes_per_second: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrent: 4, writes_per_second: None }
    }
}

/// Names one object to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// By its id in its system.
    Id(String),
    /// By the fields of its natural key.
    Key(BTreeMap<String, Value>),
}

/// Which objects to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Every object of the type.
    All,
    /// What belongs to these identities, by their ids.
    Of(Vec<String>),
}

/// What is kept at the target to tell whose an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// The fleet's name.
    pub fleet: String,
    /// Its environment.
    pub environment: String,
    /// The object's address in it.
    pub address: Address,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of fleet `{}` in `{}`", self.address, self.fleet, self.environment)
    }
}

/// One real object as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its id in its system.
    pub id: String,
    /// What people know it by, where its id does not say: a role's name beside
    /// its number. Only shown; nothing is decided by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its properties and outputs, each as it was read.
    pub fields: BTreeMap<String, Reading>,
    /// Whether it is suspended; always false for what cannot be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// Whose it is, where the system keeps a mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// Why it cannot be changed or removed by us, as a grant whose grantor we
    /// cannot become; `None` when nothing is known to stand in the way. The
    /// engine then plans no write to it, and reports it with the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
}

impl Object {
    /// An object with the fields that a builder collected.
    pub fn new<R: Resource>(id: impl Into<String>, builder: &mut R::Builder) -> Self {
        use crate::resource::Builder as _;
        Self {
            id: id.into(),
            label: None,
            fields: std::mem::take(builder.fields_mut()).into_readings(),
            suspended: false,
            mark: None,
            obstacle: None,
        }
    }

    /// The object with what people know it by.
    #[must_use]
    pub fn labelled(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The value of a field, when it was read.
    pub fn value(&self, name: &str) -> Option<&Value> {
        match self.fields.get(name)? {
            Reading::Known(value) => Some(value),
            _ => None,
        }
    }
}

/// What was found where an object was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// There is none.
    Absent,
    /// It is there.
    Present(Object),
    /// It could not be read; the reason.
    Unread(String),
}

impl Observation {
    /// The object, when it is there.
    pub fn object(&self) -> Option<&Object> {
        match self {
            Self::Present(object) => Some(object),
            Self::Absent | Self::Unread(_) => None,
        }
    }
}

/// What a write does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation<S> {
    /// Makes an object with these properties.
    Create(S),
    /// Gives an object these properties.
    Update {
        /// Its id.
        id: String,
        /// All its declared properties.
        desired: S,
    },
    /// Stops an identity from acting and ends its sessions.
    Suspend {
        /// Its id.
        id: String,
    },
    /// Lets a suspended identity act again.
    Resume {
        /// Its id.
        id: String,
    },
    /// Removes an object; one that is gone already is removed.
    Delete {
        /// Its id.
        id: String,
    },
}

/// One write of a resource of type `R`.
#[derive(Debug)]
pub struct Write<R: Resource> {
    /// The idempotency token.
    pub claim: Claim,
    /// Whose the object is.
    pub mark: Mark,
    /// What to do.
    pub operation: Operation<R::Spec>,
    /// What was seen when the write was decided.
    pub seen: Observation,
}

/// One credential to issue.
#[derive(Debug)]
pub struct IssueRequest<C: Resource> {
    /// The idempotency token.
    pub claim: Claim,
    /// Whose the credential is.
    pub mark: Mark,
    /// Its generation.
    pub generation: u32,
    /// Its properties.
    pub desired: C::Spec,
    /// The secret, when the engine makes it.
    pub secret: Option<Secret>,
    /// When the system is to stop to accept it by itself, if it can; nobody
    /// may be there to end it then.
    pub until: Option<Timestamp>,
}

/// One credential of which the engine makes the secret, before the system
/// learns it.
#[derive(Debug)]
pub struct Composition<C: Resource> {
    /// Whose the credential is.
    pub mark: Mark,
    /// Its generation.
    pub generation: u32,
    /// Its properties.
    pub desired: C::Spec,
}

/// One credential to revoke.
#[derive(Clone, Debug)]
pub struct RevokeRequest {
    /// The idempotency token.
    pub claim: Claim,
    /// Whose the credential is.
    pub mark: Mark,
    /// Its id.
    pub id: String,
}

/// A credential that was issued.
#[derive(Debug)]
pub struct Issued {
    /// The credential as it is.
    pub written: Written,
    /// The secret, when the system made it and this call is the one that did.
    pub secret: Option<Secret>,
}

/// What a write left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The object as it is now; `None` when it is gone.
    pub object: Option<Object>,
    /// What finds the write in the target's own log.
    pub correlation: Option<String>,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was carried out; this is what it left behind.
    Done(Written),
    /// It was not, and it will not be.
    NotDone,
    /// It cannot be told; the reason.
    Unknown(String),
}

/// One attempt to use a credential.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The id of the identity that it belongs to.
    pub identity: &'a str,
    /// The secret.
    pub secret: &'a Secret,
}

/// The answer to an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tried {
    /// The system let it in.
    Accepted,
    /// The system refused it; its reason, in a form that compares.
    Refused(String),
    /// It could not be asked, or was refused for another reason.
    Unknown(String),
}

/// How far an enumeration reaches in a provider's system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Only what is on the declared identities is looked at, and reported.
    #[default]
    Declared,
    /// Everything is looked at and reported.
    Watched,
    /// Everything is ours: what is undeclared is drift, with a plan to take it
    /// away or adopt it.
    Exclusive,
}

/// A desired permission as far as it is known: its type, and its properties.
pub type Permission = (String, BTreeMap<String, Value>);

/// One identity whose surroundings are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surrounded {
    /// The identity; `None` when it does not exist yet.
    pub identity: Option<Reference>,
    /// Its desired permissions.
    pub permissions: Vec<Permission>,
}

/// What identities can do beside their own permissions, because of what else
/// the system gives to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Where such access comes from. Each source stands once, however many
    /// identities it reaches.
    pub sources: Vec<Source>,
    /// For each identity that was asked about, in order, the sources that
    /// reach it, as positions in `sources`. Empty when the provider says
    /// nothing at all.
    pub of: Vec<Vec<usize>>,
    /// What a reviewer of any plan on this system must know.
    pub warnings: Vec<String>,
    /// The parts of the system that could not be read, with the reasons: what
    /// is said holds for the others.
    pub unread: Vec<String>,
}

/// Something that gives access to identities without a permission of theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// What it is, as `PUBLIC` or `member of billing_readers`; the principal
    /// of its tuples.
    pub name: String,
    /// The access that it gives.
    #[serde(default)]
    pub access: Access,
    /// What is too much to list: what it is, and how many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counted: BTreeMap<String, u64>,
}

/// Something that a principal of the provider needs in the system to do its
/// work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// Who needs it.
    pub principal: Principal,
    /// What an administrator types to give it, in the system's own language,
    /// complete with its end.
    pub statement: String,
    /// What it is needed for.
    pub why: String,
}

/// One of the three that touch a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Principal {
    /// Who plans and watches.
    Observe,
    /// Who applies.
    Apply,
    /// Who tries the agents' credentials.
    Probe,
}

impl Principal {
    /// Its name, as JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Apply => "apply",
            Self::Probe => "probe",
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A [`Composition`] in the form that the engine handles.
#[derive(Debug)]
pub struct CompositionRequest {
    /// Whose the credential is.
    pub mark: Mark,
    /// Its generation.
    pub generation: u32,
    /// Its properties, with all values resolved.
    pub desired: BTreeMap<String, Value>,
}

/// A write in the form that the engine handles.
#[derive(Debug)]
pub struct WriteRequest {
    /// The idempotency token.
    pub claim: Claim,
    /// Whose the object is.
    pub mark: Mark,
    /// What to do, with all values resolved.
    pub operation: Operation<BTreeMap<String, Value>>,
    /// What was seen when the write was decided.
    pub seen: Observation,
    /// For a credential that is issued.
    pub credential: Option<NewCredential>,
}

/// What is said of a credential beside its properties, in the form that the
/// engine handles.
#[derive(Debug, Default)]
pub struct NewCredential {
    /// Its generation.
    pub generation: u32,
    /// The secret, if the engine makes it.
    pub secret: Option<Secret>,
    /// When the system is to stop to accept it by itself, if it can.
    pub until: Option<Timestamp>,
}

impl NewCredential {
    /// The same once more, for a call that is repeated.
    #[cfg(feature = "testing")]
    pub(crate) fn repeated(&self) -> Self {
        let secret = self.secret.as_ref().map(Secret::duplicate);
        Self { secret, ..*self }
    }
}
