//! Time and chance, as traits.
//!
//! Owns the only ways in which the engine learns the time, waits, or draws
//! random bytes. Nothing else in the crate reads a clock, so a simulation
//! decides both.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;

/// Tells the time and waits.
///
/// # Contract
///
/// * `sleep` returns not before `duration` has passed by `now`'s own measure.
/// * A dropped `sleep` leaves nothing behind.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// Gives random bytes.
///
/// # Contract
///
/// * Bytes that make secrets come from here, so an implementation for real use
///   must be cryptographically secure.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's clock. It needs no async runtime: each wait is a
/// short-lived thread of its own, and the engine waits only between retries.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        ThreadSleep::start(duration).await;
    }
}

struct ThreadSleep {
    shared: Arc<Mutex<Wait>>,
    // Dropping the sender ends the thread's wait at once.
    _cancel: mpsc::Sender<()>,
}

#[derive(Default)]
struct Wait {
    over: bool,
    waker: Option<Waker>,
}

impl ThreadSleep {
    fn start(duration: Duration) -> Self {
        let shared = Arc::new(Mutex::new(Wait::default()));
        let (cancel, cancelled) = mpsc::channel();
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            // A time-out is the expected end; a hang-up means nobody waits.
            let _: Result<(), mpsc::RecvTimeoutError> = cancelled.recv_timeout(duration);
            let mut wait = for_thread.lock().unwrap_or_else(PoisonError::into_inner);
            wait.over = true;
            if let Some(waker) = wait.waker.take() {
                waker.wake();
            }
        });
        Self { shared, _cancel: cancel }
    }
}

impl Future for ThreadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut wait = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if wait.over {
            return Poll::Ready(());
        }
        wait.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// When something that blocks a thread has to be over, by a clock that nobody
/// sets. It is for what takes real time, as processes, locks of files and
/// connections, which no simulation plays.
#[cfg(any(feature = "age", all(feature = "consumers", unix)))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<std::time::Instant>);

#[cfg(any(feature = "age", all(feature = "consumers", unix)))]
impl Deadline {
    /// The longest pause between two attempts.
    const LONGEST_PAUSE: Duration = Duration::from_millis(50);

    /// This long from now; never, where that is beyond what a clock can say.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
    pub(crate) fn after(duration: Duration) -> Self {
        Self(std::time::Instant::now().checked_add(duration))
    }

    /// How long it is until then; nothing, when it has passed.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
    pub(crate) fn left(self) -> Duration {
        let left = |at: std::time::Instant| at.duration_since(std::time::Instant::now());
        self.0.map_or(Duration::MAX, left)
    }

    pub(crate) fn has_passed(self) -> bool {
        self.left().is_zero()
    }

    /// Tries until there is an answer, with growing pauses in which the thread
    /// sleeps; `None` when the time is over before.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that waits")]
    pub(crate) fn retry<T>(self, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(answer) = attempt() {
                return Some(answer);
            }
            if self.has_passed() {
                return None;
            }
            std::thread::sleep(pause.min(self.left()));
            pause = (pause * 2).min(Self::LONGEST_PAUSE);
        }
    }
}

/// The operating system's random source.
#[cfg(feature = "_os-entropy")]
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

#[cfg(feature = "_os-entropy")]
impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Going on without randomness would make guessable secrets.
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// Runs a future to its end on this thread.
///
/// The engine belongs to no async runtime, and this is all it needs where a
/// program has none.
///
/// ```
/// assert_eq!(agent_iac::clock::block_on(async { 1 + 1 }), 2);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            // A spurious wake-up only polls once more.
            Poll::Pending => std::thread::park(),
        }
    }
}

impl fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl fmt::Debug for dyn Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}
