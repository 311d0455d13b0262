//! In which order steps run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Part, Reason, Step};
use crate::{address::Address, schema::Kind};

/// The steps of one address, by what they do to the object.
#[derive(Default)]
struct Of {
    /// Makes or changes the object.
    make: Option<usize>,
    /// Suspends it.
    suspend: Option<usize>,
    /// Lets it act again.
    resume: Option<usize>,
    /// Remove it, or objects that were replaced before and are still there.
    remove: Vec<usize>,
}

/// What each address needs, as it is desired and as it is recorded.
pub(super) struct Needs<'a> {
    pub(super) desired: BTreeMap<&'a Address, &'a BTreeSet<Address>>,
    pub(super) recorded: BTreeMap<&'a Address, &'a BTreeSet<Address>>,
}

/// Puts the steps into an order that respects what each waits for, and fills
/// in [`Step::after`].
///
/// An object is made after what it needs, and goes before it. A new object
/// stands before the old one goes where both can stand at once. What leaves is
/// suspended before anything of it is taken away, and loses its credentials
/// before its permissions.
pub(super) fn order(steps: Vec<Step>, needs: &Needs<'_>) -> Vec<Step> {
    let mut edges = vec![BTreeSet::new(); steps.len()];
    connect(&steps, needs, &mut edges);
    sort(steps, &edges)
}

fn connect(steps: &[Step], needs: &Needs<'_>, edges: &mut [BTreeSet<usize>]) {
    let mut by_address: BTreeMap<&Address, Of> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        let of = by_address.entry(&step.address).or_default();
        match (step.action, step.part) {
            (Action::Suspend, _) => of.suspend = Some(index),
            (Action::Resume, _) => of.resume = Some(index),
            (Action::Delete, _) | (_, Part::Remove) => of.remove.push(index),
            _ => of.make = Some(index),
        }
    }
    let mut wait = |index: Option<usize>, for_: Option<usize>| {
        if let (Some(index), Some(for_)) = (index, for_)
            && index != for_
        {
            edges[index].insert(for_);
        }
    };
    for of in by_address.values() {
        wait(of.resume, of.make);
        for remove in of.remove.iter().copied() {
            wait(Some(remove), of.suspend);
            // What was replaced by an earlier run is in nobody's way, but for
            // a system that has no room for another new one.
            if steps[remove].reason == Reason::Deposed {
                continue;
            }
            // The two halves of a replacement.
            if let Some(make) = of.make {
                if steps[make].action == Action::ReplaceDeleteFirst {
                    wait(Some(make), Some(remove));
                } else {
                    wait(Some(remove), Some(make));
                }
            }
        }
    }
    for (address, of) in &by_address {
        for needed in needs.desired.get(address).into_iter().flat_map(|needed| needed.iter()) {
            let Some(needed) = by_address.get(needed) else { continue };
            wait(of.make, needed.make);
            wait(of.make, needed.resume);
            // An old object goes only when what needs it has moved to the new.
            let create_first =
                needed.make.is_some_and(|m| steps[m].action == Action::ReplaceCreateFirst);
            if create_first {
                needed.remove.iter().for_each(|remove| wait(Some(*remove), of.make));
            }
        }
        for needed in needs.recorded.get(address).into_iter().flat_map(|needed| needed.iter()) {
            let Some(needed) = by_address.get(needed) else { continue };
            for remove in needed.remove.iter().copied() {
                if of.remove.is_empty() {
                    wait(Some(remove), of.make);
                }
                of.remove.iter().for_each(|before| wait(Some(remove), Some(*before)));
            }
            of.remove.iter().for_each(|remove| wait(Some(*remove), needed.suspend));
        }
    }
    safe_order_of_leaving(steps, &mut wait);
}

/// Within one agent, credentials go before permissions, and what was never
/// declared goes before the identity that it stands on.
fn safe_order_of_leaving(steps: &[Step], wait: &mut impl FnMut(Option<usize>, Option<usize>)) {
    let mut by_instance: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        if matches!(step.action, Action::Delete | Action::Suspend) {
            by_instance.entry(step.address.instance()).or_default().push(index);
        }
    }
    for indices in by_instance.values() {
        let of = |kind: Kind, action: Action| {
            indices
                .iter()
                .copied()
                .filter(move |i| steps[*i].kind == kind && steps[*i].action == action)
        };
        let undeclared = |index: usize| steps[index].address.is_undeclared();
        // An undeclared grant or key is no part of any recorded dependency.
        for identity in of(Kind::Identity, Action::Delete) {
            for kind in [Kind::Credential, Kind::Permission] {
                of(kind, Action::Delete)
                    .filter(|i| undeclared(*i))
                    .for_each(|i| wait(Some(identity), Some(i)));
            }
        }
        for suspended in of(Kind::Identity, Action::Suspend) {
            for kind in [Kind::Credential, Kind::Permission, Kind::Runtime] {
                of(kind, Action::Delete).for_each(|i| wait(Some(i), Some(suspended)));
            }
        }
        let leaves = of(Kind::Identity, Action::Suspend).next().is_some();
        if leaves {
            for permission in of(Kind::Permission, Action::Delete) {
                of(Kind::Credential, Action::Delete).for_each(|i| wait(Some(permission), Some(i)));
            }
        }
    }
}

/// Kahn's algorithm; among the steps that are ready, the one of the smallest
/// address comes first, so that the order is the same on every machine.
fn sort(steps: Vec<Step>, edges: &[BTreeSet<usize>]) -> Vec<Step> {
    let mut waiting: Vec<usize> = edges.iter().map(BTreeSet::len).collect();
    let mut followers = vec![Vec::new(); steps.len()];
    for (index, before) in edges.iter().enumerate() {
        for b in before {
            followers[*b].push(index);
        }
    }
    let name = |index: usize| {
        let step = &steps[index];
        // What was replaced goes first, to make room for another new one.
        (&step.address, step.reason != Reason::Deposed, step.part, step.action, index)
    };
    let mut ready: BTreeSet<_> = (0..steps.len()).filter(|i| waiting[*i] == 0).map(name).collect();
    let mut position = vec![usize::MAX; steps.len()];
    let mut sequence = Vec::with_capacity(steps.len());
    while let Some((.., index)) = ready.pop_first() {
        position[index] = sequence.len();
        sequence.push(index);
        for follower in &followers[index] {
            waiting[*follower] -= 1;
            if waiting[*follower] == 0 {
                ready.insert(name(*follower));
            }
        }
    }
    // The planner's edges follow dependencies without cycles, so all are
    // reached; should one not be, running nothing of it is the safe end.
    let mut slots: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    sequence
        .into_iter()
        .filter_map(|index| {
            let mut step = slots[index].take()?;
            step.after = edges[index].iter().map(|before| position[*before]).collect();
            Some(step)
        })
        .collect()
}
