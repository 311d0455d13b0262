//! What a grant allows, and on what.

use std::fmt;

use crate::{
    address::{is_printable, quoted},
    error::{Error, ErrorKind, Result},
    resource::{Expr, IntoExpr, Node, Property},
    schema::Type,
    value::Value,
};

/// The longest pattern or object, in bytes: that of a path on most systems.
const MAX_OBJECT: usize = 1024;
/// The longest action, in bytes.
const MAX_ACTION: usize = 64;

/// A pattern of objects, as `invoices/*`.
///
/// An object is a path of segments joined by `/`. A pattern matches it segment
/// by segment, from the first to the last:
///
/// | segment of the pattern | matches |
/// | --- | --- |
/// | `*` | exactly one segment, whatever it is |
/// | `**`, as the last one only | one or more segments: all that is below, not the place itself |
/// | any other | that segment, byte for byte; case counts |
///
/// A star stands for a whole segment or not at all: `inv*` is no pattern. There
/// are no empty segments, and no `.` and `..`, in a pattern or in an object.
///
/// The text is kept as it was given, because in a declaration it may refer to
/// values that are known only after apply; [`Pattern::validate`] judges it, and
/// what is no pattern matches nothing.
///
/// ```
/// use agent_iac::providers::authority::Pattern;
///
/// assert!(Pattern::new("invoices/*").matches("invoices/2026"));
/// assert!(!Pattern::new("invoices/*").matches("invoices/2026/may"));
/// assert!(Pattern::new("invoices/**").matches("invoices/2026/may"));
/// assert!(!Pattern::new("invoices/**").matches("invoices"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

/// One action, as `read`: a word of a-z, 0-9, `_`, `-`, `.` and `:`, with a
/// letter first. What actions there are, and what they mean, is the service's
/// own business; none implies another, and none stands for all.
///
/// As with [`Pattern`], the text is kept as it was given and judged by
/// [`Action::validate`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action(String);

fn invalid(text: &str, what: &str, help: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{} is not {what}", quoted(text))).help(help)
}

/// Says why `text` is no path of segments, or `None` when it is one.
fn not_a_path(text: &str) -> Option<&'static str> {
    if text.len() > MAX_OBJECT {
        Some("keep it within 1,024 bytes")
    } else if !is_printable(text) {
        Some("use visible characters only")
    } else if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        Some("write segments joined by single slashes, none of them empty, `.` or `..`")
    } else {
        None
    }
}

/// Whether `object` is one. A service that joins `..` from a request into an
/// object must not be let in by a pattern that was never meant for it.
#[cfg(feature = "authority")]
pub(super) fn is_object(object: &str) -> bool {
    not_a_path(object).is_none()
}

