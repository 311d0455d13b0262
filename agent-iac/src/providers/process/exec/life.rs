//! The life of a process, from its first secrets to its exit code.
//!
//! Owns the one loop in which everything happens, and [`Phase`], which says what
//! is waited for. An event only wakes it: whether the process has ended is asked
//! of the system, what was asked for stands in [`Passing`](super::Passing), and a
//! generation that could not be handed on stays wanted. So nothing is lost
//! because something else was waited for.

use std::{
    collections::BTreeMap,
    fs::File,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::Signal;

use super::{
    Exec, OnRotation, Passing,
    follower::{Once, Uses},
    private::Private,
    running::Running,
    streams::Streams,
};
use crate::{
    clock::Deadline,
    consumer::Current,
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

/// How often a group that another one holds is asked for.
const GROUP: Duration = Duration::from_millis(200);

/// How often it is looked whether what a process has left behind is gone.
const OTHERS: Duration = Duration::from_millis(50);

/// How long a process that was killed may take to be gone.
const KILLED: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) enum Event {
    /// Something is different: the process has ended, or was asked to.
    Woken,
    /// A binding has a generation that is newer than the last.
    Read(usize, Current),
    /// There is no first generation.
    Failed(Error),
    /// Everything is confirmed that could be.
    Done,
}

/// What a process is doing, as far as its secrets go.
///
/// ```text
///             settled                 new secret that takes a restart
/// Settling ────────────▶ Steady ────────────▶ Queueing
///    ▲  ▲    (confirms)     │ new secret,        │ nobody else of the
///    │  └───────────────────┘ signalled          ▼ group is at it
///    └───────────────────────────────────── Ending (restarts)
///            ended, and started anew
/// ```
///
/// From each of them it goes to `Ending`, without a restart, when the process
/// has ended by itself.
enum Phase {
    /// It was started or signalled just now. Only what has been up for a while is
    /// confirmed, and only then the next of its group may go down.
    Settling { until: Deadline, alone: Option<File> },
    /// It uses what it was handed.
    Steady,
    /// It is to be started anew, as soon as no other of its group is.
    Queueing,
    /// It was asked to end, or has ended; what it has left behind has to go too.
    Ending { by: Deadline, restarts: bool, alone: Option<File> },
}

/// What was read, handed on, used and confirmed of one binding.
#[derive(Default)]
struct Held {
    wanted: Option<Current>,
    /// The generation in its file, or in the variable of the next start.
    handed: u32,
    /// The one that the process was started with, or told of.
    used: u32,
    /// The last one that was given to be confirmed.
    said: u32,
    refused: Once,
}

/// Whose turn it is in a group.
enum Turn {
    /// Ours, for as long as this is held; without a group it always is.
    Ours(Option<File>),
    Anothers,
}

/// What follows of new secrets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Handed {
    Nothing,
    InPlace,
    ForRestart,
}

pub(super) struct Life<'a> {
    pub(super) exec: &'a Exec,
    pub(super) private: Private,
    pub(super) streams: Streams,
    pub(super) passing: &'a Passing,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) inbox: mpsc::Receiver<Event>,
    pub(super) orders: Option<mpsc::Sender<Uses>>,
    held: Vec<Held>,
    exposed: BTreeMap<usize, Secret>,
    failed: Option<Error>,
    group_refused: Once,
}

impl<'a> Life<'a> {
    pub(super) fn new(
        exec: &'a Exec,
        private: Private,
        streams: Streams,
        passing: &'a Passing,
        (events, inbox): (mpsc::Sender<Event>, mpsc::Receiver<Event>),
        orders: mpsc::Sender<Uses>,
    ) -> Self {
        Self {
            exec,
            private,
            streams,
            passing,
            events,
            inbox,
            orders: Some(orders),
            held: exec.bindings.iter().map(|_| Held::default()).collect(),
            exposed: BTreeMap::new(),
            failed: None,
            group_refused: Once::default(),
        }
    }

