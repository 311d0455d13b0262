use std::{collections::BTreeMap, path::Path, sync::Arc};

use jiff::Timestamp;
use proptest::{
    prelude::{ProptestConfig, Strategy, any},
    prop_assert_eq, prop_oneof, proptest,
};
use rusqlite::Connection;

use super::{
    file::{File, Mode},
    writes, *,
};
use crate::{
    clock::{Clock, SystemClock, SystemEntropy, block_on},
    error::{Error, ErrorKind, Result, Retry},
    ledger::Claim,
    provider::{
        Issued, Listing, Mark, NewCredential, Object, Observation, Operation, Provider as _,
        Reference, Settled, WriteRequest,
    },
    resource::Reading,
    value::Value,
};

struct World {
    folder: tempfile::TempDir,
    provider: AuthorityProvider,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authority.db");
    let provider =
        AuthorityProvider::create(path, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap();
    World { folder, provider }
}

fn mark(fleet: &str) -> Mark {
    Mark {
        fleet: fleet.into(),
        environment: "test".into(),
        address: "triage.account".parse().unwrap(),
    }
}

fn claim(text: &str) -> Claim {
    Claim::from_text(text)
}

fn text(text: &str) -> Value {
    Value::from(text)
}

fn account_values(name: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("name".into(), text(name))])
}

fn grant_values(to: &str, on: &str, allow: &[&str]) -> BTreeMap<String, Value> {
    BTreeMap::from([
        ("to".into(), text(to)),
        ("on".into(), text(on)),
        ("allow".into(), allow.iter().copied().collect()),
    ])
}

fn request(step: &str, operation: Operation<BTreeMap<String, Value>>) -> WriteRequest {
    WriteRequest {
        claim: claim(step),
        mark: mark("billing"),
        operation,
        seen: Observation::Absent,
        credential: None,
    }
}

fn create(step: &str, values: BTreeMap<String, Value>) -> WriteRequest {
    request(step, Operation::Create(values))
}

fn issue(step: &str, account: &str) -> WriteRequest {
    let values = BTreeMap::from([("of".into(), text(account))]);
    WriteRequest {
        credential: Some(NewCredential { generation: 1, ..NewCredential::default() }),
        ..create(step, values)
    }
}

fn delete(step: &str, object: &Object) -> WriteRequest {
    let operation = Operation::Delete { id: object.id.clone() };
    WriteRequest { seen: Observation::Present(object.clone()), ..request(step, operation) }
}

impl World {
    fn path(&self) -> &Path {
        self.provider.path()
    }

    fn write(&self, type_name: &str, batch: Vec<WriteRequest>) -> Vec<Result<Issued>> {
        let writers = self.provider.writers().unwrap();
        block_on(writers.of(type_name).unwrap().write(batch))
    }

    fn one(&self, type_name: &str, request: WriteRequest) -> Result<Issued> {
        self.write(type_name, vec![request]).remove(0)
    }

    fn account(&self, name: &str) -> Object {
        let issued = self.one("authority.account", create(name, account_values(name))).unwrap();
        issued.written.object.unwrap()
    }

    fn grant(&self, to: &Object, on: &str, allow: &[&str]) -> Object {
        let step = format!("{} {on}", to.id);
        let issued = self.one("authority.grant", create(&step, grant_values(&to.id, on, allow)));
        issued.unwrap().written.object.unwrap()
    }

    fn key(&self, step: &str, of: &Object) -> (Object, String) {
        let issued = self.one("authority.api_key", issue(step, &of.id)).unwrap();
        let key = issued.secret.unwrap().expose(|key| String::from_utf8(key.to_vec()).unwrap());
        (issued.written.object.unwrap(), key)
    }

    fn read(&self, type_name: &str, id: &str) -> Observation {
        let observers = self.provider.observers().unwrap();
        let references = [Reference::Id(id.to_owned())];
        block_on(observers.of(type_name).unwrap().read(&references)).unwrap().remove(0)
    }

    fn by_hand(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    fn authority(&self) -> Authority {
        Authority::open(self.path(), Arc::new(SystemClock)).unwrap()
    }
}

mod conformance {
    use super::*;
    use crate::{resource::Resource as _, testing::provider::Suite};

