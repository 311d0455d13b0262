//! The same fleet has the same digest in Rust and in text.

use std::collections::{BTreeMap, BTreeSet};

use agent_iac::{
    agent::OnDrift,
    config::{self, Types},
    fleet::{Fleet, Rules, Standing, Unattended},
    prelude::*,
    provider::Reach,
    providers::authority as auth,
    resource::{Link, Ref},
    rotation::FleetTerms,
};

/// How a worker is scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Property)]
enum Priority {
    #[default]
    Normal,
    High,
}

/// What a worker may use.
#[derive(Clone, Debug, PartialEq, Eq, Property)]
struct Limits {
    memory: u32,
    open_files: Option<u32>,
}

/// A process, with a property of every shape.
#[derive(Clone, Debug, PartialEq, Resource)]
#[resource(type = "test.worker", kind = "runtime")]
struct Worker {
    /// Its name.
    #[resource(key)]
    name: String,
    /// How it is scheduled.
    #[resource(default)]
    priority: Priority,
    /// How many of it run.
    #[resource(default)]
    replicas: u16,
    /// Whether it restarts.
    #[resource(default)]
    restart: bool,
    /// Its arguments.
    arguments: Vec<String>,
    /// Its variables.
    env: BTreeMap<String, String>,
    /// What it may use.
    limits: Limits,
    /// Who it runs as.
    account: Link<auth::Account>,
    /// Who watches it.
    watcher: Option<Link<auth::Account>>,
    /// Words to find it by.
    labels: BTreeSet<String>,
    /// Its number.
    #[resource(output)]
    pid: u32,
}

/// Knows the accounts of the others.
#[derive(Agent)]
#[agent(owner = "team:platform", expires = "2027-06-30")]
struct Directory {
    #[identity(name = "directory", protect)]
    account: auth::Account,
}

/// Answers questions about invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30", grace = "14d")]
struct InvoiceReader {
    #[input(key)]
    tenant: String,
    #[input]
    directory: Ref<auth::Account>,
    #[identity(
        name = format!("reader-{tenant}"),
        description = format!("Known to {}, paid in $.", directory.id()),
        on_drift = OnDrift::RevertWidening,
    )]
    account: auth::Account,
    #[permission(
        to = account,
        on = format!("tenants/{tenant}/invoices/*"),
        allow = ["read", "list"],
        because = "All of the tenant's invoices.",
        depends_on = [directory],
    )]
    invoices: auth::Grant,
    #[permission(to = directory, on = format!("readers/{}", account.id()), allow = ["read"])]
    known: auth::Grant,
    #[credential(
        of = account,
        note = "for the billing service",
        rotate = "7d",
        overlap = "1h",
        window = "mon 02:00-04:00 Europe/Berlin",
        blackouts = ["12-20..01-03"],
        zone = "Asia/Tokyo",
        jitter = "2h",
        retry = "5 times, 1m to 1h",
        lease = "30d",
        group = "readers",
        deliver = format!("vault:agents/{tenant}/reader"),
        consumers = ["billing-api"],
        ignore = ["note"],
    )]
    key: auth::ApiKey,
    #[runtime(
        name = format!("worker-{tenant}"),
        arguments = ["--account".to_owned(), account.id().to_string()],
        env = BTreeMap::from([
            ("TENANT".to_owned(), tenant.clone()),
            ("KEY".to_owned(), format!("{}:{}", key.place(), key.id())),
        ]),
        limits = Limits { memory: 512, open_files: None },
        account = account,
        watcher = Link::<auth::Account>::id("root"),
        labels = ["b".to_owned(), "a".to_owned()],
        provider = "host",
    )]
    worker: Worker,
    #[runtime(
        name = format!("helper-{tenant}"),
        priority = Priority::High,
        replicas = 2_u16,
        restart = true,
        arguments = Vec::<String>::new(),
        env = BTreeMap::<String, String>::new(),
        limits = Limits { memory: 64, open_files: Some(16) },
        account = directory,
        labels = BTreeSet::<String>::new(),
        provider = "host",
    )]
    helper: Worker,
}

