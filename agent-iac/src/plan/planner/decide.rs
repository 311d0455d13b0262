//! What happens to each desired resource.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    Fresh, IN_ITS_SYSTEM, Planner, Resolved, WHICH_IS_IT, Wanted,
    leaving::gone,
    resolve, shown,
    steps::{self, key_changes, replacing},
};
use crate::{
    access::AccessChange,
    address::Address,
    blueprint::Desired,
    bugs::bug,
    diff::{Compared, compare},
    ledger::Managed,
    plan::{Action, Drift, FieldDrift, Observed, PropertyChange, Reason, Risk},
    provider::{AtOnce, Mark, Object, Observation},
    resource::Reading,
    schema::{Field, Kind, ResourceType},
};

impl<'a> Planner<'a> {
    /// Decides about everything that is desired, what is needed first.
    pub(super) fn desired(&mut self) {
        for (address, desired) in self.blueprint.in_order_of_need() {
            let instance = address.instance();
            if !self.is_target(instance) || self.departures.contains_key(instance) {
                if self.departures.contains_key(instance) {
                    self.stuck.insert(address);
                }
                continue;
            }
            if self.record_of(address).is_some_and(|record| record.open.is_some()) {
                self.plan.in_doubt.insert(address.clone());
                self.stuck.insert(address);
                continue;
            }
            let from = self.moved_from.get(address).map(|from| from.instance());
            let frozen =
                [Some(instance), from].into_iter().flatten().find_map(|i| self.frozen.get(i));
            if let Some((reason, repair)) = frozen.cloned() {
                if self.would_change(address, desired) {
                    self.block_agent(address, reason, repair);
                }
                continue;
            }
            if let Some(needed) = desired.dependencies.iter().find(|n| self.stuck.contains(n)) {
                let reason = format!("it needs `{needed}`, which is blocked, leaving or in doubt");
                self.look_at(address, desired);
                self.block(address, reason, format!("see to `{needed}` first"));
                continue;
            }
            self.decide(address, desired);
        }
    }

    /// Whether something would be done about a resource of an agent on which
    /// there is a hold. A hold on what is as declared holds nothing back, and
    /// drift and what was not read are told all the same.
    fn would_change(&mut self, address: &'a Address, desired: &'a Desired) -> bool {
        let instance = address.instance();
        let recorded = self.record_of(address).is_some_and(|record| record.object.is_some());
        if !recorded || self.moved_from.contains_key(address) || self.has_other_terms(instance) {
            self.look_at(address, desired);
            return true;
        }
        let (steps, blocked) = (self.steps.len(), self.plan.blocked.len());
        let was_blocked = self.blocked.contains(instance);
        self.decide(address, desired);
        if self.steps.len() == steps && self.plan.blocked.len() == blocked {
            return false;
        }
        // What was decided is not done: nothing of it may be left.
        for step in self.steps.drain(steps..) {
            self.plan.versions.remove(&step.address);
        }
        self.plan.blocked.truncate(blocked);
        if !was_blocked {
            self.blocked.remove(instance);
        }
        self.fresh.remove(address);
        self.returning.remove(address);
        true
    }

    /// Notes how a resource is about which nothing will be done: drift is told
    /// also where the hand is held, and what was not read is never clean.
    fn look_at(&mut self, address: &'a Address, desired: &'a Desired) {
        let Some(object) = self.record_of(address).and_then(|record| record.object.as_ref()) else {
            return;
        };
        match self.observation_of(address).map(|observed| &observed.object) {
            None => self.note_unread(address, "it was not looked at"),
            Some(Observation::Unread(why)) => {
                self.note_unread(address, format!("it could not be read: {why}"));
            }
            Some(Observation::Absent) => self.plan.drift.push(gone(address, object)),
            Some(Observation::Present(real)) => {
                self.note_drift(address, object, real, desired.resource_type);
            }
        }
    }

    fn decide(&mut self, address: &'a Address, desired: &'a Desired) {
        let record = self.record_of(address);
        if let Some(from) = self.moved_from.get(address).copied() {
            if let Some(object) = record.and_then(|record| record.object.as_ref()) {
                let reason = Reason::Moved { from: from.clone() };
                let mut step = steps::bare(address, object, Action::Move, reason);
                step.source = Some(desired.source.clone());
                step.id = Some(object.id.clone());
                self.plan.versions.insert(from.clone(), self.state.version(from));
                self.push(step);
            }
            // The move is recorded first; what else differs is seen by the
            // next plan, at the new address.
            return;
        }
        match record.and_then(|record| record.object.as_ref()) {
            None => self.decide_unrecorded(address, desired),
            Some(object) => self.decide_recorded(address, desired, object),
        }
    }

