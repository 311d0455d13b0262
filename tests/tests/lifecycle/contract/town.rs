//! A small system in memory that uses all of the contract: roles whose
//! attributes are access, rights, what everybody has, and logins whose user
//! name and password are one secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use agent_iac::{
    Error,
    access::{Access, Effect, Tuple},
    blueprint::Blueprint,
    clock::Entropy,
    ledger::Claim,
    provider::{
        AtOnce, Attempt, Capabilities, Composition, CredentialCapabilities, Issue, IssueRequest,
        Issued, Listing, Manage, Object, Observation, Observe, Observers, Operation, Origin,
        Permission, Principal, Probe, Probers, Provider, Recovery, Reference, Requirement,
        RevokeRequest, Settled, Surrounded, Surroundings, Tried, Write, Writers, Written,
    },
    resource::{Check, Link, Node, Problem, Resource},
    schema::{Kind, ResourceType},
    secret::Secret,
    value::Value,
};
use async_trait::async_trait;

use super::super::*;

/// Who lives here.
#[derive(Debug, Resource)]
#[resource(type = "town.role", kind = "identity", check, access)]
pub(super) struct Role {
    /// Its name.
    #[resource(key)]
    pub(super) name: String,
    /// What it may do whatever it is granted.
    #[resource(default)]
    pub(super) attributes: BTreeSet<String>,
}

/// What a role may do.
#[derive(Debug, Resource)]
#[resource(type = "town.right", kind = "permission")]
pub(super) struct Right {
    /// Whose it is.
    #[resource(key)]
    pub(super) to: Link<Role>,
    /// On what.
    #[resource(key)]
    pub(super) on: String,
    /// What.
    pub(super) allow: BTreeSet<String>,
}

/// What everybody may not do any more.
#[derive(Debug, Resource)]
#[resource(type = "town.public", kind = "permission")]
pub(super) struct Public {
    /// On what.
    #[resource(key)]
    pub(super) on: String,
    /// What is taken away.
    pub(super) revoke: BTreeSet<String>,
}

/// How a role proves itself.
#[derive(Debug, Resource)]
#[resource(type = "town.login", kind = "credential")]
pub(super) struct Login {
    /// Whose it is.
    #[resource(replace)]
    pub(super) of: Link<Role>,
    /// The user that it logs in as.
    #[resource(output)]
    pub(super) user: String,
}

impl Check for Role {
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
        let name = properties.get("name").and_then(Node::known);
        let Some(Value::Text(name)) = name else { return Vec::new() };
        if name.eq_ignore_ascii_case("public") {
            let problem = Problem::new("name", format!("`{name}` is everybody"));
            return vec![problem.help("give the role a name of its own")];
        }
        Vec::new()
    }
}

fn words(properties: &BTreeMap<String, Node>, name: &str) -> Vec<String> {
    let known = properties.get(name).and_then(Node::known);
    let items = known.as_ref().and_then(Value::as_list).unwrap_or_default();
    items.iter().filter_map(Value::as_text).map(str::to_owned).collect()
}

fn on(properties: &BTreeMap<String, Node>) -> Option<String> {
    Some(properties.get("on").and_then(Node::known)?.as_text()?.to_owned())
}

impl Grants for Role {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        let attributes = words(properties, "attributes");
        Access::exactly(attributes.iter().map(|what| Tuple::allow(principal, what, "the town")))
    }
}

impl Grants for Right {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        let Some(on) = on(properties) else { return Access::undecided("`on` is not known") };
        let allow = words(properties, "allow");
        Access::exactly(allow.iter().map(|what| Tuple::allow(principal, what, &on)))
    }
}

impl Grants for Public {
    fn grants(_: &str, properties: &BTreeMap<String, Node>) -> Access {
        let Some(on) = on(properties) else { return Access::undecided("`on` is not known") };
        let deny = |what: String| Tuple {
            effect: Effect::Deny,
            ..Tuple::allow("PUBLIC", what, on.as_str())
        };
        Access::exactly(words(properties, "revoke").into_iter().map(deny))
    }
}

/// A type as the town keeps it.
pub(super) trait Kept: Resource {
    fn object(id: &str, spec: &Self::Spec) -> Object;
}

impl Kept for Role {
    fn object(id: &str, spec: &RoleSpec) -> Object {
        let mut role = RoleBuilder::default();
        role.name(&spec.name).attributes(&spec.attributes);
        Object::new::<Self>(id, &mut role)
    }
}

