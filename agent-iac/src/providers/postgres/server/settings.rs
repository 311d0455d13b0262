//! Where a server is and how one logs in there, as people write it.
//!
//! Owns the form of a server's URL, which ways of connecting are refused, and
//! where a password comes from. It connects to nothing.

use std::{
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use super::super::name::MAX_NAME;
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

/// How long a connection may take to be there, with its login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest file that is taken for a password.
const MAX_PASSWORD: u64 = 4096;

/// A PostgreSQL server and the database that is connected to where none is
/// named: `postgresql://user@host:port/database?sslmode=verify-full`.
///
/// The certificate is verified (`verify-full`) unless the server is reached by
/// loopback or a Unix socket. `sslrootcert` names a file with the authorities
/// that are trusted instead of the system's, and `connect_timeout` the seconds
/// that a login may take. A password in the URL is refused, because URLs end up
/// in histories, logs and lists of processes.
///
/// A password is proved by SCRAM, and never told: a server that asks for it in
/// clear, or by MD5, is refused. `require_auth=password` lets one that was
/// verified in full ask for it, for those that pass it on to a directory.
///
/// ```
/// use agent_iac::providers::postgres::Endpoint;
///
/// let endpoint: Endpoint = "postgresql://deploy@db.example.org/app".parse()?;
/// assert_eq!(endpoint.to_string(), "db.example.org:5432/app");
/// assert_eq!(endpoint.user(), Some("deploy"));
///
/// let refused = "postgresql://deploy:hunter2@db.example.org/app".parse::<Endpoint>().unwrap_err();
/// assert_eq!(refused.message(), "the URL of a PostgreSQL server holds a password");
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: Host,
    port: u16,
    database: String,
    user: Option<String>,
    tls: TlsMode,
    tells_passwords: bool,
    connect_timeout: Duration,
}

/// What a server is reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The folder of a Unix socket.
    Unix(PathBuf),
}

/// Whether and how a connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// It is not; only within one machine.
    Disable,
    /// It is, and the server's certificate must be for its name.
    VerifyFull {
        /// A PEM file with the trusted authorities; the system's without one.
        root: Option<PathBuf>,
    },
}

impl Endpoint {
    /// What the server is reached by.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The TCP port, or the number in the socket's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The database that is connected to where none is named.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The user that the URL names.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether and how the connection is encrypted.
    pub fn tls(&self) -> &TlsMode {
        &self.tls
    }

    /// Whether a server that was verified may ask for a password in clear.
    pub fn tells_passwords(&self) -> bool {
        self.tells_passwords
    }

    /// How long a connection may take to be there, with its login.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Whether the server is on this machine, as far as the URL tells.
    pub fn is_local(&self) -> bool {
        self.host.is_local()
    }

    /// The server without a database, as errors name it.
    pub fn server(&self) -> String {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", self.port),
            Host::Tcp(name) => format!("{name}:{}", self.port),
            Host::Unix(folder) => {
                folder.join(format!(".s.PGSQL.{}", self.port)).display().to_string()
            }
        }
    }
}

impl Host {
    fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(name) => {
                // RFC 6761 reserves the name; what it resolves to is checked
                // again when it is connected to.
                name.eq_ignore_ascii_case("localhost")
                    || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server(), self.database)
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn password_in_url() -> Error {
    invalid("the URL of a PostgreSQL server holds a password").help(
        "take it out of the URL, change it, and give the new one by a file that only its owner may read",
    )
}

impl FromStr for Endpoint {
    type Err = Error;

