//! What a look amounts to, in words for those who have to see to it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    alert::{AlertKind, Finding},
    look::Look,
};
use crate::{
    access::{AccessChange, Verdict},
    address::{Address, Instance},
    agent::OnDrift,
    apply::{Outcome, StepReport},
    blueprint::Blueprint,
    plan::{Drift, Reason, Undeclared},
    rotation::Phase,
};

/// The most names in one text.
const MOST_NAMES: usize = 8;

pub(super) fn owner(blueprint: &Blueprint, instance: &Instance) -> Option<String> {
    blueprint.agent(instance).map(|agent| agent.owner.clone())
}

/// What a check found of drift: what holds, and what happened.
pub(super) fn drift(look: &Look, blueprint: &Blueprint) -> (Vec<Finding>, Vec<Finding>) {
    let (mut holds, mut happened) = (Vec::new(), Vec::new());
    let outcome: BTreeMap<&Address, &StepReport> =
        look.report.steps.iter().map(|step| (&step.address, step)).collect();
    let blocked: BTreeMap<&Address, &str> =
        look.plan.blocked.iter().map(|b| (&b.address, b.reason.as_str())).collect();
    let drifted = look.plan.drift.iter().map(|drift| {
        let declared = blueprint.resources().get(&drift.address);
        let reverts = declared.is_some_and(|d| d.on_drift == OnDrift::RevertWidening);
        let widens = drift.access.verdict() == Verdict::Widens;
        (&drift.address, differs(drift), widens && reverts)
    });
    // What was planted on an identity is a step that removes it.
    let planted: BTreeSet<&Address> = look
        .plan
        .steps
        .iter()
        .filter(|step| step.reason == Reason::Undeclared)
        .map(|step| &step.address)
        .collect();
    let planted = planted
        .into_iter()
        .map(|at| (at, "nobody declared it".to_owned(), look.chosen.contains(at)));
    for (address, what, meant) in drifted.chain(planted) {
        if look.elsewhere.contains(address) {
            continue;
        }
        let instance = address.instance();
        let finding = |kind, what: String, repair: &str| Finding {
            kind,
            about: address.to_string(),
            owner: owner(blueprint, instance),
            mark: what.clone(),
            what,
            repair: repair.to_owned(),
        };
        let ended = outcome.get(address).map(|step| &step.outcome);
        let why = match ended {
            Some(Outcome::Done) => {
                let repair = "find out who did it, and with which credential";
                happened.push(finding(
                    AlertKind::DriftReverted,
                    format!("{what}; it was taken back"),
                    repair,
                ));
                continue;
            }
            Some(Outcome::Unproved(why) | Outcome::Skipped { because: why }) => Some(why.clone()),
            Some(Outcome::Failed(error) | Outcome::InDoubt(error)) => Some(error.chain()),
            None if meant => {
                let refused = look.refused.as_ref().map(crate::error::Error::chain);
                refused.or_else(|| blocked.get(address).map(|why| (*why).to_owned()))
            }
            None => None,
        };
        holds.push(match why {
            Some(why) => finding(
                AlertKind::DriftNotRemoved,
                format!("{what}; it could not be taken back: {why}"),
                "see to the reason, or `plan` and `apply`",
            ),
            None => finding(AlertKind::DriftFound, what, "look at `plan`, and acknowledge it"),
        });
    }
    holds.extend(look.plan.undeclared.iter().map(|found| undeclared(found, blueprint)));
    (holds, happened)
}

fn undeclared(found: &Undeclared, blueprint: &Blueprint) -> Finding {
    let Undeclared { instance, provider, resource_type, object, .. } = found;
    let whose = instance.as_ref().map_or_else(String::new, |it| format!(" of {it}"));
    Finding {
        kind: AlertKind::DriftFound,
        about: format!("{provider}: a {resource_type}{whose}"),
        owner: instance.as_ref().and_then(|instance| owner(blueprint, instance)),
        mark: object.id.clone(),
        what: "nobody declared it".to_owned(),
        repair: "`drift` shows it; declare it, or remove it in its system".to_owned(),
    }
}

