//! What the simulated system keeps, and what a write does to it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use jiff::Timestamp;

use super::options::SimOptions;
use crate::{
    clock::Entropy,
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    provider::{
        AtOnce, Listing, Mark, Object, Observation, Operation, Origin, Recovery, Reference,
    },
    resource::Reading,
    schema::{Field, Kind, Mutability, Output, ResourceType, Type},
    secret::Secret,
    value::{Digest, Value},
};

/// The type and the id of an object.
pub(super) type Name = (&'static str, String);

/// One object of the system.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) ty: &'static ResourceType,
    pub(super) id: String,
    pub(super) fields: BTreeMap<String, Value>,
    pub(super) suspended: bool,
    pub(super) mark: Option<Mark>,
    /// The claim that made it; `None` for what the outside hand made.
    pub(super) claim: Option<Claim>,
    /// For a credential: the digest of its secret. The system itself keeps
    /// nothing else of it.
    pub(super) secret: Option<Digest>,
}

impl Stored {
    fn links_to(&self, id: &str) -> bool {
        self.links().any(|link| link == id)
    }

    /// The ids that it names.
    fn links(&self) -> impl Iterator<Item = &str> {
        let linked = |field: &Field| field.ty.link().is_some();
        let fields = self.ty.fields.iter().filter(move |field| linked(field));
        fields.filter_map(|field| self.fields.get(field.name)?.as_text())
    }

    /// The identity whose it is.
    fn identity(&self) -> Option<Name> {
        let target = self.ty.field(self.ty.owner_field()?)?.ty.link()?;
        Some((target, self.owner()?.to_owned()))
    }

    pub(super) fn owner(&self) -> Option<&str> {
        self.fields.get(self.ty.owner_field()?)?.as_text()
    }
}

/// A secret that was revoked and may still be accepted for a while.
#[derive(Clone, Debug)]
struct Revoked {
    ty: &'static str,
    of: Name,
    secret: Digest,
    until: Duration,
}

/// One change that the system carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effect {
    /// The claim that asked for it; `None` for the outside hand.
    pub claim: Option<Claim>,
    /// The type, as `sim.account`.
    pub resource_type: &'static str,
    /// `create`, `update`, `suspend`, `resume`, `delete`, or `cascade` for what
    /// went with an account.
    pub operation: &'static str,
    /// The id of the object.
    pub id: String,
    /// Whether the object was made by an outside hand.
    pub outside: bool,
    /// When.
    pub at: Timestamp,
}

/// One write in the one form that the system takes.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) ty: &'static ResourceType,
    pub(super) claim: Option<Claim>,
    pub(super) mark: Option<Mark>,
    pub(super) operation: Operation<BTreeMap<String, Value>>,
    pub(super) seen: Option<Observation>,
    /// For a credential that is issued: who makes the secret, and how many
    /// may be valid at once; and the secret, when the engine made it.
    pub(super) credential: Option<(Origin, AtOnce)>,
    pub(super) secret: Option<Secret>,
}

impl Order {
    /// The object's id, where the order names one.
    pub(super) fn id(&self) -> Option<&str> {
        match &self.operation {
            Operation::Create(_) => None,
            Operation::Update { id, .. }
            | Operation::Suspend { id }
            | Operation::Resume { id }
            | Operation::Delete { id } => Some(id),
        }
    }

    /// The same once more, as a network sends it.
    pub(super) fn again(&self) -> Self {
        Self {
            ty: self.ty,
            claim: self.claim.clone(),
            mark: self.mark.clone(),
            operation: self.operation.clone(),
            seen: self.seen.clone(),
            credential: self.credential,
            secret: self.secret.as_ref().map(Secret::duplicate),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match &self.operation {
            Operation::Create(_) => "create",
            Operation::Update { .. } => "update",
            Operation::Suspend { .. } => "suspend",
            Operation::Resume { .. } => "resume",
            Operation::Delete { .. } => "delete",
        }
    }
}

/// What an order left behind.
#[derive(Debug)]
pub(super) struct Performed {
    pub(super) object: Option<Object>,
    pub(super) correlation: Option<String>,
    pub(super) secret: Option<Secret>,
}

/// What the registry holds of a claim.
#[derive(Clone, Debug)]
pub(super) enum Registered {
    /// It was carried out on this object.
    Done(Name, Option<String>),
    /// It was settled as not done, and will not be done any more.
    Refused,
}

/// Orders on their way whose sender is gone.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) due: Duration,
    pub(super) orders: Vec<Order>,
}

