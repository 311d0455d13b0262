//! A watcher by a virtual clock: what it does by itself, what it leaves to
//! people, and what it tells them.

use std::sync::Mutex;

use agent_iac::{
    clock::Clock as _,
    consumer::{Allowed, Confirm as _, Confirmation, LocalTeller, MemoryInbox, Told},
    deployment::{
        RunnerOptions,
        watch::{Alarm, Alert, AlertKind, AlertStatus, Round, WatchOptions, Watcher},
    },
    fleet::{Rules, Standing, Unattended},
    ledger::{Authority, Event, RunEvent, RunPurpose},
};
use jiff::SignedDuration;

use super::*;

/// Reads mail, with a key that lives a week.
#[derive(Agent, Debug)]
#[agent(owner = "team:mail", expires = "2028-06-30", grace = "1d", name = "mail")]
struct Mail {
    #[input(key)]
    tenant: String,

    #[identity(name = format!("mail-{tenant}"))]
    account: sim::Account,

    #[credential(
        of = account,
        deliver = format!("vault:mail/{tenant}"),
        rotate = "7d",
        overlap = "1h",
    )]
    key: sim::Key,
}

fn mails(tenants: usize) -> Fleet {
    let mut fleet = fleet();
    for tenant in 0..tenants {
        fleet.add(MailInputs { tenant: format!("t{tenant}") });
    }
    fleet
}

fn let_alone(mut fleet: Fleet, standing: Standing) -> Fleet {
    fleet.rules(Rules { standing, ..Rules::default() });
    fleet
}

fn unwatched(fleet: Fleet) -> Fleet {
    let_alone(fleet, Standing::whole())
}

/// Who is told, and what they heard.
#[derive(Default)]
struct Ear(Mutex<Vec<Alert>>);

#[async_trait::async_trait]
impl Alarm for Ear {
    async fn raise(&self, alert: &Alert) -> Told {
        self.0.lock().unwrap().push(alert.clone());
        Told::Told
    }
}

impl Ear {
    /// What was heard since it was asked last.
    fn heard(&self) -> Vec<Alert> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    #[track_caller]
    fn heard_only(&self, kind: AlertKind, status: AlertStatus, about: &str) -> Alert {
        let heard = self.heard();
        let [one] = &heard[..] else { panic!("{heard:#?}") };
        assert_eq!((one.kind, one.status, &*one.about), (kind, status, about), "{one:#?}");
        one.clone()
    }

    #[track_caller]
    fn heard_nothing(&self) {
        let heard = self.heard();
        assert!(heard.is_empty(), "{heard:#?}");
    }
}

const HOUR: Duration = Duration::from_hours(1);

impl Stage {
    fn watcher(&self, fleet: Fleet) -> (Watcher, Arc<Ear>) {
        let runner = RunnerOptions { poll: Duration::from_mins(10), ..RunnerOptions::default() };
        let options = WatchOptions { runner, ..WatchOptions::default() };
        let watcher = Watcher::new(Arc::new(self.deploy(fleet)), operator(), options).unwrap();
        let ear = Arc::new(Ear::default());
        (watcher.with_alarm(Arc::<Ear>::clone(&ear)), ear)
    }

    /// Lets time pass as the watchers say.
    fn watched(&self, watchers: &mut [&mut Watcher], length: Duration) -> Vec<Round> {
        let end = self.world.clock().now() + SignedDuration::try_from(length).unwrap();
        let mut rounds = Vec::new();
        loop {
            let mut next = end;
            for watcher in &mut *watchers {
                let round = self.run(watcher.tick());
                next = next.min(round.next);
                if !round.is_quiet() || round.check.is_some() {
                    rounds.push(round);
                }
            }
            let now = self.world.clock().now();
            if now >= end {
                return rounds;
            }
            self.world.advance(next.duration_since(now).unsigned_abs());
        }
    }

    /// The same for two that are at work at the same time.
    fn side_by_side(&self, one: &mut Watcher, other: &mut Watcher, length: Duration) {
        let clock = self.world.clock();
        let end = clock.now() + SignedDuration::try_from(length).unwrap();
        let go = async |watcher: &mut Watcher| {
            while clock.now() < end {
                let next = watcher.tick().await.next.min(end);
                let rest = next.duration_since(clock.now()).unsigned_abs();
                clock.sleep(rest.max(Duration::from_secs(1))).await;
            }
        };
        self.run(async { futures_util::future::join(go(one), go(other)).await });
    }

