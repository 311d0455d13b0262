//! An inbox and a teller in memory, for tests and simulations.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{Confirm, Confirmation, Consumer, Inbox, Notice, Tell, Told};
use crate::{address::Address, error::Result};

/// The [`Inbox`] of tests and simulations. Each clone is the same inbox.
#[derive(Clone, Debug, Default)]
pub struct MemoryInbox {
    kept: Arc<Mutex<BTreeMap<(Address, Consumer), Confirmation>>>,
}

impl MemoryInbox {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Confirm for MemoryInbox {
    async fn confirm(&self, confirmation: &Confirmation) -> Result<()> {
        let by = (confirmation.credential.clone(), confirmation.consumer.clone());
        lock(&self.kept).insert(by, confirmation.clone());
        Ok(())
    }
}

#[async_trait]
impl Inbox for MemoryInbox {
    async fn confirmed(&self, asked: &[(Address, Consumer)]) -> Result<Vec<Option<Confirmation>>> {
        let kept = lock(&self.kept);
        Ok(asked.iter().map(|by| kept.get(by).cloned()).collect())
    }
}

/// What [`MemoryTeller`] has been asked to tell, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The credential.
    pub credential: Address,
    /// The generation.
    pub generation: u32,
    /// Who was told.
    pub consumer: Consumer,
    /// What was answered.
    pub told: Told,
}

type Answer = dyn Fn(Notice<'_>) -> Told + Send + Sync;

/// The [`Tell`] of tests and simulations: it remembers, and answers as a test
/// wants it. Each clone is the same one.
#[derive(Clone)]
pub struct MemoryTeller {
    heard: Arc<Mutex<Vec<Heard>>>,
    answer: Arc<Answer>,
}

impl Default for MemoryTeller {
    fn default() -> Self {
        Self::answering(|_| Told::Told)
    }
}

impl MemoryTeller {
    /// Makes one that answers as `answer` says.
    pub fn answering(answer: impl Fn(Notice<'_>) -> Told + Send + Sync + 'static) -> Self {
        Self { heard: Arc::default(), answer: Arc::new(answer) }
    }

    /// All that was told so far, in order.
    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.heard).clone()
    }
}

#[async_trait]
impl Tell for MemoryTeller {
    async fn tell(&self, notice: Notice<'_>) -> Told {
        let told = (self.answer)(notice);
        lock(&self.heard).push(Heard {
            credential: notice.credential.clone(),
            generation: notice.generation,
            consumer: notice.consumer.clone(),
            told: told.clone(),
        });
        told
    }
}

impl fmt::Debug for MemoryTeller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTeller").field("heard", &self.heard).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
