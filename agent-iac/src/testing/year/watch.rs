//! Whether every promise is kept: an observer of each entry and each effect.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    super::world::{Asked, Deed, Observer, START, SimClock, SimProvider, Violation},
    Year,
    diary::{Diary, shown},
    people::People,
    promise::Promise,
};
use crate::{
    address::Address,
    apply::turn_of,
    blueprint::{Blueprint, Desired, DesiredCredential},
    ledger::{Append, Appended, Entry, Event, MemoryLedger, Record, RunEvent, StepEvent},
    plan::Action,
    provider::AtOnce,
    rotation::{Phase, Terms, phase},
    value::Digest,
    vault::MemoryVault,
};

/// How many breaches of one promise are kept.
const MOST: usize = 20;

/// How many lines are kept of what happened to one credential.
const LINES: usize = 12;

/// Everything that a year is made of, for those who look at it.
pub(super) struct Watch {
    pub(super) clock: SimClock,
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) vaults: BTreeMap<String, Arc<MemoryVault>>,
    pub(super) providers: BTreeMap<String, SimProvider>,
    pub(super) people: Arc<People>,
    pub(super) diary: Arc<Diary>,
    pub(super) blueprint: Blueprint,
    pub(super) at_once: BTreeMap<Address, AtOnce>,
    /// When no progress is to be expected: outages, and runners that are dead.
    pub(super) away: Vec<(Duration, Duration)>,
    pub(super) turned: Duration,
    pub(super) margin: Duration,
    book: Mutex<Book>,
}

/// A promise that was not kept, when, and what had happened before.
pub(super) struct Breach {
    pub(super) promise: Promise,
    pub(super) at: Duration,
    pub(super) what: String,
    pub(super) before: Vec<String>,
}

#[derive(Default)]
pub(super) struct Book {
    credentials: BTreeMap<Address, Held>,
    /// Which members of each group are between two generations.
    between: BTreeMap<String, BTreeSet<Address>>,
    /// The rotations at each provider that has a rate, oldest first.
    turns: BTreeMap<String, VecDeque<Timestamp>>,
    /// The secret of each credential that was made, and whether it has ended.
    secrets: BTreeMap<(String, String), Digest>,
    ended: BTreeSet<Digest>,
    /// Credentials that an outside hand made useless, until they are renewed.
    by_hand: BTreeSet<Address>,
    pub(super) breaches: Vec<Breach>,
    pub(super) rotations: u64,
    pub(super) revoked: u64,
    pub(super) entries: u64,
    pub(super) runs: u64,
    pub(super) failed: u64,
}

#[derive(Default)]
struct Held {
    generation: u32,
    promoted: Duration,
    /// Since when all consumers have confirmed the present one.
    confirmed: Option<Duration>,
    /// Since when each older one stands beside the present one.
    older: BTreeMap<u32, Duration>,
    lines: VecDeque<String>,
}