    // Nothing of the text is repeated in an error but names of parameters,
    // hosts and modes: a password may stand anywhere in a URL that is wrong.
    fn from_str(text: &str) -> Result<Self> {
        let rest = text
            .strip_prefix("postgresql://")
            .or_else(|| text.strip_prefix("postgres://"))
            .ok_or_else(|| {
                invalid("the URL of a PostgreSQL server begins with `postgresql://`")
                    .help("write it as `postgresql://user@host:5432/database`")
            })?;
        if rest.contains('#') {
            return Err(invalid("the URL of a PostgreSQL server has no part behind `#`")
                .help("write `%23` where the character itself is meant"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(password_in_url()),
            Some((user, place)) => (Some(decoded("user", user)?), place),
            None => (None, authority),
        };
        let (mut host, mut port) = host_and_port(place)?;
        let mut parameters = Parameters::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            parameters.take(pair)?;
        }
        if let Some(folder) = parameters.host {
            if host.is_some() {
                return Err(invalid("the URL of a PostgreSQL server names two hosts")
                    .help("leave the parameter `host` away"));
            }
            host = Some(folder);
        }
        if let Some(number) = parameters.port {
            port = Some(number);
        }
        let host = host.ok_or_else(|| {
            invalid("the URL of a PostgreSQL server names no host")
                .help("write `postgresql://host/database`, or `?host=/run/postgresql` for a socket")
        })?;
        let user = user.map(|user| name("user", user)).transpose()?;
        let database = name("database", decoded("database", database)?)?;
        let tls = tls(parameters.sslmode.as_deref(), parameters.sslrootcert, &host)?;
        let tells_passwords = tells_passwords(parameters.require_auth.as_deref(), &tls)?;
        Ok(Self {
            host,
            port: port.unwrap_or(5432),
            database,
            user,
            tls,
            tells_passwords,
            connect_timeout: parameters.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
        })
    }
}

#[derive(Default)]
struct Parameters {
    host: Option<Host>,
    port: Option<u16>,
    sslmode: Option<String>,
    sslrootcert: Option<PathBuf>,
    require_auth: Option<String>,
    connect_timeout: Option<Duration>,
}

impl Parameters {
    fn take(&mut self, pair: &str) -> Result<()> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let twice = |is_there: bool| {
            if is_there {
                return Err(invalid(format!("the parameter {} is given twice", quoted(key))));
            }
            Ok(())
        };
        match key {
            "password" => return Err(password_in_url()),
            "host" => {
                twice(self.host.is_some())?;
                self.host = Some(host(&decoded(key, value)?)?);
            }
            "port" => {
                twice(self.port.is_some())?;
                self.port = Some(port(value)?);
            }
            "sslmode" => {
                twice(self.sslmode.is_some())?;
                self.sslmode = Some(value.to_owned());
            }
            "require_auth" => {
                twice(self.require_auth.is_some())?;
                self.require_auth = Some(value.to_owned());
            }
            "sslrootcert" => {
                twice(self.sslrootcert.is_some())?;
                // `system` is libpq's word for what is meant without a file.
                let path = decoded(key, value)?;
                self.sslrootcert = (path != "system").then(|| PathBuf::from(path));
            }
            "connect_timeout" => {
                twice(self.connect_timeout.is_some())?;
                let seconds = value.parse().ok().filter(|seconds| (1..=600).contains(seconds));
                self.connect_timeout = Some(Duration::from_secs(seconds.ok_or_else(|| {
                    invalid("`connect_timeout` is a number of seconds from 1 to 600")
                })?));
            }
            // A word without a value may be the end of a password with `?` in it.
            _ if !pair.contains('=') => {
                return Err(invalid("a parameter in the URL of a PostgreSQL server has no value"));
            }
            _ => {
                return Err(invalid(format!(
                    "{} is not a parameter that is understood in the URL of a PostgreSQL server",
                    quoted(key)
                ))
                .help(
                    "there are `sslmode`, `sslrootcert`, `require_auth`, `connect_timeout`, `host` \
                     and `port`",
                ));
            }
        }
        Ok(())
    }
}

fn host_and_port(place: &str) -> Result<(Option<Host>, Option<u16>)> {
    if place.contains(',') {
        return Err(several_hosts());
    }
    let (name, number) = match place.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest
                .split_once(']')
                .ok_or_else(|| invalid("an IPv6 address in a URL ends with `]`"))?;
            if after.is_empty() {
                (address, None)
            } else {
                let number = after.strip_prefix(':').ok_or_else(|| {
                    invalid("behind the `]` of an IPv6 address comes `:` and a port")
                })?;
                (address, Some(number))
            }
        }
        None => match place.split_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (place, None),
        },
    };
    let host = match name {
        "" => None,
        name => Some(host(&decoded("host", name)?)?),
    };
    let number = number.filter(|number| !number.is_empty());
    Ok((host, number.map(port).transpose()?))
}

