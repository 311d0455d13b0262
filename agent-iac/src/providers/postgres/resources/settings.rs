//! Parameters whose value is a list of names.
//!
//! Owns how the server writes such a list: it is compared as text. It knows no
//! other parameter.

/// The parameters that are lists of names: one text would be one name.
pub(in super::super) const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// A name of a list, and whether it stands in quotes.
type Part = (String, bool);

/// Reads a list of names as the server writes it, `"$user", public`.
fn parts(text: &str) -> Option<Vec<Part>> {
    let mut names = Vec::new();
    let mut rest = text.trim();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut quoted = quoted;
            loop {
                let (part, after) = quoted.split_once('"')?;
                name.push_str(part);
                match after.strip_prefix('"') {
                    Some(more) => {
                        name.push('"');
                        quoted = more;
                    }
                    None => {
                        rest = after.trim_start();
                        break;
                    }
                }
            }
            names.push((name, true));
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let name = rest[..end].trim();
            if name.is_empty() || name.contains([' ', '"']) {
                return None;
            }
            names.push((name.to_lowercase(), false));
            rest = &rest[end..];
        }
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// The names of a list.
#[cfg(feature = "postgres")]
pub(in super::super) fn names(text: &str) -> Option<Vec<String>> {
    Some(parts(text)?.into_iter().map(|(name, _)| name).collect())
}

/// A list as the server keeps it; `None` when it is no list of names.
pub(super) fn canonical(text: &str) -> Option<String> {
    let written = |(name, quoted): Part| {
        let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        // Which plain names are words of SQL, and stand in quotes, is the
        // server's to know.
        if is_plain && !quoted { name } else { format!("\"{}\"", name.replace('"', "\"\"")) }
    };
    Some(parts(text)?.into_iter().map(written).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_written_as_the_server_keeps_it() {
        for (text, expected) in [
            ("public", Some("public")),
            ("sales,public", Some("sales, public")),
            (" sales ,  public ", Some("sales, public")),
            ("$user, public", Some("\"$user\", public")),
            ("\"$user\", public", Some("\"$user\", public")),
            ("Sales", Some("sales")),
            ("\"Sales\", \"a \"\"b\"\"\"", Some("\"Sales\", \"a \"\"b\"\"\"")),
            ("\"user\"", Some("\"user\"")),
            ("two words", None),
            ("a,,b", None),
            ("\"open", None),
        ] {
            assert_eq!(canonical(text).as_deref(), expected, "{text}");
        }
    }
}
