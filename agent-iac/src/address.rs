//! Names of agents and resources.
//!
//! Owns the text form of every name and what may stand in one. An address is
//! ours: providers never see it as an identity, only as a mark.

use std::{cmp::Ordering, fmt, marker::PhantomData, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::Error as _};

use crate::error::{Error, ErrorKind, Result};

/// The longest name of an agent or a resource, in bytes: that of a PostgreSQL
/// identifier and of a DNS label, the narrowest systems that agents live in.
pub const MAX_NAME: usize = 63;

/// The longest key of an instance, in bytes.
pub const MAX_KEY: usize = 256;

/// One instance of an agent: its name and, where several are made of one
/// declaration, its key.
///
/// ```
/// use agent_iac::address::Instance;
///
/// let instance: Instance = r#"invoice-reader["eu"]"#.parse()?;
/// assert_eq!(instance.name(), "invoice-reader");
/// assert_eq!(instance.key(), ["eu"]);
/// # Ok::<(), agent_iac::Error>(())
/// ```
// The name and each key, with what stands in none of them between. Names are
// keys of every map here, are compared and handed on all the time: so one text
// is compared at once, and a copy shares it. It sorts as its parts would.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Instance(Arc<str>);

/// Stands before each key; no name and no key holds it, for it is not
/// printable, and it sorts before all that does.
const BETWEEN: char = '\0';

impl Instance {
    /// Makes an instance without a key.
    ///
    /// # Errors
    ///
    /// When the name is not a lower-case word with dashes of at most
    /// [`MAX_NAME`] bytes.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        Self::keyed(name, std::iter::empty::<&str>())
    }

    /// Makes an instance with the values of its key inputs, in their order.
    ///
    /// # Errors
    ///
    /// As [`Instance::new`], and when a key is empty, longer than [`MAX_KEY`]
    /// bytes, or holds what cannot be shown (see [`is_printable`]).
    pub fn keyed(
        name: impl Into<String>,
        key: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Self> {
        let mut text = name.into();
        if !is_agent_name(&text) {
            return Err(invalid(format!("{} is not an agent's name", quoted(&text))).help(
                format!("use a-z, 0-9 and dashes, a letter first, at most {MAX_NAME} bytes"),
            ));
        }
        for part in key {
            let part = part.as_ref();
            if part.is_empty() || part.len() > MAX_KEY || !is_printable(part) {
                let name = text.split(BETWEEN).next().unwrap_or_default();
                return Err(invalid(format!("{} is not a key of `{name}`", quoted(part)))
                    .help(format!("use visible characters, at most {MAX_KEY} bytes")));
            }
            text.push(BETWEEN);
            text.push_str(part);
        }
        Ok(Self(text.into()))
    }

    /// The agent's name.
    pub fn name(&self) -> &str {
        self.parts().next().unwrap_or_default()
    }

    /// The values of its key inputs, in their order; empty where it has none.
    pub fn key(&self) -> Vec<&str> {
        self.parts().skip(1).collect()
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split(BETWEEN)
    }

    /// The address of one of its resources.
    ///
    /// # Errors
    ///
    /// When `resource` is not a field name.
    pub fn resource(&self, resource: impl AsRef<str>) -> Result<Address> {
        Address::new(self.clone(), resource)
    }
}

/// The name of one managed resource: an agent instance and a field.
///
/// ```
/// use agent_iac::address::Address;
///
/// let address: Address = r#"invoice-reader["eu"].account"#.parse()?;
/// assert_eq!(address.resource(), "account");
/// assert_eq!(address.to_string(), r#"invoice-reader["eu"].account"#);
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    instance: Instance,
    resource: Arc<str>,
}

