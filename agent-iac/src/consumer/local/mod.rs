//! Telling consumers on this machine, within what its host allows.
//!
//! Owns [`Allowed`], which says what may happen here, and [`LocalTeller`], which
//! does it: writes files, signals processes, runs commands, calls webhooks. It
//! takes a secret from the store for a file, and for nothing else.

mod beneath;
mod command;
mod file;
mod signal;
mod thread;
mod webhook;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::{Either, select};

use super::{Consumer, Notice, Tell, Told, Webhook};
use crate::{
    clock::{Clock, SystemClock},
    error::Result,
    secret::Secret,
    vault::SecretStore,
};

/// How long one attempt may take, unless said.
const LIMIT: Duration = Duration::from_secs(30);

/// The pauses between the attempts to reach a webhook.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// What this host lets happen for the sake of consumers: nothing, unless said.
///
/// A fleet names files, commands and addresses; whoever runs the engine says
/// here which of them are meant. A command is allowed as a whole, with its
/// arguments, under a name.
///
/// ```
/// use agent_iac::{consumer::Allowed, secret::Secret};
///
/// let key = Secret::from_bytes(b"a key that the receiver has too".to_vec());
/// let allowed = Allowed::nothing()
///     .files_below("/srv/app/secrets")
///     .pid_files_below("/run/app")
///     .command("reload-app", "/usr/bin/systemctl", ["reload", "app"])
///     .webhooks_of("hooks.example.com", key);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    folders: BTreeSet<PathBuf>,
    pid_folders: BTreeSet<PathBuf>,
    commands: BTreeMap<String, command::Program>,
    hosts: BTreeMap<String, Arc<Secret>>,
}

impl Allowed {
    /// Allows nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Lets files be written below a folder. Below it no link is followed.
    #[must_use]
    pub fn files_below(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folders.insert(folder.into());
        self
    }

    /// Lets processes be signalled whose pid files lie below a folder, when the
    /// process is of the same user as its file.
    #[must_use]
    pub fn pid_files_below(mut self, folder: impl Into<PathBuf>) -> Self {
        self.pid_folders.insert(folder.into());
        self
    }

    /// Gives a name to a program with its arguments. It runs without a shell, in
    /// an environment of its own.
    #[must_use]
    pub fn command(
        mut self,
        name: impl Into<String>,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item: Into<String>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        self.commands.insert(name.into(), command::Program { path: program.into(), arguments });
        self
    }

    /// Lets webhooks of a host be called (`host`, or `host:port` where it is not
    /// the usual one), signed with a key that the host has too.
    #[must_use]
    pub fn webhooks_of(mut self, host: impl Into<String>, key: Secret) -> Self {
        self.hosts.insert(host.into(), Arc::new(key));
        self
    }
}

/// The [`Tell`] of a machine.
#[derive(Clone, Debug)]
pub struct LocalTeller {
    allowed: Allowed,
    stores: BTreeMap<String, Arc<dyn SecretStore>>,
    clock: Arc<dyn Clock>,
    limit: Duration,
}

impl LocalTeller {
    /// Tells within what is allowed. The stores, by their names in the fleet,
    /// are those that files are written from; each needs a key that reads.
    pub fn new(allowed: Allowed, stores: BTreeMap<String, Arc<dyn SecretStore>>) -> Self {
        Self { allowed, stores, clock: Arc::new(SystemClock), limit: LIMIT }
    }

