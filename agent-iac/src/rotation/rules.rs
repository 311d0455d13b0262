//! What holds for the rotations of a whole fleet.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, Serializer};

use super::{hours::Hours, mistake::Mistake, span::Span, zone::Zone};
use crate::address::quoted;

/// What a fleet says about all its rotations, as it was written.
///
/// ```
/// use agent_iac::{
///     fleet::{Fleet, Rules},
///     rotation::FleetTerms,
/// };
///
/// let mut terms = FleetTerms { zone: Some("Europe/Berlin".into()), ..FleetTerms::default() };
/// terms.blackouts.push("12-20..01-03".into());
/// terms.rates.insert("authority".into(), "30/m".into());
/// let mut fleet = Fleet::new("billing");
/// fleet.rules(Rules { rotation: terms, ..Rules::default() });
/// # assert!(fleet.blueprint("test").is_err(), "it has no such provider");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetTerms {
    /// The time zone of all that says no other; UTC unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// When any credential may be rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// When none may be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blackouts: Vec<String>,
    /// How many rotations a provider takes, by its name, as `30/m`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<String, String>,
}

impl FleetTerms {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How many rotations a provider takes in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub rotations: u32,
    /// In how many seconds.
    pub seconds: u64,
}

impl Rate {
    /// Reads a number and a unit, `s`, `m`, `h` or `d`, as `30/m`, or a length
    /// of time, as `100/6h`.
    ///
    /// # Errors
    ///
    /// It is not such a text.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let broken = || {
            Mistake::new(
                format!("{} is no rate", quoted(text)),
                "write how many rotations in which time, as `30/m` or `100/6h`",
            )
        };
        let (number, length) = text.split_once('/').ok_or_else(broken)?;
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let rotations = number.parse().ok().filter(|number| digits && *number > 0);
        let length = match length {
            "s" | "m" | "h" | "d" => Span::parse(&format!("1{length}")),
            length => Span::parse(length),
        };
        let seconds = length.ok().map(Span::nominal).filter(|seconds| *seconds > 0);
        match (rotations, seconds) {
            (Some(rotations), Some(seconds)) => Ok(Self { rotations, seconds }),
            _ => Err(broken()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.rotations, Span::Exact(self.seconds))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// [`FleetTerms`], understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPolicy {
    /// The zone of what says no other.
    pub zone: Zone,
    /// The fleet's window and blackouts.
    pub hours: Vec<Hours>,
    /// What each provider takes.
    pub rates: BTreeMap<String, Rate>,
}

impl Default for FleetPolicy {
    fn default() -> Self {
        Self { zone: Zone::utc(), hours: Vec::new(), rates: BTreeMap::new() }
    }
}

impl FleetPolicy {
    /// Reads what a fleet says; what is wrong is reported with its key and
    /// left out.
    pub fn read(terms: &FleetTerms, mut report: impl FnMut(&str, Mistake)) -> Self {
        let mut policy = Self::default();
        let mut sound = |key: &str, mistake: Mistake| report(key, mistake);
        if let Some(zone) = &terms.zone {
            match Zone::named(zone) {
                Ok(zone) => policy.zone = zone,
                Err(mistake) => sound("zone", mistake),
            }
        }
        let window = terms.window.iter().map(|text| ("window", Hours::window(text, &policy.zone)));
        let blackouts =
            terms.blackouts.iter().map(|text| ("blackouts", Hours::blackout(text, &policy.zone)));
        for (key, read) in window.chain(blackouts) {
            match read {
                Ok(hours) => policy.hours.push(hours),
                Err(mistake) => sound(key, mistake),
            }
        }
        for (provider, rate) in &terms.rates {
            match Rate::parse(rate) {
                Ok(rate) => {
                    policy.rates.insert(provider.clone(), rate);
                }
                Err(mistake) => sound(&format!("rates {provider}"), mistake),
            }
        }
        policy
    }
}
