//! The commands, each a few calls of the deployment.

mod agents;
mod apply;
mod calendar;
#[cfg(all(feature = "process", unix))]
mod exec;
mod graph;
mod help;
mod history;
mod import;
mod inventory;
mod ledger;
mod plan;
mod rotate;
mod show;
mod verify;
mod watch;

use std::{
    io::BufRead,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use clap::CommandFactory as _;
use serde_json::json;

use super::{
    Env, Outcome, actor,
    args::{Cli, Command},
    diagnostic,
    progress::watch,
    ui::Ui,
};
use crate::{
    apply::{Report, RunContext},
    clock::block_on,
    deployment::Deployment,
    diagnostic::Diagnostics,
    error::Result,
    plan::render::{Document, Line, Style, count},
};

/// What every command has at hand.
pub(super) struct Cx<'a> {
    pub(super) ui: &'a Ui,
    pub(super) env: &'a Env,
    pub(super) deployment: &'a Arc<Deployment>,
}

pub(super) fn run(
    command: Command,
    deployment: impl FnOnce() -> Result<Deployment>,
    ui: &Ui,
    input: &mut dyn BufRead,
    env: &Env,
) -> Outcome {
    match command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, &*ui.program, &mut script);
            ui.print_raw(&String::from_utf8_lossy(&script));
            return Outcome::Done;
        }
        Command::Help { topic } => return help::help(ui, topic.as_deref()),
        // There is no ledger yet that a deployment could be made with.
        #[cfg(feature = "sqlite")]
        Command::Ledger { command: super::args::LedgerCommand::Restore(restore) } => {
            return ledger::restore(ui, env, &restore).unwrap_or_else(Outcome::from);
        }
        _ => {}
    }
    let deployment = match deployment() {
        Ok(deployment) => Arc::new(deployment),
        Err(error) => return error.into(),
    };
    let cx = Cx { ui, env, deployment: &deployment };
    let result = match command {
        Command::Completions { .. } | Command::Help { .. } => Ok(Outcome::Done),
        Command::Validate => Ok(validate(&cx)),
        Command::Plan(plan) => plan::plan(&cx, &plan),
        Command::Apply(apply) => apply::apply(&cx, &apply, input),
        Command::Rotate(rotate) => rotate::rotate(&cx, &rotate, input),
        Command::Drift(drift) => plan::drift(&cx, &drift),
        Command::Watch(watch) => watch::watch(&cx, &watch),
        Command::Show(show) => show::show(&cx, &show),
        Command::Import(import) => import::import(&cx, &import),
        Command::Calendar(calendar) => calendar::calendar(&cx, &calendar),
        Command::Inventory => inventory::inventory(&cx),
        Command::History(history) => history::history(&cx, &history),
        Command::Graph(graph) => Ok(graph::graph(&cx, &graph)),
        Command::Verify(verify) => verify::verify(&cx, &verify),
        Command::Ledger { command } => ledger::ledger(&cx, &command),
        Command::Kill(kill) => agents::kill(&cx, &kill),
        Command::Resume(one) => agents::resume(&cx, &one.agent),
        Command::Hold(hold) => agents::hold(&cx, &hold),
        Command::Release(one) => agents::release(&cx, &one.agent),
        #[cfg(all(feature = "process", unix))]
        Command::Exec(exec) => exec::exec(&cx, &exec),
        Command::Recover => apply::recover(&cx),
    };
    result.unwrap_or_else(Outcome::from)
}

fn validate(cx: &Cx<'_>) -> Outcome {
    let blueprint = match cx.deployment.blueprint() {
        Ok(blueprint) => blueprint,
        Err(mistakes) => return Outcome::Invalid(mistakes),
    };
    // Without the ledger, as if every credential were issued now.
    let calendar = cx.deployment.calendar_of(&blueprint, None, Duration::ZERO);
    if calendar.diagnostics().has_errors() {
        return Outcome::Invalid(calendar.diagnostics().clone());
    }
    cx.warn(calendar.diagnostics());
    let (agents, resources) = (blueprint.agents().count(), blueprint.resources().len());
    let mut document = Document::default();
    document.push(Line::of(
        Style::Good,
        format!(
            "The fleet {} is valid in {}: {}, {}.",
            blueprint.fleet(),
            blueprint.environment(),
            count(agents, "agent", "agents"),
            count(resources, "resource", "resources"),
        ),
    ));
    cx.ui.print(&document);
    cx.ui.summarise(json!({
        "fleet": blueprint.fleet(),
        "environment": blueprint.environment(),
        "blueprint": blueprint.digest(),
        "agents": agents,
        "resources": resources,
    }));
    Outcome::Done
}

