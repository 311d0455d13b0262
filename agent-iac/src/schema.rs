//! What a resource type looks like, as data.
//!
//! Owns [`ResourceType`], which `derive(Resource)` makes one constant of for
//! each type, and the normal form of a property's value. It knows no Rust type
//! behind a schema, so that the planner, the ledger and a text fleet all read
//! the same description.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    resource::{Node, Problem},
    value::Value,
};

/// What a resource is to its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Who the agent is: an account or a role.
    Identity,
    /// What an identity may do.
    Permission,
    /// What an identity proves itself with.
    Credential,
    /// Where and how the agent runs.
    Runtime,
}

impl Kind {
    /// Its name, as an attribute has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Permission => "permission",
            Self::Credential => "credential",
            Self::Runtime => "runtime",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The shape of one property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Type {
    /// A truth value.
    Bool,
    /// A whole number.
    Int,
    /// Text.
    Text,
    /// One of a few words.
    Enum(&'static [&'static str]),
    /// Values whose order means something.
    List(&'static Type),
    /// Values without order or repetition.
    Set(&'static Type),
    /// Text keys and their values.
    Map(&'static Type),
    /// Named fields, as `derive(Property)` makes of a struct.
    Struct(&'static [(&'static str, Type)]),
    /// A value that may be left out.
    Option(&'static Type),
    /// Another resource of the named type; its value is that resource's id.
    Link(&'static str),
}

impl Type {
    /// Brings a value into the one form in which it is compared and hashed:
    /// sets sorted, links reduced to the id, what is left out made
    /// [`Value::Null`].
    pub fn normalise(&self, value: Value) -> Value {
        match (self, value) {
            (Self::Set(item), Value::List(items)) => {
                Value::List(items.into_iter().map(|v| item.normalise(v)).collect()).into_set()
            }
            (Self::List(item), Value::List(items)) => {
                Value::List(items.into_iter().map(|v| item.normalise(v)).collect())
            }
            (Self::Map(item), Value::Map(mut entries)) => {
                for value in entries.values_mut() {
                    *value = item.normalise(std::mem::take(value));
                }
                Value::Map(entries)
            }
            // In its place: nearly all that comes here is in this form already.
            (Self::Struct(fields), Value::Map(mut entries)) => {
                entries.retain(|name, _| fields.iter().any(|(field, _)| field == name));
                for (name, item) in *fields {
                    match entries.get_mut(*name) {
                        Some(value) => *value = item.normalise(std::mem::take(value)),
                        None => {
                            entries.insert((*name).to_owned(), item.normalise(Value::Null));
                        }
                    }
                }
                Value::Map(entries)
            }
            (Self::Option(item), value) if !value.is_null() => item.normalise(value),
            (Self::Link(_), Value::Map(mut entries)) => entries.remove("id").unwrap_or_default(),
            (_, value) => value,
        }
    }

    /// The type that a link points to; `None` for what is no link.
    pub fn link(&self) -> Option<&'static str> {
        match self {
            Self::Link(name) => Some(name),
            Self::Option(item) => item.link(),
            _ => None,
        }
    }

    /// Says what is wrong with a value of this shape, or `None` when it fits.
    pub fn misfit(&self, value: &Value) -> Option<String> {
        let expected = |what: &str| Some(format!("expected {what}, found {value}"));
        match (self, value) {
            (Self::Option(_), Value::Null)
            | (Self::Bool, Value::Bool(_))
            | (Self::Text, Value::Text(_))
            | (Self::Link(_), Value::Text(_) | Value::Map(_)) => None,
            (Self::Int, Value::Int(number)) => {
                let fits = (-crate::value::MAX_INT..=crate::value::MAX_INT).contains(number);
                if fits { None } else { expected("a whole number within ±(2^53 - 1)") }
            }
            (Self::Option(item), value) => item.misfit(value),
            (Self::Enum(words), Value::Text(word)) if words.contains(&word.as_str()) => None,
            (Self::Enum(words), _) => expected(&format!("one of {}", words.join(", "))),
            (Self::List(item) | Self::Set(item), Value::List(items)) => {
                items.iter().find_map(|value| item.misfit(value))
            }
            (Self::Map(item), Value::Map(entries)) => {
                entries.values().find_map(|value| item.misfit(value))
            }
            (Self::Struct(fields), Value::Map(entries)) => {
                if let Some(name) = entries.keys().find(|k| fields.iter().all(|(f, _)| f != k)) {
                    return Some(format!("there is no field `{name}`"));
                }
                fields.iter().find_map(|(name, item)| {
                    let value = entries.get(*name).unwrap_or(&Value::Null);
                    item.misfit(value).map(|why| format!("`{name}`: {why}"))
                })
            }
            (Self::Bool, _) => expected("true or false"),
            (Self::Int, _) => expected("a whole number"),
            (Self::Text, _) => expected("text"),
            (Self::List(_) | Self::Set(_), _) => expected("a list"),
            (Self::Map(_) | Self::Struct(_), _) => expected("a map"),
            (Self::Link(_), _) => expected("a reference to a resource"),
        }
    }
}

/// What a change of a property does to the real object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// It is changed in place.
    Update,
    /// It cannot be changed; the object is made anew.
    Replace,
}

/// One declared property of a resource type.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name, as written in a declaration.
    pub name: &'static str,
    /// Its shape.
    pub ty: Type,
    /// Whether a declaration must give it.
    pub required: bool,
    /// Makes the value that it has when it is left out, where that is not
    /// nothing.
    pub default: Option<fn() -> Value>,
    /// Whether it is part of the object's natural key: what makes two
    /// declarations claim one real object.
    pub key: bool,
    /// What a change of it does.
    pub mutability: Mutability,
    /// Its documentation, shown by tools.
    pub doc: &'static str,
}

