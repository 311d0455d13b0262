//! Default privileges: what roles will get on what others create.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Entry, Found, Job, Kind, Seen,
    acl::Given,
    apply_script,
    grant::{as_found, desired, key_changed, number, supported, taken},
    powers::{self, Acting, Powers},
    role_names,
    script::{PUBLIC, Statements, Verb},
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    provider::{self, Reference},
    providers::postgres::{
        DefaultPrivileges, DefaultPrivilegesSpec, Future, Privilege,
        catalog::{
            Within, default_privileges::entries, ids::DefaultPrivilegesId, people::EVERYBODY,
        },
        name::{check_role, ident},
        server::sqlstate,
    },
    resource::Property as _,
    value::Value,
};

/// The version that has default privileges of large objects.
const LARGE_OBJECTS: u32 = 18;

/// Who will get something, on what kind of objects, of whom, and in which
/// schema.
type Parties = (u32, Future, u32, Option<String>);

/// What is known beside the default privileges themselves.
pub(super) struct Now {
    powers: Powers,
    names: BTreeMap<u32, String>,
    given: BTreeMap<Parties, Given>,
}

/// What becomes of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) id: DefaultPrivilegesId,
    pub(super) acting: Acting,
    pub(super) before: Given,
    pub(super) after: Given,
}

impl Kind for DefaultPrivileges {
    const NOUN: &'static str = "default privileges";

    type Now = Now;
    type Change = Change;

    fn declared(spec: &DefaultPrivilegesSpec) -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            ("to", spec.to.target().into()),
            ("for_role", (*spec.for_role).into()),
            ("on", spec.on.to_value()),
            ("in_schema", spec.in_schema.to_value()),
            ("database", spec.database.to_value()),
            ("allow", spec.allow.to_value()),
            ("grantable", spec.grantable.into()),
            ("grantable_only", spec.grantable_only.to_value()),
        ])
    }

    async fn now(within: &Within, seen: &[Seen<'_, Self>]) -> Result<Now> {
        let (mut oids, mut names, mut grantees) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (job, _) in seen {
            if let Some(Ok(id)) = job.id().map(str::parse::<DefaultPrivilegesId>) {
                oids.insert(id.creator);
                grantees.insert(id.grantee);
            }
            if let Some(spec) = job.spec() {
                names.insert(spec.for_role.clone());
                grantees.extend(number(spec.to.target()).ok());
            }
        }
        let powers = powers::read(within, &oids, &names).await?;
        let names = role_names(within, &grantees).await?;
        let given = entries(within, &grantees).await?;
        Ok(Now { powers, names, given })
    }

    fn judge(within: &Within, now: &Now, job: &Job<Self>, found: Option<&Found>) -> Result<Change> {
        let what = Self::what(job, found);
        let id = match (job.id(), job.spec()) {
            (Some(id), _) => id.parse().map_err(|_| {
                Error::new(ErrorKind::NotFound, format!("{what} are none")).help("plan again")
            })?,
            (None, Some(spec)) => {
                if let Some(wrong) = check_role(&spec.for_role) {
                    return Err(Error::new(ErrorKind::InvalidInput, wrong.message).help(wrong.help));
                }
                let creator = now
                    .powers
                    .oid(&spec.for_role)
                    .ok_or_else(|| creator_missing(&what, &spec.for_role))?;
                DefaultPrivilegesId {
                    grantee: number(spec.to.target())?,
                    on: spec.on,
                    creator,
                    schema: spec.in_schema.clone(),
                    database: spec.database.clone(),
                }
            }
            (None, None) => unreachable!("a write without an id is a create"),
        };
        if let Some(spec) = job.spec() {
            supported(within.version, &spec.allow)?;
            supports(within.version, &what, spec.on)?;
            let is_same = (id.on, &id.schema, &id.database)
                == (spec.on, &spec.in_schema, &spec.database)
                && now.powers.oid(&spec.for_role) == Some(id.creator);
            if !is_same {
                return Err(key_changed(&what, Self::NOUN));
            }
            if id.grantee == id.creator {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("{what} are the creator's own, who may do everything to what it makes"),
                )
                .help("leave them out, or name another role in `for_role`"));
            }
            if !now.names.contains_key(&id.grantee) {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("{what} are to a role that is not there"),
                )
                .help("plan again; it may have been dropped meanwhile"));
            }
        }
        let parties = (id.grantee, id.on, id.creator, id.schema.clone());
        let before = now.given.get(&parties).cloned().unwrap_or_default();
        let before = as_found(&what, before, found)?;
        let after = job
            .spec()
            .map(|spec| desired(&spec.allow, spec.grantable, spec.grantable_only.as_ref()));
        let after = after.unwrap_or_default();
        let acting = match now.powers.as_owner(id.creator) {
            Some(acting) => acting,
            None if before.is_empty() && after.is_empty() => Acting::Me,
            None => return Err(not_for(&now.powers, &what, id.creator)),
        };
        Ok(Change { id, acting, before, after })
    }

    async fn carry_out(within: &Within, now: &Now, changes: &[(&Job<Self>, Change)]) -> Result<()> {
        let statements = grouped(changes.iter().map(|(_, change)| change), &now.powers, &now.names);
        apply_script(within, &now.powers, &statements).await
    }

    fn written(_: &Job<Self>, change: &Change) -> Reference {
        Reference::Id(change.id.to_string())
    }

    fn entry(
        _: &Now,
        _: &Job<Self>,
        change: &Change,
        _: Option<&provider::Object>,
    ) -> Result<Entry> {
        Ok(Entry::new(change.id.to_string()))
    }

    async fn explain(
        _: &Within,
        now: &Now,
        job: &Job<Self>,
        change: &Change,
        error: Error,
    ) -> Error {
        explained(&now.powers, &Self::what(job, None), change.id.creator, error)
    }
}