    fn decide_unrecorded(&mut self, address: &'a Address, desired: &'a Desired) {
        let observed = self.observation_of(address).map(|observed| &observed.object);
        let importing = self.blueprint.imports().get(address);
        match (observed, importing) {
            (Some(Observation::Unread(why)), _) => {
                let why = format!("it could not be read: {why}");
                self.note_unread(address, &why);
                self.block(address, why, "make it readable, and plan again");
            }
            (Some(Observation::Present(object)), Some(_)) => {
                let key =
                    (object.id.as_str(), desired.resource_type.name, desired.provider.as_str());
                if let Some(owner) = self.owners.get(&key).copied() {
                    // Two records of one object would each delete the other's.
                    let reason = format!("it is managed already, as `{owner}`");
                    self.block(address, reason, format!("move `{owner}` to this address"));
                } else if object.mark.as_ref().is_some_and(|mark| *mark != self.mark(address)) {
                    self.foreign(address, object);
                } else {
                    self.adopt(address, desired, object, Reason::Imported);
                }
            }
            (_, Some(id)) => {
                let reason =
                    format!("there is no {} with the id {id:?}", desired.resource_type.name);
                self.block(address, reason, "give the id that it has in its system");
            }
            (Some(Observation::Present(object)), None) if self.is_deposed(address, object) => {
                self.create(address, desired, Reason::Declared);
            }
            (Some(Observation::Present(object)), None) => {
                let ours = object.mark.as_ref().is_some_and(|mark| *mark == self.mark(address))
                    || bug!("foreign object adopted");
                // The value of a credential that exists is nobody's to know.
                if ours && desired.resource_type.kind != Kind::Credential {
                    self.adopt(address, desired, object, Reason::Marked);
                } else {
                    self.foreign(address, object);
                }
            }
            (Some(Observation::Absent) | None, None) => {
                self.create(address, desired, Reason::Declared);
            }
        }
    }

    fn foreign(&mut self, address: &'a Address, object: &Object) {
        let (reason, repair) = match &object.mark {
            Some(mark) if *mark == self.mark(address) => (
                "it exists already, and nobody knows its value".to_owned(),
                format!("remove {:?} in its system, and another is issued", object.id),
            ),
            Some(mark) => (
                format!("it exists already and belongs to {mark}"),
                "move it in both fleets, or give this one another name".to_owned(),
            ),
            None => (
                "it exists already, and this fleet did not make it".to_owned(),
                format!("import the id {:?} at this address, or give it another name", object.id),
            ),
        };
        self.block(address, reason, repair);
    }

    fn mark(&self, address: &Address) -> Mark {
        Mark {
            fleet: self.blueprint.fleet().to_owned(),
            environment: self.blueprint.environment().to_owned(),
            address: address.clone(),
        }
    }

    fn create(&mut self, address: &'a Address, desired: &'a Desired, reason: Reason) {
        let wanted = Wanted { address, desired, recorded: None, seen: None };
        let step = self.creation(&wanted, reason);
        // What still stands on the one that goes for it has to go before.
        let fresh = if self.makes_room(address, desired) {
            Fresh::ReplacedDeleteFirst
        } else {
            Fresh::Created
        };
        self.fresh.insert(address, fresh);
        self.push(step);
    }

    /// Whether an object was this address's own, and was replaced.
    fn is_deposed(&self, address: &Address, object: &Object) -> bool {
        let deposed = self.record_of(address).map(|record| &record.deposed);
        deposed.into_iter().flatten().any(|old| old.id == object.id)
    }

    /// Whether an object that was replaced before has the natural key that the
    /// new one will have, and stands still: it has to go first. An account that
    /// was given another name and gets the first one back is such a case, when
    /// a crash kept the replaced one.
    fn makes_room(&mut self, address: &'a Address, desired: &Desired) -> bool {
        let Some(record) = self.record_of(address).filter(|record| !record.deposed.is_empty())
        else {
            return false;
        };
        let (ty, resolved) = (desired.resource_type, resolve(desired, self));
        let at = self.moved_from.get(address).copied().unwrap_or(address);
        let in_its_way = |old: &Managed| {
            let seen = self.observations.deposed.get(&(at.clone(), old.id.clone()));
            let real = seen.and_then(Observation::object);
            let same = |field: &Field| {
                let wanted = resolved.get(field.name).map(Cow::as_ref);
                match real.and_then(|real| real.fields.get(field.name)) {
                    Some(reading @ Reading::Known(_)) => {
                        compare(field, Some(reading), wanted) == Compared::Matched
                    }
                    _ => old.properties.get(field.name) == wanted,
                }
            };
            old.resource_type == ty.name
                && old.provider == desired.provider
                && seen != Some(&Observation::Absent)
                && ty.key_fields().next().is_some()
                && ty.key_fields().all(same)
        };
        let makes_room = record.deposed.iter().any(|old| in_its_way(old));
        if makes_room {
            self.returning.insert(address);
        }
        makes_room
    }

