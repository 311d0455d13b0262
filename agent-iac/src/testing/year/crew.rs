//! Those who work through a year: the executor that lets them go on in turn,
//! and lets one die that is fated to.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use super::super::world::SimClock;
use super::sky::Sky;

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Member {
    task: Option<Task>,
    woken: Arc<Woken>,
    waker: Waker,
    /// The number of a runner; the others live for ever.
    runner: Option<u64>,
}

/// All who work.
#[derive(Default)]
pub(super) struct Crew(Vec<Member>);

impl Crew {
    pub(super) fn add(&mut self, runner: Option<u64>, task: Task) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        self.0.push(Member { task: Some(task), woken, waker, runner });
    }

    /// Lets everybody go on until an instant; false when nothing can wake
    /// anybody before. A runner that dies is started again by `again`.
    pub(super) fn work(
        &mut self,
        clock: &SimClock,
        until: Duration,
        sky: &Sky,
        mut again: impl FnMut(u64, Duration) -> Task,
    ) -> bool {
        loop {
            let mut went_on = false;
            for member in &mut self.0 {
                let Some(task) = member.task.as_mut() else { continue };
                if !member.woken.0.swap(false, Ordering::Relaxed) {
                    continue;
                }
                went_on = true;
                sky.at_work(member.runner.is_some());
                let mut cx = Context::from_waker(&member.waker);
                if task.as_mut().poll(&mut cx).is_ready() {
                    member.task = None;
                }
                if let (Some(length), Some(number)) = (sky.doomed(), member.runner) {
                    // First it goes, with what it held, and then another comes.
                    member.task = None;
                    member.task = Some(again(number, length));
                    member.woken.0.store(true, Ordering::Relaxed);
                }
                if clock.elapsed() >= until {
                    return true;
                }
            }
            if !went_on && !clock.step() {
                return false;
            }
            if clock.elapsed() >= until {
                return true;
            }
        }
    }
}