    fn invoices(&self) -> agent_iac::provider::Object {
        let grants = self.sim().objects("sim.grant");
        let wanted = Some("invoices/eu".into());
        grants.into_iter().find(|grant| grant.value("on") == wanted.as_ref()).unwrap()
    }

    /// How often each address was changed unattended, and for what.
    fn unattended(&self) -> Vec<RunPurpose> {
        let batches = self.run(self.ledger.batches(1, 10_000)).unwrap();
        let entries = batches.into_iter().flat_map(|batch| batch.entries);
        entries
            .filter_map(|entry| match entry.event {
                Event::Run(RunEvent::Begun { purpose, authority, .. }) => {
                    matches!(authority, Authority::Standing { .. }).then_some(purpose)
                }
                _ => None,
            })
            .collect()
    }
}

#[test]
fn what_widens_by_hand_is_taken_back_within_a_period_and_somebody_hears_of_it() {
    let stage = Stage::new();
    let deployment = stage.applied(unwatched(readers(&["eu"])));
    let (mut watcher, ear) = stage.watcher(unwatched(readers(&["eu"])));
    stage.watched(&mut [&mut watcher], HOUR * 3);
    ear.heard_nothing();
    assert_eq!(stage.unattended(), [], "it writes nothing where nothing is to do");
    stage.sim().hand().widen(&stage.invoices().id, "delete").unwrap();
    stage.watched(&mut [&mut watcher], HOUR);
    assert_eq!(stage.invoices().value("allow").unwrap().to_string(), r#"["read"]"#);
    let about = format!("{EU}.invoices");
    let alert = ear.heard_only(AlertKind::DriftReverted, AlertStatus::Happened, &about);
    assert_eq!(alert.owner.as_deref(), Some("team:billing"));
    assert!(alert.what.contains("gains delete on invoices/eu; it was taken back"), "{alert:?}");
    assert_eq!(stage.unattended(), [RunPurpose::Revert]);
    stage.assert_clean(&deployment);
}

#[test]
fn a_planted_key_goes_and_what_the_fleet_does_not_let_go_is_told_once() {
    let stage = Stage::new();
    // Nothing may be narrowed here.
    let standing = || Standing::of([Unattended::Rotate]);
    let fleet = || let_alone(readers(&["eu"]), standing());
    stage.applied(fleet());
    let (mut watcher, ear) = stage.watcher(fleet());
    stage.watched(&mut [&mut watcher], HOUR);
    let (planted, _) = stage.sim().hand().key(&stage.account("reader-eu")).unwrap();
    stage.watched(&mut [&mut watcher], HOUR * 6);
    let heard = ear.heard();
    assert_eq!(heard.len(), 1, "once, in six checks: {heard:#?}");
    assert_eq!((heard[0].kind, heard[0].status), (AlertKind::DriftFound, AlertStatus::Raised));
    assert!(stage.sim().objects("sim.key").iter().any(|key| key.id == planted));

    let (mut watcher, ear) = stage.watcher(unwatched(readers(&["eu"])));
    stage.watched(&mut [&mut watcher], HOUR);
    assert!(stage.sim().objects("sim.key").iter().all(|key| key.id != planted));
    let heard = ear.heard();
    assert_eq!(heard.len(), 1, "{heard:#?}");
    assert_eq!(heard[0].kind, AlertKind::DriftReverted);
    assert!(heard[0].what.contains("nobody declared it"), "{heard:#?}");
}

#[test]
fn access_that_a_person_took_away_is_told_and_never_given_back() {
    let stage = Stage::new();
    let deployment = stage.applied(unwatched(readers(&["eu"])));
    let (mut watcher, ear) = stage.watcher(unwatched(readers(&["eu"])));
    stage.watched(&mut [&mut watcher], HOUR);
    stage.sim().hand().narrow(&stage.invoices().id, "read").unwrap();
    stage.sim().hand().suspend(&stage.account("reader-eu")).unwrap();
    stage.watched(&mut [&mut watcher], HOUR * 24);
    assert_eq!(stage.invoices().value("allow").unwrap().to_string(), "[]");
    assert_eq!(stage.unattended(), []);
    let mut heard: Vec<String> =
        ear.heard().iter().map(|a| format!("{} {:?} {}", a.kind, a.status, a.what)).collect();
    heard.sort();
    assert_eq!(
        heard,
        [
            "drift_found Raised allow differs from what is recorded; loses read on invoices/eu",
            "drift_found Raised somebody suspended it",
        ]
    );
    // Once a plan has brought it back, both are over.
    stage.apply(&deployment);
    stage.watched(&mut [&mut watcher], HOUR);
    let heard = ear.heard();
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|alert| alert.status == AlertStatus::Cleared), "{heard:#?}");
}

