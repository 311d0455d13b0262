//! Every secret of a whole life, looked for everywhere it must not be.
//!
//! The life is that of a fleet on the embedded systems: made, changed, a key
//! issued anew after its file was damaged, drift, an agent stopped, a process
//! killed, and everybody gone; and that of the example's command line. At each
//! stage the secrets are opened as the probe opens them, and everything that
//! can be seen is kept; at the end each secret is searched for in all of it.
//!
//! Where a secret may be: inside of the vault's ciphertext, where no search
//! finds it, and for the vault's own keys in the folder `keys`.
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use agent_iac::{
    ErrorKind,
    clock::{SystemClock, SystemEntropy, block_on},
    deployment::{Deployment, PlanRequest},
    ledger::{self, RunId},
    plan::{
        Plan, SavedPlan,
        render::{self, Level},
    },
    provider::{Issued, Mark, NewCredential, Observation, Operation, WriteRequest, Written},
    providers::authority::Authority,
    secret::Secret,
    value::Digest,
    vault::{
        Delivery, SecretStore,
        age::{AgeVault, Key, Recipients},
    },
};
use agent_iac_tests::{
    converge,
    embedded::{Version, declared, deployment, text},
    operator,
};

const AGENTS: usize = 6;

// What is looked for.

/// A secret in every form in which it could be written down.
struct Canary {
    name: String,
    /// Whether it belongs into the folder `keys`.
    is_key_file: bool,
    forms: BTreeMap<String, Vec<u8>>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let pairs = text.chunks(2).map(|pair| str::from_utf8(pair).ok().filter(|pair| pair.len() == 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// The part of a base64 text that `bytes` alone decide, when `before` bytes
/// stand before them in what is encoded, and anything behind.
fn base64(bytes: &[u8], before: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let mut all = vec![0; before];
    all.extend_from_slice(bytes);
    let bit = |index: usize| all[index / 8] >> (7 - index % 8) & 1;
    let digits = all.len() * 8 / 6;
    let first = (before * 8).div_ceil(6);
    (first..digits)
        .map(|digit| {
            let value = (0..6).fold(0, |value, place| value << 1 | bit(digit * 6 + place));
            alphabet[usize::from(value)]
        })
        .collect()
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Canary {
    fn new(name: impl Into<String>, is_key_file: bool, bytes: &[u8]) -> Self {
        let mut forms = BTreeMap::new();
        let mut written = |what: &str, bytes: &[u8]| {
            let hexadecimal = hex(bytes);
            forms.insert(format!("{what}, raw"), bytes.to_vec());
            forms.insert(format!("{what}, HEX"), hexadecimal.to_uppercase().into_bytes());
            forms.insert(format!("{what}, hex"), hexadecimal.into_bytes());
            for before in 0..3 {
                forms
                    .insert(format!("{what}, base64 at {before}"), base64(bytes, before, STANDARD));
                forms.insert(
                    format!("{what}, base64url at {before}"),
                    base64(bytes, before, URL_SAFE),
                );
            }
            forms.insert(format!("{what}, as a list"), format!("{bytes:?}").into_bytes());
        };
        written("all of it", bytes);
        written("small letters", &bytes.to_ascii_lowercase());
        // The digits between the prefix and the checksum, and what they say.
        let middle = bytes.strip_prefix(b"agia_").map_or(bytes, |rest| &rest[..64]);
        written("its first third", &middle[..middle.len() / 3]);
        if let Some(said) = unhex(middle) {
            written("what it says", &said);
        }
        Self { name: name.into(), is_key_file, forms }
    }

    fn of(name: impl Into<String>, is_key_file: bool, secret: &Secret) -> Self {
        secret.expose(|bytes| Self::new(name, is_key_file, bytes))
    }
}

/// Something that others could see.
struct Seen {
    name: String,
    is_key_file: bool,
    bytes: Vec<u8>,
}

/// Every place in which a canary stands: its name, the form and the place.
fn search(canaries: &[Canary], seen: &[Seen]) -> BTreeSet<String> {
    // By the first bytes, so that each place is gone through once.
    const HEAD: usize = 6;
    type Forms<'c> = Vec<(&'c Canary, &'c str, &'c [u8])>;
    let mut heads: BTreeMap<&[u8], Forms<'_>> = BTreeMap::new();
    for canary in canaries {
        for (form, bytes) in &canary.forms {
            assert!(bytes.len() >= HEAD + 2, "{} as {form} is too short to be told", canary.name);
            heads.entry(&bytes[..HEAD]).or_default().push((canary, form, bytes));
        }
    }
    let mut found = BTreeSet::new();
    for place in seen {
        for (at, head) in place.bytes.windows(HEAD).enumerate() {
            for (canary, form, bytes) in heads.get(head).into_iter().flatten() {
                let allowed = canary.is_key_file && place.is_key_file;
                if !allowed && place.bytes[at..].starts_with(bytes) {
                    found.insert(format!("{} ({form}) stands in {}", canary.name, place.name));
                }
            }
        }
    }
    found
}

// What is kept.

/// All secrets and all that was seen, of one folder.
#[derive(Default)]
struct Life {
    canaries: Vec<Canary>,
    seen: Vec<Seen>,
}

impl Life {
    fn see(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.seen.push(Seen { name: name.into(), is_key_file: false, bytes: bytes.into() });
    }

    /// Keeps everything below a folder as it is now.
    fn see_files(&mut self, stage: &str, folder: &Path) {
        let mut open = vec![folder.to_owned()];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                // One that ends between the two calls is nobody's any more.
                let Ok(bytes) = fs::read(&path) else { continue };
                let inside = path.strip_prefix(folder).unwrap();
                let is_key_file = inside.components().any(|part| part.as_os_str() == "keys")
                    && path.extension().is_some_and(|end| end == "key");
                let name = format!("{stage}: the file {}", inside.display());
                self.seen.push(Seen { name, is_key_file, bytes });
            }
        }
    }

    fn see_plan(&mut self, stage: &str, plan: &Plan) {
        let saved = SavedPlan::new(plan.clone()).unwrap();
        self.see(format!("{stage}: the saved plan"), saved.to_bytes().unwrap());
        for level in [Level::Summary, Level::Default, Level::Full] {
            let options = render::Options { level, ..render::Options::default() };
            self.see(
                format!("{stage}: the plan as text"),
                render::text(&saved, &options).to_string(),
            );
            self.see(format!("{stage}: the plan as Markdown"), render::markdown(&saved, &options));
        }
        self.see(format!("{stage}: the plan as JSON"), render::json(&saved).unwrap());
        self.see_debug(stage, "the plan", &saved);
    }

    fn see_debug(&mut self, stage: &str, what: &str, value: &dyn fmt::Debug) {
        self.see(format!("{stage}: {what}, debugged"), format!("{value:?}\n{value:#?}"));
    }

    /// Takes what stands at the places of a vault, under every label.
    fn take_secrets(&mut self, stage: &str, vault: &dyn SecretStore, paths: &[String]) {
        let labels = vault.labels().unwrap();
        let (opener, writer) = (vault.open().unwrap(), vault.deliver().unwrap());
        for path in paths {
            let Ok(versions) = block_on(labels.versions(std::slice::from_ref(path))) else {
                continue;
            };
            let versions = &versions[0];
            for version in [&versions.current, &versions.previous].into_iter().flatten() {
                let secret = block_on(opener.open(path, Some(version.generation), None)).unwrap();
                let name = format!("{path} generation {}, {stage}", version.generation);
                self.canaries.push(Canary::of(name, false, &secret));
            }
            if let Some((version, secret)) = block_on(writer.staged(path)).unwrap() {
                let name = format!("{path} pending {}, {stage}", version.generation);
                self.canaries.push(Canary::of(name, false, &secret));
            }
        }
        let (_, secret) = block_on(writer.fingerprint_key()).unwrap();
        self.canaries.push(Canary::of("the key of fingerprints", false, &secret));
    }

    /// Takes the private keys of the vault.
    fn take_keys(&mut self, folder: &Path) {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(folder.join("keys")).unwrap() {
            let path = entry.unwrap().path();
            let file = fs::read_to_string(&path).unwrap();
            let key = file.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            self.canaries.push(Canary::new(format!("the key {name}"), true, key.as_bytes()));
            names.insert(name);
        }
        let known = ["agents.key", "engine.key", "probe.key", "recovery.key"];
        assert_eq!(names, known.map(str::to_owned).into());
    }

    /// Keeps what others see of a process, until it ends.
    fn see_process(&mut self, stage: &str, child: &Child) {
        for what in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{}/{what}", child.id())).unwrap();
            self.see(format!("{stage}: {what} of the process"), bytes);
        }
    }

