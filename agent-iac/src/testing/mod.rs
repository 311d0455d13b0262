//! What tests are made of: a simulated world with faults, and the suites that
//! every provider, ledger and secret store passes.
//!
//! Owns nothing that a program in use needs; it stands behind the feature
//! `testing`.

pub mod ledger;
pub mod provider;
pub mod storm;
pub mod vault;
pub mod world;
pub mod year;
