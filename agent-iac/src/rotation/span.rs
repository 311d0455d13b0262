//! Lengths of time that know whether they count days or hours.

use std::fmt;

use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::{Serialize, Serializer};

use super::{mistake::Mistake, zone::Zone};
use crate::{address::quoted, agent::Period};

/// A length of time as a policy speaks of it: days and weeks on the calendar
/// of its zone, hours, minutes and seconds exactly.
///
/// A day in the zone has 23 or 25 hours when its clocks are changed, so `1d`
/// and `24h` differ there: the first keeps the hour of the day.
///
/// ```
/// use agent_iac::rotation::{Span, Zone};
///
/// let berlin = Zone::named("Europe/Berlin").map_err(|it| it.message)?;
/// let saturday: jiff::Timestamp = "2027-03-27T12:00:00+01:00".parse().unwrap();
/// let day = Span::parse("1d").map_err(|it| it.message)?;
/// let hours = Span::parse("24h").map_err(|it| it.message)?;
/// assert_eq!(day.after(saturday, &berlin), "2027-03-28T12:00:00+02:00".parse().unwrap());
/// assert_eq!(hours.after(saturday, &berlin), "2027-03-28T13:00:00+02:00".parse().unwrap());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Seconds, whatever the calendar says.
    Exact(u64),
    /// Days of the calendar.
    Days(u32),
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self::Exact(0);

    /// Reads a whole number and s, m, h, d or w.
    ///
    /// # Errors
    ///
    /// It is not such a text.
    ///
    /// # Panics
    ///
    /// Never: a period has a hundred years at most.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let period: Period = text.parse().map_err(|error: crate::Error| {
            Mistake::period(
                format!("{} is not a period", quoted(text)),
                error.repair().unwrap_or_default(),
            )
        })?;
        let seconds = period.as_seconds();
        Ok(if text.ends_with(['d', 'w']) {
            Self::Days(u32::try_from(seconds / 86_400).expect("a period has a hundred years"))
        } else {
            Self::Exact(seconds)
        })
    }

    /// Its length in seconds where every day has 24 hours.
    pub const fn nominal(self) -> u64 {
        match self {
            Self::Exact(seconds) => seconds,
            Self::Days(days) => days as u64 * 86_400,
        }
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.nominal() == 0
    }

    /// The instant that lies so long after another.
    ///
    /// Days keep the time on the wall; where that time is skipped, it is the
    /// end of the gap, and where it comes twice, the first.
    pub fn after(self, at: Timestamp, zone: &Zone) -> Timestamp {
        let sum = match self {
            Self::Exact(seconds) => exact(at, seconds),
            Self::Days(0) => Some(at),
            Self::Days(days) => zone
                .local(at)
                .checked_add(i64::from(days).days())
                .ok()
                .and_then(|local| zone.instant(local)),
        };
        // Only a time of the last century before the year 10000 gets here.
        sum.unwrap_or(Timestamp::MAX)
    }
}

fn exact(at: Timestamp, seconds: u64) -> Option<Timestamp> {
    at.checked_add(SignedDuration::from_secs(i64::try_from(seconds).ok()?)).ok()
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exact(seconds) => {
                let units = [(3_600, "h"), (60, "m")];
                let unit = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
                let (unit, name) = unit.filter(|_| seconds > 0).unwrap_or((1, "s"));
                write!(f, "{}{name}", seconds / unit)
            }
            Self::Days(days) if days > 0 && days.is_multiple_of(7) => write!(f, "{}w", days / 7),
            Self::Days(days) => write!(f, "{days}d"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
