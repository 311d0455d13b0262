//! What Rust and TOML write alike: strings, and lines of comment.

use crate::{
    address::is_printable,
    plan::render::{printable, put},
};

/// A string in double quotes; `escape` writes a character that is not shown.
pub(super) fn string(text: &str, escape: impl Fn(char) -> String) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if is_printable(c.encode_utf8(&mut [0; 4])) => quoted.push(c),
            c => quoted.push_str(&escape(c)),
        }
    }
    quoted.push('"');
    quoted
}

/// One line of comment, whatever is in it; `sign` begins it, with its indent.
pub(super) fn comment(text: &mut String, sign: &str, line: &str) {
    put(text, format_args!("{sign} {}", printable(line)));
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}
