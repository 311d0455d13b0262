//! Grants: entries of access control lists.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use futures_util::future::try_join3;

use super::{
    Entry, Found, Job, Kind, Seen,
    acl::{Acls, Given, whole},
    apply_script,
    powers::{self, Acting, Powers},
    role_names, rules,
    script::{Phase, Step, Verb, grouped},
};
use crate::{
    error::{Error, ErrorKind, Result},
    provider::{self, Operation, Reference},
    providers::postgres::{
        Grant, GrantSpec, Object, ObjectKind, Privilege,
        catalog::{
            Within, acl,
            detail::{self, GrantDetail},
            ids::{GrantId, Grantor},
            marks,
            people::BOOTSTRAP,
        },
        name::ident,
        server::sqlstate,
    },
    resource::{Property as _, Resource as _},
    value::Value,
};

/// The version that has the privilege to maintain tables.
const MAINTAIN: u32 = 17;

/// What is known beside the grants themselves.
pub(super) struct Now {
    acls: Acls,
    powers: Powers,
    names: BTreeMap<u32, String>,
    /// The registered grants on columns of the same tables, and what each gave.
    registered: BTreeMap<GrantId, BTreeSet<Privilege>>,
}

/// What becomes of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) id: GrantId,
    /// Who the grantor is.
    pub(super) by: u32,
    pub(super) acting: Acting,
    pub(super) before: Given,
    pub(super) after: Given,
    /// What stands on columns, and would go with the whole.
    pub(super) columns: BTreeMap<String, Given>,
}

/// The role that a write is about, and the object; the grantor when it names
/// one.
fn parties(job: &Job<Grant>) -> Result<(u32, Object, Option<Grantor>)> {
    match job.id() {
        Some(id) => {
            let id: GrantId = id.parse().map_err(|_| no_such(id))?;
            Ok((id.grantee, id.on, Some(id.grantor)))
        }
        None => {
            let spec = job.spec().expect("a write without an id is a create");
            Ok((number(spec.to.target())?, spec.on.clone(), None))
        }
    }
}

fn no_such(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("`{id}` is no grant of a cluster")).help("plan again")
}

/// The number of a role.
pub(super) fn number(id: &str) -> Result<u32> {
    id.parse().map_err(|_| {
        Error::new(ErrorKind::NotFound, format!("`{id}` is no role's number")).help("plan again")
    })
}

impl Kind for Grant {
    const NOUN: &'static str = "grant";

    type Now = Now;
    type Change = Change;

