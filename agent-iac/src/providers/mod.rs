//! Real systems, one same-shaped folder each.
//!
//! A folder owns the resource types of one system, which are data and compile
//! without a client, and behind a feature the client that manages them. No
//! folder knows another.

pub mod authority;
pub mod postgres;
pub mod process;
