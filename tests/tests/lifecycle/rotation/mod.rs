//! Credentials that are renewed: the old one stays for its overlap, then goes
//! and is proved gone, and nothing that happens meanwhile locks anybody out.

use async_trait::async_trait;

use agent_iac::{
    Error,
    clock::Clock as _,
    deployment::RotateRequest,
    ledger::{Append, CredentialEvent, Entry, Event, Query},
    plan::{Action, Reason},
    provider::{Observers, Probers, Provider, Writers},
    rotation::Phase,
    secret::Secret,
};

use super::*;

/// Has one credential of each sort, renewed each week.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2028-06-30", grace = "0d", name = "holder")]
struct Holder {
    #[input]
    waits_for: Vec<String>,
    #[input]
    home: String,

    #[identity(name = "holder", home = home)]
    account: sim::Account,

    #[identity(name = "lone")]
    other: sim::Account,

    #[credential(
        of = account,
        deliver = "vault:holder/key",
        rotate = "7d",
        overlap = "1h",
        consumers = waits_for.clone(),
    )]
    key: sim::Key,

    #[credential(of = account, deliver = "vault:holder/token", rotate = "7d", overlap = "1h")]
    token: sim::Token,

    #[credential(of = other, deliver = "vault:holder/lone", rotate = "7d")]
    lone: sim::LoneKey,
}

fn holder(waits_for: &[&str]) -> Fleet {
    living("here", waits_for)
}

fn living(home: &str, waits_for: &[&str]) -> Fleet {
    let mut fleet = fleet();
    let waits_for = waits_for.iter().map(|c| (*c).to_owned()).collect();
    fleet.add(HolderInputs { waits_for, home: home.into() });
    fleet
}

const OF: [(&str, &str, &str); 3] = [
    ("sim.key", "key", "holder"),
    ("sim.token", "token", "holder"),
    ("sim.lone_key", "lone", "lone"),
];

impl Stage {
    fn hours(&self, hours: u64) {
        self.world.advance(Duration::from_secs(hours * 3_600));
    }

    /// Renews what is due; nothing fails.
    #[track_caller]
    fn rotate(&self, deployment: &Deployment) -> Report {
        let report = self.run(deployment.rotate(&BTreeSet::new(), &operator())).unwrap();
        assert!(report.steps.iter().all(|step| step.outcome.is_done()), "{}", shown(&report));
        report
    }

    fn secrets(&self) -> Vec<Secret> {
        OF.iter().map(|(_, path, _)| self.secret(&format!("holder/{path}")).unwrap()).collect()
    }

    fn works(&self, (ty, _, account): (&str, &str, &str), secret: &Secret) -> bool {
        self.sim().accepts(ty, &self.account(account), secret)
    }

    fn phase(&self, deployment: &Deployment, at: &str) -> Phase {
        let phases = self.run(deployment.phases(&BTreeSet::new())).unwrap();
        phases[&address(at)].clone()
    }

    #[track_caller]
    fn confirm(&self, at: &str, generation: u32, consumer: &str) {
        let event = CredentialEvent::Confirmed { consumer: consumer.to_owned() };
        let entry = Entry::of(&address(at), event).at_generation(generation);
        let append = Append { entries: vec![entry], ..Append::default() };
        self.run(self.ledger.append(append)).unwrap();
    }

    fn events(&self) -> Vec<Entry> {
        let batches = self.run(self.ledger.batches(1, 10_000)).unwrap();
        batches.into_iter().flat_map(|batch| batch.entries).collect()
    }
}

