//! `plan` and `drift`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

pub(super) use crate::cli::program::typed;

use super::Cx;
use crate::{
    address::Instance,
    blueprint::Blueprint,
    cli::{
        Outcome,
        args::{self, PlanFormat},
        ui::Ui,
    },
    clock::block_on,
    deployment::PlanRequest,
    error::{Error, ErrorKind, Result},
    plan::{
        Plan, SavedPlan,
        render::{self, Document, Level, Line, Options, Style, Summary, put},
    },
    provider::{Principal, Requirement},
};

impl args::Depth {
    pub(super) fn level(&self) -> Level {
        match (self.summary, self.full) {
            (true, _) => Level::Summary,
            (_, true) => Level::Full,
            _ => Level::Default,
        }
    }
}

impl args::Scope {
    pub(super) fn request(&self) -> PlanRequest {
        PlanRequest {
            targets: self.target.iter().cloned().collect::<BTreeSet<_>>(),
            max_leaving: self.allow_leaving,
        }
    }
}

impl Cx<'_> {
    /// Shows a plan as text.
    pub(super) fn text(&self, saved: &SavedPlan, level: Level, next: Vec<String>) -> Document {
        render::text(saved, &self.options(level, next))
    }

    pub(super) fn options(&self, level: Level, next: Vec<String>) -> Options {
        options(self.ui, level, next)
    }
}

/// How a plan is shown here.
pub(super) fn options(ui: &Ui, level: Level, next: Vec<String>) -> Options {
    Options { level, ascii: ui.ascii, next, ..Options::default() }
}

/// Refuses targets that there are not, which would plan nothing and look like
/// a fleet without changes.
pub(super) fn check_targets(cx: &Cx<'_>, scope: &args::Scope, blueprint: &Blueprint) -> Result<()> {
    if scope.target.is_empty() {
        return Ok(());
    }
    let state = block_on(cx.deployment.state())?;
    let known =
        |agent: &&Instance| blueprint.agent(agent).is_none() && !state.agents.contains_key(*agent);
    match scope.target.iter().find(known) {
        None => Ok(()),
        Some(agent) => Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no agent `{agent}`, neither declared nor recorded"),
        )
        .help("`validate` and `inventory` name those that there are")),
    }
}

pub(super) fn plan(cx: &Cx<'_>, args: &args::Plan) -> Result<Outcome> {
    // Validated first, so that every mistake is shown with its line.
    let blueprint = match cx.deployment.blueprint() {
        Ok(blueprint) => blueprint,
        Err(mistakes) => return Ok(Outcome::Invalid(mistakes)),
    };
    if args.requires {
        requires(cx, &cx.deployment.requires(&blueprint));
        return Ok(Outcome::Done);
    }
    check_targets(cx, &args.scope, &blueprint)?;
    cx.warn_of(&blueprint);
    let request = args.scope.request();
    let saved = SavedPlan::new(block_on(cx.deployment.plan(&request))?)?
        .proposed_by(super::actor::actor(cx.env));
    if let Some(path) = &args.out {
        save(&cx.env.path(path), &saved)?;
    }
    let program = &cx.ui.command;
    let digest = saved.digest().short();
    let next = if saved.plan().is_empty() {
        Vec::new()
    } else if let Some(path) = &args.out {
        let file = typed(&path.display().to_string());
        vec![
            format!("{program} apply {file} --digest {digest}"),
            format!("{program} show {file} --full"),
        ]
    } else {
        let mut command = format!("{program} apply --digest {digest}");
        for target in &args.scope.target {
            put(&mut command, format_args!(" --target {}", typed(&target.to_string())));
        }
        if let Some(number) = args.scope.allow_leaving {
            put(&mut command, format_args!(" --allow-leaving {number}"));
        }
        vec![command]
    };
    if !cx.ui.is_json() {
        match args.format {
            PlanFormat::Text => cx.ui.print(&cx.text(&saved, args.depth.level(), next.clone())),
            PlanFormat::Markdown => {
                let mut options = cx.options(args.depth.level(), next.clone());
                options.max_bytes = args.max_bytes;
                cx.ui.print_raw(&render::markdown(&saved, &options));
            }
            PlanFormat::Json => cx.ui.print_raw(&format!("{}\n", render::json(&saved)?)),
        }
    }
    tell(cx.ui, &saved, next);
    Ok(judged(saved.plan(), args.detailed_exitcode))
}