    fn suite(world: &World) -> Suite {
        Suite::new(Arc::new(world.provider.clone()), Arc::new(SystemClock), Arc::new(SystemEntropy))
    }

    fn account(sample: &crate::testing::provider::Sample) -> AccountBuilder {
        let mut account = Account::builder();
        account.name(sample.name());
        if sample.changed() {
            account.description("Reads invoices; \"quoted\" & 🎉");
        }
        account
    }

    #[test]
    fn accounts_keep_the_contract() {
        block_on(suite(&world()).check_identity::<Account>(account));
    }

    #[test]
    fn grants_keep_the_contract() {
        block_on(suite(&world()).check_permission::<Account, Grant>(account, |account, sample| {
            let mut grant = Grant::builder();
            grant.to(crate::resource::Link::id(account)).on(format!("{}/*", sample.name()));
            grant.allow(if sample.changed() { ["read", "write"] } else { ["read", "list"] });
            grant
        }));
    }

    #[test]
    fn api_keys_keep_the_contract() {
        block_on(suite(&world()).check_credential::<Account, ApiKey>(
            account,
            |account, sample| {
                let mut key = ApiKey::builder();
                key.of(crate::resource::Link::id(account)).note(sample.name());
                key
            },
        ));
    }
}

#[test]
fn each_refusal_has_its_reason() {
    let world = world();
    let (ada, bob) = (world.account("ada"), world.account("bob"));
    world.grant(&ada, "invoices/*", &["read", "list"]);
    let (_, key) = world.key("1", &ada);
    let (revoked, revoked_key) = world.key("2", &ada);
    world.one("authority.api_key", delete("3", &revoked)).unwrap();
    let (_, suspended) = world.key("4", &bob);
    world.by_hand("UPDATE accounts SET suspended = 1 WHERE name = 'bob'");
    let unknown =
        key::generate(&SystemEntropy).expose(|key| String::from_utf8(key.to_vec()).unwrap());

    let authority = world.authority();
    for (key, action, object, reason) in [
        (key.as_str(), "read", "invoices/2026", None),
        (&key, "write", "invoices/2026", Some(Reason::NotGranted)),
        (&key, "rea", "invoices/2026", Some(Reason::NotGranted)),
        (&key, "read list", "invoices/2026", Some(Reason::NotGranted)),
        (&key, "", "invoices/2026", Some(Reason::NotGranted)),
        (&key, "read", "payroll/2026", Some(Reason::NotGranted)),
        (&key, "read", "invoices/../payroll", Some(Reason::InvalidObject)),
        (&key, "read", "", Some(Reason::InvalidObject)),
        (&revoked_key, "read", "invoices/2026", Some(Reason::RevokedKey)),
        (&unknown, "read", "invoices/2026", Some(Reason::UnknownKey)),
        (&suspended, "read", "invoices/2026", Some(Reason::SuspendedAccount)),
        (&key[..key.len() - 1], "read", "invoices/2026", Some(Reason::MistypedKey)),
        ("", "read", "invoices/2026", Some(Reason::MistypedKey)),
    ] {
        let expected = match reason {
            None => Decision::Allowed { account: "ada".into() },
            Some(reason) => Decision::Refused(reason),
        };
        let found = block_on(authority.check(key, action, object)).unwrap();
        assert_eq!(found, expected, "{action} on {object}");
    }
    assert_eq!(
        block_on(authority.whoami(&key)).unwrap(),
        Decision::Allowed { account: "ada".into() }
    );
}

#[test]
fn a_key_stands_nowhere_in_the_file() {
    let world = world();
    let (_, key) = world.key("1", &world.account("ada"));
    let bytes = std::fs::read(world.path()).unwrap();
    let random = &key.as_bytes()[5..69];
    assert!(!bytes.windows(16).any(|window| window == &random[..16]), "a part of the key");
}

#[test]
fn a_change_made_by_hand_is_seen() {
    let world = world();
    let ada = world.account("ada");
    let grant = world.grant(&ada, "invoices/*", &["read"]);
    let (_, key) = world.key("1", &ada);
    let authority = world.authority();
    let check = || block_on(authority.check(&key, "delete", "invoices/2026")).unwrap();
    assert_eq!(check(), Decision::Refused(Reason::NotGranted));

    world.by_hand("UPDATE grants SET actions = 'read  delete'");
    assert_eq!(check(), Decision::Allowed { account: "ada".into() });
    let Observation::Present(changed) = world.read("authority.grant", &grant.id) else {
        panic!("it is there")
    };
    assert_eq!(changed.value("allow"), Some(&["delete", "read"].into_iter().collect()));

    // What was planned on the old grant is stale now, and says how.
    let desired = grant_values(&ada.id, "invoices/*", &["list"]);
    let update = WriteRequest {
        seen: Observation::Present(grant.clone()),
        ..request("2", Operation::Update { id: grant.id.clone(), desired })
    };
    let error = world.one("authority.grant", update).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StalePlan);
    assert!(
        error.message().contains(r#"`allow` was ["read"] and is ["delete","read"]"#),
        "{error}"
    );

    world.by_hand(&format!(
        "INSERT INTO grants (id, account, pattern, actions) VALUES ('mine', '{}', '**', 'read')",
        ada.id
    ));
    let observers = world.provider.observers().unwrap();
    let all = block_on(observers.of("authority.grant").unwrap().list(&Listing::All)).unwrap();
    assert_eq!(all.len(), 2);
    assert!(all.iter().any(|grant| grant.id == "mine" && grant.mark.is_none()));
}

#[test]
fn what_would_deceive_a_reader_is_unreadable_and_matches_nothing() {
    let world = world();
    let ada = world.account("ada");
    let grant = world.grant(&ada, "invoices/*", &["read"]);
    world.by_hand("UPDATE grants SET pattern = 'invoices/' || char(0x202e) || '*'");
    let Observation::Present(object) = world.read("authority.grant", &grant.id) else {
        panic!("it is there")
    };
    assert!(matches!(object.fields["on"], Reading::Unreadable(_)), "{object:?}");
    let (_, key) = world.key("1", &ada);
    let decision = block_on(world.authority().check(&key, "read", "invoices/2026")).unwrap();
    assert_eq!(decision, Decision::Refused(Reason::NotGranted));
}

#[test]
fn an_account_with_a_hostile_name_is_kept_or_refused_with_the_repair() {
    let world = world();
    let long = "x".repeat(257);
    for (name, repair) in [
        ("O'Hara \"the\" `reader`; DROP TABLE accounts", None),
        ("Münchner Leser 🎉", None),
        ("%s {name} $HOME", None),
        ("a\nb", Some("visible")),
        ("a\0b", Some("visible")),
        ("a\u{202e}b", Some("visible")),
        ("a\u{200b}b", Some("visible")),
        ("", Some("empty")),
        (" a", Some("space")),
        (&long, Some("256")),
    ] {
        let answer = world.one("authority.account", create(name, account_values(name)));
        match repair {
            None => {
                let object = answer.unwrap().written.object.unwrap();
                assert_eq!(object.value("name"), Some(&text(name)));
                assert_eq!(
                    world.read("authority.account", &object.id),
                    Observation::Present(object)
                );
            }
            Some(repair) => {
                let error = answer.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.repair().unwrap().contains(repair), "{error:?}");
                assert!(!error.to_string().contains(['\n', '\0', '\u{202e}']), "{error:?}");
            }
        }
    }
}

