//! A large fleet is planned by parts: the plan is the same as with everything
//! in view, and everything is read only where it has to be.
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_iac::{
    Result,
    address::Instance,
    apply::RunContext,
    clock::{SystemClock, SystemEntropy, block_on},
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::{
        Actor, Append, Appended, Batch, Fence, Lease, Ledger, Page, Query, SqliteLedger, State,
        sqlite::Options,
    },
    plan::{Plan, SavedPlan},
    prelude::*,
    provider::Reach,
    providers::authority::{self as auth, AuthorityProvider},
    resource::Ref,
};
use async_trait::async_trait;

/// A ledger that counts how often all of it was asked for.
struct Counted {
    inner: SqliteLedger,
    whole: AtomicUsize,
}

#[async_trait]
impl Ledger for Counted {
    fn description(&self) -> String {
        self.inner.description()
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        self.inner.append(append).await
    }

    async fn state(&self, query: &Query) -> Result<State> {
        if *query == Query::Everything {
            self.whole.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.state(query).await
    }

    async fn page(&self, after: Option<&Instance>, limit: usize) -> Result<Page> {
        self.inner.page(after, limit).await
    }

    async fn batches(&self, from: u64, limit: usize) -> Result<Vec<Batch>> {
        self.inner.batches(from, limit).await
    }

    async fn renew(&self, fence: &Fence, ttl: Duration) -> Result<()> {
        self.inner.renew(fence, ttl).await
    }

    async fn release(&self, fence: &Fence) -> Result<()> {
        self.inner.release(fence).await
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        self.inner.leases().await
    }
}

/// Reads its own shelf.
#[derive(Agent)]
#[agent(owner = "team:parts", expires = "2099-12-31", grace = "0d")]
struct Reader {
    #[input(key)]
    number: String,
    #[input]
    action: String,

    #[identity(name = format!("reader-{number}"))]
    account: auth::Account,

    #[permission(to = account, on = format!("shelves/{number}/books"), allow = [action.as_str()])]
    books: auth::Grant,
}

/// What gives another agent's account something.
#[derive(Agent)]
#[agent(owner = "team:parts", expires = "2099-12-31", grace = "0d")]
struct Guest {
    #[input(key)]
    number: String,
    #[input]
    of: Ref<auth::Account>,

    #[permission(to = of, on = format!("guests/{number}"), allow = ["visit"])]
    visits: auth::Grant,
}

/// The agents of a fleet: each with what its reader may do.
fn fleet(readers: &[(&str, &str)], guests: &[(&str, usize)]) -> Fleet {
    let mut fleet = Fleet::new("parts");
    fleet.provider("authority", Reach::Exclusive);
    let accounts: Vec<Ref<auth::Account>> = readers
        .iter()
        .map(|(number, action)| {
            let (number, action) = ((*number).to_owned(), (*action).to_owned());
            fleet.add(ReaderInputs { number, action }).account().clone()
        })
        .collect();
    for (number, of) in guests {
        fleet.add(GuestInputs { number: (*number).to_owned(), of: accounts[*of].clone() });
    }
    fleet
}

struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        AuthorityProvider::create(Self::authority(folder.path()), clock, entropy).unwrap();
        Self { folder }
    }

    fn authority(folder: &Path) -> std::path::PathBuf {
        folder.join("authority.db")
    }

    fn ledger(&self) -> Arc<Counted> {
        let options = Options::new("parts", "test");
        let path = self.folder.path().join("ledger.db");
        let inner = SqliteLedger::create_or_open(path, &options).unwrap();
        Arc::new(Counted { inner, whole: AtomicUsize::new(0) })
    }

    fn deployment(&self, fleet: Fleet, ledger: &Arc<Counted>, at_once: usize) -> Deployment {
        let provider = AuthorityProvider::new(Self::authority(self.folder.path()));
        Deployment::new(fleet, "test", Arc::<Counted>::clone(ledger), Arc::new(SystemEntropy))
            .with_provider("authority", Arc::new(provider))
            .with_agents_at_once(at_once)
    }

    /// The plan of a fleet, which is the same by parts of any size as with
    /// everything in view; and whether everything was read for it.
    #[track_caller]
    fn plan(&self, fleet: &Fleet) -> (Plan, bool) {
        let ledger = self.ledger();
        let plan = |at_once| {
            let deployment = self.deployment(fleet.clone(), &ledger, at_once);
            block_on(deployment.plan(&PlanRequest::default())).unwrap()
        };
        let whole = plan(usize::MAX / 4);
        assert_eq!(ledger.whole.swap(0, Ordering::SeqCst), 1, "it is not a small fleet's plan");
        let by_one = plan(1);
        let needed = ledger.whole.swap(0, Ordering::SeqCst) > 0;
        for by_parts in [&by_one, &plan(2), &plan(3)] {
            assert_eq!(by_parts.digest().unwrap(), whole.digest().unwrap(), "{by_parts:#?}");
            assert_eq!(by_parts.targets, whole.targets);
        }
        (by_one, needed)
    }

    fn apply(&self, fleet: &Fleet) {
        let ledger = self.ledger();
        let deployment = self.deployment(fleet.clone(), &ledger, 500);
        let plan = block_on(deployment.plan(&PlanRequest::default())).unwrap();
        let plan = SavedPlan::new(plan).unwrap();
        let context = RunContext::new(Actor::asserted("test", "parts"));
        let context = context.acknowledging(plan.digest());
        assert!(block_on(deployment.apply(&plan, &context)).unwrap().is_complete());
    }

    fn by_hand(&self, sql: &str) {
        let file = rusqlite::Connection::open(Self::authority(self.folder.path())).unwrap();
        assert!(file.execute(sql, []).unwrap() > 0, "{sql}");
    }
}

