//! Writes to a ledger as it is told on standard input, and answers each line
//! with one: `write-ledger FILE`.
//!
//! ```text
//! take AGENTS MILLISECONDS [force]   fence TOKEN
//! append ADDRESS                     appended NUMBER
//! renew MILLISECONDS                 renewed
//! release                            released
//! work NAME TIMES                    worked OWN SHARED
//! ```
//!
//! What the ledger refuses is answered with `refused KIND MESSAGE`. It is there
//! to be stopped, and killed, at any instant.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use agent_iac::{
    ErrorKind, Result,
    access::Access,
    address::{Address, Instance},
    clock::{Clock as _, SystemClock, SystemEntropy, block_on},
    ledger::{
        Actor, Append, Appended, Entry, Fence, Ledger as _, Managed, PlanEvent, Query, RecordEvent,
        RunId, SqliteLedger, Take, sqlite::Options,
    },
    schema::Kind,
    value::Digest,
};
use agent_iac_tests::crash::complain;

/// How many agents `work` fights for.
const SHARED: usize = 2;

struct Writer {
    ledger: SqliteLedger,
    run: RunId,
    fence: Option<Fence>,
}

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else { return complain("write-ledger FILE") };
    let mut options = Options::new("load", "test");
    // Another may be stopped while it writes.
    options.patience = Duration::from_mins(1);
    let ledger = match SqliteLedger::create_or_open(path, &options) {
        Ok(ledger) => ledger,
        Err(error) => return complain(&format!("{error:?}")),
    };
    let mut writer = Writer { ledger, run: RunId::random(&SystemEntropy), fence: None };
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match writer.carry_out(&words) {
            Ok(answer) => answer,
            Err(error) => format!("refused {:?} {}", error.kind(), error.message()),
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{answer}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

impl Writer {
    fn carry_out(&mut self, words: &[&str]) -> Result<String> {
        let milliseconds = |text: &str| Duration::from_millis(text.parse().unwrap_or(0));
        match words {
            ["take", agents, ttl, force @ ..] => {
                let agents = agents.split(',').map(str::parse).collect::<Result<_, _>>()?;
                let force = force == ["force"];
                let fence = self.take(agents, milliseconds(ttl), force)?;
                let token = fence.token;
                self.fence = Some(fence);
                Ok(format!("fence {token}"))
            }
            ["append", address] => {
                let address: Address = address.parse()?;
                let number = self.append(&address, self.version(&address)?)?.head.sequence;
                Ok(format!("appended {number}"))
            }
            ["renew", ttl] => {
                let fence = self.fence.clone();
                fence.map_or(Ok(()), |f| block_on(self.ledger.renew(&f, milliseconds(ttl))))?;
                Ok("renewed".into())
            }
            ["release"] => {
                let fence = self.fence.take();
                fence.map_or(Ok(()), |fence| block_on(self.ledger.release(&fence)))?;
                Ok("released".into())
            }
            ["work", name, times] => self.work(name, times.parse().unwrap_or(0)),
            _ => Ok(format!("`{}` is not understood", words.join(" "))),
        }
    }

    fn take(&self, instances: Vec<Instance>, ttl: Duration, force: bool) -> Result<Fence> {
        let entry = Entry::new(PlanEvent::Acknowledged {
            digest: Digest::ZERO,
            actor: Actor::asserted("test", "writer"),
        });
        let take = Take {
            run: self.run.clone(),
            instances,
            holder: format!("process {}", std::process::id()),
            ttl,
            force,
        };
        let append = Append {
            entries: vec![entry.in_run(&self.run)],
            take: Some(take),
            ..Append::default()
        };
        let fence = block_on(self.ledger.append(append))?.fence;
        Ok(fence.unwrap_or_else(|| unreachable!("an append that takes answers with a fence")))
    }

    fn version(&self, address: &Address) -> Result<u64> {
        let query = Query::Agents(vec![address.instance().clone()]);
        Ok(block_on(self.ledger.state(&query))?.version(address))
    }

    fn append(&self, address: &Address, version: u64) -> Result<Appended> {
        let object = Managed {
            resource_type: "test.account".into(),
            kind: Kind::Identity,
            provider: "test".into(),
            id: address.to_string(),
            properties: BTreeMap::new(),
            outputs: BTreeMap::new(),
            access: Access::NONE,
            dependencies: BTreeSet::new(),
            protect: false,
            suspended: false,
            credential: None,
        };
        let adopted = RecordEvent::Adopted { object: object.into(), from: None };
        let entry = Entry::of(address, adopted).in_run(&self.run);
        block_on(self.ledger.append(Append {
            expected: BTreeMap::from([(address.clone(), version)]),
            entries: vec![entry],
            fence: self.fence.clone(),
            take: None,
        }))
    }

    /// Appends to an address of its own, whose version nobody else moves, and in
    /// between to one that it has to hold a lease for.
    fn work(&mut self, name: &str, times: usize) -> Result<String> {
        let own: Address = format!("{name}.account").parse()?;
        let mut version = self.version(&own)?;
        let (mut mine, mut shared) = (0, 0);
        for turn in 0..times {
            version = self.append(&own, version)?.head.sequence;
            mine += 1;
            let one: Address = format!("shared-{}.account", turn % SHARED).parse()?;
            match self.take(vec![one.instance().clone()], Duration::from_mins(5), false) {
                Ok(fence) => {
                    self.fence = Some(fence.clone());
                    let appended = self.append(&one, self.version(&one)?);
                    self.fence = None;
                    block_on(self.ledger.release(&fence))?;
                    appended?;
                    shared += 1;
                }
                // Another is at it.
                Err(error) if error.kind() == ErrorKind::LeaseHeld => {
                    block_on(SystemClock.sleep(Duration::from_millis(1)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(format!("worked {mine} {shared}"))
    }
}
