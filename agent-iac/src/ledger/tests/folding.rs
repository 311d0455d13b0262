//! The fold: what entries amount to, and that a part tells the same as all.

use std::collections::BTreeSet;

use proptest::{collection, prelude::*};

use super::{super::*, adopt, begin, events, managed};
use crate::{error::ErrorKind, plan::Action, value::Digest};

fn next(state: &State, entries: Vec<Entry>) -> Batch {
    let time = Timestamp::from_second(1_770_000_000).unwrap();
    let body = Digest::of(&entries).unwrap();
    Batch { header: state.head.next(time, body), entries }
}

fn absorb(state: &mut State, entries: Vec<Entry>) {
    let batch = next(state, entries);
    state.absorb(&batch).unwrap();
}

#[track_caller]
fn cannot_follow(state: &State, entries: Vec<Entry>, why: &str) {
    let error = state.clone().absorb(&next(state, entries)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains(why), "{error}");
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn run(number: u8) -> RunId {
    RunId::random(&Always(number))
}

struct Always(u8);

impl crate::clock::Entropy for Always {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

proptest! {
    // Each case is a whole history, so a few tell as much as many entries do.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_part_absorbs_a_batch_as_the_whole_does(
        batches in collection::vec(collection::vec(events::entry(), 1..4), 1..24),
    ) {
        let mut whole = State::default();
        for entries in batches {
            let batch = next(&whole, entries);
            let touched = State::touched_by(&batch.entries);
            let mut part = whole.part(&touched);
            let mut absorbed = whole.clone();
            let outcome = absorbed.absorb(&batch);
            let partly = part.absorb(&batch);
            prop_assert_eq!(outcome.is_ok(), partly.is_ok(), "{:?} {:?}", outcome, partly);
            let before = whole.clone();
            let Ok(changed) = whole.absorb_touching(&batch, &touched) else {
                prop_assert!(outcome.is_err());
                prop_assert_eq!(&whole, &before);
                continue;
            };
            prop_assert_eq!(&whole, &absorbed);
            prop_assert_eq!(&whole.part(&touched), &part);
            for address in &changed.addresses {
                prop_assert!(touched.addresses.contains(address));
            }
            // What an append must expect is exactly what gets another version.
            let moved: BTreeSet<Address> = whole
                .records
                .iter()
                .filter(|(_, record)| record.version == batch.header.sequence)
                .map(|(address, _)| address.clone())
                .collect();
            prop_assert_eq!(&State::changed_by(&batch.entries), &moved);
            prop_assert_eq!(&changed.addresses, &moved);
        }
    }

    #[test]
    fn a_state_comes_back_from_its_persisted_form(
        batches in collection::vec(collection::vec(events::entry(), 1..3), 1..16),
    ) {
        let mut state = State::default();
        for entries in batches {
            let mut after = state.clone();
            if after.absorb(&next(&state, entries)).is_ok() {
                state = after;
            }
        }
        let text = grouping::text(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}

#[test]
fn a_step_cannot_begin_where_another_may_have_had_its_effect() {
    let mut state = State::default();
    let (account, run) = (address("triage.account"), run(1));
    absorb(&mut state, vec![begin(&account, &run.claim(1), "1").in_run(&run)]);
    let over = vec![begin(&account, &run.claim(2), "2").in_run(&run)];
    cannot_follow(&state, over, "another is still open");
    // The same step may be begun again: its claim makes it one effect.
    absorb(&mut state, vec![begin(&account, &run.claim(1), "1").in_run(&run)]);
    let failed = StepEvent::Failed { claim: run.claim(1), error: String::from("no") };
    absorb(&mut state, vec![Entry::of(&account, failed)]);
    absorb(&mut state, vec![begin(&account, &run.claim(2), "2").in_run(&run)]);
    assert_eq!(state.version(&account), 4);
}

#[test]
fn what_belongs_to_no_open_step_cannot_be_folded() {
    let mut state = State::default();
    let (account, run) = (address("triage.account"), run(1));
    absorb(&mut state, vec![begin(&account, &run.claim(1), "1").in_run(&run)]);
    let claim = run.claim(2);
    for event in [
        Event::from(StepEvent::Done { claim: claim.clone(), object: None }),
        StepEvent::Failed { claim: claim.clone(), error: String::new() }.into(),
        StepEvent::InDoubt { claim: claim.clone(), error: String::new() }.into(),
        CredentialEvent::Issued { claim, id: String::from("7") }.into(),
    ] {
        cannot_follow(&state, vec![Entry::of(&account, event)], "step");
    }
}

#[test]
fn a_replaced_object_stays_recorded_until_it_is_gone() {
    let mut state = State::default();
    let (account, run) = (address("triage.account"), run(1));
    absorb(&mut state, vec![adopt(&account, "old")]);
    let begun = |claim: &Claim, action, deposed, id: Option<&str>| {
        let begun = StepEvent::Begun {
            claim: claim.clone(),
            action,
            deposed,
            target: None,
            id: id.map(String::from),
            provider: String::from("test"),
            resource_type: String::from("test.account"),
        };
        Entry::of(&account, begun).in_run(&run)
    };
    let done = |claim: &Claim, object| {
        Entry::of(&account, StepEvent::Done { claim: claim.clone(), object })
    };
    let (create, remove) = (run.claim(1), run.claim(2));
    absorb(&mut state, vec![begun(&create, Action::ReplaceCreateFirst, false, None)]);
    absorb(&mut state, vec![done(&create, Some(managed("new").into()))]);
    let record = &state.records[&account];
    assert_eq!(record.object.as_ref().unwrap().id, "new");
    assert_eq!(record.deposed, [managed("old").into()]);
    absorb(&mut state, vec![begun(&remove, Action::Delete, true, Some("old"))]);
    absorb(&mut state, vec![done(&remove, None)]);
    let record = &state.records[&account];
    assert_eq!((record.object.as_ref().unwrap().id.as_str(), record.deposed.len()), ("new", 0));
}

#[test]
fn a_move_loses_nothing_and_covers_nothing() {
    let mut state = State::default();
    let (old, new, third) = (address("a.x"), address("b.x"), address("c.x"));
    let mut key = managed("key-7");
    key.credential = Some(CredentialRecord {
        generation: 7,
        place: "vault:a".parse().unwrap(),
        stored: None,
        fingerprint: None,
        issued_at: None,
        verified_at: None,
    });
    let adopted = RecordEvent::Adopted { object: key.clone().into(), from: None };
    absorb(&mut state, vec![Entry::of(&old, adopted), adopt(&third, "3")]);
    let moved = |to: &Address, from: &Address| {
        vec![Entry::of(to, RecordEvent::Moved { from: from.clone() })]
    };
    cannot_follow(&state, moved(&third, &old), "would cover");
    cannot_follow(&state, moved(&old, &new), "no record to move");
    cannot_follow(&state, moved(&old, &old), "leads nowhere");
    absorb(&mut state, moved(&new, &old));
    assert_eq!(state.object(&new), Some(&key));
    assert_eq!(state.object(&old), None);
    assert_eq!((state.version(&old), state.version(&new)), (2, 2));
    assert_eq!(state.records[&old].generations, 7, "generation 1 was used here once");
    assert_eq!(state.records[&new].generations, 7);
    cannot_follow(&state, moved(&third, &old), "no record to move");
}

#[test]
fn runs_and_ledgers_begin_once() {
    let mut state = State::default();
    let opened = || {
        Entry::new(LedgerEvent::Opened {
            id: String::from("1"),
            fleet: String::from("office"),
            environment: String::from("test"),
            format: FORMAT,
        })
    };
    let begun = || {
        let begun = RunEvent::Begun {
            purpose: RunPurpose::Apply,
            actor: Actor::asserted("os", "ada"),
            authority: Authority::Standing { digest: Digest::ZERO },
            instances: Vec::new(),
            revision: None,
            engine: String::new(),
        };
        Entry::new(begun).in_run(&run(1))
    };
    let ended = || Entry::new(RunEvent::Ended { summary: Summary::default() }).in_run(&run(1));
    absorb(&mut state, vec![opened()]);
    cannot_follow(&state, vec![opened()], "opened a second time");
    cannot_follow(&state, vec![ended()], "ends that had not begun");
    absorb(&mut state, vec![begun()]);
    cannot_follow(&state, vec![begun()], "begins a second time");
    absorb(&mut state, vec![ended()]);
    assert!(state.runs.is_empty());
}

#[test]
fn a_chain_tells_a_batch_that_was_left_out_changed_or_put_elsewhere() {
    let mut state = State::default();
    let mut batches = Vec::new();
    for name in ["a.x", "b.x", "c.x"] {
        let batch = next(&state, vec![adopt(&address(name), name)]);
        state.absorb(&batch).unwrap();
        batches.push(batch);
    }
    let follow = |batches: &[Batch]| {
        let mut head = Head::EMPTY;
        batches.iter().try_for_each(|batch| head.follow(batch)).map(|()| head)
    };
    assert_eq!(follow(&batches).unwrap(), state.head);
    let said = |batches: &[Batch]| follow(batches).unwrap_err().to_string();
    let [a, b, c] = &batches[..] else { panic!("three batches were made") };
    assert!(said(&[a.clone(), c.clone()]).contains("batch 3 of the ledger stands where batch 2"));
    let mut changed = b.clone();
    changed.entries = c.entries.clone();
    assert!(said(&[a.clone(), changed]).contains("holds other entries"));
    let mut elsewhere = c.clone();
    elsewhere.header.sequence = 2;
    assert!(said(&[a.clone(), elsewhere]).contains("does not follow"));
    let mut earlier = a.clone();
    earlier.header.time = Timestamp::UNIX_EPOCH;
    assert!(said(&[earlier, b.clone()]).contains("batch 2 of the ledger does not follow"));
}

#[test]
fn what_a_checkpoint_carries_stands_in_a_checkpoint_and_nowhere_else() {
    let state = {
        let mut state = State::default();
        let opened = LedgerEvent::Opened {
            id: String::from("ledger"),
            fleet: String::from("office"),
            environment: String::from("test"),
            format: FORMAT,
        };
        absorb(&mut state, vec![Entry::new(opened)]);
        absorb(&mut state, vec![adopt(&address("triage.account"), "1")]);
        state
    };
    let record = Box::new(state.records[&address("triage.account")].clone());
    let carried = Entry::of(&address("triage.account"), RecordEvent::Carried { record });
    cannot_follow(&state, vec![carried.clone()], "nothing else does");
    let time = Timestamp::from_second(1_770_000_000).unwrap();
    let actor = Actor::asserted("os", "ada");
    let batches = checkpoint::batches(&state, time, &actor).unwrap();
    let mut after = State::default();
    for sealed in &batches {
        after.absorb(&sealed.open().unwrap()).unwrap();
    }
    assert_eq!(after.records, state.records);
    cannot_follow(&after, vec![carried], "nothing else does");
    // Within the checkpoint nothing else stands.
    let mut half = State::default();
    half.absorb(&batches[0].open().unwrap()).unwrap();
    cannot_follow(&half, vec![adopt(&address("triage.other"), "2")], "nothing else does");
    let first = batches[0].open().unwrap().entries;
    cannot_follow(&after, first.clone(), "opened a second time");
    cannot_follow(&State::default(), first, "does not stand where it says");
}

#[test]
fn a_rewind_goes_on_behind_every_number_that_was_given() {
    let head = Head { sequence: 5, hash: Digest::ZERO };
    let lost = |sequence| Head { sequence, hash: Digest::of_bytes(b"lost") };
    let rewound = |lost: &[(&str, Head)]| {
        Entry::new(LedgerEvent::Rewound {
            lost: lost.iter().map(|(place, head)| ((*place).to_owned(), *head)).collect(),
            to: head,
            actor: Actor::asserted("os", "ada"),
            reason: String::from("the disk died"),
        })
    };
    let time = Timestamp::from_second(1_770_000_000).unwrap();
    for (entries, number) in [
        (vec![adopt(&address("triage.account"), "1")], 6),
        (vec![rewound(&[("vault", lost(9)), ("other", lost(3))])], 10),
        (vec![rewound(&[("vault", lost(2))])], 6),
    ] {
        let header = head.header(time, Digest::of(&entries).unwrap(), &entries);
        assert_eq!(header.sequence, number);
        let batch = Batch { header, entries };
        head.clone().follow(&batch).unwrap();
        head.clone().follow_sealed(&Sealed::of(&batch).unwrap()).unwrap();
    }
    // Only a rewind leaves numbers out.
    let entries = vec![adopt(&address("triage.account"), "1")];
    let body = Digest::of(&entries).unwrap();
    let header = Header { sequence: 7, ..head.next(time, body) };
    let batch = Batch { header, entries };
    let error = head.clone().follow_sealed(&Sealed::of(&batch).unwrap()).unwrap_err();
    assert!(error.message().contains("stands where batch 6 should"), "{error}");
    let second = vec![adopt(&address("triage.account"), "1"), rewound(&[("vault", lost(9))])];
    cannot_follow(&State::default(), second, "not the first of its batch");
}
