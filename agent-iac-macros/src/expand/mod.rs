//! From models to tokens; nothing here can fail.

pub(crate) mod agent;
pub(crate) mod property;
pub(crate) mod resource;
