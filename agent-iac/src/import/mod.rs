//! Taking over what is already there.
//!
//! Owns the survey of a system that people or other tools set up, and the fleet
//! that is written from it: as text (TOML), or as Rust. What it writes declares
//! each object as it was read and says to adopt it, so that planning it changes
//! nothing but the ledger. It holds handles that can only observe, it never
//! asks for a secret, and it refuses to guess: what could not be read, or
//! cannot be said, stands in a comment with the reason.
//!
//! ```
//! # #[cfg(all(feature = "authority", feature = "config", feature = "testing"))] {
//! use std::sync::Arc;
//!
//! use agent_iac::{
//!     config::{self, Types},
//!     deployment::Deployment,
//!     fleet::Fleet,
//!     import::{Accountable, Draft, SurveyRequest},
//!     testing::world::{self, World},
//! };
//!
//! let world = World::new(1);
//! let sim = world.provider("sim");
//! let reader = sim.hand().account("invoice_reader", None)?;
//! sim.hand().grant(&reader, "invoices", &["read"])?;
//!
//! let deployment = Deployment::new(
//!     Fleet::new("billing"),
//!     "production",
//!     world.ledger("billing", "production"),
//!     world.entropy(),
//! )
//! .with_clock(world.clock())
//! .with_provider("sim", Arc::new(sim));
//!
//! let survey = world.run(deployment.survey(&SurveyRequest::default())).finished()?;
//! let draft = Draft::of(&survey, &Accountable::new("team:billing", "2027-06-30".parse()?))?;
//! let text = draft.toml();
//! assert!(text.contains("[agents.invoice-reader.account]"));
//!
//! let types = Types::none().with::<world::Account>().with::<world::Grant>();
//! let fleet = config::parse(&text, "fleet.toml", &types)?;
//! assert_eq!(fleet.blueprint("production")?.agents().count(), 1);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How names are made
//!
//! An agent is called as its identity is, in lower case, with a dash for each
//! run of other characters: `invoice_reader` becomes `invoice-reader`. Where
//! two come out alike, the one that is called so keeps the name, and each other
//! gets eight digits of a hash of its type and id behind it, which stay the
//! same whatever else is imported. A name that leaves nothing becomes `agent`.
//!
//! A resource is called as its type (`account`, `grant`), a permission also as
//! what it is on: `grant_invoices`.

mod draft;
mod literal;
mod names;
mod rust;
mod survey;
mod text;

#[cfg(test)]
mod tests;

pub use draft::{Accountable, Aside, Draft};
pub use survey::{Found, Marked, Survey, SurveyRequest};
pub(crate) use survey::{Mine, System, chosen, survey};