#[test]
fn a_generation_that_is_due_is_renewed_and_the_old_one_stays_for_its_overlap() {
    let stage = Stage::new();
    let deployment = stage.applied(holder(&[]));
    let first = stage.secrets();
    stage.days(6);
    assert!(stage.rotate(&deployment).steps.is_empty(), "nothing is due yet");
    stage.assert_clean(&deployment);
    stage.days(1);
    stage.rotate(&deployment);
    let second = stage.secrets();
    for ((of, old), new) in OF.iter().zip(&first).zip(&second) {
        assert!(stage.works(*of, new) && !new.equals(old), "{of:?}");
        assert_eq!(stage.works(*of, old), of.1 != "lone", "{of:?}: both work in the overlap");
    }
    // A rotation is no drift, and no plan undoes it or ends it early.
    stage.assert_clean(&deployment);
    assert!(stage.rotate(&deployment).steps.is_empty());
    assert!(matches!(stage.phase(&deployment, "holder.key"), Phase::Overlap { .. }));
    stage.hours(1);
    stage.rotate(&deployment);
    for ((of, old), new) in OF.iter().zip(&first).zip(&second) {
        assert!(stage.works(*of, new) && !stage.works(*of, old), "{of:?}");
    }
    stage.assert_clean(&deployment);
    let proved = stage.events().into_iter().filter(|entry| {
        matches!(&entry.event, Event::Credential(CredentialEvent::Revoked { proof: Some(p), .. }) if p.holds())
    });
    assert_eq!(proved.count(), 3, "each end is proved");
    assert!(matches!(stage.phase(&deployment, "holder.key"), Phase::Idle { due: Some(_) }));
    // And the next one comes a week after this one.
    stage.days(7);
    assert_eq!(stage.rotate(&deployment).steps.len(), 4);
}

#[test]
fn a_plain_apply_ends_what_has_had_its_time() {
    let stage = Stage::new();
    let deployment = stage.applied(holder(&[]));
    stage.days(7);
    stage.rotate(&deployment);
    stage.hours(2);
    let plan = stage.plan(&deployment);
    assert_eq!(plan.steps.len(), 2, "{:?}", plan.steps);
    assert!(plan.steps.iter().all(|s| matches!(s.reason, Reason::Outlived { generation: 1, .. })));
    stage.apply_plan(&deployment, plan).unwrap();
    stage.assert_clean(&deployment);
    assert_eq!(stage.sim().objects("sim.key").len(), 1);
}

#[test]
fn the_plan_says_that_there_is_a_gap_where_the_system_allows_one_at_a_time() {
    let stage = Stage::new();
    let deployment = stage.applied(holder(&[]));
    let request = RotateRequest::now([instance("holder")]);
    let plan = stage.run(deployment.plan_rotation(&request)).unwrap();
    let noted = plan.steps.iter().filter(|s| s.notes.iter().any(|n| n.contains("none that works")));
    assert_eq!(noted.map(|s| s.address.to_string()).collect::<Vec<_>>(), ["holder.lone"]);
    assert!(plan.steps.iter().all(|s| s.action == Action::Rotate && s.access.is_empty()));
    let before = stage.secrets();
    let report = stage.apply_plan(&deployment, plan).unwrap();
    assert!(report.is_complete(), "{}", shown(&report));
    assert!(stage.secrets().iter().zip(&before).all(|(new, old)| !new.equals(old)));
    // Asked again, it says why not.
    let plan = stage.run(deployment.plan_rotation(&request)).unwrap();
    assert_eq!(plan.blocked.len(), 2, "{:?}", plan.blocked);
}

#[test]
fn a_crash_between_the_two_halves_of_a_gap_is_gone_on_with_unattended() {
    let stage = Stage::unwatched(SimOptions::default());
    let deployment = stage.applied(holder(&[]));
    stage.days(7);
    stage.world.crash_on("sim/lone_key create");
    let none = BTreeSet::new();
    let context = operator();
    assert!(stage.world.run(deployment.rotate(&none, &context)).is_crashed());
    stage.run(deployment.recover(&context)).unwrap();
    stage.hours(1);
    stage.rotate(&deployment);
    let lone = stage.secret("holder/lone").unwrap();
    assert!(stage.works(OF[2], &lone));
    stage.hours(2);
    stage.rotate(&deployment);
    stage.assert_clean(&deployment);
}

#[test]
fn an_old_generation_is_kept_for_a_consumer_that_has_not_confirmed() {
    let stage = Stage::new();
    let deployment = stage.applied(holder(&["billing", "reports"]));
    let first = stage.secret("holder/key").unwrap();
    stage.days(7);
    stage.rotate(&deployment);
    stage.confirm("holder.key", 2, "billing");
    stage.hours(5);
    stage.rotate(&deployment);
    assert!(stage.works(OF[0], &first), "one of two has confirmed");
    let Phase::Overdue { waiting, .. } = stage.phase(&deployment, "holder.key") else {
        panic!("{:?}", stage.phase(&deployment, "holder.key"));
    };
    assert_eq!(waiting.into_iter().collect::<Vec<_>>(), ["reports"]);
    stage.assert_clean(&deployment);
    stage.rotate(&deployment);
    let told = stage
        .events()
        .into_iter()
        .filter(|entry| matches!(entry.event, Event::Credential(CredentialEvent::Overdue { .. })));
    assert_eq!(told.count(), 1, "it is said once");
    // One that confirms an older generation has not moved.
    stage.confirm("holder.key", 1, "reports");
    assert!(stage.rotate(&deployment).steps.is_empty());
    stage.confirm("holder.key", 2, "reports");
    stage.rotate(&deployment);
    assert!(!stage.works(OF[0], &first));
    stage.assert_clean(&deployment);
}

