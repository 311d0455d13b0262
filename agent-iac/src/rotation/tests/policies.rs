//! When a policy makes a credential due.

use jiff::{SignedDuration, Timestamp};

use super::{Dice, at, policy};
use crate::rotation::{Policy, Seed};

fn seed(name: &str) -> Seed {
    Seed::of(&format!("{name}.key").parse().unwrap())
}

#[track_caller]
fn due(terms: &[(&str, &str)], promoted: &str) -> Option<Timestamp> {
    policy(terms).next_due(seed("a"), at(promoted))
}

#[test]
fn without_a_time_it_is_never_due() {
    assert_eq!(due(&[], "2027-01-01T00:00:00Z"), None);
    assert_eq!(due(&[("rotate", "100 uses")], "2027-01-01T00:00:00Z"), None);
}

#[test]
fn the_same_address_is_spread_in_the_same_way_and_a_fleet_evenly() {
    let policy = policy(&[("rotate", "7d"), ("jitter", "10h")]);
    let promoted = at("2027-01-01T00:00:00Z");
    let wanted = at("2027-01-08T00:00:00Z");
    let mut hours = [0; 10];
    for index in 0..10_000 {
        let seed = seed(&format!("agent-{index}"));
        let due = policy.next_due(seed, promoted).unwrap();
        assert_eq!(policy.next_due(seed, promoted), Some(due));
        assert!(due <= wanted, "no generation lives longer than declared");
        let early = wanted.duration_since(due);
        hours[usize::try_from(early.as_hours()).unwrap()] += 1;
    }
    assert!(hours.iter().all(|count| (850..1_150).contains(count)), "{hours:?}");
    // The number itself is part of the promise: it may not change from one
    // version to the next.
    let due = policy.next_due(seed("agent-0"), promoted).unwrap();
    assert_eq!(due, at("2027-01-07T16:35:44Z"));
}

#[test]
fn a_period_that_ends_outside_of_its_window_is_brought_forward_into_the_last_one() {
    let weekly = [("rotate", "7d"), ("window", "tue 02:00-04:00"), ("jitter", "0s")];
    // Tuesday to Tuesday, and a little later each time until the window ends.
    assert_eq!(due(&weekly, "2027-01-05T02:30:00Z"), Some(at("2027-01-12T02:30:00Z")));
    assert_eq!(due(&weekly, "2027-01-05T04:10:00Z"), Some(at("2027-01-12T02:00:00Z")));
    // What was rotated by hand comes into the week's order at once.
    assert_eq!(due(&weekly, "2027-01-02T12:00:00Z"), Some(at("2027-01-05T02:00:00Z")));
    // And not twice in the same window, where the period is too short for the
    // next one.
    let short = [("rotate", "5d"), ("window", "tue 00:00-24:00"), ("jitter", "0s")];
    assert_eq!(due(&short, "2027-01-05T06:00:00Z"), Some(at("2027-01-12T00:00:00Z")));
    // A blackout at the end of the period: the last day before it.
    let blackout = [("rotate", "7d"), ("blackout", "2026-12-20..2027-01-03"), ("jitter", "0s")];
    assert_eq!(due(&blackout, "2026-12-15T12:00:00Z"), Some(at("2026-12-19T00:00:00Z")));
    // It began too soon for that: the first moment behind it.
    assert_eq!(due(&blackout, "2026-12-19T12:00:00Z"), Some(at("2027-01-04T00:00:00Z")));
}

#[test]
fn a_rotation_does_not_begin_within_the_overlap_of_the_last() {
    let terms =
        [("rotate", "4d"), ("overlap", "3d"), ("window", "mon 00:00-24:00"), ("jitter", "0s")];
    // Monday to Friday; the last window is Monday's, within the overlap.
    assert_eq!(due(&terms, "2027-01-04T12:00:00Z"), Some(at("2027-01-11T00:00:00Z")));
}

