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

    /// The steps of the same address that were neither taken nor skipped: with
    /// one in doubt, nothing is known that they could act on. They are skipped.
    pub(super) fn doubted(&mut self, index: usize, ended: &BTreeSet<usize>) -> Vec<usize> {
        let same = |other: &usize| self.addresses[*other] == self.addresses[index];
        let others: Vec<usize> = (0..self.addresses.len())
            .filter(same)
            .filter(|other| *other != index && !ended.contains(other))
            .filter(|other| !self.skipped.contains(other))
            .collect();
        for other in &others {
            self.skipped.insert(*other);
            self.ready.values_mut().for_each(|steps| drop(steps.remove(other)));
        }
        self.ready.retain(|_, steps| !steps.is_empty());
        others
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
    use proptest::prelude::*;

    use super::*;
    use crate::{
        access::AccessChange,
        plan::{Action, Part, Reason, Risk},
        provider::Observation,
        schema::Kind,
    };

    fn step(provider: &str, ty: &str, after: &[usize]) -> Step {
        Step {
            address: "a.b".parse().unwrap(),
            resource_type: ty.into(),
            kind: Kind::Identity,
            provider: provider.into(),
            action: Action::Create,
            part: Part::Whole,
            reason: Reason::Declared,
            source: None,
            because: None,
            changes: Vec::new(),
            access: AccessChange::default(),
            risk: Risk::Low,
            notes: Vec::new(),
            id: None,
            seen: Observation::Absent,
            target: None,
            retires: None,
            after: after.iter().copied().collect(),
        }
    }

    /// Steps that each have an address of their own.
    fn apart<const N: usize>(mut steps: [Step; N]) -> [Step; N] {
        for (index, step) in steps.iter_mut().enumerate() {
            step.address = format!("a.r{index}").parse().unwrap();
        }
        steps
    }

    fn next(schedule: &mut Schedule) -> Option<Vec<usize>> {
        schedule.next_batch(|_, _| 2, |_| 1)
    }

    #[test]
    fn batches_are_of_one_type_and_no_larger_than_the_provider_takes() {
        let steps = apart([
            step("p", "t", &[]),
            step("p", "u", &[]),
            step("p", "t", &[]),
            step("p", "t", &[]),
        ]);
        let mut schedule = Schedule::new(&steps);
        assert_eq!(next(&mut schedule), Some(vec![0, 2]));
        assert_eq!(next(&mut schedule), None, "one batch at a time for this provider");
        schedule.free("p", [].into_iter());
        assert_eq!(next(&mut schedule), Some(vec![3]));
        schedule.free("p", [].into_iter());
        assert_eq!(next(&mut schedule), Some(vec![1]));
    }

    #[test]
    fn a_provider_that_is_busy_holds_no_other_up() {
        let steps = apart([
            step("p", "t", &[]),
            step("p", "t", &[]),
            step("p", "t", &[]),
            step("q", "t", &[]),
        ]);
        let mut schedule = Schedule::new(&steps);
        assert_eq!(next(&mut schedule), Some(vec![0, 1]));
        assert_eq!(next(&mut schedule), Some(vec![3]));
        assert_eq!(next(&mut schedule), None);
    }

    #[test]
    fn a_step_is_ready_when_all_that_it_waits_for_is_done_and_not_before() {
        let steps = apart([step("p", "t", &[]), step("q", "t", &[]), step("p", "u", &[0, 1])]);
        let mut schedule = Schedule::new(&steps);
        assert_eq!(next(&mut schedule), Some(vec![0]));
        assert_eq!(next(&mut schedule), Some(vec![1]));
        schedule.free("p", [].into_iter());
        schedule.done(0, &steps);
        assert_eq!(next(&mut schedule), None);
        schedule.done(1, &steps);
        assert_eq!(next(&mut schedule), Some(vec![2]));
    }

    #[test]
    fn a_failure_skips_what_depends_on_it_by_whatever_way_once() {
        let steps = apart([
            step("p", "t", &[]),
            step("p", "u", &[0]),
            step("p", "u", &[1]),
            step("p", "u", &[0, 4]),
            step("p", "t", &[]),
        ]);
        let mut schedule = Schedule::new(&steps);
        assert_eq!(next(&mut schedule), Some(vec![0, 4]));
        assert_eq!(schedule.failed(0), [1, 2, 3]);
        schedule.done(4, &steps);
        schedule.free("p", [].into_iter());
        assert_eq!(next(&mut schedule), None, "what was skipped is never ready");
        assert!(schedule.failed(4).is_empty(), "and is skipped once");
    }

    #[test]
    fn a_stop_leaves_out_everything_that_was_not_taken() {
        let steps = apart([step("p", "t", &[]), step("p", "u", &[]), step("p", "u", &[0])]);
        let mut schedule = Schedule::new(&steps);
        assert_eq!(next(&mut schedule), Some(vec![0]));
        schedule.done(0, &steps);
        assert_eq!(schedule.drain(&BTreeSet::from([0])), [1, 2]);
        schedule.free("p", [].into_iter());
        assert_eq!(next(&mut schedule), None);
    }

    #[test]
    fn a_step_that_was_recorded_at_the_begin_is_not_taken_again() {
        let steps = apart([step("p", "t", &[]), step("p", "t", &[0])]);
        let mut schedule = Schedule::new(&steps);
        schedule.done(0, &steps);
        assert_eq!(next(&mut schedule), Some(vec![1]));
    }

    #[test]
    fn two_steps_of_one_address_are_never_under_way_together() {
        let mut steps = [step("sim", "key", &[]), step("sim", "key", &[]), step("sim", "key", &[])];
        steps[2].address = "b.key".parse().unwrap();
        let mut schedule = Schedule::new(&steps);
        assert_eq!(schedule.next_batch(|_, _| 10, |_| 10), Some(vec![0, 2]));
        assert_eq!(schedule.next_batch(|_, _| 10, |_| 10), None);
        schedule.free("sim", [0, 2].into_iter());
        schedule.done(0, &steps);
        assert_eq!(schedule.next_batch(|_, _| 10, |_| 10), Some(vec![1]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_step_is_taken_or_skipped_once_and_after_what_it_waits_for(
            nodes in proptest::collection::vec((0..2usize, 0..2usize, proptest::collection::vec(0..12usize, 0..3), any::<bool>()), 1..12),
            limit in 1..4usize,
            concurrent in 1..3usize,
        ) {
            let steps: Vec<Step> = nodes
                .iter()
                .enumerate()
                .map(|(index, (provider, ty, after, _))| {
                    let after: Vec<usize> = after.iter().copied().filter(|a| *a < index).collect();
                    let address = format!("a.r{index}").parse().unwrap();
                    Step { address, ..step(["p", "q"][*provider], ["t", "u"][*ty], &after) }
                })
                .collect();
            let fails = |index: usize| nodes[index].3;
            let mut schedule = Schedule::new(&steps);
            let (mut done, mut not_done) = (BTreeSet::new(), BTreeSet::new());
            let mut running: Vec<Vec<usize>> = Vec::new();
            loop {
                while let Some(batch) = schedule.next_batch(|_, _| limit, |_| concurrent) {
                    prop_assert!(batch.len() <= limit && !batch.is_empty());
                    for index in &batch {
                        prop_assert!(steps[*index].after.is_subset(&done));
                        let same = |a: &usize, b: &usize| (&steps[*a].provider, &steps[*a].resource_type) == (&steps[*b].provider, &steps[*b].resource_type);
                        prop_assert!(same(index, &batch[0]));
                    }
                    running.push(batch);
                    for provider in ["p", "q"] {
                        let of = running.iter().filter(|batch| steps[batch[0]].provider == provider).count();
                        prop_assert!(of <= concurrent);
                    }
                }
                let Some(batch) = running.pop() else { break };
                schedule.free(&steps[batch[0]].provider, batch.iter().copied());
                for index in batch {
                    prop_assert!(!done.contains(&index) && !not_done.contains(&index));
                    if fails(index) {
                        not_done.insert(index);
                        for skipped in schedule.failed(index) {
                            prop_assert!(not_done.insert(skipped), "skipped once");
                        }
                    } else {
                        done.insert(index);
                        schedule.done(index, &steps);
                    }
                }
            }
            prop_assert_eq!(done.len() + not_done.len(), steps.len());
            for index in &not_done {
                prop_assert!(fails(*index) || steps[*index].after.iter().any(|a| not_done.contains(a)));
            }
        }
    }
}
