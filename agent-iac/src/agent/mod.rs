//! Declarations of agents.
//!
//! Owns what `derive(Agent)` makes of a struct: its terms, its resources as
//! builders filled them, and the keys that belong to the engine. It validates
//! nothing and contacts nothing; [`crate::blueprint`] judges what stands here.

mod keys;
mod period;
mod terms;
mod written;

pub use keys::Keys;
pub use period::{MAX_SECONDS, Period, is_date, parse_period};
pub use terms::{IntoAddresses, OnDrift, Source, Terms};
pub use written::Written;

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData, ops::Deref};

use crate::{
    address::{Address, Instance},
    error::Result,
    resource::{Builder, Node, Ref, Resource},
    schema::ResourceType,
    value::Value,
};

/// An agent: a struct of which each field is a resource or an input; made by
/// `derive(Agent)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an agent",
    note = "add `#[derive(agent_iac::Agent)]` and `#[agent(owner = \"…\", expires = \"…\")]`"
)]
pub trait Agent: Sized {
    /// The agent's parameters, with the struct's `#[input]` fields.
    type Inputs: AgentInputs<Agent = Self>;
    /// Typed references to its resources, for other agents.
    type References: References;

    /// What was said of the agent as a whole.
    const TERMS: AgentTerms;

    /// The values of the inputs marked as key, in their order.
    fn key(inputs: &Self::Inputs) -> Vec<String>;

    /// Declares the resources.
    fn declare(inputs: &Self::Inputs, cx: &mut Declare);

    /// Puts the struct together from what exists after apply.
    ///
    /// # Errors
    ///
    /// When a resource does not exist, or its values have another shape.
    fn from_live(inputs: Self::Inputs, live: &Live<'_>) -> Result<Self>;
}

/// The parameters of an agent; made by `derive(Agent)`, and named after it:
/// `InvoiceReaderInputs`.
pub trait AgentInputs: Clone {
    /// The agent that they make an instance of.
    type Agent: Agent<Inputs = Self>;
}

/// Typed references to an agent's resources; derived.
pub trait References {
    /// The references of one instance.
    fn of(instance: &Instance) -> Self;
}

/// What a declaration says of an agent as a whole; constants, where it is one
/// in Rust.
#[derive(Clone, Debug)]
pub struct AgentTerms {
    /// Its name: the struct's in kebab case, unless said.
    pub name: Cow<'static, str>,
    /// Who answers for it.
    pub owner: Cow<'static, str>,
    /// What it is for: the doc comment.
    pub purpose: Cow<'static, str>,
    /// The last day on which it may act, as `2027-06-30`.
    pub expires: Cow<'static, str>,
    /// How long its identity is kept suspended before it is deleted; seven
    /// days unless said.
    pub grace: Option<Cow<'static, str>>,
    /// Where it was declared.
    pub source: Source,
}

/// One resource as it was declared.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The field's name.
    pub field: String,
    /// Its type.
    pub resource_type: &'static ResourceType,
    /// Its properties.
    pub properties: BTreeMap<String, Node>,
    /// What was said to the engine.
    pub terms: Terms,
    /// Where it was declared.
    pub source: Source,
    /// Where each key stands, when it was read from text.
    pub written: Written,
}

/// Collects the resources of one agent instance.
#[derive(Debug)]
pub struct Declare {
    instance: Instance,
    resources: Vec<Declared>,
}

impl Declare {
    /// Starts the declaration of an instance.
    pub fn new(instance: Instance) -> Self {
        Self { instance, resources: Vec::new() }
    }

    /// The instance that is being declared.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Refers to a resource of this agent.
    ///
    /// # Panics
    ///
    /// When `field` is not a field name; the derive gives only such.
    pub fn reference<R: Resource>(&self, field: &str) -> Ref<R> {
        reference(&self.instance, field)
    }

    /// Adds a resource.
    pub fn push<R: Resource>(
        &mut self,
        field: &'static str,
        builder: &mut R::Builder,
        terms: Terms,
        source: Source,
    ) {
        self.resources.push(Declared {
            field: field.to_owned(),
            resource_type: R::RESOURCE,
            properties: std::mem::take(builder.fields_mut()).into_nodes(),
            terms,
            source,
            written: Written::default(),
        });
    }

    /// Adds a resource with the keys that were given. Asks nothing of the type
    /// but its builder, so that rustc reports a type that is no resource once.
    #[doc(hidden)]
    pub fn add<B: Builder>(
        &mut self,
        field: &'static str,
        resource_type: &'static ResourceType,
        keys: Keys<B>,
        source: Source,
    ) {
        let (mut builder, terms) = keys.into_parts();
        self.resources.push(Declared {
            field: field.to_owned(),
            resource_type,
            properties: std::mem::take(builder.fields_mut()).into_nodes(),
            terms,
            source,
            written: Written::default(),
        });
    }

    /// What was declared.
    pub fn into_resources(self) -> Vec<Declared> {
        self.resources
    }
}

/// Refers to a resource of an instance.
///
/// # Panics
///
/// When `field` is not a field name; the derive gives only such.
pub fn reference<R: Resource>(instance: &Instance, field: &str) -> Ref<R> {
    let address = Address::new(instance.clone(), field);
    Ref::to(address.expect("the derive gives field names only"))
}

/// An agent instance in a fleet.
///
/// It dereferences to the agent's references, so `handle.account()` can be an
/// input of another agent.
pub struct Handle<A: Agent> {
    instance: Instance,
    inputs: A::Inputs,
    references: A::References,
    of: PhantomData<fn() -> A>,
}

impl<A: Agent> Handle<A> {
    pub(crate) fn new(instance: Instance, inputs: A::Inputs) -> Self {
        let references = A::References::of(&instance);
        Self { instance, inputs, references, of: PhantomData }
    }

    /// The instance.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The agent's parameters.
    pub fn inputs(&self) -> &A::Inputs {
        &self.inputs
    }
}

impl<A: Agent> Deref for Handle<A> {
    type Target = A::References;

    fn deref(&self) -> &A::References {
        &self.references
    }
}

impl<A: Agent> fmt::Debug for Handle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.instance)
    }
}

/// What exists of one agent instance, for [`Agent::from_live`].
#[derive(Debug)]
pub struct Live<'a> {
    instance: &'a Instance,
    values: BTreeMap<String, BTreeMap<String, Value>>,
}

impl<'a> Live<'a> {
    /// The values of each resource, by field.
    pub fn new(instance: &'a Instance, values: BTreeMap<String, BTreeMap<String, Value>>) -> Self {
        Self { instance, values }
    }

    /// One live resource.
    ///
    /// # Errors
    ///
    /// When it does not exist, or its values have another shape.
    pub fn resource<R: Resource>(&self, field: &str) -> Result<R> {
        self.read(field, R::TYPE, R::from_values)
    }

    pub(crate) fn read<R>(
        &self,
        field: &str,
        type_name: &str,
        from_values: fn(&BTreeMap<String, Value>) -> Result<R, String>,
    ) -> Result<R> {
        use crate::error::{Error, ErrorKind};
        let address = Address::new(self.instance.clone(), field)?;
        let values = self.values.get(field).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "it does not exist (yet)").at(&address)
        })?;
        from_values(values).map_err(|name| {
            Error::new(
                ErrorKind::ProviderContract,
                format!("the recorded value of `{name}` is not one of `{type_name}`"),
            )
            .at(&address)
        })
    }
}
