//! `help`, for commands and topics.

use serde_json::json;

use crate::{
    address::quoted,
    cli::{
        CODES, Outcome,
        ui::{STREAM, Ui},
    },
    plan::render::put,
};

/// The variables that are looked at, and what for.
const VARIABLES: &[(&str, &str)] = &[
    ("NO_COLOR", "no colour, when it is not empty"),
    ("CLICOLOR_FORCE", "colour also where nobody is looking, when it is neither empty nor 0"),
    ("CLICOLOR", "no colour, when it is 0"),
    ("TERM", "no colour and no redrawing, when it is `dumb`"),
    ("LC_ALL, LC_CTYPE, LANG", "only ASCII signs, when the first that is set is not UTF-8"),
    (
        "GITHUB_ACTIONS, GITLAB_CI, BUILDKITE, CIRCLECI, TF_BUILD, JENKINS_URL, BITBUCKET_BUILD_NUMBER",
        "a pipeline: who started it is recorded, by an id, else by a name",
    ),
    ("USER, LOGNAME, USERNAME", "who runs this, where neither a pipeline nor Git says so"),
    ("HOSTNAME, COMPUTERNAME", "where a run is, for those who wait for it"),
    (
        "XDG_RUNTIME_DIR",
        "below it `exec` keeps the secrets of its process, where it is a folder and --private is not given",
    ),
    ("TMPDIR", "below it otherwise; /tmp where it is not set"),
];

/// The objects of the stream, by their `type`, and what stands in them.
const OBJECTS: &[(&str, &str)] = &[
    ("version", "always the first: `format` of the stream, and `engine`"),
    ("note", "`message`"),
    ("warning", "`message`; the command goes on"),
    ("diagnostic", "`diagnostic`: a mistake of the fleet, or a warning, with code and place"),
    ("plan", "`digest` and `plan`, as `plan --format json` has them"),
    ("requires", "`provider` and `requirement`: what a principal needs"),
    ("drift", "`drift`: an address that is not as it was recorded"),
    ("undeclared", "`undeclared`: an object that nobody declared"),
    ("unread", "`address` and `why`"),
    ("beside", "`beside`: what a system gives beside what is declared"),
    ("waiting", "`address` and `why`: a credential that waits for somebody"),
    ("watching", "`fleet`, `environment`, `listen`, and what `watch` `may` do"),
    ("alert", "`alert`: something that `watch` wants somebody to see"),
    ("check", "what one look of `watch` found: `drift`, `undeclared`, `unread`, `reverted`"),
    ("problem", "`message` and `help`; `watch` tries it again"),
    ("untold", "`why` an alert could not be told"),
    ("run_begun", "`run`, and how many `steps`"),
    ("settling", "`address` and `wait_seconds`"),
    ("step_begun", "`address` and `action`"),
    ("step_retried", "`address`, `attempt`, `pause_milliseconds` and `message`"),
    ("credential", "`address` and `phase`"),
    ("step_ended", "`address`, `action`, `outcome` and `why`"),
    ("run_ended", "`summary`"),
    ("rotation", "`rotation`: one of the calendar"),
    ("not_rotated", "`agent` and `leaving`"),
    ("agent", "`agent` and its `record`"),
    ("record", "`address` and its `record`"),
    ("entry", "of the history: `sequence`, `time`, `entry`, `actor`, `authority`"),
    ("graph", "`format`, `nodes` and `edges`"),
    ("found", "what `import` found: `resource_type`, `name`, `object`, `owns`"),
    ("fleet", "what `import` wrote: `format`, and its `text` or `file`"),
    ("schema", "`text`: the JSON Schema of text fleets"),
    ("help", "`topic` and `text`"),
    (
        "error",
        "the last but one, where something failed: `code`, `message`, `help`, `address`, `retry`, `exit`, `next`",
    ),
    ("summary", "always the last: `outcome`, `exit`, and what the command amounts to"),
];

/// What can be asked beside the commands.
const TOPICS: &str = "the topics are exit-codes, environment and json";

pub(super) fn help(ui: &Ui, mut root: clap::Command, topic: &[String]) -> Outcome {
    root.build();
    let words: Vec<&str> = topic.iter().map(String::as_str).collect();
    let text = match *words {
        [] => root.render_help().to_string(),
        ["exit-codes"] => exit_codes(),
        ["environment"] => environment(),
        ["json"] => objects(),
        [code] if code.starts_with("IAC") && crate::diagnostic::Code::parse(code).is_some() => {
            rule(code)
        }
        _ => {
            let mut command = Some(&mut root);
            for word in &words {
                command = command.and_then(|command| command.find_subcommand_mut(word));
            }
            match command {
                Some(command) => command.render_long_help().to_string(),
                None => {
                    let asked = quoted(&words.join(" "));
                    return Outcome::Usage(format!(
                        "there is no command or topic {asked}; {TOPICS}"
                    ));
                }
            }
        }
    };
    ui.event("help", json!({ "topic": words.join(" "), "text": text }));
    if !ui.is_json() {
        ui.print_raw(&text);
    }
    Outcome::Done
}

fn exit_codes() -> String {
    let mut text =
        String::from("Exit codes, the same word for each in the last object of --json:\n\n");
    for (code, word, meaning) in CODES {
        put(&mut text, format_args!("  {code:>3}  {word:<15} {meaning}\n"));
    }
    text.push_str(
        "\n`exec` ends with the code of its process once that has begun, and with 128 and the\n\
         number of the signal that ended it; the word is `exited` then.\n",
    );
    text
}

/// What a code of a mistake stands for, which is in no message.
fn rule(code: &str) -> String {
    let meaning = crate::diagnostic::Code::parse(code).map_or("", |code| code.meaning());
    format!("{code}: {meaning}.\n")
}

fn objects() -> String {
    let mut text = format!(
        "With --json, one object a line stands on standard output and nothing else; with\n\
         --json-into, in a file beside the text. Its form is {STREAM}: the second number grows\n\
         with what is added, the first with what is changed. Each has a `type`:\n\n",
    );
    for (kind, fields) in OBJECTS {
        put(&mut text, format_args!("  {kind:<13} {fields}\n"));
    }
    text
}

fn environment() -> String {
    let mut text = String::from("Environment variables:\n\n");
    for (names, meaning) in VARIABLES {
        put(&mut text, format_args!("  {names}\n      {meaning}\n"));
    }
    text
}