/// What a write needs to know beside the store itself.
pub(super) struct Circumstances<'a> {
    pub(super) options: &'a SimOptions,
    pub(super) entropy: &'a dyn Entropy,
    pub(super) now: Timestamp,
    pub(super) elapsed: Duration,
}

/// A state that was, until a change.
#[derive(Debug)]
struct Past {
    until: Duration,
    objects: BTreeMap<Name, Stored>,
}

/// Everything durable of one simulated system.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) objects: BTreeMap<Name, Stored>,
    /// The credentials, by whose they are.
    owned: BTreeMap<Name, BTreeSet<Name>>,
    /// The types of identities that were ever made.
    identities: BTreeSet<&'static str>,
    /// Earlier states, newest first, that a stale read may answer from.
    history: VecDeque<Past>,
    made: u64,
    pub(super) registry: BTreeMap<Claim, Registered>,
    pub(super) effects: Vec<Effect>,
    revoked: Vec<Revoked>,
    pub(super) late: Vec<Late>,
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Provider, message)
}

impl Store {
    /// The objects as they were `back` changes ago.
    pub(super) fn view(&self, back: usize) -> &BTreeMap<Name, Stored> {
        match back {
            0 => &self.objects,
            back => {
                let past = self.history.get(back - 1).or(self.history.back());
                past.map_or(&self.objects, |past| &past.objects)
            }
        }
    }

    /// How many changes are younger than that.
    pub(super) fn young(&self, within: Duration, elapsed: Duration) -> usize {
        let since = elapsed.saturating_sub(within);
        self.history.iter().take_while(|past| past.until > since).count()
    }

    /// Carries one order out.
    pub(super) fn perform(&mut self, order: Order, at: &Circumstances<'_>) -> Result<Performed> {
        let options = at.options;
        if let Some(answer) = self.answered_before(&order, options) {
            return answer;
        }
        if order.claim.is_some() {
            self.check_owner(&order)?;
        }
        if let Some(seen) = order.seen.as_ref().filter(|_| options.checks_seen) {
            self.check_seen(&order, seen, options)?;
        }
        let (claim, operation) = (order.claim.clone(), order.name());
        let (ty, outside_hand) = (order.ty, claim.is_none());
        let stales = options.stale_reads > 0 || !options.stale_for.is_zero();
        let before = stales.then(|| self.objects.clone());
        let outside_before = match &order.operation {
            Operation::Create(_) => outside_hand,
            Operation::Update { id, .. }
            | Operation::Suspend { id }
            | Operation::Resume { id }
            | Operation::Delete { id } => {
                let stored = self.objects.get(&(ty.name, id.clone()));
                stored.is_some_and(|stored| stored.claim.is_none())
            }
        };
        let (name, secret, changed) = match order.operation {
            Operation::Create(fields) => {
                let draft = Draft { ty, fields, mark: order.mark, claim: claim.clone() };
                let (id, secret) = self.create(draft, order.credential, order.secret, at)?;
                ((ty.name, id), secret, true)
            }
            Operation::Update { id, desired } => {
                let changed = self.update(ty, &id, desired, order.mark, options)?;
                ((ty.name, id), None, changed)
            }
            Operation::Suspend { id } => {
                let changed = self.suspend(ty, &id, true)?;
                ((ty.name, id), None, changed)
            }
            Operation::Resume { id } => {
                let changed = self.suspend(ty, &id, false)?;
                ((ty.name, id), None, changed)
            }
            Operation::Delete { id } => {
                let gone = self.delete(ty, &id, claim.as_ref(), at)?;
                ((ty.name, id), None, gone)
            }
        };
        let mut correlation = None;
        if changed {
            if let Some(before) = before {
                self.history.push_front(Past { until: at.elapsed, objects: before });
                let young = self.young(options.stale_for, at.elapsed);
                self.history.truncate(options.stale_reads.max(young));
            }
            self.effects.push(Effect {
                claim: claim.clone(),
                resource_type: ty.name,
                operation,
                id: name.1.clone(),
                outside: outside_before,
                at: at.now,
            });
            correlation = Some(format!("change-{}", self.effects.len()));
        }
        if let Some(claim) = claim {
            self.registry.insert(claim, Registered::Done(name.clone(), correlation.clone()));
        }
        let object = self.objects.get(&name).map(|stored| shown(stored, options));
        Ok(Performed { object, correlation, secret })
    }

