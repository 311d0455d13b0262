//! The resource types that a text may name.

use std::collections::BTreeMap;

use crate::{resource::Resource, schema::ResourceType};

/// The resource types that a text may name.
///
/// ```
/// use agent_iac::config::Types;
/// use agent_iac::providers::authority::Account;
///
/// let types = Types::none().with::<Account>();
/// assert!(types.iter().any(|ty| ty.name == "authority.account"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Types {
    by_name: BTreeMap<&'static str, &'static ResourceType>,
}

impl Types {
    /// No type at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The types that this crate brings. They are data: no client of any
    /// system is needed to name them.
    pub fn builtin() -> Self {
        use crate::providers::{authority, postgres, process};

        Self::none()
            .with::<authority::Account>()
            .with::<authority::Grant>()
            .with::<authority::ApiKey>()
            .with::<postgres::Role>()
            .with::<postgres::Grant>()
            .with::<postgres::Membership>()
            .with::<postgres::DefaultPrivileges>()
            .with::<postgres::Policy>()
            .with::<postgres::Ownership>()
            .with::<postgres::Public>()
            .with::<postgres::PublicDefaults>()
            .with::<postgres::Login>()
            .with::<process::Runtime>()
    }

    /// Adds a type of your own.
    #[must_use]
    pub fn with<R: Resource>(self) -> Self {
        self.with_type(R::RESOURCE)
    }

    /// Adds a type by its description.
    #[must_use]
    pub fn with_type(mut self, ty: &'static ResourceType) -> Self {
        self.by_name.insert(ty.name, ty);
        self
    }

    /// The type of that name.
    pub fn get(&self, name: &str) -> Option<&'static ResourceType> {
        self.by_name.get(name).copied()
    }

    /// Each type, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &'static ResourceType> {
        self.by_name.values().copied()
    }
}
