//! One step of a plan, and what stands beside the steps.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{Action, Plan};
use crate::{
    access::{Access, AccessChange},
    address::{Address, Instance},
    agent::{Period, Source},
    diff::Compared,
    ledger::Cause,
    provider::Observation,
    resource::{Node, Reading},
    schema::Kind,
    value::Value,
    vault::Place,
};

/// Why a step is in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// It is declared and does not exist.
    Declared,
    /// It was recorded and does not exist any more.
    Gone,
    /// Properties differ from the declaration.
    Differs,
    /// A property differs that cannot be changed in place.
    CannotChangeInPlace {
        /// The properties.
        fields: BTreeSet<String>,
    },
    /// What it points to is made anew.
    TargetReplaced {
        /// The target.
        target: Address,
    },
    /// Its value is not at its place, or is not the one that was delivered.
    NotInVault {
        /// What is wrong with it.
        what: String,
    },
    /// It exists and the fleet says to adopt it.
    Imported,
    /// It exists and carries this fleet's mark for this address.
    Marked,
    /// The fleet says that it was moved.
    Moved {
        /// Its address before.
        from: Address,
    },
    /// The fleet says that it is no longer managed.
    NoLongerManaged,
    /// It is no longer declared; its agent is.
    NotDeclared,
    /// Its agent is leaving.
    Leaving {
        /// Why.
        cause: Cause,
    },
    /// Its agent may act again.
    Returned,
    /// Nobody declared it, and the scope is the fleet's alone.
    Undeclared,
    /// It was replaced, and the old object is still there.
    Deposed,
    /// This generation has lived for as long as the fleet lets one.
    Due {
        /// Since when it is due.
        since: Timestamp,
    },
    /// Somebody asked for a new generation.
    Asked,
    /// This generation is known to somebody who should not know it.
    Compromised {
        /// The generation.
        generation: u32,
    },
    /// The generation before it was ended to make room for it.
    Gap,
    /// It was rotated, and this older generation has had its time.
    Outlived {
        /// The older generation.
        generation: u32,
        /// The consumers that have not confirmed the present one.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        cut_off: BTreeSet<String>,
    },
    /// What is said to the engine has changed.
    Terms,
}

impl Reason {
    /// Whether a step with this reason ends an object that an earlier run
    /// replaced, and which is therefore in nobody's way.
    pub(crate) fn ends_an_older_one(&self) -> bool {
        matches!(self, Self::Deposed | Self::Outlived { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared => f.write_str("it is declared and does not exist"),
            Self::Gone => f.write_str("it was recorded and does not exist any more"),
            Self::Differs => f.write_str("it differs from the declaration"),
            Self::CannotChangeInPlace { fields } => {
                let names: Vec<&str> = fields.iter().map(String::as_str).collect();
                write!(f, "{} cannot be changed in place", names.join(", "))
            }
            Self::TargetReplaced { target } => write!(f, "{target} is made anew"),
            Self::NotInVault { what } => f.write_str(what),
            Self::Imported => f.write_str("it exists and is to be imported"),
            Self::Marked => f.write_str("it exists and carries this address as its mark"),
            Self::Moved { from } => write!(f, "it was {from}"),
            Self::NoLongerManaged => f.write_str("it is said to be no longer managed"),
            Self::NotDeclared => f.write_str("it is no longer declared"),
            Self::Leaving { cause: Cause::Expired } => f.write_str("its agent has expired"),
            Self::Leaving { cause } => write!(f, "its agent was {cause}"),
            Self::Returned => f.write_str("its agent may act again"),
            Self::Undeclared => f.write_str("nobody declared it"),
            Self::Deposed => f.write_str("it was replaced"),
            Self::Due { since } => write!(f, "it is due since {since:.0}"),
            Self::Asked => f.write_str("somebody asked for a new one"),
            Self::Compromised { generation } => {
                write!(f, "generation {generation} is known to others")
            }
            Self::Gap => f.write_str("the one before it was ended to make room"),
            Self::Outlived { generation, cut_off } if cut_off.is_empty() => {
                write!(f, "generation {generation} was rotated and has had its time")
            }
            Self::Outlived { generation, cut_off } => {
                let names: Vec<&str> = cut_off.iter().map(String::as_str).collect();
                write!(
                    f,
                    "generation {generation} was rotated and has had its time; CUT OFF: {}",
                    names.join(", ")
                )
            }
            Self::Terms => f.write_str("what is said to the engine has changed"),
        }
    }
}

/// What a step may cost if it is wrong, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Nothing real changes.
    None,
    /// Access stays as it is.
    Low,
    /// Somebody loses access.
    Narrows,
    /// An object goes for good.
    Destroys,
    /// Somebody gains access, or that cannot be excluded.
    Widens,
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Narrows => "narrows",
            Self::Destroys => "destroys",
            Self::Widens => "widens",
        })
    }
}

/// Which half of a replacement a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// It is no replacement.
    #[default]
    Whole,
    /// It makes the new object.
    Make,
    /// It removes the old object.
    Remove,
}

/// One property that a step changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertyChange {
    /// The property.
    pub name: String,
    /// As it was read; `None` where there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Reading>,
    /// As it will be; `None` where nothing will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Node>,
    /// Whether it cannot be changed in place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
}

