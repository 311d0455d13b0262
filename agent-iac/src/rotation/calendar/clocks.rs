//! Hours that do not exist, because clocks go forward.

use jiff::{Timestamp, civil::DateTime};

use super::super::{Cron, Hours, Policy, Rotate, Zone};

/// A time that the wall never shows: from and until, the second not included.
struct Gap {
    at: Timestamp,
    from: DateTime,
    until: DateTime,
}

/// The gaps of a zone between two instants.
fn gaps(zone: &Zone, from: Timestamp, until: Timestamp) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut at = from;
    while let Some(change) = zone.next_change(at).filter(|change| *change < until) {
        let before = zone.offset(change - jiff::SignedDuration::from_secs(1));
        let after = zone.offset(change);
        if after > before {
            let (from, until) = (before.to_datetime(change), after.to_datetime(change));
            gaps.push(Gap { at: change, from, until });
        }
        at = change;
    }
    gaps
}

/// What of a policy falls into hours that do not exist.
pub(super) struct Missing {
    /// The instant at which the clocks are changed.
    pub(super) at: Timestamp,
    /// What is said, and what is not there.
    pub(super) what: String,
    /// Whether a rotation is named for that time, and no window only.
    pub(super) is_rotation: bool,
}

pub(super) fn missing(policy: &Policy, from: Timestamp, until: Timestamp) -> Vec<Missing> {
    let mut all = Vec::new();
    if let Some(Rotate::At(cron)) = &policy.rotate {
        all.extend(of_cron(cron, &policy.zone, from, until));
    }
    for hours in policy.hours.iter().filter(|hours| !hours.is_blackout()) {
        all.extend(of_window(hours, from, until));
    }
    all
}

fn of_cron(cron: &Cron, zone: &Zone, from: Timestamp, until: Timestamp) -> Option<Missing> {
    // Whoever names every hour means none of them.
    if cron.is_hourly() {
        return None;
    }
    gaps(zone, from, until).into_iter().find_map(|gap| {
        let named = cron.next_local(gap.from).filter(|named| *named < gap.until)?;
        Some(Missing {
            at: gap.at,
            what: format!(
                "on {} there is no {} in {zone}, which `{cron}` names",
                named.date(),
                clock(named),
            ),
            is_rotation: true,
        })
    })
}

fn of_window(hours: &Hours, from: Timestamp, until: Timestamp) -> Option<Missing> {
    let zone = hours.zone();
    gaps(zone, from, until).into_iter().find_map(|gap| {
        let (begin, end) = hours.within(gap.from, gap.until)?;
        Some(Missing {
            at: gap.at,
            what: format!(
                "on {} there is nothing from {} to {} in {zone}, which the window `{hours}` names",
                begin.date(),
                clock(begin),
                clock(end),
            ),
            is_rotation: false,
        })
    })
}

fn clock(local: DateTime) -> String {
    format!("{:02}:{:02}", local.hour(), local.minute())
}
