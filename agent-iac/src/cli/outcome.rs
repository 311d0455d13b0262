//! How a command ended: one value that the text, the JSON and the exit code
//! are all made of.

use serde_json::{Value as Json, json};

use crate::{
    address::Address,
    diagnostic::Diagnostics,
    error::{Error, ErrorKind, Retry},
    ledger::Summary,
    plan::render::put,
};

/// How a command ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// What was asked for is done, or there was nothing to do.
    Done,
    /// There are changes, drift, or something blocked or undeclared.
    Changes,
    /// Nothing differs, as far as could be checked.
    Unchecked {
        /// How many objects could not be wholly checked.
        objects: usize,
    },
    /// The command was not understood.
    Usage(String),
    /// The fleet is invalid.
    Invalid(Diagnostics),
    /// A plan was not acknowledged, or by another digest.
    Unacknowledged {
        /// What is missing.
        message: String,
        /// The commands that acknowledge it.
        next: Vec<String>,
    },
    /// The run was complete, and some changes may not, or cannot, be made.
    Blocked {
        /// How many.
        changes: usize,
    },
    /// Steps failed, or something is left that could not be reached or proved.
    Steps {
        /// How many ended how.
        summary: Summary,
        /// What was done, but could not be proved, or is left open.
        open: usize,
    },
    /// The run was told to stop before its end.
    Interrupted(Summary),
    /// The process that was started has ended with this code.
    Exited(u8),
    /// The command failed.
    Failed(Error),
}

/// What each exit code means. Two is never ours to mean anything but a command
/// that was not understood, for that is what every command line uses it for.
pub const CODES: &[(u8, &str, &str)] = &[
    (0, "done", "done, or nothing to do"),
    (1, "failed", "failed; nothing is in doubt"),
    (2, "usage", "the command was not understood"),
    (
        3,
        "changes",
        "changes or drift were found (only with --detailed-exitcode; Terraform has 2 here)",
    ),
    (
        4,
        "unchecked",
        "clean, except what could not be checked (only with --detailed-exitcode, and of import)",
    ),
    (5, "refused", "a guard, a protection, a cap or a hold forbids it"),
    (6, "unacknowledged", "the plan was not acknowledged, or by another digest"),
    (7, "stale", "the plan is stale, or somebody else holds the agent; plan again"),
    (8, "partial", "some steps failed, others are done"),
    (9, "in_doubt", "it cannot be told whether a step was carried out; the next run settles it"),
    (10, "invalid", "the fleet is invalid"),
    (11, "denied", "a system refused access to us"),
    (12, "timeout", "a system did not answer in its time"),
    (101, "bug", "a mistake in this program; please report it"),
    (130, "interrupted", "ended early, in order, as Ctrl-C, SIGTERM or a closed terminal asked"),
];

/// The exit code of an outcome: the one place where it is decided.
pub fn code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Done => 0,
        Outcome::Exited(code) => *code,
        Outcome::Changes => 3,
        Outcome::Unchecked { .. } => 4,
        Outcome::Usage(_) => 2,
        Outcome::Invalid(_) => 10,
        Outcome::Unacknowledged { .. } => 6,
        Outcome::Blocked { .. } => 5,
        Outcome::Interrupted(summary) if summary.in_doubt > 0 => 9,
        Outcome::Interrupted(_) => 130,
        Outcome::Steps { summary, open } => match summary {
            Summary { in_doubt: 1.., .. } => 9,
            Summary { failed: 0, skipped: 0, .. } if *open == 0 => 0,
            Summary { done: 0, .. } => 1,
            _ => 8,
        },
        Outcome::Failed(error) => match error.kind() {
            ErrorKind::InvalidFleet => 10,
            ErrorKind::StalePlan | ErrorKind::LeaseHeld | ErrorKind::Conflict => 7,
            ErrorKind::Refused => 5,
            ErrorKind::Denied => 11,
            ErrorKind::Timeout => 12,
            ErrorKind::InDoubt => 9,
            ErrorKind::Cancelled => 130,
            ErrorKind::Bug => 101,
            _ => 1,
        },
    }
}

