use std::collections::BTreeMap;

use super::{super::World, *};
use crate::{
    error::ErrorKind,
    ledger::RunId,
    provider::{
        Attempt, Issued, Listing, Mark, NewCredential, Observation, Operation, Reference, Settled,
        Tried, WriteRequest,
    },
    resource::{Link, Resource},
    testing::{
        provider::{Sample, Suite},
        world::Fault,
    },
    value::Value,
};

/// Declares a credential of one type for an account.
macro_rules! credential {
    ($ty:ty) => {
        |of: &str, _: &Sample| {
            let mut credential = <$ty>::builder();
            credential.of(Link::id(of));
            credential
        }
    };
}

struct Bench {
    world: World,
    sim: SimProvider,
    run: RunId,
}

fn bench(options: SimOptions) -> Bench {
    let world = World::new(5);
    let sim = world.provider_with("sim", options);
    let run = RunId::random(&*world.entropy());
    Bench { world, sim, run }
}

fn account(name: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("name".to_owned(), Value::from(name))])
}

fn of(id: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("of".to_owned(), Value::from(id))])
}

impl Bench {
    fn request(&self, step: usize, operation: Operation<BTreeMap<String, Value>>) -> WriteRequest {
        WriteRequest {
            claim: self.run.claim(step),
            mark: Mark {
                fleet: "office".into(),
                environment: "test".into(),
                address: format!("triage.r{step}").parse().unwrap(),
            },
            operation,
            seen: Observation::Absent,
            credential: None,
        }
    }

    async fn write<R: Resource>(&self, request: WriteRequest) -> Result<Issued> {
        let writers = self.sim.writers()?;
        let writer = writers.of(R::TYPE).expect("the type is managed");
        writer.write(vec![request]).await.remove(0)
    }

    fn create<R: Resource>(&self, step: usize, values: BTreeMap<String, Value>) -> Result<Issued> {
        let mut request = self.request(step, Operation::Create(values));
        if R::KIND == crate::schema::Kind::Credential {
            let secret = (R::TYPE == Token::TYPE).then(|| Secret::from_text(format!("s{step}")));
            request.credential = Some(NewCredential { generation: 1, secret, until: None });
        }
        self.world.run(self.write::<R>(request)).finished()
    }

    fn made<R: Resource>(&self, step: usize, values: BTreeMap<String, Value>) -> String {
        let issued = self.create::<R>(step, values).expect("the system makes it");
        issued.written.object.expect("it is there").id
    }

    fn settle<R: Resource>(&self, step: usize) -> Settled {
        let writers = self.sim.writers().unwrap();
        let writer = writers.of(R::TYPE).unwrap();
        let settled = self.world.run(writer.settle(&[self.run.claim(step)])).finished();
        settled.unwrap().remove(0)
    }

    fn read<R: Resource>(&self, id: &str) -> Observation {
        let observers = self.sim.observers().unwrap();
        let observer = observers.of(R::TYPE).unwrap();
        let read = self.world.run(observer.read(&[Reference::Id(id.to_owned())])).finished();
        read.unwrap().remove(0)
    }

    fn probe<C: Resource>(&self, identity: &str, secret: &Secret) -> Tried {
        let probers = self.sim.probers().unwrap();
        let prober = probers.of(C::TYPE).unwrap();
        self.world.run(prober.probe(&[Attempt { identity, secret }])).finished().remove(0)
    }
}

#[track_caller]
fn fails(answer: Result<Issued>, kind: ErrorKind) {
    assert_eq!(answer.expect_err("the system refuses").kind(), kind);
}

#[test]
fn a_repeated_claim_changes_nothing_and_shows_no_secret() {
    let bench = bench(SimOptions::default());
    let id = bench.made::<Account>(0, account("triage"));
    let first = bench.create::<Key>(1, of(&id)).unwrap();
    let again = bench.create::<Key>(1, of(&id)).unwrap();
    assert!(first.secret.is_some() && again.secret.is_none());
    assert_eq!(first.written, again.written);
    assert_eq!(bench.sim.effects().len(), 2);
}

