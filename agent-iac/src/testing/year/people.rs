//! Those who use credentials: declared consumers, who are told and confirm,
//! and others, who read a place now and then.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    super::world::{Random, SimClock},
    Keeper,
};
use crate::{
    address::Address,
    clock::Clock as _,
    consumer::{Confirmation, Consumer, Inbox, Notice, Tell, Told},
    error::Result,
};

/// Everybody who uses a credential.
pub(super) struct People {
    clock: SimClock,
    habits: BTreeMap<String, Option<Duration>>,
    keepers: Vec<(Keeper, Duration)>,
    state: Mutex<Heard>,
}

struct Heard {
    random: Random,
    /// What each was told last, and from when on they use it.
    told: BTreeMap<(Address, Consumer), Uses>,
}

#[derive(Clone, Copy)]
struct Uses {
    generation: u32,
    from: Option<Duration>,
}

impl People {
    pub(super) fn new(
        seed: u64,
        clock: SimClock,
        habits: BTreeMap<String, Option<Duration>>,
        keepers: &[Keeper],
    ) -> Self {
        let mut random = Random::new(seed, "people");
        let keepers = keepers.iter().map(|keeper| {
            let micros = u64::try_from(keeper.every.as_micros()).unwrap_or(u64::MAX);
            (keeper.clone(), Duration::from_micros(random.between(0, micros)))
        });
        let keepers = keepers.collect();
        let state = Mutex::new(Heard { random, told: BTreeMap::new() });
        Self { clock, habits, keepers, state }
    }

    fn state(&self) -> MutexGuard<'_, Heard> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who still uses an older generation, where the one behind it was promoted
    /// at an instant.
    pub(super) fn left_with_it(
        &self,
        address: &Address,
        consumers: impl Iterator<Item = Consumer>,
        next: u32,
        promoted: Duration,
    ) -> Vec<String> {
        let now = self.clock.elapsed();
        let state = self.state();
        let declared = consumers.filter(Consumer::confirms).filter(|consumer| {
            let uses = state.told.get(&(address.clone(), consumer.clone()));
            !uses.is_some_and(|uses| {
                uses.generation >= next && uses.from.is_some_and(|from| from <= now)
            })
        });
        let declared = declared.map(|consumer| format!("`{consumer}`"));
        let at = address.to_string();
        let keepers = self.keepers.iter().filter(|(keeper, offset)| {
            // What was read before the promotion is the older one.
            keeper.credential == at && last_read(now, *offset, keeper.every) < Some(promoted)
        });
        let keepers = keepers
            .map(|(keeper, _)| format!("`{}`, who reads it every {:?}", keeper.name, keeper.every));
        declared.chain(keepers).collect()
    }
}

/// When somebody read last who reads so often.
fn last_read(now: Duration, offset: Duration, every: Duration) -> Option<Duration> {
    let since = now.checked_sub(offset)?;
    let past = since.as_micros() % every.as_micros().max(1);
    Some(now.saturating_sub(Duration::from_micros(u64::try_from(past).unwrap_or(0))))
}

#[async_trait]
impl Tell for People {
    async fn tell(&self, notice: Notice<'_>) -> Told {
        let now = self.clock.elapsed();
        let mut state = self.state();
        let minutes = state.random.between(1, 20);
        let takes = match self.habits.get(&notice.consumer.to_string()) {
            Some(takes) => *takes,
            None => Some(Duration::from_mins(minutes)),
        };
        let uses = Uses {
            generation: notice.generation,
            from: takes.map(|takes| now.saturating_add(takes)),
        };
        let by = (notice.credential.clone(), notice.consumer.clone());
        let known = state.told.get(&by).is_some_and(|known| known.generation == uses.generation);
        if !known {
            state.told.insert(by, uses);
        }
        Told::Told
    }
}

#[async_trait]
impl Inbox for People {
    async fn confirmed(&self, asked: &[(Address, Consumer)]) -> Result<Vec<Option<Confirmation>>> {
        let now = self.clock.elapsed();
        let state = self.state();
        let confirmed = |by: &(Address, Consumer)| {
            let uses = state.told.get(by)?;
            uses.from.filter(|from| *from <= now)?;
            let (credential, consumer) = by.clone();
            let (generation, at) = (uses.generation, self.clock.now());
            Some(Confirmation { credential, consumer, generation, at })
        };
        Ok(asked.iter().map(confirmed).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_now_and_then_holds_what_they_read_last() {
        let hour = Duration::from_hours(1);
        assert_eq!(last_read(hour * 10, hour, hour * 4), Some(hour * 9));
        assert_eq!(last_read(hour * 13, hour, hour * 4), Some(hour * 13));
        assert_eq!(last_read(Duration::ZERO, hour, hour), None, "not yet");
    }
}