impl Field {
    /// The value that it has when a declaration leaves it out.
    pub fn left_out(&self) -> Value {
        self.default.map_or(Value::Null, |default| self.ty.normalise(default()))
    }
}

/// One value that is known only after the resource exists.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Its name.
    pub name: &'static str,
    /// Its shape.
    pub ty: Type,
    /// Its documentation, shown by tools.
    pub doc: &'static str,
}

/// Computes the access that a resource gives to a principal, from its
/// properties, as far as they are known: [`Grants::grants`](crate::resource::Grants::grants).
pub type AccessOf = fn(&str, &BTreeMap<String, Node>) -> Access;

/// Finds the mistakes in properties that no shape can see:
/// [`Check::check`](crate::resource::Check::check).
pub type CheckOf = fn(&BTreeMap<String, Node>) -> Vec<Problem>;

/// A resource type: the constant that `derive(Resource)` makes.
///
/// ```
/// # #[cfg(feature = "authority")] {
/// use agent_iac::{providers::authority::Account, resource::Resource};
///
/// assert_eq!(Account::RESOURCE.name, "authority.account");
/// assert!(Account::RESOURCE.field("name").is_some_and(|field| field.key));
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct ResourceType {
    /// `provider.type`, as `postgres.role`.
    pub name: &'static str,
    /// What it is to an agent.
    pub kind: Kind,
    /// Its declared properties, sorted by name.
    pub fields: &'static [Field],
    /// What is known only once it exists, sorted by name.
    pub outputs: &'static [Output],
    /// The access that it gives: of every permission, and of what else says
    /// that it counts as access.
    pub access: Option<AccessOf>,
    /// What is wrong with its properties beyond their shapes, where the type
    /// checks that.
    pub check: Option<CheckOf>,
    /// Its documentation, shown by tools.
    pub doc: &'static str,
}

impl ResourceType {
    /// The declared property of that name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The output of that name.
    pub fn output(&self, name: &str) -> Option<&'static Output> {
        self.outputs.iter().find(|output| output.name == name)
    }

    /// The provider that manages it unless a declaration names another: what
    /// stands before the dot of its name.
    pub fn default_provider(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }

    /// The field that names the identity which this resource belongs to: `to`
    /// of a permission, `of` of a credential. A permission without one is
    /// about what everybody has, and belongs to its agent alone.
    pub fn owner_field(&self) -> Option<&'static str> {
        let name = match self.kind {
            Kind::Permission => "to",
            Kind::Credential => "of",
            Kind::Identity | Kind::Runtime => return None,
        };
        self.field(name).map(|field| field.name)
    }

    /// The access that one resource of this type gives. `own` is how the
    /// resource itself is named in tuples: its address, or the system's name
    /// for what is nobody's.
    pub fn access_of(&self, own: &str, properties: &BTreeMap<String, Node>) -> Access {
        let Some(access) = self.access else { return Access::NONE };
        match self.owner_field() {
            None => access(own, properties),
            Some(field) => match properties.get(field).and_then(Node::principal) {
                Some(principal) => access(&principal, properties),
                None => Access::undecided(format!("`{field}` of {own} is not known yet")),
            },
        }
    }

    /// The names of the fields that form the natural key.
    pub fn key_fields(&self) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().filter(|field| field.key)
    }
}

