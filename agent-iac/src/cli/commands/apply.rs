//! `apply` and `recover`.

use std::io::BufRead;

use super::{
    Cx,
    plan::{check_targets, tell, typed},
};
use crate::{
    cli::{Outcome, args, code},
    clock::block_on,
    error::{Error, ErrorKind, Result},
    plan::{
        SavedPlan,
        render::{Document, Level, Line, Style, printable, put},
    },
    value::Digest,
};

/// How many characters of a digest acknowledge a plan on a terminal.
const TYPED: usize = 8;

pub(super) fn apply(cx: &Cx<'_>, args: &args::Apply, input: &mut dyn BufRead) -> Result<Outcome> {
    let blueprint = match cx.deployment.blueprint() {
        Ok(blueprint) => blueprint,
        Err(mistakes) => return Ok(Outcome::Invalid(mistakes)),
    };
    check_targets(cx, &args.scope, &blueprint)?;
    cx.warn_of(&blueprint);
    let mut context = cx.context();
    context.parallel = args.parallel;
    let saved = args.file.as_ref().map(|path| read(&cx.env.path(path))).transpose()?;
    // What a dead run left in doubt comes first: a plan that was made on it
    // would leave those agents out.
    let settled = cx.run(cx.deployment.recover(&context))?;
    let settled = if settled.run.is_some() {
        cx.ui.say_line(Line::of(Style::Heading, "An earlier run did not end; this was settled:"));
        cx.report(&settled)
    } else {
        Outcome::Done
    };
    let saved = match saved {
        Some(saved) => saved,
        None => SavedPlan::new(block_on(cx.deployment.plan(&args.scope.request()))?)?
            .proposed_by(context.actor.clone()),
    };
    let plan = saved.plan();
    let blocked = plan.blocked.len();
    if cx.env.stop.is_requested() {
        return Ok(Outcome::Interrupted(crate::ledger::Summary::default()));
    }
    cx.ui.say(&cx.text(&saved, Level::Default, Vec::new()));
    tell(cx.ui, &saved, Vec::new());
    let worst = |outcome: Outcome| {
        if code(&outcome) != 0 {
            outcome
        } else if code(&settled) != 0 {
            settled
        } else if blocked > 0 {
            Outcome::Blocked { changes: blocked }
        } else {
            outcome
        }
    };
    if plan.is_empty() {
        return Ok(worst(Outcome::Done));
    }
    let given = Given {
        digest: args.digest.as_deref(),
        was_saved: args.file.is_some(),
        command: command(cx, args, saved.digest()),
    };
    if let Some(refused) = acknowledge(cx, given, &saved, input)? {
        return Ok(refused);
    }
    context.acknowledged = Some(saved.digest());
    let report = cx.run(cx.deployment.apply(&saved, &context))?;
    Ok(worst(cx.report(&report)))
}

pub(super) fn read(path: &std::path::Path) -> Result<SavedPlan> {
    let bytes = std::fs::read(path).map_err(|error| {
        let shown = printable(&path.display().to_string());
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("the plan `{shown}` could not be read")).caused_by(error)
    })?;
    SavedPlan::from_bytes(&bytes)
}

/// What was typed to acknowledge a plan.
pub(super) struct Given<'a> {
    pub(super) digest: Option<&'a str>,
    /// Whether the plan was read from a file.
    pub(super) was_saved: bool,
    /// The command that acknowledges exactly this plan.
    pub(super) command: String,
}

/// Has the plan acknowledged; an outcome when it is not.
pub(super) fn acknowledge(
    cx: &Cx<'_>,
    given: Given<'_>,
    saved: &SavedPlan,
    input: &mut dyn BufRead,
) -> Result<Option<Outcome>> {
    let digest = saved.digest();
    let Given { digest: given, was_saved, command } = given;
    if let Some(given) = given {
        if names(given, digest) {
            return Ok(None);
        }
        let given = &given[..TYPED];
        if !was_saved {
            // What was looked at is not what would be done now.
            return Err(Error::new(
                ErrorKind::StalePlan,
                format!("the plan is {} now, and {given} was acknowledged", digest.short()),
            )
            .help("something has moved since; read the new plan above, then acknowledge it"));
        }
        return Ok(Some(Outcome::Unacknowledged {
            message: format!("the saved plan is {}, and {given} was acknowledged", digest.short()),
            next: vec![command],
        }));
    }
    let asks = cx.env.input_is_terminal && cx.env.err_is_terminal && !cx.ui.is_json();
    if !asks {
        return Ok(Some(Outcome::Unacknowledged {
            message: "the plan is not acknowledged, and nobody is here to be asked".into(),
            next: vec![command],
        }));
    }
    cx.ui.say_line(Line::default());
    cx.ui.say_line(Line::of(
        Style::Heading,
        format!("To apply it, type the first {TYPED} characters of the plan's digest, {digest}."),
    ));
    let answer = cx.ui.ask("Digest:", input)?.to_ascii_lowercase();
    if answer.len() >= TYPED && names(&answer, digest) {
        return Ok(None);
    }
    Ok(Some(Outcome::Unacknowledged {
        message: "the digest was not typed, and nothing was applied".into(),
        next: vec![command],
    }))
}

fn names(given: &str, digest: Digest) -> bool {
    digest.to_string().starts_with(given)
}

/// The command that acknowledges exactly this plan.
fn command(cx: &Cx<'_>, args: &args::Apply, digest: Digest) -> String {
    let mut command = format!("{} apply", cx.ui.command);
    if let Some(file) = &args.file {
        put(&mut command, format_args!(" {}", typed(&file.display().to_string())));
    }
    for target in &args.scope.target {
        put(&mut command, format_args!(" --target {}", typed(&target.to_string())));
    }
    if let Some(number) = args.scope.allow_leaving {
        put(&mut command, format_args!(" --allow-leaving {number}"));
    }
    format!("{command} --digest {}", digest.short())
}

pub(super) fn recover(cx: &Cx<'_>) -> Result<Outcome> {
    let report = cx.run(cx.deployment.recover(&cx.context()))?;
    if report.run.is_none() {
        let mut document = Document::default();
        document.push(Line::of(Style::Good, "Nothing is in doubt that could be settled now."));
        cx.ui.print(&document);
        return Ok(Outcome::Done);
    }
    Ok(cx.report(&report))
}
