//! The words and signs of a plan.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use super::Style;
use crate::{
    access::{AccessChange, Effect, Tuple},
    address::{Address, Instance},
    plan::{Action, AgentChange, Apart, Part, PropertyChange, Reason, Risk, Step},
    provider::{Object, Observation},
    resource::{Node, Reading},
    schema::Kind,
    value::Value,
};

/// The sign and the verb of a step.
pub(super) fn sign(step: &Step, ascii: bool) -> (&'static str, &'static str, Style) {
    let either = |sign, plain| if ascii { plain } else { sign };
    match step.action {
        Action::NoChange => (" ", "keep", Style::Faint),
        Action::Adopt => ("=", "adopt", Style::Change),
        Action::Move => (either("»", ">"), "move", Style::Change),
        Action::Forget => (".", "forget", Style::Change),
        Action::Record => ("*", "record", Style::Faint),
        Action::Create => ("+", "create", Style::Add),
        Action::Update => ("~", "update", Style::Change),
        _ if ends_older(step) => (either("×", "x"), "end", Style::Remove),
        Action::ReplaceCreateFirst => ("+/-", "replace", Style::Remove),
        Action::ReplaceDeleteFirst => ("-/+", "replace", Style::Remove),
        Action::Rotate => (either("↻", "@"), "rotate", Style::Change),
        Action::Resume => (either("▶", "|>"), "resume", Style::Add),
        Action::Suspend => (either("⏸", "||"), "suspend", Style::Remove),
        Action::Delete if step.kind == Kind::Credential => {
            (either("×", "x"), "revoke", Style::Remove)
        }
        Action::Delete => ("-", "destroy", Style::Remove),
    }
}

/// Whether a step ends an older generation that has had its time beside the
/// present one.
pub(super) fn ends_older(step: &Step) -> bool {
    let outlived = matches!(step.reason, Reason::Outlived { .. });
    step.kind == Kind::Credential && step.part == Part::Remove && outlived
}

/// Why an agent is left alone, and how that ends.
pub(super) fn apart(instance: &Instance, why: &Apart) -> String {
    match why {
        Apart::Killed { since } => {
            format!("killed at {}; `resume {instance}` lets it act again", moment(*since))
        }
        Apart::Expired { expires } => format!("expired; its last day was {expires}"),
        Apart::Leaving { since } => {
            format!("leaving since {}; it is not declared any more", moment(*since))
        }
        Apart::Held { until, by, reason } => {
            format!("held by {} until {}: {reason}", name(by), moment(*until))
        }
    }
}

/// What kind of replacement, and which half of it.
pub(super) fn half(step: &Step) -> Option<&'static str> {
    let revokes = step.kind == Kind::Credential;
    match (step.action, step.part) {
        _ if matches!(step.reason, Reason::Outlived { .. }) => None,
        (Action::Rotate, Part::Whole) => Some("makes the new one; the old one stays beside it"),
        (Action::Rotate, Part::Make) => Some("makes the new one, after the old is gone"),
        (Action::ReplaceCreateFirst, Part::Make) => Some("makes the new one, before the old goes"),
        (Action::ReplaceDeleteFirst, Part::Make) => {
            Some("makes the new one, after the old is gone")
        }
        (Action::ReplaceCreateFirst, Part::Whole) => Some("create first"),
        (Action::ReplaceDeleteFirst, Part::Whole) => Some("delete first"),
        (_, Part::Remove) if revokes => Some("revokes the old one"),
        (_, Part::Remove) => Some("removes the old one"),
        _ => None,
    }
}

/// What a risk is called beside a step; nothing for a small one.
pub(super) fn risk(risk: Risk) -> Option<(&'static str, Style)> {
    match risk {
        Risk::None | Risk::Low => None,
        Risk::Narrows => Some(("narrows", Style::Change)),
        Risk::Destroys => Some(("DESTROYS", Style::Danger)),
        Risk::Widens => Some(("WIDENS", Style::Danger)),
    }
}