#[test]
fn a_compromised_generation_ends_at_once_and_who_is_cut_off_is_recorded() {
    let stage = Stage::new();
    let deployment = stage.applied(holder(&["billing"]));
    let first = stage.secrets();
    let all = BTreeSet::new();
    let actor = operator().actor;
    let marked = stage.run(deployment.compromised(&all, "in a log", &actor)).unwrap();
    assert_eq!(marked.len(), 3);
    for _ in 0..3 {
        stage.rotate(&deployment);
    }
    for (of, old) in OF.iter().zip(&first) {
        let new = stage.secret(&format!("holder/{}", of.1)).unwrap();
        assert!(stage.works(*of, &new) && !stage.works(*of, old), "{of:?}");
    }
    stage.assert_clean(&deployment);
    let cut_off: Vec<_> = stage
        .events()
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::Credential(CredentialEvent::CutOff { consumers }) => {
                Some((entry.address.unwrap().to_string(), entry.generation, consumers))
            }
            _ => None,
        })
        .collect();
    let billing = BTreeSet::from(["billing".to_owned()]);
    assert_eq!(cut_off, [("holder.key".to_owned(), Some(1), billing)]);
}

#[test]
fn an_old_generation_is_kept_while_the_present_one_does_not_work() {
    let stage = Stage::unwatched(SimOptions::default());
    let deployment = stage.applied(holder(&[]));
    let first = stage.secret("holder/key").unwrap();
    stage.days(7);
    stage.rotate(&deployment);
    stage.hours(1);
    // The present one is refused from here on, and still stands.
    stage.world.outage("sim/key probe");
    let report = stage.run(deployment.rotate(&BTreeSet::new(), &operator())).unwrap();
    let Outcome::Failed(error) = outcome(&report, "holder.key") else {
        panic!("{}", shown(&report));
    };
    assert!(error.message().contains("the older one is kept"), "{error}");
    assert!(stage.works(OF[0], &first));
    stage.world.heal();
    stage.rotate(&deployment);
    assert!(!stage.works(OF[0], &first));
}

/// The simulated system, whose credential for trying others cannot be read.
struct Untrying(SimProvider);

#[async_trait]
impl Provider for Untrying {
    fn description(&self) -> String {
        self.0.description()
    }

    async fn target(&self) -> Result<String> {
        self.0.target().await
    }

    fn observers(&self) -> Result<Observers> {
        self.0.observers()
    }

    fn writers(&self) -> Result<Writers> {
        self.0.writers()
    }

    fn probers(&self) -> Result<Probers> {
        Err(Error::new(ErrorKind::Io, "the password of the probe cannot be read"))
    }
}

#[test]
fn an_old_generation_is_kept_while_nobody_can_try_the_present_one() {
    let stage = Stage::unwatched(SimOptions::default());
    let deployment = stage.applied(holder(&[]));
    let first = stage.secret("holder/key").unwrap();
    stage.days(7);
    stage.rotate(&deployment);
    stage.hours(1);
    let blind = stage.deploy(holder(&[])).with_provider("sim", Arc::new(Untrying(stage.sim())));
    let report = stage.run(blind.rotate(&BTreeSet::new(), &operator())).unwrap();
    let Outcome::Failed(error) = outcome(&report, "holder.key") else {
        panic!("{}", shown(&report));
    };
    assert!(error.message().contains("the older one is kept"), "{error}");
    assert!(stage.works(OF[0], &first));
}

