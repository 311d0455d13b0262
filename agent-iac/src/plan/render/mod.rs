//! A plan as people and programs read it: text, Markdown and JSON. Pure.
//!
//! Owns the words of a plan, what is left out where there is no room, and the
//! rule that no text of anybody else's is ever more than text. It knows no
//! terminal: [`text`] gives lines of styled pieces, and who shows them chooses
//! colours.

mod beside;
mod budget;
mod json;
mod markdown;
mod span;
mod text;
mod words;

#[cfg(test)]
mod tests;

#[cfg(feature = "cli")]
pub(crate) use json::inert;
pub use json::{Summary, json};
pub use markdown::markdown;
pub use span::{Document, Line, Span, Style, printable};
pub use text::{drift, text};
#[cfg(feature = "cli")]
pub(crate) use words::{count, first_line};
pub(crate) use words::{moment, put};

/// How much of a plan is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// One line a step.
    Summary,
    /// What changes, why, and who gains or loses access; long lists are cut,
    /// with exact counts.
    #[default]
    Default,
    /// Everything.
    Full,
}

/// How a plan is shown.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much.
    pub level: Level,
    /// Only ASCII signs, for terminals and readers without others.
    pub ascii: bool,
    /// The most lines of text; [`Level::Full`] has no end.
    pub max_lines: usize,
    /// The most bytes of Markdown.
    pub max_bytes: usize,
    /// What to do next, as commands that can be typed.
    pub next: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: Level::Default,
            ascii: false,
            max_lines: 200,
            // What GitHub takes for one comment.
            max_bytes: 65_536,
            next: Vec::new(),
        }
    }
}
