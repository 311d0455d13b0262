//! The ledger as real processes share it, and as an operator keeps it: leases
//! and fences of processes that are stopped and killed, backups, restores,
//! archives and rewinds.
#![expect(
    clippy::disallowed_methods,
    reason = "real processes are stopped and killed in real time"
)]
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use agent_iac::{
    ErrorKind,
    clock::block_on,
    deployment::{Deployment, PlanRequest},
    ledger::{
        Actor, Ledger as _, SqliteLedger, backup_into, sqlite::Options, verify, verify_archived,
    },
};
use agent_iac_tests::{
    apply, converge,
    crash::Random,
    embedded::{self, Version, column, deployment, rows},
};

/// A process that writes to a ledger as it is told.
struct Writer {
    child: Child,
    tell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    fn start(ledger: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_write-ledger"))
            .arg(ledger)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, said) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, tell, said: BufReader::new(said).lines() }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.tell, "{line}").unwrap();
        self.tell.flush().unwrap();
    }

    fn answer(&mut self) -> String {
        self.said.next().expect("it answers").unwrap()
    }

    fn asked(&mut self, line: &str) -> String {
        self.tell(line);
        self.answer()
    }

    #[track_caller]
    fn does(&mut self, line: &str, answer: &str) {
        let said = self.asked(line);
        assert!(said.starts_with(answer), "`{line}` was answered with: {said}");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Stops it, and waits until it has stopped.
    fn stop(&self) {
        self.signal("-STOP");
        let begun = Instant::now();
        let stat = format!("/proc/{}/stat", self.child.id());
        // Where there is no such file, a moment has to be enough.
        while fs::read_to_string(&stat)
            .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
        {
            assert!(begun.elapsed() < Duration::from_secs(10), "it does not stop");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn go_on(&self) {
        self.signal("-CONT");
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It has ended already where it was killed.
        let _: std::io::Result<()> = self.child.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.child.wait();
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    (folder, path)
}

fn whole(path: &Path) -> u64 {
    let ledger = SqliteLedger::open_read_only(path, &Options::new("load", "test")).unwrap();
    block_on(verify(&ledger, None)).unwrap().batches
}

#[test]
fn a_process_that_was_stopped_past_its_lease_is_kept_out_by_its_fence() {
    let (_folder, path) = place();
    let (mut late, mut next) = (Writer::start(&path), Writer::start(&path));
    late.does("take a,b 150", "fence ");
    late.does("append a.account", "appended ");
    late.stop();
    // It lives, so until its time is over nobody else may.
    next.does("take b,c 60000", "refused LeaseHeld `b` is held by process");
    let begun = Instant::now();
    while !next.asked("take b,c 60000").starts_with("fence ") {
        assert!(begun.elapsed() < Duration::from_secs(20), "the lease does not run out");
        thread::sleep(Duration::from_millis(20));
    }
    next.does("append b.account", "appended ");
    late.go_on();
    let holder = format!("`b` is held by process {}", next.child.id());
    let said = late.asked("append b.account");
    assert!(said.starts_with("refused LeaseHeld") && said.contains(&holder), "{said}");
    // Its fence is one: with one lease lost, it writes nothing under it at all.
    late.does("append a.account", "refused LeaseHeld");
    late.does("renew 60000", "refused LeaseHeld");
    next.does("append b.account", "appended ");
    // What it gives back is not the other's.
    late.does("release", "released");
    next.does("append b.account", "appended ");
    assert_eq!(whole(&path), 7);
}

#[test]
fn a_process_whose_lease_was_taken_by_force_while_it_was_stopped_is_kept_out() {
    let (_folder, path) = place();
    let (mut late, mut next) = (Writer::start(&path), Writer::start(&path));
    late.does("take a,b 3600000", "fence ");
    late.does("append a.account", "appended ");
    late.stop();
    // What it was told meanwhile it finds when it goes on.
    late.tell("append a.account");
    next.does("take a 3600000", "refused LeaseHeld `a` is held by process");
    next.does("take a 3600000 force", "fence ");
    next.does("append a.account", "appended ");
    late.go_on();
    let holder = format!("`a` is held by process {}", next.child.id());
    for said in [late.answer(), late.asked("append b.account")] {
        assert!(said.starts_with("refused LeaseHeld") && said.contains(&holder), "{said}");
    }
    next.does("append a.account", "appended ");
    whole(&path);
}

#[test]
fn a_killed_process_frees_its_leases_at_once() {
    let (_folder, path) = place();
    let mut next = Writer::start(&path);
    for turn in 0..3 {
        let mut dead = Writer::start(&path);
        dead.does("take a,b 3600000", "fence ");
        next.does("take a 3600000", "refused LeaseHeld");
        if turn == 1 {
            dead.stop();
        }
        dead.kill();
        let begun = Instant::now();
        next.does("take a,b 3600000", "fence ");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        next.does("append a.account", "appended ");
        next.does("release", "released");
    }
    whole(&path);
}

#[test]
fn eight_processes_that_are_stopped_and_killed_write_one_history() {
    const TIMES: u64 = 60;
    let mut random = Random::seeded();
    let (_folder, path) = place();
    let mut writers: Vec<Writer> = (0..8).map(|_| Writer::start(&path)).collect();
    for (number, writer) in writers.iter_mut().enumerate() {
        writer.tell(&format!("work own-{number} {TIMES}"));
    }
    for _ in 0..20 {
        let chosen = usize::try_from(random.number() % 8).unwrap();
        writers[chosen].stop();
        thread::sleep(random.below(Duration::from_millis(40)));
        writers[chosen].go_on();
    }
    // The last two are killed wherever they are.
    let killed: Vec<Writer> = writers.drain(6..).collect();
    killed.into_iter().for_each(Writer::kill);
    let mut shared = 0;
    for writer in &mut writers {
        let said = writer.answer();
        let words: Vec<&str> = said.split_whitespace().collect();
        let ["worked", mine, theirs] = words[..] else { panic!("{said}") };
        assert_eq!(mine, TIMES.to_string(), "no append to an own address was refused");
        shared += theirs.parse::<u64>().unwrap();
    }
    assert!(shared > 0, "nobody ever got a lease");
    let batches = whole(&path);
    // The first batch, each own append, and a take with an append for each that
    // was shared; and what the killed ones had done.
    let least = 1 + 6 * TIMES + 2 * shared;
    assert!((least..=least + 2 * 3 * TIMES).contains(&batches), "{batches}, not {least}");
    let ledger = SqliteLedger::open(&path, &Options::new("load", "test")).unwrap();
    assert_eq!(block_on(ledger.leases()).unwrap(), [], "the dead hold nothing");
    let mut next = Writer::start(&path);
    next.does("take shared-0,shared-1 1000", "fence ");
    println!("{batches} batches, {shared} of them under a lease");
}

fn ada() -> Actor {
    Actor::asserted("test", "ada")
}

/// The ids of the accounts that are there, by name.
fn accounts(folder: &Path) -> BTreeMap<String, String> {
    let rows = rows(&folder.join("authority.db"), "accounts").unwrap();
    let of = |row: &embedded::Row| (column(row, "name").to_owned(), column(row, "id").to_owned());
    rows.iter().map(of).collect()
}

fn keys(folder: &Path) -> BTreeSet<String> {
    let rows = rows(&folder.join("authority.db"), "api_keys").unwrap();
    rows.iter().map(|row| column(row, "id").to_owned()).collect()
}

fn lose(folder: &Path) {
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let path = folder.join(name);
        if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
}

fn planned(deployment: &Deployment) -> agent_iac::plan::Plan {
    block_on(deployment.plan(&PlanRequest::default())).unwrap()
}

#[test]
fn an_older_ledger_goes_on_after_a_rewind_and_finds_what_was_made_since() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("fleet");
    let before = deployment(&folder, Version::Half, 4).unwrap();
    block_on(converge(&before)).unwrap();
    let kept = place.path().join("ledger.backup");
    let backup = block_on(backup_into(&**before.ledger(), &kept)).unwrap();
    // More agents, and other actions of those that are there.
    let after = deployment(&folder, Version::Changed, 4).unwrap();
    block_on(converge(&after)).unwrap();
    let lost = block_on(after.state()).unwrap();
    drop((before, after));
    let (live, live_keys) = (accounts(&folder), keys(&folder));
    assert_eq!((live.len(), live_keys.len()), (4, 4));

    lose(&folder);
    // No empty ledger takes its place.
    let error = deployment(&folder, Version::Changed, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("is missing"), "{error}");
    assert!(error.repair().is_some_and(|repair| repair.contains("ledger restore")), "{error:?}");
    let path = folder.join("ledger.db");
    let options = Options::new(embedded::FLEET, "test");
    let input = BufReader::new(fs::File::open(&kept).unwrap());
    assert_eq!(SqliteLedger::restore(path, &options, input, "kept").unwrap(), backup);

    // It is too old, and everything but looking at it says so.
    let restored = deployment(&folder, Version::Changed, 4).unwrap();
    let error = block_on(restored.plan(&PlanRequest::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.repair().is_some_and(|repair| repair.contains("ledger rewind")), "{error:?}");
    let given_up = block_on(restored.lost()).unwrap();
    assert_eq!(given_up.keys().collect::<Vec<_>>(), ["vault"]);
    let hash = given_up["vault"].hash.to_string();
    for (hashes, reason, found) in [
        (vec![], "the disk died", "was not acknowledged"),
        (vec!["0123456789".to_owned()], "the disk died", "was not acknowledged"),
        (vec![hash[..7].to_owned()], "the disk died", "was not acknowledged"),
        (vec![hash.clone()], " ", "a rewind has no reason"),
    ] {
        let error = block_on(restored.rewind(&hashes, reason, &ada())).unwrap_err();
        assert!(error.message().contains(found), "`{found}` is missing in: {error}");
    }
    let rewound = block_on(restored.rewind(&[hash[..8].to_owned()], "the disk died", &ada()));
    let rewound = rewound.unwrap();
    assert_eq!((rewound.to, &rewound.lost), (backup.head, &given_up));
    assert_eq!(rewound.head.sequence, given_up["vault"].sequence + 1);
    let error = block_on(restored.rewind(&[hash], "again", &ada())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "there is nothing left to rewind");

    // Planning goes on, and finds what the lost history had made.
    let plan = planned(&restored);
    for step in &plan.steps {
        println!("{} {}: {:?}", step.action, step.address, step.reason);
    }
    assert!(plan.blocked.is_empty() && plan.unread.is_empty(), "{plan:?}");
    let known = block_on(restored.state()).unwrap();
    for (name, id) in &live {
        let recorded = known
            .records
            .values()
            .any(|record| record.object.as_ref().is_some_and(|object| object.id == *id));
        let found = plan.steps.iter().any(|step| format!("{step:?}").contains(id.as_str()));
        assert!(recorded || found, "{name} ({id}) is neither recorded nor planned for");
    }
    block_on(converge(&restored)).unwrap();
    assert_eq!(accounts(&folder), live, "no account was made a second time or lost");
    let state = block_on(restored.state()).unwrap();
    assert!(state.head.sequence > lost.head.sequence);
    let recorded: BTreeSet<String> = state
        .records
        .values()
        .filter_map(|record| record.object.as_ref())
        .filter(|object| object.credential.is_some())
        .map(|object| object.id.clone())
        .collect();
    assert_eq!(keys(&folder), recorded, "no key lives that the ledger does not know");
    let verified = block_on(verify(&**restored.ledger(), None)).unwrap();
    assert_eq!(verified.rewinds, BTreeSet::from([rewound.head.sequence]));
    let plan = planned(&restored);
    assert!(plan.is_empty() && plan.blocked.is_empty() && plan.unread.is_empty(), "{plan:?}");
}

#[test]
fn a_deployment_goes_on_behind_its_archives() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("fleet");
    let full = deployment(&folder, Version::Full, 4).unwrap();
    block_on(converge(&full)).unwrap();
    let before = block_on(full.state()).unwrap();
    let archive = |name: &str| place.path().join(name);
    let archived = block_on(full.archive(&archive("one"), &ada())).unwrap();
    assert_eq!(archived.archive.head, before.head);
    let state = block_on(full.state()).unwrap();
    assert_eq!((&state.records, &state.agents), (&before.records, &before.agents));
    assert!(planned(&full).is_empty());
    let again = block_on(full.archive(&archive("two"), &ada())).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Refused);
    assert!(!archive("two").exists());
    let taken = block_on(full.archive(&archive("one"), &ada())).unwrap_err();
    assert!(matches!(taken.kind(), ErrorKind::InvalidInput | ErrorKind::Refused), "{taken:?}");
    drop(full);

    let half = deployment(&folder, Version::Half, 4).unwrap();
    block_on(apply(&half)).unwrap();
    block_on(converge(&half)).unwrap();
    block_on(half.archive(&archive("two"), &ada())).unwrap();
    block_on(converge(&deployment(&folder, Version::Changed, 4).unwrap())).unwrap();
    let changed = deployment(&folder, Version::Changed, 4).unwrap();
    let open =
        |name: &str| (name.to_owned(), BufReader::new(fs::File::open(archive(name)).unwrap()));
    let archives = vec![open("one"), open("two")];
    let verified = block_on(verify_archived(&**changed.ledger(), None, archives)).unwrap();
    let state = block_on(changed.state()).unwrap();
    assert_eq!((verified.head, verified.batches), (state.head, state.head.sequence));
    let error =
        block_on(verify_archived(&**changed.ledger(), None, vec![open("one")])).unwrap_err();
    assert!(error.message().contains("the archive `one` ends at batch"), "{error}");

    // An archive is a backup too: of the ledger as it was.
    let other = place.path().join("restored.db");
    let options = Options::new(embedded::FLEET, "test");
    let (_, input) = open("one");
    SqliteLedger::restore(&other, &options, input, "one").unwrap();
    let ledger = SqliteLedger::open(&other, &options).unwrap();
    let restored = block_on(ledger.state(&agent_iac::ledger::Query::Everything)).unwrap();
    assert_eq!(restored, before);
}
