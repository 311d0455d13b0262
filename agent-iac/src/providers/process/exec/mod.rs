//! A process in exactly the environment that was declared for it.
//!
//! Owns starting it, following the rotations of its secrets, passing signals
//! on, and the masking of secrets in what it prints. It blocks the thread that
//! calls it, and needs no async runtime. `life` is the loop, with its states
//! named; `running` a process with its group; `follower` the thread that waits
//! for secret stores and the inbox; `private` keeps the secrets.
//!
//! The process inherits nothing of its caller's environment variables. Its
//! secrets are files in a folder that only its user reads, which is removed when
//! it ends; a secret is never an argument, and a variable only where that was
//! declared with a reason. What a process keeps open without marking it to be
//! closed, and the mask of its file modes, are inherited as by any process.
//!
//! A secret by descriptor is no choice: it would have to be inheritable in the
//! calling process for a while, in which every other process that this one
//! starts has it too, and closing that gap takes code that runs between `fork`
//! and `exec`, which is `unsafe`.

mod environment;
mod follower;
mod life;
mod mask;
mod passing;
mod private;
mod running;
mod streams;
#[cfg(test)]
mod tests;

pub use environment::{Environment, OnRotation};
pub use mask::{MASK, Masker};
pub use passing::Passing;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    io::Write,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use self::{
    follower::{Follower, Follows, key},
    life::Life,
    private::Private,
    streams::Streams,
};
use crate::{
    consumer::Credential,
    error::{Error, ErrorKind, Result},
    vault::Place,
};

/// How often the places are looked at, unless said.
const EVERY: Duration = Duration::from_secs(5);

/// How long a process has to be up with a new secret before that is confirmed,
/// and before the next one of its group is restarted.
const SETTLES: Duration = Duration::from_secs(2);

/// A process that is to be started.
pub struct Exec {
    environment: Environment,
    command: Vec<OsString>,
    bindings: Vec<Binding>,
    below: PathBuf,
    every: Duration,
    settles: Duration,
    masked: (Option<Out>, Option<Out>),
    on_terminal: bool,
    tell: Tell,
}

type Tell = Arc<dyn Fn(&str) + Send + Sync>;

type Out = Box<dyn Write + Send>;

/// A secret by the name under which the process has it.
#[derive(Debug)]
struct Binding {
    name: String,
    exposed: bool,
    credential: Credential,
}

impl Exec {
    /// Starts what an environment declares, with its credentials by their
    /// places. The folder of its secrets is made below `below`, in one of the
    /// user's own: one in memory, as `$XDG_RUNTIME_DIR`, leaves no trace on a
    /// disk. Those of one group, and those of one runtime, know of each other
    /// when they are given the same one.
    ///
    /// # Errors
    ///
    /// When a place of the environment has no credential among those given.
    pub fn new(
        environment: Environment,
        credentials: &BTreeMap<Place, Credential>,
        below: impl Into<PathBuf>,
    ) -> Result<Self> {
        let secrets = environment.secrets.iter().map(|bound| (bound, false));
        let exposed = environment.exposed.iter().map(|bound| (bound, true));
        let bindings = secrets.chain(exposed).map(|((name, place), exposed)| {
            let credential = credentials.get(place).cloned().ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!("`{name}` is bound to `{place}`, where nothing is delivered"),
                )
                .help("declare a credential with this place, or correct the binding")
            })?;
            Ok(Binding { name: name.clone(), exposed, credential })
        });
        let bindings = bindings.collect::<Result<_>>()?;
        let command = environment.command.iter().map(OsString::from).collect();
        Ok(Self {
            environment,
            command,
            bindings,
            below: below.into(),
            every: EVERY,
            settles: SETTLES,
            masked: (None, None),
            on_terminal: false,
            tell: Arc::new(|_| ()),
        })
    }

    /// Runs another program in the same environment.
    #[must_use]
    pub fn command(mut self, command: impl IntoIterator<Item: Into<OsString>>) -> Self {
        self.command = command.into_iter().map(Into::into).collect();
        self
    }

    /// Looks for new generations this often; every five seconds unless said.
    #[must_use]
    pub fn looking_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Takes a process for settled after this time; after two seconds unless
    /// said. Only what has been used for so long is confirmed, and only then the
    /// next one of its group is restarted.
    #[must_use]
    pub fn settling_for(mut self, settles: Duration) -> Self {
        self.settles = settles;
        self
    }

    /// Gives its standard output to this, with its secrets masked; otherwise it
    /// has that of the calling process.
    #[must_use]
    pub fn masking_out_into(mut self, out: Box<dyn Write + Send>) -> Self {
        self.masked.0 = Some(out);
        self
    }

    /// As [`Exec::masking_out_into`], of its standard error.
    #[must_use]
    pub fn masking_err_into(mut self, err: Box<dyn Write + Send>) -> Self {
        self.masked.1 = Some(err);
        self
    }

    /// Lets it read the terminal of its caller: it stays in the caller's process
    /// group, and signals go to it alone. Otherwise it leads a group of its own,
    /// which is signalled as a whole and ends with it.
    #[must_use]
    pub fn on_terminal(mut self, on_terminal: bool) -> Self {
        self.on_terminal = on_terminal;
        self
    }

    /// Tells what happens meanwhile: a rotation that was followed, a store that
    /// is away. No text holds a secret.
    #[must_use]
    pub fn telling(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.tell = Arc::new(tell);
        self
    }

    /// Runs it to its end, and answers its exit code: 128 and the signal's
    /// number where a signal ended it, or kept it from being started.
    ///
    /// A generation is confirmed when the process was up with it for a while, or
    /// came to a good end with it by itself; and, where several processes of this
    /// user are of one runtime, by the last of them.
    ///
    /// # Errors
    ///
    /// When a secret cannot be read at the start, or the process cannot be
    /// started. Later, what cannot be had (a store, an inbox, the group) is told
    /// and tried again.
    pub fn run(mut self, passing: &Passing) -> Result<u8> {
        let uses = self.bindings.iter().filter_map(|binding| key(&binding.credential));
        let private = Private::make(&self.below, uses)?;
        let streams = Streams::new(self.masked.0.take(), self.masked.1.take());
        let (events, inbox) = mpsc::channel();
        let (orders, ordered) = mpsc::channel();
        let follower = Follower {
            every: self.every,
            using: Arc::clone(private.using()),
            orders: ordered,
            events: events.clone(),
            tell: Arc::clone(&self.tell),
            follows: self.bindings.iter().map(|b| Follows::new(&b.name, &b.credential)).collect(),
        };
        // Nobody waits for this thread: a store that stands still would keep the
        // end of the process from being told.
        let thread = std::thread::Builder::new().name("exec follows".to_owned());
        thread.spawn(move || follower.run()).map_err(|error| {
            Error::new(ErrorKind::Io, "there is no thread that follows rotations")
                .help("raise the limit of threads (`ulimit -u`)")
                .caused_by(error)
        })?;
        passing.wakes(Some(events.clone()));
        let code = Life::new(&self, private, streams, passing, (events, inbox), orders).live();
        passing.wakes(None);
        code
    }
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec")
            .field("environment", &self.environment)
            .field("bindings", &self.bindings)
            .finish_non_exhaustive()
    }
}
