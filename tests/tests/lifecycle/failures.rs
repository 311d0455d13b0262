//! Calls that fail, are lost, or are answered wrongly.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
};

use agent_iac::{
    Error,
    apply::Progress,
    error::Retry,
    ledger::Claim,
    provider::{
        Capabilities, Limits, Listing, Manage, Object, Observation, Observe, Observers, Operation,
        Probers, Provider, Recovery, Reference, Settled, Write, Writers, Written,
    },
    resource::{Reading, Resource as _},
    testing::world::Fault,
    value::Value,
};
use async_trait::async_trait;
use jiff::Timestamp;

use super::*;

#[test]
fn one_failed_step_stops_only_what_depends_on_it_and_the_report_says_so() {
    let stage = Stage::with(SimOptions::default().batch(1));
    let deployment = stage.deploy(readers(&["eu", "us"]));
    stage.world.outage(r#"sim/account create reader["eu"].account before"#);
    let report = stage.try_apply(&deployment);
    assert!(!report.is_complete());
    assert!(matches!(outcome(&report, &format!("{EU}.account")), Outcome::Failed(_)));
    for field in ["invoices", "log", "key"] {
        let Outcome::Skipped { because } = outcome(&report, &format!("{EU}.{field}")) else {
            panic!("{}", shown(&report));
        };
        assert_eq!(because, &format!("it needs `{EU}.account`, which was not done"));
        let at = format!(r#"reader["us"].{field}"#);
        assert!(outcome(&report, &at).is_done(), "{}", shown(&report));
    }
    assert_eq!((report.summary.done, report.summary.failed, report.summary.skipped), (4, 1, 3));
    stage.world.heal();
    stage.apply(&deployment);
    stage.assert_clean(&deployment);
}

#[test]
fn a_call_that_fails_once_is_repeated_after_a_pause() {
    let stage = Stage::new();
    let deployment = stage.deploy(readers(&["eu"]));
    stage.world.fault_on("sim/account create", Fault::Error);
    stage.apply(&deployment);
    stage.assert_clean(&deployment);
}

#[test]
fn a_write_that_timed_out_and_took_effect_is_adopted_and_not_doubled() {
    for recovery in [Recovery::Registry, Recovery::Tagged, Recovery::NaturalKey] {
        for what in ["sim/account create", "sim/grant create", "sim/key create", "sim/key issue"] {
            let mut options = SimOptions::default();
            for ty in ["sim.account", "sim.grant"] {
                options = options.recovery(ty, recovery);
            }
            let stage = Stage::with(options);
            let deployment = stage.deploy(readers(&["eu"]));
            let saved = SavedPlan::new(stage.plan(&deployment)).unwrap();
            stage.world.fault_on(what, Fault::Timeout);
            let context = operator().acknowledging(saved.digest());
            stage.run(deployment.apply(&saved, &context)).unwrap();
            stage.world.heal();
            stage.run(agent_iac_tests::converge(&deployment)).unwrap();
            assert_eq!(stage.sim().objects("sim.account").len(), 1, "{recovery:?} {what}");
            assert_eq!(stage.sim().objects("sim.grant").len(), 2, "{recovery:?} {what}");
            assert_eq!(stage.sim().objects("sim.key").len(), 1, "{recovery:?} {what}");
            stage.assert_clean(&deployment);
        }
    }
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again() {
    let stage = Stage::new();
    let deployment = stage.deploy(readers(&["eu"]));
    let saved = SavedPlan::new(stage.plan(&deployment)).unwrap();
    // The effect stands, and its answer is lost.
    let boundary = r#"sim/account create reader["eu"].account after"#;
    stage.world.fault_on(boundary, Fault::Error);
    let report =
        stage.run(deployment.apply(&saved, &operator().acknowledging(saved.digest()))).unwrap();
    assert!(report.is_complete(), "{}", shown(&report));
    assert_eq!(stage.sim().objects("sim.account").len(), 1);
    stage.assert_clean(&deployment);
}

#[test]
fn writes_keep_to_the_rate_that_a_system_states() {
    let limits = Limits { concurrent: 4, writes_per_second: Some(2) };
    let stage = Stage::with(SimOptions::default().limits(limits).batch(1));
    stage.world.latency(Duration::ZERO, Duration::ZERO);
    stage.applied(readers(&["a", "b", "c"]));
    let mut times: Vec<Timestamp> = stage.sim().effects().iter().map(|effect| effect.at).collect();
    times.sort();
    assert_eq!(times.len(), 12);
    for window in times.windows(3) {
        let apart = window[2].duration_since(window[0]);
        assert!(apart.as_millis() >= 1_000, "three writes within {apart:?}");
    }
}

#[test]
fn a_stop_finishes_what_is_in_flight_and_starts_nothing_new() {
    let stage = Stage::with(SimOptions::default().batch(1));
    let deployment = stage.deploy(readers(&["eu"]));
    let saved = SavedPlan::new(stage.plan(&deployment)).unwrap();
    let mut context = operator().acknowledging(saved.digest());
    let stop = context.stop.clone();
    context.watch = Arc::new(move |progress| {
        if matches!(progress, Progress::StepBegun { .. }) {
            stop.request();
        }
    });
    let report = stage.run(deployment.apply(&saved, &context)).unwrap();
    assert!(outcome(&report, &format!("{EU}.account")).is_done(), "{}", shown(&report));
    for field in ["invoices", "log", "key"] {
        let Outcome::Skipped { because } = outcome(&report, &format!("{EU}.{field}")) else {
            panic!("{}", shown(&report));
        };
        assert_eq!(because, "the run was told to stop");
    }
    assert_eq!(stage.sim().effects().len(), 1);
    assert!(stage.state().runs.is_empty(), "the run has ended in the ledger");
    stage.apply(&deployment);
    stage.assert_clean(&deployment);
}

/// How the odd system answers one call to write.
#[derive(Clone, Debug)]
enum Answer {
    Properly,
    Throttled(Duration),
    Down,
    Denied,
    TooFew,
    OtherNote,
    WithoutId,
    Nothing,
    /// It does what it should, and answers of another object.
    OtherId,
    /// It suspends nobody, and says so.
    Awake,
}

/// A system of accounts that keeps to no contract.
struct Odd {
    answers: Mutex<VecDeque<Answer>>,
    objects: Mutex<BTreeMap<String, Object>>,
    calls: Mutex<Vec<(Timestamp, usize)>>,
    /// Calls under way now, and at most.
    busy: Mutex<(usize, usize)>,
    clock: Arc<sim::SimClock>,
    reads_fewer: bool,
    concurrent: usize,
}

impl Odd {
    fn answering(stage: &Stage, answers: &[Answer]) -> Arc<Handle> {
        Arc::new(Handle(Arc::new(Self {
            answers: Mutex::new(answers.iter().cloned().collect()),
            objects: Mutex::default(),
            calls: Mutex::default(),
            busy: Mutex::default(),
            clock: stage.world.clock(),
            reads_fewer: false,
            concurrent: 1,
        })))
    }

    fn write_one(&self, write: &Write<sim::Account>, answer: &Answer) -> Result<Written> {
        let down = |message: &str| Error::new(ErrorKind::Provider, message);
        match answer {
            Answer::Throttled(pause) => {
                return Err(down("slow down").retry_as(Retry::After(*pause)));
            }
            Answer::Down => return Err(down("it is down").retry_as(Retry::Backoff)),
            Answer::Denied => return Err(Error::new(ErrorKind::Denied, "it may not")),
            Answer::Nothing => return Ok(Written { object: None, correlation: None }),
            _ => {}
        }
        let spec = match &write.operation {
            Operation::Create(spec) => spec,
            Operation::Update { id, desired } => {
                let mut objects = self.objects.lock().unwrap();
                let object = objects.get_mut(id).expect("it is there");
                let note = desired.note.clone().map_or(Value::Null, Value::Text);
                object.fields.insert("note".into(), Reading::Known(note));
                let mut object = object.clone();
                if matches!(answer, Answer::OtherId) {
                    object.id = "odd-other".into();
                }
                return Ok(Written { object: Some(object), correlation: None });
            }
            Operation::Suspend { id } => {
                let mut objects = self.objects.lock().unwrap();
                let object = objects.get_mut(id).expect("it is there");
                object.suspended = !matches!(answer, Answer::Awake);
                return Ok(Written { object: Some(object.clone()), correlation: None });
            }
            _ => return Err(down("this is not played")),
        };
        let known =
            |value: &Option<String>| Reading::Known(value.clone().map_or(Value::Null, Value::Text));
        let note = match answer {
            Answer::OtherNote => Reading::Known("something else".into()),
            _ => known(&spec.note),
        };
        let id = match answer {
            Answer::WithoutId => String::new(),
            _ => format!("odd-{}", spec.name),
        };
        let object = Object {
            id: id.clone(),
            fields: BTreeMap::from([
                ("name".to_owned(), Reading::Known(spec.name.as_str().into())),
                ("note".to_owned(), note),
                ("home".to_owned(), known(&spec.home)),
                ("id".to_owned(), Reading::Known(id.as_str().into())),
                ("secret_hint".to_owned(), Reading::Known("x".into())),
            ]),
            suspended: false,
            mark: Some(write.mark.clone()),
            obstacle: None,
            label: None,
        };
        self.objects.lock().unwrap().insert(id, object.clone());
        Ok(Written { object: Some(object), correlation: None })
    }
}

#[async_trait]
impl Observe<sim::Account> for Odd {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            recovery: Recovery::Registry,
            checks_seen: true,
            suspends: true,
            batch: if self.concurrent > 1 { 1 } else { 100 },
            ..Capabilities::default()
        }
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        let objects = self.objects.lock().unwrap();
        let found = |reference: &Reference| {
            let id = match reference {
                Reference::Id(id) => id.clone(),
                Reference::Key(key) => format!("odd-{}", key["name"].as_text().unwrap()),
            };
            objects.get(&id).cloned().map_or(Observation::Absent, Observation::Present)
        };
        let skip = usize::from(self.reads_fewer);
        Ok(references.iter().skip(skip).map(found).collect())
    }

    async fn list(&self, _: &Listing) -> Result<Vec<Object>> {
        Ok(self.objects.lock().unwrap().values().cloned().collect())
    }
}

#[async_trait]
impl Manage<sim::Account> for Odd {
    async fn write(&self, batch: &[Write<sim::Account>]) -> Vec<Result<Written>> {
        use agent_iac::clock::Clock as _;
        self.calls.lock().unwrap().push((self.clock.now(), batch.len()));
        {
            let mut busy = self.busy.lock().unwrap();
            busy.0 += 1;
            busy.1 = busy.1.max(busy.0);
        }
        self.clock.sleep(Duration::from_secs(1)).await;
        self.busy.lock().unwrap().0 -= 1;
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Answer::Properly);
        let mut answers: Vec<_> =
            batch.iter().map(|write| self.write_one(write, &answer)).collect();
        if matches!(answer, Answer::TooFew) {
            answers.pop();
        }
        answers
    }

    async fn settle(&self, claims: &[Claim]) -> Result<Vec<Settled>> {
        Ok(claims.iter().map(|_| Settled::Unknown("it keeps no claims".into())).collect())
    }
}

