use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;

use super::{files::Step, *};
use crate::{clock::block_on, ledger::Head, vault::MemoryVault};

const PATH: &str = "agents/triage/key";

/// A vault on disk with its keys.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.vault();
        folder
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("vault")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn key(&self, name: &str) -> Key {
        Key::file(self.0.path().join("keys").join(name))
    }

    fn vault(&self) -> AgeVault {
        AgeVault::init(self.root(), self.0.path().join("keys")).unwrap()
    }

    /// Opens the vault so that `watch` is asked before each step.
    fn watched(
        &self,
        watch: impl Fn(Step, &str) -> io::Result<()> + Send + Sync + 'static,
    ) -> AgeVault {
        let sound = self.vault();
        let files = Files::watched(sound.shared.files.root().to_owned(), Arc::new(watch));
        let recipients = Recipients::clone(&sound.recipients);
        let mut vault = AgeVault::with_files(files, recipients).unwrap();
        (vault.engine, vault.readers) = (sound.engine, sound.readers);
        vault
    }

    fn copy(&self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.0.path(), copy.path());
        Self(copy)
    }

    /// Every file of secrets, with those that are pending and temporary.
    fn listing(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for folder in [layout::SECRETS, layout::PENDING, layout::TEMPORARY] {
            for entry in fs::read_dir(self.file(folder)).unwrap() {
                all.insert(format!(
                    "{folder}/{}",
                    entry.unwrap().file_name().into_string().unwrap()
                ));
            }
        }
        all
    }

    /// What a consumer without this crate reads.
    fn plain(&self) -> Option<String> {
        let sealed = fs::read(self.file("secrets/agents+triage+key.age")).ok()?;
        let identity = self.key("agents.key").load().unwrap();
        Some(String::from_utf8(::age::decrypt(&identity, &sealed).unwrap()).unwrap())
    }
}

