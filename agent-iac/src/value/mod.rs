//! Plain values, and their one canonical form.
//!
//! Owns [`Value`], the only data that reaches a blueprint, a plan or the
//! ledger, and [`canonical`], the bytes that digests are taken of. It knows no
//! schema, and it refuses floating-point numbers: two machines must write the
//! same bytes.

mod canonical;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::error::Result;

pub use canonical::canonical;
pub(crate) use canonical::each_canonical;

/// How many lists and maps may stand in each other in what comes from outside:
/// far more than any property needs, and far less than what a reader of JSON
/// goes down into.
const DEEPEST: usize = 32;

/// A plain value: what a property holds once everything is known.
///
/// A set is a [`Value::List`] that its schema keeps sorted and free of
/// repetitions, so that order never makes a change.
///
/// ```
/// use agent_iac::value::Value;
///
/// let value = Value::from("eu");
/// assert_eq!(value.to_string(), r#""eu""#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Value {
    /// Nothing was given.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number within ±(2⁵³ − 1), the range that RFC 8785 can carry.
    Int(i64),
    /// Text.
    Text(String),
    /// Several values in order.
    List(Vec<Value>),
    /// Named values.
    Map(BTreeMap<String, Value>),
}

/// A plain [`Value`](crate::value::Value), written down: it fits a property of
/// any type, and the blueprint checks its shape.
///
/// A type's own form, which rustc checks, is better where there is one; this
/// is for what a program writes. A negative number stands in parentheses.
///
/// ```
/// use agent_iac::value;
///
/// let table = value!({ "schema": "billing", "columns": ["id", "total"], "limit": (-1) });
/// assert_eq!(table.to_string(), r#"{"columns":["id","total"],"limit":-1,"schema":"billing"}"#);
/// ```
#[macro_export]
macro_rules! value {
    (null) => { $crate::value::Value::Null };
    ([ $($item:tt),* $(,)? ]) => {
        $crate::value::Value::List(::std::vec![$($crate::value!($item)),*])
    };
    ({ $($key:literal : $item:tt),* $(,)? }) => {
        $crate::value::Value::Map(::std::collections::BTreeMap::from([
            $((::std::string::String::from($key), $crate::value!($item))),*
        ]))
    };
    ($plain:expr) => { $crate::value::Value::from($plain) };
}

/// The largest whole number that a JSON number carries exactly (RFC 8259, 6).
pub const MAX_INT: i64 = (1 << 53) - 1;

impl Value {
    /// The text, when this is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, when this is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, when this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The items, when this is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, when this is a map.
    pub fn as_map(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Self::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Why a value that came from outside has no canonical form, or none that
    /// is read back: a number beyond ±(2⁵³ − 1), or lists in lists without end.
    pub(crate) fn unfit(&self) -> Option<&'static str> {
        fn at(value: &Value, depth: usize) -> Option<&'static str> {
            match value {
                Value::Int(number) if number.unsigned_abs() >= 1 << 53 => {
                    Some("a number beyond ±(2^53 - 1)")
                }
                Value::List(_) | Value::Map(_) if depth == 0 => {
                    Some("values in values without end")
                }
                Value::List(list) => list.iter().find_map(|value| at(value, depth - 1)),
                Value::Map(map) => map.values().find_map(|value| at(value, depth - 1)),
                _ => None,
            }
        }
        at(self, DEEPEST)
    }

    /// Whether nothing was given.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The list sorted and without repetitions: the canonical form of a set.
    #[must_use]
    pub fn into_set(self) -> Self {
        match self {
            Self::List(mut items) => {
                items.sort();
                items.dedup();
                Self::List(items)
            }
            other => other,
        }
    }
}