impl Ord for Instance {
    fn cmp(&self, other: &Self) -> Ordering {
        // Most that are compared are copies of each other.
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for Instance {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Address {
    /// Makes an address.
    ///
    /// # Errors
    ///
    /// When `resource` is not a field name: a-z, 0-9 and underscores, not a
    /// digit first.
    pub fn new(instance: Instance, resource: impl AsRef<str>) -> Result<Self> {
        let resource = resource.as_ref();
        if !is_field_name(resource) && !is_undeclared(resource) {
            return Err(invalid(format!("{} is not a resource's name", quoted(resource)))
                .help(format!("use a-z, 0-9 and underscores, at most {MAX_NAME} bytes")));
        }
        Ok(Self { instance, resource: resource.into() })
    }

    /// The address of something that was found on an agent's identity without
    /// being declared: `agent.?type/id`.
    ///
    /// # Errors
    ///
    /// When the provider's id cannot be shown or is longer than 512 bytes.
    pub fn undeclared(instance: Instance, resource_type: &str, id: &str) -> Result<Self> {
        Self::new(instance, format!("?{resource_type}/{id}"))
    }

    /// The agent instance.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The field's name.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Whether this names something that nobody declared.
    pub fn is_undeclared(&self) -> bool {
        self.resource.starts_with('?')
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidFleet, message)
}

fn is_agent_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_field_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_undeclared(name: &str) -> bool {
    name.starts_with('?') && name.contains('/') && name.len() <= 576 && is_printable(name)
}

/// Whether `text` can be shown on a terminal or a page as it is: no control
/// characters, none that change the direction of text (UAX 9), and neither of
/// the two marks that carry references inside text.
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(|c| {
        c.is_control()
            || matches!(
                c,
                '\u{200b}'..='\u{200f}'
                    | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{2069}'
                    | '\u{61c}'
                    | '\u{feff}'
                    | '\u{fff9}'..='\u{fffb}'
                    | '\u{e0000}'..='\u{e007f}'
                    | '\u{f1ac0}'
                    | '\u{f1ac1}'
            )
    })
}

/// `text` in backquotes, cut to a length that fits a line, with what cannot be
/// shown escaped.
pub fn quoted(text: &str) -> String {
    let mut shown = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == 64 {
            shown.push('…');
            break;
        }
        if is_printable(c.encode_utf8(&mut [0; 4])) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    format!("`{shown}`")
}

impl Instance {
    /// What sorts before each of its resources, and behind all of those of an
    /// instance that sorts before it.
    pub(crate) fn before_its_resources(&self) -> Address {
        Address { instance: self.clone(), resource: Arc::from("") }
    }

    /// Writes the text form. Names are written so often that the way over a
    /// formatter would be seen.
    fn put(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let mut parts = self.parts();
        f.write_str(parts.next().unwrap_or_default())?;
        let mut before = "[\"";
        for part in parts {
            f.write_str(before)?;
            // Each piece but the first begins with what has to be escaped.
            let mut from = 0;
            for (at, _) in part.match_indices(['"', '\\']) {
                f.write_str(&part[from..at])?;
                f.write_str("\\")?;
                from = at;
            }
            f.write_str(&part[from..])?;
            before = "\",\"";
        }
        // With a key, the last of it is still open.
        f.write_str(if before.starts_with('[') { "" } else { "\"]" })
    }
}

impl Address {
    fn put(&self, f: &mut impl fmt::Write) -> fmt::Result {
        self.instance.put(f)?;
        f.write_str(".")?;
        f.write_str(&self.resource)
    }
}

/// Splits `name["a","b"]rest` into its parts.
pub(crate) fn split(text: &str) -> Option<(&str, Vec<String>, &str)> {
    let end = text.find(['[', '.']).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut key = Vec::new();
    if let Some(inner) = rest.strip_prefix('[') {
        rest = inner;
        loop {
            rest = rest.strip_prefix('"')?;
            let mut part = String::new();
            let mut chars = rest.char_indices();
            let after = loop {
                match chars.next()? {
                    (_, '\\') => part.push(chars.next()?.1),
                    (index, '"') => break index + 1,
                    (_, c) => part.push(c),
                }
            };
            key.push(part);
            rest = &rest[after..];
            if let Some(next) = rest.strip_prefix(',') {
                rest = next;
            } else {
                rest = rest.strip_prefix(']')?;
                break;
            }
        }
    }
    Some((name, key, rest))
}

impl FromStr for Instance {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match split(text) {
            Some((name, key, "")) => Self::keyed(name, key),
            _ => Err(invalid(format!("{} is not an agent", quoted(text)))
                .help("write `name` or `name[\"key\"]`")),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match split(text) {
            Some((name, key, rest)) if rest.starts_with('.') => {
                Self::new(Instance::keyed(name, key)?, &rest[1..])
            }
            _ => Err(invalid(format!("{} is not an address", quoted(text)))
                .help("write `agent.resource` or `agent[\"key\"].resource`")),
        }
    }
}

/// Reads a name from text without a copy of the text.
struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err = Error>> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an agent or a resource")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.put(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut text = String::with_capacity(64);
                self.put(&mut text).map_err(S::Error::custom)?;
                serializer.serialize_str(&text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text(PhantomData))
            }
        }

    )*};
}

