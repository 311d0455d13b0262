//! When agents have to be looked at because their time is over. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    address::Instance,
    apply::{Outcome, Report},
    blueprint::Blueprint,
    fleet::Standing,
    ledger::AgentRecord,
    plan::Blocked,
    rotation::later,
};

/// When an agent whose last day is over has to be looked at again.
pub(super) fn wakes(agent: &AgentRecord) -> Option<Timestamp> {
    match agent.leaving {
        None => Some(Timestamp::MIN),
        Some(leaving) if leaving.ended => None,
        Some(leaving) => Some(later(leaving.since, Duration::from_secs(agent.grace.as_seconds()))),
    }
}

pub(super) fn hold_end(agent: Option<&AgentRecord>) -> Timestamp {
    let hold = agent.and_then(|agent| agent.hold.as_ref());
    hold.map_or(Timestamp::MIN, |hold| hold.until)
}

/// Why something of an agent stays, where it does.
pub(super) fn why_it_stays(
    instance: &Instance,
    report: &Report,
    blocked: &[Blocked],
) -> Option<String> {
    let steps = report.steps.iter().filter(|step| step.address.instance() == instance);
    let mut failed = steps.filter_map(|step| match &step.outcome {
        Outcome::Failed(error) | Outcome::InDoubt(error) => Some(error.chain()),
        Outcome::Skipped { because } => Some(format!("{}: {because}", step.address)),
        Outcome::Done | Outcome::Unproved(_) => None,
    });
    let mut blocked = blocked.iter().filter(|blocked| blocked.address.instance() == instance);
    failed.next().or_else(|| {
        let Blocked { address, reason, repair } = blocked.next()?;
        Some(format!("{address}: {reason} ({repair})"))
    })
}

/// When agents have to be looked at because of their end.
#[derive(Debug, Default)]
pub(super) struct Ends {
    wakes: BTreeMap<Instance, Timestamp>,
    queue: BTreeSet<(Timestamp, Instance)>,
    /// The ends of last days, as declared.
    last_days: BTreeSet<(Timestamp, Instance)>,
}

impl Ends {
    pub(super) fn of(blueprint: &Blueprint) -> Self {
        let mut ends = Self::default();
        for (instance, agent) in blueprint.agents() {
            let last_day = Standing::default().until(agent.expires);
            if let Some(end) = last_day.ends() {
                ends.note(instance, Some(end));
                ends.last_days.insert((end, instance.clone()));
            }
        }
        ends
    }

    pub(super) fn note(&mut self, instance: &Instance, wakes: Option<Timestamp>) {
        let before = match wakes {
            Some(at) => self.wakes.insert(instance.clone(), at),
            None => self.wakes.remove(instance),
        };
        if let Some(before) = before {
            self.queue.remove(&(before, instance.clone()));
        }
        if let Some(at) = wakes {
            self.queue.insert((at, instance.clone()));
        }
    }

    pub(super) fn wakes(&self, instance: &Instance) -> Option<Timestamp> {
        self.wakes.get(instance).copied()
    }

    pub(super) fn due(&self, now: Timestamp) -> BTreeSet<Instance> {
        let due = self.queue.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, instance)| instance.clone()).collect()
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The last days that are over after one time and not after another.
    pub(super) fn last_days(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = &(Timestamp, Instance)> {
        let behind = self.last_days.iter().skip_while(move |(end, _)| *end <= from);
        behind.take_while(move |(end, _)| *end <= to)
    }
}
