//! Threads that do the blocking work.
//!
//! Owns a small pool and the answer that a future waits for. It knows nothing
//! of files: a job is a closure. The engine has no async runtime, and a sync to
//! disk blocks for milliseconds, in which other deliveries can go on.

use std::{
    fmt,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    task::{Context, Poll, Waker},
};

use crate::error::{Error, ErrorKind, Result};

/// How many syncs to disk overlap. A journal writes those that wait together
/// in one go: on ext4, four make a promotion twice as fast as one does, and
/// sixteen are hardly faster than eight.
pub(super) const WRITES: usize = 8;

/// How many reads overlap. They have threads of their own: a write may have to
/// wait for somebody who stands still, which no read ever does.
pub(super) const READS: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// The pool. Its threads end when the last handle is dropped.
pub(super) struct Workers {
    jobs: mpsc::Sender<Job>,
}

impl Workers {
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name("age vault".to_owned()).spawn(move || {
                // The guard is gone before the job runs: only taking is serial.
                while let Ok(job) = { lock(&queue).recv() } {
                    // A job that panics drops its answer, which tells whoever
                    // waits; the thread goes on to serve the others.
                    drop(catch_unwind(AssertUnwindSafe(job)));
                }
            })?;
        }
        Ok(Self { jobs })
    }

    /// Runs `job` on a thread of the pool, also when the future is dropped.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        let state = Arc::new(Mutex::new(State { result: None, waker: None, over: false }));
        let promise = Promise(Arc::clone(&state));
        let job = move || {
            let result = job();
            lock(&promise.0).result = Some(result);
            drop(promise);
        };
        // Were no thread left, the job and its promise would come back in the
        // error and be dropped, and the answer would say so.
        drop(self.jobs.send(Box::new(job)));
        Answer(state)
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workers")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct State<T> {
    result: Option<Result<T>>,
    waker: Option<Waker>,
    over: bool,
}

/// Tells the waiting side when it is dropped, however that comes about.
struct Promise<T>(Arc<Mutex<State<T>>>);

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = lock(&self.0);
            state.over = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What a job will have answered.
pub(super) struct Answer<T>(Arc<Mutex<State<T>>>);

impl<T> Future for Answer<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0);
        if !state.over {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(state.result.take().unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Bug, "a thread of the age vault has stopped in its work")
                .help("report it with the panic message; repeating the call is safe"))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::block_on;

    #[test]
    fn a_job_that_panics_is_an_error_and_the_pool_goes_on() {
        let workers = Workers::start(2).unwrap();
        for _ in 0..4 {
            let answer: Answer<()> = workers.run(|| panic!("on purpose"));
            assert_eq!(block_on(answer).unwrap_err().kind(), ErrorKind::Bug);
        }
        assert_eq!(block_on(workers.run(|| Ok(7))).unwrap(), 7);
    }

    #[test]
    fn a_job_runs_although_nobody_waits_for_it() {
        let workers = Workers::start(2).unwrap();
        let (done, seen) = mpsc::channel();
        drop(workers.run(move || {
            done.send(()).expect("the test waits");
            Ok(())
        }));
        seen.recv().unwrap();
    }
}
