//! A watcher's work as spans of `tracing`; nothing without that feature. They
//! hold names, addresses and counts, and no value of any property.

#[cfg(feature = "tracing")]
use tracing::Instrument as _;

use super::{Alert, Check};

/// Does the work of a tick in a span of its own.
pub(super) async fn in_tick<T>(
    (fleet, environment): (&str, &str),
    work: impl Future<Output = T> + Send,
) -> T {
    #[cfg(feature = "tracing")]
    let work = work.instrument(tracing::info_span!("agent_iac.tick", fleet, environment));
    #[cfg(not(feature = "tracing"))]
    let _ = (fleet, environment);
    work.await
}

/// Compares everything in a span of its own.
pub(super) async fn in_check<T>(work: impl Future<Output = T> + Send) -> T {
    #[cfg(feature = "tracing")]
    let work = work.instrument(tracing::info_span!("agent_iac.check"));
    work.await
}

/// Stops agents in a span of its own.
pub(super) async fn in_retire<T>(agents: usize, work: impl Future<Output = T> + Send) -> T {
    #[cfg(feature = "tracing")]
    let work = work.instrument(tracing::info_span!("agent_iac.retire", agents));
    #[cfg(not(feature = "tracing"))]
    let _ = agents;
    work.await
}

/// Tells what a check found.
pub(super) fn checked(check: &Check) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        drift = check.drift,
        undeclared = check.undeclared,
        unread = check.unread,
        reverted = check.reverted.summary.done,
        "checked"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = check;
}

/// Tells an alert.
pub(super) fn alert(alert: &Alert) {
    #[cfg(feature = "tracing")]
    {
        let Alert { id, kind, status, about, what, repair, .. } = alert;
        tracing::warn!(id, %kind, ?status, about, what, repair, "alert");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = alert;
}