    fn declared(spec: &GrantSpec) -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            ("to", spec.to.target().into()),
            ("on", spec.on.to_value()),
            ("allow", spec.allow.to_value()),
            ("grantable", spec.grantable.into()),
            ("grantable_only", spec.grantable_only.to_value()),
        ])
    }

    async fn now(within: &Within, seen: &[Seen<'_, Self>]) -> Result<Now> {
        let parties: Vec<_> = seen.iter().filter_map(|(job, _)| parties(job).ok()).collect();
        let objects = parties.iter().map(|(_, on, _)| on.clone()).collect();
        let grantees = parties.iter().map(|(grantee, ..)| *grantee).collect();
        let (acls, names, registered) = try_join3(
            Acls::read(within, &objects, &grantees),
            role_names(within, &grantees),
            registered(within, &parties),
        )
        .await?;
        let grantors = parties.iter().filter_map(|(.., grantor)| match grantor {
            Some(Grantor::Role(oid)) => Some(*oid),
            _ => None,
        });
        let roles = acls.owners().into_iter().chain(grantors).collect();
        let powers = powers::read(within, &roles, &BTreeSet::new()).await?;
        Ok(Now { acls, powers, names, registered })
    }

    fn judge(within: &Within, now: &Now, job: &Job<Self>, found: Option<&Found>) -> Result<Change> {
        let what = Self::what(job, found);
        let (grantee, on, grantor) = parties(job)?;
        let name = now.names.get(&grantee).filter(|name| *name != "public");
        if name.is_none() && found.is_none() && job.spec().is_some() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{what} is to a role that is not there"),
            )
            .help("plan again; it may have been dropped meanwhile"));
        }
        if let Some(spec) = job.spec() {
            permitted(within, spec)?;
            if number(spec.to.target()).ok() != found.map_or(Some(grantee), master) || spec.on != on
            {
                return Err(key_changed(&what, Self::NOUN));
            }
        }
        let owner = now.acls.owner(&on).or_else(|| {
            // A parameter on which nobody was granted anything has no row.
            (on.kind == ObjectKind::Parameter).then_some(BOOTSTRAP)
        });
        let Some(owner) = owner else {
            return match job.operation {
                // What the object's end took with it.
                Operation::Delete { .. } => Ok(Change::nothing(job, grantee, on)),
                _ => Err(not_there(&what, &on)),
            };
        };
        if found.is_none() && job.spec().is_none() {
            return Ok(Change::nothing(job, grantee, on));
        }
        if grantee == owner && job.spec().is_some() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{what} is to the owner of it, who may do everything to it"),
            )
            .help("leave it out, or give the object another owner"));
        }
        let powers = &now.powers;
        // What nobody can be for the owner may still be given with a grant
        // option; then the server says.
        let concerned: BTreeSet<Privilege> = job
            .spec()
            .map(|spec| spec.allow.clone())
            .into_iter()
            .chain(found.map(|found| held(&found.object)))
            .flatten()
            .collect();
        let ours = || {
            let how = now.acls.as_owner(powers, &on, owner, &concerned);
            how.map_or((powers.me, Acting::Me), |how| (owner, how))
        };
        let (by, acting) = match grantor.map(|grantor| grantor.role(owner)) {
            None => ours(),
            Some(by) if by == owner => (owner, ours().1),
            Some(by) => {
                let how = powers.as_grantor(by);
                (by, how.ok_or_else(|| powers.cannot_become(&what, by))?)
            }
        };
        let mut given = now.acls.given_at(&on, grantee, by);
        if on.columns.is_some() && found.is_none() {
            // On a column, another grant may have given something before.
            given.clear();
        }
        let before = as_found(&what, given, found)?;
        let after = job
            .spec()
            .map(|spec| desired(&spec.allow, spec.grantable, spec.grantable_only.as_ref()));
        let after = after.unwrap_or_default();
        let columns = if on.columns.is_none() {
            let columns = now.acls.columns(&on, grantee, by);
            columns.map(|(column, given)| (column.clone(), given.clone())).collect()
        } else {
            BTreeMap::new()
        };
        let grantor = grantor.unwrap_or_else(|| Grantor::of(by, owner));
        let id = GrantId { grantee, on, grantor };
        Ok(Change { id, by, acting, before, after, columns })
    }

    async fn carry_out(within: &Within, now: &Now, changes: &[(&Job<Self>, Change)]) -> Result<()> {
        let depths = depths(changes.iter().map(|(_, change)| (&change.id, change.by)));
        // What the registered grants will have given once the batch is done.
        let mut registered = now.registered.clone();
        for (_, change) in changes.iter().filter(|(_, change)| change.id.on.columns.is_some()) {
            registered.insert(change.id.clone(), change.after.keys().copied().collect());
        }
        let steps = changes.iter().zip(depths).flat_map(|((_, change), depth)| {
            let grantee = now.names.get(&change.id.grantee).map(|name| ident(name));
            let steps = grantee.map(|grantee| change.steps(&grantee, depth, &registered));
            steps.unwrap_or_default()
        });
        apply_script(within, &now.powers, &grouped(steps)).await
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
        let id = change.id.to_string();
        if change.id.on.columns.is_none() {
            return Ok(Entry::new(id));
        }
        let allow = change.after.keys().map(|privilege| privilege.word().to_owned()).collect();
        Entry::with(id, &GrantDetail { allow })
    }

    /// Which of two grants on one column a privilege is of, only the registry
    /// says.
    fn reads_registry(job: &Job<Self>) -> bool {
        parties(job).is_ok_and(|(_, on, _)| on.columns.is_some())
    }

    fn checks(change: &Change) -> bool {
        change.takes_columns()
    }

    fn check(_: &Now, after: &Now, job: &Job<Self>, change: &Change) -> Result<()> {
        let GrantId { grantee, on, .. } = &change.id;
        for (column, given) in &change.columns {
            let now = after.acls.given_on(on, column, *grantee, change.by);
            // Another write of the batch may be about the column itself; what
            // it leaves is compared there.
            if !given.keys().any(|privilege| now.contains_key(privilege)) && !now.is_empty() {
                let how = format!("the column {} has other privileges", ident(column));
                return Err(rules::not_as_written(&Self::what(job, None), &how));
            }
        }
        Ok(())
    }

    async fn explain(
        within: &Within,
        now: &Now,
        job: &Job<Self>,
        change: &Change,
        error: Error,
    ) -> Error {
        let what = Self::what(job, None);
        explain(within, now, &what, change, error).await
    }
}