#[test]
fn a_settled_claim_is_done_or_will_never_be() {
    let bench = bench(SimOptions::default());
    let id = bench.made::<Account>(0, account("triage"));
    let Settled::Done(written) = bench.settle::<Account>(0) else { panic!("it was carried out") };
    assert_eq!(written.object.unwrap().id, id);
    assert_eq!(bench.settle::<Account>(1), Settled::NotDone);
    fails(bench.create::<Account>(1, account("late")), ErrorKind::Refused);
}

#[test]
fn work_of_a_dead_sender_lands_late_and_settling_waits_for_it() {
    let minutes = Duration::from_mins(10);
    let mut landed = 0;
    for seed in 0..20 {
        let world = World::new(seed);
        let sim = world.provider_with("sim", SimOptions::default().settles_within(minutes));
        let run = RunId::random(&*world.entropy());
        let bench = Bench { world, sim, run };
        bench.world.crash_on("sim/account create triage.r0 before");
        let request = bench.request(0, Operation::Create(account("triage")));
        assert!(bench.world.run(bench.write::<Account>(request)).is_crashed());
        assert_eq!(bench.sim.existing(), [], "nothing lands in the same instant");
        let settled = bench.settle::<Account>(0);
        let exists = !bench.sim.existing().is_empty();
        assert_eq!(matches!(settled, Settled::Done(_)), exists);
        bench.world.advance(minutes);
        assert_eq!(!bench.sim.existing().is_empty(), exists, "nothing lands once it is settled");
        landed += u32::from(exists);
    }
    assert!((5..20).contains(&landed), "the seed decides: {landed} of 20");
}

#[test]
fn a_timeout_that_lands_late_keeps_its_word() {
    let minutes = Duration::from_mins(10);
    let bench = bench(SimOptions::default().settles_within(minutes));
    bench.world.fault_on("create triage.r0 before", Fault::Late);
    fails(bench.create::<Account>(0, account("triage")), ErrorKind::Timeout);
    assert!(bench.sim.existing().is_empty());
    bench.world.advance(minutes);
    assert_eq!(bench.sim.existing().len(), 1);
}

#[test]
fn a_write_on_other_than_what_was_seen_is_stale() {
    let bench = bench(SimOptions::default());
    let id = bench.made::<Account>(0, account("triage"));
    let seen = bench.read::<Account>(&id);
    bench.sim.hand().set::<Account>(&id, "note", "by hand").unwrap();
    let update = Operation::Update { id: id.clone(), desired: account("triage") };
    let mut request = bench.request(1, update);
    request.seen = seen;
    fails(bench.world.run(bench.write::<Account>(request)).finished(), ErrorKind::StalePlan);
    let mut suspend = bench.request(2, Operation::Suspend { id: id.clone() });
    suspend.seen = bench.read::<Account>(&id);
    bench.world.run(bench.write::<Account>(suspend)).finished().unwrap();
    assert!(bench.read::<Account>(&id).object().unwrap().suspended);
}

#[test]
fn without_unique_names_or_a_registry_a_repeated_create_makes_two() {
    for (recovery, objects) in [
        (crate::provider::Recovery::Registry, 1),
        (crate::provider::Recovery::Tagged, 1),
        (crate::provider::Recovery::NaturalKey, 1),
        (crate::provider::Recovery::None, 2),
    ] {
        let options = SimOptions::default().recovery("sim.account", recovery).checks_seen(false);
        let bench = bench(options);
        bench.made::<Account>(0, account("triage"));
        bench.made::<Account>(0, account("triage"));
        assert_eq!(bench.sim.existing().len(), objects, "{recovery:?}");
    }
}

#[test]
fn an_account_has_no_more_keys_than_the_type_allows() {
    let bench = bench(SimOptions::default());
    let id = bench.made::<Account>(0, account("triage"));
    bench.made::<LoneKey>(1, of(&id));
    fails(bench.create::<LoneKey>(2, of(&id)), ErrorKind::Provider);
    bench.made::<Token>(3, of(&id));
    bench.made::<Token>(4, of(&id));
    fails(bench.create::<Token>(5, of(&id)), ErrorKind::Provider);
}

