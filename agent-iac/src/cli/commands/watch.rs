//! `watch`: a fleet around the clock, until it is asked to stop.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::json;

use super::Cx;
use crate::{
    apply::Report,
    cli::{Outcome, args, progress},
    clock::block_on,
    deployment::{
        RunnerOptions,
        watch::{Alert, AlertStatus, Check, Listener, Round, WatchOptions, Watcher},
    },
    error::{Error, Result},
    ledger::Summary,
    plan::render::{Line, Style, count},
};

/// How often what is due is taken on with `--once`, before it is told as not
/// done: a large fleet takes one round for every few agents.
const MOST_ROUNDS: usize = 100_000;

pub(super) fn watch(cx: &Cx<'_>, args: &args::Watch) -> Result<Outcome> {
    let blueprint = match cx.deployment.blueprint() {
        Ok(blueprint) => blueprint,
        Err(mistakes) => return Ok(Outcome::Invalid(mistakes)),
    };
    let seconds = |period: crate::agent::Period| Duration::from_secs(period.as_seconds().max(1));
    let runner = RunnerOptions { poll: seconds(args.poll), ..RunnerOptions::default() };
    let options = WatchOptions {
        runner,
        check_every: (!args.no_drift).then(|| seconds(args.drift_every)),
        name: args.name.clone().unwrap_or_default(),
        ..WatchOptions::default()
    };
    let watcher = Watcher::new(Arc::clone(cx.deployment), cx.context(), options)?;
    let mut watcher = alarms(cx, args, watcher)?;
    if args.once {
        return once(cx, args, &mut watcher);
    }
    let listen = |address: SocketAddr| Listener::bind(address, watcher.status());
    let listener = args.listen.map(listen).transpose()?;
    let may: Vec<&str> = blueprint.rules().standing.may.iter().map(|may| may.as_str()).collect();
    let at = listener.as_ref().map(Listener::address);
    cx.ui.event(
        "watching",
        json!({
            "fleet": blueprint.fleet(),
            "environment": blueprint.environment(),
            "listen": at.map(|at| at.to_string()),
            "may": may,
        }),
    );
    let answers = at.map_or_else(String::new, |at| format!("; http://{at}/metrics"));
    cx.ui.say_line(Line::of(
        Style::Heading,
        format!(
            "watching {} in {}; unattended: {}{answers}",
            blueprint.fleet(),
            blueprint.environment(),
            may.join(", "),
        ),
    ));
    if at.is_some_and(|at| !at.ip().is_loopback()) {
        cx.ui.say_line(Line::of(
            Style::Change,
            "whoever reaches that address learns how the fleet is; there is no password on it",
        ));
    }
    cx.ui.flush();
    let mut sum = Sum::default();
    cx.env.underway.store(true, Ordering::SeqCst);
    block_on(watcher.run(|round| {
        sum.add(round);
        tell(cx, round);
    }));
    cx.env.underway.store(false, Ordering::SeqCst);
    drop(listener);
    sum.summarise(cx);
    cx.ui.say_line(Line::of(Style::Heading, "stopped; what was under way has ended"));
    // To be asked to stop is how a daemon ends, so that is no failure.
    Ok(match sum.last {
        last if last.in_doubt > 0 => Outcome::Interrupted(last),
        _ => Outcome::Done,
    })
}

/// Does everything that is due, and no more.
fn once(cx: &Cx<'_>, args: &args::Watch, watcher: &mut Watcher) -> Result<Outcome> {
    let mut sum = Sum::default();
    cx.env.underway.store(true, Ordering::SeqCst);
    let mut problem = None;
    for _ in 0..MOST_ROUNDS {
        let mut round = block_on(watcher.tick());
        sum.add(&round);
        tell(cx, &round);
        problem = round.problems.pop().or(problem);
        if !round.is_busy() || problem.is_some() || cx.env.stop.is_requested() {
            break;
        }
    }
    cx.env.underway.store(false, Ordering::SeqCst);
    sum.summarise(cx);
    if let Some(error) = problem {
        return Err(error);
    }
    if cx.env.stop.is_requested() && sum.all.skipped > 0 {
        return Ok(Outcome::Interrupted(sum.all));
    }
    let steps = Outcome::Steps { summary: sum.all, open: sum.open };
    Ok(match (crate::cli::code(&steps), args.detailed_exitcode, sum.stays, sum.unread) {
        (0, true, 1.., _) => Outcome::Changes,
        (0, true, _, objects @ 1..) => Outcome::Unchecked { objects },
        _ => steps,
    })
}

/// What all rounds amount to.
#[derive(Default)]
struct Sum {
    rounds: u64,
    checks: u64,
    alerts: u64,
    all: Summary,
    /// Of the last round that ran anything.
    last: Summary,
    /// What was done, and not proved or not recorded to its end.
    open: usize,
    stays: usize,
    unread: usize,
}

impl Sum {
    fn add(&mut self, round: &Round) {
        self.rounds += 1;
        self.alerts += round.alerts.len() as u64;
        if let Some(check) = &round.check {
            self.checks += 1;
            (self.stays, self.unread) = (check.stays, check.unread);
        }
        let reports = || round.reports().filter(|report| report.run.is_some());
        if reports().next().is_some() {
            self.last = Summary::default();
        }
        for report in reports() {
            for sum in [&mut self.all, &mut self.last] {
                let Summary { done, failed, skipped, in_doubt } = report.summary;
                sum.done = sum.done.saturating_add(done);
                sum.failed = sum.failed.saturating_add(failed);
                sum.skipped = sum.skipped.saturating_add(skipped);
                sum.in_doubt = sum.in_doubt.saturating_add(in_doubt);
            }
            self.open += unproved(report);
        }
    }

