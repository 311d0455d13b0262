//! `inventory`: every agent that is recorded.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::Cx;
use crate::{
    address::Instance,
    cli::Outcome,
    clock::block_on,
    error::Result,
    ledger::{AgentRecord, State},
    plan::render::{Document, Line, Style, count, first_line, moment},
};

pub(super) fn inventory(cx: &Cx<'_>) -> Result<Outcome> {
    let state = block_on(cx.deployment.state())?;
    let now = cx.deployment.clock().now();
    let mut document = Document::default();
    for (instance, record) in &state.agents {
        let generations = generations(&state, instance);
        document.section(shown(instance, record, &generations, now));
        cx.ui.event(
            "agent",
            json!({
                "agent": instance,
                "record": record,
                "age_days": days_since(record.since, now),
                "days_left": days_left(record, now),
                "generations": generations,
            }),
        );
    }
    document.section(cx.waiting(&BTreeSet::new()));
    document.section([Line::of(
        Style::Heading,
        format!("{}, as of {}.", count(state.agents.len(), "agent", "agents"), moment(now)),
    )]);
    cx.ui.print(&document);
    cx.ui.summarise(json!({ "agents": state.agents.len(), "as_of": now }));
    Ok(Outcome::Done)
}

/// The generation of each credential of an agent, by field.
fn generations(state: &State, instance: &Instance) -> BTreeMap<String, u32> {
    state
        .records
        .iter()
        .filter(|(address, _)| address.instance() == instance)
        .filter_map(|(address, record)| {
            let credential = record.object.as_ref()?.credential.as_ref()?;
            Some((address.resource().to_owned(), credential.generation))
        })
        .collect()
}

fn days_since(since: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(since).as_hours() / 24
}

/// How many days it may still act; negative when its last day is over.
fn days_left(record: &AgentRecord, now: Timestamp) -> i64 {
    let today = TimeZone::UTC.to_datetime(now).date();
    let left = record.expires.duration_since(today);
    left.as_hours() / 24
}

fn shown(
    instance: &Instance,
    record: &AgentRecord,
    generations: &BTreeMap<String, u32>,
    now: Timestamp,
) -> Vec<Line> {
    let left = days_left(record, now);
    let (style, expiry) = match left {
        ..0 => (Style::Danger, format!("expired {}", record.expires)),
        0..=30 => (Style::Change, format!("expires {}, in {left} days", record.expires)),
        _ => (Style::Plain, format!("expires {}, in {left} days", record.expires)),
    };
    let mut lines = vec![
        Line::of(Style::Heading, instance.to_string())
            .with(Style::Faint, format!("   {}", first_line(&record.purpose))),
        Line::plain(format!(
            "  owner {}, {} old, ",
            record.owner,
            count(usize::try_from(days_since(record.since, now)).unwrap_or(0), "day", "days")
        ))
        .with(style, expiry),
    ];
    let proof = record.proved_at.map_or_else(|| "none yet".into(), moment);
    let credentials: Vec<String> = generations
        .iter()
        .map(|(field, generation)| format!("{field} at generation {generation}"))
        .collect();
    let credentials =
        if credentials.is_empty() { "no credentials".into() } else { credentials.join(", ") };
    lines.push(Line::plain(format!("  {credentials}; last proof: {proof}")));
    if let Some(leaving) = &record.leaving {
        let text = format!("  leaving since {}: it was {}", moment(leaving.since), leaving.cause);
        lines.push(Line::of(Style::Danger, text));
    }
    if let Some(hold) = record.hold.as_ref().filter(|hold| hold.until > now) {
        let text =
            format!("  held until {} by {}: {}", moment(hold.until), hold.actor, hold.reason);
        lines.push(Line::of(Style::Change, text));
    }
    lines
}
