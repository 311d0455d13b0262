//! Ownership: given to a role, and to its heir at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Entry, Found, GRANTORS, Job, Kind, Seen, Writer, apply_script,
    grant::{key_changed, not_there, number},
    powers::{self, Acting, Powers},
    script::Statements,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    provider::{self, Operation, Reference, Write, Written},
    providers::postgres::{
        Object, ObjectKind, Ownership, OwnershipSpec, Role,
        catalog::{
            Found as Place, Within, classes,
            detail::{self, OwnershipDetail, RoleDetail},
            ids::OwnershipId,
            marks, people,
            traps::{self, Traps},
        },
        name::{check_role, ident},
        server::{copy, sqlstate},
    },
    resource::{Property as _, Resource as _},
    value::Value,
};

/// What is known beside the ownerships themselves.
pub(super) struct Now {
    powers: Powers,
    places: BTreeMap<Object, Place>,
    /// What runs with the rights of its owner, by the owners.
    traps: BTreeMap<u32, Traps>,
    database: String,
}

/// What becomes of an object's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    on: Object,
    /// Whose it is, and whose it becomes; `None` when nothing is to be done.
    hands: Option<(u32, u32)>,
    /// Whose it is registered to be.
    owner: u32,
    acting: Acting,
    heir: Option<String>,
}

impl Kind for Ownership {
    const NOUN: &'static str = "ownership";
    const DETAILED: bool = true;

    type Now = Now;
    type Change = Change;

    async fn write(writer: &Writer, batch: &[Write<Self>]) -> Vec<Result<Written>> {
        let mut jobs: Vec<Job<Self>> = batch.iter().map(Job::of).collect();
        if let Err(error) = find_heirs(writer, &mut jobs).await {
            return jobs.iter().map(|_| Err(copy(&error))).collect();
        }
        writer.batch(jobs).await
    }

