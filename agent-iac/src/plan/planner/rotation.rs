//! New generations of credentials, and the end of older ones.

use super::{Fresh, IN_ITS_SYSTEM, Options, Planner, steps};
use crate::{
    access::Access,
    address::Address,
    blueprint::{Blueprint, Desired},
    bugs::bug,
    ledger::{Managed, Record, State},
    plan::{Action, CredentialTarget, Observations, Part, Plan, Reason, Risk, Target},
    provider::{AtOnce, Observation},
    rotation::{
        Asked, Phase, Terms, Why,
        machine::{self, phase},
    },
};

/// Makes the plan of a rotation: a new generation of each credential that is
/// due, or of each that was asked for, and the end of older ones that have had
/// their time. It changes nothing else, gives nobody anything new, and makes a
/// credential as it was recorded, whatever the code says by now.
///
/// It is pure, and never fails, as [`plan`](super::plan()).
pub fn rotate(
    blueprint: &Blueprint,
    state: &State,
    observations: &Observations,
    options: &Options,
    asked: Asked,
) -> Plan {
    let mut planner = Planner::new(blueprint, state, observations, options);
    planner.find_departures();
    planner.find_holds();
    planner.turns(asked);
    planner.finish()
}

impl<'a> Planner<'a> {
    fn turns(&mut self, asked: Asked) {
        for (address, desired) in self.blueprint.resources() {
            let instance = address.instance();
            let named = &self.options.targets;
            if desired.credential.is_none() || !named.is_empty() && !named.contains(instance) {
                continue;
            }
            // What leaves, or is at another address, is no matter of rotating.
            let Some(record) = self.state.records.get(address) else { continue };
            if self.departures.contains_key(instance) {
                continue;
            }
            let Some(terms) = self.terms(address, desired) else { continue };
            let phase = phase(record, &terms, self.options.now);
            if let Some((reason, repair)) = self.frozen.get(instance).cloned() {
                if asked == Asked::Now || matches!(phase, Phase::Due { .. } | Phase::Ending { .. })
                {
                    self.block_agent(address, reason, repair);
                }
                continue;
            }
            self.turn(address, desired, record, &phase, asked);
        }
    }

    fn turn(
        &mut self,
        address: &'a Address,
        desired: &'a Desired,
        record: &'a Record,
        phase: &Phase,
        asked: Asked,
    ) {
        let reason = match phase {
            Phase::Settling => {
                self.plan.in_doubt.insert(address.clone());
                return;
            }
            Phase::Ending { .. } => {
                self.end_older(address, record, phase);
                return;
            }
            Phase::Due { since, why: Why::Period } => match asked {
                Asked::Due => Reason::Due { since: *since },
                Asked::Now => Reason::Asked,
            },
            Phase::Due { why: Why::Compromised, .. } => {
                let generation = record.object.as_ref().and_then(|o| o.credential.as_ref());
                Reason::Compromised { generation: generation.map_or(0, |c| c.generation) }
            }
            Phase::Due { why: Why::Gap, .. } => Reason::Gap,
            Phase::Idle { .. } | Phase::Paused { .. } | Phase::Stopped { .. }
                if asked == Asked::Now =>
            {
                Reason::Asked
            }
            Phase::Overlap { .. } | Phase::Overdue { .. } if asked == Asked::Now => {
                self.block(
                    address,
                    "an older generation still stands beside the present one",
                    "wait for its end; a compromised one is ended at once by `rotate --compromised`",
                );
                return;
            }
            _ => return,
        };
        if let Reason::Gap = reason {
            let gap = record.rotation.as_ref().and_then(|rotation| rotation.gap.as_deref());
            if let Some(ended) = gap.filter(|ended| self.may_act(address, ended)) {
                self.make(address, desired, ended, Part::Make, &reason);
            }
            return;
        }
        let Some(object) = record.object.as_deref() else { return };
        let Some(real) = self.observation_of(address).map(|observed| &observed.object) else {
            self.note_unread(address, "it was not looked at");
            return;
        };
        let real = match real {
            Observation::Present(real) => real,
            Observation::Unread(why) => {
                self.note_unread(address, format!("it could not be read: {why}"));
                return;
            }
            // Whoever removed it meant to take access away.
            Observation::Absent => {
                self.block(
                    address,
                    "it was removed by somebody else, and is not given back unattended",
                    "plan, and acknowledge what it says",
                );
                return;
            }
        };
        if let Some(why) = &real.obstacle {
            self.block(address, format!("it cannot be changed: {why}"), IN_ITS_SYSTEM);
            return;
        }
        if !self.may_act(address, object) {
            return;
        }
        if self.at_once(object) == Some(AtOnce::One) || bug!("rotated with a gap") {
            let seen = Observation::Present(real.clone());
            let mut remove = steps::removal(address, object, reason.clone(), seen, &Access::NONE);
            remove.action = Action::Rotate;
            remove.part = Part::Remove;
            remove.source = Some(desired.source.clone());
            self.push(remove);
            self.make(address, desired, object, Part::Make, &reason);
        } else {
            self.make(address, desired, object, Part::Whole, &reason);
        }
    }

