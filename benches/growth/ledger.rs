//! The ledger alone: appended to, by one and by many, and verified; with the
//! limit of each beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use agent_iac::{
    access::{Access, Tuple},
    address::Address,
    clock::{SystemEntropy, block_on},
    ledger::{
        Append, Entry, Ledger, Managed, Query, RunId, SqliteLedger, StepEvent, sqlite::Options,
        verify, verify_chain,
    },
    plan::Action,
    schema::Kind,
};

use super::{
    limits,
    measure::{timed, written_bytes},
    table::{bytes, per_second, row, shown, times},
};

/// Steps that are begun and done in one batch, as the engine does it.
const STEPS: usize = 1_000;

fn open(path: &Path) -> agent_iac::Result<SqliteLedger> {
    SqliteLedger::create_or_open(path, &Options::new("bench", "bench"))
}

/// The n-th address: in order, or jumping about.
fn address(number: usize, of: usize, scattered: bool) -> Address {
    // A prime that divides no number of addresses that anybody gives.
    let number = if scattered { number * 7_368_787 % of } else { number };
    let text = format!("reader[\"{number:07}\"].account");
    text.parse().unwrap_or_else(|_| unreachable!("this is an address"))
}

fn steps(run: &RunId, address: &Address, number: usize) -> [Entry; 2] {
    let claim = run.claim(number);
    let name = format!("reader-{number:07}");
    let object = Arc::new(Managed {
        resource_type: "authority.account".into(),
        kind: Kind::Identity,
        provider: "authority".into(),
        id: format!("account_{number:032x}"),
        properties: BTreeMap::from([
            ("name".into(), name.as_str().into()),
            ("description".into(), agent_iac::value::Value::Null),
        ]),
        outputs: BTreeMap::from([("id".into(), format!("account_{number:032x}").into())]),
        access: Access::exactly([Tuple::allow(&name, "read", "shelves")]),
        dependencies: BTreeSet::new(),
        protect: false,
        suspended: false,
        credential: None,
    });
    let begun = StepEvent::Begun {
        claim: claim.clone(),
        action: Action::Create,
        deposed: false,
        target: Some(Arc::clone(&object)),
        id: None,
        provider: "authority".into(),
        resource_type: "authority.account".into(),
    };
    let done = StepEvent::Done { claim, object: Some(object) };
    [Entry::of(address, begun).in_run(run), Entry::of(address, done).in_run(run)]
}

/// Appends so many creates, each begun in one batch and done in the next.
fn creates(ledger: &SqliteLedger, count: usize, scattered: bool) -> agent_iac::Result<()> {
    let run = RunId::random(&SystemEntropy);
    for first in (0..count).step_by(STEPS) {
        let (mut begun, mut done) = (Append::default(), Append::default());
        let mut addresses = Vec::new();
        for number in first..count.min(first + STEPS) {
            let address = address(number, count, scattered);
            let [one, two] = steps(&run, &address, number);
            begun.entries.push(one);
            done.entries.push(two);
            addresses.push(address);
        }
        begun.expected = addresses.iter().map(|address| (address.clone(), 0)).collect();
        let version = block_on(ledger.append(begun))?.head.sequence;
        done.expected = addresses.into_iter().map(|address| (address, version)).collect();
        block_on(ledger.append(done))?;
    }
    Ok(())
}

/// The bytes of all batches behind one, as they are hashed.
pub(crate) fn logical_bytes(ledger: &SqliteLedger, behind: u64) -> Result<u64, Box<dyn Error>> {
    let (mut from, mut bytes) = (behind + 1, 0);
    loop {
        let page = block_on(ledger.sealed(from, 100))?;
        let Some(last) = page.last() else { return Ok(bytes) };
        from = last.header.sequence + 1;
        for sealed in &page {
            bytes += u64::try_from(sealed.entries.len())?;
        }
    }
}

