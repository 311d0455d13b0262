//! What a declared credential's terms mean.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use super::{
    cron::Cron,
    hours::{Hours, all_allow, next_allowed, next_refused},
    mistake::{Mistake, parts, words},
    rules::FleetPolicy,
    span::Span,
    terms::{AtDeadline, later},
    zone::Zone,
};
use crate::{
    address::{Address, quoted},
    agent::Terms,
    value::Digest,
};

/// When a credential is rotated, for how long two generations are valid, and
/// what is done when a rotation fails.
///
/// Everything here is a pure function of the terms, the address and the time
/// at which the present generation was promoted, so that every runner, plan
/// and simulation comes to the same instant.
///
/// ```
/// use agent_iac::{
///     agent::Terms,
///     rotation::{FleetPolicy, Policy, Seed},
/// };
///
/// let mut terms = Terms::default();
/// terms.rotate("7d");
/// terms.zone("Europe/Berlin");
/// terms.overlap("1h");
/// terms.jitter("0s");
/// let policy = Policy::read(&terms, &FleetPolicy::default()).expect("the terms are sound");
///
/// let seed = Seed::of(&"triage.key".parse()?);
/// let promoted = "2027-03-24T09:00:00+01:00".parse().unwrap();
/// // The clocks go forward in between, and it is nine o'clock again.
/// let due = policy.next_due(seed, promoted).expect("it is rotated by a period");
/// assert_eq!(due, "2027-03-31T09:00:00+02:00".parse().unwrap());
/// assert_eq!(policy.old_ends(promoted), "2027-03-24T10:00:00+01:00".parse().unwrap());
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// The zone of the days and hours that the credential's own terms name.
    pub zone: Zone,
    /// What makes it due; `None` is only by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate: Option<Rotate>,
    /// For how long two generations are valid together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Span>,
    /// For how long the system accepts one generation, where it keeps leases:
    /// nobody has to be there for it to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
    /// Over how long a fleet is spread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// The windows and blackouts of the credential and of the fleet; all of
    /// them have to allow a rotation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<Hours>,
    /// What is done when a rotation fails.
    #[serde(skip_serializing_if = "Retry::is_default")]
    pub retry: Retry,
    /// The redundancy group, of which never two members are in transition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What happens to an older generation whose time is over while consumers
    /// have not confirmed the present one.
    #[serde(skip_serializing_if = "AtDeadline::is_keep")]
    pub at_deadline: AtDeadline,
}

/// What makes a credential due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotate {
    /// Its age. No generation lives longer, if the windows allow: what spreads
    /// a fleet makes it due earlier.
    Every(Span),
    /// The calendar. What spreads a fleet makes it due later.
    At(Cron),
    /// How often it was used, where the system counts.
    Uses(u64),
}

/// How often and with what pauses a failed rotation is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often, in all.
    pub attempts: u32,
    /// The pause behind the first attempt; each is twice the one before.
    pub first: Span,
    /// The longest pause.
    pub longest: Span,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 8, first: Span::Exact(60), longest: Span::Exact(3_600) }
    }
}

/// What spreads a fleet: a number drawn from the address, so that it is the
/// same in every run, on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed(u64);

impl Seed {
    /// The seed of an address.
    ///
    /// # Panics
    ///
    /// Never: a digest is longer than the seed.
    pub fn of(address: &Address) -> Self {
        let digest = Digest::of_bytes(address.to_string().as_bytes());
        let first = digest.as_bytes().first_chunk().expect("a digest has 32 bytes");
        Self(u64::from_be_bytes(*first))
    }

    /// Its part of a number: evenly from 0 to below it.
    fn part(self, of: u64) -> SignedDuration {
        let part = (u128::from(self.0) * u128::from(of)) >> 64;
        SignedDuration::from_secs(i64::try_from(part).unwrap_or(i64::MAX))
    }
}

/// The overlap where none is said: long enough for whoever looks once in a
/// while, and half the period where that is shorter.
const DEFAULT_OVERLAP: u64 = 3_600;
/// The longest spread where none is said.
const MOST_JITTER: u64 = 86_400;
/// A rotation that has to come before a blackout or a window's end is taken
/// into this last part of the open time.
const ROOM: u64 = 86_400;

