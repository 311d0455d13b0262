//! A simulated world, in which the real engine runs from one seed.
//!
//! Owns a single-threaded executor, virtual time, seeded chance, simulated
//! systems, and gates before ledgers and secret stores. At every boundary of
//! every call, before its effect and after it, the world can crash or err;
//! what a crash leaves is exactly what was durable. It knows nothing of plans:
//! what runs in it is any future, and what it checks are the invariants of
//! [`Violation`].
//!
//! The same seed gives the same boundaries, so a sweep runs once without a
//! fault to learn their number, and then once for each:
//!
//! ```
//! use agent_iac::testing::world::{Outcome, World};
//! use agent_iac::provider::Provider as _;
//!
//! let scenario = |world: &World| {
//!     let provider = world.provider("sim");
//!     async move { provider.target().await }
//! };
//!
//! let world = World::new(7);
//! let outcome = world.run(scenario(&world));
//! assert!(matches!(outcome, Outcome::Finished(Ok(target)) if target == "sim:sim"));
//! let boundaries = world.boundaries();
//! assert_eq!(boundaries, ["sim/target"]);
//!
//! for at in 0..boundaries.len() {
//!     let world = World::new(7);
//!     world.crash_at(at);
//!     assert!(world.run(scenario(&world)).is_crashed());
//!     // The second process finds what the first one left, and no fault.
//!     assert!(world.run(scenario(&world)).finished().is_ok());
//! }
//! ```

mod check;
mod clock;
mod entropy;
mod gate;
mod ledger;
mod sweep;
mod system;
mod vault;
mod witness;

pub use check::Violation;
pub use clock::{Outcome, START, SimClock};
pub(in crate::testing) use entropy::Random;
pub use entropy::SimEntropy;
pub use gate::Fault;
pub(in crate::testing) use gate::{Side, Weather};
pub use ledger::GatedLedger;
pub(in crate::testing) use sweep::difference;
pub use sweep::{Depth, Disturbance, Failure, Report, Scenario, sweep, sweep_faults};
pub(in crate::testing) use system::ForeignType;
pub use system::{
    Account, AccountBuilder, AccountOutputs, AccountSpec, Effect, Existing, Grant, GrantBuilder,
    GrantOutputs, GrantSpec, Hand, Job, JobBuilder, JobOutputs, JobSpec, Key, KeyBuilder,
    KeyOutputs, KeySpec, LoneKey, LoneKeyBuilder, LoneKeyOutputs, LoneKeySpec, SimOptions,
    SimProvider, Token, TokenBuilder, TokenOutputs, TokenSpec,
};
pub use vault::GatedStore;
pub(in crate::testing) use witness::{Asked, Deed, Observer};

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;

use self::{gate::Gate, witness::Witness};
use crate::{
    ledger::{Ledger, MemoryLedger, Query},
    vault::{MemoryVault, SecretStore},
};

/// A world: everything that a deployment needs, simulated from one seed.
///
/// Clones are handles of one world. A process in it is a future given to
/// [`World::run`]; what survives from one run to the next is what was durable.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    seed: u64,
    clock: SimClock,
    entropy: Arc<SimEntropy>,
    gate: Gate,
    witness: Arc<Witness>,
    stands: Mutex<Stands>,
    replay: Mutex<check::Replay>,
}

/// What stands in the world.
#[derive(Default)]
struct Stands {
    providers: BTreeMap<String, SimProvider>,
    ledger: Option<Arc<dyn Ledger>>,
    stores: BTreeMap<String, Arc<dyn SecretStore>>,
    at_exit: Vec<Arc<dyn Fn() + Send + Sync>>,
}

impl World {
    /// A world without anything in it, at [`START`].
    pub fn new(seed: u64) -> Self {
        let clock = SimClock::default();
        Self(Arc::new(Inner {
            seed,
            clock: clock.clone(),
            entropy: Arc::new(SimEntropy::new(seed)),
            gate: Gate::new(seed, clock),
            witness: Arc::default(),
            stands: Mutex::default(),
            replay: Mutex::default(),
        }))
    }

    fn stands(&self) -> MutexGuard<'_, Stands> {
        self.0.stands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seed, for the message of a test that failed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The clock of everything in this world.
    pub fn clock(&self) -> Arc<SimClock> {
        Arc::new(self.0.clock.clone())
    }

    /// The random bytes of the engine.
    pub fn entropy(&self) -> Arc<SimEntropy> {
        Arc::clone(&self.0.entropy)
    }

    /// The simulated system of this name, made with the default options where
    /// there is none yet.
    pub fn provider(&self, name: &str) -> SimProvider {
        let there = self.stands().providers.get(name).cloned();
        there.unwrap_or_else(|| self.provider_with(name, SimOptions::default()))
    }

