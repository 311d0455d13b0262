//! Fleets written as text (TOML), for people who do not write Rust.
//!
//! Owns the form of the text and every mistake that can be made in it. It reads
//! the same resource types, builds the same declarations and is judged by the
//! same rules as Rust, so that the same fleet has the same digest in either
//! form. It contacts nothing and reads one file: there is no include, and no
//! variable of the process reaches a fleet.
//!
//! # A whole fleet
//!
//! ```
//! # let text = r##"
//! fleet = "billing"
//! stores = ["vault"]                    # secret stores, by name
//!
//! [providers.authority]                 # providers, by name
//! reach = "exclusive"                   # declared (unless said), watched, exclusive
//!
//! [rules]                               # guard rules; all may be left out
//! max_leaving = 3                       # agents that may begin to leave in one plan
//! max_age = "1h"                        # of observations when a plan is applied
//! standing = ["rotate", "narrow", "retire"] # what may happen while nobody watches
//! standing_until = 2027-06-30           # and until when
//!
//! [agents.directory]
//! purpose = "Knows the accounts of the others."
//! owner = "team:platform"
//! expires = 2027-06-30                  # a day, or text
//!
//! [agents.directory.account]
//! identity = "authority.account"        # the kind, and the type
//! name = "directory"
//!
//! [agents.invoice-reader]
//! purpose = "Answers questions about invoices."
//! owner = "team:billing"
//! expires = "2027-06-30"
//! grace = "7d"                          # suspended so long before it is deleted
//! for = { tenant = ["eu", "us"] }       # one instance for each value
//!
//! [agents.invoice-reader.account]
//! identity = "authority.account"
//! name = "invoice-reader-${tenant}"
//! description = "Known to ${directory.account.id}, paid in $$."
//!
//! [agents.invoice-reader.invoices]
//! permission = "authority.grant"
//! to = "account"                        # another resource of this agent
//! on = "tenants/${tenant}/invoices/*"
//! allow = ["read", "list"]
//! because = "It answers questions about all of the tenant's invoices."
//!
//! [agents.invoice-reader.key]
//! credential = "authority.api_key"
//! of = "account"
//! rotate = "7d"
//! overlap = "1h"
//! deliver = "vault:agents/${tenant}/invoice-reader"
//!
//! ## What was called otherwise before, so that it is not made anew.
//! [[moved]]
//! from = 'reader["eu"].account'
//! to = 'invoice-reader["eu"].account'
//! # "##;
//! use agent_iac::config::{self, Types};
//!
//! let fleet = config::parse(text, "fleet.toml", &Types::builtin())?;
//! assert_eq!(fleet.blueprint("production")?.agents().count(), 3);
//! # Ok::<(), agent_iac::diagnostic::Diagnostics>(())
//! ```
//!
//! # Resources
//!
//! Each table in an agent is a resource. One of its keys is the kind
//! (`identity`, `permission`, `credential`, `runtime`) and names the type. The
//! others are the type's properties, and the engine's keys: `provider`,
//! `depends_on`, `protect`, `on_drift` (`report`, `revert_widening`), `ignore`,
//! `because`, and for a credential `rotate`, `overlap`, `window`, `blackouts`,
//! `zone`, `jitter`, `retry`, `lease`, `group`, `deliver` and `consumers`. What
//! each of them means stands at [`Terms`](crate::agent::Terms).
//!
//! # Rotations of the whole fleet
//!
//! ```toml
//! [rules.rotation]
//! zone = "Europe/Berlin"                # of all that says no other; UTC unless said
//! window = "mon-fri 01:00-05:00"        # when any credential may be rotated
//! blackouts = ["12-20..01-03"]          # when none may be
//! rates = { authority = "30/m" }        # how many rotations a provider takes
//! ```
//!
//! # Instances
//!
//! `for` makes one instance for each value, or for each combination when there
//! are several lists. The values, in the order in which the lists stand, are
//! the key of the address: `invoice-reader["eu"].account`.
//!
//! # References
//!
//! | written | where | is |
//! | --- | --- | --- |
//! | `account` | a property that wants a reference, `depends_on` | a resource of this agent |
//! | `directory.account`, `reader["eu"].account` | the same | one of another agent |
//! | `{ id = "…" }` | a property that wants a reference | what is not ours, by its id |
//! | `${tenant}` | any other text of an agent | a value of `for` |
//! | `${account.id}` | text of a property | an output of this agent's `account` |
//! | `${directory.account.id}`, `${reader["eu"].account.id}` | the same | one of another agent |
//! | `$$` | any text of an agent | a dollar |
//!
//! A key may itself use `for`: `to = 'reader["${tenant}"].account'`.
//!
//! # The rest
//!
//! `removed = ["agent.resource"]` names what is no longer managed and stays as
//! it is; `[[import]]` with `address` and `id` takes an existing object under
//! management; [`import`](crate::import) writes both for a whole system.

