//! What a run is told, and what it tells.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    address::{Address, Instance},
    error::Error,
    ledger::{Actor, Cause, RunId, Summary},
    plan::Action,
    value::Digest,
};

/// Who runs something, and how.
#[derive(Clone)]
pub struct RunContext {
    /// Who.
    pub actor: Actor,
    /// The digest of the plan that they acknowledged; a plan of another digest
    /// is refused.
    pub acknowledged: Option<Digest>,
    /// The revision of the code, where it is known.
    pub revision: Option<String>,
    /// Who holds the leases, for those who have to wait: host and process.
    pub holder: String,
    /// How many batches are under way at once, over all providers.
    pub parallel: usize,
    /// Tells the run to finish what is in flight and start nothing new.
    pub stop: Stop,
    /// Is told what happens.
    pub watch: Watch,
}

/// Is told what happens in a run.
pub type Watch = Arc<dyn Fn(&Progress) + Send + Sync>;

impl RunContext {
    /// A run by somebody, that nobody watches.
    pub fn new(actor: Actor) -> Self {
        Self {
            actor,
            acknowledged: None,
            revision: None,
            holder: format!("process {}", std::process::id()),
            parallel: 8,
            stop: Stop::default(),
            watch: Arc::new(|_| {}),
        }
    }

    /// The same, acknowledging a plan by its digest.
    #[must_use]
    pub fn acknowledging(mut self, digest: Digest) -> Self {
        self.acknowledged = Some(digest);
        self
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContext")
            .field("actor", &self.actor)
            .field("acknowledged", &self.acknowledged)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// Tells a run to stop.
///
/// ```
/// use agent_iac::apply::Stop;
///
/// let stop = Stop::default();
/// stop.request();
/// assert!(stop.is_requested());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the run to finish what is in flight and start nothing new.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether that was asked.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Something that happens in a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// The run began; its leases are held.
    RunBegun {
        /// Its id.
        run: RunId,
        /// How many steps it has.
        steps: usize,
    },
    /// Work of a dead run may still land; its fate is asked after this time.
    Settling {
        /// The resource.
        address: Address,
        /// How long.
        wait: Duration,
    },
    /// A step was begun.
    StepBegun {
        /// The resource.
        address: Address,
        /// What it does.
        action: Action,
    },
    /// A step is tried again after a pause.
    StepRetried {
        /// The resource.
        address: Address,
        /// How many times it was tried.
        attempt: u32,
        /// The pause before the next attempt.
        pause: Duration,
        /// Why.
        error: String,
    },
    /// A credential reached a phase of its delivery.
    Credential {
        /// The resource.
        address: Address,
        /// `delivered`, `verified`, `promoted`, `revoked`, `proved`, `lost`.
        phase: &'static str,
    },
    /// A step ended.
    StepEnded {
        /// The step.
        step: StepReport,
    },
    /// The run ended.
    RunEnded {
        /// How many steps ended how.
        summary: Summary,
    },
}

/// How a step ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// It was carried out, and something about it could not be proved.
    Unproved(String),
    /// It failed and left nothing behind, or what it left is recorded.
    Failed(Arc<Error>),
    /// It was not begun, because of another step or because the run was told
    /// to stop.
    Skipped {
        /// Why.
        because: String,
    },
    /// It cannot be told whether it was carried out; the next run settles it.
    InDoubt(Arc<Error>),
}

impl Outcome {
    /// Whether what depends on the step may go on.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::Unproved(_))
    }
}

/// One step and how it ended.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// The resource.
    pub address: Address,
    /// What it does.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
}

/// An agent that left.
#[derive(Clone, Debug)]
pub struct LeftReport {
    /// The agent.
    pub instance: Instance,
    /// Why.
    pub cause: Cause,
    /// The time from the suspension to the end, in seconds.
    pub seconds: u64,
    /// What could not be reached or proved; empty when nothing is left.
    pub open: BTreeMap<Address, String>,
}

/// A consumer that could not be told of the present generation of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// The credential.
    pub address: Address,
    /// The consumer, as it is declared.
    pub consumer: String,
    /// Why, and what would help.
    pub because: String,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its id; `None` when there was nothing to do.
    pub run: Option<RunId>,
    /// Each step, in the order in which they ended.
    pub steps: Vec<StepReport>,
    /// The agents of which nothing is left.
    pub left: Vec<LeftReport>,
    /// How many steps ended how.
    pub summary: Summary,
    /// Why the end of the run could not be recorded or pinned once its steps
    /// had ended; the next run sees to it.
    pub unfinished: Option<Arc<Error>>,
    /// Who could not be told of a new generation; the next one who looks tells
    /// them, and the older generation waits for them.
    pub untold: Vec<Untold>,
    /// Why nobody could be heard who confirms; nobody counts as having done so.
    pub unheard: Option<Arc<Error>>,
}

impl Report {
    /// Whether everything was carried out and proved.
    pub fn is_complete(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.outcome, Outcome::Done))
            && self.left.iter().all(|left| left.open.is_empty())
            && self.unfinished.is_none()
            && self.untold.is_empty()
            && self.unheard.is_none()
    }

    pub(crate) fn push(&mut self, step: StepReport) {
        let count = match &step.outcome {
            Outcome::Done | Outcome::Unproved(_) => &mut self.summary.done,
            Outcome::Failed(_) => &mut self.summary.failed,
            Outcome::Skipped { .. } => &mut self.summary.skipped,
            Outcome::InDoubt(_) => &mut self.summary.in_doubt,
        };
        *count += 1;
        self.steps.push(step);
    }
}
