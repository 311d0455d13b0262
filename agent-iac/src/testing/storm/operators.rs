//! Operators: the processes that a storm's events start, each with clocks,
//! leases and a version of the code of its own.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::{
    super::world::{self as sim, SimClock, Violation, World},
    code::{Code, instance},
    events::{Deed, Drift},
    observer::{Book, Orders},
    weather::Storms,
};
use crate::{
    address::Instance,
    apply::{Outcome, Report, RunContext},
    clock::Clock,
    deployment::{Deployment, PlanRequest, RotateRequest, Runner, RunnerOptions},
    error::{Error, ErrorKind, Result},
    ledger::{Actor, Append, CredentialEvent, Entry, Ledger},
    plan::{Plan, SavedPlan},
    provider::Mark,
    vault::SecretStore,
};

/// What all processes of a storm share.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) store: Arc<dyn SecretStore>,
    pub(super) book: Arc<Book>,
    pub(super) weather: Arc<Storms>,
    pub(super) code: Mutex<Code>,
    /// The account that was made by hand before everything.
    pub(super) by_hand: String,
    /// Accounts that a hand made under a name of the code's.
    pub(super) squatters: Mutex<Vec<String>>,
    /// By how much each operator's clock is wrong.
    pub(super) skews: Vec<SignedDuration>,
}

/// A clock that is wrong by as much all the time (L6).
#[derive(Debug)]
struct Skewed(SimClock, SignedDuration);

#[async_trait]
impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.0.now().saturating_add(self.1).unwrap_or(Timestamp::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        self.0.wait(duration).await;
    }
}

impl Scene {
    /// The code as it is now.
    pub(super) fn code(&self) -> Code {
        self.code.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a process of an operator works with.
    fn deployment(&self, operator: usize, code: &Code) -> Deployment {
        let skew = self.skews.get(operator).copied().unwrap_or_default();
        let clock = Skewed(SimClock::clone(&self.world.clock()), skew);
        Deployment::new(code.fleet(), "test", Arc::clone(&self.ledger), self.world.entropy())
            .with_clock(Arc::new(clock))
            .with_provider("sim", Arc::new(self.world.provider("sim")))
            .with_store("vault", Arc::clone(&self.store))
    }
}

/// One process.
pub(super) struct Process {
    scene: Arc<Scene>,
    operator: usize,
    name: String,
    context: RunContext,
    code: Code,
    deployment: Deployment,
}

impl Process {
    /// Starts a process of this name.
    pub(super) fn start(scene: &Arc<Scene>, operator: usize, name: String, code: Code) -> Self {
        let deployment = scene.deployment(operator, &code);
        let mut context = RunContext::new(actor(operator));
        context.holder.clone_from(&name);
        context.revision = Some(name.clone());
        context.parallel = 1 + scene.weather.below(8);
        let watching = Arc::clone(scene);
        context.watch = Arc::new(move |progress| {
            watching.keeps_secrets(&format!("{progress:?}"), "what is told of a run");
        });
        Self { scene: Arc::clone(scene), operator, name, context, code, deployment }
    }

    fn ordered(&self, scope: Option<BTreeSet<Instance>>, cap: Option<u32>) {
        // The planner's own rule, said once more.
        let cap = cap.or(self.code.cap).unwrap_or(3);
        self.scene.book.ordered(&self.name, Orders { scope, cap }, &self.code);
    }

    /// Does what an event says. Errors are part of the weather; what none may
    /// say is noted.
    pub(super) async fn play(self, deed: Deed) {
        let outcome = self.attempt(&deed).await;
        if let Err(error) = outcome {
            self.scene.weather.trace(|| format!("{}: {}", self.name, error.chain()));
            self.judge(&error);
        }
    }

    fn judge(&self, error: &Error) {
        self.scene.keeps_secrets(&format!("{error:?}"), "an error");
        if matches!(error.kind(), ErrorKind::Bug | ErrorKind::Damaged | ErrorKind::InvalidInput) {
            let what = format!("a process says of itself: {}", error.chain());
            self.scene.world.accuse(vec![Violation::new("I4", what)], &self.name);
        }
    }

