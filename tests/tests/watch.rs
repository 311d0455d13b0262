//! The daemon for real: two of the stock binary on one folder, scraped, told of
//! by a webhook and a program, against somebody who changes things by hand, and
//! asked to stop by each signal that asks.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![expect(clippy::disallowed_methods, reason = "real processes are waited for in real time")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use agent_iac::{
    clock::block_on,
    deployment::{
        Deployment,
        watch::{WatchOptions, Watcher},
    },
    fleet::{Rules, Standing},
};
use agent_iac_tests::{
    embedded::{self, Version},
    operator,
};
use serde_json::Value as Json;

const FLEET: &str = r#"
fleet = "office"
stores = ["vault"]

[providers.authority]
reach = "exclusive"

[rules]
standing = ["rotate", "narrow", "retire"]

[agents.triage]
purpose = "Sorts what comes in."
owner = "team:office"
expires = "2090-06-30"

[agents.triage.account]
identity = "authority.account"
name = "triage"
on_drift = "revert_widening"

[agents.triage.tickets]
permission = "authority.grant"
to = "account"
on = "tickets"
allow = ["read"]
on_drift = "revert_widening"

[agents.triage.key]
credential = "authority.api_key"
of = "account"
rotate = "7d"
overlap = "1h"
deliver = "vault:agents/triage"
"#;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

struct Office(tempfile::TempDir);

impl Office {
    /// A folder with a fleet that was applied.
    fn new() -> Self {
        let office = Self(tempfile::tempdir().unwrap());
        fs::write(office.path("fleet.toml"), FLEET).unwrap();
        let plan = office.runs(&["plan", "--json"], 0);
        let last: Json = serde_json::from_str(plan.lines().last().unwrap()).unwrap();
        office.runs(&["apply", "--digest", last["digest"].as_str().unwrap()], 0);
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stock"));
        command.args(words).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn runs(&self, words: &[&str], code: i32) -> String {
        let output = self.command(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn watches(&self, more: &[&str]) -> Daemon {
        let words = ["watch", "--json", "--poll", "1s"];
        let often = if more.contains(&"--no-drift") { &[][..] } else { &["--drift-every", "1s"] };
        let words = [&words[..], often, &["--listen", "127.0.0.1:0"], more].concat();
        let mut child =
            self.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                let Ok(line) = line else { return };
                let object: Json = serde_json::from_str(&line).expect("one object a line");
                if tell.send(object).is_err() {
                    return;
                }
            }
        });
        let mut daemon = Daemon { child, lines, address: String::new() };
        let begun = daemon.waits_for(|object| object["type"] == "watching");
        begun["listen"].as_str().unwrap().clone_into(&mut daemon.address);
        daemon
    }

    fn by_hand(&self, sql: &str) {
        let file = rusqlite::Connection::open(self.path(".agent-iac/authority.db")).unwrap();
        file.busy_timeout(PATIENCE).unwrap();
        assert!(file.execute(sql, []).unwrap() > 0, "nothing was changed");
    }

    fn actions(&self) -> String {
        let file = rusqlite::Connection::open(self.path(".agent-iac/authority.db")).unwrap();
        file.busy_timeout(PATIENCE).unwrap();
        file.query_row("SELECT actions FROM grants", [], |row| row.get(0)).unwrap()
    }
}

struct Daemon {
    child: Child,
    lines: Receiver<Json>,
    address: String,
}