    fn adopt(
        &mut self,
        address: &'a Address,
        desired: &'a Desired,
        object: &'a Object,
        reason: Reason,
    ) {
        // What points to it is told by this address from now on, as it is once
        // the record says so.
        let key = (object.id.as_str(), desired.resource_type.name, desired.provider.as_str());
        self.owners.insert(key, address);
        let wanted = Wanted { address, desired, recorded: None, seen: Some(object) };
        let mut step = self.step(&wanted, Action::Adopt, reason);
        step.access = AccessChange::default();
        step.id = Some(object.id.clone());
        if let Some(target) = &mut step.target {
            // The object stays as it is, and so does what it gives.
            target.access =
                self.access_of(address, &desired.provider, desired.resource_type, object);
        }
        self.adopted.insert(address, object);
        self.push(step);
    }

    fn decide_recorded(&mut self, address: &'a Address, desired: &'a Desired, object: &'a Managed) {
        let Some(observed) = self.observation_of(address) else {
            self.note_unread(address, "it was not looked at");
            self.stuck.insert(address);
            return;
        };
        match &observed.object {
            Observation::Unread(why) => {
                self.note_unread(address, format!("it could not be read: {why}"));
                self.stuck.insert(address);
            }
            Observation::Absent => {
                self.plan.drift.push(gone(address, object));
                self.create(address, desired, Reason::Gone);
            }
            Observation::Present(real) => {
                self.note_drift(address, object, real, desired.resource_type);
                self.compare(address, desired, object, real, observed);
            }
        }
    }

    fn compare(
        &mut self,
        address: &'a Address,
        desired: &'a Desired,
        object: &'a Managed,
        real: &'a Object,
        observed: &Observed,
    ) {
        let resolved = resolve(desired, self);
        let mut changes = self.changes(address, desired, &resolved, object, real);
        if bug!("changes of permissions ignored") && object.kind == Kind::Permission {
            changes.clear();
        }
        let wanted = Wanted { address, desired, recorded: Some(object), seen: Some(real) };
        let another = desired.resource_type.name != object.resource_type
            || desired.provider != object.provider;
        let replaced_target = desired.dependencies.iter().find(|needed| {
            matches!(
                self.fresh.get(needed),
                Some(Fresh::ReplacedCreateFirst | Fresh::ReplacedDeleteFirst)
            )
        });
        let fields_replace = replacing(desired.resource_type, &mut changes)
            || self.loses_its_target(desired, &changes);
        let credential = if desired.resource_type.kind == Kind::Credential {
            self.credential_differs(address, desired, object, observed)
        } else {
            None
        };
        let reason = if another {
            let what =
                if desired.provider == object.provider { "its type" } else { "its provider" };
            Some(Reason::CannotChangeInPlace { fields: BTreeSet::from([what.to_owned()]) })
        } else if fields_replace
            || (!changes.is_empty() && desired.resource_type.kind == Kind::Credential)
        {
            Some(match replaced_target {
                Some(target) => Reason::TargetReplaced { target: target.clone() },
                None => Reason::CannotChangeInPlace {
                    fields: changes.iter().filter(|c| c.replaces).map(|c| c.name.clone()).collect(),
                },
            })
        } else {
            credential
        };
        let writes = reason.is_some()
            || !changes.is_empty()
            || real.suspended && desired.resource_type.kind == Kind::Identity;
        if let Some(obstacle) = real.obstacle.as_ref().filter(|_| writes) {
            let reason = format!("it is not as declared, and cannot be changed: {obstacle}");
            self.block(address, reason, IN_ITS_SYSTEM);
        } else if key_changes(desired.resource_type, &changes)
            && let Some(why) = self.is_called_otherwise(object, real)
        {
            self.block(address, why, WHICH_IS_IT);
        } else if let Some(reason) = reason {
            self.replace(&wanted, object, changes, reason, another);
        } else if !changes.is_empty() {
            // An update gives an object all of its properties, and only what is
            // known can be given back.
            if let Some((name, why)) = wanted.at_risk() {
                let reason = format!(
                    "it differs, and `{name}`, which others manage, could not be read: {why}"
                );
                self.block(address, reason, "make it readable, or declare it and plan again");
                return;
            }
            let mut step = self.step(&wanted, Action::Update, Reason::Differs);
            step.changes = changes;
            self.push(step);
            self.resume_if_suspended(&wanted, object, real);
        } else if real.suspended && desired.resource_type.kind == Kind::Identity {
            self.resume_if_suspended(&wanted, object, real);
        } else if self.record_is_behind(address, desired, &resolved, object, real) {
            let mut step = self.step(&wanted, Action::Record, Reason::Terms);
            step.access = AccessChange::default();
            self.push(step);
        } else {
            self.plan.unchanged += 1;
        }
    }

