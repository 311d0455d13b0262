//! Signals that are passed on to the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use rustix::process::Signal;

use super::{life::Event, running::Target};

/// Passes signals on to the process that [`Exec::run`] has started; each clone
/// passes to the same. It is for one run.
///
/// [`Exec::run`]: super::Exec::run
#[derive(Clone, Debug, Default)]
pub struct Passing(Arc<Mutex<Passed>>);

#[derive(Debug, Default)]
struct Passed {
    process: Option<Target>,
    asked_to_end: Option<Signal>,
    wake: Option<mpsc::Sender<Event>>,
}

impl Passing {
    /// Passes a signal on by its number. One that asks for the end also keeps
    /// the process from being started, or started again; while none runs, it
    /// reaches the one that is just being started.
    pub fn pass(&self, signal: i32) {
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        let mut passed = self.lock();
        passed.take_note(signal);
        if let Some(process) = passed.process {
            process.signal(signal);
        }
    }

    /// Takes note of a signal that the process has been sent already, as those of
    /// a terminal.
    pub fn note(&self, signal: i32) {
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        self.lock().take_note(signal);
    }

    /// Names the process that runs, or none before it is reaped: its number may
    /// be another's then.
    pub(super) fn set(&self, process: Option<Target>) {
        let mut passed = self.lock();
        passed.process = process;
        if let (Some(process), Some(signal)) = (process, passed.asked_to_end) {
            process.signal(signal);
        }
    }

    pub(super) fn wakes(&self, wake: Option<mpsc::Sender<Event>>) {
        self.lock().wake = wake;
    }

    pub(super) fn asked_to_end(&self) -> Option<Signal> {
        self.lock().asked_to_end
    }

    fn lock(&self) -> MutexGuard<'_, Passed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passed {
    fn take_note(&mut self, signal: Signal) {
        if ![Signal::TERM, Signal::INT, Signal::QUIT].contains(&signal) {
            return;
        }
        self.asked_to_end.get_or_insert(signal);
        if let Some(wake) = &self.wake {
            let _over: Result<(), mpsc::SendError<Event>> = wake.send(Event::Woken);
        }
    }
}