impl fmt::Debug for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceType({})", self.name)
    }
}

impl PartialEq for ResourceType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ResourceType {}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    const WORDS: Type = Type::Set(&Type::Text);
    const TABLE: Type = Type::Struct(&[("name", Type::Text), ("tags", Type::Option(&WORDS))]);

    #[test]
    fn a_value_has_one_normal_form() {
        #[track_caller]
        fn check(ty: Type, from: &str, to: &str) {
            let normal = ty.normalise(value(from));
            assert_eq!(normal, value(to), "{from} as {ty:?}");
            assert_eq!(ty.normalise(normal.clone()), normal, "normal once, normal for ever");
        }
        check(WORDS, r#"["b","a","b"]"#, r#"["a","b"]"#);
        check(Type::List(&WORDS), r#"[["b","a"],["c"]]"#, r#"[["a","b"],["c"]]"#);
        check(Type::List(&Type::Text), r#"["b","a","b"]"#, r#"["b","a","b"]"#);
        check(Type::Set(&WORDS), r#"[["b","a"],["a","b"]]"#, r#"[["a","b"]]"#);
        check(Type::Option(&WORDS), r#"["b","a"]"#, r#"["a","b"]"#);
        check(Type::Option(&WORDS), "null", "null");
        check(TABLE, r#"{"name":"t"}"#, r#"{"name":"t","tags":null}"#);
        check(TABLE, r#"{"name":"t","tags":["b","a"]}"#, r#"{"name":"t","tags":["a","b"]}"#);
        check(Type::Map(&WORDS), r#"{"k":["b","a"]}"#, r#"{"k":["a","b"]}"#);
        check(Type::Link("t"), r#"{"id":"7","name":"x"}"#, r#""7""#);
        check(Type::Link("t"), r#""7""#, r#""7""#);
        check(Type::Option(&Type::Link("t")), "null", "null");
    }

    #[test]
    fn a_value_of_another_shape_is_named_with_what_was_expected() {
        #[track_caller]
        fn check(ty: Type, json: &str, expected: Option<&str>) {
            assert_eq!(ty.misfit(&value(json)).as_deref(), expected, "{json} as {ty:?}");
        }
        check(Type::Bool, "true", None);
        check(Type::Bool, "1", Some("expected true or false, found 1"));
        check(Type::Int, "1", None);
        check(Type::Int, r#""1""#, Some("expected a whole number, found \"1\""));
        check(Type::Text, "null", Some("expected text, found null"));
        check(Type::Option(&Type::Text), "null", None);
        check(Type::Option(&Type::Text), "1", Some("expected text, found 1"));
        check(Type::Enum(&["a", "b"]), r#""a""#, None);
        check(Type::Enum(&["a", "b"]), r#""c""#, Some("expected one of a, b, found \"c\""));
        check(WORDS, r#"["a"]"#, None);
        check(WORDS, r#"["a",1]"#, Some("expected text, found 1"));
        check(WORDS, r#""a""#, Some("expected a list, found \"a\""));
        check(Type::Map(&Type::Int), r#"{"a":1}"#, None);
        check(Type::Map(&Type::Int), r#"{"a":null}"#, Some("expected a whole number, found null"));
        check(Type::Map(&Type::Int), "[]", Some("expected a map, found []"));
        check(TABLE, r#"{"name":"t"}"#, None);
        check(TABLE, r#"{"tags":[]}"#, Some("`name`: expected text, found null"));
        check(TABLE, r#"{"name":"t","tag":[]}"#, Some("there is no field `tag`"));
        check(Type::Link("t"), r#""7""#, None);
        check(Type::Link("t"), "7", Some("expected a reference to a resource, found 7"));
    }

    #[test]
    fn a_number_that_json_cannot_carry_is_named_and_not_a_panic() {
        let misfit = Type::Int.misfit(&Value::Int(i64::MAX)).unwrap();
        assert_eq!(misfit, "expected a whole number within ±(2^53 - 1), found 9223372036854775807");
    }
}
