//! A ledger whose every call passes the world's gate.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    Gate,
    gate::{Fault, Side},
    witness::Witness,
};
use crate::{
    address::Instance,
    error::{ErrorKind, Result},
    ledger::{
        Actor, Append, Appended, Batch, Entry, Fence, Head, Lease, Ledger, Page, Query, State,
    },
};

/// Wraps any ledger, so that its world can crash and err before and after each
/// of its effects.
pub struct GatedLedger {
    inner: Arc<dyn Ledger>,
    gate: Gate,
    witness: Arc<Witness>,
}

impl GatedLedger {
    pub(super) fn new(inner: Arc<dyn Ledger>, gate: Gate, witness: Arc<Witness>) -> Self {
        Self { inner, gate, witness }
    }

    async fn pass(&self, call: &str) -> Result<()> {
        self.gate.pass(ErrorKind::Ledger, &format!("ledger/{call}")).await
    }

    async fn before(&self, call: &str) -> Result<()> {
        let error = |fault: Fault| fault.error(ErrorKind::Ledger, call, Side::Before);
        self.gate.before(call).await.map_err(error)
    }

    async fn after(&self, call: &str) -> Result<()> {
        let error = |fault: Fault| fault.error(ErrorKind::Ledger, call, Side::After);
        self.gate.after(call).await.map_err(error)
    }
}

/// `step.begun triage.account`, or the number of such entries.
fn summary(entries: &[Entry]) -> String {
    let mut parts: Vec<(String, usize)> = Vec::new();
    for entry in entries {
        let event = serde_json::to_value(&entry.event).unwrap_or_default();
        let word = |name: &str| event.get(name).and_then(|word| word.as_str()).unwrap_or("?");
        let mut part = format!("{}.{}", word("kind"), word("phase"));
        if let Some(address) = &entry.address {
            part = format!("{part} {address}");
        }
        match parts.last_mut() {
            Some((last, count)) if *last == part => *count += 1,
            _ => parts.push((part, 1)),
        }
    }
    let shown = |(part, count): (String, usize)| match count {
        1 => part,
        count => format!("{part} ×{count}"),
    };
    parts.into_iter().map(shown).collect::<Vec<_>>().join(" + ")
}

#[async_trait]
impl Ledger for GatedLedger {
    fn description(&self) -> String {
        format!("gated {}", self.inner.description())
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        // What an append says costs as much as the append, and is for the names.
        let call = if self.gate.forgets() {
            String::from("ledger/append")
        } else {
            format!("ledger/append {}", summary(&append.entries))
        };
        let given = append.clone();
        self.before(&call).await?;
        self.witness.observe(|observer| observer.appending(&given));
        let appended = self.inner.append(append).await?;
        self.witness.appended(&given.entries);
        self.witness.observe(|observer| observer.appended(&given, &appended));
        self.after(&call).await?;
        Ok(appended)
    }

    async fn state(&self, query: &Query) -> Result<State> {
        self.pass("state").await?;
        self.inner.state(query).await
    }

    async fn page(&self, after: Option<&Instance>, limit: usize) -> Result<Page> {
        self.pass("page").await?;
        self.inner.page(after, limit).await
    }

    async fn batches(&self, from: u64, limit: usize) -> Result<Vec<Batch>> {
        self.pass("batches").await?;
        self.inner.batches(from, limit).await
    }

    async fn examine(&self) -> Result<()> {
        self.pass("examine").await?;
        self.inner.examine().await
    }

    async fn checkpoint(&self, archived: Head, actor: &Actor) -> Result<Head> {
        self.before("ledger/checkpoint").await?;
        let head = self.inner.checkpoint(archived, actor).await?;
        self.after("ledger/checkpoint").await?;
        Ok(head)
    }

    async fn renew(&self, fence: &Fence, ttl: Duration) -> Result<()> {
        self.before("ledger/renew").await?;
        self.inner.renew(fence, ttl).await?;
        self.after("ledger/renew").await
    }

    async fn release(&self, fence: &Fence) -> Result<()> {
        self.before("ledger/release").await?;
        self.inner.release(fence).await?;
        self.after("ledger/release").await
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        self.pass("leases").await?;
        self.inner.leases().await
    }
}

impl fmt::Debug for GatedLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatedLedger({})", self.inner.description())
    }
}
