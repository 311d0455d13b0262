//! Which steps run next. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::Step;

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
                !steps.is_empty() && running < concurrent(provider).max(1)
            })
            .map(|(queue, _)| queue.clone())?;
        let steps = self.ready.get_mut(&queue)?;
        let mut batch = Vec::new();
        while batch.len() < limit(&queue.0, &queue.1).max(1) {
            match steps.pop_first() {
                Some(index) => batch.push(index),
                None => break,
            }
        }
        if steps.is_empty() {
            self.ready.remove(&queue);
        }
        *self.running.entry(queue.0).or_default() += 1;
        Some(batch)
    }

    /// A batch of this provider has ended.
    pub(super) fn free(&mut self, provider: &str) {
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
