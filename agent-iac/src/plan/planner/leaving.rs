//! Which agents leave, and what of them goes when.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    IN_ITS_SYSTEM, Planner, WHICH_IS_IT, agent_step, cannot_remove, end_of, occupied, source_of,
    steps,
};
use crate::{
    address::{Address, Instance, quoted},
    bugs::bug,
    ledger::{AgentRecord, Cause, Hold, Managed, Record},
    plan::{Action, AgentChange, Apart, Drift, Part, Reason},
    provider::{Object, Observation},
    schema::Kind,
};

impl<'a> Planner<'a> {
    /// Decides about each agent as a whole.
    pub(super) fn agents(&mut self) {
        self.find_departures();
        self.find_holds();
        self.apply_cap();
        for (instance, agent) in self.blueprint.agents() {
            if !self.is_target(instance)
                || self.frozen.contains_key(instance)
                || self.departures.contains_key(instance)
            {
                continue;
            }
            let recorded = self.state.agents.get(instance);
            if self.has_other_terms(instance) {
                let change = AgentChange::Declared {
                    owner: agent.owner.clone(),
                    purpose: agent.purpose.clone(),
                    expires: agent.expires,
                    grace: agent.grace,
                    source: source_of(self.blueprint, instance),
                };
                self.plan.agents.push(agent_step(instance, change));
            }
            if recorded.is_some_and(|r| r.leaving.is_some()) {
                self.plan.agents.push(agent_step(instance, AgentChange::Returns));
            }
        }
        let departures: Vec<(&Instance, Cause)> =
            self.departures.iter().map(|(i, c)| (*i, *c)).collect();
        for (instance, cause) in departures {
            if self.frozen.contains_key(instance) {
                continue;
            }
            if self.state.agents.get(instance).is_some_and(|agent| agent.leaving.is_none()) {
                self.plan.agents.push(agent_step(instance, AgentChange::Leaves { cause }));
            }
        }
    }

    /// Whether an agent is not recorded as it is declared.
    pub(super) fn has_other_terms(&self, instance: &Instance) -> bool {
        let Some(agent) = self.blueprint.agent(instance) else { return false };
        let same = self.state.agents.get(instance).is_some_and(|r| {
            r.owner == agent.owner
                && r.purpose == agent.purpose
                && r.expires == agent.expires
                && r.grace == agent.grace
        });
        !same
    }

