//! `watch`, as far as it ends by itself; `tests/watch.rs` has the daemon.

use agent_iac::fleet::{Rules, Standing};

use super::*;

fn unattended(mut fleet: Fleet, standing: Standing) -> Fleet {
    fleet.rules(Rules { standing, ..Rules::default() });
    fleet
}

fn watched() -> Fleet {
    unattended(one(), Standing::whole())
}

#[test]
fn without_standing_authority_nothing_is_watched_and_it_says_how_to_give_it() {
    let office = Office::new();
    office.applies(&one);
    for words in [&["watch"][..], &["watch", "--once"], &["watch", "--listen", "127.0.0.1:0"]] {
        let refused = office.types(words, one()).exits(5);
        assert!(refused.err.contains("`office` has no standing authority"), "{}", refused.err);
        assert!(refused.err.contains(r#"standing = ["rotate", "narrow", "retire"]"#));
    }
    let told = office.types(&["watch", "--json"], one()).exits(5).objects();
    let error = told.iter().find(|object| object["type"] == "error").unwrap();
    assert_eq!((&error["code"], &error["exit"]), (&"refused".into(), &5.into()));
}

#[test]
fn once_takes_back_what_widens_and_tells_what_stays() {
    let office = Office::new();
    office.applies(&watched);
    let quiet = office.types(&["watch", "--once", "--detailed-exitcode"], watched()).exits(0);
    assert_eq!(quiet.out, "");
    office.by_hand("UPDATE grants SET actions = 'delete read'");
    let once = office.types(&["watch", "--once"], watched()).exits(0);
    assert!(once.err.contains("alert: drift_reverted"), "{}", once.err);
    assert!(once.err.contains("(team:support)"), "{}", once.err);
    office.types(&["drift", "--detailed-exitcode"], watched()).exits(0);

    office.by_hand("UPDATE grants SET actions = 'read'  WHERE 0 OR 1");
    office.by_hand("UPDATE accounts SET suspended = 1");
    let left = office.types(&["watch", "--once", "--detailed-exitcode", "--json"], watched());
    let left = left.exits(3);
    let alerts: Vec<Json> = left.objects().into_iter().filter(|o| o["type"] == "alert").collect();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let alert = &alerts[0]["alert"];
    assert_eq!((&alert["kind"], &alert["status"]), (&"drift_found".into(), &"raised".into()));
    assert_eq!(alert["about"], r#"sorter["eu"].account"#);
    assert_eq!((&left.last()["stays"], &left.last()["checks"]), (&1.into(), &1.into()));
    // What a person took away is not given back, whoever watches.
    office.types(&["drift", "--detailed-exitcode"], watched()).exits(3);
}

#[test]
fn what_cannot_be_read_is_told_and_not_called_clean() {
    let office = Office::new();
    office.applies(&watched);
    std::fs::write(office.path(".agent-iac/authority.db"), "no database any more, just text")
        .unwrap();
    let words = ["watch", "--once", "--detailed-exitcode", "--json"];
    let unread = office.types(&words, watched()).exits(4);
    assert_eq!(unread.last()["unread"], 3);
}

#[test]
fn its_options_are_checked_before_anything_happens() {
    let office = Office::new();
    office.applies(&watched);
    for words in [
        &["watch", "--drift-every", "soon"][..],
        &["watch", "--listen", "9464"],
        &["watch", "--listen", "127.0.0.1:0", "--once"],
        &["watch", "--detailed-exitcode"],
        &["watch", "--alert-webhook", "https://example.com/x"],
        &["watch", "--no-drift", "--drift-every", "1h"],
    ] {
        office.types(words, watched()).exits(2);
    }
    std::fs::write(office.path("short.key"), "secret\n").unwrap();
    let words = ["watch", "--once", "--alert-webhook", "http://127.0.0.1:1/x", "--alert-key"];
    let short = office.types(&[&words[..], &["short.key"]].concat(), watched()).exits(1);
    assert!(short.err.contains("too short") && !short.err.contains("secret"), "{}", short.err);
    office.types(&[&words[..], &["no.key"]].concat(), watched()).exits(1);
    // An address that somebody has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let taken = office.types(&["watch", "--listen", &address], watched()).exits(1);
    assert!(taken.err.contains(&address), "{}", taken.err);
}

#[test]
fn shells_complete_it() {
    let office = Office::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = office.types(&["completions", shell], one()).exits(0).out;
        assert!(script.contains("drift-every") && script.contains("alert-command"), "{shell}");
    }
}
