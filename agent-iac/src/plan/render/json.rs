//! A plan for programs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    access::{AccessChange, Verdict},
    address::is_printable,
    error::Result,
    plan::{Action, FORMAT, Plan, Risk, SavedPlan, Totals},
    schema::Kind,
    value::{Digest, canonical},
};

/// What a plan amounts to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The fleet.
    pub fleet: String,
    /// The environment.
    pub environment: String,
    /// The plan's digest.
    pub digest: Digest,
    /// How many steps of each sort.
    pub totals: Totals,
    /// How many of those that remove revoke a credential.
    pub revoke: u32,
    /// How many steps of each risk.
    pub risks: BTreeMap<Risk, u32>,
    /// What the plan does to access as a whole.
    pub verdict: Verdict,
    /// Who gains and who loses which access.
    pub access: AccessChange,
    /// How many objects are not as they were recorded.
    pub drift: usize,
    /// How many changes may not, or cannot, be made.
    pub blocked: usize,
    /// How many objects nobody declared.
    pub undeclared: usize,
    /// How many addresses could not be wholly read.
    pub unread: usize,
    /// How many steps of earlier runs are in doubt.
    pub in_doubt: usize,
    /// How many sources give access beside what is declared.
    pub besides: usize,
    /// Of how many types of identities that could not be read.
    pub besides_unread: usize,
    /// What a reviewer must know of the systems.
    pub warnings: Vec<String>,
    /// How many resources are as desired.
    pub unchanged: u32,
    /// When the oldest observation was made.
    pub observed_at: Timestamp,
    /// Whether everything was read and is as it should be.
    pub clean: bool,
}

impl Summary {
    /// Sums a plan up.
    pub fn of(saved: &SavedPlan) -> Self {
        let plan = saved.plan();
        let access = plan.access();
        let mut risks = BTreeMap::new();
        plan.steps.iter().for_each(|step| *risks.entry(step.risk).or_default() += 1);
        Self {
            fleet: plan.fleet.clone(),
            environment: plan.environment.clone(),
            digest: saved.digest(),
            totals: plan.totals(),
            revoke: revoked(plan),
            risks,
            verdict: access.verdict(),
            access,
            drift: plan.drift.len(),
            blocked: plan.blocked.len(),
            undeclared: plan.undeclared.len(),
            unread: plan.unread.len(),
            in_doubt: plan.in_doubt.len(),
            besides: plan.beside.iter().map(|beside| beside.sources.len()).sum(),
            besides_unread: plan.unread_beside(),
            warnings: plan.warnings().map(str::to_owned).collect(),
            unchanged: plan.unchanged,
            observed_at: plan.observed_at,
            clean: plan.is_clean(),
        }
    }
}

/// How many credentials the plan revokes.
pub(super) fn revoked(plan: &Plan) -> u32 {
    let revokes =
        |step: &&crate::plan::Step| step.action == Action::Delete && step.kind == Kind::Credential;
    u32::try_from(plan.steps.iter().filter(revokes).count()).unwrap_or(u32::MAX)
}

/// The saved plan with its summary, as one line of JSON.
///
/// # Errors
///
/// As [`Plan::digest`].
pub fn json(saved: &SavedPlan) -> Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        /// Of this document; the plan in it has its own.
        format: u32,
        #[serde(flatten)]
        saved: &'a SavedPlan,
        summary: Summary,
    }
    Ok(inert(&canonical(&Document { format: FORMAT, saved, summary: Summary::of(saved) })?))
}

/// Escapes what a terminal might act on. It can only stand inside JSON's
/// strings, where an escape means the same character.
pub(crate) fn inert(json: &[u8]) -> String {
    let json = String::from_utf8_lossy(json);
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if is_printable(c.encode_utf8(&mut [0; 4])) {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                use std::fmt::Write as _;
                let _: std::fmt::Result = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    shown
}
