//! `show`: a saved plan, or what is recorded.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    Cx, apply,
    plan::{options, tell, typed},
};
use crate::{
    address::{Address, Instance, quoted},
    cli::{Env, Outcome, args, ui::Ui},
    clock::block_on,
    error::{Error, ErrorKind, Result},
    ledger::{AgentRecord, Managed, Record, State},
    plan::render::{self, Document, Level, Line, Style, moment},
};

pub(super) fn show(cx: &Cx<'_>, args: &args::Show) -> Result<Outcome> {
    let agent = args.what.parse::<Instance>().ok();
    let address = args.what.parse::<Address>().ok();
    let path = cx.env.path(args.what.as_ref());
    let state = block_on(cx.deployment.state())?;
    let mut document = Document::default();
    match (agent, address) {
        (Some(agent), _) => {
            let record = state.agents.get(&agent);
            let resources: Vec<(&Address, &Record)> = state
                .records
                .iter()
                .filter(|(address, record)| *address.instance() == agent && !record.is_vacant())
                .collect();
            if record.is_none() && resources.is_empty() {
                if path.is_file() {
                    return plan(cx.ui, args, &path);
                }
                return Err(unknown(&args.what, &state));
            }
            document.push(Line::of(Style::Heading, agent.to_string()));
            document.extend(record.into_iter().flat_map(terms));
            for (address, record) in &resources {
                document.section(recorded(address, record, args.depth.level()));
            }
            cx.ui.event("agent", json!({ "agent": agent, "record": record }));
            for (address, record) in resources {
                cx.ui.event("record", json!({ "address": address, "record": record }));
            }
        }
        (None, Some(address)) => {
            let Some(record) = state.records.get(&address) else {
                return Err(unknown(&args.what, &state));
            };
            document.extend(recorded(&address, record, Level::Full));
            cx.ui.event("record", json!({ "address": address, "record": record }));
        }
        (None, None) => return Err(unknown(&args.what, &state)),
    }
    cx.ui.print(&document);
    Ok(Outcome::Done)
}

/// The file of a plan, where that is what is meant: who means the file in spite
/// of an agent of that name writes `./name`.
pub(super) fn file(env: &Env, args: &args::Show) -> Option<PathBuf> {
    let path = env.path(args.what.as_ref());
    (args.what.parse::<Instance>().is_err() && path.is_file()).then_some(path)
}

/// Shows a saved plan, which needs nothing but its file.
pub(super) fn plan(ui: &Ui, args: &args::Show, path: &Path) -> Result<Outcome> {
    let saved = apply::read(path)?;
    let mut next = Vec::new();
    if !saved.plan().is_empty() {
        next.push(format!(
            "{} apply {} --digest {}",
            ui.command,
            typed(&args.what),
            saved.digest().short()
        ));
    }
    ui.print(&render::text(&saved, &options(ui, args.depth.level(), next.clone())));
    tell(ui, &saved, next);
    Ok(Outcome::Done)
}

fn unknown(what: &str, state: &State) -> Error {
    let known: Vec<String> = state.agents.keys().take(8).map(ToString::to_string).collect();
    let error = Error::new(ErrorKind::NotFound, format!("nothing is recorded of {}", quoted(what)));
    if known.is_empty() {
        error.help("nothing was applied yet")
    } else {
        error.help(format!("the recorded agents are: {}", known.join(", ")))
    }
}

fn terms(record: &AgentRecord) -> Vec<Line> {
    let mut lines = vec![
        Line::plain(format!("  owner    {}", record.owner)),
        Line::plain(format!("  since    {}", moment(record.since))),
        Line::plain(format!("  expires  {}, grace {}", record.expires, record.grace)),
    ];
    for (index, line) in record.purpose.trim().lines().enumerate() {
        let word = if index == 0 { "purpose" } else { "" };
        lines.push(Line::plain(format!("  {word:<8} {line}")));
    }
    if let Some(source) = &record.source {
        lines.push(Line::plain(format!("  declared {source}")));
    }
    if let Some(leaving) = &record.leaving {
        let text = format!("  leaving  since {}: it was {}", moment(leaving.since), leaving.cause);
        lines.push(Line::of(Style::Danger, text));
    }
    if let Some(hold) = &record.hold {
        let text =
            format!("  held     until {} by {}: {}", moment(hold.until), hold.actor, hold.reason);
        lines.push(Line::of(Style::Change, text));
    }
    if let Some(proved) = record.proved_at {
        lines.push(Line::plain(format!("  proof    {}", moment(proved))));
    }
    lines
}

fn recorded(address: &Address, record: &Record, level: Level) -> Vec<Line> {
    let version = Line::plain("  ")
        .with(Style::Heading, address.to_string())
        .with(Style::Faint, format!("   version {}", record.version));
    let mut lines = vec![version];
    match &record.object {
        None => lines.push(Line::plain("    nothing is recorded here")),
        Some(object) => lines.extend(managed(object, level)),
    }
    for old in &record.deposed {
        lines.push(Line::of(Style::Change, format!("    replaced, and still to go: {}", old.id)));
    }
    if let Some(open) = &record.open {
        let text = format!(
            "    in doubt: {} begun {} in run {}",
            open.action,
            moment(open.begun_at),
            open.run
        );
        lines.push(Line::of(Style::Danger, text));
    }
    lines
}

fn managed(object: &Managed, level: Level) -> Vec<Line> {
    let suspended = if object.suspended { ", suspended" } else { "" };
    let mut lines = vec![Line::plain(format!(
        "    {} {}, id {}, at {}{suspended}",
        object.kind, object.resource_type, object.id, object.provider
    ))];
    if let Some(credential) = &object.credential {
        let verified = credential
            .verified_at
            .map_or_else(|| "never verified".into(), |at| format!("verified {}", moment(at)));
        lines.push(Line::plain(format!(
            "    generation {} at {}, {verified}",
            credential.generation, credential.place
        )));
    }
    if level == Level::Summary {
        return lines;
    }
    for (name, value) in object.properties.iter().chain(&object.outputs) {
        if !value.is_null() {
            lines.push(Line::plain(format!("    {name}: {value}")));
        }
    }
    for tuple in &object.access.tuples {
        lines.push(Line::plain(format!("    access: {tuple}")));
    }
    if level == Level::Full {
        lines.extend(
            object.dependencies.iter().map(|needed| Line::plain(format!("    needs: {needed}"))),
        );
    }
    lines
}
