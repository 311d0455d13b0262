use std::collections::BTreeMap;

use super::*;
use crate::{
    access::Access,
    address::{Address, Instance},
    error::{Error, ErrorKind, Result},
    ledger::{
        Actor, Append, Authority, CredentialRecord, Entry, Managed, OpenStep, Record, RunEvent,
        RunId, RunPurpose, State, StepEvent, Summary, Take,
    },
    plan::Action,
    provider::{Mark, Object, Observation, Operation, Provider as _, Settled, WriteRequest},
    resource::{Reading, Resource},
    schema::Kind,
    secret::Secret,
    value::{Digest, Value},
    vault::Delivery,
};

/// An engine of the smallest kind: it makes two accounts, and recovers. The
/// flags take a part of its care away, so that each observer has something to
/// see.
#[derive(Clone, Copy)]
struct Tiny {
    begins: bool,
    settles: bool,
}

const CAREFUL: Tiny = Tiny { begins: true, settles: true };

struct Rig {
    world: World,
    sim: SimProvider,
    ledger: Arc<dyn Ledger>,
}

fn address(text: &str) -> Address {
    text.parse().expect("the test gives an address")
}

fn managed<R: Resource>(object: &Object) -> Managed {
    let known = |(field, reading): (&String, &Reading)| match reading {
        Reading::Known(value) => Some((field.clone(), value.clone())),
        _ => None,
    };
    Managed {
        resource_type: R::TYPE.to_owned(),
        kind: R::KIND,
        provider: "sim".to_owned(),
        id: object.id.clone(),
        properties: object.fields.iter().filter_map(known).collect(),
        outputs: BTreeMap::new(),
        access: Access::NONE,
        dependencies: [].into(),
        protect: false,
        suspended: false,
        credential: None,
    }
}

impl Rig {
    async fn append(
        &self,
        state: &State,
        at: &Address,
        run: &RunId,
        fence: Option<&crate::ledger::Fence>,
        event: StepEvent,
    ) -> Result<()> {
        let version = state.version(at);
        let append = Append {
            expected: BTreeMap::from([(at.clone(), version)]),
            entries: vec![Entry::of(at, event).in_run(run)],
            fence: fence.cloned(),
            take: None,
        };
        self.ledger.append(append).await.map(drop)
    }

    async fn state(&self) -> Result<State> {
        self.ledger.state(&Query::Everything).await
    }
}

impl Tiny {
    async fn recover(
        self,
        rig: &Rig,
        at: &Address,
        open: &OpenStep,
        fence: &crate::ledger::Fence,
    ) -> Result<()> {
        let writers = rig.sim.writers()?;
        let writer = writers.of(Account::TYPE).expect("accounts are managed");
        let settled = if self.settles {
            writer.settle(std::slice::from_ref(&open.claim)).await?.remove(0)
        } else {
            Settled::NotDone
        };
        let claim = open.claim.clone();
        let event = match settled {
            Settled::Done(written) => {
                let object = written.object.as_ref().map(|it| managed::<Account>(it).into());
                StepEvent::Done { claim, object }
            }
            _ => StepEvent::Failed { claim, error: "its run died".into() },
        };
        rig.append(&rig.state().await?, at, &open.run, Some(fence), event).await
    }

    async fn make(
        self,
        rig: &Rig,
        run: &RunId,
        fence: &crate::ledger::Fence,
        step: usize,
        at: &Address,
    ) -> Result<()> {
        let claim = run.claim(step);
        if self.begins {
            let begun = StepEvent::Begun {
                claim: claim.clone(),
                action: Action::Create,
                deposed: false,
                target: None,
                id: None,
                provider: "sim".into(),
                resource_type: Account::TYPE.into(),
            };
            rig.append(&rig.state().await?, at, run, Some(fence), begun).await?;
        }
        let name = Value::from(at.resource());
        let request = WriteRequest {
            claim: claim.clone(),
            mark: Mark { fleet: "office".into(), environment: "test".into(), address: at.clone() },
            operation: Operation::Create(BTreeMap::from([("name".to_owned(), name)])),
            seen: Observation::Absent,
            credential: None,
        };
        let writers = rig.sim.writers()?;
        let writer = writers.of(Account::TYPE).expect("accounts are managed");
        let issued = writer.write(vec![request]).await.remove(0)?;
        if self.begins {
            let object = issued.written.object.as_ref().map(|it| managed::<Account>(it).into());
            let done = StepEvent::Done { claim, object };
            rig.append(&rig.state().await?, at, run, Some(fence), done).await?;
        }
        Ok(())
    }