fn is(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|found| found == extension)
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.file_type().unwrap().is_dir() {
            files::create_folder(&to).unwrap();
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn claim(number: u32) -> Claim {
    Claim::from_text(format!("5eed.{number}"))
}

fn value(generation: u32) -> Secret {
    Secret::from_text(format!("value-{generation}"))
}

fn text(secret: &Secret) -> String {
    secret.expose(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

/// A call, so that it can be made on any store and repeated.
#[derive(Clone, Copy, Debug)]
enum Call {
    Stage(u32),
    Promote(u32),
    Discard(u32),
    Remove(u32),
    Pin(u64),
    FingerprintKey,
}

impl Call {
    fn on(self, store: &dyn SecretStore) -> Result<()> {
        let deliver = store.deliver()?;
        block_on(async {
            match self {
                Self::Stage(generation) => {
                    let (address, claim) = (&"triage.key".parse().unwrap(), &claim(generation));
                    let secret = &value(generation);
                    let delivery = Delivery { path: PATH, address, generation, claim, secret };
                    deliver.stage(delivery).await.map(drop)
                }
                Self::Promote(number) => deliver.promote(PATH, &claim(number)).await.map(drop),
                Self::Discard(number) => deliver.discard(PATH, &claim(number)).await,
                Self::Remove(generation) => deliver.remove(PATH, generation).await,
                Self::Pin(sequence) => deliver.set_pin(&pin(sequence)).await,
                Self::FingerprintKey => deliver.fingerprint_key().await.map(drop),
            }
        })
    }
}

fn pin(sequence: u64) -> Pin {
    Pin { ledger: "a/b".to_owned(), head: Head { sequence, hash: Digest::ZERO } }
}

fn publish(store: &dyn SecretStore, generation: u32) {
    Call::Stage(generation).on(store).unwrap();
    Call::Promote(generation).on(store).unwrap();
}

fn versions(store: &dyn SecretStore) -> Result<Versions> {
    let versions = block_on(store.labels()?.versions(&[PATH.to_owned()]))?;
    Ok(versions.into_iter().next().unwrap())
}

fn read(store: &dyn SecretStore, generation: Option<u32>) -> Result<String> {
    block_on(store.open()?.open(PATH, generation, None)).map(|secret| text(&secret))
}

#[track_caller]
fn check_error(error: &Error, kind: ErrorKind, parts: &[&str]) {
    let shown = format!("{error:?}");
    assert_eq!(error.kind(), kind, "{shown}");
    assert!(error.repair().is_some(), "no repair in {shown}");
    for part in parts {
        assert!(shown.contains(part), "`{part}` is missing in {shown}");
    }
    assert!(!shown.contains("value-") && !shown.contains("SECRET-KEY"), "a secret in {shown}");
}

#[cfg(feature = "testing")]
#[test]
fn the_folder_of_age_files_keeps_the_contract() {
    let folders = Mutex::new(Vec::new());
    block_on(crate::testing::vault::check(|| {
        let folder = Folder::new();
        let vault = folder.vault();
        folders.lock().unwrap().push(folder);
        Arc::new(vault)
    }));
}

/// The generations under the three labels.
fn generations(versions: &Versions) -> [Option<u32>; 3] {
    [&versions.current, &versions.previous, &versions.pending]
        .map(|version| version.as_ref().map(|version| version.generation))
}

/// What must lie in the folder when the labels are so.
fn expected_listing(versions: &Versions) -> BTreeMap<&'static str, usize> {
    let count = |present: bool| usize::from(present);
    BTreeMap::from([
        ("label", count(!versions.is_empty())),
        ("pending", count(versions.pending.is_some())),
        ("plain", count(versions.current.is_some())),
        ("tmp", 0),
        ("version", versions.labelled().count()),
    ])
}

fn sorted_listing(folder: &Folder) -> BTreeMap<&'static str, usize> {
    let mut counts =
        BTreeMap::from([("label", 0), ("pending", 0), ("plain", 0), ("tmp", 0), ("version", 0)]);
    for file in folder.listing() {
        let sort = match file.split_once('/').unwrap() {
            ("tmp", _) => "tmp",
            ("pending", _) => "pending",
            (_, name) if is(name, "json") => "label",
            (_, name) if name.contains(".v") => "version",
            _ => "plain",
        };
        *counts.get_mut(sort).unwrap() += 1;
    }
    counts
}

#[test]
fn a_crash_after_any_step_leaves_a_working_version_and_repeating_completes_the_call() {
    use Call::{Discard, FingerprintKey, Pin, Promote, Remove, Stage};
    let cases: &[(&[Call], &[Call])] = &[
        (&[], &[Stage(1), Pin(1), FingerprintKey, Remove(1)]),
        (&[Stage(1)], &[Stage(1), Stage(2), Promote(1), Discard(1), Remove(1)]),
        (&[Stage(1), Promote(1)], &[Stage(2), Promote(1), Remove(1)]),
        (&[Stage(1), Promote(1), Stage(2)], &[Stage(3), Promote(2), Discard(2), Remove(1)]),
        (
            &[Stage(1), Promote(1), Stage(2), Promote(2), Stage(3)],
            &[Stage(4), Promote(3), Discard(3), Remove(1), Remove(2), Remove(3)],
        ),
        (&[Pin(1), FingerprintKey], &[Pin(2), Pin(1), FingerprintKey]),
    ];
    let mut crashes = 0;
    for (history, calls) in cases {
        let base = Folder::new();
        history.iter().for_each(|call| call.on(&base.vault()).unwrap());
        let before = base.plain();
        for call in *calls {
            let model = MemoryVault::new();
            history.iter().chain([call]).for_each(|call| call.on(&model).unwrap());
            let after = model.peek(PATH).map(|secret| text(&secret));
            for steps in 0.. {
                let folder = base.copy();
                let name = format!("{history:?} then {call:?}, stopped after {steps} steps");
                let stopped = call.on(&folder.watched(fuse(steps)));
                let is_whole = stopped.is_ok();
                if let Err(error) = stopped {
                    check_error(&error, ErrorKind::Io, &[]);
                    crashes += 1;
                }
                let vault = folder.vault();
                let after_crash = folder.plain();
                assert!(
                    after_crash == before || after_crash == after,
                    "{name}: consumers read {after_crash:?}"
                );
                let labels = versions(&vault).unwrap_or_else(|error| panic!("{name}: {error:?}"));
                if labels.current.is_some() {
                    let read = Some(read(&vault, None).unwrap());
                    assert!(read == before || read == after, "{name}: agents read {read:?}");
                    assert!(after_crash.is_some(), "{name}: consumers read nothing");
                } else {
                    assert!(before.is_none() || after.is_none(), "{name}: nothing is current");
                }
                let deliver = vault.deliver().unwrap();
                assert_eq!(sorted_listing(&folder)["tmp"], 0, "{name}: not swept");
                block_on(deliver.staged(PATH)).unwrap_or_else(|error| panic!("{name}: {error:?}"));

                call.on(&vault).unwrap_or_else(|error| panic!("{name}, repeated: {error:?}"));
                let labels = versions(&vault).unwrap();
                assert_eq!(generations(&labels), generations(&versions(&model).unwrap()), "{name}");
                assert_eq!(sorted_listing(&folder), expected_listing(&labels), "{name}");
                assert_eq!(folder.plain(), after, "{name}");
                if is_whole {
                    break;
                }
            }
        }
    }
    assert!(crashes > 200, "only {crashes} crashes were tried");
}

/// Stops everything after some steps, as a process that was killed.
fn fuse(steps: usize) -> impl Fn(Step, &str) -> io::Result<()> {
    let done = AtomicUsize::new(0);
    move |step, _| {
        let done = match step {
            // Reading changes nothing, so stopping there is no new case.
            Step::Read => done.load(Ordering::SeqCst),
            _ => done.fetch_add(1, Ordering::SeqCst),
        };
        if done > steps || (done == steps && step != Step::Read) {
            return Err(io::Error::other("the power is gone"));
        }
        Ok(())
    }
}

#[test]
fn discarding_after_a_half_done_promotion_takes_back_what_consumers_read() {
    let base = Folder::new();
    publish(&base.vault(), 1);
    Call::Stage(2).on(&base.vault()).unwrap();
    let mut taken_back = 0;
    for steps in 0.. {
        let folder = base.copy();
        if Call::Promote(2).on(&folder.watched(fuse(steps))).is_ok() {
            break;
        }
        let vault = folder.vault();
        let half_done =
            versions(&vault).unwrap().pending.is_some() && folder.plain().unwrap() == "value-2";
        taken_back += usize::from(half_done);
        if versions(&vault).unwrap().pending.is_some() {
            Call::Discard(2).on(&vault).unwrap();
            assert_eq!(folder.plain().unwrap(), "value-1");
            assert_eq!(read(&vault, None).unwrap(), "value-1");
        }
    }
    assert!(taken_back > 0, "no stop lay between the two renames");
}

/// A write that is not synced may be lost with the power, and names may reach
/// the disk in any order between two syncs of their folder.
#[test]
fn everything_is_synced_before_it_is_named_and_before_it_is_answered() {
    let folder = Folder::new();
    let trace: Arc<Mutex<Vec<(Step, String)>>> = Arc::default();
    let seen = Arc::clone(&trace);
    let vault = folder.watched(move |step, file| {
        seen.lock().unwrap().push((step, file.to_owned()));
        Ok(())
    });
    for (call, renames) in [
        (Call::Stage(1), 3),
        (Call::Promote(1), 2),
        (Call::Stage(2), 3),
        (Call::Promote(2), 2),
        (Call::Stage(3), 3),
        (Call::Discard(3), 1),
        (Call::Remove(1), 1),
        (Call::Remove(2), 1),
        (Call::Pin(1), 1),
        (Call::FingerprintKey, 1),
    ] {
        trace.lock().unwrap().clear();
        call.on(&vault).unwrap();
        let trace = trace.lock().unwrap().clone();
        let at = |step: Step, file: &str| trace.iter().rposition(|(s, f)| *s == step && f == file);
        let folder_of = |file: &str| file.split_once('/').unwrap().0.to_owned();
        let mut seen = 0;
        for (index, (step, file)) in trace.iter().enumerate() {
            let synced = at(Step::SyncFolder, &folder_of_or_self(file));
            match step {
                Step::Rename => {
                    seen += 1;
                    assert!(
                        matches!(trace[index - 1].0, Step::Sync | Step::Link),
                        "{call:?}: {file}"
                    );
                    assert!(synced > Some(index), "{call:?}: the name {file} is not synced");
                    if is(file, "json") && file.starts_with("secrets") {
                        for (_, version) in trace[..index]
                            .iter()
                            .filter(|(s, f)| *s == Step::Rename && f.contains(".v"))
                        {
                            let named = at(Step::Rename, version).unwrap();
                            let safe = trace[named..index]
                                .contains(&(Step::SyncFolder, folder_of(version)));
                            assert!(safe, "{call:?}: {version} is named before it is durable");
                        }
                    }
                }
                Step::Remove
                    if matches!(call, Call::Remove(_) | Call::Discard(_))
                        && !file.starts_with("tmp") =>
                {
                    assert!(synced > Some(index), "{call:?}: the removal of {file} is not synced");
                }
                _ => {}
            }
        }
        assert_eq!(seen, renames, "{call:?}: {trace:?}");
    }
}

fn folder_of_or_self(file: &str) -> String {
    file.split_once('/').map_or(file, |(folder, _)| folder).to_owned()
}

#[test]
fn a_disk_that_fails_is_an_error_that_names_the_file_and_repeating_heals_it() {
    let folder = Folder::new();
    publish(&folder.vault(), 1);
    for (failing, kind, help) in [
        (Step::Write, io::ErrorKind::StorageFull, "free some space"),
        (Step::Sync, io::ErrorKind::Other, "look at the disk"),
        (Step::SyncFolder, io::ErrorKind::Other, "look at the disk"),
        (Step::Rename, io::ErrorKind::ReadOnlyFilesystem, "mount it for writing"),
        (Step::Create, io::ErrorKind::PermissionDenied, "chown"),
    ] {
        let fails = AtomicBool::new(true);
        let vault = folder.watched(move |step, _| {
            if step == failing && fails.swap(false, Ordering::SeqCst) {
                Err(kind.into())
            } else {
                Ok(())
            }
        });
        let error = Call::Stage(2).on(&vault).unwrap_err();
        check_error(&error, ErrorKind::Io, &[help, "vault", "triage.key"]);
        assert_eq!(read(&vault, None).unwrap(), "value-1");
        Call::Stage(2).on(&vault).unwrap();
        assert_eq!(read(&vault, Some(2)).unwrap(), "value-2");
        Call::Discard(2).on(&vault).unwrap();
    }
}

#[test]
fn a_writer_that_stands_still_keeps_nobody_from_reading_and_other_places_from_nothing() {
    let folder = Folder::new();
    publish(&folder.vault(), 1);
    let sound = folder.vault();
    let files = Files::new(sound.shared.files.root().to_owned())
        .patient_for(std::time::Duration::from_millis(1500));
    let mut vault = AgeVault::with_files(files, Recipients::clone(&sound.recipients)).unwrap();
    (vault.engine, vault.readers) = (sound.engine.clone(), sound.readers.clone());
    let still = sound.shared.files.lock(Name::of(PATH).stripe()).unwrap();
    let writers: Vec<_> = (0..workers::WRITES)
        .map(|_| {
            let vault = vault.clone();
            std::thread::spawn(move || Call::Stage(2).on(&vault).unwrap_err())
        })
        .collect();
    assert_eq!(read(&vault, None).unwrap(), "value-1");
    versions(&vault).unwrap();
    assert!(!writers.iter().any(std::thread::JoinHandle::is_finished), "reading has waited");
    for writer in writers {
        check_error(&writer.join().unwrap(), ErrorKind::Timeout, &["another runner holds it"]);
    }
    // A pin lies in another share.
    Call::Pin(1).on(&vault).unwrap();
    drop(still);
    Call::Stage(2).on(&vault).unwrap();
}

#[test]
fn a_reader_without_a_lock_never_sees_a_gap_while_versions_are_promoted() {
    let folder = Folder::new();
    publish(&folder.vault(), 1);
    let (vault, over) = (folder.vault(), Arc::new(AtomicBool::new(false)));
    let reader = {
        let (vault, over) = (vault.clone(), Arc::clone(&over));
        std::thread::spawn(move || {
            let (mut reads, mut newest) = (0_u32, 1_u32);
            while !over.load(Ordering::SeqCst) {
                let read: u32 =
                    read(&vault, None).unwrap().strip_prefix("value-").unwrap().parse().unwrap();
                assert!(read >= newest, "an older version came back");
                newest = read;
                versions(&vault).unwrap();
                reads += 1;
            }
            reads
        })
    };
    for generation in 2..30 {
        publish(&vault, generation);
        Call::Remove(generation - 1).on(&vault).unwrap();
    }
    over.store(true, Ordering::SeqCst);
    assert!(reader.join().unwrap() > 0);
}

#[test]
fn a_reader_that_was_overtaken_reads_again() {
    let looks: [fn(&AgeVault); 2] = [
        |vault| assert_eq!(read(vault, None).unwrap(), "value-4"),
        |vault| assert_eq!(generations(&versions(vault).unwrap()), [Some(4), Some(3), None]),
    ];
    for read_again in looks {
        let folder = Folder::new();
        publish(&folder.vault(), 1);
        let (other, overtaken) = (folder.vault(), AtomicBool::new(false));
        let vault = folder.watched(move |step, file| {
            // The label was read and named this file, which goes at that moment.
            let now = step == Step::Read && file.ends_with(".v0.age");
            if now && !overtaken.swap(true, Ordering::SeqCst) {
                for generation in 2..=4 {
                    publish(&other, generation);
                }
            }
            Ok(())
        });
        read_again(&vault);
    }
}

#[test]
fn programs_that_make_one_vault_at_once_agree_on_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (root, keys) = (folder.path().join("a/vault"), folder.path().join("b/keys"));
    let vaults: Vec<AgeVault> = std::thread::scope(|scope| {
        let make = || scope.spawn(|| AgeVault::init(&root, &keys).unwrap());
        let threads: Vec<_> = (0..8).map(|_| make()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    publish(&vaults[0], 1);
    for vault in &vaults {
        assert_eq!(read(vault, None).unwrap(), "value-1");
        Call::Promote(1).on(vault).unwrap();
    }
    let names = fs::read_dir(keys).unwrap().map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<_> = names.map(|name| name.into_string().unwrap()).collect();
    let expected = ["agents.key", "engine.key", "probe.key", "recovery.key"];
    assert_eq!(names, expected.map(str::to_owned).into());
}

#[test]
fn a_pin_that_cannot_be_read_is_damage_and_not_a_missing_pin() {
    let folder = Folder::new();
    let vault = folder.vault();
    Call::Pin(5).on(&vault).unwrap();
    let other = Pin { ledger: "other".to_owned(), ..pin(9) };
    for damaged in ["", "{}", &serde_json::to_string(&other).unwrap()] {
        fs::write(folder.file("pins/a+b.json"), damaged).unwrap();
        let error = block_on(vault.labels().unwrap().pin("a/b")).unwrap_err();
        check_error(&error, ErrorKind::Damaged, &["a/b", "pins"]);
        check_error(&Call::Pin(6).on(&vault).unwrap_err(), ErrorKind::Damaged, &["a/b"]);
    }
}

#[test]
fn the_files_are_standard_age_files_that_only_their_owner_can_read() {
    let folder = Folder::new();
    let vault = folder.vault();
    publish(&vault, 1);
    Call::Stage(2).on(&vault).unwrap();
    let mut sealed = 0;
    for file in folder.listing() {
        let bytes = fs::read(folder.file(&file)).unwrap();
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!shown.contains("value-"), "{file} shows a value");
        if is(&file, "age") {
            sealed += 1;
            assert!(bytes.starts_with(b"age-encryption.org/v1\n-> X25519 "), "{file}");
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&folder.file(&file)), 0o600, "{file}");
            assert_eq!(mode(folder.file(&file).parent().unwrap()), 0o700, "{file}");
        }
    }
    assert_eq!(sealed, 4, "two versions, what consumers read, and the engine's copy");
    assert_eq!(folder.plain().unwrap(), "value-1");
}

