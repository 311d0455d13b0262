//! What somebody has to hear, once, and once more when it is over.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use crate::{consumer::Told, rotation::later, value::Digest};

/// How many alerts of one kind one look raises one by one. What is more is told
/// as a number: an outage must not be a thousand messages.
const MOST_AT_ONCE: usize = 50;

/// How many alerts wait for somebody who cannot be told.
const MOST_WAITING: usize = 1_000;

/// How many are told in one tick, so that rotations do not wait for them.
const MOST_TOLD: usize = 20;

/// The pause after the first attempt that failed, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_hours(1));

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertKind {
    /// A credential is not renewed, or an older generation not ended: attempts
    /// failed, and the next is far away or waits for somebody.
    RotationStopped,
    /// Something is not as it was recorded, and it is not for the engine to
    /// change it unattended.
    DriftFound,
    /// Something widened access by hand, and was taken back.
    DriftReverted,
    /// Something widened access by hand, and could not be taken back.
    DriftNotRemoved,
    /// The last day of an agent is near.
    AgentExpiring,
    /// The last day of an agent is over.
    AgentExpired,
    /// Consumers did not confirm the present generation in time.
    ConsumersUnconfirmed,
    /// A consumer could not be told of the present generation. It is told as
    /// something that happened, once for each reason; it is tried again.
    ConsumersUntold,
    /// The ledger, a secret store or a provider could not be read for long.
    Unreachable,
    /// It cannot be told what became of a step of a run that died.
    InDoubt,
    /// The standing authority of the fleet is over, or nearly.
    AuthorityEnds,
}

impl AlertKind {
    /// Each, for those who count them.
    pub const ALL: [Self; 11] = [
        Self::RotationStopped,
        Self::DriftFound,
        Self::DriftReverted,
        Self::DriftNotRemoved,
        Self::AgentExpiring,
        Self::AgentExpired,
        Self::ConsumersUnconfirmed,
        Self::ConsumersUntold,
        Self::Unreachable,
        Self::InDoubt,
        Self::AuthorityEnds,
    ];

    /// Its name, as programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RotationStopped => "rotation_stopped",
            Self::DriftFound => "drift_found",
            Self::DriftReverted => "drift_reverted",
            Self::DriftNotRemoved => "drift_not_removed",
            Self::AgentExpiring => "agent_expiring",
            Self::AgentExpired => "agent_expired",
            Self::ConsumersUnconfirmed => "consumers_unconfirmed",
            Self::ConsumersUntold => "consumers_untold",
            Self::Unreachable => "unreachable",
            Self::InDoubt => "in_doubt",
            Self::AuthorityEnds => "authority_ends",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether something begins, ends, or only happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertStatus {
    /// It holds from now on, until it is cleared.
    Raised,
    /// It does not hold any more.
    Cleared,
    /// It happened, and nothing is to be cleared.
    Happened,
}

/// One thing that somebody has to hear. It holds no secret and no id of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// The same for the same thing, from whichever watcher and when it clears,
    /// so that a receiver can tell repetitions.
    pub id: String,
    /// What it is about.
    pub kind: AlertKind,
    /// Whether it begins or ends.
    pub status: AlertStatus,
    /// The fleet.
    pub fleet: String,
    /// The environment.
    pub environment: String,
    /// The address, the agent or the system.
    pub about: String,
    /// Who answers for the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What happened.
    pub what: String,
    /// How to mend it.
    pub repair: String,
    /// When it was found, or found to be over.
    pub at: Timestamp,
}

/// Tells somebody.
///
/// # Contract
///
/// * **Bounded.** It answers in a time of its own, whoever is told.
/// * It may be told the same alert more than once.
#[async_trait]
pub trait Alarm: Send + Sync + 'static {
    /// Tells one alert. What failed is told again, after growing pauses.
    async fn raise(&self, alert: &Alert) -> Told;
}

impl fmt::Debug for dyn Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: AlertKind,
    pub(super) about: String,
    pub(super) owner: Option<String>,
    /// What makes it the same state of affairs as before; its text may vary.
    pub(super) mark: String,
    pub(super) what: String,
    pub(super) repair: String,
}

/// What is open, so that each state of affairs is told once.
#[derive(Debug)]
pub(super) struct Alerts {
    fleet: String,
    environment: String,
    open: BTreeMap<(AlertKind, String), Open>,
}

#[derive(Debug)]
struct Open {
    mark: String,
    owner: Option<String>,
    /// Whether it was told by itself, and is told when it is over.
    told: bool,
}

impl Alerts {
    pub(super) fn of(fleet: &str, environment: &str) -> Self {
        Self { fleet: fleet.to_owned(), environment: environment.to_owned(), open: BTreeMap::new() }
    }

    /// How many are open, by kind.
    pub(super) fn counts(&self) -> BTreeMap<AlertKind, u64> {
        let mut counts = BTreeMap::new();
        for (kind, _) in self.open.keys() {
            *counts.entry(*kind).or_default() += 1;
        }
        counts
    }

