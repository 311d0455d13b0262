//! What keeps rotations apart: redundancy groups, of which never two members
//! are in transition at once, and what each provider takes in which time.
//!
//! Owns what of both follows from a blueprint and a state. That two runners
//! cannot pass each other is the ledger's: a plan rests on the versions of
//! all members of a group, and a run at a provider with a rate has a lease of
//! its own for it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Rate, terms::later};
use crate::{
    address::{Address, Instance},
    blueprint::Blueprint,
    ledger::{Record, State},
    plan::Action,
};

/// The redundancy groups of a fleet: their names and members.
#[derive(Clone, Debug, Default)]
pub struct Groups(BTreeMap<String, BTreeSet<Address>>);

impl Groups {
    /// Those of a blueprint.
    pub fn of(blueprint: &Blueprint) -> Self {
        let mut groups: BTreeMap<String, BTreeSet<Address>> = BTreeMap::new();
        for (address, desired) in blueprint.resources() {
            let group = desired.credential.as_ref().and_then(|c| c.policy.group.as_ref());
            if let Some(group) = group {
                groups.entry(group.clone()).or_default().insert(address.clone());
            }
        }
        Self(groups)
    }

    /// The members of a group.
    pub fn members(&self, group: &str) -> impl Iterator<Item = &Address> {
        self.0.get(group).into_iter().flatten()
    }

    /// The names of all groups.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The agents that share a group with one of these, with these.
    pub(crate) fn with_peers(
        &self,
        blueprint: &Blueprint,
        agents: &BTreeSet<Instance>,
    ) -> BTreeSet<Instance> {
        let of = |agent| blueprint.resources_of(agent).filter_map(|(_, d)| d.credential.as_ref());
        let groups: BTreeSet<&str> =
            agents.iter().flat_map(of).filter_map(|c| c.policy.group.as_deref()).collect();
        let peers = groups.into_iter().flat_map(|group| self.members(group));
        peers.map(Address::instance).chain(agents).cloned().collect()
    }
}

/// How many more rotations each provider that has a rate takes now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// How many, by the provider's name; the others take any number.
    pub left: BTreeMap<String, u32>,
    /// The last batch of the ledger that was counted.
    pub counted: u64,
}

impl Room {
    /// What is left at an instant, by what is recorded.
    pub fn of(rates: &BTreeMap<String, Rate>, state: &State, now: Timestamp) -> Self {
        let mut left: BTreeMap<String, u32> =
            rates.iter().map(|(provider, rate)| (provider.clone(), rate.rotations)).collect();
        for record in state.records.values().filter(|_| !rates.is_empty()) {
            let Some((provider, at)) = last_turn(record) else { continue };
            if rates.get(provider).is_some_and(|rate| now < passes(at, *rate))
                && let Some(left) = left.get_mut(provider)
            {
                *left = left.saturating_sub(1);
            }
        }
        Self { left, counted: state.head.sequence }
    }
}

/// When a rotation that began at an instant no longer counts.
pub(crate) fn passes(at: Timestamp, rate: Rate) -> Timestamp {
    later(at, std::time::Duration::from_secs(rate.seconds))
}

/// When a credential was last rotated, or tried to be, and at which provider;
/// the first generation was no rotation.
pub(crate) fn last_turn(record: &Record) -> Option<(&str, Timestamp)> {
    let open = record.open.as_ref().filter(|open| open.action == Action::Rotate);
    if let Some(open) = open.filter(|open| open.target.is_some() && !open.deposed) {
        return Some((&open.provider, open.begun_at));
    }
    let object = record.object.as_ref()?;
    let credential = object.credential.as_ref()?;
    let issued = credential.issued_at.filter(|_| credential.generation > 1);
    let failed = record.rotation.as_ref().and_then(|rotation| rotation.failed_at);
    Some((&object.provider, issued.max(failed)?))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_rotation_counts_for_as_long_as_the_rate_says() {
        let at: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let rate = Rate::parse("30/m").unwrap();
        assert_eq!(passes(at, rate), at + SignedDuration::from_mins(1));
        let rates = BTreeMap::from([("sim".to_owned(), rate)]);
        let room = Room::of(&rates, &State::default(), at);
        assert_eq!(room.left, BTreeMap::from([("sim".to_owned(), 30)]));
    }
}
