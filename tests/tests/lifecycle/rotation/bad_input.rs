//! What goes wrong around a rotation: each time it comes to a state that can be
//! gone on from, the ledger says why, and nobody is locked out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use agent_iac::{
    consumer::{Confirm as _, Confirmation, MemoryInbox},
    ledger::StepEvent,
    testing::world::Fault,
    value::Digest,
    vault::{Deliver, Labels, Open, SecretStore},
};
use async_trait::async_trait;

use super::*;

/// Has one key, renewed as it is told.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2028-06-30", grace = "0d", name = "plain")]
struct Plain {
    #[input]
    overlap: String,
    #[input]
    waits_for: Vec<String>,

    #[identity(name = "plain")]
    account: sim::Account,

    #[credential(
        of = account,
        deliver = "vault:plain/key",
        rotate = "7d",
        overlap = overlap.as_str(),
        jitter = "0s",
        consumers = waits_for.clone(),
    )]
    key: sim::Key,
}

fn plain(overlap: &str, waits_for: &[&str]) -> Fleet {
    let mut fleet = fleet();
    let waits_for = waits_for.iter().map(|name| (*name).to_owned()).collect();
    fleet.add(PlainInputs { overlap: overlap.to_owned(), waits_for });
    fleet
}

const KEY: (&str, &str, &str) = ("sim.key", "key", "plain");

impl Stage {
    /// What a consumer reads works.
    #[track_caller]
    fn nobody_is_locked_out(&self) -> Secret {
        let secret = self.secret("plain/key").unwrap();
        assert!(self.works(KEY, &secret), "what consumers read does not work");
        secret
    }

    /// Renews and settles until everything is done.
    #[track_caller]
    fn comes_to_rest(&self, deployment: &Deployment) {
        for _ in 0..6 {
            self.run(deployment.recover(&operator())).unwrap();
            self.run(deployment.rotate(&BTreeSet::new(), &operator())).unwrap();
            self.nobody_is_locked_out();
            self.hours(1);
        }
        self.assert_clean(deployment);
        assert_eq!(self.sim().objects("sim.key").len(), 1);
    }

    /// Why steps failed, were left in doubt or not begun, as the ledger says it.
    fn what_went_wrong(&self) -> Vec<String> {
        let said = |entry: Entry| match entry.event {
            Event::Step(StepEvent::Failed { error, .. } | StepEvent::InDoubt { error, .. }) => {
                Some(error)
            }
            Event::Credential(CredentialEvent::Kept { because }) => Some(because),
            _ => None,
        };
        self.events().into_iter().filter_map(said).collect()
    }
}

/// What a rotation and the end of the older one ask of the vault.
fn arrows() -> Vec<String> {
    let stage = Stage::new();
    let deployment = stage.applied(plain("1h", &[]));
    stage.days(7);
    let mut arrows = BTreeSet::new();
    for _ in 0..2 {
        stage.rotate(&deployment);
        // A boundary has two sides.
        arrows.extend(stage.world.boundaries().into_iter().filter_map(|name| {
            let side = |name: &str| Some(name.rsplit_once(' ')?.0.to_owned());
            side(name.strip_prefix("vault/")?)
        }));
        stage.hours(1);
    }
    arrows.into_iter().map(|name| format!("vault/{name}")).collect()
}

#[test]
fn a_vault_that_is_down_at_any_arrow_locks_nobody_out_and_is_gone_on_with() {
    let arrows = arrows();
    assert!(arrows.len() >= 5, "{arrows:?}");
    for arrow in &arrows {
        let stage = Stage::new();
        let deployment = stage.applied(plain("1h", &[]));
        let first = stage.secret("plain/key").unwrap();
        stage.days(7);
        stage.world.outage(arrow);
        let mut stood = 0;
        for _ in 0..3 {
            let report = stage.run(deployment.rotate(&BTreeSet::new(), &operator())).unwrap();
            stood += report.steps.iter().filter(|step| !step.outcome.is_done()).count();
            stage.world.heal();
            stage.nobody_is_locked_out();
            stage.world.outage(arrow);
            stage.hours(1);
        }
        let wrong = stage.what_went_wrong();
        assert!(stood == 0 || !wrong.is_empty(), "{arrow}: {stood} steps, and no entry");
        stage.world.heal();
        stage.comes_to_rest(&deployment);
        assert!(!stage.works(KEY, &first), "{arrow}");
    }
}

