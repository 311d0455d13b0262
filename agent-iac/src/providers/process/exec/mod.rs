//! A process in exactly the environment that was declared for it.
//!
//! Owns starting it, following the rotations of its secrets, passing signals
//! on, and the masking of secrets in what it prints. It blocks the thread that
//! calls it, and needs no async runtime.
//!
//! The process inherits nothing of its caller's environment variables. Its
//! secrets are files in a folder that only its user reads, which is removed when
//! it ends; a secret is never an argument, and a variable only where that was
//! declared with a reason. What a process keeps open without marking it to be
//! closed, and the mask of its file modes, are inherited as by any process.

mod environment;
mod mask;
mod private;
mod streams;
#[cfg(test)]
mod tests;

pub use environment::{Environment, OnRotation};
pub use mask::{MASK, Masker};

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fmt,
    io::Write,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use self::{private::Private, streams::Streams};
use crate::{
    clock::block_on,
    consumer::{Credential, Current},
    error::{Error, ErrorKind, Result},
    vault::Place,
};

/// How often the places are looked at, unless said.
const EVERY: Duration = Duration::from_secs(5);

/// How long one of a group is left alone after its restart before the next one
/// is restarted.
const SETTLES: Duration = Duration::from_secs(2);

/// How long what a process printed is waited for after its end: something that
/// it started may keep the stream open for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A process that is to be started.
pub struct Exec {
    environment: Environment,
    command: Vec<OsString>,
    bindings: Vec<Binding>,
    below: PathBuf,
    every: Duration,
    settles: Duration,
    masked: (Option<Out>, Option<Out>),
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

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
    /// places. The folder of its secrets is made below `below`: one in memory,
    /// as `$XDG_RUNTIME_DIR`, leaves no trace on a disk.
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
            tell: Box::new(|_| ()),
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

    /// Leaves a group alone for this time after one of it was restarted.
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

    /// Tells what happens meanwhile: a rotation that was followed, a store that
    /// is away. No text holds a secret.
    #[must_use]
    pub fn telling(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// Runs it to its end, and answers its exit code: 128 and the signal's
    /// number where a signal ended it.
    ///
    /// # Errors
    ///
    /// When a secret cannot be read at the start, or the process cannot be
    /// started. Later, a store that is away is told and waited for.
    pub fn run(mut self, passing: &Passing) -> Result<u8> {
        let private = Private::make(&self.below)?;
        let streams = Streams::new(self.masked.0.take(), self.masked.1.take());
        let (events, inbox) = mpsc::channel();
        let mut life = Life {
            exec: &self,
            private: &private,
            streams: &streams,
            passing,
            events: events.clone(),
            inbox,
            later: VecDeque::new(),
            exposed: BTreeMap::new(),
            started: 0,
        };
        let mut first = Vec::new();
        for (index, binding) in self.bindings.iter().enumerate() {
            let current = block_on(binding.credential.current())?;
            first.push(current.generation);
            life.take_over(index, current)?;
        }
        let running = life.start()?;
        for (binding, generation) in self.bindings.iter().zip(&first) {
            self.confirm(binding, *generation);
        }
        // Dropped at the end, it stops the thread that looks.
        let (stop, stopped) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let watched: Vec<Credential> =
                self.bindings.iter().map(|binding| binding.credential.clone()).collect();
            let every = self.every;
            let tell = &self.tell;
            scope.spawn(move || look(&watched, first, every, &stopped, &events, tell));
            let code = life.follow(running);
            drop(stop);
            code
        })
    }

    fn confirm(&self, binding: &Binding, generation: u32) {
        if let Err(error) = block_on(binding.credential.confirm(generation)) {
            let name = &binding.name;
            (self.tell)(&format!("`{name}`: generation {generation} is not confirmed: {error}"));
        }
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

/// Looks for new generations until it is stopped.
fn look(
    credentials: &[Credential],
    mut seen: Vec<u32>,
    every: Duration,
    stopped: &mpsc::Receiver<()>,
    events: &mpsc::Sender<Event>,
    tell: &(dyn Fn(&str) + Send + Sync),
) {
    let mut away = vec![false; credentials.len()];
    while stopped.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
        for (index, credential) in credentials.iter().enumerate() {
            match block_on(credential.watch().after(seen[index]).look()) {
                Ok(None) => away[index] = false,
                Ok(Some(current)) => {
                    away[index] = false;
                    seen[index] = current.generation;
                    if events.send(Event::Rotated(index, current)).is_err() {
                        return;
                    }
                }
                // Told once, and not at every look.
                Err(error) => {
                    if !std::mem::replace(&mut away[index], true) {
                        tell(&format!("{}: {error}", credential.address()));
                    }
                }
            }
        }
    }
}

