//! What holds now that somebody has to see to, beside drift.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    EXPIRIES, Round, Watcher,
    alert::{AlertKind, Finding},
    found::{self, owner},
    trace, until,
};
use crate::rotation::later;

impl Watcher {
    /// What holds now that somebody has to see to.
    pub(super) fn find(&mut self, round: &mut Round) {
        let now = self.deployment.clock.now();
        let mut found = found::rotation(self.runner.alarming(), &self.errors, &self.blueprint);
        self.errors.retain(|address, _| self.runner.alarming().contains_key(address));
        found.extend(self.runner.in_doubt().into_iter().map(|about| Finding {
            kind: AlertKind::InDoubt,
            owner: None,
            mark: String::new(),
            about,
            what: "a run died, and it cannot be told yet what became of it".to_owned(),
            repair: "make its system readable; `recover` says what is missing".to_owned(),
        }));
        for (name, (since, why)) in &self.away {
            if until(now, *since) >= self.options.patience {
                found.push(Finding {
                    kind: AlertKind::Unreachable,
                    about: name.clone(),
                    owner: None,
                    mark: String::new(),
                    what: format!("since {since:.0}: {why}"),
                    repair: "bring it back; everything due is done then".to_owned(),
                });
            }
        }
        found.extend(self.authority(now));
        let mut kinds = vec![
            AlertKind::RotationStopped,
            AlertKind::ConsumersUnconfirmed,
            AlertKind::InDoubt,
            AlertKind::Unreachable,
            AlertKind::AuthorityEnds,
        ];
        // Very many agents may have one last day, so it is not gone through
        // each time.
        let changed = round.check.is_some() || !round.retired.steps.is_empty();
        let stale = until(now, self.looked_at_ends) >= EXPIRIES || now < self.looked_at_ends;
        if changed || stale || self.ends_changed {
            (self.looked_at_ends, self.ends_changed) = (now, false);
            found.extend(self.expiries(now));
            kinds.extend([AlertKind::AgentExpiring, AlertKind::AgentExpired]);
        }
        for kind in kinds {
            let found = found.iter().filter(|finding| finding.kind == kind).cloned().collect();
            round.alerts.extend(self.alerts.holds(kind, found, &BTreeSet::new(), now));
        }
        round.alerts.iter().for_each(trace::alert);
    }

    /// Agents whose last day is near or over.
    fn expiries(&self, now: Timestamp) -> Vec<Finding> {
        let near = later(now, self.options.expiry_notice);
        let expiring = self.ends.last_days(now, near).map(|(end, instance)| Finding {
            kind: AlertKind::AgentExpiring,
            about: instance.to_string(),
            owner: owner(&self.blueprint, instance),
            mark: end.to_string(),
            what: format!("its last day is over at {end:.0}, and it is stopped then"),
            repair: "declare a later `expires`, or move its work elsewhere".to_owned(),
        });
        let over = self.stopped.iter().chain(self.stays.keys()).collect::<BTreeSet<_>>();
        let over = over.into_iter().map(|instance| {
            let stays = self.stays.get(instance);
            Finding {
                kind: AlertKind::AgentExpired,
                about: instance.to_string(),
                owner: owner(&self.blueprint, instance),
                mark: if stays.is_some() { "stays" } else { "stopped" }.to_owned(),
                what: stays.map_or_else(
                    || "its time is over, and it was stopped".to_owned(),
                    |why| format!("its time is over, and something of it stays: {why}"),
                ),
                repair: "declare a later `expires` and apply, or take it out of the fleet"
                    .to_owned(),
            }
        });
        expiring.chain(over).collect()
    }

    fn authority(&self, now: Timestamp) -> Option<Finding> {
        let end = self.standing.ends()?;
        if end > later(now, self.options.expiry_notice) {
            return None;
        }
        let over = end <= now;
        let what = if over { "it is over, and nothing is done unattended" } else { "it ends soon" };
        Some(Finding {
            kind: AlertKind::AuthorityEnds,
            about: "the fleet's standing authority".to_owned(),
            owner: None,
            mark: over.to_string(),
            what: format!("{what}: its last day is {}", self.standing.until?),
            repair: "declare a later `standing_until`, and start the watcher anew".to_owned(),
        })
    }
}
