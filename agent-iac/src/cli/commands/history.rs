//! `history`: who did what, when, and on whose authority.

use std::collections::{BTreeMap, VecDeque};

use serde_json::json;

use super::Cx;
use crate::{
    address::{Address, Instance},
    cli::{Outcome, args},
    clock::block_on,
    error::Result,
    ledger::{
        Actor, AgentEvent, Authority, Batch, CredentialEvent, Entry, Event, LedgerEvent,
        ObservedEvent, PlanEvent, Proof, Query, RecordEvent, RunEvent, RunId, StepEvent,
    },
    plan::render::{Document, Line, Style, count, moment},
    provider::Tried,
};

/// How many batches are read at once.
const PAGE: usize = 500;

/// Who started a run, on what authority, and which agents it held.
struct Run {
    actor: Actor,
    authority: Authority,
    instances: Vec<Instance>,
}

pub(super) fn history(cx: &Cx<'_>, args: &args::History) -> Result<Outcome> {
    let ledger = cx.deployment.ledger();
    let mut runs: BTreeMap<RunId, Run> = BTreeMap::new();
    let mut kept: VecDeque<(Line, serde_json::Value)> = VecDeque::new();
    let mut all = 0;
    let mut next = 1;
    loop {
        let batches = block_on(ledger.batches(next, PAGE))?;
        let Some(last) = batches.last() else { break };
        next = last.header.sequence + 1;
        for batch in &batches {
            for entry in &batch.entries {
                remember(&mut runs, entry);
                let run = entry.run.as_ref().and_then(|run| runs.get(run));
                if args.agent.as_ref().is_some_and(|agent| !concerns(entry, run, agent)) {
                    continue;
                }
                all += 1;
                kept.push_back((line(batch, entry, run), object(batch, entry, run)));
                if args.limit.is_some_and(|limit| kept.len() > limit) {
                    kept.pop_front();
                }
            }
        }
    }
    let mut document = Document::default();
    let hidden = all - kept.len();
    let state = block_on(ledger.state(&Query::Agents(Vec::new())))?;
    if let Some(begins) = state.begins {
        let text = format!(
            "What was before batch {} stands in an archive.",
            begins.from.sequence.saturating_add(1)
        );
        document.push(Line::of(Style::Faint, text));
    }
    if hidden > 0 {
        let text = format!("… {} before these", count(hidden, "entry", "entries"));
        document.push(Line::of(Style::Faint, text));
    }
    for (line, object) in kept {
        document.push(line);
        cx.ui.object(&object);
    }
    if all == 0 {
        document.push(Line::plain("Nothing is recorded."));
    }
    cx.ui.print(&document);
    cx.ui.summarise(json!({
        "entries": all,
        "left_out": hidden,
        "begins": state.begins,
    }));
    Ok(Outcome::Done)
}

fn remember(runs: &mut BTreeMap<RunId, Run>, entry: &Entry) {
    if let (Some(run), Event::Run(RunEvent::Begun { actor, authority, instances, .. })) =
        (&entry.run, &entry.event)
    {
        let begun = Run {
            actor: actor.clone(),
            authority: authority.clone(),
            instances: instances.clone(),
        };
        runs.insert(run.clone(), begun);
    }
}

fn concerns(entry: &Entry, run: Option<&Run>, agent: &Instance) -> bool {
    let named = entry.address.as_ref().map(Address::instance).or(entry.instance.as_ref());
    match named {
        Some(instance) => instance == agent,
        // What is about a run as a whole is about all that it held.
        None => run.is_some_and(|run| run.instances.contains(agent)),
    }
}

fn object(batch: &Batch, entry: &Entry, run: Option<&Run>) -> serde_json::Value {
    json!({
        "type": "entry",
        "sequence": batch.header.sequence,
        "time": batch.header.time,
        "entry": entry,
        "actor": run.map(|run| &run.actor),
        "authority": run.map(|run| &run.authority),
    })
}

