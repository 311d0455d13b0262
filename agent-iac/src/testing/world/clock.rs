//! Virtual time, and the executor that moves it.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;

/// When every world begins: 2027-01-01T00:00:00Z. A constant, so that a test
/// never depends on the day on which it runs.
pub const START: Timestamp = Timestamp::constant(1_798_761_600, 0);

/// How often a future is polled before it counts as stuck. A run of a few
/// hundred steps takes some thousands.
const MOST_POLLS: u64 = 5_000_000;

/// What became of a future that a world ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It came to its end.
    Finished(T),
    /// The world crashed; the future was dropped where it stood.
    Crashed,
    /// It waits for something that never comes, or never ceases to be busy.
    Stuck,
}

impl<T> Outcome<T> {
    /// What it came to.
    ///
    /// # Panics
    ///
    /// When it did not come to its end.
    #[track_caller]
    pub fn finished(self) -> T {
        match self {
            Self::Finished(value) => value,
            Self::Crashed => panic!("the world crashed before the future ended"),
            Self::Stuck => panic!("the future is stuck: nothing can wake it any more"),
        }
    }

    /// Whether the world crashed under it.
    pub fn is_crashed(&self) -> bool {
        matches!(self, Self::Crashed)
    }
}

#[derive(Debug, Default)]
pub(super) struct Time {
    /// What passed since [`START`], whatever happened to the clock's hands.
    elapsed: Duration,
    /// By how much the hands were turned.
    turned: SignedDuration,
    next: u64,
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

impl Time {
    /// Moves to the next sleeper and wakes all of that instant; false when
    /// nobody sleeps.
    fn advance(&mut self) -> bool {
        let Some((&(until, _), _)) = self.sleepers.first_key_value() else { return false };
        self.pass_to(until);
        true
    }

    fn pass_to(&mut self, until: Duration) {
        self.elapsed = self.elapsed.max(until);
        while let Some(entry) = self.sleepers.first_entry() {
            if entry.key().0 > self.elapsed {
                break;
            }
            entry.remove().wake();
        }
    }
}

/// The world's clock. Its time moves only when nothing else can.
#[derive(Clone, Debug, Default)]
pub struct SimClock(Arc<Mutex<Time>>);

impl SimClock {
    fn time(&self) -> MutexGuard<'_, Time> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves to the next sleeper; false when nobody sleeps.
    pub(in crate::testing) fn step(&self) -> bool {
        self.time().advance()
    }

    pub(in crate::testing) fn elapsed(&self) -> Duration {
        self.time().elapsed
    }

    pub(super) fn advance_by(&self, duration: Duration) {
        let mut time = self.time();
        let until = time.elapsed.saturating_add(duration);
        time.pass_to(until);
    }

    pub(super) fn turn(&self, by: SignedDuration) {
        let mut time = self.time();
        time.turned = time.turned.saturating_add(by);
    }

    /// Waits without the boxing of the trait's method.
    pub(in crate::testing) fn wait(
        &self,
        duration: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let until = self.elapsed().saturating_add(duration);
        Sleep { clock: self.clone(), until, slot: None }
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let time = self.time();
        START
            .saturating_add(time.elapsed)
            .and_then(|passed| passed.saturating_add(time.turned))
            .unwrap_or(Timestamp::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        self.wait(duration).await;
    }
}

struct Sleep {
    clock: SimClock,
    until: Duration,
    slot: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut time = clock.time();
        if time.elapsed >= self.until {
            return Poll::Ready(());
        }
        let slot = *self.slot.get_or_insert_with(|| {
            time.next += 1;
            time.next
        });
        time.sleepers.insert((self.until, slot), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.clock.time().sleepers.remove(&(self.until, slot));
        }
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a future on this thread until it ends, the world crashes, or nothing
/// can wake it any more.
pub(super) fn drive<T>(
    clock: &SimClock,
    crashed: &dyn Fn() -> bool,
    future: impl Future<Output = T> + Send,
) -> Outcome<T> {
    let mut future = Box::pin(future);
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    for _ in 0..MOST_POLLS {
        woken.0.store(false, Ordering::Relaxed);
        let poll = future.as_mut().poll(&mut cx);
        // A process that crashed answers nothing, even if it would have ended
        // in the same instant.
        if crashed() {
            return Outcome::Crashed;
        }
        match poll {
            Poll::Ready(value) => return Outcome::Finished(value),
            Poll::Pending if woken.0.load(Ordering::Relaxed) => {}
            Poll::Pending if clock.time().advance() => {}
            Poll::Pending => return Outcome::Stuck,
        }
    }
    Outcome::Stuck
}

#[cfg(test)]
mod tests {
    use futures_util::future::{join, pending};

    use super::*;

    fn run<T>(clock: &SimClock, future: impl Future<Output = T> + Send) -> Outcome<T> {
        drive(clock, &|| false, future)
    }

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn time_moves_only_when_everybody_sleeps_and_wakes_in_order() {
        let clock = SimClock::default();
        let order = Mutex::new(Vec::new());
        let nap = |name: &'static str, hours: u32| {
            let (clock, order) = (clock.clone(), &order);
            async move {
                clock.sleep(HOUR * hours).await;
                order.lock().unwrap().push((name, clock.now()));
            }
        };
        let outcome = run(&clock, join(nap("late", 48), nap("early", 1)));
        assert_eq!(outcome, Outcome::Finished(((), ())));
        let at = |hours: u32| START + HOUR * hours;
        assert_eq!(order.into_inner().unwrap(), [("early", at(1)), ("late", at(48))]);
    }

    #[test]
    fn a_future_that_nothing_can_wake_is_stuck() {
        assert_eq!(run(&SimClock::default(), pending::<()>()), Outcome::Stuck);
    }

    #[test]
    fn a_dropped_sleep_does_not_move_time() {
        let clock = SimClock::default();
        let outcome = run(&clock, async {
            let long = std::pin::pin!(clock.wait(HOUR * 100));
            let short = std::pin::pin!(clock.wait(HOUR));
            futures_util::future::select(short, long).await;
        });
        assert_eq!(outcome, Outcome::Finished(()));
        assert_eq!(clock.time().sleepers.len(), 0);
        assert_eq!(clock.now(), START + HOUR);
    }

    #[test]
    fn turning_the_hands_wakes_nobody_early() {
        let clock = SimClock::default();
        let outcome = run(&clock, async {
            let sleep = clock.wait(HOUR);
            clock.turn(SignedDuration::from_hours(-24));
            sleep.await;
            clock.elapsed()
        });
        assert_eq!(outcome, Outcome::Finished(HOUR));
        assert_eq!(clock.now(), START - HOUR * 23);
    }

    #[test]
    fn a_crash_wins_over_an_end_in_the_same_instant() {
        assert_eq!(drive(&SimClock::default(), &|| true, async {}), Outcome::Crashed);
    }
}
