//! Renewing credentials.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::Deployment;
use crate::{
    address::{Address, Instance},
    apply::{self, Authorised, Outcome, Report, RunContext, StepReport},
    blueprint::Blueprint,
    drift::{self, Around, Greeted},
    error::{Error, ErrorKind, Result},
    ledger::{Actor, Append, Authority, CredentialEvent, Entry, Query, RunPurpose, State},
    plan::{self, Action, Options, Plan},
    provider::AtOnce,
    rotation::{Asked, Phase, Terms, phase},
    schema::Kind,
};

/// What a rotation is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RotateRequest {
    /// The agents whose credentials are meant; all when empty.
    pub agents: BTreeSet<Instance>,
    /// What is due, or a new generation now.
    pub asked: Asked,
}

impl RotateRequest {
    /// What is due of all agents.
    pub fn due() -> Self {
        Self::default()
    }

    /// A new generation of each credential of these agents, or of all.
    pub fn now(agents: impl IntoIterator<Item = Instance>) -> Self {
        Self { agents: agents.into_iter().collect(), asked: Asked::Now }
    }
}

/// How often a compromised credential is looked at: an older generation may
/// have to make room, then the new one is made, and the compromised one ends.
const ROUNDS: usize = 4;

impl Deployment {
    /// Plans a rotation: new generations, and the end of older ones that have
    /// had their time. What it does stands in its steps as in any plan, so it
    /// is saved, acknowledged and applied as one ([`Deployment::apply`]).
    ///
    /// # Errors
    ///
    /// As [`Deployment::plan`].
    pub async fn plan_rotation(&self, request: &RotateRequest) -> Result<Plan> {
        let (blueprint, state) = self.desired_and_recorded().await?;
        let greeted = self.greet().await;
        Ok(self.rotation_on(&blueprint, &state, request, greeted).await)
    }

    /// Renews what is due and ends older generations that have had their time,
    /// on the authority of the fleet itself: it gives nobody anything new, and
    /// nothing back that somebody took away. What could not be done now stands
    /// in the report as skipped, with the reason.
    ///
    /// # Errors
    ///
    /// As [`Deployment::plan`], and when the run could not begin.
    pub async fn rotate(
        &self,
        agents: &BTreeSet<Instance>,
        context: &RunContext,
    ) -> Result<Report> {
        let blueprint = self.blueprint()?;
        self.rotate_under(&blueprint, agents, context).await
    }

    /// As [`Deployment::rotate`], with a fleet that was validated before. What
    /// is read does not depend on the size of the fleet.
    pub(crate) async fn rotate_under(
        &self,
        blueprint: &Blueprint,
        agents: &BTreeSet<Instance>,
        context: &RunContext,
    ) -> Result<Report> {
        // An identity may be another agent's.
        let needed = blueprint.with_needs(agents).into_iter().chain(agents).cloned();
        let needed: BTreeSet<Instance> = needed.collect();
        let (part, query) = if agents.is_empty() {
            (Cow::Borrowed(blueprint), Query::Everything)
        } else {
            let part = blueprint.part(&needed.iter().collect());
            (Cow::Owned(part), Query::Agents(needed.into_iter().collect()))
        };
        let (blueprint, mut state) = (&*part, self.ledger.state(&query).await?);
        self.check_ledger(&state).await?;
        let (heard, unheard) = self.listen(blueprint, &state, agents).await?;
        if heard {
            state = self.ledger.state(&query).await?;
        }
        let request = RotateRequest { agents: agents.clone(), asked: Asked::Due };
        let plan = self.rotation_on(blueprint, &state, &request, Greeted::default()).await;
        self.note_overdue(blueprint, &state, agents).await?;
        let authorised = Authorised {
            plan: &plan,
            authority: Authority::Standing { digest: blueprint.digest() },
            proposer: None,
            purpose: RunPurpose::Rotate,
            force: false,
        };
        let mut report = apply::run(&self.engine(), authorised, context).await?;
        report.unheard = unheard;
        // What a slow consumer holds up is the telling, and no rotation.
        if report.summary.done > 0 {
            state = self.ledger.state(&query).await?;
        }
        report.untold = self.tell(blueprint, &state, agents).await?;
        let blocked = plan.blocked.iter().map(|b| (&b.address, b.reason.clone()));
        let unread = plan.unread.iter().map(|(address, why)| {
            (address, why.iter().map(String::as_str).collect::<Vec<_>>().join("; "))
        });
        let doubts = plan.in_doubt.iter().map(|at| (at, "a step of it is in doubt".to_owned()));
        for (address, because) in blocked.chain(unread).chain(doubts) {
            report.push(StepReport {
                address: address.clone(),
                action: Action::Rotate,
                outcome: Outcome::Skipped { because },
            });
        }
        Ok(report)
    }

