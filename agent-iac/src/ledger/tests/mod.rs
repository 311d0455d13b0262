mod events;
mod folding;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;

use super::*;
use crate::{
    clock::{Clock, Entropy, block_on},
    error::ErrorKind,
    plan::Action,
    schema::Kind,
};

/// A clock that stands still but for `sleep`, which moves it.
#[derive(Debug)]
pub(crate) struct Still(Mutex<Timestamp>);

impl Still {
    pub(crate) fn at(text: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(text.parse().unwrap())))
    }

    pub(crate) fn advance(&self, duration: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(jiff::SignedDuration::try_from(duration).unwrap()).unwrap();
    }
}

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}

/// Bytes that count, so that no two draws are equal.
#[derive(Debug, Default)]
pub(crate) struct Counting(Mutex<u64>);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let mut count = self.0.lock().unwrap();
        *count += 1;
        bytes.fill(0);
        for (byte, of_count) in bytes.iter_mut().rev().zip(count.to_le_bytes()) {
            *byte = of_count;
        }
    }
}

pub(crate) fn managed(id: &str) -> Managed {
    Managed {
        resource_type: String::from("test.account"),
        kind: Kind::Identity,
        provider: String::from("test"),
        id: id.to_owned(),
        properties: BTreeMap::from([(String::from("name"), id.into())]),
        outputs: BTreeMap::new(),
        access: crate::access::Access::NONE,
        dependencies: BTreeSet::new(),
        protect: false,
        suspended: false,
        credential: None,
    }
}

pub(crate) fn adopt(address: &Address, id: &str) -> Entry {
    Entry::of(address, RecordEvent::Adopted { object: managed(id).into(), from: None })
}