const TEXT: &str = r#"
fleet = "billing"
stores = ["vault"]
removed = ["gone.account"]

[rules]
max_leaving = 2
max_age = "30m"
standing = ["rotate", "narrow"]
standing_until = 2027-06-30

[rules.rotation]
zone = "America/New_York"
window = "mon-sat 00:00-24:00"
blackouts = ["2027-11-26"]
rates = { authority = "30/m" }

[providers]
authority = { reach = "exclusive" }
host = {}

[agents.directory]
purpose = "Knows the accounts of the others."
owner = "team:platform"
expires = 2027-06-30

[agents.directory.account]
identity = "authority.account"
name = "directory"
protect = true

[agents.invoice-reader]
purpose = "Answers questions about invoices."
owner = "team:billing"
expires = "2027-06-30"
grace = "2w"
for = { tenant = ["us", "eu"] }

[agents.invoice-reader.account]
identity = "authority.account"
name = "reader-${tenant}"
description = "Known to ${directory.account.id}, paid in $$."
on_drift = "revert_widening"

[agents.invoice-reader.invoices]
permission = "authority.grant"
to = "account"
on = "tenants/${tenant}/invoices/*"
allow = ["list", "read", "read"]
because = "All of the tenant's invoices."
depends_on = ["directory.account"]

[agents.invoice-reader.known]
permission = "authority.grant"
to = "directory.account"
on = 'readers/${invoice-reader["${tenant}"].account.id}'
allow = ["read"]

[agents.invoice-reader.key]
credential = "authority.api_key"
of = "account"
note = "for the billing service"
rotate = "1w"
overlap = "60m"
window = "mon  02:00-04:00  Europe/Berlin"
blackouts = ["12-20..01-03"]
zone = "Asia/Tokyo"
jitter = "2h"
retry = "5 times, 60s to 60m"
lease = "30d"
group = "readers"
deliver = "vault:agents/${tenant}/reader"
consumers = ["billing-api"]
ignore = ["note"]

[agents.invoice-reader.worker]
runtime = "test.worker"
name = "worker-${tenant}"
arguments = ["--account", "${account.id}"]
env = { TENANT = "${tenant}", KEY = "${key.place}:${key.id}" }
limits = { memory = 512 }
account = "account"
watcher = { id = "root" }
labels = ["a", "b"]
provider = "host"

[agents.invoice-reader.helper]
runtime = "test.worker"
name = "helper-${tenant}"
priority = "high"
replicas = 2
restart = true
arguments = []
env = {}
limits = { memory = 64, open_files = 16 }
account = "directory.account"
labels = []
provider = "host"

[[moved]]
from = "old.account"
to = "directory.account"

[[import]]
address = 'invoice-reader["eu"].account'
id = "42"
"#;

fn types() -> Types {
    Types::builtin().with::<Worker>()
}

fn rotation() -> FleetTerms {
    let mut rotation = FleetTerms {
        zone: Some("America/New_York".into()),
        window: Some("mon-sat 00:00-24:00".into()),
        blackouts: vec!["2027-11-26".into()],
        ..FleetTerms::default()
    };
    rotation.rates.insert("authority".into(), "30/m".into());
    rotation
}

