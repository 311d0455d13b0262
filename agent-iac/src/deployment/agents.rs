//! Stopping, holding and releasing single agents.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Deployment, PlanRequest};
use crate::{
    access::Verdict,
    address::Instance,
    apply::{self, Authorised, Engine, Report, RunContext},
    blueprint::Blueprint,
    bugs::bug,
    drift::Greeted,
    error::{Error, ErrorKind, Result},
    ledger::{
        Actor, AgentEvent, AgentRecord, Append, Authority, Cause, Entry, Query, RunEvent, RunId,
        RunPurpose, Summary, Take,
    },
    plan::{AgentChange, Blocked, Plan, Step},
    schema::Kind,
};

/// A plan without the removals that give access to others: what hardens a
/// system for everybody is no access of the agent that is stopped, and goes
/// with a plan that somebody reads.
fn without_widening(plan: Plan) -> Plan {
    let widens =
        |step: &Step| step.kind == Kind::Permission && step.access.verdict() == Verdict::Widens;
    let (stays, steps): (Vec<_>, Vec<_>) =
        plan.steps.into_iter().enumerate().partition(|(_, step)| widens(step));
    let position: BTreeMap<usize, usize> =
        steps.iter().enumerate().map(|(new, (old, _))| (*old, new)).collect();
    let steps = steps.into_iter().map(|(_, step)| {
        let after = step.after.iter().filter_map(|before| position.get(before).copied()).collect();
        Step { after, ..step }
    });
    let steps = steps.collect();
    let mut blocked = plan.blocked;
    blocked.extend(stays.iter().map(|(_, step)| Blocked {
        address: step.address.clone(),
        reason: "its removal gives access to others, so it stays for a plan".into(),
        repair: "plan, and acknowledge what it says".into(),
    }));
    let mut agents = plan.agents;
    agents.retain(|agent| {
        let keeps = stays.iter().any(|(_, step)| *step.address.instance() == agent.instance);
        !(keeps && matches!(agent.change, AgentChange::Ends { .. }))
    });
    Plan { agents, steps, blocked, ..plan }
}

impl Deployment {
    /// Stops an agent at once: suspends its identities, revokes its
    /// credentials and takes its permissions away, whatever the code says. It
    /// stays stopped until [`Deployment::resume`].
    ///
    /// It needs no valid fleet, takes the agent's lease by force, contains
    /// what it can reach, and reports what it could not; the next run goes on
    /// with that.
    ///
    /// # Errors
    ///
    /// When no such agent is recorded, or the ledger cannot be written.
    pub async fn kill(
        &self,
        instance: &Instance,
        reason: &str,
        context: &RunContext,
    ) -> Result<Report> {
        let agent = self.known(instance).await?;
        let mut entries = Vec::new();
        if agent.hold.is_some() {
            // A hold keeps the engine's hands off, and this hand is wanted.
            entries.push(Entry::about(
                instance,
                AgentEvent::Released { actor: context.actor.clone() },
            ));
        }
        entries.push(Entry::about(instance, AgentEvent::Suspended { cause: Cause::Killed }));
        // Who stopped it, and why, must stand there whatever comes next: a run
        // of its own says that.
        let run = RunId::random(&*self.entropy);
        let authority =
            Authority::Emergency { actor: context.actor.clone(), reason: reason.to_owned() };
        let begun = RunEvent::Begun {
            purpose: RunPurpose::Kill,
            actor: context.actor.clone(),
            authority: authority.clone(),
            instances: vec![instance.clone()],
            revision: context.revision.clone(),
            engine: env!("CARGO_PKG_VERSION").to_owned(),
        };
        entries.insert(0, Entry::new(begun));
        entries.push(Entry::new(RunEvent::Ended { summary: Summary::default() }));
        let entries = entries.into_iter().map(|entry| entry.in_run(&run)).collect();
        self.take_by_force(instance, run, entries, context.holder.clone()).await?;

        let engine = self.engine();
        let (mut plan, mut report) = self.contain(&engine, instance, &authority, context).await?;
        if !plan.in_doubt.is_empty() {
            // Settling may take long or fail for the sake of something else,
            // so it comes after everything that could be contained at once.
            let settled = apply::recover(&engine, context).await.unwrap_or_default();
            settled.steps.into_iter().for_each(|step| report.push(step));
            let (last, more) = self.contain(&engine, instance, &authority, context).await?;
            plan = last;
            report.run = more.run.or(report.run);
            report.left = more.left;
            report.unfinished = more.unfinished;
            more.steps.into_iter().for_each(|step| report.push(step));
        }
        let blocked = plan.blocked.into_iter().map(|blocked| (blocked.address, blocked.reason));
        let doubts = plan.in_doubt.into_iter().map(|at| (at, "a step of it is in doubt".into()));
        for (address, because) in blocked.chain(doubts) {
            report.push(apply::StepReport {
                address,
                action: crate::plan::Action::Suspend,
                outcome: apply::Outcome::Skipped { because },
            });
        }
        Ok(report)
    }

