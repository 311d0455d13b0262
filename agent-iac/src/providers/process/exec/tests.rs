//! Real processes: what they have and have not, how rotations reach them, and
//! that no secret is where it does not belong.

use std::{fs, path::Path, thread, time::Instant};

use super::*;
use crate::{
    consumer::{Confirmation, Inbox as _, MemoryInbox},
    ledger::Claim,
    secret::Secret,
    vault::{Deliver as _, Delivery, MemoryVault},
};

const PLACE: &str = "vault:triage/key";

struct Host {
    folder: tempfile::TempDir,
    vault: MemoryVault,
    inbox: MemoryInbox,
}

fn secret(generation: u32) -> String {
    format!("canary-{generation}-8d0c5b")
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Self { folder, vault: MemoryVault::new(), inbox: MemoryInbox::new() };
        host.deliver(1);
        host
    }

    fn deliver(&self, generation: u32) {
        let claim = Claim::from_text(format!("5eed.{generation}"));
        let address = "triage.key".parse().unwrap();
        let secret = Secret::from_text(secret(generation));
        let delivery = Delivery {
            path: "triage/key",
            address: &address,
            generation,
            claim: &claim,
            secret: &secret,
        };
        block_on(self.vault.stage(delivery)).unwrap();
        block_on(self.vault.promote("triage/key", &claim)).unwrap();
    }

    /// A shell in an environment with the secret in a file.
    fn environment(script: &str) -> Environment {
        Environment {
            command: ["/bin/sh", "-c", script].map(str::to_owned).into(),
            variables: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            secrets: BTreeMap::from([("KEY".to_owned(), PLACE.parse().unwrap())]),
            exposed: BTreeMap::new(),
            directory: None,
            on_rotation: OnRotation::Nothing,
            group: None,
            stop_within: Duration::from_secs(5),
            open_files: None,
            processes: None,
            memory: None,
        }
    }

    fn exec(&self, environment: Environment) -> Exec {
        let consumer = "runtime:triage.process".parse().unwrap();
        let credential =
            Credential::new("triage.key".parse().unwrap(), PLACE.parse().unwrap(), &self.vault)
                .unwrap()
                .confirming(consumer, Arc::new(self.inbox.clone()));
        let credentials = BTreeMap::from([(PLACE.parse().unwrap(), credential)]);
        Exec::new(environment, &credentials, self.folder.path())
            .unwrap()
            .looking_every(Duration::from_millis(20))
            .settling_for(Duration::from_millis(100))
    }

    fn confirmed(&self) -> Option<u32> {
        let by = ("triage.key".parse().unwrap(), "runtime:triage.process".parse().unwrap());
        let found: Option<Confirmation> = block_on(self.inbox.confirmed(&[by])).unwrap().remove(0);
        found.map(|confirmation| confirmation.generation)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Waits until a file holds these lines.
    fn wait_for(&self, name: &str, lines: &str) {
        until(&format!("{name} to hold {lines:?}"), || {
            fs::read_to_string(self.path(name)).unwrap_or_default() == lines
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "a real process takes real time")]
fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn a_process_has_what_is_declared_and_nothing_of_its_caller() {
    let host = Host::new();
    let out = host.path("seen");
    let script = format!(
        "/usr/bin/env > {out}; pwd >> {out}; cat /proc/self/cmdline /proc/$$/cmdline >> {out}; \
         stat -c '%a' \"$KEY_FILE\" \"$(dirname \"$KEY_FILE\")\" > {out}.modes; \
         cp \"$KEY_FILE\" {out}.key; echo \"$KEY_FILE\" > {out}.path; exit 7"
    );
    let mut environment = Host::environment(&script);
    environment.directory = Some("/usr".to_owned());
    assert_eq!(host.exec(environment).run(&Passing::default()).unwrap(), 7);
    let seen = fs::read_to_string(&out).unwrap();
    let mut names: Vec<&str> = seen
        .lines()
        .take_while(|line| !line.starts_with('/'))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name))
        .filter(|name| !["_", "SHLVL", "PWD", "OLDPWD"].contains(name))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["KEY_FILE", "PATH"], "{seen}");
    assert!(seen.contains("\n/usr\n"), "{seen}");
    assert!(!seen.contains(&secret(1)), "a secret is in the environment or an argument");
    assert_eq!(fs::read_to_string(format!("{out}.modes")).unwrap(), "600\n700\n");
    assert_eq!(fs::read_to_string(format!("{out}.key")).unwrap(), secret(1));
    let path = fs::read_to_string(format!("{out}.path")).unwrap();
    assert!(!Path::new(path.trim()).exists(), "the secret outlives its process");
    assert_eq!(host.confirmed(), Some(1));
}