impl Outcome {
    /// The word for the exit code, as scripts read it.
    pub fn word(&self) -> &'static str {
        if matches!(self, Self::Exited(1..)) {
            return "exited";
        }
        let code = code(self);
        CODES.iter().find(|(number, ..)| *number == code).map_or("failed", |(_, word, _)| word)
    }

    /// What went wrong, in one line; `None` when nothing did.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Done | Self::Changes | Self::Unchecked { .. } | Self::Exited(_) => None,
            _ if code(self) == 0 => None,
            Self::Usage(text) => Some(text.trim_end().to_owned()),
            Self::Invalid(mistakes) => Some(Error::from(mistakes.clone()).message().to_owned()),
            Self::Unacknowledged { message, .. } => Some(message.clone()),
            Self::Blocked { changes } => {
                let noun = if *changes == 1 { "change is" } else { "changes are" };
                Some(format!("{changes} {noun} blocked, as the plan says; the rest is done"))
            }
            Self::Steps { summary, open } => {
                let Summary { done, failed, skipped, in_doubt } = summary;
                let mut text =
                    format!("{done} done, {failed} failed, {skipped} skipped, {in_doubt} in doubt");
                if *open > 0 {
                    put(&mut text, format_args!(", {open} not proved or not reached"));
                }
                Some(text)
            }
            Self::Interrupted(summary) => Some(format!(
                "interrupted: {} done, {} not begun, {} in doubt",
                summary.done, summary.skipped, summary.in_doubt
            )),
            Self::Failed(error) => Some(match error.address() {
                Some(_) => error
                    .chain()
                    .split_once(": ")
                    .map_or_else(|| error.chain(), |(_, m)| m.to_owned()),
                None => error.chain(),
            }),
        }
    }

    /// The resource that it concerns, when there is one.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Failed(error) => error.address(),
            _ => None,
        }
    }

    /// How to mend it, in words.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Failed(error) => error.repair().map(str::to_owned),
            _ => None,
        }
    }

    /// Whether and how to try again.
    fn retry(&self) -> Json {
        match self {
            Self::Failed(error) => match error.kind() {
                ErrorKind::StalePlan | ErrorKind::Conflict => json!("replan"),
                ErrorKind::InDoubt | ErrorKind::LeaseHeld => json!("later"),
                _ => match error.retry() {
                    Retry::Backoff => json!("later"),
                    Retry::After(pause) => json!({ "after_seconds": pause.as_secs() }),
                    Retry::Never => json!("never"),
                },
            },
            Self::Steps { summary, .. } if summary.in_doubt > 0 => json!("later"),
            Self::Steps { .. } | Self::Interrupted(_) => json!("replan"),
            Self::Unacknowledged { .. } => json!("acknowledge"),
            _ => json!("never"),
        }
    }

    /// The commands that may come next, for a program that is called so.
    pub fn next(&self, program: &str) -> Vec<String> {
        match self {
            Self::Unacknowledged { next, .. } => next.clone(),
            Self::Usage(_) => vec![format!("{program} help")],
            Self::Failed(error) => match error.kind() {
                ErrorKind::StalePlan | ErrorKind::Conflict => {
                    vec![format!("{program} plan --out plan.json")]
                }
                ErrorKind::InDoubt => vec![format!("{program} recover")],
                _ => Vec::new(),
            },
            Self::Steps { summary, .. } if summary.in_doubt > 0 => {
                vec![format!("{program} recover")]
            }
            Self::Steps { .. } | Self::Interrupted(_) if code(self) != 0 => {
                vec![format!("{program} plan")]
            }
            _ => Vec::new(),
        }
    }

    /// The envelope of a failure; `None` when nothing failed.
    pub fn envelope(&self, program: &str) -> Option<Json> {
        let message = self.message()?;
        let mut envelope = json!({
            "type": "error",
            "code": self.word(),
            "message": message,
            "retry": self.retry(),
            "exit": code(self),
            "next": self.next(program),
        });
        if let Some(address) = self.address() {
            envelope["address"] = json!(address);
        }
        if let Some(help) = self.help() {
            envelope["help"] = json!(help);
        }
        Some(envelope)
    }
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        // A fleet that was read from text is invalid before there is a
        // deployment; its mistakes are shown like all others.
        let mistakes =
            std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<Diagnostics>());
        match mistakes {
            Some(mistakes) => Self::Invalid(mistakes.clone()),
            None => Self::Failed(error),
        }
    }
}

impl From<Diagnostics> for Outcome {
    fn from(mistakes: Diagnostics) -> Self {
        Self::Invalid(mistakes)
    }
}
