//! The words for what identities can do beside what is declared.

use super::words::{count, name};
use crate::{
    access::{Effect, Tuple},
    address::Address,
    plan::Beside,
    provider::Source,
};

/// How many statements, counts and identities of one source are named, below
/// [`Level::Full`](super::Level::Full).
pub(super) const FIRST: usize = 3;

/// One statement of a source, without who it is about: the source itself.
pub(super) fn statement(tuple: &Tuple) -> String {
    let verb = match tuple.effect {
        Effect::Allow => "may",
        Effect::Deny => "may not",
    };
    let condition = match &tuple.condition {
        Some(condition) => format!(" if {condition}"),
        None => String::new(),
    };
    format!("{verb} {} on {}{condition}", name(&tuple.action), name(&tuple.object))
}

/// What a source gives: the first of each sort, and how many more.
pub(super) fn gives(source: &Source, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = source.access.tuples.iter().take(most).map(statement).collect();
    let more = source.access.tuples.len().saturating_sub(most);
    if more > 0 {
        lines.push(format!("… and {}", count(more, "more statement", "more statements")));
    }
    let counted = source.counted.iter().take(most).map(|(what, number)| {
        let number = usize::try_from(*number).unwrap_or(usize::MAX);
        count(number, &format!("× {what}"), &format!("× {what}"))
    });
    lines.extend(counted);
    let more = source.counted.len().saturating_sub(most);
    if more > 0 {
        lines.push(format!("… and {}", count(more, "more count", "more counts")));
    }
    lines.extend(source.access.undecided.iter().map(|why| format!("may do more: {why}")));
    lines
}

/// How much a source gives, in a few words: where there is no room for more,
/// this still stands.
pub(super) fn size(source: &Source) -> String {
    let counted: u64 = source.counted.values().sum();
    let parts = [
        (source.access.tuples.len(), "statement", "statements"),
        (usize::try_from(counted).unwrap_or(usize::MAX), "more, counted", "more, counted"),
        (source.access.undecided.len(), "open question", "open questions"),
    ];
    let parts = parts.into_iter().filter(|(number, ..)| *number > 0);
    parts.map(|(number, one, many)| count(number, one, many)).collect::<Vec<_>>().join(", ")
}

/// Which identities a source reaches.
pub(super) fn reaches(reached: &[&Address], most: usize) -> String {
    if reached.is_empty() {
        return "reaches nobody".into();
    }
    let mut first: Vec<String> = reached.iter().take(most).map(ToString::to_string).collect();
    let more = reached.len().saturating_sub(most);
    if more > 0 {
        first.push(count(more, "more", "more"));
    }
    let last = first.pop().unwrap_or_default();
    if first.is_empty() {
        format!("reaches {last}")
    } else {
        format!("reaches {} and {last}", first.join(", "))
    }
}

/// Why nothing of this could be read.
pub(super) fn unread(beside: &Beside, why: &str) -> String {
    format!("unread for each {} at {}: {why}", beside.resource_type, name(&beside.provider))
}
