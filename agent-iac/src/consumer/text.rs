//! The text of a consumer, and every mistake that can be made in it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Consumer;
use crate::{
    address::{is_printable, quoted},
    diagnostic::nearest,
    error::{Error, ErrorKind, Result},
};

/// The longest text of a consumer, in bytes.
pub const MAX_CONSUMER: usize = 1024;

/// A file that a secret is written to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileConsumer {
    path: String,
    owner: Option<Owner>,
    mode: u32,
}

impl FileConsumer {
    /// The path, from the root, without `.` and `..`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whose the file is to be; the writer's own unless said.
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// Who may read and write it.
    pub fn mode(&self) -> u32 {
        self.mode
    }
}

/// A user and perhaps a group, each a name or a number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The user.
    pub user: String,
    /// The group; that of the writer unless said.
    pub group: Option<String>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        self.group.as_ref().map_or(Ok(()), |group| write!(f, ":{group}"))
    }
}

/// A process that is signalled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalConsumer {
    signal: Signal,
    pid_file: String,
}

impl SignalConsumer {
    /// The signal.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The file that holds the process's number.
    pub fn pid_file(&self) -> &str {
        &self.pid_file
    }
}

/// The signals by which programs are told to look again. Those that end a
/// program are none of them: a file that others write says which process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Signal {
    /// Most daemons read their configuration again.
    #[serde(rename = "HUP")]
    Hup,
    /// Whatever the program makes of it.
    #[serde(rename = "USR1")]
    Usr1,
    /// Whatever the program makes of it.
    #[serde(rename = "USR2")]
    Usr2,
}

impl Signal {
    const ALL: [(&'static str, Self); 3] =
        [("HUP", Self::Hup), ("USR1", Self::Usr1), ("USR2", Self::Usr2)];
}

impl FromStr for Signal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = text.strip_prefix("SIG").unwrap_or(text);
        let found = Self::ALL.into_iter().find(|(name, _)| *name == named);
        found.map(|(_, signal)| signal).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidFleet,
                format!("{} is no signal that a consumer is told with", quoted(text)),
            )
            .help("write HUP, USR1 or USR2")
        })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.into_iter().find(|(_, signal)| signal == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// An address on the web: `https`, or `http` on this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Webhook {
    secure: bool,
    host: String,
    port: Option<u16>,
    path: String,
}

impl Webhook {
    /// Whether it is spoken to under TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host's name or number.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.secure { 443 } else { 80 })
    }

    /// The path and the query, with the first `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The host as a request names it, with the port where it is not the usual.
    pub fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }
}

impl FromStr for Webhook {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |help: &str| {
            Error::new(ErrorKind::InvalidFleet, format!("{} is no webhook's address", quoted(text)))
                .help(help)
        };
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(wrong("write `https://host/path`")),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(wrong("leave the user and the password out: requests are signed"));
        }
        let (host, port) = match authority.split_once(':') {
            None => (authority, None),
            Some((host, port)) => match port.parse::<u16>() {
                Ok(port) if port != 0 => (host, Some(port)),
                _ => return Err(wrong("the port is a number from 1 to 65535")),
            },
        };
        let sound = !host.is_empty()
            && host.len() <= 253
            && !host.starts_with(['.', '-'])
            && host
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
        if !sound {
            return Err(wrong("the host is a name of a-z, 0-9, dashes and dots"));
        }
        if !secure && host != "localhost" && host != "127.0.0.1" {
            return Err(wrong("use `https`; `http` is for this machine only"));
        }
        if !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(wrong("the path is of visible ASCII, without a fragment"));
        }
        let path = if path.is_empty() { "/" } else { path };
        // The usual port said and not said are one address.
        let port = port.filter(|port| *port != if secure { 443 } else { 80 });
        Ok(Self { secure, host: host.to_owned(), port, path: path.to_owned() })
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

const KINDS: [&str; 5] = ["runtime", "file", "signal", "command", "webhook"];

fn invalid(text: &str, help: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidFleet, format!("{} is no consumer", quoted(text))).help(help)
}

impl FromStr for Consumer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_CONSUMER || !is_printable(text) {
            let help = format!("use visible characters, at most {MAX_CONSUMER} bytes");
            return Err(invalid(text, help));
        }
        let Some((kind, rest)) = text.split_once(':') else {
            return if is_name(text) {
                Ok(Self::Application(text.to_owned()))
            } else {
                Err(invalid(text, "an application's name is of a-z, 0-9, dashes, dots and `_`"))
            };
        };
        match kind {
            "runtime" => rest.parse().map(Self::Runtime).map_err(|_| {
                invalid(text, "name a resource of the fleet, as `runtime:worker.process`")
            }),
            "file" => file(text, rest),
            "signal" => signal(text, rest),
            "command" if is_name(rest) => Ok(Self::Command(rest.to_owned())),
            "command" => Err(invalid(
                text,
                "give the name under which the host allows the command, as `command:reload-app`",
            )),
            "webhook" => rest.parse().map(Self::Webhook),
            _ => Err(invalid(
                text,
                nearest(kind, KINDS).map_or_else(
                    || format!("begin with one of {}", KINDS.map(|k| format!("`{k}:`")).join(", ")),
                    |near| format!("did you mean `{near}:`?"),
                ),
            )),
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
}

