//! Trying whether a login is let in.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_postgres::SimpleQueryMessage;

use super::{
    connection::{Connection, Failure, Route},
    settings::Endpoint,
    thread::Thread,
};
use crate::{address::quoted, error::Result, provider::Tried, secret::Secret};

/// No right to connect to the database, and no such database.
const AFTERWARDS: [&str; 2] = ["42501", "3D000"];

/// What helps where a pooler answers for the server.
const DIRECT: &str = "; name the server itself by `probe_at` (`--postgres-probe-at`), and logins \
                      are tried there";

/// How many logins are tried at once. A server has few places, which agents at
/// work need; and as each of them costs one of our processors as much as one of the
/// server's, more would only wait for each other.
const AT_ONCE: usize = 4;

/// Tries logins at a server, as whoever was given them would. It has no login
/// of its own.
#[derive(Clone)]
pub struct Prober {
    route: Route,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prober({})", self.route.endpoint)
    }
}

impl Prober {
    /// Names the server.
    ///
    /// # Errors
    ///
    /// When the trusted authorities cannot be read.
    pub fn new(thread: &Thread, endpoint: Endpoint) -> Result<Self> {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Ok(Self { route: Route::new(thread, endpoint)?, places })
    }

    /// Logs in once. `Refused` is the answer of the authentication alone, by
    /// its code. The server looks for the database, and whether it may be
    /// connected to, only afterwards: who is sent away there had the right
    /// password. Limits and roles that may not log in tell nothing: their codes
    /// come from before, too.
    pub async fn try_login(&self, user: &str, password: &Secret, database: Option<&str>) -> Tried {
        self.attempt(user, password, database, None).await
    }

    /// The same for a login of a role, by its number: whoever is let in and
    /// cannot become that role has proved nothing about it.
    pub async fn try_login_of(&self, role: u32, user: &str, password: &Secret) -> Tried {
        self.attempt(user, password, None, Some(role)).await
    }

    async fn attempt(
        &self,
        user: &str,
        password: &Secret,
        database: Option<&str>,
        role: Option<u32>,
    ) -> Tried {
        let (route, places) = (self.route.clone(), Arc::clone(&self.places));
        let database: Arc<str> = database.unwrap_or(self.route.endpoint.database()).into();
        let (user, password) = (user.to_owned(), password.duplicate());
        let tried = self.route.thread().run(async move {
            let _place = places.acquire_owned().await.expect("the semaphore is never closed");
            Ok(match route.connect(&user, &password, &database).await {
                Ok(connection) => match role {
                    Some(role) => {
                        let becomes = async { Ok(becomes(&connection, &user, role).await) };
                        let becomes = route.in_time(becomes).await;
                        becomes.unwrap_or_else(|error| Tried::Unknown(error.chain()))
                    }
                    None => Tried::Accepted,
                },
                Err(Failure::Said(said)) if said.code().code() == "28P01" => {
                    Tried::Refused("28P01".into())
                }
                Err(Failure::Said(said)) if AFTERWARDS.contains(&said.code().code()) => {
                    Tried::Accepted
                }
                Err(failure) => {
                    let error = route.failed(failure, &user, &database);
                    // What a pooler says by itself proves nothing.
                    let help = error.message().contains("a pooler in between").then_some(DIRECT);
                    Tried::Unknown(error.chain() + help.unwrap_or_default())
                }
            })
        });
        tried.await.unwrap_or_else(|error| Tried::Unknown(error.chain()))
    }
}

/// Whether whoever was let in is a member of a role. Its session looks first
/// wherever its settings say, so that nothing here is called by a bare name.
async fn becomes(connection: &Connection, user: &str, role: u32) -> Tried {
    let sql = format!(
        "SELECT pg_catalog.pg_has_role(session_user, oid, 'MEMBER')
        FROM pg_catalog.pg_roles WHERE oid OPERATOR(pg_catalog.=) {role}::pg_catalog.oid"
    );
    match connection.client().simple_query(&sql).await {
        Ok(answer) => {
            let is_member = answer.iter().any(|message| {
                matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t"))
            });
            if is_member {
                return Tried::Accepted;
            }
            let who = quoted(user);
            Tried::Unknown(format!("{who} was let in, and is no login of the role {role}"))
        }
        Err(error) => Tried::Unknown(format!("{} was let in, and then: {error}", quoted(user))),
    }
}