    /// The answer to an order that was carried out before, as far as the type
    /// can tell.
    fn answered_before(&self, order: &Order, options: &SimOptions) -> Option<Result<Performed>> {
        let done = |stored: Option<&Stored>, correlation: Option<String>| {
            let object = stored.map(|stored| shown(stored, options));
            Some(Ok(Performed { object, correlation, secret: None }))
        };
        let claim = order.claim.as_ref()?;
        match options.recovery_of(order.ty.name) {
            Recovery::Registry => match self.registry.get(claim)? {
                Registered::Done(name, correlation) => {
                    done(self.objects.get(name), correlation.clone())
                }
                Registered::Refused => Some(Err(Error::new(
                    ErrorKind::Refused,
                    format!("claim {claim} was settled as not done"),
                ))),
            },
            Recovery::Tagged => {
                let bears = |stored: &&Stored| stored.claim.as_ref() == Some(claim);
                let tagged = self.objects.values().find(bears)?;
                done(Some(tagged), None)
            }
            Recovery::NaturalKey => {
                let Operation::Create(fields) = &order.operation else { return None };
                let twin = self.twin(order.ty, fields)?;
                let same = twin.mark == order.mark
                    && fields.iter().all(|(field, value)| twin.fields.get(field) == Some(value));
                if same { done(Some(twin), None) } else { None }
            }
            Recovery::None => None,
        }
    }

    /// Another object with the same natural key.
    fn twin(&self, ty: &ResourceType, fields: &BTreeMap<String, Value>) -> Option<&Stored> {
        ty.key_fields().next()?;
        self.objects.values().filter(|stored| stored.ty == ty).find(|stored| {
            ty.key_fields().all(|field| stored.fields.get(field.name) == fields.get(field.name))
        })
    }

    /// The object that an order is about, as it is now.
    pub(super) fn target(&self, order: &Order) -> Option<&Stored> {
        match &order.operation {
            Operation::Create(fields) => self.twin(order.ty, fields),
            Operation::Update { id, .. }
            | Operation::Suspend { id }
            | Operation::Resume { id }
            | Operation::Delete { id } => self.objects.get(&(order.ty.name, id.clone())),
        }
    }

    /// Refuses what belongs to another fleet or environment.
    fn check_owner(&self, order: &Order) -> Result<()> {
        let (Some(mark), Some(now)) = (&order.mark, self.target(order)) else { return Ok(()) };
        let foreign = now
            .mark
            .as_ref()
            .filter(|owner| (&owner.fleet, &owner.environment) != (&mark.fleet, &mark.environment));
        match foreign {
            None => Ok(()),
            Some(owner) => Err(Error::new(
                ErrorKind::Foreign,
                format!("the {} `{}` belongs to {owner}", order.ty.name, now.id),
            )),
        }
    }

