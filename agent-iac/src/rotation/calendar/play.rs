//! The rotations to come, one after the other.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp, civil::Time};

use super::{Ahead, Calendar, ERRORS, Planned, WARNINGS, clocks};
use crate::{
    address::Address,
    blueprint::{Blueprint, Desired},
    diagnostic::{Code, Diagnostic, Diagnostics, Severity},
    provider::AtOnce,
    rotation::{Policy, Rate, Rotate, Seed, Zone},
    schema::Kind,
};

/// One credential of the fleet on its way through the time to come.
struct Life<'a> {
    address: &'a Address,
    desired: &'a Desired,
    policy: &'a Arc<Policy>,
    seed: Seed,
    /// When its present generation was promoted.
    promoted: Timestamp,
    /// When its agent may no longer act.
    ends: Timestamp,
    /// Whether the rotation before came late for want of room.
    queued: bool,
}

/// Why a rotation did not begin when it was due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    by_rate: bool,
    by_group: bool,
}

pub(super) struct Play<'a> {
    ahead: &'a Ahead,
    blueprint: &'a Blueprint,
    lives: Vec<Life<'a>>,
    planned: Vec<Planned>,
    problems: Diagnostics,
    /// What was said already: the kind of problem, and of what.
    said: BTreeSet<(&'static str, String)>,
    /// Rotations that came late in a queue, by its kind and name: the first of
    /// each.
    queues: BTreeMap<(&'static str, String), Diagnostic>,
    looked_at: usize,
}

impl<'a> Play<'a> {
    pub(super) fn new(blueprint: &'a Blueprint, ahead: &'a Ahead) -> Self {
        let mut lives = Vec::new();
        for (address, desired) in blueprint.resources() {
            let Some(credential) = &desired.credential else { continue };
            let last_day = blueprint.agent(address.instance()).and_then(|agent| {
                let end = agent.expires.tomorrow().ok()?.to_datetime(Time::midnight());
                Zone::utc().instant(end)
            });
            lives.push(Life {
                address,
                desired,
                policy: &credential.policy,
                seed: Seed::of(address),
                promoted: ahead.issued.get(address).copied().unwrap_or(ahead.from),
                ends: last_day.unwrap_or(Timestamp::MAX),
                queued: false,
            });
        }
        Self {
            ahead,
            blueprint,
            lives,
            planned: Vec::new(),
            problems: Diagnostics::new(),
            said: BTreeSet::new(),
            queues: BTreeMap::new(),
            looked_at: 0,
        }
    }

    pub(super) fn finish(mut self) -> Calendar {
        self.problems.extend(std::mem::take(&mut self.queues).into_values());
        Calendar {
            planned: self.planned,
            diagnostics: self.problems.sorted(),
            looked_at: self.looked_at,
        }
    }

    /// Says what goes wrong at an instant, once for each cause.
    fn problem(
        &mut self,
        kind: &'static str,
        of: String,
        life: usize,
        (at, severity): (Timestamp, Severity),
        message: String,
        help: &str,
    ) {
        if !self.said.insert((kind, of)) {
            return;
        }
        let life = &self.lives[life];
        let mut diagnostic = Diagnostic::error(Code::Calendar, message)
            .at(life.address, &life.desired.source)
            .help(help);
        diagnostic.severity = self.grave(at).max(severity);
        self.problems.push(diagnostic);
    }

    fn grave(&self, at: Timestamp) -> Severity {
        if at < later(self.ahead.from, ERRORS) { Severity::Error } else { Severity::Warning }
    }

    /// Periods in uses: no system of this version says how often a credential
    /// was used, so that they would never end.
    pub(super) fn uses(&mut self) {
        for life in 0..self.lives.len() {
            let Life { address, desired, policy, .. } = self.lives[life];
            let Some(rotate @ Rotate::Uses(_)) = &policy.rotate else { continue };
            let provider = &desired.provider;
            let message =
                format!("after {rotate} it would never be rotated: `{provider}` counts none");
            let help = "state a period, as `rotate = \"30d\"`, or leave `rotate` out";
            let of = address.to_string();
            self.problem("uses", of, life, (self.ahead.from, Severity::Error), message, help);
        }
    }

    /// Hours that do not exist.
    pub(super) fn clocks(&mut self) {
        let mut seen = BTreeSet::new();
        for life in 0..self.lives.len() {
            let policy = Arc::clone(self.lives[life].policy);
            // Credentials with the same terms share one policy.
            if policy.rotate.is_none() || !seen.insert(Arc::as_ptr(&policy).addr()) {
                continue;
            }
            let from = self.ahead.from;
            let until = later(from, WARNINGS).min(self.lives[life].ends);
            for missing in clocks::missing(&policy, from, until) {
                // A window that is left out once is no rotation that is: where
                // one does not fit, that is an error of its own.
                let (severity, help) = if missing.is_rotation {
                    (Severity::Error, "name an hour that every day has, or the zone `UTC`")
                } else {
                    (Severity::Warning, "make the window longer, or name it in the zone `UTC`")
                };
                let at = (missing.at, severity);
                self.problem("clock", missing.what.clone(), life, at, missing.what, help);
            }
        }
    }

    /// More valid credentials than the system takes.
    pub(super) fn limits(&mut self) {
        let mut of: BTreeMap<(&str, &str, &Address), Vec<usize>> = BTreeMap::new();
        for (index, life) in self.lives.iter().enumerate() {
            let identity = life.desired.properties.get("of").and_then(|node| {
                let mut addresses = node.addresses().into_iter();
                addresses.find_map(|address| {
                    let (address, desired) = self.blueprint.resources().get_key_value(&address)?;
                    (desired.resource_type.kind == Kind::Identity).then_some(address)
                })
            });
            if let Some(identity) = identity {
                let (provider, name) = (&*life.desired.provider, life.desired.resource_type.name);
                of.entry((provider, name, identity)).or_default().push(index);
            }
        }
        let at_once = |provider: &str, name: &str| {
            self.ahead.at_once.get(&(provider.to_owned(), name.to_owned())).copied()
        };
        let mut found = Vec::new();
        for ((provider, name, identity), lives) in of {
            let Some(at_once) = at_once(provider, name) else { continue };
            let due = |index: &usize| {
                let life = &self.lives[*index];
                let due = life.policy.next_due(life.seed, life.promoted)?;
                Some((due.max(self.ahead.from), *index))
            };
            let Some((first, index)) = lives.iter().filter_map(due).min() else { continue };
            let said = self.lives[index].policy.overlap;
            let day = first.strftime("%F");
            match (at_once, lives.len()) {
                (AtOnce::Two, count @ 2..) => found.push((
                    index,
                    first,
                    identity.to_string(),
                    format!(
                        "on {day} it is rotated, and `{identity}` would have {} of `{name}`, of \
                         which the system accepts two",
                        count + 1,
                    ),
                    "give each an identity of its own, or rotate none of them on schedule",
                )),
                (AtOnce::One, _) if said.is_some_and(|overlap| !overlap.is_zero()) => {
                    found.push((
                        index,
                        first,
                        identity.to_string(),
                        format!(
                            "on {day} it is rotated with an overlap of {}, and the system accepts \
                             one `{name}` of an identity at a time",
                            self.lives[index].policy.overlap(),
                        ),
                        "leave `overlap` out: there is a gap, which the plan states",
                    ));
                }
                _ => {}
            }
        }
        for (life, at, of, message, help) in found {
            self.problem("limit", of, life, (at, Severity::Error), message, help);
        }
    }

    /// Plays the rotations in the order of time.
    pub(super) fn rotations(&mut self) {
        let rates = &self.blueprint.rotation().rates;
        let from = self.ahead.from;
        let listed = later(from, self.ahead.list);
        let until = later(from, WARNINGS);
        let mut due = BinaryHeap::new();
        let mut alone = BTreeSet::new();
        for (index, life) in self.lives.iter().enumerate() {
            let free = life.policy.hours.is_empty()
                && life.policy.group.is_none()
                && !rates.contains_key(&life.desired.provider);
            // Of those that nothing holds up, one for each policy is enough to
            // know, but for the list.
            if free && !alone.insert(Arc::as_ptr(life.policy).addr()) && listed == from {
                continue;
            }
            if let Some(at) = life.policy.next_due(life.seed, life.promoted) {
                due.push(Reverse((at.max(from), at, index, Held::default())));
            }
        }
        let never: Vec<usize> =
            (0..self.lives.len()).filter(|index| self.is_never(*index)).collect();
        for index in never {
            let what = self.lives[index].desired.source.to_string();
            let message = "there is no time in ten years at which it may be rotated".to_owned();
            let help = "leave room between its windows and blackouts";
            self.problem("never", what, index, (from, Severity::Error), message, help);
        }
        let mut queues: BTreeMap<&str, VecDeque<Timestamp>> = BTreeMap::new();
        let mut busy: BTreeMap<String, Timestamp> = BTreeMap::new();
        // Of those that wait for the same, the one that was due first is first.
        while let Some(Reverse((at, since, index, held))) = due.pop() {
            let life = &self.lives[index];
            if at >= until || at >= life.ends {
                continue;
            }
            if self.looked_at >= self.ahead.most {
                self.stopped(index, at);
                return;
            }
            let policy = Arc::clone(life.policy);
            // Not allowed, a member of the group in transition, or no room at
            // the provider: it is looked at again when that is over.
            let again = policy.next_allowed(at).filter(|allowed| *allowed > at);
            if let Some(allowed) = again {
                due.push(Reverse((allowed, since, index, held)));
                continue;
            }
            let group = policy.group.as_ref().and_then(|group| busy.get(group));
            if let Some(free) = group.filter(|free| **free > at) {
                due.push(Reverse((*free, since, index, Held { by_group: true, ..held })));
                continue;
            }
            if let Some(rate) = rates.get(&life.desired.provider) {
                let queue = queues.entry(&life.desired.provider).or_default();
                if let Some(free) = room(queue, *rate, at) {
                    due.push(Reverse((free, since, index, Held { by_rate: true, ..held })));
                    continue;
                }
                queue.push_back(at);
            }
            self.looked_at += 1;
            let old_ends = policy.old_ends(at);
            if at < listed {
                self.planned.push(Planned {
                    at,
                    address: life.address.clone(),
                    provider: life.desired.provider.clone(),
                    old_ends,
                    group: policy.group.clone(),
                });
            }
            if let Some(group) = &policy.group {
                busy.insert(group.clone(), old_ends);
            }
            self.judge(index, &policy, at, held);
            self.lives[index].promoted = at;
            let life = &self.lives[index];
            if let Some(next) = policy.next_due(life.seed, at) {
                due.push(Reverse((next, next, index, Held::default())));
            }
        }
    }

    /// Whether a credential has a schedule that never comes.
    fn is_never(&self, index: usize) -> bool {
        let life = &self.lives[index];
        life.policy.wanted_by(life.promoted).is_some()
            && !life.policy.hours.is_empty()
            && life.policy.next_due(life.seed, life.promoted.max(self.ahead.from)).is_none()
    }

    /// Whether a rotation that begins at an instant comes in time.
    fn judge(&mut self, index: usize, policy: &Policy, at: Timestamp, held: Held) {
        let life = &self.lives[index];
        let promoted = life.promoted;
        let what = life.desired.source.to_string();
        let (day, since) = (at.strftime("%F %H:%MZ"), promoted.strftime("%F"));
        let error = (at, Severity::Error);
        // What is late already is for whoever runs the rotations.
        let from = self.ahead.from;
        let ahead = |at: &Timestamp| *at > from;
        let old_ends = policy.old_ends(promoted);
        if old_ends > at {
            let message = format!(
                "on {day} it is rotated, and the overlap of the rotation before lasts until {}",
                old_ends.strftime("%F %H:%MZ"),
            );
            let help = "shorten `overlap`, or rotate less often: three would be valid together";
            return self.problem("overlap", what, index, error, message, help);
        }
        if let Some(ends) = policy.lease_ends(promoted).filter(|ends| *ends <= at && ahead(ends)) {
            let ended = (ends, Severity::Error);
            let message = format!(
                "the generation of {since} expires on {}, and cannot be rotated before {day}",
                ends.strftime("%F %H:%MZ"),
            );
            let help = "lengthen `lease`, or leave room between windows and blackouts before it";
            return self.problem("lease", what, index, ended, message, help);
        }
        let latest = latest(policy, promoted).filter(ahead);
        // A queue moves what spreads the fleet about; it may not move it more.
        let spread = SignedDuration::from_secs(policy.jitter().nominal().try_into().unwrap_or(0));
        let is_late = |wanted: &Timestamp| match held {
            Held { by_rate: false, by_group: false } => policy.is_late(at, *wanted),
            _ => at > later(*wanted, spread),
        };
        let Some(wanted) = latest.filter(is_late) else {
            self.lives[index].queued = false;
            return;
        };
        let rotate = policy.rotate.as_ref().map(ToString::to_string).unwrap_or_default();
        let lived = format!(
            "the generation of {since} should be rotated until {}",
            wanted.strftime("%F %H:%MZ"),
        );
        if held.by_group {
            let group = policy.group.clone().unwrap_or_default();
            let message = format!(
                "{lived}, and other members of the group `{group}` are in transition until {day}",
            );
            let help = "shorten the overlaps of the group, rotate less often, or split the group";
            self.queued(("group", group), index, wanted, message, help);
        } else if held.by_rate {
            let provider = life.desired.provider.clone();
            let message = format!(
                "{lived}, and `{provider}` takes it on {day} at its rate of {}",
                self.blueprint.rotation().rates[&provider],
            );
            let help = "widen the windows, rotate less often, or raise the rate";
            self.queued(("rate", provider), index, wanted, message, help);
        } else {
            // Somebody who declares a blackout by date wants the wait.
            let by_date = policy.hours.iter().any(|hours| hours.is_dated() && !hours.allow(wanted));
            let late = (wanted, if by_date { Severity::Warning } else { Severity::Error });
            let why = if by_date { "a blackout lasts" } else { "no window opens" };
            let message = format!("{lived} (`{rotate}`), and {why} until {day}");
            let help = "widen the windows, shorten the blackouts, or rotate less often";
            self.problem("window", what, index, late, message, help);
        }
    }

    /// Says that a rotation came late in a queue. Those that begin together, as
    /// a whole fleet does with its first apply, may queue once and keep apart
    /// from then on: only who is late twice in a row has no room.
    fn queued(
        &mut self,
        queue: (&'static str, String),
        index: usize,
        at: Timestamp,
        message: String,
        help: &str,
    ) {
        let life = &mut self.lives[index];
        let again = std::mem::replace(&mut life.queued, true);
        let first = self.queues.entry(queue).or_insert_with(|| {
            let mut first = Diagnostic::error(Code::Calendar, message)
                .at(life.address, &life.desired.source)
                .help(help);
            first.severity = Severity::Warning;
            first
        });
        if again && at < later(self.ahead.from, ERRORS) {
            first.severity = Severity::Error;
        }
    }

    fn stopped(&mut self, index: usize, at: Timestamp) {
        let message = format!(
            "the calendar was looked at until {}: there are more rotations than {}",
            at.strftime("%F"),
            self.ahead.most,
        );
        let life = &self.lives[index];
        let mut diagnostic = Diagnostic::error(Code::Calendar, message)
            .at(life.address, &life.desired.source)
            .help("nothing is wrong so far; look again later");
        diagnostic.severity = Severity::Warning;
        self.problems.push(diagnostic);
    }
}

/// The instant behind which a rotation is too late: the period's end, or the
/// calendar's next time but one.
fn latest(policy: &Policy, promoted: Timestamp) -> Option<Timestamp> {
    let wanted = policy.wanted_by(promoted)?;
    match policy.rotate.as_ref()? {
        Rotate::At(_) => policy.wanted_by(wanted),
        _ => Some(wanted),
    }
}

/// When a provider has room again, if it has none at an instant.
fn room(queue: &mut VecDeque<Timestamp>, rate: Rate, at: Timestamp) -> Option<Timestamp> {
    let length = SignedDuration::from_secs(i64::try_from(rate.seconds).unwrap_or(i64::MAX));
    while queue.front().is_some_and(|first| later(*first, length) <= at) {
        queue.pop_front();
    }
    let full = queue.len() >= usize::try_from(rate.rotations).unwrap_or(usize::MAX);
    queue.front().filter(|_| full).map(|first| later(*first, length))
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
