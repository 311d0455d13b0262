//! The traits with their types erased, and the wrappers that erase them.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc};

use async_trait::async_trait;

use super::{
    Attempt, Capabilities, Composition, CompositionRequest, Issue, IssueRequest, Issued, Listing,
    Manage, NewCredential, Object, Observation, Observe, Operation, Permission, Probe, Reference,
    RevokeRequest, Settled, Surrounded, Surroundings, Tried, Write, WriteRequest, Written,
};
use crate::{
    clock::Entropy,
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    resource::{Reading, Resource, Spec as _},
    secret::Secret,
    value::Value,
};

/// [`Observe`] for a type that is not named.
#[async_trait]
pub trait DynObserve: Send + Sync + 'static {
    /// As [`Observe::capabilities`].
    fn capabilities(&self) -> Capabilities;

    /// As [`Observe::read`].
    ///
    /// # Errors
    ///
    /// As [`Observe::read`].
    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>>;

    /// As [`Observe::list`].
    ///
    /// # Errors
    ///
    /// As [`Observe::list`].
    async fn list(&self, listing: &Listing) -> Result<Vec<Object>>;

    /// As [`Observe::ids`].
    ///
    /// # Errors
    ///
    /// As [`Observe::ids`].
    async fn ids(&self) -> Result<Vec<String>>;

    /// As [`Observe::surroundings`].
    ///
    /// # Errors
    ///
    /// As [`Observe::surroundings`].
    async fn surroundings(
        &self,
        of: &[Surrounded],
        everybody: &[Permission],
    ) -> Result<Surroundings>;
}

/// [`Manage`] or [`Issue`] for a type that is not named.
#[async_trait]
pub trait DynWrite: Send + Sync + 'static {
    /// Carries out writes; for a credential, `Create` issues and `Delete`
    /// revokes.
    async fn write(&self, batch: Vec<WriteRequest>) -> Vec<Result<Issued>>;

    /// As [`Issue::compose`]; only a credential has a secret.
    async fn compose(
        &self,
        batch: Vec<CompositionRequest>,
        entropy: &dyn Entropy,
    ) -> Vec<Result<Secret>>;

    /// As [`Manage::settle`].
    ///
    /// # Errors
    ///
    /// As [`Manage::settle`].
    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>>;

    /// Reads just before a write, with the credential that writes.
    ///
    /// # Errors
    ///
    /// As [`Observe::read`].
    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>>;

    /// As [`Observe::capabilities`].
    fn capabilities(&self) -> Capabilities;
}

/// [`Probe`] for a type that is not named.
#[async_trait]
pub trait DynProbe: Send + Sync + 'static {
    /// As [`Probe::probe`].
    async fn probe(&self, attempts: &[Attempt<'_>]) -> Vec<Tried>;

    /// As [`Probe::decoy`].
    fn decoy(&self, like: &Secret, entropy: &dyn Entropy) -> Secret;
}

pub(super) struct Erased<R, P> {
    provider: Arc<P>,
    of: PhantomData<fn() -> R>,
}

impl<R, P> Erased<R, P> {
    pub(super) fn new(provider: Arc<P>) -> Self {
        Self { provider, of: PhantomData }
    }
}

#[async_trait]
impl<R: Resource, P: Observe<R>> DynObserve for Erased<R, P> {
    fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        let mut answers = self.provider.read(references).await?;
        for answer in &mut answers {
            if let Observation::Present(object) = answer {
                keep_what_a_record_can_hold(object);
            }
        }
        Ok(answers)
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
        let mut objects = self.provider.list(listing).await?;
        objects.iter_mut().for_each(keep_what_a_record_can_hold);
        Ok(objects)
    }

    async fn ids(&self) -> Result<Vec<String>> {
        self.provider.ids().await
    }

    async fn surroundings(
        &self,
        of: &[Surrounded],
        everybody: &[Permission],
    ) -> Result<Surroundings> {
        self.provider.surroundings(of, everybody).await
    }
}

#[async_trait]
impl<C: Resource, P: Probe<C>> DynProbe for Erased<C, P> {
    async fn probe(&self, attempts: &[Attempt<'_>]) -> Vec<Tried> {
        self.provider.probe(attempts).await
    }

    fn decoy(&self, like: &Secret, entropy: &dyn Entropy) -> Secret {
        self.provider.decoy(like, entropy)
    }
}

/// What a provider reads comes from outside. A value that has no canonical form
/// would make every plan impossible that it stands in, also for others; so it
/// counts as not read, with the reason.
fn keep_what_a_record_can_hold(object: &mut Object) {
    for reading in object.fields.values_mut() {
        if let Reading::Known(value) = reading
            && let Some(why) = value.unfit()
        {
            *reading = Reading::Unreadable(format!("the provider answered {why}"));
        }
    }
}

/// Reads the properties of a request as the type has them.
fn spec<R: Resource>(values: &BTreeMap<String, Value>) -> Result<R::Spec> {
    R::Spec::from_values(values).map_err(|name| {
        Error::new(
            ErrorKind::InvalidFleet,
            format!("the property `{name}` of `{}` is missing or has another shape", R::TYPE),
        )
    })
}

/// Wraps a [`Manage`].
pub(super) struct ErasedManage<R, P>(pub(super) Erased<R, P>);

#[async_trait]
impl<R: Resource, P: Manage<R>> DynWrite for ErasedManage<R, P> {
    async fn write(&self, batch: Vec<WriteRequest>) -> Vec<Result<Issued>> {
        // A request that does not fit the type is answered here; the others
        // still go to the provider as one batch.
        let mut answers: Vec<Option<Result<Issued>>> = Vec::with_capacity(batch.len());
        let mut typed = Vec::with_capacity(batch.len());
        for request in batch {
            match typed_write::<R>(request) {
                Ok(write) => {
                    typed.push(write);
                    answers.push(None);
                }
                Err(error) => answers.push(Some(Err(error))),
            }
        }
        let written = self.0.provider.write(&typed).await;
        let mut written = written.into_iter();
        let plain = |written| Issued { written, secret: None };
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| next_answer(&mut written).map(plain)))
            .collect()
    }

    async fn compose(
        &self,
        batch: Vec<CompositionRequest>,
        _: &dyn Entropy,
    ) -> Vec<Result<Secret>> {
        let refused = |_| Err(Error::new(ErrorKind::Bug, "only a credential has a secret"));
        batch.into_iter().map(refused).collect()
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        self.0.provider.settle(claims).await
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        self.0.provider.read(references).await
    }

    fn capabilities(&self) -> Capabilities {
        self.0.provider.capabilities()
    }
}