mod agents;
mod expression;
mod index;
mod json_schema;
mod reader;
mod resources;
mod top;
mod types;
mod values;

pub use json_schema::json_schema;
pub use types::Types;

use std::{collections::BTreeSet, path::Path};

use self::reader::Reader;
use crate::{
    agent::Source,
    blueprint::Blueprint,
    diagnostic::{Code, Diagnostic, Diagnostics},
    fleet::Fleet,
};

/// Reads a fleet from a file.
///
/// # Errors
///
/// Every mistake of the text, each with its line and its repair; what only
/// [`Fleet::blueprint`] can judge is told too where the text is wrong anyhow.
pub fn load(path: impl AsRef<Path>, types: &Types) -> Result<Fleet, Diagnostics> {
    let path = path.as_ref();
    parse(&read(path)?, &path.display().to_string(), types)
}

/// Reads a fleet from text; `file` is how messages name it.
///
/// ```
/// use agent_iac::config::{self, Types};
///
/// let mistakes = config::parse("flet = 'billing'", "fleet.toml", &Types::none()).unwrap_err();
/// assert!(mistakes.to_string().contains("did you mean `fleet`?"));
/// ```
///
/// # Errors
///
/// As [`load`].
pub fn parse(text: &str, file: &str, types: &Types) -> Result<Fleet, Diagnostics> {
    let (fleet, mut problems, sound) = Reader::read(text, file, types);
    if !problems.has_errors() {
        return Ok(fleet);
    }
    if sound && let Err(more) = fleet.blueprint(ANYWHERE) {
        // Rust may add agents, providers and stores to what stands here.
        let complete = |d: &Diagnostic| {
            let code = d.code;
            !matches!(code, Code::DanglingReference | Code::UnknownProvider | Code::UnknownStore)
                && code != Code::Refactoring
        };
        problems.extend(more.into_iter().filter(complete));
    }
    Err(told_once(problems))
}

/// Reads a fleet from text and validates it for an environment, as
/// [`parse`] and [`Fleet::blueprint`] together, with the mistakes of both.
///
/// # Errors
///
/// Every mistake, in the order of lines.
pub fn blueprint(
    text: &str,
    file: &str,
    environment: &str,
    types: &Types,
) -> Result<Blueprint, Diagnostics> {
    let (fleet, mut problems, sound) = Reader::read(text, file, types);
    let blueprint = if sound { fleet.blueprint(environment) } else { Err(Diagnostics::new()) };
    match blueprint {
        Ok(blueprint) if !problems.has_errors() => Ok(blueprint),
        Ok(_) => Err(told_once(problems)),
        Err(more) => {
            problems.extend(more);
            Err(told_once(problems))
        }
    }
}

/// The environment in which a fleet is judged before one is known: no rule but
/// that of its own name asks for it.
pub(crate) const ANYWHERE: &str = "anywhere";

pub(crate) fn read(path: &Path) -> Result<String, Diagnostics> {
    let refused = |message: String, line: usize, help: &str| {
        let file = path.display().to_string().into();
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        let mut problems = Diagnostics::new();
        problems.push(
            Diagnostic::error(Code::Syntax, message)
                .declared_at(&Source { file, line, column: 1 })
                .help(help),
        );
        problems
    };
    let bytes = std::fs::read(path).map_err(|error| {
        refused(format!("the file cannot be read: {error}"), 1, "give the path of a text fleet")
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let sound = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = sound.split(|byte| *byte == b'\n').count();
        refused("the file is not UTF-8 text".into(), line, "save it as UTF-8")
    })
}

/// Says once what several instances of one declaration have in common.
fn told_once(problems: Diagnostics) -> Diagnostics {
    let mut seen = BTreeSet::new();
    let mut once = Diagnostics::new();
    for problem in problems.sorted() {
        let said = (problem.source.clone(), problem.code, without_keys(&problem.message));
        if problem.source.is_none() || seen.insert(said) {
            once.push(problem);
        }
    }
    once
}

/// The message without the keys of instances, `["…"]`.
fn without_keys(message: &str) -> String {
    let mut rest = message;
    let mut bare = String::with_capacity(message.len());
    while let Some((before, after)) = rest.split_once("[\"") {
        bare.push_str(before);
        rest = after.split_once("\"]").map_or("", |(_, after)| after);
    }
    bare + rest
}
