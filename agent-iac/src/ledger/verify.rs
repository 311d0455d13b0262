//! The proof that a ledger is whole: its chain, its fold, its archives, and
//! its age.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufRead,
};

use futures_util::future::join;

use super::{
    Batch, Checkpoint, Head, Ledger, LedgerEvent, Query, Sealed, State, backup::Reading, checkpoint,
};
use crate::{
    error::{Error, ErrorKind, Result},
    vault::Pin,
};

/// How many batches are read at once: enough that reading costs little beside
/// hashing, and little enough to stand in memory.
const PAGE: usize = 256;

/// How many of them have their entries in memory.
const AT_ONCE: usize = 8;

/// How many bytes of entries take much longer to read than a thread to begin.
const WORTH_A_THREAD: usize = 256 * 1024;

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The ledger's own id.
    pub ledger: String,
    /// The newest batch that was verified.
    pub head: Head,
    /// Where the ledger begins, when its older history was archived.
    pub begins: Option<Checkpoint>,
    /// How many batches there are, with those of the archives.
    pub batches: u64,
    /// How many entries there are, with those of the archives; 0 where they
    /// were not read.
    pub entries: u64,
    /// The batches that say that an older copy took the ledger's place.
    pub rewinds: BTreeSet<u64>,
}

/// Replays a whole ledger: every batch follows the one before it and holds the
/// entries that its header was made for, the state that the ledger keeps is
/// what its entries amount to, and it is not older than its pin.
///
/// A ledger whose older history was archived is replayed from its checkpoint;
/// [`verify_archived`] goes further back.
///
/// ```
/// use std::sync::Arc;
/// use agent_iac::{clock::{SystemClock, block_on}, ledger::{MemoryLedger, verify}};
///
/// let ledger = MemoryLedger::opened(Arc::new(SystemClock), "office", "test")?;
/// assert_eq!(block_on(verify(&ledger, None))?.head.sequence, 1);
/// # Ok::<(), agent_iac::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::Damaged`], naming what is wrong and where;
/// [`ErrorKind::Foreign`] when the pin is another ledger's;
/// [`ErrorKind::NewerVersion`] when the ledger is in a newer form.
pub async fn verify(ledger: &dyn Ledger, pin: Option<&Pin>) -> Result<Verified> {
    verify_archived::<&[u8]>(ledger, pin, Vec::new()).await
}

/// As [`verify`], with the archives that came before, oldest first, each with
/// the name that errors give it: every archive ends exactly where the next one,
/// or the ledger, begins, and amounts to the state that is carried there.
///
/// ```
/// use std::sync::Arc;
/// use agent_iac::{
///     clock::{SystemClock, block_on},
///     ledger::{Actor, Ledger as _, MemoryLedger, backup, verify_archived},
/// };
///
/// let ledger = MemoryLedger::opened(Arc::new(SystemClock), "office", "test")?;
/// let mut archive = Vec::new();
/// let archived = block_on(backup(&ledger, &mut archive))?;
/// block_on(ledger.checkpoint(archived.head, &Actor::asserted("os", "ada")))?;
/// let archives = vec![("2026.archive".into(), &archive[..])];
/// let verified = block_on(verify_archived(&ledger, None, archives))?;
/// assert_eq!(verified.begins.map(|begins| begins.from), Some(archived.head));
/// # Ok::<(), agent_iac::Error>(())
/// ```
///
/// # Errors
///
/// As [`verify`], and [`ErrorKind::Damaged`] when an archive is not the one
/// with which the ledger goes on.
pub async fn verify_archived<R: BufRead + Send>(
    ledger: &dyn Ledger,
    pin: Option<&Pin>,
    archives: Vec<(String, R)>,
) -> Result<Verified> {
    ledger.examine().await?;
    // Read first: what is appended meanwhile is replayed, and not compared.
    let kept = ledger.state(&Query::Everything).await?;
    let mut replay = Replay::new(pin.map(|pin| pin.head));
    for (name, archive) in archives {
        replay.archive(&name, archive, &kept)?;
    }
    let mut compared = kept.head == Head::EMPTY;
    if compared {
        compare(&kept, &State::default())?;
    }
    let mut page = ledger.sealed(1, PAGE).await?;
    while let Some(last) = page.last() {
        // The ledger reads on while this page is replayed.
        let next = ledger.sealed(last.header.sequence.saturating_add(1), PAGE);
        let replayed = async {
            for some in page.chunks(AT_ONCE) {
                for (sealed, opened) in some.iter().zip(open(some)) {
                    replay.batch(sealed, opened)?;
                    if replay.head.sequence == kept.head.sequence {
                        compare(&kept, &replay.state)?;
                        compared = true;
                    }
                }
            }
            Ok::<(), Error>(())
        };
        let (next, replayed) = join(next, replayed).await;
        replayed?;
        page = next?;
    }
    if !compared {
        return Err(damaged(format!(
            "the ledger ends at batch {}, and its state is of batch {}: its end was cut off",
            replay.head.sequence, kept.head.sequence
        )));
    }
    replay.carried()?;
    if let Some(pin) = pin {
        check_ledger(&kept.ledger, pin)?;
        let found = match replay.pinned {
            Some(hash_is_right) if hash_is_right => Pinned::Held,
            _ => pinned_otherwise(&replay.state, pin.head, replay.archives > 0),
        };
        found.check(&replay.state, pin)?;
    }
    Ok(replay.verified(kept.ledger))
}

