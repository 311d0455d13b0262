//! PostgreSQL: roles, what they may do, and how they log in.
//!
//! The resource types and their rules are data and compile without a client;
//! feature `postgres` brings the client that reads and writes a cluster. This
//! module owns what PostgreSQL means by a name, an object, a privilege and a
//! grantor. It knows nothing of fleets and plans, but for the mark that tells
//! whose an object is.
//!
//! ```
//! use agent_iac::{prelude::*, providers::postgres as pg};
//!
//! /// Answers questions about invoices.
//! #[derive(Agent)]
//! #[agent(owner = "team:billing", expires = "2027-06-30")]
//! pub struct InvoiceReader {
//!     #[identity(name = "invoice_reader")]
//!     account: pg::Role,
//!
//!     #[permission(to = account, on = pg::Table::new("sales", "invoices"), allow = [pg::Select])]
//!     invoices: pg::Grant,
//!
//!     #[credential(of = account, rotate = "7d", overlap = "1h", deliver = "vault:invoice-reader/db")]
//!     login: pg::Login,
//! }
//! ```

#[cfg(feature = "postgres")]
mod catalog;
#[cfg(feature = "postgres")]
mod login;
mod name;
mod object;
#[cfg(feature = "postgres")]
mod outcome;
mod privilege;
#[cfg(feature = "postgres")]
mod provider;
#[cfg(feature = "postgres")]
mod reach;
#[cfg(feature = "postgres")]
mod requires;
mod resources;
#[cfg(feature = "postgres")]
#[doc(hidden)]
pub mod server;
#[cfg(feature = "postgres")]
mod view;
#[cfg(feature = "postgres")]
mod write;

pub use object::{
    Column, DataType, Database, ForeignServer, ForeignWrapper, Function, Language, LargeObject,
    Object, ObjectKind, Parameter, Procedure, Schema, Sequence, Table, Tablespace,
};
pub use privilege::{
    Privilege,
    Privilege::{
        AlterSystem, Connect, Create, Delete, Execute, Insert, Maintain, References, Select, Set,
        Temporary, Trigger, Truncate, Update, Usage,
    },
};
#[cfg(feature = "postgres")]
pub use provider::PostgresProvider;
pub use resources::*;
#[cfg(feature = "postgres")]
pub use server::{Endpoint, Host, Password, Principal};
