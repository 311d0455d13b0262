//! What everybody may no longer do: taken from PUBLIC, and given back at the
//! end.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Entry, Found, Job, Kind, Seen,
    acl::{Acls, Given},
    apply_script,
    grant::{self, not_there, supported},
    powers::{self, Powers},
    script::{PUBLIC, grouped},
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    provider::{self, Operation, Reference},
    providers::postgres::{
        Object, ObjectKind, Privilege, Public, PublicSpec,
        catalog::{
            Within,
            detail::{self, PublicDetail},
            ids::{GrantId, Grantor, PublicId},
            people::{BOOTSTRAP, EVERYBODY},
        },
        name::ident,
        server::{Type, sqlstate},
    },
    resource::Property as _,
    value::Value,
};

/// What is known beside the declarations themselves.
pub(super) struct Now {
    acls: Acls,
    powers: Powers,
}

/// What was taken, with the columns that it was on; none for the whole.
type Taken = BTreeMap<Privilege, BTreeSet<String>>;

/// What becomes of everybody's rights on one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    on: Object,
    parts: Vec<grant::Change>,
    detail: PublicDetail,
}

impl Kind for Public {
    const NOUN: &'static str = "hardening";
    const DETAILED: bool = true;

    type Now = Now;
    type Change = Change;

    fn declared(spec: &PublicSpec) -> BTreeMap<&'static str, Value> {
        BTreeMap::from([("on", spec.on.to_value()), ("revoke", spec.revoke.to_value())])
    }

    async fn now(within: &Within, seen: &[Seen<'_, Self>]) -> Result<Now> {
        let objects = seen.iter().filter_map(|(job, _)| object(job)).collect();
        let acls = Acls::read(within, &objects, &BTreeSet::from([EVERYBODY])).await?;
        let mut roles = acls.owners();
        for on in &objects {
            roles.extend(acls.grantors(on, EVERYBODY));
        }
        roles.insert(BOOTSTRAP);
        let powers = powers::read(within, &roles, &BTreeSet::new()).await?;
        Ok(Now { acls, powers })
    }

    fn judge(within: &Within, now: &Now, job: &Job<Self>, found: Option<&Found>) -> Result<Change> {
        let what = Self::what(job, found);
        let Some(on) = object(job) else {
            return Err(
                Error::new(ErrorKind::NotFound, format!("{what} is none")).help("plan again")
            );
        };
        let detail = before(found);
        let Some(spec) = job.spec() else {
            if now.owner(&on).is_none() {
                let detail = PublicDetail::default();
                return Ok(Change { on, parts: Vec::new(), detail });
            }
            return now.change(&what, on, &BTreeSet::new(), &detail);
        };
        supported(within.version, &spec.revoke)?;
        if now.owner(&on).is_none() {
            return Err(not_there(&what, &on));
        }
        if on.columns.is_some() {
            now.not_on_the_whole(&what, &on, &spec.revoke)?;
        }
        now.change(&what, on, &spec.revoke, &detail)
    }

    async fn carry_out(within: &Within, now: &Now, changes: &[(&Job<Self>, Change)]) -> Result<()> {
        let nothing = BTreeMap::new();
        let steps = changes
            .iter()
            .flat_map(|(_, change)| &change.parts)
            .flat_map(|part| part.steps(PUBLIC, 0, &nothing));
        apply_script(within, &now.powers, &grouped(steps)).await?;
        let databases: Vec<&str> = changes
            .iter()
            .filter(|(_, change)| change.on.kind == ObjectKind::Database)
            .map(|(_, change)| &*change.on.name)
            .collect();
        not_locked_out(within, &databases).await
    }

    fn written(job: &Job<Self>, change: &Change) -> Reference {
        match job.operation {
            // By its id, what was never given in the first place is found.
            Operation::Delete { .. } => {
                Reference::Key(BTreeMap::from([("on".into(), change.on.to_value())]))
            }
            _ => job.reference(),
        }
    }

    fn entry(
        _: &Now,
        _: &Job<Self>,
        change: &Change,
        _: Option<&provider::Object>,
    ) -> Result<Entry> {
        Entry::with(PublicId { on: change.on.clone() }.to_string(), &change.detail)
    }

    async fn explain(
        _: &Within,
        now: &Now,
        job: &Job<Self>,
        change: &Change,
        error: Error,
    ) -> Error {
        match (sqlstate(&error), now.owner(&change.on)) {
            (Some("42501" | "01007" | "01006"), Some(owner)) => {
                now.not_owner(&Self::what(job, None), owner).caused_by(error)
            }
            _ => error,
        }
    }
}

