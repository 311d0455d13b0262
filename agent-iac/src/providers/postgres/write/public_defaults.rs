//! What everybody will not get on what a role creates: taken from PUBLIC, and
//! given back at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Entry, Found, Job, Kind, Seen,
    acl::Given,
    apply_script,
    default_privileges::{Change as Part, creator_missing, explained, grouped, not_for, supports},
    grant::{key_changed, supported},
    powers::{self, Powers},
    public::{by_words, kept_and_back, words},
};
use crate::{
    error::{Error, ErrorKind, Result},
    provider::{self, Operation, Reference},
    providers::postgres::{
        Future, Privilege, PublicDefaults, PublicDefaultsSpec,
        catalog::{
            Within,
            detail::{self, PublicDefaultsDetail},
            ids::{DefaultPrivilegesId, PublicDefaultsId},
            people::EVERYBODY,
            public_defaults::{Everybodys, everybodys},
        },
        name::check_role,
        server::Type,
    },
    resource::Property as _,
    value::Value,
};

/// What is known beside the declarations themselves.
pub(super) struct Now {
    powers: Powers,
    held: BTreeMap<(u32, Future), Everybodys>,
    /// Of the schemas in which something was taken, those that are there.
    schemas: BTreeSet<String>,
}

/// What was taken, with the schemas; none for all of them at once.
type Taken = BTreeMap<Privilege, BTreeSet<Option<String>>>;

/// What becomes of what everybody will get from one creator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    id: PublicDefaultsId,
    /// The name of the creator, where he is still there.
    creator: String,
    parts: Vec<Part>,
    detail: PublicDefaultsDetail,
}

impl Kind for PublicDefaults {
    const NOUN: &'static str = "hardening of the future";
    const DETAILED: bool = true;

    type Now = Now;
    type Change = Change;