#[test]
fn each_key_opens_only_what_its_holder_is_to_read() {
    let folder = Folder::new();
    let keys = folder.0.path().join("keys");
    let vault = folder.vault().agent_identity("agents/triage", keys.join("triage.key")).unwrap();
    let vault = vault.agent_identity("agents/tri", keys.join("tri.key")).unwrap();
    publish(&vault, 1);
    Call::Stage(2).on(&vault).unwrap();
    let fingerprint = block_on(vault.deliver().unwrap().fingerprint_key()).unwrap();
    assert_eq!(fingerprint.1.expose(<[u8]>::len), 64);
    let opens = |key: &str, file: &str| {
        let identity = folder.key(key).load().unwrap();
        ::age::decrypt(&identity, &fs::read(folder.file(file)).unwrap()).is_ok()
    };
    for (key, current, pending, fingerprint) in [
        ("engine.key", false, true, true),
        ("probe.key", true, false, false),
        ("triage.key", true, false, false),
        ("tri.key", false, false, false),
        ("agents.key", false, false, false),
        ("recovery.key", true, true, true),
    ] {
        assert_eq!(opens(key, "secrets/agents+triage+key.age"), current, "{key}: current");
        assert_eq!(opens(key, "secrets/agents+triage+key.v0.age"), current, "{key}: its version");
        assert_eq!(opens(key, "secrets/agents+triage+key.v1.age"), current, "{key}: the next");
        assert_eq!(opens(key, "pending/agents+triage+key.v1.age"), pending, "{key}: pending");
        assert_eq!(opens(key, FINGERPRINT), fingerprint, "{key}: key of fingerprints");
    }
    let agent = AgeVault::open(folder.root(), Recipients::default()).unwrap();
    let right = agent.clone().reader_key(folder.key("triage.key"));
    assert_eq!(read(&right, None).unwrap(), "value-1");
    let wrong = agent.clone().reader_key(folder.key("tri.key"));
    check_error(&read(&wrong, None).unwrap_err(), ErrorKind::Denied, &["not encrypted to"]);
    check_error(&read(&agent, None).unwrap_err(), ErrorKind::Denied, &["reader_key"]);
}