impl Kept for Right {
    fn object(id: &str, spec: &RightSpec) -> Object {
        let mut right = RightBuilder::default();
        right.to(&spec.to).on(&spec.on).allow(&spec.allow);
        Object::new::<Self>(id, &mut right)
    }
}

impl Kept for Public {
    fn object(id: &str, spec: &PublicSpec) -> Object {
        let mut public = PublicBuilder::default();
        public.on(&spec.on).revoke(&spec.revoke);
        Object::new::<Self>(id, &mut public)
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) objects: BTreeMap<(&'static str, String), Object>,
    done: BTreeMap<Claim, Written>,
    /// The password of each user, and whose it is.
    passwords: BTreeMap<String, (String, String)>,
    next: u32,
    /// Every call that writes: the type, and how many writes it held.
    pub(super) calls: Vec<(&'static str, usize)>,
    /// Every secret that was composed: the address and the generation.
    pub(super) composed: Vec<(String, u32)>,
    /// What was asked about surroundings.
    pub(super) asked: Vec<Vec<Surrounded>>,
    /// What is answered about them.
    pub(super) surroundings: Option<Result<Surroundings, String>>,
}

/// The town.
#[derive(Default)]
pub(super) struct Town(Mutex<State>);

impl Town {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Makes an object as somebody else would.
    pub(super) fn by_hand<R: Kept>(&self, spec: &R::Spec, obstacle: Option<&str>) -> String {
        let mut state = self.state();
        state.next += 1;
        let id = format!("hand-{}", state.next);
        let mut object = R::object(&id, spec);
        object.obstacle = obstacle.map(str::to_owned);
        state.objects.insert((R::TYPE, id.clone()), object);
        id
    }
}

impl State {
    pub(super) fn all(&self, ty: &str) -> Vec<Object> {
        let of = self.objects.iter().filter(|((of, _), _)| *of == ty);
        of.map(|(_, object)| object.clone()).collect()
    }

    fn find(&self, ty: &str, key: &BTreeMap<String, Value>) -> Option<Object> {
        let same = |one: &Object| key.iter().all(|(name, value)| one.value(name) == Some(value));
        self.objects.iter().find(|((of, _), one)| *of == ty && same(one)).map(|(_, o)| o.clone())
    }

    fn write<R: Kept>(&mut self, write: &Write<R>) -> Result<Written> {
        if let Some(written) = self.done.get(&write.claim) {
            return Ok(written.clone());
        }
        let object = match &write.operation {
            Operation::Create(spec) => {
                self.next += 1;
                let object = R::object(&format!("{:05}", self.next), spec);
                let key = R::RESOURCE.key_fields().map(|field| field.name);
                let key =
                    key.filter_map(|name| Some((name.to_owned(), object.value(name)?.clone())));
                if self.find(R::TYPE, &key.collect()).is_some() {
                    return Err(Error::new(ErrorKind::Foreign, "it is there already"));
                }
                Some(Object { mark: Some(write.mark.clone()), ..object })
            }
            Operation::Update { id, .. }
            | Operation::Suspend { id }
            | Operation::Resume { id }
            | Operation::Delete { id } => self.change(id, write)?,
        };
        if let Operation::Delete { id } = &write.operation {
            self.objects.remove(&(R::TYPE, id.clone()));
        }
        if let Some(object) = &object {
            self.objects.insert((R::TYPE, object.id.clone()), object.clone());
        }
        let written = Written { object, correlation: None };
        self.done.insert(write.claim.clone(), written.clone());
        Ok(written)
    }

    fn change<R: Kept>(&self, id: &str, write: &Write<R>) -> Result<Option<Object>> {
        let now = self.objects.get(&(R::TYPE, id.to_owned()));
        let now = match (now, &write.operation) {
            (None, Operation::Delete { .. }) => return Ok(None),
            (None, _) => return Err(Error::new(ErrorKind::StalePlan, "it is gone")),
            (Some(now), _) => now.clone(),
        };
        if now.mark.as_ref().is_some_and(|mark| *mark != write.mark) {
            return Err(Error::new(ErrorKind::Foreign, "it is another fleet's"));
        }
        if write.seen.object() != Some(&now) {
            return Err(Error::new(ErrorKind::StalePlan, "it is not as it was seen"));
        }
        Ok(match &write.operation {
            Operation::Delete { .. } => None,
            Operation::Update { desired, .. } => {
                Some(Object { mark: now.mark, suspended: now.suspended, ..R::object(id, desired) })
            }
            _ if R::KIND != Kind::Identity => {
                return Err(Error::new(ErrorKind::Unsupported, "only a role is suspended"));
            }
            operation => {
                let suspended = matches!(operation, Operation::Suspend { .. });
                Some(Object { suspended, ..now })
            }
        })
    }
}

fn capable(kind: Kind) -> Capabilities {
    let credential = CredentialCapabilities {
        origin: Origin::Engine,
        at_once: AtOnce::Two,
        last_use_known: false,
        propagation: Duration::ZERO,
    };
    Capabilities {
        recovery: Recovery::Registry,
        checks_seen: true,
        suspends: kind == Kind::Identity,
        batch: 5_000,
        credential: (kind == Kind::Credential).then_some(credential),
        ..Capabilities::default()
    }
}

fn read(state: &State, ty: &'static str, references: &[Reference]) -> Vec<Observation> {
    let found = |reference: &Reference| match reference {
        Reference::Id(id) => state.objects.get(&(ty, id.clone())).cloned(),
        Reference::Key(key) => state.find(ty, key),
    };
    let seen = |found: Option<Object>| found.map_or(Observation::Absent, Observation::Present);
    references.iter().map(|reference| seen(found(reference))).collect()
}

fn list(state: &State, ty: &'static ResourceType, listing: &Listing) -> Vec<Object> {
    let asked = |object: &Object| match (listing, ty.owner_field()) {
        (Listing::All, _) => true,
        (Listing::Of(ids), None) => ids.contains(&object.id),
        (Listing::Of(ids), Some(owner)) => object
            .value(owner)
            .and_then(Value::as_text)
            .is_some_and(|owner| ids.iter().any(|id| id == owner)),
    };
    state.all(ty.name).into_iter().filter(asked).collect()
}

#[async_trait]
impl Observe<Role> for Town {
    fn capabilities(&self) -> Capabilities {
        capable(Kind::Identity)
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        Ok(read(&self.state(), Role::TYPE, references))
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
        Ok(list(&self.state(), Role::RESOURCE, listing))
    }

    async fn surroundings(&self, of: &[Surrounded], _: &[Permission]) -> Result<Surroundings> {
        let mut state = self.state();
        state.asked.push(of.to_vec());
        match state.surroundings.clone() {
            None => Ok(Surroundings::default()),
            Some(Ok(answer)) => Ok(answer),
            Some(Err(why)) => Err(Error::new(ErrorKind::Denied, why)),
        }
    }
}

macro_rules! observed {
    ($($ty:ty),*) => {$(
        #[async_trait]
        impl Observe<$ty> for Town {
            fn capabilities(&self) -> Capabilities {
                capable(<$ty>::KIND)
            }

            async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
                Ok(read(&self.state(), <$ty>::TYPE, references))
            }

            async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
                Ok(list(&self.state(), <$ty>::RESOURCE, listing))
            }
        }
    )*};
}

