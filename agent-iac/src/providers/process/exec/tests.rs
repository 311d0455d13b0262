//! Real processes: what they have and have not, how rotations reach them, and
//! that no secret is where it does not belong.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Instant,
};

use async_trait::async_trait;
use rustix::process::{Pid, Signal, geteuid, test_kill_process};

use super::*;
use crate::{
    clock::block_on,
    consumer::{Confirm, Confirmation, Inbox as _, MemoryInbox},
    ledger::Claim,
    secret::Secret,
    vault::{Deliver, Delivery, Labels, MemoryVault, Open, Pin, SecretStore, Versions},
};

const PLACE: &str = "vault:triage/key";
const OTHER: &str = "vault:triage/other";

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
        host.deliver_at("triage/other", 1);
        host
    }

    fn deliver(&self, generation: u32) {
        self.deliver_at("triage/key", generation);
    }

    fn deliver_at(&self, path: &str, generation: u32) {
        let claim = Claim::from_text(format!("5eed.{generation}"));
        let address = path.replace('/', ".").parse().unwrap();
        let secret = Secret::from_text(secret(generation));
        let delivery =
            Delivery { path, address: &address, generation, claim: &claim, secret: &secret };
        block_on(self.vault.stage(delivery)).unwrap();
        block_on(self.vault.promote(path, &claim)).unwrap();
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
        self.exec_of(environment, &self.vault, &(Arc::new(self.inbox.clone()) as _))
    }

    fn exec_of(
        &self,
        environment: Environment,
        store: &dyn SecretStore,
        inbox: &Arc<dyn Confirm>,
    ) -> Exec {
        let credentials = [("triage.key", PLACE), ("triage.other", OTHER)].map(|(key, place)| {
            let place: Place = place.parse().unwrap();
            let consumer = "runtime:triage.process".parse().unwrap();
            let credential = Credential::new(key.parse().unwrap(), place.clone(), store).unwrap();
            (place, credential.confirming(consumer, Arc::clone(inbox)))
        });
        Exec::new(environment, &credentials.into(), self.folder.path())
            .unwrap()
            .looking_every(Duration::from_millis(20))
            .settling_for(Duration::from_millis(100))
    }

    /// The folder in which those of this user lie.
    fn home(&self) -> PathBuf {
        self.folder.path().join(format!("agent-iac-{}", geteuid().as_raw()))
    }

    /// The folder of the one process that runs.
    fn private(&self) -> PathBuf {
        let folders = fs::read_dir(self.home()).unwrap().map(|entry| entry.unwrap().path());
        folders.filter(|path| path.is_dir()).collect::<Vec<_>>().pop().unwrap()
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
    assert_eq!(host.confirmed(), None, "it ended badly before it was settled");
}

#[test]
fn a_process_that_comes_to_a_good_end_at_once_has_used_its_secret() {
    let host = Host::new();
    assert_eq!(host.exec(Host::environment("exit 0")).run(&Passing::default()).unwrap(), 0);
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
    assert_eq!(fs::read_dir(host.home()).unwrap().count(), 0);
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
    let code = running(host.exec(environment), |passing| {
        host.wait_for("seen", "ready\n");
        host.deliver(2);
        host.wait_for("seen", "ready\ncanary-2-8d0c5b\n");
        until("the confirmation", || host.confirmed() == Some(2));
        // A signal that is passed on; `exec` ends with the code of the process.
        passing.pass(Signal::TERM.as_raw());
    });
    assert_eq!(code, 3);
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
    let code = running(host.exec(environment), |passing| {
        host.wait_for("seen", "canary-1-8d0c5b\n");
        until("the first confirmation", || host.confirmed() == Some(1));
        host.deliver(2);
        host.wait_for("seen", "canary-1-8d0c5b\ncanary-2-8d0c5b\n");
        until("the confirmation", || host.confirmed() == Some(2));
        passing.pass(Signal::TERM.as_raw());
    });
    assert_eq!(code, 0);
}