#[test]
fn a_value_that_nobody_could_read_is_not_stored() {
    let folder = Folder::new();
    let engine = folder.key("engine.key");
    let recipients = Recipients::default()
        .engine(&engine.recipient().unwrap())
        .unwrap()
        .reader("agents/tri", &folder.key("agents.key").recipient().unwrap())
        .unwrap();
    let vault = AgeVault::open(folder.root(), recipients).unwrap().engine_key(engine);
    let error = Call::Stage(1).on(&vault).unwrap_err();
    check_error(&error, ErrorKind::InvalidInput, &[PATH, "Recipients::reader", "triage.key"]);
    assert!(folder.listing().is_empty());
}

#[test]
fn planning_needs_no_key_and_applying_the_right_one() {
    let folder = Folder::new();
    publish(&folder.vault(), 1);
    let planner = AgeVault::open(folder.root(), Recipients::default()).unwrap();
    assert_eq!(generations(&versions(&planner).unwrap()), [Some(1), None, None]);
    let error = planner.deliver().err().unwrap();
    check_error(&error, ErrorKind::Denied, &["Recipients::engine"]);
    let recipients = Recipients::clone(&folder.vault().recipients);
    let vault = AgeVault::open(folder.root(), recipients).unwrap();
    check_error(&vault.deliver().err().unwrap(), ErrorKind::Denied, &["engine_key"]);
    let wrong = vault.clone().engine_key(folder.key("probe.key"));
    check_error(&wrong.deliver().err().unwrap(), ErrorKind::Denied, &["Recipients::engine"]);
    let missing = vault.engine_key(folder.key("lost.key"));
    check_error(&missing.deliver().err().unwrap(), ErrorKind::NotFound, &["lost.key"]);
}