as_text!(Instance, Address);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_checked() {
        let longest = "a".repeat(MAX_NAME);
        for name in ["a", "a-b", "a0", longest.as_str()] {
            assert!(Instance::new(name).is_ok(), "{name}");
        }
        let too_long = "a".repeat(MAX_NAME + 1);
        for name in
            ["", "A", "0a", "-a", "a-", "a_b", "a.b", "a b", "é", "a\n", "a[", too_long.as_str()]
        {
            let error = Instance::new(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidFleet, "{name}");
            assert!(error.repair().is_some_and(|help| help.starts_with("use a-z")), "{name}");
        }
        let agent = Instance::new("a").unwrap();
        for field in ["a", "_", "a_b", "a1"] {
            assert!(agent.resource(field).is_ok(), "{field}");
        }
        for field in ["", "1a", "a-b", "A", "a.b", "?", "?a", "é"] {
            assert!(agent.resource(field).is_err(), "{field}");
        }
    }

    #[test]
    fn text_that_would_deceive_its_reader_is_no_key() {
        let hostile = [
            "\u{0}",
            "\n",
            "\u{1b}[31m",
            "\u{202e}ue",
            "a\u{200b}",
            "\u{feff}",
            "\u{2066}x\u{2069}",
            "\u{e0041}",
            "\u{61c}",
            "\u{85}",
            "\u{f1ac0}a.b#c\u{f1ac1}",
        ];
        for key in hostile.into_iter().chain([""]) {
            let error = Instance::keyed("a", ["fine", key]).unwrap_err();
            assert!(is_printable(error.message()), "{key:?} in {:?}", error.message());
            assert!(
                Address::undeclared(Instance::new("a").unwrap(), "t", key).is_ok()
                    == key.is_empty()
            );
        }
        let long = "k".repeat(MAX_KEY);
        assert!(Instance::keyed("a", [&long]).is_ok());
        assert!(Instance::keyed("a", [long + "k"]).is_err());
    }

    #[test]
    fn malformed_text_is_no_address() {
        for text in [
            "",
            ".",
            "a",
            "a.",
            ".b",
            "a[].b",
            "a[\"x\"]",
            "a[\"x].b",
            "a[\"x\",].b",
            "a[x].b",
            "a[\"x\"]b",
            "a[\"x\"].b.c",
            "a[\"\"].b",
            "a.b\n",
            "a[\"\\",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
        for text in ["", "a.b", "a[\"x\"].b", "a[", "a[\"x\"", "a\u{0}"] {
            assert!(text.parse::<Instance>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_quoted_fits_a_line_and_shows_everything() {
        assert_eq!(quoted("a\u{202e}b\n"), r"`a\u{202e}b\u{a}`");
        assert_eq!(quoted(&"x".repeat(70)), format!("`{}…`", "x".repeat(64)));
    }

    #[test]
    fn an_undeclared_object_has_an_address_whatever_its_id_is() {
        let agent: Instance = r#"a["k"]"#.parse().unwrap();
        for id in ["7", "arn:x/y.z", "with \"quotes\"]", "é"] {
            let address = Address::undeclared(agent.clone(), "sim.key", id).unwrap();
            assert!(address.is_undeclared());
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
        assert!(Address::undeclared(agent, "sim.key", &"x".repeat(600)).is_err());
    }

    fn keys() -> impl Strategy<Value = Vec<String>> {
        let key = any::<String>().prop_filter("a key", |key| {
            !key.is_empty() && key.len() <= MAX_KEY && is_printable(key)
        });
        proptest::collection::vec(key, 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_address_reads_back_as_itself(name in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?", key in keys(), field in "[a-z_][a-z0-9_]{0,20}") {
            let address = Instance::keyed(name, key).unwrap().resource(field).unwrap();
            prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address.clone());
            let json = serde_json::to_string(&address).unwrap();
            prop_assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), address);
        }

        #[test]
        fn two_addresses_of_one_text_are_one(a in keys(), b in keys()) {
            let (a, b) = (Instance::keyed("x", a).unwrap(), Instance::keyed("x", b).unwrap());
            prop_assert_eq!(a == b, a.to_string() == b.to_string());
        }

        #[test]
        fn agents_sort_by_name_and_then_by_each_key(
            a in "[a-c]{1,3}(-[a-c])?", b in "[a-c]{1,3}(-[a-c])?", mut k in keys(), l in keys(), same in any::<bool>()
        ) {
            if same {
                k.extend(l.iter().take(1).cloned());
            }
            let agent = |name: &str, key: &[String]| Instance::keyed(name, key).unwrap();
            for (name, key) in [(&b, &l), (&a, &l), (&b, &k)] {
                prop_assert_eq!(agent(&a, &k).cmp(&agent(name, key)), (&a, &k).cmp(&(name, key)));
            }
            let whole = agent(&a, &k);
            prop_assert_eq!((whole.name(), whole.key()), (&*a, k.iter().map(|k| &**k).collect()));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in any::<String>()) {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
            }
        }
    }
}
