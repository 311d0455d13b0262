//! Writes canonical JSON (RFC 8785) straight from what serde is given.
//!
//! Owns the order of members and the form of text and numbers. It builds no
//! tree: members are written as they come, and moved within the bytes only
//! where they did not come in order.

use std::{cmp::Ordering, fmt, io::Write as _, ops::Range};

use serde::{
    Serialize, Serializer,
    ser::{
        Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
        SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
    },
};

use super::MAX_INT;
use crate::error::{Error, ErrorKind, Result};

/// Writes the canonical JSON of `value` (RFC 8785), the bytes that every
/// digest in this crate is taken of.
///
/// # Errors
///
/// When the value holds a floating-point number, a whole number beyond
/// ±(2⁵³ − 1), or a map whose keys are not text or stand twice.
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let mut writer = Writer { out: Vec::with_capacity(256), ..Writer::default() };
    value.serialize(&mut writer).map_err(told)?;
    Ok(writer.out)
}

/// Gives the canonical JSON of each value to `take`. Of many values no more
/// than one is held.
///
/// # Errors
///
/// As [`canonical`].
pub(crate) fn each_canonical<T: Serialize>(
    values: impl IntoIterator<Item = T>,
    mut take: impl FnMut(&[u8]),
) -> Result<()> {
    let mut writer = Writer::default();
    for value in values {
        writer.out.clear();
        value.serialize(&mut writer).map_err(told)?;
        take(&writer.out);
    }
    Ok(())
}

fn told(refused: Refused) -> Error {
    match refused {
        Refused::Number(number) => Error::new(
            ErrorKind::InvalidFleet,
            format!("the number {number} is not a whole number within ±(2^53 - 1)"),
        ),
        Refused::Form(why) => Error::new(ErrorKind::Bug, "a value has no JSON form").caused_by(why),
    }
}

/// Why something has no canonical form.
#[derive(Debug)]
enum Refused {
    Number(String),
    Form(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(text) | Self::Form(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Refused {}

impl serde::ser::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Form(message.to_string())
    }
}

type Written<T = ()> = std::result::Result<T, Refused>;

#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    /// The members of every object that is open, innermost last.
    members: Vec<Member>,
    /// Their names, unescaped: what RFC 8785 sorts by.
    names: String,
    /// Where the members of one object are put into order.
    sorted: Vec<u8>,
}

struct Member {
    /// Its name in [`Writer::names`].
    name: Range<usize>,
    /// Name and value in [`Writer::out`], without a comma.
    bytes: Range<usize>,
}

/// RFC 8785, 3.2.3: members are sorted by their UTF-16 code units. Those sort
/// as the bytes of UTF-8 do, but that what takes two units (its first byte is
/// 0xf0 or more) goes before U+E000 and what follows it (0xee and 0xef).
fn by_utf16(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if matches!(byte, 0xee | 0xef) { byte + 0x10 } else { byte };
    let (a, b) = (a.as_bytes(), b.as_bytes());
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => rank(*a).cmp(&rank(*b)),
        None => a.len().cmp(&b.len()),
    }
}

/// Whether a byte of text does not stand for itself between quotes.
const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

impl Writer {
    fn whole(&mut self, number: impl TryInto<i64> + fmt::Display + Copy) -> Written {
        match number.try_into() {
            Ok(whole) if (-MAX_INT..=MAX_INT).contains(&whole) => {
                write!(self.out, "{whole}").map_err(|error| Refused::Form(error.to_string()))
            }
            _ => Err(Refused::Number(number.to_string())),
        }
    }

    fn floating(&mut self, number: f64) -> Written {
        if number.is_finite() {
            return Err(Refused::Number(format!("{number:?}")));
        }
        // As serde's own reading has it.
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.push(b'"');
        self.inside(text);
        self.out.push(b'"');
    }

    /// Text without its quotes.
    fn inside(&mut self, text: &str) {
        // Without a way out of the loop it is one over many bytes at once.
        if !text.bytes().fold(false, |any, byte| any | is_escaped(byte)) {
            self.out.extend_from_slice(text.as_bytes());
            return;
        }
        let mut copied = 0;
        for (at, byte) in text.bytes().enumerate() {
            let short: &[u8] = match byte {
                b'"' => br#"\""#,
                b'\\' => br"\\",
                0x8 => br"\b",
                b'\t' => br"\t",
                b'\n' => br"\n",
                0xc => br"\f",
                b'\r' => br"\r",
                byte if is_escaped(byte) => b"",
                _ => continue,
            };
            self.out.extend_from_slice(&text.as_bytes()[copied..at]);
            copied = at + 1;
            if short.is_empty() {
                self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            } else {
                self.out.extend_from_slice(short);
            }
        }
        self.out.extend_from_slice(&text.as_bytes()[copied..]);
    }