/// Damages a vault with a current and a pending version; planning must see it,
/// and nothing may be opened.
#[track_caller]
fn check_damage(damage: impl FnOnce(&Folder), shows: &[&str]) {
    let folder = Folder::new();
    let vault = folder.vault();
    publish(&vault, 1);
    publish(&vault, 2);
    Call::Stage(3).on(&vault).unwrap();
    damage(&folder);
    let error = versions(&vault).unwrap_err();
    check_error(&error, ErrorKind::Damaged, &[&["agents"], shows].concat());
}

const LABEL: &str = "secrets/agents+triage+key.json";
const PLAIN: &str = "secrets/agents+triage+key.age";
const CURRENT: &str = "secrets/agents+triage+key.v1.age";

#[test]
fn damage_of_any_file_is_seen_when_planning() {
    let flip = |file: &'static str| {
        move |folder: &Folder| {
            let mut bytes = fs::read(folder.file(file)).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            // Not in place: the plain name may be a second name of a version.
            fs::remove_file(folder.file(file)).unwrap();
            fs::write(folder.file(file), bytes).unwrap();
        }
    };
    check_damage(flip(CURRENT), &["generation 2 was changed", "rotate the credential"]);
    check_damage(flip("secrets/agents+triage+key.v0.age"), &["generation 1 was changed"]);
    check_damage(flip("secrets/agents+triage+key.v2.age"), &["generation 3 was changed"]);
    check_damage(flip(PLAIN), &["what consumers read"]);
    check_damage(flip(LABEL), &["label file cannot be read"]);
    check_damage(|folder| fs::write(folder.file(LABEL), "").unwrap(), &["label file"]);
    check_damage(|folder| fs::remove_file(folder.file(LABEL)).unwrap(), &["label file is missing"]);
    check_damage(
        |folder| fs::remove_file(folder.file(CURRENT)).unwrap(),
        &["generation 2 is missing"],
    );
    check_damage(
        |folder| {
            let label = fs::read_to_string(folder.file(LABEL)).unwrap();
            fs::write(folder.file(LABEL), label.replace("triage", "other")).unwrap();
        },
        &["another place"],
    );
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_not_followed() {
    use std::os::unix::fs::symlink;
    for file in [LABEL, PLAIN, CURRENT] {
        check_damage(
            |folder| {
                let outside = folder.0.path().join("outside");
                fs::rename(folder.file(file), &outside).unwrap();
                symlink(&outside, folder.file(file)).unwrap();
            },
            &["no plain file"],
        );
    }
    let folder = Folder::new();
    fs::rename(folder.file("secrets"), folder.0.path().join("elsewhere")).unwrap();
    symlink(folder.0.path().join("elsewhere"), folder.file("secrets")).unwrap();
    let error = AgeVault::open(folder.root(), Recipients::default()).unwrap_err();
    check_error(&error, ErrorKind::Damaged, &["secrets"]);
}