    /// Takes the time from another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Gives up an attempt after this time; after thirty seconds unless said.
    #[must_use]
    pub fn giving_up_after(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Does something that blocks, for as long as it may take.
    async fn bounded(&self, job: impl FnOnce() -> Told + Send + 'static) -> Told {
        match select(thread::run(job), self.clock.sleep(self.limit)).await {
            Either::Left((Some(told), _)) => told,
            Either::Left((None, _)) => failed("the system has no thread for it"),
            Either::Right(_) => failed(format!("no answer within {} s", self.limit.as_secs())),
        }
    }

    /// Calls a webhook once, where its host is allowed.
    pub(crate) async fn post(&self, hook: &Webhook, body: String) -> Told {
        let Some(key) = self.allowed.hosts.get(&hook.authority()) else {
            return not_allowed(format!(
                "no webhook of `{}` is called; allow it with `webhooks_of`",
                hook.authority()
            ));
        };
        // Each attempt has its own time, which is part of what is signed.
        let request = webhook::Request::sign(hook, &body, key, self.clock.now());
        let (hook, limit) = (hook.clone(), self.limit);
        self.bounded(move || webhook::post(&hook, &request, limit)).await
    }

    /// Runs a command that is allowed under a name.
    pub(crate) async fn run(&self, name: &str, about: command::About) -> Told {
        let Some(program) = self.allowed.commands.get(name).cloned() else {
            return not_allowed(format!("no command is named `{name}`; allow one with `command`"));
        };
        let limit = self.limit;
        self.bounded(move || command::run(&program, &about, limit)).await
    }

    async fn secret(&self, notice: Notice<'_>) -> Result<Secret, String> {
        let place = notice.place;
        let store = self.stores.get(place.store());
        let store = store.ok_or_else(|| {
            format!("this host was given no secret store named `{}`", place.store())
        })?;
        let open = store.open().map_err(|error| error.to_string())?;
        let opened = open.open(place.path(), Some(notice.generation), notice.digest).await;
        opened.map_err(|error| error.to_string())
    }
}

fn failed(because: impl Into<String>) -> Told {
    Told::Failed { because: because.into() }
}

fn not_allowed(because: String) -> Told {
    Told::NotAllowed { because }
}

/// The folder that a path lies below, with what is left of it.
fn within<'a>(folders: &'a BTreeSet<PathBuf>, path: &'a str) -> Option<(&'a Path, &'a Path)> {
    let path = Path::new(path);
    folders.iter().find_map(|folder| {
        let rest = path.strip_prefix(folder).ok()?;
        (!rest.as_os_str().is_empty()).then_some((folder.as_path(), rest))
    })
}

#[async_trait]
impl Tell for LocalTeller {
    async fn tell(&self, notice: Notice<'_>) -> Told {
        match notice.consumer {
            // Both look at the store by themselves.
            Consumer::Application(_) | Consumer::Runtime(_) => Told::Told,
            Consumer::File(declared) => {
                let Some((folder, rest)) = within(&self.allowed.folders, declared.path()) else {
                    return not_allowed(format!(
                        "no file may be written at `{}`; allow its folder with `files_below`",
                        declared.path()
                    ));
                };
                let (folder, rest) = (folder.to_owned(), rest.to_owned());
                let secret = match self.secret(notice).await {
                    Ok(secret) => secret,
                    Err(because) => return failed(because),
                };
                let declared = declared.clone();
                self.bounded(move || file::write(&folder, &rest, &declared, &secret)).await
            }
            Consumer::Signal(declared) => {
                let folders = &self.allowed.pid_folders;
                let Some((folder, rest)) = within(folders, declared.pid_file()) else {
                    return not_allowed(format!(
                        "`{}` is no pid file that counts; allow its folder with `pid_files_below`",
                        declared.pid_file()
                    ));
                };
                let (folder, rest) = (folder.to_owned(), rest.to_owned());
                let kind = declared.signal();
                self.bounded(move || signal::send(&folder, &rest, kind)).await
            }
            Consumer::Command(name) => self.run(name, command::about(notice)).await,
            Consumer::Webhook(hook) => {
                let body = webhook::body(notice);
                let mut pauses = PAUSES.into_iter();
                loop {
                    let told = self.post(hook, body.clone()).await;
                    match (&told, pauses.next()) {
                        (Told::Failed { .. }, Some(pause)) => self.clock.sleep(pause).await,
                        _ => return told,
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
