//! A fleet with its environment and the real systems behind its names: what
//! runs.
//!
//! Owns nothing but the wiring: it calls the refresh, the planner, the
//! executor and recovery in the right order, with the handles that each may
//! hold. It has no global state, prints nothing and needs no async runtime.

mod agents;
mod calendar;
#[cfg(all(feature = "sqlite", feature = "age", feature = "authority"))]
mod embedded;
#[cfg(all(feature = "process", unix))]
mod exec;
mod keeping;
mod parts;
mod rotation;
mod runner;
mod telling;
pub mod watch;

pub use keeping::{Archived, Rewound};
pub use rotation::RotateRequest;
pub use runner::{Runner, RunnerOptions, Tick};

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use futures_util::future::join;

use crate::{
    address::Instance,
    agent::{Agent, Handle, Live},
    apply::{self, Authorised, Engine, Report, RunContext},
    blueprint::Blueprint,
    clock::{Clock, Entropy, SystemClock},
    consumer::{Inbox, Tell},
    diagnostic::Diagnostics,
    drift::{self, Around, Greeted, Reader},
    error::{Error, ErrorKind, Result},
    fleet::Fleet,
    import::{self, Survey, SurveyRequest},
    ledger::{Append, Authority, Entry, Ledger, PlanEvent, Query, RunPurpose, State, look_up},
    plan::{Observations, Options, Plan, SavedPlan, plan},
    provider::{Provider, Requirement},
    vault::SecretStore,
};

/// A fleet with its real providers, secret stores, ledger, clock and entropy.
pub struct Deployment {
    fleet: Fleet,
    environment: String,
    providers: BTreeMap<String, Arc<dyn Provider>>,
    stores: BTreeMap<String, Arc<dyn SecretStore>>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// How many agents of a large fleet are looked at together.
    part_size: Option<usize>,
    teller: Option<Arc<dyn Tell>>,
    inbox: Option<Arc<dyn Inbox>>,
    #[cfg(all(feature = "process", unix))]
    confirm: Option<Arc<dyn crate::consumer::Confirm>>,
}

/// What a plan is asked for.
#[derive(Clone, Debug, Default)]
pub struct PlanRequest {
    /// The agents to plan for, with what they depend on; all when empty.
    pub targets: BTreeSet<Instance>,
    /// Raises the fleet's cap on how many agents may begin to leave.
    pub max_leaving: Option<u32>,
}

