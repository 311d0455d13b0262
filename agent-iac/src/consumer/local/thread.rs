//! Something that blocks, on a thread of its own, and the future of its answer.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Runs `job`, also when the future is dropped. There is no answer when there
/// was no thread, or the job panicked.
pub(super) fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
    let shared = Arc::new(Mutex::new(Shared { answer: None, over: false, waker: None }));
    let promise = Promise(Arc::clone(&shared));
    // Without a thread, the job is dropped with its promise, which says so.
    drop(std::thread::Builder::new().name("consumer".to_owned()).spawn(move || {
        let answer = job();
        lock(&promise.0).answer = Some(answer);
        drop(promise);
    }));
    Answer(shared)
}

struct Shared<T> {
    answer: Option<T>,
    over: bool,
    waker: Option<Waker>,
}

struct Promise<T>(Arc<Mutex<Shared<T>>>);

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.over = true;
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

pub(super) struct Answer<T>(Arc<Mutex<Shared<T>>>);

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut shared = lock(&self.0);
        if shared.over {
            return Poll::Ready(shared.answer.take());
        }
        shared.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
