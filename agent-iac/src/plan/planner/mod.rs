//! The planner: from three views of a fleet to one plan.

mod decide;
mod leaving;
mod rotation;
mod steps;
#[cfg(test)]
mod tests;

pub use rotation::rotate;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use jiff::{Timestamp, tz::TimeZone};

use super::{
    AgentChange, AgentStep, Blocked, FORMAT, Observations, Plan, Step, Undeclared,
    order::{Needs, order},
};
use crate::{
    access::Access,
    address::{Address, Instance},
    agent::Source,
    blueprint::{Blueprint, Desired},
    bugs::bug,
    diff::readings_as_nodes,
    ledger::{Cause, Managed, Record, State},
    provider::{Capabilities, Mark, Object},
    resource::{Lookup, Node},
    schema::ResourceType,
    value::Value,
};

/// What a plan is made for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The present instant.
    pub now: Timestamp,
    /// The agents to plan for, with what they depend on; all when empty.
    pub targets: BTreeSet<Instance>,
    /// Raises the fleet's cap on how many agents may begin to leave.
    pub max_leaving: Option<u32>,
    /// For a rotation: how many of those that are due each provider takes; one
    /// that is not named takes any number.
    pub room: BTreeMap<String, u32>,
}

impl Options {
    /// A plan for all agents.
    pub fn new(now: Timestamp) -> Self {
        let (targets, room) = (BTreeSet::new(), BTreeMap::new());
        Self { now, targets, max_leaving: None, room }
    }
}

/// Makes a plan.
///
/// It is pure: the same four values give the same plan, and nothing is asked,
/// written or drawn. It never fails: what cannot be planned for stands in
/// [`Plan::blocked`] or [`Plan::unread`] and holds nothing else up.
pub fn plan(
    blueprint: &Blueprint,
    state: &State,
    observations: &Observations,
    options: &Options,
) -> Plan {
    let mut planner = Planner::new(blueprint, state, observations, options);
    planner.agents();
    planner.desired();
    planner.recorded();
    planner.undeclared();
    planner.keep_what_is_needed();
    planner.ends();
    planner.finish()
}

struct Planner<'a> {
    blueprint: &'a Blueprint,
    state: &'a State,
    observations: &'a Observations,
    options: &'a Options,
    /// The agents in question; `None` for all.
    targets: Option<BTreeSet<&'a Instance>>,
    /// Why each agent is leaving that is.
    departures: BTreeMap<&'a Instance, Cause>,
    /// Agents of which nothing may change, and why.
    frozen: BTreeMap<&'a Instance, (String, String)>,
    /// For each address that records were moved to, the one they were at.
    moved_from: BTreeMap<&'a Address, &'a Address>,
    /// Which of our addresses each real object is, by id, type and provider:
    /// the id nearly always decides a comparison.
    owners: BTreeMap<(&'a str, &'a str, &'a str), &'a Address>,
    /// Addresses whose object will be another one after the plan, and whether
    /// the old one goes first.
    fresh: BTreeMap<&'a Address, Fresh>,
    /// Addresses whose new object has the natural key of one that was replaced
    /// before and stands still.
    returning: BTreeSet<&'a Address>,
    /// Addresses that were blocked, so that what needs them is too.
    stuck: BTreeSet<&'a Address>,
    /// What needs each desired address.
    dependents: BTreeMap<&'a Address, Vec<&'a Address>>,
    /// Agents of which something is said to be blocked.
    blocked: BTreeSet<&'a Instance>,
    /// Objects that the plan adopts.
    adopted: BTreeMap<&'a Address, &'a Object>,
    steps: Vec<Step>,
    plan: Plan,
}

/// Where an obstacle is mended: not by us.
const IN_ITS_SYSTEM: &str = "see to it in its system, and plan again";

/// The repair of an identity that may be another one than was recorded.
const WHICH_IS_IT: &str = "when it is the same, give it its name back; when it is not, declare the \
    recorded one as `removed`, and import what is there";

fn cannot_remove(obstacle: &str) -> String {
    format!("it cannot be removed: {obstacle}")
}

/// How an address gets another object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fresh {
    Created,
    ReplacedCreateFirst,
    ReplacedDeleteFirst,
}