fn line(batch: &Batch, entry: &Entry, run: Option<&Run>) -> Line {
    let (style, what) = what(&entry.event);
    let subject = entry
        .address
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| entry.instance.as_ref().map(ToString::to_string));
    let mut line = Line::of(
        Style::Faint,
        format!("{}  #{}  ", moment(batch.header.time), batch.header.sequence),
    );
    if let Some(subject) = subject {
        line = line.with(Style::Heading, format!("{subject}: "));
    }
    line = line.with(style, what);
    if let Some(generation) = entry.generation {
        line = line.with(Style::Plain, format!(", generation {generation}"));
    }
    if let Some(correlation) = &entry.correlation {
        line = line.with(Style::Faint, format!(", {correlation} in the target's log"));
    }
    match (run, &entry.event) {
        // It names them itself, in full.
        (_, Event::Run(RunEvent::Begun { .. })) | (None, _) => line,
        (Some(run), _) => {
            let on = match &run.authority {
                Authority::Acknowledged { digest, .. } => format!("plan {}", digest.short()),
                Authority::Standing { .. } => "standing authority".into(),
                Authority::Emergency { .. } => "emergency".into(),
            };
            line.with(Style::Faint, format!("   by {}, {on}", run.actor.subject))
        }
    }
}

fn authority(authority: &Authority) -> String {
    match authority {
        Authority::Acknowledged { digest, actor } => {
            format!("plan {} acknowledged by {actor}", digest.short())
        }
        Authority::Standing { digest } => format!("standing authority of {}", digest.short()),
        Authority::Emergency { actor, reason } => format!("emergency by {actor}: {reason}"),
    }
}

fn what(event: &Event) -> (Style, String) {
    match event {
        Event::Ledger(event) => match event {
            LedgerEvent::Opened { fleet, environment, .. } => {
                (Style::Plain, format!("the ledger of {fleet} in {environment} was opened"))
            }
            LedgerEvent::Pinned { place, head } => {
                (Style::Faint, format!("batch {} was pinned in {place}", head.sequence))
            }
            LedgerEvent::Continued { from, batches, actor, .. } => (
                Style::Plain,
                format!(
                    "archived up to batch {} by {actor}; {} what was recorded",
                    from.sequence,
                    match batches {
                        1 => "this batch carries".to_owned(),
                        more => format!("{more} batches carry"),
                    }
                ),
            ),
            LedgerEvent::Rewound { lost, to, actor, reason } => {
                let lost: Vec<String> = lost
                    .iter()
                    .map(|(place, head)| {
                        format!("batch {} ({}) of {place}", head.sequence, head.hash.short())
                    })
                    .collect();
                (
                    Style::Danger,
                    format!(
                        "rewound to batch {} by {actor}, giving up {}: {reason}",
                        to.sequence,
                        lost.join(", ")
                    ),
                )
            }
        },
        Event::Plan(event) => match event {
            PlanEvent::Proposed { digest, actor } => {
                (Style::Plain, format!("plan {} proposed by {actor}", digest.short()))
            }
            PlanEvent::Acknowledged { digest, actor } => {
                (Style::Plain, format!("plan {} acknowledged by {actor}", digest.short()))
            }
            PlanEvent::Refused { digest, actor, reason } => {
                (Style::Danger, format!("plan {} of {actor} refused: {reason}", digest.short()))
            }
        },
        Event::Run(event) => match event {
            RunEvent::Begun { purpose, actor, authority: on, revision, .. } => {
                let purpose = format!("{purpose:?}").to_lowercase();
                let from = revision.as_ref().map_or_else(String::new, |r| format!(", code {r}"));
                (Style::Plain, format!("{purpose} begun by {actor}, {}{from}", authority(on)))
            }
            RunEvent::Ended { summary } => (
                Style::Plain,
                format!(
                    "run ended: {} done, {} failed, {} skipped, {} in doubt",
                    summary.done, summary.failed, summary.skipped, summary.in_doubt
                ),
            ),
        },
        Event::Step(event) => match event {
            StepEvent::Begun { action, .. } => (Style::Faint, format!("{action} begun")),
            StepEvent::Done { object: Some(object), .. } => {
                (Style::Add, format!("done, {} {}", object.resource_type, object.id))
            }
            StepEvent::Done { object: None, .. } => (Style::Remove, "done, nothing is left".into()),
            StepEvent::Failed { error, .. } => (Style::Danger, format!("failed: {error}")),
            StepEvent::InDoubt { error, .. } => (Style::Danger, format!("in doubt: {error}")),
        },
        Event::Observed(event) => match event {
            ObservedEvent::Drift { fields, .. } => {
                let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                (Style::Change, format!("drifted: {}", names.join(", ")))
            }
            ObservedEvent::Unread { reason } => (Style::Change, format!("not readable: {reason}")),
        },
        Event::Credential(event) => credential(event),
        Event::Agent(event) => agent(event),
        Event::Record(event) => match event {
            RecordEvent::Adopted { object, .. } => {
                (Style::Change, format!("adopted {} {}", object.resource_type, object.id))
            }
            RecordEvent::Moved { from } => (Style::Change, format!("moved from {from}")),
            RecordEvent::Forgotten => (Style::Change, "forgotten; it stays as it is".into()),
            RecordEvent::Updated { .. } => (Style::Faint, "record followed".into()),
            RecordEvent::Carried { record } => {
                (Style::Faint, format!("recorded at version {}", record.version))
            }
        },
    }
}

