//! SQLite on a thread of its own.
//!
//! Owns the way from an async caller to a blocking connection and back. It
//! knows no table: what is kept in a file, and how its errors are worded, is
//! its user's own.

mod worker;

pub(crate) use worker::Worker;
