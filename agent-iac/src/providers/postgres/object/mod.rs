//! What a privilege is on.
//!
//! Owns how an object is named in a declaration, in SQL and to people. It asks
//! no server: whether there is such an object, only the server knows.

mod kind;
mod words;

use std::{collections::BTreeSet, fmt, str::FromStr};

pub use self::kind::ObjectKind;
#[cfg(feature = "postgres")]
pub(super) use self::words::Words;
#[cfg(not(feature = "postgres"))]
use self::words::Words;
#[cfg(any(test, feature = "postgres"))]
use super::name::ident;
use super::{
    Privilege,
    name::{check_name, shown},
};
use crate::{
    Property,
    resource::{Node, Property as _},
    value::Value,
};

/// One object of a cluster, by its name.
///
/// Make one by the type of what it is:
///
/// ```
/// use agent_iac::providers::postgres::{Column, Database, Function, Table};
///
/// assert_eq!(Table::new("sales", "invoices").to_string(), "table sales.invoices");
/// assert_eq!(
///     Column::new("sales", "invoices", ["amount", "due"]).in_database("archive").to_string(),
///     "table sales.invoices (amount, due) in archive"
/// );
/// assert_eq!(
///     Function::new("sales", "total", ["integer", "text"]).to_string(),
///     "function sales.total(integer, text)"
/// );
/// assert_eq!(Database::new("App").to_string(), r#"database "App""#);
///
/// let tables = ["invoices".to_owned(), "notes".to_owned()];
/// let objects: Vec<_> = tables.iter().map(|name| Table::new("sales", name)).collect();
/// assert_eq!(objects[1], Table::new(&String::from("sales"), &&tables[1]));
/// ```
///
/// An object of another database than the provider's own says which one
/// ([`Object::in_database`]); one of the provider's own database never does,
/// so that each object has one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Property)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// The database that it is in, when that is not the provider's own.
    pub database: Option<String>,
    /// The schema that it is in.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// The columns, when it is only some of a table's.
    pub columns: Option<BTreeSet<String>>,
    /// The types of its arguments, of a function or procedure, as the server
    /// writes them: `integer` and not `int`.
    pub arguments: Option<Vec<String>>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident in a schema;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl $name {
            /// Names one, by its schema and its name.
            #[allow(clippy::new_ret_no_self, reason = "`Table::new(…)` is how an object is named")]
            pub fn new(schema: impl AsRef<str>, name: impl AsRef<str>) -> Object {
                Object { schema: Some(text(schema)), ..Object::bare(ObjectKind::$name, name) }
            }
        }
    )*};
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl $name {
            /// Names one.
            #[allow(clippy::new_ret_no_self, reason = "`Schema::new(…)` is how an object is named")]
            pub fn new(name: impl AsRef<str>) -> Object {
                Object::bare(ObjectKind::$name, name)
            }
        }
    )*};
}

constructors! {
    /// A table, view, materialised view, partitioned or foreign table.
    Table in a schema;
    /// A sequence.
    Sequence in a schema;
    /// A data type or a domain.
    DataType in a schema;
}

constructors! {
    /// A database of the cluster.
    Database;
    /// A schema.
    Schema;
    /// A procedural language.
    Language;
    /// A foreign-data wrapper.
    ForeignWrapper;
    /// A foreign server.
    ForeignServer;
    /// A tablespace.
    Tablespace;
    /// A parameter of the server's configuration.
    Parameter;
    /// A large object, by its number.
    LargeObject;
}

/// Some columns of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column;

impl Column {
    /// Names some columns of one table.
    #[allow(clippy::new_ret_no_self, reason = "`Column::new(…)` is how an object is named")]
    pub fn new<C: AsRef<str>>(
        schema: impl AsRef<str>,
        table: impl AsRef<str>,
        columns: impl IntoIterator<Item = C>,
    ) -> Object {
        let columns = columns.into_iter().map(text).collect();
        Object { columns: Some(columns), ..Table::new(schema, table) }
    }
}

/// A function or an aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Function;

/// A procedure.
#[derive(Clone, Copy, Debug)]
pub struct Procedure;

