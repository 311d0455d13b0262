//! What a fleet needs somebody for, though it is valid and nothing changes.
//!
//! Owns the sentences for it, which several commands show: credentials that
//! wait for people, consumers that cannot be told here, and agents whose last
//! day is near or over.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::Cx;
use crate::{
    address::{Address, Instance},
    blueprint::Blueprint,
    clock::block_on,
    diagnostic::{Code, Diagnostic, Diagnostics},
    plan::render::{Line, Style, count, moment},
    rotation::Phase,
};

/// From how many days before its last one an agent is warned of.
const SOON: i64 = 30;

/// Agents that have expired, so that nothing of them is made, or soon will.
pub(super) fn ends(blueprint: &Blueprint, now: Timestamp) -> Diagnostics {
    let today = TimeZone::UTC.to_datetime(now).date();
    let mut warnings = Diagnostics::new();
    for (instance, agent) in blueprint.agents() {
        let left = agent.expires.duration_since(today).as_hours() / 24;
        let days = usize::try_from(left).map(|left| count(left, "day", "days"));
        let message = match left {
            ..0 => format!("`{instance}` ended on {}: nothing of it is made", agent.expires),
            0..=SOON => {
                format!("`{instance}` ends on {}, in {}", agent.expires, days.unwrap_or_default())
            }
            _ => continue,
        };
        warnings.push(
            Diagnostic::warning(Code::Terms, message)
                .declared_at(&agent.source)
                .help("give it a later last day, or take it out"),
        );
    }
    warnings
}

impl Cx<'_> {
    /// Warns of what is declared and will not be: agents that ended, and
    /// consumers that cannot be told here.
    pub(super) fn warn_of(&self, blueprint: &Blueprint) {
        let mut warnings = ends(blueprint, self.deployment.clock().now());
        warnings.extend(self.deployment.untold(blueprint));
        self.warn(&warnings);
    }

    /// The credentials of these agents, or of all, that wait for somebody: a
    /// line for each, and an object for programs. Where the fleet cannot be
    /// judged now, nothing is known of that.
    pub(super) fn waiting(&self, agents: &BTreeSet<Instance>) -> Vec<Line> {
        let phases = block_on(self.deployment.phases(agents)).unwrap_or_default();
        let alarming: BTreeMap<Address, Phase> =
            phases.into_iter().filter(|(_, phase)| phase.is_alarming()).collect();
        let mut lines = Vec::new();
        for (address, phase) in &alarming {
            let text = alarm(phase);
            self.ui.event("waiting", json!({ "address": address, "why": text }));
            lines.push(
                Line::of(Style::Danger, "  ! ").with(Style::Plain, format!("{address}: {text}")),
            );
        }
        self.ui.summarise(json!({ "waiting": alarming.len() }));
        if !lines.is_empty() {
            lines.insert(0, Line::of(Style::Danger, "Credentials that wait for somebody"));
        }
        lines
    }
}

fn alarm(phase: &Phase) -> String {
    match phase {
        Phase::Overdue { since, waiting, until, .. } => {
            let names: Vec<&str> = waiting.iter().map(String::as_str).collect();
            let until = until.map_or_else(
                || "for as long as that lasts".to_owned(),
                |until| format!("until {} at most", moment(until)),
            );
            format!(
                "its older generation should have ended at {}, and is kept, {until}: {} did not \
                 confirm the present one",
                moment(*since),
                names.join(", ")
            )
        }
        Phase::Stopped { failures } => {
            format!("its rotation failed {failures} times, and is not tried again until asked for")
        }
        Phase::Paused { until, failures } => {
            format!(
                "its rotation failed {failures} times, and is tried again at {}",
                moment(*until)
            )
        }
        _ => String::new(),
    }
}