/// Follows the chain alone: every batch follows the one before it and holds
/// the bytes that its header was made for. The entries are not read, and the
/// state is not compared, which is many times as quick as [`verify`].
///
/// ```
/// use std::sync::Arc;
/// use agent_iac::{clock::{SystemClock, block_on}, ledger::{MemoryLedger, verify_chain}};
///
/// let ledger = MemoryLedger::opened(Arc::new(SystemClock), "office", "test")?;
/// assert_eq!(block_on(verify_chain(&ledger))?.batches, 1);
/// # Ok::<(), agent_iac::Error>(())
/// ```
///
/// # Errors
///
/// As [`verify`].
pub async fn verify_chain(ledger: &dyn Ledger) -> Result<Verified> {
    let kept = ledger.state(&Query::Agents(Vec::new())).await?;
    let mut head = Head::EMPTY;
    let mut batches = 0_u64;
    let mut page = ledger.sealed(1, PAGE).await?;
    if let Some(first) = page.first() {
        head = checkpoint::origin(first)?;
    }
    while let Some(last) = page.last() {
        let next = ledger.sealed(last.header.sequence.saturating_add(1), PAGE);
        let followed = async { page.iter().try_for_each(|sealed| head.follow_sealed(sealed)) };
        let (next, followed) = join(next, followed).await;
        followed?;
        batches += u64::try_from(page.len()).unwrap_or(u64::MAX);
        page = next?;
    }
    let State { ledger, begins, .. } = kept;
    if kept.head.sequence > head.sequence {
        return Err(damaged(format!(
            "the ledger ends at batch {}: its end was cut off",
            head.sequence
        )));
    }
    Ok(Verified { ledger, head, begins, batches, entries: 0, rewinds: BTreeSet::new() })
}