fn names(consumers: &std::collections::BTreeSet<String>) -> String {
    consumers.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn credential(event: &CredentialEvent) -> (Style, String) {
    match event {
        CredentialEvent::Issued { id, .. } => (Style::Plain, format!("issued as {id}")),
        CredentialEvent::Delivered { place, .. } => {
            (Style::Plain, format!("delivered for {place}"))
        }
        CredentialEvent::Verified { tried } => match tried {
            Tried::Accepted => (Style::Plain, "tried: it was accepted".into()),
            Tried::Refused(why) => (Style::Danger, format!("tried: it was refused: {why}")),
            Tried::Unknown(why) => (Style::Change, format!("tried without an answer: {why}")),
        },
        CredentialEvent::Promoted { place } => (Style::Add, format!("promoted at {place}")),
        CredentialEvent::Lost { id } => {
            (Style::Danger, format!("value lost, {id} will be revoked"))
        }
        CredentialEvent::Told { consumer } => (Style::Plain, format!("{consumer} was told")),
        CredentialEvent::Confirmed { consumer } => {
            (Style::Plain, format!("confirmed by {consumer}"))
        }
        CredentialEvent::Compromised { actor, reason } => {
            (Style::Danger, format!("compromised, says {actor}: {reason}"))
        }
        CredentialEvent::Overdue { waiting } => {
            (Style::Danger, format!("kept past its time, for {}", names(waiting)))
        }
        CredentialEvent::Kept { because } => {
            (Style::Danger, format!("kept: the present one {because}"))
        }
        CredentialEvent::CutOff { consumers } => {
            (Style::Danger, format!("ended while in use by {}", names(consumers)))
        }
        CredentialEvent::Revoked { id, proof } => {
            let proved = match proof {
                Some(proof) if Proof::holds(proof) => "its end is proved",
                Some(_) => "its end is NOT proved",
                None => "without proof",
            };
            (Style::Remove, format!("{id} revoked, {proved}"))
        }
    }
}

fn agent(event: &AgentEvent) -> (Style, String) {
    match event {
        AgentEvent::Declared { owner, expires, .. } => {
            (Style::Plain, format!("declared, owner {owner}, expires {expires}"))
        }
        AgentEvent::Suspended { cause } => (Style::Remove, format!("leaving: it was {cause}")),
        AgentEvent::Resumed { actor } => {
            let by = actor.as_ref().map_or_else(String::new, |actor| format!(", says {actor}"));
            (Style::Add, format!("may act again{by}"))
        }
        AgentEvent::Held { reason, until, actor } => {
            (Style::Change, format!("held until {} by {actor}: {reason}", moment(*until)))
        }
        AgentEvent::Released { actor } => (Style::Change, format!("released by {actor}")),
        AgentEvent::Carried { agent } => {
            (Style::Faint, format!("declared since {}", moment(agent.since)))
        }
        AgentEvent::Left { cause, seconds, proved, open } => (
            Style::Remove,
            format!(
                "has left ({cause}) within {seconds} s: {} proved, {} open",
                proved.len(),
                open.len()
            ),
        ),
    }
}
