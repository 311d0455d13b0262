//! `rotate` and `calendar`, as text and as objects.

use super::*;

/// Signs what leaves.
#[derive(Debug, Agent)]
#[agent(owner = "team:office", expires = "2099-06-30", grace = "0d")]
struct Signer {
    #[identity(name = "signer")]
    account: auth::Account,

    #[credential(
        of = account,
        deliver = "vault:signer/key",
        rotate = "7d",
        overlap = "1h",
        consumers = ["printer"],
    )]
    key: auth::ApiKey,
}

fn signers() -> Fleet {
    let mut fleet = fleet(&[], &[]);
    fleet.add(SignerInputs {});
    fleet
}

/// Has a key that is to be renewed in a night that never comes.
#[derive(Debug, Agent)]
#[agent(owner = "team:office", expires = "2099-06-30", grace = "0d")]
struct Sleeper {
    #[identity(name = "sleeper")]
    account: auth::Account,

    #[credential(of = account, deliver = "vault:sleeper/key", rotate = "0 5 30 2 *")]
    key: auth::ApiKey,
}

fn generation(office: &Office) -> u32 {
    let deployment = office.deployment(signers()).unwrap();
    let state = agent_iac::clock::block_on(deployment.state()).unwrap();
    let object = state.object(&"signer.key".parse().unwrap()).unwrap();
    object.credential.as_ref().unwrap().generation
}

#[test]
fn rotate_renews_what_is_due_and_says_what_it_did() {
    let mut office = Office::new();
    office.applies(&signers);
    let nothing = office.types(&["rotate"], signers()).exits(0);
    assert!(nothing.out.contains("0 done, 0 failed"), "{}", nothing.out);
    assert_eq!(generation(&office), 1);

    office.days = 8;
    let rotated = office.types(&["rotate", "--json"], signers()).exits(0);
    let objects = rotated.objects();
    let ended = objects.iter().find(|object| object["type"] == "step_ended").unwrap();
    assert_eq!((&ended["address"], &ended["outcome"]), (&"signer.key".into(), &"done".into()));
    assert_eq!(ended["action"], "rotate");
    assert_eq!(rotated.last()["steps"]["done"], 1);
    assert_eq!(generation(&office), 2);
    let again = office.types(&["rotate"], signers()).exits(0);
    assert!(again.out.contains("0 done, 0 failed"), "{}", again.out);
    let history = office.types(&["history", "signer"], signers()).exits(0);
    assert!(history.out.contains("standing authority"), "{}", history.out);
    // A rotation is no drift.
    office.types(&["drift", "--detailed-exitcode"], signers()).exits(0);
}

#[test]
fn rotate_of_named_agents_is_a_plan_that_is_acknowledged() {
    let office = Office::new();
    office.applies(&signers);
    let shown = office.types(&["rotate", "signer"], signers()).exits(6);
    assert!(
        shown.err.contains("signer.key") && shown.err.contains("somebody asked"),
        "{}",
        shown.err
    );
    let told = office.types(&["rotate", "signer", "--json"], signers()).exits(6).objects();
    let error = told.iter().find(|object| object["type"] == "error").unwrap();
    let next = error["next"][0].as_str().unwrap();
    let digest = next.strip_prefix("deploy rotate signer --digest ").expect(next);
    assert_eq!(generation(&office), 1, "nothing was renewed yet");
    office.types(&["rotate", "signer", "--digest", "0123456789abcdef"], signers()).exits(7);
    office.types(&["rotate", "signer", "--digest", digest], signers()).exits(0);
    assert_eq!(generation(&office), 2);
    let unknown = office.types(&["rotate", "nobody"], signers()).exits(1);
    assert!(unknown.err.contains("declares no agent `nobody`"), "{}", unknown.err);
    office.types(&["rotate", "signer", "--all"], signers()).exits(2);
}

#[test]
fn a_compromised_key_goes_at_once_and_who_is_cut_off_is_said_first() {
    let office = Office::new();
    office.applies(&signers);
    office.types(&["rotate", "signer", "--compromised"], signers()).exits(2);
    office.types(&["rotate", "--compromised", "--reason", "a log"], signers()).exits(2);
    let words = ["rotate", "signer", "--compromised", "--reason", "key found in a log"];
    let done = office.types(&words, signers()).exits(0);
    let said = &done.err;
    assert!(said.contains("1 credential is replaced and ended at once"), "{said}");
    assert!(said.contains("signer.key: cuts off printer until they have the new one"), "{said}");
    assert_eq!(generation(&office), 2);
    let keys = |office: &Office| {
        let file = rusqlite::Connection::open(office.path(".agent-iac/authority.db")).unwrap();
        file.query_row("SELECT count(*) FROM api_keys", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(keys(&office), 1, "the known one is gone");
    let again = [&words[..], &["--json"]].concat();
    let told = office.types(&again, signers()).exits(0).last();
    assert_eq!(told["compromised"][0], "signer.key");
}

#[test]
fn the_calendar_says_what_is_rotated_when() {
    let mut office = Office::new();
    office.applies(&signers);
    office.days = 1;
    let shown = office.types(&["calendar", "--days", "28"], signers()).exits(0);
    assert!(shown.out.contains("4 rotations within 28 days, in universal time."), "{}", shown.out);
    assert_eq!(shown.out.matches("  signer.key  old ends ").count(), 4, "{}", shown.out);
    let told = office.types(&["calendar", "--days", "28", "--json"], signers()).exits(0);
    let objects = told.objects();
    let at: Vec<&str> = objects
        .iter()
        .filter(|object| object["type"] == "rotation")
        .map(|object| object["rotation"]["at"].as_str().unwrap())
        .collect();
    assert_eq!(at.len(), 4);
    assert!(at.is_sorted(), "{at:?}");
    assert_eq!((&told.last()["rotations"], &told.last()["days"]), (&4.into(), &28.into()));
    // Nothing was contacted or written, and others can be left out.
    assert_eq!(generation(&office), 1);
    let nobody = office.types(&["calendar", "nobody", "--json"], signers()).exits(0);
    assert_eq!(nobody.last()["rotations"], 0);
    office.types(&["calendar", "--days", "0"], signers()).exits(2);
    office.types(&["calendar", "--days", "5000"], signers()).exits(2);
}

#[test]
fn a_calendar_that_cannot_be_kept_is_a_mistake_of_the_fleet() {
    let office = Office::new();
    let sleepers = || {
        let mut fleet = fleet(&[], &[]);
        fleet.add(SleeperInputs {});
        fleet
    };
    for command in ["calendar", "validate", "plan"] {
        let wrong = office.types(&[command], sleepers()).exits(10);
        assert!(wrong.err.contains("sleeper") && wrong.err.contains("rotate"), "{}", wrong.err);
        assert_eq!(wrong.out, "");
        let told = office.types(&[command, "--json"], sleepers()).exits(10).objects();
        assert!(told.iter().any(|object| object["type"] == "diagnostic"), "{told:?}");
    }
}
