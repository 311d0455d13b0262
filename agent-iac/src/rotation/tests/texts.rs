//! What may be written, and what is said about anything else.

use crate::rotation::{
    AtDeadline, Cron, FleetPolicy, FleetTerms, Hours, Policy, Rate, Retry, Rotate, Span, Zone,
};

use super::{at, policy, read};

#[test]
fn a_length_of_time_knows_whether_it_counts_days() {
    for (text, span, shown) in [
        ("7d", Span::Days(7), "1w"),
        ("2w", Span::Days(14), "2w"),
        ("30d", Span::Days(30), "30d"),
        ("24h", Span::Exact(86_400), "24h"),
        ("90m", Span::Exact(5_400), "90m"),
        ("0d", Span::Days(0), "0d"),
        ("0s", Span::Exact(0), "0s"),
    ] {
        assert_eq!(Span::parse(text), Ok(span), "{text}");
        assert_eq!(span.to_string(), shown);
        assert_eq!(Span::parse(shown), Ok(span));
    }
    assert_eq!(Span::parse("weekly").unwrap_err().message, "`weekly` is not a period");
}

#[test]
fn a_mistake_in_cron_is_shown_at_its_column() {
    for (text, shown) in [
        ("0 3 * *", "`0 3 * *` has 4 fields, and cron has five"),
        ("0 3 * * * *", "`0 3 * * * *` has 6 fields, and cron has five"),
        ("60 3 * * *", "column 1: `60` is no minute"),
        ("0 24 * * *", "column 3: `24` is no hour"),
        ("0  3,4,x * * *", "column 8: `x` is no hour"),
        ("0 3 0 * *", "column 5: `0` is no day of the month"),
        ("0 3 * 13 *", "column 7: `13` is no month"),
        ("0 3 * jan-foo *", "column 11: `foo` is no month"),
        ("0 3 * * 8", "column 9: `8` is no day of the week"),
        ("0 3 * * mond", "column 9: `mond` is no day of the week"),
        ("0 5-3 * * *", "column 3: the range `5-3` runs backwards"),
        ("*/0 3 * * *", "column 3: `0` is no step of a minute"),
        ("*/+5 3 * * *", "column 3: `+5` is no step of a minute"),
        ("5/15 3 * * *", "column 1: `5/15` steps from one value"),
        ("0 3 , * *", "column 5: `` is no day of the month"),
        ("0 3 L * *", "column 5: `L` is no day of the month"),
        ("0 3 31 feb,apr *", "column 5: no month of feb,apr has a day 31"),
        ("0 ٣ * * *", "column 3: `٣` is no hour"),
    ] {
        let mistake = Cron::parse(text).unwrap_err();
        assert_eq!(mistake.to_string(), shown, "{text}");
        assert!(!mistake.help.is_empty(), "{text}");
    }
}

#[test]
fn cron_takes_names_ranges_steps_and_lists() {
    for (text, after, next) in [
        ("0 3 * * mon", "2027-01-01T00:00:00Z", "2027-01-04T03:00:00Z"),
        ("0 3 * * MON-Fri", "2027-01-02T00:00:00Z", "2027-01-04T03:00:00Z"),
        ("0 3 * * fri-sun", "2027-01-03T03:00:00Z", "2027-01-08T03:00:00Z"),
        ("0 3 * * 7", "2027-01-01T00:00:00Z", "2027-01-03T03:00:00Z"),
        ("0 3 * * */2", "2027-01-03T03:00:00Z", "2027-01-05T03:00:00Z"),
        ("*/20 1-2 * * *", "2027-01-01T01:40:00Z", "2027-01-01T02:00:00Z"),
        ("59 23 31 dec *", "2027-01-01T00:00:00Z", "2027-12-31T23:59:00Z"),
        ("0 0 29 2 *", "2027-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 29 2 *", "2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z"),
        // Either day suffices when both are restricted, and no star is.
        ("0 0 13 * fri", "2027-08-01T00:00:00Z", "2027-08-06T00:00:00Z"),
        ("0 0 */2 * fri", "2027-08-01T00:00:00Z", "2027-08-13T00:00:00Z"),
        // A second before and a second after.
        ("30 4 * * *", "2027-01-01T04:29:59Z", "2027-01-01T04:30:00Z"),
        ("30 4 * * *", "2027-01-01T04:30:00Z", "2027-01-02T04:30:00Z"),
    ] {
        let cron = Cron::parse(text).unwrap();
        assert_eq!(cron.next(at(after), &Zone::utc()), Some(at(next)), "{text} after {after}");
    }
}

