//! What a process prints, with its secrets masked.

use std::{
    io::{Read, Write},
    process::Child,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use super::{Masker, Out};
use crate::secret::Secret;

/// One stream: where it goes, and what is masked in it.
struct Stream {
    masker: Masker,
    out: Out,
}

pub(super) struct Streams {
    out: Option<Arc<Mutex<Stream>>>,
    err: Option<Arc<Mutex<Stream>>>,
    /// Where a thread that copies says that it is done.
    done: (mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>),
}

impl Streams {
    pub(super) fn new(out: Option<Out>, err: Option<Out>) -> Self {
        let stream = |out| Arc::new(Mutex::new(Stream { masker: Masker::new(), out }));
        let (sender, receiver) = mpsc::channel();
        Self { out: out.map(stream), err: err.map(stream), done: (sender, Mutex::new(receiver)) }
    }

    pub(super) fn masks_out(&self) -> bool {
        self.out.is_some()
    }

    pub(super) fn masks_err(&self) -> bool {
        self.err.is_some()
    }

    pub(super) fn hide(&self, secret: &Secret) {
        for stream in self.out.iter().chain(&self.err) {
            lock(stream).masker.hide(secret);
        }
    }

    /// Copies what a process prints, from now on.
    pub(super) fn pump(&self, child: &mut Child) {
        if let (Some(from), Some(to)) = (child.stdout.take(), &self.out) {
            copy(from, Arc::clone(to), self.done.0.clone());
        }
        if let (Some(from), Some(to)) = (child.stderr.take(), &self.err) {
            copy(from, Arc::clone(to), self.done.0.clone());
        }
    }

    /// Waits until the streams of a process that has ended are at their end.
    pub(super) fn drain(&self, within: Duration) {
        let done = lock(&self.done.1);
        let _first_and_second = done.recv_timeout(within).and_then(|()| done.recv_timeout(within));
    }
}

fn copy(mut from: impl Read + Send + 'static, to: Arc<Mutex<Stream>>, done: mpsc::Sender<()>) {
    std::thread::spawn(move || {
        let (mut part, mut masked) = (vec![0; 16 << 10], Vec::new());
        // What cannot be written is dropped, as if nobody listened; the process
        // must not stand still for it.
        loop {
            match from.read(&mut part) {
                Ok(0) => break,
                Ok(read) => {
                    let mut stream = lock(&to);
                    stream.masker.push(&part[..read], &mut masked);
                    give(&mut stream, &mut masked);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let mut stream = lock(&to);
        stream.masker.finish(&mut masked);
        give(&mut stream, &mut masked);
        drop(stream);
        let _over: Result<(), mpsc::SendError<()>> = done.send(());
    });
}

fn give(stream: &mut Stream, masked: &mut Vec<u8>) {
    let _nobody_listens: std::io::Result<()> =
        stream.out.write_all(masked).and_then(|()| stream.out.flush());
    masked.clear();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
