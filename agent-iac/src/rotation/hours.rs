//! When something is allowed: windows and blackouts.

use std::fmt;

use jiff::{
    SignedDuration, Timestamp, ToSpan as _,
    civil::{Date, DateTime, Time},
};
use serde::{Serialize, Serializer};

use super::{
    cron::WEEKDAYS,
    mistake::{Mistake, parts},
    zone::Zone,
};
use crate::address::quoted;

const WEEK: u32 = 7 * 24 * 60;
const DAY: u32 = 24 * 60;

/// A rule about when something is allowed, on the wall clocks of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    text: String,
    zone: Zone,
    when: When,
    /// Whether it is allowed within these times, or outside of them.
    within: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    /// Minutes of the week from Monday, sorted and apart.
    Weekly(Vec<(u32, u32)>),
    /// From and until, the second not included.
    Once(DateTime, DateTime),
    /// Months and days, both included; the first may be behind the second.
    Yearly((i8, i8), (i8, i8)),
}

impl Hours {
    /// Reads a window: times of the day, with days of the week before them
    /// where it is not every day, as `mon-fri 22:00-04:00; sun 00:00-24:00`.
    /// What goes over midnight belongs to the day on which it begins. A zone of
    /// its own may stand at the end.
    ///
    /// # Errors
    ///
    /// It is not such a text.
    pub fn window(text: &str, zone: &Zone) -> Result<Self, Mistake> {
        let (text, zone) = zoned(text, zone)?;
        let when = When::Weekly(weekly(text)?);
        Ok(Self { text: normal(text), zone, when, within: true })
    }

    /// Reads a blackout: a day or days of one year (`2026-12-20..2027-01-03`),
    /// times of one year (`2026-12-24T18:00..2026-12-27T06:00`, the second not
    /// included), days of every year (`12-20..01-03`), or times of the week as
    /// a window has them.
    ///
    /// # Errors
    ///
    /// It is none of these.
    pub fn blackout(text: &str, zone: &Zone) -> Result<Self, Mistake> {
        let (text, zone) = zoned(text, zone)?;
        let trimmed = text.trim();
        let by_date = trimmed.contains("..")
            || trimmed.starts_with(|first: char| first.is_ascii_digit())
                && (trimmed.contains('T') || !trimmed.contains(':'));
        let when = if by_date { once_or_yearly(text)? } else { When::Weekly(weekly(text)?) };
        Ok(Self { text: normal(text), zone, when, within: false })
    }

    /// Its zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Whether it is a blackout, and no window.
    pub fn is_blackout(&self) -> bool {
        !self.within
    }

    /// Whether it is a blackout of days on the calendar, and not of the week.
    pub(super) fn is_dated(&self) -> bool {
        !self.within && !matches!(self.when, When::Weekly(_))
    }

    /// What of a window lies as a whole within some hours of one day: from and
    /// until.
    pub(super) fn within(&self, from: DateTime, until: DateTime) -> Option<(DateTime, DateTime)> {
        let When::Weekly(times) = &self.when else { return None };
        let start = minute_of_week(from);
        let length = u32::try_from(until.duration_since(from).as_mins()).ok()?;
        let (first, last) =
            times.iter().find(|(first, last)| start <= *first && *last <= start + length)?;
        let at = |minute: u32| from.checked_add(i64::from(minute - start).minutes()).ok();
        Some((at(*first)?, at(*last)?))
    }

    /// Whether it allows something at an instant.
    pub fn allow(&self, at: Timestamp) -> bool {
        self.when.contains(self.zone.local(at)) == self.within
    }

    /// The next instant at which that may change.
    fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        let offset = self.zone.offset(at);
        let shift = self.zone.next_change(at);
        let local = offset.to_datetime(at);
        // While the offset stays, the wall clock runs as time does.
        let by_clock =
            self.when.next_boundary(local).and_then(|boundary| offset.to_timestamp(boundary).ok());
        match (by_clock, shift) {
            (Some(clock), Some(shift)) => Some(clock.min(shift)),
            (clock, shift) => clock.or(shift),
        }
    }
}

impl When {
    fn contains(&self, local: DateTime) -> bool {
        match self {
            Self::Weekly(times) => {
                let minute = minute_of_week(local);
                times.iter().any(|(from, to)| (*from..*to).contains(&minute))
            }
            Self::Once(from, to) => *from <= local && local < *to,
            Self::Yearly(from, to) => {
                let day = (local.month(), local.day());
                if from <= to { *from <= day && day <= *to } else { *from <= day || day <= *to }
            }
        }
    }