    /// The declared properties that are not as desired.
    fn changes(
        &mut self,
        address: &Address,
        desired: &Desired,
        resolved: &Resolved<'_>,
        object: &Managed,
        real: &Object,
    ) -> Vec<PropertyChange> {
        let mut changes = Vec::new();
        for field in desired.resource_type.fields {
            if desired.ignore.contains(field.name) {
                continue;
            }
            let wanted = resolved.get(field.name).map(Cow::as_ref);
            let reading = real.fields.get(field.name);
            let change = || PropertyChange {
                name: field.name.to_owned(),
                before: reading.cloned(),
                after: desired.properties.get(field.name).map(|node| shown(wanted, node)),
                replaces: false,
            };
            match compare(field, reading, wanted) {
                Compared::Matched => {}
                Compared::Differs(_) | Compared::Unknown => changes.push(change()),
                Compared::Unreadable(why) => {
                    self.note_unread(address, format!("`{}`: {why}", field.name));
                    // Of what cannot be read, what was written last is all
                    // that the declaration can be compared with.
                    if object.properties.get(field.name) != wanted {
                        changes.push(change());
                    }
                }
                Compared::Unsupported => {
                    // Wanting nothing of a property that the system does not
                    // have is satisfied.
                    if wanted.is_none_or(|wanted| !wanted.is_null()) {
                        self.note_unread(
                            address,
                            format!("`{}`: the system has no such property", field.name),
                        );
                    }
                }
            }
        }
        changes
    }

    /// Whether what an object points to goes before it is made again. The
    /// object goes with it then: it must point to something at all times.
    fn loses_its_target(&self, desired: &Desired, changes: &[PropertyChange]) -> bool {
        changes.iter().any(|change| {
            let Some(node) = desired.properties.get(&change.name) else { return false };
            let mut loses = false;
            node.references(&mut |to, output| {
                loses |=
                    output.is_none() && self.fresh.get(to) == Some(&Fresh::ReplacedDeleteFirst);
            });
            loses
        })
    }

