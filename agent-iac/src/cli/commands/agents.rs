//! Commands about one agent: `kill`, `resume`, `hold` and `release`.

use serde_json::json;

use super::Cx;
use crate::{
    address::Instance,
    cli::{Outcome, actor, args},
    clock::block_on,
    error::{Error, ErrorKind, Result},
    ledger::AgentRecord,
    plan::render::{Document, Line, Style, moment},
};

pub(super) fn kill(cx: &Cx<'_>, args: &args::Kill) -> Result<Outcome> {
    cx.ui.summarise(json!({ "agent": args.agent }));
    let report = cx.run(cx.deployment.kill(&args.agent, &args.reason, &cx.context()))?;
    Ok(cx.report(&report))
}

pub(super) fn resume(cx: &Cx<'_>, agent: &Instance) -> Result<Outcome> {
    cx.ui.summarise(json!({ "agent": agent }));
    let state = block_on(cx.deployment.state())?;
    if state.agents.get(agent).is_some_and(|record| record.leaving.is_none()) {
        done(cx, &format!("{agent} was not stopped; nothing is recorded."));
        return Ok(Outcome::Done);
    }
    block_on(cx.deployment.resume(agent, &actor::actor(cx.env)))?;
    done(cx, &format!("{agent} may act again; the next apply makes what it needs."));
    Ok(Outcome::Done)
}

pub(super) fn hold(cx: &Cx<'_>, args: &args::Hold) -> Result<Outcome> {
    let now = cx.deployment.clock().now();
    let until = match (args.until, args.period) {
        (Some(until), _) => until,
        (None, Some(period)) => now.checked_add(period.as_duration()).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, "the end of the hold is beyond the calendar")
                .caused_by(error)
        })?,
        (None, None) => {
            return Ok(Outcome::Usage("give the hold an end, with --for or --until".into()));
        }
    };
    if until <= now {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("the hold's end, {}, is past", moment(until)),
        ));
    }
    let actor = actor::actor(cx.env);
    block_on(cx.deployment.hold(&args.agent, &args.reason, until, &actor))?;
    cx.ui.summarise(json!({ "agent": args.agent, "until": until }));
    done(
        cx,
        &format!(
            "{} is held until {}: the engine changes nothing of it.",
            args.agent,
            moment(until)
        ),
    );
    Ok(Outcome::Done)
}

pub(super) fn release(cx: &Cx<'_>, agent: &Instance) -> Result<Outcome> {
    let (state, now) = (block_on(cx.deployment.state())?, cx.deployment.clock().now());
    let held = |record: &AgentRecord| record.hold.as_ref().is_some_and(|hold| hold.until > now);
    if state.agents.get(agent).is_some_and(|record| !held(record)) {
        cx.ui.summarise(json!({ "agent": agent }));
        done(cx, &format!("{agent} was not held; nothing is recorded."));
        return Ok(Outcome::Done);
    }
    block_on(cx.deployment.release(agent, &actor::actor(cx.env)))?;
    cx.ui.summarise(json!({ "agent": agent }));
    done(cx, &format!("{agent} is released."));
    Ok(Outcome::Done)
}

fn done(cx: &Cx<'_>, text: &str) {
    let mut document = Document::default();
    document.push(Line::of(Style::Good, text));
    cx.ui.print(&document);
}