    /// Lives it, and answers the exit code.
    pub(super) fn live(mut self) -> Result<u8> {
        while self.held.iter().any(|held| held.wanted.is_none()) {
            if let Some(signal) = self.passing.asked_to_end() {
                return Ok(ended_by(signal));
            }
            self.wait(Duration::MAX);
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
        }
        for index in 0..self.held.len() {
            let current = self.held[index].wanted.take().expect("each one was read just now");
            self.put(index, current).map_err(|(_, error)| error)?;
        }
        if let Some(signal) = self.passing.asked_to_end() {
            return Ok(ended_by(signal));
        }
        let mut running = self.start()?;
        let mut phase = self.settling(None);
        loop {
            if !matches!(phase, Phase::Ending { .. }) && running.has_ended() {
                running.signal(Signal::TERM);
                let by = Deadline::after(self.exec.environment.stop_within);
                phase = Phase::Ending { by, restarts: false, alone: None };
            }
            if !matches!(phase, Phase::Ending { restarts: false, .. }) {
                phase = self.hand_on(phase, &running);
            }
            phase = match phase {
                Phase::Settling { until, .. } if until.has_passed() => {
                    self.confirm();
                    Phase::Steady
                }
                Phase::Queueing => match self.alone() {
                    // The next round sees that it has ended by itself.
                    Turn::Ours(_) if running.has_ended() => Phase::Queueing,
                    Turn::Ours(alone) => {
                        running.signal(Signal::TERM);
                        let by = Deadline::after(self.exec.environment.stop_within);
                        Phase::Ending { by, restarts: true, alone }
                    }
                    Turn::Anothers => Phase::Queueing,
                },
                Phase::Ending { restarts, alone, .. }
                    if running.has_ended() && !running.leaves_others() =>
                {
                    let code = running.reap()?;
                    if !restarts || self.passing.asked_to_end().is_some() {
                        self.end(!restarts && code == 0);
                        return Ok(code);
                    }
                    running = self.start()?;
                    self.settling(alone)
                }
                Phase::Ending { by, restarts, alone } if by.has_passed() => {
                    running.signal(Signal::KILL);
                    Phase::Ending { by: Deadline::after(KILLED), restarts, alone }
                }
                phase => phase,
            };
            self.wait(match &phase {
                Phase::Settling { until, .. } => until.left(),
                Phase::Steady => Duration::MAX,
                Phase::Queueing => GROUP,
                Phase::Ending { .. } if running.has_ended() => OTHERS,
                Phase::Ending { by, .. } => by.left(),
            });
        }
    }

    fn settling(&self, alone: Option<File>) -> Phase {
        Phase::Settling { until: Deadline::after(self.exec.settles), alone }
    }

    /// Waits until something is different, and takes in what that is.
    fn wait(&mut self, most: Duration) {
        // What could not be handed on is tried again as often as places are
        // looked at.
        let wanted = self.held.iter().any(|held| held.wanted.is_some());
        let most = if wanted { most.min(self.exec.every) } else { most };
        let mut event = self.inbox.recv_timeout(most).ok();
        while let Some(one) = event {
            match one {
                Event::Woken | Event::Done => {}
                Event::Read(index, current) => self.held[index].wanted = Some(current),
                Event::Failed(error) => self.failed = Some(error),
            }
            event = self.inbox.try_recv().ok();
        }
    }

