//! Where a cluster keeps objects of each kind, and what their privileges are.
//!
//! Owns the SQL that finds objects by their names or numbers, and that opens
//! their access control lists. One request finds any number of objects of all
//! kinds; which statements it is put together from depends on the kinds alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{super::server::Type, Within, ids::Oid};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    providers::postgres::{Object, ObjectKind, Privilege},
};

/// The catalogs `pg_default_acl` and `pg_user_mapping`: what is in them is of a
/// role, and goes with it, but is no property of it.
pub(in super::super) const NO_PROPERTY: [Oid; 2] = [826, 1418];

/// The same for a row `s` of `pg_shdepend`, in SQL: that it is a property.
pub(in super::super) const OWNS: &str = "s.deptype = 'o' AND s.classid NOT IN (826, 1418)";

/// A catalog with objects that have an owner or privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Class {
    Relation,
    Routine,
    Type,
    Schema,
    Database,
    Language,
    Wrapper,
    Server,
    Tablespace,
    LargeObject,
    Parameter,
}

/// An object's place in a cluster's catalogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Place {
    pub(in super::super) class: Class,
    pub(in super::super) oid: Oid,
}

/// An object that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Found {
    pub(in super::super) place: Place,
    /// Its name, without columns.
    pub(in super::super) object: Object,
    pub(in super::super) owner: Oid,
}

/// One entry of an access control list: a privilege of a grantee.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Entry {
    pub(in super::super) place: Place,
    /// The column, when it is a privilege on one.
    pub(in super::super) column: Option<String>,
    pub(in super::super) grantee: Oid,
    pub(in super::super) grantor: Oid,
    pub(in super::super) privilege: Privilege,
    pub(in super::super) grantable: bool,
}

/// How the objects of one catalog are found, in SQL.
struct Catalog {
    /// Its number, which is the same in every cluster.
    oid: Oid,
    from: &'static str,
    oid_column: &'static str,
    /// The word of the object's kind.
    kind: &'static str,
    schema: Option<&'static str>,
    name: &'static str,
    arguments: Option<&'static str>,
    owner: &'static str,
    /// Which of its rows are objects that can be named.
    only: &'static str,
    /// The list of privileges, with the server's defaults where there is none.
    acl: &'static str,
    /// The list as it is kept.
    raw_acl: &'static str,
}

impl Class {
    pub(in super::super) const ALL: [Self; 11] = [
        Self::Relation,
        Self::Routine,
        Self::Type,
        Self::Schema,
        Self::Database,
        Self::Language,
        Self::Wrapper,
        Self::Server,
        Self::Tablespace,
        Self::LargeObject,
        Self::Parameter,
    ];