    async fn attempt(&self, deed: &Deed) -> Result<()> {
        self.ordered(None, None);
        match deed {
            Deed::Change(_) | Deed::Apply | Deed::Emptied => {
                for _ in 0..2 {
                    if self.round(&PlanRequest::default(), Duration::ZERO).await?.is_empty() {
                        break;
                    }
                }
                Ok(())
            }
            Deed::ApplyTo(agent) => {
                let targets = BTreeSet::from([instance(agent)]);
                self.ordered(Some(targets.clone()), None);
                let request = PlanRequest { targets, max_leaving: None };
                self.round(&request, Duration::ZERO).await.map(drop)
            }
            Deed::ApplyLate(after) => self.round(&PlanRequest::default(), *after).await.map(drop),
            Deed::Revert => {
                let report = self.deployment.revert_drift(&self.context).await?;
                self.reported(&report);
                Ok(())
            }
            Deed::Kill(agent) => self.kill(agent).await,
            Deed::Resume(agent) => {
                self.deployment.resume(&instance(agent), &self.context.actor).await?;
                self.round(&PlanRequest::default(), Duration::ZERO).await.map(drop)
            }
            Deed::Hold(agent, hours) => {
                let until = self.deployment.clock().now();
                let until = until
                    .saturating_add(SignedDuration::from_hours(i64::from(*hours)))
                    .unwrap_or(Timestamp::MAX);
                let agent = instance(agent);
                self.deployment.hold(&agent, "an incident", until, &self.context.actor).await
            }
            Deed::Release(agent) => {
                self.deployment.release(&instance(agent), &self.context.actor).await
            }
            Deed::Watch(length) => self.watch(*length).await,
            Deed::Renew(agent) => {
                let agent = instance(agent);
                self.ordered(Some(BTreeSet::from([agent.clone()])), None);
                let request = RotateRequest::now([agent]);
                let plan = self.deployment.plan_rotation(&request).await?;
                let saved = SavedPlan::new(plan)?;
                let context = self.context.clone().acknowledging(saved.digest());
                let report = self.deployment.apply(&saved, &context).await?;
                self.reported(&report);
                Ok(())
            }
            Deed::Compromise(agent) => {
                let agents = BTreeSet::from([instance(agent)]);
                let actor = &self.context.actor;
                self.deployment.compromised(&agents, "an incident", actor).await?;
                for _ in 0..3 {
                    let report = self.deployment.rotate(&agents, &self.context).await?;
                    self.reported(&report);
                }
                Ok(())
            }
            Deed::Confirm(agent) => self.confirm(&instance(agent)).await,
            Deed::Drift(..) | Deed::Turn(_) => Ok(()),
            Deed::Wait(length) => {
                self.deployment.clock().sleep(*length).await;
                self.round(&PlanRequest::default(), Duration::ZERO).await.map(drop)
            }
        }
    }

    /// Runs a runner, which must not be busy without getting anywhere.
    async fn watch(&self, length: Duration) -> Result<()> {
        let clock = self.deployment.clock();
        let deployment = Arc::new(self.scene.deployment(self.operator, &self.code));
        let options = RunnerOptions { agents: 2, ..RunnerOptions::default() };
        let Ok(mut runner) = Runner::new(deployment, self.context.clone(), options) else {
            return Ok(());
        };
        let hours = length.as_secs() / 3_600 + 1;
        let mut idle = 0;
        let begun = self.scene.world.clock().elapsed();
        while self.scene.world.clock().elapsed() < begun + length {
            let ticked = runner.tick().await;
            let next = match ticked {
                Ok(tick) => {
                    self.reported(&tick.settled);
                    tick.rotated.iter().for_each(|report| self.reported(report));
                    for (_, error) in &tick.refused {
                        self.judge(error);
                    }
                    let done = tick.rotated.iter().any(|report| report.summary.done > 0);
                    idle += u64::from(!done && !tick.contended);
                    tick.next.filter(|_| !tick.contended)
                }
                Err(error) => {
                    self.judge(&error);
                    None
                }
            };
            if idle > 40 * hours {
                let what = format!("{idle} ticks in {hours} hours got nowhere");
                self.scene.world.accuse(vec![Violation::new("I12", what)], &self.name);
                break;
            }
            let pause = next.map_or(Duration::from_mins(5), |next| {
                let until = next.duration_since(clock.now());
                if until.is_negative() { Duration::ZERO } else { until.unsigned_abs() }
            });
            clock.sleep(pause.clamp(Duration::from_secs(1), Duration::from_mins(30))).await;
        }
        Ok(())
    }

