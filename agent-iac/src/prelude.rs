//! What a file with declarations imports: `use agent_iac::prelude::*`.
//!
//! Owns nothing. Traits and derives of one name stand together, as `Resource`
//! does.

pub use crate::{
    agent::{Agent, OnDrift, Period},
    resource::{Grants, Property, Resource},
};

#[cfg(feature = "derive")]
pub use agent_iac_macros::{Agent, Property, Resource};
