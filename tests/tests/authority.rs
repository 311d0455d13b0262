//! A fleet whose agents live in the local authority: planned, applied, let in,
//! changed, offboarded.

use std::sync::Arc;

use agent_iac::{
    apply::{Report, RunContext},
    clock::{SystemClock, SystemEntropy, block_on},
    deployment::{Deployment, PlanRequest},
    fleet::Fleet,
    ledger::{Actor, MemoryLedger},
    plan::{Action, SavedPlan},
    prelude::*,
    provider::Reach,
    providers::authority::{self, Authority, AuthorityProvider, Decision, Reason},
    vault::MemoryVault,
};

/// Reads the invoices of one region.
#[derive(Debug, Agent)]
#[agent(owner = "team:billing", expires = "2099-06-30", grace = "0d")]
pub struct InvoiceReader {
    /// The region.
    #[input(key)]
    region: String,
    /// Whether it may also list what there is.
    #[input]
    lists: bool,

    #[identity(name = format!("invoice-reader-{region}"))]
    account: authority::Account,

    #[permission(
        to = account,
        on = format!("invoices/{region}/*"),
        allow = if *lists { vec!["read", "list"] } else { vec!["read"] }
            .into_iter()
            .map(authority::Action::new)
            .collect::<std::collections::BTreeSet<_>>(),
        because = "one region's invoices are its whole work",
    )]
    invoices: authority::Grant,

    #[credential(of = account, rotate = "7d", overlap = "1h", deliver = format!("vault:agents/{region}"))]
    key: authority::ApiKey,
}

struct World {
    deployment: Deployment,
    vault: Arc<MemoryVault>,
    provider: AuthorityProvider,
    _folder: tempfile::TempDir,
}

fn fleet(lists: Option<bool>) -> Fleet {
    let mut fleet = Fleet::new("billing");
    fleet.provider("authority", Reach::Exclusive).store("vault");
    if let Some(lists) = lists {
        fleet.add(InvoiceReaderInputs { region: "eu".into(), lists });
    }
    fleet
}

fn world() -> World {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let path = folder.path().join("authority.db");
    let provider = AuthorityProvider::create(path, Arc::new(SystemClock), Arc::new(SystemEntropy))
        .expect("an empty folder takes an authority");
    let ledger =
        MemoryLedger::opened(Arc::new(SystemClock), "billing", "test").expect("the names are good");
    let vault = Arc::new(MemoryVault::new());
    let deployment =
        Deployment::new(fleet(Some(false)), "test", Arc::new(ledger), Arc::new(SystemEntropy))
            .with_provider("authority", Arc::new(provider.clone()))
            .with_store("vault", Arc::<MemoryVault>::clone(&vault));
    World { deployment, vault, provider, _folder: folder }
}

impl World {
    fn plan(&self) -> SavedPlan {
        let plan =
            block_on(self.deployment.plan(&PlanRequest::default())).expect("it can be planned");
        SavedPlan::new(plan).expect("a plan has a digest")
    }

    fn apply(&self) -> Report {
        let plan = self.plan();
        let context = RunContext::new(Actor::asserted("test", "ada")).acknowledging(plan.digest());
        let report = block_on(self.deployment.apply(&plan, &context)).expect("the run begins");
        assert!(report.is_complete(), "{report:?}");
        report
    }

    fn actions(&self) -> Vec<(String, Action)> {
        let plan = self.plan();
        let steps = plan.plan().steps.iter();
        steps.map(|step| (step.address.resource().to_owned(), step.action)).collect()
    }

    fn delivered(&self) -> String {
        let secret = self.vault.peek("agents/eu").expect("the key was delivered");
        secret.expose(|key| String::from_utf8(key.to_vec()).expect("a key is text"))
    }

    fn check(&self, key: &str, action: &str, object: &str) -> Decision {
        let authority = Authority::open(self.provider.path(), Arc::new(SystemClock))
            .expect("the authority is there");
        block_on(authority.check(key, action, object)).expect("the file can be read")
    }
}

#[test]
fn an_agent_is_created_let_in_changed_and_offboarded() {
    let world = world();
    world.apply();
    assert_eq!(world.actions(), [], "what was applied needs nothing more");
    let key = world.delivered();
    let allowed = Decision::Allowed { account: "invoice-reader-eu".into() };
    let not_granted = Decision::Refused(Reason::NotGranted);
    assert_eq!(world.check(&key, "read", "invoices/eu/7"), allowed);
    assert_eq!(world.check(&key, "read", "invoices/us/7"), not_granted);
    assert_eq!(world.check(&key, "list", "invoices/eu/7"), not_granted);

    let world = World { deployment: world.deployment.with_fleet(fleet(Some(true))), ..world };
    assert_eq!(world.actions(), [("invoices".to_owned(), Action::Update)]);
    world.apply();
    assert_eq!(world.check(&key, "list", "invoices/eu/7"), allowed);
    assert_eq!(world.actions(), []);

    let world = World { deployment: world.deployment.with_fleet(fleet(None)), ..world };
    for _ in 0..4 {
        if world.actions().is_empty() {
            break;
        }
        world.apply();
        assert_ne!(world.check(&key, "read", "invoices/eu/7"), allowed);
    }
    assert_eq!(world.actions(), []);
    assert_eq!(world.check(&key, "read", "invoices/eu/7"), Decision::Refused(Reason::RevokedKey));
}

#[test]
fn a_key_and_a_grant_that_somebody_planted_by_hand_stand_in_the_plan() {
    let world = world();
    world.apply();
    let hand = rusqlite::Connection::open(world.provider.path()).unwrap();
    hand.execute_batch(
        "INSERT INTO grants (id, account, pattern, actions)
         SELECT 'planted', id, '**', 'delete' FROM accounts;
         UPDATE grants SET actions = 'read write' WHERE id != 'planted';",
    )
    .unwrap();
    let plan = world.plan();
    let steps: Vec<_> = plan
        .plan()
        .steps
        .iter()
        .map(|step| (step.address.resource().to_owned(), step.action))
        .collect();
    assert!(steps.contains(&("invoices".to_owned(), Action::Update)), "{steps:?}");
    assert!(steps.contains(&("?authority.grant/planted".to_owned(), Action::Delete)), "{steps:?}");
    world.apply();
    assert_eq!(world.actions(), []);
    let key = world.delivered();
    let refused = Decision::Refused(Reason::NotGranted);
    assert_eq!(world.check(&key, "delete", "payroll/1"), refused);
    assert_eq!(world.check(&key, "write", "invoices/eu/7"), refused);
}