/// Reads the entries of some batches, half of them on a thread of its own where
/// they are so many that it pays: this is most of what a replay costs, and the
/// one part of it in which no batch rests on the one before.
fn open(sealed: &[Sealed]) -> Vec<Result<Batch>> {
    let all = |sealed: &[Sealed]| sealed.iter().map(Sealed::open).collect::<Vec<_>>();
    let bytes: usize = sealed.iter().map(|sealed| sealed.entries.len()).sum();
    if bytes < WORTH_A_THREAD {
        return all(sealed);
    }
    let (here, there) = sealed.split_at(sealed.len() / 2);
    std::thread::scope(|scope| {
        let there_too = || all(there);
        match std::thread::Builder::new().spawn_scoped(scope, there_too) {
            Ok(thread) => {
                let mut opened = all(here);
                match thread.join() {
                    Ok(more) => opened.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
                opened
            }
            // Where there are no more threads, one is enough.
            Err(_) => all(sealed),
        }
    })
}

/// A history as it is replayed, archive after archive, and then the ledger.
struct Replay {
    pin: Option<Head>,
    /// Whether the batch of the pin's number is the one that was pinned; `None`
    /// until it came by.
    pinned: Option<bool>,
    head: Head,
    state: State,
    /// What the archive before amounts to, until it is compared with what the
    /// checkpoint carries.
    before: Option<(String, State)>,
    archives: usize,
    batches: u64,
    entries: u64,
    rewinds: BTreeSet<u64>,
}

impl Replay {
    fn new(pin: Option<Head>) -> Self {
        Self {
            pin,
            pinned: None,
            head: Head::EMPTY,
            state: State::default(),
            before: None,
            archives: 0,
            batches: 0,
            entries: 0,
            rewinds: BTreeSet::new(),
        }
    }

    fn archive(&mut self, name: &str, archive: impl BufRead, kept: &State) -> Result<()> {
        let mut reading = Reading::begin(archive, name)?;
        reading.is_of(kept)?;
        while let Some(sealed) = reading.next()? {
            self.batch(&sealed, sealed.open()).map_err(|error| reading.at_this_line(&error))?;
        }
        reading.end()?;
        self.carried()?;
        let whole = std::mem::take(&mut self.state);
        self.before = Some((name.to_owned(), whole));
        self.archives += 1;
        Ok(())
    }

    /// Replays a batch, of which the entries were read: they count once it is
    /// shown that they are those that its header was made for.
    fn batch(&mut self, sealed: &Sealed, opened: Result<Batch>) -> Result<()> {
        if self.state.head == Head::EMPTY {
            let from = checkpoint::origin(sealed)?;
            if let Some((name, before)) = &self.before
                && before.head != from
            {
                return Err(damaged(format!(
                    "the archive `{name}` ends at batch {} ({}), and the checkpoint goes on from \
                     batch {} ({})",
                    before.head.sequence,
                    before.head.hash.short(),
                    from.sequence,
                    from.hash.short()
                )));
            }
            self.head = from;
            if self.pin == Some(from) {
                self.pinned = Some(true);
            }
        }
        self.head.follow_sealed(sealed)?;
        let batch = opened?;
        self.state.absorb(&batch)?;
        self.batches += 1;
        self.entries += u64::try_from(batch.entries.len()).unwrap_or(u64::MAX);
        let first = batch.entries.first().map(|entry| &entry.event);
        if let Some(super::Event::Ledger(LedgerEvent::Rewound { .. })) = first {
            self.rewinds.insert(self.head.sequence);
        }
        if let Some(pin) = self.pin.filter(|pin| pin.sequence == self.head.sequence) {
            self.pinned = Some(pin == self.head);
        }
        if self.state.begins.is_some_and(|begins| begins.until == self.head.sequence) {
            self.compare_carried()?;
        }
        Ok(())
    }

    /// Compares what a checkpoint carries with what the archive amounts to.
    fn compare_carried(&mut self) -> Result<()> {
        let Some((name, before)) = self.before.take() else { return Ok(()) };
        let expected = State { begins: self.state.begins, head: self.state.head, ..before };
        match difference(&expected, &self.state) {
            None => Ok(()),
            Some(what) => Err(damaged(format!(
                "the checkpoint does not carry what the archive `{name}` amounts to: {what} differs"
            ))),
        }
    }

    /// Checks that a checkpoint came to its end.
    fn carried(&self) -> Result<()> {
        match self.state.begins {
            Some(begins) if self.head.sequence < begins.until => Err(damaged(format!(
                "the checkpoint of the ledger goes to batch {}, and it ends at batch {}",
                begins.until, self.head.sequence
            ))),
            _ => Ok(()),
        }
    }

    fn verified(self, ledger: String) -> Verified {
        Verified {
            ledger,
            head: self.head,
            begins: self.state.begins,
            batches: self.batches,
            entries: self.entries,
            rewinds: self.rewinds,
        }
    }
}

/// How a ledger stands to a head that was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pinned {
    /// It holds it.
    Held,
    /// It does not, and says so, and who answers for that.
    GivenUp,
    /// It ends before it.
    Older,
    /// It has another batch there, or none.
    Other,
    /// It begins after it.
    Archived,
}

impl Pinned {
    /// Refuses what is not right, in words.
    fn check(self, state: &State, pin: &Pin) -> Result<()> {
        match self.problem(state, pin.head) {
            None => Ok(()),
            Some(problem) => Err(damaged(problem)),
        }
    }