impl Watch {
    #[expect(clippy::too_many_arguments, reason = "each is a part of the world to look at")]
    pub(super) fn new(
        year: &Year,
        clock: SimClock,
        ledger: Arc<MemoryLedger>,
        vaults: BTreeMap<String, Arc<MemoryVault>>,
        providers: BTreeMap<String, SimProvider>,
        (people, diary): (Arc<People>, Arc<Diary>),
        blueprint: Blueprint,
        at_once: BTreeMap<Address, AtOnce>,
    ) -> Self {
        let outages = year.outages.iter().map(|outage| (outage.from, outage.until));
        let deaths = year.deaths.iter().map(|(at, length)| (*at, at.saturating_add(*length)));
        let stalls = year.stalls.iter().map(|(at, length)| (*at, at.saturating_add(*length)));
        let turned = year.turns.iter().map(|(_, by)| by.unsigned_abs()).sum();
        Self {
            clock,
            ledger,
            vaults,
            providers,
            people,
            diary,
            blueprint,
            at_once,
            away: outages.chain(deaths).chain(stalls).collect(),
            turned,
            margin: year.margin,
            book: Mutex::default(),
        }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    fn declared(&self, address: &Address) -> Option<(&Desired, &DesiredCredential)> {
        let desired = self.blueprint.resources().get(address)?;
        Some((desired, desired.credential.as_ref()?))
    }

    /// How much longer than its time something may take that should have been
    /// done at an instant.
    fn allowed(&self, since: Duration, until: Duration) -> Duration {
        let within =
            |(from, to): &(Duration, Duration)| (*to).min(until).saturating_sub((*from).max(since));
        // Whoever comes back after an outage waits for a pause to end.
        let away: Duration = self.away.iter().map(within).sum();
        self.margin + self.turned + away * 2
    }

    /// What stands at the place of a credential.
    fn at_place(&self, declared: &DesiredCredential) -> Option<Digest> {
        let vault = self.vaults.get(declared.place.store())?;
        Some(vault.peek(declared.place.path())?.expose(Digest::of_bytes))
    }

    /// Looks at every credential, and whether any is late.
    pub(super) fn round(&self) {
        let mut book = self.book();
        let now = self.now();
        let at = instant(now);
        for (address, desired) in self.blueprint.resources() {
            let Some(declared) = &desired.credential else { continue };
            let Some(record) = self.ledger.record(address) else { continue };
            book.works(self, address, &record);
            let at_once = self.at_once.get(address).copied().unwrap_or(AtOnce::Two);
            let terms = Terms::of(address, declared, at_once);
            let (promise, since) = match phase(&record, &terms, at) {
                Phase::Due { since, .. } => (Promise::NoneIsLate, since),
                Phase::Ending { since, .. } => (Promise::NoOldOneOutlivesItsDeadline, since),
                _ => continue,
            };
            let since = elapsed(since);
            // Confirmations make it due, and not the end of the overlap alone.
            let confirmed = book.credentials.get(address).and_then(|held| held.confirmed);
            let since = since.max(confirmed.unwrap_or_default());
            let of_group = declared.policy.group.is_some();
            let of_rate = self.blueprint.rotation().rates.contains_key(&desired.provider);
            // Members of a group wait for each other, and the calendar says
            // whether they have the time.
            if promise == Promise::NoneIsLate && (of_group || of_rate) {
                continue;
            }
            if now > since + self.allowed(since, now) {
                let what = match promise {
                    Promise::NoneIsLate => format!("{address} is due since {}", shown(since)),
                    _ => format!("{address}: an older one should have ended at {}", shown(since)),
                };
                book.broken(self, promise, address, what);
            }
        }
    }

    /// Whether anything that has ended is still let in.
    pub(super) fn looks_at_the_dead(&self) {
        let mut book = self.book();
        let ended = std::mem::take(&mut book.ended);
        for (name, provider) in &self.providers {
            let mut alive: Vec<String> = Vec::new();
            for existing in provider.existing() {
                if existing.secret.is_some_and(|secret| ended.contains(&secret)) {
                    alive.push(existing.object.id);
                }
            }
            for id in alive {
                let what = format!("`{id}` of `{name}` has ended, and is accepted");
                book.broken_of(self, Promise::EveryRevokedOneIsRefused, what, Vec::new());
            }
        }
        book.ended = ended;
    }

    pub(super) fn accuse(&self, promise: Promise, what: String) {
        self.book().broken_of(self, promise, what, Vec::new());
    }
}

impl Book {
    fn broken(&mut self, watch: &Watch, promise: Promise, address: &Address, what: String) {
        let lines = self.credentials.get(address).map(|held| held.lines.iter().cloned());
        let before = lines.into_iter().flatten().collect();
        self.broken_of(watch, promise, what, before);
    }

    fn broken_of(&mut self, watch: &Watch, promise: Promise, what: String, before: Vec<String>) {
        let count = self.breaches.iter().filter(|breach| breach.promise == promise).count();
        if count >= MOST || self.breaches.iter().any(|breach| breach.what == what) {
            return;
        }
        watch.diary.note(&format!("NOT KEPT: {promise}: {what}"));
        self.breaches.push(Breach { promise, at: watch.now(), what, before });
    }

    fn tell(&mut self, watch: &Watch, address: &Address, what: &str) {
        watch.diary.note(&format!("{address}: {what}"));
        let held = self.credentials.entry(address.clone()).or_default();
        if held.lines.len() == LINES {
            held.lines.pop_front();
        }
        held.lines.push_back(format!("{}  {what}", shown(watch.now())));
    }

    /// Whether what stands at the place of a credential is let in.
    fn works(&mut self, watch: &Watch, address: &Address, record: &Record) {
        let Some((_, declared)) = watch.declared(address) else { return };
        let Some(object) = record.object.as_ref().filter(|_| record.open.is_none()) else { return };
        let id = (object.resource_type.clone(), object.id.clone());
        let Some(made) = self.secrets.get(&id) else { return };
        if self.by_hand.contains(address) {
            return;
        }
        let gone = self.ended.contains(made);
        let at_place = watch.at_place(declared);
        if gone || at_place != Some(*made) {
            let why = if gone { "has ended" } else { "is not what stands at its place" };
            let what = format!("{address}: `{}`, which is recorded, {why}", object.id);
            self.broken(watch, Promise::OneAlwaysWorks, address, what);
        }
    }