#[test]
fn a_vault_that_was_rolled_back_as_a_whole_is_told_by_the_expected_digest() {
    let folder = Folder::new();
    publish(&folder.vault(), 1);
    let old = folder.copy();
    publish(&folder.vault(), 2);
    let expected = versions(&folder.vault()).unwrap().current.unwrap().digest;
    let vault = old.vault();
    assert_eq!(read(&vault, None).unwrap(), "value-1", "the old copy is sound by itself");
    let opened = block_on(SecretStore::open(&vault).unwrap().open(PATH, None, Some(expected)));
    check_error(&opened.unwrap_err(), ErrorKind::Damaged, &[PATH, "rotate"]);
}

#[test]
fn a_pending_value_that_somebody_swapped_is_not_read_back() {
    let folder = Folder::new();
    let vault = folder.vault();
    Call::Stage(1).on(&vault).unwrap();
    let engine = folder.key("engine.key").load().unwrap();
    let planted = seal([engine.to_public()].iter(), b"planted").unwrap();
    fs::write(folder.file("pending/agents+triage+key.v0.age"), planted).unwrap();
    let error = block_on(vault.deliver().unwrap().staged(PATH)).unwrap_err();
    check_error(&error, ErrorKind::Damaged, &[PATH]);
}

#[test]
fn a_folder_that_is_no_sound_vault_is_refused() {
    let open = |folder: &Folder| AgeVault::open(folder.root(), Recipients::default()).unwrap_err();
    let folder = Folder::new();
    let missing = AgeVault::open(folder.0.path().join("nowhere"), Recipients::default());
    check_error(&missing.unwrap_err(), ErrorKind::NotFound, &["nowhere", "AgeVault::init"]);

    fs::write(folder.file("format"), "agent-iac age vault 7\n").unwrap();
    check_error(&open(&folder), ErrorKind::NewerVersion, &["version 7"]);
    for damaged in ["", "agent-iac age vault x", "hello", "agent-iac age vault 0"] {
        fs::write(folder.file("format"), damaged).unwrap();
        check_error(&open(&folder), ErrorKind::Damaged, &["format"]);
    }
    fs::remove_file(folder.file("format")).unwrap();
    check_error(&open(&folder), ErrorKind::NotFound, &["AgeVault::init"]);

    let folder = Folder::new();
    fs::remove_dir(folder.file("pins")).unwrap();
    check_error(&open(&folder), ErrorKind::Io, &["pins", "backup"]);
    fs::write(folder.file("pins"), "").unwrap();
    check_error(&open(&folder), ErrorKind::Damaged, &["pins"]);
}

