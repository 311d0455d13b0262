//! A checkpoint: the batches with which a ledger begins whose older history
//! stands in an archive.
//!
//! Owns what is carried, in batches of a bounded size, and when it is refused.
//! It is pure: a backend puts these batches in the place of the old ones, all
//! at once.

use jiff::Timestamp;

use super::{
    Actor, AgentEvent, Entry, FORMAT, Head, LedgerEvent, RecordEvent, Sealed, State, grouping,
};
use crate::{
    error::{Error, ErrorKind, Result},
    value::Digest,
};

/// How much one batch of a checkpoint carries, so that reading one takes no
/// more memory than reading any other.
const ENTRIES: usize = 256;
const BYTES: usize = 1 << 20;

/// Refuses to archive what is not settled: an open step or run needs the
/// history that would be put away.
pub(crate) fn is_settled(state: &State) -> Result<()> {
    let refused = |what: String| {
        Err(Error::new(ErrorKind::Refused, format!("the ledger cannot be archived: {what}"))
            .help("let the run end, or settle what a dead one left with `recover`, and repeat"))
    };
    if let Some((address, _)) = state.records.iter().find(|(_, record)| record.open.is_some()) {
        return refused(format!("a step at `{address}` is open"));
    }
    if let Some(run) = state.runs.keys().next() {
        return refused(format!("run {run} has not ended"));
    }
    match state.begins {
        Some(begins) if state.head.sequence <= begins.until => Err(Error::new(
            ErrorKind::Refused,
            "nothing was recorded since the ledger was archived",
        )
        .help("archive again once there is a history")),
        _ => Ok(()),
    }
}

/// The batches that carry a state, behind its head.
pub(super) fn batches(state: &State, time: Timestamp, actor: &Actor) -> Result<Vec<Sealed>> {
    let agents = state.agents.iter().map(|(instance, agent)| {
        let agent = Box::new(agent.clone());
        Entry::about(instance, AgentEvent::Carried { agent })
    });
    let records = state.records.iter().map(|(address, record)| {
        let record = Box::new(record.clone());
        Entry::of(address, RecordEvent::Carried { record })
    });
    let mut bodies = Vec::new();
    let mut body = Body::default();
    for entry in agents.chain(records) {
        let text = grouping::text(&entry)?;
        if body.is_full(&text) {
            bodies.push(std::mem::take(&mut body).end());
        }
        body.put(&text);
    }
    if body.entries > 0 {
        bodies.push(body.end());
    }
    let continued = LedgerEvent::Continued {
        id: state.ledger.clone(),
        fleet: state.fleet.clone(),
        environment: state.environment.clone(),
        format: FORMAT,
        from: state.head,
        batches: u64::try_from(bodies.len()).unwrap_or(u64::MAX).saturating_add(1),
        lost: state.lost.iter().copied().collect(),
        actor: actor.clone(),
    };
    bodies.insert(0, grouping::text(&[Entry::new(continued)])?);
    let mut head = state.head;
    bodies
        .into_iter()
        .map(|entries| {
            let header = head.next(time, Digest::of_bytes(entries.as_bytes()));
            head = Head { sequence: header.sequence, hash: header.hash()? };
            Ok(Sealed { header, entries })
        })
        .collect()
}

/// The canonical JSON of a batch's entries, as it grows.
#[derive(Default)]
struct Body {
    text: String,
    entries: usize,
}

impl Body {
    fn is_full(&self, next: &str) -> bool {
        self.entries >= ENTRIES || (self.entries > 0 && self.text.len() + next.len() > BYTES)
    }

    fn put(&mut self, entry: &str) {
        self.text.push(if self.entries == 0 { '[' } else { ',' });
        self.text.push_str(entry);
        self.entries += 1;
    }

    fn end(mut self) -> String {
        self.text.push(']');
        self.text
    }
}

/// Where a history begins, as its first batch says: behind the head of its
/// archive, or at nothing.
pub(super) fn origin(first: &Sealed) -> Result<Head> {
    use super::Event;

    let batch = first.open()?;
    let (format, from) = match batch.entries.first().map(|entry| &entry.event) {
        Some(Event::Ledger(LedgerEvent::Opened { format, .. })) => (*format, Head::EMPTY),
        Some(Event::Ledger(LedgerEvent::Continued { format, from, .. })) => (*format, *from),
        _ => {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "batch {}, the first of the ledger, does not open it",
                    first.header.sequence
                ),
            )
            .help("restore the ledger from a backup that is not older than its pin"));
        }
    };
    if format > FORMAT {
        return Err(newer(format));
    }
    Ok(from)
}

/// The refusal of what a newer version wrote.
pub(super) fn newer(format: u32) -> Error {
    Error::new(
        ErrorKind::NewerVersion,
        format!("the ledger is in format {format}, and this version reads up to {FORMAT}"),
    )
    .help("use the version of agent-iac that wrote it, or a newer one")
}
