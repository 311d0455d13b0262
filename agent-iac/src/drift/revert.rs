//! What may be taken back while nobody watches. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    access::Verdict,
    address::{Address, Instance},
    agent::OnDrift,
    blueprint::Blueprint,
    bugs::bug,
    plan::{Action, Drift, Plan, Reason, Step},
    resource::Node,
    schema::Kind,
};

/// The part of a plan that only takes drift back which widens access, of
/// resources that are declared so. Everything else stays for a plan that
/// somebody acknowledges: nothing widens access unattended, and a narrowing by
/// hand is never undone.
pub(crate) fn narrowing_only(plan: &Plan, blueprint: &Blueprint) -> Plan {
    let widened: BTreeMap<&Address, &Drift> = plan
        .drift
        .iter()
        .filter(|drift| drift.access.verdict() == Verdict::Widens || bug!("widened unattended"))
        .map(|drift| (&drift.address, drift))
        .collect();
    // Back to what was recorded, and not on to what the code says since: that
    // nobody has acknowledged.
    let only_back = |step: &Step| {
        let Some(drift) = widened.get(&step.address) else { return false };
        step.changes.iter().all(|change| {
            let recorded = drift.fields.get(&change.name).map(|field| field.recorded.clone());
            change.after.as_ref().and_then(Node::known) == recorded && recorded.is_some()
        })
    };
    let declared = |address: &Address| {
        blueprint.resources().get(address).is_some_and(|d| d.on_drift == OnDrift::RevertWidening)
    };
    // What was planted on an identity follows that identity's policy.
    let reverting: BTreeSet<&Instance> = blueprint
        .resources()
        .iter()
        .filter(|(_, desired)| {
            desired.resource_type.kind == Kind::Identity
                && desired.on_drift == OnDrift::RevertWidening
        })
        .map(|(address, _)| address.instance())
        .collect();
    let planted = |step: &Step| {
        step.reason == Reason::Undeclared && reverting.contains(step.address.instance())
    };
    let chosen = |step: &Step| {
        let narrows = step.access.verdict() == Verdict::Narrows || step.kind == Kind::Credential;
        let taken_back =
            step.action == Action::Update && only_back(step) && declared(&step.address);
        (narrows || bug!("widened unattended")) && (taken_back || planted(step))
    };
    let mut position = BTreeMap::new();
    let mut steps = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        // A step that waits for one that is left out is left out too.
        if chosen(step) && step.after.iter().all(|before| position.contains_key(before)) {
            position.insert(index, steps.len());
            let after = step.after.iter().map(|before| position[before]).collect();
            steps.push(Step { after, ..step.clone() });
        }
    }
    let addresses: BTreeSet<&Address> = steps.iter().map(|step| &step.address).collect();
    let versions = plan
        .versions
        .iter()
        .filter(|(address, _)| addresses.contains(address))
        .map(|(address, version)| (address.clone(), *version))
        .collect();
    Plan { versions, agents: Vec::new(), steps, ..plan.clone() }
}
