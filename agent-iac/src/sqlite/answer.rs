//! The answer to a question that was put to a thread.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

struct Shared<T> {
    value: Option<T>,
    over: bool,
    waker: Option<Waker>,
}

/// The side that answers, once; dropping it, by a panic too, ends the wait.
pub(crate) struct Answer<T>(Arc<Mutex<Shared<T>>>);

/// The side that waits: a future of the answer, or of nothing when the other
/// side ended without one.
pub(crate) struct Waiting<T>(Arc<Mutex<Shared<T>>>);

/// Both sides of one answer.
pub(crate) fn answer<T>() -> (Answer<T>, Waiting<T>) {
    let shared = Arc::new(Mutex::new(Shared { value: None, over: false, waker: None }));
    (Answer(Arc::clone(&shared)), Waiting(shared))
}

fn lock<T>(shared: &Mutex<Shared<T>>) -> MutexGuard<'_, Shared<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Answer<T> {
    /// Answers.
    pub(crate) fn give(self, value: T) {
        lock(&self.0).value = Some(value);
        // Dropping wakes whoever waits.
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        let waker = {
            let mut shared = lock(&self.0);
            shared.over = true;
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Waiting<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut shared = lock(&self.0);
        if shared.over {
            return Poll::Ready(shared.value.take());
        }
        shared.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