    /// A protected object that points to this one, over others or directly, so
    /// that it would have to go with it.
    fn protected_dependent(&self, address: &Address) -> Option<&'a Address> {
        let mut pointed_to = vec![address];
        let mut seen = BTreeSet::from([address]);
        while let Some(next) = pointed_to.pop() {
            for dependent in self.dependents.get(next).into_iter().flatten().copied() {
                let desired = &self.blueprint.resources()[dependent];
                if !points_to(desired, next) {
                    continue;
                }
                let exists = self.record_of(dependent).is_some_and(|r| r.object.is_some());
                if desired.protect && exists {
                    return Some(dependent);
                }
                if seen.insert(dependent) {
                    pointed_to.push(dependent);
                }
            }
        }
        None
    }

    /// Why a credential's delivered value is not the recorded one.
    fn credential_differs(
        &mut self,
        address: &Address,
        desired: &Desired,
        object: &Managed,
        observed: &Observed,
    ) -> Option<Reason> {
        let (wanted, recorded) = (desired.credential.as_ref()?, object.credential.as_ref()?);
        if wanted.place != recorded.place {
            let fields = BTreeSet::from(["deliver".to_owned()]);
            return Some(Reason::CannotChangeInPlace { fields });
        }
        let what = match observed.stored.as_ref()? {
            Err(why) => {
                self.note_unread(address, format!("its place could not be read: {why}"));
                return None;
            }
            Ok(versions) => match &versions.current {
                None => format!("nothing stands at {}", recorded.place),
                Some(current) if current.generation != recorded.generation => format!(
                    "generation {} stands at {}, and {} is recorded",
                    current.generation, recorded.place, recorded.generation
                ),
                Some(current) if Some(current.digest) != recorded.stored => {
                    format!("what stands at {} is not what was delivered", recorded.place)
                }
                Some(_) => return None,
            },
        };
        Some(Reason::NotInVault { what })
    }

    fn replace(
        &mut self,
        wanted: &Wanted<'a>,
        object: &'a Managed,
        changes: Vec<PropertyChange>,
        reason: Reason,
        another: bool,
    ) {
        if wanted.desired.protect {
            self.block(
                wanted.address,
                format!("it would be made anew ({reason}), and it is protected"),
                "take `protect` away, or leave these properties as they are",
            );
            return;
        }
        if let Some(dependent) = self.protected_dependent(wanted.address) {
            self.block(
                wanted.address,
                format!(
                    "it would be made anew ({reason}), and `{dependent}`, which points to it, is \
                     protected"
                ),
                "take that `protect` away, or leave these properties as they are",
            );
            return;
        }
        let ty = wanted.desired.resource_type;
        let old_goes_first = wanted
            .desired
            .dependencies
            .iter()
            .any(|needed| self.fresh.get(needed) == Some(&Fresh::ReplacedDeleteFirst));
        let side_by_side = match ty.kind {
            Kind::Credential => self
                .capabilities(&wanted.desired.provider, ty.name)
                .credential
                .is_some_and(|credential| credential.at_once != AtOnce::One),
            _ => key_changes(ty, &changes),
        };
        let makes_room = self.makes_room(wanted.address, wanted.desired);
        let action = if side_by_side && !old_goes_first && !another && !makes_room {
            self.fresh.insert(wanted.address, Fresh::ReplacedCreateFirst);
            Action::ReplaceCreateFirst
        } else {
            self.fresh.insert(wanted.address, Fresh::ReplacedDeleteFirst);
            Action::ReplaceDeleteFirst
        };
        for step in self.replacement(wanted, object, changes, action, reason) {
            self.push(step);
        }
    }

    fn resume_if_suspended(&mut self, wanted: &Wanted<'a>, object: &Managed, real: &Object) {
        if real.suspended && wanted.desired.resource_type.kind == Kind::Identity {
            let reason = if object.suspended { Reason::Returned } else { Reason::Differs };
            let mut step = self.step(wanted, Action::Resume, reason);
            step.risk = Risk::Widens;
            self.push(step);
        }
    }

    /// Whether the record says something else than the declaration of what
    /// only the engine reads, or of values that already are as desired.
    fn record_is_behind(
        &self,
        address: &Address,
        desired: &Desired,
        resolved: &Resolved<'_>,
        object: &Managed,
        real: &Object,
    ) -> bool {
        // What the system does not have is not recorded as if it had.
        let lacking = |name: &str| real.fields.get(name) == Some(&Reading::Unsupported);
        object.protect != desired.protect
            || object.dependencies != desired.dependencies
            || self.gives_otherwise(address, desired, object)
            || object.suspended
            || resolved.iter().any(|(name, value)| {
                !desired.ignore.contains(*name)
                    && !lacking(name)
                    && object.properties.get(*name) != Some(value.as_ref())
            })
    }

    fn gives_otherwise(&self, address: &Address, desired: &Desired, object: &Managed) -> bool {
        if desired.resource_type.access.is_none() || desired.access.is_exact() {
            return desired.access != object.access;
        }
        object.access != self.access_wanted(address, desired)
    }

    /// Reports where the real object is not as it was recorded.
    pub(super) fn note_drift(
        &mut self,
        address: &'a Address,
        object: &'a Managed,
        real: &Object,
        ty: &'static ResourceType,
    ) {
        let ignored = self.blueprint.resources().get(address).map(|desired| &desired.ignore);
        let fields: BTreeMap<String, FieldDrift> = ty
            .fields
            .iter()
            .filter(|field| ignored.is_none_or(|ignored| !ignored.contains(field.name)))
            .filter_map(|field| {
                // What was never recorded (a field of a newer version) cannot drift.
                let recorded = object.properties.get(field.name)?;
                let observed = compare(field, real.fields.get(field.name), Some(recorded));
                let differs = matches!(observed, Compared::Differs(_));
                let drift = || FieldDrift { recorded: recorded.clone(), observed };
                differs.then(|| (field.name.to_owned(), drift()))
            })
            .collect();
        let suspended = (real.suspended != object.suspended).then_some(real.suspended);
        if fields.is_empty() && suspended.is_none() {
            return;
        }
        let access = object.access.change_to(&self.access_of(address, &object.provider, ty, real));
        self.plan.drift.push(Drift {
            address: address.clone(),
            fields,
            gone: false,
            suspended,
            access,
        });
    }
}

/// Whether a resource points to another as a whole.
fn points_to(desired: &Desired, address: &Address) -> bool {
    let mut points = false;
    for node in desired.properties.values() {
        node.references(&mut |to, output| points |= output.is_none() && to == address);
    }
    points
}
