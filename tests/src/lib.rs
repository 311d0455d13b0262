//! What the test programs of this member share.

pub mod system;
