//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::Timestamp;

use crate::{address::Instance, agent::Period};

/// Plans, applies and watches what a fleet of software agents may do.
///
/// Text is for people and may change at any time; programs read --json.
#[derive(Debug, Parser)]
#[command(
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Start with `plan`, then `apply`. More: `help exit-codes`, `help environment`."
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct Global {
    /// Write one JSON object a line to standard output, and no text.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Write those objects to a file, beside the text.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) json_into: Option<PathBuf>,
    /// Use colour.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: When,
    /// No colour, no redrawing, only ASCII signs.
    #[arg(long, global = true)]
    pub(super) plain: bool,
    /// Show how a run gets on.
    #[arg(long, global = true, value_name = "HOW", default_value = "auto")]
    pub(super) progress: ProgressWhen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// On a terminal.
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressWhen {
    /// Redrawn on a terminal, else in lines.
    Auto,
    /// One line for each event.
    Plain,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PlanFormat {
    Text,
    /// For a comment on a change request.
    Markdown,
    /// The plan with its digest and a summary.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    Dot,
    Mermaid,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ImportFormat {
    Toml,
    /// One struct for each agent.
    Rust,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check the fleet, without contacting anything.
    #[command(display_order = 1)]
    Validate,
    /// Show what would change, why, and who would gain or lose access.
    #[command(
        display_order = 2,
        after_help = "Examples:\n  plan --out plan.json\n  plan --target 'reader[\"eu\"]' --full\n  plan --format markdown > comment.md"
    )]
    Plan(Plan),
    /// Carry a plan out: one that was saved, or what would be planned now.
    #[command(
        display_order = 3,
        after_help = "Examples:\n  apply\n  apply plan.json --digest 7f3a91c2\n\nA plan is acknowledged by its digest: with --digest, or typed on a terminal."
    )]
    Apply(Apply),
    /// Show where the real is not as it was recorded.
    #[command(
        display_order = 4,
        after_help = "Examples:\n  drift --detailed-exitcode\n  drift --revert-widening"
    )]
    Drift(Drift),
    /// Renew credentials: what is due, or of some agents now.
    ///
    /// What is due is renewed on the authority of the fleet itself, and older
    /// generations end that have had their time. With agents, or --all, a plan
    /// is made, which is acknowledged by its digest as that of `apply`.
    #[command(
        display_order = 5,
        after_help = "Examples:\n  rotate\n  rotate triage 'reader[\"eu\"]'\n  rotate triage --compromised --reason 'key found in a log'"
    )]
    Rotate(Rotate),
    /// Watch the fleet until it is asked to stop.
    ///
    /// What is due is renewed, the real is compared with what is recorded, what
    /// widens access is taken back, and agents are stopped when their last day
    /// is over, as far as the fleet's rules let that happen unattended
    /// (`standing`). Any number of watchers share the work.
    #[command(
        display_order = 6,
        after_help = "Examples:\n  watch --drift-every 1h --listen 127.0.0.1:9464\n  watch --alert-webhook https://hooks.example.com/iac --alert-key /etc/deploy/alerts.key\n  watch --once --detailed-exitcode"
    )]
    Watch(Watch),
    /// Show what is recorded of an agent or an address, or a saved plan.
    #[command(
        display_order = 6,
        after_help = "Examples:\n  show triage\n  show triage.account\n  show plan.json --full"
    )]
    Show(Show),
    /// Show what will be rotated when, and what cannot be kept of it.
    #[command(
        display_order = 7,
        after_help = "Examples:\n  calendar\n  calendar triage --days 365 --json"
    )]
    Calendar(Calendar),
    /// List the agents: owner, purpose, age, expiry, last proof, generations.
    #[command(display_order = 7, after_help = "Example:\n  inventory --json")]
    Inventory,
    /// Show who did what, when, and on whose authority.
    #[command(display_order = 8, after_help = "Examples:\n  history\n  history triage --limit 20")]
    History(History),
    /// Draw what depends on what.
    #[command(
        display_order = 9,
        after_help = "Example:\n  graph --format dot | dot -Tsvg > fleet.svg"
    )]
    Graph(Graph),
    /// Check the ledger: replay its chain, and compare the state.
    #[command(
        display_order = 10,
        after_help = "Examples:\n  verify --pin 42:4b0c…\n  verify --archive office-2025.ledger --archive office-2026.ledger"
    )]
    Verify(Verify),
    /// Stop an agent at once: suspend, revoke, and remove what can be reached.
    #[command(
        display_order = 11,
        after_help = "Example:\n  kill triage --reason 'key found in a log'"
    )]
    Kill(Kill),
    /// Let an agent act again that was killed or suspended.
    #[command(display_order = 12)]
    Resume(One),
    /// Keep the engine's hands off an agent for a time.
    #[command(
        display_order = 13,
        after_help = "Example:\n  hold triage --reason 'incident 12' --for 4h"
    )]
    Hold(Hold),
    /// End a hold before its time.
    #[command(display_order = 14)]
    Release(One),
    /// Settle what a run that died left in doubt; `apply` does so first.
    #[command(display_order = 15)]
    Recover,
    /// Start an agent's process in exactly the environment that is declared for it.
    ///
    /// It has nothing else of the caller's environment. Its secrets are files that
    /// only its user reads, rotations are followed, signals are passed on, and the
    /// exit code is its own. What it prints to anything but a terminal has its
    /// secrets masked.
    #[cfg(all(feature = "process", unix))]
    #[command(
        display_order = 15,
        after_help = "Examples:\n  exec triage\n  exec triage.process -- /usr/bin/triage --once"
    )]
    Exec(Exec),
    /// Keep the ledger: back it up, restore it, archive its older history.
    #[command(display_order = 16, subcommand_required = true, arg_required_else_help = true)]
    Ledger {
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// Write a fleet that adopts what stands in a system, or report it.
    ///
    /// The system is looked at and not changed, and no secret is asked for. What
    /// is written plans to no change: the next apply records what it adopts.
    #[command(
        display_order = 17,
        after_help = "Examples:\n  import --report\n  import --owner team:billing --only 'invoice_*' --out fleet.toml\n  import --owner team:billing --format rust > imported.rs"
    )]
    Import(Import),
    /// Print completions for a shell.
    #[command(
        display_order = 18,
        after_help = "Example:\n  completions bash > /etc/bash_completion.d/deploy"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Explain a command, or a topic: `exit-codes`, `environment`.
    #[command(display_order = 19)]
    Help {
        /// The command or the topic.
        topic: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Depth {
    /// One line a step.
    #[arg(long, conflicts_with = "full")]
    pub(super) summary: bool,
    /// Everything, without any cut.
    #[arg(long)]
    pub(super) full: bool,
}

#[derive(Debug, Args)]
pub(super) struct Scope {
    /// Only this agent and what it depends on; may be repeated.
    #[arg(long, value_name = "AGENT")]
    pub(super) target: Vec<Instance>,
    /// Let so many agents begin to leave.
    #[arg(long, value_name = "N")]
    pub(super) allow_leaving: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct Plan {
    #[command(flatten)]
    pub(super) depth: Depth,
    #[command(flatten)]
    pub(super) scope: Scope,
    /// Save the plan, for `apply`.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// The form of the result.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) format: PlanFormat,
    /// The most bytes of Markdown.
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    pub(super) max_bytes: usize,
    /// Exit with 3 when there are changes, with 4 when not all could be checked.
    #[arg(long)]
    pub(super) detailed_exitcode: bool,
    /// Print what planning, applying and probing need in each system, to be
    /// pasted there by an administrator. Nothing is contacted.
    #[arg(long, conflicts_with_all = [
        "out", "format", "max_bytes", "detailed_exitcode", "target", "allow_leaving", "summary", "full",
    ])]
    pub(super) requires: bool,
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The saved plan; without one, what would be planned now.
    #[arg(conflicts_with_all = ["target", "allow_leaving"])]
    pub(super) file: Option<PathBuf>,
    /// Acknowledge the plan of this digest: all of it, or its first 8 or more
    /// characters.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    pub(super) digest: Option<String>,
    #[command(flatten)]
    pub(super) scope: Scope,
    /// How many batches are under way at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one)]
    pub(super) parallel: usize,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The agents whose credentials are renewed now, due or not.
    #[arg(conflicts_with = "all")]
    pub(super) agents: Vec<Instance>,
    /// Renew every credential of the fleet now.
    #[arg(long)]
    pub(super) all: bool,
    /// Others know the present ones: replace and end them at once, whoever
    /// still uses them; who is cut off is shown first.
    #[arg(long, requires = "reason", conflicts_with = "digest")]
    pub(super) compromised: bool,
    /// Why, for the record.
    #[arg(long, requires = "compromised")]
    pub(super) reason: Option<String>,
    /// Acknowledge the plan of this digest.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    pub(super) digest: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Drift {
    #[command(flatten)]
    pub(super) depth: Depth,
    /// Take back what widened access, where the fleet allows it unattended.
    #[arg(long)]
    pub(super) revert_widening: bool,
    /// Exit with 3 when there is drift, with 4 when not all could be checked.
    #[arg(long)]
    pub(super) detailed_exitcode: bool,
}

