//! Rotations: what consumers read works at every instant of one, and no older
//! generation outlives its time.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::{Book, Pages, Violation, found};
use crate::{
    address::{Address, Instance},
    clock::Clock as _,
    ledger::Record,
    plan::Action,
    value::{Digest, Value},
};

/// The overlap that the storm's fleet declares.
const OVERLAP: SignedDuration = SignedDuration::from_hours(1);

/// How long past its time an older generation may live once nothing goes wrong
/// any more: the longest pause of a move that failed is an hour, its failure
/// may be stamped an hour ahead, and a dead run's step is settled before.
const BOUND: SignedDuration = SignedDuration::from_hours(3);

/// Of these an account has one at a time, and a rotation has a gap.
const ONE_AT_A_TIME: &str = "sim.lone_key";

impl Book {
    /// I6, at every instant: of a credential that is rotated, or stands in an
    /// overlap, the place gives a secret that the system knows, unless somebody
    /// removed it there or it is compromised.
    pub(in super::super) fn overlaps(&self) -> Vec<Violation> {
        let pages = self.pages_beside_the_system();
        let records = pages.state.records.iter();
        records.filter_map(|(address, record)| self.locked_out(&pages, address, record)).collect()
    }

    fn locked_out(&self, pages: &Pages, address: &Address, record: &Record) -> Option<Violation> {
        let rotation = record.rotation.as_deref();
        let gap = rotation.and_then(|rotation| rotation.gap.as_ref());
        if gap.is_some_and(|ended| ended.resource_type != ONE_AT_A_TIME) {
            return Some(found(
                "I6",
                format!("{address}: its only one ended before another stood"),
            ));
        }
        let object = record.object.as_ref().filter(|o| o.resource_type != ONE_AT_A_TIME)?;
        let credential = object.credential.as_ref()?;
        let open = record.open.as_ref();
        let rotates = open.is_some_and(|open| open.action == Action::Rotate);
        if !rotates && rotation.is_none_or(|rotation| rotation.overlap.is_empty()) {
            return None;
        }
        // A plan that takes it away, or replaces what it stands on, says so.
        let goes = |action| matches!(action, Action::Delete | Action::ReplaceDeleteFirst);
        let compromised = rotation.is_some_and(|r| r.compromised.contains(&credential.generation));
        if compromised || open.is_some_and(|open| !open.deposed && goes(open.action)) {
            return None;
        }
        let place = &credential.place;
        let Some(secret) = self.vault.peek(place.path()) else {
            return Some(found("I6", format!("{address}: nothing stands at `{place}`")));
        };
        let secret = secret.expose(Digest::of_bytes);
        let whose = pages.secrets.iter().find(|(_, known)| **known == secret).map(|(id, _)| id);
        let removed = whose.is_some_and(|id| self.provider.took_away(&object.resource_type, id));
        if self.provider.knows_digest(secret) || removed {
            return None;
        }
        Some(found(
            "I6",
            format!("{address}: what stands at `{place}` does not work at an instant"),
        ))
    }

    /// I12: older generations of these agents that live on past their time,
    /// though nothing went wrong for long and a runner was at work.
    pub(in super::super) fn outlived(&self, agents: &BTreeSet<Instance>) -> Vec<Violation> {
        let pages = self.pages_beside_the_system();
        let existing = self.provider.existing();
        let now = self.clock.now();
        let mut all = Vec::new();
        for (address, record) in &pages.state.records {
            let agent = pages.state.agents.get(address.instance());
            let leaves = agent.is_none_or(|agent| agent.leaving.is_some());
            if leaves || !agents.contains(address.instance()) || !self.is_followed(record) {
                continue;
            }
            let Some(rotation) = &record.rotation else { continue };
            for old in &record.deposed {
                let generation = old.credential.as_ref().map_or(0, |c| c.generation);
                let Some(since) = rotation.overlap.get(&generation) else { continue };
                let stood = now.duration_since(*since);
                let lives = existing.iter().any(|real| {
                    real.resource_type == old.resource_type && real.object.id == old.id
                });
                if lives && stood > OVERLAP + BOUND {
                    let late = (stood - OVERLAP).as_secs();
                    let what =
                        format!("{address}: generation {generation} outlives its time by {late} s");
                    all.push(found("I12", what));
                }
            }
        }
        all
    }

    /// Whether consumers have moved to the present generation, and it lets them
    /// in: then nothing keeps an older one.
    fn is_followed(&self, record: &Record) -> bool {
        let Some(present) = record.object.as_ref() else { return false };
        let Some(credential) = &present.credential else { return false };
        let of = present.properties.get("of").and_then(Value::as_text);
        let accounts = self.provider.objects("sim.account");
        if !accounts.iter().any(|account| Some(account.id.as_str()) == of && !account.suspended) {
            return false;
        }
        let confirmed = record.rotation.as_ref().and_then(|r| r.confirmed.get("inbox").copied());
        let waits = present.resource_type == "sim.token"
            && confirmed.is_none_or(|confirmed| confirmed < credential.generation);
        let secret = self.vault.peek(credential.place.path());
        let works = secret.is_some_and(|s| self.provider.knows_digest(s.expose(Digest::of_bytes)));
        works && !waits && record.open.is_none()
    }
}
