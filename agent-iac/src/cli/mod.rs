//! A command line for deploy binaries: plan, apply, drift, history and more,
//! for any fleet.
//!
//! Owns what is typed and what is shown. It decides nothing about a fleet: each
//! command is a few calls of [`Deployment`]. It is the only module that touches
//! the process: its streams, its variables and its signals.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use agent_iac::{Result, deployment::Deployment};
//!
//! fn deployment() -> Result<Deployment> {
//!     # unimplemented!()
//!     // …
//! }
//!
//! fn main() -> ExitCode {
//!     agent_iac::cli::main(deployment)
//! }
//! ```

mod actor;
mod args;
mod commands;
mod diagnostic;
mod env;
mod outcome;
mod program;
mod progress;
mod ui;

#[cfg(test)]
mod tests;

pub use env::{Env, Streams};
pub use outcome::{CODES, Outcome, code};
pub use program::{Asked, Need, Program, ProgramOption};

use std::{ffi::OsString, process::ExitCode};

use clap::FromArgMatches as _;

use self::{args::Cli, program::Warned, ui::Ui};
use crate::{deployment::Deployment, error::Result};

/// Runs the command line of this process to its end.
///
/// The deployment is made when a command needs it, so that `help` works where
/// a ledger cannot be opened, and a failure to make it is told like any other.
///
/// Ctrl-C asks a run that is under way to end early, and so do SIGTERM, which
/// containers and pipelines stop a process with, and a terminal that is closed;
/// a second one, or one while nothing is under way, ends the process at once.
/// The next run settles what was under way.
pub fn main(deployment: impl FnOnce() -> Result<Deployment>) -> ExitCode {
    main_with(std::env::args_os(), deployment)
}

/// As [`main`], with arguments of which the caller has taken some for itself;
/// the first is the program's name. [`Program`] has options of its own that
/// help and completions know.
pub fn main_with(
    args: impl IntoIterator<Item = OsString>,
    deployment: impl FnOnce() -> Result<Deployment>,
) -> ExitCode {
    of_process(&Program::new(), args, |_| deployment())
}

fn of_process(
    program: &Program,
    args: impl IntoIterator<Item = OsString>,
    deployment: impl FnOnce(&Asked) -> Result<Deployment>,
) -> ExitCode {
    let env = Env::of_process();
    let surroundings = env.clone();
    let interrupt = move || {
        use std::io::Write as _;
        if surroundings.passes_on.load(std::sync::atomic::Ordering::SeqCst) {
            return;
        }
        if surroundings.interrupt() {
            // There is nobody left to return to: the process waits in a call
            // that does not end, or for an answer.
            std::process::exit(130);
        }
        let text = "\nstopping when what is under way has ended; again to end at once\n";
        // There is nowhere left to say that standard error is gone.
        let _: std::io::Result<()> = std::io::stderr().write_all(text.as_bytes());
    };
    // Where no handler can be installed, a signal ends the process as it does
    // without one, and the next run settles what was under way.
    let _: Result<(), ctrlc::Error> = ctrlc::set_handler(interrupt);
    let outcome = program.run(args, deployment, Streams::of_process(), &env);
    ExitCode::from(code(&outcome))
}

/// Runs one command line, touching nothing of the process but the files that
/// it names.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    deployment: impl FnOnce() -> Result<Deployment>,
    streams: Streams,
    env: &Env,
) -> Outcome {
    Program::new().run(args, |_| deployment(), streams, env)
}

