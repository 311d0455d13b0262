//! Lengths of time and days, as declarations write them.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
};

/// A length of time: a whole number and a unit, `s`, `m`, `h`, `d` or `w`.
///
/// ```
/// use agent_iac::agent::Period;
///
/// let week: Period = "7d".parse()?;
/// assert_eq!(week, "1w".parse()?);
/// assert_eq!(week.to_string(), "1w");
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u64);

/// The longest period: a hundred years, so that no sum of a time and a period
/// leaves the calendar.
pub const MAX_SECONDS: u64 = 100 * 366 * 86_400;

/// Reads a period at compile time; `None` when it is malformed or longer than
/// [`MAX_SECONDS`].
pub const fn parse_period(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() < 2 || bytes.len() > 12 {
        return None;
    }
    let unit = match bytes[bytes.len() - 1] {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        b'w' => 604_800,
        _ => return None,
    };
    let mut number: u64 = 0;
    let mut i = 0;
    while i < bytes.len() - 1 {
        if !bytes[i].is_ascii_digit() {
            return None;
        }
        number = number * 10 + (bytes[i] - b'0') as u64;
        i += 1;
    }
    match number.checked_mul(unit) {
        Some(seconds) if seconds <= MAX_SECONDS => Some(seconds),
        _ => None,
    }
}

/// Whether `text` is a day as `2027-06-30`, at compile time.
pub const fn is_date(text: &str) -> bool {
    let b = text.as_bytes();
    if b.len() != 10 || b[4] != b'-' || b[7] != b'-' {
        return false;
    }
    let mut i = 0;
    while i < 10 {
        if i != 4 && i != 7 && !b[i].is_ascii_digit() {
            return false;
        }
        i += 1;
    }
    let year = (b[0] - b'0') as u32 * 1000
        + (b[1] - b'0') as u32 * 100
        + (b[2] - b'0') as u32 * 10
        + (b[3] - b'0') as u32;
    let month = (b[5] - b'0') * 10 + (b[6] - b'0');
    let day = (b[8] - b'0') * 10 + (b[9] - b'0');
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return false,
    };
    day >= 1 && day <= days
}

impl Period {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A number of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// A number of days of 24 hours.
    pub const fn days(days: u64) -> Self {
        Self(days * 86_400)
    }

    /// The length in seconds.
    pub const fn as_seconds(self) -> u64 {
        self.0
    }

    /// The length as the standard library has it.
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl FromStr for Period {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_period(text).map(Self).ok_or_else(|| {
            Error::new(ErrorKind::InvalidFleet, format!("{} is not a period", quoted(text)))
                .help("write a whole number and s, m, h, d or w, as `7d`, up to a hundred years")
        })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(604_800, "w"), (86_400, "d"), (3_600, "h"), (60, "m")];
        let unit = units.into_iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (unit, name) = unit.unwrap_or((1, "s"));
        write!(f, "{}{name}", self.0 / unit)
    }
}

// So that a key takes a period where it takes its text.
impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl From<&Period> for String {
    fn from(period: &Period) -> Self {
        period.to_string()
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_whole_number_and_a_unit() {
        #[track_caller]
        fn check(text: &str, seconds: u64, shown: &str) {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.as_seconds(), period.to_string().as_str()), (seconds, shown));
            assert_eq!(shown.parse::<Period>().unwrap(), period);
        }
        check("0d", 0, "0s");
        check("1s", 1, "1s");
        check("90s", 90, "90s");
        check("120s", 120, "2m");
        check("60m", 3_600, "1h");
        check("36h", 129_600, "36h");
        check("48h", 172_800, "2d");
        check("7d", 604_800, "1w");
        check("36600d", MAX_SECONDS, "36600d");
        for text in [
            "",
            "d",
            "7",
            "7 d",
            " 7d",
            "-7d",
            "+7d",
            "7.5d",
            "7D",
            "7y",
            "٧d",
            "36601d",
            "99999999999w",
            "184467440737w",
            "7d7h",
        ] {
            let error = text.parse::<Period>().unwrap_err();
            assert!(error.repair().is_some(), "{text}");
        }
    }

    #[test]
    fn a_day_is_one_that_the_calendar_has() {
        for day in ["2027-06-30", "2028-02-29", "2000-02-29", "0001-01-01", "9999-12-31"] {
            assert!(is_date(day), "{day}");
            assert!(day.parse::<jiff::civil::Date>().is_ok(), "{day}");
        }
        for day in [
            "",
            "2027-6-30",
            "2027-06-31",
            "2027-02-29",
            "1900-02-29",
            "2027-13-01",
            "2027-00-10",
            "2027-01-00",
            "27-01-01",
            "2027/01/01",
            "2027-01-01T",
            "２027-01-0",
        ] {
            assert!(!is_date(day), "{day}");
        }
    }
}
