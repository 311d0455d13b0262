//! Infrastructure as code for software agents.
#![cfg_attr(docsrs, feature(doc_cfg))]

// Derived code names this crate by its path; so does derived code in here.
extern crate self as agent_iac;

#[doc(hidden)]
pub mod __private;
pub mod access;
pub mod address;
pub mod agent;
pub mod apply;
pub mod blueprint;
#[cfg(feature = "config")]
pub mod build;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
#[cfg(feature = "config")]
pub mod config;
pub mod deployment;
pub mod diagnostic;
pub mod diff;
mod drift;
pub mod error;
pub mod fleet;
pub mod ledger;
pub mod plan;
pub mod prelude;
pub mod provider;
#[cfg(feature = "derive")]
pub mod providers;
pub mod resource;
pub mod schema;
pub mod secret;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod value;
pub mod vault;

pub use error::{Error, ErrorKind, Result};

#[cfg(feature = "derive")]
pub use agent_iac_macros::{Agent, Property, Resource};