    /// Records what a consumer of an agent's token confirms.
    async fn confirm(&self, agent: &Instance) -> Result<()> {
        let state = self.deployment.state().await?;
        let entries: Vec<Entry> = state
            .records
            .iter()
            .filter(|(address, _)| address.instance() == agent)
            .filter_map(|(address, record)| {
                let credential = record.object.as_ref()?.credential.as_ref()?;
                let event = CredentialEvent::Confirmed { consumer: "inbox".into() };
                Some(Entry::of(address, event).at_generation(credential.generation))
            })
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        self.deployment.ledger().append(Append { entries, ..Append::default() }).await.map(drop)
    }

    async fn kill(&self, agent: &str) -> Result<()> {
        let since = self.scene.world.clock().now();
        let agent = instance(agent);
        let report = self.deployment.kill(&agent, "an incident", &self.context).await?;
        self.reported(&report);
        let all = report.steps.iter().all(|step| step.outcome.is_done());
        if all && report.unfinished.is_none() {
            let alive = self.scene.book.outlives_a_kill(&agent, since);
            self.scene.world.accuse(alive, &self.name);
        }
        Ok(())
    }

    /// Settles what is in doubt, plans, waits, and applies; gives the plan.
    async fn round(&self, request: &PlanRequest, lying: Duration) -> Result<Plan> {
        let settled = self.deployment.recover(&self.context).await?;
        self.reported(&settled);
        let plan = self.deployment.plan(request).await?;
        let saved = SavedPlan::new(plan.clone())?;
        self.scene.keeps_secrets(&format!("{plan:?}"), "a plan");
        if !lying.is_zero() {
            self.deployment.clock().sleep(lying).await;
        }
        let context = self.context.clone().acknowledging(saved.digest());
        let report = self.deployment.apply(&saved, &context).await?;
        self.reported(&report);
        Ok(plan)
    }

    fn reported(&self, report: &Report) {
        self.scene.keeps_secrets(&format!("{report:?}"), "a report");
        self.scene.weather.trace(|| format!("{}: {:?}", self.name, report.summary));
        for step in &report.steps {
            if let Outcome::Failed(error) | Outcome::InDoubt(error) = &step.outcome {
                self.scene.weather.trace(|| format!("{}: {}", step.address, error.chain()));
                self.judge(error);
            }
        }
    }

    /// One round of the calm after the storm; whether nothing is left to do.
    ///
    /// # Errors
    ///
    /// What no weather explains any more.
    pub(super) async fn settle(&self) -> Result<bool> {
        let cap = Some(u32::MAX);
        self.ordered(None, cap);
        let request = PlanRequest { targets: BTreeSet::new(), max_leaving: cap };
        let plan = self.round(&request, Duration::ZERO).await?;
        let stuck = plan.blocked.len() + plan.unread.len() + plan.in_doubt.len();
        self.scene.weather.trace(|| {
            format!(
                "blocked {:?}, unread {:?}, doubts {:?}",
                plan.blocked, plan.unread, plan.in_doubt
            )
        });
        // Whoever is in their grace leaves with a later plan, and so does an old
        // generation in its overlap, once its consumers have confirmed: what
        // was settled just now may have made the one that they move to.
        let state = self.deployment.state().await?;
        for agent in state.agents.keys() {
            self.confirm(agent).await?;
        }
        let stays = state.agents.values().all(|agent| agent.leaving.is_none());
        let overlaps = state.records.values().any(|record| !record.deposed.is_empty());
        Ok(plan.is_empty() && stuck == 0 && stays && !overlaps)
    }