macro_rules! routines {
    ($($name:ident),*) => {$(
        impl $name {
            /// Names one, by its schema, its name and the types of its arguments.
            #[allow(clippy::new_ret_no_self, reason = "`Function::new(…)` is how an object is named")]
            pub fn new<A: AsRef<str>>(
                schema: impl AsRef<str>,
                name: impl AsRef<str>,
                arguments: impl IntoIterator<Item = A>,
            ) -> Object {
                Object {
                    schema: Some(text(schema)),
                    arguments: Some(arguments.into_iter().map(text).collect()),
                    ..Object::bare(ObjectKind::$name, name)
                }
            }
        }
    )*};
}

routines!(Function, Procedure);

/// Names are taken as any text: in a declaration, an input is a `&String`, and
/// what a loop over inputs gives is a reference to one.
fn text(text: impl AsRef<str>) -> String {
    text.as_ref().to_owned()
}

impl Object {
    pub(super) fn bare(kind: ObjectKind, name: impl AsRef<str>) -> Self {
        Self {
            kind,
            database: None,
            schema: None,
            name: canonical_name(kind, name.as_ref()).unwrap_or_else(|| text(name)),
            columns: None,
            arguments: None,
        }
    }

    /// Says that it is in another database than the provider's own.
    #[must_use]
    pub fn in_database(mut self, database: impl AsRef<str>) -> Self {
        self.database = Some(text(database));
        self
    }

    /// The privileges that there are on it, by the newest version.
    pub fn privileges(&self) -> &'static [Privilege] {
        if self.columns.is_some() { ObjectKind::COLUMN_PRIVILEGES } else { self.kind.privileges() }
    }

    /// Reads the object of a declaration, when it is known.
    pub(super) fn of(node: Option<&Node>) -> Option<Self> {
        Self::from_value(&Self::SCHEMA.normalise(node?.known()?))
    }

    #[cfg(any(test, feature = "postgres"))]
    /// Its name in SQL, without its kind and its columns.
    pub(super) fn sql_name(&self) -> String {
        let name = match self.kind {
            ObjectKind::LargeObject => self.name.clone(),
            // A parameter's name is no identifier: `myapp.level` is one word.
            ObjectKind::Parameter => self.name.split('.').map(ident).collect::<Vec<_>>().join("."),
            _ => ident(&self.name),
        };
        let schema = self.schema.as_deref().map(|schema| ident(schema) + ".").unwrap_or_default();
        match &self.arguments {
            Some(arguments) => format!("{schema}{name}({})", arguments.join(", ")),
            None => schema + &name,
        }
    }

    /// Says what is wrong with it as a declaration has it.
    pub(super) fn problems(&self) -> Vec<(String, Option<String>)> {
        let mut problems = Vec::new();
        let kind = self.kind.word();
        let mut say = |message: String, help: &str| {
            problems.push((message, (!help.is_empty()).then(|| help.to_owned())));
        };
        match (&self.schema, self.kind.in_schema()) {
            (None, true) => say(format!("a {kind} without its schema"), "name the schema"),
            (Some(_), false) => say(format!("a {kind} is in no schema"), "leave `schema` out"),
            _ => {}
        }
        match (&self.arguments, self.kind.has_arguments()) {
            (None, true) => say(
                format!("a {kind} without the types of its arguments"),
                "give `arguments`, an empty list when it has none",
            ),
            (Some(_), false) => say(format!("a {kind} has no arguments"), "leave them out"),
            _ => {}
        }
        if let Some(columns) = &self.columns {
            if self.kind != ObjectKind::Table {
                say(format!("a {kind} has no columns"), "leave `columns` out");
            } else if columns.is_empty() {
                say("no column is named".into(), "name some, or leave `columns` out");
            }
        }
        if self.database.is_some() && self.kind.is_shared() {
            say(format!("a {kind} belongs to the whole cluster"), "leave `database` out");
        }
        if self.kind == ObjectKind::LargeObject && self.name.parse::<u32>().is_err() {
            say(format!("`{}` is no number of a large object", self.name), "give its number");
        }
        if let Some(canonical) = canonical_name(self.kind, &self.name) {
            say(
                format!("`{}` is not how the server names that {kind}", self.name),
                &format!("write `{canonical}`"),
            );
        }
        let names = [self.database.as_ref(), self.schema.as_ref(), Some(&self.name)];
        for name in names.into_iter().flatten().chain(self.columns.iter().flatten()) {
            if let Some(wrong) = check_name(name) {
                say(wrong.message, wrong.help);
            }
        }
        for argument in self.arguments.iter().flatten() {
            if let Some(canonical) = canonical_type(argument) {
                say(
                    format!("`{argument}` is not the server's own name of that type"),
                    &format!("write `{canonical}`"),
                );
            }
        }
        problems
    }
}