#[test]
fn a_probe_tells_accepted_refused_and_not_asked_apart() {
    let bench = bench(SimOptions::default().propagation(Duration::from_mins(1)));
    let id = bench.made::<Account>(0, account("triage"));
    let key = bench.create::<Key>(1, of(&id)).unwrap();
    let (secret, wrong) = (key.secret.unwrap(), Secret::from_text("wrong".into()));
    assert_eq!(bench.probe::<Key>(&id, &secret), Tried::Accepted);
    assert!(matches!(bench.probe::<Key>(&id, &wrong), Tried::Refused(_)));
    assert!(matches!(bench.probe::<Token>(&id, &secret), Tried::Refused(_)));
    bench.world.fault_on("sim/key probe", Fault::Timeout);
    assert!(matches!(bench.probe::<Key>(&id, &secret), Tried::Unknown(_)));

    bench.sim.hand().suspend(&id).unwrap();
    let (suspended, unknown) = (bench.probe::<Key>(&id, &secret), bench.probe::<Key>(&id, &wrong));
    assert!(matches!(suspended, Tried::Refused(_)) && suspended != unknown);
    bench.sim.hand().resume(&id).unwrap();

    let key_id = key.written.object.unwrap().id;
    let revoke = bench.request(2, Operation::Delete { id: key_id });
    bench.world.run(bench.write::<Key>(revoke)).finished().unwrap();
    assert_eq!(bench.probe::<Key>(&id, &secret), Tried::Accepted, "the end has not spread yet");
    bench.world.advance(Duration::from_mins(1));
    assert!(matches!(bench.probe::<Key>(&id, &secret), Tried::Refused(_)));
}

#[test]
fn an_account_stays_while_something_belongs_to_it() {
    let bench = bench(SimOptions::default());
    let id = bench.made::<Account>(0, account("triage"));
    let key = bench.made::<Key>(1, of(&id));
    let delete = |step, id: &str| bench.request(step, Operation::Delete { id: id.to_owned() });
    let mut account_goes = delete(2, &id);
    account_goes.seen = bench.read::<Account>(&id);
    fails(bench.world.run(bench.write::<Account>(account_goes)).finished(), ErrorKind::Provider);
    bench.world.run(bench.write::<Key>(delete(3, &key))).finished().unwrap();
    let mut account_goes = delete(4, &id);
    account_goes.seen = bench.read::<Account>(&id);
    bench.world.run(bench.write::<Account>(account_goes)).finished().unwrap();
    assert_eq!(bench.sim.existing(), []);
}