    /// Plans the end of one agent from what is recorded, and applies it.
    async fn contain(
        &self,
        engine: &Engine,
        instance: &Instance,
        authority: &Authority,
        context: &RunContext,
    ) -> Result<(Plan, Report)> {
        let state = self.ledger.state(&Query::Everything).await?;
        match self.check_ledger(&state).await {
            Err(error) if error.kind() == ErrorKind::Foreign => return Err(error),
            // A secret store that is away, or a ledger that was set back,
            // must not keep an agent acting.
            _ => {}
        }
        let blueprint = Blueprint::without_agents(&self.fleet, &self.environment)?;
        let request = PlanRequest {
            targets: BTreeSet::from([instance.clone()]),
            max_leaving: Some(u32::MAX),
        };
        let greeted = Greeted::default();
        let mut plan =
            without_widening(self.plan_on(&blueprint, &state, &request, true, greeted).await);
        if bug!("kill leaves credentials") {
            plan.steps.retain(|step| step.kind == Kind::Identity);
            plan.agents.retain(|agent| !matches!(agent.change, AgentChange::Ends { .. }));
            plan.steps.iter_mut().for_each(|step| step.after.clear());
        }
        let authorised = Authorised {
            plan: &plan,
            authority: authority.clone(),
            proposer: None,
            purpose: RunPurpose::Kill,
            force: true,
            room: None,
        };
        let report = apply::run(engine, authorised, context).await?;
        Ok((plan, report))
    }

    /// Records something of an agent, and takes its lease from a run that is
    /// under way, so that it does not go on with the agent.
    async fn take_by_force(
        &self,
        instance: &Instance,
        run: RunId,
        entries: Vec<Entry>,
        holder: String,
    ) -> Result<()> {
        let take = Take {
            run,
            instances: vec![instance.clone()],
            holder,
            ttl: std::time::Duration::from_secs(1),
            force: true,
        };
        let append = Append { entries, take: Some(take), ..Append::default() };
        let taken = self.ledger.append(append).await?;
        if let Some(fence) = &taken.fence {
            // Not given back, it is over in a second.
            let _kept: Result<()> = self.ledger.release(fence).await;
        }
        Ok(())
    }

    /// Lets an agent that was killed come back with the next plan.
    ///
    /// # Errors
    ///
    /// When no such agent is recorded, or the ledger cannot be written.
    pub async fn resume(&self, instance: &Instance, actor: &Actor) -> Result<()> {
        self.known(instance).await?;
        let resumed = AgentEvent::Resumed { actor: Some(actor.clone()) };
        self.record(Entry::about(instance, resumed)).await
    }

    /// Keeps the engine's hands off an agent until a time, whatever the code
    /// says. A run that is under way with it loses its leases; a plan that was
    /// made before is refused.
    ///
    /// # Errors
    ///
    /// When no such agent is recorded, the end is not ahead, or the ledger
    /// cannot be written.
    pub async fn hold(
        &self,
        instance: &Instance,
        reason: &str,
        until: Timestamp,
        actor: &Actor,
    ) -> Result<()> {
        self.known(instance).await?;
        if until <= self.clock.now() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("a hold until {until} would be over already"),
            )
            .help("give an end that is ahead"));
        }
        let held = AgentEvent::Held { reason: reason.to_owned(), until, actor: actor.clone() };
        let entries = vec![Entry::about(instance, held)];
        let run = RunId::random(&*self.entropy);
        self.take_by_force(instance, run, entries, actor.to_string()).await
    }

    /// Ends a hold before its time.
    ///
    /// # Errors
    ///
    /// When no such agent is recorded, or the ledger cannot be written.
    pub async fn release(&self, instance: &Instance, actor: &Actor) -> Result<()> {
        self.known(instance).await?;
        self.record(Entry::about(instance, AgentEvent::Released { actor: actor.clone() })).await
    }

    async fn record(&self, entry: Entry) -> Result<()> {
        let append = Append { entries: vec![entry], ..Append::default() };
        self.ledger.append(append).await.map(|_| ())
    }

    async fn known(&self, instance: &Instance) -> Result<AgentRecord> {
        let query = Query::Agents(vec![instance.clone()]);
        let state = self.ledger.state(&query).await?;
        state.agents.get(instance).cloned().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no agent `{instance}` is recorded"))
                .help("`inventory` lists those that are")
        })
    }
}