/// The server's own name of an object that can be named in several ways, where
/// it is not this one: so that each has one id only.
fn canonical_name(kind: ObjectKind, name: &str) -> Option<String> {
    let canonical = match kind {
        ObjectKind::Parameter => name.to_ascii_lowercase(),
        ObjectKind::LargeObject => name.parse::<u32>().ok()?.to_string(),
        _ => return None,
    };
    (canonical != name).then_some(canonical)
}

/// The server's own name of a type that has a shorter one. It is how the same
/// function has one name only.
fn canonical_type(argument: &str) -> Option<&'static str> {
    Some(match argument.trim().to_ascii_lowercase().as_str() {
        "int" | "int4" => "integer",
        "int2" => "smallint",
        "int8" => "bigint",
        "bool" => "boolean",
        "float" | "float8" => "double precision",
        "float4" => "real",
        "decimal" => "numeric",
        "varchar" => "character varying",
        "char" => "character",
        "varbit" => "bit varying",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        "time" => "time without time zone",
        "timetz" => "time with time zone",
        _ => return None,
    })
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.word())?;
        if let Some(schema) = &self.schema {
            write!(f, "{}.", shown(schema))?;
        }
        match self.kind {
            ObjectKind::LargeObject | ObjectKind::Parameter => f.write_str(&self.name)?,
            _ => f.write_str(&shown(&self.name))?,
        }
        if let Some(arguments) = &self.arguments {
            write!(f, "({})", arguments.join(", "))?;
        }
        if let Some(columns) = &self.columns {
            let columns: Vec<String> = columns.iter().map(|column| shown(column)).collect();
            write!(f, " ({})", columns.join(", "))?;
        }
        match &self.database {
            Some(database) => write!(f, " in {}", shown(database)),
            None => Ok(()),
        }
    }
}

/// Reads what [`Display`](fmt::Display) writes.
impl FromStr for Object {
    type Err = NotAnObject;

    fn from_str(text: &str) -> Result<Self, NotAnObject> {
        Words(text).object().filter(|object| object.to_string() == text).ok_or(NotAnObject)
    }
}

/// The text names no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnObject;

impl fmt::Display for NotAnObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text names no object")
    }
}

impl std::error::Error for NotAnObject {}

