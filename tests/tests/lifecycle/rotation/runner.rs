//! The runner: what is due is done when it is due, by whichever runner is there.

use std::sync::Arc;

use agent_iac::{
    consumer::{Confirm as _, Confirmation, MemoryInbox, MemoryTeller},
    deployment::{Runner, RunnerOptions, Tick},
};

use super::*;

/// Reads one tenant's mail, with a key that lives a week.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2029-06-30", grace = "0d", name = "mail")]
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

fn runner(deployment: Deployment, agents: usize) -> Runner {
    let options = RunnerOptions { agents, ..RunnerOptions::default() };
    Runner::new(Arc::new(deployment), operator(), options).unwrap()
}

impl Stage {
    #[track_caller]
    fn tick(&self, runner: &mut Runner) -> Tick {
        self.run(runner.tick()).unwrap()
    }

    /// Lets time pass as the runner says, for a while.
    fn weeks(&self, runner: &mut Runner, weeks: i64) -> (usize, usize) {
        let end = self.world.clock().now() + jiff::SignedDuration::from_hours(24 * 7 * weeks);
        let (mut turns, mut ends) = (0, 0);
        loop {
            let tick = self.tick(runner);
            for step in tick.rotated.iter().flat_map(|report| &report.steps) {
                assert!(step.outcome.is_done(), "{step:?}");
                match step.action {
                    Action::Rotate => turns += 1,
                    _ => ends += 1,
                }
            }
            let now = self.world.clock().now();
            if tick.waiting > 0 {
                continue;
            }
            let next = tick.next.unwrap_or(end).min(end);
            if now >= end {
                return (turns, ends);
            }
            self.world.advance(next.duration_since(now).unsigned_abs());
        }
    }
}

#[test]
fn a_quarter_of_a_year_passes_with_each_key_renewed_each_week() {
    let stage = Stage::new();
    let deployment = stage.applied(mails(5));
    let mut runner = runner(stage.deploy(mails(5)), 2);
    let (turns, ends) = stage.weeks(&mut runner, 13);
    // Each week begins where the new generation was promoted, so that thirteen
    // weeks have twelve or thirteen.
    assert!((60..=65).contains(&turns), "{turns}");
    assert!(turns - ends <= 5, "{turns} {ends}");
    stage.assert_clean(&deployment);
    let open = |tenant: usize| stage.secret(&format!("mail/t{tenant}")).unwrap();
    for tenant in 0..5 {
        let account = stage.account(&format!("mail-t{tenant}"));
        assert!(stage.sim().accepts("sim.key", &account, &open(tenant)));
    }
}

#[test]
fn nothing_is_read_anew_where_nothing_is_due_and_a_confirmation_wakes_it() {
    let stage = Stage::new();
    let deployment = stage.applied(holder(&["billing"]));
    let mut runner = runner(stage.deploy(holder(&["billing"])), 8);
    stage.tick(&mut runner);
    stage.tick(&mut runner);
    let touched = stage.world.boundaries();
    assert!(touched.iter().all(|name| name.starts_with("ledger/")), "{touched:?}");
    stage.hours(7 * 24 + 1);
    stage.tick(&mut runner);
    let first = stage.phase(&deployment, "holder.key");
    assert!(matches!(first, Phase::Overlap { .. }), "{first:?}");
    stage.hours(2);
    stage.tick(&mut runner);
    stage.tick(&mut runner);
    assert!(matches!(stage.phase(&deployment, "holder.key"), Phase::Overdue { .. }));
    stage.confirm("holder.key", 2, "billing");
    let tick = stage.tick(&mut runner);
    assert_eq!(tick.rotated.len(), 1, "the confirmation makes its end due");
    assert!(matches!(stage.phase(&deployment, "holder.key"), Phase::Idle { .. }));
}

#[test]
fn a_runner_wakes_at_the_deadline_of_consumers_that_say_nothing() {
    let stage = Stage::new();
    let deployment = stage.applied(strict("revoke after 2h"));
    let mut runner = runner(stage.deploy(strict("revoke after 2h")), 8);
    let first = stage.secret("strict/key").unwrap();
    stage.days(7);
    stage.tick(&mut runner);
    let (mut waited, mut woke) = (Duration::ZERO, Vec::new());
    loop {
        let next = stage.tick(&mut runner).next.unwrap();
        if !stage.works(STRICT, &first) {
            break;
        }
        let wait = next.duration_since(stage.world.clock().now()).unsigned_abs();
        stage.world.advance(wait);
        waited += wait;
        woke.push((wait, stage.phase(&deployment, "strict.key")));
        assert!(waited <= Duration::from_hours(4), "it does not wake: {woke:?}");
    }
    assert_eq!(stage.cut_off().len(), 1);
    // The rotation itself took a moment.
    assert!(waited >= Duration::from_mins(179), "{waited:?}");
    stage.assert_clean(&deployment);
}

