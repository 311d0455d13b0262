//! Outcomes in every form, and commands as they are typed.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::Write,
    sync::{Arc, Mutex},
};

use serde_json::Value as Json;

use super::{CODES, Env, Outcome, Streams, code, conclude, run, ui::Ui};
use crate::{
    blueprint::Blueprint,
    clock::SystemClock,
    deployment::Deployment,
    diagnostic::{Code, Diagnostic, Diagnostics},
    error::{Error, ErrorKind, Result, Retry},
    fleet::Fleet,
    ledger::{MemoryLedger, Summary},
    provider::{Observers, Principal, Probers, Provider, Reach, Requirement, Writers},
    testing::world::SimEntropy,
};

/// A stream whose text can be looked at.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// What one command did.
struct Ran {
    outcome: Outcome,
    out: String,
    err: String,
}

impl Ran {
    fn code(&self) -> u8 {
        code(&self.outcome)
    }

    /// Standard output as a stream of objects.
    #[track_caller]
    fn objects(&self) -> Vec<Json> {
        objects(&self.out)
    }
}

#[track_caller]
fn objects(text: &str) -> Vec<Json> {
    let objects: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[0]["type"], "version");
    assert_eq!(objects.last().unwrap()["type"], "summary");
    objects
}

fn no_deployment() -> Result<Deployment> {
    panic!("the command asked for a deployment")
}

fn typed(
    words: &[&str],
    input: &'static str,
    env: &Env,
    deployment: impl FnOnce() -> Result<Deployment>,
) -> Ran {
    let (out, err) = (Shared::default(), Shared::default());
    let streams = Streams {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        input: Box::new(std::io::Cursor::new(input)),
    };
    let words = ["/opt/bin/deploy"].iter().chain(words).map(OsString::from);
    let outcome = run(words, deployment, streams, env);
    Ran { outcome, out: out.text(), err: err.text() }
}

/// Every kind of error; a new one breaks this match.
fn kinds() -> Vec<ErrorKind> {
    use ErrorKind as K;
    let next = |kind| match kind {
        K::InvalidFleet => Some(K::InvalidInput),
        K::InvalidInput => Some(K::StalePlan),
        K::StalePlan => Some(K::LeaseHeld),
        K::LeaseHeld => Some(K::Conflict),
        K::Conflict => Some(K::Refused),
        K::Refused => Some(K::Provider),
        K::Provider => Some(K::ProviderContract),
        K::ProviderContract => Some(K::Vault),
        K::Vault => Some(K::Ledger),
        K::Ledger => Some(K::Damaged),
        K::Damaged => Some(K::NewerVersion),
        K::NewerVersion => Some(K::Foreign),
        K::Foreign => Some(K::NotFound),
        K::NotFound => Some(K::Denied),
        K::Denied => Some(K::Io),
        K::Io => Some(K::Unsupported),
        K::Unsupported => Some(K::InDoubt),
        K::InDoubt => Some(K::Cancelled),
        K::Cancelled => Some(K::Timeout),
        K::Timeout => Some(K::Bug),
        K::Bug => None,
    };
    std::iter::successors(Some(K::InvalidFleet), |kind| next(*kind)).collect()
}

/// Every outcome that there can be, up to the numbers in it.
fn outcomes() -> Vec<Outcome> {
    let mut mistakes = Diagnostics::new();
    mistakes.push(Diagnostic::error(Code::Name, "a\u{1b}b"));
    let mut outcomes = vec![
        Outcome::Done,
        Outcome::Changes,
        Outcome::Unchecked { objects: 2 },
        Outcome::Usage("what?".into()),
        Outcome::Invalid(mistakes),
        Outcome::Unacknowledged { message: "no".into(), next: vec!["deploy apply".into()] },
        Outcome::Blocked { changes: 1 },
    ];
    for bits in 0..32_u32 {
        let bit = |at: u32| (bits >> at) & 1;
        let summary = Summary { done: bit(0), failed: bit(1), skipped: bit(2), in_doubt: bit(3) };
        outcomes.push(Outcome::Steps { summary, open: usize::from(bit(4) == 1) });
        outcomes.push(Outcome::Interrupted(summary));
    }
    for kind in kinds() {
        for retry in [Retry::Never, Retry::Backoff, Retry::After(std::time::Duration::from_secs(5))]
        {
            let address = "triage.key".parse().unwrap();
            let error = Error::new(kind, "it\u{1b}[2J failed").at(&address).help("mend it");
            outcomes.push(Outcome::Failed(error.retry_as(retry).caused_by("a cause")));
        }
    }
    outcomes
}