    fn declared(spec: &PublicDefaultsSpec) -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            ("for_role", (*spec.for_role).into()),
            ("on", spec.on.to_value()),
            ("database", spec.database.to_value()),
            ("revoke", spec.revoke.to_value()),
        ])
    }

    async fn now(within: &Within, seen: &[Seen<'_, Self>]) -> Result<Now> {
        let (mut oids, mut names, mut schemas) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (job, found) in seen {
            oids.extend(id(job).map(|id| id.creator));
            names.extend(job.spec().map(|spec| spec.for_role.clone()));
            schemas.extend(before(found.as_ref()).taken.into_values().flatten().flatten());
        }
        let powers = powers::read(within, &oids, &names).await?;
        oids.extend(names.iter().filter_map(|name| powers.oid(name)));
        let held = everybodys(within, &oids).await?;
        if !schemas.is_empty() {
            let names: Vec<String> = std::mem::take(&mut schemas).into_iter().collect();
            let sql = "SELECT nspname::text FROM pg_namespace WHERE nspname = ANY ($1)";
            let rows = within.tx.query(sql, &[(&names, Type::NAME_ARRAY)]).await?;
            schemas.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        }
        Ok(Now { powers, held, schemas })
    }

    fn judge(within: &Within, now: &Now, job: &Job<Self>, found: Option<&Found>) -> Result<Change> {
        let what = Self::what(job, found);
        let detail = before(found);
        let Some(spec) = job.spec() else {
            let id = id(job).ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("{what} is none")).help("plan again")
            })?;
            return now.change(&what, id, &BTreeSet::new(), &detail);
        };
        if let Some(wrong) = check_role(&spec.for_role) {
            return Err(Error::new(ErrorKind::InvalidInput, wrong.message).help(wrong.help));
        }
        supported(within.version, &spec.revoke)?;
        supports(within.version, &what, spec.on)?;
        let creator =
            now.powers.oid(&spec.for_role).ok_or_else(|| creator_missing(&what, &spec.for_role))?;
        let declared = PublicDefaultsId { on: spec.on, creator, database: spec.database.clone() };
        if id(job).is_some_and(|id| id != declared) {
            return Err(key_changed(&what, Self::NOUN));
        }
        now.change(&what, declared, &spec.revoke, &detail)
    }

    async fn carry_out(within: &Within, now: &Now, changes: &[(&Job<Self>, Change)]) -> Result<()> {
        let parts = changes.iter().flat_map(|(_, change)| &change.parts);
        apply_script(within, &now.powers, &grouped(parts, &now.powers, &BTreeMap::new())).await
    }

    fn written(job: &Job<Self>, change: &Change) -> Reference {
        // Once it is deleted, what was never given in the first place would
        // be found by its id: that one asks for nothing that was declared.
        match job.operation {
            Operation::Delete { .. } => Reference::Key(BTreeMap::from([
                ("for_role".into(), Value::Text(change.creator.clone())),
                ("on".into(), change.id.on.to_value()),
                ("database".into(), change.id.database.to_value()),
            ])),
            _ => job.reference(),
        }
    }

    fn entry(
        _: &Now,
        _: &Job<Self>,
        change: &Change,
        _: Option<&provider::Object>,
    ) -> Result<Entry> {
        Entry::with(change.id.to_string(), &change.detail)
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

fn id(job: &Job<PublicDefaults>) -> Option<PublicDefaultsId> {
    job.id()?.parse().ok()
}

fn before(found: Option<&Found>) -> PublicDefaultsDetail {
    detail::read(found.and_then(|found| found.detail.as_deref()))
}

impl Now {
    /// What has to be taken from PUBLIC and given back to it.
    fn change(
        &self,
        what: &str,
        id: PublicDefaultsId,
        revoke: &BTreeSet<Privilege>,
        before: &PublicDefaultsDetail,
    ) -> Result<Change> {
        let (mut taken, back): (Taken, Taken) = kept_and_back(&before.taken, revoke);
        let mut held = self.held.get(&(id.creator, id.on)).cloned().unwrap_or_default();
        for schema in back.values().flatten() {
            // A schema that is gone took what was said of it along.
            if schema.as_ref().is_none_or(|schema| self.schemas.contains(schema)) {
                held.entry(schema.clone()).or_default();
            }
        }
        let mut parts = Vec::new();
        for (schema, has) in held {
            for privilege in has.intersection(revoke) {
                taken.entry(*privilege).or_default().insert(schema.clone());
            }
            let given = |all: &BTreeSet<Privilege>| -> Given {
                all.iter().map(|privilege| (*privilege, false)).collect()
            };
            let mut after: BTreeSet<Privilege> = has.difference(revoke).copied().collect();
            let back = back.iter().filter(|(_, schemas)| schemas.contains(&schema));
            after.extend(back.map(|(privilege, _)| *privilege));
            if after == has {
                continue;
            }
            let acting = self.powers.as_owner(id.creator);
            parts.push(Part {
                id: DefaultPrivilegesId {
                    grantee: EVERYBODY,
                    on: id.on,
                    creator: id.creator,
                    schema,
                    database: id.database.clone(),
                },
                acting: acting.ok_or_else(|| not_for(&self.powers, what, id.creator))?,
                before: given(&has),
                after: given(&after),
            });
        }
        let detail = PublicDefaultsDetail { revoke: words(revoke), taken: by_words(taken) };
        let creator = self.powers.role(id.creator).map_or_else(String::new, |one| one.name.clone());
        Ok(Change { id, creator, parts, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Execute, Select},
        *,
    };

    fn now(on: Future, held: &[(Option<&str>, &[Privilege])], schemas: &[&str]) -> Now {
        let held = held.iter().map(|(schema, given)| {
            (schema.map(str::to_owned), given.iter().copied().collect::<BTreeSet<_>>())
        });
        Now {
            powers: Powers::of(
                16,
                &[(2, "owner", [true, true, false]), (3, "dba", [false, false, false])],
            ),
            held: BTreeMap::from([((2, on), held.clone().collect()), ((3, on), held.collect())]),
            schemas: schemas.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn id(on: Future, creator: u32) -> PublicDefaultsId {
        PublicDefaultsId { on, creator, database: None }
    }

    fn texts(now: &Now, change: &Change) -> Vec<String> {
        let statements = grouped(change.parts.iter(), &now.powers, &BTreeMap::new());
        statements.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn what_is_said_for_all_schemas_and_for_single_ones_is_taken_and_given_back() {
        let revoke = BTreeSet::from([Execute]);
        let on = Future::Functions;
        let before = now(on, &[(None, &[Execute]), (Some("s"), &[Execute])], &[]);
        let nothing = PublicDefaultsDetail::default();
        let taken = before.change("it", id(on, 2), &revoke, &nothing).unwrap();
        let head = r#"ALTER DEFAULT PRIVILEGES FOR ROLE "owner""#;
        assert_eq!(
            texts(&before, &taken),
            [
                format!("{head} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"),
                format!(r#"{head} IN SCHEMA "s" REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"#),
            ]
        );
        for (schemas, statements) in [(&["s"][..], 2), (&[], 1)] {
            let after = now(on, &[(None, &[])], schemas);
            let back = after.change("it", id(on, 2), &BTreeSet::new(), &taken.detail).unwrap();
            let texts = texts(&after, &back);
            assert_eq!(texts.len(), statements, "{texts:?}");
            assert_eq!(texts[0], format!("{head} GRANT EXECUTE ON FUNCTIONS TO PUBLIC"));
            assert_eq!(back.detail, nothing);
        }
    }

    #[test]
    fn what_nobody_would_have_got_takes_no_statement_and_no_power() {
        let on = Future::Tables;
        let now = now(on, &[(None, &[])], &[]);
        let nothing = PublicDefaultsDetail::default();
        let change = now.change("it", id(on, 3), &BTreeSet::from([Select]), &nothing).unwrap();
        assert_eq!((change.parts.len(), change.detail.taken.len()), (0, 0));
    }

    #[test]
    fn a_creator_whom_nobody_of_us_can_be_says_it_himself() {
        let on = Future::Functions;
        let now = now(on, &[(None, &[Execute])], &[]);
        let nothing = PublicDefaultsDetail::default();
        let error = now.change("it", id(on, 3), &BTreeSet::from([Execute]), &nothing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert!(error.message().contains("dba"), "{error}");
    }
}