impl Cx<'_> {
    /// Shows what is valid and should be looked at.
    fn warn(&self, warnings: &Diagnostics) {
        self.ui.say(&diagnostic::diagnostics(warnings, self.env));
        for warning in warnings.iter() {
            self.ui.event("diagnostic", json!({ "diagnostic": warning }));
        }
    }

    /// A run of whoever is at the keyboard.
    fn context(&self) -> RunContext {
        let actor = actor::actor(self.env);
        let mut context = RunContext::new(actor);
        context.holder = actor::holder(self.env, &context.actor);
        context.revision = actor::revision(self.env);
        context.stop = self.env.stop.clone();
        context.watch = watch(self.ui, self.deployment.clock());
        context
    }

    /// Carries a run to its end, so that Ctrl-C ends it in order.
    pub(super) fn run(&self, run: impl Future<Output = Result<Report>>) -> Result<Report> {
        self.env.underway.store(true, Ordering::SeqCst);
        let report = block_on(run);
        self.env.underway.store(false, Ordering::SeqCst);
        report
    }

    /// Shows what a run did, and what that amounts to.
    fn report(&self, report: &Report) -> Outcome {
        use crate::{apply::Outcome as Ended, cli::progress};

        let mut document = Document::default();
        let unfinished = report.steps.iter().filter(|step| !matches!(step.outcome, Ended::Done));
        let lines = unfinished.map(|step| {
            let (word, why, style) = progress::ended(step);
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            Line::plain(format!("  {} {}: ", step.action, step.address))
                .with(style, format!("{word}{why}"))
        });
        document.section(lines);
        for left in &report.left {
            let open = left.open.len();
            let all = if open == 0 { "nothing of it is left" } else { "this is left of it" };
            document.section([Line::plain(format!(
                "{} has left ({}) within {} s; {all}{}",
                left.instance,
                left.cause,
                left.seconds,
                if open == 0 { "." } else { ":" },
            ))]);
            document.extend(left.open.iter().map(|(address, why)| {
                Line::plain(format!("  {address}: ")).with(Style::Danger, why)
            }));
        }
        if let Some(error) = &report.unfinished {
            document.section([Line::of(
                Style::Danger,
                format!("The end of the run is not recorded: {}", error.chain()),
            )]);
        }
        document.extend(report.untold.iter().map(|untold| {
            let who = format!("  {}: `{}` was not told: ", untold.address, untold.consumer);
            Line::plain(who).with(Style::Danger, &untold.because)
        }));
        if let Some(error) = &report.unheard {
            let what = format!("  nobody who confirms could be heard: {}", error.chain());
            document.extend([Line::of(Style::Danger, what)]);
        }
        let summary = report.summary;
        let style = if report.is_complete() { Style::Good } else { Style::Danger };
        let run = report.run.as_ref().map_or_else(String::new, |run| format!(" Run {run}."));
        document.section([Line::of(
            style,
            format!(
                "{} done, {} failed, {} skipped, {} in doubt.",
                summary.done, summary.failed, summary.skipped, summary.in_doubt
            ),
        )
        .with(Style::Faint, run)]);
        self.ui.print(&document);
        let left: Vec<_> = report
            .left
            .iter()
            .map(|left| {
                let open: std::collections::BTreeMap<String, &String> =
                    left.open.iter().map(|(address, why)| (address.to_string(), why)).collect();
                json!({
                    "agent": left.instance,
                    "cause": left.cause,
                    "seconds": left.seconds,
                    "open": open,
                })
            })
            .collect();
        self.ui.summarise(json!({
            "run": report.run,
            "steps": summary,
            "left": left,
            "not_done": report.steps.iter()
                .filter(|step| !matches!(step.outcome, Ended::Done))
                .map(progress::step_json)
                .collect::<Vec<_>>(),
            "untold": report.untold.iter().map(|untold| json!({
                "address": untold.address,
                "consumer": untold.consumer,
                "why": untold.because,
            })).collect::<Vec<_>>(),
            "unheard": report.unheard.as_ref().map(|error| error.chain()),
        }));
        if self.env.stop.is_requested() && summary.skipped > 0 {
            return Outcome::Interrupted(summary);
        }
        let unproved =
            report.steps.iter().filter(|step| matches!(step.outcome, Ended::Unproved(_))).count();
        let open: usize = report.left.iter().map(|left| left.open.len()).sum();
        let unfinished = usize::from(report.unfinished.is_some());
        let told = report.untold.len() + usize::from(report.unheard.is_some());
        Outcome::Steps { summary, open: unproved + open + unfinished + told }
    }
}