    /// Says that the present generation of each credential of these agents, or
    /// of all, is known to others, and every older one that still stands. It
    /// is recorded first: whatever comes next, each runner and each
    /// [`Deployment::rotate`] replaces and ends them at once, consumers or not.
    ///
    /// # Errors
    ///
    /// When there is no such credential, or the ledger cannot be written.
    pub async fn compromised(
        &self,
        agents: &BTreeSet<Instance>,
        reason: &str,
        actor: &Actor,
    ) -> Result<BTreeSet<Address>> {
        let state = self.state().await?;
        let mut found = BTreeSet::new();
        let mut entries = Vec::new();
        for (address, record) in &state.records {
            if !agents.is_empty() && !agents.contains(address.instance()) {
                continue;
            }
            let objects = record.object.iter().chain(&record.deposed);
            for object in objects.filter(|object| object.kind == Kind::Credential) {
                let Some(credential) = &object.credential else { continue };
                let event = CredentialEvent::Compromised {
                    actor: actor.clone(),
                    reason: reason.to_owned(),
                };
                entries.push(Entry::of(address, event).at_generation(credential.generation));
                found.insert(address.clone());
            }
        }
        if entries.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "no such agent has a credential")
                .help("`inventory` lists the agents"));
        }
        self.ledger.append(Append { entries, ..Append::default() }).await?;
        Ok(found)
    }

    /// Replaces what [`Deployment::compromised`] has marked and ends it, in as
    /// many runs as that takes: an older generation may have to make room
    /// before the new one is made. Whatever still lives in the end stands in
    /// the report as not done.
    ///
    /// # Errors
    ///
    /// As [`Deployment::rotate`].
    pub async fn replace_compromised(
        &self,
        agents: &BTreeSet<Instance>,
        context: &RunContext,
    ) -> Result<Report> {
        let mut all = Report::default();
        let mut not_done: BTreeMap<Address, StepReport> = BTreeMap::new();
        for _ in 0..ROUNDS {
            let report = self.rotate(agents, context).await?;
            let went_on = report.summary.done > 0;
            all.run = report.run.or(all.run);
            all.unfinished = report.unfinished.or(all.unfinished);
            (all.untold, all.unheard) = (report.untold, report.unheard);
            for step in report.steps {
                let address = step.address.clone();
                if step.outcome.is_done() {
                    not_done.remove(&address);
                    all.push(step);
                } else {
                    not_done.insert(address, step);
                }
            }
            if !went_on {
                break;
            }
        }
        let state = self.state().await?;
        for (address, record) in &state.records {
            let meant = agents.is_empty() || agents.contains(address.instance());
            let Some(rotation) = record.rotation.as_ref().filter(|_| meant) else { continue };
            let objects = record.object.iter().chain(&record.deposed);
            let lives: BTreeSet<u32> = objects
                .filter_map(|object| Some(object.credential.as_ref()?.generation))
                .filter(|generation| rotation.compromised.contains(generation))
                .collect();
            if let Some(generation) = lives.first() {
                let because = format!("generation {generation} is compromised, and not ended");
                not_done.entry(address.clone()).or_insert_with(|| StepReport {
                    address: address.clone(),
                    action: Action::Rotate,
                    outcome: Outcome::Skipped { because },
                });
            }
        }
        for step in not_done.into_values() {
            all.push(step);
        }
        Ok(all)
    }

    /// How far each credential of these agents is, or of all.
    ///
    /// # Errors
    ///
    /// When the fleet is invalid, or the ledger cannot be read.
    pub async fn phases(&self, agents: &BTreeSet<Instance>) -> Result<BTreeMap<Address, Phase>> {
        let (blueprint, state) = self.desired_and_recorded().await?;
        let now = self.clock.now();
        let of = |address: &Address| agents.is_empty() || agents.contains(address.instance());
        let phases = blueprint.resources().iter().filter(|(address, _)| of(address));
        let phases = phases.filter_map(|(address, desired)| {
            let at_once = self.at_once(&desired.provider, desired.resource_type.name);
            let terms = Terms::of(address, desired.credential.as_ref()?, at_once);
            Some((address.clone(), phase(state.records.get(address)?, &terms, now)))
        });
        Ok(phases.collect())
    }

    /// How many credentials of a type may be valid at once; two where nobody
    /// can be asked.
    pub(crate) fn at_once(&self, provider: &str, resource_type: &str) -> AtOnce {
        let observers = self.providers.get(provider).map(|provider| provider.observers());
        let observers = observers.and_then(Result::ok);
        let capabilities =
            observers.and_then(|observers| Some(observers.of(resource_type)?.capabilities()));
        capabilities.and_then(|c| c.credential).map_or(AtOnce::Two, |c| c.at_once)
    }

    async fn rotation_on<'a>(
        &'a self,
        blueprint: &Blueprint,
        state: &State,
        request: &RotateRequest,
        greeted: Greeted<'a>,
    ) -> Plan {
        let agents = &request.agents;
        // An identity may be another agent's.
        let closure = blueprint.with_needs(agents);
        let wanted = |instance: &Instance| {
            agents.is_empty() || agents.contains(instance) || closure.contains(instance)
        };
        let reader = self.reader(Around::Nothing);
        let observations = drift::refresh(&reader, blueprint, state, &wanted, greeted).await;
        let mut options = Options::new(self.clock.now());
        options.targets.clone_from(agents);
        plan::rotate(blueprint, state, &observations, &options, request.asked)
    }

    /// Records, once for each generation, that it is kept past its time.
    async fn note_overdue(
        &self,
        blueprint: &Blueprint,
        state: &State,
        agents: &BTreeSet<Instance>,
    ) -> Result<()> {
        let now = self.clock.now();
        let mut entries = Vec::new();
        for (address, desired) in blueprint.resources() {
            if !agents.is_empty() && !agents.contains(address.instance()) {
                continue;
            }
            let (Some(record), Some(credential)) =
                (state.records.get(address), &desired.credential)
            else {
                continue;
            };
            let Some(rotation) = record.rotation.as_ref().filter(|r| !r.overlap.is_empty()) else {
                continue;
            };
            let at_once = self.at_once(&desired.provider, desired.resource_type.name);
            let phase = phase(record, &Terms::of(address, credential, at_once), now);
            let Phase::Overdue { generations, waiting, .. } = phase else { continue };
            for generation in generations.difference(&rotation.overdue) {
                let event = CredentialEvent::Overdue { waiting: waiting.clone() };
                entries.push(Entry::of(address, event).at_generation(*generation));
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        self.ledger.append(Append { entries, ..Append::default() }).await.map(drop)
    }
}