#[test]
fn a_hand_changes_things_behind_the_engine() {
    let bench = bench(SimOptions::default());
    let hand = bench.sim.hand();
    let id = hand.account("stranger", None).unwrap();
    let grant = hand.grant(&id, "issues/*", &["read"]).unwrap();
    hand.widen(&grant, "write").unwrap();
    hand.narrow(&grant, "read").unwrap();
    let shown = bench.read::<Grant>(&grant);
    let allow = shown.object().unwrap().value("allow").unwrap().to_string();
    assert_eq!(allow, r#"["write"]"#);
    let (_, secret) = hand.key(&id).unwrap();
    assert!(bench.sim.accepts("sim.key", &id, &secret));
    let listing = Listing::Of(vec![id.clone()]);
    let observers = bench.sim.observers().unwrap();
    let keys = bench.world.run(observers.of("sim.key").unwrap().list(&listing)).finished();
    assert_eq!(keys.unwrap().len(), 1);
    hand.delete::<Account>(&id).unwrap();
    assert_eq!(bench.sim.existing(), []);
    assert!(bench.sim.effects().iter().all(|effect| effect.claim.is_none()));
}

#[test]
fn a_stale_read_answers_from_one_of_the_last_states() {
    let bench = bench(SimOptions::default().stale_reads(2));
    let id = bench.made::<Account>(0, account("triage"));
    bench.sim.hand().set::<Account>(&id, "note", "new").unwrap();
    let notes: std::collections::BTreeSet<Option<String>> = (0..40)
        .map(|_| Some(bench.read::<Account>(&id).object()?.value("note")?.to_string()))
        .collect();
    let seen = [None, Some("null".to_owned()), Some(r#""new""#.to_owned())];
    assert_eq!(notes, seen.into(), "absent, as made, and as changed");
}

#[test]
fn a_system_may_write_things_its_own_way_and_hide_some() {
    let bench = bench(SimOptions::default().normalises(true).redacts(true));
    let mut values = account("triage");
    values.insert("note".to_owned(), Value::from("  Sorts Mail "));
    let id = bench.made::<Account>(0, values);
    let shown = bench.read::<Account>(&id);
    let object = shown.object().unwrap();
    assert_eq!(object.value("note"), Some(&Value::from("sorts mail")));
    assert_eq!(object.fields["secret_hint"], crate::resource::Reading::Redacted);
}

#[test]
fn one_call_takes_no_more_writes_than_the_system_says() {
    let bench = bench(SimOptions::default().batch(1));
    let writers = bench.sim.writers().unwrap();
    let batch = vec![
        bench.request(0, Operation::Create(account("a"))),
        bench.request(1, Operation::Create(account("b"))),
    ];
    let answers = bench.world.run(writers.of("sim.account").unwrap().write(batch)).finished();
    assert_eq!(answers.len(), 2);
    assert!(answers.into_iter().all(|answer| answer.is_err()));
    assert_eq!(bench.sim.existing(), []);
}

#[test]
fn a_batch_is_one_transaction_only_where_a_registry_is() {
    let boundaries = |recovery| {
        let bench = bench(SimOptions::default().recovery("sim.account", recovery));
        let writers = bench.sim.writers().unwrap();
        let batch = vec![
            bench.request(0, Operation::Create(account("a"))),
            bench.request(1, Operation::Create(account("b"))),
        ];
        bench.world.run(writers.of("sim.account").unwrap().write(batch)).finished();
        bench.world.boundaries()
    };
    assert_eq!(
        boundaries(crate::provider::Recovery::Registry),
        [
            "sim/account create triage.r0 + create triage.r1 before",
            "sim/account create triage.r0 + create triage.r1 after",
        ]
    );
    assert_eq!(
        boundaries(crate::provider::Recovery::NaturalKey),
        [
            "sim/account create triage.r0 before",
            "sim/account create triage.r0 after",
            "sim/account create triage.r1 before",
            "sim/account create triage.r1 after",
        ]
    );
}

/// The options under which the whole contract must hold.
fn sound() -> [SimOptions; 4] {
    let kind = SimOptions::default();
    [
        kind.clone(),
        kind.clone().checks_seen(false),
        kind.clone().settles_within(Duration::from_mins(1)),
        kind.propagation(Duration::from_mins(1)).cascades(true),
    ]
}

#[test]
fn the_simulated_system_keeps_the_contract_of_providers() {
    for options in sound() {
        let world = World::new(9);
        let sim = Arc::new(world.provider_with("sim", options.clone()));
        let suite = Suite::new(Arc::<SimProvider>::clone(&sim), world.clock(), world.entropy());
        let account = |sample: &Sample| {
            let mut account = Account::builder();
            account.name(sample.name()).note(if sample.changed() { "changed" } else { "made" });
            account
        };
        let checks = async {
            suite.check_identity::<Account>(account).await;
            let grant = |to: &str, sample: &Sample| {
                let mut grant = Grant::builder();
                grant.to(Link::id(to)).on(sample.name());
                grant.allow(if sample.changed() { ["write"] } else { ["read"] });
                grant
            };
            suite.check_permission::<Account, Grant>(account, grant).await;
            let job = |run_as: &str, sample: &Sample| {
                let mut job = Job::builder();
                job.name(sample.name()).run_as(Link::id(run_as));
                job.command(if sample.changed() { "true" } else { "false" });
                job
            };
            suite.check_permission::<Account, Job>(account, job).await;
            suite.check_credential::<Account, Key>(account, credential!(Key)).await;
            suite.check_credential::<Account, Token>(account, credential!(Token)).await;
            suite.check_credential::<Account, LoneKey>(account, credential!(LoneKey)).await;
        };
        world.run(checks).finished();
        assert_eq!(sim.existing(), [], "{options:?}");
    }
}
