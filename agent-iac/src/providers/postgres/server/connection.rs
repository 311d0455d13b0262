//! One connection: from a name to a login, and what the server is.
//!
//! Owns the order of resolving, connecting, encrypting and logging in, the time
//! that all of it may take together, and what is asked of a server before
//! anything else. It knows no pool.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection as Driver, NoTls, SimpleQueryMessage, config::SslMode,
    error::DbError, tls::TlsStream,
};
use tokio_rustls::rustls;

use super::{
    demand::{Demand, Watch, Watched},
    error::{Place, Said},
    requests::Requests,
    settings::{Endpoint, Host, TlsMode},
    thread::Thread,
    tls::{self, Trust},
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result, Retry},
    secret::Secret,
};

/// The oldest version that is supported, as `server_version_num` begins.
const OLDEST: u32 = 15;

/// How a server is reached, shared by all connections to it.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) endpoint: Endpoint,
    server: Arc<str>,
    trust: Option<Trust>,
    thread: Thread,
    requests: Requests,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// `server_version_num`, as 160004.
    pub version: u32,
    /// The number that `initdb` drew. A copy of the server's files has the
    /// same one. `None` where the login may not read it.
    pub system: Option<String>,
    /// The database.
    pub database: String,
    /// Its oid, which a copy of the server's files shares as well.
    pub database_oid: u32,
    /// Whether it is a replica, or still recovers from a crash.
    pub in_recovery: bool,
    /// Why a pooler seems to stand between, when one does.
    pub pooler: Option<String>,
}

impl About {
    /// The major version, as 16.
    pub fn major(&self) -> u32 {
        self.version / 10_000
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server itself said so, by a code.
    Said(Box<DbError>),
    /// Everything else.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// A connection whose login is done.
pub(super) struct Connection {
    client: Client,
    notices: Arc<Mutex<Vec<DbError>>>,
    requests: Requests,
    place: Place,
    /// Our own port, by which a server knows a connection without anything in
    /// between.
    port: Option<u16>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.place)
    }
}

impl Connection {
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// What the server said beside its answers since it was asked last.
    pub(super) fn notices(&self) -> MutexGuard<'_, Vec<DbError>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one request, which is one round trip.
    pub(super) fn count(&self) {
        self.requests.count();
    }
}

impl Route {
    pub(super) fn new(thread: &Thread, endpoint: Endpoint) -> Result<Self> {
        let trust = match endpoint.tls() {
            TlsMode::Disable => None,
            TlsMode::VerifyFull { root } => Some(Trust::new(root.as_deref())?),
        };
        Ok(Self {
            server: endpoint.server().into(),
            endpoint,
            trust,
            thread: thread.clone(),
            requests: Requests::default(),
        })
    }

    /// Counts its requests with those of others.
    pub(super) fn counting(mut self, requests: Requests) -> Self {
        self.requests = requests;
        self
    }

    pub(super) fn place(&self, database: &Arc<str>) -> Place {
        Place::new(&self.server, database)
    }

    pub(super) fn thread(&self) -> &Thread {
        &self.thread
    }

    pub(super) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Connects and logs in.
    pub(super) async fn connect(
        &self,
        user: &str,
        password: &Secret,
        database: &Arc<str>,
    ) -> Result<Connection, Failure> {
        let mut config = Config::new();
        // The default goes on in clear where a server says that it has no TLS.
        let tls = if self.trust.is_some() { SslMode::Require } else { SslMode::Disable };
        config.user(user).dbname(&**database).application_name("agent-iac").ssl_mode(tls);
        // The copy in `config` is not wiped; the client has no other way.
        password.expose(|password| config.password(password));
        let place = self.place(database);
        // One limit for all of it: a server that accepts a connection and then
        // is silent would hold it for ever.
        match timeout(self.endpoint.connect_timeout(), self.open(&config, &place)).await {
            Ok(answer) => answer,
            Err(_) => Err(self
                .unreachable("did not let a login in within the time that it was given")
                .into()),
        }
    }

