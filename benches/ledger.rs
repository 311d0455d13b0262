//! How quickly a ledger is verified, backed up, restored and archived.
//!
//! ```text
//! cargo bench -p agent-iac-benches --bench ledger              200,000 entries
//! cargo bench -p agent-iac-benches --bench ledger -- 2000000   another number of them
//! ```
//!
//! A batch has ten entries, as a group of ready steps has, half of them with
//! the whole record of a role with two grants' worth of access.
#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

mod measure;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs::File,
    io::BufReader,
    sync::Arc,
    time::Duration,
};

use agent_iac::{
    access::{Access, Tuple},
    address::Address,
    clock::{SystemEntropy, block_on},
    ledger::{
        Actor, Append, Entry, Ledger, Managed, RunId, SqliteLedger, StepEvent, backup_into,
        check_backup, sqlite::Options, verify, verify_archived, verify_chain,
    },
    plan::Action,
    schema::Kind,
};
use futures_util::future::join_all;

use self::measure::{arguments, peak_memory, timed};

const ENTRIES: u64 = 200_000;
/// Entries of a batch: five steps, begun and done.
const STEPS: u64 = 5;
/// How many addresses there are; each is changed again and again.
const ADDRESSES: u64 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let entries = match arguments().first() {
        Some(number) => number.parse()?,
        None => ENTRIES,
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ledger.db");
    let options = Options::new("bench", "test");
    let ledger = SqliteLedger::create_or_open(&path, &options)?;
    let (time, count) = timed(|| fill(&ledger, entries))?;
    println!("{count} entries in {} batches", count / (2 * STEPS));
    let show = |what: &str, time: Duration, bytes: u64| {
        let seconds = time.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "these are shown with three digits")]
        let (rate, megabytes) = (count as f64 / seconds, bytes as f64 / 1e6);
        println!("{what:<34} {seconds:>7.2} s {rate:>11.0} entries/s {megabytes:>8.0} MB");
    };
    show("append, and fold", time, std::fs::metadata(&path)?.len());
    let (time, _) = timed(|| block_on(verify_chain(&ledger)))?;
    show("verify the chain", time, 0);
    let (time, _) = timed(|| block_on(verify(&ledger, None)))?;
    show("verify with the fold", time, 0);
    let file = folder.path().join("ledger.backup");
    let (time, backup) = timed(|| block_on(backup_into(&ledger, &file)))?;
    show("backup", time, backup.bytes);
    let open = || File::open(&file).map(|file| BufReader::with_capacity(1 << 18, file));
    let input = open()?;
    let (time, _) = timed(|| check_backup(input, "backup"))?;
    show("check the backup", time, backup.bytes);
    let (restored, input) = (folder.path().join("restored.db"), open()?);
    let (time, _) = timed(|| SqliteLedger::restore(&restored, &options, input, "backup"))?;
    show("restore", time, std::fs::metadata(&restored)?.len());
    let actor = Actor::asserted("bench", "ledger");
    let (time, _) = timed(|| block_on(ledger.checkpoint(backup.head, &actor)))?;
    show("checkpoint", time, std::fs::metadata(&path)?.len());
    let archives = vec![("backup".to_owned(), open()?)];
    let (time, _) = timed(|| block_on(verify_archived(&ledger, None, archives)))?;
    show("verify with the archive", time, 0);
    println!("peak memory {} MB", peak_memory()? / 1024);
    Ok(())
}

/// Appends so many entries, in groups, and says how many there are.
fn fill(ledger: &SqliteLedger, entries: u64) -> agent_iac::Result<u64> {
    let run = RunId::random(&SystemEntropy);
    let mut versions: BTreeMap<Address, u64> = BTreeMap::new();
    let mut next = 0;
    let mut count = 0;
    while count < entries {
        let mut group = Vec::new();
        for _ in 0..400.min((entries - count).div_ceil(2 * STEPS)) {
            let mut append = Append::default();
            for _ in 0..STEPS {
                let address: Address = format!("reader[\"{:05}\"].account", next % ADDRESSES)
                    .parse()
                    .unwrap_or_else(|_| unreachable!("this is an address"));
                append.entries.extend(step(&address, &run, next));
                let version = versions.get(&address).copied().unwrap_or_default();
                append.expected.insert(address, version);
                next += 1;
            }
            count += 2 * STEPS;
            group.push(append);
        }
        let expected: Vec<Vec<Address>> =
            group.iter().map(|append| append.expected.keys().cloned().collect()).collect();
        let answers = block_on(join_all(group.into_iter().map(|append| ledger.append(append))));
        for (addresses, answer) in expected.into_iter().zip(answers) {
            let sequence = answer?.head.sequence;
            versions.extend(addresses.into_iter().map(|address| (address, sequence)));
        }
    }
    Ok(count)
}

fn step(address: &Address, run: &RunId, number: u64) -> [Entry; 2] {
    let claim = run.claim(usize::try_from(number).unwrap_or(usize::MAX));
    let name = format!("reader_{number}");
    let tuple = |action: &str| Tuple::allow(&name, action, "table billing.invoices");
    let object = Arc::new(Managed {
        resource_type: "postgres.role".into(),
        kind: Kind::Identity,
        provider: "postgres".into(),
        id: name.clone(),
        properties: BTreeMap::from([
            ("name".into(), name.as_str().into()),
            ("connection_limit".into(), 5.into()),
            ("create_db".into(), false.into()),
            ("comment".into(), "Reads invoices, and nothing else.".into()),
        ]),
        outputs: BTreeMap::from([("oid".into(), "16384".into())]),
        access: Access::exactly([tuple("SELECT"), tuple("REFERENCES")]),
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
        provider: "postgres".into(),
        resource_type: "postgres.role".into(),
    };
    let done = StepEvent::Done { claim, object: Some(object) };
    [Entry::of(address, begun).in_run(run), Entry::of(address, done).in_run(run)]
}