#[test]
fn nothing_is_given_back_that_somebody_took_away() {
    let stage = Stage::unwatched(SimOptions::default());
    let deployment = stage.applied(holder(&[]));
    stage.days(7);
    let account = stage.account("holder");
    stage.sim().hand().suspend(&account).unwrap();
    let keys = stage.sim().objects("sim.key");
    let report = stage.run(deployment.rotate(&BTreeSet::new(), &operator())).unwrap();
    for at in ["holder.key", "holder.token"] {
        let Outcome::Skipped { because } = outcome(&report, at) else {
            panic!("{}", shown(&report))
        };
        assert!(because.contains("is suspended"), "{because}");
    }
    assert_eq!(stage.sim().objects("sim.key"), keys);
}

#[test]
fn a_held_agent_is_left_alone_until_the_hold_is_over() {
    let stage = Stage::new();
    let deployment = stage.applied(holder(&[]));
    stage.days(7);
    let until = stage.world.clock().now() + jiff::SignedDuration::from_hours(4);
    let actor = operator().actor;
    stage.run(deployment.hold(&instance("holder"), "incident 12", until, &actor)).unwrap();
    let before = stage.secrets();
    let report = stage.run(deployment.rotate(&BTreeSet::new(), &operator())).unwrap();
    assert!(report.summary.done == 0, "{}", shown(&report));
    assert!(stage.secrets().iter().zip(&before).all(|(now, then)| now.equals(then)));
    stage.hours(4);
    stage.rotate(&deployment);
    assert!(stage.secrets().iter().zip(&before).all(|(now, then)| !now.equals(then)));
}

#[test]
fn failures_are_counted_waited_for_longer_each_time_and_then_told_to_somebody() {
    let stage = Stage::unwatched(SimOptions::default());
    let deployment = stage.applied(holder(&[]));
    let before = stage.secret("holder/token").unwrap();
    stage.days(7);
    stage.world.outage("sim/token create");
    let all = BTreeSet::new();
    let mut tries = 0;
    for _ in 0..200 {
        let report = stage.run(deployment.rotate(&all, &operator())).unwrap();
        tries += u32::from(report.steps.iter().any(|s| {
            s.address == address("holder.token") && matches!(s.outcome, Outcome::Failed(_))
        }));
        stage.world.advance(Duration::from_mins(10));
        stage.run(deployment.recover(&operator())).unwrap();
    }
    assert!(stage.secret("holder/token").unwrap().equals(&before));
    assert_eq!(stage.phase(&deployment, "holder.token"), Phase::Stopped { failures: 8 });
    assert_eq!(tries, 8);
    stage.world.heal();
    assert!(stage.rotate(&deployment).steps.is_empty(), "it waits for somebody");
    let plan =
        stage.run(deployment.plan_rotation(&RotateRequest::now([instance("holder")]))).unwrap();
    stage.apply_plan(&deployment, plan).unwrap();
    assert!(!stage.secret("holder/token").unwrap().equals(&before));
    assert!(matches!(stage.phase(&deployment, "holder.token"), Phase::Overlap { .. }));
}

#[test]
fn what_a_dead_run_promoted_outlives_its_recovery_while_somebody_suspends() {
    let stage = Stage::unwatched(SimOptions::default());
    let deployment = stage.applied(holder(&[]));
    stage.days(7);
    stage.world.crash_on("vault/promote holder/key after");
    let (all, context) = (BTreeSet::new(), operator());
    assert!(stage.world.run(deployment.rotate(&all, &context)).is_crashed());
    let account = stage.account("holder");
    stage.sim().hand().suspend(&account).unwrap();
    stage.run(deployment.recover(&context)).unwrap();
    stage.sim().hand().resume(&account).unwrap();
    assert!(stage.works(OF[0], &stage.secret("holder/key").unwrap()), "consumers read it");
}

#[test]
fn what_leaves_in_the_middle_of_a_rotation_leaves_nothing() {
    let stage = Stage::new();
    let deployment = stage.applied(holder(&[]));
    stage.days(7);
    stage.rotate(&deployment);
    let gone = stage.deploy(fleet());
    stage.apply(&gone);
    stage.assert_clean(&gone);
    for ty in ["sim.key", "sim.token", "sim.lone_key", "sim.account"] {
        assert!(stage.sim().objects(ty).is_empty(), "{ty}");
    }
}

