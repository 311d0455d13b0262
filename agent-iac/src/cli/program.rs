//! A command line with options of the program's own.
//!
//! Owns how such options stand beside those of this module: in help, in
//! completions, and in every command that is suggested. What they mean is the
//! program's business.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _, parser::ValueSource};

use super::{
    Env, Outcome, Streams,
    args::{Cli, Command, LedgerCommand},
    drive,
};
use crate::{deployment::Deployment, diagnostic::Diagnostics, error::Result};

/// What a command wants of the deployment that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// The fleet, to be judged: nothing is contacted, and nothing should be made.
    Judge,
    /// Systems to look at, for a fleet that may not be written yet.
    Survey,
    /// The fleet and its systems, which may begin to be kept here.
    Begin,
    /// The fleet and its systems, as they were begun before.
    Standing,
    /// What is recorded, and the systems: a fleet that is wrong, or is not
    /// there, must keep nobody from it.
    Recorded,
}

/// An option of the program's own, which stands before or behind a command.
///
/// ```
/// use agent_iac::cli::{Program, ProgramOption};
///
/// let program = Program::new()
///     .option(ProgramOption::new("site", "NAME", "Where this runs").or("berlin"))
///     .option(ProgramOption::new("replica", "URL", "Another server").repeated().with("site"));
/// # let _: Program = program;
/// ```
#[derive(Clone, Debug)]
pub struct ProgramOption {
    name: &'static str,
    value: &'static str,
    help: &'static str,
    heading: &'static str,
    default: Option<&'static str>,
    repeated: bool,
    with: Option<&'static str>,
}

impl ProgramOption {
    /// `--name <VALUE>`, and what it says, in a few words.
    pub fn new(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self {
            name,
            value,
            help,
            heading: "This program",
            default: None,
            repeated: false,
            with: None,
        }
    }

    /// What it is when it is not given.
    #[must_use]
    pub fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// It may be given several times.
    #[must_use]
    pub fn repeated(self) -> Self {
        Self { repeated: true, ..self }
    }

    /// It means nothing without another one, and is refused then.
    #[must_use]
    pub fn with(self, other: &'static str) -> Self {
        Self { with: Some(other), ..self }
    }

    /// Over which it stands in help.
    #[must_use]
    pub fn under(self, heading: &'static str) -> Self {
        Self { heading, ..self }
    }

    fn arg(&self) -> Arg {
        let action = if self.repeated { ArgAction::Append } else { ArgAction::Set };
        let arg = Arg::new(self.name)
            .long(self.name)
            .value_name(self.value)
            .help(self.help)
            .help_heading(self.heading)
            .value_parser(clap::value_parser!(OsString))
            .value_hint(match self.value {
                "FILE" => clap::ValueHint::FilePath,
                "FOLDER" => clap::ValueHint::DirPath,
                _ => clap::ValueHint::Unknown,
            })
            .action(action)
            .global(true);
        match self.default {
            Some(default) => arg.default_value(default),
            None => arg,
        }
    }
}

/// What was typed of the program's own options, and what the command wants.
#[derive(Debug)]
pub struct Asked {
    need: Need,
    values: BTreeMap<&'static str, Vec<OsString>>,
    warnings: Mutex<Vec<Warned>>,
}

/// Something that is told before the command goes on.
#[derive(Debug)]
pub(super) enum Warned {
    Note(String),
    Text(String),
    Mistakes(Diagnostics),
}

impl Asked {
    /// What the command wants.
    pub fn need(&self) -> Need {
        self.need
    }

    /// The value of an option; `None` when it has none.
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.values.get(name)?.first().map(OsString::as_os_str)
    }

    /// The value of an option as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from)
    }

    /// The value of an option as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.to_str()
    }

    /// All values of an option that may be repeated, as text.
    pub fn texts<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.values.get(name).into_iter().flatten().filter_map(|value| value.to_str())
    }

    /// Says something before the command goes on.
    pub fn note(&self, text: impl Into<String>) {
        self.push(Warned::Note(text.into()));
    }

    /// Warns of something before the command goes on.
    pub fn warn(&self, text: impl Into<String>) {
        self.push(Warned::Text(text.into()));
    }

    /// Shows mistakes with which the command can go on.
    pub fn warn_of(&self, mistakes: Diagnostics) {
        self.push(Warned::Mistakes(mistakes));
    }

    fn push(&self, warned: Warned) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warned);
    }

    pub(super) fn warned(&self) -> Vec<Warned> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A command line with options of the program's own, which help, completions
/// and suggested commands know as they know all others.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use agent_iac::cli::{Asked, Program, ProgramOption};
/// # use agent_iac::{Result, deployment::Deployment};
/// # fn deployment_at(site: Option<&str>) -> Result<Deployment> { unimplemented!("{site:?}") }
///
/// fn main() -> ExitCode {
///     Program::new()
///         .option(ProgramOption::new("site", "NAME", "Where this runs").or("berlin"))
///         .main(|asked: &Asked| deployment_at(asked.text("site")))
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Program {
    options: Vec<ProgramOption>,
}

impl Program {
    /// A program without options of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an option.
    #[must_use]
    pub fn option(mut self, option: ProgramOption) -> Self {
        self.options.push(option);
        self
    }

    /// Runs the command line of this process to its end, as
    /// [`main`](super::main) does.
    pub fn main(self, deployment: impl FnOnce(&Asked) -> Result<Deployment>) -> ExitCode {
        super::of_process(&self, std::env::args_os(), deployment)
    }

    /// Runs one command line, as [`run`](super::run) does.
    pub fn run(
        &self,
        args: impl IntoIterator<Item = OsString>,
        deployment: impl FnOnce(&Asked) -> Result<Deployment>,
        streams: Streams,
        env: &Env,
    ) -> Outcome {
        let args: Vec<OsString> = args.into_iter().collect();
        drive(self, &args, deployment, streams, env)
    }