/// The role that a found grant is shown to be of: that of its login.
fn master(found: &Found) -> Option<u32> {
    found.object.value("to").and_then(Value::as_text).and_then(|to| to.parse().ok())
}

/// Of what stands there, what belongs to the grant, when that is still what was
/// found a moment ago: it is never taken from what somebody gave in between.
pub(super) fn as_found(what: &str, given: Given, found: Option<&Found>) -> Result<Given> {
    let moved = || rules::stale(what, "was changed by somebody else just now");
    let Some(found) = found else {
        return if given.is_empty() { Ok(given) } else { Err(moved()) };
    };
    let its_own = held(&found.object);
    let before: Given = given.into_iter().filter(|(one, _)| its_own.contains(one)).collect();
    let is_whole = before.len() == its_own.len();
    let (all, part) = acl::grantable(&before);
    let now = |field: &str| found.object.value(field).unwrap_or(&Value::Null);
    let is_same = is_whole && *now("grantable") == all && *now("grantable_only") == part;
    if is_same { Ok(before) } else { Err(moved()) }
}

/// The privileges that a grant was read with: two grants may be on the same
/// column.
fn held(object: &provider::Object) -> BTreeSet<Privilege> {
    let words = object.value("allow").and_then(Value::as_list).into_iter().flatten();
    let words: BTreeSet<&str> = words.filter_map(Value::as_text).collect();
    Privilege::ALL.into_iter().filter(|one| words.contains(one.word())).collect()
}

/// What a declaration gives.
pub(super) fn desired(
    allow: &BTreeSet<Privilege>,
    grantable: bool,
    only: Option<&BTreeSet<Privilege>>,
) -> Given {
    let passes_on = |one: &Privilege| grantable || only.is_some_and(|only| only.contains(one));
    allow.iter().map(|privilege| (*privilege, passes_on(privilege))).collect()
}

/// The privileges that go, and those that lose their grant option.
pub(super) fn taken(before: &Given, after: &Given) -> (BTreeSet<Privilege>, BTreeSet<Privilege>) {
    let gone = before.keys().filter(|one| !after.contains_key(one));
    let narrowed = before
        .iter()
        .filter(|(one, option)| **option && after.get(one).is_some_and(|option| !option));
    (gone.copied().collect(), narrowed.map(|(one, _)| *one).collect())
}

fn permitted(within: &Within, spec: &GrantSpec) -> Result<()> {
    if spec.allow.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "a grant that allows nothing")
            .help("name at least one privilege in `allow`, or remove the grant"));
    }
    supported(within.version, &spec.allow)
}

/// Refuses a privilege that the server does not have yet.
pub(super) fn supported(version: u32, allow: &BTreeSet<Privilege>) -> Result<()> {
    if version < MAINTAIN && allow.contains(&Privilege::Maintain) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("there is no privilege `maintain` in PostgreSQL {version}"),
        )
        .help("leave it out, or upgrade the server to 17 or later"));
    }
    Ok(())
}