    fn entry(&mut self, watch: &Watch, entry: &Entry, at: Timestamp) {
        self.entries += 1;
        let Some(address) = &entry.address else {
            if let Event::Run(RunEvent::Begun { .. }) = &entry.event {
                self.runs += 1;
            }
            return;
        };
        if watch.declared(address).is_none() {
            return;
        }
        match &entry.event {
            Event::Step(StepEvent::Failed { error, .. } | StepEvent::InDoubt { error, .. }) => {
                self.failed += 1;
                self.tell(watch, address, error);
            }
            Event::Credential(crate::ledger::CredentialEvent::Overdue { waiting }) => {
                let names: Vec<&str> = waiting.iter().map(String::as_str).collect();
                self.tell(watch, address, &format!("kept past its time for {}", names.join(", ")));
            }
            event => {
                if let Some(provider) = turn_of(event) {
                    self.turn(watch, address, provider, at);
                }
            }
        }
    }

    /// A rotation begins.
    fn turn(&mut self, watch: &Watch, address: &Address, provider: &str, at: Timestamp) {
        let Some(rate) = watch.blueprint.rotation().rates.get(provider) else { return };
        let turns = self.turns.entry(provider.to_owned()).or_default();
        let length = SignedDuration::from_secs(i64::try_from(rate.seconds).unwrap_or(i64::MAX));
        while turns.front().is_some_and(|first| at.duration_since(*first) >= length) {
            turns.pop_front();
        }
        turns.push_back(at);
        let count = turns.len();
        if count > usize::try_from(rate.rotations).unwrap_or(usize::MAX) {
            let what = format!("{address} is number {count} at `{provider}`, which takes {rate}");
            self.broken(watch, Promise::NoRateIsExceeded, address, what);
        }
    }

    /// A record was changed.
    fn record(&mut self, watch: &Watch, address: &Address, record: &Record) {
        let Some((_, declared)) = watch.declared(address) else { return };
        let now = watch.now();
        let present = record.object.as_ref().and_then(|object| object.credential.as_ref());
        let rotation = record.rotation.as_deref();
        let before = {
            let held = self.credentials.entry(address.clone()).or_default();
            (held.generation, held.promoted)
        };
        if let Some(present) = present.filter(|present| present.generation > before.0) {
            let makes = before.0 > 0;
            let held = self.credentials.entry(address.clone()).or_default();
            held.generation = present.generation;
            held.promoted = now;
            held.confirmed = None;
            let overlap = rotation.map(|rotation| &rotation.overlap);
            if overlap.is_some_and(|overlap| overlap.contains_key(&before.0)) {
                held.older.insert(before.0, now);
            }
            self.rotations += u64::from(makes);
            self.by_hand.remove(address);
            let what = format!("generation {} is promoted", present.generation);
            self.tell(watch, address, &what);
            self.works(watch, address, record);
        }
        let compromised = rotation.is_some_and(|rotation| !rotation.compromised.is_empty());
        self.confirmations(address, declared, record, now);
        let stands: BTreeSet<u32> = record
            .deposed
            .iter()
            .filter_map(|old| old.credential.as_ref().map(|credential| credential.generation))
            .collect();
        let held = self.credentials.entry(address.clone()).or_default();
        let gone: Vec<(u32, Duration)> = held
            .older
            .iter()
            .filter(|(generation, _)| !stands.contains(generation))
            .map(|(generation, since)| (*generation, *since))
            .collect();
        let (next, promoted, confirmed) = (held.generation, held.promoted, held.confirmed);
        for (generation, since) in gone {
            held_of(&mut self.credentials, address).older.remove(&generation);
            self.revoked += 1;
            self.tell(watch, address, &format!("generation {generation} has ended"));
            if compromised || self.by_hand.contains(address) {
                continue;
            }
            let consumers = declared.consumers.iter().cloned();
            let left = watch.people.left_with_it(address, consumers, next, promoted);
            if !left.is_empty() {
                let what = format!(
                    "{address}: generation {generation} has ended, which is still used by {}",
                    left.join(", ")
                );
                self.broken(watch, Promise::NobodyIsCutOff, address, what);
            }
            let ends = elapsed(declared.policy.old_ends(instant(since)));
            let ends = ends.max(confirmed.unwrap_or_default());
            if now > ends + watch.allowed(ends, now) {
                let what = format!(
                    "{address}: generation {generation} should have ended at {}, and lived on",
                    shown(ends)
                );
                self.broken(watch, Promise::NoOldOneOutlivesItsDeadline, address, what);
            }
        }
        self.transition(watch, address, declared, record);
    }

