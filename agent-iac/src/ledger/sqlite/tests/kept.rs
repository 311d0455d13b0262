//! What a writer remembers of the file, beside another that writes too.

use super::*;
use crate::ledger::MemoryLedger;

/// A number below `below`, and the next state.
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

fn forced(run: &RunId, agent: &str) -> Append {
    let mut append = take(run, agent);
    append.take.as_mut().unwrap().force = true;
    append
}

#[test]
fn what_a_writer_remembers_ends_with_the_first_commit_of_another() {
    let place = Place::new();
    let (one, two) = (place.create(), place.open());
    let run = RunId::random(&Counting::default());
    let fence = block_on(one.append(take(&run, "triage"))).unwrap().fence;
    let fenced = |expected| Append { fence: fence.clone(), ..record("triage.account", expected) };
    let first = block_on(one.append(fenced(0))).unwrap().head.sequence;
    let second = block_on(one.append(fenced(first))).unwrap().head.sequence;
    let theirs = block_on(two.append(record("triage.account", second))).unwrap().head.sequence;
    let late = block_on(one.append(fenced(second))).unwrap_err();
    assert_error(&late, ErrorKind::Conflict, "at version");
    let third = block_on(one.append(fenced(theirs))).unwrap().head.sequence;
    let other = RunId::random(&SystemEntropy);
    block_on(two.append(forced(&other, "triage"))).unwrap();
    let late = block_on(one.append(fenced(third))).unwrap_err();
    assert_error(&late, ErrorKind::LeaseHeld, "lost its lease");
    block_on(verify(&one, None)).unwrap();
}

#[test]
fn through_two_handles_every_append_is_answered_as_one_memory_would() {
    for seed in 0..40_u64 {
        let place = Place::new();
        let handles = [place.create(), place.open()];
        let clock = Arc::clone(&place.clock) as Arc<dyn Clock>;
        let memory = MemoryLedger::opened(clock, "office", "test").unwrap();
        let entropy = Counting::default();
        let runs = [RunId::random(&entropy), RunId::random(&entropy)];
        let mut fences = [None, None];
        let mut at = seed;
        for step in 0..60 {
            let agent = ["triage", "mail"][usize::try_from(draw(&mut at, 2)).unwrap()];
            let run = usize::try_from(draw(&mut at, 2)).unwrap();
            let address = format!("{agent}.{}", ["account", "key"][(at % 2) as usize]);
            let state = block_on(memory.state(&Query::Everything)).unwrap();
            let expected = state.version(&address.parse().unwrap());
            let append = match draw(&mut at, 8) {
                0 => forced(&runs[run], agent),
                1 => take(&runs[run], agent),
                2 => record(&address, expected + draw(&mut at, 2)),
                3 => record(&address, expected),
                _ => Append { fence: fences[run].clone(), ..record(&address, expected) },
            };
            let handle = &handles[usize::try_from(draw(&mut at, 2)).unwrap()];
            let (real, model) =
                (block_on(handle.append(append.clone())), block_on(memory.append(append)));
            match (real, model) {
                (Ok(real), Ok(model)) => {
                    assert_eq!(real.head.sequence, model.head.sequence, "seed {seed}, step {step}");
                    if model.fence.is_some() {
                        assert_eq!(real.fence, model.fence);
                        fences[run] = model.fence;
                    }
                }
                (real, model) => assert_eq!(
                    real.map_err(|error| error.kind()).err(),
                    model.map_err(|error| error.kind()).err(),
                    "seed {seed}, step {step}"
                ),
            }
        }
        let (kept, model) = (everything(&handles[0]), everything_of(&memory));
        assert_eq!((kept.records, kept.agents), (model.records, model.agents), "seed {seed}");
        block_on(verify(&handles[1], None)).unwrap();
    }
}

fn everything_of(memory: &MemoryLedger) -> State {
    block_on(memory.state(&Query::Everything)).unwrap()
}
