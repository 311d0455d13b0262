//! What is due, out of very many.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::address::Address;

/// An index of credentials by the instant at which each has to be looked at.
///
/// It is fed with what the [machine](super::machine) says of each record
/// ([`Phase::wakes`](super::Phase::wakes)), when a record changes and at no
/// other time. Asking it what is due costs what is due, and nothing for the
/// others.
///
/// ```
/// use agent_iac::rotation::Scheduler;
///
/// let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
/// let mut scheduler = Scheduler::default();
/// scheduler.note(&"triage.key".parse()?, Some(at("2027-01-01T00:00:00Z")));
/// scheduler.note(&"billing.key".parse()?, None);
/// assert!(scheduler.due(at("2026-12-31T23:59:59Z")).next().is_none());
/// let due: Vec<_> = scheduler.due(at("2027-01-01T00:00:00Z")).collect();
/// assert_eq!(due[0].to_string(), "triage.key");
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Scheduler {
    /// The credentials, each by a number that it keeps.
    known: Vec<Known>,
    numbers: BTreeMap<Address, u32>,
    /// Those that wake, by when; whole seconds, and never too early.
    queue: BTreeSet<(i64, u32)>,
}

#[derive(Clone, Debug)]
struct Known {
    address: Address,
    /// When it wakes; [`NEVER`] when nothing but an entry wakes it.
    at: i64,
}

const NEVER: i64 = i64::MAX;

impl Scheduler {
    /// Room for so many credentials.
    pub fn with_capacity(credentials: usize) -> Self {
        Self { known: Vec::with_capacity(credentials), ..Self::default() }
    }

    /// Notes when a credential has to be looked at next; `None` for one that
    /// waits for an entry in the ledger.
    pub fn note(&mut self, address: &Address, wakes: Option<Timestamp>) {
        let at = wakes.map_or(NEVER, |at| {
            at.as_second().saturating_add(i64::from(at.subsec_nanosecond() > 0))
        });
        let next = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(address.clone()).or_insert(next);
        let Some(known) = self.known.get_mut(number as usize) else {
            self.known.push(Known { address: address.clone(), at });
            if at != NEVER {
                self.queue.insert((at, number));
            }
            return;
        };
        if known.at == at {
            return;
        }
        self.queue.remove(&(known.at, number));
        known.at = at;
        if at != NEVER {
            self.queue.insert((at, number));
        }
    }

    /// When a credential wakes.
    pub fn wakes(&self, address: &Address) -> Option<Timestamp> {
        let known = &self.known[*self.numbers.get(address)? as usize];
        (known.at != NEVER).then(|| Timestamp::from_second(known.at).unwrap_or(Timestamp::MAX))
    }

    /// What is due, what waits longest first.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = &Address> {
        self.queue
            .range(..=(now.as_second(), u32::MAX))
            .map(|(_, number)| &self.known[*number as usize].address)
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Timestamp> {
        let (at, _) = self.queue.first()?;
        Some(Timestamp::from_second(*at).unwrap_or(Timestamp::MAX))
    }

    /// How many credentials it knows.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64, nanos: i32) -> Timestamp {
        Timestamp::new(second, nanos).unwrap()
    }

    #[test]
    fn nothing_is_due_too_early_and_a_credential_is_once_in_it() {
        let address: Address = "a.key".parse().unwrap();
        let mut scheduler = Scheduler::default();
        scheduler.note(&address, Some(at(10, 1)));
        assert_eq!(scheduler.due(at(10, 999)).count(), 0);
        assert_eq!(scheduler.due(at(11, 0)).count(), 1);
        scheduler.note(&address, Some(at(5, 0)));
        assert_eq!(scheduler.due(at(11, 0)).count(), 1);
        assert_eq!(scheduler.next(), Some(at(5, 0)));
        scheduler.note(&address, None);
        assert_eq!((scheduler.next(), scheduler.len()), (None, 1));
        scheduler.note(&address, Some(at(7, 0)));
        assert_eq!(scheduler.wakes(&address), Some(at(7, 0)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_says_what_a_scan_would_say(
            notes in proptest::collection::vec((0_u8..20, proptest::option::of(0_i64..50)), 0..100),
            now in 0_i64..60,
        ) {
            let address = |of: u8| format!("a{of}.key").parse::<Address>().unwrap();
            let mut scheduler = Scheduler::default();
            let mut scanned = BTreeMap::new();
            for (of, wakes) in notes {
                scheduler.note(&address(of), wakes.map(|second| at(second, 0)));
                scanned.insert(address(of), wakes);
            }
            let due: BTreeSet<&Address> = scheduler.due(at(now, 0)).collect();
            let wanted = scanned.iter().filter(|(_, wakes)| wakes.is_some_and(|at| at <= now));
            prop_assert_eq!(due, wanted.map(|(address, _)| address).collect::<BTreeSet<_>>());
            prop_assert_eq!(scheduler.next(), scanned.values().flatten().min().map(|s| at(*s, 0)));
        }
    }
}