    async fn open(&self, config: &Config, place: &Place) -> Result<Connection, Failure> {
        match self.endpoint.host() {
            Host::Tcp(name) => {
                let stream = self.tcp(name).await?;
                let port = stream.local_addr().ok().map(|address| address.port());
                match &self.trust {
                    None => {
                        let login = config.connect_raw(Watched::new(stream), NoTls).await;
                        self.begun(login, place, port)
                    }
                    Some(trust) => {
                        let watch = Watch::new(self.endpoint.tells_passwords());
                        let login = config.connect_raw(stream, trust.with(name, watch)?).await;
                        self.begun(login, place, port)
                    }
                }
            }
            #[cfg(unix)]
            Host::Unix(_) => {
                let path = self.endpoint.server();
                let stream = tokio::net::UnixStream::connect(path)
                    .await
                    .map_err(|error| self.unreachable("cannot be connected to").caused_by(error))?;
                self.begun(config.connect_raw(Watched::new(stream), NoTls).await, place, None)
            }
            #[cfg(not(unix))]
            Host::Unix(_) => Err(Error::new(
                ErrorKind::Unsupported,
                "this system has no Unix sockets for PostgreSQL",
            )
            .help("name a host")
            .into()),
        }
    }

    async fn tcp(&self, name: &str) -> Result<TcpStream> {
        let failed = |error: io::Error| self.unreachable("cannot be connected to").caused_by(error);
        let found = tokio::net::lookup_host((name, self.endpoint.port())).await;
        let found = found.map_err(|error| {
            self.unreachable("has a name that cannot be resolved").caused_by(error)
        })?;
        let mut last = None;
        for address in found {
            if self.trust.is_none() && !address.ip().is_loopback() {
                return Err(self.not_here(address));
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // A request is one write, and waits for its answer.
                    let _: io::Result<()> = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(failed(last.unwrap_or_else(|| io::Error::other("the name has no address"))))
    }

    fn not_here(&self, address: SocketAddr) -> Error {
        Error::new(
            ErrorKind::Refused,
            format!(
                "{} is {}, which is not this machine, and would be spoken to in clear",
                quoted(&self.server),
                address.ip()
            ),
        )
        .help("write `sslmode=verify-full`, or `127.0.0.1`")
    }

    /// Waits for a first answer, for as long as a login may take. A pooler lets
    /// people in before it has a server for them, and then makes them wait.
    pub(super) async fn in_time<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        match timeout(self.endpoint.connect_timeout(), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable("let a login in, and then did not answer in time")),
        }
    }

    fn unreachable(&self, how: &str) -> Error {
        Error::new(ErrorKind::Provider, format!("PostgreSQL at {} {how}", self.server))
            .help("look whether the server runs and this machine may reach it")
            .retry_as(Retry::Backoff)
    }