/// Without a white space, so that no word that is an option with a slip in it is
/// taken for the end of a path.
fn path(text: &str, path: &str) -> Result<String> {
    let sound = path.starts_with('/')
        && path.len() > 1
        && !path.contains(char::is_whitespace)
        && path[1..].split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255);
    if sound {
        Ok(path.to_owned())
    } else {
        Err(invalid(text, "the path begins with `/` and holds no `..`, `//` or white space"))
    }
}

fn file(text: &str, rest: &str) -> Result<Consumer> {
    let mut words = rest.split(' ');
    let path = path(text, words.next().unwrap_or_default())?;
    let (mut owner, mut mode) = (None, None);
    for word in words {
        match word.split_once('=') {
            Some(("owner", value)) if owner.is_none() => owner = Some(parse_owner(text, value)?),
            Some(("mode", value)) if mode.is_none() => mode = Some(parse_mode(text, value)?),
            Some(("owner" | "mode", _)) => return Err(invalid(text, "say each only once")),
            _ => return Err(invalid(text, "after the path stand `owner=` and `mode=`")),
        }
    }
    Ok(Consumer::File(FileConsumer { path, owner, mode: mode.unwrap_or(0o600) }))
}

fn parse_owner(text: &str, value: &str) -> Result<Owner> {
    let sound = |name: &str| {
        !name.is_empty()
            && name.len() <= 32
            && !name.starts_with('-')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            // A name of digits only is a number, and has to be one of 32 bits.
            // The highest means "leave it" to the operating system.
            && (!name.bytes().all(|b| b.is_ascii_digit())
                || name.parse::<u32>().is_ok_and(|id| id != u32::MAX))
    };
    let (user, group) = match value.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (value, None),
    };
    if !sound(user) || group.is_some_and(|group| !sound(group)) {
        return Err(invalid(text, "write `owner=user` or `owner=user:group`, by name or number"));
    }
    Ok(Owner { user: user.to_owned(), group: group.map(ToOwned::to_owned) })
}

fn parse_mode(text: &str, value: &str) -> Result<u32> {
    let digits = (3..=4).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(value, 8).ok().filter(|_| digits);
    match mode {
        None => Err(invalid(text, "the mode is octal, as `mode=0640`")),
        Some(mode) if mode & !0o660 != 0 => Err(invalid(
            text,
            "a secret is read and written by its owner and group at most: `mode=0640` or less",
        )),
        Some(mode) if mode & 0o400 == 0 => {
            Err(invalid(text, "the owner must be able to read it: `mode=0400` or more"))
        }
        Some(mode) => Ok(mode),
    }
}

fn signal(text: &str, rest: &str) -> Result<Consumer> {
    let Some((signal, pid_file)) = rest.split_once(' ') else {
        return Err(invalid(text, "write the signal and the pid file: `signal:HUP /run/app.pid`"));
    };
    let signal = signal.parse().map_err(|_| invalid(text, "the signal is HUP, USR1 or USR2"))?;
    Ok(Consumer::Signal(SignalConsumer { signal, pid_file: path(text, pid_file)? }))
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application(name) => f.write_str(name),
            Self::Runtime(address) => write!(f, "runtime:{address}"),
            Self::File(file) => {
                write!(f, "file:{}", file.path)?;
                if let Some(owner) = &file.owner {
                    write!(f, " owner={owner}")?;
                }
                if file.mode != 0o600 {
                    write!(f, " mode={:04o}", file.mode)?;
                }
                Ok(())
            }
            Self::Signal(signal) => write!(f, "signal:{} {}", signal.signal, signal.pid_file),
            Self::Command(name) => write!(f, "command:{name}"),
            Self::Webhook(webhook) => write!(f, "webhook:{webhook}"),
        }
    }
}

