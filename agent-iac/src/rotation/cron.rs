//! Times by the five fields of cron.

use std::fmt;

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, DateTime, Time},
};
use serde::{Serialize, Serializer};

use super::{
    mistake::{Mistake, words},
    zone::Zone,
};
use crate::address::quoted;

/// The minutes of a calendar at which something is due: minute, hour, day of
/// the month, month and day of the week, as cron has them.
///
/// Each field takes `*`, numbers, ranges, steps and lists; months and days of
/// the week also their English names. Where both days are restricted, either
/// suffices, as in cron.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u32,
    days: u32,
    months: u16,
    weekdays: u8,
    // Whether a day has to fit both fields or one of them: a field that begins
    // with a star restricts nothing by itself.
    either: bool,
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
pub(super) const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of the month", least: 1, most: 31, names: &[] },
    Field { name: "month", least: 1, most: 12, names: &MONTHS },
    Field { name: "day of the week", least: 0, most: 7, names: &WEEKDAYS },
];

/// The 29th of February is at most eight years away.
const LONGEST_GAP: i16 = 8;

impl Cron {
    /// Reads five fields.
    ///
    /// # Errors
    ///
    /// A field is malformed, with its column, or no day fits all of them.
    ///
    /// # Panics
    ///
    /// Never: no field has a value that does not fit its set.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let words = words(text);
        if words.len() != FIELDS.len() {
            let count = words.len();
            let fields = if count == 1 { "field" } else { "fields" };
            return Err(Mistake::new(
                format!("{} has {count} {fields}, and cron has five", quoted(text)),
                "write minute, hour, day of the month, month and day of the week, as `0 3 * * mon`",
            ));
        }
        let mut sets = [0_u64; 5];
        for ((field, (at, word)), set) in FIELDS.iter().zip(&words).zip(&mut sets) {
            *set = field.parse(word).map_err(|mistake| mistake.moved(*at))?;
        }
        let star = |index: usize| words[index].1.starts_with('*');
        let [minutes, hours, days, months, weekdays] = sets;
        // Sunday is both 0 and 7.
        let weekdays = weekdays | weekdays >> 7;
        let cron = Self {
            text: words.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(" "),
            minutes,
            hours: u32::try_from(hours).expect("hours fit 24 bits"),
            days: u32::try_from(days).expect("days fit 32 bits"),
            months: u16::try_from(months).expect("months fit 13 bits"),
            weekdays: u8::try_from(weekdays & 0x7f).expect("seven bits are left"),
            either: !star(2) && !star(4),
        };
        // A leap year that begins a cycle has every date that there is.
        let begin = Date::constant(2000, 1, 1);
        if cron.next_day(begin).is_none() {
            return Err(Mistake::new(
                format!("no month of {} has a day {}", words[3].1, words[2].1),
                "choose a day that the month has",
            )
            .at(words[2].0));
        }
        Ok(cron)
    }

    /// Whether it names every hour.
    pub(super) fn is_hourly(&self) -> bool {
        self.hours == 0xff_ffff
    }

    fn has_day(&self, date: Date) -> bool {
        let by_month = self.days >> date.day() & 1 == 1;
        let by_week = self.weekdays >> date.weekday().to_sunday_zero_offset() & 1 == 1;
        self.has_month(date) && if self.either { by_month || by_week } else { by_month && by_week }
    }

    fn has_month(&self, date: Date) -> bool {
        self.months >> date.month() & 1 == 1
    }

    /// The first day from this one on.
    fn next_day(&self, from: Date) -> Option<Date> {
        let end = from.year().checked_add(LONGEST_GAP)?;
        let mut day = from;
        while day.year() <= end {
            if !self.has_month(day) {
                day = day.last_of_month().tomorrow().ok()?;
            } else if self.has_day(day) {
                return Some(day);
            } else {
                day = day.tomorrow().ok()?;
            }
        }
        None
    }

    /// The first time on the wall from this one on.
    pub(super) fn next_local(&self, from: DateTime) -> Option<DateTime> {
        let day = self.next_day(from.date())?;
        let (hour, minute) = if day == from.date() { (from.hour(), from.minute()) } else { (0, 0) };
        let first = |set: u64, least: i8| {
            let rest = if least < 64 { set >> least << least } else { 0 };
            (rest != 0).then(|| i8::try_from(rest.trailing_zeros()).expect("at most 63"))
        };
        let time = |hour, minute| day.to_datetime(Time::constant(hour, minute, 0, 0));
        if self.hours >> hour & 1 == 1
            && let Some(minute) = first(self.minutes, minute)
        {
            return Some(time(hour, minute));
        }
        match first(u64::from(self.hours), hour + 1) {
            Some(hour) => Some(time(hour, first(self.minutes, 0)?)),
            None => self.next_local(day.tomorrow().ok()?.to_datetime(Time::midnight())),
        }
    }

    /// The first instant after another at which it is due in a zone.
    ///
    /// What falls into the hour that is skipped is due at the end of the gap,
    /// once; what falls into the hour that comes twice, the first time.
    pub fn next(&self, after: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let mut local = self.next_local(zone.local(after))?;
        loop {
            let at = zone.instant(local)?;
            if at > after {
                return Some(at);
            }
            local = self.next_local(local.checked_add(1.minute()).ok()?)?;
        }
    }
}