/// The odd system as a provider.
struct Handle(Arc<Odd>);

#[async_trait]
impl Provider for Handle {
    fn description(&self) -> String {
        "an odd system".into()
    }

    fn limits(&self) -> Limits {
        Limits { concurrent: self.0.concurrent, writes_per_second: None }
    }

    async fn target(&self) -> Result<String> {
        Ok("odd".into())
    }

    fn observers(&self) -> Result<Observers> {
        Ok(Observers::new().with::<sim::Account, _>(&self.0))
    }

    fn writers(&self) -> Result<Writers> {
        Ok(Writers::new().with::<sim::Account, _>(&self.0))
    }

    fn probers(&self) -> Result<Probers> {
        Ok(Probers::new())
    }
}

/// Has an account in the odd system.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2027-06-30", name = "guest")]
struct Guest {
    #[input(key)]
    name: String,
    #[identity(name = name, note = "as declared", provider = "odd")]
    account: sim::Account,
}

fn guests(stage: &Stage, odd: &Arc<Handle>, names: &[&str]) -> Deployment {
    let mut fleet = fleet();
    fleet.provider("odd", Reach::Declared);
    for name in names {
        fleet.add(GuestInputs { name: (*name).into() });
    }
    let provider: Arc<dyn Provider> = Arc::clone(odd) as Arc<dyn Provider>;
    stage.deploy(fleet).with_provider("odd", provider)
}

