//! How a mistake in a declaration looks on a terminal.

use std::{collections::BTreeMap, path::PathBuf};

use super::Env;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    plan::render::{Document, Line, Style},
};

/// The longest line of a source file that is shown, in characters.
const MOST: usize = 160;

/// Every mistake in the form that the compiler uses, with its line where the
/// file can be read.
pub(super) fn diagnostics(mistakes: &Diagnostics, env: &Env) -> Document {
    let mut files = BTreeMap::new();
    let mut document = Document::default();
    for mistake in mistakes.iter() {
        document.section(one(mistake, env, &mut files));
    }
    document
}

type Files = BTreeMap<PathBuf, Option<String>>;

fn one(mistake: &Diagnostic, env: &Env, files: &mut Files) -> Vec<Line> {
    let (word, style) = match mistake.severity {
        Severity::Error => ("error", Style::Danger),
        Severity::Warning => ("warning", Style::Change),
    };
    let address =
        mistake.address.as_ref().map_or_else(String::new, |address| format!("{address}: "));
    let mut lines = vec![
        Line::of(style, format!("{word}[{}]", mistake.code))
            .with(Style::Heading, format!(": {address}{}", mistake.message)),
    ];
    if let Some(source) = &mistake.source {
        let number = source.line.to_string();
        let margin = " ".repeat(number.len());
        lines.push(
            Line::of(Style::Faint, format!("{margin}--> ")).with(Style::Plain, source.to_string()),
        );
        if let Some((text, column)) = line(&source.file, source.line, source.column, env, files) {
            let marked = length(&text, column);
            lines.push(Line::of(Style::Faint, format!("{margin} |")));
            lines.push(Line::of(Style::Faint, format!("{number} | ")).with(Style::Plain, text));
            lines.push(
                Line::of(Style::Faint, format!("{margin} | "))
                    .with(style, format!("{}{}", " ".repeat(column), "^".repeat(marked))),
            );
        }
    }
    if let Some(help) = &mistake.help {
        lines.push(Line::of(Style::Good, "help").with(Style::Plain, format!(": {help}")));
    }
    lines
}

/// How many characters of a line the word has that begins in a column: a text
/// to the end of its quotes, a name to its own.
fn length(line: &str, column: usize) -> usize {
    let mut rest = line.chars().skip(column);
    let more = match rest.next() {
        Some(quote @ ('"' | '\'')) => {
            let text = rest.clone().take_while(|c| *c != quote).count();
            if rest.nth(text).is_some() { text + 1 } else { 0 }
        }
        Some(c) if c.is_alphanumeric() => {
            rest.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).count()
        }
        _ => 0,
    };
    more + 1
}

/// A line of a file, and how many characters stand before the column.
fn line(
    file: &str,
    line: u32,
    column: u32,
    env: &Env,
    files: &mut Files,
) -> Option<(String, usize)> {
    let path = env.path(file.as_ref());
    // What the compiler named is from the workspace, what is run may be
    // elsewhere: a file that is not there is simply not shown.
    let text = files.entry(path.clone()).or_insert_with(|| std::fs::read_to_string(path).ok());
    let line = text.as_ref()?.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
    // A tab would move what stands below it.
    let line = line.replace('\t', " ");
    let before = usize::try_from(column).ok()?.checked_sub(1)?;
    // Whoever changed the file since may have shortened the line.
    (before < line.chars().count() && before < MOST)
        .then(|| (line.chars().take(MOST).collect(), before))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::{agent::Source, diagnostic::Code};

    #[test]
    fn the_word_that_is_wrong_is_marked_to_its_end() {
        for (line, column, marked) in [
            ("ownr = 'team'", 0, 4),
            ("reach = \"exclusiv\" # no", 8, 10),
            ("on-drift = 1", 0, 8),
            ("name = 'not closed", 7, 1),
            ("[agents]", 0, 1),
        ] {
            assert_eq!(length(line, column), marked, "{line}");
        }
    }

    #[test]
    #[expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them so")]
    fn a_mistake_shows_its_line_and_its_repair() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("fleet.rs"), "one\n\t#[credential(of = acount)]\n")
            .unwrap();
        let env = Env { directory: Some(directory.path().to_owned()), ..Env::default() };
        let mut mistakes = Diagnostics::new();
        let address = "triage.key".parse().unwrap();
        mistakes.push(
            Diagnostic::error(Code::DanglingReference, "`acount` is not declared")
                .at(&address, &Source::rust("fleet.rs", 2, 20))
                .help("a resource of a similar name is `account`"),
        );
        mistakes.push(
            Diagnostic::error(Code::Terms, "the file is\u{1b}[2J not there")
                .declared_at(&Source::rust("gone.rs", 7, 1)),
        );
        mistakes.push(
            Diagnostic::error(Code::Terms, "the file is shorter now")
                .declared_at(&Source::rust("fleet.rs", 2, 900)),
        );
        expect![[r#"
            error[IAC0005]: triage.key: `acount` is not declared
             --> fleet.rs:2:20
              |
            2 |  #[credential(of = acount)]
              |                    ^^^^^^
            help: a resource of a similar name is `account`

            error[IAC0010]: the file is\u{1b}[2J not there
             --> gone.rs:7:1

            error[IAC0010]: the file is shorter now
             --> fleet.rs:2:900
        "#]]
        .assert_eq(&diagnostics(&mistakes, &env).to_string());
    }
}
