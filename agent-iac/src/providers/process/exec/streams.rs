//! What a process prints, with its secrets masked.

use std::{
    io::{self, Read, Write as _},
    process::Child,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc},
    time::Duration,
};

use super::{Masker, Out};
use crate::secret::Secret;

/// Where what is printed goes, and what is masked in it.
///
/// Each pipe of each process has a masker of its own, as what two of them print
/// at one time is two texts. A masker is never held while something is written:
/// who stops reading holds up the process that prints, as with any pipe, and
/// nothing of `exec`.
pub(super) struct Streams {
    out: Option<Arc<Mutex<Out>>>,
    err: Option<Arc<Mutex<Out>>>,
    hidden: Vec<Secret>,
    /// Of the pipes that are open.
    maskers: Vec<Weak<Mutex<Masker>>>,
}

impl Streams {
    pub(super) fn new(out: Option<Out>, err: Option<Out>) -> Self {
        let stream = |out| Arc::new(Mutex::new(out));
        let (out, err) = (out.map(stream), err.map(stream));
        Self { out, err, hidden: Vec::new(), maskers: Vec::new() }
    }

    pub(super) fn masks_out(&self) -> bool {
        self.out.is_some()
    }

    pub(super) fn masks_err(&self) -> bool {
        self.err.is_some()
    }

    pub(super) fn hide(&mut self, secret: &Secret) {
        self.maskers.retain(|masker| {
            masker.upgrade().is_some_and(|masker| {
                lock(&masker).hide(secret);
                true
            })
        });
        self.hidden.push(secret.duplicate());
    }

    /// Copies what a process prints, from now on.
    pub(super) fn pump(&mut self, child: &mut Child) -> io::Result<Pumps> {
        let (printing, done) = mpsc::channel();
        if let (Some(from), Some(to)) = (child.stdout.take(), self.out.clone()) {
            copy(from, to, self.masker(), printing.clone())?;
        }
        if let (Some(from), Some(to)) = (child.stderr.take(), self.err.clone()) {
            copy(from, to, self.masker(), printing)?;
        }
        Ok(Pumps(done))
    }

    fn masker(&mut self) -> Arc<Mutex<Masker>> {
        let mut masker = Masker::new();
        self.hidden.iter().for_each(|secret| masker.hide(secret));
        let masker = Arc::new(Mutex::new(masker));
        self.maskers.push(Arc::downgrade(&masker));
        masker
    }
}

/// The threads that copy what one process prints. They send nothing: the channel
/// is closed when the last one is done.
pub(super) struct Pumps(mpsc::Receiver<()>);

impl Pumps {
    /// Waits until the streams of the process are at their end.
    pub(super) fn drain(&self, within: Duration) {
        let _closed_or_late: Result<(), mpsc::RecvTimeoutError> = self.0.recv_timeout(within);
    }
}

fn copy(
    mut from: impl Read + Send + 'static,
    to: Arc<Mutex<Out>>,
    masker: Arc<Mutex<Masker>>,
    printing: mpsc::Sender<()>,
) -> io::Result<()> {
    let pump = move || {
        let (mut part, mut masked) = (vec![0; 16 << 10], Vec::new());
        loop {
            match from.read(&mut part) {
                Ok(0) => break,
                Ok(read) => lock(&masker).push(&part[..read], &mut masked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            give(&to, &mut masked);
        }
        lock(&masker).finish(&mut masked);
        give(&to, &mut masked);
        drop(printing);
    };
    std::thread::Builder::new().name("exec prints".to_owned()).spawn(pump).map(drop)
}

/// What cannot be written is dropped, as if nobody listened.
fn give(to: &Mutex<Out>, masked: &mut Vec<u8>) {
    let mut out = lock(to);
    let _nobody_listens: io::Result<()> = out.write_all(masked).and_then(|()| out.flush());
    masked.clear();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
