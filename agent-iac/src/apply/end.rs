//! How a run ends: who has left, its last entry, and the pin.

use std::collections::BTreeMap;

use super::{Engine, LeftReport, Progress, Report, credential, run::Run};
use crate::{
    address::{Address, Instance},
    error::{ErrorKind, Result},
    ledger::{AgentEvent, Cause, Entry, Query, RunEvent},
    plan::{AgentChange, Plan},
};

/// Records the agents of which nothing is left.
pub(super) async fn leave(run: &Run<'_>, plan: &Plan) -> Vec<LeftReport> {
    let ending: BTreeMap<&Instance, Cause> = plan
        .agents
        .iter()
        .filter_map(|agent| match agent.change {
            AgentChange::Ends { cause } => Some((&agent.instance, cause)),
            _ => None,
        })
        .collect();
    if ending.is_empty() {
        return Vec::new();
    }
    let query = Query::Agents(ending.keys().map(|instance| (*instance).clone()).collect());
    let Ok(state) = run.engine.persist(|| run.engine.ledger.state(&query)).await else {
        return Vec::new();
    };
    // A report of a part of what happened would say that more is proved.
    let Ok(unproved) = credential::unproved(run, &state, &ending).await else {
        return Vec::new();
    };
    let mut reports = Vec::new();
    let mut entries = Vec::new();
    for (instance, cause) in ending {
        let mut open: BTreeMap<Address, String> = state
            .records
            .iter()
            .filter(|(address, record)| address.instance() == instance && !record.is_vacant())
            .map(|(address, _)| (address.clone(), "it is still there".to_owned()))
            .collect();
        let gone = open.is_empty();
        let (proved, without) = unproved.get(instance).cloned().unwrap_or_default();
        open.extend(without);
        let since = state.agents.get(instance).and_then(|agent| agent.leaving);
        let seconds = since.map_or(0, |leaving| {
            run.engine.clock.now().duration_since(leaving.since).as_secs().unsigned_abs()
        });
        let report = LeftReport { instance: instance.clone(), cause, seconds, open: open.clone() };
        reports.push(report);
        if gone {
            let event = AgentEvent::Left { cause, seconds, proved, open };
            entries.push(Entry::about(instance, event));
        }
    }
    if !entries.is_empty() && run.append(BTreeMap::new(), entries).await.is_err() {
        // The next run finds the agents empty and records it then.
        return Vec::new();
    }
    reports
}

/// Records the end of the run, gives the leases back, and pins the head.
pub(super) async fn end(run: &Run<'_>, report: &Report) -> Result<()> {
    let ended = Entry::new(RunEvent::Ended { summary: report.summary });
    let recorded = run.append(BTreeMap::new(), vec![ended]).await;
    run.engine.persist(|| run.engine.ledger.release(&run.fence)).await?;
    recorded?;
    run.tell(&Progress::RunEnded { summary: report.summary });
    pin(run.engine).await
}

/// Pins the ledger's head in every secret store, so that an older copy of the
/// ledger is known for what it is.
pub(super) async fn pin(engine: &Engine) -> Result<()> {
    let query = Query::Agents(Vec::new());
    let state = engine.persist(|| engine.ledger.state(&query)).await?;
    let pin = crate::vault::Pin { ledger: state.ledger, head: state.head };
    for (_, store) in engine.stores() {
        let deliver = store.deliver()?;
        match engine.persist(|| deliver.set_pin(&pin)).await {
            // Another run has pinned a later head meanwhile.
            Err(error) if error.kind() == ErrorKind::Refused => {}
            other => other?,
        }
    }
    Ok(())
}