#[test]
fn a_batch_of_a_thousand_writes_is_one_transaction() {
    let world = world();
    // SQLite counts transactions in the header of its files (file format, 1.3.7).
    let transactions = || {
        let bytes = std::fs::read(world.path()).unwrap();
        u32::from_be_bytes(bytes[24..28].try_into().unwrap())
    };
    let before = transactions();
    let names = (0..1_000).map(|number| format!("agent-{number}"));
    let batch = names.map(|name| create(&name, account_values(&name))).collect();
    let answers = world.write("authority.account", batch);
    assert!(answers.len() == 1_000 && answers.iter().all(Result::is_ok));
    assert_eq!(transactions(), before + 1);
}

#[test]
fn writers_of_two_programs_wait_for_each_other_and_lose_nothing() {
    let world = world();
    // Each call opens the file anew, as another program would.
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let world = &world;
            scope.spawn(move || {
                for number in 0..10 {
                    world.account(&format!("agent-{writer}-{number}"));
                }
            });
        }
    });
    let observers = world.provider.observers().unwrap();
    let all = block_on(observers.of("authority.account").unwrap().list(&Listing::All)).unwrap();
    assert_eq!(all.len(), 30);
}

#[test]
fn one_name_is_given_to_one_of_two_who_ask_at_once() {
    let world = world();
    let answers: Vec<Result<Issued>> = std::thread::scope(|scope| {
        let ask = |step: &'static str| {
            let world = &world;
            scope.spawn(move || world.one("authority.account", create(step, account_values("ada"))))
        };
        let asked = [ask("1"), ask("2"), ask("3")];
        asked.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}

#[test]
fn what_exists_without_our_mark_is_not_taken_over() {
    let world = world();
    world.by_hand("INSERT INTO accounts (id, name) VALUES ('old', 'ada')");
    let error = world.one("authority.account", create("1", account_values("ada"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Foreign);
    assert_eq!(error.message(), "the account `ada` exists and is not ours");
    assert!(error.repair().unwrap().contains("import"), "{error:?}");
}

#[test]
fn another_fleets_object_is_named_with_its_fleet() {
    let world = world();
    let ada = world.account("ada");
    let theirs = WriteRequest { mark: mark("payroll"), ..create("2", account_values("ada")) };
    let keys = WriteRequest { mark: mark("payroll"), ..issue("3", &ada.id) };
    for (type_name, request) in [("authority.account", theirs), ("authority.api_key", keys)] {
        let error = world.one(type_name, request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Foreign);
        assert!(error.message().contains("of fleet `billing` in `test`"), "{error}");
    }
}

#[test]
fn a_third_key_is_refused_and_names_the_others() {
    let world = world();
    let ada = world.account("ada");
    let (first, _) = world.key("1", &ada);
    let (second, _) = world.key("2", &ada);
    let error = world.one("authority.api_key", issue("3", &ada.id)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let help = error.repair().unwrap();
    assert!(help.contains(&first.id) && help.contains(&second.id), "{error:?}");
}

#[test]
fn a_deleted_account_takes_its_keys_and_grants_along() {
    let world = world();
    let ada = world.account("ada");
    let grant = world.grant(&ada, "invoices/*", &["read"]);
    let (key, secret) = world.key("1", &ada);
    world.one("authority.account", delete("2", &ada)).unwrap();
    assert_eq!(world.read("authority.grant", &grant.id), Observation::Absent);
    assert_eq!(world.read("authority.api_key", &key.id), Observation::Absent);
    let decision = block_on(world.authority().whoami(&secret)).unwrap();
    assert_eq!(decision, Decision::Refused(Reason::RevokedKey));
}

#[test]
fn a_deleted_account_takes_nothing_of_another_fleet_along() {
    let world = world();
    let ada = world.account("ada");
    let theirs = WriteRequest {
        mark: mark("payroll"),
        ..create("1", grant_values(&ada.id, "payroll/*", &["read"]))
    };
    let theirs = world.one("authority.grant", theirs).unwrap().written.object.unwrap();
    let ours = world.grant(&ada, "invoices/*", &["read"]);
    let error = world.one("authority.account", delete("2", &ada)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Foreign);
    for grant in [ours, theirs] {
        assert_eq!(
            world.read("authority.grant", &grant.id),
            Observation::Present(grant),
            "the refused step was undone as a whole"
        );
    }
}

#[test]
fn a_claim_that_was_given_up_cannot_be_carried_out_later() {
    let world = world();
    let writers = world.provider.writers().unwrap();
    let settled = block_on(writers.of("authority.account").unwrap().settle(&[claim("late")]));
    assert_eq!(settled.unwrap(), [Settled::NotDone]);
    let error = world.one("authority.account", create("late", account_values("ada"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let again = block_on(writers.of("authority.account").unwrap().settle(&[claim("late")]));
    assert_eq!(again.unwrap(), [Settled::NotDone]);
}

#[test]
fn the_observing_connection_cannot_write() {
    let world = world();
    world.account("ada");
    let mut file = File::new(world.path(), Mode::Read);
    let written = file.read(|file| file.execute("DELETE FROM accounts", []));
    assert_eq!(written.unwrap_err().kind(), ErrorKind::Denied);
}

#[test]
fn the_target_is_the_files_own_and_no_two_are_the_same() {
    let (one, other) = (world(), world());
    let target = |world: &World| block_on(world.provider.target()).unwrap();
    assert_eq!(target(&one), target(&one));
    assert_ne!(target(&one), target(&other));
    // Making it again leaves it as it is.
    let path = one.path();
    AuthorityProvider::create(path, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap();
    assert_eq!(target(&one), block_on(AuthorityProvider::new(path).target()).unwrap());
}

struct AuthorityWorld<'p>(&'p Path);

impl AuthorityWorld<'_> {
    fn open(&self) -> Error {
        Authority::open(self.0, Arc::new(SystemClock)).expect_err("the test made the file bad")
    }
}

#[test]
fn a_file_that_is_no_authority_is_told_with_the_repair() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil, ErrorKind, &str); 6] = [
        ("missing", |_| (), ErrorKind::NotFound, "AuthorityProvider::create"),
        (
            "text",
            |path| std::fs::write(path, "hello ".repeat(200)).unwrap(),
            ErrorKind::InvalidInput,
            "own file",
        ),
        ("empty", |path| std::fs::write(path, "").unwrap(), ErrorKind::InvalidInput, "own file"),
        ("folder", |path| std::fs::create_dir(path).unwrap(), ErrorKind::InvalidInput, "own file"),
        (
            "another",
            |path| Connection::open(path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap(),
            ErrorKind::InvalidInput,
            "own file",
        ),
        (
            "newer",
            |path| {
                make(path);
                let file = Connection::open(path).unwrap();
                file.execute_batch("PRAGMA user_version = 99").unwrap();
            },
            ErrorKind::NewerVersion,
            "newer version",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, spoil, kind, repair) in cases {
        let path = folder.path().join(name);
        spoil(&path);
        let error = AuthorityWorld(&path).open();
        assert_eq!(error.kind(), kind, "{name}: {error:?}");
        assert!(error.message().contains(name), "{name}: {error:?}");
        assert!(error.repair().unwrap().contains(repair), "{name}: {error:?}");
    }
}

fn make(path: &Path) {
    AuthorityProvider::create(path, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap();
}

#[test]
fn somebody_elses_file_is_never_made_into_an_authority() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let before = std::fs::read(&path).unwrap();
    let made = AuthorityProvider::create(&path, Arc::new(SystemClock), Arc::new(SystemEntropy));
    assert_eq!(made.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_damaged_file_is_told_before_anything_is_written() {
    let world = world();
    for number in 0..50 {
        world.account(&format!("agent-{number}"));
    }
    let mut bytes = std::fs::read(world.path()).unwrap();
    // Past the first page, which holds the header and the schema.
    bytes[4096..].fill(0x5a);
    std::fs::write(world.path(), &bytes).unwrap();
    let error = world.provider.writers().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.message().contains("authority.db"), "{error:?}");
    assert!(error.repair().unwrap().contains("backup"), "{error:?}");
}

#[test]
fn a_file_that_somebody_holds_is_worth_another_try() {
    let world = world();
    let holder = Connection::open(world.path()).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut file = File::new(world.path(), Mode::Read);
    let error = {
        // Opening reads the file, so the wait is cut short afterwards only.
        holder.execute_batch("COMMIT").unwrap();
        let none = std::time::Duration::ZERO;
        crate::sqlite::wait_for_locks(file.connection().unwrap(), none).unwrap();
        holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
        file.read(|file| rows::list::<Account>(file, &Listing::All)).unwrap_err()
    };
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Provider, Retry::Backoff));
    assert!(error.message().contains("held by another program"), "{error:?}");
}

#[test]
fn a_full_disk_undoes_the_whole_batch_and_says_so() {
    let world = world();
    let mut file = File::new(world.path(), Mode::Write);
    let pages: i64 = {
        let connection = file.connection().unwrap();
        connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap()
    };
    // SQLite answers a file that may not grow as it answers a full disk.
    let limit = format!("PRAGMA max_page_count = {}", pages + 2);
    let _limit: i64 = file.connection().unwrap().query_row(&limit, [], |row| row.get(0)).unwrap();
    let jobs: Vec<writes::Job<Account>> = (0..500)
        .map(|number| writes::Job {
            claim: claim(&number.to_string()),
            mark: mark("billing"),
            operation: Operation::Create(AccountSpec {
                name: format!("agent-{number}"),
                description: Some("x".repeat(200)),
            }),
            seen: Observation::Absent,
        })
        .collect();
    let answers =
        writes::batch(&mut file, &SystemClock, &SystemEntropy, &jobs, writes::write::<Account>);
    let failed: Vec<&Error> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(!failed.is_empty());
    for error in failed {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Io, Retry::Backoff), "{error:?}");
        assert!(error.message().contains("full"), "{error:?}");
    }
    // Each answer is true: what was answered as done is there, the rest is not.
    let there = file.read(|file| rows::list::<Account>(file, &Listing::All)).unwrap();
    assert_eq!(there.len(), answers.iter().filter(|answer| answer.is_ok()).count());
}

#[test]
fn what_a_crash_cut_off_is_undone_by_a_writer_and_named_to_a_reader() {
    let world = world();
    world.account("ada");
    // A transaction that is larger than the page cache reaches the file before
    // its commit; the copies of file and journal are what a crash leaves.
    let writing = Connection::open(world.path()).unwrap();
    writing.execute_batch("PRAGMA cache_size = 2; BEGIN IMMEDIATE;").unwrap();
    for number in 0..500 {
        writing
            .execute("INSERT INTO accounts (id, name) VALUES (?1, ?1)", [format!("new-{number}")])
            .unwrap();
    }
    let crashed = world.folder.path().join("crashed.db");
    std::fs::copy(world.path(), &crashed).unwrap();
    let journal = world.folder.path().join("authority.db-journal");
    std::fs::copy(journal, world.folder.path().join("crashed.db-journal")).unwrap();
    drop(writing);

    let error = AuthorityWorld(&crashed).open();
    assert!(error.message().contains("a write that a crash cut off"), "{error:?}");
    let after = AuthorityProvider::new(&crashed);
    after.writers().unwrap();
    let observers = after.observers().unwrap();
    let accounts = block_on(observers.of("authority.account").unwrap().list(&Listing::All));
    assert_eq!(accounts.unwrap().len(), 1);
}

#[cfg(unix)]
#[test]
fn a_restored_backup_is_seen_by_a_service_that_runs() {
    let world = world();
    let ada = world.account("ada");
    let backup = world.folder.path().join("backup.db");
    std::fs::copy(world.path(), &backup).unwrap();
    let (_, key) = world.key("1", &ada);
    let authority = world.authority();
    let whoami = || block_on(authority.whoami(&key)).unwrap();
    assert!(matches!(whoami(), Decision::Allowed { .. }));
    std::fs::rename(&backup, world.path()).unwrap();
    assert_eq!(whoami(), Decision::Refused(Reason::UnknownKey));
}

#[derive(Debug)]
struct Noon;

#[async_trait::async_trait]
impl Clock for Noon {
    fn now(&self) -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    async fn sleep(&self, _: std::time::Duration) {}
}

#[test]
fn the_last_use_of_a_key_is_kept_and_a_probe_is_none() {
    let world = world();
    let ada = world.account("ada");
    let (key, secret) = world.key("1", &ada);
    let authority = Authority::open(world.path(), Arc::new(Noon)).unwrap();
    let probers = world.provider.probers().unwrap();
    let attempt = crate::provider::Attempt {
        identity: &ada.id,
        secret: &crate::secret::Secret::from_text(secret.clone()),
    };
    block_on(probers.of("authority.api_key").unwrap().probe(&[attempt]));
    assert_eq!(block_on(authority.last_use(&key.id)).unwrap(), None);
    block_on(authority.whoami(&secret)).unwrap();
    authority.wait_for_uses();
    assert_eq!(block_on(authority.last_use(&key.id)).unwrap(), Some(Noon.now()));
}

/// What the authority is to decide, written down as simply as possible.
#[derive(Debug, Default)]
struct Model {
    /// Each account's suspension.
    suspended: Vec<bool>,
    /// Account, pattern, actions.
    grants: Vec<(usize, Vec<String>, Vec<&'static str>)>,
    /// Account and whether it was revoked.
    keys: Vec<(usize, bool)>,
}

impl Model {
    fn decide(&self, key: usize, action: &str, object: &[&str]) -> Decision {
        let (account, revoked) = self.keys[key];
        if revoked {
            Decision::Refused(Reason::RevokedKey)
        } else if self.suspended[account] {
            Decision::Refused(Reason::SuspendedAccount)
        } else if self.grants.iter().any(|(of, pattern, actions)| {
            *of == account && actions.contains(&action) && fits(pattern, object)
        }) {
            Decision::Allowed { account: format!("account-{account}") }
        } else {
            Decision::Refused(Reason::NotGranted)
        }
    }
}

fn fits(pattern: &[String], object: &[&str]) -> bool {
    match (pattern, object) {
        ([], []) => true,
        ([last], [_, ..]) if last == "**" => true,
        ([first, pattern @ ..], [segment, object @ ..]) => {
            (first == "*" || first == segment) && fits(pattern, object)
        }
        _ => false,
    }
}

const SEGMENTS: [&str; 3] = ["invoices", "2026", "it's"];
const ACTIONS: [&str; 3] = ["read", "write", "list"];

fn patterns() -> impl Strategy<Value = Vec<String>> {
    let segment = prop_oneof![
        (0..3_usize).prop_map(|at| SEGMENTS[at].to_owned()),
        proptest::strategy::Just("*".to_owned())
    ];
    (proptest::collection::vec(segment, 0..3), any::<bool>()).prop_map(|(mut segments, rest)| {
        if rest || segments.is_empty() {
            segments.push("**".into());
        }
        segments
    })
}

fn models() -> impl Strategy<Value = Model> {
    let grant = (0..2_usize, patterns(), proptest::sample::subsequence(ACTIONS.to_vec(), 1..3));
    (
        proptest::collection::vec(any::<bool>(), 2),
        proptest::collection::vec(grant, 0..5),
        proptest::collection::vec((0..2_usize, any::<bool>()), 1..4),
    )
        .prop_map(|(suspended, mut grants, keys)| {
            // One grant for one account and pattern, as the natural key has it.
            grants.sort();
            grants.dedup_by(|a, b| (a.0, &a.1) == (b.0, &b.1));
            Model { suspended, grants, keys }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn checks_decide_as_the_simple_model_does(model in models()) {
        let world = world();
        let accounts: Vec<Object> =
            (0..2).map(|number| world.account(&format!("account-{number}"))).collect();
        for (account, pattern, actions) in &model.grants {
            world.grant(&accounts[*account], &pattern.join("/"), actions);
        }
        let mut keys = Vec::new();
        for (number, (account, revoked)) in model.keys.iter().enumerate() {
            // An account takes no third key; one that is to be revoked is at once.
            if keys.iter().filter(|(of, live, _)| of == account && *live).count() == 2 {
                continue;
            }
            let (key, secret) = world.key(&format!("key-{number}"), &accounts[*account]);
            if *revoked {
                world.one("authority.api_key", delete(&format!("end-{number}"), &key)).unwrap();
            }
            keys.push((*account, !revoked, (number, secret)));
        }
        for (account, suspended) in accounts.iter().zip(&model.suspended) {
            if *suspended {
                let operation = Operation::Suspend { id: account.id.clone() };
                let suspend = WriteRequest {
                    seen: Observation::Present(account.clone()),
                    ..request(&format!("suspend-{}", account.id), operation)
                };
                world.one("authority.account", suspend).unwrap();
            }
        }
        let authority = world.authority();
        let mut objects: Vec<Vec<&str>> = SEGMENTS.iter().map(|one| vec![*one]).collect();
        for first in SEGMENTS {
            for second in SEGMENTS {
                objects.extend([vec![first, second], vec![first, second, "invoices"]]);
            }
        }
        for (_, _, (number, secret)) in &keys {
            for action in ACTIONS {
                for object in &objects {
                    let found = block_on(authority.check(secret, action, &object.join("/"))).unwrap();
                    prop_assert_eq!(found, model.decide(*number, action, object), "{} on {:?}", action, object);
                }
            }
        }
    }
}
