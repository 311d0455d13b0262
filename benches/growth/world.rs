//! The fleet that grows, and the systems that it stands on.

use std::{collections::BTreeSet, error::Error, ffi::OsString, path::Path, process::ExitCode};

use agent_iac::{
    address::Instance,
    apply::RunContext,
    blueprint::Blueprint,
    clock::block_on,
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::{Actor, Ledger as _, Query, SqliteLedger},
    plan::SavedPlan,
    prelude::*,
    provider::Reach,
    providers::authority as auth,
};

/// How many resources are made in one run when a world is set up.
const AT_ONCE: usize = 20_000;

/// An agent with an account and a grant.
#[derive(Debug, Agent)]
#[agent(owner = "team:bench", expires = "2099-12-31")]
pub(crate) struct Reader {
    #[input(key)]
    number: String,
    #[input]
    writes: bool,

    #[identity(name = format!("reader-{number}"))]
    account: auth::Account,

    #[permission(to = account, on = format!("shelves/{number}/books"), allow = actions(*writes))]
    books: auth::Grant,
}

fn actions(writes: bool) -> BTreeSet<auth::Action> {
    let names: &[&str] = if writes { &["read", "write"] } else { &["read"] };
    names.iter().map(|name| auth::Action::new(*name)).collect()
}

/// A fleet of so many resources; the agent in the middle writes where
/// `changed`, and is given as well.
pub(crate) fn fleet(resources: usize, changed: bool) -> (Fleet, Instance) {
    let mut fleet = Fleet::new("bench");
    fleet.provider("authority", Reach::Exclusive).store("vault");
    let agents = (resources / 2).max(1);
    let mut middle = None;
    for agent in 0..agents {
        let is_middle = agent == agents / 2;
        let inputs = ReaderInputs { number: format!("{agent:07}"), writes: changed && is_middle };
        let handle = fleet.add(inputs);
        if is_middle {
            middle = Some(handle.instance().clone());
        }
    }
    (fleet, middle.expect("there is at least one agent"))
}

/// The deployment of a fleet on the embedded systems in a folder.
pub(crate) fn deployment(fleet: Fleet, folder: &Path) -> Result<Deployment, Box<dyn Error>> {
    Ok(Deployment::embedded(fleet, "bench", folder)?)
}

/// Makes everything that a fleet of so many resources declares, some agents at
/// a time.
pub(crate) fn set_up(folder: &Path, resources: usize) -> Result<(), Box<dyn Error>> {
    let deployment = deployment(fleet(resources, false).0, folder)?;
    let blueprint = deployment.blueprint()?;
    let agents: Vec<Instance> = blueprint.agents().map(|(agent, _)| agent.clone()).collect();
    for some in agents.chunks(AT_ONCE / 2) {
        let request = PlanRequest { targets: some.iter().cloned().collect(), max_leaving: None };
        let plan = SavedPlan::new(block_on(deployment.plan_validated(&blueprint, &request))?)?;
        assert_eq!(plan.plan().steps.len(), some.len() * 2, "all of them are made");
        apply(&deployment, &plan)?;
    }
    Ok(())
}

/// Plans one agent of a fleet that was validated before.
pub(crate) fn planned_for(
    deployment: &Deployment,
    blueprint: &Blueprint,
    agent: &Instance,
) -> Result<SavedPlan, Box<dyn Error>> {
    let request = PlanRequest { targets: BTreeSet::from([agent.clone()]), max_leaving: None };
    Ok(SavedPlan::new(block_on(deployment.plan_validated(blueprint, &request))?)?)
}

pub(crate) fn apply(deployment: &Deployment, plan: &SavedPlan) -> Result<(), Box<dyn Error>> {
    let context = RunContext::new(Actor::asserted("bench", "bench")).acknowledging(plan.digest());
    let report = block_on(deployment.apply(plan, &context))?;
    if report.is_complete() {
        Ok(())
    } else {
        Err(format!("not everything was done: {:?}", report.summary).into())
    }
}

/// The number of a ledger's newest batch.
pub(crate) fn head(ledger: &SqliteLedger) -> Result<u64, Box<dyn Error>> {
    Ok(block_on(ledger.state(&Query::Agents(Vec::new())))?.head.sequence)
}

/// The name of the agent in the middle of a fleet of so many resources.
pub(crate) fn middle(resources: usize) -> String {
    format!("reader[\"{:07}\"]", (resources / 2).max(1) / 2)
}

/// The command line on a fleet of one agent, as a deploy binary has it.
pub(crate) fn validate(folder: &Path) -> ExitCode {
    let words = ["deploy", "validate"].map(OsString::from);
    agent_iac::cli::main_with(words, || Deployment::embedded(fleet(2, false).0, "bench", folder))
}