#[derive(Debug, Args)]
pub(super) struct Watch {
    /// How often everything is compared with what is recorded.
    #[arg(long, value_name = "PERIOD", default_value = "1h")]
    pub(super) drift_every: Period,
    /// Compare nothing, and only rotate and stop.
    #[arg(long, conflicts_with = "drift_every")]
    pub(super) no_drift: bool,
    /// How often the ledger is looked at for what others wrote there.
    #[arg(long, value_name = "PERIOD", default_value = "10s")]
    pub(super) poll: Period,
    /// Answer `/healthz`, `/readyz` and `/metrics` (Prometheus) on this address,
    /// as `127.0.0.1:9464`.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "once")]
    pub(super) listen: Option<std::net::SocketAddr>,
    /// What this watcher is called beside others, so that they check at
    /// different times.
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Send each alert to this address, signed with --alert-key.
    #[cfg(all(feature = "consumers", unix))]
    #[arg(long, value_name = "URL", requires = "alert_key")]
    pub(super) alert_webhook: Option<crate::consumer::Webhook>,
    /// The file with the key that alerts are signed with.
    #[cfg(all(feature = "consumers", unix))]
    #[arg(long, value_name = "FILE", requires = "alert_webhook")]
    pub(super) alert_key: Option<PathBuf>,
    /// Run this program for each alert, which it has in `$AGENT_IAC_ALERT`.
    #[cfg(all(feature = "consumers", unix))]
    #[arg(long, value_name = "PROGRAM")]
    pub(super) alert_command: Option<PathBuf>,
    /// Do what is due now, check once, and end.
    #[arg(long)]
    pub(super) once: bool,
    /// Exit with 3 when drift is left, with 4 when not all could be checked.
    #[arg(long, requires = "once")]
    pub(super) detailed_exitcode: bool,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// An agent, an address, or the file of a plan.
    pub(super) what: String,
    #[command(flatten)]
    pub(super) depth: Depth,
}