    fn make(
        &mut self,
        address: &'a Address,
        desired: &'a Desired,
        object: &Managed,
        part: Part,
        reason: &Reason,
    ) {
        let Some(credential) = &object.credential else { return };
        let mut make = steps::bare(address, object, Action::Rotate, reason.clone());
        let (generation, place) = (self.next_generation(address), credential.place.clone());
        make.target = Some(Target {
            credential: Some(CredentialTarget { generation, place }),
            ..steps::target_of(object)
        });
        make.part = part;
        make.source = Some(desired.source.clone());
        make.risk = Risk::Low;
        if part == Part::Make {
            make.notes.push(steps::GAP.into());
        }
        self.push(make);
    }

    /// Whether the identity of a credential may act: nobody gets a new one whom
    /// somebody suspended.
    fn may_act(&mut self, address: &'a Address, object: &Managed) -> bool {
        let owner = || {
            let ty = self.resource_type(&object.resource_type)?;
            let field = ty.owner_field()?;
            let link = ty.field(field)?.ty.link()?;
            let id = object.properties.get(field)?.as_text()?;
            let key = (id, link, object.provider.as_str());
            self.owners.get(&key).copied()
        };
        let Some(identity) = owner() else { return true };
        let why = match self.observation_of(identity).map(|observed| &observed.object) {
            Some(Observation::Present(real)) if !real.suspended => return true,
            Some(Observation::Present(_)) => "is suspended".to_owned(),
            Some(Observation::Absent) => "is gone".to_owned(),
            Some(Observation::Unread(why)) => format!("could not be read: {why}"),
            None => "was not looked at".to_owned(),
        };
        self.block(
            address,
            format!("its identity `{identity}` {why}"),
            "plan, and acknowledge what it says",
        );
        false
    }

    fn at_once(&self, object: &Managed) -> Option<AtOnce> {
        let capabilities = self.capabilities(&object.provider, &object.resource_type);
        capabilities.credential.map(|credential| credential.at_once)
    }

    /// The terms under which a desired credential is rotated; `None` where its
    /// provider says nothing of the type.
    fn terms(&self, address: &Address, desired: &Desired) -> Option<Terms> {
        let capabilities = self.capabilities(&desired.provider, desired.resource_type.name);
        let at_once = capabilities.credential.map(|credential| credential.at_once)?;
        Some(Terms::of(address, desired.credential.as_ref()?, at_once))
    }

    fn end_older(&mut self, address: &'a Address, record: &'a Record, phase: &Phase) {
        let Phase::Ending { generations, .. } = phase else { return };
        for old in &record.deposed {
            let credential = old.credential.as_ref();
            if credential.is_some_and(|credential| generations.contains_key(&credential.generation))
            {
                self.remove_deposed(address, record, old);
            }
        }
    }

    /// Whether an object that was replaced stands in its overlap, and nothing
    /// of this plan needs its room.
    pub(super) fn stands(&self, address: &Address, record: &Record, old: &Managed) -> bool {
        let generation = old.credential.as_ref().map(|credential| credential.generation);
        let overlaps = |generation: &u32| {
            record.rotation.as_ref().is_some_and(|r| r.overlap.contains_key(generation))
        };
        let Some(generation) = generation.filter(overlaps) else { return false };
        let Some(desired) = self.blueprint.resources().get(address) else { return false };
        let Some(terms) = self.terms(address, desired) else { return true };
        let ended = machine::ended(record, &terms, self.options.now);
        // One that somebody removed leaves its own room, and whoever has not
        // moved on from the older one has nothing else.
        let gone = record.object.is_some()
            && matches!(self.fresh.get(address), Some(Fresh::Created))
            && !desired.dependencies.iter().any(|needed| self.is_replaced(needed));
        let makes_room = self.fresh.contains_key(address) && !gone && terms.at_once != AtOnce::Many;
        !ended.contains_key(&generation) && !makes_room
    }

    fn is_replaced(&self, address: &Address) -> bool {
        let fresh = self.fresh.get(address);
        matches!(fresh, Some(Fresh::ReplacedCreateFirst | Fresh::ReplacedDeleteFirst))
    }

    /// Why an object that was replaced goes.
    pub(super) fn why_ended(&self, address: &Address, record: &Record, old: &Managed) -> Reason {
        let rotated = record.rotation.as_ref().map(|rotation| &rotation.overlap);
        let generation = old.credential.as_ref().map(|credential| credential.generation);
        let Some(generation) = generation.filter(|g| rotated.is_some_and(|r| r.contains_key(g)))
        else {
            return Reason::Deposed;
        };
        let desired = self.blueprint.resources().get(address);
        let terms = desired.and_then(|desired| self.terms(address, desired));
        let cut_off = terms
            .and_then(|terms| machine::ended(record, &terms, self.options.now).remove(&generation));
        Reason::Outlived { generation, cut_off: cut_off.unwrap_or_default() }
    }
}