#[test]
fn text_json_and_exit_code_agree_for_every_outcome() {
    for json in [false, true] {
        for outcome in outcomes() {
            let (out, err) = (Shared::default(), Shared::default());
            let directory = tempfile::tempdir().unwrap();
            let into = directory.path().join("events.json");
            let global = super::args::Global {
                json,
                json_into: Some(into.clone()),
                color: super::args::When::Never,
                plain: false,
                progress: super::args::ProgressWhen::Auto,
            };
            let env = Env::default();
            let ui = Ui::new(
                &global,
                Box::new(out.clone()),
                Box::new(err.clone()),
                &env,
                "deploy".into(),
            );
            let outcome = conclude(outcome, &ui.map_err(|(error, _)| error).unwrap(), &env);
            let code = code(&outcome);
            let row = CODES.iter().find(|(number, ..)| *number == code);
            assert_eq!(row.map(|(_, word, _)| *word), Some(outcome.word()), "{outcome:?}");
            assert_eq!(code == 2, matches!(outcome, Outcome::Usage(_)), "{outcome:?}");
            let fails = !matches!(code, 0 | 3 | 4);
            assert_eq!(outcome.message().is_some(), fails, "{outcome:?}");

            let events = std::fs::read_to_string(&into).unwrap();
            let events = objects(&events);
            let last = events.last().unwrap();
            assert_eq!((&last["exit"], &last["outcome"]), (&code.into(), &outcome.word().into()));
            let error = events.iter().find(|event| event["type"] == "error");
            assert_eq!(error.is_some(), fails);
            if let Some(error) = error {
                assert_eq!(
                    (&error["exit"], &error["code"]),
                    (&code.into(), &outcome.word().into())
                );
                assert_eq!(error["message"], outcome.message().unwrap());
                assert!(error["next"].is_array() && !error["retry"].is_null());
            }

            let (out, err) = (out.text(), err.text());
            if json {
                assert_eq!((objects(&out), err), (events, String::new()));
            } else {
                assert_eq!(out, "", "what is no result went to standard output");
                assert_eq!(err.contains("error"), fails, "{err}");
                assert!(!err.contains('\u{1b}'), "{err:?}");
            }
        }
    }
}

#[test]
fn the_table_of_exit_codes_has_each_code_and_word_once() {
    let numbers: BTreeSet<u8> = CODES.iter().map(|(number, ..)| *number).collect();
    let words: BTreeSet<&str> = CODES.iter().map(|(_, word, _)| *word).collect();
    assert_eq!((numbers.len(), words.len()), (CODES.len(), CODES.len()));
    let help = typed(&["help", "exit-codes"], "", &Env::default(), no_deployment);
    for (number, word, meaning) in CODES {
        assert!(help.out.contains(&format!("{number:>3}  {word}")) && help.out.contains(meaning));
    }
}