    /// The catalog that objects of this kind are in.
    pub(in super::super) const fn of(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::Table | ObjectKind::Sequence => Self::Relation,
            ObjectKind::Function | ObjectKind::Procedure => Self::Routine,
            ObjectKind::DataType => Self::Type,
            ObjectKind::Schema => Self::Schema,
            ObjectKind::Database => Self::Database,
            ObjectKind::Language => Self::Language,
            ObjectKind::ForeignWrapper => Self::Wrapper,
            ObjectKind::ForeignServer => Self::Server,
            ObjectKind::Tablespace => Self::Tablespace,
            ObjectKind::LargeObject => Self::LargeObject,
            ObjectKind::Parameter => Self::Parameter,
        }
    }

    /// The catalog of that number, as dependencies name it.
    pub(in super::super) fn numbered(oid: Oid) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.catalog().oid == oid)
    }

    /// The number of the catalog, as dependencies name it.
    pub(in super::super) const fn number(self) -> Oid {
        self.catalog().oid
    }

    /// Whether its objects belong to the whole cluster.
    pub(in super::super) const fn is_shared(self) -> bool {
        matches!(self, Self::Database | Self::Tablespace | Self::Parameter)
    }

    #[allow(clippy::too_many_lines, reason = "a table, with a few lines for each class")]
    const fn catalog(self) -> Catalog {
        match self {
            Self::Relation => Catalog {
                oid: 1259,
                from: "pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace",
                oid_column: "o.oid",
                kind: "CASE o.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END",
                schema: Some("n.nspname"),
                name: "o.relname",
                arguments: None,
                owner: "o.relowner",
                only: "o.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')",
                acl: "coalesce(o.relacl, acldefault(
                    CASE o.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", o.relowner))",
                raw_acl: "o.relacl",
            },
            Self::Routine => Catalog {
                oid: 1255,
                from: "pg_proc o JOIN pg_namespace n ON n.oid = o.pronamespace",
                oid_column: "o.oid",
                kind: "CASE o.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END",
                schema: Some("n.nspname"),
                name: "o.proname",
                arguments: Some(
                    "ARRAY(SELECT format_type(t, NULL)
                        FROM unnest(o.proargtypes) WITH ORDINALITY AS argument (t, place)
                        ORDER BY place)",
                ),
                owner: "o.proowner",
                only: "true",
                acl: "coalesce(o.proacl, acldefault('f', o.proowner))",
                raw_acl: "o.proacl",
            },
            Self::Type => Catalog {
                oid: 1247,
                from: "pg_type o JOIN pg_namespace n ON n.oid = o.typnamespace",
                oid_column: "o.oid",
                kind: "'data-type'",
                schema: Some("n.nspname"),
                name: "o.typname",
                arguments: None,
                owner: "o.typowner",
                // An array has the privileges of its elements' type.
                only: "o.typelem = 0 OR o.typsubscript <> 'array_subscript_handler'::regproc",
                acl: "coalesce(o.typacl, acldefault('T', o.typowner))",
                raw_acl: "o.typacl",
            },
            Self::Schema => Catalog {
                acl: "coalesce(o.nspacl, acldefault('n', o.nspowner))",
                ..simple(2615, "pg_namespace o", "'schema'", "o.nspname", "o.nspowner", "o.nspacl")
            },
            Self::Database => Catalog {
                acl: "coalesce(o.datacl, acldefault('d', o.datdba))",
                ..simple(1262, "pg_database o", "'database'", "o.datname", "o.datdba", "o.datacl")
            },
            Self::Language => Catalog {
                acl: "coalesce(o.lanacl, acldefault('l', o.lanowner))",
                ..simple(2612, "pg_language o", "'language'", "o.lanname", "o.lanowner", "o.lanacl")
            },
            Self::Wrapper => Catalog {
                acl: "coalesce(o.fdwacl, acldefault('F', o.fdwowner))",
                ..simple(
                    2328,
                    "pg_foreign_data_wrapper o",
                    "'foreign-wrapper'",
                    "o.fdwname",
                    "o.fdwowner",
                    "o.fdwacl",
                )
            },
            Self::Server => Catalog {
                acl: "coalesce(o.srvacl, acldefault('S', o.srvowner))",
                ..simple(
                    1417,
                    "pg_foreign_server o",
                    "'foreign-server'",
                    "o.srvname",
                    "o.srvowner",
                    "o.srvacl",
                )
            },
            Self::Tablespace => Catalog {
                acl: "coalesce(o.spcacl, acldefault('t', o.spcowner))",
                ..simple(
                    1213,
                    "pg_tablespace o",
                    "'tablespace'",
                    "o.spcname",
                    "o.spcowner",
                    "o.spcacl",
                )
            },
            // Dependencies name the catalog of the contents, which nobody may
            // read, and not that of the owners.
            Self::LargeObject => Catalog {
                acl: "coalesce(o.lomacl, acldefault('L', o.lomowner))",
                ..simple(
                    2613,
                    "pg_largeobject_metadata o",
                    "'large-object'",
                    "o.oid",
                    "o.lomowner",
                    "o.lomacl",
                )
            },
            // Nobody owns a parameter: it is as if the first superuser did.
            Self::Parameter => Catalog {
                acl: "coalesce(o.paracl, acldefault('p', 10))",
                ..simple(
                    6243,
                    "pg_parameter_acl o",
                    "'parameter'",
                    "o.parname",
                    "10::oid",
                    "o.paracl",
                )
            },
        }
    }

    /// The columns of a [`Found`].
    fn columns(self) -> String {
        let Catalog { oid, oid_column, kind, schema, name, arguments, owner, .. } = self.catalog();
        let schema = schema.unwrap_or("NULL");
        let arguments = arguments.unwrap_or("NULL::text[]");
        format!(
            "{oid}::oid, {oid_column}, {kind}, {schema}::text, {name}::text, {arguments}, {owner}"
        )
    }

    fn named(self) -> String {
        let Catalog { from, kind, schema, name, oid_column, only, .. } = self.catalog();
        let columns = self.columns();
        let by_name = match (self, schema) {
            (Self::LargeObject, _) => {
                return format!(
                    "SELECT {columns} FROM {from} WHERE {oid_column} = ANY (
                        SELECT w.name::text::oid FROM wanted w WHERE w.kind = {kind})"
                );
            }
            (_, Some(schema)) => format!("{schema} = w.schema AND {name} = w.name"),
            (Self::Parameter, None) => format!("{name} = lower(w.name::text)"),
            (_, None) => format!("{name} = w.name"),
        };
        let from = if from.contains(" JOIN ") { format!("({from})") } else { from.to_owned() };
        format!(
            "SELECT {columns} FROM wanted w JOIN {from} ON {by_name}
            WHERE w.kind = {kind} AND ({only})"
        )
    }
}

