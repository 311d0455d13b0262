//! A calendar that knows nothing but the offset of a zone at each minute, and
//! what it says about the times that the module computes.

use std::collections::BTreeSet;

use jiff::{
    SignedDuration, Timestamp, ToSpan as _,
    civil::{DateTime, Weekday},
    tz::TimeZone,
};

use super::{Dice, at};
use crate::rotation::{
    Cron, Hours, Span, Zone,
    hours::{next_allowed, next_refused},
};

/// Sixteen days each, with changes of every kind: forward and back on both
/// hemispheres, by half an hour and by two, at midnight, a day that was left
/// out, summer time given up for a month, leap days, years' ends.
const TIMES: [(&str, &str); 18] = [
    ("Europe/Berlin", "2028-03-18"),
    ("Europe/Berlin", "2028-10-21"),
    ("Europe/Berlin", "2099-12-22"),
    ("America/New_York", "2027-03-06"),
    ("America/New_York", "2027-10-31"),
    ("Australia/Lord_Howe", "2027-03-27"),
    ("Australia/Lord_Howe", "2027-09-25"),
    ("Antarctica/Troll", "2027-03-20"),
    ("Antarctica/Troll", "2027-10-23"),
    ("Pacific/Apia", "2011-12-22"),
    ("America/Sao_Paulo", "2018-10-27"),
    ("America/Sao_Paulo", "2018-02-10"),
    ("Africa/Casablanca", "2026-02-08"),
    ("Africa/Casablanca", "2026-03-15"),
    ("Asia/Pyongyang", "2018-04-28"),
    ("Asia/Kolkata", "2028-02-20"),
    ("America/St_Johns", "2044-03-05"),
    ("UTC", "2027-12-24"),
];

/// Each minute of a time with what the wall shows.
struct Walk {
    zone: &'static str,
    minutes: Vec<(Timestamp, DateTime)>,
    /// The minutes at which the wall does not go on by one.
    changes: Vec<usize>,
}

impl Walk {
    fn all() -> impl Iterator<Item = (u64, Zone, Self)> {
        (0..).zip(TIMES).map(|(index, (zone, day))| {
            let tz = TimeZone::get(zone).unwrap();
            let from = at(&format!("{day}T00:00:00Z"));
            let minutes = (0..16 * 1_440).map(|minute| from + SignedDuration::from_mins(minute));
            let minutes: Vec<_> =
                minutes.map(|at| (at, tz.to_offset(at).to_datetime(at))).collect();
            let changes = (1..minutes.len())
                .filter(|index| minutes[*index].1 != minutes[index - 1].1 + 1.minute())
                .collect();
            (index, Zone::named(zone).unwrap(), Self { zone, minutes, changes })
        })
    }

    /// The minute at which the wall first shows a time or more.
    fn first(&self, local: DateTime) -> Option<Timestamp> {
        self.minutes.iter().find(|(_, shown)| *shown >= local).map(|(at, _)| *at)
    }

    /// When each minute that fits comes for the first time: a minute that is
    /// skipped comes when the wall has passed it.
    fn times(&self, fits: impl Fn(DateTime) -> bool) -> Vec<Timestamp> {
        let mut passed = self.minutes[0].1;
        let mut times = Vec::new();
        for (at, shown) in &self.minutes[1..] {
            let mut due = false;
            while passed < *shown {
                passed += 1.minute();
                due |= fits(passed);
            }
            if due {
                times.push(*at);
            }
        }
        times
    }

    /// A minute near one at which the clocks are changed, half of the time.
    fn any(&self, dice: &mut Dice) -> usize {
        let random = |dice: &mut Dice, end: usize| {
            usize::try_from(dice.below(u64::try_from(end).unwrap())).unwrap()
        };
        let length = self.minutes.len();
        if self.changes.is_empty() || dice.below(2) == 0 {
            return random(dice, length);
        }
        let around = *dice.one(&self.changes) + random(dice, 2_000);
        around.saturating_sub(1_500).min(length - 1)
    }
}

