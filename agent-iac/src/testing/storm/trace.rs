//! What happened in a storm, line by line.

use std::{collections::VecDeque, time::Duration};

/// The trace of one storm: a running mark of every line, and the lines that
/// are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    lines: VecDeque<String>,
    most: usize,
    elapsed: Duration,
    mark: u64,
    count: u64,
}

impl Trace {
    /// A trace that keeps so many of the last lines.
    pub(super) fn keeping(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    pub(super) fn push(&mut self, elapsed: Duration, line: impl FnOnce() -> String) {
        self.elapsed = elapsed;
        self.note(line);
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        // FNV-1a: the mark tells two traces apart, and defends nothing.
        let mut mark = self.mark ^ u64::try_from(self.elapsed.as_micros()).unwrap_or(0);
        for byte in line.bytes() {
            mark = (mark ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.mark = mark;
        self.count += 1;
        if self.most > 0 {
            if self.lines.len() == self.most {
                self.lines.pop_front();
            }
            let Duration { .. } = self.elapsed;
            self.lines.push_back(format!("{:>12.3} s  {line}", self.elapsed.as_secs_f64()));
        }
    }

    /// A number that every line of the trace decides (I14).
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// How many lines there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last lines, as many as are kept.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