impl Field {
    fn parse(&self, text: &str) -> Result<u64, Mistake> {
        let mut set = 0;
        let mut at = 0;
        for part in text.split(',') {
            set |= self.part(part).map_err(|mistake| mistake.moved(at))?;
            at += part.len() + 1;
        }
        Ok(set)
    }

    /// `*`, a value or a range, and perhaps a step.
    fn part(&self, text: &str) -> Result<u64, Mistake> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => {
                let number = step.parse().ok().filter(|step| (1..=self.most).contains(step));
                let number = number.filter(|_| step.bytes().all(|byte| byte.is_ascii_digit()));
                let number = number.ok_or_else(|| {
                    let message = format!("{} is no step of a {}", quoted(step), self.name);
                    let help = format!("write a number from 1 to {}, as `*/15`", self.most);
                    Mistake::new(message, help).at(range.len() + 1)
                })?;
                (range, Some(number))
            }
            None => (text, None),
        };
        let (first, last) = if range == "*" {
            // Seven is Sunday again, and a step would count it twice.
            (self.least, if self.names.len() == 7 { 6 } else { self.most })
        } else if let Some((first, last)) = range.split_once('-') {
            let (from, to) = (self.value(first)?, self.value(last));
            let to = to.map_err(|mistake| mistake.moved(first.len() + 1))?;
            // `fri-sun`: a week may end with its Sunday.
            let to = if to == 0 && from > 0 && self.names.len() == 7 { 7 } else { to };
            if from > to {
                return Err(Mistake::new(
                    format!("the range {} runs backwards", quoted(range)),
                    format!("write two ranges, as `{first}-{},{}-{last}`", self.most, self.least),
                )
                .at(0));
            }
            (from, to)
        } else {
            let value = self.value(range)?;
            if step.is_some() {
                return Err(Mistake::new(
                    format!("{} steps from one value", quoted(text)),
                    format!("give a range, as `{range}-{}` or `*`, before the step", self.most),
                )
                .at(0));
            }
            (value, value)
        };
        let step = usize::try_from(step.unwrap_or(1)).expect("a step is at most 59");
        Ok((first..=last).step_by(step).fold(0, |set, value| set | 1 << value))
    }

    fn value(&self, text: &str) -> Result<u32, Mistake> {
        let name = text.to_ascii_lowercase();
        if let Some(index) = self.names.iter().position(|known| *known == name) {
            return Ok(u32::try_from(index).expect("there are twelve at most") + self.least);
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.filter(|number| (self.least..=self.most).contains(number)).ok_or_else(|| {
            let names = match self.names {
                [first, .., last] => format!(", or `{first}` to `{last}`"),
                _ => String::new(),
            };
            Mistake::new(
                format!("{} is no {}", quoted(text), self.name),
                format!("write a number from {} to {}{names}", self.least, self.most),
            )
            .at(0)
        })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