    fn check_seen(&self, order: &Order, seen: &Observation, options: &SimOptions) -> Result<()> {
        let now = self.target(order);
        let matches = match (seen, now) {
            // One that is gone already is removed, whatever was seen of it.
            (_, None) if matches!(order.operation, Operation::Delete { .. }) => true,
            (Observation::Absent, None) => true,
            (Observation::Present(seen), Some(now)) => *seen == shown(now, options),
            _ => false,
        };
        if matches {
            return Ok(());
        }
        let message = format!("the {} is not as it was when the plan was made", order.ty.name);
        Err(Error::new(ErrorKind::StalePlan, message).help("plan again"))
    }

    fn create(
        &mut self,
        draft: Draft,
        credential: Option<(Origin, AtOnce)>,
        given: Option<Secret>,
        at: &Circumstances<'_>,
    ) -> Result<(String, Option<Secret>)> {
        let Draft { ty, mut fields, mark, claim } = draft;
        at.options.normalise(&mut fields);
        self.check_links(ty, &fields)?;
        // A system that cannot tell what became of a claim has no unique
        // names either: there, a repeated create makes a second object.
        if at.options.recovery_of(ty.name) != Recovery::None && self.twin(ty, &fields).is_some() {
            return Err(refused(format!("there is a {} with this key already", ty.name)));
        }
        let (digest, made) = match credential {
            None => (None, None),
            Some((origin, at_once)) => {
                self.check_room(ty, &fields, at_once)?;
                let (secret, ours) = match (origin, given) {
                    (Origin::Engine, Some(secret)) => (secret, false),
                    (Origin::System, None) => (Secret::random(at.entropy, 20), true),
                    (Origin::Engine, None) => {
                        return Err(refused(format!("a {} needs a secret to be given", ty.name)));
                    }
                    (Origin::System, Some(_)) => {
                        return Err(refused(format!("a {} takes no secret", ty.name)));
                    }
                };
                (Some(secret.expose(Digest::of_bytes)), ours.then_some(secret))
            }
        };
        self.made += 1;
        let short = ty.name.split_once('.').map_or(ty.name, |(_, short)| short);
        let id = format!("{short}-{}", self.made);
        fields.insert("id".to_owned(), Value::from(id.as_str()));
        for output in ty.outputs {
            let value = given_output(output, self.made);
            fields.entry(output.name.to_owned()).or_insert(value);
        }
        if ty.output("secret_hint").is_some() {
            fields.insert("secret_hint".to_owned(), Value::Text(format!("hint-{}", self.made)));
        }
        let stored =
            Stored { ty, id: id.clone(), fields, suspended: false, mark, claim, secret: digest };
        if ty.kind == Kind::Identity {
            self.identities.insert(ty.name);
        }
        if let Some(owner) = stored.identity().filter(|_| digest.is_some()) {
            self.owned.entry(owner).or_default().insert((ty.name, id.clone()));
        }
        self.objects.insert((ty.name, id.clone()), stored);
        Ok((id, made))
    }

    fn check_links(&self, ty: &ResourceType, fields: &BTreeMap<String, Value>) -> Result<()> {
        for field in ty.fields {
            let Some(target) = field.ty.link() else { continue };
            let Some(id) = fields.get(field.name).and_then(Value::as_text) else { continue };
            if !self.objects.contains_key(&(target, id.to_owned())) {
                let what = target.split_once('.').map_or(target, |(_, short)| short);
                return Err(refused(format!(
                    "`{}` of the {} names the {what} `{id}`, which does not exist",
                    field.name, ty.name
                )));
            }
        }
        Ok(())
    }

    fn check_room(
        &self,
        ty: &ResourceType,
        fields: &BTreeMap<String, Value>,
        at_once: AtOnce,
    ) -> Result<()> {
        let owner = ty.owner_field().and_then(|name| {
            let target = ty.field(name)?.ty.link()?;
            Some((target, fields.get(name)?.as_text()?.to_owned()))
        });
        let owned = owner.and_then(|owner| self.owned.get(&owner)).into_iter().flatten();
        let valid = owned.filter(|(name, _)| *name == ty.name).count();
        let most = match at_once {
            AtOnce::One => 1,
            AtOnce::Two => 2,
            AtOnce::Many => usize::MAX,
        };
        if valid < most {
            return Ok(());
        }
        Err(refused(format!("an account may have {most} of {} and has {valid}", ty.name)))
    }

