//! Memberships of roles in roles.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Entry, Found, GRANTORS, Job, Kind, Seen, Writer, apply_script,
    grant::{key_changed, number},
    powers::{self, Acting, Powers},
    role_names,
    script::Statements,
    sessions,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    provider::{self, Operation, Write, Written},
    providers::postgres::{
        Membership, MembershipSpec,
        catalog::{Within, ids::MembershipId},
        name::{check_role, ident},
        server::{Type, copy, sqlstate},
    },
    value::Value,
};

/// What is known beside the memberships themselves.
pub(super) struct Now {
    version: u32,
    powers: Powers,
    names: BTreeMap<u32, String>,
    /// The roles that have to `SET ROLE` for what they are members of.
    noinherit: BTreeSet<u32>,
}

/// What becomes of a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    member: u32,
    /// The name of the role.
    of: String,
    /// The one that is there; `None` for a new one.
    id: Option<MembershipId>,
    /// The grantor to name; the server takes the best one where it is `None`.
    by: Option<String>,
    /// What it is to be.
    options: Option<Options>,
    /// Whether the member may give it to others now.
    is_admin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Options {
    admin: bool,
    inherit: bool,
    set: bool,
}

impl Kind for Membership {
    const NOUN: &'static str = "membership";

    type Now = Now;
    type Change = Change;

