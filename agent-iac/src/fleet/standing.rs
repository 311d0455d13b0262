//! What may happen to a fleet while nobody watches.

use std::{collections::BTreeSet, fmt, str::FromStr};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
};

/// One thing that a fleet may let happen while nobody watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Unattended {
    /// To take back what widened access by hand, where the resource is declared
    /// with `on_drift = "revert_widening"`.
    Narrow,
    /// To stop agents whose last day is over, and to remove what is left of
    /// agents that leave once their grace is over.
    Retire,
    /// To renew credentials that are declared with `rotate`, and to end what
    /// they replaced.
    Rotate,
}

impl Unattended {
    /// All of them, by name.
    pub const ALL: [Self; 3] = [Self::Narrow, Self::Retire, Self::Rotate];

    /// Its name in a text fleet.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Narrow => "narrow",
            Self::Retire => "retire",
            Self::Rotate => "rotate",
        }
    }
}

impl fmt::Display for Unattended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Unattended {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|may| may.as_str() == text).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidFleet,
                format!("{} is nothing that may happen unattended", quoted(text)),
            )
            .help("write `rotate`, `narrow` or `retire`")
        })
    }
}

/// The standing authority of a fleet: what may happen while nobody watches,
/// and until when. Nothing of it ever gives anybody access.
///
/// It is a part of the [`Rules`](super::Rules), so it stands in the digest of
/// each plan that somebody acknowledges. Which resources are concerned, their
/// own declarations say (`rotate`, `on_drift`, `expires`).
///
/// ```
/// use agent_iac::fleet::{Fleet, Rules, Standing, Unattended};
///
/// let standing = Standing::of([Unattended::Rotate, Unattended::Narrow])
///     .until("2027-06-30".parse().unwrap());
/// let mut fleet = Fleet::new("billing");
/// fleet.rules(Rules { standing, ..Rules::default() });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What may happen.
    pub may: BTreeSet<Unattended>,
    /// The last day on which it may, in universal time; for ever unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

impl Standing {
    /// Lets these happen.
    pub fn of(may: impl IntoIterator<Item = Unattended>) -> Self {
        Self { may: may.into_iter().collect(), until: None }
    }

    /// Lets all of it happen.
    pub fn whole() -> Self {
        Self::of(Unattended::ALL)
    }

    /// Says the last day.
    #[must_use]
    pub fn until(mut self, day: Date) -> Self {
        self.until = Some(day);
        self
    }

    /// Whether nothing may happen unattended.
    pub fn is_absent(&self) -> bool {
        self.may.is_empty()
    }

    /// When it is over; `None` when it has no end.
    pub fn ends(&self) -> Option<Timestamp> {
        let next = self.until?.tomorrow().ok()?;
        TimeZone::UTC.to_timestamp(next.at(0, 0, 0, 0)).ok()
    }

    /// Whether something may happen at an instant.
    pub fn lets(&self, what: Unattended, now: Timestamp) -> bool {
        self.may.contains(&what) && self.ends().is_none_or(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lets_what_it_names_happen_until_its_last_day_is_over() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let standing = Standing::of([Unattended::Rotate]).until("2027-06-30".parse().unwrap());
        assert!(standing.lets(Unattended::Rotate, at("2027-06-30T23:59:59Z")));
        assert!(!standing.lets(Unattended::Rotate, at("2027-07-01T00:00:00Z")));
        assert!(!standing.lets(Unattended::Narrow, at("2027-01-01T00:00:00Z")));
        assert!(Standing::whole().lets(Unattended::Retire, at("2999-01-01T00:00:00Z")));
        assert!(Standing::default().is_absent());
    }

    #[test]
    fn each_is_read_by_the_name_that_it_is_written_by() {
        for may in Unattended::ALL {
            assert_eq!(may.to_string().parse::<Unattended>().unwrap(), may);
            assert_eq!(serde_json::to_value(may).unwrap(), may.as_str());
        }
        assert!("widen".parse::<Unattended>().is_err());
    }
}