fn in_rust() -> Fleet {
    let standing = Standing::of([Unattended::Rotate, Unattended::Narrow])
        .until("2027-06-30".parse().expect("a day"));
    let mut fleet = Fleet::new("billing");
    fleet
        .provider("authority", Reach::Exclusive)
        .provider("host", Reach::Declared)
        .store("vault")
        .rules(Rules { max_leaving: Some(2), max_age: 1_800, rotation: rotation(), standing });
    let directory = fleet.add(DirectoryInputs::default());
    for tenant in ["eu", "us"] {
        let (tenant, directory) = (tenant.to_owned(), directory.account());
        fleet.add(InvoiceReaderInputs { tenant, directory });
    }
    let address = |text: &str| text.parse().expect("an address");
    fleet
        .moved(address("old.account"), address("directory.account"))
        .removed(address("gone.account"))
        .import(address(r#"invoice-reader["eu"].account"#), "42");
    fleet
}

#[test]
fn rust_and_text_give_the_same_blueprint() {
    let rust = in_rust().blueprint("production").unwrap();
    let text = config::blueprint(TEXT, "fleet.toml", "production", &types()).unwrap();
    for (address, desired) in rust.resources() {
        let other = &text.resources()[address];
        assert_eq!(desired.properties, other.properties, "{address}");
        assert_eq!(desired.credential, other.credential, "{address}");
        assert_eq!(desired.dependencies, other.dependencies, "{address}");
    }
    assert_eq!(rust.resources().len(), text.resources().len());
    assert_eq!(rust.digest(), text.digest());
}

#[test]
fn a_default_that_is_left_out_is_the_same_as_one_that_is_written() {
    let written = TEXT.replacen(
        "limits = { memory = 512 }",
        "limits = { memory = 512 }\npriority = \"normal\"\nreplicas = 0\nrestart = false",
        1,
    );
    let left_out = config::blueprint(TEXT, "fleet.toml", "production", &types()).unwrap();
    let written = config::blueprint(&written, "fleet.toml", "production", &types()).unwrap();
    assert_eq!(left_out.digest(), written.digest());
}

#[test]
fn agents_from_rust_and_from_text_stand_in_one_fleet() {
    let text = r#"
        fleet = "billing"
        [providers.authority]
        [agents.watcher]
        purpose = "Watches the directory."
        owner = "team:audit"
        expires = "2027-06-30"
        [agents.watcher.watches]
        permission = "authority.grant"
        to = "directory.account"
        on = "logs/${directory.account.id}"
        allow = ["read"]
    "#;
    let mut fleet = config::parse(text, "fleet.toml", &types()).unwrap();
    fleet.add(DirectoryInputs::default());
    assert_eq!(fleet.blueprint("production").unwrap().agents().count(), 2);
}

#[test]
fn lists_of_values_combine_in_the_order_in_which_they_stand() {
    let text = r#"
        fleet = "billing"
        [providers.authority]
        [agents.shard]
        purpose = "Holds a part."
        owner = "team:billing"
        expires = "2027-06-30"
        for = { zone = ["b", "a"], number = [1, 2] }
        [agents.shard.account]
        identity = "authority.account"
        name = "${zone}-${number}"
    "#;
    let blueprint = config::blueprint(text, "fleet.toml", "production", &types()).unwrap();
    let instances: Vec<String> = blueprint.agents().map(|(i, _)| i.to_string()).collect();
    assert_eq!(
        instances,
        [r#"shard["a","1"]"#, r#"shard["a","2"]"#, r#"shard["b","1"]"#, r#"shard["b","2"]"#]
    );
}

#[test]
fn shapes_that_do_not_fit_are_told_where_they_stand() {
    for (from, to, code) in [
        ("memory = 512", "memory = '512'", "IAC0009"),
        ("memory = 512", "memry = 512", "IAC0014"),
        ("limits = { memory = 512 }", "limits = 7", "IAC0009"),
        ("priority = \"high\"", "priority = 'hihg'", "IAC0009"),
        ("replicas = 2", "replicas = 9007199254740993", "IAC0009"),
        ("restart = true", "restart = 'true'", "IAC0009"),
        ("env = {}", "env = { A = 1 }", "IAC0009"),
        ("watcher = { id = \"root\" }", "watcher = { idd = 'root' }", "IAC0014"),
        ("watcher = { id = \"root\" }", "watcher = 'key'", "IAC0005"),
    ] {
        let text = TEXT.replacen(from, to, 1);
        assert_ne!(text, TEXT, "{to}");
        let mistakes = config::blueprint(&text, "fleet.toml", "production", &types()).unwrap_err();
        let said: Vec<String> = mistakes.iter().map(|d| d.code.to_string()).collect();
        assert!(said.contains(&code.to_owned()), "{to}: {mistakes}");
        let line = text.lines().position(|line| line.contains(to)).unwrap() + 1;
        let all_there =
            mistakes.iter().all(|d| d.source.as_ref().is_some_and(|s| s.line as usize == line));
        assert!(all_there, "{to} in line {line}: {mistakes}");
    }
}
