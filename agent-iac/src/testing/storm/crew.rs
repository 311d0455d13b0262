//! The seeded executor: it interleaves the operators at every await point,
//! lets processes die and stand still there, and starts them again.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use super::{
    super::world::Violation,
    events::{Deed, Event},
    operators::{Process, Scene},
    weather::Kind,
};
use crate::ledger::MemoryLedger;

/// How often something is polled before a storm counts as stuck.
const MOST_POLLS: usize = 400_000;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One operator and what it has under way.
struct Operator {
    events: VecDeque<Event>,
    /// The event of the process under way, and the process's name.
    doing: Option<(Event, String)>,
    task: Option<Task>,
    pause: Option<Task>,
    woken: Arc<Woken>,
    /// Whether what died is started once more, in the same words.
    again: bool,
}

/// All operators of a storm.
pub(super) struct Crew {
    scene: Arc<Scene>,
    ledger: Arc<MemoryLedger>,
    operators: Vec<Operator>,
    processes: usize,
}

impl Crew {
    pub(super) fn new(
        scene: &Arc<Scene>,
        ledger: &Arc<MemoryLedger>,
        operators: usize,
        events: impl Iterator<Item = Event>,
    ) -> Self {
        let operator = || Operator {
            events: VecDeque::new(),
            doing: None,
            task: None,
            pause: None,
            woken: Arc::new(Woken(AtomicBool::new(false))),
            again: false,
        };
        let mut operators: Vec<Operator> = (0..operators).map(|_| operator()).collect();
        for event in events {
            operators[event.operator].events.push_back(event);
        }
        Self { scene: Arc::clone(scene), ledger: Arc::clone(ledger), operators, processes: 0 }
    }

    /// Lets everything happen, to the end.
    pub(super) fn run(&mut self) {
        for _ in 0..MOST_POLLS {
            self.start_what_is_due();
            let ready: Vec<usize> = (0..self.operators.len())
                .filter(|at| {
                    let operator = &self.operators[*at];
                    operator.task.is_some() && operator.woken.0.load(Ordering::Relaxed)
                })
                .collect();
            if !ready.is_empty() {
                let at = ready[self.scene.weather.below(ready.len())];
                self.poll(at);
            } else if self.operators.iter().all(|operator| operator.task.is_none()) {
                return;
            } else if !self.scene.world.clock().step() {
                return self.stuck("nothing can wake it any more");
            }
        }
        self.stuck("it never ceases to be busy");
    }

    fn stuck(&self, why: &str) {
        let at = self.scene.world.last_boundary();
        self.scene
            .world
            .accuse(vec![Violation::new("I12", format!("a process is stuck: {why}"))], &at);
    }

    fn start_what_is_due(&mut self) {
        for at in 0..self.operators.len() {
            if self.operators[at].task.is_some() {
                continue;
            }
            let again = std::mem::take(&mut self.operators[at].again);
            let event = match self.operators[at].doing.take().filter(|_| again) {
                Some((event, _)) => event,
                None => match self.operators[at].events.pop_front() {
                    Some(event) => event,
                    None => continue,
                },
            };
            self.processes += 1;
            let name = format!("process {}", self.processes);
            self.scene.weather.trace(|| format!("{name}: {event}"));
            let task = begin(&self.scene, event.clone(), name.clone(), again);
            let operator = &mut self.operators[at];
            operator.doing = Some((event, name));
            operator.task = Some(task);
            operator.woken.0.store(true, Ordering::Relaxed);
        }
    }

    fn poll(&mut self, at: usize) {
        let operator = &mut self.operators[at];
        operator.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&operator.woken));
        let mut cx = Context::from_waker(&waker);
        if let Some(pause) = &mut operator.pause {
            if pause.as_mut().poll(&mut cx).is_pending() {
                return;
            }
            operator.pause = None;
        }
        let Some(task) = &mut operator.task else { return };
        let polled = task.as_mut().poll(&mut cx);
        let place = self.scene.world.last_boundary();
        self.scene.world.accuse(self.scene.book.overlaps(), &place);
        let operator = &mut self.operators[at];
        if polled.is_ready() {
            operator.task = None;
            operator.doing = None;
            self.look_around("the end of a process");
            return;
        }
        if let Some(kind) = self.scene.weather.crash(&place) {
            // What it had sent may land all the same.
            operator.task = None;
            operator.pause = None;
            let holder = operator.doing.as_ref().map_or("", |(_, name)| name);
            if kind == Kind::Crash {
                self.ledger.crash_of(holder);
            }
            operator.again = self.scene.weather.below(4) > 0;
            self.look_around(&format!("the crash at {place}"));
        } else if let Some(length) = self.scene.weather.pause(&place) {
            let clock = self.scene.world.clock();
            operator.pause = Some(Box::pin(clock.wait(length)));
            operator.woken.0.store(true, Ordering::Relaxed);
        }
    }

    fn look_around(&self, at: &str) {
        self.scene.world.look_around(at);
        let found = self.scene.book.whole();
        self.scene.world.accuse(found, at);
    }
}

/// One event, from its gap to its end.
fn begin(scene: &Arc<Scene>, event: Event, name: String, again: bool) -> Task {
    let scene = Arc::clone(scene);
    Box::pin(async move {
        scene.world.clock().wait(event.gap).await;
        match &event.deed {
            Deed::Change(change) if !again => {
                let mut code = scene.code.lock().unwrap_or_else(PoisonError::into_inner);
                change.make(&mut code, &scene.by_hand);
            }
            Deed::Drift(drift, pick) => scene.drift(*drift, *pick),
            Deed::Turn(minutes) => {
                scene.world.turn_clock(jiff::SignedDuration::from_mins(*minutes));
            }
            _ => {}
        }
        let mut code = scene.code();
        if event.deed == Deed::Emptied {
            code = super::code::Code { cap: code.cap, ..Default::default() };
        }
        Process::start(&scene, event.operator, name, code).play(event.deed).await;
    })
}
