//! The proof that a ledger is whole: its chain, its fold, and its age.

use super::{Event, FORMAT, Head, Ledger, LedgerEvent, Query, State};
use crate::{
    error::{Error, ErrorKind, Result},
    vault::Pin,
};

/// How many batches are read at once: enough that reading costs little beside
/// hashing, and little enough to stand in memory.
const PAGE: usize = 256;

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The ledger's own id.
    pub ledger: String,
    /// The newest batch that was verified.
    pub head: Head,
    /// How many entries there are.
    pub entries: u64,
}

/// Replays a whole ledger: every batch follows the one before it and holds the
/// entries that its header was made for, the state that the ledger keeps is
/// what its entries amount to, and it is not older than its pin.
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
    // Read first: what is appended meanwhile is replayed, and not compared.
    let kept = ledger.state(&Query::Everything).await?;
    let mut replayed = State::default();
    let mut head = Head::EMPTY;
    let mut entries = 0;
    let mut compared = kept.head == Head::EMPTY;
    if compared {
        compare(&kept, &replayed)?;
    }
    let mut pinned = None;
    loop {
        let page = ledger.batches(head.sequence + 1, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for batch in &page {
            head.follow(batch)?;
            if head.sequence == 1 {
                check_first(batch.entries.first().map(|entry| &entry.event))?;
            }
            replayed.absorb(batch)?;
            entries += u64::try_from(batch.entries.len()).unwrap_or(u64::MAX);
            if head.sequence == kept.head.sequence {
                compare(&kept, &replayed)?;
                compared = true;
            }
            if pin.is_some_and(|pin| pin.head.sequence == head.sequence) {
                pinned = Some(head);
            }
        }
    }
    if !compared {
        return Err(damaged(format!(
            "the ledger ends at batch {}, and its state is of batch {}: its end was cut off",
            head.sequence, kept.head.sequence
        )));
    }
    if let Some(pin) = pin {
        check_pin(&kept.ledger, head, pinned, pin)?;
    }
    Ok(Verified { ledger: kept.ledger, head, entries })
}

/// Checks that a ledger is not older than a pin, and still holds the pinned
/// batch, without replaying it.
///
/// `state` is what was read of the ledger, whole or in part.
///
/// # Errors
///
/// [`ErrorKind::Damaged`] when the ledger ends before the pinned batch or has
/// another in its place; [`ErrorKind::Foreign`] when the pin is another
/// ledger's.
pub async fn follows_pin(ledger: &dyn Ledger, state: &State, pin: &Pin) -> Result<()> {
    let at_pin = if pin.head.sequence == state.head.sequence {
        Some(state.head)
    } else if pin.head.sequence == 0 {
        None
    } else {
        match ledger.batches(pin.head.sequence, 1).await?.first() {
            Some(batch) if batch.header.sequence == pin.head.sequence => {
                Some(Head { sequence: batch.header.sequence, hash: batch.header.hash()? })
            }
            _ => None,
        }
    };
    check_pin(&state.ledger, state.head, at_pin, pin)
}

fn check_pin(ledger: &str, head: Head, at_pin: Option<Head>, pin: &Pin) -> Result<()> {
    if pin.ledger != ledger {
        return Err(Error::new(
            ErrorKind::Foreign,
            format!("the pin is of ledger {}, and this is ledger {ledger}", pin.ledger),
        )
        .help("use the ledger that was pinned, or remove the pin if this one takes its place"));
    }
    if head.sequence < pin.head.sequence {
        return Err(damaged(format!(
            "the ledger ends at batch {}, and batch {} was seen before: it was rolled back, or its \
             end was cut off",
            head.sequence, pin.head.sequence
        )));
    }
    if pin.head.sequence > 0 && at_pin != Some(pin.head) {
        return Err(damaged(format!(
            "batch {} of the ledger is not the one that was pinned: its history was rewritten",
            pin.head.sequence
        )));
    }
    Ok(())
}

fn check_first(event: Option<&Event>) -> Result<()> {
    match event {
        Some(Event::Ledger(LedgerEvent::Opened { format, .. })) if *format > FORMAT => {
            Err(Error::new(
                ErrorKind::NewerVersion,
                format!("the ledger is in format {format}, and this version reads up to {FORMAT}"),
            )
            .help("use the version of agent-iac that wrote it, or a newer one"))
        }
        Some(Event::Ledger(LedgerEvent::Opened { .. })) => Ok(()),
        _ => Err(damaged(String::from("the first batch of the ledger does not open it"))),
    }
}

fn compare(kept: &State, replayed: &State) -> Result<()> {
    if kept == replayed {
        return Ok(());
    }
    let what = if kept.head != replayed.head {
        String::from("its newest batch")
    } else if let Some(address) = differing(&kept.records, &replayed.records) {
        format!("the record of `{address}`")
    } else if let Some(instance) = differing(&kept.agents, &replayed.agents) {
        format!("the record of agent `{instance}`")
    } else if let Some(run) = differing(&kept.runs, &replayed.runs) {
        format!("the open run {run}")
    } else {
        String::from("its id, fleet or environment")
    };
    Err(damaged(format!(
        "the state that the ledger keeps is not what its entries amount to: {what} differs"
    )))
}

fn differing<'a, K: Ord, V: PartialEq>(
    kept: &'a std::collections::BTreeMap<K, V>,
    replayed: &'a std::collections::BTreeMap<K, V>,
) -> Option<&'a K> {
    kept.keys().chain(replayed.keys()).find(|key| kept.get(*key) != replayed.get(*key))
}

fn damaged(message: String) -> Error {
    Error::new(ErrorKind::Damaged, message)
        .help("restore the ledger from a backup that is not older than its pin")
}
