//! Stopping, holding and releasing single agents.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Deployment, PlanRequest};
use crate::{
    address::Instance,
    apply::{self, Authorised, Report, RunContext},
    blueprint::Blueprint,
    error::{Error, ErrorKind, Result},
    ledger::{
        Actor, AgentEvent, AgentRecord, Append, Authority, Cause, Entry, Query, RunId, RunPurpose,
        Take,
    },
};

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
        self.known(instance).await?;
        let killed = Entry::about(instance, AgentEvent::Suspended { cause: Cause::Killed });
        let take = Take {
            run: RunId::random(&*self.entropy),
            instances: vec![instance.clone()],
            holder: context.holder.clone(),
            ttl: std::time::Duration::from_mins(1),
            force: true,
        };
        // Taking the lease keeps a run that is under way from going on with
        // the agent; this one's own steps follow under their own.
        let append = Append { entries: vec![killed], take: Some(take), ..Append::default() };
        let taken = self.ledger.append(append).await?;
        if let Some(fence) = &taken.fence {
            self.ledger.release(fence).await?;
        }
        let engine = self.engine();
        let mut report = apply::recover(&engine, context).await?;
        let blueprint = Blueprint::without_agents(&self.fleet, &self.environment)?;
        let request = PlanRequest {
            targets: BTreeSet::from([instance.clone()]),
            max_leaving: Some(u32::MAX),
        };
        let plan = self.plan_for(&blueprint, &request).await?;
        let authority =
            Authority::Emergency { actor: context.actor.clone(), reason: reason.to_owned() };
        let authorised = Authorised {
            plan: &plan,
            authority,
            proposer: None,
            purpose: RunPurpose::Kill,
            force: true,
        };
        let done = apply::run(&engine, authorised, context).await?;
        report.run = done.run.or(report.run);
        report.left = done.left;
        done.steps.into_iter().for_each(|step| report.push(step));
        for blocked in plan.blocked {
            report.push(apply::StepReport {
                address: blocked.address,
                action: crate::plan::Action::Suspend,
                outcome: apply::Outcome::Skipped { because: blocked.reason },
            });
        }
        Ok(report)
    }

    /// Lets an agent that was killed come back with the next plan.
    ///
    /// # Errors
    ///
    /// When no such agent is recorded, or the ledger cannot be written.
    pub async fn resume(&self, instance: &Instance, _actor: &Actor) -> Result<()> {
        self.known(instance).await?;
        self.record(Entry::about(instance, AgentEvent::Resumed)).await
    }

    /// Keeps the engine's hands off an agent until a time, whatever the code
    /// says.
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
        self.record(Entry::about(instance, held)).await
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
