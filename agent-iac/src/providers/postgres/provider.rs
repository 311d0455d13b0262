//! PostgreSQL as the engine manages it.

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;

use super::{
    server::{About, Endpoint, Principal, Prober as Door, Server, Settings, Thread},
    view::{Layout, View},
};
use crate::{
    address::quoted,
    blueprint::Blueprint,
    error::{Error, ErrorKind, Result},
    provider::{Limits, Observers, Probers, Provider, Requirement, Writers},
};

/// How many connections observing uses at once, to all databases together.
const READERS: usize = 4;
/// How many connections applying uses at once.
const WRITERS: usize = 2;

/// A PostgreSQL cluster as a system that is managed, from version 15 on.
///
/// Its principals are logins of their own: one observes and cannot write, one
/// applies, and probing needs none, for it logs in as the agents do. What each
/// needs at the server is printed by `plan --requires`.
///
/// ```no_run
/// use agent_iac::providers::postgres::{Endpoint, Password, PostgresProvider, Principal};
///
/// # fn main() -> agent_iac::error::Result<()> {
/// let endpoint: Endpoint = "postgresql://db.internal/app?sslmode=verify-full".parse()?;
/// let provider = PostgresProvider::new(endpoint)
///     .observe(Principal::new("iac_observe", Password::file("/run/secrets/iac_observe"))?)
///     .apply(Principal::new("iac_apply", Password::file("/run/secrets/iac_apply"))?)
///     .administrators("iac_administrators")
///     .database("archive");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresProvider {
    endpoint: Endpoint,
    observe: Option<Principal>,
    apply: Option<Principal>,
    layout: Layout,
    /// The thread that all connections of this provider live on.
    thread: Thread,
}

impl PostgresProvider {
    /// Names a cluster. The database of the endpoint is the provider's own:
    /// objects in it are declared without their database.
    pub fn new(endpoint: Endpoint) -> Self {
        let layout = Layout { own: endpoint.database().to_owned(), ..Layout::default() };
        Self { endpoint, observe: None, apply: None, layout, thread: Thread::new() }
    }

    /// The login that planning and drift use. It needs no right to write, and
    /// should have none.
    #[must_use]
    pub fn observe(mut self, principal: Principal) -> Self {
        self.layout.principals.insert(principal.user().to_owned());
        self.observe = Some(principal);
        self
    }

    /// The login that applying uses.
    #[must_use]
    pub fn apply(mut self, principal: Principal) -> Self {
        self.layout.principals.insert(principal.user().to_owned());
        self.apply = Some(principal);
        self
    }

    /// The role that applying becomes in each transaction: what is made
    /// belongs to it, so that two logins of it manage the same.
    #[must_use]
    pub fn administrators(mut self, role: impl Into<String>) -> Self {
        self.layout.administrators = Some(role.into());
        self
    }

    /// Manages another database of the cluster too.
    #[must_use]
    pub fn database(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if name != self.layout.own {
            self.layout.others.insert(name);
        }
        self
    }
}
