//! In which order steps run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Part, Reason, Step};
use crate::{address::Address, bugs::bug, schema::Kind};

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
    /// Whose new object takes the natural key of one that was replaced before.
    pub(super) returning: BTreeSet<&'a Address>,
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
    for (address, of) in &by_address {
        wait(of.resume, of.make);
        let returns = needs.returning.contains(address);
        for remove in of.remove.iter().copied() {
            wait(Some(remove), of.suspend);
            // What was replaced by an earlier run is in nobody's way, but for
            // a system that has no room for another new one, and for a new one
            // that is called the same.
            if steps[remove].reason.ends_an_older_one() {
                if returns {
                    wait(of.make, Some(remove));
                }
                continue;
            }
            // The two halves of a replacement.
            if let Some(make) = of.make {
                if matches!(steps[make].action, Action::ReplaceDeleteFirst | Action::Rotate) {
                    wait(Some(make), Some(remove));
                } else if !(bug!("revoked before delivered")
                    && steps[make].kind == Kind::Credential)
                {
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
        for name in needs.recorded.get(address).into_iter().flat_map(|needed| needed.iter()) {
            let Some(needed) = by_address.get(name) else { continue };
            // Where the old object goes before the new one is made, what stays
            // and only points to it can follow no sooner than the new stands.
            let delete_first = needs.returning.contains(name)
                || needed.make.is_some_and(|m| steps[m].action == Action::ReplaceDeleteFirst);
            for remove in needed.remove.iter().copied() {
                if of.remove.is_empty() && !delete_first {
                    wait(Some(remove), of.make);
                }
                of.remove.iter().for_each(|before| wait(Some(remove), Some(*before)));
            }
            of.remove.iter().for_each(|remove| wait(Some(*remove), needed.suspend));
        }
    }
    safe_order_of_leaving(steps, &mut wait);
    for of in by_address.values() {
        let Some(make) = of.make.filter(|make| steps[*make].reason == Reason::Gone) else {
            continue;
        };
        // The older one is all that is left of what somebody removed, so it
        // goes last, unless the new one cannot be made while it stands.
        for remove in of.remove.iter().copied() {
            let outlived = matches!(steps[remove].reason, Reason::Outlived { .. });
            if outlived && !waits(edges, make, remove) {
                edges[remove].insert(make);
            }
        }
    }
}

/// Whether a step waits for another, over others or directly.
fn waits(edges: &[BTreeSet<usize>], step: usize, for_: usize) -> bool {
    let (mut open, mut seen) = (vec![step], BTreeSet::from([step]));
    while let Some(next) = open.pop() {
        if next == for_ {
            return true;
        }
        open.extend(edges[next].iter().copied().filter(|before| seen.insert(*before)));
    }
    false
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
        (&step.address, !step.reason.ends_an_older_one(), step.part, step.action, index)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{access::AccessChange, address::Instance, plan::Risk, provider::Observation};

    fn address(number: usize) -> Address {
        Instance::new("a").unwrap().resource(format!("r{number}")).unwrap()
    }

    fn step(number: usize, action: Action, part: Part) -> Step {
        Step {
            address: address(number),
            resource_type: "sim.account".into(),
            kind: Kind::Runtime,
            provider: "sim".into(),
            action,
            part,
            reason: Reason::Differs,
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
            after: BTreeSet::new(),
        }
    }

    /// What happens to one resource.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fate {
        Stays,
        Made,
        Changed,
        Removed,
        CreateFirst,
        DeleteFirst,
    }

    impl Fate {
        fn steps(self, number: usize) -> Vec<Step> {
            let one = |action| vec![step(number, action, Part::Whole)];
            let two =
                |action| vec![step(number, action, Part::Remove), step(number, action, Part::Make)];
            match self {
                Self::Stays => Vec::new(),
                Self::Made => one(Action::Create),
                Self::Changed => one(Action::Update),
                Self::Removed => one(Action::Delete),
                Self::CreateFirst => two(Action::ReplaceCreateFirst),
                Self::DeleteFirst => two(Action::ReplaceDeleteFirst),
            }
        }
    }

    /// A graph in which each resource needs some before it, and a fate for each
    /// that a planner could give: what needs a replaced one is replaced itself
    /// in the same order or changed, and what needs a removed one goes too.
    fn graphs() -> impl Strategy<Value = Vec<(Fate, BTreeSet<usize>)>> {
        let node = (any::<u8>(), proptest::collection::btree_set(0..8usize, 0..4));
        proptest::collection::vec(node, 1..9).prop_map(|nodes| {
            let mut graph: Vec<(Fate, BTreeSet<usize>)> = Vec::new();
            for (number, (seed, needs)) in nodes.into_iter().enumerate() {
                let needs: BTreeSet<usize> = needs.into_iter().filter(|n| *n < number).collect();
                let has = |fate: Fate| needs.iter().any(|n| graph[*n].0 == fate);
                let fate = if has(Fate::Removed) {
                    Fate::Removed
                } else if has(Fate::DeleteFirst) {
                    [Fate::DeleteFirst, Fate::Made, Fate::Removed][usize::from(seed % 3)]
                } else if has(Fate::CreateFirst) {
                    [Fate::CreateFirst, Fate::Changed, Fate::Made, Fate::DeleteFirst, Fate::Removed]
                        [usize::from(seed % 5)]
                } else if has(Fate::Made) {
                    [Fate::Made, Fate::Changed, Fate::CreateFirst, Fate::DeleteFirst, Fate::Removed]
                        [usize::from(seed % 5)]
                } else {
                    [
                        Fate::Stays,
                        Fate::Made,
                        Fate::Changed,
                        Fate::Removed,
                        Fate::CreateFirst,
                        Fate::DeleteFirst,
                    ][usize::from(seed % 6)]
                };
                graph.push((fate, needs));
            }
            graph
        })
    }

    fn ordered(graph: &[(Fate, BTreeSet<usize>)]) -> Vec<Step> {
        let needs: BTreeMap<Address, BTreeSet<Address>> = graph
            .iter()
            .enumerate()
            .map(|(number, (_, needs))| {
                (address(number), needs.iter().map(|n| address(*n)).collect())
            })
            .collect();
        let of = |kept: &dyn Fn(Fate) -> bool| {
            needs
                .iter()
                .zip(graph)
                .filter(|(_, (fate, _))| kept(*fate))
                .map(|(needs, _)| needs)
                .collect()
        };
        let needs = Needs {
            desired: of(&|fate| fate != Fate::Removed),
            recorded: of(&|fate| fate != Fate::Made),
            returning: BTreeSet::new(),
        };
        let steps = graph.iter().enumerate().flat_map(|(n, (fate, _))| fate.steps(n)).collect();
        order(steps, &needs)
    }

    /// Carries the steps out one by one on a system that refuses to make what
    /// lacks something it needs, and to remove what something needs. It knows
    /// nothing of edges: `old` and `new` are the two objects of an address.
    fn carry_out(graph: &[(Fate, BTreeSet<usize>)], steps: &[&Step]) -> Result<(), String> {
        let exists_before = |fate: Fate| fate != Fate::Made;
        let mut old: Vec<bool> = graph.iter().map(|(fate, _)| exists_before(*fate)).collect();
        let mut new: Vec<bool> = vec![false; graph.len()];
        // What an existing object points to: true is the new one.
        let mut moved = vec![false; graph.len()];
        for step in steps {
            let number = (0..graph.len()).find(|n| address(*n) == step.address).unwrap();
            let (fate, needs) = &graph[number];
            let removes = step.action == Action::Delete || step.part == Part::Remove;
            let replaced =
                |n: usize| matches!(graph[n].0, Fate::CreateFirst | Fate::DeleteFirst | Fate::Made);
            if removes {
                for (other, (_, of)) in graph.iter().enumerate() {
                    let points_here = of.contains(&number) && other != number;
                    if points_here && old[other] && !moved[other] {
                        return Err(format!("r{other} still points to r{number}"));
                    }
                }
                if step.action == Action::ReplaceDeleteFirst && new[number] {
                    return Err(format!("the new r{number} stands already"));
                }
                if step.action == Action::ReplaceCreateFirst && !new[number] {
                    return Err(format!("the new r{number} does not stand yet"));
                }
                old[number] = false;
            } else {
                for needed in needs {
                    let stands = if replaced(*needed) { new[*needed] } else { old[*needed] };
                    if !stands {
                        return Err(format!("r{number} needs r{needed}"));
                    }
                }
                if *fate == Fate::Changed {
                    moved[number] = true;
                } else {
                    if *fate == Fate::DeleteFirst && old[number] {
                        return Err(format!("the old r{number} stands still"));
                    }
                    new[number] = true;
                }
            }
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_order_that_the_edges_allow_is_one_that_a_system_takes(
            graph in graphs(),
            choices in proptest::collection::vec(any::<usize>(), 40),
        ) {
            let steps = ordered(&graph);
            let expected: usize = graph.iter().enumerate().map(|(n, (fate, _))| fate.steps(n).len()).sum();
            prop_assert_eq!(steps.len(), expected, "no step is lost");
            for (index, step) in steps.iter().enumerate() {
                prop_assert!(step.after.iter().all(|before| *before < index), "the list itself is in order");
            }
            // Any sequence that the edges allow, chosen at random.
            let mut done: BTreeSet<usize> = BTreeSet::new();
            let mut sequence = Vec::new();
            for choice in &choices {
                let ready: Vec<usize> = (0..steps.len())
                    .filter(|n| !done.contains(n) && steps[*n].after.is_subset(&done))
                    .collect();
                if ready.is_empty() {
                    break;
                }
                let next = ready[choice % ready.len()];
                done.insert(next);
                sequence.push(&steps[next]);
            }
            prop_assert_eq!(sequence.len(), steps.len());
            let carried = carry_out(&graph, &sequence);
            prop_assert!(carried.is_ok(), "{:?} in {:?}", carried, graph);
        }

        #[test]
        fn the_order_in_which_steps_were_decided_makes_no_difference(graph in graphs()) {
            let steps = ordered(&graph);
            let names = |steps: &[Step]| -> Vec<_> {
                steps.iter().map(|s| (s.address.clone(), s.part, s.action, s.after.clone())).collect()
            };
            let needs: BTreeMap<Address, BTreeSet<Address>> = graph
                .iter()
                .enumerate()
                .map(|(n, (_, needs))| (address(n), needs.iter().map(|n| address(*n)).collect()))
                .collect();
            let of = |kept: &dyn Fn(Fate) -> bool| {
                needs.iter().zip(&graph).filter(|(_, (fate, _))| kept(*fate)).map(|(n, _)| n).collect()
            };
            let reversed = order(
                steps.iter().rev().cloned().collect(),
                &Needs {
                    desired: of(&|fate| fate != Fate::Removed),
                    recorded: of(&|fate| fate != Fate::Made),
                    returning: BTreeSet::new(),
                },
            );
            prop_assert_eq!(names(&reversed), names(&steps));
        }
    }

    #[test]
    fn what_leaves_is_suspended_then_loses_its_credentials_then_its_permissions() {
        let of = |name: &str, kind: Kind, action: Action| Step {
            address: Instance::new("a").unwrap().resource(name).unwrap(),
            kind,
            ..step(0, action, Part::Whole)
        };
        let account = Instance::new("a").unwrap().resource("account").unwrap();
        let needs_account = BTreeSet::from([account.clone()]);
        let (grant, key) = (
            account.instance().resource("grant").unwrap(),
            account.instance().resource("key").unwrap(),
        );
        let steps = vec![
            of("account", Kind::Identity, Action::Delete),
            of("grant", Kind::Permission, Action::Delete),
            of("key", Kind::Credential, Action::Delete),
            of("account", Kind::Identity, Action::Suspend),
        ];
        let recorded = BTreeMap::from([(&grant, &needs_account), (&key, &needs_account)]);
        let ordered =
            order(steps, &Needs { desired: BTreeMap::new(), recorded, returning: BTreeSet::new() });
        let names: Vec<String> =
            ordered.iter().map(|s| format!("{} {}", s.action, s.address)).collect();
        assert_eq!(
            names,
            ["suspend a.account", "delete a.key", "delete a.grant", "delete a.account"]
        );
    }
}