    fn begun<S, T>(
        &self,
        login: Result<(Client, Driver<S, T>), tokio_postgres::Error>,
        place: &Place,
        port: Option<u16>,
    ) -> Result<Connection, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: TlsStream + Unpin + Send + 'static,
    {
        let (client, mut driver) = login.map_err(|error| self.refused(&error, place))?;
        let notices = Arc::<Mutex<Vec<DbError>>>::default();
        let heard = Arc::clone(&notices);
        self.thread.post(async move {
            // An end or an error is seen by whoever waits for an answer.
            while let Some(Ok(message)) = std::future::poll_fn(|cx| driver.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
                }
            }
        });
        Ok(Connection {
            client,
            notices,
            requests: self.requests.clone(),
            place: place.clone(),
            port,
        })
    }

    fn refused(&self, error: &tokio_postgres::Error, place: &Place) -> Failure {
        use std::error::Error as _;
        if let Some(said) = error.as_db_error() {
            return Failure::Said(Box::new(said.clone()));
        }
        let mut cause = error.source();
        while let Some(error) = cause {
            // An `io::Error` hides what it wraps behind a method of its own.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(demand) = wrapped.and_then(|inner| inner.downcast_ref::<Demand>()) {
                return self.demanded(*demand, place).into();
            }
            let inner = wrapped
                .and_then(|inner| inner.downcast_ref::<rustls::Error>())
                .or_else(|| error.downcast_ref());
            if let Some((what, help)) = inner.and_then(tls::refused) {
                return Error::new(ErrorKind::Denied, format!("{place}: {what}"))
                    .help(help)
                    .caused_by(inner.map(ToString::to_string).unwrap_or_default())
                    .into();
            }
            cause = error.source();
        }
        let text = match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        if text.contains("does not support TLS") {
            return Error::new(ErrorKind::Denied, format!("{place}: the server offers no TLS"))
                .help("set `ssl = on` there with a certificate; nothing is sent in clear")
                .into();
        }
        self.unreachable("broke off before the login was done").caused_by(text).into()
    }

    fn demanded(&self, demand: Demand, place: &Place) -> Error {
        let help = match (demand, self.trust.is_some()) {
            (Demand::Md5, _) => {
                "set the password anew with `password_encryption = 'scram-sha-256'`, and ask for \
                 `scram-sha-256` in `pg_hba.conf`"
            }
            (Demand::Cleartext, false) => {
                "ask for `scram-sha-256` in `pg_hba.conf`; look also who listens there"
            }
            (Demand::Cleartext, true) => {
                "ask for `scram-sha-256` in `pg_hba.conf`, or write `require_auth=password` where \
                 the server cannot do without"
            }
        };
        Error::new(ErrorKind::Denied, format!("{place}: {demand}, and does not get it")).help(help)
    }

    /// Words a failure for whoever wanted to work there.
    pub(super) fn failed(&self, failure: Failure, user: &str, database: &Arc<str>) -> Error {
        match failure {
            Failure::Other(error) => error,
            Failure::Said(said) => {
                let error = self.place(database).said(&said);
                let message = format!("{}, login {}", error.message(), quoted(user));
                let named = Error::new(error.kind(), message).retry_as(error.retry());
                let named = match error.repair() {
                    Some(help) => named.help(help),
                    None => named,
                };
                named.caused_by(Said::of(&said))
            }
        }
    }

    /// Asks a server what it is.
    pub(super) async fn greet(&self, connection: &Connection) -> Result<About> {
        let place = connection.place();
        let failed = |error: tokio_postgres::Error| place.failed(&error);
        // Within a transaction, so that a pooler answers from one session, and
        // with names that no schema of the database can take over. The login may
        // be one that is cut off as soon as it is silent in a transaction.
        let text = "BEGIN READ ONLY; SET LOCAL search_path = pg_catalog, pg_temp;
            SET LOCAL idle_in_transaction_session_timeout = '60s';
            SELECT current_setting('server_version_num'), pg_is_in_recovery()::int,
                current_database(),
                (SELECT oid FROM pg_database WHERE datname = current_database()),
                has_function_privilege('pg_control_system()', 'EXECUTE')::int,
                inet_client_port(),
                (SELECT floor(extract(epoch FROM clock_timestamp() - backend_start))::bigint
                    FROM pg_stat_activity WHERE pid = pg_backend_pid());";
        connection.count();
        let answer = connection.client().simple_query(text).await.map_err(failed)?;
        let row = only_row(place, &answer)?;
        let text = |index: usize| row.get(index).unwrap_or_default();
        let number = |index: usize| text(index).parse::<u32>().unwrap_or_default();
        let version = number(0);
        if version / 10_000 < OLDEST {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{place}: the server is of version {version}, which is too old"),
            )
            .help("upgrade it to PostgreSQL 15 or later"));
        }
        let port = row.get(5).and_then(|port| port.parse().ok());
        let mut about = About {
            version,
            system: None,
            database: text(2).to_owned(),
            database_oid: number(3),
            in_recovery: text(1) == "1",
            pooler: self.pooler(connection.port, port, text(6).parse().ok()),
        };
        if text(4) == "1" {
            connection.count();
            let text = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
            let answer = connection.client().simple_query(text).await.map_err(failed)?;
            about.system = only_row(place, &answer)?.get(0).map(str::to_owned);
        }
        connection.count();
        connection.client().batch_execute("COMMIT").await.map_err(failed)?;
        Ok(about)
    }

    /// Whether the session at the server is another one than ours. An address
    /// that is translated on the way changes a port as well, so that the age
    /// of the session is the proof, and the port a hint.
    fn pooler(&self, ours: Option<u16>, theirs: Option<u16>, age: Option<u64>) -> Option<String> {
        let most = self.endpoint.connect_timeout().as_secs();
        if let Some(age) = age.filter(|age| *age > most) {
            return Some(format!("the server's session is {age} s old, and ours is new"));
        }
        match (ours, theirs) {
            (Some(_), None) => {
                Some("we connect by TCP, and the server is connected to by a socket".into())
            }
            (Some(ours), Some(theirs)) if ours != theirs => Some(format!(
                "we connect from port {ours}, and the server is connected to from {theirs}"
            )),
            _ => None,
        }
    }
}

fn only_row<'a>(
    place: &Place,
    answer: &'a [SimpleQueryMessage],
) -> Result<&'a tokio_postgres::SimpleQueryRow> {
    answer
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .ok_or_else(|| {
            Error::new(ErrorKind::Provider, format!("{place}: it does not say what it is"))
                .help("connect to a PostgreSQL server, not to something that only speaks like one")
        })
}