observed!(Right, Public, Login);

fn settled(state: &State, claims: &[Claim]) -> Vec<Settled> {
    let of = |claim| state.done.get(claim).cloned().map_or(Settled::NotDone, Settled::Done);
    claims.iter().map(of).collect()
}

#[async_trait]
impl<R: Kept> Manage<R> for Town
where
    Self: Observe<R>,
{
    async fn write(&self, batch: &[Write<R>]) -> Vec<Result<Written>> {
        let mut state = self.state();
        state.calls.push((R::TYPE, batch.len()));
        batch.iter().map(|write| state.write(write)).collect()
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        Ok(settled(&self.state(), claims))
    }
}

/// `user:password`.
fn parts(secret: &Secret) -> (String, String) {
    secret.expose(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (user, password) = text.split_once(':').unwrap_or((&text, ""));
        (user.to_owned(), password.to_owned())
    })
}

fn made_of(user: &str, entropy: &dyn Entropy) -> Secret {
    let (password, _) = parts(&Secret::random(entropy, 16));
    Secret::from_text(format!("{user}:{password}"))
}

#[async_trait]
impl Issue<Login> for Town {
    async fn compose(
        &self,
        batch: &[Composition<Login>],
        entropy: &dyn Entropy,
    ) -> Vec<Result<Secret>> {
        let mut state = self.state();
        let mut composed = Vec::new();
        for one in batch {
            state.composed.push((one.mark.address.to_string(), one.generation));
            let user = format!("{}__g{}", one.mark.address, one.generation);
            composed.push(Ok(made_of(&user, entropy)));
        }
        composed
    }