impl fmt::Display for Value {
    /// Writes the value as compact JSON. A number that has no canonical form is
    /// written too: the message that refuses it must be able to show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match canonical(self) {
            Ok(bytes) => f.write_str(&String::from_utf8_lossy(&bytes)),
            Err(_) => f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => items.serialize(serializer),
            Self::Map(entries) => entries.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("null, a truth value, a whole number, text, a list or a map")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
                Ok(Value::Bool(flag))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
                if (-MAX_INT..=MAX_INT).contains(&number) {
                    Ok(Value::Int(number))
                } else {
                    Err(E::custom("a whole number beyond 2^53 - 1"))
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
                i64::try_from(number)
                    .map_err(|_| E::custom("a whole number beyond 2^53 - 1"))
                    .and_then(|number| self.visit_i64(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Value, E> {
                Ok(Value::Text(text))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(items))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    // RFC 8785 leaves duplicate keys undefined, so two readers
                    // could hash different content.
                    if entries.insert(key.clone(), value).is_some() {
                        return Err(de::Error::custom(format!("the key {key:?} stands twice")));
                    }
                }
                Ok(Value::Map(entries))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A SHA-256 digest, written as 64 hexadecimal digits.
///
/// ```
/// use agent_iac::value::Digest;
///
/// let digest = Digest::of(&"hello")?;
/// assert!(digest.to_string().starts_with(&digest.short()));
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest before anything was written.
    pub const ZERO: Self = Self([0; 32]);

    /// The digest of a value's [`canonical`] JSON.
    ///
    /// # Errors
    ///
    /// As [`canonical`].
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Ok(Self::of_bytes(&canonical(value)?))
    }

    /// The digest of many values: of the canonical JSON of each on a line of
    /// its own.
    ///
    /// # Errors
    ///
    /// As [`canonical`].
    pub(crate) fn of_lines<T: Serialize>(values: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut hash = Sha256::new();
        each_canonical(values, |line| {
            hash.update(line);
            hash.update(b"\n");
        })?;
        Ok(Self::of_hash(hash))
    }

    /// The digest of bytes as they are.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of all that was fed to a hasher.
    pub(crate) fn of_hash(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }

    /// The first eight digits: enough for a person to name a plan by.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        const fn half(digit: u8) -> Option<u8> {
            match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                b'A'..=b'F' => Some(digit - b'A' + 10),
                _ => None,
            }
        }
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = half(pair[0])? << 4 | half(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The digits as text, given to whoever takes text: long chains are full of
    /// digests, so nothing is allocated for one.
    fn with_digits<T>(self, take: impl FnOnce(&str) -> T) -> T {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        take(std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_digits(|digits| f.write_str(digits))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_digits(|digits| serializer.serialize_str(digits))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;

        impl de::Visitor<'_> for Digits {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a digest of 64 hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                let parsed = Digest::parse(text);
                parsed.ok_or_else(|| E::custom("a digest is 64 hexadecimal digits"))
            }
        }

        deserializer.deserialize_str(Digits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    #[track_caller]
    fn check(value: &serde_json::Value, expected: &str) {
        assert_eq!(String::from_utf8(canonical(value).unwrap()).unwrap(), expected);
    }

    #[test]
    fn the_canonical_form_is_that_of_rfc_8785() {
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        check(&json("null"), "null");
        check(&json(" [ true , false, -0 ] ".replace("-0", "0").as_str()), "[true,false,0]");
        check(&json(r#"{"b": 1, "a": [ ], "": { }}"#), r#"{"":{},"a":[],"b":1}"#);
        check(&json("9007199254740991"), "9007199254740991");
        check(&json("-9007199254740991"), "-9007199254740991");
        // Control characters have a short form or four digits; the rest,
        // DEL and the line separators too, stands as it is.
        check(
            &json(r#""\u0000\b\t\n\f\r\u001f\"\\\/\u007f\u2028é""#),
            "\"\\u0000\\b\\t\\n\\f\\r\\u001f\\\"\\\\/\u{7f}\u{2028}é\"",
        );
        // By UTF-16: a surrogate pair goes before the private use area.
        check(
            &json(r#"{"\ue000": 1, "\ud83d\ude00": 2, "z": 3}"#),
            "{\"z\":3,\"😀\":2,\"\u{e000}\":1}",
        );
    }

    #[test]
    fn numbers_that_two_readers_may_read_differently_are_refused() {
        for text in
            ["1.5", "1e2", "-0.0", "9007199254740992", "-9007199254740992", "18446744073709551615"]
        {
            let tree: serde_json::Value = serde_json::from_str(text).unwrap();
            let error = canonical(&[tree]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidFleet, "{text}");
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text} is no value");
        }
        assert!(canonical(&f64::NAN).is_ok_and(|bytes| bytes == b"null"), "serde's own reading");
        assert!(canonical(&BTreeMap::from([((1, 2), 3)])).is_err(), "a key that is no text");
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"c":2,"a":3}}]"#, r#"{"a":1,"\u0061":2}"#]
        {
            let error = serde_json::from_str::<Value>(text).unwrap_err().to_string();
            assert!(error.contains("stands twice"), "{error}");
        }
    }

    #[test]
    fn a_number_beyond_json_can_still_be_shown() {
        assert_eq!(Value::Int(i64::MAX).to_string(), "9223372036854775807");
        let list = Value::List(vec![Value::Int(i64::MIN), "a\"b".into()]);
        assert_eq!(list.to_string(), r#"[-9223372036854775808,"a\"b"]"#);
        assert!(canonical(&list).is_err());
    }

    #[test]
    fn a_set_has_one_form() {
        let set = |items: &[&str]| items.iter().copied().collect::<Value>().into_set();
        assert_eq!(set(&["b", "a", "b"]), set(&["a", "b"]));
        assert_eq!(Value::from("b").into_set(), Value::from("b"));
    }

    #[test]
    fn a_digest_is_64_digits_and_nothing_else() {
        let digest = Digest::of(&Value::from("x")).unwrap();
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        let text = digest.to_string();
        for broken in [
            "",
            &text[1..],
            &format!("{text}0"),
            &format!("+{}", &text[1..]),
            &format!("{}g", &text[1..]),
            &format!("é{}", &text[2..]),
        ] {
            assert_eq!(Digest::parse(broken), None, "{broken}");
        }
        assert_eq!(
            Digest::of_bytes(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-MAX_INT..=MAX_INT).prop_map(Value::Int),
            any::<String>().prop_map(Value::Text),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                proptest::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_canonical_form_is_that_of_another_implementation(value in values()) {
            let theirs = serde_json_canonicalizer::to_vec(&value).unwrap();
            prop_assert_eq!(canonical(&value).unwrap(), theirs);
        }

        #[test]
        fn the_canonical_form_reads_back_as_the_same_value(value in values()) {
            let bytes = canonical(&value).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value.clone());
            prop_assert_eq!(value.to_string().into_bytes(), bytes);
        }
    }
}