const fn simple(
    oid: Oid,
    from: &'static str,
    kind: &'static str,
    name: &'static str,
    owner: &'static str,
    raw_acl: &'static str,
) -> Catalog {
    Catalog {
        oid,
        from,
        oid_column: "o.oid",
        kind,
        schema: None,
        name,
        arguments: None,
        owner,
        only: "true",
        acl: raw_acl,
        raw_acl,
    }
}

/// The objects of one catalog, by their numbers.
type ByClass = BTreeMap<Class, Vec<Oid>>;

fn by_class(places: &BTreeSet<Place>) -> ByClass {
    let mut by_class = ByClass::new();
    for place in places {
        by_class.entry(place.class).or_default().push(place.oid);
    }
    by_class
}

/// Finds objects by their names, in one request; their columns are passed
/// over. What is not there is not in the answer.
pub(in super::super) async fn named(
    within: &Within,
    objects: &BTreeSet<Object>,
) -> Result<BTreeMap<Object, Found>> {
    // The server cuts names that are too long where it reads them as names.
    let can_be = |object: &&Object| {
        let names = [object.schema.as_deref(), Some(object.name.as_str())];
        let mut names = names.into_iter().flatten();
        names.all(|name| name.len() <= super::super::name::MAX_NAME && !name.contains('\0'))
            && (object.kind != ObjectKind::LargeObject || object.name.parse::<Oid>().is_ok())
    };
    let wanted: BTreeSet<(&str, &str, &str)> = objects
        .iter()
        .filter(can_be)
        .map(|o| (o.kind.word(), o.schema.as_deref().unwrap_or_default(), o.name.as_str()))
        .collect();
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let classes: BTreeSet<Class> =
        objects.iter().filter(can_be).map(|object| Class::of(object.kind)).collect();
    let parts: Vec<String> = classes.iter().map(|class| class.named()).collect();
    let sql = format!(
        "WITH wanted AS (SELECT * FROM unnest($1::text[], $2::name[], $3::name[])
            AS w (kind, schema, name)) {}",
        parts.join(" UNION ALL ")
    );
    let kinds: Vec<&str> = wanted.iter().map(|(kind, ..)| *kind).collect();
    let schemas: Vec<&str> = wanted.iter().map(|(_, schema, _)| *schema).collect();
    let names: Vec<&str> = wanted.iter().map(|(.., name)| *name).collect();
    let rows = within
        .tx
        .query(
            &sql,
            &[(&kinds, Type::TEXT_ARRAY), (&schemas, Type::NAME_ARRAY), (&names, Type::NAME_ARRAY)],
        )
        .await?;
    let mut found = BTreeMap::new();
    for row in &rows {
        let one = found_in(within, row)?;
        found.insert(canonical(one.object.clone()), one);
    }
    Ok(objects
        .iter()
        .filter_map(|object| {
            let name = canonical(Object { columns: None, ..object.clone() });
            Some((object.clone(), found.get(&name)?.clone()))
        })
        .collect())
}

/// An object by the name under which the server keeps it.
fn canonical(mut object: Object) -> Object {
    if object.kind == ObjectKind::Parameter {
        object.name.make_ascii_lowercase();
    }
    object
}

/// Finds objects by their places, in one request.
pub(in super::super) async fn placed(
    within: &Within,
    places: &BTreeSet<Place>,
) -> Result<BTreeMap<Place, Found>> {
    let by_class = by_class(places);
    if by_class.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut parts = Vec::new();
    let mut parameters: Vec<super::super::server::Parameter<'_>> = Vec::new();
    for (class, oids) in &by_class {
        parameters.push((oids, Type::OID_ARRAY));
        let Catalog { from, oid_column, .. } = class.catalog();
        let (columns, n) = (class.columns(), parameters.len());
        parts.push(format!("SELECT {columns} FROM {from} WHERE {oid_column} = ANY (${n})"));
    }
    let rows = within.tx.query(&parts.join(" UNION ALL "), &parameters).await?;
    rows.iter()
        .map(|row| {
            let found = found_in(within, row)?;
            Ok((found.place, found))
        })
        .collect()
}