#[derive(Debug)]
enum Event {
    /// The process that was started as this one has ended, and is not reaped.
    Ended(u32),
    /// A credential has a new generation.
    Rotated(usize, Current),
}

/// One run of [`Exec::run`].
struct Life<'a> {
    exec: &'a Exec,
    private: &'a Private,
    streams: &'a Streams,
    passing: &'a Passing,
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
    /// What came while something else was waited for.
    later: VecDeque<Event>,
    exposed: BTreeMap<usize, crate::secret::Secret>,
    started: u32,
}

struct Running {
    child: Child,
    pid: Pid,
    number: u32,
}

impl Life<'_> {
    /// The new secret is there before anybody is told of it.
    fn take_over(&mut self, index: usize, current: Current) -> Result<()> {
        let binding = &self.exec.bindings[index];
        self.streams.hide(&current.secret);
        if binding.exposed {
            self.exposed.insert(index, current.secret);
        } else {
            self.private.put(&binding.name, &current.secret)?;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<Running> {
        let environment = &self.exec.environment;
        let failed = |what: &str, error: std::io::Error| {
            Error::new(ErrorKind::Io, format!("cannot start the process: {what}"))
                .help("look at `command` and `directory` of the runtime")
                .caused_by(error)
        };
        let Some((program, arguments)) = self.exec.command.split_first() else {
            return Err(Error::new(ErrorKind::InvalidInput, "there is no command to run")
                .help("give one after `--`"));
        };
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(&environment.variables);
        command.current_dir(environment.directory.as_deref().unwrap_or("/"));
        for (index, binding) in self.exec.bindings.iter().enumerate() {
            if let Some(secret) = self.exposed.get(&index) {
                use std::os::unix::ffi::OsStrExt as _;
                secret.expose(|bytes| {
                    command.env(&binding.name, std::ffi::OsStr::from_bytes(bytes));
                });
            } else {
                command.env(format!("{}_FILE", binding.name), self.private.path(&binding.name));
            }
        }
        if self.streams.masks_out() {
            command.stdout(Stdio::piped());
        }
        if self.streams.masks_err() {
            command.stderr(Stdio::piped());
        }
        // An error of `spawn` repeats the program at most, never a variable.
        let spawned = command.spawn();
        drop(command);
        let mut child = spawned.map_err(|error| failed(&program.to_string_lossy(), error))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid =
            pid.ok_or_else(|| failed("it has no number", std::io::ErrorKind::Other.into()))?;
        if let Err(error) = environment.limit(pid) {
            let _ended: std::io::Result<()> = child.kill();
            let _reaped: std::io::Result<ExitStatus> = child.wait();
            return Err(failed("its limits cannot be set", error));
        }
        self.streams.pump(&mut child);
        self.started += 1;
        let (number, events) = (self.started, self.events.clone());
        std::thread::spawn(move || {
            // Not reaped here: as long as it is not, its number is nobody else's.
            let _: rustix::io::Result<_> =
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _over: Result<(), mpsc::SendError<Event>> = events.send(Event::Ended(number));
        });
        self.passing.set(Some(pid));
        Ok(Running { child, pid, number })
    }

    fn follow(&mut self, mut running: Running) -> Result<u8> {
        loop {
            match self.next(None) {
                Some(Event::Ended(number)) if number == running.number => {
                    return self.reap(running);
                }
                Some(Event::Rotated(index, current)) => {
                    let generation = current.generation;
                    if let Err(error) = self.take_over(index, current) {
                        (self.exec.tell)(&format!("a new secret could not be handed on: {error}"));
                        continue;
                    }
                    let binding = &self.exec.bindings[index];
                    // A variable of a process that runs cannot be changed.
                    let restarts =
                        binding.exposed || self.exec.environment.on_rotation == OnRotation::Restart;
                    if restarts {
                        running = match self.restart(running)? {
                            Ok(running) => running,
                            Err(code) => return Ok(code),
                        };
                    } else if let OnRotation::Signal(signal) = self.exec.environment.on_rotation {
                        let _ended: rustix::io::Result<()> =
                            kill_process(running.pid, by_kind(signal));
                    }
                    (self.exec.tell)(&format!("`{}` is of generation {generation}", binding.name));
                    self.exec.confirm(binding, generation);
                }
                Some(Event::Ended(_)) => {}
                None => return self.reap(running),
            }
        }
    }

    /// The next event; `None` when there is none in time.
    fn next(&mut self, within: Option<Duration>) -> Option<Event> {
        if within.is_none()
            && let Some(event) = self.later.pop_front()
        {
            return Some(event);
        }
        match within {
            None => self.inbox.recv().ok(),
            Some(within) => self.inbox.recv_timeout(within).ok(),
        }
    }

    /// Ends it and starts it anew, while no other of its group does so. The
    /// code, when it is not to be started any more.
    fn restart(&mut self, running: Running) -> Result<Result<Running, u8>> {
        let environment = &self.exec.environment;
        let _alone = match &environment.group {
            Some(group) => Some(private::alone(&self.exec.below, group)?),
            None => None,
        };
        let _gone: rustix::io::Result<()> = kill_process(running.pid, Signal::TERM);
        let number = running.number;
        let mut within = environment.stop_within;
        loop {
            match self.next(Some(within)) {
                Some(Event::Ended(ended)) if ended == number => break,
                // A new generation meanwhile: the time begins anew, which no
                // more than one rotation each period can do.
                Some(event) => self.later.push_back(event),
                None => {
                    let _gone: rustix::io::Result<()> = kill_process(running.pid, Signal::KILL);
                    within = Duration::from_mins(1);
                }
            }
        }
        let code = self.reap(running)?;
        if self.passing.asked_to_end() {
            return Ok(Err(code));
        }
        let running = self.start()?;
        if environment.group.is_some() {
            self.settle(running.number);
        }
        Ok(Ok(running))
    }

    /// Waits whether it stays up, before another one of its group may go down.
    fn settle(&mut self, number: u32) {
        let settles = self.exec.settles;
        if let Some(event) = self.next(Some(settles)) {
            debug_assert!(!matches!(event, Event::Ended(of) if of > number));
            self.later.push_back(event);
        }
    }

    fn reap(&self, mut running: Running) -> Result<u8> {
        self.passing.set(None);
        let status = running.child.wait().map_err(|error| {
            Error::new(ErrorKind::Io, "the end of the process is not known").caused_by(error)
        })?;
        self.streams.drain(LAST_WORDS);
        Ok(code(status))
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

fn by_kind(signal: crate::consumer::Signal) -> Signal {
    match signal {
        crate::consumer::Signal::Hup => Signal::HUP,
        crate::consumer::Signal::Usr1 => Signal::USR1,
        crate::consumer::Signal::Usr2 => Signal::USR2,
    }
}

fn asks_to_end(signal: Signal) -> bool {
    [Signal::TERM, Signal::INT, Signal::QUIT].contains(&signal)
}

/// Passes signals on to the process that [`Exec::run`] has started; each clone
/// passes to the same.
#[derive(Clone, Debug, Default)]
pub struct Passing(Arc<Mutex<Passed>>);

#[derive(Debug, Default)]
struct Passed {
    pid: Option<Pid>,
    asked_to_end: bool,
}

impl Passing {
    /// Passes a signal on by its number. One that asks for the end also keeps
    /// the process from being started again.
    pub fn pass(&self, signal: i32) {
        let mut passed = self.lock();
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        passed.asked_to_end |= asks_to_end(signal);
        if let Some(pid) = passed.pid {
            let _gone: rustix::io::Result<()> = kill_process(pid, signal);
        }
    }

    /// Takes note of a signal that the process has been sent already, as those of
    /// a terminal.
    pub fn note(&self, signal: i32) {
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        self.lock().asked_to_end |= asks_to_end(signal);
    }

    fn set(&self, pid: Option<Pid>) {
        self.lock().pid = pid;
    }

    fn asked_to_end(&self) -> bool {
        self.lock().asked_to_end
    }

    fn lock(&self) -> MutexGuard<'_, Passed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