    /// What is wrong, where something is.
    pub(crate) fn problem(self, state: &State, pinned: Head) -> Option<String> {
        match self {
            Self::Held | Self::GivenUp => None,
            Self::Older => Some(format!(
                "the ledger ends at batch {}, and batch {} was seen before: it was rolled back, \
                 or its end was cut off",
                state.head.sequence, pinned.sequence
            )),
            Self::Other => Some(format!(
                "batch {} of the ledger is not the one that was pinned: its history was rewritten",
                pinned.sequence
            )),
            Self::Archived => Some(format!(
                "batch {} was pinned, and the ledger begins behind batch {}: only its archive \
                 shows whether it holds it",
                pinned.sequence,
                state.begins.map_or(0, |begins| begins.from.sequence)
            )),
        }
    }
}

/// How a ledger stands to a pinned head; `state` is what was read of it.
pub(crate) async fn look_up(ledger: &dyn Ledger, state: &State, pinned: Head) -> Result<Pinned> {
    if pinned.sequence == 0 || pinned == state.head {
        return Ok(Pinned::Held);
    }
    if state.begins.is_some_and(|begins| begins.from == pinned) {
        return Ok(Pinned::Held);
    }
    // Also one beyond what was read: another run may have pinned what it
    // appended since.
    if pinned.sequence != state.head.sequence {
        let batches = ledger.batches(pinned.sequence, 1).await?;
        if let Some(batch) = batches.first().filter(|b| b.header.sequence == pinned.sequence)
            && batch.header.hash()? == pinned.hash
        {
            return Ok(Pinned::Held);
        }
    }
    Ok(pinned_otherwise(state, pinned, false))
}

/// How a ledger stands to a pinned head that it does not hold.
fn pinned_otherwise(state: &State, pinned: Head, with_archives: bool) -> Pinned {
    if pinned.sequence == 0 {
        Pinned::Held
    } else if state.lost.contains(&pinned) {
        Pinned::GivenUp
    } else if pinned.sequence > state.head.sequence {
        Pinned::Older
    } else if !with_archives
        && state.begins.is_some_and(|begins| pinned.sequence < begins.from.sequence)
    {
        Pinned::Archived
    } else {
        Pinned::Other
    }
}

/// Checks that a ledger is not older than a pin, and still holds the pinned
/// batch or says why not, without replaying it.
///
/// `state` is what was read of the ledger, whole or in part.
///
/// # Errors
///
/// [`ErrorKind::Damaged`] when the ledger ends before the pinned batch or has
/// another in its place; [`ErrorKind::Foreign`] when the pin is another
/// ledger's.
pub async fn follows_pin(ledger: &dyn Ledger, state: &State, pin: &Pin) -> Result<()> {
    check_ledger(&state.ledger, pin)?;
    look_up(ledger, state, pin.head).await?.check(state, pin)
}

fn check_ledger(ledger: &str, pin: &Pin) -> Result<()> {
    if pin.ledger == ledger {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Foreign,
        format!("the pin is of ledger {}, and this is ledger {ledger}", pin.ledger),
    )
    .help("use the ledger that was pinned, or remove the pin if this one takes its place"))
}

fn compare(kept: &State, replayed: &State) -> Result<()> {
    match difference(kept, replayed) {
        None => Ok(()),
        Some(what) => Err(damaged(format!(
            "the state that the ledger keeps is not what its entries amount to: {what} differs"
        ))),
    }
}

/// What is not the same in two states.
fn difference(one: &State, other: &State) -> Option<String> {
    if one == other {
        return None;
    }
    Some(if one.head != other.head {
        String::from("its newest batch")
    } else if let Some(address) = differing(&one.records, &other.records) {
        format!("the record of `{address}`")
    } else if let Some(instance) = differing(&one.agents, &other.agents) {
        format!("the record of agent `{instance}`")
    } else if let Some(run) = differing(&one.runs, &other.runs) {
        format!("the open run {run}")
    } else if (&one.begins, &one.lost) != (&other.begins, &other.lost) {
        String::from("where it begins, or what was given up")
    } else {
        String::from("its id, fleet or environment")
    })
}

fn differing<'a, K: Ord, V: PartialEq>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> Option<&'a K> {
    one.keys().chain(other.keys()).find(|key| one.get(*key) != other.get(*key))
}

fn damaged(message: String) -> Error {
    Error::new(ErrorKind::Damaged, message)
        .help("restore the ledger from a backup that is not older than its pin")
}