#[test]
fn what_does_not_go_on_is_put_off_for_longer_each_time() {
    let stage = Stage::unwatched(SimOptions::default());
    stage.applied(mails(1));
    let mut runner = runner(stage.deploy(mails(1)), 8);
    stage.days(8);
    stage.world.outage("sim/");
    let mut pauses = Vec::new();
    for _ in 0..10 {
        stage.tick(&mut runner);
        let now = stage.world.clock().now();
        let next = runner.scheduler().next().unwrap();
        pauses.push(next.duration_since(now).as_secs());
        stage.world.advance(next.duration_since(now).unsigned_abs());
    }
    assert!(pauses.windows(2).all(|two| two[1] >= two[0]), "{pauses:?}");
    assert!(pauses[0] <= 30 && *pauses.last().unwrap() >= 3_000, "{pauses:?}");
    stage.world.heal();
    assert_eq!(stage.tick(&mut runner).rotated[0].summary.done, 1);
}

#[test]
fn two_runners_share_the_work_and_one_goes_on_where_the_other_died() {
    let stage = Stage::unwatched(SimOptions::default());
    let deployment = stage.applied(mails(6));
    let mut one = runner(stage.deploy(mails(6)), 3);
    let mut other = runner(stage.deploy(mails(6)), 3);
    stage.tick(&mut one);
    stage.tick(&mut other);
    stage.hours(7 * 24 + 1);
    // One dies in the middle of its first three.
    stage.world.crash_on("sim/key create");
    assert!(stage.world.run(one.tick()).is_crashed());
    drop(one);
    let mut turns = 0;
    for _ in 0..6 {
        let tick = stage.tick(&mut other);
        turns += tick.rotated.iter().map(|report| report.summary.done).sum::<u32>();
        turns += tick.settled.summary.done;
        stage.world.advance(Duration::from_mins(2));
    }
    assert_eq!(turns, 6);
    stage.hours(1);
    for _ in 0..3 {
        stage.tick(&mut other);
    }
    stage.assert_clean(&deployment);
    assert_eq!(stage.sim().objects("sim.key").len(), 6);
    let state = stage.state();
    assert_eq!(stage.world.check(&state), []);
}

#[test]
fn a_hold_is_waited_for_and_its_release_is_heard() {
    let stage = Stage::new();
    stage.applied(mails(1));
    let mut runner = runner(stage.deploy(mails(1)), 8);
    stage.tick(&mut runner);
    assert_eq!(runner.scheduler().len(), 1);
    let held = stage.deploy(mails(1));
    stage.hours(7 * 24 + 1);
    let until = stage.world.clock().now() + jiff::SignedDuration::from_hours(30);
    let actor = operator().actor;
    stage.run(held.hold(&instance(r#"mail["t0"]"#), "incident", until, &actor)).unwrap();
    let tick = stage.tick(&mut runner);
    assert!(tick.rotated.is_empty() && tick.next >= Some(until), "{tick:?}");
    stage.run(held.release(&instance(r#"mail["t0"]"#), &actor)).unwrap();
    assert_eq!(stage.tick(&mut runner).rotated.len(), 1);
}

#[test]
fn consumers_are_told_and_the_old_one_waits_for_those_that_confirm_by_themselves() {
    let stage = Stage::new();
    let waits_for = ["billing", "file:/srv/key"];
    let deployment = stage.applied(holder(&waits_for));
    let (teller, inbox) = (MemoryTeller::default(), MemoryInbox::new());
    let watched = stage
        .deploy(holder(&waits_for))
        .with_teller(Arc::new(teller.clone()))
        .with_inbox(Arc::new(inbox.clone()));
    let mut runner = runner(watched, 8);
    stage.tick(&mut runner);
    stage.world.advance(Duration::from_mins(1));
    stage.tick(&mut runner);
    assert_eq!(teller.heard().len(), 2, "of the first generation too: {:?}", teller.heard());
    let first = stage.secret("holder/key").unwrap();
    let confirm = |generation: u32| {
        let confirmation = Confirmation {
            credential: address("holder.key"),
            consumer: "billing".parse().unwrap(),
            generation,
            at: stage.world.clock().now(),
        };
        stage.run(inbox.confirm(&confirmation)).unwrap();
    };
    confirm(1);
    stage.hours(7 * 24 + 1);
    stage.tick(&mut runner);
    assert_eq!(teller.heard().len(), 4, "{:?}", teller.heard());
    // What nobody was given yet is not believed.
    confirm(7);
    for _ in 0..5 {
        stage.hours(2);
        stage.tick(&mut runner);
    }
    assert!(stage.works(OF[0], &first), "one of two has not confirmed");
    let Phase::Overdue { waiting, .. } = stage.phase(&deployment, "holder.key") else {
        panic!("{:?}", stage.phase(&deployment, "holder.key"));
    };
    assert_eq!(waiting.into_iter().collect::<Vec<_>>(), ["billing"], "the file was written");
    confirm(2);
    for _ in 0..2 {
        stage.hours(2);
        stage.tick(&mut runner);
    }
    assert!(!stage.works(OF[0], &first));
    assert_eq!(teller.heard().len(), 4, "nobody is told twice");
    stage.assert_clean(&deployment);
}