pub(crate) fn begin(address: &Address, claim: &Claim, id: &str) -> Entry {
    Entry::of(
        address,
        StepEvent::Begun {
            claim: claim.clone(),
            action: Action::Create,
            deposed: false,
            target: Some(managed(id).into()),
            id: None,
            provider: String::from("test"),
            resource_type: String::from("test.account"),
        },
    )
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn memory() -> (Arc<Still>, MemoryLedger) {
    let clock = Still::at("2026-03-01T00:00:00Z");
    let for_ledger = Arc::clone(&clock) as Arc<dyn Clock>;
    (clock, MemoryLedger::opened(for_ledger, "office", "test").unwrap())
}

fn expecting(entries: Vec<Entry>, expected: &[(&str, u64)]) -> Append {
    let expected = expected.iter().map(|(text, version)| (address(text), *version)).collect();
    Append { expected, entries, ..Append::default() }
}

fn taking(run: &RunId, instance: &str, force: bool) -> Append {
    let entry = Entry::new(PlanEvent::Refused {
        digest: crate::value::Digest::ZERO,
        actor: Actor::asserted("os", "ada"),
        reason: String::from("only to append something"),
    });
    Append {
        entries: vec![entry.in_run(run)],
        take: Some(Take {
            run: run.clone(),
            instances: vec![instance.parse().unwrap()],
            holder: String::from("ada on host-1, process 7"),
            ttl: Duration::from_mins(1),
            force,
        }),
        ..Append::default()
    }
}

#[test]
fn a_refused_append_names_every_address_that_moved_and_changes_nothing() {
    let (_, ledger) = memory();
    let (a, b, c) = (address("triage.a"), address("triage.b"), address("triage.c"));
    let first =
        expecting(vec![adopt(&a, "1"), adopt(&b, "2")], &[("triage.a", 0), ("triage.b", 0)]);
    block_on(ledger.append(first)).unwrap();
    let before = block_on(ledger.state(&Query::Everything)).unwrap();
    let second = expecting(
        vec![adopt(&a, "3"), adopt(&b, "4"), adopt(&c, "5")],
        &[("triage.a", 0), ("triage.b", 1), ("triage.c", 0)],
    );
    let error = block_on(ledger.append(second)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("`triage.a` is at version 2, not 0"), "{error}");
    assert!(error.message().contains("`triage.b` is at version 2, not 1"), "{error}");
    assert!(!error.message().contains("triage.c"), "{error}");
    assert_eq!(before, block_on(ledger.state(&Query::Everything)).unwrap());
}

#[test]
fn an_append_that_hides_what_it_changes_is_refused() {
    let (_, ledger) = memory();
    let entry = adopt(&address("triage.a"), "1");
    let error = block_on(ledger.append(expecting(vec![entry], &[]))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("triage.a"));
    let nothing = block_on(ledger.append(Append::default())).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_held_lease_says_by_whom_since_when_and_what_to_do() {
    let (_, ledger) = memory();
    let entropy = Counting::default();
    let (one, two) = (RunId::random(&entropy), RunId::random(&entropy));
    block_on(ledger.append(taking(&one, "triage", false))).unwrap();
    let error = block_on(ledger.append(taking(&two, "triage", false))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseHeld);
    for part in ["`triage`", "ada on host-1, process 7", one.as_str(), "2026-03-01T00:00:00Z"] {
        assert!(error.message().contains(part), "{part} is missing in: {error}");
    }
    assert!(error.repair().unwrap().contains("2026-03-01T00:01:00Z"));
    assert_eq!(
        error.retry(),
        crate::error::Retry::After(Duration::from_mins(1)),
        "it can be had once it has run out",
    );
}

#[test]
fn a_crash_frees_the_leases_of_the_dead_and_their_fences_are_worth_nothing_once_taken() {
    let (_, ledger) = memory();
    let entropy = Counting::default();
    let (one, two) = (RunId::random(&entropy), RunId::random(&entropy));
    let old = block_on(ledger.append(taking(&one, "triage", false))).unwrap().fence;
    ledger.crash();
    assert_eq!(block_on(ledger.leases()).unwrap(), []);
    let new = block_on(ledger.append(taking(&two, "triage", false))).unwrap().fence;
    assert!(new.as_ref().unwrap().token > old.as_ref().unwrap().token);
    let late = Append {
        fence: old,
        ..expecting(vec![adopt(&address("triage.a"), "1")], &[("triage.a", 0)])
    };
    let error = block_on(ledger.append(late)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseHeld);
    assert!(error.message().contains(two.as_str()), "{error}");
}

#[test]
fn the_ledger_in_memory_keeps_the_contract_of_a_ledger() {
    let clock = Still::at("2026-03-01T00:00:00Z");
    let for_ledgers = Arc::clone(&clock) as Arc<dyn Clock>;
    let make = || async {
        let ledger = MemoryLedger::opened(Arc::clone(&for_ledgers), "office", "test").unwrap();
        Arc::new(ledger) as Arc<dyn Ledger>
    };
    block_on(crate::testing::ledger::check(make, &*clock));
}

#[test]
fn a_lease_that_changes_hands_within_a_group_is_missed_by_what_stands_behind() {
    let clock = Still::at("2026-03-01T00:00:00Z");
    let (mut state, mut leases) = (State::default(), BTreeMap::new());
    let mut group = Group::new(&mut state, &mut leases, clock.now());
    let mut decide = |append: Append| group.decide(Prepared::new(append).unwrap());
    let opened = LedgerEvent::Opened {
        id: String::from("ledger"),
        fleet: String::from("office"),
        environment: String::from("test"),
        format: FORMAT,
    };
    decide(expecting(vec![Entry::new(opened)], &[])).unwrap();
    let entropy = Counting::default();
    let (one, two) = (RunId::random(&entropy), RunId::random(&entropy));
    let fence = decide(taking(&one, "a", false)).unwrap().appended.fence;
    let under_it = |name: &str| {
        let append = expecting(vec![adopt(&address(name), "1")], &[(name, 0)]);
        Append { fence: fence.clone(), ..append }
    };
    decide(under_it("a.x")).unwrap();
    decide(under_it("a.y")).unwrap();
    decide(taking(&two, "a", true)).unwrap();
    assert_eq!(decide(under_it("a.z")).unwrap_err().kind(), ErrorKind::LeaseHeld);
}

#[test]
fn a_history_so_large_that_two_threads_read_it_is_replayed_in_its_order() {
    let clock = Still::at("2026-03-01T00:00:00Z");
    let ledger = MemoryLedger::opened(clock, "office", "test").unwrap();
    let address: Address = "triage.account".parse().unwrap();
    let long = "x".repeat(20_000);
    let mut version = 0;
    for number in 0..40 {
        let entries = vec![adopt(&address, &format!("{number}{long}"))];
        let expected = BTreeMap::from([(address.clone(), version)]);
        let append = Append { expected, entries, ..Append::default() };
        version = block_on(ledger.append(append)).unwrap().head.sequence;
    }
    let verified = block_on(verify(&ledger, None)).unwrap();
    assert_eq!((verified.batches, verified.entries), (41, 41));
}
