//! `calendar`: what will rotate when.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::json;

use super::Cx;
use crate::{
    address::Instance,
    cli::{Outcome, args},
    clock::block_on,
    error::{Error, ErrorKind, Result},
    plan::render::{Document, Line, Style, count, moment},
    rotation::calendar::Planned,
};

pub(super) fn calendar(cx: &Cx<'_>, args: &args::Calendar) -> Result<Outcome> {
    let within = Duration::from_secs(u64::from(args.days) * 86_400);
    let calendar = block_on(cx.deployment.calendar(within))?;
    if calendar.diagnostics().has_errors() {
        return Ok(Outcome::Invalid(calendar.diagnostics().clone()));
    }
    cx.warn(calendar.diagnostics());
    let (blueprint, state) =
        (cx.deployment.blueprint().map_err(Error::from)?, block_on(cx.deployment.state())?);
    if let Some(unknown) = args.agents.iter().find(|agent| blueprint.agent(agent).is_none()) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("the fleet declares no agent `{unknown}`"),
        )
        .help("`inventory` lists the agents"));
    }
    let named = |agent: &Instance| args.agents.is_empty() || args.agents.contains(agent);
    // What leaves or was stopped is not rotated.
    let leaving = |agent: &Instance| state.agents.get(agent).and_then(|record| record.leaving);
    let wanted = |planned: &&Planned| {
        let agent = planned.address.instance();
        named(agent) && leaving(agent).is_none()
    };
    let planned: Vec<&Planned> = calendar.planned().iter().filter(wanted).collect();
    let mut document = Document::default();
    let mut day = None;
    for rotation in &planned {
        let local = TimeZone::UTC.to_datetime(rotation.at);
        if day.replace(local.date()) != Some(local.date()) {
            let text = format!("{} {}", local.date(), local.date().strftime("%a"));
            document.push(Line::of(Style::Heading, text));
        }
        let group = rotation.group.as_ref().map_or_else(String::new, |it| format!(", group {it}"));
        document.push(
            Line::plain(format!("  {}  {}", local.strftime("%H:%M"), rotation.address))
                .with(Style::Faint, format!("  old ends {}{group}", moment(rotation.old_ends))),
        );
        cx.ui.event("rotation", json!({ "rotation": rotation }));
    }
    let stopped: Vec<_> = blueprint
        .agents()
        .filter(|(agent, _)| named(agent))
        .filter_map(|(agent, _)| Some((agent, leaving(agent)?)))
        .collect();
    document.section(stopped.iter().map(|(agent, leaving)| {
        cx.ui.event("not_rotated", json!({ "agent": agent, "leaving": leaving }));
        let text = format!("{agent}: nothing is rotated, for it was {}", leaving.cause);
        Line::of(Style::Change, format!("{text} at {}", moment(leaving.since)))
    }));
    document.section(cx.waiting(&args.agents.iter().cloned().collect()));
    document.section([Line::of(
        Style::Heading,
        format!(
            "{} within {}, in universal time.",
            count(planned.len(), "rotation", "rotations"),
            count(usize::try_from(args.days).unwrap_or(usize::MAX), "day", "days"),
        ),
    )]);
    cx.ui.print(&document);
    cx.ui.summarise(json!({ "rotations": planned.len(), "days": args.days }));
    Ok(Outcome::Done)
}
