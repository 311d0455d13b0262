//! Plans.
mod action;
pub use action::Action;