fn several_hosts() -> Error {
    invalid("the URL of a PostgreSQL server names several hosts")
        .help("name the one that takes writes: what is planned on one must be applied on it")
}

fn host(text: &str) -> Result<Host> {
    if text.starts_with('/') {
        return Ok(Host::Unix(PathBuf::from(text)));
    }
    if text.contains(',') {
        return Err(several_hosts());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if text.is_empty() || text.len() > 253 || !text.chars().all(allowed) {
        return Err(invalid("the host in the URL of a PostgreSQL server is not a name")
            .help("write a name of the DNS in ASCII, an address, or the folder of a socket"));
    }
    Ok(Host::Tcp(text.to_owned()))
}

fn port(text: &str) -> Result<u16> {
    if text.contains(',') {
        return Err(several_hosts());
    }
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        // A password without a user stands where the port does.
        invalid("the port in the URL of a PostgreSQL server is not a number from 1 to 65535")
    })
}

fn name(what: &str, text: String) -> Result<String> {
    if text.is_empty() {
        return Err(invalid(format!("the URL of a PostgreSQL server names no {what}"))
            .help("write it as `postgresql://user@host:5432/database`"));
    }
    if text.len() > MAX_NAME || text.contains('\0') {
        return Err(invalid(format!("the {what} in the URL cannot exist in PostgreSQL"))
            .help(format!("a name has at most {MAX_NAME} bytes, and no zero byte")));
    }
    Ok(text)
}