#[test]
fn a_calendar_is_kept_to_the_minute_and_waits_for_its_window() {
    let cron = ("rotate", "30 2 * * *");
    let berlin = ("zone", "Europe/Berlin");
    // The clocks go forward from two to three.
    assert_eq!(due(&[cron, berlin], "2027-03-27T12:00:00Z"), Some(at("2027-03-28T03:00:00+02:00")));
    assert_eq!(due(&[cron, berlin], "2027-03-28T01:00:00Z"), Some(at("2027-03-29T02:30:00+02:00")));
    // And back from three to two: the first of the two.
    assert_eq!(due(&[cron, berlin], "2027-10-30T12:00:00Z"), Some(at("2027-10-31T02:30:00+02:00")));
    assert_eq!(due(&[cron, berlin], "2027-10-31T00:30:00Z"), Some(at("2027-11-01T02:30:00+01:00")));
    let later = [cron, ("window", "sat 10:00-12:00")];
    assert_eq!(due(&later, "2027-01-01T12:00:00Z"), Some(at("2027-01-02T10:00:00Z")));
}

#[test]
fn the_old_one_ends_after_the_overlap_that_was_said_or_after_an_hour() {
    let promoted = at("2027-03-27T12:00:00Z");
    for (terms, ends) in [
        (&[("rotate", "7d"), ("overlap", "2h")][..], "2027-03-27T14:00:00Z"),
        (&[("rotate", "7d"), ("overlap", "1d"), ("zone", "Europe/Berlin")], "2027-03-28T11:00:00Z"),
        (&[("rotate", "7d")], "2027-03-27T13:00:00Z"),
        (&[("rotate", "1h")], "2027-03-27T12:30:00Z"),
        (&[("rotate", "0 3 * * *")], "2027-03-27T13:00:00Z"),
        (&[], "2027-03-27T13:00:00Z"),
    ] {
        assert_eq!(policy(terms).old_ends(promoted), at(ends), "{terms:?}");
    }
}

#[test]
fn a_policy_that_never_allows_anything_is_never_due() {
    let never = [("rotate", "7d"), ("blackout", "2026-01-01..2099-01-01")];
    assert_eq!(due(&never, "2027-01-01T00:00:00Z"), None);
}

#[test]
fn whatever_the_policy_it_is_due_later_than_promoted_and_when_it_is_allowed() {
    const ROTATE: [&str; 6] = ["1h", "12h", "1d", "7d", "90d", "15 4 * * tue"];
    const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"];
    const WINDOWS: [&str; 4] =
        ["02:00-03:00", "mon-fri 22:00-04:00", "sun 00:00-24:00", "sat 23:59-24:00"];
    const BLACKOUTS: [&str; 4] =
        ["12-20..01-03", "mon-fri 09:00-17:00", "02-29", "2027-03-01..2027-04-15"];
    for seed in 0..2_000 {
        let mut dice = Dice::new(seed);
        let mut terms = vec![("rotate", *dice.one(&ROTATE)), ("zone", *dice.one(&ZONES))];
        if dice.below(2) == 0 {
            terms.push(("window", *dice.one(&WINDOWS)));
        }
        if dice.below(2) == 0 {
            terms.push(("blackout", *dice.one(&BLACKOUTS)));
        }
        if dice.below(3) == 0 {
            terms.push(("jitter", "0s"));
        }
        let policy: Policy = policy(&terms);
        let seconds = i64::try_from(dice.below(3 * 366 * 86_400)).unwrap();
        let promoted = at("2026-01-01T00:00:00Z") + SignedDuration::from_secs(seconds);
        let own = super::policies::seed(&format!("agent-{seed}"));
        let what = format!("{terms:?} promoted at {promoted}, seed {seed}");
        let due = policy.next_due(own, promoted).unwrap();
        assert!(due > promoted, "{what}: {due}");
        assert!(policy.allows(due), "{what}: {due}");
        let wanted = policy.wanted_by(promoted).unwrap();
        let by_age = terms[0].1 != "15 4 * * tue";
        if by_age && policy.is_late(due, wanted) {
            // It is late only where nothing else was open that it could take.
            let half = promoted + wanted.duration_since(promoted) / 2;
            let jitter = i64::try_from(policy.jitter().nominal()).unwrap();
            let target = wanted - SignedDuration::from_secs(jitter);
            let mut own = policy.allows(promoted);
            let mut at = promoted;
            while at < target {
                own &= policy.allows(at);
                let taken = at < policy.old_ends(promoted) || own && at < half;
                assert!(taken || !policy.allows(at), "{what}: due {due}, and open at {at}");
                at += SignedDuration::from_secs(59);
            }
        }
    }
}