/// Shows what the principals need, in a form that can be pasted where each
/// system is administered: everything but the statements is a comment.
fn requires(cx: &Cx<'_>, requires: &BTreeMap<String, Vec<Requirement>>) {
    let mut document = Document::default();
    for (provider, requirements) in requires {
        if requirements.is_empty() {
            document.section([Line::of(
                Style::Faint,
                format!("-- The provider {provider} names nothing that its principals need."),
            )]);
        }
        for principal in [Principal::Observe, Principal::Apply, Principal::Probe] {
            let of: Vec<_> = requirements.iter().filter(|r| r.principal == principal).collect();
            if of.is_empty() {
                continue;
            }
            let title = format!("-- {provider}: what the principal {principal} needs");
            document.section([Line::of(Style::Heading, title)]);
            for Requirement { statement, why, .. } in of {
                let why = why.lines().map(|line| Line::of(Style::Faint, format!("-- {line}")));
                document.extend(why);
                document.extend(statement.lines().map(Line::plain));
            }
        }
    }
    cx.ui.print(&document);
    for (provider, requirements) in requires {
        for requirement in requirements {
            let object = json!({ "provider": provider, "requirement": requirement });
            cx.ui.event("requires", object);
        }
    }
    cx.ui.summarise(json!({ "requires": requires }));
}

/// Gives programs the plan, and sums it up in the last object.
pub(super) fn tell(ui: &Ui, saved: &SavedPlan, next: Vec<String>) {
    ui.event("plan", json!({ "digest": saved.digest(), "plan": saved.plan() }));
    let mut summary = json!(Summary::of(saved));
    if let Some(fields) = summary.as_object_mut() {
        fields.insert("next".into(), Json::from(next));
    }
    ui.summarise(summary);
}

/// What a plan's content means for the exit code, where that was asked for.
fn judged(plan: &Plan, detailed: bool) -> Outcome {
    if !detailed || plan.is_clean() {
        return Outcome::Done;
    }
    let only_unread = plan.is_empty()
        && plan.blocked.is_empty()
        && plan.drift.is_empty()
        && plan.undeclared.is_empty()
        && plan.in_doubt.is_empty();
    if only_unread {
        Outcome::Unchecked { objects: plan.unread.len() + plan.unread_beside() }
    } else {
        Outcome::Changes
    }
}

/// Writes the plan beside its place and moves it there, so that a crash leaves
/// no half of one.
fn save(path: &std::path::Path, saved: &SavedPlan) -> Result<()> {
    let failed = |error: std::io::Error| {
        let shown = render::printable(&path.display().to_string());
        Error::new(ErrorKind::Io, format!("the plan could not be saved as `{shown}`"))
            .caused_by(error)
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = std::fs::write(&beside, saved.to_bytes()?)
        .and_then(|()| std::fs::File::open(&beside)?.sync_all())
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        // Nothing of it is wanted; that it cannot be removed changes nothing.
        let _: std::io::Result<()> = std::fs::remove_file(&beside);
        failed(error)
    })
}

pub(super) fn drift(cx: &Cx<'_>, args: &args::Drift) -> Result<Outcome> {
    if let Err(mistakes) = cx.deployment.blueprint() {
        return Ok(Outcome::Invalid(mistakes));
    }
    if args.revert_widening {
        let report = cx.run(cx.deployment.revert_drift(&cx.context()))?;
        return Ok(cx.report(&report));
    }
    let whole = block_on(cx.deployment.compare(&PlanRequest::default()))?;
    let program = &cx.ui.command;
    let next = if whole.steps.is_empty() { Vec::new() } else { vec![format!("{program} plan")] };
    let mut document = render::drift(&whole, &cx.options(args.depth.level(), Vec::new()));
    document.section(cx.waiting(&BTreeSet::new()));
    document
        .extend(next.iter().map(|command| Line::plain("Next:  ").with(Style::Heading, command)));
    // What would be done about it is the business of `plan`.
    let plan = Plan {
        undeclared: whole.all_undeclared(),
        steps: Vec::new(),
        agents: Vec::new(),
        blocked: Vec::new(),
        ..whole
    };
    cx.ui.print(&document);
    for drift in &plan.drift {
        cx.ui.event("drift", json!({ "drift": drift }));
    }
    for found in &plan.undeclared {
        cx.ui.event("undeclared", json!({ "undeclared": found }));
    }
    for (address, why) in &plan.unread {
        cx.ui.event("unread", json!({ "address": address, "why": why }));
    }
    for beside in &plan.beside {
        cx.ui.event("beside", json!({ "beside": beside }));
    }
    cx.ui.summarise(json!({
        "drift": plan.drift.len(),
        "undeclared": plan.undeclared.len(),
        "unread": plan.unread.len(),
        "in_doubt": plan.in_doubt.len(),
        "besides": plan.beside.iter().map(|beside| beside.sources.len()).sum::<usize>(),
        "besides_unread": plan.unread_beside(),
        "warnings": plan.warnings().collect::<Vec<_>>(),
        "widening": plan.drift.iter().filter(|d| d.access.verdict() == crate::access::Verdict::Widens).count(),
        "observed_at": plan.observed_at,
        "next": next,
    }));
    Ok(judged(&plan, args.detailed_exitcode))
}