impl Serialize for Consumer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Consumer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_consumer_has_one_text() {
        for (text, canonical) in [
            ("billing-api", "billing-api"),
            ("2nd_app.eu", "2nd_app.eu"),
            ("runtime:worker.process", "runtime:worker.process"),
            (r#"runtime:worker["eu"].process"#, r#"runtime:worker["eu"].process"#),
            ("file:/srv/app/key", "file:/srv/app/key"),
            ("file:/srv/app/key mode=600", "file:/srv/app/key"),
            ("file:/k mode=0640 owner=app", "file:/k owner=app mode=0640"),
            ("file:/k owner=1000:0", "file:/k owner=1000:0"),
            ("signal:HUP /run/app.pid", "signal:HUP /run/app.pid"),
            ("signal:SIGUSR1 /run/app.pid", "signal:USR1 /run/app.pid"),
            ("command:reload-app", "command:reload-app"),
            ("webhook:https://hooks.example.com", "webhook:https://hooks.example.com/"),
            ("webhook:https://a.b:443/x?y=1", "webhook:https://a.b/x?y=1"),
            ("webhook:https://a.b:8443/x", "webhook:https://a.b:8443/x"),
            ("webhook:http://localhost:8080/x", "webhook:http://localhost:8080/x"),
        ] {
            let consumer: Consumer = text.parse().unwrap_or_else(|e| panic!("{text}: {e:?}"));
            assert_eq!(consumer.to_string(), canonical);
            assert_eq!(canonical.parse::<Consumer>().unwrap(), consumer);
            let json = serde_json::to_string(&consumer).unwrap();
            assert_eq!(serde_json::from_str::<Consumer>(&json).unwrap(), consumer);
        }
    }

    #[test]
    fn each_mistake_has_its_repair() {
        let long = "x".repeat(MAX_CONSUMER + 1);
        for (text, repair) in [
            ("", "a-z, 0-9"),
            ("Billing API", "a-z, 0-9"),
            ("-rf", "a-z, 0-9"),
            (&*long, "at most 1024 bytes"),
            ("a\nb", "visible"),
            ("a\u{202e}b", "visible"),
            ("fil:/srv/key", "did you mean `file:`?"),
            ("carrier-pigeon:home", "begin with one of"),
            ("runtime:worker", "name a resource"),
            ("runtime:", "name a resource"),
            ("file:", "begins with `/`"),
            ("file:key", "begins with `/`"),
            ("file:/", "begins with `/`"),
            ("file:/a/../etc/passwd", "holds no `..`"),
            ("file:/a//b", "`//`"),
            ("file:/a/", "`//`"),
            ("file:/a\u{a0}b", "white space"),
            ("file:/a b", "`owner=` and `mode=`"),
            ("file:/a group=b", "`owner=` and `mode=`"),
            ("file:/a mode=0600 mode=0640", "only once"),
            ("file:/a owner=", "owner=user"),
            ("file:/a owner=a:", "owner=user"),
            ("file:/a owner=-a", "owner=user"),
            ("file:/a owner=a:b:c", "owner=user"),
            ("file:/a owner=4294967295", "owner=user"),
            ("file:/a mode=rw", "octal"),
            ("file:/a mode=+600", "octal"),
            ("file:/a mode=0680", "octal"),
            ("file:/a mode=0644", "owner and group at most"),
            ("file:/a mode=4600", "owner and group at most"),
            ("file:/a mode=0700", "owner and group at most"),
            ("file:/a mode=0200", "the owner must be able to read"),
            ("signal:HUP", "the signal and the pid file"),
            ("signal:KILL /run/a.pid", "HUP, USR1 or USR2"),
            ("signal:HUP run/a.pid", "begins with `/`"),
            ("command:", "the host allows"),
            ("command:/bin/sh -c true", "the host allows"),
            ("webhook:hooks.example.com", "https://host/path"),
            ("webhook:ftp://a.b/", "https://host/path"),
            ("webhook:http://a.b/", "`http` is for this machine only"),
            ("webhook:http://localhost.evil.org/", "`http` is for this machine only"),
            ("webhook:https://user:pw@a.b/", "signed"),
            ("webhook:https://", "the host is a name"),
            ("webhook:https://A.b/", "the host is a name"),
            ("webhook:https://a.b:0/", "the port"),
            ("webhook:https://a.b:x/", "the port"),
            ("webhook:https://a.b/ HTTP/1.1", "visible ASCII"),
            ("webhook:https://a.b/#x", "fragment"),
        ] {
            let error = text.parse::<Consumer>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidFleet);
            let help = error.repair().unwrap_or_default();
            assert!(help.contains(repair), "{text:?}: {help:?} does not say {repair:?}");
            assert!(is_printable(error.message()), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_so_that_it_reads_the_same(text in "(file:/|signal:HUP /|webhook:https://|command:|runtime:)?[a-z0-9/.:= @_-]{0,24}") {
            if let Ok(consumer) = text.parse::<Consumer>() {
                prop_assert_eq!(consumer.to_string().parse::<Consumer>().unwrap(), consumer);
            }
        }
    }
}