#[cfg(unix)]
#[test]
fn rights_that_are_too_wide_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let chmod =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let folder = Folder::new();
    chmod(&folder.file("secrets"), 0o777);
    let error = AgeVault::open(folder.root(), Recipients::default()).unwrap_err();
    check_error(&error, ErrorKind::Refused, &["secrets", "chmod 700"]);
    chmod(&folder.file("secrets"), 0o700);
    chmod(&folder.0.path().join("keys/engine.key"), 0o644);
    let vault = AgeVault::open(folder.root(), Recipients::default()).unwrap();
    let vault = vault.reader_key(folder.key("engine.key"));
    let error = SecretStore::open(&vault).err().unwrap();
    check_error(&error, ErrorKind::Refused, &["engine.key", "chmod 600"]);
}

#[test]
fn a_key_that_is_missing_from_an_existing_vault_is_not_made_again() {
    let folder = Folder::new();
    let keys = folder.0.path().join("keys");
    fs::remove_file(keys.join("engine.key")).unwrap();
    let error = AgeVault::init(folder.root(), &keys).unwrap_err();
    check_error(&error, ErrorKind::NotFound, &["engine.key", "cannot be made again"]);
    fs::write(keys.join("engine.key"), "# nothing\n").unwrap();
    #[cfg(unix)]
    fs::set_permissions(
        keys.join("engine.key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let error = AgeVault::init(folder.root(), &keys).unwrap_err();
    check_error(&error, ErrorKind::Damaged, &["engine.key"]);
}

#[test]
fn a_secret_key_in_the_place_of_a_public_one_is_refused_and_not_shown() {
    let secret = x25519::Identity::generate().to_string();
    let secret = secrecy::ExposeSecret::expose_secret(&secret);
    for text in [secret, &secret.to_lowercase()] {
        let error = Recipients::default().engine(text).unwrap_err();
        check_error(&error, ErrorKind::InvalidInput, &["replace that key"]);
        assert!(!format!("{error:?}").contains(&text[20..40]));
    }
    for text in ["", "age1", "ssh-ed25519 AAAA", "age1qqqq"] {
        check_error(&Recipients::default().probe(text).unwrap_err(), ErrorKind::InvalidInput, &[]);
    }
    let held = Key::held(Secret::from_text(secret.to_owned()));
    assert!(Recipients::default().probe(&held.recipient().unwrap()).is_ok());
    assert!(!format!("{held:?}").contains(&secret[20..40]));
    let garbage = Key::held(Secret::from_text("value-x".to_owned()));
    check_error(&garbage.recipient().unwrap_err(), ErrorKind::InvalidInput, &["age-keygen"]);
}

#[test]
fn the_nearest_path_decides_who_reads() {
    let key = |_| x25519::Identity::generate().to_public().to_string();
    let [all, agents, eu, db] = [0, 1, 2, 3].map(key);
    let recipients =
        [("", &all), ("agents", &agents), ("agents/eu/", &eu), ("agents/eu/x/db", &db)]
            .into_iter()
            .fold(Recipients::default(), |recipients, (path, key)| {
                recipients.reader(path, key).unwrap()
            });
    for (path, reader) in [
        ("agents/eu/x/db", &db),
        ("agents/eu/x/db/deeper", &db),
        ("agents/eu/x", &eu),
        ("agents/eu", &eu),
        ("agents/eurasia", &agents),
        ("agents", &agents),
        ("agent", &all),
    ] {
        let readers: Vec<_> = recipients.readers(path).iter().map(ToString::to_string).collect();
        assert_eq!(readers, std::slice::from_ref(reader), "{path}");
    }
}

#[test]
fn two_processes_that_make_the_key_of_fingerprints_get_one() {
    let folder = Folder::new();
    // Each handle has threads and locks of its own, as each process has.
    let vaults: Vec<_> = (0..8).map(|_| folder.vault()).collect();
    let handles: Vec<_> = vaults.iter().map(|vault| vault.deliver().unwrap()).collect();
    let keys =
        block_on(futures_util::future::join_all(handles.iter().map(|h| h.fingerprint_key())));
    let names: BTreeSet<_> = keys.into_iter().map(|key| key.unwrap().0).collect();
    assert_eq!(names.len(), 1);
}