impl PropertyChange {
    /// For sets and lists: the items that come and those that go, when both
    /// sides are known. Order never makes a change.
    pub fn items(&self) -> Option<(Vec<&Value>, Vec<&Value>)> {
        let (Some(Reading::Known(Value::List(before))), Some(Node::Known(Value::List(after)))) =
            (&self.before, &self.after)
        else {
            return None;
        };
        let come = after.iter().filter(|item| !before.contains(item)).collect();
        let go = before.iter().filter(|item| !after.contains(item)).collect();
        Some((come, go))
    }
}

/// What will be recorded of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialTarget {
    /// Its generation.
    pub generation: u32,
    /// Where it is delivered.
    pub place: Place,
    /// For how long the system is to accept it, in seconds, where it keeps
    /// leases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
}

/// What a step brings about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The properties, resolved during the run where they are not known yet.
    pub properties: BTreeMap<String, Node>,
    /// The access that it gives.
    #[serde(default)]
    pub access: Access,
    /// What it needs to exist.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dependencies: BTreeSet<Address>,
    /// Whether it may not be deleted or replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// For a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialTarget>,
}

/// One step: one action on one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The address.
    pub address: Address,
    /// The type, as `postgres.role`.
    pub resource_type: String,
    /// What it is to its agent.
    pub kind: Kind,
    /// The provider's name.
    pub provider: String,
    /// What it does.
    pub action: Action,
    /// Which half of a replacement it is.
    #[serde(default)]
    pub part: Part,
    /// Why.
    pub reason: Reason,
    /// Where it was declared; no part of the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Why something unusual is wanted, in the declaration's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PropertyChange>,
    /// Who gains and who loses which access.
    #[serde(default, skip_serializing_if = "AccessChange::is_empty")]
    pub access: AccessChange,
    /// What it may cost.
    pub risk: Risk,
    /// Something that a reviewer must know, as a gap without any credential.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The id of the object that it acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What was observed for it; applying acts on nothing else.
    pub seen: Observation,
    /// What it brings about; `None` for a removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// For a credential that goes: its generation and its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires: Option<CredentialTarget>,
    /// The steps that must be done before, by their position in the plan.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<usize>,
}

/// What changes about an agent as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStep {
    /// The agent.
    pub instance: Instance,
    /// What changes.
    pub change: AgentChange,
}

/// A change of an agent as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum AgentChange {
    /// It is new, or its terms have changed.
    Declared {
        /// Who answers for it.
        owner: String,
        /// What it is for.
        purpose: String,
        /// Its last day.
        expires: Date,
        /// How long its identity stays suspended before it is deleted.
        grace: Period,
        /// Where it is declared; no part of the digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
    },
    /// It begins to leave.
    Leaves {
        /// Why.
        cause: Cause,
    },
    /// It may act again.
    Returns,
    /// Nothing of it is left to be removed.
    Ends {
        /// Why it left.
        cause: Cause,
    },
}

/// Why nothing is made or changed of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Apart {
    /// It was killed, and nobody has resumed it.
    Killed {
        /// Since when.
        since: Timestamp,
    },
    /// It has expired.
    Expired {
        /// Its last day.
        expires: Date,
    },
    /// It is gone from the declaration, and what is left of it waits.
    Leaving {
        /// Since when.
        since: Timestamp,
    },
    /// A hold keeps the engine's hands off it.
    Held {
        /// Until when.
        until: Timestamp,
        /// Who holds it.
        by: String,
        /// Why.
        reason: String,
    },
}

/// Something that should change and may not, or cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// The address; the agent's first resource where all of it is blocked.
    pub address: Address,
    /// Why.
    pub reason: String,
    /// How to mend it.
    pub repair: String,
}

/// One real object that is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The address.
    pub address: Address,
    /// The properties that differ; empty when the object is gone.
    pub fields: BTreeMap<String, FieldDrift>,
    /// Whether the object is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// Whether it was suspended, or resumed, by somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
    /// Who gained and who lost which access by it.
    #[serde(default, skip_serializing_if = "AccessChange::is_empty")]
    pub access: AccessChange,
}

/// One property that is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldDrift {
    /// As it was recorded.
    pub recorded: Value,
    /// How what was read compares with that.
    pub observed: Compared,
}

/// How many steps of each sort a plan has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Objects to adopt.
    pub adopt: u32,
    /// Objects to make.
    pub create: u32,
    /// Objects to change in place.
    pub update: u32,
    /// Objects to make anew.
    pub replace: u32,
    /// Credentials to give a new generation, or to end an older one of.
    #[serde(default)]
    pub rotate: u32,
    /// Identities to suspend.
    pub suspend: u32,
    /// Identities to let act again.
    pub resume: u32,
    /// Objects to remove.
    pub delete: u32,
    /// Records to move, to forget or to follow up.
    pub record: u32,
}

impl Totals {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut totals = Self::default();
        for step in &plan.steps {
            let count = match step.action {
                Action::NoChange => continue,
                Action::Adopt => &mut totals.adopt,
                Action::Create => &mut totals.create,
                Action::Update => &mut totals.update,
                Action::Rotate if step.part == Part::Remove => continue,
                Action::Rotate => &mut totals.rotate,
                Action::ReplaceCreateFirst if matches!(step.reason, Reason::Outlived { .. }) => {
                    &mut totals.rotate
                }
                Action::ReplaceCreateFirst | Action::ReplaceDeleteFirst => {
                    if step.part == Part::Remove {
                        continue;
                    }
                    &mut totals.replace
                }
                Action::Suspend => &mut totals.suspend,
                Action::Resume => &mut totals.resume,
                Action::Delete => &mut totals.delete,
                Action::Move | Action::Forget | Action::Record => &mut totals.record,
            };
            *count += 1;
        }
        totals
    }
}