fn found_in(within: &Within, row: &tokio_postgres::Row) -> Result<Found> {
    let (class, oid): (Oid, Oid) = (row.get(0), row.get(1));
    let word: &str = row.get(2);
    let class = Class::numbered(class).ok_or_else(|| unknown("catalog", &class.to_string()))?;
    let kind = ObjectKind::ALL.into_iter().find(|kind| kind.word() == word);
    let kind = kind.ok_or_else(|| unknown("kind of object", word))?;
    let object = Object {
        database: if kind.is_shared() { None } else { within.database.clone() },
        schema: row.get(3),
        arguments: row.get(5),
        ..Object::bare(kind, row.get::<_, String>(4))
    };
    Ok(Found { place: Place { class, oid }, object, owner: row.get(6) })
}

fn unknown(what: &str, name: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the server has a {what} that this program does not know: {}", quoted(name)),
    )
    .help("use a version of agent-iac that knows this version of PostgreSQL")
}

/// The privileges of some grantees on some objects, in one request; those on
/// columns for relations in `with_columns`. A grantee of 0 is everybody.
pub(in super::super) async fn entries(
    within: &Within,
    places: &BTreeSet<Place>,
    with_columns: &BTreeSet<Oid>,
    grantees: &BTreeSet<Oid>,
) -> Result<Vec<Entry>> {
    let by_class = by_class(places);
    let grantees: Vec<Oid> = grantees.iter().copied().collect();
    let relations: Vec<Oid> = with_columns.iter().copied().collect();
    let mut parts = Vec::new();
    let mut parameters: Vec<super::super::server::Parameter<'_>> =
        vec![(&grantees, Type::OID_ARRAY)];
    for (class, oids) in &by_class {
        parameters.push((oids, Type::OID_ARRAY));
        let Catalog { oid, from, oid_column, acl, .. } = class.catalog();
        let n = parameters.len();
        parts.push(format!(
            "SELECT {oid}::oid, {oid_column}, NULL::text, {ENTRY}
            FROM {}, aclexplode({acl}) e
            WHERE {oid_column} = ANY (${n}) AND e.grantee = ANY ($1)",
            from.split(" JOIN ").next().unwrap_or(from),
        ));
    }
    if !relations.is_empty() {
        parameters.push((&relations, Type::OID_ARRAY));
        let n = parameters.len();
        parts.push(format!(
            "SELECT 1259::oid, o.attrelid, o.attname::text, {ENTRY}
            FROM pg_attribute o, aclexplode(o.attacl) e
            WHERE o.attrelid = ANY (${n}) AND NOT o.attisdropped AND e.grantee = ANY ($1)"
        ));
    }
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let rows = within.tx.query(&parts.join(" UNION ALL "), &parameters).await?;
    rows.iter().map(entry_in).collect()
}

/// The columns of an [`Entry`] but its place.
const ENTRY: &str = "e.grantee, e.grantor, e.privilege_type, e.is_grantable";

fn entry_in(row: &tokio_postgres::Row) -> Result<Entry> {
    let (class, privilege): (Oid, &str) = (row.get(0), row.get(5));
    Ok(Entry {
        place: Place {
            class: Class::numbered(class).ok_or_else(|| unknown("catalog", &class.to_string()))?,
            oid: row.get(1),
        },
        column: row.get(2),
        grantee: row.get(3),
        grantor: row.get(4),
        privilege: Privilege::from_sql(privilege).ok_or_else(|| unknown("privilege", privilege))?,
        grantable: row.get(6),
    })
}