impl Pattern {
    /// Takes a pattern's text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks that the text is a pattern.
    ///
    /// # Errors
    ///
    /// When it is not, with the repair.
    pub fn validate(&self) -> Result<()> {
        let refused = |help| Err(invalid(&self.0, "a pattern of objects", help));
        if let Some(help) = not_a_path(&self.0) {
            return refused(help);
        }
        let mut segments = self.0.split('/').peekable();
        while let Some(segment) = segments.next() {
            match segment {
                "*" => {}
                "**" if segments.peek().is_none() => {}
                "**" => return refused("`**` stands at the end only"),
                segment if segment.contains('*') => {
                    return refused("a star stands for a whole segment, as in `invoices/*`");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the pattern matches an object.
    pub fn matches(&self, object: &str) -> bool {
        if self.validate().is_err() || not_a_path(object).is_some() {
            return false;
        }
        let mut object = object.split('/');
        for segment in self.0.split('/') {
            match (segment, object.next()) {
                ("**", Some(_)) => return true,
                ("*", Some(_)) => {}
                (segment, Some(found)) if segment == found => {}
                _ => return false,
            }
        }
        object.next().is_none()
    }
}

impl Action {
    /// Takes an action's text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks that the text is a word.
    ///
    /// # Errors
    ///
    /// When it is not, with the repair.
    pub fn validate(&self) -> Result<()> {
        let word = self.0.len() <= MAX_ACTION
            && self.0.starts_with(|c: char| c.is_ascii_lowercase())
            && self.0.bytes().all(|b| {
                b.is_ascii_lowercase()
                    || b.is_ascii_digit()
                    || matches!(b, b'_' | b'-' | b'.' | b':')
            });
        if word {
            return Ok(());
        }
        let help = if self.0.contains('*') {
            "name each action; there is none that stands for all"
        } else {
            "use a word of a-z, 0-9, `_`, `-`, `.` and `:`, a letter first, at most 64 bytes"
        };
        Err(invalid(&self.0, "an action", help))
    }
}

macro_rules! text_property {
    ($($name:ident),*) => {$(
        impl Property for $name {
            const SCHEMA: Type = Type::Text;

            fn to_value(&self) -> Value {
                self.0.to_value()
            }

            fn from_value(value: &Value) -> Option<Self> {
                String::from_value(value).map(Self)
            }

            fn to_node(&self) -> Node {
                self.0.to_node()
            }
        }

        #[diagnostic::do_not_recommend]
        impl IntoExpr<$name> for &str {
            fn into_expr(self) -> Expr<$name> {
                Expr::from_node(self.to_owned().to_node())
            }
        }

        #[diagnostic::do_not_recommend]
        impl IntoExpr<$name> for String {
            fn into_expr(self) -> Expr<$name> {
                Expr::from_node(self.to_node())
            }
        }

        #[diagnostic::do_not_recommend]
        impl IntoExpr<$name> for &String {
            fn into_expr(self) -> Expr<$name> {
                Expr::from_node(self.to_node())
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_property!(Pattern, Action);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_segment_by_segment() {
        for (pattern, object, matches) in [
            ("invoices", "invoices", true),
            ("invoices", "Invoices", false),
            ("invoices", "invoices/2026", false),
            ("invoices/*", "invoices/2026", true),
            ("invoices/*", "invoices", false),
            ("invoices/*", "invoices/2026/may", false),
            ("invoices/*", "payroll/2026", false),
            ("*/2026", "invoices/2026", true),
            ("*", "invoices", true),
            ("*", "invoices/2026", false),
            ("*/*", "invoices/2026", true),
            ("invoices/**", "invoices/2026", true),
            ("invoices/**", "invoices/2026/may", true),
            ("invoices/**", "invoices", false),
            ("invoices/**", "invoices2/2026", false),
            ("invoices/*/**", "invoices/2026", false),
            ("invoices/*/**", "invoices/2026/may", true),
            ("**", "invoices", true),
            ("**", "a/b/c", true),
            // A star in an object is text; only a star in the pattern covers it.
            ("invoices/*", "invoices/*", true),
            ("invoices/2026", "invoices/*", false),
            ("invoices/**", "invoices/../payroll", false),
            ("invoices/**", "invoices//x", false),
            ("invoices/**", "invoices/", false),
            ("**", "", false),
            ("**", "a\u{202e}b", false),
            ("**/x", "a/x", false),
            ("inv*", "inv*", false),
            ("kunden/münchen/*", "kunden/münchen/🎉", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(object), matches, "{pattern} on {object}");
        }
    }

    #[test]
    fn a_bad_pattern_says_how_to_mend_it() {
        let long = "x".repeat(1025);
        for (pattern, repair) in [
            ("", "segments"),
            ("/invoices", "segments"),
            ("a//b", "segments"),
            ("a/../b", "segments"),
            ("a/**/b", "at the end only"),
            ("inv*", "whole segment"),
            ("a/***", "whole segment"),
            ("a\nb", "visible"),
            ("a\u{202e}b", "visible"),
            (&long, "1,024"),
        ] {
            let error = Pattern::new(pattern).validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.repair().unwrap().contains(repair), "{pattern}: {error:?}");
        }
    }

    #[test]
    fn an_action_is_a_word() {
        for (action, good) in [
            ("read", true),
            ("invoices:read", true),
            ("v2.read-all_now", true),
            ("", false),
            ("*", false),
            ("Read", false),
            ("2read", false),
            ("re ad", false),
            ("read\n", false),
        ] {
            assert_eq!(Action::new(action).validate().is_ok(), good, "{action:?}");
        }
    }
}
