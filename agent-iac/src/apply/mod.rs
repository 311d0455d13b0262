//! Runs a plan, and settles what a run that died left in doubt.
//!
//! Owns the executor and recovery. It reads nothing from a plan but its
//! steps, acts on nothing but what they saw, and asks no provider for
//! anything before a `Begun` entry is durable in the ledger.

mod ask;
mod batch;
mod begin;
mod credential;
mod end;
mod engine;
mod executor;
mod recovery;
mod report;
mod run;
mod schedule;
mod trace;
mod values;

pub use report::{
    LeftReport, Outcome, Progress, Report, RunContext, StepReport, Stop, Untold, Watch,
};

pub(crate) use begin::{Authorised, stale};
pub(crate) use engine::Engine;
pub(crate) use executor::run;
pub(crate) use recovery::recover;
