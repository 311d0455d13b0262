//! The thread that all work on servers runs on.
//!
//! Owns a tokio runtime, so that callers need none. It knows no server.

use std::future::Future;

use tokio::{
    runtime::{Builder, Handle},
    sync::mpsc,
};

use super::error::ended;
use crate::error::{Error, ErrorKind, Result};

/// A thread with a runtime of its own, for any number of servers.
///
/// It ends when the last handle is dropped and all work is done.
#[derive(Clone, Debug)]
pub struct Thread {
    handle: Handle,
    alive: mpsc::Sender<()>,
}

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When the operating system gives no more threads or files.
    pub fn start() -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Io, "no thread could be started for PostgreSQL").caused_by(error)
        };
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (alive, mut held) = mpsc::channel::<()>(1);
        std::thread::Builder::new()
            .name("postgres".into())
            .spawn(move || {
                // Nothing is ever sent: it ends when nobody could send any more.
                runtime.block_on(async { while held.recv().await.is_some() {} });
            })
            .map_err(failed)?;
        Ok(Self { handle, alive })
    }

    /// Carries out work to its end, even when the future is dropped once it
    /// has begun; it may be awaited on any executor.
    ///
    /// # Errors
    ///
    /// Those of the work, and when it panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let alive = self.alive.clone();
        let work = async move {
            let answer = work.await;
            drop(alive);
            answer
        };
        ended(self.handle.spawn(work).await)
    }

    /// Begins work that nobody waits for; the thread does not end before it.
    pub(super) fn post(&self, work: impl Future<Output = ()> + Send + 'static) {
        let alive = self.alive.clone();
        self.handle.spawn(async move {
            work.await;
            drop(alive);
        });
    }

    /// Begins work that is dropped where it stands when the thread ends.
    pub(super) fn leave(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }
}
