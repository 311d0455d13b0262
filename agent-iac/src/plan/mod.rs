//! Desired × recorded × observed → steps, reasons, risk. Pure: no IO, no
//! clock, no randomness.
//!
//! Owns [`Plan`], its digest and its saved form, and the planner that makes
//! one. A plan holds no secret, and everything that applying does stands in
//! its steps.

mod action;
mod file;
mod observations;
mod order;
mod planner;
pub mod render;
mod step;
#[cfg(test)]
mod tests;

pub use action::Action;
pub use file::SavedPlan;
pub use observations::{Beside, Observations, Observed, Undeclared};
pub use planner::{Options, plan, rotate};
pub use step::{
    AgentChange, AgentStep, Apart, Blocked, CredentialTarget, Drift, FieldDrift, Part,
    PropertyChange, Reason, Risk, Step, Target, Totals,
};

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, AccessChange, Verdict},
    address::{Address, Instance},
    agent::Source,
    error::Result,
    fleet::Rules,
    value::Digest,
};

/// The version of a plan's saved form.
pub const FORMAT: u32 = 1;

/// Ordered steps that bring the observed to the desired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of this form.
    pub format: u32,
    /// The fleet.
    pub fleet: String,
    /// The environment.
    pub environment: String,
    /// The ledger's own id.
    pub ledger: String,
    /// The digest of the blueprint.
    pub blueprint: Digest,
    /// The target's own identity, by provider.
    pub targets: BTreeMap<String, String>,
    /// The guard rules.
    pub rules: Rules,
    /// The version of each address that a step touches.
    pub versions: BTreeMap<Address, u64>,
    /// What changes about agents as a whole.
    pub agents: Vec<AgentStep>,
    /// The steps, in an order that respects what each waits for.
    pub steps: Vec<Step>,
    /// What should change and may not, or cannot.
    pub blocked: Vec<Blocked>,
    /// Where the real is not as it was recorded.
    pub drift: Vec<Drift>,
    /// What was found without being declared and is only reported.
    pub undeclared: Vec<Undeclared>,
    /// What could not be read or compared: an address, and why.
    pub unread: BTreeMap<Address, BTreeSet<String>>,
    /// Addresses of which a step is in doubt; the next apply settles them.
    pub in_doubt: BTreeSet<Address>,
    /// How many resources are as desired.
    pub unchanged: u32,
    /// When the oldest observation was made.
    pub observed_at: Timestamp,
    /// What identities can do beside what is declared; no part of the digest,
    /// because what others give to everybody must not keep a pipeline from
    /// planning again to the same one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<Beside>,
    /// Agents of which nothing is made or changed, whatever is declared, and
    /// why; no part of the digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apart: BTreeMap<Instance, Apart>,
}

/// What a plan's digest covers: the effects, the versions and identities that
/// they rest on, and the rules; not times, the ledger's head, source lines or
/// what the systems give beside the fleet, so that a pipeline can plan again to
/// the same digest.
#[derive(Serialize)]
struct Effects<'a> {
    format: u32,
    fleet: &'a str,
    environment: &'a str,
    ledger: &'a str,
    blueprint: Digest,
    targets: &'a BTreeMap<String, String>,
    rules: &'a Rules,
    versions: &'a BTreeMap<Address, u64>,
    agents: &'a [AgentStep],
    steps: &'a [Step],
    blocked: &'a [Blocked],
    drift: &'a [Drift],
    undeclared: &'a [Undeclared],
    unread: &'a BTreeMap<Address, BTreeSet<String>>,
    in_doubt: &'a BTreeSet<Address>,
    unchanged: u32,
}

impl Plan {
    /// The digest that an acknowledgement or an approval names.
    ///
    /// # Errors
    ///
    /// Never for a plan that [`plan`] made; a hand-made one may hold a number
    /// that JSON cannot carry.
    pub fn digest(&self) -> Result<Digest> {
        self.clone().own_digest()
    }

    /// As [`Plan::digest`], without a copy: the sources are out of the way
    /// while the digest is taken.
    fn own_digest(&mut self) -> Result<Digest> {
        let sources: Vec<Option<Source>> = self.sources().map(Option::take).collect();
        let digest = self.digest_with_sources();
        self.sources().zip(sources).for_each(|(place, source)| *place = source);
        digest
    }

    /// Where the steps were declared.
    fn sources(&mut self) -> impl Iterator<Item = &mut Option<Source>> {
        let of_agents = self.agents.iter_mut().filter_map(|agent| match &mut agent.change {
            AgentChange::Declared { source, .. } => Some(source),
            _ => None,
        });
        of_agents.chain(self.steps.iter_mut().map(|step| &mut step.source))
    }

    fn digest_with_sources(&self) -> Result<Digest> {
        Digest::of(&Effects {
            format: self.format,
            fleet: &self.fleet,
            environment: &self.environment,
            ledger: &self.ledger,
            blueprint: self.blueprint,
            targets: &self.targets,
            rules: &self.rules,
            versions: &self.versions,
            agents: &self.agents,
            steps: &self.steps,
            blocked: &self.blocked,
            drift: &self.drift,
            undeclared: &self.undeclared,
            unread: &self.unread,
            in_doubt: &self.in_doubt,
            unchanged: self.unchanged,
        })
    }

    /// Whether applying would do nothing at all.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.agents.is_empty()
    }

    /// Whether everything was read and is as it should be, with nothing
    /// blocked, in doubt or undeclared.
    pub fn is_clean(&self) -> bool {
        self.is_empty()
            && self.blocked.is_empty()
            && self.drift.is_empty()
            && self.undeclared.is_empty()
            && self.unread.is_empty()
            && self.in_doubt.is_empty()
            && self.unread_beside() == 0
    }

    /// What nobody declared: what is only reported, and what a step removes.
    pub fn all_undeclared(&self) -> Vec<Undeclared> {
        let removed = self.steps.iter().filter(|step| step.reason == Reason::Undeclared);
        let removed = removed.filter_map(|step| {
            Some(Undeclared {
                instance: Some(step.address.instance().clone()),
                provider: step.provider.clone(),
                resource_type: step.resource_type.clone(),
                object: step.seen.object()?.clone(),
                access: Access {
                    tuples: step.access.lost.clone(),
                    undecided: step.access.undecided.clone(),
                },
            })
        });
        self.undeclared.iter().cloned().chain(removed).collect()
    }

    /// What a reviewer must know of the systems, whatever the plan does.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.beside.iter().flat_map(|beside| beside.warnings.iter().map(String::as_str))
    }

    /// Of how many types of identities it is not known what they can do beside
    /// what is declared.
    pub(crate) fn unread_beside(&self) -> usize {
        self.beside.iter().filter(|beside| beside.unread.is_some()).count()
    }

    /// Who gains and who loses which access by the plan as a whole.
    pub fn access(&self) -> AccessChange {
        let mut change = AccessChange::default();
        self.steps.iter().for_each(|step| change.merge(&step.access));
        // What one step takes and another gives stays as it was.
        let kept: BTreeSet<_> = change.gained.intersection(&change.lost).cloned().collect();
        change.gained.retain(|tuple| !kept.contains(tuple));
        change.lost.retain(|tuple| !kept.contains(tuple));
        change
    }

    /// Whether the plan widens, narrows or keeps access.
    pub fn verdict(&self) -> Verdict {
        self.access().verdict()
    }

    /// How many steps of each sort there are.
    pub fn totals(&self) -> Totals {
        Totals::of(self)
    }
}