impl<'a> Planner<'a> {
    fn new(
        blueprint: &'a Blueprint,
        state: &'a State,
        observations: &'a Observations,
        options: &'a Options,
    ) -> Self {
        let moved_from = blueprint
            .moved()
            .iter()
            .filter(|(from, to)| occupied(state, from) && !occupied(state, to))
            .map(|(from, to)| (to, from))
            .collect();
        let mut owners = BTreeMap::new();
        for (address, record) in &state.records {
            for object in record.object.iter().chain(&record.deposed) {
                let (provider, ty) = (object.provider.as_str(), object.resource_type.as_str());
                owners.insert((object.id.as_str(), ty, provider), address);
            }
        }
        let plan = Plan {
            format: FORMAT,
            fleet: blueprint.fleet().to_owned(),
            environment: blueprint.environment().to_owned(),
            ledger: state.ledger.clone(),
            blueprint: blueprint.digest(),
            targets: observations.targets.clone(),
            rules: blueprint.rules().clone(),
            versions: BTreeMap::new(),
            agents: Vec::new(),
            steps: Vec::new(),
            blocked: Vec::new(),
            drift: Vec::new(),
            undeclared: Vec::new(),
            unread: BTreeMap::new(),
            in_doubt: BTreeSet::new(),
            unchanged: 0,
            observed_at: observations.at,
            beside: observations.beside.clone(),
            apart: BTreeMap::new(),
        };
        Self {
            blueprint,
            state,
            observations,
            options,
            targets: targets(blueprint, &options.targets),
            departures: BTreeMap::new(),
            frozen: BTreeMap::new(),
            moved_from,
            owners,
            fresh: BTreeMap::new(),
            returning: BTreeSet::new(),
            stuck: BTreeSet::new(),
            dependents: blueprint.dependents(),
            blocked: BTreeSet::new(),
            adopted: BTreeMap::new(),
            steps: Vec::new(),
            plan,
        }
    }

    /// Whether an agent is one that the plan is for.
    fn is_target(&self, instance: &Instance) -> bool {
        self.targets.as_ref().is_none_or(|targets| targets.contains(instance))
            || bug!("scope ignored")
    }