pub(super) fn key_changed(what: &str, noun: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("the key of {what} cannot change"))
        .help(format!("make a new {noun} and delete this one"))
}

pub(super) fn not_there(what: &str, on: &Object) -> Error {
    Error::new(ErrorKind::NotFound, format!("{what} is on something that is not there: {on}"))
        .help("create it first, or correct its name; an administrator may have dropped it")
}

impl Change {
    fn nothing(job: &Job<Grant>, grantee: u32, on: Object) -> Self {
        let grantor = parties(job).ok().and_then(|(.., grantor)| grantor);
        Self {
            id: GrantId { grantee, on, grantor: grantor.unwrap_or(Grantor::Owner) },
            by: grantee,
            acting: Acting::Me,
            before: Given::new(),
            after: Given::new(),
            columns: BTreeMap::new(),
        }
    }

    fn takes_columns(&self) -> bool {
        let (gone, narrowed) = taken(&self.before, &self.after);
        self.columns
            .values()
            .any(|given| given.keys().any(|one| gone.contains(one) || narrowed.contains(one)))
    }

    /// The statements' parts.
    pub(super) fn steps(
        &self,
        grantee: &str,
        depth: u8,
        registered: &BTreeMap<GrantId, BTreeSet<Privilege>>,
    ) -> Vec<Step> {
        let on = &self.id.on;
        let step = |phase, verb, privileges: BTreeSet<Privilege>, on: Object| Step {
            phase,
            acting: self.acting,
            verb,
            privileges,
            on,
            grantee: grantee.to_owned(),
        };
        let (gone, narrowed) = taken(&self.before, &self.after);
        let mut steps = vec![];
        // The server takes what is on the columns along.
        for (column, given) in &self.columns {
            for (option, verb) in [(false, Verb::Grant), (true, Verb::GrantOption)] {
                let back = given.iter().filter(|(one, has)| {
                    **has == option && (gone.contains(one) || narrowed.contains(one))
                });
                let on = Object { columns: Some(BTreeSet::from([column.clone()])), ..on.clone() };
                steps.push(step(Phase::PutBack, verb, back.map(|(one, _)| *one).collect(), on));
            }
        }
        for (option, verb) in [(false, Verb::Grant), (true, Verb::GrantOption)] {
            let missing = self.after.iter().filter(|(one, wanted)| {
                let has = self.before.get(one);
                **wanted == option && (has.is_none() || option && has == Some(&false))
            });
            let missing = missing.map(|(one, _)| *one).collect();
            steps.push(step(Phase::Give, verb, missing, on.clone()));
        }
        for (verb, privileges) in [(Verb::Revoke, gone), (Verb::RevokeOption, narrowed)] {
            let Some(columns) = &on.columns else {
                steps.push(step(Phase::Whole(Reverse(depth)), verb, privileges, on.clone()));
                continue;
            };
            for (privileges, columns) in self.apart(columns, &privileges, registered) {
                let on = Object { columns: Some(columns), ..on.clone() };
                steps.push(step(Phase::Columns(Reverse(depth)), verb, privileges, on));
            }
        }
        steps
    }

    /// What is taken on which columns: what another registered grant gave on
    /// one of them stays there.
    fn apart(
        &self,
        columns: &BTreeSet<String>,
        privileges: &BTreeSet<Privilege>,
        registered: &BTreeMap<GrantId, BTreeSet<Privilege>>,
    ) -> BTreeMap<BTreeSet<Privilege>, BTreeSet<String>> {
        let table = whole(&self.id.on);
        let others: Vec<_> = registered
            .iter()
            .filter(|(id, _)| {
                let parties = (id.grantee, id.grantor) == (self.id.grantee, self.id.grantor);
                parties && **id != self.id && whole(&id.on) == table
            })
            .collect();
        let mut apart: BTreeMap<BTreeSet<Privilege>, BTreeSet<String>> = BTreeMap::new();
        for column in columns {
            let stays = |privilege: &Privilege| {
                others.iter().any(|(id, allow)| {
                    allow.contains(privilege)
                        && id.on.columns.as_ref().is_some_and(|all| all.contains(column))
                })
            };
            let taken = privileges.iter().filter(|one| !stays(one)).copied().collect();
            apart.entry(taken).or_default().insert(column.clone());
        }
        apart
    }
}