    fn declared(spec: &MembershipSpec) -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            ("to", spec.to.target().into()),
            ("of", (*spec.of).into()),
            ("admin", spec.admin.into()),
            ("noinherit", spec.noinherit.into()),
            ("noset", spec.noset.into()),
        ])
    }

    async fn now(within: &Within, seen: &[Seen<'_, Self>]) -> Result<Now> {
        let mut oids = BTreeSet::new();
        let mut members = BTreeSet::new();
        let mut names = BTreeSet::new();
        for (job, _) in seen {
            if let Some(Ok(id)) = job.id().map(str::parse::<MembershipId>) {
                oids.insert(id.grantor);
                members.insert(id.member);
                members.insert(id.role);
            }
            if let Some(spec) = job.spec() {
                members.extend(number(spec.to.target()).ok());
                names.insert(spec.of.clone());
            }
        }
        let powers = powers::read(within, &oids, &names).await?;
        let noinherit = if within.version < GRANTORS {
            noinherit(within, &members).await?
        } else {
            BTreeSet::new()
        };
        let names = role_names(within, &members).await?;
        Ok(Now { version: within.version, powers, names, noinherit })
    }

    fn judge(_: &Within, now: &Now, job: &Job<Self>, found: Option<&Found>) -> Result<Change> {
        let what = Self::what(job, found);
        let Some(spec) = job.spec() else {
            let id: MembershipId = job.id().unwrap_or_default().parse().map_err(|_| {
                Error::new(ErrorKind::NotFound, format!("{what} is none")).help("plan again")
            })?;
            let by = match found {
                Some(_) => now.by(&what, id.grantor)?,
                None => None,
            };
            let of = now.names.get(&id.role).cloned().unwrap_or_default();
            let id = found.map(|_| id);
            let member = id.map_or(0, |id| id.member);
            return Ok(Change { member, of, id, by, options: None, is_admin: false });
        };
        now.supports(&what, spec)?;
        if let Some(wrong) = check_role(&spec.of) {
            return Err(Error::new(ErrorKind::InvalidInput, wrong.message).help(wrong.help));
        }
        let member = number(spec.to.target())?;
        let there = now.names.contains_key(&member) && now.powers.oid(&spec.of).is_some();
        if !there {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{what} is of a role that is not there"),
            )
            .help("create the role first, or correct its name"));
        }
        let id: Option<MembershipId> = found.and_then(|found| found.object.id.parse().ok());
        if let Some(id) = &id
            && (now.names.get(&id.role) != Some(&spec.of) || id.member != member)
        {
            return Err(key_changed(&what, Self::NOUN));
        }
        let by = match &id {
            Some(id) => now.by(&what, id.grantor)?,
            None => None,
        };
        let options = Options { admin: spec.admin, inherit: !spec.noinherit, set: !spec.noset };
        let is_admin = found.is_some_and(|found| {
            found.object.value("admin").and_then(Value::as_bool) == Some(true)
        });
        Ok(Change { member, of: spec.of.clone(), id, by, options: Some(options), is_admin })
    }

    async fn carry_out(within: &Within, now: &Now, changes: &[(&Job<Self>, Change)]) -> Result<()> {
        let statements = grouped(changes.iter().map(|(_, change)| change), now);
        apply_script(within, &now.powers, &statements).await
    }

    fn entry(
        _: &Now,
        job: &Job<Self>,
        change: &Change,
        read: Option<&provider::Object>,
    ) -> Result<Entry> {
        let id = match (&job.operation, read) {
            (Operation::Delete { id }, _) => id.clone(),
            (_, Some(read)) => read.id.clone(),
            (_, None) => change.id.map(|id| id.to_string()).unwrap_or_default(),
        };
        Ok(Entry::new(id))
    }

    /// Before PostgreSQL 16 it is the role that says `noinherit`, and it may have
    /// said something else a moment ago, by the same plan.
    fn recall(job: &Job<Self>, found: &mut Found) {
        let is_the_roles = found.object.id.ends_with(" by 0");
        let seen = job.seen.object().and_then(|seen| seen.fields.get("noinherit"));
        if let (true, Some(seen)) = (is_the_roles, seen) {
            found.object.fields.insert("noinherit".into(), seen.clone());
        }
    }

    /// A session that became the role goes on as it, so that sessions end
    /// with what let them do so.
    async fn write(writer: &Writer, batch: &[Write<Self>]) -> Vec<Result<Written>> {
        let mut written = writer.batch(batch.iter().map(Job::of).collect()).await;
        let left: BTreeMap<usize, u32> = batch
            .iter()
            .enumerate()
            .filter(|(at, _)| written[*at].is_ok())
            .filter_map(|(at, write)| Some((at, leaves(write)?)))
            .collect();
        let members = left.values().copied().collect();
        if let Err(error) = sessions::end_open_sessions(writer.view(), &members).await {
            for at in left.into_keys() {
                written[at] = Err(goes_on(copy(&error)));
            }
        }
        written
    }

    async fn explain(
        within: &Within,
        now: &Now,
        job: &Job<Self>,
        change: &Change,
        error: Error,
    ) -> Error {
        let what = Self::what(job, None);
        let me = now.powers.my_name();
        match sqlstate(&error) {
            Some("0LP01") => Error::new(
                ErrorKind::Refused,
                format!(
                    "{what} cannot be made: {} is a member of the other role, or has it from \
                     there, and memberships make no circle",
                    quoted(&change.of)
                ),
            )
            .help("take one of the memberships between the two back")
            .caused_by(error),
            Some("42501" | "01000" | "01007") => Error::new(
                ErrorKind::Denied,
                format!(
                    "{what} cannot be written by {}, which may not administer {}",
                    quoted(me),
                    quoted(&change.of)
                ),
            )
            .help(format!("GRANT {} TO {} WITH ADMIN OPTION", ident(&change.of), ident(me)))
            .caused_by(error),
            Some("2BP01") => match passed_on(within, change).await {
                Ok(members) if !members.is_empty() => Error::new(
                    ErrorKind::Refused,
                    format!(
                        "{what} cannot be taken back: it was passed on to {}",
                        members.join(", ")
                    ),
                )
                .help("take these back first, as whoever gave them; nothing is taken by CASCADE")
                .caused_by(error),
                _ => error,
            },
            _ => error,
        }
    }
}

/// The member that can no longer become the role by what is written.
fn leaves(write: &Write<Membership>) -> Option<u32> {
    let (id, leaves) = match &write.operation {
        Operation::Delete { id } => (id, true),
        Operation::Update { id, desired } => (id, desired.noset),
        _ => return None,
    };
    let before = write.seen.object().and_then(|seen| seen.value("noset"));
    let could = before.and_then(Value::as_bool) != Some(true);
    let id: MembershipId = id.parse().ok().filter(|_| leaves && could)?;
    Some(id.member)
}

