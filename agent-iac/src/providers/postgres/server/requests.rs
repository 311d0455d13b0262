//! How much was asked of servers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A count of requests, each of which is one round trip; its clones are the
/// same one.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<AtomicU64>);

impl Requests {
    /// How many there were so far.
    pub fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
