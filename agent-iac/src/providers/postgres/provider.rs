//! PostgreSQL as the engine manages it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use super::{
    Login, catalog,
    login::Prober,
    requires::requires,
    server::{self, Endpoint, Known, Principal, Requests, Server, Settings, Thread},
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
    /// Where logins are tried, when that is not the same.
    door: Option<Endpoint>,
    observe: Option<Principal>,
    apply: Option<Principal>,
    layout: Layout,
    requests: Requests,
    /// The server as planning sees it, as long as a handle is held.
    seen: Arc<Mutex<Known>>,
}

impl PostgresProvider {
    /// Names a cluster. The database of the endpoint is the provider's own:
    /// objects in it are declared without their database.
    pub fn new(endpoint: Endpoint) -> Self {
        let layout = Layout { own: endpoint.database().to_owned(), ..Layout::default() };
        Self {
            endpoint,
            door: None,
            observe: None,
            apply: None,
            layout,
            requests: Requests::default(),
            seen: Arc::default(),
        }
    }

    /// The login that planning and drift use. It needs no right to write, and
    /// should have none.
    #[must_use]
    pub fn observe(mut self, principal: Principal) -> Self {
        self.layout.principals.insert(principal.user().to_owned());
        self.layout.observer = Some(principal.user().to_owned());
        self.observe = Some(principal);
        self.seen = Arc::default();
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

    /// Names the roles that are looked after, declared or not, with `*` for any
    /// characters; may be repeated. Without any, it is every role of the
    /// cluster: what is undeclared among them is reported when the fleet
    /// watches this provider, and drift when it holds it exclusively.
    #[must_use]
    pub fn scope(mut self, pattern: impl Into<String>) -> Self {
        self.layout.scope.insert(pattern.into());
        self
    }

    /// Names the server itself, where a pooler stands before it: there logins
    /// are tried. A pooler refuses in words of its own, which prove nothing;
    /// that a login has ended, only the server can say.
    ///
    /// ```no_run
    /// use agent_iac::providers::postgres::PostgresProvider;
    ///
    /// # fn main() -> agent_iac::error::Result<()> {
    /// let provider = PostgresProvider::new("postgresql://pooler.internal:6432/app".parse()?)
    ///     .probe_at("postgresql://db.internal/app".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn probe_at(mut self, endpoint: Endpoint) -> Self {
        self.door = Some(endpoint);
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

    /// How many requests it has sent to the server so far, for whatever
    /// purpose; each is one round trip.
    pub fn requests(&self) -> u64 {
        self.requests.number()
    }
}

impl PostgresProvider {
    fn server(&self, settings: Settings) -> Result<Server> {
        Server::new(&Thread::start()?, settings.requests(&self.requests))
    }

    fn view(&self, server: Server) -> View {
        View::new(server, Arc::new(self.layout.clone()))
    }

    /// The cluster as planning sees it. Handles that are held at the same time
    /// share their connections: a login costs as much as some queries.
    fn observing(&self) -> Result<View> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = seen.server() {
            return Ok(self.view(server));
        }
        let principal = named(self.observe.as_ref(), "observe")?;
        let settings = Settings::new(self.endpoint.clone(), principal).connections(READERS);
        let server = self.server(settings)?;
        *seen = server.known_as();
        Ok(self.view(server))
    }

    /// The cluster as applying works on it.
    fn applying(&self) -> Result<View> {
        let principal = named(self.apply.as_ref(), "apply")?;
        let mut settings = Settings::new(self.endpoint.clone(), principal).connections(WRITERS);
        if let Some(role) = &self.layout.administrators {
            settings = settings.role(role);
        }
        Ok(self.view(self.server(settings)?))
    }
}

fn named(principal: Option<&Principal>, which: &str) -> Result<Principal> {
    principal.cloned().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("the PostgreSQL provider has no login to {which} with"),
        )
        .help(format!("give it one by `.{which}(…)`"))
    })
}

impl fmt::Debug for PostgresProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresProvider")
            .field("endpoint", &self.endpoint)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for PostgresProvider {
    fn description(&self) -> String {
        format!("PostgreSQL {}", self.endpoint)
    }

    fn limits(&self) -> Limits {
        // One writer at a time keeps the others waiting for its locks anyway.
        Limits { concurrent: WRITERS, writes_per_second: None }
    }

    /// What a copy of the server does not share: where it is reached, beside
    /// the number that `initdb` drew and the database's own. A copy of the
    /// server's files has the same numbers, so the numbers alone would let a
    /// plan for production be applied to what was restored from it.
    async fn target(&self) -> Result<String> {
        let server = self.observing()?.server;
        // What is known of it may be older than whoever answers there now.
        server.read(None, |_| async { Ok(()) }).await?;
        let about = server.about().await?;
        Ok(format!(
            "postgresql {} system {} database {} ({})",
            self.endpoint.server(),
            about.system.as_deref().unwrap_or("unknown"),
            quoted(&about.database),
            about.database_oid,
        ))
    }

    fn requires(&self, name: &str, blueprint: &Blueprint) -> Vec<Requirement> {
        let user = |principal: &Option<Principal>| principal.as_ref().map(|p| p.user().to_owned());
        let (observe, apply) = (user(&self.observe), user(&self.apply));
        requires(observe.as_deref(), apply.as_deref(), &self.layout, name, blueprint)
    }

    fn observers(&self) -> Result<Observers> {
        Ok(catalog::observers(self.observing()?))
    }

    fn writers(&self) -> Result<Writers> {
        Ok(super::write::writers(self.applying()?))
    }

    fn probers(&self) -> Result<Probers> {
        let door = server::Prober::new(
            &Thread::start()?,
            self.door.as_ref().unwrap_or(&self.endpoint).clone(),
        )?;
        Ok(Probers::new().with::<Login, _>(&Arc::new(Prober { door })))
    }
}