/// The registered grants on columns of the tables that some writes are about.
async fn registered(
    within: &Within,
    parties: &[(u32, Object, Option<Grantor>)],
) -> Result<BTreeMap<GrantId, BTreeSet<Privilege>>> {
    let prefixes: BTreeSet<String> = parties
        .iter()
        .filter(|(_, on, _)| on.columns.is_some())
        .map(|(grantee, on, _)| format!("{grantee} on {}", Object { database: None, ..whole(on) }))
        .collect();
    if prefixes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let prefixes: Vec<String> = prefixes.into_iter().collect();
    let found = marks::on_columns(within, Grant::TYPE, &prefixes).await?;
    Ok(found
        .iter()
        .filter_map(|(id, json)| {
            let id: GrantId = id.parse().ok()?;
            let detail: GrantDetail = detail::read(json.as_deref());
            let allow = Privilege::ALL.into_iter().filter(|one| detail.allow.contains(one.word()));
            Some((id, allow.collect()))
        })
        .collect())
}

/// How deep each entry stands in a chain of grantors, by what the batch is
/// about: what was passed on goes before what it was passed on from.
fn depths<'i>(grants: impl Iterator<Item = (&'i GrantId, u32)> + Clone) -> Vec<u8> {
    let mut from: BTreeMap<(Object, u32), BTreeSet<u32>> = BTreeMap::new();
    for (id, by) in grants.clone().filter(|(id, by)| id.grantee != *by) {
        from.entry((whole(&id.on), id.grantee)).or_default().insert(by);
    }
    grants
        .map(|(id, by)| {
            let (mut depth, mut grantors) = (0, BTreeSet::from([by]));
            // A chain that is longer, or closed, is left to the server.
            while depth < 8 {
                let on = whole(&id.on);
                let next: BTreeSet<u32> = grantors
                    .iter()
                    .filter_map(|grantor| from.get(&(on.clone(), *grantor)))
                    .flatten()
                    .copied()
                    .collect();
                if next.is_empty() {
                    break;
                }
                (depth, grantors) = (depth + 1, next);
            }
            depth
        })
        .collect()
}

async fn explain(within: &Within, now: &Now, what: &str, change: &Change, error: Error) -> Error {
    let GrantId { grantee, on, .. } = &change.id;
    let owner = now.acls.owner(on);
    match sqlstate(&error) {
        Some("42501" | "01007" | "01006" | "0LP01") => {
            let (me, powers) = (now.powers.my_name(), &now.powers);
            let Some(owner) = owner else { return error };
            // Either it was done in somebody's name, or nobody's would do.
            let in_name = change.by != powers.me && powers.as_grantor(change.by).is_some()
                || powers.as_owner(owner).is_some();
            let name = powers.name(if in_name { change.by } else { owner });
            let message = if in_name {
                format!("{what} cannot be written, although {me} can act as {name}, who gives it")
            } else {
                format!(
                    "{what} cannot be written by {me}, which is no member of the owner {name} and \
                     has no grant option"
                )
            };
            let help = match (powers.role(if in_name { change.by } else { owner }), &on.schema) {
                (Some(power), Some(schema)) if in_name => format!(
                    "GRANT USAGE ON SCHEMA {} TO {}, in whose name it is given",
                    ident(schema),
                    ident(&power.name)
                ),
                (Some(power), _) => format!(
                    "GRANT {} TO {}, or give it the privileges WITH GRANT OPTION; \
                     it also needs USAGE on the schema",
                    ident(&power.name),
                    ident(me)
                ),
                (None, _) => "let the owner do it".into(),
            };
            Error::new(ErrorKind::Denied, message).help(help).caused_by(error)
        }
        Some("2BP01") => match passed_on(within, *grantee, on).await {
            Ok(entries) if !entries.is_empty() => Error::new(
                ErrorKind::Refused,
                format!("{what} cannot be taken back: it was passed on, {}", entries.join(", ")),
            )
            .help("take these back first, as whoever gave them; nothing is taken by CASCADE")
            .caused_by(error),
            _ => error,
        },
        Some("54000") => Error::new(
            ErrorKind::Refused,
            format!("{what} finds no more room: the list of who may do what to {on} is full"),
        )
        .help("grant it to one role, and make the others its members")
        .caused_by(error),
        _ => error,
    }
}