/// Has a key that somebody has to confirm and somebody else is told of.
#[derive(Agent, Debug)]
#[agent(owner = "team:mail", expires = "2028-06-30", grace = "1d", name = "slow")]
struct Slow {
    #[identity(name = "slow")]
    account: sim::Account,

    #[credential(
        of = account,
        deliver = "vault:slow/key",
        rotate = "7d",
        overlap = "1h",
        consumers = ["billing", "file:/srv/key"],
    )]
    key: sim::Key,
}

#[test]
fn consumers_that_were_not_told_or_do_not_confirm_are_told_of_once() {
    let stage = Stage::new();
    let slow = || {
        let mut fleet = fleet();
        fleet.add(SlowInputs {});
        unwatched(fleet)
    };
    stage.applied(slow());
    let deployment = stage.deploy(slow());
    let inbox = MemoryInbox::new();
    // Nothing is allowed on this host.
    let stores = deployment.stores().clone();
    let teller = LocalTeller::new(Allowed::nothing(), stores).with_clock(stage.world.clock());
    let deployment = deployment.with_teller(Arc::new(teller)).with_inbox(Arc::new(inbox.clone()));
    let runner = RunnerOptions { poll: Duration::from_mins(10), ..RunnerOptions::default() };
    let options = WatchOptions { runner, ..WatchOptions::default() };
    let ear = Arc::new(Ear::default());
    let watcher = Watcher::new(Arc::new(deployment), operator(), options).unwrap();
    let mut watcher = watcher.with_alarm(Arc::<Ear>::clone(&ear));
    let confirm = |generation: u32| {
        let confirmation = Confirmation {
            credential: address("slow.key"),
            consumer: "billing".parse().unwrap(),
            generation,
            at: stage.world.clock().now(),
        };
        stage.run(inbox.confirm(&confirmation)).unwrap();
    };
    confirm(1);
    stage.watched(&mut [&mut watcher], HOUR * 24 * 6);
    let untold = ear.heard_only(AlertKind::ConsumersUntold, AlertStatus::Happened, "slow.key");
    assert!(untold.what.contains("`file:/srv/key` could not be told"), "{untold:?}");
    stage.watched(&mut [&mut watcher], HOUR * 24 * 3);
    let heard = ear.heard();
    let mut kinds: Vec<AlertKind> = heard.iter().map(|alert| alert.kind).collect();
    kinds.sort();
    assert_eq!(
        kinds,
        [AlertKind::ConsumersUnconfirmed, AlertKind::ConsumersUntold],
        "of the new generation, in two days: {heard:#?}"
    );
    let waits = heard.iter().find(|alert| alert.kind == AlertKind::ConsumersUnconfirmed).unwrap();
    assert!(waits.what.starts_with("billing, file:/srv/key did not confirm"), "{waits:?}");
    assert_eq!(waits.owner.as_deref(), Some("team:mail"));
}

#[test]
fn a_hold_keeps_every_hand_off_until_it_is_over() {
    let stage = Stage::new();
    let deployment = stage.applied(unwatched(readers(&["eu"])));
    let (mut watcher, ear) = stage.watcher(unwatched(readers(&["eu"])));
    let until = stage.world.clock().now() + SignedDuration::from_hours(12);
    let actor = operator().actor;
    stage.run(deployment.hold(&instance(EU), "incident 12", until, &actor)).unwrap();
    stage.sim().hand().widen(&stage.invoices().id, "delete").unwrap();
    stage.watched(&mut [&mut watcher], HOUR * 11);
    assert_eq!(stage.unattended(), []);
    let heard = ear.heard();
    assert!(heard.iter().all(|a| a.what.contains("gains delete on invoices/eu")), "{heard:#?}");
    assert_eq!(heard.len(), 1, "{heard:#?}");
    stage.watched(&mut [&mut watcher], HOUR * 3);
    assert_eq!(stage.unattended(), [RunPurpose::Revert]);
    stage.assert_clean(&deployment);
}

