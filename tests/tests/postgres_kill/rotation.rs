//! Two runners renew the logins of a fleet without a pause, and one or the other
//! is killed all the time, mostly inside a rotation.

use std::{collections::BTreeSet, path::Path, time::Instant};

use agent_iac::{clock::block_on, deployment::Deployment, ledger::RunPurpose, rotation::Phase};
use agent_iac_tests::{
    converge,
    crash::{Applying, Ledger, PATIENCE, Random},
    embedded::Version,
    on_each_version,
    on_postgres::{Delivered, Site, delivered},
    operator,
    postgres::{Cluster, Session},
};

use super::*;

on_each_version![alone: runners_that_are_killed_lock_nobody_out_and_leave_nothing];

/// Enough that two runners are always at work on some of them.
const TURNERS: usize = 9;

/// How often a runner is killed on each version, where nothing else is asked
/// for.
const FEW_KILLS: usize = 5;

/// The longest time from the begin of a run that is aimed at.
const WINDOW: Duration = Duration::from_millis(400);

/// The runners of one fleet.
struct Runners<'a> {
    site: &'a Site,
    folder: &'a Path,
    started: usize,
}

impl Runners<'_> {
    /// Starts one more, and says its name.
    fn start(&mut self) -> (String, Applying) {
        self.started += 1;
        let name = format!("runner-{}", self.started);
        let mut program = Command::new(env!("CARGO_BIN_EXE_rotate-on-postgres"));
        program.arg(self.folder).args(["4s", &TURNERS.to_string()]);
        program.args([&self.site.port.to_string(), &self.site.fleet, &name]);
        (name, Applying::start(program))
    }
}

async fn runners_that_are_killed_lock_nobody_out_and_leave_nothing(cluster: &Cluster) {
    let mut random = Random::seeded();
    let whole = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(cluster, "turn");
    site.prepare(cluster, TURNERS).await;
    plant(cluster).await;
    let before = of_others(cluster, "turn_[0-9]").await;
    // What comes due while somebody is at work only comes due at the end.
    let settled = site.rotating(folder.path(), "30d", TURNERS).unwrap();
    block_on(converge(&settled)).unwrap();
    let names: Vec<String> =
        site.declared(Version::Full, TURNERS).into_iter().map(|clerk| clerk.name).collect();

    let ledger = Ledger::of(folder.path(), "turn");
    let mut runners = Runners { site: &site, folder: folder.path(), started: 0 };
    let mut at_work = [runners.start(), runners.start()];
    let mut used = Used::default();
    let kills = kills_or(FEW_KILLS);
    let (mut inside, mut in_doubt) = (0, 0);
    for kill in 1..=kills {
        let head = ledger.left().map_or(0, |left| left.state.head.sequence);
        let next = runners.start();
        let which = usize::from(random.number().is_multiple_of(2));
        let (name, runner) = std::mem::replace(&mut at_work[which], next);
        let (in_a_run, complaint) = runner.kill_in_a_run(&mut random, WINDOW);
        let open = ledger.in_doubt();
        let run = ledger.last_run_of(&name, 0).filter(|_| in_a_run);
        inside += usize::from(run == Some(RunPurpose::Rotate));
        in_doubt += usize::from(open > 0);
        println!("kill {kill:3} of {name} in {run:?}, {open} in doubt, after batch {head}");
        if !complaint.is_empty() {
            println!("{complaint}");
        }
        // A third of them each time, so that this is not what takes the time.
        let third: Vec<String> = names.iter().skip(kill % 3).step_by(3).cloned().collect();
        used.look(cluster, &settled, &third).await;
    }
    for (_, runner) in at_work {
        assert!(runner.kill(), "a runner ended by itself");
    }
    println!("{inside} of {kills} kills fell into a rotation, {in_doubt} left a doubt");
    assert!(inside * 10 >= kills * 8, "only {inside} of {kills} kills fell into a rotation");

    // Whoever comes next brings everything to its end.
    let begun = Instant::now();
    loop {
        block_on(settled.recover(&operator())).unwrap();
        let report = block_on(settled.rotate(&BTreeSet::new(), &operator())).unwrap();
        let failed = report.steps.iter().filter(|step| !step.outcome.is_done());
        assert_eq!(failed.count(), 0, "{report:?}");
        used.look(cluster, &settled, &names).await;
        let phases = block_on(settled.phases(&BTreeSet::new())).unwrap();
        if phases.values().all(|phase| matches!(phase, Phase::Idle { .. })) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{phases:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    used.all_but_the_present_are_dead(cluster, &settled, &names).await;
    let after = of_others(cluster, "turn_[0-9]").await;
    assert_eq!(lines_that_differ(&before, &after), [""; 0], "what is not ours was touched");
    inspect_all(cluster, &site, &settled, &site.declared(Version::Full, TURNERS)).await;
    let renewed = ledger.done("postgres.login");
    println!("{kills} kills in {:?}; {renewed} steps on logins", whole.elapsed());
}

/// The logins that somebody used, each with a session that was left open.
#[derive(Default)]
struct Used(BTreeMap<String, (Delivered, Session)>);

impl Used {
    /// Logs in with what the vault has of each.
    async fn look(&mut self, cluster: &Cluster, deployment: &Deployment, names: &[String]) {
        for name in names {
            let login = delivered(deployment, name).unwrap();
            let session = cluster.connect(&login.user, &login.password, "app").await;
            let session = session.unwrap_or_else(|error| panic!("{}: {error:?}", login.user));
            self.0.entry(login.user.clone()).or_insert((login, session));
        }
    }

    async fn all_but_the_present_are_dead(
        &self,
        cluster: &Cluster,
        deployment: &Deployment,
        names: &[String],
    ) {
        let present: BTreeSet<String> =
            names.iter().map(|name| delivered(deployment, name).unwrap().user).collect();
        let mut dead = 0;
        for (login, session) in self.0.values() {
            let lives = session.batch_execute("SELECT").await.is_ok();
            assert_eq!(lives, present.contains(&login.user), "a session of {}", login.user);
            if !lives {
                let refusal = cluster.refusal(&login.user, &login.password, "app").await;
                assert_eq!(refusal.code, "28P01", "{}", login.user);
                dead += 1;
            }
        }
        println!("{dead} logins that were used are refused, and their sessions ended");
    }
}