#[test]
fn a_time_on_the_wall_is_the_first_minute_that_shows_it_or_more() {
    let mut skipped = 0;
    for (index, zone, walk) in Walk::all() {
        let mut dice = Dice::new(index);
        let last = walk.minutes[walk.minutes.len() - 1].1;
        for _ in 0..120 {
            // Also times that the wall never shows.
            let near = walk.minutes[walk.any(&mut dice)].1;
            let local = near + i64::try_from(dice.below(300)).unwrap().minutes();
            if local > last {
                continue;
            }
            assert_eq!(zone.instant(local), walk.first(local), "{zone} {local}");
            let shown = walk.minutes.iter().any(|(_, shown)| *shown == local);
            assert_eq!(zone.skips(local), !shown, "{zone} {local}");
            skipped += u32::from(!shown);
        }
    }
    assert!(skipped > 10, "only {skipped} were skipped by a clock");
}

#[test]
fn days_and_weeks_keep_the_time_on_the_wall_and_hours_do_not() {
    let mut compared = 0;
    for (index, zone, walk) in Walk::all() {
        let mut dice = Dice::new(100 + index);
        for _ in 0..100 {
            let (from, local) = walk.minutes[walk.any(&mut dice)];
            let days = 1 + u32::try_from(dice.below(6)).unwrap();
            if let Some(wanted) = walk.first(local + i64::from(days).days()) {
                let found = Span::Days(days).after(from, &zone);
                assert_eq!(found, wanted, "{zone} {from} {days}d");
                compared += 1;
            }
            let hours = dice.below(200);
            let later = from + SignedDuration::from_hours(i64::try_from(hours).unwrap());
            assert_eq!(Span::Exact(hours * 3_600).after(from, &zone), later);
        }
    }
    assert!(compared > 1_000, "only {compared} were compared");
}

/// One field of cron: its text, and the numbers that fit.
fn field(dice: &mut Dice, least: u64, most: u64) -> (String, BTreeSet<u64>) {
    let span = most - least + 1;
    match dice.below(5) {
        0 | 1 => ("*".to_owned(), (least..=most).collect()),
        2 => {
            let value = least + dice.below(span);
            (value.to_string(), BTreeSet::from([value]))
        }
        3 => {
            let from = least + dice.below(span);
            let to = from + dice.below(most - from + 1);
            let step = 1 + dice.below(5);
            let step_by = usize::try_from(step).unwrap();
            (format!("{from}-{to}/{step}"), (from..=to).step_by(step_by).collect())
        }
        _ => {
            let all: BTreeSet<u64> = (0..3).map(|_| least + dice.below(span)).collect();
            let text: Vec<String> = all.iter().map(ToString::to_string).collect();
            (text.join(","), all)
        }
    }
}

#[test]
fn cron_is_due_when_a_walk_through_every_minute_says_so() {
    let mut compared = 0;
    for (index, zone, walk) in Walk::all() {
        for round in 0..6 {
            let seed = index * 100 + round;
            let mut dice = Dice::new(seed);
            let (minute, minutes) = field(&mut dice, 0, 59);
            let (hour, hours) = field(&mut dice, 0, 23);
            // No month is without the 28th, and a star has all of them.
            let (day, mut days) = field(&mut dice, 1, 28);
            if day == "*" {
                days.extend(29..=31);
            }
            let (month, months) = match dice.below(4) {
                0 => field(&mut dice, 1, 12),
                _ => ("*".to_owned(), (1..=12).collect()),
            };
            let (weekday, weekdays) = field(&mut dice, 0, 6);
            let text = format!("{minute} {hour} {day} {month} {weekday}");
            let cron = Cron::parse(&text).unwrap();
            let has =
                |set: &BTreeSet<u64>, number: i8| set.contains(&u64::from(number.unsigned_abs()));
            let times = walk.times(|local| {
                let by_day = has(&days, local.day());
                let by_week = has(&weekdays, local.weekday().to_sunday_zero_offset());
                let fits = match (day.as_str(), weekday.as_str()) {
                    ("*", _) | (_, "*") => by_day && by_week,
                    _ => by_day || by_week,
                };
                has(&minutes, local.minute())
                    && has(&hours, local.hour())
                    && has(&months, local.month())
                    && fits
            });
            for _ in 0..40 {
                let from = walk.minutes[walk.any(&mut dice)].0;
                let wanted = times.iter().find(|time| **time > from);
                let Some(wanted) = wanted else { continue };
                let found = cron.next(from, &zone);
                assert_eq!(found, Some(*wanted), "`{text}` in {zone} after {from}, seed {seed}");
                compared += 1;
            }
        }
    }
    assert!(compared > 1_000, "only {compared} were compared");
}