/// A store that gives the version before to whoever asks for the present one.
struct Lagging {
    inner: Arc<dyn SecretStore>,
    lags: Arc<AtomicBool>,
}

struct LaggingOpen {
    inner: Arc<dyn Open>,
    lags: Arc<AtomicBool>,
}

impl SecretStore for Lagging {
    fn description(&self) -> String {
        self.inner.description()
    }

    fn labels(&self) -> Result<Arc<dyn Labels>> {
        self.inner.labels()
    }

    fn deliver(&self) -> Result<Arc<dyn Deliver>> {
        self.inner.deliver()
    }

    fn open(&self) -> Result<Arc<dyn Open>> {
        Ok(Arc::new(LaggingOpen { inner: self.inner.open()?, lags: Arc::clone(&self.lags) }))
    }
}

#[async_trait]
impl Open for LaggingOpen {
    async fn open(
        &self,
        path: &str,
        generation: Option<u32>,
        expect: Option<Digest>,
    ) -> Result<Secret> {
        if generation.is_none() && self.lags.load(Ordering::SeqCst) {
            return self.inner.open(path, Some(1), None).await;
        }
        self.inner.open(path, generation, expect).await
    }
}

#[test]
fn an_old_one_is_kept_while_the_vault_gives_it_to_whoever_asks_for_the_present_one() {
    let mut stage = Stage::new();
    let lags = Arc::new(AtomicBool::new(false));
    stage.store = Arc::new(Lagging { inner: Arc::clone(&stage.store), lags: Arc::clone(&lags) });
    let deployment = stage.applied(plain("1h", &[]));
    let first = stage.secret("plain/key").unwrap();
    stage.days(7);
    stage.rotate(&deployment);
    lags.store(true, Ordering::SeqCst);
    stage.hours(1);
    let report = stage.run(deployment.rotate(&BTreeSet::new(), &operator())).unwrap();
    assert!(!outcome(&report, "plain.key").is_done(), "{}", shown(&report));
    // It is what consumers have.
    assert!(stage.nobody_is_locked_out().equals(&first));
    let wrong = stage.what_went_wrong();
    assert!(wrong.iter().any(|why| why.contains("the store gives generation 1")), "{wrong:?}");
    lags.store(false, Ordering::SeqCst);
    stage.hours(1);
    stage.comes_to_rest(&deployment);
    assert!(!stage.works(KEY, &first));
}

#[test]
fn a_secret_that_was_made_while_its_answer_was_lost_is_no_second_one() {
    for fault in [Fault::Timeout, Fault::Late] {
        let stage = Stage::new();
        let deployment = stage.applied(plain("1h", &[]));
        let first = stage.secret("plain/key").unwrap();
        stage.days(7);
        stage.world.fault_on("sim/key create", fault);
        stage.run(deployment.rotate(&BTreeSet::new(), &operator())).unwrap();
        stage.nobody_is_locked_out();
        stage.comes_to_rest(&deployment);
        let second = stage.nobody_is_locked_out();
        assert!(!second.equals(&first) && !stage.works(KEY, &first), "{fault:?}");
    }
}

#[test]
fn a_consumer_that_confirms_what_it_does_not_use_is_named_by_the_ledger() {
    let stage = Stage::new();
    let inbox = MemoryInbox::new();
    let deployment = stage.applied(plain("1h", &["billing"])).with_inbox(Arc::new(inbox.clone()));
    // It goes on with this one, whatever it says.
    let used = stage.secret("plain/key").unwrap();
    stage.days(7);
    stage.rotate(&deployment);
    let confirmation = Confirmation {
        credential: address("plain.key"),
        consumer: "billing".parse().unwrap(),
        generation: 2,
        at: stage.world.clock().now(),
    };
    stage.run(inbox.confirm(&confirmation)).unwrap();
    stage.rotate(&deployment);
    assert!(stage.works(KEY, &used), "nothing ends before its time");
    stage.hours(1);
    stage.rotate(&deployment);
    assert!(!stage.works(KEY, &used), "a confirmation is believed");
    stage.nobody_is_locked_out();
    let confirmed = stage.events().into_iter().any(|entry| {
        entry.generation == Some(2)
            && matches!(
                &entry.event,
                Event::Credential(CredentialEvent::Confirmed { consumer }) if consumer == "billing"
            )
    });
    assert!(confirmed, "the ledger says who said it");
    stage.assert_clean(&deployment);
}

