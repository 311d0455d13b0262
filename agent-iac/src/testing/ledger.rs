//! The conformance suite of [`Ledger`].
//!
//! A backend that passes [`check`] keeps the trait's contract as far as one
//! process can see it. What only a power cut, a killed process or a second
//! machine shows, a backend has to test by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;

use crate::{
    access::Access,
    address::{Address, Instance},
    clock::{Clock, Entropy},
    error::{Error, ErrorKind},
    ledger::{
        Actor, AgentEvent, Append, Appended, Authority, Cause, Entry, Event, Fence, Head, Ledger,
        LedgerEvent, Managed, ObservedEvent, PlanEvent, Query, RecordEvent, RunEvent, RunId,
        RunPurpose, State, StepEvent, Summary, Take, backup, check_backup, verify, verify_archived,
    },
    plan::Action,
    schema::Kind,
    value::Digest,
};

/// Checks that the ledgers that `make` gives keep the contract of [`Ledger`].
///
/// `make` gives a new ledger each time, which holds its first batch and
/// nothing else. `clock` is the one that these ledgers tell the time by: its
/// `sleep` is what leases run out by.
///
/// ```
/// use std::sync::Arc;
/// use agent_iac::{clock::{SystemClock, block_on}, ledger::{Ledger, MemoryLedger}, testing};
///
/// let make = || async {
///     let ledger = MemoryLedger::opened(Arc::new(SystemClock), "office", "test").unwrap();
///     Arc::new(ledger) as Arc<dyn Ledger>
/// };
/// block_on(testing::ledger::check(make, &SystemClock));
/// ```
///
/// # Panics
///
/// When the contract is broken, saying which part of it.
pub async fn check<F, Made>(make: F, clock: &dyn Clock)
where
    F: Fn() -> Made + Sync,
    Made: Future<Output = Arc<dyn Ledger>> + Send,
{
    begins_with_its_own_name(&*make().await).await;
    chains_what_is_appended(&*make().await).await;
    gives_each_agent_in_one_page(&*make().await).await;
    names_every_address_that_moved(&*make().await).await;
    puts_others_behind_the_newest(&*make().await).await;
    lets_one_of_many_have_an_address(&*make().await).await;
    refuses_without_a_trace(&*make().await).await;
    keeps_versions_of_what_only_was_seen(&*make().await).await;
    answers_for_some_agents_as_for_all(&*make().await).await;
    pages_through_batches(&*make().await).await;
    keeps_others_out_by_leases(&*make().await).await;
    gives_leases_by_force_and_fences_the_loser(&*make().await).await;
    takes_all_leases_or_none(&*make().await).await;
    lets_leases_run_out(&*make().await, clock).await;
    carries_out_a_dropped_append_or_nothing(&*make().await).await;
    can_be_backed_up_and_archived(&*make().await).await;
}

struct Counter(std::sync::atomic::AtomicU64);

impl Entropy for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        let next = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        bytes.fill(0);
        for (byte, of_next) in bytes.iter_mut().rev().zip(next.to_le_bytes()) {
            *byte = of_next;
        }
    }
}

fn runs() -> impl Fn() -> RunId {
    let counter = Counter(std::sync::atomic::AtomicU64::new(1));
    move || RunId::random(&counter)
}

fn instance(text: &str) -> Instance {
    text.parse().expect("the suite names agents rightly")
}

fn address(text: &str) -> Address {
    text.parse().expect("the suite names addresses rightly")
}

fn object(id: &str) -> Managed {
    Managed {
        resource_type: String::from("test.account"),
        kind: Kind::Identity,
        provider: String::from("test"),
        id: id.to_owned(),
        properties: BTreeMap::from([(String::from("name"), id.into())]),
        outputs: BTreeMap::new(),
        access: Access::NONE,
        dependencies: BTreeSet::new(),
        protect: false,
        suspended: false,
        credential: None,
    }
}

/// An append that records an object at each address.
fn adopt(at: &[(&str, u64)]) -> Append {
    Append {
        expected: at.iter().map(|(text, version)| (address(text), *version)).collect(),
        entries: at
            .iter()
            .map(|(text, _)| {
                Entry::of(
                    &address(text),
                    RecordEvent::Adopted { object: object(text).into(), from: None },
                )
            })
            .collect(),
        ..Append::default()
    }
}

