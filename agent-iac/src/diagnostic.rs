//! Mistakes in a declaration, all at once.
//!
//! Owns [`Diagnostic`]: what is wrong, where, and the repair. How one looks on
//! a terminal or a page is the business of who shows it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    agent::Source,
    error::{Error, ErrorKind},
};

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The fleet is invalid.
    Error,
    /// It is valid, and something should be looked at.
    Warning,
}

/// The rules that a declaration can break. A code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Code {
    /// A name or a key is malformed.
    #[serde(rename = "IAC0001")]
    Name,
    /// An agent instance or an address is declared twice.
    #[serde(rename = "IAC0002")]
    Duplicate,
    /// A provider is not declared by the fleet.
    #[serde(rename = "IAC0003")]
    UnknownProvider,
    /// A secret store is not declared by the fleet.
    #[serde(rename = "IAC0004")]
    UnknownStore,
    /// A reference leads nowhere.
    #[serde(rename = "IAC0005")]
    DanglingReference,
    /// Resources need each other in a circle.
    #[serde(rename = "IAC0006")]
    Cycle,
    /// A credential has no place, or one that is malformed or taken.
    #[serde(rename = "IAC0007")]
    Place,
    /// Two resources claim one real object.
    #[serde(rename = "IAC0008")]
    SharedObject,
    /// A property is missing, unknown or has another shape.
    #[serde(rename = "IAC0009")]
    Property,
    /// Owner, purpose or expiry is missing or malformed.
    #[serde(rename = "IAC0010")]
    Terms,
    /// A period is malformed, or an overlap is not shorter than its period.
    #[serde(rename = "IAC0011")]
    Period,
    /// A move, a removal or an import contradicts the declarations.
    #[serde(rename = "IAC0012")]
    Refactoring,
    /// The text of a fleet is not TOML, or its file cannot be read.
    #[serde(rename = "IAC0013")]
    Syntax,
    /// A key of a text fleet is unknown.
    #[serde(rename = "IAC0014")]
    UnknownKey,
    /// A resource of a text fleet says no type, or one that is not known.
    #[serde(rename = "IAC0015")]
    UnknownType,
    /// A permission reaches more than can be seen and does not say why.
    #[serde(rename = "IAC0016")]
    Wildcard,
    /// Text holds characters that cannot be shown, or that forge a reference.
    #[serde(rename = "IAC0017")]
    Text,
    /// A `${…}` in text is malformed, or names nothing.
    #[serde(rename = "IAC0018")]
    Expression,
    /// A consumer is malformed, leads nowhere, or is two credentials'.
    #[serde(rename = "IAC0019")]
    Consumer,
    /// A term that says when a credential is rotated is malformed.
    #[serde(rename = "IAC0020")]
    Schedule,
    /// What is declared about rotations cannot be kept on a day to come.
    #[serde(rename = "IAC0021")]
    Calendar,
}

impl Code {
    const ALL: [Self; 21] = [
        Self::Name,
        Self::Duplicate,
        Self::UnknownProvider,
        Self::UnknownStore,
        Self::DanglingReference,
        Self::Cycle,
        Self::Place,
        Self::SharedObject,
        Self::Property,
        Self::Terms,
        Self::Period,
        Self::Refactoring,
        Self::Syntax,
        Self::UnknownKey,
        Self::UnknownType,
        Self::Wildcard,
        Self::Text,
        Self::Expression,
        Self::Consumer,
        Self::Schedule,
        Self::Calendar,
    ];

    /// A code by its text, as `IAC0016`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.to_string() == text)
    }

    /// What the rule is about, in one sentence without its end.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Name => "A name or a key is malformed",
            Self::Duplicate => "An agent instance or an address is declared twice",
            Self::UnknownProvider => "A provider is not declared by the fleet",
            Self::UnknownStore => "A secret store is not declared by the fleet",
            Self::DanglingReference => "A reference leads nowhere",
            Self::Cycle => "Resources need each other in a circle",
            Self::Place => "A credential has no place, or one that is malformed or taken",
            Self::SharedObject => "Two resources claim one real object",
            Self::Property => "A property is missing, unknown or has another shape",
            Self::Terms => "Owner, purpose or expiry is missing or malformed",
            Self::Period => "A period is malformed, or an overlap is not shorter than its period",
            Self::Refactoring => "A move, a removal or an import contradicts the declarations",
            Self::Syntax => "The text of a fleet is not TOML, or its file cannot be read",
            Self::UnknownKey => "A key of a text fleet is unknown",
            Self::UnknownType => {
                "A resource of a text fleet says no type, or one that is not known"
            }
            Self::Wildcard => "A permission reaches more than can be seen and does not say why",
            Self::Text => "Text holds characters that cannot be shown, or that forge a reference",
            Self::Expression => "A `${…}` in text is malformed, or names nothing",
            Self::Consumer => "A consumer is malformed, leads nowhere, or is two credentials'",
            Self::Schedule => "A term that says when a credential is rotated is malformed",
            Self::Calendar => "What is declared about rotations cannot be kept on a day to come",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = *self as u16 + 1;
        write!(f, "IAC{number:04}")
    }
}

/// One mistake: what is wrong, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// The rule.
    pub code: Code,
    /// The resource, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Where it was declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            address: None,
            source: None,
            message: message.into(),
            help: None,
        }
    }

    /// Something that is valid, and should be looked at.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Names the resource and where it was declared.
    #[must_use]
    pub fn at(mut self, address: &Address, source: &Source) -> Self {
        self.address = Some(address.clone());
        self.source = Some(source.clone());
        self
    }

    /// Says where it was declared.
    #[must_use]
    pub fn declared_at(mut self, source: &Source) -> Self {
        self.source = Some(source.clone());
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    /// One line: `file:line:column: error[CODE]: address: message; help`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}]: ", self.code)?;
        if let Some(address) = &self.address {
            write!(f, "{address}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// The nearest of the known names, when one is near enough to be meant.
pub(crate) fn nearest<T: AsRef<str>>(
    name: &str,
    known: impl IntoIterator<Item = T>,
) -> Option<String> {
    let limit = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|near| (edits(name, near.as_ref()), near))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, near)| near.as_ref().to_owned())
}

/// How many single-character edits lie between two names (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// All mistakes of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Each of them, in the order of files and lines.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// Whether one of them makes the fleet invalid.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// Sorts them by place, and drops repetitions.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| {
            (&a.source, &a.address, a.code, &a.message)
                .cmp(&(&b.source, &b.address, b.code, &b.message))
        });
        self.0.dedup();
        self
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, more: I) {
        self.0.extend(more);
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostics> for Error {
    fn from(diagnostics: Diagnostics) -> Self {
        let count = diagnostics.0.iter().filter(|d| d.severity == Severity::Error).count();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        Self::new(ErrorKind::InvalidFleet, format!("the fleet has {count} {noun}"))
            .caused_by(diagnostics)
    }
}