    fn next_boundary(&self, local: DateTime) -> Option<DateTime> {
        match self {
            Self::Weekly(times) => {
                let minute = minute_of_week(local);
                let boundaries = times.iter().flat_map(|(from, to)| [*from, *to]);
                let ahead = boundaries
                    .map(|boundary| match (boundary + WEEK - minute) % WEEK {
                        0 => WEEK,
                        ahead => ahead,
                    })
                    .min()?;
                let minute =
                    local.date().to_datetime(Time::constant(local.hour(), local.minute(), 0, 0));
                minute.checked_add(i64::from(ahead).minutes()).ok()
            }
            Self::Once(from, to) => [*from, *to].into_iter().find(|boundary| *boundary > local),
            Self::Yearly(from, to) => {
                let years = [local.year(), local.year().checked_add(1)?];
                let days = years.into_iter().flat_map(|year| {
                    [first_from(year, *from), first_from(year, *to).and_then(behind(*to))]
                });
                days.flatten()
                    .map(|day| day.to_datetime(Time::midnight()))
                    .filter(|boundary| *boundary > local)
                    .min()
            }
        }
    }
}

/// The first day of a year that is not before a month and day: the 29th of
/// February is the 1st of March where there is none.
fn first_from(year: i16, (month, day): (i8, i8)) -> Option<Date> {
    Date::new(year, month, day)
        .or_else(|_| Date::new(year, month, 1)?.last_of_month().tomorrow())
        .ok()
}

/// The day behind the last one.
fn behind(last: (i8, i8)) -> impl Fn(Date) -> Option<Date> {
    move |day| if (day.month(), day.day()) == last { day.tomorrow().ok() } else { Some(day) }
}

fn minute_of_week(local: DateTime) -> u32 {
    let day = u32::from(local.weekday().to_monday_zero_offset().unsigned_abs());
    day * DAY
        + u32::from(local.hour().unsigned_abs()) * 60
        + u32::from(local.minute().unsigned_abs())
}

/// The zone at the end of a text, which begins with a capital letter as no day
/// or time does, and what stands before it.
fn zoned<'t>(text: &'t str, otherwise: &Zone) -> Result<(&'t str, Zone), Mistake> {
    let trimmed = text.trim_end();
    match trimmed.rsplit_once(' ') {
        Some((before, name)) if name.starts_with(|first: char| first.is_ascii_uppercase()) => {
            let zone = Zone::named(name).map_err(|mistake| mistake.at(before.len() + 1))?;
            Ok((before.trim_end(), zone))
        }
        _ => Ok((text, otherwise.clone())),
    }
}

fn normal(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn weekly(text: &str) -> Result<Vec<(u32, u32)>, Mistake> {
    let mut times = Vec::new();
    for (at, part) in parts(text, ';') {
        let (days, hours) = match part.rsplit_once(' ') {
            Some((days, hours)) => (Some(days.trim_end()), hours),
            None => (None, part),
        };
        let days = match days {
            Some(days) => weekdays(days).map_err(|mistake| mistake.moved(at))?,
            None => [true; 7],
        };
        let (from, to) =
            times_of_day(hours).map_err(|mistake| mistake.moved(at + part.len() - hours.len()))?;
        for day in (0..7).filter(|day| days[*day as usize]) {
            let (from, to) = (day * DAY + from, day * DAY + to);
            // The night from Sunday to Monday has two parts in a week.
            times.push((from, to.min(WEEK)));
            if to > WEEK {
                times.push((0, to - WEEK));
            }
        }
    }
    times.sort_unstable();
    let mut apart: Vec<(u32, u32)> = Vec::new();
    for (from, to) in times {
        match apart.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => apart.push((from, to)),
        }
    }
    Ok(apart)
}

/// Days from Monday; the text has them as names, in lists and ranges.
fn weekdays(text: &str) -> Result<[bool; 7], Mistake> {
    let mut days = [false; 7];
    for (at, part) in parts(text, ',') {
        let day = |name: &str, at: usize| {
            let known = WEEKDAYS.iter().position(|known| *known == name.to_ascii_lowercase());
            known.map(|sunday| (sunday + 6) % 7).ok_or_else(|| {
                let message = format!("{} is no day of the week", quoted(name));
                Mistake::new(message, "write `mon` to `sun`, as `mon-fri 02:00-06:00`").at(at)
            })
        };
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let from = day(first, at)?;
        let to = day(last, at + part.len() - last.len())?;
        // `fri-mon` goes over the end of the week.
        let count = (to + 7 - from) % 7;
        for ahead in 0..=count {
            days[(from + ahead) % 7] = true;
        }
    }
    Ok(days)
}

