//! The contract between the engine and the systems that it manages.
//!
//! Owns the traits that a provider's author implements ([`Observe`],
//! [`Manage`], [`Issue`], [`Probe`]), what passes through them, and their
//! erased forms. It knows no concrete provider, and it gives planning handles
//! that can only observe.

mod erased;
mod principals;
mod seen;
mod types;

pub(crate) use erased::UNANSWERED;
pub use erased::{DynObserve, DynProbe, DynWrite};
pub use principals::{Observers, Probers, Provider, Writers};
pub use types::{
    AtOnce, Attempt, Capabilities, Composition, CompositionRequest, CredentialCapabilities,
    IssueRequest, Issued, Limits, Listing, Mark, NewCredential, Object, Observation, Operation,
    Origin, Permission, Principal, Reach, Recovery, Reference, Requirement, RevokeRequest, Settled,
    Source, Surrounded, Surroundings, Tried, Write, WriteRequest, Written,
};

use async_trait::async_trait;

use crate::{clock::Entropy, error::Result, ledger::Claim, resource::Resource, secret::Secret};

/// Reads resources of type `R` in one system: what planning and drift hold.
///
/// # Contract
///
/// * **Batch.** One call answers for every reference that it is given, in any
///   number and in their order, at a constant number of requests where the
///   system allows it.
/// * **Honest.** What cannot be read is [`Observation::Unread`] as a whole or
///   marked in its fields, never left out and never guessed.
/// * **In the builder's form.** A property is answered as a declaration would
///   give it, so that equal things compare equal.
/// * **Cancel-safe.** A dropped future leaves nothing half done.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot observe `{R}`",
    note = "implement `agent_iac::provider::Observe<{R}>`, then run `agent_iac::testing::provider` on it"
)]
#[async_trait]
pub trait Observe<R: Resource>: Send + Sync + 'static {
    /// What the provider can do with this type.
    fn capabilities(&self) -> Capabilities;

    /// Reads the objects behind `references`.
    ///
    /// # Errors
    ///
    /// When the system as a whole could not be asked.
    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>>;

    /// Lists the objects that a listing asks for.
    ///
    /// # Errors
    ///
    /// When the list could not be read to its end.
    async fn list(&self, listing: &Listing) -> Result<Vec<Object>>;

    /// The ids of all objects of the type: those that [`Listing::All`] lists,
    /// in any order. A provider that can tell them without reading the objects
    /// saves a large fleet the memory for these.
    ///
    /// # Errors
    ///
    /// As [`Observe::list`].
    async fn ids(&self) -> Result<Vec<String>> {
        let listed = self.list(&Listing::All).await?;
        Ok(listed.into_iter().map(|object| object.id).collect())
    }

    /// For a type of identity: what identities can do beside their own
    /// permissions, because of what the system gives to everybody, to a group
    /// that they are in, or to the owner of something. Planning asks once for
    /// all identities of the type, and shows the answer beside the plan. Of
    /// what is declared for nobody in particular, as what everybody is to lose,
    /// it tells `everybody`.
    ///
    /// The default says nothing; a provider that says something answers for
    /// each identity in order, and names each source once.
    ///
    /// # Errors
    ///
    /// When it could not be read to its end. The plan then says so, and is not
    /// clean.
    async fn surroundings(
        &self,
        of: &[Surrounded],
        everybody: &[Permission],
    ) -> Result<Surroundings> {
        let _nothing = (of, everybody);
        Ok(Surroundings::default())
    }
}

/// Writes resources of type `R`: what applying holds.
///
/// # Contract
///
/// * **Idempotent under a claim.** A write with a claim that was carried out
///   before changes nothing and answers as it did.
/// * **Only on what was seen.** Where [`Capabilities::checks_seen`] says so,
///   a write whose object is not as [`Write::seen`] is refused with
///   [`ErrorKind::StalePlan`](crate::ErrorKind::StalePlan), within the
///   transaction that writes.
/// * **Batch.** One answer for each write, in their order. One that fails does
///   not undo or stop the others.
/// * **As it is.** What was written is read back and answered, in the form of
///   [`Observe::read`].
#[async_trait]
pub trait Manage<R: Resource>: Observe<R> {
    /// Carries out writes.
    async fn write(&self, batch: &[Write<R>]) -> Vec<Result<Written>>;

    /// Says what became of the claims of a run that died. It answers only once
    /// no work of that run can land any more.
    ///
    /// A claim that was carried out may be forgotten once another one is at the
    /// same address: a ledger begins a step only where no other is open.
    ///
    /// # Errors
    ///
    /// When the system could not be asked.
    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>>;
}

/// Issues and revokes credentials of type `C`: what applying holds.
///
/// # Contract
///
/// As [`Manage`]; and a secret that the system makes is answered once, by the
/// call that made it. When a claim is repeated or settled, the answer has no
/// secret.
#[async_trait]
pub trait Issue<C: Resource>: Observe<C> {
    /// Makes the secrets of credentials whose secret the engine makes
    /// ([`Origin::Engine`]), in the form that consumers read: a user name and
    /// a password, for example. One answer for each, in their order.
    ///
    /// It changes nothing in the system. The engine delivers the secret as
    /// pending, then hands it to [`Issue::issue`]; after a crash it goes on
    /// with the delivered one and does not ask again.
    async fn compose(
        &self,
        batch: &[Composition<C>],
        entropy: &dyn Entropy,
    ) -> Vec<Result<Secret>> {
        batch.iter().map(|_| Ok(Secret::random(entropy, 32))).collect()
    }

    /// Issues credentials.
    async fn issue(&self, batch: &[IssueRequest<C>]) -> Vec<Result<Issued>>;

    /// Revokes credentials; one that is gone already is revoked.
    async fn revoke(&self, batch: &[RevokeRequest]) -> Vec<Result<Written>>;

    /// As [`Manage::settle`].
    ///
    /// # Errors
    ///
    /// When the system could not be asked.
    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>>;
}

/// Tries credentials of type `C` as the agent itself would.
///
/// # Contract
///
/// * One attempt for each that is given, and no more: a system may lock an
///   account after a few.
/// * [`Tried::Refused`] only when the system itself refused the secret; what
///   was refused for another reason, or not asked, is [`Tried::Unknown`].
#[async_trait]
pub trait Probe<C: Resource>: Send + Sync + 'static {
    /// Tries each credential once.
    async fn probe(&self, attempts: &[Attempt<'_>]) -> Vec<Tried>;

    /// A random secret of the form that the system takes, which was never
    /// issued: what a revoked one is compared with. It is made like a secret
    /// that was issued, and equals it in all but what is random: it asks for
    /// the same user with another password.
    fn decoy(&self, like: &Secret, entropy: &dyn Entropy) -> Secret {
        let _: &Secret = like;
        Secret::random(entropy, 32)
    }
}