fn decoded(what: &str, text: &str) -> Result<String> {
    let wrong = || {
        invalid(format!("the {what} in the URL of a PostgreSQL server is not encoded well"))
            .help("write a special character as `%` and two hexadecimal digits")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
        bytes.push(u8::try_from(high * 16 + low).expect("two digits are one byte"));
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn tls(mode: Option<&str>, root: Option<PathBuf>, host: &Host) -> Result<TlsMode> {
    let local = host.is_local();
    let is_socket = matches!(host, Host::Unix(_));
    let full =
        "write `sslmode=verify-full`, with `sslrootcert=FILE` where the authority is your own";
    if is_socket && (mode == Some("verify-full") || root.is_some()) {
        return Err(invalid("a Unix socket is not encrypted")
            .help("leave `sslmode` and `sslrootcert` away"));
    }
    match mode {
        Some("disable" | "prefer" | "allow") if local && root.is_some() => {
            Err(invalid("`sslrootcert` needs `sslmode=verify-full`")
                .help("leave one of the two away"))
        }
        Some("disable" | "prefer" | "allow") if local => Ok(TlsMode::Disable),
        None if local && root.is_none() => Ok(TlsMode::Disable),
        // Where a file is named, somebody relies on it.
        None | Some("verify-full") => Ok(TlsMode::VerifyFull { root }),
        Some("disable") => Err(invalid(
            "`sslmode=disable` would send the login and every statement in clear over the network",
        )
        .help(full)),
        Some(weak @ ("prefer" | "allow")) => Err(invalid(format!(
            "`sslmode={weak}` goes on in clear when somebody in between says that there is no TLS"
        ))
        .help(full)),
        Some("require") => {
            Err(invalid("`sslmode=require` encrypts, and does not look at who is at the other end")
                .help(full))
        }
        Some("verify-ca") => Err(invalid(
            "`sslmode=verify-ca` takes the certificate of any server that the authority knows",
        )
        .help(full)),
        Some(other) => Err(invalid(format!("{} is not an `sslmode`", quoted(other))).help(full)),
    }
}

/// The words are those of libpq, where they are lists; two of them are meant.
fn tells_passwords(require: Option<&str>, tls: &TlsMode) -> Result<bool> {
    match (require, tls) {
        (None | Some("scram-sha-256"), _) => Ok(false),
        (Some("password"), TlsMode::VerifyFull { .. }) => Ok(true),
        (Some("password"), TlsMode::Disable) => {
            Err(invalid("`require_auth=password` would tell the password to whoever listens there")
                .help("write `sslmode=verify-full` too, or leave it away"))
        }
        (Some(other), _) => Err(invalid(format!("{} is not a `require_auth`", quoted(other)))
            .help("there are `scram-sha-256`, which is the default, and `password`")),
    }
}

/// A user and where its password comes from.
#[derive(Clone, Debug)]
pub struct Principal {
    user: Arc<str>,
    password: Password,
}

impl Principal {
    /// Logs in as `user` by `password`.
    ///
    /// # Errors
    ///
    /// When there can be no user of that name.
    pub fn new(user: impl Into<String>, password: Password) -> Result<Self> {
        Ok(Self { user: name("user", user.into())?.into(), password })
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Where its password comes from.
    pub fn password(&self) -> &Password {
        &self.password
    }
}

/// Where a password comes from.
///
/// ```
/// use agent_iac::{providers::postgres::Password, secret::Secret};
///
/// let password = Password::given(Secret::from_text("hunter2".into()));
/// assert_eq!(format!("{password:?}"), "Password(given)");
/// ```
#[derive(Clone)]
pub struct Password(Source);

#[derive(Clone)]
enum Source {
    Given(Arc<Secret>),
    File(PathBuf),
}

impl Password {
    /// This one.
    pub fn given(secret: Secret) -> Self {
        Self(Source::Given(Arc::new(secret)))
    }

    /// What stands in a file that only its owner may read; it is read anew for
    /// each connection, so that a rotated password needs no restart. One line
    /// end at its end is not part of it.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// The password as it is now.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, may be read by others, or holds no
    /// password.
    pub fn read(&self) -> Result<Arc<Secret>> {
        match &self.0 {
            Source::Given(secret) => Ok(Arc::clone(secret)),
            Source::File(path) => from_file(path).map(Arc::new),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Given(_) => f.write_str("Password(given)"),
            Source::File(path) => write!(f, "Password(file {})", path.display()),
        }
    }
}

fn from_file(path: &Path) -> Result<Secret> {
    use io::Read as _;
    let unreadable = |error: io::Error| {
        let (kind, help) = match error.kind() {
            io::ErrorKind::NotFound => (ErrorKind::NotFound, "check the path"),
            io::ErrorKind::PermissionDenied => (ErrorKind::Denied, "run as the file's owner"),
            _ => (ErrorKind::Io, "look at the disk and the file system"),
        };
        Error::new(kind, format!("cannot read the password file `{}`", path.display()))
            .help(help)
            .caused_by(error)
    };
    let refused = |what: &str| {
        Error::new(ErrorKind::Refused, format!("the password file `{}` {what}", path.display()))
    };
    let mut file = fs::File::open(path).map_err(unreadable)?;
    // Of the open file, so that what is judged is what is read.
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() || meta.len() > MAX_PASSWORD {
        return Err(refused("is not a file with a password").help("name a file of one line"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if meta.permissions().mode() & 0o077 != 0 {
            return Err(refused("may be read by others").help(format!(
                "change the password if others use this machine, then run `chmod 600 {}`",
                path.display()
            )));
        }
    }
    // With room for all of it: a buffer that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(usize::try_from(MAX_PASSWORD).unwrap_or(4096) + 2);
    let read = file.by_ref().take(MAX_PASSWORD + 1).read_to_end(&mut bytes);
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    let secret = Secret::from_bytes(bytes);
    read.map_err(unreadable)?;
    let (empty, odd) = secret
        .expose(|bytes| (bytes.is_empty(), bytes.iter().any(|byte| b"\n\r\0".contains(byte))));
    match (empty, odd) {
        (true, _) => Err(refused("is empty").help("write the password into it")),
        (_, true) => Err(refused("has more than one line").help("leave the password alone in it")),
        _ => Ok(secret),
    }
}
