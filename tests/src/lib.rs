//! What the integration tests share: agents of the simulated system, and the
//! one loop that an operator runs.
//!
//! # Mistakes in declarations whose text is not compared
//!
//! rustc lists every other type that implements the trait, or writes a name
//! with its path where another crate has the same, so the text changes with
//! what else exists.
//!
//! A field's type must be a resource:
//!
//! ```compile_fail,E0277
//! use agent_iac::prelude::*;
//!
//! /// Reads invoices.
//! #[derive(Agent)]
//! #[agent(owner = "team:billing", expires = "2027-06-30")]
//! struct Reader {
//!     #[identity(name = "reader", protect)]
//!     account: String,
//! }
//! ```
//!
//! A permission must say which access it gives:
//!
//! ```compile_fail,E0277
//! use agent_iac::{prelude::*, resource::Link};
//! use agent_iac_tests::system::Member;
//!
//! #[derive(Debug, Resource)]
//! #[resource(type = "test.role", kind = "permission")]
//! struct Role {
//!     to: Link<Member>,
//! }
//! ```
//!
//! And so does whatever is marked with `access`; what is marked with `check`
//! says what it checks:
//!
//! ```compile_fail,E0277
//! use agent_iac::prelude::*;
//!
//! #[derive(Debug, Resource)]
//! #[resource(type = "test.role", kind = "identity", access)]
//! struct Role {
//!     name: String,
//! }
//! ```
//!
//! ```compile_fail,E0277
//! use agent_iac::prelude::*;
//!
//! #[derive(Debug, Resource)]
//! #[resource(type = "test.role", kind = "identity", check)]
//! struct Role {
//!     name: String,
//! }
//! ```
//!
//! What may be left out for its default has one:
//!
//! ```compile_fail,E0277
//! use agent_iac::prelude::*;
//!
//! #[derive(Clone, Debug, PartialEq, Property)]
//! struct Home {
//!     path: String,
//! }
//!
//! #[derive(Debug, Resource)]
//! #[resource(type = "test.role", kind = "identity")]
//! struct Role {
//!     #[resource(default)]
//!     home: Home,
//! }
//! ```

pub mod crash;
pub mod embedded;
#[cfg(feature = "live")]
pub mod on_postgres;
pub mod outside;
#[cfg(feature = "live")]
pub mod postgres;
pub mod system;

use agent_iac::{
    Error, ErrorKind, Result,
    apply::{Report, RunContext},
    deployment::{Deployment, PlanRequest},
    ledger::Actor,
    plan::{Plan, SavedPlan},
    testing::world::World,
};
use std::sync::Arc;

/// Somebody who runs tests.
pub fn operator() -> RunContext {
    RunContext::new(Actor::asserted("test", "operator"))
}

/// A deployment of a fleet on the simulated system `sim` and the store `vault`
/// of a world. The ledger is the one that the caller put there.
pub fn simulated(
    world: &World,
    fleet: agent_iac::fleet::Fleet,
    ledger: Arc<dyn agent_iac::ledger::Ledger>,
    store: Arc<dyn agent_iac::vault::SecretStore>,
) -> Deployment {
    Deployment::new(fleet, "test", ledger, world.entropy())
        .with_clock(world.clock())
        .with_provider("sim", Arc::new(world.provider("sim")))
        .with_store("vault", store)
}

/// Plans, and applies what was planned on the operator's own word.
///
/// # Errors
///
/// As planning and applying.
pub async fn apply(deployment: &Deployment) -> Result<(Plan, Report)> {
    apply_as(deployment, &operator()).await
}

async fn apply_as(deployment: &Deployment, context: &RunContext) -> Result<(Plan, Report)> {
    let plan = deployment.plan(&PlanRequest::default()).await?;
    let saved = SavedPlan::new(plan.clone())?;
    let context = context.clone().acknowledging(saved.digest());
    let report = deployment.apply(&saved, &context).await?;
    Ok((plan, report))
}

/// What an operator, or a timer, does after a crash in the same words as
/// without one: settle, plan, apply, until there is nothing to do.
///
/// # Errors
///
/// When a step fails, when something is blocked, unread or in doubt, or when
/// there is still something to do after a few rounds.
pub async fn converge(deployment: &Deployment) -> Result<()> {
    converge_as(deployment, &operator()).await
}

/// The same, as somebody else.
///
/// # Errors
///
/// As [`converge`].
pub async fn converge_as(deployment: &Deployment, context: &RunContext) -> Result<()> {
    let settled = deployment.recover(context).await?;
    if settled.summary.in_doubt > 0 {
        return Err(failed("a doubt was not settled", &settled));
    }
    for _ in 0..5 {
        let (plan, report) = apply_as(deployment, context).await?;
        let stuck = plan.blocked.len() + plan.unread.len() + plan.in_doubt.len();
        if stuck > 0 {
            return Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "blocked {:?}, unread {:?}, in doubt {:?}",
                    plan.blocked, plan.unread, plan.in_doubt
                ),
            ));
        }
        if plan.is_empty() {
            return Ok(());
        }
        if report.summary.failed + report.summary.skipped + report.summary.in_doubt > 0 {
            return Err(failed("a step was not done", &report));
        }
    }
    Err(Error::new(ErrorKind::Bug, "there is still something to do after five rounds"))
}

fn failed(what: &str, report: &Report) -> Error {
    let steps: Vec<String> = report
        .steps
        .iter()
        .filter(|step| !step.outcome.is_done())
        .map(|step| format!("{} {}: {:?}", step.action, step.address, step.outcome))
        .collect();
    Error::new(ErrorKind::Provider, format!("{what}: {}", steps.join("; ")))
}

/// The README's programs, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
