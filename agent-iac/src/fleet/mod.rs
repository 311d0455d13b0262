//! A fleet: the agents that are planned together, as pure data.
//!
//! Owns the set of agents, the *names* of providers and secret stores, the
//! guard rules, and what was said about moved, removed and imported resources.
//! It contacts nothing; a [`Deployment`](crate::deployment::Deployment) puts
//! real systems behind the names.

mod standing;

pub use standing::{Standing, Unattended};

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    address::{Address, Instance},
    agent::{Agent, AgentInputs, AgentTerms, Declare, Declared, Handle, Written},
    diagnostic::{Code, Diagnostic, Diagnostics},
    provider::Reach,
    rotation::FleetTerms,
    value::Digest,
};

/// Guard rules: what a plan of this fleet may never do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How many agents may begin to leave in one plan; a quarter of the
    /// recorded ones but at least three, unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_leaving: Option<u32>,
    /// How old the observations of a plan may be when it is applied, in
    /// seconds; an hour unless said.
    pub max_age: u64,
    /// What holds for the rotations of all its credentials.
    #[serde(default, skip_serializing_if = "FleetTerms::is_empty")]
    pub rotation: FleetTerms,
    /// What may happen while nobody watches; nothing, unless said.
    #[serde(default, skip_serializing_if = "Standing::is_absent")]
    pub standing: Standing,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_leaving: None,
            max_age: 3_600,
            rotation: FleetTerms::default(),
            standing: Standing::default(),
        }
    }
}

/// One agent instance as it was declared.
#[derive(Clone, Debug)]
pub struct FleetAgent {
    /// The instance.
    pub instance: Instance,
    /// What was said of it as a whole.
    pub terms: AgentTerms,
    /// Its resources, as far as they were written down.
    pub resources: Vec<Declared>,
    /// What declares the others.
    pub(crate) maker: Option<Maker>,
    /// Where each key of the terms stands, when they were read from text.
    pub written: Written,
}

impl FleetAgent {
    /// All its resources.
    pub fn declared(&self) -> Vec<Cow<'_, Declared>> {
        let given = self.resources.iter().map(Cow::Borrowed);
        let maker = self.maker.as_ref();
        given.chain(maker.into_iter().flat_map(Maker::declared).map(Cow::Owned)).collect()
    }
}

/// Declares the resources of an agent from its inputs whenever they are asked
/// for. The inputs are a few values, and what they declare is many times that:
/// a large fleet is not held in memory twice.
#[derive(Clone)]
pub(crate) struct Maker(Arc<dyn Fn() -> Vec<Declared> + Send + Sync>);

impl Maker {
    fn new<I: AgentInputs + Send + Sync + 'static>(instance: Instance, inputs: I) -> Self {
        Self(Arc::new(move || {
            let mut cx = Declare::new(instance.clone());
            I::Agent::declare(&inputs, &mut cx);
            cx.into_resources()
        }))
    }

    fn declared(&self) -> Vec<Declared> {
        (self.0)()
    }
}

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.declared()).finish()
    }
}

/// A set of agents that are planned together.
///
/// ```
/// use agent_iac::{fleet::Fleet, provider::Reach};
///
/// let mut fleet = Fleet::new("billing");
/// fleet.provider("authority", Reach::Exclusive).store("vault");
/// let blueprint = fleet.blueprint("production")?;
/// assert_eq!(blueprint.agents().count(), 0);
/// # Ok::<(), agent_iac::diagnostic::Diagnostics>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fleet {
    pub(crate) name: String,
    pub(crate) agents: Vec<FleetAgent>,
    pub(crate) providers: BTreeMap<String, Reach>,
    pub(crate) stores: BTreeSet<String>,
    pub(crate) moved: BTreeMap<Address, Address>,
    pub(crate) removed: BTreeSet<Address>,
    pub(crate) imports: BTreeMap<Address, String>,
    pub(crate) rules: Rules,
    pub(crate) problems: Diagnostics,
    /// Where its own keys stand, when it was read from text.
    pub(crate) written: Written,
    /// What a text declares and could not be read: a reference to it leads
    /// somewhere all the same.
    pub(crate) unread: BTreeSet<Address>,
}

impl Fleet {
    /// A fleet without agents.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            agents: Vec::new(),
            providers: BTreeMap::new(),
            stores: BTreeSet::new(),
            moved: BTreeMap::new(),
            removed: BTreeSet::new(),
            imports: BTreeMap::new(),
            rules: Rules::default(),
            problems: Diagnostics::new(),
            written: Written::default(),
            unread: BTreeSet::new(),
        }
    }

    /// The fleet's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names a provider, and says how far enumeration reaches in its system.
    pub fn provider(&mut self, name: impl Into<String>, reach: Reach) -> &mut Self {
        self.providers.insert(name.into(), reach);
        self
    }

    /// Names a secret store.
    pub fn store(&mut self, name: impl Into<String>) -> &mut Self {
        self.stores.insert(name.into());
        self
    }

    /// Sets the guard rules.
    pub fn rules(&mut self, rules: Rules) -> &mut Self {
        self.rules = rules;
        self
    }

    /// Adds an instance of an agent.
    ///
    /// A malformed key is reported by [`Fleet::blueprint`] with everything
    /// else, so adding cannot fail. What the agent declares is asked for
    /// whenever the fleet is validated, and has to be the same each time.
    pub fn add<I: AgentInputs + Send + Sync + 'static>(&mut self, inputs: I) -> Handle<I::Agent> {
        let terms = <I::Agent as Agent>::TERMS;
        let instance = match Instance::keyed(&*terms.name, I::Agent::key(&inputs)) {
            Ok(instance) => instance,
            Err(error) => {
                let mut diagnostic = Diagnostic::error(Code::Name, error.message().to_owned())
                    .declared_at(&terms.source);
                diagnostic.help = error.repair().map(str::to_owned);
                self.problems.push(diagnostic);
                stand_in(&terms, &I::Agent::key(&inputs))
            }
        };
        self.agents.push(FleetAgent {
            instance: instance.clone(),
            terms,
            resources: Vec::new(),
            maker: Some(Maker::new(instance.clone(), inputs.clone())),
            written: Written::default(),
        });
        Handle::new(instance, inputs)
    }

    /// Says that a resource has another address now, so that it is not
    /// destroyed and made anew.
    pub fn moved(&mut self, from: Address, to: Address) -> &mut Self {
        self.moved.insert(from, to);
        self
    }

    /// Says that a resource is no longer managed and stays as it is.
    pub fn removed(&mut self, address: Address) -> &mut Self {
        self.removed.insert(address);
        self
    }

    /// Takes an existing object, by its id in its system, under management at
    /// a declared address. Adopting writes nothing to the system.
    pub fn import(&mut self, address: Address, id: impl Into<String>) -> &mut Self {
        self.imports.insert(address, id.into());
        self
    }
}

/// An instance to go on with after a malformed name was reported. It depends
/// on the inputs, so that two mistakes are not also reported as a duplicate.
fn stand_in(terms: &AgentTerms, key: &[String]) -> Instance {
    let text = format!("{} {key:?}", terms.name);
    let name = format!("invalid-{}", Digest::of_bytes(text.as_bytes()).short());
    Instance::new(name).expect("hexadecimal digits after a word are a name")
}