/// The error of a membership that was taken, and that somebody may still use.
pub(in super::super) fn goes_on(error: Error) -> Error {
    Error::new(
        error.kind(),
        "the membership was taken back, and open sessions of its member may go on as the role \
         that they had become",
    )
    .help("end them by `pg_terminate_backend`, as a role that may do so")
    .caused_by(error)
}

impl Now {
    /// How a grantor is named. Before PostgreSQL 16 it has no effect.
    fn by(&self, what: &str, grantor: u32) -> Result<Option<String>> {
        if self.version < GRANTORS {
            return Ok(None);
        }
        match self.powers.role(grantor) {
            // Who has the rights of the grantor may speak for him.
            Some(power) if power.inherited || self.powers.superuser => Ok(Some(power.name.clone())),
            _ if grantor == self.powers.me => Ok(Some(self.powers.my_name().to_owned())),
            _ => Err(self.powers.cannot_become(what, grantor)),
        }
    }

    fn supports(&self, what: &str, spec: &MembershipSpec) -> Result<()> {
        if self.version >= GRANTORS {
            return Ok(());
        }
        if spec.noset {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{what} has `noset`, which PostgreSQL {} does not know", self.version),
            )
            .help("leave it out, or upgrade the server to 16 or later"));
        }
        let member = number(spec.to.target())?;
        if spec.noinherit != self.noinherit.contains(&member) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{what} says `noinherit = {}`, which before PostgreSQL 16 is the role's to say",
                    spec.noinherit
                ),
            )
            .help("declare `noinherit` on the role, and the same on all its memberships"));
        }
        Ok(())
    }
}

