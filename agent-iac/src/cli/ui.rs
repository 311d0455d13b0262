//! What is shown, where, and in which form.

use std::{
    fs::File,
    io::{BufRead, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anstyle::{AnsiColor, Style as Ansi};
use serde_json::{Map, Value as Json, json};

use super::{
    Env,
    args::{Global, ProgressWhen, When},
    program::typed,
};
use crate::{
    error::{Error, ErrorKind, Result},
    plan::render::{Document, Line, Style, inert, printable, put},
};

/// The version of the stream of objects: the second number grows with what is
/// added, the first with what is changed.
pub(super) const STREAM: &str = "1.0";

/// How text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Redrawn in place.
    Redrawn,
    /// One line for each event.
    Lines,
    /// Not at all.
    None,
}

/// The one place that writes: shared with the thread that watches a run.
struct Sinks {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    file: Option<File>,
    /// The first failure to write that is not a reader who has gone.
    failure: Option<std::io::Error>,
}

/// Shows results and events.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each says one thing about the streams")]
pub(super) struct Ui {
    sinks: Arc<Mutex<Sinks>>,
    summary: Arc<Mutex<Map<String, Json>>>,
    json: bool,
    out_colour: bool,
    err_colour: bool,
    /// Only ASCII signs.
    pub(super) ascii: bool,
    /// How a run is shown.
    pub(super) progress: Progress,
    /// How the program is called.
    pub(super) program: String,
    /// How commands to type begin: the program, with options of its own.
    pub(super) command: String,
}

impl Ui {
    pub(super) fn new(
        global: &Global,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
        env: &Env,
        program: String,
    ) -> Result<Self, (Error, Box<dyn Write + Send>)> {
        let file = match global.json_into.as_ref().map(|path| create(&env.path(path))).transpose() {
            Ok(file) => file,
            Err(error) => return Err((error, err)),
        };
        let dumb = env.variable("TERM") == Some("dumb");
        let colour = |terminal: bool| !global.plain && coloured(global.color, terminal, env);
        let redraw = env.err_is_terminal && !dumb && !global.plain;
        let progress = match global.progress {
            _ if global.json => Progress::None,
            ProgressWhen::None => Progress::None,
            ProgressWhen::Auto if redraw => Progress::Redrawn,
            ProgressWhen::Auto | ProgressWhen::Plain => Progress::Lines,
        };
        let ui = Self {
            sinks: Arc::new(Mutex::new(Sinks { out, err, file, failure: None })),
            summary: Arc::default(),
            json: global.json,
            out_colour: colour(env.out_is_terminal),
            err_colour: colour(env.err_is_terminal),
            ascii: global.plain || dumb || !speaks_unicode(env),
            progress,
            command: typed(&program),
            program,
        };
        ui.begin();
        Ok(ui)
    }

    /// For a command that was not understood, by a program.
    pub(super) fn for_json(
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
        program: String,
    ) -> Self {
        let ui = Self {
            sinks: Arc::new(Mutex::new(Sinks { out, err, file: None, failure: None })),
            summary: Arc::default(),
            json: true,
            out_colour: false,
            err_colour: false,
            ascii: false,
            progress: Progress::None,
            command: typed(&program),
            program,
        };
        ui.begin();
        ui
    }

    /// Begins the commands that are suggested with these words.
    pub(super) fn called(self, command: String) -> Self {
        Self { command, ..self }
    }

    fn begin(&self) {
        self.event("version", json!({ "format": STREAM, "engine": env!("CARGO_PKG_VERSION") }));
    }

    fn sinks(&self) -> MutexGuard<'_, Sinks> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether results are objects instead of text.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Shows a result.
    pub(super) fn print(&self, document: &Document) {
        if self.json {
            return;
        }
        let text = self.painted(document.lines(), self.out_colour);
        self.sinks().out(text.as_bytes());
    }

    /// Gives a result as it is: a document in a format of its own.
    pub(super) fn print_raw(&self, text: &str) {
        self.sinks().out(text.as_bytes());
    }

    /// Says something that is no result.
    pub(super) fn say(&self, document: &Document) {
        if self.json {
            return;
        }
        let text = self.painted(document.lines(), self.err_colour);
        self.sinks().err(text.as_bytes());
    }

    /// Says one line that is no result.
    pub(super) fn say_line(&self, line: Line) {
        let mut document = Document::default();
        document.push(line);
        self.say(&document);
    }

    /// Writes to the terminal that standard error is, whatever it holds.
    pub(super) fn terminal(&self, text: &str) {
        self.sinks().err(text.as_bytes());
    }

    /// The lines as this standard error shows them.
    pub(super) fn for_terminal(&self, lines: &[Line]) -> String {
        self.painted(lines, self.err_colour)
    }

    fn painted(&self, lines: &[Line], colour: bool) -> String {
        let text = painted(lines, colour);
        if self.ascii { text.replace('…', "...") } else { text }
    }

    /// Tells programs something, as one object in one line.
    pub(super) fn event(&self, kind: &str, fields: Json) {
        let mut object = Map::new();
        object.insert("type".into(), kind.into());
        if let Json::Object(fields) = fields {
            object.extend(fields);
        }
        self.object(&Json::Object(object));
    }

    /// Tells programs an object that has its type.
    pub(super) fn object(&self, object: &Json) {
        let mut line = inert(object.to_string().as_bytes());
        line.push('\n');
        let mut sinks = self.sinks();
        if self.json {
            sinks.out(line.as_bytes());
        }
        if let Some(file) = &mut sinks.file
            && let Err(error) = file.write_all(line.as_bytes())
        {
            sinks.failure.get_or_insert(error);
        }
    }

    /// Adds to the last object.
    pub(super) fn summarise(&self, fields: Json) {
        if let Json::Object(fields) = fields {
            self.summary.lock().unwrap_or_else(PoisonError::into_inner).extend(fields);
        }
    }

    /// What was added to the last object.
    pub(super) fn summary(&self) -> Json {
        Json::Object(self.summary.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Asks for one line. The question goes to the terminal, not to a pipe.
    pub(super) fn ask(&self, question: &str, input: &mut dyn BufRead) -> Result<String> {
        self.terminal(&format!("{} ", printable(question)));
        self.flush();
        let mut answer = String::new();
        input.read_line(&mut answer).map_err(|error| {
            Error::new(ErrorKind::Io, "the answer could not be read").caused_by(error)
        })?;
        Ok(answer.trim().to_owned())
    }

    pub(super) fn flush(&self) {
        let mut sinks = self.sinks();
        let flushed = [sinks.out.flush(), sinks.err.flush()];
        for result in flushed {
            sinks.note(result);
        }
    }

    /// Why not everything could be written, when it could not.
    pub(super) fn failure(&self) -> Option<Error> {
        let error = self.sinks().failure.take()?;
        Some(Error::new(ErrorKind::Io, "the output could not be written").caused_by(error))
    }
}

impl Sinks {
    fn out(&mut self, bytes: &[u8]) {
        let written = self.out.write_all(bytes);
        self.note(written);
    }

    fn err(&mut self, bytes: &[u8]) {
        // There is nowhere left to say that standard error is gone.
        let _: std::io::Result<()> = self.err.write_all(bytes);
    }

    fn note(&mut self, result: std::io::Result<()>) {
        match result {
            // Whoever reads has seen enough, as `| head` does.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Err(error) => {
                self.failure.get_or_insert(error);
            }
            Ok(()) => {}
        }
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(|error| {
        let message = format!("`{}` could not be made", printable(&path.display().to_string()));
        Error::new(ErrorKind::Io, message).caused_by(error)
    })
}

/// Whether a stream has colour: what was asked for, else what the environment
/// says, else whether somebody is looking.
fn coloured(when: When, terminal: bool, env: &Env) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto if env.variable("NO_COLOR").is_some() => false,
        When::Auto if env.variable("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        When::Auto => {
            terminal
                && env.variable("TERM") != Some("dumb")
                && env.variable("CLICOLOR") != Some("0")
        }
    }
}

/// Whether signs beyond ASCII can be shown: unless a locale is set that says
/// no. Pipelines set none, and show them.
fn speaks_unicode(env: &Env) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| env.variable(name));
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