/// Rules about when, as text, with what they say about a minute.
type Rule = (Hours, Box<dyn Fn(DateTime) -> bool>);

fn rule(dice: &mut Dice, zone: &Zone, walk: &Walk) -> Rule {
    const DAYS: [(&str, Weekday); 7] = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    let two = |dice: &mut Dice, end| {
        let first = dice.below(end);
        let second = (first + 1 + dice.below(end - 1)) % end;
        (first, second)
    };
    if dice.below(4) == 0 {
        let (first, last) = two(dice, 20);
        let (first, last) = (first.min(last), first.max(last));
        let begin = walk.minutes[0].1.date();
        let day = |ahead: u64| begin + i64::try_from(ahead).unwrap().days();
        let (first, last) = (day(first), day(last));
        if dice.below(2) == 0 {
            let text = format!("{first}..{last}");
            let fits = move |local: DateTime| !(first <= local.date() && local.date() <= last);
            return (Hours::blackout(&text, zone).unwrap(), Box::new(fits));
        }
        // Backwards: over the end of the year.
        let text = format!("{}..{}", &last.to_string()[5..], &first.to_string()[5..]);
        let (from, to) = ((last.month(), last.day()), (first.month(), first.day()));
        let fits = move |local: DateTime| {
            let day = (local.month(), local.day());
            if from <= to { day < from || to < day } else { to < day && day < from }
        };
        return (Hours::blackout(&text, zone).unwrap(), Box::new(fits));
    }
    let (first, count) = (dice.below(7), dice.below(7));
    let days: Vec<usize> =
        (0..=count).map(|ahead| usize::try_from((first + ahead) % 7).unwrap()).collect();
    let last = days[days.len() - 1];
    let (from, to) = two(dice, 1_440);
    let clock = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
    let first = days[0];
    let text = format!("{}-{} {}-{}", DAYS[first].0, DAYS[last].0, clock(from), clock(to));
    let begins = move |day: Weekday| days.iter().any(|index| DAYS[*index].1 == day);
    let within = move |local: DateTime| {
        let minute =
            u64::try_from(i64::from(local.hour()) * 60 + i64::from(local.minute())).unwrap();
        if from < to {
            begins(local.weekday()) && from <= minute && minute < to
        } else {
            begins(local.weekday()) && from <= minute
                || begins(local.weekday().previous()) && minute < to
        }
    };
    if dice.below(2) == 0 {
        (Hours::window(&text, zone).unwrap(), Box::new(within))
    } else {
        (Hours::blackout(&text, zone).unwrap(), Box::new(move |local| !within(local)))
    }
}

#[test]
fn windows_and_blackouts_open_and_shut_at_the_minutes_that_a_walk_finds() {
    let mut found = 0;
    for (index, zone, walk) in Walk::all() {
        for round in 0..10 {
            let seed = 5_000 + index * 100 + round;
            let mut dice = Dice::new(seed);
            let rules: Vec<Rule> =
                (0..=dice.below(3)).map(|_| rule(&mut dice, &zone, &walk)).collect();
            let (hours, fits): (Vec<_>, Vec<_>) = rules.into_iter().unzip();
            let allowed: Vec<bool> = walk
                .minutes
                .iter()
                .map(|(_, local)| fits.iter().all(|fits| fits(*local)))
                .collect();
            for _ in 0..20 {
                let from = walk.any(&mut dice);
                let what = || {
                    format!("{hours:?} in {} from {}, seed {seed}", walk.zone, walk.minutes[from].0)
                };
                let open = (from..allowed.len()).find(|index| allowed[*index]);
                // What lies behind the walk's end was not looked at.
                let Some(open) = open else { continue };
                let begin = walk.minutes[open].0;
                assert_eq!(next_allowed(&hours, walk.minutes[from].0), Some(begin), "{}", what());
                let end = walk.minutes[allowed.len() - 1].0;
                let shut = (open..allowed.len()).find(|index| !allowed[*index]);
                let shut = shut.map_or(end, |index| walk.minutes[index].0);
                assert_eq!(next_refused(&hours, begin, end), shut, "{}", what());
                found += 1;
            }
        }
    }
    assert!(found > 1_000, "only {found} were compared");
}
