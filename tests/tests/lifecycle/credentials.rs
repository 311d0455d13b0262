//! How secrets come to their places, and how they end.

use agent_iac::{
    provider::{Attempt, Limits, Observers, Probe, Probers, Provider, Tried, Writers},
    testing::world::SimProvider,
};
use async_trait::async_trait;

use super::*;

/// Has one credential of each sort.
#[derive(Agent, Debug)]
#[agent(owner = "team:a", expires = "2027-06-30", grace = "0d")]
struct Holder {
    #[input]
    place: String,

    #[identity(name = "holder")]
    account: sim::Account,

    #[identity(name = "lone")]
    other: sim::Account,

    #[credential(of = account, deliver = format!("vault:{place}/key"))]
    key: sim::Key,

    #[credential(of = account, deliver = format!("vault:{place}/token"))]
    token: sim::Token,

    #[credential(of = other, deliver = format!("vault:{place}/lone"))]
    lone: sim::LoneKey,
}

fn holder(place: &str) -> Fleet {
    let mut fleet = fleet();
    fleet.add(HolderInputs { place: place.into() });
    fleet
}

/// The simulated system with another answer to every attempt at a key.
struct Answering(SimProvider, Tried);

struct Always(Tried);

#[async_trait]
impl Probe<sim::Key> for Always {
    async fn probe(&self, attempts: &[Attempt<'_>]) -> Vec<Tried> {
        attempts.iter().map(|_| self.0.clone()).collect()
    }
}

#[async_trait]
impl Provider for Answering {
    fn description(&self) -> String {
        self.0.description()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
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
        Ok(Probers::new().with::<sim::Key, _>(&Arc::new(Always(self.1.clone()))))
    }
}

#[test]
fn secrets_of_every_origin_are_delivered_and_work() {
    let stage = Stage::new();
    stage.applied(holder("first"));
    for (ty, path, account) in [
        ("sim.key", "key", "holder"),
        ("sim.token", "token", "holder"),
        ("sim.lone_key", "lone", "lone"),
    ] {
        let secret = stage.secret(&format!("first/{path}")).unwrap();
        assert!(stage.sim().accepts(ty, &stage.account(account), &secret), "{ty}");
    }
}

#[test]
fn a_replaced_secret_is_new_and_the_old_one_is_dead() {
    let stage = Stage::new();
    stage.applied(holder("first"));
    let paths = [
        ("sim.key", "key", "holder"),
        ("sim.token", "token", "holder"),
        ("sim.lone_key", "lone", "lone"),
    ];
    let old: Vec<_> =
        paths.iter().map(|(_, p, _)| stage.secret(&format!("first/{p}")).unwrap()).collect();
    let deployment = stage.deploy(holder("second"));
    let plan = stage.plan(&deployment);
    let noted: Vec<String> = plan
        .steps
        .iter()
        .filter(|step| step.notes.iter().any(|note| note.contains("none that works")))
        .map(|step| step.address.to_string())
        .collect();
    assert_eq!(noted, ["holder.lone"], "only a system that allows one has a gap, and it is said");
    let report = stage.apply_plan(&deployment, plan).unwrap();
    assert!(report.is_complete(), "{}", shown(&report));
    for ((ty, path, account), old) in paths.iter().zip(&old) {
        let account = stage.account(account);
        let new = stage.secret(&format!("second/{path}")).unwrap();
        assert!(stage.sim().accepts(ty, &account, &new) && !stage.sim().accepts(ty, &account, old));
        assert!(
            stage.secret(&format!("first/{path}")).is_err(),
            "nothing is left at the old place"
        );
    }
    stage.assert_clean(&deployment);
}

#[test]
fn a_new_secret_that_is_refused_is_revoked_and_consumers_keep_the_old_one() {
    let stage = Stage::new();
    stage.applied(readers(&["eu"]));
    let before = stage.secret("readers/eu/key").unwrap();
    let account = stage.account("reader-eu");
    // Somebody overwrote the digest in the eyes of the ledger: the account's
    // key is replaced, and the new one is refused when it is tried.
    let old = stage.sim().objects("sim.key").remove(0).id;
    let refusing = Answering(stage.sim(), Tried::Refused("not in this building".into()));
    let mut moved = fleet();
    moved.add(reader("eu"));
    let deployment = stage.deploy(moved).with_provider("sim", Arc::new(refusing));
    stage.sim().hand().set::<sim::Account>(&account, "note", "by hand").unwrap();
    stage.sim().hand().delete::<sim::Key>(&old).unwrap();
    let report = stage.try_apply(&deployment);
    let Outcome::Failed(error) = outcome(&report, &format!("{EU}.key")) else {
        panic!("{}", shown(&report));
    };
    assert_eq!(error.kind(), ErrorKind::ProviderContract);
    assert!(error.message().contains("not in this building"), "{error}");
    assert!(stage.sim().objects("sim.key").is_empty(), "what was issued is revoked");
    assert!(stage.secret("readers/eu/key").unwrap().equals(&before), "it was not promoted");
    let deployment = stage.deploy(readers(&["eu"]));
    stage.apply(&deployment);
    stage.assert_clean(&deployment);
    assert!(!stage.secret("readers/eu/key").unwrap().equals(&before));
}

#[test]
fn a_new_secret_that_could_not_be_tried_is_in_doubt_and_settled_by_the_next_run() {
    let stage = Stage::new();
    let deployment = stage.deploy(readers(&["eu"]));
    stage.world.outage("sim/key probe");
    let report = stage.try_apply(&deployment);
    assert!(
        matches!(outcome(&report, &format!("{EU}.key")), Outcome::InDoubt(_)),
        "{}",
        shown(&report)
    );
    assert!(stage.secret("readers/eu/key").is_err(), "it was not promoted");
    assert!(stage.state().records[&address(&format!("{EU}.key"))].open.is_some());
    assert!(stage.plan(&deployment).in_doubt.contains(&address(&format!("{EU}.key"))));
    stage.world.heal();
    let settled = stage.run(deployment.recover(&operator())).unwrap();
    assert_eq!(settled.summary.in_doubt, 0, "{}", shown(&settled));
    stage.apply(&deployment);
    stage.assert_clean(&deployment);
    let secret = stage.secret("readers/eu/key").unwrap();
    assert!(stage.sim().accepts("sim.key", &stage.account("reader-eu"), &secret));
    assert_eq!(stage.sim().objects("sim.key").len(), 1);
}

#[test]
fn a_secret_that_somebody_else_put_at_the_place_is_replaced() {
    let stage = Stage::unwatched(SimOptions::default());
    let deployment = stage.applied(readers(&["eu"]));
    let deliver = stage.store.deliver().unwrap();
    let at = address(&format!("{EU}.key"));
    stage.run(async {
        let run = agent_iac::ledger::RunId::random(&*stage.world.entropy());
        let (claim, secret) = (run.claim(1), agent_iac::secret::Secret::from_text("forged".into()));
        let delivery = agent_iac::vault::Delivery {
            path: "readers/eu/key",
            address: &at,
            generation: 2,
            claim: &claim,
            secret: &secret,
        };
        deliver.stage(delivery).await.unwrap();
        deliver.promote("readers/eu/key", &claim).await.unwrap();
    });
    let plan = stage.plan(&deployment);
    assert!(
        plan.steps[0].reason.to_string().contains("generation 2 stands at"),
        "{:?}",
        plan.steps
    );
    let report = stage.apply_plan(&deployment, plan).unwrap();
    assert!(report.steps.iter().all(|step| step.outcome.is_done()), "{}", shown(&report));
    stage.assert_clean(&deployment);
    let secret = stage.secret("readers/eu/key").unwrap();
    assert!(stage.sim().accepts("sim.key", &stage.account("reader-eu"), &secret));
}