fn note(reason: &str) -> Entry {
    Entry::new(PlanEvent::Refused {
        digest: Digest::ZERO,
        actor: Actor::asserted("suite", "tester"),
        reason: reason.to_owned(),
    })
}

fn declare(agent: &str) -> Entry {
    let declared = AgentEvent::Declared {
        owner: String::from("team:test"),
        purpose: String::from("Is declared in a test."),
        expires: jiff::civil::date(2030, 1, 1),
        grace: "7d".parse().expect("this is a period"),
        source: None,
    };
    Entry::about(&instance(agent), declared)
}

fn begun(run: &RunId, agents: &[&str]) -> Entry {
    let begun = RunEvent::Begun {
        purpose: RunPurpose::Apply,
        actor: Actor::asserted("suite", "tester"),
        authority: Authority::Standing { digest: Digest::ZERO },
        instances: agents.iter().map(|agent| instance(agent)).collect(),
        revision: None,
        engine: String::from("suite"),
    };
    Entry::new(begun).in_run(run)
}

fn take(run: &RunId, agents: &[&str], ttl: Duration, force: bool) -> Append {
    Append {
        entries: vec![begun(run, agents)],
        take: Some(Take {
            run: run.clone(),
            instances: agents.iter().map(|agent| instance(agent)).collect(),
            holder: format!("the holder of {run}"),
            ttl,
            force,
        }),
        ..Append::default()
    }
}

fn under(fence: &Fence, append: Append) -> Append {
    Append { fence: Some(fence.clone()), ..append }
}

async fn appended(ledger: &dyn Ledger, append: Append) -> Appended {
    match ledger.append(append).await {
        Ok(appended) => appended,
        Err(error) => panic!("an append that must be taken was refused: {error:?}"),
    }
}

async fn refused(ledger: &dyn Ledger, append: Append, kind: ErrorKind) -> Error {
    match ledger.append(append).await {
        Ok(_) => panic!("an append that must be refused ({kind:?}) was taken"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "a refusal is of another kind: {error:?}");
            error
        }
    }
}

async fn took(ledger: &dyn Ledger, append: Append) -> Fence {
    appended(ledger, append).await.fence.expect("an append that takes leases answers with a fence")
}

async fn state(ledger: &dyn Ledger) -> State {
    ledger.state(&Query::Everything).await.expect("the state can be read")
}

async fn is_whole(ledger: &dyn Ledger) {
    if let Err(error) = verify(ledger, None).await {
        panic!("the ledger does not verify: {error:?}");
    }
}

const LONG: Duration = Duration::from_hours(1);

async fn begins_with_its_own_name(ledger: &dyn Ledger) {
    let first = ledger.batches(1, 1).await.expect("batches can be read");
    let event = first.first().and_then(|batch| batch.entries.first()).map(|entry| &entry.event);
    let Some(Event::Ledger(LedgerEvent::Opened { id, fleet, environment, .. })) = event else {
        panic!("the first batch does not hold `Opened`");
    };
    let state = state(ledger).await;
    assert_eq!(state.head.sequence, 1, "a new ledger holds its first batch and nothing else");
    assert_eq!((&state.ledger, &state.fleet, &state.environment), (id, fleet, environment));
    assert!(!id.is_empty(), "a ledger has an id");
    assert_eq!(ledger.leases().await.expect("leases can be read"), []);
}

async fn chains_what_is_appended(ledger: &dyn Ledger) {
    let before = state(ledger).await.head;
    let one = appended(ledger, adopt(&[("a.x", 0)])).await;
    let two = appended(ledger, adopt(&[("b.x", 0)])).await;
    assert_eq!(one.head.sequence, before.sequence + 1);
    assert_eq!(two.head.sequence, before.sequence + 2);
    assert_eq!(one.fence, None, "no lease was taken");
    let after = state(ledger).await;
    assert_eq!(after.head, two.head, "the answer's head is the state's");
    let batches = ledger.batches(1, 100).await.expect("batches can be read");
    let mut head = Head::EMPTY;
    for batch in &batches {
        head.follow(batch).expect("each batch follows the one before it");
    }
    assert_eq!(head, two.head, "the chain ends at the head");
    assert_eq!(batches.last().map(|batch| batch.header.time), Some(two.time));
    is_whole(ledger).await;
}

