//! What the command line is told of the process that it runs in.

use std::{
    collections::BTreeMap,
    io::{BufRead, IsTerminal as _, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::apply::Stop;

/// Where text goes and comes from.
pub struct Streams {
    /// Results.
    pub out: Box<dyn Write + Send>,
    /// Everything else.
    pub err: Box<dyn Write + Send>,
    /// Answers to what is asked.
    pub input: Box<dyn BufRead + Send>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streams")
    }
}

impl Streams {
    /// The streams of this process.
    pub fn of_process() -> Self {
        Self {
            // Whether there is colour is decided by `Env`; these only translate
            // it where a console needs that.
            out: Box::new(anstream::AutoStream::always(std::io::stdout())),
            err: Box::new(anstream::AutoStream::always(std::io::stderr())),
            input: Box::new(std::io::BufReader::new(std::io::stdin())),
        }
    }
}

/// The surroundings of one call: nothing else of the process is looked at.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// Whether standard output is a terminal.
    pub out_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub err_is_terminal: bool,
    /// Whether standard input is a terminal.
    pub input_is_terminal: bool,
    /// The directory that files are named from, and whose Git repository is
    /// looked at; `None` where there is none.
    pub directory: Option<PathBuf>,
    /// Asks a run to end early.
    pub stop: Stop,
    /// Whether a run is under way, which the command line says here: until
    /// then, and after it, there is nothing that has to end in order.
    pub underway: Arc<AtomicBool>,
    /// Whether signals are for a process that was started, and not for us.
    pub passes_on: Arc<AtomicBool>,
}

impl Env {
    /// The surroundings of this process.
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            out_is_terminal: std::io::stdout().is_terminal(),
            err_is_terminal: std::io::stderr().is_terminal(),
            input_is_terminal: std::io::stdin().is_terminal(),
            directory: std::env::current_dir().ok(),
            stop: Stop::default(),
            underway: Arc::default(),
            passes_on: Arc::default(),
        }
    }

    /// A variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Ctrl-C: asks a run that is under way to end, and says whether the process
    /// has to be ended instead, because there is none or it was asked before.
    pub(super) fn interrupt(&self) -> bool {
        let again = self.stop.is_requested();
        self.stop.request();
        again || !self.underway.load(Ordering::SeqCst)
    }

    /// A path as it was given, from the directory.
    pub(super) fn path(&self, path: &std::path::Path) -> PathBuf {
        self.directory.as_ref().map_or_else(|| path.to_owned(), |directory| directory.join(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_interrupt_ends_a_run_in_order_and_anything_else_at_once() {
        let idle = Env::default();
        assert!(idle.interrupt() && idle.stop.is_requested());

        let busy = Env::default();
        busy.underway.store(true, Ordering::SeqCst);
        assert!(!busy.interrupt() && busy.stop.is_requested());
        assert!(busy.interrupt(), "the second one does not wait");
    }
}