#[derive(Debug, Args)]
pub(super) struct Calendar {
    /// Only the rotations of these agents.
    pub(super) agents: Vec<Instance>,
    /// How far to look.
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=1096))]
    pub(super) days: u32,
}

#[derive(Debug, Args)]
pub(super) struct History {
    /// Only what concerns this agent.
    pub(super) agent: Option<Instance>,
    /// Only the newest so many entries.
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct Graph {
    /// The form of the result.
    #[arg(long, value_name = "FORMAT", default_value = "dot")]
    pub(super) format: GraphFormat,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A head that was seen before, as `NUMBER:HASH`: the ledger must hold it.
    #[arg(long, value_name = "HEAD", value_parser = pin)]
    pub(super) pin: Option<crate::ledger::Head>,
    /// An archive that came before; may be repeated, oldest first.
    #[arg(long, value_name = "FILE")]
    pub(super) archive: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Write the whole ledger to a file that any program can read.
    #[command(display_order = 1, after_help = "Example:\n  ledger backup office-2026-11-24.ledger")]
    Backup {
        /// A file that is not there yet.
        file: PathBuf,
    },
    /// Make the ledger's file from a backup, where there is none.
    ///
    /// A ledger that is older than what the secret stores have pinned is then
    /// refused by `plan`, until `ledger rewind` says who answers for that.
    #[cfg(feature = "sqlite")]
    #[command(
        display_order = 2,
        after_help = "Example:\n  ledger restore office.ledger --into .agent-iac/ledger.db --fleet office --environment production"
    )]
    Restore(Restore),
    /// Put the history so far into a file, and begin the ledger anew behind it.
    #[command(
        display_order = 3,
        after_help = "Example:\n  ledger archive office-2026.ledger\n\nKeep the file: `verify --archive` goes on with it."
    )]
    Archive {
        /// A file that is not there yet.
        file: PathBuf,
    },
    /// Go on with a ledger that is older than its pins.
    #[command(
        display_order = 4,
        after_help = "Example:\n  ledger rewind --because 'the disk died; restored from the backup of Monday' --pinned 4b0c17aa"
    )]
    Rewind(Rewind),
}