    /// Everything that can be typed.
    pub(super) fn command(&self, name: &str) -> clap::Command {
        let command = Cli::command().display_name(name.to_owned()).bin_name(name.to_owned());
        command.args(self.options.iter().map(ProgramOption::arg))
    }

    /// What was typed of the program's own options, and the words by which it is
    /// called again with them.
    ///
    /// # Errors
    ///
    /// In words, when one is empty, is there twice, or needs another one.
    pub(super) fn taken(
        &self,
        name: &str,
        args: &[OsString],
        matches: &ArgMatches,
    ) -> Result<(BTreeMap<&'static str, Vec<OsString>>, String), String> {
        let mut values = BTreeMap::new();
        let mut again = typed(name);
        for option in &self.options {
            let found: Vec<OsString> = matches
                .get_many::<OsString>(option.name)
                .map(|values| values.cloned().collect())
                .unwrap_or_default();
            let long = format!("--{}", option.name);
            if matches.value_source(option.name) == Some(ValueSource::CommandLine) {
                if found.iter().any(|value| value.is_empty()) {
                    return Err(format!("`{long}` needs a value"));
                }
                if found.iter().any(|value| value.to_str().is_none()) && !option.is_a_path() {
                    return Err(format!("`{long}` is not text"));
                }
                // Of what stands before the command and behind it, the parser
                // would take the one and drop the other.
                if times(&long, args) > found.len() {
                    return Err(format!(
                        "`{long}` stands before the command and behind it; give it in one place"
                    ));
                }
                for value in &found {
                    again.push_str(&format!(" {long} {}", typed(&value.to_string_lossy())));
                }
            }
            if !found.is_empty() {
                values.insert(option.name, found);
            }
        }
        for option in &self.options {
            if let Some(other) = option.with
                && values.contains_key(option.name)
                && !values.contains_key(other)
            {
                return Err(format!("`--{}` needs `--{other}`", option.name));
            }
        }
        Ok((values, again))
    }
}

impl ProgramOption {
    fn is_a_path(&self) -> bool {
        matches!(self.value, "FILE" | "FOLDER")
    }
}

/// How often an option was typed.
fn times(long: &str, args: &[OsString]) -> usize {
    let is = |word: &str| {
        word.strip_prefix(long).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let before_the_rest = args.iter().take_while(|word| *word != "--");
    before_the_rest.filter(|word| is(&word.to_string_lossy())).count()
}

impl Asked {
    pub(super) fn new(command: &Command, values: BTreeMap<&'static str, Vec<OsString>>) -> Self {
        Self { need: need(command), values, warnings: Mutex::default() }
    }
}

fn need(command: &Command) -> Need {
    match command {
        Command::Validate | Command::Graph(_) => Need::Judge,
        Command::Plan(plan) if plan.requires => Need::Judge,
        Command::Import(_) => Need::Survey,
        Command::Plan(_) | Command::Apply(_) => Need::Begin,
        Command::Show(_)
        | Command::Inventory
        | Command::History(_)
        | Command::Verify(_)
        | Command::Kill(_)
        | Command::Resume(_)
        | Command::Hold(_)
        | Command::Release(_)
        | Command::Recover
        | Command::Ledger {
            command:
                LedgerCommand::Backup { .. } | LedgerCommand::Archive { .. } | LedgerCommand::Rewind(_),
        } => Need::Recorded,
        #[cfg(all(feature = "process", unix))]
        Command::Exec(_) => Need::Recorded,
        _ => Need::Standing,
    }
}

/// A word as it has to be typed in a shell.
pub(super) fn typed(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Program {
        Program::new()
            .option(ProgramOption::new("site", "NAME", "Where this runs").or("berlin"))
            .option(ProgramOption::new("at", "FOLDER", "Where it is kept"))
            .option(ProgramOption::new("also", "URL", "Another server").repeated().with("at"))
    }

    fn taken(words: &[&str]) -> Result<(BTreeMap<&'static str, Vec<OsString>>, String), String> {
        let args: Vec<OsString> = ["deploy"].iter().chain(words).map(OsString::from).collect();
        let matches = program().command("deploy").try_get_matches_from(&args).unwrap();
        program().taken("deploy", &args, &matches)
    }

    #[test]
    fn own_options_stand_anywhere_and_in_the_command_that_is_suggested() {
        let asked = ["--at", "a b", "ledger", "--also", "x:1", "backup", "f", "--site=hamburg"];
        let (values, again) = taken(&asked).unwrap();
        assert_eq!(again, "deploy --site hamburg --at 'a b' --also x:1");
        assert_eq!(values["site"], ["hamburg"]);
        let (values, again) = taken(&["plan"]).unwrap();
        assert_eq!((&*again, &*values["site"]), ("deploy", &[OsString::from("berlin")][..]));
    }

    #[test]
    fn what_would_be_dropped_or_mean_nothing_is_refused() {
        for (words, message) in [
            (&["--also", "x", "plan"][..], "`--also` needs `--at`"),
            (&["--at=", "plan"], "`--at` needs a value"),
            (&["--at", "a", "plan", "--at", "b"], "`--at` stands before the command and behind it"),
            (
                &["--at", "a", "--also", "x", "plan", "--also=y"],
                "`--also` stands before the command and behind it",
            ),
        ] {
            let told = taken(words).unwrap_err();
            assert!(told.starts_with(message), "{words:?}: {told}");
        }
        let both = taken(&["plan", "--at", "a", "--also", "x", "--also=y"]).unwrap();
        assert_eq!(both.0["also"], ["x", "y"]);
    }
}