impl Deployment {
    /// Puts a ledger and a source of randomness behind a fleet. The clock is
    /// the operating system's, unless [`Deployment::clock`] gives another.
    pub fn new(
        fleet: Fleet,
        environment: impl Into<String>,
        ledger: Arc<dyn Ledger>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            fleet,
            environment: environment.into(),
            providers: BTreeMap::new(),
            stores: BTreeMap::new(),
            ledger,
            clock: Arc::new(SystemClock),
            entropy,
            part_size: None,
            teller: None,
            inbox: None,
            #[cfg(all(feature = "process", unix))]
            confirm: None,
        }
    }

    /// Puts a real system behind a provider's name.
    #[must_use]
    pub fn with_provider(mut self, name: impl Into<String>, provider: Arc<dyn Provider>) -> Self {
        self.providers.insert(name.into(), provider);
        self
    }

    /// Puts a real secret store behind a store's name.
    #[must_use]
    pub fn with_store(mut self, name: impl Into<String>, store: Arc<dyn SecretStore>) -> Self {
        self.stores.insert(name.into(), store);
        self
    }

    /// Says who tells consumers of a new generation, and with that what may
    /// happen on this host for their sake. Without, only those learn of it who
    /// look at the secret store by themselves.
    #[must_use]
    pub fn with_teller(mut self, teller: Arc<dyn Tell>) -> Self {
        self.teller = Some(teller);
        self
    }

    /// Says where consumers confirm.
    #[must_use]
    pub fn with_inbox(mut self, inbox: Arc<dyn Inbox>) -> Self {
        self.inbox = Some(inbox);
        self
    }

    /// Takes the time from another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Looks at so many agents together where a fleet is more than twice as
    /// large; 500 unless said. Fewer need less memory, and more need fewer
    /// calls of each system.
    #[must_use]
    pub fn with_agents_at_once(mut self, agents: usize) -> Self {
        self.part_size = Some(agents.max(1));
        self
    }

    /// The same systems with another version of the fleet.
    #[must_use]
    pub fn with_fleet(self, fleet: Fleet) -> Self {
        Self { fleet, ..self }
    }

    /// The fleet.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The environment.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The ledger.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Who tells consumers.
    pub fn teller(&self) -> Option<&Arc<dyn Tell>> {
        self.teller.as_ref()
    }

    /// Where consumers confirm.
    pub fn inbox(&self) -> Option<&Arc<dyn Inbox>> {
        self.inbox.as_ref()
    }

    /// Whether consumers are told anything, or can confirm.
    fn listens(&self) -> bool {
        self.teller.is_some() || self.inbox.is_some()
    }

    /// The secret stores, by name.
    pub fn stores(&self) -> &BTreeMap<String, Arc<dyn SecretStore>> {
        &self.stores
    }

    /// Validates the fleet. Nothing is contacted.
    ///
    /// # Errors
    ///
    /// Every mistake of the fleet.
    pub fn blueprint(&self) -> Result<Blueprint, Diagnostics> {
        self.fleet.blueprint(&self.environment)
    }

    /// What each provider of a fleet says that its principals need in its
    /// system, by the provider's name. Nothing is contacted.
    pub fn requires(&self, blueprint: &Blueprint) -> BTreeMap<String, Vec<Requirement>> {
        let named = |(name, _): &(&String, _)| blueprint.providers().contains_key(*name);
        self.providers
            .iter()
            .filter(named)
            .map(|(name, provider)| (name.clone(), provider.requires(name, blueprint)))
            .collect()
    }

    /// What is recorded now.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be read, is of another fleet or environment, or
    /// is older than its pin.
    pub async fn state(&self) -> Result<State> {
        let state = self.ledger.state(&Query::Everything).await?;
        self.check_ledger(&state).await?;
        Ok(state)
    }

    /// Refuses a ledger that is not the one that it should be, without reading
    /// what it records.
    async fn identify(&self) -> Result<()> {
        let state = self.ledger.state(&Query::Agents(Vec::new())).await?;
        self.check_ledger(&state).await
    }

    /// Makes a plan. It reads, and cannot write: it holds no handle that could.
    ///
    /// # Errors
    ///
    /// When the fleet is invalid, what it declares about rotations cannot be
    /// kept within a year, or the ledger cannot be read or is not the one that
    /// it should be. What cannot be read of the real systems stands in the plan.
    pub async fn plan(&self, request: &PlanRequest) -> Result<Plan> {
        let mut greeted = self.greet().await;
        if request.targets.is_empty() && !self.is_worth_parts() {
            let (blueprint, state) = self.desired_and_recorded().await?;
            self.check_calendar(&blueprint, Some(&state))?;
            return Ok(self.plan_on(&blueprint, &state, request, true, greeted).await);
        }
        let blueprint = self.blueprint()?;
        self.check_calendar(&blueprint, None)?;
        self.plan_greeted(&blueprint, request, &mut greeted).await
    }

    /// As [`Deployment::plan`], for a program that has validated the fleet and
    /// looked at its [calendar](Self::calendar) already: a plan of a few agents
    /// costs as much as those few then, however large the fleet is.
    ///
    /// # Errors
    ///
    /// As [`Deployment::plan`], and [`ErrorKind::Foreign`] when the blueprint is
    /// of another fleet or environment.
    pub async fn plan_validated(
        &self,
        blueprint: &Blueprint,
        request: &PlanRequest,
    ) -> Result<Plan> {
        if blueprint.fleet() != self.fleet.name() || blueprint.environment() != self.environment {
            return Err(self.foreign_to_us(
                "the blueprint",
                blueprint.fleet(),
                blueprint.environment(),
                "validate it where it is planned",
            ));
        }
        let mut greeted = self.greet().await;
        self.plan_greeted(blueprint, request, &mut greeted).await
    }

    async fn plan_greeted<'a>(
        &'a self,
        blueprint: &Blueprint,
        request: &PlanRequest,
        greeted: &mut Greeted<'a>,
    ) -> Result<Plan> {
        if let Some(plan) = self.plan_in_parts(blueprint, request, greeted).await? {
            return Ok(plan);
        }
        let state = self.state().await?;
        Ok(self.plan_on(blueprint, &state, request, true, std::mem::take(greeted)).await)
    }

    /// Makes a plan only to look at it, as for drift: what is wrong with next
    /// month must not hide what is wrong now.
    ///
    /// # Errors
    ///
    /// As [`Deployment::plan`], but for what the calendar shows.
    pub async fn compare(&self, request: &PlanRequest) -> Result<Plan> {
        let greeted = self.greet().await;
        let (blueprint, state) = self.desired_and_recorded().await?;
        Ok(self.plan_on(&blueprint, &state, request, true, greeted).await)
    }

    /// The refusal of something that was made for another deployment.
    fn foreign_to_us(&self, what: &str, fleet: &str, environment: &str, repair: &str) -> Error {
        Error::new(
            ErrorKind::Foreign,
            format!(
                "{what} is for the fleet `{fleet}` in `{environment}`, and this is `{}` in `{}`",
                self.fleet.name(),
                self.environment
            ),
        )
        .help(repair)
    }

    /// Looks at what stands in a system and is nobody's yet, so that a fleet
    /// can be written that adopts it (see [`import`]). It reads
    /// through handles that can only observe, and asks for no secret.
    ///
    /// # Errors
    ///
    /// When there is no such provider, its identities cannot be listed, or the
    /// ledger cannot be read or is not the one that it should be. Another type
    /// that cannot be listed stands in the survey.
    pub async fn survey(&self, request: &SurveyRequest) -> Result<Survey> {
        let (name, provider) = import::chosen(&self.providers, request.provider.as_deref())?;
        let state = self.state().await?;
        let mine = import::Mine::of(name, &self.fleet, &state);
        let system = import::System { name, provider, only: &request.only, at: self.clock.now() };
        import::survey(system, &self.fleet, &self.environment, mine).await
    }

    /// Begins to ask the systems that the fleet names who they are, while its
    /// declarations are validated.
    async fn greet(&self) -> Greeted<'_> {
        let named = &self.fleet.providers;
        Greeted::begin(self.providers.iter().filter(|(name, _)| named.contains_key(*name))).await
    }

    /// Validates the fleet while the ledger is being read. A mistake of the
    /// fleet is told first.
    async fn desired_and_recorded(&self) -> Result<(Blueprint, State)> {
        let (state, blueprint) = join(self.state(), async { self.blueprint() }).await;
        Ok((blueprint?, state?))
    }

    /// Plans on what is desired and recorded: `whole`, or of a part that does
    /// not show what is nobody's.
    async fn plan_on<'a>(
        &'a self,
        blueprint: &Blueprint,
        state: &State,
        request: &PlanRequest,
        whole: bool,
        greeted: Greeted<'a>,
    ) -> Plan {
        let targets = &request.targets;
        let wanted = |instance: &Instance| targets.is_empty() || targets.contains(instance);
        let closure = blueprint.with_needs(targets);
        let wanted_or_needed = |instance: &Instance| wanted(instance) || closure.contains(instance);
        let observations =
            self.refresh((blueprint, state), &wanted_or_needed, whole, greeted).await;
        let mut options = Options::new(self.clock.now());
        options.targets.clone_from(targets);
        options.max_leaving = request.max_leaving;
        plan(blueprint, state, &observations, &options)
    }

    async fn refresh<'a>(
        &'a self,
        (blueprint, state): (&Blueprint, &State),
        wanted: &(dyn Fn(&Instance) -> bool + Sync),
        whole: bool,
        greeted: Greeted<'a>,
    ) -> Observations {
        let reader = self.reader(if whole { Around::Everything } else { Around::Ours });
        drift::refresh(&reader, blueprint, state, wanted, greeted).await
    }

    fn reader(&self, around: Around) -> Reader<'_> {
        Reader { providers: &self.providers, stores: &self.stores, clock: &self.clock, around }
    }

    /// Settles what runs that died left in doubt.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be read or written. What could not be settled
    /// stands in the report.
    pub async fn recover(&self, context: &RunContext) -> Result<Report> {
        self.identify().await?;
        apply::recover(&self.engine(), context).await
    }

    /// Applies a plan that `context` acknowledges by its digest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] when the digest is not the plan's,
    /// [`ErrorKind::StalePlan`] when what it rests on has moved or is too old,
    /// [`ErrorKind::Foreign`] when it is another fleet's, and
    /// [`ErrorKind::LeaseHeld`] when another run is at work on its agents.
    /// What fails later stands in the report.
    pub async fn apply(&self, saved: &SavedPlan, context: &RunContext) -> Result<Report> {
        let plan = saved.plan();
        if let Err(error) = self.check_plan(saved, context).await {
            if error.kind() == ErrorKind::StalePlan || error.kind() == ErrorKind::Foreign {
                self.record_refusal(saved, context, &error).await?;
            }
            return Err(error);
        }
        let authority =
            Authority::Acknowledged { digest: saved.digest(), actor: context.actor.clone() };
        let proposer = saved.proposer().cloned();
        let authorised =
            Authorised { plan, authority, proposer, purpose: RunPurpose::Apply, force: false };
        apply::run(&self.engine(), authorised, context).await
    }

    async fn check_plan(&self, saved: &SavedPlan, context: &RunContext) -> Result<()> {
        let plan = saved.plan();
        if context.acknowledged != Some(saved.digest()) {
            let given = context.acknowledged.map_or("no digest".into(), |d| d.to_string());
            return Err(Error::new(
                ErrorKind::Refused,
                format!("the plan's digest is {}, and {given} was acknowledged", saved.digest()),
            )
            .help("read the plan, and give its digest"));
        }
        if plan.fleet != self.fleet.name() || plan.environment != self.environment {
            let repair = "apply it where it was made";
            return Err(self.foreign_to_us("the plan", &plan.fleet, &plan.environment, repair));
        }
        self.identify().await?;
        let age = self.clock.now().duration_since(plan.observed_at).as_secs();
        if age.unsigned_abs() > plan.rules.max_age {
            return Err(apply::stale(format!(
                "what the plan rests on was read {} seconds ago, and may be {} old",
                age, plan.rules.max_age
            )));
        }
        if let Some(step) = plan.steps.iter().find(|s| !plan.targets.contains_key(&s.provider)) {
            return Err(apply::stale(format!(
                "the plan does not say which system the provider `{}` was",
                step.provider
            )));
        }
        for (name, target) in &plan.targets {
            let Some(provider) = self.providers.get(name) else {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("the deployment has no provider named `{name}`"),
                )
                .help("give the deployment the provider under this name"));
            };
            let now = provider.target().await?;
            if now != *target {
                return Err(apply::stale(format!(
                    "the provider `{name}` is {now}, and the plan was made for {target}"
                )));
            }
        }
        Ok(())
    }

    async fn record_refusal(
        &self,
        saved: &SavedPlan,
        context: &RunContext,
        error: &Error,
    ) -> Result<()> {
        let refused = PlanEvent::Refused {
            digest: saved.digest(),
            actor: context.actor.clone(),
            reason: error.to_string(),
        };
        let append = Append { entries: vec![Entry::new(refused)], ..Append::default() };
        self.ledger.append(append).await.map(|_| ())
    }

    /// Takes drift back that widens access, of resources that are declared so,
    /// while nobody watches. Everything else stays for a plan.
    ///
    /// # Errors
    ///
    /// As [`Deployment::plan`], and when the run could not begin.
    pub async fn revert_drift(&self, context: &RunContext) -> Result<Report> {
        let greeted = self.greet().await;
        let (blueprint, state) = self.desired_and_recorded().await?;
        let request = PlanRequest::default();
        let whole = self.plan_on(&blueprint, &state, &request, true, greeted).await;
        let plan = drift::narrowing_only(&whole, &blueprint);
        let authorised = Authorised {
            plan: &plan,
            authority: Authority::Standing { digest: blueprint.digest() },
            proposer: None,
            purpose: RunPurpose::Revert,
            force: false,
        };
        apply::run(&self.engine(), authorised, context).await
    }

    /// The live, typed form of an agent: its struct, filled with what exists.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be read, or a resource does not exist.
    pub async fn agent<A: Agent>(&self, handle: &Handle<A>) -> Result<A>
    where
        A::Inputs: Sync,
        A::References: Sync,
    {
        let query = Query::Agents(vec![handle.instance().clone()]);
        let state = self.ledger.state(&query).await?;
        let mut values = BTreeMap::new();
        for (address, record) in &state.records {
            if address.instance() == handle.instance()
                && let Some(object) = &record.object
            {
                let mut all = object.properties.clone();
                all.extend(object.outputs.clone());
                values.insert(address.resource().to_owned(), all);
            }
        }
        A::from_live(handle.inputs().clone(), &Live::new(handle.instance(), values))
    }

    /// The handles that write; opened by what applies, and by nothing else.
    fn engine(&self) -> Engine {
        Engine::new(
            (self.fleet.name(), &self.environment),
            Arc::clone(&self.ledger),
            (Arc::clone(&self.clock), Arc::clone(&self.entropy)),
            &self.providers,
            self.stores.clone(),
        )
    }

    /// Refuses a ledger of another fleet or environment.
    fn check_fleet(&self, state: &State) -> Result<()> {
        let nothing = state.ledger.is_empty();
        if nothing || (state.fleet == self.fleet.name() && state.environment == self.environment) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Foreign,
            format!(
                "{} is of the fleet `{}` in `{}`, and this is `{}` in `{}`",
                self.ledger.description(),
                state.fleet,
                state.environment,
                self.fleet.name(),
                self.environment
            ),
        )
        .help("open this fleet's own ledger"))
    }

    /// Refuses a ledger of another fleet or environment, and one that does not
    /// hold what was pinned.
    async fn check_ledger(&self, state: &State) -> Result<()> {
        if state.ledger.is_empty() {
            return Ok(());
        }
        self.check_fleet(state)?;
        for (name, store) in &self.stores {
            let Some(pin) = store.labels()?.pin(&state.ledger).await? else { continue };
            let found = look_up(&*self.ledger, state, pin.head).await?;
            if let Some(problem) = found.problem(state, pin.head) {
                return Err(Error::new(
                    ErrorKind::Damaged,
                    format!(
                        "{} does not follow the pin in `{name}`: {problem}",
                        self.ledger.description(),
                    ),
                )
                .help(
                    "restore the newest copy of the ledger; where there is none that is newer, \
                     `ledger rewind` says who answers for what is lost",
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment")
            .field("fleet", &self.fleet.name())
            .field("environment", &self.environment)
            .field("providers", &self.providers.keys())
            .field("stores", &self.stores.keys())
            .finish_non_exhaustive()
    }
}