    fn declared(spec: &OwnershipSpec) -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            ("to", spec.to.target().into()),
            ("on", spec.on.to_value()),
            ("heir", (*spec.heir).into()),
        ])
    }

    async fn now(within: &Within, seen: &[Seen<'_, Self>]) -> Result<Now> {
        let (mut oids, mut names, mut objects) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (job, found) in seen {
            if let Some(Ok(id)) = job.id().map(str::parse::<OwnershipId>) {
                oids.insert(id.owner);
                objects.insert(id.on);
            }
            if let Some(spec) = job.spec() {
                oids.extend(number(spec.to.target()).ok());
                names.insert(spec.heir.clone());
                objects.insert(spec.on.clone());
            }
            names.extend(heir_of(found.as_ref()));
            names.extend(job.heir.clone());
        }
        let places = classes::named(within, &objects).await?;
        let owners: BTreeSet<u32> = places.values().map(|place| place.owner).collect();
        let traps = traps::of(within, &owners.iter().copied().collect::<Vec<_>>()).await?;
        oids.extend(owners);
        let mut powers = powers::read(within, &oids, &names).await?;
        // Who has an heir is ours, which before 16 only the registry of the
        // own database says.
        if within.version < GRANTORS {
            let ours = seen.iter().filter(|(job, _)| job.heir.is_some());
            let ours: Vec<u32> = ours.filter_map(|(job, _)| Some(owner_of(job)?.owner)).collect();
            powers.administer(ours.into_iter());
        }
        Ok(Now { powers, places, traps, database: within.tx.database().to_owned() })
    }

    fn judge(_: &Within, now: &Now, job: &Job<Self>, found: Option<&Found>) -> Result<Change> {
        let what = Self::what(job, found);
        let Now { powers, places, .. } = now;
        let id: Option<OwnershipId> = match job.id() {
            Some(id) => Some(id.parse().map_err(|_| {
                Error::new(ErrorKind::NotFound, format!("{what} is none")).help("plan again")
            })?),
            None => None,
        };
        let Some(spec) = job.spec() else {
            let id = id.expect("only a create has no id");
            let Some(found) = found else {
                let nothing = Change {
                    on: id.on,
                    hands: None,
                    owner: id.owner,
                    acting: Acting::Me,
                    heir: None,
                };
                return Ok(nothing);
            };
            let name = heir_of(Some(found)).or_else(|| job.heir.clone()).ok_or_else(|| {
                Error::new(ErrorKind::Refused, format!("{what} has no heir who could take it over"))
                    .help("give its role an `heir`, or the object another owner by hand")
            })?;
            let heir = now.heir(&what, &name)?;
            now.no_trap(&what, &id.on)?;
            let acting = now.acting(&what, id.owner)?;
            let hands = (heir != id.owner).then_some((id.owner, heir));
            return Ok(Change { on: id.on, hands, owner: id.owner, acting, heir: Some(name) });
        };
        if let Some(wrong) = check_role(&spec.heir) {
            return Err(Error::new(ErrorKind::InvalidInput, wrong.message).help(wrong.help));
        }
        let to = number(spec.to.target())?;
        let Some(place) = places.get(&spec.on) else { return Err(not_there(&what, &spec.on)) };
        if powers.role(to).is_none() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{what} is for a role that is not there"),
            )
            .help("plan again; it may have been dropped meanwhile"));
        }
        now.heir(&what, &spec.heir)?;
        let heir = Some(spec.heir.clone());
        match id {
            Some(id) if id.on != spec.on || found.is_none() => Err(key_changed(&what, Self::NOUN)),
            Some(id) => {
                let on = id.on;
                Ok(Change { on, hands: None, owner: id.owner, acting: Acting::Me, heir })
            }
            // It is so already, by somebody else's hand.
            None if place.owner == to => Err(job.mark.taken(&what, None)),
            None => {
                let acting = now.acting(&what, place.owner)?;
                let hands = Some((place.owner, to));
                Ok(Change { on: spec.on.clone(), hands, owner: to, acting, heir })
            }
        }
    }

    async fn carry_out(within: &Within, now: &Now, changes: &[(&Job<Self>, Change)]) -> Result<()> {
        let statements = statements(changes.iter().map(|(_, change)| change), &now.powers);
        apply_script(within, &now.powers, &statements).await
    }

    fn written(_: &Job<Self>, change: &Change) -> Reference {
        Reference::Id(OwnershipId { owner: change.owner, on: change.on.clone() }.to_string())
    }

    fn entry(
        _: &Now,
        _: &Job<Self>,
        change: &Change,
        _: Option<&provider::Object>,
    ) -> Result<Entry> {
        let id = OwnershipId { owner: change.owner, on: change.on.clone() };
        Entry::with(id.to_string(), &OwnershipDetail { heir: change.heir.clone() })
    }

    /// It may have become what runs with its owner's rights just before it
    /// was handed on.
    fn check(_: &Now, after: &Now, job: &Job<Self>, change: &Change) -> Result<()> {
        match (&job.operation, change.hands) {
            (Operation::Delete { .. }, Some(_)) => {
                after.no_trap(&Self::what(job, None), &change.on)
            }
            _ => Ok(()),
        }
    }

    fn checks(change: &Change) -> bool {
        change.hands.is_some()
    }

    async fn explain(
        _: &Within,
        now: &Now,
        job: &Job<Self>,
        change: &Change,
        error: Error,
    ) -> Error {
        let Some((_, to)) = change.hands else { return error };
        let what = Self::what(job, None);
        let (me, to_name) = (now.powers.my_name(), now.powers.name(to));
        if sqlstate(&error) != Some("42501") {
            return error;
        }
        let to_sql = now.powers.role(to).map_or_else(String::new, |power| ident(&power.name));
        let mut help = format!("GRANT {to_sql} TO {}", ident(me));
        if let Some(schema) = &change.on.schema {
            help.push_str(&format!("; GRANT CREATE ON SCHEMA {} TO {to_sql}", ident(schema)));
        } else if change.on.kind == ObjectKind::Database {
            help.push_str(&format!("; ALTER ROLE {} CREATEDB", ident(me)));
        }
        Error::new(
            ErrorKind::Denied,
            format!(
                "{what} cannot be given to {to_name}: {} has to be able to become it, and it needs \
                 CREATE where the object is",
                quoted(me)
            ),
        )
        .help(help)
        .caused_by(error)
    }
}

/// The ownership that a job ends.
fn owner_of(job: &Job<Ownership>) -> Option<OwnershipId> {
    match &job.operation {
        Operation::Delete { id } => id.parse().ok(),
        _ => None,
    }
}