impl Policy {
    /// Reads the terms of a credential in its fleet.
    ///
    /// # Errors
    ///
    /// Every mistake, with the key whose value it is in.
    pub fn read(terms: &Terms, fleet: &FleetPolicy) -> Result<Self, Vec<(&'static str, Mistake)>> {
        let mut mistakes = Vec::new();
        let mut zone = fleet.zone.clone();
        if let Some(name) = &terms.zone {
            match Zone::named(name) {
                Ok(named) => zone = named,
                Err(mistake) => mistakes.push(("zone", mistake)),
            }
        }
        let mut hours = fleet.hours.clone();
        let window = terms.window.iter().map(|text| ("window", Hours::window(text, &zone)));
        let blackouts =
            terms.blackouts.iter().map(|text| ("blackouts", Hours::blackout(text, &zone)));
        for (key, read) in window.chain(blackouts) {
            match read {
                Ok(read) => hours.push(read),
                Err(mistake) => mistakes.push((key, mistake)),
            }
        }
        let mut read = |key: &'static str, text: &Option<String>| {
            Span::parse(text.as_deref()?).map_err(|mistake| mistakes.push((key, mistake))).ok()
        };
        let overlap = read("overlap", &terms.overlap);
        let lease = read("lease", &terms.lease);
        let jitter = read("jitter", &terms.jitter);
        let mut understood = |key, result: Result<_, Mistake>| {
            result.map_err(|mistake| mistakes.push((key, mistake))).ok()
        };
        let rotate =
            terms.rotate.as_deref().and_then(|text| understood("rotate", Rotate::parse(text)));
        let retry = match terms.retry.as_deref().map(Retry::parse) {
            None => Retry::default(),
            Some(Ok(retry)) => retry,
            Some(Err(mistake)) => {
                mistakes.push(("retry", mistake));
                Retry::default()
            }
        };
        let at_deadline = terms.at_deadline.as_deref().map(AtDeadline::parse);
        let at_deadline = match at_deadline.transpose() {
            Ok(said) => said.unwrap_or_default(),
            Err(mistake) => {
                mistakes.push(("at_deadline", mistake));
                AtDeadline::Keep
            }
        };
        let group = terms.group.clone();
        if let Some(name) = group.as_deref().filter(|name| !is_group(name)) {
            mistakes.push((
                "group",
                Mistake::new(
                    format!("{} is not the name of a redundancy group", quoted(name)),
                    "use a-z, 0-9, dashes and dots, at most 63 bytes",
                ),
            ));
        }
        let policy =
            Self { zone, rotate, overlap, lease, jitter, hours, retry, group, at_deadline };
        policy.judge(&mut mistakes);
        if mistakes.is_empty() { Ok(policy) } else { Err(mistakes) }
    }

    /// What can be told of the terms together, whatever the time is.
    fn judge(&self, mistakes: &mut Vec<(&'static str, Mistake)>) {
        let Some(Rotate::Every(period)) = &self.rotate else { return };
        let length = period.nominal();
        let overlap = self.overlap.map_or(0, Span::nominal);
        let jitter = self.jitter.map_or(0, Span::nominal);
        if length == 0 {
            mistakes.push((
                "rotate",
                Mistake::period(
                    "a credential lives for some time",
                    "give `rotate` more than nothing",
                ),
            ));
        } else if let Some(overlap) = self.overlap.filter(|_| overlap >= length) {
            mistakes.push((
                "overlap",
                Mistake::period(
                    format!("the overlap of {overlap} is not shorter than the period of {period}"),
                    "two generations would be valid all the time",
                ),
            ));
        } else if let Some(jitter) = self.jitter.filter(|_| overlap + jitter >= length) {
            mistakes.push((
                "jitter",
                Mistake::period(
                    format!(
                        "the jitter of {jitter} leaves nothing of the period of {period} behind \
                         the overlap of {}",
                        self.overlap(),
                    ),
                    "shorten the jitter or the overlap: a rotation begins after the last has ended",
                ),
            ));
        }
        if let AtDeadline::Revoke(after) = self.at_deadline
            && overlap < length
            && self.overlap().nominal() + after.nominal() >= length
        {
            mistakes.push((
                "at_deadline",
                Mistake::period(
                    format!(
                        "the overlap of {} and {after} more are not shorter than the period of \
                         {period}",
                        self.overlap(),
                    ),
                    "revoke sooner: a rotation begins after the last has ended",
                ),
            ));
        }
        if let Some(lease) = self.lease.filter(|lease| lease.nominal() < length + overlap) {
            mistakes.push((
                "lease",
                Mistake::period(
                    format!(
                        "the lease of {lease} ends before the period of {period} and the overlap \
                         of {} are over",
                        self.overlap(),
                    ),
                    "make the lease longer than both together",
                ),
            ));
        }
    }

    /// For how long two generations are valid together: as declared, or an
    /// hour, and no more than half the period.
    pub fn overlap(&self) -> Span {
        self.overlap.unwrap_or_else(|| match &self.rotate {
            Some(Rotate::Every(period)) => Span::Exact(DEFAULT_OVERLAP.min(period.nominal() / 2)),
            _ => Span::Exact(DEFAULT_OVERLAP),
        })
    }

    /// Over how long a fleet is spread: as declared, or a twenty-fourth of the
    /// period and at most a day; a calendar's times are kept unless said.
    pub fn jitter(&self) -> Span {
        self.jitter.unwrap_or_else(|| match &self.rotate {
            Some(Rotate::Every(period)) => Span::Exact((period.nominal() / 24).min(MOST_JITTER)),
            _ => Span::ZERO,
        })
    }

    /// When the generation before this one ends at the latest, if its
    /// consumers have confirmed.
    pub fn old_ends(&self, promoted: Timestamp) -> Timestamp {
        self.overlap().after(promoted, &self.zone)
    }

    /// For how long the system accepts a generation. It counts seconds, and
    /// knows nothing of zones: a day of a lease has 24 hours.
    pub fn lease(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.lease?.nominal()))
    }

    /// When the system stops to accept a generation by itself.
    pub fn lease_ends(&self, promoted: Timestamp) -> Option<Timestamp> {
        Some(later(promoted, self.lease()?))
    }

    /// The instant that a generation should not outlive: its period is over,
    /// or the calendar's next time has come.
    pub fn wanted_by(&self, promoted: Timestamp) -> Option<Timestamp> {
        match self.rotate.as_ref()? {
            Rotate::Every(period) => Some(period.after(promoted, &self.zone)),
            Rotate::At(cron) => cron.next(promoted, &self.zone),
            Rotate::Uses(_) => None,
        }
    }

    /// Whether a rotation may begin at an instant.
    pub fn allows(&self, at: Timestamp) -> bool {
        all_allow(&self.hours, at)
    }

    /// The first instant from this one on at which a rotation may begin;
    /// `None` when there is none within ten years.
    pub fn next_allowed(&self, at: Timestamp) -> Option<Timestamp> {
        next_allowed(&self.hours, at)
    }

    /// When the credential is due whose generation was promoted at an instant.
    ///
    /// It is always an instant at which a rotation may begin. A period's end
    /// that falls outside of the windows is brought forward into the last one
    /// before it, but not into the overlap, and not into the window in which
    /// the present generation was made, unless half its time is over; then it
    /// waits for the next. `None` is never: by hand, by a number of uses, or
    /// because no time is allowed.
    pub fn next_due(&self, seed: Seed, promoted: Timestamp) -> Option<Timestamp> {
        let wanted = self.wanted_by(promoted)?;
        let jitter = self.jitter().nominal();
        if matches!(self.rotate, Some(Rotate::At(_))) {
            let base = self.next_allowed(wanted)?;
            return Some(self.spread(base, jitter, seed));
        }
        // The jitter is below the period, so that this lies behind `promoted`.
        let target = wanted - seed.part(jitter);
        if self.allows(target) {
            return Some(target);
        }
        let next = self.next_allowed(target);
        if let Some(next) = next.filter(|next| *next <= wanted) {
            return Some(self.spread(next, jitter, seed));
        }
        let half = promoted + wanted.duration_since(promoted) / 2;
        let old_ends = self.old_ends(promoted);
        let own_ends = next_refused(&self.hours, promoted, half);
        let room = jitter.max(ROOM);
        let open = self
            .last_open(half.max(old_ends), target, room)
            .or_else(|| self.last_open(own_ends.max(old_ends), half, room));
        if let Some((open, shut)) = open {
            let room = SignedDuration::from_secs(i64::try_from(room).unwrap_or(i64::MAX));
            let from = open.max(shut.checked_sub(room).unwrap_or(open));
            // Half of what is left belongs to the work itself, and to those who
            // queue for it.
            let seconds = shut.duration_since(from).as_secs().unsigned_abs() / 2;
            return Some(if jitter == 0 { from } else { from + seed.part(seconds) });
        }
        Some(self.spread(next?, jitter, seed))
    }

    /// Whether a rotation at an instant is too late for one that was wanted by
    /// another: what begins in the same open time is not.
    pub(super) fn is_late(&self, at: Timestamp, wanted: Timestamp) -> bool {
        at > wanted && next_refused(&self.hours, wanted, at) < at
    }

    /// A place of its own in the open time that an instant begins.
    fn spread(&self, base: Timestamp, jitter: u64, seed: Seed) -> Timestamp {
        if jitter == 0 {
            return base;
        }
        let end = Span::Exact(jitter).after(base, &self.zone);
        let end = next_refused(&self.hours, base, end);
        base + seed.part(end.duration_since(base).as_secs().unsigned_abs())
    }

    /// The last open time before an instant, and not before another: from and
    /// until. It is looked for nearby first, since it mostly is.
    fn last_open(
        &self,
        earliest: Timestamp,
        before: Timestamp,
        room: u64,
    ) -> Option<(Timestamp, Timestamp)> {
        for back in [86_400, 8 * 86_400, u64::MAX] {
            let back = i64::try_from(back.max(room)).unwrap_or(i64::MAX);
            let from = before
                .checked_sub(SignedDuration::from_secs(back))
                .map_or(earliest, |from| from.max(earliest));
            let mut last = None;
            let mut at = from;
            while at < before
                && let Some(open) = self.next_allowed(at).filter(|open| *open < before)
            {
                at = next_refused(&self.hours, open, before);
                last = Some((open, at));
            }
            if last.is_some() || from <= earliest {
                return last;
            }
        }
        None
    }
}

