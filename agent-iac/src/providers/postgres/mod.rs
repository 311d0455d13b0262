//! PostgreSQL.

#[cfg(feature = "postgres")]
#[doc(hidden)]
pub mod server;

#[cfg(feature = "postgres")]
pub use server::{Endpoint, Password, Principal};
