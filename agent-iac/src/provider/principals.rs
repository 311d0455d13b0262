//! A system as the principals that touch it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;

use super::{
    DynObserve, DynProbe, DynWrite, Issue, Limits, Manage, Observe, Probe, Requirement,
    erased::{Erased, ErasedIssue, ErasedManage},
};
use crate::{blueprint::Blueprint, error::Result, resource::Resource, schema::ResourceType};

/// A system that is managed, as three principals.
///
/// A program that only plans calls [`Provider::observers`] and nothing else,
/// and so never holds a credential that can write.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// A short description for people, as `authority .agent-iac/authority.db`.
    fn description(&self) -> String;

    /// How hard the system may be driven.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// The target's own identity, which a clone or another environment does
    /// not share. It is part of every plan's digest.
    ///
    /// # Errors
    ///
    /// When the system could not be asked.
    async fn target(&self) -> Result<String>;

    /// What each principal needs in the system for the part of a fleet that
    /// names this provider so, and nothing more: what an administrator types
    /// before the first plan. Nothing is contacted. Statements stand in the
    /// order in which they are typed; a comment of the system's language
    /// begins with `--`.
    fn requires(&self, name: &str, blueprint: &Blueprint) -> Vec<Requirement> {
        let _: (&str, &Blueprint) = (name, blueprint);
        Vec::new()
    }

    /// What planning and drift hold.
    ///
    /// # Errors
    ///
    /// When the system cannot be reached or the credential is missing.
    fn observers(&self) -> Result<Observers>;

    /// What applying holds.
    ///
    /// # Errors
    ///
    /// When the system cannot be reached or the credential is missing.
    fn writers(&self) -> Result<Writers>;

    /// What tries the agents' own credentials.
    ///
    /// # Errors
    ///
    /// When the system cannot be reached.
    fn probers(&self) -> Result<Probers>;
}

impl fmt::Debug for dyn Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.description())
    }
}

/// Handles that can only observe, by type.
///
/// There is no way from them to a write:
///
/// ```compile_fail,E0599
/// # async fn plan(observers: agent_iac::provider::Observers) {
/// let observe = observers.of("postgres.role").unwrap();
/// observe.write(Vec::new()).await;
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Observers(BTreeMap<&'static str, (&'static ResourceType, Arc<dyn DynObserve>)>);

impl Observers {
    /// No type at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the handle of a type that is known by its description alone.
    #[cfg(feature = "testing")]
    #[must_use]
    pub(crate) fn with_erased(
        mut self,
        ty: &'static ResourceType,
        handle: Arc<dyn DynObserve>,
    ) -> Self {
        self.0.insert(ty.name, (ty, handle));
        self
    }

    /// Adds the type `R`.
    #[must_use]
    pub fn with<R: Resource, P: Observe<R>>(mut self, provider: &Arc<P>) -> Self {
        let erased = Erased::<R, P>::new(Arc::clone(provider));
        self.0.insert(R::TYPE, (R::RESOURCE, Arc::new(erased)));
        self
    }

    /// The handle of a type.
    pub fn of(&self, type_name: &str) -> Option<&Arc<dyn DynObserve>> {
        self.0.get(type_name).map(|(_, observe)| observe)
    }

    /// The description of a type.
    pub fn resource_type(&self, type_name: &str) -> Option<&'static ResourceType> {
        self.0.get(type_name).map(|(resource_type, _)| *resource_type)
    }

    /// The types, sorted by name.
    pub fn types(&self) -> impl Iterator<Item = &'static ResourceType> {
        self.0.values().map(|(resource_type, _)| *resource_type)
    }
}

/// Handles that write, by type.
#[derive(Clone, Default)]
pub struct Writers(BTreeMap<&'static str, (&'static ResourceType, Arc<dyn DynWrite>)>);

impl Writers {
    /// No type at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the handle of a type that is known by its description alone.
    #[cfg(feature = "testing")]
    #[must_use]
    pub(crate) fn with_erased(
        mut self,
        ty: &'static ResourceType,
        handle: Arc<dyn DynWrite>,
    ) -> Self {
        self.0.insert(ty.name, (ty, handle));
        self
    }

    /// Adds an identity, permission or runtime type.
    #[must_use]
    pub fn with<R: Resource, P: Manage<R>>(mut self, provider: &Arc<P>) -> Self {
        let erased = ErasedManage(Erased::<R, P>::new(Arc::clone(provider)));
        self.0.insert(R::TYPE, (R::RESOURCE, Arc::new(erased)));
        self
    }

    /// Adds a credential type.
    #[must_use]
    pub fn with_credential<C: Resource, P: Issue<C>>(mut self, provider: &Arc<P>) -> Self {
        let erased = ErasedIssue(Erased::<C, P>::new(Arc::clone(provider)));
        self.0.insert(C::TYPE, (C::RESOURCE, Arc::new(erased)));
        self
    }

    /// The handle of a type.
    pub fn of(&self, type_name: &str) -> Option<&Arc<dyn DynWrite>> {
        self.0.get(type_name).map(|(_, write)| write)
    }

    /// The types, sorted by name.
    pub fn types(&self) -> impl Iterator<Item = &'static ResourceType> {
        self.0.values().map(|(resource_type, _)| *resource_type)
    }
}

/// Handles that try credentials, by type.
#[derive(Clone, Default)]
pub struct Probers(BTreeMap<&'static str, Arc<dyn DynProbe>>);

impl Probers {
    /// No type at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the handle of a type that is known by its description alone.
    #[cfg(feature = "testing")]
    #[must_use]
    pub(crate) fn with_erased(mut self, name: &'static str, handle: Arc<dyn DynProbe>) -> Self {
        self.0.insert(name, handle);
        self
    }

    /// Adds a credential type.
    #[must_use]
    pub fn with<C: Resource, P: Probe<C>>(mut self, provider: &Arc<P>) -> Self {
        let erased = Erased::<C, P>::new(Arc::clone(provider));
        self.0.insert(C::TYPE, Arc::new(erased));
        self
    }

    /// The handle of a type.
    pub fn of(&self, type_name: &str) -> Option<&Arc<dyn DynProbe>> {
        self.0.get(type_name)
    }
}

macro_rules! shows_its_types {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries(self.0.keys()).finish()
            }
        }
    )*};
}

shows_its_types!(Observers, Writers, Probers);
