//! How a run is watched.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::json;

use super::ui::{Progress as Shown, Ui};
use crate::{
    address::Address,
    apply::{Outcome, Progress, StepReport, Watch},
    clock::Clock,
    plan::render::{Line, Style, count, printable, put},
};

/// The shortest time between two pictures: ten in a second.
const FRAME: Duration = Duration::from_millis(100);

/// The most steps in the picture.
const ROWS: usize = 8;

/// The widest line of the picture: one less than the narrowest terminal that
/// people still have.
const WIDTH: usize = 79;

/// Shows a run as it goes, and tells programs of it.
pub(super) fn watch(ui: &Ui, clock: &Arc<dyn Clock>) -> Watch {
    let ui = ui.clone();
    let clock = Arc::clone(clock);
    let picture = Arc::new(Mutex::new(Picture::default()));
    let redrawer = (ui.progress == Shown::Redrawn).then(|| Redrawer::start(&ui, &clock, &picture));
    Arc::new(move |progress| {
        tell(&ui, progress);
        let mut picture = picture.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.now();
        let line = picture.line(progress, now);
        match ui.progress {
            Shown::None => {}
            Shown::Lines => line.into_iter().for_each(|line| ui.say_line(line)),
            Shown::Redrawn => {
                if matches!(progress, Progress::StepEnded { .. } | Progress::RunBegun { .. }) {
                    picture.lasting.extend(line);
                }
                if let Some(text) = picture.frame(&ui, now) {
                    ui.terminal(&text);
                }
            }
        }
        // It draws for as long as somebody may tell something.
        let _: &Option<Redrawer> = &redrawer;
    })
}

