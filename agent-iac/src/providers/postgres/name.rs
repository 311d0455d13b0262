//! Names, as PostgreSQL takes and shows them.
//!
//! Owns which names a declaration may have, and how one is written into SQL
//! and into text for people. It asks no server.

use crate::{
    address::{is_printable, quoted},
    resource::Property,
    schema::Type,
};

/// The longest name, in bytes: `NAMEDATALEN - 1` of an unchanged server, which
/// cuts what is longer without a word.
pub(super) const MAX_NAME: usize = 63;

/// The longest name of a role that gets logins, in bytes: the longest login's
/// suffix is `__g4294967295`.
pub(super) const MAX_ROLE: usize = MAX_NAME - 13;

/// The word of an enum's value in a declaration, by its place: that is the
/// order in which `derive(Property)` lists the variants.
pub(super) const fn word<P: Property>(place: usize) -> &'static str {
    match P::SCHEMA {
        Type::Enum(words) => words[place],
        _ => panic!("only an enum has words"),
    }
}

/// What is wrong with a name, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadName {
    pub(super) message: String,
    pub(super) help: &'static str,
}

impl BadName {
    fn new(message: String, help: &'static str) -> Self {
        Self { message, help }
    }
}

/// Judges the name of any object.
pub(super) fn check_name(name: &str) -> Option<BadName> {
    if name.is_empty() {
        Some(BadName::new("the name is empty".into(), "name the object"))
    } else if name.len() > MAX_NAME {
        let message = format!(
            "the name {} has {} bytes, and PostgreSQL cuts names after {MAX_NAME}",
            quoted(name),
            name.len()
        );
        Some(BadName::new(message, "choose a shorter one"))
    } else if !is_printable(name) {
        Some(BadName::new(
            format!("the name {} has characters that cannot be seen", quoted(name)),
            "use visible characters only",
        ))
    } else {
        None
    }
}

/// Judges the name of a role that somebody is granted or that is managed.
pub(super) fn check_role(name: &str) -> Option<BadName> {
    if let Some(wrong) = check_name(name) {
        return Some(wrong);
    }
    let reads_as = skeleton(name.trim());
    if matches!(reads_as.as_str(), "public" | "none") {
        // Even quoted, `GRANT … TO "public"` grants to everybody.
        return Some(BadName::new(
            format!("{} reads as `{reads_as}`, which is no role to PostgreSQL", quoted(name)),
            "choose another name; for what everybody may do, declare a `postgres.public`",
        ));
    }
    if name.trim() != name {
        return Some(BadName::new(
            format!("the name {} begins or ends with a space", quoted(name)),
            "leave it away",
        ));
    }
    None
}

/// Judges the name of a role that is made: the server keeps `pg_` for itself,
/// and a role needs room for the names of its logins.
pub(super) fn check_managed_role(name: &str) -> Option<BadName> {
    if let Some(wrong) = check_role(name) {
        return Some(wrong);
    }
    if name.starts_with("pg_") {
        return Some(BadName::new(
            format!(
                "the name {} begins with `pg_`, which PostgreSQL keeps for itself",
                quoted(name)
            ),
            "choose another one",
        ));
    }
    if is_login_name(name) {
        return Some(BadName::new(
            format!(
                "the name {} ends as those of logins do, which are made for other roles",
                quoted(name)
            ),
            "choose one that does not end with `__g` and a number",
        ));
    }
    if name.len() > MAX_ROLE {
        return Some(BadName::new(
            format!(
                "the name {} has {} bytes, which leaves no room for its logins (`…__g1`)",
                quoted(name),
                name.len()
            ),
            "keep it within 50 bytes",
        ));
    }
    None
}

