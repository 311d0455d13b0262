//! One type under test: its handles, and how a broken rule is told.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Sample, Suite};
use crate::{
    error::{ErrorKind, Result},
    ledger::Claim,
    provider::{
        DynObserve, DynWrite, Issued, Listing, Mark, NewCredential, Object, Observation, Operation,
        Reference, Settled, WriteRequest,
    },
    resource::{Builder, Node, Reading, Resource},
    schema::ResourceType,
    secret::Secret,
    value::Value,
};

/// The properties of one object.
pub(super) type Values = BTreeMap<String, Value>;

pub(super) struct Case<'s> {
    pub(super) suite: &'s Suite,
    pub(super) ty: &'static ResourceType,
    pub(super) observe: Arc<dyn DynObserve>,
    pub(super) write: Arc<dyn DynWrite>,
    rule: &'static str,
}

impl<'s> Case<'s> {
    pub(super) fn new<R: Resource>(suite: &'s Suite) -> Self {
        let handles = || {
            let observe = Arc::clone(suite.provider.observers().ok()?.of(R::TYPE)?);
            let write = Arc::clone(suite.provider.writers().ok()?.of(R::TYPE)?);
            Some((observe, write))
        };
        let Some((observe, write)) = handles() else {
            broken(suite, R::TYPE, "there are handles that observe and handles that write", &"none")
        };
        let rule = "the first call succeeds";
        Self { suite, ty: R::RESOURCE, observe, write, rule }
    }

    /// Begins the next rule.
    pub(super) fn rule(&mut self, rule: &'static str) {
        self.rule = rule;
    }

    /// Ends the suite: the present rule is broken.
    pub(super) fn broken(&self, found: &dyn fmt::Debug) -> ! {
        broken(self.suite, self.ty.name, self.rule, found)
    }

    pub(super) fn holds(&self, holds: bool, found: &dyn fmt::Debug) {
        if !holds {
            self.broken(found);
        }
    }

    pub(super) fn done<T>(&self, answer: Result<T>) -> T {
        answer.unwrap_or_else(|error| self.broken(&error))
    }

    pub(super) fn refused<T: fmt::Debug>(&self, answer: Result<T>, kind: Option<ErrorKind>) {
        match answer {
            Err(error) if kind.is_none_or(|kind| error.kind() == kind) => {}
            other => self.broken(&other),
        }
    }

    pub(super) fn claim(&self) -> Claim {
        self.suite.run.claim(self.suite.next())
    }

    /// The mark of what a fleet makes here.
    pub(super) fn mark(fleet: &str) -> Mark {
        Self::mark_at(fleet, "conformance.object")
    }

    fn mark_at(fleet: &str, address: &str) -> Mark {
        let address = address.parse().expect("the address is well formed");
        Mark { fleet: fleet.into(), environment: "test".into(), address }
    }

    /// The mark of a write about an object: each has an address of its own.
    fn mark_of(&self, seen: &Observation) -> Mark {
        match seen.object() {
            None => {
                Self::mark_at("conformance", &format!("conformance.object{}", self.suite.next()))
            }
            Some(seen) => seen.mark.clone().unwrap_or_else(|| Self::mark("conformance")),
        }
    }

    /// The declared properties of a sample in normal form.
    pub(super) fn values<B: Builder>(&self, builder: &B) -> Values {
        let nodes = builder.fields().nodes();
        let value = |name| nodes.get(name).and_then(Node::known).unwrap_or_default();
        self.ty
            .fields
            .iter()
            .map(|field| (field.name.to_owned(), field.ty.normalise(value(field.name))))
            .collect()
    }

    pub(super) fn request(&self, operation: Operation<Values>, seen: Observation) -> WriteRequest {
        WriteRequest {
            claim: self.claim(),
            mark: self.mark_of(&seen),
            operation,
            seen,
            credential: None,
        }
    }

    pub(super) fn create(&self, values: &Values) -> WriteRequest {
        self.request(Operation::Create(values.clone()), Observation::Absent)
    }

    pub(super) fn update(&self, seen: &Object, desired: &Values) -> WriteRequest {
        let operation = Operation::Update { id: seen.id.clone(), desired: desired.clone() };
        self.request(operation, Observation::Present(seen.clone()))
    }

    pub(super) fn delete(&self, seen: &Object) -> WriteRequest {
        let operation = Operation::Delete { id: seen.id.clone() };
        self.request(operation, Observation::Present(seen.clone()))
    }

    pub(super) fn suspend(&self, seen: &Object, suspend: bool) -> WriteRequest {
        let id = seen.id.clone();
        let operation = if suspend { Operation::Suspend { id } } else { Operation::Resume { id } };
        self.request(operation, Observation::Present(seen.clone()))
    }