    /// Lets a runner work for so many hours in which nothing goes wrong, beside
    /// consumers who confirm.
    pub(super) async fn keep_time(&self, hours: u32) -> Result<()> {
        self.ordered(None, None);
        for _ in 0..hours {
            self.free_all().await?;
            self.watch(Duration::from_hours(1)).await?;
        }
        Ok(())
    }

    /// Undoes what operators did on purpose: stops and holds.
    pub(super) async fn free_all(&self) -> Result<()> {
        let state = self.deployment.state().await?;
        for (agent, record) in &state.agents {
            self.confirm(agent).await?;
            if record.hold.is_some() {
                self.deployment.release(agent, &self.context.actor).await?;
            }
            if record.leaving.is_some_and(|leaving| leaving.cause == crate::ledger::Cause::Killed) {
                self.deployment.resume(agent, &self.context.actor).await?;
            }
        }
        Ok(())
    }
}

fn actor(operator: usize) -> Actor {
    Actor::asserted("storm", format!("operator {operator}"))
}

impl Scene {
    /// Notes a secret that stands where none may (I10).
    fn keeps_secrets(&self, text: &str, place: &str) {
        if self.world.tells_a_secret(text) {
            let what = format!("a secret stands in {place}");
            self.world.accuse(vec![Violation::new("I10", what)], place);
        }
    }

    /// Changes the system behind the engine's back. What the system refuses
    /// does not happen.
    pub(super) fn drift(&self, drift: Drift, pick: u64) {
        let provider = self.world.provider("sim");
        let hand = provider.hand();
        let one = |ty: &str| {
            let mut objects = provider.objects(ty);
            // The account that the code adopts by its id has to stay.
            objects.retain(|object| object.id != self.by_hand);
            let at = usize::try_from(pick % objects.len().max(1) as u64).unwrap_or(0);
            (!objects.is_empty()).then(|| objects.swap_remove(at).id)
        };
        let with = |ty: &str, act: &dyn Fn(&str) -> Result<()>| one(ty).map(|id| act(&id));
        let _refused = match drift {
            Drift::Widen => with("sim.grant", &|id| hand.widen(id, "delete")),
            Drift::Narrow => with("sim.grant", &|id| hand.narrow(id, "read")),
            Drift::PlantGrant => {
                with("sim.account", &|id| hand.grant(id, "secrets", &["read"]).map(drop))
            }
            Drift::PlantKey => with("sim.account", &|id| hand.key(id).map(drop)),
            Drift::DropGrant => with("sim.grant", &|id| hand.delete::<sim::Grant>(id)),
            Drift::DropKey => with("sim.key", &|id| hand.delete::<sim::Key>(id)),
            Drift::DropToken => with("sim.token", &|id| hand.delete::<sim::Token>(id)),
            Drift::DropAccount => with("sim.account", &|id| hand.delete::<sim::Account>(id)),
            Drift::Suspend => with("sim.account", &|id| hand.suspend(id)),
            Drift::Resume => with("sim.account", &|id| hand.resume(id)),
            Drift::Note => {
                with("sim.account", &|id| hand.set::<sim::Account>(id, "note", "by hand"))
            }
            Drift::Squat(foreign) => {
                let mark = foreign.then(|| Mark {
                    fleet: "another".into(),
                    environment: "test".into(),
                    address: "reader[\"c\"].account".parse().expect("an address"),
                });
                let made = hand.account("reader-c", mark);
                made.ok().map(|id| {
                    self.squatters.lock().unwrap_or_else(PoisonError::into_inner).push(id);
                    Ok(())
                })
            }
        };
    }
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("world", &self.world).finish_non_exhaustive()
    }
}
