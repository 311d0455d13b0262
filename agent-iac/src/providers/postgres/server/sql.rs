//! Names and texts as they are written into SQL.

/// A name, quoted, so that it means itself and nothing else.
///
/// ```
/// use agent_iac::providers::postgres::server::sql;
///
/// assert_eq!(sql::identifier(r#"we"ird"#), r#""we""ird""#);
/// ```
pub fn identifier(name: &str) -> String {
    quote('"', name)
}

/// A text, quoted; right whatever `standard_conforming_strings` is.
///
/// ```
/// use agent_iac::providers::postgres::server::sql;
///
/// assert_eq!(sql::literal("it's"), "'it''s'");
/// assert_eq!(sql::literal(r"a\b"), r"E'a\\b'");
/// ```
pub fn literal(text: &str) -> String {
    if text.contains('\\') {
        return format!("E{}", quote('\'', &text.replace('\\', r"\\")));
    }
    quote('\'', text)
}

fn quote(mark: char, text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(mark);
    for c in text.chars() {
        if c == mark {
            quoted.push(mark);
        }
        quoted.push(c);
    }
    quoted.push(mark);
    quoted
}