/// The sign, the words, the style and the risk of a change of a whole agent.
pub(super) fn agent(change: &AgentChange, ascii: bool) -> (&'static str, String, Style, Risk) {
    let either = |sign, plain| if ascii { plain } else { sign };
    match change {
        AgentChange::Declared { owner, purpose, expires, grace, .. } => (
            "+",
            format!(
                "declared: owner {}, expires {expires}, grace {grace}; {}",
                name(owner),
                first_line(purpose)
            ),
            Style::Add,
            Risk::None,
        ),
        AgentChange::Leaves { cause } => {
            (either("⏸", "||"), format!("leaves: it was {cause}"), Style::Remove, Risk::Destroys)
        }
        AgentChange::Returns => {
            (either("▶", "|>"), "may act again".into(), Style::Add, Risk::Widens)
        }
        AgentChange::Ends { cause } => {
            ("-", format!("ends with this plan: it was {cause}"), Style::Remove, Risk::Narrows)
        }
    }
}

/// A name as it stands in a sentence: in quotes where it could pass for more
/// than a name.
pub(super) fn name(text: &str) -> String {
    let plain = !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | ',' | ';'));
    if plain || text.parse::<Address>().is_ok() || text.parse::<Instance>().is_ok() {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

/// An object by its id, and by what people know it by.
pub(super) fn called(object: &Object) -> String {
    match &object.label {
        Some(label) => format!("{} ({})", name(&object.id), name(label)),
        None => name(&object.id),
    }
}

/// Why a step is in the plan; of what nobody declared, also which one that is.
pub(super) fn why(step: &Step) -> String {
    let label = step.seen.object().and_then(|object| object.label.as_deref());
    match (&step.reason, label) {
        (Reason::Undeclared, Some(label)) => format!("{}: {}", step.reason, name(label)),
        _ => step.reason.to_string(),
    }
}

/// An instant as people read it, to the second.
pub(crate) fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What a text begins with; a purpose may go on for paragraphs.
pub(crate) fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}

/// At most `most` characters of `text`, and how many are left out.
pub(super) fn short(text: &str, most: usize) -> String {
    let mut chars = text.char_indices();
    match chars.nth(most) {
        None => text.to_owned(),
        Some((end, _)) => {
            format!("{}… ({} more characters)", &text[..end], text[end..].chars().count())
        }
    }
}