/// A name as an eye reads it: lower case, and letters of other scripts as the
/// Latin ones that they look like. It knows the letters of `public` and `none`.
fn skeleton(name: &str) -> String {
    name.chars()
        .flat_map(char::to_lowercase)
        .map(|c| match c {
            'р' | 'ρ' | 'ｐ' => 'p',
            'ս' | 'υ' | 'ｕ' => 'u',
            'Ь' | 'ь' | 'ｂ' => 'b',
            'ӏ' | 'ι' | 'ⅼ' | 'ｌ' => 'l',
            'і' | 'ı' | 'ⅰ' | 'ｉ' => 'i',
            'с' | 'ϲ' | 'ⅽ' | 'ｃ' => 'c',
            'ո' | 'ｎ' => 'n',
            'о' | 'ο' | 'օ' | 'ｏ' => 'o',
            'е' | 'ｅ' => 'e',
            other => other,
        })
        .collect()
}

/// Whether a name is as those of logins are: as a member of the role before
/// it, whoever has it is taken for that role's login.
fn is_login_name(name: &str) -> bool {
    name.rsplit_once("__g").is_some_and(|(_, generation)| {
        !generation.is_empty() && generation.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The name of a role's login of one generation.
#[cfg(any(test, feature = "postgres"))]
pub(super) fn login_name(role: &str, generation: u32) -> String {
    format!("{role}__g{generation}")
}

/// The generation that a login's name says, when it is one of this role.
#[cfg(any(test, feature = "postgres"))]
pub(super) fn generation_of(role: &str, login: &str) -> Option<u32> {
    let digits = login.strip_prefix(role)?.strip_prefix("__g")?;
    let generation = digits.parse().ok()?;
    (login == login_name(role, generation)).then_some(generation)
}

/// Writes a name into SQL, always quoted: then no server version's list of
/// reserved words matters.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Writes a text into SQL, safe under any setting of
/// `standard_conforming_strings`.
#[cfg(any(test, feature = "postgres"))]
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A name as people write it: quoted only where it has to be.
pub(super) fn shown(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_$".contains(&b));
    if plain { name.to_owned() } else { ident(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_never_named_as_what_grants_to_everybody() {
        for name in [
            "public", "PUBLIC", "Public", "none", "NONE", " public", "public ", "рublic", "publiс",
            "nоne",
        ] {
            assert!(check_role(name).is_some(), "{name:?}");
        }
        for name in ["publisher", "republic", "nonesuch", "invoice_reader", "Ünïcode"] {
            assert_eq!(check_role(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_name_is_refused_where_the_server_would_cut_or_hide_part_of_it() {
        assert_eq!(check_name(&"n".repeat(63)), None);
        assert!(check_name(&"n".repeat(64)).is_some_and(|bad| bad.message.contains("64 bytes")));
        for name in ["", "a\0b", "a\nb", "a\u{202e}b"] {
            assert!(check_name(name).is_some(), "{name:?}");
        }
        assert_eq!(check_managed_role(&"n".repeat(50)), None);
        assert!(check_managed_role(&"n".repeat(51)).is_some());
        assert!(check_managed_role("pg_reader").is_some());
        for (name, is_like_a_login) in [
            ("reader__g1", true),
            ("reader__g01", true),
            ("a__g1__g20", true),
            ("reader__g", false),
            ("reader__g1x", false),
            ("reader_g1", false),
        ] {
            assert_eq!(check_managed_role(name).is_some(), is_like_a_login, "{name}");
        }
        assert_eq!(check_role("pg_monitor"), None, "a role of the server can be referred to");
    }

    #[test]
    fn a_login_is_told_from_what_only_looks_like_one() {
        assert_eq!(generation_of("reader", "reader__g7"), Some(7));
        for login in ["reader__g07", "reader__g", "reader__g-1", "reader_g7", "other__g7", "reader"]
        {
            assert_eq!(generation_of("reader", login), None, "{login}");
        }
        assert_eq!(generation_of("reader", &login_name("reader", u32::MAX)), Some(u32::MAX));
    }

    #[test]
    fn a_name_is_quoted_for_sql_always_and_for_people_where_it_has_to_be() {
        assert_eq!(ident("user"), r#""user""#);
        assert_eq!(ident(r#"a"b"#), r#""a""b""#);
        assert_eq!(shown("invoices_2026"), "invoices_2026");
        assert_eq!(shown("Invoices"), r#""Invoices""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'"), r"E'a\\'''");
    }
}