    /// Something that happened.
    pub(super) fn happened(&self, finding: Finding, at: Timestamp) -> Alert {
        self.alert(finding, AlertStatus::Happened, at)
    }

    /// Takes in all that holds of one kind; what was open of it and is neither
    /// in that nor `unknown` is over. Gives what is to be told.
    pub(super) fn holds(
        &mut self,
        kind: AlertKind,
        found: Vec<Finding>,
        unknown: &BTreeSet<String>,
        at: Timestamp,
    ) -> Vec<Alert> {
        let mut told = Vec::new();
        let mut untold = 0_usize;
        let mut holds = BTreeSet::new();
        for finding in found.into_iter().filter(|finding| finding.kind == kind) {
            let key = (kind, finding.about.clone());
            holds.insert(key.clone());
            let before = self.open.get(&key);
            if before.is_some_and(|open| open.mark == finding.mark) {
                continue;
            }
            let tells = told.len() < MOST_AT_ONCE;
            let (mark, owner) = (finding.mark.clone(), finding.owner.clone());
            self.open.insert(key, Open { mark, owner, told: tells });
            if tells {
                told.push(self.alert(finding, AlertStatus::Raised, at));
            } else {
                untold += 1;
            }
        }
        if untold > 0 {
            let more = Finding {
                kind,
                about: "the fleet".to_owned(),
                owner: None,
                mark: String::new(),
                what: format!("the same holds of {untold} more"),
                repair: "`drift` and `inventory` list them".to_owned(),
            };
            told.push(self.alert(more, AlertStatus::Happened, at));
        }
        let over: Vec<(AlertKind, String)> = self
            .open
            .range((kind, String::new())..)
            .map(|(key, _)| key)
            .take_while(|(of, _)| *of == kind)
            .filter(|key| !holds.contains(*key) && !unknown.contains(&key.1))
            .cloned()
            .collect();
        for key in over {
            let Some(open) = self.open.remove(&key).filter(|open| open.told) else { continue };
            let finding = Finding {
                kind,
                about: key.1,
                owner: open.owner,
                mark: open.mark,
                what: "it is over".to_owned(),
                repair: "nothing is to be done".to_owned(),
            };
            told.push(self.alert(finding, AlertStatus::Cleared, at));
        }
        told
    }

    fn alert(&self, finding: Finding, status: AlertStatus, at: Timestamp) -> Alert {
        let Finding { kind, about, owner, what, repair, .. } = finding;
        let (fleet, environment) = (self.fleet.clone(), self.environment.clone());
        let same = format!("{fleet}\n{environment}\n{kind}\n{about}");
        let id = Digest::of_bytes(same.as_bytes()).to_string()[..16].to_owned();
        Alert { id, kind, status, fleet, environment, about, owner, what, repair, at }
    }
}

/// Alerts on their way to somebody, in order, as often as it takes.
#[derive(Debug)]
pub(super) struct Outbox {
    alarm: Arc<dyn Alarm>,
    waiting: VecDeque<Alert>,
    failures: u32,
    /// Not before this time.
    at: Timestamp,
}

/// What became of what was told.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) told: u64,
    /// Given up: not allowed, or too many were waiting.
    pub(super) dropped: u64,
    pub(super) problem: Option<String>,
}

impl Outbox {
    pub(super) fn to(alarm: Arc<dyn Alarm>) -> Self {
        Self { alarm, waiting: VecDeque::new(), failures: 0, at: Timestamp::MIN }
    }

