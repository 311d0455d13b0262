//! The engine's own schema in a database: which claims were carried out, and
//! which objects are whose.
//!
//! Owns its tables, and the advisory locks by which recovery waits for
//! transactions that are still under way. It knows no type of resource: what an
//! outcome says, its writer and its reader know.
//!
//! A writer calls [`enter`] before anything else in its transaction, does its
//! work, and writes the outcomes by [`register`]. Recovery calls [`settle`]: it
//! waits until no transaction of the dead run is left, and closes the claims
//! that nothing came of, so that a writer that wakes up late finds its claim
//! given up.

mod claims;
mod locks;
mod objects;
mod schema;

pub use claims::{Outcome, Registered, enter, given_up, register, registered, settle};
pub use locks::serialise;
pub use objects::{Owned, forget, mark, owned};
pub use schema::{State, admit, ddl, install, state};
