//! What happened in a year, line by line.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::super::world::{START, SimClock};

/// How many of the last lines are kept.
const MOST: usize = 20_000;

/// The lines of a year, with a mark that all of them decide.
pub(super) struct Diary {
    clock: SimClock,
    pages: Mutex<Pages>,
}

#[derive(Default)]
pub(super) struct Pages {
    pub(super) lines: VecDeque<String>,
    pub(super) count: u64,
    pub(super) mark: u64,
}

impl Diary {
    pub(super) fn new(clock: SimClock) -> Self {
        Self { clock, pages: Mutex::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, line: &str) {
        let line = format!("{}  {line}", shown(self.clock.elapsed()));
        let mut pages = self.pages();
        // FNV-1a: the mark tells two years apart, and defends nothing.
        for byte in line.bytes() {
            pages.mark = (pages.mark ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        pages.count += 1;
        if pages.lines.len() == MOST {
            pages.lines.pop_front();
        }
        pages.lines.push_back(line);
    }

    pub(super) fn close(&self) -> Pages {
        std::mem::take(&mut self.pages())
    }
}

/// The instant, by clocks that nobody turned.
pub(super) fn shown(elapsed: Duration) -> String {
    let at = START.saturating_add(elapsed).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%F %H:%M:%S").to_string()
}