    async fn apply(self, rig: &Rig) -> Result<()> {
        let instance = Instance::new("triage")?;
        let run = RunId::random(&*rig.world.entropy());
        let actor = Actor::asserted("test", "ada");
        let begun = RunEvent::Begun {
            purpose: RunPurpose::Apply,
            actor: actor.clone(),
            authority: Authority::Acknowledged { digest: Digest::ZERO, actor },
            instances: vec![instance.clone()],
            revision: None,
            engine: "tiny".into(),
        };
        let died = rig.state().await?.runs.into_keys();
        let ended =
            |run: &RunId| Entry::new(RunEvent::Ended { summary: Summary::default() }).in_run(run);
        let mut entries = vec![Entry::new(begun).in_run(&run)];
        entries.extend(died.map(|died| ended(&died)));
        let take = Take {
            run: run.clone(),
            instances: vec![instance],
            holder: "test".into(),
            ttl: Duration::from_hours(1),
            force: false,
        };
        let append = Append { entries, take: Some(take), ..Append::default() };
        let appended = rig.ledger.append(append).await?;
        let fence = appended.fence.expect("the leases were taken");
        for (step, name) in ["one", "two"].into_iter().enumerate() {
            let at = address(&format!("triage.{name}"));
            let record: Option<Record> = rig.state().await?.records.remove(&at);
            if let Some(open) = record.as_ref().and_then(|record| record.open.as_ref()) {
                self.recover(rig, &at, open, &fence).await?;
            }
            if rig.state().await?.object(&at).is_none() {
                self.make(rig, &run, &fence, step, &at).await?;
            }
        }
        let append = Append { entries: vec![ended(&run)], ..Append::default() };
        rig.ledger.append(append).await?;
        rig.ledger.release(&fence).await
    }
}

impl Scenario for Tiny {
    type Rig = Rig;

    fn prepare(&self, world: &World) -> Rig {
        world.watch();
        let options = SimOptions::default().settles_within(Duration::from_secs(30));
        let sim = world.provider_with("sim", options);
        Rig { world: world.clone(), sim, ledger: world.ledger("office", "test") }
    }

    async fn process(&self, rig: &Rig) -> Result<()> {
        self.apply(rig).await
    }
}

fn rig(seed: u64) -> Rig {
    CAREFUL.prepare(&World::new(seed))
}

#[test]
fn a_careful_engine_survives_two_crashes_at_every_boundary() {
    let report = sweep(11, Depth::Two, &CAREFUL);
    assert!(report.failures.is_empty(), "{report}");
    let second = report.worlds - report.boundaries.len();
    assert!(second > report.boundaries.len(), "{report}");
}

#[test]
fn a_careful_engine_survives_every_fault_at_every_boundary() {
    let report = sweep_faults(11, &CAREFUL);
    assert!(report.failures.is_empty(), "{report}");
    assert_eq!(report.worlds, report.boundaries.len() * 6);
}

#[test]
fn a_write_that_was_not_announced_is_seen_as_i1_and_i2() {
    let careless = Tiny { begins: false, settles: true };
    let rig = careless.prepare(&World::new(3));
    rig.world.run(careless.apply(&rig)).finished().unwrap();
    let found: Vec<&str> =
        rig.world.check(&rig.world.state()).iter().map(|v| v.invariant).collect();
    assert!(found.contains(&"I1") && found.contains(&"I2"), "{found:?}");
}

#[test]
fn an_engine_that_does_not_settle_is_caught_by_the_sweep() {
    let report = sweep(11, Depth::One, &Tiny { begins: true, settles: false });
    let shown = report.to_string();
    assert!(!report.failures.is_empty());
    assert!(shown.contains("I2: the sim.account"), "{shown}");
}

#[test]
fn the_same_seed_gives_the_same_boundaries_and_the_same_ledger() {
    let play = |seed| {
        let rig = rig(seed);
        rig.world.run(CAREFUL.apply(&rig)).finished().unwrap();
        (rig.world.boundaries(), rig.world.state().head, rig.world.clock().elapsed())
    };
    assert_eq!(play(7), play(7));
    let (names, head, _) = play(7);
    assert_ne!(head, play(8).1);
    assert_eq!(
        names[..3],
        ["ledger/state", "ledger/append run.begun before", "ledger/append run.begun after",]
    );
    let writes: Vec<&String> = names.iter().filter(|name| name.starts_with("sim/")).collect();
    assert_eq!(
        writes,
        [
            "sim/account create triage.one before",
            "sim/account create triage.one after",
            "sim/account create triage.two before",
            "sim/account create triage.two after",
        ]
    );
}