/// A value that may not be known yet.
pub(super) fn node(node: &Node) -> String {
    match node {
        Node::Known(value) => plain(value).to_string(),
        Node::Output { address, field } => format!("({address}.{field}, known after apply)"),
        Node::Link(address) => address.to_string(),
        Node::Concat(parts) => {
            let mut text = String::from("\"");
            for part in parts {
                let _: fmt::Result = match part {
                    Node::Known(Value::Text(known)) => write!(text, "{known}"),
                    Node::Output { address, field } => write!(text, "{{{address}.{field}}}"),
                    other => write!(text, "{{{}}}", self::node(other)),
                };
            }
            text.push('"');
            text
        }
        Node::List(items) => {
            let items: Vec<String> = items.iter().map(self::node).collect();
            format!("[{}]", items.join(","))
        }
        Node::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{key:?}:{}", self::node(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

/// A value as it was read.
pub(super) fn reading(reading: &Reading) -> String {
    match reading {
        Reading::Known(value) => plain(value).to_string(),
        Reading::Redacted => "(hidden by the system)".into(),
        Reading::Unreadable(why) => format!("(not readable: {why})"),
        Reading::Unsupported => "(the system has no such property)".into(),
    }
}

/// A value without the parts of it that were left out: they say nothing.
fn plain(value: &Value) -> Cow<'_, Value> {
    match value {
        Value::Map(entries) if entries.values().any(Value::is_null) => {
            let given = entries.iter().filter(|(_, value)| !value.is_null());
            Cow::Owned(Value::Map(given.map(|(k, v)| (k.clone(), plain(v).into_owned())).collect()))
        }
        _ => Cow::Borrowed(value),
    }
}

/// The lines of one property's change.
pub(super) fn property(change: &PropertyChange, most: usize) -> Vec<(Style, String)> {
    let called = name(&change.name);
    if let Some((come, go)) = change.items()
        && (!come.is_empty() || !go.is_empty())
    {
        let mut lines = vec![(Style::Plain, format!("{called}:"))];
        lines.extend(
            go.iter()
                .map(|item| (Style::Remove, format!("  - {}", short(&item.to_string(), most)))),
        );
        lines.extend(
            come.iter().map(|item| (Style::Add, format!("  + {}", short(&item.to_string(), most)))),
        );
        let kept = match &change.after {
            Some(Node::Known(Value::List(after))) => after.len().saturating_sub(come.len()),
            _ => 0,
        };
        if kept > 0 {
            lines.push((Style::Faint, format!("  … {kept} unchanged")));
        }
        return lines;
    }
    let before = change.before.as_ref().map(|before| short(&reading(before), most));
    let after = change.after.as_ref().map(|after| short(&node(after), most));
    let replaces = if change.replaces { "   (cannot be changed in place)" } else { "" };
    vec![match (before, after) {
        (None, Some(after)) => (Style::Add, format!("{called}: {after}{replaces}")),
        (Some(before), None) => (Style::Remove, format!("{called}: {before} -> nothing{replaces}")),
        (Some(before), Some(after)) => {
            (Style::Change, format!("{called}: {before} -> {after}{replaces}"))
        }
        (None, None) => (Style::Faint, format!("{called}: as it is")),
    }]
}

/// One sentence for each statement of access that comes or goes; those that
/// widen come last.
pub(super) fn access(change: &AccessChange) -> Vec<(Style, String)> {
    let what = |tuple: &Tuple| {
        let condition = match &tuple.condition {
            Some(condition) => format!(" if {condition}"),
            None => String::new(),
        };
        format!("{} on {}{condition}", name(&tuple.action), name(&tuple.object))
    };
    let who = |tuple: &Tuple| name(&tuple.principal);
    let of = |tuples, effect| {
        std::collections::BTreeSet::<Tuple>::iter(tuples).filter(move |t| t.effect == effect)
    };
    let mut lines = Vec::new();
    for tuple in of(&change.lost, Effect::Allow) {
        lines.push((Style::Change, format!("narrows: {} loses {}", who(tuple), what(tuple))));
    }
    for tuple in of(&change.gained, Effect::Deny) {
        let text = format!("narrows: {} is forbidden {}", who(tuple), what(tuple));
        lines.push((Style::Change, text));
    }
    for tuple in of(&change.lost, Effect::Deny) {
        let text = format!("WIDENS: {} is no longer forbidden {}", who(tuple), what(tuple));
        lines.push((Style::Danger, text));
    }
    for tuple in of(&change.gained, Effect::Allow) {
        lines.push((Style::Danger, format!("WIDENS: {} gains {}", who(tuple), what(tuple))));
    }
    for why in &change.undecided {
        lines.push((Style::Danger, format!("WIDENS, as far as can be told: {why}")));
    }
    lines
}

/// What was seen of a step's object.
pub(super) fn seen(observation: &Observation) -> String {
    match observation {
        Observation::Absent => "nothing".into(),
        Observation::Present(object) if object.suspended => {
            format!("{}, suspended", name(&object.id))
        }
        Observation::Present(object) => name(&object.id),
        Observation::Unread(why) => format!("not readable: {why}"),
    }
}

/// `1 thing`, `2 things`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {}", if number == 1 { one } else { many })
}

/// Adds words to a text.
pub(crate) fn put(text: &mut String, words: fmt::Arguments<'_>) {
    text.write_fmt(words).expect("writing to memory cannot fail");
}
