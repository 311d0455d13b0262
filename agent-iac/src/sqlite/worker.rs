//! A thread that holds a connection, and the channel to it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use super::answer;
use crate::error::{Error, ErrorKind, Result};

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Some threads, each with a state of its own (a connection), that carry out
/// jobs in the order in which they were given.
///
/// The threads end when the last worker for them is dropped and the jobs that
/// were given by then are done.
pub(crate) struct Worker<S> {
    jobs: mpsc::Sender<Job<S>>,
}

impl<S: 'static> Worker<S> {
    /// Starts one thread for each of `states`.
    ///
    /// # Errors
    ///
    /// When the operating system gives no more threads.
    pub(crate) fn start(name: &str, states: impl IntoIterator<Item = S>) -> Result<Self>
    where
        S: Send,
    {
        let (jobs, received) = mpsc::channel::<Job<S>>();
        let received = Arc::new(Mutex::new(received));
        for mut state in states {
            let received = Arc::clone(&received);
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    // The lock is let go before the job begins, so that the
                    // next job finds the next thread.
                    let next = || received.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    while let Ok(job) = next() {
                        job(&mut state);
                    }
                })
                .map_err(|error| {
                    Error::new(ErrorKind::Io, "no thread could be started for SQLite")
                        .caused_by(error)
                })?;
        }
        Ok(Self { jobs })
    }

    /// Carries out `job` on one of the threads. The job is carried out to its
    /// end even when the future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T> {
        let (answer, waiting) = answer();
        let job: Job<S> = Box::new(move |state| answer.give(job(state)));
        // A send fails only when the threads are gone, and then the job was
        // dropped with its sender, so that the wait below ends at once.
        let _: std::result::Result<(), mpsc::SendError<Job<S>>> = self.jobs.send(job);
        waiting.await.ok_or_else(|| {
            Error::new(ErrorKind::Bug, "the thread that holds an SQLite file ended early")
        })
    }
}

impl<S: 'static> Worker<S> {
    /// Gives a job whose end nobody waits for.
    pub(crate) fn post(&self, job: impl FnOnce(&mut S) + Send + 'static) {
        // Without threads there is nobody to tell.
        let _: std::result::Result<(), mpsc::SendError<Job<S>>> = self.jobs.send(Box::new(job));
    }
}

impl<S> Clone for Worker<S> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone() }
    }
}

impl<S> fmt::Debug for Worker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worker")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future as _,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::clock::block_on;

    #[test]
    fn jobs_are_done_in_order_even_when_nobody_waits() {
        let worker = Worker::start("count", [Vec::new()]).unwrap();
        for number in 0..100 {
            // Polled once and dropped: it stays under way.
            let job = std::pin::pin!(worker.run(move |done: &mut Vec<u32>| done.push(number)));
            let _: Poll<Result<()>> = job.poll(&mut Context::from_waker(Waker::noop()));
        }
        let done = block_on(worker.run(|done: &mut Vec<u32>| done.clone())).unwrap();
        assert_eq!(done, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_thread_that_ended_is_an_error_and_no_hang() {
        let worker = Worker::start("panics", [()]).unwrap();
        let panicked = block_on(worker.run(|(): &mut ()| panic!("the test ends the thread")));
        let after = block_on(worker.run(|(): &mut ()| ()));
        for answer in [panicked, after] {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Bug);
        }
    }
}