#[test]
fn a_crash_keeps_what_is_durable_and_frees_the_leases() {
    let rig = rig(7);
    rig.world.crash_on("sim/account create triage.one after");
    assert!(rig.world.run(CAREFUL.apply(&rig)).is_crashed());
    assert_eq!(rig.sim.existing().len(), 1);
    let state = rig.world.state();
    assert!(state.records[&address("triage.one")].open.is_some());
    assert_eq!(rig.world.check(&state), [], "it is in doubt, so it is no orphan");
    rig.world.run(CAREFUL.apply(&rig)).finished().unwrap();
    assert_eq!(rig.sim.existing().len(), 2);
}

#[test]
fn a_fault_hits_the_boundary_that_it_is_meant_for() {
    for (part, fault, kind, exists) in [
        ("create triage.one before", Fault::Error, ErrorKind::Provider, false),
        ("create triage.one before", Fault::Timeout, ErrorKind::Timeout, false),
        ("create triage.one after", Fault::Error, ErrorKind::InDoubt, true),
        ("create triage.one after", Fault::Timeout, ErrorKind::Timeout, true),
        ("append run.begun before", Fault::Error, ErrorKind::Ledger, false),
        ("append run.begun after", Fault::Error, ErrorKind::InDoubt, false),
    ] {
        let rig = rig(7);
        rig.world.fault_on(part, fault);
        let error = rig.world.run(CAREFUL.apply(&rig)).finished().expect_err("the call fails");
        assert_eq!(error.kind(), kind, "{part}");
        assert_eq!(!rig.sim.existing().is_empty(), exists, "{part}");
    }
}

#[test]
fn an_outage_lasts_until_it_is_healed() {
    let world = World::new(1);
    let sim = world.provider("sim");
    world.outage("sim/");
    for _ in 0..3 {
        assert!(world.run(sim.target()).finished().is_err());
    }
    world.heal();
    assert!(world.run(sim.target()).finished().is_ok());
}

#[test]
fn a_fault_from_a_boundary_on_leaves_the_ones_before_alone() {
    let world = World::new(1);
    let sim = world.provider("sim");
    world.fault_from(1, Fault::Timeout);
    let both = world.run(async { (sim.target().await, sim.target().await) }).finished();
    assert!(both.0.is_ok() && both.1.is_err());
}

#[test]
fn a_crash_that_was_not_reached_does_not_hit_the_next_run() {
    let world = World::new(1);
    let sim = world.provider("sim");
    world.crash_at(5);
    assert!(world.run(sim.target()).finished().is_ok());
    let many = async {
        for _ in 0..9 {
            sim.target().await?;
        }
        Ok::<(), Error>(())
    };
    assert!(world.run(many).finished().is_ok());
    assert_eq!(world.boundaries().len(), 9);
}

/// A recorded key whose secret is at its place.
async fn deliver(rig: &Rig, store: &dyn SecretStore, secret: &Secret) -> Result<()> {
    let (at, run) = (address("triage.login"), RunId::random(&*rig.world.entropy()));
    let owner = rig.sim.hand().account("triage", None)?;
    let id = rig.sim.hand().token(&owner, secret)?;
    let claim = run.claim(0);
    let vault = store.deliver()?;
    let delivery =
        Delivery { path: "triage/login", address: &at, generation: 1, claim: &claim, secret };
    let stored = vault.stage(delivery).await?;
    vault.promote("triage/login", &claim).await?;
    let mut object = managed::<Token>(&Object {
        id,
        fields: BTreeMap::from([("of".to_owned(), Reading::Known(Value::from(owner)))]),
        suspended: false,
        mark: None,
        obstacle: None,
        label: None,
    });
    assert_eq!(object.kind, Kind::Credential);
    object.credential = Some(CredentialRecord {
        generation: 1,
        place: "vault:triage/login".parse()?,
        stored: Some(stored.digest),
        fingerprint: None,
        issued_at: None,
        verified_at: None,
    });
    let adopted = crate::ledger::RecordEvent::Adopted { object: object.into(), from: None };
    let append = Append {
        expected: BTreeMap::from([(at.clone(), 0)]),
        entries: vec![Entry::of(&at, adopted)],
        ..Append::default()
    };
    rig.ledger.append(append).await.map(drop)
}