/// What a role gave to others on an object, in words.
async fn passed_on(within: &Within, grantor: u32, on: &Object) -> Result<Vec<String>> {
    let everybody = super::all_grantees(within).await?;
    let acls = Acls::read(within, &BTreeSet::from([on.clone()]), &everybody).await?;
    let by = acls.given_by(on, grantor);
    let names = role_names(within, &by.keys().copied().collect()).await?;
    Ok(by
        .into_iter()
        .map(|(grantee, privileges)| {
            let privileges: Vec<&str> = privileges.iter().map(|one| one.word()).collect();
            let name = names.get(&grantee).map_or("PUBLIC", String::as_str);
            format!("{} to {}", privileges.join(" and "), crate::address::quoted(name))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Column, Insert, Select, Table, Update},
        *,
    };
    use crate::{providers::postgres::write::script::Statements, resource::Reading};

    fn given(privileges: &[(Privilege, bool)]) -> Given {
        privileges.iter().copied().collect()
    }

    fn change(on: Object, before: &[(Privilege, bool)], after: &[(Privilege, bool)]) -> Change {
        Change {
            id: GrantId { grantee: 7, on, grantor: Grantor::Owner },
            by: 2,
            acting: Acting::Me,
            before: given(before),
            after: given(after),
            columns: BTreeMap::new(),
        }
    }

    fn texts(change: &Change) -> Vec<String> {
        let statements: Statements = grouped(change.steps("\"x\"", 0, &BTreeMap::new()));
        statements.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn only_the_difference_is_written() {
        let table = || Table::new("s", "t");
        let check =
            |before: &[(Privilege, bool)], after: &[(Privilege, bool)], expected: &[&str]| {
                assert_eq!(texts(&change(table(), before, after)), expected);
            };
        check(&[], &[(Select, false)], &[r#"GRANT SELECT ON TABLE "s"."t" TO "x""#]);
        check(&[(Select, false)], &[], &[r#"REVOKE SELECT ON TABLE "s"."t" FROM "x""#]);
        check(&[(Select, false)], &[(Select, false)], &[]);
        check(
            &[(Select, false), (Insert, false)],
            &[(Select, false), (Update, false)],
            &[
                r#"REVOKE INSERT ON TABLE "s"."t" FROM "x""#,
                r#"GRANT UPDATE ON TABLE "s"."t" TO "x""#,
            ],
        );
        check(
            &[(Select, false)],
            &[(Select, true)],
            &[r#"GRANT SELECT ON TABLE "s"."t" TO "x" WITH GRANT OPTION"#],
        );
        check(
            &[(Select, true), (Insert, false)],
            &[(Select, false), (Insert, false)],
            &[r#"REVOKE GRANT OPTION FOR SELECT ON TABLE "s"."t" FROM "x""#],
        );
    }

    #[test]
    fn what_stands_on_columns_is_put_back_after_the_whole_was_revoked() {
        let mut change = change(Table::new("s", "t"), &[(Select, false), (Insert, false)], &[]);
        change.columns = BTreeMap::from([
            ("a".to_owned(), given(&[(Select, false), (Update, false)])),
            ("b".to_owned(), given(&[(Insert, true)])),
        ]);
        assert!(change.takes_columns());
        assert_eq!(
            texts(&change),
            [
                r#"REVOKE SELECT, INSERT ON TABLE "s"."t" FROM "x""#,
                r#"GRANT SELECT ("a") ON TABLE "s"."t" TO "x""#,
                r#"GRANT INSERT ("b") ON TABLE "s"."t" TO "x" WITH GRANT OPTION"#,
            ]
        );
        change.before = given(&[]);
        assert!(!change.takes_columns());
    }

    #[test]
    fn columns_are_named_behind_each_privilege() {
        let change =
            change(Column::new("s", "t", ["a", "b"]), &[], &[(Select, false), (Update, false)]);
        assert_eq!(
            texts(&change),
            [r#"GRANT SELECT ("a", "b"), UPDATE ("a", "b") ON TABLE "s"."t" TO "x""#]
        );
    }

    #[test]
    fn nothing_is_taken_from_what_was_given_after_it_was_looked_at() {
        let object = |allow: &[Privilege], grantable: bool| Found {
            object: provider::Object {
                id: "7 on table s.t by 2".into(),
                fields: BTreeMap::from([
                    (
                        "allow".into(),
                        Reading::Known(allow.iter().copied().collect::<BTreeSet<_>>().to_value()),
                    ),
                    ("grantable".into(), Reading::Known(grantable.into())),
                ]),
                suspended: false,
                mark: None,
                obstacle: None,
                label: None,
            },
            detail: None,
        };
        let check = |now: &[(Privilege, bool)], found: Option<Found>| {
            as_found("it", given(now), found.as_ref()).map_err(|error| error.kind())
        };
        assert_eq!(check(&[], None), Ok(given(&[])));
        assert_eq!(check(&[(Select, false)], None), Err(ErrorKind::StalePlan));
        let select = || Some(object(&[Select], false));
        assert_eq!(check(&[(Select, false)], select()), Ok(given(&[(Select, false)])));
        assert_eq!(check(&[], select()), Err(ErrorKind::StalePlan));
        assert_eq!(check(&[(Select, true)], select()), Err(ErrorKind::StalePlan));
        // Of a column, another grant's are left out.
        let more = [(Select, false), (Update, false)];
        assert_eq!(check(&more, select()), Ok(given(&[(Select, false)])));
    }

    #[test]
    fn what_another_grant_gave_on_a_column_stays_there() {
        let on = |columns: &[&str]| Column::new("s", "t", columns.iter().copied());
        let change = change(on(&["a", "b"]), &[(Select, false), (Update, false)], &[]);
        let other = GrantId { on: on(&["b", "c"]), ..change.id.clone() };
        let registered = BTreeMap::from([
            (change.id.clone(), BTreeSet::new()),
            (other.clone(), BTreeSet::from([Select])),
            (GrantId { grantee: 8, ..other }, BTreeSet::from([Update])),
        ]);
        let texts: Vec<String> = grouped(change.steps("\"x\"", 0, &registered))
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            texts,
            [
                r#"REVOKE SELECT ("a"), UPDATE ("a") ON TABLE "s"."t" FROM "x""#,
                r#"REVOKE UPDATE ("b") ON TABLE "s"."t" FROM "x""#,
            ]
        );
    }

    #[test]
    fn what_was_passed_on_stands_deeper_than_what_it_came_from() {
        let check = |chain: &[(u32, u32)], expected: &[u8]| {
            let id = |grantee, by| GrantId {
                grantee,
                on: Table::new("s", "t"),
                grantor: Grantor::of(by, 2),
            };
            let ids: Vec<_> = chain.iter().map(|(to, by)| (id(*to, *by), *by)).collect();
            assert_eq!(depths(ids.iter().map(|(id, by)| (id, *by))), expected);
        };
        check(&[(7, 2), (8, 7), (9, 8), (5, 6)], &[0, 1, 2, 0]);
        check(&[(7, 8), (8, 7)], &[8, 8]);
    }

    #[test]
    fn a_privilege_is_refused_where_the_server_does_not_have_it() {
        let allow = BTreeSet::from([Privilege::Maintain]);
        assert_eq!(supported(16, &allow).unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(supported(17, &allow).is_ok());
        assert!(supported(15, &BTreeSet::from([Select])).is_ok());
    }
}
