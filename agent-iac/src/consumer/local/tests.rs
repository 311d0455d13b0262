use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    process::{Command, Stdio},
    thread,
};

use super::*;
use crate::value::Digest;
use crate::{
    clock::block_on,
    ledger::Claim,
    vault::{Deliver as _, Delivery, MemoryVault},
};

const SECRET: &str = "canary-5c1f0e7a";

struct Host {
    folder: tempfile::TempDir,
    vault: MemoryVault,
}

impl Host {
    fn new() -> Self {
        let vault = MemoryVault::new();
        let claim = Claim::from_text("5eed.1");
        let (address, secret) = ("a.key".parse().unwrap(), Secret::from_text(SECRET.into()));
        let delivery = Delivery {
            path: "a/key",
            address: &address,
            generation: 1,
            claim: &claim,
            secret: &secret,
        };
        block_on(vault.stage(delivery)).unwrap();
        block_on(vault.promote("a/key", &claim)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        Self { folder, vault }
    }

    fn path(&self, below: &str) -> String {
        self.folder.path().join(below).to_str().unwrap().to_owned()
    }

    fn tell(&self, allowed: Allowed, consumer: &str) -> Told {
        let stores: BTreeMap<String, Arc<dyn SecretStore>> =
            BTreeMap::from([("vault".to_owned(), Arc::new(self.vault.clone()) as _)]);
        let teller = LocalTeller::new(allowed, stores).giving_up_after(Duration::from_secs(5));
        self.tell_with(&teller, consumer)
    }

    #[expect(clippy::unused_self, reason = "it reads as the host telling")]
    fn tell_with(&self, teller: &LocalTeller, consumer: &str) -> Told {
        let notice = Notice {
            credential: &"a.key".parse().unwrap(),
            generation: 1,
            place: &"vault:a/key".parse().unwrap(),
            digest: None,
            consumer: &consumer.parse().unwrap(),
        };
        let told = block_on(teller.tell(notice));
        assert!(!format!("{told:?}").contains(SECRET));
        told
    }
}

fn because(told: Told) -> String {
    match told {
        Told::Failed { because } => because,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_happens_that_the_host_does_not_allow() {
    let host = Host::new();
    let outside = host.path("out/key");
    for consumer in [
        format!("file:{outside}"),
        format!("file:{}", host.path("in-the-name-only")),
        format!("signal:HUP {}", host.path("out/pid")),
        "command:other".to_owned(),
        "webhook:http://localhost:1/".to_owned(),
        "webhook:https://example.com/".to_owned(),
    ] {
        let allowed = Allowed::nothing()
            .files_below(host.path("in"))
            .pid_files_below(host.path("in"))
            .command("reload", "/bin/true", [""; 0])
            .webhooks_of("localhost:2", Secret::from_text("k".into()));
        let told = host.tell(allowed, &consumer);
        assert!(matches!(told, Told::NotAllowed { .. }), "{consumer}: {told:?}");
    }
    assert!(!Path::new(&outside).exists());
    // Who looks at the store by itself needs no leave.
    assert_eq!(host.tell(Allowed::nothing(), "billing-api"), Told::Told);
    assert_eq!(host.tell(Allowed::nothing(), "runtime:b.process"), Told::Told);
}

#[test]
fn a_file_is_replaced_as_a_whole_with_its_owner_and_mode() {
    let host = Host::new();
    let allowed = || Allowed::nothing().files_below(host.path("in"));
    let file = host.path("in/key");
    let me = fs::metadata(host.path("in")).unwrap().uid();
    for (options, mode) in
        [(String::new(), 0o600), (" mode=0440".into(), 0o440), (format!(" owner={me}"), 0o600)]
    {
        assert_eq!(host.tell(allowed(), &format!("file:{file}{options}")), Told::Told);
        let meta = fs::metadata(&file).unwrap();
        assert_eq!((meta.permissions().mode() & 0o7777, meta.uid()), (mode, me), "{options}");
        assert_eq!(fs::read_to_string(&file).unwrap(), SECRET);
    }
    // What a crash left beside it is gone with the next.
    fs::write(host.path("in/.agent-iac-new.key"), "half").unwrap();
    assert_eq!(host.tell(allowed(), &format!("file:{file}")), Told::Told);
    assert_eq!(fs::read_dir(host.path("in")).unwrap().count(), 1);
    let told = host.tell(allowed(), &format!("file:{file} owner=nobody-of-this-name"));
    assert!(because(told).contains("give the number"));
    assert_eq!(fs::read_dir(host.path("in")).unwrap().count(), 1);
}

#[test]
fn a_link_below_the_folder_leads_nowhere() {
    let host = Host::new();
    let allowed = || Allowed::nothing().files_below(host.path("in"));
    fs::write(host.path("out/victim"), "precious").unwrap();
    symlink(host.path("out/victim"), host.path("in/key")).unwrap();
    // The link is replaced, and what it leads to is as it was.
    assert_eq!(host.tell(allowed(), &format!("file:{}", host.path("in/key"))), Told::Told);
    assert!(fs::symlink_metadata(host.path("in/key")).unwrap().is_file());
    // So is one in the place of what is written first.
    symlink(host.path("out/victim"), host.path("in/.agent-iac-new.other")).unwrap();
    assert_eq!(host.tell(allowed(), &format!("file:{}", host.path("in/other"))), Told::Told);
    assert_eq!(fs::read_to_string(host.path("out/victim")).unwrap(), "precious");
    // A folder that is a link is refused.
    symlink(host.path("out"), host.path("in/sub")).unwrap();
    let told = host.tell(allowed(), &format!("file:{}", host.path("in/sub/key")));
    assert!(because(told).contains("cannot write"));
    assert!(!Path::new(&host.path("out/key")).exists());
    // The folder itself is the host's choice.
    symlink(host.path("in"), host.path("chosen")).unwrap();
    let chosen = Allowed::nothing().files_below(host.path("chosen"));
    assert_eq!(host.tell(chosen, &format!("file:{}", host.path("chosen/key"))), Told::Told);
}

#[test]
fn a_version_that_is_not_the_recorded_one_is_written_nowhere() {
    let host = Host::new();
    let allowed = Allowed::nothing().files_below(host.path("in"));
    let stores: BTreeMap<String, Arc<dyn SecretStore>> =
        BTreeMap::from([("vault".to_owned(), Arc::new(host.vault.clone()) as _)]);
    let teller = LocalTeller::new(allowed, stores);
    let notice = Notice {
        credential: &"a.key".parse().unwrap(),
        generation: 1,
        place: &"vault:a/key".parse().unwrap(),
        digest: Some(Digest::of_bytes(b"what the ledger records")),
        consumer: &format!("file:{}", host.path("in/key")).parse().unwrap(),
    };
    because(block_on(teller.tell(notice)));
    assert!(!Path::new(&host.path("in/key")).exists());
}

impl Host {
    fn deliver(&self, generation: u32, secret: &str) {
        let claim = Claim::from_text(format!("5eed.{generation}"));
        let (address, secret) = ("a.key".parse().unwrap(), Secret::from_text(secret.into()));
        let (path, claim) = ("a/key", &claim);
        let delivery = Delivery { path, address: &address, generation, claim, secret: &secret };
        block_on(self.vault.stage(delivery)).unwrap();
        block_on(self.vault.promote(path, claim)).unwrap();
    }

    /// Tells the file `in/key`, giving up after half a second.
    fn tell_file(&self, store: Arc<dyn SecretStore>, generation: u32) -> Told {
        let allowed = Allowed::nothing().files_below(self.path("in"));
        let teller = LocalTeller::new(allowed, BTreeMap::from([("vault".to_owned(), store)]))
            .giving_up_after(Duration::from_millis(500));
        block_on(teller.tell(Notice {
            credential: &"a.key".parse().unwrap(),
            generation,
            place: &"vault:a/key".parse().unwrap(),
            digest: None,
            consumer: &format!("file:{}", self.path("in/key")).parse().unwrap(),
        }))
    }
}

#[test]
fn a_late_writer_puts_no_old_secret_in_the_place_of_a_newer_one() {
    let host = Host::new();
    host.deliver(2, "the newer one");
    let store = || Arc::new(host.vault.clone());
    assert_eq!(host.tell_file(store(), 2), Told::Told);
    // The store has the older one still.
    let why = because(host.tell_file(store(), 1));
    assert!(why.contains("generation 1 is old: 2 is there already"), "{why}");
    assert_eq!(fs::read_to_string(host.path("in/key")).unwrap(), "the newer one");
    assert_eq!(fs::read_dir(host.path("in")).unwrap().count(), 1);
}

#[test]
fn a_file_has_one_writer_at_a_time_and_what_another_one_has_begun_is_not_touched() {
    let host = Host::new();
    let store = || Arc::new(host.vault.clone());
    let lock = host.path("in/.agent-iac-lock.key");
    let held = fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    fs::write(host.path("in/.agent-iac-new.key"), "half").unwrap();
    let why = because(host.tell_file(store(), 1));
    assert!(why.contains("somebody else is writing") || why.contains("no answer"), "{why}");
    assert_eq!(fs::read_to_string(host.path("in/.agent-iac-new.key")).unwrap(), "half");
    assert!(!Path::new(&host.path("in/key")).exists());
    drop(held);
    assert_eq!(host.tell_file(store(), 1), Told::Told);
    // A link in the place of the lock is none, and leads nowhere.
    fs::write(host.path("out/victim"), "precious").unwrap();
    symlink(host.path("out/victim"), &lock).unwrap();
    assert_eq!(host.tell_file(store(), 1), Told::Told);
    assert_eq!(fs::read_to_string(host.path("out/victim")).unwrap(), "precious");
    assert_eq!(fs::read_dir(host.path("in")).unwrap().count(), 1);
}

/// A store that never opens anything.
#[derive(Debug)]
struct StandingStill(MemoryVault);

#[async_trait]
impl crate::vault::Open for StandingStill {
    async fn open(&self, _: &str, _: Option<u32>, _: Option<Digest>) -> Result<Secret> {
        std::future::pending().await
    }
}

impl SecretStore for StandingStill {
    fn description(&self) -> String {
        "a store that stands still".to_owned()
    }

    fn labels(&self) -> Result<Arc<dyn crate::vault::Labels>> {
        SecretStore::labels(&self.0)
    }

    fn deliver(&self) -> Result<Arc<dyn crate::vault::Deliver>> {
        SecretStore::deliver(&self.0)
    }

    fn open(&self) -> Result<Arc<dyn crate::vault::Open>> {
        Ok(Arc::new(Self(self.0.clone())))
    }
}

#[test]
fn a_store_that_stands_still_is_given_up_in_time() {
    let host = Host::new();
    let store = Arc::new(StandingStill(host.vault.clone()));
    let why = because(host.tell_file(store, 1));
    assert!(why.contains("no answer within"), "{why}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_pid_file_that_means_another_process_signals_nobody() {
    use rustix::process::{Pid, Signal};

    let host = Host::new();
    let pid_file = host.path("in/pid");
    let allowed = || Allowed::nothing().pid_files_below(host.path("in"));
    let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
    fs::write(&pid_file, child.id().to_string()).unwrap();
    // An old file, whose number another process has now.
    let an_hour_ago =
        fs::metadata(&pid_file).unwrap().modified().unwrap() - Duration::from_hours(1);
    let file = fs::File::options().write(true).open(&pid_file).unwrap();
    file.set_modified(an_hour_ago).unwrap();
    let why = because(host.tell(allowed(), &format!("signal:USR1 {pid_file}")));
    assert!(why.contains("younger than its pid file"), "{why}");
    // A file of somebody else, who names a process that is not theirs.
    let meta = fs::metadata(&pid_file).unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    let refused = signal::signal_of(pid, Signal::USR1, Some(meta.uid() + 1), i64::MAX);
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert!(child.try_wait().unwrap().is_none(), "it was signalled");
    // One that has ended, of which nobody has taken note yet.
    child.kill().unwrap();
    until("its end", || !lives(&child.id().to_string()));
    fs::write(&pid_file, child.id().to_string()).unwrap();
    let why = because(host.tell(allowed(), &format!("signal:USR1 {pid_file}")));
    assert!(why.contains("the process has ended"), "{why}");
    child.wait().unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it is about real time")]
fn an_address_that_answers_byte_by_byte_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // It ends when nobody listens any more.
        while stream.write_all(b"H").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let consumer: Consumer = format!("webhook:http://127.0.0.1:{port}/").parse().unwrap();
    let Consumer::Webhook(hook) = &consumer else { panic!("{consumer}") };
    let key = Secret::from_text("shared".into());
    let request = webhook::Request::sign(hook, "{}", &key, jiff::Timestamp::UNIX_EPOCH);
    let begun = std::time::Instant::now();
    because(webhook::post(hook, &request, Duration::from_millis(400)));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    server.join().unwrap();
}

#[test]
fn a_process_is_signalled_by_its_pid_file() {
    let host = Host::new();
    let allowed = || Allowed::nothing().pid_files_below(host.path("in"));
    let mark = host.path("out/mark");
    let script =
        format!("trap 'echo told > {mark}; exit' USR1; echo ready; while :; do sleep 0.05; done");
    let mut child =
        Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    fs::write(host.path("in/pid"), format!("{}\n", child.id())).unwrap();
    assert_eq!(host.tell(allowed(), &format!("signal:USR1 {}", host.path("in/pid"))), Told::Told);
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&mark).unwrap(), "told\n");
    // The process is gone.
    because(host.tell(allowed(), &format!("signal:USR1 {}", host.path("in/pid"))));
}

#[test]
fn a_pid_file_that_holds_no_process_signals_nobody() {
    let host = Host::new();
    let allowed = || Allowed::nothing().pid_files_below(host.path("in"));
    let pid = host.path("in/pid");
    for content in ["", "x", "0", "1", "-1", "-99999", "99999999999", "12 13", "\u{0}"] {
        fs::write(&pid, content).unwrap();
        let why = because(host.tell(allowed(), &format!("signal:HUP {pid}")));
        assert!(why.contains("cannot signal"), "{content:?}: {why}");
    }
    fs::remove_file(&pid).unwrap();
    fs::write(host.path("out/pid"), std::process::id().to_string()).unwrap();
    symlink(host.path("out/pid"), &pid).unwrap();
    because(host.tell(allowed(), &format!("signal:HUP {pid}")));
}

#[test]
fn a_command_runs_in_an_environment_of_its_own_and_is_ended_in_time() {
    let host = Host::new();
    let out = host.path("out/env");
    let script = format!("/usr/bin/env > {out}; cat /proc/self/cmdline >> {out}; pwd >> {out}");
    let allowed = |script: &str| Allowed::nothing().command("run", "/bin/sh", ["-c", script]);
    assert_eq!(host.tell(allowed(&script), "command:run"), Told::Told);
    let seen = fs::read_to_string(&out).unwrap();
    for expected in [
        "AGENT_IAC_CREDENTIAL=a.key\n",
        "AGENT_IAC_GENERATION=1\n",
        "AGENT_IAC_PLACE=vault:a/key\n",
    ] {
        assert!(seen.contains(expected), "{seen}");
    }
    assert!(!seen.contains("HOME=") && !seen.contains("CARGO"), "{seen}");
    assert!(!seen.contains(SECRET));
    assert!(because(host.tell(allowed("exit 3"), "command:run")).contains("exit status: 3"));
    let missing = Allowed::nothing().command("run", "/there/is/none", [""; 0]);
    assert!(because(host.tell(missing, "command:run")).contains("cannot run"));
    let begun = host.path("out/begun");
    let script = format!("sleep 600 & echo $! > {begun}; wait");
    let teller = LocalTeller::new(allowed(&script), BTreeMap::new())
        .giving_up_after(Duration::from_millis(1500));
    because(host.tell_with(&teller, "command:run"));
    let sleeper = fs::read_to_string(&begun).unwrap();
    until("what it has started to end", || !lives(sleeper.trim()));
}

fn lives(pid: &str) -> bool {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    let stat = || fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    rustix::process::test_kill_process(pid).is_ok()
        && !stat().is_ok_and(|stat| stat.contains(") Z "))
}

#[expect(clippy::disallowed_methods, reason = "a real process takes real time")]
fn until(what: &str, done: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_webhook_is_signed_tried_again_and_told_no_secret() {
    let host = Host::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = ["HTTP/1.1 503 Busy\r\n\r\n", "nonsense", "HTTP/1.1 204 No Content\r\n\r\n"];
    let server = thread::spawn(move || {
        answers.map(|answer| {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut part) = (String::new(), [0; 4096]);
            while !request.ends_with('}') {
                let read = stream.read(&mut part).unwrap();
                request.push_str(std::str::from_utf8(&part[..read]).unwrap());
            }
            stream.write_all(answer.as_bytes()).unwrap();
            request
        })
    });
    let key = || Secret::from_text("shared".into());
    let allowed = Allowed::nothing().webhooks_of(format!("127.0.0.1:{port}"), key());
    let stores: BTreeMap<String, Arc<dyn SecretStore>> = BTreeMap::new();
    let teller = LocalTeller::new(allowed, stores).with_clock(Arc::new(Hasty));
    let hook = format!("webhook:http://127.0.0.1:{port}/rotated?x=1");
    assert_eq!(host.tell_with(&teller, &hook), Told::Told);
    for request in server.join().unwrap() {
        assert!(request.starts_with("POST /rotated?x=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("Agent-Iac-Signature: t=0,v1="), "{request}");
        assert!(request.contains(r#""credential":"a.key""#), "{request}");
        assert!(!request.contains(SECRET) && !request.contains("shared"), "{request}");
    }
    // Nobody is there any more.
    assert!(because(host.tell_with(&teller, &hook)).contains("cannot reach"));
}

/// Passes over short pauses; whoever gives up after long waits long.
#[derive(Debug)]
struct Hasty;

#[async_trait]
impl Clock for Hasty {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }

    async fn sleep(&self, duration: Duration) {
        if duration >= LIMIT {
            SystemClock.sleep(duration).await;
        }
    }
}
