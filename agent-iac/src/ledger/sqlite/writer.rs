//! The one writer of a handle: it takes all that waits, decides about it
//! together, and syncs once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, mpsc::Receiver},
    time::Duration,
};

use rusqlite::Connection;

use super::{
    alive::{self, Alive},
    anew,
    faults::{Explained as _, explain_commit},
    kept::Kept,
    rows::Rows,
};
use crate::{
    address::Instance,
    clock::{Clock, Entropy},
    error::{Error, ErrorKind, Result},
    ledger::{Accepted, Actor, Appended, Fence, Group, Head, Held, Prepared, Touched},
    sqlite::Answer,
};

/// The most jobs of one group. Beyond it, those in front would wait for the
/// decisions about those behind for longer than a sync takes.
const MOST: usize = 1024;

/// How often other threads are let go first while a group is smaller than the
/// one before: for much less time than a sync takes.
const PATIENCE: u32 = 4;

/// What the writer is asked, and where the answer goes.
pub(super) struct Job {
    pub(super) ask: Ask,
    pub(super) answer: Answer<Result<Done>>,
}

pub(super) enum Ask {
    Append(Box<Prepared>),
    Renew(Fence, Duration),
    Release(Fence),
    Checkpoint(Head, Actor),
}

pub(super) enum Done {
    Appended(Appended),
    Leases,
    Checkpoint(Head),
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// The lock by which others see that this process lives; taken with the
    /// first lease, since opening a ledger writes nothing.
    pub(super) alive: Option<Alive>,
    /// What it knows of the file without reading it again.
    pub(super) kept: Kept,
}

impl Writer {
    /// Works until nobody can ask any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut before = 0;
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            // Who was answered a moment before is about to ask again: without
            // letting them, every second group would be of the first of them.
            let mut patience = PATIENCE;
            while group.len() < MOST {
                match jobs.try_recv() {
                    Ok(next) => group.push(next),
                    Err(_) if group.len() < before && patience > 0 => {
                        patience -= 1;
                        std::thread::yield_now();
                    }
                    Err(_) => break,
                }
            }
            before = group.len();
            self.carry_out(group);
        }
    }

    fn carry_out(&mut self, mut group: Vec<Job>) {
        // A checkpoint needs all of the state, and a transaction of its own.
        while let Some(at) = group.iter().position(|job| matches!(job.ask, Ask::Checkpoint(..))) {
            let mut behind = group.split_off(at);
            self.carry_out_together(group);
            let Job { ask, answer } = behind.remove(0);
            if let Ask::Checkpoint(archived, actor) = ask {
                answer.give(self.checkpoint(archived, &actor).map(Done::Checkpoint));
            }
            group = behind;
        }
        self.carry_out_together(group);
    }

    fn checkpoint(&mut self, archived: Head, actor: &Actor) -> Result<Head> {
        self.kept = Kept::default();
        let rows = Rows { connection: &self.connection, path: &self.path };
        let head = anew::begin(&rows, archived, actor, self.clock.now(), &mut |_| Ok(()))?;
        // The space of the old history is given back. Where another program is
        // at the file, later appends use it.
        let _: rusqlite::Result<()> = self.connection.execute_batch("VACUUM");
        Ok(head)
    }

    fn carry_out_together(&mut self, group: Vec<Job>) {
        if group.is_empty() {
            return;
        }
        let (asks, answers): (Vec<Ask>, Vec<_>) =
            group.into_iter().map(|job| (job.ask, job.answer)).unzip();
        match self.transact(asks) {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    answer.give(outcome);
                }
            }
            // What was refused because of another in the group is told the
            // same: with that one gone, the refusal may not hold.
            Err(failure) => {
                for answer in answers {
                    answer.give(Err(again(&failure)));
                }
            }
        }
    }

    fn transact(&mut self, asks: Vec<Ask>) -> Result<Vec<Result<Done>>> {
        self.connection.execute_batch("BEGIN IMMEDIATE").explained(&self.path)?;
        // What is found out by a transaction holds once that is kept.
        let mut kept = std::mem::take(&mut self.kept);
        let result = self.write(asks, &mut kept).and_then(|(wrote, outcomes)| {
            if wrote {
                self.connection
                    .execute_batch("COMMIT")
                    .map_err(|error| explain_commit(&self.path, error))?;
                self.kept = kept;
            }
            Ok(outcomes)
        });
        if !self.connection.is_autocommit() {
            // Where this fails too, the next `BEGIN` says so.
            let _: rusqlite::Result<()> = self.connection.execute_batch("ROLLBACK");
        }
        result
    }

    /// Decides about every ask, and writes what follows; also says whether
    /// that is anything.
    fn write(&mut self, asks: Vec<Ask>, kept: &mut Kept) -> Result<(bool, Vec<Result<Done>>)> {
        if asks.iter().any(|ask| matches!(ask, Ask::Append(prepared) if prepared.takes()))
            && self.alive.is_none()
        {
            self.alive = Alive::begin(&self.path, self.entropy.as_ref());
        }
        let rows = Rows { connection: &self.connection, path: &self.path };
        kept.at(rows.version()?);
        let Needs { touched, instances, whole } = needs(&asks, kept);
        let mut state = rows.part(&touched, &mut kept.records)?;
        let lost = state.lost.len();
        let mut leases = rows.leases(Some(&instances))?;
        let before = leases.clone();
        let mut group = Group::new(&mut state, &mut leases, self.clock.now());
        for fence in &whole {
            group.knows_whole(fence);
        }
        let mut accepted: Vec<Accepted> = Vec::new();
        let mut outcomes = Vec::with_capacity(asks.len());
        for ask in asks {
            outcomes.push(match ask {
                Ask::Append(prepared) => group.decide(*prepared).map(|taken| {
                    let appended = taken.appended.clone();
                    accepted.push(taken);
                    Done::Appended(appended)
                }),
                Ask::Renew(fence, ttl) => group.renew(&fence, ttl).map(|()| Done::Leases),
                Ask::Release(fence) => {
                    group.release(&fence);
                    Ok(Done::Leases)
                }
                // It is carried out by itself.
                Ask::Checkpoint(..) => {
                    Err(Error::new(ErrorKind::Bug, "a checkpoint stands within a group"))
                }
            });
        }
        rows.put_batches(&accepted)?;
        let mut changed = Touched::default();
        for taken in &mut accepted {
            changed.addresses.append(&mut taken.changed.addresses);
            changed.agents.append(&mut taken.changed.agents);
            changed.runs.append(&mut taken.changed.runs);
        }
        rows.put_changed(&state, &changed)?;
        if state.lost.len() != lost {
            rows.put_meta(&state)?;
        }
        let leases_changed = self.put_leases(&rows, &instances, &before, &leases)?;
        for instance in &instances {
            kept.lease(instance, leases.get(instance));
        }
        for address in changed.addresses {
            let record = state.records.remove(&address);
            kept.record(address, record);
        }
        Ok((leases_changed || !accepted.is_empty(), outcomes))
    }

    fn put_leases(
        &self,
        rows: &Rows<'_>,
        instances: &BTreeSet<Instance>,
        before: &BTreeMap<Instance, Held>,
        after: &BTreeMap<Instance, Held>,
    ) -> Result<bool> {
        let mut wrote = false;
        for instance in instances {
            let (old, new) = (before.get(instance), after.get(instance));
            match (old, new) {
                _ if old == new => continue,
                (Some(old), Some(new)) if old.token == new.token => rows.prolong(new)?,
                _ => {
                    if old.is_some_and(|old| old.dead)
                        && let Some(process) = rows.process_of(instance)?
                    {
                        alive::sweep(&self.path, &process);
                    }
                    rows.put_lease(instance, new, self.alive.as_ref().map(Alive::name))?;
                }
            }
            wrote = true;
        }
        Ok(wrote)
    }
}

