use std::collections::{BTreeMap, BTreeSet};

use super::{check_grantable, check_role_name, grantable, not_yet, privileges, text};
use crate::{
    Property, Resource,
    access::{Access, Tuple},
    providers::postgres::{
        ObjectKind, Privilege, Role,
        name::{check_name, shown, word},
    },
    resource::{Check, Grants, Link, Node, Problem, Property as _},
    value::Value,
};

/// The kinds of objects that default privileges are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Property)]
pub enum Future {
    /// Tables and views.
    Tables,
    /// Sequences.
    Sequences,
    /// Functions, aggregates and procedures.
    Functions,
    /// Data types and domains.
    Types,
    /// Schemas; never in one schema.
    Schemas,
    /// Large objects; from PostgreSQL 18, never in one schema.
    LargeObjects,
}

impl Future {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Tables,
        Self::Sequences,
        Self::Functions,
        Self::Types,
        Self::Schemas,
        Self::LargeObjects,
    ];

    /// The words of it in `ALTER DEFAULT PRIVILEGES`.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Tables => "TABLES",
            Self::Sequences => "SEQUENCES",
            Self::Functions => "FUNCTIONS",
            Self::Types => "TYPES",
            Self::Schemas => "SCHEMAS",
            Self::LargeObjects => "LARGE OBJECTS",
        }
    }

    /// The word of it in a declaration and in texts.
    pub const fn word(self) -> &'static str {
        word::<Self>(self as usize)
    }

    /// The letter of it in `pg_default_acl.defaclobjtype`.
    pub const fn letter(self) -> char {
        match self {
            Self::Tables => 'r',
            Self::Sequences => 'S',
            Self::Functions => 'f',
            Self::Types => 'T',
            Self::Schemas => 'n',
            Self::LargeObjects => 'L',
        }
    }

    /// What kind of objects they will be.
    pub const fn kind(self) -> ObjectKind {
        match self {
            Self::Tables => ObjectKind::Table,
            Self::Sequences => ObjectKind::Sequence,
            Self::Functions => ObjectKind::Function,
            Self::Types => ObjectKind::DataType,
            Self::Schemas => ObjectKind::Schema,
            Self::LargeObjects => ObjectKind::LargeObject,
        }
    }

    fn is_in_schemas(self) -> bool {
        !matches!(self, Self::Schemas | Self::LargeObjects)
    }
}

/// Privileges that a role gets on what another one will create.
///
/// The server's defaults cover the objects of one creator only, so who creates
/// is always named.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "postgres.default_privileges", kind = "permission", check)]
pub struct DefaultPrivileges {
    /// The role that gets them.
    #[resource(key)]
    pub to: Link<Role>,
    /// The name of the role that creates the objects.
    #[resource(key)]
    pub for_role: String,
    /// The kind of objects.
    #[resource(key)]
    pub on: Future,
    /// The schema that they are created in; any when it is left out.
    #[resource(key)]
    pub in_schema: Option<String>,
    /// The database, when it is not the provider's own.
    #[resource(key)]
    pub database: Option<String>,
    /// What the role will be allowed.
    pub allow: BTreeSet<Privilege>,
    /// Whether it may give that to others.
    #[resource(default)]
    pub grantable: bool,
    /// What of it it may give to others, where that is not all.
    pub grantable_only: Option<BTreeSet<Privilege>>,
}

impl Grants for DefaultPrivileges {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        let objects = match future(properties) {
            Ok(objects) => objects,
            Err(field) => return not_yet(principal, field),
        };
        let Some(allow) = privileges(properties, "allow") else {
            return not_yet(principal, "allow");
        };
        let mut given: BTreeSet<Tuple> = allow
            .iter()
            .map(|privilege| Tuple::allow(principal, privilege.word(), &objects))
            .collect();
        given.extend(grantable(properties, &allow).iter().map(|privilege| {
            Tuple::allow(principal, format!("grant {}", privilege.word()), &objects)
        }));
        Access::exactly(given)
    }
}

/// How what somebody will create is called in access; or the property that is
/// not known yet.
pub(super) fn future(properties: &BTreeMap<String, Node>) -> Result<String, &'static str> {
    let for_role = text(properties, "for_role").ok_or("for_role")?;
    let on = kind_of(properties).ok_or("on")?;
    let mut objects = format!("future {} of role {}", on.word(), shown(&for_role));
    for (field, word) in [("in_schema", "schema"), ("database", "database")] {
        match properties.get(field).map(Node::known) {
            None | Some(Some(Value::Null)) => {}
            Some(Some(name)) => {
                let name = shown(name.as_text().unwrap_or_default());
                objects.push_str(&format!(" in {word} {name}"));
            }
            Some(None) => return Err(field),
        }
    }
    Ok(objects)
}

pub(super) fn kind_of(properties: &BTreeMap<String, Node>) -> Option<Future> {
    Future::from_value(&properties.get("on")?.known()?)
}

impl Check for DefaultPrivileges {
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
        let mut problems: Vec<Problem> =
            check_role_name(properties, "for_role").into_iter().collect();
        problems.extend(check_names(properties, &["in_schema", "database"]));
        problems.extend(check_grantable(properties));
        let Some(on) = kind_of(properties) else { return problems };
        if !on.is_in_schemas() && text(properties, "in_schema").is_some() {
            problems.push(Problem {
                field: "in_schema".into(),
                message: format!("{} are in no schema", on.word()),
                help: Some("leave `in_schema` out".into()),
            });
        }
        problems.extend(check_kind(properties, on, "allow"));
        problems
    }
}

/// Judges properties that name something in the cluster.
pub(super) fn check_names(properties: &BTreeMap<String, Node>, fields: &[&str]) -> Vec<Problem> {
    let wrong = |field: &&str| {
        let wrong = check_name(&text(properties, field)?)?;
        let (field, help) = ((*field).to_owned(), Some(wrong.help.into()));
        Some(Problem { field, message: wrong.message, help })
    };
    fields.iter().filter_map(wrong).collect()
}

/// Judges privileges on what will be created.
pub(super) fn check_kind(
    properties: &BTreeMap<String, Node>,
    on: Future,
    field: &str,
) -> Vec<Problem> {
    let Some(given) = privileges(properties, field) else { return Vec::new() };
    let problem = |message, help| Problem { field: field.to_owned(), message, help: Some(help) };
    if given.is_empty() {
        let help = "name at least one, or remove the declaration";
        return vec![problem("no privilege is named".into(), help.into())];
    }
    let there_are = on.kind().privileges();
    let words: Vec<&str> = there_are.iter().map(|privilege| privilege.word()).collect();
    let others = given.iter().filter(|privilege| !there_are.contains(privilege));
    others
        .map(|privilege| {
            let message = format!("there is no privilege `{}` on {}", privilege.word(), on.word());
            problem(message, format!("there are {}", words.join(", ")))
        })
        .collect()
}