const READERS: [(&str, &str); 9] = [
    ("1", "read"),
    ("2", "read"),
    ("3", "read"),
    ("4", "read"),
    ("5", "read"),
    ("a", "read"),
    ("b", "read"),
    ("with \"quotes\"", "read"),
    ("é", "read"),
];

fn names(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{} {}", step.action, step.address)).collect()
}

#[test]
fn a_fleet_that_is_as_declared_is_planned_without_reading_everything_at_once() {
    let stage = Stage::new();
    let fleet = fleet(&READERS, &[("x", 0), ("y", 8)]);
    stage.apply(&fleet);
    let (plan, whole) = stage.plan(&fleet);
    assert!(plan.is_clean() && !whole);
    assert_eq!(plan.unchanged, 20);
}

#[test]
fn what_is_new_and_what_is_changed_needs_no_more_than_itself() {
    let stage = Stage::new();
    stage.apply(&fleet(&READERS, &[("x", 0)]));
    let mut readers = READERS;
    readers[4].1 = "write";
    let (plan, whole) = stage.plan(&fleet(&readers, &[("x", 0), ("new", 2)]));
    assert_eq!(names(&plan), ["create guest[\"new\"].visits", "update reader[\"5\"].books"],);
    assert!(!whole);
    assert_eq!(plan.unchanged, 18);
}

#[test]
fn what_leaves_or_loses_its_target_is_planned_with_everything_in_view() {
    let stage = Stage::new();
    stage.apply(&fleet(&READERS, &[("x", 0)]));
    let (plan, whole) = stage.plan(&fleet(&READERS, &[]));
    assert_eq!(names(&plan), ["delete guest[\"x\"].visits"]);
    assert!(whole);
    let (plan, whole) = stage.plan(&fleet(&READERS[1..], &[("x", 1)]));
    assert!(whole && names(&plan).iter().any(|name| name == "delete reader[\"1\"].books"));
}

#[test]
fn what_somebody_did_by_hand_is_planned_with_everything_in_view() {
    let stage = Stage::new();
    let fleet = fleet(&READERS, &[("x", 0)]);
    stage.apply(&fleet);
    stage.by_hand("UPDATE grants SET actions = 'write' WHERE pattern = 'shelves/2/books'");
    let (plan, whole) = stage.plan(&fleet);
    assert!(whole && plan.drift.len() == 1, "drift: {plan:#?}");
    stage.by_hand("UPDATE grants SET actions = 'read' WHERE pattern = 'shelves/2/books'");
    // An account that nobody declared is found by no look at ours.
    stage.by_hand(
        "INSERT INTO accounts (id, name, suspended) VALUES ('account_by_hand', 'stranger', 0)",
    );
    let (plan, whole) = stage.plan(&fleet);
    assert!(whole && plan.undeclared.len() == 1, "{plan:#?}");
}

#[test]
fn a_plan_of_some_agents_is_that_part_of_the_plan_of_all() {
    let stage = Stage::new();
    stage.apply(&fleet(&READERS, &[("x", 0)]));
    let mut readers = READERS;
    readers[0].1 = "write";
    readers[3].1 = "write";
    let changed = fleet(&readers, &[("x", 0), ("new", 3)]);
    let (all, _) = stage.plan(&changed);
    let ledger = stage.ledger();
    let deployment = stage.deployment(changed, &ledger, 500);
    let target: Instance = "guest[\"new\"]".parse().unwrap();
    let request = PlanRequest { targets: BTreeSet::from([target]), max_leaving: None };
    let blueprint = deployment.blueprint().unwrap();
    let plan = block_on(deployment.plan_validated(&blueprint, &request)).unwrap();
    // With what it needs: the account that it visits, and so its agent.
    assert_eq!(names(&plan), ["create guest[\"new\"].visits", "update reader[\"4\"].books"],);
    let of_all: Vec<_> =
        all.steps.iter().filter(|step| plan.versions.contains_key(&step.address)).collect();
    assert_eq!(plan.steps.iter().collect::<Vec<_>>(), of_all);
    assert_eq!(ledger.whole.load(Ordering::SeqCst), 0);
    assert_eq!(plan.unchanged, 1);
}
