//! Telling consumers: who cannot be told holds nothing else up, and is said.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use agent_iac::{
    Error, ErrorKind,
    address::Address,
    clock::SystemEntropy,
    consumer::{Confirmation, Consumer, Inbox, MemoryTeller, Notice, Told},
    deployment::{Runner, RunnerOptions},
    ledger::{PlanEvent, RunId, Take},
    value::Digest,
};
use async_trait::async_trait;

use super::*;

/// Writes no file until it is allowed to.
fn teller(files: &Arc<AtomicBool>) -> MemoryTeller {
    let files = Arc::clone(files);
    MemoryTeller::answering(move |notice: Notice<'_>| match notice.consumer {
        Consumer::File(_) if !files.load(Ordering::SeqCst) => {
            Told::Failed { because: "the disk is full".into() }
        }
        Consumer::Command(_) => Told::NotAllowed { because: "no command is allowed".into() },
        _ => Told::Told,
    })
}

#[test]
fn nobody_is_signalled_before_the_file_is_written_that_they_would_read() {
    let stage = Stage::new();
    let waits_for = ["signal:HUP /run/app.pid", "file:/srv/key", "billing"];
    stage.applied(holder(&waits_for));
    let files = Arc::new(AtomicBool::new(false));
    let teller = teller(&files);
    let deployment = stage.deploy(holder(&waits_for)).with_teller(Arc::new(teller.clone()));
    let report = stage.rotate(&deployment);
    let untold: Vec<(&str, &str)> =
        report.untold.iter().map(|u| (u.consumer.as_str(), u.because.as_str())).collect();
    assert_eq!(
        untold,
        [
            ("file:/srv/key", "the disk is full"),
            ("signal:HUP /run/app.pid", "a file of the credential is not written yet"),
        ]
    );
    assert!(!report.is_complete());
    let heard = |from: usize| -> Vec<String> {
        teller.heard()[from..].iter().map(|heard| heard.consumer.to_string()).collect()
    };
    assert_eq!(heard(0), ["file:/srv/key", "billing"]);
    files.store(true, Ordering::SeqCst);
    assert_eq!(stage.rotate(&deployment).untold, []);
    assert_eq!(heard(2), ["file:/srv/key", "signal:HUP /run/app.pid"]);
    stage.rotate(&deployment);
    assert_eq!(heard(4), [""; 0], "nobody is told twice");
}

#[test]
fn who_may_not_be_told_here_is_said_each_time() {
    let stage = Stage::new();
    stage.applied(holder(&["command:reload"]));
    let teller = teller(&Arc::default());
    let deployment = stage.deploy(holder(&["command:reload"])).with_teller(Arc::new(teller));
    for _ in 0..2 {
        let report = stage.rotate(&deployment);
        assert_eq!(report.untold.len(), 1, "{report:?}");
        assert_eq!(report.untold[0].because, "no command is allowed");
    }
}

/// An inbox that cannot be read.
struct Away;

#[async_trait]
impl Inbox for Away {
    async fn confirmed(&self, _asked: &[(Address, Consumer)]) -> Result<Vec<Option<Confirmation>>> {
        Err(Error::new(ErrorKind::Provider, "the folder is not mounted"))
    }
}

#[test]
fn an_inbox_that_is_away_stops_no_rotation_and_is_told() {
    let stage = Stage::new();
    stage.applied(holder(&["billing"]));
    let first = stage.secret("holder/key").unwrap();
    let teller = MemoryTeller::default();
    let deployment = stage
        .deploy(holder(&["billing"]))
        .with_teller(Arc::new(teller.clone()))
        .with_inbox(Arc::new(Away));
    stage.days(7);
    let report = stage.rotate(&deployment);
    assert!(report.unheard.is_some() && !report.is_complete(), "{report:?}");
    assert!(!stage.secret("holder/key").unwrap().equals(&first));
    assert_eq!(teller.heard().len(), 1, "{:?}", teller.heard());
    stage.hours(2);
    stage.rotate(&deployment);
    assert!(stage.works(OF[0], &first), "nobody counts as having confirmed");
    assert_eq!(teller.heard().len(), 1, "nobody is told twice");
}

#[test]
fn consumers_are_told_after_what_is_due_was_done() {
    let stage = Stage::new();
    stage.applied(holder(&["billing", "file:/srv/key"]));
    let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let teller = MemoryTeller::answering(move |notice: Notice<'_>| {
        noted.lock().unwrap().push(notice.generation);
        Told::Told
    });
    let deployment =
        stage.deploy(holder(&["billing", "file:/srv/key"])).with_teller(Arc::new(teller));
    stage.days(7);
    stage.rotate(&deployment);
    assert_eq!(*seen.lock().unwrap(), [2, 2], "of the first one nobody needs to hear any more");
}

#[test]
fn a_compromised_credential_that_could_not_be_replaced_is_never_reported_as_done() {
    let stage = Stage::unwatched(SimOptions::default());
    let deployment = stage.applied(holder(&[]));
    let first = stage.secret("holder/token").unwrap();
    let all = BTreeSet::new();
    stage.run(deployment.compromised(&all, "in a log", &operator().actor)).unwrap();
    // It fails in the first round, and is passed over as paused in the next.
    stage.world.outage("sim/token create");
    let report = stage.run(deployment.replace_compromised(&all, &operator())).unwrap();
    assert!(report.summary.done >= 2 && !report.is_complete(), "{}", shown(&report));
    let not_done: Vec<_> = report.steps.iter().filter(|s| !s.outcome.is_done()).collect();
    assert_eq!(not_done.len(), 1, "{}", shown(&report));
    assert_eq!(not_done[0].address, address("holder.token"));
    assert!(stage.works(OF[1], &first));
    // Asked once more at once, it waits for its pause, and says so all the same.
    let report = stage.run(deployment.replace_compromised(&all, &operator())).unwrap();
    assert!(report.steps.iter().any(|s| s.address == address("holder.token")), "{report:?}");
    assert!(!report.is_complete());
    stage.world.heal();
    stage.hours(2);
    let report = stage.run(deployment.replace_compromised(&all, &operator())).unwrap();
    assert!(report.is_complete(), "{}", shown(&report));
    assert!(!stage.works(OF[1], &first));
}

#[test]
fn a_runner_rests_while_somebody_else_holds_what_is_due() {
    let stage = Stage::new();
    stage.applied(holder(&[]));
    let options = RunnerOptions::default();
    let poll = options.poll;
    let mut runner = Runner::new(Arc::new(stage.deploy(holder(&[]))), operator(), options).unwrap();
    stage.run(runner.tick()).unwrap();
    stage.days(8);
    let take = Take {
        run: RunId::random(&SystemEntropy),
        instances: vec![instance("holder")],
        holder: "a long apply".into(),
        ttl: Duration::from_hours(24),
        force: false,
    };
    let actor = operator().actor;
    let digest = Digest::of_bytes(b"their plan");
    let entries = vec![Entry::new(PlanEvent::Acknowledged { digest, actor })];
    let held = Append { entries, take: Some(take), ..Append::default() };
    // In one process, so that the lease does not die with it.
    stage.run(async {
        stage.ledger.append(held).await.unwrap();
        for _ in 0..3 {
            let tick = runner.tick().await.unwrap();
            assert!(tick.contended && tick.rotated.is_empty(), "{tick:?}");
            assert_eq!(runner.rest(Some(&tick)), poll);
            stage.world.clock().sleep(poll).await;
        }
        assert_eq!(runner.rest(None), poll, "nor after a tick that failed");
    });
}
