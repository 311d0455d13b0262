//! The order of things that need each other.

use std::collections::{BTreeMap, BTreeSet};

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
    fn a_chain_of_a_hundred_thousand_does_not_exhaust_the_stack() {
        let needs: BTreeMap<u32, BTreeSet<u32>> =
            (0..100_000).map(|n| (n, BTreeSet::from([n + 1]))).collect();
        assert_eq!(find_cycle(&needs), None);
    }
}
