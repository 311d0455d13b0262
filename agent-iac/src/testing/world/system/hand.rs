//! A hand that acts behind the engine's back.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    System,
    store::{Order, Performed},
    types::{Account, Grant, Job, Key, Token},
};
use crate::{
    error::Result,
    provider::{AtOnce, Mark, Operation, Origin},
    resource::Resource,
    schema::ResourceType,
    secret::Secret,
    value::Value,
};

/// Somebody with full rights in a simulated system: an incident responder, an
/// intruder, another tool.
///
/// It takes effect at once, passes no gate and needs no claim.
pub struct Hand(Arc<System>);

impl Hand {
    pub(super) fn new(system: Arc<System>) -> Self {
        Self(system)
    }

    fn order(
        &self,
        ty: &'static ResourceType,
        mark: Option<Mark>,
        operation: Operation<BTreeMap<String, Value>>,
        secret: Option<&Secret>,
    ) -> Result<Performed> {
        // A hand is under no limit of the number of credentials: what an
        // intruder plants is not counted by the console either.
        let credential = match (ty.kind, secret) {
            (crate::schema::Kind::Credential, Some(_)) => Some((Origin::Engine, AtOnce::Many)),
            (crate::schema::Kind::Credential, None) => Some((Origin::System, AtOnce::Many)),
            _ => None,
        };
        let order = Order {
            ty,
            claim: None,
            mark,
            operation,
            seen: None,
            credential,
            secret: secret.map(Secret::duplicate),
        };
        let mut store = self.0.store();
        self.0.perform(&mut store, order)
    }

    fn create(
        &self,
        ty: &'static ResourceType,
        mark: Option<Mark>,
        fields: BTreeMap<String, Value>,
    ) -> Result<(String, Option<Secret>)> {
        let performed = self.order(ty, mark, Operation::Create(fields), None)?;
        Ok((performed.object.map(|object| object.id).unwrap_or_default(), performed.secret))
    }

    /// Makes an account; with a mark, it is another fleet's.
    ///
    /// # Errors
    ///
    /// When the system refuses it: the name is taken.
    pub fn account(&self, name: &str, mark: Option<Mark>) -> Result<String> {
        let fields = BTreeMap::from([
            ("name".to_owned(), Value::from(name)),
            ("note".to_owned(), Value::Null),
            ("home".to_owned(), Value::Null),
        ]);
        Ok(self.create(Account::RESOURCE, mark, fields)?.0)
    }

    /// Plants a grant on an account, by its id.
    ///
    /// # Errors
    ///
    /// When the system refuses it: there is no such account, or there is such
    /// a grant.
    pub fn grant(&self, to: &str, on: &str, allow: &[&str]) -> Result<String> {
        let fields = BTreeMap::from([
            ("to".to_owned(), Value::from(to)),
            ("on".to_owned(), Value::from(on)),
            ("allow".to_owned(), allow.iter().copied().collect::<Value>().into_set()),
        ]);
        Ok(self.create(Grant::RESOURCE, None, fields)?.0)
    }

    /// Plants a key on an account, by its id; gives the key's id and secret.
    ///
    /// # Errors
    ///
    /// When the system refuses it: there is no such account.
    ///
    /// # Panics
    ///
    /// Never: the system makes the secret of every key.
    pub fn key(&self, of: &str) -> Result<(String, Secret)> {
        let fields = BTreeMap::from([("of".to_owned(), Value::from(of))]);
        let (id, secret) = self.create(Key::RESOURCE, None, fields)?;
        Ok((id, secret.expect("a key is made with a secret")))
    }

    /// Plants a token with this secret on an account, by its id.
    ///
    /// # Errors
    ///
    /// When the system refuses it: there is no such account.
    pub fn token(&self, of: &str, secret: &Secret) -> Result<String> {
        let fields = BTreeMap::from([("of".to_owned(), Value::from(of))]);
        let performed =
            self.order(Token::RESOURCE, None, Operation::Create(fields), Some(secret))?;
        Ok(performed.object.map(|object| object.id).unwrap_or_default())
    }

    /// Plants a job that runs as an account, by its id.
    ///
    /// # Errors
    ///
    /// When the system refuses it: the name is taken, or there is no such
    /// account.
    pub fn job(&self, name: &str, run_as: &str, command: &str) -> Result<String> {
        let fields = BTreeMap::from([
            ("name".to_owned(), Value::from(name)),
            ("run_as".to_owned(), Value::from(run_as)),
            ("command".to_owned(), Value::from(command)),
        ]);
        Ok(self.create(Job::RESOURCE, None, fields)?.0)
    }

    /// Changes one property of an object, by type and id.
    ///
    /// # Errors
    ///
    /// When the system refuses it: there is no such object, or the property
    /// cannot be changed.
    pub fn set<R: Resource>(&self, id: &str, field: &str, value: impl Into<Value>) -> Result<()> {
        let desired = BTreeMap::from([(field.to_owned(), value.into())]);
        let operation = Operation::Update { id: id.to_owned(), desired };
        self.order(R::RESOURCE, None, operation, None).map(drop)
    }

    /// Allows one more action on a grant, by its id.
    ///
    /// # Errors
    ///
    /// When there is no such grant.
    pub fn widen(&self, grant: &str, action: &str) -> Result<()> {
        let mut allowed = self.allowed(grant);
        allowed.push(Value::from(action));
        self.set::<Grant>(grant, "allow", Value::List(allowed).into_set())
    }

    /// Takes one action from a grant, by its id.
    ///
    /// # Errors
    ///
    /// When there is no such grant.
    pub fn narrow(&self, grant: &str, action: &str) -> Result<()> {
        let mut allowed = self.allowed(grant);
        allowed.retain(|allowed| allowed.as_text() != Some(action));
        self.set::<Grant>(grant, "allow", Value::List(allowed))
    }

    fn allowed(&self, grant: &str) -> Vec<Value> {
        let store = self.0.store();
        let stored = store.objects.get(&(Grant::TYPE, grant.to_owned()));
        let allow = stored.and_then(|stored| stored.fields.get("allow"));
        allow.and_then(Value::as_list).map(<[Value]>::to_vec).unwrap_or_default()
    }

    /// Suspends an account, by its id.
    ///
    /// # Errors
    ///
    /// When there is no such account.
    pub fn suspend(&self, account: &str) -> Result<()> {
        let operation = Operation::Suspend { id: account.to_owned() };
        self.order(Account::RESOURCE, None, operation, None).map(drop)
    }

    /// Lets a suspended account act again, by its id.
    ///
    /// # Errors
    ///
    /// When there is no such account.
    pub fn resume(&self, account: &str) -> Result<()> {
        let operation = Operation::Resume { id: account.to_owned() };
        self.order(Account::RESOURCE, None, operation, None).map(drop)
    }

    /// Deletes an object, by type and id, with everything that belongs to it.
    ///
    /// # Errors
    ///
    /// Never for want of the object: one that is gone is deleted.
    pub fn delete<R: Resource>(&self, id: &str) -> Result<()> {
        let operation = Operation::Delete { id: id.to_owned() };
        self.order(R::RESOURCE, None, operation, None).map(drop)
    }

    /// Takes an object over from the engine, so that it counts as made by
    /// this hand: what a fleet forgets is no orphan.
    pub fn take_over<R: Resource>(&self, id: &str) {
        if let Some(stored) = self.0.store().objects.get_mut(&(R::TYPE, id.to_owned())) {
            stored.claim = None;
        }
    }
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hand({})", self.0.name)
    }
}