    async fn issue(&self, batch: &[IssueRequest<Login>]) -> Vec<Result<Issued>> {
        let mut state = self.state();
        state.calls.push((Login::TYPE, batch.len()));
        let mut issued = Vec::new();
        for request in batch {
            if let Some(written) = state.done.get(&request.claim) {
                issued.push(Ok(Issued { written: written.clone(), secret: None }));
                continue;
            }
            let of = Value::from(request.desired.of.target());
            let those = state.all(Login::TYPE);
            if those.iter().filter(|one| one.value("of") == Some(&of)).count() >= 2 {
                issued.push(Err(Error::new(ErrorKind::Refused, "it has two")));
                continue;
            }
            let (user, password) = parts(request.secret.as_ref().expect("the engine makes it"));
            let mut login = LoginBuilder::default();
            login.of(&request.desired.of).user(user.as_str());
            let mut object = Object::new::<Login>(user.clone(), &mut login);
            object.mark = Some(request.mark.clone());
            let owner = request.desired.of.target().to_owned();
            state.passwords.insert(user.clone(), (password, owner));
            state.objects.insert((Login::TYPE, user), object.clone());
            let written = Written { object: Some(object), correlation: None };
            state.done.insert(request.claim.clone(), written.clone());
            issued.push(Ok(Issued { written, secret: None }));
        }
        issued
    }

    async fn revoke(&self, batch: &[RevokeRequest]) -> Vec<Result<Written>> {
        let mut state = self.state();
        let mut revoked = Vec::new();
        for request in batch {
            state.objects.remove(&(Login::TYPE, request.id.clone()));
            // The user stays known, so that a wrong password of it is refused
            // as such and not as a user that nobody knows.
            if let Some((password, _)) = state.passwords.get_mut(&request.id) {
                password.clear();
            }
            let written = Written { object: None, correlation: None };
            state.done.insert(request.claim.clone(), written.clone());
            revoked.push(Ok(written));
        }
        revoked
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        Ok(settled(&self.state(), claims))
    }
}

#[async_trait]
impl Probe<Login> for Town {
    async fn probe(&self, attempts: &[Attempt<'_>]) -> Vec<Tried> {
        let state = self.state();
        let one = |attempt: &Attempt<'_>| {
            let (user, given) = parts(attempt.secret);
            let Some((password, owner)) = state.passwords.get(&user) else {
                return Tried::Refused("no such user".into());
            };
            let role = state.objects.get(&(Role::TYPE, attempt.identity.to_owned()));
            if owner != attempt.identity {
                Tried::Unknown("it is another's".into())
            } else if password.is_empty() || *password != given {
                Tried::Refused("wrong password".into())
            } else if role.is_some_and(|role| role.suspended) {
                Tried::Refused("suspended".into())
            } else {
                Tried::Accepted
            }
        };
        attempts.iter().map(one).collect()
    }

    fn decoy(&self, like: &Secret, entropy: &dyn Entropy) -> Secret {
        made_of(&parts(like).0, entropy)
    }
}

/// The town as a provider.
pub(super) struct Handle(pub(super) Arc<Town>);

#[async_trait]
impl Provider for Handle {
    fn description(&self) -> String {
        "a town".into()
    }

    async fn target(&self) -> Result<String> {
        Ok("town:1".into())
    }

    fn requires(&self, _: &str, blueprint: &Blueprint) -> Vec<Requirement> {
        let roles =
            blueprint.resources().values().filter(|one| one.resource_type == Role::RESOURCE);
        vec![Requirement {
            principal: Principal::Apply,
            statement: "GRANT KEYS TO applier;".into(),
            why: format!("it makes {} roles", roles.count()),
        }]
    }

    fn observers(&self) -> Result<Observers> {
        Ok(Observers::new()
            .with::<Role, _>(&self.0)
            .with::<Right, _>(&self.0)
            .with::<Public, _>(&self.0)
            .with::<Login, _>(&self.0))
    }

    fn writers(&self) -> Result<Writers> {
        Ok(Writers::new()
            .with::<Role, _>(&self.0)
            .with::<Right, _>(&self.0)
            .with::<Public, _>(&self.0)
            .with_credential::<Login, _>(&self.0))
    }

    fn probers(&self) -> Result<Probers> {
        Ok(Probers::new().with::<Login, _>(&self.0))
    }
}
