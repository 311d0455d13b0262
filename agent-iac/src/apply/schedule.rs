//! Which steps run next. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{address::Address, plan::Step};

/// Steps that wait for others, grouped into batches as they become ready.
///
/// There are no waves: what is ready when a provider is free goes to it.
pub(super) struct Schedule {
    waiting: Vec<usize>,
    followers: Vec<Vec<usize>>,
    ready: BTreeMap<(String, String), BTreeSet<usize>>,
    /// Batches under way, by provider.
    running: BTreeMap<String, usize>,
    skipped: BTreeSet<usize>,
    addresses: Vec<Address>,
    /// Addresses with a step under way. Two steps of one address change one
    /// record, so the second rests on what the first one leaves.
    busy: BTreeSet<Address>,
}

impl Schedule {
    pub(super) fn new(steps: &[Step]) -> Self {
        let mut followers = vec![Vec::new(); steps.len()];
        for (index, step) in steps.iter().enumerate() {
            step.after.iter().for_each(|before| followers[*before].push(index));
        }
        let mut schedule = Self {
            waiting: steps.iter().map(|step| step.after.len()).collect(),
            followers,
            ready: BTreeMap::new(),
            running: BTreeMap::new(),
            skipped: BTreeSet::new(),
            addresses: steps.iter().map(|step| step.address.clone()).collect(),
            busy: BTreeSet::new(),
        };
        for (index, step) in steps.iter().enumerate() {
            if schedule.waiting[index] == 0 {
                schedule.make_ready(index, step);
            }
        }
        schedule
    }

    fn make_ready(&mut self, index: usize, step: &Step) {
        let queue = (step.provider.clone(), step.resource_type.clone());
        self.ready.entry(queue).or_default().insert(index);
    }

    /// Takes the next batch of one type: of at most `limit` steps, for a
    /// provider with fewer than `concurrent` batches under way.
    pub(super) fn next_batch(
        &mut self,
        limit: impl Fn(&str, &str) -> usize,
        concurrent: impl Fn(&str) -> usize,
    ) -> Option<Vec<usize>> {
        let queue = self
            .ready
            .iter()
            .find(|((provider, _), steps)| {
                let running = self.running.get(provider).copied().unwrap_or_default();
                running < concurrent(provider).max(1)
                    && steps.iter().any(|index| !self.busy.contains(&self.addresses[*index]))
            })
            .map(|(queue, _)| queue.clone())?;
        let steps = self.ready.get_mut(&queue)?;
        let limit = limit(&queue.0, &queue.1).max(1);
        let mut batch = Vec::new();
        for index in steps.iter().copied() {
            if batch.len() == limit {
                break;
            }
            if self.busy.insert(self.addresses[index].clone()) {
                batch.push(index);
            }
        }
        for index in &batch {
            steps.remove(index);
        }
        if steps.is_empty() {
            self.ready.remove(&queue);
        }
        *self.running.entry(queue.0).or_default() += 1;
        Some(batch)
    }

    /// A batch of this provider has ended, with these steps.
    pub(super) fn free(&mut self, provider: &str, steps: impl Iterator<Item = usize>) {
        for index in steps {
            self.busy.remove(&self.addresses[index]);
        }
        if let Some(running) = self.running.get_mut(provider) {
            *running -= 1;
        }
    }

    /// A step was done, in a batch or otherwise: what waited for it alone is
    /// ready.
    pub(super) fn done(&mut self, index: usize, steps: &[Step]) {
        let queue = (steps[index].provider.clone(), steps[index].resource_type.clone());
        if let Some(ready) = self.ready.get_mut(&queue) {
            ready.remove(&index);
        }
        for follower in std::mem::take(&mut self.followers[index]) {
            self.waiting[follower] -= 1;
            if self.waiting[follower] == 0 && !self.skipped.contains(&follower) {
                self.make_ready(follower, &steps[follower]);
            }
        }
    }

    /// A step was not done: what depends on it, by whatever way, is skipped,
    /// and given back in order.
    pub(super) fn failed(&mut self, index: usize) -> Vec<usize> {
        let mut open = vec![index];
        let mut skipped = BTreeSet::new();
        while let Some(next) = open.pop() {
            for follower in &self.followers[next] {
                if self.skipped.insert(*follower) {
                    skipped.insert(*follower);
                    open.push(*follower);
                }
            }
        }
        skipped.into_iter().collect()
    }

    /// Everything that was not taken, when the run is told to stop.
    pub(super) fn drain(&mut self, ended: &BTreeSet<usize>) -> Vec<usize> {
        self.ready.clear();
        (0..self.waiting.len())
            .filter(|index| !ended.contains(index) && self.skipped.insert(*index))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::AccessChange,
        plan::{Action, Part, Reason, Risk},
        provider::Observation,
        schema::Kind,
    };

    fn removal(address: &str, id: &str) -> Step {
        Step {
            address: address.parse().unwrap(),
            resource_type: "sim.key".into(),
            kind: Kind::Credential,
            provider: "sim".into(),
            action: Action::Delete,
            part: Part::Whole,
            reason: Reason::NotDeclared,
            source: None,
            because: None,
            changes: Vec::new(),
            access: AccessChange::default(),
            risk: Risk::Narrows,
            notes: Vec::new(),
            id: Some(id.into()),
            seen: Observation::Absent,
            target: None,
            retires: None,
            after: BTreeSet::new(),
        }
    }

    #[test]
    fn two_steps_of_one_address_are_never_under_way_together() {
        let steps = [removal("a.key", "1"), removal("a.key", "2"), removal("b.key", "3")];
        let mut schedule = Schedule::new(&steps);
        assert_eq!(schedule.next_batch(|_, _| 10, |_| 10), Some(vec![0, 2]));
        assert_eq!(schedule.next_batch(|_, _| 10, |_| 10), None);
        schedule.free("sim", [0, 2].into_iter());
        schedule.done(0, &steps);
        assert_eq!(schedule.next_batch(|_, _| 10, |_| 10), Some(vec![1]));
    }
}