    fn list(&mut self, end: &'static [u8]) -> List<'_> {
        self.out.push(b'[');
        List { writer: self, empty: true, end }
    }

    fn object(&mut self, end: &'static [u8]) -> Object<'_> {
        self.out.push(b'{');
        let (start, members, names) = (self.out.len(), self.members.len(), self.names.len());
        Object { writer: self, start, members, names, end }
    }

    /// What stands before the value of an enum's variant that has one.
    fn variant(&mut self, variant: &str) {
        self.out.push(b'{');
        self.text(variant);
        self.out.push(b':');
    }
}

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.inside(text);
        Ok(())
    }
}

struct List<'w> {
    writer: &'w mut Writer,
    empty: bool,
    end: &'static [u8],
}

impl List<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        if !std::mem::take(&mut self.empty) {
            self.writer.out.push(b',');
        }
        value.serialize(&mut *self.writer)
    }

    fn close(self) {
        self.writer.out.extend_from_slice(self.end);
    }
}

struct Object<'w> {
    writer: &'w mut Writer,
    /// Where its members begin in [`Writer::out`].
    start: usize,
    /// Where they begin in [`Writer::members`], and their names.
    members: usize,
    names: usize,
    end: &'static [u8],
}

impl Object<'_> {
    /// Writes a name that stands at the end of [`Writer::names`].
    fn name(&mut self, at: usize) {
        let writer = &mut *self.writer;
        if writer.members.len() > self.members {
            writer.out.push(b',');
        }
        let (begun, name) = (writer.out.len(), at..writer.names.len());
        let names = std::mem::take(&mut writer.names);
        writer.text(&names[name.clone()]);
        writer.names = names;
        writer.out.push(b':');
        writer.members.push(Member { name, bytes: begun..begun });
    }

    /// Writes the value of the member whose name was written last.
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        value.serialize(&mut *self.writer)?;
        let end = self.writer.out.len();
        if let Some(member) = self.writer.members.last_mut() {
            member.bytes.end = end;
        }
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Written {
        let at = self.writer.names.len();
        self.writer.names.push_str(name);
        self.name(at);
        self.value(value)
    }

    fn close(self) -> Written {
        let Writer { out, members, names, sorted } = &mut *self.writer;
        let own = &mut members[self.members..];
        let order =
            |a: &Member, b: &Member| by_utf16(&names[a.name.clone()], &names[b.name.clone()]);
        if !own.is_sorted_by(|a, b| order(a, b).is_lt()) {
            own.sort_unstable_by(order);
            if let Some(twice) = own.windows(2).find(|two| order(&two[0], &two[1]).is_eq()) {
                let name = &names[twice[0].name.clone()];
                return Err(Refused::Form(format!("the key {name:?} stands twice")));
            }
            sorted.clear();
            for member in own.iter() {
                if !sorted.is_empty() {
                    sorted.push(b',');
                }
                sorted.extend_from_slice(&out[member.bytes.clone()]);
            }
            out[self.start..].copy_from_slice(sorted);
        }
        out.extend_from_slice(self.end);
        members.truncate(self.members);
        names.truncate(self.names);
        Ok(())
    }
}