    /// Where the record of a desired address stands: at it, or where it was
    /// moved from.
    fn record_of(&self, address: &Address) -> Option<&'a Record> {
        let at = self.moved_from.get(address).copied().unwrap_or(address);
        self.state.records.get(at)
    }

    fn observation_of(&self, address: &Address) -> Option<&'a super::Observed> {
        let at = self.moved_from.get(address).copied().unwrap_or(address);
        self.observations.objects.get(at).or_else(|| self.observations.objects.get(address))
    }

    fn capabilities(&self, provider: &str, resource_type: &str) -> Capabilities {
        let key = (provider.to_owned(), resource_type.to_owned());
        self.observations.capabilities.get(&key).cloned().unwrap_or_default()
    }

    /// The description of a type, from a declaration or from a provider.
    fn resource_type(&self, name: &str) -> Option<&'static ResourceType> {
        self.observations.types.get(name).copied()
    }

    /// The access that the real object of an address gives, with our addresses
    /// for ids.
    fn access_of(
        &self,
        address: &Address,
        provider: &str,
        ty: &'static ResourceType,
        object: &Object,
    ) -> Access {
        if ty.access.is_none() {
            return Access::NONE;
        }
        let owner = |target: &'static str, id: &str| {
            self.owners.get(&(id, target, provider)).map(|address| (*address).clone())
        };
        ty.access_of(&address.to_string(), &readings_as_nodes(ty, &object.fields, &owner))
    }

    /// The access that a desired resource gives, with every value filled in
    /// that is known by now: an output that a declaration names is known once
    /// the other resource exists.
    fn access_wanted(&self, address: &Address, desired: &Desired) -> Access {
        let ty = desired.resource_type;
        if ty.access.is_none() || desired.access.is_exact() {
            return desired.access.access();
        }
        let resolved = resolve(desired, self);
        let nodes = desired.properties.iter().map(|(name, node)| {
            // Who is named by address, on both sides of a comparison.
            let links = ty.field(name).is_some_and(|field| field.ty.link().is_some());
            let value = resolved.get(name).filter(|_| !links);
            (name.to_owned(), shown(value.map(Cow::as_ref), node))
        });
        ty.access_of(&address.to_string(), &nodes.collect())
    }

    fn block(
        &mut self,
        address: &'a Address,
        reason: impl Into<String>,
        repair: impl Into<String>,
    ) {
        self.stuck.insert(address);
        self.blocked.insert(address.instance());
        self.plan.blocked.push(Blocked {
            address: address.clone(),
            reason: reason.into(),
            repair: repair.into(),
        });
    }

    /// Blocks all of an agent; the first of its resources stands for it.
    fn block_agent(&mut self, address: &'a Address, reason: String, repair: String) {
        self.stuck.insert(address);
        if !self.blocked.contains(address.instance()) {
            self.block(address, reason, repair);
        }
    }

    fn note_unread(&mut self, address: &Address, why: impl Into<String>) {
        self.plan.unread.entry(address.clone()).or_default().insert(why.into());
    }

    fn push(&mut self, step: Step) {
        let version = self.state.version(&step.address);
        self.plan.versions.insert(step.address.clone(), version);
        self.steps.push(step);
    }

    /// Decides about what was found and never declared.
    fn undeclared(&mut self) {
        use crate::provider::Reach;
        for (address, reasons) in &self.observations.unlisted {
            if self.is_target(address.instance()) {
                for why in reasons {
                    self.note_unread(address, why);
                }
            }
        }
        for found in &self.observations.undeclared {
            let reach =
                self.blueprint.providers().get(&found.provider).copied().unwrap_or_default();
            let Some(instance) = &found.instance else {
                // An identity that this ledger did not create is never deleted.
                if self.targets.is_none() {
                    self.plan.undeclared.push(found.clone());
                }
                continue;
            };
            if !self.is_target(instance) {
                continue;
            }
            let leaving = self.departures.contains_key(instance);
            let ty = self.resource_type(&found.resource_type);
            let free = !self.frozen.contains_key(instance)
                && !ty.is_some_and(|ty| self.is_on_what_is_let_go(ty, found));
            let address =
                Address::undeclared(instance.clone(), &found.resource_type, &found.object.id);
            match (ty, address) {
                (Some(_), Ok(address))
                    if free
                        && (leaving || reach == Reach::Exclusive)
                        && found.object.obstacle.is_some() =>
                {
                    let why = found.object.obstacle.as_deref().unwrap_or_default();
                    self.blocked.insert(instance);
                    self.plan.blocked.push(Blocked {
                        address,
                        reason: cannot_remove(why),
                        repair: IN_ITS_SYSTEM.to_owned(),
                    });
                    self.plan.undeclared.push(found.clone());
                }
                (Some(ty), Ok(address)) if free && (leaving || reach == Reach::Exclusive) => {
                    self.rest_on_its_mark(found);
                    let hands_over =
                        self.capabilities(&found.provider, &found.resource_type).hands_over;
                    self.push(steps::removal_of_undeclared(address, ty, found, hands_over));
                }
                _ => self.plan.undeclared.push(found.clone()),
            }
        }
    }

    /// Whether something is on an identity that is no longer managed: that stays
    /// as it is, with all that it has.
    fn is_on_what_is_let_go(&self, ty: &ResourceType, found: &Undeclared) -> bool {
        let owner = || {
            let field = ty.owner_field()?;
            let link = ty.field(field)?.ty.link()?;
            let id = found.object.value(field)?.as_text()?;
            self.owners.get(&(id, link, found.provider.as_str()))
        };
        owner().is_some_and(|address| self.blueprint.removed().contains(*address))
    }

    /// What carries one of our marks may have been made by a run that ended
    /// between the two readings, of the ledger and of the system: the plan
    /// rests on the version of that record too.
    fn rest_on_its_mark(&mut self, found: &Undeclared) {
        let ours = |mark: &&Mark| {
            mark.fleet == self.blueprint.fleet() && mark.environment == self.blueprint.environment()
        };
        if let Some(mark) = found.object.mark.as_ref().filter(ours) {
            let version = self.state.version(&mark.address);
            self.plan.versions.insert(mark.address.clone(), version);
        }
    }

    fn finish(mut self) -> Plan {
        self.apart();
        self.plan.blocked.sort_by(|a, b| a.address.cmp(&b.address));
        self.plan.drift.sort_by(|a, b| a.address.cmp(&b.address));
        self.plan.agents.sort_by(|a, b| a.instance.cmp(&b.instance));
        // Mostly there is nothing to put into an order.
        if self.steps.is_empty() {
            return self.plan;
        }
        let desired = self.blueprint.resources().iter();
        let recorded = self.state.records.iter().filter_map(|(address, record)| {
            let object = record.object.as_ref().or(record.deposed.first())?;
            Some((address, &object.dependencies))
        });
        let needs = Needs {
            desired: desired.map(|(address, desired)| (address, &desired.dependencies)).collect(),
            recorded: recorded.collect(),
            returning: self.returning,
        };
        self.plan.steps = order(self.steps, &needs);
        self.plan
    }
}