#[cfg(feature = "sqlite")]
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// A file that `ledger backup` or `ledger archive` wrote.
    pub(super) file: PathBuf,
    /// The ledger's file, which is not there yet.
    #[arg(long, value_name = "PATH")]
    pub(super) into: PathBuf,
    /// The fleet that it must be of.
    #[arg(long, value_name = "NAME")]
    pub(super) fleet: String,
    /// The environment that it must be of.
    #[arg(long, value_name = "NAME")]
    pub(super) environment: String,
}

#[derive(Debug, Args)]
pub(super) struct Rewind {
    /// What happened to the newer ledger, for the record.
    #[arg(long, value_name = "REASON")]
    pub(super) because: String,
    /// The hash of a pinned head that is given up, or its first 8 or more
    /// characters; for each that is.
    #[arg(long, value_name = "HASH", value_parser = digest)]
    pub(super) pinned: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The provider to look at, where there are several.
    #[arg(long, value_name = "NAME")]
    pub(super) provider: Option<String>,
    /// The form of the fleet.
    #[arg(long, value_name = "FORMAT", default_value = "toml")]
    pub(super) format: ImportFormat,
    /// Only identities of such a name (`*`, `?`), and what belongs to them; may
    /// be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub(super) only: Vec<String>,
    /// Who answers for the agents, until each has an owner of its own.
    #[arg(long, value_name = "OWNER")]
    pub(super) owner: Option<String>,
    /// Their last day; a year from now unless said.
    #[arg(long, value_name = "DAY")]
    pub(super) expires: Option<jiff::civil::Date>,
    /// Where Rust finds the provider's types, as `agent_iac::providers::authority`.
    #[arg(long, value_name = "PATH")]
    pub(super) module: Option<String>,
    /// Show what is there instead.
    #[arg(long, conflicts_with_all = ["out", "format", "module"])]
    pub(super) report: bool,
    /// Write it to a file that is not there yet.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// The agent.
    pub(super) agent: Instance,
}

#[cfg(all(feature = "process", unix))]
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// The agent, or one of its runtimes.
    pub(super) agent: String,
    /// Make the folder of its secrets below this one, and not below
    /// `$XDG_RUNTIME_DIR`.
    #[arg(long, value_name = "FOLDER")]
    pub(super) private: Option<PathBuf>,
    /// What to run in place of what is declared.
    #[arg(last = true)]
    pub(super) command: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub(super) struct Kill {
    /// The agent.
    pub(super) agent: Instance,
    /// Why, for the record.
    #[arg(long)]
    pub(super) reason: String,
}

#[derive(Debug, Args)]
pub(super) struct Hold {
    /// The agent.
    pub(super) agent: Instance,
    /// Why, for the record.
    #[arg(long)]
    pub(super) reason: String,
    /// For how long, as `30m`, `4h` or `2d`.
    #[arg(long = "for", value_name = "PERIOD", required_unless_present = "until")]
    pub(super) period: Option<Period>,
    /// Until when, as `2026-11-24T18:00:00Z`.
    #[arg(long, value_name = "TIME", conflicts_with = "period")]
    pub(super) until: Option<Timestamp>,
}

fn digest(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let hexadecimal = text.bytes().all(|b| b.is_ascii_hexdigit());
    if hexadecimal && (8..=64).contains(&text.len()) {
        Ok(text)
    } else {
        Err("a digest is 64 hexadecimal characters; give at least the first 8".into())
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("a whole number from 1".into()),
    }
}

fn pin(text: &str) -> Result<crate::ledger::Head, String> {
    let parts = text.split_once(':');
    parts
        .and_then(|(sequence, hash)| {
            let hash = crate::value::Digest::parse(hash)?;
            Some(crate::ledger::Head { sequence: sequence.parse().ok()?, hash })
        })
        .ok_or_else(|| "write `NUMBER:HASH`, as `verify` prints the head".into())
}
