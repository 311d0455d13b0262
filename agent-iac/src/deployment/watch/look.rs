//! What a watcher does to the systems beside rotating: it compares, takes back
//! what widens, and stops agents whose time is over.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    access::Verdict,
    address::{Address, Instance},
    apply::{self, Authorised, Report, RunContext},
    blueprint::Blueprint,
    deployment::{Deployment, PlanRequest},
    drift::{self, Greeted},
    error::{Error, ErrorKind, Result},
    ledger::{AgentRecord, Authority, Query, RunPurpose, State},
    plan::{Action, AgentChange, Blocked, Plan, Reason, Step},
    schema::Kind,
};

/// What a look at everything found, and what was done about it.
pub(super) struct Look {
    pub(super) plan: Plan,
    pub(super) state: State,
    /// What was to be taken back.
    pub(super) chosen: BTreeSet<Address>,
    /// What somebody else is at work on.
    pub(super) elsewhere: BTreeSet<Address>,
    pub(super) report: Report,
    /// Why the run could not begin.
    pub(super) refused: Option<Error>,
}

/// What became of agents whose time was over.
#[derive(Default)]
pub(super) struct Retired {
    pub(super) report: Report,
    /// Why something of an agent stays.
    pub(super) blocked: Vec<Blocked>,
    /// The agents as they are recorded afterwards.
    pub(super) agents: BTreeMap<Instance, AgentRecord>,
}

impl Deployment {
    /// Compares everything with what is recorded, and takes back what widens
    /// access where that is declared, of agents that nobody is at work on.
    pub(super) async fn look_under(
        &self,
        blueprint: &Blueprint,
        narrows: bool,
        context: &RunContext,
    ) -> Result<Look> {
        let greeted = self.greet().await;
        let state = self.state().await?;
        let plan = self.plan_on(blueprint, &state, &PlanRequest::default(), true, greeted).await;
        let mut look = Look {
            plan,
            state,
            chosen: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            report: Report::default(),
            refused: None,
        };
        let narrowing = drift::narrowing_only(&look.plan, blueprint);
        if !narrows || narrowing.steps.is_empty() {
            return Ok(look);
        }
        let busy = self.held().await?;
        let (narrowing, left_out) = only(narrowing, |step| !busy.contains(step.address.instance()));
        look.elsewhere = left_out.into_iter().map(|step| step.address).collect();
        look.chosen = narrowing.steps.iter().map(|step| step.address.clone()).collect();
        match self.run_unattended(&narrowing, blueprint, RunPurpose::Revert, context).await {
            Ok(report) => look.report = report,
            // Somebody else was quicker, and what they did is seen next time.
            Err(error) if is_contended(&error) => look.elsewhere.append(&mut look.chosen),
            Err(error) => look.refused = Some(error),
        }
        Ok(look)
    }

    /// Stops agents whose last day is over, and ends the departure of those
    /// whose grace is over. It removes, and gives nobody anything.
    pub(super) async fn retire_under(
        &self,
        blueprint: &Blueprint,
        due: &BTreeSet<Instance>,
        context: &RunContext,
    ) -> Result<Retired> {
        let state = self.state().await?;
        let busy = self.held().await?;
        let targets: BTreeSet<Instance> = due
            .iter()
            .filter(|instance| state.agents.contains_key(*instance) && !busy.contains(*instance))
            .cloned()
            .collect();
        let mut retired = Retired::default();
        if targets.is_empty() {
            retired.agents = state.agents.into_iter().filter(|(i, _)| due.contains(i)).collect();
            return Ok(retired);
        }
        let request = PlanRequest { targets: targets.clone(), max_leaving: None };
        let plan = self.plan_on(blueprint, &state, &request, false, Greeted::default()).await;
        let plan = leaving_only(plan, &targets);
        match self.run_unattended(&plan, blueprint, RunPurpose::Retire, context).await {
            Ok(report) => retired.report = report,
            Err(error) if is_contended(&error) => {}
            Err(error) => return Err(error),
        }
        let blocked = plan.blocked.into_iter();
        retired.blocked = blocked.filter(|b| targets.contains(b.address.instance())).collect();
        let query = Query::Agents(due.iter().cloned().collect());
        retired.agents = self.ledger.state(&query).await?.agents;
        Ok(retired)
    }

    /// The agents that a run is at work on.
    async fn held(&self) -> Result<BTreeSet<Instance>> {
        let leases = self.ledger.leases().await?;
        Ok(leases.into_iter().map(|lease| lease.instance).collect())
    }

    async fn run_unattended(
        &self,
        plan: &Plan,
        blueprint: &Blueprint,
        purpose: RunPurpose,
        context: &RunContext,
    ) -> Result<Report> {
        let authority = Authority::Standing { digest: blueprint.digest() };
        let authorised = Authorised { plan, authority, proposer: None, purpose, force: false };
        apply::run(&self.engine(), authorised, context).await
    }
}

fn is_contended(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::LeaseHeld | ErrorKind::StalePlan | ErrorKind::Conflict)
}

/// The part of a plan by which agents leave that are meant to. A step that
/// gives access to others stays for a plan that somebody reads, and so does
/// what waits for it.
fn leaving_only(plan: Plan, targets: &BTreeSet<Instance>) -> Plan {
    let leaves = |step: &Step| {
        let removes = matches!(step.action, Action::Suspend | Action::Delete)
            || step.reason.ends_an_older_one();
        let leaving = matches!(step.reason, Reason::Leaving { .. });
        let widens = step.kind == Kind::Permission && step.access.verdict() == Verdict::Widens;
        targets.contains(step.address.instance())
            && removes
            && (leaving || step.reason.ends_an_older_one())
            && !widens
    };
    let agents = plan.agents.clone();
    let (mut plan, left_out) = only(plan, leaves);
    plan.blocked.extend(
        left_out.iter().filter(|step| targets.contains(step.address.instance())).map(|step| {
            Blocked {
                address: step.address.clone(),
                reason: "to remove it gives access to others, or waits for what does".to_owned(),
                repair: "plan, and acknowledge what it says".to_owned(),
            }
        }),
    );
    let stays: BTreeSet<&Instance> = left_out.iter().map(|step| step.address.instance()).collect();
    plan.agents = agents
        .into_iter()
        .filter(|agent| targets.contains(&agent.instance))
        .filter(|agent| match agent.change {
            AgentChange::Leaves { .. } => true,
            AgentChange::Ends { .. } => !stays.contains(&agent.instance),
            _ => false,
        })
        .collect();
    plan
}

/// The steps of a plan that are chosen and wait for none that is not, with the
/// versions that they rest on; and those that are left out.
fn only(plan: Plan, chosen: impl Fn(&Step) -> bool) -> (Plan, Vec<Step>) {
    let mut position = BTreeMap::new();
    let (mut steps, mut left_out) = (Vec::new(), Vec::new());
    for (index, step) in plan.steps.into_iter().enumerate() {
        if chosen(&step) && step.after.iter().all(|before| position.contains_key(before)) {
            position.insert(index, steps.len());
            let after = step.after.iter().map(|before| position[before]).collect();
            steps.push(Step { after, ..step });
        } else {
            left_out.push(step);
        }
    }
    let addresses: BTreeSet<&Address> = steps.iter().map(|step: &Step| &step.address).collect();
    let mut versions = plan.versions;
    versions.retain(|address, _| addresses.contains(address));
    (Plan { versions, agents: Vec::new(), steps, ..plan }, left_out)
}
