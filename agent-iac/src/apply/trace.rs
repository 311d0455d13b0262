//! What happens in a run, as spans and events of `tracing`, for programs that
//! collect those. They hold addresses and reasons, and no value of any
//! property. Without the feature `tracing` nothing is told.

#[cfg(feature = "tracing")]
use tracing::Instrument as _;

#[cfg(feature = "tracing")]
use super::Outcome;
use super::Progress;
use crate::ledger::{RunId, RunPurpose};

/// Tells an event.
#[cfg(feature = "tracing")]
pub(super) fn tell(progress: &Progress) {
    match progress {
        Progress::RunBegun { run, steps } => tracing::info!(%run, steps, "run begun"),
        Progress::Settling { address, wait } => {
            tracing::info!(%address, ?wait, "waiting for work of a dead run to land");
        }
        Progress::StepBegun { address, action } => tracing::debug!(%address, %action, "step begun"),
        Progress::StepRetried { address, attempt, pause, error } => {
            tracing::warn!(%address, attempt, ?pause, error, "step tried again");
        }
        Progress::Credential { address, phase } => tracing::debug!(%address, phase, "credential"),
        Progress::StepEnded { step } => {
            let (address, action) = (&step.address, step.action);
            match &step.outcome {
                Outcome::Done => tracing::info!(%address, %action, "step done"),
                Outcome::Unproved(why) => {
                    tracing::warn!(%address, %action, why, "step done, not proved");
                }
                Outcome::Skipped { because } => {
                    tracing::warn!(%address, %action, because, "step skipped");
                }
                Outcome::Failed(error) => {
                    tracing::error!(%address, %action, %error, "step failed");
                }
                Outcome::InDoubt(error) => {
                    tracing::error!(%address, %action, %error, "step in doubt");
                }
            }
        }
        Progress::RunEnded { summary } => tracing::info!(?summary, "run ended"),
    }
}

#[cfg(not(feature = "tracing"))]
pub(super) fn tell(_: &Progress) {}

/// Does the work of a run in a span of its own.
pub(super) async fn in_run<T>(
    run: &RunId,
    purpose: RunPurpose,
    work: impl Future<Output = T> + Send,
) -> T {
    #[cfg(feature = "tracing")]
    let work = work.instrument(tracing::info_span!("agent_iac.run", %run, ?purpose));
    #[cfg(not(feature = "tracing"))]
    let _ = (run, purpose);
    work.await
}

/// Does the work of a batch in a span of its own.
pub(super) async fn in_batch<T>(
    provider: &str,
    ty: &str,
    steps: usize,
    work: impl Future<Output = T> + Send,
) -> T {
    #[cfg(feature = "tracing")]
    let work = work.instrument(tracing::debug_span!("agent_iac.batch", provider, ty, steps));
    #[cfg(not(feature = "tracing"))]
    let _ = (provider, ty, steps);
    work.await
}
