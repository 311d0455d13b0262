//! Time zones, and what a time on the wall means in one.

use std::fmt;

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase},
};
use serde::{Serialize, Serializer};

use super::mistake::Mistake;
use crate::{address::quoted, diagnostic::nearest};

/// A time zone by its name in the IANA database, as `Europe/Berlin`.
///
/// The database is compiled in and the machine's is never read, so that a
/// fleet has one calendar wherever it is validated.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    tz: TimeZone,
}

impl Zone {
    /// Coordinated universal time: what holds where no zone is said.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), tz: TimeZone::UTC }
    }

    /// The zone of this name.
    ///
    /// # Errors
    ///
    /// It is not in the database; the nearest name is suggested.
    pub fn named(name: &str) -> Result<Self, Mistake> {
        if name == "UTC" {
            return Ok(Self::utc());
        }
        let database = TimeZoneDatabase::bundled();
        let found = database.get(name).ok();
        // A lookup takes any case, and a name has one form in a digest.
        if let Some(tz) = found.filter(|tz| tz.iana_name() == Some(name)) {
            return Ok(Self { name: name.to_owned(), tz });
        }
        let lower = name.to_ascii_lowercase();
        let known: Vec<String> = database.available().map(|name| name.to_string()).collect();
        let near = known
            .iter()
            .find(|known| known.to_ascii_lowercase() == lower)
            .cloned()
            .or_else(|| nearest(name, &known));
        let help = near.map_or_else(
            || "write a name of the IANA database, as `Europe/Berlin`, or `UTC`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        Err(Mistake::new(format!("there is no time zone {}", quoted(name)), help))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the clock on the wall shows at an instant.
    pub fn local(&self, at: Timestamp) -> DateTime {
        self.tz.to_datetime(at)
    }

    /// The offset from universal time at an instant.
    pub(super) fn offset(&self, at: Timestamp) -> Offset {
        self.tz.to_offset(at)
    }

    /// The first instant at which the clock on the wall shows `local` or more.
    ///
    /// A time that is skipped when clocks go forward therefore means the end
    /// of the gap, and one that comes twice means the first. `None` at the end
    /// of the calendar.
    pub fn instant(&self, local: DateTime) -> Option<Timestamp> {
        match self.tz.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { before, .. } => {
                // By the clock of before, the instant lies at the gap's end or
                // less than the gap's length behind it.
                let behind = before.to_timestamp(local).ok()? + jiff::SignedDuration::from_secs(1);
                self.tz.preceding(behind).next().map(|transition| transition.timestamp())
            }
        }
    }

    /// Whether the clock on the wall never shows `local`.
    pub fn skips(&self, local: DateTime) -> bool {
        matches!(self.tz.to_ambiguous_timestamp(local).offset(), AmbiguousOffset::Gap { .. })
    }

    /// The next instant at which the offset may change.
    pub(super) fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        self.tz.following(after).next().map(|transition| transition.timestamp())
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}
