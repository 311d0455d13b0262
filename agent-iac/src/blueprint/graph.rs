//! The order of things that need each other.

use std::collections::{BTreeMap, BTreeSet};

/// Things, each after all that it needs; the smallest of those that are ready
/// comes first. What is part of a cycle, or needs what is, is left out.
pub(super) fn in_order_of_need<'a, K: Ord, V>(
    things: &'a BTreeMap<K, V>,
    needs: impl Fn(&'a V) -> &'a BTreeSet<K>,
) -> Vec<(&'a K, &'a V)> {
    let sorted: Vec<(&K, &V)> = things.iter().collect();
    let mut waiting = vec![0; sorted.len()];
    let mut followers = vec![Vec::new(); sorted.len()];
    for (index, (_, thing)) in sorted.iter().enumerate() {
        for needed in needs(thing) {
            if let Ok(needed) = sorted.binary_search_by(|(key, _)| (*key).cmp(needed)) {
                followers[needed].push(index);
                waiting[index] += 1;
            }
        }
    }
    let mut ready: BTreeSet<usize> =
        (0..sorted.len()).filter(|index| waiting[*index] == 0).collect();
    let mut order = Vec::with_capacity(sorted.len());
    while let Some(index) = ready.pop_first() {
        order.push(sorted[index]);
        for follower in &followers[index] {
            waiting[*follower] -= 1;
            if waiting[*follower] == 0 {
                ready.insert(*follower);
            }
        }
    }
    order
}

/// Finds one cycle among things that need others, as the list of its members
/// in order; the last needs the first.
///
/// It is iterative, so that a hostile chain of references cannot exhaust the
/// stack, and linear in nodes and edges.
pub fn find_cycle<'a, T: Ord>(needs: &'a BTreeMap<T, BTreeSet<T>>) -> Option<Vec<&'a T>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Open,
        Done,
    }
    let mut marks: BTreeMap<&'a T, Mark> = BTreeMap::new();
    for start in needs.keys() {
        if marks.contains_key(start) {
            continue;
        }
        let mut path = vec![(start, needs[start].iter())];
        marks.insert(start, Mark::Open);
        while let Some((node, rest)) = path.last_mut() {
            let node: &'a T = node;
            match rest.next() {
                None => {
                    marks.insert(node, Mark::Done);
                    path.pop();
                }
                Some(next) => match marks.get(next) {
                    Some(Mark::Done) => {}
                    Some(Mark::Open) => {
                        let from = path.iter().position(|(n, _)| *n == next).unwrap_or(0);
                        return Some(path[from..].iter().map(|(n, _)| *n).collect());
                    }
                    None => {
                        if let Some((key, needed)) = needs.get_key_value(next) {
                            marks.insert(key, Mark::Open);
                            path.push((key, needed.iter()));
                        }
                    }
                },
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(text: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for edge in text.split_whitespace() {
            let (from, to) = edge.split_once('>').unwrap();
            graph.entry(from.into()).or_default().insert(to.into());
            graph.entry(to.into()).or_default();
        }
        graph
    }

    #[track_caller]
    fn check(edges: &str, expected: Option<&str>) {
        let graph = graph(edges);
        let found = find_cycle(&graph)
            .map(|cycle| cycle.into_iter().cloned().collect::<Vec<_>>().join(" "));
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn a_cycle_is_found_whole_and_a_diamond_is_none() {
        check("a>b b>c c>a", Some("a b c"));
        check("a>b a>c b>d c>d", None);
        check("a>a", Some("a"));
        check("a>b b>c c>d d>b", Some("b c d"));
        check("", None);
    }

    #[test]
    fn what_is_needed_comes_first_and_a_cycle_never() {
        let order = |edges: &str| {
            let graph = graph(edges);
            let order = in_order_of_need(&graph, |needs| needs);
            order.into_iter().map(|(key, _)| key.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(order("a>b a>c b>d c>d e>c"), "d b c a e");
        assert_eq!(order("a>b b>a c>a d>e"), "e d");
        assert_eq!(order(""), "");
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_does_not_exhaust_the_stack() {
        let needs: BTreeMap<u32, BTreeSet<u32>> =
            (0..100_000).map(|n| (n, BTreeSet::from([n + 1]))).collect();
        assert_eq!(find_cycle(&needs), None);
    }
}