/// What an agent made by itself nobody declared: the heir of its role takes it
/// over. Only the own database knows that role, whatever database the object
/// is in.
async fn find_heirs(writer: &Writer, jobs: &mut [Job<Ownership>]) -> Result<()> {
    let owners: BTreeSet<u32> = jobs.iter().filter_map(|job| Some(owner_of(job)?.owner)).collect();
    if owners.is_empty() {
        return Ok(());
    }
    let version = writer.version().await?;
    let working = writer.clone();
    let heirs = writer
        .view()
        .server
        .read(None, move |tx| async move {
            let within = working.here(tx, None, version);
            let masters = people::masters(&within, &owners).await?;
            let role = |owner: &u32| masters.get(owner).unwrap_or(owner).to_string();
            let ids: Vec<String> = owners.iter().map(role).collect();
            let roles = marks::registered(&within, Role::TYPE, Some(&ids)).await?;
            let heirs = owners.iter().zip(&ids).filter_map(|(owner, id)| {
                let detail = roles.get(id)?.detail.as_deref();
                Some((*owner, detail::read::<RoleDetail>(detail).heir?))
            });
            Ok(heirs.collect::<BTreeMap<u32, String>>())
        })
        .await?;
    for job in jobs {
        job.heir = owner_of(job).and_then(|id| heirs.get(&id.owner).cloned());
    }
    Ok(())
}

fn heir_of(found: Option<&Found>) -> Option<String> {
    detail::read::<OwnershipDetail>(found?.detail.as_deref()).heir
}

impl Now {
    /// Refuses to hand on what runs with its owner's rights: whoever owned it
    /// may have made it for that.
    fn no_trap(&self, what: &str, on: &Object) -> Result<()> {
        let Some(Place { place, owner, .. }) = self.places.get(on) else { return Ok(()) };
        let of = self.traps.get(owner);
        match of.and_then(|traps| traps.get(&(place.class.number(), place.oid))) {
            None => Ok(()),
            Some(trap) => Err(traps::refused(what, &self.database, std::slice::from_ref(trap))),
        }
    }

    fn heir(&self, what: &str, name: &str) -> Result<u32> {
        self.powers.oid(name).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("the heir {} of {what} is not there", quoted(name)),
            )
            .help("create the role, or name another one in `heir`")
        })
    }

    /// In whose name an object of this owner is given away: it takes the
    /// owner's rights, and not to be him, who could not become the next one.
    fn acting(&self, what: &str, owner: u32) -> Result<Acting> {
        self.powers.with_rights_of(owner).ok_or_else(|| {
            let (me, name) = (self.powers.my_name(), self.powers.name(owner));
            let message =
                format!("{what}: the object is {name}'s, whose rights {} has not", quoted(me));
            self.powers.no_member(owner, message)
        })
    }
}

fn statements<'c>(changes: impl Iterator<Item = &'c Change>, powers: &Powers) -> Statements {
    let mut statements = Statements::new();
    for change in changes {
        let Some((_, to)) = change.hands else { continue };
        let Some(role) = powers.role(to) else { continue };
        // Who gives something away has to be able to become the next owner.
        if !role.set && role.admin {
            statements.push((Acting::With(to), String::new()));
        }
        let kind = match change.on.kind {
            // The one word for functions, procedures and aggregates.
            ObjectKind::Function | ObjectKind::Procedure => "ROUTINE",
            ObjectKind::ForeignServer => "SERVER",
            kind => kind.sql(),
        };
        let (object, owner) = (change.on.sql_name(), ident(&role.name));
        statements.push((change.acting, format!("ALTER {kind} {object} OWNER TO {owner}")));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{ForeignServer, Function, Table},
        *,
    };

    #[test]
    fn an_object_goes_from_hand_to_hand_by_the_word_of_its_kind() {
        let powers = Powers::of(
            16,
            &[(2, "owner", [true, true, false]), (4, "our\"s", [false, false, true])],
        );
        let change = |on, hands, acting| Change { on, hands, owner: 4, acting, heir: None };
        let changes = [
            change(Table::new("s", "t"), Some((2, 4)), Acting::Me),
            change(Function::new("s", "f", ["integer"]), Some((4, 2)), Acting::With(4)),
            change(ForeignServer::new("far"), Some((4, 2)), Acting::With(4)),
            change(Table::new("s", "u"), None, Acting::Me),
        ];
        let say = |acting, text: &str| (acting, text.to_owned());
        assert_eq!(
            statements(changes.iter(), &powers),
            [
                say(Acting::With(4), ""),
                say(Acting::Me, r#"ALTER TABLE "s"."t" OWNER TO "our""s""#),
                say(Acting::With(4), r#"ALTER ROUTINE "s"."f"(integer) OWNER TO "owner""#),
                say(Acting::With(4), r#"ALTER SERVER "far" OWNER TO "owner""#),
            ]
        );
    }
}