/// The plain form, for the ids of what stands on an object.
impl From<&Object> for Value {
    fn from(object: &Object) -> Self {
        Object::SCHEMA.normalise(object.to_value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_in_sql_whatever_its_name_is() {
        let table = Table::new("Sales", "in\"voices");
        assert_eq!(table.sql_name(), r#""Sales"."in""voices""#);
        assert_eq!(Parameter::new("myapp.level").sql_name(), r#""myapp"."level""#);
        assert_eq!(LargeObject::new("4711").sql_name(), "4711");
        assert_eq!(
            Function::new("s", "f", ["integer", "character varying"]).sql_name(),
            r#""s"."f"(integer, character varying)"#
        );
    }

    #[test]
    fn two_objects_have_one_text_only_when_they_are_the_same() {
        let all = [
            Table::new("a", "b.c"),
            Table::new("a.b", "c"),
            Table::new("a", "b"),
            Table::new("a", "b").in_database("c"),
            Table::new("a", "b in c"),
            Column::new("a", "b", ["c"]),
            Column::new("a", "b", ["c, d"]),
            Column::new("a", "b", ["c", "d"]),
            Function::new("a", "b", ["c"]),
            Function::new("a", "b", ["c", "d"]),
            Sequence::new("a", "b"),
            Schema::new("a"),
            Database::new("a"),
        ];
        let texts: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), all.len(), "{texts:#?}");
    }

    proptest::proptest! {
        #[test]
        fn a_text_of_an_object_is_read_back_as_that_object(
            schema in any_name(),
            name in any_name(),
            columns in proptest::collection::btree_set(any_name(), 1..3),
            database in proptest::option::of(any_name()),
            arguments in proptest::collection::vec(any_type(), 0..3),
        ) {
            let mut objects = vec![
                Table::new(&schema, &name),
                Column::new(&schema, &name, columns),
                Function::new(&schema, &name, arguments),
                Schema::new(&name),
                LargeObject::new("4711"),
            ];
            if let Some(database) = database {
                for object in &mut objects {
                    object.database = Some(database.clone());
                }
            }
            objects.extend([Database::new(&name), Parameter::new("myapp.level")]);
            for object in objects {
                let read = object.to_string().parse::<Object>();
                proptest::prop_assert_eq!(read.as_ref(), Ok(&object), "{}", object);
            }
        }
    }

    fn any_name() -> impl proptest::strategy::Strategy<Value = String> {
        "[a-z_]{1,4}|[a-zA-Z\"., ()é]{1,6}"
    }

    fn any_type() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::strategy::Strategy as _;
        proptest::prop_oneof![
            proptest::strategy::Just("integer[]".to_owned()),
            proptest::strategy::Just("numeric(10,2)".to_owned()),
            any_name().prop_map(|name| format!("s.{}", ident(&name))),
        ]
    }

    #[test]
    fn a_text_that_is_not_exactly_an_object_is_none() {
        for text in [
            "",
            "table",
            "table ",
            "table a",
            "table a.b ",
            "table a.b (",
            "table a.b (c",
            "tab a.b",
            "table A.b",
            "table \"a\".b",
            "function s.f(integer",
            "table a.b in ",
            "table \"a.b",
        ] {
            let read = text.parse::<Object>();
            assert!(read.as_ref().map_or(true, |o| !o.problems().is_empty()), "{text:?}: {read:?}");
        }
    }

    #[test]
    fn every_mistake_in_an_object_is_named_with_its_repair() {
        #[track_caller]
        fn check(object: &Object, expected: &[&str]) {
            let found: Vec<String> = object.problems().into_iter().map(|(what, _)| what).collect();
            assert_eq!(found, expected, "{object}");
        }
        check(&Table::new("s", "t"), &[]);
        check(&Object::bare(ObjectKind::Table, "t"), &["a table without its schema"]);
        check(
            &Object { schema: Some("s".into()), ..Schema::new("s") },
            &["a schema is in no schema"],
        );
        check(
            &Object::bare(ObjectKind::Function, ""),
            &[
                "a function without its schema",
                "a function without the types of its arguments",
                "the name is empty",
            ],
        );
        check(&Column::new("s", "t", Vec::<String>::new()), &["no column is named"]);
        check(&Database::new("d").in_database("x"), &["a database belongs to the whole cluster"]);
        check(&LargeObject::new("x"), &["`x` is no number of a large object"]);
        // What is named in Rust is put right; what a file says is shown.
        for (made, written, problem) in [
            (
                Parameter::new("TimeZone"),
                "TimeZone",
                "`TimeZone` is not how the server names that parameter",
            ),
            (
                LargeObject::new("016400"),
                "016400",
                "`016400` is not how the server names that large-object",
            ),
        ] {
            check(&made, &[]);
            check(&Object { name: written.into(), ..made }, &[problem]);
        }
        check(
            &Function::new("s", "f", ["int"]),
            &["`int` is not the server's own name of that type"],
        );
    }

    #[test]
    fn an_object_is_read_back_from_its_plain_form() {
        for object in [
            Table::new("s", "t"),
            Column::new("s", "t", ["a", "b"]).in_database("d"),
            Function::new("s", "f", Vec::<String>::new()),
        ] {
            assert_eq!(Object::of(Some(&object.to_node())), Some(object.clone()), "{object}");
        }
    }
}