macro_rules! whole_numbers {
    ($($method:ident($number:ty)),*) => {$(
        fn $method(self, number: $number) -> Written {
            self.whole(number)
        }
    )*};
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = List<'w>;
    type SerializeTuple = List<'w>;
    type SerializeTupleStruct = List<'w>;
    type SerializeTupleVariant = List<'w>;
    type SerializeMap = Object<'w>;
    type SerializeStruct = Object<'w>;
    type SerializeStructVariant = Object<'w>;

    whole_numbers!(
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_i128(i128),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_u128(u128)
    );

    fn serialize_bool(self, flag: bool) -> Written {
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Written {
        self.floating(f64::from(number))
    }

    fn serialize_f64(self, number: f64) -> Written {
        self.floating(number)
    }

    fn serialize_char(self, c: char) -> Written {
        self.text(c.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Written {
        self.text(text);
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Written {
        self.out.push(b'"');
        fmt::Write::write_fmt(&mut *self, format_args!("{value}"))
            .map_err(|error| Refused::Form(error.to_string()))?;
        self.out.push(b'"');
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Written {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Written {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Written {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Written {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Written {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        self.variant(variant);
        value.serialize(&mut *self)?;
        self.out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Written<List<'w>> {
        Ok(self.list(b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Written<List<'w>> {
        Ok(self.list(b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Written<List<'w>> {
        Ok(self.list(b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Written<List<'w>> {
        self.variant(variant);
        Ok(self.list(b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Written<Object<'w>> {
        Ok(self.object(b"}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Written<Object<'w>> {
        Ok(self.object(b"}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Written<Object<'w>> {
        self.variant(variant);
        Ok(self.object(b"}}"))
    }
}

macro_rules! lists {
    ($($form:ident::$method:ident),*) => {$(
        impl $form for List<'_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
                self.item(value)
            }

            fn end(self) -> Written {
                self.close();
                Ok(())
            }
        }
    )*};
}

lists!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! structs {
    ($($form:ident),*) => {$(
        impl $form for Object<'_> {
            type Ok = ();
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Written {
                self.field(name, value)
            }

            fn end(self) -> Written {
                self.close()
            }
        }
    )*};
}

structs!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Object<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Written {
        let at = self.writer.names.len();
        key.serialize(Name(&mut self.writer.names))?;
        self.name(at);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        self.value(value)
    }

    fn end(self) -> Written {
        self.close()
    }
}

/// Takes the key of a map, which must be text.
struct Name<'n>(&'n mut String);

fn no_text<T>() -> Written<T> {
    Err(Refused::Form("the key of a map is no text".to_owned()))
}

macro_rules! no_names {
    ($($method:ident($($given:ty),*) $(-> $answer:ty)?;)*) => {$(
        fn $method(self, $(_: $given),*) -> Written $(<$answer>)? {
            no_text()
        }
    )*};
}

impl Serializer for Name<'_> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Impossible<(), Refused>;
    type SerializeTuple = Impossible<(), Refused>;
    type SerializeTupleStruct = Impossible<(), Refused>;
    type SerializeTupleVariant = Impossible<(), Refused>;
    type SerializeMap = Impossible<(), Refused>;
    type SerializeStruct = Impossible<(), Refused>;
    type SerializeStructVariant = Impossible<(), Refused>;

    fn serialize_str(self, text: &str) -> Written {
        self.0.push_str(text);
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Written {
        fmt::Write::write_fmt(self.0, format_args!("{value}"))
            .map_err(|error| Refused::Form(error.to_string()))
    }

    fn serialize_char(self, c: char) -> Written {
        self.0.push(c);
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Written {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Written {
        no_text()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Written {
        no_text()
    }

    no_names! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Serialize)]
    struct Unit;

    #[derive(Serialize)]
    struct Wrapped(u8);

    #[derive(Serialize)]
    enum Form {
        Bare,
        One(u8),
        Two(u8, char),
        Named { z: u8, a: Option<u8> },
    }

    #[derive(Serialize)]
    #[serde(tag = "kind")]
    enum Outer {
        Step(Inner),
    }

    #[derive(Serialize)]
    #[serde(tag = "phase")]
    enum Inner {
        Begun { z: u8, action: &'static str },
    }

    #[derive(Serialize)]
    struct Flat {
        z: u8,
        #[serde(flatten)]
        rest: BTreeMap<&'static str, u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        none: Option<u8>,
    }

    #[track_caller]
    fn check(value: &impl Serialize, expected: &str) {
        assert_eq!(String::from_utf8(canonical(value).unwrap()).unwrap(), expected);
        let tree = serde_json::to_value(value).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(expected).unwrap(), tree);
    }

    #[test]
    fn every_form_that_serde_knows_is_written_as_serde_json_reads_it() {
        check(&Unit, "null");
        check(&Wrapped(7), "7");
        check(&(1, 'a', "b", [true, false]), r#"[1,"a","b",[true,false]]"#);
        check(
            &[Form::Bare, Form::One(1), Form::Two(1, '"')],
            r#"["Bare",{"One":1},{"Two":[1,"\""]}]"#,
        );
        check(&Form::Named { z: 1, a: None }, r#"{"Named":{"a":null,"z":1}}"#);
        check(&Form::Named { z: 1, a: Some(2) }, r#"{"Named":{"a":2,"z":1}}"#);
        let step = Outer::Step(Inner::Begun { z: 1, action: "create" });
        check(&step, r#"{"action":"create","kind":"Step","phase":"Begun","z":1}"#);
        let rest = BTreeMap::from([("a", 1), ("zz", 2)]);
        check(&Flat { z: 3, rest, none: None }, r#"{"a":1,"z":3,"zz":2}"#);
        check(&BTreeMap::from([('b', 1), ('a', 2)]), r#"{"a":2,"b":1}"#);
        check(&BTreeMap::<&str, u8>::new(), "{}");
        check(&Some(Vec::<u8>::new()), "[]");
    }

    #[test]
    fn members_that_come_out_of_order_are_moved_with_all_that_is_in_them() {
        let json: serde_json::Value = serde_json::from_str(
            r#"{"b":{"y":[{"d":1,"c":2}],"x":{}},"a":{"\u00e9":1,"e":2,"\ud83d\ude00":3,"\ue000":4}}"#,
        )
        .unwrap();
        check(
            &json,
            "{\"a\":{\"e\":2,\"é\":1,\"😀\":3,\"\u{e000}\":4},\"b\":{\"x\":{},\"y\":[{\"c\":2,\"d\":1}]}}",
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bytes_sort_as_the_units_of_utf_16(
            a in "[a\u{e0}\u{ffff}\u{e000}\u{d7ff}\u{10000}\u{10ffff}]{0,3}",
            b in "[a\u{e0}\u{ffff}\u{e000}\u{d7ff}\u{10000}\u{10ffff}]{0,3}",
        ) {
            prop_assert_eq!(by_utf16(&a, &b), a.encode_utf16().cmp(b.encode_utf16()));
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let rest = BTreeMap::from([("a", 1), ("z", 2)]);
        let error = canonical(&Flat { z: 1, rest, none: None }).unwrap_err();
        assert!(error.chain().contains("\"z\" stands twice"), "{error:?}");
    }
}