#[test]
fn a_secret_is_a_variable_only_where_that_is_declared() {
    let host = Host::new();
    let mut environment =
        Host::environment("[ \"$KEY\" = canary-1-8d0c5b ] && [ -z \"$KEY_FILE\" ]");
    environment.exposed = std::mem::take(&mut environment.secrets);
    assert_eq!(host.exec(environment).run(&Passing::default()).unwrap(), 0);
}

#[test]
fn its_exit_code_is_passed_on_and_that_of_a_signal_is_128_and_its_number() {
    let host = Host::new();
    for (script, code) in [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137), ("kill $$", 143)]
    {
        let exec = host.exec(Host::environment(script));
        assert_eq!(exec.run(&Passing::default()).unwrap(), code, "{script}");
    }
    let exec = host.exec(Host::environment("exit 0")).command(["/bin/sh", "-c", "exit 9"]);
    assert_eq!(exec.run(&Passing::default()).unwrap(), 9);
}

#[test]
fn what_cannot_be_started_is_told_and_leaves_nothing_behind() {
    let host = Host::new();
    let exec = host.exec(Host::environment("")).command(["/there/is/none"]);
    let error = exec.run(&Passing::default()).unwrap_err();
    assert!(error.message().contains("/there/is/none"), "{error}");
    let exec = host.exec(Host::environment("")).command([""; 0]);
    assert_eq!(exec.run(&Passing::default()).unwrap_err().kind(), ErrorKind::InvalidInput);
    let mut environment = Host::environment("exit 0");
    environment.directory = Some("/there/is/none".to_owned());
    assert!(host.exec(environment).run(&Passing::default()).is_err());
    assert_eq!(fs::read_dir(host.folder.path()).unwrap().count(), 0);
    let unbound =
        Exec::new(Host::environment("exit 0"), &BTreeMap::new(), host.folder.path()).unwrap_err();
    assert!(unbound.message().contains(PLACE), "{unbound}");
}

#[test]
fn a_process_that_is_signalled_has_the_new_secret_before_the_signal_and_is_confirmed_after_it() {
    let host = Host::new();
    let seen = host.path("seen");
    let script = format!(
        "trap 'cat \"$KEY_FILE\" >> {seen}; echo >> {seen}' USR1; trap 'exit 3' TERM; \
         echo ready >> {seen}; while :; do sleep 0.02; done"
    );
    let mut environment = Host::environment(&script);
    // Not HUP, which a caller under `nohup` has its processes ignore.
    environment.on_rotation = OnRotation::Signal(crate::consumer::Signal::Usr1);
    let passing = Passing::default();
    thread::scope(|scope| {
        let exec = host.exec(environment);
        let run = scope.spawn(|| exec.run(&passing));
        host.wait_for("seen", "ready\n");
        host.deliver(2);
        host.wait_for("seen", "ready\ncanary-2-8d0c5b\n");
        until("the confirmation", || host.confirmed() == Some(2));
        // A signal that is passed on; `exec` ends with the code of the process.
        passing.pass(Signal::TERM.as_raw());
        assert_eq!(run.join().unwrap().unwrap(), 3);
    });
}