#[test]
fn a_credential_whose_place_gives_another_secret_is_seen_as_i6() {
    let rig = rig(7);
    let vault = MemoryVault::new();
    let store = rig.world.store_over("vault", Arc::new(vault.clone()));
    let secret = Secret::from_text("the-real-one".into());
    rig.world.run(deliver(&rig, &*store, &secret)).finished().unwrap();
    assert_eq!(rig.world.check(&rig.world.state()), []);
    assert!(rig.world.boundaries().contains(&"vault/stage triage.login before".to_owned()));

    vault.tamper("triage/login", Secret::from_text("another".into()));
    let found = rig.world.check(&rig.world.state());
    assert!(matches!(found.as_slice(), [found] if found.invariant == "I6"), "{found:?}");
}

#[test]
fn a_secret_in_the_ledger_is_seen_as_i10_and_not_repeated() {
    let rig = rig(7);
    let secret = Secret::from_text("canary-4711".into());
    let store = rig.world.store("vault");
    rig.world.run(deliver(&rig, &*store, &secret)).finished().unwrap();
    let at = address("triage.one");
    let unread = crate::ledger::ObservedEvent::Unread { reason: "got canary-4711".into() };
    let append = Append {
        expected: BTreeMap::from([(at.clone(), 0)]),
        entries: vec![Entry::of(&at, unread)],
        ..Append::default()
    };
    rig.world.run(rig.ledger.append(append)).finished().unwrap();
    let found = rig.world.check(&rig.world.state());
    assert!(found.iter().any(|found| found.invariant == "I10"), "{found:?}");
    assert!(found.iter().all(|found| !found.what.contains("canary")), "{found:?}");
}

#[test]
fn a_state_that_is_not_its_replay_is_seen_as_i4() {
    let rig = rig(7);
    rig.world.run(CAREFUL.apply(&rig)).finished().unwrap();
    let mut state = rig.world.state();
    state.records.remove(&address("triage.two"));
    let found = rig.world.check(&state);
    assert!(found.iter().any(|found| found.invariant == "I4"), "{found:?}");
}

#[test]
fn what_is_gone_is_lost_unless_a_hand_took_it() {
    let rig = rig(7);
    rig.world.run(CAREFUL.apply(&rig)).finished().unwrap();
    let state = rig.world.state();
    let id = state.object(&address("triage.one")).unwrap().id.clone();
    rig.sim.hand().delete::<Account>(&id).unwrap();
    assert_eq!(rig.world.check(&state), []);
    rig.world.provider_with("sim", SimOptions::default());
    let found = rig.world.check(&state);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|found| found.invariant == "I2"));
}

#[test]
fn deleting_what_was_neither_made_nor_adopted_is_seen_as_i9() {
    let rig = rig(7);
    let id = rig.sim.hand().account("stranger", None).unwrap();
    let run = RunId::random(&*rig.world.entropy());
    let process = async {
        let writers = rig.sim.writers()?;
        let writer = writers.of(Account::TYPE).expect("accounts are managed");
        let seen = writer.read(&[crate::provider::Reference::Id(id.clone())]).await?.remove(0);
        let request = WriteRequest {
            claim: run.claim(0),
            mark: Mark {
                fleet: "office".into(),
                environment: "test".into(),
                address: address("triage.one"),
            },
            operation: Operation::Delete { id: id.clone() },
            seen,
            credential: None,
        };
        writer.write(vec![request]).await.remove(0)
    };
    rig.world.run(process).finished().unwrap();
    let found: Vec<&str> = rig.world.violations().iter().map(|found| found.invariant).collect();
    assert_eq!(found, ["I1", "I9"]);
}

#[test]
fn two_systems_of_one_world_keep_apart() {
    let world = World::new(1);
    let (a, b) = (world.provider("a"), world.provider("b"));
    a.hand().account("x", None).unwrap();
    assert_eq!((a.existing().len(), b.existing().len()), (1, 0));
    assert_eq!(world.provider("a").existing().len(), 1, "it is the same system");
    assert_eq!(world.shape(), [r#"a: sim.account home=null name="x" note=null [unmarked]"#]);
}

#[test]
fn a_gate_changes_nothing_of_the_contract_behind_it() {
    let world = World::new(2);
    let ledger = {
        let world = world.clone();
        move || {
            let ledger = world.ledger("office", "test");
            async move { ledger }
        }
    };
    let clock = world.clock();
    world.run(crate::testing::ledger::check(ledger, &*clock)).finished();
    let store = {
        let world = world.clone();
        move || world.store("vault")
    };
    world.run(crate::testing::vault::check(store)).finished();
}
