//! Who runs this, from where, and from which code.
//!
//! What is found is by somebody's own word, and recorded as such. A person is
//! an id or a name, never an e-mail address: the ledger forgets nothing.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use super::Env;
use crate::{ledger::Actor, plan::render::printable};

/// How long Git may take to answer; it is asked for nothing that goes over a
/// network.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest name that is recorded.
const MOST: usize = 128;

/// How a pipeline says that it is one, and who started it; ids before names.
const PIPELINES: &[(&str, &str, &[&str])] = &[
    ("GITHUB_ACTIONS", "github-actions", &["GITHUB_ACTOR_ID", "GITHUB_ACTOR"]),
    ("GITLAB_CI", "gitlab-ci", &["GITLAB_USER_ID", "GITLAB_USER_LOGIN"]),
    ("BUILDKITE", "buildkite", &["BUILDKITE_BUILD_CREATOR", "BUILDKITE_BUILD_ID"]),
    ("CIRCLECI", "circleci", &["CIRCLE_USERNAME", "CIRCLE_WORKFLOW_ID"]),
    ("TF_BUILD", "azure-pipelines", &["BUILD_REQUESTEDFORID", "BUILD_BUILDID"]),
    (
        "BITBUCKET_BUILD_NUMBER",
        "bitbucket-pipelines",
        &["BITBUCKET_STEP_TRIGGERER_UUID", "BITBUCKET_BUILD_NUMBER"],
    ),
    ("JENKINS_URL", "jenkins", &["BUILD_USER_ID", "BUILD_TAG"]),
];

/// Who runs this: the pipeline's word, else Git's, else the system's.
pub(super) fn actor(env: &Env) -> Actor {
    for (sign, issuer, names) in PIPELINES {
        if env.variable(sign).is_none_or(|value| value == "false") {
            continue;
        }
        if let Some(subject) = names.iter().find_map(|name| subject(env.variable(name)?)) {
            return Actor::asserted(*issuer, subject);
        }
    }
    if let Some(subject) =
        git(env, &["config", "--get", "user.name"]).and_then(|name| subject(&name))
    {
        return Actor::asserted("git", subject);
    }
    let user = ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| subject(env.variable(name)?));
    Actor::asserted("os", user.unwrap_or_else(|| "unknown".into()))
}

/// A name that may be recorded: short, visible and no e-mail address.
fn subject(name: &str) -> Option<String> {
    let name = name.trim();
    if name.is_empty() || name.contains('@') {
        return None;
    }
    Some(printable(&name.chars().take(MOST).collect::<String>()))
}

/// The revision of the code, with `-dirty` where something in it is changed.
pub(super) fn revision(env: &Env) -> Option<String> {
    let asked = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"];
    let revision = git(env, &asked)?;
    let hash = revision.strip_suffix("-dirty").unwrap_or(&revision);
    let sound = hash.len() >= 40 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    sound.then_some(revision)
}

/// Who waits for whom: host and process.
pub(super) fn holder(env: &Env, actor: &Actor) -> String {
    let host = ["HOSTNAME", "COMPUTERNAME"]
        .iter()
        .find_map(|name| env.variable(name).map(str::to_owned))
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .and_then(|host| subject(&host))
        .unwrap_or_else(|| "unknown host".into());
    format!("{} on {host}, process {}", actor.subject, std::process::id())
}

/// Git's answer; `None` when there is no Git, no repository, or no answer in
/// time.
fn git(env: &Env, arguments: &[&str]) -> Option<String> {
    answer(env.directory.as_deref()?, "git", arguments)
}

fn answer(directory: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        // A repository's own settings can name a program for Git to start.
        .args(["-c", "core.fsmonitor=false"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdout = child.stdout.take()?;
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = std::io::Read::read_to_string(&mut stdout, &mut text);
        // The receiver has gone when it lost patience.
        let _: Result<(), _> = send.send(read.ok().map(|_| text));
    });
    let text = receive.recv_timeout(PATIENCE).ok().flatten();
    if text.is_none() {
        // It may have ended by itself meanwhile.
        let _: std::io::Result<()> = child.kill();
    }
    let success = child.wait().is_ok_and(|status| status.success());
    text.filter(|_| success).map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Env {
        Env {
            variables: variables.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            ..Env::default()
        }
    }

    #[test]
    fn a_pipeline_is_asked_before_the_system_and_for_ids_before_names() {
        type Case = (&'static [(&'static str, &'static str)], &'static str, &'static str);
        let cases: &[Case] = &[
            (
                &[
                    ("GITHUB_ACTIONS", "true"),
                    ("GITHUB_ACTOR_ID", "583231"),
                    ("GITHUB_ACTOR", "octocat"),
                ],
                "github-actions",
                "583231",
            ),
            (
                &[("GITLAB_CI", "true"), ("GITLAB_USER_LOGIN", "ada"), ("USER", "root")],
                "gitlab-ci",
                "ada",
            ),
            (&[("BUILDKITE", "true"), ("BUILDKITE_BUILD_CREATOR", "Ada")], "buildkite", "Ada"),
            (&[("GITHUB_ACTIONS", "false"), ("USER", "ada")], "os", "ada"),
            (&[("LOGNAME", "ada")], "os", "ada"),
            (&[], "os", "unknown"),
        ];
        for (variables, issuer, subject) in cases {
            assert_eq!(actor(&env(variables)), Actor::asserted(*issuer, *subject));
        }
    }

    #[test]
    fn an_e_mail_address_is_never_recorded() {
        let found = actor(&env(&[
            ("BUILDKITE", "true"),
            ("BUILDKITE_BUILD_CREATOR", "ada@example.org"),
            ("BUILDKITE_BUILD_ID", "b-1"),
            ("USER", "ada@example.org"),
        ]));
        assert_eq!(found, Actor::asserted("buildkite", "b-1"));
        assert_eq!(actor(&env(&[("USER", "ada@example.org")])).subject, "unknown");
    }

    #[test]
    fn a_program_that_is_not_there_and_one_that_fails_have_no_answer() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(answer(directory.path(), "no-such-program-here", &[]), None);
        // There is no repository in a new directory.
        assert_eq!(answer(directory.path(), "git", &["rev-parse", "HEAD"]), None);
    }

    #[test]
    fn names_are_cut_and_made_visible() {
        assert_eq!(subject(" a\u{1b}b ").as_deref(), Some("a\\u{1b}b"));
        assert_eq!(subject(&"x".repeat(500)).map(|name| name.len()), Some(MOST));
    }
}