impl Rotate {
    /// Reads a period (`7d`), five fields of cron (`0 3 * * mon`) or a number
    /// of uses (`1000 uses`).
    ///
    /// # Errors
    ///
    /// It is none of these; a mistake in a field of cron has its column.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        match words(text).as_slice() {
            [(_, number), (_, "uses" | "use")] => {
                let uses = number.parse().ok().filter(|uses| *uses > 0);
                uses.filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()))
                    .map(Self::Uses)
                    .ok_or_else(|| {
                        Mistake::new(
                            format!("{} is no number of uses", quoted(text)),
                            "write a whole number from one, as `1000 uses`",
                        )
                    })
            }
            [_] | [] => Span::parse(text).map(Self::Every).map_err(|mistake| {
                let help = format!("{}; or cron, as `0 3 * * mon`; or `1000 uses`", mistake.help);
                Mistake { help, ..mistake }
            }),
            _ => Cron::parse(text).map(Self::At),
        }
    }
}

impl Retry {
    /// Reads how often, and from which pause to which, as `8 times, 1m to 1h`.
    ///
    /// # Errors
    ///
    /// It is not such a text.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let broken = |why: &str| Mistake::new(why.to_owned(), "write it as `8 times, 1m to 1h`");
        let [(_, times), (pauses_at, pauses)] = parts(text, ',')[..] else {
            return Err(broken(&format!("{} is no way to try again", quoted(text))));
        };
        let attempts = match words(times)[..] {
            [(_, number), (_, "times" | "time")] => {
                number.parse().ok().filter(|attempts| (1..=1_000).contains(attempts))
            }
            _ => None,
        };
        let attempts = attempts.ok_or_else(|| {
            broken(&format!("{} is no number of attempts from 1 to 1000", quoted(times))).at(0)
        })?;
        let [(first_at, first), (_, "to"), (longest_at, longest)] = words(pauses)[..] else {
            return Err(broken(&format!("{} is not from one pause to another", quoted(pauses)))
                .at(pauses_at));
        };
        let pause = |at: usize, text: &str| {
            let pause = Span::parse(text).map_err(|mistake| mistake.at(pauses_at + at))?;
            if pause.is_zero() {
                let why = "a pause of nothing would be a loop";
                return Err(Mistake::new(why, "pause for a second or more").at(pauses_at + at));
            }
            Ok(pause)
        };
        let (first, longest) = (pause(first_at, first)?, pause(longest_at, longest)?);
        if first.nominal() > longest.nominal() {
            return Err(broken("the pauses shrink").at(pauses_at));
        }
        Ok(Self { attempts, first, longest })
    }

    /// The pause behind a number of failed attempts: each is twice the one
    /// before, up to the longest.
    pub fn pause(&self, failed: u32) -> Duration {
        let doubled = 1_u64.checked_shl(failed.saturating_sub(1)).unwrap_or(u64::MAX);
        let pause = self.first.nominal().saturating_mul(doubled);
        Duration::from_secs(pause.min(self.longest.nominal()))
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn is_group(name: &str) -> bool {
    let sound = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
    };
    !name.is_empty() && name.len() <= crate::address::MAX_NAME && name.bytes().all(sound)
}

impl fmt::Display for Rotate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(period) => write!(f, "{period}"),
            Self::At(cron) => write!(f, "{cron}"),
            Self::Uses(uses) => write!(f, "{uses} uses"),
        }
    }
}

impl Serialize for Rotate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} times, {} to {}", self.attempts, self.first, self.longest)
    }
}

impl Serialize for Retry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