fn object(job: &Job<Public>) -> Option<Object> {
    match job.id() {
        Some(id) => Some(id.parse::<PublicId>().ok()?.on),
        None => Some(job.spec()?.on.clone()),
    }
}

fn before(found: Option<&Found>) -> PublicDetail {
    detail::read(found.and_then(|found| found.detail.as_deref()))
}

impl Now {
    fn owner(&self, on: &Object) -> Option<u32> {
        let parameter = (on.kind == ObjectKind::Parameter).then_some(BOOTSTRAP);
        self.acls.owner(on).or(parameter)
    }

    fn not_owner(&self, what: &str, owner: u32) -> Error {
        let (me, name) = (self.powers.my_name(), self.powers.name(owner));
        let message =
            format!("{what} is on an object of {name}, whose rights {} has not", quoted(me));
        self.powers.no_member(owner, message)
    }

    /// Who may do something to a whole table may do it to each column.
    fn not_on_the_whole(
        &self,
        what: &str,
        on: &Object,
        revoke: &BTreeSet<Privilege>,
    ) -> Result<()> {
        let table = super::acl::whole(on);
        let grantors = self.acls.grantors(&table, EVERYBODY);
        let given: Given = grantors
            .into_iter()
            .flat_map(|grantor| self.acls.given(&table, EVERYBODY, grantor))
            .collect();
        match revoke.iter().find(|privilege| given.contains_key(privilege)) {
            None => Ok(()),
            Some(privilege) => Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "{what} would do nothing: PUBLIC has {} on all of {table}",
                    privilege.word()
                ),
            )
            .help(format!("declare a `postgres.public` on {table} too"))),
        }
    }

    /// What has to be taken from PUBLIC and given back to it.
    fn change(
        &self,
        what: &str,
        on: Object,
        revoke: &BTreeSet<Privilege>,
        before: &PublicDetail,
    ) -> Result<Change> {
        let owner = self.owner(&on).expect("it was looked for before");
        let (mut taken, back): (Taken, Taken) = kept_and_back(&before.taken, revoke);
        let mut grantors = self.acls.grantors(&on, EVERYBODY);
        grantors.insert(owner);
        let mut parts = Vec::new();
        // The owner's comes last, so that it is what is remembered.
        for grantor in grantors.iter().copied().filter(|one| *one != owner).chain([owner]) {
            let acting = if grantor == owner {
                let concerned = revoke.iter().chain(back.keys()).copied().collect();
                self.acls.as_owner(&self.powers, &on, owner, &concerned)
            } else {
                self.powers.as_grantor(grantor)
            };
            for (on, given) in self.pieces(&on, grantor) {
                let columns = on.columns.iter().flatten();
                for privilege in given.keys().filter(|one| revoke.contains(one)) {
                    taken.entry(*privilege).or_default().extend(columns.clone().cloned());
                }
                let mut after: Given = given
                    .iter()
                    .filter(|(privilege, _)| !revoke.contains(privilege))
                    .map(|(privilege, option)| (*privilege, *option))
                    .collect();
                // Whoever gave it then may be gone, or be the owner no more.
                let back =
                    back.iter().filter(|(_, on)| columns.clone().all(|one| on.contains(one)));
                after.extend(
                    back.filter(|_| grantor == owner).map(|(privilege, _)| (*privilege, false)),
                );
                if after == given {
                    continue;
                }
                let acting = acting.ok_or_else(|| {
                    if grantor == owner {
                        self.not_owner(what, owner)
                    } else {
                        self.powers.cannot_become(what, grantor)
                    }
                })?;
                let columns = if on.columns.is_none() {
                    let columns = self.acls.columns(&on, EVERYBODY, grantor);
                    columns.map(|(column, given)| (column.clone(), given.clone())).collect()
                } else {
                    BTreeMap::new()
                };
                let by = Grantor::of(grantor, owner);
                let id = GrantId { grantee: EVERYBODY, on, grantor: by };
                parts.push(grant::Change {
                    id,
                    by: grantor,
                    acting,
                    before: given,
                    after,
                    columns,
                });
            }
        }
        let detail = PublicDetail { revoke: words(revoke), taken: by_words(taken) };
        Ok(Change { on, parts, detail })
    }

    /// What one grantor gave, on the whole object or on each of its columns:
    /// everybody may have something on one of them only.
    fn pieces(&self, on: &Object, grantor: u32) -> Vec<(Object, Given)> {
        let Some(columns) = &on.columns else {
            return vec![(on.clone(), self.acls.given(on, EVERYBODY, grantor))];
        };
        let piece = |column: &String| {
            let columns = Some(BTreeSet::from([column.clone()]));
            let given = self.acls.given_on(on, column, EVERYBODY, grantor);
            (Object { columns, ..on.clone() }, given)
        };
        columns.iter().map(piece).collect()
    }
}