/// Appends creates in order and scattered, beside SQLite alone.
pub(crate) fn appends(folder: &Path, count: usize) -> Result<(), Box<dyn Error>> {
    for (name, scattered) in [("in order", false), ("scattered", true)] {
        let path = folder.join(format!("{name}.db"));
        let ledger = open(&path)?;
        let written = written_bytes()?;
        let (time, ()) = timed(|| creates(&ledger, count, scattered))?;
        let physical = (written_bytes()? - written) / u64::try_from(count)?;
        let logical = logical_bytes(&ledger, 1)? / u64::try_from(count)?;
        drop(ledger);
        let (alone, ()) = timed(|| limits::inserts(&folder.join(name), count, STEPS, scattered))?;
        row(
            &format!("append {count} creates {name}"),
            &format!("{} steps/s", per_second(count, time)),
            if scattered { "10,000 steps/s" } else { "20,000 steps/s" },
            &format!("SQLite alone {} steps/s", per_second(count, alone)),
        );
        row(
            &format!("bytes of a create {name}"),
            &format!("{logical} logical"),
            "under 1,024",
            &format!("{physical} physical, with SQLite's log"),
        );
    }
    Ok(())
}

/// Appends by several writers at once, each on addresses of its own.
pub(crate) fn writers(folder: &Path) -> Result<(), Box<dyn Error>> {
    const EACH: usize = 200;
    let alone = limits::syncs(&folder.join("synced"), EACH)?;
    let mut one = Duration::ZERO;
    for writers in [1, 2, 4, 8_usize] {
        let ledger = Arc::new(open(&folder.join(format!("{writers}.db")))?);
        let (time, ()) = timed(|| {
            let work = |writer: usize| {
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || {
                    let run = RunId::random(&SystemEntropy);
                    for number in (0..EACH).map(|number| writer * EACH + number) {
                        let address = address(number, 1, false);
                        let entries = steps(&run, &address, number).to_vec();
                        let expected = BTreeMap::from([(address, 0)]);
                        let append = Append { expected, entries, ..Append::default() };
                        block_on(ledger.append(append))?;
                    }
                    Ok::<(), agent_iac::Error>(())
                })
            };
            let threads: Vec<_> = (0..writers).map(work).collect();
            for thread in threads {
                thread.join().expect("no writer panics")?;
            }
            Ok::<(), agent_iac::Error>(())
        })?;
        let each = time / u32::try_from(writers)?;
        if writers == 1 {
            one = each;
        }
        row(
            &format!("append by {writers} at once"),
            &format!("{} appends/s", per_second(EACH * writers, time)),
            if writers == 1 { "" } else { "grows with writers" },
            &format!(
                "{} of one; a sync alone {}",
                times(one, each),
                shown(alone / u32::try_from(EACH)?)
            ),
        );
    }
    Ok(())
}

/// Verifies a ledger of so many entries.
pub(crate) fn verified(folder: &Path, count: usize) -> Result<(), Box<dyn Error>> {
    let ledger = open(&folder.join("verified.db"))?;
    creates(&ledger, count / 2, false)?;
    let (alone, hashed) = limits::hashes(&ledger)?;
    let (chain, _) = timed(|| block_on(verify_chain(&ledger)))?;
    let (fold, _) = timed(|| block_on(verify(&ledger, None)))?;
    let alone = format!("reading and SHA-256 alone {} entries/s", per_second(count, alone));
    let rate = |time| format!("{} entries/s", per_second(count, time));
    row("verify the chain", &rate(chain), "2,000,000 entries/s", &alone);
    let parsed = limits::parsed(&ledger)?;
    let parsed = per_second(count, parsed);
    let hashed = format!("parsing the JSON alone {parsed} entries/s, {} of them", bytes(hashed));
    row("verify with the fold", &rate(fold), "300,000 entries/s", &hashed);
    Ok(())
}

/// Opens a ledger, and reads what is recorded of one agent.
pub(crate) fn opened(folder: &Path, agent: &str) -> Result<Duration, Box<dyn Error>> {
    let query = Query::Agents(vec![agent.parse()?]);
    let (time, state) = timed(|| {
        let ledger = SqliteLedger::open(folder.join("ledger.db"), &Options::new("bench", "bench"))?;
        block_on(ledger.state(&query))
    })?;
    assert_eq!(state.records.len(), 2, "an account and a grant");
    Ok(time)
}