#[test]
fn a_process_that_cannot_take_a_new_secret_is_started_anew_with_it() {
    let host = Host::new();
    let seen = host.path("seen");
    let script = format!(
        "cat \"$KEY_FILE\" >> {seen}; echo >> {seen}; trap 'exit 0' TERM; \
         while :; do sleep 0.02; done"
    );
    let mut environment = Host::environment(&script);
    environment.on_rotation = OnRotation::Restart;
    environment.group = Some("triage".to_owned());
    let passing = Passing::default();
    thread::scope(|scope| {
        let exec = host.exec(environment);
        let run = scope.spawn(|| exec.run(&passing));
        host.wait_for("seen", "canary-1-8d0c5b\n");
        until("the first confirmation", || host.confirmed() == Some(1));
        host.deliver(2);
        host.wait_for("seen", "canary-1-8d0c5b\ncanary-2-8d0c5b\n");
        until("the confirmation", || host.confirmed() == Some(2));
        passing.pass(Signal::TERM.as_raw());
        assert_eq!(run.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn one_of_a_group_waits_until_another_one_is_up_again() {
    let host = Host::new();
    let held = private::alone(host.folder.path(), "triage").unwrap();
    let seen = host.path("seen");
    let script = format!("echo up >> {seen}; trap 'exit 0' TERM; while :; do sleep 0.02; done");
    let mut environment = Host::environment(&script);
    environment.on_rotation = OnRotation::Restart;
    environment.group = Some("triage".to_owned());
    let passing = Passing::default();
    thread::scope(|scope| {
        let exec = host.exec(environment);
        let run = scope.spawn(|| exec.run(&passing));
        host.wait_for("seen", "up\n");
        host.deliver(2);
        #[expect(clippy::disallowed_methods, reason = "nothing happens, for a while")]
        thread::sleep(Duration::from_millis(300));
        host.wait_for("seen", "up\n");
        assert_eq!(host.confirmed(), Some(1));
        drop(held);
        host.wait_for("seen", "up\nup\n");
        until("the confirmation", || host.confirmed() == Some(2));
        passing.pass(Signal::TERM.as_raw());
        assert_eq!(run.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn what_it_prints_has_its_secrets_masked_also_one_that_is_split_between_two_writes() {
    let host = Host::new();
    let script = "cat \"$KEY_FILE\"; printf ' cana'; sleep 0.1; printf 'ry-1-8d0c5b end'; \
                  printf 'err canary-1-8d0c5b' >&2";
    let (out, err) = (Sink::default(), Sink::default());
    let exec = host
        .exec(Host::environment(script))
        .masking_out_into(Box::new(out.clone()))
        .masking_err_into(Box::new(err.clone()));
    assert_eq!(exec.run(&Passing::default()).unwrap(), 0);
    assert_eq!(out.text(), "(secret) (secret) end");
    assert_eq!(err.text(), "err (secret)");
}

#[cfg(target_os = "linux")]
#[test]
fn its_limits_are_those_that_are_declared() {
    let host = Host::new();
    let seen = host.path("seen");
    let mut environment = Host::environment(&format!("sleep 0.2; ulimit -n > {seen}"));
    environment.open_files = Some(64);
    assert_eq!(host.exec(environment).run(&Passing::default()).unwrap(), 0);
    host.wait_for("seen", "64\n");
}

#[test]
fn no_secret_is_in_what_is_told_or_shown() {
    let host = Host::new();
    let told = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&told);
    let exec = host.exec(Host::environment("exit 0"));
    let shown = format!("{exec:?}");
    let exec = exec.telling(move |text| heard.lock().unwrap().push_str(text));
    exec.run(&Passing::default()).unwrap();
    assert!(!shown.contains(&secret(1)) && !told.lock().unwrap().contains(&secret(1)));
}