/// What has to be there before a group is decided.
struct Needs {
    touched: Touched,
    /// The agents whose leases have to be read.
    instances: BTreeSet<Instance>,
    /// The fences that are known to be whole.
    whole: Vec<Fence>,
}

fn needs(asks: &[Ask], kept: &Kept) -> Needs {
    let mut needs =
        Needs { touched: Touched::default(), instances: BTreeSet::new(), whole: Vec::new() };
    // Where leases change hands within the group, all of them have to be there.
    let leases_stay =
        asks.iter().all(|ask| matches!(ask, Ask::Append(prepared) if !prepared.takes()));
    let mut fences: Vec<&Fence> = Vec::new();
    for ask in asks {
        match ask {
            Ask::Append(prepared) => {
                let Touched { mut addresses, mut agents, mut runs } = prepared.needs();
                needs.touched.addresses.append(&mut addresses);
                needs.touched.agents.append(&mut agents);
                needs.touched.runs.append(&mut runs);
                needs.instances.extend(prepared.taken().iter().cloned());
                if let Some(fence) = prepared.fence()
                    && !fences.iter().any(|seen| seen.is_same(fence))
                {
                    if leases_stay && kept.is_whole(fence) {
                        needs.whole.push(fence.clone());
                    } else {
                        needs.instances.extend(fence.instances.iter().cloned());
                    }
                    fences.push(fence);
                }
            }
            Ask::Checkpoint(..) => {}
            Ask::Renew(fence, _) | Ask::Release(fence) => {
                needs.instances.extend(fence.instances.iter().cloned());
            }
        }
    }
    needs
}

/// The same failure for another who waited for the same transaction.
fn again(failure: &Error) -> Error {
    let mut error = Error::new(failure.kind(), failure.message()).retry_as(failure.retry());
    if let Some(repair) = failure.repair() {
        error = error.help(repair);
    }
    match std::error::Error::source(failure) {
        Some(cause) => error.caused_by(cause.to_string()),
        None => error,
    }
}
