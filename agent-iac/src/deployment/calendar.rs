//! Looking ahead at rotations.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;

use super::Deployment;
use crate::{
    blueprint::Blueprint,
    error::Result,
    ledger::State,
    rotation::calendar::{Ahead, Calendar},
};

impl Deployment {
    /// What will be rotated within a time from now, and what cannot be kept of
    /// what the fleet declares. It reads the ledger, and contacts no system.
    ///
    /// # Errors
    ///
    /// When the fleet is invalid, or the ledger cannot be read. What cannot be
    /// kept stands in the calendar.
    pub async fn calendar(&self, within: Duration) -> Result<Calendar> {
        let (blueprint, state) = self.desired_and_recorded().await?;
        Ok(self.calendar_of(&blueprint, Some(&state), within))
    }

    /// The calendar of a fleet that was validated, from what is recorded; as if
    /// every credential were issued now where that was not read.
    pub(crate) fn calendar_of(
        &self,
        blueprint: &Blueprint,
        state: Option<&State>,
        within: Duration,
    ) -> Calendar {
        let mut ahead = Ahead::from(self.clock.now());
        ahead.list = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
        let mut at_once = BTreeMap::new();
        for (address, desired) in blueprint.resources() {
            if desired.credential.is_none() {
                continue;
            }
            let key = (desired.provider.clone(), desired.resource_type.name.to_owned());
            at_once
                .entry(key)
                .or_insert_with(|| self.at_once(&desired.provider, desired.resource_type.name));
            let object = state.and_then(|state| state.records.get(address)?.object.as_ref());
            let issued = object.and_then(|object| object.credential.as_ref()?.issued_at);
            if let Some(issued) = issued {
                ahead.issued.insert(address.clone(), issued);
            }
        }
        ahead.at_once = at_once;
        Calendar::of(blueprint, &ahead)
    }

    /// Refuses a fleet whose rotations cannot be kept within a year.
    pub(super) fn check_calendar(
        &self,
        blueprint: &Blueprint,
        state: Option<&State>,
    ) -> Result<()> {
        let calendar = self.calendar_of(blueprint, state, Duration::ZERO);
        if calendar.diagnostics().has_errors() {
            return Err(calendar.diagnostics().clone().into());
        }
        Ok(())
    }
}
