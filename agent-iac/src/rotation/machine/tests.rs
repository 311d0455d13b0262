//! The machine by tables, and by walking every record that a few moves reach.

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::rotation::{FleetPolicy, Policy, Seed, Span};
use crate::{
    access::Access,
    ledger::{Actor, CredentialEvent, CredentialRecord, OpenStep, RunId},
    plan::Action,
    schema::Kind,
};

const HOUR: i64 = 3_600;
const WEEK: i64 = 7 * 24 * HOUR;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn policy(rotate: Option<&str>) -> Arc<Policy> {
    let mut terms = crate::agent::Terms { rotate: rotate.map(str::to_owned), ..Default::default() };
    terms.overlap("1h");
    terms.jitter("0s");
    Arc::new(Policy::read(&terms, &FleetPolicy::default()).unwrap())
}

fn terms() -> Terms {
    Terms {
        policy: policy(Some("7d")),
        seed: Seed::of(&"a.key".parse().unwrap()),
        consumers: BTreeSet::new(),
        at_deadline: AtDeadline::Keep,
        at_once: AtOnce::Two,
    }
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

fn credential(generation: u32, issued: Timestamp) -> Arc<Managed> {
    Arc::new(Managed {
        resource_type: "sim.key".into(),
        kind: Kind::Credential,
        provider: "sim".into(),
        id: format!("k{generation}"),
        properties: BTreeMap::new(),
        outputs: BTreeMap::new(),
        access: Access::NONE,
        dependencies: BTreeSet::new(),
        protect: false,
        suspended: false,
        credential: Some(CredentialRecord {
            generation,
            place: "vault:a/key".parse().unwrap(),
            stored: None,
            fingerprint: None,
            issued_at: Some(issued),
            verified_at: Some(issued),
        }),
    })
}

fn open(action: Action, deposed: bool, id: Option<&str>, now: Timestamp) -> OpenStep {
    let run: RunId = serde_json::from_str(&format!("\"{:032x}\"", 1)).unwrap();
    OpenStep {
        claim: run.claim(0),
        run,
        action,
        deposed,
        target: None,
        id: id.map(str::to_owned),
        provider: "sim".into(),
        resource_type: "sim.key".into(),
        begun_at: now,
        issued: None,
    }
}

/// A record, and the moves that change one.
#[derive(Clone, Debug, PartialEq)]
struct Life(Record);

impl Life {
    /// A first generation, promoted at the beginning.
    fn new() -> Self {
        Self(Record { object: Some(credential(1, at(0))), generations: 1, ..Record::default() })
    }

    fn turn(&mut self, now: i64) {
        self.0.generations += 1;
        let new = credential(self.0.generations, at(now));
        self.0.done(&open(Action::Rotate, false, None, at(now)), Some(&new), at(now));
    }

    fn end(&mut self, generation: u32, now: i64) {
        let id = format!("k{generation}");
        let step = open(Action::ReplaceCreateFirst, true, Some(&id), at(now));
        self.0.done(&step, None, at(now));
    }

    fn fail(&mut self, now: i64) {
        self.0.failed(&open(Action::Rotate, false, None, at(now)), at(now));
    }

    fn confirm(&mut self, consumer: &str, generation: u32) {
        self.0.said(&CredentialEvent::Confirmed { consumer: consumer.into() }, generation);
    }

    fn leak(&mut self, generation: u32) {
        let (actor, reason) = (Actor::asserted("test", "a"), "found".to_owned());
        self.0.said(&CredentialEvent::Compromised { actor, reason }, generation);
    }

    fn phase(&self, terms: &Terms, now: i64) -> Phase {
        phase(&self.0, terms, at(now))
    }
}

#[test]
fn a_life_goes_from_idle_to_idle() {
    let terms = terms();
    let mut life = Life::new();
    assert_eq!(life.phase(&terms, WEEK - 1), Phase::Idle { due: Some(at(WEEK)) });
    let due = Phase::Due { since: at(WEEK), why: Why::Period };
    assert_eq!(life.phase(&terms, WEEK), due);
    life.turn(WEEK + 5);
    let until = at(WEEK + 5 + HOUR);
    let overlap = Phase::Overlap { until, waiting: BTreeSet::new() };
    assert_eq!(life.phase(&terms, WEEK + 4 + HOUR), overlap);
    let generations = BTreeMap::from([(1, BTreeSet::new())]);
    let ending = Phase::Ending { since: until, generations };
    assert_eq!(life.phase(&terms, WEEK + 5 + HOUR), ending);
    life.end(1, WEEK + 6 + HOUR);
    assert_eq!(life.0.rotation, None, "nothing is left of it in the record");
    assert_eq!(life.phase(&terms, WEEK + 6 + HOUR), Phase::Idle { due: Some(at(2 * WEEK + 5)) });
}

#[test]
fn what_a_policy_does_not_ask_for_is_never_due() {
    let life = Life::new();
    let by_hand = Terms { policy: policy(None), ..terms() };
    assert_eq!(life.phase(&by_hand, 100 * WEEK), Phase::Idle { due: None });
    // A ledger from before the policy existed is due by when it was issued.
    assert_eq!(life.phase(&terms(), 100 * WEEK), Phase::Due { since: at(WEEK), why: Why::Period });
    let mut unknown = Life::new();
    Arc::make_mut(unknown.0.object.as_mut().unwrap()).credential.as_mut().unwrap().issued_at = None;
    assert_eq!(unknown.phase(&terms(), 100 * WEEK), Phase::Idle { due: None });
    assert_eq!(phase(&Record::default(), &terms(), at(0)), Phase::Absent);
}

#[test]
fn consumers_hold_the_old_one_and_a_stated_deadline_decides() {
    let keep = Terms { consumers: names(&["a", "b"]), ..terms() };
    let revoke = Terms { at_deadline: AtDeadline::Revoke(Span::Exact(600)), ..keep.clone() };
    let mut life = Life::new();
    life.turn(WEEK);
    let over = WEEK + HOUR;
    let waiting = names(&["a", "b"]);
    let overdue = |until, waiting: &BTreeSet<String>| Phase::Overdue {
        generations: BTreeSet::from([1]),
        since: at(over),
        waiting: waiting.clone(),
        until,
    };
    assert_eq!(life.phase(&keep, over), overdue(None, &waiting));
    assert_eq!(life.phase(&revoke, over + 599), overdue(Some(at(over + 600)), &waiting));
    let cut_off = BTreeMap::from([(1, waiting)]);
    assert_eq!(
        life.phase(&revoke, over + 600),
        Phase::Ending { since: at(over + 600), generations: cut_off }
    );
    life.confirm("a", 2);
    life.confirm("b", 1);
    assert_eq!(life.phase(&keep, 9 * WEEK), overdue(None, &names(&["b"])), "b has the old one");
    life.confirm("b", 2);
    life.confirm("b", 1);
    let generations = BTreeMap::from([(1, BTreeSet::new())]);
    assert_eq!(life.phase(&keep, over), Phase::Ending { since: at(over), generations });
    // Not before its time, though all have moved.
    assert!(matches!(life.phase(&keep, over - 1), Phase::Overlap { .. }));
    // A consumer that is declared meanwhile is waited for; one that is gone is not.
    let third = Terms { consumers: names(&["a", "b", "c"]), ..terms() };
    assert_eq!(life.phase(&third, over), overdue(None, &names(&["c"])));
}

#[test]
fn what_has_died_by_itself_is_replaced_before_anything_is_ended() {
    let declared = crate::agent::Terms {
        rotate: Some("7d".into()),
        overlap: Some("1h".into()),
        lease: Some("14d".into()),
        window: Some("mon 02:00-03:00".into()),
        ..Default::default()
    };
    let policy = Arc::new(Policy::read(&declared, &FleetPolicy::default()).unwrap());
    let leased = Terms { policy, at_once: AtOnce::Many, ..terms() };
    let mut life = Life::new();
    life.turn(WEEK);
    assert!(matches!(life.phase(&leased, 3 * WEEK - 1), Phase::Ending { .. }));
    let expired = Phase::Due { since: at(3 * WEEK), why: Why::Expired };
    assert_eq!(life.phase(&leased, 3 * WEEK), expired);
    // Where there is no room for a third, the older one has to go first.
    let two = Terms { at_once: AtOnce::Two, ..leased };
    assert!(matches!(life.phase(&two, 3 * WEEK), Phase::Ending { .. }));
}

#[test]
fn a_compromised_generation_waits_for_nobody() {
    for (at_once, first) in [(AtOnce::Two, "ending"), (AtOnce::Many, "due")] {
        let terms = Terms { consumers: names(&["a"]), at_once, ..terms() };
        let mut life = Life::new();
        life.turn(WEEK);
        life.leak(2);
        // The older one makes room where the system has none.
        match life.phase(&terms, WEEK + 1) {
            Phase::Ending { generations, .. } if first == "ending" => {
                assert_eq!(generations, BTreeMap::from([(1, names(&["a"]))]));
                life.end(1, WEEK + 1);
                assert!(matches!(life.phase(&terms, WEEK + 1), Phase::Due { .. }));
            }
            Phase::Due { why: Why::Compromised, .. } if first == "due" => {}
            other => panic!("{at_once:?}: {other:?}"),
        }
        life.turn(WEEK + 2);
        let Phase::Ending { generations, .. } = life.phase(&terms, WEEK + 2) else {
            panic!("{:?}", life.phase(&terms, WEEK + 2));
        };
        assert_eq!(generations, BTreeMap::from([(2, names(&["a"]))]), "{at_once:?}");
    }
}

#[test]
fn a_failure_is_waited_for_longer_each_time_and_a_wrong_clock_does_not_stop_it() {
    let mut life = Life::new();
    let mut pauses = Vec::new();
    for failures in 1..=terms().policy.retry.attempts {
        let now = WEEK + i64::from(failures) * 10 * HOUR;
        life.fail(now);
        match life.phase(&terms(), now) {
            Phase::Paused { until, failures: f } if f == failures => {
                let pause = until.duration_since(at(now)).as_secs();
                pauses.push(pause);
                assert!(matches!(life.phase(&terms(), now + pause), Phase::Due { .. }));
                // A clock that is a little behind waits too, and one that is far
                // behind does not wait until it has caught up.
                assert!(matches!(life.phase(&terms(), now - HOUR), Phase::Paused { .. }));
                assert!(matches!(life.phase(&terms(), now - 2 * HOUR), Phase::Due { .. }));
            }
            Phase::Stopped { failures: f } if f == failures => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pauses, [60, 120, 240, 480, 960, 1_920, 3_600]);
    // What is compromised is tried for ever, and so is what must end.
    life.leak(1);
    let long_after = 52 * WEEK;
    assert!(matches!(life.phase(&terms(), long_after), Phase::Due { why: Why::Compromised, .. }));
    life.turn(long_after);
    assert_eq!(life.0.rotation.as_ref().unwrap().failures, 0, "it went on");
}

#[test]
fn one_at_a_time_leaves_a_gap_that_is_closed_first() {
    let terms = Terms { at_once: AtOnce::One, ..terms() };
    let mut life = Life::new();
    let step = open(Action::Rotate, false, Some("k1"), at(WEEK));
    life.0.done(&step, None, at(WEEK));
    assert_eq!(life.phase(&terms, WEEK), Phase::Due { since: at(WEEK), why: Why::Gap });
    life.turn(WEEK + 1);
    assert_eq!(life.0.rotation, None);
    assert!(matches!(life.phase(&terms, WEEK + 1), Phase::Idle { .. }));
}

/// Walks every record that moves of all sorts reach within some steps, under
/// each policy, and looks at each: nothing ends before its time but what is
/// compromised, and from everywhere there is a way to rest.
#[test]
fn every_record_that_can_be_reached_is_safe_and_has_a_way_forward() {
    let mut policies = Vec::new();
    for at_once in [AtOnce::One, AtOnce::Two, AtOnce::Many] {
        for consumers in [&[][..], &["a"], &["a", "b"]] {
            for at_deadline in [AtDeadline::Keep, AtDeadline::Revoke(Span::Exact(60))] {
                policies.push(Terms {
                    at_once,
                    consumers: names(consumers),
                    at_deadline,
                    ..terms()
                });
            }
        }
    }
    let mut looked_at = 0;
    for terms in &policies {
        let mut reached = vec![(Life::new(), WEEK)];
        for _ in 0..5 {
            let mut next: Vec<(Life, i64)> = Vec::new();
            for (life, now) in &reached {
                look(life, terms, *now);
                looked_at += 1;
                for other in moves(life, terms, *now) {
                    if !next.contains(&other) {
                        next.push(other);
                    }
                }
            }
            reached = next;
        }
        for (life, now) in reached {
            comes_to_rest(life, terms, now);
            looked_at += 1;
        }
    }
    assert!(looked_at > 5_000, "{looked_at}");
}

fn moves(life: &Life, terms: &Terms, now: i64) -> Vec<(Life, i64)> {
    let mut all = vec![(life.clone(), now + 61), (life.clone(), now + HOUR)];
    let mut with = |change: &dyn Fn(&mut Life)| {
        let mut changed = life.clone();
        change(&mut changed);
        all.push((changed, now));
    };
    match life.phase(terms, now) {
        Phase::Due { .. } => {
            with(&|life| life.turn(now));
            with(&|life| life.fail(now));
        }
        Phase::Ending { generations, .. } => {
            for generation in generations.keys() {
                with(&|life| life.end(*generation, now));
            }
            with(&|life| life.fail(now));
        }
        _ => {}
    }
    for consumer in &terms.consumers {
        with(&|life| life.confirm(consumer, life.0.generations));
    }
    with(&|life| life.leak(life.0.generations));
    all
}

fn look(life: &Life, terms: &Terms, now: i64) {
    let nothing = Rotation::default();
    let rotation = life.0.rotation.as_deref().unwrap_or(&nothing);
    let shown = || format!("{life:?} under {terms:?} at {now}");
    if let Phase::Ending { generations, .. } = life.phase(terms, now) {
        for (generation, cut_off) in generations {
            let since = rotation.overlap[&generation];
            let present = life.0.object.as_ref().unwrap().credential.as_ref().unwrap();
            assert_ne!(generation, present.generation, "{}", shown());
            let leaked = !rotation.compromised.is_empty();
            assert!(leaked || at(now) >= terms.old_ends(since), "{}", shown());
            let all = terms.consumers.iter().all(|consumer| {
                rotation.confirmed.get(consumer).is_some_and(|g| *g >= present.generation)
            });
            assert_eq!(cut_off.is_empty(), all, "who is cut off is said: {}", shown());
            let decided = terms.at_deadline != AtDeadline::Keep;
            assert!(all || leaked || decided, "{}", shown());
        }
    }
    let many = life.0.deposed.len();
    let most = if terms.at_once == AtOnce::Many { usize::MAX } else { 1 };
    assert!(many <= most, "no more stand than the system lets: {}", shown());
}

/// With every move succeeding, and every consumer confirming, a record comes
/// to rest within a few moves, with one generation that is not compromised.
fn comes_to_rest(mut life: Life, terms: &Terms, mut now: i64) {
    let begun = format!("{life:?} under {terms:?} at {now}");
    for _ in 0..40 {
        let phase = life.phase(terms, now);
        match &phase {
            Phase::Idle { .. } => {
                assert!(
                    life.0.deposed.is_empty()
                        && life
                            .0
                            .rotation
                            .as_ref()
                            .is_none_or(|r| { r.compromised.is_empty() && r.failures == 0 }),
                    "{begun}: {life:?}"
                );
                return;
            }
            Phase::Due { .. } | Phase::Stopped { .. } => life.turn(now),
            Phase::Ending { generations, .. } => {
                for generation in generations.keys() {
                    life.end(*generation, now);
                }
            }
            Phase::Overdue { .. } => {
                for consumer in &terms.consumers {
                    life.confirm(consumer, life.0.generations);
                }
            }
            _ => {}
        }
        if let Some(wakes) = phase.wakes() {
            now = now.max(wakes.duration_since(at(0)).as_secs());
        }
    }
    panic!("{begun} comes to no rest: {life:?}");
}

#[test]
fn whoever_comes_late_waits_for_the_next_window() {
    let mut said = crate::agent::Terms::default();
    said.rotate("7d");
    said.jitter("0s");
    said.window("02:00-04:00");
    let policy = Policy::read(&said, &FleetPolicy::default()).unwrap();
    let terms = Terms { policy: Arc::new(policy), ..terms() };
    let life = Life::new();
    let Phase::Idle { due: Some(due) } = life.phase(&terms, 0) else {
        panic!("{:?}", life.phase(&terms, 0));
    };
    let due = due.duration_since(at(0)).as_secs();
    assert!(matches!(life.phase(&terms, due), Phase::Due { .. }));
    // Nobody was there for half a day: that is out of the window.
    let late = due + 12 * HOUR;
    let Phase::Idle { due: Some(next) } = life.phase(&terms, late) else {
        panic!("{:?}", life.phase(&terms, late));
    };
    assert!(next > at(late) && next < at(late + 24 * HOUR), "{next}");
    assert!(matches!(phase(&life.0, &terms, next), Phase::Due { why: Why::Period, .. }));
}