#[test]
fn a_window_has_days_and_hours_and_a_mistake_its_column() {
    let utc = Zone::utc();
    for (text, inside, outside) in [
        ("02:00-06:00", "2027-01-01T02:00:00Z", "2027-01-01T06:00:00Z"),
        ("22:00-04:00", "2027-01-01T03:59:59Z", "2027-01-01T04:00:00Z"),
        // Friday's night reaches into Saturday, and Saturday has none.
        ("mon-fri 22:00-04:00", "2027-01-02T03:00:00Z", "2027-01-02T22:00:00Z"),
        ("sun 22:00-04:00", "2027-01-04T03:00:00Z", "2027-01-03T03:00:00Z"),
        ("sat,sun 00:00-24:00", "2027-01-02T00:00:00Z", "2027-01-04T00:00:00Z"),
        ("fri-mon 12:00-13:00", "2027-01-04T12:30:00Z", "2027-01-05T12:30:00Z"),
        ("02:00-06:00 Asia/Tokyo", "2027-01-01T20:00:00Z", "2027-01-01T02:00:00Z"),
        ("mon 01:00-02:00; tue 03:00-04:00", "2027-01-05T03:00:00Z", "2027-01-04T03:00:00Z"),
    ] {
        let window = Hours::window(text, &utc).unwrap();
        assert!(window.allow(at(inside)), "{text}");
        assert!(!window.allow(at(outside)), "{text}");
    }
    for (text, shown) in [
        ("", "column 1: `` is no time from and until"),
        ("nights", "column 1: `nights` is no time from and until"),
        ("mon-fri", "column 1: `mon` is no time of the day"),
        ("mon-foo 02:00-06:00", "column 5: `foo` is no day of the week"),
        ("mon 02:00-25:00", "column 11: `25:00` is no time of the day"),
        ("mon 2:00-6:00", "column 5: `2:00` is no time of the day"),
        ("mon 02:00-06:60", "column 11: `06:60` is no time of the day"),
        ("02:00-02:00", "column 1: `02:00-02:00` is no time at all"),
        ("24:00-02:00", "column 1: `24:00-02:00` is no time at all"),
        ("02:00-03:00 Mars", "column 13: there is no time zone `Mars`"),
        ("02:00-03:00;", "column 13: `` is no time from and until"),
    ] {
        let mistake = Hours::window(text, &utc).unwrap_err();
        assert_eq!(mistake.to_string(), shown, "{text}");
        assert!(!mistake.help.is_empty(), "{text}");
    }
}