/// What is said of a write without an answer. The caller knows the provider's
/// name, and says it instead.
pub(crate) const UNANSWERED: &str = "the provider answered for fewer writes than it was given";

/// The provider's next answer; one that is missing is its fault, and says
/// nothing of whether the write was carried out.
fn next_answer<T>(answers: &mut impl Iterator<Item = Result<T>>) -> Result<T> {
    answers.next().unwrap_or_else(|| Err(Error::new(ErrorKind::InDoubt, UNANSWERED)))
}

fn typed_write<R: Resource>(request: WriteRequest) -> Result<Write<R>> {
    let WriteRequest { claim, mark, operation, seen, credential: _ } = request;
    let operation = match operation {
        Operation::Create(values) => Operation::Create(spec::<R>(&values)?),
        Operation::Update { id, desired } => {
            Operation::Update { id, desired: spec::<R>(&desired)? }
        }
        Operation::Suspend { id } => Operation::Suspend { id },
        Operation::Resume { id } => Operation::Resume { id },
        Operation::Delete { id } => Operation::Delete { id },
    };
    Ok(Write { claim, mark, operation, seen })
}

/// Wraps an [`Issue`].
pub(super) struct ErasedIssue<C, P>(pub(super) Erased<C, P>);

enum Routed {
    Issue,
    Revoke,
    Answered(Box<Result<Issued>>),
}

#[async_trait]
impl<C: Resource, P: Issue<C>> DynWrite for ErasedIssue<C, P> {
    async fn write(&self, batch: Vec<WriteRequest>) -> Vec<Result<Issued>> {
        let (mut to_issue, mut to_revoke, mut routes) = (Vec::new(), Vec::new(), Vec::new());
        for request in batch {
            let WriteRequest { claim, mark, operation, seen: _, credential } = request;
            routes.push(match (operation, credential) {
                (Operation::Create(values), Some(NewCredential { generation, secret, until })) => {
                    match spec::<C>(&values) {
                        Ok(desired) => {
                            to_issue.push(IssueRequest {
                                claim,
                                mark,
                                generation,
                                desired,
                                secret,
                                until,
                            });
                            Routed::Issue
                        }
                        Err(error) => Routed::Answered(Box::new(Err(error))),
                    }
                }
                (Operation::Delete { id }, _) => {
                    to_revoke.push(RevokeRequest { claim, mark, id });
                    Routed::Revoke
                }
                _ => Routed::Answered(Box::new(Err(Error::new(
                    ErrorKind::Bug,
                    "a credential is issued or revoked, and nothing else",
                )))),
            });
        }
        let mut issued = Vec::new().into_iter();
        if !to_issue.is_empty() {
            issued = self.provider().issue(&to_issue).await.into_iter();
        }
        let mut revoked = Vec::new().into_iter();
        if !to_revoke.is_empty() {
            revoked = self.provider().revoke(&to_revoke).await.into_iter();
        }
        let plain = |written: Written| Issued { written, secret: None };
        routes
            .into_iter()
            .map(|route| match route {
                Routed::Issue => next_answer(&mut issued),
                Routed::Revoke => next_answer(&mut revoked).map(plain),
                Routed::Answered(answer) => *answer,
            })
            .collect()
    }

    async fn compose(
        &self,
        batch: Vec<CompositionRequest>,
        entropy: &dyn Entropy,
    ) -> Vec<Result<Secret>> {
        let mut answers: Vec<Option<Result<Secret>>> = Vec::with_capacity(batch.len());
        let mut typed = Vec::with_capacity(batch.len());
        for CompositionRequest { mark, generation, desired } in batch {
            match spec::<C>(&desired) {
                Ok(desired) => {
                    typed.push(Composition { mark, generation, desired });
                    answers.push(None);
                }
                Err(error) => answers.push(Some(Err(error))),
            }
        }
        let mut composed = Vec::new().into_iter();
        if !typed.is_empty() {
            composed = self.provider().compose(&typed, entropy).await.into_iter();
        }
        let missing = || {
            let message = "the provider composed fewer secrets than it was asked for";
            Err(Error::new(ErrorKind::ProviderContract, message))
        };
        answers
            .into_iter()
            .map(|answer| answer.or_else(|| composed.next()).unwrap_or_else(missing))
            .collect()
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        self.provider().settle(claims).await
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        self.provider().read(references).await
    }

    fn capabilities(&self) -> Capabilities {
        self.provider().capabilities()
    }
}

impl<C, P> ErasedIssue<C, P> {
    fn provider(&self) -> &P {
        &self.0.provider
    }
}
