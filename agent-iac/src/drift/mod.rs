//! Reads the real world and compares it with what is recorded.
//!
//! Owns the refresh, which holds handles that can only observe, and the choice
//! of what is taken back without a plan. It writes nothing.

mod refresh;
mod revert;
mod surroundings;
mod undeclared;

pub(crate) use refresh::{Around, Greeted, Reader, refresh};
pub(crate) use revert::narrowing_only;
pub(crate) use undeclared::watched_whole;