    fn update(
        &mut self,
        ty: &'static ResourceType,
        id: &str,
        mut desired: BTreeMap<String, Value>,
        mark: Option<Mark>,
        options: &SimOptions,
    ) -> Result<bool> {
        options.normalise(&mut desired);
        self.check_links(ty, &desired)?;
        let stored = self.stored(ty, id)?;
        let mut changed = false;
        for (field, value) in desired {
            let now = stored.fields.get(&field);
            if now == Some(&value) {
                continue;
            }
            if ty.field(&field).is_some_and(|field| field.mutability == Mutability::Replace) {
                return Err(refused(format!("`{field}` of a {} cannot be changed", ty.name)));
            }
            stored.fields.insert(field, value);
            changed = true;
        }
        if mark.is_some() && stored.mark != mark {
            stored.mark = mark;
            changed = true;
        }
        Ok(changed)
    }

    fn suspend(&mut self, ty: &'static ResourceType, id: &str, suspended: bool) -> Result<bool> {
        if ty.kind != Kind::Identity {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("a {} cannot be suspended", ty.name),
            ));
        }
        let stored = self.stored(ty, id)?;
        Ok(std::mem::replace(&mut stored.suspended, suspended) != suspended)
    }

    fn stored(&mut self, ty: &'static ResourceType, id: &str) -> Result<&mut Stored> {
        self.objects
            .get_mut(&(ty.name, id.to_owned()))
            .ok_or_else(|| refused(format!("there is no {} `{id}`", ty.name)))
    }

    fn delete(
        &mut self,
        ty: &'static ResourceType,
        id: &str,
        claim: Option<&Claim>,
        at: &Circumstances<'_>,
    ) -> Result<bool> {
        let name = (ty.name, id.to_owned());
        if !self.objects.contains_key(&name) {
            return Ok(false);
        }
        let dependents: Vec<Name> = self
            .objects
            .iter()
            .filter(|_| ty.kind == Kind::Identity)
            .filter(|(_, stored)| stored.links_to(id))
            .map(|(name, _)| name.clone())
            .collect();
        if let Some((dependent, which)) = dependents.first()
            && claim.is_some()
            && !at.options.cascades
        {
            return Err(refused(format!("the account `{id}` still has the {dependent} `{which}`")));
        }
        for gone in dependents.into_iter().chain([name.clone()]) {
            let Some(stored) = self.objects.remove(&gone) else { continue };
            let identity = stored.identity();
            if let Some(owned) = identity.as_ref().and_then(|owner| self.owned.get_mut(owner)) {
                owned.remove(&gone);
            }
            if gone != name {
                self.effects.push(Effect {
                    claim: claim.cloned(),
                    resource_type: gone.0,
                    operation: "cascade",
                    id: gone.1.clone(),
                    outside: stored.claim.is_none(),
                    at: at.now,
                });
            }
            if let (Some(secret), Some(of)) = (stored.secret, identity) {
                let until = at.elapsed.saturating_add(at.options.propagation);
                self.revoked.retain(|revoked| at.elapsed < revoked.until);
                self.revoked.push(Revoked { ty: gone.0, of, secret, until });
            }
        }
        Ok(true)
    }

    /// Whether the secret of this digest is a live one, or one that lingers.
    pub(super) fn knows(&self, digest: Digest, elapsed: Duration) -> bool {
        self.objects.values().any(|stored| stored.secret == Some(digest))
            || self.revoked.iter().any(|revoked| {
                let there = self.objects.contains_key(&revoked.of);
                revoked.secret == digest && elapsed < revoked.until && there
            })
    }

    /// Whether the system lets this secret in: `None` when it knows no such
    /// secret, otherwise whether the account may act.
    pub(super) fn accepts(
        &self,
        ty: &str,
        of: &str,
        secret: &Secret,
        elapsed: Duration,
    ) -> Option<bool> {
        let digest = secret.expose(Digest::of_bytes);
        // An id may be that of identities of several types.
        let mine = self.identities.iter().map(|target| (*target, of.to_owned()));
        let mine: Vec<Name> = mine.collect();
        let owned = mine.iter().filter_map(|name| self.owned.get(name)).flatten();
        let live = owned
            .filter(|(name, _)| *name == ty)
            .any(|name| self.objects.get(name).is_some_and(|stored| stored.secret == Some(digest)));
        let lingers = self.revoked.iter().any(|revoked| {
            revoked.ty == ty
                && mine.contains(&revoked.of)
                && revoked.secret == digest
                && elapsed < revoked.until
        });
        if !live && !lingers {
            return None;
        }
        let mut accounts = mine.iter().filter_map(|name| self.objects.get(name));
        Some(accounts.any(|account| !account.suspended))
    }

    /// Answers for one reference, as the objects stood `back` changes ago.
    pub(super) fn read(
        &self,
        ty: &'static ResourceType,
        reference: &Reference,
        back: usize,
        options: &SimOptions,
    ) -> Observation {
        let objects = self.view(back);
        let mut found: Vec<&Stored> = match reference {
            Reference::Id(id) => objects.get(&(ty.name, id.clone())).into_iter().collect(),
            Reference::Key(key) => objects
                .values()
                .filter(|stored| {
                    stored.ty == ty
                        && key.iter().all(|(field, value)| stored.fields.get(field) == Some(value))
                })
                .collect(),
        };
        match (found.pop(), found.len()) {
            (None, _) => Observation::Absent,
            (Some(stored), 0) => Observation::Present(shown(stored, options)),
            (Some(_), more) => Observation::Unread(format!("{} objects have this key", more + 1)),
        }
    }

    pub(super) fn list(
        &self,
        ty: &'static ResourceType,
        listing: &Listing,
        back: usize,
        options: &SimOptions,
    ) -> Vec<Object> {
        let of: Option<BTreeSet<&str>> = match listing {
            Listing::All => None,
            Listing::Of(identities) => Some(identities.iter().map(String::as_str).collect()),
        };
        let listed = |stored: &&Stored| {
            of.as_ref().is_none_or(|of| {
                stored.links().any(|link| of.contains(link))
                    || ty.kind == Kind::Identity && of.contains(&*stored.id)
            })
        };
        let objects = self.view(back).range((ty.name, String::new())..);
        let objects =
            objects.take_while(|((name, _), _)| *name == ty.name).map(|(_, stored)| stored);
        objects.filter(listed).map(|stored| shown(stored, options)).collect()
    }
}

/// What is about to be made.
struct Draft {
    ty: &'static ResourceType,
    fields: BTreeMap<String, Value>,
    mark: Option<Mark>,
    claim: Option<Claim>,
}

/// What a system gives of a type of which nothing but its shape is known.
fn given_output(output: &Output, made: u64) -> Value {
    match output.ty {
        Type::Bool => Value::Bool(false),
        Type::Int => Value::Int(i64::try_from(made).unwrap_or(i64::MAX)),
        Type::Text => Value::Text(format!("{}-{made}", output.name)),
        Type::List(_) | Type::Set(_) => Value::List(Vec::new()),
        _ => Value::Null,
    }
}

/// The object as the system shows it.
pub(super) fn shown(stored: &Stored, options: &SimOptions) -> Object {
    let reading = |(field, value): (&String, &Value)| {
        let hidden = options.redacts && field == "secret_hint";
        let reading = if hidden { Reading::Redacted } else { Reading::Known(value.clone()) };
        (field.clone(), reading)
    };
    Object {
        id: stored.id.clone(),
        fields: stored.fields.iter().map(reading).collect(),
        suspended: stored.suspended,
        mark: stored.mark.clone(),
        obstacle: None,
        label: None,
    }
}