/// How something differs from what is recorded: which properties, and whose
/// access; never a value.
fn differs(drift: &Drift) -> String {
    let mut parts = Vec::new();
    if drift.gone {
        parts.push("it is gone".to_owned());
    }
    match drift.suspended {
        Some(true) => parts.push("somebody suspended it".to_owned()),
        Some(false) => parts.push("somebody let it act again".to_owned()),
        None => {}
    }
    if !drift.fields.is_empty() {
        let names: Vec<&str> = drift.fields.keys().map(String::as_str).collect();
        parts.push(format!("{} differs from what is recorded", listed(&names)));
    }
    parts.extend(change(&drift.access));
    parts.join("; ")
}

fn change(access: &AccessChange) -> Option<String> {
    let said = |word: &str, tuples: &BTreeSet<crate::access::Tuple>| {
        let each: Vec<String> =
            tuples.iter().map(|tuple| format!("{} on {}", tuple.action, tuple.object)).collect();
        let each: Vec<&str> = each.iter().map(String::as_str).collect();
        (!each.is_empty()).then(|| format!("{word} {}", listed(&each)))
    };
    let parts = [said("gains", &access.gained), said("loses", &access.lost)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn listed(names: &[&str]) -> String {
    match names.len().checked_sub(MOST_NAMES) {
        Some(more @ 1..) => format!("{} and {more} more", names[..MOST_NAMES].join(", ")),
        _ => names.join(", "),
    }
}

/// What credentials wait for somebody.
pub(super) fn rotation(
    alarming: &BTreeMap<Address, Phase>,
    errors: &BTreeMap<Address, String>,
    blueprint: &Blueprint,
) -> Vec<Finding> {
    let finding = |(address, phase): (&Address, &Phase)| {
        let why = errors.get(address).map_or_else(String::new, |why| format!(": {why}"));
        let agent = address.instance();
        let (kind, mark, what, repair) = match phase {
            Phase::Stopped { failures } => (
                AlertKind::RotationStopped,
                "stopped".to_owned(),
                format!("it failed {failures} times and is not tried again by itself{why}"),
                format!("see to the reason (`history {agent}`), then `rotate {agent}`"),
            ),
            Phase::Paused { failures, .. } => (
                AlertKind::RotationStopped,
                "paused".to_owned(),
                format!("it failed {failures} times and is tried again later{why}"),
                format!("see to the reason (`history {agent}`)"),
            ),
            Phase::Overdue { generations, waiting, until, .. } => {
                let waiting: Vec<&str> = waiting.iter().map(String::as_str).collect();
                let old: Vec<String> = generations.iter().map(ToString::to_string).collect();
                let then = until.map_or_else(
                    || "the old one is kept until they do".to_owned(),
                    |until| format!("the old one is ended all the same at {until:.0}"),
                );
                (
                    AlertKind::ConsumersUnconfirmed,
                    format!("{} {}", old.join(","), waiting.join(",")),
                    format!("{} did not confirm the present generation; {then}", listed(&waiting)),
                    "make them read the new one, or take them out of `consumers`".to_owned(),
                )
            }
            _ => return None,
        };
        let owner = owner(blueprint, agent);
        Some(Finding { kind, about: address.to_string(), owner, mark, what, repair })
    };
    alarming.iter().filter_map(finding).collect()
}

/// What could not be read at the last check, by provider: how much, and why.
pub(super) fn unread(look: &Look, blueprint: &Blueprint) -> BTreeMap<String, (usize, String)> {
    let mut by_provider: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for (address, reasons) in &look.plan.unread {
        let declared = blueprint.resources().get(address).map(|desired| desired.provider.as_str());
        let recorded = || look.state.object(address).map(|object| object.provider.as_str());
        let provider = declared.or_else(recorded).unwrap_or("unknown");
        let why = reasons.first().cloned().unwrap_or_default();
        by_provider.entry(provider.to_owned()).or_insert((0, why)).0 += 1;
    }
    by_provider
}
