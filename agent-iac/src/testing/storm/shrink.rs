//! The smallest storm that still fails in the same way.

use std::collections::BTreeSet;

use super::{Report, Storm};

/// How many storms are played for it at most.
const MOST: usize = 400;

/// Takes events away, then faults, for as long as the same invariant is
/// violated without them.
pub(super) fn shrink(storm: &Storm) -> Report {
    let mut best = storm.play();
    let Some(invariant) = best.violations.first().map(|violation| violation.invariant) else {
        return best;
    };
    let mut played = 0;
    let mut fails = |storm: Storm| {
        played += 1;
        if played > MOST {
            return None;
        }
        let report = storm.play();
        report.violations.iter().any(|v| v.invariant == invariant).then_some(report)
    };
    let without = |storm: &Storm, taken: &BTreeSet<usize>| {
        let mut storm = storm.clone();
        storm.without.extend(taken);
        storm
    };
    let events = (0..best.events.len()).filter(|at| !storm.without.contains(at)).collect();
    reduce(events, &mut best, &mut fails, &without);
    let calm = |storm: &Storm, taken: &BTreeSet<usize>| {
        let mut storm = storm.clone();
        storm.spared.extend(taken);
        storm
    };
    let faults = (0..best.faults).filter(|at| !best.storm.spared.contains(at)).collect();
    reduce(faults, &mut best, &mut fails, &calm);
    best
}

/// Takes away halves, then quarters, and so on down to single ones.
fn reduce(
    mut left: Vec<usize>,
    best: &mut Report,
    fails: &mut dyn FnMut(Storm) -> Option<Report>,
    without: &dyn Fn(&Storm, &BTreeSet<usize>) -> Storm,
) {
    let mut size = left.len();
    while size > 0 {
        let mut at = 0;
        while at < left.len() {
            let end = (at + size).min(left.len());
            let taken: BTreeSet<usize> = left[at..end].iter().copied().collect();
            match fails(without(&best.storm, &taken)) {
                Some(report) => {
                    *best = report;
                    left.drain(at..end);
                }
                None => at = end,
            }
        }
        size /= 2;
    }
}