async fn noinherit(within: &Within, roles: &BTreeSet<u32>) -> Result<BTreeSet<u32>> {
    let roles: Vec<u32> = roles.iter().copied().collect();
    let sql = "SELECT oid FROM pg_roles WHERE oid = ANY ($1) AND NOT rolinherit";
    let rows = within.tx.query(sql, &[(&roles, Type::OID_ARRAY)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Says many memberships in few statements: the members of the same role with
/// the same options, by the same grantor, together.
fn grouped<'c>(changes: impl Iterator<Item = &'c Change>, now: &Now) -> Statements {
    // What is taken comes first.
    type Key = (bool, String, Option<String>, Option<Options>, bool);
    let mut groups: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
    for change in changes {
        // What is gone already.
        let Some(member) = now.names.get(&change.member) else { continue };
        let given = change.options.is_some();
        // Only before 16 does the option to give it on have to be taken alone.
        let demote = now.version < GRANTORS
            && change.is_admin
            && change.options.is_some_and(|options| !options.admin);
        let key = (given, change.of.clone(), change.by.clone(), change.options, demote);
        groups.entry(key).or_default().insert(ident(member));
    }
    let by = |name: &Option<String>| {
        name.as_ref().map(|name| format!(" GRANTED BY {}", ident(name))).unwrap_or_default()
    };
    let text = |((_, of, grantor, options, demote), members): (Key, BTreeSet<String>)| {
        let (of, by) = (ident(&of), by(&grantor));
        let members = members.into_iter().collect::<Vec<_>>().join(", ");
        match options {
            None => format!("REVOKE {of} FROM {members}{by}"),
            Some(_) if demote => format!("REVOKE ADMIN OPTION FOR {of} FROM {members}"),
            Some(Options { admin, inherit, set }) if now.version >= GRANTORS => format!(
                "GRANT {of} TO {members} WITH ADMIN {admin}, INHERIT {inherit}, SET {set}{by}"
            ),
            Some(Options { admin: true, .. }) => {
                format!("GRANT {of} TO {members} WITH ADMIN OPTION")
            }
            Some(_) => format!("GRANT {of} TO {members}"),
        }
    };
    groups.into_iter().map(|group| (Acting::Me, text(group))).collect()
}

/// To whom a member gave the membership.
async fn passed_on(within: &Within, change: &Change) -> Result<Vec<String>> {
    let Some(id) = change.id else { return Ok(Vec::new()) };
    let rows = within
        .tx
        .query(
            "SELECT r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
            WHERE m.roleid = $1 AND m.grantor = $2 ORDER BY 1",
            &[(&id.role, Type::OID), (&id.member, Type::OID)],
        )
        .await?;
    Ok(rows.iter().map(|row| quoted(row.get::<_, &str>(0))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(version: u32) -> Now {
        Now {
            version,
            powers: Powers::of(version, &[(2, "readers", [false, false, true])]),
            names: BTreeMap::from([(7, "x".into()), (8, "y".into()), (2, "readers".into())]),
            noinherit: BTreeSet::from([8]),
        }
    }

    fn change(member: u32, options: Option<[bool; 3]>) -> Change {
        let options = options.map(|[admin, inherit, set]| Options { admin, inherit, set });
        let id = MembershipId { member, role: 2, grantor: 1 };
        Change { member, of: "readers".into(), id: Some(id), by: None, options, is_admin: false }
    }

    fn texts(version: u32, changes: &[Change]) -> Vec<String> {
        grouped(changes.iter(), &now(version)).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn members_with_the_same_options_come_in_one_statement() {
        let plain = Some([false, true, true]);
        let both = [change(7, plain), change(8, plain)];
        assert_eq!(
            texts(16, &both),
            [r#"GRANT "readers" TO "x", "y" WITH ADMIN false, INHERIT true, SET true"#]
        );
        assert_eq!(texts(15, &both), [r#"GRANT "readers" TO "x", "y""#]);
        assert_eq!(
            texts(16, &[change(7, plain), change(8, Some([true, false, true]))]),
            [
                r#"GRANT "readers" TO "x" WITH ADMIN false, INHERIT true, SET true"#,
                r#"GRANT "readers" TO "y" WITH ADMIN true, INHERIT false, SET true"#,
            ]
        );
        assert_eq!(
            texts(15, &[change(8, Some([true, true, true]))]),
            [r#"GRANT "readers" TO "y" WITH ADMIN OPTION"#]
        );
    }

    #[test]
    fn one_is_taken_from_the_grantor_who_gave_it() {
        let mut taken = change(7, None);
        taken.by = Some("da\"ve".into());
        assert_eq!(texts(16, &[taken]), [r#"REVOKE "readers" FROM "x" GRANTED BY "da""ve""#]);
        assert_eq!(texts(15, &[change(7, None)]), [r#"REVOKE "readers" FROM "x""#]);
    }

    #[test]
    fn an_admin_becomes_a_member_again_without_losing_the_membership() {
        let mut member = change(7, Some([false, true, true]));
        member.is_admin = true;
        assert_eq!(texts(15, &[member.clone()]), [r#"REVOKE ADMIN OPTION FOR "readers" FROM "x""#]);
        assert_eq!(
            texts(16, &[member]),
            [r#"GRANT "readers" TO "x" WITH ADMIN false, INHERIT true, SET true"#]
        );
    }

    #[test]
    fn before_16_a_membership_cannot_say_what_is_the_roles_to_say() {
        use crate::resource::Link;
        let spec = |to: &str, noinherit, noset| MembershipSpec {
            to: Link::id(to),
            of: "readers".into(),
            admin: false,
            noinherit,
            noset,
        };
        let kind = |version, spec: &MembershipSpec| {
            now(version).supports("it", spec).map_err(|error| error.kind())
        };
        assert_eq!(kind(15, &spec("7", false, false)), Ok(()));
        assert_eq!(kind(15, &spec("8", true, false)), Ok(()));
        assert_eq!(kind(15, &spec("7", true, false)), Err(ErrorKind::InvalidInput));
        assert_eq!(kind(15, &spec("8", false, false)), Err(ErrorKind::InvalidInput));
        assert_eq!(kind(15, &spec("7", false, true)), Err(ErrorKind::Unsupported));
        assert_eq!(kind(16, &spec("7", true, true)), Ok(()));
    }
}
