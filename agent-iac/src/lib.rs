//! Infrastructure as code for software agents: the accounts, permissions and
//! credentials of non-human identities, declared in Rust, planned, applied,
//! watched and ended.
//!
//! ```
//! # #[cfg(feature = "embedded")] {
//! use agent_iac::{
//!     apply::RunContext,
//!     clock::block_on,
//!     deployment::{Deployment, PlanRequest},
//!     fleet::Fleet,
//!     ledger::Actor,
//!     plan::SavedPlan,
//!     prelude::*,
//!     providers::authority as auth,
//! };
//!
//! /// Sorts new tickets.
//! #[derive(Debug, Agent)]
//! #[agent(owner = "team:support", expires = "2099-06-30")]
//! struct Triage {
//!     #[identity(name = "triage")]
//!     account: auth::Account,
//!
//!     #[permission(to = account, on = "tickets/new", allow = ["read"])]
//!     tickets: auth::Grant,
//!
//!     #[credential(of = account, deliver = "vault:agents/triage/key")]
//!     key: auth::ApiKey,
//! }
//!
//! let mut fleet = Fleet::new("office");
//! fleet.provider("authority", Default::default()).store("vault");
//! let triage = fleet.add(TriageInputs {});
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let deployment = Deployment::embedded(fleet, "production", folder)?;
//! let plan = SavedPlan::new(block_on(deployment.plan(&PlanRequest::default()))?)?;
//! assert_eq!(plan.plan().steps.len(), 3);
//!
//! // Whoever has read the plan gives its digest.
//! let you = RunContext::new(Actor::asserted("example", "you")).acknowledging(plan.digest());
//! let report = block_on(deployment.apply(&plan, &you))?;
//! assert!(report.is_complete());
//! assert_eq!(block_on(deployment.agent(&triage))?.account.name, "triage");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The parts
//!
//! An [`Agent`] is a struct whose fields are its resources; a [`fleet`] is a
//! set of agents with the *names* of systems, pure data; a [`blueprint`] is the
//! fleet validated; a [`deployment`] puts real systems behind the names and is
//! what most programs call. It compares what is desired with what the
//! [`ledger`] has recorded and what the systems report, and makes a [`plan`],
//! which [`apply`] carries out. Secrets are delivered to a [`vault`] and are
//! nowhere else.
//!
//! The engine is async and needs no runtime ([`clock::block_on`] will do). It
//! prints nothing, exits nothing and reads no environment variable; time and
//! randomness come from a [`clock`] of the caller's.
//!
//! # Features
//!
//! With the default, `derive`, agents can be declared, validated and planned
//! for: no database, no C. `config` reads fleets that are written as text. `sqlite`
//! brings the ledger in a file with the
//! system's library, and `sqlite-bundled` compiles one in; `age` brings the
//! secret store of encrypted files; `authority` an identity system for those
//! who have none; `embedded` is these three. `postgres` manages PostgreSQL.
//! `consumers` tells those who use a credential of a new generation, `webhooks`
//! over TLS as well, and `process` has the processes of this machine. `cli`
//! brings a command line for deploy binaries, `tracing` gives what happens to subscribers,
//! and `testing` is what tests are made of: conformance suites, a simulated
//! world, a virtual clock. Features only add.
//!
//! # Where to read on
//!
//! | to | read |
//! | --- | --- |
//! | declare agents | [`derive(Agent)`](macro@Agent), [`prelude`], [`fleet`] |
//! | plan and apply from a program of one's own | [`deployment`], [`plan`], [`apply`] |
//! | make a deploy binary | `cli` |
//! | write a fleet as text | `config` |
//! | let agents in that present a key | `providers::authority` |
//! | manage roles and logins of PostgreSQL | `providers::postgres` |
//! | rotate credentials | [`rotation`], [`deployment::Runner`] |
//! | use a secret, or be told of a new one | [`consumer`] |
//! | manage a system of one's own | [`provider`], [`derive(Resource)`](macro@Resource), `testing::provider` |
//! | take over what is there | [`import`] |
//! | ask what happened | [`ledger`] |
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
#[cfg_attr(not(agent_iac_bugs), allow(unreachable_pub, reason = "empty without the cfg"))]
#[doc(hidden)]
pub mod bugs;
#[cfg(feature = "config")]
pub mod build;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
#[cfg(feature = "config")]
pub mod config;
pub mod consumer;
pub mod deployment;
pub mod diagnostic;
pub mod diff;
mod drift;
pub mod error;
pub mod fleet;
pub mod import;
pub mod ledger;
pub mod plan;
pub mod prelude;
pub mod provider;
#[cfg(feature = "derive")]
pub mod providers;
pub mod resource;
pub mod rotation;
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