/// What was taken from PUBLIC before and stays so, and what it gets back.
pub(super) fn kept_and_back<On: Clone>(
    taken: &BTreeMap<String, On>,
    revoke: &BTreeSet<Privilege>,
) -> (BTreeMap<Privilege, On>, BTreeMap<Privilege, On>) {
    let by_word = |word: &String| Privilege::ALL.into_iter().find(|one| one.word() == word);
    taken
        .iter()
        .filter_map(|(word, on)| Some((by_word(word)?, on.clone())))
        .partition(|(privilege, _)| revoke.contains(privilege))
}

/// Privileges by their words, as they are remembered.
pub(super) fn words(privileges: &BTreeSet<Privilege>) -> BTreeSet<String> {
    privileges.iter().map(|privilege| privilege.word().to_owned()).collect()
}

/// What was taken, by the words of the privileges.
pub(super) fn by_words<On>(taken: BTreeMap<Privilege, On>) -> BTreeMap<String, On> {
    taken.into_iter().map(|(privilege, on)| (privilege.word().to_owned(), on)).collect()
}

/// Refuses to take the way in from ourselves.
async fn not_locked_out(within: &Within, databases: &[&str]) -> Result<()> {
    if databases.is_empty() {
        return Ok(());
    }
    let ours: Vec<&str> = within.layout.principals.iter().map(String::as_str).collect();
    let named: Vec<&str> = within.layout.databases().map(|one| within.layout.name(one)).collect();
    let rows = within
        .tx
        .query(
            "SELECT r.rolname::text, d.datname::text FROM pg_roles r, pg_database d
            WHERE (r.rolname = session_user OR r.rolname = ANY ($1)) AND d.datname = ANY ($2)
                AND d.datname = ANY ($3) AND NOT has_database_privilege(r.oid, d.oid, 'CONNECT')
            ORDER BY 1, 2",
            &[
                (&ours, Type::NAME_ARRAY),
                (&databases, Type::NAME_ARRAY),
                (&named, Type::NAME_ARRAY),
            ],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (login, database): (String, String) = (row.get(0), row.get(1));
    Err(Error::new(
        ErrorKind::Refused,
        format!(
            "without PUBLIC's right to connect to the database {}, the login {} of this provider \
             could not come in again",
            quoted(&database),
            quoted(&login)
        ),
    )
    .help(format!("GRANT CONNECT ON DATABASE {} TO {} first", ident(&database), ident(&login))))
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{
            Connect, Select, Table, Temporary, Update,
            catalog::{Class, Entry as AclEntry, Found as Place, Place as At},
        },
        *,
    };
    use crate::providers::postgres::Database;

    fn now(entries: &[(Object, Option<&str>, u32, Privilege)]) -> Now {
        let places = BTreeMap::from_iter(
            [
                (Database::new("d"), Class::Database, 100),
                (Table::new("s", "t"), Class::Relation, 200),
            ]
            .map(|(object, class, oid)| {
                (object.clone(), Place { place: At { class, oid }, object, owner: 2 })
            }),
        );
        let entries = entries
            .iter()
            .map(|(object, column, grantor, privilege)| AclEntry {
                place: places[object].place,
                column: column.map(str::to_owned),
                grantee: EVERYBODY,
                grantor: *grantor,
                privilege: *privilege,
                grantable: false,
            })
            .collect();
        let powers = Powers::of(
            16,
            &[(2, "owner", [true, true, false]), (5, "foreign", [false, false, false])],
        );
        Now { acls: Acls::of(places, entries), powers }
    }

    fn texts(change: &Change) -> Vec<String> {
        let steps = change.parts.iter().flat_map(|part| part.steps(PUBLIC, 0, &BTreeMap::new()));
        grouped(steps).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn what_was_taken_is_remembered_and_only_that_is_given_back() {
        let database = || Database::new("d");
        let both = BTreeSet::from([Connect, Temporary]);
        let before = now(&[(database(), None, 2, Connect)]);
        let taken = before.change("it", database(), &both, &PublicDetail::default()).unwrap();
        assert_eq!(texts(&taken), [r#"REVOKE CONNECT ON DATABASE "d" FROM PUBLIC"#]);
        assert_eq!(taken.detail.taken, BTreeMap::from([("connect".to_owned(), BTreeSet::new())]));
        assert_eq!(taken.detail.revoke.len(), 2);
        let after = now(&[]);
        let back = after.change("it", database(), &BTreeSet::new(), &taken.detail).unwrap();
        assert_eq!(texts(&back), [r#"GRANT CONNECT ON DATABASE "d" TO PUBLIC"#]);
        assert_eq!(back.detail, PublicDetail::default());
    }

    #[test]
    fn each_column_gets_back_what_it_had() {
        let table = Table::new("s", "t");
        let on = |columns: &[&str]| {
            let columns = columns.iter().map(|&column| column.to_owned()).collect();
            Object { columns: Some(columns), ..Table::new("s", "t") }
        };
        let held = now(&[
            (table.clone(), Some("a"), 2, Select),
            (table.clone(), Some("b"), 2, Select),
            (table.clone(), Some("b"), 2, Update),
        ]);
        let both = BTreeSet::from([Select, Update]);
        let three = || on(&["a", "b", "c"]);
        let taken = held.change("it", three(), &both, &PublicDetail::default()).unwrap();
        let columns = |columns: &[&str]| on(columns).columns.unwrap();
        let remembered = BTreeMap::from([
            ("select".to_owned(), columns(&["a", "b"])),
            ("update".to_owned(), columns(&["b"])),
        ]);
        assert_eq!(taken.detail.taken, remembered);
        // Somebody gives the third one too, and it is taken as well.
        let again = now(&[(table, Some("c"), 2, Update)]);
        let again = again.change("it", three(), &both, &taken.detail).unwrap();
        assert_eq!(again.detail.taken["update"], columns(&["b", "c"]));
        let select = BTreeSet::from([Select]);
        let less = now(&[]).change("it", three(), &select, &taken.detail).unwrap();
        assert_eq!(texts(&less), [r#"GRANT UPDATE ("b") ON TABLE "s"."t" TO PUBLIC"#]);
        let back = now(&[]).change("it", three(), &BTreeSet::new(), &taken.detail).unwrap();
        let back: BTreeSet<String> = texts(&back).into_iter().collect();
        let both = [
            r#"GRANT SELECT ("a") ON TABLE "s"."t" TO PUBLIC"#,
            r#"GRANT SELECT ("b"), UPDATE ("b") ON TABLE "s"."t" TO PUBLIC"#,
        ];
        assert_eq!(back, BTreeSet::from(both.map(str::to_owned)));
    }

    #[test]
    fn what_somebody_else_gave_to_everybody_is_not_passed_over() {
        let database = || Database::new("d");
        let revoke = || BTreeSet::from([Connect]);
        let held = now(&[(database(), None, 2, Connect), (database(), None, 5, Connect)]);
        let error = held.change("it", database(), &revoke(), &PublicDetail::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.message().contains("foreign"), "{error}");
    }

    #[test]
    fn a_column_is_not_hardened_while_everybody_has_the_table() {
        let table = Table::new("s", "t");
        let columns = Object { columns: Some(BTreeSet::from(["a".into()])), ..table.clone() };
        let select = BTreeSet::from([Select]);
        let held = now(&[(table.clone(), None, 2, Select)]);
        assert!(held.not_on_the_whole("it", &columns, &select).is_err());
        let held = now(&[(table, Some("a"), 2, Select)]);
        assert!(held.not_on_the_whole("it", &columns, &select).is_ok());
        let change = held.change("it", columns, &select, &PublicDetail::default()).unwrap();
        assert_eq!(texts(&change), [r#"REVOKE SELECT ("a") ON TABLE "s"."t" FROM PUBLIC"#]);
    }
}
