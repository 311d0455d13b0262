//! Processes of this machine as runtimes of agents.
//!
//! Owns the type [`Runtime`], which says in what environment an agent runs; the
//! folder in which these environments stand (`ProcessProvider`); and `exec`,
//! which starts a process in one of them and follows the rotations of its
//! secrets. It knows nothing of fleets and plans, but for the mark that tells
//! whose an environment is, and it holds no secret but while a process runs.

#[cfg(all(feature = "process", unix))]
pub mod exec;
#[cfg(all(feature = "process", unix))]
mod folder;
#[cfg(all(feature = "process", unix))]
mod provider;
mod resources;

#[cfg(all(feature = "process", unix))]
pub use provider::ProcessProvider;
pub use resources::{Runtime, RuntimeBuilder, RuntimeOutputs, RuntimeSpec};
