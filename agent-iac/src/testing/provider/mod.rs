//! The conformance suite of providers.
//!
//! Owns the contract of the [`provider`](crate::provider) traits as calls and
//! answers, through the same erased handles that the engine uses. It knows no
//! system: a provider's own tests give it declarations that the system takes.
//!
//! ```
//! # #[cfg(feature = "authority")] {
//! use std::sync::Arc;
//!
//! use agent_iac::{
//!     clock::{SystemClock, SystemEntropy, block_on},
//!     providers::authority::{Account, AuthorityProvider},
//!     resource::Resource as _,
//!     testing::provider::Suite,
//! };
//!
//! let folder = tempfile::tempdir()?;
//! let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
//! let provider = AuthorityProvider::create(
//!     folder.path().join("authority.db"), clock.clone(), entropy.clone(),
//! )?;
//! let suite = Suite::new(Arc::new(provider), clock, entropy);
//! block_on(suite.check_identity::<Account>(|sample| {
//!     let mut account = Account::builder();
//!     account.name(sample.name());
//!     account.description(if sample.changed() { "changed" } else { "as made" });
//!     account
//! }));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod case;
mod credential;
mod object;
#[cfg(all(test, feature = "derive"))]
mod tests;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    clock::{Clock, Entropy},
    ledger::RunId,
    provider::Provider,
    resource::Resource,
};

/// Runs the rules of the provider contract on a real or simulated system.
///
/// What it makes has names of its own in each run and is deleted at the end,
/// so that a shared test system will do.
pub struct Suite {
    provider: Arc<dyn Provider>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    run: RunId,
    count: AtomicUsize,
}

/// Which declaration a suite wants.
#[derive(Clone, Debug)]
pub struct Sample {
    name: String,
    changed: bool,
}

impl Sample {
    /// A name that no other sample has: a-z, 0-9 and underscores, a letter
    /// first, at most 40 bytes. Put it into the natural key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the properties that can be changed in place are to differ from
    /// those of the same sample before. A type that has none gives the same
    /// declaration, and the rules about updates are passed over.
    pub fn changed(&self) -> bool {
        self.changed
    }
}

impl Suite {
    /// Makes a suite.
    pub fn new(
        provider: Arc<dyn Provider>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let run = RunId::random(&*entropy);
        Self { provider, clock, entropy, run, count: AtomicUsize::new(0) }
    }

    /// Checks an identity type.
    ///
    /// # Panics
    ///
    /// When the provider breaks a rule, naming it.
    pub async fn check_identity<I: Resource>(&self, sample: impl Fn(&Sample) -> I::Builder + Sync) {
        object::check::<I>(self, None, &|_, it| sample(it)).await;
    }

    /// Checks a permission type; `sample` is given the id of the identity that
    /// it is for.
    ///
    /// # Panics
    ///
    /// When the provider breaks a rule, naming it.
    pub async fn check_permission<I: Resource, P: Resource>(
        &self,
        identity: impl Fn(&Sample) -> I::Builder + Sync,
        sample: impl Fn(&str, &Sample) -> P::Builder + Sync,
    ) {
        let owners = object::Owners::create::<I>(self, &identity).await;
        object::check::<P>(self, Some(&owners.ids), &|id, it| sample(id, it)).await;
        owners.delete(self).await;
    }

    /// Checks a credential type; `sample` is given the id of the identity that
    /// it is for.
    ///
    /// # Panics
    ///
    /// When the provider breaks a rule, naming it.
    pub async fn check_credential<I: Resource, C: Resource>(
        &self,
        identity: impl Fn(&Sample) -> I::Builder + Sync,
        sample: impl Fn(&str, &Sample) -> C::Builder + Sync,
    ) {
        let owners = object::Owners::create::<I>(self, &identity).await;
        credential::check::<I, C>(self, &owners, &|id, it| sample(id, it)).await;
        owners.delete(self).await;
    }

    fn next(&self) -> usize {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    fn sample(&self) -> Sample {
        let run: String = self.run.as_str().chars().take(8).collect();
        Sample { name: format!("conformance_{run}_{}", self.next()), changed: false }
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("provider", &self.provider).finish_non_exhaustive()
    }
}