    /// Hands on what is wanted. The new secret is there before anybody is told of
    /// it.
    fn hand_on(&mut self, phase: Phase, running: &Running) -> Phase {
        let on_rotation = self.exec.environment.on_rotation;
        let mut handed = Handed::Nothing;
        for (index, binding) in self.exec.bindings.iter().enumerate() {
            let Some(current) = self.held[index].wanted.take() else { continue };
            match self.put(index, current) {
                // A variable of a process that runs cannot be changed.
                Ok(()) if binding.exposed || on_rotation == OnRotation::Restart => {
                    handed = handed.max(Handed::ForRestart);
                }
                Ok(()) => handed = handed.max(Handed::InPlace),
                Err((current, error)) => {
                    let held = &mut self.held[index];
                    held.wanted = Some(current);
                    if held.refused.begins() {
                        (self.exec.tell)(&format!(
                            "`{}`: a new secret cannot be handed on yet: {error}",
                            binding.name
                        ));
                    }
                }
            }
        }
        match (handed, phase) {
            // One that is to be started anew is started with all of them.
            (Handed::Nothing, phase) | (_, phase @ (Phase::Queueing | Phase::Ending { .. })) => {
                phase
            }
            (Handed::ForRestart, _) => Phase::Queueing,
            (Handed::InPlace, phase) => {
                if let OnRotation::Signal(signal) = on_rotation {
                    running.tell(by_kind(signal));
                }
                self.takes_over();
                let alone = match phase {
                    Phase::Settling { alone, .. } => alone,
                    _ => None,
                };
                self.settling(alone)
            }
        }
    }

    fn put(&mut self, index: usize, current: Current) -> Result<(), (Current, Error)> {
        let binding = &self.exec.bindings[index];
        self.streams.hide(&current.secret);
        if binding.exposed {
            self.exposed.insert(index, current.secret);
        } else if let Err(error) = self.private.put(&binding.name, &current.secret) {
            return Err((current, error));
        }
        self.held[index].handed = current.generation;
        self.held[index].refused.is_over();
        Ok(())
    }

    /// The process has what was handed on.
    fn takes_over(&mut self) {
        for (held, binding) in self.held.iter_mut().zip(&self.exec.bindings) {
            if held.used != 0 && held.used != held.handed {
                (self.exec.tell)(&format!("`{}` is of generation {}", binding.name, held.handed));
            }
            held.used = held.handed;
        }
    }

    /// Gives what the process uses to be confirmed.
    fn confirm(&mut self) {
        for (binding, held) in self.held.iter_mut().enumerate() {
            let generation = held.used;
            if held.said < generation
                && let Some(orders) = &self.orders
            {
                let _over: Result<(), mpsc::SendError<Uses>> =
                    orders.send(Uses { binding, generation });
                held.said = generation;
            }
        }
    }

    /// Whether it may be restarted now. That a group cannot be held is told,
    /// and tried again: the process goes on as it is.
    fn alone(&mut self) -> Turn {
        let Some(group) = &self.exec.environment.group else { return Turn::Ours(None) };
        match self.private.alone(group) {
            Ok(alone) => {
                self.group_refused.is_over();
                alone.map_or(Turn::Anothers, |alone| Turn::Ours(Some(alone)))
            }
            Err(error) => {
                if self.group_refused.begins() {
                    (self.exec.tell)(&format!("cannot restart yet: {error}"));
                }
                Turn::Anothers
            }
        }
    }

    fn start(&mut self) -> Result<Running> {
        let environment = &self.exec.environment;
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
        let leads = !self.exec.on_terminal;
        let wake = self.events.clone();
        let running =
            Running::start(command, environment, leads, &mut self.streams, self.passing, wake)?;
        self.takes_over();
        Ok(running)
    }

    /// Lets what is to be confirmed be confirmed, for as long as that may take. A
    /// process that came to a good end by itself has used what it had.
    fn end(&mut self, well: bool) {
        if well && self.passing.asked_to_end().is_none() {
            self.confirm();
        }
        self.orders = None;
        let by = Deadline::after(LAST_CONFIRMATION);
        while !by.has_passed() {
            match self.inbox.recv_timeout(by.left()) {
                Ok(Event::Done) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// How long the store of confirmations is waited for when all is over.
const LAST_CONFIRMATION: Duration = Duration::from_secs(2);

fn ended_by(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

fn by_kind(signal: crate::consumer::Signal) -> Signal {
    match signal {
        crate::consumer::Signal::Hup => Signal::HUP,
        crate::consumer::Signal::Usr1 => Signal::USR1,
        crate::consumer::Signal::Usr2 => Signal::USR2,
    }
}