    fn confirmations(
        &mut self,
        address: &Address,
        declared: &DesiredCredential,
        record: &Record,
        now: Duration,
    ) {
        let held = self.credentials.entry(address.clone()).or_default();
        let generation = held.generation;
        let confirmed = record.rotation.as_ref().map(|rotation| &rotation.confirmed);
        let all = declared.consumers.iter().all(|consumer| {
            let newest = confirmed.and_then(|confirmed| confirmed.get(&consumer.to_string()));
            newest.is_some_and(|newest| *newest >= generation)
        });
        if all && held.confirmed.is_none() {
            held.confirmed = Some(now);
        }
    }

    /// Whether another member of its group is between two generations too.
    fn transition(
        &mut self,
        watch: &Watch,
        address: &Address,
        declared: &DesiredCredential,
        record: &Record,
    ) {
        let Some(group) = &declared.policy.group else { return };
        let rotation = record.rotation.as_deref();
        let open = record.open.as_ref().is_some_and(|open| open.action == Action::Rotate);
        let overlaps = rotation.is_some_and(|r| r.gap.is_some() || !r.overlap.is_empty());
        let members = self.between.entry(group.clone()).or_default();
        if !open && !overlaps {
            members.remove(address);
            return;
        }
        let others: Vec<String> =
            members.iter().filter(|member| *member != address).map(ToString::to_string).collect();
        let comes = members.insert(address.clone());
        if comes && !others.is_empty() {
            let what = format!(
                "{address} begins, and {} of the group `{group}` is in transition",
                others.join(", ")
            );
            self.broken(watch, Promise::NoTwoOfAGroupAtOnce, address, what);
        }
    }
}

fn held_of<'b>(of: &'b mut BTreeMap<Address, Held>, address: &Address) -> &'b mut Held {
    of.entry(address.clone()).or_default()
}

/// The instant so far into the year, by clocks that nobody turned.
fn instant(elapsed: Duration) -> Timestamp {
    START.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
}

fn elapsed(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(START)).unwrap_or_default()
}

impl Observer for Watch {
    fn appending(&self, _: &Append) -> Vec<Violation> {
        Vec::new()
    }

    fn appended(&self, append: &Append, appended: &Appended) -> Vec<Violation> {
        let mut book = self.book();
        for entry in &append.entries {
            book.entry(self, entry, appended.time);
        }
        let touched: BTreeSet<&Address> =
            append.entries.iter().filter_map(|entry| entry.address.as_ref()).collect();
        for address in touched {
            if let Some(record) = self.declared(address).and_then(|_| self.ledger.record(address)) {
                book.record(self, address, &record);
            }
        }
        Vec::new()
    }

    fn asked(&self, _: &Asked<'_>) -> Vec<Violation> {
        Vec::new()
    }

    fn done(&self, deed: &Deed<'_>) -> Vec<Violation> {
        let (effect, Some(secret)) = (deed.effect, deed.secret) else { return Vec::new() };
        let id = (effect.resource_type.to_owned(), effect.id.clone());
        let mut book = self.book();
        match effect.operation {
            "create" => {
                book.secrets.insert(id, secret);
            }
            "delete" | "cascade" => {
                book.ended.insert(secret);
                let address = deed.address.cloned().or_else(|| {
                    let mut records = self.blueprint.resources().keys();
                    // A hand says nothing of whose it is.
                    records.find(|address| self.is_recorded(address, &id.1)).cloned()
                });
                let Some(address) = address else { return Vec::new() };
                if effect.claim.is_none() {
                    book.by_hand.insert(address.clone());
                    book.tell(self, &address, "an outside hand removed it");
                    return Vec::new();
                }
                // One that goes while consumers would read it from its place.
                let Some((_, declared)) = self.declared(&address) else { return Vec::new() };
                let lone = self.at_once.get(&address) == Some(&AtOnce::One);
                if !lone && self.at_place(declared) == Some(secret) && self.stays(&address) {
                    let what = format!("{address}: `{}` ends, which stands at its place", id.1);
                    book.broken(self, Promise::OneAlwaysWorks, &address, what);
                }
            }
            _ => {}
        }
        Vec::new()
    }
}

impl Watch {
    fn is_recorded(&self, address: &Address, id: &str) -> bool {
        let record = self.declared(address).and_then(|_| self.ledger.record(address));
        record.and_then(|record| record.object).is_some_and(|object| object.id == id)
    }

    /// Whether a credential is not on its way out, by a plan or for good.
    fn stays(&self, address: &Address) -> bool {
        let record = self.ledger.record(address);
        let open = record.and_then(|record| record.open);
        open.is_none_or(|open| open.action != Action::Delete || open.deposed)
    }
}