#[test]
fn a_blackout_is_of_one_year_of_every_year_or_of_the_week() {
    let utc = Zone::utc();
    for (text, inside, outside) in [
        ("2026-12-24", "2026-12-24T23:59:59Z", "2026-12-25T00:00:00Z"),
        ("2026-12-20..2027-01-03", "2027-01-03T12:00:00Z", "2027-01-04T00:00:00Z"),
        ("2026-12-24T18:00..2026-12-27T06:00", "2026-12-24T18:00:00Z", "2026-12-27T06:00:00Z"),
        ("12-20..01-03", "2031-01-03T12:00:00Z", "2031-01-04T00:00:00Z"),
        ("12-24", "2030-12-24T12:00:00Z", "2030-12-25T12:00:00Z"),
        ("02-29", "2028-02-29T12:00:00Z", "2027-03-01T00:00:00Z"),
        ("mon-fri 09:00-17:00", "2027-01-04T09:00:00Z", "2027-01-03T09:00:00Z"),
        ("09:00-17:00", "2027-01-03T09:00:00Z", "2027-01-03T17:00:00Z"),
    ] {
        let blackout = Hours::blackout(text, &utc).unwrap();
        assert!(!blackout.allow(at(inside)), "{text}");
        assert!(blackout.allow(at(outside)), "{text}");
    }
    for (text, shown) in [
        ("2027-02-29", "column 1: `2027-02-29` is no day or time"),
        ("2027-01-01..2027-13-01", "column 13: `2027-13-01` is no day or time"),
        ("2027-01-02..2027-01-01", "column 1: `2027-01-02..2027-01-01` ends before it begins"),
        ("12-20..2027-01-03", "column 1: `12-20` is no day or time"),
        ("christmas", "column 1: `christmas` is no time from and until"),
    ] {
        let mistake = Hours::blackout(text, &utc).unwrap_err();
        assert_eq!(mistake.to_string(), shown, "{text}");
    }
}

#[test]
fn a_zone_has_the_name_that_the_database_gives_it() {
    assert_eq!(Zone::named("Europe/Berlin").unwrap().name(), "Europe/Berlin");
    for (text, help) in [
        ("europe/berlin", "did you mean `Europe/Berlin`?"),
        ("Europe/Berln", "did you mean `Europe/Berlin`?"),
        ("Mars/Olympus_Mons", "write a name of the IANA database, as `Europe/Berlin`, or `UTC`"),
        ("utc", "did you mean `UTC`?"),
    ] {
        assert_eq!(Zone::named(text).unwrap_err().help, help, "{text}");
    }
}

#[test]
fn rates_and_retries_are_read_and_shown() {
    let rate = Rate::parse("30/m").unwrap();
    assert_eq!((rate.rotations, rate.seconds, rate.to_string().as_str()), (30, 60, "30/1m"));
    assert_eq!(Rate::parse("100/6h").unwrap().seconds, 21_600);
    for text in ["", "30", "30/", "0/m", "30/0m", "-1/m", "+1/m", "30/y", "x/m"] {
        assert!(!Rate::parse(text).unwrap_err().help.is_empty(), "{text}");
    }
    let retry = Retry::parse("5 times, 1m to 10m").unwrap();
    assert_eq!(retry.to_string(), "5 times, 1m to 10m");
    let pauses = [1, 2, 3, 4, 5, 90].map(|failed| retry.pause(failed).as_secs());
    assert_eq!(pauses, [60, 120, 240, 480, 600, 600]);
    for (text, shown) in [
        ("often", "`often` is no way to try again"),
        ("0 times, 1m to 1h", "column 1: `0 times` is no number of attempts from 1 to 1000"),
        ("5 times, 1m", "column 10: `1m` is not from one pause to another"),
        ("5 times, 1m to x", "column 16: `x` is not a period"),
        ("5 times, 0s to 1h", "column 10: a pause of nothing would be a loop"),
        ("5 times, 1h to 1m", "column 10: the pauses shrink"),
    ] {
        assert_eq!(Retry::parse(text).unwrap_err().to_string(), shown, "{text}");
    }
}

#[test]
fn what_makes_a_credential_due_is_an_age_the_calendar_or_its_uses() {
    assert_eq!(Rotate::parse("7d"), Ok(Rotate::Every(Span::Days(7))));
    assert_eq!(Rotate::parse("1000 uses"), Ok(Rotate::Uses(1_000)));
    assert!(matches!(Rotate::parse("0 3 * * mon"), Ok(Rotate::At(_))));
    for text in ["", "weekly", "0 uses", "-1 uses", "many uses", "@daily", "0 3 * *"] {
        assert!(!Rotate::parse(text).unwrap_err().help.is_empty(), "{text}");
    }
}