/// What whoever asks may pass on of some objects by the grant option of a role
/// whose rights he has, and not as the owner, in one request.
pub(in super::super) async fn passed_on_by_others(
    within: &Within,
    places: &BTreeSet<Place>,
) -> Result<BTreeMap<Place, BTreeSet<Privilege>>> {
    let by_class = by_class(places);
    let mut parts = Vec::new();
    let mut parameters: Vec<super::super::server::Parameter<'_>> = Vec::new();
    let others = |owner: &str| {
        format!(
            "e.is_grantable AND e.grantee NOT IN (0, {owner}) AND pg_has_role(e.grantee, 'USAGE')"
        )
    };
    for (class, oids) in &by_class {
        parameters.push((oids, Type::OID_ARRAY));
        let Catalog { oid, from, oid_column, raw_acl, owner, .. } = class.catalog();
        let (n, others) = (parameters.len(), others(owner));
        parts.push(format!(
            "SELECT {oid}::oid, {oid_column}, e.privilege_type
            FROM {}, aclexplode({raw_acl}) e WHERE {oid_column} = ANY (${n}) AND {others}",
            from.split(" JOIN ").next().unwrap_or(from),
        ));
        if *class == Class::Relation {
            parts.push(format!(
                "SELECT {oid}::oid, {oid_column}, e.privilege_type
                FROM pg_class o JOIN pg_attribute a ON a.attrelid = o.oid, aclexplode(a.attacl) e
                WHERE {oid_column} = ANY (${n}) AND {others}"
            ));
        }
    }
    if parts.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = within.tx.query(&parts.join(" UNION "), &parameters).await?;
    let mut found: BTreeMap<Place, BTreeSet<Privilege>> = BTreeMap::new();
    for row in &rows {
        let (class, privilege): (Oid, &str) = (row.get(0), row.get(2));
        let class = Class::numbered(class).ok_or_else(|| unknown("catalog", &class.to_string()))?;
        let privilege =
            Privilege::from_sql(privilege).ok_or_else(|| unknown("privilege", privilege))?;
        found.entry(Place { class, oid: row.get(1) }).or_default().insert(privilege);
    }
    Ok(found)
}

/// Every privilege that was given to some grantees in this database, and in
/// the cluster where it is the provider's own. Where an object has no list of
/// its own, only what the server gives to everybody is missing.
pub(in super::super) async fn all_entries(
    within: &Within,
    grantees: &BTreeSet<Oid>,
) -> Result<Vec<Entry>> {
    let grantees: Vec<Oid> = grantees.iter().copied().collect();
    let classes =
        Class::ALL.into_iter().filter(|class| within.database.is_none() || !class.is_shared());
    let mut parts: Vec<String> = classes
        .map(|class| {
            let Catalog { oid, from, oid_column, raw_acl, .. } = class.catalog();
            format!(
                "SELECT {oid}::oid, {oid_column}, NULL::text, {ENTRY}
                FROM {}, aclexplode({raw_acl}) e
                WHERE {raw_acl} IS NOT NULL AND e.grantee = ANY ($1)",
                from.split(" JOIN ").next().unwrap_or(from),
            )
        })
        .collect();
    parts.push(format!(
        "SELECT 1259::oid, o.attrelid, o.attname::text, {ENTRY}
        FROM pg_attribute o, aclexplode(o.attacl) e
        WHERE o.attacl IS NOT NULL AND NOT o.attisdropped AND e.grantee = ANY ($1)"
    ));
    let rows = within.tx.query(&parts.join(" UNION ALL "), &[(&grantees, Type::OID_ARRAY)]).await?;
    rows.iter().map(entry_in).collect()
}

/// What depends on a role by the server's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Dependence {
    /// It is in an access control list.
    Listed,
    /// It owns the object.
    Owner,
}

/// One dependence on a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Dependent {
    pub(in super::super) role: Oid,
    pub(in super::super) class: Oid,
    pub(in super::super) oid: Oid,
    pub(in super::super) column: bool,
}

/// What depends on some roles in this database, and in the cluster where it is
/// the provider's own. The server keeps this for every role but its own, with
/// an index, so that it costs nothing what others have.
pub(in super::super) async fn dependents(
    within: &Within,
    roles: &BTreeSet<Oid>,
    how: Dependence,
) -> Result<BTreeSet<Dependent>> {
    let roles: Vec<Oid> = roles.iter().copied().collect();
    let (letter, role) = match how {
        // In whose list it is, the list itself will say.
        Dependence::Listed => ("a", "0::oid"),
        Dependence::Owner => ("o", "s.refobjid"),
    };
    let shared = if within.database.is_none() { "s.dbid = 0 OR" } else { "" };
    let sql = format!(
        "SELECT DISTINCT {role}, s.classid, s.objid, s.objsubid <> 0 FROM pg_shdepend s
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY ($1)
            AND s.deptype = '{letter}' AND ({shared}
            s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    );
    let rows = within.tx.query(&sql, &[(&roles, Type::OID_ARRAY)]).await?;
    Ok(rows
        .iter()
        .map(|row| Dependent {
            role: row.get(0),
            class: row.get(1),
            oid: row.get(2),
            column: row.get(3),
        })
        .collect())
}
