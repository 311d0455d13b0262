//! Conformance suites and stand-ins for tests.
//!
//! Owns what shows that an implementation keeps a trait's contract. It is no
//! part of a running deployment.

pub mod ledger;