impl Daemon {
    #[track_caller]
    fn waits_for(&self, is_it: impl Fn(&Json) -> bool) -> Json {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(object) if is_it(&object) => return object,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        panic!("it did not say so")
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A number out of what Prometheus would read.
    fn number(&self, name: &str) -> u64 {
        let (code, text) = self.get("/metrics");
        assert_eq!(code, 200);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Asks it to stop, and gives its last object.
    #[track_caller]
    fn stops(mut self, signal: &str) -> Json {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let asked = Instant::now();
        let status = self.child.wait().unwrap();
        assert!(asked.elapsed() < PATIENCE, "it took {:?}", asked.elapsed());
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(0), "{signal}: {status}: {said}");
        let last = self.lines.iter().last().unwrap();
        assert_eq!((&last["type"], &last["outcome"]), (&"summary".into(), &"done".into()));
        last
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test that failed leaves no process behind.
        let _ended: std::io::Result<()> = self.child.kill();
        let _reaped: std::io::Result<std::process::ExitStatus> = self.child.wait();
    }
}

#[track_caller]
fn wait_until(what: &str, is_it: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_it() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A receiver of webhooks: gives each request's head and body.
fn receiver() -> (String, Receiver<(String, Json)>) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/alerts", socket.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in socket.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while reader.read_line(&mut head).unwrap() > 2 {}
            let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            write!(stream, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").unwrap();
            if tell.send((head, serde_json::from_slice(&body).unwrap())).is_err() {
                return;
            }
        }
    });
    (url, told)
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn two_daemons_take_back_what_somebody_widens_and_tell_of_it_and_end_in_order() {
    let office = Office::new();
    let (url, told) = receiver();
    fs::write(office.path("alerts.key"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let log = office.path("alerts.log");
    let script = "#!/bin/sh\n[ -z \"$HOME\" ] || exit 1\n\
                  printf '%s\\n' \"$AGENT_IAC_ALERT_KIND $AGENT_IAC_ALERT_OWNER\" >>";
    executable(&office.path("alert"), &format!("{script} '{}'\n", log.display()));
    let alarms = ["--alert-webhook", &url, "--alert-key", "alerts.key"];
    let one = office.watches(&[&alarms[..], &["--alert-command", "./alert"]].concat());
    let other = office.watches(&["--name", "other"]);
    for daemon in [&one, &other] {
        wait_until("it is not ready", || daemon.get("/readyz").0 == 200);
        assert_eq!(daemon.get("/healthz"), (200, "ok\n".to_owned()));
        wait_until("it does not check", || daemon.number("agent_iac_checks_total") > 0);
        assert_eq!(daemon.number("agent_iac_credentials"), 1);
        assert_eq!(daemon.number("agent_iac_drift"), 0);
    }
    let (_, metrics) = one.get("/metrics");
    assert!(metrics.contains("# TYPE agent_iac_build_info gauge\n"), "{metrics}");
    assert!(!metrics.contains("triage") && !metrics.contains("office"), "{metrics}");

    office.by_hand("UPDATE grants SET actions = 'delete read'");
    wait_until("it is not taken back", || office.actions() == "read");
    let done = r#"agent_iac_steps_total{run="revert",outcome="done"}"#;
    let reverted = |daemon: &Daemon| {
        let (_, text) = daemon.get("/metrics");
        text.lines().any(|line| line == format!("{done} 1"))
    };
    wait_until("neither counts it", || reverted(&one) || reverted(&other));
    assert!(!(reverted(&one) && reverted(&other)), "one of them did it");

    // What narrows stays, and is told by whoever looks.
    office.by_hand("UPDATE accounts SET suspended = 1");
    let is_found = |o: &Json| o["type"] == "alert" && o["alert"]["kind"] == "drift_found";
    let found = one.waits_for(is_found);
    assert_eq!(found["alert"]["about"], "triage.account");
    let at_other = other.waits_for(is_found);
    assert_eq!(at_other["alert"]["id"], found["alert"]["id"], "the receiver can tell");
    wait_until("the program is not run", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("drift_found team:office"))
    });
    let mut heard = Vec::new();
    while heard.last() != Some(&"drift_found".to_owned()) {
        let (head, body) = told.recv_timeout(PATIENCE).expect("the webhook is called");
        assert!(head.starts_with("POST /alerts HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nAgent-Iac-Signature: t="), "{head}");
        assert_eq!((&body["fleet"], &body["owner"]), (&"office".into(), &"team:office".into()));
        heard.push(body["kind"].as_str().unwrap().to_owned());
    }
    let suspended = "SELECT suspended FROM accounts";
    let file = rusqlite::Connection::open(office.path(".agent-iac/authority.db")).unwrap();
    assert!(file.query_row(suspended, [], |row| row.get::<_, bool>(0)).unwrap());

    let last = one.stops("TERM");
    assert_eq!(last["exit"], 0);
    assert!(last["alerts"].as_u64().unwrap() >= 1 && last["checks"].as_u64().unwrap() >= 2);
    other.stops("INT");
    let runs = office.runs(&["history", "--json"], 0);
    let reverts = runs.matches(r#""purpose":"revert""#).count();
    assert_eq!(reverts, 1, "it was taken back once");
}

#[test]
fn a_terminal_that_is_closed_ends_it_in_order_too_and_a_second_begins_where_it_was() {
    let office = Office::new();
    office.watches(&[]).stops("HUP");
    let again = office.watches(&["--no-drift"]);
    wait_until("it is not ready", || again.get("/readyz").0 == 200);
    assert_eq!(again.number("agent_iac_checks_total"), 0);
    again.stops("TERM");
}

/// What a layer that exports would be given: each span with its parent and its
/// fields, and each event with the span that it stands in.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    spans: Vec<(String, Option<String>, BTreeMap<String, String>)>,
    entered: Vec<u64>,
    events: Vec<(Option<String>, BTreeMap<String, String>)>,
}