    /// Puts a simulated system into the world; one of this name that stands
    /// there is replaced, with everything in it.
    pub fn provider_with(&self, name: &str, options: SimOptions) -> SimProvider {
        self.provider_serving(name, options, Vec::new())
    }

    /// As [`World::provider_with`], which serves types of other providers too.
    pub(in crate::testing) fn provider_serving(
        &self,
        name: &str,
        options: SimOptions,
        foreign: Vec<ForeignType>,
    ) -> SimProvider {
        let Inner { seed, clock, gate, witness, .. } = &*self.0;
        let around = (clock.clone(), gate.clone());
        let provider = SimProvider::new(name, options, *seed, around, Arc::clone(witness), foreign);
        self.stands().providers.insert(name.to_owned(), provider.clone());
        provider
    }

    /// Puts a ledger in memory into the world, opened for a fleet.
    ///
    /// # Panics
    ///
    /// Never: the world's time has a JSON form.
    pub fn ledger(&self, fleet: &str, environment: &str) -> Arc<dyn Ledger> {
        let opened = MemoryLedger::opened(self.clock(), fleet, environment);
        let ledger = Arc::new(opened.expect("the world's time has a JSON form"));
        let dying = Arc::clone(&ledger);
        self.at_exit(move || dying.crash());
        self.ledger_over(ledger)
    }

    /// Puts a gate before a ledger. What dies in it with a process, as
    /// leases do, is for [`World::at_exit`].
    pub fn ledger_over(&self, inner: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
        self.stands().ledger = Some(Arc::clone(&inner));
        Arc::new(GatedLedger::new(inner, self.0.gate.clone(), Arc::clone(&self.0.witness)))
    }

    /// Puts a secret store in memory into the world.
    pub fn store(&self, name: &str) -> Arc<dyn SecretStore> {
        self.store_over(name, Arc::new(MemoryVault::new()))
    }

    /// Puts a gate before a secret store.
    pub fn store_over(&self, name: &str, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        self.stands().stores.insert(name.to_owned(), Arc::clone(&inner));
        let (gate, witness) = (self.0.gate.clone(), Arc::clone(&self.0.witness));
        Arc::new(GatedStore::new(name, inner, gate, witness))
    }

    /// What happens at each end of a process, crash or exit.
    pub fn at_exit(&self, happens: impl Fn() + Send + Sync + 'static) {
        self.stands().at_exit.push(Arc::new(happens));
    }

    /// Runs a process on this thread until it ends, the world crashes, or
    /// nothing can wake it any more.
    ///
    /// Boundaries count from 0 in each run, and a crash that was not reached
    /// does not hit the next run.
    pub fn run<T>(&self, process: impl Future<Output = T> + Send) -> Outcome<T> {
        let gate = &self.0.gate;
        gate.begin();
        let outcome = clock::drive(&self.0.clock, &|| gate.is_crashed(), process);
        gate.end();
        if outcome.is_crashed() {
            self.exit();
        }
        outcome
    }

    /// Lets the process end: what it held dies with it, as its leases. A crash
    /// does the same.
    pub fn exit(&self) {
        let at_exit = self.stands().at_exit.clone();
        for happens in at_exit {
            happens();
        }
    }

    /// The names of the boundaries that the last run reached, in order.
    pub fn boundaries(&self) -> Vec<String> {
        self.0.gate.names()
    }

    /// Lets the next run crash at its boundary of this number.
    pub fn crash_at(&self, boundary: usize) {
        self.0.gate.crash_at(boundary);
    }

    /// Lets the next run crash at its first boundary whose name holds `part`,
    /// as `sim/account create triage.account after`.
    pub fn crash_on(&self, part: &str) {
        self.0.gate.crash_on(part);
    }

    /// Lets the boundary of this number fail, once.
    pub fn fault_at(&self, boundary: usize, fault: Fault) {
        self.0.gate.fault_at(boundary, fault, false);
    }

    /// Lets every boundary from this number on fail, until [`World::heal`].
    pub fn fault_from(&self, boundary: usize, fault: Fault) {
        self.0.gate.fault_at(boundary, fault, true);
    }

    /// Lets the next boundary whose name holds `part` fail, once.
    pub fn fault_on(&self, part: &str, fault: Fault) {
        self.0.gate.fault_on(part, fault, false);
    }

    /// Lets every boundary whose name holds `part` fail, until
    /// [`World::heal`]: `sim/` is a system that is down, `ledger/` the ledger.
    pub fn outage(&self, part: &str) {
        self.0.gate.fault_on(part, Fault::Error, true);
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.0.gate.heal();
    }