#[test]
fn one_of_a_group_waits_until_another_one_is_up_again() {
    let host = Host::new();
    let held = private::tests::hold(host.folder.path(), "triage");
    let seen = host.path("seen");
    let script = format!("echo up >> {seen}; trap 'exit 0' TERM; while :; do sleep 0.02; done");
    let mut environment = Host::environment(&script);
    environment.on_rotation = OnRotation::Restart;
    environment.group = Some("triage".to_owned());
    let code = running(host.exec(environment), |passing| {
        host.wait_for("seen", "up\n");
        until("the first confirmation", || host.confirmed() == Some(1));
        host.deliver(2);
        a_while();
        host.wait_for("seen", "up\n");
        assert_eq!(host.confirmed(), Some(1));
        drop(held);
        host.wait_for("seen", "up\nup\n");
        until("the confirmation", || host.confirmed() == Some(2));
        passing.pass(Signal::TERM.as_raw());
    });
    assert_eq!(code, 0);
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
    let told = Told::default();
    let mut environment = Host::environment(&host.script("exit 0"));
    environment.on_rotation = OnRotation::Restart;
    environment.group = Some("triage".to_owned());
    let exec = told.by(host.exec(environment));
    let shown = format!("{exec:?}");
    running(exec, |passing| {
        host.wait_for("seen", "up\n");
        // Neither the folder of its secrets nor its group can be had.
        let private = host.private();
        fs::remove_dir_all(&private).unwrap();
        fs::write(&private, "").unwrap();
        host.deliver(2);
        until("it to be told", || told.text().contains("cannot be handed on yet"));
        fs::remove_file(&private).unwrap();
        until("the confirmation", || host.confirmed() == Some(2));
        assert!(told.text().contains("is of generation 2"));
        passing.pass(Signal::TERM.as_raw());
    });
    for generation in [1, 2] {
        assert!(!shown.contains(&secret(generation)), "{shown}");
        assert!(!told.text().contains(&secret(generation)), "{}", told.text());
    }
}

/// What is told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>);