    /// Takes back the removal of what something needs that stays as it is: a
    /// system would refuse it, or take the other along.
    pub(super) fn keep_what_is_needed(&mut self) {
        loop {
            let removed = self.removed();
            let mut needed: BTreeMap<&'a Address, &'a Address> = BTreeMap::new();
            for stays in self.stuck.iter().copied().filter(|stuck| !removed.contains(*stuck)) {
                let object = self.state.object(stays);
                let needs = object.into_iter().flat_map(|object| &object.dependencies);
                needed.extend(needs.map(|address| (address, stays)));
            }
            let (taken_back, steps): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.steps).into_iter().partition(|step| {
                    step.action == Action::Delete && needed.contains_key(&step.address)
                });
            self.steps = steps;
            if taken_back.is_empty() {
                return;
            }
            for step in taken_back {
                if self.steps.iter().all(|other| other.address != step.address) {
                    self.plan.versions.remove(&step.address);
                }
                if let Some((address, by)) = needed.get_key_value(&step.address) {
                    let reason = format!("`{by}` needs it, and stays as it is");
                    self.block(address, reason, format!("see to `{by}` first"));
                }
            }
        }
    }

    /// The addresses of which the plan removes an object.
    fn removed(&self) -> BTreeSet<Address> {
        self.steps
            .iter()
            .filter(|step| step.action == Action::Delete || step.part == Part::Remove)
            .map(|step| step.address.clone())
            .collect()
    }

    /// Decides which agents end with this plan: those of which it leaves
    /// nothing. It comes last, for what is protected, unread or in doubt stays.
    pub(super) fn ends(&mut self) {
        let removed = self.removed();
        let mut ending = Vec::new();
        for (instance, cause) in &self.departures {
            if !self.frozen.contains_key(instance)
                && self.is_over(instance)
                && self.records_of(instance).all(|(address, _)| removed.contains(address))
            {
                ending.push(agent_step(instance, AgentChange::Ends { cause: *cause }));
            }
        }
        self.plan.agents.extend(ending);
    }

    pub(super) fn find_departures(&mut self) {
        let now = self.options.now;
        let mut instances: BTreeSet<&'a Instance> = self.state.agents.keys().collect();
        instances.extend(self.blueprint.agents().map(|(instance, _)| instance));
        for instance in instances {
            if !self.is_target(instance) {
                continue;
            }
            let recorded = self.state.agents.get(instance);
            let killed = recorded
                .and_then(|agent| agent.leaving)
                .is_some_and(|leaving| leaving.cause == Cause::Killed)
                && !bug!("kill forgotten");
            let cause = match self.blueprint.agent(instance) {
                None => Some(if killed { Cause::Killed } else { Cause::Removed }),
                Some(_) if killed => Some(Cause::Killed),
                Some(agent) if end_of(agent.expires).is_none_or(|end| now >= end) => {
                    Some(Cause::Expired)
                }
                Some(_) => None,
            };
            if let Some(cause) = cause {
                self.departures.insert(instance, cause);
            }
        }
    }

    /// A hold freezes the engine's hand, whatever the code says.
    pub(super) fn find_holds(&mut self) {
        for (instance, agent) in &self.state.agents {
            if let Some(hold) = self.hold_on(agent) {
                self.frozen.insert(
                    instance,
                    (
                        format!(
                            "it is held by {} until {}: {}",
                            hold.actor, hold.until, hold.reason
                        ),
                        format!("wait, or end the hold of `{instance}`"),
                    ),
                );
            }
        }
    }

    /// Says of which agents the plan makes nothing, so that it does not look as
    /// if all that is declared were there.
    pub(super) fn apart(&mut self) {
        let acts: BTreeSet<&Instance> = self
            .steps
            .iter()
            .map(|step| step.address.instance())
            .chain(self.plan.agents.iter().map(|agent| &agent.instance))
            .collect();
        let mut apart = BTreeMap::new();
        for (instance, cause) in &self.departures {
            let record = self.state.agents.get(*instance);
            let leaving = record.and_then(|record| record.leaving);
            let declared = self.blueprint.agent(instance);
            let over = declared.is_none() && leaving.is_none_or(|leaving| leaving.ended);
            if over || acts.contains(*instance) {
                continue;
            }
            let since = leaving.map_or(self.options.now, |leaving| leaving.since);
            let why = match (cause, declared) {
                (Cause::Killed, _) => Apart::Killed { since },
                (Cause::Expired, Some(agent)) => Apart::Expired { expires: agent.expires },
                _ => Apart::Leaving { since },
            };
            apart.insert((*instance).clone(), why);
        }
        for (instance, agent) in &self.state.agents {
            if let Some(hold) = self.hold_on(agent).filter(|_| self.is_target(instance)) {
                let (until, by, reason) = (hold.until, hold.actor.to_string(), hold.reason.clone());
                apart.insert(instance.clone(), Apart::Held { until, by, reason });
            }
        }
        self.plan.apart = apart;
    }

    /// The hold on an agent that is not over.
    fn hold_on<'r>(&self, agent: &'r AgentRecord) -> Option<&'r Hold> {
        agent.hold.as_ref().filter(|hold| hold.until > self.options.now && !bug!("hold ignored"))
    }

    /// The records of an agent that something real stands behind and that
    /// neither move nor are forgotten.
    fn records_of(
        &self,
        instance: &'a Instance,
    ) -> impl Iterator<Item = (&'a Address, &'a Record)> {
        let state = self.state;
        let blueprint = self.blueprint;
        let first = instance.before_its_resources();
        state
            .records
            .range(first..)
            .take_while(move |(address, _)| address.instance() == instance)
            .filter(move |(address, record)| {
                !record.is_vacant()
                    && !blueprint.removed().contains(*address)
                    && blueprint.moved().get(*address).is_none_or(|to| occupied(state, to))
            })
    }

    /// An emptied file or a jumped clock must not remove a whole fleet.
    fn apply_cap(&mut self) {
        let beginning: Vec<&'a Instance> = self
            .departures
            .keys()
            .copied()
            .filter(|i| self.state.agents.get(*i).is_some_and(|a| a.leaving.is_none()))
            .filter(|i| self.records_of(i).next().is_some())
            .collect();
        let recorded = u32::try_from(self.state.agents.len()).unwrap_or(u32::MAX);
        let cap = self
            .options
            .max_leaving
            .or(self.blueprint.rules().max_leaving)
            .unwrap_or_else(|| (recorded / 4).max(3));
        let count = u32::try_from(beginning.len()).unwrap_or(u32::MAX);
        if count > cap && !bug!("cap ignored") {
            let many = if count == 1 { "1 agent".to_owned() } else { format!("{count} agents") };
            for instance in beginning {
                self.frozen.insert(
                    instance,
                    (
                        format!("{many} would begin to leave, and the cap is {cap}"),
                        format!("if that is meant, plan with `--allow-leaving {count}`"),
                    ),
                );
            }
        }
    }

    /// Whether, after this plan, nothing of a leaving agent is left.
    fn is_over(&self, instance: &'a Instance) -> bool {
        let Some(agent) = self.state.agents.get(instance) else { return false };
        // That nothing is left of a killed agent was recorded before.
        let recorded = agent.leaving.is_some_and(|leaving| leaving.ended)
            && self.records_of(instance).next().is_none();
        !recorded
            && (self.grace_is_over(instance)
                || self.records_of(instance).all(|(_, record)| {
                    record.object.as_ref().is_none_or(|object| object.kind != Kind::Identity)
                }))
    }

    fn grace_is_over(&self, instance: &Instance) -> bool {
        if bug!("grace ignored") {
            return true;
        }
        let Some(agent) = self.state.agents.get(instance) else { return true };
        let since = agent.leaving.map_or(self.options.now, |leaving| leaving.since);
        grace_end(agent, since).is_some_and(|end| self.options.now >= end)
    }

    /// Decides about everything that is recorded and not desired any more.
    pub(super) fn recorded(&mut self) {
        for (address, record) in &self.state.records {
            let instance = address.instance();
            if !self.is_target(instance) || record.is_vacant() {
                continue;
            }
            if record.open.is_some() {
                self.plan.in_doubt.insert(address.clone());
                self.stuck.insert(address);
                continue;
            }
            let departing = self.departures.get(instance).copied();
            let desired = self.blueprint.resources().contains_key(address) && departing.is_none();
            if let Some((reason, repair)) = self.frozen.get(instance).cloned() {
                if departing.is_some() || !desired {
                    self.block_agent(address, reason, repair);
                }
                continue;
            }
            let moves =
                self.blueprint.moved().get(address).is_some_and(|to| !occupied(self.state, to));
            if moves && record.object.is_some() {
                // Whatever is still to be done follows at the new address.
                continue;
            }
            for old in &record.deposed {
                if departing.is_none() && self.stands(address, record, old) {
                    continue;
                }
                self.remove_deposed(address, record, old);
            }
            if self.blueprint.removed().contains(address) {
                // What was replaced was never meant to stay, and forgotten it
                // would live on unknown: it goes first.
                if record.deposed.is_empty() {
                    self.forget(address, record);
                }
                continue;
            }
            let Some(object) = record.object.as_ref().filter(|_| !desired && !moves) else {
                continue;
            };
            let reason = match departing {
                Some(cause) => Reason::Leaving { cause },
                None if address.is_undeclared() => Reason::Undeclared,
                None => Reason::NotDeclared,
            };
            self.remove(address, object, reason);
        }
    }

    fn forget(&mut self, address: &'a Address, record: &'a Record) {
        if let Some(object) = &record.object {
            let mut step = steps::bare(address, object, Action::Forget, Reason::NoLongerManaged);
            step.id = Some(object.id.clone());
            self.push(step);
        }
    }

    pub(super) fn remove_deposed(
        &mut self,
        address: &'a Address,
        record: &'a Record,
        old: &'a Managed,
    ) {
        let key = (address.clone(), old.id.clone());
        let seen = self.observations.deposed.get(&key).cloned();
        match seen.unwrap_or_else(|| Observation::Unread("it was not looked at".into())) {
            Observation::Unread(why) => self.note_unread(address, why),
            Observation::Present(Object { obstacle: Some(why), .. }) => {
                self.block(address, cannot_remove(&why), IN_ITS_SYSTEM);
            }
            seen => {
                let otherwise = seen.object().and_then(|real| self.is_called_otherwise(old, real));
                if let Some(why) = otherwise {
                    self.block(address, why, WHICH_IS_IT);
                    return;
                }
                let reason = self.why_ended(address, record, old);
                let mut step = steps::removal(address, old, reason, seen, &old.access);
                step.part = Part::Remove;
                step.action = Action::ReplaceCreateFirst;
                self.push(step);
            }
        }
    }

    fn block_protected(&mut self, address: &'a Address) {
        self.block(
            address,
            "it is protected, and its declaration is gone",
            "declare it with `protect = false`, apply, and then remove it",
        );
    }

    fn remove(&mut self, address: &'a Address, object: &'a Managed, reason: Reason) {
        // Protection keeps an object from being deleted, and no agent acting
        // that was stopped or whose time is over. Where a declaration is gone,
        // which may be an accident, it keeps everything as it is.
        let stops = matches!(reason, Reason::Leaving { cause: Cause::Killed | Cause::Expired })
            && object.kind == Kind::Identity;
        let protected = object.protect && !bug!("protection ignored");
        if protected && !stops {
            self.block_protected(address);
            return;
        }
        let seen = match self.observation_of(address).map(|observed| &observed.object) {
            Some(Observation::Unread(why)) => {
                let why = format!("it could not be read: {why}");
                self.note_unread(address, &why);
                self.block(address, why, "make it readable, and plan again");
                return;
            }
            None => {
                self.note_unread(address, "it was not looked at");
                self.stuck.insert(address);
                return;
            }
            Some(seen) => seen.clone(),
        };
        if let (Some(real), Some(ty)) = (seen.object(), self.resource_type(&object.resource_type)) {
            self.note_drift(address, object, real, ty);
        } else if seen == Observation::Absent {
            self.plan.drift.push(gone(address, object));
        }
        if let Some(why) = seen.object().and_then(|real| real.obstacle.as_deref()) {
            self.block(address, cannot_remove(why), IN_ITS_SYSTEM);
            return;
        }
        if let Some(why) = seen.object().and_then(|real| self.is_called_otherwise(object, real)) {
            self.block(address, why, WHICH_IS_IT);
            return;
        }
        let access = match (seen.object(), self.resource_type(&object.resource_type)) {
            (Some(real), Some(ty)) => self.access_of(address, &object.provider, ty, real),
            _ => object.access.clone(),
        };
        let leaving = matches!(reason, Reason::Leaving { .. });
        if leaving && object.kind == Kind::Identity {
            let suspends = self.capabilities(&object.provider, &object.resource_type).suspends;
            let active = seen.object().is_some_and(|real| !real.suspended);
            if suspends && active {
                let mut step = steps::bare(address, object, Action::Suspend, reason.clone());
                step.id = Some(object.id.clone());
                step.seen = seen.clone();
                step.risk = crate::plan::Risk::Narrows;
                step.target = Some(steps::target_of(object));
                self.push(step);
            }
            if !self.grace_is_over(address.instance()) {
                return;
            }
        }
        if protected {
            self.block_protected(address);
            return;
        }
        // What may stand on it unseen would be left behind, or taken along.
        if let Some(why) = self.observations.unlisted.get(address).and_then(BTreeSet::first) {
            self.block(address, why, "make it readable, and plan again");
            return;
        }
        if let Some(reason) = self.stays_on(object) {
            self.block(address, reason, IN_ITS_SYSTEM);
            return;
        }
        let step = steps::removal(address, object, reason, seen, &access);
        self.push(step);
    }

    /// Why an identity may be another one than was recorded: it has its id, and
    /// another name. Ids are of one system, and where that was restored from a
    /// dump, they are given anew. Nobody is ended by a number alone.
    pub(super) fn is_called_otherwise(&self, recorded: &Managed, real: &Object) -> Option<String> {
        if recorded.kind != Kind::Identity {
            return None;
        }
        let ty = self.resource_type(&recorded.resource_type)?;
        ty.key_fields().find_map(|field| {
            let (was, is) = (recorded.properties.get(field.name)?, real.value(field.name)?);
            let (was, is) = (field.ty.normalise(was.clone()), field.ty.normalise(is.clone()));
            (was != is).then(|| {
                format!(
                    "{} has its id and the {} {is}, and was recorded with {was}: it may be \
                     another one",
                    quoted(&recorded.id),
                    field.name,
                )
            })
        })
    }

    /// What was found on an identity, never declared, and cannot be removed: a
    /// system would not let the identity go, or take it along.
    fn stays_on(&self, identity: &Managed) -> Option<String> {
        let found = self.observations.undeclared.iter().find(|found| {
            let owner = self
                .resource_type(&found.resource_type)
                .and_then(|ty| found.object.value(ty.owner_field()?)?.as_text());
            found.provider == identity.provider
                && found.object.obstacle.is_some()
                && owner == Some(&identity.id)
        })?;
        let why = found.object.obstacle.as_deref().unwrap_or_default();
        Some(format!(
            "the {} {:?} on it was never declared and cannot be removed: {why}",
            found.resource_type, found.object.id
        ))
    }
}

/// A recorded object that does not exist any more.
pub(super) fn gone(address: &Address, object: &Managed) -> Drift {
    Drift {
        address: address.clone(),
        fields: BTreeMap::new(),
        gone: true,
        suspended: None,
        access: object.access.change_to(&crate::access::Access::NONE),
    }
}

fn grace_end(agent: &AgentRecord, since: Timestamp) -> Option<Timestamp> {
    let grace = i64::try_from(agent.grace.as_seconds()).ok()?;
    since.checked_add(SignedDuration::from_secs(grace)).ok()
}