#[test]
fn an_agent_is_announced_stopped_on_its_last_day_and_gone_after_its_grace() {
    let stage = Stage::new();
    stage.applied(unwatched(readers(&["eu"])));
    let (mut watcher, ear) = stage.watcher(unwatched(readers(&["eu"])));
    stage.days(165);
    stage.watched(&mut [&mut watcher], HOUR);
    ear.heard_nothing();
    stage.watched(&mut [&mut watcher], HOUR * 24 * 3);
    let soon = ear.heard_only(AlertKind::AgentExpiring, AlertStatus::Raised, EU);
    assert!(soon.what.contains("2027-07-01T00:00:00Z"), "{soon:?}");
    assert_eq!(soon.owner.as_deref(), Some("team:billing"));
    let last_day: jiff::Timestamp = "2027-06-30T23:59:00Z".parse().unwrap();
    let left = last_day.duration_since(stage.world.clock().now());
    stage.watched(&mut [&mut watcher], left.unsigned_abs());
    ear.heard_nothing();
    let key = stage.secret("readers/eu/key").unwrap();
    let account = stage.account("reader-eu");
    assert!(stage.sim().accepts("sim.key", &account, &key));

    stage.watched(&mut [&mut watcher], Duration::from_mins(2));
    assert!(!stage.sim().accepts("sim.key", &account, &key), "stopped within a minute");
    let heard = ear.heard();
    let mut kinds: Vec<_> = heard.iter().map(|a| (a.kind, a.status)).collect();
    kinds.sort_by_key(|(kind, _)| *kind);
    assert_eq!(
        kinds,
        [
            (AlertKind::AgentExpiring, AlertStatus::Cleared),
            (AlertKind::AgentExpired, AlertStatus::Raised),
        ],
        "{heard:#?}"
    );
    assert_eq!(stage.unattended(), [RunPurpose::Retire]);
    // The identity stays for its week, and is then deleted.
    stage.watched(&mut [&mut watcher], HOUR * 24 * 6);
    assert_eq!(stage.sim().objects("sim.account").len(), 1);
    stage.watched(&mut [&mut watcher], HOUR * 26);
    assert_eq!(stage.sim().objects("sim.account").len(), 0);
    assert!(stage.state().agents.is_empty(), "{:?}", stage.state().agents);
    let gone = ear.heard_only(AlertKind::AgentExpired, AlertStatus::Cleared, EU);
    assert_eq!(gone.what, "it is over");
}

#[test]
fn more_agents_at_once_than_the_cap_lets_go_are_left_for_a_plan() {
    let stage = Stage::new();
    let tenants = ["a", "b", "c", "d", "e"];
    stage.applied(unwatched(readers(&tenants)));
    let (mut watcher, ear) = stage.watcher(unwatched(readers(&tenants)));
    stage.days(200);
    stage.watched(&mut [&mut watcher], HOUR);
    assert_eq!(stage.unattended(), []);
    let heard = ear.heard();
    assert_eq!(heard.len(), 5, "{heard:#?}");
    assert!(heard.iter().all(|alert| alert.kind == AlertKind::AgentExpired
        && alert.what.contains("5 agents would begin to leave, and the cap is 3")));
}