#[test]
fn what_is_not_understood_exits_with_two_and_help_with_none() {
    let deploy = |words: &[&str]| typed(words, "", &Env::default(), no_deployment);
    for words in [
        &["plna"][..],
        &["plan", "--full", "--summary"],
        &["apply", "plan.json", "--target", "triage"],
        &["apply", "--digest", "7f3a"],
        &["hold", "triage", "--reason", "r"],
        &["kill", "triage"],
        &["show"],
        &["help", "nonsense"],
    ] {
        let ran = deploy(words);
        assert_eq!(ran.code(), 2, "{words:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{words:?}");
    }
    for words in
        [&["help"][..], &["--help"], &["help", "plan"], &["help", "environment"], &["--version"]]
    {
        let ran = deploy(words);
        assert_eq!((ran.code(), ran.err.as_str()), (0, ""), "{words:?}");
        assert!(!ran.out.is_empty());
    }
    assert!(
        deploy(&["help", "plan"]).out.contains("deploy plan"),
        "it is called as the program is"
    );
    assert!(deploy(&["plna"]).err.contains("plan"), "the nearest command is named");
}

#[test]
fn completions_need_no_deployment() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = typed(&["completions", shell], "", &Env::default(), no_deployment);
        assert_eq!(ran.code(), 0);
        assert!(ran.out.contains("deploy") && ran.out.contains("inventory"), "{shell}");
    }
}

/// A system that says what it needs, and cannot be reached.
struct Far;

#[async_trait::async_trait]
impl Provider for Far {
    fn description(&self) -> String {
        "far".into()
    }

    fn requires(&self, _: &str, _: &Blueprint) -> Vec<Requirement> {
        let of = |principal, statement: &str, why: &str| Requirement {
            principal,
            statement: statement.into(),
            why: why.into(),
        };
        vec![
            of(Principal::Apply, "CREATE ROLE applier;\nGRANT keys TO applier;", "it\nwrites"),
            of(Principal::Observe, "GRANT look TO watcher;", "it reads\u{1b}[2J"),
        ]
    }

    async fn target(&self) -> Result<String> {
        panic!("it was contacted")
    }

    fn observers(&self) -> Result<Observers> {
        panic!("it was contacted")
    }

    fn writers(&self) -> Result<Writers> {
        panic!("it was contacted")
    }

    fn probers(&self) -> Result<Probers> {
        panic!("it was contacted")
    }
}

#[test]
fn what_a_system_requires_is_printed_to_be_pasted_and_nothing_is_contacted() {
    let deployment = || {
        let mut fleet = Fleet::new("office");
        fleet.provider("far", Reach::Declared).provider("other", Reach::Declared);
        let ledger = MemoryLedger::new(Arc::new(SystemClock));
        let deployment =
            Deployment::new(fleet, "test", Arc::new(ledger), Arc::new(SimEntropy::new(1)));
        Ok(deployment.with_provider("far", Arc::new(Far)))
    };
    let ran = typed(&["plan", "--requires"], "", &Env::default(), deployment);
    assert_eq!(ran.code(), 0, "{}", ran.err);
    expect_test::expect![[r#"
        -- far: what the principal observe needs
        -- it reads\u{1b}[2J
        GRANT look TO watcher;

        -- far: what the principal apply needs
        -- it
        -- writes
        CREATE ROLE applier;
        GRANT keys TO applier;
    "#]]
    .assert_eq(&ran.out);
    let ran = typed(&["plan", "--requires", "--json"], "", &Env::default(), deployment);
    let objects = ran.objects();
    let told: Vec<_> = objects.iter().filter(|object| object["type"] == "requires").collect();
    assert_eq!(told.len(), 2);
    assert_eq!(told[1]["requirement"]["principal"], "observe");
    let ran = typed(&["plan", "--requires", "--out", "p"], "", &Env::default(), deployment);
    assert_eq!(ran.code(), 2, "it is no plan");
}

#[test]
fn a_deployment_that_cannot_be_made_fails_like_anything_else() {
    let broken = || Err(Error::new(ErrorKind::Denied, "the ledger refused us").help("log in"));
    let ran = typed(&["plan", "--json"], "", &Env::default(), broken);
    assert_eq!(ran.code(), 11);
    let objects = ran.objects();
    let error = objects.iter().find(|object| object["type"] == "error").unwrap();
    assert_eq!(error["message"], "the ledger refused us");
    assert_eq!(error["help"], "log in");
}