    pub(super) fn put(&mut self, alerts: &[Alert]) {
        self.waiting.extend(alerts.iter().cloned());
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When something is to be told again.
    pub(super) fn next(&self) -> Option<Timestamp> {
        (!self.waiting.is_empty()).then_some(self.at)
    }

    /// Tells what is due. One that cannot be told holds up those behind it:
    /// they go to the same receiver.
    pub(super) async fn send(&mut self, now: Timestamp) -> Sent {
        let mut sent = Sent::default();
        while self.waiting.len() > MOST_WAITING {
            self.waiting.pop_front();
            sent.dropped += 1;
        }
        if now < self.at {
            return sent;
        }
        for _ in 0..MOST_TOLD {
            let Some(alert) = self.waiting.front() else { break };
            match self.alarm.raise(alert).await {
                Told::Told => sent.told += 1,
                Told::NotAllowed { because } => {
                    sent.dropped += 1;
                    sent.problem = Some(because);
                }
                Told::Failed { because } => {
                    self.failures = self.failures.saturating_add(1);
                    self.at = later(now, super::pause(PAUSES, self.failures));
                    sent.problem = Some(because);
                    return sent;
                }
            }
            self.failures = 0;
            self.waiting.pop_front();
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock::block_on;

    fn finding(about: &str, mark: &str) -> Finding {
        Finding {
            kind: AlertKind::DriftFound,
            about: about.to_owned(),
            owner: Some("team:a".to_owned()),
            mark: mark.to_owned(),
            what: "it differs".to_owned(),
            repair: "plan".to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn told(alerts: &[Alert]) -> Vec<(&str, AlertStatus)> {
        alerts.iter().map(|alert| (&*alert.about, alert.status)).collect()
    }

    #[test]
    fn each_state_of_affairs_is_told_once_and_once_when_it_is_over() {
        let mut alerts = Alerts::of("office", "test");
        let (kind, nothing) = (AlertKind::DriftFound, BTreeSet::new());
        let first =
            alerts.holds(kind, vec![finding("a.x", "1"), finding("b.x", "1")], &nothing, at(1));
        assert_eq!(told(&first), [("a.x", AlertStatus::Raised), ("b.x", AlertStatus::Raised)]);
        let same =
            alerts.holds(kind, vec![finding("a.x", "1"), finding("b.x", "1")], &nothing, at(2));
        assert_eq!(same, []);
        let other =
            alerts.holds(kind, vec![finding("a.x", "2")], &BTreeSet::from(["b.x".into()]), at(3));
        assert_eq!(told(&other), [("a.x", AlertStatus::Raised)], "b.x was not looked at");
        let over = alerts.holds(kind, Vec::new(), &nothing, at(4));
        assert_eq!(told(&over), [("a.x", AlertStatus::Cleared), ("b.x", AlertStatus::Cleared)]);
        assert_eq!(over[0].id, first[0].id);
        assert_ne!(over[0].id, over[1].id);
        assert_eq!(over[0].owner.as_deref(), Some("team:a"));
        assert!(alerts.counts().is_empty());
    }

    #[test]
    fn very_many_at_once_are_told_as_a_number() {
        let mut alerts = Alerts::of("office", "test");
        let found: Vec<Finding> = (0..500).map(|i| finding(&format!("a{i:03}.x"), "1")).collect();
        let told = alerts.holds(AlertKind::DriftFound, found, &BTreeSet::new(), at(1));
        assert_eq!(told.len(), MOST_AT_ONCE + 1);
        assert!(told[MOST_AT_ONCE].what.contains("450 more"), "{:?}", told[MOST_AT_ONCE]);
        assert_eq!(alerts.counts()[&AlertKind::DriftFound], 500);
        let over = alerts.holds(AlertKind::DriftFound, Vec::new(), &BTreeSet::new(), at(2));
        assert_eq!(over.len(), MOST_AT_ONCE, "only what was told is told to be over");
    }

    /// Answers as it is told to.
    #[derive(Default)]
    struct Ear(Mutex<(Vec<String>, VecDeque<Told>)>);

    #[async_trait]
    impl Alarm for Ear {
        async fn raise(&self, alert: &Alert) -> Told {
            let mut inner = self.0.lock().unwrap();
            inner.0.push(alert.about.clone());
            inner.1.pop_front().unwrap_or(Told::Told)
        }
    }

    #[test]
    fn what_cannot_be_told_is_told_again_after_growing_pauses_and_in_order() {
        let ear = Arc::new(Ear::default());
        let failed = || Told::Failed { because: "no route".into() };
        ear.0.lock().unwrap().1.extend((0..9).map(|_| failed()));
        let mut outbox = Outbox::to(Arc::<Ear>::clone(&ear));
        let mut alerts = Alerts::of("office", "test");
        let found = vec![finding("a.x", "1"), finding("b.x", "1")];
        outbox.put(&alerts.holds(AlertKind::DriftFound, found, &BTreeSet::new(), at(0)));
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert!(block_on(outbox.send(now)).problem.is_some());
            assert_eq!(block_on(outbox.send(now)).problem, None, "it is not tried at once");
            let next = outbox.next().unwrap();
            pauses.push(next.duration_since(now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert_eq!(block_on(outbox.send(now)).told, 2);
        assert_eq!((outbox.next(), outbox.waiting()), (None, 0));
        assert_eq!(ear.0.lock().unwrap().0[8..], ["a.x", "a.x", "b.x"]);
    }

    #[test]
    fn what_waits_has_a_bound_and_what_is_not_allowed_is_given_up() {
        let ear = Arc::new(Ear::default());
        ear.0.lock().unwrap().1.push_back(Told::NotAllowed { because: "no such host".into() });
        let mut outbox = Outbox::to(Arc::<Ear>::clone(&ear));
        let alerts = Alerts::of("office", "test");
        let many: Vec<Alert> =
            (0..1_010).map(|i| alerts.happened(finding(&i.to_string(), "1"), at(0))).collect();
        outbox.put(&many);
        let sent = block_on(outbox.send(at(0)));
        assert_eq!((sent.dropped, sent.told), (11, 19));
        assert_eq!(sent.problem.as_deref(), Some("no such host"));
        assert_eq!(ear.0.lock().unwrap().0[0], "10", "the oldest went");
    }
}