fn drive(
    program: &Program,
    args: &[OsString],
    deployment: impl FnOnce(&Asked) -> Result<Deployment>,
    streams: Streams,
    env: &Env,
) -> Outcome {
    let name = name(args);
    // Programs are answered in their form also when they are not understood.
    let in_json = args.iter().any(|word| word == "--json");
    let Streams { mut out, mut err, mut input } = streams;
    let root = program.command(&name);
    let parsed = root.clone().try_get_matches_from(args).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        let taken = program
            .taken(&name, args, &matches)
            .map_err(|message| root.clone().error(clap::error::ErrorKind::InvalidValue, message))?;
        Ok((cli, taken))
    });
    let (cli, (values, again)) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let text = error.render().to_string();
            if error.use_stderr() && in_json {
                let ui = Ui::for_json(out, err, name);
                return conclude(Outcome::Usage(text), &ui, env);
            }
            let stream = if error.use_stderr() { &mut err } else { &mut out };
            // What cannot be written here has no other place to go.
            let _: std::io::Result<()> =
                stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
            return if error.use_stderr() { Outcome::Usage(text) } else { Outcome::Done };
        }
    };
    let ui = match Ui::new(&cli.global, out, err, env, name) {
        Ok(ui) => ui.called(again),
        Err((error, mut err)) => {
            let _: std::io::Result<()> = writeln!(err, "error: {}", error.chain());
            return Outcome::Failed(error);
        }
    };
    let asked = Asked::new(&cli.command, values);
    let deployment = || {
        let made = deployment(&asked);
        asked.warned().into_iter().for_each(|warned| tell(warned, &ui, env));
        made
    };
    let outcome = commands::run(cli.command, root, deployment, &ui, &mut *input, env);
    conclude(outcome, &ui, env)
}

/// Shows what the program warned of.
fn tell(warned: Warned, ui: &Ui, env: &Env) {
    use crate::plan::render::{Line, Style};
    use serde_json::json;

    match warned {
        Warned::Note(text) => {
            ui.say_line(Line::of(Style::Faint, &text));
            ui.event("note", json!({ "message": text }));
        }
        Warned::Text(text) => {
            ui.say_line(Line::of(Style::Change, "warning").with(Style::Plain, format!(": {text}")));
            ui.event("warning", json!({ "message": text }));
        }
        Warned::Mistakes(mistakes) => {
            ui.say(&diagnostic::diagnostics(&mistakes, env));
            for mistake in mistakes.iter() {
                ui.event("diagnostic", json!({ "diagnostic": mistake }));
            }
        }
    }
}

/// Tells how it ended, in every form from the one outcome.
fn conclude(outcome: Outcome, ui: &Ui, env: &Env) -> Outcome {
    use crate::plan::render::{Line, Style};
    use serde_json::json;

    ui.flush();
    let outcome = match ui.failure() {
        Some(error) if code(&outcome) == 0 => Outcome::Failed(error),
        _ => outcome,
    };
    if let Outcome::Invalid(mistakes) = &outcome {
        ui.say(&diagnostic::diagnostics(mistakes, env));
        for mistake in mistakes.iter() {
            ui.event("diagnostic", json!({ "diagnostic": mistake }));
        }
    }
    if let Some(message) = outcome.message() {
        let address = outcome.address().map_or_else(String::new, |address| format!("{address}: "));
        ui.say_line(
            Line::of(Style::Danger, "error").with(Style::Plain, format!(": {address}{message}")),
        );
        if let Some(help) = outcome.help() {
            ui.say_line(Line::of(Style::Good, "help").with(Style::Plain, format!(": {help}")));
        }
        for command in outcome.next(&ui.command) {
            ui.say_line(Line::plain("next:  ").with(Style::Heading, command));
        }
    }
    if let Some(envelope) = outcome.envelope(&ui.command) {
        ui.object(&envelope);
    }
    let mut last = json!({ "type": "summary", "outcome": outcome.word(), "exit": code(&outcome) });
    if let (Some(last), Some(more)) = (last.as_object_mut(), ui.summary().as_object()) {
        last.extend(more.clone());
    }
    ui.object(&last);
    ui.flush();
    outcome
}

/// How the program is called, for commands to type.
fn name(args: &[OsString]) -> String {
    args.first()
        .map(std::path::Path::new)
        .and_then(std::path::Path::file_stem)
        .and_then(|name| name.to_str())
        .filter(|name| !name.is_empty())
        .unwrap_or("deploy")
        .to_owned()
}