    /// How long each way to a system and back takes, at least and at most; the
    /// seed decides for each.
    pub fn latency(&self, shortest: Duration, longest: Duration) {
        self.0.gate.set_latency(shortest, longest);
    }

    /// Lets time pass between two runs.
    pub fn advance(&self, duration: Duration) {
        self.0.clock.advance_by(duration);
    }

    /// Turns the hands of the clock, as a wrong time server would (L6). Nobody
    /// wakes earlier or later by it.
    pub fn turn_clock(&self, by: SignedDuration) {
        self.0.clock.turn(by);
    }

    /// From now on checks the invariants at every boundary;
    /// [`World::violations`] gives what was found.
    pub fn watch(&self) {
        let inner = Arc::downgrade(&self.0);
        self.0.gate.set_watch(Arc::new(move |boundary| {
            let Some(world) = inner.upgrade().map(World) else { return };
            // Between two changes every boundary looks the same.
            let changes = Some(world.witness().changes());
            if std::mem::replace(&mut world.replay().looked_at, changes) == changes {
                return;
            }
            let Some(ledger) = world.ledger_inside() else { return };
            let state = world.drive_aside(async move { ledger.state(&Query::Everything).await });
            if let Outcome::Finished(Ok(state)) = state {
                world.note(&state, boundary);
            }
        }));
    }

    /// Lets weather decide what goes wrong from now on; none is calm.
    pub(in crate::testing) fn set_weather(&self, weather: Option<Arc<dyn Weather>>) {
        self.0.gate.set_weather(weather);
    }

    /// Lets somebody watch beside the world's own witness.
    pub(in crate::testing) fn set_observer(&self, observer: Option<Arc<dyn Observer>>) {
        self.0.witness.set_observer(observer);
    }

    /// The boundary that was reached last.
    pub(in crate::testing) fn last_boundary(&self) -> String {
        self.0.gate.last()
    }

    /// Whether a text holds a secret of this world.
    pub(in crate::testing) fn tells_a_secret(&self, text: &str) -> bool {
        self.0.witness.finds_secret(text.as_bytes())
    }

    /// Notes something that an invariant forbids.
    pub(in crate::testing) fn accuse(&self, found: Vec<Violation>, at: &str) {
        self.0.witness.violated(found, at);
    }

    /// Checks the world as it is now; only what is new since the last time is
    /// replayed.
    pub(in crate::testing) fn look_around(&self, at: &str) {
        let state = self.state();
        self.note(&state, at);
    }

    /// What was found to be violated so far, without looking anew.
    pub fn violations(&self) -> Vec<Violation> {
        self.0.witness.violations()
    }

    /// The shapes of all systems ([`SimProvider::shape`]), each line with the
    /// system's name.
    pub fn shape(&self) -> Vec<String> {
        let of = |provider: SimProvider| {
            let name = provider.name().to_owned();
            provider.shape().into_iter().map(move |line| format!("{name}: {line}"))
        };
        self.providers().into_iter().flat_map(of).collect()
    }

    /// The state of the ledger that stands in the world, read past its gate.
    ///
    /// # Panics
    ///
    /// When no ledger stands there, or it cannot be read.
    pub fn state(&self) -> crate::ledger::State {
        let ledger = self.ledger_inside().expect("a ledger stands in the world");
        self.drive_aside(async move { ledger.state(&Query::Everything).await })
            .finished()
            .expect("the ledger can be read")
    }

    fn replay(&self) -> MutexGuard<'_, check::Replay> {
        self.0.replay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn witness(&self) -> &Witness {
        &self.0.witness
    }

    pub(in crate::testing) fn providers(&self) -> Vec<SimProvider> {
        self.stands().providers.values().cloned().collect()
    }

    fn provider_named(&self, name: &str) -> Option<SimProvider> {
        self.stands().providers.get(name).cloned()
    }

    fn store_named(&self, name: &str) -> Option<Arc<dyn SecretStore>> {
        self.stands().stores.get(name).cloned()
    }

    fn ledger_inside(&self) -> Option<Arc<dyn Ledger>> {
        self.stands().ledger.clone()
    }

    /// Forgets the names of boundaries from now on: a long history has millions.
    pub(in crate::testing) fn forget_boundaries(&self) {
        self.0.gate.forget();
    }

    /// Runs what passes no gate, also in the middle of a run.
    pub(in crate::testing) fn drive_aside<T>(
        &self,
        future: impl Future<Output = T> + Send,
    ) -> Outcome<T> {
        clock::drive(&self.0.clock, &|| false, future)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World(seed {})", self.0.seed)
    }
}

#[cfg(test)]
mod tests;