/// Minutes of the day; the second is behind the first, perhaps on the next day.
fn times_of_day(text: &str) -> Result<(u32, u32), Mistake> {
    let (first, last) = text.split_once('-').ok_or_else(|| {
        Mistake::new(format!("{} is no time from and until", quoted(text)), "write `02:00-06:00`")
            .at(0)
    })?;
    let from = time_of_day(first)?;
    let to = time_of_day(last).map_err(|mistake| mistake.moved(first.len() + 1))?;
    if from == to || from == DAY {
        return Err(Mistake::new(
            format!("{} is no time at all", quoted(text)),
            "write `00:00-24:00` for the whole day",
        )
        .at(0));
    }
    Ok((from, if to < from { to + DAY } else { to }))
}

fn time_of_day(text: &str) -> Result<u32, Mistake> {
    let number = |text: &str, most: u32| {
        let sound = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|number| sound && *number <= most)
    };
    let read = text
        .split_once(':')
        .and_then(|(hour, minute)| Some(number(hour, 24)? * 60 + number(minute, 59)?));
    read.filter(|minutes| *minutes <= DAY).ok_or_else(|| {
        let message = format!("{} is no time of the day", quoted(text));
        Mistake::new(message, "write hours and minutes as `02:00`, from `00:00` to `24:00`").at(0)
    })
}

fn once_or_yearly(text: &str) -> Result<When, Mistake> {
    let indent = text.len() - text.trim_start().len();
    let trimmed = text.trim();
    let (first, last) = trimmed.split_once("..").unwrap_or((trimmed, trimmed));
    let at = indent + trimmed.len() - last.len();
    if let (Some(from), Some(to)) = (yearly(first), yearly(last)) {
        return Ok(When::Yearly(from, to));
    }
    let no_day = |text: &str| {
        Mistake::new(
            format!("{} is no day or time", quoted(text)),
            "write both as `2026-12-24`, `2026-12-24T18:00` or, for every year, `12-24`",
        )
    };
    let (from, _) = moment(first).ok_or_else(|| no_day(first).at(indent))?;
    let (to, whole_day) = moment(last).ok_or_else(|| no_day(last).at(at))?;
    let to = if whole_day { to.checked_add(1.day()).ok() } else { Some(to) };
    match to {
        Some(to) if from < to => Ok(When::Once(from, to)),
        _ => Err(Mistake::new(
            format!("{} ends before it begins", quoted(trimmed)),
            "write the earlier first",
        )
        .at(indent)),
    }
}

/// A month and a day that some year has.
fn yearly(text: &str) -> Option<(i8, i8)> {
    let (month, day) = text.split_once('-')?;
    let number = |text: &str| {
        let sound = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i8>().ok().filter(|_| sound)
    };
    let (month, day) = (number(month)?, number(day)?);
    Date::new(2000, month, day).ok().map(|_| (month, day))
}

/// A time of one year, and whether only its day was said.
fn moment(text: &str) -> Option<(DateTime, bool)> {
    if crate::agent::is_date(text) {
        let date: Date = text.parse().ok()?;
        return Some((date.to_datetime(Time::midnight()), true));
    }
    let (date, time) = text.split_once('T')?;
    if !crate::agent::is_date(date) {
        return None;
    }
    let date: Date = date.parse().ok()?;
    let minutes = time_of_day(time).ok()?;
    let start = date.to_datetime(Time::midnight());
    start.checked_add(i64::from(minutes).minutes()).ok().map(|at| (at, false))
}

/// Whether every rule allows something at an instant.
pub(super) fn all_allow(rules: &[Hours], at: Timestamp) -> bool {
    rules.iter().all(|rule| rule.allow(at))
}

/// How far ahead an allowed instant is looked for.
const HORIZON: SignedDuration = SignedDuration::from_hours(10 * 366 * 24);

/// The first instant from this one on that every rule allows; `None` when
/// there is none within ten years.
pub(super) fn next_allowed(rules: &[Hours], at: Timestamp) -> Option<Timestamp> {
    let end = at.checked_add(HORIZON).unwrap_or(Timestamp::MAX);
    let mut at = at;
    while at <= end {
        // What refuses decides by itself until it changes.
        match rules.iter().filter(|rule| !rule.allow(at)).map(|rule| rule.next_change(at)).max() {
            None => return Some(at),
            Some(change) => at = change?,
        }
    }
    None
}

/// The first instant behind this one, and not behind the other, that some
/// rule refuses; the other when there is none.
pub(super) fn next_refused(rules: &[Hours], at: Timestamp, end: Timestamp) -> Timestamp {
    let mut at = at;
    while at < end && all_allow(rules, at) {
        match rules.iter().filter_map(|rule| rule.next_change(at)).min() {
            Some(change) => at = change,
            None => return end,
        }
    }
    at.min(end)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.zone)
    }
}

impl Serialize for Hours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