#[test]
fn every_mistake_of_the_terms_is_reported_with_its_key() {
    #[track_caller]
    fn check(terms: &[(&str, &str)], shown: &[&str]) {
        let mistakes = Policy::read(&read(terms), &FleetPolicy::default()).unwrap_err();
        let found: Vec<_> =
            mistakes.iter().map(|(key, mistake)| format!("{key}: {mistake}")).collect();
        assert_eq!(found, shown);
    }
    check(
        &[("rotate", "x"), ("overlap", "y"), ("window", "z"), ("zone", "Nowhere")],
        &[
            "zone: there is no time zone `Nowhere`",
            "window: column 1: `z` is no time from and until",
            "overlap: `y` is not a period",
            "rotate: `x` is not a period",
        ],
    );
    check(&[("rotate", "0d")], &["rotate: a credential lives for some time"]);
    check(
        &[("rotate", "1w"), ("overlap", "7d")],
        &["overlap: the overlap of 1w is not shorter than the period of 1w"],
    );
    check(
        &[("rotate", "1d"), ("overlap", "12h"), ("jitter", "12h")],
        &["jitter: the jitter of 12h leaves nothing of the period of 1d behind the overlap of 12h"],
    );
    check(
        &[("rotate", "30d"), ("overlap", "1d"), ("lease", "30d")],
        &["lease: the lease of 30d ends before the period of 30d and the overlap of 1d are over"],
    );
    for (said, why) in [
        ("revoke", "`revoke` says not what happens at the deadline"),
        ("Keep", "`Keep` says not what happens at the deadline"),
        ("revoke after", "`revoke after` says not what happens at the deadline"),
        ("revoke after a day", "column 14: `a day` is not a period"),
    ] {
        check(&[("at_deadline", said)], &[&format!("at_deadline: {why}")]);
    }
    check(
        &[("rotate", "1w"), ("overlap", "1d"), ("at_deadline", "revoke after 6d")],
        &["at_deadline: the overlap of 1d and 6d more are not shorter than the period of 1w"],
    );
    check(&[("group", "a b")], &["group: `a b` is not the name of a redundancy group"]);
}

#[test]
fn a_credential_says_its_own_zone_or_has_that_of_the_fleet() {
    let fleet = FleetTerms {
        zone: Some("Asia/Tokyo".into()),
        window: Some("00:00-12:00".into()),
        ..FleetTerms::default()
    };
    let fleet = FleetPolicy::read(&fleet, |key, mistake| panic!("{key}: {mistake}"));
    let own = Policy::read(&read(&[("window", "02:00-06:00"), ("zone", "UTC")]), &fleet).unwrap();
    // Both windows hold, each in the zone of who said it: until three in UTC.
    assert!(own.allows(at("2027-01-01T02:59:00Z")));
    assert!(!own.allows(at("2027-01-01T03:00:00Z")));
    let none = Policy::read(&read(&[("window", "02:00-06:00")]), &fleet).unwrap();
    assert!(none.allows(at("2027-01-01T02:00:00+09:00")));
    assert!(!none.allows(at("2027-01-01T02:00:00Z")));
}

#[test]
fn what_happens_at_the_deadline_reads_as_it_is_shown() {
    for (said, means) in [
        ("keep", AtDeadline::Keep),
        ("revoke after 0s", AtDeadline::Revoke(Span::ZERO)),
        ("revoke after 2d", AtDeadline::Revoke(Span::Days(2))),
    ] {
        let policy = policy(&[("rotate", "1w"), ("at_deadline", said)]);
        assert_eq!((policy.at_deadline, policy.at_deadline.to_string()), (means, said.into()));
    }
    assert_eq!(policy(&[]).at_deadline, AtDeadline::Keep);
}