/// Draws what changed since, and how long it takes, while nothing happens.
struct Redrawer(#[expect(dead_code, reason = "dropping it ends the thread")] mpsc::Sender<()>);

impl Redrawer {
    fn start(ui: &Ui, clock: &Arc<dyn Clock>, picture: &Arc<Mutex<Picture>>) -> Self {
        let (ui, clock, picture) = (ui.clone(), Arc::clone(clock), Arc::clone(picture));
        let (alive, dropped) = mpsc::channel();
        std::thread::spawn(move || {
            while dropped.recv_timeout(FRAME) == Err(mpsc::RecvTimeoutError::Timeout) {
                let mut picture = picture.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(text) = picture.frame(&ui, clock.now()) {
                    ui.terminal(&text);
                }
            }
        });
        Self(alive)
    }
}

/// How a step ended, as a word, and why.
pub(super) fn ended(step: &StepReport) -> (&'static str, Option<String>, Style) {
    match &step.outcome {
        Outcome::Done => ("done", None, Style::Good),
        Outcome::Unproved(what) => ("done, not proved", Some(what.clone()), Style::Change),
        Outcome::Failed(error) => ("failed", Some(reason(error, &step.address)), Style::Danger),
        Outcome::Skipped { because } => ("skipped", Some(because.clone()), Style::Faint),
        Outcome::InDoubt(error) => ("in doubt", Some(reason(error, &step.address)), Style::Danger),
    }
}

/// An error beside its address, which is not said twice.
fn reason(error: &crate::error::Error, address: &Address) -> String {
    let chain = error.chain();
    let text = chain.strip_prefix(&format!("{address}: ")).unwrap_or(&chain).to_owned();
    match error.repair() {
        Some(help) => format!("{text} (help: {help})"),
        None => text,
    }
}

/// A step and its end, for programs.
pub(super) fn step_json(step: &StepReport) -> serde_json::Value {
    let (_, why, _) = ended(step);
    let outcome = match &step.outcome {
        Outcome::Done => "done",
        Outcome::Unproved(_) => "unproved",
        Outcome::Failed(_) => "failed",
        Outcome::Skipped { .. } => "skipped",
        Outcome::InDoubt(_) => "in_doubt",
    };
    json!({ "address": step.address, "action": step.action, "outcome": outcome, "why": why })
}

fn tell(ui: &Ui, progress: &Progress) {
    match progress {
        Progress::RunBegun { run, steps } => {
            ui.event("run_begun", json!({ "run": run, "steps": steps }));
        }
        Progress::Settling { address, wait } => {
            ui.event("settling", json!({ "address": address, "wait_seconds": wait.as_secs() }));
        }
        Progress::StepBegun { address, action } => {
            ui.event("step_begun", json!({ "address": address, "action": action }));
        }
        Progress::StepRetried { address, attempt, pause, error } => ui.event(
            "step_retried",
            json!({
                "address": address,
                "attempt": attempt,
                "pause_milliseconds": u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "message": error,
            }),
        ),
        Progress::Credential { address, phase } => {
            ui.event("credential", json!({ "address": address, "phase": phase }));
        }
        Progress::StepEnded { step } => ui.event("step_ended", step_json(step)),
        Progress::RunEnded { summary } => ui.event("run_ended", json!({ "summary": summary })),
    }
}

/// What is under way.
#[derive(Default)]
struct Picture {
    steps: usize,
    ended: usize,
    failed: usize,
    /// Since when each step runs, and what it is doing.
    running: BTreeMap<Address, (Timestamp, String)>,
    under_way: bool,
    /// Lines that are to stay, and are not shown yet.
    lasting: Vec<Line>,
    /// The picture that is shown, and since when.
    shown: Vec<Line>,
    drawn_at: Option<Timestamp>,
}

impl Picture {
    /// Follows an event; the line that it is worth, when it is worth one.
    fn line(&mut self, progress: &Progress, now: Timestamp) -> Option<Line> {
        let about = |address: &Address, style: Style, text: String| {
            Some(Line::plain(format!("{address}: ")).with(style, text))
        };
        match progress {
            Progress::RunBegun { run, steps } => {
                // A recovery may have ended before.
                self.under_way = true;
                (self.steps, self.ended, self.failed) = (*steps, 0, 0);
                let steps = count(*steps, "step", "steps");
                Some(Line::plain(format!("run {run}: {steps}")))
            }
            Progress::Settling { address, wait } => {
                let text =
                    format!("settling what an earlier run left, within {} s", wait.as_secs());
                self.doing(address, now, &text);
                about(address, Style::Change, text)
            }
            Progress::StepBegun { address, action } => {
                let text = format!("{action} …");
                self.doing(address, now, &text);
                about(address, Style::Plain, text)
            }
            Progress::StepRetried { address, attempt, pause, error } => {
                let pause = pause.as_millis();
                let text = format!("attempt {attempt} failed, again in {pause} ms: {error}");
                self.doing(address, now, &text);
                about(address, Style::Change, text)
            }
            Progress::Credential { address, phase } => {
                self.doing(address, now, phase);
                about(address, Style::Plain, (*phase).to_owned())
            }
            Progress::StepEnded { step } => {
                let since = self.running.remove(&step.address).map(|(since, _)| since);
                self.ended += 1;
                let (word, why, style) = ended(step);
                if matches!(step.outcome, Outcome::Failed(_) | Outcome::InDoubt(_)) {
                    self.failed += 1;
                }
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                let took = since.map_or_else(String::new, |since| elapsed(since, now));
                about(&step.address, style, format!("{} {word}{took}{why}", step.action))
            }
            Progress::RunEnded { .. } => {
                self.running.clear();
                self.under_way = false;
                None
            }
        }
    }

    fn doing(&mut self, address: &Address, now: Timestamp, what: &str) {
        let entry = self.running.entry(address.clone()).or_insert_with(|| (now, String::new()));
        what.clone_into(&mut entry.1);
    }

    /// What to write for the next picture; `None` when it would be too early,
    /// or the same. Lines of what has ended scroll by above it.
    fn frame(&mut self, ui: &Ui, now: Timestamp) -> Option<String> {
        let early = |drawn: Timestamp| now.duration_since(drawn).unsigned_abs() < FRAME;
        if self.under_way && self.drawn_at.is_some_and(early) {
            return None;
        }
        let rows = if self.under_way { self.rows(now) } else { Vec::new() };
        if self.lasting.is_empty() && rows == self.shown {
            return None;
        }
        self.drawn_at = Some(now);
        let mut text = String::new();
        if !self.shown.is_empty() {
            put(&mut text, format_args!("\u{1b}[{}A", self.shown.len()));
        }
        // From here to the end of the screen.
        text.push_str("\u{1b}[0J");
        text.push_str(&ui.for_terminal(&std::mem::take(&mut self.lasting)));
        text.push_str(&ui.for_terminal(&rows));
        self.shown = rows;
        Some(text)
    }

    fn rows(&self, now: Timestamp) -> Vec<Line> {
        // A line that is broken by the terminal would not be drawn over.
        let cut = |text: String| text.chars().take(WIDTH).collect::<String>();
        let mut rows: Vec<Line> = self
            .running
            .iter()
            .take(ROWS)
            .map(|(address, (since, what))| {
                let text = format!("  {address}  {what}{}", elapsed(*since, now));
                Line::of(Style::Faint, cut(printable(&text)))
            })
            .collect();
        if self.running.len() > ROWS {
            let more = self.running.len() - ROWS;
            rows.push(Line::of(Style::Faint, format!("  … and {more} more under way")));
        }
        let failed =
            if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        let text = format!("{} of {} steps{failed}", self.ended, self.steps);
        rows.push(Line::of(Style::Heading, text));
        rows
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> String {
    match now.duration_since(since).as_secs() {
        ..=0 => String::new(),
        seconds => format!(" ({seconds} s)"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        error::{Error, ErrorKind},
        ledger::Summary,
        plan::Action,
    };

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn address(index: usize) -> Address {
        format!("agent-{index}.key").parse().unwrap()
    }

    fn begun(index: usize) -> Progress {
        Progress::StepBegun { address: address(index), action: Action::Create }
    }

    fn ended(index: usize, outcome: Outcome) -> Progress {
        let (address, action) = (address(index), Action::Create);
        Progress::StepEnded { step: StepReport { address, action, outcome } }
    }

    #[test]
    fn each_event_is_one_line_that_says_who_and_what() {
        let mut picture = Picture::default();
        let mut line =
            |progress, now| picture.line(&progress, at(now)).map(|line| line.to_string());
        assert_eq!(line(begun(1), 0).unwrap(), "agent-1.key: create …");
        let delivered = Progress::Credential { address: address(1), phase: "delivered" };
        assert_eq!(line(delivered, 10).unwrap(), "agent-1.key: delivered");
        let error =
            Error::new(ErrorKind::Provider, "no\u{1b}[2J").at(&address(1)).help("ask again");
        let failed = ended(1, Outcome::Failed(Arc::new(error)));
        assert_eq!(
            line(failed, 12_000).unwrap(),
            "agent-1.key: create failed (12 s): no\\u{1b}[2J (help: ask again)"
        );
        assert_eq!(line(Progress::RunEnded { summary: Summary::default() }, 13_000), None);
    }

    #[test]
    fn there_are_at_most_ten_pictures_a_second_and_no_end_is_lost() {
        let out = || Box::new(std::io::sink());
        let ui = Ui::for_json(out(), out(), "deploy".into());
        let mut picture = Picture::default();
        assert_eq!(picture.frame(&ui, at(0)), None, "nothing is drawn before a run begins");
        picture.under_way = true;
        let mut text = String::new();
        let mut pictures = 0;
        for index in 0..1_000 {
            let now = at(i64::try_from(index).unwrap());
            picture.line(&begun(index), now);
            let line = picture.line(&ended(index, Outcome::Done), now);
            picture.lasting.extend(line);
            if let Some(more) = picture.frame(&ui, now) {
                pictures += 1;
                text.push_str(&more);
            }
        }
        assert!(pictures <= 10, "{pictures} in one second");
        picture.line(&Progress::RunEnded { summary: Summary::default() }, at(1_000));
        text.push_str(&picture.frame(&ui, at(1_000)).unwrap());
        assert_eq!(text.matches("create done").count(), 1_000);
        assert_eq!(picture.frame(&ui, at(2_000)), None, "nothing changes after the end");
    }

    #[test]
    fn the_picture_has_an_end_and_no_line_that_a_terminal_would_break() {
        let mut picture = Picture { steps: 100, ..Picture::default() };
        for index in 0..50 {
            let address = format!("{}.key", "a".repeat(60)).parse().unwrap();
            picture.line(&Progress::StepBegun { address, action: Action::Create }, at(0));
            picture.line(&begun(index), at(0));
        }
        let rows = picture.rows(at(5_000));
        assert_eq!(rows.len(), ROWS + 2);
        assert!(rows.iter().all(|row| row.to_string().chars().count() <= WIDTH));
        assert_eq!(rows.last().unwrap().to_string(), "0 of 100 steps");
    }
}