#[test]
fn two_watchers_never_do_one_thing_twice() {
    let stage = Stage::new();
    let fleet = || {
        let mut fleet = mails(4);
        fleet.add(reader("eu"));
        unwatched(fleet)
    };
    let deployment = stage.applied(fleet());
    let (mut one, first) = stage.watcher(fleet());
    let (mut other, second) = stage.watcher(fleet());
    // Each call of a system takes its time, so that both are at work at once.
    stage.world.latency(Duration::from_millis(1), Duration::from_millis(900));
    stage.side_by_side(&mut one, &mut other, HOUR);
    stage.sim().hand().widen(&stage.invoices().id, "delete").unwrap();
    stage.side_by_side(&mut one, &mut other, HOUR * 24 * 8);
    let heard = [first.heard(), second.heard()].concat();
    assert_eq!(heard.len(), 1, "{heard:#?}");
    for tenant in 0..4 {
        let record = &stage.state().records[&address(&format!(r#"mail["t{tenant}"].key"#))];
        let object = record.object.as_ref().unwrap().credential.as_ref().unwrap();
        assert_eq!((object.generation, record.deposed.len()), (2, 0));
    }
    let done = stage.unattended();
    assert_eq!(done.iter().filter(|purpose| **purpose == RunPurpose::Revert).count(), 1);
    stage.assert_clean(&deployment);
}

#[test]
fn a_system_that_is_away_for_a_day_is_told_waited_for_and_caught_up_with() {
    let stage = Stage::unwatched(SimOptions::default());
    let fleet = || {
        let mut fleet = mails(2);
        fleet.add(reader("eu"));
        unwatched(fleet)
    };
    let deployment = stage.applied(fleet());
    let (mut watcher, ear) = stage.watcher(fleet());
    stage.watched(&mut [&mut watcher], HOUR * 24 * 6);
    ear.heard_nothing();
    stage.world.outage("sim/");
    let rounds = stage.watched(&mut [&mut watcher], HOUR * 36);
    assert!(rounds.len() < 400, "{} rounds were busy in a day and a half", rounds.len());
    let heard = ear.heard();
    let away: Vec<_> = heard.iter().filter(|a| a.kind == AlertKind::Unreachable).collect();
    assert_eq!(away.len(), 1, "{heard:#?}");
    assert_eq!((&*away[0].about, away[0].status), ("sim", AlertStatus::Raised));
    stage.sim().hand().widen(&stage.invoices().id, "delete").unwrap();
    stage.world.heal();
    stage.watched(&mut [&mut watcher], HOUR * 2);
    let heard = ear.heard();
    assert!(
        heard.iter().any(|a| (a.kind, a.status) == (AlertKind::Unreachable, AlertStatus::Cleared)),
        "{heard:#?}"
    );
    stage.watched(&mut [&mut watcher], HOUR * 4);
    for tenant in 0..2 {
        let record = &stage.state().records[&address(&format!(r#"mail["t{tenant}"].key"#))];
        let object = record.object.as_ref().unwrap().credential.as_ref().unwrap();
        assert_eq!(object.generation, 2);
    }
    stage.assert_clean(&deployment);
}

#[test]
fn a_ledger_that_is_away_is_asked_ever_more_seldom_and_never_written_past() {
    let stage = Stage::unwatched(SimOptions::default());
    stage.applied(unwatched(readers(&["eu"])));
    let (mut watcher, ear) = stage.watcher(unwatched(readers(&["eu"])));
    stage.watched(&mut [&mut watcher], HOUR);
    let status = watcher.status();
    assert_eq!(status.ready(), Ok(()));
    stage.world.outage("ledger/");
    stage.sim().hand().widen(&stage.invoices().id, "delete").unwrap();
    let before = stage.sim().effects().len();
    let rounds = stage.watched(&mut [&mut watcher], HOUR * 24);
    assert!(rounds.len() < 24 * 12 + 10, "{} attempts in a day", rounds.len());
    assert!(status.ready().is_err());
    assert_eq!(stage.sim().effects().len(), before, "nothing is done without the ledger");
    let away = ear.heard_only(
        AlertKind::Unreachable,
        AlertStatus::Raised,
        "the ledger, or a secret store",
    );
    assert!(away.owner.is_none());
    stage.world.heal();
    stage.watched(&mut [&mut watcher], HOUR);
    assert_eq!(status.ready(), Ok(()));
    assert_eq!(stage.invoices().value("allow").unwrap().to_string(), r#"["read"]"#);
}

#[test]
fn one_that_is_stopped_or_dies_in_a_rotation_is_gone_on_from_by_the_next() {
    let stage = Stage::unwatched(SimOptions::default());
    let deployment = stage.applied(unwatched(mails(3)));
    for crash in ["sim/key create", "vault/promote", "ledger/append"] {
        let (mut watcher, _) = stage.watcher(unwatched(mails(3)));
        stage.days(8);
        stage.world.crash_on(crash);
        let died = stage.world.run(watcher.tick()).is_crashed();
        assert!(died, "{crash} was not reached: {:?}", stage.world.boundaries());
        drop(watcher);
        let (mut next, ear) = stage.watcher(unwatched(mails(3)));
        stage.watched(&mut [&mut next], HOUR * 3);
        stage.assert_clean(&deployment);
        let state = stage.state();
        assert!(state.runs.is_empty(), "{crash}: {:?}", state.runs);
        assert_eq!(stage.sim().objects("sim.key").len(), 3, "{crash}");
        assert_eq!(stage.world.check(&state), [], "{crash}");
        ear.heard_nothing();
    }
}

#[test]
fn it_sleeps_until_something_is_due_and_hears_that_it_is_to_stop() {
    let stage = Stage::new();
    stage.applied(unwatched(mails(1)));
    let context = operator();
    let stop = context.stop.clone();
    let deployment = Arc::new(stage.deploy(unwatched(mails(1))));
    let mut watcher = Watcher::new(deployment, context, WatchOptions::default()).unwrap();
    let begun = stage.world.clock().now();
    let mut ticks = 0;
    let clock = stage.world.clock();
    let end = begun + SignedDuration::from_mins(30);
    stage.run(watcher.run(|round| {
        ticks += 1;
        assert!(round.problems.is_empty(), "{:?}", round.problems);
        if clock.now() >= end {
            stop.request();
        }
    }));
    // It looks at the ledger every ten seconds, for what others write there.
    assert!((180..=182).contains(&ticks), "{ticks} ticks in half an hour");
    assert!(stage.world.clock().now() < end + SignedDuration::from_secs(11));
}

#[test]
fn without_standing_authority_it_does_not_begin_and_when_it_is_over_it_only_looks() {
    let stage = Stage::new();
    stage.applied(readers(&["eu"]));
    let begin = |fleet: Fleet| {
        let deployment = Arc::new(stage.deploy(fleet));
        Watcher::new(deployment, operator(), WatchOptions::default()).map(drop)
    };
    let refused = begin(readers(&["eu"])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.repair().unwrap().contains(r#"standing = ["rotate""#), "{refused}");
    let until = |day: &str| Standing::whole().until(day.parse().unwrap());
    begin(let_alone(readers(&["eu"]), until("2026-12-31"))).unwrap_err();

    let fleet = || let_alone(readers(&["eu"]), until("2027-01-02"));
    let (mut watcher, ear) = stage.watcher(fleet());
    stage.watched(&mut [&mut watcher], HOUR * 24 * 3);
    let heard = ear.heard();
    assert_eq!(heard.len(), 2, "soon, and then over: {heard:#?}");
    assert!(heard.iter().all(|a| a.kind == AlertKind::AuthorityEnds), "{heard:#?}");
    stage.sim().hand().widen(&stage.invoices().id, "delete").unwrap();
    stage.watched(&mut [&mut watcher], HOUR * 2);
    assert_eq!(stage.unattended(), []);
    ear.heard_only(AlertKind::DriftFound, AlertStatus::Raised, &format!("{EU}.invoices"));
}

#[test]
fn its_counts_say_what_it_did_and_name_nobody() {
    let stage = Stage::new();
    stage.applied(unwatched(readers(&["eu"])));
    let mut fleet = readers(&["eu"]);
    fleet.add(MailInputs { tenant: "t0".into() });
    stage.applied(unwatched(fleet.clone()));
    let (mut watcher, _) = stage.watcher(unwatched(fleet));
    stage.sim().hand().widen(&stage.invoices().id, "delete").unwrap();
    stage.watched(&mut [&mut watcher], HOUR * 24 * 7 + HOUR * 2);
    let text = watcher.status().metrics();
    for line in [
        "agent_iac_ready 1",
        "agent_iac_credentials 2",
        "agent_iac_credentials_due 0",
        r#"agent_iac_steps_total{run="revert",outcome="done"} 1"#,
        r#"agent_iac_steps_total{run="rotate",outcome="done"} 2"#,
        "agent_iac_drift 0",
        r#"agent_iac_alerts_open{kind="drift_found"} 0"#,
        "agent_iac_alerts_sent_total 1",
        "agent_iac_oldest_due_age_seconds 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    for name in ["reader", "eu", "mail", "sim", "billing", "key-"] {
        assert!(!text.contains(name), "{name} is in\n{text}");
    }
}
