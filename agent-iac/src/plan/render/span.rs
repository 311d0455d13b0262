//! Lines of styled text, all of it inert.

use std::fmt;

use crate::address::is_printable;

/// What a piece of text means, so that who shows it can choose a colour. No
/// meaning is carried by the style alone: the words say it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Style {
    /// Nothing special.
    Plain,
    /// The title of a section.
    Heading,
    /// Something comes.
    Add,
    /// Something changes.
    Change,
    /// Something goes.
    Remove,
    /// Access is widened, or something else needs a second look.
    Danger,
    /// All is well.
    Good,
    /// Less important than what stands beside it.
    Faint,
}

/// A piece of text of one style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    style: Style,
    text: String,
}

impl Span {
    /// Makes a span; what a terminal could take for a command, or what changes
    /// the direction of text, is escaped here and nowhere else.
    pub fn new(style: Style, text: impl AsRef<str>) -> Self {
        Self { style, text: printable(text.as_ref()) }
    }

    /// What the text means.
    pub fn style(&self) -> Style {
        self.style
    }

    /// The text: one line, inert.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<Span>);

impl Line {
    /// A line of one style.
    pub fn of(style: Style, text: impl AsRef<str>) -> Self {
        Self::default().with(style, text)
    }

    /// An unstyled line.
    pub fn plain(text: impl AsRef<str>) -> Self {
        Self::of(Style::Plain, text)
    }

    /// Adds text at the end.
    #[must_use]
    pub fn with(mut self, style: Style, text: impl AsRef<str>) -> Self {
        self.0.push(Span::new(style, text));
        self
    }

    /// The pieces.
    pub fn spans(&self) -> &[Span] {
        &self.0
    }
}

impl fmt::Display for Line {
    /// Writes the text without any style, and without spaces at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.0.iter().map(Span::text).collect();
        f.write_str(text.trim_end())
    }
}

/// Lines in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document(Vec<Line>);

impl Document {
    /// Adds a line.
    pub fn push(&mut self, line: Line) {
        self.0.push(line);
    }

    /// Adds lines, after an empty one where something stands before them.
    pub fn section(&mut self, lines: impl IntoIterator<Item = Line>) {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_some() && !self.0.is_empty() {
            self.0.push(Line::default());
        }
        self.0.extend(lines);
    }

    /// The lines.
    pub fn lines(&self) -> &[Line] {
        &self.0
    }
}

impl Extend<Line> for Document {
    fn extend<I: IntoIterator<Item = Line>>(&mut self, lines: I) {
        self.0.extend(lines);
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// `text` with everything escaped that does not simply show: control
/// characters, line breaks, and what changes the direction of text.
pub fn printable(text: &str) -> String {
    if is_printable(text) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_printable(c.encode_utf8(&mut [0; 4])) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    shown
}
