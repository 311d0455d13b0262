//! `help`, for commands and topics.

use serde_json::json;

use crate::{
    address::quoted,
    cli::{CODES, Outcome, ui::Ui},
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
];

/// What can be asked beside the commands.
const TOPICS: &str = "the topics are exit-codes and environment";

pub(super) fn help(ui: &Ui, mut root: clap::Command, topic: &[String]) -> Outcome {
    root.build();
    let words: Vec<&str> = topic.iter().map(String::as_str).collect();
    let text = match *words {
        [] => root.render_help().to_string(),
        ["exit-codes"] => exit_codes(),
        ["environment"] => environment(),
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
    text
}

fn environment() -> String {
    let mut text = String::from("Environment variables:\n\n");
    for (names, meaning) in VARIABLES {
        put(&mut text, format_args!("  {names}\n      {meaning}\n"));
    }
    text
}