impl Recorded {
    fn present(&self) -> Option<String> {
        let id = usize::try_from(*self.entered.last()?).unwrap();
        Some(self.spans[id - 1].0.clone())
    }
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.to_string(), format!("{value:?}"));
    }
}

impl tracing::Subscriber for Recorder {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("agent_iac")
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let mut recorded = self.0.lock().unwrap();
        let mut fields = BTreeMap::new();
        span.record(&mut Fields(&mut fields));
        let parent = recorded.present();
        recorded.spans.push((span.metadata().name().to_owned(), parent, fields));
        tracing::span::Id::from_u64(recorded.spans.len() as u64)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut recorded = self.0.lock().unwrap();
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        let within = recorded.present();
        recorded.events.push((within, fields));
    }

    fn enter(&self, id: &tracing::span::Id) {
        self.0.lock().unwrap().entered.push(id.into_u64());
    }

    fn exit(&self, _: &tracing::span::Id) {
        self.0.lock().unwrap().entered.pop();
    }
}

#[test]
fn a_tick_is_a_span_and_what_it_does_stands_within() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = || {
        let mut fleet = embedded::fleet(Version::Full, 1);
        fleet.rules(Rules { standing: Standing::whole(), ..Rules::default() });
        fleet
    };
    let deployment = || Deployment::embedded(fleet(), "test", folder.path()).unwrap();
    block_on(agent_iac_tests::converge_as(&deployment(), &operator())).unwrap();
    embedded::plant_others(&folder.path().join("authority.db")).unwrap();

    let recorder = Recorder::default();
    tracing::subscriber::set_global_default(recorder.clone()).unwrap();
    let deployment = Arc::new(deployment());
    let mut watcher = Watcher::new(deployment, operator(), WatchOptions::default()).unwrap();
    let round = block_on(watcher.tick());
    assert_eq!(round.alerts.len(), 1, "{round:#?}");

    let recorded = recorder.0.lock().unwrap();
    let span = |name: &str| recorded.spans.iter().find(|(of, ..)| of == name).unwrap();
    let (_, parent, fields) = span("agent_iac.tick");
    assert_eq!(*parent, None);
    assert_eq!((&*fields["fleet"], &*fields["environment"]), (r#""load""#, r#""test""#));
    assert_eq!(span("agent_iac.check").1.as_deref(), Some("agent_iac.tick"));
    let event = |message: &str| {
        recorded.events.iter().find(|(_, fields)| fields["message"] == message).unwrap()
    };
    let (within, fields) = event("checked");
    assert_eq!(within.as_deref(), Some("agent_iac.tick"));
    assert_eq!((&*fields["undeclared"], &*fields["drift"]), ("1", "0"));
    let (within, fields) = event("alert");
    assert_eq!((within.as_deref(), &*fields["kind"]), (Some("agent_iac.tick"), "drift_found"));
}
