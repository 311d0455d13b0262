//! Places in a text, and the mistakes found there.

use std::{borrow::Cow, collections::BTreeSet, ops::Range};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{Types, index::Index, top};
use crate::{
    address::{is_printable, quoted},
    agent::Source,
    diagnostic::{Code, Diagnostic, Diagnostics, nearest},
    fleet::Fleet,
};

pub(super) type Item<'t> = Spanned<DeValue<'t>>;
pub(super) type Key<'t> = Spanned<DeString<'t>>;
pub(super) type Span = Range<usize>;

/// The marks that carry references inside text (see [`crate::resource`]).
const MARKS: [char; 2] = ['\u{f1ac0}', '\u{f1ac1}'];

/// What reads one text: where things stand, and what was wrong so far.
pub(super) struct Reader<'t> {
    pub(super) types: &'t Types,
    pub(super) index: Index,
    file: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    text: &'t str,
    /// The lines that are not TOML: what is made of them is nobody's word.
    broken: BTreeSet<u32>,
    /// Whether all agents are known.
    pub(super) complete: bool,
    problems: Diagnostics,
}

impl<'t> Reader<'t> {
    /// Reads a text as far as it can be read, and says what was wrong; and
    /// whether it was TOML, so that what is missing is truly missing.
    pub(super) fn read(
        text: &'t str,
        file: &'t str,
        types: &'t Types,
    ) -> (Fleet, Diagnostics, bool) {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        let mut reader = Self {
            types,
            index: Index::default(),
            file,
            lines: lines.collect(),
            text,
            broken: BTreeSet::new(),
            complete: true,
            problems: Diagnostics::new(),
        };
        reader.hidden_text();
        let (table, mistakes) = DeTable::parse_recoverable(text);
        for mistake in mistakes {
            let span = mistake.span().unwrap_or(text.len()..text.len());
            let source = reader.place(span);
            // What follows on the same line is most often the same mistake.
            if reader.broken.insert(source.line) {
                reader.problems.push(
                    Diagnostic::error(Code::Syntax, one_line(mistake.message()))
                        .declared_at(&source),
                );
            }
        }
        reader.index = Index::of(table.get_ref());
        let fleet = top::fleet(&mut reader, table.get_ref());
        let sound = reader.broken.is_empty() && reader.complete;
        (fleet, reader.problems, sound)
    }

    /// Characters that turn the direction of text make a reviewer read what is
    /// not there, in a comment as well (CVE-2021-42574). Where one is meant, it
    /// can be written as an escape.
    fn hidden_text(&mut self) {
        let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let found: Vec<(usize, char)> =
            self.text.char_indices().filter(|(_, c)| turns(*c)).collect();
        let mut lines = BTreeSet::new();
        for (at, c) in found {
            if lines.insert(self.place(at..at).line) {
                self.error(
                    Code::Text,
                    at..at,
                    format!("the character U+{:04X} changes the direction of text", u32::from(c)),
                    format!("remove it, or write `\\u{:04X}` in a text", u32::from(c)),
                );
            }
        }
    }

    /// Where something stands.
    pub(super) fn place(&self, span: Span) -> Source {
        let mut at = span.start.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let line = self.lines.partition_point(|begin| *begin <= at);
        let begin = self.lines[line - 1];
        let column = self.text[begin..at].chars().count() + 1;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Source {
            file: Cow::Owned(self.file.to_owned()),
            line: number(line),
            column: number(column),
        }
    }

    /// Says what is wrong at a place, and the repair.
    pub(super) fn error(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let source = self.place(span);
        if !self.broken.contains(&source.line) {
            self.problems.push(Diagnostic::error(code, message).declared_at(&source).help(help));
        }
    }

    /// Says that something is not there. In a text that is not TOML it may be
    /// what could not be read.
    pub(super) fn missing(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.broken.is_empty() && self.complete {
            self.error(code, span, message, help);
        }
    }

    /// Says that a value has another shape, and gives one of the right shape.
    pub(super) fn misshaped(&mut self, item: &Item<'_>, expected: &str, form: &str) {
        let found = shape(item.get_ref());
        self.error(
            Code::Property,
            item.span(),
            format!("expected {expected}, found {found}"),
            format!("write it as `{form}`"),
        );
    }

    /// Reports each key of a table that is none of `known`.
    pub(super) fn unknown_keys(&mut self, table: &DeTable<'_>, known: &[&str], whose: &str) {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            self.unknown_key(key, known, whose);
        }
    }

    /// Reports a key that is none of `known`; gives the one that was most
    /// likely meant, and is then not missing as well.
    pub(super) fn unknown_key(
        &mut self,
        key: &Key<'_>,
        known: &[&str],
        whose: &str,
    ) -> Option<String> {
        let near = nearest(key.get_ref(), known);
        let help = near.as_ref().map_or_else(
            || format!("{whose} takes {}", listed(known)),
            |near| format!("did you mean `{near}`?"),
        );
        self.error(
            Code::UnknownKey,
            key.span(),
            format!("unknown key {}", quoted(key.get_ref())),
            help,
        );
        near
    }

    /// Text as it stands; reported when it is none, or forges a reference.
    pub(super) fn text<'i>(&mut self, item: &'i Item<'_>) -> Option<&'i str> {
        let DeValue::String(text) = item.get_ref() else {
            self.misshaped(item, "text", "\"…\"");
            return None;
        };
        self.unforged(text, item.span()).then_some(text.as_ref())
    }

    /// Whether text is free of the marks that carry references: with one, a
    /// text could forge a reference to another agent's values.
    pub(super) fn unforged(&mut self, text: &str, span: Span) -> bool {
        let unforged = !text.contains(MARKS);
        if !unforged {
            self.error(
                Code::Text,
                span,
                "the characters U+F1AC0 and U+F1AC1 may not stand in text",
                "remove them; a reference is written `${field.output}`",
            );
        }
        unforged
    }

    /// Whether text that people are shown can be shown to them.
    pub(super) fn printable(&mut self, text: &str, span: Span) -> bool {
        let printable = is_printable(&text.replace(['\n', '\t'], " "));
        if !printable {
            self.error(
                Code::Text,
                span,
                "it holds characters that cannot be shown",
                "use visible characters",
            );
        }
        printable
    }

    /// The table of an item; reported when it is none.
    pub(super) fn table<'i, 'd>(&mut self, item: &'i Item<'d>) -> Option<&'i DeTable<'d>> {
        let DeValue::Table(table) = item.get_ref() else {
            self.misshaped(item, "a table", "{ … }");
            return None;
        };
        Some(table)
    }

    /// The items of a list; reported when it is none.
    pub(super) fn list<'i, 'd>(
        &mut self,
        item: &'i Item<'d>,
        expected: &str,
    ) -> Option<Vec<&'i Item<'d>>> {
        let DeValue::Array(items) = item.get_ref() else {
            self.misshaped(item, expected, "[…]");
            return None;
        };
        Some(items.iter().collect())
    }
}

/// What a value is, in words.
fn shape(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The names, in backquotes.
pub(super) fn listed<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
