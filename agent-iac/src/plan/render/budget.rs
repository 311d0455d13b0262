//! Which parts of a long list are shown, and what stands for the rest.

use super::Line;
use crate::plan::Risk;

/// Something that is shown whole, by its first line, or counted.
pub(super) struct Block {
    /// The gravest are shown first when there is not room for all.
    pub(super) risk: Risk,
    /// The line that stands alone, and what follows it.
    pub(super) lines: Vec<Line>,
}

/// Puts the blocks into at most `room` lines. The gravest get room first, and
/// stand last, where a reader looks first. What finds no room is given to
/// `rest` and stands at the top, so nothing goes without being counted.
///
/// `rest` must not need more lines for some of the blocks than for all.
pub(super) fn fit(
    blocks: &[Block],
    room: usize,
    rest: impl Fn(&[usize]) -> Vec<Line>,
) -> Vec<Line> {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|index| blocks[*index].risk);
    let all: usize = blocks.iter().map(|block| block.lines.len()).sum();
    if all <= room {
        return order.iter().flat_map(|index| blocks[*index].lines.iter().cloned()).collect();
    }
    let mut left = room.saturating_sub(rest(&order).len());
    let mut shown: Vec<(usize, usize)> = Vec::new();
    let mut counted = Vec::new();
    for index in order.iter().rev().copied() {
        let lines = blocks[index].lines.len();
        let taken = if lines <= left { lines } else { 1 };
        if taken <= left {
            left -= taken;
            shown.push((index, taken));
        } else {
            counted.push(index);
        }
    }
    counted.sort_unstable();
    let mut lines = if counted.is_empty() { Vec::new() } else { rest(&counted) };
    for (index, taken) in shown.iter().rev() {
        lines.extend(blocks[*index].lines[..*taken].iter().cloned());
    }
    lines
}