    pub(super) fn issue(&self, values: &Values, secret: Option<Secret>) -> WriteRequest {
        let generation = u32::try_from(self.suite.next()).unwrap_or(u32::MAX);
        let credential = Some(NewCredential { generation, secret, until: None });
        WriteRequest { credential, ..self.create(values) }
    }

    /// Carries out a batch in pieces that the provider takes.
    pub(super) async fn batch(&self, requests: Vec<WriteRequest>) -> Vec<Result<Issued>> {
        let most = self.observe.capabilities().batch;
        if most == 0 {
            self.broken(&"a provider takes at least one write at a time");
        }
        let count = requests.len();
        let (mut answers, mut rest) = (Vec::new(), requests.into_iter().peekable());
        while rest.peek().is_some() {
            answers.extend(self.write.write(rest.by_ref().take(most).collect()).await);
        }
        self.holds(answers.len() == count, &format!("{} answers to {count} writes", answers.len()));
        answers
    }

    pub(super) async fn one(&self, request: WriteRequest) -> Result<Issued> {
        self.batch(vec![request]).await.pop().expect("the answers were counted")
    }

    /// Carries out a write that must succeed and leave an object.
    pub(super) async fn written(&self, request: WriteRequest) -> Object {
        let issued = self.done(self.one(request).await);
        issued.written.object.unwrap_or_else(|| self.broken(&"no object was answered"))
    }

    pub(super) async fn read(&self, references: &[Reference]) -> Vec<Observation> {
        let answers = self.done(self.observe.read(references).await);
        let counts = format!("{} answers to {} references", answers.len(), references.len());
        self.holds(answers.len() == references.len(), &counts);
        answers
    }

    pub(super) async fn read_id(&self, id: &str) -> Observation {
        self.read(&[Reference::Id(id.to_owned())]).await.remove(0)
    }

    pub(super) async fn present(&self, id: &str) -> Object {
        match self.read_id(id).await {
            Observation::Present(object) => object,
            other => self.broken(&other),
        }
    }

    /// The ids that a listing gives.
    pub(super) async fn listed(&self, listing: &Listing) -> Vec<String> {
        let objects = self.done(self.observe.list(listing).await);
        objects.into_iter().map(|object| object.id).collect()
    }

    /// The ids of what bears a mark: others may work in the same system
    /// meanwhile, and what is theirs comes and goes.
    pub(super) async fn with_mark(&self, mark: Option<&Mark>) -> Vec<String> {
        let objects = self.done(self.observe.list(&Listing::All).await);
        let of_mark = objects.into_iter().filter(|object| object.mark.as_ref() == mark);
        of_mark.map(|object| object.id).collect()
    }

    pub(super) async fn settled(&self, claims: &[Claim]) -> Vec<Settled> {
        let answers = self.done(self.write.settle(claims).await);
        let counts = format!("{} answers to {} claims", answers.len(), claims.len());
        self.holds(answers.len() == claims.len(), &counts);
        answers
    }

    /// Each property is as it was declared, or honestly not readable.
    pub(super) fn is_as_declared(&self, object: &Object, declared: &Values) {
        for field in self.ty.fields {
            let wanted = &declared[field.name];
            match object.fields.get(field.name) {
                Some(Reading::Known(found)) if found == wanted => {}
                Some(Reading::Redacted | Reading::Unsupported) => {}
                found => self.broken(&format!("`{}` is {found:?}, not {wanted}", field.name)),
            }
        }
        for output in self.ty.outputs {
            // Where it was delivered and its number are the engine's to know.
            let engines = matches!(output.name, "place" | "generation");
            let there = object.fields.contains_key(output.name);
            self.holds(engines || there, &format!("the output `{}` is missing", output.name));
        }
    }

    pub(super) fn key(&self, values: &Values) -> Option<Reference> {
        let key: Values = self
            .ty
            .key_fields()
            .map(|field| (field.name.to_owned(), values[field.name].clone()))
            .collect();
        (!key.is_empty()).then_some(Reference::Key(key))
    }
}

/// Makes the properties of a new sample, and the sample to change it by.
pub(super) fn fresh<R: Resource>(
    case: &Case<'_>,
    owner: &str,
    sample: &(dyn Fn(&str, &Sample) -> R::Builder + Sync),
) -> (Values, Sample) {
    let it = case.suite.sample();
    (case.values(&sample(owner, &it)), Sample { changed: true, ..it })
}

fn broken(suite: &Suite, ty: &str, rule: &str, found: &dyn fmt::Debug) -> ! {
    panic!(
        "the provider `{}` breaks the contract for `{ty}`\n  rule: {rule}\n  found: {found:?}",
        suite.provider.description()
    )
}