#[test]
fn a_rotation_that_crashes_at_any_boundary_is_gone_on_with() {
    let all = BTreeSet::new();
    let context = operator();
    for at in 0.. {
        let stage = Stage::new();
        let deployment = stage.applied(holder(&[]));
        let first = stage.secrets();
        stage.days(7);
        stage.world.crash_at(at);
        let crashed = stage.world.run(deployment.rotate(&all, &context)).is_crashed();
        for _ in 0..4 {
            stage.run(deployment.recover(&context)).unwrap();
            stage.run(deployment.rotate(&all, &context)).unwrap();
            stage.hours(1);
        }
        for (of, old) in OF.iter().zip(&first) {
            let now = stage.secret(&format!("holder/{}", of.1)).unwrap();
            assert!(stage.works(*of, &now) && !stage.works(*of, old), "at {at}: {of:?}");
        }
        stage.assert_clean(&deployment);
        assert_eq!(stage.sim().objects("sim.key").len(), 1, "at {at}");
        let state = stage.run(stage.ledger.state(&Query::Everything)).unwrap();
        assert_eq!(stage.world.check(&state), [], "at {at}");
        if !crashed {
            assert!(at > 40, "the rotation has boundaries: {at}");
            break;
        }
    }
}

/// Removes the newest token behind the engine's back.
fn remove_the_newest_token(stage: &Stage) {
    let newest = stage.sim().objects("sim.token").pop().expect("there is one").id;
    stage.sim().hand().delete::<sim::Token>(&newest).unwrap();
}

#[test]
fn a_rotation_whose_credential_vanished_before_its_recovery_loses_nothing() {
    for at in ["sim/token create holder.token after", "vault/promote holder/token after"] {
        let stage = Stage::new();
        let deployment = stage.applied(holder(&[]));
        let first = stage.secret("holder/token").unwrap();
        stage.days(7);
        stage.world.crash_on(at);
        let (all, context) = (BTreeSet::new(), operator());
        assert!(stage.world.run(deployment.rotate(&all, &context)).is_crashed(), "{at}");
        remove_the_newest_token(&stage);
        stage.run(deployment.recover(&context)).unwrap();
        assert!(stage.works(OF[1], &first), "{at}: what is left is not forgotten");
        assert_eq!(stage.world.check(&stage.state()), [], "{at}");
        stage.apply(&deployment);
        assert!(stage.works(OF[1], &first), "{at}: it has its overlap");
        for _ in 0..3 {
            stage.hours(1);
            stage.run(deployment.rotate(&all, &context)).unwrap();
        }
        assert!(!stage.works(OF[1], &first), "{at}");
        assert!(stage.works(OF[1], &stage.secret("holder/token").unwrap()), "{at}");
        stage.assert_clean(&deployment);
        assert_eq!(stage.world.check(&stage.state()), [], "{at}");
    }
}

#[test]
fn the_last_that_works_goes_only_once_another_stands_for_what_somebody_removed() {
    let stage = Stage::new();
    let deployment = stage.applied(holder(&[]));
    let first = stage.secret("holder/token").unwrap();
    stage.days(7);
    stage.rotate(&deployment);
    remove_the_newest_token(&stage);
    // Within its overlap it stays, though the system has room for two only.
    stage.apply(&deployment);
    assert!(stage.works(OF[1], &first));
    remove_the_newest_token(&stage);
    stage.hours(1);
    // One that cannot be replaced takes the older one with it to nowhere.
    stage.world.outage("sim/token create");
    stage.try_apply(&deployment);
    assert!(stage.works(OF[1], &first));
    stage.world.heal();
    let report = stage.try_apply(&deployment);
    let steps: Vec<String> = report.steps.iter().map(|step| step.action.to_string()).collect();
    assert_eq!(steps, ["create", "replace"], "{}", shown(&report));
    assert!(!stage.works(OF[1], &first));
    assert!(stage.works(OF[1], &stage.secret("holder/token").unwrap()));
    stage.assert_clean(&deployment);
}

#[test]
fn an_account_is_made_anew_though_the_present_one_of_its_credentials_is_gone() {
    let stage = Stage::new();
    let deployment = stage.applied(holder(&[]));
    stage.days(7);
    stage.rotate(&deployment);
    stage.hours(1);
    remove_the_newest_token(&stage);
    // It has to go before its successor stands, and all that it holds with it.
    let moved = stage.deploy(living("there", &[]));
    stage.apply(&moved);
    assert!(stage.works(OF[1], &stage.secret("holder/token").unwrap()));
    stage.assert_clean(&moved);
    assert_eq!(stage.sim().objects("sim.token").len(), 1);
}

mod runner;
mod telling;