/// The targets with everything that they need; `None` for all agents.
fn targets<'a>(
    blueprint: &'a Blueprint,
    wanted: &'a BTreeSet<Instance>,
) -> Option<BTreeSet<&'a Instance>> {
    (!wanted.is_empty()).then(|| blueprint.with_needs(wanted))
}

fn occupied(state: &State, address: &Address) -> bool {
    state.records.get(address).is_some_and(|record| !record.is_vacant())
}

/// Looks values up as they will be while the plan runs: what is made anew by
/// it is not known yet.
impl Lookup for Planner<'_> {
    fn output(&self, address: &Address, field: &str) -> Option<Value> {
        if self.fresh.contains_key(address) {
            return None;
        }
        if let Some(object) = self.adopted.get(address) {
            return object.value(field).cloned();
        }
        let object = self.record_of(address)?.object.as_ref()?;
        object.outputs.get(field).cloned()
    }

    fn id(&self, address: &Address) -> Option<String> {
        if self.fresh.contains_key(address) {
            return None;
        }
        if let Some(object) = self.adopted.get(address) {
            return Some(object.id.clone());
        }
        Some(self.record_of(address)?.object.as_ref()?.id.clone())
    }
}

/// The last instant of an agent's last day, in UTC.
fn end_of(day: jiff::civil::Date) -> Option<Timestamp> {
    let next = day.tomorrow().ok()?;
    TimeZone::UTC.to_timestamp(next.at(0, 0, 0, 0)).ok()
}

/// What a step needs to know of a desired resource.
struct Wanted<'a> {
    address: &'a Address,
    desired: &'a Desired,
    recorded: Option<&'a Managed>,
    /// The real object, where one was seen.
    seen: Option<&'a Object>,
}

/// The properties of a desired resource that are known now, in their normal
/// form; the others are not known before apply.
type Resolved<'d> = BTreeMap<&'d str, Cow<'d, Value>>;

fn resolve<'d>(desired: &'d Desired, lookup: &dyn Lookup) -> Resolved<'d> {
    let value = |name: &str, node: &'d Node| match node {
        // Validation brought it into its normal form.
        Node::Known(value) => Some(Cow::Borrowed(value)),
        node => {
            let value = node.resolve(lookup).ok()?;
            let field = desired.resource_type.field(name);
            Some(Cow::Owned(match field {
                Some(field) => field.ty.normalise(value),
                None => value,
            }))
        }
    };
    let properties = desired.properties.iter();
    properties.filter_map(|(name, node)| Some((name, value(name, node)?))).collect()
}

/// A node as it will be shown: its value, when that is known.
fn shown(value: Option<&Value>, node: &Node) -> Node {
    value.map_or_else(|| node.clone(), |value| Node::Known(value.clone()))
}

/// Where an agent was declared.
fn source_of(blueprint: &Blueprint, instance: &Instance) -> Option<Source> {
    blueprint.agent(instance).map(|agent| agent.source.clone())
}

fn agent_step(instance: &Instance, change: AgentChange) -> AgentStep {
    AgentStep { instance: instance.clone(), change }
}