    /// Runs a program to its end.
    fn run(&mut self, stage: &str, command: &mut Command) -> (i32, String) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.see_process(stage, &child);
        // Both are small against what a pipe holds.
        let (mut out, mut err) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let status = child.wait().unwrap();
        self.see(format!("{stage}: standard output"), out.clone());
        self.see(format!("{stage}: standard error"), err);
        (status.code().unwrap(), out)
    }

    /// How many different secrets there are.
    fn secrets(&self) -> usize {
        let all: BTreeSet<&Vec<u8>> =
            self.canaries.iter().map(|canary| &canary.forms["all of it, raw"]).collect();
        all.len()
    }
}

/// Writes down every `tracing` event and span, at every level.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<String>>);

struct Fields<'a>(&'a mut String);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        writeln!(self.0, "{field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for Recorder {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut Fields(&mut self.0.lock().unwrap()));
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut Fields(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Fields(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

// The lives.

fn paths() -> Vec<String> {
    declared(Version::Full, AGENTS).into_iter().map(|agent| agent.place).collect()
}

/// Plans and applies in this process, and keeps what can be seen of it.
fn go_on(life: &mut Life, stage: &str, deployment: &Deployment) {
    for _ in 0..3 {
        life.see_debug(stage, "a recovery", &block_on(deployment.recover(&operator())).unwrap());
        let plan = block_on(deployment.plan(&PlanRequest::default())).unwrap();
        life.see_plan(stage, &plan);
        let saved = SavedPlan::new(plan).unwrap();
        let mut context = operator().acknowledging(saved.digest());
        let progress: Arc<Mutex<String>> = Arc::default();
        let told = Arc::clone(&progress);
        context.watch = Arc::new(move |progress| {
            writeln!(told.lock().unwrap(), "{progress:?}").unwrap();
        });
        life.see_debug(stage, "a context", &context);
        let report = block_on(deployment.apply(&saved, &context)).unwrap();
        life.see_debug(stage, "a report", &report);
        let told = progress.lock().unwrap().clone();
        life.see(format!("{stage}: progress"), told);
    }
    life.see_debug(stage, "the deployment", deployment);
    life.see_debug(stage, "the ledger", deployment.ledger());
    life.see_debug(stage, "the stores", deployment.stores());
    life.see_debug(stage, "the state", &block_on(deployment.state()).unwrap());
    let batches = block_on(deployment.ledger().batches(1, usize::MAX)).unwrap();
    life.see(format!("{stage}: the entries as JSON"), serde_json::to_vec(&batches).unwrap());
    life.see_debug(stage, "the entries", &batches);
}

/// Everything public that holds a secret, debugged, and errors about one.
fn see_what_holds(life: &mut Life, folder: &Path, deployment: &Deployment) {
    let path = &paths()[0];
    let store = &deployment.stores()["vault"];
    let secret = block_on(store.open().unwrap().open(path, None, None)).unwrap();
    let claim = RunId::random(&SystemEntropy).claim(1);
    let address = r#"worker["000"].key"#.parse().unwrap();
    let mark = Mark { fleet: "load".into(), environment: "test".into(), address };
    let delivery =
        Delivery { path, address: &mark.address, generation: 1, claim: &claim, secret: &secret };
    let stage = "what holds a secret";
    life.see_debug(stage, "a delivery", &delivery);
    let written = Written { object: None, correlation: None };
    let issued = Issued { written, secret: Some(secret.duplicate()) };
    life.see_debug(stage, "an answer", &issued);
    let request = WriteRequest {
        claim: claim.clone(),
        mark: mark.clone(),
        operation: Operation::Create(BTreeMap::new()),
        seen: Observation::Absent,
        credential: Some(NewCredential {
            generation: 1,
            secret: Some(secret.duplicate()),
            until: None,
        }),
    };
    life.see_debug(stage, "a request", &request);
    life.see_debug(stage, "a held key", &Key::held(secret.duplicate()));
    life.see_debug(stage, "a secret", &[&secret]);
    let vault = AgeVault::init(folder.join("vault"), folder.join("keys")).unwrap();
    life.see_debug(stage, "the vault", &vault);

    let other = Digest::of_bytes(b"another");
    let error = block_on(store.open().unwrap().open(path, None, Some(other))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    life.see_debug(stage, "the error of another digest", &error);
    let staged = store.deliver().unwrap();
    let error = block_on(staged.promote(path, &claim)).unwrap_err();
    life.see_debug(stage, "the error of a promotion", &error);
    let service = Authority::open(folder.join("authority.db"), Arc::new(SystemClock)).unwrap();
    let key = text(&secret);
    for (key, action, object) in
        [(&*key, "read", "elsewhere"), (&key[1..], "read", "x"), (&*key, "read", "no\u{0}object")]
    {
        let answer = block_on(service.check(key, action, object));
        life.see_debug(stage, "a check", &answer);
    }
    life.see_debug(stage, "the service", &service);
    // A private key where a public one belongs.
    let engine = fs::read_to_string(folder.join("keys/engine.key")).unwrap();
    let private = engine.lines().last().unwrap();
    let error = Recipients::default().engine(private).unwrap_err();
    life.see_debug(stage, "the error of a private key", &error);
    // A key of the authority where a key of age belongs.
    let error = Key::held(secret).recipient().unwrap_err();
    life.see_debug(stage, "the error of a key of another kind", &error);
}

fn apply_fleet(folder: &Path, temporary: &Path, version: Version) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apply-fleet"));
    command.arg(folder).args([version.to_string(), AGENTS.to_string()]).env("TMPDIR", temporary);
    command
}

fn live(life: &mut Life, folder: &Path, temporary: &Path) {
    let authority = folder.join("authority.db");
    let take = |life: &mut Life, stage: &str, deployment: &Deployment| {
        life.take_secrets(stage, &*deployment.stores()["vault"], &paths());
        life.see_files(stage, folder);
        life.see_files(stage, temporary);
    };

    let (code, _) = life.run("made", &mut apply_fleet(folder, temporary, Version::Full));
    assert_eq!(code, 0);
    life.take_keys(folder);
    let full = deployment(folder, Version::Full, AGENTS).unwrap();
    take(life, "made", &full);
    assert_eq!(life.secrets(), 4 + 1 + AGENTS);
    see_what_holds(life, folder, &full);
    drop(full);

    let changed = deployment(folder, Version::Changed, AGENTS).unwrap();
    go_on(life, "changed", &changed);
    take(life, "changed", &changed);

    // The file of a key is damaged, then removed, as the plan says.
    let names = ["workers+000.age", "workers+000.v0.age", "workers+000.json"]
        .map(|name| folder.join("vault/secrets").join(name));
    fs::write(&names[0], "damaged").unwrap();
    fs::write(&names[1], "damaged").unwrap();
    go_on(life, "damaged", &changed);
    take(life, "damaged", &changed);
    for name in &names {
        fs::remove_file(name).unwrap();
    }
    let before = life.secrets();
    go_on(life, "issued anew", &changed);
    take(life, "issued anew", &changed);
    assert_eq!(life.secrets(), before + 1, "no key was issued anew");

    // Somebody widens a grant by hand.
    let by_hand = rusqlite::Connection::open(&authority).unwrap();
    let widened = by_hand.execute("UPDATE grants SET actions = 'close delete list read'", []);
    assert!(widened.unwrap() > 0);
    drop(by_hand);
    let reverted = block_on(changed.revert_drift(&operator())).unwrap();
    life.see_debug("drift", "a revert", &reverted);
    go_on(life, "drift", &changed);
    take(life, "drift", &changed);

    // An agent is stopped, and comes back.
    let instance = r#"worker["002"]"#.parse().unwrap();
    let killed = block_on(changed.kill(&instance, "a test", &operator())).unwrap();
    life.see_debug("stopped", "a kill", &killed);
    go_on(life, "stopped", &changed);
    take(life, "stopped", &changed);
    block_on(changed.resume(&instance, &operator().actor)).unwrap();
    drop(changed);

    // A process is killed while it makes what is missing.
    let mut child = apply_fleet(folder, temporary, Version::Full)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert_eq!(first, "begun\n");
    life.see_process("killed", &child);
    child.kill().unwrap();
    child.wait().unwrap();
    life.see_files("killed", folder);
    let full = deployment(folder, Version::Full, AGENTS).unwrap();
    take(life, "killed", &full);
    go_on(life, "after the kill", &full);
    take(life, "after the kill", &full);
    block_on(converge(&full)).unwrap();
    drop(full);

    let half = deployment(folder, Version::Half, AGENTS).unwrap();
    go_on(life, "half has left", &half);
    take(life, "half has left", &half);
    drop(half);
    life.see_files("closed", folder);
}

#[test]
fn no_secret_of_a_fleets_life_stands_where_others_see_it() {
    let recorder = Recorder::default();
    tracing::subscriber::set_global_default(recorder.clone()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let (folder, temporary): (PathBuf, PathBuf) =
        (place.path().join("fleet"), place.path().join("tmp"));
    fs::create_dir(&temporary).unwrap();
    let mut life = Life::default();
    live(&mut life, &folder, &temporary);
    tracing::trace!(heard = "canary", "the recorder listens");
    let traced = recorder.0.lock().unwrap().clone();
    assert!(traced.contains(r#"heard="canary""#), "the recorder heard nothing");
    life.see("tracing", traced);

    assert!(life.secrets() >= 4 + 1 + AGENTS + 2, "only {} secrets", life.secrets());
    let kinds = ["ledger.db-wal", "authority.db", "vault/secrets", "the plan as text", "tracing"];
    for kind in kinds {
        assert!(life.seen.iter().any(|seen| seen.name.contains(kind)), "{kind} was not seen");
    }
    let found = search(&life.canaries, &life.seen);
    assert_eq!(found, BTreeSet::new());
    let verified = deployment(&folder, Version::Half, AGENTS).unwrap();
    block_on(ledger::verify(&**verified.ledger(), None)).unwrap();
}

#[test]
fn no_secret_of_the_command_line_is_shown_by_any_command() {
    let place = tempfile::tempdir().unwrap();
    let (folder, temporary) = (place.path().join("work"), place.path().join("tmp"));
    fs::create_dir(&folder).unwrap();
    fs::create_dir(&temporary).unwrap();
    let mut life = Life::default();
    let paths = ["agents/triage/key", "agents/invoice-reader/eu/key"].map(str::to_owned);
    let deploy = |life: &mut Life, args: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deploy"));
        command.args(args.split(' ')).current_dir(&folder).env("TMPDIR", &temporary);
        life.run(args, &mut command)
    };
    let take = |life: &mut Life, stage: &str| {
        let inside = folder.join(".agent-iac");
        let vault = AgeVault::init(inside.join("vault"), inside.join("keys")).unwrap();
        life.take_secrets(stage, &vault, &paths);
        life.see_files(stage, place.path());
    };
    let apply = |life: &mut Life, options: &str| {
        let (_, plan) = deploy(life, "plan");
        let (_, after) = plan.split_once("--digest ").expect("there is something to do");
        deploy(life, &format!("apply --digest {} {options}", &after[..8]))
    };

    deploy(&mut life, "plan --out plan.json --full");
    assert_eq!(apply(&mut life, "--progress plain --json-into run.json").0, 0);
    life.take_keys(&folder.join(".agent-iac"));
    take(&mut life, "applied");
    assert_eq!(life.secrets(), 4 + 1 + 2);
    let key = life.canaries.iter().find(|canary| canary.name.starts_with("agents/triage"));
    let key = String::from_utf8(key.unwrap().forms["all of it, raw"].clone()).unwrap();
    for args in [
        "plan --full",
        "plan --format json",
        "plan --format markdown",
        "--json plan",
        "drift",
        "show triage",
        "show triage.key",
        "show plan.json --full",
        "--json show triage",
        "inventory",
        "--json inventory",
        "history",
        "--json history",
        "graph --format dot",
        "graph --format json",
        "verify",
        "recover",
        "kill triage --reason test",
        "drift",
        "resume triage",
        "hold triage --reason test --for 1h",
        "release triage",
    ] {
        let (code, _) = deploy(&mut life, args);
        assert!(![2, 101].contains(&code), "`{args}` ended with {code}");
    }
    apply(&mut life, "--json");
    take(&mut life, "back again");
    assert_eq!(life.secrets(), 4 + 1 + 3, "the stopped agent got no new key");
    assert_eq!(search(&life.canaries, &life.seen), BTreeSet::new());

    // The search looks at what commands say: one that is given a key says it.
    // A short command may have ended before its arguments are looked at, so it
    // is given the key a few times.
    let mut betrayed = Life { canaries: life.canaries, seen: Vec::new() };
    let mut found = BTreeSet::new();
    for _ in 0..100 {
        deploy(&mut betrayed, &format!("show {key}"));
        found = search(&betrayed.canaries, &betrayed.seen);
        if found.iter().any(|found| found.contains("cmdline")) {
            break;
        }
    }
    assert!(found.iter().any(|found| found.contains("cmdline")), "{found:?}");
    assert!(found.iter().any(|found| found.contains("standard error")), "{found:?}");
}

// The search itself.

#[test]
fn the_search_finds_a_planted_secret_in_every_form() {
    let key = format!("agia_{}_0123abcd", hex(&(10..42).collect::<Vec<u8>>()));
    let canary = Canary::new("planted", false, key.as_bytes());
    assert!(canary.forms.len() > 30, "{}", canary.forms.len());
    let clean =
        Seen { name: "clean".into(), is_key_file: false, bytes: b"nothing of it".repeat(99) };
    assert_eq!(search(std::slice::from_ref(&canary), &[clean]), BTreeSet::new());
    for (form, bytes) in &canary.forms {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("vault")).unwrap();
        let planted = [&b"before "[..], bytes, b" behind"].concat();
        fs::write(folder.path().join("vault/planted"), planted).unwrap();
        let mut life = Life::default();
        life.see_files("test", folder.path());
        let found = search(std::slice::from_ref(&canary), &life.seen);
        let expected = format!("planted ({form}) stands in test: the file vault/planted");
        assert!(found.contains(&expected), "{form}: {found:?}");
    }
}

#[test]
fn base64_is_found_wherever_the_secret_stands_in_what_was_encoded() {
    // The first two are of RFC 4648, section 10.
    assert_eq!(base64(b"foobar", 0, STANDARD), b"Zm9vYmFy");
    assert_eq!(base64(b"fooba", 0, STANDARD), b"Zm9vYm");
    let whole = base64(b"{\"key\":\"hunter2-hunter2\"}", 0, STANDARD);
    for cut in 0..3 {
        let inside = base64(&b"hunter2-hunter2"[cut..], (8 + cut) % 3, STANDARD);
        assert!(whole.windows(inside.len()).any(|window| window == inside), "from byte {cut}");
    }
}

#[test]
fn a_private_key_is_found_outside_of_its_folder_and_an_agents_key_inside() {
    let private = Canary::new("private", true, b"AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQ");
    let agent = Canary::new("agent", false, b"agia-but-not-quite-a-key-of-the-authority");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("keys")).unwrap();
    for name in ["keys/engine.key", "keys/engine.key.aside", "notes.key"] {
        let both = [&private, &agent].map(|canary| canary.forms["all of it, raw"].clone());
        fs::write(folder.path().join(name), both.concat()).unwrap();
    }
    let mut life = Life::default();
    life.see_files("test", folder.path());
    let found = search(&[private, agent], &life.seen);
    let names: BTreeSet<&str> =
        found.iter().filter(|found| found.contains("all of it, raw")).map(String::as_str).collect();
    let stands =
        |who: &str, file: &str| format!("{who} (all of it, raw) stands in test: the file {file}");
    let expected = [
        stands("agent", "keys/engine.key"),
        stands("agent", "keys/engine.key.aside"),
        stands("agent", "notes.key"),
        stands("private", "keys/engine.key.aside"),
        stands("private", "notes.key"),
    ];
    assert_eq!(names, expected.iter().map(String::as_str).collect());
}