fn error_of(report: &Report, at: &str) -> String {
    match outcome(report, at) {
        Outcome::Failed(error) | Outcome::InDoubt(error) => {
            format!("{:?}: {}", error.kind(), error.chain())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_throttled_call_is_repeated_after_the_time_that_the_system_asks_for() {
    let stage = Stage::new();
    let odd =
        Odd::answering(&stage, &[Answer::Throttled(Duration::from_secs(30)), Answer::Properly]);
    let deployment = guests(&stage, &odd, &["a"]);
    let report = stage.try_apply(&deployment);
    assert!(report.is_complete(), "{}", shown(&report));
    let calls = odd.0.calls.lock().unwrap();
    let apart = calls[1].0.duration_since(calls[0].0);
    assert!((31_000..31_100).contains(&apart.as_millis()), "{apart:?}");
}

#[test]
fn a_system_that_is_down_is_asked_less_and_less_often_and_then_given_up() {
    let stage = Stage::new();
    let odd = Odd::answering(&stage, &vec![Answer::Down; 20]);
    let report = stage.try_apply(&guests(&stage, &odd, &["a"]));
    assert!(error_of(&report, r#"guest["a"].account"#).contains("it is down"));
    let calls = odd.0.calls.lock().unwrap();
    assert_eq!(calls.len(), 5);
    let pauses: Vec<_> =
        calls.windows(2).map(|two| two[1].0.duration_since(two[0].0).as_millis()).collect();
    assert!(pauses.windows(2).all(|two| two[0] < two[1]), "{pauses:?}");
}

#[test]
fn what_was_denied_is_not_asked_again() {
    let stage = Stage::new();
    let odd = Odd::answering(&stage, &[Answer::Denied]);
    let report = stage.try_apply(&guests(&stage, &odd, &["a"]));
    assert!(error_of(&report, r#"guest["a"].account"#).starts_with("Denied: "));
    assert_eq!(odd.0.calls.lock().unwrap().len(), 1);
    assert!(stage.state().records.values().all(|record| record.open.is_none()));
}

#[test]
fn a_provider_that_breaks_its_contract_is_blamed_by_name() {
    for (answer, what) in [
        (
            Answer::OtherNote,
            r#"the provider `odd` answered `note` = "something else" where "as declared" was asked for"#,
        ),
        (Answer::WithoutId, "the provider `odd` answered an object without an id"),
        (Answer::Nothing, "the provider `odd` answered no object"),
    ] {
        let stage = Stage::new();
        let odd = Odd::answering(&stage, std::slice::from_ref(&answer));
        let report = stage.try_apply(&guests(&stage, &odd, &["a"]));
        let error = error_of(&report, r#"guest["a"].account"#);
        assert!(error.starts_with("ProviderContract: "), "{answer:?}: {error}");
        assert!(error.contains(what), "{answer:?}: {error}");
    }
}

#[test]
fn a_provider_that_answers_of_another_object_or_state_is_blamed_by_name() {
    let stage = Stage::new();
    let odd = Odd::answering(&stage, &[Answer::Properly, Answer::OtherId, Answer::Awake]);
    let deployment = guests(&stage, &odd, &["a"]);
    let at = r#"guest["a"].account"#;
    stage.apply(&deployment);
    for object in odd.0.objects.lock().unwrap().values_mut() {
        object.fields.insert("note".into(), Reading::Known("by hand".into()));
    }
    let error = error_of(&stage.try_apply(&deployment), at);
    let what = "the provider `odd` answered `odd-other` where `odd-a` was asked for";
    assert!(error.starts_with("ProviderContract: ") && error.contains(what), "{error}");
    assert_eq!(stage.state().object(&address(at)).unwrap().id, "odd-a");

    let killed = instance(r#"guest["a"]"#);
    let report = stage.run(deployment.kill(&killed, "an incident", &operator())).unwrap();
    let error = error_of(&report, at);
    let what = "the provider `odd` answered an object that is not suspended";
    assert!(error.starts_with("ProviderContract: ") && error.contains(what), "{error}");
}

#[test]
fn a_provider_that_answers_for_too_few_writes_is_blamed_and_the_doubt_is_kept() {
    let stage = Stage::new();
    let odd = Odd::answering(&stage, &vec![Answer::TooFew; 20]);
    let report = stage.try_apply(&guests(&stage, &odd, &["a", "b"]));
    assert!(outcome(&report, r#"guest["a"].account"#).is_done(), "{}", shown(&report));
    let error = error_of(&report, r#"guest["b"].account"#);
    assert!(error.contains("the provider `odd` answered for fewer"), "{error}");
}

#[test]
fn a_provider_that_answers_for_too_few_reads_is_blamed_and_nothing_is_written() {
    let stage = Stage::new();
    let odd = Arc::into_inner(Odd::answering(&stage, &[])).unwrap();
    let odd = Arc::into_inner(odd.0).unwrap();
    let odd = Arc::new(Handle(Arc::new(Odd { reads_fewer: true, ..odd })));
    let deployment = guests(&stage, &odd, &["a", "b"]);
    let plan = stage.plan(&deployment);
    assert!(plan.steps.is_empty());
    let why = plan.unread[&address(r#"guest["a"].account"#)].first().unwrap();
    assert!(
        why.contains("the provider `odd` was asked about 2 objects and answered about 1"),
        "{why}"
    );
}

#[test]
fn no_more_calls_are_under_way_than_a_system_takes() {
    let stage = Stage::new();
    let odd = Arc::into_inner(Odd::answering(&stage, &[])).unwrap();
    let odd = Arc::into_inner(odd.0).unwrap();
    let odd = Arc::new(Handle(Arc::new(Odd { concurrent: 3, ..odd })));
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    stage.apply(&guests(&stage, &odd, &names));
    assert_eq!(odd.0.busy.lock().unwrap().1, 3);
    assert_eq!(odd.0.calls.lock().unwrap().len(), names.len());
    assert_eq!(sim::Account::TYPE, "sim.account");
}