pub(super) fn supports(version: u32, what: &str, on: Future) -> Result<()> {
    if on == Future::LargeObjects && version < LARGE_OBJECTS {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{what} are about large objects, which PostgreSQL {version} does not know"),
        )
        .help("leave them out, or upgrade the server to 18 or later"));
    }
    Ok(())
}

pub(super) fn creator_missing(what: &str, for_role: &str) -> Error {
    let name = quoted(for_role);
    Error::new(
        ErrorKind::NotFound,
        format!("{what} is about what the role {name} creates, which is not there"),
    )
    .help("create the role first, or correct its name")
}

pub(super) fn not_for(powers: &Powers, what: &str, creator: u32) -> Error {
    let (me, name) = (powers.my_name(), powers.name(creator));
    let message = format!("{what} are {name}'s own to say, and {} is no member of it", quoted(me));
    powers.no_member(creator, message)
}

/// A refusal of the server, as one of who may not speak for the creator.
pub(super) fn explained(powers: &Powers, what: &str, creator: u32, error: Error) -> Error {
    match sqlstate(&error) {
        Some("42501") => not_for(powers, what, creator).caused_by(error),
        _ => error,
    }
}

/// Says many changes in few statements: the grantees of the same thing
/// together. A grantee whose name is not known is gone.
pub(super) fn grouped<'c>(
    changes: impl Iterator<Item = &'c Change>,
    powers: &Powers,
    names: &BTreeMap<u32, String>,
) -> Statements {
    type Key = (Verb, Acting, u32, Option<String>, Future, BTreeSet<Privilege>);
    let mut groups: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
    for change in changes {
        let grantee = match change.id.grantee {
            EVERYBODY => Some(PUBLIC.to_owned()),
            oid => names.get(&oid).map(|name| ident(name)),
        };
        let Some(grantee) = grantee else { continue };
        let (gone, narrowed) = taken(&change.before, &change.after);
        let given = |wanted: bool| -> BTreeSet<Privilege> {
            let missing = change.after.iter().filter(|(one, option)| {
                let has = change.before.get(one);
                **option == wanted && (has.is_none() || wanted && has == Some(&false))
            });
            missing.map(|(one, _)| *one).collect()
        };
        let all = [
            (Verb::Revoke, gone),
            (Verb::RevokeOption, narrowed),
            (Verb::Grant, given(false)),
            (Verb::GrantOption, given(true)),
        ];
        for (verb, privileges) in all.into_iter().filter(|(_, some)| !some.is_empty()) {
            let DefaultPrivilegesId { on, creator, schema, .. } = &change.id;
            let key = (verb, change.acting, *creator, schema.clone(), *on, privileges);
            groups.entry(key).or_default().insert(grantee.clone());
        }
    }
    let text =
        |((verb, acting, creator, schema, on, privileges), grantees): (Key, BTreeSet<String>)| {
            let creator = powers.role(creator).map_or("", |power| &power.name);
            let schema = schema.map(|name| format!(" IN SCHEMA {}", ident(&name)));
            let head = format!(
                "ALTER DEFAULT PRIVILEGES FOR ROLE {}{}",
                ident(creator),
                schema.unwrap_or_default()
            );
            let privileges: Vec<&str> = privileges.iter().map(|one| one.sql()).collect();
            let (privileges, on) = (privileges.join(", "), on.sql());
            let grantees = grantees.into_iter().collect::<Vec<_>>().join(", ");
            let text = match verb {
                Verb::Revoke => format!("{head} REVOKE {privileges} ON {on} FROM {grantees}"),
                Verb::RevokeOption => {
                    format!("{head} REVOKE GRANT OPTION FOR {privileges} ON {on} FROM {grantees}")
                }
                Verb::Grant => format!("{head} GRANT {privileges} ON {on} TO {grantees}"),
                Verb::GrantOption => {
                    format!("{head} GRANT {privileges} ON {on} TO {grantees} WITH GRANT OPTION")
                }
            };
            (acting, text)
        };
    groups.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Insert, Select},
        *,
    };

    fn change(
        grantee: u32,
        schema: Option<&str>,
        before: &[(Privilege, bool)],
        after: &[(Privilege, bool)],
    ) -> Change {
        let id = DefaultPrivilegesId {
            grantee,
            on: Future::Tables,
            creator: 2,
            schema: schema.map(str::to_owned),
            database: None,
        };
        let given = |all: &[(Privilege, bool)]| all.iter().copied().collect();
        Change { id, acting: Acting::Me, before: given(before), after: given(after) }
    }

    fn texts(changes: &[Change]) -> Vec<String> {
        let now = Now {
            powers: Powers::of(16, &[(2, "o\"wner", [true, true, false])]),
            names: BTreeMap::from([(7, "x".into()), (8, "y".into())]),
            given: BTreeMap::new(),
        };
        grouped(changes.iter(), &now.powers, &now.names).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn the_same_for_many_is_one_statement_and_a_schema_is_another() {
        let new = |grantee, schema| change(grantee, schema, &[], &[(Select, false)]);
        assert_eq!(
            texts(&[new(8, None), new(7, None), new(7, Some("S"))]),
            [
                r#"ALTER DEFAULT PRIVILEGES FOR ROLE "o""wner" GRANT SELECT ON TABLES TO "x", "y""#,
                r#"ALTER DEFAULT PRIVILEGES FOR ROLE "o""wner" IN SCHEMA "S" GRANT SELECT ON TABLES TO "x""#,
            ]
        );
    }

    #[test]
    fn only_the_difference_is_said() {
        let both = [(Select, false), (Insert, true)];
        assert_eq!(texts(&[change(7, None, &both, &both)]), [""; 0]);
        assert_eq!(
            texts(&[change(7, None, &both, &[(Insert, false)])]),
            [
                r#"ALTER DEFAULT PRIVILEGES FOR ROLE "o""wner" REVOKE SELECT ON TABLES FROM "x""#,
                r#"ALTER DEFAULT PRIVILEGES FOR ROLE "o""wner" REVOKE GRANT OPTION FOR INSERT ON TABLES FROM "x""#,
            ]
        );
        assert_eq!(
            texts(&[change(7, None, &[(Select, false)], &[(Select, true)])]),
            [
                r#"ALTER DEFAULT PRIVILEGES FOR ROLE "o""wner" GRANT SELECT ON TABLES TO "x" WITH GRANT OPTION"#
            ]
        );
    }

    #[test]
    fn large_objects_wait_for_the_version_that_knows_them() {
        assert!(supports(17, "it", Future::LargeObjects).is_err());
        assert!(supports(18, "it", Future::LargeObjects).is_ok());
        assert!(supports(15, "it", Future::Tables).is_ok());
    }
}