async fn gives_each_agent_in_one_page(ledger: &dyn Ledger) {
    // One with records, one with nothing but a record of its own, and keys
    // that sort differently as text.
    appended(ledger, adopt(&[("a.x", 0), ("a.y", 0), ("a-b.x", 0), ("c[\"1\"].x", 0)])).await;
    let declared = ["a", "a-b", "b", "d"].map(declare);
    appended(ledger, Append { entries: declared.into(), ..Append::default() }).await;
    let whole = state(ledger).await;
    for limit in 1..6 {
        let (mut records, mut agents) = (BTreeMap::new(), BTreeMap::new());
        let mut after = None;
        for page in 0.. {
            assert!(page < 20, "the pages come to an end");
            let page = ledger.page(after.as_ref(), limit).await.expect("a page can be read");
            assert_eq!(page.state.head, whole.head, "a page is as of a head");
            let about = |instance: &Instance| {
                let of = records.keys().any(|address: &Address| address.instance() == instance);
                assert!(!of && !agents.contains_key(instance), "`{instance}` stands in one page");
            };
            page.state.records.keys().map(Address::instance).for_each(about);
            page.state.agents.keys().for_each(about);
            records.extend(page.state.records);
            agents.extend(page.state.agents);
            match page.last {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        assert_eq!(records, whole.records, "all pages of {limit} agents together are the whole");
        assert_eq!(agents, whole.agents);
    }
}

async fn names_every_address_that_moved(ledger: &dyn Ledger) {
    let first = appended(ledger, adopt(&[("a.x", 0), ("a.y", 0), ("a.z", 0)])).await;
    let now = first.head.sequence;
    let append = adopt(&[("a.x", now), ("a.y", 0), ("a.z", now + 7)]);
    let error = refused(ledger, append, ErrorKind::Conflict).await;
    let text = error.to_string();
    assert!(text.contains("a.y") && text.contains("a.z"), "not every moved address: {text}");
    assert!(!text.contains("a.x"), "an address that did not move is named: {text}");
    assert!(error.repair().is_some(), "a conflict says what to do");
}

async fn puts_others_behind_the_newest(ledger: &dyn Ledger) {
    let before = state(ledger).await.head.sequence;
    let names: Vec<String> = (0..24).map(|i| format!("agent-{i}.x")).collect();
    let appends = names.iter().map(|name| ledger.append(adopt(&[(name, 0)])));
    for result in join_all(appends).await {
        if let Err(error) = result {
            panic!("a writer of another agent was refused: {error:?}");
        }
    }
    assert_eq!(state(ledger).await.head.sequence, before + 24, "each append is one batch");
    is_whole(ledger).await;
}

async fn lets_one_of_many_have_an_address(ledger: &dyn Ledger) {
    let appends = (0..8).map(|_| ledger.append(adopt(&[("a.x", 0)])));
    let results = join_all(appends).await;
    let taken = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(taken, 1, "one append has the version that it expects, the others have not");
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    }
    is_whole(ledger).await;
}

async fn refuses_without_a_trace(ledger: &dyn Ledger) {
    let run = runs()();
    appended(ledger, adopt(&[("a.x", 0)])).await;
    let before = state(ledger).await;
    let taking = take(&run, &["a"], LONG, false);
    let mut both = adopt(&[("a.x", 0), ("b.x", 0)]);
    both.take = taking.take;
    refused(ledger, both, ErrorKind::Conflict).await;
    let end_without_begin = Append {
        expected: BTreeMap::from([(address("b.x"), 0)]),
        entries: vec![Entry::of(
            &address("b.x"),
            StepEvent::Done { claim: run.claim(1), object: None },
        )],
        ..Append::default()
    };
    refused(ledger, end_without_begin, ErrorKind::InvalidInput).await;
    let mut unexpected = adopt(&[("b.x", 0)]);
    unexpected.expected.clear();
    refused(ledger, unexpected, ErrorKind::InvalidInput).await;
    refused(ledger, Append::default(), ErrorKind::InvalidInput).await;
    assert_eq!(state(ledger).await, before, "what was refused left something behind");
    assert_eq!(
        ledger.leases().await.expect("leases can be read"),
        [],
        "a refused append left a lease",
    );
    let after = ledger.batches(before.head.sequence + 1, 1).await.expect("batches can be read");
    assert_eq!(after, [], "a refused append left a batch");
}

async fn keeps_versions_of_what_only_was_seen(ledger: &dyn Ledger) {
    let first = appended(ledger, adopt(&[("a.x", 0)])).await.head.sequence;
    let seen = ObservedEvent::Unread { reason: String::from("not allowed") };
    let observation =
        Append { entries: vec![Entry::of(&address("a.x"), seen)], ..Append::default() };
    appended(ledger, observation).await;
    assert_eq!(state(ledger).await.version(&address("a.x")), first, "seeing moved a version");
    appended(ledger, adopt(&[("a.x", first)])).await;
}

async fn answers_for_some_agents_as_for_all(ledger: &dyn Ledger) {
    let next = runs();
    let (one, two) = (next(), next());
    for agent in ["a", "b", r#"b["k"]"#, "c"] {
        let mut append = adopt(&[(&format!("{agent}.x"), 0), (&format!("{agent}.y"), 0)]);
        append.entries.push(declare(agent));
        appended(ledger, append).await;
    }
    appended(ledger, take(&one, &["a", "c"], LONG, false)).await;
    appended(ledger, take(&two, &[r#"b["k"]"#], LONG, false)).await;
    let step = StepEvent::Begun {
        claim: one.claim(1),
        action: Action::Create,
        deposed: false,
        target: Some(object("new").into()),
        id: None,
        provider: String::from("test"),
        resource_type: String::from("test.account"),
    };
    appended(
        ledger,
        Append {
            expected: BTreeMap::from([(address("a.z"), 0)]),
            entries: vec![Entry::of(&address("a.z"), step).in_run(&one)],
            ..Append::default()
        },
    )
    .await;
    let left = AgentEvent::Left {
        cause: Cause::Removed,
        seconds: 1,
        proved: BTreeSet::new(),
        open: BTreeMap::new(),
    };
    let gone = Append { entries: vec![Entry::about(&instance("c"), left)], ..Append::default() };
    appended(ledger, gone).await;
    let whole = state(ledger).await;
    for agents in [
        vec![],
        vec!["a"],
        vec!["b"],
        vec![r#"b["k"]"#],
        vec!["c", "a"],
        vec!["a", "a", "nobody"],
        vec!["a", "b", r#"b["k"]"#, "c"],
    ] {
        let query = Query::Agents(agents.iter().map(|agent| instance(agent)).collect());
        let part = ledger.state(&query).await.expect("a part of the state can be read");
        assert_eq!(
            part,
            whole.restrict(&query),
            "the part for {agents:?} is not that of the whole"
        );
    }
    let ended = Entry::new(RunEvent::Ended { summary: Summary::default() }).in_run(&two);
    appended(ledger, Append { entries: vec![ended], ..Append::default() }).await;
    let runs: Vec<RunId> = state(ledger).await.runs.into_keys().collect();
    assert_eq!(runs, [one], "a run that ended is open no more");
    is_whole(ledger).await;
}

async fn pages_through_batches(ledger: &dyn Ledger) {
    for reason in ["one", "two", "three", "four"] {
        appended(ledger, Append { entries: vec![note(reason)], ..Append::default() }).await;
    }
    let all = ledger.batches(1, 100).await.expect("batches can be read");
    assert_eq!(all.len(), 5, "every batch is given");
    let mut paged = Vec::new();
    loop {
        let from = u64::try_from(paged.len()).expect("a short list") + 1;
        let page = ledger.batches(from, 2).await.expect("batches can be read");
        assert!(page.len() <= 2, "more batches than the limit");
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all, "pages put together are the whole");
    assert_eq!(ledger.batches(6, 2).await.expect("batches can be read"), []);
    assert_eq!(ledger.batches(u64::MAX, 2).await.expect("batches can be read"), []);
    assert_eq!(ledger.batches(1, 0).await.expect("batches can be read"), []);
}

async fn keeps_others_out_by_leases(ledger: &dyn Ledger) {
    let next = runs();
    let (one, two) = (next(), next());
    let fence = took(ledger, take(&one, &["a", "b"], LONG, false)).await;
    let error = refused(ledger, take(&two, &["b", "c"], LONG, false), ErrorKind::LeaseHeld).await;
    let text = error.to_string();
    let leases = ledger.leases().await.expect("leases can be read");
    let lease = leases.first().expect("a lease that was taken is listed");
    for part in [format!("the holder of {one}"), lease.since.to_string(), String::from("`b`")] {
        assert!(text.contains(&part), "a held lease does not name {part}: {text}");
    }
    assert!(error.repair().is_some(), "a held lease says what to do");
    let held: Vec<String> = leases.iter().map(|lease| lease.instance.to_string()).collect();
    assert_eq!(held, ["a", "b"], "leases are listed, sorted by agent");
    took(ledger, take(&two, &["c"], LONG, false)).await;
    appended(ledger, under(&fence, adopt(&[("a.x", 0)]))).await;
    ledger.renew(&fence, LONG).await.expect("a holder can renew");
    ledger.release(&fence).await.expect("a holder can release");
    ledger.release(&fence).await.expect("a lease that is gone is passed over");
    took(ledger, take(&next(), &["a", "b"], LONG, false)).await;
    is_whole(ledger).await;
}

async fn gives_leases_by_force_and_fences_the_loser(ledger: &dyn Ledger) {
    let next = runs();
    let (one, two) = (next(), next());
    let old = took(ledger, take(&one, &["a", "b"], LONG, false)).await;
    let new = took(ledger, take(&two, &["a"], LONG, true)).await;
    assert!(new.token > old.token, "a fence's token grows with every take");
    let error = refused(ledger, under(&old, adopt(&[("a.x", 0)])), ErrorKind::LeaseHeld).await;
    assert!(error.to_string().contains(&format!("the holder of {two}")), "{error}");
    let renewed = ledger.renew(&old, LONG).await.map_err(|error| error.kind());
    assert_eq!(renewed, Err(ErrorKind::LeaseHeld), "a lost lease was renewed");
    appended(ledger, under(&new, adopt(&[("a.x", 0)]))).await;
    // The loser gives back what is still its own, and nothing else.
    ledger.release(&old).await.expect("a lease that is lost is passed over");
    let left = ledger.leases().await.expect("leases can be read");
    let left: Vec<(String, &RunId)> =
        left.iter().map(|lease| (lease.instance.to_string(), &lease.run)).collect();
    assert_eq!(left, [(String::from("a"), &two)]);
    ledger.release(&new).await.expect("a holder can release");
    // Taken and given back in between: the loser stays out.
    refused(ledger, under(&old, adopt(&[("b.x", 0)])), ErrorKind::LeaseHeld).await;
    is_whole(ledger).await;
}

async fn takes_all_leases_or_none(ledger: &dyn Ledger) {
    let next = runs();
    took(ledger, take(&next(), &["b"], LONG, false)).await;
    refused(ledger, take(&next(), &["a", "b"], LONG, false), ErrorKind::LeaseHeld).await;
    took(ledger, take(&next(), &["a"], LONG, false)).await;
}

async fn lets_leases_run_out(ledger: &dyn Ledger, clock: &dyn Clock) {
    let next = runs();
    let (one, two) = (next(), next());
    let ttl = Duration::from_millis(40);
    let old = took(ledger, take(&one, &["a"], ttl, false)).await;
    clock.sleep(ttl * 2).await;
    assert_eq!(
        ledger.leases().await.expect("leases can be read"),
        [],
        "a lease that ran out is listed",
    );
    // Nobody took it, so its holder may go on.
    appended(ledger, under(&old, adopt(&[("a.x", 0)]))).await;
    let new = took(ledger, take(&two, &["a"], LONG, false)).await;
    refused(ledger, under(&old, adopt(&[("a.y", 0)])), ErrorKind::LeaseHeld).await;
    appended(ledger, under(&new, adopt(&[("a.y", 0)]))).await;
}

async fn carries_out_a_dropped_append_or_nothing(ledger: &dyn Ledger) {
    for turn in 0..16 {
        let name = format!("agent-{turn}.x");
        let append = ledger.append(adopt(&[(&name, 0)]));
        // Polled once and dropped: what a caller does that is told to stop.
        drop(futures_util::future::select(append, std::future::ready(())).await);
    }
    // Behind whatever the ledger still had to do.
    appended(ledger, adopt(&[("last.x", 0)])).await;
    let state = state(ledger).await;
    for (address, record) in &state.records {
        assert!(record.object.is_some(), "half of an append stands at `{address}`");
    }
    let batches = u64::try_from(state.records.len()).expect("a few records");
    assert_eq!(state.head.sequence, batches + 1, "batches and records do not agree");
    is_whole(ledger).await;
}

async fn can_be_backed_up_and_archived(ledger: &dyn Ledger) {
    let run = runs()();
    for turn in 0..4 {
        let names: Vec<String> = (0..100).map(|i| format!("agent-{turn}-{i}.x")).collect();
        let at: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 0)).collect();
        appended(ledger, adopt(&at)).await;
    }
    appended(ledger, Append { entries: vec![declare("a")], ..Append::default() }).await;
    let mut file = Vec::new();
    let kept = backup(ledger, &mut file).await.expect("a ledger can be backed up");
    let before = state(ledger).await;
    match check_backup(&file[..], "the backup") {
        Ok((read, folded)) => {
            assert_eq!(read, kept, "a backup is read as it was written");
            assert_eq!(folded, before, "a backup amounts to the state");
        }
        Err(error) => panic!("a backup is not whole: {error:?}"),
    }
    let actor = Actor::asserted("suite", "tester");
    let fence = took(ledger, take(&run, &["a"], LONG, false)).await;
    match ledger.checkpoint(state(ledger).await.head, &actor).await.map_err(|error| error.kind()) {
        Err(ErrorKind::Unsupported) => return,
        Err(ErrorKind::LeaseHeld) => {}
        other => panic!("a checkpoint while a lease is held gave {other:?}"),
    }
    ledger.release(&fence).await.expect("a holder can release");
    let open = ledger.checkpoint(state(ledger).await.head, &actor).await;
    let open = open.map_err(|error| error.kind());
    assert_eq!(open, Err(ErrorKind::Refused), "a checkpoint while a run is open");
    let ended = Entry::new(RunEvent::Ended { summary: Summary::default() }).in_run(&run);
    appended(ledger, Append { entries: vec![ended], ..Append::default() }).await;
    let late = ledger.checkpoint(kept.head, &actor).await.map_err(|error| error.kind());
    assert_eq!(late, Err(ErrorKind::Conflict), "the archive does not have all");

    let mut file = Vec::new();
    let kept = backup(ledger, &mut file).await.expect("a ledger can be backed up");
    let before = state(ledger).await;
    let head = ledger.checkpoint(kept.head, &actor).await.expect("a settled ledger is archived");
    let after = state(ledger).await;
    assert_eq!(after.head, head, "the answer's head is the state's");
    assert_eq!(
        (&after.ledger, &after.records, &after.agents),
        (&before.ledger, &before.records, &before.agents),
        "a checkpoint carries what is recorded, with its versions"
    );
    let first = ledger.batches(1, 1).await.expect("batches can be read");
    let first = first.first().map(|batch| batch.header.clone());
    let begins = first.map(|header| (header.sequence, header.previous));
    assert_eq!(begins, Some((kept.head.sequence + 1, kept.head.hash)), "the chain goes on");
    let next = appended(ledger, adopt(&[("a.x", 0)])).await;
    assert_eq!(next.head.sequence, head.sequence + 1, "and so do the numbers");
    is_whole(ledger).await;
    let archives = vec![(String::from("archive"), &file[..])];
    if let Err(error) = verify_archived(ledger, None, archives).await {
        panic!("the ledger does not fit its archive: {error:?}");
    }
    let mut file = Vec::new();
    backup(ledger, &mut file).await.expect("a continued ledger can be backed up");
    let (_, folded) = check_backup(&file[..], "the backup").expect("a backup is whole");
    assert_eq!(folded, state(ledger).await, "a backup of a continued ledger amounts to its state");
}
