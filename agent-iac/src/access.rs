//! Access as a value: who may do what to which object.
//!
//! Owns the tuples that every permission gives and their direct difference.
//! It asks no system, and it never guesses: what is undecided stays so and
//! counts as widening.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

/// Whether a tuple gives or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The action is allowed.
    Allow,
    /// The action is forbidden, whatever else allows it.
    Deny,
}

/// One statement of access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Who: the address of a declared identity, or a system's own name.
    pub principal: String,
    /// Gives or takes.
    pub effect: Effect,
    /// The action or a pattern of actions.
    pub action: String,
    /// The object or a pattern of objects.
    pub object: String,
    /// A further condition, in the system's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

impl Tuple {
    /// An unconditional permission.
    pub fn allow(
        principal: impl Into<String>,
        action: impl Into<String>,
        object: impl Into<String>,
    ) -> Self {
        Self {
            principal: principal.into(),
            effect: Effect::Allow,
            action: action.into(),
            object: object.into(),
            condition: None,
        }
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.effect {
            Effect::Allow => "may",
            Effect::Deny => "may not",
        };
        write!(f, "{} {verb} {} {}", self.principal, self.action, self.object)?;
        match &self.condition {
            Some(condition) => write!(f, " if {condition}"),
            None => Ok(()),
        }
    }
}

/// The access that one permission gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Access {
    /// What is known exactly.
    pub tuples: BTreeSet<Tuple>,
    /// Why more may be given than the tuples say; empty when they are exact.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub undecided: BTreeSet<String>,
}

impl Access {
    /// No access at all.
    pub const NONE: Self = Self { tuples: BTreeSet::new(), undecided: BTreeSet::new() };

    /// Exactly these tuples.
    pub fn exactly(tuples: impl IntoIterator<Item = Tuple>) -> Self {
        Self { tuples: tuples.into_iter().collect(), undecided: BTreeSet::new() }
    }

    /// Access that cannot be told before apply.
    pub fn undecided(why: impl Into<String>) -> Self {
        Self { tuples: BTreeSet::new(), undecided: BTreeSet::from([why.into()]) }
    }

    /// The difference that going from `self` to `to` makes.
    ///
    /// ```
    /// use agent_iac::access::{Access, Tuple, Verdict};
    ///
    /// let before = Access::exactly([Tuple::allow("triage.account", "read", "issues/*")]);
    /// let change = before.change_to(&Access::NONE);
    /// assert_eq!(change.verdict(), Verdict::Narrows);
    /// ```
    pub fn change_to(&self, to: &Self) -> AccessChange {
        // What is undecided before and after may be two different things, so
        // only access that is the same as a whole is known to be kept.
        let undecided = if self == to { BTreeSet::new() } else { to.undecided.clone() };
        AccessChange {
            gained: to.tuples.difference(&self.tuples).cloned().collect(),
            lost: self.tuples.difference(&to.tuples).cloned().collect(),
            undecided,
        }
    }
}

/// Who gains and who loses which access by a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessChange {
    /// Statements that hold afterwards and did not before.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub gained: BTreeSet<Tuple>,
    /// Statements that held before and do not afterwards.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lost: BTreeSet<Tuple>,
    /// What cannot be told yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub undecided: BTreeSet<String>,
}

/// What a change does to access as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing changes.
    Keeps,
    /// Somebody loses access and nobody gains any.
    Narrows,
    /// Somebody gains access, or that cannot be excluded.
    Widens,
}

impl AccessChange {
    /// Whether the change widens, narrows or keeps access. Losing a `deny`
    /// widens, gaining one narrows, and what is undecided widens.
    pub fn verdict(&self) -> Verdict {
        let of = |tuples: &BTreeSet<Tuple>, effect| tuples.iter().any(|t| t.effect == effect);
        if of(&self.gained, Effect::Allow)
            || of(&self.lost, Effect::Deny)
            || !self.undecided.is_empty()
        {
            Verdict::Widens
        } else if of(&self.lost, Effect::Allow) || of(&self.gained, Effect::Deny) {
            Verdict::Narrows
        } else {
            Verdict::Keeps
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.gained.is_empty() && self.lost.is_empty() && self.undecided.is_empty()
    }

    /// Adds another change to this one.
    pub fn merge(&mut self, other: &Self) {
        self.gained.extend(other.gained.iter().cloned());
        self.lost.extend(other.lost.iter().cloned());
        self.undecided.extend(other.undecided.iter().cloned());
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keeps => "keeps",
            Self::Narrows => "narrows",
            Self::Widens => "widens",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `allow read a; deny write b; ?why` as access.
    fn access(text: &str) -> Access {
        let mut access = Access::NONE;
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            if let Some(why) = part.strip_prefix('?') {
                access.undecided.insert(why.to_owned());
                continue;
            }
            let words: Vec<&str> = part.split(' ').collect();
            let mut tuple = Tuple::allow("p", words[1], words[2]);
            if words[0] == "deny" {
                tuple.effect = Effect::Deny;
            }
            tuple.condition = words.get(3).map(|&word| word.to_owned());
            access.tuples.insert(tuple);
        }
        access
    }

    #[track_caller]
    fn check(before: &str, after: &str, expected: Verdict) {
        let change = access(before).change_to(&access(after));
        assert_eq!(change.verdict(), expected, "{before:?} to {after:?}");
    }

    #[test]
    fn a_change_widens_narrows_or_keeps_access() {
        use Verdict::{Keeps, Narrows, Widens};
        check("", "", Keeps);
        check("allow read a", "allow read a", Keeps);
        check("", "allow read a", Widens);
        check("allow read a", "", Narrows);
        check("allow read a; allow write a", "allow read a", Narrows);
        check("allow read a", "allow read b", Widens);
        check("allow read a if", "allow read a", Widens);
        check("allow read a", "allow read a; deny write a", Narrows);
        check("deny write a", "", Widens);
        check("deny write a", "deny write b", Widens);
        check("allow read a; deny write a", "", Widens);
    }

    #[test]
    fn what_is_undecided_counts_as_widening_however_much_goes() {
        use Verdict::{Keeps, Narrows, Widens};
        check("allow read a", "?an id is not known", Widens);
        check("", "?an id is not known", Widens);
        check("?an id is not known", "", Keeps);
        check("allow read a; ?an id is not known", "", Narrows);
        check("?one", "?one; ?another", Widens);
        check("allow read a; ?one", "?one", Widens);
    }

    #[test]
    fn access_that_is_the_same_and_undecided_on_both_sides_is_kept() {
        check("allow read a; ?one", "allow read a; ?one", Verdict::Keeps);
    }

    #[test]
    fn a_tuple_reads_as_a_sentence() {
        let mut tuple = Tuple::allow("triage.account", "read", "issues/*");
        assert_eq!(tuple.to_string(), "triage.account may read issues/*");
        tuple.effect = Effect::Deny;
        tuple.condition = Some("closed".into());
        assert_eq!(tuple.to_string(), "triage.account may not read issues/* if closed");
    }
}
