//! The code of a storm's fleet: which agents it declares, as data that events
//! change.

use std::collections::{BTreeMap, BTreeSet};

use super::super::world as sim;
use crate::{
    Agent,
    address::{Address, Instance},
    agent::OnDrift,
    fleet::{Fleet, Rules},
    provider::Reach,
};

/// Reads invoices, with a credential of every sort.
#[derive(Agent, Debug)]
#[agent(owner = "team:storm", expires = "2999-12-31", grace = "1d", name = "reader")]
struct Reader {
    #[input(key)]
    tenant: String,
    #[input]
    home: String,
    #[input]
    actions: Vec<String>,
    #[input]
    note: String,
    #[input]
    name: String,
    #[input]
    place: String,

    #[identity(name = name, home = home, note = note, on_drift = OnDrift::RevertWidening)]
    account: sim::Account,

    #[permission(
        to = account,
        on = format!("invoices/{tenant}"),
        allow = actions.iter().cloned().collect::<BTreeSet<String>>(),
        on_drift = OnDrift::RevertWidening,
    )]
    invoices: sim::Grant,

    #[permission(to = account, on = format!("log-of-{}", account.id()), allow = ["append"])]
    log: sim::Grant,

    #[credential(
        of = account,
        deliver = format!("vault:{place}/{tenant}/key"),
        rotate = "1d",
        overlap = "1h",
    )]
    key: sim::Key,

    #[credential(
        of = account,
        deliver = format!("vault:{place}/{tenant}/token"),
        rotate = "1d",
        overlap = "1h",
        consumers = ["inbox"],
    )]
    token: sim::Token,

    #[runtime(name = format!("job-{tenant}"), run_as = account, command = "read")]
    job: sim::Job,
}

/// Has one key at a time, and goes without a grace.
#[derive(Agent, Debug)]
#[agent(owner = "team:storm", expires = "2999-12-31", grace = "0d", name = "mailer")]
struct Mailer {
    #[input]
    name: String,

    #[identity(name = name)]
    account: sim::Account,

    #[credential(of = account, deliver = "vault:agents/mailer/key", rotate = "1d")]
    key: sim::LoneKey,
}

/// Is protected.
#[derive(Agent, Debug)]
#[agent(owner = "team:storm", expires = "2999-12-31", grace = "0d", name = "keeper")]
struct Keeper {
    #[identity(name = "keeper", protect)]
    account: sim::Account,

    #[permission(to = account, on = "archive", allow = ["read"])]
    archive: sim::Grant,
}

/// Has an account that somebody made by hand.
#[derive(Agent, Debug)]
#[agent(owner = "team:storm", expires = "2999-12-31", grace = "0d", name = "old-hand")]
struct OldHand {
    #[identity(name = "old-hand", note = "adopted")]
    account: sim::Account,

    #[permission(to = account, on = "archive", allow = ["read"])]
    archive: sim::Grant,
}

/// The tenants that readers may be of.
pub(super) const TENANTS: [&str; 3] = ["a", "b", "c"];

/// What a reader's declaration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) home: &'static str,
    /// What its account is called, before the tenant.
    pub(super) name: &'static str,
    /// Where its secrets are delivered.
    pub(super) place: &'static str,
    pub(super) note: String,
    pub(super) actions: BTreeSet<&'static str>,
}

impl Default for Terms {
    fn default() -> Self {
        let (name, place) = ("reader", "agents");
        Self { home: "here", name, place, note: "first".into(), actions: ["list", "read"].into() }
    }
}

/// One version of the code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) readers: BTreeMap<&'static str, Terms>,
    pub(super) mailer: Option<&'static str>,
    pub(super) keeper: bool,
    /// The id of the account that was made by hand, once it is adopted.
    pub(super) adopts: Option<String>,
    pub(super) cap: Option<u32>,
}

impl Code {
    /// The fleet that it declares.
    pub(super) fn fleet(&self) -> Fleet {
        let mut fleet = Fleet::new("storm");
        fleet.provider("sim", Reach::Exclusive).store("vault");
        if let Some(cap) = self.cap {
            fleet.rules(Rules { max_leaving: Some(cap), ..Rules::default() });
        }
        for (tenant, terms) in &self.readers {
            let Terms { home, name, place, note, actions } = terms;
            fleet.add(ReaderInputs {
                tenant: (*tenant).into(),
                name: format!("{name}-{tenant}"),
                place: (*place).into(),
                home: (*home).into(),
                actions: actions.iter().map(|action| (*action).to_owned()).collect(),
                note: note.clone(),
            });
        }
        if let Some(name) = self.mailer {
            fleet.add(MailerInputs { name: name.into() });
        }
        if self.keeper {
            fleet.add(KeeperInputs {});
        }
        if let Some(id) = &self.adopts {
            fleet.add(OldHandInputs {});
            // Once it is gone, there is nothing to adopt.
            if !id.is_empty() {
                fleet.import(address("old-hand.account"), id.as_str());
            }
        }
        fleet
    }

    /// The agents that it declares and that have permissions.
    pub(super) fn agents(&self) -> BTreeSet<Instance> {
        self.allows().keys().map(|address| address.instance().clone()).collect()
    }

    /// What its permissions allow, by address.
    pub(super) fn allows(&self) -> BTreeMap<Address, BTreeSet<String>> {
        let mut allows = BTreeMap::new();
        let mut allow = |at: String, actions: &BTreeSet<&str>| {
            allows.insert(address(&at), actions.iter().map(|action| (*action).into()).collect());
        };
        for (tenant, terms) in &self.readers {
            allow(format!("reader[\"{tenant}\"].invoices"), &terms.actions);
            allow(format!("reader[\"{tenant}\"].log"), &["append"].into());
        }
        if self.keeper {
            allow("keeper.archive".into(), &["read"].into());
        }
        if self.adopts.is_some() {
            allow("old-hand.archive".into(), &["read"].into());
        }
        allows
    }
}

fn address(text: &str) -> Address {
    text.parse().expect("the storm's addresses are well formed")
}

/// The agents that something may be done to by name.
pub(super) const AGENTS: [&str; 4] = ["reader[\"a\"]", "reader[\"b\"]", "mailer", "keeper"];

/// The instance of that name.
pub(super) fn instance(text: &str) -> Instance {
    address(&format!("{text}.account")).instance().clone()
}