#[test]
fn a_clock_that_is_set_back_an_hour_ends_nothing_early_and_loses_nothing() {
    for before_the_turn in [true, false] {
        let stage = Stage::new();
        let deployment = stage.applied(plain("2h", &[]));
        let first = stage.secret("plain/key").unwrap();
        stage.days(7);
        let back = jiff::SignedDuration::from_hours(-1);
        if before_the_turn {
            stage.world.turn_clock(back);
            // It is due an hour later, by the only clock that there is.
            assert!(stage.rotate(&deployment).steps.is_empty());
            stage.hours(1);
        }
        stage.rotate(&deployment);
        if !before_the_turn {
            stage.hours(1);
            stage.world.turn_clock(back);
        }
        stage.hours(1);
        stage.rotate(&deployment);
        assert!(stage.works(KEY, &first), "its overlap is two hours by any clock");
        stage.nobody_is_locked_out();
        stage.hours(1);
        stage.comes_to_rest(&deployment);
        assert!(!stage.works(KEY, &first));
    }
}

#[test]
fn a_policy_that_changes_in_the_middle_holds_from_the_next_look() {
    let stage = Stage::new();
    let short = stage.applied(plain("1h", &[]));
    let first = stage.secret("plain/key").unwrap();
    stage.days(7);
    stage.rotate(&short);
    // Longer: the old one lives on.
    let long = stage.deploy(plain("3d", &[]));
    stage.hours(2);
    stage.rotate(&long);
    assert!(stage.works(KEY, &first));
    stage.assert_clean(&long);
    // With a consumer that was not there: it is waited for.
    let waits = stage.deploy(plain("1h", &["billing"]));
    stage.rotate(&waits);
    assert!(stage.works(KEY, &first));
    assert!(matches!(stage.phase(&waits, "plain.key"), Phase::Overdue { .. }));
    let told = stage.events().into_iter().any(|entry| {
        matches!(&entry.event, Event::Credential(CredentialEvent::Overdue { waiting })
            if waiting.contains("billing"))
    });
    assert!(told, "the ledger says for whom it is kept");
    // Shorter, and without: it ends at once.
    stage.comes_to_rest(&short);
    assert!(!stage.works(KEY, &first));
}

#[test]
fn an_agent_that_is_removed_while_its_old_key_is_waited_for_leaves_nothing() {
    let stage = Stage::new();
    let deployment = stage.applied(plain("1h", &["billing"]));
    stage.days(7);
    stage.rotate(&deployment);
    stage.hours(5);
    stage.rotate(&deployment);
    assert!(matches!(stage.phase(&deployment, "plain.key"), Phase::Overdue { .. }));
    let gone = stage.deploy(fleet());
    stage.apply(&gone);
    stage.assert_clean(&gone);
    assert!(stage.sim().objects("sim.key").is_empty());
    let proved = stage.events().into_iter().filter(|entry| {
        matches!(&entry.event, Event::Credential(CredentialEvent::Revoked { proof: Some(p), .. }) if p.holds())
    });
    assert_eq!(proved.count(), 2, "both are proved dead");
}

/// As [`Plain`], from before anybody thought of rotation.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2028-06-30", grace = "0d", name = "plain")]
struct Early {
    #[identity(name = "plain")]
    account: sim::Account,

    #[credential(of = account, deliver = "vault:plain/key")]
    key: sim::Key,
}

#[test]
fn a_ledger_from_before_the_policy_is_due_by_when_the_key_was_issued() {
    let stage = Stage::new();
    let mut early = fleet();
    early.add(EarlyInputs {});
    let early = stage.applied(early);
    let first = stage.secret("plain/key").unwrap();
    stage.days(6);
    assert!(stage.rotate(&early).steps.is_empty(), "it is rotated by hand");
    let deployment = stage.deploy(plain("1h", &[]));
    assert_eq!(stage.plan(&deployment).steps, [], "a policy changes nothing real");
    stage.apply(&deployment);
    assert!(stage.rotate(&deployment).steps.is_empty(), "it is not a week old");
    stage.days(1);
    let report = stage.rotate(&deployment);
    assert_eq!(report.steps.len(), 1, "{}", shown(&report));
    assert!(stage.works(KEY, &first), "its overlap begins now");
    stage.hours(1);
    stage.comes_to_rest(&deployment);
    assert!(!stage.works(KEY, &first));
}