fn ansi(style: Style) -> Ansi {
    match style {
        Style::Heading => Ansi::new().bold(),
        Style::Add | Style::Good => AnsiColor::Green.on_default(),
        Style::Change => AnsiColor::Yellow.on_default(),
        Style::Remove => AnsiColor::Red.on_default(),
        Style::Danger => AnsiColor::Red.on_default().bold(),
        Style::Faint => Ansi::new().dimmed(),
        _ => Ansi::new(),
    }
}

fn painted(lines: &[Line], colour: bool) -> String {
    let mut text = String::new();
    for line in lines {
        if colour {
            for span in line.spans() {
                let style = ansi(span.style());
                put(&mut text, format_args!("{style}{}{style:#}", span.text()));
            }
        } else {
            text.push_str(&line.to_string());
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_the_flag_then_the_environment_then_the_terminal() {
        type Case = (When, bool, &'static [(&'static str, &'static str)], bool);
        let cases: &[Case] = &[
            (When::Auto, true, &[], true),
            (When::Auto, false, &[], false),
            (When::Auto, true, &[("NO_COLOR", "1")], false),
            (When::Auto, true, &[("NO_COLOR", "")], true),
            (When::Auto, true, &[("TERM", "dumb")], false),
            (When::Auto, false, &[("CLICOLOR_FORCE", "1")], true),
            (When::Auto, false, &[("CLICOLOR_FORCE", "0")], false),
            (When::Auto, false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
            (When::Always, false, &[("NO_COLOR", "1")], true),
            (When::Never, true, &[("CLICOLOR_FORCE", "1")], false),
        ];
        for (when, terminal, variables, expected) in cases {
            let env = Env {
                variables: variables.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
                ..Env::default()
            };
            assert_eq!(
                coloured(*when, *terminal, &env),
                *expected,
                "{when:?} {terminal} {variables:?}"
            );
        }
    }

    #[test]
    fn the_words_are_the_same_with_and_without_colour() {
        let line = Line::of(Style::Danger, "WIDENS").with(Style::Plain, " access");
        let painted = painted(std::slice::from_ref(&line), true);
        assert!(painted.contains('\u{1b}'));
        let mut plain = String::new();
        let mut rest = painted.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_eq!(plain, format!("{line}\n"));
    }
}
