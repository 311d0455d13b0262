//! When credentials change.
//!
//! Owns what the terms of a credential mean ([`Policy`]), time zones and civil
//! time. It is pure: time comes in as a value, the zones' rules are compiled
//! in, and nothing here contacts a system or reads a clock. It knows no
//! provider, and takes what one can do as data.

mod cron;
mod hours;
mod mistake;
mod policy;
mod rules;
mod span;
#[cfg(test)]
mod tests;
mod zone;

pub use cron::Cron;
pub use hours::Hours;
pub use mistake::Mistake;
pub use policy::{Policy, Retry, Rotate, Seed};
pub use rules::{FleetPolicy, FleetTerms, Rate};
pub use span::Span;
pub use zone::Zone;