impl Told {
    fn by(&self, exec: Exec) -> Exec {
        let heard = Arc::clone(&self.0);
        exec.telling(move |text| {
            let mut heard = heard.lock().unwrap();
            heard.push_str(text);
            heard.push('\n');
        })
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Host {
    /// One that says that it is up, and goes on until it is asked to end.
    fn script(&self, at_the_end: &str) -> String {
        let seen = self.path("seen");
        format!("echo up >> {seen}; trap '{at_the_end}' TERM; while :; do sleep 0.02; done")
    }
}

/// Runs it beside what is done meanwhile, and answers its code. One that does
/// not end fails the test, and holds it up no longer than it must.
fn running(exec: Exec, meanwhile: impl FnOnce(&Passing)) -> u8 {
    let passing = KilledAtLast(Passing::default());
    let passes = passing.0.clone();
    let run = thread::spawn(move || exec.run(&passes));
    meanwhile(&passing.0);
    until("the end", || run.is_finished());
    run.join().unwrap().unwrap()
}

/// No process goes on after a test that has failed.
struct KilledAtLast(Passing);

impl Drop for KilledAtLast {
    fn drop(&mut self) {
        self.0.pass(Signal::TERM.as_raw());
        self.0.pass(Signal::KILL.as_raw());
    }
}

fn lives(pid: &str) -> bool {
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    test_kill_process(pid).is_ok()
        && !fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
            .is_ok_and(|stat| stat.contains(") Z "))
}

#[expect(clippy::disallowed_methods, reason = "nothing happens, for a while")]
fn a_while() {
    thread::sleep(Duration::from_millis(300));
}

#[test]
fn one_that_dies_after_two_secrets_were_rotated_together_ends_exec_and_confirms_neither() {
    let host = Host::new();
    let seen = host.path("seen");
    let script = format!("[ -e {seen} ] && exit 4; {}", host.script("exit 0"));
    let mut environment = Host::environment(&script);
    environment.secrets.insert("OTHER".to_owned(), OTHER.parse().unwrap());
    environment.on_rotation = OnRotation::Restart;
    environment.group = Some("triage".to_owned());
    let code = running(host.exec(environment), |_| {
        until("the first confirmation", || host.confirmed() == Some(1));
        host.deliver(2);
        host.deliver_at("triage/other", 2);
    });
    assert_eq!(code, 4);
    assert_eq!(host.confirmed(), Some(1));
}

#[test]
fn a_group_that_cannot_be_held_is_told_and_the_process_goes_on_until_it_can() {
    let host = Host::new();
    let told = Told::default();
    let mut environment = Host::environment(&host.script("exit 0"));
    environment.on_rotation = OnRotation::Restart;
    environment.group = Some("triage".to_owned());
    running(told.by(host.exec(environment)), |passing| {
        host.wait_for("seen", "up\n");
        let lock = host.home().join("group-triage.lock");
        fs::create_dir(&lock).unwrap();
        host.deliver(2);
        until("it to be told", || told.text().contains("cannot restart yet"));
        a_while();
        host.wait_for("seen", "up\n");
        assert_eq!(told.text().lines().count(), 1, "{}", told.text());
        fs::remove_dir(&lock).unwrap();
        host.wait_for("seen", "up\nup\n");
        until("the confirmation", || host.confirmed() == Some(2));
        passing.pass(Signal::TERM.as_raw());
    });
}

#[test]
fn a_process_that_ends_by_itself_while_its_group_is_held_is_not_started_again() {
    let host = Host::new();
    let held = private::tests::hold(host.folder.path(), "triage");
    let (seen, stop) = (host.path("seen"), host.path("stop"));
    let script = format!("echo up >> {seen}; while [ ! -e {stop} ]; do sleep 0.02; done; exit 5");
    let mut environment = Host::environment(&script);
    environment.on_rotation = OnRotation::Restart;
    environment.group = Some("triage".to_owned());
    let code = running(host.exec(environment), |_| {
        host.wait_for("seen", "up\n");
        host.deliver(2);
        let file = || fs::read_to_string(host.private().join("KEY")).unwrap();
        until("the new secret", || file() == secret(2));
        fs::write(&stop, "").unwrap();
        a_while();
        drop(held);
    });
    assert_eq!((code, &*fs::read_to_string(seen).unwrap()), (5, "up\n"));
}

#[test]
fn what_was_asked_to_end_before_its_start_is_not_started() {
    let host = Host::new();
    let passing = Passing::default();
    passing.pass(Signal::TERM.as_raw());
    assert_eq!(host.exec(Host::environment(&host.script("exit 0"))).run(&passing).unwrap(), 143);
    assert!(!Path::new(&host.path("seen")).exists());
}

#[test]
fn a_signal_to_end_while_a_process_is_being_started_reaches_it() {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};

    let passing = Passing::default();
    passing.pass(Signal::INT.as_raw());
    let mut sleeper =
        std::process::Command::new("/bin/sleep").arg("600").process_group(0).spawn().unwrap();
    let pid = Pid::from_raw(sleeper.id().try_into().unwrap()).unwrap();
    passing.set(Some(running::Target { pid, leads: true }));
    assert_eq!(sleeper.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
}

/// A store that never answers.
#[derive(Debug)]
struct StandingStill(MemoryVault);

#[async_trait]
impl Labels for StandingStill {
    async fn versions(&self, _: &[String]) -> Result<Vec<Versions>> {
        std::future::pending().await
    }

    async fn pin(&self, _: &str) -> Result<Option<Pin>> {
        std::future::pending().await
    }
}

impl SecretStore for StandingStill {
    fn description(&self) -> String {
        "a store that stands still".to_owned()
    }

    fn labels(&self) -> Result<Arc<dyn Labels>> {
        Ok(Arc::new(Self(self.0.clone())))
    }

    fn deliver(&self) -> Result<Arc<dyn Deliver>> {
        SecretStore::deliver(&self.0)
    }

    fn open(&self) -> Result<Arc<dyn Open>> {
        SecretStore::open(&self.0)
    }
}

#[test]
fn a_store_that_stands_still_keeps_no_signal_from_ending_it() {
    let host = Host::new();
    let store = StandingStill(host.vault.clone());
    let environment = Host::environment(&host.script("exit 0"));
    let exec = host.exec_of(environment, &store, &(Arc::new(host.inbox.clone()) as _));
    let code = running(exec, |passing| {
        a_while();
        passing.pass(Signal::TERM.as_raw());
    });
    assert_eq!(code, 143);
}

#[test]
fn of_two_processes_of_a_runtime_the_last_one_confirms() {
    let host = Host::new();
    let held = private::tests::hold(host.folder.path(), "held");
    let [free, waits] = [None, Some("held".to_owned())].map(|group| {
        let mut environment = Host::environment(&host.script("exit 0"));
        environment.on_rotation = OnRotation::Restart;
        environment.group = group;
        host.exec(environment)
    });
    let code = running(free, |first| {
        let other = running(waits, |second| {
            host.wait_for("seen", "up\nup\n");
            until("the first confirmation", || host.confirmed() == Some(1));
            host.deliver(2);
            host.wait_for("seen", "up\nup\nup\n");
            a_while();
            assert_eq!(host.confirmed(), Some(1), "one of them uses the old secret still");
            drop(held);
            host.wait_for("seen", "up\nup\nup\nup\n");
            until("the confirmation", || host.confirmed() == Some(2));
            second.pass(Signal::TERM.as_raw());
        });
        assert_eq!(other, 0);
        first.pass(Signal::TERM.as_raw());
    });
    assert_eq!(code, 0);
}

#[test]
fn a_folder_that_is_gone_is_made_anew_with_the_next_secret() {
    let host = Host::new();
    let seen = host.path("seen");
    let script = format!(
        "trap 'cat \"$KEY_FILE\" >> {seen}; echo >> {seen}' USR1; trap 'exit 0' TERM; \
         echo ready >> {seen}; while :; do sleep 0.02; done"
    );
    let mut environment = Host::environment(&script);
    environment.on_rotation = OnRotation::Signal(crate::consumer::Signal::Usr1);
    running(host.exec(environment), |passing| {
        host.wait_for("seen", "ready\n");
        fs::remove_dir_all(host.home()).unwrap();
        host.deliver(2);
        host.wait_for("seen", "ready\ncanary-2-8d0c5b\n");
        passing.pass(Signal::TERM.as_raw());
    });
}

/// An inbox that fails at first.
struct Unsteady(AtomicU32, MemoryInbox);

#[async_trait]
impl Confirm for Unsteady {
    async fn confirm(&self, confirmation: &Confirmation) -> Result<()> {
        if self.0.fetch_add(1, Ordering::SeqCst) < 2 {
            return Err(Error::new(ErrorKind::Io, "the inbox is away"));
        }
        self.1.confirm(confirmation).await
    }
}

#[test]
fn a_confirmation_that_failed_is_told_once_and_written_later() {
    let host = Host::new();
    let told = Told::default();
    let inbox: Arc<dyn Confirm> = Arc::new(Unsteady(AtomicU32::new(0), host.inbox.clone()));
    let exec = host.exec_of(Host::environment(&host.script("exit 0")), &host.vault, &inbox);
    running(told.by(exec), |passing| {
        until("the confirmation", || host.confirmed() == Some(1));
        assert_eq!(told.text().matches("is not confirmed yet").count(), 1, "{}", told.text());
        passing.pass(Signal::TERM.as_raw());
    });
}

/// Somebody who does not read on.
struct Stalled(Arc<Mutex<()>>);

impl Write for Stalled {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        drop(self.0.lock().unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn one_whose_output_nobody_reads_has_its_new_secret_all_the_same() {
    let host = Host::new();
    let script = format!("echo begins; {}", host.script("exit 0"));
    let reads = Arc::new(Mutex::new(()));
    let stalls = reads.lock().unwrap();
    let out = Stalled(Arc::clone(&reads));
    let exec = host.exec(Host::environment(&script)).masking_out_into(Box::new(out));
    running(exec, |passing| {
        host.wait_for("seen", "up\n");
        host.deliver(2);
        until("the confirmation", || host.confirmed() == Some(2));
        drop(stalls);
        passing.pass(Signal::TERM.as_raw());
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a real process takes real time")]
fn the_end_waits_for_no_stream_that_is_not_masked() {
    let host = Host::new();
    let begun = Instant::now();
    for masked in [false, true] {
        let exec = host.exec(Host::environment("exit 0"));
        let exec = if masked { exec.masking_err_into(Box::new(Sink::default())) } else { exec };
        exec.run(&Passing::default()).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
fn what_a_process_has_started_ends_with_it_before_another_one_begins() {
    let host = Host::new();
    let pids = host.path("pids");
    let script = format!(
        "/bin/sh -c 'echo $$ >> {pids}; trap \"sleep 0.3; exit\" TERM; \
         while :; do sleep 0.02; done' & echo up >> {}; wait",
        host.path("seen")
    );
    let mut environment = Host::environment(&script);
    environment.on_rotation = OnRotation::Restart;
    let pids = || -> Vec<String> {
        let text = fs::read_to_string(&pids).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    running(host.exec(environment), |passing| {
        until("the first", || pids().len() == 1);
        host.deliver(2);
        until("the second", || pids().len() == 2);
        assert!(!lives(&pids()[0]), "the old one goes on beside the new one");
        assert!(lives(&pids()[1]));
        passing.pass(Signal::TERM.as_raw());
    });
    assert!(!lives(&pids()[1]), "it goes on after its end");
}

#[test]
fn a_process_that_nobody_looks_after_any_more_is_ended() {
    let (wake, _inbox) = mpsc::channel();
    let mut command = std::process::Command::new("/bin/sleep");
    command.arg("600");
    let running = running::Running::start(
        command,
        &Host::environment(""),
        true,
        &mut Streams::new(None, None),
        &Passing::default(),
        wake,
    );
    let running = running.unwrap();
    let pid = running.number().to_string();
    assert!(lives(&pid));
    drop(running);
    assert!(!lives(&pid));
}
