//! What is wrong with the text of a term.

use std::fmt;

use crate::diagnostic::Code;

/// One mistake in a text: what is wrong, where in it, and the repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The rule that it breaks.
    pub code: Code,
    /// The column in the text, from 1; 0 when it is about all of it.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// The repair.
    pub help: String,
}

impl Mistake {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: Code::Schedule, column: 0, message: message.into(), help: help.into() }
    }

    /// A mistake in a length of time, or in how some of them go together.
    pub(super) fn period(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: Code::Period, ..Self::new(message, help) }
    }

    /// Says where: bytes from the beginning, which are columns, since whatever
    /// is not ASCII is refused at its first byte.
    #[must_use]
    pub(super) fn at(mut self, byte: usize) -> Self {
        self.column = u32::try_from(byte).unwrap_or(u32::MAX - 1) + 1;
        self
    }

    /// The same mistake in a text of which the one before is a part.
    #[must_use]
    pub(super) fn moved(mut self, bytes: usize) -> Self {
        if self.column > 0 {
            self.column += u32::try_from(bytes).unwrap_or_default();
        }
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            0 => write!(f, "{}", self.message),
            column => write!(f, "column {column}: {}", self.message),
        }
    }
}

/// The words of a text with the byte at which each begins.
pub(super) fn words(text: &str) -> Vec<(usize, &str)> {
    let start = text.as_ptr() as usize;
    text.split_ascii_whitespace().map(|word| (word.as_ptr() as usize - start, word)).collect()
}

/// The parts of a text between separators, trimmed, with their first bytes.
pub(super) fn parts(text: &str, separator: char) -> Vec<(usize, &str)> {
    let mut at = 0;
    let mut all = Vec::new();
    for part in text.split(separator) {
        let indent = part.len() - part.trim_start().len();
        all.push((at + indent, part.trim()));
        at += part.len() + separator.len_utf8();
    }
    all
}
