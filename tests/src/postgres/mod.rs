//! Real PostgreSQL servers for tests: private ones, on loopback, of each version
//! that is supported.
//!
//! It owns where the servers' programs lie, the life of a cluster, and what a
//! test says to one in SQL. It knows nothing of agents, fleets and providers.
//!
//! `tests/servers` installs the programs. What needs one stands in a test target
//! with `required-features = ["live"]`, so that it is either built and fails
//! without a server, or is not there at all.
//!
//! ```no_run
//! use agent_iac_tests::{on_each_version, postgres::Cluster};
//!
//! on_each_version![a_reader_cannot_write];
//!
//! async fn a_reader_cannot_write(cluster: &Cluster) {
//!     let database = cluster.database("reading").await;
//!     let admin = cluster.admin_of(&database).await;
//!     admin.run("CREATE TABLE t (n int); CREATE ROLE reading_reader LOGIN PASSWORD 'p'").await;
//!     let reader = cluster.connect("reading_reader", "p", &database).await.unwrap();
//!     assert_eq!(reader.refused("INSERT INTO t VALUES (1)").await.code, "42501");
//! }
//! ```
//!
//! Roles belong to a cluster, not to a database, and the tests of one program
//! share the clusters: begin the names of roles with the name of your database.

mod cluster;
mod pooler;
mod programs;
mod session;

pub use cluster::{Cluster, Settings};
pub use pooler::Pooler;
pub use session::{Message, Session, message};

/// The major versions that everything live is tested on.
pub const VERSIONS: [u32; 4] = [15, 16, 17, 18];

/// Makes a test of each `async fn name(cluster: &Cluster)` for every version:
/// `name::postgresql_15` to `name::postgresql_18`, so that a failure says its
/// version and `cargo test postgresql_16` runs one. They share the clusters of
/// the program; with `alone:` before the names, each has one of its own.
#[macro_export]
macro_rules! on_each_version {
    (@ $with:ident: $($name:ident),+) => {$(
        mod $name {
            #[test]
            fn postgresql_15() {
                $crate::postgres::Cluster::$with(15, super::$name);
            }
            #[test]
            fn postgresql_16() {
                $crate::postgres::Cluster::$with(16, super::$name);
            }
            #[test]
            fn postgresql_17() {
                $crate::postgres::Cluster::$with(17, super::$name);
            }
            #[test]
            fn postgresql_18() {
                $crate::postgres::Cluster::$with(18, super::$name);
            }
        }
    )+};
    (alone: $($name:ident),+ $(,)?) => { $crate::on_each_version!(@ with_own: $($name),+); };
    ($($name:ident),+ $(,)?) => { $crate::on_each_version!(@ with_shared: $($name),+); };
}