    fn summarise(&self, cx: &Cx<'_>) {
        cx.ui.summarise(json!({
            "rounds": self.rounds,
            "checks": self.checks,
            "alerts": self.alerts,
            "steps": self.all,
            "stays": self.stays,
            "unread": self.unread,
        }));
    }
}

fn unproved(report: &Report) -> usize {
    let unproved = |step: &&crate::apply::StepReport| {
        matches!(step.outcome, crate::apply::Outcome::Unproved(_))
    };
    let left: usize = report.left.iter().map(|left| left.open.len()).sum();
    report.steps.iter().filter(unproved).count() + left + usize::from(report.unfinished.is_some())
}

/// Tells what a round did; a quiet one says nothing.
fn tell(cx: &Cx<'_>, round: &Round) {
    let ui = cx.ui;
    for report in round.reports() {
        // Steps that ended were told as they did; these were never begun.
        let skipped = report.steps.iter().filter(|step| {
            report.run.is_none() && matches!(step.outcome, crate::apply::Outcome::Skipped { .. })
        });
        for step in skipped {
            let (word, why, style) = progress::ended(step);
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            ui.say_line(
                Line::plain(format!("{} {}: ", step.action, step.address))
                    .with(style, format!("{word}{why}")),
            );
        }
        for left in &report.left {
            let text = format!("{} has left ({})", left.instance, left.cause);
            ui.say_line(Line::plain(text));
        }
    }
    if let Some(check) = &round.check {
        checked(cx, check);
    }
    for alert in &round.alerts {
        ui.event("alert", json!({ "alert": alert }));
        ui.say_line(line(alert));
    }
    for (instance, error) in round.rotation.iter().flat_map(|tick| &tick.refused) {
        problem(cx, &format!("{instance}: "), error);
    }
    for error in &round.problems {
        problem(cx, "", error);
    }
    for why in &round.untold {
        ui.event("untold", json!({ "why": why }));
        ui.say_line(Line::of(Style::Danger, format!("an alert could not be told: {why}")));
    }
    ui.flush();
}

fn checked(cx: &Cx<'_>, check: &Check) {
    let Check { drift, undeclared, unread, reverted, stays } = check;
    cx.ui.event(
        "check",
        json!({
            "drift": drift,
            "undeclared": undeclared,
            "unread": unread,
            "reverted": reverted.summary.done,
            "stays": stays,
        }),
    );
    if drift + undeclared + unread > 0 {
        cx.ui.say_line(Line::plain(format!(
            "checked: {} drifted, {undeclared} undeclared, {unread} not read; {} taken back",
            count(*drift, "object", "objects"),
            reverted.summary.done,
        )));
    }
}

fn line(alert: &Alert) -> Line {
    let Alert { kind, status, about, owner, what, repair, .. } = alert;
    let owner = owner.as_ref().map_or_else(String::new, |owner| format!(" ({owner})"));
    match status {
        AlertStatus::Cleared => {
            Line::of(Style::Good, format!("over: {kind}: {about}{owner}: {what}"))
        }
        AlertStatus::Raised | AlertStatus::Happened => Line::of(Style::Danger, "alert")
            .with(Style::Plain, format!(": {kind}: {about}{owner}: {what}; {repair}")),
    }
}

fn problem(cx: &Cx<'_>, about: &str, error: &Error) {
    let message = format!("{about}{}", error.chain());
    cx.ui.event("problem", json!({ "message": message, "help": error.repair() }));
    let help = error.repair().map_or_else(String::new, |help| format!(" (help: {help})"));
    cx.ui.say_line(Line::of(Style::Danger, format!("it is tried again: {message}{help}")));
}

#[cfg(all(feature = "consumers", unix))]
fn alarms(cx: &Cx<'_>, args: &args::Watch, mut watcher: Watcher) -> Result<Watcher> {
    use std::collections::BTreeMap;

    use crate::{
        consumer::{Allowed, LocalTeller},
        deployment::watch::LocalAlarm,
        error::ErrorKind,
        secret::Secret,
    };

    let teller = |allowed: Allowed| {
        let teller = LocalTeller::new(allowed, BTreeMap::new());
        teller.with_clock(Arc::clone(cx.deployment.clock()))
    };
    // Who starts this program is the host: what they name here is allowed.
    if let (Some(hook), Some(key)) = (&args.alert_webhook, &args.alert_key) {
        let mut bytes = std::fs::read(cx.env.path(key)).map_err(|error| {
            let shown = crate::plan::render::printable(&key.display().to_string());
            Error::new(ErrorKind::Io, format!("the key of alerts cannot be read from `{shown}`"))
                .help("write at least 16 random bytes there, which the receiver has too")
                .caused_by(error)
        })?;
        while bytes.last().is_some_and(u8::is_ascii_whitespace) {
            bytes.pop();
        }
        if bytes.len() < 16 {
            return Err(Error::new(ErrorKind::InvalidInput, "the key of alerts is too short")
                .help("give it at least 16 random bytes"));
        }
        let allowed = Allowed::nothing().webhooks_of(hook.authority(), Secret::from_bytes(bytes));
        let alarm = LocalAlarm::webhook(teller(allowed), hook.clone());
        watcher = watcher.with_alarm(Arc::new(alarm));
    }
    if let Some(program) = &args.alert_command {
        let none: [String; 0] = [];
        let allowed = Allowed::nothing().command("alert", cx.env.path(program), none);
        let alarm = LocalAlarm::command(teller(allowed), "alert");
        watcher = watcher.with_alarm(Arc::new(alarm));
    }
    Ok(watcher)
}

#[cfg(not(all(feature = "consumers", unix)))]
fn alarms(_: &Cx<'_>, _: &args::Watch, watcher: Watcher) -> Result<Watcher> {
    Ok(watcher)
}
